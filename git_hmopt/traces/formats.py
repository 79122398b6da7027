# SPDX-License-Identifier: Apache-2.0
"""Every format of this room, in the order in which a file is asked whether it is one."""

from __future__ import annotations

from git_hmopt.traces import hiperf_report, perf_data
from git_hmopt.traces.capture import Format

FORMATS: tuple[Format, ...] = (perf_data.FORMAT, hiperf_report.FORMAT)
