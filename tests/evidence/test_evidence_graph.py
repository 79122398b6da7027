# SPDX-License-Identifier: Apache-2.0
"""What stands around a hotspot in the whole build: callers of other units, tables it is called through, knobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_hmopt.evidence.graph import around
from git_hmopt.evidence.structure import FunctionNode
from git_hmopt.loop.structure import not_built, shares_of, touched
from git_hmopt.psg.compile_database import load_database
from git_hmopt.psg.queries import Structure
from git_hmopt.psg.unit import parse_unit
from tests.psg.structure_tree import FILES, Tree, tree_in


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = tree_in(tmp_path)
    made.write("kernel/Makefile", "obj-$(CONFIG_TALK) += caller.o\n")
    made.write("Kbuild", "obj-y += kernel/ lib/\n")
    made.write("kernel/caller.c", "#include <linux/box.h>\nint caller(struct box *box) { return go(box) + go(box); }\n")
    made.compiled.append("kernel/caller.c")
    made.update()
    return made


def function(tree: Tree, file: str, symbol: str) -> FunctionNode:
    database = load_database(tree.root / "compile_commands.json", root=tree.root)
    found = parse_unit(database.command(file)).function(symbol)
    assert found is not None
    return found


def told(structure: Structure, node: FunctionNode) -> set[tuple[str, str, str | None, int | None]]:
    return {(one.relation, one.symbol, one.file, one.line) for one in around(structure, node)}


def test_callers_of_other_units_are_there(tree: Tree, structure: Structure) -> None:
    assert told(structure, function(tree, "kernel/go.c", "go")) == {
        ("caller", "caller", "kernel/caller.c", 2),
        ("caller", "start", "kernel/go.c", 15),
    }


def test_who_calls_through_a_table_is_shown_with_the_pointer(tree: Tree, structure: Structure) -> None:
    assert told(structure, function(tree, "lib/box.c", "box_open")) == {
        ("caller", "go (*struct box_ops.open)", "kernel/go.c", 4)
    }


def test_the_knob_of_its_object_is_there(tree: Tree, structure: Structure) -> None:
    found = told(structure, function(tree, "kernel/caller.c", "caller"))
    assert found == {("config", "CONFIG_TALK", "kernel/caller.c", None)}


def test_what_a_change_touches_names_the_hot_callers_first(tree: Tree, structure: Structure) -> None:
    before = (tree.root / "kernel/go.c").read_bytes()
    after = before.replace(b"return 0;", b"return 1;")
    shares = shares_of([{"symbol": "start.constprop.0", "score": "0.25"}, {"symbol": "go", "score": "0.5"}])
    [one] = touched(structure, {"kernel/go.c": (before, after)}, shares)
    assert (one.symbol, one.how, one.share, one.reached_by) == ("go", "changed", "0.5", ("kernel/go.c:start", "caller"))
    [blind] = touched(None, {"kernel/go.c": (before, after)}, {})
    assert (blind.symbol, blind.share, blind.reached_by, blind.reached_by_all) == ("go", None, None, None)


def test_the_hottest_of_a_functions_copies_counts_and_a_struct_is_no_function(structure: Structure) -> None:
    ranked: list[dict[str, object]] = [
        {"symbol": "box", "score": "0.5"},
        {"symbol": "box.part.0", "score": "0.1"},
        {"symbol": "x", "score": None},
    ]
    assert shares_of(ranked) == {"box": 0.5}
    header = FILES["include/linux/box.h"].encode()
    [one] = touched(
        structure, {"include/linux/box.h": (header, header.replace(b"int weight", b"long weight"))}, {"box": 0.5}
    )
    assert (one.symbol, one.share) == ("struct box", None)


def test_a_change_below_a_knob_that_is_not_set_says_so(tree: Tree, structure: Structure) -> None:
    before = (tree.root / "lib/box.c").read_bytes()
    after = before.replace(b"twice(total)", b"total")
    assert not_built(structure, {"lib/box.c": (before, after)}) == "box_trace hangs on CONFIG_TRACE"
    header = (tree.root / "include/linux/box.h").read_bytes()
    heavy = header.replace(b"unsigned long count_t", b"unsigned short count_t")
    # CONFIG_HEAVY is set: what hangs on it is built.
    assert not_built(structure, {"include/linux/box.h": (header, heavy)}) == ""
    light = header.replace(b"unsigned int count_t", b"unsigned short count_t")
    assert not_built(structure, {"include/linux/box.h": (header, light)}) == "typedef count_t hangs on CONFIG_HEAVY"
