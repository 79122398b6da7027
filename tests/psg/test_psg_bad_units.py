# SPDX-License-Identifier: Apache-2.0
"""Units that break the parser, or the update: named and counted, and the rest goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from git_hmopt.errors import StoreError
from git_hmopt.psg.queries import Structure
from tests.psg.structure_tree import COMPILED, Tree, tree_in

# clang's parser goes down once for each operator: this many end its stack.
CRASHES = "int deep(int a)\n{\n\treturn " + "+".join(["a"] * 60_000) + ";\n}\n"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return tree_in(tmp_path)


def add(tree: Tree, path: str, text: str | bytes) -> None:
    tree.write(path, text)
    tree.compiled.append(path)


def states(tree: Tree) -> dict[str, str]:
    with tree.graph.reading() as tables:
        assert tables is not None
        return {path: row.state for path, row in tables.units().items()}


def callers(tree: Tree, symbol: str) -> list[str]:
    with tree.graph.reading() as tables:
        assert tables is not None
        return Structure(tables).callers(symbol)


def test_a_unit_that_crashes_the_parser_is_named_and_the_rest_goes_on(tree: Tree) -> None:
    add(tree, "lib/crash.c", CRASHES)
    done = tree.update()
    assert list(done.failed) == ["lib/crash.c"] and "crashed" in done.failed["lib/crash.c"]
    assert sorted(done.parsed) == sorted(COMPILED)
    assert states(tree)["lib/crash.c"] == "failed"
    assert callers(tree, "go") == ["kernel/go.c:start"]
    # It is left alone until its text changes, or somebody asks for it.
    assert tree.update().failed == {}
    assert list(tree.update(again=True).failed) == ["lib/crash.c"]
    tree.write("lib/crash.c", "int deep(int a) { return a; }\n")
    assert tree.update().parsed == ["lib/crash.c"]
    assert tree.rows() == tree.rebuilt()


def test_a_unit_that_takes_too_long_is_ended(tree: Tree) -> None:
    # To open a pipe that nobody writes to takes for ever.
    os.mkfifo(tree.root / "include/never.h")
    add(tree, "kernel/hangs.c", "#include <never.h>\nint never;\n")
    began = time.monotonic()
    done = tree.update(unit_seconds=3)
    assert time.monotonic() - began < 40
    assert list(done.failed) == ["kernel/hangs.c"] and "within 3 seconds" in done.failed["kernel/hangs.c"]
    assert sorted(done.parsed) == sorted(COMPILED)


def test_a_unit_that_does_not_compile_says_what_it_can(tree: Tree) -> None:
    add(
        tree,
        "kernel/broken.c",
        "#include <linux/box.h>\nint fine(void) { return go(0); }\nint broken(void) { return nosuch; }\n",
    )
    done = tree.update()
    assert done.with_errors == {"kernel/broken.c": 1} and done.failed == {}
    assert states(tree)["kernel/broken.c"] == "errors"
    assert callers(tree, "go") == ["fine", "kernel/go.c:start"]
    with tree.graph.reading() as tables:
        assert tables is not None
        [(file, line, text)] = tables.units()["kernel/broken.c"].problems
    assert (file, line) == ("kernel/broken.c", 3) and "nosuch" in text
    assert tree.update().dirty == 0


def test_a_generated_header_that_comes_later_is_found(tree: Tree) -> None:
    add(tree, "kernel/early.c", "#include <generated/late.h>\nint early(void) { return LATE; }\n")
    assert list(tree.update().with_errors) == ["kernel/early.c"]
    assert tree.update().dirty == 0
    tree.write("include/generated/late.h", "#define LATE 1\n")
    done = tree.update()
    assert (done.parsed, done.with_errors) == (["kernel/early.c"], {})
    assert tree.rows() == tree.rebuilt()


def test_what_the_build_compiled_and_is_gone_is_named(tree: Tree) -> None:
    tree.update()
    (tree.root / "kernel/parts.c").unlink()
    done = tree.update()
    assert (done.gone, done.units, done.failed) == (["kernel/parts.c"], 2, {})
    assert "kernel/parts.c" not in states(tree)


def test_bytes_that_are_no_text_are_read(tree: Tree) -> None:
    add(tree, "lib/latin.c", b"/* caf\xe9 */\nint latin(void) { return 1; } // \xff\xfe\n")
    add(tree, "lib/nul.c", b"int nul(void) { return 0; }\n\0\0\0\n")
    done = tree.update()
    assert done.failed == {}
    assert tree.rows() == tree.rebuilt()
    with tree.graph.reading() as tables:
        assert tables is not None
        assert [place.first_line for place in Structure(tables).places("latin")] == [2]


def test_a_name_that_is_no_text_is_left_out_and_named(tree: Tree) -> None:
    name = os.fsdecode(b"lib/caf\xe9.c")
    add(tree, name, "int cafe(void) { return 1; }\n")
    done = tree.update()
    assert list(done.failed) == [name] and "UTF-8" in done.failed[name]
    assert sorted(done.parsed) == sorted(COMPILED)


def test_a_file_and_a_header_behind_links(tree: Tree) -> None:
    outside = tree.home / "outside.h"
    outside.write_text("static inline int far(void) { return 1; }\n")
    (tree.root / "include/far.h").symlink_to(outside)
    (tree.root / "lib/linked.c").symlink_to("real.inc")
    tree.write("lib/real.inc", "#include <far.h>\nint linked(void) { return far(); }\n")
    tree.compiled.append("lib/linked.c")
    done = tree.update()
    assert (done.failed, done.with_errors) == ({}, {})
    with tree.graph.reading() as tables:
        assert tables is not None
        structure = Structure(tables)
        assert [place.file for place in structure.places("linked")] == ["lib/linked.c"]
        assert structure.callees("linked") == ["include/far.h:far"]
    outside.write_text("static inline int far(void) { return 2; }\n")
    assert tree.update().parsed == ["lib/linked.c"]


def test_a_long_generated_file_takes_no_longer_a_line_than_a_short_one(tree: Tree) -> None:
    lines = 100_000
    add(tree, "lib/table.c", "int table[] = {\n" + "\tGREEN_CODE(1),\n" * lines + "};\n")
    tree.edit("lib/table.c", "int table", "#define GREEN_CODE(x) (x)\nint table")
    done = tree.update()
    assert done.failed == {} and "lib/table.c" in done.parsed
    with tree.graph.reading() as tables:
        assert tables is not None
        [place] = Structure(tables).places("table")
    assert place.last_line == lines + 3


def test_killed_in_the_middle_it_goes_on_where_it_was(tree: Tree) -> None:
    for number in range(12):
        add(tree, f"lib/unit{number}.c", f"#include <linux/box.h>\nint unit{number}(void) {{ return total; }}\n")
    add(tree, "lib/zz_last.c", "#include <never.h>\n")
    os.mkfifo(tree.root / "include/never.h")
    program = (
        "import sys\nfrom pathlib import Path\nfrom tests.psg.structure_tree import Tree\n"
        "if __name__ == '__main__':\n"
        "    tree = Tree(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3].split(','))\n"
        "    tree.update()\n"
    )
    script = tree.home / "update.py"
    script.write_text(program)
    arguments = [sys.executable, str(script), str(tree.root), str(tree.home), ",".join(tree.compiled)]
    with subprocess.Popen(
        arguments, env={**os.environ, "PYTHONPATH": str(Path.cwd())}, start_new_session=True
    ) as running:
        deadline = time.monotonic() + 60
        while states_or_nothing(tree).get("lib/unit9.c") != "ok" and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(running.pid, signal.SIGKILL)
    assert states(tree)["lib/unit9.c"] == "ok" and "lib/zz_last.c" not in states(tree)
    (tree.root / "include/never.h").unlink()
    tree.write("include/never.h", "int never;\n")
    done = tree.update()
    assert "lib/unit9.c" not in done.parsed and "lib/zz_last.c" in done.parsed
    assert tree.rows() == tree.rebuilt()


def states_or_nothing(tree: Tree) -> dict[str, str]:
    if not tree.graph.path.is_file():
        return {}
    with tree.graph.reading() as tables:
        return {path: row.state for path, row in tables.units().items()} if tables is not None else {}


def test_two_at_once_wait_for_each_other(tree: Tree) -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(len(tree.update().parsed))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 3]


def test_a_damaged_graph_is_made_again(tree: Tree) -> None:
    tree.update()
    before = tree.rows()
    tree.graph.path.write_bytes(b"this is no database, however long it may be\n" * 500)
    for extra in tree.home.glob("graph.sqlite-*"):
        extra.unlink()
    done = tree.update()
    assert (done.parsed, done.reused) == ([], 3)
    assert tree.rows() == before


def test_a_place_that_cannot_be_written_is_one_error_with_a_next_step(tree: Tree) -> None:
    (tree.home / "file").write_text("")
    tree.home = tree.home / "file"
    with pytest.raises(StoreError, match=r"cannot be kept in .*; make its folder writable"):
        tree.update()
