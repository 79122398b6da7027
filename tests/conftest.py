# SPDX-License-Identifier: Apache-2.0
"""What every test may rely on, however the tests themselves were started."""

from __future__ import annotations

import signal

# A shell's background job ignores SIGINT, and children inherit that; the interrupt tests need what a terminal gives.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
