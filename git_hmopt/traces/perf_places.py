# SPDX-License-Identifier: Apache-2.0
"""Which function an address of a process stood in at some time: mappings, and the symbols that hiperf keeps.

A process's mappings come in epochs: a new one begins where a mapping takes the place of another. An epoch stands on the
one before it and on what a fork took over, so little is copied. An exec forgets nothing: the kernel still works for the
old program then, and stacks lead back into it. What has no symbol in the capture is named out of files that are
provably the measured objects (`perf_names`), else by the object and the offset in it (`/lib/libc.so+0x1f`).
"""

from __future__ import annotations

import bisect
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from git_hmopt.traces.perf_header import Cursor
from git_hmopt.traces.tables import UNKNOWN, Frame, unnamed

KERNEL, USER, HYPERVISOR, GUEST_KERNEL, GUEST_USER = 1, 2, 3, 4, 5
"""perf's cpumode: whose addresses these are (PERF_RECORD_MISC_*)."""
KALLSYMS = "[kernel.kallsyms]"

UNSYMBOLISED = "frame named by object and offset: no symbol"
UNMAPPED = "frame outside every mapping"
TOO_DEEP = "mapping that came too late in a long row of others: earlier samples are read by it too"
FORGOTTEN = "process of which it is not kept what its parent had mapped: there is too much of it"

_OF_NO_PROCESS = {HYPERVISOR: "[hypervisor]", GUEST_KERNEL: "[guest.kernel]", GUEST_USER: "[guest]"}
_BUILD_ID = re.compile(r"[0-9a-f]{8,128}")
_DEEPEST = 64
_MOST_COPIED = 4_000_000
"""Mappings, of all processes together, that are put together anew where one epoch stands on too many others."""


class Place(NamedTuple):
    """One mapping: `offset` is where in the object its first byte is."""

    start: int
    end: int
    offset: int
    object: str
    symbol: str | None = None
    build_id: str = ""
    inode: int = 0
    generation: int = 0


class Layer:
    """The mappings of one epoch that are not in an earlier one."""

    def __init__(self, below: Layer | None = None) -> None:
        self.below = below
        self.depth: int = 1 if below is None else below.depth + 1
        self._starts: list[int] = []
        self._places: list[Place] = []

    def find(self, address: int) -> Place | None:
        """Return the mapping of an address; later epochs hide earlier ones."""
        layer: Layer | None = self
        while layer is not None:
            index = bisect.bisect_right(layer._starts, address) - 1
            if index >= 0 and address < layer._places[index].end:
                return layer._places[index]
            layer = layer.below
        return None

    def overlaps(self, place: Place) -> bool:
        """Say whether any mapping, of this epoch or an earlier one, has an address of `place`."""
        layer: Layer | None = self
        while layer is not None:
            index = bisect.bisect_left(layer._starts, place.end) - 1
            if index >= 0 and layer._places[index].end > place.start:
                return True
            layer = layer.below
        return False

    def insert(self, place: Place) -> None:
        """Add a mapping; of those of this layer that it touches what is left and right of it stays."""
        first = bisect.bisect_right(self._starts, place.start)
        if first and self._places[first - 1].end > place.start:
            first -= 1
        last = bisect.bisect_left(self._starts, place.end)
        touched, laid = self._places[first:last], [place]
        if touched and touched[0].start < place.start:
            laid.insert(0, touched[0]._replace(end=place.start))
        if touched and touched[-1].end > place.end:
            shift = place.end - touched[-1].start
            laid.append(touched[-1]._replace(start=place.end, offset=touched[-1].offset + shift))
        self._starts[first:last] = [one.start for one in laid]
        self._places[first:last] = laid

    def size(self) -> int:
        """Return how many mappings this epoch and those below it have."""
        return len(self._places) + (self.below.size() if self.below is not None else 0)

    def flat(self) -> Layer:
        """Return an epoch of the same mappings that stands on no other."""
        flat = self.below.flat() if self.below is not None else Layer()
        for place in self._places:
            flat.insert(place)
        return flat


@dataclass
class AddressSpaces:
    """The mappings of all processes, fed in the order of time."""

    epochs: dict[int, list[tuple[int, Layer]]] = field(default_factory=dict)
    """By pid: when each epoch began, and its mappings."""
    kernel: Layer = field(default_factory=Layer)
    kallsyms: Place | None = None
    reference: tuple[str, int] | None = None
    """The symbol by which the capture says where the kernel ran, and its address then."""
    lost: Counter[str] = field(default_factory=Counter)
    room: int = field(default_factory=lambda: _MOST_COPIED)
    """How many more mappings are put together anew."""

    def _now(self, pid: int) -> Layer:
        return self.epochs.setdefault(pid, [(0, Layer())])[-1][1]

    def map_kernel(self, place: Place) -> None:
        """Add the kernel itself, or a module. hiperf's mapping of the kernel is empty, and means everything else."""
        if place.object.startswith(KALLSYMS):
            if self.kallsyms is None:
                empty = place.end <= place.start
                symbol = place.object.removeprefix(KALLSYMS)
                self.reference = (symbol, place.offset) if symbol and not empty else None
                self.kallsyms = Place(0, 1 << 64, 0, KALLSYMS) if empty else place._replace(object=KALLSYMS)
        elif place.end > place.start:
            self.kernel.insert(place)

    def map_user(self, pid: int, time: int, place: Place) -> None:
        """Add a mapping of a process; it takes the place of those it overlaps from `time` on."""
        if place.end <= place.start:
            return
        layer = self._now(pid)
        known = layer.find(place.start)
        if known is not None and known.end >= place.end and _bias(known) == _bias(place):
            return
        if layer.overlaps(place):
            if (above := self._above(layer)) is not None:
                layer = above
                self.epochs[pid].append((time, layer))
            else:
                self.lost[TOO_DEEP] += 1
        layer.insert(place)

    def fork(self, parent: int, child: int, time: int) -> None:
        """Let a new process have what its parent has."""
        if parent == child:
            return
        layer = self._above(self._now(parent))
        if layer is None:
            # Never the parent's own: what either maps later would be the other's.
            self.lost[FORGOTTEN] += 1
            layer = Layer()
        self.epochs.setdefault(child, []).append((time, layer))

    def _above(self, layer: Layer) -> Layer | None:
        """Return a new epoch that has what another has; None where that is too much to be put together."""
        if layer.depth < _DEEPEST:
            return Layer(layer)
        self.room -= layer.size()
        return layer.flat() if self.room >= 0 else None


def _bias(place: Place) -> tuple[str, int, str, int]:
    # What perf itself writes of a process that runs already has no generation.
    return place.object, place.offset - place.start, place.build_id, place.inode


@dataclass(frozen=True)
class ObjectSymbols:
    """What hiperf wrote of one object: where its code lies, and the functions that were hit."""

    text_address: int
    text_offset: int
    build_id: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    names: tuple[str, ...]

    def name(self, address: int) -> str | None:
        """Return the function at an address of the object's own address space."""
        index = bisect.bisect_right(self.starts, address) - 1
        return self.names[index] if index >= 0 and address < self.ends[index] else None


def object_symbols(cursor: Cursor) -> dict[str, ObjectSymbols]:
    """Read hiperf's FILES_SYMBOL. Raises ShortError when it is cut."""
    found: dict[str, ObjectSymbols] = {}
    for _ in range(cursor.u32()):
        path, _kind, address, offset = cursor.text(), cursor.u32(), cursor.u64(), cursor.u64()
        # It becomes a part of paths, so it has to be what it should be.
        build_id = text if _BUILD_ID.fullmatch(text := cursor.text().lower()) else ""
        rows: list[tuple[int, int, str]] = []
        for _ in range(cursor.u32()):
            start, length = cursor.u64(), cursor.u32()
            rows.append((start, start + length, cursor.text()))
        rows.sort()
        starts = tuple(start for start, _, _ in rows)
        # Symbols of the kernel have no length. Every one that was hit is here, so the next lower one is meant.
        following = (*starts[1:], 1 << 64)
        ends = tuple(end if end > start else after for (start, end, _), after in zip(rows, following, strict=False))
        found[path] = ObjectSymbols(address, offset, build_id, starts, ends, tuple(name for _, _, name in rows))
    return found


class Elsewhere(Protocol):
    """Knows functions that the capture itself does not name."""

    def name(self, place: Place, mode: int, address: int) -> str | None:
        """Return the function at an address of a mapping."""
        ...


class Names:
    """Frames of addresses, with what could not be named counted."""

    def __init__(
        self, spaces: AddressSpaces, symbols: Mapping[str, ObjectSymbols], elsewhere: Elsewhere | None = None
    ) -> None:
        self._spaces, self._symbols, self._elsewhere = spaces, symbols, elsewhere

    def frame(self, layer: Layer | None, mode: int, address: int) -> tuple[Frame, str | None]:
        """Return the frame of an address, and why it has no symbol."""
        if mode in _OF_NO_PROCESS:
            return Frame(UNKNOWN, _OF_NO_PROCESS[mode]), UNSYMBOLISED
        place = self._kernel(address) if mode == KERNEL else layer.find(address) if layer else None
        if place is None:
            return Frame(UNKNOWN), UNMAPPED
        if place.symbol is not None:
            return Frame(place.symbol, place.object), None
        offset = address - place.start + place.offset if place.object != KALLSYMS else address - place.start
        known = self._symbols.get(place.object)
        if known is not None:
            # The text address of the kernel is -1: its symbols have the addresses themselves.
            offset = address if place.object == KALLSYMS else offset - known.text_offset + known.text_address
            name = known.name(offset)
            if name is not None:
                return Frame(name, place.object), None
        if self._elsewhere is not None and (name := self._elsewhere.name(place, mode, address)):
            return Frame(name, place.object), None
        return unnamed(place.object, offset), UNSYMBOLISED

    def _kernel(self, address: int) -> Place | None:
        base = self._spaces.kallsyms
        # Beyond the kernel's text lies what it loaded or wrote later; perf counts that as the kernel too.
        inside = base is not None and base.start <= address
        return self._spaces.kernel.find(address) or (base if inside else None)


@dataclass(frozen=True)
class StackTables:
    """hiperf's deduplicated stacks: nodes by index, by pid. An index has `bits` bits."""

    nodes: Mapping[int, Mapping[int, int]]
    bits: int

    def stack(self, pid: int, stack_id: int) -> Sequence[int]:
        """Return the addresses, leaf first, of the stack with the id `{index:bits, frames}`.

        A node is `{address:40, index of its caller:bits, is it the kernel's:1}`.
        """
        mask = (1 << self.bits) - 1
        nodes = self.nodes.get(pid, {})
        index, frames = stack_id & mask, min(stack_id >> self.bits, len(nodes))
        addresses: list[int] = []
        while index and len(addresses) < frames and index in nodes:
            node = nodes[index]
            high = 0xFFFFFF0000000000 if node >> 40 + self.bits & 1 else 0
            addresses.append(node & 0xFFFFFFFFFF | high)
            index = node >> 40 & mask
        return addresses


def stack_tables(cursor: Cursor, *, bits: int) -> StackTables:
    """Read hiperf's UNISTACK_TABLE. Raises ShortError when it is cut."""
    tables: dict[int, dict[int, int]] = {}
    for _ in range(cursor.u32()):
        pid, _size = cursor.u32(), cursor.u32()
        nodes = tables.setdefault(pid, {})
        for _ in range(cursor.u32()):
            index = cursor.u32()
            nodes[index] = cursor.u64()
    return StackTables(tables, bits)
