# SPDX-License-Identifier: Apache-2.0
"""The kernel's own patch checker on a candidate, run from the reference tree, whose scripts no patch may touch."""

from __future__ import annotations

import shutil

from git_hmopt.loop.bench import Arm, Bench
from git_hmopt.process.runner import Limits, run
from git_hmopt.process.sandbox import Sandbox
from git_hmopt.records.words import Oid

# A candidate is never signed off by a tool (Documentation/process/coding-assistants.rst), and has no mail around it.
_IGNORED = "MISSING_SIGN_OFF,NO_AUTHOR_SIGN_OFF,FILE_PATH_CHANGES,COMMIT_LOG_LONG_LINE,BAD_SIGN_OFF"


def complaints(bench: Bench, best: Oid, candidate: Oid) -> list[str] | None:
    """Return checkpatch's errors and warnings, or None where it is not configured or cannot run."""
    script = bench.config.policy.checkpatch
    if script is None:
        return None
    root = bench.trees[Arm.REFERENCE].root
    if shutil.which("perl") is None or not (root / script).is_file():
        bench.log.say(f"checkpatch is not run: perl or {script} is missing", event="note")
        return None
    patch = bench.logs / f"candidate-{bench.log.iteration:04d}.diff"
    patch.parent.mkdir(parents=True, exist_ok=True)
    patch.write_bytes(bench.repository.diff(best, candidate))
    said = run(
        ["perl", script, "--root=.", "--no-signoff", "--terse", "--no-summary", f"--ignore={_IGNORED}", str(patch)],
        cwd=root,
        limits=Limits(wall_s=120),
        sandbox=Sandbox(writable=(), readable=(patch,)) if bench.plan.sandboxed else None,
    )
    lines = said.output.decode(errors="replace").splitlines()
    found = [line.partition(": ")[2] or line for line in lines if ": ERROR: " in line or ": WARNING: " in line]
    if not found and not said.ok:
        # It answers 1 when it complains; an answer of 1 without a complaint is a script that broke down.
        last = f": {lines[-1]}" if lines else ""
        bench.log.say(f"checkpatch did not work and is left out (exit code {said.returncode}){last}", event="note")
        return None
    return found
