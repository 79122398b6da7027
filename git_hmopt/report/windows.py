# SPDX-License-Identifier: Apache-2.0
"""The slow times of captures as lines of text, and as a report has them: what ran then, and a piece of the trace."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from git_hmopt.errors import CorruptRecordError
from git_hmopt.report.fields import Fields, MalformedError
from git_hmopt.report.wording import fit, plain

if TYPE_CHECKING:
    from git_hmopt.records.windows import TraceWindow  # telling a story must not pay for pydantic

Read = Callable[[str], bytes | None]
"""Returns the bytes of an artifact; None when they are not in this clone."""

_REASONS = 8
_LONGEST = 300


def window_lines(windows: Sequence[TraceWindow]) -> Iterator[str]:
    """Yield what a terminal shows of them."""
    if not windows:
        yield "  nothing in it was slow: no late frame, no wait of 1 ms, no interrupt storm, no stall of an allocation"
    for number, one in enumerate(windows, 1):
        yield f"  {number}. {one.start_ns / 1e9:.6f}..{one.end_ns / 1e9:.6f} s: {fit(one.what, _LONGEST)}"
        for reason in one.reasons[:_REASONS]:
            yield f"     {fit(reason.text, _LONGEST)}"
        if not one.reasons:
            yield "     what ran then is not known"
        if one.lost_events:
            yield f"     events were lost {one.lost_events} times meanwhile: there was more than is told"
        yield from (f"     | {line}" for line in excerpt_lines(one.excerpt, one.left_out))


def excerpt_lines(lines: Sequence[str], left_out: int) -> list[str]:
    """Return a piece of a trace with what is left out of its middle said, harmless to show."""
    shown = [plain(line) for line in lines]
    if not left_out:
        return shown
    half = len(shown) - len(shown) // 2
    return [*shown[:half], f"... {left_out} lines between ...", *shown[half:]]


@dataclass(frozen=True)
class SlowTime:
    """One as a report shows it."""

    capture: str
    what: str
    who: str
    start_ns: int
    end_ns: int
    lost_ns: int
    rule: str
    reasons: tuple[str, ...]
    excerpt: tuple[str, ...]


def slow_times(stored: Mapping[str, str], read: Read) -> tuple[list[SlowTime], list[str]]:
    """Return the slow times of a run's captures, by the artifacts of each capture, and what cannot be shown."""
    found: list[SlowTime] = []
    missing = []
    for capture, artifact in stored.items():
        what = f"What ran in the slow times of capture {capture[:12]}"
        try:
            data = read(artifact)
            if data is None:
                missing.append(f"{what} (artifact {artifact[:12]}) is not in this clone.")
            else:
                found += _read(Fields.of(json.loads(data), "slow times"))
        except (CorruptRecordError, MalformedError, ValueError) as error:
            missing.append(f"{what} cannot be read: {getattr(error, 'what', error)}.")
    return found, missing


def _read(record: Fields) -> Iterator[SlowTime]:
    for one in record.many("windows"):
        yield SlowTime(
            capture=record.text("name"),
            what=one.text("what"),
            who=one.text("who"),
            start_ns=one.whole("start_ns"),
            end_ns=one.whole("end_ns"),
            lost_ns=one.whole("lost_ns"),
            rule=one.text("rule"),
            reasons=tuple(reason.text("text") for reason in one.many("reasons")),
            excerpt=tuple(excerpt_lines(one.texts("excerpt"), one.whole("left_out"))),
        )
