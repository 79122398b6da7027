# SPDX-License-Identifier: Apache-2.0
"""The records of one run: the run itself, its artifacts, metrics, patches, evaluations and messages."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from git_hmopt.records.base import Decimal, Record
from git_hmopt.records.words import RunStatus, Verdict


class RepositoryState(Record):
    """Where the source came from."""

    uri: str
    revision: str
    dirty: bool


class RunRecord(Record):
    """One experiment, immutable once closed."""

    v: Literal[1] = 1
    uuid: str
    name: str
    workload: str
    base_commit: str
    base_tree: str
    proposer: str
    device: str
    toolchain: dict[str, str]
    configuration: str = Field(description="sha256 of the configuration bytes (an artifact of the run)")
    environment: dict[str, str]
    repository: RepositoryState
    seed: int
    parent: str | None = None
    status: RunStatus = RunStatus.CREATED
    created: str


class ArtifactRecord(Record):
    """Bytes with a kind: where they are and what was removed from them."""

    v: Literal[1] = 1
    sha256: str
    size: int
    media_type: str
    kind: str
    name: str
    uris: tuple[str, ...] = ()
    redacted: dict[str, int] = Field(default_factory=dict, description="what was removed, counted by rule")


class Objective(Record):
    """What a workload wants less or more of."""

    v: Literal[1] = 1
    metric: str
    direction: Literal["lower", "higher"] = "lower"
    kind: Literal["time", "count", "kpi"] = "time"
    margin: Decimal = "0.01"


class MetricRecord(Record):
    """One measured number, bound to the tree it was measured on."""

    v: Literal[1] = 1
    run: str
    commit: str
    tree: str
    patch_id: str | None = None
    scope: Literal["system", "process", "thread", "frame"] = "system"
    workload: str
    name: str
    value: Decimal
    unit: str
    n: int
    low: Decimal | None = None
    high: Decimal | None = None
    layouts: int | None = None
    samples: str | None = Field(default=None, description="sha256 of the raw samples")
    tags: dict[str, str] = Field(default_factory=dict)


class UnknownKpi(Record):
    """A KPI of the whole system that a capture does not tell, which is not 0."""

    name: str
    scope: Literal["system", "cpu", "frame"] = "system"
    unit: str
    n: int
    rule: str = Field(description="why it is unknown, or by which rule it would be found")


class LateFrame(Record):
    """When a frame was late, by its capture's clock."""

    start_ns: int
    end_ns: int
    late_ns: int
    who: str
    rule: str


class KpisRecord(Record):
    """What stands beside the metrics that are the KPIs of a capture."""

    v: Literal[1] = 1
    capture: str = Field(description="sha256 of the capture")
    name: str
    format: str
    events: int
    start_ns: int | None
    end_ns: int | None
    losses: dict[str, int] = Field(description="what was not used, by reason")
    untold: tuple[UnknownKpi, ...]
    windows: tuple[LateFrame, ...] = Field(description="the worst late frames, the worst first")
    left_out: int = Field(description="numbers of single processes, threads and the like that are not recorded")
    rule: str = Field(description="of which processes, threads and the like there are numbers")


class HotspotRecord(Record):
    """A symbol worth looking at. Version 2: its share may be unmeasured, and it may be so many calls away instead."""

    v: Literal[1, 2] = 2
    symbol: str
    file: str | None
    first_line: int | None
    last_line: int | None
    score: Decimal | None = Field(description="share of the profile's cost, 0..1; null is unmeasured")
    # Left out where it is not known, as in all that was written before.
    distance: int | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="calls from the workload's harness, where that is what ranked it; null where nobody asked",
    )
    ranker: str
    unit: str
    evidence: tuple[str, ...] = Field(default=(), description="sha256 of the artifacts the score was computed from")
    resolved_by: str = Field(description="how file and lines were found: psg, dwarf, nm, or unresolved")

    @model_validator(mode="after")
    def _of_its_version(self) -> Self:
        if self.v == 1 and (self.score is None or self.distance is not None):
            raise ValueError("a hotspot of version 1 has a score, and no distance")
        return self


class GraphRecord(Record):
    """A static or runtime graph that stands in an artifact."""

    v: Literal[1] = 1
    kind: Literal["psg", "pcg"]
    artifact: str
    nodes: int
    edges: int
    skipped: dict[str, int] = Field(default_factory=dict)


class TouchRecord(Record):
    """Something that a change of source touches."""

    symbol: str
    kind: str = Field(description="function, struct, union, enum, typedef, variable, macro, or file for the rest")
    file: str
    how: Literal["changed", "added", "removed"]
    share: Decimal | None = Field(description="of the profile, 0..1; null for what the profile did not show")
    reached_by: tuple[str, ...] | None = Field(
        description="functions that reach it within three calls, the hot and the near ones first, the first eight; null"
        " where there is no structure graph"
    )
    reached_by_all: int | None = Field(description="how many there are in all")


class PatchRecord(Record):
    """One proposed change, as a commit on top of the best so far."""

    v: Literal[1] = 1
    iteration: int
    parent: str
    commit: str | None = Field(description="null when the edit did not apply")
    tree: str | None
    patch_id: str | None
    title: str
    rationale: str
    strategy: str
    proposer: str
    symbol: str | None
    files: tuple[str, ...]
    diff: str | None = Field(description="sha256 of the unified diff")
    # Left out where nothing is known, so that what was stored before it was is still written as the same bytes.
    touches: tuple[TouchRecord, ...] = Field(default=(), exclude_if=lambda value: not value)


class Delta(Record):
    """A candidate's change of one metric, as a ratio minus one, with its interval."""

    metric: str
    kind: Literal["time", "count", "kpi", "size"]
    against: Literal["baseline", "best"]
    estimate: Decimal
    low: Decimal
    high: Decimal
    layouts: int
    boots: int
    layout_controlled: bool
    # Left out where there is none, so that what was stored before it was is still written as the same bytes.
    confidence: Decimal | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="of the interval, 0..1; null for an exact number",
    )
    floor: Decimal | None = None
    layout_sd: Decimal | None = None
    boot_sd: Decimal | None = None
    ratios: tuple[Decimal, ...] = Field(
        default=(),
        exclude_if=lambda value: not value,
        description="the points under the interval, as ratios minus one: a layout each, or a boot each where layouts"
        " are not controlled; of an unpaired comparison the second side's layouts against the first's mean",
    )


class CheckRecord(Record):
    """One gate a candidate went through."""

    name: Literal["apply", "policy", "build", "tests", "checkpatch", "outputs", "measure", "guards", "confirmation"]
    passed: bool
    detail: str


class EvaluationRecord(Record):
    """What the gate said about a candidate, with its reason and its numbers."""

    v: Literal[1] = 1
    run: str
    iteration: int
    workload: str
    commit: str | None
    tree: str | None
    patch_id: str | None
    baseline: str
    best: str
    verdict: Verdict
    rule: str | None = Field(default=None, description="the named rule of a rejection")
    reason: str
    smallest_detectable: Decimal | None = None
    accepted: bool
    deltas: tuple[Delta, ...] = ()
    checks: tuple[CheckRecord, ...] = ()
    text_bytes: int | None = Field(default=None, description="change of the text section, bytes")
    samples: str | None = Field(default=None, description="sha256 of the raw samples")


class AgentMessage(Record):
    """Something an agent said, or one exchange of it with a model.

    An exchange (role `answer` or `no-answer`) has in its data, each where it is known:

    - `prompt`, `answer`, `thinking`: sha256 of the artifacts; the prompt is JSON, a list of {role, text}, as it left
    - `template`: the prompt's name and version, `coder/1`
    - `model` that was asked, `served_by` as the server called it, `finish` (`stop` or `length`), `structured` (`yes`)
    - `prompt_tokens`, `completion_tokens`, and `counted_by`: `server`, or `bound` where it told nothing
    - `prompt_bytes`: of UTF-8, so that what the server counted can be held against it
    - `seconds`, `cost` and its `currency`
    - `attempts`: how many requests were made; `failed`: what came of those that gave nothing, `; ` between them;
      `lost_tokens`, `lost_cost`: what those took at most
    - `why` there is no answer; `kind` where a run does otherwise then (`prompt-too-long`, with the model's `limit` of
      tokens where it told one, `budget`, `ended`)
    - `redacted`: how often each rule removed something from what left so far in this run, `email 2, host 1`
    - `exempt_endpoint`, `exempt_who`, `exempt_why`: the exception that let it leave
    - `replayed`: the run whose recorded answer this is; no model was asked
    """

    v: Literal[1] = 1
    iteration: int
    agent: str = Field(description="conductor, trace-analyst, coder, safety, or the proposer's name")
    role: Literal["decision", "proposal", "refusal", "end", "answer", "no-answer", "review"]
    text: str
    data: dict[str, str] = Field(default_factory=dict)


class NodeRecord(Record):
    """What a node of the loop took, once it had ended."""

    v: Literal[1] = 1
    node: str
    iteration: int
    outcome: Literal["ok", "failed", "interrupted"]
    wall_s: Decimal
    cpu_s: Decimal = Field(description="of the tool itself, without the programs it ran")


class RetractionRecord(Record):
    """A verdict that somebody takes back, or with no iteration all that its run claims."""

    v: Literal[1] = 1
    of_iteration: int | None
    reason: str


class CarriedRecord(Record):
    """A commit that took another's place, in a rebase or an amend, and makes the change that was measured there.

    Its tree says whether the numbers count for it: where `how` is `same change` they do not, since the code around
    the change is other code.
    """

    v: Literal[1] = 1
    how: Literal["same tree", "same change"]
    commit: str = Field(description="that was measured")
    tree: str
    patch_id: str | None
    iteration: int
    workload: str
    verdict: Verdict


class CutoffRecord(Record):
    """A run that is expired: what was recorded of it up to a time is to be forgotten by every reader."""

    v: Literal[1] = 1
    of_run: str
    before: str
    reason: str
