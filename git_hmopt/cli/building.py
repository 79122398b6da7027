# SPDX-License-Identifier: Apache-2.0
"""What the commands that ask a build's graph have in common: which build, how far parsing is, what is missing."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from git_hmopt.report.wording import plain

if TYPE_CHECKING:
    from git_hmopt.psg.ask import Grounds, Wish


def add_build_options(parser: argparse.ArgumentParser) -> None:
    """Declare which build is asked, and how."""
    parser.add_argument("--build", type=Path, metavar="PATH", help="a compile_commands.json, or a build's directory")
    parser.add_argument("--provisional", action="store_true", help="parse nothing: read what changed as text")
    parser.add_argument("--again", action="store_true", help="parse units once more that crashed or hung the parser")


def wish_of(options: argparse.Namespace) -> Wish:
    """Return what `add_build_options` was given."""
    from git_hmopt.psg.ask import Wish

    return Wish(options.build, options.provisional, options.again)


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """Give what shows how far parsing is, to a person at a terminal; whatever ends it finds an empty line."""
    at_terminal = sys.stderr.isatty()

    def say(what: str, done: int, of: int) -> None:
        if not of:
            print(f"git hmopt: note: {what}", file=sys.stderr)
        elif at_terminal:
            line = f"parsing {done} of {of}: {plain(what)}"
            _show(line[: shutil.get_terminal_size().columns - 2] if done < of else "")

    try:
        yield say
    finally:
        if at_terminal:
            _show("")


def _show(line: str) -> None:
    print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


def tell_notes(grounds: Grounds) -> None:
    """Print what is missing from an answer."""
    for note in grounds.notes:
        print(f"git hmopt: note: {plain(note)}", file=sys.stderr)
