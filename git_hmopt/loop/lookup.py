# SPDX-License-Identifier: Apache-2.0
"""What agents may look up while a run is on: read from the best commit, the journal and the artifact store alone.

What has to be built for it (the reference tree's compile database, its structure graph) is there before anything is
asked. A question changes no ref, no journal and no tree, and starts nothing of the repository; what it may bring up to
date is the tool's own search index.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from git_hmopt.agents.answers import answered, did_you_mean, named, nearest
from git_hmopt.agents.recalled import CodeHit, FixHit, Tried, attempts_told, hits_told, kpis_told
from git_hmopt.agents.tools import BY_NAME
from git_hmopt.errors import HmoptError
from git_hmopt.evidence.retrieval import files_around, past_deltas
from git_hmopt.evidence.system import slow_times_text
from git_hmopt.evidence.windows import placed, places_in
from git_hmopt.loop.bench import Bench
from git_hmopt.loop.book import Book
from git_hmopt.loop.kpis import recorded_kpis
from git_hmopt.loop.lookup_code import callees, callers, costs, neighbourhood
from git_hmopt.loop.lookup_known import Known
from git_hmopt.loop.lookup_source import source
from git_hmopt.loop.source import source_of
from git_hmopt.loop.structure import graph_at
from git_hmopt.loop.windows import kept_windows
from git_hmopt.records.evidence import EvidencePack
from git_hmopt.records.run import EvaluationRecord, PatchRecord
from git_hmopt.records.words import Oid, RunId
from git_hmopt.search.likeness import like_function
from git_hmopt.search.retrieval import Current, asked, columns_of, ranked, shown_path
from git_hmopt.store.search import Kind, Value

LONGEST = 1_000
"""Characters of an argument; no symbol and no path that is of use to anybody has as many."""
CODE, FIXES = 8, 6
"""How many of each a search tells."""
_DEPTH = 100
_LACKING = {"profile": ("costs", "kpis", "windows"), "graph": ("callers", "callees", "neighbourhood")}
"""What cannot be asked in a run that goes without something: its agents would be told it all the same."""


def lookup_for(bench: Bench, best: Oid, pack: EvidencePack) -> RunLookup:
    """Return what answers questions about `best`, whose evidence is in `pack`.

    Builds the reference tree and brings the graph up to date where that was not done yet: ProgramError when best does
    not build.
    """
    return RunLookup(Known(bench, best, pack, source_of(bench, best), graph_at(bench, best)))


@dataclass(frozen=True)
class RunLookup:
    """Implements `Lookup` for one run at one commit; the same question has the same answer until more is recorded."""

    known: Known

    def answer(self, tool: str, argument: str) -> str:
        """Return plain text of at most ANSWER_BYTES; what cannot be told says so. Never raises."""
        name = tool.strip().casefold()
        if name not in _TOOLS:
            near = did_you_mean(nearest(name, _TOOLS))
            return answered([f"unknown tool '{named(tool)}'{near}", f"tools: {', '.join(_TOOLS)}"], less="")
        for lacking, tools in _LACKING.items():
            if name in tools and lacking in self.known.bench.plan.without:
                return f"{name}: this run goes without the {lacking}, to show what it is worth"
        if len(argument) > LONGEST:
            return f"{name}: the argument has {len(argument)} characters; expected {_expected(name)}, {LONGEST} at most"
        plain = " ".join(argument.split())
        if not plain.isprintable():
            return answered(
                [f"{name}: '{named(plain)}' holds characters that no name has; expected {_expected(name)}"], less=""
            )
        if not plain and name not in _WITHOUT:
            return f"{name}: nothing was named; expected {_expected(name)}"
        try:
            return _TOOLS[name](self.known, plain)
        except HmoptError as error:
            return answered([f"{name}: {self._placeless(str(error))}"], less="")
        except (OSError, ValidationError, KeyError, TypeError) as error:
            # Records and files that another version wrote, or nobody: a question is not what a run fails of.
            return answered([f"{name}: what is recorded cannot be read ({type(error).__name__})"], less="")

    def _placeless(self, text: str) -> str:
        """Return a text without the directories of this machine: they are nothing for a model."""
        repository = self.known.bench.repository
        for place in (repository.home, repository.worktree):
            text = text.replace(f"{place}/", "") if place is not None else text
        return text


def _expected(name: str) -> str:
    return BY_NAME[name].argument or "no argument"


# -- what was measured ----------------------------------------------------------------------------------------------


def _kpis(known: Known, pattern: str) -> str:
    return kpis_told(pattern, recorded_kpis(known.book()))


def _windows(known: Known, argument: str) -> str:
    kept = kept_windows(known.bench.artifacts, known.book().entries)
    with known.structure() as structure:
        found = kept.found if structure is None else [placed(one, places_in(structure)) for one in kept.found]
    if not found and not kept.missing:
        return "no slow times are recorded: no trace with events was ingested into this run"
    lines = slow_times_text(found).split("\n") if found else []
    return answered([*lines, *kept.missing], less="of one function: costs SYMBOL")


# -- what was tried -------------------------------------------------------------------------------------------------


def _attempts(known: Known, symbol: str) -> str:
    parent = known.bench.plan.parent
    before = list(_tried(Book(known.bench.journal, RunId(parent)))) if parent else []
    return attempts_told(symbol, [*before, *_tried(known.book())], known.bench.run)


def _tried(book: Book) -> Iterator[Tried]:
    """Yield a run's attempts in order, each with its patch and what the gate said."""
    operations = [entry.operation for entry in book.entries]
    patches = {
        one.iter: PatchRecord.model_validate(one.data["patch"]) for one in operations if one.op == "patch.applied"
    }
    ends = [one for one in operations if one.op in ("patch.judged", "patch.refused")]
    for end, attempt in zip(ends, book.attempts(), strict=True):
        patch = patches.get(end.iter)
        judged = EvaluationRecord.model_validate(end.data["evaluation"]) if end.op == "patch.judged" else None
        yield Tried(
            book.run, end.iter, attempt, patch.title if patch else "",
            tuple(one.symbol for one in patch.touches) if patch else (), judged,
        )  # fmt: skip


# -- search ---------------------------------------------------------------------------------------------------------


def _search(known: Known, words: str) -> str:
    """Look for words among the functions around the hotspots and the changes that other runs judged.

    A word that is a function's name there asks for what reads like that function.
    """
    repository = known.bench.repository
    files, beside = files_around(repository, known.best, known.pack.hotspots)
    shown = [shown_path(path) for path in files]

    def ask(current: Current) -> str:
        index = current.index
        alike = (like_function(current, path, words, files, CODE) for path in files)
        rows = [one.columns for one in next(filter(None, alike), [])]
        if not rows and files:
            ids = ranked(index, current.embedding, Kind.CODE, words, CODE, below=shown)
            rows = columns_of(index, Kind.CODE, ids)
        ids = ranked(index, current.embedding, Kind.FIXES, words, _DEPTH)
        # What this run tried itself is another question.
        fixes = [one for one in columns_of(index, Kind.FIXES, ids) if one["run"] != known.bench.run]
        lacking = f"; by words alone: {index.without_vectors}" if index.without_vectors else ""
        of = f" of the {beside} beside the hotspots" if beside > len(files) else ""
        among = f"{len(files)} files{of}, {index.count_apart(Kind.FIXES, known.bench.run)} changes{lacking}"
        return hits_told(words, list(map(_code, rows)), list(map(_fix, fixes[:FIXES])), among)

    kinds = (Kind.CODE, Kind.FIXES) if files else (Kind.FIXES,)
    return asked(repository, known.best, kinds, files, ask)


def _code(row: dict[str, Value]) -> CodeHit:
    first, last = (int(row[name] or 0) for name in ("first_line", "last_line"))
    return CodeHit(str(row["symbol"]), str(row["file"]), first, last, str(row["summary"] or ""))


def _fix(row: dict[str, Value]) -> FixHit:
    run, symbol, strategy, verdict, title, reason = (
        str(row[name] or "") for name in ("run", "symbol", "strategy", "verdict", "summary", "reason")
    )
    deltas = tuple(past_deltas(str(row["deltas"] or "[]")))
    return FixHit(run, int(row["iteration"] or 0), symbol, strategy, verdict, title, reason, deltas)


_TOOLS = {
    "source": source,
    "callers": callers,
    "callees": callees,
    "neighbourhood": neighbourhood,
    "costs": costs,
    "kpis": _kpis,
    "windows": _windows,
    "attempts": _attempts,
    "search": _search,
}
_WITHOUT = ("kpis", "windows", "attempts")
"""Tools that tell everything where nothing is named."""
