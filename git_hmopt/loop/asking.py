# SPDX-License-Identifier: Apache-2.0
"""A run's desk: asks models, or gives what a run recorded of them, and writes down every exchange."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, Protocol

from git_hmopt.agents.llm.coder import CUT
from git_hmopt.agents.llm.desk import Agent, Habits, Spare, Written
from git_hmopt.agents.tools import Lookup
from git_hmopt.config.document import printable
from git_hmopt.errors import StoreError
from git_hmopt.evidence.tokens import TokenCount, server_count
from git_hmopt.evidence.tokens import Usage as Counted
from git_hmopt.gateway.errors import Attempt, BudgetSpentError, ContextTooLongError, EndedError, GatewayError
from git_hmopt.gateway.ledger import Usage
from git_hmopt.gateway.message import Answer, Message
from git_hmopt.gateway.profile import Role
from git_hmopt.loop.bench import Bench
from git_hmopt.loop.book import Book
from git_hmopt.loop.lookup import lookup_for
from git_hmopt.records.base import canonical_json, decimal_text
from git_hmopt.records.evidence import EvidencePack, Template
from git_hmopt.records.run import AgentMessage, ArtifactRecord
from git_hmopt.records.words import Oid
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.journal import OpDraft

if TYPE_CHECKING:  # needs packages that only it needs
    from git_hmopt.gateway.client import Gateway

ASKED = "agent.asked"
"""The operation of one message of an agent."""
_TEXT = 2_000
_KINDS: Mapping[str, type[GatewayError]] = {
    "prompt-too-long": ContextTooLongError, "budget": BudgetSpentError, "ended": EndedError
}  # fmt: skip
"""What a run does otherwise than with any other missing answer, as records name it; the first that fits."""


class Answers(Protocol):
    """Where answers come from."""

    @property
    def told(self) -> Mapping[str, str]:
        """Return what a record says of every exchange: its currency, or the run that is replayed."""
        ...

    @property
    def removed(self) -> Mapping[str, int]:
        """Return how often each rule of redaction removed something so far."""
        ...

    def cleaned(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """Return messages as they leave."""
        ...

    def give(
        self, agent: Agent, iteration: int, role: Role, messages: Sequence[Message], *, most_out: int,
        schema: Mapping[str, Any] | None, within_s: float,
    ) -> Answer:  # fmt: skip
        """Return an answer; GatewayError when there is none."""
        ...


class Models:
    """Answers of the configured gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.told = {"currency": gateway.currency}

    @property
    def removed(self) -> Mapping[str, int]:
        """Return what was removed so far, by rule."""
        return self._gateway.removed

    def cleaned(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """Return messages as they leave."""
        return self._gateway.cleaned(messages)

    def give(
        self, agent: Agent, iteration: int, role: Role, messages: Sequence[Message], *, most_out: int,
        schema: Mapping[str, Any] | None, within_s: float,
    ) -> Answer:  # fmt: skip
        """Ask the models of the role."""
        return self._gateway.ask(role, messages, most_out=most_out, schema=schema, within_s=within_s)


class Recorded:
    """Answers that a run recorded, given again in their order by iteration and agent; no model is asked."""

    removed: Mapping[str, int] = {}

    def __init__(self, book: Book, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts
        self._run = book.run
        self.told = {"replayed": str(book.run)}
        self._by: dict[tuple[int, str], list[AgentMessage]] = {}
        for message in exchanges(book):
            self._by.setdefault((message.iteration, message.agent), []).append(message)
        self._given: Counter[tuple[int, str]] = Counter()
        if not self._by:
            raise StoreError(
                f"run {book.run} recorded no exchange with a model: there is nothing to replay",
                next_step=f"see what it recorded: git hmopt show --messages {book.run}",
            )
        answers = [one.data.get("answer", "") for kept in self._by.values() for one in kept if one.role == "answer"]
        missing = sum(not one or artifacts.path(one) is None for one in answers)
        if missing:
            raise StoreError(
                f"{missing} of {len(answers)} answers that models gave in run {book.run} are not in this clone",
                next_step="replay it in the clone that made it",
            )

    def cleaned(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """Return messages as they are: nothing leaves."""
        return tuple(messages)

    def rewind(self, iteration: int, agents: Sequence[str]) -> None:
        """Begin again with what the agents said in an iteration: the node that asks is at its beginning."""
        for agent in agents:
            self._given[iteration, agent] = 0

    def give(
        self, agent: Agent, iteration: int, role: Role, messages: Sequence[Message], *, most_out: int,
        schema: Mapping[str, Any] | None, within_s: float,
    ) -> Answer:  # fmt: skip
        """Return the next recorded answer, or raise what the run heard instead of one."""
        key = (iteration, str(agent))
        number = self._given[key]
        self._given[key] += 1
        kept = self._kept(*key)
        if number >= len(kept):
            raise EndedError(f"run {self._run} recorded no further answer of the {agent} in iteration {iteration}")
        message = kept[number]
        if message.role == "no-answer":
            raise _missing(message)
        data = self._artifacts.read(message.data["answer"])
        if data is None:
            raise GatewayError(f"the {agent}'s answer in iteration {iteration} of {self._run} is not in this clone")
        return Answer(
            text=data.decode("utf-8", "replace"),
            thinking="",
            sent=tuple(messages),
            model=message.data.get("model", ""),
            served_by=message.data.get("served_by", ""),
            finish=message.data.get("finish", ""),
            usage=Usage(0, 0, told_by_server=False),
            cost=None,
            seconds=0.0,
            attempts=(),
            exemption=None,
            structured=message.data.get("structured") == "yes",
        )

    def _kept(self, iteration: int, agent: str) -> list[AgentMessage]:
        """Return what an agent said in an iteration.

        What the analyst said holds until best moves. A process that goes on amid a run has to ask it again.
        """
        kept = self._by.get((iteration, agent), [])
        earlier = [number for number, who in self._by if who == agent and number < iteration]
        return self._by[max(earlier), agent] if agent == "trace-analyst" and not kept and earlier else kept


def _missing(message: AgentMessage) -> GatewayError:
    """Return what a run met instead of an answer."""
    kind, why = _KINDS.get(message.data.get("kind", ""), GatewayError), message.data.get("why", message.text)
    limit = message.data.get("limit")
    return ContextTooLongError(why, limit=int(limit) if limit else None) if kind is ContextTooLongError else kind(why)


def messages_of(book: Book) -> list[AgentMessage]:
    """Return every message of a run's agents, in order."""
    return [
        AgentMessage.model_validate(entry.operation.data["message"])
        for entry in book.entries
        if entry.operation.op == ASKED
    ]


def exchanges(book: Book) -> list[AgentMessage]:
    """Return those that are exchanges with a model."""
    return [one for one in messages_of(book) if one.role in ("answer", "no-answer")]


def spent(book: Book) -> tuple[int, Decimal]:
    """Return the tokens and the money that a run's recorded exchanges took."""
    tokens, money = 0, Decimal(0)
    for message in exchanges(book):
        used = ("prompt_tokens", "completion_tokens", "lost_tokens")
        tokens += sum(int(message.data.get(name, "0")) for name in used)
        money += sum((Decimal(message.data.get(name, "0")) for name in ("cost", "lost_cost")), Decimal(0))
    return tokens, money


@dataclass
class _Said:
    """A message with the artifacts it names."""

    message: AgentMessage
    artifacts: list[ArtifactRecord]

    def data(self) -> dict[str, Any]:
        kept = [one.model_dump(mode="json") for one in self.artifacts]
        return {"message": self.message.model_dump(mode="json"), **({"artifacts": kept} if kept else {})}


class RunDesk:
    """Implements the agents' `Desk` for one run; a node opens it, and takes what was said on it."""

    def __init__(self, answers: Answers, habits: Habits, *, tokenizer: TokenCount | None = None) -> None:
        self._answers = answers
        self._tokenizer = tokenizer
        self.habits = habits
        self.failures: tuple[int, str] = (0, "")
        self._said: list[_Said] = []
        self._kept: list[ArtifactRecord] = []
        self._usages: list[Counted] = []

    # -- for the nodes ----------------------------------------------------------------------------------------------

    def open(self, bench: Bench, book: Book, iteration: int, pack: EvidencePack, best: Oid, deadline: float) -> None:
        """Begin a node's work: what follows is of this iteration and may last until the monotonic `deadline`."""
        self._bench, self._book, self._iteration, self._deadline = bench, book, iteration, deadline
        self._best, self._pack = best, pack
        self._lookup: Lookup | None = None
        self._said = []
        policy = bench.config.policy
        self.habits = replace(self.habits, max_lines=policy.max_lines, max_files=policy.max_files)
        self._usages = [found for one in exchanges(book) if (found := _counted(one)) is not None]
        if isinstance(self._answers, Recorded):
            made = {one.agent for one in exchanges(book) if one.iteration == iteration}
            agents = ("trace-analyst", "conductor", "coder", "safety")
            self._answers.rewind(iteration, [one for one in agents if one not in made])

    def taken(self, node: str) -> list[OpDraft]:
        """Return what was said since it was opened, as operations of a node."""
        said, self._said = self._said, []
        return [OpDraft(ASKED, node, one.message.iteration, number, one.data()) for number, one in enumerate(said)]

    # -- for the agents ---------------------------------------------------------------------------------------------

    @property
    def lookup(self) -> Lookup:
        """Return what answers questions about the best so far; most turns ask none, and it is dear to make."""
        if self._lookup is None:
            self._lookup = lookup_for(self._bench, self._best, self._pack)
        return self._lookup

    @property
    def templates(self) -> Sequence[Template]:
        """Return the run's strategy templates."""
        return self._bench.templates

    @property
    def counted(self) -> TokenCount | None:
        """Return the host's tokenizer, or what the server counted of this run's prompts; None by their bytes."""
        return self._tokenizer or server_count(self._usages)

    def ask(
        self, agent: Agent, role: Role, template: str, messages: Sequence[Message], *,
        schema: Mapping[str, Any] | None = None,
    ) -> Answer:  # fmt: skip
        """Return a model's answer, and record the exchange whatever comes of it."""
        self._bench.log.say(f"asking the {agent}")
        left = self._answers.cleaned(messages)
        data = {"template": template, **self._prompt(left)}
        began = time.monotonic()
        try:
            answer = self._answers.give(
                agent, self._iteration, role, left, most_out=self.habits.answer_tokens, schema=schema,
                within_s=max(0.0, self._deadline - began),
            )  # fmt: skip
        except GatewayError as error:
            kind = next((name for name, one in _KINDS.items() if isinstance(error, one)), None)
            if kind is None:
                self.failures = (self.failures[0] + 1, error.what)
            else:
                data["kind"] = kind
            if isinstance(error, ContextTooLongError) and error.limit is not None:
                data["limit"] = str(error.limit)
            tried = [f"{one.model}: {one.outcome} ({one.seconds:.1f} s)" for one in error.attempts]
            data |= {"why": printable(" ".join(error.what.split()))[:_TEXT]}
            if "replayed" not in self._answers.told:
                data |= {"seconds": _seconds(time.monotonic() - began), "attempts": str(len(tried))}
            data |= {"failed": printable("; ".join(tried))[:_TEXT]} if tried else {}
            data |= _lost(error.attempts)
            self._record(agent, "no-answer", error.what, data)
            raise
        self.failures = (0, "")
        self._record(agent, "answer", "", data | self._of(answer))
        return answer

    def came(self, text: str) -> None:
        """Say what came of the last exchange."""
        if self._said:
            shown = printable(" ".join(text.split()))[:_TEXT]
            last = self._said[-1].message
            text = f"{last.text}; {shown}" if last.text else shown
            self._said[-1].message = last.model_copy(update={"text": text})
            self._bench.log.say(f"{last.agent}: {shown}")

    def note(self, agent: Agent, role: Literal["proposal", "review"], text: str, data: Mapping[str, str]) -> None:
        """Leave a message that is no exchange."""
        self._record(agent, role, text, dict(data))

    def spare(self) -> Spare | None:
        """Return the Coder's last answer while the run has not tried all of it."""
        said = messages_of(self._book)
        turns = [one.iteration for one in said if one.agent == "coder" and one.role == "answer"]
        if not turns:
            return None
        turn = turns[-1]
        used = [one for one in said if one.agent == "coder" and one.role == "proposal" and one.iteration == turn]
        written = self.answer_of(turn)
        if not used or written is None:
            return None
        decisions = [entry.operation.iter for entry in self._book.entries if entry.operation.op == "decision.made"]
        later = [self._book.decision(one).candidate for one in decisions]
        tried = {int(one.data["candidate"]) for one in used} | {one[1] for one in later if one and one[0] == turn}
        tried |= {int(number) for one in used for number in one.data.get("refused", "").split(", ") if number}
        decision = self._book.decision(turn)
        return Spare(turn, decision.symbol, decision.file, decision.strategy, written, frozenset(tried))

    def answer_of(self, iteration: int) -> Written | None:
        """Return the Coder's last answer of an iteration."""
        said = [one for one in exchanges(self._book) if one.iteration == iteration and one.agent == "coder"]
        last = next((one.data for one in reversed(said) if "answer" in one.data), None)
        data = self._bench.artifacts.read(last["answer"]) if last else None
        return Written(data.decode("utf-8", "replace"), last.get("finish") == CUT) if last and data else None

    # -- records ----------------------------------------------------------------------------------------------------

    def _prompt(self, messages: Sequence[Message]) -> dict[str, str]:
        text = canonical_json([{"role": one.role, "text": one.text} for one in messages])
        size = sum(len(one.text.encode("utf-8", "surrogatepass")) for one in messages)
        return {"prompt": self._artifact(text, "prompt", "application/json"), "prompt_bytes": str(size)}

    def _artifact(self, text: str, kind: str, media_type: str) -> str:
        data = text.encode("utf-8", "replace")
        name = f"{kind}.{'json' if media_type.endswith('json') else 'txt'}"
        record = self._bench.artifacts.put_bytes(data, kind=kind, name=name, media_type=media_type)
        self._kept.append(record)
        return record.sha256

    def _of(self, answer: Answer) -> dict[str, str]:
        data = {
            "answer": self._artifact(answer.text, "answer", "text/plain"),
            "model": answer.model,
            "served_by": printable(answer.served_by)[:200],
            "finish": printable(answer.finish)[:40],
        }
        if answer.thinking:
            data["thinking"] = self._artifact(answer.thinking, "thinking", "text/plain")
        if answer.structured:
            data["structured"] = "yes"
        if "replayed" in self._answers.told:
            return data
        usage = answer.usage
        data |= {
            "prompt_tokens": str(usage.tokens_in),
            "completion_tokens": str(usage.tokens_out),
            "counted_by": "server" if usage.told_by_server else "bound",
            "seconds": _seconds(answer.seconds),
            "attempts": str(len(answer.attempts)),
        }
        failed = [f"{one.model}: {one.outcome}" for one in answer.attempts[:-1]]
        data |= {"failed": printable("; ".join(failed))[:_TEXT]} if failed else {}
        data |= _lost(answer.attempts)
        data |= {"cost": format(answer.cost.normalize(), "f")} if answer.cost is not None else {}
        if answer.exemption is not None:
            exempt = answer.exemption
            data |= {"exempt_endpoint": exempt.endpoint, "exempt_who": exempt.who, "exempt_why": exempt.why}
        return data

    def _record(
        self, agent: Agent, role: Literal["answer", "no-answer", "proposal", "review"], text: str, data: dict[str, str]
    ) -> None:
        if role in ("answer", "no-answer"):
            told = self._answers.told
            data |= {name: value for name, value in told.items() if name != "currency" or "cost" in data}
            removed = self._answers.removed
            data |= {"redacted": ", ".join(f"{rule} {n}" for rule, n in sorted(removed.items()))} if removed else {}
        shown = printable(" ".join(text.split()))[:_TEXT]
        message = AgentMessage(iteration=self._iteration, agent=agent, role=role, text=shown, data=data)
        kept, self._kept = self._kept, []
        self._said.append(_Said(message, kept))


def _lost(attempts: Sequence[Attempt]) -> dict[str, str]:
    """Return what attempts took that gave no answer; a run that is resumed has spent it, too."""
    tokens, cost = sum(one.tokens for one in attempts), sum((one.cost for one in attempts), Decimal(0))
    data = {"lost_tokens": str(tokens)} if tokens else {}
    return data | ({"lost_cost": format(cost.normalize(), "f")} if cost else {})


def _seconds(seconds: float) -> str:
    return decimal_text(round(seconds, 3))


def _counted(message: AgentMessage) -> Counted | None:
    """Return what a server counted of a prompt, None where it did not."""
    data = message.data
    if data.get("counted_by") != "server" or "prompt_bytes" not in data:
        return None
    return Counted(int(data["prompt_bytes"]), int(data["prompt_tokens"]))
