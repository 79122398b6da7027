# SPDX-License-Identifier: Apache-2.0
"""A push that a server has not taken yet, as its pre-receive or update hook sees it.

What it brings lies in a quarantine (git-receive-pack(1)): git shows these objects to processes that keep its variables,
and lets none of them move a ref. Imports no pydantic.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from git_hmopt.errors import StoreError
from git_hmopt.records.words import Oid, RefName
from git_hmopt.store.repository import Repository

_SHOWN = ("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH")
_LINE = re.compile(r"(?P<old>[0-9a-f]{40}(?:[0-9a-f]{24})?) (?P<new>[0-9a-f]{40}(?:[0-9a-f]{24})?) (?P<ref>refs/.+)")


@dataclass(frozen=True)
class Command:
    """One ref that a push moves; None is "does not exist"."""

    ref: RefName
    old: Oid | None
    new: Oid | None


def of_hook(environment: Mapping[str, str]) -> Repository:
    """Return the repository that git runs a hook for, whatever directory that is in; RepositoryError without one."""
    return Repository.open(Path(environment.get("GIT_DIR", "")))


def receiving(environment: Mapping[str, str]) -> Repository:
    """Return the repository that a push arrives in, together with what it brings; RepositoryError without one."""
    place = Path(environment.get("GIT_DIR", "")).absolute()
    # A bare repository may be one that git finds only when told (safe.bareRepository).
    told = {"GIT_DIR": str(place)} if "GIT_DIR" in environment else {}
    return Repository.open(place, extra=told | {name: environment[name] for name in _SHOWN if name in environment})


def read_commands(data: bytes) -> list[Command]:
    """Return the commands that git hands a pre-receive hook, `<old> <new> <ref>` a line; StoreError for other lines."""
    commands = []
    for line in data.split(b"\n"):
        if not line:
            continue
        found = _LINE.fullmatch(line.decode("utf-8", "surrogateescape"))
        if found is None:
            raise StoreError("what stands on the input is not what git hands a pre-receive hook")
        commands.append(Command(RefName(found["ref"]), _there(found["old"]), _there(found["new"])))
    return commands


def _there(oid: str) -> Oid | None:
    return Oid(oid) if oid.strip("0") else None


def heads_after(repository: Repository, commands: Iterable[Command], *prefixes: str) -> dict[RefName, Oid]:
    """Return where the refs below `prefixes` will stand once the push is taken."""
    heads = repository.list_refs(*prefixes)
    for command in commands:
        if not command.ref.startswith(prefixes):
            continue
        if command.new is None:
            heads.pop(command.ref, None)
        else:
            heads[command.ref] = command.new
    return heads
