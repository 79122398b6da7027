# SPDX-License-Identifier: Apache-2.0
"""Answers that have to be a JSON object: read from whatever a model wrote around it, checked, with one repair turn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from git_hmopt.agents.llm.desk import Agent, Desk
from git_hmopt.agents.llm.fencing import fenced
from git_hmopt.agents.llm.prompting import Conversation
from git_hmopt.agents.tools import questions_in
from git_hmopt.config.document import printable
from git_hmopt.gateway.errors import ContextTooLongError
from git_hmopt.gateway.message import Answer
from git_hmopt.gateway.profile import Role

_MOST_OBJECTS = 64
_QUESTIONS = 4


class Reply(BaseModel):
    """An answer; keys that are not asked for are left out of account."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    questions: tuple[str, ...] = ()


_R = TypeVar("_R", bound=BaseModel)


class BadAnswerError(Exception):
    """A model's answer is not one of those that were offered; the words go back to it."""


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema that a server is asked to hold an answer to: every key is there and no other.

    Servers that are strict about schemas want it so (OpenAI's structured outputs); whatever comes is checked again.
    """
    schema = model.model_json_schema()
    for properties in (schema, *schema.get("$defs", {}).values()):
        for one in properties.get("properties", {}).values():
            one.pop("default", None)
        properties["required"] = list(properties.get("properties", {}))
        properties["additionalProperties"] = False
    return schema


def parsed(text: str, model: type[_R]) -> _R:
    """Return the object in a text; BadAnswerError says what is wrong with the one that comes nearest."""
    problem = "it holds no JSON object"
    for found in _objects(text):
        try:
            return model.model_validate(found)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            problem = f"{where}: {first['msg']}" if where else first["msg"]
    raise BadAnswerError(printable(problem)[:500])


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the outermost JSON objects of a text, the last one first: models think aloud and answer at the end."""
    decoder, at = json.JSONDecoder(), 0
    found: list[dict[str, Any]] = []
    while len(found) < _MOST_OBJECTS and (at := text.find("{", at)) >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at += 1
            continue
        at = end
        if isinstance(value, dict):
            found.append(value)
    yield from reversed(found)


def asked(
    desk: Desk, agent: Agent, role: Role, talk: Conversation, model: type[_R], checked: Callable[[_R], None]
) -> _R:  # fmt: skip
    """Return an agent's answer that is of the model and passes `checked` (which raises BadAnswerError).

    What it wants to look up is answered on the way. A bad answer gets one repair turn; after a second one, and after
    questions beyond the limit, BadAnswerError. GatewayError when no model answers.
    """
    schema = schema_of(model)
    looks, repaired = desk.habits.looks, False
    while True:
        answer = shrinking(desk, agent, role, talk, schema)
        try:
            reply = parsed(answer.text, model)
            questions = getattr(reply, "questions", ())
            if questions and looks > 0:
                looks -= 1
                desk.came(f"looks up {_named(questions)}")
                talk.add(answer.text, looked_up(desk, [_split(one) for one in questions], looks))
                continue
            checked(reply)
        except BadAnswerError as error:
            desk.came(f"not usable: {error}")
            if repaired:
                raise
            repaired = True
            # It names what was offered, and symbols are anybody's words.
            told = fenced("problem", str(error))
            talk.add(answer.text, f"Your answer cannot be used:\n{told}\nAnswer again, with the JSON object alone.")
            continue
        return reply


def shrinking(
    desk: Desk, agent: Agent, role: Role, talk: Conversation, schema: dict[str, Any] | None = None
) -> Answer:  # fmt: skip
    """Ask, each time with a smaller pack while the model finds the prompt too long; ContextTooLongError at the end."""
    while True:
        template, messages = talk.messages()
        try:
            return desk.ask(agent, role, template, messages, schema=schema)
        except ContextTooLongError as error:
            desk.came("the prompt is too long for the model: asked again with less evidence")
            if not talk.shrink(error.limit):
                raise


def looked_up(desk: Desk, questions: list[tuple[str, str]], left: int) -> str:
    """Return what to tell an agent that asked."""
    told = [
        fenced(f"{tool} {argument}".strip(), desk.lookup.answer(tool, argument))
        for tool, argument in questions[:_QUESTIONS]
    ]
    if len(questions) > _QUESTIONS:
        told.append(f"{len(questions) - _QUESTIONS} more were not looked up: {_QUESTIONS} are, each time.")
    more = f"You may look things up {left} more times." if left else "Answer now; you cannot look up anything more."
    return "\n\n".join([*told, more])


def _split(question: str) -> tuple[str, str]:
    """Return a question as tool and argument, whatever a model puts around them."""
    line = " ".join(question.removeprefix("LOOK ").split())
    return next(iter(questions_in(f"LOOK {line}")), ("", line))


def _named(questions: tuple[str, ...]) -> str:
    return printable(", ".join(questions[:_QUESTIONS]))[:200]
