# SPDX-License-Identifier: Apache-2.0
"""The REST API that Gitee (gitee.com/api/v5/swagger) and GitCode (docs.gitcode.com) share, much like GitHub's.

The token goes into a header, never into an address or a body, where the descriptions put it: clients of Gitee send it
as a bearer token, which it takes everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from gidgethub import sansio
from pydantic import SecretStr, TypeAdapter

from git_hmopt.records.words import Oid
from hmopt_bot.forges import answers, checks, limits, payload, signature
from hmopt_bot.forges.errors import AnswerError, said
from hmopt_bot.forges.github_answers import REQUESTER
from hmopt_bot.forges.message import Call, Page, Request, Response, as_json, otherwise
from hmopt_bot.forges.payload import Payload, Text
from hmopt_bot.forges.values import (
    ChangedFile,
    CheckRef,
    CheckRun,
    Comment,
    Commit,
    Conclusion,
    Permission,
    Proposal,
    PullRequest,
    RepositoryName,
    Status,
)

T = TypeVar("T")
P = TypeVar("P")
_PER_PAGE = 100
_REPO = "/repos/{owner}/{repo}"
# Gitee's words, and those of GitLab's roles that GitCode knows; what is not here is no permission.
_PERMISSIONS = {
    "read": Permission.READ, "pull": Permission.READ, "write": Permission.WRITE, "push": Permission.WRITE,
    "developer": Permission.WRITE, "maintainer": Permission.MAINTAIN, "admin": Permission.ADMIN,
}  # fmt: skip
LABELS: Mapping[Conclusion, str] = {
    Conclusion.SUCCESS: "hmopt-passed",
    Conclusion.FAILURE: "hmopt-regressed",
    Conclusion.NEUTRAL: "hmopt-undecided",
}
"""What stands for a check run where there is none, beside the sticky comment; names have 2 to 20 characters."""


class _File(Payload):
    filename: Text
    status: Text = ""
    additions: int = 0
    deletions: int = 0
    patch: dict[str, Any] | str | None = None

    def value(self) -> ChangedFile:
        old = self.patch.get("old_path") if isinstance(self.patch, dict) else None
        previous = old if isinstance(old, str) and old != self.filename else None
        return ChangedFile(self.filename, self.status, self.additions, self.deletions, previous)


class _Role(Payload):
    permission: Text = ""

    def value(self) -> Permission:
        return _PERMISSIONS.get(self.permission, Permission.NONE)


_ROLE: TypeAdapter[_Role] = TypeAdapter(_Role)
_FILES: TypeAdapter[tuple[_File, ...]] = TypeAdapter(tuple[_File, ...])


@dataclass(frozen=True)
class ApiV5:
    """Such a forge: its webhook's secrets, and the token of the bot's account."""

    name: ClassVar[str]
    replay_s: ClassVar[float]

    secrets: tuple[SecretStr, ...]
    token: SecretStr | None = None
    api: str = ""
    requester: str = REQUESTER

    def __post_init__(self) -> None:
        signature.checked_secrets(self.name, self.secrets)

    def read_pull(self, repository: RepositoryName, number: int) -> Call[PullRequest]:
        """Read a pull request."""
        call = self._call(f"reading {repository}!{number}", payload.PULL, payload.Pull.value)
        return call("GET", self._at(repository, "/pulls/{number}", number=number))

    def find_pulls(self, repository: RepositoryName, *, head: str, base: str) -> Call[Page[PullRequest]]:
        """List open pull requests from `head` (`owner:branch`) into the branch `base`."""
        what = f"looking for pull requests of {said(head)}"
        path = "/pulls{?state,head,base,page,per_page}"
        return self._pages(
            what, payload.PULLS, payload.Pull.value, repository, path, {"state": "open", "head": head, "base": base}
        )

    def list_files(self, repository: RepositoryName, number: int) -> Call[Page[ChangedFile]]:
        """List the files that a pull request changes: one page, of 300 at most."""
        what = f"listing the files of {repository}!{number}"

        def page(found: tuple[_File, ...]) -> Page[ChangedFile]:
            return Page(tuple(one.value() for one in found))

        return self._call(what, _FILES, page)("GET", self._at(repository, "/pulls/{number}/files", number=number))

    def read_commit(self, repository: RepositoryName, sha: Oid) -> Call[Commit]:
        """Read a commit."""
        call = self._call(f"reading commit {sha}", payload.COMMIT, payload.Committed.value)
        return call("GET", self._at(repository, "/commits/{sha}", sha=sha))

    def list_comments(self, repository: RepositoryName, number: int) -> Call[Page[Comment]]:
        """List the comments below a pull request."""
        what = f"listing the comments of {repository}!{number}"
        path = "/pulls/{number}/comments{?page,per_page}"
        return self._pages(what, payload.NOTES, payload.Note.value, repository, path, {"number": number})

    def read_comment(self, repository: RepositoryName, comment: int) -> Call[Comment]:
        """Read one comment."""
        call = self._call(f"reading comment {comment}", payload.NOTE, payload.Note.value)
        return call("GET", self._at(repository, "/pulls/comments/{id}", id=comment))

    def create_comment(self, repository: RepositoryName, number: int, body: str) -> Call[Comment]:
        """Comment on a pull request."""
        call = self._call(f"commenting on {repository}!{number}", payload.NOTE, payload.Note.value)
        url = self._at(repository, "/pulls/{number}/comments", number=number)
        return call("POST", url, {"body": limits.cut(body, limits.BODY)})

    def update_comment(self, repository: RepositoryName, comment: int, body: str) -> Call[Comment]:
        """Edit a comment in place."""
        call = self._call(f"editing comment {comment}", payload.NOTE, payload.Note.value)
        url = self._at(repository, "/pulls/comments/{id}", id=comment)
        return call("PATCH", url, {"body": limits.cut(body, limits.BODY)})

    def react(self, repository: RepositoryName, comment: int, reaction: str) -> None:
        """Return None: there are no reactions."""

    def read_permission(self, repository: RepositoryName, login: str) -> Call[Permission]:
        """Ask what somebody may do; a stranger may do nothing."""
        call = self._call(f"asking what {said(login)} may do in {repository}", _ROLE, _Role.value)
        url = self._at(repository, "/collaborators/{login}/permission", login=login)
        return otherwise(call("GET", url), Permission.NONE)

    def add_labels(self, repository: RepositoryName, number: int, labels: Sequence[str]) -> Call[None]:
        """Set labels beside those that are there."""
        call = self._call(f"labelling {repository}!{number}", payload.NOTHING, _nothing)
        # The description wraps the list in an object and says of that object that it is the list; the list it is.
        return call("POST", self._at(repository, "/pulls/{number}/labels", number=number), list(labels))

    def remove_label(self, repository: RepositoryName, number: int, label: str) -> Call[None]:
        """Remove a label."""
        call = self._call(f"removing a label of {repository}!{number}", payload.NOTHING, _nothing)
        url = self._at(repository, "/pulls/{number}/labels/{label}", number=number, label=label)
        return otherwise(call("DELETE", url), None)

    def label_outcome(self, repository: RepositoryName, number: int, conclusion: Conclusion) -> tuple[Call[None], ...]:
        """Say how a check ended where check runs are refused: its label set, the others removed."""
        kept = LABELS.get(conclusion)
        removed = [self.remove_label(repository, number, label) for label in LABELS.values() if label != kept]
        return (*removed, *([self.add_labels(repository, number, [kept])] if kept else ()))

    def create_pull(self, repository: RepositoryName, proposal: Proposal) -> Call[PullRequest]:
        """Open a pull request, a draft unless said."""
        call = self._call(f"opening a pull request in {repository}", payload.PULL, payload.Pull.value)
        body = {
            "title": limits.line(proposal.title, limits.TITLE),
            "body": limits.cut(proposal.body, limits.BODY),
            "head": proposal.head,
            "base": proposal.base,
            "draft": proposal.draft,
        }
        return call("POST", self._at(repository, "/pulls"), body)

    def list_checks(self, repository: RepositoryName, sha: Oid, name: str) -> Call[Page[CheckRef]] | None:
        """List the check runs on a commit; its caller finds ours by their external id."""

        def page(found: payload.Runs) -> Page[CheckRef]:
            return Page(found.values())

        call = self._call(f"listing the checks of {sha}", payload.RUNS, page)
        return call("GET", self._at(repository, "/commits/{sha}/check-runs", sha=sha))

    def create_check(self, repository: RepositoryName, check: CheckRun) -> Call[CheckRef] | None:
        """Create a check run; PermissionDeniedError or MissingError where only `label_outcome` is left."""
        call = self._call(f"creating a check run in {repository}", payload.RUN, payload.Run.value)
        return call("POST", self._at(repository, "/check-runs"), {"head_sha": check.head_sha, **checks.body(check)})

    def update_check(self, repository: RepositoryName, run: int, check: CheckRun) -> Call[CheckRef] | None:
        """Say something else in a check run."""
        call = self._call(f"updating check run {run}", payload.RUN, payload.Run.value)
        return call("PATCH", self._at(repository, "/check-runs/{id}", id=run), checks.body(check))

    def append_annotations(self, repository: RepositoryName, run: int, check: CheckRun) -> tuple[Call[CheckRef], ...]:
        """Append the annotations after the first 50."""
        call = self._call(f"annotating check run {run}", payload.RUN, payload.Run.value)
        url = self._at(repository, "/check-runs/{id}", id=run)
        return tuple(call("PATCH", url, body) for body in checks.later(check))

    def set_status(self, repository: RepositoryName, sha: Oid, status: Status) -> None:
        """Return None: there are no commit statuses."""

    def _authorization(self) -> Mapping[str, str]:
        """Return the header that holds the token."""
        return {"authorization": f"Bearer {self.token.get_secret_value()}"} if self.token else {}

    def _at(self, repository: RepositoryName, path: str, **variables: str | int) -> str:
        values = {"owner": repository.owner, "repo": repository.name, **{k: str(v) for k, v in variables.items()}}
        return sansio.format_url(_REPO + path, values, base_url=self.api)

    def _request(self, method: str, url: str, body: object = None) -> Request:
        made = {"user-agent": self.requester, "accept": "application/json", **self._authorization()}
        if body is None:
            return Request(method, url, made)
        return Request(method, url, {**made, "content-type": "application/json"}, as_json(body))

    def _call(self, what: str, adapter: TypeAdapter[P], value: Callable[[P], T]) -> Callable[..., Call[T]]:
        def call(method: str, url: str, body: object = None) -> Call[T]:
            return Call(self._request(method, url, body), lambda response: value(deciphered(response, adapter, what)))

        return call

    def _pages(
        self,
        what: str,
        adapter: TypeAdapter[tuple[P, ...]],
        value: Callable[[P], T],
        repository: RepositoryName,
        path: str,
        variables: Mapping[str, str | int],
        page: int = 1,
    ) -> Call[Page[T]]:
        """Return the call for a page; one that is full has another one behind it, if it may be an empty one."""
        url = self._at(repository, path, **variables, page=page, per_page=_PER_PAGE)

        def parse(response: Response) -> Page[T]:
            found = deciphered(response, adapter, what)
            full = len(found) >= _PER_PAGE
            following = self._pages(what, adapter, value, repository, path, variables, page + 1) if full else None
            return Page(tuple(value(one) for one in found), following)

        return Call(self._request("GET", url), parse)


def deciphered(response: Response, adapter: TypeAdapter[T], what: str) -> T:
    """Return an answer as what it should be. Raises ApiError."""
    kept = Response(
        response.status, {name.lower(): value for name, value in response.headers.items()}, response.body, response.at
    )
    try:
        found = json.loads(kept.body) if kept.body.strip() else None
    except (ValueError, RecursionError) as error:
        if kept.status >= 300:
            raise answers.refused(kept, what, "") from error
        raise AnswerError(f"{what}: the forge's answer is not JSON", status=kept.status) from error
    if kept.status >= 300:
        raise answers.refused(kept, what, _message(found))
    return answers.read(adapter, found, kept, what)


def _message(found: object) -> str:
    said_there = [found.get(name) for name in ("message", "error_message", "error")] if isinstance(found, dict) else []
    return next((one for one in said_there if isinstance(one, str)), "")


def _nothing(_: object) -> None:
    return None
