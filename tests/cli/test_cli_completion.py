# SPDX-License-Identifier: Apache-2.0
"""Completion in a real bash and a real zsh, as `git-hmopt` and as `git hmopt`."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from git_hmopt.cli.completion import BEGIN, arguments, rewritten
from git_hmopt.cli.main import COMMANDS
from git_hmopt.config.settings import SECTIONS, keys
from tests.loop.project import Project
from tests.loop.recorded import run_names

SHARE = Path(__file__).parents[2] / "git_hmopt/share"
BASH = SHARE / "bash-completion/completions/git-hmopt"
ZSH = SHARE / "zsh/site-functions/_git-hmopt"
GIT_COMPLETION = Path("/usr/share/bash-completion/completions/git")

BASH_PROGRAM = shutil.which("bash") or "bash"

needs_git_completion = pytest.mark.skipif(not GIT_COMPLETION.exists(), reason="needs git's own bash completion")
needs_zsh = pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")


@pytest.mark.parametrize("path", [BASH, ZSH], ids=["bash", "zsh"])
def test_the_scripts_have_the_table_that_the_parsers_give(path: Path) -> None:
    text = path.read_text()
    assert text == rewritten(text), f"run: python -m git_hmopt.cli.completion git_hmopt/share/{path.relative_to(SHARE)}"


def test_a_script_without_a_place_for_the_table_is_refused() -> None:
    for text in ("complete -F x y\n", f"{BEGIN}x\n"):
        with pytest.raises(ValueError, match="no line '# -- "):
            rewritten(text)


# -- one bash, asked as readline asks --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What a completion offered, and what it said."""

    words: list[str]
    said: str


ASK = """
. "$SCRIPT"
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_git_hmopt
printf '%s\\n' "${COMPREPLY[@]}"
"""


def asked(
    project: Project, *words: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> Answer:
    """Return what bash offers for a line that readline parted into these words, the cursor at the last one's end."""
    program = f"COMP_WORDS=({shlex.join(words)})\n{ASK}"
    done = subprocess.run(
        [BASH_PROGRAM, "--norc", "-c", program], cwd=cwd or project.root, capture_output=True, text=True, timeout=60,
        env={**project.environment, "SCRIPT": str(BASH), **(environment or {})}, check=True,
    )  # fmt: skip
    return Answer([line for line in done.stdout.splitlines() if line], done.stderr)


RUNS = "<runs>"
WORKLOADS = ("scan", "scan-blocks")
TABLE: Mapping[str, tuple[str, ...]] = {
    # words as readline parts them, "|" between two that a blank does not part: what is offered
    "git-hmopt ": (*COMMANDS, "help"),
    "git-hmopt re": ("resume", "reattach", "report", "retract"),
    "git-hmopt -": ("-C", "-h", "--version"),
    "git-hmopt zz": (),
    "git-hmopt help do": ("doctor",),
    "git hmopt re": ("resume", "reattach", "report", "retract"),
    "git -C . hmopt re": ("resume", "reattach", "report", "retract"),
    "git -c a.b|=|c hmopt re": ("resume", "reattach", "report", "retract"),
    "git --no-pager faster re": ("resume", "reattach", "report", "retract"),
    "/opt/bin/git-hmopt re": ("resume", "reattach", "report", "retract"),
    "git-hmopt frobnicate ": (),
    "git-hmopt show ": (RUNS,),
    "git-hmopt show 2": (RUNS,),
    "git-hmopt show x": (),
    "git-hmopt show --json ": (RUNS,),
    "git-hmopt resume ": (RUNS,),
    "git-hmopt report -o x ": (RUNS,),
    "git-hmopt diff 2026 ": (RUNS,),
    "git-hmopt analyze -n ": (),
    "git-hmopt analyze --sta": ("--static",),
    "git-hmopt graph ": (),
    "git-hmopt graph do_": (),
    "git-hmopt graph --cal": ("--callers", "--callees"),
    "git-hmopt graph go --format ": ("text", "json", "dot", "svg", "graphml"),
    "git-hmopt graph go --relation call": ("call_static", "call_indirect"),
    "git-hmopt graph --touched ma": ("main",),
    "git-hmopt optimize --baseline ": (RUNS,),
    "git-hmopt optimize --baseline|=|2": (RUNS,),
    "git-hmopt optimize --workload ": WORKLOADS,
    "git-hmopt optimize --workload|=": WORKLOADS,
    "git-hmopt optimize --workload|=|scan-": ("scan-blocks",),
    "git-hmopt optimize --json --work": ("--workload",),
    "git-hmopt optimize --pro": ("--proposer",),
    "git-hmopt optimize --proposer ": ("playbook", "llm", "patches:"),
    "git-hmopt optimize --proposer patches|:": (),
    "git-hmopt optimize --seed ": (),
    "git-hmopt optimize --base ma": ("main",),
    "git-hmopt list --workload s": WORKLOADS,
    "git-hmopt check --workload scan --workload s": WORKLOADS,
    "git-hmopt check H": ("HEAD",),
    "git-hmopt check m": ("main",),
    "git-hmopt init --profile ": ("hm-verif-kernel", "linux", "make"),
    "git-hmopt demo --workload run": ("runqueue",),
    "git-hmopt config measure.l": ("measure.layouts",),
    "git-hmopt doctor ": ("upstream",),
    "git-hmopt cache ": ("rebuild", "path"),
    "git-hmopt ingest ": ("repo", "artifacts"),
    "git-hmopt ingest repo --allow": ("--allow-dirty",),
    "git-hmopt ingest artifacts --run ": (RUNS,),
    "git-hmopt hotspots ": (RUNS,),
    "git-hmopt hotspots ./": (),
    "git-hmopt hotspots --ranker ": ("self", "funcrank"),
    "git-hmopt hotspots --window ": (),
    "git-hmopt flamegraph 2": (RUNS,),
    "git-hmopt kpis --against ": (RUNS,),
    "git-hmopt compare x.svg ": (RUNS,),
    "git-hmopt compare --by ": ("samples", "duration", "work"),
    "git-hmopt run --config ": (),
}


@pytest.fixture(scope="module")
def place(with_run: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with one run, a remote, and refs that mean something to a shell."""
    copy = Project(tmp_path_factory.mktemp("completed") / "project", with_run.home)
    shutil.copytree(with_run.root, copy.root, symlinks=True)
    copy.git("remote", "add", "upstream", "../nowhere")
    for name in ("refs/hmopt/runs/$(touch${IFS}owned)/w", "refs/heads/`touch${IFS}owned`", "refs/heads/a;b"):
        copy.git("update-ref", name, "HEAD")
    return copy


@pytest.mark.parametrize("line", TABLE)
def test_what_bash_offers(place: Project, line: str) -> None:
    answer = asked(place, *line.replace("|", " ").split(" "))
    runs = [name for name in run_names(place) if "$" not in name]
    assert len(runs) == 1
    expected = [name for word in TABLE[line] for name in (runs if word == RUNS else [word])]
    assert sorted(answer.words) == sorted(expected)
    assert answer.said == ""
    assert not (place.root / "owned").exists()


def test_every_option_of_every_command_is_offered(place: Project) -> None:
    for command in COMMANDS:
        options = [name for argument in arguments(command) for name in argument.names]
        assert asked(place, "git-hmopt", command, "-").words == options
    assert {*asked(place, "git-hmopt", "config", "").words} == {*keys(), *filter(None, SECTIONS)}


def test_a_word_that_readline_does_not_part_keeps_its_option(place: Project) -> None:
    # COMP_WORDBREAKS without `=`, as some people set it.
    assert asked(place, "git-hmopt", "list", "--workload=scan-").words == ["--workload=scan-blocks"]


def test_the_file_that_is_named_has_the_workloads(place: Project, tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    file.write_text(
        "v: 1\nworkloads: # all\n    # one\n\n    'one': {run: x: y}\n    two.2:\n        run: x\nbuilds:\n  z: 1\n"
    )
    for option in (("--config", str(file)), ("--config", "=", str(file))):
        assert asked(place, "git-hmopt", "run", *option, "--workload", "").words == ["one", "two.2"]


def test_a_pipe_that_is_named_is_not_waited_for(place: Project, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    words = ("git-hmopt", "run", "--config", str(tmp_path / "pipe"), "--workload", "")
    assert asked(place, *words) == Answer([], "")


def test_another_directory_is_completed_from_where_it_is(place: Project, tmp_path: Path) -> None:
    for words in (("git-hmopt", "-C", str(place.root)), ("git", "-C", str(place.root), "hmopt")):
        assert asked(place, *words, "list", "--workload", "", cwd=tmp_path).words == list(WORKLOADS)


def test_an_uncommitted_configuration_is_read_from_the_working_tree(project: Project) -> None:
    project.git("rm", "-q", "--cached", ".hmopt.yaml")
    project.git("commit", "-q", "-m", "without")
    (project.root / "deep").mkdir()
    assert asked(project, "git-hmopt", "list", "--workload", "", cwd=project.root / "deep").words == list(WORKLOADS)


ANYTHING = [("show", ""), ("list", "--workload", ""), ("optimize", "--base", ""), ("doctor", ""),
            ("run", "--config", "gone", "--workload", ""), ("run", "--config", "", "--workload", "")]  # fmt: skip


@pytest.mark.parametrize("words", ANYTHING, ids=" ".join)
def test_nothing_is_said_where_nothing_can_be_had(project: Project, tmp_path: Path, words: tuple[str, ...]) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    ceiling = {"GIT_CEILING_DIRECTORIES": str(tmp_path)}
    assert asked(project, "git-hmopt", *words, cwd=plain, environment=ceiling).said == ""
    assert asked(project, "git-hmopt", "-C", "nowhere", *words).said == ""
    assert asked(project, "git-hmopt", *words, environment={"PATH": str(plain)}).said == ""
    (project.root / ".git/HEAD").write_text("broken\n")
    assert asked(project, "git-hmopt", *words) in (Answer([], ""), Answer(["HEAD"], ""))


def test_a_configuration_that_is_no_yaml_gives_no_names_and_no_word(project: Project) -> None:
    project.write(".hmopt.yaml", "workloads: [\n  a\x1b]0;b: 1\n  $(touch owned): 1\n  `x`: 2\n  fine: 3\n\x00\xff")
    project.commit("broken")
    assert asked(project, "git-hmopt", "list", "--workload", "") == Answer(["fine"], "")


# -- shells at a terminal --------------------------------------------------------------------------------------------


class Terminal:
    """An interactive shell at a terminal of its own."""

    def __init__(self, argv: list[str], cwd: Path, environment: Mapping[str, str]) -> None:
        self._leader, follower = pty.openpty()
        self._seen = ""
        self.said = ""
        """What was on the terminal while the last line was typed."""
        self._shell = subprocess.Popen(
            argv, cwd=cwd, stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
            env={**environment, "TERM": "dumb", "COLUMNS": "200"},
        )  # fmt: skip
        os.close(follower)
        self.expect(r"ready> ")

    def expect(self, pattern: str) -> re.Match[str]:
        """Return where the output since the last call matches."""
        deadline = time.monotonic() + 30
        while (found := re.search(pattern, self._seen)) is None:
            ready, _, _ = select.select([self._leader], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise AssertionError(f"no {pattern!r} in {self._seen!r}")
            self._seen += os.read(self._leader, 65536).decode(errors="replace")
        self._seen = self._seen[found.end() :]
        return found

    def line(self, typed: str) -> str:
        """Return the line that is there after these keys, without running it."""
        # Ctrl-A: the command becomes the argument of one that prints it.
        os.write(self._leader, f"{typed}\x01printf '<%s>\\n' '\x05'\n".encode())
        found = self.expect(r"\n<([^>]*)>\r?\n")
        self.said = found.string[: found.start()]
        self.expect(r"ready> ")
        return found[1]

    def close(self) -> None:
        """End the shell."""
        self._shell.kill()
        self._shell.wait()
        os.close(self._leader)


@pytest.fixture
def bash(place: Project, tmp_path: Path) -> Iterator[Callable[[str], Terminal]]:
    """Return what starts an interactive bash in the project that has read these lines."""
    shells: list[Terminal] = []

    def started(lines: str) -> Terminal:
        (tmp_path / "rc").write_text(f"PS1='ready> '\n{lines}\n")
        argv = [BASH_PROGRAM, "--noprofile", "--rcfile", str(tmp_path / "rc"), "-i"]
        shells.append(Terminal(argv, place.root, place.environment))
        return shells[-1]

    yield started
    for shell in shells:
        shell.close()


def lines_and_ends(place: Project) -> Mapping[str, str]:
    """Return what is typed, Tab and all, after the program's name, and what the line becomes."""
    (run,) = (name for name in run_names(place) if "$" not in name)
    (place.root / "series").mkdir(exist_ok=True)
    return {
        "opti\t": "optimize ",
        "optimize --worklo\tscan-\t": "optimize --workload scan-blocks ",
        "optimize --workload=scan-\t": "optimize --workload=scan-blocks ",
        "optimize --proposer pa\tser\t": "optimize --proposer patches:series/",
        "show 2\t": f"show {run} ",
        "run --config .hmo\t": "run --config .hmopt.yaml ",
        "ingest repo --path ser\t": "ingest repo --path series/",
        "analyze -n se\t": "analyze -n se",
    }


def test_git_hmopt_by_itself_in_bash(place: Project, bash: Callable[[str], Terminal]) -> None:
    shell = bash(f". {shlex.quote(str(BASH))}")
    for typed, line in lines_and_ends(place).items():
        assert shell.line(f"git-hmopt {typed}") == f"git-hmopt {line}"


@needs_git_completion
def test_hmopt_as_a_command_of_git_in_bash(place: Project, bash: Callable[[str], Terminal]) -> None:
    shell = bash(f". {GIT_COMPLETION}\n. {shlex.quote(str(BASH))}")
    for typed, line in lines_and_ends(place).items():
        assert shell.line(f"git hmopt {typed}") == f"git hmopt {line}"
    assert shell.line("git hmop\topti\t") == "git hmopt optimize "
    assert shell.line("git checkout mai\t") == "git checkout main "


@needs_git_completion
def test_bash_completion_finds_the_script_by_the_name_of_the_command(
    place: Project, bash: Callable[[str], Terminal], tmp_path: Path
) -> None:
    loader = Path("/usr/share/bash-completion/bash_completion")
    if not loader.exists():
        pytest.skip("needs bash-completion")
    shell = bash(f"XDG_DATA_DIRS={shlex.quote(str(SHARE))}:/usr/share\n. {loader}")
    assert shell.line("git hmopt opti\t") == "git hmopt optimize "
    assert shell.line("git-hmopt show --j\t") == "git-hmopt show --json "


@needs_zsh
def test_zsh(place: Project, tmp_path: Path) -> None:
    (tmp_path / ".zshrc").write_text(
        f"PROMPT='ready> '\nfpath=({shlex.quote(str(ZSH.parent))} $fpath)\n"
        f"autoload -Uz compinit && compinit -u -d {shlex.quote(str(tmp_path / 'dump'))}\n"
        "unsetopt auto_remove_slash beep prompt_cr prompt_sp zle_bracketed_paste; bindkey -e\n"
    )
    shell = Terminal(["zsh", "-d", "-i"], place.root, {**place.environment, "ZDOTDIR": str(tmp_path)})
    # zsh's way to complete an option that takes a value.
    ends = {**lines_and_ends(place), "optimize --worklo\tscan-\t": "optimize --workload=scan-blocks"}
    try:
        for name in ("git-hmopt", "git hmopt"):
            for typed, line in ends.items():
                # zsh takes the blank away again when the next key leaves the word.
                assert shell.line(f"{name} {typed}").rstrip() == f"{name} {line}".rstrip()
        for typed in ("-C nowhere show 2\t", "run --config nowhere --workload s\t", "frobnicate x\t"):
            assert shell.line(f"git-hmopt {typed}") == f"git-hmopt {typed[:-1]}"
            assert not re.search(r"fatal|[Nn]o such|not found|error", shell.said), shell.said
    finally:
        shell.close()
