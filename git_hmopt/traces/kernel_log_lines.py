# SPDX-License-Identifier: Apache-2.0
"""The dialects of kernel logs, whole columns at a time: dmesg with its decorations, /dev/kmsg, hilog, dmesg's JSON.

Each gives the columns of RECORDS. The layouts are those of Linux's kernel/printk (`info_print_prefix`, devkmsg_read),
util-linux's dmesg and OpenHarmony's hilog.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import polars as pl

from git_hmopt.traces.capture import Losses

RECORDS = pl.Schema(
    {
        "row": pl.Int64(),
        "ts_ns": pl.Int64(),
        "level": pl.String(),
        "facility": pl.String(),
        "pid": pl.Int32(),
        "tid": pl.Int32(),
        "cpu": pl.Int16(),
        "tag": pl.String(),
        "more": pl.String(),
        "text": pl.String(),
    }
)
"""One row a record: `row` orders them, `tag` is set where the line does not come from the kernel, `more` are the
`key=value` pairs of the dialect."""

LEVELS = ("emerg", "alert", "crit", "err", "warn", "notice", "info", "debug")
FACILITIES = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
)  # fmt: skip
_HILOG_LEVELS = {"D": "debug", "I": "info", "W": "warn", "E": "err", "F": "fatal"}
BAD_TIME = "time out of range"
CUT_JSON = "damaged or cut record of dmesg --json"
GAVE_UP = "rest of dmesg --json after a hundred damaged records"
_MOST_DAMAGED = 100  # each error counts the lines of the whole text before it

_FACILITY = rf"(?:{'|'.join(FACILITIES)}|local[0-7])"
# What stands before the text of a line. The text is no group: capturing it would cost three times the rest.
_CALLER = r"(?:\[ *(?P<caller>[TC][0-9]{1,9})\] ?)?"
_PRIORITY = r"(?:<(?P<priority>[0-9]{1,3})>)?"
_SECONDS = r"\[ *(?P<seconds>[0-9]{1,10})\.(?P<fraction>[0-9]{3,9})(?: <[^>]*>)?\]"
_CLOCK = r"[0-9]{2}:[0-9]{2}:[0-9]{2}"
DMESG = (
    rf"^(?P<prefix>{_PRIORITY}"
    rf"(?:(?P<facility>{_FACILITY}) *:(?P<level>{'|'.join(LEVELS)}) *: ?)?"
    rf"(?:{_SECONDS}"
    rf"|\[(?P<ctime>[A-Z][a-z]{{2}} [A-Z][a-z]{{2}} [ 0-9][0-9] {_CLOCK} [0-9]{{4}})(?: <[^>]*>)?\]"
    rf"|(?P<iso>[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T{_CLOCK}[,.][0-9]{{1,9}}[+-][0-9]{{2}}:?[0-9]{{2}})"
    r"|\[(?P<relative>[A-Z][a-z]{2}[ 0-9][0-9] [0-9]{2}:[0-9]{2}| *[+-][0-9]{1,10}\.[0-9]{1,9})\])? ?"
    rf"{_CALLER})"
)
# Most logs have nothing but these two, and a regular expression of a tenth the size is four times as fast.
_PLAIN = rf"^(?P<prefix>{_PRIORITY}{_SECONDS} ?{_CALLER})"
_IS_PLAIN = r"^(?:<[0-9]{1,3}>)?\[ *[0-9]{1,10}\.[0-9]{3,9}[\] ]"
KMSG = (
    r"^(?P<prefix>(?P<priority>[0-9]{1,3}),(?P<sequence>[0-9]{1,18}),(?P<micros>[0-9]{1,15}),[-c+]"
    r"(?:,caller=(?P<caller>[TC][0-9]{1,9}))?(?:,[^;]*)?;)"
)
HILOG = (
    r"^(?P<prefix> *(?:[A-Za-z_][0-9A-Za-z_]* )?"
    rf"(?:(?P<year>[0-9]{{4}}-)?(?P<date>[0-9]{{2}}-[0-9]{{2}}) (?P<clock>{_CLOCK})|(?P<seconds>[0-9]{{1,10}}))"
    r"\.(?P<fraction>[0-9]{1,9})(?: [+-][0-9]{4})? +(?P<pid>[0-9]{1,9}) +(?P<tid>[0-9]{1,9}) +(?P<level>[DIWEF]) +"
    r"(?:(?P<domain>[A-Z]?[0-9a-fA-F]{5})/)?(?P<tag>[^:]*): ?)"
)
_VENDOR = re.compile(
    r"^(?:\[\d{4}:\d\d:\d\d \d\d:\d\d:\d\d\])?"
    r"\[pid:(?P<tid>\d{1,9}),cpu(?P<cpu>\d{1,4}),(?P<comm>[^\],]*)(?:,[^\]]*)?\] ?"
    r"|^\((?P<cpu2>\d{1,4})\)\[(?P<tid2>\d{1,9}):(?P<comm2>[^\]]*)\] ?"
)
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")
_FAR = 9_000_000_000  # seconds: past it nanoseconds do not fit 64 bits
_KERNEL_DOMAIN = "fffff"


def dialect(lines: pl.Series) -> str | None:
    """Return of which dialect most lines are: `dmesg`, `kmsg` or `hilog`; None when fewer than half are of any."""
    counted = lines.filter(~lines.str.contains(r"^(?: [A-Z]\w*=.*|\s*)$"))
    begins = {name: heads(counted, name) for name in _STARTS}
    known = begins["dmesg"] | begins["kmsg"] | begins["hilog"]
    if not len(counted) or 2 * int(known.sum()) < len(counted):
        return None
    return max(begins, key=lambda name: int(begins[name].sum()))


_STARTS = {
    "dmesg": r"^(?:<[0-9]{1,3}>|"
    rf"{_FACILITY} *:(?:{'|'.join(LEVELS)}) *:|\[ *[+-]?[0-9]{{1,10}}\.[0-9]{{3,9}}(?: <[^>]*>)?\]"
    rf"|\[[A-Z][a-z]{{2}} [A-Z][a-z]{{2}} [ 0-9][0-9] {_CLOCK} [0-9]{{4}}"
    r"|\[[A-Z][a-z]{2}[ 0-9][0-9] [0-9]{2}:[0-9]{2}\]"
    rf"|[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T{_CLOCK}[,.][0-9]{{1,9}}[+-][0-9]{{2}}:?[0-9]{{2}} )",
    "kmsg": r"^[0-9]{1,3},[0-9]{1,18},[0-9]{1,15},[-c+][^;]*;",
    "hilog": HILOG,
}


def heads(lines: pl.Series, name: str) -> pl.Series:
    """Say of each line whether a record of the dialect begins with it."""
    return lines.str.contains(_STARTS[name])


def records(lines: pl.DataFrame, name: str, losses: Losses) -> pl.DataFrame:
    """Return the records whose first lines are the column `text` of `lines`; its column `row` orders them."""
    parse = {"dmesg": _dmesg, "kmsg": _kmsg, "hilog": _hilog}[name]
    found = _with_vendor_prefix(parse(lines))
    late = found["late"].sum()
    if late:
        losses[BAD_TIME] += int(late)
        found = found.filter(~pl.col("late"))
    return found.select(RECORDS.names()).cast(dict(RECORDS))  # type: ignore[arg-type]  # a Schema is such a mapping


def _fields(lines: pl.DataFrame, pattern: str) -> pl.DataFrame:
    """Return the groups of each line's prefix, and as `text` what follows it."""
    groups = lines.select("row", "text", pl.col("text").str.extract_groups(pattern).alias("of")).unnest("of")
    return groups.with_columns(pl.col("text").str.strip_prefix(pl.col("prefix")))


def _nanoseconds(seconds: str, fraction: str) -> pl.Expr:
    return pl.col(seconds).cast(pl.Int64) * 1_000_000_000 + pl.col(fraction).str.pad_end(9, "0").cast(pl.Int64)


def _word(number: pl.Expr, words: tuple[str, ...]) -> pl.Expr:
    return number.replace_strict(range(len(words)), words, default=None, return_dtype=pl.String)


def _of_priority() -> tuple[pl.Expr, pl.Expr]:
    priority = pl.col("priority").cast(pl.Int64)
    names = (*FACILITIES, "12", "13", "14", "15", *(f"local{number}" for number in range(8)))
    return _word(priority % 8, LEVELS), _word(priority // 8, names)


def _of_caller() -> tuple[pl.Expr, pl.Expr]:
    number = pl.col("caller").str.slice(1).cast(pl.Int64)
    thread = pl.col("caller").str.starts_with("T")
    return (
        pl.when(thread).then(number).alias("tid"),
        pl.when(~thread & (number < 1 << 15)).then(number).alias("cpu"),
    )


def _dmesg(lines: pl.DataFrame) -> pl.DataFrame:
    plain = bool(lines["text"].str.contains(_IS_PLAIN).all())
    fields = _fields(lines, _PLAIN if plain else DMESG)
    lacking = ("facility", "level", "ctime", "iso", "relative") if plain else ()
    fields = fields.with_columns(pl.lit(None, pl.String).alias(name) for name in lacking)
    level, facility = _of_priority()
    tid, cpu = _of_caller()
    seconds = pl.col("seconds").cast(pl.Int64)
    times: list[pl.Expr] = [pl.when(seconds < _FAR).then(_nanoseconds("seconds", "fraction"))]
    if fields["ctime"].null_count() < len(fields):
        times.append(_epoch(pl.col("ctime").str.to_datetime("%a %b %e %H:%M:%S %Y", time_unit="us", strict=False)))
    if fields["iso"].null_count() < len(fields):
        iso = pl.col("iso").str.replace(",", ".", literal=True)
        times.append(_epoch(iso.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z", time_unit="us", strict=False)))
    ts = pl.coalesce(times)
    said = pl.any_horizontal(pl.col("seconds", "ctime", "iso").is_not_null())
    return fields.select(
        "row",
        ts.alias("ts_ns"),
        pl.coalesce("level", level).alias("level"),
        pl.coalesce("facility", facility).alias("facility"),
        pl.lit(None, pl.Int64).alias("pid"),
        tid,
        cpu,
        pl.lit(None, pl.String).alias("tag"),
        pl.lit(None, pl.String).alias("more"),
        "text",
        (said & ts.is_null()).alias("late"),
    )


def _epoch(moment: pl.Expr) -> pl.Expr:
    micros = moment.dt.epoch("us")
    return pl.when((micros >= 0) & (micros < _FAR * 1_000_000)).then(micros * 1000)


def _kmsg(lines: pl.DataFrame) -> pl.DataFrame:
    level, facility = _of_priority()
    tid, cpu = _of_caller()
    return _unescaped(
        _fields(lines, KMSG).select(
            "row",
            (pl.col("micros").cast(pl.Int64) * 1000).alias("ts_ns"),
            level.alias("level"),
            facility.alias("facility"),
            pl.lit(None, pl.Int64).alias("pid"),
            tid,
            cpu,
            pl.lit(None, pl.String).alias("tag"),
            pl.lit(None, pl.String).alias("more"),
            "text",
            pl.lit(False).alias("late"),
        )
    )


def _unescaped(found: pl.DataFrame) -> pl.DataFrame:
    # devkmsg_read writes what is no printable ASCII, and the backslash, as \xNN.
    escaped = found["text"].str.contains(r"\x", literal=True).fill_null(value=False)
    if not escaped.any():
        return found
    plain = [unescape(text) if is_escaped else text for text, is_escaped in zip(found["text"], escaped, strict=True)]
    return found.with_columns(pl.Series("text", plain, pl.String))


def unescape(text: str) -> str:
    """Return a text of /dev/kmsg with its `\\xNN` as the bytes they stand for."""
    raw = _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), text.encode(errors="replace"))
    return raw.decode(errors="replace")


def _hilog(lines: pl.DataFrame) -> pl.DataFrame:
    # Without a year a date is no moment: time is counted from the first of January, in a year that has all days.
    year = pl.coalesce(pl.col("year"), pl.lit("1972-"))
    start = pl.when(pl.col("year").is_null()).then(pl.lit(63_072_000)).otherwise(pl.lit(0))
    moment = pl.concat_str(year, "date", pl.lit(" "), "clock").str.to_datetime(
        "%Y-%m-%d %H:%M:%S", time_unit="us", strict=False
    )
    seconds = pl.coalesce(moment.dt.epoch("s") - start, pl.col("seconds").cast(pl.Int64))
    fields = _fields(lines, HILOG).with_columns(
        pl.when((seconds >= 0) & (seconds < _FAR)).then(seconds).alias("seconds")
    )
    kernel = pl.col("domain").str.to_lowercase() == _KERNEL_DOMAIN
    return fields.select(
        "row",
        _nanoseconds("seconds", "fraction").alias("ts_ns"),
        pl.col("level").replace_strict(_HILOG_LEVELS, default=None).alias("level"),
        pl.when(kernel).then(pl.lit("kern")).alias("facility"),
        pl.col("pid").cast(pl.Int64),
        pl.col("tid").cast(pl.Int64),
        pl.lit(None, pl.Int64).alias("cpu"),
        pl.when(~kernel.fill_null(value=False)).then("tag").alias("tag"),
        (pl.lit("domain=") + pl.col("domain")).alias("more"),
        "text",
        pl.col("seconds").is_null().alias("late"),
    )


def _with_vendor_prefix(found: pl.DataFrame) -> pl.DataFrame:
    """Take `[pid:1,cpu2,init]` (Huawei) and `(2)[1:init]` (MediaTek) off the texts into their columns."""
    marked = found["text"].str.contains(r"^(?:\[\d{4}:[^\]]{14}\])?\[pid:\d|^\(\d{1,4}\)\[\d").fill_null(value=False)
    if not marked.any():
        return found
    names = ("tid", "cpu", "more", "text")
    columns: dict[str, list[object]] = {name: found[name].to_list() for name in names}
    for index in marked.arg_true():
        match = _VENDOR.match(str(columns["text"][index]))
        if match is not None:
            columns["tid"][index] = int(match["tid"] or match["tid2"])
            cpu = int(match["cpu"] or match["cpu2"])
            columns["cpu"][index] = cpu if cpu < 1 << 15 else None
            columns["more"][index] = f"comm={match['comm'] or match['comm2'] or ''}"
            columns["text"][index] = str(columns["text"][index])[match.end() :]
    types = {"tid": pl.Int64, "cpu": pl.Int64, "more": pl.String, "text": pl.String}
    return found.with_columns(pl.Series(name, columns[name], types[name]) for name in names)


def from_json(text: str, losses: Losses) -> pl.DataFrame:
    """Return the records of `dmesg --json`, as far as they are whole.

    Without -x its `pri` is facility and level in one number that cannot be taken apart (util-linux does not shift the
    facility): up to 7 it is believed to be a level of the kernel's, above it is unknown.
    """
    rows = []
    for number, record in enumerate(_objects(text, losses)):
        seconds, _, fraction = str(record.get("time", "")).strip().partition(".")
        if not (re.fullmatch(r"\d{1,9}", seconds) and re.fullmatch(r"\d{1,9}", fraction)):
            losses[BAD_TIME] += 1
            continue
        priority = str(record.get("pri"))
        known = re.fullmatch(r"[0-7]", priority) is not None
        level = LEVELS[int(priority)] if known else priority if priority in LEVELS else None
        caller = re.match(r"\[ *([TC])(\d{1,9})\] ?", message := str(record.get("msg", "")))
        rows.append(
            {
                "row": number,
                "ts_ns": int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0")),
                "level": level,
                "facility": str(record["fac"]) if "fac" in record else None,
                "tid": int(caller[2]) if caller and caller[1] == "T" else None,
                "cpu": int(caller[2]) if caller and caller[1] == "C" and int(caller[2]) < 1 << 15 else None,
                "text": message[caller.end() :] if caller else message,
            }
        )
    return _with_vendor_prefix(pl.DataFrame(rows, schema=RECORDS)).select(RECORDS.names()).cast(dict(RECORDS))  # type: ignore[arg-type]  # as above


def _objects(text: str, losses: Losses) -> Iterator[dict[str, object]]:
    # Numbers stay text: a time must not pass through a float.
    decoder = json.JSONDecoder(parse_float=str, parse_int=str)
    at, damaged = text.find("["), 0
    while (at := text.find("{", at + 1)) >= 0:
        try:
            found, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            losses[CUT_JSON] += 1
            damaged += 1
            if damaged > _MOST_DAMAGED:
                losses[GAVE_UP] += 1
                return
            # A damaged record ends where the next begins, as dmesg writes them.
            at = text.find("},{", at)
            if at < 0:
                return
            continue
        at -= 1
        yield found
