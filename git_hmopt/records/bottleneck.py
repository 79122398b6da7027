# SPDX-License-Identifier: Apache-2.0
"""The names of the bottleneck classes, in the order that decides between equals: the more special one first.

They stand here and not where classes are decided, since a configuration names them too. Imports no pydantic.
"""

from __future__ import annotations

from typing import Literal, get_args

BottleneckClass = Literal[
    "frame-stability",
    "priority-inversion",
    "reclaim",
    "lock-contention",
    "interrupts",
    "io-wait",
    "wakeup-latency",
    "scheduler-latency",
    "allocation",
    "syscall-overhead",
    "memory-bound",
    "cpu-bound-loop",
    "call-overhead",
    "unknown",
]
CLASSES: tuple[BottleneckClass, ...] = get_args(BottleneckClass)

FRAME_STABILITY: BottleneckClass = "frame-stability"
PRIORITY_INVERSION: BottleneckClass = "priority-inversion"
RECLAIM: BottleneckClass = "reclaim"
LOCK_CONTENTION: BottleneckClass = "lock-contention"
INTERRUPTS: BottleneckClass = "interrupts"
IO_WAIT: BottleneckClass = "io-wait"
WAKEUP_LATENCY: BottleneckClass = "wakeup-latency"
SCHEDULER_LATENCY: BottleneckClass = "scheduler-latency"
ALLOCATION: BottleneckClass = "allocation"
SYSCALL_OVERHEAD: BottleneckClass = "syscall-overhead"
MEMORY_BOUND: BottleneckClass = "memory-bound"
CPU_BOUND_LOOP: BottleneckClass = "cpu-bound-loop"
CALL_OVERHEAD: BottleneckClass = "call-overhead"
UNKNOWN: BottleneckClass = "unknown"
