# SPDX-License-Identifier: Apache-2.0
"""How many tokens a text is: by its bytes, by what a server counted of earlier texts, or by a tokenizer on disk.

Bytes are the bound that holds for every byte-level tokenizer, and prompts keep it whatever is estimated. The others say
how much of a budget is really used, and make a prompt smaller where they count more than bytes: a server that adds a
template of its own, or a tokenizer of another kind. Nothing is ever downloaded.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from git_hmopt.errors import ConfigError
from git_hmopt.store.cache import Cache
from git_hmopt.store.queries import prompt_counts
from git_hmopt.store.repository import Repository


class TokenCount(Protocol):
    """A way to count; `name` says in words which."""

    @property
    def name(self) -> str: ...
    def tokens(self, text: str) -> int:
        """Return how many tokens a text is, or most likely is."""
        ...


@dataclass(frozen=True)
class Bytes:
    """A token is at least one byte of UTF-8: what no byte-level tokenizer exceeds."""

    name: str = "bytes"

    def tokens(self, text: str) -> int:
        """Return the bytes of a text."""
        return len(text.encode())


@dataclass(frozen=True)
class Usage:
    """What a server said of one call: how many tokens the prompt was that had so many bytes of UTF-8."""

    prompt_bytes: int
    prompt_tokens: int


@dataclass(frozen=True)
class ServerCount:
    """The ratio of tokens to bytes over all calls of which a server gave figures."""

    ratio: Fraction
    calls: int
    ignored: int = 0
    """Figures that cannot be: of an empty prompt, or of no tokens."""

    @property
    def name(self) -> str:
        """Return the ratio in words."""
        return f"{float(self.ratio):.3f} tokens a byte, as the server counted in {self.calls} calls"

    def tokens(self, text: str) -> int:
        """Return the text's share of what was counted, rounded up."""
        return math.ceil(len(text.encode()) * self.ratio)


def server_count(usages: Iterable[Usage]) -> ServerCount | None:
    """Return the ratio of the calls' sums, in which long prompts weigh more, as a template's tokens do not grow.

    None when no call has figures that can be.
    """
    every = list(usages)
    known = [one for one in every if one.prompt_bytes > 0 and one.prompt_tokens > 0]
    if not known:
        return None
    ratio = Fraction(sum(one.prompt_tokens for one in known), sum(one.prompt_bytes for one in known))
    return ServerCount(ratio, len(known), len(every) - len(known))


NEWEST_RUNS = 20
"""Runs whose figures count: models and their templates change, and a ratio settles after a few calls."""
_WHOLE = re.compile(r"[0-9]{1,15}")


def usages_of(repository: Repository, *, model: str | None = None, runs: int = NEWEST_RUNS) -> list[Usage]:
    """Return what servers counted of the prompts of a repository's newest runs that have such figures.

    With `model` only of prompts to that model. Figures that are no numbers are of no tokens, so that `server_count`
    counts them as ignored. Raises StoreError when the cache cannot be read.
    """
    with Cache(repository).reading() as database:
        counts = prompt_counts(database, runs=runs, model=model)
    return [Usage(*(int(one) if _WHOLE.fullmatch(one) else 0 for one in both)) for both in counts]


@dataclass(frozen=True)
class TokenizerCount:
    """A tokenizer that was read from a file."""

    name: str
    tokenizer: Any

    def tokens(self, text: str) -> int:
        """Return the tokens of a text, without those that a template adds."""
        return len(self.tokenizer.encode(text, add_special_tokens=False).ids)


def tokenizer_from(path: Path) -> TokenizerCount:
    """Read a `tokenizer.json`; ConfigError when there is none, it is none, or the package `tokenizers` is missing."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise ConfigError(
            f"the tokenizer '{path}' cannot be read: {what}", next_step="give the path of a tokenizer.json"
        ) from error
    try:
        package = importlib.import_module("tokenizers")
    except ImportError as error:
        raise ConfigError(
            "a tokenizer is configured, and the package that reads it is not installed",
            next_step="pip install tokenizers, or unset hmopt.tokenizer",
        ) from error
    try:
        tokenizer = package.Tokenizer.from_str(text)
    except Exception as error:
        # The package raises Exception itself for a file that it does not know, and no class below it: there is nothing
        # narrower to catch, and whatever is narrower did not come from there.
        if type(error) is not Exception:
            raise
        raise ConfigError(
            f"'{path}' is no tokenizer: {' '.join(str(error).split())[:200]}",
            next_step="give the path of a tokenizer.json",
        ) from error
    # A file may ask for texts to be cut or filled up: then every text would be as long.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return TokenizerCount(f"the tokenizer {path.name}", tokenizer)
