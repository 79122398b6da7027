# SPDX-License-Identifier: Apache-2.0
"""Read what programs print for people: without colours, the last line of it."""

from __future__ import annotations

import re

_COLOUR = re.compile(rb"\x1b\[[0-9;]*[A-Za-z]")


def plain(output: bytes) -> str:
    """Return output as text without colours."""
    return _COLOUR.sub(b"", output).decode(errors="replace")


def last_line(output: bytes) -> str:
    """Return the last line that is not empty, at most 200 characters of it; empty when there is none."""
    return plain(output).rstrip().rpartition("\n")[2].strip()[:200]
