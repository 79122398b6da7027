# SPDX-License-Identifier: Apache-2.0
"""The formats that come with us, in the order in which they are tried: what has a magic first, plain text last."""

from __future__ import annotations

from git_hmopt.traces import (
    callgrind,
    d3_json,
    flamegraph_svg,
    folded,
    frame_timeline,
    ftrace_text,
    gecko_json,
    hiperf_proto,
    hiperf_report,
    hitrace_raw,
    htrace,
    kernel_log,
    perf_data,
    perf_script,
    perf_stat,
    pprof,
    proc_snapshot,
    self_counts,
    speedscope_json,
    symbols,
    systrace_html,
    trace_cmd,
)
from git_hmopt.traces.capture import Format

FORMATS: tuple[Format, ...] = (
    perf_data.FORMAT,
    hitrace_raw.FORMAT,
    htrace.FORMAT,
    trace_cmd.FORMAT,
    hiperf_proto.FORMAT,
    self_counts.FORMAT,
    symbols.FORMAT,
    pprof.FORMAT,
    hiperf_report.FORMAT,
    speedscope_json.FORMAT,
    gecko_json.FORMAT,
    flamegraph_svg.FORMAT,
    d3_json.FORMAT,
    systrace_html.FORMAT,
    perf_stat.FORMAT,
    callgrind.FORMAT,
    ftrace_text.FORMAT,
    kernel_log.FORMAT,
    proc_snapshot.FORMAT,
    frame_timeline.FORMAT,
    perf_script.FORMAT,
    folded.FORMAT,
)
