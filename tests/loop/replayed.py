# SPDX-License-Identifier: Apache-2.0
"""A project on the replay adapters: nothing of it is compiled or run, so that a run of many candidates takes seconds.

What a candidate's build, tests, outputs and times are is recorded, and chosen by what the candidate calls the pointer
of `scan_byte`. The source is real and is parsed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.loop.project import BENCH, HEADERS, MAKEFILE, OVERLAY, SCAN, UNIT, Project, crc_source, make_project

GAINS = tuple(f"gain_{number}" for number in range(1, 13))
"""Names of the pointer, each of which is faster than the one before."""
_TESTS = [{"name": "finds"}, {"name": "misses"}]
_BASE: Mapping[str, Any] = {
    "compile": {"sources": ["lib/*.c"], "flags": ["-Iinclude"]},
    "text_bytes": 1000,
    "tests": _TESTS,
    "outputs": "one",
    "readings": {"time": [100.0, 100.5, 99.5]},
    "captures": {"folded": "folded.txt", "symbols": "symbols.txt", "self-counts": "counts.txt"},
    "root": "bench_window",
}
# The other names.
_OTHERWISE: Mapping[str, Mapping[str, Any]] = {
    "broken": {"failure": "lib/scan.c: undefined reference to 'broken'"},
    "warning": {"warnings": ["lib/scan.c: unused variable 'warning'"]},
    "wrong": {"outputs": "another"},
    "failing": {"tests": [{"name": "finds", "status": "failed", "detail": "got 3"}, {"name": "misses"}]},
    "slower": {"readings": {"time": [140.0, 140.5, 139.5]}},
    "same": {"readings": {"time": [100.1, 99.4, 100.6]}},
    "faster": {"readings": {"time": [70.0, 70.5, 69.5]}, "text_bytes": 1040},
    "fastest": {"readings": {"time": [50.0, 50.5, 49.5]}, "text_bytes": 1100},
}
_GAINS = {
    name: {"readings": {"time": [round(100 * 0.85**number + jitter, 3) for jitter in (-0.01, 0, 0.01)]}}
    for number, name in enumerate(GAINS, 1)
}
_CAPTURES = {
    "folded.txt": "main;bench_window;scan_byte 60\nmain;bench_window;crc32c_update 35\nmain;bench_window 5\n",
    "symbols.txt": "hmopt-symbols 1\nscan_byte\tlib/scan.c\t7\ncrc32c_update\tlib/crc.c\t53\n",
    "counts.txt": "hmopt-self-counts 1\nscan_byte\tlib/scan.c\t11\t6000\t6000\n",
}


_STRATEGY = {
    "name": "one-pointer",
    "bottleneck": "cpu-bound-loop",
    "what_to_try": "Walk with one pointer.",
    "preconditions": ["The loop counts beside its pointer."],
    "risks": ["None that a test would miss."],
    "example": "-\tp++, n--;\n+\tp++;\n",
    "source": "this project",
}
STRATEGIES = ("one-pointer", "own-idea", "wider-steps", "invariant-out-of-the-loop", "better-algorithm")
"""What is offered against its bottleneck."""
LINK = "include/linux/alias.h"
"""A symbolic link to a header; `sources` is one to a directory."""


def _recording() -> str:
    cases = [
        {"name": fate, "when": {"file": "lib/scan.c", "contains": f"*{fate} = start;"}, **_BASE, **otherwise}
        for fate, otherwise in {**_OTHERWISE, **_GAINS}.items()
    ]
    # What the noise floor is measured with: the base with some bytes that never run.
    null = {"name": "null", "when": {"file": "lib/scan.c", "contains": ".pushsection"}, **_BASE}
    return yaml.safe_dump({"v": 1, "cases": [null, *cases, {"name": "base", **_BASE}]}, sort_keys=False)


def _configuration() -> dict[str, Any]:
    replay = {"adapter": "replay", "build": "recorded"}
    return {
        "version": 1,
        "builds": {"recorded": {"adapter": "replay", "directory": "recorded"}},
        "tests": {"recorded": replay},
        "workloads": {
            "scan": {
                "description": "the places of the zero bytes of a buffer",
                "overlays": ["./bench"],
                "inputs": {"size": 4096, "check_sizes": [65], "check_offsets": [1]},
                "measure": {"time": {**replay, "metrics": {"time": "time"}}},
                "profile": {"stacks": replay},
            },
        },
        "policy": {"max_lines": 60, "max_files": 2},
        "strategies": [_STRATEGY],
        "measure": {"layouts": 4, "boots": 3, "null_patches": 1},
        "budget": {"iterations": 64, "regressions": 64, "no_gain": 64, "wall_s": 300},
    }


def replayed_project(directory: Path) -> Project:
    """Make a trusted project of one commit."""
    contents = {
        **{f"include/{name}": text for name, text in HEADERS.items()},
        "lib/crc.c": crc_source(),
        "lib/scan.c": SCAN,
        "bench/main.c": BENCH,
        "bench/overlay.yaml": OVERLAY,
        "test/unit.c": UNIT,
        "Makefile": MAKEFILE,
        "lib/Makefile": "obj-y := crc.o scan.o\n",
        **{f"recorded/{name}": text for name, text in _CAPTURES.items()},
        "recorded/replay.yaml": _recording(),
        ".hmopt.yaml": yaml.safe_dump(_configuration(), sort_keys=False),
    }
    project = make_project(directory, contents=contents)
    (project.root / LINK).symlink_to("scan.h")
    (project.root / "sources").symlink_to("lib")
    project.commit("links")
    return project


def scan_byte(pointer: str, *, before: str = "", lines: int = 0) -> str:
    """Return a `scan_byte` that does what the project's does; its pointer's name is its fate.

    `before` stands before its loop; `lines` statements that do nothing come on top.
    """
    more = "".join(f"\tn += 0 * {number};\n" for number in range(lines))
    return f"""const void *scan_byte(const void *start, int c, size_t n)
{{
	const unsigned char *{pointer} = start;

{before}{more}	for (; n; n--, {pointer}++)
		if (*{pointer} == (unsigned char)c)
			return {pointer};
	return NULL;
}}
"""
