# SPDX-License-Identifier: Apache-2.0
"""Templates of what to try: what is refused in a file of them, what is shipped, and how a repository adds its own."""

from __future__ import annotations

import pytest

from git_hmopt.agents.playbook.registry import STRATEGIES
from git_hmopt.config.load import load_config
from git_hmopt.errors import ConfigError, ExitCode
from git_hmopt.evidence.strategies import FILE, extended, parse_strategies, serving, shipped, templates_of
from git_hmopt.records.bottleneck import CLASSES

ENTRY = """\
  - name: shorter
    bottleneck: lock-contention
    what_to_try: Hold it shorter.
    preconditions: [It is long.]
    risks: [Races.]
    example: "-   spin_lock(&l);"
    source: locking/spinlocks.rst
"""
GOOD = f"version: 1\nstrategies:\n{ENTRY}"
CONFIG = """\
version: 1
builds:
  prog: {adapter: command, run: make}
workloads:
  sum:
    measure:
      time: {adapter: command, build: prog, run: ./prog}
    inputs: {size: 10}
"""


def refused(text: str | bytes, *, configuration: bool = False) -> str:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(ConfigError) as caught:
        load_config(data, origin="f.yaml") if configuration else parse_strategies(data, origin="f.yaml")
    assert caught.value.exit_code is ExitCode.USAGE
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "f.yaml:1: is empty, expected a mapping"),
        ("- a", "f.yaml:1: holds a list, expected a mapping"),
        ("version: 1\nstrategies: [", "f.yaml:2: "),
        ("version: 2\nstrategies: []", "f.yaml:1: version: 2 is newer than this git-hmopt reads, expected 1; upgrade"),
        ("version: 1", "f.yaml:1: strategies: is missing, expected a list"),
        ("version: 1\nstrategies: 3", "f.yaml:2: strategies: got the number 3, expected a list"),
        (GOOD.replace("lock-contention", "locks"), "f.yaml:4: strategies[0].bottleneck: got text 'locks', expected "),
        (GOOD + ENTRY, "f.yaml:10: strategies[1].name: 'shorter' stands here and on line 3, expected each name once"),
        (GOOD.replace("shorter\n", "two words\n"), "f.yaml:3: strategies[0].name: got text 'two words', expected "),
        (GOOD.replace("risks:", "risk:"), "f.yaml:7: strategies[0].risk: unknown key 'risk', expected 'risks'?"),
        (GOOD.replace("    risks: [Races.]\n", ""), "f.yaml:3: strategies[0].risks: is missing, expected a list"),
        (GOOD.replace("[Races.]", "[]"), "f.yaml:7: strategies[0].risks: got a list, expected 1 or more entries"),
        (GOOD.replace("[Races.]", '["\\e[2J"]'), "strategies[0].risks[0]: holds the character U+001B, expected one "),
        (GOOD.replace("Hold it shorter.", '"a\\n# 1. forged"'), "what_to_try: holds the character U+000A, expected "),
        (GOOD.replace("Hold it shorter.", '"a\\u202eb"'), "what_to_try: holds the character U+202E, expected "),
        (GOOD.replace("Hold it shorter.", '" "'), "what_to_try: is empty, expected one line of plain text"),
        (GOOD.replace('"-   spin', '"\\a-   spin'), "example: holds the character U+0007, expected lines of "),
        (GOOD.replace("Hold it shorter.", "x" * 401), "expected at most 400 characters"),
        (GOOD.replace("[It is long.]", f"[{', '.join('x' * 9)}]"), "got a list, expected at most 8 entries"),
        (GOOD.replace("shorter\n", "!!python/object:os.system x\n"), "is not accepted, expected a plain value"),
        (b"version: 1\nstrategies: \xff", "f.yaml:2: holds the byte 0xff, expected UTF-8"),
        ("version: 1\nstrategies: \x1b[2J", "f.yaml:2: holds the control character U+001B, expected plain text"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(text: str | bytes, said: str) -> None:
    assert said in refused(text)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (ENTRY.replace("lock-contention", "locks"), "f.yaml:11: strategies[0].bottleneck: got text 'locks', expected "),
        (ENTRY + ENTRY, "f.yaml:17: strategies[1].name: 'shorter' stands here and on line 10, expected each name once"),
        (
            ENTRY.replace("Races.", '"\\e]0;x"'),
            "f.yaml:14: strategies[0].risks[0]: holds the character U+001B, expected",
        ),
    ],
)
def test_a_configuration_s_own_are_held_to_the_same(entry: str, said: str) -> None:
    assert said in refused(f"{CONFIG}strategies:\n{entry}", configuration=True)


def test_every_class_has_a_template_and_no_template_another_class() -> None:
    assert {one.bottleneck for one in shipped()} == set(CLASSES)
    assert all(serving(shipped(), name) for name in CLASSES)


def test_every_class_of_the_playbook_is_one_of_the_taxonomy() -> None:
    for strategy in STRATEGIES:
        assert strategy.classes and set(strategy.classes) <= set(CLASSES), strategy.name


def test_every_shipped_example_is_the_shape_of_an_edit() -> None:
    for one in shipped():
        lines = one.example.rstrip("\n").split("\n")
        assert {line[:1] for line in lines} <= {"+", "-", " "}, one.name
        assert any(line.startswith("+") for line in lines), one.name
        assert len(lines) <= 12 and one.source, one.name


def test_the_shipped_file_is_read_the_same_every_time() -> None:
    assert parse_strategies(GOOD.encode(), origin=FILE) == parse_strategies(GOOD.encode(), origin="other")
    assert len({one.name for one in shipped()}) == len(shipped())


def test_a_repository_replaces_by_name_and_adds_before_the_shipped() -> None:
    replaced = ENTRY.replace("name: shorter", "name: shorter-critical-section")
    loaded = load_config(f"{CONFIG}strategies:\n{replaced}{ENTRY}".encode(), origin="f")
    own = templates_of(loaded.config.strategies)
    whole = extended(own, shipped())
    assert len(whole) == len(shipped()) + 1
    assert [one.name for one in serving(whole, "lock-contention")] == [
        "shorter", "shorter-critical-section", "readers-without-the-lock", "one-lock-for-each-bucket",
    ]  # fmt: skip
    assert serving(whole, "lock-contention")[1].what_to_try == "Hold it shorter."
    assert extended((), shipped()) == shipped()
