# SPDX-License-Identifier: Apache-2.0
"""Queries that people type: they read and end, and what is wrong with them is said in one line."""

from __future__ import annotations

import time
from collections.abc import Iterator

import apsw
import pytest

from git_hmopt.errors import StoreError, UsageError
from git_hmopt.store.cache import TABLES as CACHE_TABLES
from git_hmopt.store.cache import VERSION, Cache
from git_hmopt.store.journal import Journal
from git_hmopt.store.repository import Repository
from git_hmopt.store.schema import SCHEMA, documented_tables, preamble
from git_hmopt.store.sql import ask
from tests.store.repositories import RUN
from tests.store.test_store_cache import record_run

ENDLESS = "WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT"

# Columns that mean the same wherever they stand, told once above all tables, and those whose names say it.
PLAIN = frozenset(
    {
        *("run", "writer", "lamport", "place", "iteration", "node", "reason", "at", "created", "key", "value", "ref"),
        *("count", "uuid", "workload", "base_commit", "sha256", "media_type", "kind", "name", "commit_oid", "unit"),
        *("low", "tags", "symbol", "file", "first_line", "last_line", "nodes", "edges", "tree", "title", "rationale"),
        *("strategy", "proposer", "files", "agent", "text", "data", "patch_id", "baseline", "best", "verdict"),
        *("rule", "accepted"),
    }
)


@pytest.fixture
def database(repository: Repository) -> Iterator[apsw.Connection]:
    """Return the cache of a repository with one run, as `git hmopt sql` opens it."""
    record_run(Journal(repository), RUN)
    with Cache(repository).reading() as opened:
        yield opened


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("INSERT INTO runs (name) VALUES ('x')", "INSERT"),
        ("UPDATE runs SET status = 'x'", "UPDATE"),
        ("DELETE FROM runs", "DELETE"),
        ("DROP TABLE runs", "DROP"),
        ("CREATE TABLE t (a)", "CREATE"),
        ("CREATE TEMP TABLE t (a)", "CREATE"),
        ("ATTACH '/dev/null' AS other", "ATTACH"),
        ("DETACH main", "DETACH"),
        ("VACUUM", "VACUUM"),
        ("VACUUM INTO '/dev/null'", "VACUUM"),
        ("BEGIN IMMEDIATE", "BEGIN"),
        ("REINDEX", "REINDEX"),
        ("ANALYZE", "ANALYZE"),
        ("PRAGMA user_version = 9", "PRAGMA user_version"),
        ("PRAGMA query_only = 0", "PRAGMA query_only"),
        ("PRAGMA writable_schema = 1", "PRAGMA writable_schema"),
        ("PRAGMA temp_store_directory = '/'", "PRAGMA temp_store_directory"),
        ("SELECT * FROM pragma_database_list", "PRAGMA database_list"),
        ("SELECT load_extension('/tmp/x.so')", r"load_extension\(\)"),
        ("WITH x AS (SELECT 1) DELETE FROM runs", "WITH"),
    ],
)
def test_nothing_but_reading_is_let_through(
    repository: Repository, database: apsw.Connection, query: str, named: str
) -> None:
    before = Cache(repository).path.read_bytes()
    with pytest.raises(UsageError, match=rf"^sql only reads: ({named}) is refused; ask with SELECT$"):
        ask(database, query, seconds=5)
    assert Cache(repository).path.read_bytes() == before


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT * FROM run", "sql: no such table: run; did you mean 'runs'?"),
        ("SELECT * FROM evaluation", "sql: no such table: evaluation; did you mean 'evaluations'?"),
        ("SELECT * FROM zzzz", "sql: no such table: zzzz; see: git hmopt sql --tables"),
        ("SELECT statu FROM runs", "sql: no such column: statu; did you mean 'status'?"),
        ("SELECT r.creatd FROM runs AS r", "sql: no such column: r.creatd; did you mean 'created'?"),
        ("SELECT commit FROM patches", 'sql: near "commit": syntax error; see: git hmopt sql --tables'),
        ("SELEC 1", 'sql: near "SELEC": syntax error; see: git hmopt sql --tables'),
        ("SELECT (1", "sql: incomplete input; see: git hmopt sql --tables"),
        ("SELECT frob(1)", "sql: no such function: frob; see: git hmopt sql --tables"),
        ("SELECT 1; DROP TABLE runs", "there is more than one statement; ask one at a time"),
        ("SELECT 1; SELECT 2", "there is more than one statement; ask one at a time"),
        ("", "the query is empty; see: git hmopt sql --tables"),
        (" -- nothing\n;", "the query is empty; see: git hmopt sql --tables"),
        ("SELECT '\udc80'", "the query is no Unicode text"),
        ("SELECT json('{')", "sql: malformed JSON; see: git hmopt sql --tables"),
        ("SELECT zeroblob(1000000000)", "sql: string or blob too big; see: git hmopt sql --tables"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(database: apsw.Connection, query: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        ask(database, query, seconds=5)
    assert str(caught.value) == said


def test_a_parameter_that_nobody_gives_is_refused(database: apsw.Connection) -> None:
    with pytest.raises(UsageError, match="binding"):
        ask(database, "SELECT ?", seconds=5)


@pytest.mark.parametrize("wanted", ["count(*) FROM c", "x FROM c WHERE x < 0"])
def test_a_query_that_never_ends_is_ended(database: apsw.Connection, wanted: str) -> None:
    began = time.monotonic()
    with pytest.raises(StoreError, match=r"did not end within 0\.2 s; give it longer with --time SECONDS"):
        ask(database, f"{ENDLESS} {wanted}", seconds=0.2)
    assert time.monotonic() - began < 10
    assert ask(database, "SELECT 1", seconds=5).rows == [(1,)]


def test_an_answer_without_end_is_refused(database: apsw.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("git_hmopt.store.sql.MOST_CELLS", 1000)
    with pytest.raises(UsageError, match="the answer is larger than 501 rows; add a LIMIT"):
        ask(database, f"{ENDLESS} x, x FROM c", seconds=60)
    monkeypatch.setattr("git_hmopt.store.sql.MOST_BYTES", 1000)
    with pytest.raises(UsageError, match="the answer is larger than 1 rows; add a LIMIT"):
        ask(database, "SELECT hex(zeroblob(600))", seconds=60)


def test_columns_are_told_also_where_no_row_is(database: apsw.Connection) -> None:
    found = ask(database, "SELECT name, status AS s FROM runs WHERE 0; -- done", seconds=5)
    assert (found.columns, found.rows) == (("name", "s"), [])
    found = ask(database, "SELECT run, retracted FROM verdicts", seconds=5)
    assert (found.columns, found.rows) == (("run", "retracted"), [(RUN, 0)])


def test_the_documentation_has_every_table_and_column_that_sqlite_knows(database: apsw.Connection) -> None:
    told = {one.name: [(column.name, column.type) for column in one.columns] for one in documented_tables()}
    known = {name: [(row[1], row[2]) for row in database.execute(f"PRAGMA table_info({name})")] for name in told}
    views = {name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'view'")}
    assert told == {
        name: [(column, "" if name in views else kind) for column, kind in columns] for name, columns in known.items()
    }
    assert told.keys() == CACHE_TABLES | views


def test_every_table_is_explained_and_every_column_that_needs_it() -> None:
    assert [one.name for one in documented_tables() if not one.about.endswith((".", "tables)."))] == []
    unexplained = {
        f"{table.name}.{column.name}"
        for table in documented_tables()
        for column in table.columns
        if not column.about and column.name not in PLAIN
    }
    assert unexplained == set()
    assert preamble().startswith(f"The cache, version {VERSION}: ")
    assert "SPDX" not in preamble()
    assert SCHEMA.is_file()
