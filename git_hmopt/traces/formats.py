# SPDX-License-Identifier: Apache-2.0
"""The formats that come with us, in the order in which they are tried."""

from __future__ import annotations

from git_hmopt.traces import hitrace_raw, htrace, trace_cmd
from git_hmopt.traces.capture import Format

FORMATS: tuple[Format, ...] = (
    hitrace_raw.FORMAT,
    htrace.FORMAT,
    trace_cmd.FORMAT,
)
