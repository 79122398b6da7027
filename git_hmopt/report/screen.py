# SPDX-License-Identifier: Apache-2.0
"""A run's story on one terminal screen: plain text, at most 40 lines of at most 100 columns, fewer where asked."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from git_hmopt.report.next_steps import next_commands
from git_hmopt.report.story import Iteration, RunStory
from git_hmopt.report.wording import (
    UNKNOWN,
    delta_of,
    fit,
    floor_line,
    hotspots_head,
    how_measured,
    interval,
    kpi_lines,
    outcome,
    place,
    plain,
    retraction_line,
    skipped_line,
    text_size,
    time_head,
    verdict_label,
    why_hot,
)

LINES = 40
COLUMNS = 100
_HOTSPOTS = 5
_KPI_LINES = 4
_NOTE_LINES = 6
_RESULT_LINES = 6
_WIDTHS = (3, 15, 14, 23, 7, 8)
# On narrower screens bytes of text go first, then the symbol: what is left of a line belongs to the verdict.
_DROPPED = ((COLUMNS, 5), (88, 2))
NARROWEST = 60


def one_screen(story: RunStory, columns: int = COLUMNS) -> str:
    """Return the story; iterations and notes that do not fit are counted, the latest iterations are shown.

    `columns` is the terminal's width; more than `COLUMNS` are not used, and below `NARROWEST` lines break there.
    """
    columns = min(max(columns, NARROWEST), COLUMNS)
    above = [*_what(story), "", *_hotspots(story), *_wrapped(kpi_lines(story.kpis), _KPI_LINES, columns), ""]
    below = ["", *_wrapped(_result(story), _RESULT_LINES, columns), *_notes(story, columns), ""]
    # Commands are never cut: a cut command is another command.
    commands = [f"  {command}" for command, _ in next_commands(story)]
    room = LINES - len(above) - len(below) - len(commands)
    lines = [_clipped(line, columns) for line in [*above, *_iterations(story, room, columns), *below]]
    return "".join(f"{line}\n" for line in [*lines, *commands])


def _clipped(line: str, columns: int) -> str:
    indent = len(line) - len(line.lstrip(" "))
    return f"{' ' * indent}{fit(line, columns - indent)}".rstrip()


def _wrapped(texts: Sequence[str], limit: int, columns: int) -> list[str]:
    lines = [line for text in texts for line in textwrap.wrap(text, columns, subsequent_indent="  ")]
    return lines if len(lines) <= limit else [*lines[: limit - 1], "and more, which the report tells"]


def _what(story: RunStory) -> list[str]:
    run = story.run
    reason = f": {plain(story.status_reason)}" if story.status_reason else ""
    # Most runs record the base commit itself as the revision; said once is enough.
    more = [run.revision] * (run.revision != run.base_commit) + ["dirty tree"] * run.dirty
    base = f"{run.base_commit[:12]} ({', '.join(more)})" if more else run.base_commit[:12]
    return [
        f"run {run.name}  {story.status}{reason}",
        f"  workload {run.workload} on {run.device}, proposer {run.proposer}, seed {run.seed}",
        f"  base {base} of {run.uri}, started {run.created}",
        *([f"  without {plain(', '.join(run.without))}"] if run.without else []),
        *([f"  goes on with run {run.parent}"] if run.parent else []),
    ]


def _hotspots(story: RunStory) -> list[str]:
    if not story.hotspots:
        return [f"hotspots {UNKNOWN}: no profile was recorded"]
    first = story.hotspots[0]
    head = f"hotspots by {first.ranker}, share of {first.unit}"
    lines = [f"hotspots by {hotspots_head(first)}" if first.score is None else head]
    for spot in story.hotspots[:_HOTSPOTS]:
        lines.append(f"  {why_hot(spot):>7}  {fit(spot.symbol, 36):<36}  {place(spot)}")
    more = len(story.hotspots) - _HOTSPOTS
    if more > 0:
        lines.append(f"  and {more} more")
    return lines


def _iterations(story: RunStory, room: int, columns: int) -> list[str]:
    if not story.iterations:
        return ["no iterations"]
    lines = [_row(("#", "strategy", "symbol", time_head(story), "count", "text"), "verdict (* on best)", columns)]
    shown = list(story.iterations)
    if len(shown) + 1 > room:
        # One line goes to saying how many are missing; the latest tell most.
        hidden = len(shown) - max(room - 2, 1)
        shown = shown[hidden:]
        lines.append(f"  {hidden} earlier iterations are not shown")
    return lines + [_iteration(one, columns) for one in shown]


def _iteration(one: Iteration, columns: int) -> str:
    judged, patch = one.evaluation, one.patch
    deltas = judged.deltas if judged else ()
    time, count = delta_of(deltas, ("time", "kpi")), delta_of(deltas, ("count",))
    strategy = patch.strategy if patch else (one.decision or {}).get("strategy", UNKNOWN)
    symbol = patch.symbol if patch else (one.decision or {}).get("symbol")
    cells = (
        f"{one.number}{'*' if judged and judged.accepted else ''}",
        strategy,
        # A person's patch names no symbol; its title says more than "unknown".
        symbol or (patch.title if patch else UNKNOWN),
        interval(time) if time else UNKNOWN,
        interval(count).split(" [", 1)[0] if count else UNKNOWN,
        text_size(judged.text_bytes if judged else None),
    )
    return _row(cells, verdict_label(one), columns)


def _row(cells: Sequence[str], last: str, columns: int) -> str:
    padded = [f"{fit(cell, width):<{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)]
    dropped = {place for below, place in _DROPPED if columns < below}
    return " ".join([*(cell for place, cell in enumerate(padded) if place not in dropped), last])


def _result(story: RunStory) -> list[str]:
    lines = outcome(story)
    kinds = ("time", "kpi", "count")
    judged = [delta for one in story.iterations if one.evaluation for delta in one.evaluation.deltas]
    measured = delta_of(story.confirmations, kinds) or delta_of(judged, kinds)
    lines.append(f"Measured over {how_measured(measured)}." if measured else "Nothing was measured for a verdict.")
    lines.append(floor_line(story))
    return lines


def _notes(story: RunStory, columns: int) -> list[str]:
    unread = skipped_line(story)
    taken_back = [retraction_line(one) for one in story.retractions if one != story.withdrawn or not story.accepted]
    notes = [*([unread] if unread else []), *taken_back, *(f"note: {plain(note)}" for note in story.notes)]
    return _wrapped(notes, _NOTE_LINES, columns)
