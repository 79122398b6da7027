# SPDX-License-Identifier: Apache-2.0
"""How packs put text and changes on a line."""

from __future__ import annotations


def oneline(text: str) -> str:
    """Return a text without line breaks and runs of blanks: no line of it poses as a heading or a section."""
    return " ".join(text.split())


def change_percent(ratio: str) -> str:
    """Return a recorded change, a ratio minus one, with its sign: `-3.00 %`."""
    return f"{100 * float(ratio):+.2f} %"
