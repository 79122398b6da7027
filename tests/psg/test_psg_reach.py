# SPDX-License-Identifier: Apache-2.0
"""What some files reach, nearest first: cycles, several entries, tables, headers, one name twice, nothing at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from git_hmopt.psg import reach
from git_hmopt.psg.queries import Structure
from git_hmopt.psg.reach import Reached, reached
from tests.psg.structure_tree import FILES, Tree, tree_in

BENCH = "bench/main.c"


@contextmanager
def graph_of(folder: Path, files: Mapping[str, str]) -> Iterator[Structure]:
    tree = tree_in(folder, {"include/generated/autoconf.h": "", **files})
    with opened(tree, *(path for path in files if path.endswith(".c"))) as structure:
        yield structure


@contextmanager
def opened(tree: Tree, *compiled: str) -> Iterator[Structure]:
    tree.compiled[:] = sorted(compiled)
    tree.update()
    with tree.graph.reading() as tables:
        assert tables is not None
        yield Structure(tables)


def near(structure: Structure, *entries: str, limit: int = 8, usable: Callable[[str], bool] | None = None) -> list[str]:
    found = reached(structure, entries or (BENCH,), limit=limit, usable=usable or (lambda file: True))
    return [f"{one.distance} {one.file}:{one.symbol}" for one in found]


def test_nearest_first_then_whom_few_use_then_by_file_and_name_and_a_cycle_ends(tmp_path: Path) -> None:
    files = {
        BENCH: "int b(int), a(int), z(int);\nint main(void) { return z(b(a(1))); }\n",
        "lib/a.c": "int far(int);\nint b(int n) { return n ? far(n) : b(n); }\nint a(int n) { return far(n); }\n",
        "lib/far.c": "int a(int), further(int);\nint far(int n) { return n ? a(n - 1) : further(n); }\n"
        "int further(int n) { return far(n); }\nint never(int n) { return a(n); }\n",
        "arch/z.c": "int z(int n) { return n; }\n",
    }
    with graph_of(tmp_path, files) as structure:
        # z is called by main alone, b by itself as well, a by three.
        everything = ["1 arch/z.c:z", "1 lib/a.c:b", "1 lib/a.c:a", "2 lib/far.c:far", "3 lib/far.c:further"]
        assert near(structure) == everything
        # A level is sorted before it is cut.
        assert [near(structure, limit=limit) for limit in range(4)] == [everything[:limit] for limit in range(4)]
        first = reached(structure, [BENCH], limit=1)
        assert first == (Reached(symbol="z", file="arch/z.c", line=1, distance=1, users=1),)


def test_of_several_entries_the_nearest_counts_and_none_is_listed(tmp_path: Path) -> None:
    files = {
        BENCH: "int one(void), step(void);\nint main(void) { return one() + step(); }\n",
        "bench/more.c": "int two(void);\nint step(void) { return two(); }\n",
        "lib/one.c": "int two(void);\nint one(void) { return two(); }\nint (*named)(void) = one;\n",
        "lib/two.c": "int two(void) { return 2; }\n",
    }
    with graph_of(tmp_path, files) as structure:
        assert near(structure, BENCH, "bench/more.c") == ["1 lib/one.c:one", "1 lib/two.c:two"]
        assert near(structure, "bench/more.c", BENCH, BENCH) == near(structure, BENCH, "bench/more.c")
        # What is no entry is code like any other.
        assert near(structure, BENCH) == ["1 bench/more.c:step", "1 lib/one.c:one", "2 lib/two.c:two"]


def test_calls_through_tables_and_addresses_are_ways_too(tmp_path: Path) -> None:
    tree = tree_in(tmp_path, {**FILES, BENCH: "#include <linux/box.h>\nint each(int (*f)(int));\nint third(int n);\n"
                              "int (*kept)(int) = third;\n"
                              "int main(void) { struct box box = { 0 }; return go(&box); }\n",
                              "lib/third.c": "int third(int n) { return n; }\n"})  # fmt: skip
    with opened(tree, BENCH, "kernel/go.c", "lib/box.c", "lib/third.c") as structure:
        assert near(structure) == ["1 lib/third.c:third", "1 kernel/go.c:go", "2 lib/box.c:box_open"]


def test_what_may_not_change_is_walked_through_and_so_are_inline_functions(tmp_path: Path) -> None:
    files = {
        BENCH: "#include <linux/in.h>\nint shut(void);\nint main(void) { return hop() + shut(); }\n",
        "include/linux/in.h": "int deep(void);\nstatic inline int hop(void) { return deep(); }\n",
        "lib/deep.c": "static inline int skip(void) { return 1; }\nint deep(void) { return skip(); }\n",
        "lib/shut.c": "int behind(void);\nint shut(void) { return behind(); }\n",
        "lib/behind.c": "int behind(void) { return 1; }\n",
    }
    with graph_of(tmp_path, files) as structure:
        usable = near(structure, usable=lambda file: file != "lib/shut.c")
    assert usable == ["2 lib/behind.c:behind", "2 lib/deep.c:deep"]


def test_of_one_name_in_two_files_the_nearer_and_then_the_first_is_listed(tmp_path: Path) -> None:
    files = {
        BENCH: "int b(void), a(void);\nint main(void) { return a() + b(); }\n",
        "lib/a.c": "static int same(void) { return 1; }\nint a(void) { return same(); }\n",
        "lib/b.c": "static int same(void) { return 2; }\nint b(void) { return same(); }\n",
    }
    with graph_of(tmp_path, files) as structure:
        assert near(structure) == ["1 lib/a.c:a", "1 lib/b.c:b", "2 lib/a.c:same"]


def test_names_that_were_made_to_annoy(tmp_path: Path) -> None:
    long, odd = "x" * 10_000, "\u00e4_\u0431"
    files = {
        BENCH: f"int {long}(void), {odd}(void);\nint main(void) {{ return {long}() + {odd}(); }}\n",
        "lib/a: b.c": f"int {long}(void) {{ return 1; }}\nstatic int in(void) {{ return 1; }}\n"
        f"int {odd}(void) {{ return in(); }}\n",
    }
    with graph_of(tmp_path, files) as structure:
        assert near(structure) == [f"1 lib/a: b.c:{long}", f"1 lib/a: b.c:{odd}", "2 lib/a: b.c:in"]


@pytest.mark.parametrize("entries", [("bench/none.c",), ("lib/alone.c",), ("",), ("bench/\x1b[31m.c",)])
def test_nothing_is_reached(tmp_path: Path, entries: tuple[str, ...]) -> None:
    text = 'int printf(const char *, ...);\nint alone(int n) { return n ? alone(n - 1) : printf(""); }\n'
    with graph_of(tmp_path, {"lib/alone.c": text}) as structure:
        assert near(structure, *entries) == []


def test_a_walk_that_finds_nothing_usable_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = "".join(f"int f{n + 1}(void);\nint f{n}(void) {{ return f{n + 1}(); }}\n" for n in range(30))
    files = {BENCH: "int f0(void);\nint main(void) { return f0(); }\n", "lib/chain.c": chain}
    looked: list[str] = []

    def usable(file: str) -> bool:
        looked.append(file)
        return False

    with graph_of(tmp_path, files) as structure:
        assert (near(structure, usable=usable), len(looked)) == ([], 30)
        looked.clear()
        monkeypatch.setattr(reach, "MOST_WALKED", 10)
        assert (near(structure, usable=usable), len(looked)) == ([], 9)
