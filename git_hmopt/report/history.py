# SPDX-License-Identifier: Apache-2.0
"""Numbers along a branch: of each commit those that were measured on its own tree, strung together where they may be.

Values of different workloads, metrics, units and hosts are never held against each other: each is a series of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from git_hmopt.report.noted import Number
from git_hmopt.report.table import aligned
from git_hmopt.report.wording import UNKNOWN, fit, percent, plain
from git_hmopt.store.history import PlainCommit

_TITLE = 50
_HEADS = ("date", "commit", "value", "change", "run", "title")


@dataclass(frozen=True)
class Point:
    """A commit with a number of its own tree: the latest, and how many earlier ones there are."""

    commit: PlainCommit
    number: Number
    earlier: int
    change: str | None
    """Against the point before, as a ratio minus one; None for the first, from a value of nothing, and where the number
    is the same one."""
    overlap: bool
    """Whether the two intervals overlap, so that the change may be none."""


@dataclass(frozen=True)
class Series:
    """The values of one metric on one host, oldest first."""

    workload: str
    name: str
    unit: str
    device: str
    points: tuple[Point, ...]

    @property
    def subject(self) -> str:
        """Return what was measured, wherever it was."""
        return f"{plain(self.workload)} {plain(self.name)}"


def history(line: Sequence[PlainCommit], numbers: Sequence[Number], devices: Mapping[str, str]) -> list[Series]:
    """Return the series along a line of commits, which is newest first; `devices` are the runs' hosts."""
    found: dict[tuple[str, str, str, str], dict[str, list[Number]]] = defaultdict(lambda: defaultdict(list))
    for one in numbers:
        metric = one.metric
        # Two hosts that nobody here knows need not be one.
        device = devices.get(one.run, f"{UNKNOWN} (run {one.run})")
        key = (metric.workload, metric.name, metric.unit, device)
        found[key][metric.tree].append(one)
    series = [Series(*key, _points(line, by_tree)) for key, by_tree in sorted(found.items())]
    return [one for one in series if one.points]


def _points(line: Sequence[PlainCommit], by_tree: Mapping[str, list[Number]]) -> tuple[Point, ...]:
    points: list[Point] = []
    for commit in reversed(line):
        measured = sorted(by_tree.get(commit.tree, ()), key=lambda one: (one.at, one.run))
        if measured:
            latest, before = measured[-1], points[-1].number if points else None
            # Another commit with the same tree has the same number, which is no second measurement of it.
            new = before if before != latest else None
            change = _change(new, latest) if new else None
            overlap = new is not None and _overlap(new, latest)
            points.append(Point(commit, latest, len(measured) - 1, change, overlap))
    return tuple(points)


def _change(before: Number, after: Number) -> str | None:
    base = float(before.metric.value)
    return None if base == 0 else str(float(after.metric.value) / base - 1)


def _overlap(one: Number, other: Number) -> bool:
    (low, high), (its_low, its_high) = _ends(one), _ends(other)
    # Exact numbers have no interval.
    return low <= its_high and its_low <= high and (low < high or its_low < its_high)


def _ends(one: Number) -> tuple[float, float]:
    metric = one.metric
    return float(metric.low or metric.value), float(metric.high or metric.value)


def value_text(number: Number) -> str:
    """Return a value with its unit and interval, `1234 ns [1230, 1238]`."""
    metric = number.metric
    ends = f" [{_digits(metric.low)}, {_digits(metric.high)}]" if metric.low and metric.high else ""
    unit = "" if metric.unit == "1" else f" {plain(metric.unit)}"
    return f"{_digits(metric.value)}{unit}{ends}"


def _digits(text: str) -> str:
    # What is told is never more exact than four digits behind the point, and large numbers have none.
    value = float(text)
    return f"{value:.0f}" if abs(value) >= 10_000 else f"{value:.4f}".rstrip("0").rstrip(".")


def history_lines(series: Sequence[Series]) -> list[str]:
    """Return the series as tables, and what keeps some of them apart."""
    lines: list[str] = []
    for one in series:
        lines += [f"{one.subject}, measured on {plain(one.device)}", *aligned(_HEADS, list(map(_row, one.points))), ""]
    return lines + _apart(series)


def _row(point: Point) -> list[str]:
    change = "" if point.change is None else percent(point.change)
    return [
        point.commit.day,
        point.commit.oid[:12],
        value_text(point.number),
        f"{change} (intervals overlap)" if change and point.overlap else change,
        plain(point.number.run),
        fit(point.commit.title, _TITLE),
    ]


def _apart(series: Sequence[Series]) -> list[str]:
    hosts: dict[str, list[Series]] = defaultdict(list)
    for one in series:
        hosts[one.subject].append(one)
    lines = []
    for subject, several in hosts.items():
        ordered = sorted(several, key=lambda one: one.points[0].commit.day)
        spans = [f"{plain(one.device)} ({_span(one)})" for one in ordered]
        if len({one.device for one in several}) > 1:
            lines.append(
                f"the device changes: {subject} was measured on {', then '.join(spans)}; "
                "values of different devices are not held against each other"
            )
    return lines


def _span(series: Series) -> str:
    first, last = series.points[0].commit.day, series.points[-1].commit.day
    return first if first == last else f"{first} to {last}"
