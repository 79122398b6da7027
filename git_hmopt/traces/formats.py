# SPDX-License-Identifier: Apache-2.0
"""The formats that are bundled, in the order in which a capture is sniffed."""

from __future__ import annotations

from git_hmopt.traces import ftrace_text, systrace_html
from git_hmopt.traces.capture import Format

FORMATS: tuple[Format, ...] = (
    systrace_html.FORMAT,
    ftrace_text.FORMAT,
)
