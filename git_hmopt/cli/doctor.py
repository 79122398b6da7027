# SPDX-License-Identifier: Apache-2.0
"""Say what this host has, what it lacks, what is lost without it, and the command that installs it.

Works anywhere; in a repository with a configuration its adapters and slots are looked at as well. Nothing is changed,
no command of the configuration is run, and nothing is contacted but REMOTE, where one is named: whether it takes runs
is tried with one small ref, which is removed again. Exit code 0: nothing that is needed is missing; 1: something is.
"""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from git_hmopt.cli.settings import chosen_workload, gathered
from git_hmopt.config.settings import Settings
from git_hmopt.errors import ConfigError, ExitCode
from git_hmopt.loop.configuration import Configuration
from git_hmopt.loop.look import Place, look
from git_hmopt.loop.models import chosen
from git_hmopt.loop.needs import configuration_needs
from git_hmopt.process.host import Finding, State, confinement, disk, programs, quiet, sampling
from git_hmopt.process.packages import packages
from git_hmopt.store.diagnosis import git_itself, remote, vector_search
from git_hmopt.store.repository import Repository

_STYLES = {State.FOUND: "green", State.LIMITED: "yellow", State.MISSING: "red"}
# What a first run needs where no configuration says it: the linux profile and the shipped C code are built with these.
_USUAL = frozenset({"bash", "make", "gcc", "ld"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("remote", nargs="?", metavar="REMOTE", help="ask this git remote, too, whether it answers")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> ExitCode:
    """Look at everything and print it."""
    git = git_itself(Path())
    # Without git there is no repository to look at, and no setting to ask for.
    examined, colour = (_host(Path()), "auto") if git.fails else _examined(options.remote)
    found = _merged([git, *examined])
    failing = [one.name for one in found if one.fails]
    if options.json:
        print(json.dumps({"v": 1, "ok": not failing, "findings": [_as_json(one) for one in found]}))
    else:
        _print(found, failing, colour)
    return ExitCode.NO if failing else ExitCode.OK


def _examined(remote_name: str | None) -> tuple[list[Finding], str]:
    """Return what is found of host, repository and configuration, and when to use colours."""
    problems: list[Finding] = []
    place, settings = Place(Path()), None
    try:
        place = look(Path(), offline=True)
    except ConfigError as error:
        problems.append(_broken(".hmopt.yaml", error))
    loaded = place.configuration.loaded if place.configuration else None
    try:
        settings = gathered(place.directory, loaded)
    except ConfigError as error:
        problems.append(_broken("settings", error))
    found = [*_host(place.directory, usual=loaded is None), vector_search(), *problems]
    if settings is not None:
        found += [_limited("settings", note, "it has no effect") for note in settings.notes]
        found.append(_models(settings))
    if place.configuration is not None:
        found += _configured(place.configuration, settings)
    elif place.absent:
        found.append(_limited(".hmopt.yaml", place.absent, "there is nothing to optimize"))
    if remote_name is not None:
        found.append(remote(_repository(place), remote_name))
    return found, settings.host.color if settings else "auto"


def _models(settings: Settings) -> Finding:
    """Return which models a run may ask; none of them is asked here."""
    try:
        found = chosen(settings.gateway)
    except ConfigError as error:
        return Finding("models", "gateway", State.MISSING, error.what, "no model is asked", error.next_step or "")
    if found is None:
        return Finding("models", "gateway", State.FOUND, "none is configured: no model is asked")
    return Finding("models", "gateway", State.FOUND, f"{found.told}; not asked by doctor")


def _configured(configuration: Configuration, settings: Settings | None) -> list[Finding]:
    """Return what the configuration lacks; what its default workload does not need is not fatal."""
    loaded, workload, problems = configuration.loaded, None, []
    if settings is not None and settings["workload"].value is not None:
        try:
            workload = chosen_workload(settings, loaded)
        except ConfigError as error:
            problems.append(_broken("settings", error))
    return [*problems, *configuration_needs(loaded, local_root=configuration.local_root, workload=workload)]


def _host(directory: Path, *, usual: bool = True) -> list[Finding]:
    return [
        *packages(),
        *programs(needed=_USUAL if usual else frozenset()),
        *sampling(),
        *confinement(),
        *quiet(),
        disk(directory.absolute()),
    ]


def _repository(place: Place) -> Repository:
    # Opened again where there is none, for the reason why.
    return place.repository or Repository.open(place.directory)


def _broken(name: str, error: ConfigError) -> Finding:
    lost = "git hmopt optimize refuses it"
    return Finding("configuration", name, State.MISSING, error.what, lost, error.next_step or "", fatal=True)


def _limited(name: str, detail: str, lost: str) -> Finding:
    return Finding("configuration", name, State.LIMITED, detail, lost)


def _merged(findings: Sequence[Finding]) -> list[Finding]:
    """Return one finding a thing: what adapters say of a program goes to what is known of it already."""
    rows: dict[str, Finding] = {}
    for one in findings:
        before = rows.get(one.name)
        if before is None or one.topic != "adapters":
            rows[f"{one.name} {len(rows)}" if before else one.name] = one
            continue
        fatal = before.fatal or one.fatal
        if before.topic == "adapters":
            rows[one.name] = replace(before, detail=f"{before.detail}, {one.detail.removeprefix('for ')}", fatal=fatal)
        elif before.state is not State.FOUND:
            # What this configuration loses says more than what any one would.
            state = State.MISSING if one.fails else before.state
            rows[one.name] = replace(before, state=state, lost=one.lost or before.lost, fatal=fatal)
    return list(rows.values())


def _print(findings: Sequence[Finding], failing: Sequence[str], colour: str) -> None:
    console = Console(
        highlight=False,
        no_color=colour == "never",
        color_system="auto" if colour == "auto" else "standard",
        force_terminal=True if colour == "always" else None,
        soft_wrap=True,
    )
    width = shutil.get_terminal_size().columns if console.is_terminal else 10_000
    column = max(len(one.name) for one in findings if len(one.name) <= 24)
    for one in findings:
        head = f"{one.state.value:<8} {one.name:<{column}}  "
        lines = _wrapped(f"{head}{one.detail}", width, 11)
        if one.state is not State.FOUND:
            lines += _wrapped(f"{'':9}lost: {one.lost}", width, 11) if one.lost else []
            lines += _wrapped(f"{'':9}next: {one.remedy}", width, 11) if one.remedy else []
        styled = Text("\n".join(lines))
        styled.stylize(_STYLES[one.state], 0, len(one.state.value))
        console.print(styled)
    console.print(Text(f"needed and missing: {', '.join(failing)}" if failing else "nothing that is needed is missing"))


def _wrapped(line: str, width: int, indent: int) -> list[str]:
    return textwrap.wrap(
        line, max(width, 40), subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False,
        drop_whitespace=True, replace_whitespace=False, initial_indent="",
    ) or [line]  # fmt: skip


def _as_json(one: Finding) -> dict[str, object]:
    return {
        "topic": one.topic,
        "name": one.name,
        "state": one.state.value,
        "detail": one.detail,
        "lost": one.lost,
        "remedy": one.remedy,
        "fatal": one.fatal,
    }
