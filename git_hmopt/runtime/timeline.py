# SPDX-License-Identifier: Apache-2.0
"""KPIs of frame timelines, by rule A: a frame is late when it ends after its expected end (SmartPerf, doc/frames.md).

Frames that are flagged invalid (2) count nowhere. A frame without an expected end has no lateness; its flag, where it
has one of 0 or 1, still says whether it was dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import polars as pl

from git_hmopt.records.base import decimal_text
from git_hmopt.runtime.kpi import Kpi, Scope

IDLE_NS = 170_000_000
"""A longer time between two frames is idleness, not a slow frame (SmartPerf, SpLTPO.ts)."""
_INVALID = 2
_RULE = "rule A (actual end after expected end)"


@dataclass(frozen=True)
class JankWindow:
    """Where a capture janked: from when a late frame should have begun, or did, to its end."""

    name: str
    start_ns: int
    end_ns: int
    late_ns: int
    """By how much its worst frame missed the expected end."""
    frames: int
    """How many late frames it holds."""


def frames(events: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Return the frames that are valid, by name and end: name, ts_ns, end, expected_start, expected_end, late, dropped.

    `late` are nanoseconds from 0, null where no end was expected; `dropped` is null where nothing says.
    """
    kept = [
        batch.filter((pl.col("category") == "frame") & pl.col("dur_ns").is_not_null()).select(
            "name",
            "ts_ns",
            (pl.col("ts_ns") + pl.col("dur_ns")).alias("end"),
            *(_argument(key) for key in ("expected_start", "expected_end", "flag")),
        )
        for batch in events
    ]
    if not kept:
        kept = [pl.DataFrame(schema={"name": pl.String, **dict.fromkeys(_COLUMNS, pl.Int64)})]
    late = (pl.col("end") - pl.col("expected_end")).clip(0)
    return (
        pl.concat(kept)
        .filter(pl.col("flag").fill_null(0) != _INVALID)
        .with_columns(late.alias("late"))
        .with_columns(
            pl.when(pl.col("late").is_not_null())
            .then(pl.col("late") > 0)
            .when(pl.col("flag").is_in([0, 1]))
            .then(pl.col("flag") == 1)
            .alias("dropped")
        )
        .sort("name", "end")
    )


_COLUMNS = ("ts_ns", "end", "expected_start", "expected_end", "flag")


def _argument(key: str) -> pl.Expr:
    return pl.col("args").str.extract(rf"(?:^| ){key}=([0-9]{{1,18}})(?: |$)").cast(pl.Int64).alias(key)


def timeline_kpis(events: Iterable[pl.DataFrame]) -> tuple[Kpi, ...]:
    """Return fps_avg, frame_drop_rate and jank_p95_ms: of each surface (scope `frame`), and of all together."""
    table = frames(events)
    names = table["name"].unique().sort().to_list()
    every = [kpi for name in names for kpi in _of(table.filter(pl.col("name") == name), "frame", name)]
    return (*_of(table, "system", "all", surfaces=len(names)), *every)


def _of(table: pl.DataFrame, scope: Scope, who: str, *, surfaces: int = 1) -> Iterator[Kpi]:
    if surfaces > 1:
        # Frames of several surfaces reach the display together: their sum is no rate that anybody sees.
        why = f"unknown: {surfaces} surfaces; see each"
        yield Kpi("fps_avg", scope, who, None, "1/s", len(table), why)
    else:
        yield _fps(table, scope, who)
    verdicts = table["dropped"].drop_nulls()
    dropped = int(verdicts.sum())
    basis = f"{_RULE}: late frames / frames with a verdict"
    yield Kpi(
        "frame_drop_rate", scope, who, _quotient(dropped, len(verdicts)), "ratio", len(verdicts), _why(verdicts, basis)
    )
    late = table["late"].drop_nulls().sort()
    basis = f"{_RULE}: nearest rank of max(0, actual end - expected end)"
    rank = -(-95 * len(late) // 100)
    value = _quotient(int(late[rank - 1]), 1_000_000) if rank else None
    yield Kpi("jank_p95_ms", scope, who, value, "ms", len(late), _why(late, basis))


def _why(column: pl.Series, basis: str) -> str:
    return basis if len(column) else f"unknown: no frame says what was expected; {basis}"


def _quotient(part: int, whole: int) -> str | None:
    return decimal_text(float(Fraction(part, whole))) if whole else None


def _fps(table: pl.DataFrame, scope: Scope, who: str) -> Kpi:
    """Return frames by second over the spans without idleness: (frames - 1) / (last - first) of each, summed."""
    gaps = table["end"].diff().drop_nulls()
    active = gaps.filter(gaps <= IDLE_NS)
    time = int(active.sum())
    basis = f"ends of frames, without the {len(gaps) - len(active)} gaps of more than {IDLE_NS // 1_000_000} ms"
    if not time:
        return Kpi("fps_avg", scope, who, None, "1/s", len(table), f"unknown: no two frames in a row; {basis}")
    return Kpi("fps_avg", scope, who, _quotient(len(active) * 1_000_000_000, time), "1/s", len(table), basis)


def worst_janks(events: Iterable[pl.DataFrame], *, most: int = 10) -> tuple[JankWindow, ...]:
    """Return the windows of the latest frames, worst first; those of a surface that overlap are one."""
    late = frames(events).filter(pl.col("late") > 0)
    rows = late.select("name", pl.min_horizontal("ts_ns", "expected_start").alias("start"), "end", "late")
    windows: list[JankWindow] = []
    for name, start, end, by in rows.sort("name", "start").iter_rows():
        last = windows[-1] if windows else None
        if last is not None and last.name == name and start <= last.end_ns:
            windows[-1] = JankWindow(
                name, last.start_ns, max(last.end_ns, end), max(last.late_ns, by), last.frames + 1
            )  # fmt: skip
        else:
            windows.append(JankWindow(name, start, end, by, 1))
    return tuple(sorted(windows, key=lambda window: (-window.late_ns, window.start_ns, window.name))[:most])
