# SPDX-License-Identifier: Apache-2.0
"""Write a perf.data from its layout: either byte order, file or pipe, with hiperf's features where asked for."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

USER, KERNEL = 2, 1
USER_CONTEXT, KERNEL_CONTEXT = 2**64 - 512, 2**64 - 128
CALLCHAIN = 1 << 5
SAMPLE_TYPE = 1 << 16 | 1 << 0 | 1 << 1 | 1 << 2 | 1 << 7 | 1 << 8 | CALLCHAIN
"""IDENTIFIER, IP, TID, TIME, CPU, PERIOD, CALLCHAIN."""


@dataclass
class PerfWriter:
    """Collects records and puts a file around them."""

    order: str = "<"
    sample_type: int = SAMPLE_TYPE
    events: tuple[tuple[int, int], ...] = ((0, 0),)
    """Type and config of each; its id is 100 and its place."""
    records: list[bytes] = field(default_factory=list)
    features: dict[int, bytes] = field(default_factory=dict)

    def pack(self, layout: str, *values: int | bytes) -> bytes:
        return struct.pack(self.order + layout, *values)

    def record(self, kind: int, body: bytes, misc: int = USER) -> None:
        self.records.append(self.pack("IHH", kind, misc, 8 + len(body)) + body)

    def mmap(self, pid: int, start: int, size: int, offset: int, name: str, *, time: int = 0, misc: int = USER) -> None:
        named = name.encode() + b"\0"
        named += b"\0" * (-len(named) % 8)
        self.record(1, self.pack("iiQQQ", pid, pid, start, size, offset) + named + self.trailer(pid, time), misc)

    def comm(self, pid: int, tid: int, name: str, *, time: int = 0) -> None:
        named = name.encode() + b"\0"
        named += b"\0" * (-len(named) % 8)
        self.record(3, self.pack("ii", pid, tid) + named + self.trailer(pid, time))

    def fork(self, parent: int, child: int, time: int) -> None:
        self.record(7, self.pack("iiiiQ", child, parent, child, parent, time) + self.trailer(child, time))

    def trailer(self, pid: int, time: int) -> bytes:
        # The fields of sample_id that SAMPLE_TYPE has: TID, TIME, CPU, IDENTIFIER.
        return self.pack("iiQIIQ", pid, pid, time, 0, 0, 100)

    def sample(
        self, time: int, pid: int, stack: Sequence[int], *, event: int = 0, weight: int = 1, cpu: int = 0,
        misc: int = USER, after: bytes = b"",
    ) -> None:  # fmt: skip
        fixed = self.pack("QQiiQIIQ", 100 + event, stack[0] if stack else 0, pid, pid, time, cpu, 0, weight)
        self.record(9, fixed + self.pack(f"Q{len(stack)}Q", len(stack), *stack) + after, misc)

    def attr(self, event: int) -> bytes:
        kind, config = self.events[event]
        # freq and sample_id_all; a bit field begins at the other end where bytes are the other way round.
        flags = (1 << 10 | 1 << 18) if self.order == "<" else (1 << 63 - 10 | 1 << 63 - 18)
        return self.pack("IIQQQQQ", kind, 112, config, 1000, self.sample_type, 0, flags).ljust(112, b"\0")

    def file(self) -> bytes:
        ids = b"".join(self.pack("Q", 100 + event) for event in range(len(self.events)))
        attrs_at = 104 + len(ids)
        attrs = b"".join(self.attr(event) + self.pack("QQ", 104 + 8 * event, 8) for event in range(len(self.events)))
        data = b"".join(self.records)
        data_at = attrs_at + len(attrs)
        bitmap = sum(1 << number for number in self.features)
        words = [bitmap >> 64 * index & 2**64 - 1 for index in range(4)]
        magic = b"PERFILE2" if self.order == "<" else b"2ELIFREP"
        head = (
            magic + self.pack("8Q", 104, 128, attrs_at, len(attrs), data_at, len(data), 0, 0) + self.pack("4Q", *words)
        )
        at = data_at + len(data) + 16 * len(self.features)
        table, bodies = b"", b""
        for number in sorted(self.features):
            table += self.pack("QQ", at + len(bodies), len(self.features[number]))
            bodies += self.features[number]
        return head + ids + attrs + data + table + bodies

    def pipe(self) -> bytes:
        magic = b"PERFILE2" if self.order == "<" else b"2ELIFREP"
        heads = PerfWriter(self.order)
        for event in range(len(self.events)):
            heads.record(64, self.attr(event) + self.pack("Q", 100 + event), 0)
        return magic + self.pack("Q", 16) + b"".join(heads.records + self.records)

    def text(self, value: str) -> bytes:
        return self.pack("I", len(value) + 1) + value.encode() + b"\0"

    def build_id(self, misc: int, path: str, build_id: str) -> bytes:
        """Return a record HEADER_BUILD_ID, of which the feature is a row."""
        name = path.encode() + b"\0"
        name += b"\0" * (-len(name) % 8)
        body = self.pack("i", -1) + bytes.fromhex(build_id).ljust(24, b"\0") + name
        return self.pack("IHH", 67, misc, 8 + len(body)) + body

    def files_symbol(
        self, objects: Iterable[tuple[str, int, int, Sequence[tuple[int, int, str]]]], *, build_id: str = ""
    ) -> bytes:
        """Return hiperf's FILES_SYMBOL of (path, text address, text offset, symbols (address, size, name))."""
        listed = list(objects)
        found = self.pack("I", len(listed))
        for path, address, offset, symbols in listed:
            found += (
                self.text(path) + self.pack("IQQ", 2, address, offset) + self.text(build_id)
                + self.pack("I", len(symbols))
            )  # fmt: skip
            for start, size, name in symbols:
                found += self.pack("QI", start, size) + self.text(name)
        return found


def large(samples: int, *, stacks: int, depth: int, seed: int = 1) -> bytes:
    """Return a perf.data of 8 processes with `stacks` different stacks of up to twice `depth` frames."""
    chance = random.Random(seed)
    writer = PerfWriter()
    pids = range(1000, 1008)
    for pid in pids:
        writer.comm(pid, pid, "worker")
        writer.mmap(pid, 0x400000, 0x200000, 0, "/srv/program")
        writer.mmap(pid, 0x7F0000000000, 0x200000, 0x1000, "/usr/lib/libwork.so")
    functions = [0x400000 + 64 * number for number in range(2000)] + [0x7F0000000000 + 64 * n for n in range(1000)]
    callers = {function: chance.choices(functions, k=4) for function in functions}
    bodies = []
    for _ in range(stacks):
        chosen = [USER_CONTEXT, chance.choice(functions)]
        for _ in range(chance.randrange(2 * depth)):
            chosen.append(chance.choice(callers[chosen[-1]]))
        bodies.append((chosen[1], struct.pack(f"<Q{len(chosen)}Q", len(chosen), *chosen)))
    # Few stacks are hot, and most are rare, as in programs.
    picked = chance.choices(range(stacks), weights=[1 / (1 + rank) for rank in range(stacks)], k=samples)
    head = struct.Struct("<IHHQQiiQIIQ")
    for number, stack in enumerate(picked):
        (leaf, body), pid = bodies[stack], pids[stack % 8]
        size = head.size + len(body)
        fixed = head.pack(9, USER, size, 100, leaf, pid, pid, 10**9 + 1000 * number, number % 4, 0, 250_000)
        writer.records.append(fixed + body)
    return writer.file()
