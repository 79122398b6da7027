# SPDX-License-Identifier: Apache-2.0
"""What the source says about hot functions together: knobs, tables that calls go through, fields."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_hmopt.evidence.families import Cost, costs_of
from git_hmopt.evidence.joins import HOT, hot_functions, joins, lines_for, node_of
from git_hmopt.evidence.structure import Location
from git_hmopt.psg.queries import Structure
from git_hmopt.records.windows import Joined
from git_hmopt.runtime import call_graph
from git_hmopt.traces import folded
from tests.psg.structure_tree import Tree, tree_in

STACKS = ["start;go;box_open 30", "start;go;box_open;weigh 20", "start;go 40", "other;box_close.isra.0 10"]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = tree_in(tmp_path)
    made.write("Kbuild", "obj-$(CONFIG_HEAVY) += kernel/ lib/\n")
    made.edit("lib/box.c", "total++;\n", "total++;\n#ifdef CONFIG_CHECKS\n\ttotal--;\n#endif\n")
    made.write("kernel/same.c", "static int box_open(void) { return 1; }\nint same(void) { return box_open(); }\n")
    made.compiled.append("kernel/same.c")
    made.update()
    return made


def in_lib(symbol: str) -> Location | None:
    return Location("lib/box.c", None, "dwarf") if symbol == "box_open" else None


def joined(structure: Structure, stacks: list[str] = STACKS) -> dict[tuple[str, str], Joined]:
    graph = call_graph.from_samples(folded.parse(f"{line}\n".encode() for line in stacks))
    found = joins(structure, hot_functions(structure, costs_of(graph, ()), in_lib), graph)
    return {(one.kind, one.name): one for one in found}


def test_a_knob_that_hot_functions_hang_on(structure: Structure) -> None:
    found = joined(structure)["knob", "CONFIG_HEAVY"]
    # weigh stands in a header, which no knob leaves out.
    assert (found.share, [one.symbol for one in found.functions]) == ("0.8", ["go", "box_open", "box_close.isra.0"])
    assert found.reason == (
        "CONFIG_HEAVY (=1) decides whether go (40.0 %), box_open (30.0 %), box_close.isra.0 (10.0 %) are built"
    )
    part = joined(structure)["knob", "CONFIG_CHECKS"]
    assert (part.share, part.reason) == (
        "0.3", "CONFIG_CHECKS (not set here) guards line 8 of box_open (30.0 %)"
    )  # fmt: skip


def test_a_table_that_a_hot_call_goes_through_tells_what_ran(structure: Structure) -> None:
    found = joined(structure)["table", "struct box_ops.open"]
    assert (found.share, found.targets) == ("0.5", ("lib/box.c:box_open",))
    assert found.reason == (
        "go (40.0 %) calls through struct box_ops.open: 1 function stands there; measured: box_open (50.0 %)"
    )
    unmeasured = joined(structure, ["go 40", "box_open 60"])["table", "struct box_ops.open"]
    assert unmeasured.share == "0.4" and unmeasured.reason.endswith("which of them ran was not measured")


def test_a_call_through_a_table_that_was_inlined_is_found_by_what_was_measured(structure: Structure) -> None:
    # start calls go, which has the call and was inlined.
    found = joined(structure, ["start;box_open 100"])["table", "struct box_ops.open"]
    assert found.reason == (
        "start (0.0 %) calls through struct box_ops.open: 1 function stands there; measured: box_open (100.0 %)"
    )
    # Nothing that same calls, near or far, goes through the table.
    assert ("table", "struct box_ops.open") not in joined(structure, ["same;box_close 100"])
    # Who costs nothing and was not seen to call through it is not told.
    assert ("table", "struct box_ops.open") not in joined(structure, ["go;weigh 100"])


def test_fields_are_ranked_by_what_their_users_cost(structure: Structure) -> None:
    found = joined(structure)
    fields = [(name, one.share) for (kind, name), one in found.items() if kind == "field"]
    assert fields == sorted(fields, key=lambda pair: (-float(pair[1]), pair[0]))
    weight = found["field", "struct box.weight"]
    assert (weight.share, [one.symbol for one in weight.functions]) == ("0.3", ["weigh", "box_close.isra.0"])
    assert weight.reason == (
        "struct box.weight: read by weigh (20.0 %); written by box_close.isra.0 (10.0 %); functions with 30.0 % of the"
        " profile use it"
    )
    assert "struct box.weight" in " ".join(lines_for("weigh", tuple(found.values())))
    assert lines_for("nobody", tuple(found.values())) == ()


def test_of_several_functions_of_a_name_the_one_that_ran_is_meant_or_none(structure: Structure) -> None:
    assert node_of(structure, "box_open", in_lib) == "lib/box.c:box_open"
    assert node_of(structure, "box_open", lambda _: None) is None
    assert node_of(structure, "box_close.isra.0", lambda _: None) == "lib/box.c:box_close"
    assert node_of(structure, "nowhere", in_lib) is None


def test_what_is_cold_is_not_looked_at(structure: Structure) -> None:
    costs = {"go": Cost(HOT / 2, None), "weigh": Cost(HOT, None), "gone": Cost(1.0, None)}
    assert [one.symbol for one in hot_functions(structure, costs, in_lib)] == ["weigh"]
    assert joins(structure, (), None) == ()
