# SPDX-License-Identifier: Apache-2.0
"""Records about records: which runs are cut off, in journals that travel like any other. Imports no pydantic.

A run is never deleted by deleting its refs alone: the next clone that still has it would push it back. So an expiry is
a record, `cutoff` (which run, before when, why), and every reader, fetch and push leaves out what it covers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from git_hmopt.records.words import ARTIFACTS, BRANCHES, CARE, JOURNALS, Oid, RefName, RunId
from git_hmopt.store.chain import Wanted, order, read_chains
from git_hmopt.store.repository import Repository

CUTOFF = "cutoff"
"""The operation, and the key of its data: a list of `CutoffRecord`s."""
_RUN_OF_LINE = re.compile(rb'"run":"([^"\\]+)"')
_AT_OF_LINE = re.compile(rb'^\{"at":"([^"\\]+)"')


@dataclass(frozen=True)
class Cutoff:
    """All that was recorded of a run up to a time is expired."""

    run: RunId
    before: str
    """As `words.utc_now` writes it."""
    reason: str


def cutoffs(repository: Repository, heads: Mapping[RefName, Oid] | None = None) -> dict[RunId, Cutoff]:
    """Return the latest cutoff of each run, from all writers' care journals here (or from `heads`)."""
    found: dict[RunId, Cutoff] = {}
    refs = repository.list_refs(CARE) if heads is None else heads
    entries = [
        entry
        for chain in read_chains(repository.objects, [Wanted(ref, head) for ref, head in refs.items()])
        for entry in chain.entries
    ]
    for entry in sorted(entries, key=order):
        listed = entry.fields["data"].get(CUTOFF)
        for one in listed if isinstance(listed, list) else ():
            cut = _cutoff(one)
            if cut and (cut.run not in found or found[cut.run].before < cut.before):
                found[cut.run] = cut
    return found


def _cutoff(one: object) -> Cutoff | None:
    if not isinstance(one, dict):
        return None
    run, before, reason = (one.get(key) for key in ("of_run", "before", "reason"))
    if one.get("v") == 1 and isinstance(run, str) and isinstance(before, str) and isinstance(reason, str):
        return Cutoff(RunId(run), before, reason)
    return None


def run_of(ref: RefName) -> RunId | None:
    """Return the run that a ref belongs to, or None."""
    for prefix in (JOURNALS, BRANCHES, ARTIFACTS):
        if ref.startswith(prefix):
            return RunId(ref.removeprefix(prefix).partition("/")[0])
    return None


def covered(
    repository: Repository, refs: Iterable[tuple[RefName, Oid]], cut: Mapping[RunId, Cutoff]
) -> frozenset[tuple[RefName, Oid]]:
    """Return those of `refs` that hold nothing newer than their run's cutoff.

    A branch has no time of its own and goes with its run; a journal that grew after the cutoff stays.
    """
    doomed = [(ref, oid) for ref, oid in refs if run_of(ref) in cut]
    journals = sorted({oid for ref, oid in doomed if ref.startswith(JOURNALS)})
    if not journals:
        return frozenset(doomed)
    asked = "".join(f"{oid}\n" for oid in journals).encode()
    said = repository.git.run("log", "--no-walk=unsorted", "--stdin", "--format=%H %ct", stdin=asked).text
    times = {Oid(line[0]): int(line[1]) for line in (row.split() for row in said.splitlines())}

    def later(ref: RefName, oid: Oid) -> bool:
        return ref.startswith(JOURNALS) and times[oid] > _seconds(cut[RunId(str(run_of(ref)))].before)

    return frozenset((ref, oid) for ref, oid in doomed if not later(ref, oid))


def line_dropper(cut: Mapping[RunId, Cutoff]) -> Callable[[bytes], bool]:
    """Return what says of a line of a note that its run was cut off after it was written."""

    def drop(line: bytes) -> bool:
        run, at = _RUN_OF_LINE.search(line), _AT_OF_LINE.match(line)
        if run is None or at is None:
            return False
        one = cut.get(RunId(run[1].decode("utf-8", "replace")))
        return one is not None and at[1].decode("utf-8", "replace") <= one.before

    return drop


def _seconds(at: str) -> int:
    try:
        return int(datetime.strptime(at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
    except ValueError:
        return 0
