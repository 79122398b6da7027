# SPDX-License-Identifier: Apache-2.0
"""Read KTAP and TAP test results out of messy console text.

The grammar is the kernel's Documentation/dev-tools/ktap.rst; the mess is that of a console: time stamps, messages of
other parts of the kernel in between, lines printed twice or cut in the middle, a panic instead of an end. Nothing
is inferred from silence: a log that ends before its plan is fulfilled is incomplete, whatever it said before.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from git_hmopt.adapters import TestCase

Status = Literal["passed", "failed", "skipped", "crashed"]

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x00")
_SYSLOG = re.compile(r"^(?:[A-Z][a-z]{2} +\d+ [\d:]{8}|\d{4}-\d\d-\d\dT\S+) \S+ kernel: ")
_STAMP = r"\[\s*\d+\.\d{6}\](?:\[\s*[TC]\d+\])?"
_PRINTK = re.compile(rf"^(?:<\d+>)?(?:{_STAMP} ?)?")
_SPLICE = re.compile(rf"(?<=\S)\s*(?={_STAMP} )")

_VERSION = re.compile(r"^(?P<before>[^#]*?)(?P<dialect>K?TAP) version (?P<number>[0-9]{1,9})\s*$")
_SUBTEST = re.compile(r"^\s*# Subtest: (?P<name>.*\S)\s*$")
_PLAN = re.compile(r"^\s*1\.\.(?P<count>[0-9]{1,9})(?:\s*#\s*(?P<note>.*))?\s*$")
_RESULT = re.compile(r"^\s*(?P<ok>ok|not ok)(?: (?P<number>[0-9]{1,9}))?(?P<rest>(?:\s.*)?)$")
_TALLY = re.compile(r"^\s*# (?P<name>.+): pass:\d+ fail:\d+ skip:\d+ total:(?P<total>[0-9]{1,9})\s*$")
_RUNNING = re.compile(r"^\s*# (?P<name>[^\s:]+): ")
_DIRECTIVE = re.compile(r"(?P<word>SKIP|TODO|XFAIL|TIMEOUT|ERROR)(?:PED)?\b\s*:?\s*(?P<text>.*)", re.IGNORECASE)
_EXPECTATION = re.compile(r"(?:EXPECTATION|ASSERTION) FAILED at ")

# What a dying kernel says at the start of a line: panic(), die() of every architecture ("...: 0000 [#1] SMP"),
# BUG(), the sanitizers' and lockdep's "BUG: ", arch/um's fatal faults.
_CRASH = re.compile(
    r"^\s*(?:Kernel panic - not syncing|watchdog: BUG: |BUG: |kernel BUG at |Unable to handle kernel |Oops\b|"
    r"Internal error: |general protection fault|Segfault with no mm|Kernel mode fault at |PANIC: |"
    r"[^#]{0,80}\[#\d+\](?: |$))"
)
# panic() when nothing is left to run: normal after the last test of a kernel without a root file system.
_NO_USER_SPACE = re.compile(r"^\s*Kernel panic - not syncing: (?:VFS: |No working init found|No init found)")
_COMPLAINT = re.compile(r"^\s*(?P<what>WARNING: .*|UBSAN: .*|INFO: (?:task|rcu|possible|trying) .*|rcu: INFO: .*)")
_BAIL = re.compile(r"^\s*Bail out!\s*(?P<reason>.*)$")
_EXECUTOR = re.compile(r"^\s*kunit executor: (?P<reason>.*)$")
_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+", re.IGNORECASE)

_DETAIL_LINES = 6
_DETAIL_LENGTH = 500


@dataclass(frozen=True)
class KtapLog:
    """What a log says about the tests in it."""

    cases: tuple[TestCase, ...]
    """The leaves, named `suite.test`; the test that was running when the log broke off is `crashed`."""
    complete: bool
    """Whether every plan in it was fulfilled."""
    failure: str | None
    """One line: why this log is no success; None when all is well."""
    complaints: tuple[str, ...] = ()
    """Warnings the kernel printed and survived, without their numbers, so that two logs can be compared."""
    ignored: Mapping[str, int] = field(default_factory=dict)
    """Lines that were not used, counted by reason."""


def parse_ktap(data: bytes, *, numbered: bool = True, plan_required: bool = True) -> KtapLog:
    """Return what the console text `data` says; never raises, whatever it holds.

    `numbered=False` accepts results without a number, which TAP allows and KTAP does not. Without a plan around all
    nobody can tell that the last tests are missing: `plan_required=False` accepts that (suites loaded as modules).
    """
    lines = list(_lines(data))
    start = next((index for index, line in enumerate(lines) if _VERSION.match(line)), None)
    if start is None:
        # TAP without a version line; a kernel always prints one.
        begins = (index for index, line in enumerate(lines) if _PLAN.match(line) or _is_result(line, numbered))
        start = next(begins, len(lines))
    parser = _Parser(numbered=numbered, plan_required=plan_required)
    for index, line in enumerate(lines):
        if index < start:
            parser.ahead(line)
        else:
            parser.take(line)
    return parser.finish()


def _lines(data: bytes) -> Iterator[str]:
    text = _ESCAPES.sub("", data.decode("utf-8", errors="replace"))
    for raw in text.replace("\r", "\n").split("\n") if "\n" not in text else text.split("\n"):
        # A message that starts with its stamp in the middle of a line has cut that line in two.
        for part in _SPLICE.split(_SYSLOG.sub("", raw.rstrip("\r"))):
            line = _PRINTK.sub("", part, count=1).expandtabs(4).rstrip()
            if line:
                yield line


def _is_result(line: str, numbered: bool) -> bool:
    found = _RESULT.match(line)
    return found is not None and (found["number"] is not None or not numbered)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


@dataclass
class _Level:
    """One list of results: the whole log, a suite, or the parameters of a test."""

    indent: int
    name: str | None = None
    planned: int | None = None
    results: dict[tuple[int, str, str], None] = field(default_factory=dict)
    """Number, name and word (`ok`, `not ok`) of each result so far, in order."""
    last: int = 0
    """The number of the latest result."""
    cases: list[TestCase] = field(default_factory=list)
    tally: int | None = None
    """How many results the suite says it had; what stands in for a plan when there is none."""

    @property
    def missing(self) -> int:
        expected = self.planned if self.planned is not None else self.tally
        return 0 if expected is None else max(0, expected - len(self.results))


class _Parser:
    """Keeps a stack of open levels by indentation; a result closes the deeper level that is its own."""

    def __init__(self, *, numbered: bool, plan_required: bool) -> None:
        self._numbered = numbered
        self._plan_required = plan_required
        self._stack: list[_Level] = []
        self._cases: list[TestCase] = []
        self._since: list[str] = []  # output since the last result, for the detail of the next
        self._problems: list[str] = []
        self._crash: str | None = None
        self._crash_in: str | None = None
        self._stack_dump = False
        self._complaints: dict[str, None] = {}
        self._ignored: Counter[str] = Counter()
        self._roots = 0
        self._empty_plan: str | None = None
        self._executor: str | None = None
        self._bail: str | None = None
        self._last = ""

    def ahead(self, line: str) -> None:
        """Take a line before the first result: only what explains a missing log is of interest."""
        self._last = line.strip()
        if not self._watch(line):
            self._ignored["before the first result"] += 1

    def take(self, line: str) -> None:
        """Take one line of the log proper."""
        if self._bail is not None:
            self._ignored["after Bail out!"] += 1
        elif found := _VERSION.match(line):
            self._version(found)
        elif found := _SUBTEST.match(line):
            self._subtest(_indent(line), found["name"])
        elif found := _PLAN.match(line):
            self._plan(_indent(line), int(found["count"]), found["note"] or "")
        elif (found := _RESULT.match(line)) and (found["number"] or not self._numbered):
            self._result(_indent(line), found)
        elif found := _BAIL.match(line):
            self._bail = found["reason"] or "no reason given"
        elif not self._watch(line):
            self._other(line)

    # --- the four kinds of line

    def _version(self, found: re.Match[str]) -> None:
        number, dialect = int(found["number"]), found["dialect"]
        if number > (1 if dialect == "KTAP" else 14):
            self._problems.append(f"the log is {dialect} version {number}, newer than this parser")
        # Text without a line end may stand before it; what can be known then is that it is a new list.
        indent = len(found["before"]) if not found["before"].strip() else self._outer_indent()
        top = self._top()
        if top and indent == top.indent and not top.results:
            self._ignored["printed twice"] += 1
        elif top is None or indent > top.indent:
            self._open(indent)
        else:
            self._close_down_to(indent)
            self._open(indent)

    def _subtest(self, indent: int, name: str) -> None:
        top = self._top()
        if top and indent == top.indent and not top.results and top.name in (None, name):
            top.name = name
            return
        if top and indent == top.indent and top.name == name and top.planned != len(top.results):
            self._ignored["printed twice"] += 1
            return
        if top and indent <= top.indent:
            self._close_down_to(indent)
        self._open(indent).name = name

    def _plan(self, indent: int, count: int, note: str) -> None:
        level = next((level for level in reversed(self._stack) if level.indent == indent), None)
        if level is None and not self._stack:
            level = self._open(indent)
        if level is None:
            self._ignored["plan of no list"] += 1
        elif level.planned is None:
            level.planned = count
            if count == 0:
                self._empty_plan = note
        elif level.planned == count:
            self._ignored["printed twice"] += 1
        else:
            self._problems.append(f"{self._called(level)} has two plans, 1..{level.planned} and 1..{count}")

    def _result(self, indent: int, found: re.Match[str]) -> None:
        level, children = self._level_of(indent)
        name, directive, text = _split(found["rest"])
        number = int(found["number"] or level.last + 1)
        if (number, name, found["ok"]) in level.results:
            self._ignored["printed twice"] += 1
            return
        if children and children.name is not None and not _same_name(children.name, name):
            self._lost(children)
            children = None
        said, name = name, name or (children.name if children and children.name else f"test {number}")
        self._check_number(level, number)
        level.results[number, said, found["ok"]] = None
        level.last = number
        if children and (children.missing or not children.results):
            self._check_children(children, name)
        status = _status(found["ok"], directive)
        leaves = self._leaves(name, status, text, children)
        if self._crash and self._crash_in is None:
            # The kernel reported a bug while this test ran; that it went on to say "ok" does not undo it.
            leaves[-1] = TestCase(leaves[-1].name, "crashed", self._crash)
            self._crash_in = ".".join([*(above.name for above in self._stack if above.name), leaves[-1].name])
        level.cases.extend(leaves)
        self._since.clear()

    def _other(self, line: str) -> None:
        if found := _TALLY.match(line):
            top = self._top()
            if top and top.name == found["name"]:
                top.tally = int(found["total"])
        elif found := _EXECUTOR.match(line):
            self._executor = found["reason"]
        else:
            self._ignored["other output"] += 1
        if line.strip() in ("Call Trace:", "Call trace:", "Stack:"):
            self._stack_dump = True
        self._since.append(line.strip())
        del self._since[:-50]

    # --- levels

    def _top(self) -> _Level | None:
        return self._stack[-1] if self._stack else None

    def _outer_indent(self) -> int:
        return self._stack[0].indent if self._stack else 0

    def _open(self, indent: int) -> _Level:
        level = _Level(indent)
        if not self._stack:
            self._roots += 1
        self._stack.append(level)
        return level

    def _level_of(self, indent: int) -> tuple[_Level, _Level | None]:
        """Return the level a result at `indent` belongs to, and the one below it that the result closes."""
        children: _Level | None = None
        while self._stack and self._stack[-1].indent > indent:
            if children is not None:
                self._lost(children)
            children = self._stack.pop()
        top = self._top()
        if top is None or top.indent < indent:
            # Its header was lost or, for a module loaded later, never printed (lib/kunit/test.c before 6.2).
            return self._open(indent), children
        return top, children

    def _close_down_to(self, indent: int) -> None:
        while self._stack and self._stack[-1].indent >= indent:
            level = self._stack.pop()
            if self._stack:
                self._lost(level)
            else:
                self._finish_root(level)

    def _finish_root(self, level: _Level) -> None:
        if level.missing:
            self._problems.append(self._shortfall(level))
        if self._plan_required and level.planned is None:
            self._problems.append("the outermost list has no plan (1..N), tests may be missing from its end")
        self._cases.extend(_prefixed(f"{level.name}." if level.name else "", level.cases))

    def _lost(self, level: _Level) -> None:
        """Close a level whose own result never came, into the level above it."""
        name = level.name or "unnamed list"
        seen = f"{len(level.results)} of {level.planned}" if level.planned is not None else str(len(level.results))
        self._problems.append(f"'{name}' has no result of its own ({seen} tests seen)")
        above = self._stack[-1].cases if self._stack else self._cases
        above.extend(_prefixed(f"{name}.", level.cases))
        running = self._running(level)
        above.append(
            TestCase(f"{name}.{running}" if running else name, "crashed", self._crash or "no result in the log")
        )

    # --- checks

    def _check_number(self, level: _Level, number: int) -> None:
        expected = level.last + 1
        # A list without a plan is that of a suite loaded on its own, whose counter runs on over modules.
        if number > expected and (level.planned is not None or level.results or len(self._stack) > 1):
            gone = str(expected) if number == expected + 1 else f"{expected} to {number - 1}"
            self._problems.append(f"result {gone} of {self._called(level)} is missing")
        elif number < expected:
            self._problems.append(f"result {number} of {self._called(level)} comes after result {expected - 1}")

    def _check_children(self, children: _Level, name: str) -> None:
        children.name = children.name or name
        if children.missing:
            self._problems.append(self._shortfall(children))

    def _shortfall(self, level: _Level) -> str:
        expected = level.planned if level.planned is not None else level.tally
        return f"only {len(level.results)} of {expected} results of {self._called(level)} came"

    def _called(self, level: _Level) -> str:
        return (
            f"'{level.name}'"
            if level.name
            else ("the log" if level in self._stack[:1] or not self._stack else "a list")
        )

    def _running(self, level: _Level) -> str | None:
        """Return the name of the test that was running in `level`, or None when all of them had ended."""
        if level.planned is not None and len(level.results) >= level.planned:
            return None
        ended = {level.name, *(name for _, name, _ in level.results)}
        for line in reversed(self._since):
            found = _RUNNING.match(line)
            if found and found["name"] not in ended:
                return found["name"]
        return f"test {level.last + 1}"

    def _leaves(self, name: str, status: Status, text: str, children: _Level | None) -> list[TestCase]:
        if children is None or not children.cases:
            empty = "no test in it ran" if children is not None and status == "passed" else ""
            return [TestCase(name, status, text or empty or self._detail(status))]
        leaves = _prefixed(f"{name}.", children.cases)
        if status == "failed" and not any(leaf.status in ("failed", "crashed") for leaf in leaves):
            leaves.append(TestCase(name, "failed", text or self._detail(status) or "failed though its tests passed"))
        return leaves

    def _detail(self, status: Status) -> str:
        if status != "failed":
            return ""
        first = next((index for index, line in enumerate(self._since) if _EXPECTATION.search(line)), None)
        lines = self._since[-_DETAIL_LINES:] if first is None else self._since[first : first + _DETAIL_LINES]
        return " | ".join(line.removeprefix("# ") for line in lines)[:_DETAIL_LENGTH]

    def _watch(self, line: str) -> bool:
        """Note a crash or a complaint; return whether the line was one."""
        if found := _COMPLAINT.match(line):
            self._complaints.setdefault(_NUMBERS.sub("N", found["what"]))
            return True
        if not _CRASH.match(line):
            return False
        if _NO_USER_SPACE.match(line) and self._fulfilled():
            return True
        if self._crash is None:
            self._crash = line.strip()[:200]
        return True

    def _fulfilled(self) -> bool:
        return len(self._stack) == 1 and bool(self._stack[0].results) and not self._stack[0].missing

    # --- the end

    def finish(self) -> KtapLog:
        """Close what is open and say what the log amounts to."""
        unfinished = self._unfinished()
        while len(self._stack) > 1:
            level = self._stack.pop()
            self._stack[-1].cases.extend(_prefixed(f"{level.name or 'unnamed list'}.", level.cases))
        if self._stack:
            self._finish_root(self._stack.pop())
        if unfinished:
            self._cases.append(unfinished)
        complete = unfinished is None and self._bail is None and self._roots > 0 and not self._problems
        return KtapLog(
            cases=tuple(self._cases),
            complete=complete,
            failure=self._failure(unfinished),
            complaints=tuple(self._complaints),
            ignored=dict(self._ignored),
        )

    def _unfinished(self) -> TestCase | None:
        """Return the test that was running when the log ended, None when every list had ended."""
        if not self._stack:
            return None
        root = self._stack[0]
        begun = root.planned is not None or root.results
        # A suite that was loaded as a module is indented, and its own result follows it.
        waits = root.name is not None and root.indent > 0
        if len(self._stack) == 1 and begun and not root.missing and not waits:
            return None
        names = [level.name for level in self._stack if level.name]
        running = self._running(self._stack[-1])
        name = ".".join([*names, running] if running else names)
        top = self._stack[-1]
        seen = f"{len(top.results)} of {top.planned}" if top.planned is not None else str(len(top.results))
        dump = " and a stack dump" if self._stack_dump else ""
        return TestCase(name, "crashed", self._crash or self._bail or f"the log ends here, after {seen} results{dump}")

    def _failure(self, unfinished: TestCase | None) -> str | None:
        if self._roots == 0:
            return self._nothing()
        running = self._crash_in or (unfinished.name if unfinished else None)
        at = f" while '{running}' ran" if running else ""
        if self._crash:
            return f"the kernel crashed{at}: {self._crash}"
        if self._bail is not None:
            return f"the tests bailed out{at}: {self._bail}"
        if unfinished:
            return f"the log ends{at}; {unfinished.detail}"
        if self._problems:
            more = f" (and {len(self._problems) - 1} more problems)" if len(self._problems) > 1 else ""
            return f"the log is not whole: {self._problems[0]}{more}"
        bad = [case.name for case in self._cases if case.status in ("failed", "crashed")]
        if bad:
            return f"{len(bad)} of {len(self._cases)} tests failed: {_some(bad)}"
        if not self._cases and not self._empty_plan:
            return "no test ran: the log holds an empty plan" + self._because()
        return None

    def _nothing(self) -> str:
        if self._crash:
            return f"the kernel crashed before the first test: {self._crash}"
        if self._bail is not None:
            return f"the tests bailed out before the first test: {self._bail}"
        last = f"; it ends with: {self._last[:200]}" if self._last else ": it is empty"
        return f"no KTAP in the log, the tests never started{self._because()}{last}"

    def _because(self) -> str:
        return f" (kunit executor: {self._executor})" if self._executor else ""


def _split(rest: str) -> tuple[str, str | None, str]:
    """Return name, directive and its text from what follows a result's number."""
    description, mark, note = rest.partition(" # ")
    if not mark and rest.endswith(" #"):
        description = rest[:-2]
    name = description.strip()
    name = name[2:].lstrip() if name.startswith("- ") else "" if name == "-" else name
    found = _DIRECTIVE.match(note)
    if not found:
        return name, None, note.strip()
    return name, found["word"].upper(), found["text"].strip()


def _status(word: str, directive: str | None) -> Status:
    if directive in ("SKIP", "TODO"):
        return "skipped"
    if directive == "XFAIL":
        # Expected to fail: as good as skipped, unless it is not even reported so ("not ok" stays a failure).
        return "skipped" if word == "ok" else "failed"
    if directive in ("TIMEOUT", "ERROR"):
        return "failed"
    return "passed" if word == "ok" else "failed"


def _same_name(header: str, result: str) -> bool:
    # A result cut in the middle of its name still closes its list.
    return header == result or (result != "" and header.startswith(result)) or result == ""


def _prefixed(prefix: str, cases: Sequence[TestCase]) -> list[TestCase]:
    return [TestCase(prefix + case.name, case.status, case.detail) for case in cases]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
