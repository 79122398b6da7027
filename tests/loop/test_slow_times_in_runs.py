# SPDX-License-Identifier: Apache-2.0
"""A trace that is ingested while a run is open: its slow times are in the packs that come after."""

from __future__ import annotations

import json
from pathlib import Path

from tests.loop.conftest import SEED
from tests.loop.project import Project
from tests.loop.recorded import recorded_run
from tests.loop.test_kill import killed
from tests.runtime.test_activity import slow_wakeup


def test_slow_times_are_in_the_next_pack(project: Project, tmp_path: Path) -> None:
    start = ("optimize", "--workload", "scan-blocks", "--seed", SEED, "--iterations", "1")
    killed(project, "start", "build_evidence_pack", *start)
    run = recorded_run(project)
    trace = tmp_path / "slow.ftrace"
    trace.write_text("\n".join(slow_wakeup().lines) + "\n")
    said = project.hmopt("ingest", "artifacts", "--run", run.name, str(trace))
    assert said.returncode == 0, said.stderr
    assert project.hmopt("resume", run.name).returncode in (0, 1)
    pack = json.loads(project.hmopt("evidence", run.name, "--iteration", "1", "--json").stdout)
    assert [one["what"] for one in pack["windows"][0]["windows"]] == [
        "t 5-5 waited 6 ms for a CPU after it was woken",
        "t 9-9 waited 3 ms for a CPU after it was woken",
        "t 8-8 waited 1 ms for a CPU after it was switched out",
    ]
    shown = project.hmopt("evidence", run.name, "--iteration", "1").stdout
    assert "# system: when it was slow, and what hot functions share" in shown
    assert "0.002000 [000] 8 sched_wakeup: comm=t 5 pid=5" in shown
