# SPDX-License-Identifier: Apache-2.0
"""Push, fetch and sync of runs: what leaves is listed first, nothing is forced, and nothing here or there is lost.

A push takes in what the remote has, then moves refs forward from exactly where the remote was seen; when somebody was
faster, it takes that in, too, and tries again. It goes in two halves: journals, notes and branches, then artifacts.
"""

from __future__ import annotations

import contextlib
import fcntl
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from git_hmopt.errors import RefConflictError, StoreError, UsageError
from git_hmopt.records.words import (
    ARTIFACTS,
    BRANCHES,
    CARE,
    JOURNALS,
    NOTES_METRICS,
    NOTES_VERDICTS,
    Oid,
    RefName,
    RunId,
)
from git_hmopt.store.cache import Cache
from git_hmopt.store.care import covered, cutoffs, line_dropper, run_of
from git_hmopt.store.journal import writer_of
from git_hmopt.store.objects import TOOL, ObjectBatch, format_commit, format_tree
from git_hmopt.store.parcel import Listed, pack_run, unpack
from git_hmopt.store.remote import BATCH, Move, Namespace, Remote, Say
from git_hmopt.store.repository import MovedRefsError, Repository
from git_hmopt.store.retry import WRITERS_QUEUE, retried
from git_hmopt.store.union import Taken, descends, take

TRIES = 8
"""How often a push takes in what others were faster with, before it gives up."""
LARGEST_PUSH = 100 << 20
"""Bytes that leave without being asked for; `--max-size` allows more."""
PROBE = "refs/hmopt/probe/"


class What(StrEnum):
    """What may leave."""

    METRICS = "metrics"
    VERDICTS = "verdicts"
    EVIDENCE = "evidence"
    BRANCHES = "branches"
    ARTIFACTS = "artifacts"


DEFAULT = (What.METRICS, What.VERDICTS, What.EVIDENCE)
MEANING: Mapping[What, str] = {
    What.METRICS: "measured numbers (a note)",
    What.VERDICTS: "verdicts (a note)",
    What.EVIDENCE: "journals: decisions, evidence packs, and the candidate commits they keep",
    What.BRANCHES: "the branches hmopt/<run>/...",
    What.ARTIFACTS: "text artifacts, redacted: diffs, logs, profiles, prompts and answers of models",
}
_PREFIX: Mapping[What, str] = {
    What.METRICS: NOTES_METRICS,
    What.VERDICTS: NOTES_VERDICTS,
    What.EVIDENCE: JOURNALS,
    What.BRANCHES: BRANCHES,
    What.ARTIFACTS: ARTIFACTS,
}
# Who reads journals first finds whatever notes and branches point at.
_ORDER = (CARE, JOURNALS, "refs/notes/", BRANCHES, ARTIFACTS)


@dataclass(frozen=True)
class Leaving:
    """What a push sends: refs, what they hold that the remote has not, and the bytes of it."""

    moves: tuple[Move, ...]
    operations: int
    lines: int
    bytes: int

    def __bool__(self) -> bool:
        return bool(self.moves)

    def listed(self) -> list[str]:
        """Return what leaves as lines for a person."""
        runs: dict[RunId, list[str]] = {}
        shown = []
        for move in self.moves:
            run = run_of(move.ref)
            if run is None:
                shown.append(f"{move.ref} ({'new' if move.old is None else 'grown'})")
            else:
                runs.setdefault(run, []).append(_kind(move.ref))
        for run, kinds in runs.items():
            shown.append(f"run {run}: {', '.join(dict.fromkeys(kinds))}")
        return shown


def _kind(ref: RefName) -> str:
    if ref.startswith(JOURNALS):
        return "journal"
    return "artifacts" if ref.startswith(ARTIFACTS) else ref.removeprefix("refs/heads/")


@dataclass
class Outcome:
    """How a transport ended."""

    taken: Taken = field(default_factory=Taken)
    sent: Leaving | None = None
    namespace: Namespace = Namespace.PLAIN
    artifacts: int = 0
    """How many artifacts came into the local store."""
    left_out: list[str] = field(default_factory=list)
    """What did not travel, and why."""
    said: int = 0
    """Prompts, answers and thinking of models that the runs of a push name: artifacts, which only go as such."""
    said_goes: bool = False

    def listed(self) -> list[str]:
        """Return what leaves as lines for a person, and whether what was said to models is in it."""
        lines = self.sent.listed() if self.sent else []
        if not lines or not self.said:
            return lines
        goes = "go as artifacts, redacted" if self.said_goes else "stay here: only --what artifacts sends them"
        return [*lines, f"prompts, answers and thinking of models ({self.said}) {goes}"]


def fetch(repository: Repository, remote: Remote) -> Outcome:
    """Take in what the remote has; StoreError when it cannot be reached."""
    with _locked(repository, remote.say):
        remote.fetch()
        outcome = _taken(repository, remote)
        moved = [ref for ref in (*outcome.taken.new, *outcome.taken.grown) if ref.startswith(ARTIFACTS)]
        outcome.artifacts = unpack(repository, moved) if moved else 0
        return outcome


def push(
    repository: Repository,
    remote: Remote,
    what: Sequence[What] = DEFAULT,
    *,
    runs: Sequence[RunId] = (),
    dry_run: bool = False,
    largest: int = LARGEST_PUSH,
) -> Outcome:
    """Send what the remote lacks of `what` (only of `runs`, where some are named); list it first by `remote.say`.

    Raises UsageError when more than `largest` bytes would leave, StoreError for what the remote refuses.
    """
    with _locked(repository, remote.say):
        packed = _pack(repository, runs) if What.ARTIFACTS in what else Counter()
        session = _Push(repository, remote, what, runs, _said(repository, runs))
        outcome = session.look() if dry_run else session.drive(largest)
        outcome.left_out += [f"{count} artifacts: {why}" for why, count in sorted(packed.items())]
        return outcome


def _pack(repository: Repository, runs: Sequence[RunId]) -> Counter[str]:
    """Make this clone's artifacts of runs ready to travel; return how many stay here, by reason."""
    writer = writer_of(repository)
    wanted: dict[RunId, list[Listed]] = {}
    with Cache(repository).reading() as database:
        for run, sha256, name, size in database.execute(
            "SELECT run, sha256, name, size FROM artifacts WHERE writer = ? ORDER BY run, lamport, place", (writer,)
        ):
            if not runs or run in runs:
                wanted.setdefault(RunId(run), []).append(Listed(sha256, name, size))
    left: Counter[str] = Counter()
    for run, listed in wanted.items():
        left.update(pack_run(repository, run, writer, listed).left or {})
    return left


def _said(repository: Repository, runs: Sequence[RunId]) -> int:
    """Return how many prompts, answers and thinkings of models the messages in this clone's journals name."""
    with Cache(repository).reading() as database:
        found = database.execute(
            "SELECT DISTINCT m.run, part.value FROM agent_messages AS m, json_each(m.data) AS part"
            " WHERE m.writer = ? AND part.key IN ('prompt', 'answer', 'thinking')",
            (writer_of(repository),),
        )
        return sum(not runs or run in runs for run, _ in found)


@contextlib.contextmanager
def _locked(repository: Repository, say: Say) -> Iterator[None]:
    """Hold the clone's transport: two pushes at once would each take the other's scratch refs for the remote's."""
    path = repository.home / "transport.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = path.open("a")
    except OSError as error:
        raise StoreError(f"'{path}' cannot be opened: {error.strerror}", next_step="make it writable") from error
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another fetch or push of this clone")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _taken(repository: Repository, remote: Remote) -> Outcome:
    """Take in what the scratch refs have; the moves are made in one transaction, again when refs here moved."""
    outcome = Outcome(namespace=remote.namespace)

    def step() -> None:
        theirs = remote.known()
        care = [(ref, oid) for ref, oid in theirs if ref.startswith(CARE)]
        # What is expired is known before anything else is taken in.
        _, moves = take(repository, care)
        repository.update_refs(moves, reason="git hmopt: fetch")
        cut = cutoffs(repository)
        gone = covered(repository, theirs, cut)
        rest = [pair for pair in theirs if pair not in gone and not pair[0].startswith(CARE)]
        outcome.taken, moves = take(repository, rest, drop=line_dropper(cut) if cut else None)
        outcome.left_out = [f"{ref}: {why}" for ref, why in outcome.taken.apart.items()]
        if gone:
            outcome.left_out.append(
                f"{len({run_of(ref) for ref, _ in gone})} expired runs that {remote.name} still has"
            )
        repository.update_refs(moves, reason="git hmopt: fetch")

    retried(step, transient=(MovedRefsError,), queue=repository.home / WRITERS_QUEUE)
    return outcome


@dataclass
class _Push:
    repository: Repository
    remote: Remote
    what: Sequence[What]
    runs: Sequence[RunId]
    said: int = 0
    atomic: bool = True
    sent: list[Move] = field(default_factory=list)

    def look(self) -> Outcome:
        """Say what would leave."""
        self.remote.fetch()
        outcome = self._seen()
        outcome.sent = self._leaving(outcome)
        return outcome

    def _seen(self) -> Outcome:
        outcome = _taken(self.repository, self.remote)
        outcome.said, outcome.said_goes = self.said, What.ARTIFACTS in self.what
        return outcome

    def drive(self, largest: int) -> Outcome:
        outcome = self.look()
        leaving = outcome.sent
        assert leaving is not None
        if leaving.bytes > largest:
            raise UsageError(
                f"{_megabytes(leaving.bytes)} would leave, more than {_megabytes(largest)}",
                next_step=f"look first (--dry-run), then allow it: --max-size {-(-leaving.bytes // (1 << 20))}",
            )
        for line in leaving.listed():
            self.remote.say(f"sending {line}")
        for line in outcome.listed()[len(leaving.listed()) :]:
            self.remote.say(line)
        stuck: dict[RefName, Oid | None] = {}
        for attempt in range(TRIES):
            moves = list(self._leaving(outcome).moves)
            if not moves:
                outcome.sent = Leaving(tuple(self.sent), leaving.operations, leaving.lines, leaving.bytes)
                outcome.namespace = self.remote.namespace
                return outcome
            refused = self._send(moves)
            if refused:
                # Others that were faster were through by now, or are after a pause that no two take alike.
                time.sleep(random.uniform(0, 0.05 * 2**attempt))
            self.remote.fetch()
            outcome = self._seen()
            standing = self.remote.standing(self.remote.namespace)
            still = {ref: standing.get(ref) for ref in refused}
            if refused and attempt and all(stuck.get(ref, "") == oid for ref, oid in still.items()):
                self._refused(refused)
            stuck = still
        raise RefConflictError(
            f"others push to '{self.remote.name}' faster than this clone can{self._so_far()}", next_step="run it again"
        )

    # -- what leaves ------------------------------------------------------------------------------------------------

    def _leaving(self, outcome: Outcome) -> Leaving:
        standing = self.remote.standing(self.remote.namespace)
        ours = self._ours()
        gone = {ref for ref, _ in covered(self.repository, ours.items(), cutoffs(self.repository))}
        moves = []
        for ref in sorted(ours, key=_order):
            there = standing.get(ref)
            if ours[ref] == there or ref in gone or ref in outcome.taken.apart:
                continue
            if there is None or descends(self.repository, ours[ref], there):
                moves.append(Move(ref, ours[ref], there))
        return Leaving(tuple(moves), *self._weighed(moves))

    def _ours(self) -> dict[RefName, Oid]:
        prefixes = [CARE, *(_PREFIX[one] for one in self.what)]
        found = self.repository.list_refs(*prefixes)
        if not self.runs:
            return found
        return {ref: oid for ref, oid in found.items() if run_of(ref) is None or run_of(ref) in self.runs}

    def _weighed(self, moves: Sequence[Move]) -> tuple[int, int, int]:
        """Return how many operations and lines of notes, and how many bytes, the remote has not yet."""
        if not moves:
            return 0, 0, 0
        git = self.repository.git
        theirs = [oid for _, oid in self.remote.known()]
        tracking = self.repository.list_refs(f"refs/remotes/{self.remote.name}/")
        wanted = [*(move.new for move in moves), *(f"^{oid}" for oid in {*theirs, *tracking.values()})]
        stdin = "".join(f"{word}\n" for word in wanted).encode()
        size = git.run("rev-list", "--objects", "--disk-usage", "--stdin", stdin=stdin, ok=(0, 128)).text
        journals = [move for move in moves if move.ref.startswith((JOURNALS, CARE))]
        operations = sum(self._grown(move) for move in journals)
        lines = sum(self._new_lines(move) for move in moves if move.ref.startswith("refs/notes/"))
        return operations, lines, int(size) if size.isdigit() else 0

    def _grown(self, move: Move) -> int:
        found = self.repository.objects.first_parents([(move.new, move.old)])
        count, at = 0, move.new if move.new != move.old else None
        while at is not None and at != move.old and at in found:
            count, at = count + 1, next(iter(found[at].parents), None)
        return count

    def _new_lines(self, move: Move) -> int:
        base = [move.old] if move.old else [self.repository.write_tree(None, {})]
        answer = self.repository.git.run("diff-tree", "-r", "--numstat", *base, move.new).text
        return sum(int(row.split("\t")[0]) for row in answer.splitlines() if row[0].isdigit())

    # -- sending ----------------------------------------------------------------------------------------------------

    def _send(self, moves: Sequence[Move]) -> dict[RefName, str]:
        """Push in batches; return what was refused of the first batch that was not taken whole."""
        done_with = 0
        for batch in _batches(moves):
            done_with += len(batch)
            self.remote.say(f"pushing {done_with} of {len(moves)} refs to {self.remote.name}")
            try:
                done = self.remote.push(batch, namespace=self.remote.namespace, atomic=self.atomic)
                if done is None:
                    self.atomic = False
                    done = self.remote.push(batch, namespace=self.remote.namespace, atomic=False)
            except StoreError as error:
                raise StoreError(f"{error.what}{self._so_far()}", next_step=error.next_step) from error
            assert done is not None
            self.sent += [move for move in batch if move.ref in done.moved]
            if done.refused:
                return dict(done.refused)
        return {}

    def _refused(self, refused: Mapping[RefName, str]) -> None:
        """Find out why refs were refused that nobody else moved: fall back to refs/heads/, or raise StoreError."""
        outside = [ref for ref in refused if not ref.startswith(BRANCHES)]
        plain = self.remote.namespace is Namespace.PLAIN and outside
        if plain and not probe(self.remote, Namespace.PLAIN) and probe(self.remote, Namespace.HEADS):
            self.remote.say(f"{self.remote.name} keeps no refs outside refs/heads/: using refs/heads/hmopt-data/")
            self.remote.remember(Namespace.HEADS)
            return
        # With --atomic one refusal takes the whole batch along: the one that says something else is the reason.
        words = sorted(refused.items(), key=lambda pair: "atomic" in pair[1])
        raise StoreError(
            f"'{self.remote.name}' refuses {words[0][0]}: {words[0][1]}{self._so_far()}",
            next_step=f"see whether you may push there: git push --dry-run {self.remote.name} HEAD",
        )

    def _so_far(self) -> str:
        if not self.sent:
            return "; nothing was sent"
        kinds = {"artifacts" if move.ref.startswith(ARTIFACTS) else "records" for move in self.sent}
        left = "; artifacts were not sent" if What.ARTIFACTS in self.what and kinds == {"records"} else ""
        return f"; {len(self.sent)} refs were sent before{left}"


def _batches(moves: Sequence[Move]) -> Iterator[Sequence[Move]]:
    """Yield what is moved together: records first, and no artifact in one batch with a record."""
    halves: tuple[list[Move], list[Move]] = ([], [])
    for move in moves:
        halves[move.ref.startswith(ARTIFACTS)].append(move)
    for half in halves:
        yield from (half[start : start + BATCH] for start in range(0, len(half), BATCH))


def probe(remote: Remote, namespace: Namespace) -> bool:
    """Say whether a server takes a ref of ours where `namespace` puts it, by one small ref that is removed again."""
    batch = ObjectBatch(remote.repository.objects)
    tree = batch.add("tree", format_tree(()))
    commit = batch.add("commit", format_commit(tree, [], "A probe by 'git hmopt'", TOOL, int(time.time())))
    batch.flush()
    name = f"{random.getrandbits(48):012x}"
    ref = RefName(f"{PROBE}{name}") if namespace is Namespace.PLAIN else RefName(f"refs/heads/hmopt-data/probe/{name}")
    return remote.try_ref(ref, commit)


def _order(ref: RefName) -> tuple[int, str]:
    return next((place for place, prefix in enumerate(_ORDER) if ref.startswith(prefix)), len(_ORDER)), ref


def _megabytes(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB"
