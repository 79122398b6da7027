# SPDX-License-Identifier: Apache-2.0
"""Slots of a profile: what is one, what is none, where it stands."""

from __future__ import annotations

import pytest

from git_hmopt.config.document import JsonValue, KeyPath
from git_hmopt.config.load import load_config
from git_hmopt.config.slots import slots

OPEN = b"""\
version: 1
builds:
  k:
    adapter: command
    run: "make -j4 <slot: the target>"
    image: out/k
workloads:
  w:
    measure:
      time: {adapter: command, build: k, run: "<slot:>", metrics: {time: {kind: time, from: wall}}}
    inputs: {size: 1}
"""


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("make", []),
        ("cat <slot", []),
        ("cat <slots: x>", []),
        (None, []),
        (3, []),
        ("<slot: the  build\n command >", [((), "the build command")]),
        ("<slot:>", [((), "")]),
        ("a <slot: x> b <slot: y>", [((), "x"), ((), "y")]),
        ({"a": ["x", {"b": "<slot: z>"}]}, [(("a", 1, "b"), "z")]),
    ],
)
def test_what_is_a_slot(value: JsonValue, found: list[tuple[KeyPath, str]]) -> None:
    assert list(slots(value)) == found


def test_slots_are_told_in_the_files_order_with_their_lines() -> None:
    found = load_config(OPEN, origin="f").unfilled()
    assert [(where.line, where.path) for where in found] == [
        (5, ("builds", "k", "run")),
        (10, ("workloads", "w", "measure", "time", "run")),
    ]
    assert load_config(OPEN.replace(b"<slot", b"slot"), origin="f").unfilled() == ()
