# SPDX-License-Identifier: Apache-2.0
"""Small traces made line by line, for the tests of KPIs."""

from __future__ import annotations

import polars as pl

from git_hmopt.runtime.kpis import Kpis, kpis_of
from git_hmopt.traces.capture import Losses
from git_hmopt.traces.ftrace_text import parse_block


class Trace:
    """Lines of ftrace text; times are microseconds."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def event(self, us: int, event: str, args: str, *, cpu: int = 0, tid: int = 0, pid: int | None = None) -> None:
        group = "(-----)" if pid is None else f"({pid:5})"
        stamp = f"{us // 10**6}.{us % 10**6:06}"
        self.lines.append(f" t{tid}-{tid} {group} [{cpu:03}] d..2. {stamp}: {event}: {args}")

    def switch(self, us: int, prev: int, state: str, following: int, *, cpu: int = 0) -> None:
        args = (
            f"prev_comm={comm(prev, cpu)} prev_pid={prev} prev_prio=120 prev_state={state} ==> "
            f"next_comm={comm(following, cpu)} next_pid={following} next_prio=120"
        )
        self.event(us, "sched_switch", args, cpu=cpu, tid=prev)

    def wake(self, us: int, tid: int, *, by: int = 0, cpu: int = 0) -> None:
        self.event(us, "sched_wakeup", f"comm={comm(tid, cpu)} pid={tid} prio=120 target_cpu=000", cpu=cpu, tid=by)

    def mark(self, us: int, payload: str, *, tid: int, pid: int = 1, cpu: int = 0) -> None:
        self.event(us, "tracing_mark_write", payload, cpu=cpu, tid=tid, pid=pid)

    def lost(self, cpu: int) -> None:
        self.lines.append(f"CPU:{cpu} [LOST 3 EVENTS]")

    def frame(self) -> pl.DataFrame:
        return parse_block("\n".join(self.lines).encode())[0]

    def kpis(self, batch: int | None = None) -> Kpis:
        frame = self.frame()
        return kpis_of([frame] if batch is None else list(frame.iter_slices(batch)), Losses())


def comm(tid: int, cpu: int) -> str:
    return f"t {tid}" if tid else f"swapper/{cpu}"


def value(found: Kpis, name: str, who: str = "all") -> str | None:
    one = found.find(name, who)
    assert one is not None, f"there is no {name} of {who}"
    return one.value
