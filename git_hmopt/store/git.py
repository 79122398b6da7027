# SPDX-License-Identifier: Apache-2.0
"""The one door to git: every git process of the tool starts in `Git.run`."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from git_hmopt.errors import HmoptError, MissingProgramError, ProgramError, RepositoryError, StoreError
from git_hmopt.process.runner import Limits, run

# The runner builds the environment from nothing, so this list is all of the caller's shell that git sees. Missing on
# purpose: GIT_DIR, GIT_INDEX_FILE, GIT_WORK_TREE, GIT_OBJECT_DIRECTORY, which a hook sets and which would send our
# writes into its quarantine. Kept: what decides which configuration is read (`git -c` comes as
# GIT_CONFIG_PARAMETERS), and what a partial clone needs to fetch a missing object.
_KEPT = frozenset(
    {
        "HOME",
        "USER",
        "LOGNAME",
        "TMPDIR",
        "SSH_AUTH_SOCK",
        "GIT_SSH",
        "GIT_SSH_COMMAND",
        "GIT_CEILING_DIRECTORIES",
        "GIT_DISCOVERY_ACROSS_FILESYSTEM",
        "http_proxy",
        "https_proxy",
        "HTTPS_PROXY",
        "no_proxy",
        "NO_PROXY",
    }
)
_KEPT_PREFIXES = ("XDG_", "GIT_CONFIG_", "GIT_SSL_")
# What credential helpers and ssh ask a person with, for commands that go to a remote.
_ASKING = frozenset(
    {
        *("GIT_ASKPASS", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY"),
        *("DBUS_SESSION_BUS_ADDRESS", "KRB5CCNAME", "GNUPGHOME", "ALL_PROXY", "all_proxy"),
    }
)

_ALWAYS = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_PAGER": "cat",
    # `git status` would otherwise rewrite the user's index, and fail when an editor holds its lock.
    "GIT_OPTIONAL_LOCKS": "0",
    # A replacement would show the command another object than the library reads.
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_LITERAL_PATHSPECS": "1",
}

# reference-transaction and post-index-change hooks run even for plumbing, and a file system monitor would start a
# daemon for our build trees.
_QUIET = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false")

_DUBIOUS = re.compile(r"detected dubious ownership in repository at '([^']*)'")
_FULL = ("No space left on device", "Disk quota exceeded", "File too large")
FREE_SPACE = "free space there and run it again"


@dataclass(frozen=True)
class GitOutput:
    """What a git process answered."""

    returncode: int
    output: bytes = field(repr=False)
    errors: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """Return the output without its last newline."""
        return self.output.decode("utf-8", "surrogateescape").removesuffix("\n")

    @property
    def complaint(self) -> str:
        """Return git's first fatal or error line, without the prefix."""
        lines = self.errors.decode("utf-8", "replace").splitlines()
        for line in lines:
            for prefix in ("fatal: ", "error: "):
                if line.startswith(prefix):
                    return line.removeprefix(prefix)
        return lines[0] if lines else f"exit code {self.returncode}"

    @property
    def disk_full(self) -> bool:
        """Say whether git complained of a disk, quota or file size that is used up."""
        return any(words in self.errors.decode("utf-8", "replace") for words in _FULL)


@dataclass(frozen=True)
class Git:
    """Git, run in one directory; `extra` are variables that all its processes get."""

    cwd: Path
    extra: tuple[tuple[str, str], ...] = ()

    def run(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        environment: Mapping[str, str] | None = None,
        ok: Container[int] = (0,),
        settings: Sequence[str] = _QUIET,
        wall_s: float = 600.0,
        asks: bool = False,
    ) -> GitOutput:
        """Run `git arguments` and return its output in bytes; with `asks` helpers may ask a person for credentials.

        Exit codes outside `ok` raise: RepositoryError for what is wrong with the repository, else StoreError.
        """
        try:
            finished = run(
                ["git", *settings, *arguments],
                cwd=self.cwd,
                environment=git_environment(asks=asks) | dict(self.extra) | dict(environment or {}),
                limits=Limits(wall_s=wall_s),
                stdin=stdin,
                split_errors=True,
            )
        except MissingProgramError as error:
            raise MissingProgramError("git", lost="everything is kept in git", install="apt-get install git") from error
        except ProgramError as error:
            # A git that hangs or cannot start says nothing about the source under test.
            raise StoreError(error.what, next_step=error.next_step) from error
        answer = GitOutput(finished.returncode, finished.output, finished.errors)
        if finished.returncode not in ok:
            subcommand = next((word for word in arguments if not word.startswith("-")), arguments[0])
            raise _translated(answer, subcommand, self.cwd)
        return answer


def git_environment(*, asks: bool = False) -> dict[str, str]:
    """Return the variables every git process gets: the caller's configuration, none of its repository."""
    wanted = _KEPT | _ASKING if asks else _KEPT
    kept = {name: value for name, value in os.environ.items() if name in wanted or name.startswith(_KEPT_PREFIXES)}
    return kept | _ALWAYS


def _translated(answer: GitOutput, subcommand: str, cwd: Path) -> HmoptError:
    text = answer.errors.decode("utf-8", "replace")
    dubious = _DUBIOUS.search(text)
    if dubious:
        return RepositoryError(
            f"git refuses '{dubious[1]}': it belongs to another user",
            next_step=f"if you trust it, run: git config --global --add safe.directory '{dubious[1]}'",
        )
    if "not a git repository" in text:
        return RepositoryError(
            f"'{cwd.absolute()}' is not in a git repository",
            next_step="run it inside a checkout, or make one: git init",
        )
    return StoreError(
        f"git {subcommand} failed: {answer.complaint}", next_step=FREE_SPACE if answer.disk_full else None
    )
