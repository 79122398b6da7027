# SPDX-License-Identifier: Apache-2.0
"""What `doctor` asks about git, the database, and the one remote that was named."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import apsw

from git_hmopt.errors import HmoptError, MissingProgramError
from git_hmopt.process.host import Finding, State
from git_hmopt.store.git import Git
from git_hmopt.store.remote import Namespace, Remote
from git_hmopt.store.repository import Repository
from git_hmopt.store.search import load_vectors
from git_hmopt.store.transport import probe


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
    """Ask one remote for its refs, and try where it takes ours: by one small ref, which is removed again.

    UsageError names the nearest when there is none called `name`.
    """
    asked = Remote.of(repository, name)
    lost = "runs cannot be pushed to it or fetched from it"
    try:
        answer = repository.git.run("ls-remote", "--quiet", name, wall_s=60)
    except HmoptError as error:
        return Finding("remote", name, State.MISSING, error.what, lost, f"git ls-remote {name}", True)
    refs = [line.partition("\t")[2] for line in answer.text.splitlines()]
    ours = sum(1 for ref in refs if ref.startswith(("refs/hmopt/", "refs/notes/hmopt/", "refs/heads/hmopt/")))
    said = f"answers; {len(refs)} refs, {ours} of them of git hmopt"
    if probe(asked, Namespace.PLAIN):
        return Finding("remote", name, State.FOUND, f"{said}; takes refs/hmopt/", fatal=True)
    if probe(asked, Namespace.HEADS):
        said += "; takes branches only: runs go to refs/heads/hmopt-data/"
        return Finding("remote", name, State.LIMITED, said, "everybody's plain git fetch brings them along")
    return Finding("remote", name, State.LIMITED, f"{said}; takes nothing from you", "runs can be fetched, not pushed")


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
