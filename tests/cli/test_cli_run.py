# SPDX-License-Identifier: Apache-2.0
"""`git hmopt run --config FILE`, `optimize --baseline RUN`, and how a run is named on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import TwoRuns
from tests.loop.project import Project, configuration
from tests.loop.recorded import Recorded, recorded_run, run_names


def refused(project: Project, code: int, stderr: str, *argv: str) -> None:
    """Check that a command is refused with one line, and that it recorded nothing."""
    before = set(run_names(project))
    done = project.hmopt(*argv)
    assert done.stderr == f"git hmopt: {stderr}\n"
    assert (done.returncode, done.stdout) == (code, "")
    assert set(run_names(project)) == before


# -- run --config ----------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Return a configuration outside the repository, with one workload that .hmopt.yaml does not have."""
    document = configuration()
    document["workloads"] = {"elsewhere": document["workloads"]["scan-blocks"]}
    file = tmp_path / "elsewhere.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return file


def test_a_file_elsewhere_is_trusted_and_run(project: Project, elsewhere: Path) -> None:
    refused(
        project,
        128,
        f"'{elsewhere}' names commands that were never trusted here; "
        f"read {elsewhere} and its overlays, then run: git hmopt trust --config {elsewhere}",
        "run", "--config", str(elsewhere),
    )  # fmt: skip
    trust = project.git("config", "hmopt.trust")
    done = project.hmopt("trust", "--config", str(elsewhere))
    assert (done.returncode, done.stderr) == (0, "")
    # The trust in .hmopt.yaml stands as it stood, and what was said undoes this one.
    assert project.git("config", "hmopt.trust") == trust
    done = project.hmopt("run", "--config", str(elsewhere), "--iterations", "1", "--seed", "7", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["story"]["run"]["workload"] == "elsewhere"
    run = recorded_run(project)
    assert "-elsewhere-" in run.name
    # What is recorded, and could be pushed, names no directory of this machine.
    assert str(elsewhere.parent) not in json.dumps(run.named("run.created"))
    assert project.git("status", "--porcelain") == ""
    # It can be resumed and repeated from what was recorded, without the file.
    elsewhere.unlink()
    assert project.hmopt("show", run.name).returncode == 0
    project.git("config", "--unset", f"hmopt.{elsewhere}.trust")
    assert project.git("config", "--get-regexp", "^hmopt") == f"hmopt.trust {trust}"


def test_a_changed_file_is_asked_for_again(project: Project, elsewhere: Path) -> None:
    assert project.hmopt("trust", "--config", str(elsewhere)).returncode == 0
    elsewhere.write_text(elsewhere.read_text().replace("make -s", "make"))
    refused(
        project,
        128,
        f"the commands of '{elsewhere}' changed since they were trusted; "
        f"read what changed in {elsewhere} and its overlays, then run: git hmopt trust --config {elsewhere}",
        "run", "--config", str(elsewhere),
    )  # fmt: skip


def test_wrong_files_and_workloads_of_run(project: Project, elsewhere: Path, tmp_path: Path) -> None:
    refused(project, 129, "run: the following arguments are required: --config; see: git hmopt run -h", "run")
    missing = tmp_path / "none.yaml"
    refused(project, 129, f"'{missing}' cannot be read: No such file or directory", "run", "--config", str(missing))
    elsewhere.write_text(elsewhere.read_text().replace("  layouts: 4", "  layout: 4"))
    line = elsewhere.read_text().splitlines().index("  layout: 4") + 1
    refused(
        project,
        129,
        f"elsewhere.yaml:{line}: measure.layout: unknown key 'layout', expected 'layouts'? "
        "(known: boots, confidence, layouts, null_patches)",
        "run", "--config", str(elsewhere),
    )  # fmt: skip
    own = str(project.root / ".hmopt.yaml")
    assert project.hmopt("trust", "--config", own).returncode == 0
    refused(
        project,
        129,
        ".hmopt.yaml has 2 workloads and none was named; "
        "choose one: --workload scan|scan-blocks, or git config hmopt.workload NAME",
        "run",
        "--config",
        own,
    )
    refused(
        project,
        129,
        ".hmopt.yaml: unknown workload 'scn', expected 'scan'? (known: scan, scan-blocks)",
        "run", "--config", own, "--workload", "scn",
    )  # fmt: skip


# -- optimize --baseline ---------------------------------------------------------------------------------------------


def test_a_baseline_is_taken_over_and_said(two_runs: TwoRuns) -> None:
    assert two_runs.said.returncode == 0, two_runs.said.stderr
    assert f"note: taken over from run {two_runs.first}: profile" in two_runs.said.stdout
    first, second = (Recorded(two_runs.project, name) for name in (two_runs.first, two_runs.second))
    # The base's profile is the other run's, capture by capture; that of the new best is its own.
    one, two = (run.named("profile.recorded")[0] for run in (first, second))
    assert two == one
    assert not [op for op in second.operations() if op["op"] == "artifact.stored" and op["node"] == "baseline_profile"
                and op["iter"] == 0]  # fmt: skip
    (state,) = {op["data"]["checkpoint"]["state"]["baseline_run_id"] for op in second.operations()
                if "checkpoint" in op["data"] and op["iter"]}  # fmt: skip
    assert state == two_runs.first


@pytest.mark.slow
def test_a_floor_is_taken_over(project: Project) -> None:
    from tests.loop.patches import CANDIDATES, write_patches

    patches = project.home / "patches"
    write_patches(project, patches, (CANDIDATES[0],))
    argv = ("optimize", "--workload", "scan", "--proposer", f"patches:{patches}")
    assert project.hmopt(*argv, "--seed", "7").returncode in (0, 1)
    (first,) = run_names(project)
    (floor,) = Recorded(project, first).named("floor.measured")
    # Even where the host's own store of floors is gone.
    for kept in (project.root / ".git/hmopt/floors").iterdir():
        kept.unlink()
    done = project.hmopt(*argv, "--seed", "8", "--baseline", first)
    assert done.returncode in (0, 1), done.stderr
    assert f"taken over from run {first}: profile and noise floor" in done.stdout.replace("\n  ", " ")
    (second,) = set(run_names(project)) - {first}
    assert Recorded(project, second).named("floor.measured") == [floor]
    assert not list((project.root / ".git/hmopt/floors").iterdir())


def test_what_is_no_baseline(two_runs: TwoRuns, project: Project) -> None:
    argv = ("optimize", "--workload", "scan-blocks", "--baseline")
    refused(project, 129, "there is no run here yet; start one: git hmopt optimize --workload NAME", *argv, "x")
    refused(
        two_runs.project,
        129,
        f"run {two_runs.first} is no baseline for this one: its workload was scan-blocks, here it is scan; "
        "measure afresh: leave out --baseline",
        "optimize", "--workload", "scan", "--baseline", two_runs.first,
    )  # fmt: skip
    assert project.hmopt(*argv[:-1], "--iterations", "0").returncode == 1
    (name,) = run_names(project)
    before = project.git("rev-parse", "HEAD")
    project.write("bench/main.c", (project.root / "bench/main.c").read_text() + "/* more */\n")
    project.write(".hmopt.yaml", (project.root / ".hmopt.yaml").read_text() + "# more\n")
    after = project.commit("more")
    assert project.hmopt("trust").returncode == 0
    done = project.hmopt(*argv, name)
    assert done.returncode == 129
    assert done.stderr.startswith(
        f"git hmopt: run {name} is no baseline for this one: its base commit was {before[:12]}, "
        f"here it is {after[:12]}; its configuration was "
    )
    assert done.stderr.endswith("; its overlays had other contents; measure afresh: leave out --baseline\n")
    assert list(run_names(project)) == [name]


def test_a_base_that_is_built_to_other_bytes_is_noticed(project: Project) -> None:
    # The build reads a file that no commit and no configuration holds, as it reads the compiler.
    outside = project.home / "outside.h"
    outside.write_text("")
    document = configuration()
    for build in document["builds"].values():
        build["run"] += f" CC='gcc -include {outside}'"
    project.write(".hmopt.yaml", yaml.safe_dump(document, sort_keys=False))
    project.commit("outside")
    assert project.hmopt("trust").returncode == 0
    argv = ("optimize", "--workload", "scan-blocks", "--iterations", "0", "--no-sandbox")
    assert project.hmopt(*argv).returncode == 1
    (name,) = run_names(project)
    outside.write_text("static int __attribute__((__used__)) more(void) { return 1; }\n")
    for tree in (project.root / ".git/hmopt/trees").glob("*/src/lib/*.c"):
        tree.touch()
    done = project.hmopt(*argv, "--baseline", name)
    assert done.returncode == 125, done.stdout
    assert done.stderr == (
        f"git hmopt: build 'count' of the base gives other bytes now than in run {name}: "
        "what was measured there does not count here; measure afresh: leave out --baseline\n"
    )


# -- names of runs ---------------------------------------------------------------------------------------------------


def test_a_run_is_named_by_part_of_its_name_or_uuid(two_runs: TwoRuns) -> None:
    project = two_runs.project
    rows = {row["name"]: row for row in json.loads(project.hmopt("list", "--json").stdout)["runs"]}
    first = rows[two_runs.first]
    for text in (two_runs.first, two_runs.first[-6:], first["uuid"], first["uuid"][:13], first["uuid"][:13].upper()):
        done = project.hmopt("show", text, "--json")
        assert json.loads(done.stdout)["story"]["run"]["name"] == two_runs.first, text
    assert json.loads(project.hmopt("show", "--json").stdout)["story"]["run"]["name"] == two_runs.second
    shown = ", ".join(sorted((two_runs.first, two_runs.second)))
    day = two_runs.first[:9]
    refused(project, 129, f"'{day}' is 2 runs ({shown}); give more of the name", "analyze", day)


@pytest.mark.parametrize("command", ["show", "report", "analyze", "export", "diff", "resume"])
def test_a_misspelt_run_is_answered_with_the_nearest(two_runs: TwoRuns, command: str) -> None:
    wrong = two_runs.first.replace("scan", "scna")
    done = two_runs.project.hmopt(command, wrong)
    assert done.stderr.startswith(f"git hmopt: no run is called '{wrong}'; did you mean '20")
    assert (done.returncode, done.stdout) == (129, "")


def test_a_report_as_json_is_the_story(two_runs: TwoRuns) -> None:
    done = two_runs.project.hmopt("report", two_runs.first, "--json")
    assert json.loads(done.stdout) == json.loads(two_runs.project.hmopt("show", two_runs.first, "--json").stdout)


# -- optimize --name -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "sort", "20260131-sort", "20260131-..-0a1b2c", "20260131-a/b-0a1b2c"])
def test_a_name_that_no_run_can_have_is_refused(untouched: Project, name: str) -> None:
    refused(
        untouched, 129,
        f"optimize: argument --name: '{name}' is no name of a run, such as 20260131-sort-0a1b2c; "
        "see: git hmopt optimize -h",
        "optimize", "--workload", "scan-blocks", "--name", name,
    )  # fmt: skip


def test_a_name_that_is_taken_is_refused(ran: tuple[Project, str]) -> None:
    project, name = ran
    refused(
        project, 128, f"there is a run '{name}' already; go on with it: git hmopt resume {name}",
        "optimize", "--workload", "scan-blocks", "--iterations", "0", "--name", name,
    )  # fmt: skip


def test_a_run_has_the_name_it_is_given(project: Project) -> None:
    done = project.hmopt("optimize", "--workload", "scan-blocks", "--iterations", "0", "--name", "20260131-mine-0a1b2c")
    assert done.returncode == 1, done.stderr
    assert list(run_names(project)) == ["20260131-mine-0a1b2c"]
