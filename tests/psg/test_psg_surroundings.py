# SPDX-License-Identifier: Apache-2.0
"""What a tree says beside its C comes into the graph, and an update leaves what reading everything anew gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from git_hmopt.psg.queries import Structure
from tests.psg.structure_tree import FILES, FLAGS, Tree, tree_in

AROUND = {
    "Kconfig": 'mainmenu "x"\nsource "arch/$(SRCARCH)/Kconfig"\nsource "lib/Kconfig*"\nosource "later/Kconfig"\n',
    "arch/um/Kconfig": "config UML\n\tdef_bool y\n\tselect HEAVY\n",
    "lib/Kconfig": 'config HEAVY\n\tbool "heavy"\n\tdepends on UML\nwhat\n',
    "Kbuild": "obj-y += lib/ arch/$(SRCARCH)/\nobj-$(CONFIG_KERNEL) += kernel/\n",
    "Makefile": "core-y := ../outside/\n",
    "arch/um/Makefile": "HOST := arch/$(HEADER_ARCH)\ncore-y += arch/um/kernel/ $(HOST)/um/\n",
    "arch/x86/Makefile": "core-y += arch/x86/never/\n",
    "arch/x86/um/Makefile": "obj-$(CONFIG_X) += x.o\n",
    "arch/um/kernel/Makefile": "obj-$(CONFIG_K) += k.o\n",
    "lib/Makefile": "obj-$(CONFIG_HEAVY) += box.o\n",
    "kernel/Kbuild": "obj-$(CONFIG_GO) += go.o\n",
    "kernel/Makefile": "obj-$(CONFIG_NOT) += go.o\n",
    "MAINTAINERS": "\nBOXES\nM:\tx\nF:\tlib/\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = tree_in(tmp_path, {**FILES, **AROUND})
    made.flags = (*FLAGS, "-Iarch/um/include", "-Iarch/x86/include", "-Iarch/um/include/generated")
    return made


def said(tree: Tree) -> dict[str, object]:
    """Return all that stands beside the C in a graph, comparable."""
    statements = {
        "knobs": (
            "SELECT path, knob, k.first_line, type, prompt, defaults, depends, selects, implies FROM knobs k"
            " JOIN pages ON pages.id = page JOIN files ON files.id = file"
        ),
        "subsystems": "SELECT path, subsystem FROM files WHERE subsystem != ''",
    }
    with tree.graph.reading() as tables:
        assert tables is not None
        return {**tree.rows(), **{what: sorted(tables.rows(statement)) for what, statement in statements.items()}}


def guarded(tree: Tree, knob: str) -> set[tuple[str, str]]:
    """Return (symbol, sense) of what a knob decides about."""
    with tree.graph.reading() as tables:
        assert tables is not None
        return {(one.symbol, one.sense) for one in Structure(tables).guarded(knob)}


def test_knobs_makefiles_and_subsystems(tree: Tree) -> None:
    done = tree.update()
    assert [(one.file, one.line, one.why) for one in done.skipped] == [("lib/Kconfig", 4, "not understood: what")]
    assert ("file lib/box.c", "object") in guarded(tree, "HEAVY")
    assert {("CONFIG_HEAVY", "depends"), ("CONFIG_HEAVY", "selects")} <= guarded(tree, "UML")
    assert guarded(tree, "KERNEL") == {("file kernel/", "folder")}
    assert guarded(tree, "K") == {("file arch/um/kernel/k.c", "object")}
    assert guarded(tree, "X") == {("file arch/x86/um/x.c", "object")}
    # Where there is a Kbuild, kbuild reads no Makefile.
    assert (guarded(tree, "GO"), guarded(tree, "NOT")) == ({("file kernel/go.c", "object")}, set())
    with tree.graph.reading() as tables:
        assert tables is not None
        structure = Structure(tables)
        assert (structure.subsystem("lib/box.c"), structure.subsystem("kernel/go.c")) == ("BOXES", "")
        (knob,) = structure.knobs("HEAVY")
        assert (knob.file, knob.first_line, knob.type, knob.prompt, knob.depends) == (
            "lib/Kconfig", 1, "bool", "heavy", ("UML",),
        )  # fmt: skip


def test_a_tree_that_says_nothing_beside_its_c(tmp_path: Path) -> None:
    tree = tree_in(tmp_path)
    assert tree.update().skipped == []
    assert guarded(tree, "TRACE") == {("box_trace", "if")}


def endless(tree: Tree, path: str) -> None:
    """Put a link to what has no end in the place of a file."""
    (tree.root / path).unlink()
    (tree.root / path).symlink_to("/dev/zero")


EDITS: dict[str, Callable[[Tree], None]] = {
    "a knob": lambda tree: tree.edit("lib/Kconfig", '"heavy"', '"light"'),
    "a knob's line": lambda tree: tree.edit("lib/Kconfig", "config HEAVY", "\nconfig HEAVY"),
    "a condition around a source": lambda tree: tree.edit("Kconfig", 'source "lib', 'if A\nsource "lib'),
    "a file that a pattern names": lambda tree: tree.write("lib/Kconfig.new", "config NEW\n\tbool\n"),
    "a file that was not there": lambda tree: tree.write("later/Kconfig", "config LATER\n\tbool\n"),
    "a file that goes": lambda tree: (tree.root / "lib/Kconfig").unlink(),
    "all of Kconfig": lambda tree: (tree.root / "Kconfig").unlink(),
    "a Makefile": lambda tree: tree.edit("lib/Makefile", "CONFIG_HEAVY", "CONFIG_LIGHT"),
    "a folder": lambda tree: tree.edit("Kbuild", "lib/", "later/"),
    "a folder's Makefile that goes": lambda tree: (tree.root / "lib/Makefile").unlink(),
    "a Kbuild before a Makefile": lambda tree: tree.write("lib/Kbuild", "obj-$(CONFIG_B) += box.o\n"),
    "a Kbuild that goes": lambda tree: (tree.root / "kernel/Kbuild").unlink(),
    "a link to what has no end": lambda tree: (tree.root / "later").symlink_to("/dev/zero"),
    "a Makefile that has no end": lambda tree: endless(tree, "lib/Makefile"),
    "a Kconfig that has no end": lambda tree: endless(tree, "lib/Kconfig"),
    "a MAINTAINERS that has no end": lambda tree: endless(tree, "MAINTAINERS"),
    "a subsystem": lambda tree: tree.edit("MAINTAINERS", "BOXES", "CRATES"),
    "no subsystems": lambda tree: (tree.root / "MAINTAINERS").unlink(),
    "another architecture": lambda tree: setattr(tree, "flags", (*FLAGS, "-Iarch/x86/include")),
    "no architecture": lambda tree: setattr(tree, "flags", FLAGS),
    "a guard": lambda tree: tree.edit("lib/box.c", "#ifdef CONFIG_TRACE", "#ifndef CONFIG_OTHER"),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_update_leaves_what_reading_everything_anew_gives(tree: Tree, what: str) -> None:
    tree.update()
    before = said(tree)
    EDITS[what](tree)
    done = tree.update()
    after = said(tree)
    fresh = Tree(tree.root, tree.home / "fresh", tree.compiled, tree.flags)
    fresh.home.mkdir()
    assert fresh.update().skipped == done.skipped
    assert after == said(fresh)
    assert (after != before) == (what != "a link to what has no end")
    assert tree.update().skipped == done.skipped
    assert said(tree) == after
