# SPDX-License-Identifier: Apache-2.0
"""The evidence packs that a run stored: what was known before each decision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from git_hmopt.errors import CorruptRecordError, StoreError, UsageError
from git_hmopt.records.evidence import EvidencePack
from git_hmopt.records.words import RunId
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.journal import Journal
from git_hmopt.store.repository import Repository


@dataclass(frozen=True)
class Packed:
    """A pack and the iteration it was made for."""

    iteration: int
    artifact: str
    """sha256 of its bytes."""


def packs_of(repository: Repository, run: RunId) -> list[Packed]:
    """Return a run's packs in the order of their iterations; of a step that was taken twice, the last."""
    return list({one.iteration: one for one in _packs(repository, run)}.values())


def _packs(repository: Repository, run: RunId) -> Iterator[Packed]:
    for entry in Journal(repository).read(run).entries:
        done = entry.operation
        if done.op != "evidence.packed":
            continue
        stored = done.data.get("artifact")
        if not isinstance(stored, dict) or not isinstance(stored.get("sha256"), str):
            raise CorruptRecordError(
                f"run {run} does not say which evidence pack it stored for iteration {done.iter}",
                next_step="see: git hmopt fsck",
            )
        yield Packed(done.iter, stored["sha256"])


def pack_before(repository: Repository, run: RunId, iteration: int | None) -> tuple[Packed, EvidencePack]:
    """Return the pack of one iteration, or a run's last.

    Raises UsageError when there is none, StoreError when its bytes are not in this clone or are no pack.
    """
    packs = packs_of(repository, run)
    chosen = [one for one in packs if iteration in (None, one.iteration)]
    if not chosen:
        known = ", ".join(str(one.iteration) for one in packs) or "no iteration"
        raise UsageError(
            f"run {run} has no evidence pack for iteration {iteration}"
            if packs
            else f"run {run} has no evidence pack: it ended before one was made",
            next_step=f"it has those of {known}" if packs else "git hmopt show says how it ended",
        )
    packed = chosen[-1]
    data = ArtifactStore.of(repository).read(packed.artifact)
    if data is None:
        raise StoreError(
            f"the evidence pack of iteration {packed.iteration} is not in this clone ({packed.artifact[:12]})",
            next_step="git hmopt fetch REMOTE brings it, where it was pushed",
        )
    try:
        return packed, EvidencePack.model_validate_json(data)
    except ValidationError as error:
        raise StoreError(
            f"the evidence pack {packed.artifact[:12]} cannot be read: {error.errors()[0]['msg']}",
            next_step="a newer git hmopt may know its version",
        ) from error
