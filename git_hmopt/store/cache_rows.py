# SPDX-License-Identifier: Apache-2.0
"""Write into the cache what the journals have that it has not."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping

import apsw

from git_hmopt.records.words import Oid, RefName, RunId
from git_hmopt.store.chain import CUT, Chain, JournalName, Wanted, read_chains
from git_hmopt.store.fold import TABLES, Row, Value, fold
from git_hmopt.store.repository import Repository

_NO_JOURNAL = "not a journal's name"
_TABLES_BY_RUN = tuple(dict.fromkeys(table.name for table in TABLES))


def update(database: apsw.Connection, repository: Repository, heads: Mapping[RefName, Oid], standing: str) -> int:
    """Fold what is new into the database, all or nothing; return how many operations were read.

    `standing` is what the next reader compares.
    """
    with _transaction(database):
        known = {RefName(ref): Oid(oid) for ref, oid in database.execute("SELECT ref, oid FROM journal_heads")}
        gone = {name.run for ref in known.keys() - heads.keys() if (name := JournalName.of(ref))}
        # What a shallow clone was cut of may have been fetched meanwhile, below what is known.
        gone |= {RunId(run) for (run,) in database.execute("SELECT run FROM skipped WHERE reason = ?", (CUT,))}
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
        count += _fold_again(database, repository, gone, heads) if gone else 0
        _finish(database, {_name(ref).run for ref in moved} | gone)
        _stand(database, known, heads)
        database.execute("INSERT OR REPLACE INTO meta VALUES ('standing', ?)", (standing,))
    return count


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
    chains = read_chains(repository.objects, [Wanted(ref, heads[ref]) for ref in refs])
    return sum(_fold_chain(database, chain) for chain in chains)


def _finish(database: apsw.Connection, runs: set[RunId]) -> None:
    # The last word on a run's status is the last operation that sets one, in the order of all writers.
    database.executemany(
        "UPDATE runs SET status = coalesce((SELECT status FROM operations WHERE run = name AND status IS NOT NULL"
        " ORDER BY lamport DESC, writer DESC LIMIT 1), status) WHERE name = ?",
        [(run,) for run in sorted(runs)],
    )


def _stand(database: apsw.Connection, known: Mapping[RefName, Oid], heads: Mapping[RefName, Oid]) -> None:
    # Only what moved: one new run among ten thousand must not write ten thousand rows.
    database.executemany("DELETE FROM journal_heads WHERE ref = ?", [(ref,) for ref in known.keys() - heads.keys()])
    moved = [(ref, JournalName.of(ref), oid) for ref, oid in sorted(heads.items()) if known.get(ref) != oid]
    database.executemany(
        "INSERT OR REPLACE INTO journal_heads VALUES (?, ?, ?, ?)",
        [(ref, name.run, name.writer, oid) for ref, name, oid in moved if name],
    )
    database.execute("DELETE FROM skipped WHERE reason = ?", (_NO_JOURNAL,))
    # What is no journal is never known, so that it is among these each time.
    strangers = sum(1 for _, name, _ in moved if not name)
    if strangers:
        database.execute("INSERT INTO skipped VALUES ('', '', ?, ?)", (_NO_JOURNAL, strangers))


def _fold_chain(database: apsw.Connection, chain: Chain) -> int:
    name = _name(chain.ref)
    skipped = Counter(chain.skipped)
    for entry in chain.entries:
        fields, folded = entry.fields, fold(entry)
        place = (fields["run"], fields["writer"], fields["lamport"])
        step = (fields["iter"], fields["node"], fields["attempt"], fields["op"])
        database.execute(
            "INSERT OR IGNORE INTO operations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*place, *step, fields["at"], folded.status, folded.reason, entry.commit),
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
