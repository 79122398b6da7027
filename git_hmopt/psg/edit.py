# SPDX-License-Identifier: Apache-2.0
"""Edits by byte extent: pure functions from bytes to bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from git_hmopt.errors import PatchError


@dataclass(frozen=True)
class Edit:
    """Put `text` in the place of bytes `start` up to, not including, `end`; equal bounds insert."""

    start: int
    end: int
    text: bytes


def replace(source: bytes, edits: Sequence[Edit]) -> bytes:
    """Return `source` with all edits made; insertions at one place keep their order.

    Raises PatchError when an edit lies outside the source or two of them overlap.
    """
    pieces: list[bytes] = []
    done = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        if not 0 <= edit.start <= edit.end <= len(source):
            raise PatchError(f"edit {edit.start}..{edit.end} lies outside the file's {len(source)} bytes")
        if edit.start < done:
            raise PatchError(f"edit {edit.start}..{edit.end} overlaps the edit that ends at {done}")
        pieces += [source[done : edit.start], edit.text]
        done = edit.end
    return b"".join((*pieces, source[done:]))
