# SPDX-License-Identifier: Apache-2.0
"""The page of real runs: stored when a run ends, and written again, in its clone and in another."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.repository import Repository
from tests.cli.conftest import TwoRuns
from tests.loop.project import Project, make_project
from tests.loop.recorded import Recorded, run_names
from tests.report.browser import BROWSER, tab


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with a run whose objective is a time: it has layouts, boots, a noise floor and call stacks."""
    project = make_project(tmp_path_factory.mktemp("timed"))
    done = project.hmopt("optimize", "--workload", "scan", "--seed", "7", "--iterations", "1")
    assert done.returncode in (0, 1), done.stderr
    return project


def text_of(page: str) -> str:
    root = etree.fromstring(page.encode(), etree.XMLParser(resolve_entities=False))
    return " ".join("".join(map(str, root.itertext())).split())


def test_a_run_ends_with_its_report_in_three_forms(two_runs: TwoRuns) -> None:
    project = two_runs.project
    artifacts = ArtifactStore.of(Repository.open(project.root))
    stored = {
        data["artifact"]["name"]: data["artifact"]
        for op in ("report.written", "artifact.stored")
        for data in Recorded(project, two_runs.first).named(op)
        if data["artifact"]["kind"] == "report"
    }
    assert sorted(stored) == ["report.html", "report.json", "report.md"]
    assert stored["report.html"]["media_type"] == "text/html"
    page = (artifacts.read(stored["report.html"]["sha256"]) or b"").decode()
    assert f"Run {two_runs.first}" in text_of(page)
    again = project.hmopt("report", two_runs.first, "--html")
    assert (again.returncode, again.stderr) == (0, "")
    assert text_of(again.stdout).count("git revert --no-edit") == 3


def test_the_page_of_a_timed_run_is_used_in_a_browser(timed: Project, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    done = timed.hmopt("report", "--html", "-o", str(path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    text = text_of(path.read_text())
    assert "base against base" in text and "bytes of padding in" in text
    assert "medians of 4 layouts" in text and "not stored" not in text and "no points" not in text
    if BROWSER is None:
        pytest.skip("needs a chromium to look with")
    with tab(tmp_path / "profile") as seen:
        seen.window(360, scheme="dark")
        seen.open(path)
        assert seen.value("document.documentElement.scrollWidth") <= 360
        # How many functions a timer meets is chance; whichever is drawn last fills the graph after a click.
        last = "document.querySelector('.flame g:last-of-type')"
        seen.value(f"{last}.dispatchEvent(new MouseEvent('click', {{bubbles: true}}))")
        assert seen.value(f"{last}.querySelector('rect').getAttribute('width')") == "100%"
        assert (seen.complaints(), seen.requests()) == ([], [path.as_uri()])


def test_another_clone_has_the_points_and_says_what_it_has_not(timed: Project, tmp_path: Path) -> None:
    (name,) = run_names(timed)
    clone = Project(tmp_path / "clone", timed.home)
    timed.git("clone", "-q", str(timed.root), str(clone.root))
    clone.git("fetch", "-q", "origin", "+refs/hmopt/*:refs/hmopt/*")
    done = clone.hmopt("report", name, "--html")
    assert (done.returncode, done.stderr) == (0, "")
    text = text_of(done.stdout)
    assert "is not in this clone. The points are the record's own, one a layout." in text
    assert ("The diff (artifact" in text and "The evidence pack (artifact" in text) or "Nothing is on best" in text
