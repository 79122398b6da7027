# SPDX-License-Identifier: Apache-2.0
"""Ask the cache with SQL: one SELECT over the documented tables, which are read and never written.

Where a person looks the answer is a table with a head; in a pipe it is lines of cells parted by tabs and no head, a
NULL an empty cell. The cache is brought up to date first. `git hmopt sql --tables` describes tables and columns.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict
from pathlib import Path

from git_hmopt.cli.number import positive
from git_hmopt.errors import ExitCode, UsageError
from git_hmopt.report.table import aligned
from git_hmopt.report.wording import plain
from git_hmopt.store.cache import Cache
from git_hmopt.store.repository import Repository
from git_hmopt.store.schema import documented_tables, preamble
from git_hmopt.store.sql import Answer, Cell, ask

SECONDS = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("query", nargs="?", metavar="QUERY", help="one SELECT of sqlite's SQL")
    parser.add_argument("--tables", action="store_true", help="describe the tables and columns instead")
    parser.add_argument(
        "--time",
        type=positive,
        default=SECONDS,
        metavar="SECONDS",
        help=f"give up after that long (default: {SECONDS})",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, a row an object by column")


def run(options: argparse.Namespace) -> ExitCode:
    """Print the answer."""
    if options.tables == (options.query is not None):
        what = "a QUERY and --tables exclude each other" if options.tables else "there is no QUERY"
        raise UsageError(f"sql: {what}", next_step="such as: git hmopt sql 'select name, status from runs'")
    if options.tables:
        print(_tables_as_json() if options.json else _tables())
        return ExitCode.OK
    with Cache(Repository.open(Path())).reading() as database:
        answer = ask(database, options.query, seconds=options.time)
    if options.json:
        rows = [dict(zip(_keys(answer), map(_value, row), strict=True)) for row in answer.rows]
        print(json.dumps({"v": 1, "rows": rows}))
    elif sys.stdout.isatty():
        print("\n".join(aligned(answer.columns, [[_text(cell) for cell in row] for row in answer.rows])))
    else:
        for row in answer.rows:
            print("\t".join(map(_text, row)))
    return ExitCode.OK


def _keys(answer: Answer) -> list[str]:
    """Return the columns' names, each once: `n`, `n:1`, as sqlite's own shell tells equal ones apart."""
    before = [answer.columns[:at].count(name) for at, name in enumerate(answer.columns)]
    return [f"{name}:{count}" if count else name for name, count in zip(answer.columns, before, strict=True)]


def _value(cell: Cell) -> str | int | float | None:
    if isinstance(cell, bytes):
        return cell.hex()
    # JSON has no infinity.
    return str(cell) if isinstance(cell, float) and math.isinf(cell) else cell


def _text(cell: Cell) -> str:
    return "" if cell is None else plain(cell.hex() if isinstance(cell, bytes) else str(cell))


def _tables() -> str:
    lines = [preamble()]
    for table in documented_tables():
        width = max(len(column.name) for column in table.columns)
        lines += ["", f"{table.name}: {table.about}"]
        lines += [f"    {one.name:<{width}}  {one.type:<7}  {one.about}".rstrip() for one in table.columns]
    return "\n".join(lines)


def _tables_as_json() -> str:
    return json.dumps({"v": 1, "about": preamble(), "tables": [asdict(table) for table in documented_tables()]})
