# SPDX-License-Identifier: Apache-2.0
"""What a kernel with the `common` overlay is asked on its command line, and what it answers on its console."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from git_hmopt.adapters import OutputCheck, WorkCase
from git_hmopt.errors import MeasurementError
from hmopt_adapters.console import last_line

# x86 cuts its command line at 2048 bytes, and hmopt_core.c takes 128 cases.
CASES_PER_BOOT = 48
CONSOLE_LIMIT_BYTES = 16 * 1024 * 1024
"""A guest that prints more is caught in a loop; a boot prints some 20 KB, one with all of KUnit's suites some 100."""
_LINE = re.compile(
    rb"hmopt: (?P<what>begin|end|done|output|mismatch) (?P<suite>\S+)"
    rb"(?: ns=(?P<ns>\d+))?"
    rb"(?: seed=(?P<seed>\d+) size=(?P<size>\d+) offset=(?P<offset>\d+)"
    rb"(?: digest=(?P<digest>[0-9a-f]{16})(?![0-9a-f]))?)?"
)
_DEATH = re.compile(
    rb"(Kernel panic[^\r\n]*|BUG: [^\r\n]*|Oops[^\r\n]*|Unable to handle[^\r\n]*|Segfault with no mm[^\r\n]*)"
)


@dataclass
class GuestLog:
    """What one boot said about one suite."""

    begun_ns: int | None = None
    """The host's clock when the begin line arrived: that of the latest window."""
    ended_ns: int | None = None
    guest_ns: int | None = None
    """The window by the guest's own clock: a cross-check, never the measurement."""
    outputs: dict[tuple[int, int, int], str] = field(default_factory=dict)
    """Digest by (seed, size, offset)."""
    mismatches: list[str] = field(default_factory=list)
    windows: int = 0
    """How often a window was entered: more than once, and none of them can be trusted."""
    done: bool = False
    panic: str | None = None
    """The first thing a dying kernel said before the suite was done."""

    @property
    def begun(self) -> bool:
        """Say whether the window was entered."""
        return self.begun_ns is not None

    @property
    def ended(self) -> bool:
        """Say whether the window was left."""
        return self.ended_ns is not None


class GuestListener:
    """Collects a suite's lines as they arrive; made to be a runner's `on_line`."""

    def __init__(self, suite: str) -> None:
        self._suite = suite.encode()
        self.log = GuestLog()

    def __call__(self, line: bytes, arrived_ns: int) -> None:
        """Take one console line and the host's clock when it came."""
        found = _LINE.search(line)
        if found is None or found["suite"] != self._suite:
            death = _DEATH.search(line)
            # What comes after the suite (no root file system, for one) is not its doing.
            if death and self.log.panic is None and not self.log.done:
                self.log.panic = death[0].decode(errors="replace")
            return
        what = found["what"]
        if what == b"begin":
            self._begin(arrived_ns)
        elif what == b"end" and self.log.begun:
            self.log.ended_ns = arrived_ns
            self.log.guest_ns = int(found["ns"]) if found["ns"] else None
        elif what == b"done":
            self.log.done = True
        elif what == b"output" and found["digest"]:
            self._output((int(found["seed"]), int(found["size"]), int(found["offset"])), found["digest"].decode())
        elif what == b"mismatch":
            self.log.mismatches.append(line[found.start() :].decode(errors="replace"))

    def _begin(self, arrived_ns: int) -> None:
        self.log.windows += 1
        self.log.begun_ns = arrived_ns
        self.log.ended_ns = self.log.guest_ns = None

    def _output(self, case: tuple[int, int, int], digest: str) -> None:
        before = self.log.outputs.setdefault(case, digest)
        if before != digest:
            seed, size, offset = case
            self.log.mismatches.append(f"two answers to seed={seed} size={size} offset={offset}: {before}, {digest}")


def parse_guest(lines: Iterable[bytes], suite: str) -> GuestLog:
    """Read a recorded console log; arrival times are line numbers."""
    listener = GuestListener(suite)
    for number, line in enumerate(lines):
        listener(line, number)
    return listener.log


def command_line(suite: str, case: WorkCase) -> list[str]:
    """Return the kernel arguments for one measured window."""
    return [
        *_suite_arguments(suite),
        f"hmopt.seed={case.seed}",
        f"hmopt.size={case.size}",
        f"hmopt.offset={case.offset}",
        f"hmopt.reps={case.repetitions}",
    ]


def command_line_checks(suite: str, cases: Sequence[WorkCase]) -> list[str]:
    """Return the kernel arguments that make the suite answer each case once."""
    listed = ",".join(f"{c.seed}:{c.size}:{c.offset}:{c.repetitions}" for c in cases)
    return [*_suite_arguments(suite), f"hmopt.cases={listed}"]


def _suite_arguments(suite: str) -> list[str]:
    return ["kunit.enable=1", f"kunit.filter_glob={suite}"]


def checked_in_boots(cases: Sequence[WorkCase], check: Callable[[Sequence[WorkCase]], OutputCheck]) -> OutputCheck:
    """Check the cases CASES_PER_BOOT at a time, which `check` does in one boot, and put the answers together."""
    parts = [check(cases[start : start + CASES_PER_BOOT]) for start in range(0, len(cases), CASES_PER_BOOT)]
    return OutputCheck(
        digests={case: digest for part in parts for case, digest in part.digests.items()},
        failures=tuple(failure for part in parts for failure in part.failures),
        log=b"".join(part.log for part in parts),
    )


def collect_outputs(
    log: GuestLog, cases: Sequence[WorkCase], console: bytes, *, endless: str | None = None
) -> OutputCheck:
    """Turn one boot's answers into an OutputCheck; what is missing is a failure with its reason.

    `endless` says why a boot that did not end by itself was ended.
    """
    digests = {}
    failures = [*([endless] if endless else []), *log.mismatches]
    for case in cases:
        digest = log.outputs.get((case.seed, case.size, case.offset))
        if digest is None:
            why = log.panic or ("the suite ended without it" if log.done else "the log ends before it")
            failures.append(f"no output for seed={case.seed} size={case.size} offset={case.offset}: {why}")
        else:
            digests[case] = digest
    if len(digests) == len(set(cases)) and not log.done:
        failures.append(f"all cases were answered, but the suite did not reach its end: {log.panic or 'the log ends'}")
    elif len(digests) == len(set(cases)) and log.panic:
        failures.append(f"all cases were answered, but the kernel reported: {log.panic}")
    return OutputCheck(digests=digests, failures=tuple(failures), log=console)


def require_window(log: GuestLog, suite: str, console: bytes) -> None:
    """Raise MeasurementError unless a whole window and the suite's end were seen, and nothing that kills a kernel."""
    if log.ended and log.done and not log.mismatches and log.windows == 1 and not log.panic:
        return
    if log.panic:
        why = log.panic
    elif log.mismatches:
        why = log.mismatches[0]
    elif not log.begun:
        why = "its window never began (is the suite built in?)"
    elif log.windows > 1:
        why = f"its window began {log.windows} times"
    elif not log.ended:
        why = "the log ends inside its window"
    else:
        why = "the suite did not reach its end"
    raise MeasurementError(f"suite {suite}: {why}; last console line: {last_line(console)!r}")
