# SPDX-License-Identifier: Apache-2.0
"""Patches from a directory, a mailbox and a branch; the oracle is git, which wrote them and has to apply them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from git_hmopt.agents.patches import CommitPatch, PatchesProposer, open_patches, parse_patch
from git_hmopt.agents.proposer import Attempt, Decision, End, Proposal, Refusal
from git_hmopt.errors import UsageError
from git_hmopt.psg.unit import Unit
from git_hmopt.records.evidence import EvidencePack
from tests.agents.kernel_tree import hotspot, pack

PACK: EvidencePack = pack(hotspot("walk", "lib/one.c"))


class NoSource:
    """A source that must not be asked."""

    def read(self, path: str) -> bytes | None:
        raise AssertionError(path)

    def unit(self, path: str) -> Unit:
        raise AssertionError(path)

    def closed(self, path: str) -> str | None:
        raise AssertionError(path)


def git(where: Path, *arguments: str, stdin: bytes | None = None) -> bytes:
    names = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in PERSON.items()}
    environment = {"PATH": os.environ["PATH"], "HOME": str(where), **names}
    done = subprocess.run(
        ["git", *arguments], cwd=where, input=stdin, capture_output=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


PERSON = {"NAME": "Zoë Tester", "EMAIL": "zoe@example.org", "DATE": "2026-01-31T00:00:00Z"}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository with a base commit and two more."""
    where = tmp_path / "repository"
    where.mkdir()
    git(where, "init", "-q", "-b", "main")
    (where / "a.c").write_text("int a;\nint b;\nint c;\n")
    git(where, "add", ".")
    git(where, "commit", "-qm", "base")
    (where / "a.c").write_text("int a;\nint bee;\nint c;\n")
    git(
        where,
        "commit",
        "-qam",
        "a: rename b\n\nFrom the start it should have been bee.\n\nSigned-off-by: Z <z@example.org>",
    )
    (where / "d.c").write_text("int d;\n")
    git(where, "add", ".")
    git(
        where,
        "commit",
        "-qm",
        "d: new file with a title that is so long that git folds the subject line of the mail, ø",
    )
    return where


def none(name: str) -> Sequence[CommitPatch] | None:
    return None


def proposals(proposer: PatchesProposer) -> list[Proposal | Refusal]:
    attempts: list[Attempt] = []
    found: list[Proposal | Refusal] = []
    while isinstance(decision := proposer.decide(PACK, attempts, NoSource()), Decision):
        found.append(proposer.generate(decision, PACK, NoSource()))
        attempts.append(Attempt(*decision.key, "no-change"))
    return found


def applies(repository: Path, answers: Sequence[Proposal | Refusal]) -> None:
    """Apply all proposals to the base; the result is the tip's tree."""
    git(repository, "checkout", "-q", "HEAD~2")
    for answer in answers:
        assert isinstance(answer, Proposal)
        git(repository, "apply", "--index", stdin=answer.diff)
    assert git(repository, "write-tree") == git(repository, "rev-parse", "main^{tree}")


def check_words(answers: Sequence[Proposal | Refusal]) -> None:
    first, second = answers
    assert isinstance(first, Proposal) and isinstance(second, Proposal)
    assert first.title == "a: rename b"
    assert first.rationale.startswith("From the start it should have been bee.\n\nSigned-off-by:")
    assert first.author == "Zoë Tester <zoe@example.org>"
    assert second.title.endswith("the subject line of the mail, ø")
    assert "\n" not in second.title
    assert second.rationale == ""


def test_directory_as_format_patch_writes_it(repository: Path, tmp_path: Path) -> None:
    git(repository, "format-patch", "-q", "-o", str(tmp_path / "out"), "HEAD~2")
    (tmp_path / "out" / "README").write_text("not a patch")
    proposer = open_patches("out", directory=tmp_path, commits=none)
    answers = proposals(proposer)
    check_words(answers)
    applies(repository, answers)
    assert proposer.name == "patches:out"
    assert proposer.skipped == ("README: neither *.patch nor *.diff",)


def test_mailbox_with_a_cover_letter(repository: Path, tmp_path: Path) -> None:
    mbox = git(repository, "format-patch", "--stdout", "--cover-letter", "HEAD~2")
    (tmp_path / "series.mbox").write_bytes(mbox)
    proposer = open_patches("series.mbox", directory=tmp_path, commits=none)
    answers = proposals(proposer)
    check_words(answers)
    applies(repository, answers)
    assert proposer.skipped == ("series.mbox#0001: a cover letter",)


@pytest.mark.parametrize("removed", ["-", "- "])
@pytest.mark.parametrize("last", ["+y\n", " y\n", "\\ No newline at end of file\n"])
def test_a_removed_dash_is_no_signature(removed: str, last: str) -> None:
    diff = f"diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1,2 +1,2 @@\n x\n-{removed}\n{last}".encode()
    assert parse_patch("a.patch", diff).diff == diff
    assert parse_patch("a.patch", diff + b"-- \n2.39.2\n\n").diff == diff


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "8bit"])
def test_mail_that_was_encoded_on_its_way(repository: Path, tmp_path: Path, encoding: str) -> None:
    import email
    import email.policy

    git(repository, "format-patch", "-q", "-o", str(tmp_path / "out"), "HEAD~2")
    for path in (tmp_path / "out").iterdir():
        message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        content = message.get_payload(decode=True)
        assert isinstance(content, bytes)
        message.set_content(content.decode(), cte=encoding)
        path.write_bytes(message.as_bytes(unixfrom=True))
    applies(repository, proposals(open_patches("out", directory=tmp_path, commits=none)))


def test_one_patch_file_and_bare_diffs(repository: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "1.diff").write_bytes(git(repository, "diff", "HEAD~2", "HEAD~1"))
    (bare / "2.patch").write_bytes(b"d: add it\n\nBecause.\n\n" + git(repository, "diff", "HEAD~1", "HEAD"))
    answers = proposals(open_patches("bare", directory=tmp_path, commits=none))
    assert [answer.title for answer in answers if isinstance(answer, Proposal)] == ["1", "d: add it"]
    single = proposals(open_patches("bare/2.patch", directory=tmp_path, commits=none))
    assert isinstance(single[0], Proposal)
    assert (single[0].title, single[0].rationale, single[0].author) == ("d: add it", "Because.", None)
    applies(repository, answers)


def test_branch(repository: Path, tmp_path: Path) -> None:
    commits = [
        CommitPatch("c1", "a: rename b", "Why.", "Z <z@example.org>", git(repository, "diff", "HEAD~2", "HEAD~1")),
        CommitPatch("c2", "d: new", "", None, git(repository, "diff", "HEAD~1", "HEAD")),
        CommitPatch("c3", "empty", "", None, b""),
    ]
    proposer = open_patches("topic", directory=tmp_path, commits=lambda name: commits if name == "topic" else None)
    answers = proposals(proposer)
    assert answers[2] == Refusal("c3: it is empty")
    applies(repository, answers[:2])


def test_what_was_tried_is_not_tried_again_and_the_end_counts(repository: Path, tmp_path: Path) -> None:
    git(repository, "format-patch", "-q", "-o", str(tmp_path / "out"), "HEAD~2")
    (tmp_path / "out" / "0003-x.patch").write_text("nothing here")
    proposer = open_patches("out", directory=tmp_path, commits=none)
    first = proposer.decide(PACK, [], NoSource())
    assert isinstance(first, Decision)
    assert first.reason == "patch 1 of 3: a: rename b"
    second = proposer.decide(PACK, [Attempt(*first.key, "refused")], NoSource())
    assert isinstance(second, Decision) and second.file != first.file
    end = proposer.decide(PACK, [Attempt("", one.name, "patch", "x") for one in proposer.candidates], NoSource())
    assert end == End(
        "all 3 patches were tried (1 of them refused, 0 other things skipped)",
        ("0003-x.patch: it holds no unified diff",),
    )
    gone = proposer.generate(Decision("", "0009-y.patch", "patch", ""), PACK, NoSource())
    assert isinstance(gone, Refusal)


FAULTS = {
    "empty": (b"", "no unified diff"),
    "text": (b"just words\nand more\n", "no unified diff"),
    "headers": (b"From: a <a@example.org>\nSubject: [PATCH] x\n\nwords\n", "no unified diff"),
    "nothing changes": (b"diff --git a/x b/x\nindex 1..2 100644\n--- a/x\n+++ b/x\n", "without a change"),
    "binary": (b"diff --git a/x b/x\nindex 1..2\nGIT binary patch\nliteral 3\nKcmZ\n\n", "binary"),
    "differ": (b"diff --git a/x b/x\nBinary files a/x and b/x differ\n", "binary"),
    "crlf": (b"diff --git a/x b/x\r\n--- a/x\r\n+++ b/x\r\n@@ -1 +1 @@\r\n-a\r\n+b\r\n", "CRLF"),
    "not text": (bytes(range(256)), "no unified diff"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_faulty_patches_are_refused_with_the_reason(tmp_path: Path, what: str) -> None:
    data, reason = FAULTS[what]
    (tmp_path / "bad.patch").write_bytes(data)
    directory = open_patches(".", directory=tmp_path, commits=none)
    (answer,) = proposals(directory)
    assert isinstance(answer, Refusal)
    assert answer.reason.startswith("bad.patch: ") and reason in answer.reason
    with pytest.raises(UsageError, match="holds no patch"):
        open_patches("bad.patch", directory=tmp_path, commits=none)


def test_changed_lines_that_end_in_crlf_are_the_files_own(tmp_path: Path) -> None:
    data = b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\r\n+b\r\n"
    assert parse_patch("x.diff", data).fault is None
    assert parse_patch("x.diff", data).diff == data


def test_sentence_that_begins_like_an_envelope_does_not_split_a_mail(tmp_path: Path) -> None:
    diff = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"
    mail = (
        f"From {'0' * 40} Mon Sep 17 00:00:00 2001\nFrom: a <a@example.org>\nSubject: [PATCH v2 1/1] x\n\n"
        f"Words.\n\nFrom here on words.\n---\n{diff}"
    )
    (tmp_path / "one.mbox").write_text(mail)
    (answer,) = proposals(open_patches("one.mbox", directory=tmp_path, commits=none))
    assert isinstance(answer, Proposal)
    assert answer.title == "x"
    assert answer.rationale == "Words.\n\nFrom here on words."


def test_author_in_the_body_is_the_author() -> None:
    diff = b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"
    head = b"From: f <f@example.org>\nSubject: [PATCH] x\n\nFrom: own <own@example.org>\n\nWords.\n---\n"
    found = parse_patch("x.patch", head + diff)
    assert (found.author, found.body) == ("own <own@example.org>", "Words.")


def test_nothing_to_try_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.txt").write_text("x")
    for where in ("empty", "other"):
        with pytest.raises(UsageError, match=r"holds no \*\.patch"):
            open_patches(where, directory=tmp_path, commits=none)
    for where in ("missing", "../missing", ""):
        with pytest.raises(UsageError, match="no directory, mailbox or branch"):
            open_patches(where, directory=tmp_path, commits=none)
    with pytest.raises(UsageError, match="has no commit"):
        open_patches("main", directory=tmp_path, commits=lambda name: [])
