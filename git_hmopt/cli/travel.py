# SPDX-License-Identifier: Apache-2.0
"""What push, fetch and sync have in common: the remote's name, and how they tell what came and went."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence

from git_hmopt.config.explain import unknown
from git_hmopt.errors import ExitCode
from git_hmopt.records.words import RefName
from git_hmopt.store.care import run_of
from git_hmopt.store.remote import Remote
from git_hmopt.store.transport import Leaving, Outcome, What

# By the part of a ref's name that tells its kind, with the plural.
_KINDS = {
    "runs": ("journal", "journals"),
    "care": ("journal of cutoffs", "journals of cutoffs"),
    "artifacts": ("parcel of artifacts", "parcels of artifacts"),
    "heads": ("branch", "branches"),
    "notes": ("note ref", "note refs"),
}


def add_remote(parser: argparse.ArgumentParser) -> None:
    """Declare which remote is meant."""
    parser.add_argument("remote", nargs="?", metavar="REMOTE", help="a configured remote, a URL or a path")


def whats(text: str) -> tuple[What, ...]:
    """Return the kinds that a list by commas names."""
    if text == "all":
        return tuple(What)
    known = [what.value for what in What]
    for word in text.split(","):
        if word not in known:
            raise argparse.ArgumentTypeError(unknown(word, known, what="kind"))
    return tuple(dict.fromkeys(What(word) for word in text.split(",")))


def say(text: str) -> None:
    """Show what is being done, where somebody looks."""
    if sys.stderr.isatty() or "HMOPT_PROGRESS" in os.environ:
        print(text, file=sys.stderr)


def finished(remote: Remote, outcome: Outcome, *, dry_run: bool = False, as_json: bool = False) -> ExitCode:
    """Print what came and went."""
    if as_json:
        print(json.dumps(_as_json(remote, outcome, dry_run)))
        return ExitCode.OK
    print("\n".join(_lines(remote, outcome, dry_run)))
    for line in outcome.left_out:
        print(f"git hmopt: note: left as it is: {line}", file=sys.stderr)
    return ExitCode.OK


def _lines(remote: Remote, outcome: Outcome, dry_run: bool) -> list[str]:
    taken = outcome.taken
    lines = [f"from {remote.name}: {_counted(taken.new, 'new')}"] if taken.new else []
    lines += [f"from {remote.name}: {_counted(taken.grown, 'grown')}"] if taken.grown else []
    lines += [f"from {remote.name}: {outcome.artifacts} artifacts"] if outcome.artifacts else []
    sent = outcome.sent
    if sent is None:
        return lines or [f"nothing new in {remote.name}"]
    if not sent:
        return [*lines, f"{remote.name} has all of it"]
    head = f"to {remote.name}{', if it were not a dry run' if dry_run else ''}: {_weight(sent)}"
    return [*lines, head, *(f"  {line}" for line in outcome.listed())]


def _weight(sent: Leaving) -> str:
    size = f"{sent.bytes / 1024:.1f} KiB" if sent.bytes < 1 << 20 else f"{sent.bytes / (1 << 20):.1f} MiB"
    return f"{len(sent.moves)} refs, {sent.operations} operations, {sent.lines} lines of notes, {size}"


def _counted(refs: Sequence[RefName], word: str) -> str:
    kinds = Counter(next(part for part in ref.split("/") if part in _KINDS) for ref in refs)
    listed = ", ".join(f"{count} {_KINDS[kind][count > 1]}" for kind, count in sorted(kinds.items()))
    runs = len({run for ref in refs if (run := run_of(ref))})
    return f"{listed} {word}" + (f", of {runs} run{'s' if runs > 1 else ''}" if runs else "")


def _as_json(remote: Remote, outcome: Outcome, dry_run: bool) -> dict[str, object]:
    sent = outcome.sent
    return {
        "v": 1,
        "remote": remote.name,
        "namespace": outcome.namespace.value,
        "new": _names(outcome.taken.new),
        "grown": _names(outcome.taken.grown),
        "artifacts": outcome.artifacts,
        "left_out": outcome.left_out,
        "dry_run": dry_run,
        "sent": None
        if sent is None
        else {
            "refs": [{"ref": move.ref, "new": move.new, "old": move.old} for move in sent.moves],
            "operations": sent.operations,
            "note_lines": sent.lines,
            "bytes": sent.bytes,
            "models": {"texts": outcome.said, "sent": outcome.said_goes},
        },
    }


def _names(refs: Iterable[RefName]) -> list[str]:
    return sorted(set(refs))
