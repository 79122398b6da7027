# SPDX-License-Identifier: Apache-2.0
"""callgrind's profile data: names and positions compressed or not, files that are cut or of another kind."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_hmopt.runtime.call_graph import from_self_counts
from git_hmopt.traces import callgrind
from git_hmopt.traces.callgrind import parse_events, parse_lines, parse_stacks
from git_hmopt.traces.registry import kinds, parse
from git_hmopt.traces.tables import UNKNOWN, Samples, SelfCounts, TraceFormatError

# Shortened from what valgrind 3.19 wrote with --dump-instr=yes --separate-callers=12: a call's inclusive cost, an
# inlined header (fi, fe), addresses and lines relative to the line before.
CONTEXTS = b"""\
# callgrind format
version: 1
creator: callgrind-3.19.0
cmd:  ./prog 3 200 10
desc: Trigger: Program termination

positions: instr line
events: Ir
summary: 36

ob=(5) /srv/prog
fl=(157) lib/sum.c
fn=(639) table_sum'work
0x1300 9 4
+2 * 4
fi=(185) include/table.h
+3 -3 6
fe=(157)
+3 +2 2
cfn=(641) mix'table_sum'work
calls=2 -49 +7
* * 12

fn=(641)
0x12f0 19 8
+2 * 4

fn=(700) mix'other'work
0x12f0 19 1
0x12f2 19 2

fn=(701) ???
0x99 0 5

totals: 36
"""
# The same format without any compression, as the specification's own first example has it.
PLAIN = b"""\
events: Cycles Ir Flops
fl=file1.f
fn=main
15 90 14 2
16 20 12
"""


def stacks(data: bytes) -> dict[tuple[str, ...], int]:
    return costs(parse_stacks(io.BytesIO(data)))


def costs(table: Samples) -> dict[tuple[str, ...], int]:
    rows = zip(table.stack, table.weight, strict=True)
    return {tuple(table.frames[index].symbol for index in table.stacks[stack]): weight for stack, weight in rows}


def lines(table: SelfCounts) -> dict[tuple[str, str | None, int | None], tuple[int, int]]:
    keys = zip(table.symbol, table.file, table.line, strict=True)
    return dict(zip(keys, zip(table.instructions, table.executions, strict=True), strict=True))


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no 'events:' line"),
        (b"hmopt-symbols 1\nmain\tmain.c\t1\n", "no 'events:' line"),
        (b"fn=main\n1 5\n", "no 'events:' line"),
        (b"events: Ir\nfn=f\n1 5\nevents: Ir Dr\n2 5 1\n", "counts Ir in one part and other events in another"),
        (b"events:\n", "counts nothing: .*; run callgrind with its default events"),
    ],
)
def test_another_format_is_refused(data: bytes, said: str) -> None:
    for parser in (parse_stacks, parse_lines):
        with pytest.raises(TraceFormatError, match=said):
            parser(io.BytesIO(data))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (CONTEXTS.replace(b"totals: 36\n", b""), callgrind.NO_TOTALS),
        (CONTEXTS.replace(b"totals: 36\n", b"totals: x\n"), callgrind.NO_TOTALS),
        (CONTEXTS.replace(b"+2 * 4", b"+2 * four", 1), callgrind.BAD_COST),
        (CONTEXTS.replace(b"+2 * 4", b"+2", 1), callgrind.BAD_COST),
        (CONTEXTS.replace(b"+2 * 4", b"+2 * -4", 1), callgrind.BAD_COST),
        (CONTEXTS.replace(b"+2 * 4", b"what is this", 1), callgrind.NOT_A_LINE),
        (b"events: Ir\n1 5\ntotals: 5\n", callgrind.NO_FUNCTION),
    ],
)
def test_what_cannot_be_read_is_counted(data: bytes, reason: str) -> None:
    assert parse_stacks(io.BytesIO(data)).skipped[reason] == 1
    assert parse_lines(io.BytesIO(data)).skipped[reason] == 1


def test_a_cut_file_says_how_much_it_lacks() -> None:
    cut = CONTEXTS.replace(b"0x12f0 19 8\n", b"")
    assert parse_stacks(io.BytesIO(cut)).skipped == {callgrind.OTHER_TOTAL: 8}


@given(st.binary(max_size=300))
def test_no_bytes_end_in_anything_but_our_error(data: bytes) -> None:
    for parser in (parse_stacks, parse_lines):
        with contextlib.suppress(TraceFormatError):
            parser(io.BytesIO(b"events: Ir\n" + data))


# -- what it says -----------------------------------------------------------------------------------------------------


def test_contexts_are_stacks_and_calls_are_not_counted_twice() -> None:
    assert stacks(CONTEXTS) == {
        ("work", "table_sum"): 16,
        ("work", "table_sum", "mix"): 12,
        ("work", "other", "mix"): 3,
        (UNKNOWN,): 5,
    }
    table = parse_stacks(io.BytesIO(CONTEXTS))
    assert (table.event, table.unit, table.skipped) == ("Ir", "instructions", {})
    assert {frame.object for frame in table.frames if frame.symbol == "mix"} == {"/srv/prog"}


def test_lines_add_their_instructions_and_take_the_most_executed_one() -> None:
    found = lines(parse_lines(io.BytesIO(CONTEXTS)))
    assert found == {
        ("table_sum", "lib/sum.c", 9): (8, 4),
        # The inlined line is of the header, under the function that it is inlined in.
        ("table_sum", "include/table.h", 6): (6, 6),
        ("table_sum", "lib/sum.c", 8): (2, 2),
        # 8 and 1 executions of the instruction at 0x12f0, by its two callers.
        ("mix", "lib/sum.c", 19): (15, 9),
        (UNKNOWN, "lib/sum.c", None): (5, 5),
    }


def test_lines_without_addresses_have_no_executions_and_say_so() -> None:
    table = parse_lines(io.BytesIO(PLAIN))
    assert lines(table) == {("main", "file1.f", 15): (14, 0), ("main", "file1.f", 16): (12, 0)}
    assert table.skipped == {callgrind.NO_ADDRESS: 2, callgrind.NO_TOTALS: 1}


OTHER_EVENTS = b"positions: instr line\nevents: Time Mem\nfl=a.php\nfn=main\n0x10 3 50 7\n0x12 4 0 9\ntotals: 50 16\n"


def test_a_file_that_counts_no_instructions_is_in_the_unit_of_its_first_event() -> None:
    table = parse_stacks(io.BytesIO(OTHER_EVENTS))
    assert (table.event, table.unit, costs(table), table.skipped) == ("Time", "Time", {("main",): 50}, {})
    counts = parse_lines(io.BytesIO(OTHER_EVENTS))
    assert (counts.unit, lines(counts)) == ("Time", {("main", "a.php", 3): (50, 0)})
    # What an address cost is no number of executions when it is no instruction that was counted.
    assert counts.skipped == {callgrind.NO_INSTRUCTIONS: 1}
    assert from_self_counts(counts).unit == "Time"


def test_levels_of_recursion_are_one_function() -> None:
    data = b"events: Ir\nfn=fib'2'fib'main\n1 7\nfn=fib'main\n1 3\ntotals: 10\n"
    assert stacks(data) == {("main", "fib", "fib"): 7, ("main", "fib"): 3}


def test_both_views_are_kinds_of_capture(tmp_path: Path) -> None:
    assert {"callgrind", "callgrind-lines"} <= set(kinds())
    path = tmp_path / "out"
    path.write_bytes(CONTEXTS)
    assert len(parse("callgrind", path)) == 4 and len(parse("callgrind-lines", path)) == 5
    path.write_bytes(b"nothing\n")
    with pytest.raises(TraceFormatError, match=str(path)):
        parse("callgrind", path)


def test_every_event_that_was_counted_is_a_table_of_its_own() -> None:
    text = b"events: Dr Ir\nfn=(1) f\n3 5 40\n4 0 2\nfn=(2) g\n9 1\ntotals: 6 42\n"
    reads, instructions = parse_events(text.splitlines(keepends=True))
    assert (reads.event, reads.unit, costs(reads)) == ("Dr", "Dr", {("f",): 5, ("g",): 1})
    assert (instructions.event, instructions.unit, costs(instructions)) == ("Ir", "instructions", {("f",): 42})
    assert parse_stacks(text.splitlines(keepends=True)) == instructions
