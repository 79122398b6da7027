# SPDX-License-Identifier: Apache-2.0
"""What every test may rely on, however the tests themselves were started."""

from __future__ import annotations

import signal

# A shell's background job ignores SIGINT, and what nohup starts SIGHUP; children inherit that, and the tests that send
# them need what a terminal gives.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)
