# SPDX-License-Identifier: Apache-2.0
"""What the cache says of runs, as texts to search: a run's trace, and each change that was judged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

import git_hmopt.store.queries as queries
from git_hmopt.errors import CorruptRecordError
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.search import Value

RETRACTED = "retracted"


@dataclass(frozen=True)
class Case:
    """Something to index; `source` names it, and it is another one as soon as `digest` is."""

    source: str
    digest: str
    columns: Mapping[str, Value]
    text: str
    packs: tuple[str, ...] = ()
    """sha256 of the evidence packs that are here and say more."""


def trace_cases(rows: Iterable[queries.TraceRow], artifacts: ArtifactStore) -> Iterator[Case]:
    """Yield a case for each run with hotspots."""
    for row in rows:
        symbols = " ".join(row.symbols)
        said = "; ".join((f"{row.workload} on {row.device}", *row.messages))
        # Packs are found or lost later than the rows: what is here counts.
        packs = tuple(sha256 for sha256 in row.packs if artifacts.path(sha256))
        columns: dict[str, Value] = {
            "run": row.run, "commit_oid": row.commit, "workload": row.workload, "symbols": symbols, "summary": said,
        }  # fmt: skip
        text = " ".join((said, symbols, *row.files))
        yield Case(row.run, _digest(columns, text, *packs), columns, text, packs)


def fix_cases(rows: Iterable[queries.FixRow]) -> Iterator[Case]:
    """Yield a case for each verdict."""
    for row in rows:
        verdict = RETRACTED if row.retracted else row.verdict
        change = ", ".join(_deltas(row.deltas))
        columns: dict[str, Value] = {
            "run": row.run, "iteration": row.iteration, "commit_oid": row.commit, "symbol": row.symbol,
            "strategy": row.strategy, "verdict": verdict, "summary": row.title,
            "reason": f"{row.reason} ({change})" if change else row.reason, "deltas": row.deltas,
        }  # fmt: skip
        text = " ".join(
            part for part in (row.title, row.rationale, row.strategy, row.symbol, verdict, row.reason, change) if part
        )
        yield Case(f"{row.run} {row.source}", _digest(columns, text), columns, text)


def with_packs(case: Case, artifacts: ArtifactStore) -> Case:
    """Return a case with what its evidence packs say of the bottleneck."""
    said = list(dict.fromkeys(line for sha256 in case.packs for line in _bottleneck(artifacts, sha256)))
    if not said:
        return case
    summary = "; ".join((str(case.columns["summary"]), *said))
    return Case(case.source, case.digest, {**case.columns, "summary": summary}, " ".join((case.text, *said)))


def _bottleneck(artifacts: ArtifactStore, sha256: str) -> list[str]:
    try:
        pack = json.loads(artifacts.read(sha256) or b"null")
    except (CorruptRecordError, ValueError):
        return []
    if not isinstance(pack, dict):
        return []
    said = (pack.get("bottleneck"), pack.get("bottleneck_reason"))
    return [": ".join(part for part in said if isinstance(part, str))] if isinstance(said[0], str) else []


def _deltas(text: str) -> Iterator[str]:
    for delta in json.loads(text):
        try:
            yield f"{delta['metric']} {100 * Decimal(delta['estimate']):+.1f} %"
        except (TypeError, KeyError, ArithmeticError, ValueError):
            continue


def _digest(columns: Mapping[str, Value], *texts: str) -> str:
    return hashlib.sha256(json.dumps([columns, texts], sort_keys=True).encode()).hexdigest()
