# SPDX-License-Identifier: Apache-2.0
"""Entry point of `git hmopt`: find the subcommand, run it, and turn errors into one line and an exit code."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, NoReturn

from git_hmopt import __version__
from git_hmopt.errors import ExitCode, HmoptError, UsageError

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

# Module and one-line help of each command; a module is imported only when its command runs, because `git hmopt list`
# must not pay for libclang, langgraph or pydantic.
COMMANDS = {
    "demo": "optimise a small C tree that ships with this tool, to see how it works",
    "init": "write .hmopt.yaml for this repository from a shipped profile",
    "trust": "allow this repository's configured commands to run here",
    "optimize": "look for changes that make a workload faster, and judge each honestly",
    "run": "the same, from a configuration file that lies anywhere",
    "resume": "go on with a run that was killed",
    "list": "list runs",
    "stats": "say how the tool fares over many runs: times, pass rates, verdicts, gains, false positives",
    "log": "show a metric over a branch's history",
    "reattach": "find what was measured of commits before they were rebased or squashed",
    "search": "find functions, runs and changes that were tried, by words and by likeness",
    "sql": "ask the cache with SQL; its tables are documented",
    "show": "tell a run's story on one screen",
    "evidence": "print what was known about a run's hotspots before a decision",
    "report": "print or write a run's report: markdown, a page, JSON",
    "diff": "hold two runs against each other: what was tried, verdicts, numbers",
    "graph": "ask the structure of the source: callers, implementers, what a knob guards or a diff touches",
    "analyze": "derive a run's hotspots and call graph again from its stored captures",
    "export": "write runs as JSON lines: evidence, diff, changes, verdict",
    "retract": "take back a verdict, or all that a run claims, with a reason",
    "push": "send runs to a remote repository, after a list of what leaves",
    "fetch": "take in the runs that a remote repository has",
    "sync": "fetch, then push",
    "check": "say whether HEAD is slower than a base (for git bisect run, too)",
    "serve": "serve this repository's runs over HTTP, and hear webhooks",
    "ingest": "keep a snapshot of a repository's source here, or captures in a run",
    "hotspots": "rank the functions of captures, or of a run, and say where they are defined",
    "kpis": "say how the system ran during a trace: frames, scheduling, interrupts, power, reclaim",
    "flamegraph": "draw the flame graph of a capture or a run",
    "compare": "compare two captures, function by function and stack by stack",
    "config": "show every setting and where it came from; the schema and reference of .hmopt.yaml",
    "doctor": "say what this host has, what it lacks, what is lost without it, and what installs it",
    "hooks": "have git call this tool at a push, rebase, merge or checkout; a rule for a server's branches",
    "fsck": "check all that is stored here, and repair what is derived",
    "gc": "remove what no run needs any more, after saying what that is",
    "expire": "forget old runs, here and everywhere, after archiving them",
    "cache": "the derived database: rebuild it, or say where it is",
}

ABOUT = """Make a kernel faster, and prove it: build, test, profile and measure candidates
over many code layouts, keep only what is better, leave the evidence in git."""

EXIT_CODES = {
    ExitCode.OK: "yes",
    ExitCode.NO: "no (nothing was found to be better)",
    ExitCode.CANNOT_TEST: "cannot test",
    ExitCode.ENVIRONMENT: "environment",
    ExitCode.USAGE: "usage",
    ExitCode.INTERRUPTED: "interrupted",
}

_LONGEST = 2000
"""Characters of a message; a log's path and the line of a compiler that it quotes fit many times."""


class Parser(argparse.ArgumentParser):
    """argparse, with git's exit code for a wrong command line, and no output that is lost without a word."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of exiting with 2."""
        command = self.prog.removeprefix("git hmopt ")
        raise UsageError(f"{command}: {message}", next_step=f"see: {self.prog} -h")

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        """Print the help; argparse itself says nothing when it cannot be written."""
        print(self.format_help(), end="", file=file)


def command_of(name: str) -> tuple[ModuleType, Parser]:
    """Import a command of COMMANDS and return it with the parser of its arguments."""
    command = importlib.import_module(f"git_hmopt.cli.{name}")
    parser = Parser(prog=f"git hmopt {name}", description=command.__doc__)
    command.add_arguments(parser)
    return command, parser


def _usage() -> str:
    import textwrap

    width = max(map(len, COMMANDS))
    listed = "\n".join(f"   {name:<{width}}  {text}" for name, text in COMMANDS.items())
    codes = ", ".join(f"{int(code)} {meaning}" for code, meaning in EXIT_CODES.items())
    more = f"'git hmopt <command> -h' explains a command, 'git hmopt --help' opens the manual. Exit codes: {codes}."
    return f"""usage: git hmopt [-C <path>] <command> [<options>]

{ABOUT}

{listed}

{textwrap.fill(more, 80)}"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _open_standard_streams()
    _end_with_children()
    try:
        code = int(_dispatch(list(sys.argv[1:] if arguments is None else arguments)))
    except SystemExit as helped:  # how argparse ends when it has printed a command's help
        code = int(helped.code or 0)
    except HmoptError as error:
        if arguments is None and error.exit_code == ExitCode.INTERRUPTED:
            _hear_no_more()
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        if arguments is None:
            _hear_no_more()
        return _complain("interrupted", ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # The reader (a pager, head) has seen enough.
        code = int(ExitCode.OK)
    except OSError as error:
        return _unusable(error)
    except Exception as error:  # noqa: BLE001 - a defect of ours must not read as exit code 1, which is a verdict
        return _defect(error)
    try:
        # What is still buffered would otherwise fail after the last handler.
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
    except OSError as error:
        return _unusable(error)
    return code


def _open_standard_streams() -> None:
    """Give a process that was started with closed standard streams /dev/null in their place, as git does.

    Python leaves None where a stream was closed, and the next file that is opened would be the standard output of
    every program we start.
    """
    while (null := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(null, True)
    os.close(null)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - a descriptor
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def _end_with_children() -> None:
    """Take the builds and workloads that run along when `kill` or a closed terminal ends us; the run can be resumed.

    They are in sessions of their own, where no signal of ours reaches them.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        # `nohup` has it ignored, and that is inherited on purpose.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _ended)


def _ended(number: int, frame: FrameType | None) -> None:
    runner = sys.modules.get("git_hmopt.process.runner")
    if runner is not None:
        runner.kill_live()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def _hear_no_more() -> None:
    """Ignore what would end the process, which ends now: amid that it would change the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _complain(text: str, code: ExitCode) -> int:
    # What a command line, a file name or a program's output put into it: one line, and nothing a terminal obeys.
    line = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    # shutil's errors list every file that could not be copied; the end of a line is its next step.
    shown = line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} [...] {line[-_LONGEST // 2 :]}"
    print(f"git hmopt: {shown}", file=sys.stderr)
    return int(code)


def _unusable(error: OSError) -> int:
    _forget_output()
    where = f"'{error.filename}'" if error.filename else "output"
    what = f"{where} cannot be used: {error.strerror or error}"
    return _complain(f"{what}; make room or rights, and try again", ExitCode.ENVIRONMENT)


def _defect(error: Exception) -> int:
    import traceback

    _forget_output()
    traceback.print_exception(error, file=sys.stderr)
    what = f"this is a defect of git-hmopt {__version__}: {type(error).__name__}: {error}"
    return _complain(f"{what}; report it with the lines above; what was recorded is kept", ExitCode.ENVIRONMENT)


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
    if words[:1] == ["help"] and len(words) > 1:
        words = [words[1], "-h"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage(), file=sys.stdout if words else sys.stderr)
        return ExitCode.OK if words else ExitCode.USAGE
    if words[0] == "--version":
        print(f"git-hmopt {__version__}")
        return ExitCode.OK
    name = words[0]
    if name not in COMMANDS:
        import difflib

        options = ("-C", "-h", "--version")
        near = difflib.get_close_matches(name, options if name.startswith("-") else COMMANDS, n=1)
        step = f"did you mean '{near[0]}'?" if near else "see: git hmopt -h"
        what = "an option of git hmopt" if name.startswith("-") else "a git hmopt command"
        raise UsageError(f"'{name}' is not {what}", next_step=step)
    command, parser = command_of(name)
    # argparse's own message is better where nothing has to stand between arguments.
    parse = parser.parse_intermixed_args if getattr(command, "INTERMIXED", False) else parser.parse_args
    code: ExitCode = command.run(parse(words[1:]))
    return code


if __name__ == "__main__":
    sys.exit(main())
