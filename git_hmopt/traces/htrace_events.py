# SPDX-License-Identifier: Apache-2.0
"""How the events of OpenHarmony's ftrace plugin are numbered, and how the kernel prints each.

The plugin takes the kernel's records apart (developtools_profiler, protos/types/plugins/ftrace_data); what is left are
fields by number. `%2d` prints field 2; the letters are those of `_PRINTED`.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl

from git_hmopt.traces import protobuf
from git_hmopt.traces.wire_columns import Block, Fields, Mask, Places, Words, fields_of

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


class Known:
    """What a capture says of all events: the kernel's symbols by address, and the names of threads."""

    def __init__(self, symbols: Mapping[int, str], comms: Mapping[int, str]) -> None:
        self._addresses = sorted(symbols)
        self._symbols, self.comms = symbols, comms

    def symbol(self, address: int) -> str:
        """Return the symbol that an address lies in, or the address."""
        at = bisect.bisect_right(self._addresses, address) - 1
        return (self._symbols[self._addresses[at]] if at >= 0 else "") or f"0x{address:x}"


def printed(kind: int, block: Block, begin: Places, end: Places, known: Known, bad: Mask) -> tuple[str, pl.Series]:
    """Return the name of a kind of events and the arguments of each; those that are no message are marked in `bad`."""
    name, template = KNOWN[kind]
    pieces = _pieces(template)
    fields = fields_of(block, begin, end, _needed(template), bad)
    columns = {
        f"{place}": one[1](fields, one[0], known) for place, one in enumerate(pieces) if not isinstance(one, str)
    }
    parts = [
        pl.lit(one) if isinstance(one, str) else pl.col(f"{place}") for place, one in enumerate(pieces) if one != ""
    ]
    return name, pl.DataFrame(columns).select(pl.concat_str(parts).alias("args"))["args"]


def unnamed(raw: bytes, begin: int, end: int) -> str:
    """Print the fields of one event of a kind that is not known here, by their numbers. WireError: it is no message."""
    numbers, places = protobuf.flat(raw, begin, end)
    texts = {key: raw[first:last].decode(errors="replace") for key, (first, last) in places.items()}
    together = {**{key: str(protobuf.signed(value)) for key, value in numbers.items()}, **texts}
    return " ".join(f"field_{key}={together[key]}" for key in sorted(together))


Printer = Callable[[Fields, int, Known], pl.Series]


@lru_cache(maxsize=256)
def _pieces(template: str) -> tuple[str | tuple[int, Printer], ...]:
    parts = re.split(r"%(\d+)([a-z])", template)
    pieces: list[str | tuple[int, Printer]] = []
    for at in range(0, len(parts) - 1, 3):
        pieces += [parts[at], (int(parts[at + 1]), _PRINTED[parts[at + 2]])]
    return (*pieces, parts[-1])


@lru_cache(maxsize=256)
def _needed(template: str) -> frozenset[int]:
    """Return the fields that a template prints, and those that are taken where one of them is not written."""
    needed = set()
    for number, letter in re.findall(r"%(\d+)([a-z])", template):
        needed |= {int(number), int(number) + (1 if letter == "n" else -2 if letter == "k" else 0)}
    return frozenset(needed)


def _each(values: Words, told: Callable[[int], str]) -> pl.Series:
    """Print numbers of which there are few different ones."""
    different, place = np.unique(values, return_inverse=True)
    return pl.Series([told(one) for one in different.tolist()], dtype=pl.String).gather(place.reshape(-1))


def _signed(values: Words) -> npt.NDArray[np.int64]:
    return values.view(np.int64)


def _decimal(fields: Fields, number: int, known: Known) -> pl.Series:
    return pl.Series(_signed(fields.unsigned(number))).cast(pl.String)


def _unsigned(fields: Fields, number: int, known: Known) -> pl.Series:
    return pl.Series(fields.unsigned(number)).cast(pl.String)


def _state_text(state: int) -> str:
    """Print a state as Linux does since 4.14: what of TASK_REPORT is set, and whether it was preempted."""
    names = [name for bit, name in enumerate(_STATES) if state >> bit & 1]
    return ("|".join(names) or "R") + ("+" if state & _PREEMPTED else "")


def _softirq_text(vector: int) -> str:
    return _SOFTIRQS[vector] if vector < len(_SOFTIRQS) else f"0x{vector:x}"


def _of(told: Callable[[int], str]) -> Printer:
    return lambda fields, number, known: _each(fields.unsigned(number), told)


def _pointed(fields: Fields, number: int, known: Known) -> pl.Series:
    return _each(fields.unsigned(number), known.symbol)


def _caller(fields: Fields, number: int, known: Known) -> pl.Series:
    # New writers name the caller themselves; of old ones only the address is there, two fields before.
    return _or(fields.texts(number), lambda: _pointed(fields, number - 2, known))


def _thread_name(fields: Fields, number: int, known: Known) -> pl.Series:
    # A name is left out where a dictionary of the threads' names is written; the tid is always the next field.
    def called(tid: int) -> str:
        return known.comms.get(protobuf.signed(tid), "")

    return _or(fields.texts(number), lambda: _each(fields.unsigned(number + 1), called))


def _or(texts: pl.Series, otherwise: Callable[[], pl.Series]) -> pl.Series:
    empty = texts == ""
    return texts if not empty.any() else otherwise().zip_with(empty, texts)


_PRINTED: Mapping[str, Printer] = {
    "b": _of(lambda value: "begin" if value else "end"),
    "c": lambda fields, number, known: _each(fields.unsigned(number), lambda value: f"{protobuf.signed(value):03d}"),
    "d": _decimal,
    "f": _pointed,
    "h": _of(lambda value: "handled" if value else "unhandled"),
    "k": _caller,
    "n": _thread_name,
    "p": _of(lambda value: f"{value:016x}"),
    "q": _of(_softirq_text),
    "s": lambda fields, number, known: fields.texts(number),
    "t": _of(_state_text),
    "u": _unsigned,
    "v": _of(lambda device: f"{device >> 20},{device & 0xFFFFF}"),
    "x": _of(lambda value: f"{value:x}"),
}
