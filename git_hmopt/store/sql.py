# SPDX-License-Identifier: Apache-2.0
"""Answer a query over the cache that somebody typed: it reads, it ends, and it leaves nothing behind."""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import apsw

from git_hmopt.errors import StoreError, UsageError
from git_hmopt.store.schema import documented_tables

Cell = str | int | float | bytes | None

MOST_CELLS = 5_000_000
MOST_BYTES = 256 << 20
"""An answer is collected before it is printed, so that a reader that pauses does not hold up those who record."""
_LONGEST_VALUE = 64 << 20
_STEPS = 20_000
"""Of sqlite's machine between two looks at the clock, and at Ctrl-C: about a millisecond."""

_READS = frozenset({apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_RECURSIVE})
_PROMPT = "see: git hmopt sql --tables"
# What a statement is to blame for, and nothing else: damage is told by who opened the cache.
_BLAMED = (
    *(apsw.SQLError, apsw.AuthError, apsw.TooBigError, apsw.NoMemError, apsw.MismatchError, apsw.RangeError),
    *(apsw.BindingsError, apsw.ExecTraceAbort),
)


@dataclass(frozen=True)
class Answer:
    """What a query found."""

    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]


@dataclass
class _Guard:
    """What sqlite asks before it does anything, and every so often while it works."""

    deadline: float
    refused: str | None = None
    columns: tuple[str, ...] = ()
    several: bool = False

    def allow(self, action: int, first: str | None, second: str | None, *_: str | None) -> int:
        """Say whether a statement may do something; connections that only read could still attach and load."""
        if action in _READS or (action == apsw.SQLITE_FUNCTION and second != "load_extension"):
            return int(apsw.SQLITE_OK)
        # Full-text tables ask for it themselves.
        if action == apsw.SQLITE_PRAGMA and first == "data_version" and second is None:
            return int(apsw.SQLITE_OK)
        named = {apsw.SQLITE_PRAGMA: f"PRAGMA {first}", apsw.SQLITE_FUNCTION: f"{second}()"}
        self.refused = self.refused or named.get(action, "")
        return int(apsw.SQLITE_DENY)

    def late(self) -> bool:
        """Say whether the time is up."""
        return time.monotonic() >= self.deadline

    def only(self, cursor: apsw.Cursor, *_: object) -> bool:
        """Let one statement through, and note its columns, which nobody tells afterwards when there was no row."""
        columns = tuple(name for name, _ in cursor.get_description())
        # Without a column it is a comment, or the nothing behind a semicolon.
        self.several = bool(columns and self.columns)
        self.columns = columns or self.columns
        return not self.several


def ask(database: apsw.Connection, statement: str, *, seconds: float) -> Answer:
    """Return the answer to one SELECT; UsageError says what is wrong with it, StoreError that `seconds` are over.

    Nothing can be written, attached or loaded, whatever the statement says.
    """
    try:
        statement.encode()
    except UnicodeEncodeError as error:
        raise UsageError("the query is no Unicode text") from error
    guard = _Guard(time.monotonic() + seconds)
    cursor = database.cursor()
    cursor.exec_trace = guard.only
    with _guarded(database, guard):
        try:
            rows = _collected(cursor.execute(statement))
        except apsw.InterruptError as error:
            raise StoreError(
                f"the query did not end within {seconds:g} s", next_step="give it longer with --time SECONDS"
            ) from error
        except _BLAMED as error:
            raise _blame(statement, guard, error) from error
    if not guard.columns:
        raise UsageError("the query is empty", next_step=_PROMPT)
    return Answer(guard.columns, rows)


@contextmanager
def _guarded(database: apsw.Connection, guard: _Guard) -> Iterator[None]:
    database.authorizer = guard.allow
    database.set_progress_handler(guard.late, _STEPS)
    longest = database.limit(apsw.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
    try:
        yield
    finally:
        database.limit(apsw.SQLITE_LIMIT_LENGTH, longest)
        database.set_progress_handler(None)
        database.authorizer = None


def _collected(cursor: apsw.Cursor) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    cells = size = 0
    for row in cursor:
        rows.append(row)
        cells += len(row)
        size += sum(len(cell) for cell in row if isinstance(cell, str | bytes))
        if cells > MOST_CELLS or size > MOST_BYTES:
            raise UsageError(f"the answer is larger than {len(rows):,} rows", next_step="add a LIMIT")
    return rows


def _blame(statement: str, guard: _Guard, error: apsw.Error) -> UsageError:
    # A second statement is prepared, and refused, after the first has run.
    if guard.several or (guard.columns and guard.refused == ""):
        return UsageError("there is more than one statement", next_step="ask one at a time")
    if guard.refused is not None:
        what = guard.refused or statement.split()[0].upper()[:40]
        return UsageError(f"sql only reads: {what} is refused", next_step="ask with SELECT")
    said = str(error)
    missing = re.match(r"no such (table|column): (?:.*\.)?(.*)", said)
    near = _nearest(missing[1], missing[2], statement) if missing else None
    return UsageError(f"sql: {said}", next_step=f"did you mean '{near}'?" if near else _PROMPT)


def _nearest(kind: str, word: str, statement: str) -> str | None:
    """Return the documented name that is nearest, first among the columns of the tables that are asked."""
    tables = documented_tables()
    if kind == "table":
        names = [[table.name for table in tables]]
    else:
        asked = [table for table in tables if re.search(rf"\b{table.name}\b", statement)]
        names = [[column.name for table in some for column in table.columns] for some in (asked, tables)]
    found = (difflib.get_close_matches(word.lower(), some, n=1, cutoff=0.5) for some in names)
    return next((near[0] for near in found if near), None)
