# SPDX-License-Identifier: Apache-2.0
"""Read protocol buffers' wire format (https://protobuf.dev/programming-guides/encoding/), field by field, by number."""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap
from typing import NamedTuple

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_BITS = 64


class WireError(ValueError):
    """The bytes are no message."""


class Field(NamedTuple):
    """One field: of a varint or a fixed number `value`, else the bytes from `begin` to `end`."""

    number: int
    value: int
    begin: int
    end: int
    is_bytes: bool = False

    @property
    def signed(self) -> int:
        """Return the value of an int32 or int64, which are written as 64 bits."""
        return signed(self.value)


def fields(content: bytes | mmap, begin: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message between two places. Raises WireError where it is none."""
    at = begin
    while at < end:
        key, at = _varint(content, at, end)
        number, kind = key >> 3, key & 7
        if not number:
            raise WireError(f"field 0 at byte {at}")
        if kind == _VARINT:
            value, at = _varint(content, at, end)
            yield Field(number, value, at, at)
        elif kind == _BYTES:
            length, at = _varint(content, at, end)
            if length > end - at:
                raise WireError(f"{length} bytes at byte {at}, of {end - at}")
            yield Field(number, 0, at, at + length, is_bytes=True)
            at += length
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
            if size > end - at:
                raise WireError(f"a number cut at byte {at}")
            yield Field(number, int.from_bytes(content[at : at + size], "little"), at, at + size)
            at += size
        else:
            raise WireError(f"wire type {kind} at byte {at}")


def listed(content: bytes) -> list[tuple[int, int, bytes | None]]:
    """Return number, value and bytes of every field of a small message: `fields`, for what there are millions of."""
    found: list[tuple[int, int, bytes | None]] = []
    at, end = 0, len(content)
    while at < end - 1:
        key, value = content[at], content[at + 1]
        if key > 0x7F or value > 0x7F or key < 8 or key & 7 not in (_VARINT, _BYTES):
            break
        at += 2
        if key & 7 == _VARINT:
            found.append((key >> 3, value, None))
        elif value > end - at:
            raise WireError(f"{value} bytes at byte {at}, of {end - at}")
        else:
            found.append((key >> 3, 0, content[at : at + value]))
            at += value
    # From the first number of more than a byte on, the slow way.
    for one in fields(content, at, end):
        found.append((one.number, one.value, content[one.begin : one.end] if one.is_bytes else None))
    return found


def packed(content: bytes) -> list[int]:
    """Return the numbers of a packed repeated field, as 64 bits each. Raises WireError where one does not end."""
    if content.isascii():
        return list(content)
    found, at = [], 0
    while at < len(content):
        value, at = _varint(content, at, len(content))
        found.append(value)
    return found


def varint(value: int) -> bytes:
    """Return a number as it is written."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def signed(value: int) -> int:
    """Return the int64 that 64 bits are."""
    return value - (1 << 64) if value >> 63 else value


def flat(content: bytes, begin: int, end: int) -> tuple[dict[int, int], dict[int, tuple[int, int]]]:
    """Return a message's numbers, and the places of its bytes, by field; of a repeated field the last.

    The same as `fields` for small messages of which there are millions. Raises WireError where it is none.
    """
    numbers: dict[int, int] = {}
    places: dict[int, tuple[int, int]] = {}
    at = begin
    try:
        while at < end:
            start, key = at, content[at]
            at += 1
            if key > 0x7F:
                key, at = _varint(content, start, end)
            value = content[at] if key & 7 in (_VARINT, _BYTES) else 0
            at += 1
            if value > 0x7F:
                value, at = _varint(content, at - 1, end)
            if key >> 3 and key & 7 == _VARINT:
                numbers[key >> 3] = value
            elif key >> 3 and key & 7 == _BYTES:
                places[key >> 3] = (at, at + value)
                at += value
            else:
                # Rare enough for the slow way, or no field at all.
                one = next(fields(content, start, end))
                numbers[one.number], at = one.value, one.end
    except IndexError:
        at = end + 1
    if at > end:
        raise WireError(f"a message cut at byte {end}")
    return numbers, places


def _varint(content: bytes | mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << _MOST_BITS) - 1, at
        shift += 7
        if shift >= 70:
            break
    raise WireError(f"a number that does not end at byte {at}")
