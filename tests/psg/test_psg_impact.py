# SPDX-License-Identifier: Apache-2.0
"""What a change touches by its text, and who reaches that in a graph of a build."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from git_hmopt.psg.facts import Kind
from git_hmopt.psg.impact import all_touches, impact, touches
from git_hmopt.psg.queries import Structure
from tests.psg.structure_tree import FILES, tree_in

SOURCE = """#include <linux/a.h>
/* adds */
static int f(int a)
{
	return a + 1; /* one */
}

struct s { int x; };
enum colour { RED };
typedef unsigned long count_t;
static int table[] = { 1, 2 };
int a, b = 2;
#define LIMIT 7
#ifdef CONFIG_A
int g(void) { return 1; }
#else
int g(void) { return 2; }
#endif
EXPORT_SYMBOL(g);
"""


def touched(before: str | bytes | None, after: str | bytes | None, path: str = "lib/a.c") -> list[tuple[str, str]]:
    """Return (symbol, how) of a change."""
    sides = [side.encode() if isinstance(side, str) else side for side in (before, after)]
    return [(one.symbol, one.how) for one in touches(path, *sides)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, None), (None, b""), (b"", None), (b"", b"\n\n/* only a comment */\n"), (b"\xff\xfe", b"\xff\xfe"),
        (b"int f(void) { }", b"int  f(void)\r\n{\r\n}\r\n"), (b"// a\nint x;", b"int x; // it's\n"),
        (b"#define A 1 /* a\n b */\n", b"#define  A \\\n 1\n"),
        (b"int a;\nint f(void) { }\n", b"int f(void) { }\nint a;\n"),
    ],
)  # fmt: skip
def test_what_changes_nothing(before: bytes | None, after: bytes | None) -> None:
    assert touched(before, after) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("a + 1", "a + 2", [("lib/a.c:f", "changed")]),
        ("/* one */", "", []),
        ("/* adds */", "/* adds\n one */", []),
        ("static int f", "int f", [("f", "added"), ("lib/a.c:f", "removed")]),
        ("int x;", "long x;", [("lib/a.c:struct s", "changed")]),
        ("RED", "RED, GREEN", [("lib/a.c:enum colour", "changed")]),
        ("unsigned long", "unsigned int", [("lib/a.c:typedef count_t", "changed")]),
        ("{ 1, 2 }", "{ 1, 3 }", [("lib/a.c:table", "changed")]),
        ("b = 2", "b = 3", [("a", "changed"), ("b", "changed")]),
        ("LIMIT 7", "LIMIT 8", [("macro LIMIT", "changed")]),
        ("return 2", "return 3", [("g", "changed")]),
        ("EXPORT_SYMBOL(g)", "EXPORT_SYMBOL_GPL(g)", [("file lib/a.c", "changed")]),
        ("#ifdef CONFIG_A", "#ifdef CONFIG_B", [("file lib/a.c", "changed")]),
        ("linux/a.h", "linux/b.h", [("file lib/a.c", "changed")]),
        ("struct s { int x; };\n", "", [("lib/a.c:struct s", "removed")]),
    ],
)
def test_edits(old: str, new: str, expected: list[tuple[str, str]]) -> None:
    assert old in SOURCE
    assert touched(SOURCE, SOURCE.replace(old, new)) == expected


def test_a_file_that_comes_or_goes() -> None:
    assert touched(None, "int f(void) { }\nint x;\n") == [("f", "added"), ("x", "added")]
    assert touched("int f(void) { }\n", None) == [("f", "removed")]


def test_a_header_s_types_are_everybody_s() -> None:
    assert touched("struct s { int x; };", "struct s { long x; };", "include/a.h") == [("struct s", "changed")]
    assert touched("const static int x = 1;", "const static int x = 2;", "a.h") == [("a.h:x", "changed")]


def test_the_lines_are_those_of_the_side_that_changed() -> None:
    (one,) = touches("a.c", SOURCE.encode(), SOURCE.replace("return 2", "return 3").encode())
    assert (one.kind, one.first_line, one.last_line) == (Kind.FUNCTION, 17, 17)
    (gone,) = touches("a.c", b"\n\nint f(void) { }", b"")
    assert (gone.how, gone.first_line) == ("removed", 3)


def test_blanks_in_a_string_count() -> None:
    assert touched('char *f(void) { return "a  b"; }', 'char *f(void) { return "a b"; }') == [("f", "changed")]


def test_only_c_files_count() -> None:
    changes = {
        "b.c": (None, b"int b;"),
        "a.h": (b"int a;", None),
        "Makefile": (None, b"int c;"),
        "x.S": (b"", b"int d;"),
    }
    assert [one.symbol for one in all_touches(changes)] == ["a", "b"]


def test_a_file_that_is_nested_without_end_is_itself_what_is_touched() -> None:
    """Queries over it took minutes; it is no C that anybody wrote."""
    deep = b"int f(void) { return " + b"(" * 500_000 + b"1" + b")" * 500_000 + b"; }\n"
    (one,) = touches("lib/deep.c", b"int f(void) { return 1; }\n", deep)[-1:]
    assert one.symbol in ("file lib/deep.c", "f")
    (both,) = touches("lib/deep.c", deep, deep + b"int g;\n")
    assert both.symbol == "file lib/deep.c"


def test_generated_files_take_seconds() -> None:
    one = "static int f%d(int a)\n{\n\treturn a;\n}\n#define M%d 1\n"
    before = "".join(one % (number, number) for number in range(20_000))
    names = "int " + ", ".join(f"v{number}" for number in range(20_000)) + ";\n"
    began = time.process_time()
    found = touched(before + names, before.replace("M7 1", "M7 2") + names)
    assert time.process_time() - began < 20
    assert found == [("macro M7", "changed")]


def test_who_reaches_what_a_change_touches(tmp_path: Path) -> None:
    tree = tree_in(tmp_path)
    tree.update()
    before = FILES["lib/box.c"]
    changed = touches("lib/box.c", before.encode(), before.replace("total++", "total--").encode())
    inner = touches("include/linux/box.h", b"struct base { int id; };", b"struct base { long id; };")
    struct = touches("include/linux/box.h", b"struct box { int weight; };", b"struct box { long weight; };")
    with tree.graph.reading() as tables:
        assert tables is not None
        found, of_struct, of_base = impact(Structure(tables), [*changed, *struct, *inner])
        (nearest,) = impact(Structure(tables), changed, reach=1)
        (one,) = impact(Structure(tables), changed, most=1)
        (nobody,) = impact(Structure(tables), touches("lib/new.c", None, b"int fresh(void) { }"))
    assert found.touch.symbol == "lib/box.c:box_open"
    # go() calls through the table's field.
    assert found.reached_by == (("go", 1), ("kernel/go.c:start", 2))
    assert nearest.reached_by == one.reached_by == (("go", 1),)
    assert of_struct.reached_by == tuple(
        (user, 1)
        for user in (
            "go",
            "include/linux/box.h:weigh",
            "kernel/go.c:start",
            "lib/box.c:box_close",
            "lib/box.c:box_open",
        )
    )
    # struct box begins with struct base: who uses the one uses the other.
    assert of_base.touch.symbol == "struct base"
    assert of_base.reached_by == of_struct.reached_by
    assert nobody.reached_by == ()
