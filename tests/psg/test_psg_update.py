# SPDX-License-Identifier: Apache-2.0
"""Bringing a graph up to date: only what changed is parsed, and the result is what a build from nothing gives."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from tests.psg.structure_tree import COMPILED, Tree, tree_in


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return tree_in(tmp_path)


def test_everything_is_parsed_once_and_then_nothing(tree: Tree) -> None:
    first = tree.update()
    assert (first.units, sorted(first.parsed), first.failed, first.with_errors) == (3, sorted(COMPILED), {}, {})
    second = tree.update()
    assert (second.units, second.parsed, second.reused) == (3, [], 0)
    assert tree.rows() == tree.rebuilt()


Edit = Callable[[Tree], None]
EDITS: dict[str, tuple[Edit, set[str]]] = {}
"""By what they are: the edit, and the units that have to be parsed after it."""


def edit(*dirty: str) -> Callable[[Edit], Edit]:
    """Add an edit that makes these units dirty."""

    def add(change: Edit) -> Edit:
        EDITS[change.__name__] = (change, set(dirty))
        return change

    return add


@edit("lib/box.c")
def a_function(tree: Tree) -> None:
    tree.edit("lib/box.c", "total++", "total += 2")


@edit("kernel/go.c")
def a_line_above_everything(tree: Tree) -> None:
    tree.edit("kernel/go.c", "#include <linux", "\n#include <linux")


@edit("kernel/parts.c")
def an_included_c_file(tree: Tree) -> None:
    tree.edit("kernel/part.inc.c", "3", "4")


@edit("kernel/go.c")
def a_header_of_one_unit(tree: Tree) -> None:
    tree.edit("kernel/detail.h", "1", "2")


@edit("kernel/go.c", "lib/box.c")
def a_header_of_two_units(tree: Tree) -> None:
    tree.edit("include/linux/box.h", "int weight", "long weight")


@edit("kernel/go.c", "lib/box.c")
def a_header_that_shadows_another(tree: Tree) -> None:
    text = (tree.root / "include/linux/box.h").read_text()
    tree.write("kernel/over/linux/box.h", text.replace("int weight", "short weight"))


@edit("kernel/go.c")
def a_quoted_header_from_elsewhere(tree: Tree) -> None:
    tree.write("include/detail.h", "static inline int detail(void) { return 9; }\n")
    (tree.root / "kernel/detail.h").unlink()


@edit("kernel/go.c")
def a_quoted_header_that_comes_beside_its_unit(tree: Tree) -> None:
    tree.write("include/other.h", "static inline int other(void) { return 9; }\n")
    tree.edit("kernel/go.c", '#include "detail.h"', '#include "detail.h"\n#include "other.h"')
    tree.update()
    tree.write("kernel/other.h", "static inline int nearer(void) { return 9; }\n")


@edit("lib/box.c")
def a_knob_that_a_unit_names(tree: Tree) -> None:
    tree.write("include/generated/autoconf.h", "#define CONFIG_HEAVY 1\n#define CONFIG_TRACE 1\n")


@edit("kernel/go.c", "lib/box.c")
def a_knob_that_a_header_names(tree: Tree) -> None:
    tree.write("include/generated/autoconf.h", "\n")


@edit("lib/box.c")
def a_knob_that_becomes_a_module(tree: Tree) -> None:
    tree.edit("lib/box.c", "#ifdef CONFIG_TRACE", "#if defined(CONFIG_TRACE) || defined(CONFIG_TRACE_MODULE)")
    tree.update()
    tree.write("include/generated/autoconf.h", "#define CONFIG_HEAVY 1\n#define CONFIG_TRACE_MODULE 1\n")


@edit()
def a_knob_that_nobody_names(tree: Tree) -> None:
    tree.write("include/generated/autoconf.h", "#define CONFIG_HEAVY 1\n#define CONFIG_OTHER 1\n")


@edit("lib/crate.c")
def a_file_renamed(tree: Tree) -> None:
    (tree.root / "lib/box.c").rename(tree.root / "lib/crate.c")
    tree.compiled[tree.compiled.index("lib/box.c")] = "lib/crate.c"


@edit()
def a_file_that_leaves_the_build(tree: Tree) -> None:
    tree.compiled.remove("kernel/parts.c")


@edit("kernel/a_new.c")
def a_file_that_comes_first(tree: Tree) -> None:
    # It is now the least of those that opened the header, which it speaks for.
    tree.write("kernel/a_new.c", "#include <linux/box.h>\nint newest(struct box *box) { return weigh(box); }\n")
    tree.compiled.append("kernel/a_new.c")


@edit()
def a_touch(tree: Tree) -> None:
    os.utime(tree.root / "lib/box.c")


@edit("kernel/go.c")
def a_header_that_is_included_no_more(tree: Tree) -> None:
    tree.edit("kernel/go.c", '#include "detail.h"', "")
    tree.edit("kernel/go.c", "detail()", "1")


@edit("kernel/go.c", "kernel/parts.c", "lib/box.c")
def another_flag(tree: Tree) -> None:
    tree.flags = (*tree.flags, "-DMORE=1")


SAME = ("a_touch", "a_knob_that_nobody_names", "another_flag")
"""After these the graph says what it said."""


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_costs_what_it_touches_and_gives_what_a_build_from_nothing_gives(tree: Tree, name: str) -> None:
    change, dirty = EDITS[name]
    tree.update()
    before = tree.rows()
    change(tree)
    done = tree.update()
    assert set(done.parsed) == dirty
    assert (done.failed, done.with_errors, done.reused) == ({}, {}, 0)
    after = tree.rows()
    assert after == tree.rebuilt()
    assert (after == before) == (name in SAME)


def test_an_edit_taken_back_is_found_again_and_not_parsed(tree: Tree) -> None:
    tree.update()
    before = tree.rows()
    tree.edit("include/linux/box.h", "int weight", "long weight")
    assert len(tree.update().parsed) == 2
    tree.edit("include/linux/box.h", "long weight", "int weight")
    back = tree.update()
    assert (back.parsed, back.reused) == ([], 2)
    assert tree.rows() == before


def test_a_second_clone_parses_nothing(tmp_path: Path) -> None:
    one, two = tree_in(tmp_path / "one"), tree_in(tmp_path / "two")
    shards = tmp_path / "shards.sqlite"
    assert len(one.update(shards=shards).parsed) == 3
    second = two.update(shards=shards)
    assert (second.parsed, second.reused) == ([], 3)
    assert two.rows() == one.rows()


def test_damaged_facts_are_parsed_again(tree: Tree) -> None:
    tree.update()
    before = tree.rows()
    database = apsw.Connection(str(tree.home / "shards.sqlite"))
    database.execute("UPDATE shards SET facts = x'00'")
    database.close()
    tree.graph.path.unlink()
    assert len(tree.update().parsed) == 3
    assert tree.rows() == before
    (tree.home / "shards.sqlite").write_bytes(b"not a database" * 1000)
    for extra in tree.home.glob("shards.sqlite-*"):
        extra.unlink()
    tree.graph.path.unlink()
    assert len(tree.update().parsed) == 3
    assert tree.rows() == before


def test_a_precompiled_header_serves_until_what_it_was_made_of_changes(tree: Tree) -> None:
    for number in range(10):
        tree.write(f"lib/unit{number}.c", f"#include <linux/box.h>\nint unit{number}(void) {{ return total; }}\n")
        tree.compiled.append(f"lib/unit{number}.c")
    assert tree.update().without_precompiled == 0
    folder = tree.graph.path.with_suffix(".pch")
    made = sorted(folder.iterdir())
    assert [path.suffix for path in made] == [".asks", ".h", ".pch"]
    tree.edit("lib/unit3.c", "return total", "return total + 1")
    done = tree.update()
    # One that does not serve is noticed by the parser, and the unit is parsed without it.
    assert (done.parsed, done.without_precompiled) == (["lib/unit3.c"], 0)
    assert sorted(folder.iterdir()) == made
    tree.write("include/generated/autoconf.h", "\n")
    assert tree.update().without_precompiled == 0
    assert len(list(folder.iterdir())) == 3 and sorted(folder.iterdir()) != made
    assert tree.rows() == tree.rebuilt()
