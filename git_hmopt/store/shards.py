# SPDX-License-Identifier: Apache-2.0
"""What parsing gave, by the key of what went in: shared by all clones, branches and worktrees of a user.

One SQLite file in the user's cache folder. Deleting it loses time and nothing else; one that is damaged or of another
version is begun anew. Values are opaque bytes; their digest is kept beside them and checked when they are read.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import apsw

from git_hmopt.errors import StoreError

VERSION = 1
_SCHEMA = """
CREATE TABLE inputs (
    command TEXT NOT NULL, key TEXT NOT NULL, inputs BLOB NOT NULL, used INTEGER NOT NULL, PRIMARY KEY (command, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE shards (
    key TEXT NOT NULL, path TEXT NOT NULL, digest BLOB NOT NULL, facts BLOB NOT NULL, PRIMARY KEY (key, path)
) STRICT, WITHOUT ROWID;
"""
_DAMAGED = (apsw.CorruptError, apsw.NotADBError)
MOST_BYTES = 2 << 30
"""The oldest half goes when the file has grown to this."""


@dataclass(frozen=True)
class Shards:
    """The open file."""

    database: apsw.Connection
    path: Path

    def inputs(self, commands: Iterable[str]) -> dict[str, list[tuple[str, bytes]]]:
        """Return what is known of each command: (key, inputs), the one used last first."""
        found: dict[str, list[tuple[str, bytes]]] = {}
        for command in commands:
            rows = self.database.execute(
                "SELECT key, inputs FROM inputs WHERE command = ? ORDER BY used DESC LIMIT 16", (command,)
            )
            found[command] = [(key, data) for key, data in rows]
        return found

    def shard(self, key: str, path: str) -> bytes | None:
        """Return the facts of one file of a unit; None when they are not there or not what was written."""
        row = self.database.execute(
            "SELECT digest, facts FROM shards WHERE key = ? AND path = ?", (key, path)
        ).fetchone()
        if row is None or hashlib.sha256(row[1]).digest() != row[0]:
            return None
        return bytes(row[1])

    def paths(self, key: str) -> set[str]:
        """Return the files whose facts are kept under a key."""
        return {path for (path,) in self.database.execute("SELECT path FROM shards WHERE key = ?", (key,))}

    def put(self, command: str, key: str, inputs: bytes, facts: Mapping[str, bytes]) -> None:
        """Keep a unit's inputs and facts; what the key has already stays."""
        with self.database:
            self.database.execute("INSERT OR REPLACE INTO inputs VALUES (?, ?, ?, ?)", (command, key, inputs, _now()))
            self.database.executemany(
                "INSERT OR REPLACE INTO shards VALUES (?, ?, ?, ?)",
                [(key, path, hashlib.sha256(data).digest(), data) for path, data in facts.items()],
            )

    def used(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Remember that (command, key) were used now."""
        with self.database:
            self.database.executemany(
                "UPDATE inputs SET used = ? WHERE command = ? AND key = ?",
                [(_now(), command, key) for command, key in pairs],
            )

    def trim(self) -> None:
        """Drop the half that was not used for the longest time when the file is too large."""
        pages = self.database.pragma("page_count") * self.database.pragma("page_size")
        if pages <= MOST_BYTES:
            return
        with self.database:
            self.database.execute(
                "DELETE FROM inputs WHERE used <= (SELECT used FROM inputs ORDER BY used LIMIT 1"
                " OFFSET (SELECT count(*) / 2 FROM inputs))"
            )
            self.database.execute("DELETE FROM shards WHERE key NOT IN (SELECT key FROM inputs)")
        self.database.execute("VACUUM")


def _now() -> int:
    return int(time.time())


@contextlib.contextmanager
def opened_shards(path: Path) -> Iterator[Shards]:
    """Open the file, or begin it anew where it is damaged or of another version; StoreError when it cannot be kept."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(_usable(path)) as database:
            yield Shards(database, path)
    except (OSError, apsw.CantOpenError, apsw.ReadOnlyError, apsw.FullError, apsw.IOError) as error:
        raise StoreError(
            f"the facts of parsed units cannot be kept in '{path}': {error}",
            next_step="make its folder writable, or set XDG_CACHE_HOME to one that is",
        ) from error


def _usable(path: Path) -> apsw.Connection:
    for attempt in (1, 2):
        database = apsw.Connection(str(path))
        try:
            database.set_busy_timeout(10_000)
            if database.pragma("user_version") == 0:
                _create(database)
            if database.pragma("user_version") != VERSION:
                raise apsw.CorruptError("of another version")
            # Lost power loses what can be parsed again.
            database.pragma("synchronous", "OFF")
        except _DAMAGED:
            database.close()
            if attempt == 2:
                raise
            for suffix in ("", "-journal", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
        else:
            return database
    raise AssertionError("unreachable")


def _create(database: apsw.Connection) -> None:
    """Make the tables, unless another process does at this moment."""
    database.pragma("journal_mode", "WAL")
    database.execute("BEGIN IMMEDIATE")
    if database.pragma("user_version") == 0:
        database.execute(_SCHEMA)
        database.pragma("user_version", VERSION)
    database.execute("COMMIT")
