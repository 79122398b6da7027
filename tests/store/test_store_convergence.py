# SPDX-License-Identifier: Apache-2.0
"""Three clones that write and sync at random: whatever the order, all end with all that anybody recorded."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from git_hmopt.records.words import CARE_RUN, NOTES_METRICS, Oid, RunId
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.notes import NoteDraft, Notes
from git_hmopt.store.remote import Remote
from git_hmopt.store.repository import Repository
from git_hmopt.store.transport import What, fetch, push
from tests.store.repositories import Shell, make_repository
from tests.store.servers import bare, http_server

SEED = int(os.environ.get("HMOPT_TEST_SEED", secrets.randbelow(2**32)))
RUNS = [RunId(f"20260131-lib-sort-{number:06x}") for number in range(4)]
NAMES = ("alice", "bob", "carol")
# An example is a whole history; four of them are the five hundred operations.
HISTORY = 125
EXAMPLES = 4

Step = tuple[str, str, int]
STEPS = st.tuples(
    st.sampled_from(NAMES),
    st.sampled_from(["append"] * 6 + ["note"] * 4 + ["push", "push some", "fetch", "sync", "reopen"]),
    st.integers(0, 3),
)


@dataclass
class World:
    """A forge, three clones, and what was recorded by whom."""

    forge: Shell
    clones: dict[str, Repository]
    commits: list[Oid]
    journals: dict[str, Journal] = field(default_factory=dict)
    recorded: dict[RunId, set[tuple[str, str]]] = field(default_factory=dict)
    lines: dict[Oid, set[str]] = field(default_factory=dict)
    count: int = 0

    def take(self, step: Step) -> None:
        """Do one step."""
        name, kind, number = step
        acts: dict[str, Callable[[str, int], None]] = {
            "append": self._append, "note": self._note, "reopen": self._reopen, "fetch": self._fetch,
            "push": lambda name, _: self._push(name, tuple(What)),
            "push some": lambda name, number: self._push(name, (list(What)[number],)),
            "sync": self._sync,
        }  # fmt: skip
        acts[kind](name, number)

    def _append(self, name: str, number: int) -> None:
        journal = self.journals.setdefault(name, Journal(self.clones[name]))
        self.count += 1
        run = RUNS[number]
        journal.append(run, [OpDraft(f"comment.{self.count}", "review", attempt=self.count)])
        self.recorded.setdefault(run, set()).add((journal.writer, f"comment.{self.count}"))

    def _note(self, name: str, number: int) -> None:
        self.count += 1
        draft = NoteDraft(self.commits[number], f"2026-01-31T12:00:{self.count % 60:02d}Z", {"n": str(self.count)})
        Notes(self.clones[name]).append([draft])
        self.lines.setdefault(self.commits[number], set()).add(draft.line())

    def _reopen(self, name: str, number: int) -> None:
        # Another process: what a Journal remembers of its own head is gone.
        self.journals.pop(name, None)

    def _fetch(self, name: str, number: int) -> None:
        fetch(self.clones[name], Remote.of(self.clones[name], "origin"))

    def _sync(self, name: str, number: int) -> None:
        self._fetch(name, number)
        self._push(name, tuple(What))

    def _push(self, name: str, what: tuple[What, ...]) -> None:
        push(self.clones[name], Remote.of(self.clones[name], "origin"), what)

    def settle(self) -> None:
        """Sync all until nothing is left to say."""
        for _ in range(2):
            for name in self.clones:
                self.take((name, "sync", 0))

    def check(self) -> None:
        """Demand that every clone has everything, and the same."""
        for name, repository in self.clones.items():
            for run, wanted in self.recorded.items():
                found = {(one.writer, one.op) for one in Journal(repository).read(run).operations}
                assert found == wanted, (SEED, name, run)
            noted = {commit: set(lines) for commit, lines in Notes(repository, NOTES_METRICS).read().items()}
            assert noted == self.lines, (SEED, name)
        heads = [repository.list_refs("refs/hmopt/runs", "refs/notes/hmopt") for repository in self.clones.values()]
        assert heads[0] == heads[1] == heads[2], SEED
        assert not self.forge.git("fsck", "--connectivity-only", "--no-dangling")


def make_world(place: Path, address: Callable[[Path], str]) -> World:
    """Return a forge with the project and three clones."""
    source = make_repository(place / "source")
    forge = bare(place / "served/forge.git", source)
    clones = {}
    for name in NAMES:
        Shell(place).git("clone", "-q", address(forge.cwd), name)
        clones[name] = Repository.open(place / name)
    head = clones["alice"].resolve("HEAD")
    tree = clones["alice"].tree_of(head)
    commits = [clones["alice"].commit(tree, [head], f"measured {number}", seconds=number) for number in range(4)]
    return World(forge, clones, commits)


@seed(SEED)
@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, min_size=HISTORY, max_size=HISTORY))
def test_five_hundred_random_steps_converge(steps: list[Step]) -> None:
    print(f"seed {SEED} (HMOPT_TEST_SEED repeats it)")
    with TemporaryDirectory(prefix="hmopt-converge-") as scratch:
        world = make_world(Path(scratch), str)
        for step in steps:
            world.take(step)
        world.settle()
        world.check()


def test_they_converge_over_http(tmp_path: Path) -> None:
    with http_server(tmp_path / "served") as address:
        world = make_world(tmp_path, lambda path: f"{address}/{path.name}")
        for number in range(24):
            world.take((NAMES[number % 3], ("append", "note", "sync", "append", "push some")[number % 5], number % 4))
        world.settle()
        world.check()


def test_a_run_is_called_nothing_that_care_is(tmp_path: Path) -> None:
    """The journal of cutoffs is read by every reader; no run may take its place."""
    repository = Repository.open(make_repository(tmp_path / "plain").cwd)
    assert CARE_RUN not in Journal(repository).runs()
    Journal(repository).append(CARE_RUN, [OpDraft("cutoff", "expire", data={"cutoff": []})])
    assert Journal(repository).runs() == []
    assert [one.op for one in Journal(repository).read(CARE_RUN).operations] == ["cutoff"]
