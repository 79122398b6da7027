# SPDX-License-Identifier: Apache-2.0
"""Two captures against each other: shares and rates with exact numbers, and what cannot be compared."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import get_args

import pytest

from git_hmopt.errors import MeasurementError
from git_hmopt.runtime.difference import By, FunctionChange, Pair, compare
from git_hmopt.traces.stacks import SampleRows
from git_hmopt.traces.tables import Frame, Samples

NAMES = ("old.folded", "new.folded")
SECOND = 10**9


def samples(*rows: tuple[str, int, int | None], unit: str = "samples") -> Samples:
    """Return samples of folded stacks with weights and times in ns."""
    made = SampleRows()
    for stack, weight, at in rows:
        made.add([made.intern(Frame(name)) for name in stack.split(";")], weight, ts_ns=at)
    return made.table(event="cycles", unit=unit)


# 20 samples in 4 s, and 10 in 1 s: `gone` only before, `new` only after, `work` half of all on both sides.
BEFORE = samples(("main;work", 10, 0), ("main;gone", 6, 2 * SECOND), ("main", 4, 4 * SECOND))
AFTER = samples(("main;work", 5, 7 * SECOND), ("main;new", 4, 7 * SECOND + 1), ("main", 1, 8 * SECOND))


def by_symbol(functions: Sequence[FunctionChange]) -> dict[str, FunctionChange]:
    return {one.symbol: one for one in functions}


def test_by_samples_costs_are_shares_of_each_sides_total() -> None:
    found = compare(BEFORE, AFTER, names=NAMES)
    assert (found.by, found.measure, found.scale) == ("samples", "share of all cost", Fraction(1, 2))
    assert (found.before.label, found.before.name, found.before.total) == ("before", "old.folded", 20)
    assert (found.after.label, found.after.name, found.after.total) == ("after", "new.folded", 10)
    functions = by_symbol(found.functions)
    assert functions["work"].own == Pair(10, 5, 0.5, 0.5)
    assert functions["gone"].own == Pair(6, 0, 0.3, 0.0)
    assert functions["new"].own == Pair(0, 4, 0.0, 0.4)
    assert functions["main"].own == Pair(4, 1, 0.2, 0.1)
    assert functions["main"].inclusive == Pair(20, 10, 1.0, 1.0)
    assert (functions["work"].own.change, functions["work"].own.ratio) == (0, 1)
    assert (functions["new"].own.change, functions["new"].own.ratio) == (0.4, None)
    assert functions["gone"].own.ratio == 0
    # The largest change comes first.
    assert [one.symbol for one in found.functions] == ["new", "gone", "main", "work"]
    assert [(one.stack, one.cost.before, one.cost.after) for one in found.stacks] == [
        (("main", "new"), 0, 4), (("main", "gone"), 6, 0), (("main",), 4, 1), (("main", "work"), 10, 5),
    ]  # fmt: skip


def test_by_duration_costs_are_rates() -> None:
    found = compare(BEFORE, AFTER, names=NAMES, by="duration")
    assert (found.measure, found.scale) == ("samples a second", Fraction(1, 4))
    assert (found.before.duration_ns, found.after.duration_ns) == (4 * SECOND, SECOND)
    functions = by_symbol(found.functions)
    assert functions["work"].own == Pair(10, 5, 2.5, 5.0)
    assert functions["gone"].own == Pair(6, 0, 1.5, 0.0)
    assert functions["main"].inclusive == Pair(20, 10, 5.0, 10.0)
    assert functions["work"].own.ratio == 2


def test_of_the_same_work_costs_stand_as_they_were_counted() -> None:
    found = compare(BEFORE, AFTER, names=NAMES, by="work")
    assert (found.measure, found.scale) == ("samples", Fraction(1))
    functions = by_symbol(found.functions)
    # Half of it is gone, though its share is what it was.
    assert functions["work"].own == Pair(10, 5, 10.0, 5.0)
    assert (functions["work"].own.change, functions["work"].own.ratio) == (-5, 0.5)
    assert found.folded() == "main 4 1\nmain;gone 6 0\nmain;new 0 4\nmain;work 10 5\n"


def test_the_folded_difference_has_before_scaled_to_after() -> None:
    assert compare(BEFORE, AFTER, names=NAMES).folded() == "main 2 1\nmain;gone 3 0\nmain;new 0 4\nmain;work 5 5\n"
    # 2.5 is rounded to the even neighbour.
    rates = compare(BEFORE, AFTER, names=NAMES, by="duration")
    assert rates.folded() == "main 1 1\nmain;gone 2 0\nmain;new 0 4\nmain;work 2 5\n"


def test_a_capture_against_itself_differs_in_nothing() -> None:
    for by in get_args(By):
        found = compare(AFTER, AFTER, names=NAMES, by=by)
        assert {one.own.change for one in found.functions} == {one.cost.change for one in found.stacks} == {0}


def test_names_are_the_same_with_and_without_annotations() -> None:
    found = compare(samples(("main_[k];read_[k]", 1, 0)), samples(("main;read", 3, 0)), names=NAMES)
    assert [(one.symbol, one.own.before, one.own.after) for one in found.functions] == [("main", 0, 0), ("read", 1, 3)]


def test_without_stacks_inclusive_costs_are_unmeasured() -> None:
    found = compare(samples(("a", 1, 0), ("b", 1, 0)), AFTER, names=NAMES)
    assert {one.inclusive for one in found.functions} == {None}


def test_shares_of_two_units_compare_and_rates_do_not() -> None:
    cycles = samples(("main;work", 4000, 0), ("main", 4000, SECOND), unit="cycles")
    found = compare(cycles, AFTER, names=NAMES)
    assert by_symbol(found.functions)["work"].own == Pair(4000, 5, 0.5, 0.5)
    for by in ("duration", "work"):
        with pytest.raises(MeasurementError) as caught:
            compare(cycles, AFTER, names=NAMES, by=by)
        assert str(caught.value) == (
            "'old.folded' counts cycles and 'new.folded' samples: only shares can be compared; "
            "compare their shares: --by samples"
        )


def test_captures_that_cannot_be_compared() -> None:
    with pytest.raises(MeasurementError, match=r"'new.folded' has no samples: there is nothing to compare"):
        compare(BEFORE, samples(), names=NAMES)
    for untimed in (samples(("a", 1, None)), samples(("a", 1, 5)), samples(("a", 1, None), ("b", 1, 1), ("b", 1, 2))):
        assert compare(BEFORE, untimed, names=NAMES).after.duration_ns is None
        with pytest.raises(MeasurementError, match=r"'new.folded' has no times.*--by samples"):
            compare(BEFORE, untimed, names=NAMES, by="duration")
