# SPDX-License-Identifier: Apache-2.0
"""Where a SEARCH stands: each layer, what is ambiguous, what is near, and that nothing else of the file moves."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from git_hmopt.agents.complaints import Complaint, Complaints
from git_hmopt.agents.lines import Style, aligned, restyled, rewritten, split, style_of
from git_hmopt.agents.matching import Document, Found
from git_hmopt.psg.edit import replace

FILE = b"""int sum(const int *a, int n)
{
\tint s = 0;   \t
\tint i;

\tfor (i = 0; i < n; i++) {
\t\tif (a[i] > 0)
\t\t\ts += a[i];
\t}
\treturn s;
}

int most(const int *a, int n)
{
\tint i;

\treturn a[0];
}
"""


def applied(search: str, new: str, data: bytes = FILE) -> tuple[str, bytes]:
    found = Document("a.c", data).replaced(search.encode().split(b"\n"), new.encode().split(b"\n"), where="EDIT a.c")
    assert isinstance(found, Found), found
    return found.layer, replace(data, found.edits)


def refused(search: str, new: str = "x", data: bytes = FILE) -> Complaint:
    found = Document("a.c", data).replaced(search.encode().split(b"\n"), new.encode().split(b"\n"), where="EDIT a.c")
    assert isinstance(found, Complaint), found
    return found


def test_exact_lines() -> None:
    layer, new = applied("\treturn s;\n}", "\treturn s + 1;\n}")
    assert layer == "exact" and new == FILE.replace(b"return s;", b"return s + 1;")


def test_spaces_at_the_end_and_blank_lines_around_do_not_count_and_are_kept_where_nothing_changes() -> None:
    layer, new = applied("\n\tint s = 0;\n\tint i;\n", "\n\tint s = 0;\n\tunsigned int i;\n")
    assert layer == "trimmed" and new == FILE.replace(b"\t\n\tint i;", b"\t\n\tunsigned int i;", 1)


def test_spaces_may_be_taken_away() -> None:
    assert applied("\tint s = 0;   \t", "\tint s = 0;") == ("exact", FILE.replace(b"   \t\n", b"\n"))


@pytest.mark.parametrize("by", ["", "    ", "\t\t"])
def test_another_indentation_moves_the_replacement_as_well(by: str) -> None:
    search = f"{by}for (i = 0; i < n; i++) {{\n{by}\tif (a[i] > 0)\n{by}\t\ts += a[i];\n{by}}}"
    new = f"{by}while (n--) {{\n{by}\ts += *a;\n\n{by}\ta++;\n{by}}}"
    layer, data = applied(search, new)
    assert layer == "moved"
    assert (
        data
        == FILE[: FILE.index(b"\tfor")]
        + b"\twhile (n--) {\n\t\ts += *a;\n\n\t\ta++;\n\t}\n"
        + FILE[FILE.index(b"\treturn s") :]
    )


@pytest.mark.parametrize("unit", [2, 4, 8])
def test_blanks_for_tabs(unit: int) -> None:
    one = " " * unit
    search = f"{one}for (i = 0; i < n; i++) {{\n{one * 2}if (a[i] > 0)"
    new = f"{one}for (i = 0; i < n; i++) {{\n{one * 2}if (a[i] > 0)\n{one * 3}if (a[i] > 1)\n{one * 4}x();"
    layer, data = applied(search, new)
    assert layer == "moved"
    assert data == FILE.replace(b"> 0)\n", b"> 0)\n\t\t\tif (a[i] > 1)\n\t\t\t\tx();\n")


@pytest.mark.parametrize("unit", [2, 4])
def test_blanks_for_tabs_where_one_line_alone_is_searched(unit: int) -> None:
    one = " " * unit
    layer, data = applied(f"{one}return s;", f"{one}if (s)\n{one * 2}return s;\n{one}return 1;")
    assert layer == "moved" and data == FILE.replace(b"\treturn s;", b"\tif (s)\n\t\treturn s;\n\treturn 1;")


def test_lines_that_are_moved_unalike_fit_nowhere() -> None:
    assert "fits nowhere" in refused("for (i = 0; i < n; i++) {\nif (a[i] > 0)\ns += a[i];").what


def test_lines_left_out_stay() -> None:
    layer, new = applied("\tint s = 0;\n...\n\treturn s;", "\tlong s = 0;\n...\n\treturn (int)s;")
    assert layer == "elided"
    assert new == FILE.replace(b"int s = 0;   \t", b"long s = 0;").replace(b"return s", b"return (int)s")


@pytest.mark.parametrize(
    ("search", "new", "said"),
    [
        ("\tint s = 0;\n...\n\treturn s;", "\tlong s = 0;", "leaves lines out 1 times (...), the REPLACE 0 times"),
        ("\treturn s;\n...\n\tint s = 0;", "\treturn 1;\n...\n\tint s;", "in another order"),
        ("...\n\treturn s;", "\tx();\n...\n\treturn s;", "lines beside a ..."),
        ("\tint i;\n...\n\treturn s;", "\tlong i;\n...\n\treturn s;", "fits 2 places"),
    ],
)
def test_lines_left_out_that_are_not_certain(search: str, new: str, said: str) -> None:
    assert said in refused(search, new).what


def test_dots_that_the_file_itself_has_are_text() -> None:
    assert applied("a\n...\nb", "c\n...\nd", b"a\n...\nb\na\nx\nb\n") == ("exact", b"c\n...\nd\na\nx\nb\n")


def test_two_places_are_shown_and_nothing_is_done() -> None:
    found = refused("\tint i;\n")
    assert "fits 2 places" in found.what
    assert [one.first_line for one in found.shown] == [1, 12]
    assert "return a[0];" in Complaints((found,)).message()


def test_the_first_layer_that_fits_decides() -> None:
    data = b"\tx = 1;\nx = 1;\n"
    assert applied("x = 1;", "x = 2;", data) == ("exact", b"\tx = 1;\nx = 2;\n")
    assert "fits 2 places" in refused("  x = 1;", "x", data).what


def test_the_closest_region_is_shown() -> None:
    found = refused("\tfor (i = 0; i < n; i++) {\n\t\tif (a[i] >= 0)\n\t\t\ts += a[i];\n\t}")
    assert found.what.endswith("that the file does not have: if (a[i] >= 0)")
    (shown,) = found.shown
    assert shown.first_line == 3 and "\t\tif (a[i] > 0)" in shown.lines


def test_a_line_that_is_only_alike_leads_to_its_place_too() -> None:
    (shown,) = refused("\treturn a[0] + 1; /* the first */").shown
    assert any("return a[0];" in line for line in shown.lines)
    assert refused("zzzzzzzz qqqqqq").shown == ()


@pytest.mark.parametrize("search", ["", "\n", "  \n\t"])
def test_an_empty_search_is_refused(search: str) -> None:
    assert "SEARCH is empty" in refused(search).what


def test_line_ends_are_the_places_own() -> None:
    data = FILE.replace(b"\n", b"\r\n")
    layer, new = applied("\treturn s;\n}", "\ts++;\n\treturn s;\n}", data)
    assert layer == "exact" and new == data.replace(b"\treturn s;", b"\ts++;\r\n\treturn s;")


@pytest.mark.parametrize(
    ("search", "new", "data", "wanted"),
    [
        ("b", "c", b"a\nb", b"a\nc"),
        ("b", "b\nc", b"a\nb", b"a\nb\nc"),
        ("a\nb", "a", b"a\nb", b"a"),
        ("a\nb", "b", b"a\nb", b"b"),
        ("b", "b\nc", b"a\nb\n", b"a\nb\nc\n"),
        ("b\r", "c", b"a\nb\r", b"a\nc"),
    ],
)
def test_a_file_without_a_last_line_end(search: str, new: str, data: bytes, wanted: bytes) -> None:
    assert applied(search, new, data)[1] == wanted


LINE = st.sampled_from(
    [b"", b"\t", b"a", b"\ta", b"\t\ta", b"  a ", b"b", b"\tb {", b"}", b"...", b"\xe9", b"\x0c", b"\r"]
)
LINES = st.lists(LINE, min_size=1, max_size=12)


@given(LINES, st.integers(0, 12), st.integers(1, 12), LINES, st.sampled_from([b"\n", b"\r\n"]), st.booleans())
def test_only_the_lines_searched_for_change(
    lines: list[bytes], first: int, count: int, new: list[bytes], end: bytes, ended: bool
) -> None:
    assume(b"\r" not in lines and (ended or lines[-1]))  # an empty last line without an end is none
    search = lines[first : first + count]
    data = end.join(lines) + (end if ended else b"")
    found = Document("a.c", data).replaced(search, new, where="")
    if isinstance(found, Complaint):
        places = [at for at in range(len(lines)) if search and lines[at : at + len(search)] == search]
        assert len(places) != 1 or not any(line.strip() for line in search)
        return
    assert found.layer == "exact"
    if end not in data:  # one line without an end tells nothing
        end = b"\n"
    wanted = [*lines[:first], *new, *lines[first + len(search) :]]
    wanted_data = end.join(wanted) + (end if ended and wanted else b"")
    assert replace(data, found.edits) == wanted_data


@given(st.binary(max_size=200), st.lists(st.binary(max_size=12), min_size=1, max_size=6), LINES)
def test_any_search_in_any_file_is_answered(data: bytes, search: list[bytes], new: list[bytes]) -> None:
    pieces = [part for line in search for part in line.split(b"\n")]
    found = Document("a.c", data).replaced(pieces, new, where="EDIT a.c")
    if isinstance(found, Found):
        assert all(0 <= edit.start <= edit.end <= len(data) for edit in found.edits)
        assert len(replace(data, found.edits)) == len(data) + sum(
            len(edit.text) - (edit.end - edit.start) for edit in found.edits
        )
    else:
        assert len(Complaints((found,)).message().encode()) <= 12_000


@given(st.binary(max_size=300))
def test_any_text_is_put_together_from_its_lines(data: bytes) -> None:
    lines, ends = split(data)
    assert b"".join(part for pair in zip(lines, ends, strict=True) for part in pair) == data
    assert rewritten(data, b"\n".join(line.rstrip() for line in lines), end=b"\n", style=None) == data


@given(LINES, LINES)
def test_lines_are_aligned_in_order(old: list[bytes], new: list[bytes]) -> None:
    pairs = aligned(old, new)
    assert all(new[at] == old[there] for at, there in pairs)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(pairs))


@pytest.mark.parametrize(
    ("data", "search"),
    [
        (b"x\n" * 500_000, ["x"] * 5_000),
        (b"x\n" * 500_000, ["y"] * 5_000),
        (b"x\n" * 100_000 + b"y\n" * 100_000, ["x"] * 2_000 + ["z"]),
        (b"\n".join(b"line %d of them all" % n for n in range(200_000)), ["line of them all, and more", "no"]),
        (b"\n".join(b"\t" * (n % 9) + b"a" for n in range(100_000)), [" " * (n % 7) + "a" for n in range(3_000)]),
        (b"a" * 4_000_000, ["a" * 100_000]),
    ],
    ids=["same", "other", "almost", "alike", "moved", "long"],
)
def test_hostile_files_take_no_time(data: bytes, search: list[str]) -> None:
    before = time.process_time()
    found = Document("a.c", data).replaced([line.encode() for line in search], [b"new"], where="")
    assert isinstance(found, Complaint)
    assert len(Complaints((found,)).message().encode()) <= 12_000
    assert time.process_time() - before < 20


# -- indentation ----------------------------------------------------------------------------------------------------

TABS = b"""static int f(int a,
\t     int b)
{
\tint c; /* one
\t\t* two
\t\t*/

\tif (a &&
\t    b) {
\t\tg(a,
\t\t  b);
\t}
\treturn c;
}"""
FOUR = b"""static int f(int a,
             int b)
{
    int c; /* one
            * two
            */

    if (a &&
        b) {
        g(a,
          b);
    }
    return c;
}"""


def test_a_piece_is_indented_as_the_file_is() -> None:
    assert style_of(TABS) == Style(True, 8) and style_of(FOUR) == Style(False, 4)
    assert restyled(FOUR, Style(True, 8)) == TABS
    assert restyled(TABS, Style(False, 4)) == FOUR


def test_a_piece_with_both_stays_as_it_is() -> None:
    both = FOUR.replace(b"    return", b"\treturn")
    for style in (Style(True, 8), Style(False, 4), None):
        assert restyled(both, style) == both


@given(st.binary(max_size=200), st.sampled_from([Style(True, 8), Style(False, 4), Style(False, 2), None]))
def test_only_indentation_is_ever_changed(text: bytes, style: Style | None) -> None:
    assert [line.lstrip(b" \t") for line in restyled(text, style).split(b"\n") if line.strip()] == [
        line.lstrip(b" \t") for line in text.split(b"\n") if line.strip()
    ]
