# SPDX-License-Identifier: Apache-2.0
"""LangGraph's checkpoint saver over the run's journal: a node's records and its checkpoint in one ref update."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from pydantic import ValidationError

from git_hmopt.errors import CorruptRecordError
from git_hmopt.loop.outcome import Outcome
from git_hmopt.loop.state import CheckpointRecord, StateRecord, state_of
from git_hmopt.records.words import RunId
from git_hmopt.store.journal import Journal, OpDraft

_BRANCH = "branch:to:"


class JournalSaver(BaseCheckpointSaver[int]):
    """Keeps checkpoints of one run as `checkpoint` operations of its journal."""

    def __init__(self, journal: Journal, run: RunId) -> None:
        super().__init__()
        self._journal = journal
        self._run = run
        self.pending: Outcome | None = None
        """What the node that just ended wants published with the checkpoint that follows."""

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Publish the pending records and this checkpoint together."""
        record = _to_record(checkpoint, metadata)
        outcome, self.pending = self.pending, None
        took = {"took": outcome.took.model_dump(mode="json")} if outcome and outcome.took else {}
        # The step counts up for ever from -1, also across a resume, so it is what makes the identity unique.
        draft = OpDraft(
            op="checkpoint",
            node="checkpoint",
            iter=record.state.iteration if record.state else 0,
            attempt=record.step + 1,
            data={"checkpoint": record.model_dump(mode="json"), **took},
        )
        if outcome is None:
            self._journal.append(self._run, [draft])
        else:
            self._journal.append(
                self._run,
                [*outcome.drafts, draft],
                attachments=outcome.attachments,
                keep=outcome.keep,
                refs=outcome.refs,
                notes=outcome.notes,
            )
        return _position(config, checkpoint["id"])

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Do nothing: a node's writes are in the checkpoint after it; before that the node simply runs again."""

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the run's last checkpoint."""
        operation = self._journal.latest_checkpoint(self._run)
        if operation is None:
            return None
        record = read_checkpoint(operation.data["checkpoint"])
        checkpoint = _from_record(record)
        metadata = CheckpointMetadata(source="loop", step=record.step, parents={})
        return CheckpointTuple(_position(config, checkpoint["id"]), checkpoint, metadata, None, [])

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Yield the one checkpoint a run goes on from."""
        found = self.get_tuple(config or {})
        if found is not None:
            yield found


def read_checkpoint(data: Any) -> CheckpointRecord:
    """Return a checkpoint from a journal's JSON; CorruptRecordError names what is wrong with it."""
    try:
        return CheckpointRecord.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CorruptRecordError(f"the checkpoint is not one of ours: {where}: {first['msg']}") from error


def _position(config: RunnableConfig, checkpoint_id: str) -> RunnableConfig:
    thread = config.get("configurable", {}).get("thread_id", "run")
    return {"configurable": {"thread_id": thread, "checkpoint_ns": "", "checkpoint_id": checkpoint_id}}


def _to_record(checkpoint: Checkpoint, metadata: CheckpointMetadata) -> CheckpointRecord:
    values = dict(checkpoint["channel_values"])
    # The very first checkpoint holds the input as one value.
    state: dict[str, Any] = dict(values.pop("__start__", None) or {})
    due = sorted(name.removeprefix(_BRANCH) for name in values if name.startswith(_BRANCH))
    state.update({name: value for name, value in values.items() if not name.startswith(_BRANCH)})
    return CheckpointRecord(
        id=checkpoint["id"],
        ts=checkpoint["ts"],
        step=metadata["step"],
        state=StateRecord.model_validate(state),
        next=due,
        versions={name: _whole(version) for name, version in checkpoint["channel_versions"].items()},
        seen={
            node: {name: _whole(version) for name, version in channels.items()}
            for node, channels in checkpoint["versions_seen"].items()
        },
        updated=checkpoint.get("updated_channels"),
        engine=checkpoint["v"],
    )


def _from_record(record: CheckpointRecord) -> Checkpoint:
    state = dict(state_of(record.state))
    if "__start__" in (record.updated or []):
        values: dict[str, Any] = {"__start__": state}
    else:
        values = {**state, **{_BRANCH + node: None for node in record.next}}
    return Checkpoint(
        v=record.engine,
        id=record.id,
        ts=record.ts,
        channel_values=values,
        channel_versions=dict(record.versions),
        versions_seen={node: dict(channels) for node, channels in record.seen.items()},
        updated_channels=record.updated,
    )


def _whole(version: str | int | float) -> int:
    if not isinstance(version, int):
        raise CorruptRecordError(f"a channel version that is no whole number: {version!r}")
    return version
