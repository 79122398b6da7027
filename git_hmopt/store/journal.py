# SPDX-License-Identifier: Apache-2.0
"""Journals: what happened in a run, one operation a commit, one ref a writer, published with everything it names.

A step (its operations, its attachments, the branches it moves and the notes it writes) becomes visible by ONE ref
transaction. What can happen to it:
1. killed before the transaction: nothing is visible; the objects written are garbage for `git gc`;
2. killed after it: everything is visible; the repeated step finds its identities and adds nothing;
3. our journal or a notes ref moved meanwhile (another process of this clone): read on, build again, try again;
4. a ref of the caller's moved: MovedRefsError, since only the caller knows what that means; nothing is visible.
"""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from git_hmopt.errors import StoreError
from git_hmopt.records.operation import Operation
from git_hmopt.records.redaction import redact_file, redact_values
from git_hmopt.records.words import (
    CARE_RUN,
    JOURNALS,
    Oid,
    RefName,
    RunId,
    is_run_id,
    journal_ref,
    journals_of,
    utc_now,
)
from git_hmopt.store.chain import OPERATION_FILE, ChainEntry, JournalName, Wanted, is_deep, order, read_chains
from git_hmopt.store.notes import NoteDraft, Notes
from git_hmopt.store.objects import FILE, TOOL, ObjectBatch, TreeEntry, format_commit
from git_hmopt.store.repository import MovedRefsError, RefUpdate, Repository
from git_hmopt.store.retry import WRITERS_QUEUE, retried

LARGEST_ATTACHMENT = 1 << 20
"""Bytes; what is larger belongs into the artifact store, and only its manifest into the journal."""

Identity = tuple[str, str, int, str, int, str]


@dataclass(frozen=True)
class OpDraft:
    """An operation before it has a place in a journal; `data` is JSON without floats."""

    op: str
    node: str
    iter: int = 0
    attempt: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class JournalEntry:
    """An operation, the journal commit it stands in, and the names of its attachments."""

    operation: Operation
    commit: Oid
    kept: tuple[Oid, ...]
    attachments: tuple[str, ...]


@dataclass(frozen=True)
class JournalReading:
    """A run as all its writers recorded it, in the one order; what could not be read is counted by reason."""

    run: RunId
    entries: tuple[JournalEntry, ...]
    skipped: Mapping[str, int]
    _repository: Repository = field(repr=False, compare=False)

    @property
    def operations(self) -> list[Operation]:
        """Return the operations in order."""
        return [entry.operation for entry in self.entries]

    def attachment(self, commit: Oid, name: str) -> bytes | None:
        """Return an attachment of the operation in `commit`, or None when it has none of that name."""
        known = any(entry.commit == commit and name in entry.attachments for entry in self.entries)
        return self._repository.read_path(commit, name) if known else None


@dataclass
class _Own:
    """What this process knows of its own journal of one run, so that appending need not read it again."""

    head: Oid | None
    lamport: int
    seen: set[Identity]


class Journal:
    """All journals of a repository; appends go to this clone's writer."""

    def __init__(self, repository: Repository, *, before_publish: Callable[[], None] = lambda: None) -> None:
        """`before_publish` is called between writing the objects and moving the refs (a crash test's place)."""
        self._repository = repository
        self._before_publish = before_publish
        self._own: dict[RunId, _Own] = {}
        self._notes: dict[RefName, Notes] = {}

    @functools.cached_property
    def writer(self) -> str:
        """Return the name this clone writes under; made up by whoever writes first, never by a reader."""
        return writer_of(self._repository)

    def append(
        self,
        run: RunId,
        drafts: Sequence[OpDraft],
        *,
        attachments: Mapping[str, bytes] | None = None,
        keep: Sequence[Oid] = (),
        refs: Sequence[RefUpdate] = (),
        notes: Mapping[RefName, Sequence[NoteDraft]] | None = None,
    ) -> list[Operation]:
        """Record a step, and return the operations that are new; a step recorded before adds nothing and returns [].

        `attachments` (text) go with the first new operation, `keep` (commits that must stay alive) with the last;
        `refs` and `notes` become visible with them. MovedRefsError when one of `refs` is not at its `old`.
        """
        if not drafts:
            raise ValueError("a step without an operation")
        if not is_run_id(run) and run != CARE_RUN:
            raise StoreError(f"{run!r} is no name of a run")
        step = _Step(drafts, dict(attachments or {}), tuple(keep), tuple(refs), dict(notes or {}))
        step.check()
        queue = self._repository.home / WRITERS_QUEUE
        return retried(lambda: self._publish(run, step), transient=(_LostRaceError,), queue=queue)

    def _publish(self, run: RunId, step: _Step) -> list[Operation]:
        own = self._own.get(run) or self._load(run)
        batch = ObjectBatch(self._repository.objects)
        new, head = _build(batch, run, self.writer, own, step)
        if not new:
            return []
        updates = [RefUpdate(journal_ref(run, self.writer), head, own.head)]
        published = []
        for ref, drafts in step.notes.items():
            noted = self._notes.setdefault(ref, Notes(self._repository, ref))
            update = noted.prepare(batch, drafts)
            if update:
                published.append((noted, update))
        updates += [update for _, update in published]
        batch.flush()
        self._before_publish()
        try:
            self._repository.update_refs([*updates, *step.refs], reason=f"git hmopt: {new[0].op}")
        except MovedRefsError as error:
            self._own.pop(run, None)
            for noted in self._notes.values():
                noted.forget()
            if {update.ref for update in step.refs} & set(error.refs):
                raise
            raise _LostRaceError(error.what, error.refs, next_step=error.next_step) from error
        for noted, update in published:
            noted.published(update)
        own.seen.update(operation.identity for operation in new)
        self._own[run] = _Own(head, new[-1].lamport, own.seen)
        return new

    def _load(self, run: RunId) -> _Own:
        heads = self._repository.list_refs(journals_of(run))
        ours = journal_ref(run, self.writer)
        own = _Own(heads.get(ours), 0, set())
        for chain in read_chains(self._repository.objects, [Wanted(ref, head) for ref, head in heads.items()]):
            for entry in chain.entries:
                own.lamport = max(own.lamport, entry.fields["lamport"])
                if chain.ref == ours:
                    own.seen.add(_identity(entry))
        self._own[run] = own
        return own

    def read(self, run: RunId) -> JournalReading:
        """Return the union of all writers' operations of a run, as of now; an empty one when nobody knows the run."""
        heads = self._repository.list_refs(journals_of(run))
        entries: list[ChainEntry] = []
        skipped: Counter[str] = Counter()
        seen: set[Identity] = set()
        for chain in read_chains(self._repository.objects, [Wanted(ref, head) for ref, head in heads.items()]):
            skipped.update(chain.skipped)
            for entry in chain.entries:
                if _identity(entry) in seen:
                    skipped["recorded twice"] += 1
                    continue
                seen.add(_identity(entry))
                entries.append(entry)
        read = tuple(
            JournalEntry(Operation(**entry.fields), entry.commit, entry.kept, tuple(entry.attachments))
            for entry in sorted(entries, key=order)
        )
        return JournalReading(run, read, skipped, self._repository)

    def runs(self) -> list[RunId]:
        """Return the names of all runs that have a journal here, oldest day first."""
        names = (JournalName.of(ref) for ref in self._repository.list_refs(JOURNALS))
        return sorted({name.run for name in names if name})

    def latest_checkpoint(self, run: RunId) -> Operation | None:
        """Return the last operation of a run whose data has the key `checkpoint`, or None."""
        operations = reversed(self.read(run).operations)
        return next((operation for operation in operations if "checkpoint" in operation.data), None)


class _LostRaceError(MovedRefsError):
    """Another process of this clone was faster on a ref that is ours to move again."""


@dataclass(frozen=True)
class _Step:
    drafts: Sequence[OpDraft]
    attachments: Mapping[str, bytes]
    keep: tuple[Oid, ...]
    refs: tuple[RefUpdate, ...]
    notes: Mapping[RefName, Sequence[NoteDraft]]

    def check(self) -> None:
        for name, data in self.attachments.items():
            if not name or "/" in name or name in (".", "..", ".git", OPERATION_FILE) or "\0" in name:
                raise StoreError(f"{name!r} is no name for an attachment")
            if len(data) > LARGEST_ATTACHMENT:
                raise StoreError(
                    f"attachment '{name}' has {len(data)} bytes, more than {LARGEST_ATTACHMENT}",
                    next_step="put it into the artifact store and record its sha256",
                )
            if b"\0" in data or data.startswith(b"\x1f\x8b"):
                # Redaction cannot look into it.
                raise StoreError(
                    f"attachment '{name}' is no text", next_step="put it into the artifact store and record its sha256"
                )


def _build(batch: ObjectBatch, run: RunId, writer: str, own: _Own, step: _Step) -> tuple[list[Operation], Oid | None]:
    """Build the commits of the operations that are new; return them and the journal's new head."""
    at = utc_now()
    drafts = list(step.drafts)
    new: list[Operation] = []
    in_step: set[Identity] = set()
    counts: Counter[str] = Counter()
    files = []
    for name, data in step.attachments.items():
        text, removed = redact_file(name, data)
        counts.update(removed)
        files.append(TreeEntry(FILE, batch.add("blob", text), name))
    drafts = [draft for draft in drafts if _draft_identity(run, writer, draft) not in own.seen]
    if drafts and step.keep and own.head is None and len(drafts) == 1:
        # The first operation is parentless, so that `--first-parent` is exact: it can keep nothing alive.
        drafts.insert(0, OpDraft(op="journal.opened", node="journal"))
    head = own.head
    for index, draft in enumerate(drafts):
        identity = _draft_identity(run, writer, draft)
        if identity in in_step:
            raise StoreError(f"a step has '{draft.op}' of node '{draft.node}' twice", next_step="count `attempt` up")
        in_step.add(identity)
        removed_first = counts if index == 0 else Counter[str]()
        operation = _operation(draft, run, writer, own.lamport + 1 + index, at, removed_first)
        entries = [TreeEntry(FILE, batch.add("blob", operation.canonical().encode() + b"\n"), OPERATION_FILE)]
        entries += files if index == 0 else []
        keep = step.keep if index == len(drafts) - 1 else ()
        parents = [*([head] if head else []), *(oid for oid in dict.fromkeys(keep) if oid != head)]
        message = f"{operation.op} (run {run}, iteration {operation.iter})"
        seconds = int(datetime.strptime(at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
        head = batch.add("commit", format_commit(batch.add_tree(entries), parents, message, TOOL, seconds))
        new.append(operation)
    return new, head


def _operation(draft: OpDraft, run: RunId, writer: str, lamport: int, at: str, attached: Counter[str]) -> Operation:
    data, counts = redact_values(dict(draft.data))
    if is_deep(data):
        raise StoreError(f"the data of '{draft.op}' is nested too deep to be read again")
    counts += attached
    if counts:
        data["redacted"] = dict(sorted(counts.items()))
    return Operation(
        op=draft.op,
        run=run,
        writer=writer,
        iter=draft.iter,
        node=draft.node,
        attempt=draft.attempt,
        lamport=lamport,
        at=at,
        data=data,
    )


def _draft_identity(run: RunId, writer: str, draft: OpDraft) -> Identity:
    return (run, writer, draft.iter, draft.node, draft.attempt, draft.op)


def _identity(entry: ChainEntry) -> Identity:
    fields = entry.fields
    return (fields["run"], fields["writer"], fields["iter"], fields["node"], fields["attempt"], fields["op"])


def writer_of(repository: Repository) -> str:
    """Return the name this clone writes journals under, made up once; StoreError when it cannot be kept."""
    path = repository.home / "writer"
    try:
        with contextlib.suppress(FileNotFoundError):
            return _known_writer(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix="writer-") as stream:
            stream.write(f"{uuid.uuid4()}\n")
            stream.flush()
            os.fsync(stream.fileno())
            # A link, unlike a rename, lets the first of several processes win, with the whole content.
            with contextlib.suppress(FileExistsError):
                os.link(stream.name, path)
        return _known_writer(path)
    except OSError as error:
        raise StoreError(f"'{path}' cannot be kept: {error.strerror}", next_step="check its permissions") from error


def _known_writer(path: Path) -> str:
    text = path.read_text(encoding="ascii", errors="replace").strip()
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise StoreError(f"'{path}' holds no UUID", next_step="delete it: this clone gets a new one") from error
