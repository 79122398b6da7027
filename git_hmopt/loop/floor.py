# SPDX-License-Identifier: Apache-2.0
"""Measure the noise floor of this host and workload once for a base image, and keep it for later runs.

Sources: the base against itself on two sets of layouts, and null patches: a few bytes of padding in the hottest
function's file, which change no instruction that runs.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from git_hmopt.adapters import BuildResult
from git_hmopt.errors import CorruptRecordError, MeasurementError
from git_hmopt.loop.bench import Bench, Meter
from git_hmopt.loop.book import Book
from git_hmopt.loop.state import RunState
from git_hmopt.measure.compare import compare, compare_same, measured_case
from git_hmopt.measure.floor import Floor, FloorSource, floor_of, floor_source, read_floor
from git_hmopt.process.host import host_name
from git_hmopt.records.words import Oid
from git_hmopt.store.journal import OpDraft

# gcc aligns functions to 16 bytes, so paddings are multiples of it; a whole cache line would change nothing.
PADDINGS = (16, 48, 32, 80, 112, 144, 176, 208)


def floor_for(bench: Bench, state: RunState) -> tuple[Floor | None, list[OpDraft]]:
    """Return the floor of the objective's metric, measured now, or earlier on this host.

    None when the objective is a count, and when the time budget ended before the floor was measured: the gate widens
    its bound then. The drafts record it in this run the first time it is used.
    """
    meter = bench.meter(bench.plan.workload, bench.objective.metric)
    if meter.adapter.repeatable:
        return None, []
    recorded = Book(bench.journal, bench.run).last("floor.measured")
    if recorded is not None:
        return read_floor(recorded["floor_record"]), []
    floor = base_floor(bench, meter, lambda: _hot_files(bench), deadline=bench.deadline(state))
    # The reference tree may have been at base for the floor; the caller's best comes back with its next use.
    bench.need_reference(Oid(state["best"]))
    if floor is None:
        bench.log.say("the time budget ended before the noise floor was measured: bounds are doubled", event="note")
        return None, []
    shown = {"value": floor.value, "sources": [_told(one, bench.config.measure.confidence) for one in floor.sources]}
    data = {"floor": shown, "floor_record": floor.to_json()}
    return floor, [OpDraft("floor.measured", "profile_candidate", state["iteration"], data=data)]


def _hot_files(bench: Bench) -> list[str]:
    ranked = Book(bench.journal, bench.run).need("hotspots.ranked")["hotspots"]
    return [one["file"] for one in ranked if one["file"]]


def base_floor(bench: Bench, meter: Meter, places: Callable[[], Iterable[str]], *, deadline: float) -> Floor | None:
    """Return the floor of the plan's base for a metric with noise: kept on this host, or measured now and kept.

    `places` names files for null patches, best first; it is asked only when the floor must be measured, which uses
    both build trees. None when `deadline` (monotonic seconds) comes first: half a floor is none.
    """
    base = Oid(bench.plan.base_commit)
    built = bench.need_reference(base)[meter.build]
    path = bench.repository.home / "floors" / f"{_key(bench, meter, built.image.sha256 if built.image else '')}.json"
    floor = _kept(bench, path)
    if floor is None:
        floor = _measure(bench, meter, built, list(dict.fromkeys(places())), deadline)
        if floor is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(floor.to_json())
    return floor


def _kept(bench: Bench, path: Path) -> Floor | None:
    if not path.is_file():
        return None
    # A file that was cut off is no floor, and is written again.
    with contextlib.suppress(CorruptRecordError):
        floor = read_floor(path.read_bytes())
        path.touch()  # `git hmopt gc` goes by when it was used last
        bench.log.say(f"noise floor: {100 * floor.ratio:.2f} %, measured here before")
        return floor
    return None


def _told(source: FloorSource, confidence: float) -> str:
    numbers = [100 * float(text) for text in (source.estimate, source.low, source.high)]
    return "{}: {:+.2f} % [{:+.2f}, {:+.2f}] at {:.4g} %".format(source.name, *numbers, 100 * confidence)


def _key(bench: Bench, meter: Meter, image: str) -> str:
    parts = (
        host_name(),
        bench.plan.workload,
        meter.metric,
        image,
        repr(bench.measure_plan()),
        str(bench.config.measure.null_patches),
        repr(bench.workload.inputs),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _measure(bench: Bench, meter: Meter, base: BuildResult, places: Sequence[str], deadline: float) -> Floor | None:
    builder, side, plan = bench.builds[meter.build], bench.side(base), bench.measure_plan(early_stop=False)
    sources: list[FloorSource] = []
    if builder.layout_controlled:
        bench.log.say("noise floor: the base against itself on two sets of layouts")
        same = compare_same(
            side,
            builder,
            meter.adapter,
            measured_case(bench.workload.inputs, bench.plan.seed, stream="floor"),
            plan,
            metric=meter.metric,
            run_seed=bench.plan.seed,
            deadline=deadline,
        )
        if same.estimate is None:
            return None
        sources.append(floor_source("base against base", "a/a", same.estimate, same.ratios()))
    for padding in PADDINGS[: bench.config.measure.null_patches]:
        null = _built_null(bench, meter, base, padding, places)
        if null is None:
            continue
        path, built = null
        bench.log.say(f"noise floor: {padding} bytes of padding in {path}")
        compared = compare(
            side,
            bench.side(built),
            builder,
            meter.adapter,
            measured_case(bench.workload.inputs, bench.plan.seed, stream=f"null-{padding}"),
            plan,
            metric=meter.metric,
            run_seed=bench.plan.seed,
            stream="nulls",
            decided=lambda estimate: False,
            deadline=deadline,
        )
        if compared.estimate is None:
            return None
        told = f"{padding} bytes of padding in {path}"
        sources.append(floor_source(told, "null-patch", compared.estimate, compared.ratios()))
    if not sources:
        raise MeasurementError(
            "no noise floor can be measured: layouts are not controlled and no null patch could be built",
            next_step="give the build adapter a way to relink, or a compile database",
        )
    floor = floor_of(sources, host=host_name(), workload=bench.plan.workload, metric=meter.metric)
    bench.log.say(f"noise floor: {100 * floor.ratio:.2f} % over {len(floor.sources)} comparisons of nothing")
    return floor


def _built_null(
    bench: Bench, meter: Meter, base: BuildResult, padding: int, places: Sequence[str]
) -> tuple[str, BuildResult] | None:
    """Build the base with `padding` more bytes of code; None, and said, when that gives no other image."""
    null = _null_patch(bench, padding, places)
    if null is None:
        bench.log.say("noise floor: no hot code stands in a C file that a null patch could be made of", event="note")
        return None
    path, tree = null
    built = bench.build_once(tree, meter.build)
    if built.image is None or (base.image and built.image.sha256 == base.image.sha256):
        why = built.failure or "the image is the base's"
        bench.log.say(f"noise floor: {padding} bytes of padding in {path} are no null patch: {why}", event="note")
        return None
    return path, built


def _null_patch(bench: Bench, padding: int, places: Sequence[str]) -> tuple[str, Oid] | None:
    """Return a file and an export tree in which it has `padding` more bytes of code that never run.

    The file is the first of `places` that is C; gcc puts a file-scope asm in front of its code.
    """
    base = Oid(bench.plan.base_commit)
    for path in places:
        content = bench.repository.read_path(base, path)
        if path.endswith(".c") and content is not None and path not in bench.overlay_paths:
            text = f'\nasm(".pushsection .text\\n.skip {padding}, 0x90\\n.popsection");\n'
            return path, bench.repository.write_tree(bench.export_tree(base), {path: content + text.encode()})
    return None
