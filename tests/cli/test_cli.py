# SPDX-License-Identifier: Apache-2.0
"""The command line as a table: argv -> exit code, standard output, and one line on standard error that says what next.

The second table is of places a command can be called in.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from git_hmopt import __version__
from git_hmopt.cli.main import COMMANDS
from tests.loop.project import Project, configuration
from tests.loop.recorded import run_names

OPTIMIZE = ("optimize", "--workload", "scan-blocks")


@dataclass(frozen=True)
class Case:
    """One command line; `stderr` is the whole of it, `stdout` an expression that must match."""

    argv: tuple[str, ...]
    code: int
    stderr: str = ""
    stdout: str = ""
    place: str = field(default="", kw_only=True)


USAGE = (
    Case(("--version",), 0, stdout=rf"git-hmopt {re.escape(__version__)}\n"),
    Case(("-h",), 0, stdout=r"usage: git hmopt \[-C <path>\] <command>[^$]*"),
    Case(("lst",), 129, "'lst' is not a git hmopt command; did you mean 'list'?"),
    Case(("frobnicate",), 129, "'frobnicate' is not a git hmopt command; see: git hmopt -h"),
    Case(("--verson",), 129, "'--verson' is not an option of git hmopt; did you mean '--version'?"),
    Case(("two\nlines\x1b[31m",), 129, "'two\\nlines\\x1b[31m' is not a git hmopt command; see: git hmopt -h"),
    Case(("help", "list"), 0, stdout=r"usage: git hmopt list [^$]*"),
    Case(("help", "lst"), 129, "'lst' is not a git hmopt command; did you mean 'list'?"),
    Case(("-C", "nowhere", "list"), 129, "cannot change to 'nowhere': No such file or directory; -C wants a directory"),
    Case(("list", "--frob"), 129, "list: unrecognized arguments: --frob; see: git hmopt list -h"),
    Case(("list",), 0, stdout="no runs yet; start one: git hmopt optimize --workload NAME\n"),
    Case(("list", "--json"), 0, stdout=re.escape('{"v": 1, "runs": [], "skipped": {}}\n')),
    Case(
        ("list", "--workload", "scn"), 0,
        stdout=r"no runs of workload 'scn'; start one: git hmopt optimize --workload scn\n",
    ),
    Case(("list", "-n", "0"), 129, "list: argument -n: must be at least 1; see: git hmopt list -h"),
    Case(
        ("list", "-n", "x"), 129,
        "list: argument -n: 'x' is no whole number of 0 or more; see: git hmopt list -h",
    ),
    Case(
        ("list", "-n", "9" * 5000), 129,
        "list: argument -n: '999999999999999999...' is out of range; see: git hmopt list -h",
    ),
    Case(("show",), 129, "there is no run here yet; start one: git hmopt optimize --workload NAME"),
    Case(("report",), 129, "there is no run here yet; start one: git hmopt optimize --workload NAME"),
    Case(("resume",), 129, "there is no run here yet; start one: git hmopt optimize --workload NAME"),
    Case(("cache",), 129, "cache: the following arguments are required: action; see: git hmopt cache -h"),
    Case(
        ("optimize",), 129,
        "HEAD:.hmopt.yaml has 2 workloads and none was named; choose one: --workload scan|scan-blocks, "
        "or git config hmopt.workload NAME",
    ),
    Case(
        (*OPTIMIZE, "--seed", "x"), 129,
        "optimize: argument --seed: 'x' is no whole number of 0 or more; see: git hmopt optimize -h",
    ),
    Case(
        (*OPTIMIZE, "--iterations", "-1"), 129,
        "optimize: argument --iterations: '-1' is no whole number of 0 or more; see: git hmopt optimize -h",
    ),
    Case((*OPTIMIZE, "--time", "0"), 129, "optimize: argument --time: must be at least 1; see: git hmopt optimize -h"),
    Case(
        ("optimize", "--workload", "scan-block"), 129,
        "HEAD:.hmopt.yaml: unknown workload 'scan-block', expected 'scan-blocks'? (known: scan, scan-blocks)",
    ),
    Case((*OPTIMIZE, "--base", "v9"), 128, "'v9' is not in this repository; see: git log --oneline --all"),
    Case((*OPTIMIZE, "--base", "mian"), 128, "'mian' is not in this repository; did you mean 'main'?"),
    Case(
        (*OPTIMIZE, "--proposer", "oracle"), 129,
        "no proposer is called 'oracle'; use playbook, llm, or patches:<directory, mbox or branch>",
    ),
    Case(
        (*OPTIMIZE, "--proposer", "patches:none"), 129,
        "'patches:none' is no directory, mailbox or branch here; name a directory of *.patch files, an mbox file, "
        "or a branch or range of this repository",
    ),
    Case(("init",), 129, ".hmopt.yaml is there already; edit it, or replace it with --force"),
    Case(
        ("init", "--profile", "linus"), 129,
        "unknown profile 'linus', expected 'linux'? (known: hm-verif-kernel, linux, make)",
    ),
)  # fmt: skip


@pytest.mark.parametrize("case", USAGE, ids=lambda case: " ".join(case.argv)[:60])
def test_command_lines(untouched: Project, case: Case) -> None:
    done = untouched.hmopt(*case.argv)
    assert done.stderr == (f"git hmopt: {case.stderr}\n" if case.stderr else "")
    assert re.fullmatch(case.stdout, done.stdout), done.stdout
    assert done.returncode == case.code
    # What was refused, or only looked, left nothing.
    assert list(run_names(untouched)) == []
    assert untouched.git("status", "--porcelain") == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(untouched: Project, command: str) -> None:
    done = untouched.hmopt(command, "-h")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: git hmopt {command}")
    assert len(done.stdout.splitlines()) >= 4


def test_without_a_command_the_usage_goes_to_stderr(untouched: Project) -> None:
    done = untouched.hmopt()
    assert (done.returncode, done.stdout) == (129, "")
    assert done.stderr.startswith("usage: git hmopt")
    assert all(f"\n   {name} " in done.stderr for name in COMMANDS)


# -- places ----------------------------------------------------------------------------------------------------------

NO_REPOSITORY = "'{place}' is not in a git repository; run it inside a checkout, or make one: git init"
BARE = "'{place}' is a bare repository; run it in a working tree (git worktree add)"
INSIDE = "'{place}' is inside the git directory; run it in a working tree (git worktree add)"
NO_V9 = "'v9' is not in this repository; see: git log --oneline --all"
UNBORN = "the current branch has no commit yet; commit something first"
PLACES = (
    *(Case(argv, 128, NO_REPOSITORY, place="none") for argv in (("list",), ("show",), OPTIMIZE, ("trust",), ("init",))),
    *(Case(argv, 128, BARE, place="bare") for argv in (OPTIMIZE, ("trust",), ("init",))),
    *(Case(argv, 128, UNBORN, place="unborn") for argv in (OPTIMIZE, ("trust",), ("init",))),
    *(Case(("list",), 0, stdout="no runs yet.*\n", place=place) for place in ("bare", "unborn", "worktree", "below")),
    Case(OPTIMIZE, 128, INSIDE, place="git"),
    Case((*OPTIMIZE, "--base", "v9"), 128, NO_V9, place="below"),
    Case(
        (*OPTIMIZE, "--base", "v9"), 128,
        "'v9' is not in this shallow clone; run: git fetch --unshallow", place="shallow",
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def places(untouched: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return directories of every kind a command can be called in."""
    home = tmp_path_factory.mktemp("places")
    (home / "none").mkdir()
    untouched.git("init", "-q", "--bare", str(home / "bare"))
    untouched.git("init", "-q", str(home / "unborn"))
    untouched.git("clone", "-q", "--depth=1", f"file://{untouched.root}", str(home / "shallow"))
    shutil.copytree(untouched.root, home / "main", symlinks=True)
    Project(home / "main", untouched.home).git("worktree", "add", "-q", str(home / "worktree"))
    return {
        **{name: home / name for name in ("none", "bare", "unborn", "shallow", "worktree")},
        "below": home / "main/lib",
        "git": home / "main/.git",
    }


@pytest.mark.parametrize("case", PLACES, ids=lambda case: f"{case.place}: {case.argv[0]}")
def test_places(untouched: Project, places: dict[str, Path], case: Case) -> None:
    place = places[case.place]
    ceiling = str(places["none"].parent)
    done = untouched.hmopt(*case.argv, cwd=place, environment={"GIT_CEILING_DIRECTORIES": ceiling})
    assert done.stderr == (f"git hmopt: {case.stderr.format(place=place)}\n" if case.stderr else "")
    assert re.fullmatch(case.stdout, done.stdout), done.stdout
    assert done.returncode == case.code
    if case.code:
        assert not (place / ".hmopt.yaml").exists() or case.place not in ("unborn", "bare", "none")


def test_minus_c_moves_as_gits_does(untouched: Project, tmp_path: Path) -> None:
    done = subprocess.run(
        ["git-hmopt", "-C", str(untouched.root.parent), "-C", untouched.root.name, "list"],
        cwd=tmp_path, env=untouched.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "no runs yet; start one: git hmopt optimize --workload NAME\n")


# -- the state of the repository -------------------------------------------------------------------------------------


NO_PROPOSER = "no proposer is called 'x'; use playbook, llm, or patches:<directory, mbox or branch>"


def refused(project: Project, code: int, stderr: str, *argv: str) -> None:
    """Check that a command is refused with one line, and that nothing was recorded."""
    done = project.hmopt(*(argv or OPTIMIZE))
    assert done.stderr == f"git hmopt: {stderr}\n"
    assert (done.returncode, done.stdout) == (code, "")
    assert list(run_names(project)) == []


def test_changes_that_would_not_be_in_the_run(project: Project) -> None:
    project.write("README", "changed\n")
    refused(
        project, 128,
        "tracked files have changes that would not be in the run; "
        "commit or stash them, or run on the commit as it is with --allow-dirty",
    )  # fmt: skip
    # With leave to go on, the next thing that is wrong is told.
    refused(project, 129, NO_PROPOSER, *OPTIMIZE, "--allow-dirty", "--proposer", "x")
    assert (project.root / "README").read_text() == "changed\n"


def test_a_branch_where_the_runs_branches_go(project: Project) -> None:
    project.git("branch", "hmopt")
    refused(
        project, 128,
        "your branch 'hmopt' stands where the branches of runs go (hmopt/<run>/best); "
        "rename it: git branch -m hmopt hmopt-mine",
    )  # fmt: skip


def test_a_branch_beside_the_runs_branches_is_no_obstacle(project: Project) -> None:
    project.git("branch", "hmopt/mine")
    done = project.hmopt(*OPTIMIZE, "--iterations", "0")
    assert done.returncode == 1, done.stderr
    listed = project.git("for-each-ref", "--format=%(refname:short)", "refs/heads/hmopt").splitlines()
    assert sorted(listed) == sorted(["hmopt/mine", f"hmopt/{next(run_names(project))}/best"])


def _configured(project: Project, change: Callable[[str], str]) -> None:
    project.write(".hmopt.yaml", change((project.root / ".hmopt.yaml").read_text()))
    project.commit("configure")


NUMBERED = yaml.safe_dump(configuration(), sort_keys=False).splitlines()


def line_of(text: str) -> int:
    """Return the number of the only line of `.hmopt.yaml` that is `text`."""
    (number,) = [number for number, line in enumerate(NUMBERED, start=1) if line == text]
    return number


WRONG = {
    "an unknown key": (
        lambda text: text.replace("  layouts: 4\n", "  layout: 4\n"),
        f"HEAD:.hmopt.yaml:{line_of('  layouts: 4')}: measure.layout: unknown key 'layout', expected 'layouts'? "
        "(known: boots, confidence, layouts, null_patches)",
    ),
    "a wrong type": (
        lambda text: text.replace("  layouts: 4\n", "  layouts: many\n"),
        f"HEAD:.hmopt.yaml:{line_of('  layouts: 4')}: measure.layouts: got text 'many', expected a whole number",
    ),
    "an unknown adapter option": (
        lambda text: text.replace("    relink: ", "    relinc: "),
        f"HEAD:.hmopt.yaml:{line_of('    relink: sh scripts/relink.sh build-fast')}: builds.fast.relinc: "
        "unknown key 'relinc', expected 'relink'? (known: ",
    ),
    "an unknown build": (
        lambda text: text.replace(
            "  unit:\n    adapter: command\n    build: fast", "  unit:\n    adapter: command\n    build: fats"
        ),
        "tests.unit.build: unknown build 'fats', expected 'fast'? (known: count, fast)",
    ),
    "no YAML": (lambda text: text + "\t: [\n", f"HEAD:.hmopt.yaml:{len(NUMBERED) + 1}: "),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_configuration_is_told_with_file_line_and_key(project: Project, wrong: str) -> None:
    change, expected = WRONG[wrong]
    _configured(project, change)
    # Trust is asked first; it reads the file as well, and says the same where the schema alone is broken.
    project.hmopt("trust")
    done = project.hmopt("optimize", "--workload", "scan")
    assert done.returncode == 129, done.stderr
    assert expected in done.stderr
    assert done.stderr.startswith("git hmopt: HEAD:.hmopt.yaml:")
    assert done.stderr.count("\n") == 1
    assert list(run_names(project)) == []


def test_no_configuration_at_all(project: Project) -> None:
    (project.root / ".hmopt.yaml").unlink()
    project.commit("without")
    for argv in (OPTIMIZE, ("trust",)):
        refused(project, 129, "there is no .hmopt.yaml here; write one: git hmopt init", *argv)


UNTRUSTED = (
    "this repository's configuration names commands that were never trusted here; "
    "read .hmopt.yaml and its overlays, then run: git hmopt trust"
)
CHANGED = (
    "this repository's commands changed since they were trusted; "
    "read what changed in .hmopt.yaml and its overlays, then run: git hmopt trust"
)


def test_commands_that_were_never_trusted_do_not_run(project: Project) -> None:
    project.git("config", "--unset", "hmopt.trust")
    refused(project, 128, UNTRUSTED)
    assert not (project.root / ".git/hmopt/runs").exists()


@pytest.mark.parametrize("path", [".hmopt.yaml", "bench/main.c"])
def test_commands_that_changed_since_they_were_trusted_do_not_run(project: Project, path: str) -> None:
    project.write(path, (project.root / path).read_text() + ("# more\n" if path == ".hmopt.yaml" else "/* more */\n"))
    project.commit("more")
    refused(project, 128, CHANGED)
    done = project.hmopt("trust")
    assert (done.returncode, done.stdout) == (
        0,
        "trusted the commands of HEAD:.hmopt.yaml; asked again when they change. "
        "Undo: git config --unset hmopt.trust\n",
    )
    refused(project, 129, NO_PROPOSER, *OPTIMIZE, "--proposer", "x")


# -- what is missing -------------------------------------------------------------------------------------------------


def only(tmp_path: Path, *programs: str) -> dict[str, str]:
    """Return an environment in which these programs alone can be found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in programs:
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    return {"PATH": str(folder)}


BASE = ("git", "bash", "sh", "env", "cp")


def alone(project: Project, environment: dict[str, str], *argv: str) -> subprocess.CompletedProcess[str]:
    """Run our own program, since `git hmopt` finds it through PATH."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("git-hmopt")), *argv],
        cwd=project.root, env={**project.environment, **environment}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip


def test_without_a_compiler_the_base_cannot_be_tested(project: Project, tmp_path: Path) -> None:
    done = alone(project, only(tmp_path, *BASE), *OPTIMIZE)
    assert done.returncode == 125
    assert re.fullmatch(
        r"git hmopt: build 'count' of commit \w{12} fails: bash: line 1: make: command not found \(exit code 127\) "
        r"\(log: \S+\); make the base build first\n",
        done.stderr,
    )
    log = done.stderr.partition("(log: ")[2].partition(")")[0]
    assert not log.startswith("/"), "the reason is recorded"
    assert "make: command not found" in (project.root / log).read_text()
    (row,) = json.loads(project.hmopt("list", "--json").stdout)["runs"]
    assert row["status"] == "failed"


def test_without_bash_nothing_is_begun(project: Project, tmp_path: Path) -> None:
    done = alone(project, only(tmp_path, "git", "sh"), *OPTIMIZE)
    assert done.stderr == (
        "git hmopt: 'bash' is not installed: no command can be run; install it with: apt-get install bash\n"
    )
    assert done.returncode == 128


def test_without_git_nothing_works_and_that_is_said(project: Project, tmp_path: Path) -> None:
    done = alone(project, only(tmp_path, "sh"), "list")
    assert done.stderr == (
        "git hmopt: 'git' is not installed: everything is kept in git; install it with: apt-get install git\n"
    )
    assert done.returncode == 128


def test_without_bwrap_the_run_goes_on_unconfined_and_says_so(project: Project, tmp_path: Path) -> None:
    programs = (*BASE, "make", "gcc", "as", "ld", "objcopy", "mkdir", "mv", "dirname", "nm", "addr2line", "awk", "sed",
                "sort", "cut", "paste", "rm", "echo", "printf", "size")  # fmt: skip
    done = alone(project, only(tmp_path, *programs), *OPTIMIZE, "--iterations", "0")
    assert done.returncode == 1, done.stderr
    assert "bwrap is not installed: builds, tests and workloads run unconfined" in done.stdout.replace("\n  ", " ")


# -- two at once -----------------------------------------------------------------------------------------------------


@pytest.fixture
def busy(project: Project) -> Iterator[subprocess.Popen[str]]:
    """Give a run of the project that sleeps in its build."""
    document = configuration()
    document["builds"]["count"]["run"] = "sleep 300"
    project.write(".hmopt.yaml", yaml.safe_dump(document, sort_keys=False))
    project.commit("sleep")
    assert project.hmopt("trust").returncode == 0
    child = subprocess.Popen(
        ["git-hmopt", *OPTIMIZE], cwd=project.root, env=project.environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    logs = project.root / ".git/hmopt/runs"
    while not any("building count" in log.read_text() for log in logs.glob("*/logs/log.jsonl")):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    yield child
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=60)


def test_a_second_run_in_one_repository_is_told_of_the_first(project: Project, busy: subprocess.Popen[str]) -> None:
    (first,) = run_names(project)
    for argv in (OPTIMIZE, ("resume",)):
        done = project.hmopt(*argv)
        assert done.stderr == (
            f"git hmopt: run {first} (pid {busy.pid}) is using the build trees of this repository; "
            "wait for it, or stop it with Ctrl-C\n"
        )
        assert (done.returncode, done.stdout) == (128, "")
    assert list(run_names(project)) == [first]
    listed = project.hmopt("list")
    assert (listed.returncode, listed.stdout.split()[:2]) == (0, [first, "running"])


# -- a full disk -----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(project: Project) -> Iterator[Callable[[str], None]]:
    """Put a file system of a few KiB under .git/hmopt, and give what changes its size."""
    home = project.root / ".git/hmopt"
    home.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(home)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")

    def resize(size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(home)], check=True)

    yield resize
    subprocess.run(["umount", "-l", str(home)], check=True)


@pytest.mark.parametrize("size", ["64k", "160k", "320k"])
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(
    project: Project, small_disk: Callable[[str], None], size: str
) -> None:
    small_disk(size)
    done = project.hmopt(*OPTIMIZE, "--iterations", "1", "--seed", "7")
    assert done.returncode == 128, (done.stdout, done.stderr)
    assert done.stderr.count("\n") == 1
    assert re.search(r" is full; |No space left on device", done.stderr), done.stderr
    (run,) = run_names(project)
    assert done.stderr.endswith(f"; then go on with: git hmopt resume {run}\n")
    before = project.git("rev-list", "--first-parent", f"refs/hmopt/runs/{run}/" + writer(project, run)).split()
    small_disk("64m")
    resumed = project.hmopt("resume", run)
    assert resumed.returncode == 0, resumed.stderr
    after = project.git("rev-list", "--first-parent", f"refs/hmopt/runs/{run}/" + writer(project, run)).split()
    assert after[-len(before) :] == before
    assert project.git("fsck", "--no-dangling") == ""


def writer(project: Project, run: str) -> str:
    return project.git("for-each-ref", "--format=%(refname)", f"refs/hmopt/runs/{run}").rpartition("/")[2]


# -- output ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [("show",), ("list",), ("report",), (*OPTIMIZE, "--base", "v9")], ids=" ".join)
def test_piped_output_has_no_colour_and_is_as_wide_as_ever(with_run: Project, argv: tuple[str, ...]) -> None:
    plain = with_run.hmopt(*argv)
    assert plain.stdout + plain.stderr
    assert "\x1b" not in plain.stdout + plain.stderr
    for environment in ({"NO_COLOR": "1"}, {"TERM": "xterm-256color"}, {"COLUMNS": "20"}):
        done = with_run.hmopt(*argv, environment=environment)
        assert (done.stdout, done.stderr) == (plain.stdout, plain.stderr)


def test_progress_that_is_asked_for_in_a_file_has_no_colour(project: Project) -> None:
    done = project.hmopt(*OPTIMIZE, "--iterations", "0", environment={"TERM": "xterm-256color", "HMOPT_PROGRESS": "1"})
    assert "static_analysis_psg" in done.stderr
    assert "\x1b" not in done.stderr


def test_progress_on_a_terminal_obeys_no_color(project: Project) -> None:
    import pty

    def on_terminal(environment: dict[str, str]) -> str:
        leader, follower = pty.openpty()
        child = subprocess.Popen(
            ["git-hmopt", *OPTIMIZE, "--iterations", "0"], cwd=project.root, stdout=subprocess.DEVNULL, stderr=follower,
            env={**project.environment, "TERM": "xterm-256color", **environment},
        )  # fmt: skip
        os.close(follower)
        seen = b""
        while True:
            try:
                data = os.read(leader, 4096)
            except OSError:  # the terminal's other end is closed
                break
            seen += data
        os.close(leader)
        assert child.wait() == 1
        return seen.decode()

    plain = on_terminal({"NO_COLOR": "1"})
    assert "static_analysis_psg" in plain
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", plain)


def test_an_unknown_run_is_answered_with_the_nearest(with_run: Project) -> None:
    (name,) = run_names(with_run)
    wrong = name[:-6] + "zzzzzz"
    for command in ("show", "report", "resume"):
        done = with_run.hmopt(command, wrong)
        assert done.stderr == f"git hmopt: no run is called '{wrong}'; did you mean '{name}'?\n"
        assert done.returncode == 129
    assert with_run.hmopt("show", name[-6:]).returncode == 0


def test_a_report_goes_where_it_is_sent(with_run: Project, tmp_path: Path) -> None:
    done = with_run.hmopt("report", "-o", str(tmp_path / "report.md"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "report.md").read_text() == with_run.hmopt("report").stdout
    done = with_run.hmopt("report", "-o", str(tmp_path / "none/report.md"))
    assert done.stderr == (
        f"git hmopt: cannot write '{tmp_path}/none/report.md': No such file or directory; "
        "-o wants a file in a directory that is there\n"
    )
    assert done.returncode == 129


HEAVY = ("pydantic", "langgraph", "langchain_core", "clang", "numpy", "scipy", "networkx", "pygit2", "rich")


LOOKING = (
    ["--version"],
    ["-h"],
    ["list"],
    ["list", "HEAD..", "--since", "2026-01-31", "--verdict", "improved", "--status", "succeeded"],
    ["sql", "SELECT name FROM runs"],
)


@pytest.mark.parametrize("argv", LOOKING, ids=" ".join)
def test_commands_that_only_look_load_nothing_heavy(with_run: Project, argv: list[str]) -> None:
    program = (
        "import sys; from git_hmopt.cli.main import main; code = main(sys.argv[1:]); "
        f"print([name for name in {HEAVY} if name in sys.modules], code)"
    )
    assert with_run.hmopt("list").returncode == 0  # the cache is up to date
    done = subprocess.run(
        [sys.executable, "-c", program, *argv], cwd=with_run.root, env=with_run.environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[] 0", done.stderr
