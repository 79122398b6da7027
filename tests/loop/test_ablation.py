# SPDX-License-Identifier: Apache-2.0
"""Runs without profile or structure graph: what they choose from, what nobody is told, and that records say so."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from git_hmopt.evidence.schema import pack_schema_text
from git_hmopt.loop.plan import RunPlan
from tests.loop.conftest import SEED, Finished
from tests.loop.patches import CANDIDATES, write_patches
from tests.loop.project import Project, configuration, files, make_project
from tests.loop.recorded import Recorded, recorded_run, run_names
from tests.loop.scripted import CONDUCTOR, analyst, asked, coder, conductor, ends
from tests.loop.test_kill import killed, resumed_elsewhere

BLOCKS = ("optimize", "--workload", "scan-blocks", "--seed", SEED)
NO_PROFILE, NO_GRAPH = (*BLOCKS, "--no-profile"), (*BLOCKS, "--no-graph")


def seen(directory: Path) -> Project:
    """Make a project whose compile database has the harness, as a kernel's has it."""
    contents = dict(files())
    contents["Makefile"] = contents["Makefile"].replace("for file in $(LIB);", "for file in $(LIB) harness/main.c;")
    return make_project(directory, contents=contents)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return seen(tmp_path)


def finished(project: Project, *argv: str) -> Finished:
    return Finished(project, project.hmopt(*argv), recorded_run(project), {})


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Return a run of the playbook without its profile."""
    return finished(seen(tmp_path_factory.mktemp("blind")), *NO_PROFILE)


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Return a run of the playbook without the structure graph."""
    return finished(seen(tmp_path_factory.mktemp("flat")), *NO_GRAPH)


def packs(run: Recorded) -> list[dict[str, Any]]:
    """Return the packs of a run, as they are stored."""
    found = []
    for data in run.named("evidence.packed"):
        (path,) = (run.project.root / ".git/hmopt/artifacts").glob(f"*/{data['artifact']['sha256']}*")
        found.append(json.loads(path.read_bytes()))
    return found


def leaves(value: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, *path, key)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, *path)
    else:
        yield path, value


# -- without the profile ---------------------------------------------------------------------------------------------


def test_a_run_without_its_profile_ends_as_any_and_profiles_nothing(blind: Finished) -> None:
    assert (blind.said.returncode, blind.said.stderr) == (0, "")
    done = [operation["op"] for operation in blind.run.operations()]
    assert "profile.recorded" not in done and "hotspots.ranked" in done
    kinds = {data["artifact"]["kind"] for data in blind.run.named("artifact.stored")}
    assert "capture" not in kinds and "report" in kinds
    said = [line.get("say", "") for line in blind.run.log()]
    assert not [text for text in said if text.startswith("profiling")]
    assert [data["status"] for data in blind.run.named("run.closed")] == ["succeeded"]
    # What a candidate must pass is built as ever.
    assert set(blind.run.named("baseline.built")[0]["builds"]) == {"count"}


def test_it_chooses_from_what_the_harness_calls(blind: Finished) -> None:
    ranked = blind.run.named("hotspots.ranked")
    for data in ranked:
        assert [(one["symbol"], one["file"], one["score"], one["distance"]) for one in data["hotspots"]] == [
            ("crc32c_update", "lib/crc.c", None, 1),
            ("scan_byte", "lib/scan.c", None, 1),
        ]
        assert {(one["v"], one["ranker"], tuple(one["evidence"])) for one in data["hotspots"]} == {
            (2, "call-distance", ())
        }
    # Once for base, and once for each new best.
    assert len(ranked) == 3
    made = [data["decision"] for data in blind.run.named("decision.made")]
    assert [(one["strategy"], one["symbol"]) for one in made] == [
        ("crc-slicing", "crc32c_update"),
        ("word-at-a-time", "scan_byte"),
    ]
    assert all("what it costs was not measured" in one["reason"] for one in made)
    assert all(data["evaluation"]["accepted"] for data in blind.run.named("patch.judged"))
    [end] = [data["message"]["data"].values() for data in blind.run.named("decision.ended")]
    assert "scan_byte, branch-hints: which way its branches go is not known without a profile" in end
    assert "scan_byte, forced-inline: whether it and its callers are hot is not known without a profile" in end


def test_its_pack_holds_no_number_of_any_run_time(blind: Finished) -> None:
    first = packs(blind.run)[0]
    jsonschema.validate(first, json.loads(pack_schema_text()))
    assert (first["v"], first["without"], first["artifacts"]) == (4, ["profile"], [])
    # Numbers of the source and of the pack itself, and how alike two texts are.
    known = {"v", "first_line", "last_line", "line", "distance", "max_prompt_tokens", "margin", "alike"}
    numbers = {
        path
        for path, value in leaves(first)
        if path[-1] not in known
        and (isinstance(value, int) or (isinstance(value, str) and re.fullmatch(r"-?[0-9.]+(e[0-9-]+)?", value)))
    }
    assert numbers == set()
    told = [value for path, value in leaves(first) if isinstance(value, str) and path[-1] not in ("text", "example")]
    assert not [text for text in told if re.search(r"\d ?%|\d times|samples|instructions \d", text)]
    for one in first["hotspots"]:
        assert (one["runtime"], one["line_counts"], one["hotspot"]["score"]) == ([], [], None)
        assert not {"windows", "joins"} & one.keys()
        assert one["retrieved"]["runs"] == []
        # The structure stays: who calls it, from where.
        assert ("caller", "bench_window") in {(near["relation"], near["symbol"]) for near in one["static"]}


def test_the_verdicts_on_its_own_candidates_are_fed_back(blind: Finished) -> None:
    second = packs(blind.run)[1]
    assert [(one["metric"], one["verdict"]) for one in second["changes"]] == [("blocks", "improved(count only)")]
    tried = next(one for one in second["hotspots"] if one["hotspot"]["symbol"] == "crc32c_update")["attempts"]
    assert [(one["strategy"], one["verdict"]) for one in tried] == [("crc-slicing", "improved(count only)")]


def test_a_candidate_touches_what_nobody_knows_the_heat_of(blind: Finished) -> None:
    touches = {one["symbol"]: one for one in blind.run.named("patch.applied")[0]["patch"]["touches"]}
    changed = touches["crc32c_update"]
    assert (changed["share"], changed["reached_by"][0]) == (None, "harness/main.c:bench_window")


@pytest.mark.parametrize(("run", "word"), [("blind", "profile"), ("flat", "graph")])
def test_every_record_and_every_reader_says_without_what(run: str, word: str, request: pytest.FixtureRequest) -> None:
    made: Finished = request.getfixturevalue(run)
    project = made.project
    [created] = made.run.named("run.created")
    assert (created["plan"]["without"], created["run"]["environment"]["without"]) == ([word], word)
    assert f"\n  without {word}\n" in project.hmopt("show").stdout
    assert json.loads(project.hmopt("show", "--json").stdout)["story"]["run"]["environment"]["without"] == word
    assert project.hmopt("list").stdout.endswith(f"2 of 2 accepted  without {word}\n")
    assert json.loads(project.hmopt("list", "--json").stdout)["runs"][0]["without"] == [word]
    report = project.hmopt("report").stdout
    assert f"| environment: without | `{word}` |" in report and f"* without {_called(word)}: " in report
    page = project.hmopt("report", "--html").stdout
    assert f"without {_called(word)}: " in page
    lines = project.hmopt("export").stdout.splitlines()
    assert [json.loads(line)["without"] for line in lines] == [[word], [word]]
    assert [json.loads(line)["evidence"]["without"] for line in lines] == [[word], [word]]
    assert f", without {word}, commit " in project.hmopt("evidence").stdout
    sound = project.hmopt("fsck")
    assert sound.returncode == 0, sound.stdout + sound.stderr


def _called(word: str) -> str:
    return {"profile": "profile", "graph": "structure graph"}[word]


def test_readers_of_shares_take_none_for_nothing(blind: Finished) -> None:
    project = blind.project
    assert "hotspots by call-distance from the workload's harness, cost unmeasured\n" in blind.said.stdout
    assert re.search(r"^ +1 call  crc32c_update +lib/crc\.c:\d+$", blind.said.stdout, re.MULTILINE)
    report = project.hmopt("report").stdout
    assert "| 1 | `crc32c_update` | 1 call |" in report
    page = project.hmopt("report", "--html").stdout
    assert "> 1 call</td>" in page or ">1 call</td>" in page
    assert not re.search(r"\bnan\b|None %|> 0\.0 %", page)
    assert project.hmopt("cache", "rebuild").returncode == 0
    database = sqlite3.connect(project.root / ".git/hmopt/cache.sqlite")
    assert set(database.execute("SELECT symbol, score, distance FROM hotspots")) == {
        ("crc32c_update", None, 1), ("scan_byte", None, 1),
    }  # fmt: skip
    database.close()
    for argv, what in (
        (("analyze", blind.run.name), "stored no profile: it goes without"),
        (("flamegraph", blind.run.name), "has no capture: it goes without a profile"),
    ):
        done = project.hmopt(*argv)
        assert done.returncode == 128 and what in done.stderr and done.stderr.count("\n") == 1, done.stderr


# -- without the graph -----------------------------------------------------------------------------------------------


def test_a_run_without_the_graph_makes_none_and_ranks_by_self_cost(flat: Finished) -> None:
    assert (flat.said.returncode, flat.said.stderr) == (0, "")
    assert flat.run.named("graph.built") == []
    assert not (flat.project.root / ".git/hmopt/structure").exists()
    for data in flat.run.named("hotspots.ranked"):
        assert {one["ranker"] for one in data["hotspots"]} == {"self"}
    made = [data["decision"]["strategy"] for data in flat.run.named("decision.made")]
    # The playbook parses what it rewrites.
    assert made == ["crc-slicing", "word-at-a-time"]
    touches = {one["symbol"]: one for one in flat.run.named("patch.applied")[0]["patch"]["touches"]}
    assert float(touches["crc32c_update"]["share"]) > 0
    assert (touches["crc32c_update"]["reached_by"], touches["crc32c_update"]["reached_by_all"]) == (None, None)


def test_its_pack_says_nothing_of_who_calls_whom(flat: Finished) -> None:
    for pack in packs(flat.run):
        assert pack["without"] == ["graph"]
        assert not {"joins", "system"} & pack.keys()
        for one in pack["hotspots"]:
            assert (one["static"], one["runtime"]) == ([], [])
            assert one["line_counts"] != [] and "joins" not in one
            assert {"static", "runtime"}.isdisjoint(section["name"] for section in one["sections"])


@pytest.mark.slow
def test_call_stacks_are_not_used_either(project: Project) -> None:
    document = configuration()
    # Below its root a stack of this workload is one function deep.
    del document["workloads"]["scan"]["profile"]["samples"]["root"]
    project.write(".hmopt.yaml", yaml.safe_dump(document, sort_keys=False))
    project.commit("whole stacks")
    assert project.hmopt("trust").returncode == 0
    argv = ("optimize", "--workload", "scan", "--seed", SEED, "--iterations", "0")
    assert project.hmopt(*argv).returncode == 1
    (whole,) = run_names(project)
    done = project.hmopt(*argv, "--no-graph", "--baseline", whole)
    assert done.returncode == 1, done.stderr
    (name,) = set(run_names(project)) - {whole}
    one, two = Recorded(project, whole), Recorded(project, name)
    # The same capture, another order: who is asked is what differs.
    assert one.named("profile.recorded") == two.named("profile.recorded")
    assert {spot["ranker"] for spot in one.named("hotspots.ranked")[0]["hotspots"]} == {"funcrank"}
    assert {spot["ranker"] for spot in two.named("hotspots.ranked")[0]["hotspots"]} == {"self"}
    assert any(spot["runtime"] for spot in packs(one)[0]["hotspots"])
    assert not any(spot["runtime"] or spot["static"] for spot in packs(two)[0]["hotspots"])
    analysed = json.loads(project.hmopt("analyze", name, "--json").stdout)
    assert json.dumps(analysed).count('"ranker": "self"') and '"as_recorded": false' not in json.dumps(analysed)
    said = project.hmopt("compare", whole, name)
    assert said.stdout.startswith("the runs differ by a switch: B goes without graph\n"), said.stderr
    assert json.loads(project.hmopt("compare", whole, name, "--json").stdout)["without"] == [[], ["graph"]]
    assert "differ by a switch" not in project.hmopt("compare", whole, whole).stdout
    differ = project.hmopt("diff", whole, name).stdout
    assert "\ncomparable\n  they differ in what they go without: nothing and graph; it is measured alike\n" in differ


# -- what is refused -------------------------------------------------------------------------------------------------


def test_without_both_there_is_nothing_to_choose_from(project: Project) -> None:
    done = project.hmopt(*BLOCKS, "--no-profile", "--no-graph")
    assert (done.returncode, done.stderr) == (
        129,
        "git hmopt: without profile and structure graph nothing says which functions to look at; "
        "leave out --no-profile or --no-graph\n",
    )
    assert list(run_names(project)) == []


@pytest.mark.parametrize("overlay", [None, "v: 1\ndescription: no code\nfiles: {harness/notes.txt: notes.txt}\n"])
def test_a_workload_whose_harness_is_not_known_is_refused_before_anything_is_built(
    project: Project, overlay: str | None
) -> None:
    if overlay is None:
        document = configuration()
        document["workloads"]["scan-blocks"]["overlays"] = []
        project.write(".hmopt.yaml", yaml.safe_dump(document, sort_keys=False))
    else:
        project.write("bench/overlay.yaml", overlay)
        project.write("bench/notes.txt", "none\n")
    project.commit("no harness")
    assert project.hmopt("trust").returncode == 0
    done = project.hmopt(*NO_PROFILE)
    assert done.returncode == 129
    assert done.stderr == (
        "git hmopt: HEAD:.hmopt.yaml: workload 'scan-blocks' has no overlay with a C file, and without a profile "
        "nothing else says where it enters the source; leave out --no-profile\n"
    )
    assert list(run_names(project)) == []
    assert not list((project.root / ".git/hmopt").glob("trees/*/src/*"))


@pytest.mark.slow
def test_a_harness_that_is_in_no_compile_database_ends_the_run_before_it_is_tested(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    done = project.hmopt(*NO_PROFILE)
    assert done.returncode == 129
    assert done.stderr == (
        "git hmopt: the structure graph of build 'count' has no function that harness/main.c reaches and that a "
        "candidate may change; see that its compile database has the harness, or leave out --no-profile\n"
    )
    run = recorded_run(project)
    assert [data["status"] for data in run.named("run.closed")] == ["failed"]
    assert "baseline.tested" not in [operation["op"] for operation in run.operations()]
    again = project.hmopt("resume")
    assert again.stderr.endswith(" --no-profile\n"), again.stderr


def test_a_build_without_a_compile_database_ends_it_too(project: Project) -> None:
    document = configuration()
    del document["builds"]["count"]["compile_commands"]
    project.write(".hmopt.yaml", yaml.safe_dump(document, sort_keys=False))
    project.commit("no database")
    assert project.hmopt("trust").returncode == 0
    done = project.hmopt(*NO_PROFILE)
    assert done.returncode == 129
    assert done.stderr == (
        "git hmopt: build 'count' gives no structure graph, and without a profile nothing else says what to look at; "
        "have it give a compile database, or leave out --no-profile\n"
    )
    # Without the graph nobody misses it, but the playbook reads nothing then.
    assert project.hmopt(*NO_GRAPH).returncode == 1


@pytest.mark.slow
def test_a_profiler_that_is_not_there_is_not_missed(project: Project) -> None:
    document = configuration()
    document["workloads"]["scan-blocks"]["profile"] = {
        "perf": {"adapter": "command", "build": "count", "run": "false", "captures": {"folded": "none"}}
    }
    project.write(".hmopt.yaml", yaml.safe_dump(document, sort_keys=False))
    project.commit("no profiler")
    assert project.hmopt("trust").returncode == 0
    assert project.hmopt(*BLOCKS).returncode == 125
    assert project.hmopt(*NO_PROFILE, "--iterations", "1").returncode == 0


# -- going on, and what is taken over --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "argv"), [("blind", NO_PROFILE), pytest.param("flat", NO_GRAPH, marks=pytest.mark.slow)]
)
def test_a_run_that_is_resumed_goes_without_it_still(
    project: Project, run: str, argv: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    killed(project, "end", "baseline_profile", *argv)
    name = recorded_run(project).name
    killed(project, "start", "evaluate_delta_and_update_best", "resume", name)
    assert project.hmopt("resume", name).returncode == 0
    whole: Finished = request.getfixturevalue(run)
    assert recorded_run(project).comparable() == whole.run.comparable()


@pytest.mark.slow
def test_a_child_in_another_clone_goes_without_it_too(project: Project, tmp_path: Path) -> None:
    killed(project, "start", "generate_report", *NO_PROFILE, "--iterations", "1")
    parent = recorded_run(project)
    _, story = resumed_elsewhere(project, parent.name, tmp_path / "forge.git")
    assert story["run"]["parent"] == parent.name
    assert story["run"]["environment"]["without"] == "profile"
    assert {one["score"] for one in story["hotspots"]} == {None}


def test_patches_are_judged_without_either(project: Project) -> None:
    patches = project.home / "patches"
    write_patches(project, patches, tuple(one for one in CANDIDATES if one.name in ("slices", "comment")))
    for switch in ("--no-profile", "--no-graph"):
        before = set(run_names(project))
        done = project.hmopt(*BLOCKS, "--proposer", f"patches:{patches}", switch)
        assert done.returncode == 0, done.stderr
        (name,) = set(run_names(project)) - before
        verdicts = [data["evaluation"]["verdict"] for data in Recorded(project, name).named("patch.judged")]
        assert verdicts == ["improved(count only)", "no-change"]


def test_the_floor_is_everybodys_and_the_profile_only_theirs_who_have_one(project: Project) -> None:
    patches = project.home / "patches"
    write_patches(project, patches, (CANDIDATES[0],))
    argv = ("optimize", "--workload", "scan", "--proposer", f"patches:{patches}")
    names: list[str] = []

    def run(*more: str) -> Recorded:
        done = project.hmopt(*argv, *more)
        assert done.returncode in (0, 1), done.stderr
        (name,) = set(run_names(project)) - set(names)
        names.append(name)
        return Recorded(project, name)

    def forget() -> None:
        for kept in (project.root / ".git/hmopt/floors").iterdir():
            kept.unlink()

    first = run("--seed", "7", "--no-profile")
    [floor] = first.named("floor.measured")
    assert "lib/crc.c" in json.dumps(floor)
    forget()
    # Measured without a profile, it serves one that has one, which profiles for itself.
    second = run("--seed", "8", "--baseline", first.name)
    assert second.named("floor.measured") == [floor]
    assert second.named("baseline.reused")[0]["notes"] == [
        f"taken over from run {first.name}: noise floor; no profile, since that run goes without one"
    ]
    assert second.named("profile.recorded")[0]["captures"]
    third = run("--seed", "9", "--no-profile", "--baseline", second.name)
    assert third.named("floor.measured") == [floor]
    assert third.named("baseline.reused")[0]["notes"] == [
        f"taken over from run {second.name}: noise floor; no profile, since this run goes without one"
    ]
    assert third.named("profile.recorded") == []
    assert not list((project.root / ".git/hmopt/floors").iterdir())


def test_a_profile_alone_is_no_baseline_for_a_run_without_one(project: Project) -> None:
    assert project.hmopt(*BLOCKS, "--iterations", "0").returncode == 1
    (name,) = run_names(project)
    done = project.hmopt(*NO_PROFILE, "--baseline", name)
    assert (done.returncode, done.stderr) == (
        129,
        f"git hmopt: run {name} measured nothing that this one needs; measure afresh: leave out --baseline\n",
    )


# -- plans -----------------------------------------------------------------------------------------------------------

OLD_PLAN = (
    '{"base_commit":"b","configuration":"c","iterations":null,"origin":".hmopt.yaml","parent":null,'
    '"proposer":"playbook","run":"r","sandboxed":true,"seed":1,"settings":{},"started":"2026-01-31T00:00:00Z",'
    '"uuid":"u","v":1,"wall_s":null,"workload":"scan"}'
)


def test_a_plan_from_before_is_read_and_written_as_it_was() -> None:
    read = RunPlan.model_validate_json(OLD_PLAN)
    assert (read.without, read.canonical()) == ((), OLD_PLAN)
    again = RunPlan.model_validate(json.loads(read.model_copy(update={"without": ("graph",)}).canonical()))
    assert again.without == ("graph",)


# -- with models -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("switch", "absent", "present"),
    [
        ("--no-profile", (r"\d % of the profile", r"\btimes: ", r"score \d"), "share unknown"),
        ("--no-graph", (r"^(?:callers|callees) ", r"called by"), "% of the profile"),
    ],
)
def test_models_are_told_nothing_of_it(project: Project, switch: str, absent: tuple[str, ...], present: str) -> None:
    looks = conductor(action="look", questions=["costs scan_byte", "callers scan_byte", "source scan_byte"])
    turns = [analyst(), looks, conductor(), coder("I would not."), ends()]
    said = asked(project, turns, "--workload", "scan-blocks", "--seed", SEED, switch)
    assert said.ended().startswith("the conductor ends the run"), said.said.stderr
    # The answers to the questions are told apart: that there is none is said there, and not in the evidence.
    first = ["\n".join(one.texts[1:2]) for one in said.requests]
    for pattern in absent:
        found = [text for text in first if re.search(pattern, text, re.MULTILINE)]
        assert not found, re.search(pattern, found[0], re.MULTILINE)
    assert present in first[1]
    (answers,) = [one.texts[-1] for one in said.of(CONDUCTOR) if "You may look things up 2 more times" in one.texts[-1]]
    assert "goes without the" in answers and "const void *scan_byte" in answers
