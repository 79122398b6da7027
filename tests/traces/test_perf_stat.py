# SPDX-License-Identifier: Apache-2.0
"""Counters of perf stat and hiperf stat: every form they are printed in, and perf itself as the judge."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_hmopt.runtime import counters
from git_hmopt.traces import perf_stat
from git_hmopt.traces.capture import EVENTS, Losses
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import TraceFormatError

TEXT = """
 Performance counter stats for 'make -j2':

          1,234.56 msec cpu-clock                 #    1.981 CPUs utilized            ( +-  0.10% )
     4,000,000,000      cycles:u                  #    3.241 GHz                      (66.67%)
     6,000,000,000      instructions:u            #    1.50  insn per cycle           (66.67%)
                 0      page-faults
     1,234,567,890      cache-misses              #   10.000 % of all cache refs
    12,345,678,900      cache-references
   <not supported>      stalled-cycles-frontend
     <not counted>      branch-misses                                                 (0.00%)

       0.623124500 seconds time elapsed

       1.100000000 seconds user
       0.100000000 seconds sys

"""
HIPERF = """
                   count  name                           | comment                          | coverage
              1,000,000  hw-cpu-cycles                  | 1.234567 GHz                     | (100%)
                500,000  hw-instructions                | 2.000000 cycles per instruction  | (100%)
                 10,000  hw-branch-instructions         | 12.345 M/sec                     | (50%)
                    100  hw-branch-misses               | 1.000000% miss rate              | (50%)
"""


def read(tmp_path: Path, text: str) -> tuple[pl.DataFrame, Losses]:
    path = tmp_path / "counters"
    path.write_text(text)
    losses: Losses = Counter()
    capture = perf_stat.FORMAT.read(Source(path))
    assert perf_stat.FORMAT.recognise(path.read_bytes(), "counters")
    assert capture.read_events is not None
    table = pl.concat(list(capture.read_events(losses)))
    assert table.schema == EVENTS
    return table, losses


def args(table: pl.DataFrame) -> dict[str, str]:
    return dict(table.select("name", "args").iter_rows())


def test_the_text_for_people(tmp_path: Path) -> None:
    table, losses = read(tmp_path, TEXT)
    assert args(table) == {
        "cpu-clock": "phase=C value=1234.56 unit=msec comment=1.981 CPUs utilized",
        "cycles:u": "phase=C value=4000000000 coverage=66.67 comment=3.241 GHz",
        "instructions:u": "phase=C value=6000000000 coverage=66.67 comment=1.50 insn per cycle",
        "page-faults": "phase=C value=0",
        "cache-misses": "phase=C value=1234567890 comment=10.000 % of all cache refs",
        "cache-references": "phase=C value=12345678900",
        "elapsed": "phase=C value=623124500 unit=ns",
        "user": "phase=C value=1100000000 unit=ns",
        "sys": "phase=C value=100000000 unit=ns",
    }
    assert losses == {perf_stat.NOT_SUPPORTED: 1, perf_stat.NOT_COUNTED: 1}
    assert set(table["category"]) == {"proc"}
    assert table.filter(pl.col("name") == "elapsed")["dur_ns"].to_list() == [623_124_500]
    found = counters.rates(counters.totals([table]))
    assert (found.ipc, found.branch_miss_rate) == (1.5, None)
    assert found.cache_miss_rate == pytest.approx(0.1)


def test_hiperf_stat(tmp_path: Path) -> None:
    table, losses = read(tmp_path, HIPERF)
    assert args(table)["hw-branch-misses"] == "phase=C value=100 coverage=50 comment=1.000000% miss rate"
    assert not losses
    found = counters.rates(counters.totals([table]))
    assert found == counters.Rates(ipc=0.5, branch_miss_rate=0.01, cache_miss_rate=None)


def test_hiperf_stat_by_core_and_by_thread(tmp_path: Path) -> None:
    core = "   1,000  hw-cpu-cycles  | 1.2 GHz  | (100%) | 3\n   2,000  hw-cpu-cycles  | 1.2 GHz  | (100%) | 4\n"
    table, _ = read(tmp_path, HIPERF.splitlines()[1] + "\n" + core)
    assert table["cpu"].to_list() == [3, 4]
    assert counters.totals([table]) == {"hw-cpu-cycles": 3000}
    thread = "   1,000  hw-cpu-cycles  | 1.2 GHz  | (100%) | my app 7 8\n"
    table, _ = read(tmp_path, HIPERF.splitlines()[1] + "\n" + thread)
    assert table.select("pid", "tid").rows() == [(7, 8)]


def test_ratios_are_of_counters_that_were_counted_alike() -> None:
    assert counters.rates({"instructions:u": 10, "cycles:k": 5}).ipc is None
    assert counters.rates({"instructions": 10, "cycles": 0}).ipc is None
    assert counters.rates({"cpu_core/instructions/": 30, "cpu_core/cycles/": 10, "cpu_atom/cycles/": 9}).ipc == 3
    assert counters.rates({}) == counters.Rates(None, None, None)


def perf(tmp_path: Path, *arguments: str) -> str:
    if shutil.which("perf") is None:
        pytest.skip("needs perf, and it is not installed")
    done = subprocess.run(["perf", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        pytest.skip(f"perf cannot count here: {done.stderr[-200:]}")
    return done.stderr + done.stdout


def test_intervals_add_up_to_what_perf_reports_of_the_whole(tmp_path: Path) -> None:
    events = "page-faults,context-switches,cpu-clock"
    perf(tmp_path, "stat", "record", "-o", "stat.data", "-I", "50", "-e", events, "sleep", "0.2")
    intervals = perf(tmp_path, "stat", "report", "-i", "stat.data")
    table, _ = read(tmp_path, intervals)
    printed = [line.split() for line in intervals.splitlines() if " page-faults " in line and "<not" not in line]
    ours = table.filter(pl.col("name") == "page-faults").with_columns(pl.col("args").str.extract(r"value=(\S+)"))
    assert ours["args"].to_list() == [words[1] for words in printed]
    assert ours["ts_ns"].to_list() == [int(words[0].replace(".", "")) for words in printed]
    assert ours["dur_ns"].sum() == ours["ts_ns"].max()


@pytest.mark.parametrize("options", [("-x", ","), ("-x", ";"), ("-j",), ("-A", "-a"), ("-A", "-a", "-x", ","), ()])
def test_every_form_that_perf_prints_here_has_all_its_counters(tmp_path: Path, options: tuple[str, ...]) -> None:
    text = perf(tmp_path, "stat", *options, "-e", "cpu-clock,page-faults,cycles", "true")
    table, losses = read(tmp_path, text)
    names = Counter(table["name"])
    unknown = losses[perf_stat.NOT_SUPPORTED] + losses[perf_stat.NOT_COUNTED]
    cpus = len(set(table["cpu"].drop_nulls())) or 1
    assert names["cpu-clock"] == names["page-faults"] == cpus
    assert names["cycles"] + unknown == cpus
    assert losses.total() == unknown
    assert counters.totals([table])["page-faults"] >= 0


def test_times_that_are_none_are_counted(tmp_path: Path) -> None:
    lines = "1,234,567,890,123 seconds time elapsed", "1.2.3 seconds user", ", seconds sys"
    table, losses = read(tmp_path, TEXT + "".join(f" {line}\n" for line in lines))
    assert losses[perf_stat.DAMAGED] == 3
    assert table.filter(pl.col("name") == "elapsed")["dur_ns"].to_list() == [623_124_500]


def test_what_has_no_counters_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "words"
    path.write_text("just words\n\x00\x01\n")
    capture = perf_stat.FORMAT.read(Source(path))
    assert capture.read_events is not None
    with pytest.raises(TraceFormatError, match="this has no counters"):
        list(capture.read_events(Counter()))


@given(st.binary(max_size=200), st.integers(0, len(TEXT)), st.sampled_from([TEXT, HIPERF]))
def test_damage_is_counted_and_never_fatal(noise: bytes, at: int, text: str) -> None:
    damaged = text[:at].encode() + noise + text[at:].encode()
    losses: Losses = Counter()
    rows = list(perf_stat.parse(damaged.splitlines(keepends=True), losses))
    assert pl.DataFrame(rows, schema=EVENTS, orient="row").height == len(rows)
    assert all(count > 0 for count in losses.values())
