# SPDX-License-Identifier: Apache-2.0
"""What `git hmopt check --json` answered, as the Markdown of a job's page and as annotations of files.

Symbols, paths and reasons may be of a stranger's making: each is shown in a code span, where no link, mention, HTML or
marking of text begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hmopt_bot.action.runner import NOTICES, Level
from hmopt_bot.answer import REASON, WORDS, Answer, hottest, listed, measured, span, touched, verdicts


def summary(found: Answer, *, cautions: Sequence[str] = ()) -> str:
    """Return the answer as Markdown; `cautions` say what a reader must know of the host."""
    head = f"## git hmopt check: {WORDS[found.answer]}\n\n{span(found.head[:12])} against {span(found.base[:12])}"
    parts = [head]
    if found.workloads:
        parts.append(verdicts(found.workloads))
    for one in found.workloads:
        parts += measured(one)
    parts += listed([*found.notes, *cautions])
    again = f"git fetch origin {found.head} {found.base} && git checkout {found.head} && git hmopt check {found.base}"
    parts.append(f"Measure it yourself: {span(again, REASON)}")
    return "\n\n".join(parts) + "\n"


def untold(reason: str, *, cautions: Sequence[str] = ()) -> str:
    """Return Markdown for a check that could not begin, so that there is nothing to tell of workloads."""
    parts = [f"## git hmopt check: {WORDS[125]}", span(reason, REASON), *listed(cautions)]
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
    for touch in hottest([touch for one in found.workloads for touch in one.touches]):
        told.setdefault((touch.file, touch.facts.symbol), touched(touch))
    for (file, _), text in list(told.items())[:NOTICES]:
        yield Level.NOTICE, f"touches {text}", file
