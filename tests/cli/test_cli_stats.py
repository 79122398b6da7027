# SPDX-License-Identifier: Apache-2.0
"""`git hmopt stats`: what many runs add up to, what they do not tell, and what cannot be read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from git_hmopt.records.base import canonical_json
from git_hmopt.records.run import AgentMessage, CheckRecord, CutoffRecord, Delta, NodeRecord
from git_hmopt.records.words import CARE_RUN, RESUMED, RunId, Verdict, journal_ref
from git_hmopt.store.care import CUTOFF
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.objects import FILE, TOOL, ObjectBatch, TreeEntry, format_commit
from git_hmopt.store.repository import RefUpdate, Repository
from tests.cli.runs import Recorder
from tests.loop.project import Project, make_project
from tests.report.exchange_operations import exchange_data

OLD, NEW, BLOCKS = RunId("20260101-scan-000001"), RunId("20260201-scan-000002"), RunId("20260201-scan-blocks-000003")
STRANGE = RunId("20991231-scan-ffffff")
HOSTILE = "\x1b[31m<script>alert(1)</script>\u202e" + "x" * 10_000


def step(run: Recorder, op: str, data: Mapping[str, Any], *, iteration: int = 0, node: str = "checkpoint") -> None:
    """Record an operation; each is one of its own."""
    attempt = len(run.journal.read(run.name).operations)
    run.journal.append(run.name, [OpDraft(op, node, iteration, attempt, data)])


def took(run: Recorder, node: str, wall_s: str, outcome: str = "ok") -> None:
    """Record what a node took, a tenth of it the tool itself."""
    record = NodeRecord(node=node, iteration=1, outcome="ok", wall_s=wall_s, cpu_s="0.5").model_dump(mode="json")
    step(run, "checkpoint", {"took": record | {"outcome": outcome}})


def claim(run: Recorder, estimate: str) -> None:
    """Record the change that a run claims."""
    delta = Delta(
        metric="time", kind="time", against="baseline", estimate=estimate, low=estimate, high=estimate, layouts=8,
        boots=6, layout_controlled=True,
    )  # fmt: skip
    step(run, "best.confirmed", {"confirmation": delta.model_dump(mode="json")}, node="stop_or_continue")


def message(run: Recorder, iteration: int, data: Mapping[str, str]) -> None:
    """Record what an agent said, with what a model used for it."""
    said = AgentMessage(iteration=iteration, agent="coder", role="proposal", text="so", data=dict(data))
    step(run, "said", {"message": said.model_dump(mode="json")}, iteration=iteration)


def checked(run: Recorder, iteration: int, candidate: str, best: str, gates: Mapping[str, bool]) -> None:
    """Record a candidate that is incorrect, with the gates it went through."""
    run.judged(iteration, candidate, best, None, verdict=Verdict.INCORRECT)
    entry = run.journal.read(run.name).operations[-1]
    checks = [
        CheckRecord.model_validate({"name": gate, "passed": passed, "detail": 'it said {"name":"build","passed":true}'})
        for gate, passed in gates.items()
    ]
    record = entry.data["evaluation"] | {"checks": [one.model_dump(mode="json") for one in checks]}
    step(run, "patch.judged", {"evaluation": record}, iteration=iteration + 100)


def strange(repository: Repository, run: RunId, fields: Mapping[str, Any]) -> None:
    """Record an operation that this version does not write."""
    writer = Journal(repository).writer
    operation = {
        "v": 1, "op": "run.created", "run": run, "writer": writer, "iter": 0, "node": "init_run", "attempt": 0,
        "lamport": 1, "at": "2099-12-31T00:00:00Z", "data": {},
    }  # fmt: skip
    batch = ObjectBatch(repository.objects)
    blob = batch.add("blob", canonical_json(operation | dict(fields)).encode() + b"\n")
    tree = batch.add_tree([TreeEntry(FILE, blob, "op.json")])
    commit = batch.add("commit", format_commit(tree, [], "newer", TOOL, 0))
    batch.flush()
    repository.update_refs([RefUpdate(journal_ref(run, writer), commit, None)])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with three runs: of the first much is known, of the others little."""
    project = make_project(tmp_path_factory.mktemp("stats"), contents={"README": "0\n"}, trusted=False)
    commits = [project.git("rev-parse", "HEAD")]
    for number in range(1, 4):
        project.write("README", f"{number}\n")
        commits.append(project.commit(f"commit {number}"))
    old = Recorder(project.root, OLD, "scan", commits[0], created="2026-01-01T10:00:00Z").begin(status="created")
    old.judged(1, commits[1], commits[0], ("90", "100"))
    old.judged(2, commits[2], commits[1], ("45", "90"))
    for seconds in range(1, 21):
        took(old, "verify_build_test", str(seconds))
    took(old, "apply_patch", "0.25")
    took(old, "profile_candidate", "7", outcome="failed")
    step(old, RESUMED, {})
    step(old, RESUMED, {})
    claim(old, "-0.55")
    message(old, 1, {"prompt_tokens": "1000", "completion_tokens": "200"})
    message(old, 1, {"prompt_tokens": "300", "completion_tokens": "0"})
    message(old, 2, {"prompt_tokens": "many", "completion_tokens": "5"})
    step(old, "run.closed", {"status": "stopped", "reason": "the time budget of 3600.5 s is used up"})
    new = Recorder(project.root, NEW, "scan", commits[1], created="2026-02-01T10:00:00Z").begin(status="created")
    checked(new, 1, commits[2], commits[1], {"build": True, "tests": False})
    checked(new, 2, commits[3], commits[1], {"build": False})
    blocks = Recorder(project.root, BLOCKS, "scan-blocks", commits[1], created="2026-02-02T10:00:00Z").begin()
    blocks.judged(1, commits[2], commits[1], ("80", "100"))
    claim(blocks, "-0.2")
    return project


@pytest.fixture
def copied(recorded: Project, tmp_path: Path) -> Project:
    """Return the same for a test that writes."""
    project = Project(tmp_path / "copy", recorded.home)
    project.root.mkdir()
    recorded.git("clone", "-q", "--mirror", str(recorded.root), str(project.root / ".git"))
    project.git("config", "core.bare", "false")
    return project


def told(project: Project, *argv: str) -> dict[str, Any]:
    """Return the answer."""
    done = project.hmopt("stats", "--json", *argv)
    assert (done.returncode, done.stderr) == (0, "")
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["v"] == 1
    return answer


def lines(project: Project, *argv: str) -> str:
    """Return what a person reads."""
    done = project.hmopt("stats", *argv)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_times_of_nodes_by_the_nearest_rank_and_who_does_not_tell(recorded: Project) -> None:
    answer = told(recorded)
    nodes = {one["node"]: one for one in answer["nodes"]}
    assert list(nodes) == ["verify_build_test", "profile_candidate", "apply_patch"]
    wall = nodes["verify_build_test"]["wall_s"]
    assert (wall["n"], wall["p50"], wall["p95"], wall["total"], wall["max"]) == (20, 10, 19, 210, 20)
    assert nodes["verify_build_test"]["cpu_s"]["total"] == 10
    assert {node: one["failed"] for node, one in nodes.items()} == {
        "verify_build_test": 0, "profile_candidate": 1, "apply_patch": 0,
    }  # fmt: skip
    assert answer["runs_without_times"] == 2
    assert "2 of 3 runs do not say what their nodes took: unknown" in lines(recorded)


def test_how_runs_stand_and_why_they_ended(recorded: Project) -> None:
    answer = told(recorded)
    assert answer["runs"] == {
        "total": 3, "by_status": {"interrupted": 1, "stopped": 1, "succeeded": 1}, "resumed": 1, "resumptions": 2,
        "continued": 0,
    }  # fmt: skip
    assert "1 resumed after a kill (2 times in all), 0 that go on" in lines(recorded)
    assert answer["endings"] == [
        {"status": "stopped", "reason": "the time budget of N s is used up", "count": 1},
        {"status": "succeeded", "reason": "unknown", "count": 1},
    ]


def test_gates_count_the_candidates_that_came_to_them(recorded: Project) -> None:
    gates = {one["gate"]: (one["passed"]["hits"], one["passed"]["of"]) for one in told(recorded)["gates"]}
    assert gates == {"build": (1, 2), "tests": (0, 1)}
    text = lines(recorded)
    assert "50.0 % [9.5, 90.5]" in text
    assert "0.0 % [0.0, 79.3]" in text


def test_improvements_are_quantiles_by_workload_and_claims_stand_apart(recorded: Project) -> None:
    found = {(one["workload"], one["of"]): one["change"] for one in told(recorded)["improvements"]}
    assert set(found) == {(work, of) for work in ("scan", "scan-blocks") for of in ("accepted", "best against base")}
    accepted = found["scan", "accepted"]
    assert (accepted["n"], accepted["min"], accepted["p50"], accepted["max"]) == (2, -0.5, -0.5, -0.1)
    assert found["scan", "best against base"]["p50"] == -0.55


def test_tokens_that_are_half_known_are_unknown_and_not_0(recorded: Project) -> None:
    answer = told(recorded)
    assert answer["tokens"]["per_iteration"]["total"] == 1500
    assert answer["tokens"]["unknown"] == answer["tokens"]["iterations"] - 1 > 1
    assert answer["no_numbers"] == 1
    other = told(recorded, "--workload", "scan-blocks")
    assert other["tokens"] == {"iterations": 1, "unknown": 1, "per_iteration": None}
    assert "Tokens per iteration: unknown; no message says" in lines(recorded, "--workload", "scan-blocks")


def asked(run: Recorder, iteration: int = 1, **changed: Any) -> None:
    """Record an exchange with a model."""
    step(run, "agent.asked", exchange_data(iteration=iteration, **changed), iteration=iteration)


def models(answer: Mapping[str, Any]) -> dict[str | None, tuple[int, int, float | None]]:
    """Return of each model how often it was asked, how often it answered, and the median of its seconds."""
    return {
        one["model"]: (
            one["answered"]["of"], one["answered"]["hits"], one["seconds"] and one["seconds"]["p50"],
        )
        for one in answer["models"]
    }  # fmt: skip


LOST: Mapping[str, Any] = {"role": "no-answer", "prompt_tokens": None, "completion_tokens": None}


def test_models_by_how_often_they_answer_and_what_that_takes(copied: Project) -> None:
    assert told(copied)["models"] == [] and "p50 of answers" not in lines(copied)
    run = Recorder(copied.root, BLOCKS, "scan-blocks", copied.git("rev-parse", "HEAD"))
    for seconds in ("1", "2.5", "40"):
        asked(run, seconds=seconds)
    asked(run, **{**LOST, "seconds": "600"})
    # What was not asked is no refusal of a model.
    asked(run, **{**LOST, "attempts": "0"})
    asked(run, replayed=OLD)
    asked(run, model="slow", seconds=None)
    asked(run, model="none", **LOST)
    asked(run, model=None, seconds="-1")
    asked(run, model=None, seconds="soon")
    answer = told(copied)
    assert models(answer) == {
        "qwen3-coder-30b": (4, 3, 2.5), "slow": (1, 1, None), "none": (1, 0, None), None: (2, 2, None),
    }  # fmt: skip
    assert answer["no_numbers"] == told(copied, "--workload", "scan")["no_numbers"] + 1
    text = " ".join(lines(copied).split())
    assert "qwen3-coder-30b 4 3 75.0 % [30.1, 95.4] 2.500" in text and "slow 1 1 100.0 % [20.7, 100.0] unknown" in text
    assert told(copied, "--workload", "scan")["models"] == []


def test_exchanges_of_an_iteration_are_summed_and_one_that_does_not_say_makes_it_unknown(copied: Project) -> None:
    run = Recorder(copied.root, BLOCKS, "scan-blocks", copied.git("rev-parse", "HEAD"))
    for iteration in (1, 2, 2, 3):
        asked(run, iteration)
    asked(run, 2, replayed=OLD)
    asked(run, 2, **{**LOST, "attempts": "0"})
    asked(run, 3, **LOST)
    tokens = told(copied, "--workload", "scan-blocks")["tokens"]
    assert (tokens["iterations"], tokens["unknown"], tokens["per_iteration"]["n"]) == (3, 1, 2)
    assert (tokens["per_iteration"]["min"], tokens["per_iteration"]["max"]) == (1000, 2000)


def test_tokens_of_an_accepted_percent_over_runs(copied: Project) -> None:
    head = copied.git("rev-parse", "HEAD")
    old, new = Recorder(copied.root, OLD, "scan", head), Recorder(copied.root, NEW, "scan", head)
    blocks = Recorder(copied.root, BLOCKS, "scan-blocks", head)
    assert told(copied)["prices"] == [] and "per accepted percent" not in lines(copied)
    asked(blocks)
    # What a run used that came to nothing is a price, too.
    asked(new)
    asked(new, 2, prompt_tokens="2000", counted_by="bound")
    found = {one["workload"]: one for one in told(copied)["prices"]}
    assert found["scan-blocks"] == {
        "workload": "scan-blocks", "runs": 1, "unknown": 0, "tokens": 1000, "at_most": False,
        "percent": pytest.approx(20), "tokens_per_percent": pytest.approx(50),
    }  # fmt: skip
    assert (found["scan"]["tokens"], found["scan"]["percent"], found["scan"]["tokens_per_percent"]) == (3200, 0, None)
    assert re.search(r"\nscan +1 +3200 +0.00 +none accepted\n", lines(copied))
    asked(old, 3)
    (price,) = told(copied, "--workload", "scan")["prices"]
    # Of the old run iteration 2 does not say: its messages hold no number.
    assert (price["runs"], price["unknown"], price["tokens"], price["percent"]) == (2, 1, None, pytest.approx(55))
    assert "unknown: 1 of 2 runs do not say what they used" in lines(copied)
    assert copied.hmopt("retract", BLOCKS, "--reason", "the fan had failed").returncode == 0
    (price,) = told(copied, "--workload", "scan-blocks")["prices"]
    assert (price["percent"], price["tokens_per_percent"]) == (0, None)


def test_figures_of_models_that_are_none_are_one_harmless_line(copied: Project) -> None:
    run = Recorder(copied.root, BLOCKS, "scan-blocks", copied.git("rev-parse", "HEAD"))
    for number in range(30):
        asked(run, agent=HOSTILE, model=f"{number}{HOSTILE}", prompt_tokens=HOSTILE, seconds=HOSTILE, attempts=HOSTILE)
    text = lines(copied)
    assert "\x1b" not in text and "\u202e" not in text and max(map(len, text.splitlines())) < 160
    assert "and 10 other models" in text
    (price,) = told(copied)["prices"]
    assert (price["tokens"], price["unknown"]) == (None, 1)


def test_a_retraction_is_a_false_positive_and_takes_the_claim_along(copied: Project) -> None:
    assert told(copied)["false_positives"]["hits"] == 0
    assert copied.hmopt("retract", OLD, "--iteration", "2", "--reason", "the fan had failed").returncode == 0
    answer = told(copied)
    assert answer["false_positives"] == {
        "hits": 1, "of": 3, "share": pytest.approx(1 / 3), "low": pytest.approx(0.0615, abs=5e-5),
        "high": pytest.approx(0.7923, abs=5e-5),
    }  # fmt: skip
    kept = {(one["workload"], one["of"]): one["change"]["n"] for one in answer["improvements"]}
    assert kept["scan", "accepted"] == 1
    assert ("scan", "best against base") not in kept
    assert "False positives: 1 of 3 accepted candidates were retracted, 33.3 % [6.1, 79.2]" in lines(copied)
    verdicts = {(one["workload"], one["verdict"]): one["retracted"] for one in answer["verdicts"]}
    assert verdicts["scan", "improved"] == 1
    assert copied.hmopt("retract", BLOCKS, "--reason", "all of it").returncode == 0
    assert told(copied, "--workload", "scan-blocks")["false_positives"]["hits"] == 1


def test_nothing_accepted_has_no_rate(copied: Project) -> None:
    answer = told(copied, "--workload", "scan", "--since", "2026-01-31")
    assert answer["false_positives"] == {"hits": 0, "of": 0, "share": None, "low": None, "high": None}
    text = lines(copied, "--workload", "scan", "--since", "2026-01-31")
    assert "False positives: unknown; nothing was accepted yet." in text
    assert "Improvements: nothing was accepted that still stands." in text


def test_an_expired_run_counts_nowhere(copied: Project) -> None:
    cut = CutoffRecord(of_run=OLD, before="2026-12-31T00:00:00Z", reason="old").model_dump(mode="json")
    Journal(Repository.open(copied.root)).append(CARE_RUN, [OpDraft(CUTOFF, "expire", data={CUTOFF: [cut]})])
    answer = told(copied)
    assert (answer["runs"]["total"], answer["nodes"], answer["false_positives"]["of"]) == (2, [], 1)


def test_a_run_of_a_newer_format_is_named(copied: Project) -> None:
    repository = Repository.open(copied.root)
    strange(repository, STRANGE, {"v": 2})
    answer = told(copied)
    assert answer["newer"] == {STRANGE: {"unknown version": 1}}
    assert answer["runs"]["total"] == 3
    said = f"run {STRANGE} holds records of a newer format, which count nowhere here: 1 x unknown version"
    assert f"{said}; upgrade git-hmopt" in lines(copied)
    # What it is of nobody knows, so that no filter hides it.
    other = lines(copied, "--workload", "nothing-of-the-kind")
    assert other.startswith("no runs that this version can read\n")
    assert said in other


def test_a_record_of_a_newer_format_inside_a_known_run_is_named_too(copied: Project) -> None:
    repository = Repository.open(copied.root)
    strange(repository, STRANGE, {"data": {"took": {"v": 2, "node": "x"}, "status": "running"}})
    assert told(copied)["newer"] == {STRANGE: {"unknown version took": 1}}


@pytest.mark.parametrize("wall", ["fast", "nan", "inf", "1e999", ""])
def test_a_time_that_is_no_number_is_left_out_and_counted(copied: Project, wall: str) -> None:
    run = Recorder(copied.root, OLD, "scan", copied.git("rev-parse", "HEAD"))
    record = {"v": 1, "node": "apply_patch", "iteration": 1, "outcome": "ok", "wall_s": wall, "cpu_s": "0"}
    step(run, "checkpoint", {"took": record})
    answer = told(copied)
    (node,) = (one for one in answer["nodes"] if one["node"] == "apply_patch")
    assert (node["wall_s"]["n"], answer["no_numbers"]) == (1, 2)
    assert "2 values that are no numbers are left out" in lines(copied)


def test_hostile_text_is_one_harmless_line(copied: Project) -> None:
    run = Recorder(copied.root, OLD, "scan", copied.git("rev-parse", "HEAD"))
    took(run, HOSTILE, "1")
    step(run, "run.closed", {"status": "failed", "reason": HOSTILE})
    evaluation = {
        "v": 1, "run": OLD, "iteration": 9, "workload": HOSTILE, "commit": None, "tree": None, "patch_id": None,
        "baseline": "b", "best": "b", "verdict": HOSTILE, "rule": HOSTILE, "reason": HOSTILE, "accepted": True,
        "deltas": [
            HOSTILE, 7, {"metric": [1], "kind": "time", "against": "best", "estimate": "1"},
            {"metric": HOSTILE, "kind": HOSTILE, "against": "best", "estimate": HOSTILE},
            {"metric": HOSTILE, "kind": HOSTILE, "against": "best", "estimate": "-0.5"},
        ],
        "checks": [
            HOSTILE, 7, None, {"name": HOSTILE, "passed": True}, {"name": "build", "passed": "yes"}, {"passed": True},
        ],
    }  # fmt: skip
    step(run, "patch.judged", {"evaluation": evaluation}, iteration=9)
    text = lines(copied)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert max(map(len, text.splitlines())) < 200
    gates = {one["gate"]: one["passed"]["of"] for one in told(copied)["gates"]}
    assert gates == {"build": 2, "tests": 1, HOSTILE: 1}
    assert {one["metric"] for one in told(copied)["improvements"]} == {"time", HOSTILE}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "no runs yet; start one: git hmopt optimize --workload NAME\n"),
        (("--workload", "scan"), "no runs of workload 'scan'; start one: git hmopt optimize --workload scan\n"),
        (("--since", "yesterday"), "no runs since then; see them all: git hmopt list\n"),
    ],
)
def test_an_empty_repository_says_so(project: Project, argv: tuple[str, ...], said: str) -> None:
    assert lines(project, *argv) == said
    answer = told(project, *argv)
    assert (answer["runs"]["total"], answer["nodes"], answer["tokens"]["per_iteration"]) == (0, [], None)


def test_a_date_that_git_does_not_know_is_refused(recorded: Project) -> None:
    done = recorded.hmopt("stats", "--since", "frob")
    assert (done.returncode, done.stdout) == (129, "")
    assert "git knows no date 'frob'" in done.stderr
