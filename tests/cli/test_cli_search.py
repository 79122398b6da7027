# SPDX-License-Identifier: Apache-2.0
"""`git hmopt search` as a person and a script call it: what is printed, where, and the exit code."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import TwoRuns
from tests.loop.project import Project
from tests.loop.recorded import Recorded


def test_what_is_found_is_printed_a_line_each(project: Project) -> None:
    project.write(
        "lib/order.c", "/**\n * put_in_order - sort an array of elements\n */\nvoid put_in_order(void)\n{\n}\n"
    )
    project.commit("order")
    done = project.hmopt("search", "sorted arrays", "--in", "code", "-n", "1")
    assert (done.returncode, done.stdout) == (0, "lib/order.c:4: put_in_order - sort an array of elements\n")
    assert done.stderr == ""


def test_json_has_the_hits_and_what_was_indexed(with_run: Project) -> None:
    done = with_run.hmopt("search", "crc of a buffer", "--json", "-n", "2")
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert (answer["v"], answer["text"], answer["commit"]) == (1, "crc of a buffer", with_run.git("rev-parse", "HEAD"))
    assert 1 <= len(answer["code"]) <= 2
    assert set(answer["code"][0]) == {"file", "symbol", "first_line", "last_line", "summary"}
    assert (answer["fixes"], answer["index"]["dimension"], answer["index"]["without_vectors"]) == ([], 1024, None)
    again = json.loads(with_run.hmopt("search", "crc of a buffer", "--json", "-n", "2").stdout)
    assert again["index"]["embedded"] == {"code": 0, "traces": 0, "fixes": 0}
    assert again["code"] == answer["code"]


def test_a_run_is_found_by_its_bottleneck_and_a_fix_by_its_verdict(with_run: Project) -> None:
    done = with_run.hmopt("search", "bottleneck of scan-blocks", "--in", "traces", "--json")
    (trace,) = json.loads(done.stdout)["traces"]
    assert trace["workload"] == "scan-blocks"
    assert trace["symbols"]


def test_nothing_found_is_no(project: Project) -> None:
    done = project.hmopt("search", "the of and")
    assert (done.returncode, done.stdout, done.stderr) == (1, "nothing was found\n", "")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("x", "../elsewhere"), "'../elsewhere' is outside the repository"),
        (("x", "/etc"), "'/etc' is outside the repository"),
        (("x", "nowhere.c"), "'nowhere.c' is not in"),
        (("x", "lib", "--in", "fixes"), "paths are of code, not of fixes"),
        (("x", "-n", "0"), "must be at least 1"),
        (("x", "--in", "mail"), "invalid choice: 'mail'"),
        ((), "the following arguments are required"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(
    untouched: Project, arguments: tuple[str, ...], complaint: str
) -> None:
    done = untouched.hmopt("search", *arguments)
    assert (done.returncode, done.stdout) == (129, "")
    assert complaint in done.stderr and done.stderr.count("\n") == 1


def test_an_unknown_commit_is_named(untouched: Project) -> None:
    done = untouched.hmopt("search", "x", "--rev", "nowhere")
    assert done.returncode == 128
    assert "'nowhere' is not in this repository" in done.stderr


def test_paths_are_those_of_the_current_directory(project: Project) -> None:
    project.write("lib/deep/order.c", "void put_in_order(void)\n{\n}\n")
    project.commit("order")
    done = project.hmopt("-C", "lib", "search", "order", "deep")
    assert (done.returncode, done.stdout) == (0, "lib/deep/order.c:1: put_in_order\n")
    assert project.hmopt("-C", "lib", "search", "order", "..").stdout.startswith("lib/deep/order.c:1:")


def test_a_change_is_told_with_its_commit_and_what_was_measured(two_runs: TwoRuns) -> None:
    project, run = two_runs.project, two_runs.first
    found = json.loads(project.hmopt("search", "scan_byte", "--in", "fixes", "--json").stdout)["fixes"]
    judged = {one["evaluation"]["iteration"]: one["evaluation"] for one in Recorded(project, run).named("patch.judged")}
    mine = [one for one in found if one["run"] == run]
    assert mine and any(one["deltas"] for one in mine)
    for one in mine:
        evaluation = judged[one["iteration"]]
        assert (one["commit"], one["verdict"]) == (evaluation["commit"], evaluation["verdict"])
        assert [delta["estimate"] for delta in one["deltas"]] == [delta["estimate"] for delta in evaluation["deltas"]]
