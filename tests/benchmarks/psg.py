# SPDX-License-Identifier: Apache-2.0
"""The structure graph of a real kernel: its cost against plain parsing and clangd's index, its edges against a plain
walk's.

`python tests/benchmarks/psg.py --tree T [--build B] [--quick] [--json]`; exits 1 when a budget is missed. T is a Linux
source tree that was built with kbuild in B (default: T/build-uml, else T). CPU seconds include all child processes.
`x` is a ratio to plain libclang parsing of the same units in the same run. Files beside the C (Kconfig, Makefiles,
MAINTAINERS) are read once a tree, whatever number of units is parsed, and have a row of their own.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]


def main() -> int:
    """Measure, print, and return 1 when a budget is missed."""
    # The parsers' processes import this file: what they do not need is imported here.
    from tests.benchmarks.psg_measures import NAME, rows
    from tests.benchmarks.table import benchmark_parser, told

    parser = benchmark_parser(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--tree", type=Path, required=True, metavar="T", help="a Linux source tree")
    parser.add_argument("--build", type=Path, metavar="B", help="where it was built (default: T/build-uml, else T)")
    options = parser.parse_args()
    root = options.tree.resolve()
    build = options.build or (root / "build-uml" if (root / "build-uml").is_dir() else root)
    return told(NAME, rows(root, build.resolve(), quick=options.quick), as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
