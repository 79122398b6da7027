# SPDX-License-Identifier: Apache-2.0
"""JSON profiles: speedscope's two kinds with exact sums, d3's tree, and documents that are damaged or absurd."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from git_hmopt.traces import d3_json, documents, speedscope_json
from git_hmopt.traces.capture import Format, Losses
from git_hmopt.traces.tables import Samples, TraceFormatError
from tests.traces.captures import captured, samples_of, stacks
from tests.traces.reading import any_json

SCHEMA = "https://www.speedscope.app/file-format-schema.json"
TREE: dict[str, Any] = {
    "name": "root", "value": 12,
    "children": [
        {"name": "main", "value": 12,
         "children": [{"name": "a", "value": 4, "children": []}, {"name": "b", "value": 2}]}
    ],
}  # fmt: skip


def read(form: Format, tmp_path: Path, document: object) -> tuple[list[Samples], Losses]:
    path = tmp_path / "profile.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return samples_of(form, path)


def speedscope(*profiles: dict[str, Any], frames: str = "abcd") -> dict[str, Any]:
    named = [{"name": name, "file": f"{name}.c"} for name in frames]
    return {"$schema": SCHEMA, "shared": {"frames": named}, "profiles": list(profiles)}


# -- damaged --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [speedscope_json.FORMAT, d3_json.FORMAT], ids=["speedscope", "d3"])
@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no whole JSON document"), ('{"a": ', "no whole JSON document"), ("[]", "this is no"), ("3", "this is no"),
        ('{"value": NaN}', "'NaN' is no JSON"), ("[" * 100_000, "nested too deep"), ('"\\ud800"', "this is no"),
        ('{"value": ' + "9" * 5000 + "}", "no whole JSON document"), ("{}", "this is no"),
        ('{"profiles": 3, "value": {}}', "this is no"), ('{"value": 1e999}', "this is no"),
    ],
)  # fmt: skip
def test_what_is_none_is_one_error(form: Format, text: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(TraceFormatError, match=what):
        read(form, tmp_path, text)


def test_a_document_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MOST_BYTES", 1 << 20)
    with pytest.raises(TraceFormatError, match="a JSON document of more than 1 MiB is not read"):
        read(d3_json.FORMAT, tmp_path, " " * (2 << 20))


def test_stacks_that_would_fill_the_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (speedscope_json, d3_json):
        monkeypatch.setattr(module, "_MOST_IN_STACKS", 5)
    with pytest.raises(TraceFormatError, match="more than 5 frames"):
        read(d3_json.FORMAT, tmp_path, {**TREE, "children": TREE["children"] * 2})
    opened = [{"type": "O", "frame": 0, "at": at} for at in range(5)]
    with pytest.raises(TraceFormatError, match="more than 5 frames"):
        read(speedscope_json.FORMAT, tmp_path, speedscope({"type": "evented", "events": opened}))


WORDS = ["type", "evented", "sampled", "events", "samples", "weights", "frame", "at", "O", "C", "unit", "seconds",
         "name", "value", "children", "startValue", "n", "v", "c"]  # fmt: skip
NUMBERS = st.one_of(st.integers(-3, 9), st.integers(), st.floats())
ANYTHING = any_json(WORDS, NUMBERS)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(profile=st.dictionaries(st.sampled_from(WORDS), ANYTHING, max_size=8), kind=st.sampled_from(WORDS))
def test_any_json_ends_in_losses_or_one_error(tmp_path: Path, profile: dict[str, Any], kind: str) -> None:
    for form, document in (
        (speedscope_json.FORMAT, speedscope({**profile, "type": kind})), (d3_json.FORMAT, {**profile, "value": 9}),
    ):  # fmt: skip
        try:
            tables, losses = read(form, tmp_path, document)
        except TraceFormatError:
            continue
        assert all(min(table.weight, default=1) > 0 for table in tables)
        assert all(losses.values())


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(cut=st.floats(0, 1), at=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=5))
def test_a_damaged_real_one_ends_in_losses_or_one_error(
    tmp_path: Path, cut: float, at: list[tuple[float, int]]
) -> None:
    data = bytearray(captured("speedscope_simple.speedscope.json").read_bytes())
    for place, value in at:
        data[int(place * (len(data) - 1))] = value
    path = tmp_path / "damaged.json"
    path.write_bytes(data[: int(cut * len(data))] if cut < 0.5 else data)
    begun = time.monotonic()
    try:
        tables, _ = samples_of(speedscope_json.FORMAT, path)
    except TraceFormatError as error:
        assert "no" in str(error)
    else:
        assert len(tables) == 1
    assert time.monotonic() - begun < 5


# -- speedscope -----------------------------------------------------------------------------------------------------


def test_the_two_profiles_of_speedscopes_own_sample() -> None:
    (table,), losses = samples_of(speedscope_json.FORMAT, captured("speedscope_two-sampled.speedscope.json"))
    second = 10**9
    assert stacks(table) == {"a;b;c": 10 * second, "a;b;d": 8 * second, "a;b": 10 * second}
    assert (table.unit, table.event, losses) == ("ns", "2 profiles", {})
    assert table.ts_ns == tuple(second * at for at in (0, 1, 2, 6, 9)) * 2


def test_the_events_of_speedscopes_own_sample() -> None:
    (table,), losses = samples_of(speedscope_json.FORMAT, captured("speedscope_simple.speedscope.json"))
    # What speedscope's own importer test says of this file: a 0..14, b 0..14, c twice, d once.
    assert (stacks(table), losses) == ({"a;b;c": 5, "a;b;d": 4, "a;b": 5}, {})
    assert (sum(table.weight), table.unit) == (14, "samples")


def test_fractions_of_a_unit_of_time_are_no_loss(tmp_path: Path) -> None:
    profile = {
        "type": "sampled",
        "unit": "milliseconds",
        "startValue": 0.5,
        "samples": [[0], [0, 1]],
        "weights": [0.25, 1],
    }
    (table,), losses = read(speedscope_json.FORMAT, tmp_path, speedscope(profile))
    assert (stacks(table), table.ts_ns, losses) == ({"a": 250_000, "a;b": 1_000_000}, (500_000, 750_000), {})
    assert table.frames[0].object == "a.c"


def test_profiles_of_two_units_are_two_tables(tmp_path: Path) -> None:
    one = {"type": "sampled", "unit": "bytes", "name": "heap", "samples": [[0]], "weights": [4096]}
    two = {"type": "sampled", "unit": "seconds", "name": "cpu", "samples": [[1]], "weights": [1]}
    three = {"type": "sampled", "unit": "milliseconds", "name": "gpu", "samples": [[1]], "weights": [1]}
    tables, losses = read(speedscope_json.FORMAT, tmp_path, speedscope(one, two, three))
    assert [(table.event, table.unit, stacks(table)) for table in tables] == [
        ("heap", "bytes", {"a": 4096}), ("2 profiles", "ns", {"b": 1_001_000_000}),
    ]  # fmt: skip
    assert losses == {}


def test_what_cannot_be_used_is_counted(tmp_path: Path) -> None:
    sampled = {"type": "sampled", "samples": [[0], [9], ["x"], [1], [2], [3]], "weights": [2, 1, 1, -1, 1.5]}
    events = [("O", 0, 0), ("O", 1, 4), ("C", 0, 5), ("O", 7, 5), ("C", 1, 3), ("C", 1, None), ("C", 1, 9), ("X", 1, 9)]
    evented = {"type": "evented", "events": [dict(zip(("type", "frame", "at"), one, strict=True)) for one in events]}
    (table,), losses = read(speedscope_json.FORMAT, tmp_path, speedscope(sampled, evented, {"type": "other"}))
    assert stacks(table) == {"a": 2 + 4, "c": 2, "a;b": 5}
    assert losses == table.skipped == {
        speedscope_json.NO_FRAME: 2 + 2, speedscope_json.NEGATIVE: 1, speedscope_json.ROUNDED: 1,
        speedscope_json.NO_WEIGHT: 1, speedscope_json.NOT_OPEN: 1, speedscope_json.BACK: 1, speedscope_json.NO_TIME: 1,
        speedscope_json.NOT_CLOSED: 1, speedscope_json.NO_PROFILE: 1,
    }  # fmt: skip


# -- d3 -------------------------------------------------------------------------------------------------------------


def test_a_tree_and_perfs_short_names_of_it(tmp_path: Path) -> None:
    short = json.dumps(TREE).replace('"name"', '"n"').replace('"value"', '"v"').replace('"children"', '"c"')
    for document in (TREE, short):
        (table,), losses = read(d3_json.FORMAT, tmp_path, document)
        assert (stacks(table), losses) == ({"main": 6, "main;a": 4, "main;b": 2}, {})
        path = tmp_path / "profile.json"
        assert d3_json.FORMAT.recognise(path.read_bytes(), path.name)
        assert not speedscope_json.FORMAT.recognise(path.read_bytes(), path.name)


def test_a_root_that_is_a_function_stays(tmp_path: Path) -> None:
    (table,), _ = read(d3_json.FORMAT, tmp_path, {**TREE, "name": "start"})
    assert stacks(table) == {"start;main": 6, "start;main;a": 4, "start;main;b": 2}


def test_nodes_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    children = [{"name": "a", "value": 2}, 3, {"name": "b"}, {"name": "c", "value": -1}, {"name": "d", "value": 1.5},
                {"name": "e", "value": 3, "children": [{"name": "f", "value": 4}]}]  # fmt: skip
    (table,), losses = read(d3_json.FORMAT, tmp_path, {"name": "all", "value": 9, "children": children})
    assert stacks(table) == {"a": 2, "d": 2, "e;f": 4}
    assert losses == {d3_json.NO_NODE: 1, d3_json.NO_VALUE: 1, d3_json.NEGATIVE: 1, d3_json.ROUNDED: 1,
                      d3_json.MORE: 1, d3_json.NO_FUNCTION: 2}  # fmt: skip


def test_a_deep_tree(tmp_path: Path) -> None:
    depth = 300
    text = "".join(f'{{"name":"f{n}","value":1,"children":[' for n in range(depth)) + "]}" * depth
    (table,), losses = read(d3_json.FORMAT, tmp_path, text)
    assert (stacks(table), losses) == ({";".join(f"f{n}" for n in range(depth)): 1}, {})
