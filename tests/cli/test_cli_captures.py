# SPDX-License-Identifier: Apache-2.0
"""`git hmopt ingest artifacts`, `hotspots`, `flamegraph` and `compare`: captures of files and of runs."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from git_hmopt.evidence.kpi_rules import of_kpis
from git_hmopt.loop.book import Book
from git_hmopt.loop.kpis import recorded_kpis
from git_hmopt.records.words import RunId
from git_hmopt.store.journal import Journal
from git_hmopt.store.repository import Repository
from tests.cli.conftest import TwoRuns
from tests.loop.project import Project, make_project
from tests.loop.recorded import Recorded, run_names
from tests.traces.test_sniff import SPEEDSCOPE, SVG

FOLDED = "main;crc32c_update;step 60\nmain;crc32c_update 20\nmain;password=hunter22 15\nmain 5\nbad\n"
AFTER = "main;crc32c_update;step 10\nmain;crc32c_update 20\nmain;fresh 10\n"
PERF = """\
prog 7/7 [001] 1.000000000: 5 cycles:u:
\t1 early+0x1 (/bin/prog)
\t2 main+0x1 (/bin/prog)

prog 7/7 [001] 2.500000000: 7 cycles:u:
\t1 late+0x1 (/bin/prog)
\t2 main+0x1 (/bin/prog)

"""
SYMBOLS = "hmopt-symbols 1\nstep\tlib/step.c\t7\nfresh\ta.c\t1\nfresh\tb.c\t2\n"


def write(project: Project, name: str, data: str | bytes) -> str:
    path = project.root.parent / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return str(path)


def answered(project: Project, *argv: str) -> dict[str, Any]:
    done = project.hmopt(*argv, "--json")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["v"] == 1
    return answer


# -- ingest artifacts -----------------------------------------------------------------------------------------------


def test_captures_become_part_of_a_run(ran: tuple[Project, str]) -> None:
    project, run = ran
    before = len(Recorded(project, run).operations())
    files = write(project, "stacks.folded", FOLDED), write(project, "graph.svg.gz", gzip.compress(SVG))
    # Options may stand between arguments, as with git.
    answer = answered(project, "ingest", "artifacts", "--run", run[-6:], *files)
    assert answer["run"] == run
    kept = answer["captures"]
    assert [(one["name"], one["format"], one["new"], one["samples"]) for one in kept] == [
        ("stacks.folded", "folded", True, 4), ("graph.svg.gz", "flamegraph-svg", True, 1),
    ]  # fmt: skip
    assert kept[0]["skipped"] == {"line without a weight": 1}
    for one, file in zip(kept, files, strict=True):
        data = Path(file).read_bytes()
        assert one["artifact"] == hashlib.sha256(data).hexdigest()
        (path,) = (project.root / ".git/hmopt/artifacts" / one["artifact"][:2]).glob(f"{one['artifact']}*")
        assert path.read_bytes() == data
    operations = Recorded(project, run).operations()[before:]
    assert [one["op"] for one in operations] == ["artifact.stored", "capture.read"] * 2
    stored = [one["data"]["artifact"] for one in operations[::2]]
    assert [(one["sha256"], one["kind"], one["media_type"]) for one in stored] == [
        (kept[0]["artifact"], "capture", "text/plain"), (kept[1]["artifact"], "capture", "application/octet-stream"),
    ]  # fmt: skip
    read = operations[1]["data"]
    assert read["sampled"] == [{"event": "folded", "unit": "samples", "samples": 4, "cost": 100}]
    assert read["hotspots"][0]["evidence"] == [kept[0]["artifact"]]
    assert {one["symbol"] for one in read["hotspots"]} == {
        name.replace("hunter22", "<redacted:secret>") for name in kept[0]["hotspots"]
    }
    assert project.hmopt("fsck").returncode == 0


def test_a_record_says_where_a_hotspot_is_defined_and_how_that_is_known(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    assert project.hmopt("optimize", "--workload", "scan-blocks", "--iterations", "0").returncode == 1
    (run,) = run_names(project)
    answered(project, "ingest", "artifacts", "--run", run, write(project, "stacks.folded", FOLDED))
    (read,) = Recorded(project, run).named("capture.read")
    records = {one["symbol"]: one for one in read["hotspots"]}
    # The graph is that of the tree which the run built.
    assert (records["crc32c_update"]["file"], records["crc32c_update"]["resolved_by"]) == ("lib/crc.c", "psg")
    assert (records["step"]["file"], records["step"]["resolved_by"]) == (None, "unresolved")
    # What is in records can be asked with SQL.
    asked = "SELECT file, first_line FROM hotspots WHERE symbol = 'crc32c_update' AND resolved_by = 'psg'"
    assert project.hmopt("sql", asked).stdout.split()[-2:] == ["lib/crc.c", str(records["crc32c_update"]["first_line"])]


def test_nothing_secret_enters_the_journal(ran: tuple[Project, str]) -> None:
    project, run = ran
    answered(project, "ingest", "artifacts", "--run", run, write(project, "stacks.folded", FOLDED))
    read = Recorded(project, run).named("capture.read")[0]
    assert read["redacted"] == {"secret": 1}
    assert "hunter22" not in json.dumps(read)
    assert "password=<redacted:secret>" in [one["symbol"] for one in read["hotspots"]]


def test_the_same_capture_is_kept_once(ran: tuple[Project, str]) -> None:
    project, run = ran
    file, copy = write(project, "a.folded", FOLDED), write(project, "b.folded", FOLDED)
    (first, second) = answered(project, "ingest", "artifacts", "--run", run, file, copy)["captures"]
    assert (first["new"], second["new"]) == (True, False)
    head = project.git("rev-parse", Recorded(project, run).journal)
    done = project.hmopt("ingest", "artifacts", "--run", run, copy)
    assert "(the run had it before)" in done.stdout
    assert project.git("rev-parse", Recorded(project, run).journal) == head


def test_standard_input_is_a_capture(ran: tuple[Project, str]) -> None:
    project, run = ran
    done = subprocess.run(
        ["git-hmopt", "ingest", "artifacts", "--run", run, "-"], cwd=project.root, input=FOLDED.encode(),
        env=project.environment, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    assert lines[1] == f"  standard-input: folded, {len(FOLDED)} bytes"
    assert lines[3].startswith("    4 samples, hotspots: ")
    assert lines[4] == "    not used: 1 x line without a weight"


def test_all_are_taken_or_none(ran: tuple[Project, str]) -> None:
    project, run = ran
    head = project.git("for-each-ref")
    good = write(project, "stacks.folded", FOLDED)
    done = project.hmopt("ingest", "artifacts", "--run", run, good, write(project, "diary", "dear diary,\n"))
    assert (done.returncode, done.stdout) == (125, "")
    assert "diary: text whose first line is 'dear diary,', and no capture that is known; these were" in done.stderr
    done = project.hmopt("ingest", "artifacts", "--run", run, good, "absent")
    assert (done.returncode, done.stderr) == (
        129, "git hmopt: there is no file 'absent'; name a capture, or - for standard input\n",
    )  # fmt: skip
    assert project.git("for-each-ref") == head
    assert project.hmopt("ingest", "artifacts", "--run", "nobody", good).returncode == 129


def test_another_clone_writes_a_journal_of_its_own(ran: tuple[Project, str], tmp_path: Path) -> None:
    project, run = ran
    clone = Project(tmp_path / "clone", project.home)
    project.git("clone", "-q", str(project.root), str(clone.root))
    assert clone.hmopt("fetch", "origin").returncode == 0
    file = write(project, "stacks.folded", FOLDED)
    assert answered(clone, "ingest", "artifacts", "--run", run, file)["captures"][0]["new"]
    refs = clone.git("for-each-ref", "--format=%(refname)", f"refs/hmopt/runs/{run}").splitlines()
    assert len(refs) == 2
    # What one clone knows of a run the other one ranks after it was pushed.
    assert clone.hmopt("push", "origin").returncode == 0
    assert project.git("for-each-ref", "--format=%(refname)", f"refs/hmopt/runs/{run}").splitlines() == refs


# -- hotspots -------------------------------------------------------------------------------------------------------


def test_hotspots_of_a_file(project: Project) -> None:
    answer = answered(project, "hotspots", write(project, "stacks.folded", FOLDED), "--ranker", "self", "-n", "2")
    (found,) = answer["hotspots"]
    assert (found["format"], found["unit"], found["total"], found["ranker"]) == ("folded", "samples", 100, "self")
    assert [(one["symbol"], one["self_share"], one["inclusive_share"]) for one in found["spots"]] == [
        ("step", 0.6, 0.6), ("crc32c_update", 0.2, 0.8),
    ]  # fmt: skip
    assert found["spots"][0]["place"]["resolved_by"] == "unresolved"
    place = found["spots"][1]["place"]
    assert (place["file"], place["resolved_by"], place["others"]) == ("lib/crc.c", "text", 0)
    written = (project.root / "lib/crc.c").read_text().splitlines()
    assert "crc32c_update(" in written[place["first_line"] - 1]
    assert written[place["last_line"] - 1] == "}"
    assert answer["structure"] == "approximate: no build was found, files are read as text"


def test_places_come_from_a_build_when_there_is_one(project: Project) -> None:
    built = [
        {"directory": str(project.root), "file": "lib/crc.c", "arguments": ["gcc", "-Iinclude", "-c", "lib/crc.c"]}
    ]
    (project.root / "compile_commands.json").write_text(json.dumps(built))
    assert project.hmopt("analyze", "--static").returncode == 0
    answer = answered(project, "hotspots", write(project, "stacks.folded", FOLDED))
    places = {one["symbol"]: one["place"] for one in answer["hotspots"][0]["spots"]}
    assert (places["crc32c_update"]["file"], places["crc32c_update"]["resolved_by"]) == ("lib/crc.c", "psg")
    assert answer["structure"].startswith("exact: ")


def test_places_come_from_debug_information_first(project: Project) -> None:
    files = write(project, "a.folded", AFTER), write(project, "where", SYMBOLS)
    (found,) = answered(project, "hotspots", *files)["hotspots"]
    places = {one["symbol"]: one["place"] for one in found["spots"]}
    assert (places["step"]["file"], places["step"]["first_line"], places["step"]["resolved_by"]) == (
        "lib/step.c", 7, "dwarf",
    )  # fmt: skip
    assert places["fresh"]["others"] == 1
    shown = project.hmopt("hotspots", *files).stdout
    assert re.search(r" step +lib/step\.c:7 +dwarf\n", shown)
    assert "a.c:1 and 1 more" in shown


SAMPLED = """\
#define KEEP __attribute__((noinline))
static volatile unsigned long sink;

KEEP static unsigned long
spin(unsigned long n) { for (unsigned long i = 0; i < n; i++) sink += i; return sink; }

int main(void) { return spin(150000000) == 1; }
"""


@pytest.fixture
def sampled(project: Project) -> Path:
    """Return a perf.data of a program whose source lies in the project."""
    if shutil.which("perf") is None or shutil.which("gcc") is None:
        pytest.skip("needs perf and gcc, and one of them is not installed")
    (project.root / "spin.c").write_text(SAMPLED)
    build = ["gcc", "-g", "-O1", "-fno-omit-frame-pointer", "-o", "../spin", str(project.root / "spin.c")]
    subprocess.run(build, cwd=project.root, check=True, timeout=60)
    record = ["perf", "record", "-N", "-e", "cpu-clock", "-g", "-o", "../perf.data", "../spin"]
    done = subprocess.run(record, cwd=project.root, capture_output=True, text=True, timeout=60)
    if done.returncode not in (0, 1):
        pytest.skip(f"perf cannot record here: {done.stderr[-200:]}")
    return project.root.parent / "perf.data"


def test_functions_of_a_perf_data_have_names_and_lines(project: Project, sampled: Path) -> None:
    (found,) = answered(project, "hotspots", str(sampled), "--ranker", "self")["hotspots"]
    first = found["spots"][0]
    assert (found["format"], first["symbol"], first["self_share"] > 0.8) == ("perf-data", "spin", True)
    # Below the top of the working tree files are called as git calls them.
    assert (first["place"]["file"], first["place"]["first_line"], first["place"]["resolved_by"]) == (
        "spin.c", 5, "dwarf",
    )  # fmt: skip
    shown = project.hmopt("hotspots", str(sampled), "--ranker", "self").stdout
    assert re.search(r" spin +spin\.c:5 +dwarf\n", shown)
    assert "main;spin " in project.hmopt("flamegraph", "--folded", str(sampled)).stdout
    compared = project.hmopt("compare", "-n", "999", str(sampled), str(sampled)).stdout
    assert re.search(r" spin\n", compared)


def test_symbols_that_are_given_name_a_stripped_program(project: Project, sampled: Path) -> None:
    program, kept = project.root.parent / "spin", project.root.parent / "kept"
    kept.mkdir()
    program.rename(kept / "unstripped")
    (found,) = answered(project, "hotspots", str(sampled), "--ranker", "self")["hotspots"]
    assert re.fullmatch(r".*/spin\+0x[0-9a-f]+", found["spots"][0]["symbol"])
    assert found["skipped"]["object without a file on this machine"] >= 1
    done = project.hmopt("ingest", "repo", "--symbols", str(kept))
    assert (done.returncode, done.stderr) == (
        129, "git hmopt: ingest: --symbols and --symfs are for 'artifacts'; see: git hmopt ingest -h\n",
    )  # fmt: skip
    given = (str(sampled), "--symbols", str(kept))
    assert re.search(r" spin +spin\.c:5 +dwarf\n", project.hmopt("hotspots", *given).stdout)
    assert "main;spin " in project.hmopt("flamegraph", "--folded", *given).stdout
    assert re.search(r" spin\n", project.hmopt("compare", "-n", "999", str(sampled), *given).stdout)
    done = project.hmopt("hotspots", str(sampled), "--symbols", "/nothing/here")
    assert (done.returncode, done.stderr) == (
        129, "git hmopt: --symbols: there is no '/nothing/here'; name a file with symbols, or a directory\n",
    )  # fmt: skip
    done = project.hmopt("compare", str(sampled), str(sampled), "--symfs", str(sampled))
    assert (done.returncode, done.stderr) == (
        129, f"git hmopt: --symfs: '{sampled}' is no directory; name the root of the measured files\n",
    )  # fmt: skip


def test_a_window_cuts_by_the_captures_own_clock(project: Project) -> None:
    file = write(project, "perf.txt", PERF)
    (found,) = answered(project, "hotspots", file, "--window", "2..2.6")["hotspots"]
    assert {one["symbol"] for one in found["spots"]} == {"late", "main"}
    assert (found["total"], found["skipped"]["outside the windows"]) == (7, 1)
    done = project.hmopt("hotspots", file, "--window", "9..10")
    assert (done.returncode, done.stderr) == (
        125, f"git hmopt: '{file}' has no sample in this window; its samples lie in 1..2.5\n",
    )  # fmt: skip
    for text, why in (("2..1", "ends before it begins"), ("x", "is no START..END in seconds, such as 12.5..13")):
        done = project.hmopt("hotspots", file, "--window", text)
        assert done.returncode == 129
        assert done.stderr.startswith(f"git hmopt: hotspots: argument --window: '{text}' {why}; ")


def test_the_screen(project: Project) -> None:
    done = project.hmopt("hotspots", write(project, "stacks.folded", FOLDED), "--ranker", "self", "-n", "1")
    assert done.stdout.splitlines()[1:] == [
        "  sampled profile (samples); by self cost",
        "  score %  self %  total %  function  defined in  known from",
        "  -------  ------  -------  --------  ----------  ----------",
        "     60.0    60.0     60.0  step      unknown     unresolved",
        "  not used: 1 x line without a weight",
        "structure: approximate: no build was found, files are read as text",
    ]


def test_hotspots_of_a_run_are_those_of_what_was_ingested(ran: tuple[Project, str]) -> None:
    project, run = ran
    before = answered(project, "hotspots", run)["hotspots"]
    assert {"crc32c_update"} <= {one["symbol"] for found in before for one in found["spots"]}
    assert all(one["place"]["resolved_by"] == "dwarf" for found in before for one in found["spots"][:1])
    answered(project, "ingest", "artifacts", "--run", run, write(project, "new.folded", AFTER))
    # Without a name it is the latest run.
    (found,) = answered(project, "hotspots")["hotspots"]
    assert (found["capture"], found["total"]) == (f"{run}: new.folded", 40)


def test_a_runs_profile_ranks_as_analyze_has_it(two_runs: TwoRuns) -> None:
    (found, *_) = answered(two_runs.project, "hotspots", two_runs.first)["hotspots"]
    analysed = answered(two_runs.project, "analyze", two_runs.first)["profiles"][-1]
    shares = {one["symbol"]: one["self_share"] for one in found["spots"]}
    for spot in analysed["spots"]:
        assert shares[spot["symbol"]] == spot["self_share"]


def test_captures_without_a_repository(project: Project, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    ceiling = {"GIT_CEILING_DIRECTORIES": str(tmp_path)}
    file = write(project, "stacks.folded", FOLDED)
    done = project.hmopt("hotspots", file, cwd=tmp_path / "plain", environment=ceiling)
    assert (done.returncode, done.stderr) == (0, "")
    assert "structure:" not in done.stdout
    done = project.hmopt("hotspots", "some-run", cwd=tmp_path / "plain", environment=ceiling)
    assert done.returncode == 128 and "is not in a git repository" in done.stderr
    done = project.hmopt("hotspots", "gone.svg", cwd=tmp_path / "plain", environment=ceiling)
    assert (done.returncode, done.stderr) == (129, "git hmopt: there is no file 'gone.svg'; name a capture, or a run\n")


# -- flamegraph and compare -----------------------------------------------------------------------------------------


def test_a_flame_graph_of_a_file_and_of_a_run(ran: tuple[Project, str], tmp_path: Path) -> None:
    project, run = ran
    file = write(project, "profile.json", SPEEDSCOPE)
    done = project.hmopt("flamegraph", file)
    assert done.returncode == 0 and "<title>main (4 samples, 100.00%)</title>" in done.stdout
    answered(project, "ingest", "artifacts", "--run", run, file)
    page = tmp_path / "page.html"
    assert project.hmopt("flamegraph", "-o", str(page)).stdout == ""
    assert f"<h1>{run}: profile.json (speedscope)</h1>" in page.read_text()
    # What it wrote is a capture again.
    done = project.hmopt("flamegraph", str(page), "--folded")
    assert done.stdout == "main 4\n"
    done = project.hmopt("flamegraph", file, "--event", "cycles")
    assert done.returncode == 129
    assert done.stderr == f"git hmopt: '{file}' has no samples of 'cycles'; it has: profile 1\n"
    done = project.hmopt("flamegraph", file, "-o", str(tmp_path / "no" / "page.html"))
    assert done.returncode == 129 and "No such file or directory; name another file with -o" in done.stderr


def test_two_captures_compared(project: Project, tmp_path: Path) -> None:
    before, after = write(project, "old.folded", FOLDED), write(project, "new.folded", AFTER)
    answer = answered(project, "compare", before, after)
    functions = {one["symbol"]: one["own"] for one in answer["functions"]}
    assert functions["step"] == {
        "before": 60, "after": 10, "before_rate": 0.6, "after_rate": 0.25, "change": -0.35, "ratio": 0.25 / 0.6,
    }  # fmt: skip
    assert functions["fresh"]["ratio"] is None
    assert (answer["by"], answer["scale"], answer["before"]["label"], answer["after"]["name"]) == (
        "samples", 0.4, "before", after,
    )  # fmt: skip
    lines = project.hmopt("compare", before, after, "-n", "2").stdout.splitlines()
    assert lines[0] == f"before: {before}: 100 samples of folded"
    assert lines[1] == f"after: {after}: 40 samples of folded"
    assert [line.split() for line in lines[6:8]] == [
        ["-35.00", "60.00", "25.00", "60.00", "25.00", "step"],
        ["+30.00", "20.00", "50.00", "80.00", "75.00", "crc32c_update"],
    ]
    assert lines[8] == "and 3 more functions"
    assert project.hmopt("compare", before, after, "--folded").stdout == (
        "main 2 0\nmain;crc32c_update 8 20\nmain;crc32c_update;step 24 10\nmain;fresh 0 10\n"
        "main;password=hunter22 6 0\n"
    )
    page = tmp_path / "difference.html"
    assert project.hmopt("compare", before, after, "--html", "-o", str(page)).returncode == 0
    assert "fresh (10 samples, 25.00%; +25.00%)" in page.read_text()


def test_rates_need_times(project: Project) -> None:
    timed, untimed = write(project, "perf.txt", PERF), write(project, "old.folded", FOLDED)
    answer = answered(project, "compare", timed, timed, "--by", "duration")
    assert answer["measure"] == "cycles a second"
    assert {one["symbol"]: one["own"]["after_rate"] for one in answer["functions"]} == pytest.approx(
        {"early": 5 / 1.5, "late": 7 / 1.5, "main": 0}
    )
    done = project.hmopt("compare", untimed, timed, "--by", "duration")
    assert (done.returncode, done.stderr) == (
        125, f"git hmopt: '{untimed}' has no times, so its duration is unknown; compare shares: --by samples\n",
    )  # fmt: skip


# -- kpis -----------------------------------------------------------------------------------------------------------


def trace(*, run_us: int) -> str:
    """Return a trace of one CPU on which `work` wakes, waits, and runs for so long."""
    lines = ["# tracer: nop", "#"]
    for number in range(10):
        start = number * 10_000
        for at, text in (
            (start, "sched_wakeup: comm=work pid=7 prio=120 target_cpu=000"),
            (start + 100, "sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 prev_state=R"
                          " ==> next_comm=work next_pid=7 next_prio=120"),
            (start + 100 + run_us, "sched_switch: prev_comm=work prev_pid=7 prev_prio=120 prev_state=S"
                                   " ==> next_comm=swapper/0 next_pid=0 next_prio=120"),
        ):  # fmt: skip
            lines.append(f"          <idle>-0     (-----) [000] d... {100 + at / 1e6:.6f}: {text}")
    return "\n".join(lines) + "\n"


def test_kpis_of_a_trace_and_of_a_run(ran: tuple[Project, str]) -> None:
    project, run = ran
    file = write(project, "trace.ftrace", trace(run_us=2000))
    answer = answered(project, "kpis", file)
    records = {(one["name"], one["who"]): one for one in answer["records"]}
    assert records["wakeup_latency_p50", "all"]["value"] == "100000"
    assert (records["wakeup_latency_p50", "all"]["unit"], records["wakeup_latency_p50", "all"]["n"]) == ("ns", 10)
    assert records["fps_avg", "all"]["value"] is None
    assert (answer["events"], answer["regressions"]) == (30, [])
    shown = project.hmopt("kpis", file).stdout
    assert re.search(r"^  wakeup_latency_p50 +all +100000 +ns +10  sched_wakeup until", shown, re.MULTILINE)
    assert re.search(r"^  unknown: .*fps_avg", shown, re.MULTILINE)
    assert " fps_avg " not in shown and re.search(
        r"^  fps_avg +all +unknown", project.hmopt("kpis", file, "--all").stdout, re.M
    )
    answered(project, "ingest", "artifacts", "--run", run, write(project, "a.folded", FOLDED), file)
    again = answered(project, "kpis", run)
    assert (again["capture"], again["records"]) == (f"{run}: trace.ftrace", answer["records"])


def clone_of(project: Project, directory: Path) -> Project:
    """Return a clone that fetched the runs of another one."""
    clone = Project(directory, project.home)
    project.git("clone", "-q", str(project.root), str(clone.root))
    assert clone.hmopt("fetch", "origin").returncode == 0
    return clone


def test_kpis_go_where_a_run_goes_and_the_trace_stays(ran: tuple[Project, str], tmp_path: Path) -> None:
    project, run = ran
    file = write(project, "trace.ftrace", trace(run_us=2000))
    kept = answered(project, "ingest", "artifacts", "--run", run, file)["captures"][0]
    assert (kept["events"], kept["kpis_left_out"]) == (30, 0)
    assert "fps_avg" in kept["kpis_unknown"] and "cpu_util_avg" not in kept["kpis_unknown"]
    clone = clone_of(project, tmp_path / "clone")
    assert list((clone.root / ".git").glob("hmopt/artifacts/??/*")) == []
    here, there = answered(project, "kpis", run), answered(clone, "kpis", run)
    assert (here["recorded"], there["recorded"] is None) == (None, False)
    # What is unknown here is unknown there, and nothing became 0.
    told = [{(one["name"], one["scope"], one["who"]): one for one in answer["records"]} for answer in (here, there)]
    assert told[0] == told[1]
    same = ("capture", "events", "start_ns", "end_ns", "losses", "windows")
    assert {key: here[key] for key in same} == {key: there[key] for key in same}
    assert len([one for one in there["records"] if one["value"] is not None]) == kept["kpis"]
    shown = clone.hmopt("kpis", run).stdout
    assert "as recorded, the capture is not in this clone: of processes and threads the 8 each" in shown
    assert re.search(r"^  unknown: .*fps_avg", shown, re.MULTILINE)
    asked = "SELECT name, value, unit, n, scope, json_extract(tags, '$.of') AS of FROM metrics WHERE "
    asked += f"json_extract(tags, '$.artifact') = '{kept['artifact']}' AND name = 'wakeup_latency_p50' ORDER BY scope"
    rows = json.loads(clone.hmopt("sql", "--json", asked).stdout)["rows"]
    system = {"name": "wakeup_latency_p50", "value": "100000", "unit": "ns", "n": 10, "scope": "system", "of": "all"}
    assert rows[0] == system
    assert f"KPIs of capture {kept['artifact'][:12]}: " in clone.hmopt("show", run).stdout
    # KPIs are no measurement of the gate's: what two runs are compared by does not have them.
    assert "cpu_util_avg" not in clone.hmopt("diff", run, run).stdout
    assert project.hmopt("fsck").returncode == clone.hmopt("fsck").returncode == 0


def test_what_is_recorded_is_worse_than_a_file(ran: tuple[Project, str], tmp_path: Path) -> None:
    project, run = ran
    slow, fast = write(project, "a.ftrace", trace(run_us=4000)), write(project, "b.ftrace", trace(run_us=2000))
    answered(project, "ingest", "artifacts", "--run", run, slow)
    clone = clone_of(project, tmp_path / "clone")
    done = clone.hmopt("kpis", run, "--against", fast)
    assert (done.returncode, done.stdout) == (
        1, clone.hmopt("kpis", slow, "--against", fast).stdout.replace(f"{slow}: 30", f"{run}: a.ftrace: 30").replace(
            "s\n", f"s\n{chr(10).join(done.stdout.splitlines()[1:3])}\n", 1
        ),
    )  # fmt: skip
    worse = [line for line in done.stdout.splitlines() if line.startswith("  worse: ")]
    assert any("cpu_util_avg of all" in line for line in worse) and not any("fps" in line for line in worse)
    assert clone.hmopt("kpis", fast, "--against", run).returncode == 0


def test_nothing_secret_enters_the_journal_with_kpis(ran: tuple[Project, str], tmp_path: Path) -> None:
    project, run = ran
    text = trace(run_us=2000).replace("comm=work", "comm=token=s3cr3t99")
    answered(project, "ingest", "artifacts", "--run", run, write(project, "trace.ftrace", text))
    (recorded,) = Recorded(project, run).named("capture.kpis")
    assert "s3cr3t99" not in json.dumps(recorded) and recorded["redacted"]["secret"] > 0
    answer = answered(clone_of(project, tmp_path / "clone"), "kpis", run)
    assert {one["who"] for one in answer["records"] if one["scope"] == "thread"} == {"token=<redacted:secret>"}


def test_a_trace_that_breaks_off_is_not_taken(ran: tuple[Project, str]) -> None:
    project, run = ran
    head = project.git("for-each-ref")
    packed = gzip.compress(trace(run_us=2000).encode() * 50)
    done = project.hmopt(
        "ingest", "artifacts", "--run", run, write(project, "good.ftrace", trace(run_us=2000)),
        write(project, "cut.ftrace.gz", packed[: len(packed) // 2]),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (125, "")
    assert "cut.ftrace.gz: damaged after" in done.stderr and done.stderr.count("\n") == 1
    assert project.git("for-each-ref") == head
    # One without an event says so, and nothing is made up of it.
    empty = write(project, "empty.ftrace", "# tracer: nop\n#\n")
    (kept,) = answered(project, "ingest", "artifacts", "--run", run, empty)["captures"]
    assert (kept["events"], kept["kpis"], kept["kpis_left_out"]) == (0, 0, 0) and len(kept["kpis_unknown"]) > 10
    (recorded,) = Recorded(project, run).named("capture.kpis")
    assert (recorded["metrics"], recorded["kpis"]["start_ns"], recorded["kpis"]["events"]) == ([], None, 0)


def test_kpis_are_recorded_once(ran: tuple[Project, str]) -> None:
    project, run = ran
    file = write(project, "trace.ftrace", trace(run_us=2000))
    answered(project, "ingest", "artifacts", "--run", run, file, write(project, "copy.ftrace", trace(run_us=2000)))
    head, count = project.git("rev-parse", Recorded(project, run).journal), "SELECT count(*) FROM metrics"
    rows = project.hmopt("sql", count).stdout
    assert answered(project, "ingest", "artifacts", "--run", run, file)["captures"][0]["new"] is False
    assert project.git("rev-parse", Recorded(project, run).journal) == head
    assert (project.hmopt("sql", count).stdout, len(Recorded(project, run).named("capture.kpis"))) == (rows, 1)


def test_what_is_recorded_decides_about_classes(ran: tuple[Project, str]) -> None:
    project, run = ran
    text = trace(run_us=2000)
    answered(project, "ingest", "artifacts", "--run", run, write(project, "trace.ftrace", text))
    found = recorded_kpis(Book(Journal(Repository.open(project.root)), RunId(run)))
    assert list(found) == [hashlib.sha256(text.encode()).hexdigest()]
    [kpis] = found.values()
    undecided = {one.name for one in of_kpis(kpis).undecided}
    assert "scheduler-latency" not in undecided and "memory-bound" in undecided


def test_a_capture_of_before_gets_its_kpis(ran: tuple[Project, str], tmp_path: Path) -> None:
    project, run = ran
    text = trace(run_us=2000)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    read = {"capture": sha256, "name": "old.ftrace", "format": "ftrace", "sampled": [], "skipped": {}}
    script = "import json, sys; from pathlib import Path; from git_hmopt.store.journal import Journal, OpDraft; "
    script += "from git_hmopt.store.repository import Repository; "
    script += "Journal(Repository.open(Path())).append(sys.argv[1], [OpDraft('capture.read', 'ingest ' + sys.argv[2], "
    script += "data=json.loads(sys.argv[3]))])"
    subprocess.run(
        ["python", "-c", script, run, sha256, json.dumps(read)], cwd=project.root, env=project.environment, check=True
    )
    done = project.hmopt("kpis", run)
    assert (done.returncode, done.stderr) == (
        128, f"git hmopt: capture {sha256} is not in this clone, and no KPIs are recorded of it; where it was stored: "
        f"git hmopt ingest artifacts --run {run} FILE, and push\n",
    )  # fmt: skip
    kept = answered(project, "ingest", "artifacts", "--run", run, write(project, "old.ftrace", text))["captures"][0]
    assert (kept["new"], kept["events"]) == (False, 30)
    assert len(Recorded(project, run).named("capture.read")) == len(Recorded(project, run).named("capture.kpis")) == 1
    assert answered(clone_of(project, tmp_path / "clone"), "kpis", run)["events"] == 30


def test_a_trace_of_many_threads_records_the_busiest(ran: tuple[Project, str]) -> None:
    project, run = ran
    lines = []
    for number in range(40):
        switch = f"sched_switch: prev_comm=t{number} prev_pid={100 + number} prev_prio=120 prev_state=S ==> "
        switch += f"next_comm=t{number + 1} next_pid={101 + number} next_prio=120"
        # Each runs a millisecond longer than the one before.
        at = 100 + sum(range(number + 1)) / 1000
        lines.append(f"          t{number}-{100 + number} (  {number + 100}) [000] d... {at:.6f}: {switch}")
    file = write(project, "many.ftrace", "\n".join(lines) + "\n")
    done = project.hmopt("ingest", "artifacts", "--run", run, file)
    assert re.search(r"^    40 events, \d+ KPIs recorded, \d+ unknown$", done.stdout, re.MULTILINE)
    assert re.search(r"^    \d+ more are not recorded: of processes and threads the 8 each with", done.stdout, re.M)
    (recorded,) = Recorded(project, run).named("capture.kpis")
    threads = {one["tags"]["of"] for one in recorded["metrics"] if one["scope"] == "thread"}
    # The last one is never seen to leave the CPU.
    assert threads == {f"t{number}-{100 + number}" for number in range(32, 40)}


def test_what_is_worse_is_flagged(project: Project) -> None:
    before, after = write(project, "a.ftrace", trace(run_us=2000)), write(project, "b.ftrace", trace(run_us=4000))
    done = project.hmopt("kpis", after, "--against", before)
    assert done.returncode == 1
    assert re.search(r"^  worse: cpu_util_avg of all: 0\.2\d* -> 0\.4\d* 1 \(\+\d+\.\d %\)$", done.stdout, re.MULTILINE)
    assert project.hmopt("kpis", before, "--against", before).returncode == 0


def test_a_profile_has_no_kpis(ran: tuple[Project, str]) -> None:
    project, run = ran
    file = write(project, "a.folded", FOLDED)
    for named, what in ((file, f"'{file}' (folded)"), (run, f"run {run}")):
        done = project.hmopt("kpis", named)
        assert (done.returncode, done.stderr) == (
            125, f"git hmopt: {what} has no events, so no KPI is known; "
            "KPIs are those of traces (ftrace, hitrace); of profiles there are hotspots\n",
        )  # fmt: skip


def test_looking_at_captures_changes_nothing(ran: tuple[Project, str]) -> None:
    project, run = ran
    file = write(project, "stacks.folded", FOLDED)
    before = project.git("for-each-ref"), project.git("status", "--porcelain"), sorted(project.root.iterdir())
    for argv in (("hotspots", file), ("hotspots", run), ("flamegraph", file), ("compare", file, file)):
        assert project.hmopt(*argv).returncode == 0
    after = project.git("for-each-ref"), project.git("status", "--porcelain"), sorted(project.root.iterdir())
    assert after == before


# -- analyze --runtime ----------------------------------------------------------------------------------------------


def test_what_captures_have_is_counted(project: Project) -> None:
    events, folded = write(project, "a.ftrace", trace(run_us=2000) + "noise\n"), write(project, "s.folded", FOLDED)
    answer = answered(project, "analyze", events, "--runtime", folded)
    found, samples = answer["captures"]
    assert (found["format"], found["events"]["count"], found["graphs"]) == ("ftrace", 30, [])
    assert found["events"]["by_name"] == {"sched_switch": 20, "sched_wakeup": 10}
    assert (found["events"]["start_ns"], found["events"]["end_ns"]) == (100_000_000_000, 100_092_100_000)
    assert found["events"]["losses"] == {"line that is no event of ftrace": 1}
    # The same numbers as of the command that is for them.
    assert found["events"]["kpis"]["records"] == answered(project, "kpis", events)["records"]
    (graph,) = samples["graphs"]
    assert (samples["events"], graph["samples"], graph["cost"], graph["stacks"], graph["deepest"]) == (
        None,
        4,
        100,
        4,
        3,
    )
    # main, crc32c_update, step and the one with the password; main calls two of them.
    assert (graph["functions"], graph["calls"], graph["threads"], graph["start_ns"]) == (4, 3, None, None)
    assert [one["symbol"] for one in graph["ranked"]["self"]][:2] == ["step", "crc32c_update"]
    assert set(graph["ranked"]) == {"self", "funcrank"}
    assert samples["losses"] == {"line without a weight": 1}
    join = answer["join"]
    # No build is here: the text of files names two functions, and there is no graph.
    assert (join["hot"], join["in_structure"], join["in_text"]) == (4, 0, 2)
    assert "step" in join["missing"] and "crc32c_update" not in join["missing"]
    done = project.hmopt("analyze", "--runtime", events, folded)
    assert (done.returncode, done.stderr) == (0, "")
    assert "  30 events of 2 names, 100..100.0921 s (0.0921 s)" in done.stdout
    assert re.search(r"^  \d+ KPIs, \d+ unknown$", done.stdout, re.MULTILINE)
    assert "  4 weighted stacks of folded, 100 samples, at times that are unknown" in done.stdout
    assert "0 of 4 hot functions are in the graph, 2 in text alone, 2 in neither" in done.stdout


def test_what_the_source_has_is_counted_though_debug_information_has_it_too(project: Project) -> None:
    folded = write(project, "s.folded", FOLDED)
    symbols = write(project, "s.symbols", "hmopt-symbols 1\nstep\tlib/step.c\t7\ncrc32c_update\tlib/crc.c\t1\n")
    join = answered(project, "analyze", "--runtime", folded, symbols)["join"]
    # The text of the source has crc32c_update and main; of step only the table of symbols knows.
    assert (join["hot"], join["in_text"], join["in_debug_information"]) == (4, 2, 1)
    assert "1 in debug information alone" in project.hmopt("analyze", "--runtime", folded, symbols).stdout


CALLGRIND = (
    "events: Ir\nfl={root}/lib/crc.c\nfn=crc32c_update\n7 90\nfl=/usr/src/libc/string/memcpy.c\nfn=memcpy\n1 10\n"
)


def test_files_of_the_repository_are_told_as_they_are_called_there(project: Project) -> None:
    profile = write(project, "callgrind.out", CALLGRIND.format(root=project.root))
    (found,) = answered(project, "hotspots", profile)["hotspots"]
    assert [one["place"]["file"] for one in found["spots"]] == ["lib/crc.c", "/usr/src/libc/string/memcpy.c"]


def test_a_long_path_is_shown_by_its_end(project: Project) -> None:
    profile = write(project, "callgrind.out", CALLGRIND.format(root="/srv/" + "deep/" * 40))
    shown = project.hmopt("hotspots", profile).stdout
    assert re.search(r" …[a-z/]+/lib/crc\.c:7 ", shown)
    assert max(map(len, shown.splitlines()[1:])) <= 100


def test_what_is_unknown_fits_a_terminal_and_no_table_is_drawn_of_nothing(project: Project) -> None:
    markers = write(project, "m.ftrace", "# tracer: nop\n#\n a-7 [000] .... 1.000000: tracing_mark_write: B|7|x\n")
    shown = project.hmopt("kpis", markers).stdout
    assert "  no KPI is told by it\n  unknown: clock_offset, " in shown
    assert "rule" not in shown and max(map(len, shown.splitlines()[1:])) <= 100


def test_hot_functions_join_with_the_structure_of_a_build(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    assert project.hmopt("optimize", "--workload", "scan-blocks", "--iterations", "0").returncode == 1
    (run,) = run_names(project)
    answered(project, "ingest", "artifacts", "--run", run, write(project, "stacks.folded", FOLDED))
    answer = answered(project, "analyze", "--runtime", run)
    known = {one["capture"]: one for one in answered(project, "hotspots", run, "-n", "9")["hotspots"]}
    (spots,) = known.values()
    in_graph = sum(spot["place"]["resolved_by"] == "psg" for spot in spots["spots"])
    assert answer["join"]["in_structure"] == in_graph
    assert answer["captures"][0]["name"] == f"{run}: stacks.folded"


def test_captures_that_hold_nothing_are_counted_as_that(project: Project) -> None:
    empty = write(project, "empty.ftrace", "# tracer: nop\n#\n")
    (found,) = answered(project, "analyze", "--runtime", empty)["captures"]
    assert (found["events"]["count"], found["events"]["start_ns"]) == (0, None)
    assert all(one["value"] is None for one in found["events"]["kpis"]["records"])
    (symbols,) = answered(project, "analyze", "--runtime", write(project, "s.symbols", SYMBOLS))["captures"]
    assert (symbols["symbols"], symbols["events"], symbols["graphs"]) == (3, None, [])
    for argv, complaint in (
        ((write(project, "diary", "dear diary,\n"),), "no capture that is known"),
        (("absent/file",), "there is no file 'absent/file'"),
    ):
        done = project.hmopt("analyze", "--runtime", *argv)
        assert done.returncode in (125, 129) and complaint in done.stderr and done.stdout == ""
