# SPDX-License-Identifier: Apache-2.0
"""The whole action on a real project: its steps in bash, in a clone one commit deep, at a stranger's pull request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from git_hmopt.records.words import RunId
from tests.bot.action.composite import TOKEN
from tests.bot.action.pulled import Forge, Pull, clone, make_forge, pull_of
from tests.cli.runs import Recorder
from tests.cli.slowed_project import FILES, TABLE, hashless
from tests.programs import search_path

# What a check would run if it came from here, and what Python would import if it looked here.
_STRANGERS = "import pathlib\npathlib.Path('ran-it').touch()\nraise SystemExit(0)\n"
_MODULES = ("hmopt_bot/__init__.py", "git_hmopt/__init__.py", "json.py", "venv.py", "pip.py", "base64.py")
_STRANGE = {
    **dict.fromkeys(_MODULES, _STRANGERS),
    ".hmopt.yaml": FILES[".hmopt.yaml"].replace("make -s O=build-fast", "touch ran-it"),
    "bench/main.c": FILES["bench/main.c"].replace("while (reps--)", "while (0)"),
}


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    """Return a forge whose base branch has the table of names."""
    return make_forge(tmp_path_factory.mktemp("forge"), dict(FILES))


@pytest.fixture(scope="module")
def pull(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Pull:
    """Return a pull request that changes no object, for what does not get as far as measuring."""
    return pull_of(forge, {"README": "All names\n"}, tmp_path_factory.mktemp("pull"))


def nothing_ran(pull: Pull) -> bool:
    """Say whether nothing of a stranger's ran: each of it leaves a file of the same name."""
    return not list(pull.temporary.parent.rglob("ran-it"))


def test_a_regression_fails_and_nothing_of_a_strangers_is_used(forge: Forge, tmp_path: Path) -> None:
    pull = pull_of(forge, {**_STRANGE, "lib/table.c": hashless(TABLE)}, tmp_path / "pull")
    done = pull.run(event=pull.event(repository=12), upload_notes="true")
    assert (done.code, done.last) == (1, "Answer"), done.log
    assert nothing_ran(pull)
    assert done.obeyed == []
    assert done.outputs["answer"] == "1"
    answer = json.loads(Path(done.outputs["json"]).read_text())
    assert answer["check"]["base"] == pull.base and answer["check"]["head"] == pull.merge
    (error,) = done.told("error")
    assert error.startswith("lookup: regressed: Confirmed on fresh layouts: The time changed by +")
    assert ("touches table_find (changed)", "lib/table.c") in [(one.message, one.file) for one in done.annotations]
    assert done.summary.startswith("## git hmopt check: regressed\n")
    assert "| `time` | `+" in done.summary and "- `table_find (changed)` in `lib/table.c`" in done.summary
    # The base's own harness measured, though the pull request has another.
    assert f"head {pull.merge[:12]} has another .hmopt.yaml, bench/main.c, or none: both sides" in done.summary
    # A fork's code may have written what would be pushed.
    assert "nothing is pushed for a fork's pull request: its code may have written the notes" in done.told("warning")
    assert TOKEN not in done.log + done.summary + (pull.clone.root / ".git/config").read_text()


def test_no_regression_succeeds(pull: Pull) -> None:
    before = pull.clone.git("status", "--porcelain")
    done = pull.run()
    assert (done.code, done.last, done.outputs["answer"]) == (0, "Answer", "0"), done.log
    assert nothing_ran(pull)
    assert "| `lookup` | **no regression** | `no-change` | `no built object differs from base's` |" in done.summary
    assert f"git checkout {pull.merge} && git hmopt check {pull.base}`" in done.summary
    assert not done.told("error")
    # The clone is as it was, but for the trust in its base.
    assert pull.clone.git("status", "--porcelain") == before
    assert pull.clone.git("worktree", "list").count("\n") == 0


def test_a_head_that_does_not_build_is_told_and_fails_only_where_it_is_wanted(forge: Forge, tmp_path: Path) -> None:
    pull = pull_of(forge, {"lib/table.c": TABLE.replace("used = 0;", "used = 0")}, tmp_path / "pull")
    done = pull.run()
    assert (done.code, done.last, done.outputs["answer"]) == (0, "Answer", "125"), done.log
    # Before them it may be said that nothing is confined here.
    first, last = done.told("warning")[-2:]
    assert first.startswith("lookup: does not build: build 'fast' fails: lib/table.c:")
    assert last == "the check cannot tell; the job goes on (input 'undecided: fail' has it fail)"
    assert done.summary.startswith("## git hmopt check: cannot tell\n")
    said = {"steps.check.outputs.answer": "125"}
    failed = pull.run(only=("Install", "Answer"), said=said, undecided="fail")
    assert (failed.code, failed.told("warning")) == (125, [])


def test_a_base_that_does_not_build_cannot_be_told(forge: Forge, tmp_path: Path) -> None:
    broken = make_forge(tmp_path / "forge", {**FILES, "lib/table.c": TABLE.replace("used = 0;", "used = 0")})
    pull = pull_of(broken, {"lib/table.c": TABLE}, tmp_path / "pull")
    done = pull.run(only=("Install", "Fetch", "Check"))
    assert (done.code, done.outputs) == (0, {"answer": "125", "json": ""}), done.log
    assert "build 'fast' of commit" in done.summary and "make the base build first" in done.told("warning")[-1]


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("v9", "'v9' is not in this shallow clone, and 'origin' has no such branch, tag or commit: "),
        ("f" * 40, f"'{'f' * 40}' is not in this shallow clone, and 'origin' has no such branch, tag or commit: "),
        ("--upload-pack=touch ran-it", "'--upload-pack=touch ran-it' is not in this shallow clone; "),
        ("main:refs/heads/other", "'main:refs/heads/other' is not in this shallow clone; "),
        ("$(touch ran-it);`touch ran-it`", "'$(touch ran-it);`touch ran-it`' is not in this shallow clone; "),
    ],
)
def test_a_base_that_is_none(pull: Pull, base: str, said: str) -> None:
    done = pull.run(only=("Install", "Fetch"), base=base)
    assert (done.code, done.last) == (128, "Fetch base and head"), done.log
    (error,) = done.told("error")
    assert error.startswith(said)
    assert nothing_ran(pull)
    assert pull.clone.git("for-each-ref", "refs/heads/other") == ""


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"workloads": "lookup $(touch-ran-it)"}, "input 'workloads': '$(touch-ran-it)' is no workload's name"),
        ({"time": "1e3"}, "input 'time': '1e3' is no number of seconds"),
        ({"undecided": "maybe"}, "input 'undecided': 'maybe' is neither 'warn' nor 'fail'"),
        ({"upload_notes": "yes"}, "input 'upload-notes': 'yes' is neither 'true' nor 'false'"),
        ({"remote": "--exec=touch ran-it"}, "input 'remote': '--exec=touch ran-it' is no remote"),
    ],
)
def test_inputs_are_refused_before_anything_is_measured(pull: Pull, inputs: dict[str, Any], said: str) -> None:
    done = pull.run(only=("Install", "Fetch"), **inputs)
    assert (done.code, done.last) == (128, "Fetch base and head")
    assert done.told("error")[0].startswith(said)
    assert nothing_ran(pull)


def test_a_pull_request_brings_no_configuration(tmp_path: Path) -> None:
    bare = make_forge(tmp_path / "forge", {path: text for path, text in FILES.items() if path != ".hmopt.yaml"})
    pull = pull_of(bare, {".hmopt.yaml": FILES[".hmopt.yaml"]}, tmp_path / "pull")
    done = pull.run(only=("Install", "Fetch", "Check"))
    assert (done.code, done.last) == (128, "Check")
    assert done.told("error") == [
        f"the base {pull.base[:12]} has no .hmopt.yaml, and that of a pull request is not used; "
        "commit one to the base branch first: git hmopt init"
    ]


def test_an_overlay_comes_from_the_base_too(tmp_path: Path) -> None:
    """Of a file that is named, `git hmopt trust` takes overlays that a commit has not from the working tree."""
    files = {path: text for path, text in FILES.items() if not path.startswith("bench/")}
    forge = make_forge(tmp_path / "forge", {**files, "ci/check.yaml": files[".hmopt.yaml"]})
    added = {path: text for path, text in FILES.items() if path.startswith("bench/")}
    pull = pull_of(forge, added, tmp_path / "pull")
    for config in ("", "ci/check.yaml"):
        done = pull.run(only=("Install", "Fetch", "Check"), config=config)
        assert (done.code, done.last) == (128, "Check"), done.log
        assert "overlay './bench'" in done.told("error")[0]
    done = pull.run(only=("Install", "Fetch", "Check"), config="../../etc/passwd")
    assert done.told("error")[0].endswith(
        "has no ../../etc/passwd, and that of a pull request is not used; "
        "correct the input 'config': a path from the repository's top"
    )


def test_a_fork_is_not_run_unconfined_on_a_machine_that_is_used_again(pull: Pull, tmp_path: Path) -> None:
    path = search_path(tmp_path / "bin", without=("bwrap",))["PATH"]
    steps = ("Install", "Fetch", "Check")
    done = pull.run(event=pull.event(repository=None), hosted="self-hosted", path=path, only=steps)
    assert (done.code, done.last) == (128, "Check")
    assert done.told("error")[0].startswith(
        "this runner is not thrown away after the job, and a fork's code would run on it: bwrap is not installed"
    )
    done = pull.run(hosted="self-hosted", path=path, only=steps)
    assert done.code == 0, done.log
    assert "- note: `bwrap is not installed: builds, tests and workloads run unconfined" in done.summary


def test_runs_are_pushed_for_our_own_code_and_for_no_others(pull: Pull, forge: Forge, tmp_path: Path) -> None:
    made = clone(forge, pull.merge, tmp_path / "again")
    mine = Pull(forge, pull.base, pull.head, pull.merge, made, tmp_path / "again/temp")
    Recorder(made.root, RunId("20260131-lookup-0123ab"), "lookup", pull.merge).begin()
    steps = ("Install", "Push")
    done = mine.run(only=steps)
    assert (done.code, done.annotations) == (0, [])
    for repository in (12, None):
        done = mine.run(only=steps, event=mine.event(repository=repository), upload_notes="true")
        assert done.code == 0
        (told,) = done.told("warning")
        assert told == "nothing is pushed for a fork's pull request: its code may have written the notes"
        assert forge.project.git("ls-remote", str(forge.bare), "refs/hmopt/*") == ""
    done = mine.run(only=steps, upload_notes="true")
    assert done.code == 0, done.log
    assert "refs/hmopt/runs/20260131-lookup-0123ab/" in forge.project.git("ls-remote", str(forge.bare), "refs/hmopt/*")
    assert TOKEN not in done.log + (made.root / ".git/config").read_text()
    made.git("remote", "set-url", "origin", str(tmp_path / "nowhere"))
    done = mine.run(only=steps, upload_notes="true")
    assert (done.code, len(done.told("error"))) == (128, 1)


def test_an_interpreter_without_the_tool_is_said_by_python(pull: Pull) -> None:
    done = pull.run(python="/usr/bin/false")
    assert (done.code, done.last) == (1, "Fetch base and head")
