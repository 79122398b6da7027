# SPDX-License-Identifier: Apache-2.0
"""What a pack says beside its hotspots: when the system was slow and what ran then, and what hot functions share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from git_hmopt.evidence.families import Cost
from git_hmopt.evidence.joins import Locate, hot_functions, joins, lines_for
from git_hmopt.evidence.windows import notes_for, placed, places_in
from git_hmopt.evidence.wording import oneline
from git_hmopt.psg.queries import Structure
from git_hmopt.records.evidence import EvidencePack, Section
from git_hmopt.records.windows import Joined, TraceWindow, TraceWindows
from git_hmopt.runtime.call_graph import CallGraph

_MEDIUM_REASONS = 2
_FULL_REASONS = 6
_MEDIUM_JOINS = 2


@dataclass(frozen=True)
class System:
    """What was found, and its texts."""

    windows: tuple[TraceWindows, ...]
    joins: tuple[Joined, ...]

    @property
    def sections(self) -> tuple[Section, ...]:
        """Return a section for each part that there is."""
        found = {"slow_times": self.windows, "shared": self.joins}
        return tuple(
            Section(name=name, short=_TEXTS[name][0](self), medium=_TEXTS[name][1](self))
            for name, part in found.items()
            if part
        )

    def windows_of(self, symbol: str) -> tuple[str, ...]:
        """Return the slow times that a function had a part in, a line each."""
        return notes_for(symbol, [one for each in self.windows for one in each.windows])

    def joins_of(self, symbol: str) -> tuple[str, ...]:
        """Return what the function shares with others, a line each."""
        return lines_for(symbol, self.joins)


def around_hotspots(
    structure: Structure | None,
    costs: Mapping[str, Cost],
    locate: Locate,
    pcg: CallGraph | None,
    windows: Sequence[TraceWindows],
) -> System:
    """Return both parts; without a graph functions have the places that they were recorded with, and share nothing."""
    if structure is None:
        return System(tuple(windows), ())
    find = places_in(structure)
    return System(
        tuple(placed(one, find) for one in windows), joins(structure, hot_functions(structure, costs, locate), pcg)
    )


def system_texts(pack: EvidencePack) -> dict[str, dict[str, str]]:
    """Return the texts of a pack's own sections by name and level; one that this version does not know is as stored."""
    found = {}
    system = System(pack.windows, pack.joins)
    for one in pack.system:
        full = _TEXTS[one.name][2](system) if one.name in _TEXTS else one.medium
        texts = {"short": one.short, "medium": one.medium, "full": full}
        found[one.name] = {level: f"{one.name}: {text}\n" for level, text in texts.items()}
    return found


def slow_times_text(windows: Sequence[TraceWindows]) -> str:
    """Return all that is recorded of slow times, in words with their excerpts; `none found` where it is nothing."""
    return _windows_full(System(tuple(windows), ()))


def _all(system: System) -> Iterator[tuple[str, TraceWindow]]:
    for capture in system.windows:
        for one in capture.windows:
            yield capture.name, one


def _windows_short(system: System) -> str:
    found = [one for _, one in _all(system)]
    if not found:
        return "none found"
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{oneline(found[0].what)}{more}"


def _windows_medium(system: System) -> str:
    return "\n".join(_window(one, _MEDIUM_REASONS) for _, one in _all(system)) or "none found"


def _windows_full(system: System) -> str:
    parts = []
    for capture, one in _all(system):
        at = f"  {one.start_ns / 1e9:.6f}..{one.end_ns / 1e9:.6f} s of {oneline(capture)} ({oneline(one.rule)})"
        between = [f"    ... {one.left_out} lines between ..."] if one.left_out else []
        half = len(one.excerpt) - len(one.excerpt) // 2 if one.left_out else len(one.excerpt)
        lines = [f"    {oneline(line)}" for line in one.excerpt]
        parts.append("\n".join([_window(one, _FULL_REASONS), at, *lines[:half], *between, *lines[half:]]))
    return "\n".join(parts) or "none found"


def _window(one: TraceWindow, most: int) -> str:
    lost = ["  events were lost meanwhile: there was more than is told"] if one.lost_events else []
    reasons = [f"  {oneline(reason.text)}" for reason in one.reasons[:most]]
    return "\n".join([oneline(one.what), *(reasons or ["  what ran then is not known"]), *lost])


def _joins_short(system: System) -> str:
    kinds = {"knob": "config knobs", "table": "tables of functions", "field": "fields"}
    counts = {kind: sum(one.kind == kind for one in system.joins) for kind in kinds}
    return "hot functions share " + ", ".join(f"{count} {kinds[kind]}" for kind, count in counts.items() if count)


def _joins_medium(system: System) -> str:
    of_kind = {kind: [one for one in system.joins if one.kind == kind] for kind in ("knob", "table", "field")}
    return "\n".join(oneline(one.reason) for found in of_kind.values() for one in found[:_MEDIUM_JOINS])


def _joins_full(system: System) -> str:
    lines = []
    for one in system.joins:
        targets = f" ({', '.join(one.targets)})" if one.targets else ""
        lines.append(oneline(f"{one.reason}{targets}"))
    return "\n".join(lines)


_Text = Callable[[System], str]
_TEXTS: Mapping[str, tuple[_Text, _Text, _Text]] = MappingProxyType(
    {
        "slow_times": (_windows_short, _windows_medium, _windows_full),
        "shared": (_joins_short, _joins_medium, _joins_full),
    }
)
