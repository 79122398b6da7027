# SPDX-License-Identifier: Apache-2.0
"""`git hmopt log` and `reattach` over what a real run noted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.cli.conftest import TwoRuns
from tests.loop.project import Project


def test_best_of_a_real_run_along_its_branch_and_after_a_rebase(two_runs: TwoRuns, tmp_path: Path) -> None:
    shutil.copytree(two_runs.project.root, tmp_path / "project", symlinks=True)
    project = Project(tmp_path / "project", two_runs.project.home)
    best = f"hmopt/{two_runs.first}/best"
    accepted_on = project.git("rev-parse", "main")
    accepted = project.git("rev-list", "--reverse", f"main..{best}").split()
    told = json.loads(project.hmopt("log", "--json", "--metric", "blocks", best).stdout)
    (series,) = told["series"]
    assert (series["workload"], told["elsewhere"]) == ("scan-blocks", [])
    assert [point["commit"]["oid"] for point in series["points"]] == [accepted_on, *accepted]
    values = [float(point["number"]["metric"]["value"]) for point in series["points"]]
    assert values == sorted(values, reverse=True) and values[-1] < values[0]

    project.git("checkout", "-q", "main")
    project.write("README", "others' work\n")
    project.commit("others' work")
    project.git("checkout", "-q", "-b", "topic", best)
    project.git("rebase", "-q", "main")
    found = json.loads(project.hmopt("reattach", "--json", "main..topic").stdout)["commits"]
    # The second run found one of the patches again, and is evidence as well.
    evidence = [[each for each in one["evidence"] if each["run"] == two_runs.first] for one in found]
    assert [[each["commit"] for each in of_one] for of_one in evidence] == [[one] for one in accepted[::-1]]
    assert all(of_one[0]["verdict"]["evaluation"]["accepted"] for of_one in evidence)
    project.git("checkout", "-q", "main")
    project.git("merge", "-q", "--squash", best)
    squash = project.commit("all of the run at once")
    (found,) = json.loads(project.hmopt("reattach", "--json").stdout)["commits"]
    (evidence,) = [one for one in found["evidence"] if one["run"] == two_runs.first]
    assert (found["commit"]["oid"], evidence["commit"]) == (squash, accepted[-1])
    assert evidence["patches"] == len(accepted)
    (reading,) = (one for one in evidence["readings"] if one["number"]["metric"]["name"] == "blocks")
    assert float(reading["number"]["metric"]["value"]) == values[-1]
    # Not the latest number of the base, which is the second run's with another seed.
    assert (reading["beside"]["run"], reading["beside"]["metric"]["commit"]) == (two_runs.first, accepted_on)
