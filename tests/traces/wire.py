# SPDX-License-Identifier: Apache-2.0
"""Write protocol buffers' wire format, for the tests of what reads it."""

from __future__ import annotations

from collections.abc import Iterable


def varint(value: int) -> bytes:
    """Return a number, of which 64 bits are written."""
    value &= 2**64 - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    """Return a field of a number."""
    return varint(field << 3) + varint(value)


def nested(field: int, *parts: bytes) -> bytes:
    """Return a field of bytes: text, or a message of the fields `parts`."""
    content = b"".join(parts)
    return varint(field << 3 | 2) + varint(len(content)) + content


def packed(field: int, values: Iterable[int]) -> bytes:
    """Return a repeated field of numbers, packed."""
    return nested(field, *map(varint, values))
