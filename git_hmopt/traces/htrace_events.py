# SPDX-License-Identifier: Apache-2.0
"""How the events of OpenHarmony's ftrace plugin are numbered, and how the kernel prints each.

The plugin takes the kernel's records apart (developtools_profiler, protos/types/plugins/ftrace_data); what is left are
fields by number. `%2d` prints field 2; the letters are those of `_PRINTED`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

PRINT = 1109
"""The number of `print`, which holds what programs wrote into the trace."""
_TASK = "comm=%1n pid=%2d prio=%3d"
_CLOCK = "%1s state=%2u cpu_id=%3u"
_WORK = "work struct %1p: function %2f"
_BLOCK_RQ = "%1v %5s %4u (%7s) %2u + %3u [%6s]"

KNOWN: Mapping[int, tuple[str, str]] = {
    104: ("binder_command", "cmd=0x%1x"),
    112: ("binder_return", "cmd=0x%1x"),
    113: (
        "binder_transaction",
        "transaction=%1d dest_node=%2d dest_proc=%3d dest_thread=%4d reply=%5d flags=0x%7x code=0x%6x",
    ),
    114: (
        "binder_transaction_alloc_buf",
        "transaction=%1d data_size=%2u offsets_size=%3u extra_buffers_size=%4u",
    ),
    119: ("binder_transaction_received", "transaction=%1d"),
    209: ("block_rq_complete", "%1v %5s (%6s) %2u + %3u [%4d]"),
    210: ("block_rq_insert", _BLOCK_RQ),
    211: ("block_rq_issue", _BLOCK_RQ),
    1400: ("ipi_entry", "(%1s)"),
    1401: ("ipi_exit", "(%1s)"),
    1500: ("irq_handler_entry", "irq=%1d name=%2s"),
    1501: ("irq_handler_exit", "irq=%1d ret=%2h"),
    1502: ("softirq_entry", "vec=%1u [action=%1q]"),
    1503: ("softirq_exit", "vec=%1u [action=%1q]"),
    1504: ("softirq_raise", "vec=%1u [action=%1q]"),
    1800: ("oom_score_adj_update", "pid=%2d comm=%1s oom_score_adj=%3d"),
    2000: ("clock_disable", _CLOCK),
    2001: ("clock_enable", _CLOCK),
    2002: ("clock_set_rate", _CLOCK),
    2003: ("cpu_frequency", "state=%1u cpu_id=%2u"),
    2004: ("cpu_frequency_limits", "min=%1u max=%2u cpu_id=%3u"),
    2005: ("cpu_idle", "state=%1u cpu_id=%2u"),
    2019: ("suspend_resume", "%1s[%2u] %3b"),
    2402: ("sched_migrate_task", f"{_TASK} orig_cpu=%4d dest_cpu=%5d"),
    2404: ("sched_pi_setprio", "comm=%1n pid=%2d oldprio=%3d newprio=%4d"),
    2405: ("sched_process_exec", "filename=%1s pid=%2d old_pid=%3d"),
    2406: ("sched_process_exit", _TASK),
    2407: ("sched_process_fork", "comm=%1n pid=%2d child_comm=%3n child_pid=%4d"),
    2408: ("sched_process_free", _TASK),
    2409: ("sched_process_wait", _TASK),
    2410: ("sched_stat_blocked", "comm=%1n pid=%2d delay=%3u [ns]"),
    2411: ("sched_stat_iowait", "comm=%1n pid=%2d delay=%3u [ns]"),
    2412: ("sched_stat_runtime", "comm=%1n pid=%2d runtime=%3u [ns] vruntime=%4u [ns]"),
    2413: ("sched_stat_sleep", "comm=%1n pid=%2d delay=%3u [ns]"),
    2414: ("sched_stat_wait", "comm=%1n pid=%2d delay=%3u [ns]"),
    2417: (
        "sched_switch",
        "prev_comm=%1n prev_pid=%2d prev_prio=%3d prev_state=%4t ==> next_comm=%5n next_pid=%6d next_prio=%7d",
    ),
    2419: ("sched_wake_idle_without_ipi", "cpu=%1d"),
    2420: ("sched_wakeup", f"{_TASK} target_cpu=%5c"),
    2421: ("sched_wakeup_new", f"{_TASK} target_cpu=%5c"),
    2422: ("sched_waking", f"{_TASK} target_cpu=%5c"),
    3002: ("mm_vmscan_direct_reclaim_begin", "order=%1d may_writepage=%2d gfp_flags=0x%3x classzone_idx=%4d"),
    3003: ("mm_vmscan_direct_reclaim_end", "nr_reclaimed=%1u"),
    3004: ("mm_vmscan_kswapd_sleep", "nid=%1d"),
    3005: ("mm_vmscan_kswapd_wake", "nid=%1d order=%3d"),
    3008: ("mm_vmscan_wakeup_kswapd", "nid=%1d order=%3d gfp_flags=0x%4x"),
    3100: ("workqueue_activate_work", "work struct %1p"),
    3101: ("workqueue_execute_end", _WORK),
    3102: ("workqueue_execute_start", _WORK),
    3103: ("workqueue_queue_work", "work struct=%1p function=%2f workqueue=%6s req_cpu=%4d cpu=%5d"),
    4002: ("sched_blocked_reason", "pid=%1d iowait=%3u caller=%4k"),
    4004: ("rss_stat", "mm_id=%1u curr=%2d member=%3d size=%4dB"),
}
_SOFTIRQS = ("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU")
_STATES = ("S", "D", "T", "t", "X", "Z", "P", "I")
_PREEMPTED = 0x100


class Values(NamedTuple):
    """The fields of one event: numbers, and texts; one that is absent is 0 or empty."""

    numbers: Mapping[int, int]
    texts: Mapping[int, str]
    symbols: Callable[[int], str | None]
    """Names an address of the kernel."""
    comms: Mapping[int, str]
    """The names of threads."""

    def signed(self, number: int) -> int:
        """Return an int32 or int64."""
        value = self.numbers.get(number, 0)
        return value - (1 << 64) if value >> 63 else value

    def pointed(self, number: int) -> str:
        """Return the symbol of an address, or the address."""
        address = self.numbers.get(number, 0)
        return self.symbols(address) or f"0x{address:x}"


def printed(number: int, values: Values) -> tuple[str, str]:
    """Return name and arguments of an event; fields of one that is not known here are called by their numbers."""
    if number not in KNOWN:
        together = {**{key: str(values.signed(key)) for key in values.numbers}, **values.texts}
        return f"event_{number}", " ".join(f"field_{key}={together[key]}" for key in sorted(together))
    name, template = KNOWN[number]
    return name, "".join(piece if isinstance(piece, str) else piece[1](values, piece[0]) for piece in _pieces(template))


Printer = Callable[[Values, int], str]


@lru_cache(maxsize=256)
def _pieces(template: str) -> tuple[str | tuple[int, Printer], ...]:
    parts = re.split(r"%(\d+)([a-z])", template)
    pieces: list[str | tuple[int, Printer]] = []
    for at in range(0, len(parts) - 1, 3):
        pieces += [parts[at], (int(parts[at + 1]), _PRINTED[parts[at + 2]])]
    return (*pieces, parts[-1])


def _state(values: Values, number: int) -> str:
    """Print a state as Linux does since 4.14: what of TASK_REPORT is set, and whether it was preempted."""
    state = values.numbers.get(number, 0)
    names = [name for bit, name in enumerate(_STATES) if state >> bit & 1]
    return ("|".join(names) or "R") + ("+" if state & _PREEMPTED else "")


def _softirq(values: Values, number: int) -> str:
    vector = values.numbers.get(number, 0)
    return _SOFTIRQS[vector] if vector < len(_SOFTIRQS) else f"0x{vector:x}"


def _caller(values: Values, number: int) -> str:
    # New writers name the caller themselves; of old ones only the address is there, two fields before.
    return values.texts.get(number) or values.pointed(number - 2)


def _device(values: Values, number: int) -> str:
    device = values.numbers.get(number, 0)
    return f"{device >> 20},{device & 0xFFFFF}"


_PRINTED: Mapping[str, Printer] = {
    "b": lambda values, number: "begin" if values.numbers.get(number, 0) else "end",
    "c": lambda values, number: f"{values.signed(number):03d}",
    "d": lambda values, number: str(values.signed(number)),
    "f": Values.pointed,
    "h": lambda values, number: "handled" if values.numbers.get(number, 0) else "unhandled",
    "k": _caller,
    # A name is left out where a dictionary of the threads' names is written; the tid is always the next field.
    "n": lambda values, number: values.texts.get(number) or values.comms.get(values.signed(number + 1), ""),
    "p": lambda values, number: f"{values.numbers.get(number, 0):016x}",
    "q": _softirq,
    "s": lambda values, number: values.texts.get(number, ""),
    "t": _state,
    "u": lambda values, number: str(values.numbers.get(number, 0)),
    "v": _device,
    "x": lambda values, number: f"{values.numbers.get(number, 0):x}",
}
