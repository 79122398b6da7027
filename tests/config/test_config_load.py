# SPDX-License-Identifier: Apache-2.0
"""Reading `.hmopt.yaml`: first everything that can be wrong with it, then what comes out."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from git_hmopt.adapters import AdapterOptions
from git_hmopt.config.load import adapter_options, load_config
from git_hmopt.errors import ConfigError, ExitCode

GOOD = """\
version: 1
builds:
  prog:
    adapter: command
    run: make
workloads:
  sum:
    measure:
      time: {adapter: command, build: prog, run: ./prog}
    inputs: {size: 10}
"""

BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 10)}]\n" for before, name in zip("abcde", "bcdef", strict=True)
)


def complaint(text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(ConfigError) as caught:
        load_config(data, origin=".hmopt.yaml")
    assert caught.value.exit_code is ExitCode.USAGE
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "1: is empty, expected a mapping", id="empty"),
        pytest.param("# only a comment\n", "1: is empty, expected a mapping", id="comments only"),
        pytest.param("- a\n", "1: holds a list, expected a mapping", id="a list"),
        pytest.param("just words", "1: holds text 'just words', expected a mapping", id="a text"),
        pytest.param("a:\n\tb: 1\n", "2: a tab stands where indentation belongs, expected spaces", id="tab"),
        pytest.param(
            "a: [1\n", "2: while parsing a flow sequence: expected ',' or ']', but got '<stream end>'", id="open list"
        ),
        pytest.param("x: y: z\n", "1: mapping values are not allowed here, expected YAML", id="two colons"),
        pytest.param("a: 'x\n", "2: found unexpected end of stream, expected YAML", id="open quote"),
        pytest.param(b"a: 1\nb: \xff\n", "2: holds the byte 0xff, expected UTF-8", id="not UTF-8"),
        pytest.param(b"a: 1\nb: \x00\n", "2: holds the control character U+0000, expected plain text", id="NUL"),
        pytest.param(
            "a: 1\n---\nb: 2\n",
            "2: expected a single document in the stream: but found another document",
            id="two documents",
        ),
        pytest.param("a: 1\nb: 2\na: 3\n", "3: a: stands here and on line 1, expected each key once", id="twice"),
        pytest.param("? [x]\n: 1\n", "1: a key is a list or mapping, expected text", id="key of a list"),
        pytest.param(
            "a: !!python/object:os.system x\n",
            "1: the tag 'tag:yaml.org,2002:python/object:os.system' is not accepted, expected a plain value",
            id="tag",
        ),
        pytest.param("a: &x [*x]\n", "1: a[0]: an alias stands inside its own anchor, expected a value", id="circle"),
        pytest.param("a: *x\n", "1: found undefined alias 'x', expected YAML", id="alias of nothing"),
        pytest.param(
            "b: &b {x: 1}\na:\n  <<: *b\n",
            "3: a: merge keys ('<<') are not read, expected the keys themselves",
            id="merge key",
        ),
        pytest.param("[" * 5000, "1: is nested too deeply, expected at most 40 levels", id="deep"),
        pytest.param("a: 1e999\n", "1: a: is out of range, expected a smaller number", id="infinite"),
        pytest.param("a: " + "9" * 5000, "1: a: is out of range, expected a smaller number", id="huge integer"),
        pytest.param(
            'a: "\\ud800"\n', "1: a: holds half a character (a lone surrogate), expected text", id="surrogate"
        ),
    ],
)
def test_what_is_no_mapping_is_refused_with_its_line(text: str | bytes, message: str) -> None:
    assert complaint(text) == f".hmopt.yaml:{message}"


def test_anchors_that_expand_without_end_are_refused_fast() -> None:
    assert "aliases expand without end, expected at most 20000 values" in complaint(BOMB)


def test_a_file_of_megabytes_is_refused() -> None:
    assert (
        complaint("#" * (1 << 20) + "\n") == f".hmopt.yaml:1: is {(1 << 20) + 1} bytes long, expected at most 1048576"
    )


def test_a_section_that_must_hold_something_says_so() -> None:
    assert complaint("version: 1\nbuilds: {}\nworkloads: {}\n") == (
        ".hmopt.yaml:2: builds: got a mapping, expected 1 or more entries (and 1 more)"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("size: 10", "size: '10'", "10: workloads.sum.inputs.size: got text '10', expected a whole number"),
        ("size: 10", "size: 1.5", "10: workloads.sum.inputs.size: got the number 1.5, expected a whole number"),
        ("size: 10", "size: yes", "10: workloads.sum.inputs.size: got text 'yes', expected a whole number"),
        ("size: 10", "size: true", "10: workloads.sum.inputs.size: got true, expected a whole number"),
        ("size: 10", "size: -1", "10: workloads.sum.inputs.size: got the number -1, expected at least 0"),
        ("size: 10", "size:", "10: workloads.sum.inputs.size: got nothing (null), expected a whole number"),
        ("{size: 10}", "{}", "10: workloads.sum.inputs.size: is missing, expected a whole number"),
        ("{size: 10}", "[10]", "10: workloads.sum.inputs: got a list, expected a mapping"),
        ("adapter: command\n", "adaptor: command\n", "3: builds.prog.adapter: is missing, expected text"),
        ("  prog:\n", "  pro g:\n", "3: builds.pro g: got text 'pro g', expected text matching ^[A-Za-z0-9]"),
        ("build: prog", "build: porg", "9: workloads.sum.measure.time.build: unknown build 'porg', expected 'prog'?"),
        ("version: 1", "version: '1'", "1: version: got text '1', expected 1"),
        ("version: 1", "version: true", "1: version: got true, expected 1"),
        ("version: 1", "version: 0", "1: version: got the number 0, expected 1"),
        ("version: 1\n", "", "1: version: is missing, expected 1"),
        ("version: 1\n", "version: 1\ntests: []\n", "2: tests: got a list, expected a mapping"),
        (
            "version: 1",
            "version: 7\nnews: 1",
            "1: version: 7 is newer than this git-hmopt reads, expected 1; upgrade git-hmopt",
        ),
    ],
)
def test_a_wrong_value_is_named_with_line_and_key(old: str, new: str, message: str) -> None:
    assert old in GOOD
    assert complaint(GOOD.replace(old, new)).startswith(f".hmopt.yaml:{message}")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("budgets: 3\n", "11: budgets: unknown key 'budgets', expected 'budget'? (known: budget, builds, "),
        ("zzz: 3\n", "11: zzz: unknown key 'zzz', expected one of: budget, builds, "),
        ("policy:\n  max_files: 0\n", "12: policy.max_files: got the number 0, expected at least 1"),
        ("policy: {allow: '*.c'}\n", "11: policy.allow: got text '*.c', expected a list"),
        ("policy:\n  allow:\n  - '*.c'\n  - 3\n", "14: policy.allow[1]: got the number 3, expected text"),
        ("measure: {confidence: 1}\n", "11: measure.confidence: got the number 1, expected a number below 1"),
        ("measure: {confidence: high}\n", "11: measure.confidence: got text 'high', expected a number"),
        ("tests:\n  unit: {adapter: command}\n", "12: tests.unit.build: is missing, expected text"),
        ("tests: {u: {adapter: x, build: no}}\n", "11: tests.u.build: unknown build 'no', expected one of: prog"),
        ("    accept: counts\n", "11: workloads.sum.accept: got text 'counts', expected 'objective' or 'count'"),
        (
            "    objective: {metric: tiem}\n",
            "11: workloads.sum.objective.metric: unknown metric 'tiem', expected 'time'?",
        ),
        ("    guards:\n    - {workload: x}\n", "12: workloads.sum.guards[0].workload: unknown workload 'x', expected"),
        ("    guards: [{metric: rss}]\n", "11: workloads.sum.guards[0].metric: unknown metric 'rss', expected"),
        (
            "    profile:\n      perf: {adapter: perf, build: p}\n",
            "12: workloads.sum.profile.perf.build: unknown build 'p', expected one of: prog",
        ),
    ],
)
def test_a_wrong_section_is_named_with_line_and_key(extra: str, message: str) -> None:
    assert complaint(GOOD + extra).startswith(f".hmopt.yaml:{message}")


def test_the_first_of_several_errors_is_told_and_the_others_are_counted() -> None:
    text = GOOD.replace("version: 1", "version: x") + "budget: {iterations: x, wall_s: x}\n"
    assert complaint(text) == ".hmopt.yaml:1: version: got text 'x', expected 1 (and 2 more)"


def test_a_mistyped_key_is_told_before_the_key_that_is_missing_for_it() -> None:
    message = complaint(GOOD.replace("inputs:", "input:"))
    assert message.startswith(".hmopt.yaml:10: workloads.sum.input: unknown key 'input', expected 'inputs'?")
    assert message.endswith("(and 1 more)")


def test_an_objective_that_is_not_written_is_reported_at_its_workload() -> None:
    text = GOOD.replace("time: {", "count: {")
    assert complaint(text).startswith(".hmopt.yaml:7: workloads.sum.objective.metric: unknown metric 'time', expected")


def test_a_hostile_key_cannot_write_to_the_terminal() -> None:
    assert complaint('"a\\e[31m\\nb": 1\n' + GOOD).startswith(".hmopt.yaml:1: a\\x1b[31m\\nb: unknown key")


def test_a_good_file_is_loaded_with_the_line_of_every_key() -> None:
    loaded = load_config(GOOD.encode(), origin="HEAD:.hmopt.yaml")
    assert loaded.config.builds["prog"].options == {"run": "make"}
    assert loaded.config.workloads["sum"].measure["time"].build == "prog"
    assert loaded.config.workloads["sum"].inputs.size == 10
    assert loaded.lines[("builds", "prog", "run")] == 5
    assert loaded.lines[("workloads", "sum", "inputs", "size")] == 10
    assert loaded.raw == GOOD.encode()


def test_a_byte_order_mark_crlf_and_aliases_are_read() -> None:
    text = "\ufeff" + GOOD.replace("    run: make\n", "    run: &make make\n    again: *make\n").replace("\n", "\r\n")
    loaded = load_config(text.encode(), origin="x")
    assert loaded.config.builds["prog"].options == {"run": "make", "again": "make"}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2026-01-31", "2026-01-31"),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("0x10", 16),
        ("010", 10),
        ("'5'", "5"),
        ("~", None),
        ("true", True),
        ("False", False),
    ],
)
def test_plain_scalars_are_those_of_yaml_1_2(written: str, value: object) -> None:
    loaded = load_config(GOOD.replace("run: make", f"x: {written}").encode(), origin="x")
    found = loaded.config.builds["prog"].options["x"]
    assert found == value
    assert type(found) is type(value)


class _Options(AdapterOptions):
    run: str
    jobs: int = Field(default=1, ge=1)
    how: Literal["fast", "slow"] = "fast"


def test_adapter_options_are_filled_from_the_section() -> None:
    loaded = load_config(GOOD.replace("run: make", "run: make\n    jobs: 3").encode(), origin="x")
    options = adapter_options(loaded.config.builds["prog"], _Options, where=loaded.at("builds", "prog"))
    assert options == _Options(run="make", jobs=3)


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ("rum: make", "5: builds.prog.rum: unknown key 'rum', expected 'run'? (known: how, jobs, run) (and 1 more)"),
        ("jobs: 2", "3: builds.prog.run: is missing, expected text"),
        ("run: x\n    jobs: 0", "6: builds.prog.jobs: got the number 0, expected at least 1"),
        ("run: [x]", "5: builds.prog.run: got a list, expected text"),
        ("run: x\n    how: other", "6: builds.prog.how: got text 'other', expected 'fast' or 'slow'"),
    ],
)
def test_an_adapters_own_errors_carry_file_line_and_key(new: str, message: str) -> None:
    loaded = load_config(GOOD.replace("run: make", new).encode(), origin="conf")
    with pytest.raises(ConfigError) as caught:
        adapter_options(loaded.config.builds["prog"], _Options, where=loaded.at("builds", "prog"))
    assert str(caught.value) == f"conf:{message}"


def test_a_place_refuses_with_file_line_and_key() -> None:
    where = load_config(GOOD.encode(), origin="conf").at("builds", "prog")
    assert str(where.refuse("no such program", "run")) == "conf:5: builds.prog.run: no such program"
    assert str(where.refuse("no such program", "jobs")) == "conf:3: builds.prog.jobs: no such program"


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, len(GOOD)), st.sampled_from(["\t", "'", "[", "{", ":", "- ", "\n", "&a ", "*a", "!", "%", "\x85"])
)
def test_a_character_anywhere_gives_a_configuration_or_one_line(position: int, character: str) -> None:
    data = (GOOD[:position] + character + GOOD[position:]).encode()
    try:
        loaded = load_config(data, origin="f")
    except ConfigError as error:
        assert str(error).startswith("f:")
        assert str(error).split(":")[1].isdecimal()
        assert "\n" not in str(error)
    else:
        assert loaded.config.version == 1
