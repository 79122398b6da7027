# SPDX-License-Identifier: Apache-2.0
"""One JSON line a judged candidate: the evidence it was proposed from, its diff, what it changed, and the verdict."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from git_hmopt.records.base import canonical_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

VERSION = 1
Read = Callable[[str], bytes | None]
"""From an attachment's sha256 to its bytes; None when they are gone."""


class Run(Protocol):
    """What an example says about its run."""

    @property
    def name(self) -> str: ...
    @property
    def workload(self) -> str: ...
    @property
    def base_commit(self) -> str: ...
    @property
    def without(self) -> Sequence[str]: ...


class Patch(Protocol):
    """What an example says about its patch."""

    @property
    def strategy(self) -> str: ...
    @property
    def symbol(self) -> str | None: ...
    @property
    def diff(self) -> str | None: ...


class Evaluation(Protocol):
    """What an example says about its verdict."""

    @property
    def verdict(self) -> str: ...
    @property
    def rule(self) -> str | None: ...
    @property
    def reason(self) -> str: ...
    @property
    def accepted(self) -> bool: ...
    @property
    def text_bytes(self) -> int | None: ...
    @property
    def deltas(self) -> Sequence[DataclassInstance]: ...


class Iteration(Protocol):
    """One iteration of a story."""

    @property
    def number(self) -> int: ...
    @property
    def evidence(self) -> str | None: ...
    @property
    def patch(self) -> Patch | None: ...
    @property
    def evaluation(self) -> Evaluation | None: ...
    @property
    def metrics(self) -> Sequence[DataclassInstance]: ...


class Story(Protocol):
    """What `report.story.RunStory` is to this room, which stands beside that one and does not import it."""

    @property
    def run(self) -> Run: ...
    @property
    def iterations(self) -> Sequence[Iteration]: ...


def export_lines(story: Story, read: Read) -> Iterator[str]:
    """Yield one canonical JSON line, with its newline, for every iteration that was judged.

    `evidence` is the pack's JSON and `diff` the unified diff's text; null when it cannot be had, and `missing` says
    why. Numbers stay the decimal texts they are stored as.
    """
    for one in story.iterations:
        if one.evaluation is not None:
            yield canonical_json(_example(story, one, one.evaluation, read)) + "\n"


def _example(story: Story, one: Iteration, evaluation: Evaluation, read: Read) -> dict[str, Any]:
    patch, missing = one.patch, []
    evidence, why = _json(one.evidence, read)
    missing += [f"evidence: {why}"] if why else []
    diff, why = _text(patch.diff if patch else None, read)
    missing += [f"diff: {why}"] if why else []
    return {
        "v": VERSION,
        "run": story.run.name,
        "workload": story.run.workload,
        "base_commit": story.run.base_commit,
        "without": list(story.run.without),
        "iteration": one.number,
        "strategy": patch.strategy if patch else None,
        "symbol": patch.symbol if patch else None,
        "evidence": evidence,
        "diff": diff,
        "deltas": [asdict(delta) for delta in evaluation.deltas],
        "metrics": [asdict(metric) for metric in one.metrics],
        "text_bytes": evaluation.text_bytes,
        "verdict": evaluation.verdict,
        "rule": evaluation.rule,
        "reason": evaluation.reason,
        "accepted": evaluation.accepted,
        "missing": missing,
    }


def _text(sha256: str | None, read: Read) -> tuple[str | None, str | None]:
    if sha256 is None:
        return None, "none was recorded"
    data = read(sha256)
    if data is None:
        return None, f"{sha256} is no longer stored"
    return data.decode(errors="replace"), None


def _json(sha256: str | None, read: Read) -> tuple[Any, str | None]:
    text, why = _text(sha256, read)
    if text is None:
        return None, why
    try:
        value = json.loads(text)
        canonical_json(value)
    except (ValueError, TypeError) as error:
        return None, f"{sha256} is no evidence pack: {error}"
    return value, None
