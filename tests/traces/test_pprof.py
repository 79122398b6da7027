# SPDX-License-Identifier: Apache-2.0
"""pprof's profiles: what pprof itself says of Go's own, what the format allows, and damage of every kind."""

from __future__ import annotations

import gzip
import re
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from git_hmopt.runtime import call_graph
from git_hmopt.traces import pprof
from git_hmopt.traces.capture import Losses
from git_hmopt.traces.registry import parse
from git_hmopt.traces.sniff import open_capture, recognise
from git_hmopt.traces.source import Source
from git_hmopt.traces.stacks import OUT_OF_RANGE
from git_hmopt.traces.tables import Frame, Samples, Symbols, TraceFormatError
from tests.traces.captures import captured, samples_of, stacks
from tests.traces.reading import damaged
from tests.traces.wire import nested, number, packed

FIXTURES = Path(__file__).parent / "fixtures"
STRINGS = ["", "samples", "count", "cpu", "milliseconds", "main", "work", "leaf", "_Z4leafv", "a.c", "/bin/app", "tid",
           "pid", "thread name", "worker", "colour", "red"]  # fmt: skip
TYPES = [("samples", "count"), ("cpu", "milliseconds")]


def at(word: str) -> int:
    return STRINGS.index(word)


def value_type(name: str, unit: str) -> bytes:
    return nested(1, number(1, at(name)), number(2, at(unit)))


def function(identity: int, name: str, *, file: str = "", line: int = 0, system: str = "") -> bytes:
    return nested(
        5, number(1, identity), number(2, at(name)), number(3, at(system)), number(4, at(file)), number(5, line)
    )


def location(identity: int, *functions: int, mapping: int = 1, address: int = 0x1040) -> bytes:
    lines = (nested(4, number(1, one), number(2, 7)) for one in functions)
    return nested(4, number(1, identity), number(2, mapping), number(3, address), *lines)


def sample(locations: Sequence[int], values: Sequence[int], *labels: bytes) -> bytes:
    return nested(2, packed(1, locations), packed(2, values), *labels)


def label(key: str, *, text: str = "", value: int = 0) -> bytes:
    return nested(3, number(1, at(key)), number(2, at(text)), number(3, value))


MAPPING = nested(3, number(1, 1), number(2, 0x1000), number(3, 0x2000), number(4, 0x200), number(5, at("/bin/app")))
NAMES = b"".join(nested(6, one.encode()) for one in STRINGS)
PLACES = MAPPING + function(1, "main", file="a.c", line=12) + function(2, "work") + function(3, "", system="_Z4leafv")
PLACES += location(1, 1) + location(2, 3, 2) + location(9)
HEAD = b"".join(value_type(*one) for one in TYPES)
WHOLE = HEAD + sample([2, 1], [3, 30]) + sample([1], [1, 10]) + PLACES + NAMES


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "profile.pb"
    path.write_bytes(content)
    return path


def read(tmp_path: Path, content: bytes) -> tuple[list[Samples], Losses]:
    return samples_of(pprof.FORMAT, written(tmp_path, content))


# -- damaged --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (WHOLE[:-3], "cut or damaged: .*; fetch or record it again"),
        (WHOLE + b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "cut or damaged"),
        (WHOLE + b"\xff" * 12, "cut or damaged: a number that does not end"),
        (HEAD + PLACES, "a profile without its table of strings"),
        (PLACES + NAMES, "a profile without a type of values"),
        (HEAD * 40 + NAMES, "a profile of more than 64 types of values"),
    ],
)
def test_what_is_no_whole_profile_is_one_error(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(TraceFormatError, match=message):
        read(tmp_path, content)


def test_a_profile_that_ends_anywhere_is_a_result_or_one_error(tmp_path: Path) -> None:
    expected = [stacks(table) for table in read(tmp_path, WHOLE)[0]]
    for end in range(len(WHOLE)):
        try:
            tables, losses = read(tmp_path, WHOLE[:end])
        except TraceFormatError as error:
            assert str(tmp_path) in str(error)
        else:
            # It ended between two names: those that are missing are counted, or of no sample.
            assert end > len(WHOLE) - len(NAMES)
            assert losses or [stacks(table) for table in tables] == expected


def test_what_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most, message in (
        ("_MOST_BYTES", 20, "more than 0 MiB"), ("_MOST_SYMBOLS", 3, "more than 3 locations"),
        ("_MOST_STRINGS", 3, "more than 3 names"), ("_MOST_VALUES", 3, "more than 3 values"),
        ("_MOST_IN_STACKS", 3, "more than 3 frames"),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(pprof, name, most)
            with pytest.raises(TraceFormatError, match=message):
                read(tmp_path, WHOLE)


def test_a_long_name_is_not_copied_for_each_of_its_frames(tmp_path: Path) -> None:
    long = "x" * (1 << 20)
    strings = (nested(6, one.encode()) for one in ("", "samples", "count", long))
    functions = (nested(5, number(1, one), number(2, 3)) for one in range(1, 500))
    named = (nested(4, number(1, one), number(2, 1), nested(4, number(1, one))) for one in range(1, 500))
    bare = (nested(4, number(1, one), number(2, 1), number(3, 0x1000 + one)) for one in range(500, 1000))
    content = b"".join((
        nested(1, number(1, 1), number(2, 2)), nested(3, number(1, 1), number(2, 0x1000), number(5, 3)),
        *strings, *functions, *named, *bare, *(sample([one], [1]) for one in range(1, 1000)),
    ))  # fmt: skip
    tracemalloc.start()
    try:
        ((table,), losses) = read(tmp_path, content)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 60 << 20
    assert (len(table), losses[pprof.UNSYMBOLISED]) == (999, 500)
    assert Frame(f"…{'x' * 254}+0x1f5", long) in table.frames and Frame(long, long) in table.frames


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    bomb = gzip.compress(gzip.compress(WHOLE + number(12, 5) * (200 << 20)))
    assert len(bomb) < 1 << 16
    with pytest.raises(TraceFormatError, match="a bomb"):
        read(tmp_path, bomb)


def test_what_points_nowhere_is_counted(tmp_path: Path) -> None:
    content = HEAD + PLACES + NAMES + b"".join(
        (
            sample([1, 77], [1, 1]),  # no such location
            sample([], [1, 1]),
            sample([1], [1]),
            sample([1], [-1, 2]),
            nested(2, b"\x0a\x7f"),
            nested(2, packed(1, [1]), packed(2, [1, 1]), nested(3, b"\x00")),  # a label that is none
            nested(2, nested(1, b"\xff"), packed(2, [1, 1])),  # numbers of locations that do not end
            nested(5, number(1, 4), number(2, 4000)),
            location(10, 4),
            sample([10], [1, 1]),
            location(11, 44),  # no such function
            sample([11], [1, 2**62]),
        )
    )  # fmt: skip
    tables, losses = read(tmp_path, content)
    assert [stacks(table) for table in tables] == [
        {"[unknown];main": 10**6, "main": 2 * 10**6, "[unknown]": 10**6},
        {"[unknown];main": 1, "[unknown]": 1, "/bin/app+0x240": 1},
    ]
    assert losses == {
        pprof.NO_LOCATION: 1, pprof.NO_STACK: 1, pprof.BAD_VALUES: 1, pprof.NEGATIVE: 1, pprof.BAD_MESSAGE: 3,
        pprof.NO_NAME: 1, pprof.UNSYMBOLISED: 1, OUT_OF_RANGE: 1,
    }  # fmt: skip


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(content=damaged(WHOLE + sample([2, 1], [1, 1], label("tid", value=7), label("colour", text="red"))))
def test_damage_gives_a_result_or_one_error(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path, content)
    losses = Losses()
    try:
        capture = pprof.FORMAT.read(Source(path))
        assert capture.read_samples
        tables = capture.read_samples(losses)
        parse("pprof", path)
    except TraceFormatError:
        return
    assert all(losses.values())
    for table in tables:
        assert min(table.weight, default=1) > 0
        assert call_graph.from_samples(table).total == table.total()


# -- whole ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [bytes, gzip.compress], ids=["bare", "gzip"])
def test_inlined_functions_are_frames_and_the_last_type_comes_first(
    wrap: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    (cpu, count), losses = read(tmp_path, wrap(WHOLE))
    assert recognise(tmp_path / "profile.pb")[0] is pprof.FORMAT
    assert (cpu.event, cpu.unit, stacks(cpu)) == ("cpu", "ns", {"main;work;_Z4leafv": 30_000_000, "main": 10_000_000})
    assert (count.event, count.unit, stacks(count)) == ("samples", "samples", {"main;work;_Z4leafv": 3, "main": 1})
    assert set(cpu.frames) == {Frame("main", "/bin/app"), Frame("work", "/bin/app"), Frame("_Z4leafv", "/bin/app")}
    assert losses == {}


def test_the_type_that_the_profile_prefers_comes_first(tmp_path: Path) -> None:
    tables, _ = read(tmp_path, number(14, at("samples")) + WHOLE)
    assert [table.event for table in tables] == ["samples", "cpu"]
    chosen = parse("pprof", tmp_path / "profile.pb")
    assert isinstance(chosen, Samples) and chosen.event == "samples"


def test_any_order_and_numbers_that_are_not_packed(tmp_path: Path) -> None:
    loose = nested(2, number(1, 2), number(1, 1), number(2, 3), number(2, 30))
    tables, losses = read(tmp_path, number(9, 12345) + NAMES + PLACES + loose + HEAD)
    assert stacks(tables[1]) == {"main;work;_Z4leafv": 3}
    assert losses == {}


def test_processes_and_threads_are_labels(tmp_path: Path) -> None:
    labels = label("pid", value=7), label("tid", value=8), label("thread name", text="worker")
    content = HEAD + sample([1], [1, 1], *labels) + sample([1], [1, 1], label("colour", text="red")) + PLACES + NAMES
    (table, _), losses = read(tmp_path, content)
    assert (table.pid, table.tid, table.threads) == ((7, None), (8, None), {8: "worker"})
    assert losses == {pprof.LABELS: 1}


def test_functions_are_defined_where_the_profile_says(tmp_path: Path) -> None:
    lines = pprof.FORMAT.read(Source(written(tmp_path, WHOLE))).read_lines
    assert lines is not None
    assert lines(Losses()) == Symbols(("main",), ("a.c",), (12,), {})


# -- what pprof says ------------------------------------------------------------------------------------------------


def raw(text: str) -> tuple[list[str], Counter[tuple[str, ...]]]:
    """Return the types and the values by stack, root first and the type last, of `pprof -raw`."""
    head, _, rest = text.partition("\nLocations\n")
    places: dict[int, list[str]] = {}
    for line in rest.partition("\nMappings\n")[0].splitlines():
        found = re.fullmatch(r"\s+(?:(\d+): 0x\w+ M=\d+ )?(\S+) \S+ s=\d+", line)
        assert found, line
        if found[1]:
            places[int(found[1])] = []
        places[list(places)[-1]].append(found[2])
    types, *rows = head.partition("Samples:\n")[2].splitlines()
    total: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        if found := re.fullmatch(r"\s*([\d ]+): ([\d ]+)", row):
            stack = [name for one in reversed(found[2].split()) for name in reversed(places[int(one)])]
            for kind, value in zip(types.split(), found[1].split(), strict=True):
                total[(*stack, kind.split("[")[0])] += int(value)
    return [kind.split("[")[0] for kind in types.split()], +total


@pytest.mark.parametrize("name", ["cpu", "heap"])
def test_profiles_of_go_are_what_pprof_says_of_them(name: str) -> None:
    kinds, expected = raw(gzip.decompress((FIXTURES / f"go-{name}.pb.txt.gz").read_bytes()).decode())
    tables, losses = samples_of(pprof.FORMAT, FIXTURES / f"go-{name}.pb.gz")
    assert len(expected) > 15
    words = {"samples": "samples/count", "cpu": "cpu/nanoseconds"}
    found: Counter[tuple[str, ...]] = Counter()
    for table in tables:
        kind = words.get(table.event) or next(one for one in kinds if one.startswith(f"{table.event}/"))
        for stack, weight in stacks(table).items():
            found[(*stack.split(";"), kind)] += weight
    assert found == expected
    assert tables[0].event == kinds[-1].split("/")[0]
    # Go says of each allocation how large it was.
    assert set(losses) == ({pprof.LABELS} if name == "heap" else set())
    assert open_capture(FIXTURES / f"go-{name}.pb.gz").format == "pprof"


def test_somebody_elses_profile() -> None:
    (cpu, samples), losses = samples_of(pprof.FORMAT, captured("speedscope_simple.prof"))
    assert (cpu.total(), cpu.unit, samples.total(), losses) == (1_500_000_000, "ns", 150, {})
    assert stacks(samples)["runtime.main;main.main;main.delta;main.beta"] == 14
