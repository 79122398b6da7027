# SPDX-License-Identifier: Apache-2.0
"""Bring the search index up to date with a commit and the cache, and ask it by words and by vectors.

The two orders are fused by reciprocal rank (Cormack, Clarke and Buettcher, SIGIR 2009, with their k of 60).

Measured by `tests/benchmarks/search.py --tree` on lib/ and kernel/ of Linux 6.1: 19,724 functions, 2,799 kernel-doc
summaries asked for; of each one's function neither the name nor the comment was in the index. Functions among the first
ten, and what a search took on two busy cores:

    FTS5 alone       42.6 %    8 ms
    vectors alone    39.0 %   11 ms
    both, fused      44.1 %   32 ms

Fusion wins by little, so it is the default; the features' weights were chosen on these same summaries, so that even
that little may be less elsewhere. The vectors are looked through by their signs, and the nearest 160 compared in full:
the nearest 100 of 100,000 take 45 ms, where comparing 512 floats each took 71 ms and 1,024 signed bytes 184 ms. With
200 in place of 160 the vectors alone find 39.0 % as well; what comparing all 19,724 in full would add was not measured.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from git_hmopt.errors import UsageError
from git_hmopt.psg import chunks
from git_hmopt.records.words import Oid
from git_hmopt.search import words
from git_hmopt.search.cases import Case, fix_cases, trace_cases, with_packs
from git_hmopt.search.embedding import DEFAULT, Embedding, embedding_of, inverse_frequency, signed_bytes
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.cache import Cache
from git_hmopt.store.objects import GITLINK, SYMLINK, TREE
from git_hmopt.store.queries import fix_rows, trace_rows
from git_hmopt.store.repository import Repository
from git_hmopt.store.search import DamagedIndexError, Entry, Index, Kind, SearchFile, Value

LARGEST = 16 * 1024 * 1024
"""Bytes of a source file; what is larger was written by a program."""
_BATCH = 64
"""Files between two moments at which what was embedded is kept, whatever happens next."""
_FUSED = 60
_DEPTH = 100
"""Entries that each order gives to the fusion."""

_EMPHASIS = 3
# A kernel-doc's first line: `sort_r - sort an array of elements`.
_SUMMARY = re.compile(r"(?:struct\s+|enum\s+)?(\w+)\s*(?:\(\s*\))?\s*(?:-+|:)\s+(\S.*)")

# A parameter list and a block: no file that defines a function is without.
_BODY = re.compile(rb"\)[^;{}]{0,400}\{")

How = Literal["both", "words", "vectors"]
Answered = TypeVar("Answered")
Listener = Callable[[int, int], None]
"""Called with how many files are indexed and how many have to be."""

_COLUMNS: dict[Kind, tuple[str, ...]] = {
    Kind.CODE: ("source AS file", "symbol", "first_line", "last_line", "summary"),
    Kind.TRACES: ("run", "commit_oid AS 'commit'", "workload", "symbols", "summary"),
    Kind.FIXES: (
        "run",
        "iteration",
        "commit_oid AS 'commit'",
        "symbol",
        "strategy",
        "verdict",
        "summary",
        "reason",
        "deltas",
    ),
}


@dataclass(frozen=True)
class Question:
    """What is searched, and where."""

    text: str
    kinds: tuple[Kind, ...] = tuple(Kind)
    limit: int = 10
    rev: str | None = None
    """Whose tree; None for HEAD, which may have no commit yet."""
    paths: tuple[str, ...] = ()
    """Files and directories from the tree's top that code is restricted to."""


@dataclass
class Indexed:
    """What bringing the index up to date did."""

    embedded: dict[str, int] = field(default_factory=dict)
    """Entries whose vectors were made, by kind."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Files that were left out, by reason."""
    rebuilt: str | None = None
    """Why everything was made again."""
    without_vectors: str | None = None
    """Why words alone were searched."""


@dataclass(frozen=True)
class Answer:
    """What was found, best first, by kind."""

    commit: Oid | None
    hits: dict[Kind, list[dict[str, Value]]]
    indexed: Indexed
    model: str
    dimension: int


def search(repository: Repository, question: Question, *, listener: Listener = lambda done, of: None) -> Answer:
    """Answer a question, with an index that was brought up to date before.

    RepositoryError when `rev` is no commit, UsageError when a path is not in it, StoreError when the index cannot be
    kept.
    """
    commit = repository.head() if question.rev is None else repository.resolve(question.rev)
    return asked(
        repository, commit, question.kinds, question.paths, lambda current: _answer(current, question, commit),
        listener=listener,
    )  # fmt: skip


@dataclass(frozen=True)
class Current:
    """An index that is up to date with what is asked about, for as long as the question takes."""

    index: Index
    embedding: Embedding
    indexed: Indexed


def asked(
    repository: Repository,
    commit: Oid | None,
    kinds: Sequence[Kind],
    paths: Sequence[str],
    ask: Callable[[Current], Answered],
    *,
    listener: Listener = lambda done, of: None,
) -> Answered:
    """Return what `ask` says of an index that was brought up to date before; it may be asked again on a new one.

    Code is that of `commit` in `paths`. UsageError when a path is not in it, StoreError when the index cannot be kept.
    """
    scope = _Scope.of(repository, commit, paths) if Kind.CODE in kinds else None
    file = SearchFile(repository, *_model())
    cases = _cases(repository, kinds)
    again: str | None = None
    try:
        with file.reading() as index:
            if index is not None and _is_current(index, scope, cases):
                return ask(Current(index, _embedding(index), Indexed(without_vectors=index.without_vectors)))
    except DamagedIndexError as error:
        again = error.what
    try:
        return _updated(repository, file, again, scope, cases, listener, ask)
    except DamagedIndexError as error:
        return _updated(repository, file, error.what, scope, cases, listener, ask)


def _updated(
    repository: Repository,
    file: SearchFile,
    again: str | None,
    scope: _Scope | None,
    cases: Mapping[Kind, Sequence[Case]],
    listener: Listener,
    ask: Callable[[Current], Answered],
) -> Answered:
    with file.writing(again=again) as (index, reason):
        indexed = Indexed(rebuilt=reason, without_vectors=index.without_vectors)
        update = _Update(repository, index, _embedding(index), indexed, listener)
        if not index.settled:
            index.settle()
        if scope is not None:
            update.code(scope)
        for kind, found in cases.items():
            update.cases(kind, found)
        return ask(Current(index, update.embedding, indexed))


def _model() -> tuple[str, int]:
    """Return the name of what entries are made with, and the dimension of their vectors."""
    embedding = embedding_of(DEFAULT, str)
    # Other chunks or other words give other vectors, under the same embedding.
    return f"{embedding.name}/chunks-{chunks.FORMAT}/words-{words.FORMAT}", embedding.dimension


def _embedding(index: Index) -> Embedding:
    return embedding_of(DEFAULT, index.stem)


# -- what there is to index -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scope:
    """The code that is asked about."""

    paths: tuple[str, ...]
    roots: tuple[tuple[str, str, Oid], ...]
    """Path, mode and object of each; the whole tree has the empty path."""

    @classmethod
    def of(cls, repository: Repository, commit: Oid | None, paths: Sequence[str]) -> _Scope:
        if commit is None:
            return cls((), ())
        if not paths:
            return cls((), (("", TREE, repository.tree_of(commit)),))
        roots = []
        for path in dict.fromkeys(paths):
            entry = repository.find_entry(commit, path)
            if entry is None:
                raise UsageError(f"'{path}' is not in {commit[:12]}", next_step="see: git ls-tree -r --name-only HEAD")
            roots.append((path, entry.mode, entry.oid))
        return cls(tuple(shown_path(path) for path, _, _ in roots), tuple(roots))

    @property
    def key(self) -> str:
        return " ".join(f"{oid}:{shown_path(path)}" for path, _, oid in sorted(self.roots))

    def files(self, repository: Repository) -> Iterator[tuple[str, Oid]]:
        """Yield path and blob of each C file."""
        for path, mode, oid in self.roots:
            listed = repository.list_tree(oid) if mode == TREE else iter([(mode, oid, "")])
            for below, blob, name in listed:
                whole = "/".join(part for part in (path, name) if part)
                if below not in (SYMLINK, GITLINK) and whole.endswith((".c", ".h")):
                    yield shown_path(whole), blob


def _cases(repository: Repository, kinds: Sequence[Kind]) -> dict[Kind, list[Case]]:
    """Return what the cache has of the kinds that come from it."""
    if not {Kind.TRACES, Kind.FIXES} & set(kinds):
        return {}
    with Cache(repository).reading() as database:
        found = {
            Kind.TRACES: list(trace_cases(trace_rows(database), ArtifactStore.of(repository))),
            Kind.FIXES: list(fix_cases(fix_rows(database))),
        }
    return {kind: cases for kind, cases in found.items() if kind in kinds}


# -- bringing the index up to date ------------------------------------------------------------------------------------


def _is_current(index: Index, scope: _Scope | None, cases: Mapping[Kind, Sequence[Case]]) -> bool:
    if not index.settled:
        return False
    if scope is not None and index.get("code") != scope.key:
        return False
    return all(index.sources(kind) == {case.source: case.digest for case in found} for kind, found in cases.items())


@dataclass(frozen=True)
class _Update:
    """One writing of the index."""

    repository: Repository
    index: Index
    embedding: Embedding
    indexed: Indexed
    listener: Listener

    def code(self, scope: _Scope) -> None:
        """Index the C functions of the files that changed, and forget those that are gone."""
        if self.index.get("code") == scope.key:
            return
        # While files change the index is of no one tree.
        self.index.remember("code", None)
        wanted = dict(scope.files(self.repository))
        have = self.index.sources(Kind.CODE)
        gone = [path for path in have if path not in wanted and _is_below(path, scope.paths)]
        self.index.replace(Kind.CODE, [(path, None, ()) for path in gone])
        changed = [(path, blob) for path, blob in wanted.items() if have.get(path) != blob]
        for start in range(0, len(changed), _BATCH):
            self.listener(start, len(changed))
            batch = changed[start : start + _BATCH]
            found = self.repository.objects.find_many([blob for _, blob in batch])
            sources = []
            for (path, blob), one in zip(batch, found, strict=True):
                if one is None:
                    self._skip("not in this clone")
                elif len(one.data) > LARGEST:
                    self._skip(f"larger than {LARGEST >> 20} MiB")
                # What was skipped is remembered as well: it is the same the next time.
                sources.append((path, str(blob), self._functions(path, one.data if one else b"")))
            self.index.replace(Kind.CODE, sources)
        self.listener(len(changed), len(changed))
        self.index.settle()
        self.index.remember("code", scope.key)

    def _functions(self, path: str, source: bytes) -> list[Entry]:
        # Most headers define no function; to see that costs less than to parse them.
        if len(source) > LARGEST or not _BODY.search(source):
            return []
        found = chunks.functions(source)
        texts = [code_text(path, chunk) for chunk in found]
        columns = [code_columns(chunk) for chunk in found]
        return self._entries(Kind.CODE, columns, texts)

    def cases(self, kind: Kind, cases: Sequence[Case]) -> None:
        """Index the cases that are new or changed, and forget those that are gone."""
        have = self.index.sources(kind)
        wanted = {case.source for case in cases}
        new = [case for case in cases if have.get(case.source) != case.digest]
        gone = [source for source in have if source not in wanted]
        if not new and not gone:
            return
        artifacts = ArtifactStore.of(self.repository)
        full = [with_packs(case, artifacts) for case in new]
        entries = self._entries(kind, [case.columns for case in full], [case.text for case in full])
        self.index.replace(
            kind,
            [
                *((source, None, ()) for source in gone),
                *((case.source, case.digest, [entry]) for case, entry in zip(full, entries, strict=True)),
            ],
        )
        self.index.settle()

    def _entries(self, kind: Kind, columns: Sequence[Mapping[str, Value]], texts: Sequence[str]) -> list[Entry]:
        self.indexed.embedded[kind] = self.indexed.embedded.get(kind, 0) + len(texts)
        return entries(self.embedding, columns, texts)

    def _skip(self, reason: str) -> None:
        self.indexed.skipped[reason] = self.indexed.skipped.get(reason, 0) + 1


def entries(embedding: Embedding, columns: Sequence[Mapping[str, Value]], texts: Sequence[str]) -> list[Entry]:
    """Return entries with the words and the vectors of their texts."""
    vectors = embedding.texts(texts)
    return [
        Entry(row, " ".join(words.words(text)), signed_bytes(vector))
        for row, text, vector in zip(columns, texts, vectors, strict=True)
    ]


def code_text(file: str, chunk: chunks.Chunk) -> str:
    """Return what a function is found by; what names and describes it counts as if it stood there several times."""
    return "\n".join((file, *(chunk.symbol, summary(chunk)) * _EMPHASIS, chunk.comment, chunk.code))


def code_columns(chunk: chunks.Chunk) -> dict[str, Value]:
    """Return what is shown of a function."""
    return {
        "symbol": chunk.symbol,
        "first_line": chunk.first_line,
        "last_line": chunk.last_line,
        "summary": summary(chunk),
    }


def summary(chunk: chunks.Chunk) -> str:
    """Return what a function's comment says it does, on one line: a kernel-doc's summary, else the first line."""
    first = chunk.comment.partition("\n")[0].strip()
    described = _SUMMARY.fullmatch(first)
    return described[2] if described and described[1] == chunk.symbol else first


def shown_path(path: str) -> str:
    """Return a path as text: what is not UTF-8 in it becomes \\x and its number, since a database takes no bytes."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _is_below(path: str, scope: Sequence[str]) -> bool:
    return not scope or any(path == one or path.startswith(f"{one}/") for one in scope)


# -- asking -----------------------------------------------------------------------------------------------------------


def _answer(current: Current, question: Question, commit: Oid | None) -> Answer:
    index = current.index
    hits: dict[Kind, list[dict[str, Value]]] = {}
    for kind in question.kinds:
        below = tuple(map(shown_path, question.paths)) if kind is Kind.CODE else ()
        ids = ranked(index, current.embedding, kind, question.text, question.limit, below=below)
        hits[kind] = columns_of(index, kind, ids)
    return Answer(commit, hits, current.indexed, index.model, index.dimension)


def columns_of(index: Index, kind: Kind, ids: Sequence[int]) -> list[dict[str, Value]]:
    """Return what is shown of entries, in the order of `ids`."""
    names = [column.rpartition(" ")[2].strip("'") for column in _COLUMNS[kind]]
    return [dict(zip(names, row, strict=True)) for row in index.rows(kind, ids, _COLUMNS[kind])]


def ranked(
    index: Index,
    embedding: Embedding,
    kind: Kind,
    text: str,
    limit: int,
    *,
    below: Sequence[str] = (),
    how: How = "both",
) -> list[int]:
    """Return the entries nearest to a text, best first; `how` leaves out one of the two orders."""
    depth = max(_DEPTH, limit)
    orders = []
    if how != "vectors":
        orders.append(index.by_words(kind, dict.fromkeys(words.words(text)), depth, below=below))
    if how != "words":
        total = index.count(kind)

        def weight(stem: str, whole: bool) -> float:
            return inverse_frequency(index.frequency(kind, stem, whole=whole), total)

        vector = embedding.query(text, weight)
        orders.append(index.by_vector(kind, signed_bytes(vector), depth, below=below) if vector.any() else [])
    return fused(orders)[:limit]


def fused(orders: Sequence[Sequence[int]]) -> list[int]:
    """Return what stands in any of the orders, by the sum of 1 / (60 + rank) over them."""
    scores: dict[int, float] = {}
    for order in orders:
        for rank, number in enumerate(order, start=1):
            scores[number] = scores.get(number, 0.0) + 1 / (_FUSED + rank)
    return sorted(scores, key=lambda number: (-scores[number], number))
