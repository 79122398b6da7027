# SPDX-License-Identifier: Apache-2.0
"""Serve this repository's runs over HTTP: begin them, follow them, read what is recorded; and hear forges' webhooks.

Only this machine reaches it unless serve.listen says otherwise, which needs tokens: --new-token makes one, and prints
it once. What is asked for stands in a queue below .git/hmopt/serve and is done by worker processes; a kill loses none
of it. Ctrl-C or SIGTERM ends it: runs that are at work go on with the next start. --openapi prints the description of
the API, and nothing else. It needs the extra: pip install 'git-hmopt[bot]'.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from git_hmopt.cli.number import count
from git_hmopt.cli.settings import gathered, warn
from git_hmopt.config.settings import ServeSettings
from git_hmopt.errors import ExitCode, MissingProgramError, UsageError
from git_hmopt.store.repository import Repository

_NEEDS = ("fastapi", "uvicorn")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--listen", metavar="ADDRESS:PORT", help="where to listen (default: serve.listen)")
    parser.add_argument("--workers", type=count, metavar="N", help="processes that drive runs (default: serve.workers)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--new-token", metavar="NAME", help="add a token to the file serve.tokens, and print it")
    form.add_argument("--openapi", action="store_true", help="print the OpenAPI description of the API")
    parser.add_argument("--write", action="store_true", help="let the bearer of the new token start runs, too")


def run(options: argparse.Namespace) -> ExitCode:
    """Serve until told to end."""
    _refuse_missing()
    if options.write and options.new_token is None:
        raise UsageError("--write says what a new token may do", next_step="give --new-token NAME as well")
    if options.openapi:
        from hmopt_bot.web.openapi import description

        print(description())
        return ExitCode.OK
    repository = Repository.open(Path())
    worktree = repository.require_worktree()
    settings = gathered(worktree, None, options)
    warn(settings)
    if options.new_token is not None:
        print(_new_token(repository, settings.serve, options))
        return ExitCode.OK
    from hmopt_bot.service import serve

    serve(worktree, settings.serve)
    return ExitCode.OK


def _new_token(repository: Repository, settings: ServeSettings, options: argparse.Namespace) -> str:
    from hmopt_bot.private import private_path
    from hmopt_bot.web.tokens import SETTING, Scope, new_token

    if settings.tokens is None:
        raise UsageError(
            "no file of tokens is set", next_step=f"run: git config {SETTING} /etc/git-hmopt/tokens, or such a path"
        )
    path = private_path(settings.tokens, SETTING, repository)
    return new_token(path, options.new_token, Scope.WRITE if options.write else Scope.READ)


def _refuse_missing() -> None:
    from importlib.util import find_spec

    for name in _NEEDS:
        if find_spec(name) is None:
            raise MissingProgramError(
                name, lost="nothing can be served", install=f"{sys.executable} -m pip install 'git-hmopt[bot]'"
            )
