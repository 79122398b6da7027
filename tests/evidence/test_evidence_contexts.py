# SPDX-License-Identifier: Apache-2.0
"""Risks that stand outside a function: what its callers hold, the tables it stands in, who takes its address."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_hmopt.evidence.contexts import context_notes
from git_hmopt.psg.compile_database import load_database
from git_hmopt.psg.queries import Structure
from git_hmopt.psg.unit import parse_unit
from tests.psg.structure_tree import Tree, tree_in

LOCKS = """\
struct lock { int held; };
extern struct lock l;
void spin_lock(struct lock *);
void spin_unlock(struct lock *);
void spin_lock_irqsave(struct lock *, unsigned long);
void spin_unlock_irqrestore(struct lock *, unsigned long);
void mutex_lock(struct lock *);
void mutex_unlock(struct lock *);
void rcu_read_lock(void);
void rcu_read_unlock(void);
int hot(int);
"""


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return tree_in(tmp_path)


def notes(tree: Tree, *callers: str, file: str = "lib/hot.c", symbol: str = "hot") -> tuple[str, ...]:
    tree.write("include/linux/locks.h", LOCKS)
    tree.write("lib/hot.c", "#include <linux/locks.h>\nint hot(int x) { return x + 1; }\n")
    tree.write("lib/callers.c", "\n".join(["#include <linux/box.h>", "#include <linux/locks.h>", *callers]) + "\n")
    tree.compiled.extend(["lib/hot.c", "lib/callers.c"])
    tree.update()
    function = parse_unit(load_database(tree.root / "compile_commands.json", root=tree.root).command(file)).function(
        symbol
    )
    assert function is not None
    with tree.graph.reading() as tables:
        assert tables is not None
        return context_notes(Structure(tables), function, lambda path: ("0" * 40, (tree.root / path).read_bytes()))


def test_callers_that_hold_nothing_are_no_risk(tree: Tree) -> None:
    assert notes(tree, "int a(void)\n{\n\tspin_lock(&l);\n\tspin_unlock(&l);\n\treturn hot(1);\n}") == ()
    assert notes(tree, "int b(void)\n{\n\t/* spin_lock(&l); */\n\treturn hot(1);\n}") == ()


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("spin_lock(&l);", "spin_unlock(&l);", ["a spinlock"]),
        ("spin_lock_irqsave(&l, 0);", "spin_unlock_irqrestore(&l, 0);", ["a spinlock", "interrupts off"]),
        ("rcu_read_lock();", "rcu_read_unlock();", ["an RCU read section"]),
        ("mutex_lock(&l);", "mutex_unlock(&l);", ["a mutex"]),
        (
            "spin_lock(&l);\n\tif (l.held) {\n\t\tspin_unlock(&l);\n\t\treturn 0;\n\t}",
            "spin_unlock(&l);",
            ["a spinlock"],
        ),
    ],
)
def test_what_all_callers_hold(tree: Tree, before: str, after: str, named: list[str]) -> None:
    found = notes(tree, f"int a(void)\n{{\n\tint x;\n\t{before}\n\tx = hot(1);\n\t{after}\n\treturn x;\n}}")
    assert [note.split(":")[0] for note in found] == [f"called with {one}" for one in named]
    assert all("by all its callers, as their text reads (a): " in note for note in found)


def test_what_is_held_two_calls_away_and_by_some_only(tree: Tree) -> None:
    found = notes(
        tree,
        "static int middle(int x)\n{\n\treturn hot(x);\n}",
        "int outer(void)\n{\n\tint x;\n\tspin_lock(&l);\n\tx = middle(1);\n\tspin_unlock(&l);\n\treturn x;\n}",
        "int free(void)\n{\n\treturn hot(2);\n}",
    )
    assert found == (
        "called with a spinlock: by 1 of 2 callers, as their text reads (middle from outer): it must not sleep, and"
        " what the lock protects is relied on",
    )


def test_callers_that_were_not_looked_at_are_counted(tree: Tree) -> None:
    quiet = [f"int f{number:02}(void) {{ return hot({number}); }}" for number in range(40)]
    [note] = notes(tree, "int a(void)\n{\n\tmutex_lock(&l);\n\treturn hot(1);\n}", *quiet)
    assert note.startswith("called with a mutex: by 1 of the first 32 of 41 callers, as their text reads (a): ")


def test_a_function_that_calls_itself_ends(tree: Tree) -> None:
    assert notes(tree, "int a(int x)\n{\n\treturn x ? hot(x) : a(x - 1);\n}") == ()


def test_a_table_a_taken_address_and_boot(tree: Tree) -> None:
    [table] = notes(tree, file="lib/box.c", symbol="box_open")
    assert table == (
        "in a table: struct box_ops.open: 1 known caller of the pointer, any context that they have; the signature is"
        " the table's"
    )
    [address] = notes(tree, file="kernel/go.c", symbol="start")
    assert address == "address taken: by starter: it may be called from where no call names it"
    assert notes(tree, file="kernel/go.c", symbol="go") == ("called at boot only: all callers are __init (start)",)
