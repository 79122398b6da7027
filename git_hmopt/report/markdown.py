# SPDX-License-Identifier: Apache-2.0
"""A run's story as a markdown report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from git_hmopt.records.redaction import redact
from git_hmopt.report.facts import DeltaFacts, EvaluationFacts, MessageFacts, PatchFacts
from git_hmopt.report.models import (
    AGENT_HEADS,
    ITERATION_HEADS,
    agent_rows,
    iteration_rows,
    model_lines,
    models_of,
    summaries,
)
from git_hmopt.report.next_steps import next_commands
from git_hmopt.report.story import Iteration, RunStory
from git_hmopt.report.windows import Read, SlowTime, slow_times
from git_hmopt.report.wording import (
    UNKNOWN,
    at_confidence,
    delta_of,
    fit,
    floor_line,
    hotspots_head,
    how_measured,
    interval,
    is_open,
    outcome,
    percent,
    place,
    plain,
    skipped_line,
    text_size,
    time_head,
    touch_text,
    verdict_label,
    verdict_sentence,
    why_hot,
)

_MOST_SLOW_TIMES = 12
_NAME = 160
_LONGEST = 300
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~!&])")


def run_report(story: RunStory, read: Read) -> str:
    """Return the whole report; texts from patches, traces and models are shown, never interpreted.

    `read` returns artifacts: what ran when a capture was slow stands in them.
    """
    parts = [
        _head(story),
        _result(story),
        _notes(story),
        _what(story),
        _hotspots(story),
        _kpis(story),
        _slow_times(story, read),
        _table(story),
        *(_iteration(one, story.run.name) for one in story.iterations),
        _models(story),
        _stored(story),
        _next(story),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _md(text: str) -> str:
    """Return untrusted text as markdown that shows it literally."""
    # Before anything is escaped: `ghp\_...` has the form of no token.
    return _MARKUP.sub(r"\\\1", redact(plain(text)).text)


def code_span(text: str) -> str:
    """Return untrusted text as a code span; a backtick inside would end it."""
    shown = plain(text).replace("`", "'").replace("|", "¦")
    return f"`{shown}`" if shown else UNKNOWN


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _head(story: RunStory) -> str:
    reason = f": {_md(story.status_reason)}" if story.status_reason else ""
    open_run = " (it has not ended)" if is_open(story) else ""
    return f"# Run {_md(story.run.name)}\n\nStatus: **{_md(story.status)}**{reason}{open_run}."


def _result(story: RunStory) -> str:
    lines = [_md(line) for line in outcome(story)]
    lines += [f"Measured over {how_measured(delta)}: {_md(delta.metric)}." for delta in story.confirmations]
    lines.append(_md(floor_line(story)))
    lines += [_said(message) for message in summaries(story.messages, story.run.name)[1]]
    return "## Result\n\n" + "\n".join(f"* {line}" for line in lines)


def _notes(story: RunStory) -> str:
    unread = skipped_line(story)
    notes = [*story.notes, *([unread] if unread else [])]
    return "## What you must know\n\n" + "\n".join(f"* {_md(note)}" for note in notes) if notes else ""


def _what(story: RunStory) -> str:
    run = story.run
    rows = [
        ("workload", code_span(run.workload)),
        ("base commit", code_span(run.base_commit)),
        ("base tree", code_span(run.base_tree)),
        ("repository", f"{code_span(run.uri)} at {code_span(run.revision)}{' (dirty)' if run.dirty else ''}"),
        ("device", code_span(run.device)),
        ("proposer", code_span(run.proposer)),
        ("seed", str(run.seed)),
        ("started, last recorded", f"{_md(run.created)}, {_md(story.last_at) or UNKNOWN}"),
        ("run id", code_span(run.uuid)),
    ]
    rows += [("continues", code_span(run.parent))] if run.parent else []
    rows += [(f"toolchain: {_md(name)}", code_span(value)) for name, value in run.toolchain.items()]
    rows += [(f"environment: {_md(name)}", code_span(value)) for name, value in run.environment.items()]
    return "## What was run\n\n" + markdown_table(("what", "value"), rows)


def _hotspots(story: RunStory) -> str:
    if not story.hotspots:
        return "## Hotspots of the base\n\nUnknown: no profile was recorded."
    first = story.hotspots[0]
    rows = [
        (str(number), code_span(spot.symbol), why_hot(spot), code_span(place(spot)), _md(spot.resolved_by))
        for number, spot in enumerate(story.hotspots, 1)
    ]
    head = ("#", "symbol", _md(hotspots_head(first)), "where", "found by")
    return "## Hotspots of the base\n\n" + markdown_table(head, rows)


def _kpis(story: RunStory) -> str:
    """Tell what the captures say of the system; those of single processes, threads and CPUs are counted."""
    if not story.kpis:
        return ""
    shown = [one for one in story.kpis if one.of == "all"]
    rows = [(code_span(one.capture[:12]), _md(one.name), _md(one.value), _md(one.unit), str(one.n)) for one in shown]
    rest = len(story.kpis) - len(shown)
    more = f"\n\n{rest} more are of single processes, threads, CPUs and the like." if rest else ""
    return "## KPIs of captures\n\n" + markdown_table(("capture", "name", "value", "unit", "n"), rows) + more


def _slow_times(story: RunStory, read: Read) -> str:
    """Tell when captures were slow and what ran then, what lost most time first."""
    if not story.slow_times:
        return ""
    found, missing = slow_times(story.slow_times, read)
    found.sort(key=lambda one: -one.lost_ns)
    parts = [_slow_time(one) for one in found[:_MOST_SLOW_TIMES]]
    if len(found) > _MOST_SLOW_TIMES:
        parts.append(f"{len(found) - _MOST_SLOW_TIMES} more lost less time: `git hmopt kpis --windows`.")
    return "\n\n".join(["## Trace windows: when it was slow, and what ran then", *parts, *map(_md, missing)])


def _slow_time(one: SlowTime) -> str:
    when = f"{one.start_ns / 1e9:.6f} to {one.end_ns / 1e9:.6f} s of {_md(fit(one.capture, _NAME))}"
    lines = [f"* {_md(fit(reason, _LONGEST))}" for reason in one.reasons] or ["* What ran then is not known."]
    # Indented lines are code, and no character of theirs ends it.
    excerpt = [f"    {line}" for line in one.excerpt]
    told = "\n".join([f"**{_md(fit(one.what, _LONGEST))}** ({when})", "", *lines])
    # A list goes on over what is indented below it; a comment ends it.
    return told + ("\n\n<!-- -->\n\n" + "\n".join(excerpt) if excerpt else "")


def _table(story: RunStory) -> str:
    if not story.iterations:
        return "## Iterations\n\nNone."
    head = ("#", "strategy", "symbol", time_head(story), "count", "text", "verdict", "on best")
    return "## Iterations\n\n" + markdown_table(head, (_row(one) for one in story.iterations))


def _row(one: Iteration) -> Sequence[str]:
    judged, patch = one.evaluation, one.patch
    deltas = judged.deltas if judged else ()
    time, count = delta_of(deltas, ("time", "kpi")), delta_of(deltas, ("count",))
    return (
        str(one.number),
        code_span(patch.strategy if patch else (one.decision or {}).get("strategy", "")),
        code_span((patch.symbol if patch else (one.decision or {}).get("symbol")) or ""),
        _md(interval(time)) if time else UNKNOWN,
        _md(interval(count)) if count else UNKNOWN,
        text_size(judged.text_bytes if judged else None),
        _md(verdict_label(one)),
        "yes" if judged and judged.accepted else "no",
    )


def _said(message: MessageFacts) -> str:
    return f"{_md(message.agent)} ({_md(message.role)}): {_md(message.text)}"


def _iteration(one: Iteration, run: str) -> str:
    parts = [f"### Iteration {one.number}" + (f": {_md(one.patch.title)}" if one.patch else "")]
    if one.decision:
        parts.append("Decision: " + "; ".join(f"{_md(key)} {code_span(value)}" for key, value in one.decision.items()))
    exchanges, others = summaries(one.messages, run)
    parts += ["\n".join(f"* {_md(line)}" for line in exchanges)] if exchanges else []
    parts.append(_patch(one.patch) if one.patch else "No patch was recorded.")
    parts += map(_said, others)
    parts.append(f"**{_md(verdict_label(one))}** {_md(verdict_sentence(one))}")
    if one.evaluation:
        parts += _judged(one.evaluation)
    return "\n\n".join(parts)


def _models(story: RunStory) -> str:
    found = models_of(story)
    if found is None:
        return ""
    tables = [
        markdown_table(heads, [[_md(cell) for cell in row] for row in rows])
        for heads, rows in ((AGENT_HEADS, agent_rows(found)), (ITERATION_HEADS, iteration_rows(found)))
    ]
    lines = "\n".join(f"* {_md(line)}" for line in model_lines(found))
    return "\n\n".join(["## Models", *tables, lines])


def _patch(patch: PatchFacts) -> str:
    where = ", ".join(code_span(file) for file in patch.files) or UNKNOWN
    commit = code_span(patch.commit) if patch.commit else "none, the edit did not apply"
    told = f"{_md(patch.rationale)}\n\nBy {_md(patch.proposer)}; files: {where}; commit: {commit}."
    touched = [
        f"- {_md(touch_text(one.symbol, one.how, one.share, one.reached_by, one.reached_by_all))}"
        for one in patch.touches
    ]
    return "\n".join([told, "", "It touches", "", *touched]) if touched else told


def _judged(evaluation: EvaluationFacts) -> list[str]:
    parts = [f"Reason: {_md(evaluation.reason)}"]
    if evaluation.deltas:
        head = ("metric", "kind", "against", "change [interval]", "measured over", "floor", "layout sd", "boot sd")
        parts.append(markdown_table(head, (_delta(delta) for delta in evaluation.deltas)))
    if evaluation.checks:
        rows = [
            (_md(check.name), "passed" if check.passed else "**failed**", _md(check.detail))
            for check in evaluation.checks
        ]
        parts.append(markdown_table(("check", "", "detail"), rows))
    return parts


def _delta(delta: DeltaFacts) -> Sequence[str]:
    spreads = (delta.floor, delta.layout_sd, delta.boot_sd)
    return (
        _md(delta.metric),
        _md(delta.kind),
        _md(delta.against),
        _md(at_confidence(delta)),
        how_measured(delta),
        *(UNKNOWN if value is None else percent(value).lstrip("+") for value in spreads),
    )


def _stored(story: RunStory) -> str:
    artifacts = [*story.artifacts, *(artifact for one in story.iterations for artifact in one.artifacts)]
    if not artifacts:
        return ""
    rows = [
        (_md(artifact.kind), code_span(artifact.name), str(artifact.size), code_span(artifact.sha256))
        for artifact in artifacts
    ]
    graphs = [
        f"* {_md(graph.kind)}: {graph.nodes} nodes, {graph.edges} edges; left out: "
        + (", ".join(f"{_md(count)} x {_md(reason)}" for reason, count in graph.skipped.items()) or "nothing")
        for graph in story.graphs
    ]
    table = markdown_table(("kind", "name", "bytes", "sha256"), rows)
    return "## What is stored\n\n" + table + ("\n\n" + "\n".join(graphs) if graphs else "")


def _next(story: RunStory) -> str:
    width = max(len(command) for command, _ in next_commands(story))
    lines = "\n".join(f"{command:<{width}}  # {what}" for command, what in next_commands(story))
    return f"## Next\n\n```\n{lines}\n```"
