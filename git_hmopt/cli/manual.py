# SPDX-License-Identifier: Apache-2.0
"""The manual page git-hmopt(1), from the texts that `-h` prints, the settings and the names of refs.

`git_hmopt/share/man/man1/git-hmopt.1` is what `python -m git_hmopt.cli.manual` prints. The roff is our own because
argparse-manpage leaves a text line that begins with `.hmopt.yaml` to be read, and dropped, as a request.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator

from git_hmopt import __version__
from git_hmopt.cli.main import ABOUT, COMMANDS, EXIT_CODES, command_of
from git_hmopt.config.settings import field_of, git_keys, keys, variable
from git_hmopt.loop.configuration import CONFIG_FILE
from git_hmopt.records.words import ARTIFACTS, BRANCHES, CARE, JOURNALS, NOTES_METRICS, NOTES_VERDICTS, SCRATCH

EXAMPLES = {
    "See how it works, on a small C tree that ships with this tool:": "git hmopt demo",
    "Make one workload of a checkout of Linux faster:": "git hmopt init --profile linux\n"
    "git hmopt optimize --workload lib-crc64",
    "Judge patches of your own, then read the story of the run:": "git hmopt optimize --workload lib-sort "
    "--proposer patches:./my-patches\ngit hmopt show",
    "Ask who calls a function, and who reaches what the last commit touches:": "git hmopt graph --callers do_swap "
    "--depth 3\ngit hmopt graph --touched HEAD~1..HEAD",
    "Rank what a flame graph that somebody sent shows, and compare it with another one:": "git hmopt hotspots old.svg\n"
    "git hmopt compare old.svg new.svg --html -o difference.html",
    "Find the commit that made a workload slower:": "git bisect start BAD GOOD\ngit bisect run git hmopt check",
}

_OPTIONS = {
    "`-C` PATH": "Run as if started in PATH; may be repeated.",
    "`-h`, `--help`": "After a command: explain it. `git hmopt -h` lists the commands; `git hmopt --help` is taken by "
    "git, and opens this page.",
    "`--version`": "Print the version.",
}
_ENVIRONMENT = {
    "`NO_COLOR`": "No colours, unless `HMOPT_COLOR` says otherwise.",
    "`HMOPT_PROGRESS`": "When set, progress is shown although standard error is no terminal.",
    "`HMOPT_...`": "A setting, as listed under SETTINGS.",
}
_FILES = {
    f"`{CONFIG_FILE}`": "What can be built, tested and measured, at the top of the repository; read from the base "
    "commit, or from the working tree when no commit has it. `git hmopt config --reference` explains every key.",
    f"`{BRANCHES}<run>/best`": "The branch a reviewer merges: accepted patches on top of the base.",
    f"`{NOTES_METRICS}`, `{NOTES_VERDICTS}`": "One JSON line a number, one a verdict, on the commit that was measured.",
    f"`{JOURNALS}<run>/<writer>`": "The journal of a run: every step, every candidate alive, resumable.",
    f"`{CARE}<writer>`, `{ARTIFACTS}<run>/<writer>`": "What is expired, and the artifacts that somebody chose to push.",
    f"`{SCRATCH}<remote>/`": "Where a remote stood when it was last asked; nothing reads them but push and fetch.",
    "`.git/hmopt/`": "Build trees, logs, raw artifacts, and an SQL cache that can be rebuilt any time.",
    "`share/bash-completion/completions/git-hmopt`, `share/zsh/site-functions/_git-hmopt`": "Completion, below the "
    "directory this tool was installed into. Where the shell does not look there: source the first in ~/.bashrc, or "
    "add the directory of the second to fpath in ~/.zshrc, before compinit.",
}
_SEE_ALSO = ("git(1)", "git-bisect(1)", "git-notes(1)", "perf(1)", "valgrind(1)", "bwrap(1)", "dot(1)")

# The right-hand characters would be quotes, hyphens and accents of typesetting: nothing one can copy into a shell.
_ROFF = str.maketrans({"\\": r"\(rs", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"})
_SPAN = re.compile(r"`([^`]+)`")


def manual() -> str:
    """Return the page as roff (man macros), ASCII only."""
    name = ABOUT.partition(":")[0]
    lines = [
        '.\\" SPDX-License-Identifier: Apache-2.0',
        '.\\" Made by python -m git_hmopt.cli.manual; edit the texts of the commands.',
        f'.TH GIT\\-HMOPT 1 "" "git\\-hmopt {_roff(__version__)}" "git\\-hmopt Manual"',
        # Left-aligned, no word parted: what is copied from a page is typed into a shell.
        ".nh",
        ".ad l",
        ".SH NAME",
        rf"git\-hmopt \- {_roff(name[0].lower() + name[1:])}",
        ".SH SYNOPSIS",
        _synopsis("git hmopt [-C <path>] <command> [<options>]"),
        ".SH DESCRIPTION",
        *_paragraphs(ABOUT),
        ".SH OPTIONS",
        *_entries(_OPTIONS),
        ".SH COMMANDS",
        *_paragraphs("A RUN is named by its name, or by a part of it that no other run shares."),
    ]
    for command in COMMANDS:
        lines += _command(command)
    lines += [".SH EXIT STATUS", *_entries({f"`{int(code)}`": text for code, text in EXIT_CODES.items()})]
    lines += [
        ".SH SETTINGS",
        *_paragraphs(
            f"A flag is heard before the variable, the variable before git's configuration, that before {CONFIG_FILE}, "
            "and that before the default. `git hmopt config` shows every value and where it came from."
        ),
        *_entries(dict(map(_setting, keys()))),
        ".SH ENVIRONMENT",
        *_entries(_ENVIRONMENT),
        ".SH FILES",
        *_entries(_FILES),
        ".SH EXAMPLES",
    ]
    for text, commands in EXAMPLES.items():
        lines += [*_paragraphs(text), ".RS 4", ".nf", *map(_text, commands.splitlines()), ".fi", ".RE"]
    lines += [".SH SEE ALSO", _text(", ".join(re.sub(r"([\w-]+)(?=\()", r"`\1`", page) for page in _SEE_ALSO))]
    # A heading begins a paragraph of its own.
    return re.sub(r"^(\.SH .*\n)\.PP\n", r"\1", "\n".join(lines) + "\n", flags=re.MULTILINE)


def _command(name: str) -> Iterator[str]:
    module, parser = command_of(name)
    yield f".SS {_roff(name)}"
    # argparse wraps by the width of the terminal.
    yield _synopsis(" ".join(parser.format_usage().split()[1:]))
    yield from _paragraphs(module.__doc__ or "")
    # argparse has no other list of what a parser takes.
    listed = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    yield from _entries({_invocation(action): _help(action) for action in listed})


def _invocation(action: argparse.Action) -> str:
    """Return how an argument is written, options between backticks and values in capitals."""
    default = action.dest.upper() if action.option_strings else action.dest
    metavar = action.metavar if isinstance(action.metavar, str) else default
    if not action.option_strings:
        return ", ".join(f"`{word}`" for word in action.choices) if action.choices else metavar
    return ", ".join(f"`{word}`{'' if action.nargs == 0 else ' ' + metavar}" for word in action.option_strings)


def _help(action: argparse.Action) -> str:
    text = (action.help or "") % vars(action)
    return f"{text[:1].upper()}{text[1:]}."


def _setting(key: str) -> tuple[str, str]:
    model, field = field_of(key)
    info = model.model_fields[field]
    default = info.get_default()
    told = "" if default is None else f" Default: {default if isinstance(default, str) else json.dumps(default)}."
    named = " or ".join(f"`{name}`" for name in git_keys(key))
    return f"`{key}`", f"{info.description}{told} Variable `{variable(key)}`, git configuration {named}."


def _synopsis(usage: str) -> str:
    """Return a usage line with its literal words bold and the names of values in italics."""
    bold = "".join(
        rf"\fB{_roff(part)}\fR" if part.startswith("-") else _emphasised(part)
        for part in re.split(r"((?<!\w)--?\w[\w-]*)", usage)
    )
    # A line is broken between brackets, and before the next of several that exclude each other.
    return re.sub(r"\[[^]]*\]", lambda found: found[0].replace(" ", r"\ ").replace(r"\ |", " |"), bold)


def _emphasised(text: str) -> str:
    """Return text with the names of values (RUN, <path>) in italics."""
    parts = enumerate(re.split(r"(<\w+>|\b[A-Z]+\b)", text))
    return "".join(rf"\fI{_roff(part)}\fR" if at % 2 else _roff(part) for at, part in parts)


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        yield ".PP"
        yield _text(" ".join(paragraph.split()))


def _entries(entries: dict[str, str]) -> Iterator[str]:
    for term, text in entries.items():
        yield from (".TP", _text(term, values=True), _text(text))


def _text(text: str, *, values: bool = False) -> str:
    """Return one line that roff cannot take for a request: what is between backticks bold, capitals as told."""
    plain = _emphasised if values else _roff
    parts = enumerate(_SPAN.split(text))
    line = "".join(rf"\fB{_roff(part)}\fR" if at % 2 else plain(part) for at, part in parts)
    return rf"\&{line}" if line.startswith(".") else line


def _roff(text: str) -> str:
    """Return text that stays what it is, in ASCII."""
    return "".join(c if c.isascii() else f"\\[u{ord(c):04X}]" for c in text.translate(_ROFF))


if __name__ == "__main__":
    print(manual(), end="")
