# SPDX-License-Identifier: Apache-2.0
"""What ran while something was slow, and what the source says about what is hot: parts of packs, and stored alone."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from git_hmopt.records.base import Decimal, Record


class WindowReason(Record):
    """Something that had a part in a slow time, in words."""

    about: Literal["thread", "cpu", "wakeup", "wait", "interrupts", "stall", "function"]
    text: str
    share: Decimal = Field(description="of the time, 0..1; of the samples in it for a function")
    own: bool = Field(description="whether it is about the thread that was slow: such reasons come first")
    symbol: str | None = Field(default=None, description="the function it names")
    file: str | None = None
    line: int | None = None


class WindowRan(Record):
    """A thread on a CPU."""

    cpu: int
    who: str
    ns: int
    share: Decimal = Field(description="of the time, 0..1")


class WindowWoke(Record):
    """How often a thread woke another, and how long that one then waited for a CPU."""

    waker: str
    wakee: str
    count: int
    total_ns: int
    worst_ns: int


class WindowBlocked(Record):
    """Waits of a thread in a function."""

    who: str
    caller: str
    iowait: bool
    count: int
    ns: int | None = Field(description="the part that lies in the time; null where the kernel does not say")
    file: str | None = None
    line: int | None = None


class WindowFunction(Record):
    """A function that samples of the time are in."""

    symbol: str
    share: Decimal = Field(description="of the samples in the time, 0..1")
    file: str | None = None
    line: int | None = None


class TraceWindow(Record):
    """A time in which something was slow; every list has what took most, first."""

    kind: Literal["late-frame", "wakeup-wait", "preempted-wait", "interrupts", "reclaim", "compaction"]
    what: str
    start_ns: int
    end_ns: int
    lost_ns: int = Field(description="how late, or how long the wait, the handlers or the stall")
    who: str
    rule: str
    events: int
    lost_events: int = Field(description="how often events were lost meanwhile: the sums then say too little")
    reasons: tuple[WindowReason, ...] = Field(description="ranked: the slow thread's own first, then by share")
    ran: tuple[WindowRan, ...]
    woke: tuple[WindowWoke, ...]
    blocked: tuple[WindowBlocked, ...]
    functions: tuple[WindowFunction, ...]
    excerpt: tuple[str, ...] = Field(description="the first and the last lines of the trace that concern it")
    left_out: int = Field(description="lines between them")


class TraceWindows(Record):
    """The slow times of one capture, what lost most time first."""

    v: Literal[1] = 1
    capture: str = Field(description="sha256 of the capture")
    name: str
    windows: tuple[TraceWindow, ...]


class FunctionShare(Record):
    """A hot function."""

    symbol: str
    share: Decimal = Field(description="of the profile, 0..1, by itself")


class Joined(Record):
    """What the source says about hot functions together: a knob, a table that they call through, a field."""

    kind: Literal["knob", "table", "field"]
    name: str
    share: Decimal = Field(description="of the profile that the functions, or the calls through the table, have")
    functions: tuple[FunctionShare, ...]
    targets: tuple[str, ...] = Field(default=(), description="of a table: the functions that stand in it")
    reason: str
