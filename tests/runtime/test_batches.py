# SPDX-License-Identifier: Apache-2.0
"""Reading ahead: the same frames in the same order, and what ends a reader ends the answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import polars as pl
import pytest

from git_hmopt.runtime.batches import read_ahead
from git_hmopt.traces.tables import TraceFormatError


def _frames(count: int, made: list[int]) -> Iterator[pl.DataFrame]:
    for number in range(count):
        made.append(number)
        yield pl.DataFrame({"ts_ns": [number]})


def _readers() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("trace-reader")]


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_every_frame_in_its_order(count: int) -> None:
    made: list[int] = []
    assert [frame["ts_ns"][0] for frame in read_ahead(_frames(count, made))] == list(range(count))
    assert made == list(range(count))
    assert _readers() == []


def test_one_frame_is_made_while_another_is_looked_at_and_no_more() -> None:
    made: list[int] = []
    frames = read_ahead(_frames(10, made))
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    assert 1 <= len(made) <= 2
    assert _readers() == []


def test_what_a_reader_raises_comes_behind_the_frames_before_it() -> None:
    def broken() -> Iterator[pl.DataFrame]:
        yield pl.DataFrame({"ts_ns": [1]})
        raise TraceFormatError("cut off")

    seen = []
    with pytest.raises(TraceFormatError, match="cut off"):
        for frame in read_ahead(broken()):
            seen.append(frame["ts_ns"][0])
    assert seen == [1]
    assert _readers() == []
