# SPDX-License-Identifier: Apache-2.0
"""Journals: everything of a step or nothing, nothing twice, nothing lost, whatever dies or races."""

from __future__ import annotations

import json
import signal
import subprocess
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from git_hmopt.errors import StoreError
from git_hmopt.records.words import NOTES_METRICS, Oid, RunId, best_ref, candidate_ref, journal_ref
from git_hmopt.store.cache import Cache
from git_hmopt.store.chain import CUT, MALFORMED, OTHER_JOURNAL, UNKNOWN_VERSION
from git_hmopt.store.journal import Journal, OpDraft, writer_of
from git_hmopt.store.notes import NoteDraft
from git_hmopt.store.queries import list_runs, skipped_in_all
from git_hmopt.store.repository import MovedRefsError, RefUpdate, Repository
from tests.store.repositories import (
    ALICE,
    BOB,
    OTHER_RUN,
    RUN,
    Shell,
    fields,
    foreign,
    in_processes,
    make_repository,
    metric_record,
    run_record,
    start_python,
)

CREATED = OpDraft("run.created", "init_run", data={"run": run_record().model_dump(mode="json")})


def draft(number: int, **data: object) -> OpDraft:
    """Return the measuring step of an iteration."""
    return OpDraft("patch.measured", "profile_candidate", iter=number, data=data)


def candidate(repository: Repository, number: int) -> Oid:
    """Return a new commit on top of HEAD."""
    head = repository.resolve("HEAD")
    tree = repository.write_tree(repository.tree_of(head), {"lib/sort.c": b"int x%d;\n" % number})
    return repository.commit(tree, [head], f"lib/sort: try {number}")


def test_a_journal_as_plain_git_sees_it(any_shell: Shell, any_repository: Repository) -> None:
    journal = Journal(any_repository)
    tried = candidate(any_repository, 1)
    first = journal.append(RUN, [CREATED])
    second = journal.append(
        RUN,
        [draft(1, note="x"), OpDraft("checkpoint", "profile_candidate", iter=1, data={"checkpoint": {"v": 1}})],
        attachments={"build.log": b"all good\n"},
        keep=[tried],
        refs=[RefUpdate(candidate_ref(RUN, 1), tried, None)],
    )
    assert [operation.lamport for operation in first + second] == [1, 2, 3]
    ref = journal_ref(RUN, journal.writer)
    assert uuid.UUID(journal.writer)
    git = any_shell.git
    assert git("log", "--first-parent", "--format=%s", ref).splitlines() == [
        f"checkpoint (run {RUN}, iteration 1)",
        f"patch.measured (run {RUN}, iteration 1)",
        f"run.created (run {RUN}, iteration 0)",
    ]
    assert git("log", "-1", "--format=%an <%ae>", ref) == "git-hmopt <git-hmopt@localhost>"
    assert git("rev-parse", f"{ref}^2") == tried
    assert git("rev-parse", "--verify", "-q", f"{ref}~2^1", check=False) == ""
    assert git("show", f"{ref}~1:build.log") == "all good"
    assert json.loads(git("show", f"{ref}:op.json"))["data"] == {"checkpoint": {"v": 1}}
    assert git("rev-parse", candidate_ref(RUN, 1)) == tried
    git("fsck", "--strict", "--no-dangling")
    reading = Journal(Repository.open(any_shell.cwd)).read(RUN)
    assert reading.operations == first + second
    assert reading.skipped == {}
    assert [entry.attachments for entry in reading.entries] == [(), ("build.log",), ()]
    assert reading.attachment(reading.entries[1].commit, "build.log") == b"all good\n"
    assert reading.attachment(reading.entries[0].commit, "build.log") is None
    assert reading.attachment(reading.entries[0].commit, "op.json") is None
    assert reading.entries[2].kept == (tried,)
    assert journal.runs() == [RUN]


def test_a_repeated_step_adds_nothing(repository: Repository) -> None:
    journal = Journal(repository)
    head = repository.resolve("HEAD")
    step = [draft(1, value="1"), draft(2, value="2")]
    refs = [RefUpdate(best_ref(RUN), head, None)]
    assert len(journal.append(RUN, [CREATED])) == 1
    assert len(journal.append(RUN, step, refs=refs)) == 2
    before = repository.list_refs("refs/")
    # In this process, and in one that starts after a crash. The refs of the step do not conflict: it is done.
    assert journal.append(RUN, step, refs=refs) == []
    assert Journal(repository).append(RUN, step, refs=refs) == []
    assert repository.list_refs("refs/") == before
    # Half of it new: only that is added.
    assert [op.iter for op in Journal(repository).append(RUN, [draft(2), draft(3)])] == [3]
    retried = OpDraft("patch.measured", "profile_candidate", iter=2, attempt=1)
    assert [op.lamport for op in Journal(repository).append(RUN, [retried])] == [5]


def test_steps_that_cannot_be_recorded(repository: Repository) -> None:
    journal = Journal(repository)
    with pytest.raises(ValueError, match="without an operation"):
        journal.append(RUN, [])
    with pytest.raises(StoreError, match="is no name of a run"):
        journal.append(RunId("../../heads/main"), [CREATED])
    with pytest.raises(StoreError, match="twice; count `attempt` up"):
        journal.append(RUN, [draft(1), draft(1)])
    with pytest.raises(TypeError, match="float"):
        journal.append(RUN, [draft(1, value=1.5)])
    with pytest.raises(StoreError, match="nested too deep"):
        journal.append(RUN, [draft(1, value=json.loads("[" * 70 + "]" * 70))])
    for name in ("", "op.json", "a/b", "..", ".git"):
        with pytest.raises(StoreError, match="is no name for an attachment"):
            journal.append(RUN, [CREATED], attachments={name: b"x"})
    for data, reason in ((b"x" * 1_048_577, "more than"), (b"a\0b", "is no text"), (b"\x1f\x8b\x08", "is no text")):
        with pytest.raises(StoreError, match=reason):
            journal.append(RUN, [CREATED], attachments={"a": data})
    assert repository.list_refs("refs/hmopt") == {}


def test_a_ref_of_the_callers_that_moved_is_the_callers_business(repository: Repository) -> None:
    journal = Journal(repository)
    head, first = repository.resolve("HEAD"), repository.resolve("HEAD~1")
    repository.update_refs([RefUpdate(best_ref(RUN), first, None)])
    with pytest.raises(MovedRefsError) as caught:
        journal.append(RUN, [CREATED], refs=[RefUpdate(best_ref(RUN), head, None)])
    assert caught.value.refs == (best_ref(RUN),)
    assert journal.runs() == []
    assert journal.append(RUN, [CREATED], refs=[RefUpdate(best_ref(RUN), head, first)])


def test_notes_are_published_with_the_journal(shell: Shell, repository: Repository) -> None:
    journal = Journal(repository)
    head = repository.resolve("HEAD")
    for number in range(3):
        note = NoteDraft(head, "2026-01-31T10:00:00Z", metric_record(head, value=str(number)).model_dump(mode="json"))
        journal.append(RUN, [draft(number)], notes={NOTES_METRICS: [note]})
    assert len(shell.git("notes", "--ref=hmopt/metrics", "show", head).splitlines()) == 3
    assert '"value":"2"' in shell.git("log", "-1", "--notes=hmopt/metrics")


def test_gc_keeps_every_candidate_alive(shell: Shell, repository: Repository) -> None:
    journal = Journal(repository)
    tried = [candidate(repository, number) for number in range(4)]
    # The very first operation has no parents: something before it must hold the candidate.
    journal.append(RUN, [draft(0)], keep=[tried[0]])
    journal.append(RUN, [draft(1)], keep=tried[1:3])
    lost = tried[3]
    shell.git("reflog", "expire", "--expire=now", "--all")
    shell.git("gc", "--quiet", "--prune=now")
    for oid in tried[:3]:
        assert shell.git("cat-file", "-t", oid) == "commit"
    assert shell.git("cat-file", "-t", lost, check=False) == ""
    reading = Journal(Repository.open(shell.cwd)).read(RUN)
    assert [operation.op for operation in reading.operations] == ["journal.opened", "patch.measured", "patch.measured"]
    assert [kept for entry in reading.entries for kept in entry.kept] == tried[:3]
    ref = journal_ref(RUN, journal.writer)
    assert shell.git("rev-list", "--first-parent", "--max-parents=0", ref) == reading.entries[0].commit


def test_journal_of_a_shallow_clone_can_be_pushed(tmp_path: Path) -> None:
    origin = make_repository(tmp_path / "origin")
    origin.git("clone", "-q", "--depth=1", origin.cwd.as_uri(), str(tmp_path / "shallow"))
    repository = Repository.open(tmp_path / "shallow")
    tried = candidate(repository, 1)
    Journal(repository).append(RUN, [CREATED, draft(1)], keep=[tried])
    Shell(tmp_path / "shallow").git("push", "-q", "origin", "refs/hmopt/*:refs/hmopt/*")
    origin.git("fsck", "--strict", "--no-dangling")
    assert [op.op for op in Journal(Repository.open(origin.cwd)).read(RUN).operations] == [
        *("run.created", "patch.measured")
    ]


# -- several writers ------------------------------------------------------------------------------------------------


def test_operations_of_all_writers_in_one_order(any_shell: Shell, any_repository: Repository) -> None:
    journal = Journal(any_repository)
    journal.append(RUN, [CREATED, draft(1)])
    foreign(any_shell, fields(BOB, lamport=2), writer=BOB)
    foreign(any_shell, fields(ALICE, lamport=2, op="something.new"), writer=ALICE)
    foreign(any_shell, fields(ALICE, run=OTHER_RUN, lamport=1), writer=ALICE, run=OTHER_RUN)
    reading = Journal(any_repository).read(RUN)
    expected = sorted([(1, journal.writer), (2, journal.writer), (2, ALICE), (2, BOB)])
    assert [(op.lamport, op.writer) for op in reading.operations] == expected
    assert "something.new" in [op.op for op in reading.operations]
    assert journal.runs() == [RUN, OTHER_RUN]
    # A process that reads the others goes on after them.
    foreign(any_shell, fields(BOB, lamport=41), writer=BOB)
    assert Journal(any_repository).append(RUN, [draft(2)])[0].lamport == 42


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (fields(BOB, v=2), UNKNOWN_VERSION),
        ({"v": 7}, UNKNOWN_VERSION),
        (b"{", MALFORMED),
        (b"", MALFORMED),
        (b"[" * 100_000, MALFORMED),
        (b"[]", MALFORMED),
        (b"\xff", MALFORMED),
        (fields(BOB, v=True), MALFORMED),
        (fields(BOB, v="1"), MALFORMED),
        (fields(BOB, lamport="5"), MALFORMED),
        (fields(BOB, lamport=True), MALFORMED),
        (fields(BOB, lamport=-1), MALFORMED),
        (fields(BOB, lamport=2**63), MALFORMED),
        (fields(BOB, data=[]), MALFORMED),
        (fields(BOB, node="\ud800"), MALFORMED),
        (fields(BOB, data={"deep": json.loads("[" * 300 + "]" * 300)}), MALFORMED),
        (fields(BOB, extra=1), MALFORMED),
        (fields(BOB, run=OTHER_RUN), OTHER_JOURNAL),
        (fields(ALICE), OTHER_JOURNAL),
    ],
)
def test_an_operation_that_cannot_be_read_is_skipped_alone_and_counted(
    shell: Shell, repository: Repository, content: Mapping[str, object] | bytes, reason: str
) -> None:
    Journal(repository).append(RUN, [CREATED])
    parent = foreign(shell, fields(BOB, lamport=2), writer=BOB)
    parent = foreign(shell, content, writer=BOB, parent=parent)
    foreign(shell, fields(BOB, lamport=9, attempt=1), writer=BOB, parent=parent)
    reading = Journal(repository).read(RUN)
    assert [op.lamport for op in reading.operations] == [1, 2, 9]
    assert reading.skipped == {reason: 1}


def test_refs_that_are_no_journals(any_shell: Shell, any_repository: Repository) -> None:
    journal = Journal(any_repository)
    journal.append(RUN, [CREATED])
    blob = any_shell.git("hash-object", "-w", "--stdin", stdin=b"x")
    any_shell.git("update-ref", f"refs/hmopt/runs/{RUN}/{BOB}", blob)
    any_shell.git("update-ref", "refs/hmopt/runs/not-a-run/x", "HEAD")
    any_shell.git("update-ref", f"refs/hmopt/runs/{OTHER_RUN}/{BOB}", "HEAD")
    assert [op.op for op in journal.read(RUN).operations] == ["run.created"]
    assert journal.read(RUN).skipped == {CUT: 1}
    assert journal.runs() == [RUN, OTHER_RUN]
    assert journal.read(OTHER_RUN).operations == []
    assert journal.read(OTHER_RUN).skipped == {MALFORMED: 2}
    assert journal.read(RunId("20260101-nobody-000000")).operations == []


def _raw(shell: Shell, kind: str, data: bytes) -> str:
    return shell.git("hash-object", "-t", kind, "-w", "--literally", "--stdin", stdin=data)


def _commit_of(shell: Shell, tree: str, parent: str = "") -> str:
    who = "T <t@example.org> 0 +0000"
    lines = [f"tree {tree}", *([f"parent {parent}"] if parent else []), f"author {who}", f"committer {who}", "", "x\n"]
    return _raw(shell, "commit", "\n".join(lines).encode())


def _entry(shell: Shell, mode: str, kind: str, oid: str) -> str:
    return shell.git("mktree", "--missing", stdin=f"{mode} {kind} {oid}\top.json\n".encode())


BROKEN: dict[str, tuple[Callable[[Shell, str], str], dict[str, int]]] = {
    "its op.json is a submodule": (
        lambda shell, absent: _commit_of(shell, _entry(shell, "160000", "commit", absent)),
        {MALFORMED: 1},
    ),
    "its op.json is not here": (
        lambda shell, absent: _commit_of(shell, _entry(shell, "100644", "blob", absent)),
        {MALFORMED: 1},
    ),
    "its op.json is a directory": (
        lambda shell, absent: _commit_of(shell, _entry(shell, "040000", "tree", shell.git("rev-parse", "HEAD^{tree}"))),
        {MALFORMED: 1},
    ),
    "its tree is not here": (lambda shell, absent: _commit_of(shell, absent), {MALFORMED: 1}),
    "its tree is none": (lambda shell, absent: _commit_of(shell, _raw(shell, "tree", b"100644 x")), {MALFORMED: 1}),
    "its tree is cut": (lambda shell, absent: _commit_of(shell, _raw(shell, "tree", b"100644 x\0abc")), {MALFORMED: 1}),
    "its parent is not here": (
        lambda shell, absent: _commit_of(shell, shell.git("rev-parse", "HEAD^{tree}"), absent),
        {MALFORMED: 1, CUT: 1},
    ),
    "it is no commit": (lambda shell, absent: _raw(shell, "commit", b"author nobody\n\nx\n"), {CUT: 1}),
    "it is a tag": (
        lambda shell, absent: shell.git("mktag", stdin=f"object {shell.git('rev-parse', 'HEAD')}\ntype commit\n"
        "tag x\ntagger T <t@example.org> 0 +0000\n\nx\n".encode()),
        {CUT: 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_journal_of_another_writer_stops_nothing(
    any_shell: Shell, any_repository: Repository, what: str
) -> None:
    """What a fetch brings is checked by nobody: it may cost its own operations, never ours, nor `list`."""
    make, skipped = BROKEN[what]
    Journal(any_repository).append(RUN, [CREATED, draft(1)])
    head = make(any_shell, "1" * len(any_repository.resolve("HEAD")))
    ref = any_shell.cwd / ".git" / journal_ref(RUN, BOB)
    # git itself would not take every one of these.
    ref.write_text(f"{head}\n")
    sound = foreign(any_shell, fields(ALICE, lamport=2), writer=ALICE)
    foreign(any_shell, fields(ALICE, lamport=3, attempt=1), writer=ALICE, parent=sound)
    assert [op.lamport for op in Journal(any_repository).append(RUN, [draft(2)])] == [4]
    reading = Journal(any_repository).read(RUN)
    assert sorted(op.lamport for op in reading.operations) == [1, 2, 2, 3, 4]
    assert reading.skipped == skipped
    with Cache(any_repository).reading() as database:
        assert [run.name for run in list_runs(database)] == [RUN]
        assert skipped_in_all(database) == skipped


def test_a_step_twice_in_one_journal_counts_once(shell: Shell, repository: Repository) -> None:
    parent = foreign(shell, fields(BOB, lamport=1), writer=BOB)
    foreign(shell, fields(BOB, lamport=2, data={"again": 1}), writer=BOB, parent=parent)
    reading = Journal(repository).read(RUN)
    assert [op.data for op in reading.operations] == [{}]
    assert reading.skipped == {"recorded twice": 1}


def test_a_journal_cut_by_a_shallow_fetch_is_read_and_said(tmp_path: Path) -> None:
    origin = make_repository(tmp_path / "origin")
    journal = Journal(Repository.open(origin.cwd))
    journal.append(RUN, [CREATED, draft(1), draft(2)])
    origin.git("clone", "-q", origin.cwd.as_uri(), str(tmp_path / "clone"))
    Shell(tmp_path / "clone").git("fetch", "-q", "--depth=2", "origin", "refs/hmopt/*:refs/hmopt/*")
    reading = Journal(Repository.open(tmp_path / "clone")).read(RUN)
    assert [op.iter for op in reading.operations] == [1, 2]
    assert reading.skipped == {CUT: 1}


def test_latest_checkpoint(repository: Repository) -> None:
    journal = Journal(repository)
    assert journal.latest_checkpoint(RUN) is None
    for number in range(3):
        step = OpDraft("checkpoint", "apply_patch", iter=number, data={"checkpoint": {"iteration": number}})
        journal.append(RUN, [draft(number), step])
    journal.append(RUN, [OpDraft("comment", "review")])
    latest = journal.latest_checkpoint(RUN)
    assert latest is not None
    assert latest.data == {"checkpoint": {"iteration": 2}}


def test_twenty_processes_lose_nothing(shell: Shell, repository: Repository) -> None:
    """Ten of them write the same run, and all of them the same notes ref, on one commit."""
    runs = [RUN if number % 2 else RunId(f"20260131-x-{number:06d}") for number in range(20)]
    head = repository.resolve("HEAD")

    def write(number: int) -> None:
        journal, who = Journal(Repository.open(shell.cwd)), f"p{number}"
        for step in range(5):
            journal.append(
                runs[number],
                [OpDraft("patch.measured", who, iter=step), OpDraft("checkpoint", who, iter=step)],
                attachments={"log": who.encode()},
                notes={NOTES_METRICS: [NoteDraft(head, "2026-01-31T10:00:00Z", {"who": who, "n": step})]},
            )

    in_processes(20, write)
    journal = Journal(repository)
    assert len(set(runs)) == len(journal.runs()) == 11
    recorded = [op for run in journal.runs() for op in journal.read(run).operations]
    assert len(recorded) == 200
    assert {op.node for op in recorded} == {f"p{number}" for number in range(20)}
    # One writer, since it is one clone; its lamport numbers are a sequence without gaps.
    assert {op.writer for op in recorded} == {journal.writer}
    assert [op.lamport for op in journal.read(RUN).operations] == list(range(1, 101))
    lines = shell.git("notes", "--ref=hmopt/metrics", "show", "HEAD").splitlines()
    assert len(lines) == 100
    shell.git("fsck", "--strict", "--no-dangling")


_DIE = """
import os, signal, sys
from pathlib import Path
from git_hmopt.records.words import NOTES_METRICS, RefName, RunId
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.notes import NoteDraft
from git_hmopt.store.repository import RefUpdate, Repository
repository = Repository.open(Path(sys.argv[1]))
head = repository.resolve("HEAD")
before = (lambda: os.kill(os.getpid(), signal.SIGKILL)) if sys.argv[2] == "before" else (lambda: None)
journal = Journal(repository, before_publish=before)
journal.append(
    RunId(sys.argv[3]),
    [OpDraft("patch.accepted", "evaluate", iter=1), OpDraft("checkpoint", "evaluate", iter=1)],
    keep=[head],
    refs=[RefUpdate(RefName(f"refs/heads/hmopt/{sys.argv[3]}/best"), head, None)],
    notes={NOTES_METRICS: [NoteDraft(head, "2026-01-31T10:00:00Z", {"n": 1})]},
)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_kill_9_leaves_all_of_a_step_or_nothing(shell: Shell, repository: Repository, when: str) -> None:
    child = subprocess_of(_DIE, str(shell.cwd), when, RUN)
    assert child == -signal.SIGKILL
    refs = shell.git("for-each-ref", "--format=%(refname)", "refs/hmopt", "refs/notes", "refs/heads/hmopt").split()
    assert len(refs) == (0 if when == "before" else 3)
    # Whatever happened, repeating the step leaves it recorded once.
    journal = Journal(repository)
    head = repository.resolve("HEAD")
    journal.append(
        RUN,
        [OpDraft("patch.accepted", "evaluate", iter=1), OpDraft("checkpoint", "evaluate", iter=1)],
        keep=[head],
        refs=[RefUpdate(best_ref(RUN), head, None)],
        notes={NOTES_METRICS: [NoteDraft(head, "2026-01-31T10:00:00Z", {"n": 1})]},
    )
    assert [op.op for op in journal.read(RUN).operations] == ["patch.accepted", "checkpoint"]
    assert shell.git("rev-parse", best_ref(RUN)) == head
    assert shell.git("notes", "--ref=hmopt/metrics", "show", "HEAD") == '{"at":"2026-01-31T10:00:00Z","n":1}'


def subprocess_of(program: str, *arguments: str) -> int:
    """Return how another Python ended."""
    child = start_python(program, *arguments)
    child.communicate(timeout=60)
    return child.returncode


def test_writer_is_one_for_all_processes_and_damage_is_said(tmp_path: Path, shell: Shell) -> None:
    def ask(number: int) -> None:
        (tmp_path / f"answer-{number}").write_text(writer_of(Repository.open(shell.cwd)))

    in_processes(8, ask)
    answers = {path.read_text() for path in tmp_path.glob("answer-*")}
    assert len(answers) == 1
    assert uuid.UUID(answers.pop())
    (shell.cwd / ".git/hmopt/writer").write_text("nonsense\n")
    with pytest.raises(StoreError, match=r"holds no UUID; delete it"):
        _ = Journal(Repository.open(shell.cwd)).writer


# -- redaction ------------------------------------------------------------------------------------------------------


def test_planted_secrets_are_in_no_git_object(shell: Shell, repository: Repository) -> None:
    token, key, mail = "gh" + "p_" + "aB3" * 12, "AK" + "IA" + "QRSTUVWXYZABCDEF", "alice" + "@example.com"
    private = "-----BEGIN PRIV" + "ATE KEY-----\nMIIsecretsecret\n-----END PRIV" + "ATE KEY-----"
    home, host, serial = "/home/" + "alice", "builder.farm" + ".internal", "R58M" + "12ABCDE"
    text = f"{token} {key} {mail}\n{private}\n{home}/linux on {host}, serial number: {serial}\n"
    head = repository.resolve("HEAD")
    operations = Journal(repository).append(
        RUN,
        [draft(1, text=text, env={"PASS" + "WORD": "opensesame"}, inner=[{"deep": text}])],
        attachments={"boot.log": text.encode()},
        notes={NOTES_METRICS: [NoteDraft(head, "2026-01-31T10:00:00Z", {"tags": {"log": text}})]},
    )
    everything = b""
    listed = shell.git("cat-file", "--batch-check", "--batch-all-objects").splitlines()
    for line in listed:
        oid, kind, _ = line.split()
        everything += subprocess.run(
            ["git", "cat-file", kind, oid], cwd=shell.cwd, capture_output=True, check=True
        ).stdout
    assert b"<redacted:token>" in everything
    for secret in (token, key, mail, "MIIsecretsecret", home, host, serial, "opensesame"):
        assert secret.encode() not in everything, secret
    assert operations[0].data["redacted"] == {
        **dict.fromkeys(("aws-key", "device-id", "email", "home", "host", "private-key", "token"), 3),
        "secret": 1,
    }
