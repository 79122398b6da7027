# SPDX-License-Identifier: Apache-2.0
"""From the cells of a table of frames, all of them text, to events."""

from __future__ import annotations

import polars as pl

from git_hmopt.traces.capture import EVENTS, Losses
from git_hmopt.traces.frame_columns import DIGITS, FrameColumns

NO_TIME = "frame without a start and an end"
BACKWARDS = "frame that ends before it starts"
OTHER_KIND = "row that is neither an actual nor an expected frame"
NO_ACTUAL = "expected frame without an actual one"
TWICE = "expected frame that comes again"
_NUMBER = r"^\s*\+?([0-9]{1,18})(?:\.([0-9]*))?\s*$"


def cells(table: pl.DataFrame, columns: FrameColumns) -> pl.DataFrame:
    """Return the mapped columns of a table; those that it lacks as null."""
    return table.select(
        pl.col(name) if name in table.columns else pl.lit(None, pl.String).alias(name) for name in columns.all
    )


def events(table: pl.DataFrame, columns: FrameColumns, losses: Losses, *, window: str = "") -> pl.DataFrame:
    """Return an event a frame, from the cells; `window` names those that have no label of their own."""
    kind = [pl.col(columns.row_kind).str.strip_chars().alias("kind")] if columns.row_kind else []
    frames = table.select(
        _nanoseconds(columns.start, columns).alias("ts_ns"),
        _end(columns).alias("end"),
        _time(columns.expected_start, columns).alias("expected_start"),
        _time(columns.expected_end, columns).alias("expected_end"),
        _label(table, columns, window).alias("name"),
        _integer(columns.pid).alias("pid"),
        _integer(columns.tid).alias("tid"),
        _flag(columns).alias("flag"),
        *kind,
        *(pl.col(name) for name in columns.join),
    )
    if columns.row_kind:
        frames = _joined(frames, columns, losses)
    timed = frames.filter(pl.col("ts_ns").is_not_null() & pl.col("end").is_not_null())
    _count(losses, NO_TIME, len(frames) - len(timed))
    kept = timed.filter(pl.col("end") >= pl.col("ts_ns"))
    _count(losses, BACKWARDS, len(timed) - len(kept))
    return _as_events(kept)


def _count(losses: Losses, reason: str, number: int) -> None:
    if number:
        losses[reason] += number


def _nanoseconds(column: str, columns: FrameColumns) -> pl.Expr:
    """Return a time or a duration as whole nanoseconds; null where it is no such number, or too far for 64 bits."""
    places = DIGITS[columns.units.get(column, columns.unit)]
    whole = pl.col(column).str.extract(_NUMBER, 1)
    fits = whole.str.strip_chars_start("0").str.len_chars() <= 18 - places
    units = pl.when(fits).then(whole).cast(pl.Int64) * _scale(places)
    if not places:
        return units
    fraction = pl.col(column).str.extract(_NUMBER, 2).fill_null("").str.head(places).str.pad_end(places, "0")
    return units + fraction.cast(pl.Int64)


def _scale(places: int) -> int:
    return int(10**places)


def _time(column: str | None, columns: FrameColumns) -> pl.Expr:
    # A deadline of 0 is one that was not set.
    if column is None:
        return pl.lit(None, pl.Int64)
    moment = _nanoseconds(column, columns)
    return pl.when(moment > 0).then(moment)


def _end(columns: FrameColumns) -> pl.Expr:
    if columns.end is not None:
        return _nanoseconds(columns.end, columns)
    assert columns.duration is not None
    end = _nanoseconds(columns.start, columns) + _nanoseconds(columns.duration, columns)
    return pl.when(end >= 0).then(end)  # past 64 bits a sum wraps


def _label(table: pl.DataFrame, columns: FrameColumns, window: str) -> pl.Expr:
    for column in columns.label:
        if table[column].null_count() < len(table):
            value = pl.col(column)
            named = pl.when(value.str.contains(r"^[0-9]+$")).then(pl.lit(f"{column} ") + value).otherwise(value)
            return named.fill_null(window or "frame")
    return pl.lit(window or "frame")


def _integer(column: str | None) -> pl.Expr:
    if column is None:
        return pl.lit(None, pl.Int32)
    whole = pl.col(column).str.extract(r"^\s*([0-9]{1,10})\s*$")
    return whole.cast(pl.Int64).cast(pl.Int32, strict=False)


def _flag(columns: FrameColumns) -> pl.Expr:
    if columns.flag is None:
        return pl.lit(None, pl.Int64)
    said = pl.col(columns.flag).str.strip_chars()
    known = said.replace_strict(columns.flag_values or {"": None}, default=None, return_dtype=pl.Int64)
    ordinary = said.is_null() | (said == "0") | said.is_in(list(columns.flag_values))
    return pl.when(ordinary).then(known).otherwise(pl.lit(columns.flag_other, pl.Int64))


def _joined(frames: pl.DataFrame, columns: FrameColumns, losses: Losses) -> pl.DataFrame:
    """Give each actual frame the times of the expected row that it has its keys in common with."""
    actual = frames.filter(pl.col("kind") == columns.actual)
    wanted = frames.filter(pl.col("kind") == columns.expected)
    _count(losses, OTHER_KIND, len(frames) - len(actual) - len(wanted))
    keys = list(columns.join)
    times = wanted.select(*keys, pl.col("ts_ns").alias("wanted_start"), pl.col("end").alias("wanted_end"))
    once = times.unique(keys, keep="first", maintain_order=True)
    _count(losses, TWICE, len(times) - len(once))
    _count(losses, NO_ACTUAL, len(once.join(actual, on=keys, how="anti")))
    return actual.join(once, on=keys, how="left", maintain_order="left").with_columns(
        pl.coalesce("expected_start", "wanted_start").alias("expected_start"),
        pl.coalesce("expected_end", "wanted_end").alias("expected_end"),
    )


def _as_events(frames: pl.DataFrame) -> pl.DataFrame:
    # SmartPerf, doc/frames.md: in time is whoever ends by the expected end.
    late = pl.when(pl.col("end") <= pl.col("expected_end")).then(0).otherwise(1)
    derived = pl.when(pl.col("expected_end").is_not_null()).then(late)
    flag = pl.coalesce("flag", derived).cast(pl.String)
    return frames.select(
        "ts_ns",
        pl.lit("frame").alias("category"),
        "name",
        (pl.col("end") - pl.col("ts_ns")).alias("dur_ns"),
        "pid",
        "tid",
        pl.lit(None, pl.Int16).alias("cpu"),
        pl.concat_str(
            pl.lit("expected_start=") + pl.col("expected_start").cast(pl.String),
            pl.lit("expected_end=") + pl.col("expected_end").cast(pl.String),
            pl.lit("flag=") + flag,
            separator=" ",
            ignore_nulls=True,
        ).alias("args"),
    ).cast(dict(EVENTS))  # type: ignore[arg-type]  # a Schema is such a mapping
