# SPDX-License-Identifier: Apache-2.0
"""`git hmopt list` says what it left out."""

from __future__ import annotations

import json

from tests.loop.project import Project


def test_what_no_journal_holds_is_counted_and_the_list_goes_on(project: Project) -> None:
    project.git("update-ref", "refs/hmopt/runs/x", "HEAD")
    done = project.hmopt("list")
    assert done.returncode == 0
    assert done.stdout.startswith("no runs yet")
    (line,) = done.stderr.splitlines()
    assert line.endswith("left out: 1 x not a journal's name")
    told = json.loads(project.hmopt("list", "--json").stdout)
    assert told == {"v": 1, "runs": [], "skipped": {"not a journal's name": 1}}


def test_where_everything_is_read_nothing_is_said(with_run: Project) -> None:
    done = with_run.hmopt("list")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1
