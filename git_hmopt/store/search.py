# SPDX-License-Identifier: Apache-2.0
"""`<common_dir>/hmopt/search.sqlite`: entries with their words (FTS5) and their vectors (sqlite-vec).

A file beside the cache and not in it: the cache's bytes depend on the journals alone, and code comes from a commit's
tree. Deleting it loses nothing; a damaged one, or one of another version or model, is made again, and the answer says
so. Vectors are kept as signed bytes; sqlite-vec looks through their signs, a bit a dimension, and the nearest of those
are compared in full. Where it cannot be loaded the words alone are searched.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO

import apsw

from git_hmopt.errors import StoreError
from git_hmopt.store.repository import Repository

VERSION = 2
COARSE = 160
"""Of so many entries, the nearest by the signs, the vectors are compared in full; the time grows with it."""

Value = str | int | None

_DAMAGED = (apsw.CorruptError, apsw.NotADBError)
_UNWRITABLE = (apsw.BusyError, apsw.FullError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError)
_MOST = 4096
"""The most neighbours that sqlite-vec gives (its k)."""


class Kind(StrEnum):
    """What can be searched; the value is the table's name."""

    CODE = "code_chunks"
    TRACES = "trace_summaries"
    FIXES = "fix_cases"


# gcc's copies of a function have names that begin with its own and a dot; `symbols` are parted by spaces.
_ABOUT = {
    Kind.FIXES: "coalesce(substr(symbol || '.', 1, length(:about) + 1) = :about || '.', 0)",
    Kind.TRACES: (
        "(instr(' ' || symbols || ' ', ' ' || :about || ' ') > 0 OR instr(' ' || symbols, ' ' || :about || '.') > 0)"
    ),
}


@dataclass(frozen=True)
class Entry:
    """What is indexed: its columns, the words it is found by, and its vector."""

    columns: Mapping[str, Value]
    words: str
    embedding: bytes
    """One signed byte a dimension."""


class Index:
    """An open database; `vectors` says whether sqlite-vec is there."""

    def __init__(self, database: apsw.Connection, *, model: str, dimension: int, without_vectors: str | None) -> None:
        self._database = database
        self.model = model
        self.dimension = dimension
        self.without_vectors = without_vectors
        """Why vectors are not searched, or None."""
        # Of a database of its own: a damaged one gives none.
        self._tokenizer = apsw.Connection(":memory:").fts5_tokenizer("porter", ["unicode61"])
        self._stems: dict[str, str] = {}

    def create(self) -> None:
        """Make the tables of a new file."""
        self._database.execute(Path(__file__).with_name("search.sql").read_text(encoding="utf-8"))
        self.remember("model", self.model)
        self.remember("dimension", str(self.dimension))
        self.settle()
        # Last: a file that was left half made is of version 0.
        self._database.pragma("user_version", VERSION)

    def reason_against(self) -> str | None:
        """Return why this is no index for our version and model, or None."""
        version = self._database.pragma("user_version")
        if version != VERSION:
            return f"of version {version}"
        kept = (self.get("model"), self.get("dimension"))
        if kept != (self.model, str(self.dimension)):
            return f"of the model {kept[0]} with {kept[1]} dimensions"
        return None

    # -- what is in it ----------------------------------------------------------------------------------------------

    def get(self, key: str) -> str | None:
        """Return what was remembered under a key."""
        value = self._database.execute("SELECT value FROM meta WHERE key = ?", (key,)).get
        return value if isinstance(value, str) else None

    def remember(self, key: str, value: str | None) -> None:
        """Remember a value; None forgets it."""
        if value is None:
            self._database.execute("DELETE FROM meta WHERE key = ?", (key,))
        else:
            self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def sources(self, kind: Kind) -> dict[str, str]:
        """Return what the entries were made of: digests by source."""
        return dict(self._database.execute("SELECT source, digest FROM sources WHERE kind = ?", (kind,)))

    def replace(self, kind: Kind, sources: Iterable[tuple[str, str | None, Sequence[Entry]]]) -> None:
        """Put the entries of (source, digest) in the place of what the source had; None drops it. All or nothing."""
        with _transaction(self._database):
            for source, digest, entries in sources:
                self._drop(kind, source)
                if digest is not None:
                    self._database.execute("INSERT INTO sources VALUES (?, ?, ?)", (kind, source, digest))
                for entry in entries:
                    self._insert(kind, source, entry)

    def _drop(self, kind: Kind, source: str) -> None:
        self._database.execute(
            f"DELETE FROM {kind}_words WHERE rowid IN (SELECT id FROM {kind} WHERE source = ?)", (source,)
        )
        self._database.execute(f"DELETE FROM {kind} WHERE source = ?", (source,))
        self._database.execute("DELETE FROM sources WHERE kind = ? AND source = ?", (kind, source))

    def _insert(self, kind: Kind, source: str, entry: Entry) -> None:
        row = {**entry.columns, "source": source, "model": self.model, "dimension": self.dimension}
        names = ", ".join([*row, "embedding"])
        self._database.execute(
            f"INSERT INTO {kind} ({names}) VALUES ({', '.join('?' * (len(row) + 1))})",
            (*row.values(), entry.embedding),
        )
        self._database.execute(
            f"INSERT INTO {kind}_words (rowid, words) VALUES (?, ?)",
            (self._database.last_insert_rowid(), entry.words),
        )

    def settle(self) -> None:
        """Make the bits what the vectors say, also where they were written without sqlite-vec."""
        if self.without_vectors:
            self.remember("unsettled", "yes")
            return
        with _transaction(self._database):
            for kind in Kind:
                self._settle(kind)
            self.remember("unsettled", None)

    @property
    def settled(self) -> bool:
        """Say whether there are bits for all vectors, or nothing that could use them."""
        return self.without_vectors is not None or self.get("unsettled") is None

    def _settle(self, kind: Kind) -> None:
        self._database.execute(
            f"CREATE VIRTUAL TABLE IF NOT EXISTS {kind}_bits USING vec0 (signs bit[{self.dimension}])"
        )
        # `_rowids` is sqlite-vec's own table: through the virtual one every vector would be read.
        self._database.execute(
            f"DELETE FROM {kind}_bits WHERE rowid IN"
            f" (SELECT rowid FROM {kind}_bits_rowids EXCEPT SELECT id FROM {kind})"
        )
        self._database.execute(
            f"INSERT INTO {kind}_bits (rowid, signs) SELECT id, vec_quantize_binary(vec_int8(embedding))"
            f" FROM {kind} WHERE id NOT IN (SELECT rowid FROM {kind}_bits_rowids)"
        )

    # -- asking it --------------------------------------------------------------------------------------------------

    def stem(self, word: str) -> str:
        """Return a word's stem, as the index of words has it; nothing for what is no word to it."""
        if word not in self._stems:
            flags, options = apsw.FTS5_TOKENIZE_QUERY, {"include_offsets": False, "include_colocated": False}
            found = [str(token) for token in self._tokenizer(word.encode("utf-8", "replace"), flags, None, **options)]
            self._stems[word] = found[0] if found else ""
        return self._stems[word]

    def count(self, kind: Kind) -> int:
        """Return how many entries there are."""
        return int(self._database.execute(f"SELECT count(*) FROM {kind}").get)

    def count_apart(self, kind: Kind, run: str) -> int:
        """Return how many entries there are that a run did not record itself."""
        return int(self._database.execute(f"SELECT count(*) FROM {kind} WHERE run != ?", (run,)).get)

    def frequency(self, kind: Kind, beginning: str, *, whole: bool) -> int:
        """Return how many entries have a stem, or, not `whole`, at the most how many have one that begins so."""
        upper = beginning if whole else beginning + "\U0010ffff"
        statement = f"SELECT coalesce(sum(doc), 0) FROM {kind}_terms WHERE term >= ? AND term <= ?"
        return int(self._database.execute(statement, (beginning, upper)).get)

    def by_words(self, kind: Kind, words: Iterable[str], limit: int, *, below: Sequence[str] = ()) -> list[int]:
        """Return the entries that have some of the words, best first by BM25; `below` restricts their sources."""
        # In quotes nothing is an operator of FTS5's query language.
        expression = " OR ".join('"' + word.replace('"', '""') + '"' for word in words)
        if not expression:
            return []
        within, values = _within(below)
        statement = (
            f"SELECT {kind}.id FROM {kind}_words JOIN {kind} ON {kind}.id = {kind}_words.rowid"
            f" WHERE {kind}_words MATCH ? AND {within} ORDER BY bm25({kind}_words), {kind}.id LIMIT ?"
        )
        return [number for (number,) in self._database.execute(statement, (expression, *values, limit))]

    def by_vector(self, kind: Kind, vector: bytes, limit: int, *, below: Sequence[str] = ()) -> list[int]:
        """Return the entries whose vectors are nearest by cosine, nearest first; none without sqlite-vec."""
        if self.without_vectors:
            return []
        within, values = _within(below)
        elsewhere = f" AND rowid IN (SELECT id FROM {kind} WHERE {within})" if below else ""
        statement = (
            f"WITH near AS MATERIALIZED (SELECT rowid FROM {kind}_bits"
            f" WHERE signs MATCH vec_quantize_binary(vec_int8(?)) AND k = ?{elsewhere})"
            f" SELECT id FROM near JOIN {kind} ON id = near.rowid"
            " ORDER BY vec_distance_cosine(vec_int8(embedding), vec_int8(?)) NULLS LAST, id LIMIT ?"
        )
        asked = (vector, min(_MOST, max(COARSE, limit)), *values, vector, limit)
        return [number for (number,) in self._database.execute(statement, asked)]

    def vector(self, kind: Kind, source: str, symbol: str) -> tuple[int, bytes] | None:
        """Return id and vector of the first entry of a symbol in a source; None when there is none."""
        statement = f"SELECT id, embedding FROM {kind} WHERE source = ? AND symbol = ? ORDER BY id LIMIT 1"
        return next(iter(self._database.execute(statement, (source, symbol))), None)

    def alike(
        self, kind: Kind, vector: bytes, limit: int, *, least: float, below: Sequence[str] = (), apart: str = "",
        about: str = "",
    ) -> list[tuple[int, float, bool]]:  # fmt: skip
        """Return the entries most like a vector: id, cosine to three places, and whether the entry is `about` a symbol.

        Those about the symbol come first, however little alike they are; of the others those of at least `least`.
        Every vector is compared in full and equals are ordered by their source, so that the order says nothing of when
        what was indexed. `apart` leaves out what a run recorded itself. None without sqlite-vec.
        """
        if self.without_vectors:
            return []
        within, values = _within(below)
        names = "0" if kind is Kind.CODE or not about else _ABOUT[kind]
        others = "1" if kind is Kind.CODE else "run != :run"
        numbered = {f"p{place}": value for place, value in enumerate(values)}
        for name in numbered:
            within = within.replace("?", f":{name}", 1)
        statement = (
            f"WITH compared AS (SELECT id, source, {names} AS same,"
            " coalesce(round(1 - vec_distance_cosine(vec_int8(embedding), vec_int8(:vector)), 3), 0) AS likeness"
            f" FROM {kind} WHERE {within} AND {others})"
            " SELECT id, likeness, same FROM compared WHERE same OR likeness >= :least"
            " ORDER BY same DESC, likeness DESC, source, id LIMIT :most"
        )
        asked = {"vector": vector, "run": apart, "about": about, "least": least, "most": limit, **numbered}
        return [(number, likeness, bool(same)) for number, likeness, same in self._database.execute(statement, asked)]

    def rows(self, kind: Kind, ids: Sequence[int], columns: Sequence[str]) -> list[tuple[Value, ...]]:
        """Return columns of entries, in the order of `ids`."""
        statement = f"SELECT {', '.join(columns)} FROM {kind} WHERE id = ?"
        return [row for number in ids for row in self._database.execute(statement, (number,))]


class DamagedIndexError(StoreError):
    """The file is not what was written; it has to be made again."""


@dataclass(frozen=True)
class SearchFile:
    """The file, for vectors of one model; a lock beside it, which readers share and a writer has alone."""

    repository: Repository
    model: str
    dimension: int

    @property
    def path(self) -> Path:
        """Return where the database lies."""
        return self.repository.home / "search.sqlite"

    @contextlib.contextmanager
    def reading(self) -> Iterator[Index | None]:
        """Give the index as it stands, for reading only; None when it must be made or made again.

        DamagedIndexError when what is asked of it meets damage.
        """
        with self._locked(fcntl.LOCK_SH), contextlib.ExitStack() as stack:
            index = None
            if self.path.is_file():
                with contextlib.suppress(*_DAMAGED, apsw.CantOpenError):
                    index = self._opened(stack, apsw.SQLITE_OPEN_READONLY)
                    index = index if index.reason_against() is None else None
            with self._damage_told():
                yield index

    @contextlib.contextmanager
    def writing(self, *, again: str | None = None) -> Iterator[tuple[Index, str | None]]:
        """Give the index to write to, alone, and why it was made again, or None; with `again` it is, for that reason.

        DamagedIndexError when what is done with it meets damage, StoreError when it cannot be written.
        """
        with self._locked(fcntl.LOCK_EX), contextlib.ExitStack() as stack:
            try:
                with self._damage_told():
                    yield self._usable(stack, again)
            except (OSError, *_UNWRITABLE) as error:
                raise StoreError(
                    f"the search index '{self.path}' cannot be written: {error}",
                    next_step="free space there and run it again",
                ) from error

    @contextlib.contextmanager
    def _damage_told(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGED as error:
            raise DamagedIndexError(f"damaged ({error})", next_step=f"delete '{self.path}'") from error

    def _usable(self, stack: contextlib.ExitStack, reason: str | None) -> tuple[Index, str | None]:
        if self.path.is_file():
            with contextlib.ExitStack() as attempt:
                try:
                    index = self._opened(attempt, apsw.SQLITE_OPEN_READWRITE)
                    reason = reason or index.reason_against()
                except _DAMAGED as error:
                    reason = f"damaged ({error})"
                if reason is None:
                    stack.push(attempt.pop_all())
                    return index, None
            for suffix in ("", "-journal", "-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        fresh = self._opened(stack, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
        fresh.create()
        return fresh, reason

    def _opened(self, stack: contextlib.ExitStack, flags: int) -> Index:
        database = stack.enter_context(contextlib.closing(apsw.Connection(str(self.path), flags=flags)))
        database.set_busy_timeout(10_000)
        if flags & apsw.SQLITE_OPEN_READWRITE:
            # A torn file is found and made again.
            database.pragma("synchronous", "OFF")
        without = load_vectors(database)
        return Index(database, model=self.model, dimension=self.dimension, without_vectors=without)

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            opened: IO[str] = self.path.with_name("search.lock").open("a")
        except OSError as error:
            raise StoreError(
                f"no search index can be kept at '{self.path}': {error.strerror}",
                next_step="make its directory writable",
            ) from error
        with opened as lock:
            fcntl.flock(lock, how)
            yield


def load_vectors(database: apsw.Connection) -> str | None:
    """Load sqlite-vec into a connection; return why it cannot be, or None."""
    try:
        path = importlib.import_module("sqlite_vec").loadable_path()
    except ImportError:
        return "sqlite-vec is not installed"
    try:
        database.enable_load_extension(True)
        database.load_extension(path)
        # What is searched for must not be able to load more.
        database.enable_load_extension(False)
    except (apsw.Error, AttributeError) as error:
        return f"sqlite-vec cannot be loaded: {error}"
    return None


def _within(below: Sequence[str]) -> tuple[str, list[str]]:
    """Return a condition on `source`, and its values: one of the files, or below one of the directories."""
    if not below:
        return "1", []
    # '0' is the character after '/'.
    condition = " OR ".join("source = ? OR (source > ? AND source < ?)" for _ in below)
    return f"({condition})", [value for path in below for value in (path, f"{path}/", f"{path}0")]


@contextlib.contextmanager
def _transaction(database: apsw.Connection) -> Iterator[None]:
    database.execute("BEGIN")
    try:
        yield
        database.execute("COMMIT")
    finally:
        # A full disk ends the transaction by itself; apsw's own context manager then hides why.
        if database.in_transaction:
            database.execute("ROLLBACK")
