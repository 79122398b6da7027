# SPDX-License-Identifier: Apache-2.0
"""The text of `perf script`: its dialects, and everything that can be wrong with it."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from git_hmopt.traces import perf_script
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import Frame, Samples, TraceFormatError
from tests.traces.captures import captured

DSO = "/srv/build/linux"
RECORD = (
    f"linux 77/78  1206.013609942:     200040 cpu-clock:u: \n"
    f"\t           153e0 leaf.constprop.0+0x1f ({DSO})\n"
    f"\t           1de39 middle ({DSO})\n"
    f"\t            43ad main ({DSO})\n"
    f"\n"
)


def parse(text: str) -> Samples:
    return perf_script.parse(text.encode().splitlines(keepends=True))


def stacks(table: Samples) -> list[list[str]]:
    return [[table.frames[index].label for index in table.stacks[stack]] for stack in table.stack]


def test_a_record_becomes_one_row_root_first() -> None:
    table = parse(RECORD)
    assert stacks(table) == [["main", "middle", "leaf.constprop.0"]]
    assert (table.ts_ns, table.weight, table.pid, table.tid, table.cpu) == (
        (1_206_013_609_942,),
        (200_040,),
        (77,),
        (78,),
        (None,),
    )
    assert (table.unit, table.event, table.skipped) == ("ns", "cpu-clock:u", {})
    assert table.frames[0] == Frame("leaf.constprop.0", DSO)


def test_equal_stacks_are_stored_once() -> None:
    table = parse(RECORD * 3)
    assert (len(table), len(table.stacks), len(table.frames)) == (3, 1, 3)
    assert sum(table.weight_by_stack().values()) == 3 * 200_040


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("java 23921 [001] 184694.229109: cycles: ", (23921, None, 1, 184_694_229_109_000, 1, "samples")),
        ("java 19983 cycles:", (19983, None, None, None, 1, "samples")),
        ("emulator  4152 75695.008892:         16 cycles:u: ", (4152, None, None, 75_695_008_892_000, 16, "cycles")),
        ("perf   977/978   [000] 76.042522: cycles: ", (977, 978, 0, 76_042_522_000, 1, "samples")),
        ("kworker/4:1 ev 12/12 [004] 1.5: 7 cpu-clock: ", (12, 12, 4, 1_500_000_000, 7, "ns")),
        ("a 1 2 3/4 9.000000001: 5 task-clock:ppp: ", (3, 4, None, 9_000_000_001, 5, "ns")),
        (":-1 -1/-1 [000] 0.000001: 1 cycles: ", (-1, -1, 0, 1000, 1, "cycles")),
    ],
)
def test_headers_of_every_dialect(header: str, expected: tuple[object, ...]) -> None:
    table = parse(f"{header}\n\tff main (/bin/a)\n\n")
    assert len(table) == 1
    assert (table.pid[0], table.tid[0], table.cpu[0], table.ts_ns[0], table.weight[0], table.unit) == expected


@pytest.mark.parametrize(
    ("line", "symbol", "dso"),
    [
        ("ff operator()(int, char const*) (/usr/lib/a b.so)", "operator()(int, char const*)", "/usr/lib/a b.so"),
        ("ff fn (/tmp/gone (deleted))", "fn", "/tmp/gone"),
        ("ff _start+0xffff018fd5dce000 (/usr/lib/ld-2.24.so)", "_start", "/usr/lib/ld-2.24.so"),
        ("ff do_one ([kernel.kallsyms])", "do_one", "[kernel.kallsyms]"),
    ],
)
def test_frames_of_every_dialect(line: str, symbol: str, dso: str) -> None:
    assert parse(f"a 1/1 1.0: 1 cycles:\n\t{line}\n\n").frames == (Frame(symbol, dso),)


def test_flat_records_carry_their_frame_in_the_header() -> None:
    line = "a 1/1 1.000000005: 200040 cpu-clock:u:  1c0de hot (/bin/a)\n"
    table = parse(line * 2)
    assert stacks(table) == [["hot"], ["hot"]]
    assert table.skipped == {}
    assert parse(line + line.rstrip("\n")).skipped == {perf_script.TRUNCATED: 1}


def test_unknown_frames_are_kept_named_after_their_object_and_counted() -> None:
    table = parse("a 1/1 1.0: 1 cycles:\n\tff [unknown] (/lib/libc.so.6)\n\t0 [unknown] ([unknown])\n\n")
    assert stacks(table) == [["[unknown]", "[libc.so.6]"]]
    assert table.skipped == {perf_script.UNRESOLVED: 2}


@pytest.mark.parametrize("kept", range(len(RECORD)))
def test_a_capture_cut_anywhere_loses_only_its_last_record_and_says_so(kept: int) -> None:
    table = parse(RECORD + RECORD[:kept])
    assert len(table) == 1
    if kept:
        assert sum(table.skipped.values()) == 1
    if kept > RECORD.index("\n"):
        assert table.skipped == {perf_script.TRUNCATED: 1}


@pytest.mark.parametrize(
    ("text", "reason", "count"),
    [
        ("a 1/1 1.0: PERF_RECORD_LOST lost 35\n", perf_script.LOST, 35),
        ("Processed 5302 events and lost 3 chunks!\n", perf_script.LOST, 3),
        ("a 1/1 1.0: PERF_RECORD_MMAP2 1/1: [0x1(0x2) @ 0]: r-xp /bin/a\n", perf_script.OTHER_RECORD, 1),
        ("\x00\xff garbage\n", perf_script.NOT_A_RECORD, 1),
        ("\tff main (/bin/a)\n", perf_script.STRAY_FRAME, 1),
        ("a 1/1 1.0: 200040 cpu-clock:u: \n\tnot a frame\n\n", perf_script.DAMAGED, 1),
        ("a 1/1 1.0: 200040 cpu-clock:u: \n\n", perf_script.NO_STACK, 1),
        ("a 1/1 1.0: 200040 cpu-clock:u: \n\tff main (/bin/a)\n" + RECORD, perf_script.UNENDED, 1),
        ("a 1/1 1.0: cpu-clock:u: \n\tff main (/bin/a)\n\n", perf_script.NO_PERIOD, 1),
        ("a 1/1 1.0: 5 cycles: \n\tff main (/bin/a)\n\n", "sample of another event (cycles)", 1),
    ],
)
def test_what_is_not_understood_is_counted_by_reason(text: str, reason: str, count: int) -> None:
    table = parse(RECORD + text + RECORD)
    assert table.skipped == {reason: count}
    assert set(map(tuple, stacks(table))) == {("main", "middle", "leaf.constprop.0")}


def test_lines_that_are_not_remembered_are_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = captured("flamegraph_perf-cycles-instructions-01.txt").read_text()
    expected = parse(text)
    monkeypatch.setattr(perf_script, "_MOST_LINES", 2)
    found = parse(text)
    assert (stacks(found), found.weight, found.skipped) == (stacks(expected), expected.weight, expected.skipped)


def test_an_empty_capture_is_an_empty_table() -> None:
    table = parse("")
    assert (len(table), table.unit, table.skipped) == (0, "samples", {perf_script.EMPTY: 1})


@pytest.mark.parametrize("text", ["garbage\n" * 3, "\x7fELF\x00\x01", "hmopt-self-counts 1\nf\tx.c\t1\t1\t1\n"])
def test_a_file_of_another_format_is_refused_with_the_command_that_makes_the_right_one(text: str) -> None:
    with pytest.raises(TraceFormatError, match=r"none of its \d+ lines.*perf script --ns .*-F comm,pid,tid,time"):
        parse(text)


def test_comments_of_perf_are_no_damage() -> None:
    assert parse("# ========\n# captured on: today\n#\n" + RECORD).skipped == {}


def test_every_event_is_a_table_of_its_own_and_the_first_counts_the_others() -> None:
    text = RECORD + RECORD.replace("cpu-clock:u", "page-faults") * 2
    clock, faults = perf_script.parse_events(text.encode().splitlines(keepends=True))
    assert (clock.event, len(clock), clock.unit) == ("cpu-clock:u", 1, "ns")
    assert (faults.event, len(faults), faults.unit) == ("page-faults", 2, "page-faults")
    assert faults.total() == 2 * 200_040
    assert parse(text).skipped == {"sample of another event (page-faults)": 2}
    assert clock.threads == {78: "linux"}


def test_a_recorded_text_of_two_events_has_all_its_samples() -> None:
    path = captured("flamegraph_perf-cycles-instructions-01.txt")
    capture = perf_script.FORMAT.read(Source(path))
    assert capture.read_samples is not None
    tables = capture.read_samples(Counter())
    text = path.read_text()
    assert {table.event: len(table) for table in tables} == {
        event: len(re.findall(rf"^\S.* {event}:\s*$", text, re.MULTILINE)) for event in ("cycles", "instructions")
    }
