# SPDX-License-Identifier: Apache-2.0
"""What an evidence pack of 5 hotspots costs after the analysis of a kernel-sized run, and what a prompt of it costs.

`python tests/benchmarks/evidence.py [--quick] [--json]`; exits 1 when a budget is missed. Tree and captures are made:
files of 1,000 lines, a structure graph of thousands of functions by our own builder, a call graph with thousands of
edges, lines counted in every function, the symbols of a whole vmlinux, 20 attempts a hotspot, 400 KPIs, and 300 earlier
runs (100 when quick) that the search index knows. Analysed is what is ranked and parsed. Times are CPU time of this
process, medians, the first round left out; every round begins with a fresh profile.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]


def main() -> int:
    """Measure, print, and return 1 when a budget is missed."""
    # The parsers' processes import this file: what they do not need is imported here.
    from tests.benchmarks.evidence_measures import FULL, NAME, QUICK, rows
    from tests.benchmarks.table import benchmark_parser, told

    options = benchmark_parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="hmopt-benchmark-") as scratch:
        return told(NAME, rows(Path(scratch), QUICK if options.quick else FULL), as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
