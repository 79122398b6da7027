# SPDX-License-Identifier: Apache-2.0
"""Counting and profiling a real program with callgrind; valgrind's own tool says what is true."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from git_hmopt.adapters import (
    AdapterContext,
    BuildResult,
    ProfilerAdapter,
    SourceTree,
    WorkCase,
    WorkloadAdapter,
    load_adapter,
)
from git_hmopt.errors import AdapterError, MeasurementError, MissingProgramError
from git_hmopt.process.sandbox import sandbox_missing
from git_hmopt.records.words import Seed
from git_hmopt.runtime.call_graph import from_samples
from git_hmopt.traces.registry import parse
from git_hmopt.traces.tables import Samples, SelfCounts
from hmopt_adapters.callgrind import (
    CallgrindProfiler,
    CallgrindProfilerOptions,
    CallgrindWorkload,
    CallgrindWorkloadOptions,
)
from hmopt_adapters.make import MakeOptions
from tests.adapters.c_project import CASE, adapter, build, c_tree, edit

pytestmark = pytest.mark.skipif(
    any(shutil.which(program) is None for program in ("gcc", "make", "objcopy")), reason="needs gcc and make"
)
valgrind = pytest.mark.skipif(shutil.which("valgrind") is None, reason="needs valgrind")
RUN = '"$HMOPT_IMAGE" $HMOPT_SEED $HMOPT_SIZE $HMOPT_REPS'


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[SourceTree, BuildResult]:
    place = tmp_path_factory.mktemp("project")
    tree = c_tree(place)
    return tree, build(adapter(place, MakeOptions(image="prog")), tree)


def context(place: Path, *, sandboxed: bool = False) -> AdapterContext:
    return AdapterContext("instructions", place / "scratch", sandboxed=sandboxed)


def workload(place: Path, *, sandboxed: bool = False, **options: object) -> CallgrindWorkload:
    made = CallgrindWorkloadOptions.model_validate({"run": RUN, "function": "work", **options})
    return CallgrindWorkload(made, context(place, sandboxed=sandboxed))


def profiler(place: Path, **options: object) -> CallgrindProfiler:
    made = CallgrindProfilerOptions.model_validate({"run": RUN, "function": "work", **options})
    return CallgrindProfiler(made, context(place))


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"run": ""}, {"run": "x", "function": "a b"}, {"run": "x", "funktion": "f"}])
def test_wrong_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CallgrindWorkloadOptions.model_validate(options)


@valgrind
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"function": "wrok"}, "'wrok' was never entered; check its spelling, and mark it .*noinline"),
        ({"run": "true"}, r"the command never ran \$HMOPT_IMAGE"),
        ({"run": f"{RUN}; exit 3"}, "ended with exit code 3"),
        ({"run": f"{RUN} | false | cat"}, "ended with exit code 1"),
        ({"run": f"{RUN}; sleep 60", "timeout_s": 5}, "ran past its limit of 5 s"),
    ],
)
def test_what_counts_nothing_is_no_reading(
    tmp_path: Path, project: tuple[SourceTree, BuildResult], options: dict[str, Any], said: str
) -> None:
    image = project[1].image
    assert image is not None
    with pytest.raises(MeasurementError, match=said):
        workload(tmp_path, **options).measure(image, CASE)
    with pytest.raises(MeasurementError, match=said):
        profiler(tmp_path, **options).profile(project[1], CASE, into=tmp_path / "into")
    assert list((tmp_path / "scratch").iterdir()) == []


@valgrind
def test_a_shared_library_is_no_program(tmp_path: Path) -> None:
    result = build(adapter(tmp_path, MakeOptions(image="libtable.so.1.0", target=("dynamic",))), c_tree(tmp_path))
    assert result.image is not None
    with pytest.raises(AdapterError, match=r"'libtable\.so\.1\.0' is a shared library; make a program that loads it"):
        workload(tmp_path).measure(result.image, CASE)


def test_without_valgrind_it_says_what_is_lost(
    tmp_path: Path, project: tuple[SourceTree, BuildResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox_missing()  # asked once for all tests, while bwrap can be found
    monkeypatch.setenv("PATH", str(tmp_path))
    needs = {need.program: need for need in workload(tmp_path).requirements()}
    assert not needs["valgrind"].found and needs["valgrind"].fatal
    assert needs["valgrind"].lost == "instructions are not counted"
    (profile,) = profiler(tmp_path).requirements()
    assert not profile.found and not profile.fatal and "no call graph, no lines" in profile.lost
    image = project[1].image
    assert image is not None
    with pytest.raises(MissingProgramError, match="apt-get install valgrind"):
        workload(tmp_path).measure(image, CASE)
    with pytest.raises(MissingProgramError, match="apt-get install valgrind"):
        profiler(tmp_path).profile(project[1], CASE, into=tmp_path / "into")


# -- counts -----------------------------------------------------------------------------------------------------------


@valgrind
@pytest.mark.parametrize("sandboxed", [False, True])
def test_the_count_is_valgrinds_own_and_the_same_each_time(
    tmp_path: Path, project: tuple[SourceTree, BuildResult], sandboxed: bool
) -> None:
    if sandboxed and sandbox_missing() is not None:
        pytest.skip(str(sandbox_missing()))
    image = project[1].image
    assert image is not None
    made = workload(tmp_path, sandboxed=sandboxed)
    first, second = made.measure(image, CASE), made.measure(image, CASE)
    assert first == second and first.cross_checks == {"processes": 1.0}
    command = ["valgrind", "--tool=callgrind", "--toggle-collect=work", f"--callgrind-out-file={tmp_path}/out"]
    said = subprocess.run([*command, str(image.path), "3", "200", "10"], capture_output=True, text=True, check=True)
    collected = re.search(r"Collected : (\d+)", said.stderr)
    assert collected is not None and first.values == {"instructions": float(collected[1])}
    longer = made.measure(image, WorkCase(CASE.seed, CASE.size, CASE.repetitions * 2))
    assert 1.8 < longer.values["instructions"] / first.values["instructions"] < 2.2


@valgrind
def test_the_whole_program_counts_the_same_wherever_it_lies(
    tmp_path: Path, project: tuple[SourceTree, BuildResult]
) -> None:
    """The loader reads the program's path, and the arms of a comparison lie in trees of different names."""
    image = project[1].image
    assert image is not None
    counts = set()
    for place in (tmp_path / "a", tmp_path / "a-much-longer-name-of-a-directory" / "and" / "more"):
        place.mkdir(parents=True)
        shutil.copyfile(image.path, place / "prog")
        (place / "prog").chmod(0o755)
        moved = type(image)(place / "prog", image.sha256, image.build)
        counts.add(workload(tmp_path, function=None).measure(moved, CASE).values["instructions"])
    assert len(counts) == 1
    assert counts.pop() > workload(tmp_path).measure(image, CASE).values["instructions"]


@valgrind
def test_pipes_and_set_up_around_the_image_are_not_counted(
    tmp_path: Path, project: tuple[SourceTree, BuildResult]
) -> None:
    image = project[1].image
    assert image is not None
    plain = workload(tmp_path).measure(image, CASE)
    piped = workload(tmp_path, run=f"seq 100000 > $HMOPT_WORK/in; {RUN} < $HMOPT_WORK/in | sha256sum | cat")
    assert piped.measure(image, CASE) == plain
    twice = workload(tmp_path, run=f"{RUN}; {RUN}").measure(image, CASE)
    assert twice.values["instructions"] == 2 * plain.values["instructions"]
    assert twice.cross_checks == {"processes": 2.0}


def test_outputs_are_checked_natively(tmp_path: Path, project: tuple[SourceTree, BuildResult]) -> None:
    image = project[1].image
    assert image is not None
    made = workload(tmp_path, outputs=r"^result: (\w+)$")
    cases = [WorkCase(Seed(number), 100, 1) for number in (1, 2)]
    answered = made.outputs(image, cases)
    assert answered.failures == () and len(set(answered.digests.values())) == 2
    assert all(re.fullmatch(r"[0-9a-f]{8}", digest) for digest in answered.digests.values())


def test_both_are_found_and_follow_the_protocols(tmp_path: Path) -> None:
    assert load_adapter("workload", "callgrind") is CallgrindWorkload
    assert load_adapter("profiler", "callgrind") is CallgrindProfiler
    assert isinstance(workload(tmp_path), WorkloadAdapter) and workload(tmp_path).repeatable
    assert isinstance(profiler(tmp_path), ProfilerAdapter)


# -- profiles ---------------------------------------------------------------------------------------------------------


@valgrind
def test_the_profile_has_callers_lines_and_executions(tmp_path: Path, project: tuple[SourceTree, BuildResult]) -> None:
    tree, built = project
    result = profiler(tmp_path).profile(built, CASE, into=tmp_path / "into")
    assert [capture.kind for capture in result.captures] == ["callgrind", "callgrind-lines"]
    stacks, lines = (parse(capture.kind, capture.path) for capture in result.captures)
    assert isinstance(stacks, Samples) and isinstance(lines, SelfCounts)
    image = built.image
    if image is not None:
        counted = workload(tmp_path).measure(image, CASE).values["instructions"]
        assert sum(stacks.weight) == sum(lines.instructions) == counted
    assert stacks.skipped == {} and lines.skipped == {}
    graph = from_samples(stacks)
    # The window's function is the root: nothing above it is seen, and it is seen itself.
    assert graph.unit == "instructions" and graph.inclusive_share("work") == 1.0 and "main" not in graph.self_cost
    assert set(graph.callees("work")) == {"table_sum", "table_find"}
    assert graph.callers("mix") == {"table_sum": graph.self_cost["mix"]}
    at = {(file, line): runs for file, line, runs in zip(lines.file, lines.line, lines.executions, strict=True)}
    source = (tree.root / "lib/sum.c").read_text().splitlines()
    condition = source.index("\t\tif (data[i] == 255)") + 1
    assert at[("lib/sum.c", condition)] == CASE.size * CASE.repetitions
    assert set(lines.file) == {"lib/sum.c", "lib/find.c", "src/main.c", "include/table.h"}


@valgrind
def test_self_costs_are_those_that_valgrinds_own_tool_prints(
    tmp_path: Path, project: tuple[SourceTree, BuildResult]
) -> None:
    result = profiler(tmp_path, function=None).profile(project[1], CASE, into=tmp_path / "into")
    path = result.captures[0].path
    said = subprocess.run(
        ["callgrind_annotate", "--threshold=100", "--auto=no", str(path)], capture_output=True, text=True, check=True
    ).stdout
    annotated: dict[str, int] = {}
    for line in said.splitlines():
        row = re.match(r"\s*([\d,]+) \([ \d.]+%\)\s+[^:]*:([A-Za-z_]\w*)(?:'.*)?$", line)
        if row:
            annotated[row[2]] = annotated.get(row[2], 0) + int(row[1].replace(",", ""))
    table = parse("callgrind", path)
    assert isinstance(table, Samples)
    own = from_samples(table).self_cost
    assert {name: own[name] for name in ("work", "mix", "table_find", "table_sum", "main")} == {
        name: annotated[name] for name in ("work", "mix", "table_find", "table_sum", "main")
    }


@valgrind
def test_a_changed_source_is_counted_anew(tmp_path: Path) -> None:
    tree, made = c_tree(tmp_path), adapter(tmp_path, MakeOptions(image="prog"))
    before = build(made, tree).image
    assert before is not None
    first = workload(tmp_path).measure(before, CASE).values["instructions"]
    edit(tree, "lib/sum.c", "total * 31 + byte", "total * 31 + byte + total / 7")
    after = build(made, tree).image
    assert after is not None
    assert workload(tmp_path).measure(after, CASE).values["instructions"] > first
