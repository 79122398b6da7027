# SPDX-License-Identifier: Apache-2.0
"""What programs write into the trace: begin and end of a section, counters and the like, in all their generations.

Layouts: OpenHarmony hiviewdfx_hitrace, hitrace_meter.cpp; Android's libcutils trace-dev.inc. The pid of a payload is
that of the writer's own namespace, so it is kept apart from the row's and pairs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from git_hmopt.traces.text_columns import Mask, Places, TextColumns, allowed_bytes

MARKER_EVENTS = ("tracing_mark_write", "print", "0")
"""What the kernel calls a line that a program wrote; `0` where a reader did not know the event."""

_PHASES = {"B": "B", "E": "E", "S": "S", "F": "F", "C": "C", "I": "I", "G": "S", "H": "F", "N": "I"}
_NAMED_AFTER = 2
"""Bars before the name of all but an end."""
_LEVELS = "DICM"
_DIGITS = allowed_bytes("0123456789")
_MOST_TAGS = 129


@dataclass(frozen=True)
class Markers:
    """Markers of a block; positions of names, texts of arguments as `EVENTS` states them."""

    known: Mask
    """Where the payload is of a known layout; elsewhere the whole of it is the name of an instant."""
    name_start: Places
    name_end: Places
    args: pl.Series
    without_number: int
    """How many asynchronous markers and counters lack their id or value."""


def marker_columns(text: TextColumns, starts: Places, ends: Places) -> Markers:
    """Return names and arguments of payloads that stand between the positions, ends trimmed of blanks."""
    bars = text.all("|")
    first, behind = np.searchsorted(bars, starts), np.searchsorted(bars, ends)
    bars = np.append(bars, len(text.bytes) - 1)
    phase = text.bytes[starts]
    is_end = phase == ord("E")
    known = text.is_at(starts, "".join(_PHASES)) & (
        (text.is_at(starts + 1, "|") & (behind > first)) | (is_end & (ends - starts == 1))
    )
    last = len(bars) - 1
    after_pid = np.where(behind > first + 1, bars[np.minimum(first + 1, last)], ends)
    pid_start = np.minimum(starts + 2, ends)
    _, pid_end = text.number(pid_start, ends)
    pid_end = np.where(known & (pid_end == after_pid), pid_end, pid_start)
    level_start, level_end = _levels(text, bars, np.where(is_end, first + 1, first + _NAMED_AFTER), behind, ends)
    body_end = text.skip_back(np.where(level_end > level_start, level_start - 1, ends), " ")
    name_start = np.where(known, np.minimum(after_pid + 1, body_end), starts)
    name_end = np.where(is_end & known, name_start, np.maximum(body_end, name_start))
    number_start, number_end = name_end, name_end
    numbered = known & text.is_at(starts, "SFCGH")
    if numbered.any():
        separator = _before_number(text, bars, name_start, body_end, numbered)
        found = separator > name_start
        number_start, number_end = np.where(found, separator + 1, name_end), np.where(found, body_end, name_end)
        name_end = np.where(found, text.skip_back(separator, " "), name_end)
    lacking = int((numbered & (number_end <= number_start)).sum())
    pieces = {
        "pid": (pid_start, pid_end),
        "number": (number_start, number_end),
        "level": (level_start, level_end),
        "custom": (np.where(level_end > level_start, np.minimum(level_end + 1, ends), ends), ends),
    }
    args = _shared_arguments(text, np.where(known, phase, ord("I")), known, pieces)
    return Markers(known, name_start, name_end, args, lacking)


def _levels(text: TextColumns, bars: Places, earliest: Places, behind: Places, ends: Places) -> tuple[Places, Places]:
    """Return where the level and tags stand, `M0538`: in the last such group, since a name may hold bars itself."""
    start, end = ends.copy(), ends.copy()
    # After the group there may be a category and arguments of the writer's own.
    for back in (1, 2, 3):
        index = behind - back
        open_ = np.flatnonzero((index >= earliest) & (end == start))
        if not len(open_):
            continue
        at = bars[index[open_]] + 1
        until = ends[open_] if back == 1 else bars[index[open_] + 1]
        fine = ((until - at) % 2 == 1) & text.is_at(at, _LEVELS) & text.only(at + 1, until, _DIGITS, _MOST_TAGS)
        start[open_[fine]], end[open_[fine]] = at[fine], until[fine]
    return start, end


def _before_number(text: TextColumns, bars: Places, name_start: Places, body_end: Places, numbered: Mask) -> Places:
    """Return where the bar or, of old writers, the blank before an id or value stands; the name's start if nowhere."""
    _, digits = text.number_before(body_end)
    at = digits - (text.is_at(digits - 1, "-") & (digits < body_end)) - 1
    by_number = (digits < body_end) & text.is_at(at, "| ")
    last_bar = np.searchsorted(bars, body_end) - 1
    by_bar = bars[np.maximum(last_bar, 0)]
    separator = np.where(by_number, at, by_bar)
    return np.where(numbered & (separator > name_start), separator, name_start)


def _shared_arguments(
    text: TextColumns, phase: NDArray[np.uint8], known: Mask, pieces: dict[str, tuple[Places, Places]]
) -> pl.Series:
    """Return the arguments of all payloads; begins and ends of a program have few different ones, written once each."""
    sizes = {word: np.where(known, end - start, 0) for word, (start, end) in pieces.items()}
    simple = (sizes["number"] <= 0) & (sizes["custom"] <= 0) & (sizes["level"] <= 8) & (sizes["pid"] <= _PID_DIGITS)
    rows, others = np.flatnonzero(simple), np.flatnonzero(~simple)
    size = np.maximum(sizes["level"][rows], 0)
    eights = text.eights(np.minimum(pieces["level"][0][rows], len(text.raw) - 8))
    level = eights & _LOW_BYTES[size]
    _, level_code = np.unique(level, return_inverse=True)
    pid_start, pid_end = pieces["pid"]
    pid, _ = text.number(pid_start[rows], pid_end[rows])
    pid = np.where(known[rows], (np.maximum(sizes["pid"][rows], 0) << _PID_BITS) | pid, 0)
    key = (((level_code << 7) | phase[rows]) << (_PID_BITS + 4)) | pid
    _, first, same = np.unique(key, return_index=True, return_inverse=True)
    written = np.concatenate([rows[first], others])
    chosen = {word: (start[written], end[written]) for word, (start, end) in pieces.items()}
    texts = _arguments(text, phase[written], known[written], chosen)
    index = np.empty(len(phase), np.int64)
    index[rows], index[others] = same, len(first) + np.arange(len(others))
    return texts.gather(index)


_PID_DIGITS, _PID_BITS = 10, 34
_LOW_BYTES = np.array([(1 << (8 * size)) - 1 for size in range(9)], np.uint64)


def _arguments(
    text: TextColumns, phase: NDArray[np.uint8], known: Mask, pieces: dict[str, tuple[Places, Places]]
) -> pl.Series:
    letters = np.full(256, ord("I"), np.uint8)
    for written, meant in _PHASES.items():
        letters[ord(written)] = ord(meant)
    heads = [f"phase={chr(code)}" for code in range(128)]
    parts = [pl.Series("phase", heads).gather(letters[phase])]
    counter = pl.Series(phase == ord("C"))
    for word, (start, end) in pieces.items():
        filled = known & (end > start)
        if not filled.any():
            continue
        value = text.cut(start, np.where(filled, end, start))
        key = pl.select(pl.when(counter).then(pl.lit(" value=")).otherwise(pl.lit(" id="))).to_series()
        prefix: pl.Series | str = key if word == "number" else f" {word}="
        column = pl.DataFrame({"value": value, "filled": pl.Series(filled)})
        lead = pl.lit(prefix)
        parts.append(
            column.select(pl.when("filled").then(pl.concat_str(lead, "value")).otherwise(pl.lit(""))).to_series()
        )
    frame = pl.DataFrame([part.alias(str(index)) for index, part in enumerate(parts)])
    return frame.select(pl.concat_str(pl.all()).alias("args"))["args"]
