# SPDX-License-Identifier: Apache-2.0
"""What `git hmopt check --json` answered, as the Markdown of a job's page and as annotations of files.

Symbols, paths and reasons may be of a stranger's making: each is shown in a code span, where no link, mention, HTML or
marking of text begins.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from git_hmopt.config.document import printable
from git_hmopt.errors import CorruptRecordError
from git_hmopt.records.redaction import redact
from git_hmopt.report.facts import DeltaFacts, TouchFacts, read_delta, read_touch
from git_hmopt.report.fields import Fields, MalformedError
from git_hmopt.report.markdown import code_span, markdown_table
from git_hmopt.report.wording import at_confidence, fit, how_measured, touch_text
from hmopt_bot.action.runner import NOTICES, Level

WORDS = {0: "no regression", 1: "regressed", 125: "cannot tell"}
"""What an exit code of `git hmopt check` says."""
_TOUCHES = 50
"""So many touched symbols are told of each workload; the JSON has all."""
_NAME, _REASON = 200, 2_000


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


def summary(found: Answer, *, cautions: Sequence[str] = ()) -> str:
    """Return the answer as Markdown; `cautions` say what a reader must know of the host."""
    head = f"## git hmopt check: {WORDS[found.answer]}\n\n{_span(found.head[:12])} against {_span(found.base[:12])}"
    rows = [
        (_span(one.name), f"**{WORDS[one.answer]}**", _span(one.verdict), _span(one.reason, _REASON))
        for one in found.workloads
    ]
    parts = [head]
    if rows:
        parts.append(markdown_table(("workload", "answer", "verdict", "reason"), rows))
    for one in found.workloads:
        parts += _measured(one)
    parts += _listed([*found.notes, *cautions])
    again = f"git fetch origin {found.head} {found.base} && git checkout {found.head} && git hmopt check {found.base}"
    parts.append(f"Measure it yourself: {_span(again, _REASON)}")
    return "\n\n".join(parts) + "\n"


def untold(reason: str, *, cautions: Sequence[str] = ()) -> str:
    """Return Markdown for a check that could not begin, so that there is nothing to tell of workloads."""
    parts = [f"## git hmopt check: {WORDS[125]}", _span(reason, _REASON), *_listed(cautions)]
    return "\n\n".join(parts) + "\n"


def marks(found: Answer) -> Iterator[tuple[Level, str, str | None]]:
    """Yield annotations as level, text and file: each workload that is not fine, and what head touches, the hot first.

    The runner shows ten of each level.
    """
    for one in found.workloads:
        if one.answer:
            level = Level.ERROR if one.answer == 1 else Level.WARNING
            yield level, f"{one.name}: {one.verdict}: {one.reason}", None
    told: dict[tuple[str, str], str] = {}
    for touch in _hottest([touch for one in found.workloads for touch in one.touches]):
        told.setdefault((touch.file, touch.facts.symbol), _touched(touch))
    for (file, _), text in list(told.items())[:NOTICES]:
        yield Level.NOTICE, f"touches {text}", file


def _listed(notes: Sequence[str]) -> list[str]:
    return ["\n".join(f"- note: {_span(note, _REASON)}" for note in notes)] if notes else []


def _measured(one: Workload) -> list[str]:
    parts = []
    if one.deltas:
        rows = [(_span(delta.metric), _span(at_confidence(delta)), how_measured(delta)) for delta in one.deltas]
        parts.append(f"{_span(one.name)}: changes\n\n{markdown_table(('metric', 'change', 'measured over'), rows)}")
    if one.touches:
        hottest = _hottest(one.touches)
        lines = [f"- {_span(_touched(touch), _REASON)} in {_span(touch.file)}" for touch in hottest[:_TOUCHES]]
        more = len(hottest) - _TOUCHES
        parts.append("\n".join([f"{_span(one.name)}: it touches\n", *lines, *([f"- {more} more"] if more > 0 else [])]))
    return parts


def _hottest(touches: Sequence[Touch]) -> list[Touch]:
    return sorted(touches, key=lambda touch: -float(touch.facts.share or 0))


def _touched(touch: Touch) -> str:
    one = touch.facts
    callers = None if one.reached_by is None else [fit(name, _NAME) for name in one.reached_by]
    return touch_text(fit(one.symbol, _NAME), one.how, one.share, callers, one.reached_by_all)


def _span(text: str, most: int = _NAME) -> str:
    return code_span(printable(fit(redact(text).text, most)))
