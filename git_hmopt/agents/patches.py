# SPDX-License-Identifier: Apache-2.0
"""Patches by a person or another tool as a proposer: a directory, a mailbox, or the commits of a branch."""

from __future__ import annotations

import email
import email.message
import email.policy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from git_hmopt.agents.proposer import Attempt, Decision, End, Proposal, Refusal, Source
from git_hmopt.errors import UsageError
from git_hmopt.records.evidence import EvidencePack

STRATEGY = "patch"
# What separates mails in a mailbox (RFC 4155); git format-patch writes its own fixed date. Anything else that begins
# with "From " is a sentence.
_ENVELOPE = re.compile(rb"^From \S+[^\n]* \w{3} +\w{3} +\d+ \d\d:\d\d:\d\d \d{4}[^\n]*\n", re.MULTILINE)
_DIFF = re.compile(rb"^(?:diff --git |Index: |--- [^\n]+\n\+\+\+ )", re.MULTILINE)
_TAG = re.compile(r"^\s*(?:\[[^\]]*\]\s*)+")
_COVER = re.compile(r"\[[^\]]*\b0+/\d+[^\]]*\]")
# Mail's signature (git's version) after the diff; what begins as a line of a hunk does belongs to the hunk.
_SIGNATURE = re.compile(rb"\n-- ?\n(?![-+ @\\])[^\n]*\n*\Z")
_BINARY = re.compile(rb"^(?:GIT binary patch|Binary files .* differ)", re.MULTILINE)
_AUTHOR = re.compile(r"\A\s*From:\s*(?P<author>[^\n]*<[^\n]*>)\s*\n")
# A mail: header fields (RFC 5322, 2.2) with a From or Subject among them; not any text whose first line has a colon.
_HEADER = re.compile(
    rb"\A(?:From \S+[^\n]*\n)?(?:[!-9;-~]+:[^\n]*\n(?:[ \t][^\n]*\n)*)*?(?:From|Subject):", re.IGNORECASE
)


@dataclass(frozen=True)
class CommitPatch:
    """One commit as the loop lists it for a branch or range."""

    name: str
    """What identifies it: its abbreviated object id."""
    title: str
    body: str
    author: str | None
    diff: bytes


@dataclass(frozen=True)
class Candidate:
    """One patch to try, or why it cannot be."""

    name: str
    title: str
    body: str
    author: str | None
    diff: bytes
    fault: str | None = None


class PatchesProposer:
    """Proposes each of a list of patches once, in order."""

    def __init__(self, where: str, candidates: Sequence[Candidate], *, skipped: Sequence[str] = ()) -> None:
        self.name = f"patches:{where}"
        self.candidates = tuple(candidates)
        self.skipped = tuple(skipped)
        """What was found beside patches and is no attempt: cover letters, other files; with the reason."""

    def decide(self, pack: EvidencePack, attempts: Sequence[Attempt], source: Source) -> Decision | End:
        """Choose the next patch that was not tried."""
        tried = {attempt.key: attempt.outcome for attempt in attempts}
        for number, candidate in enumerate(self.candidates, start=1):
            reason = f"patch {number} of {len(self.candidates)}: {candidate.title or candidate.name}"
            decision = Decision(symbol="", file=candidate.name, strategy=STRATEGY, reason=reason)
            if decision.key not in tried:
                return decision
        faulty = sum(1 for candidate in self.candidates if candidate.fault)
        return End(
            f"all {len(self.candidates)} patches were tried ({faulty} of them refused, {len(self.skipped)} other "
            "things skipped)",
            (*self.skipped, *(f"{one.name}: {one.fault}" for one in self.candidates if one.fault)),
        )

    def generate(self, decision: Decision, pack: EvidencePack, source: Source) -> Proposal | Refusal:
        """Return the patch as a proposal, or why it is none."""
        candidate = next((one for one in self.candidates if one.name == decision.file), None)
        if candidate is None:
            return Refusal(f"{self.name} has no patch '{decision.file}'")
        if candidate.fault:
            return Refusal(f"{candidate.name}: {candidate.fault}")
        return Proposal(
            title=candidate.title,
            rationale=candidate.body,
            strategy=STRATEGY,
            symbol=None,
            diff=candidate.diff,
            author=candidate.author,
        )


def open_patches(
    where: str, *, directory: Path, commits: Callable[[str], Sequence[CommitPatch] | None]
) -> PatchesProposer:
    """Return the proposer for `patches:WHERE`: a directory, a mailbox or patch file, or a branch or range.

    Paths are taken from `directory`. `commits` lists a branch's commits, oldest first, or answers None when there is
    no such branch or range. Raises UsageError when there is nothing to try.
    """
    path = directory / where
    if where and path.is_dir():
        return _directory(where, path)
    if where and path.is_file():
        return _mailbox(where, path)
    found = commits(where) if where else None
    if found is None:
        raise UsageError(
            f"'patches:{where}' is no directory, mailbox or branch here",
            next_step="name a directory of *.patch files, an mbox file, or a branch or range of this repository",
        )
    if not found:
        raise UsageError(f"'patches:{where}' has no commit that the base does not have")
    return PatchesProposer(where, [_of_commit(commit) for commit in found])


def is_patch(path: Path) -> bool:
    """Say whether an entry of a directory of patches is taken for one."""
    return path.suffix in (".patch", ".diff") and not path.is_dir()


def _directory(where: str, path: Path) -> PatchesProposer:
    candidates, skipped = [], []
    for entry in sorted(path.iterdir(), key=lambda entry: entry.name):
        if not is_patch(entry):
            skipped.append(f"{entry.name}: neither *.patch nor *.diff")
            continue
        try:
            data = entry.read_bytes()
        except OSError as error:
            candidates.append(Candidate(entry.name, "", "", None, b"", f"cannot be read: {error.strerror}"))
            continue
        candidates.append(parse_patch(entry.name, data))
    if not candidates:
        raise UsageError(f"{path} holds no *.patch or *.diff file", next_step="git format-patch -o DIR makes them")
    return PatchesProposer(where, candidates, skipped=skipped)


def _mailbox(where: str, path: Path) -> PatchesProposer:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    starts = [found.start() for found in _ENVELOPE.finditer(data)]
    mails = [data[start:end] for start, end in pairwise([*starts, len(data)])] or [data]
    candidates, skipped = [], []
    for number, mail in enumerate(mails, start=1):
        name = path.name if len(mails) == 1 else f"{path.name}#{number:04d}"
        candidate = parse_patch(name, mail)
        if candidate.fault and _COVER.search(str(_mail(mail).get("Subject", ""))):
            skipped.append(f"{name}: a cover letter")
        else:
            candidates.append(candidate)
    if all(candidate.fault for candidate in candidates):
        faults = "; ".join(dict.fromkeys(candidate.fault or "" for candidate in candidates))
        raise UsageError(f"{path} holds no patch: {faults or 'cover letters only'}")
    return PatchesProposer(where, candidates, skipped=skipped)


def _of_commit(commit: CommitPatch) -> Candidate:
    return Candidate(commit.name, commit.title, commit.body, commit.author, commit.diff, _fault(commit.diff))


def parse_patch(name: str, data: bytes) -> Candidate:
    """Read one patch: a mail as git format-patch writes it, or a bare diff with or without text above it."""
    mail = _mail(data) if _HEADER.match(data) else None
    text = data if mail is None else _diff_part(mail)
    found = _DIFF.search(text)
    if found is None:
        return Candidate(name, "", "", None, b"", "it holds no unified diff")
    before = text[: found.start()].decode("utf-8", "replace")
    diff = _SIGNATURE.sub(b"\n", text[found.start() :])
    subject, author = ("", None) if mail is None else (str(mail.get("Subject", "")), _author(mail))
    own = _AUTHOR.match(before)  # a forwarder keeps the author in the body's first line (git am's rule)
    if own:
        author, before = own["author"].strip(), before[own.end() :]
    body = re.split(r"^---\s*$", before, maxsplit=1, flags=re.MULTILINE)[0].strip().replace("\r\n", "\n")
    title = _TAG.sub("", " ".join(subject.split())).strip()
    if not title:
        title, _, body = body.partition("\n")
    return Candidate(name, title.strip() or Path(name).stem, body.strip(), author, diff, _fault(diff))


def _mail(data: bytes) -> email.message.EmailMessage:
    # email takes the envelope line "From <id> <date>" as what it is.
    return email.message_from_bytes(data, policy=email.policy.default)


def _diff_part(mail: email.message.EmailMessage) -> bytes:
    """Return the decoded text of the mail, or of its first part that holds a diff."""
    parts = [part for part in mail.walk() if not part.is_multipart()]
    bodies = [payload for part in parts if isinstance(payload := part.get_payload(decode=True), bytes)]
    return next((body for body in bodies if _DIFF.search(body)), bodies[0] if bodies else b"")


def _author(mail: email.message.EmailMessage) -> str | None:
    author = str(mail.get("From", "")).strip()
    return author if "<" in author and ">" in author else None


def _fault(diff: bytes) -> str | None:
    """Return why a diff cannot be tried, in words for the user."""
    if not diff.strip():
        return "it is empty"
    if _BINARY.search(diff):
        return "it is a binary diff; only text can be reviewed and measured here"
    if re.search(rb"^(?:diff --git|@@|\+\+\+)[^\n]*\r\n", diff, re.MULTILINE):
        return "its lines end in CRLF: it was damaged on its way; convert it with dos2unix, or fetch it as raw text"
    if not re.search(rb"^@@ -\d", diff, re.MULTILINE) and not re.search(
        rb"^(?:rename|old mode|deleted file|new file)", diff, re.MULTILINE
    ):
        return "it holds a diff's header without a change"
    return None
