# SPDX-License-Identifier: Apache-2.0
"""What `doctor` asks about git, a remote and the database: read only, and no remote but the one that was named."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import apsw

from git_hmopt.config.explain import unknown
from git_hmopt.errors import HmoptError, MissingProgramError, UsageError
from git_hmopt.process.host import Finding, State
from git_hmopt.store.git import Git
from git_hmopt.store.repository import Repository
from git_hmopt.store.search import load_vectors


def git_itself(directory: Path) -> Finding:
    """Ask git for its version, and for what only git 2.31 and later answers."""
    git = Git(directory)
    try:
        said = git.run("version").text.removeprefix("git version ")
        new = git.run("config", "--list", "--show-scope", "--name-only", "-z", ok=range(256)).returncode == 0
        # Outside a repository git complains about that, before 2.31 about the option.
        formats = git.run("rev-parse", "--path-format=absolute", "--git-dir", ok=range(256))
    except MissingProgramError as error:
        return Finding("git", "git", State.MISSING, "not installed", error.what, "apt-get install git", True)
    if not new or "path-format" in formats.text:
        lost = "git hmopt needs git 2.31 or later"
        return Finding("git", "git", State.MISSING, said, lost, "apt-get install git", True)
    return Finding("git", "git", State.FOUND, said, fatal=True)


def remote(repository: Repository, name: str) -> Finding:
    """Ask one configured remote for its refs; UsageError names the nearest when there is none called `name`."""
    known = repository.git.run("remote").text.split()
    if name not in known:
        raise UsageError(unknown(name, known, what="remote"), next_step="see: git remote -v")
    lost = "runs cannot be pushed to it or fetched from it"
    try:
        answer = repository.git.run("ls-remote", "--quiet", name, wall_s=60)
    except HmoptError as error:
        return Finding("remote", name, State.MISSING, error.what, lost, f"git ls-remote {name}", True)
    refs = [line.partition("\t")[2] for line in answer.text.splitlines()]
    ours = sum(1 for ref in refs if ref.startswith(("refs/hmopt/", "refs/notes/hmopt/", "refs/heads/hmopt/")))
    return Finding("remote", name, State.FOUND, f"answers; {len(refs)} refs, {ours} of them of git hmopt", fatal=True)


def vector_search() -> Finding:
    """Load sqlite-vec into a database in memory."""
    topic, name = "python", "sqlite-vec"
    lost, install = "search finds words alone, not what is alike", "pip install sqlite-vec"
    connection = apsw.Connection(":memory:")
    try:
        reason = load_vectors(connection)
        if reason is not None:
            state = State.LIMITED if importlib.util.find_spec("sqlite_vec") else State.MISSING
            return Finding(topic, name, state, reason.removeprefix("sqlite-vec "), lost, install)
        said = connection.execute("SELECT vec_version()").get
    finally:
        connection.close()
    return Finding(topic, name, State.FOUND, f"{said}, loads into SQLite {apsw.sqlite_lib_version()}")
