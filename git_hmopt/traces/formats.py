# SPDX-License-Identifier: Apache-2.0
"""The formats that come with us, in the order in which they are tried: what has a magic first, plain text last."""

from __future__ import annotations

from git_hmopt.traces import ftrace_text, hitrace_raw, htrace, systrace_html, trace_cmd
from git_hmopt.traces.capture import Format

FORMATS: tuple[Format, ...] = (
    hitrace_raw.FORMAT,
    htrace.FORMAT,
    trace_cmd.FORMAT,
    systrace_html.FORMAT,
    ftrace_text.FORMAT,
)
