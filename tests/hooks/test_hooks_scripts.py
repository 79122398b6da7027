# SPDX-License-Identifier: Apache-2.0
"""The scripts themselves: whatever becomes of the tool git is answered, and what was there before has its say."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from hmopt_hooks.scripts import WORKING, Hook, Origin, origin, script
from tests.hooks.site import Site, hook_calling, written

OID = "1" * 40
INPUT = {
    Hook.PRE_PUSH: f"refs/heads/main {OID} refs/heads/main {'0' * 40}\n".encode(),
    Hook.POST_REWRITE: f"{OID} {'2' * 40}\n".encode(),
    Hook.PRE_RECEIVE: f"{'0' * 40} {OID} refs/heads/main\n".encode(),
}
ARGUMENTS = {
    Hook.PRE_PUSH: ("origin", "file:///no where"),
    Hook.POST_REWRITE: ("amend",),
    Hook.POST_MERGE: ("0",),
    Hook.POST_CHECKOUT: ("0" * 40, OID, "1"),
    Hook.UPDATE: ("refs/heads/main", "0" * 40, OID),
}
BROKEN = {
    "missing": None,
    "crashes": "#!/bin/sh\necho Traceback >&2\nexit 1\n",
    "is killed": "#!/bin/sh\nkill -9 $$\n",
    "succeeds and does nothing": "#!/bin/sh\nexit 0\n",
    "says something else": "#!/bin/sh\necho allow it\n",
    "is no program": "\x7fELF",
    "wants another python": "#!/nowhere/python\nprint()\n",
    "hangs": "#!/bin/sh\nexec sleep 60\n",
}
SHELLS = ("dash", "bash")


def prepared(site: Site) -> Path:
    """Give the clone what makes each script call the tool: notes, a graph, a short limit; return its hooks' place."""
    site.project.git("notes", "--ref=hmopt/verdicts", "add", "-m", "x", site.base)
    site.project.git("config", "hmopt.hooks.seconds", "1")
    site.project.git("config", "hmopt.rule.speed.branch", "main")
    written(site.project.root / ".git/hmopt/structure/x.sqlite", "", mode=0o644)
    return site.project.root / ".git/hooks"


def called(site: Site, shell: str, hook: Path, kind: Hook) -> subprocess.CompletedProcess[str]:
    """Run a script as git does, by a shell of choice; nothing else called git-hmopt is on the search path."""
    path = "/usr/bin:/bin"
    data = INPUT.get(kind, b"").replace(OID.encode(), site.base.encode())
    return site.run(shell, str(hook), *ARGUMENTS.get(kind, ()), environment={"PATH": path}, stdin=data)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("hook", WORKING)
def test_a_broken_tool_stops_nobody(site: Site, hook: Hook, how: str, shell: str) -> None:
    folder, program = prepared(site), BROKEN[how]
    tool = site.server.parent / "tool"
    if program is not None:
        written(tool, program)
    began = time.monotonic()
    done = called(site, shell, hook_calling(folder, hook, tool), hook)
    assert (done.returncode, done.stdout) == (0, "")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("hook", [Hook.PRE_RECEIVE, Hook.UPDATE])
def test_a_rule_that_cannot_be_checked_refuses_unless_told_otherwise(
    site: Site, hook: Hook, how: str, shell: str
) -> None:
    folder, program = prepared(site), BROKEN[how]
    tool = site.server.parent / "tool"
    if program is not None:
        written(tool, program)
    place = hook_calling(folder, hook, tool)
    done = called(site, shell, place, hook)
    assert done.returncode == 1
    assert "git hmopt: refused: the rule of a protected branch could not be checked" in done.stderr
    site.project.git("config", "hmopt.hooks.broken", "allow")
    done = called(site, shell, place, hook)
    assert done.returncode == 0
    assert "git hmopt: warning: the rule of a protected branch could not be checked" in done.stderr


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("pattern", ["other", "mai", "main?", "refs/tags/*", "", "*.c", "README*"])
def test_a_broken_tool_says_nothing_about_branches_that_no_rule_names(site: Site, pattern: str, shell: str) -> None:
    folder = prepared(site)
    site.project.git("config", "hmopt.rule.speed.branch", pattern)
    done = called(site, shell, hook_calling(folder, Hook.PRE_RECEIVE, "/nowhere"), Hook.PRE_RECEIVE)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("pattern", ["main", "ma*", "m?in", "refs/heads/main", "*", "x,main", "x main", "[l-n]ain"])
def test_patterns_are_a_shells(site: Site, pattern: str, shell: str) -> None:
    folder = prepared(site)
    site.project.git("config", "hmopt.rule.speed.branch", pattern)
    done = called(site, shell, hook_calling(folder, Hook.PRE_RECEIVE, "/nowhere"), Hook.PRE_RECEIVE)
    assert done.returncode == 1


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("code", [0, 1, 7])
@pytest.mark.parametrize("hook", Hook)
def test_what_was_there_before_runs_first_and_its_answer_counts(
    site: Site, hook: Hook, code: int, shell: str, tmp_path: Path
) -> None:
    folder = prepared(site)
    seen = tmp_path / "seen"
    site.project.git("config", "--unset", "hmopt.rule.speed.branch")
    tool = written(site.server.parent / "tool", f"#!/bin/sh\necho tool >> {seen}\n")
    place = hook_calling(folder, hook, tool)
    written(folder / f"{hook}.hmopt-kept", f'#!/bin/sh\nprintf "%s|" "$@" >> {seen}\ncat >> {seen}\nexit {code}\n')
    done = called(site, shell, place, hook)
    assert done.returncode == code
    data = INPUT.get(hook, b"").decode().replace(OID, site.base)
    first = "".join(f"{word}|" for word in ARGUMENTS.get(hook, ())) or "|"
    assert seen.read_text().startswith(first + data)
    stops = hook in (Hook.PRE_PUSH, Hook.PRE_RECEIVE, Hook.UPDATE) and code
    if hook in (Hook.PRE_PUSH, Hook.POST_REWRITE):
        assert seen.read_text().endswith("tool\n") is not bool(stops)


@pytest.mark.parametrize("hook", WORKING)
def test_what_was_there_and_git_passed_over_stays_passed_over(site: Site, hook: Hook) -> None:
    folder = prepared(site)
    written(folder / f"{hook}.hmopt-kept", "#!/bin/sh\nexit 9\n", mode=0o644)
    assert called(site, "dash", hook_calling(folder, hook, "/nowhere"), hook).returncode == 0
    (folder / f"{hook}.hmopt-kept").unlink()
    (folder / f"{hook}.hmopt-kept").mkdir()
    assert called(site, "dash", hook_calling(folder, hook, "/nowhere"), hook).returncode == 0


def test_the_tool_is_not_started_where_nothing_is_to_be_done(site: Site, tmp_path: Path) -> None:
    folder, seen = prepared(site), tmp_path / "seen"
    tool = written(site.server.parent / "tool", f'#!/bin/sh\necho "$3" >> {seen}\n')
    places = {hook: hook_calling(folder, hook, tool) for hook in WORKING}

    def started(hook: Hook, *arguments: str, stdin: bytes = b"", **environment: str) -> bool:
        assert site.run(str(places[hook]), *arguments, environment=environment, stdin=stdin).returncode == 0
        # The background process is not waited for.
        deadline = time.monotonic() + 0.4
        while not seen.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        found = seen.exists()
        seen.unlink(missing_ok=True)
        for place in (site.project.root / ".git/hmopt/structure").glob("starting-*"):
            place.rmdir()
        return found

    new, old = site.base, "0" * 40
    line = f"refs/heads/main {new} refs/heads/main {old}\n".encode()
    assert started(Hook.PRE_PUSH, "origin", "url", stdin=line)
    assert not started(Hook.PRE_PUSH, "origin", "url", stdin=line, HMOPT_PUSHING="1")
    assert not started(Hook.PRE_PUSH, "origin", "url", stdin=line, HMOPT_HOOKS_PRE_PUSH="off")
    assert not started(Hook.PRE_PUSH, "origin", "url")
    assert started(Hook.POST_REWRITE, "amend", stdin=f"{new} {'2' * 40}\n".encode())
    assert not started(Hook.POST_REWRITE, "amend", stdin=f"{'2' * 40} {new}\n".encode())
    assert not started(Hook.POST_REWRITE, "amend", stdin=f"{new} {old}\n".encode(), HMOPT_HOOKS_POST_REWRITE="off")
    assert started(Hook.POST_CHECKOUT, old, new, "1")
    assert not started(Hook.POST_CHECKOUT, new, new, "1")
    assert not started(Hook.POST_CHECKOUT, new, new, "0")
    assert started(Hook.POST_CHECKOUT, new, new, "0", HMOPT_HOOKS_GRAPH="always")
    assert started(Hook.POST_MERGE, "0")
    assert not started(Hook.POST_MERGE, "0", HMOPT_HOOKS_GRAPH="off")
    (site.project.root / ".git/hmopt/structure/x.sqlite").unlink()
    assert not started(Hook.POST_MERGE, "0")
    site.project.git("update-ref", "-d", "refs/notes/hmopt/verdicts")
    assert not started(Hook.PRE_PUSH, "origin", "url", stdin=line)


def test_many_checkouts_start_one_process_until_it_has_begun(site: Site, tmp_path: Path) -> None:
    folder, seen = prepared(site), tmp_path / "seen"
    tool = written(site.server.parent / "tool", f'#!/bin/sh\necho "$3" >> {seen}\n')
    place = hook_calling(folder, Hook.POST_CHECKOUT, tool)

    def ten() -> int:
        for _ in range(10):
            assert site.run(str(place), "0" * 40, site.base, "1").returncode == 0
        time.sleep(0.5)
        return len(seen.read_text().splitlines())

    assert ten() == 1
    (starting,) = (site.project.root / ".git/hmopt/structure").glob("starting-*")
    # It never began: after a minute nobody waits for it.
    os.utime(starting, (time.time() - 200, time.time() - 200))
    assert ten() == 2
    starting.rmdir()
    assert ten() == 3


@pytest.mark.parametrize("hook", Hook)
@pytest.mark.parametrize("tool", ["/usr/bin/git-hmopt", "/a b/'c\n\"$(touch x)\\", "/\udcff/x"])
def test_whose_a_script_is_is_told_by_its_bytes(hook: Hook, tool: str) -> None:
    ours = script(hook, tool)
    assert origin(ours, hook, tool) is Origin.OURS
    assert origin(ours, hook, "/elsewhere/git-hmopt") is Origin.OLD
    assert origin(ours + b"\n", hook, tool) is Origin.EDITED
    assert origin(ours.replace(b"exit", b"exec", 1), hook, tool) is Origin.EDITED
    other = Hook.UPDATE if hook is Hook.PRE_RECEIVE else Hook.PRE_RECEIVE
    assert origin(ours, other, tool) is Origin.FOREIGN
    for data in (b"", b"#!/bin/sh\n", b"\x7fELF\x00", b"#!/bin/sh\n# git-hmopt\n" + ours):
        assert origin(data, hook, tool) is Origin.FOREIGN
    for shell in SHELLS:
        assert subprocess.run([shell, "-n"], input=ours, check=False).returncode == 0
