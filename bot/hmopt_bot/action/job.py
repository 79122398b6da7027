# SPDX-License-Identifier: Apache-2.0
"""What the runner tells a step: the inputs, the event that began the job, and whose code it is about.

docs.github.com/actions: "Contexts reference", "Variables reference". Nothing of an event but object ids and the
repositories' numbers is used: titles and branch names are anybody's text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from git_hmopt.config.document import printable
from git_hmopt.errors import ConfigError, UsageError
from git_hmopt.records.words import Oid

_OID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_WORKLOAD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ANSWERS = ("0", "1", "125")
_LARGEST_EVENT = 64 << 20
# What only those can begin who may write to the repository. Others, such as `pull_request_target`, `issue_comment` and
# `workflow_run`, have the repository's secrets and may be about a stranger's code.
_OURS = ("push", "schedule", "workflow_dispatch", "repository_dispatch", "merge_group")


@dataclass(frozen=True)
class PullRequest:
    """The two commits that a pull request was about when the job began."""

    base: Oid
    head: Oid
    from_fork: bool


@dataclass(frozen=True)
class Job:
    """A job: the pull request that began it, if one did, and where it runs."""

    pull_request: PullRequest | None
    self_hosted: bool
    temporary: Path
    """The runner's own directory, emptied after each job."""
    server: str

    @property
    def from_fork(self) -> bool:
        """Say whether the code is of somebody who may not write to the repository."""
        return self.pull_request is not None and self.pull_request.from_fork


def job_of(environment: Mapping[str, str]) -> Job:
    """Return the job that the runner's variables describe; ConfigError when they describe none.

    UsageError for an event that might build a stranger's code where the repository's secrets are.
    """
    event = environment.get("GITHUB_EVENT_NAME", "")
    if event not in ("pull_request", *_OURS):
        raise UsageError(
            printable(f"event '{event[:40]}' has the repository's secrets, and may be about a stranger's code"),
            next_step=f"use 'pull_request', or one of {', '.join(_OURS)}",
        )
    pull_request = None
    if event == "pull_request":
        pull_request = _pull_request(_event(Path(_said(environment, "GITHUB_EVENT_PATH"))))
    return Job(
        pull_request,
        self_hosted=environment.get("RUNNER_ENVIRONMENT") != "github-hosted",
        temporary=Path(_said(environment, "RUNNER_TEMP")),
        server=environment.get("GITHUB_SERVER_URL", "https://github.com"),
    )


def _said(environment: Mapping[str, str], name: str) -> str:
    if not environment.get(name):
        raise ConfigError(f"{name} is not set: this is no step of a GitHub action", next_step="see bot/README.md")
    return environment[name]


def _event(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_EVENT:
            raise ConfigError(f"the event '{path}' is larger than {_LARGEST_EVENT >> 20} MiB")
        event = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"the event '{path}' cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the event '{path}' is no JSON") from error
    if not isinstance(event, dict):
        raise ConfigError(f"the event '{path}' is no JSON object")
    return event


def _pull_request(event: Mapping[str, Any]) -> PullRequest:
    base, head = (_at(event, "pull_request", side, "sha") for side in ("base", "head"))
    for oid in (base, head):
        if not isinstance(oid, str) or not _OID.fullmatch(oid):
            raise ConfigError("the event names no commits of a pull request")
    ours, theirs = _at(event, "repository", "id"), _at(event, "pull_request", "head", "repo", "id")
    # A fork that was deleted has no repository any more, and is a fork all the same.
    return PullRequest(Oid(str(base)), Oid(str(head)), from_fork=not isinstance(ours, int) or ours != theirs)


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


@dataclass(frozen=True)
class Wanted:
    """The action's inputs that say how to check."""

    workloads: tuple[str, ...]
    config: str | None
    time: str | None


def wanted(environment: Mapping[str, str]) -> Wanted:
    """Return the inputs; UsageError says which of them is wrong."""
    workloads = tuple(dict.fromkeys(environment.get("INPUT_WORKLOADS", "").replace(",", " ").split()))
    for name in workloads:
        if not _WORKLOAD.fullmatch(name):
            raise UsageError(f"input 'workloads': {name[:80]!r} is no workload's name", next_step="part them by blanks")
    time = environment.get("INPUT_TIME", "").strip()
    if time and not re.fullmatch(r"[0-9]{1,7}", time):
        raise UsageError(f"input 'time': {time[:80]!r} is no number of seconds", next_step="such as 3600")
    return Wanted(workloads, environment.get("INPUT_CONFIG", "").strip() or None, time or None)


def switched_on(environment: Mapping[str, str], name: str) -> bool:
    """Return a boolean input, which arrives as the word `true` or `false`; UsageError for any other."""
    text = environment.get(_variable(name), "").strip()
    if text not in ("", "true", "false"):
        raise UsageError(f"input '{name}': {text[:80]!r} is neither 'true' nor 'false'")
    return text == "true"


def fails_undecided(environment: Mapping[str, str]) -> bool:
    """Say whether the job is to fail where the check cannot tell."""
    text = environment.get("INPUT_UNDECIDED", "").strip()
    if text not in ("", "warn", "fail"):
        raise UsageError(f"input 'undecided': {text[:80]!r} is neither 'warn' nor 'fail'")
    return text == "fail"


def answered(environment: Mapping[str, str]) -> int:
    """Return what the step `check` put out."""
    text = environment.get("INPUT_ANSWER", "")
    if text not in _ANSWERS:
        raise ConfigError("the check gave no answer", next_step="see the log of the steps before")
    return int(text)


def commit(environment: Mapping[str, str], name: str) -> Oid:
    """Return a commit that an earlier step put out."""
    text = environment.get(_variable(name), "")
    if not _OID.fullmatch(text):
        raise ConfigError(f"'{name}' names no commit", next_step="see the log of the steps before")
    return Oid(text)


def _variable(name: str) -> str:
    return f"INPUT_{name.upper().replace('-', '_')}"
