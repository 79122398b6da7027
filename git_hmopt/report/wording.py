# SPDX-License-Identifier: Apache-2.0
"""How numbers and verdicts are said: signs, intervals, units, and no more than was measured."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from git_hmopt.records.words import RunStatus, Verdict
from git_hmopt.report.facts import DeltaFacts, EvaluationFacts, HotspotFacts, KpiFacts
from git_hmopt.report.story import Iteration, Retraction, RunStory

UNKNOWN = "unknown"

# Escape sequences in a symbol or a commit message must not reach a terminal.
_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e007f]+"
)


def plain(text: str) -> str:
    """Return `text` on one line, without control characters, half characters, or marks that reorder what is shown."""
    return _CONTROL.sub(" ", text).strip()


def fit(text: str, width: int) -> str:
    """Return `text` in at most `width` characters, with a mark where it was cut."""
    shown = plain(text)
    return shown if len(shown) <= width else shown[: width - 1] + "…"


def fit_end(text: str, width: int) -> str:
    """Return the end of `text`, as of a path, in at most `width` characters, with a mark where it was cut."""
    shown = plain(text)
    return shown if len(shown) <= width else "…" + shown[-(width - 1) :]


def percent(ratio: str) -> str:
    """Return a stored ratio as a percentage with its sign, `-76.5 %`."""
    return f"{_number(float(ratio), _digits(float(ratio)))} %"


def interval(delta: DeltaFacts) -> str:
    """Return estimate and interval, `-76.5 % [-76.6, -76.4]`; an exact value has no interval.

    Its confidence stands beside it (`at_confidence`) or over the column (`interval_head`).
    """
    values = [float(value) for value in (delta.estimate, delta.low, delta.high)]
    digits = _digits(*values)
    estimate, low, high = (_number(value, digits) for value in values)
    return f"{estimate} %" if values[1] == values[2] else f"{estimate} % [{low}, {high}]"


def at_confidence(delta: DeltaFacts) -> str:
    """Return the same with the interval's confidence, `-76.5 % [-76.6, -76.4] at 99.75 %`."""
    if delta.low == delta.high:
        return interval(delta)
    known = UNKNOWN if delta.confidence is None else f"{_confidence(delta.confidence)} %"
    return f"{interval(delta)} at {known}"


def interval_head(name: str, deltas: Iterable[DeltaFacts]) -> str:
    """Return the head of a column of intervals with their confidence; comparisons that end early have more of it."""
    known = sorted({float(delta.confidence) for delta in deltas if delta.confidence is not None})
    if not known:
        return f"{name} [interval]"
    ends = dict.fromkeys(_confidence(str(value)) for value in (known[0], known[-1]))
    return f"{name} [{'-'.join(ends)} %]"


def time_head(story: RunStory) -> str:
    """Return the head of the column of times."""
    judged = [delta_of(one.evaluation.deltas, ("time", "kpi")) for one in story.iterations if one.evaluation]
    return interval_head("time", [delta for delta in judged if delta])


def _confidence(share: str) -> str:
    return f"{100 * float(share):.4g}"


def _digits(*ratios: float) -> int:
    # Under one per cent a single decimal would print a measured difference as 0.0.
    return 1 if max(abs(ratio) for ratio in ratios) >= 0.01 else 2


def _number(ratio: float, digits: int) -> str:
    text = f"{100 * ratio:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


def share(ratio: str) -> str:
    """Return a stored share as a percentage, `65.2 %`."""
    return f"{100 * float(ratio):.1f} %"


def why_hot(spot: HotspotFacts) -> str:
    """Return what ranked a hotspot: its share of the profile, or its distance where nothing was measured."""
    if spot.score is not None:
        return share(spot.score)
    return UNKNOWN if spot.distance is None else f"{spot.distance} call{'s' if spot.distance != 1 else ''}"


def hotspots_head(spot: HotspotFacts) -> str:
    """Return what the numbers beside hotspots are, by the first of them."""
    if spot.score is None:
        return f"{plain(spot.ranker)} from the workload's harness, cost unmeasured"
    return f"score ({plain(spot.ranker)} of {plain(spot.unit)})"


def text_size(change: int | None) -> str:
    """Return a change of the text section in bytes."""
    return UNKNOWN if change is None else f"{change:+d} B" if change else "0 B"


def place(spot: HotspotFacts) -> str:
    """Return file and lines of a hotspot as far as they are known."""
    if spot.file is None:
        return f"{UNKNOWN} place"
    lines = f":{spot.first_line}" if spot.first_line else ""
    return f"{spot.file}{lines}-{spot.last_line}" if lines and spot.last_line else f"{spot.file}{lines}"


def delta_of(deltas: Sequence[DeltaFacts], kinds: Sequence[str]) -> DeltaFacts | None:
    """Return the delta of the first kind that is there, against best rather than against baseline."""
    for kind in kinds:
        found = [delta for delta in deltas if delta.kind == kind]
        if found:
            return min(found, key=lambda delta: delta.against != "best")
    return None


def refused(one: Iteration) -> bool:
    """Say whether the proposer itself declined to write the patch it was asked for."""
    return one.patch is None and any(message.role == "refusal" for message in one.messages)


def verdict_label(one: Iteration) -> str:
    """Return the verdict in a word or two, with the rule or the bound that belongs to it."""
    return _verdict(one) + (", retracted" if one.retracted is not None else "")


def _verdict(one: Iteration) -> str:
    evaluation = one.evaluation
    if evaluation is None:
        return "refused: no patch" if refused(one) else f"{UNKNOWN}: not judged"
    if evaluation.verdict == Verdict.REJECTED:
        return f"rejected({plain(evaluation.rule or UNKNOWN)})"
    if evaluation.verdict == Verdict.CANNOT_TELL:
        return f"cannot-tell({_smallest(evaluation)})"
    return plain(evaluation.verdict)


def _smallest(evaluation: EvaluationFacts) -> str:
    bound = evaluation.smallest_detectable
    return UNKNOWN if bound is None else percent(bound).lstrip("+")


def verdict_sentence(one: Iteration) -> str:
    """Return what the verdict claims, and nothing beyond it."""
    evaluation = one.evaluation
    if evaluation is None:
        return "No patch was written." if refused(one) else "No verdict: the candidate was not judged."
    kept = "It is on best." if evaluation.accepted else "It is not on best."
    said = {
        Verdict.IMPROVED: "Improved: the objective's interval clears its bound and every guard holds.",
        Verdict.IMPROVED_COUNT: "Improved (count only): the count fell, and the time does not show a difference; "
        "a count is not a time.",
        Verdict.NO_CHANGE: "No change: no difference beyond the bound was found.",
        Verdict.REGRESSED: "Regressed: it is measurably worse.",
        Verdict.INCORRECT: "Incorrect: it does not do what the baseline does; its speed means nothing.",
        Verdict.REJECTED: f"Rejected by rule '{plain(evaluation.rule or UNKNOWN)}'.",
        Verdict.CANNOT_TELL: "Cannot tell: what was measured does not decide."
        if evaluation.smallest_detectable is None
        else "Cannot tell: the measurement is too coarse to decide; the smallest change it would have shown is "
        f"{_smallest(evaluation)}.",
    }
    known = {str(verdict): text for verdict, text in said.items()}
    return f"{known.get(evaluation.verdict, f'Verdict: {plain(evaluation.verdict)}.')} {kept}"


_CLAIMS = {"time": ("faster", "slower"), "count": ("fewer", "more"), "size": ("smaller", "larger")}
_ONE_LAYOUT = 0.05
"""One build of each side differs by up to this for its layout alone (Mytkowicz et al., ASPLOS 2009, and our own
measurements): nothing below it is a claim."""


def confirmed(delta: DeltaFacts) -> str:
    """Return the claim about best against base, in the words its interval allows."""
    lower, higher = _CLAIMS.get(delta.kind, ("lower", "higher"))
    word = {-1: lower, 1: higher}.get(direction(delta), "no difference shown")
    return f"{plain(delta.metric)} {at_confidence(delta)}: {word}"


def direction(delta: DeltaFacts) -> int:
    """Return -1 where the interval shows less, 1 where it shows more, and 0 where it shows no difference."""
    low, high = float(delta.low), float(delta.high)
    least = 0.0 if delta.exact or delta.layout_controlled else _ONE_LAYOUT
    return -1 if high < -least else int(low > least)


def how_measured(delta: DeltaFacts) -> str:
    """Return how a delta was measured: once, or over layouts and boots, and whether layouts were controlled."""
    if delta.exact:
        return "one exact reading each"
    control = "paired by seed" if delta.layout_controlled else "layout NOT controlled"
    return f"{_several(delta.layouts, 'layout')} ({control}), {_several(delta.boots, 'boot')} each"


def _several(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def outcome(story: RunStory) -> list[str]:
    """Return the lines that say what came of the run; only what was measured afresh is claimed."""
    judged = [one for one in story.iterations if one.evaluation]
    if story.accepted:
        of = f"{len(story.accepted)} of {_several(len(judged), 'judged candidate')}"
        lines = [f"{of} accepted; best is {story.best_commit[:12]}."]
        if story.withdrawn:
            return [*lines, f"{retraction_line(story.withdrawn)} Nothing is claimed."]
        if not story.confirmations:
            return [*lines, "Best was not measured afresh against base: no gain is claimed."]
        return lines + [f"Best against base, measured afresh: {confirmed(delta)}." for delta in story.confirmations]
    if not story.iterations:
        return ["Nothing was accepted: nothing was tried. Best is the base commit."]
    tried = f"{_several(len(story.iterations), 'idea')} tried, {_several(len(judged), 'candidate')} judged"
    return [f"Nothing was accepted ({tried}). Best is the base commit; nothing is claimed."]


def retraction_line(one: Retraction) -> str:
    """Return what was taken back, when and why."""
    what = "The run" if one.iteration is None else f"Verdict {one.iteration}"
    return f"{what} was retracted on {one.at[:10] or UNKNOWN}: {plain(one.reason)}."


def is_open(story: RunStory) -> bool:
    """Say whether the run may still take operations (it runs, or was interrupted)."""
    return story.status not in {str(status) for status in RunStatus if status.closed}


def floor_line(story: RunStory) -> str:
    """Return the noise floor and where it comes from."""
    if story.floor is None:
        return f"Noise floor {UNKNOWN}: it was not measured."
    sources = "; ".join(plain(source) for source in story.floor.sources)
    return f"Noise floor {percent(story.floor.value).lstrip('+')}" + (f" from {sources}." if sources else ".")


def skipped_line(story: RunStory) -> str | None:
    """Return what of the journal could not be read, or None."""
    if not story.skipped:
        return None
    listed = ", ".join(f"{count} x {plain(reason)}" for reason, count in story.skipped.items())
    return f"Not shown, because this version cannot read it: {listed}."


def touch_text(symbol: str, how: str, share: str | None, callers: Sequence[str] | None, of: int | None) -> str:
    """Return what a change touches, how hot that is, and who reaches it, in one sentence's part."""
    hot = f", {float(share):.1%} of the profile" if share else ""
    if callers is None:
        return f"{symbol} ({how}{hot})"
    more = (of or 0) - len(callers)
    reached = ", ".join(callers) + (f" and {more} more" if more > 0 else "")
    return f"{symbol} ({how}{hot}; reached by {reached or 'nobody within three calls'})"


def kpi_lines(kpis: Sequence[KpiFacts]) -> list[str]:
    """Return a line a capture with what its KPIs of the whole system say first; all of them are in `git hmopt kpis`."""
    lines = []
    for capture in dict.fromkeys(one.capture for one in kpis):
        of_it = [one for one in kpis if one.capture == capture]
        whole = {one.name: one for one in of_it if one.scope == "system" and one.of == "all"}
        first = [whole[name] for name in _FIRST_KPIS if name in whole]
        said = [f"{plain(one.name)} {plain(one.value)} {plain(one.unit)}".removesuffix(" 1") for one in first]
        rest = [f"{len(of_it) - len(first)} more"] if len(of_it) > len(first) else []
        lines.append(f"KPIs of capture {plain(capture[:12])}: {', '.join([*said, *rest])}")
    return lines


_FIRST_KPIS = (
    "fps_avg", "frame_drop_rate", "jank_rate", "sched_latency_p99", "cpu_util_avg", "context_switch_rate", "ipc",
    "memory_available_ratio",
)  # fmt: skip
