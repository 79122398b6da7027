# SPDX-License-Identifier: Apache-2.0
"""What is said to a model and what it says: values that the agents know without knowing a client."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from git_hmopt.gateway.errors import Attempt
from git_hmopt.gateway.ledger import Usage
from git_hmopt.gateway.policy import Exemption


@dataclass(frozen=True)
class Message:
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True)
class Answer:
    """What a model said."""

    text: str
    """With what was redacted put back."""
    thinking: str
    """As it came; it is kept, and never shown to a model again."""
    sent: tuple[Message, ...]
    """The messages as they left."""
    model: str
    served_by: str
    """What the server called the model."""
    finish: str
    """Why it ended: `stop`, or `length` when there was more to say."""
    usage: Usage
    cost: Decimal | None
    seconds: float
    attempts: tuple[Attempt, ...]
    """All of them, the last of which gave this."""
    exemption: Exemption | None
    structured: bool
    """Whether the server held the answer to the schema."""
