# SPDX-License-Identifier: Apache-2.0
"""The tables of the shell completions, from the parsers: commands, their options, and what each value can be.

`python -m git_hmopt.cli.completion FILE...` writes them into `git_hmopt/share/bash-completion/completions/git-hmopt`
and `git_hmopt/share/zsh/site-functions/_git-hmopt`, whose functions are written by hand. argcomplete would start Python
and import the command at every press of the key, and has no way into the completion of git itself.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from git_hmopt.cli.list import STATUSES, VERDICTS
from git_hmopt.cli.main import COMMANDS, command_of
from git_hmopt.config.load import load_config
from git_hmopt.config.profile import profile_names
from git_hmopt.config.settings import SECTIONS, keys
from git_hmopt.demo.tree import tree_root
from git_hmopt.loop.configuration import CONFIG_FILE
from git_hmopt.store.transport import What
from hmopt_hooks.scripts import Hook

BEGIN = "# -- made by python -m git_hmopt.cli.completion\n"
END = "# -- end\n"

# What a value can be, by argparse's destination. One that is not here has no completion made for it: an error, so that
# whoever adds an option thinks of it.
_KINDS: Mapping[str, str] = {
    "after": "captures",
    "against": "captures",
    "allow_endpoint": "nothing",
    "base": "commits",
    "baseline": "runs",
    "because": "nothing",
    "before": "captures",
    "below": "files",
    "build": "files",
    "capture": "captures",
    "captures": "captures",
    "config": "files",
    "depth": "nothing",
    "directory": "directories",
    "event": "nothing",
    "files": "files",
    "head": "commits",
    "hotspot": "nothing",
    "iteration": "nothing",
    "iterations": "nothing",
    "jobs": "nothing",
    "listen": "nothing",
    "max_size": "nothing",
    "metric": "nothing",
    "model": "nothing",
    "n": "nothing",
    "name": "nothing",
    "new_token": "nothing",
    "older_than": "nothing",
    "output": "files",
    "path": "directories",
    "paths": "files",
    "proposer": "proposers",
    "query": "nothing",
    "range": "commits",
    "reason": "nothing",
    "remote": "remotes",
    "rev": "commits",
    "replay": "runs",
    "revisions": "commits",
    "run": "runs",
    "runs": "runs",
    "seed": "nothing",
    "since": "nothing",
    "symbols": "files",
    "symfs": "directories",
    # Only Python could ask the graph for them, and its start is too slow for a key.
    "symbol": "nothing",
    "text": "nothing",
    "time": "nothing",
    "tokens": "nothing",
    "touched": "commits",
    "window": "nothing",
    "workers": "nothing",
    "workload": "workloads",
    "workloads": "workloads",
}
_ZSH = {"files": "_files", "directories": "_directories", "nothing": " "}


@dataclass(frozen=True)
class Argument:
    """One option or positional argument of a command."""

    names: tuple[str, ...]
    """Its spellings; none for a positional argument."""
    takes: str | None
    """The kind of its value, or the words it can be, after `words` or `words-or-files`; None when it takes no value."""
    called: str
    """How messages name its value."""
    help: str
    repeated: bool
    needed: bool


def rewritten(text: str) -> str:
    """Return a completion script with the table the parsers give; ValueError when it has no place for one."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no line '{(END if begin else BEGIN).strip()}'")
    lines = _zsh() if text.startswith("#compdef") else _bash()
    return "".join([head, begin, *(f"{line}\n" for line in lines), end, tail])


def arguments(name: str) -> list[Argument]:
    """Return what a command takes, in the order of its help."""
    _, parser = command_of(name)
    # argparse has no other list of it.
    return [_argument(name, action) for action in parser._actions]


def _argument(command: str, action: argparse.Action) -> Argument:
    return Argument(
        names=tuple(action.option_strings),
        takes=None if action.nargs == 0 else _kind(command, action),
        called=action.metavar if isinstance(action.metavar, str) else action.dest,
        help=(action.help or "") % vars(action),
        repeated=action.nargs == "*" or isinstance(action, argparse._AppendAction),
        needed=action.nargs is None,
    )


def _kind(command: str, action: argparse.Action) -> str:
    if action.choices:
        # bash has one kind for all arguments of a command, and some of these are followed by files.
        kind = "words-or-files" if (command, action.dest) == ("ingest", "what") else "words"
        return " ".join([kind, *map(str, action.choices)])
    match command, action.dest:
        case "demo", "workload":
            shipped = (tree_root() / CONFIG_FILE).read_bytes()
            return " ".join(["words", *load_config(shipped, origin=CONFIG_FILE).config.workloads])
        case "init", "profile":
            return " ".join(["words", *profile_names()])
        case (("push" | "sync"), "what"):
            return " ".join(["words", "all", *What])
        case "hooks", "hooks":
            return " ".join(["words", *Hook])
        case "list", "status":
            return " ".join(["words", *STATUSES])
        case "list", "verdict":
            return " ".join(["words", *VERDICTS])
        case "config", "key":
            return " ".join(["words", *filter(None, SECTIONS), *keys()])
    return _KINDS[action.dest]


def _bash() -> Iterator[str]:
    yield "__git_hmopt_table()"
    yield "{"
    yield "\tcase $1 in"
    yield f"""\t'') options='-C -h --version' value='words {" ".join(COMMANDS)} help' ;;"""
    yield f"\thelp) value='words {' '.join(COMMANDS)}' ;;"
    for name in COMMANDS:
        taken = arguments(name)
        yield f"\t{name})"
        yield f"\t\toptions='{' '.join(spelling for one in taken for spelling in one.names)}'"
        yield "\t\tcase $2 in"
        for kind in dict.fromkeys(one.takes for one in taken if one.names and one.takes):
            spelled = " | ".join(spelling for one in taken if one.takes == kind for spelling in one.names)
            yield f"\t\t{spelled}) value='{kind}' ;;"
        positional = next((one.takes for one in taken if not one.names), "nothing")
        yield f"\t\t*) value='{positional}' ;;"
        yield "\t\tesac"
        yield "\t\t;;"
    yield "\tesac"
    yield "}"


def _zsh() -> Iterator[str]:
    yield "__git_hmopt_commands()"
    yield "{"
    yield "\tlocal -a commands=("
    for name, help_line in COMMANDS.items():
        yield f"\t\t{_quoted(f'{name}:{help_line}')}"
    yield "\t)"
    yield "\t_describe -t commands command commands"
    yield "}"
    yield ""
    yield "__git_hmopt_arguments()"
    yield "{"
    yield "\tcase $1 in"
    yield "\thelp) _arguments ':command:__git_hmopt_commands' ;;"
    for name in COMMANDS:
        yield f"\t{name})"
        yield " \\\n".join(["\t\t_arguments", *(f"\t\t\t{_zsh_spec(one)}" for one in arguments(name))])
        yield "\t\t;;"
    yield "\tesac"
    yield "}"


def _zsh_spec(one: Argument) -> str:
    """Return an argument as `_arguments` takes it."""
    value = "" if one.takes is None else f":{_plain(one.called)}:{_zsh_action(one.takes)}"
    if not one.names:
        return _quoted(f"{'*' if one.repeated else '' if one.needed else ':'}{value}")
    excluded = "(- *)" if "--help" in one.names else "" if one.repeated else f"({' '.join(one.names)})"
    mark = "*" if one.repeated else excluded
    told = _quoted(f"[{_plain(one.help)}]{value}")
    spellings = [name if one.takes is None else name + ("=" if name.startswith("--") else "+") for name in one.names]
    spelled = spellings[0] if len(spellings) == 1 else f"{{{','.join(spellings)}}}"
    return f"{_quoted(mark)}{spelled}{told}"


def _zsh_action(takes: str) -> str:
    kind, _, words = takes.partition(" ")
    return f"({words})" if kind in ("words", "words-or-files") else _ZSH.get(kind, f"__git_hmopt_{kind}")


def _plain(text: str) -> str:
    """Return text in which `_arguments` sees none of its own characters."""
    return "".join(f"\\{c}" if c in "\\[]:" else c for c in text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def main(files: list[str]) -> None:
    """Write the tables into these files."""
    for path in map(Path, files):
        path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
