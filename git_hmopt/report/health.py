# SPDX-License-Identifier: Apache-2.0
"""The health of the tool over many runs, from what the cache has of them; as a value, and as lines for a person."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from git_hmopt.records.words import RunId, RunStatus
from git_hmopt.report.model_health import Price, price_text, prices
from git_hmopt.report.table import aligned
from git_hmopt.report.wording import UNKNOWN, fit, percent, plain
from git_hmopt.runtime.proportion import wilson
from git_hmopt.store.health import Changes, ModelCount, NodeTimes, Recorded, RunEnd

_NAME, _WORD, _REASON = 30, 24, 60
_ENDINGS = 8
_MODELS = 20
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Quantiles:
    """Of some numbers, by the nearest rank: each is one of them."""

    n: int
    min: float
    p25: float
    p50: float
    p75: float
    p95: float
    max: float
    total: float


@dataclass(frozen=True)
class Rate:
    """A share of counts, with its 95 % interval (Wilson, see `runtime.proportion`); null where nothing was counted."""

    hits: int
    of: int
    share: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Runs:
    """How the runs stand."""

    total: int
    by_status: dict[str, int]
    """An open run of this clone that no process works on is interrupted: it crashed, or was killed."""
    resumed: int
    """Runs that were gone on with after a kill, in the clone that made them."""
    resumptions: int
    continued: int
    """Runs that go on with one of another clone."""


@dataclass(frozen=True)
class NodeHealth:
    """What a node of the pipeline takes, in seconds."""

    node: str
    failed: int
    """How often it did not end well; its times count as the others'."""
    wall_s: Quantiles
    cpu_s: Quantiles
    """Of the tool itself, without the programs it ran."""


@dataclass(frozen=True)
class GateHealth:
    """How many of the candidates that came to a gate went through."""

    gate: str
    passed: Rate


@dataclass(frozen=True)
class VerdictHealth:
    """How often candidates of a workload got a verdict."""

    workload: str
    verdict: str
    count: int
    retracted: int


@dataclass(frozen=True)
class Improvements:
    """Changes of one metric as ratios minus one; what was retracted is in none."""

    workload: str
    metric: str
    kind: str
    of: str
    """`best against base`: what runs claim, measured afresh; `accepted`: each candidate against the best before it."""
    change: Quantiles


@dataclass(frozen=True)
class Tokens:
    """What models read and wrote, an iteration; null where no message says so, which is not 0."""

    iterations: int
    unknown: int
    """Iterations whose messages do not say."""
    per_iteration: Quantiles | None


@dataclass(frozen=True)
class ModelHealth:
    """How often a model that was asked answered, and what its answers took."""

    model: str | None
    answered: Rate
    seconds: Quantiles | None
    """Of the answers; null where none of them says."""


@dataclass(frozen=True)
class Ending:
    """Runs that ended with one status and reason; numbers in the reason are left out."""

    status: str
    reason: str
    count: int


@dataclass(frozen=True)
class Health:
    """All that `git hmopt stats` says."""

    runs: Runs
    nodes: tuple[NodeHealth, ...]
    """The dearest first."""
    runs_without_times: int
    """Runs that do not say what their nodes took: an older version recorded them, or no node of them has ended."""
    gates: tuple[GateHealth, ...]
    verdicts: tuple[VerdictHealth, ...]
    improvements: tuple[Improvements, ...]
    tokens: Tokens
    models: tuple[ModelHealth, ...]
    """The most asked first."""
    prices: tuple[Price, ...]
    false_positives: Rate
    """Accepted candidates that were retracted later, of all that were accepted."""
    endings: tuple[Ending, ...]
    """The most frequent first."""
    no_numbers: int
    """Values that should have been numbers; they are in nothing of this."""
    newer: dict[RunId, dict[str, int]]
    """Runs with records of versions that are not known here: what stands in them is in nothing of this."""
    skipped: dict[str, int]
    """What else was not understood, by reason."""


GATES = ("apply", "policy", "build", "tests", "checkpatch", "outputs", "measure", "guards", "confirmation")
"""In the order in which a candidate comes to them (records.run.CheckRecord)."""


def health(recorded: Recorded, *, interrupted: Collection[RunId] = (), interrupted_word: str = "interrupted") -> Health:
    """Return what the runs add up to; `interrupted` are those no process works on, which no record can say."""
    gone = frozenset(interrupted)
    accepted = [one for one in recorded.verdicts if one.accepted]
    return Health(
        runs=_runs(recorded.runs, gone, interrupted_word),
        nodes=tuple(sorted(map(_node, recorded.nodes), key=lambda one: (-one.wall_s.total, one.node))),
        runs_without_times=sum(run.name not in recorded.timed for run in recorded.runs),
        gates=tuple(GateHealth(one.gate, rate(one.passed, one.tried)) for one in sorted(recorded.gates, key=_place)),
        verdicts=tuple(_verdicts(recorded)),
        improvements=tuple(map(_improvements, recorded.changes)),
        tokens=Tokens(
            iterations=recorded.iterations,
            unknown=recorded.iterations - len(recorded.tokens),
            per_iteration=quantiles(recorded.tokens) if recorded.tokens else None,
        ),
        models=tuple(sorted(map(_model, recorded.models), key=lambda one: (-one.answered.of, one.model or ""))),
        prices=prices(recorded.spent),
        false_positives=rate(sum(one.count for one in accepted if one.retracted), sum(one.count for one in accepted)),
        endings=tuple(_endings(recorded.runs)),
        no_numbers=recorded.no_numbers,
        newer=recorded.newer,
        skipped=recorded.skipped,
    )


def quantiles(values: Sequence[float]) -> Quantiles:
    """Return the quantiles of one or more numbers, by the nearest rank."""
    ranked = sorted(values)

    def at(percent: int) -> float:
        # In whole numbers: 0.95 * 20 is more than 19.
        return ranked[max(0, -(-percent * len(ranked) // 100) - 1)]

    return Quantiles(len(ranked), ranked[0], at(25), at(50), at(75), at(95), ranked[-1], math.fsum(ranked))


def rate(hits: int, of: int) -> Rate:
    """Return a share with its interval; of nothing it is unknown."""
    return Rate(hits, of, hits / of, *wilson(hits, of)) if of else Rate(hits, of, None, None, None)


def _place(one: object) -> tuple[int, str]:
    gate = str(getattr(one, "gate", ""))
    return (GATES.index(gate) if gate in GATES else len(GATES), gate)


def _runs(runs: Sequence[RunEnd], gone: frozenset[RunId], word: str) -> Runs:
    return Runs(
        total=len(runs),
        by_status=dict(sorted(Counter(word if run.name in gone else run.status for run in runs).items())),
        resumed=sum(run.resumed > 0 for run in runs),
        resumptions=sum(run.resumed for run in runs),
        continued=sum(run.parent is not None for run in runs),
    )


def _node(one: NodeTimes) -> NodeHealth:
    return NodeHealth(one.node, one.failed, quantiles(one.wall_s), quantiles(one.cpu_s))


def _model(one: ModelCount) -> ModelHealth:
    return ModelHealth(one.model, rate(one.answered, one.asked), quantiles(one.seconds) if one.seconds else None)


def _verdicts(recorded: Recorded) -> Iterator[VerdictHealth]:
    counts: Counter[tuple[str, str]] = Counter()
    retracted: Counter[tuple[str, str]] = Counter()
    for one in recorded.verdicts:
        verdict = one.verdict if one.rule is None else f"{one.verdict}({one.rule})"
        counts[one.workload, verdict] += one.count
        retracted[one.workload, verdict] += one.count * one.retracted
    for key in sorted(counts, key=lambda key: (key[0], -counts[key], key[1])):
        yield VerdictHealth(*key, counts[key], retracted[key])


def _improvements(one: Changes) -> Improvements:
    of = "best against base" if one.claimed else "accepted"
    return Improvements(one.workload, one.metric, one.kind, of, quantiles(one.estimates))


def _endings(runs: Iterable[RunEnd]) -> Iterator[Ending]:
    closed = {str(status) for status in RunStatus if status.closed}
    counts = Counter(
        # The same budget with another number is the same reason.
        (run.status, UNKNOWN if run.reason is None else _NUMBER.sub("N", run.reason))
        for run in runs
        if run.status in closed
    )
    for (status, reason), count in sorted(counts.items(), key=lambda one: (-one[1], one[0])):
        yield Ending(status, reason, count)


# -- for a person -----------------------------------------------------------------------------------------------------


def health_lines(found: Health) -> list[str]:
    """Return tables, each under what it is of."""
    parts = [
        [_runs_line(found.runs)],
        _ending_lines(found.endings),
        _node_lines(found),
        _gate_lines(found.gates),
        _verdict_lines(found.verdicts),
        _improvement_lines(found.improvements),
        _model_lines(found.models),
        _price_lines(found.prices),
        [_token_line(found.tokens), _false_positive_line(found.false_positives)],
        list(_unread_lines(found)),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part).split("\n")


def _runs_line(runs: Runs) -> str:
    if not runs.total:
        return "no runs that this version can read"
    listed = ", ".join(f"{count} {plain(status)}" for status, count in runs.by_status.items())
    return (
        f"{runs.total} run{'' if runs.total == 1 else 's'}: {listed}; {runs.resumed} resumed after a kill"
        f" ({runs.resumptions} times in all), {runs.continued} that go on with another clone's"
    )


def _ending_lines(endings: Sequence[Ending]) -> list[str]:
    rows = [(str(one.count), plain(one.status), fit(one.reason, _REASON)) for one in endings[:_ENDINGS]]
    more = [f"and {len(endings) - _ENDINGS} other reasons"] if len(endings) > _ENDINGS else []
    return [*aligned(("runs", "ended", "because"), rows), *more] if rows else []


def _node_lines(found: Health) -> list[str]:
    missing = found.runs_without_times
    note = [f"{missing} of {found.runs.total} runs do not say what their nodes took: unknown"] if missing else []
    rows = [
        (
            fit(one.node, 32), str(one.wall_s.n), _seconds(one.wall_s.p50), _seconds(one.wall_s.p95),
            _seconds(one.wall_s.total), _seconds(one.cpu_s.total), str(one.failed),
        )
        for one in found.nodes
    ]  # fmt: skip
    heads = ("node (s)", "times", "p50", "p95", "total", "own CPU", "failed")
    return [*(aligned(heads, rows) if rows else []), *note]


def _gate_lines(gates: Sequence[GateHealth]) -> list[str]:
    rows = [(fit(one.gate, _WORD), str(one.passed.hits), str(one.passed.of), _share(one.passed)) for one in gates]
    return aligned(("gate", "passed", "of", "share [95 %]"), rows) if rows else []


def _verdict_lines(verdicts: Sequence[VerdictHealth]) -> list[str]:
    rows = [(fit(one.workload, _NAME), fit(one.verdict, _WORD), str(one.count), str(one.retracted)) for one in verdicts]
    return aligned(("workload", "verdict", "candidates", "retracted"), rows) if rows else []


def _improvement_lines(improvements: Sequence[Improvements]) -> list[str]:
    if not improvements:
        return ["Improvements: nothing was accepted that still stands."]
    rows = [
        (
            fit(one.workload, _NAME), fit(one.metric, _WORD), one.of, str(one.change.n),
            *(percent(str(value)) for value in _five(one.change)),
        )
        for one in improvements
    ]  # fmt: skip
    return aligned(("workload", "metric", "of", "n", "min", "p25", "p50", "p75", "max"), rows)


def _model_lines(models: Sequence[ModelHealth]) -> list[str]:
    rows = [
        (
            fit(one.model or UNKNOWN, _NAME), str(one.answered.of), str(one.answered.hits), _share(one.answered),
            UNKNOWN if one.seconds is None else _seconds(one.seconds.p50),
        )
        for one in models[:_MODELS]
    ]  # fmt: skip
    more = [f"and {len(models) - _MODELS} other models"] if len(models) > _MODELS else []
    return [*aligned(("model", "asked", "answered", "share [95 %]", "p50 of answers (s)"), rows), *more] if rows else []


def _price_lines(found: Sequence[Price]) -> list[str]:
    rows = [
        (
            fit(one.workload, _NAME), str(one.runs), UNKNOWN if one.tokens is None else str(one.tokens),
            f"{one.percent:.2f}", price_text(one),
        )
        for one in found
    ]  # fmt: skip
    heads = ("workload", "runs that asked models", "tokens", "percent claimed", "tokens per accepted percent")
    return aligned(heads, rows) if rows else []


def _five(found: Quantiles) -> tuple[float, ...]:
    return found.min, found.p25, found.p50, found.p75, found.max


def _token_line(tokens: Tokens) -> str:
    each = tokens.per_iteration
    if each is None:
        return f"Tokens per iteration: {UNKNOWN}; no message says how many a model used."
    rest = f"; of {tokens.unknown} other iterations {UNKNOWN}" if tokens.unknown else ""
    return f"Tokens per iteration: p50 {each.p50:.0f}, p95 {each.p95:.0f}, total {each.total:.0f} of {each.n}{rest}."


def _false_positive_line(found: Rate) -> str:
    if not found.of:
        return f"False positives: {UNKNOWN}; nothing was accepted yet."
    return (
        f"False positives: {found.hits} of {found.of} accepted candidates were retracted, {_share(found)}"
        " (95 % score interval, Wilson 1927)."
    )


def _unread_lines(found: Health) -> Iterator[str]:
    for run, reasons in sorted(found.newer.items()):
        listed = ", ".join(f"{count} x {plain(reason)}" for reason, count in reasons.items())
        yield f"run {plain(run)} holds records of a newer format, which count nowhere here: {listed}; upgrade git-hmopt"
    if found.no_numbers:
        yield f"{found.no_numbers} values that are no numbers are left out"
    if found.skipped:
        listed = ", ".join(f"{count} x {plain(reason)}" for reason, count in found.skipped.items())
        yield f"left out, because it cannot be read: {listed}"


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _share(found: Rate) -> str:
    if found.share is None or found.low is None or found.high is None:
        return UNKNOWN
    ends = 100 * found.low, 100 * found.high
    # An interval is shown as one, however many were counted.
    digits = next((digits for digits in (1, 2, 3) if round(ends[1] - ends[0], digits)), 4)
    return f"{100 * found.share:.{digits}f} % [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"
