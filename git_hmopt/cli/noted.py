# SPDX-License-Identifier: Apache-2.0
"""What `log` and `reattach` have in common: the notes as they stand, and what is known of changes only elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping

from git_hmopt.records.words import NOTES_METRICS, NOTES_VERDICTS
from git_hmopt.report.elsewhere import Found, elsewhere, sums, unmeasured
from git_hmopt.report.noted import Noted, noted
from git_hmopt.store.cache import Cache
from git_hmopt.store.history import PlainCommit
from git_hmopt.store.note_lines import standing_lines
from git_hmopt.store.patch_ids import patch_ids
from git_hmopt.store.queries import devices, retracted
from git_hmopt.store.repository import Repository


def noted_here(repository: Repository) -> tuple[Noted, Mapping[str, str]]:
    """Return what all writers' notes say that are here, and the hosts of the runs whose journals are."""
    with Cache(repository).reading() as database:
        back, hosts = retracted(database), {str(run): host for run, host in devices(database).items()}
    metrics, verdicts = standing_lines(repository, NOTES_METRICS, NOTES_VERDICTS)
    return noted(metrics, verdicts, back), hosts


def begun(known: Noted) -> str | None:
    """Return when the first verdict or number was noted; commits of before hold no copy of what was measured."""
    return min([*(one.at for one in known.numbers), *(one.at for one in known.verdicts)], default=None)


def found_elsewhere(repository: Repository, line: Iterable[PlainCommit], known: Noted) -> list[Found]:
    """Return the commits whose change was measured as another commit only."""
    commits = unmeasured(line, known) if known.verdicts else []
    if not commits:
        return []
    ids = patch_ids(repository, {commit.oid: commit.parent for commit in commits})
    return elsewhere(commits, ids, patch_ids(repository, sums(known)), known)


def say_skipped(known: Noted) -> None:
    """Tell on standard error what of the notes this version cannot read."""
    if known.skipped:
        listed = ", ".join(f"{count} x {reason}" for reason, count in sorted(known.skipped.items()))
        print(f"git hmopt: note: lines of notes that this version cannot read are left out: {listed}", file=sys.stderr)
