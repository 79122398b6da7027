# SPDX-License-Identifier: Apache-2.0
"""How the hot functions of captures are known: by the structure first, then by what else says where they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from git_hmopt.loop.captures import Opened
from git_hmopt.loop.hotspots import Place
from git_hmopt.loop.statistics import statistics
from git_hmopt.traces import folded
from git_hmopt.traces.tables import Symbols


def test_debug_information_of_the_measured_objects_counts_where_the_structure_knows_nothing() -> None:
    asked: list[Sequence[str]] = []

    def definitions(symbols: Sequence[str]) -> Symbols:
        asked.append(sorted(symbols))
        return Symbols(("libc",), ("libc.c",), (1,), {})

    def locate(symbols: Sequence[str]) -> Mapping[str, Place]:
        return {"own": Place("own.c", 1, 2, "psg")}

    table = folded.parse([b"own;libc 5\n", b"own;gone 3\n"])
    capture = Opened("one", "perf-data", (table,), None, {}, None, definitions)
    _, join = statistics([capture], limit=9, locate=locate)
    assert (join.hot, join.in_structure, join.in_debug_information, join.missing) == (3, 1, 1, ("gone",))
    # It is read for what is not known without it alone.
    assert asked == [["gone", "libc"]]
