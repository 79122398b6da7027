# SPDX-License-Identifier: Apache-2.0
"""Forget closed runs: archive each, and record that it is expired; without --yes only say what would go.

A run that was archived is a bundle below .git/hmopt/archive; `git fetch FILE 'refs/*:refs/*'` has its refs back in
another repository. The record of the expiry travels with `git hmopt push`: a clone that still has the runs brings
nothing back. Runs with accepted patches stay unless --accepted says otherwise, and so does every run that is open or
checked out. With --remote the runs go from there, too. Where neither --run nor --older-than says what goes, it is what
others expired already and this clone (or REMOTE) still has.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from git_hmopt.cli.story import named_run
from git_hmopt.cli.travel import say
from git_hmopt.errors import ExitCode, UsageError
from git_hmopt.store.expire import Expiry, delete_there, expire, on_remote, planned, require_whole
from git_hmopt.store.remote import Remote
from git_hmopt.store.repository import Repository
from git_hmopt.store.transport import fetch

_DAYS = {"d": 1, "w": 7, "y": 365}
_AGE = re.compile(r"([0-9]{1,5})([dwy])")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--run", action="append", metavar="RUN", help="this run; can be given again")
    chosen.add_argument("--older-than", type=_age, metavar="AGE", help="runs created so long ago: 90d, 12w or 2y")
    parser.add_argument("--reason", metavar="TEXT", help="why, for those who look for the run later")
    parser.add_argument("--accepted", action="store_true", help="runs with accepted patches, too")
    parser.add_argument("--remote", metavar="REMOTE", help="delete what is expired from this remote, too")
    parser.add_argument("-y", "--yes", action="store_true", help="do it (default: only say what would go)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> ExitCode:
    """Say what goes, and have it gone where asked."""
    if options.reason is not None and not options.reason.strip():
        raise UsageError("--reason: it is empty", next_step="say why")
    repository = Repository.open(Path())
    remote = Remote.of(repository, options.remote, say=say) if options.remote else None
    require_whole(repository)
    if remote:
        fetch(repository, remote)
    runs = [named_run(repository, text) for text in options.run or ()]
    expiry = planned(repository, runs=runs, before=_before(options.older_than), accepted=options.accepted)
    if remote:
        on_remote(repository, remote, expiry)
    if options.yes:
        _announce(expiry, remote)
        expire(repository, expiry, options.reason or _reason(options.older_than))
        if remote:
            delete_there(repository, remote, expiry)
    return _told(expiry, remote, options)


def _age(text: str) -> timedelta:
    found = _AGE.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError(f"'{text}' is no age; 90d, 12w or 2y is")
    return timedelta(days=int(found[1]) * _DAYS[found[2]])


def _before(age: timedelta | None) -> str | None:
    try:
        return (datetime.now(UTC) - age).strftime("%Y-%m-%dT%H:%M:%SZ") if age is not None else None
    except OverflowError:
        return "0001-01-01T00:00:00Z"


def _reason(age: timedelta | None) -> str:
    return f"older than {age.days} days" if age is not None else "expired by hand"


def _announce(expiry: Expiry, remote: Remote | None) -> None:
    """Say what goes from a remote before it goes."""
    if remote:
        for _, ref, _ in expiry.there:
            print(f"git hmopt: deleting {ref} from {remote.name}", file=sys.stderr)


def _told(expiry: Expiry, remote: Remote | None, options: argparse.Namespace) -> ExitCode:
    if options.json:
        print(json.dumps(_as_json(expiry, remote, done=options.yes)))
        return ExitCode.OK
    print("\n".join(_lines(expiry, remote, done=options.yes)))
    for name, why in expiry.stays.items():
        print(f"git hmopt: note: run {name} stays: {why}", file=sys.stderr)
    return ExitCode.OK


def _lines(expiry: Expiry, remote: Remote | None, *, done: bool) -> Iterator[str]:
    verb = "expired" if done else "would expire"
    for one in expiry.runs:
        yield f"{verb} run {one.run} ({one.status}, {one.accepted} accepted, {len(one.refs)} refs)"
    for path in expiry.archives:
        yield f"archived in {path}"
    if remote and expiry.there:
        yield f"{'deleted' if done else 'would delete'} {len(expiry.there)} refs from {remote.name}"
        if not done:
            yield from (f"  {ref}" for _, ref, _ in expiry.there)
    if not expiry:
        yield "nothing to expire"
    elif not done:
        yield "do it: --yes"
    elif expiry.runs and not remote:
        yield "others see it after: git hmopt push"


def _as_json(expiry: Expiry, remote: Remote | None, *, done: bool) -> dict[str, object]:
    return {
        "v": 1,
        "done": done,
        "runs": [
            {"run": one.run, "status": one.status, "accepted": one.accepted, "refs": dict(one.refs)}
            for one in expiry.runs
        ],
        "stays": dict(expiry.stays),
        "archives": [str(path) for path in expiry.archives],
        "remote": remote.name if remote else None,
        "refs_there": [ref for _, ref, _ in expiry.there],
    }
