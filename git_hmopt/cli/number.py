# SPDX-License-Identifier: Apache-2.0
"""Numbers on the command line."""

from __future__ import annotations

import argparse


def count(text: str) -> int:
    """Return a whole number of 0 or more."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number of 0 or more")
    # Python refuses to read more digits than 4,300, and nothing that is counted here needs ten.
    if len(text) > 18:
        raise argparse.ArgumentTypeError(f"'{text[:18]}...' is out of range")
    return int(text)


def positive(text: str) -> int:
    """Return a whole number of 1 or more."""
    value = count(text)
    if value == 0:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value
