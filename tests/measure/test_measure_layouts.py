# SPDX-License-Identifier: Apache-2.0
"""Layout seeds: deterministic, distinct, and never shared between purposes."""

from __future__ import annotations

import pytest

from git_hmopt.measure.layouts import STREAMS, derived_seed, layout_seeds


def test_the_same_arguments_give_the_same_seeds_for_ever() -> None:
    # Written down: cached links and recorded runs refer to these numbers.
    assert layout_seeds(7, 3, stream="compare") == (1748364683, 149401499, 765669923)
    assert derived_seed(7, "data", "compare", 0) == 81548614


def test_a_longer_list_starts_with_the_shorter_one() -> None:
    assert layout_seeds(1, 12, stream="compare")[:4] == layout_seeds(1, 4, stream="compare")


def test_streams_share_no_seed_and_seeds_are_kernel_ints() -> None:
    lists = [layout_seeds(3, 2000, stream=stream) for stream in STREAMS]
    together = [seed for seeds in lists for seed in seeds]
    assert len(set(together)) == len(together) == 2000 * len(STREAMS)
    assert min(together) >= 0 and max(together) < 2**31


def test_a_suffix_and_another_run_give_other_layouts() -> None:
    first = set(layout_seeds(1, 50, stream="confirmation/1"))
    assert not first & set(layout_seeds(1, 50, stream="confirmation/2"))
    assert not first & set(layout_seeds(2, 50, stream="confirmation/1"))


def test_labels_are_kept_apart() -> None:
    assert derived_seed(1, "a", 11) != derived_seed(1, "a1", 1)
    assert derived_seed(11, "a") != derived_seed(1, "1", "a")


def test_an_unknown_stream_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no layout stream is called 'comparison'; there are: floor"):
        layout_seeds(1, 4, stream="comparison")
