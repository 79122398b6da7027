# SPDX-License-Identifier: Apache-2.0
"""Before a push: there is evidence for what leaves, and the remote has not all of it.

Whether git's own push succeeds cannot be known here, so evidence goes first: a server whose rule asks for it finds it,
and where the branch is refused afterwards, notes and journals about its commits hurt nobody.
"""

from __future__ import annotations

import json
import os
import re
import select
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from git_hmopt.errors import HmoptError
from git_hmopt.records.words import (
    BRANCHES,
    NOTES,
    NOTES_METRICS,
    NOTES_VERDICTS,
    Oid,
    RefName,
    RunId,
    is_run_id,
    journals_of,
)
from git_hmopt.report.wording import fit
from git_hmopt.store.care import run_of
from git_hmopt.store.note_lines import read_lines
from git_hmopt.store.remote import Remote
from git_hmopt.store.repository import Repository
from git_hmopt.store.transport import DEFAULT, push

MOST_COMMITS = 20_000
"""Of those that leave, the newest are looked at."""
WAIT_S = 60
"""How long a question stands; who went away has not said yes."""
_SHOWN = 5
_DRY = re.compile(r"--dr.*|-[A-Za-z46]*n[A-Za-z46]*")


@dataclass(frozen=True)
class Offer:
    """Evidence for what leaves that a remote has not, as far as is known here."""

    remote: Remote
    runs: tuple[RunId, ...]
    commits: int
    """How many of those that leave have a note."""
    missing: tuple[RefName, ...]
    """The refs that would move."""

    def told(self) -> str:
        """Return it in a line."""
        names = ", ".join(fit(run, 60) for run in self.runs[:_SHOWN])
        more = f" and {len(self.runs) - _SHOWN} more" if len(self.runs) > _SHOWN else ""
        notes = sum(ref.startswith(NOTES) for ref in self.missing)
        parts = [
            f"{number} {word}{'s' if number > 1 else ''}"
            for number, word in ((len(self.missing) - notes, "journal"), (notes, "note ref"))
            if number
        ]
        return f"there is evidence for what is pushed (run {names}{more}): {' and '.join(parts)} to send"

    @property
    def command(self) -> str:
        """Return what sends it."""
        return f"git hmopt push {shlex.quote(self.remote.name)}"


def offer(repository: Repository, name: str, url: str, lines: bytes) -> Offer | None:
    """Return what could go along with a push, given as git gives it (githooks(5)); None where there is nothing."""
    remote = _remote(repository, name, url)
    pushed = [line.split(" ") for line in lines.decode("utf-8", "surrogateescape").split("\n") if line.count(" ") == 3]
    leaving = [(local, new, there, old) for local, new, there, old in pushed if new.strip("0")]
    if remote is None or not leaving:
        return None
    commits = _noted(repository, remote, [(Oid(new), Oid(old)) for _, new, _, old in leaving])
    runs = {run for lines_ in commits.values() for run in lines_}
    for ref in (ref for local, _, there, _ in leaving for ref in (local, there)):
        run = run_of(RefName(ref)) if ref.startswith(BRANCHES) else None
        runs |= {run} if run is not None and is_run_id(run) else set()
    there_now = remote.standing(remote.namespace)
    ours = repository.list_refs(NOTES_METRICS, NOTES_VERDICTS, *(journals_of(run) for run in runs)) if runs else {}
    there_now |= {RefName(there): Oid(new) for _, new, there, _ in leaving}
    missing = tuple(ref for ref, oid in ours.items() if there_now.get(ref) != oid)
    return Offer(remote, tuple(sorted(runs)), len(commits), missing) if missing else None


def _remote(repository: Repository, name: str, url: str) -> Remote | None:
    if name == ".":
        return None
    try:
        return Remote.of(repository, name)
    except HmoptError:
        # `git push sub/dir` names a path that reads like a remote.
        return Remote(repository, str(Path(url).absolute())) if Path(url).exists() else None


def _noted(repository: Repository, remote: Remote, moves: Iterable[tuple[Oid, Oid]]) -> dict[Oid, set[RunId]]:
    """Return the commits that leave and have notes, with the runs that these name."""
    listed: list[str] = []
    for new, old in moves:
        listed += [new] if not old.strip("0") else [new, f"^{old}"]
    asked = "".join(f"{word}\n" for word in listed).encode()
    # What the remote stands at may not be here, or not be a commit.
    answer = repository.git.run(
        "rev-list", "--ignore-missing", f"--max-count={MOST_COMMITS}", "--stdin", "--not", f"--remotes={remote.name}",
        stdin=asked, ok=(0, 128),
    )  # fmt: skip
    commits = set(map(Oid, answer.text.split())) | {new for new, _ in moves}
    found: dict[Oid, set[RunId]] = {}
    for ref in (NOTES_METRICS, NOTES_VERDICTS):
        for commit, lines in read_lines(repository, ref, commits).items():
            found.setdefault(commit, set()).update(run for line in lines if (run := _run(line)))
    return found


def _run(line: str) -> RunId | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    run = record.get("run") if isinstance(record, dict) else None
    return RunId(run) if isinstance(run, str) and is_run_id(run) else None


def is_dry_run(process: str | None) -> bool:
    """Say whether the `git push` with this process id was told to send nothing; true where that cannot be known.

    Git runs this hook for --dry-run, too, and does not tell it.
    """
    try:
        words = Path(f"/proc/{int(process or '')}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except (OSError, ValueError):
        return True
    # Another tool's hook may stand between git and ours.
    is_push = Path(words[0]).name.startswith("git") and any(word.endswith("push") for word in words)
    return not is_push or any(_DRY.fullmatch(word) for word in words)


def offered(repository: Repository, one: Offer, mode: str, *, dry: bool, say: Callable[[str], None]) -> None:
    """Say what could go along, ask, or push it, as `hmopt.hooks.prePush` has it; a failure is told and no more."""
    question = f"git hmopt: {one.told()}; send it first? [y/N] "
    if dry or mode not in ("ask", "push") or (mode == "ask" and not _asked(question)):
        say(f"{one.told()}; send it with: {one.command}")
        return
    say(f"{one.told()} to {one.remote.name} first")
    try:
        outcome = push(repository, one.remote, DEFAULT, runs=one.runs)
    except HmoptError as error:
        say(f"evidence was not sent: {error}")
        return
    sent = len(outcome.sent.moves) if outcome.sent else 0
    say(f"sent {sent} refs to {one.remote.name}" if sent else f"{one.remote.name} has all of it")


def _asked(question: str) -> bool:
    """Ask a person at the terminal; no without one, and when nobody answers. Standard input is git's list of refs."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return False
    try:
        os.write(terminal, question.encode())
        ready, _, _ = select.select([terminal], [], [], WAIT_S)
        answer = os.read(terminal, 100) if ready else b""
        if not ready:
            os.write(terminal, b"\n")
    except OSError:
        return False
    finally:
        os.close(terminal)
    return answer.strip().lower() in (b"y", b"yes")
