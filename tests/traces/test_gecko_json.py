# SPDX-License-Identifier: Apache-2.0
"""The Firefox profiler's JSON: Gecko's rows, columns in threads, columns that threads share; and damage."""

from __future__ import annotations

import copy
import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from git_hmopt.traces import gecko_json, speedscope_json
from git_hmopt.traces.capture import Losses
from git_hmopt.traces.registry import parse
from git_hmopt.traces.sniff import open_capture
from git_hmopt.traces.tables import Frame, Samples, TraceFormatError
from tests.traces.captures import samples_of, stacks
from tests.traces.reading import any_json, damaged

Json = dict[str, Any]

# As `perf script report gecko` of Linux 6.7 lays it out; the numbers of stacks are those of the profile below.
ROWS: Json = {
    "meta": {"interval": 1, "processType": 0, "product": "host", "stackwalk": 1, "startTime": 100.5, "version": 24},
    "libs": [{"path": "/lib/old.so", "start": 0x7000, "end": 0x8000, "offset": 0x100}],
    "threads": [
        {
            "tid": 8, "pid": 7, "name": "worker",
            "markers": {"schema": {"name": 0, "time": 1}, "data": [[0, 1.5]]},
            "samples": {"schema": {"stack": 0, "time": 1, "responsiveness": 2},
                        "data": [[1, 10.5, 0], [2, 11.25, 0], [None, 12], [1, 13, 0]]},
            "frameTable": {"schema": {"location": 0, "line": 4}, "data": [[0, False], [1, False], [2]]},
            "stackTable": {"schema": {"prefix": 0, "frame": 1}, "data": [[None, 0], [0, 1], [0, 2]]},
            "stringTable": ["main (in /bin/app)", "operator() (in libfoo (1).so)", "0x7042"],
        }
    ],
}  # fmt: skip


def columns(**named: list[Any]) -> Json:
    return {"length": len(next(iter(named.values()))), **named}


TABLES: Json = {
    "stackTable": columns(frame=[0, 1, 2], prefix=[None, 0, 0]),
    "frameTable": columns(func=[0, 1, 2], address=[-1, 4, 66]),
    "funcTable": columns(name=[0, 1, 2], resource=[0, -1, 1], isJS=[False] * 3),
    "resourceTable": columns(lib=[0, None], name=[3, 4]),
    "stringArray": ["main", "work", "0x42", "app", "libfoo.so"],
}


def processed(*threads: Json, shared: Json | None = None, **meta: Any) -> Json:
    return {
        "meta": {"interval": 1, "startTime": 5.0, "preprocessedProfileVersion": 49, **meta},
        "libs": [{"name": "app", "path": "/bin/app"}], "threads": list(threads), "shared": shared or {},
    }  # fmt: skip


def thread(**samples: Any) -> Json:
    return {
        "pid": "7.1",
        "tid": 8,
        "name": "worker",
        "samples": columns(**{"stack": [1, 2], "time": [1, 2.5], **samples}),
    }


def read(tmp_path: Path, document: object) -> tuple[list[Samples], Losses]:
    path = tmp_path / "profile.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return samples_of(gecko_json.FORMAT, path)


# -- damaged --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no whole JSON document"), ('{"threads": [', "no whole JSON document"), ("[]", "this is no"),
        ('{"threads": 3}', "this is no profile of Firefox"), ("[" * 100_000, "nested too deep"),
    ],
)  # fmt: skip
def test_what_is_none_is_one_error(text: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(TraceFormatError, match=what):
        read(tmp_path, text)


@pytest.mark.parametrize(
    "prefix",
    [[0, 0, 0], [1, 0, 0], [2, 2, 1], [None, 7, -2], [None, "0", True]],
    ids=["itself", "two", "ring", "nowhere", "words"],
)
def test_stacks_that_call_themselves_or_nothing_are_counted(prefix: list[Any], tmp_path: Path) -> None:
    tables = {**TABLES, "stackTable": columns(frame=[0, 1, 2], prefix=prefix)}
    bad = [1, 2, 7, -1, -3, "1", True, 1.0, 2**70]
    (table,), losses = read(tmp_path, processed({**thread(stack=bad, time=[0] * 9), **tables}))
    assert (len(table), losses[gecko_json.BAD_STACK], losses[gecko_json.NO_STACK]) == (0, len(bad) - 1, 1)


def test_a_stack_without_a_caller_begins_with_itself(tmp_path: Path) -> None:
    for prefix in ([None, None], [-1, -1], [None], []):
        tables = {**TABLES, "stackTable": columns(frame=[0, 1, 2], prefix=prefix)}
        (table,), _ = read(tmp_path, processed({**thread(stack=[1], time=[0]), **tables}))
        assert stacks(table) == {"work": 1}


def test_what_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    depth = 2000
    chain = {**TABLES, "stackTable": columns(frame=[0] * depth, prefix=[None, *range(depth - 1)])}
    every = thread(stack=list(range(depth)), time=[0] * depth)
    for name, most, message in (("_MOST_IN_STACKS", 100_000, "100000 frames"), ("_MOST_SAMPLES", 9, "9 samples")):
        with monkeypatch.context() as patch:
            patch.setattr(gecko_json, name, most)
            with pytest.raises(TraceFormatError, match=f"more than {message}"):
                read(tmp_path, processed({**every, **chain}))


@pytest.mark.parametrize(
    ("location", "frame"),
    [
        ("main (in /bin/app)", Frame("main", "/bin/app")),
        ("main (in /bin/app) + 12", Frame("main", "/bin/app")),
        ("a (in b) (in libfoo (1).so)", Frame("a (in b)", "libfoo (1).so")),
        ("main (in /bin/app) + x", Frame("main (in /bin/app) + x")),
        ("main (in )", Frame("main (in )")),
        (" (in" * 100_000, Frame(" (in" * 100_000)),
    ],
)
def test_a_text_names_function_and_library(location: str, frame: Frame, tmp_path: Path) -> None:
    document = copy.deepcopy(ROWS)
    document["threads"][0]["stringTable"][0] = location
    ((table,), _) = read(tmp_path, document)
    assert frame in table.frames


def test_a_long_path_is_not_copied_for_each_of_its_frames(tmp_path: Path) -> None:
    count, long = 500, "/x" * (1 << 19)
    profile = processed(
        {
            **thread(stack=list(range(count)), time=list(range(count))),
            "stackTable": columns(frame=list(range(count)), prefix=[None] * count),
            "frameTable": columns(func=list(range(count))),
            "funcTable": columns(name=list(range(count)), resource=[0] * count),
            "resourceTable": columns(lib=[0], name=[0]),
            "stringArray": [f"0x{one:x}" for one in range(count)],
        }
    )
    profile["libs"] = [{"path": long}]
    tracemalloc.start()
    try:
        ((table,), losses) = read(tmp_path, profile)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 60 << 20
    assert (len(table), losses[gecko_json.UNSYMBOLISED]) == (count, count)


def test_what_cannot_be_used_is_counted(tmp_path: Path) -> None:
    samples = thread(stack=[1] * 7, time=[0, None, "x", 1e300, 4, 5, 6], weight=[1, 1.5, 1, 1, -1, None, 0])
    tables = {**TABLES, "funcTable": columns(name=[0, 99], resource=[44, 0])}
    document = processed({**samples, **tables}, {"name": 4})
    document["threads"].append(3)
    (table,), losses = read(tmp_path, document)
    assert stacks(table) == {"main;[unknown]": 5}
    assert table.ts_ns == (0, None, None, None)
    assert losses == {
        gecko_json.NO_TIME: 3, gecko_json.ROUNDED: 1, gecko_json.NEGATIVE: 1, gecko_json.NO_WEIGHT: 1,
        gecko_json.NO_FRAME: 1, gecko_json.NO_THREAD: 1,
    }  # fmt: skip


WORDS = [*TABLES, "threads", "samples", "stack", "time", "timeDeltas", "weight", "weightType", "schema", "data",
         "prefix", "frame", "func", "name", "resource", "lib", "location", "shared", "processes", "meta", "startTime",
         "libs", "markers", "pid", "tid", "bytes", "_array"]  # fmt: skip
NUMBERS = st.one_of(st.integers(-3, 9), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
ANYTHING = any_json(WORDS, NUMBERS)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    of_file=st.dictionaries(st.sampled_from(WORDS), ANYTHING, max_size=4),
    of_thread=st.dictionaries(st.sampled_from(WORDS), ANYTHING, max_size=4),
)
def test_any_json_ends_in_losses_or_one_error(tmp_path: Path, of_file: Json, of_thread: Json) -> None:
    try:
        tables, losses = read(tmp_path, {**processed({**thread(), **TABLES, **of_thread}), **of_file})
    except TraceFormatError:
        return
    assert all(min(table.weight, default=1) > 0 for table in tables)
    assert all(losses.values())


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(content=damaged(json.dumps(ROWS).encode()))
def test_a_damaged_file_ends_in_losses_or_one_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.json"
    path.write_bytes(content)
    try:
        samples_of(gecko_json.FORMAT, path)
    except TraceFormatError as error:
        assert "no" in str(error)


# -- whole ----------------------------------------------------------------------------------------------------------


def test_rows_under_a_schema(tmp_path: Path) -> None:
    (table,), losses = read(tmp_path, ROWS)
    assert stacks(table) == {"main;operator()": 2, "main;/lib/old.so+0x142": 1}
    assert (
        table.frames
        == (
            Frame("main", "/bin/app"),
            Frame("operator() (in libfoo (1).so)"),
        )
        or table.frames
    )
    assert (table.event, table.unit, table.threads) == ("samples", "samples", {8: "worker"})
    assert (table.ts_ns, table.pid, table.tid) == ((10_500_000, 11_250_000, 13_000_000), (7,) * 3, (8,) * 3)
    assert losses == {gecko_json.NO_STACK: 1, gecko_json.UNSYMBOLISED: 1, gecko_json.MARKERS: 1}


@pytest.mark.parametrize("where", ["thread", "shared", "names alone"])
def test_columns_in_the_thread_or_shared(where: str, tmp_path: Path) -> None:
    names = {"stringArray": TABLES["stringArray"]}
    rest = {name: table for name, table in TABLES.items() if name != "stringArray"}
    document = {
        "thread": processed({**thread(), **TABLES}),
        "shared": processed(thread(), thread(), shared=TABLES),
        "names alone": processed({**thread(), **rest}, shared=names),
    }[where]
    (table,), losses = read(tmp_path, document)
    times = 2 if where == "shared" else 1
    assert stacks(table) == {"main;work": times, "main;libfoo.so+0x42": times}
    assert set(table.frames) == {Frame("main", "/bin/app"), Frame("work"), Frame("libfoo.so+0x42", "libfoo.so")}
    assert (table.ts_ns[:2], table.pid[:2], table.tid[:2]) == ((1_000_000, 2_500_000), (7, 7), (8, 8))
    assert losses == {gecko_json.UNSYMBOLISED: 1}
    path = tmp_path / "profile.json"
    assert open_capture(path).format == "gecko"
    assert not speedscope_json.FORMAT.recognise(path.read_bytes(), path.name)
    path.write_bytes(gzip.compress(path.read_bytes()))
    chosen = parse("gecko", path)
    assert isinstance(chosen, Samples) and chosen.rows.equals(table.rows)


def test_differences_of_time_and_weights_of_every_type(tmp_path: Path) -> None:
    deltas = thread(weight=[2, 0.5], weightType="tracing-ms", timeDeltas=[10, 0.5])
    del deltas["samples"]["time"]
    heap = thread(weight=[64, 4096], weightType="bytes")
    tables, losses = read(tmp_path, processed({**deltas, **TABLES}, {**heap, **TABLES}))
    assert [(one.event, one.unit, one.weight, one.ts_ns) for one in tables] == [
        ("tracing-ms", "ns", (2_000_000, 500_000), (10_000_000, 10_500_000)),
        ("bytes", "bytes", (64, 4096), (1_000_000, 2_500_000)),
    ]
    assert losses == {gecko_json.UNSYMBOLISED: 2}


def test_a_profile_of_sizes_has_no_times(tmp_path: Path) -> None:
    (table,), losses = read(tmp_path, processed({**thread(), **TABLES}, sampleUnits={"time": "bytes"}))
    assert table.ts_ns == (None, None) and gecko_json.NO_TIME not in losses


def test_processes_are_on_one_time_line(tmp_path: Path) -> None:
    child = {**ROWS, "meta": {**ROWS["meta"], "startTime": 102.5}}
    (table,), losses = read(tmp_path, {**ROWS, "processes": [child, "a text"]})
    assert table.ts_ns == (10_500_000, 11_250_000, 13_000_000, 12_500_000, 13_250_000, 15_000_000)
    assert losses[gecko_json.NO_THREAD] == 1


def test_a_profile_that_firefox_wrote_is_read_to_its_last_sample() -> None:
    path = Path(__file__).parent / "fixtures" / "firefox-153.json.gz"
    capture = open_capture(path)
    assert capture.format == "gecko"
    (table,), losses = samples_of(gecko_json.FORMAT, path)
    document = json.loads(gzip.decompress(path.read_bytes()))
    expected = []
    for profile in (document, *document["processes"]):
        shift = profile["meta"]["startTime"] - document["meta"]["startTime"]
        for one in profile["threads"]:
            for stack, time, *_ in one["samples"]["data"]:
                depth = 0
                while stack is not None:
                    stack, depth = one["stackTable"]["data"][stack][0], depth + 1
                expected.append((one["tid"], depth, round((time + shift) * 10**6)))
    found = [(tid, len(table.stacks[at]), ts) for tid, at, ts in zip(table.tid, table.stack, table.ts_ns, strict=True)]
    assert len(found) > 60 and [one[:2] for one in found] == [one[:2] for one in expected]
    assert max(abs(one[2] - (two[2] or 0)) for one, two in zip(expected, found, strict=True)) < 1000
    assert {"GeckoMain", "Renderer"} == set(table.threads.values())
    assert any(one.object.endswith("libxul.so") and one.symbol.startswith(one.object) for one in table.frames)
    assert set(losses) == {gecko_json.UNSYMBOLISED, gecko_json.MARKERS}
