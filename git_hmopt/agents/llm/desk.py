# SPDX-License-Identifier: Apache-2.0
"""What the agents work with and cannot make themselves: a way to ask, to look something up, and to leave a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from git_hmopt.agents.tools import Lookup
from git_hmopt.evidence.tokens import TokenCount
from git_hmopt.gateway.message import Answer, Message
from git_hmopt.gateway.profile import Role
from git_hmopt.records.evidence import Template

Agent = Literal["trace-analyst", "conductor", "coder", "safety"]


@dataclass(frozen=True)
class Habits:
    """How much the agents ask for."""

    candidates: int = 2
    """That the Coder writes in one answer at most."""
    prompt_tokens: int = 24_000
    """Of a first prompt, bounded by its bytes (see `evidence.tokens`); what is asked on top of it comes beside."""
    answer_tokens: int = 8_192
    """Of one answer, a model's thinking included."""
    looks: int = 3
    """Times an agent may look things up before it has to answer."""
    review: bool = False
    """Whether a model reviews each patch beside the rules."""
    max_lines: int = 600
    max_files: int = 8
    """What the policy lets a candidate change."""


@dataclass(frozen=True)
class Written:
    """An answer of the Coder, with what was redacted put back."""

    text: str
    cut: bool = False
    """Whether it ended at its limit of tokens: what it would have had next is not known."""


@dataclass(frozen=True)
class Spare:
    """An answer of the Coder with candidates that nothing has tried yet."""

    iteration: int
    symbol: str
    file: str
    strategy: str
    written: Written
    tried: frozenset[int]
    """Numbers of its candidates, from 1, that a decision has named."""


class Desk(Protocol):
    """Where one iteration's agents work; every exchange is recorded, whatever comes of it."""

    @property
    def habits(self) -> Habits: ...

    @property
    def lookup(self) -> Lookup:
        """Return what answers the agents' questions about the best so far."""
        ...

    @property
    def templates(self) -> Sequence[Template]:
        """Return every strategy template of this run."""
        ...

    @property
    def counted(self) -> TokenCount | None:
        """Return how tokens are estimated, None by their bytes."""
        ...

    @property
    def failures(self) -> tuple[int, str]:
        """Return how many requests in a row got no answer in this process, and why the last one did not."""
        ...

    def ask(
        self, agent: Agent, role: Role, template: str, messages: Sequence[Message], *,
        schema: Mapping[str, Any] | None = None,
    ) -> Answer:  # fmt: skip
        """Return a model's answer; GatewayError when none comes, ContextTooLongError when the prompt has to shrink."""
        ...

    def came(self, text: str) -> None:
        """Say what came of the last exchange."""
        ...

    def note(self, agent: Agent, role: Literal["proposal", "review"], text: str, data: Mapping[str, str]) -> None:
        """Leave a message of an agent that is no exchange with a model."""
        ...

    def spare(self) -> Spare | None:
        """Return the Coder's last answer when it has candidates left."""
        ...

    def answer_of(self, iteration: int) -> Written | None:
        """Return the Coder's last answer of an iteration, None where it gave none or it is not in this clone."""
        ...
