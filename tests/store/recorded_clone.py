# SPDX-License-Identifier: Apache-2.0
"""A person's clone of a project, in which runs can be recorded as the loop does, without running anything."""

from __future__ import annotations

from dataclasses import dataclass

from git_hmopt.records.words import (
    NOTES_METRICS,
    NOTES_VERDICTS,
    SCRATCH,
    Oid,
    RefName,
    RunId,
    best_ref,
    candidate_ref,
)
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.notes import NoteDraft, Notes
from git_hmopt.store.remote import Remote
from git_hmopt.store.repository import RefUpdate, Repository
from git_hmopt.store.transport import DEFAULT, Outcome, What, fetch, push
from tests.store.repositories import RUN, Shell, evaluation_record, metric_record, run_record

AT = "2026-01-31T12:00:00Z"
EVERYTHING = tuple(What)


@dataclass
class Clone:
    """A person's clone of the project."""

    shell: Shell

    @property
    def repository(self) -> Repository:
        """Return it, opened anew."""
        return Repository.open(self.shell.cwd)

    def remote(self, name: str = "origin", said: list[str] | None = None) -> Remote:
        """Return its remote."""
        return Remote.of(self.repository, name, say=(said if said is not None else []).append)

    def push(self, *what: What, said: list[str] | None = None, **options: object) -> Outcome:
        """Push, the default when nothing is named."""
        return push(self.repository, self.remote(said=said), what or DEFAULT, **options)  # type: ignore[arg-type]

    def push_all(self) -> Outcome:
        """Push everything there is."""
        return self.push(*EVERYTHING)

    def fetch(self) -> Outcome:
        """Fetch."""
        return fetch(self.repository, self.remote())

    def refs(self, *prefixes: str) -> dict[RefName, Oid]:
        """Return refs by git itself, without the scratch ones."""
        listed = self.shell.git("for-each-ref", "--format=%(refname) %(objectname)", *prefixes).splitlines()
        pairs = (line.split(" ") for line in listed)
        return {RefName(ref): Oid(oid) for ref, oid in pairs if not ref.startswith(SCRATCH)}

    def operations(self, run: RunId = RUN) -> list[tuple[str, str]]:
        """Return who recorded what of a run."""
        return [(one.writer, one.op) for one in Journal(self.repository).read(run).operations]

    def noted(self, ref: RefName = NOTES_METRICS) -> dict[Oid, list[str]]:
        """Return the lines of a note ref."""
        return Notes(self.repository, ref).read()

    def record(self, run: RunId = RUN, *, iterations: int = 1) -> list[Oid]:
        """Record a run with candidates, as the loop does; return the candidates."""
        repository = self.repository
        journal, head = Journal(repository), repository.resolve("HEAD")
        base = {"base_commit": head, "base_tree": repository.tree_of(head)}
        described = run_record(run, workload=run[9:-7]).model_copy(update=base).model_dump(mode="json")
        journal.append(run, [OpDraft("run.created", "init_run", data={"run": described})])
        stored = ArtifactStore.of(repository)
        made = []
        for number in range(1, iterations + 1):
            tree = repository.write_tree(repository.tree_of(head), {"lib/sort.c": f"int n{run}{number};\n".encode()})
            commit = repository.commit(tree, [head], f"candidate {number}")
            made.append(commit)
            diff = repository.diff(head, commit)
            artifact = stored.put_bytes(diff, kind="diff", name="candidate.diff", media_type="text/x-diff")
            metric = metric_record(commit, value=str(number), run=run).model_dump(mode="json")
            verdict = evaluation_record(iteration=number, run=run).model_dump(mode="json")
            journal.append(
                run,
                [
                    OpDraft("artifact.stored", "store", number, data={"artifact": artifact.model_dump(mode="json")}),
                    OpDraft("judged", "judge", number, data={"metrics": [metric], "evaluation": verdict}),
                ],
                keep=[commit],
                refs=[RefUpdate(candidate_ref(run, number), commit, None)],
                notes={
                    NOTES_METRICS: [NoteDraft(commit, AT, metric)],
                    NOTES_VERDICTS: [NoteDraft(commit, AT, verdict)],
                },
            )
        updates = [RefUpdate(best_ref(run), made[-1], None)] if made else []
        journal.append(run, [OpDraft("run.closed", "report", data={"status": "succeeded"})], refs=updates)
        return made
