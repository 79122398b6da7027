# SPDX-License-Identifier: Apache-2.0
"""Texts of sampled profiles cut and changed anywhere: a result with its losses, or one error."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from git_hmopt.runtime import call_graph
from git_hmopt.traces import registry, source
from git_hmopt.traces.capture import Losses
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import TraceFormatError
from tests.traces.corpus_reading import stand
from tests.traces.test_hiperf_report import TEXT as HIPERF

PERF_STAT = b"""
 Performance counter stats for 'make -j2':

          1,234.56 msec cpu-clock                 #    1.981 CPUs utilized           (66.67%)

       0.623124500 seconds time elapsed

CPU0,6000,,instructions,100,66.67,1.50,insn per cycle
"""
TEXTS = {
    "perf-script": b"app 7/8 [001] 1.000000001: 5 cycles: \n\t 1234 leaf+0x1 (/bin/app)\n\t 5678 main (/bin/app)\n\n"
    * 3,
    "folded": b"main;run;leaf 3\nmain;run 1\nmain;other 7\n",
    "callgrind": b"version: 1\npositions: line\nevents: Ir Dr\nfl=(1) a.c\nfn=(1) main'run\n3 4 1\ncfn=(2) g\n"
    b"calls=1 9\n3 8 2\nfn=(2)\n+1 8 2\n* 1\ntotals: 13 3\n",
    "self-counts": b"hmopt-self-counts 1\nsort_r\tlib/sort.c\t212\t640\t80\nmemcpy\t\t\t12\t4\n",
    "symbols": b"hmopt-symbols 1\nsort_r\tlib/sort.c\t180\nswap\tlib/a.c\t3\n",
}


@pytest.mark.parametrize("name", TEXTS)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_damage_gives_a_result_or_one_error(tmp_path: Path, name: str, data: st.DataObject) -> None:
    damaged = bytearray(TEXTS[name])
    for _ in range(data.draw(st.integers(0, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    at = data.draw(st.integers(0, len(damaged)))
    damaged[at:at] = data.draw(st.sampled_from([b"", b"\0" * 9, b"9" * 40, b" ", b"\n", b";;;", b"\xff\xfe"]))
    path = tmp_path / "capture"
    path.write_bytes(bytes(damaged[: data.draw(st.none() | st.integers(0, len(damaged)))]))
    capture = registry.format_of(name).read(Source(path))
    losses: Losses = Counter()
    try:
        tables = capture.read_samples(losses) if capture.read_samples else []
        lines = capture.read_lines(losses) if capture.read_lines else None
    except TraceFormatError:
        return
    assert tables or lines is not None
    assert all(count > 0 for count in losses.values())
    for table in tables:
        assert call_graph.from_samples(table).total == table.total()


LONG = {"blanks": b" " * 300_000, "tabs": b"\t" * 300_000, "words": b" a" * 150_000, "digits": b"9" * 5000}
"""Of a run that is tried at every length with every other one nobody sees the end; int() takes 4300 digits."""


@pytest.mark.parametrize("run", LONG)
@pytest.mark.parametrize("name", [*TEXTS, "perf-stat", "hiperf-report"])
def test_a_long_run_anywhere_in_a_line_is_read_like_any_other(tmp_path: Path, name: str, run: str) -> None:
    text = {**TEXTS, "perf-stat": PERF_STAT, "hiperf-report": HIPERF.encode()}[name]
    places = [at for at in range(0, len(text), max(1, len(text) // 20)) if at]
    for at in places:
        stand(name, text[:at] + LONG[run] + text[at:], tmp_path / "capture")


def test_a_line_without_an_end_is_counted_and_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_bytes(b"main;leaf 3\n" + b"x" * (3 * source.LONGEST_LINE) + b"\nmain 1\n")
    capture = registry.format_of("folded").read(Source(path))
    assert capture.read_samples is not None
    losses: Losses = Counter()
    (table,) = capture.read_samples(losses)
    assert (table.total(), losses) == (4, {source.TOO_LONG: 1})
