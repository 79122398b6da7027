# SPDX-License-Identifier: Apache-2.0
"""Slots: what a profile leaves to its user, written `<slot: what belongs here>`.

A profile for a kernel that nobody here can build says what each command must do and leaves the command itself open.
A slot may be all of a value or a part of it; `<` is no character a command starts with, so nothing real looks like one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from git_hmopt.config.document import JsonValue, KeyPath

_SLOT = re.compile(r"<slot:\s*([^>]*?)\s*>")


def slots(value: JsonValue | dict[str, JsonValue], at: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Yield where a slot stands below `value`, and what belongs there."""
    if isinstance(value, str):
        for found in _SLOT.finditer(value):
            yield at, " ".join(found[1].split())
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from slots(inner, (*at, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from slots(inner, (*at, index))


def slot_problem(what: str) -> str:
    """Return what a message says about an unfilled slot."""
    return f"this slot is not filled in, expected {what or 'a value of your own'} (git hmopt doctor lists all slots)"
