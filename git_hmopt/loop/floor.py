# SPDX-License-Identifier: Apache-2.0
"""Measure the noise floor of this host and workload once for a base image, and keep it for later runs.

Sources: the base against itself on two sets of layouts, and null patches: a few bytes of padding in the hottest
function's file, which change no instruction that runs.
"""

from __future__ import annotations

import contextlib
import hashlib

from git_hmopt.errors import CorruptRecordError, HmoptError, MeasurementError
from git_hmopt.loop.bench import Bench, Meter
from git_hmopt.loop.book import Book
from git_hmopt.loop.nodes.setup import host_name
from git_hmopt.loop.state import RunState
from git_hmopt.measure.compare import Comparison, compare, compare_same, measured_case
from git_hmopt.measure.floor import Floor, FloorSource, floor_of, floor_source, read_floor
from git_hmopt.records.words import Oid
from git_hmopt.store.journal import OpDraft

# gcc aligns functions to 16 bytes, so paddings are multiples of it; a whole cache line would change nothing.
PADDINGS = (16, 48, 32, 80, 112, 144, 176, 208)


def floor_for(bench: Bench, state: RunState) -> tuple[Floor | None, list[OpDraft]]:
    """Return the floor of the objective's metric, measured now, or earlier on this host; None when it is a count.

    The drafts record it in this run the first time it is used.
    """
    meter = bench.meter(bench.plan.workload, bench.objective.metric)
    if meter.adapter.repeatable:
        return None, []
    book = Book(bench.journal, bench.run)
    recorded = book.last("floor.measured")
    if recorded is not None:
        return read_floor(recorded["floor_record"]), []
    base = Oid(bench.plan.base_commit)
    built = bench.need_reference(base)[meter.build]
    path = bench.repository.home / "floors" / f"{_key(bench, meter, built.image.sha256 if built.image else '')}.json"
    floor: Floor | None = None
    if path.is_file():
        with contextlib.suppress(CorruptRecordError, OSError):
            floor = read_floor(path.read_bytes())
            bench.log.say(f"noise floor: {100 * floor.ratio:.2f} %, measured here before")
    if floor is None:
        floor = _measure(bench, state, meter, base)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(floor.to_json())
        bench.log.say(f"noise floor: {100 * floor.ratio:.2f} % over {len(floor.sources)} comparisons of nothing")
    # The reference tree may have been at base for the floor; the caller's best comes back with its next use.
    bench.need_reference(Oid(state["best"]))
    shown = {
        "value": floor.value,
        "sources": [_told(one) for one in floor.sources],
    }
    data = {"floor": shown, "floor_record": floor.to_json()}
    return floor, [OpDraft("floor.measured", "profile_candidate", state["iteration"], data=data)]


def _told(source: FloorSource) -> str:
    numbers = [100 * float(text) for text in (source.estimate, source.low, source.high)]
    return "{}: {:+.2f} % [{:+.2f}, {:+.2f}]".format(source.name, *numbers)


def _key(bench: Bench, meter: Meter, image: str) -> str:
    parts = (
        host_name(),
        bench.plan.workload,
        meter.metric,
        image,
        repr(bench.measure_plan()),
        repr(bench.workload.inputs),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _measure(bench: Bench, state: RunState, meter: Meter, base: Oid) -> Floor:
    sources: list[FloorSource] = []
    builder = bench.builds[meter.build]
    plan = bench.measure_plan(early_stop=False)
    inputs = bench.workload.inputs
    reference = bench.need_reference(base)
    side = bench.side(reference[meter.build])
    if builder.layout_controlled:
        bench.log.say("noise floor: the base against itself on two sets of layouts")
        same = compare_same(
            side,
            builder,
            meter.adapter,
            measured_case(inputs, bench.plan.seed, stream="floor"),
            plan,
            metric=meter.metric,
            run_seed=bench.plan.seed,
        )
        sources += _source("base against base", same, null=False)
    for padding in PADDINGS[: bench.config.measure.null_patches]:
        null = _null_patch(bench, base, padding)
        if null is None:
            continue
        path, tree = null
        built = bench.build_once(tree, meter.build)
        if (
            not built.success
            or built.image is None
            or built.image.sha256 == (side.built.image and side.built.image.sha256)
        ):
            continue
        bench.log.say(f"noise floor: {padding} bytes of padding in {path}")
        compared = compare(
            side,
            bench.side(built),
            builder,
            meter.adapter,
            measured_case(inputs, bench.plan.seed, stream=f"null-{padding}"),
            plan,
            metric=meter.metric,
            run_seed=bench.plan.seed,
            stream="floor",
            decided=lambda estimate: False,
        )
        sources += _source(f"{padding} bytes of padding in {path}", compared, null=True)
    if not sources:
        raise MeasurementError(
            "no noise floor can be measured: layouts are not controlled and no null patch could be built",
            next_step="give the build adapter a way to relink, or a compile database",
        )
    return floor_of(sources, host=host_name(), workload=bench.plan.workload, metric=meter.metric)


def _source(name: str, compared: Comparison, *, null: bool) -> list[FloorSource]:
    if compared.estimate is None:
        return []
    return [floor_source(name, "null-patch" if null else "a/a", compared.estimate)]


def _null_patch(bench: Bench, base: Oid, padding: int) -> tuple[str, Oid] | None:
    """Return a file and an export tree in which it has `padding` more bytes of code that never run.

    The file is that of the first hotspot whose file is C; a file-scope asm goes in front of its code.
    """
    ranked = Book(bench.journal, bench.run).need("hotspots.ranked")["hotspots"]
    for path in dict.fromkeys(one["file"] for one in ranked if one["file"]):
        content = bench.repository.read_path(base, path)
        if path.endswith(".c") and content is not None and path not in bench.overlay_paths:
            text = f'\nasm(".pushsection .text\\n.skip {padding}, 0x90\\n.popsection");\n'
            export = bench.export_tree(base)
            with contextlib.suppress(HmoptError):
                return path, bench.repository.write_tree(export, {path: content + text.encode()})
    return None
