# SPDX-License-Identifier: Apache-2.0
"""From the word on the command line to a proposer: `playbook`, `patches:<directory|mbox>`, `patches:<branch>`."""

from __future__ import annotations

from pathlib import Path

from git_hmopt.agents.proposer import Proposer
from git_hmopt.errors import UsageError
from git_hmopt.records.words import Oid
from git_hmopt.store.repository import Repository


def make_proposer(spec: str, repository: Repository, base: Oid, local_root: Path) -> Proposer:
    """Return the proposer that `spec` names; UsageError when it names none."""
    if spec == "playbook":
        from git_hmopt.agents.playbook import Playbook

        return Playbook()
    kind, _, where = spec.partition(":")
    if kind == "patches" and where:
        from git_hmopt.agents.patches import PatchesProposer

        return PatchesProposer(where)
    raise UsageError(
        f"no proposer is called '{spec}'", next_step="use playbook, or patches:<directory, mbox or branch>"
    )
