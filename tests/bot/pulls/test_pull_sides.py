# SPDX-License-Identifier: Apache-2.0
"""Which files of a change are renames, which are read by people alone, and what it costs to find out."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_hmopt.psg.chunks import nesting
from git_hmopt.psg.impact import same_code, same_lines
from hmopt_bot.pulls.sides import MOST_BYTES_OF_ALL, Aside, Reading, Sides, is_documentation, sides_of

BODY = b"int a;\nint b;\nint c;\nint d;\n"


def renames(changes: dict[str, tuple[bytes | None, bytes | None]]) -> dict[str, str]:
    return {one.path: one.before_path for one in sides_of(changes) if one.is_renamed}


def test_the_same_bytes_and_like_ones_are_renames() -> None:
    changes = {
        "a.c": (BODY, None), "b.c": (BODY + b"int e;\n", None), "gone.c": (b"other\n", None),
        "x.c": (None, BODY), "y.c": (None, BODY + b"int f;\n"), "new.c": (None, b"something\nelse\n"),
    }  # fmt: skip
    assert renames(changes) == {"x.c": "a.c", "y.c": "b.c"}
    assert [one.path for one in sides_of(changes)] == ["gone.c", "new.c", "x.c", "y.c"]


def test_no_rename_goes_from_one_file_to_two_nor_to_another_kind() -> None:
    assert renames({"a.c": (BODY, None), "x.c": (None, BODY), "y.c": (None, BODY)}) == {"x.c": "a.c"}
    assert renames({"a.c": (BODY, None), "a.txt": (None, BODY + b"int e;\n")}) == {}
    assert renames({"a.c": (b"", None), "b.c": (None, b"")}) == {}
    assert renames({"a.c": (b"\n" * 50, None), "b.c": (None, b"\n" * 51)}) == {}


def test_a_thousand_deleted_and_a_thousand_new_files_take_no_time() -> None:
    changes: dict[str, tuple[bytes | None, bytes | None]] = {}
    for number in range(1000):
        changes[f"old/{number}.c"] = (BODY + b"%d\n" % number, None)
        changes[f"new/{number}.c"] = (None, BODY + b"%d" % number)
    began = time.process_time()
    assert len(sides_of(changes)) == 2000
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("Documentation/mm/page.rst", True), ("Documentation/devicetree/x.yaml", True), ("MAINTAINERS", True),
        ("drivers/README.md", True), ("LICENSES/preferred/MIT", True), ("Documentation/Kconfig", False),
        ("Documentation/Makefile", False), ("Documentation/a/b.c", False), ("lib/Kconfig.debug", False),
        ("Documentation", False), ("lib/sort.c", False), ("lib/COPYING.c", False), ("arch/um/README", False),
        ("net/certs/x.hex", False), ("xDocumentation/a.txt", False), ("Makefile.rst", False),
    ],
)  # fmt: skip
def test_documentation(path: str, expected: bool) -> None:
    assert is_documentation(path) is expected


def test_a_rename_out_of_documentation_is_looked_at() -> None:
    out = Sides("lib/x.c", "Documentation/x.txt", BODY, BODY + b"int e;\n")
    assert Reading().aside(out) is Aside.NOT_C


def test_all_of_a_change_is_read_up_to_a_bound() -> None:
    reading, large = Reading(), b"int x;\n" * 500_000
    found = [reading.aside(Sides(f"{n}.c", f"{n}.c", None, large + b"%d" % n)) for n in range(20)]
    read = [why for why in found if why is None]
    assert len(read) == MOST_BYTES_OF_ALL // (len(large) + 1) and set(found) == {None, Aside.LARGE}


def test_brackets_that_never_close_are_counted_in_a_moment() -> None:
    began = time.process_time()
    assert nesting(b"(" * 1_000_000) == 1_000_000 and nesting(b"()" * 500_000) == 1 and nesting(b")))(") == 1
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("before", "after", "code", "lines"),
    [
        (b"int x; /* a */\n", b"int x;\n", True, True),
        (b"int x; /* a */\n", b"int x;\n\n", True, True),
        (b"int x; /* a\n */ int y;\n", b"int x; int y;\n", True, False),
        (b"\nint x;\n", b"int x;\n", True, False),
        (b"int x;\n", b"int y;\n", False, False),
        (b"int a; int b;\n", b"int b; int a;\n", False, False),
        (b"#define A \\\n 1\n", b"#define A 1\n", True, False),
        (b"#define A 1\nint x;\n", b"#define A 1 int x;\n", False, False),
        (b"#if A\nB\n#endif\n", b"#if A B\n\n#endif\n", False, False),
        (b'char *s = "a  b";\n', b'char *s = "a b";\n', False, False),
        (b'char *s = "/* a */";\n', b'char *s = "/* b */";\n', False, False),
        (b"int a\\\nb;\n", b"int ab;\n", True, False),
        (b"\xff\n", b"\xff /* \xfe */\n", True, True),
    ],
)
def test_comments_and_spacing_alone(before: bytes, after: bytes, code: bool, lines: bool) -> None:
    assert (same_code(before, after), same_lines(before, after)) == (code, lines)
    assert (same_code(after, before), same_lines(after, before)) == (code, lines)


@given(
    st.dictionaries(
        st.text(max_size=8), st.tuples(st.none() | st.binary(max_size=30), st.none() | st.binary(max_size=30))
    )
)
def test_every_file_of_a_change_comes_out_once(changes: dict[str, tuple[bytes | None, bytes | None]]) -> None:
    found = sides_of(changes)
    names = [name for one in found for name in {one.path, one.before_path}]
    assert sorted(names) == sorted(changes)
    reading = Reading()
    for one in found:
        reading.aside(one)
