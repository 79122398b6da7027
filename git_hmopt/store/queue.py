# SPDX-License-Identifier: Apache-2.0
"""A durable queue of jobs in one sqlite file, for many processes: what was put is done at least once, kill -9 or not.

A job is known by kind and key, and put twice it is one row: a forge that sends a delivery again makes no second job.
Who takes a job has it until its lease ends; a worker that is killed leaves the job to the next. So an effect must be
one that may be made twice (a comment that is edited, a run that is named before it begins). Jobs of one subject are
taken one after the other, in the order in which they came.

Times are the wall clock's, because a lease must end after a reboot, too. Rows that ended go, the oldest first, once
there are too many; that their keys were seen is remembered for longer.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import apsw

from git_hmopt.errors import StoreError

VERSION = 1
DAY_S = 86_400.0
_SCHEMA = Path(__file__).with_name("queue.sql")
_DAMAGED = (apsw.CorruptError, apsw.NotADBError)
_UNWRITABLE = (apsw.FullError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError)
_Value = str | int | float | bytes | None
_SWEEP_EVERY = 256
"""Jobs that are put between two looks at what may go."""


class QueueFullError(StoreError):
    """More jobs wait than the queue may hold; who sends them is told to come back."""


class LeaseLostError(StoreError):
    """A job is no longer this worker's: its lease ended, and another may be at it."""


class State(StrEnum):
    """Where a job stands."""

    WAITING = "waiting"
    TAKEN = "taken"
    DONE = "done"
    DEAD = "dead"
    """It failed too often, or in a way that another attempt will not change; `reason` says how."""
    SUPERSEDED = "superseded"
    """A newer job of its subject made it pointless before it was done."""

    @property
    def ended(self) -> bool:
        """Say whether nobody will take the job any more."""
        return self not in (State.WAITING, State.TAKEN)


@dataclass(frozen=True)
class Bounds:
    """How much the file may hold, and how often a job is tried."""

    attempts: int = 5
    waiting: int = 100_000
    ended: int = 10_000
    """Jobs done or superseded, and as many dead ones, that are kept to be looked at."""
    remembered: int = 1_000_000
    """Keys that were seen."""
    remember_s: float = 30 * DAY_S
    """For so long a key that was put is no new job, whether or not its row is still there."""


@dataclass(frozen=True)
class Draft:
    """A job to be put."""

    kind: str
    key: str
    payload: bytes
    subject: str | None = None
    """What it is about; jobs of one subject are taken in their order, one at a time."""
    supersedes: bool = False
    """Whether older jobs of the same kind and subject are pointless from now on."""
    due: float = 0.0
    """Not before this time is it taken."""


@dataclass(frozen=True)
class Job:
    """A row of the queue."""

    id: int
    kind: str
    key: str
    subject: str | None
    payload: bytes = field(repr=False)
    """Nothing of a job that was done or superseded."""
    state: State
    due: float
    attempts: int
    """How often it was taken and not given back."""
    takes: int
    worker: str | None
    lease_until: float | None
    overtaken: bool
    reason: str | None
    created: float
    ended: float | None


_COLUMNS = (
    "id, kind, key, subject, payload, state, due, attempts, takes, worker, lease_until, overtaken, reason, created, "
    "ended"
)
_NEXT = """
SELECT id FROM jobs AS one
WHERE state = 'waiting' AND due <= :now AND kind IN (SELECT value FROM json_each(:kinds)) AND NOT EXISTS (
    SELECT 1 FROM jobs AS before
    WHERE before.subject = one.subject AND before.id < one.id AND before.state IN ('waiting', 'taken')
) ORDER BY id LIMIT 1
"""
_EXPIRE = """
UPDATE jobs SET worker = NULL, lease_until = NULL, due = :now,
    state = CASE WHEN overtaken THEN 'superseded' WHEN attempts >= :most THEN 'dead' ELSE 'waiting' END,
    ended = CASE WHEN overtaken OR attempts >= :most THEN :now END,
    reason = CASE WHEN attempts >= :most AND NOT overtaken
        THEN 'its worker ended without a word, ' || attempts || ' times' ELSE reason END
WHERE state = 'taken' AND lease_until <= :now
"""
_OVERTAKE = """
UPDATE jobs SET overtaken = 1,
    payload = iif(state = 'waiting', x'', payload),
    ended = iif(state = 'waiting', :now, NULL),
    state = iif(state = 'waiting', 'superseded', state)
WHERE kind = :kind AND state IN ('waiting', 'taken') AND id IN (SELECT id FROM jobs WHERE {which})
"""
_MINE = "WHERE id = :id AND state = 'taken' AND takes = :takes"


class Queue:
    """`<directory>/queue.sqlite`; one object a process, its threads may share it.

    StoreError whenever the file cannot be read or written, with what to do about it.
    """

    def __init__(self, directory: Path, *, bounds: Bounds = Bounds(), clock: Callable[[], float] = time.time) -> None:
        self.path = directory / "queue.sqlite"
        self.bounds = bounds
        self._clock = clock
        self._lock = threading.RLock()
        with self._told():
            try:
                # What people wrote on a forge is for nobody else on this machine.
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
                self.path.touch(mode=0o600)
            except OSError as error:
                raise StoreError(
                    f"no queue can be kept at '{self.path}': {error.strerror}", next_step="make its directory writable"
                ) from error
            self._database = apsw.Connection(str(self.path))
            self._database.set_busy_timeout(30_000)
            self._prepare()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def __enter__(self) -> Queue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- putting ----------------------------------------------------------------------------------------------------

    def put(self, draft: Draft) -> bool:
        """Put a job and say whether it is new; it survives a power cut when this returns."""
        return self.put_all([draft])[0]

    def put_all(
        self, drafts: Sequence[Draft], *, replays: Sequence[tuple[str, float] | None] | None = None
    ) -> list[bool]:
        """Put jobs with one write to the disk, all or none, and say of each whether it is new.

        `replays`: beside each job a key that `seen` must not know, and for how many seconds it is remembered; a job
        whose key was seen is not new.
        """
        with self._writing() as now:
            return [
                not (replay is not None and self._seen(replay[0], now, replay[1])) and self._put(draft, now)
                for draft, replay in zip(drafts, replays or [None] * len(drafts), strict=True)
            ]

    def seen(self, key: str, *, for_s: float) -> bool:
        """Say whether `key` was asked for in the last `for_s` seconds of an earlier call, and remember it.

        For messages whose only proof of freshness is that nobody showed them before.
        """
        with self._writing() as now:
            return self._seen(key, now, for_s)

    def _put(self, draft: Draft, now: float) -> bool:
        known = self._one("SELECT 1 FROM jobs WHERE kind = ? AND key = ?", (draft.kind, draft.key))
        if known is not None:
            return False
        if self._seen(f"job {draft.kind} {draft.key}", now, self.bounds.remember_s):
            return False
        waiting = self._one("SELECT count(*) FROM jobs WHERE state = 'waiting'")
        if isinstance(waiting, int) and waiting >= self.bounds.waiting:
            raise QueueFullError(f"{waiting} jobs wait already", next_step="see that workers run")
        if draft.supersedes and draft.subject is not None:
            self._overtake(now, "subject = :subject", kind=draft.kind, subject=draft.subject)
        self._database.execute(
            "INSERT INTO jobs (kind, key, subject, payload, state, due, created) VALUES (?, ?, ?, ?, 'waiting', ?, ?)",
            (draft.kind, draft.key, draft.subject, draft.payload, max(draft.due, 0.0), now),
        )
        if self._database.last_insert_rowid() % _SWEEP_EVERY == 0:
            self._sweep(now)
        return True

    def _seen(self, key: str, now: float, for_s: float) -> bool:
        until = self._one("SELECT until FROM seen WHERE key = ?", (key,))
        if isinstance(until, float) and until > now:
            return True
        self._database.execute("INSERT OR REPLACE INTO seen VALUES (?, ?)", (key, now + for_s))
        return False

    def sweep(self) -> None:
        """Drop what is beyond the bounds: the oldest jobs that ended, and keys that are remembered no longer."""
        with self._writing() as now:
            self._sweep(now)

    def _sweep(self, now: float) -> None:
        for states in (("done", "superseded"), ("dead", "dead")):
            self._database.execute(
                "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE state IN (?, ?) "
                "ORDER BY ended DESC, id DESC LIMIT -1 OFFSET ?)",
                (*states, self.bounds.ended),
            )
        self._database.execute("DELETE FROM seen WHERE until <= ?", (now,))
        self._database.execute(
            "DELETE FROM seen WHERE key IN (SELECT key FROM seen ORDER BY until DESC LIMIT -1 OFFSET ?)",
            (self.bounds.remembered,),
        )

    def overtake(self, kind: str, prefix: str) -> int:
        """Make jobs pointless whose keys begin with `prefix`, as a newer one of their subject would; return how many.

        Those that run end when their worker renews their lease.
        """
        with self._writing() as now:
            where = "substr(key, 1, length(:prefix)) = :prefix"
            return self._overtake(now, where, kind=kind, prefix=prefix)

    def _overtake(self, now: float, where: str, **values: str) -> int:
        self._database.execute(_OVERTAKE.format(which=where), {**values, "now": now})
        return self._database.changes()

    # -- taking and ending ------------------------------------------------------------------------------------------

    def take(self, worker: str, *, lease_s: float, kinds: Collection[str]) -> Job | None:
        """Return the next job of these kinds, which is `worker`'s for `lease_s` seconds, or None when none is due."""
        named = json.dumps(sorted(kinds))
        if not self._anything(named):
            return None
        with self._writing() as now:
            self._database.execute(_EXPIRE, {"now": now, "most": self.bounds.attempts})
            found = self._one(_NEXT, {"now": now, "kinds": named})
            if not isinstance(found, int):
                return None
            self._database.execute(
                "UPDATE jobs SET state = 'taken', worker = ?, lease_until = ?, attempts = attempts + 1, "
                "takes = takes + 1 WHERE id = ?",
                (worker, now + lease_s, found),
            )
            return self._job("id = ?", (found,))

    def _anything(self, kinds: str) -> bool:
        """Say whether taking could find a job; workers that only wait must not hold up those who write."""
        with self._reading() as now:
            expired = self._one("SELECT 1 FROM jobs WHERE state = 'taken' AND lease_until <= ? LIMIT 1", (now,))
            return expired is not None or self._one(_NEXT, {"now": now, "kinds": kinds}) is not None

    def extend(self, job: Job, *, lease_s: float) -> bool:
        """Keep a job for `lease_s` seconds from now; say whether it is still wanted, or overtaken by a newer one."""
        with self._mine(job) as now:
            self._database.execute("UPDATE jobs SET lease_until = ? WHERE id = ?", (now + lease_s, job.id))
            return not self._one("SELECT overtaken FROM jobs WHERE id = ?", (job.id,))

    def done(self, job: Job, *, reason: str | None = None) -> None:
        """End a job that was done; `reason` is what is told of how it went."""
        with self._mine(job) as now:
            self._end(job, State.DONE, reason, now)

    def failed(self, job: Job, reason: str, *, retry_at: float | None) -> State:
        """Have a job tried again at `retry_at`, or never; return where it stands: dead after too many attempts."""
        with self._mine(job) as now:
            if self._one("SELECT overtaken FROM jobs WHERE id = ?", (job.id,)):
                return self._end(job, State.SUPERSEDED, reason, now)
            if retry_at is None or job.attempts >= self.bounds.attempts:
                return self._end(job, State.DEAD, reason, now)
            self._database.execute(
                "UPDATE jobs SET state = 'waiting', worker = NULL, lease_until = NULL, due = ?, reason = ? "
                "WHERE id = ?",
                (retry_at, reason, job.id),
            )
            return State.WAITING

    def release(self, job: Job, *, due: float = 0.0) -> None:
        """Give a job back as if it had not been taken; not before `due` is it taken again."""
        with self._mine(job) as now:
            if self._one("SELECT overtaken FROM jobs WHERE id = ?", (job.id,)):
                self._end(job, State.SUPERSEDED, None, now)
                return
            self._database.execute(
                "UPDATE jobs SET state = 'waiting', worker = NULL, lease_until = NULL, due = ?, "
                "attempts = attempts - 1 WHERE id = ?",
                (due, job.id),
            )

    def _end(self, job: Job, state: State, reason: str | None, now: float) -> State:
        # The payload of a dead one is what a person looks at.
        self._database.execute(
            "UPDATE jobs SET state = ?, reason = ?, ended = ?, worker = NULL, lease_until = NULL, "
            "payload = iif(? = 'dead', payload, x'') WHERE id = ?",
            (state, reason, now, state, job.id),
        )
        return state

    @contextlib.contextmanager
    def _mine(self, job: Job) -> Iterator[float]:
        """Write about a job that this worker has; a lease that ended counts until somebody else took the job."""
        with self._writing() as now:
            if self._one(f"SELECT 1 FROM jobs {_MINE}", {"id": job.id, "takes": job.takes}) is None:
                raise LeaseLostError(
                    f"job {job.id} ({job.kind}) is no longer this worker's", next_step="leave it to whoever has it"
                )
            yield now

    # -- looking ----------------------------------------------------------------------------------------------------

    def find(self, kind: str, key: str) -> Job | None:
        """Return a job, or None when it was never put or is long over."""
        with self._reading():
            return self._job("kind = ? AND key = ?", (kind, key))

    def jobs(self, state: State, *, limit: int = 100) -> list[Job]:
        """Return jobs that stand so, the newest first."""
        with self._reading():
            rows = self._database.execute(
                f"SELECT {_COLUMNS} FROM jobs WHERE state = ? ORDER BY id DESC LIMIT ?", (state, limit)
            )
            return [_row(one) for one in rows]

    def counts(self) -> Mapping[State, int]:
        """Return how many jobs stand how."""
        with self._reading():
            found = dict(self._database.execute("SELECT state, count(*) FROM jobs GROUP BY state"))
        return {state: found.get(str(state), 0) for state in State}

    def _job(self, where: str, values: Sequence[_Value]) -> Job | None:
        rows = list(self._database.execute(f"SELECT {_COLUMNS} FROM jobs WHERE {where}", values))
        return _row(rows[0]) if rows else None

    def _one(self, statement: str, values: Sequence[_Value] | Mapping[str, _Value] = ()) -> object:
        return self._database.execute(statement, values).get

    # -- the file ---------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        # A delivery is acknowledged when it is on the disk, not when it is in a cache.
        self._database.pragma("synchronous", "FULL")
        if self._database.pragma("user_version") == 0:
            for pause in itertools.count():
                try:
                    self._database.pragma("journal_mode", "WAL")
                    break
                except apsw.BusyError:
                    # The change of mode heeds no busy timeout (sqlite.org/wal.html, "Sometimes Queries Return BUSY").
                    if pause > 200:
                        raise
                    time.sleep(0.01)
            with self._writing():
                if self._database.pragma("user_version") == 0:
                    self._database.execute(_SCHEMA.read_text(encoding="utf-8"))
                    self._database.pragma("user_version", VERSION)
        version = self._database.pragma("user_version")
        if version != VERSION:
            raise StoreError(
                f"the queue '{self.path}' is of version {version}, this git hmopt knows {VERSION}",
                next_step="use the git hmopt that wrote it, or move the file away",
            )

    @contextlib.contextmanager
    def _reading(self) -> Iterator[float]:
        with self._lock, self._told():
            yield self._clock()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[float]:
        """Write in one transaction; IMMEDIATE, since two readers that both want to write would both be refused."""
        with self._lock, self._told():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._clock()
                self._database.execute("COMMIT")
            except BaseException:
                # sqlite ends a transaction itself when the disk is full.
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGED as error:
            raise StoreError(
                f"the queue '{self.path}' is damaged ({error})",
                next_step="move it away; `sqlite3 FILE .recover` gets out what can be read",
            ) from error
        except _UNWRITABLE as error:
            raise StoreError(
                f"the queue '{self.path}' cannot be written: {error}", next_step="make room or rights there"
            ) from error
        except apsw.BusyError as error:
            raise StoreError(
                f"the queue '{self.path}' is held by another process: {error}", next_step="see who uses it"
            ) from error


def _row(row: tuple[object, ...]) -> Job:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    values["state"] = State(str(values["state"]))
    values["overtaken"] = bool(values["overtaken"])
    return Job(**values)  # type: ignore[arg-type]  # STRICT columns: sqlite holds to their types
