# SPDX-License-Identifier: Apache-2.0
"""What the forges' JSON has in common, read leniently: fields we do not use may be missing, new or wrong."""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainValidator, TypeAdapter, ValidationError

from git_hmopt.errors import UsageError
from git_hmopt.records.words import Oid
from hmopt_bot.forges.errors import MalformedError, OversizedError, said
from hmopt_bot.forges.values import (
    GHOST,
    CheckRef,
    Comment,
    Commit,
    PullRequest,
    PullState,
    RepositoryName,
    Side,
    oid,
)

M = TypeVar("M", bound="Payload")
_MOST_PARTS = 150_000
"""A comment of 65,536 brackets, twice in a payload, and then some."""


def _repository(value: object) -> RepositoryName:
    try:
        return RepositoryName.parse(value if isinstance(value, str) else "")
    except UsageError as error:
        raise ValueError(str(error)) from error


def _oid(value: object) -> Oid:
    try:
        return oid(value if isinstance(value, str) else "")
    except UsageError as error:
        raise ValueError(str(error)) from error


def _moved(value: object) -> Oid | None:
    """Return where a ref stands; git says zeros for one that is not there."""
    return None if isinstance(value, str) and value and not value.strip("0") else _oid(value)


def _text(value: object) -> object:
    """Return text that is Unicode: JSON may spell half a character, which nobody can encode."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return "" if value is None else value


def _list(value: object) -> object:
    return [] if value is None else value


RepositoryField = Annotated[RepositoryName, PlainValidator(_repository)]
OidField = Annotated[Oid, PlainValidator(_oid)]
MovedField = Annotated[Oid | None, PlainValidator(_moved)]
Text = Annotated[str, BeforeValidator(_text)]


class Payload(BaseModel):
    """Something a forge sent."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class User(Payload):
    """An account."""

    login: Text


class Repository(Payload):
    """A repository, as far as we need it."""

    full_name: RepositoryField
    clone_url: str | None = None
    html_url: str | None = None

    def clone(self) -> str | None:
        """Return the address to fetch from; Gitee names none, and its page is one."""
        if self.clone_url or not self.html_url:
            return self.clone_url
        return self.html_url if self.html_url.endswith(".git") else f"{self.html_url}.git"


class Branch(Payload):
    """One side of a pull request."""

    ref: Text
    sha: OidField
    repo: Repository | None = None

    def value(self) -> Side:
        """Return it as a value."""
        name = self.repo.full_name if self.repo else None
        return Side(self.ref, self.sha, name, self.repo.clone() if self.repo else None)


class Label(Payload):
    """A label."""

    name: Text


class Pull(Payload):
    """A pull request, in GitHub's shape, which Gitee and GitCode share."""

    number: int
    title: Text = ""
    state: str
    draft: bool | None = None
    merged_at: str | None = None
    user: User | None = None
    labels: Annotated[tuple[Label, ...], BeforeValidator(_list)] = ()
    base: Branch
    head: Branch
    html_url: Text = ""

    def value(self) -> PullRequest:
        """Return it as a value."""
        return PullRequest(
            self.number, self.title, login(self.user), self._state(), bool(self.draft),
            frozenset(label.name for label in self.labels), self.base.value(), self.head.value(), self.html_url,
        )  # fmt: skip

    def _state(self) -> PullState:
        if self.state == "merged" or self.merged_at:
            return PullState.MERGED
        return PullState.OPEN if self.state in ("open", "opened") else PullState.CLOSED


class Note(Payload):
    """A comment."""

    id: int
    user: User | None = None
    body: Text = ""
    created_at: Text = ""
    updated_at: Text = ""

    def value(self) -> Comment:
        """Return it as a value."""
        return Comment(self.id, login(self.user), self.body, self.created_at, self.updated_at)


class _Parent(Payload):
    sha: OidField


class _Message(Payload):
    message: Text = ""


class Committed(Payload):
    """A commit."""

    sha: OidField
    parents: tuple[_Parent, ...] = ()
    commit: _Message

    def value(self) -> Commit:
        """Return it as a value."""
        return Commit(self.sha, tuple(parent.sha for parent in self.parents), self.commit.message)


class Run(Payload):
    """A check run."""

    id: int
    head_sha: OidField
    external_id: Text = ""
    conclusion: str | None = None

    def value(self) -> CheckRef:
        """Return it as a value."""
        return CheckRef(self.id, self.head_sha, self.external_id, self.conclusion)


class Runs(Payload):
    """A list of check runs."""

    check_runs: tuple[Run, ...]

    def values(self) -> tuple[CheckRef, ...]:
        """Return them as values."""
        return tuple(run.value() for run in self.check_runs)


PULL: TypeAdapter[Pull] = TypeAdapter(Pull)
PULLS: TypeAdapter[tuple[Pull, ...]] = TypeAdapter(tuple[Pull, ...])
NOTE: TypeAdapter[Note] = TypeAdapter(Note)
NOTES: TypeAdapter[tuple[Note, ...]] = TypeAdapter(tuple[Note, ...])
COMMIT: TypeAdapter[Committed] = TypeAdapter(Committed)
RUN: TypeAdapter[Run] = TypeAdapter(Run)
RUNS: TypeAdapter[Runs] = TypeAdapter(Runs)
NOTHING: TypeAdapter[Any] = TypeAdapter(Any)
"""An answer whose content says nothing we want to know."""


def login(user: User | None) -> str:
    """Return an account's name; one that was deleted is a ghost."""
    return user.login if user else GHOST


def document(body: bytes, what: str) -> dict[str, Any]:
    """Return the JSON object of a delivery. Raises MalformedError, or OversizedError for one that is slow to read."""
    # Four megabytes of empty lists take seconds, mostly of the garbage collector's, in which nobody else is answered.
    if (parts := body.count(b"[") + body.count(b"{")) > _MOST_PARTS:
        raise OversizedError(f"the {said(what)} delivery has {parts} opening brackets; at most {_MOST_PARTS} are read")
    try:
        # Not pydantic's parser: who reads an event looks at it more than once.
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"the {said(what)} delivery is not JSON: {said(str(error))}") from error
    if not isinstance(found, dict):
        raise MalformedError(f"the {said(what)} delivery is JSON and no object")
    return found


def payload(model: type[M], found: dict[str, Any], what: str) -> M:
    """Return a delivery's object as what its event looks like. Raises MalformedError."""
    try:
        return model.model_validate(found)
    except ValidationError as error:
        raise MalformedError(f"the {said(what)} delivery is not what its event looks like: {first(error)}") from error


def first(error: ValidationError) -> str:
    """Return the first complaint about a payload, without its value: that may be a secret."""
    complaint = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in complaint["loc"])
    return said(f"{where}: {complaint['msg']}")
