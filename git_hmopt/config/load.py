# SPDX-License-Identifier: Apache-2.0
"""Read `.hmopt.yaml`: bytes in, typed configuration and its line map out, every complaint with file, line and key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from git_hmopt.config.document import Document, JsonValue, KeyPath, describe, nearest_line, parse_document, refuse
from git_hmopt.config.explain import Model, unknown, validate
from git_hmopt.config.schema import AdapterSection, Config, OnBuildSection, StrategySection, Workload
from git_hmopt.config.slots import slot_problem, slots
from git_hmopt.errors import ConfigError

VERSION = 1


@dataclass(frozen=True)
class Where:
    """A place in a configuration file, for complaints about what stands there."""

    origin: str
    path: KeyPath
    lines: Mapping[KeyPath, int] = field(repr=False, default_factory=dict)

    @property
    def line(self) -> int:
        """Return the line this place stands on, or what encloses it."""
        return nearest_line(self.lines, self.path)

    def refuse(self, what: str, *inner: str | int) -> ConfigError:
        """Return the error about this place, or about a key inside it."""
        path = (*self.path, *inner)
        return refuse(self.origin, nearest_line(self.lines, path), path, what)


@dataclass(frozen=True)
class LoadedConfig:
    """A checked configuration, where each key stands, and the bytes it was read from (what trust is given to)."""

    config: Config
    lines: Mapping[KeyPath, int] = field(repr=False)
    origin: str
    raw: bytes = field(repr=False)

    def unfilled(self) -> tuple[Where, ...]:
        """Return the places of the slots that nobody filled, in the file's order."""
        found = [self.at(*path) for path, _ in slots(self.config.model_dump(mode="json"))]
        return tuple(sorted(found, key=lambda where: where.line))

    def at(self, *path: str | int) -> Where:
        """Return a place in this file, `loaded.at("builds", "uml")`."""
        return Where(self.origin, path, self.lines)


def load_config(data: bytes, *, origin: str) -> LoadedConfig:
    """Return the configuration in `data`; `origin` is how the user calls the file (`.hmopt.yaml`, `main:.hmopt.yaml`).

    Raises ConfigError: `<origin>:<line>: <dotted.key>: <what is wrong>, expected <what>`.
    """
    document = parse_document(data, origin=origin)
    check_version(document, key="version", newest=VERSION)
    config = validate(Config, document.value, origin=origin, lines=document.lines)
    loaded = LoadedConfig(config, document.lines, origin, data)
    _check_references(loaded)
    return loaded


def check_version(document: Document, *, key: str, newest: int) -> None:
    """Refuse a document newer than we read, before its unknown keys are called mistakes."""
    version = document.value.get(key)
    at = (document.origin, document.line((key,)), (key,))
    if isinstance(version, bool):  # pydantic takes true for 1
        raise refuse(*at, f"got {describe(version)}, expected {newest}")
    if isinstance(version, int) and version > newest:
        what = f"{version} is newer than this git-hmopt reads, expected {newest}"
        raise refuse(*at, what, next_step="upgrade git-hmopt")


def adapter_options(section: AdapterSection, options_model: type[Model], *, where: Where) -> Model:
    """Return a section's own keys as its adapter's options; errors carry the file, line and key as the schema's do."""
    options: dict[str, JsonValue] = section.options
    for inner, what in slots(options):
        raise where.refuse(slot_problem(what), *inner)
    return validate(options_model, options, origin=where.origin, lines=where.lines, at=where.path)


def _check_references(loaded: LoadedConfig) -> None:
    """Check that every name the file refers to is one it defines; the first wrong one in the file's order is told."""
    wrong = sorted(_wrong_references(loaded), key=lambda found: nearest_line(loaded.lines, found[0]))
    for path, what in wrong:
        raise loaded.at(*path).refuse(what)


def _wrong_references(loaded: LoadedConfig) -> Iterator[tuple[KeyPath, str]]:
    config = loaded.config
    yield from _unknown_builds(config, ("tests",), config.tests)
    if config.defaults.workload is not None and config.defaults.workload not in config.workloads:
        yield _missing(("defaults", "workload"), config.defaults.workload, config.workloads, "workload")
    for number, name in enumerate(config.review.workloads):
        if name not in config.workloads:
            yield _missing(("review", "workloads", number), name, config.workloads, "workload")
    yield from repeated_strategies(config.strategies, loaded.lines)
    for name, workload in config.workloads.items():
        at: KeyPath = ("workloads", name)
        yield from _unknown_builds(config, (*at, "measure"), workload.measure)
        yield from _unknown_builds(config, (*at, "profile"), workload.profile)
        if workload.objective.metric not in workload.measure:
            yield _missing((*at, "objective", "metric"), workload.objective.metric, workload.measure, "metric")
        yield from _unknown_guards(config, at, workload)


def repeated_strategies(
    strategies: Sequence[StrategySection], lines: Mapping[KeyPath, int]
) -> Iterator[tuple[KeyPath, str]]:
    """Yield where a strategy's name stands that another one before it has, and what to say of it."""
    first: dict[str, int] = {}
    for index, one in enumerate(strategies):
        path: KeyPath = ("strategies", index, "name")
        line = nearest_line(lines, path)
        if one.name in first:
            yield path, f"'{one.name}' stands here and on line {first[one.name]}, expected each name once"
        first.setdefault(one.name, line)


def _unknown_builds(
    config: Config, at: KeyPath, sections: Mapping[str, OnBuildSection]
) -> Iterator[tuple[KeyPath, str]]:
    for name, section in sections.items():
        if section.build not in config.builds:
            yield _missing((*at, name, "build"), section.build, config.builds, "build")


def _unknown_guards(config: Config, at: KeyPath, workload: Workload) -> Iterator[tuple[KeyPath, str]]:
    for index, guard in enumerate(workload.guards):
        here: KeyPath = (*at, "guards", index)
        guarded = workload if guard.workload is None else config.workloads.get(guard.workload)
        if guarded is None:
            yield _missing((*here, "workload"), str(guard.workload), config.workloads, "workload")
        elif guard.metric not in guarded.measure:
            yield _missing((*here, "metric"), guard.metric, guarded.measure, "metric")


def _missing(path: KeyPath, word: str, known: Iterable[str], what: str) -> tuple[KeyPath, str]:
    return path, unknown(word, known, what=what)
