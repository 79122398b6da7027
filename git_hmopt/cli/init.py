# SPDX-License-Identifier: Apache-2.0
"""Write .hmopt.yaml for this repository from a shipped profile, and trust it."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

from git_hmopt.cli.config import keep_schema
from git_hmopt.config.load import load_config
from git_hmopt.config.profile import profile_bytes, profile_names
from git_hmopt.config.trust import TRUST_KEY
from git_hmopt.errors import ConfigError, ExitCode, RepositoryError
from git_hmopt.loop.configuration import CONFIG_FILE, settle_trust
from git_hmopt.store.repository import Repository

_DECORATION = "log.excludeDecoration"
_JOURNALS = "refs/hmopt/*"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "--profile",
        default="linux",
        metavar="NAME",
        help=f"which profile: {', '.join(profile_names())} (default: linux)",
    )
    parser.add_argument("--force", action="store_true", help=f"replace a {CONFIG_FILE} that is there")


def run(options: argparse.Namespace) -> ExitCode:
    """Write the file, trust it, and say what was done and how to undo it."""
    repository = Repository.open(Path())
    target = repository.require_worktree() / CONFIG_FILE
    content = profile_bytes(options.profile)
    workloads = load_config(content, origin=CONFIG_FILE).config.workloads
    # What makes a run impossible is told before anything is half done.
    head = repository.resolve("HEAD")
    _refuse_namespace(repository)
    keep_schema(repository)
    _write(target, content, force=options.force)
    committed = repository.read_path(head, CONFIG_FILE)
    undo = [f"{'rm' if committed is None else 'git checkout --'} {shlex.quote(os.path.relpath(target))}"]
    print(f"wrote {CONFIG_FILE} (profile {options.profile})")
    if _hide_journals(repository):
        print(f"set {_DECORATION}={_JOURNALS} so that git log does not show journals")
        undo.append(f"git config --fixed-value --unset {_DECORATION} '{_JOURNALS}'")
    # Runs read the commit's file where there is one, which nobody has read here: leave to run that is not ours to give.
    if committed in (None, content):
        settle_trust(repository)
        print("trusted its commands to run here")
        undo.append(f"git config --unset {TRUST_KEY}")
        print(f"undo: {'; '.join(undo)}")
        print(f"next: git hmopt optimize --workload NAME (one of: {', '.join(workloads)})")
    else:
        print(f"undo: {'; '.join(undo)}")
        print(f"next: commit it, since a run uses the {CONFIG_FILE} of its base commit; then: git hmopt trust")
    return ExitCode.OK


def _refuse_namespace(repository: Repository) -> None:
    blocking = repository.user_branch_blocking_namespace()
    if blocking is not None:
        raise RepositoryError(
            f"your ref '{blocking}' stands where the refs of runs go ({blocking}/...)",
            next_step="rename or delete it, then run init again",
        )


def _write(target: Path, content: bytes, *, force: bool) -> None:
    # Not exists(): a link that leads nowhere yet, made by whoever wrote the repository, would be written through.
    if os.path.lexists(target):
        if target.is_dir() and not target.is_symlink():
            raise ConfigError(f"{target.name} is a directory", next_step="move it away")
        if not force:
            raise ConfigError(f"{target.name} is there already", next_step="edit it, or replace it with --force")
    fresh = target.with_name(f"{target.name}.new")
    fresh.unlink(missing_ok=True)
    try:
        with fresh.open("xb") as stream:
            stream.write(content)
        fresh.replace(target)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def _hide_journals(repository: Repository) -> bool:
    """Add our refs to those that `git log` does not decorate with, beside the user's own; False when they are there."""
    known = repository.git.run("config", "--get-all", _DECORATION, ok=(0, 1)).text.splitlines()
    if _JOURNALS in known:
        return False
    repository.git.run("config", "--local", "--add", _DECORATION, _JOURNALS)
    return True
