# SPDX-License-Identifier: Apache-2.0
"""Sixty secrets and home paths in logs and sources, recorded and pushed in every way: none in any git object."""

from __future__ import annotations

import subprocess
from pathlib import Path

from git_hmopt.records.words import NOTES_METRICS
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.notes import NoteDraft
from tests.records.test_redaction import LOG_ONLY, PLANTED
from tests.store.recorded_clone import AT, EVERYTHING, Clone
from tests.store.repositories import RUN, Shell, make_repository, run_record
from tests.store.servers import bare


def objects(shell: Shell) -> bytes:
    """Return the bytes of every object of a repository, reachable or not."""
    listed = shell.git("cat-file", "--batch-check=%(objectname) %(objecttype)", "--batch-all-objects").splitlines()
    # Trees name files, which are read as what they are; the rest is text.
    wanted = "".join(f"{line.split()[0]}\n" for line in listed if not line.endswith(" tree"))
    return subprocess.run(
        ["git", "cat-file", "--batch"], cwd=shell.cwd, input=wanted.encode(), capture_output=True, check=True
    ).stdout


def test_none_of_sixty_is_in_any_git_object(tmp_path: Path) -> None:
    forge = bare(tmp_path / "forge.git", make_repository(tmp_path / "source"))
    Shell(tmp_path).git("clone", "-q", str(forge.cwd), "clone")
    clone = Clone(Shell(tmp_path / "clone"))
    repository = clone.repository
    in_logs = {name: secret for name, (_, secret) in (PLANTED | LOG_ONLY).items()}
    in_sources = {name: secret for name, (_, secret) in PLANTED.items()}
    assert len(in_logs) + len(in_sources) >= 60
    log = "".join(f"build: {secret}\nnext\n" for secret in in_logs.values())
    source = "".join(f"+\tx = {secret};\n" for secret in in_sources.values())
    artifacts = [
        ArtifactStore.of(repository).put_bytes(text.encode(), kind=kind, name=name, media_type="text/plain")
        for text, kind, name in ((log, "log", "build.log"), (source, "diff", "candidate.diff"))
    ]
    data = {
        "run": run_record(RUN).model_dump(mode="json"),
        "artifacts": [one.model_dump(mode="json") for one in artifacts],
        "log": log,
        "by name": in_logs,
    }
    head = repository.resolve("HEAD")
    Journal(repository).append(
        RUN,
        [OpDraft("run.created", "init_run", data=data)],
        attachments={"boot.log": log.encode(), "excerpt.c": source.encode()},
        notes={NOTES_METRICS: [NoteDraft(head, AT, {"log": log, "list": list(in_logs.values())})]},
    )
    outcome = clone.push(*EVERYTHING)
    assert outcome.sent is not None and len(outcome.sent.moves) == 3
    for shell in (clone.shell, forge):
        everything = objects(shell)
        assert everything.count(b"<redacted:") > 2 * len(in_logs)
        # JSON escapes line ends: what spans lines is looked for by its parts.
        planted = [(name, line) for name, secret in (in_logs | in_sources).items() for line in secret.split("\n")]
        # The line above a list of devices is none of them.
        secrets = [(name, line) for name, line in planted if len(line) > 5 and line != "List of devices attached"]
        found = [name for name, line in secrets if line.encode() in everything]
        assert found == []
