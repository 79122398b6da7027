# SPDX-License-Identifier: Apache-2.0
"""Tell what a reasoning model thought from what it answers: the one is kept, the other is used."""

from __future__ import annotations

import re

_CLOSED = re.compile(r"<(think|thinking)>(.*?)</\1>", re.DOTALL)
_OPENED = re.compile(r"<think(?:ing)?>(.*)\Z", re.DOTALL)
# Templates that open the thought in the prompt leave only its end in the answer.
_ENDED = re.compile(r"\A(.*?)</think(?:ing)?>", re.DOTALL)


def told_apart(text: str) -> tuple[str, str]:
    """Return (answer, thought) of a text; an answer that was cut off while the model thought is empty."""
    thoughts: list[str] = []

    def take(pattern: re.Pattern[str], group: int, text: str) -> str:
        for found in pattern.finditer(text):
            thoughts.append(found[group].strip())
        return pattern.sub("", text)

    text = take(_CLOSED, 2, text)
    text = take(_ENDED, 1, text)
    text = take(_OPENED, 1, text)
    return text.strip(), "\n\n".join(one for one in thoughts if one)
