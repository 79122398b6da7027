# SPDX-License-Identifier: Apache-2.0
"""What the bot knows of each pull request: its head, what was asked, how it went, and what was answered.

One file a pull request, written by whoever does a job about it: such jobs are done one after the other.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from git_hmopt.errors import CorruptRecordError, StoreError
from git_hmopt.records.words import Oid

_MOST_ASKS, _MOST_REPLIES = 100, 200


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Withdrawal(_Kept):
    """A verdict that a person took back."""

    by: str
    reason: str
    order: str = ""
    """The id of the command: done again it takes back no other."""


class Ask(_Kept):
    """Something to be measured, and what came of it."""

    id: str
    """Of the comment that asked, or of the gate; the same request again has the same."""
    kind: Literal["check", "optimize"]
    by: str
    """A login; empty for the gate."""
    base: Oid
    """The merge base."""
    head: Oid
    note: str = ""
    """What else must be known of the base."""
    workloads: tuple[str, ...]
    """One, of `optimize`."""
    seed: int | None = None
    """Of a measurement that is done again; None for the one that the base gives."""
    run: str | None = None
    """The run's name, of `optimize`."""
    propose: bool = False
    """Whether what is found is proposed."""
    status: Literal["waiting", "done", "failed", "stopped", "outdated"] = "waiting"
    answer: int | None = None
    """Of `check`: 0, 1 or 125, as its exit code."""
    told: str = ""
    """Markdown: what came of it."""
    detail: str = ""
    """Markdown: the evidence."""
    withdrawn: Withdrawal | None = None

    @property
    def verdict(self) -> bool:
        """Say whether it claims something that a person may take back."""
        return self.status == "done" and (self.answer in (0, 1) if self.kind == "check" else self.run is not None)


class Reply(_Kept):
    """The one answer below a comment with commands."""

    comment: int
    parts: tuple[str, ...]
    """Markdown; `ask:ID` stands for how that one goes."""
    at: float = 0.0
    """When its delivery came, in seconds since the epoch."""


class Ledger(_Kept):
    """A pull request."""

    v: Literal[1] = 1
    number: int
    head: Oid | None = None
    head_since: float = 0.0
    """When the bot first knew it, in seconds since the epoch."""
    said_of: Oid | None = None
    """The head whose static impact stands in the comment."""
    impact: str = ""
    """That impact, as Markdown."""
    title: str = ""
    asks: tuple[Ask, ...] = ()
    replies: tuple[Reply, ...] = ()

    def ask(self, id: str) -> Ask | None:
        """Return what was asked under that id."""
        return next((one for one in self.asks if one.id == id), None)

    def reply(self, comment: int) -> Reply | None:
        """Return the answer to a comment."""
        return next((one for one in self.replies if one.comment == comment), None)

    def answered_since(self, time: float) -> int:
        """Return how many comments were answered since then."""
        return sum(one.at >= time for one in self.replies)

    def with_ask(self, ask: Ask) -> Ledger:
        """Return it with an ask, in the place of the one with its id."""
        if self.ask(ask.id):
            asks = tuple(ask if one.id == ask.id else one for one in self.asks)
        else:
            asks = (*self.asks, ask)[-_MOST_ASKS:]
        return self.model_copy(update={"asks": asks})

    def with_reply(self, reply: Reply) -> Ledger:
        """Return it with a reply."""
        kept = [one for one in self.replies if one.comment != reply.comment]
        if len(kept) >= _MOST_REPLIES:
            # Anybody may ask for help: that pushes out no answer which is still to be edited.
            oldest = next((one for one in kept if not any(part.startswith("ask:") for part in one.parts)), kept[0])
            kept.remove(oldest)
        return self.model_copy(update={"replies": (*kept, reply)})

    def ending(self, status: Literal["stopped", "outdated"]) -> Ledger:
        """Return it with whatever waits ended."""
        asks = (one.model_copy(update={"status": status}) if one.status == "waiting" else one for one in self.asks)
        return self.model_copy(update={"asks": tuple(asks)})


@dataclass(frozen=True)
class Ledgers:
    """The files of one webhook."""

    root: Path

    def read(self, number: int) -> Ledger:
        """Return what is known of a pull request; CorruptRecordError when its file cannot be read."""
        path = self._path(number)
        try:
            return Ledger.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return Ledger(number=number)
        except OSError as error:
            raise StoreError(f"'{path}' cannot be read: {error.strerror}") from error
        except ValidationError as error:
            raise CorruptRecordError(
                f"'{path}' cannot be read: {error.errors()[0]['msg']}",
                next_step="use the git hmopt that wrote it, or move the file away",
            ) from error

    def write(self, ledger: Ledger) -> None:
        """Keep it; after a power cut either this stands there, or what was before."""
        path = self._path(ledger.number)
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.NamedTemporaryFile(dir=self.root, prefix=".", delete=False) as stream:
                try:
                    stream.write(ledger.model_dump_json(exclude_none=True, indent=1).encode())
                    stream.flush()
                    os.fsync(stream.fileno())
                    Path(stream.name).replace(path)
                except BaseException:
                    Path(stream.name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise StoreError(f"'{path}' cannot be written: {error.strerror}", next_step="free space there") from error

    def all(self) -> Iterator[Ledger]:
        """Yield every pull request that can be read."""
        for path in sorted(self.root.glob("[0-9]*.json")):
            try:
                yield Ledger.model_validate_json(path.read_bytes())
            except (OSError, ValidationError):
                continue

    def taken_back(self) -> tuple[int, int]:
        """Return how many verdicts were given here, and how many of them were taken back."""
        given = [ask for ledger in self.all() for ask in ledger.asks if ask.verdict or ask.withdrawn]
        return len(given), sum(one.withdrawn is not None for one in given)

    def _path(self, number: int) -> Path:
        return self.root / f"{int(number)}.json"
