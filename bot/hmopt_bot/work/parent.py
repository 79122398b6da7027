# SPDX-License-Identifier: Apache-2.0
"""Processes that do not outlive the one that started them, however it ended."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with(parent: int, number: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent, the process `parent`, ends (prctl(2)).

    The parent's thread that started us counts as the parent. One that is gone already is told the same way.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)
