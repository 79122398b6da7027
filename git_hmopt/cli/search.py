# SPDX-License-Identifier: Apache-2.0
"""Find C functions, runs and changes that were tried, by words and by likeness.

Code is that of a commit (HEAD, unless --rev says another), each function by its name, the comment before it and what it
uses; runs by their hotspots and bottleneck; changes by what was tried, where, and what came of it. The first search
indexes the commit, the next ones what changed since. Nothing leaves this machine. Exit code 1: nothing was found.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from git_hmopt.cli.number import positive
from git_hmopt.cli.paths import from_the_top
from git_hmopt.errors import ExitCode, UsageError
from git_hmopt.search.retrieval import Answer, Indexed, Question, search
from git_hmopt.store.repository import Repository
from git_hmopt.store.search import Kind, Value

_KINDS = {"code": Kind.CODE, "traces": Kind.TRACES, "fixes": Kind.FIXES}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("text", help="what to look for, in words")
    parser.add_argument("paths", nargs="*", metavar="path", help="only code in these files and directories")
    parser.add_argument("--in", dest="kind", choices=tuple(_KINDS), help="look only there (default: in all three)")
    parser.add_argument("--rev", metavar="R", help="the commit whose code is searched (default: HEAD)")
    parser.add_argument("-n", type=positive, metavar="N", default=10, help="at most so many of each (default: 10)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> ExitCode:
    """Search, and print what was found."""
    repository = Repository.open(Path())
    if options.paths and options.kind not in (None, "code"):
        raise UsageError(f"search: paths are of code, not of {options.kind}", next_step="leave them out")
    kinds = (_KINDS[options.kind],) if options.kind else (Kind.CODE,) if options.paths else tuple(Kind)
    paths = tuple(from_the_top(repository, path) for path in options.paths)
    question = Question(options.text, kinds, options.n, options.rev, tuple(path for path in paths if path))
    answer = search(repository, question, listener=_progress)
    found = any(answer.hits.values())
    if options.json:
        print(json.dumps(_json(options.text, answer)))
    else:
        _say(answer.indexed)
        for name, kind in _KINDS.items():
            for hit in answer.hits.get(kind, ()):
                print(_line(name, hit))
        if not found:
            print("nothing was found")
    return ExitCode.OK if found else ExitCode.NO


def _json(text: str, answer: Answer) -> dict[str, object]:
    found = {name: answer.hits[kind] for name, kind in _KINDS.items() if kind in answer.hits}
    for fix in found.get("fixes", ()):
        fix["deltas"] = json.loads(str(fix["deltas"]))
    embedded = {name: answer.indexed.embedded.get(kind, 0) for name, kind in _KINDS.items() if kind in answer.hits}
    index = {**asdict(answer.indexed), "embedded": embedded, "model": answer.model, "dimension": answer.dimension}
    return {"v": 1, "text": text, "commit": answer.commit, **found, "index": index}


def _line(name: str, hit: dict[str, Value]) -> str:
    if name == "code":
        head = f"{hit['file']}:{hit['first_line']}: {hit['symbol']}"
        return f"{head} - {hit['summary']}" if hit["summary"] else head
    if name == "traces":
        return f"{hit['run']}: {hit['summary']}; {hit['symbols']}"
    title = hit["summary"] or hit["strategy"] or "a change"
    return f"{hit['run']} iteration {hit['iteration']}: {hit['verdict']}: {title}: {hit['reason']}"


def _say(indexed: Indexed) -> None:
    if indexed.rebuilt:
        print(f"git hmopt: note: the search index was {indexed.rebuilt} and is made again", file=sys.stderr)
    if indexed.without_vectors:
        lost = "what is alike in other words is not found"
        print(
            f"git hmopt: note: only words are searched ({indexed.without_vectors}): {lost};"
            " install it with: pip install sqlite-vec",
            file=sys.stderr,
        )
    for reason, count in sorted(indexed.skipped.items()):
        print(f"git hmopt: note: left out: {count} x {reason}", file=sys.stderr)


def _progress(done: int, of: int) -> None:
    if of and sys.stderr.isatty():
        print(f"\rindexing {done} of {of} files", end="" if done < of else "\n", file=sys.stderr, flush=True)
