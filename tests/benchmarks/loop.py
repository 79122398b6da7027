# SPDX-License-Identifier: Apache-2.0
"""What a whole run in the small C project costs: the share of each node, and the tool's own CPU per iteration.

`python tests/benchmarks/loop.py [--quick] [--json]`; exits 1 when a budget is missed. Own CPU is this process's, its
children excluded, journal and checkpoints included: from one iteration's evidence pack to the next one's. It is
measured with the default plan of 12 layouts x 10 boots, and with 4 x 3 when quick. The first run in a repository
measures the noise floor as well, which later ones on the same base find; its iteration is shown and has no budget.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from tests.benchmarks.table import Row, benchmark_parser, told  # noqa: E402 - the path above makes it importable
from tests.loop.project import Project, configuration, make_project  # noqa: E402 - the path above makes it importable

NAME = "loop"
FIRST = "build_evidence_pack"
"""The node that an iteration begins with."""
TRIED_S = 0.1
"""Less own CPU than a candidate's commit and build cost: nothing was tried."""


@dataclass(frozen=True)
class Mark:
    """A line of the run's log, and what the process had used when it was written."""

    node: str
    event: str
    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Run:
    """One run of the loop."""

    marks: Sequence[Mark]
    accepted: int

    def iterations(self) -> list[float]:
        """Return the own CPU seconds of each iteration that tried something."""
        # After the last pack nothing is tried: the proposer ends, or the budget does.
        packs = [mark.cpu_s for mark in self.marks if mark.node == FIRST and mark.event == "start"]
        ends = [mark.cpu_s for mark in self.marks if mark.node == "generate_report" and mark.event == "start"]
        return [later - earlier for earlier, later in itertools.pairwise([*packs, *ends]) if later - earlier > TRIED_S]


def drive(directory: Path, iterations: int) -> None:
    """Run the loop in this process, and print the marks as JSON: the process that is measured."""
    from git_hmopt.loop.configuration import ready
    from git_hmopt.loop.drive import Request, start
    from git_hmopt.store.repository import Repository

    marks: list[Mark] = []

    def listen(line: dict[str, str]) -> None:
        if line.get("event") in ("start", "end"):
            marks.append(Mark(line["node"], line["event"], time.monotonic(), time.process_time()))

    repository = Repository.open(directory)
    prepared = ready(repository, base="HEAD", allow_dirty=False)
    request = Request(workload="scan", seed=7, iterations=iterations)
    started = Mark("", "start", time.monotonic(), time.process_time())
    story = start(repository, prepared.loaded, prepared.raw, request, local_root=directory, listener=listen)
    ended = Mark("", "end", time.monotonic(), time.process_time())
    answer = {"marks": [asdict(mark) for mark in (started, *marks, ended)], "accepted": len(story.accepted)}
    print(json.dumps(answer))


def measured(*, quick: bool) -> tuple[Run, Run]:
    """Return the first run in a fresh project, of one iteration, and a second one."""
    with tempfile.TemporaryDirectory(prefix="hmopt-benchmark-") as scratch:
        project = make_project(Path(scratch))
        document = configuration()
        document["measure"] = {"layouts": 4, "boots": 3, "null_patches": 1} if quick else {}
        document["budget"]["wall_s"] = 3600
        project.write(".hmopt.yaml", yaml.safe_dump(document, sort_keys=False))
        project.commit("plan")
        assert project.hmopt("trust").returncode == 0
        return _run(project, 1), _run(project, 1 if quick else 6)


def _run(project: Project, iterations: int) -> Run:
    done = subprocess.run(
        [sys.executable, __file__, "--drive", str(project.root), "--iterations", str(iterations)],
        cwd=project.root, env=project.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"the run failed: {done.stderr}")
    answer = json.loads(done.stdout.splitlines()[-1])
    return Run([Mark(**mark) for mark in answer["marks"]], answer["accepted"])


def shares(marks: Sequence[Mark]) -> list[Row]:
    """Return each node's share of the wall time, dearest first, and that of what lies between the nodes."""
    whole = marks[-1].wall_s - marks[0].wall_s
    spent: dict[str, float] = {}
    for begin, end in itertools.pairwise(marks):
        name = begin.node if begin.event == "start" and begin.node else "between the nodes"
        spent[name] = spent.get(name, 0.0) + end.wall_s - begin.wall_s
    ranked = sorted(spent.items(), key=lambda pair: -pair[1])
    return [Row(f"share of {name}", round(100 * seconds / whole, 2), "%") for name, seconds in ranked]


def rows(first: Run, run: Run) -> list[Row]:
    """Return the table."""
    own, marks = run.iterations(), run.marks
    pack = next(mark for mark in marks if mark.node == FIRST)
    return [
        Row("own CPU of the dearest iteration", round(max(own), 3), "s"),
        Row("own CPU of the cheapest iteration", round(min(own), 3), "s"),
        Row("own CPU of a first iteration, with the floor", round(max(first.iterations()), 3), "s"),
        Row("own CPU before the first iteration", round(pack.cpu_s - marks[0].cpu_s, 3), "s"),
        Row("own CPU of the start (imports)", round(marks[0].cpu_s, 3), "s"),
        Row("own CPU of the run", round(marks[-1].cpu_s, 3), "s"),
        Row("wall time of the run", round(marks[-1].wall_s - marks[0].wall_s, 2), "s"),
        Row("iterations", len(own), "1"),
        Row("accepted", run.accepted, "1"),
        *shares(marks),
    ]


def main() -> int:
    """Measure, print, and return 1 when a budget is missed."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--iterations", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        drive(options.drive, options.iterations)
        return 0
    return told(NAME, rows(*measured(quick=options.quick)), as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
