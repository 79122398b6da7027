# SPDX-License-Identifier: Apache-2.0
"""What every test may rely on, however the tests themselves were started."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# Machines are shared: an example that takes a second says nothing about the code.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")

# A shell's background job ignores SIGINT, and what nohup starts SIGHUP; children inherit that, and the tests that send
# them need what a terminal gives.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)
