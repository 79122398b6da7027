# SPDX-License-Identifier: Apache-2.0
"""`python -I -m hmopt_bot.action STEP`: one step, with its inputs in the environment.

Isolated, since the working directory is a stranger's: without `-I` Python would import modules from it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from git_hmopt.errors import ExitCode, HmoptError
from hmopt_bot.action.runner import Level, annotate
from hmopt_bot.action.steps import answer, fetch, push


def _check(environment: Mapping[str, str]) -> int:
    # It alone needs what is slow to load.
    from hmopt_bot.action.check import check

    return check(environment)


_STEPS = {"fetch": fetch, "check": _check, "push": push, "answer": answer}


def main(arguments: list[str]) -> int:
    """Run a step; what is wrong is said once, where the job's page shows it."""
    if len(arguments) != 1 or arguments[0] not in _STEPS:
        print(f"usage: python -I -m hmopt_bot.action {'|'.join(_STEPS)}", file=sys.stderr)
        return int(ExitCode.USAGE)
    try:
        return _STEPS[arguments[0]](os.environ)
    except HmoptError as error:
        annotate(Level.ERROR, str(error))
        # 1 and 125 are answers of a check.
        return int(ExitCode.ENVIRONMENT)


if __name__ == "__main__":
    # One stream, so that nothing overtakes the words between which the runner obeys no line (`runner.unheard`).
    os.dup2(1, 2)
    sys.exit(main(sys.argv[1:]))
