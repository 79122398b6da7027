# SPDX-License-Identifier: Apache-2.0
"""`python -m hmopt_bot.work.driven PARENT ARGUMENTS...`: `git hmopt ARGUMENTS`, ended when its worker is.

It is ended as by a closed terminal (SIGHUP): its builds go along, and the run stays open, to be gone on with. SIGTERM
would close the run as stopped, which only a person may want.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from git_hmopt.cli.main import main
from git_hmopt.process.sandbox import keep_private
from hmopt_bot.private import places
from hmopt_bot.work.parent import end_with

if __name__ == "__main__":
    # A server that was started with nohup must not make its runs deaf.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # The worker's Ctrl-C is the worker's: it ends us its own way.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(int(sys.argv[1]), signal.SIGHUP)
    # What a stranger's build reads it can print, and what it prints is told.
    keep_private(places(os.environ, Path.home()))
    sys.exit(main(sys.argv[2:]))
