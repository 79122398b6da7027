# SPDX-License-Identifier: Apache-2.0
"""`git hmopt` that is killed at an exact point: `python -m tests.loop.killed EVENT NODE ARGUMENTS...`.

EVENT is `start` (nothing of the node was done), `end` (all of it was done and nothing published), or text that the
node says while it works. The kill is SIGKILL for the whole process group, from inside, so no sleep can miss it.
"""

from __future__ import annotations

import os
import signal
import sys

from git_hmopt.cli.main import main
from git_hmopt.loop.log import RunLog


def _kill_at(event: str, node: str) -> None:
    said = RunLog.say

    def say(self: RunLog, text: str, **fields: str) -> None:
        said(self, text, **fields)
        if self.node == node and (fields.get("event") == event or ("event" not in fields and event in text)):
            os.killpg(os.getpgrp(), signal.SIGKILL)

    RunLog.say = say  # type: ignore[method-assign]


if __name__ == "__main__":
    _kill_at(sys.argv[1], sys.argv[2])
    sys.exit(main(sys.argv[3:]))
