# SPDX-License-Identifier: Apache-2.0
"""What `git hmopt check --json` answered, as values and as the parts of a Markdown page.

Symbols, paths and reasons may be of a stranger's making: each is shown in a code span, where no link, mention, HTML or
marking of text begins.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from git_hmopt.config.document import printable
from git_hmopt.errors import CorruptRecordError
from git_hmopt.records.redaction import redact
from git_hmopt.report.facts import DeltaFacts, TouchFacts, read_delta, read_touch
from git_hmopt.report.fields import Fields, MalformedError
from git_hmopt.report.markup import code, table
from git_hmopt.report.wording import UNKNOWN, at_confidence, fit, how_measured, percent, touch_text

WORDS = {0: "no regression", 1: "regressed", 125: "cannot tell"}
"""What an exit code of `git hmopt check` says."""
_TOUCHES = 50
"""So many touched symbols are told of each workload; the JSON has all."""
NAME, REASON = 200, 2_000


@dataclass(frozen=True)
class Touch:
    """Something that head touches, and where it is."""

    file: str
    facts: TouchFacts


@dataclass(frozen=True)
class Workload:
    """One workload's answer."""

    name: str
    answer: int
    verdict: str
    reason: str
    deltas: tuple[DeltaFacts, ...]
    touches: tuple[Touch, ...]


@dataclass(frozen=True)
class Answer:
    """The whole answer: 0 no regression, 1 regressed, 125 cannot tell."""

    base: str
    head: str
    answer: int
    notes: tuple[str, ...]
    workloads: tuple[Workload, ...]


def read_answer(text: str) -> Answer:
    """Return what `git hmopt check --json` printed; CorruptRecordError when it is not that."""
    try:
        whole = Fields.of(json.loads(text), "the answer")
        if whole.whole("v") != 1:
            raise MalformedError("v is not 1")
        check = whole.inner("check")
        workloads = tuple(_workload(one) for one in check.many("workloads"))
        return Answer(check.text("base"), check.text("head"), _code(check), check.texts("notes"), workloads)
    except (ValueError, RecursionError) as error:
        raise CorruptRecordError(f"git hmopt check answered no JSON of version 1: {error}") from error


def _workload(data: Fields) -> Workload:
    return Workload(
        name=data.text("workload"),
        answer=_code(data),
        verdict=data.text("verdict"),
        reason=data.text("reason"),
        deltas=tuple(read_delta(one) for one in data.many("deltas")),
        touches=tuple(Touch(one.text("file"), read_touch(one)) for one in data.many("touches")),
    )


def _code(data: Fields) -> int:
    code = data.whole("answer")
    if code not in WORDS:
        raise MalformedError(f"answer is {code}")
    return code


def verdicts(workloads: Sequence[Workload]) -> str:
    """Return a table of what each workload answers, and why."""
    rows = [
        (span(one.name), f"**{WORDS[one.answer]}**", span(one.verdict), span(one.reason, REASON)) for one in workloads
    ]
    return table(("workload", "answer", "verdict", "reason"), rows)


def listed(notes: Sequence[str]) -> list[str]:
    """Return notes as a list, if there are any."""
    return ["\n".join(f"- note: {span(note, REASON)}" for note in notes)] if notes else []


def measured(one: Workload) -> list[str]:
    """Return by how much a workload's metrics changed, and what of it is touched."""
    parts = []
    if one.deltas:
        rows = [
            (span(delta.metric), span(at_confidence(delta)), how_measured(delta), _floor(delta)) for delta in one.deltas
        ]
        head = ("metric", "change", "measured over", "noise floor")
        parts.append(f"{span(one.name)}: changes\n\n{table(head, rows)}")
    if one.touches:
        first = hottest(one.touches)
        lines = [f"- {span(touched(touch), REASON)} in {span(touch.file)}" for touch in first[:_TOUCHES]]
        more = len(first) - _TOUCHES
        parts.append("\n".join([f"{span(one.name)}: it touches\n", *lines, *([f"- {more} more"] if more > 0 else [])]))
    return parts


def _floor(delta: DeltaFacts) -> str:
    return UNKNOWN if delta.floor is None else percent(delta.floor).lstrip("+")


def hottest(touches: Sequence[Touch]) -> list[Touch]:
    """Return touches, the hot first."""
    return sorted(touches, key=lambda touch: -float(touch.facts.share or 0))


def touched(touch: Touch) -> str:
    """Return what is touched, how hot that was, and who reaches it."""
    one = touch.facts
    callers = None if one.reached_by is None else [fit(name, NAME) for name in one.reached_by]
    return touch_text(fit(one.symbol, NAME), one.how, one.share, callers, one.reached_by_all)


def span(text: str, most: int = NAME) -> str:
    """Return a text as a code span of at most so many characters, secrets taken out."""
    return code(printable(fit(redact(text).text, most)))
