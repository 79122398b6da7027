# SPDX-License-Identifier: Apache-2.0
"""A clone with runs in it as the loop records them, and how faults get into it with git alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from git_hmopt.records.words import (
    NOTES_METRICS,
    NOTES_VERDICTS,
    Oid,
    RefName,
    RunId,
    best_ref,
    candidate_ref,
    journal_ref,
)
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.notes import NoteDraft
from git_hmopt.store.repository import RefUpdate, Repository
from tests.store.repositories import RUN, Shell, evaluation_record, metric_record, run_record

AT = "2026-01-31T12:00:00Z"


def record_run(
    repository: Repository,
    run: RunId = RUN,
    *,
    iterations: int = 1,
    accepted: int = 0,
    status: str | None = "succeeded",
    created: str = "2026-01-31T10:00:00Z",
) -> list[Oid]:
    """Record a run with candidates, of which the first `accepted` are accepted; return the candidates."""
    journal, head = Journal(repository), repository.resolve("HEAD")
    described = run_record(run, workload=run[9:-7], created=created).model_dump(mode="json") | {"base_commit": head}
    journal.append(
        run,
        [OpDraft("run.created", "init_run", data={"run": described}), OpDraft("repo.snapshotted", "snapshot_repo")],
        refs=[RefUpdate(best_ref(run), head, None)],
    )
    made: list[Oid] = []
    best = head
    for number in range(1, iterations + 1):
        tree = repository.write_tree(repository.tree_of(best), {"lib/sort.c": f"int n{run}{number};\n".encode()})
        commit = repository.commit(tree, [best], f"candidate {number}")
        made.append(commit)
        diff = repository.diff(best, commit)
        stored = ArtifactStore.of(repository).put_bytes(
            diff, kind="diff", name="candidate.diff", media_type="text/x-diff"
        )
        metric = metric_record(commit, value=str(number), run=run).model_dump(mode="json")
        verdict = evaluation_record(iteration=number, run=run, accepted=number <= accepted).model_dump(mode="json")
        moved = [RefUpdate(best_ref(run), commit, best)] if number <= accepted else []
        journal.append(
            run,
            [
                OpDraft("artifact.stored", "store", number, data={"artifact": stored.model_dump(mode="json")}),
                OpDraft("judged", "judge", number, data={"metrics": [metric], "evaluation": verdict}),
            ],
            keep=[commit],
            refs=[RefUpdate(candidate_ref(run, number), commit, None), *moved],
            notes={
                NOTES_METRICS: [NoteDraft(commit, AT, metric)],
                NOTES_VERDICTS: [NoteDraft(commit, AT, verdict)],
            },
        )
        best = commit if number <= accepted else best
    if status is not None:
        journal.append(run, [OpDraft("run.closed", "report", data={"status": status})])
    return made


@dataclass(frozen=True)
class World:
    """A clone with runs."""

    shell: Shell

    @property
    def repository(self) -> Repository:
        """Return it, opened anew."""
        return Repository.open(self.shell.cwd)

    @property
    def home(self) -> Path:
        """Return the directory of ours below the git directory."""
        return self.repository.home

    def journal(self, run: RunId = RUN) -> RefName:
        """Return this clone's journal of a run."""
        return journal_ref(run, (self.home / "writer").read_text().strip())

    def operations(self, run: RunId = RUN) -> list[dict[str, object]]:
        """Return the operations of this clone's journal, oldest first, by git alone."""
        commits = self.shell.git("rev-list", "--first-parent", "--reverse", self.journal(run)).split()
        return [json.loads(self.shell.git("show", f"{commit}:op.json")) for commit in commits]

    def appended(self, change: Callable[[dict[str, object]], dict[str, object] | bytes | None], *kept: str) -> str:
        """Append to the journal what `change` makes of the last operation (None: a commit without one)."""
        last = self.operations()[-1]
        last |= {"op": "comment", "node": "review", "lamport": int(str(last["lamport"])) + 1, "data": {}}
        made = change(last)
        lines = b""
        if made is not None:
            data = made if isinstance(made, bytes) else json.dumps(made).encode()
            blob = self.shell.git("hash-object", "-w", "--stdin", stdin=data)
            lines = f"100644 blob {blob}\top.json\n".encode()
        tree = self.shell.git("mktree", "--missing", stdin=lines)
        return self.committed(tree, *kept)

    def committed(self, tree: str, *kept: str) -> str:
        """Append a commit to the journal, whether or not what it names is there."""
        parents = [self.shell.git("rev-parse", self.journal()), *kept]
        lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
        lines += ["author T <t@example.org> 1769860800 +0000", "committer T <t@example.org> 1769860800 +0000", "", "x"]
        commit = self.shell.git(
            "hash-object", "-t", "commit", "-w", "--stdin", "--literally", stdin="\n".join(lines).encode()
        )
        self.point(self.journal(), commit)
        return commit

    def point(self, ref: str, oid: str) -> None:
        """Move a ref wherever, as a crash or another program may."""
        path = self.repository.common_dir / ref
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{oid}\n")

    def lose(self, oid: str) -> None:
        """Remove an object, as a disk does."""
        self.unpacked(oid).unlink()

    def spoil(self, oid: str) -> None:
        """Damage an object."""
        path = self.unpacked(oid)
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-3] + b"xyz")

    def unpacked(self, oid: str) -> Path:
        """Return the file of a loose object."""
        return self.repository.common_dir / "objects" / oid[:2] / oid[2:]

    def note(self, text: str, commit: str = "HEAD", ref: RefName = NOTES_METRICS) -> None:
        """Write a note as `git notes` does."""
        self.shell.git("notes", f"--ref={ref}", "add", "-f", "-F", "-", commit, stdin=text.encode())
