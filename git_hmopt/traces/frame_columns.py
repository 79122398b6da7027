# SPDX-License-Identifier: Apache-2.0
"""Which columns of a table of frames mean what: configuration, with what SmartPerf and Android write as defaults."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Unit = Literal["s", "ms", "us", "ns"]
DIGITS: dict[Unit, int] = {"s": 9, "ms": 6, "us": 3, "ns": 0}
"""How many decimal places a unit has down to a nanosecond."""
Flag = Literal[0, 1, 2, 3]
"""SmartPerf's verdicts: 0 in time, 1 jank, 2 invalid, 3 a gap between application and render service."""


class FrameColumns(BaseModel):
    """The columns of one kind of table, by their names in its header."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind_of_table: str = Field(description="what the mapping is called")
    start: str = Field(description="when the frame really began")
    end: str | None = Field(default=None, description="when it really ended")
    duration: str | None = Field(default=None, description="how long it took, where there is no end")
    expected_start: str | None = None
    expected_end: str | None = None
    label: tuple[str, ...] = Field(default=(), description="the first of these that the table has names the frame")
    pid: str | None = None
    tid: str | None = None
    flag: str | None = None
    flag_values: dict[str, Flag] = Field(default={}, description="what the flag's values mean")
    flag_other: Flag | None = Field(default=None, description="what all its other values mean")
    unit: Unit = "ns"
    units: dict[str, Unit] = Field(default={}, description="units of single columns")
    row_kind: str | None = Field(default=None, description="the column that tells actual rows from expected ones")
    actual: str = "0"
    expected: str = "1"
    join: tuple[str, ...] = Field(default=(), description="what an actual and its expected row have in common")
    clock: str = "unknown"

    @model_validator(mode="after")
    def _has_an_end(self) -> Self:
        if (self.end is None) == (self.duration is None):
            raise ValueError("name either the column `end` or the column `duration`")
        if (self.row_kind is None) != (not self.join):
            raise ValueError("`row_kind` and `join` come together")
        return self

    @property
    def required(self) -> frozenset[str]:
        """The columns without which a table is not of this kind."""
        needed = (self.start, self.end, self.duration, self.row_kind, *self.join)
        return frozenset(column for column in needed if column is not None)

    @property
    def all(self) -> tuple[str, ...]:
        """Every column that is read, once."""
        more = (self.expected_start, self.expected_end, self.pid, self.tid, self.flag, *self.label)
        return tuple(dict.fromkeys([*sorted(self.required), *(column for column in more if column is not None)]))


SMARTPERF = FrameColumns(
    kind_of_table="smartperf", start="ts", duration="dur", row_kind="type", join=("vsync", "ipid", "itid"),
    label=("thread_name", "process_name", "name", "itid"), pid="pid", tid="tid", flag="flag",
    flag_values={"0": 0, "1": 1, "2": 2, "3": 3}, clock="boot",
)  # fmt: skip
"""The table `frame_slice` of trace_streamer: actual rows of type 0, expected ones of type 1."""
FRAMESTATS = FrameColumns(
    kind_of_table="framestats", start="IntendedVsync", end="FrameCompleted", expected_start="IntendedVsync",
    expected_end="FrameDeadline", flag="Flags", flag_values={}, flag_other=2, clock="monotonic",
)  # fmt: skip
"""`dumpsys gfxinfo PACKAGE framestats`: frames whose Flags are not 0 are no ordinary ones (developer.android.com)."""
PLAIN = FrameColumns(
    kind_of_table="frames", start="start_ns", end="end_ns", expected_start="expected_start_ns",
    expected_end="expected_end_ns", label=("name",), pid="pid", tid="tid", flag="flag",
    flag_values={"0": 0, "1": 1, "2": 2, "3": 3},
)  # fmt: skip
"""A table written for us."""
DEFAULTS = (SMARTPERF, FRAMESTATS, PLAIN)
