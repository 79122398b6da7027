# SPDX-License-Identifier: Apache-2.0
"""Say whether HEAD is slower than BASE on the configured workloads.

Both commits are built and measured against each other over the same code layouts, as candidates are. Exit code 0: no
regression; 1: a workload regressed; 125: HEAD cannot be built or measured, or the noise hides the answer. These are the
codes of `git bisect run`: `git bisect start BAD GOOD && git bisect run git hmopt check` finds the commit that made a
workload slower.

`--head REV` asks about another commit than the one that is checked out.

Without BASE, HEAD is held against the good commit of the bisection that is going on, else against its first parent.
The configuration is the one that `git hmopt trust` saw last, for both commits, even where theirs differs. Nothing is
written into the working tree.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from git_hmopt.cli.number import count, positive
from git_hmopt.cli.progress import Progress
from git_hmopt.cli.settings import add_host_arguments, gathered, warn
from git_hmopt.errors import ExitCode, UsageError
from git_hmopt.loop.check import Check, Checked, Question, check
from git_hmopt.loop.configuration import refuse_dirty, trusted
from git_hmopt.report.wording import plain, touch_text
from git_hmopt.store.bisect import Bisect, bisect_of
from git_hmopt.store.repository import Repository

_WORDS = {ExitCode.OK: "no regression", ExitCode.NO: "regressed", ExitCode.CANNOT_TEST: "cannot tell"}

_TOUCHES = 5
"""So many touched symbols are told of each workload; JSON has all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("base", nargs="?", metavar="BASE", help="the commit that HEAD is held against")
    parser.add_argument("--head", metavar="REV", help="the commit that is asked about (default: HEAD)")
    parser.add_argument(
        "--workload",
        action="append",
        default=[],
        dest="workloads",
        metavar="WORKLOAD",
        help="only this workload; may be repeated (default: all)",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="measure as FILE says instead of .hmopt.yaml")
    parser.add_argument("--time", type=positive, metavar="SECONDS", help="at most so many seconds")
    parser.add_argument("--seed", type=count, help="seed of layouts and data (default: one that BASE gives)")
    add_host_arguments(parser)
    parser.add_argument("--allow-dirty", action="store_true", help="check HEAD although tracked files have changes")
    parser.add_argument("--json", action="store_true", help="print the answer as one JSON object")


def run(options: argparse.Namespace) -> ExitCode:
    """Check HEAD, print the answer and return its exit code."""
    repository = Repository.open(Path())
    root = repository.require_worktree()
    head = repository.resolve(options.head or "HEAD")
    bisect = bisect_of(repository) if options.head is None else None
    has_parent = bool(repository.read_commit(head).parents)
    base = repository.resolve(_base(options.base, bisect, options.head or "HEAD", has_parent=has_parent))
    # What is not committed says nothing about a commit that was named.
    refuse_dirty(repository, allow_dirty=options.allow_dirty or options.head is not None)
    configuration = trusted(repository, file=options.config)
    settings = gathered(root, configuration.loaded, options)
    warn(settings)
    question = Question(
        base=base,
        head=head,
        workloads=tuple(options.workloads),
        seed=options.seed,
        settings=settings.texts("budget", "measure", "jobs"),
        sandboxed=settings.host.sandbox,
        stop_at_first=bisect is not None,
    )
    with Progress(color=settings.host.color) as progress:
        found = check(repository, configuration, question, own_file=options.config is None, listener=progress)
    print(_as_json(found) if options.json else _told(found))
    return found.answer


def _base(text: str | None, bisect: Bisect | None, head: str, *, has_parent: bool) -> str:
    """Return the revision to hold HEAD against."""
    if bisect is None:
        if text is None and not has_parent:
            raise UsageError(f"{head} has no parent here that it could be held against", next_step="name a BASE")
        return text or f"{head}^"
    if text is None:
        if bisect.good is None:
            raise UsageError("this bisection has no good commit yet", next_step="name one: git bisect good COMMIT")
        return bisect.good
    if re.match(r"(HEAD|@)($|[~^@])", text):
        raise UsageError(
            f"'{text}' is another commit in every step of the bisection", next_step="name a fixed one, or none"
        )
    return text


def _told(found: Check) -> str:
    lines = [f"HEAD {found.head[:12]} against {found.base[:12]}"]
    for one in found.workloads:
        lines.append(f"{one.workload}: {one.verdict}: {plain(one.reason)}")
        lines += [f"  touches {plain(touched)}" for touched in _touched(one)]
    lines += [f"note: {plain(note)}" for note in found.notes]
    return "\n".join([*lines, f"answer: {_WORDS[found.answer]} (exit code {int(found.answer)})"])


def _touched(one: Checked) -> list[str]:
    """Return what head touches, the hot first; no more than a person reads."""
    hottest = sorted(one.touches, key=lambda touch: -float(touch.share or 0))
    texts = [
        touch_text(touch.symbol, touch.how, touch.share, touch.reached_by, touch.reached_by_all) for touch in hottest
    ]
    more = len(texts) - _TOUCHES
    return [*texts[:_TOUCHES], *([f"{more} more"] if more > 0 else [])]


def _as_json(found: Check) -> str:
    workloads = [
        {
            "workload": one.workload,
            "answer": int(one.answer),
            "verdict": one.verdict,
            "reason": one.reason,
            "touches": [touch.model_dump(mode="json") for touch in one.touches],
            "deltas": [delta.model_dump(mode="json") for delta in one.deltas],
        }
        for one in found.workloads
    ]
    answer = {"base": found.base, "head": found.head, "answer": int(found.answer), "notes": found.notes}
    return json.dumps({"v": 1, "check": {**answer, "workloads": workloads}})
