# SPDX-License-Identifier: Apache-2.0
"""What a run asked models: who asked which, what it used, what it cost for what was accepted, and what left how."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from git_hmopt.report.exchanges import (
    Exchange,
    Used,
    cost_text,
    exchange_of,
    exchanges_of,
    figures_text,
    model_text,
    redacted_in,
    seconds_text,
    tokens_text,
    used,
)
from git_hmopt.report.facts import MessageFacts
from git_hmopt.report.price import Gain, PerPercent, gain_of, per_percent, per_percent_text
from git_hmopt.report.story import RunStory
from git_hmopt.report.wording import fit

Key = TypeVar("Key", bound=Hashable)

_AGENTS, _ITERATIONS, _RULES, _FEW = 20, 50, 30, 5
_NAME, _WORD, _LONGEST = 60, 24, 300
_EXCHANGES = 12
"""Exchanges of one iteration that its place in a report shows."""


@dataclass(frozen=True)
class AgentUse:
    """What one agent asked."""

    agent: str
    models: tuple[str, ...]
    used: Used


@dataclass(frozen=True)
class IterationUse:
    """What was asked in one iteration; 0 is before the first."""

    iteration: int
    used: Used


@dataclass(frozen=True)
class ModelUse:
    """What the section "Models" of a report tells."""

    agents: tuple[AgentUse, ...]
    iterations: tuple[IterationUse, ...]
    used: Used
    gain: Gain
    per_percent: PerPercent
    redacted: Mapping[str, int]
    """How often each rule removed something from what left."""
    exemptions: tuple[str, ...]
    replayed: tuple[str, ...]
    """The runs whose recorded answers were taken."""


def models_of(story: RunStory) -> ModelUse | None:
    """Return what a run asked models; None where it asked none."""
    exchanges = exchanges_of(story.said)
    if not exchanges:
        return None
    whole, gain = used(exchanges), gain_of(story)
    by_agent = _grouped(exchanges, lambda one: one.agent)
    by_iteration = _grouped(exchanges, lambda one: one.iteration)
    return ModelUse(
        agents=tuple(AgentUse(agent, _models(each), used(each)) for agent, each in by_agent.items()),
        iterations=tuple(IterationUse(number, used(each)) for number, each in by_iteration.items()),
        used=whole,
        gain=gain,
        per_percent=per_percent(whole, gain),
        redacted=redacted_in(exchanges),
        exemptions=tuple(dict.fromkeys(one.exemption for one in exchanges if one.exemption)),
        replayed=tuple(dict.fromkeys(one.replayed for one in exchanges if one.replayed)),
    )


def _grouped(exchanges: Iterable[Exchange], key: Callable[[Exchange], Key]) -> dict[Key, list[Exchange]]:
    found: defaultdict[Key, list[Exchange]] = defaultdict(list)
    for one in exchanges:
        found[key(one)].append(one)
    return found


def _models(exchanges: Iterable[Exchange]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(model_text, exchanges)))


# -- in words ---------------------------------------------------------------------------------------------------------

AGENT_HEADS = ("agent", "exchanges", "answered", "models", "tokens in", "tokens out", "seconds", "cost")
ITERATION_HEADS = ("iteration", "exchanges", "tokens in", "tokens out", "cost")


def agent_rows(found: ModelUse) -> list[tuple[str, ...]]:
    """Return a row an agent under AGENT_HEADS, the first of them and then what all used."""
    rows = [(fit(one.agent, _WORD), *_use(one.used, _several(one.models))) for one in found.agents[:_AGENTS]]
    models = tuple(dict.fromkeys(model for one in found.agents for model in one.models))
    more = len(found.agents) - _AGENTS
    rows += [(f"and {more} other agents", *[""] * (len(AGENT_HEADS) - 1))] if more > 0 else []
    return [*rows, ("all", *_use(found.used, _several(models)))] if len(found.agents) > 1 else rows


def _use(of: Used, models: str) -> tuple[str, ...]:
    tokens = tokens_text(of.tokens_in, of), tokens_text(of.tokens_out, of)
    return (str(of.exchanges), str(of.answered), models, *tokens, seconds_text(of), cost_text(of))


def iteration_rows(found: ModelUse) -> list[tuple[str, ...]]:
    """Return a row an iteration under ITERATION_HEADS; of many the latest."""
    hidden = max(0, len(found.iterations) - _ITERATIONS)
    rows: list[tuple[str, ...]] = [
        (
            str(one.iteration), str(one.used.exchanges), tokens_text(one.used.tokens_in, one.used),
            tokens_text(one.used.tokens_out, one.used), cost_text(one.used),
        )
        for one in found.iterations[hidden:]
    ]  # fmt: skip
    return [(f"{hidden} earlier ones", "", "", "", ""), *rows] if hidden else rows


def model_lines(found: ModelUse) -> list[str]:
    """Return what must be known beside the tables."""
    of, gain = found.used, found.gain
    lines = [f"Claimed: {gain.percent:.2f} % of {fit(gain.metric or '', _NAME)}."] if gain.percent is not None else []
    lines.append(per_percent_text(found.per_percent, of))
    counts = [f"{count} x {fit(rule, _WORD)}" for rule, count in found.redacted.items()]
    removed = _several(counts, _RULES) or "nothing is recorded"
    lines.append(f"Removed from what left, by rule: {removed}.")
    lines += [f"An exception let it leave: {fit(one, _LONGEST)}." for one in found.exemptions[:_FEW]]
    if len(found.exemptions) > _FEW:
        lines.append(f"{len(found.exemptions) - _FEW} more exceptions let something leave.")
    if of.refused:
        lines.append(f"Refused before a request was made, so that nothing was used: {of.refused}.")
    if of.replayed:
        lines.append(
            f"Answers replayed from {_several([f'run {one}' for one in found.replayed])}: {of.replayed}. No model was"
            " asked for them and they are in no sum; they prove that the plumbing works, and nothing about a model."
        )
    return lines


def _several(names: Sequence[str], most: int = _FEW) -> str:
    shown = [fit(name, _NAME) for name in names[:most]]
    return ", ".join([*shown, *([f"{len(names) - most} more"] if len(names) > most else [])])


def summary(message: MessageFacts) -> str | None:
    """Return an exchange in a line: who asked which model, what it used, what came of it; None for other messages."""
    one = exchange_of(message)
    if one is None:
        return None
    came = "answered" if one.answered else "gave no answer"
    asked = f"{fit(one.agent, _WORD)} asked {fit(model_text(one), _NAME)}, which {came}"
    return f"{asked} ({fit(figures_text(one), _LONGEST)}): {fit(message.text, _LONGEST)}"


def summaries(messages: Sequence[MessageFacts], run: str) -> tuple[list[str], list[MessageFacts]]:
    """Return the exchanges among messages in a line each, the first of many, and the other messages."""
    lines = [line for message in messages if (line := summary(message))]
    others = [message for message in messages if exchange_of(message) is None]
    if len(lines) <= _EXCHANGES:
        return lines, others
    where = f"git hmopt show {run} --messages --iteration {messages[0].iteration}"
    return [*lines[:_EXCHANGES], f"{len(lines) - _EXCHANGES} more exchanges: {where}"], others
