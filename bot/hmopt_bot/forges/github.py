# SPDX-License-Identifier: Apache-2.0
"""GitHub: webhooks, and REST calls as docs.github.com/rest describes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

from gidgethub import sansio
from pydantic import SecretStr, TypeAdapter

from git_hmopt.records.words import Oid
from hmopt_bot.forges import checks, github_events, limits, payload, signature
from hmopt_bot.forges.errors import MalformedError, UnsupportedError, said
from hmopt_bot.forges.events import Delivery, Event
from hmopt_bot.forges.github_answers import REQUESTER, deciphered, headers, paged
from hmopt_bot.forges.message import UNTIMED_REPLAY_S, Call, Page, Request, Response, as_json, lowered, otherwise
from hmopt_bot.forges.payload import Payload, Text
from hmopt_bot.forges.values import (
    ChangedFile,
    CheckRef,
    CheckRun,
    Comment,
    Commit,
    Permission,
    Proposal,
    PullRequest,
    RepositoryName,
    Status,
)

T = TypeVar("T")
P = TypeVar("P")
_ID = re.compile(r"[0-9A-Za-z_-]{1,100}")
_EVENT = re.compile(r"[a-z][a-z0-9_-]{0,99}")
_PER_PAGE = "100"
_REPO = "/repos/{owner}/{repo}"
_PERMISSIONS = {"read": Permission.READ, "write": Permission.WRITE, "admin": Permission.ADMIN}


class _File(Payload):
    filename: Text
    status: Text
    additions: int = 0
    deletions: int = 0
    previous_filename: str | None = None

    def value(self) -> ChangedFile:
        return ChangedFile(self.filename, self.status, self.additions, self.deletions, self.previous_filename)


class _Role(Payload):
    permission: Text = ""
    role_name: Text = ""

    def value(self) -> Permission:
        # The name may be one of an organisation's own roles, and say anything; `permission` is what it is at least.
        found = _PERMISSIONS.get(self.permission, Permission.NONE)
        return Permission.MAINTAIN if found is Permission.WRITE and self.role_name == "maintain" else found


_ROLE: TypeAdapter[_Role] = TypeAdapter(_Role)
_FILES: TypeAdapter[tuple[_File, ...]] = TypeAdapter(tuple[_File, ...])


@dataclass(frozen=True)
class GitHub:
    """GitHub, or an Enterprise server at `api`; `token` is an installation's or a person's."""

    name: ClassVar[str] = "github"
    replay_s: ClassVar[float] = UNTIMED_REPLAY_S

    secrets: tuple[SecretStr, ...]
    token: SecretStr | None = None
    api: str = sansio.DOMAIN
    requester: str = REQUESTER

    def __post_init__(self) -> None:
        signature.checked_secrets(self.name, self.secrets)

    def with_token(self, token: SecretStr) -> GitHub:
        """Return the same forge with a token: an installation's, which changes every hour."""
        return replace(self, token=token)

    def verify(self, headers: Mapping[str, str], body: bytes, now: float) -> Delivery:
        """Return a signed delivery. GitHub signs no time, so `now` is not looked at."""
        digest = signature.bounded(self.name, body)
        given = lowered(headers)
        signature.body_signed(
            self.name, given.get("x-hub-signature-256"), body, self.secrets, header="X-Hub-Signature-256"
        )
        name, delivery = given.get("x-github-event", ""), given.get("x-github-delivery", "")
        if not _EVENT.fullmatch(name) or not _ID.fullmatch(delivery):
            raise MalformedError("the github delivery has no proper X-GitHub-Event and X-GitHub-Delivery")
        if given.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise UnsupportedError(
                f"the github delivery is '{said(given.get('content-type', ''))}'",
                next_step="set the webhook's content type to application/json",
            )
        # Neither the delivery's id nor the event's name is signed: who recorded a delivery could send it again under
        # others. Two bodies that are the same, to the second of their times and the ids in them, say the same.
        return Delivery(self.name, delivery, name, digest, f"github:{digest}", self.event(name, body))

    def head_ref(self, number: int) -> str:
        """Return the ref under which the repository itself keeps a pull request's head."""
        return f"refs/pull/{number}/head"

    def event(self, name: str, body: bytes) -> Event:
        """Return what happened."""
        return github_events.event(name, body)

    def kept(self, body: bytes) -> bytes:
        """Return the body: GitHub repeats no secret in it."""
        return body

    def read_pull(self, repository: RepositoryName, number: int) -> Call[PullRequest]:
        """Read a pull request."""
        call = self._call(f"reading {repository}#{number}", payload.PULL, payload.Pull.value)
        return call("GET", self._at(repository, "/pulls/{number}", number=number))

    def find_pulls(self, repository: RepositoryName, *, head: str, base: str) -> Call[Page[PullRequest]]:
        """List open pull requests from `head` (`owner:branch`) into the branch `base`."""
        what = f"looking for pull requests of {said(head)}"
        url = self._at(repository, "/pulls{?state,head,base,per_page}", state="open", head=head, base=base)
        return self._pages(what, payload.PULLS, lambda found: tuple(one.value() for one in found), url)

    def list_files(self, repository: RepositoryName, number: int) -> Call[Page[ChangedFile]]:
        """List the files that a pull request changes; GitHub lists 3,000 at most."""
        what = f"listing the files of {repository}#{number}"
        url = self._at(repository, "/pulls/{number}/files{?per_page}", number=number)
        return self._pages(what, _FILES, lambda found: tuple(one.value() for one in found), url)

    def read_commit(self, repository: RepositoryName, sha: Oid) -> Call[Commit]:
        """Read a commit."""
        call = self._call(f"reading commit {sha}", payload.COMMIT, payload.Committed.value)
        return call("GET", self._at(repository, "/commits/{sha}", sha=sha))

    def list_comments(self, repository: RepositoryName, number: int) -> Call[Page[Comment]]:
        """List the comments below a pull request."""
        what = f"listing the comments of {repository}#{number}"
        url = self._at(repository, "/issues/{number}/comments{?per_page}", number=number)
        return self._pages(what, payload.NOTES, lambda found: tuple(one.value() for one in found), url)

    def read_comment(self, repository: RepositoryName, comment: int) -> Call[Comment]:
        """Read one comment."""
        call = self._call(f"reading comment {comment}", payload.NOTE, payload.Note.value)
        return call("GET", self._at(repository, "/issues/comments/{id}", id=comment))

    def create_comment(self, repository: RepositoryName, number: int, body: str) -> Call[Comment]:
        """Comment on a pull request."""
        call = self._call(f"commenting on {repository}#{number}", payload.NOTE, payload.Note.value)
        url = self._at(repository, "/issues/{number}/comments", number=number)
        return call("POST", url, {"body": limits.cut(body, limits.BODY)})

    def update_comment(self, repository: RepositoryName, comment: int, body: str) -> Call[Comment]:
        """Edit a comment in place."""
        call = self._call(f"editing comment {comment}", payload.NOTE, payload.Note.value)
        url = self._at(repository, "/issues/comments/{id}", id=comment)
        return call("PATCH", url, {"body": limits.cut(body, limits.BODY)})

    def react(self, repository: RepositoryName, comment: int, reaction: str) -> Call[None]:
        """Set a reaction to a comment; one that is there already is answered the same."""
        call = self._call(f"reacting to comment {comment}", payload.NOTHING, _nothing)
        return call("POST", self._at(repository, "/issues/comments/{id}/reactions", id=comment), {"content": reaction})

    def read_permission(self, repository: RepositoryName, login: str) -> Call[Permission]:
        """Ask what somebody may do; a stranger may do nothing."""
        what = f"asking what {said(login)} may do in {repository}"
        call = self._call(what, _ROLE, _Role.value)
        url = self._at(repository, "/collaborators/{login}/permission", login=login)
        return otherwise(call("GET", url), Permission.NONE)

    def add_labels(self, repository: RepositoryName, number: int, labels: Sequence[str]) -> Call[None]:
        """Set labels beside those that are there."""
        call = self._call(f"labelling {repository}#{number}", payload.NOTHING, _nothing)
        return call("POST", self._at(repository, "/issues/{number}/labels", number=number), {"labels": list(labels)})

    def remove_label(self, repository: RepositoryName, number: int, label: str) -> Call[None]:
        """Remove a label."""
        call = self._call(f"removing a label of {repository}#{number}", payload.NOTHING, _nothing)
        url = self._at(repository, "/issues/{number}/labels/{label}", number=number, label=label)
        return otherwise(call("DELETE", url), None)

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

    def list_checks(self, repository: RepositoryName, sha: Oid, name: str) -> Call[Page[CheckRef]]:
        """List the check runs of that name on a commit."""
        what = f"listing the checks of {sha}"
        url = self._at(repository, "/commits/{sha}/check-runs{?check_name,per_page}", sha=sha, check_name=name)
        return self._pages(what, payload.RUNS, payload.Runs.values, url)

    def create_check(self, repository: RepositoryName, check: CheckRun) -> Call[CheckRef]:
        """Create a check run."""
        call = self._call(f"creating a check run in {repository}", payload.RUN, payload.Run.value)
        return call("POST", self._at(repository, "/check-runs"), {"head_sha": check.head_sha, **checks.body(check)})

    def update_check(self, repository: RepositoryName, run: int, check: CheckRun) -> Call[CheckRef]:
        """Say something else in a check run."""
        call = self._call(f"updating check run {run}", payload.RUN, payload.Run.value)
        return call("PATCH", self._at(repository, "/check-runs/{id}", id=run), checks.body(check))

    def append_annotations(self, repository: RepositoryName, run: int, check: CheckRun) -> tuple[Call[CheckRef], ...]:
        """Append the annotations after the first 50."""
        call = self._call(f"annotating check run {run}", payload.RUN, payload.Run.value)
        url = self._at(repository, "/check-runs/{id}", id=run)
        return tuple(call("PATCH", url, body) for body in checks.later(check))

    def set_status(self, repository: RepositoryName, sha: Oid, status: Status) -> Call[None]:
        """Set a commit status."""
        call = self._call(f"setting the status of {sha}", payload.NOTHING, _nothing)
        return call("POST", self._at(repository, "/statuses/{sha}", sha=sha), checks.status_body(status))

    def _at(self, repository: RepositoryName, path: str, **variables: str | int) -> str:
        values = {name: str(value) for name, value in variables.items()}
        return sansio.format_url(
            _REPO + path,
            {"owner": repository.owner, "repo": repository.name, "per_page": _PER_PAGE, **values},
            base_url=self.api,
        )

    def _request(self, method: str, url: str, body: Mapping[str, object] | None = None) -> Request:
        made = headers(self.requester, token=self.token, body=body is not None)
        return Request(method, url, made, b"" if body is None else as_json(body))

    def _call(self, what: str, adapter: TypeAdapter[P], value: Callable[[P], T]) -> Callable[..., Call[T]]:
        def parse(response: Response) -> T:
            return value(deciphered(response, adapter, what))

        def call(method: str, url: str, body: Mapping[str, object] | None = None) -> Call[T]:
            return Call(self._request(method, url, body), parse)

        return call

    def _pages(
        self, what: str, adapter: TypeAdapter[P], value: Callable[[P], tuple[T, ...]], url: str
    ) -> Call[Page[T]]:
        def parse(response: Response) -> Page[T]:
            found, following = paged(response, adapter, what, api=self.api)
            return Page(value(found), Call(self._request("GET", following), parse) if following else None)

        return Call(self._request("GET", url), parse)


def _nothing(_: object) -> None:
    return None
