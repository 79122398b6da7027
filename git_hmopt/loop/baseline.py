# SPDX-License-Identifier: Apache-2.0
"""Take over what an earlier run measured of the same base: where its time goes, and its noise floor.

Both are expensive and say nothing of candidates. They count only where they were measured: the same commit, workload,
configuration, overlays and host, and, once the base is built, the same image. What a run goes without says nothing of
how it measures: the floor is taken over all the same, and captures are where both want a profile.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from git_hmopt.adapters import BuildResult
from git_hmopt.errors import MeasurementError, UsageError
from git_hmopt.loop.bench import Bench
from git_hmopt.loop.book import Book, without_of
from git_hmopt.loop.plan import RunPlan
from git_hmopt.records.run import RunRecord
from git_hmopt.records.words import RunId
from git_hmopt.store.journal import OpDraft

REUSED = "baseline.reused"
_HEXADECIMAL = re.compile(r"[0-9a-f]{40,64}")


def reuse(bench: Bench, record: RunRecord, baseline: RunId) -> list[OpDraft]:
    """Return what the new run `record` takes over from the run `baseline`.

    UsageError says what is not the same, or that the run measured nothing that could be taken over.
    """
    book = Book(bench.journal, baseline)
    other = RunRecord.model_validate(book.need("run.created")["run"])
    different = _differences(record, other)
    if _measured_as(bench.plan) != _measured_as(book.plan()):
        different.append("how it was measured was set another way (measure.*)")
    if book.need("run.created")["overlays"] != {overlay.name: overlay.digest for overlay in bench.overlays}:
        different.append("its overlays had other contents")
    if different:
        raise UsageError(
            f"run {baseline} is no baseline for this one: {'; '.join(different)}",
            next_step="measure afresh: leave out --baseline",
        )
    profile = None if "profile" in bench.plan.without else _profile(bench, book, record.base_commit)
    floor, built = book.last("floor.measured"), book.last("baseline.built")
    if built is None or (profile is None and floor is None):
        raise UsageError(
            f"run {baseline} measured nothing that {'this one needs' if bench.plan.without else 'could be taken over'}",
            next_step="measure afresh: leave out --baseline",
        )
    taken = [what for what, there in (("profile", profile), ("noise floor", floor)) if there is not None]
    note = f"taken over from run {baseline}: {' and '.join(taken)}"
    if profile is None and "profile" in (*bench.plan.without, *without_of(book)):
        whose = "this run" if "profile" in bench.plan.without else "that run"
        note += f"; no profile, since {whose} goes without one"
    images = {name: one["image"] for name, one in built["builds"].items()}
    data = {"baseline": {"run": baseline, "images": images, "profile": profile}, "notes": [note]}
    drafts = [OpDraft(REUSED, "init_run", data=data)]
    if floor is not None:
        drafts.append(OpDraft("floor.measured", "init_run", data=floor))
    return drafts


def _measured_as(plan: RunPlan) -> dict[str, str]:
    return {key: text for key, text in plan.settings.items() if key.startswith("measure.")}


def _differences(mine: RunRecord, other: RunRecord) -> list[str]:
    found = []
    for what, one, two in (
        ("base commit", mine.base_commit, other.base_commit),
        ("workload", mine.workload, other.workload),
        ("configuration", mine.configuration, other.configuration),
        ("host", mine.device, other.device),
        ("measuring CPU", mine.environment.get("cpus", ""), other.environment.get("cpus", "")),
        ("sandbox", mine.environment.get("sandbox", ""), other.environment.get("sandbox", "")),
    ):
        if one != two:
            shown = [text[:12] if _HEXADECIMAL.fullmatch(text) else text or "unknown" for text in (two, one)]
            found.append(f"its {what} was {shown[0]}, here it is {shown[1]}")
    return found


def _profile(bench: Bench, book: Book, base: str) -> dict[str, Any] | None:
    """Return the profile of the base, when every capture of it is still here."""
    for entry in book.entries:
        data = entry.operation.data
        if entry.operation.op == "profile.recorded" and data["commit"] == base:
            here = all(bench.artifacts.path(capture["artifact"]) for capture in data["captures"])
            return dict(data) if here and data["captures"] else None
    return None


def reused_profile(bench: Bench, commit: str) -> dict[str, Any] | None:
    """Return the profile of `commit` that this run took over, or None."""
    reused = Book(bench.journal, bench.run).last(REUSED)
    profile: dict[str, Any] | None = reused["baseline"]["profile"] if reused else None
    return profile if profile is not None and profile["commit"] == commit else None


def refuse_other_images(bench: Bench, builds: Mapping[str, BuildResult]) -> None:
    """Raise MeasurementError when the base is built to other bytes than those the baseline was measured on."""
    reused = Book(bench.journal, bench.run).last(REUSED)
    if reused is None:
        return
    for name, image in reused["baseline"]["images"].items():
        here = builds[name].image if name in builds else None
        if here is not None and here.sha256 != image:
            raise MeasurementError(
                f"build '{name}' of the base gives other bytes now than in run {reused['baseline']['run']}: "
                "what was measured there does not count here",
                next_step="measure afresh: leave out --baseline",
            )
