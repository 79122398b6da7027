# SPDX-License-Identifier: Apache-2.0
"""Exchanges with models as their messages tell of them, and what many of them used; what is no figure is unknown.

Of what was not asked nothing was used: an answer that was replayed from another run, and a question that was refused
before a request was made. Both are counted as exchanges, and in no sum.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from git_hmopt.report.facts import MessageFacts
from git_hmopt.report.wording import UNKNOWN, fit

ROLES = ("answer", "no-answer")
_WHOLE = re.compile(r"[0-9]{1,15}")
_LONGEST = 40
"""Characters of a figure; what is longer is none."""
_MOST = 10**12
_SMALLEST_SHOWN = Decimal("0.000001")
_CURRENCIES = 3
_CURRENCY = 12


@dataclass(frozen=True)
class Exchange:
    """One question to a model and what came of it; None is unknown."""

    iteration: int
    agent: str
    answered: bool
    model: str | None
    served_by: str | None
    """What the server called the model, where that is another name."""
    tokens_in: int | None
    tokens_out: int | None
    at_most: bool
    """Whether the tokens are a bound, because the server told nothing."""
    seconds: float | None
    cost: Decimal | None
    currency: str
    """Empty where it is unknown."""
    asked: bool
    """Whether a request was made at all."""
    replayed: str | None
    """The run whose recorded answer it is."""
    redacted: Mapping[str, int]
    """How often each rule removed something in the run so far."""
    exemption: str | None
    """Which exception let it leave."""


def exchange_of(message: MessageFacts) -> Exchange | None:
    """Return what a message tells of an exchange; None for one that is none."""
    if message.role not in ROLES:
        return None
    data, answered = message.data, message.role == "answer"
    model, replayed = data.get("model") or None, data.get("replayed") or None
    served_by = data.get("served_by") or None
    return Exchange(
        iteration=message.iteration,
        agent=message.agent,
        answered=answered,
        model=model,
        served_by=None if served_by == model else served_by,
        tokens_in=whole(data.get("prompt_tokens")),
        tokens_out=whole(data.get("completion_tokens")),
        at_most=data.get("counted_by") != "server",
        seconds=seconds_of(data.get("seconds")),
        cost=_decimal(data.get("cost")),
        currency=data.get("currency") or "",
        asked=replayed is None and (answered or whole(data.get("attempts")) != 0),
        replayed=replayed,
        redacted=_counts(data.get("redacted")),
        exemption=_exemption(data),
    )


def exchanges_of(messages: Iterable[MessageFacts]) -> list[Exchange]:
    """Return the exchanges among messages."""
    return [one for one in map(exchange_of, messages) if one is not None]


def whole(text: str | None) -> int | None:
    """Return a count that a record holds; None where it holds none."""
    return int(text) if text is not None and _WHOLE.fullmatch(text) else None


def seconds_of(text: str | None) -> float | None:
    """Return a duration that a record holds; None where it holds none, or one that cannot be."""
    found = _decimal(text)
    return None if found is None else float(found)


def _decimal(text: str | None) -> Decimal | None:
    if text is None or len(text) > _LONGEST:
        return None
    try:
        found = Decimal(text)
    except InvalidOperation:
        return None
    if not found.is_finite() or not 0 <= found <= _MOST:
        return None
    # A tiny number would be written out with as many zeros as its exponent says.
    return found if found.adjusted() >= -_LONGEST else Decimal(0)


def _counts(text: str | None) -> dict[str, int]:
    """Return `email 2, host 1` as counts; parts that are none are left out."""
    parts = (part.strip().rpartition(" ") for part in (text or "").split(","))
    return {rule: int(count) for rule, _, count in parts if rule and _WHOLE.fullmatch(count)}


def _exemption(data: Mapping[str, str]) -> str | None:
    if not any(data.get(key) for key in ("exempt_endpoint", "exempt_who", "exempt_why")):
        return None
    endpoint, who, why = (data.get(f"exempt_{key}") or UNKNOWN for key in ("endpoint", "who", "why"))
    return f"{endpoint}, allowed by {who}: {why}"


@dataclass(frozen=True)
class Used:
    """What some exchanges used. The sums are of those that were asked and that tell; the others are counted."""

    exchanges: int
    answered: int
    replayed: int
    refused: int
    """Questions that were refused before a request was made."""
    tokens_in: int
    tokens_out: int
    tokens_unknown: int
    tokens_at_most: int
    """How many of those in the sums were counted by a bound."""
    seconds: float
    seconds_unknown: int
    costs: Mapping[str, str]
    """Decimals by currency; an unknown currency is the empty one."""
    cost_unknown: int

    @property
    def asked(self) -> int:
        """Return how many exchanges there were in which a model was asked."""
        return self.exchanges - self.replayed - self.refused

    @property
    def tokens(self) -> int:
        """Return the tokens in and out that are known of."""
        return self.tokens_in + self.tokens_out


def used(exchanges: Iterable[Exchange]) -> Used:
    """Return what exchanges used."""
    every = list(exchanges)
    asked = [one for one in every if one.asked]
    told = [(one.tokens_in, one.tokens_out) for one in asked]
    whole_pairs = [(first, second) for first, second in told if first is not None and second is not None]
    seconds = [one.seconds for one in asked if one.seconds is not None]
    costs: defaultdict[str, Decimal] = defaultdict(Decimal)
    for one in asked:
        if one.cost is not None:
            costs[one.currency] += one.cost
    return Used(
        exchanges=len(every),
        answered=sum(one.answered for one in every),
        replayed=sum(one.replayed is not None for one in every),
        refused=sum(not one.asked and one.replayed is None for one in every),
        tokens_in=sum(first for first, _ in whole_pairs),
        tokens_out=sum(second for _, second in whole_pairs),
        tokens_unknown=len(asked) - len(whole_pairs),
        tokens_at_most=sum(one.at_most and None not in (one.tokens_in, one.tokens_out) for one in asked),
        seconds=sum(seconds),
        seconds_unknown=len(asked) - len(seconds),
        costs={currency: str(costs[currency]) for currency in sorted(costs)},
        cost_unknown=sum(one.cost is None for one in asked),
    )


def redacted_in(exchanges: Iterable[Exchange]) -> dict[str, int]:
    """Return how often each rule removed something in a run.

    Exchanges tell how often so far; a process that goes on with the run begins at 0 again, which a count that falls
    shows.
    """
    total: Counter[str] = Counter()
    last: dict[str, int] = {}
    for one in exchanges:
        for rule, count in one.redacted.items():
            total[rule] += count - last.get(rule, 0) if count >= last.get(rule, 0) else count
            last[rule] = count
    return {rule: count for rule, count in sorted(total.items()) if count}


# -- in words ---------------------------------------------------------------------------------------------------------


def tokens_text(count: int, of: Used) -> str:
    """Return a sum of tokens of `of`, and what kind of sum it is: exact, a bound, or not of all."""
    if not of.asked:
        return "none"
    if of.tokens_unknown == of.asked:
        return UNKNOWN
    return f"{_kind(of)}{count}{_rest(of)}"


def _kind(of: Used) -> str:
    if of.tokens_unknown and of.tokens_at_most:
        return ""
    return "at least " if of.tokens_unknown else "at most " if of.tokens_at_most else ""


def _rest(of: Used) -> str:
    """Say what a sum is that is neither a lower nor an upper bound."""
    both = of.tokens_unknown and of.tokens_at_most
    return f" ({of.tokens_at_most} by a bound, {of.tokens_unknown} {UNKNOWN})" if both else ""


def seconds_text(of: Used) -> str:
    """Return the seconds that models took."""
    if not of.asked:
        return "none"
    if of.seconds_unknown == of.asked:
        return UNKNOWN
    return f"{'at least ' if of.seconds_unknown else ''}{of.seconds:.1f}"


def cost_text(of: Used) -> str:
    """Return what models cost, by currency."""
    if not of.asked:
        return "none"
    if of.cost_unknown == of.asked:
        return UNKNOWN
    return f"{'at least ' if of.cost_unknown else ''}{sums_text(of.costs)}"


def sums_text(costs: Mapping[str, str]) -> str:
    """Return amounts by currency."""
    shown = [money(Decimal(amount), currency) for currency, amount in list(costs.items())[:_CURRENCIES]]
    more = [f"amounts in {len(costs) - _CURRENCIES} other currencies"] if len(costs) > _CURRENCIES else []
    return " + ".join([*shown, *more])


def money(amount: Decimal, currency: str) -> str:
    """Return an amount with its currency, to a millionth."""
    if 0 < amount < _SMALLEST_SHOWN:
        shown = f"less than {_SMALLEST_SHOWN}"
    else:
        text = f"{amount:.6f}"
        shown = text.rstrip("0").rstrip(".")
    return f"{shown} {fit(currency, _CURRENCY) or f'(currency {UNKNOWN})'}"


def model_text(one: Exchange) -> str:
    """Return the model that was asked, and what the server called it where that is another name."""
    asked = one.model or UNKNOWN
    return f"{asked} (served by {one.served_by})" if one.served_by else asked


def figures_text(one: Exchange) -> str:
    """Return what one exchange used, for a line of text."""
    if not one.asked:
        return f"replayed from run {one.replayed}" if one.replayed else "not asked"
    most = "at most " if one.at_most else ""
    parts = [
        UNKNOWN + " tokens" if None in (one.tokens_in, one.tokens_out)
        else f"{most}{one.tokens_in} tokens in, {one.tokens_out} out",
        f"{one.seconds:.1f} s" if one.seconds is not None else "",
        money(one.cost, one.currency) if one.cost is not None else "",
    ]  # fmt: skip
    return ", ".join(part for part in parts if part)
