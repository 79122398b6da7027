# SPDX-License-Identifier: Apache-2.0
"""The formats that come with us, in the order in which they are tried: what is sure of itself comes first."""

from __future__ import annotations

from git_hmopt.traces import (
    callgrind,
    d3_json,
    flamegraph_svg,
    folded,
    ftrace_text,
    perf_script,
    self_counts,
    speedscope_json,
    symbols,
    systrace_html,
)
from git_hmopt.traces.capture import Format

FORMATS: tuple[Format, ...] = (
    self_counts.FORMAT,
    symbols.FORMAT,
    systrace_html.FORMAT,
    speedscope_json.FORMAT,
    flamegraph_svg.FORMAT,
    d3_json.FORMAT,
    callgrind.FORMAT,
    ftrace_text.FORMAT,
    perf_script.FORMAT,
    folded.FORMAT,
)
