# SPDX-License-Identifier: Apache-2.0
"""What runs retrieve: that one goes on where nothing can be looked for, and says so."""

from __future__ import annotations

import json

from tests.loop.project import Project
from tests.loop.recorded import recorded_run


def test_a_run_goes_on_where_no_index_can_be_kept(project: Project) -> None:
    # A directory where the lock should be: what a file system that is full or read-only does to it.
    (project.root / ".git/hmopt/search.lock").mkdir(parents=True)
    done = project.hmopt("optimize", "--workload", "scan-blocks", "--iterations", "1")
    assert done.returncode == 0, done.stderr
    run = recorded_run(project)
    said = [line for line in run.log() if "nothing alike was looked for: " in line.get("say", "")]
    assert said and all(line["node"] == "build_evidence_pack" for line in said)
    pack = json.loads(project.hmopt("evidence", run.name, "--json").stdout)
    assert pack["hotspots"]
    for one in pack["hotspots"]:
        # The pack is pushed: where the index would lie on this machine is nothing for it.
        assert one["retrieved"] == {
            "code": [], "runs": [], "fixes": [], "searched": "nothing: no search index can be kept",
        }  # fmt: skip
