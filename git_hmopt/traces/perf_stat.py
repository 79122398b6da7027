# SPDX-License-Identifier: Apache-2.0
"""Read the counters that `perf stat` (text, -x, -j; also with -I, -A, --per-*) and `hiperf stat` print.

Each counter is an event of category `proc` named as it was asked for, with `phase=C value=.. unit=.. comment=..
coverage=..` of what was printed: coverage is the share of the time in which it really counted, in per cent. With
`aggregate=` a line is of one core, socket or thread. A counter without a number is counted as lost: unknown is not 0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import polars as pl

from git_hmopt.traces.capture import BATCH, EVENTS, Capture, Losses
from git_hmopt.traces.source import Source, lines_of
from git_hmopt.traces.tables import TraceFormatError

NOT_SUPPORTED = "counter that this machine does not have"
NOT_COUNTED = "counter that was never on the machine"
NOT_A_COUNTER = "line that is no counter"
DAMAGED = "counter that cannot be read"

ELAPSED = "elapsed"
"""The event that has the whole time of a perf stat as its duration."""

_TITLE = re.compile(
    rb"Performance counter stats for|^#\s+time\s+(?:\w+\s+)*counts\s+unit\s+events"
    rb"|hiperf stat|^\s*count\s+(?:event_)?name\s+\|\s+comment",
    re.MULTILINE,
)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_VARIANCE = re.compile(r"\(\s*\+-\s*[\d.]+%\s*\)")
_COVERAGE = re.compile(r"\(\s*([\d.]+)%\s*\)\s*$")
_TOTAL = re.compile(r"\s*([\d.,]+)(?:\s+\+-\s+[\d.]+)?\s+seconds (time elapsed|user|sys)\b.*")
_SECONDS = re.compile(r"\d{1,9}(?:\.\d*)?")
_TIME = re.compile(r"\d+\.\d{9}")
_CPU = re.compile(r"CPU(\d{1,5})")
_UNKNOWN = {"<not supported>": NOT_SUPPORTED, "<not counted>": NOT_COUNTED}
_PLACEHOLDER = {"<not supported>": "<not-supported>", "<not counted>": "<not-counted>"}
_LOOKED_AT = 40
_MOST_CELLS = 64


@dataclass(frozen=True)
class _Counter:
    """One counter as it stood in a line."""

    name: str
    value: str
    unit: str = ""
    comment: str = ""
    coverage: str = ""
    time_ns: int | None = None
    aggregate: str = ""
    pid: int | None = None
    tid: int | None = None
    cpu: int | None = None


class PerfStat:
    """The format, by its name `perf-stat`."""

    name = "perf-stat"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether the title, or a line of the machine-readable forms, stands among the first lines."""
        if _TITLE.search(head[:4096]):
            return True
        lines = [line.decode(errors="replace") for line in head.splitlines()[:_LOOKED_AT]]
        lines = [line for line in lines if line.strip() and not line.startswith("#")]
        return bool(lines) and all(_is_machine_readable(line) for line in lines[:3])

    def read(self, source: Source) -> Capture:
        """Return the capture."""
        return Capture(self.name, read_events=lambda losses: _batches(source, losses))


FORMAT = PerfStat()


def _is_machine_readable(line: str) -> bool:
    if line.lstrip().startswith("{"):
        return '"counter-value"' in line and '"event"' in line
    separator = _separator(line)
    return separator is not None and _separated(line, separator) is not None


def _batches(source: Source, losses: Losses) -> Iterator[pl.DataFrame]:
    rows: list[tuple[object, ...]] = []
    seen = 0
    with source.open() as stream:
        for row in parse(lines_of(stream, losses), losses):
            rows.append(row)
            seen += 1
            if len(rows) >= BATCH:
                yield pl.DataFrame(rows, schema=EVENTS, orient="row")
                rows = []
    if not seen:
        raise TraceFormatError(f"{source.path}: this has no counters of 'perf stat' or 'hiperf stat'")
    yield pl.DataFrame(rows, schema=EVENTS, orient="row")


def parse(lines: Iterable[bytes], losses: Losses) -> Iterator[tuple[object, ...]]:
    """Yield rows of EVENTS."""
    before = now = 0
    for raw in lines:
        text = raw.decode(errors="replace").rstrip("\r\n")
        if not text.strip() or text.startswith("#") or _TITLE.search(text.encode()):
            continue
        total = _TOTAL.fullmatch(text)
        if total:
            seconds = _nanoseconds(total[1].replace(",", ""))
            if seconds is None:
                losses[DAMAGED] += 1
                continue
            word = {"time elapsed": ELAPSED}.get(total[2], total[2])
            yield None, "proc", word, seconds, None, None, None, f"phase=C value={seconds} unit=ns"
            continue
        counter = _counter(text, losses)
        if counter is None:
            continue
        if counter.time_ns is None:
            yield _row(counter, None)
            continue
        if counter.time_ns != now:
            before, now = now, counter.time_ns
        # With -I a line tells what was counted since the lines of the time before.
        yield _row(counter, now - before if now >= before else None)


def _row(counter: _Counter, duration: int | None) -> tuple[object, ...]:
    pairs = {
        "value": counter.value, "unit": counter.unit, "coverage": counter.coverage, "aggregate": counter.aggregate,
        "comment": counter.comment,
    }  # fmt: skip
    args = " ".join(["phase=C", *(f"{key}={value}" for key, value in pairs.items() if value)])
    return (
        counter.time_ns, "proc", counter.name, duration, counter.pid, counter.tid, counter.cpu, args,
    )  # fmt: skip


def _nanoseconds(seconds: str) -> int | None:
    """Return a time in ns; None where it is no number, or one of more than 31 years."""
    if not _SECONDS.fullmatch(seconds):
        return None
    whole, _, fraction = seconds.partition(".")
    return int(whole) * 10**9 + int(fraction[:9].ljust(9, "0"))


def _counter(text: str, losses: Losses) -> _Counter | None:
    """Return a line's counter; count why there is none."""
    if text.lstrip().startswith("{"):
        found = _from_json(text)
    elif "|" in text:
        found = _from_hiperf(text)
    else:
        separator = _separator(text)
        found = (_separated(text, separator) if separator else None) or _from_text(text)
    if found is None:
        losses[NOT_A_COUNTER] += 1
    elif found.value in _UNKNOWN:
        losses[_UNKNOWN[found.value]] += 1
    elif not _NUMBER.fullmatch(found.value):
        losses[DAMAGED] += 1
    else:
        return found
    return None


def _aggregate(word: str) -> dict[str, object]:
    """Return what the words in front of a value say: a CPU, a thread by name and number, or a core or socket."""
    cpu = _CPU.fullmatch(word)
    if cpu and int(cpu[1]) < 1 << 15:
        return {"cpu": int(cpu[1]), "aggregate": word}
    name, dash, number = word.rpartition("-")
    if dash and number.isdecimal() and len(number) < 10 and name:
        return {"tid": int(number), "aggregate": name}
    return {"aggregate": word} if word else {}


def _made(name: str, value: str, **known: object) -> _Counter:
    return _Counter(name=name, value=value.replace(",", ""), **known)  # type: ignore[arg-type] # by the callers


def _from_text(text: str) -> _Counter | None:
    """Read a line of the text for people: [time] [aggregate [count]] value [unit] event [# comment] [(coverage%)]."""
    for unknown, one_word in _PLACEHOLDER.items():
        text = text.replace(unknown, one_word)
    text = _VARIANCE.sub("", text).rstrip()
    coverage = _COVERAGE.search(text)
    main, _, comment = (text[: coverage.start()] if coverage else text).partition("#")
    words = main.split()
    time = None
    if words and _TIME.fullmatch(words[0]) and len(words) > 2:
        time = _nanoseconds(words.pop(0))
    at = next((at for at in range(len(words) - 2, max(-1, len(words) - 4), -1) if _is_value(words[at])), None)
    if at is None:
        return None
    value, unit, name = words[at], " ".join(words[at + 1 : -1]), words[-1]
    front = words[:at]
    if len(front) > 1 and front[-1].isdecimal():
        front.pop()
    for unknown, one_word in _PLACEHOLDER.items():
        value = value.replace(one_word, unknown)
    return _made(
        name, value, unit=unit, comment=" ".join(comment.split()), coverage=coverage[1] if coverage else "",
        time_ns=time, **_aggregate(" ".join(front)),
    )  # fmt: skip


def _is_value(word: str) -> bool:
    return bool(_NUMBER.fullmatch(word)) or word in _PLACEHOLDER.values()


def _separator(text: str) -> str | None:
    """Return the separator of `perf stat -x`: a line of it has at least four."""
    if "#" in text or "|" in text:
        return None
    cells = {one: text.strip().split(one) for one in ",;\t"}
    return next((one for one, parts in cells.items() if 4 < len(parts) < _MOST_CELLS and " " not in parts[2]), None)


def _separated(text: str, separator: str) -> _Counter | None:
    """Read a line of `perf stat -x`: [time] [aggregate [count]] value unit event [variance] runtime coverage ..."""
    cells = [cell.strip() for cell in text.split(separator)]
    time = None
    if _TIME.fullmatch(cells[0]):
        time = _nanoseconds(cells.pop(0))
    front = []
    while len(cells) > 4 and not (_is_value(cells[0]) or cells[0] in _UNKNOWN):
        front.append(cells.pop(0))
    if front and len(cells) > 6 and cells[0].isdecimal() and _is_value(cells[1]) and not _is_value(cells[2]):
        cells.pop(0)
    if len(cells) < 4 or not (_is_value(cells[0]) or cells[0] in _UNKNOWN):
        return None
    if not cells[2] or _is_value(cells[2]) or _is_value(cells[1]):
        # Commas may stand between thousands only.
        return None
    value, unit, name = cells[:3]
    rest = cells[3:]
    if rest[0].endswith("%"):
        rest.pop(0)
    coverage = rest[1] if len(rest) > 1 else ""
    comment = " ".join(cell for cell in rest[2:4] if cell)
    return _made(
        name, value, unit=unit, comment=comment, coverage=coverage, time_ns=time, **_aggregate(" ".join(front))
    )


def _from_json(text: str) -> _Counter | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not {"counter-value", "event"} <= found.keys():
        return None
    time = str(found.get("interval", ""))
    front = next((str(found[key]) for key in ("cpu", "thread", "core", "die", "socket", "node") if key in found), "")
    metric = [str(found[key]) for key in ("metric-value", "metric-unit") if found.get("metric-unit")]
    return _made(
        str(found["event"]), str(found["counter-value"]), unit=str(found.get("unit", "")), comment=" ".join(metric),
        coverage=str(found.get("pcnt-running", "")),
        time_ns=_nanoseconds(time) if _TIME.fullmatch(time) else None,
        **_aggregate(f"CPU{front}" if "cpu" in found else front),
    )  # fmt: skip


def _from_hiperf(text: str) -> _Counter | None:
    """Read a row of hiperf stat: count and name, comment, coverage, and the core or thread when it was asked for."""
    cells = [cell.strip() for cell in text.split("|")]
    words = cells[0].split()
    if len(words) != 2 or not _NUMBER.fullmatch(words[0]):
        return None
    comment = cells[1] if len(cells) > 1 else ""
    coverage = _COVERAGE.search(cells[2]) if len(cells) > 2 else None
    known: dict[str, object] = {"coverage": coverage[1] if coverage else ""}
    of = cells[3].split() if len(cells) > 3 else []
    if len(of) == 1 and of[0].isdecimal() and len(of[0]) < 5:
        known |= {"cpu": int(of[0]), "aggregate": f"CPU{of[0]}"}
    elif len(of) >= 3 and all(word.isdecimal() and len(word) < 10 for word in of[-2:]):
        known |= {"pid": int(of[-2]), "tid": int(of[-1]), "aggregate": "-".join(of[:-2])}
    return _made(words[1], words[0], comment=comment, **known)
