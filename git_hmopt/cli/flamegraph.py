# SPDX-License-Identifier: Apache-2.0
"""Draw a capture's flame graph: one HTML file that needs nothing else, with a search and a zoom.

A capture is a file of any known format, or a run's: of several the first that has call stacks. With --folded the
stacks are written as text instead, one a line, for other programs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from git_hmopt.cli.captured import add_event, captures_named, repository_here, write
from git_hmopt.cli.symbols import add_symbols, symbol_files
from git_hmopt.errors import ExitCode
from git_hmopt.loop.captures import only, samples_named
from git_hmopt.report.flame import flame_graph
from git_hmopt.runtime.fold import folded


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("capture", nargs="?", metavar="RUN|PATH", help="a capture, or a run (default: the latest run)")
    parser.add_argument("-o", dest="output", type=Path, metavar="FILE", help="write there, not to standard output")
    parser.add_argument("--folded", action="store_true", help="write folded stacks instead")
    add_event(parser)
    add_symbols(parser)


def run(options: argparse.Namespace) -> ExitCode:
    """Write the graph."""
    capture = only(captures_named(repository_here(), options.capture, symbol_files(options)))
    samples = samples_named(capture, options.event)
    text = folded(samples) if options.folded else flame_graph(samples, title=f"{capture.name} ({capture.format})")
    write(options.output, text)
    return ExitCode.OK
