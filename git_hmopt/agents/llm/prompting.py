# SPDX-License-Identifier: Apache-2.0
"""Prompts: versioned text files of this package, rendered strictly.

A file `prompts/<agent>-<version>.jinja` holds a system and a user part, each under a line `=== system ===` or
`=== user ===`. A changed prompt is a new version, so that a record says what a model was told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, cast

import jinja2
import jinja2.meta

from git_hmopt.agents.llm.fencing import RULE, fenced, shown
from git_hmopt.evidence.prompt import SMALLEST, render
from git_hmopt.evidence.tokens import TokenCount
from git_hmopt.gateway.message import Message
from git_hmopt.records.evidence import EvidencePack

VERSIONS: Mapping[str, int] = {"trace-analyst": 1, "conductor": 1, "coder": 1, "safety": 1}
"""The version of each prompt that is used."""
_ANSWER = 64_000
_CUT = " [cut off here]"
_PART = re.compile(r"^=== (system|user) ===\n", re.MULTILINE)


class PromptError(Exception):
    """A prompt and what it is given do not fit: a fault of this package."""


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt; `template` is its name and version, `coder/1`."""

    template: str
    messages: tuple[Message, ...]

    @property
    def size(self) -> int:
        """Return its bytes of UTF-8."""
        return sum(len(one.text.encode()) for one in self.messages)


def prompt(name: str, **values: object) -> Prompt:
    """Render a prompt; PromptError when a variable is missing, or is given and not used."""
    version = VERSIONS[name]
    text, wanted = _template(name, version)
    values = {"data_rule": RULE, **values}
    if wanted != values.keys():
        missing, unused = sorted(wanted - values.keys()), sorted(values.keys() - wanted)
        raise PromptError(f"prompt {name}/{version}: not given: {missing}, not used: {unused}")
    # It is split before anything is put in: no value can begin a part of its own.
    parts = _PART.split(text)
    if parts[0].strip() or parts[1::2] != ["system", "user"]:
        raise PromptError(f"prompt {name}/{version} is not a system and a user part")
    said = tuple(
        Message(cast(Literal["system", "user"], role), _environment().from_string(part).render(values).strip() + "\n")
        for role, part in zip(parts[1::2], parts[2::2], strict=True)
    )
    return Prompt(f"{name}/{version}", said)


@cache
def _template(name: str, version: int) -> tuple[str, frozenset[str]]:
    environment = _environment()
    assert environment.loader is not None
    text, _, _ = environment.loader.get_source(environment, f"{name}-{version}.jinja")
    return text, frozenset(jinja2.meta.find_undeclared_variables(environment.parse(text)))


@cache
def _environment() -> jinja2.Environment:
    # What is rendered is text for a model, not HTML; values are data and are never rendered themselves.
    return jinja2.Environment(
        loader=jinja2.PackageLoader("git_hmopt.agents.llm", "prompts"), undefined=jinja2.StrictUndefined,
        autoescape=False, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip


@dataclass
class Conversation:
    """A prompt with an evidence pack in it, and what was said since; it shrinks when a model finds it too long."""

    make: Callable[[str], Prompt]
    """Makes the prompt around the pack's text."""
    pack: EvidencePack
    most: int
    """Tokens of the first prompt, as bytes."""
    counted: TokenCount | None = None
    said: list[Message] = field(default_factory=list)
    _shown: int = 0
    """Bytes of the pack's text in the last prompt."""

    def messages(self) -> tuple[str, list[Message]]:
        """Return the template's name and all messages."""
        text = self._evidence(max(SMALLEST, self.most - self._fixed()))
        self._shown = len(text.encode())
        made = self.make(fenced(self._label, text))
        return made.template, [*made.messages, *self.said]

    def _evidence(self, room: int) -> str:
        """Return the pack in at most `room` bytes as they stand in a fence, where hidden characters are longer."""
        budget = room
        while True:
            text = shown(render(self.pack, max_tokens=budget, counted=self.counted).text)
            over = len(text.encode()) - room
            if over <= 0:
                return text
            if budget == SMALLEST:
                return text.encode()[: room - len(_CUT)].decode(errors="ignore") + _CUT
            budget = max(SMALLEST, budget - over)

    def shrink(self, limit: int | None) -> bool:
        """Make the messages smaller, for a model that told its limit in tokens or none; False when they cannot be."""
        before = self._bytes()
        while self._lower(limit):
            # The pack may be smaller than the limit was: it is not sent again as it is.
            if self._bytes() < before:
                return True
        return False

    def _bytes(self) -> int:
        return sum(len(one.text.encode()) for one in self.messages()[1])

    def _lower(self, limit: int | None) -> bool:
        """Lower the limit, or drop what was said since; False when neither can be."""
        fixed = self._fixed()
        if self._shown <= SMALLEST:
            # What was looked up goes before the evidence does not fit at all.
            dropped, self.said = self.said, []
            return bool(dropped)
        half = fixed + self._shown // 2
        self.most = max(fixed + SMALLEST, min(half, limit) if limit else half)
        return True

    def _fixed(self) -> int:
        """Return the bytes of a prompt beside the pack's."""
        return self.make(fenced(self._label, "")).size

    @property
    def _label(self) -> str:
        return f"evidence of run {self.pack.run}"

    def add(self, answer: str, reply: str) -> None:
        """Go on after an answer; what is beyond any answer's size is not sent back."""
        answer = answer if len(answer) <= _ANSWER else answer[:_ANSWER] + _CUT
        self.said += [Message("assistant", answer), Message("user", reply)]


def focused(pack: EvidencePack, symbol: str) -> EvidencePack:
    """Return the pack with one hotspot first: it gets the most room."""
    first = sorted(pack.hotspots, key=lambda one: one.hotspot.symbol != symbol)
    return pack.model_copy(update={"hotspots": tuple(first)})
