# SPDX-License-Identifier: Apache-2.0
"""Push, fetch and sync over real transports: what travels, what never does, and what happens when others are faster."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from git_hmopt.errors import StoreError, UsageError
from git_hmopt.records.run import AgentMessage, CutoffRecord
from git_hmopt.records.words import (
    ARTIFACTS,
    BRANCHES,
    CARE_RUN,
    JOURNALS,
    NOTES_METRICS,
    NOTES_VERDICTS,
    RunId,
    best_ref,
    journal_ref,
)
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.notes import NoteDraft, Notes
from git_hmopt.store.remote import Namespace, Remote
from git_hmopt.store.repository import RefUpdate
from git_hmopt.store.transport import What, push
from tests.store.recorded_clone import AT, EVERYTHING, Clone
from tests.store.repositories import (
    OTHER_RUN,
    RUN,
    Shell,
    make_repository,
    run_record,
)
from tests.store.servers import bare, dulwich_server, http_server, path_server, refusing


@pytest.fixture
def source(tmp_path: Path) -> Shell:
    """Return the project."""
    return make_repository(tmp_path / "source")


@pytest.fixture
def forge(tmp_path: Path, source: Shell) -> Shell:
    """Return the shared repository."""
    return bare(tmp_path / "served/forge.git", source)


def cloned(tmp_path: Path, name: str, address: str, *options: str) -> Clone:
    """Clone as a person does."""
    Shell(tmp_path).git("clone", "-q", *options, address, name)
    return Clone(Shell(tmp_path / name))


@pytest.fixture
def alice(tmp_path: Path, forge: Shell) -> Clone:
    """Return one person's clone."""
    return cloned(tmp_path, "alice", str(forge.cwd))


@pytest.fixture
def bob(tmp_path: Path, forge: Shell) -> Clone:
    """Return another's."""
    return cloned(tmp_path, "bob", str(forge.cwd))


def served(forge: Shell) -> set[str]:
    """Return the refs a server has besides the project's branch."""
    return set(forge.git("for-each-ref", "--format=%(refname)").splitlines()) - {"refs/heads/main"}


# -- what travels ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("serve", [path_server, http_server, dulwich_server])
def test_a_run_arrives_as_it_was_recorded(
    tmp_path: Path, forge: Shell, serve: Callable[[Path], contextlib.AbstractContextManager[str]]
) -> None:
    with serve(forge.cwd.parent) as address:
        one, two = (cloned(tmp_path, name, f"{address}/forge.git") for name in ("one", "two"))
        made = one.record(iterations=3)
        before = two.refs("refs/heads", "refs/remotes", "refs/tags")
        sent = one.push(*EVERYTHING).sent
        assert sent is not None and sent.operations == 8 and sent.lines == 6 and sent.bytes > 0
        taken = two.fetch()
        assert taken.artifacts == 3
        assert two.operations() == one.operations() != []
        assert two.noted() == one.noted() and two.noted(NOTES_VERDICTS) == one.noted(NOTES_VERDICTS)
        assert set(two.noted()) == set(made)
        assert two.refs(BRANCHES) == one.refs(BRANCHES)
        # Every candidate is there whole, and only our own refs came.
        two.shell.git("fsck", "--connectivity-only", *made)
        assert {ref: oid for ref, oid in two.refs("refs/heads", "refs/remotes", "refs/tags").items()
                if not ref.startswith(BRANCHES)} == before  # fmt: skip
        assert not two.push(*EVERYTHING).sent
        assert two.fetch().taken.new == []


def test_by_default_metrics_verdicts_and_evidence_leave(alice: Clone, forge: Shell) -> None:
    alice.record()
    said: list[str] = []
    outcome = alice.push(said=said)
    writer = Journal(alice.repository).writer
    assert served(forge) == {journal_ref(RUN, writer), NOTES_METRICS, NOTES_VERDICTS}
    # Told before it leaves.
    listed = [said.index(f"sending {line}") for line in outcome.sent.listed()] if outcome.sent else []
    assert listed and max(listed) < said.index("pushing 3 of 3 refs to origin")
    assert f"sending run {RUN}: journal" in said


def asked(clone: Clone) -> list[str]:
    """Record an exchange with a model, and return what was said by its parts, each unlike all else that leaves."""
    store = ArtifactStore.of(clone.repository)
    words = {part: f"the {part} itself of this exchange" for part in ("prompt", "answer", "thinking")}
    kept = [
        store.put_bytes(text.encode(), kind=part, name=f"{part}.txt", media_type="text/plain")
        for part, text in words.items()
    ]
    message = AgentMessage(
        iteration=1, agent="coder", role="answer", text="one edit", data={one.kind: one.sha256 for one in kept}
    ).model_dump(mode="json")
    artifacts = [one.model_dump(mode="json") for one in kept]
    drafts = [OpDraft("agent.asked", "coder_generate_patch", 1, data={"message": message, "artifacts": artifacts})]
    Journal(clone.repository).append(RUN, drafts)
    return list(words.values())


def everything_in(forge: Shell) -> bytes:
    """Return the contents of every object that a server has."""
    return subprocess.run(
        ["git", "cat-file", "--batch-all-objects", "--batch"], cwd=forge.cwd, capture_output=True, check=True
    ).stdout


def test_what_was_said_to_models_stays_here_and_the_listing_says_so(alice: Clone, forge: Shell) -> None:
    alice.record()
    words = asked(alice)
    line = "prompts, answers and thinking of models (3) stay here: only --what artifacts sends them"
    assert alice.push(dry_run=True).listed()[-1] == line
    said: list[str] = []
    outcome = alice.push(said=said)
    assert outcome.listed()[-1] == line and said.index(line) < said.index("pushing 3 of 3 refs to origin")
    left = everything_in(forge)
    # The figures left, and not one word of what was said.
    assert b'"agent.asked"' in left and not any(word.encode() in left for word in words)


def test_what_was_said_to_models_goes_with_the_artifacts_where_they_are_named(alice: Clone, forge: Shell) -> None:
    alice.record()
    words = asked(alice)
    outcome = alice.push(*EVERYTHING)
    assert outcome.listed()[-1] == "prompts, answers and thinking of models (3) go as artifacts, redacted"
    left = everything_in(forge)
    assert all(word.encode() in left for word in words)
    # Nothing leaves: there is nothing to say of it.
    assert alice.push(*EVERYTHING).listed() == []


def test_a_push_of_other_runs_says_nothing_of_models(alice: Clone) -> None:
    alice.record()
    asked(alice)
    alice.record(OTHER_RUN)
    outcome = alice.push(runs=[OTHER_RUN])
    assert outcome.sent and outcome.listed() == outcome.sent.listed()


@pytest.mark.parametrize("what", EVERYTHING)
def test_each_kind_can_be_sent_alone(alice: Clone, forge: Shell, what: What) -> None:
    alice.record()
    alice.push(what)
    prefix = {
        What.METRICS: NOTES_METRICS, What.VERDICTS: NOTES_VERDICTS, What.EVIDENCE: JOURNALS, What.BRANCHES: BRANCHES,
        What.ARTIFACTS: ARTIFACTS,
    }[what]  # fmt: skip
    assert served(forge) and all(ref.startswith(prefix) for ref in served(forge))


def test_only_the_named_run_leaves(alice: Clone, forge: Shell) -> None:
    alice.record()
    alice.record(OTHER_RUN)
    alice.push(What.EVIDENCE, What.BRANCHES, runs=[OTHER_RUN])
    assert {ref.split("/")[3] for ref in served(forge)} == {OTHER_RUN}


def test_a_dry_run_sends_nothing(alice: Clone, forge: Shell) -> None:
    alice.record()
    would = alice.push(dry_run=True).sent
    assert would is not None and len(would.moves) == 3
    assert served(forge) == set()


def test_more_than_the_limit_is_refused_before_anything_leaves(alice: Clone, forge: Shell) -> None:
    alice.record()
    with pytest.raises(UsageError, match=r"MiB would leave, more than 0\.0 MiB; look first .*--max-size 1$"):
        alice.push(largest=10)
    assert served(forge) == set()


def test_secrets_in_artifacts_do_not_travel(alice: Clone, bob: Clone, forge: Shell) -> None:
    repository = alice.repository
    token = "ghp_" + "a1B2" * 9
    artifact = ArtifactStore.of(repository).put_bytes(
        f"password: {token}\n".encode(), kind="log", name="build.log", media_type="text/plain"
    )
    binary = ArtifactStore.of(repository).put_bytes(b"\0\1" * 9, kind="trace", name="perf.data", media_type="x/y")
    records = [one.model_dump(mode="json") for one in (artifact, binary)]
    described = run_record(RUN).model_dump(mode="json")
    drafts = [OpDraft("run.created", "init_run", data={"run": described, "artifacts": records})]
    Journal(repository).append(RUN, drafts)
    outcome = alice.push(What.ARTIFACTS)
    assert outcome.left_out == ["1 artifacts: no text"]
    (ref,) = served(forge)
    assert forge.git("ls-tree", "--name-only", ref) == f"{artifact.sha256}.redacted"
    everything = everything_in(forge)
    assert b"password" in everything and token.encode() not in everything
    # A redacted copy is not the artifact: it does not come under its name.
    assert bob.fetch().artifacts == 0
    assert ArtifactStore.of(bob.repository).path(artifact.sha256) is None


# -- others ----------------------------------------------------------------------------------------------------------


def test_two_clones_have_the_union(alice: Clone, bob: Clone) -> None:
    alice.record(iterations=2)
    bob.record(OTHER_RUN)
    bob.push()
    outcome = alice.push()
    # What bob had pushed came along.
    assert alice.operations(OTHER_RUN) == bob.operations(OTHER_RUN) != []
    assert outcome.taken.apart == {}
    bob.fetch()
    assert bob.operations() == alice.operations() != []
    assert bob.noted() == alice.noted()
    assert sum(len(lines) for lines in bob.noted().values()) == 3


def test_lines_that_plain_git_added_are_kept(alice: Clone, bob: Clone) -> None:
    (commit,) = alice.record()
    alice.push()
    bob.shell.git("fetch", "-q", "origin", f"{NOTES_METRICS}:{NOTES_METRICS}")
    bob.shell.git(
        "notes", f"--ref={NOTES_METRICS}", "append", "-m", '{"at":"2026-02-01T00:00:00Z","by":"hand"}', commit
    )
    bob.shell.git("push", "-q", "origin", NOTES_METRICS)
    Notes(alice.repository).append([NoteDraft(commit, AT, {"more": "1"})])
    alice.push()
    lines = alice.noted()[commit]
    assert len([line for line in lines if line]) == 3
    assert any("by" in line for line in lines)
    bob.fetch()
    assert bob.noted()[commit] == lines


def test_six_clones_that_push_at_once_lose_nothing(tmp_path: Path, forge: Shell) -> None:
    clones = [cloned(tmp_path, f"clone{number}", str(forge.cwd)) for number in range(6)]
    for number, clone in enumerate(clones):
        clone.record(RunId(f"20260131-lib-sort-00000{number}"))
    failures: list[BaseException] = []

    def work(clone: Clone) -> None:
        try:
            clone.push()
        except BaseException as error:  # noqa: BLE001 - told by the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(clone,)) for clone in clones]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    last = cloned(tmp_path, "last", str(forge.cwd))
    last.fetch()
    assert len(last.refs(JOURNALS)) == 6
    assert sum(len(lines) for lines in last.noted().values()) == 6


def test_many_refs_go_in_batches(alice: Clone, bob: Clone) -> None:
    for number in range(45):
        Journal(alice.repository).append(RunId(f"20260131-x-{number:06x}"), [OpDraft("run.created", "init_run")])
    said: list[str] = []
    alice.push(said=said)
    assert [line for line in said if line.startswith("pushing")] == [
        f"pushing {count} of 45 refs to origin" for count in (20, 40, 45)
    ]
    assert len(bob.fetch().taken.new) == 45


def test_a_branch_that_was_changed_here_and_there_stays_as_it_is(alice: Clone, bob: Clone, forge: Shell) -> None:
    (commit,) = alice.record()
    alice.push(*EVERYTHING)
    bob.fetch()
    for clone in (alice, bob):
        repository = clone.repository
        tree = repository.write_tree(repository.tree_of(commit), {"README": clone.shell.cwd.name.encode()})
        other = repository.commit(tree, [commit], "by hand")
        repository.update_refs([RefUpdate(best_ref(RUN), other, commit)])
    alice.push(*EVERYTHING)
    here = bob.refs(best_ref(RUN))
    outcome = bob.push(*EVERYTHING)
    assert outcome.left_out == [f"{best_ref(RUN)}: the branch was changed here and there"]
    assert bob.refs(best_ref(RUN)) == here != alice.refs(best_ref(RUN))
    assert forge.git("rev-parse", best_ref(RUN)) == alice.refs(best_ref(RUN))[best_ref(RUN)]


def test_a_branch_that_is_checked_out_is_not_moved(alice: Clone, bob: Clone) -> None:
    (commit,) = alice.record()
    alice.push(*EVERYTHING)
    bob.fetch()
    bob.shell.git("checkout", "-q", best_ref(RUN).removeprefix("refs/heads/"))
    repository = alice.repository
    tree = repository.write_tree(repository.tree_of(commit), {"README": b"x"})
    repository.update_refs([RefUpdate(best_ref(RUN), repository.commit(tree, [commit], "more"), commit)])
    alice.push(*EVERYTHING)
    outcome = bob.fetch()
    assert outcome.left_out == [f"{best_ref(RUN)}: it is checked out here: git merge --ff-only brings it forward"]
    assert bob.shell.git("status", "--porcelain") == ""


def test_a_copied_clone_that_writes_as_the_same_writer_is_told_apart(tmp_path: Path, alice: Clone) -> None:
    alice.record()
    shutil.copytree(alice.shell.cwd, tmp_path / "copy")
    copy = Clone(Shell(tmp_path / "copy"))
    for clone, op in ((alice, "comment.a"), (copy, "comment.b")):
        Journal(clone.repository).append(RUN, [OpDraft(op, "review")])
    alice.push()
    outcome = copy.push()
    ref = journal_ref(RUN, Journal(copy.repository).writer)
    assert outcome.left_out == [
        f"{ref}: two clones wrote it as the same writer (was the repository copied with its .git/hmopt?)"
    ]
    # Neither lost anything.
    assert copy.operations()[-1][1] == "comment.b" and alice.operations()[-1][1] == "comment.a"


# -- servers ---------------------------------------------------------------------------------------------------------


def test_a_server_that_moves_one_ref_at_a_time(alice: Clone, bob: Clone, forge: Shell) -> None:
    forge.git("config", "receive.advertiseAtomic", "false")
    alice.record()
    alice.push(*EVERYTHING)
    bob.fetch()
    assert bob.operations() == alice.operations() != []


def test_a_server_that_keeps_nothing_outside_heads(alice: Clone, bob: Clone, forge: Shell) -> None:
    refusing(forge, "refs/heads/*) ;; *")
    alice.record()
    said: list[str] = []
    outcome = alice.push(said=said)
    assert outcome.namespace is Namespace.HEADS
    assert "origin keeps no refs outside refs/heads/: using refs/heads/hmopt-data/" in said
    assert served(forge) and all(ref.startswith("refs/heads/hmopt-data/") for ref in served(forge))
    bob.fetch()
    assert bob.operations() == alice.operations() != []
    assert bob.noted() == alice.noted() != {}
    # It is remembered, and others find out on their own.
    bob.record(OTHER_RUN)
    assert bob.push().namespace is Namespace.HEADS
    alice.fetch()
    assert alice.operations(OTHER_RUN) == bob.operations(OTHER_RUN) != []
    alice.record(RunId("20260131-lib-sort-ffffff"))
    said.clear()
    alice.push(said=said)
    assert not any("keeps no refs" in line for line in said)


def test_a_server_that_refuses_everything_says_why(alice: Clone, forge: Shell) -> None:
    refusing(forge, "*", "closed for the season")
    alice.record()
    with pytest.raises(StoreError, match=r"'origin' refuses refs/hmopt/runs/\S+: .*; nothing was sent; "):
        alice.push()
    assert served(forge) == set()


def test_when_the_second_half_fails_it_says_what_was_sent(alice: Clone, bob: Clone, forge: Shell) -> None:
    refusing(forge, f"{ARTIFACTS}*|refs/heads/hmopt-data/artifacts/*")
    alice.record()
    with pytest.raises(
        StoreError, match=r"refuses refs/hmopt/artifacts/.*; \d refs were sent before; artifacts were not"
    ):
        alice.push(*EVERYTHING)
    bob.fetch()
    assert bob.operations() == alice.operations() != []


def test_a_remote_that_is_not_there_is_one_line(alice: Clone) -> None:
    alice.record()
    alice.shell.git("remote", "set-url", "origin", "/nonexistent/forge.git")
    with pytest.raises(StoreError, match=r"forge\.git") as caught:
        alice.push()
    assert "\n" not in str(caught.value)


# -- the user's own --------------------------------------------------------------------------------------------------


def test_a_plain_git_fetch_and_push_are_as_before(alice: Clone, bob: Clone, forge: Shell) -> None:
    before = bob.shell.git("config", "--list", "--local")
    alice.record()
    alice.push(*EVERYTHING)
    bob.fetch()
    assert bob.shell.git("config", "--list", "--local") == before
    assert bob.shell.git("fetch", "origin") == ""
    bob.shell.git("push", "-q", "origin", "main")
    bob.shell.git("pull", "-q", "--ff-only")


def test_the_users_hook_is_heard(alice: Clone, forge: Shell) -> None:
    hook = alice.shell.cwd / ".git/hooks/pre-push"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'not on a Sunday' >&2\nexit 1\n")
    hook.chmod(0o755)
    alice.record()
    with pytest.raises(StoreError, match="failed"):
        alice.push()
    assert served(forge) == set()


def test_which_remote_is_meant(tmp_path: Path, alice: Clone, forge: Shell) -> None:
    repository = alice.repository
    assert Remote.of(repository, None).name == "origin"
    alice.shell.git("remote", "rename", "origin", "upstream")
    assert Remote.of(repository, None).name == "upstream"  # the branch's own, and the only one
    alice.shell.git("remote", "add", "mine", str(forge.cwd))
    assert Remote.of(repository, None).name == "upstream"
    alice.shell.git("checkout", "-q", "--detach")
    with pytest.raises(UsageError, match=r"which remote\? There are 2: mine, upstream"):
        Remote.of(repository, None)
    with pytest.raises(UsageError, match="unknown remote 'upstrem', expected 'upstream'"):
        Remote.of(repository, "upstrem")
    alice.record()
    push(repository, Remote.of(repository, str(forge.cwd)))
    assert journal_ref(RUN, Journal(repository).writer) in served(forge)


@pytest.mark.parametrize("options", [("--depth=1",), ("--filter=blob:none",), ("--bare",)])
def test_other_kinds_of_clones_push_and_fetch(
    tmp_path: Path, forge: Shell, bob: Clone, options: tuple[str, ...]
) -> None:
    forge.git("config", "uploadpack.allowFilter", "true")
    clone = cloned(tmp_path, "other", f"file://{forge.cwd}", *options)
    clone.record(iterations=2)
    clone.push(*EVERYTHING)
    bob.fetch()
    assert bob.operations() == clone.operations() != []
    bob.shell.git("fsck", "--connectivity-only")
    bob.record(OTHER_RUN)
    bob.push(*EVERYTHING)
    clone.fetch()
    assert clone.operations(OTHER_RUN) == bob.operations(OTHER_RUN) != []


# -- expiry ----------------------------------------------------------------------------------------------------------


def cut(clone: Clone, run: RunId, before: str = "2999-01-01T00:00:00Z") -> None:
    """Record a cutoff and delete what it covers, as an expiry does."""
    record = CutoffRecord(of_run=run, before=before, reason="old")
    data = {"cutoff": [record.model_dump(mode="json")]}
    Journal(clone.repository).append(CARE_RUN, [OpDraft("cutoff", "expire", data=data)])
    for ref in clone.refs(f"{JOURNALS}{run}", f"{BRANCHES}{run}"):
        clone.shell.git("update-ref", "-d", ref)


def test_a_stale_clone_brings_nothing_back(alice: Clone, bob: Clone, forge: Shell) -> None:
    (commit,) = alice.record()
    alice.record(OTHER_RUN)
    alice.push(*EVERYTHING)
    bob.fetch()
    cut(alice, RUN)
    alice.push(*EVERYTHING)
    for ref in served(forge):
        if f"/{RUN}/" in ref:
            forge.git("update-ref", "-d", ref)
    Notes(bob.repository).append([NoteDraft(commit, "2999-01-02T00:00:00Z", {"run": RUN, "later": "1"})])
    bob.push(*EVERYTHING)
    assert not [ref for ref in served(forge) if RUN in ref]
    assert [ref for ref in served(forge) if OTHER_RUN in ref]
    alice.fetch()
    assert alice.refs(f"{JOURNALS}{RUN}", f"{BRANCHES}{RUN}") == {}
    assert alice.operations(OTHER_RUN)
