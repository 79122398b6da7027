# SPDX-License-Identifier: Apache-2.0
"""The precompiled header of a group: what is in it, and the units that it does not serve."""

from __future__ import annotations

from pathlib import Path

import pytest
from clang import cindex

from git_hmopt.psg import build, tasks
from git_hmopt.psg.arguments import parser_arguments
from git_hmopt.psg.compile_database import CompileCommand, load_database
from git_hmopt.psg.precompiled import commonest, told_apart
from git_hmopt.psg.tasks import Task
from tests.psg.structure_tree import Tree, tree_in, unit_edges

_LOUD = """#ifndef LOUD_H
#define LOUD_H
void shout(void);
void whisper(void);
#ifdef LOUD
#define say() shout()
#else
#define say() whisper()
#endif
#ifndef my_fmt
#define my_fmt 1
#endif
#endif
"""


@pytest.fixture
def many(tmp_path: Path) -> Tree:
    """Return a tree whose twelve like units share a precompiled header."""
    tree = tree_in(tmp_path)
    tree.write("include/linux/loud.h", _LOUD)
    for number in range(12):
        tree.write(
            f"lib/unit{number}.c",
            f"#include <linux/box.h>\n#include <linux/loud.h>\nint unit{number}(void) {{ say(); return total; }}\n",
        )
        tree.compiled.append(f"lib/unit{number}.c")
    return tree


def _calls(tree: Tree, unit: str) -> set[str]:
    with tree.graph.reading() as tables:
        assert tables is not None
        return {edge[1] for edge in unit_edges(tables, unit) if edge[2] == "call_static"}


def test_a_unit_that_tells_a_header_something_first_is_parsed_without(many: Tree) -> None:
    many.write("lib/unit5.c", "#define LOUD 1\n#include <linux/loud.h>\nvoid unit5(void) { say(); }\n")
    done = many.update()
    assert done.without_precompiled == 1
    assert _calls(many, "lib/unit5.c") == {"shout"}
    assert _calls(many, "lib/unit4.c") == {"whisper"}
    # Told behind the includes it changes nothing.
    many.write("lib/unit5.c", "#include <linux/loud.h>\n#define LOUD 1\nvoid unit5(void) { say(); }\n")
    assert many.update().without_precompiled == 0
    assert _calls(many, "lib/unit5.c") == {"whisper"}


_ALIASING = """#ifndef ALIASING_H
#define ALIASING_H
#define SYSCALL_DEFINE1(name, type, argument) \\
	long sys_##name(type argument); \\
	long sys_##name(type argument) __attribute__((unused, alias("__se_sys_" #name))); \\
	long __se_sys_##name(long argument) { return __do_##name((type)argument); } \\
	static long __do_##name(type argument)
#define TABLE(name) extern int table_##name __attribute__((unused, alias(#name)))
#endif
"""
_CALL = """#include <linux/box.h>
#include <linux/aliasing.h>
static long __do_call(int count);
SYSCALL_DEFINE1(call, int, count) { return total + count; }
"""


def _said(tree: Tree) -> list[tuple[object, ...]]:
    """Return the definitions and edges of the units' own files."""
    return [
        row for table in ("definitions", "edges") for row in tree.rows()[table] if str(row[0]).startswith("lib/unit")
    ]


def _arguments_of(tree: Tree, unit: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Return what a unit is parsed with, once or twice, by the precompiled header that was made."""
    (made,) = tree.graph.path.with_suffix(".pch").glob("*.pch")
    command = load_database(tree.root / "compile_commands.json", root=tree.root).command(unit)
    given: list[tuple[str, ...]] = []
    parse = tasks.parse

    def seen(command: CompileCommand, arguments: tuple[str, ...]) -> cindex.TranslationUnit | None:
        given.append(arguments)
        return parse(command, arguments)

    monkeypatch.setattr(tasks, "parse", seen)
    tasks.begin({})
    tasks.work(Task(command, told_apart(parser_arguments(command).accepted, command), made))
    return given


@pytest.mark.parametrize(
    ("more", "spared"),
    [
        ("", True),
        # Here the parser cannot be spared the search: `alias` is a name of the unit's own, or of a variable's.
        ("int alias(int count) { return count; }\n", False),
        ("int called(struct box *alias(int)) { return alias(1)->weight; }\n", False),
        ("int first;\nTABLE(first);\n", False),
        ('#include "own.h"\nint second(void) { return alias(1); }\n', False),
    ],
)
def test_what_aliases_say_is_the_same_with_the_precompiled_header(
    many: Tree, more: str, spared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    many.write("include/linux/aliasing.h", _ALIASING)
    many.write("lib/own.h", "static inline int alias(int count) { return count; }\n")
    for number in range(12):
        many.write(f"lib/unit{number}.c", _CALL.replace("call", f"call{number}") + more)
    done = many.update()
    assert (done.failed, done.with_errors, done.without_precompiled) == ({}, {}, 0)
    said = _said(many)
    assert "__se_sys_call3" in {row[2] for row in said}
    assert any("-Dalias" in word for word in _arguments_of(many, "lib/unit3.c", monkeypatch)[-1]) is spared
    # Without a precompiled header nothing is spared.
    monkeypatch.setattr(build, "commonest", lambda _: ())
    plain = Tree(many.root, many.home / "plain", many.compiled)
    plain.home.mkdir()
    plain.update()
    assert not list(plain.home.rglob("*.pch"))
    assert _said(plain) == said


def test_what_only_makes_code_tells_no_units_apart(many: Tree) -> None:
    many.own_flags = {f"lib/unit{number}.c": ("-fno-function-sections", "-pg") for number in range(6)}
    many.update()
    assert _sharing(many) == len(many.compiled)
    many.own_flags = {f"lib/unit{number}.c": ("-ffreestanding",) for number in range(6)}
    many.update()
    assert _sharing(many) == len(many.compiled) - 6


def _sharing(tree: Tree) -> int:
    with tree.graph.reading() as tables:
        assert tables is not None
        return sum(bool(unit.precompiled) for unit in tables.units().values())


@pytest.mark.parametrize("target", ["x86_64-linux-gnu", "aarch64-linux-gnu"])
@pytest.mark.parametrize(
    "option",
    ["-ffunction-sections", "-fno-data-sections", "-fomit-frame-pointer", "-fno-omit-frame-pointer",
     "-fno-optimize-sibling-calls", "-pg", "-mfentry", "-mrecord-mcount", "-mnop-mcount",
     "-fpatchable-function-entry=2"],
)  # fmt: skip
def test_an_option_that_is_left_out_defines_nothing(option: str, target: str, tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text("")
    command = CompileCommand(tmp_path, tmp_path, "main.c", (f"{target}-gcc", "-nostdinc", "-O2", option, "main.c"))
    assert option not in parser_arguments(command).accepted
    without = _macros(f"--target={target}")
    # One that the parser does not know for a target would have been left out for that.
    assert _macros(f"--target={target}", option) in (without, None)
    assert _macros(f"--target={target}", "-ffreestanding") != without


def _macros(*options: str) -> list[str] | None:
    """Return what is defined for an empty file; None when an option is refused."""
    record = cindex.TranslationUnit.PARSE_DETAILED_PROCESSING_RECORD
    unit = cindex.TranslationUnit.from_source("none.c", ["-O2", *options], [("none.c", "\n")], record)
    if any(one.severity >= cindex.Diagnostic.Error for one in unit.diagnostics):
        return None
    assert unit.cursor is not None
    return [one.spelling for one in unit.cursor.get_children() if one.kind == cindex.CursorKind.MACRO_DEFINITION]


def test_a_name_that_no_header_asks_for_is_its_own(many: Tree) -> None:
    many.write("lib/unit5.c", "#define MINE 1\n#include <linux/loud.h>\nvoid unit5(void) { say(); }\n")
    assert many.update().without_precompiled == 0


def test_a_header_that_does_not_compile_with_the_others_is_left_out(many: Tree) -> None:
    many.write("include/linux/inner.h", "#ifndef FIRST\n#error FIRST comes first\n#endif\nint inner(void);\n")
    many.write("include/linux/lonely.h", "#include <linux/inner.h>\n")
    for number in range(9):
        many.write(
            f"lib/unit{number}.c",
            "#define FIRST\n#include <linux/lonely.h>\n#include <linux/box.h>\n"
            f"int unit{number}(void) {{ return inner() + total; }}\n",
        )
    done = many.update()
    assert (done.failed, done.with_errors, done.without_precompiled) == ({}, {}, 0)
    assert _calls(many, "lib/unit3.c") == {"inner"}
    assert "linux/lonely.h" not in _made(many)
    assert many.rows() == many.rebuilt()
    # What was left out for decides as much as what is in.
    many.write("include/linux/inner.h", "#ifndef INNER_H\n#define INNER_H\nint inner(void);\n#endif\n")
    many.update()
    assert "linux/lonely.h" in _made(many)
    assert many.rows() == many.rebuilt()
    many.write("include/linux/inner.h", "int inner(void) { return 1; }\n")
    done = many.update()
    assert (done.failed, done.with_errors) == ({}, {})
    assert many.rows() == many.rebuilt()


def test_a_header_that_is_not_there_yet_is_left_out_until_it_is(many: Tree) -> None:
    for number in range(9):
        many.write(f"lib/unit{number}.c", f"#include <linux/soon.h>\nint unit{number}(void) {{ return soon(); }}\n")
    done = many.update()
    assert len(done.with_errors) == 9 and not done.failed
    many.write("include/linux/soon.h", "static inline int soon(void) { return 1; }\n")
    done = many.update()
    assert (done.failed, done.with_errors) == ({}, {})
    assert _calls(many, "lib/unit3.c") == {"include/linux/soon.h:soon"}
    assert many.rows() == many.rebuilt()


def test_two_trees_share_nothing_of_a_header_that_one_left_out(many: Tree, tmp_path: Path) -> None:
    shards = tmp_path / "shared.sqlite"
    good = (many.root / "include/linux/loud.h").read_text()
    many.write("include/linux/loud.h", good.replace("void shout(void);", "void shout(void) { return 1 }"))
    many.update(shards=shards)
    many.write("include/linux/loud.h", good)
    many.graph.path.unlink()
    many.update(shards=shards)
    assert "linux/loud.h" in _made(many)
    assert many.rows() == many.rebuilt()


def test_units_are_parsed_without_one_that_cannot_be_made(many: Tree) -> None:
    many.write("include/generated/autoconf.h", "#error no configuration\n")
    done = many.update()
    assert done.without_precompiled == 0 or set(done.with_errors) >= {"lib/unit1.c"}
    assert any(name.startswith("<precompiled") for name in done.failed)


def _made(tree: Tree) -> str:
    (made,) = tree.graph.path.with_suffix(".pch").glob("*.h")
    return made.read_text()


def test_the_commonest_are_those_that_many_name() -> None:
    sources = [b"#include <a.h>\n# include <b.h>\n"] * 20 + [b"#include <a.h>\n#include <trace/events/c.h>\n"] * 20
    assert commonest([*sources, *[b"#include <rare.h>\n"] * 7]) == ("a.h", "b.h")


def test_nothing_is_made_of_units_that_share_no_header(tmp_path: Path) -> None:
    assert commonest([b"int x;\n", b'#include "own.h"\n']) == ()
