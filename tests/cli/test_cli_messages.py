# SPDX-License-Identifier: Apache-2.0
"""`git hmopt show --messages`: what a run asked models, in the clone where it was made and elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from git_hmopt.records.words import RunId
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.journal import OpDraft
from tests.cli.runs import Recorder
from tests.loop.project import Project, make_project
from tests.report.exchange_operations import HOSTILE, exchange_data

ASKED, SILENT = RunId("20260101-scan-000001"), RunId("20260201-scan-000002")
SECRET = "the prompt's own words"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with a run that asked models, and one in which nobody said anything."""
    project = make_project(tmp_path_factory.mktemp("messages"), contents={"README": "0\n"}, trusted=False)
    head = project.git("rev-parse", "HEAD")
    run = Recorder(project.root, ASKED, "scan", head).begin(status="created")
    store = ArtifactStore.of(run.repository)
    prompt = store.put_bytes(
        json.dumps([{"role": "user", "text": SECRET}]).encode(), kind="prompt", name="prompt.json",
        media_type="application/json",
    )  # fmt: skip
    for place, (iteration, changed) in enumerate(
        [(0, {"agent": "trace-analyst"}), (1, {"prompt": prompt.sha256}), (1, {"text": HOSTILE, "answer": "b" * 64})]
    ):
        data = exchange_data(iteration=iteration, **changed)
        if "prompt" in changed:
            data["artifact"] = prompt.model_dump(mode="json")
        run.journal.append(ASKED, [OpDraft("agent.asked", "coder_generate_patch", iteration, place, data)])
    Recorder(project.root, SILENT, "scan", head).begin()
    return project


def test_a_run_tells_its_messages(recorded: Project) -> None:
    done = recorded.hmopt("show", ASKED, "--messages")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[:3] for line in lines[2:5]] == [
        ["0", "trace-analyst", "answer"], ["1", "coder", "answer"], ["1", "coder", "answer"],
    ]  # fmt: skip
    assert lines[-1] == (
        "3 messages: 3 exchanges with models, 3 answered; tokens 2400 in, 600 out; seconds 9.8; cost 0.006 EUR."
    )
    assert "\x1b" not in done.stdout and "\u202e" not in done.stdout and SECRET not in done.stdout


def test_one_iteration_and_all_that_was_said(recorded: Project) -> None:
    done = recorded.hmopt("show", ASKED, "--messages", "--iteration", "1", "--full")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"    user:\n    | {SECRET}\n" in done.stdout
    assert "  answer: it (artifact bbbbbbbbbbbb) is not in this clone\n" in done.stdout
    assert "trace-analyst" not in done.stdout and "2 messages: 2 exchanges" in done.stdout
    answer = json.loads(recorded.hmopt("show", ASKED, "--messages", "--iteration", "1", "--full", "--json").stdout)
    assert (answer["v"], answer["run"], answer["totals"]["tokens_in"]) == (1, ASKED, 1600)
    assert json.loads(answer["messages"][0]["prompt"]) == [{"role": "user", "text": SECRET}]
    assert answer["messages"][1]["text"] == HOSTILE
    assert recorded.hmopt("show", ASKED, "--messages", "--iteration", "7").stdout == (
        f"run {ASKED} has no messages in iteration 7\n"
    )


def test_a_run_without_messages_says_so(recorded: Project) -> None:
    done = recorded.hmopt("show", SILENT, "--messages")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"run {SILENT} has no messages\n", "")
    answer = json.loads(recorded.hmopt("show", SILENT, "--messages", "--json").stdout)
    assert (answer["messages"], answer["totals"]["exchanges"]) == ([], 0)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--full",), "show: --full is only for --messages; see: git hmopt show -h"),
        (("--iteration", "1"), "show: --iteration is only for --messages; see: git hmopt show -h"),
        (("--messages", "--iteration", "-1"), "'-1' is no whole number of 0 or more"),
        (("nobody", "--messages"), "no run is called 'nobody'; see: git hmopt list"),
    ],
)
def test_what_is_not_meant_is_refused(recorded: Project, argv: tuple[str, ...], said: str) -> None:
    done = recorded.hmopt("show", *argv)
    assert done.returncode == 129 and said in done.stderr and done.stdout == ""


def test_prompts_stay_where_they_were_made(recorded: Project, tmp_path: Path) -> None:
    """Another clone has the figures, and says of the rest that it is not there."""
    recorded.git("init", "-q", "--bare", str(tmp_path / "forge"))
    assert recorded.hmopt("push", str(tmp_path / "forge")).returncode == 0
    recorded.git("clone", "-q", str(tmp_path / "forge"), str(tmp_path / "other"))
    other = Project(tmp_path / "other", recorded.home)
    assert other.hmopt("fetch").returncode == 0
    told = other.hmopt("show", ASKED, "--messages", "--full")
    assert told.returncode == 0 and "tokens 2400 in" in told.stdout
    assert SECRET not in told.stdout and "  prompt: it (artifact " in told.stdout
