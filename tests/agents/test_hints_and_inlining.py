# SPDX-License-Identifier: Apache-2.0
"""The two strategies the gate will mostly refuse: forced inlining and branch hints."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from git_hmopt.agents.playbook.branch_hints import BranchHints, direction
from git_hmopt.agents.playbook.force_inline import ForceInline
from git_hmopt.agents.playbook.strategy import Miss
from tests.agents.kernel_tree import Tree, hotspot, make_tree, rewritten, view

FILE = "lib/hot.c"
CALLEE = """#include <linux/compiler.h>
#include <linux/types.h>

static HEAD int twist(int a, int b,
@@int c)
{
	return a * b + c;
}

int run(int a)
{
	return twist(a, 2, 3) + twist(a, 4, 5);
}
"""


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return make_tree(tmp_path)


def callee(text: str, head: str) -> str:
    return text.replace("@@", "\t\t      ").replace(" HEAD", head)


def compiles(tree: Tree, path: str, text: bytes) -> None:
    tree.write(path, text)
    subprocess.run(["gcc", "-O2", "-Wall", "-Werror", "-Iinclude", "-c", path, "-o", "x.o"], cwd=tree.root, check=True)


@pytest.mark.parametrize("head", ["", "inline"])
def test_hot_callee_of_a_hot_caller_is_inlined(tree: Tree, head: str) -> None:
    tree.write(FILE, callee(CALLEE, f" {head}" if head else ""))
    new = rewritten(ForceInline(), view(tree, FILE, "twist", hot=["run"])).edits[FILE]
    compiles(tree, FILE, new)
    first, second = new.decode().splitlines()[3:5]
    assert first == "static __always_inline int twist(int a, int b,"
    width = len(second.expandtabs(8)) - len("int c)")
    assert width == 22 + len("__always_inline ") - (len("inline ") if head else 0)
    assert tree.unit(FILE).function("twist") is not None


def test_a_head_that_grows_too_long_is_broken_at_its_commas(tree: Tree) -> None:
    long = "static int twist(int (*first_of_two)(int, int), int second_argument, const void *third_one)"
    assert 84 < len(long) <= 100
    body = "\n{\n\treturn first_of_two(second_argument, !third_one);\n}\n"
    tree.write(
        FILE,
        f"#include <linux/compiler.h>\n\n{long}{body}\nint run(int (*f)(int, int))\n{{\n\treturn twist(f, 1, 0);\n}}\n",
    )
    new = rewritten(ForceInline(), view(tree, FILE, "twist", hot=["run"])).edits[FILE]
    compiles(tree, FILE, new)
    column = " " * len("static __always_inline int twist(")
    assert new.decode().splitlines()[2:5] == [
        "static __always_inline int twist(int (*first_of_two)(int, int),",
        "\t" * 4 + column[32:] + "int second_argument, const void *third_one)",
        "{",
    ]


@pytest.mark.parametrize(
    ("change", "hot", "callers", "reason"),
    [
        (("static HEAD", "static noinline"), ["run"], [], "noinline already"),
        (("static HEAD", "static __always_inline"), ["run"], [], "__always_inline already"),
        (("static HEAD", ""), ["run"], [], "not a static function"),
        (("static HEAD", "static"), [], [], "no hot function"),
        (("@@int c)", "@@int c, ...)"), ["run"], [], "variable arguments"),
        (("static HEAD", "static"), [], ["elsewhere"], "no hot function"),
        (("return a * b + c;", "return a ? twist(a - 1, b, c) : c;"), ["run"], [], "calls itself"),
    ],
)
def test_callees_that_are_left_alone(
    tree: Tree, change: tuple[str, str], hot: list[str], callers: list[str], reason: str
) -> None:
    tree.write(FILE, callee(CALLEE.replace(*change), ""))
    found = ForceInline().match(view(tree, FILE, "twist", hotspot("twist", FILE, callers=callers), hot))
    assert isinstance(found, Miss)
    assert reason in found.reason


def test_caller_from_the_runtime_graph_counts_and_clones_have_their_source_name(tree: Tree) -> None:
    tree.write(FILE, callee(CALLEE, ""))
    evidence = hotspot("twist.constprop.0", FILE, callers=["run"])
    assert not isinstance(ForceInline().match(view(tree, FILE, "twist", evidence)), Miss)


def test_two_callers_are_named_together(tree: Tree) -> None:
    tree.write(FILE, callee(CALLEE, "") + "\nint walk(int a)\n{\n\treturn twist(a, 1, 1);\n}\n")
    (words,) = rewritten(ForceInline(), view(tree, FILE, "twist", hot=["run", "walk"])).paragraphs
    assert "its hot callers run() and walk() stand in the same file" in words


def test_callee_that_the_compiler_inlined_is_left_alone(tree: Tree) -> None:
    tree.write(FILE, callee(CALLEE, ""))
    found = ForceInline().match(view(tree, FILE, "twist", hotspot("run", FILE), ["run"]))
    assert isinstance(found, Miss)
    assert "inlined it" in found.reason


BRANCHES = """#include <linux/compiler.h>

int run(int a, int b)
{
	if (a < 0)
		return -1;
	if (a > b) {
		a -= b;
	} else {
		b -= a;
	}
	if (likely(b))
		a++;
	if (a == 3) a = 4;
	if (a &&
@@b)
		b++;
	return a + b;
}
""".replace("@@", "\t    ")


def lines(text: str) -> dict[str, int]:
    return {line.strip(): number for number, line in enumerate(text.splitlines(), start=1)}


def test_one_sided_branches_are_hinted(tree: Tree) -> None:
    tree.write(FILE, BRANCHES)
    at = lines(BRANCHES)
    counts = {
        at["if (a < 0)"]: 1000, at["return -1;"]: 0, at["if (a > b) {"]: 1000, at["a -= b;"]: 990,
        at["if (likely(b))"]: 1000, at["a++;"]: 1000, at["if (a &&"]: 1000, at["b++;"]: 1000,
        at["if (a == 3) a = 4;"]: 1000,
    }  # fmt: skip
    new = rewritten(BranchHints(), view(tree, FILE, "run", hotspot("run", FILE, counts=counts))).edits[FILE]
    compiles(tree, FILE, new)
    expected = BRANCHES.replace("if (a < 0)", "if (unlikely(a < 0))").replace("if (a > b)", "if (likely(a > b))")
    assert new.decode() == expected


def test_the_header_of_the_hints_is_included_where_it_is_not(tree: Tree) -> None:
    tree.write(
        FILE, BRANCHES.replace("#include <linux/compiler.h>", "#include <linux/types.h>").replace("likely(b)", "b")
    )
    counts = {5: 1000, 6: 0}
    new = rewritten(BranchHints(), view(tree, FILE, "run", hotspot("run", FILE, counts=counts))).edits[FILE]
    compiles(tree, FILE, new)
    assert new.decode().splitlines()[:2] == ["#include <linux/compiler.h>", "#include <linux/types.h>"]


@pytest.mark.parametrize(
    ("condition", "added"),
    [("ifdef CONFIG_OTHER", True), ("ifndef __ASSEMBLY__", False), ("ifdef __KERNEL__", False), ("if 0\n#else", True)],
)
def test_a_header_that_includes_it_under_a_condition_does_not_count(tree: Tree, condition: str, added: bool) -> None:
    export = f"#ifndef EXPORT_H\n#define EXPORT_H\n#{condition}\n#include <linux/compiler.h>\n#endif\n#endif\n"
    tree.write("include/linux/export.h", export)
    text = BRANCHES.replace("#include <linux/compiler.h>", "#include <linux/export.h>").replace("likely(b)", "b")
    tree.write(FILE, text)
    new = rewritten(BranchHints(), view(tree, FILE, "run", hotspot("run", FILE, counts={5: 1000, 6: 0}))).edits[FILE]
    assert (b"#include <linux/compiler.h>\n#include <linux/export.h>\n" in new) is added


def test_outside_a_kernel_the_words_are_spelt_out(tree: Tree) -> None:
    (tree.root / "include/linux/compiler.h").unlink()
    text = BRANCHES.replace("#include <linux/compiler.h>\n", "").replace("likely(b)", "b")
    tree.write(FILE, text)
    counts = {line + 1: count for line, count in ((3, 1000), (4, 0))}
    new = rewritten(BranchHints(), view(tree, FILE, "run", hotspot("run", FILE, counts=counts))).edits[FILE]
    compiles(tree, FILE, new)
    assert new.decode() == text.replace("if (a < 0)", "if (__builtin_expect(!!(a < 0), 0))")
    tree.write(FILE, callee(CALLEE, "").replace("#include <linux/compiler.h>\n#include <linux/types.h>\n", ""))
    inlined = rewritten(ForceInline(), view(tree, FILE, "twist", hot=["run"])).edits[FILE]
    compiles(tree, FILE, inlined)
    assert b"static inline __attribute__((__always_inline__)) int twist(" in inlined


@pytest.mark.parametrize(
    "condition",
    [
        "unlikely(a < 0)", "!static_branch_likely(&key)", "b++, a < 0", "sizeof(int) > 1", "a -= b", "(a = b) < 0",
        "b && (a = b)",
    ],
)  # fmt: skip
def test_conditions_that_take_no_hint(tree: Tree, condition: str) -> None:
    text = BRANCHES.replace("a < 0", condition).replace("int run", "extern int key;\nint run")
    text = text.replace("\n\n", "\n#define static_branch_likely(x) (*(x) != 0)\n\n", 1)
    tree.write(FILE, text)
    at = lines(text)
    counts = {at[f"if ({condition})"]: 1000, at["return -1;"]: 0}
    assert isinstance(BranchHints().match(view(tree, FILE, "run", hotspot("run", FILE, counts=counts))), Miss)
    plain = text.replace(condition, "key < 0")
    tree.write(FILE, plain)
    assert not isinstance(BranchHints().match(view(tree, FILE, "run", hotspot("run", FILE, counts=counts))), Miss)


@pytest.mark.parametrize("counts", [{}, {5: 1000}, {6: 10}, {5: 1000, 6: 500}, {5: 1000, 6: 2000}, {5: 20, 6: 0}])
def test_what_was_not_counted_or_goes_both_ways_is_left_alone(tree: Tree, counts: dict[int, int]) -> None:
    tree.write(FILE, BRANCHES)
    assert isinstance(BranchHints().match(view(tree, FILE, "run", hotspot("run", FILE, counts=counts))), Miss)


def test_line_that_would_grow_too_long_is_left_alone(tree: Tree) -> None:
    long = " + ".join(["a"] * 21)
    text = BRANCHES.replace("if (a < 0)", f"if ({long} < 0)")
    assert 85 < len(f"        if ({long} < 0)") <= 100
    tree.write(FILE, text)
    found = BranchHints().match(view(tree, FILE, "run", hotspot("run", FILE, counts={5: 1000, 6: 0})))
    assert isinstance(found, Miss)


@pytest.mark.parametrize(
    ("evaluated", "taken", "hint"),
    [
        (None, 3, None), (0, 0, None), (100, None, None), (100, 101, None), (1000, 1000, "likely"),
        (1000, 950, "likely"), (1000, 949, None), (1000, 50, "unlikely"), (1000, 51, None), (20, 20, None),
        (40, 40, "likely"),
    ],
)  # fmt: skip
def test_direction(evaluated: int | None, taken: int | None, hint: str | None) -> None:
    assert direction(evaluated, taken) == hint
