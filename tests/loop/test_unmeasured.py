# SPDX-License-Identifier: Apache-2.0
"""A candidate that passes every check and gives no readings ends its own iteration, not the run; refused runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.loop.patches import Candidate, write_patches
from tests.loop.project import Project
from tests.loop.recorded import recorded_run, run_names

_START = "	const unsigned char *p = start;\n"
# Outputs are compared after one repetition, measured are twenty: the window dies between.
DIES = Candidate(
    "dies",
    {"lib/scan.c": (_START, f"	static int calls;\n{_START}\n	if (calls++ > 40)\n		__builtin_trap();\n")},
    "",
)


def test_a_candidate_that_cannot_be_measured_is_one_verdict_and_the_run_goes_on(project: Project) -> None:
    later = Candidate("later", {"lib/scan.c": ("/* Finding bytes. */", "/* Finding one byte. */")}, "")
    write_patches(project, project.home / "patches", (DIES, later))
    done = project.hmopt(
        *("optimize", "--workload", "scan-blocks", "--seed", "7"),
        *("--proposer", f"patches:{project.home / 'patches'}"),
    )
    assert done.returncode == 1, done.stderr
    run = recorded_run(project)
    first, second = [one["evaluation"] for one in run.named("patch.judged")]
    assert (first["verdict"], first["accepted"]) == ("cannot-tell", False)
    assert first["reason"].startswith("It could not be measured: arm 'candidate': no blocks in two attempts: ")
    assert [check["name"] for check in first["checks"] if not check["passed"]] == ["measure"]
    assert second["verdict"] == "no-change"
    assert [one["status"] for one in run.named("run.closed")] == ["succeeded"]
    report = project.hmopt("report").stdout
    assert "Cannot tell: what was measured does not decide. It is not on best." in report


@pytest.mark.parametrize("wrong", [("--workload", "scam"), ("--workload", "scan", "--base", "main~9")])
def test_a_run_that_is_refused_leaves_no_copy_of_its_patches(
    project: Project, tmp_path: Path, wrong: tuple[str, ...]
) -> None:
    write_patches(project, tmp_path / "patches", (DIES,))
    done = project.hmopt("optimize", *wrong, "--proposer", f"patches:{tmp_path / 'patches'}")
    assert done.returncode in (128, 129)
    assert list(run_names(project)) == []
    assert list((project.root / ".git/hmopt").glob("runs/*")) == []
