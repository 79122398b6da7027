# SPDX-License-Identifier: Apache-2.0
"""Read speedscope's own file format (https://www.speedscope.app/file-format-schema.json): sampled and evented profiles.

A file has one profile for each thread, or for each thing that was measured: those of one unit become one table. Units
of time become ns; with them a sample's time is where it begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from git_hmopt.traces.capture import Capture, Losses
from git_hmopt.traces.documents import json_of, list_of, mapping_of
from git_hmopt.traces.source import Source
from git_hmopt.traces.stacks import SampleRows
from git_hmopt.traces.tables import UNKNOWN, Frame, Samples, TraceFormatError
from git_hmopt.traces.units import unit_of, whole

NO_PROFILE = "profile that is neither sampled nor evented"
NO_FRAME = "sample or event of a frame that is not in the file"
NO_WEIGHT = "sample without a weight"
NO_TIME = "event without a time"
BACK = "event that lies before the one before it"
NOT_OPEN = "end of a frame that is not the innermost open one"
NOT_CLOSED = "frame that was never closed"
NEGATIVE = "sample whose weight is below 0"
ROUNDED = "weight that is no whole number: rounded"

_MOST_IN_STACKS = 50_000_000
_SCHEMA = re.compile(rb"speedscope\.app/file-format-schema\.json")


@dataclass
class _Table:
    """The samples of one unit."""

    rows: SampleRows
    losses: Losses
    names: list[str]
    factor: int
    is_time: bool
    room: int = field(default_factory=lambda: _MOST_IN_STACKS)

    def add(self, stack: Sequence[int], weight: int, at: int | None) -> None:
        """Add a sample, unless it has neither cost nor frames."""
        self.room -= len(stack)
        if self.room < 0:
            raise TraceFormatError(f"the stacks of this speedscope file have more than {_MOST_IN_STACKS} frames")
        if weight < 0:
            self.losses[NEGATIVE] += 1
        elif weight and stack:
            self.rows.add(stack, weight, ts_ns=at if self.is_time else None)

    def number(self, value: object) -> int:
        """Return a time or weight in our unit; ValueError when it is none."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("no number")
        number, rounded = whole(value, self.factor)
        self.losses[ROUNDED] += rounded
        return number


class Speedscope:
    """speedscope's JSON."""

    name = "speedscope"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether it names speedscope's schema, or is called as its files are."""
        is_json = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"
        return is_json and (_SCHEMA.search(head) is not None or ".speedscope.json" in name)

    def read(self, source: Source) -> Capture:
        """Return the capture; it has samples alone."""
        return Capture(self.name, read_samples=lambda losses: _tables(source, losses))


FORMAT = Speedscope()


def _tables(source: Source, losses: Losses) -> list[Samples]:
    document = mapping_of(json_of(source))
    profiles = list_of(document.get("profiles"))
    if not profiles:
        raise TraceFormatError(f"{source.path}: this is no speedscope file: it has no profiles")
    frames = [_frame(one) for one in list_of(mapping_of(document.get("shared")).get("frames"))]
    tables: dict[str, _Table] = {}
    for number, one in enumerate(map(mapping_of, profiles)):
        unit, factor = unit_of(str(one.get("unit", "")))
        table = tables.setdefault(unit, _Table(SampleRows(), Losses(), [], factor, unit == "ns"))
        # Profiles of one unit may count it in different parts: seconds here, milliseconds there.
        table.factor = factor
        table.names.append(str(one.get("name") or f"profile {number + 1}"))
        indices = [table.rows.intern(frame) for frame in frames]
        if one.get("type") == "sampled":
            _sampled(one, indices, table)
        elif one.get("type") == "evented":
            _evented(one, indices, table)
        else:
            table.losses[NO_PROFILE] += 1
    return [_finished(unit, table, losses) for unit, table in tables.items()]


def _finished(unit: str, table: _Table, losses: Losses) -> Samples:
    counted = Losses({reason: number for reason, number in table.losses.items() if number})
    table.rows.skipped.update(counted)
    losses.update(counted)
    name = table.names[0] if len(table.names) == 1 else f"{len(table.names)} profiles"
    return table.rows.table(event=name, unit=unit)


def _frame(value: object) -> Frame:
    frame = mapping_of(value)
    return Frame(str(frame.get("name") or UNKNOWN), str(frame.get("file") or UNKNOWN))


def _sampled(profile: Mapping[str, object], frames: Sequence[int], table: _Table) -> None:
    """Add the rows of a profile of stacks, root first, each with its weight."""
    samples, weights = list_of(profile.get("samples")), list_of(profile.get("weights"))
    at = _start(profile, table)
    for number, sample in enumerate(samples):
        try:
            weight = table.number(weights[number])
        except (IndexError, ValueError):
            table.losses[NO_WEIGHT] += 1
            continue
        stack = [_index(one, frames) for one in list_of(sample)]
        if None in stack:
            table.losses[NO_FRAME] += 1
        else:
            table.add([one for one in stack if one is not None], weight, at)
        at += max(weight, 0)


def _evented(profile: Mapping[str, object], frames: Sequence[int], table: _Table) -> None:
    """Add one row for every stretch between two events."""
    stack: list[int] = []
    before = _start(profile, table)
    for kind, frame, at in _events(profile, frames, table):
        if at < before:
            table.losses[BACK] += 1
            continue
        table.add(stack, at - before, before)
        before = at
        if kind == "O":
            stack.append(frame)
        elif stack and stack[-1] == frame:
            stack.pop()
        else:
            table.losses[NOT_OPEN] += 1
    table.losses[NOT_CLOSED] += len(stack)


def _events(profile: Mapping[str, object], frames: Sequence[int], table: _Table) -> Iterator[tuple[str, int, int]]:
    for event in map(mapping_of, list_of(profile.get("events"))):
        frame = _index(event.get("frame"), frames)
        if event.get("type") not in ("O", "C") or frame is None:
            table.losses[NO_FRAME] += 1
            continue
        try:
            at = table.number(event.get("at"))
        except ValueError:
            table.losses[NO_TIME] += 1
            continue
        yield str(event["type"]), frame, at


def _start(profile: Mapping[str, object], table: _Table) -> int:
    try:
        return table.number(profile.get("startValue", 0))
    except ValueError:
        return 0


def _index(value: object, frames: Sequence[int]) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(frames):
        return frames[value]
    return None
