# SPDX-License-Identifier: Apache-2.0
"""The formats that this package reads, in the order in which a capture's head is shown to them."""

from __future__ import annotations

from git_hmopt.traces import frame_timeline, kernel_log, proc_snapshot
from git_hmopt.traces.capture import Format

FORMATS: tuple[Format, ...] = (kernel_log.FORMAT, proc_snapshot.FORMAT, frame_timeline.FORMAT)
