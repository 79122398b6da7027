# SPDX-License-Identifier: Apache-2.0
"""post-checkout and post-merge: the graph is ready for the next question, and nobody waited for it."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from git_hmopt.errors import TimeLimitError
from git_hmopt.store.repository import Repository
from hmopt_hooks.refresh import LARGEST_LOG, refresh
from tests.hooks.site import RUN, Site

EXACT = "exact: compile_commands.json"


@pytest.fixture
def hooked(site: Site) -> Site:
    """Return the site with a build, a graph of it and the hooks; branch `topic` has another function."""
    root = site.project.root
    site.change("int start(void)\n{\n\treturn 1;\n}\n")
    site.project.git("checkout", "-q", "-b", "topic")
    site.change("int second(void)\n{\n\treturn 2;\n}\n\nint start(void)\n{\n\treturn second();\n}\n")
    site.project.git("checkout", "-q", "main")
    database = [{"directory": str(root), "file": "lib.c", "arguments": ["cc", "-c", "lib.c"]}]
    (root / "compile_commands.json").write_text(json.dumps(database))
    (root / ".git/info/exclude").write_text("compile_commands.json\n")
    assert site.project.hmopt("graph", "start").returncode in (0, 1)
    assert site.run("git", "hmopt", "hooks", "install", "post-checkout", "post-merge").returncode == 0
    return site


def log(site: Site) -> str:
    """Return the log of the background."""
    path = site.project.root / ".git/hmopt/hooks.log"
    return path.read_text() if path.exists() else ""


def told(site: Site, text: str, *, seconds: float = 90) -> str:
    """Wait until the log says something, and return it."""
    deadline = time.monotonic() + seconds
    while text not in log(site):
        assert time.monotonic() < deadline, log(site)
        time.sleep(0.1)
    return log(site)


def knows(site: Site, symbol: str) -> bool:
    """Say whether the graph as it stands has a function, with nothing left to parse."""
    done = site.project.hmopt("graph", symbol, "--provisional")
    return done.returncode in (0, 1) and "exact: " in done.stdout


def test_a_branch_is_parsed_in_the_background(hooked: Site) -> None:
    began = time.monotonic()
    done = hooked.run("git", "checkout", "-q", "topic")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "units parsed" not in log(hooked), "it was waited for"
    assert time.monotonic() - began < 5
    told(hooked, "compile_commands.json: 1 units parsed, 0 known already")
    assert knows(hooked, "second")


def test_a_merge_too(hooked: Site) -> None:
    assert hooked.run("git", "merge", "-q", "topic").returncode == 0
    told(hooked, "1 units parsed")
    assert knows(hooked, "second")


def test_a_file_only_when_asked(hooked: Site) -> None:
    assert hooked.run("git", "checkout", "-q", "topic", "--", "lib.c").returncode == 0
    time.sleep(1)
    assert log(hooked) == ""
    hooked.project.git("config", "hmopt.hooks.graph", "always")
    assert hooked.run("git", "checkout", "-q", "topic", "--", "lib.c").returncode == 0
    told(hooked, "1 units parsed")


def test_who_comes_while_another_parses_leaves_its_wish(hooked: Site) -> None:
    place = hooked.project.root / ".git/hmopt/structure"
    with (place / "refresh.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert hooked.run("git", "checkout", "-q", "topic").returncode == 0
        told(hooked, "another process is at it")
        assert len(list(place.glob("refresh-*.wanted"))) == 1
    # Who holds the lock looks for wishes when it gives it back; so does the next one.
    refresh(Repository.open(hooked.project.root))
    assert list(place.glob("refresh-*.wanted")) == []
    assert knows(hooked, "second")


def test_twenty_checkouts_in_a_row_end_with_the_last_ones_graph(hooked: Site) -> None:
    for number in range(21):
        assert hooked.run("git", "checkout", "-q", "main" if number % 2 else "topic").returncode == 0
    place = hooked.project.root / ".git/hmopt/structure"
    deadline = time.monotonic() + 120
    while list(place.glob("refresh-*.wanted")) or not knows(hooked, "second"):
        assert time.monotonic() < deadline, log(hooked)
        time.sleep(0.5)
    assert "Traceback" not in log(hooked)


def test_nothing_is_parsed_while_a_run_measures(hooked: Site) -> None:
    with (hooked.project.root / ".git/hmopt/trees.lock").open("w") as lock:
        lock.write(f"run {RUN} (pid 1)\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert hooked.run("git", "checkout", "-q", "topic").returncode == 0
        told(hooked, f"not now: run {RUN} is measuring")
    assert not knows(hooked, "second")


def test_a_linked_worktree_is_parsed_for_itself(hooked: Site, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    assert hooked.run("git", "worktree", "add", "-q", str(linked), "topic").returncode == 0
    # Of no build: what the main tree's graph says is left alone.
    told(hooked, "no build was found")
    assert hooked.run("git", "checkout", "-q", "--detach", "main", cwd=linked).returncode == 0


def test_a_repository_that_git_was_told_of_is_not_mixed_up_with_the_one_around(hooked: Site, tmp_path: Path) -> None:
    """As with a home directory under version control whose .git is elsewhere."""
    other = tmp_path / "inner"
    place = {"GIT_DIR": str(hooked.project.root / ".git"), "GIT_WORK_TREE": str(other)}
    other.mkdir()
    assert hooked.run("git", "init", "-q", cwd=other).returncode == 0
    assert hooked.run("git", "checkout", "-q", "-f", "topic", cwd=other, environment=place).returncode == 0
    time.sleep(2)
    assert "parsed" not in log(hooked) and not (other / ".git/hmopt").exists()


def test_the_log_does_not_grow_on(hooked: Site) -> None:
    path = hooked.project.root / ".git/hmopt/hooks.log"
    path.write_text("x" * (LARGEST_LOG + 1))
    assert hooked.run("git", "checkout", "-q", "topic").returncode == 0
    told(hooked, "1 units parsed")
    assert path.stat().st_size < 10_000


def test_it_ends_at_its_limit(hooked: Site) -> None:
    """A header that nobody ever writes to holds the parser."""
    os.mkfifo(hooked.project.root / "pipe.h")
    hooked.project.write("lib.c", '#include "pipe.h"\nint start(void);\n')
    began = time.monotonic()
    with pytest.raises(TimeLimitError, match="not ready after 2 s"):
        refresh(Repository.open(hooked.project.root), longest_s=2)
    assert time.monotonic() - began < 30
    assert not multiprocessing.active_children()


def test_a_build_that_is_wrong_is_a_line_of_the_log(hooked: Site) -> None:
    (hooked.project.root / "compile_commands.json").write_text("no JSON")
    assert hooked.run("git", "checkout", "-q", "topic").returncode == 0
    assert "Traceback" not in told(hooked, "git hmopt: ")


def test_a_bare_repository_has_nothing_to_parse(site: Site) -> None:
    done = site.run("git", "hmopt", "hooks", "run", "post-merge", "0", cwd=site.server)
    assert (done.returncode, len(done.stderr.splitlines())) == (128, 1)
    assert "is a bare repository" in done.stderr
