# SPDX-License-Identifier: Apache-2.0
"""What a candidate may not do, by named rules that are checked before anything is built.

Tests alone do not stop a patch that optimises the measurement instead of the code (PRACTICE: memoising on the input's
address, recognising the benchmark's thread, replaying after N repetitions). Files and added lines are looked at; the
rest is stopped by fresh seeds. A rule would rather refuse a fair patch, and say why, than let such a one through.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from git_hmopt.config.schema import Policy
from git_hmopt.errors import PatchError

REGULAR_MODES = ("100644", "100755")
ABSENT_MODES = (None, "000000")


@dataclass(frozen=True)
class Change:
    """One path of a candidate as git's raw diff gives it: modes are six octal digits, None or 000000 where absent."""

    path: str
    old_mode: str | None
    new_mode: str | None
    old_path: str | None = None
    """The source of a rename or copy."""
    binary: bool = False

    @property
    def paths(self) -> tuple[str, ...]:
        """Return every path it touches."""
        return (self.path,) if self.old_path in (None, self.path) else (self.path, str(self.old_path))


@dataclass(frozen=True)
class Violation:
    """A broken rule: where, and what exactly. `line` is of the new file."""

    rule: str
    path: str
    line: int | None
    detail: str

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else self.path
        return f"{where}: {self.detail}" if where else self.detail


@dataclass(frozen=True)
class Line:
    """An added line of a diff and its number in the new file."""

    path: str
    number: int
    text: str


@dataclass(frozen=True)
class DiffText:
    """What a unified diff adds and removes."""

    paths: frozenset[str]
    added: tuple[Line, ...]
    removed: tuple[tuple[str, str], ...]
    """Path and text."""
    binary: frozenset[str]


@dataclass(frozen=True)
class _Proposal:
    changes: tuple[Change, ...]
    diff: DiffText
    policy: Policy
    overlays: tuple[str, ...]
    symbols: tuple[str, ...]

    def paths(self) -> Iterator[str]:
        for change in self.changes:
            yield from change.paths


def check_policy(
    changes: Sequence[Change],
    diff: str,
    policy: Policy,
    *,
    overlays: Collection[str] = (),
    symbols: Collection[str] = (),
) -> Violation | None:
    """Return the first rule a candidate breaks, in the order of `RULES`, or None.

    `diff` is its unified diff; `overlays` are the paths (files or directories) that workload overlays put into the
    tree; `symbols` are further names that only the workload uses. PatchError when the diff cannot be read.
    """
    proposal = _Proposal(tuple(changes), read_diff(diff), policy, tuple(overlays), tuple(symbols))
    return _first(RULES, proposal)


def closed(path: str, policy: Policy, *, overlays: Collection[str] = ()) -> Violation | None:
    """Return the rule that any change of a file would break, or None: the rules of `PATH_RULES`."""
    change = Change(path, old_mode=REGULAR_MODES[0], new_mode=REGULAR_MODES[0])
    return _first(PATH_RULES, _Proposal((change,), read_diff(""), policy, tuple(overlays), ()))


def _first(rules: Sequence[tuple[str, _Rule]], proposal: _Proposal) -> Violation | None:
    for name, rule in rules:
        found = rule(proposal)
        if found:
            path, line, detail = found
            return Violation(name, path, line, detail)
    return None


def read_diff(diff: str) -> DiffText:
    """Read a unified diff, git's or plain; PatchError names the line that is none."""
    reader = _DiffReader()
    # Not splitlines(): a form feed or U+2028 inside a source line is no line end.
    for number, text in enumerate(diff.removesuffix("\n").split("\n") if diff else [], 1):
        reader.feed(number, text)
    return reader.finish()


class _DiffReader:
    """Follows the hunks' own line counts, so that an added line `++ x` is not taken for a header."""

    def __init__(self) -> None:
        self._paths: set[str] = set()
        self._added: list[Line] = []
        self._removed: list[tuple[str, str]] = []
        self._binary: set[str] = set()
        self._path = ""
        self._old_left = self._new_left = self._number = 0

    def feed(self, number: int, text: str) -> None:
        if self._old_left or self._new_left:
            self._in_hunk(number, text)
        elif text.startswith("@@ "):
            self._open_hunk(number, text)
        elif text.startswith("diff --git "):
            same = re.fullmatch(r'diff --git (?:a/(.+) b/\1|("a/.+") "b/.+")', text)
            self._path = _file_name(same[1] or same[2], strip=bool(same[2])) if same else ""
            self._note_path()
        elif text.startswith(("--- ", "+++ ")):
            name = text[4:].split("\t")[0]
            if name != "/dev/null":
                self._path = _file_name(name, strip=True)
                self._note_path()
        elif text.startswith(("rename to ", "copy to ", "rename from ", "copy from ")):
            self._path = _file_name(text.split(" ", 2)[2], strip=False)
            self._note_path()
        elif text.startswith(("GIT binary patch", "Binary files ")):
            self._binary.add(self._path)

    def finish(self) -> DiffText:
        if self._old_left or self._new_left:
            raise PatchError(f"the diff ends inside a hunk of {self._path}", next_step="make the diff again")
        return DiffText(frozenset(self._paths), tuple(self._added), tuple(self._removed), frozenset(self._binary))

    def _note_path(self) -> None:
        if self._path:
            self._paths.add(self._path)

    def _open_hunk(self, number: int, text: str) -> None:
        head = re.match(r"@@ -\d+(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", text)
        if not head or not self._path:
            raise PatchError(f"line {number} of the diff is no hunk header: {text[:60]}")
        self._old_left, self._new_left = int(head[1] or 1), int(head[3] or 1)
        self._number = int(head[2])

    def _in_hunk(self, number: int, text: str) -> None:
        sign = text[:1]
        if sign == "+":
            self._added.append(Line(self._path, self._number, text[1:]))
        elif sign == "-":
            self._removed.append((self._path, text[1:]))
        elif sign not in (" ", "", "\\"):
            raise PatchError(f"line {number} of the diff is in a hunk but has no sign: {text[:60]}")
        if sign in ("+", " ", ""):
            self._new_left -= 1
            self._number += 1
        if sign in ("-", " ", ""):
            self._old_left -= 1
        if self._new_left < 0 or self._old_left < 0:
            raise PatchError(f"line {number} of the diff is one more than its hunk has")


def _file_name(name: str, *, strip: bool) -> str:
    """Return a path of a diff header: git's C-style quotes undone, `a/` or `b/` taken off."""
    if name.startswith('"') and name.endswith('"'):
        # git escapes bytes above 127 in octal; undone, they are UTF-8 again.
        name = name[1:-1].encode("latin-1", "backslashreplace").decode("unicode_escape")
        name = name.encode("latin-1", "replace").decode("utf-8", "surrogateescape")
    return name[2:] if strip and name[:2] in ("a/", "b/") else name


_Found = tuple[str, int | None, str] | None
_Rule = Callable[[_Proposal], _Found]

_TESTS = (
    "tests/*", "*/tests/*", "test/*", "*/test/*", "*_test.[ch]", "*-test.[ch]", "*_tests.[ch]", "*_kunit.[ch]",
    "test_*.[ch]", "*/test_*.[ch]", "*/test-*.[ch]", "tools/testing/*", "*selftest*", "lib/kunit/*",
    "include/kunit/*", "*/bench/*", "*benchmark*", "*_bench.[ch]",
)  # fmt: skip
_TIMEKEEPING = (
    "kernel/time/*", "kernel/sched/clock.c", "lib/vdso/*", "include/vdso/*", "init/calibrate.c", "lib/delay*",
    "lib/*ktime*", "drivers/clocksource/*", "arch/*/vdso/*", "arch/*/time.[ch]", "arch/*/tsc*", "arch/*/delay.*",
    "arch/*/delay_*", "arch/*/timex.h", "arch/*/timer*", "arch/*/arch_timer*", "arch/*/clocksource.h",
    "arch/*/*sched_clock*", "include/linux/time*.h", "include/linux/ktime.h", "include/linux/hrtimer*.h",
    "include/linux/jiffies.h", "include/linux/clocksource*.h", "include/linux/clockchips.h", "include/linux/delay.h",
    "include/linux/sched_clock.h", "include/linux/sched/clock.h", "include/uapi/linux/time*.h",
    "include/asm-generic/delay.h", "include/asm-generic/timex.h", "include/clocksource/*",
)  # fmt: skip
_BUILD_FILES = (
    "Makefile", "Makefile.*", "GNUmakefile", "*.mk", "Kbuild", "Kbuild.*", "Kconfig*", "*.lds", "*.lds.S", "*.lds.h",
    "*_defconfig", ".config", "*.config", "CMakeLists.txt", "*.cmake", "configure",
)  # fmt: skip
_BUILD_LINES = (
    # Layout of data, warnings and loop hints are code; anything else changes options behind the harness's back.
    (
        re.compile(r"\b_?[Pp]ragma\b(?!\s*\(?\s*\"?\s*(pack\b|(GCC|clang)\s+(diagnostic|unroll|ivdep|loop)\b))"),
        "a pragma that sets options",
    ),
    (re.compile(r"\b_*(optimize|target|target_clones)_*\s*\(\s*\""), "an attribute that sets compiler options"),
    (re.compile(r"__attribute__\s*\(\s*\(.*\b_*(optimize|optnone)_*\b"), "an attribute that sets compiler options"),
)
_SPECIAL = (
    (re.compile(r"hmopt", re.IGNORECASE), "names the measurement"),
    (re.compile(r"kunit", re.IGNORECASE), "names the test framework"),
    (re.compile(r"\bcurrent\s*->\s*(comm|pid|tgid|kunit_test)\b|\bget_task_comm\b"), "recognises the running thread"),
    (re.compile(r"\bcurrent\b\s*[!=]=|[!=]=\s*\(?\s*current\b|\bget_current\s*\("), "recognises the running thread"),
    (re.compile(r"\b(get_)?jiffies(_?64)?\b|\bktime_\w*get\w*\b"), "reads a clock"),
    (re.compile(r"\b(get_cycles\w*|rdtscp?\w*|\w*_?sched_clock\w*|local_clock\w*|cpu_clock|getnstimeofday\w*|"
                r"random_get_entropy\w*|__builtin_(ia32_rdtscp?|readcyclecounter)|cnt[vp]ct\w*|__arch_counter_\w+)\b"),
     "reads a clock"),
)  # fmt: skip


_SPLIT_NAME = (re.compile(r"\w\\$"), "splits a word over two lines, which hides it from these rules")


def _outside_tree(proposal: _Proposal) -> _Found:
    for change in proposal.changes:
        for path in change.paths:
            fault = _path_fault(path)
            if fault:
                return path, None, fault
        fault = _mode_fault(change)
        if fault:
            return change.path, None, fault
    # Both ways: the rules below read paths from one and lines from the other.
    if stray := sorted(proposal.diff.paths - set(proposal.paths())):
        return stray[0], None, "the diff touches a path that is not among the candidate's changes"
    if hidden := sorted({change.path for change in proposal.changes} - proposal.diff.paths):
        return hidden[0], None, "the candidate changes a path that its diff does not show"
    return None


def _path_fault(path: str) -> str | None:
    parts = path.split("/")
    # HFS+ and NTFS read some of these as .git too (git's own verify_path refuses them).
    if any(part.rstrip(". ").lower() in (".git", "git~1") for part in parts):
        return "the path leads into git's own directory"
    if any(part in ("", ".", "..") for part in parts):
        return "the path leaves the tree"
    if "\\" in path or any(ord(letter) < 32 or ord(letter) == 127 for letter in path):
        return "the path holds a backslash or a control character"
    return None


def _mode_fault(change: Change) -> str | None:
    for mode in (change.old_mode, change.new_mode):
        if mode not in (*REGULAR_MODES, *ABSENT_MODES):
            return "the file is " + {"120000": "a symbolic link", "160000": "a submodule"}.get(
                str(mode), f"of mode {mode}"
            )
    if change.new_mode in ABSENT_MODES:
        return None
    if change.old_mode in ABSENT_MODES:
        return "a new file is executable" if change.new_mode == "100755" else None
    if change.old_mode != change.new_mode:
        return f"the mode changes from {change.old_mode} to {change.new_mode}"
    return None


def _harness(proposal: _Proposal) -> _Found:
    for path in proposal.paths():
        for overlay in proposal.overlays:
            top = overlay.rstrip("/")
            if path == top or path.startswith(f"{top}/"):
                return path, None, "the file belongs to a workload's overlay"
    return None


def _globbed(globs: Sequence[str], detail: str) -> _Rule:
    def rule(proposal: _Proposal) -> _Found:
        for path in proposal.paths():
            for glob in globs:
                # Case is folded, as the checkout's file system may do.
                if fnmatchcase(path.lower(), glob.lower()):
                    return path, None, f"{detail} ({glob})"
        return None

    return rule


def _build_flags(proposal: _Proposal) -> _Found:
    for path in proposal.paths():
        name = path.rpartition("/")[2]
        if path.startswith("scripts/") or any(fnmatchcase(name, glob) for glob in _BUILD_FILES):
            return path, None, "the file decides how things are built"
    return _matching(proposal, _BUILD_LINES, "the line holds")


def _config_file(proposal: _Proposal) -> _Found:
    for path in proposal.paths():
        if any(part == ".hmopt.yaml" or part.startswith((".git", ".hmopt")) for part in path.split("/")):
            return path, None, "the file configures this tool or git"
    return None


def _protected(proposal: _Proposal) -> _Found:
    for path in proposal.paths():
        for glob in proposal.policy.protect:
            # A directory's name protects what is below it.
            if fnmatchcase(path, glob) or path.startswith(f"{glob.rstrip('/')}/"):
                return path, None, f"policy.protect has '{glob}'"
    return None


def _kind_of_file(proposal: _Proposal) -> _Found:
    for path in proposal.paths():
        if not any(fnmatchcase(path, glob) for glob in proposal.policy.allow):
            return path, None, f"policy.allow has no pattern for it, only: {', '.join(proposal.policy.allow)}"
    return None


def _size(proposal: _Proposal) -> _Found:
    policy, files = proposal.policy, set(proposal.paths())
    if len(files) > policy.max_files:
        return min(files), None, f"{len(files)} files are changed, policy.max_files is {policy.max_files}"
    per_file = Counter(line.path for line in proposal.diff.added) + Counter(p for p, _ in proposal.diff.removed)
    if per_file.total() > policy.max_lines:
        most = max(per_file, key=lambda path: per_file[path])
        return most, None, f"{per_file.total()} lines are changed, policy.max_lines is {policy.max_lines}"
    return None


def _special_casing(proposal: _Proposal) -> _Found:
    symbols = tuple(
        (re.compile(rf"\b{re.escape(symbol)}\b"), "names a symbol of the workload") for symbol in proposal.symbols
    )
    return _matching(proposal, (*_SPECIAL, _SPLIT_NAME, *symbols), "the line")


def _binary(proposal: _Proposal) -> _Found:
    for change in proposal.changes:
        if change.binary or change.path in proposal.diff.binary:
            return change.path, None, "the change is binary and cannot be read"
    return None


def _matching(proposal: _Proposal, patterns: Sequence[tuple[re.Pattern[str], str]], prefix: str) -> _Found:
    """Return the first added line that matches; a line that the diff only moves or indents is not new."""
    moved = Counter((path, _squeezed(text)) for path, text in proposal.diff.removed)
    for line in proposal.diff.added:
        key = line.path, _squeezed(line.text)
        if moved[key]:
            moved[key] -= 1
            continue
        text = _without_comment(line.text)
        for pattern, detail in patterns:
            hit = pattern.search(text)
            if hit:
                return line.path, line.number, f"{prefix} {detail}: {hit[0].strip()}"
    return None


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _without_comment(text: str) -> str:
    """Return a line less its comments, where that is certain from the line alone.

    A quote may make `/*` part of a string, and `//` may stand inside an older comment that ends behind it; such lines
    are left whole.
    """
    if '"' in text or "'" in text:
        return text
    text = re.sub(r"/\*.*?\*/", " ", text)
    return text if "*/" in text else re.sub(r"//.*", "", text)


PATH_RULES: tuple[tuple[str, _Rule], ...] = (
    ("harness", _harness),
    ("tests", _globbed(_TESTS, "the file is a test or benchmark")),
    ("timekeeping", _globbed(_TIMEKEEPING, "the file keeps the time that is measured with")),
    ("build-flags", _build_flags),
    ("config-file", _config_file),
    ("protected", _protected),
)
"""The rules that a path alone can break."""

RULES: tuple[tuple[str, _Rule], ...] = (
    ("outside-tree", _outside_tree),
    *PATH_RULES,
    ("kind-of-file", _kind_of_file),
    ("binary", _binary),
    ("size", _size),
    ("special-casing", _special_casing),
)
"""The rules by name, in the order in which they are asked."""
