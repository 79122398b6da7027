# SPDX-License-Identifier: Apache-2.0
"""A runner for composite actions, as far as ours need one: steps in bash, inputs, outputs, the log's commands.

docs.github.com/actions: "Metadata syntax", "Workflow commands". An expression may stand in `env`, in an output and in
a default, and be of one of three forms; any other is refused, and so is one in a script.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
ACTION = ROOT / ".github/actions/check/action.yml"
TOKEN = "the-token-of-the-job"
_EXPRESSION = re.compile(r"\$\{\{ (.*?) \}\}")
_COMMAND = re.compile(r"::([a-z-]+)(?: ([^:]*))?::(.*)")


@dataclass(frozen=True)
class Annotation:
    """What the job's page shows of a log line."""

    level: str
    message: str
    file: str | None


@dataclass
class Outcome:
    """How a job's use of the action ended."""

    code: int = 0
    last: str = ""
    """The step that was run last."""
    log: str = ""
    summary: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    annotations: list[Annotation] = field(default_factory=list)
    obeyed: list[str] = field(default_factory=list)
    """Commands that are no annotations."""

    def told(self, level: str) -> list[str]:
        """Return the messages of one level."""
        return [one.message for one in self.annotations if one.level == level]


def document() -> dict[str, Any]:
    """Return action.yml."""
    return dict(yaml.safe_load(ACTION.read_text()))


def run_action(
    inputs: Mapping[str, str],
    *,
    workspace: Path,
    temporary: Path,
    environment: Mapping[str, str],
    only: Sequence[str] = (),
    said: Mapping[str, str] = MappingProxyType({}),
) -> Outcome:
    """Run the action's steps in `workspace` with the runner's variables on top of `environment`.

    `only` names the steps to run, by their beginnings; `said` are outputs of others (`steps.check.outputs.answer`).
    """
    action, outcome = document(), Outcome()
    unknown = set(inputs) - set(action["inputs"])
    assert not unknown, unknown
    given = {name: inputs.get(name, _value(str(one["default"]), {})) for name, one in action["inputs"].items()}
    known = {f"inputs.{name}": value for name, value in given.items()} | dict(said)
    summary = temporary / "summary"
    for number, step in enumerate(action["runs"]["steps"]):
        assert step["shell"] == "bash" and "if" not in step and "${{" not in step["run"]
        if only and not step["name"].startswith(tuple(only)):
            continue
        script, output = temporary / f"step{number}.sh", temporary / f"output{number}"
        script.write_text(step["run"])
        output.touch()
        told = {
            **environment,
            "RUNNER_TEMP": str(temporary),
            "GITHUB_ACTION_PATH": str(ACTION.parent),
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(summary),
            **{name: _value(str(text), known) for name, text in step.get("env", {}).items()},
        }
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", script],
            cwd=workspace, env=told, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        outcome.code, outcome.last = done.returncode, step["name"]
        outcome.log += done.stdout
        _hear(done.stdout, outcome)
        for line in output.read_text().splitlines():
            name, found, value = line.partition("=")
            assert found and "id" in step, line
            known[f"steps.{step['id']}.outputs.{name}"] = value
        if done.returncode:
            break
    outcome.summary = summary.read_text() if summary.exists() else ""
    outcome.outputs = {name: _value(one["value"], known) for name, one in action["outputs"].items()}
    return outcome


def _value(text: str, known: Mapping[str, str]) -> str:
    def one(match: re.Match[str]) -> str:
        name = match[1]
        if name == "github.token":
            return TOKEN
        assert re.fullmatch(r"inputs\.[a-z-]+|steps\.[a-z]+\.outputs\.[a-z]+", name), name
        assert name in known or name.startswith("steps."), name
        return known.get(name, "")

    return _EXPRESSION.sub(one, text)


def _hear(log: str, outcome: Outcome) -> None:
    """Obey a log as the runner does; each step begins heard."""
    stopped = None
    for line in log.splitlines():
        found = _COMMAND.match(line)
        if stopped is not None:
            stopped = None if line.strip() == f"::{stopped}::" else stopped
        elif found and found[1] == "stop-commands":
            stopped = found[3]
        elif found and found[1] in ("notice", "warning", "error"):
            properties = dict(one.split("=", 1) for one in (found[2] or "").split(","))
            file = properties.get("file")
            outcome.annotations.append(Annotation(found[1], _unescaped(found[3]), file and _unescaped(file)))
        elif found:
            outcome.obeyed.append(line)


def _unescaped(text: str) -> str:
    for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, character)
    return text
