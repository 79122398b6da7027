# SPDX-License-Identifier: Apache-2.0
"""`git hmopt sql`: a table for people, lines for pipes, objects for scripts."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from pathlib import Path

from tests.loop.project import Project

ENDLESS = "WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"


def on_terminal(project: Project, *argv: str) -> str:
    """Return what a command prints to a terminal."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        ["git-hmopt", *argv], cwd=project.root, env=project.environment, stdout=theirs, stderr=subprocess.DEVNULL
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # how Linux ends a terminal whose other side is closed
            break
        seen += part
    os.close(ours)
    assert child.wait(60) == 0
    return seen.decode().replace("\r\n", "\n")


def test_in_a_pipe_cells_are_parted_by_tabs_and_nothing_else_is_there(with_run: Project) -> None:
    done = with_run.hmopt("sql", "SELECT workload, status, parent, 'a\tb' || char(10, 27) || 'c', x'00ff' FROM runs")
    assert (done.returncode, done.stdout, done.stderr) == (0, "scan-blocks\tsucceeded\t\ta b c\t00ff\n", "")


def test_on_a_terminal_it_is_a_table_with_a_head(with_run: Project) -> None:
    assert on_terminal(with_run, "sql", "SELECT workload, seed, 1.5 AS share FROM runs") == (
        "workload     seed  share\n-----------  ----  -----\nscan-blocks     7    1.5\n"
    )
    assert on_terminal(with_run, "sql", "SELECT workload, seed FROM runs WHERE 0") == "workload  seed\n--------  ----\n"


def test_as_json_a_row_is_an_object(with_run: Project) -> None:
    done = with_run.hmopt(
        "sql", "--json", "SELECT workload AS w, 1 AS n, 2.5 AS n, NULL AS none, 9e999 AS inf FROM runs"
    )
    row = {"w": "scan-blocks", "n": 1, "n:1": 2.5, "none": None, "inf": "inf"}
    assert (done.returncode, json.loads(done.stdout)) == (0, {"v": 1, "rows": [row]})


def test_the_tables_are_described_without_a_repository(with_run: Project, untouched: Project) -> None:
    shown = with_run.hmopt("sql", "--tables", cwd=untouched.home).stdout
    assert "\nruns: One row a run, expired ones too (see cutoffs).\n" in shown
    assert "\n    device         TEXT     the host that measured\n" in shown
    told = json.loads(with_run.hmopt("sql", "--tables", "--json").stdout)
    for table in told["tables"]:
        names = ", ".join(column["name"] for column in table["columns"])
        done = with_run.hmopt("sql", f"SELECT {names} FROM {table['name']} LIMIT 0")
        assert (done.returncode, done.stderr) == (0, "")


def test_what_is_wrong_is_one_line(with_run: Project) -> None:
    for argv, code, said in (
        (("sql",), 129, "sql: there is no QUERY; such as: git hmopt sql 'select name, status from runs'"),
        (("sql", "--tables", "SELECT 1"), 129, "sql: a QUERY and --tables exclude each other; such as: git hmopt sql"),
        (("sql", "SELECT nam FROM runs"), 129, "sql: no such column: nam; did you mean 'name'?"),
        (("sql", "DELETE FROM runs"), 129, "sql only reads: DELETE is refused; ask with SELECT"),
        (("sql", "--time", "0", "SELECT 1"), 129, "sql: argument --time: must be at least 1"),
        (("sql", "--time", "1", ENDLESS), 128, "the query did not end within 1 s; give it longer with --time SECONDS"),
    ):
        done = with_run.hmopt(*argv)
        (line,) = done.stderr.splitlines()
        assert (done.returncode, done.stdout) == (code, "")
        assert line.startswith(f"git hmopt: {said}")


def test_ctrl_c_ends_it(with_run: Project) -> None:
    child = subprocess.Popen(
        ["git-hmopt", "sql", ENDLESS], cwd=with_run.root, env=with_run.environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    clock = os.sysconf("SC_CLK_TCK")
    # Once it has used some processor time beyond starting, it is in the query.
    while time.monotonic() < deadline and child.poll() is None:
        used = int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[11])
        if used > 1.5 * clock:
            break
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    out, errors = child.communicate(timeout=20)
    assert (child.returncode, out, errors) == (130, "", "git hmopt: interrupted\n")
