# SPDX-License-Identifier: Apache-2.0
"""A forge's repository with a pull request, and what its runner checks out for a job: one commit deep."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tests.bot.action.composite import Outcome, run_action
from tests.loop.project import Project, make_project

OURS = 11


@dataclass(frozen=True)
class Forge:
    """The repository, the checkout that commits are made in, and the commit its base branch is at."""

    project: Project
    bare: Path
    base: str

    @property
    def url(self) -> str:
        """Return an address that makes git transport, which knows shallow clones."""
        return f"file://{self.bare}"


def make_forge(directory: Path, files: dict[str, str]) -> Forge:
    """Make it, with `files` as the one commit of its base branch."""
    project = make_project(directory, contents=files, title="A table of names", trusted=False)
    bare = directory / "forge.git"
    project.git("init", "-q", "--bare", str(bare))
    # As GitHub's server: any commit can be asked for by its name.
    project.git("-C", str(bare), "config", "uploadpack.allowAnySHA1InWant", "true")
    project.git("push", "-q", str(bare), "main")
    return Forge(project, bare, project.git("rev-parse", "HEAD"))


@dataclass(frozen=True)
class Pull:
    """A pull request, and a clone as `actions/checkout` makes it: HEAD is the forge's merge."""

    forge: Forge
    base: str
    head: str
    merge: str
    clone: Project
    temporary: Path

    def event(self, *, repository: int | None = OURS, base: str | None = None) -> Path:
        """Write the event; `repository` is the number of the one that head is in, None for one that is gone."""
        path = self.temporary / "event.json"
        repo = None if repository is None else {"id": repository}
        # Titles and names of branches are anybody's.
        name = "$(touch ran-it)`touch ran-it`;touch ran-it\n::error::hello"
        event = {
            "repository": {"id": OURS},
            "pull_request": {
                "title": name,
                "base": {"sha": base or self.base, "ref": name},
                "head": {"sha": self.head, "ref": name, "repo": repo},
            },
        }
        path.write_text(json.dumps(event))
        return path

    def run(
        self, *, event: Path | None = None, name: str = "pull_request", hosted: str = "github-hosted",
        path: str = "", only: Sequence[str] = (), said: Mapping[str, str] = MappingProxyType({}), **inputs: str,
    ) -> Outcome:  # fmt: skip
        """Use the action in a job, with this test's own interpreter unless `python` says another."""
        environment = {
            **self.clone.environment,
            "GITHUB_EVENT_NAME": name,
            "GITHUB_EVENT_PATH": str(event or self.event()),
            "GITHUB_SERVER_URL": "https://github.com",
            "RUNNER_ENVIRONMENT": hosted,
            **({"PATH": path} if path else {}),
        }
        given = {"python": sys.executable, **{key.replace("_", "-"): value for key, value in inputs.items()}}
        return run_action(
            given, workspace=self.clone.root, temporary=self.temporary, environment=environment, only=only, said=said
        )


def pull_of(forge: Forge, edits: dict[str, str], directory: Path, *, base: str | None = None) -> Pull:
    """Open a pull request with one commit, which writes `edits`, and check out its merge."""
    project, base = forge.project, base or forge.base
    project.git("checkout", "-q", "-f", "--detach", forge.base)
    for path, text in edits.items():
        project.write(path, text)
    head = project.commit("a change")
    tree = project.git("merge-tree", "--write-tree", base, head)
    merge = project.git("commit-tree", "-p", base, "-p", head, "-m", "merge", tree)
    project.git("push", "-q", "-f", str(forge.bare), f"{head}:refs/pull/1/head", f"{merge}:refs/pull/1/merge")
    project.git("push", "-q", "-f", str(forge.bare), f"{base}:refs/heads/main")
    return Pull(forge, base, head, merge, clone(forge, merge, directory), directory / "temp")


def clone(forge: Forge, commit: str, directory: Path) -> Project:
    """Return a clone of one commit, at it, with a directory `temp` beside it."""
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "temp").mkdir(parents=True)
    made = Project(directory / "clone", forge.project.home)
    made.root.mkdir()
    made.git("init", "-q")
    made.git("remote", "add", "origin", forge.url)
    made.git("fetch", "-q", "--no-tags", "--depth=1", "origin", commit)
    made.git("checkout", "-q", "--detach", commit)
    return made
