# SPDX-License-Identifier: Apache-2.0
"""Every format of this room, in the order in which a file is asked whether it is one."""

from __future__ import annotations

from git_hmopt.traces import callgrind, folded, hiperf_report, perf_data, perf_script, perf_stat, self_counts, symbols
from git_hmopt.traces.capture import Format

FORMATS: tuple[Format, ...] = (
    perf_data.FORMAT,
    self_counts.FORMAT,
    symbols.FORMAT,
    hiperf_report.FORMAT,
    perf_stat.FORMAT,
    callgrind.FORMAT,
    perf_script.FORMAT,
    folded.FORMAT,
)
