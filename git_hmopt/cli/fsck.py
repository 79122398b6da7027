# SPDX-License-Identifier: Apache-2.0
"""Check all that is stored here: journals, records, artifacts, notes, branches, the derived database.

One line a fault: what, where, what is wrong, what to do. Exit code 0 when nothing is wrong, else 1. What is merely so,
as an artifact that is on another machine, is counted and no fault. --repair mends what is derived (the database is
rebuilt, leftovers are removed, damaged artifacts moved aside, lines of notes merged) and never touches a journal.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from git_hmopt.errors import ExitCode
from git_hmopt.store.faults import Findings
from git_hmopt.store.fsck import check, repair
from git_hmopt.store.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--repair", action="store_true", help="repair what is derived, and say what was done")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> ExitCode:
    """Check, repair where asked, and tell."""
    repository = Repository.open(Path())
    findings, done = check(repository), tuple[str, ...]()
    if options.repair and findings.faults:
        repaired = repair(repository, findings)
        findings, done = repaired.left, repaired.done
    print(json.dumps(_as_json(findings, done)) if options.json else "\n".join(_lines(findings, done)))
    return ExitCode.NO if findings.faults else ExitCode.OK


def _lines(findings: Findings, done: Sequence[str]) -> list[str]:
    looked_at = ", ".join(f"{count} {what}" for what, count in findings.looked_at.items()) or "nothing is stored here"
    states = [f"{count} {what}" for what, count in findings.states.items()]
    faults = len(findings.faults)
    verdict = f"{faults} fault{'s' if faults > 1 else ''}" if faults else "no fault"
    return [*done, *map(str, findings.faults), *states, f"{verdict}; looked at: {looked_at}"]


def _as_json(findings: Findings, done: Sequence[str]) -> dict[str, object]:
    faults = [
        {"what": one.what, "where": one.where, "wrong": one.wrong, "step": one.step, "repairable": bool(one.repair)}
        for one in findings.faults
    ]
    counts = {"looked_at": dict(findings.looked_at), "states": dict(findings.states)}
    return {"v": 1, "faults": faults, "repaired": list(done), **counts}
