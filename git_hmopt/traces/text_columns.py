# SPDX-License-Identifier: Apache-2.0
"""A block of text as columns of positions: cut, searched and turned into numbers for all lines at once, by numpy.

An expression per line costs ten times as much: of a trace's line only a few places have to be looked at.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

Places = NDArray[np.int64]
Mask = NDArray[np.bool_]

PAD = 64
"""Line ends before and after the block, so that a look some bytes aside stays inside."""
_LINE_ENDS = b"\n" * PAD
_ZERO = np.uint8(ord("0"))
_MOST_DIGITS = 18
"""What an int64 holds, whatever the digits."""


class TextColumns:
    """One block of text. Positions count bytes from the block's padded start."""

    def __init__(self, block: bytes) -> None:
        if not block.isascii():
            # Strings of a table are UTF-8; what is not says so by its replacement characters.
            block = block.decode(errors="replace").encode()
        self.begin = PAD
        """Where the block's own bytes begin."""
        self.raw = b"".join((_LINE_ENDS, block, _LINE_ENDS))
        self.bytes = np.frombuffer(self.raw, np.uint8)
        self._repeated: pl.Series | None = None
        self._found = np.empty(len(self.bytes), np.bool_)

    def eights(self, at: Places) -> NDArray[np.uint64]:
        """Return the eight bytes that begin at each position, the first of them lowest."""
        count = len(self.raw) - 7
        return np.ndarray((count,), np.dtype("<u8"), buffer=self.raw, strides=(1,))[at]

    def all(self, character: str) -> Places:
        """Return where the character stands, in order."""
        return np.flatnonzero(np.equal(self.bytes, ord(character), out=self._found))

    def lines(self) -> tuple[Places, Places]:
        """Return where lines begin and where they end, without those that are too short to hold anything."""
        ends = self.all("\n")[PAD:]
        starts = np.empty_like(ends)
        starts[0] = PAD
        starts[1:] = ends[:-1] + 1
        filled = ends - starts > 1
        return starts[filled], ends[filled]

    def skip(self, at: Places, character: str, most: int = PAD) -> Places:
        """Return the first position from `at` on that holds another character."""
        wanted = ord(character)
        for _ in range(most):
            same = self.bytes[at] == wanted
            if not same.any():
                break
            at = at + same
        return at

    def skip_back(self, ends: Places, characters: str, most: int = PAD) -> Places:
        """Return the ends of what remains when the characters before `ends` are cut off."""
        unwanted = np.zeros(256, np.bool_)
        unwanted[[ord(one) for one in characters]] = True
        ends = ends - unwanted[self.bytes[ends - 1]]
        moving = np.flatnonzero(unwanted[self.bytes[ends - 1]])
        for _ in range(most - 1):
            if not len(moving):
                break
            # Few go on after the first: a name's blanks, an unknown TGID's dashes.
            ends[moving] -= 1
            moving = moving[unwanted[self.bytes[ends[moving] - 1]]]
        return ends

    def is_at(self, at: Places, characters: str) -> Mask:
        """Say where one of the characters stands."""
        found: Mask = self.bytes[at] == ord(characters[0])
        for one in characters[1:]:
            found |= self.bytes[at] == ord(one)
        return found

    def number_before(self, ends: Places) -> tuple[NDArray[np.int64], Places]:
        """Return the number whose digits end before `ends`, and where it begins: at its end when there is none."""
        digits = self._digits(np.maximum(ends - 8, 0))
        # From the last byte that is no digit down, all are marked.
        other = _no_digits(digits)
        for shift in (8, 16, 32):
            other |= other >> np.uint64(shift)
        other ^= _HIGH_BITS
        count = np.bitwise_count(other).astype(np.int64)
        other >>= _SEVEN
        other *= _BYTE
        digits &= other
        value = _number(digits)
        long = np.flatnonzero(count == 8)
        if len(long):
            value[long], count[long] = self._long(ends[long] - 1, -1)
        return value, ends - count

    def number(self, starts: Places, ends: Places | None = None) -> tuple[NDArray[np.int64], Places]:
        """Return the number whose digits begin at `starts`, and where it ends: at its start when there is none."""
        digits = self._digits(np.minimum(starts, len(self.bytes) - 8))
        other = _no_digits(digits)
        for shift in (8, 16, 32):
            other |= other << np.uint64(shift)
        other ^= _HIGH_BITS
        count = np.bitwise_count(other).astype(np.int64)
        long = np.flatnonzero(count == 8)
        if ends is not None:
            count = np.clip(ends - starts, 0, count)
        # To the right end, as if zeros stood in front of it.
        digits <<= ((8 - count) << 3).view(np.uint64)
        value = _number(digits)
        if len(long):
            value[long], count[long] = self._long(starts[long], 1, None if ends is None else ends[long])
        return value, starts + count

    def _digits(self, at: Places) -> NDArray[np.uint64]:
        """Return eight bytes each, the first of them lowest, with 0 to 9 for digits."""
        digits = self.eights(at)
        digits ^= _ZEROS
        return digits

    def _long(
        self, first: Places, step: int, ends: Places | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return numbers that may have more than eight digits, read digit by digit, and how many those are."""
        value, count = np.zeros(len(first), np.int64), np.zeros(len(first), np.int64)
        active = np.ones(len(first), np.bool_)
        last = len(self.bytes) - 1
        for ahead in range(_MOST_DIGITS):
            at = first + step * ahead
            digit = self.bytes[np.minimum(at, last)] - _ZERO
            active &= digit < 10
            if ends is not None:
                active &= at < ends
            if not active.any():
                break
            value = np.where(active, value * 10 + digit if step > 0 else value + digit * np.int64(10**ahead), value)
            count += active
        return value, count

    def only(self, starts: Places, ends: Places, allowed: NDArray[np.bool_], most: int) -> Mask:
        """Say where each byte is an allowed one and there are not more than `most`; `allowed` is by byte."""
        length = ends - starts
        fine: Mask = (length >= 0) & (length <= most)
        for ahead in range(int(length[fine].max(initial=0))):
            fine &= allowed[self.bytes[np.where(ahead < length, starts + ahead, 0)]] | (ahead >= length)
        return fine

    def cut(self, starts: Places, ends: Places) -> pl.Series:
        """Return the text between the positions, empty where there is none."""
        sizes = np.maximum(ends - starts, 0)
        # As a column it is stored once, and pieces of it refer to it; as a literal every expression would copy it.
        if self._repeated is None or len(self._repeated) < len(starts):
            column = pl.Series("text", [self.raw], dtype=pl.Binary) if self._repeated is None else self._repeated
            self._repeated = column.new_from_index(0, max(len(starts), 1))
        whole = self._repeated.head(len(starts))
        frame = pl.DataFrame({"text": whole, "at": pl.Series(starts), "size": pl.Series(sizes)})
        return frame.select(pl.col("text").bin.slice(pl.col("at"), pl.col("size")).cast(pl.String))["text"]


_ZEROS, _HIGH_BITS, _LOW_BITS, _TO_HIGH = (np.uint64(0x0101010101010101 * byte) for byte in (0x30, 0x80, 0x7F, 0x76))
_SEVEN, _BYTE = np.uint64(7), np.uint64(0xFF)


def _no_digits(digits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the high bit of each byte that is more than 9; no byte carries into the next."""
    marked = digits & _LOW_BITS
    marked += _TO_HIGH
    marked |= digits
    marked &= _HIGH_BITS
    return marked


def _number(digits: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return what eight digits say: neighbours, then pairs, then fours are put together in place."""
    for factor, shift, mask in ((10, 8, 0x00FF00FF00FF00FF), (100, 16, 0x0000FFFF0000FFFF), (10_000, 32, 0xFFFFFFFF)):
        right = digits >> np.uint64(shift)
        digits *= np.uint64(factor)
        digits += right
        digits &= np.uint64(mask)
    return digits.view(np.int64)


def allowed_bytes(characters: str) -> NDArray[np.bool_]:
    """Return the set of characters as `only` takes it."""
    table = np.zeros(256, np.bool_)
    table[list(characters.encode())] = True
    return table
