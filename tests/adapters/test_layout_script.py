# SPDX-License-Identifier: Apache-2.0
"""The seeded linker script: the same for the same seed and names, paired between two builds, exact about names."""

from __future__ import annotations

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_hmopt.errors import AdapterError
from git_hmopt.records.words import Seed
from hmopt_adapters.layout import SLOT, seeded_script

SCRIPT = "SECTIONS { .text : { *(.text.hot) *(.text .text.fixup) *(.text.unlikely) } .data : { *(.data) } }"
OBJECTS = ["init/main.o", "lib/sort.o", "x/lib/sort.o", "lib/string.o"]

names = st.lists(
    st.from_regex(r"[a-z_][a-z0-9_]{0,6}(/[a-z0-9_]{1,6}){0,2}\.o", fullmatch=True),
    min_size=1,
    max_size=12,
    unique=True,
)
seeds = st.integers(0, 2**31 - 1).map(Seed)


def offsets(script: str) -> dict[str, int]:
    """Return each object's offset from a multiple of SLOT, as the script says it."""
    found = re.findall(r"ALIGN\((\d+)\) \+ (\d+); \[(.)\](\S+)\(\.text \.text\.fixup\)", script)
    assert {int(slot) for slot, *_ in found} <= {SLOT}
    return {first + rest: int(offset) for _, offset, first, rest in found}


def patterns(script: str) -> list[str]:
    """Return the file patterns of the placed objects, in the order of the script."""
    return re.findall(r"; (\[.\]\S+)\(\.text \.text\.fixup\)", script)


@given(names, seeds)
def test_every_object_has_one_place_and_the_rest_comes_after(objects: list[str], seed: Seed) -> None:
    script = seeded_script(SCRIPT, objects, seed)
    assert offsets(script).keys() == set(objects)
    assert all(offset % 16 == 0 and 0 <= offset < SLOT for offset in offsets(script).values())
    assert script.count("*(.text .text.fixup)") == 1
    assert script.index("*(.text .text.fixup)") > script.rindex("; [")
    # What stood around it stands around it still.
    before, after = SCRIPT.split("*(.text .text.fixup)")
    assert script.startswith(before)
    assert script.endswith(after)


@given(names, seeds)
def test_the_script_depends_on_nothing_but_seed_and_names(objects: list[str], seed: Seed) -> None:
    assert seeded_script(SCRIPT, objects, seed) == seeded_script(SCRIPT, list(reversed(objects)), seed)


@given(names, names, seeds)
def test_an_object_keeps_its_offset_whatever_else_is_linked(one: list[str], other: list[str], seed: Seed) -> None:
    """So base and patch are paired by seed: what a patch does not touch keeps its alignment."""
    first = offsets(seeded_script(SCRIPT, one, seed))
    second = offsets(seeded_script(SCRIPT, sorted({*one, *other}), seed))
    assert all(second[name] == first[name] for name in one)
    kept = [name for name in patterns(seeded_script(SCRIPT, sorted({*one, *other}), seed)) if name[1] + name[3:] in one]
    assert kept == patterns(seeded_script(SCRIPT, one, seed))


def test_offsets_and_order_are_drawn_anew_for_every_seed() -> None:
    drawn = [offsets(seeded_script(SCRIPT, OBJECTS, Seed(seed))) for seed in range(400)]
    for name in OBJECTS:
        assert {one[name] for one in drawn} == set(range(0, SLOT, 16))
    assert len({tuple(one) for one in drawn}) == 24
    # Two objects do not move together: all 256 pairs of offsets would be 400 draws' luck, most are not.
    assert len({(one["lib/sort.o"], one["lib/string.o"]) for one in drawn}) > 150


@given(names, seeds)
def test_a_pattern_matches_its_own_name_and_no_other(objects: list[str], seed: Seed) -> None:
    # ld matches with fnmatch(3), for which a set of one letter is a wildcard.
    for pattern in patterns(seeded_script(SCRIPT, objects, seed)):
        own = pattern[1] + pattern[3:]
        others = [*objects, f"x/{own}", f"{own}o", own[1:], own.upper()]
        assert [name for name in others if fnmatch.fnmatchcase(name, pattern)] == [own]


@pytest.mark.parametrize(
    "script",
    [
        "SECTIONS { .text : { *(.text) } }",
        "SECTIONS { .text : { *( .text .text.fixup ) } }",
        "SECTIONS { .text : { *(.text\n\t.text.fixup) } }",
    ],
)
def test_the_ways_a_script_may_name_text(script: str) -> None:
    assert offsets(seeded_script(script, OBJECTS, Seed(1))).keys() == set(OBJECTS)


@pytest.mark.parametrize(
    "script",
    [
        "",
        "SECTIONS { .data : { *(.data) } }",
        "SECTIONS { .text : { *(.text .text.fixup) *(.text) } }",
        "SECTIONS { .a : { *(.text) } .b : { *(.text) } }",
        "SECTIONS { .text : { *(.text.asan .text.tsan) } }",
    ],
)
def test_a_script_without_the_one_place_is_refused(script: str) -> None:
    with pytest.raises(AdapterError, match=r"no single .* layout cannot be controlled"):
        seeded_script(script, OBJECTS, Seed(1))
