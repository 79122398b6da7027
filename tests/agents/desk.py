# SPDX-License-Identifier: Apache-2.0
"""A desk whose models say what a test tells them to, and which remembers what they were asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from git_hmopt.agents.llm.desk import Agent, Habits, Spare, Written
from git_hmopt.agents.tools import Lookup
from git_hmopt.evidence.strategies import shipped
from git_hmopt.evidence.tokens import TokenCount
from git_hmopt.gateway.ledger import Usage
from git_hmopt.gateway.message import Answer, Message
from git_hmopt.gateway.profile import Role
from git_hmopt.records.evidence import Template

Said = str | Exception


class Told:
    """Answers every question with its own words."""

    def answer(self, tool: str, argument: str) -> str:
        """Return the question."""
        return f"told of {tool} {argument}".strip()


@dataclass
class ScriptedDesk:
    """Gives the answers of each agent in turn; an exception is raised in its place."""

    answers: dict[str, list[Said]]
    habits: Habits = field(default_factory=Habits)
    spare_answer: Spare | None = None
    answer_texts: dict[int, str] = field(default_factory=dict)
    """The Coder's answers by iteration."""
    failures: tuple[int, str] = (0, "")
    asked: list[tuple[str, list[Message], Mapping[str, Any] | None]] = field(default_factory=list)
    came_of: list[str] = field(default_factory=list)
    notes: list[tuple[str, str, str, Mapping[str, str]]] = field(default_factory=list)

    @property
    def lookup(self) -> Lookup:
        """Return what answers."""
        return Told()

    @property
    def templates(self) -> Sequence[Template]:
        """Return the shipped ones."""
        return shipped()

    @property
    def counted(self) -> TokenCount | None:
        """Return nothing: bytes count."""
        return None

    def ask(
        self, agent: Agent, role: Role, template: str, messages: Sequence[Message], *,
        schema: Mapping[str, Any] | None = None,
    ) -> Answer:  # fmt: skip
        """Return the agent's next answer."""
        self.asked.append((agent, list(messages), schema))
        said = self.answers[agent].pop(0)
        if isinstance(said, Exception):
            raise said
        return Answer(
            text=said, thinking="", sent=tuple(messages), model="m", served_by="m", finish="stop",
            usage=Usage(1, 1, told_by_server=True), cost=None, seconds=0.0, attempts=(), exemption=None,
            structured=schema is not None,
        )  # fmt: skip

    def came(self, text: str) -> None:
        """Remember it."""
        self.came_of.append(text)

    def note(self, agent: Agent, role: Literal["proposal", "review"], text: str, data: Mapping[str, str]) -> None:
        """Remember it."""
        self.notes.append((agent, role, text, data))

    def spare(self) -> Spare | None:
        """Return what the test says."""
        return self.spare_answer

    def answer_of(self, iteration: int) -> Written | None:
        """Return what the test says."""
        text = self.answer_texts.get(iteration)
        return None if text is None else Written(text)
