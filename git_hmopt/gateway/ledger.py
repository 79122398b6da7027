# SPDX-License-Identifier: Apache-2.0
"""What models may cost in one run, and what they did cost.

A request is only sent when the most that it can cost is left. That most is known without a tokenizer: a token of any
byte-level tokenizer stands for at least one byte, so a prompt has no more tokens than bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from git_hmopt.gateway.errors import BudgetSpentError
from git_hmopt.gateway.profile import Model

_MILLION = Decimal(1_000_000)
_PER_MESSAGE = 16
"""Tokens that a chat template puts around a message; the templates of the profiles' models need four to eight."""


@dataclass(frozen=True)
class Usage:
    """Tokens of one request."""

    tokens_in: int
    tokens_out: int
    told_by_server: bool
    """Otherwise it is the bound: the server told nothing, or nothing that can be."""


def most_tokens_in(texts: list[str]) -> int:
    """Return the most tokens that messages of these texts can have."""
    return sum(len(text.encode()) + _PER_MESSAGE for text in texts) + _PER_MESSAGE


def cost_of(model: Model, usage: Usage) -> Decimal | None:
    """Return what tokens cost in the profile's currency; None where a price is unknown."""
    if model.price_in is None or model.price_out is None:
        return None
    return (model.price_in * usage.tokens_in + model.price_out * usage.tokens_out) / _MILLION


@dataclass
class Ledger:
    """The account of one run; None is no limit."""

    most_tokens: int | None = None
    most_money: Decimal | None = None
    tokens: int = 0
    money: Decimal = field(default=Decimal(0))
    unpriced: int = 0
    """Requests to models whose price is unknown."""

    def check(self, name: str, model: Model, most: Usage) -> None:
        """Raise BudgetSpentError unless the most that a request can cost is left."""
        wanted = most.tokens_in + most.tokens_out
        if self.most_tokens is not None and self.tokens + wanted > self.most_tokens:
            raise BudgetSpentError(
                f"the run's budget of {self.most_tokens} tokens has {self.most_tokens - self.tokens} left, and a "
                f"request to {name} may take {wanted}",
                next_step="raise hmopt.gateway.tokens, or ask for less",
            )
        if self.most_money is None:
            return
        price = cost_of(model, most)
        if price is None:
            raise BudgetSpentError(
                f"the price of {name} is not known, so that a budget of money cannot hold",
                next_step="give the profile its price_in and price_out",
            )
        if self.money + price > self.most_money:
            raise BudgetSpentError(
                f"the run's budget of {self.most_money} has {self.most_money - self.money} left, and a request to "
                f"{name} may cost {price}",
                next_step="raise hmopt.gateway.money, or ask for less",
            )

    def book(self, model: Model, usage: Usage) -> Decimal | None:
        """Take what a request used, and return what it cost."""
        self.tokens += usage.tokens_in + usage.tokens_out
        price = cost_of(model, usage)
        if price is None:
            self.unpriced += 1
        else:
            self.money += price
        return price
