# SPDX-License-Identifier: Apache-2.0
"""The records of a perf.data: found one after the other, samples decoded as columns, the others one by one.

Layout of every record: include/uapi/linux/perf_event.h (enum perf_event_type); types from 64 on are those of
tools/perf/Documentation/perf.data-file-format.txt. Stacks are interned by their bytes, so that what comes after works
on distinct stacks only.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from git_hmopt.traces.perf_header import Attr, Header

Words = npt.NDArray[np.uint64]

MMAP, LOST, COMM, EXIT, THROTTLE, UNTHROTTLE, FORK, SAMPLE, MMAP2, LOST_SAMPLES, KSYMBOL = (
    1, 2, 3, 4, 5, 6, 7, 9, 10, 13, 17,
)  # fmt: skip
TRACING_DATA, AUXTRACE = 66, 71
HEADER_ATTR, HEADER_BUILD_ID, EVENT_UPDATE, HEADER_FEATURE, COMPRESSED, COMPRESSED2 = 64, 67, 78, 80, 81, 83
SPECIAL = (HEADER_ATTR, HEADER_BUILD_ID, EVENT_UPDATE, HEADER_FEATURE, COMPRESSED, COMPRESSED2)
_READ = (MMAP, MMAP2, COMM, FORK, KSYMBOL, LOST, LOST_SAMPLES, THROTTLE)
_NAMES = {
    8: "READ", 11: "AUX", 12: "ITRACE_START", 14: "SWITCH", 15: "SWITCH_CPU_WIDE", 16: "NAMESPACES", 18: "BPF_EVENT",
    19: "CGROUP", 20: "TEXT_POKE", 21: "AUX_OUTPUT_HW_ID", 22: "CALLCHAIN_DEFERRED", 65: "EVENT_TYPE",
    66: "TRACING_DATA", 68: "FINISHED_ROUND", 69: "ID_INDEX", 70: "AUXTRACE_INFO", 71: "AUXTRACE",
    72: "AUXTRACE_ERROR", 73: "THREAD_MAP", 74: "CPU_MAP", 75: "STAT_CONFIG", 76: "STAT", 77: "STAT_ROUND",
    79: "TIME_CONV", 82: "FINISHED_INIT, or SMO of hiperf",
}  # fmt: skip

IDENTIFIER, IP, TID, TIME, ADDR, ID, STREAM_ID, CPU, PERIOD = (
    1 << 16, 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 6, 1 << 9, 1 << 7, 1 << 8,
)  # fmt: skip
READ, CALLCHAIN, RAW, BRANCH_STACK, REGS_USER, STACK_USER = 1 << 4, 1 << 5, 1 << 10, 1 << 11, 1 << 12, 1 << 13
SERVER_PID = 1 << 31
MMAP_BUILD_ID = 1 << 14
"""PERF_RECORD_MISC_MMAP_BUILD_ID: a build id stands where device and inode would."""
READ_ID = 1 << 2
_FIXED = (IDENTIFIER, IP, TID, TIME, ADDR, ID, STREAM_ID, CPU, PERIOD)
_TRAILER = (TID, TIME, ID, STREAM_ID, CPU, IDENTIFIER)

BAD_SIZE = "bytes after a record whose size is none"
CUT = "bytes of a last record that was cut"
CUT_PAYLOAD = "bytes of trace data beyond the end"
BAD_SAMPLE = "sample shorter than its own fields"
BAD_STACK = "sample whose stack is longer than its record"
NO_EVENT = "sample of an unknown event"
TWO_LAYOUTS = "sample whose event cannot be told: its events have no ids"
THROTTLED = "times that the kernel stopped sampling for a while"
NOT_UNWOUND = "sample with user stack memory that nobody unwound"
SHORT_RECORD = "record shorter than its own fields"
LOST_BY_KERNEL = "lost by perf"


def starts_of(block: bytes, order: str) -> tuple[list[int], int, int]:
    """Return where whole records start, where what is left begins, and how much payload follows the last one.

    Stops at a record whose size is none, and behind one whose payload stands outside it.
    """
    low, high, kind = (6, 7, 0) if order == "<" else (7, 6, 3)
    starts: list[int] = []
    at, last, end = 0, len(block) - 8, len(block)
    while at <= last:
        size = block[at + low] | block[at + high] << 8
        if size < 8 or at + size > end:
            break
        starts.append(at)
        has_payload = block[at + kind] == TRACING_DATA or block[at + kind] == AUXTRACE
        if has_payload and (payload := _payload(block, at, order, size)):
            return starts, at + size, payload
        at += size
    return starts, at, 0


def _payload(block: bytes, at: int, order: str, size: int) -> int:
    if size < 16:
        return 0
    kind: int = struct.unpack_from(f"{order}I", block, at)[0]
    if kind == TRACING_DATA:
        return int(struct.unpack_from(f"{order}I", block, at + 8)[0] + 7 & ~7)
    return int(struct.unpack_from(f"{order}Q", block, at + 8)[0]) if kind == AUXTRACE else 0


@dataclass(frozen=True)
class Side:
    """A record that is no sample: what it says of processes, and when."""

    time: int
    kind: int
    misc: int
    body: bytes


@dataclass
class Chunk:
    """Columns of some samples of one event; `chain` indexes the interned stacks, `mode` is perf's cpumode."""

    event: int
    ts_ns: Words | None
    thread: Words | None
    """pid and tid as one word in the file's order of bytes."""
    cpu: Words | None
    weight: Words | None
    chain: npt.NDArray[np.int64]
    mode: npt.NDArray[np.uint8]
    counter: Words | None = None
    """Which counter `weight` is a reading of: then it is what it has counted since it was opened."""


@dataclass
class Records:
    """All that was read."""

    header: Header
    losses: Counter[str]
    sides: list[Side] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    chains: dict[bytes, int] = field(default_factory=dict)
    """Stacks as they stand in the file, leaf first; see `Decoder` for what its first byte may say."""
    special: Callable[[int, bytes], None] | None = None
    """Takes the records of SPECIAL; None where they would be out of place."""

    def take(self, block: bytes, starts: list[int]) -> None:
        """Decode whole records."""
        places = np.array(starts, dtype=np.int64)
        kinds, misc, sizes = _headers(block, places, self.header.order)
        is_sample = kinds == SAMPLE
        is_read = np.isin(kinds, _READ if self.special is None else (*_READ, *SPECIAL))
        unread, counts = np.unique(kinds[~is_sample & ~is_read], return_counts=True)
        for kind, count in zip(unread.tolist(), counts.tolist(), strict=True):
            if kind not in (EXIT, UNTHROTTLE):
                self.losses[f"record not used: {_NAMES.get(kind, f'type {kind}')}"] += count
        for index in np.flatnonzero(is_read).tolist():
            at = starts[index]
            self._other(int(kinds[index]), int(misc[index]), block[at + 8 : at + int(sizes[index])])
        if is_sample.any():
            Decoder(self, block, places[is_sample], sizes[is_sample], misc[is_sample]).decode()

    def _other(self, kind: int, misc: int, body: bytes) -> None:
        order = self.header.order
        if kind in (MMAP, MMAP2, COMM, FORK, KSYMBOL):
            self.sides.append(Side(self._time(kind, body), kind, misc, body))
        elif kind in (LOST, LOST_SAMPLES):
            at = 8 if kind == LOST else 0
            lost = body[at : at + 8]
            self.losses[LOST_BY_KERNEL] += int.from_bytes(lost, "little" if order == "<" else "big")
        elif kind == THROTTLE:
            self.losses[THROTTLED] += 1
        elif self.special is not None:
            self.special(kind, body)

    def _time(self, kind: int, body: bytes) -> int:
        """Return when a record was written, 0 where it does not say: perf writes those of what runs already so."""
        order = self.header.order
        if kind == FORK:
            return int(struct.unpack_from(f"{order}Q", body, 16)[0]) if len(body) >= 24 else 0
        attr = self.header.attrs[0] if self.header.attrs else None
        if attr is None or not attr.sample_id_all or not attr.sample_type & TIME:
            return 0
        present = [bit for bit in _TRAILER if attr.sample_type & bit]
        named_from = {MMAP: 32, MMAP2: 64, COMM: 8, KSYMBOL: 16}[kind]
        name_end = body.find(b"\0", named_from) + 1
        # hiperf writes such records itself, without a trailer and of any size.
        if not name_end or len(body) % 8 or (name_end + 7 & ~7) + 8 * len(present) > len(body):
            return 0
        at = len(body) - 8 * (len(present) - present.index(TIME))
        return int(struct.unpack_from(f"{order}Q", body, at)[0])


def _headers(
    block: bytes, starts: npt.NDArray[np.int64], order: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return type, misc and size of the records."""
    if (starts % 8).any():
        joined = b"".join(block[at : at + 8] for at in starts.tolist())
        words = np.frombuffer(joined, dtype=f"{order}u8")
    else:
        words = np.frombuffer(block, dtype=f"{order}u8", count=len(block) // 8)[starts // 8]
    shifts = (0, 32, 48) if order == "<" else (32, 16, 0)
    kind, misc, size = (words.astype(np.uint64) >> np.uint64(shift) for shift in shifts)
    half = np.uint64(0xFFFF)
    return (
        (kind & np.uint64(0xFFFFFFFF)).astype(np.int64), (misc & half).astype(np.int64), (size & half).astype(np.int64),
    )  # fmt: skip


class Decoder:
    """Samples of one block, as columns.

    A stack's bytes are its addresses. Two kinds have a byte before them and so are no multiple of 8: `d` before the id
    of a deduplicated stack of hiperf, `s` before a count, as many server pids, and then the addresses.
    """

    def __init__(
        self,
        records: Records,
        block: bytes,
        starts: npt.NDArray[np.int64],
        sizes: npt.NDArray[np.int64],
        misc: npt.NDArray[np.int64],
    ) -> None:
        self._records, self._order = records, records.header.order
        if (starts % 8).any() or (sizes % 8).any():
            whole = [bytes(block[at : at + size]) for at, size in zip(starts.tolist(), sizes.tolist(), strict=True)]
            block = b"".join(one.ljust(len(one) + 7 & ~7, b"\0") for one in whole)
            padded = sizes + 7 & ~7
            starts = np.cumsum(padded) - padded
        self._block = block
        self._words: Words = np.frombuffer(block, dtype=f"{self._order}u8", count=len(block) // 8)
        self._starts, self._sizes, self._misc = starts // 8, sizes // 8, misc

    def decode(self) -> None:
        """Add a chunk for each event."""
        attrs = self._records.header.attrs
        layouts = {attr.sample_type for attr in attrs}
        has_ids = any(attr.ids for attr in attrs)
        place = _id_place(attrs[0].sample_type) if attrs else None
        if not attrs or (place is None and len(layouts) > 1):
            self._records.losses[NO_EVENT if not attrs else TWO_LAYOUTS] += len(self._starts)
            return
        everything = np.arange(len(self._starts))
        if len(attrs) == 1 or place is None or not has_ids:
            self._event(0, everything)
            return
        everything = everything[self._counted(self._sizes > place, BAD_SAMPLE)]
        event = self._event_of(self._words[self._starts[everything] + place])
        self._counted(event >= 0, NO_EVENT)
        for number in np.unique(event[event >= 0]).tolist():
            self._event(number, everything[event == number])

    def _event_of(self, found: Words) -> npt.NDArray[np.int64]:
        """Return the numbers of the events with these ids, -1 for those of none."""
        ids = {number: index for index, attr in enumerate(self._records.header.attrs) for number in attr.ids}
        known = np.array(sorted(ids), dtype=np.uint64)
        events = np.array([ids[number] for number in sorted(ids)], dtype=np.int64)
        index = np.minimum(np.searchsorted(known, found), len(known) - 1)
        # perf itself gives samples with the id 0 to the first event.
        return np.where(known[index] == found, events[index], np.where(found == 0, 0, -1))

    def _counted(self, good: npt.NDArray[np.bool_], reason: str) -> npt.NDArray[np.bool_]:
        lost = int(len(good) - np.count_nonzero(good))
        if lost:
            self._records.losses[reason] += lost
        return good

    def _event(self, event: int, rows: npt.NDArray[np.int64]) -> None:
        attr = self._records.header.attrs[event]
        places = _places(attr.sample_type)
        fixed = 1 + len(places)
        rows = rows[self._counted(self._sizes[rows] >= fixed, BAD_SAMPLE)]
        if IP not in places and not attr.sample_type & CALLCHAIN:
            self._records.losses["sample without an address"] += len(rows)
            return
        rows, chain = self._chains(attr, rows, fixed)
        if attr.sample_type & READ and attr.read_format & READ_ID and attr.ids:
            self._readings(attr, rows, chain, fixed)
        else:
            self._add(event, attr, rows, chain)

    def _add(
        self,
        event: int,
        attr: Attr,
        rows: npt.NDArray[np.int64],
        chain: npt.NDArray[np.int64],
        reading: tuple[Words, Words] | None = None,
    ) -> None:
        places = _places(attr.sample_type)

        def column(bit: int) -> Words | None:
            return self._words[self._starts[rows] + places[bit]].astype(np.uint64) if bit in places else None

        counter, value = reading or (None, column(PERIOD))
        self._records.chunks.append(
            Chunk(
                event=event,
                ts_ns=column(TIME),
                thread=column(TID),
                cpu=column(CPU),
                weight=value,
                chain=chain,
                mode=(self._misc[rows] & 7).astype(np.uint8),
                counter=counter,
            )
        )

    def _readings(self, attr: Attr, rows: npt.NDArray[np.int64], chain: npt.NDArray[np.int64], fixed: int) -> None:
        """Add a sample for each counter that was read with it: so perf lets one event sample for a group of them."""
        enabled, running, _, grouped, lost = (attr.read_format >> bit & 1 for bit in range(5))
        first = self._starts[rows] + fixed
        if not grouped:
            self._reading(attr, rows, chain, first, first + 1 + enabled + running)
            return
        members = self._words[first].astype(np.int64)
        values = first + 1 + enabled + running
        for member in range(int(members.max(initial=0))):
            there = members > member
            value = values[there] + member * (2 + lost)
            self._reading(attr, rows[there], chain[there], value, value + 1)

    def _reading(
        self,
        attr: Attr,
        rows: npt.NDArray[np.int64],
        chain: npt.NDArray[np.int64],
        value: npt.NDArray[np.int64],
        counter: npt.NDArray[np.int64],
    ) -> None:
        counters, values = (self._words[place].astype(np.uint64) for place in (counter, value))
        events = self._event_of(counters)
        self._counted(events >= 0, NO_EVENT)
        for event in np.unique(events[events >= 0]).tolist():
            mine = events == event
            self._add(event, attr, rows[mine], chain[mine], (counters[mine], values[mine]))

    def _chains(
        self, attr: Attr, rows: npt.NDArray[np.int64], fixed: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the rows whose stacks can be read, and their stacks' numbers."""
        places = _places(attr.sample_type)
        first = self._starts[rows] + fixed
        end = self._starts[rows] + self._sizes[rows]
        if attr.sample_type & READ:
            first, good = self._after_read(attr, first, end)
            rows, first, end = rows[good], first[good], end[good]
        if not attr.sample_type & CALLCHAIN:
            return rows, self._interned(self._starts[rows] + places[IP], self._starts[rows] + places[IP] + 1)
        good = self._counted(first < end, BAD_SAMPLE)
        rows, first, end = rows[good], first[good], end[good]
        depth = self._words[first].astype(np.uint64)
        good = self._counted(depth <= (end - first - 1).astype(np.uint64), BAD_STACK)
        rows, first, end, count = rows[good], first[good], end[good], depth[good].astype(np.int64)
        address = self._starts[rows] + places.get(IP, 0)
        chain = self._interned(
            np.where(count > 0, first + 1, address), np.where(count > 0, first + 1 + count, address + (IP in places))
        )
        if attr.sample_type & (REGS_USER | STACK_USER | SERVER_PID) or self._records.header.is_hiperf:
            self._extras(attr, chain, first + 1 + count, end, count)
        return rows, chain

    def _after_read(
        self, attr: Attr, first: npt.NDArray[np.int64], end: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Step over the counter values: read_format says which there are (bits enabled, running, id, group, lost)."""
        enabled, running, identified, grouped, lost = (attr.read_format >> bit & 1 for bit in range(5))
        if not grouped:
            after = first + 1 + enabled + running + identified + lost
            return after, self._counted(after <= end, BAD_SAMPLE)
        inside = np.minimum(first, len(self._words) - 1)
        members = np.minimum(self._words[inside].astype(np.uint64), 1 << 16).astype(np.int64)
        after = first + 1 + enabled + running + members * (1 + identified + lost)
        return after, self._counted(after <= end, BAD_SAMPLE)

    def _interned(self, begin: npt.NDArray[np.int64], end: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        chains, block = self._records.chains, self._block
        pairs = zip((begin * 8).tolist(), (end * 8).tolist(), strict=True)
        return np.fromiter(
            (chains.setdefault(block[at:to], len(chains)) for at, to in pairs), dtype=np.int64, count=len(begin)
        )

    def _extras(
        self,
        attr: Attr,
        chain: npt.NDArray[np.int64],
        first: npt.NDArray[np.int64],
        end: npt.NDArray[np.int64],
        count: npt.NDArray[np.int64],
    ) -> None:
        """Look at what follows the stack: memory nobody unwound, hiperf's servers, and its ids of stacks."""
        if attr.sample_type & (RAW | BRANCH_STACK):
            return
        chains = self._records.chains
        is_hiperf = self._records.header.is_hiperf
        wanted = np.flatnonzero(count == 0) if not attr.sample_type & (STACK_USER | SERVER_PID) else range(len(count))
        for row in wanted:
            at, to, depth = int(first[row]), int(end[row]), int(count[row])
            after, servers, memory = self._walk(attr, at, to)
            if memory:
                self._records.losses[NOT_UNWOUND] += 1
            if is_hiperf and not depth and to - after == 1:
                chain[row] = chains.setdefault(b"d" + self._block[to * 8 - 8 : to * 8], len(chains))
            elif depth and servers:
                stack = self._block[(at - depth) * 8 : at * 8]
                key = b"s" + struct.pack(f"{self._order}{len(servers) + 1}Q", len(servers), *servers) + stack
                chain[row] = chains.setdefault(key, len(chains))

    def _walk(self, attr: Attr, at: int, to: int) -> tuple[int, list[int], bool]:
        """Return where registers, servers and stack memory end, the servers, and whether there is memory."""
        servers: list[int] = []
        memory = False
        if attr.sample_type & REGS_USER and at < to:
            at += 1 + (attr.user_registers if self._words[at] else 0)
        if attr.sample_type & SERVER_PID and at < to:
            behind = at + 1 + int(self._words[at])
            servers = self._words[at + 1 : min(behind, to)].tolist()
            at = behind
        if attr.sample_type & STACK_USER and at < to:
            size = int(self._words[at])
            memory = size > 0
            # Of the memory that was asked for, the last word says how much there is.
            at += 1 + (size // 8 + 1 if memory else 0)
        return at, servers, memory


def _places(sample_type: int) -> dict[int, int]:
    """Return in which word of a sample each of the fields of fixed size stands."""
    present = [bit for bit in _FIXED if sample_type & bit]
    return {bit: 1 + index for index, bit in enumerate(present)}


def _id_place(sample_type: int) -> int | None:
    places = _places(sample_type)
    return places.get(IDENTIFIER, places.get(ID))


def addresses(key: bytes, order: str) -> tuple[Sequence[int], list[int]]:
    """Return a stack's words, and the server pids that go with it."""
    servers: list[int] = []
    if len(key) % 8:
        words = struct.unpack(f"{order}{len(key) // 8}Q", key[1:])
        servers, words = list(words[1 : 1 + words[0]]), words[1 + words[0] :]
        return words, servers
    return struct.unpack(f"{order}{len(key) // 8}Q", key), servers
