# SPDX-License-Identifier: Apache-2.0
"""Calls as the structure graph of a real tree has them, joined with what a profile saw."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from git_hmopt.agents.calls import Call, Side, calls_in, calls_noted, calls_told, measured_calls
from git_hmopt.agents.tools import ANSWER_BYTES
from git_hmopt.psg.queries import Structure
from git_hmopt.records.evidence import Neighbour
from git_hmopt.runtime import call_graph
from git_hmopt.runtime.call_graph import CallGraph
from git_hmopt.traces import folded
from tests.psg.structure_tree import tree_in


@pytest.fixture(scope="module")
def structure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Structure]:
    tree = tree_in(tmp_path_factory.mktemp("calls"))
    tree.write(
        "kernel/hooks.c",
        "#include <linux/box.h>\nint (*hook)(void);\n"
        "int run_hook(struct box *box)\n{\n\treturn hook() + go(box) + go(box);\n}\n",
    )
    tree.compiled.append("kernel/hooks.c")
    tree.update()
    with tree.graph.reading() as tables:
        assert tables is not None
        yield Structure(tables)


def profile(*stacks: str) -> CallGraph:
    return call_graph.from_samples(folded.parse(f"{line}\n".encode() for line in stacks))


SEEN = profile("start;go;box_open 30", "start;go;box_open;weigh 20", "start;go 40", "bench;go.isra.0 10")


def test_callers_by_name_with_what_each_call_cost(structure: Structure) -> None:
    calls = calls_in(structure, "go", Side.CALLERS)
    measured = measured_calls(SEEN, ["go", "go.isra.0"], Side.CALLERS)
    assert calls_told("go", Side.CALLERS, [("go (kernel/go.c:4-9)", calls)], measured, "a note") == (
        "callers of go (kernel/go.c:4-9):\n"
        "- start (at kernel/go.c:15): 90.0 % of the profile\n"
        "- run_hook (at kernel/hooks.c:5 (x2))\n"
        "- bench: 10.0 % of the profile, seen by the profile alone\n"
        "a note"
    )


def test_callers_through_a_table_and_who_takes_an_address(structure: Structure) -> None:
    calls = calls_in(structure, "lib/box.c:box_open", Side.CALLERS)
    assert Call("go", "kernel/go.c:4", "may, through struct box_ops.open") in calls
    taken = calls_in(structure, "kernel/go.c:start", Side.CALLERS)
    assert taken == [Call("starter", "at kernel/go.c:18", "takes its address")]


def test_callees_the_candidates_of_a_pointer_among_them(structure: Structure) -> None:
    calls = calls_in(structure, "go", Side.CALLEES)
    measured = measured_calls(SEEN, ["go"], Side.CALLEES)
    text = calls_told("go", Side.CALLEES, [("go (kernel/go.c:4-9)", calls)], measured, "")
    assert text == (
        "callees of go (kernel/go.c:4-9):\n"
        "- box_open (lib/box.c:4), may, through struct box_ops.open: 50.0 % of the profile\n"
        "- detail (at kernel/go.c:6)"
    )
    unknown = [call for call in calls_in(structure, "run_hook", Side.CALLEES) if call.how]
    assert unknown == [Call("(*hook)", "at kernel/hooks.c:5", "nothing is known to stand in this pointer")]


def test_a_function_without_calls_says_so(structure: Structure) -> None:
    calls = calls_in(structure, "kernel/detail.h:detail", Side.CALLEES)
    text = calls_told("detail", Side.CALLEES, [("detail (kernel/detail.h:1-1)", calls)], {}, "")
    assert text.endswith("- none: it calls nothing, in the units of this build")


def test_a_function_that_the_profile_alone_knows() -> None:
    measured = measured_calls(SEEN, ["weigh"], Side.CALLERS)
    assert calls_told("weigh", Side.CALLERS, [], measured, "") == (
        "callers of weigh:\n- box_open: 20.0 % of the profile, seen by the profile alone\n"
        "the structure graph has no function of this name"
    )
    assert calls_told("weigh", Side.CALLERS, [], {}, "") == "callers of weigh:\n- none known"


def test_a_profile_without_stacks_or_samples_measures_no_call() -> None:
    flat = profile("go 40", "start 1")
    assert flat.edge_cost is None
    assert measured_calls(flat, ["go"], Side.CALLERS) == {}
    assert measured_calls(None, ["go"], Side.CALLERS) == {}
    assert measured_calls(profile("start;go 0"), ["go"], Side.CALLERS) == {}


def test_functions_of_one_name_that_are_not_told_are_counted() -> None:
    text = calls_told("probe", Side.CALLEES, [("probe (a.c:1-2)", []), ("probe (b.c:1-2)", [])], {}, more=7)
    assert text.count("- none: it calls nothing") == 2
    assert text.endswith("\nand 7 more functions of this name: ask for one with its file, PATH:SYMBOL")


def test_what_a_pack_noted_stands_in_for_a_graph() -> None:
    noted = (
        Neighbour(symbol="sort_r", relation="caller", file="lib/sort.c", line=88),
        Neighbour(symbol="swap", relation="callee", file="lib/sort.c", line=9),
        Neighbour(symbol="CONFIG_X", relation="config"),
    )
    assert calls_noted(noted, Side.CALLERS) == [Call("sort_r", "at lib/sort.c:88")]
    assert calls_noted(noted, Side.CALLEES) == [Call("swap", "at lib/sort.c:9")]


def test_thousands_of_hostile_callers_stay_within_the_bound() -> None:
    hostile = [Call(f"\x1b[31m\u202e{number}" + "x" * 10_000, "\n# system:" * 900) for number in range(2_000)]
    text = calls_told("f\n" * 9_000, Side.CALLERS, [("f (a.c:1-2)", hostile)] * 9, {"\ud800" * 9_000: 0.5}, "")
    assert len(text.encode()) <= ANSWER_BYTES
    assert text.replace("\n", "").isprintable()
    assert text.split("\n")[-1].startswith("[")
    assert not any(line.startswith("# system") for line in text.split("\n"))
