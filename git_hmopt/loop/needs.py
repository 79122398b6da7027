# SPDX-License-Identifier: Apache-2.0
"""What a configuration still wants: slots to fill, adapters to install, programs its adapters call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from git_hmopt.adapters import AdapterContext, AdapterOptions, Kind, Requirement, adapter_names, load_adapter
from git_hmopt.config.explain import unknown
from git_hmopt.config.load import LoadedConfig, adapter_options
from git_hmopt.config.overlay import resolve_overlays
from git_hmopt.config.schema import AdapterSection
from git_hmopt.config.slots import slots
from git_hmopt.errors import AdapterError, ConfigError
from git_hmopt.process.host import Finding, State

_TOPIC = "configuration"
_Section = tuple[Kind, AdapterSection, tuple[str, ...]]


def configuration_needs(loaded: LoadedConfig, *, local_root: Path, workload: str | None) -> list[Finding]:
    """Return what each adapter of a configuration lacks; no command of the configuration is run.

    What only other workloads than `workload` want is not fatal, where one is given.
    """
    count = len(loaded.config.workloads)
    first = Finding(_TOPIC, loaded.origin, State.FOUND, f"{count} workload{'s' if count > 1 else ''}", fatal=True)
    return [first, *_overlays(loaded, local_root, workload), *_slots(loaded, workload), *_adapters(loaded, workload)]


def section_adapter(
    loaded: LoadedConfig, kind: Kind, section: AdapterSection, path: tuple[str, ...]
) -> tuple[Any, AdapterOptions]:
    """Return a section's adapter class and its checked options; ConfigError says where no such adapter is named."""
    where = loaded.at(*path)
    known = adapter_names(kind)
    if section.adapter not in known:
        raise where.refuse(unknown(section.adapter, known, what=f"{kind} adapter"), "adapter")
    made = load_adapter(kind, section.adapter)
    return made, adapter_options(section, made.Options, where=where)


def _overlays(loaded: LoadedConfig, local_root: Path, workload: str | None) -> Iterator[Finding]:
    for name, section in loaded.config.workloads.items():
        try:
            resolve_overlays(section.overlays, repository_root=local_root)
        except ConfigError as error:
            yield _lacking(f"overlays of {name}", error, ("workloads", name), workload)


def _slots(loaded: LoadedConfig, workload: str | None) -> Iterator[Finding]:
    committed = ", commit it" if ":" in loaded.origin else ""
    for where in loaded.unfilled():
        what = dict(slots(loaded.config.model_dump(mode="json")))[where.path]
        yield Finding(
            _TOPIC,
            "slot " + ".".join(map(str, where.path)),
            State.MISSING,
            f"{where.origin}:{where.line}: open",
            f"nothing that uses it runs; it wants {what or 'a value of your own'}",
            f"fill it in at line {where.line}{committed}, then: git hmopt trust",
            _matters(where.path, workload),
        )


def _adapters(loaded: LoadedConfig, workload: str | None) -> Iterator[Finding]:
    for kind, section, path in _sections(loaded):
        if any(slots(section.options)):
            continue  # told as slots
        try:
            needs = _requirements(loaded, kind, section, path)
        except (ConfigError, AdapterError) as error:
            yield _lacking(".".join(path), error, path, workload)
            continue
        for need in needs:
            state = State.FOUND if need.found else State.MISSING
            detail = f"for {'.'.join(path)}"
            fatal = need.fatal and _matters(path, workload) and not _is_left_out(loaded, path)
            lost = "" if need.found else need.lost
            yield Finding("adapters", need.program, state, detail, lost, _command(need), fatal)


def _requirements(
    loaded: LoadedConfig, kind: Kind, section: AdapterSection, path: tuple[str, ...]
) -> Sequence[Requirement]:
    made, options = section_adapter(loaded, kind, section, path)
    # Nothing is run or built, so there is nothing to keep anywhere.
    found: Sequence[Requirement] = made(options, AdapterContext(path[-1], Path("/nonexistent"))).requirements()
    return found


def _lacking(name: str, error: ConfigError | AdapterError, path: tuple[str, ...], workload: str | None) -> Finding:
    return Finding(
        _TOPIC, name, State.MISSING, error.what, "nothing that uses it runs", error.next_step or "",
        _matters(path, workload),
    )  # fmt: skip


def _command(need: Requirement) -> str:
    """Return the whole command; some adapters name the package alone."""
    if need.found or not need.install:
        return ""
    return need.install if " " in need.install else f"apt-get install {need.install}"


def _matters(path: tuple[str | int, ...], workload: str | None) -> bool:
    return path[0] != "workloads" or workload in (None, path[1])


def _is_left_out(loaded: LoadedConfig, path: tuple[str, ...]) -> bool:
    """Say whether a run does without what stands at `path`, as `Bench` does: no verdict hangs on it."""
    if path[0] != "workloads":
        return False
    owner, kind, name = path[1:]
    workload = loaded.config.workloads[owner]
    if kind == "profile":
        return len(workload.profile) > 1
    guards = {
        (guard.workload or other, guard.metric)
        for other, section in loaded.config.workloads.items()
        for guard in section.guards
    }
    return name != workload.objective.metric and (owner, name) not in guards


def _sections(loaded: LoadedConfig) -> Iterator[_Section]:
    config = loaded.config
    for name, build in config.builds.items():
        yield "build", build, ("builds", name)
    for name, test in config.tests.items():
        yield "test", test, ("tests", name)
    for owner, workload in config.workloads.items():
        for name, meter in workload.measure.items():
            yield "workload", meter, ("workloads", owner, "measure", name)
        for name, profiler in workload.profile.items():
            yield "profiler", profiler, ("workloads", owner, "profile", name)
