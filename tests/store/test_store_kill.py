# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random moments, of the tool and every git it started: fsck is clean, and what was acknowledged is there.

`HMOPT_SEED` repeats the moments that a failure printed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from git_hmopt.loop.clean import clean
from git_hmopt.records.words import BRANCHES, JOURNALS, Oid, RunId, candidate_ref
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.cache import Cache
from git_hmopt.store.care import run_of
from git_hmopt.store.expire import expire, planned
from git_hmopt.store.fsck import check
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.notes import NoteDraft, Notes
from git_hmopt.store.queries import list_runs
from git_hmopt.store.remote import Remote
from git_hmopt.store.repository import RefUpdate, Repository
from git_hmopt.store.transport import What, push
from tests.store.repositories import RUN, Shell, make_repository
from tests.store.worlds import AT, World, record_run

ROUNDS = 6
LATEST_S = 0.7
"""A round is killed so long after its first acknowledgement at the latest."""
DAY_S = 86_400


@dataclass(frozen=True)
class Killed:
    """A clone and what work in it said before it was killed."""

    world: World
    forge: Shell
    said: list[str]


def rounds(tmp_path: Path, work: Callable[[Repository, int, Callable[[str], None]], None]) -> list[Killed]:
    """Do `work` again and again in one clone, kill it each time, and demand that fsck finds nothing wrong."""
    seed = int(os.environ.get("HMOPT_SEED") or random.SystemRandom().getrandbits(32))
    print(f"HMOPT_SEED={seed}")
    moments = random.Random(seed)
    world = World(make_repository(tmp_path / "world"))
    Shell(tmp_path).git("init", "-q", "--bare", "forge.git")
    world.shell.git("remote", "add", "origin", str(tmp_path / "forge.git"))
    world.shell.git("push", "-q", "origin", "main")
    record_run(world.repository)
    ended = []
    for number in range(ROUNDS):
        acknowledged = tmp_path / f"acknowledged-{number}"
        _killed(work, world.shell.cwd, number, acknowledged, moments.uniform(0, LATEST_S))
        # What the message about a ref that is locked says to do.
        for lock in [*world.repository.common_dir.rglob("*.lock"), *(tmp_path / "forge.git").rglob("*.lock")]:
            if lock.parent != world.home:
                lock.unlink()
        faults = [str(one) for one in check(world.repository).faults]
        assert faults == [], faults
        world.shell.git("fsck", "--connectivity-only")
        ended.append(Killed(world, Shell(tmp_path / "forge.git"), acknowledged.read_text().split()))
    return ended


def _killed(
    work: Callable[[Repository, int, Callable[[str], None]], None], cwd: Path, number: int, to: Path, after_s: float
) -> None:
    child = multiprocessing.get_context("fork").Process(target=_work, args=(work, cwd, number, to))
    child.start()
    deadline = time.monotonic() + 60
    while not (to.is_file() and to.stat().st_size) and time.monotonic() < deadline:
        assert child.is_alive(), "the work ended by itself"
        time.sleep(0.005)
    time.sleep(after_s)
    assert child.pid and child.is_alive()
    os.kill(child.pid, signal.SIGSTOP)
    doomed = [child.pid, *_descendants(child.pid)]
    for pid in doomed:
        # A git that had just ended is none to kill.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    child.join(30)
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in doomed[1:]) and time.monotonic() < deadline:
        time.sleep(0.005)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for one in (task / "children").read_text().split():
                found += [int(one), *_descendants(int(one))]
    return found


def _work(
    work: Callable[[Repository, int, Callable[[str], None]], None], cwd: Path, number: int, acknowledged: Path
) -> None:
    handle = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(text: str) -> None:
        os.write(handle, f"{text}\n".encode())

    work(Repository.open(cwd), number, say)


def _append(repository: Repository, number: int, say: Callable[[str], None]) -> None:
    journal, head = Journal(repository), repository.resolve("HEAD")
    for count in range(10**6):
        commit = repository.commit(repository.tree_of(head), [head], f"{number} {count}")
        moved = [RefUpdate(candidate_ref(RUN, 10_000 * (number + 1) + count), commit, None)]
        note = {"run": RUN, "n": f"{number}-{count}"}
        drafts = [OpDraft("step", f"round-{number}", count), OpDraft("checkpoint", f"round-{number}", count)]
        journal.append(
            RUN, drafts, keep=[commit], refs=moved, notes={Notes(repository).ref: [NoteDraft(commit, AT, note)]}
        )
        say(f"{number}-{count}-{commit}")


def test_append(tmp_path: Path) -> None:
    for one in rounds(tmp_path, _append):
        repository = one.world.repository
        steps = {(two.node, two.iter, two.op) for two in Journal(repository).read(RUN).operations}
        noted = Notes(repository).read()
        for said in one.said:
            number, count, commit = said.split("-")
            assert {(f"round-{number}", int(count), op) for op in ("step", "checkpoint")} <= steps
            assert any(f'"n":"{number}-{count}"' in line for line in noted[Oid(commit)])
            assert repository.read_ref(candidate_ref(RUN, 10_000 * (int(number) + 1) + int(count))) == commit
    # All of a step, or nothing of it.
    assert sum(op == "step" for _, _, op in steps) == sum(op == "checkpoint" for _, _, op in steps)


def _notes(repository: Repository, number: int, say: Callable[[str], None]) -> None:
    head = repository.resolve("HEAD")
    for count in range(10**6):
        drafts = [NoteDraft(head, AT, {"n": f"{number}-{count}-{each}"}) for each in range(50)]
        Notes(repository).append(drafts)
        say(f"{number}-{count}")


def test_a_batch_of_notes(tmp_path: Path) -> None:
    for one in rounds(tmp_path, _notes):
        repository = one.world.repository
        lines = "\n".join(Notes(repository).read()[repository.resolve("HEAD")])
        for said in one.said:
            assert lines.count(f'"n":"{said}-') == 50
    assert lines.count("\n") % 50 == 49


def _push(repository: Repository, number: int, say: Callable[[str], None]) -> None:
    journal = Journal(repository)
    for count in range(10**6):
        journal.append(RUN, [OpDraft("step", f"round-{number}", count)])
        push(repository, Remote.of(repository, "origin"), tuple(What))
        say(f"{number}-{count}")


def test_push(tmp_path: Path) -> None:
    ended = rounds(tmp_path, _push)
    one = ended[-1]
    one.forge.git("fsck", "--connectivity-only")
    journal = one.world.journal()
    there = one.forge.git("log", "--first-parent", "--format=%H", journal).split()
    steps = "\n".join(one.forge.git("show", f"{commit}:op.json") for commit in there)
    for said in (said for two in ended for said in two.said):
        number, count = said.split("-")
        assert re.search(rf'"iter":{count},.*"node":"round-{number}"', steps)
    # Whatever was left lying, the next push sends all of it.
    push(one.world.repository, Remote.of(one.world.repository, "origin"), tuple(What))
    assert one.forge.git("rev-parse", journal) == one.world.shell.git("rev-parse", journal)


def _gc(repository: Repository, number: int, say: Callable[[str], None]) -> None:
    store = ArtifactStore.of(repository)
    for count in range(10**6):
        run = RunId(f"20260201-gc-{number:02x}{count:04x}")
        record_run(repository, run, iterations=2, accepted=1)
        for each in range(20):
            old = store.put_bytes(f"{run} {each}".encode(), kind="x", name="x", media_type="text/plain")
            path = store.path(old.sha256)
            assert path
            os.utime(path, (time.time() - 2 * DAY_S,) * 2)
        say(run)
        assert clean(repository, really=True)


def test_gc(tmp_path: Path) -> None:
    for one in rounds(tmp_path, _gc):
        repository = one.world.repository
        store = ArtifactStore.of(repository)
        for said in one.said:
            operations = Journal(repository).read(RunId(said)).operations
            assert operations[-1].op == "run.closed"
            stored = [two.data["artifact"]["sha256"] for two in operations if two.op == "artifact.stored"]
            assert len(stored) == 2 and all(store.read(sha256) for sha256 in stored)
            assert repository.read_ref(candidate_ref(RunId(said), 1))
    clean(repository, really=True)
    assert not clean(repository, really=False)


def _expire(repository: Repository, number: int, say: Callable[[str], None]) -> None:
    for count in range(10**6):
        run = RunId(f"20260201-gone-{number:02x}{count:04x}")
        record_run(repository, run)
        say(f"recorded:{run}")
        expire(repository, planned(repository, runs=[run]), "old")
        say(f"expired:{run}")


def test_expire(tmp_path: Path) -> None:
    for one in rounds(tmp_path, _expire):
        repository = one.world.repository
        with Cache(repository).reading() as database:
            shown = {row.name for row in list_runs(database)}
        said = [line.split(":") for line in one.said]
        expired = {run for word, run in said if word == "expired"}
        for run in {run for _, run in said}:
            refs = repository.list_refs(f"{JOURNALS}{run}", f"{BRANCHES}{run}")
            lines = sum(f'"run":"{run}"' in line for lines in Notes(repository).read().values() for line in lines)
            # Whole, or expired and in the archive. A git that is killed amid a transaction leaves part of it: the
            # cutoff is the first part, and what is left of a run that is cut off goes with the next expiry.
            if run in shown:
                assert len(refs) == 3 and lines == 1 and run not in expired
            else:
                assert run not in expired or (refs, lines) == ({}, 0)
                one.world.shell.git("bundle", "verify", "-q", str(one.world.home / "archive" / f"{run}.bundle"))
    assert RUN in shown
    expire(repository, planned(repository), "old")
    left = {str(run_of(ref)) for ref in repository.list_refs(JOURNALS, BRANCHES)}
    assert left == set(shown)
