# SPDX-License-Identifier: Apache-2.0
"""The `command` adapters on a small C project with a Makefile, built by the real compiler."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

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
)
from git_hmopt.config.load import adapter_options, load_config
from git_hmopt.errors import AdapterError, ConfigError, MeasurementError, ProgramError
from git_hmopt.process.sandbox import sandbox_missing
from git_hmopt.records.words import Seed
from hmopt_adapters import command
from hmopt_adapters.command import CommandBuild, CommandProfiler, CommandTest, CommandWorkload
from hmopt_adapters.command_options import (
    CommandBuildOptions,
    CommandProfilerOptions,
    CommandTestOptions,
    CommandWorkloadOptions,
)

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None or shutil.which("make") is None, reason="needs gcc, make")

SUM = """\
unsigned sum(const unsigned char *data, unsigned size)
{
	unsigned total = 0;
	for (unsigned i = 0; i < size; i++)
		total = total * 31 + data[i];
	return total;
}
"""
MAIN = """\
#include <stdio.h>
#include <stdlib.h>
unsigned sum(const unsigned char *data, unsigned size);
int main(int argc, char **argv)
{
	unsigned seed = atoi(argv[1]), size = atoi(argv[2]), reps = atoi(argv[3]), total = 0;
	unsigned char *data = malloc(size + 1);
	for (unsigned i = 0; i < size; i++)
		data[i] = (seed = seed * 1664525 + 1013904223) >> 24;
	printf("begin\\n");
	fflush(stdout);
	for (unsigned r = 0; r < reps; r++)
		total += sum(data, size);
	printf("end\\n");
	fflush(stdout);
	printf("work: %u steps\\nresult: %08x\\n{\\"stats\\": {\\"steps\\": [%u, 7]}}\\n", size * reps, total, size);
	return argc != 4;
}
"""
MAKEFILE = """\
CFLAGS = -O1 -Wall
build/prog: build/main.o build/sum.o
	gcc -o $@ $^
build/%.o: %.c
	gcc $(CFLAGS) -c -o $@ $<
"""
RELINK = (
    'order="build/main.o build/sum.o"; [ $((HMOPT_SEED % 2)) = 0 ] || order="build/sum.o build/main.o"; '
    'gcc -o "$HMOPT_LAYOUT_OUT" $order'
)
RUN = '"$HMOPT_IMAGE" $HMOPT_SEED $HMOPT_SIZE $HMOPT_REPS'
CASE = WorkCase(seed=Seed(3), size=1000, repetitions=10)


@pytest.fixture(params=["confined", "unconfined"])
def context(request: pytest.FixtureRequest, tmp_path: Path) -> AdapterContext:
    if request.param == "confined" and sandbox_missing():
        pytest.skip(str(sandbox_missing()))
    return AdapterContext("prog", tmp_path / "scratch", jobs=2, sandboxed=request.param == "confined")


@pytest.fixture
def tree(tmp_path: Path) -> SourceTree:
    root = tmp_path / "tree"
    root.mkdir()
    for name, text in (("sum.c", SUM), ("main.c", MAIN), ("Makefile", MAKEFILE)):
        (root / name).write_text(text)
    return SourceTree(root, root / "build")


def builder(context: AdapterContext, **options: Any) -> CommandBuild:
    given = {"run": "make -s -j$HMOPT_JOBS", "image": "build/prog", **options}
    return CommandBuild(CommandBuildOptions.model_validate(given), context)


def built(context: AdapterContext, tree: SourceTree, **options: Any) -> BuildResult:
    result = builder(context, **options).build(tree, log=tree.root.parent / "build.log")
    assert result.failure is None
    return result


def image_of(result: BuildResult) -> Image:
    assert result.image is not None
    return result.image


def workload(context: AdapterContext, **options: Any) -> CommandWorkload:
    given = {"run": RUN, "metrics": {"time": {"kind": "time", "from": "wall"}}, **options}
    return CommandWorkload(CommandWorkloadOptions.model_validate(given), context)


def checker(context: AdapterContext, **options: Any) -> CommandTest:
    return CommandTest(CommandTestOptions.model_validate(options), context)


def profiler(context: AdapterContext, **options: Any) -> CommandProfiler:
    return CommandProfiler(CommandProfilerOptions.model_validate(options), context)


def running(word: str) -> list[str]:
    """Return the command lines of all processes of this machine that hold `word`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in line and path.parent.name != str(os.getpid()):
            found.append(line)
    return found


# --- build: what goes wrong


def test_a_build_that_prints_on_and_on_is_a_result(
    context: AdapterContext, tree: SourceTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_FLOOD_BYTES", 5000)
    result = builder(context, run="echo first; yes").build(tree, log=tree.root.parent / "log")
    assert (result.success, result.image) == (False, None)
    assert result.failure is not None
    assert "could not be run to its end ('bash" in result.failure
    assert "printed more than 5000 bytes" in result.failure


def test_a_compile_error_is_a_result_with_the_compilers_first_error(context: AdapterContext, tree: SourceTree) -> None:
    (tree.root / "sum.c").write_text(SUM.replace("total * 31", "totl * 31"))
    result = builder(context).build(tree, log=tree.root.parent / "log")
    assert (result.success, result.image) == (False, None)
    assert result.failure is not None
    assert result.failure.startswith("sum.c:5:")
    assert "error: 'totl' undeclared" in result.failure
    assert result.failure.endswith("(exit code 2)")
    assert b"totl" in result.log.read_bytes()


def test_a_link_error_is_named(context: AdapterContext, tree: SourceTree) -> None:
    (tree.root / "sum.c").write_text("int other;\n")
    failure = builder(context).build(tree, log=tree.root.parent / "log").failure
    assert failure is not None
    assert "undefined reference to `sum'" in failure


def test_an_image_that_is_not_there_after_success_is_a_failure(context: AdapterContext, tree: SourceTree) -> None:
    result = builder(context, image="build/program").build(tree, log=tree.root.parent / "log")
    assert (result.success, result.image) == (False, None)
    assert result.failure == "the command succeeded but left no image 'build/program'"


def test_other_declared_outputs_that_are_not_there_are_failures(context: AdapterContext, tree: SourceTree) -> None:
    log = tree.root.parent / "log"
    assert builder(context, compile_commands="cc.json").build(tree, log=log).failure == (
        "the build succeeded but left no compile_commands 'cc.json'"
    )
    assert builder(context, symbols="build/prog.debug").build(tree, log=log).failure == (
        "the command succeeded but left no symbols 'build/prog.debug'"
    )


def test_an_image_that_is_a_link_out_of_the_tree_is_refused(context: AdapterContext, tree: SourceTree) -> None:
    result = builder(context, run="ln -sf /bin/true build/prog").build(tree, log=tree.root.parent / "log")
    assert result.failure == f"the image 'build/prog' is a link that leads out of {tree.root}"


def test_a_failing_line_in_the_middle_fails_the_build(context: AdapterContext, tree: SourceTree) -> None:
    result = builder(context, run="make -s\nfalse\necho done").build(tree, log=tree.root.parent / "log")
    assert result.failure == "no output (exit code 1)"


def test_a_build_that_hangs_is_killed_with_all_it_started(context: AdapterContext, tree: SourceTree) -> None:
    mark = f"4242.{os.getpid()}"
    run = (
        f"echo starting; (setsid sleep {mark} &) ; sleep {mark} & sleep {mark}"
        if context.sandboxed
        else (f"echo starting; sleep {mark} & sleep {mark}")
    )
    started = time.monotonic()
    result = builder(context, run=run, timeout_s=1).build(tree, log=tree.root.parent / "log")
    assert time.monotonic() - started < 20
    assert result.failure == "the build ran past its limit of 1 s and was killed: starting"
    deadline = time.monotonic() + 5  # the kernel reaps a killed namespace in its own time
    while running(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running(mark) == []


def test_a_confined_build_writes_in_its_tree_only(tree: SourceTree, tmp_path: Path) -> None:
    if sandbox_missing():
        pytest.skip(str(sandbox_missing()))
    outside = tmp_path / "outside"
    outside.mkdir()
    context = AdapterContext("prog", tmp_path / "scratch")
    run = f"make -s; touch {outside}/x 2>/dev/null || echo kept out; touch inside"
    result = builder(context, run=run).build(tree, log=tmp_path / "log")
    assert result.success
    assert list(outside.iterdir()) == []
    assert (tree.root / "inside").exists()
    assert b"kept out" in result.log.read_bytes()


# --- build: what comes out


def test_a_build_gives_image_size_and_toolchain(context: AdapterContext, tree: SourceTree) -> None:
    result = built(context, tree, toolchain={"cc": "gcc --version", "none": "exit 3"})
    image = image_of(result)
    assert image.path == tree.root / "build" / "prog"
    assert image.sha256 == hashlib.sha256(image.path.read_bytes()).hexdigest()
    assert (image.build, image.layout, image.symbols) == ("prog", None, image.path)
    assert result.warnings == ()
    assert result.toolchain["cc"].startswith("gcc ")
    assert result.toolchain["none"] == "unknown (exit code 3)"
    # A bigger function is more text by some bytes, not by a page.
    assert result.text_bytes is not None
    (tree.root / "sum.c").write_text(SUM.replace("return total", "total ^= total >> 3; return total * 7 + size"))
    more = built(context, tree).text_bytes
    assert more is not None
    assert 0 < more - result.text_bytes < 200


def test_warnings_have_no_line_numbers(context: AdapterContext, tree: SourceTree) -> None:
    (tree.root / "sum.c").write_text(SUM.replace("unsigned total = 0;", "unsigned total = 0; int spare;"))
    first = built(context, tree)
    (tree.root / "sum.c").write_text("\n\n" + (tree.root / "sum.c").read_text())
    assert first.warnings == built(context, tree).warnings == ("sum.c: unused variable 'spare' [-Wunused-variable]",)


def test_the_first_error_is_found_before_megabytes_of_output(context: AdapterContext, tree: SourceTree) -> None:
    run = "echo 'a.c:1:2: error: the first'; seq 100000; echo 'b.c:1:2: error: the second'; exit 1"
    assert builder(context, run=run).build(tree, log=tree.root.parent / "log").failure == (
        "a.c:1:2: error: the first (exit code 1)"
    )


def test_a_child_gets_a_built_environment(
    context: AdapterContext, tree: SourceTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    run = 'make -s; echo "<$SECRET_TOKEN> <$CFLAGS_EXTRA> <$HMOPT_TREE> <$HMOPT_OUTPUT> <$HMOPT_JOBS>"'
    result = built(context, tree, run=run, environment={"CFLAGS_EXTRA": "-g", "HMOPT_JOBS": "99"})
    assert f"<> <-g> <{tree.root}> <{tree.output}> <2>\n" in result.log.read_text()


# --- layouts


def test_layouts_differ_by_seed_compute_the_same_and_are_reused(
    context: AdapterContext, tree: SourceTree, tmp_path: Path
) -> None:
    build = builder(context, relink=RELINK)
    assert build.layout_controlled
    result = built(context, tree)
    seeds = [Seed(1), Seed(2), Seed(3)]
    images = build.layouts(result, seeds, tmp_path / "layouts")
    assert [images[seed].layout for seed in seeds] == seeds
    assert images[Seed(1)].sha256 == images[Seed(3)].sha256 != images[Seed(2)].sha256
    load = workload(context, outputs="result: (.*)")
    digests = {load.outputs(image, [CASE]).digests[CASE] for image in [*images.values(), image_of(result)]}
    assert len(digests) == 1

    made = {seed: image.path.stat().st_mtime_ns for seed, image in images.items()}
    images[Seed(2)].path.write_bytes(b"damaged")
    again = build.layouts(result, seeds, tmp_path / "layouts")
    assert {seed: image.sha256 for seed, image in again.items()} == {s: image.sha256 for s, image in images.items()}
    assert again[Seed(1)].path.stat().st_mtime_ns == made[Seed(1)]
    assert again[Seed(2)].path.stat().st_mtime_ns != made[Seed(2)]
    # Two builds that are compared are laid out in one place with the same seeds: neither may replace the other's.
    other = replace(result, image=replace(image_of(result), sha256="0" * 64))
    apart = build.layouts(other, seeds, tmp_path / "layouts")
    assert not {image.path for image in apart.values()} & {image.path for image in images.values()}
    assert images[Seed(1)].path.stat().st_mtime_ns == made[Seed(1)]


def test_a_relink_below_the_output_directory_works(context: AdapterContext, tree: SourceTree) -> None:
    images = builder(context, relink=RELINK).layouts(built(context, tree), [Seed(2)], tree.output / "layouts")
    assert images[Seed(2)].path.is_file()


def test_without_relink_every_seed_has_the_built_image(
    context: AdapterContext, tree: SourceTree, tmp_path: Path
) -> None:
    build = builder(context)
    result = built(context, tree)
    images = build.layouts(result, [Seed(1), Seed(2)], tmp_path / "layouts")
    assert not build.layout_controlled
    assert {image.path for image in images.values()} == {image_of(result).path}


def test_a_relink_that_ignores_the_seed_is_refused(context: AdapterContext, tree: SourceTree, tmp_path: Path) -> None:
    build = builder(context, relink='cp "$HMOPT_IMAGE" "$HMOPT_LAYOUT_OUT"')
    with pytest.raises(AdapterError, match=r"gave the same image for 2 seeds; make it place code by \$HMOPT_SEED"):
        build.layouts(built(context, tree), [Seed(1), Seed(2)], tmp_path / "layouts")


def test_a_relink_that_leaves_nothing_or_fails_is_refused(
    context: AdapterContext, tree: SourceTree, tmp_path: Path
) -> None:
    result = built(context, tree)
    with pytest.raises(AdapterError, match=r"succeeded but left no \$HMOPT_LAYOUT_OUT"):
        builder(context, relink="true").layouts(result, [Seed(1)], tmp_path / "layouts")
    with pytest.raises(ProgramError, match=r"exit code 1: ld: no such thing"):
        builder(context, relink="echo ld: no such thing; false").layouts(result, [Seed(1)], tmp_path / "layouts")
    with pytest.raises(AdapterError, match="there is no image to lay out: the build failed"):
        builder(context).layouts(replace(result, image=None, failure="x"), [Seed(1)], tmp_path / "layouts")


# --- test


def test_the_exit_code_tells(context: AdapterContext, tree: SourceTree, tmp_path: Path) -> None:
    result = built(context, tree)
    good = checker(context, run='"$HMOPT_IMAGE" 1 2 3 | grep -q result; echo lines 87.5% covered', coverage=r"(\S+)%")
    passed = good.test(result, log=tmp_path / "log")
    assert (passed.success, passed.count("passed"), passed.coverage) == (True, 1, 0.875)
    failed = checker(context, run="echo the reason; exit 3").test(result, log=tmp_path / "log")
    assert (failed.success, failed.count("failed")) == (False, 1)
    assert failed.failure == "the tests ended with exit code 3: the reason"
    assert checker(context, run="true").test(replace(result, image=None), log=tmp_path / "log").failure is not None


@pytest.mark.parametrize(
    ("output", "code", "failure", "complete"),
    [
        ("KTAP version 1\\n1..2\\nok 1 a\\nok 2 b\\n", 0, None, True),
        ("KTAP version 1\\n1..2\\nok 1 a\\nok 2 b\\n", 7, "the tests ended with exit code 7: ok 2 b", True),
        ("KTAP version 1\\n1..2\\nok 1 a\\nnot ok 2 b\\n", 0, "1 of 2 tests failed: b", True),
        (
            "KTAP version 1\\n1..2\\nok 1 a\\n",
            0,
            "the log ends while 'test 2' ran; the log ends here, after 1 of 2 results",
            False,
        ),
        ("all is well\\n", 0, "no KTAP in the log, the tests never started; it ends with: all is well", False),
    ],
)
def test_results_in_the_output_tell(
    tree: SourceTree, tmp_path: Path, output: str, code: int, failure: str | None, complete: bool
) -> None:
    context = AdapterContext("prog", tmp_path / "scratch", sandboxed=False)
    result = checker(context, run=f"printf '{output}'; exit {code}", format="ktap").test(
        built(context, tree), log=tmp_path / "log"
    )
    assert (result.failure, result.complete, result.success) == (failure, complete, failure is None)


def test_tap_results_need_no_numbers(context: AdapterContext, tree: SourceTree, tmp_path: Path) -> None:
    result = checker(context, run="printf '1..1\\nok - a\\n'", format="tap").test(
        built(context, tree), log=tmp_path / "log"
    )
    assert [case.name for case in result.cases] == ["a"]
    assert result.success


def test_tests_that_hang_are_killed_and_told(context: AdapterContext, tree: SourceTree, tmp_path: Path) -> None:
    mark = f"4343.{os.getpid()}"
    run = f"printf 'KTAP version 1\\n1..2\\nok 1 a\\n'; sleep {mark} & sleep {mark}"
    result = checker(context, run=run, format="ktap", timeout_s=1).test(built(context, tree), log=tmp_path / "log")
    assert result.failure == "the test command ran past its limit of 1 s and was killed"
    assert [(case.name, case.status) for case in result.cases] == [("a", "passed"), ("test 2", "crashed")]
    assert (result.success, result.complete) == (False, False)
    deadline = time.monotonic() + 5
    while running(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running(mark) == []


def test_tests_that_print_on_and_on_are_told(
    context: AdapterContext, tree: SourceTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = built(context, tree)
    monkeypatch.setattr(command, "_FLOOD_BYTES", 5000)
    told = checker(context, run="yes").test(result, log=tmp_path / "log")
    assert (told.success, told.complete) == (False, False)
    assert told.failure is not None
    assert "printed more than 5000 bytes" in told.failure


def test_a_coverage_that_is_not_printed_is_a_failure(context: AdapterContext, tree: SourceTree, tmp_path: Path) -> None:
    told = checker(context, run="echo well", coverage="(.*)%").test(built(context, tree), log=tmp_path / "log")
    assert (told.success, told.coverage) == (False, None)
    assert told.failure == "coverage: '(.*)%' matches nothing in the output, expected one value"


def test_an_image_whose_size_cannot_be_told_is_still_an_image(context: AdapterContext, tree: SourceTree) -> None:
    result = built(context, tree, run="mkdir -p build; printf '\\177ELF and nothing' > build/prog")
    assert (result.success, result.text_bytes) == (True, None)


def test_tests_that_change_the_image_are_refused(context: AdapterContext, tree: SourceTree, tmp_path: Path) -> None:
    result = checker(context, run='echo >> "$HMOPT_IMAGE"').test(built(context, tree), log=tmp_path / "log")
    assert result.failure == "the tests changed the image 'prog'"


# --- workload


def test_a_workload_is_measured_by_clock_expression_and_json(context: AdapterContext, tree: SourceTree) -> None:
    metrics = {
        "time": {"kind": "time", "from": "wall"},
        "steps": {"kind": "count", "from": r"work: (\d+) steps"},
        "own": {"kind": "time", "unit": "us", "from": r"work: (\d+) steps"},
        "rate": {"kind": "kpi", "unit": "1/s", "from": {"json": "stats.steps.1"}},
    }
    load = workload(context, metrics=metrics, markers={"begin": "^begin$", "end": "^end$"})
    assert load.metrics == {"time": "time", "steps": "count", "own": "time", "rate": "kpi"}
    image = image_of(built(context, tree))
    short = load.measure(image, replace(CASE, repetitions=20_000))
    long = load.measure(image, replace(CASE, repetitions=100_000))
    assert short.values["steps"] == 20_000_000
    assert short.values["own"] == 20_000_000_000  # recorded in ns
    assert short.values["rate"] == 7
    # 10^8 multiplications take longer than 2 * 10^7, and the window is shorter than the whole run.
    assert 0 < short.values["time"] < long.values["time"]
    assert long.values["time"] > 20e6
    assert long.values["time"] < long.cross_checks["process_wall_ns"]
    plain = workload(context).measure(image, CASE)
    assert plain.values["time"] == plain.cross_checks["process_wall_ns"]
    assert list(context.scratch.glob("work-*")) == []


def test_outputs_are_the_same_for_equal_work_and_differ_for_other_work(
    context: AdapterContext, tree: SourceTree
) -> None:
    cases = [WorkCase(Seed(seed), size) for seed in (1, 2) for size in (0, 1, 7, 1000)]
    load = workload(context, outputs="^result: (.*)$")
    image = image_of(built(context, tree))
    base = load.outputs(image, cases)
    assert base.failures == ()
    assert load.outputs(image, cases).digests == base.digests
    assert base.digests[cases[3]] != base.digests[cases[7]]
    # A candidate that is wrong beyond 100 bytes only is seen at size 1000 only.
    (tree.root / "sum.c").write_text(SUM.replace("i < size;", "i < size && i < 100;"))
    candidate = load.outputs(image_of(built(context, tree)), cases)
    assert {case.size for case in cases if candidate.digests[case] != base.digests[case]} == {1000}


def test_the_whole_output_is_the_digest_by_default_and_check_may_be_another_command(
    context: AdapterContext, tree: SourceTree
) -> None:
    load = workload(
        context, run="false", check="echo $HMOPT_SEED $HMOPT_SIZE $HMOPT_OFFSET $HMOPT_REPS; echo noise >&2"
    )
    case = WorkCase(Seed(5), 6, offset=7)
    found = load.outputs(image_of(built(context, tree)), [case])
    assert found.digests == {case: hashlib.sha256(b"5 6 7 1\n").hexdigest()}
    assert b"noise" in found.log


def test_failing_hanging_and_silent_cases_are_failures(tree: SourceTree, tmp_path: Path) -> None:
    context = AdapterContext("prog", tmp_path / "scratch", sandboxed=False)
    run = "case $HMOPT_SIZE in 1) echo oops >&2; exit 9;; 2) sleep 100;; 3) echo nothing;; *) echo result: 1;; esac"
    load = workload(context, run=run, outputs="result: (.*)", timeout_s=1)
    found = load.outputs(image_of(built(context, tree)), [WorkCase(Seed(1), size) for size in range(1, 5)])
    assert list(found.digests) == [WorkCase(Seed(1), 4)]
    assert found.failures[0] == "seed 1, size 1, offset 0: the command ended with exit code 9: oops"
    assert "size 2" in found.failures[1]
    assert "ran past its limit of 1 s" in found.failures[1]
    assert found.failures[2].endswith("output digest: 'result: (.*)' matches nothing in the output, expected one value")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"run": "exit 4"}, "workload 'prog': the command ended with exit code 4: no output"),
        ({"run": "sleep 9", "timeout_s": 0.5}, "ran past its limit of 0.5 s and was killed"),
        ({"run": "kill -SEGV $$"}, "workload 'prog': the command ended with SIGSEGV: no output"),
        (
            {"metrics": {"n": {"kind": "count", "from": "none: (.*)"}}},
            r"metric 'n': 'none: \(\.\*\)' matches nothing in the output, expected one value",
        ),
        (
            {"metrics": {"n": {"kind": "count", "from": "x: (.*)"}}, "run": "echo x: 1; echo x: 2"},
            "matches 2 different values in the output, expected one value",
        ),
        (
            {"metrics": {"n": {"kind": "count", "from": "x: (.*)"}}, "run": "echo x: many"},
            "metric 'n': got 'many', expected a number",
        ),
        (
            {"metrics": {"n": {"kind": "count", "from": "x: (.*)"}}, "run": "echo x: nan"},
            "metric 'n': got 'nan', expected a finite number",
        ),
        (
            {"metrics": {"n": {"kind": "kpi", "from": {"json": "a.b"}}}, "run": "echo '{\"a\": {}}'"},
            r"metric 'n': the output's JSON has no 'a.b' \(nothing at 'b'\)",
        ),
        (
            {"metrics": {"n": {"kind": "kpi", "from": {"json": "a"}}}, "run": "echo '{\"a\": true}'"},
            "metric 'n': got bool 'True', expected a number",
        ),
        (
            {"metrics": {"n": {"kind": "kpi", "from": {"json": "a"}}}, "run": "echo '{\"a\": '"},
            "metric 'n': the output holds no JSON, expected an object with 'a'",
        ),
        (
            {"run": "echo a", "markers": {"begin": "a", "end": "b"}},
            "the end marker 'b' was printed 0 times, expected once",
        ),
        (
            {"run": "echo a; sleep 0.1; echo a; echo b", "markers": {"begin": "a", "end": "b"}},
            "the begin marker 'a' was printed 2 times, expected once",
        ),
        (
            {"run": "printf 'a\\nb\\n' > $HMOPT_WORK/x; cat $HMOPT_WORK/x", "markers": {"begin": "a", "end": "b"}},
            "the end marker did not arrive after the begin marker; make the command flush",
        ),
        (
            {"run": "echo b; sleep 0.1; echo a", "markers": {"begin": "a", "end": "b"}},
            "the end marker did not arrive after the begin marker",
        ),
    ],
)
def test_what_cannot_be_measured_is_said(tree: SourceTree, tmp_path: Path, options: Any, message: str) -> None:
    context = AdapterContext("prog", tmp_path / "scratch", sandboxed=False)
    with pytest.raises(MeasurementError, match=message):
        workload(context, **options).measure(image_of(built(context, tree)), CASE)


def test_a_confined_workload_cannot_change_the_image_or_keep_state(tree: SourceTree, tmp_path: Path) -> None:
    if sandbox_missing():
        pytest.skip(str(sandbox_missing()))
    context = AdapterContext("prog", tmp_path / "scratch")
    image = image_of(built(context, tree))
    tries = 'echo >> "$HMOPT_IMAGE" || echo kept; ls "$HMOPT_WORK" | wc -l; touch "$HMOPT_WORK/x"'
    load = workload(context, run=tries, metrics={"left": {"kind": "count", "from": "^(0|1)$"}})
    assert load.measure(image, CASE).values == load.measure(image, CASE).values == {"left": 0}
    assert hashlib.sha256(image.path.read_bytes()).hexdigest() == image.sha256


# --- profiler


def test_a_profile_leaves_its_declared_captures(context: AdapterContext, tree: SourceTree, tmp_path: Path) -> None:
    run = (
        'echo "main;sum $HMOPT_SIZE" > "$HMOPT_PROFILE_OUT/out.folded"; head -c 99 /dev/zero > "$HMOPT_PROFILE_OUT/raw"'
    )
    adapter = profiler(
        context, run=run, captures={"folded": "out.folded", "raw": "raw"}, notes=["flat only"], root="main"
    )
    result = adapter.profile(built(context, tree), CASE, into=tmp_path / "profile")
    folded, raw = result.captures
    assert (folded.kind, folded.path.read_text(), folded.media_type) == ("folded", "main;sum 1000\n", "text/plain")
    assert (raw.kind, raw.media_type) == ("raw", "application/octet-stream")
    assert (result.notes, result.root) == (("flat only",), "main")


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        ("true", MeasurementError, "profiler 'prog': the command succeeded but left no capture folded 'out'"),
        ('> "$HMOPT_PROFILE_OUT/out"', MeasurementError, "profiler 'prog': the capture folded 'out' is empty"),
        ('ln -s /etc/passwd "$HMOPT_PROFILE_OUT/out"', MeasurementError, "'out' is a link that leads out of"),
        ("echo no counters; exit 2", ProgramError, "exit code 2: no counters"),
    ],
)
def test_a_profile_without_its_captures_is_refused(
    tree: SourceTree, tmp_path: Path, run: str, error: type[Exception], message: str
) -> None:
    context = AdapterContext("prog", tmp_path / "scratch", sandboxed=False)
    into = tmp_path / "profile"
    into.mkdir()
    (into / "out").write_text("of an earlier run")
    with pytest.raises(error, match=message):
        profiler(context, run=run, captures={"folded": "out"}).profile(built(context, tree), CASE, into=into)


# --- options


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (CommandBuildOptions, "run: make", "image: is missing, expected text"),
        (CommandBuildOptions, "run: ''\nimage: x", "run: got text '', expected at least 1 characters"),
        (
            CommandBuildOptions,
            "run: make\nimage: /etc/x",
            "image: '/etc/x' is not below its directory, expected a relative",
        ),
        (CommandBuildOptions, "run: make\nimage: a/../../x", "image: 'a/../../x' is not below its directory, expected"),
        (
            CommandBuildOptions,
            "run: make\nimage: x\ntimeout_s: 0",
            "timeout_s: got the number 0, expected a number above 0",
        ),
        (
            CommandBuildOptions,
            "run: make\nimage: x\nenvironment: {A B: x}",
            "environment.A B: got text 'A B', expected text",
        ),
        (
            CommandBuildOptions,
            "run: make\nimage: x\nenvironment: {A: 1}",
            "environment.A: got the number 1, expected text",
        ),
        (CommandTestOptions, "run: x\nformat: junit", "format: got text 'junit', expected 'exit', 'ktap' or 'tap'"),
        (CommandTestOptions, "run: x\ncoverage: '%'", "coverage: '%' has 0 groups, expected one: the value"),
        (CommandWorkloadOptions, "run: x\nmetrics: {}", "metrics: got a mapping, expected "),
        (
            CommandWorkloadOptions,
            "run: x\nmetrics: {n: {kind: time}}",
            "metrics.n.from: is missing, expected a mapping",
        ),
        (
            CommandWorkloadOptions,
            "run: x\nmetrics: {n: {kind: count, from: '('}}",
            "metrics.n.from: '(' is no regular expression (missing ), unterminated subpattern at position 0), expected",
        ),
        (
            CommandWorkloadOptions,
            "run: x\nmetrics: {n: {kind: time, from: '(x)'}}",
            "metrics.n: unit '' of a time, expected ns, us, ms or s",
        ),
        (
            CommandWorkloadOptions,
            "run: x\nmetrics: {n: {kind: count, from: wall}}",
            "metrics.n: 'wall' is a time in ns, expected kind: time and no other unit",
        ),
        (
            CommandWorkloadOptions,
            "run: x\nmetrics: {n: {kind: kpi, from: {json: a, regex: (b)}}}",
            "metrics.n.from: not exactly one source, expected wall, a regular expression or {json: key}",
        ),
        (
            CommandWorkloadOptions,
            "run: x\nmetrics: {n: {kind: kpi, from: {jsn: a}}}",
            "metrics.n.from.jsn: unknown key 'jsn', expected 'json'? (known: json, regex, wall)",
        ),
        (
            CommandProfilerOptions,
            "run: x\ncaptures: {a: ../b}",
            "captures.a: '../b' is not below its directory, expected",
        ),
    ],
)
def test_wrong_options_are_refused_with_line_and_key(model: Any, options: str, message: str) -> None:
    section = "".join(f"    {line}\n" for line in options.splitlines())
    text = (
        f"version: 1\nbuilds:\n  prog:\n    adapter: command\n{section}"
        "workloads:\n  w: {inputs: {size: 1}, measure: {time: {adapter: command, build: prog}}}\n"
    )
    loaded = load_config(text.encode(), origin="f")
    with pytest.raises(ConfigError) as caught:
        adapter_options(loaded.config.builds["prog"], model, where=loaded.at("builds", "prog"))
    line, key_and_what = str(caught.value).removeprefix("f:").split(": builds.prog.")
    assert 3 <= int(line) <= 7
    assert key_and_what.startswith(message)


def test_options_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        CommandTestOptions(run="x").run = "y"


def test_the_installed_adapters_are_these_and_follow_the_protocols(context: AdapterContext) -> None:
    assert load_adapter("build", "command") is CommandBuild
    assert isinstance(builder(context), BuildAdapter)
    assert isinstance(checker(context, run="x"), TestAdapter)
    assert isinstance(workload(context), WorkloadAdapter)
    assert isinstance(profiler(context, run="x", captures={"folded": "x"}), ProfilerAdapter)
    assert {requirement.program: requirement.fatal for requirement in builder(context).requirements()} == {
        "bash": True,
        "bwrap": False,
        "size": False,
    }
