# SPDX-License-Identifier: Apache-2.0
"""pre-push: it is said, asked or done that evidence goes along; never twice, never in a dry run, never in the way."""

from __future__ import annotations

import os
import pty
import select
import time

import pytest

from git_hmopt.records.words import NOTES_METRICS, NOTES_VERDICTS
from hmopt_hooks.pre_push import is_dry_run
from tests.hooks.site import EVIDENCE, OTHER_RUN, RUN, Site, source, written

TOLD = f"git hmopt: there is evidence for what is pushed (run {RUN}): 1 journal and 2 note refs to send"
SAID = f"{TOLD}; send it with: git hmopt push origin"


@pytest.fixture
def hooked(site: Site) -> Site:
    """Return the site with the hook, and a commit that has evidence."""
    assert site.run("git", "hmopt", "hooks", "install", "pre-push").returncode == 0
    site.judged(site.change())
    return site


def mode(site: Site, text: str) -> None:
    """Set how the hook behaves."""
    site.project.git("config", "hmopt.hooks.prePush", text)


def evidence_there(site: Site) -> list[str]:
    """Return the refs of ours that the server has."""
    return site.at_server("for-each-ref", "--format=%(refname)", "refs/notes", "refs/hmopt").splitlines()


def test_what_could_go_along_is_said(hooked: Site) -> None:
    done = hooked.push("main")
    assert (done.returncode, done.stderr.splitlines()[0]) == (0, SAID)
    assert done.stdout == "" and evidence_there(hooked) == []


def test_nothing_is_said_where_there_is_nothing(site: Site, hooked: Site) -> None:
    assert hooked.project.hmopt("push", "origin").returncode == 0
    assert "git hmopt" not in hooked.push("main").stderr
    hooked.change("read me\n", path="README")
    assert "git hmopt" not in hooked.push("main").stderr
    assert "git hmopt" not in hooked.push(":refs/heads/topic").stderr


def test_nothing_is_said_of_commits_that_have_none(hooked: Site) -> None:
    hooked.project.git("checkout", "-q", "-b", "topic", hooked.base)
    hooked.change("read me\n", path="README")
    assert "git hmopt" not in hooked.push("topic").stderr


def test_what_the_push_itself_sends_is_not_offered(hooked: Site) -> None:
    assert "git hmopt" not in hooked.push("main", *EVIDENCE).stderr


def test_a_branch_of_a_run_is_offered_with_its_run(hooked: Site) -> None:
    """Its tip has no note of its own."""
    hooked.project.git("branch", f"hmopt/{OTHER_RUN}/best", hooked.base)
    hooked.recorder(OTHER_RUN)
    assert f", {OTHER_RUN}): 2 journals" in hooked.push(f"hmopt/{OTHER_RUN}/best").stderr


def test_push_sends_it_first(hooked: Site) -> None:
    """So a server whose rule asks for it finds it."""
    mode(hooked, "push")
    hooked.ruled()
    done = hooked.push("main")
    assert done.returncode == 0, done.stderr
    assert f"{TOLD} to origin first" in done.stderr and "git hmopt: sent 3 refs to origin" in done.stderr
    assert evidence_there(hooked)[1:] == [NOTES_METRICS, NOTES_VERDICTS]
    assert len(evidence_there(hooked)) == 3


def test_only_the_runs_of_what_is_pushed_are_sent(hooked: Site) -> None:
    mode(hooked, "push")
    hooked.project.git("checkout", "-q", "-b", "topic", hooked.base)
    hooked.recorder(OTHER_RUN).judged(1, hooked.change(source(last="fast")), hooked.base, ("90", "100"))
    assert hooked.push("main").returncode == 0
    assert [RUN in ref for ref in evidence_there(hooked) if "/runs/" in ref] == [True]


@pytest.mark.parametrize("option", ["--dry-run", "--dry", "-n", "-fn"])
def test_a_dry_run_sends_nothing(hooked: Site, option: str) -> None:
    mode(hooked, "push")
    done = hooked.push(option, "main")
    assert done.returncode == 0 and SAID in done.stderr
    hooked.project.git("config", "alias.try", f"push {option}")
    assert SAID in hooked.run("git", "try", "origin", "main").stderr
    assert evidence_there(hooked) == []


def test_who_asked_for_the_push_must_be_known() -> None:
    assert is_dry_run(None) and is_dry_run("") and is_dry_run("x") and is_dry_run("0") and is_dry_run("999999999")
    assert is_dry_run(str(os.getpid())), "this is no git push"


def test_git_hmopt_push_does_not_offer_what_it_sends(hooked: Site) -> None:
    mode(hooked, "push")
    seen = hooked.server.parent / "seen"
    place = hooked.project.root / ".git/hooks/pre-push.hmopt-kept"
    written(place, '#!/bin/sh\necho once >> "${0%/*}/../../../seen"\n')
    done = hooked.project.hmopt("push", "origin")
    assert (done.returncode, done.stderr) == (0, "")
    # What was there before is heard of it all the same.
    assert seen.read_text() == "once\n"


@pytest.mark.parametrize("text", ["off", "say", "ask", "push", "banana", ""])
def test_no_mode_stops_a_push(hooked: Site, text: str) -> None:
    mode(hooked, text)
    done = hooked.push("main")
    assert done.returncode == 0
    assert ("git hmopt" in done.stderr) is (text != "off")


def test_a_server_that_takes_no_evidence_is_told_and_the_push_goes_on(hooked: Site) -> None:
    mode(hooked, "push")
    written(hooked.server / "hooks/update", "#!/bin/sh\ncase $1 in refs/heads/main) ;; *) echo no >&2; exit 1;; esac\n")
    done = hooked.push("main")
    assert done.returncode == 0
    assert "git hmopt: evidence was not sent: 'origin' refuses" in done.stderr
    assert hooked.at_server("rev-parse", "main") == hooked.project.git("rev-parse", "main")


def test_a_remote_by_its_path(hooked: Site) -> None:
    done = hooked.push("main", remote="../server of main.git")
    assert done.returncode == 0
    assert "send it with: git hmopt push '../server of main.git'" in done.stderr
    assert "git hmopt" not in hooked.push("main:topic", remote=".").stderr


def test_a_repository_that_git_was_told_of(hooked: Site) -> None:
    place = {"GIT_DIR": str(hooked.project.root / ".git"), "GIT_WORK_TREE": str(hooked.project.root)}
    done = hooked.run("git", "push", "origin", "main", cwd=hooked.server.parent, environment=place)
    assert done.returncode == 0 and SAID in done.stderr


def test_lines_of_notes_that_are_no_records(hooked: Site) -> None:
    hooked.project.git("checkout", "-q", "-b", "topic", hooked.base)
    commit = hooked.change("read me\n", path="README")
    for text in ("no JSON", "[]", '{"run":7}', '{"run":"../../x"}', "[" * 100_000):
        written(hooked.server.parent / "line", text, mode=0o644)
        hooked.project.git("notes", "--ref=hmopt/verdicts", "append", "-F", str(hooked.server.parent / "line"), commit)
    done = hooked.push("topic")
    assert done.returncode == 0 and "git hmopt" not in done.stderr


def at_terminal(site: Site, answer: bytes) -> str:
    """Push from a terminal of its own, answer the question, and return all that was shown."""
    mode(site, "ask")
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(site.project.root)
        os.execvpe("git", ["git", "push", "origin", "main"], site.project.environment)
    shown, deadline, answered = b"", time.monotonic() + 60, False
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                part = os.read(terminal, 4096)
            except OSError:
                break
            if not part:
                break
            shown += part
        if b"[y/N]" in shown and not answered:
            os.write(terminal, answer)
            answered = True
    assert answered, shown
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, shown
    os.close(terminal)
    return shown.decode()


def test_a_person_is_asked(hooked: Site) -> None:
    assert "sent 3 refs to origin" in at_terminal(hooked, b"y\n")
    assert len(evidence_there(hooked)) == 3


def test_a_person_who_says_no_is_told_how(hooked: Site) -> None:
    assert "send it with: git hmopt push origin" in at_terminal(hooked, b"\n")
    assert evidence_there(hooked) == []


def test_without_a_terminal_nobody_is_asked(hooked: Site) -> None:
    mode(hooked, "ask")
    done = hooked.run("setsid", "-w", "git", "push", "origin", "main")
    assert done.returncode == 0 and SAID in done.stderr
    assert evidence_there(hooked) == []
