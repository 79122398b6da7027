# SPDX-License-Identifier: Apache-2.0
"""`<common_dir>/hmopt/structure/<name>.sqlite`: the structure of one build of a source tree, in tables with indexes.

A whole kernel is a million rows, which as Python objects would be gigabytes. The rows of one file as one unit sees it
are a page, and pages are replaced whole. `psg` decides what is in a page; here it is only kept and asked for.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from git_hmopt.errors import StoreError

VERSION = 1
TEXT = 0
"""The unit of a page that was read as text."""
PROVISIONAL = "provisional"
"""The digest of a page of text that is shown in place of what units say, until those are parsed (see `graph.sql`)."""

# Made after the rows of a first build: sorting them once is cheaper than keeping them sorted.
_INDEXES = {
    "definitions_by_symbol": "definitions (symbol)",
    "edges_by_source": "edges (source, relation)",
    "edges_by_target": "edges (target, relation)",
    "symbols_by_name": "symbols (name)",
}
_DAMAGED = (apsw.CorruptError, apsw.NotADBError)
_UNWRITABLE = (apsw.FullError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError, apsw.BusyError)


@dataclass(frozen=True)
class FileRow:
    """A file as it was read last."""

    size: int
    mtime_ns: int
    digest: str
    knobs: tuple[str, ...]


@dataclass(frozen=True)
class UnitRow:
    """A unit and the key of the facts that are in the tables."""

    command: str
    key: str
    state: str
    problems: tuple[tuple[str, int, str], ...]
    inputs: str
    """As JSON: there is one for every unit, and most are never looked into."""
    precompiled: str


class KnobRow(NamedTuple):
    """A config knob as one block of Kconfig has it; the columns of `knobs`."""

    knob: str
    first_line: int
    type: str
    prompt: str
    defaults: tuple[str, ...]
    depends: tuple[str, ...]
    selects: tuple[str, ...]
    implies: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    """The rows of one file as one unit sees it; symbols by their names, the columns as in `graph.sql`."""

    digest: str
    definitions: Sequence[tuple[Any, ...]] = ()
    """(symbol, kind, first_line, last_line, start, end, linkage, is_inline, type, body_hash, attributes)."""
    edges: Sequence[tuple[str, str, str, str, int, int]] = ()
    """(source, target, relation, detail, line, count)."""
    guards: Sequence[tuple[str, int, int, str]] = ()
    """(knob, first_line, last_line, sense)."""
    knobs: Sequence[KnobRow] = ()


def name_of(symbol: str) -> str:
    """Return what a person calls a symbol: without the file, the tag word and the record around it."""
    if symbol.startswith("file "):
        return symbol.removeprefix("file ")
    return symbol.rpartition(":")[2].rpartition(" ")[2].rpartition(".")[2]


class GraphTables:
    """An open database."""

    def __init__(self, database: apsw.Connection) -> None:
        self._database = database
        self._ids: dict[str, int] = {}
        self._knows_all = False
        """Whether every symbol is in `_ids`."""
        self._orphans: set[int] = set()
        self._files: dict[str, int] = {}
        """The ids of files; a file keeps its row for ever."""

    def rows(self, statement: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a statement that reads."""
        return iter(self._database.execute(statement, tuple(values)))

    # -- what is known --------------------------------------------------------------------------------------------

    def get(self, key: str) -> str | None:
        """Return what was remembered under a key."""
        value = self._database.execute("SELECT value FROM meta WHERE key = ?", (key,)).get
        return value if isinstance(value, str) else None

    def remember(self, key: str, value: str) -> None:
        """Remember a value."""
        self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def files(self) -> dict[str, FileRow]:
        """Return every file that was read, by path."""
        rows = self.rows("SELECT path, size, mtime_ns, digest, knobs FROM files WHERE size >= 0")
        return {path: FileRow(size, time, digest, tuple(knobs.split())) for path, size, time, digest, knobs in rows}

    def folders(self) -> dict[str, frozenset[str]]:
        """Return the folders that were searched, with their names."""
        return {path: frozenset(json.loads(names)) for path, names in self.rows("SELECT path, names FROM folders")}

    def units(self) -> dict[str, UnitRow]:
        """Return the units by path."""
        found = {}
        statement = "SELECT path, command, key, state, problems, inputs, precompiled FROM units"
        for path, command, key, state, problems, inputs, precompiled in self.rows(statement):
            told = tuple((file, line, text) for file, line, text in json.loads(problems))
            found[path] = UnitRow(command, key, state, told, inputs, precompiled)
        return found

    def units_with(self, paths: Iterable[str]) -> set[str]:
        """Return the units that opened one of the files."""
        return {
            unit
            for path in paths
            for (unit,) in self.rows(
                "SELECT units.path FROM unit_files JOIN units ON units.id = unit"
                " WHERE file = (SELECT id FROM files WHERE path = ?)",
                (path,),
            )
        }

    def speakers(self) -> dict[str, str]:
        """Return the least unit that opened each file and could be parsed, by file."""
        return dict(
            self.rows(
                "SELECT files.path, min(units.path) FROM unit_files JOIN units ON units.id = unit"
                " JOIN files ON files.id = file WHERE state != 'failed' GROUP BY file"
            )
        )

    def pages(self) -> dict[tuple[str, str], str]:
        """Return the digests of the pages by (file, unit); the unit of text is empty."""
        statement = (
            "SELECT files.path, coalesce(units.path, ''), pages.digest FROM pages JOIN files ON files.id = file"
            " LEFT JOIN units ON units.id = unit"
        )
        return {(file, unit): digest for file, unit, digest in self.rows(statement)}

    # -- writing ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Do all or nothing of what is written inside."""
        with self._database:
            yield
            self._drop_orphans()

    @contextlib.contextmanager
    def first_rows(self) -> Iterator[None]:
        """Take in the rows of a first build; whoever asks meanwhile is answered slowly."""
        for index in _INDEXES:
            self._database.execute(f"DROP INDEX IF EXISTS {index}")
        self._knows_all = next(self.rows("SELECT 1 FROM symbols LIMIT 1"), None) is None
        yield
        _index(self._database)

    def put_files(self, files: Mapping[str, FileRow]) -> None:
        """Remember what files are."""
        self._database.executemany(
            "INSERT INTO files (path, size, mtime_ns, digest, knobs) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (path) DO UPDATE SET size = excluded.size, mtime_ns = excluded.mtime_ns,"
            " digest = excluded.digest, knobs = excluded.knobs",
            [(path, row.size, row.mtime_ns, row.digest, " ".join(row.knobs)) for path, row in files.items()],
        )

    def without_subsystem(self) -> set[str]:
        """Return the files of which no subsystem was looked up."""
        return {path for (path,) in self.rows("SELECT path FROM files WHERE subsystem IS NULL")}

    def put_subsystems(self, subsystems: Mapping[str, str]) -> None:
        """Remember which subsystem files belong to; empty for none."""
        self._database.executemany(
            "UPDATE files SET subsystem = ? WHERE path = ?", [(name, path) for path, name in subsystems.items()]
        )

    def put_folders(self, folders: Mapping[str, frozenset[str]]) -> None:
        """Remember what folders hold."""
        self._database.executemany(
            "INSERT OR REPLACE INTO folders VALUES (?, ?)",
            [(path, json.dumps(sorted(names))) for path, names in folders.items()],
        )

    def put_unit(self, path: str, row: UnitRow, included: Iterable[str]) -> None:
        """Remember a unit and the files it opened."""
        self._database.execute(
            "INSERT INTO units (path, command, key, state, problems, inputs, precompiled) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (path) DO UPDATE SET command = excluded.command, key = excluded.key, state = excluded.state,"
            " problems = excluded.problems, inputs = excluded.inputs, precompiled = excluded.precompiled",
            (path, row.command, row.key, row.state, json.dumps(row.problems), row.inputs, row.precompiled),
        )
        unit = self._unit(path)
        self._database.execute("DELETE FROM unit_files WHERE unit = ?", (unit,))
        self._database.executemany(
            "INSERT OR IGNORE INTO unit_files VALUES (?, ?)", [(self._file(file), unit) for file in included]
        )

    def mark(self, paths: Iterable[str], state: str) -> None:
        """Set the state of units, whose facts stay."""
        self._database.executemany("UPDATE units SET state = ? WHERE path = ?", [(state, path) for path in paths])

    def drop_unit(self, path: str) -> None:
        """Forget a unit and its pages."""
        unit = self._unit(path)
        for (file,) in list(
            self.rows("SELECT files.path FROM pages JOIN files ON files.id = file WHERE unit = ?", (unit,))
        ):
            self.drop_page(file, path)
        self._database.execute("DELETE FROM unit_files WHERE unit = ?", (unit,))
        self._database.execute("DELETE FROM units WHERE id = ?", (unit,))

    def put_page(self, file: str, unit: str, page: Page) -> None:
        """Put a page in the place of the one that the file and unit had; the unit of text is empty."""
        self.drop_page(file, unit)
        number = TEXT if not unit else self._unit(unit)
        self._database.execute(
            "INSERT INTO pages (file, unit, digest) VALUES (?, ?, ?)", (self._file(file), number, page.digest)
        )
        this = self._database.last_insert_rowid()
        named = {row[0] for row in page.definitions}.union(*((row[0], row[1]) for row in page.edges))
        ids = self._symbols(named)
        self._database.executemany(
            "INSERT OR IGNORE INTO definitions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(this, ids[row[0]], *row[1:10], json.dumps(row[10]) if row[10] else "[]") for row in page.definitions],
        )
        self._database.executemany(
            "INSERT OR IGNORE INTO edges VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(this, ids[row[0]], ids[row[1]], *row[2:]) for row in page.edges],
        )
        self._database.executemany(
            "INSERT OR IGNORE INTO guards VALUES (?, ?, ?, ?, ?)", [(this, *row) for row in page.guards]
        )
        self._database.executemany(
            "INSERT OR IGNORE INTO knobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(this, *row[:4], *map(json.dumps, row[4:])) for row in page.knobs],
        )

    def drop_page(self, file: str, unit: str) -> None:
        """Forget a page."""
        number = TEXT if not unit else self._unit(unit)
        found = self._database.execute(
            "SELECT id FROM pages WHERE file = (SELECT id FROM files WHERE path = ?) AND unit = ?", (file, number)
        ).fetchone()
        if found is None:
            return
        (page,) = found
        self._orphans.update(
            symbol
            for (symbol,) in self.rows(
                "SELECT symbol FROM definitions WHERE page = ? UNION SELECT source FROM edges WHERE page = ?"
                " UNION SELECT target FROM edges WHERE page = ?",
                (page, page, page),
            )
        )
        for table in ("definitions", "edges", "guards", "knobs"):
            self._database.execute(f"DELETE FROM {table} WHERE page = ?", (page,))
        self._database.execute("DELETE FROM pages WHERE id = ?", (page,))

    def _drop_orphans(self) -> None:
        """Forget the symbols that nothing names any more."""
        for symbol in self._orphans:
            self._database.execute(
                "DELETE FROM symbols WHERE id = ?1"
                " AND NOT EXISTS (SELECT 1 FROM definitions WHERE symbol = ?1)"
                " AND NOT EXISTS (SELECT 1 FROM edges WHERE source = ?1)"
                " AND NOT EXISTS (SELECT 1 FROM edges WHERE target = ?1)",
                (symbol,),
            )
        if self._orphans:
            self._orphans.clear()
            self._ids.clear()
            self._knows_all = False

    def _symbols(self, named: Iterable[str]) -> Mapping[str, int]:
        """Return the ids of symbols, new ones for those that have none."""
        lacking = sorted({symbol for symbol in named if symbol not in self._ids})
        if not self._knows_all:
            statement = "SELECT symbol, id FROM symbols WHERE symbol IN (SELECT value FROM json_each(?))"
            self._ids.update(self.rows(statement, (json.dumps(lacking),)))
            lacking = [symbol for symbol in lacking if symbol not in self._ids]
        free = int(self._database.execute("SELECT coalesce(max(id), 0) + 1 FROM symbols").get)
        new = dict(zip(lacking, itertools.count(free), strict=False))
        self._database.executemany(
            "INSERT INTO symbols (id, symbol, name) VALUES (?, ?, ?)",
            ((number, symbol, name_of(symbol)) for symbol, number in new.items()),
        )
        self._ids.update(new)
        return self._ids

    def _file(self, path: str) -> int:
        if path not in self._files:
            self._database.execute("INSERT OR IGNORE INTO files (path) VALUES (?)", (path,))
            self._files[path] = int(self._database.execute("SELECT id FROM files WHERE path = ?", (path,)).get)
        return self._files[path]

    def _unit(self, path: str) -> int:
        return int(self._database.execute("SELECT id FROM units WHERE path = ?", (path,)).get)


@contextlib.contextmanager
def memory_graph() -> Iterator[GraphTables]:
    """Give tables that last as long as the question."""
    with contextlib.closing(apsw.Connection(":memory:")) as database:
        _create(database)
        yield GraphTables(database)


def _create(database: apsw.Connection) -> None:
    with database:
        database.execute(Path(__file__).with_name("graph.sql").read_text(encoding="utf-8"))
        _index(database)
        database.pragma("user_version", VERSION)


def _index(database: apsw.Connection) -> None:
    for name, columns in _INDEXES.items():
        database.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {columns}")


@dataclass(frozen=True)
class GraphFile:
    """The file of one graph, and a lock beside it that one update at a time has."""

    path: Path

    @contextlib.contextmanager
    def reading(self) -> Iterator[GraphTables | None]:
        """Give the tables as they stand; None when there are none, or none of this version."""
        if not self.path.is_file():
            yield None
            return
        try:
            with contextlib.closing(apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)) as database:
                database.set_busy_timeout(10_000)
                yield GraphTables(database) if database.pragma("user_version") == VERSION else None
        except (apsw.IOError, apsw.CantOpenError, apsw.BusyError) as error:
            raise StoreError(f"the structure graph '{self.path}' cannot be read: {error}") from error
        except _DAMAGED as error:
            raise self._damaged(error) from error

    @contextlib.contextmanager
    def writing(self, waiting: Callable[[], None] | None = None) -> Iterator[GraphTables]:
        """Give the tables to write to, alone; a file of another version or a damaged one is begun anew.

        `waiting` is called when another process writes them at the moment.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.with_suffix(".lock").open("a") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if waiting is not None:
                        waiting()
                    fcntl.flock(lock, fcntl.LOCK_EX)
                with contextlib.closing(self._usable()) as database:
                    yield GraphTables(database)
        except (OSError, *_UNWRITABLE) as error:
            raise StoreError(
                f"the structure graph '{self.path}' cannot be written: {error}", next_step="make room or rights there"
            ) from error
        except _DAMAGED as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> StoreError:
        return StoreError(
            f"the structure graph '{self.path}' is damaged: {error}",
            next_step="delete it, and it is made again: nothing is lost but time",
        )

    def _usable(self) -> apsw.Connection:
        if self.path.is_file():
            database = apsw.Connection(str(self.path))
            try:
                if database.pragma("user_version") == VERSION:
                    self._set_up(database)
                    # A first build that was killed left none.
                    _index(database)
                    return database
            except _DAMAGED:
                pass
            database.close()
            for suffix in ("", "-journal", "-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        database = self._set_up(apsw.Connection(str(self.path)))
        _create(database)
        return database

    def _set_up(self, database: apsw.Connection) -> apsw.Connection:
        database.set_busy_timeout(10_000)
        database.pragma("journal_mode", "WAL")
        # Lost power loses what can be parsed again.
        database.pragma("synchronous", "OFF")
        database.pragma("cache_size", -(64 << 10))  # KiB; a kernel's tables are more than the default two megabytes
        return database
