# SPDX-License-Identifier: Apache-2.0
"""The steps around the check: fetch before it, push and answer after it."""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from git_hmopt.errors import ExitCode, UsageError
from git_hmopt.store.repository import Repository
from hmopt_bot.action.asking import asked
from hmopt_bot.action.commits import Finder
from hmopt_bot.action.job import Job, answered, fails_undecided, job_of, switched_on, wanted
from hmopt_bot.action.runner import Level, annotate, put_out, unheard


def fetch(environment: Mapping[str, str]) -> int:
    """Find the commits, have them here, and put them out: `base` and `trusted`."""
    job = job_of(environment)
    # What can be wrong with the inputs is said before an hour of measuring, not after it.
    wanted(environment)
    fails_undecided(environment)
    switched_on(environment, "upload-notes")
    with _signed_in(environment, job):
        finder = Finder(Repository.open(Path()), _remote(environment))
        found = finder.commits(environment.get("INPUT_BASE", "").strip(), job.pull_request)
    put_out("base", found.base)
    put_out("trusted", found.trusted)
    return 0


def push(environment: Mapping[str, str]) -> int:
    """Send the runs and notes that the job has to the remote, where that is wanted and the code is no stranger's."""
    if not switched_on(environment, "upload-notes"):
        return 0
    job = job_of(environment)
    if job.from_fork:
        annotate(Level.WARNING, "nothing is pushed for a fork's pull request: its code may have written the notes")
        return 0
    with _signed_in(environment, job):
        done = asked(["push", _remote(environment)])
    with unheard():
        print(done.output, end="")
    if done.code:
        annotate(Level.ERROR, done.complaint)
    return done.code


def answer(environment: Mapping[str, str]) -> int:
    """End as the check answered: 1 fails, 125 only where that is wanted."""
    code = answered(environment)
    if code == ExitCode.CANNOT_TEST and not fails_undecided(environment):
        annotate(Level.WARNING, "the check cannot tell; the job goes on (input 'undecided: fail' has it fail)")
        return 0
    return code


def _remote(environment: Mapping[str, str]) -> str:
    name = environment.get("INPUT_REMOTE", "").strip() or "origin"
    if name.startswith("-"):
        raise UsageError(f"input 'remote': '{name[:80]}' is no remote")
    return name


@contextlib.contextmanager
def _signed_in(environment: Mapping[str, str], job: Job) -> Iterator[None]:
    """Have git show the job's token to the forge's server, and to no other; it is in no file and no argument.

    In the form of actions/checkout; its own header, if it left one, is forgotten first: GitHub refuses two.
    """
    token = environment.get("INPUT_TOKEN", "")
    if not token:
        yield
        return
    key = f"http.{job.server}/.extraheader"
    basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    before = os.environ.copy()
    count = int(before.get("GIT_CONFIG_COUNT") or 0)
    values = ["", f"AUTHORIZATION: basic {basic}"]
    for number, value in enumerate(values, start=count):
        os.environ |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    os.environ["GIT_CONFIG_COUNT"] = str(count + len(values))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
