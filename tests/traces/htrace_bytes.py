# SPDX-License-Identifier: Apache-2.0
"""Write OpenHarmony profiler captures from their layouts."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from tests.traces.wire import varint

BOOT, REAL, MONOTONIC = 5_000_000_000, 1_700_000_000_000_000_000, 4_000_000_000


def number(field: int, value: int) -> bytes:
    """Return a varint field; nothing for 0, as proto3 has it."""
    return varint(field << 3) + varint(value & (1 << 64) - 1) if value else b""


def double(field: int, value: float) -> bytes:
    """Return a field of 64 bits."""
    return varint(field << 3 | 1) + struct.pack("<d", value)


def message(field: int, *parts: bytes | str) -> bytes:
    """Return a field of bytes: a text, or a message of parts."""
    body = b"".join(part.encode() if isinstance(part, str) else part for part in parts)
    return varint(field << 3 | 2) + varint(len(body)) + body


def packet(name: str, data: bytes, *, clock: int = 7, ts: int = BOOT) -> bytes:
    """Return a packet of a plugin."""
    body = message(1, name) + message(3, data) + number(4, clock)
    body += number(5, ts // 10**9) + number(6, ts % 10**9)
    return struct.pack("<I", len(body)) + body


def section(payload: bytes, *, kind: int = 0, length: int | None = None) -> bytes:
    """Return a section with its header."""
    head = b"OHOSPROF" + struct.pack("<QII", 1024 + len(payload) if length is None else length, 0x10000, 2)
    head += bytes(32) + struct.pack("<IQQQQQQ", kind, BOOT, REAL, REAL, MONOTONIC, MONOTONIC, MONOTONIC)
    return head.ljust(1024, b"\0") + payload


def ftrace_event(ts: int, tid: int, kind: int, *parts: bytes, tgid: int = 0) -> bytes:
    """Return an FtraceEvent in its field of a CPU's message."""
    return message(2, number(1, ts), number(2, tgid), message(50, number(1, 7), number(4, tid)), message(kind, *parts))


def ftrace(cpu: int, events: Iterable[bytes], *, overwrite: int = 0) -> bytes:
    """Return a TracePluginResult with the events of one CPU."""
    return message(2, number(1, cpu), *events, number(3, overwrite))
