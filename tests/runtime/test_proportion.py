# SPDX-License-Identifier: Apache-2.0
"""The interval of a proportion, against published values."""

from __future__ import annotations

import pytest

from git_hmopt.runtime.proportion import wilson


# R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_interval_against_published_values(hits: int, n: int, low: float, high: float) -> None:
    assert wilson(hits, n) == pytest.approx((low, high), abs=5e-5)


def test_all_of_few_is_not_certain() -> None:
    low, high = wilson(3, 3)
    assert low == pytest.approx(0.4385, abs=5e-5)
    assert high == 1.0


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (1, 0), (-1, 3), (4, 3)])
def test_what_is_no_proportion_is_refused(hits: int, n: int) -> None:
    with pytest.raises(ValueError, match="is no proportion"):
        wilson(hits, n)
