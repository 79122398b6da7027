# SPDX-License-Identifier: Apache-2.0
"""The field's words as types, and the names of refs. Imports no pydantic: read paths use it."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal, NewType

Oid = NewType("Oid", str)
"""A full git object id in hexadecimal (40 or 64 digits)."""
RunId = NewType("RunId", str)
"""A run's readable name, `<yyyymmdd>-<workload>-<6 hex digits>`, as it stands in refs."""
RefName = NewType("RefName", str)
"""A full ref name, from `refs/` on."""
Symbol = NewType("Symbol", str)
"""A function or object name as the linker sees it."""
Sha256 = NewType("Sha256", str)
"""A lower-case hexadecimal sha256."""
Seed = NewType("Seed", int)
"""A seed of a layout or of a workload's data, 0 .. 2**31-1 (kernel module parameters are ints)."""
Without = Literal["profile", "graph"]
"""What evidence a run goes without, so that its worth can be measured: the profile, or the structure graph."""

BRANCHES = "refs/heads/hmopt/"
JOURNALS = "refs/hmopt/runs/"
CARE = "refs/hmopt/care/"
"""Journals about the records themselves (cutoffs), one a writer."""
CARE_RUN = RunId("care")
"""What stands for a run's name in those journals; no run is called so."""
ARTIFACTS = "refs/hmopt/artifacts/"
"""Artifacts that somebody chose to push, by run and writer."""
SCRATCH = "refs/hmopt/remotes/"
"""Where remotes stood when they were last asked; the only refs that are ever force-fetched."""
NOTES = "refs/notes/hmopt/"
RESUMED = "run.resumed"
"""The operation by which a clone goes on with a run of its own that was killed."""
NOTES_METRICS = RefName(f"{NOTES}metrics")
NOTES_VERDICTS = RefName(f"{NOTES}verdicts")

# Not `..`: git refuses it in a ref name.
_RUN = re.compile(r"[0-9]{8}-(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]*-[0-9a-f]{6}")


class RunStatus(StrEnum):
    """Where a run stands; closed runs never change again."""

    CREATED = "created"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def closed(self) -> bool:
        """Say whether the run's journal takes no more loop operations."""
        return self in (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.STOPPED)


class Verdict(StrEnum):
    """What the gate says about a candidate (DESIGN, "The gate")."""

    IMPROVED = "improved"
    IMPROVED_COUNT = "improved(count only)"
    NO_CHANGE = "no-change"
    REGRESSED = "regressed"
    INCORRECT = "incorrect"
    REJECTED = "rejected"
    CANNOT_TELL = "cannot-tell"


def new_run_id(workload: str, *, now: datetime | None = None) -> RunId:
    """Return a fresh run name; six random digits, because a time prefix repeats for minutes."""
    day = (now or datetime.now(UTC)).strftime("%Y%m%d")
    safe = re.sub(r"[^A-Za-z0-9._]+|\.{2,}", "-", workload)[:64].strip("-._") or "run"
    return RunId(f"{day}-{safe}-{secrets.token_hex(3)}")


def is_run_id(text: str) -> bool:
    """Say whether `text` has the shape of a run name."""
    return _RUN.fullmatch(text) is not None


def journal_ref(run: RunId, writer: str) -> RefName:
    """Return the ref of one writer's journal of a run, or of the records themselves (`CARE_RUN`)."""
    return RefName(f"{CARE}{writer}" if run == CARE_RUN else f"{JOURNALS}{run}/{writer}")


def journals_of(run: RunId) -> str:
    """Return the prefix of all writers' journals of a run."""
    return journal_ref(run, "")


def best_ref(run: RunId) -> RefName:
    """Return the branch a reviewer merges."""
    return RefName(f"{BRANCHES}{run}/best")


def candidate_ref(run: RunId, iteration: int) -> RefName:
    """Return the branch of one iteration's candidate."""
    return RefName(f"{BRANCHES}{run}/iter-{iteration:04d}")


def utc_now() -> str:
    """Return the time in the one format that records use, `2026-01-31T23:59:59Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
