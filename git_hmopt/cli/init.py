# SPDX-License-Identifier: Apache-2.0
"""Write .hmopt.yaml for this repository from a shipped profile, and trust it."""

from __future__ import annotations

import argparse
from pathlib import Path

from git_hmopt.config.profile import profile_bytes, profile_names
from git_hmopt.errors import ConfigError, ExitCode
from git_hmopt.loop.configuration import CONFIG_FILE, settle_trust
from git_hmopt.store.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "--profile", default="linux", help=f"which profile: {', '.join(profile_names())} (default: linux)"
    )
    parser.add_argument("--force", action="store_true", help=f"replace a {CONFIG_FILE} that is there")


def run(options: argparse.Namespace) -> ExitCode:
    """Write the file, trust it, and say what was done and how to undo it."""
    repository = Repository.open(Path())
    target = repository.require_worktree() / CONFIG_FILE
    content = profile_bytes(options.profile)
    repository.resolve("HEAD")  # trust is given for a commit: without one nothing may be left half done
    if target.exists() and not options.force:
        raise ConfigError(f"{target.name} is there already", next_step="edit it, or replace it with --force")
    target.write_bytes(content)
    repository.config_set("log.excludeDecoration", "refs/hmopt/*")
    settle_trust(repository)
    print(f"wrote {CONFIG_FILE} (profile {options.profile}) and trusted its commands")
    print("set log.excludeDecoration=refs/hmopt/* so that git log does not show journals")
    print(f"undo: rm {CONFIG_FILE}; git config --unset log.excludeDecoration; git config --unset hmopt.trust")
    print("next: git hmopt optimize --workload NAME")
    return ExitCode.OK
