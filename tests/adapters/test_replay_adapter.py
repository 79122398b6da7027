# SPDX-License-Identifier: Apache-2.0
"""Replaying recordings: what was recorded comes out, and nothing of it passes for a measurement."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_hmopt.adapters import (
    AdapterContext,
    BuildAdapter,
    BuildResult,
    Image,
    ProfilerAdapter,
    SourceTree,
    TestAdapter,
    WorkCase,
    WorkloadAdapter,
    load_adapter,
    sha256_of,
)
from git_hmopt.errors import ConfigError, MeasurementError
from git_hmopt.psg.compile_database import load_database
from git_hmopt.records.words import Seed
from git_hmopt.traces.registry import parse
from hmopt_adapters.command import CommandWorkload
from hmopt_adapters.command_options import CommandWorkloadOptions
from hmopt_adapters.replay import (
    ReplayBuild,
    ReplayBuildOptions,
    ReplayProfiler,
    ReplayProfilerOptions,
    ReplayTest,
    ReplayTestOptions,
    ReplayWorkload,
    ReplayWorkloadOptions,
)

RECORDING = """\
v: 1
cases:
  - name: broken
    when: {file: lib/sum.c, contains: "typo"}
    failure: "lib/sum.c:3:1: error: 'typo' undeclared"
  - name: faster
    when: {file: lib/sum.c, contains: "unroll"}
    text_bytes: 120
    tests: [{name: sum}, {name: find, status: failed, detail: got 3}]
    outputs: two
    readings: {time: [80.0], instructions: [800]}
  - name: base
    warnings: ["lib/sum.c: unused variable 'a'"]
    text_bytes: 100
    compile: {sources: ["lib/*.c"], flags: [-Iinclude]}
    tests: [{name: sum}, {name: find}]
    coverage: 0.75
    outputs: one
    readings: {time: [100.0, 101.0, 99.0], instructions: [1000]}
    captures: {folded: stacks/folded.txt}
    root: work
"""
CASES = [WorkCase(Seed(number), 64) for number in range(20)]


@pytest.fixture
def tree(tmp_path: Path) -> SourceTree:
    root = tmp_path / "src"
    for name, text in (
        ("lib/sum.c", "int sum;\n"),
        ("recorded/replay.yaml", RECORDING),
        ("recorded/stacks/folded.txt", "work;sum 7\nwork 1\n"),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return SourceTree(root, root / "build-replay")


@pytest.fixture
def context(tmp_path: Path) -> AdapterContext:
    return AdapterContext("dry", tmp_path / "scratch")


def build(tree: SourceTree, context: AdapterContext) -> BuildResult:
    adapter = ReplayBuild(ReplayBuildOptions(directory="recorded"), context)
    return adapter.build(tree, log=tree.root.parent / "log")


def image_of(result: BuildResult) -> Image:
    assert result.image is not None
    return result.image


def workload(context: AdapterContext, **metrics: str) -> ReplayWorkload:
    return ReplayWorkload(ReplayWorkloadOptions.model_validate({"metrics": metrics or {"time": "time"}}), context)


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("v: 1", "v: 2", r"recorded/replay\.yaml:1: v: .*expected"),
        ("text_bytes: 100", "text_byte: 100", r"replay\.yaml:\d+: cases\[2\]\.text_byte: .*text_bytes"),
        ("coverage: 0.75", "coverage: 75", r"cases\[2\]\.coverage: .*at most 1"),
        ("time: [80.0]", "time: []", "holds no value, expected at least one number"),
        ("stacks/folded.txt", "../../etc/passwd", "'..'"),
        ("stacks/folded.txt", "stacks/none.txt", "the recording lacks its file 'stacks/none.txt'"),
        ("name: base", "name: ../base", r"cases\[2\]\.name"),
        ("v: 1\n", "v: 1\n\t", "tab"),
        (
            "  - name: base\n",
            "  - name: base\n    when: {file: lib/sum.c, contains: other}\n",
            "none of the 3 recorded",
        ),
    ],
)
def test_a_wrong_recording_is_refused_with_its_place(
    tree: SourceTree, context: AdapterContext, old: str, new: str, said: str
) -> None:
    assert old in RECORDING
    (tree.root / "recorded/replay.yaml").write_text(RECORDING.replace(old, new, 1))
    with pytest.raises(ConfigError, match=said):
        build(tree, context)


def test_no_recording_and_one_behind_a_link_are_refused(
    tmp_path: Path, tree: SourceTree, context: AdapterContext
) -> None:
    manifest = tree.root / "recorded/replay.yaml"
    outside = tmp_path / "outside.yaml"
    manifest.rename(outside)
    with pytest.raises(ConfigError, match=r"lacks its file 'replay\.yaml'"):
        build(tree, context)
    manifest.symlink_to(outside)
    with pytest.raises(ConfigError, match=r"lacks its file 'replay\.yaml'"):
        build(tree, context)


# -- it is no measurement ---------------------------------------------------------------------------------------------


def test_everything_that_comes_out_says_that_it_was_replayed(
    tmp_path: Path, tree: SourceTree, context: AdapterContext
) -> None:
    result = build(tree, context)
    assert result.vanished == ("replayed: 'base' was recorded earlier, nothing was built",)
    assert workload(context).measure(image_of(result), CASES[0]).cross_checks == {"replayed": 1.0}
    tested = ReplayTest(ReplayTestOptions(), context).test(result, log=tmp_path / "test.log")
    assert all(case.detail.startswith("(replayed)") for case in tested.cases)
    profiled = ReplayProfiler(ReplayProfilerOptions(), context).profile(result, CASES[0], into=tmp_path / "into")
    assert profiled.notes == ("replayed: captures of case 'base', nothing was profiled",)
    assert "nothing was built" in (tmp_path / "log").read_text()
    for adapter in (
        ReplayBuild(ReplayBuildOptions(directory="recorded"), context),
        ReplayTest(ReplayTestOptions(), context),
        workload(context),
        ReplayProfiler(ReplayProfilerOptions(), context),
    ):
        # A run notes what it lacks; what nothing works without would stop it.
        (need,) = adapter.requirements()
        assert not need.found and not need.fatal
        assert need.lost == "it replays a recording: nothing that this run reports was measured"


def test_a_real_image_is_not_replayed_and_a_replayed_one_not_run(
    tmp_path: Path, tree: SourceTree, context: AdapterContext
) -> None:
    real = tmp_path / "real"
    real.write_bytes(b"\x7fELF\0\xff")
    image = Image(real, sha256_of(real), "fast")
    for refused in (
        lambda: workload(context).measure(image, CASES[0]),
        lambda: workload(context).outputs(image, CASES),
        lambda: workload(context).measure(Image(tmp_path / "none", "", "fast"), CASES[0]),
    ):
        with pytest.raises(MeasurementError, match="is no recording: the adapter 'replay' measures nothing"):
            refused()
    replayed = image_of(build(tree, context))
    assert not os.access(replayed.path, os.X_OK)
    options = {"run": '"$HMOPT_IMAGE"', "metrics": {"time": {"kind": "time", "from": "wall"}}}
    command = CommandWorkload(
        CommandWorkloadOptions.model_validate(options), AdapterContext("dry", tmp_path, sandboxed=False)
    )
    with pytest.raises(MeasurementError, match="exit code 126"):
        command.measure(replayed, CASES[0])


# -- what comes out ---------------------------------------------------------------------------------------------------


def test_the_source_chooses_the_case(tree: SourceTree, context: AdapterContext) -> None:
    base = build(tree, context)
    (tree.root / "lib/sum.c").write_text("int sum; /* unroll */\n")
    faster = build(tree, context)
    (tree.root / "lib/sum.c").write_text("int typo;\n")
    broken = build(tree, context)
    assert base.success and faster.success and not broken.success
    assert (base.text_bytes, faster.text_bytes) == (100, 120)
    assert base.warnings == ("lib/sum.c: unused variable 'a'",)
    assert image_of(base).sha256 != image_of(faster).sha256
    assert broken.failure == "(replayed) lib/sum.c:3:1: error: 'typo' undeclared"
    (tree.root / "lib/sum.c").write_text("int sum; // a comment\n")
    again = image_of(build(tree, context))
    assert again.sha256 == image_of(base).sha256 == sha256_of(again.path)


def test_readings_follow_the_input_and_the_case(tree: SourceTree, context: AdapterContext) -> None:
    image = image_of(build(tree, context))
    metered = workload(context)
    values = [metered.measure(image, case).values["time"] for case in CASES]
    assert set(values) == {99.0, 100.0, 101.0}
    assert values == [metered.measure(image, case).values["time"] for case in CASES]
    assert not metered.repeatable and workload(context, instructions="count").repeatable
    assert workload(context, instructions="count").measure(image, CASES[0]).values == {"instructions": 1000}
    with pytest.raises(MeasurementError, match="case 'base' has no recorded 'energy'"):
        workload(context, energy="kpi").measure(image, CASES[0])


def test_outputs_differ_by_input_and_by_case(tree: SourceTree, context: AdapterContext) -> None:
    base = workload(context).outputs(image_of(build(tree, context)), CASES)
    (tree.root / "lib/sum.c").write_text("unroll\n")
    other = workload(context).outputs(image_of(build(tree, context)), CASES)
    assert len(set(base.digests.values())) == len(CASES) and not base.failures
    assert all(base.digests[case] != other.digests[case] for case in CASES)


def test_tests_end_as_recorded(tmp_path: Path, tree: SourceTree, context: AdapterContext) -> None:
    tester = ReplayTest(ReplayTestOptions(), context)
    passed = tester.test(build(tree, context), log=tmp_path / "test.log")
    assert passed.success and passed.complete and passed.coverage == 0.75
    (tree.root / "lib/sum.c").write_text("unroll\n")
    failed = tester.test(build(tree, context), log=tmp_path / "test.log")
    assert failed.failure == "1 of 2 tests failed, first: find"
    (tree.root / "recorded/replay.yaml").write_text("v: 1\ncases: [{name: empty}]\n")
    empty = tester.test(build(tree, context), log=tmp_path / "test.log")
    assert not empty.success and not empty.complete


def test_captures_are_the_recorded_bytes(tmp_path: Path, tree: SourceTree, context: AdapterContext) -> None:
    profiler = ReplayProfiler(ReplayProfilerOptions(), context)
    result = profiler.profile(build(tree, context), CASES[0], into=tmp_path / "into")
    (capture,) = result.captures
    assert capture.path.read_text() == "work;sum 7\nwork 1\n" and result.root == "work"
    assert len(parse(capture.kind, capture.path)) == 2
    (tree.root / "lib/sum.c").write_text("unroll\n")
    with pytest.raises(MeasurementError, match="case 'faster' has no recorded capture"):
        profiler.profile(build(tree, context), CASES[0], into=tmp_path / "into")


def test_the_source_can_be_parsed(tree: SourceTree, context: AdapterContext) -> None:
    result = build(tree, context)
    assert result.compile_commands is not None
    database = load_database(result.compile_commands, root=tree.root)
    assert database.files == ("lib/sum.c",)
    assert "-Iinclude" in database.command("lib/sum.c").arguments


def test_layouts_are_not_controlled(tmp_path: Path, tree: SourceTree, context: AdapterContext) -> None:
    adapter = ReplayBuild(ReplayBuildOptions(directory="recorded"), context)
    result = build(tree, context)
    seeds = [Seed(1), Seed(2)]
    images = adapter.layouts(result, seeds, tmp_path / "layouts")
    assert not adapter.layout_controlled
    assert [(image.path, image.layout) for image in images.values()] == [
        (image_of(result).path, seed) for seed in seeds
    ]


def test_all_four_are_found_and_follow_the_protocols(context: AdapterContext) -> None:
    assert isinstance(ReplayBuild(ReplayBuildOptions(directory="recorded"), context), BuildAdapter)
    assert isinstance(ReplayTest(ReplayTestOptions(), context), TestAdapter)
    assert isinstance(workload(context), WorkloadAdapter)
    assert isinstance(ReplayProfiler(ReplayProfilerOptions(), context), ProfilerAdapter)
    assert load_adapter("build", "replay") is ReplayBuild and load_adapter("profiler", "replay") is ReplayProfiler
    assert load_adapter("test", "replay") is ReplayTest and load_adapter("workload", "replay") is ReplayWorkload
