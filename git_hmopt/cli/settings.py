# SPDX-License-Identifier: Apache-2.0
"""What several commands do with a person's settings: gather them from every place, and say what nobody reads."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from git_hmopt.cli.number import count
from git_hmopt.config.explain import unknown
from git_hmopt.config.load import LoadedConfig
from git_hmopt.config.settings import Flag, Settings, Source, resolve
from git_hmopt.errors import UsageError
from git_hmopt.store.git_config import read_git_config

# argparse's destination of each flag that overrides a setting, where a command has it.
_FLAGS: Mapping[str, tuple[str, str]] = {
    "workload": ("workload", "--workload"),
    "proposer": ("proposer", "--proposer"),
    "jobs": ("jobs", "--jobs"),
    "sandbox": ("sandbox", "--sandbox"),
    "budget.iterations": ("iterations", "--iterations"),
    "budget.wall_s": ("time", "--time"),
    "serve.listen": ("listen", "--listen"),
    "serve.workers": ("workers", "--workers"),
}


def add_host_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options above the settings of a host: what every command takes that builds and measures."""
    parser.add_argument("--jobs", type=count, metavar="N", help="processes a build may run at once (default: CPUs)")
    parser.add_argument(
        "--sandbox", action=argparse.BooleanOptionalAction, help="run builds and workloads confined (default), or not"
    )


def gathered(directory: Path, loaded: LoadedConfig | None, options: argparse.Namespace | None = None) -> Settings:
    """Return every setting in force in `directory`; ConfigError names the place of a bad one."""
    flags: dict[str, Flag] = {}
    for key, (destination, name) in _FLAGS.items():
        value = getattr(options, destination, None)
        if value is not None:
            flags[key] = Flag(name.replace("--", "--no-") if value is False else name, value)
    return resolve(flags, os.environ, read_git_config(directory), loaded)


def warn(settings: Settings) -> None:
    """Say on standard error which keys and variables nobody reads."""
    for note in settings.notes:
        print(f"git hmopt: warning: {note}", file=sys.stderr)


def chosen_workload(settings: Settings, loaded: LoadedConfig) -> str:
    """Return the workload that is meant; UsageError or ConfigError when none is, or one that is not there."""
    setting, known = settings["workload"], loaded.config.workloads
    if setting.value is None:
        raise UsageError(
            f"{loaded.origin} has {len(known)} workloads and none was named",
            next_step=f"choose one: --workload {'|'.join(sorted(known))}, or git config hmopt.workload NAME",
        )
    name = str(setting.value)
    if name not in known and setting.source in (Source.ENVIRONMENT, Source.GIT):
        raise setting.refuse(unknown(name, known, what="workload"))
    return name
