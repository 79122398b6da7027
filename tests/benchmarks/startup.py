# SPDX-License-Identifier: Apache-2.0
"""What it costs to start the tool: commands against an empty `python -c ''`, interleaved in one run.

`python tests/benchmarks/startup.py [--quick] [--json]`; exits 1 when a budget is missed. A ratio is that of the medians
of wall times, each over as many starts.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from tests.benchmarks.table import Row, benchmark_parser, told  # noqa: E402 - the path above makes it importable
from tests.loop.project import Project, make_project  # noqa: E402

NAME = "startup"
EMPTY = "python -c ''"
TOOL = str(Path(sys.executable).with_name("git-hmopt"))
COMMANDS: Mapping[str, Sequence[str]] = {
    EMPTY: [sys.executable, "-c", ""],
    "git-hmopt --version": [TOOL, "--version"],
    "git-hmopt list": [TOOL, "list"],
    "git-hmopt show": [TOOL, "show"],
    "git-hmopt -h": [TOOL, "-h"],
    "git-hmopt optimize -h": [TOOL, "optimize", "-h"],
}


def measured(project: Project, rounds: int) -> dict[str, list[float]]:
    """Return the wall seconds of each command's starts, one of every command a round."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds + 1):
        for name, argv in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run(argv, cwd=project.root, env=project.environment, capture_output=True, check=True)
            seconds[name].append(time.perf_counter() - began)
    # The first round reads everything from disk.
    return {name: found[1:] for name, found in seconds.items()}


def main() -> int:
    """Measure, print, and return 1 when a budget is missed."""
    options = benchmark_parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="hmopt-benchmark-") as scratch:
        project = make_project(Path(scratch))
        # A small repository: one run in it.
        made = project.hmopt("optimize", "--workload", "scan-blocks", "--iterations", "0", "--seed", "7")
        if made.returncode != 1:
            raise SystemExit(f"the run failed: {made.stderr}")
        seconds = measured(project, 9 if options.quick else 41)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    rows = [Row(EMPTY, round(1000 * medians[EMPTY], 2), "ms")]
    rows += [Row(name, round(medians[name] / medians[EMPTY], 2), "x") for name in COMMANDS if name != EMPTY]
    return told(NAME, rows, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
