# SPDX-License-Identifier: Apache-2.0
"""A repository's own strategies: of its configuration and its base commit, in the packs of its runs, or refused."""

from __future__ import annotations

import json

import pytest

from git_hmopt.config.load import load_config
from git_hmopt.errors import ConfigError
from git_hmopt.evidence.strategies import serving, shipped
from git_hmopt.loop.configuration import CONFIG_FILE
from git_hmopt.loop.strategies import run_templates
from git_hmopt.store.repository import Repository
from tests.evidence.test_evidence_strategies import CONFIG, ENTRY, GOOD
from tests.loop.project import Project


def names(project: Project, named: str, *, inline: str = "") -> list[str]:
    """Return what is shown against lock contention with these `strategy_files` at HEAD."""
    loaded = load_config(f"{CONFIG}{inline}strategy_files: [{named}]\n".encode(), origin=CONFIG_FILE)
    repository = Repository.open(project.root)
    found = run_templates(repository, repository.resolve("HEAD"), loaded)
    return [one.name for one in serving(found, "lock-contention")]


def test_files_come_from_the_base_commit(project: Project) -> None:
    project.write("tools/try.yaml", GOOD)
    project.commit("strategies")
    project.write("tools/try.yaml", "not committed")
    usual = [one.name for one in serving(shipped(), "lock-contention")]
    assert names(project, "tools/try.yaml") == names(project, "./tools/try.yaml") == ["shorter", *usual]


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("tools/none.yaml", "'tools/none.yaml' is no file of the base commit "),
        ("tools", "'tools' is no file of the base commit "),
        ("../try.yaml", "'../try.yaml' leaves the tree"),
        ("/etc/passwd", "'/etc/passwd' is not relative to the tree, expected the path of a file in the repository"),
        (".git/config", "'.git/config' is inside .git"),
    ],
)
def test_a_file_that_is_none_is_told_with_its_line(project: Project, named: str, said: str) -> None:
    project.write("tools/try.yaml", GOOD)
    project.commit("strategies")
    with pytest.raises(ConfigError) as caught:
        names(project, named)
    assert str(caught.value).startswith(f"{CONFIG_FILE}:9: strategy_files[0]: {said}")


def test_what_is_wrong_in_a_file_is_told_with_its_commit_and_line(project: Project) -> None:
    project.write("try.yaml", GOOD.replace("lock-contention", "locks"))
    commit = project.commit("strategies")
    with pytest.raises(ConfigError) as caught:
        names(project, "try.yaml")
    assert str(caught.value).startswith(f"{commit[:12]}:try.yaml:4: strategies[0].bottleneck: got text 'locks'")


def test_a_name_stands_once_over_all_files(project: Project) -> None:
    project.write("try.yaml", GOOD)
    project.commit("strategies")
    for named, inline in (("try.yaml, ./try.yaml", ""), ("try.yaml", f"strategies:\n{ENTRY}")):
        with pytest.raises(ConfigError, match=r"has 'shorter', which .* has, expected each name once"):
            names(project, named, inline=inline)


def test_a_run_begins_with_them_and_its_pack_shows_them(project: Project) -> None:
    entries = "".join(
        ENTRY.replace("name: shorter", f"name: own-{one}").replace("lock-contention", one)
        for one in ("cpu-bound-loop", "call-overhead", "unknown")
    )
    project.write("try.yaml", f"version: 1\nstrategies:\n{entries}")
    text = (project.root / CONFIG_FILE).read_text()
    project.write(CONFIG_FILE, f"{text.rstrip()}\nstrategy_files: [nowhere.yaml]\n")
    project.commit("strategies")
    assert project.hmopt("trust").returncode == 0
    run = ("optimize", "--workload", "scan-blocks", "--iterations", "1", "--seed", "7")
    refused = project.hmopt(*run)
    assert refused.returncode == 129 and "'nowhere.yaml' is no file of the base commit" in refused.stderr
    project.write(CONFIG_FILE, f"{text.rstrip()}\nstrategy_files: [try.yaml]\n")
    project.commit("strategies")
    assert project.hmopt("trust").returncode == 0
    done = project.hmopt(*run)
    assert done.returncode in (0, 1), done.stderr
    pack = json.loads(project.hmopt("evidence", "--json").stdout)
    held = [one["name"] for one in pack.get("bottlenecks", ())] or ["unknown"]
    assert (pack["v"], pack["bottleneck"]) == (4, held[0])
    assert next(one["templates"][0]["name"] for one in pack["hotspots"]).startswith("own-")
    assert "  only if: It is long.\n" in project.hmopt("evidence").stdout
