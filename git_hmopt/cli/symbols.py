# SPDX-License-Identifier: Apache-2.0
"""Where the symbols of captures are: the options of every command that reads some, without what reads them."""

from __future__ import annotations

import argparse
from pathlib import Path

from git_hmopt.errors import UsageError
from git_hmopt.traces.symbol_files import SymbolFiles


def add_symbols(parser: argparse.ArgumentParser) -> None:
    """Declare where the symbols are that captures lack."""
    parser.add_argument(
        "--symbols", action="append", default=[], type=Path, metavar="PATH",
        help="a vmlinux, a module, an unstripped program or a System.map, or a directory of them; may be repeated",
    )  # fmt: skip
    parser.add_argument("--symfs", type=Path, metavar="DIR", help="where the files are that captures name (default: /)")


def symbol_files(options: argparse.Namespace) -> SymbolFiles:
    """Return what the options of `add_symbols` say. UsageError for what is not there."""
    for path in options.symbols:
        if not path.exists():
            raise UsageError(f"--symbols: there is no '{path}'", next_step="name a file with symbols, or a directory")
    if options.symfs is not None and not options.symfs.is_dir():
        raise UsageError(f"--symfs: '{options.symfs}' is no directory", next_step="name the root of the measured files")
    return SymbolFiles(options.symfs, tuple(options.symbols))
