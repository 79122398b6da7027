# SPDX-License-Identifier: Apache-2.0
"""Messages read in step are read as one by one; damage costs the message that it is in."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_hmopt.traces import htrace, htrace_ftrace, protobuf
from git_hmopt.traces.source import Source
from git_hmopt.traces.wire_columns import Block, fields_of, walk
from tests.traces.htrace_bytes import double, ftrace, ftrace_event, message, number, packet, section

WANTED = (1, 2, 3, 17, 3000)
NUMBERS = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 127, 128, 2**56 - 1, 2**56, 2**63 - 1, 2**63, 2**64 - 1])
FIELDS = st.one_of(
    st.tuples(st.sampled_from(WANTED), NUMBERS).map(lambda pair: number(*pair)),
    st.tuples(st.sampled_from(WANTED), st.text(max_size=9)).map(lambda pair: message(*pair)),
    st.tuples(st.sampled_from(WANTED), st.floats(allow_nan=False)).map(lambda pair: double(*pair)),
    st.binary(max_size=4).map(lambda raw: b"\x2d" + raw.ljust(4, b"\0")),
)
MESSAGES = st.lists(st.lists(FIELDS, max_size=6).map(b"".join) | st.binary(max_size=24), max_size=12)


@settings(max_examples=300)
@given(MESSAGES)
def test_messages_in_step_are_read_as_one_by_one(contents: list[bytes]) -> None:
    sizes = np.array([len(one) for one in contents], np.int64)
    end = np.cumsum(sizes).astype(np.int64)
    begin, bad = end - sizes, np.zeros(len(contents), np.bool_)
    block = Block(b"".join(contents))
    found = fields_of(block, begin, end, WANTED, bad)
    columns = {key: (found.unsigned(key).tolist(), found.texts(key).to_list()) for key in WANTED}
    for place, content in enumerate(contents):
        try:
            numbers, places = protobuf.flat(content, 0, len(content))
        except protobuf.WireError:
            assert bad[place]
            continue
        assert not bad[place]
        for key, (values, texts) in columns.items():
            assert values[place] == numbers.get(key, 0)
            at, until = places.get(key, (0, 0))
            assert texts[place] == content[at:until].decode(errors="replace")


def test_a_message_that_is_none_ends_there() -> None:
    contents = (
        number(1, 5),
        b"\x08",
        b"\x0f\x01",
        b"\x08" + b"\xff" * 10 + b"\x01",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    )
    end = np.cumsum([len(one) for one in contents]).astype(np.int64)
    begin = np.concatenate([[0], end[:-1]]).astype(np.int64)
    bad = np.zeros(len(contents), np.bool_)
    rows = [step.row.tolist() for step in walk(Block(b"".join(contents)), begin, end, bad)]
    assert (rows, bad.tolist()) == ([[0]], [False, True, True, True, True])


def test_a_message_of_more_fields_than_any_has_is_none() -> None:
    counts = (3, 1000, 1001, 100_000)
    end = np.cumsum([2 * count for count in counts]).astype(np.int64)
    begin, bad = end - np.array([2 * count for count in counts]), np.zeros(len(counts), np.bool_)
    steps = sum(1 for _ in walk(Block(number(1, 5) * sum(counts)), begin, end, bad))
    assert (steps, bad.tolist()) == (1000, [False, False, True, True])


def test_no_message_has_no_fields() -> None:
    nothing = np.empty(0, np.int64)
    found = fields_of(Block(b""), nothing, nothing, WANTED, np.empty(0, np.bool_))
    assert (len(found.unsigned(1)), len(found.texts(2))) == (0, 0)


def read(content: bytes) -> tuple[pl.DataFrame, Counter[str]]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "a.htrace"
        path.write_bytes(content)
        losses: Counter[str] = Counter()
        events = htrace.FORMAT.read(Source(path)).read_events
        assert events is not None
        return pl.concat(list(events(losses))), losses


def wakeups(count: int) -> list[bytes]:
    return [
        ftrace_event(100 + at, 7, 2420, message(1, f"task {at}"), number(2, at), number(3, 120), number(5, at % 8))
        for at in range(count)
    ]


@pytest.mark.parametrize("size", [60, 100, 1000, 4096])
def test_a_long_message_is_read_in_pieces(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [*wakeups(100), ftrace_event(300, 7, 1109, message(2, "B|7|a\xe9"))]
    content = section(packet("ftrace-plugin", ftrace(3, events, overwrite=9)))
    whole, lost = read(content)
    assert len(whole) == 102
    monkeypatch.setattr(htrace_ftrace, "_MOST_BYTES", size)
    parts, found = read(content)
    kernel = pl.col("name") != "lost_events"
    assert parts.filter(kernel).equals(whole.filter(kernel))
    assert found == lost
    assert parts["ts_ns"].is_sorted()


def test_an_event_longer_than_a_piece_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(htrace_ftrace, "_MOST_BYTES", 256)
    long = ftrace_event(300, 7, 1109, message(2, "x" * 5000))
    frame, losses = read(section(packet("ftrace-plugin", ftrace(0, [*wakeups(3), long]))))
    assert len(frame) == 3
    assert losses == Counter({htrace_ftrace.BAD_EVENT: 1})


def test_a_damaged_event_costs_itself() -> None:
    first, second, third = wakeups(3)
    damaged = message(2, number(1, 150), message(50, number(4, 7)), message(2420, b"\x0a\x7fshort"))
    without = message(2, number(1, 151), message(50, b"\x08"), message(2420, number(2, 1)))
    frame, losses = read(section(packet("ftrace-plugin", ftrace(0, [first, damaged, second, without, third]))))
    assert frame["args"].str.extract(r"comm=(task \d)").to_list() == ["task 0", "task 1", "task 2"]
    assert losses == Counter({htrace_ftrace.BAD_EVENT: 2})


def test_names_that_are_no_text_are_shown_as_that() -> None:
    broken = ftrace_event(5, 7, 2420, message(1, b"a\xffb"), number(2, 1))
    frame, losses = read(section(packet("ftrace-plugin", ftrace(0, [broken, *wakeups(2)]))))
    assert frame["args"][0] == "comm=a\ufffdb pid=1 prio=0 target_cpu=000"
    assert (len(frame), losses) == (3, Counter())


def test_numbers_keep_their_sign_and_width() -> None:
    events = [
        ftrace_event(1, 7, 2417, number(2, -1), number(3, -2), number(4, 1), number(6, 2**31), number(7, 65534)),
        ftrace_event(2, 7, 2420, number(5, -1)),
        ftrace_event(3, 7, 3101, number(1, 2**64 - 1), number(2, 0xFFFF800000000000)),
        ftrace_event(4, 7, 2005, number(1, 4294967295), number(2, 3)),
        ftrace_event(5, -1, 2005, tgid=2**31),
    ]
    frame, losses = read(section(packet("ftrace-plugin", ftrace(0, events))))
    assert frame["args"].to_list() == [
        "prev_comm= prev_pid=-1 prev_prio=-2 prev_state=S ==> next_comm= next_pid=2147483648 next_prio=65534",
        "comm= pid=0 prio=0 target_cpu=-01",
        "work struct ffffffffffffffff: function 0xffff800000000000",
        "state=4294967295 cpu_id=3",
        "state=0 cpu_id=0",
    ]
    assert (frame["tid"].to_list(), frame["pid"].to_list()) == ([7, 7, 7, 7, None], [None] * 5)
    assert losses == Counter()
