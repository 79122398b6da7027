# SPDX-License-Identifier: Apache-2.0
"""What a step believes of the runner's environment and of the event, and what it tells the runner."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from git_hmopt.errors import ConfigError, UsageError
from hmopt_bot.action.asking import asked
from hmopt_bot.action.job import answered, commit, job_of, wanted
from hmopt_bot.action.runner import Level, annotate, put_out, put_summary, unheard

_A, _B = "a" * 40, "b" * 40


def environment(tmp_path: Path, event: object, name: str = "pull_request") -> dict[str, str]:
    """Return what the runner sets; an event in bytes is written as it is."""
    path = tmp_path / "event.json"
    path.write_bytes(event if isinstance(event, bytes) else json.dumps(event).encode())
    return {"GITHUB_EVENT_NAME": name, "GITHUB_EVENT_PATH": str(path), "RUNNER_TEMP": str(tmp_path)}


def pull_request(**changes: object) -> dict[str, object]:
    """Return an event of our own repository's pull request."""
    head = {"sha": _B, "repo": {"id": 7}, **changes}
    return {"repository": {"id": 7}, "pull_request": {"base": {"sha": _A}, "head": head}}


@pytest.mark.parametrize(
    ("head", "from_fork"),
    [
        ({}, False),
        ({"repo": {"id": 8}}, True),
        ({"repo": None}, True),
        ({"repo": {}}, True),
        ({"repo": {"id": "7"}}, True),
        ({"repo": [7]}, True),
    ],
)
def test_whose_code_it_is(tmp_path: Path, head: dict[str, object], from_fork: bool) -> None:
    assert job_of(environment(tmp_path, pull_request(**head))).from_fork is from_fork
    without = {"pull_request": pull_request(**head)["pull_request"]}
    assert job_of(environment(tmp_path, without)).from_fork


@pytest.mark.parametrize("name", ["push", "schedule", "workflow_dispatch"])
def test_events_of_those_who_may_write(tmp_path: Path, name: str) -> None:
    job = job_of(environment(tmp_path, {}, name))
    assert (job.from_fork, job.pull_request, job.self_hosted) == (False, None, True)


@pytest.mark.parametrize("name", ["pull_request_target", "issue_comment", "workflow_run", "", "x\x1b[31m" * 100])
def test_an_event_with_secrets_that_may_be_about_a_strangers_code(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        job_of(environment(tmp_path, pull_request(), name))
    assert str(caught.value).endswith(
        "has the repository's secrets, and may be about a stranger's code; "
        "use 'pull_request', or one of push, schedule, workflow_dispatch, repository_dispatch, merge_group"
    )
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (b"", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b"[]", "is no JSON object"),
        ({}, "names no commits"),
        (pull_request(sha="main"), "names no commits"),
        (pull_request(sha=f"{_A}\n"), "names no commits"),
        (pull_request(sha=7), "names no commits"),
        ({"pull_request": {"base": "x", "head": None}}, "names no commits"),
    ],
)
def test_an_event_that_is_none(tmp_path: Path, event: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        job_of(environment(tmp_path, event))


def test_a_place_that_is_no_job(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="RUNNER_TEMP is not set: this is no step of a GitHub action"):
        job_of({"GITHUB_EVENT_NAME": "push"})
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        job_of({"GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": str(tmp_path / "no"), "RUNNER_TEMP": "/"})


def test_workloads_are_parted_by_blanks_and_commas() -> None:
    assert wanted({"INPUT_WORKLOADS": " a,b\n c  a "}).workloads == ("a", "b", "c")
    for bad in ("--config=x", "a;b", "a$(b)", "é", "a" * 65):
        with pytest.raises(UsageError, match="is no workload's name; part them by blanks"):
            wanted({"INPUT_WORKLOADS": bad})


def test_what_an_earlier_step_did_not_say() -> None:
    for text in ("", "2", "01", " 1"):
        with pytest.raises(ConfigError, match="the check gave no answer"):
            answered({"INPUT_ANSWER": text})
    with pytest.raises(ConfigError, match="'base' names no commit"):
        commit({"INPUT_BASE": "main"}, "base")


def test_an_annotation_is_one_line_whatever_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "50 %\r\n::error::x\x1b[31m\u202e" + "y" * 10_000 + "\udc80"
    annotate(Level.NOTICE, hostile, file="a:b,c%\n::set.c")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("::notice title=git hmopt,file=a%3Ab%2Cc%25 %3A%3Aset.c::50 %25 ::error::x [31m yyy")
    assert len(line) < 5_000 and line.isprintable()


def test_what_a_command_prints_is_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    with unheard():
        print("::error::not me", end="")
    begin, middle, end = capsys.readouterr().out.splitlines()
    token = begin.removeprefix("::stop-commands::")
    assert (len(token), middle, end) == (32, "::error::not me", f"::{token}::")
    done = asked(["check", "--no-such-option"])
    assert (done.code, done.output) == (129, "")
    assert "--no-such-option" in done.complaint
    begin, *_, end = capsys.readouterr().out.splitlines()
    assert f"::{begin.removeprefix('::stop-commands::')}::" == end != f"::{token}::"


def test_outputs_are_one_line_and_the_summary_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    put_out("a", "1")
    with pytest.raises(ValueError, match="more than one line"):
        put_out("b", "1\nPYTHON=evil")
    assert (tmp_path / "output").read_text() == "a=1\n"
    put_summary("| line é |\n" * 200_000)
    written = (tmp_path / "summary").read_bytes()
    assert len(written) <= 1 << 20 and b"*Cut to fit: " in written[-200:]


def test_the_steps_need_nothing_that_the_extra_installs() -> None:
    code = (
        "import sys, hmopt_bot.action.__main__, hmopt_bot.action.check\n"
        "print(sorted({'fastapi', 'gidgethub', 'uvicorn', 'markdown_it', 'jwt', 'httpx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert "gidgethub" not in done.stdout and "fastapi" not in done.stdout, done.stdout
    assert done.stdout in ("[]\n", "['markdown_it']\n"), "rich may load markdown_it"
