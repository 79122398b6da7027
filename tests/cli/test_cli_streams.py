# SPDX-License-Identifier: Apache-2.0
"""Where output goes that nobody reads, what signals leave, and how a defect of our own is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.loop.project import Project, configuration
from tests.loop.recorded import run_names

LOOKS = (
    ("show",),
    ("show", "--json"),
    ("list",),
    ("report",),
    ("graph", "scan_byte"),
    ("-h",),
    ("list", "-h"),
    ("--version",),
)
BUFFERED = pytest.mark.parametrize("buffered", [True, False], ids=["buffered", "unbuffered"])


def environment(project: Project, *, buffered: bool) -> dict[str, str]:
    """Return a user's environment; writing fails at once without a buffer, and at the end with one."""
    return project.environment | ({} if buffered else {"PYTHONUNBUFFERED": "1"})


@BUFFERED
@pytest.mark.parametrize("argv", LOOKS, ids=" ".join)
def test_output_that_cannot_be_written_is_one_line(with_run: Project, argv: tuple[str, ...], buffered: bool) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            ["git-hmopt", *argv], cwd=with_run.root, env=environment(with_run, buffered=buffered), stdout=full,
            stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.stderr == (
        "git hmopt: output cannot be used: No space left on device; make room or rights, and try again\n"
    )
    assert done.returncode == 128


def into_closed_pipe(project: Project, *argv: str, buffered: bool) -> subprocess.CompletedProcess[bytes]:
    """Run a command whose reader has left."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        ["git-hmopt", *argv], cwd=project.root, env=environment(project, buffered=buffered), stdout=writing,
        stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(writing)
    return done


@BUFFERED
@pytest.mark.parametrize("argv", LOOKS, ids=" ".join)
def test_a_reader_that_has_seen_enough_is_no_error(with_run: Project, argv: tuple[str, ...], buffered: bool) -> None:
    done = into_closed_pipe(with_run, *argv, buffered=buffered)
    assert (done.returncode, done.stderr) == (0, b"")


@BUFFERED
def test_a_verdict_is_the_exit_code_although_nobody_reads_it(project: Project, buffered: bool) -> None:
    done = into_closed_pipe(
        project, "optimize", "--workload", "scan-blocks", "--iterations", "0", "--json", buffered=buffered
    )
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
@pytest.mark.parametrize("command", ["show", "list", "-h", "--version"])
def test_closed_standard_streams_are_no_error(with_run: Project, command: str, closed: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f"git-hmopt {command} {closed}"], cwd=with_run.root, env=with_run.environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) is (">&-" not in closed.replace("2>&-", ""))


def test_json_is_all_there_is_on_standard_output(project: Project) -> None:
    done = project.hmopt(
        "optimize", "--workload", "scan-blocks", "--iterations", "1", "--json", environment={"HMOPT_PROGRESS": "1"}
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    said = json.loads(line)
    assert said["v"] == 1
    assert said["story"]["status"] == "succeeded"
    assert json.loads(project.hmopt("show", "--json").stdout) == said
    wrong = project.hmopt("show", "none", "--json")
    assert (wrong.stdout, wrong.returncode) == ("", 129)


# -- signals ---------------------------------------------------------------------------------------------------------


def children(pid: int) -> set[int]:
    """Return the processes below one, from /proc."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(stat.parent.name)] = int(text.rpartition(")")[2].split()[1])
    below: set[int] = {pid}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    return below - {pid}


def alive(pids: set[int]) -> set[int]:
    """Return those that are there and no zombies."""
    found = set()
    for pid in pids:
        try:
            state = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state != "Z":
            found.add(pid)
    return found


def test_a_closed_terminal_leaves_no_build_and_a_run_that_goes_on(project: Project) -> None:
    document = configuration()
    wait = project.root.with_name("wait")
    make = document["builds"]["count"]["run"]
    document["builds"]["count"]["run"] = f"if [ -e {wait} ]; then sleep 300; fi; {make}"
    project.write(".hmopt.yaml", yaml.safe_dump(document, sort_keys=False))
    project.commit("sleep")
    assert project.hmopt("trust").returncode == 0
    wait.touch()
    # Unconfined: bwrap would take along what it confines.
    child = subprocess.Popen(
        ["git-hmopt", "optimize", "--workload", "scan-blocks", "--iterations", "0", "--no-sandbox"],
        cwd=project.root, env=project.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not any(b"sleep" in _command(pid) for pid in children(child.pid)):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    below = children(child.pid)
    child.send_signal(signal.SIGHUP)
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGHUP
    while (left := alive(below)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left == set()
    wait.unlink()
    (run,) = run_names(project)
    resumed = project.hmopt("resume", run)
    assert resumed.returncode == 1, resumed.stderr
    assert f"run {run}  succeeded" in resumed.stdout


def test_a_signal_that_was_ignored_from_the_start_stays_ignored() -> None:
    """`nohup git hmopt optimize` is to outlive its terminal."""
    program = (
        "import signal; from git_hmopt.cli.main import main; main(['--version']); "
        "print(*(signal.getsignal(n) is signal.SIG_IGN for n in (signal.SIGHUP, signal.SIGTERM)))"
    )
    for prefix, expected in (([], "False False"), (["nohup"], "True False")):
        done = subprocess.run([*prefix, sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == expected


def _command(pid: int) -> bytes:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().partition(b"\0")[0]
    except (FileNotFoundError, ProcessLookupError):
        return b""


# -- our own defects -------------------------------------------------------------------------------------------------


def test_a_defect_is_not_taken_for_a_verdict(with_run: Project) -> None:
    """Exit code 1 would tell `git bisect run` that a commit is bad."""
    program = (
        "import sys; from git_hmopt.cli import list, main; list.list_runs = lambda *a, **k: 1 / 0; "
        "sys.exit(main.main(['list']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=with_run.root, env=with_run.environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 128
    assert done.stdout == ""
    assert last_line(done.stderr).startswith("git hmopt: this is a defect of git-hmopt ")
    assert "ZeroDivisionError" in last_line(done.stderr)
    assert "Traceback" in done.stderr


def test_an_error_of_megabytes_is_still_one_line_with_its_next_step(with_run: Project) -> None:
    program = (
        "import shutil, sys; from git_hmopt.cli import list, main\n"
        "def fail(*a, **k): raise shutil.Error([('from', 'to', 'File name too long')] * 100_000)\n"
        "list.list_runs = fail; sys.exit(main.main(['list']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=with_run.root, env=with_run.environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 128
    assert done.stderr.startswith("git hmopt: output cannot be used: [('from', 'to', 'File name too long')")
    assert done.stderr.endswith("; make room or rights, and try again\n")
    assert done.stderr.count("\n") == 1
    assert len(done.stderr) < 2100


def last_line(text: str) -> str:
    """Return the last line."""
    return text.splitlines()[-1]
