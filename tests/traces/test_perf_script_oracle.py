# SPDX-License-Identifier: Apache-2.0
"""The parser against other people's programs over the same bytes: perf report, and a stack collapser's output."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from git_hmopt.runtime import call_graph
from git_hmopt.traces import folded, perf_script
from git_hmopt.traces.tables import Samples

PROGRAM = """
#define KEEP __attribute__((noinline))
static volatile unsigned long sink;
KEEP void leaf(unsigned long n) { for (unsigned long i = 0; i < n; i++) sink += i; }
KEEP void deep(int n) { if (n) deep(n - 1); leaf(200000); sink++; }
KEEP void wide(void) { for (int i = 0; i < 40; i++) leaf(400000); sink++; }
int main(void) { for (int i = 0; i < 12; i++) { deep(8); wide(); } return 0; }
"""
CAPTURES = Path(__file__).parents[3] / "shared" / "data" / "captures"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record a small recursive program once, with call stacks."""
    perf, compiler = shutil.which("perf"), shutil.which("gcc") or shutil.which("cc")
    if perf is None or compiler is None:
        pytest.skip("needs perf and a C compiler, and one of them is not installed")
    there = tmp_path_factory.mktemp("perf")
    (there / "p.c").write_text(PROGRAM)
    # Optimised, gcc gives leaf functions no frame even when told to keep frames, and stacks lack their direct caller.
    build = [compiler, "-O0", "-fno-omit-frame-pointer", "-o", "p", "p.c"]
    subprocess.run(build, cwd=there, check=True, timeout=60)
    record = [perf, "record", "-F", "4999", "-g", "-e", "cpu-clock:u", "-o", "data", "./p"]
    done = subprocess.run(record, cwd=there, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        pytest.skip(f"perf cannot record here: {done.stderr.strip()[-200:]}")
    return there


def perf_output(there: Path, *arguments: str) -> str:
    done = subprocess.run(["perf", *arguments], cwd=there, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def samples_of(there: Path, *options: str) -> Samples:
    text = perf_output(there, "script", "-i", "data", "--ns", "--show-lost-events", "-F", perf_script.FIELDS, *options)
    return perf_script.parse(text.encode().splitlines(keepends=True))


def reported(there: Path, column: str, *options: str) -> dict[str, str]:
    """Return perf report's own column by symbol."""
    text = perf_output(
        there, "report", "-i", "data", "--stdio", "-g", "none", "-s", "sym", "-F", f"{column},sym", "-t", "|", *options
    )
    rows = [line.split("|") for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return {symbol.strip().removeprefix("[.] "): value.strip() for value, symbol in rows}


def test_periods_by_symbol_equal_perf_reports(recorded: Path) -> None:
    samples = samples_of(recorded)
    ours = call_graph.from_samples(samples, name=lambda frame: frame.symbol)
    theirs = {symbol: int(value) for symbol, value in reported(recorded, "period", "--no-children").items()}
    named = {symbol: cost for symbol, cost in theirs.items() if not symbol.startswith("0x")}
    assert {"leaf"} <= set(named)
    assert {symbol: cost for symbol, cost in ours.self_cost.items() if symbol in named} == named
    assert sum(theirs.values()) == ours.total == sum(samples.weight)


def test_inclusive_shares_equal_perf_reports_children_recursion_counted_once(recorded: Path) -> None:
    ours = call_graph.from_samples(samples_of(recorded), name=lambda frame: frame.symbol)
    theirs = reported(recorded, "overhead_children", "--children")
    for symbol in ("main", "deep", "wide", "leaf"):
        share = ours.inclusive_share(symbol)
        assert share is not None
        assert f"{100 * share:.2f}%" == theirs[symbol]
    assert ("deep", "deep") in (ours.edge_cost or {})


def test_the_cpu_is_read_when_it_was_sampled(recorded: Path) -> None:
    record = ["perf", "record", "--sample-cpu", "-F", "999", "-g", "-e", "cpu-clock:u", "-o", "cpu", "./p"]
    subprocess.run(record, cwd=recorded, capture_output=True, check=True, timeout=60)
    text = perf_output(recorded, "script", "-i", "cpu", "--ns", "-F", f"cpu,{perf_script.FIELDS}")
    samples = perf_script.parse(text.encode().splitlines(keepends=True))
    assert len(samples) > 10
    assert None not in samples.cpu
    assert list(samples.ts_ns) == sorted(stamp for stamp in samples.ts_ns if stamp is not None)


def test_a_profile_without_stacks_has_no_edges_rather_than_none_of_cost_zero(recorded: Path) -> None:
    record = ["perf", "record", "-F", "999", "-e", "cpu-clock:u", "-o", "flat", "./p"]
    subprocess.run(record, cwd=recorded, capture_output=True, check=True, timeout=60)
    text = perf_output(recorded, "script", "-i", "flat", "--ns", "-F", perf_script.FIELDS)
    graph = call_graph.from_samples(perf_script.parse(text.encode().splitlines(keepends=True)))
    assert graph.self_cost["leaf"] > 0
    assert graph.edge_cost is None
    assert graph.inclusive_cost is None


def test_real_stacks_equal_those_of_a_stack_collapser() -> None:
    text, collapsed = (
        CAPTURES / "flamegraph_example-perf-stacks.txt.gz",
        CAPTURES / "inferno_example-perf-stacks-collapsed.txt",
    )
    if not (text.is_file() and collapsed.is_file()):
        pytest.skip(f"the recorded captures are not at {CAPTURES}")
    with gzip.open(text) as stream:
        ours = perf_script.parse(stream)
    with collapsed.open("rb") as stream:
        theirs = folded.parse(stream)
    # The collapser puts the command in front, and rewrites Java names: the letter, the semicolon, the arguments.
    mine: Counter[tuple[str, ...]] = Counter()
    other: Counter[tuple[str, ...]] = Counter()
    for stack, weight in ours.weight_by_stack().items():
        mine[tuple(_tidy(ours.frames[index].label) for index in stack)] += weight
    for stack, weight in theirs.weight_by_stack().items():
        other[tuple(_tidy(theirs.frames[index].symbol) for index in stack[1:])] += weight
    assert sum(mine.values()) == len(ours) == 1315
    assert mine == other


def _tidy(name: str) -> str:
    bare = name.split("(", 1)[0]
    return bare.removeprefix("L").replace(";", ":") if "/" in bare else bare.replace("[[", "[").replace("]]", "]")
