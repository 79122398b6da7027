# SPDX-License-Identifier: Apache-2.0
"""The messages of a run, a line each or with all that was said, and what they used in all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from git_hmopt.errors import HmoptError
from git_hmopt.report.exchanges import (
    Exchange,
    cost_text,
    exchange_of,
    exchanges_of,
    money,
    seconds_text,
    tokens_text,
    used,
)
from git_hmopt.report.facts import MessageFacts
from git_hmopt.report.table import aligned
from git_hmopt.report.wording import UNKNOWN, fit, plain

Read = Callable[[str], bytes | None]
"""From an artifact's sha256 to its bytes; None when they are not here."""

HEADS = ("#", "agent", "role", "model", "in", "out", "s", "cost", "came of it")
PARTS = ("prompt", "answer", "thinking")
"""What an exchange keeps as artifacts, by the keys of its data."""
_AGENT, _ROLE, _MODEL, _COST, _TEXT = 20, 12, 40, 28, 80


def message_lines(messages: Sequence[MessageFacts]) -> list[str]:
    """Return a table with a line a message, and what all of them used."""
    return [*aligned(HEADS, [_row(one) for one in messages]), "", totals_line(messages)]


def full_lines(messages: Sequence[MessageFacts], read: Read) -> Iterator[str]:
    """Yield the same with prompt, answer and thinking under each; what is not here is said in its place."""
    for message in messages:
        yield "  ".join(cell for cell in _row(message)[:-1] if cell)
        yield from _block(message.text, "  ")
        for part in PARTS:
            if message.data.get(part):
                yield from _part(part, message.data[part], read)
        yield ""
    yield totals_line(messages)


def totals_line(messages: Sequence[MessageFacts]) -> str:
    """Return how many messages there are, and what the exchanges among them used."""
    exchanges = exchanges_of(messages)
    said = f"{len(messages)} message{'' if len(messages) == 1 else 's'}"
    if not exchanges:
        return f"{said}, none of them an exchange with a model."
    of = used(exchanges)
    parts = [
        f"{of.exchanges} exchanges with models, {of.answered} answered",
        *([f"{of.replayed} replayed (in no sum)"] if of.replayed else []),
        *([f"{of.refused} refused before a request was made"] if of.refused else []),
        f"tokens {tokens_text(of.tokens_in, of)} in, {tokens_text(of.tokens_out, of)} out",
        f"seconds {seconds_text(of)}",
        f"cost {cost_text(of)}",
    ]
    return f"{said}: {'; '.join(parts)}."


def messages_json(messages: Sequence[MessageFacts], read: Read | None) -> dict[str, Any]:
    """Return the messages as JSON values; with `read` each has what was said, null and why where it is not here."""
    return {
        "messages": [_as_json(one, read) for one in messages],
        "totals": {"messages": len(messages), **asdict(used(exchanges_of(messages)))},
    }


def _as_json(message: MessageFacts, read: Read | None) -> dict[str, Any]:
    one: dict[str, Any] = {
        "iteration": message.iteration,
        "agent": message.agent,
        "role": message.role,
        "text": message.text,
        "data": dict(message.data),
    }
    if read is not None:
        missing: dict[str, str] = {}
        for part in (name for name in PARTS if message.data.get(name)):
            text, why = _read(message.data[part], read)
            one[part] = text
            missing |= {part: why} if why else {}
        one["missing"] = missing
    return one


# -- one line ---------------------------------------------------------------------------------------------------------


def _row(message: MessageFacts) -> tuple[str, ...]:
    one = exchange_of(message)
    figures = _figures(one) if one else ("", "", "", "", "")
    agent, role = fit(message.agent, _AGENT), fit(message.role, _ROLE)
    return (str(message.iteration), agent, role, *figures, fit(message.text, _TEXT))


def _figures(one: Exchange) -> tuple[str, ...]:
    most = "at most " if one.at_most else ""
    tokens = [UNKNOWN if count is None else f"{most}{count}" for count in (one.tokens_in, one.tokens_out)]
    if not one.asked and one.replayed is None:
        return (_model(one), "none", "none", "none", "none")
    seconds = UNKNOWN if one.seconds is None else f"{one.seconds:.1f}"
    cost = UNKNOWN if one.cost is None else money(one.cost, one.currency)
    return (_model(one), *tokens, seconds, fit(cost, _COST))


def _model(one: Exchange) -> str:
    """Return the model, what the server called it where that is another name, and whether it was asked at all."""
    parts = ["replayed" if one.replayed else "", one.model or UNKNOWN, f"as {one.served_by}" if one.served_by else ""]
    return fit(", ".join(part for part in parts if part), _MODEL)


# -- all that was said ------------------------------------------------------------------------------------------------


def _part(part: str, sha256: str, read: Read) -> Iterator[str]:
    text, why = _read(sha256, read)
    if text is None:
        yield f"  {part}: {why}"
        return
    yield f"  {part} (artifact {plain(sha256[:12])}):"
    for role, said in _turns(text) if part == "prompt" else [("", text)]:
        yield from [f"    {fit(role, _MODEL)}:"] if role else []
        yield from _block(said, "    | ")


def _read(sha256: str, read: Read) -> tuple[str | None, str]:
    """Return the text of an artifact, or why it cannot be shown."""
    try:
        data = read(sha256)
    except HmoptError as error:
        return None, f"it cannot be read: {fit(error.what, 160)}"
    if data is None:
        return None, f"it (artifact {plain(sha256[:12])}) is not in this clone"
    return data.decode("utf-8", "replace"), ""


def _turns(text: str) -> list[tuple[str, str]]:
    """Return a prompt's messages; one that is no list of them is shown as it is, and that is said."""
    try:
        found = json.loads(text)
        return [(_text(turn["role"]), _text(turn["text"])) for turn in found]
    except (ValueError, TypeError, KeyError, RecursionError):
        return [("no list of messages, as stored", text)]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _block(text: str, before: str) -> Iterator[str]:
    """Yield text line by line, its indentation kept, without anything that a terminal would obey."""
    for line in text.replace("\r\n", "\n").split("\n"):
        indent = len(line) - len(line.lstrip("\t "))
        yield f"{before}{line[:indent]}{plain(line[indent:])}".rstrip()
