# SPDX-License-Identifier: Apache-2.0
"""Whole runs of `git hmopt optimize` in a small C project, looked at with plain git."""

from __future__ import annotations

import json
import re

import pytest

from git_hmopt.loop.state import NODES
from tests.loop.conftest import Finished, users_side
from tests.loop.patches import CANDIDATES, Candidate
from tests.loop.project import POLYNOMIAL, crc_table


def evaluations(finished: Finished) -> list[dict[str, object]]:
    return [data["evaluation"] for data in finished.run.named("patch.judged")]


def of(finished: Finished, name: str) -> dict[str, object]:
    number = [candidate.name for candidate in CANDIDATES].index(name)
    return evaluations(finished)[number]


def test_the_project_computes_crc_32c() -> None:
    crc = 0xFFFFFFFF
    for byte in b"123456789":
        crc = (crc >> 8) ^ crc_table()[(crc ^ byte) & 0xFF]
    assert (POLYNOMIAL, crc ^ 0xFFFFFFFF) == (0x82F63B78, 0xE3069283)


def test_a_run_that_accepts_something_exits_with_0(judged: Finished) -> None:
    assert judged.said.returncode == 0, judged.said.stderr
    assert judged.said.stderr == ""
    assert f"run {judged.run.name}  succeeded: all {len(CANDIDATES)} patches were tried" in judged.said.stdout
    assert f"git merge {judged.run.best}" in judged.said.stdout


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: candidate.name)
def test_every_candidate_ends_as_it_must(judged: Finished, candidate: Candidate) -> None:
    record = of(judged, candidate.name)
    assert (record["verdict"], record["rule"]) == (candidate.verdict, candidate.rule), record["reason"]
    assert candidate.reason in str(record["reason"])
    assert record["accepted"] is (candidate.verdict == "improved")


def test_what_was_improved_was_improved_by_time_over_layouts(judged: Finished) -> None:
    deltas = {delta["metric"]: delta for delta in of(judged, "slices")["deltas"]}  # type: ignore[attr-defined]
    # How far from nothing is the machine's: a busy one makes wide intervals.
    assert float(deltas["time"]["high"]) < 0
    assert (deltas["time"]["layouts"], deltas["time"]["boots"]) == (4, 3)
    assert float(deltas["blocks"]["estimate"]) < -0.4
    confirmed = {one["confirmation"]["metric"]: one["confirmation"] for one in judged.run.named("best.confirmed")}
    assert float(confirmed["time"]["high"]) < 0
    assert confirmed["time"]["against"] == "baseline"
    # A candidate may be decided early, at more confidence; what is claimed has all layouts and the configured one.
    assert (confirmed["time"]["confidence"], confirmed["time"]["layouts"]) == ("0.95", 4)
    assert float(deltas["time"]["confidence"]) > 0.95
    assert "confidence" not in deltas["blocks"]
    # The floor is of the time alone.
    assert deltas["time"]["floor"] is not None and deltas["blocks"]["floor"] is None


def test_a_comment_changes_no_built_object_and_is_not_even_run(judged: Finished) -> None:
    iteration = [candidate.name for candidate in CANDIDATES].index("comment") + 1
    record = of(judged, "comment")
    assert record["deltas"] == []
    assert record["text_bytes"] == 0
    said = [line["say"] for line in judged.run.log() if line["iteration"] == str(iteration)]
    assert "no built object changes" in said
    assert not any(text.startswith(("measuring", "counting")) for text in said)


def test_what_the_policy_refuses_is_never_built(judged: Finished) -> None:
    for name in ("harness", "flags", "clock", "stale"):
        iteration = [candidate.name for candidate in CANDIDATES].index(name) + 1
        nodes = {line["node"] for line in judged.run.log() if line["iteration"] == str(iteration)}
        assert "apply_patch" in nodes
        assert "verify_build_test" not in nodes


def test_the_journal_tells_every_step_once(judged: Finished) -> None:
    operations = judged.run.operations()
    assert [operation["lamport"] for operation in operations] == list(range(1, len(operations) + 1))
    identities = [tuple(operation[key] for key in ("iter", "node", "attempt", "op")) for operation in operations]
    assert len(identities) == len(set(identities))
    names = [operation["op"] for operation in operations if operation["op"] != "checkpoint"]
    assert names[:10] == [
        "run.created",
        "run.started",
        "repo.snapshotted",
        "graph.built",
        "baseline.built",
        "baseline.tested",
        "artifact.stored",
        "artifact.stored",
        "profile.recorded",
        "hotspots.ranked",
    ]
    assert names[-3:] == ["artifact.stored", "dataset.exported", "run.closed"]
    assert names.count("patch.judged") == len(CANDIDATES)
    assert names.count("floor.measured") == 1


def test_every_node_ran_and_logged_its_start_and_end(played: Finished) -> None:
    lines = played.run.log()
    started = {line["node"] for line in lines if line.get("event") == "start"}
    ended = {line["node"] for line in lines if line.get("event") == "end"}
    assert started == ended == set(NODES)
    assert {line["outcome"] for line in lines if line.get("event") == "end"} == {"ok"}
    assert all(float(line["wall_s"]) >= 0 and float(line["cpu_s"]) >= 0 for line in lines if line.get("event") == "end")
    assert {line["run_id"] for line in lines} == {played.run.name}


def test_every_line_of_an_iteration_carries_its_number(played: Finished) -> None:
    starts = [(line["node"], line["iteration"]) for line in played.run.log() if line.get("event") == "start"]
    for number in ("1", "2"):
        first = [node for node, iteration in starts if iteration == number][:3]
        assert first == ["build_evidence_pack", "conductor_decide", "coder_generate_patch"]
    assert [node for node, iteration in starts if iteration == "0"] == list(NODES[:6])


def test_no_record_holds_a_float(judged: Finished) -> None:
    def refuse(text: str) -> float:
        raise AssertionError(f"a float: {text}")

    project = judged.project
    commits = project.git("rev-list", "--first-parent", judged.run.journal).split()
    assert len(commits) > len(CANDIDATES)
    for commit in commits:
        assert json.loads(project.git("show", f"{commit}:op.json"), parse_float=refuse)["run"] == judged.run.name


def test_best_is_a_branch_on_the_base_and_other_candidates_branches_are_gone(judged: Finished) -> None:
    project = judged.project
    assert judged.run.branches() == ["best", "iter-0001"]
    assert project.git("rev-list", "--count", f"HEAD..{judged.run.best}") == "1"
    assert project.git("merge-base", "HEAD", judged.run.best) == project.git("rev-parse", "HEAD")
    assert project.git("diff", "--name-only", "HEAD", judged.run.best).split() == ["include/linux/scan.h", "lib/crc.c"]
    assert project.git("rev-parse", judged.run.best) == of(judged, "slices")["commit"]


def test_the_accepted_commit_says_what_why_how_much_and_who(judged: Finished) -> None:
    message = judged.project.git("log", "-1", "--format=%B", judged.run.best)
    lines = message.splitlines()
    assert lines[0] == "lib: slices"
    assert "Why it should be so." in lines
    assert re.search(r"^  time: -\d\d\.\d\d % \[-\d\d\.\d\d, -\d\d\.\d\d\] \(scan\)$", message, re.MULTILINE)
    assert re.search(r"over 4 code layouts, .*; in brackets the 9\d\.?\d* % interval\.", message.replace("\n", " "))
    assert "Tested: 6 tests end as on best" in message.replace("\n", " ")
    trailers = dict(
        line.split(": ", 1)
        for line in judged.project.git("log", "-1", "--format=%(trailers:only,unfold)", judged.run.best).splitlines()
        if line
    )
    assert trailers["HMOPT-Run"] == judged.run.name
    assert trailers["HMOPT-Iteration"] == "1"
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", trailers["HMOPT-Evidence"])
    assert re.fullmatch(r"git-hmopt:\S+ .*", trailers["Assisted-by"])
    assert "Signed-off-by" not in message
    assert all(len(line) <= 75 for line in lines if not line.startswith(("HMOPT-", "Assisted-by")))


def test_plain_git_log_shows_the_metrics_and_verdicts(judged: Finished) -> None:
    shown = judged.project.git("log", "-1", "--format=%N", "--notes=hmopt/metrics", judged.run.best)
    metrics = [json.loads(line) for line in shown.splitlines() if line]
    assert {metric["name"] for metric in metrics} == {"time", "blocks"}
    tree = judged.project.git("rev-parse", f"{judged.run.best}^{{tree}}")
    assert {(metric["run"], metric["tree"]) for metric in metrics} == {(judged.run.name, tree)}
    shown = judged.project.git("log", "-1", "--format=%N", "--notes=hmopt/verdicts", judged.run.best)
    (verdict,) = [json.loads(line) for line in shown.splitlines() if line]
    assert (verdict["verdict"], verdict["accepted"]) == ("improved", True)


def test_verdicts_of_what_was_not_accepted_are_noted_and_their_commits_kept(judged: Finished) -> None:
    for name in ("comment", "one-size", "harness", "syntax"):
        record = of(judged, name)
        note = judged.project.git("notes", "--ref=hmopt/verdicts", "show", str(record["commit"]))
        assert json.loads(note)["verdict"] == record["verdict"]
    judged.project.git("gc", "-q", "--prune=now")
    assert judged.project.git("cat-file", "-t", str(of(judged, "one-size")["commit"])) == "commit"


def test_nothing_of_the_users_is_touched(judged: Finished, played: Finished) -> None:
    for finished in (judged, played):
        assert users_side(finished.project) == finished.before
        assert finished.project.git("fsck", "--no-dangling") == ""
    assert not (judged.project.root / "harness").exists()


def test_the_playbook_finds_both_shapes_and_removes_most_blocks(played: Finished) -> None:
    assert played.said.returncode == 0, played.said.stderr
    made = [data["decision"] for data in played.run.named("decision.made")]
    assert [(one["strategy"], one["symbol"]) for one in made] == [
        ("crc-slicing", "crc32c_update"),
        ("word-at-a-time", "scan_byte"),
    ]
    assert [one["accepted"] for one in evaluations(played)] == [True, True]
    (confirmed,) = [one["confirmation"] for one in played.run.named("best.confirmed")]
    assert (confirmed["metric"], confirmed["kind"]) == ("blocks", "count")
    assert -0.9 < float(confirmed["estimate"]) < -0.8
    titles = played.project.git("log", "--format=%s", f"HEAD..{played.run.best}").splitlines()
    assert titles == [
        "lib/scan: skip whole words in scan_byte()",
        "lib/crc: fold in eight bytes at a time in crc32c_update()",
    ]


def test_show_list_and_report_tell_the_run(judged: Finished) -> None:
    project, name = judged.project, judged.run.name
    shown = project.hmopt("show", name[-6:])
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout == judged.said.stdout
    assert len(shown.stdout.splitlines()) <= 40
    story = json.loads(project.hmopt("show", "--json").stdout)
    assert (story["v"], story["story"]["run"]["name"]) == (1, name)
    listed = json.loads(project.hmopt("list", "--json").stdout)
    (row,) = listed["runs"]
    assert (row["name"], row["status"], row["iterations"], row["accepted"]) == (name, "succeeded", len(CANDIDATES), 1)
    assert (
        project.hmopt("list").stdout
        == f"{name}  succeeded  {row['base_commit'][:12]}  1 of {len(CANDIDATES)} accepted\n"
    )
    report = project.hmopt("report", name)
    assert report.returncode == 0
    assert report.stdout.startswith("# ")
    for candidate in CANDIDATES:
        assert f"lib: {candidate.name}" in report.stdout


def test_the_report_in_the_journal_is_the_one_that_is_printed(played: Finished) -> None:
    project = played.project
    (commit,) = [
        commit
        for commit in project.git("rev-list", "--first-parent", played.run.journal).split()
        if "report.md" in project.git("ls-tree", "--name-only", commit).split()
    ]
    kept = project.git("show", f"{commit}:report.md")
    # The printed one knows in addition that the run is closed.
    printed = project.hmopt("report").stdout.splitlines()
    assert len([line for line in kept.splitlines() if line not in printed]) <= 3


def test_the_cache_is_rebuilt_to_the_same_bytes(judged: Finished) -> None:
    project = judged.project
    first = project.hmopt("cache", "rebuild")
    assert first.returncode == 0, first.stderr
    database = project.root / ".git/hmopt/cache.sqlite"
    assert first.stdout.strip() == str(database)
    bytes_of = database.read_bytes()
    database.unlink()
    assert project.hmopt("cache", "rebuild").returncode == 0
    assert database.read_bytes() == bytes_of
