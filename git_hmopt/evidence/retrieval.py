# SPDX-License-Identifier: Apache-2.0
"""Find for the hotspots of a pack what reads like them, which runs looked like this one, and what was tried there.

Bounded in number and size. Code is looked for in the hotspots' own files and in the files beside them, as far as those
can be indexed in a fraction of a second; a whole tree is what `git hmopt search` is for.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import posixpath
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from git_hmopt.evidence.structure import source_name
from git_hmopt.records.base import decimal_text
from git_hmopt.records.evidence import HotspotEvidence
from git_hmopt.records.retrieved import PastDelta, PastFix, Retrieved, SimilarCode, SimilarRun
from git_hmopt.records.words import Oid, RunId
from git_hmopt.search.likeness import Alike, like_function, like_text
from git_hmopt.search.retrieval import Current, asked
from git_hmopt.store.objects import GITLINK, SYMLINK, TREE
from git_hmopt.store.repository import Repository
from git_hmopt.store.search import Kind

CODE, RUNS, FIXES = 3, 3, 5
"""How many of each a hotspot gets."""
MOST_FILES = 40
MOST_BYTES = 200_000
"""Of the files that code is looked for in, as far as they are not the hotspots' own: indexing 1,000 functions takes
0.6 s of CPU, and these have some 250."""
TEXT = 1000
"""Bytes of a similar function's text, from its beginning."""
SAID = 300
"""Characters of what somebody said: a summary, a title, a reason."""
_SYMBOLS = 8
_DELTAS = 6

Retrieve = Callable[[str, Sequence[HotspotEvidence]], Sequence[Retrieved]]
"""From what the bottleneck is and the hotspots to what was found for each."""


@dataclass(frozen=True)
class Retrieval:
    """Looks for a run's hotspots at a commit; never in what the run recorded itself."""

    repository: Repository
    run: RunId
    workload: str
    commit: Oid
    profiles: bool = True
    """Whether other runs are looked for, of which it is told what was hot in them."""

    def __call__(self, bottleneck: str, hotspots: Sequence[HotspotEvidence]) -> Sequence[Retrieved]:
        """Return what was found for each hotspot; StoreError when no index can be kept."""
        files, beside = files_around(self.repository, self.commit, hotspots)
        among = {Kind.CODE: bool(files), Kind.TRACES: self.profiles, Kind.FIXES: True}
        kinds = tuple(kind for kind in Kind if among[kind])

        def ask(current: Current) -> list[Retrieved]:
            among = self._among(current, files, beside)
            return [self._found(current, bottleneck, one, files, among) for one in hotspots]

        return asked(self.repository, self.commit, kinds, files, ask)

    def _among(self, current: Current, files: Sequence[str], beside: int) -> str:
        if current.index.without_vectors:
            return f"nothing: {current.index.without_vectors}"
        of = f" of the {beside} beside the hotspots" if beside > len(files) else ""
        fixes = current.index.count_apart(Kind.FIXES, self.run)
        if not self.profiles:
            return f"files: {len(files)}{of}, changes judged by other runs: {fixes}"
        runs = current.index.count_apart(Kind.TRACES, self.run)
        return f"files: {len(files)}{of}, other runs: {runs}, changes judged there: {fixes}"

    def _found(
        self, current: Current, bottleneck: str, evidence: HotspotEvidence, files: Sequence[str], among: str
    ) -> Retrieved:
        symbol = source_name(evidence.hotspot.symbol)
        source = evidence.source
        code = like_function(current, source.path, symbol, files, CODE) if source is not None else []
        text = self._text(bottleneck, evidence, symbol)

        def like(kind: Kind, limit: int) -> list[Alike]:
            return like_text(current, kind, text, symbol=symbol, apart=self.run, limit=limit)

        return Retrieved(
            code=tuple(self._code(code)),
            runs=tuple(_run(one) for one in like(Kind.TRACES, RUNS)) if self.profiles else (),
            fixes=tuple(_fix(one) for one in like(Kind.FIXES, FIXES)),
            searched=among,
        )

    def _text(self, bottleneck: str, evidence: HotspotEvidence, symbol: str) -> str:
        """Return what runs and changes are compared with: the words that they are indexed by."""
        around = (source_name(one.symbol) for one in evidence.runtime[:_SYMBOLS])
        return " ".join((self.workload, symbol, evidence.hotspot.file or "", bottleneck, *around))

    def _code(self, found: Sequence[Alike]) -> Iterator[SimilarCode]:
        for one in found:
            path, first, last = _text_of(one, "file"), _number(one, "first_line"), _number(one, "last_line")
            entry = self.repository.find_entry(self.commit, path)
            # A name that is not UTF-8 is shown in another form than git has it.
            if entry is not None:
                lines = self.repository.read_blob(entry.oid).split(b"\n")[first - 1 : last]
                yield SimilarCode(
                    symbol=_text_of(one, "symbol"),
                    commit=self.commit,
                    path=path,
                    blob=entry.oid,
                    first_line=first,
                    last_line=last,
                    summary=said(_text_of(one, "summary")),
                    text=beginning(lines, TEXT),
                    alike=decimal_text(one.likeness),
                )


def files_around(
    repository: Repository, commit: Oid, hotspots: Sequence[HotspotEvidence]
) -> tuple[tuple[str, ...], int]:
    """Return the C files that code is looked for in, the hotspots' own first, and how many there are beside them."""
    own = list(dict.fromkeys(one.source.path for one in hotspots if one.source is not None))
    folders = dict.fromkeys(posixpath.dirname(path) for path in own)
    beside = [_listed(repository, commit, folder) for folder in folders]
    # In turns, so that one large folder does not keep the others out.
    turns = itertools.chain.from_iterable(itertools.zip_longest(*beside))
    every = list(dict.fromkeys([*own, *(path for path in turns if path is not None)]))
    kept, size = own[:MOST_FILES], 0
    for path in every[len(kept) : MOST_FILES]:
        size += len(repository.read_path(commit, path) or b"")
        if size > MOST_BYTES:
            break
        kept.append(path)
    return tuple(kept), len(every)


def _listed(repository: Repository, commit: Oid, folder: str) -> list[str]:
    """Return the C files that stand in a folder itself, by name."""
    entries = repository.list_folder(commit, folder)
    names = [one.name for one in entries if one.mode not in (TREE, SYMLINK, GITLINK) and one.name.endswith(".c")]
    return [posixpath.join(folder, name) for name in sorted(names)]


def beginning(lines: Sequence[bytes], limit: int) -> str:
    """Return whole lines of at most `limit` bytes of UTF-8, and how many are left out."""
    kept: list[str] = []
    used = 0
    for line in lines:
        text = line.decode(errors="replace")
        used += len(text.encode()) + 1
        if used > limit:
            break
        kept.append(text)
    left = len(lines) - len(kept)
    return "\n".join(kept) + (f"\n[{left} more lines]" if left else "")


def said(text: str) -> str:
    """Return a text on one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= SAID else f"{line[: SAID - 3]}..."


def _run(one: Alike) -> SimilarRun:
    return SimilarRun(
        run=_text_of(one, "run"),
        commit=_text_of(one, "commit"),
        workload=_text_of(one, "workload"),
        symbols=tuple(said(symbol) for symbol in _text_of(one, "symbols").split()[:_SYMBOLS]),
        summary=said(_text_of(one, "summary")),
        same_function=one.same,
        alike=decimal_text(one.likeness),
    )


def _fix(one: Alike) -> PastFix:
    commit, symbol = one.columns["commit"], one.columns["symbol"]
    return PastFix(
        run=_text_of(one, "run"),
        iteration=_number(one, "iteration"),
        commit=None if commit is None else str(commit),
        symbol=None if symbol is None else said(str(symbol)),
        strategy=said(_text_of(one, "strategy")),
        title=said(_text_of(one, "summary")),
        verdict=_text_of(one, "verdict"),
        reason=said(_text_of(one, "reason")),
        deltas=tuple(past_deltas(_text_of(one, "deltas"))),
        same_function=one.same,
        alike=decimal_text(one.likeness),
    )


def past_deltas(text: str) -> Iterator[PastDelta]:
    """Yield what the index has of a change's measured deltas, as JSON."""
    for one in json.loads(text)[:_DELTAS]:
        # What an older or a newer version recorded in another form is no number here.
        with contextlib.suppress(ValidationError, AttributeError):
            yield PastDelta.model_validate({name: one.get(name) for name in PastDelta.model_fields})


def _text_of(one: Alike, column: str) -> str:
    return str(one.columns[column] or "")


def _number(one: Alike, column: str) -> int:
    return int(one.columns[column] or 0)
