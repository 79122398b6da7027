# SPDX-License-Identifier: Apache-2.0
"""Read a capture whole, and damage one at random: what the tests of every format do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import strategies as st

from git_hmopt.traces.capture import EVENTS, Capture, Format, Losses
from git_hmopt.traces.source import Source

CAPTURES = Path(__file__).parents[3] / "shared" / "data" / "captures"
"""Captures of other projects, beside the repository where there are any."""


def capture(form: Format, path: Path) -> Capture:
    return form.read(Source(path))


def events(form: Format, path: Path, losses: Losses | None = None) -> pl.DataFrame:
    """Return every event of the capture, after checking the columns."""
    read = capture(form, path).read_events
    assert read is not None
    batches = list(read(Counter() if losses is None else losses))
    for batch in batches:
        assert batch.schema == EVENTS
    return pl.concat([EVENTS.to_frame(), *batches])


def rows(form: Format, path: Path, losses: Losses | None = None) -> list[dict[str, Any]]:
    return events(form, path, losses).to_dicts()


def any_json(words: Sequence[str], numbers: st.SearchStrategy[float]) -> st.SearchStrategy[Any]:
    """Return documents of a format's own words in any nesting."""
    word = st.sampled_from(words)
    return st.recursive(
        st.one_of(st.none(), st.booleans(), numbers, word),
        lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(word, inner, max_size=6)),
        max_leaves=30,
    )


_JUNK = ("٣".encode() * 3, b"\n", b"\x00" * 9, b"9" * 40, b"-1", b"{", b"[")


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Return the bytes cut at a random place, with a few of them replaced, doubled or taken out."""
    data = bytearray(whole[: draw(st.integers(0, len(whole)))])
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        junk = draw(st.binary(max_size=12) | st.sampled_from(_JUNK))
        data[at : at + draw(st.integers(0, 12))] = junk
    return bytes(data)
