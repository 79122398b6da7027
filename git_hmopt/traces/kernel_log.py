# SPDX-License-Identifier: Apache-2.0
"""Read kernel logs: `dmesg` in all its decorations and clocks, /dev/kmsg, hilog, `dmesg --json`.

Each record is one event of category `log`, named after the symptom in it (`oom-kill`, `soft-lockup`, ...) or else the
subsystem or tag that speaks; `args` are `level= facility=`, what else the dialect has, and last `text=`, which may hold
blanks and line feeds. Call traces are samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from git_hmopt.traces import kernel_log_lines as dialects
from git_hmopt.traces.call_traces import CallTraces
from git_hmopt.traces.capture import EVENTS, Capture, Losses
from git_hmopt.traces.kernel_log_lines import RECORDS
from git_hmopt.traces.kernel_log_names import names
from git_hmopt.traces.source import HEAD, Source
from git_hmopt.traces.tables import Samples, TraceFormatError
from git_hmopt.traces.whole_lines import whole_lines

NO_HEAD = "line that begins no record and continues none"
LOST_RECORDS = "record that /dev/kmsg no longer had (gap in its sequence)"
JSON_TOO_LARGE = "bytes of dmesg --json beyond the first 16 MiB"
_MOST_CONTINUATION = 64
_MOST_JSON = 16 << 20
_DIALECTS = ("dmesg", "kmsg", "hilog")
_DICTIONARY = r"^ [A-Za-z_][\w.-]*="


class KernelLog:
    """The format `kernel-log`."""

    name = "kernel-log"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether the first lines are of a kernel's log."""
        return _dialect(head) is not None

    def read(self, source: Source) -> Capture:
        """Return the capture; TraceFormatError when no dialect is recognised in its head."""
        head = source.head()
        found = _dialect(head)
        if found is None:
            raise TraceFormatError(
                f"{source.path}: no kernel log: its first lines have no time of dmesg, /dev/kmsg or hilog",
                next_step="take one with: dmesg -x",
            )

        def events(losses: Losses) -> Iterator[pl.DataFrame]:
            for records in _records(source, found, losses):
                yield _events(records)

        def samples(losses: Losses) -> Sequence[Samples]:
            traces = CallTraces(losses)
            for records in _records(source, found, losses):
                traces.add(records)
            table = traces.finish()
            return [table] if len(table) else []

        return Capture(self.name, events, samples, facts={"dialect": found, "clock": _clock(head, found)})


FORMAT = KernelLog()


def _first_lines(head: bytes) -> pl.Series:
    lines = [line.rstrip("\r") for line in head.decode(errors="replace").split("\n")[:200]]
    whole = lines[:-1] if len(lines) > 1 else lines
    return pl.Series("text", [line for line in whole if line.strip()], pl.String)


def _dialect(head: bytes) -> str | None:
    if head.lstrip()[:1] == b"{":
        return "dmesg-json" if b'"dmesg"' in head[:200] else None
    return dialects.dialect(_first_lines(head))


def _clock(head: bytes, found: str) -> str:
    if found in ("kmsg", "dmesg-json"):
        return "boot"
    pattern = dialects.HILOG if found == "hilog" else dialects.DMESG
    fields = _first_lines(head).to_frame().select(pl.col("text").str.extract_groups(pattern)).unnest("text")
    said = {name for name in fields.columns if fields[name].null_count() < len(fields)}
    if found == "hilog":
        if "clock" in said:
            return "wall, zone unknown" if "year" in said else "wall since 1 January, year and zone unknown"
        first = fields["seconds"].drop_nulls()
        return "epoch" if len(first) and len(first[0]) >= 10 else "monotonic"
    if "seconds" in said:
        return "boot"
    return "epoch" if "iso" in said else "wall, zone unknown" if "ctime" in said else "unknown"


def _records(source: Source, found: str, losses: Losses) -> Iterator[pl.DataFrame]:
    with source.open() as stream:
        if found == "dmesg-json":
            text = stream.read(_MOST_JSON)
            while more := stream.read(HEAD):
                losses[JSON_TOO_LARGE] += len(more)
            yield dialects.from_json(text.decode(errors="replace"), losses)
            return
        rest: list[str] = []
        sequence = _Sequence()
        for lines in whole_lines(stream, losses):
            if found == "kmsg":
                sequence.count_gaps(lines, losses)
            taken, rest = _hold_back(rest + lines, found)
            yield _of_lines(taken, found, losses)
        yield _of_lines(rest, found, losses)


def _hold_back(lines: list[str], found: str) -> tuple[list[str], list[str]]:
    """Part the lines before the last record: the next piece may continue it."""
    for back in range(1, min(len(lines), _MOST_CONTINUATION + 2) + 1):
        if _kinds(pl.Series("text", [lines[-back]], pl.String), found)[0] is not None:
            return lines[:-back], lines[-back:]
    return lines, []


def _kinds(text: pl.Series, found: str) -> pl.Series:
    """Return the dialect of the record that begins with each line; null where none does."""
    main = dialects.heads(text, found)
    if main.all():
        return pl.repeat(found, len(text), eager=True)
    order = (found, *(other for other in _DIALECTS if other != found))
    starts = ((name, main if name == found else dialects.heads(text, name)) for name in order)
    return pl.select(pl.coalesce(pl.when(start).then(pl.lit(name)) for name, start in starts).alias("kind"))["kind"]


def _of_lines(lines: list[str], found: str, losses: Losses) -> pl.DataFrame:
    text = pl.Series("text", lines, pl.String)
    table = text.to_frame().with_row_index("row").with_columns(_kinds(text, found).alias("kind"))
    parts = [
        dialects.records(table.filter(pl.col("kind") == kind), kind, losses)
        for kind in table["kind"].unique().drop_nulls().sort()
    ]
    records = pl.concat([RECORDS.to_frame(), *parts]).sort("row")
    if table["kind"].null_count():
        records = _continued(records, table, losses)
    return records


def _continued(records: pl.DataFrame, table: pl.DataFrame, losses: Losses) -> pl.DataFrame:
    """Give the lines that begin no record to the record before them: a dictionary of /dev/kmsg, or more of its text."""
    at = pl.col("row").cast(pl.Int64)
    begins = pl.col("kind").is_not_null()
    loose = table.with_columns(
        pl.when(begins).then(at).forward_fill().alias("head"), pl.col("kind").forward_fill().alias("of")
    ).filter(~begins & ~pl.col("text").str.contains(r"^\s*$"))
    pair = (pl.col("of") == "kmsg") & pl.col("text").str.contains(_DICTIONARY)
    used = (at - pl.col("head") <= _MOST_CONTINUATION) & (pair | (pl.col("of") == "dmesg"))
    kept = loose.filter(used.fill_null(value=False)).with_columns(pair.alias("pair"))
    prefix = table.select(at.alias("row"), pl.col("text").str.len_chars().alias("width"))
    heads = records.select("row", pl.col("text").str.len_chars().alias("own")).join(prefix, on="row")
    kept = kept.join(heads, left_on="head", right_on="row", maintain_order="left")
    if lost := len(loose) - len(kept):
        losses[NO_HEAD] += lost
    # dmesg indents what follows a line feed by the width of the record's own prefix.
    width = (pl.col("width") - pl.col("own")).clip(0)
    indented = pl.col("text").str.head(width).str.strip_chars(" ") == ""
    more = pl.when(indented).then(pl.col("text").str.slice(width)).otherwise("text")
    pairs = kept.filter("pair").group_by("head").agg(pl.col("text").str.strip_chars().str.join(" ").alias("pairs"))
    texts = kept.filter(~pl.col("pair")).group_by("head").agg(more.str.join("\n").alias("texts"))
    for found in (pairs, texts):
        records = records.join(found, left_on="row", right_on="head", how="left", maintain_order="left")
    return records.with_columns(
        pl.concat_str("more", "pairs", separator=" ", ignore_nulls=True).replace("", None).alias("more"),
        pl.concat_str("text", "texts", separator="\n", ignore_nulls=True).alias("text"),
    ).select(RECORDS.names())


class _Sequence:
    """The numbers that /dev/kmsg gives its records: what is missing between them was overwritten before it was read."""

    def __init__(self) -> None:
        self._last: int | None = None

    def count_gaps(self, lines: list[str], losses: Losses) -> None:
        text = pl.Series("text", lines, pl.String)
        numbers = text.str.extract(r"^[0-9]{1,3},([0-9]{1,18}),[0-9]").drop_nulls().cast(pl.Int64)
        if self._last is not None:
            numbers = pl.Series([self._last], dtype=pl.Int64).append(numbers)
        missing = numbers.diff().drop_nulls() - 1
        if lost := int(missing.filter(missing > 0).sum()):
            losses[LOST_RECORDS] += lost
        self._last = numbers[-1] if len(numbers) else None


def _events(records: pl.DataFrame) -> pl.DataFrame:
    # A line of user space is called after its tag, whatever it says.
    kernel = records["tag"].is_null().arg_true()
    named = records["tag"].scatter(kernel, names(records["text"].gather(kernel))) if len(kernel) else records["tag"]
    return records.select(
        "ts_ns",
        pl.lit("log").alias("category"),
        named.alias("name"),
        pl.lit(None, pl.Int64).alias("dur_ns"),
        "pid",
        "tid",
        "cpu",
        pl.concat_str(
            pl.lit("level=") + pl.col("level") + " ",
            pl.lit("facility=") + pl.col("facility") + " ",
            pl.col("more") + " ",
            pl.lit("text=") + pl.col("text"),
            ignore_nulls=True,
        ).alias("args"),
    ).cast(dict(EVENTS))  # type: ignore[arg-type]  # a Schema is such a mapping
