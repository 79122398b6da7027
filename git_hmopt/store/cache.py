# SPDX-License-Identifier: Apache-2.0
"""The derived sqlite cache: the design's tables, brought up to date from the journals and rebuilt at any time.

Imports neither pydantic nor pygit2: when the journals stand where they stood, one `git for-each-ref` and a query
answer. Deleting the file loses nothing; a damaged or older one is rebuilt, and the answer says so.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import apsw

from git_hmopt.errors import StoreError
from git_hmopt.records.words import CARE, JOURNALS, Oid, RefName
from git_hmopt.store.repository import Repository

VERSION = 8
TABLES = frozenset(
    {
        *("meta", "journal_heads", "skipped", "operations", "runs", "artifacts", "metrics", "hotspots", "graphs"),
        *("patches", "evaluations", "confirmations", "agent_messages", "node_times", "retractions", "cutoffs"),
    }
)
"""What `schema.sql` makes."""

_SCHEMA = Path(__file__).with_name("schema.sql")
_DAMAGED = (apsw.CorruptError, apsw.NotADBError)
_UNWRITABLE = (apsw.BusyError, apsw.FullError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError)


@dataclass(frozen=True)
class Refreshed:
    """What bringing the cache up to date did."""

    operations: int
    """How many operations were read from git."""
    rebuilt: str | None
    """Why everything was read again, or None."""


@dataclass(frozen=True)
class Cache:
    """`<common_dir>/hmopt/cache.sqlite`, and the lock beside it.

    Readers share the lock, writers have it alone: a rebuild replaces the file, which sqlite's own locks do not survive.
    """

    repository: Repository

    @property
    def path(self) -> Path:
        """Return where the database lies."""
        return self.repository.home / "cache.sqlite"

    def refresh(self) -> Refreshed:
        """Read what the journals have that the cache has not; rebuild a missing, damaged or older cache."""
        standing = self._standing(self._heads())
        with self._locked(fcntl.LOCK_SH), self._usable(writable=False) as database:
            if not isinstance(database, str) and _is_current(database, standing):
                return Refreshed(0, None)
        with self._locked(fcntl.LOCK_EX):
            with self._usable(writable=True) as database:
                reason = database if isinstance(database, str) else None
                if not isinstance(database, str):
                    try:
                        return Refreshed(self._update(database), None)
                    except _DAMAGED as error:
                        reason = f"damaged ({error})"
                    except _UNWRITABLE as error:
                        if getattr(error, "extendedresult", None) != apsw.SQLITE_READONLY_DBMOVED:
                            raise self._refused(error) from error
                        # Whoever deletes it asks for no lock.
                        reason = "deleted while it was written"
            return Refreshed(self._rebuild(), reason)

    def rebuild(self) -> Refreshed:
        """Read all journals into a new database; the same journals give the same bytes."""
        with self._locked(fcntl.LOCK_EX):
            return Refreshed(self._rebuild(), "asked for")

    def check(self, *, compare: bool = True) -> str | None:
        """Return how the cache is damaged, or other than a rebuild from git would be, or None; nothing is written.

        One that is missing, older, or behind the journals is none of that: the next reader brings it up to date.
        """
        with self._locked(fcntl.LOCK_SH), self._usable(writable=False) as database:
            if isinstance(database, str):
                return database if database.startswith("damaged") else None
            try:
                ((said,), *_) = database.execute("PRAGMA integrity_check(1)")
                if said != "ok":
                    return f"damaged ({said})"
                return self._differs(database) if compare else None
            except _DAMAGED as error:
                return f"damaged ({error})"

    def _differs(self, database: apsw.Connection) -> str | None:
        """Return the first table that is other than a rebuild's, once both are brought up to date in memory."""
        with (
            contextlib.closing(apsw.Connection(":memory:")) as mine,
            contextlib.closing(apsw.Connection(":memory:")) as fresh,
        ):
            with mine.backup("main", database, "main") as copying:
                copying.step()
            fresh.execute(_SCHEMA.read_text(encoding="utf-8"))
            self._update(mine)
            self._update(fresh)
            for table in sorted(TABLES):
                # The tables are in the order of their keys, whatever the order of insertion was.
                rows = (one.execute(f"SELECT * FROM {table}") for one in (mine, fresh))
                if any(ours != theirs for ours, theirs in itertools.zip_longest(*rows)):
                    return f"its table '{table}' is other than a rebuild's"
        return None

    @contextlib.contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """Bring the cache up to date and give a read-only connection to it; in memory where nothing can be written.

        StoreError when what is asked of it meets damage: that a file is whole cannot be seen without reading it all.
        """
        if _is_read_only(self.path.parent):
            yield self._in_memory()
            return
        for _ in range(5):
            self.refresh()
            with self._locked(fcntl.LOCK_SH), self._usable(writable=False) as database:
                # Between the two somebody may have deleted the file.
                if not isinstance(database, str):
                    try:
                        yield database
                    except _DAMAGED as error:
                        raise StoreError(
                            f"the cache '{self.path}' is damaged ({error})", next_step="run: git hmopt cache rebuild"
                        ) from error
                    return
        raise StoreError(f"'{self.path}' vanishes as soon as it is written", next_step="see who deletes it")

    def _in_memory(self) -> apsw.Connection:
        """Return a database of its own for a repository that only others may write to."""
        database = apsw.Connection(":memory:")
        database.execute(_SCHEMA.read_text(encoding="utf-8"))
        self._update(database)
        database.pragma("query_only", True)
        return database

    # -- reading and writing ----------------------------------------------------------------------------------------

    def _heads(self) -> dict[RefName, Oid]:
        return self.repository.list_refs(JOURNALS, CARE)

    @contextlib.contextmanager
    def _usable(self, *, writable: bool) -> Iterator[apsw.Connection | str]:
        """Give the database, or the reason why it cannot be used as it is."""
        if not self.path.is_file():
            yield "missing"
            return
        with contextlib.ExitStack() as stack:
            try:
                database = stack.enter_context(contextlib.closing(_open(self.path, writable=writable)))
                reason = _reason_against(database)
            except apsw.CantOpenError:
                reason = "missing"
            except apsw.ReadOnlyError:
                # An update was killed: whoever opens it for writing plays its journal back.
                reason = "in the middle of an update"
            except _DAMAGED as error:
                reason = f"damaged ({error})"
            yield reason or database

    def _rebuild(self) -> int:
        fresh = self.path.with_name("cache.sqlite.new")
        compact = self.path.with_name("cache.sqlite.compact")
        try:
            _remove(fresh, compact)
            with contextlib.closing(_open(fresh, create=True)) as database:
                database.execute(_SCHEMA.read_text(encoding="utf-8"))
                database.pragma("user_version", VERSION)
                database.pragma("synchronous", "OFF")  # nobody has it yet; a torn copy is found and rebuilt
                count = self._update(database)
                # The order of insertion shows in a database's pages; a vacuumed copy depends on the rows alone.
                database.execute("VACUUM INTO ?", (str(compact),))
            # First the old database goes, then its rollback journal: the other way round a crash between the two
            # would leave a torn database, and a journal without its database would be played into the new one.
            _remove(self.path)
            compact.replace(self.path)
            _remove(fresh)
        except (OSError, *_UNWRITABLE) as error:
            raise self._refused(error) from error
        return count

    def _update(self, database: apsw.Connection) -> int:
        # Here and not above: what reads journals takes time to import, and `list` mostly does without.
        from git_hmopt.store.cache_rows import update

        heads = self._heads()
        return update(database, self.repository, heads, self._standing(heads))

    def _standing(self, heads: Mapping[RefName, Oid]) -> str:
        """Return a digest of all that the cache depends on: where the journals stand, and where this clone is cut."""
        listing = "\n".join(f"{oid} {ref}" for ref, oid in sorted(heads.items()))
        shallow = self.repository.common_dir / "shallow"
        cuts = shallow.read_bytes() if shallow.is_file() else b""
        return hashlib.sha256(listing.encode("utf-8", "surrogateescape") + b"\0" + cuts).hexdigest()

    def _refused(self, error: Exception) -> StoreError:
        return StoreError(
            f"the cache '{self.path}' cannot be written: {error}", next_step="free space there and run it again"
        )

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            opened = self.path.with_name("cache.lock").open("a")
        except OSError as error:
            raise StoreError(
                f"no cache can be kept at '{self.path}': {error.strerror}", next_step="make its directory writable"
            ) from error
        with opened as lock:
            fcntl.flock(lock, how)
            yield


def _is_read_only(home: Path) -> bool:
    """Say whether nothing can be kept in a directory, or in the one where it would be made."""
    place = home if home.is_dir() else home.parent
    return not os.access(place, os.W_OK | os.X_OK)


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
        for suffix in ("-journal", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


def _open(path: Path, *, writable: bool = True, create: bool = False) -> apsw.Connection:
    flags = apsw.SQLITE_OPEN_READWRITE if writable else apsw.SQLITE_OPEN_READONLY
    database = apsw.Connection(str(path), flags=flags | (apsw.SQLITE_OPEN_CREATE if create else 0))
    database.set_busy_timeout(10_000)
    return database


def _reason_against(database: apsw.Connection) -> str | None:
    version = database.pragma("user_version")
    if version != VERSION:
        return f"of version {version}"
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    return None if tables >= TABLES else "incomplete"


def _is_current(database: apsw.Connection, standing: str) -> bool:
    try:
        return bool(database.execute("SELECT value FROM meta WHERE key = 'standing'").get == standing)
    except _DAMAGED:
        return False
