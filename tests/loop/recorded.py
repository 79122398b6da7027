# SPDX-License-Identifier: Apache-2.0
"""A run as plain git shows it: journal, branches, notes; and what of it must be equal in two runs with one seed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from git_hmopt.records.words import RESUMED
from tests.loop.project import Project

# What differs between two runs that did the same: names, times, and what is computed from those.
_RUN_NAME = re.compile(r"\d{8}-[a-z-]+-[0-9a-f]{6}")
_TIMES = frozenset({"at", "ts", "created", "started", "closed", "budget_remaining", "wall_s", "cpu_s"})
_IDS = frozenset({"uuid", "writer", "id"})
# Artifacts that tell times: of these it is compared that they are there.
_OWN_BYTES = frozenset({"report", "log", "dataset"})


@dataclass(frozen=True)
class Recorded:
    """One run of a project."""

    project: Project
    name: str

    @property
    def journal(self) -> str:
        """Return the ref of the run's only journal."""
        listed = self.project.git("for-each-ref", "--format=%(refname)", f"refs/hmopt/runs/{self.name}").splitlines()
        assert len(listed) == 1, listed
        return listed[0]

    def operations(self) -> list[dict[str, Any]]:
        """Return the journal's operations in order, read with git alone."""
        commits = self.project.git("rev-list", "--first-parent", "--reverse", self.journal).split()
        return [json.loads(self.project.git("show", f"{commit}:op.json")) for commit in commits]

    def named(self, op: str) -> list[dict[str, Any]]:
        """Return the data of the operations of that name."""
        return [operation["data"] for operation in self.operations() if operation["op"] == op]

    @property
    def best(self) -> str:
        """Return the branch a reviewer merges."""
        return f"hmopt/{self.name}/best"

    def trees(self) -> list[str]:
        """Return the trees on best, newest first, down to the base."""
        return self.project.git("log", "--format=%T", self.best).split()

    def branches(self) -> list[str]:
        """Return the run's branches without its name."""
        listed = self.project.git("for-each-ref", "--format=%(refname)", f"refs/heads/hmopt/{self.name}")
        return [ref.rpartition("/")[2] for ref in listed.splitlines()]

    def notes(self, ref: str) -> list[Any]:
        """Return the notes of the commits on best, newest commit first, without what two equal runs may differ in.

        Notes are a set of lines: what was measured twice with one result is one line when both fell into one second,
        else two, so without their times equal lines count once.
        """
        shown = self.project.git("log", "--format=%N", f"--notes={ref}", self.best).splitlines()
        commits = _Numbered()
        found = [_neutral(json.loads(line), self.project, commits) for line in shown if line]
        return [one for place, one in enumerate(found) if one not in found[:place]]

    def log(self) -> list[dict[str, str]]:
        """Return the lines of the run's log."""
        path = self.project.root / ".git/hmopt/runs" / self.name / "logs/log.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def comparable(self) -> list[Any]:
        """Return the operations without what two equal runs may differ in, checkpoints as the states they hold."""
        commits = _Numbered()
        # That it was resumed is on record, and counts in the numbers that put the operations into this order.
        steps = [one | {"lamport": None} for one in self.operations() if one["op"] != RESUMED]
        return [_neutral(operation, self.project, commits) for operation in steps]


class _Numbered:
    """Gives objects that exist in one repository alone the tree they stand for, which is the same in all."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def __call__(self, project: Project, oid: str) -> str:
        if oid not in self._known:
            tree = project.git("rev-parse", "-q", "--verify", f"{oid}^{{tree}}", check=False)
            self._known[oid] = f"commit of {tree}" if tree else oid
        return self._known[oid]


def _neutral(value: Any, project: Project, commits: _Numbered) -> Any:
    if isinstance(value, dict):
        if value.get("kind") in _OWN_BYTES:
            return {"kind": value["kind"], "name": value["name"]}
        if value.get("kind") == "evidence-pack":
            # It names its run, so its digest differs; what it says may not.
            return _neutral(json.loads(_artifact(project, value["sha256"])), project, commits)
        if "engine" in value:
            # The rest is the engine's own account of which versions it has seen, which knows of a resume.
            value = {key: value[key] for key in ("state", "next", "step")}
        kept = {key: one for key, one in value.items() if key not in _TIMES | _IDS and key != "evidence_pack_id"}
        return {key: _neutral(one, project, commits) for key, one in kept.items()}
    if isinstance(value, list):
        return [_neutral(one, project, commits) for one in value]
    if isinstance(value, str):
        return commits(project, value) if re.fullmatch(r"[0-9a-f]{40}", value) else _RUN_NAME.sub("RUN", value)
    return value


def _artifact(project: Project, sha256: str) -> bytes:
    (path,) = (project.root / ".git/hmopt/artifacts" / sha256[:2]).glob(f"{sha256}*")
    return path.read_bytes()


def recorded_run(project: Project) -> Recorded:
    """Return the only run of a project."""
    names = set(run_names(project))
    assert len(names) == 1, names
    return Recorded(project, names.pop())


def run_names(project: Project) -> Iterator[str]:
    """Yield the names of the runs that have a journal, from git alone."""
    for ref in project.git("for-each-ref", "--format=%(refname)", "refs/hmopt/runs").splitlines():
        yield ref.split("/")[3]
