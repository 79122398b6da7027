# SPDX-License-Identifier: Apache-2.0
"""The derived sqlite cache: the design's tables, brought up to date from the journals and rebuilt at any time.

Imports neither pydantic nor pygit2: when the journals stand where they stood, one `git for-each-ref` and a query
answer. Deleting the file loses nothing; a damaged or older one is rebuilt, and the answer says so.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import apsw

from git_hmopt.errors import StoreError
from git_hmopt.records.words import JOURNALS, Oid, RefName, RunId
from git_hmopt.store.chain import Chain, JournalName, Wanted, read_chains
from git_hmopt.store.fold import TABLES, Row, Value, fold
from git_hmopt.store.repository import Repository

VERSION = 1
_NO_JOURNAL = "not a journal's name"
_TABLES_BY_RUN = tuple(dict.fromkeys(table.name for table in TABLES))


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
        heads = self._heads()
        with self._locked(fcntl.LOCK_SH), self._usable(writable=False) as database:
            if not isinstance(database, str) and _is_current(database, heads):
                return Refreshed(0, None)
        with self._locked(fcntl.LOCK_EX):
            with self._usable(writable=True) as database:
                reason = database if isinstance(database, str) else None
                if not isinstance(database, str):
                    try:
                        return Refreshed(_update(database, self.repository, self._heads()), None)
                    except (apsw.CorruptError, apsw.NotADBError) as error:
                        reason = f"damaged ({error})"
            return Refreshed(self._rebuild(), reason)

    def rebuild(self) -> Refreshed:
        """Read all journals into a new database; the same journals give the same bytes."""
        with self._locked(fcntl.LOCK_EX):
            return Refreshed(self._rebuild(), "asked for")

    @contextlib.contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """Bring the cache up to date and give a read-only connection to it."""
        for _ in range(5):
            self.refresh()
            with self._locked(fcntl.LOCK_SH), self._usable(writable=False) as database:
                # Between the two somebody may have deleted the file.
                if not isinstance(database, str):
                    yield database
                    return
        raise StoreError(f"'{self.path}' vanishes as soon as it is written", next_step="see who deletes it")

    # -- reading and writing ----------------------------------------------------------------------------------------

    def _heads(self) -> dict[RefName, Oid]:
        return self.repository.list_refs(JOURNALS)

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
            except (apsw.CorruptError, apsw.NotADBError) as error:
                reason = f"damaged ({error})"
            yield reason or database

    def _rebuild(self) -> int:
        fresh = self.path.with_name("cache.sqlite.new")
        compact = self.path.with_name("cache.sqlite.compact")
        try:
            _remove(fresh, compact)
            with contextlib.closing(_open(fresh, create=True)) as database:
                database.execute(Path(__file__).with_name("schema.sql").read_text(encoding="utf-8"))
                database.pragma("user_version", VERSION)
                database.pragma("synchronous", "OFF")  # nobody has it yet; a torn copy is found and rebuilt
                count = _update(database, self.repository, self._heads())
                # The order of insertion shows in a database's pages; a vacuumed copy depends on the rows alone.
                database.execute("VACUUM INTO ?", (str(compact),))
            # First the old database goes, then its rollback journal: the other way round a crash between the two
            # would leave a torn database, and a journal without its database would be played into the new one.
            _remove(self.path)
            compact.replace(self.path)
            _remove(fresh)
        except (OSError, apsw.FullError, apsw.IOError, apsw.CantOpenError) as error:
            raise StoreError(
                f"the cache '{self.path}' cannot be written: {error}", next_step="free space there and run it again"
            ) from error
        return count

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            opened = self.path.with_name("cache.lock").open("a")
        except OSError as error:
            raise StoreError(f"no cache can be kept at '{self.path}': {error.strerror}") from error
        with opened as lock:
            fcntl.flock(lock, how)
            yield


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
    return None if tables >= {"meta", "runs", "operations", *_TABLES_BY_RUN} else "incomplete"


def _is_current(database: apsw.Connection, heads: Mapping[RefName, Oid]) -> bool:
    try:
        return bool(database.execute("SELECT value FROM meta WHERE key = 'heads'").get == _digest(heads))
    except (apsw.CorruptError, apsw.NotADBError):
        return False


def _digest(heads: Mapping[RefName, Oid]) -> str:
    listing = "\n".join(f"{oid} {ref}" for ref, oid in sorted(heads.items()))
    return hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()


def _update(database: apsw.Connection, repository: Repository, heads: Mapping[RefName, Oid]) -> int:
    """Fold what is new into the database, all or nothing; return how many operations were read."""
    with database:
        known = {RefName(ref): Oid(oid) for ref, oid in database.execute("SELECT ref, oid FROM journal_heads")}
        gone = {name.run for ref in known.keys() - heads.keys() if (name := JournalName.of(ref))}
        moved = [ref for ref, oid in heads.items() if known.get(ref) != oid and JournalName.of(ref)]
        count = 0
        wanted = [Wanted(ref, heads[ref], known.get(ref)) for ref in sorted(moved)]
        for chain in read_chains(repository.objects, wanted) if wanted else ():
            name = _name(chain.ref)
            if known.get(chain.ref) and not chain.continues:
                # Rewound: what the cache has of this run may not be true any more.
                gone.add(name.run)
            elif name.run not in gone:
                count += _fold_chain(database, chain)
        count += _fold_again(database, repository, gone, heads)
        _finish(database, heads, {_name(ref).run for ref in moved} | gone)
    return count


def _name(ref: RefName) -> JournalName:
    name = JournalName.of(ref)
    if name is None:
        raise ValueError(f"{ref} was checked to be a journal")
    return name


def _fold_again(
    database: apsw.Connection, repository: Repository, runs: set[RunId], heads: Mapping[RefName, Oid]
) -> int:
    for run in runs:
        for table in ("operations", "skipped", *_TABLES_BY_RUN):
            database.execute(f"DELETE FROM {table} WHERE run = ?", (run,))
        database.execute("DELETE FROM runs WHERE name = ?", (run,))
    refs = [ref for ref in sorted(heads) if (name := JournalName.of(ref)) and name.run in runs]
    chains = read_chains(repository.objects, [Wanted(ref, heads[ref]) for ref in refs]) if refs else ()
    return sum(_fold_chain(database, chain) for chain in chains)


def _finish(database: apsw.Connection, heads: Mapping[RefName, Oid], runs: set[RunId]) -> None:
    # The last word on a run's status is the last operation that sets one, in the order of all writers.
    database.executemany(
        "UPDATE runs SET status = coalesce((SELECT status FROM operations WHERE run = name AND status IS NOT NULL"
        " ORDER BY lamport DESC, writer DESC LIMIT 1), status) WHERE name = ?",
        [(run,) for run in sorted(runs)],
    )
    database.execute("DELETE FROM journal_heads")
    named = [(ref, JournalName.of(ref), oid) for ref, oid in sorted(heads.items())]
    database.executemany(
        "INSERT INTO journal_heads VALUES (?, ?, ?, ?)",
        [(ref, name.run, name.writer, oid) for ref, name, oid in named if name],
    )
    database.execute("DELETE FROM skipped WHERE reason = ?", (_NO_JOURNAL,))
    strangers = sum(1 for _, name, _ in named if not name)
    if strangers:
        database.execute("INSERT INTO skipped VALUES ('', '', ?, ?)", (_NO_JOURNAL, strangers))
    database.execute("INSERT OR REPLACE INTO meta VALUES ('heads', ?)", (_digest(heads),))


def _fold_chain(database: apsw.Connection, chain: Chain) -> int:
    name = _name(chain.ref)
    skipped = Counter(chain.skipped)
    for entry in chain.entries:
        fields, folded = entry.fields, fold(entry)
        place = (fields["run"], fields["writer"], fields["lamport"])
        step = (fields["iter"], fields["node"], fields["attempt"], fields["op"])
        database.execute(
            "INSERT OR IGNORE INTO operations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*place, *step, fields["at"], folded.status, entry.commit),
        )
        if not database.changes():
            skipped["recorded twice"] += 1
            continue
        skipped.update(folded.skipped)
        if folded.run and not _insert_run(database, folded.run):
            skipped["malformed run"] += 1
        skipped.update(f"malformed {row.key}" for row in folded.rows if not _insert(database, row))
    for reason, count in sorted(skipped.items()):
        database.execute(
            "INSERT INTO skipped VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
            (name.run, name.writer, reason, count),
        )
    return len(chain.entries)


def _insert(database: apsw.Connection, row: Row) -> bool:
    """Insert a row; False when the table refuses it (a key is missing, or of the wrong type)."""
    return _execute(
        database, f"INSERT INTO {row.table} ({_names(row.values)}) VALUES ({_marks(row.values)})", row.values
    )


def _insert_run(database: apsw.Connection, run: Mapping[str, Value]) -> bool:
    """Insert a run; of several descriptions of one run the first counts, in the order of all writers."""
    columns = ", ".join(f"{column} = excluded.{column}" for column in run if column != "name")
    return _execute(
        database,
        f"INSERT INTO runs ({_names(run)}) VALUES ({_marks(run)}) ON CONFLICT (name) DO UPDATE SET {columns}"
        " WHERE (excluded.lamport, excluded.writer) < (lamport, writer)",
        run,
    )


def _execute(database: apsw.Connection, statement: str, values: Mapping[str, Value]) -> bool:
    try:
        database.execute(statement, tuple(values.values()))
    except (apsw.ConstraintError, apsw.MismatchError, OverflowError):
        return False
    return True


def _names(values: Mapping[str, Value]) -> str:
    return ", ".join(values)


def _marks(values: Mapping[str, Value]) -> str:
    return ", ".join("?" * len(values))
