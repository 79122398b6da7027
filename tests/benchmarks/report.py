# SPDX-License-Identifier: Apache-2.0
"""What `git hmopt report` costs for a run of 20 iterations: seconds from its start to its end, and bytes.

`python tests/benchmarks/report.py [--quick] [--json]`; exits 1 when a budget is missed. The run is made of records, not
measured: every candidate has 24 layouts of 10 boots a side, a diff of 12 kB and two metrics, and base and best were
profiled with 4,000 call stacks each. Times are medians, the first round left out. The budget is
one of CPU time, which is wall time on a machine that has a CPU to spare: the report is one thread.
"""

from __future__ import annotations

import json
import random
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from git_hmopt.measure.sampling import Row as Reading  # noqa: E402 - the path above makes it importable
from git_hmopt.measure.sampling import Samples  # noqa: E402
from git_hmopt.measure.statistics import layout_ratios, ratio_texts  # noqa: E402
from git_hmopt.records.run import MetricRecord  # noqa: E402
from git_hmopt.records.words import RunId, Seed, Verdict  # noqa: E402
from git_hmopt.store.artifacts import ArtifactStore  # noqa: E402
from git_hmopt.store.journal import Journal, OpDraft  # noqa: E402
from git_hmopt.store.repository import Repository  # noqa: E402
from tests.benchmarks.table import Row, benchmark_parser, told  # noqa: E402
from tests.loop.project import Project, make_project  # noqa: E402
from tests.report.story_operations import (  # noqa: E402
    BASE,
    RUN,
    delta,
    evaluation_data,
    hotspot_data,
    patch_data,
    run_data,
)

NAME = "report"
ITERATIONS = 20
LAYOUTS, BOOTS = 24, 10
STACKS, DEPTH = 4000, 24
FORMS = {"page": ("--html",), "markdown": (), "JSON": ("--json",)}


def readings(rng: random.Random) -> Samples:
    """Return the raw readings of one comparison."""
    rows = []
    for seed in range(LAYOUTS):
        layout = rng.gauss(1, 0.02)
        rows += [
            Reading(0, boot, arm, Seed(seed), 0, 4e6 * side * layout * rng.gauss(1, 0.01))
            for boot in range(BOOTS)
            for arm, side in (("base", 1.0), ("candidate", 0.97))
        ]
    return Samples(tuple(rows))


def stacks(rng: random.Random) -> bytes:
    """Return folded call stacks with names as long as the kernel's."""
    lines = []
    for _ in range(STACKS):
        depth = rng.randrange(4, DEPTH)
        path = ";".join(f"some_kernel_function_{level}_{rng.randrange(1 + level // 3)}" for level in range(depth))
        lines.append(f"{path} {rng.randrange(1, 50)}\n")
    return "".join(lines).encode()


def diff(rng: random.Random) -> bytes:
    """Return a diff of 12 kB."""
    lines = [f"{rng.choice('+- ')}\tvalue = table[index + {number}] ^ shift(value, 8);" for number in range(270)]
    return ("--- a/lib/digest.c\n+++ b/lib/digest.c\n@@ -1,270 +1,270 @@\n" + "\n".join(lines) + "\n").encode()


def judged(artifacts: ArtifactStore, rng: random.Random, number: int) -> list[OpDraft]:
    """Return what is recorded of one iteration."""
    table = readings(rng)
    samples = artifacts.put_bytes(table.to_bytes(), kind="samples", name="time.json", media_type="application/json")
    patch = artifacts.put_bytes(diff(rng), kind="diff", name="patch.diff", media_type="text/x-diff")
    time_ = delta("-0.03", "-0.035", "-0.025", ratios=ratio_texts(layout_ratios(table)))
    data = evaluation_data(
        number,
        Verdict.IMPROVED if number % 4 == 0 else Verdict.NO_CHANGE,
        time_,
        delta("-0.1", "-0.1", "-0.1", kind="count"),
    )
    data["metrics"] = [
        MetricRecord(
            run=RUN, commit=commit, tree="7" * 40, workload="digest", name="time", value=value, unit="ns", n=240,
            low=value, high=value, layouts=LAYOUTS, samples=samples.sha256,
        ).model_dump(mode="json")
        for commit, value in ((f"{number:x}" * 40, "3900000"), (BASE, "4000000"))
    ]  # fmt: skip
    return [
        OpDraft("patch.proposed", "coder_generate_patch", number, data=patch_data(number, diff=patch.sha256)),
        OpDraft("patch.judged", "evaluate_delta_and_update_best", number, data=data),
    ]


def floor_data(rng: random.Random) -> dict[str, Any]:
    """Return a noise floor of four comparisons."""
    sources = [
        {"name": f"null {number}", "kind": "null-patch" if number else "a/a", "estimate": "0.001", "low": "-0.01",
         "high": "0.012", "layouts": 12, "boots": 10, "paired": bool(number),
         "ratios": list(ratio_texts([rng.gauss(0, 0.01) for _ in range(12)]))}
        for number in range(4)
    ]  # fmt: skip
    whole = {"v": 1, "host": "h", "workload": "digest", "metric": "time", "value": "0.004", "sources": sources}
    return {"floor": {"value": "0.004", "sources": ["base against base"]}, "floor_record": json.dumps(whole)}


def record(project: Project) -> None:
    """Record the run."""
    rng = random.Random(1)
    repository = Repository.open(project.root)
    artifacts = ArtifactStore.of(repository)
    drafts = [OpDraft("run.created", "init_run", data=run_data())]
    for attempt, commit in enumerate((BASE, "f" * 40)):
        capture = artifacts.put_bytes(stacks(rng), kind="capture", name="folded.txt", media_type="text/plain")
        manifest = {"profiler": "perf", "kind": "folded", "artifact": capture.sha256, "root": ""}
        data = {"captures": [manifest], "notes": [], "commit": commit}
        drafts.append(OpDraft("profile.recorded", "baseline_profile", 0, attempt, data))
    drafts.append(OpDraft("hotspots.ranked", "profile", data=hotspot_data(*(f"function_{n}" for n in range(8)))))
    drafts.append(OpDraft("floor.measured", "profile_candidate", data=floor_data(rng)))
    for number in range(1, ITERATIONS + 1):
        drafts += judged(artifacts, rng, number)
    drafts.append(OpDraft("run.closed", "export_dataset", data={"status": "succeeded", "reason": "done"}))
    Journal(repository).append(RunId(RUN), drafts)


def timed(project: Project, form: tuple[str, ...], into: Path) -> tuple[float, float]:
    """Return the CPU and wall seconds of one report, git's and Python's start included."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = project.hmopt("report", *form, "-o", str(into))
    after, took = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stderr)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, took


def main() -> int:
    """Measure, print, and return 1 when a budget is missed."""
    options = benchmark_parser(__doc__).parse_args()
    rounds = 3 if options.quick else 9
    with tempfile.TemporaryDirectory() as directory:
        project = make_project(Path(directory))
        record(project)
        into = Path(directory) / "report"
        rows = []
        for name, form in FORMS.items():
            # The first round reads everything from disk, and fills matplotlib's cache of fonts.
            times = [timed(project, form, into) for _ in range(rounds + 1)]
            cpu, wall = zip(*times[1:], strict=True)
            rows.append(Row(f"{name}, CPU time", round(statistics.median(cpu), 3), "s"))
            rows.append(Row(f"{name}, wall time", round(statistics.median(wall), 3), "s"))
            rows.append(Row(f"{name}, wall time of the first", round(times[0][1], 3), "s"))
            rows.append(Row(f"{name}, size", round(into.stat().st_size / 1e6, 3), "MB"))
    return told(NAME, rows, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
