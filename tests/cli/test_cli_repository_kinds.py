# SPDX-License-Identifier: Apache-2.0
"""Every kind of repository against every command: it works, or refuses in one line that says why and what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from git_hmopt.store.repository import Repository
from tests.store.recorded_clone import Clone
from tests.store.repositories import RUN, Shell, make_repository
from tests.store.servers import bare

NOBODY = 65534
# Root may write where nobody may; without these rights it is somebody with files that cannot be written.
WITHOUT_ROOTS_RIGHTS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
NO_TREE = "is a bare repository; run it in a working tree (git worktree add)"
NOT_OURS = "it belongs to another user; if you trust it, run: git config --global --add safe.directory"
READING = {
    "list": ["list"],
    "stats": ["stats"],
    "show": ["show", RUN],
    "report": ["report", RUN],
    "diff": ["diff", RUN, RUN],
    "export": ["export", RUN],
}
WRITING = {
    "cache rebuild": ["cache", "rebuild"],
    "retract": ["retract", RUN, "--reason", "an overheated machine"],
    "fetch": ["fetch", "origin"],
    "push": ["push", "origin", "--what", "all"],
    "sync": ["sync", "origin"],
    "ingest": ["ingest", "repo"],
    "ingest artifacts": ["ingest", "artifacts", "--run", RUN, "../stacks.folded"],
}
HOOKS = {"hooks status": ["hooks", "status"], "hooks install": ["hooks", "install"]}
IN_A_TREE = {
    "init": ["init", "--profile", "make"],
    "trust": ["trust"],
    "optimize": ["optimize", "--workload", "main"],
    "check": ["check"],
    "graph": ["graph", "line_1", "--build", "../compile_commands.json"],
    "graph --touched": ["graph", "--touched", "HEAD.."],
}
# A file can be looked at anywhere, also where there is no repository of ours.
OF_FILES = {
    "hotspots": ["hotspots", "../stacks.folded"],
    "flamegraph": ["flamegraph", "../stacks.folded"],
    "compare": ["compare", "../stacks.folded", "../stacks.folded"],
}
OF_A_REPOSITORY = {**READING, **WRITING, **HOOKS, **IN_A_TREE}
COMMANDS = {**OF_A_REPOSITORY, **OF_FILES}
# What a command says where it does not work; a command that is not named works.
# What init wrote is trusted, and wants to be filled in.
UNFILLED = "this slot is not filled in"
REFUSALS: dict[str, dict[str, str]] = {
    "plain": {"optimize": UNFILLED, "check": UNFILLED},
    "bare": dict.fromkeys(IN_A_TREE, NO_TREE),
    "linked worktree": {"optimize": UNFILLED, "check": UNFILLED},
    "submodule": {"optimize": UNFILLED, "check": UNFILLED},
    "shallow": {"optimize": UNFILLED, "check": "run: git fetch --unshallow"},
    "partial clone": {"optimize": UNFILLED, "check": UNFILLED},
    "sha256": {"optimize": UNFILLED, "check": UNFILLED},
    "alternates": {"optimize": UNFILLED, "check": UNFILLED},
    "of another user": dict.fromkeys(OF_A_REPOSITORY, NOT_OURS),
    "read-only": {
        "cache rebuild": "writable", "retract": "permission", "fetch": "writable", "push": "writable",
        "sync": "writable", "ingest": "", "ingest artifacts": "", "init": "permission", "trust": "",
        "optimize": "", "check": "", "graph": "cannot be written", "hooks install": "make its directory writable",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where somebody stands, and with what rights."""

    cwd: Path
    home: Path
    prefix: tuple[str, ...] = ()

    def hmopt(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a command, without root's right to write everywhere where that is the point."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            [*self.prefix, "git-hmopt", *argv], cwd=self.cwd, capture_output=True, text=True, check=False,
            env={"PATH": path, "HOME": str(self.home), "GIT_CONFIG_NOSYSTEM": "1"},
        )  # fmt: skip


@pytest.fixture(scope="module")
def ground() -> Iterator[Path]:
    """Return a directory that every user may enter, with a home and a forge that has one run."""
    place = Path(tempfile.mkdtemp(prefix="hmopt-kinds-"))
    place.chmod(0o755)
    home = place / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        "[user]\n\tname = Test\n\temail = test@example.org\n[init]\n\tdefaultBranch = main\n"
        "[protocol \"file\"]\n\tallow = always\n"
    )  # fmt: skip
    before = {name: os.environ.get(name) for name in ("HOME", "GIT_CONFIG_NOSYSTEM")}
    os.environ |= {"HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1"}
    for kind in ("sha1", "sha256"):
        source = make_repository(place / f"{kind}.source", f"--object-format={kind}")
        forge = bare(place / f"{kind}.git", None, "uploadpack.allowFilter=true", object_format=kind)
        source.git("remote", "add", "origin", str(forge.cwd))
        source.git("push", "-q", "origin", "main")
        clone = Clone(source)
        clone.record(iterations=2)
        clone.push_all()
    yield place
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    subprocess.run(["chmod", "-R", "u+w", place], check=True)
    shutil.rmtree(place)


def made(kind: str, ground: Path, place: Path) -> Place:
    """Make a repository of a kind, with the run in it."""
    forge = ground / ("sha256.git" if kind == "sha256" else "sha1.git")
    options = {
        "bare": ["--bare"], "shallow": ["--depth=1"], "partial clone": ["--filter=blob:none"],
        "alternates": ["--shared"],
    }.get(kind, [])  # fmt: skip
    shell = Shell(place)
    shell.git("clone", "-q", *options, str(forge) if kind == "alternates" else f"file://{forge}", "there")
    cwd = place / "there"
    if kind == "linked worktree":
        Shell(cwd).git("worktree", "add", "-q", "--detach", str(place / "linked"))
        cwd = place / "linked"
    elif kind == "submodule":
        outer = make_repository(place / "outer")
        outer.git("submodule", "add", "-q", f"file://{forge}", "inner")
        cwd = place / "outer/inner"
    Clone(Shell(cwd)).fetch()
    built = [{"directory": str(cwd), "file": "lib/sort.c", "arguments": ["gcc", "-c", "lib/sort.c"]}]
    (cwd.parent / "compile_commands.json").write_text(json.dumps(built))
    (cwd.parent / "stacks.folded").write_text("main;line_1 3\nmain 1\n")
    if kind == "of another user":
        for path in (cwd, *cwd.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    if kind == "read-only":
        subprocess.run(["chmod", "-R", "a-w", cwd], check=True)
    return Place(cwd, ground / "home", WITHOUT_ROOTS_RIGHTS if kind == "read-only" else ())


@pytest.fixture(scope="module", params=REFUSALS)
def kind(request: pytest.FixtureRequest, ground: Path) -> tuple[str, Place]:
    """Return a kind and a repository of it."""
    if request.param in ("of another user", "read-only") and os.geteuid() != 0:
        pytest.skip("needs root, to give files away and to do without its rights")
    place = ground / str(request.param).replace(" ", "-")
    place.mkdir()
    return request.param, made(request.param, ground, place)


@pytest.mark.parametrize("command", COMMANDS)
def test_it_works_or_says_why_in_one_line(kind: tuple[str, Place], command: str) -> None:
    name, place = kind
    done = place.hmopt(*COMMANDS[command])
    said = done.stderr.strip()
    expected = REFUSALS[name].get(command)
    if expected is None:
        assert done.returncode in (0, 1), (done.returncode, said)
        assert "Traceback" not in said
        if command in READING:
            assert (RUN if command != "stats" else "1 run: ") in done.stdout or command == "export"
        return
    assert done.returncode in (125, 128, 129), (done.returncode, done.stdout, said)
    assert len(said.splitlines()) == 1, said
    assert said.startswith("git hmopt: ") and ("; " in said or "git hmopt doctor" in said), said
    assert expected.lower() in said.lower()


def test_it_is_of_the_kind_it_is_called(kind: tuple[str, Place]) -> None:
    name, place = kind
    if name == "of another user":
        assert place.cwd.stat().st_uid == NOBODY
        return
    opened = Repository.open(place.cwd)
    assert opened.is_bare is (name == "bare")
    assert opened.is_shallow is (name == "shallow")
    assert opened.is_partial is (name == "partial clone")
    assert opened.object_format == ("sha256" if name == "sha256" else "sha1")
    assert (opened.git_dir != opened.common_dir) is (name == "linked worktree")
    assert (".git/modules/inner" in str(opened.git_dir)) is (name == "submodule")
    assert (opened.common_dir / "objects/info/alternates").is_file() is (name == "alternates")
    assert (opened.common_dir.stat().st_mode & 0o222 == 0) is (name == "read-only")
