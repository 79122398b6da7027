# SPDX-License-Identifier: Apache-2.0
"""Folding a journal into a story: order, repetition, what this version cannot read, and a start without pydantic."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import pytest

from git_hmopt.errors import CorruptRecordError
from git_hmopt.records.words import Verdict
from git_hmopt.report.markdown import run_report
from git_hmopt.report.screen import LINES, one_screen
from git_hmopt.report.story import fold
from tests.report.story_operations import (
    Journal,
    delta,
    evaluation_data,
    good_run,
    metric_data,
    nothing_here,
    patch_data,
    run_data,
)


def test_a_run_is_told_as_it_was_recorded() -> None:
    story = fold(good_run().operations)
    assert (story.run.workload, story.run.base_commit, story.status) == ("digest", "b" * 40, "succeeded")
    assert [spot.symbol for spot in story.hotspots] == ["digest", "mix"]
    assert [one.number for one in story.iterations] == [1, 2, 3]
    first = story.iterations[0]
    assert first.decision == {"strategy": "word-at-a-time", "symbol": "digest"}
    assert first.patch is not None and first.patch.strategy == "word-at-a-time"
    assert first.evaluation is not None and first.evaluation.deltas[0].estimate == "-0.7649"
    assert first.evidence == "e" * 64
    assert [one.number for one in story.accepted] == [1]
    assert story.best_commit == "1" * 40
    assert story.confirmations[0].samples == "5" * 64
    assert story.floor is not None and story.floor.sources == ("A/A over 12 layouts", "2 null patches")
    assert (story.metrics[0].value, story.graphs[0].skipped) == ("123456", {"unresolved frame": "7"})
    assert [message.text for message in story.messages] == ["nothing more to try"]
    assert story.skipped == {}


def test_the_toolchain_is_that_of_the_bases_builds() -> None:
    journal = Journal().add("init_run", run_data(toolchain={}))
    for version in ("gcc 12.2", "gcc 13.1"):
        journal.add("build", {"builds": {"uml": {"toolchain": {"cc": version}}, "x86": {"toolchain": {}}}})
    assert fold(journal.operations).run.toolchain == {"uml cc": "gcc 12.2"}
    assert "| toolchain: uml cc | `gcc 12.2` |" in run_report(fold(journal.operations), nothing_here)


def test_keys_of_the_loop_alone_are_no_damage() -> None:
    operations = good_run().add("snapshot_repo", {"commit": "c", "overlays": {"x": 1}}).add("checkpoint", {}).operations
    assert fold(operations).skipped == {}


def test_order_and_repetition_of_operations_change_nothing() -> None:
    operations = good_run().operations
    shuffled = [*operations, *operations[:9]]
    random.Random(7).shuffle(shuffled)
    assert fold(shuffled) == fold(operations)


def test_evidence_is_the_pack_in_force() -> None:
    journal = good_run()
    pack = {"sha256": "f" * 64, "size": 1, "media_type": "application/json", "kind": "evidence-pack", "name": "p"}
    journal.add("build_evidence_pack", {"artifact": pack}, iteration=2)
    story = fold(journal.operations)
    assert [one.evidence for one in story.iterations] == ["e" * 64, "f" * 64, "f" * 64]


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        ({"v": 2, "data": {"status": "failed"}}, "operation of version 2"),
        ({"data": {"evaluation": {"verdict": "improved"}}}, "malformed evaluation: reason is missing"),
        ({"data": {"floor": {"value": "fast"}}}, "malformed floor: value is no number"),
        ({"data": {"floor": {"value": "0.1", "sources": 3}}}, "malformed floor: sources is no list of texts"),
        ({"data": {"builds": [1]}}, "malformed builds: builds is no object"),
        ({"data": {"status": 7}}, "malformed status: status is no text"),
        ({"data": {"notes": "one"}}, "malformed notes: notes is no list of texts"),
        ({"data": {"hotspots": [7]}}, "malformed hotspots: hotspots is no object"),
        ({"data": {"metrics": {"a": 1}}}, "malformed metrics: metrics is no list"),
        ({"data": []}, "malformed operation: data is no object"),
        ({"iter": "two", "data": {}}, "malformed operation: iter is no whole number"),
    ],
)
def test_what_cannot_be_read_is_left_out_counted_and_told(operation: dict[str, Any], reason: str) -> None:
    operations = [*good_run().operations, {"run": "r", "writer": "w2", "lamport": 99, **operation}]
    story, clean = fold(operations), fold(good_run().operations)
    assert story.skipped == {reason: 1}
    assert (story.status, story.iterations, story.notes, story.hotspots) == (
        clean.status,
        clean.iterations,
        clean.notes,
        clean.hotspots,
    )
    assert f"1 x {reason}"[:60] in one_screen(story).replace("\n  ", " ")
    assert "Not shown, because this version cannot read it" in run_report(story, nothing_here)


def test_a_flag_that_is_no_flag_does_not_accept_a_patch() -> None:
    data = evaluation_data(1, Verdict.IMPROVED, delta("-0.5", "-0.6", "-0.4"))
    data["evaluation"]["accepted"] = "yes"
    story = fold(
        Journal()
        .add("init_run", run_data())
        .add("x", patch_data(1), iteration=1)
        .add("y", data, iteration=1)
        .operations
    )
    assert story.accepted == ()
    assert story.skipped == {"malformed evaluation: accepted is neither true nor false": 1}


def test_a_journal_without_its_run_is_refused() -> None:
    with pytest.raises(CorruptRecordError, match="does not say which run it belongs to"):
        fold([])
    with pytest.raises(CorruptRecordError, match="holds no 'run' record"):
        fold(good_run().operations[1:])


def test_telling_a_story_loads_no_pydantic() -> None:
    program = (
        "import sys\n"
        "import git_hmopt.report.markdown, git_hmopt.report.screen, git_hmopt.report.story\n"
        "heavy = {'pydantic', 'numpy', 'langgraph', 'clang', 'pygit2', 'rich'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def kpi_data(*names: str, of: str = "all", scope: str = "system", capture: str = "c" * 64) -> dict[str, Any]:
    """Return KPIs of a capture, as they are recorded when it is ingested."""
    tags = {"artifact": capture, "of": of, "rule": "found so"}
    (metric,) = metric_data("7")["metrics"]
    return {"metrics": [{**metric, "name": name, "scope": scope, "tags": tags} for name in names]}


def test_kpis_of_captures_are_told_apart_from_what_the_run_measured() -> None:
    journal = good_run()
    before = fold(journal.operations)
    journal.add("ingest", kpi_data("fps_avg", "irq_rate")).add(
        "ingest 2", kpi_data("cpu_util_avg", of="a|b`-7", scope="thread")
    )
    # Another clone has ingested the same capture.
    journal.add("ingest 3", kpi_data("fps_avg"))
    story = fold(journal.operations)
    assert (story.metrics, story.skipped) == (before.metrics, before.skipped)
    assert [(one.name, one.of, one.scope, one.value) for one in story.kpis] == [
        ("fps_avg", "all", "system", "7"), ("irq_rate", "all", "system", "7"),
        ("cpu_util_avg", "a|b`-7", "thread", "7"),
    ]  # fmt: skip
    shown, written = one_screen(story), run_report(story, nothing_here)
    assert "KPIs of capture cccccccccccc: fps_avg 7 ns, 2 more" in shown
    assert len(shown.splitlines()) <= LINES
    assert "| `cccccccccccc` | fps\\_avg | 7 | ns | 120 |" in written
    assert "1 more are of single processes, threads, CPUs and the like." in written
    assert "KPIs of captures" not in run_report(before, nothing_here)


def test_many_captures_leave_room_for_the_run() -> None:
    journal = good_run()
    for number in range(30):
        journal.add(f"ingest {number}", kpi_data("fps_avg", capture=f"{number:064x}"))
    shown = one_screen(fold(journal.operations))
    assert len(shown.splitlines()) <= LINES
    assert "and more, which the report tells" in shown


@pytest.mark.parametrize("tags", [None, 7, ["artifact"]])
def test_tags_that_are_none_are_counted(tags: object) -> None:
    data = kpi_data("fps_avg")
    data["metrics"][0]["tags"] = tags
    story = fold(good_run().add("ingest", data).operations)
    assert (story.kpis, len(story.skipped)) == ((), 1)
