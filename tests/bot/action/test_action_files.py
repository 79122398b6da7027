# SPDX-License-Identifier: Apache-2.0
"""`.github` against the schemas of GitHub, linters, and what it names."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.bot.action.composite import ACTION, ROOT, document
from tests.bot.linters import linted, program, shellchecked

_WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def workflow(path: Path) -> dict[str, Any]:
    """Return a workflow; YAML 1.1 reads its `on` as true."""
    found = dict(yaml.safe_load(path.read_text()))
    return {("on" if key is True else key): value for key, value in found.items()}


def readme_workflow(directory: Path) -> Path:
    """Write the workflow of README into a file of its own, with a repository where README has a placeholder."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "bot/README.md").read_text(), re.MULTILINE | re.DOTALL)
    (text,) = [block for block in blocks if "uses:" in block]
    path = directory / ".github/workflows/hmopt.yml"
    path.parent.mkdir(parents=True)
    path.write_text(text.replace("@REF", "@" + "a" * 40))
    return path


def test_they_are_what_githubs_schemas_say(tmp_path: Path) -> None:
    for schema, files in (("github-workflows", [*_WORKFLOWS, readme_workflow(tmp_path)]), ("github-actions", [ACTION])):
        command = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}")
        assert linted(*command, *files) == ""
    bad = tmp_path / "action.yml"
    bad.write_text(ACTION.read_text().replace("using: composite", "using: nothing"))
    assert "using" in linted(*command, bad)


def test_an_auditor_of_workflows_finds_nothing(tmp_path: Path) -> None:
    audit = (program("zizmor"), "--offline", "--quiet", "--no-config", "--no-ignores", "--min-severity=low")
    assert linted(*audit, ROOT / ".github/workflows", ACTION) == ""
    assert linted(*audit, readme_workflow(tmp_path)) == ""
    bad = tmp_path / "action.yml"
    bad.write_text(ACTION.read_text().replace("python=$INPUT_PYTHON\n", "python=${{ inputs.python }}\n"))
    assert "template-injection" in linted(*audit, bad)


def test_their_scripts_pass_shellcheck() -> None:
    steps = [(ACTION, step) for step in document()["runs"]["steps"]]
    steps += [(path, step) for path in _WORKFLOWS for job in workflow(path)["jobs"].values() for step in job["steps"]]
    scripts = [(path.name, step["run"]) for path, step in steps if "run" in step]
    assert len(scripts) >= 7
    for name, script in scripts:
        assert "${{" not in script, name
        assert shellchecked(script) == "", name
    assert "SC2086" in shellchecked("echo $x\n")


@pytest.mark.parametrize("path", _WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_few_rights_and_an_end(path: Path) -> None:
    one = workflow(path)
    assert one["permissions"] == {"contents": "read"}
    assert set(one["on"]) <= {"push", "pull_request"}
    assert one["concurrency"]["cancel-in-progress"] is True and "github.ref" in one["concurrency"]["group"]
    for job in one["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 90 and "permissions" not in job
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"]), step
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_ci_runs_what_decides_and_keeps_what_it_writes() -> None:
    (job,) = workflow(ROOT / ".github/workflows/ci.yml")["jobs"].values()
    assert job["container"] == "debian:bookworm"
    assert job["steps"][-1]["run"] == "bash .ci/run"
    (kept,) = [step["with"] for step in job["steps"] if step.get("uses", "").startswith("actions/cache@")]
    # The place by default of .ci/run, below it that of tests/kernel/run.
    assert "${HOME:-/root}/.cache}/git-hmopt}" in (ROOT / ".ci/run").read_text()
    assert 'tests/kernel/run "$cache/kernel"' in (ROOT / ".ci/run").read_text()
    gate = (ROOT / "tests/kernel/run").read_text()
    assert "kept=$cache/results/" in gate and kept["path"] == "~/.cache/git-hmopt/kernel/results"
    (inputs,) = re.findall(r"git ls-files -s -- (.*?);", gate)
    hashed = {name.removesuffix("/**") for name in re.findall(r"'(.*?)'", kept["key"])}
    assert hashed == set(inputs.split())


def test_every_input_reaches_a_step_and_stands_in_the_readme() -> None:
    text, steps = (ROOT / "bot/README.md").read_text(), json.dumps(document()["runs"]["steps"])
    table = re.search(r"^\| input \| \|\n\| --- \| --- \|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert table and re.findall(r"^\| `([a-z-]+)` \|", table[1], re.MULTILINE) == list(document()["inputs"])
    for name in document()["inputs"]:
        assert f"${{{{ inputs.{name} }}}}" in steps
    assert all(f"`{name}`" in text for name in document()["outputs"])
    # Only what talks to the server has the token.
    with_token = [step["name"] for step in document()["runs"]["steps"] if "INPUT_TOKEN" in step["env"]]
    assert with_token == ["Fetch base and head", "Push runs and notes"]
