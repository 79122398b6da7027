# SPDX-License-Identifier: Apache-2.0
"""Coverage of real tests and executions of real lines, by gcc's counters."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from git_hmopt.adapters import AdapterContext, BuildResult, ProfilerAdapter, SourceTree, TestAdapter, load_adapter
from git_hmopt.agents.playbook.branch_hints import direction
from git_hmopt.errors import AdapterError, MeasurementError, MissingProgramError
from git_hmopt.process.sandbox import sandbox_missing
from git_hmopt.runtime.call_graph import from_self_counts
from git_hmopt.traces.registry import parse
from git_hmopt.traces.tables import SelfCounts
from hmopt_adapters.gcov import GcovProfiler, GcovProfilerOptions, GcovTest, GcovTestOptions
from hmopt_adapters.make import MakeOptions
from tests.adapters.c_project import CASE, adapter, build, c_tree, edit

pytestmark = pytest.mark.skipif(
    any(shutil.which(program) is None for program in ("gcc", "make", "gcov")), reason="needs gcc, gcov and make"
)
RUN = '"$HMOPT_IMAGE" $HMOPT_SEED $HMOPT_SIZE $HMOPT_REPS'
COVERAGE = MakeOptions(image="prog", coverage=True, variables={"CFLAGS": "-O0 -g"})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[SourceTree, BuildResult]:
    place = tmp_path_factory.mktemp("project")
    tree = c_tree(place)
    edit(
        tree,
        "lib/find.c",
        "\t\tif (data[i] == what)\n\t\t\treturn i;",
        "\t\tif (data[i] == what) {\n\t\t\treturn i;\n\t\t}",
    )
    return tree, build(adapter(place, COVERAGE), tree)


def coverage_of(place: Path, *, sandboxed: bool = False, **options: object) -> GcovTest:
    context = AdapterContext("coverage", place / "scratch", sandboxed=sandboxed)
    return GcovTest(GcovTestOptions.model_validate(options), context)


def profiler(place: Path, **options: object) -> GcovProfiler:
    context = AdapterContext("branches", place / "scratch", sandboxed=False)
    return GcovProfiler(GcovProfilerOptions.model_validate({"run": RUN, **options}), context)


@pytest.mark.parametrize("options", [{"target": ["a b"]}, {"run": ""}, {"gcov": "gcov; true"}, {"format": "xml"}])
def test_wrong_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GcovTestOptions.model_validate(options)


def test_a_build_without_counters_is_refused_with_the_flags_it_needs(tmp_path: Path) -> None:
    result = build(adapter(tmp_path, MakeOptions(image="prog")), c_tree(tmp_path))
    with pytest.raises(AdapterError, match=r"counts its lines; build it with 'coverage: true'"):
        coverage_of(tmp_path).test(result, log=tmp_path / "test.log")
    with pytest.raises(MeasurementError, match=r"counts its lines; build it with 'coverage: true'"):
        profiler(tmp_path).profile(result, CASE, into=tmp_path / "into")


def test_a_gcov_that_understands_nothing_is_refused(tmp_path: Path, project: tuple[SourceTree, BuildResult]) -> None:
    with pytest.raises(MeasurementError, match=r"finds no line of the source.*name the gcov of the gcc that built"):
        profiler(tmp_path, gcov="true").profile(project[1], CASE, into=tmp_path / "into")
    with pytest.raises(MissingProgramError, match=r"'gcov-0\.1' is not installed"):
        profiler(tmp_path, gcov="gcov-0.1").profile(project[1], CASE, into=tmp_path / "into")


@pytest.mark.parametrize("sandboxed", [False, True])
def test_coverage_is_the_share_that_gcov_itself_states(tmp_path: Path, sandboxed: bool) -> None:
    if sandboxed and sandbox_missing() is not None:
        pytest.skip(str(sandbox_missing()))
    tree = c_tree(tmp_path)
    built = build(adapter(tmp_path, COVERAGE), tree)
    tested = coverage_of(tmp_path, format="tap", sandboxed=sandboxed).test(built, log=tmp_path / "test.log")
    assert tested.success and tested.count("passed") == 2 and tested.coverage is not None
    # The same runs counted beside their objects, and gcov's own summary of every object.
    mirror = tree.output / "tree"
    subprocess.run([mirror / "unit"], check=True, capture_output=True, env={"GCOV_PREFIX": str(tmp_path / "own")})
    executed = lines = 0
    for notes in mirror.rglob("*.gcno"):
        name = str(notes.relative_to(mirror).with_suffix(".gcda"))
        counters = tmp_path / "own/hmopt" / name.replace("/", "#")
        if counters.is_file():
            shutil.copy(counters, mirror / name)
        said = subprocess.run(["gcov", "-n", str(notes)], cwd=mirror, capture_output=True, text=True, check=True).stdout
        for name, share, number in re.findall(r"File '(.*)'\nLines executed:([\d.]+)% of (\d+)", said):
            if not name.endswith(".h"):
                executed += round(float(share) * int(number) / 100)
                lines += int(number)
        # A header without code has no line here; one with code is counted once by us.
    header = 2 + 1
    assert abs(tested.coverage - executed / lines) < header / lines
    assert 0.3 < tested.coverage < 0.9


def test_the_image_is_the_same_in_every_tree(tmp_path: Path) -> None:
    """An object names the file of its counters, and two trees must build the same image."""
    images = [build(adapter(place, COVERAGE), c_tree(place)).image for place in (tmp_path / "a", tmp_path / "longer")]
    assert images[0] is not None and images[1] is not None and images[0].sha256 == images[1].sha256


def test_a_build_that_names_its_own_directory(tmp_path: Path) -> None:
    """Plain --coverage: counters go where the object was compiled, below our directory."""
    flags = MakeOptions(image="prog", variables={"CFLAGS": "-O0 -g --coverage"})
    built = build(adapter(tmp_path, flags), c_tree(tmp_path))
    result = profiler(tmp_path).profile(built, CASE, into=tmp_path / "into")
    table = parse("self-counts", result.captures[0].path)
    assert isinstance(table, SelfCounts) and max(table.executions) >= CASE.size * CASE.repetitions
    assert list(built.tree.root.rglob("*.gcda")) == []


def test_a_failing_test_is_a_result_with_its_coverage(tmp_path: Path) -> None:
    tree = c_tree(tmp_path)
    edit(tree, "lib/sum.c", "* 31", "* 33")
    built = build(adapter(tmp_path, COVERAGE), tree)
    tested = coverage_of(tmp_path, format="tap").test(built, log=tmp_path / "test.log")
    assert not tested.success and tested.count("failed") == 1 and tested.coverage is not None


def test_a_command_may_be_the_test(tmp_path: Path, project: tuple[SourceTree, BuildResult]) -> None:
    little = coverage_of(tmp_path, run='"$HMOPT_IMAGE" 1 0 0').test(project[1], log=tmp_path / "test.log")
    more = coverage_of(tmp_path, run='"$HMOPT_IMAGE" 1 500 5').test(project[1], log=tmp_path / "test.log")
    assert little.success and more.success
    assert little.coverage is not None and more.coverage is not None and 0 < little.coverage < more.coverage < 1


def test_lines_are_counted_in_the_form_that_branch_hints_take(
    tmp_path: Path, project: tuple[SourceTree, BuildResult]
) -> None:
    tree, built = project
    result = profiler(tmp_path).profile(built, CASE, into=tmp_path / "into")
    (capture,) = result.captures
    table = parse(capture.kind, capture.path)
    assert isinstance(table, SelfCounts) and table.skipped == {}
    at = {(file, line): count for file, line, count in zip(table.file, table.line, table.executions, strict=True)}
    source = {name: (tree.root / name).read_text().splitlines() for name in ("lib/sum.c", "lib/find.c")}

    def count(file: str, text: str) -> int:
        return at[(file, source[file].index(text) + 1)]

    total = CASE.size * CASE.repetitions
    assert count("lib/sum.c", "\t\tif (data[i] == 255)") == total
    assert count("lib/sum.c", "\t\ttotal = mix(total, data[i]);") == total
    taken = count("lib/sum.c", "\t\t\ttotal = table_twice(total);")
    assert 0 < taken < total / 20
    assert direction(total, taken) == "unlikely"
    # gcov knows executions and no cost: nothing may be ranked by it.
    assert from_self_counts(table).total == 0
    assert "they rank nothing" in result.notes[0]
    # Nothing was left in the build.
    assert list(tree.root.rglob("*.gcda")) == []


def test_lines_that_never_ran_are_there_with_0(tmp_path: Path, project: tuple[SourceTree, BuildResult]) -> None:
    result = profiler(tmp_path, run='"$HMOPT_IMAGE" 1 0 1').profile(project[1], CASE, into=tmp_path / "into")
    table = parse("self-counts", result.captures[0].path)
    assert isinstance(table, SelfCounts)
    assert 0 in [runs for symbol, runs in zip(table.symbol, table.executions, strict=True) if symbol == "mix"]


def test_a_failing_command_is_no_profile(tmp_path: Path, project: tuple[SourceTree, BuildResult]) -> None:
    with pytest.raises(MeasurementError, match=r"profiler 'branches'.*exit code 4"):
        profiler(tmp_path, run=f"{RUN}; exit 4").profile(project[1], CASE, into=tmp_path / "into")


def test_both_are_found_and_follow_the_protocols(tmp_path: Path) -> None:
    assert load_adapter("test", "gcov") is GcovTest and load_adapter("profiler", "gcov") is GcovProfiler
    assert isinstance(coverage_of(tmp_path), TestAdapter) and isinstance(profiler(tmp_path), ProfilerAdapter)
    (need,) = coverage_of(tmp_path, gcov="gcov-0.1").requirements()
    assert not need.found and need.fatal and need.lost == "the tests' coverage is not known"
