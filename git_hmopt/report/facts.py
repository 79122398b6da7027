# SPDX-License-Identifier: Apache-2.0
"""The records of a run as plain values, read from journal JSON: what a report tells about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from git_hmopt.report.fields import Fields, MalformedError


@dataclass(frozen=True)
class RunFacts:
    """What was run, on what."""

    name: str
    uuid: str
    workload: str
    base_commit: str
    base_tree: str
    proposer: str
    device: str
    toolchain: Mapping[str, str]
    environment: Mapping[str, str]
    uri: str
    revision: str
    dirty: bool
    seed: int
    created: str
    parent: str | None
    configuration: str | None
    """sha256 of the configuration's bytes."""

    @property
    def without(self) -> tuple[str, ...]:
        """Return what evidence it went without: profile, graph."""
        return tuple(one for one in self.environment.get("without", "").split(", ") if one)


@dataclass(frozen=True)
class ArtifactFacts:
    """Stored bytes."""

    sha256: str
    size: int
    media_type: str
    kind: str
    name: str


@dataclass(frozen=True)
class MetricFacts:
    """One measured number; decimals stay the text they were stored as."""

    commit: str
    tree: str
    workload: str
    scope: str
    name: str
    value: str
    unit: str
    n: int
    low: str | None
    high: str | None
    layouts: int | None
    samples: str | None = None
    """sha256 of the raw readings."""


@dataclass(frozen=True)
class KpiFacts:
    """One KPI of a capture that was made elsewhere; the value stays the text it was stored as."""

    capture: str
    """sha256 of the capture."""
    scope: str
    name: str
    of: str
    """Whose it is: `all`, a process, a thread, a CPU, ..."""
    value: str
    unit: str
    n: int


@dataclass(frozen=True)
class WindowFacts:
    """When a frame was late in a capture, by the capture's clock."""

    capture: str
    """sha256 of the capture."""
    name: str
    start_ns: int
    end_ns: int
    late_ns: int
    who: str
    rule: str


@dataclass(frozen=True)
class HotspotFacts:
    """A ranked symbol."""

    symbol: str
    file: str | None
    first_line: int | None
    last_line: int | None
    score: str | None
    """Share of the profile; None is unmeasured."""
    ranker: str
    unit: str
    resolved_by: str
    distance: int | None = None
    """Calls from the workload's harness, where that ranked it."""


@dataclass(frozen=True)
class GraphFacts:
    """A stored graph and what it does not hold."""

    kind: str
    artifact: str
    nodes: int
    edges: int
    skipped: Mapping[str, str]


@dataclass(frozen=True)
class TouchFacts:
    """Something that a change touches."""

    symbol: str
    how: str
    share: str | None
    """Of the profile; None for what the profile did not show."""
    reached_by: tuple[str, ...] | None
    """None where there was no structure graph."""
    reached_by_all: int | None


@dataclass(frozen=True)
class PatchFacts:
    """A proposed change."""

    parent: str
    commit: str | None
    tree: str | None
    patch_id: str | None
    title: str
    rationale: str
    strategy: str
    proposer: str
    symbol: str | None
    files: tuple[str, ...]
    diff: str | None
    touches: tuple[TouchFacts, ...] = ()


@dataclass(frozen=True)
class DeltaFacts:
    """A change of one metric as a ratio minus one, with its interval; all decimals as stored."""

    metric: str
    kind: str
    against: str
    estimate: str
    low: str
    high: str
    layouts: int
    boots: int
    layout_controlled: bool
    floor: str | None
    layout_sd: str | None
    boot_sd: str | None
    samples: str | None
    confidence: str | None = None
    """Of the interval; None for an exact number, and where it was not recorded."""
    ratios: tuple[str, ...] = ()
    """The points under the interval, as ratios minus one; none where they were not recorded."""

    @property
    def exact(self) -> bool:
        """Say whether it is a number without noise: a count, a size."""
        return self.kind in ("count", "size")


@dataclass(frozen=True)
class CheckFacts:
    """One gate and how it went."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class EvaluationFacts:
    """The gate's answer."""

    verdict: str
    rule: str | None
    reason: str
    accepted: bool
    smallest_detectable: str | None
    deltas: tuple[DeltaFacts, ...]
    checks: tuple[CheckFacts, ...]
    text_bytes: int | None
    commit: str | None
    baseline: str
    best: str


@dataclass(frozen=True)
class MessageFacts:
    """What an agent said, or one exchange of it with a model (records.run.AgentMessage)."""

    iteration: int
    """That of its operation."""
    agent: str
    role: str
    text: str
    data: Mapping[str, str]


@dataclass(frozen=True)
class NullFacts:
    """One comparison of nothing with nothing: ratios minus one, as stored."""

    name: str
    kind: str
    estimate: str
    low: str
    high: str
    layouts: int
    boots: int
    ratios: tuple[str, ...]


@dataclass(frozen=True)
class FloorFacts:
    """The measured noise floor, as a ratio, and what it was measured from."""

    value: str
    sources: tuple[str, ...]
    nulls: tuple[NullFacts, ...] = ()
    """The comparisons themselves, where they were recorded."""


def read_run(data: Fields) -> RunFacts:
    """Read one run record; MalformedError names the key that is wrong."""
    repository = data.inner("repository")
    return RunFacts(
        name=data.text("name"),
        uuid=data.text("uuid"),
        workload=data.text("workload"),
        base_commit=data.text("base_commit"),
        base_tree=data.text("base_tree"),
        proposer=data.text("proposer"),
        device=data.text("device"),
        toolchain=data.text_map("toolchain"),
        environment=data.text_map("environment"),
        uri=repository.text("uri"),
        revision=repository.text("revision"),
        dirty=repository.flag("dirty"),
        seed=data.whole("seed"),
        created=data.text("created"),
        parent=data.maybe_text("parent"),
        configuration=data.maybe_text("configuration"),
    )


def read_artifact(data: Fields) -> ArtifactFacts:
    """Read one artifact record; MalformedError names the key that is wrong."""
    return ArtifactFacts(
        sha256=data.text("sha256"),
        size=data.whole("size"),
        media_type=data.text("media_type"),
        kind=data.text("kind"),
        name=data.text("name"),
    )


def read_metric(data: Fields) -> MetricFacts:
    """Read one metric record; MalformedError names the key that is wrong."""
    return MetricFacts(
        commit=data.text("commit"),
        tree=data.text("tree"),
        workload=data.text("workload"),
        scope=data.maybe_text("scope") or "system",
        name=data.text("name"),
        value=data.decimal("value"),
        unit=data.text("unit"),
        n=data.whole("n"),
        low=data.maybe_decimal("low"),
        high=data.maybe_decimal("high"),
        layouts=data.maybe_whole("layouts"),
        samples=data.maybe_text("samples"),
    )


def is_kpi(data: Fields) -> bool:
    """Say whether a metric record is a KPI of a capture: nothing that the run itself measured."""
    tags = data.text_map("tags")
    return "artifact" in tags and "of" in tags


def read_kpi(data: Fields) -> KpiFacts:
    """Read such a record; MalformedError names the key that is wrong."""
    tags = data.text_map("tags")
    return KpiFacts(
        capture=tags["artifact"],
        scope=tags.get("per") or data.maybe_text("scope") or "system",
        name=data.text("name"),
        of=tags["of"],
        value=data.decimal("value"),
        unit=data.text("unit"),
        n=data.whole("n"),
    )


def read_windows(data: Fields) -> tuple[WindowFacts, ...]:
    """Read the late frames of a capture's record; MalformedError names the key that is wrong."""
    return tuple(
        WindowFacts(
            capture=data.text("capture"),
            name=data.text("name"),
            start_ns=one.whole("start_ns"),
            end_ns=one.whole("end_ns"),
            late_ns=one.whole("late_ns"),
            who=one.text("who"),
            rule=one.text("rule"),
        )
        for one in data.many("windows")
    )


def read_hotspot(data: Fields) -> HotspotFacts:
    """Read one hotspot record; MalformedError names the key that is wrong."""
    return HotspotFacts(
        symbol=data.text("symbol"),
        file=data.maybe_text("file"),
        first_line=data.maybe_whole("first_line"),
        last_line=data.maybe_whole("last_line"),
        score=data.maybe_decimal("score"),
        ranker=data.text("ranker"),
        unit=data.text("unit"),
        resolved_by=data.text("resolved_by"),
        distance=data.maybe_whole("distance"),
    )


def read_graph(data: Fields) -> GraphFacts:
    """Read one graph record; MalformedError names the key that is wrong."""
    return GraphFacts(
        kind=data.text("kind"),
        artifact=data.text("artifact"),
        nodes=data.whole("nodes"),
        edges=data.whole("edges"),
        skipped=data.text_map("skipped"),
    )


def read_patch(data: Fields) -> PatchFacts:
    """Read one patch record; MalformedError names the key that is wrong."""
    return PatchFacts(
        parent=data.text("parent"),
        commit=data.maybe_text("commit"),
        tree=data.maybe_text("tree"),
        patch_id=data.maybe_text("patch_id"),
        title=data.text("title"),
        rationale=data.text("rationale"),
        strategy=data.text("strategy"),
        proposer=data.text("proposer"),
        symbol=data.maybe_text("symbol"),
        files=data.texts("files"),
        diff=data.maybe_text("diff"),
        touches=tuple(read_touch(one) for one in data.many("touches")),
    )


def read_touch(data: Fields) -> TouchFacts:
    """Read one touch record; MalformedError names the key that is wrong."""
    all_callers = data.maybe_whole("reached_by_all")
    return TouchFacts(
        symbol=data.text("symbol"),
        how=data.text("how"),
        share=data.maybe_decimal("share"),
        reached_by=None if all_callers is None else data.texts("reached_by"),
        reached_by_all=all_callers,
    )


def read_delta(data: Fields) -> DeltaFacts:
    """Read one delta record; MalformedError names the key that is wrong."""
    return DeltaFacts(
        metric=data.text("metric"),
        kind=data.text("kind"),
        against=data.text("against"),
        estimate=data.decimal("estimate"),
        low=data.decimal("low"),
        high=data.decimal("high"),
        layouts=data.whole("layouts"),
        boots=data.whole("boots"),
        layout_controlled=data.flag("layout_controlled"),
        floor=data.maybe_decimal("floor"),
        layout_sd=data.maybe_decimal("layout_sd"),
        boot_sd=data.maybe_decimal("boot_sd"),
        samples=data.maybe_text("samples"),
        confidence=data.maybe_decimal("confidence"),
        ratios=data.decimals("ratios"),
    )


def read_evaluation(data: Fields) -> EvaluationFacts:
    """Read one evaluation record; MalformedError names the key that is wrong."""
    return EvaluationFacts(
        verdict=data.text("verdict"),
        rule=data.maybe_text("rule"),
        reason=data.text("reason"),
        accepted=data.flag("accepted"),
        smallest_detectable=data.maybe_decimal("smallest_detectable"),
        deltas=tuple(read_delta(one) for one in data.many("deltas")),
        checks=tuple(
            CheckFacts(one.text("name"), one.flag("passed"), one.text("detail")) for one in data.many("checks")
        ),
        text_bytes=data.maybe_whole("text_bytes"),
        commit=data.maybe_text("commit"),
        baseline=data.text("baseline"),
        best=data.text("best"),
    )


def read_floor(data: Fields) -> FloorFacts:
    """Read what a run recorded of its noise floor; MalformedError names the key that is wrong."""
    shown = data.inner("floor")
    text = data.maybe_text("floor_record")
    try:
        whole = Fields.of(json.loads(text) if text else {}, "floor_record")
    except ValueError as error:
        raise MalformedError("floor_record is no JSON") from error
    nulls = tuple(
        NullFacts(
            name=one.text("name"),
            kind=one.text("kind"),
            estimate=one.decimal("estimate"),
            low=one.decimal("low"),
            high=one.decimal("high"),
            layouts=one.whole("layouts"),
            boots=one.whole("boots"),
            ratios=one.decimals("ratios"),
        )
        for one in whole.many("sources")
    )
    return FloorFacts(shown.decimal("value"), shown.texts("sources"), nulls)


def read_message(data: Fields, iteration: int) -> MessageFacts:
    """Read one message record; MalformedError names the key that is wrong."""
    return MessageFacts(iteration, data.text("agent"), data.text("role"), data.text("text"), data.text_map("data"))
