# SPDX-License-Identifier: Apache-2.0
"""Part a text into the files of /proc that it holds, by headings where it has them and by what lines look like."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from git_hmopt.traces.capture import Losses

# The longest line of /proc is `intr`: a number for each possible interrupt, of which there may be half a million.
_LONGEST = 4 << 20
TOO_LONG = "line longer than 4 MiB"
UNKNOWN_LINE = "line that belongs to no /proc file that is read"

# What the first line of each kind looks like; a file goes on until another begins or its lines look otherwise.
_BEGINS: tuple[tuple[str, str, str], ...] = (
    ("stat", r"cpu +\d", r"(?:cpu\d* +\d|(?:intr|ctxt|btime|processes|procs_\w+|softirq|page|swap)(?: |$))"),
    ("schedstat", r"version \d+$", r"(?:timestamp |cpu\d+ |domain\d+ )"),
    ("by-cpu", r" +CPU\d+", r" *[\w-]+:"),
    ("meminfo", r"MemTotal: ", r"[A-Z][\w()]*: +\d+(?: kB)?$"),
    (
        "vmstat",
        r"(?:nr_free_pages|nr_\w+|pgscan_\w+|pgsteal_\w+|pgpg\w+|allocstall_\w+|workingset_\w+) \d+$",
        r"[a-z]\w* \d+$",
    ),
    ("pagetypeinfo", r"Page block order:", r"(?:Pages per block:|Free pages count|Node +\d+, zone|Number of blocks)"),
    ("buddyinfo", r"Node +\d+, zone +\S+(?: +\d+)+ *$", r"Node +\d+, zone +\S+(?: +\d+)+ *$"),
    ("zoneinfo", r"Node +\d+, zone +\S+ *$", r"(?:Node +\d+, zone +\S+ *$| )"),
    ("pressure", r"(?:some|full) avg10=", r"full avg10="),
    ("loadavg", r"\d+\.\d+ \d+\.\d+ \d+\.\d+ \d+/\d+ \d+$", r"(?!)"),
    ("uptime", r"\d+\.\d\d \d+\.\d\d$", r"(?!)"),
    ("task-schedstat", r"\d+ \d+ \d+$", r"(?!)"),
)
# One expression for all: a capture has as many lines as a log.
_ANY_BEGINS = re.compile("|".join(f"(?P<{kind.replace('-', '_')}>{begins})" for kind, begins, _ in _BEGINS))
_GOES_ON = {kind: re.compile(goes_on) for kind, _, goes_on in _BEGINS}
STRONG = frozenset(
    ("stat", "schedstat", "interrupts", "softirqs", "meminfo", "vmstat", "pagetypeinfo", "buddyinfo", "zoneinfo",
     "pressure")
)  # fmt: skip
"""Kinds that nothing but a file of /proc looks like."""

_HEADING = re.compile(r"==> (?P<any>.+?) <==\s*$|[^\w/]*(?:cat )?(?P<path>/?proc/[\w./+-]+)[^\w/]*$")
_PREFIXED = re.compile(r"(?P<path>/proc/[\w./+-]+):(?P<rest>.*)$")
_FILE = re.compile(r"(?:^|[^A-Za-z])([a-z]+)(?:\.txt|\.log)?$")
_TASK = re.compile(r"(?:^|[/_.-])(\d{1,9})[/_](?:task/(\d{1,9})/)?schedstat(?:\.txt|\.log)?$")
_RESOURCE = re.compile(r"pressure[/_.-](cpu|io|memory|irq)\b")
_EPOCH = re.compile(r"\W*(?:[A-Za-z_]+\W+)?(\d{10})(?:\.(\d{1,9}))?\W*$")
_ISO = re.compile(r".{0,40}?(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?(Z| ?[+-]\d\d:?\d\d| UTC)?\W*$")
_DATE = re.compile(r"[A-Z][a-z]{2} ([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) (?:[A-Z]{3,4} )?(\d{4})\W*$")


@dataclass
class Section:
    """One file: its kind, where it lay, and its lines that are not blank."""

    kind: str
    path: str
    """What the capture calls it; empty where it says nothing."""
    lines: list[str]

    def __post_init__(self) -> None:
        self.first_words = _first_words(self.lines[0])


@dataclass(frozen=True)
class Moment:
    """A line that says when what follows was captured, in wall time."""

    ts_ns: int


def sections(lines: Iterable[str], path: str, losses: Losses) -> Iterator[Section | Moment]:
    """Yield the files of a text that is called `path`, in their order, and the times between them."""
    current: Section | None = None
    for raw in lines:
        if raw.isspace():
            continue
        if len(raw) > _LONGEST:
            losses[TOO_LONG] += 1
            continue
        said, line = _addressed(raw.rstrip(), path)
        if said != path or line is None:
            path = said
            if current is not None:
                yield current
            current = None
        if not line:
            continue
        kind = _begins(line)
        if current is not None and _goes_on(current, line, kind):
            current.lines.append(line)
            continue
        if current is not None:
            yield current
        current = Section(kind, path, [line]) if kind is not None else None
        if current is None:
            moment = moment_of(line) if len(line) < 200 else None
            if moment is not None:
                yield moment
            else:
                losses[UNKNOWN_LINE] += 1
    if current is not None:
        yield current


def _addressed(line: str, path: str) -> tuple[str, str | None]:
    """Return the path that a line names, else `path`, and what it says of that file; None when it is a heading."""
    if prefixed := _PREFIXED.match(line):
        if prefixed["rest"].strip() or prefixed["path"] == path:
            return prefixed["path"], prefixed["rest"]
        return prefixed["path"], None
    if len(line) < 4096 and (heading := _HEADING.match(line)):
        return heading["any"] or heading["path"], None
    return path, line


def _begins(line: str) -> str | None:
    match = _ANY_BEGINS.match(line)
    return None if match is None or match.lastgroup is None else match.lastgroup.replace("_", "-")


def _goes_on(current: Section, line: str, begins: str | None) -> bool:
    """Say whether a line, which could begin a file of the kind `begins`, belongs to the one before it."""
    if not _GOES_ON[current.kind].match(line):
        return False
    if begins == current.kind:
        # The same file again begins with the same words again.
        return _first_words(line) != current.first_words
    # A row of the table of blocks of pagetypeinfo cannot be told from one of buddyinfo.
    return begins is None or (current.kind, begins) == ("pagetypeinfo", "buddyinfo")


def _first_words(line: str) -> list[str]:
    words = line.split(maxsplit=4)
    return words[:4] if words[0] == "Node" else words[:1]


def named(section: Section) -> tuple[str, str, int | None, int | None] | None:
    """Return a section's kind, its path below /proc, and the process and thread it is of; None when it is not read.

    Two tables look alike: softirqs is the one whose rows are named HI to RCU.
    """
    end = section.path[-256:]
    if section.kind == "by-cpu":
        name = file[1] if (file := _FILE.search(end)) else ""
        first = section.lines[1].split(":")[0].strip() if len(section.lines) > 1 else ""
        alike = "softirqs" if first in ("HI", "TIMER") else "interrupts"
        kind = name if name in ("interrupts", "softirqs") else alike
        return kind, f"/proc/{kind}", None, None
    if section.kind == "pressure":
        resource = _RESOURCE.search(end)
        return "pressure", f"/proc/pressure/{resource[1]}" if resource else "/proc/pressure", None, None
    if section.kind != "task-schedstat":
        return section.kind, f"/proc/{section.kind}", None, None
    return _task(end)


def _task(path: str) -> tuple[str, str, int | None, int | None] | None:
    task = _TASK.search(path)
    if task is None:
        file = _FILE.search(path)
        anonymous = ("task-schedstat", "/proc/PID/schedstat", None, None)
        return anonymous if file and file[1] == "schedstat" else None
    pid, tid = int(task[1]), int(task[2]) if task[2] else None
    thread = f"/task/{tid}" if tid is not None else ""
    return "task-schedstat", f"/proc/{pid}{thread}/schedstat", pid, tid


def moment_of(line: str) -> Moment | None:
    """Return the wall time that a line says: seconds of the epoch, ISO 8601 or what `date` prints; else None.

    A time without a zone is taken to be UTC, as all times of a capture are: only their differences are used.
    """
    if match := _EPOCH.match(line):
        return Moment(int(match[1]) * 1_000_000_000 + int((match[2] or "").ljust(9, "0")))
    if match := _ISO.match(line):
        zone = (match[4] or "Z").strip().replace("UTC", "Z")
        return _moment(f"{match[1]} {match[2]}{zone}", "%Y-%m-%d %H:%M:%S%z", match[3] or "")
    if match := _DATE.match(line):
        return _moment(f"{match[1]} {match[2]}Z", "%b %d %H:%M:%S %Y%z", "")
    return None


def _moment(text: str, layout: str, fraction: str) -> Moment | None:
    try:
        moment = datetime.datetime.strptime(text, layout)
    except ValueError:
        return None
    seconds = (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(seconds=1)
    inside = 0 <= seconds < 9_000_000_000
    return Moment(seconds * 1_000_000_000 + int(fraction.ljust(9, "0"))) if inside else None
