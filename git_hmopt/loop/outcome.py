# SPDX-License-Identifier: Apache-2.0
"""What a node hands over: the new state, and all that becomes visible in one ref update together with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from git_hmopt.loop.state import RunState
from git_hmopt.records.run import NodeRecord
from git_hmopt.records.words import Oid, RefName
from git_hmopt.store.journal import OpDraft
from git_hmopt.store.notes import NoteDraft
from git_hmopt.store.repository import RefUpdate


@dataclass(frozen=True)
class Outcome:
    """A node's result; nothing of it is visible before the checkpoint that follows it is."""

    state: RunState
    drafts: Sequence[OpDraft] = ()
    attachments: Mapping[str, bytes] = field(default_factory=dict)
    keep: Sequence[Oid] = ()
    refs: Sequence[RefUpdate] = ()
    notes: Mapping[RefName, Sequence[NoteDraft]] = field(default_factory=dict)
    took: NodeRecord | None = None
    """What the node took; it cannot know that itself."""
