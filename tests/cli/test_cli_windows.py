# SPDX-License-Identifier: Apache-2.0
"""`git hmopt kpis --windows`, and slow times of captures that were ingested: kept, shown, and where the run goes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from git_hmopt.loop.book import Book
from git_hmopt.loop.windows import WINDOWS, kept_windows
from git_hmopt.records.words import RunId
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.journal import Journal
from git_hmopt.store.repository import Repository
from tests.loop.project import Project, make_project
from tests.loop.recorded import Recorded
from tests.runtime.made_trace import Trace
from tests.runtime.test_activity import slow_wakeup


def trace_file(directory: Path, trace: Trace, name: str = "slow.ftrace") -> str:
    path = directory / name
    path.write_text("# tracer: nop\n#\n" + "\n".join(trace.lines) + "\n")
    return str(path)


def test_a_trace_tells_what_ran_in_its_slow_times(tmp_path: Path, project: Project) -> None:
    done = project.hmopt("kpis", "--windows", trace_file(tmp_path, slow_wakeup()))
    assert (done.returncode, done.stderr) == (0, "")
    assert "  it was slow at 3 times; what ran then: --windows" in project.hmopt("kpis", done.args[-1]).stdout
    lines = done.stdout.splitlines()
    assert lines[0].endswith("slow.ftrace: 11 events, 0.001..0.009 s")
    assert lines[1] == "  1. 0.002000..0.008000 s: t 5-5 waited 6 ms for a CPU after it was woken"
    assert lines[2].startswith("     t 5-5 waited for a CPU for 6 ms (100.0 % of the time); meanwhile there ran t 8-8")
    assert "     | 0.002000 [000] 8 sched_wakeup: comm=t 5 pid=5 prio=120 target_cpu=000" in lines
    asked = project.hmopt("kpis", "--windows", "--json", trace_file(tmp_path, slow_wakeup()))
    [capture] = json.loads(asked.stdout)["slow_times"]
    assert [one["kind"] for one in capture["windows"]] == ["wakeup-wait", "wakeup-wait", "preempted-wait"]
    assert capture["windows"][0]["woke"][0] == {
        "waker": "t 8-8", "wakee": "t 5-5", "count": 1, "total_ns": 6_000_000, "worst_ns": 6_000_000
    }  # fmt: skip


def test_a_trace_that_was_never_slow_says_so(tmp_path: Path, project: Project) -> None:
    quiet = Trace()
    quiet.switch(1_000, 0, "R", 5)
    done = project.hmopt("kpis", "--windows", trace_file(tmp_path, quiet))
    assert (done.returncode, "nothing in it was slow" in done.stdout) == (0, True)


@pytest.mark.parametrize("other", [["--all"], ["--against", "x"]])
def test_options_that_exclude_each_other(project: Project, other: list[str]) -> None:
    done = project.hmopt("kpis", "--windows", *other)
    assert (done.returncode, done.stdout) == (129, "")
    assert f"kpis: --windows and {other[0]} exclude each other; leave one of them out" in done.stderr


def test_functions_that_threads_waited_in_have_places(tmp_path: Path) -> None:
    project = make_project(tmp_path / "with-places")
    project.git("checkout", "-q", "-b", "topic")
    project.write("io.c", "\nvoid io_schedule(void)\n{\n}\n")
    project.commit("io")
    done = project.hmopt("kpis", "--windows", trace_file(tmp_path, slow_wakeup()))
    assert "waited for I/O in io_schedule (io.c:2) once: 500 us" in done.stdout, done.stdout


def test_slow_times_are_kept_once_shown_in_reports_and_travel(ran: tuple[Project, str], tmp_path: Path) -> None:
    project, run = ran
    trace = trace_file(tmp_path, slow_wakeup())
    said = project.hmopt("ingest", "artifacts", "--run", run, trace)
    assert (said.returncode, "3 slow times stored" in said.stdout) == (0, True), said.stderr
    project.hmopt("ingest", "artifacts", "--run", run, trace)
    (operation,) = Recorded(project, run).named(WINDOWS)
    repository = Repository.open(project.root)
    found = kept_windows(ArtifactStore.of(repository), Book(Journal(repository), RunId(run)).entries)
    assert (found.missing, len(found.found), len(found.found[0].windows)) == ((), 1, 3)
    assert found.found[0].capture == operation["windows"]["capture"]
    for form in ([], ["--html"]):
        report = project.hmopt("report", run, *form).stdout
        assert "waited for a CPU for 6 ms" in report and "sched_wakeup" in report
    # Where the trace and what was found in it are away, both are said.
    shutil.rmtree(project.root / ".git/hmopt/artifacts")
    away = project.hmopt("kpis", "--windows", run)
    assert away.stdout.splitlines()[1:] == ["  the capture is not in this clone, and no slow times are stored of it"]
    assert "not in this clone" in project.hmopt("report", run).stdout
    gone = kept_windows(ArtifactStore.of(repository), Book(Journal(repository), RunId(run)).entries)
    assert gone.found == () and "are not in this clone" in gone.missing[0]


def test_what_is_stored_is_told_where_the_trace_is_not(ran: tuple[Project, str], tmp_path: Path) -> None:
    project, run = ran
    project.hmopt("ingest", "artifacts", "--run", run, trace_file(tmp_path, slow_wakeup()))
    (read,) = Recorded(project, run).named("capture.read")
    (kept,) = (project.root / ".git/hmopt/artifacts" / read["capture"][:2]).glob(f"{read['capture']}*")
    kept.unlink()
    done = project.hmopt("kpis", "--windows", run)
    assert "t 5-5 waited 6 ms for a CPU after it was woken" in done.stdout, done.stderr
