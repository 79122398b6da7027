# SPDX-License-Identifier: Apache-2.0
"""The formats that come with us, in the order in which they are tried: what is sure of itself comes first."""

from __future__ import annotations

from git_hmopt.traces import (
    callgrind,
    d3_json,
    flamegraph_svg,
    folded,
    perf_script,
    self_counts,
    speedscope_json,
    symbols,
)
from git_hmopt.traces.capture import Format

FORMATS: tuple[Format, ...] = (
    self_counts.FORMAT,
    symbols.FORMAT,
    speedscope_json.FORMAT,
    flamegraph_svg.FORMAT,
    d3_json.FORMAT,
    callgrind.FORMAT,
    perf_script.FORMAT,
    folded.FORMAT,
)
