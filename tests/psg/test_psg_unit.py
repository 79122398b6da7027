# SPDX-License-Identifier: Apache-2.0
"""One unit: extents, calls, references, macros that make functions, included C files, files that do not compile."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_hmopt.errors import ConfigError
from git_hmopt.psg.compile_database import CompileCommand
from git_hmopt.psg.unit import Function, Unit, line_of, parse_unit

HEADER = """#define noinline __attribute__((__noinline__))
#define __init __attribute__((__section__(".init")))
#define LIMIT 7
#define DEFINE1(name, t, a) static long do_##name(t a); \\
	long name(long a) { return do_##name((t)a); } static long do_##name(t a)
#define WHOLE(name) static int name(void) { return 1; }
struct box { int (*open)(int); int weight; };
enum colour { RED, GREEN };
typedef unsigned int count_t;
extern int total;
static inline int helper(int x) { return x + 1; }
int outside(int);
"""
MAIN = """#include "h.h"
static int table[4];
int declared_only(int);

static noinline int __init start(struct box *box, count_t n)
{
	static int kept;
	int local = n;

	total += helper(local) + table[GREEN] + LIMIT;
	outside(1);
	box->open(2);
	kept++;
	return local + kept;
}

DEFINE1(sys_thing, int, value)
{
	return value ? outside(value) : (long)&outside;
}
WHOLE(made)
#include "part.c"
"""
PART = "static void in_part(void)\n{\n\tin_part();\n}\n"


def tree(root: Path, main: str = MAIN) -> CompileCommand:
    (root / "h.h").write_text(HEADER)
    (root / "part.c").write_text(PART)
    (root / "main.c").write_text(main)
    return CompileCommand(root, root, "main.c", ("gcc", "-c", "-o", "main.o", "main.c"))


@pytest.fixture
def unit(tmp_path: Path) -> Unit:
    return parse_unit(tree(tmp_path))


def function(unit: Unit, symbol: str) -> Function:
    found = unit.function(symbol)
    assert found is not None
    return found


def test_functions_are_the_files_own_and_those_of_included_c_files(unit: Unit) -> None:
    assert unit.errors == 0
    found = [(one.file, one.symbol, one.linkage) for one in unit.functions]
    assert found == [
        ("main.c", "start", "static"),
        ("main.c", "do_sys_thing", "static"),
        ("main.c", "sys_thing", "external"),
        ("main.c", "made", "static"),
        ("part.c", "in_part", "static"),
    ]
    assert unit.function("helper") is None


def test_extents_are_exact(unit: Unit) -> None:
    start = function(unit, "start")
    text = unit.text(start)
    assert text.startswith(b"static noinline int __init start(struct box *box") and text.endswith(b"kept;\n}")
    assert unit.source[start.body_start : start.body_end].startswith(b"{\n\tstatic int kept;")
    assert unit.source[start.name_offset :].startswith(b"start(")
    assert (start.first_line, start.last_line) == (5, 15)
    assert line_of(unit.source, start.start) == 5
    part = function(unit, "in_part")
    assert unit.text(part) == PART.rstrip("\n").encode()


def test_macros_that_begin_or_make_a_function(unit: Unit) -> None:
    body = function(unit, "do_sys_thing")
    assert unit.text(body).startswith(b"DEFINE1(sys_thing, int, value)\n{") and unit.text(body).endswith(b";\n}")
    assert not body.from_macro
    assert function(unit, "sys_thing").from_macro
    assert function(unit, "made").from_macro
    assert unit.text(function(unit, "made")) == b"WHOLE(made)"


def test_calls(unit: Unit) -> None:
    calls = function(unit, "start").calls
    assert [(call.callee, call.line, call.indirect, call.file) for call in calls] == [
        ("helper", 10, False, "h.h"),
        ("outside", 11, False, "h.h"),
        ("open", 12, True, "h.h"),
    ]
    assert unit.source[calls[0].offset :].startswith(b"helper(local)")
    assert [call.callee for call in function(unit, "in_part").calls] == ["in_part"]


def test_references_name_what_is_used_and_where_it_is_declared(unit: Unit) -> None:
    start = function(unit, "start")
    found = {(one.kind, one.name): (one.file, one.line) for one in start.references}
    assert found == {
        ("global", "total"): ("h.h", 10),
        ("global", "table"): ("main.c", 2),
        ("enum", "GREEN"): ("h.h", 8),
        ("struct", "box"): ("h.h", 7),
        ("macro", "LIMIT"): ("h.h", 3),
    }
    taken = [one.name for one in function(unit, "do_sys_thing").references if one.kind == "function"]
    assert taken == ["outside"]  # its address; the call is no reference


def test_heads(unit: Unit) -> None:
    start = function(unit, "start")
    assert start.attributes == ("noinline", "__init")
    assert not start.is_inline
    assert start.result_type == "int"
    assert [(one.name, one.type, one.canonical) for one in start.parameters] == [
        ("box", "struct box *", "struct box *"),
        ("n", "count_t", "unsigned int"),
    ]


def test_unsaved_contents_replace_the_file_and_its_headers(tmp_path: Path) -> None:
    command = tree(tmp_path)
    unit = parse_unit(
        command, unsaved={"main.c": b'#include "h.h"\nint only(void) { return NEW; }\n', "h.h": b"#define NEW 3\n"}
    )
    assert [one.symbol for one in unit.functions] == ["only"]
    assert unit.errors == 0
    assert unit.source.startswith(b'#include "h.h"\nint only')


def test_file_that_does_not_compile_gives_what_it_can_and_counts_the_rest(tmp_path: Path) -> None:
    unit = parse_unit(
        tree(tmp_path, 'int good(void) { return 1; }\nint bad(nonsense x) { return y; }\n#include "gone.h"\n')
    )
    assert unit.function("good") is not None
    assert unit.errors >= 2
    assert any("gone.h" in one.text and (one.file, one.line) == ("main.c", 3) for one in unit.diagnostics)


@pytest.mark.parametrize("text", ["", "\x00\x01", "int a;", "}}}}", "#error no\n"])
def test_odd_files_never_raise(tmp_path: Path, text: str) -> None:
    assert parse_unit(tree(tmp_path, text)).functions == ()


def test_missing_file(tmp_path: Path) -> None:
    command = tree(tmp_path)
    (tmp_path / "main.c").unlink()
    with pytest.raises(ConfigError, match=r"cannot read .*main.c.*another tree"):
        parse_unit(command)


def test_refused_options_are_named(tmp_path: Path) -> None:
    command = tree(tmp_path)
    more = CompileCommand(command.root, command.directory, command.file, (*command.arguments, "-fconserve-stack"))
    assert parse_unit(more).refused == ("-fconserve-stack",)
