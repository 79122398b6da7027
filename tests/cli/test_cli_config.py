# SPDX-License-Identifier: Apache-2.0
"""`git hmopt config`, and that `optimize` obeys what it shows; a run of the closed kernel's profile, filled in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from git_hmopt.config.profile import profile_bytes
from tests.loop.project import Project, make_project
from tests.loop.recorded import Recorded, run_names


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a trusted project in which nothing ever ran."""
    return make_project(tmp_path_factory.mktemp("config"))


@pytest.fixture
def project(untouched: Project, tmp_path: Path) -> Project:
    """Return a copy of the project with a home of its own, both of which a test may spoil."""
    shutil.copytree(untouched.root, tmp_path / "project", symlinks=True)
    shutil.copytree(untouched.home, tmp_path / "home")
    return Project(tmp_path / "project", tmp_path / "home")


def shown(project: Project, *argv: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
    done = project.hmopt("config", "--json", *argv, environment=environment)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["v"] == 1
    return {one["key"]: (one["value"], one["where"]) for one in answer["settings"]}


REFUSED = [
    (("config", "budget.iteration"), {}, 129, "unknown setting 'budget.iteration', expected 'budget.iterations'?"),
    (("config", "--frob"), {}, 129, "config: unrecognized arguments: --frob; see: git hmopt config -h"),
    (("config", "--json", "--schema"), {}, 129, "config: argument --schema: not allowed with argument --json;"),
    (("config",), {"HMOPT_JOBS": "x"}, 129, "HMOPT_JOBS: got text 'x', expected a whole number"),
    (("optimize",), {"HMOPT_MEASURE_LAYOUTS": "2"}, 129, "HMOPT_MEASURE_LAYOUTS: got the number 2, expected at least"),
    (("optimize",), {"HMOPT_WORKLOAD": "scna"}, 129, "HMOPT_WORKLOAD: unknown workload 'scna', expected 'scan'?"),
    (("optimize", "--jobs", "0"), {}, 129, "--jobs: got the number 0, expected at least 1"),
]


@pytest.mark.parametrize(("argv", "environment", "code", "message"), REFUSED, ids=lambda one: str(one)[:30])
def test_refused_with_one_line(
    untouched: Project, argv: tuple[str, ...], environment: dict[str, str], code: int, message: str
) -> None:
    done = untouched.hmopt(*argv, environment=environment)
    assert done.stderr.startswith(f"git hmopt: {message}")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert list(run_names(untouched)) == []


def test_a_bad_line_of_git_config_is_named_by_file_and_line(project: Project) -> None:
    project.git("config", "--global", "hmopt.budget.noGain", "never")
    line = (project.home / ".gitconfig").read_text().splitlines().index("\tnoGain = never") + 1
    for command in (("config",), ("optimize", "--workload", "scan")):
        done = project.hmopt(*command)
        assert (done.returncode, done.stdout) == (129, "")
        assert done.stderr == (
            f"git hmopt: {project.home}/.gitconfig:{line} (global): hmopt.budget.noGain: "
            "got text 'never', expected a whole number; see: git config --show-origin --get-all hmopt.budget.noGain\n"
        )


def test_each_value_and_where_it_came_from(project: Project) -> None:
    project.git("config", "hmopt.jobs", "3")
    found = shown(project, environment={"HMOPT_BUDGET_WALL_S": "90"})
    yaml = (project.root / ".hmopt.yaml").read_text().splitlines()
    config = (project.root / ".git/config").read_text().splitlines()
    assert found["jobs"] == (3, f".git/config:{config.index(chr(9) + 'jobs = 3') + 1} (local)")
    assert found["budget.wall_s"] == (90.0, "HMOPT_BUDGET_WALL_S")
    assert found["measure.layouts"] == (4, f"HEAD:.hmopt.yaml:{yaml.index('  layouts: 4') + 1}")
    assert found["measure.confidence"] == (0.95, "default")
    table = project.hmopt("config").stdout.splitlines()
    assert [line.split()[0] for line in table] == list(found)
    assert table[2].split() == ["jobs", "3", found["jobs"][1].split()[0], "(local)"]


def test_a_part_of_the_settings(project: Project) -> None:
    assert list(shown(project, "budget")) == [
        f"budget.{name}" for name in ("iterations", "regressions", "no_gain", "wall_s")
    ]
    assert list(shown(project, "hmopt.measure.nullPatches")) == ["measure.null_patches"]
    assert project.hmopt("config", "HMOPT_JOBS").stdout == "jobs  -  default\n"


def test_it_works_without_a_configuration_a_commit_or_a_repository(project: Project, tmp_path: Path) -> None:
    for name, options in (("none", None), ("unborn", ()), ("bare", ("--bare",))):
        place = tmp_path / name
        place.mkdir()
        if options is not None:
            project.git("init", "-q", *options, str(place))
        done = project.hmopt("config", "jobs", cwd=place, environment={"GIT_CEILING_DIRECTORIES": str(tmp_path)})
        assert (done.stdout, done.stderr, done.returncode) == ("jobs  -  default\n", "", 0)
    (tmp_path / "unborn/.hmopt.yaml").write_bytes((project.root / ".hmopt.yaml").read_bytes())
    done = project.hmopt("config", "measure.layouts", cwd=tmp_path / "unborn")
    assert done.stdout.startswith("measure.layouts  4  .hmopt.yaml:")


def test_a_misspelt_setting_is_told_and_stops_nothing(project: Project) -> None:
    project.git("config", "hmopt.measure.layout", "5")
    done = project.hmopt("config", "measure.layouts")
    assert done.returncode == 0
    assert done.stderr.startswith("git hmopt: warning: .git/config:")
    assert done.stderr.endswith(
        "hmopt.measure.layout is no setting of git hmopt; did you mean hmopt.measure.layouts?\n"
    )


def test_the_schema_and_the_reference(untouched: Project) -> None:
    schema = json.loads(untouched.hmopt("config", "--schema").stdout)
    assert schema["title"] == ".hmopt.yaml"
    assert "kbuild" in schema["$defs"]["build-adapter"]["properties"]["adapter"]["enum"]
    text = untouched.hmopt("config", "--reference").stdout
    assert text.startswith("# Configuration of git hmopt\n")
    assert "### `adapter: kbuild` (build)" in text


def plan_of(project: Project) -> dict[str, Any]:
    (name,) = run_names(project)
    (created,) = Recorded(project, name).named("run.created")
    plan: dict[str, Any] = created["plan"]
    return plan


def test_optimize_obeys_every_place(project: Project) -> None:
    project.git("config", "hmopt.budget.iterations", "0")
    project.git("config", "hmopt.sandbox", "no")
    project.git("config", "hmopt.workload", "scan")
    environment = {"HMOPT_WORKLOAD": "scan-blocks", "HMOPT_JOBS": "1", "HMOPT_MEASURE_BOOTS": "2"}
    done = project.hmopt("optimize", "--seed", "7", "--jobs", "2", environment=environment)
    assert done.returncode == 1, done.stderr
    plan = plan_of(project)
    assert plan["workload"] == "scan-blocks"
    assert plan["settings"] == {"budget.iterations": "0", "jobs": "2", "measure.boots": "2"}
    assert plan["sandboxed"] is False
    assert "the sandbox is switched off" in project.hmopt("show").stdout


def test_a_flag_stands_above_git(project: Project) -> None:
    project.git("config", "hmopt.sandbox", "no")
    project.git("config", "hmopt.budget.iterations", "5")
    done = project.hmopt("optimize", "--workload", "scan-blocks", "--iterations", "0", "--sandbox")
    assert done.returncode == 1, done.stderr
    plan = plan_of(project)
    assert (plan["sandboxed"], plan["settings"]) == (True, {"budget.iterations": "0"})


FILLED = {
    "builds.kernel.run": "make -s O=build-kernel",
    "builds.kernel.image": "build-kernel/bench",
    "builds.kernel.symbols": "build-kernel/bench.sym",
    "builds.kernel.toolchain.cc": "gcc --version",
    "tests.unit.run": "build-kernel/unit",
    "tests.boot.run": "$HMOPT_IMAGE 1 16 0 1",
    "workloads.benchmark.measure.time.run": "$HMOPT_IMAGE $HMOPT_SEED $HMOPT_SIZE $HMOPT_OFFSET $HMOPT_REPS | "
    "sed -n 's/^digest /hmopt-digest /p; s/^time /hmopt-time-ns /p'",
    "workloads.benchmark.profile.stacks.run": "sh scripts/profile.sh\nmv $HMOPT_PROFILE_OUT/{folded.txt,stacks.folded}",
}


def test_the_closed_kernels_profile_with_its_slots_filled_in_runs(project: Project) -> None:
    text = profile_bytes("hm-verif-kernel").decode()
    project.write(".hmopt.yaml", text)
    project.commit("configure")
    assert project.hmopt("trust").returncode == 0
    done = project.hmopt("optimize")
    line = text.splitlines().index('    run: "<slot: the command that builds the kernel>"') + 1
    assert done.stderr == (
        f"git hmopt: HEAD:.hmopt.yaml:{line}: builds.kernel.run: this slot is not filled in, "
        "expected the command that builds the kernel (git hmopt doctor lists all slots)\n"
    )
    assert (done.returncode, list(run_names(project))) == (129, [])
    for name, value in FILLED.items():
        lines = text.splitlines()
        key = name.rpartition(".")[2]
        at = next(number for number, line in enumerate(lines) if line.strip().startswith(f'{key}: "<slot:'))
        lines[at] = f"{lines[at].partition(key)[0]}{key}: {json.dumps(value)}"
        text = "\n".join(lines) + "\n"
    # This project's source is compiled together with an overlay; a kernel's benchmark needs none.
    text = text.replace("    inputs:\n      size: 4096", "    overlays: [./bench]\n    inputs:\n      size: 4096")
    project.write(".hmopt.yaml", text)
    project.commit("fill the slots in")
    assert project.hmopt("trust").returncode == 0
    done = project.hmopt("optimize", "--iterations", "0", environment={"HMOPT_MEASURE_BOOTS": "2"})
    assert done.returncode == 1, done.stderr
    assert "benchmark" in done.stdout
    assert "crc32c_update" in done.stdout  # the profile's hotspot
