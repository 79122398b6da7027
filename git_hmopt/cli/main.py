# SPDX-License-Identifier: Apache-2.0
"""Entry point of `git hmopt`: find the subcommand, run it, and turn errors into one line and an exit code."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from git_hmopt import __version__
from git_hmopt.errors import ExitCode, HmoptError, UsageError

# Module and one-line help of each command; a module is imported only when its command runs, because `git hmopt list`
# must not pay for libclang, langgraph or pydantic.
COMMANDS = {
    "init": "write .hmopt.yaml for this repository from a shipped profile",
    "trust": "allow this repository's configured commands to run here",
    "optimize": "look for changes that make a workload faster, and judge each honestly",
    "resume": "go on with a run that was killed",
    "list": "list runs",
    "show": "tell a run's story on one screen",
    "report": "print or write a run's markdown report",
    "cache": "the derived database: rebuild it, or say where it is",
}


class Parser(argparse.ArgumentParser):
    """argparse, with git's exit code for a wrong command line."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of exiting with 2."""
        command = self.prog.removeprefix("git hmopt ")
        raise UsageError(f"{command}: {message}", next_step=f"see: {self.prog} -h")


def _usage() -> str:
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"   {name:<{width}}  {text}" for name, text in COMMANDS.items())
    return f"""usage: git hmopt [-C <path>] <command> [<options>]

Make a kernel faster, and prove it: build, test, profile and measure candidates
over many code layouts, keep only what is better, leave the evidence in git.

{listed}

'git hmopt <command> -h' explains a command. Exit codes: 0 yes, 1 no (nothing
was found to be better), 125 cannot test, 128 environment, 129 usage, 130
interrupted."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        code = int(_dispatch(list(sys.argv[1:] if arguments is None else arguments)))
        # What is still buffered would otherwise fail after the last handler.
        sys.stdout.flush()
        return code
    except HmoptError as error:
        print(f"git hmopt: {error}", file=sys.stderr)
        return int(error.exit_code)
    except KeyboardInterrupt:
        print("git hmopt: interrupted", file=sys.stderr)
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # The reader (a pager, head) has seen enough.
        _forget_output()
        return int(ExitCode.OK)
    except OSError as error:
        _forget_output()
        where = f"'{error.filename}'" if error.filename else "output"
        print(
            f"git hmopt: {where} cannot be used: {error.strerror}; make room or rights, and try again", file=sys.stderr
        )
        return int(ExitCode.ENVIRONMENT)


def _forget_output() -> None:
    """Have nothing flushed to standard output at exit any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(words: list[str]) -> ExitCode:
    while words and words[0] == "-C":
        if len(words) < 2:
            raise UsageError("-C needs a directory", next_step="see: git hmopt -h")
        try:
            os.chdir(words[1])
        except OSError as error:
            raise UsageError(
                f"cannot change to '{words[1]}': {error.strerror}", next_step="-C wants a directory"
            ) from error
        words = words[2:]
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage(), file=sys.stdout if words else sys.stderr)
        return ExitCode.OK if words else ExitCode.USAGE
    if words[0] == "--version":
        print(f"git-hmopt {__version__}")
        return ExitCode.OK
    name = words[0]
    if name not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(name, COMMANDS, n=1)
        step = f"did you mean '{near[0]}'?" if near else "see: git hmopt -h"
        raise UsageError(f"'{name}' is not a git hmopt command", next_step=step)
    command = importlib.import_module(f"git_hmopt.cli.{name}")
    parser = Parser(prog=f"git hmopt {name}", description=command.__doc__)
    command.add_arguments(parser)
    code: ExitCode = command.run(parser.parse_args(words[1:]))
    return code


if __name__ == "__main__":
    sys.exit(main())
