# SPDX-License-Identifier: Apache-2.0
"""The structure graph in a run: what a candidate touches, how hot that is, who reaches it, and what leaves it out."""

from __future__ import annotations

import json
from typing import Any

from tests.loop.conftest import Finished
from tests.loop.patches import CANDIDATES, Candidate, write_patches
from tests.loop.project import Project


def patch_of(finished: Finished, name: str) -> dict[str, Any]:
    number = [candidate.name for candidate in CANDIDATES].index(name)
    patch: dict[str, Any] = finished.run.named("patch.applied")[number]["patch"]
    return patch


def test_a_candidate_says_what_it_touches_how_hot_that_is_and_who_reaches_it(judged: Finished) -> None:
    touches = {one["symbol"]: one for one in patch_of(judged, "slices")["touches"]}
    assert set(touches) == {
        "crc32c_update", "lib/crc.c:crc32c_wide", "lib/crc.c:crc32c_widen", "file include/linux/scan.h",
    }  # fmt: skip
    changed = touches["crc32c_update"]
    assert (changed["how"], changed["kind"], changed["file"]) == ("changed", "function", "lib/crc.c")
    # The project's compile database has the library alone, in which nobody calls it.
    assert (changed["reached_by"], changed["reached_by_all"]) == ([], 0)
    hot = {one["symbol"]: one["score"] for one in judged.run.named("hotspots.ranked")[0]["hotspots"]}
    assert changed["share"] is not None and float(changed["share"]) == float(hot["crc32c_update"])
    added = touches["lib/crc.c:crc32c_widen"]
    assert (added["how"], added["share"], added["reached_by"]) == ("added", None, [])


def test_a_comment_touches_nothing(judged: Finished) -> None:
    assert "touches" not in patch_of(judged, "comment")


def test_the_report_and_the_log_tell_it(judged: Finished) -> None:
    said = [line.get("say", "") for line in judged.run.log()]
    assert any(text.startswith("structure graph of build 'fast': ") and "units" in text for text in said)
    assert any(text.startswith("touches crc32c_update, ") and text.endswith("of the profile") for text in said)
    report = judged.project.hmopt("report", judged.run.name).stdout
    line = next(line for line in report.splitlines() if line.startswith("- crc32c\\_update"))
    assert line.endswith("of the profile; reached by nobody within three calls)")


def test_the_record_of_the_graph_counts_the_whole_build(judged: Finished) -> None:
    [built] = judged.run.named("graph.built")
    assert (built["whole"]["units"], built["whole"]["units that failed"]) == (2, 0)
    assert built["whole"]["function"] >= built["graph"]["nodes"]


def test_a_change_that_no_object_shows_says_what_leaves_it_out(project: Project) -> None:
    text = "#ifdef CONFIG_SCAN_SLOWLY\nint scan_slowly(int c)\n{\n\treturn c;\n}\n#endif\n\n"
    include = "#include <linux/scan.h>\n"
    guarded = Candidate("guarded", {"lib/scan.c": (include, include + "\n" + text.rstrip() + "\n")}, "no-change")
    write_patches(project, project.root.parent / "patches", (guarded,))
    patches = f"patches:{project.root.parent / 'patches'}"
    said = project.hmopt("optimize", "--workload", "scan-blocks", "--proposer", patches, "--json")
    story = json.loads(said.stdout)["story"]
    reason = story["iterations"][0]["evaluation"]["reason"]
    assert "byte-identical (scan_slowly hangs on CONFIG_SCAN_SLOWLY)" in reason
