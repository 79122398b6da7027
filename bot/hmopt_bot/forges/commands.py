# SPDX-License-Identifier: Apache-2.0
"""`/hmopt` commands in a comment: what was asked, by whom, about which head; what was not understood is answered too.

A command is a line that begins with `/hmopt`. Lines in code, in HTML or in an HTML comment are none, nor is a quoted
one, which begins with `>`. Below a quote without an empty line between, Markdown shows a line as if it were quoted;
its author wrote it all the same, and it counts.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from markdown_it import MarkdownIt

from git_hmopt.config.document import printable
from git_hmopt.records.words import Oid

WORD = "/hmopt"
MOST = 10
"""Commands that are read of one comment."""
_READ = 262_144
"""Characters that are read of a comment: no forge takes more."""
_REASON = 500
_SHOWN = 60
# As .hmopt.yaml names workloads.
_WORKLOAD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Blocks only: what stands inside of a line is of no interest, and costs the most.
_MARKDOWN = MarkdownIt("commonmark").disable("inline")
_NOT_TYPED = frozenset({"fence", "code_block", "html_block"})


class Kind(StrEnum):
    """What can be asked."""

    CHECK = "check"
    OPTIMIZE = "optimize"
    PROPOSE = "propose"
    EXPLAIN = "explain"
    RERUN = "rerun"
    INVALID = "invalid"
    STOP = "stop"
    HELP = "help"


USAGE: dict[Kind, tuple[str, str]] = {
    Kind.CHECK: ("[workload]", "measure the pull request against its base"),
    Kind.OPTIMIZE: ("[workload]", "look for faster code on top of the pull request"),
    Kind.PROPOSE: ("", "open what was found and confirmed as a draft pull request"),
    Kind.EXPLAIN: ("", "show the evidence behind the last answer"),
    Kind.RERUN: ("", "do the last measurement again"),
    Kind.INVALID: ("<reason>", "retract the last verdict, and count it as a false one"),
    Kind.STOP: ("", "stop what runs for this pull request"),
    Kind.HELP: ("", "show this list"),
}


@dataclass(frozen=True)
class Asked:
    """Who wrote a line, in which comment, and the head that its author saw: it is about that one and no later one."""

    author: str
    comment_id: int
    head: Oid


@dataclass(frozen=True)
class Command:
    """Something asked for; `argument` is a workload's name, or the reason of `invalid`, cleaned."""

    kind: Kind
    argument: str | None
    asked: Asked


@dataclass(frozen=True)
class Misunderstood:
    """A command that is none: what was written (as it may be shown in Markdown), why, and what may have been meant."""

    written: str
    why: str
    nearest: Kind | None
    asked: Asked


def commands(body: str, asked: Asked) -> tuple[Command | Misunderstood, ...]:
    """Return what a comment asks, in its order; what is asked twice is done once."""
    found: list[Command | Misunderstood] = []
    for written in _lines(body):
        one = _command(written, asked)
        if one in found:
            continue
        if len(found) == MOST:
            why = f"a comment may hold {MOST} commands; this one and those below it were not read"
            return (*found, Misunderstood(_quoted(written), why, None, asked))
        found.append(one)
    return tuple(found)


def help_text(about: Misunderstood | None = None) -> str:
    """Return the list of commands as Markdown, after what was not understood."""
    told = []
    if about:
        told.append(f"{about.written} was not understood: {about.why}.")
        if about.nearest:
            told.append(f"Did you mean `{_usage(about.nearest)}`?")
        told.append("")
    told += ["| command | what it does |", "| --- | --- |"]
    told += [f"| `{_usage(kind)}` | {does} |" for kind, (_, does) in USAGE.items()]
    return "\n".join(told)


def _usage(kind: Kind) -> str:
    return f"{WORD} {kind} {USAGE[kind][0]}".rstrip()


def _lines(body: str) -> Iterator[str]:
    """Yield the lines that begin with the word and that their author typed and showed as text."""
    text = body[:_READ].replace("\r\n", "\n").replace("\r", "\n")
    if not any(map(_begins, text.split("\n"))):
        return
    lines = text.split("\n")
    for token in _MARKDOWN.parse(text):
        if token.type in _NOT_TYPED and token.map:
            first, last = token.map
            lines[first:last] = [""] * (last - first)
    yield from filter(_begins, _without_hidden("\n".join(lines)).split("\n"))


def _begins(line: str) -> bool:
    word, _, _ = line[: len(WORD) + 1].replace("\t", " ").partition(" ")
    return word.lower() == WORD


def _without_hidden(text: str) -> str:
    """Return text without HTML comments; one that does not end is no comment (CommonMark 0.31, 6.6)."""
    kept, place = [], 0
    while (begin := text.find("<!--", place)) >= 0 and (end := text.find("-->", begin)) >= 0:
        kept.append(text[place:begin])
        place = end + len("-->")
    # What stands behind a comment does not begin its line.
    return " ".join([*kept, text[place:]])


def _command(line: str, asked: Asked) -> Command | Misunderstood:
    words = line.split(maxsplit=2)[1:]
    if not words:
        return Command(Kind.HELP, None, asked)
    name, rest = words[0].lower(), words[1].strip() if len(words) > 1 else ""
    try:
        kind = Kind(name)
    except ValueError:
        near = difflib.get_close_matches(name[:_SHOWN], [one.value for one in Kind], n=1)
        return Misunderstood(_quoted(line), "there is no such command", Kind(near[0]) if near else None, asked)
    why, argument = _argument(kind, rest)
    return Misunderstood(_quoted(line), why, kind, asked) if why else Command(kind, argument, asked)


def _argument(kind: Kind, rest: str) -> tuple[str, str | None]:
    """Return what is wrong with what stands behind a command, and what it is."""
    if kind is Kind.INVALID:
        reason = printable(" ".join(rest[: 4 * _REASON].split()))[:_REASON]
        return ("", reason) if reason else ("it needs a reason", None)
    if not rest:
        return "", None
    if not USAGE[kind][0]:
        return "nothing can stand behind it", None
    if not _WORKLOAD.fullmatch(rest):
        return "what stands behind it is not one workload's name", None
    return "", rest


def _quoted(line: str) -> str:
    """Return what somebody wrote as a code span: no link, no mention, no HTML, no end of its line."""
    shown = printable(" ".join(line[: 4 * _SHOWN].split())).replace("`", "'").replace("|", "¦")
    return f"`{shown if len(shown) <= _SHOWN else shown[: _SHOWN - 3] + '...'}`"
