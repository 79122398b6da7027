# SPDX-License-Identifier: Apache-2.0
"""Read the `Call Trace:` blocks of a kernel's log as samples, one a block."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import polars as pl

from git_hmopt.traces.capture import Losses
from git_hmopt.traces.stacks import SampleRows
from git_hmopt.traces.tables import UNKNOWN, Frame, Samples

UNRELIABLE = "frame of a call trace that the unwinder marks '?'"
EMPTY = "call trace without a frame"
TOO_DEEP = "frame of a call trace beyond the 256th"
_MOST_FRAMES = 256
_MOST_CALLERS = 4096

_BEGIN = re.compile(r"\s*Call [Tt]race:\s*$")
_FRAME = re.compile(
    r"\s*(?:\[<[0-9a-fx]+>\]\s*)?(?P<doubt>\? )?(?P<symbol>[^\s+]{1,512})\+0x[0-9a-f]+/0x[0-9a-f]+"
    r"\s?(?:\[(?P<module>[^\]]+)\])?(?: \(\w+\))*\s*$"
)
_STACK = re.compile(r"\s*<(?P<end>/)?[A-Z0-9_]+>\s*$")
_WHO = re.compile(r"CPU: (?P<cpu>\d{1,5}) (?:UID: \d+ )?PID: (?P<tid>\d{1,9}) Comm:")
# Lines that a block can consist of, for the engine: only they and the line after each are looked at one by one.
_CANDIDATE = r"Call [Tt]race:|\+0x[0-9a-f]+/0x|^\s*</?[A-Z0-9_]+>|PID: \d+ Comm:|---\[ end trace"

_Caller = tuple[int | None, int | None]


@dataclass
class _Block:
    ts_ns: int | None
    tid: int | None
    cpu: int | None
    frames: list[Frame] = field(default_factory=list)  # leaf first, as they are printed
    inside: bool = False
    """Between `<TASK>` and `</TASK>`, where registers stand between the frames."""


class CallTraces:
    """Blocks under construction, one for each caller, since the lines of two CPUs come mixed."""

    def __init__(self, losses: Losses) -> None:
        self._rows = SampleRows()
        self._losses = losses
        self._open: dict[_Caller, _Block] = {}
        self._who: dict[_Caller, tuple[int, int]] = {}

    def add(self, records: pl.DataFrame) -> None:
        """Take the next records, in the columns of kernel_log_lines.RECORDS."""
        candidate = pl.col("text").str.contains(_CANDIDATE)
        few = records.filter(candidate | candidate.shift(1).fill_null(value=True))
        for ts_ns, tid, cpu, text in few.select("ts_ns", "tid", "cpu", "text").iter_rows():
            self._line(text or "", (tid, cpu), ts_ns)

    def _line(self, text: str, caller: _Caller, ts_ns: int | None) -> None:
        if who := _WHO.search(text):
            self._remember(caller, int(who["tid"]), int(who["cpu"]))
        if _BEGIN.match(text):
            self._close(caller)
            tid, cpu = self._who.pop(caller, caller)
            self._open[caller] = _Block(ts_ns, tid if tid is not None else caller[0], cpu)
            return
        block = self._open.get(caller)
        if block is None:
            return
        if stack := _STACK.match(text):
            block.inside = stack["end"] is None
        elif frame := _FRAME.match(text):
            self._frame(block, frame)
        elif not block.inside or "---[ end trace" in text:
            self._close(caller)

    def _remember(self, caller: _Caller, tid: int, cpu: int) -> None:
        if len(self._who) >= _MOST_CALLERS:
            self._who.clear()
        if cpu < 1 << 15:
            self._who[caller] = (tid, cpu)

    def _frame(self, block: _Block, frame: re.Match[str]) -> None:
        if frame["doubt"]:
            self._losses[UNRELIABLE] += 1
        elif len(block.frames) >= _MOST_FRAMES:
            self._losses[TOO_DEEP] += 1
        else:
            block.frames.append(Frame(frame["symbol"], frame["module"] or UNKNOWN))

    def _close(self, caller: _Caller) -> None:
        block = self._open.pop(caller, None)
        if block is None:
            return
        if not block.frames:
            self._losses[EMPTY] += 1
            return
        stack = [self._rows.intern(frame) for frame in reversed(block.frames)]
        self._rows.add(stack, 1, ts_ns=block.ts_ns, tid=block.tid, cpu=block.cpu)

    def finish(self) -> Samples:
        """Return the table: one row a block, each of weight 1."""
        for caller in list(self._open):
            self._close(caller)
        return self._rows.table(event="call-trace", unit="samples")
