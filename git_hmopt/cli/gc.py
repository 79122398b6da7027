# SPDX-License-Identifier: Apache-2.0
"""Remove what no run needs any more; without --yes only say what that is and how many bytes.

What goes: branches of candidates that closed runs did not accept (their journals keep the commits), artifacts that no
journal names and leftovers of writes, both when older than a day, layouts, noise floors and scratch files that no run
of the last 30 days used. Many loose refs are packed. A branch that is checked out stays, and while a run is at work, so
does all that it may need.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from git_hmopt.errors import ExitCode
from git_hmopt.loop.clean import clean
from git_hmopt.store.gc import Sweep
from git_hmopt.store.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("-y", "-f", "--yes", action="store_true", help="do it (default: only say what would go)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> ExitCode:
    """Say what goes, and have it gone where asked."""
    sweep = clean(Repository.open(Path()), really=options.yes)
    if options.json:
        print(json.dumps(_as_json(sweep, done=options.yes)))
        return ExitCode.OK
    print("\n".join(_lines(sweep, done=options.yes)))
    for line in sweep.stays:
        print(f"git hmopt: note: stays: {line}", file=sys.stderr)
    return ExitCode.OK


def _lines(sweep: Sweep, *, done: bool) -> Iterator[str]:
    if not sweep:
        yield "nothing to remove"
        return
    for update in sweep.branches:
        yield f"branch {update.ref.removeprefix('refs/heads/')}: its candidate was not accepted"
    for one in sweep.files:
        yield f"{one.what} {one.path}: {one.why} ({one.bytes} bytes)"
    if sweep.loose:
        yield f"{sweep.loose} loose refs: packed into one file"
    counted = Counter(one.what for one in sweep.files)
    counted["branches"] = len(sweep.branches)
    listed = ", ".join(f"{count} {what}" for what, count in sorted(counted.items()) if count) or "no file"
    yield f"{'removed' if done else 'would remove'} {listed}: {sweep.bytes} bytes" + ("" if done else "; do it: --yes")


def _as_json(sweep: Sweep, *, done: bool) -> dict[str, object]:
    return {
        "v": 1,
        "done": done,
        "branches": [update.ref for update in sweep.branches],
        "files": [{"what": one.what, "path": str(one.path), "bytes": one.bytes, "why": one.why} for one in sweep.files],
        "loose_refs": sweep.loose,
        "bytes": sweep.bytes,
        "stays": sweep.stays,
    }
