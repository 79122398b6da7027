# SPDX-License-Identifier: Apache-2.0
"""Whole runs whose models are a script: what each agent answers, and what the server received of each."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from git_hmopt.demo.model_server import Script, serving
from tests.loop.project import Project
from tests.loop.recorded import Recorded, run_names

ANALYST, CONDUCTOR, CODER, SAFETY = (
    f"You are the {one}" for one in ("Trace Analyst", "Conductor", "Coder", "Safety reviewer")
)
"""Words of the agents' system prompts, by which the server tells them apart."""
MODEL = "tiny-1b"
_PROFILE = f"""name: scripted
roles: {{general: {MODEL}}}
models: {{{MODEL}: {{price_in: 1, price_out: 2}}}}
"""
Turn = Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    """What the server received once."""

    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        """Return its JSON."""
        found = json.loads(self.raw[self.raw.index(b"\n{") :])
        assert isinstance(found, dict)
        return found

    @property
    def texts(self) -> list[str]:
        """Return its messages' texts, the system's first."""
        return [one["content"] for one in self.body["messages"]]

    @property
    def agent(self) -> str:
        """Return who asked."""
        (found,) = [one for one in (ANALYST, CONDUCTOR, CODER, SAFETY) if self.texts[0].startswith(one)]
        return found


@dataclass(frozen=True)
class Scripted:
    """A command that went to its end with a script for a model."""

    said: subprocess.CompletedProcess[str]
    run: Recorded
    requests: tuple[Request, ...]

    def of(self, agent: str) -> list[Request]:
        """Return what one agent asked, in order."""
        return [one for one in self.requests if one.agent == agent]

    def messages(self, agent: str | None = None, iteration: int | None = None) -> list[dict[str, Any]]:
        """Return the recorded messages of an agent (`coder`), in order."""
        return [
            one["message"]
            for one in self.run.named("agent.asked")
            if agent in (None, one["message"]["agent"]) and iteration in (None, one["message"]["iteration"])
        ]

    def artifact(self, sha256: str) -> str:
        """Return the text of an artifact that a message names."""
        (path,) = (self.run.project.root / ".git/hmopt/artifacts" / sha256[:2]).glob(f"{sha256}*")
        return path.read_text(encoding="utf-8")

    def fates(self) -> list[str]:
        """Return what became of each iteration: a verdict, with its rule where there is one, or `refused`."""
        found: dict[int, str] = {}
        for operation in self.run.operations():
            if operation["op"] == "patch.judged":
                one = operation["data"]["evaluation"]
                found[one["iteration"]] = f"{one['verdict']}({one['rule']})" if one.get("rule") else one["verdict"]
            elif operation["op"] == "patch.refused":
                found[operation["iter"]] = "refused"
        return [found[number] for number in sorted(found)]

    def refusal(self, iteration: int) -> str:
        """Return why an iteration was refused."""
        told = [one["message"] for one in self.run.named("patch.refused")]
        (found,) = [one["text"] for one in told if one["iteration"] == iteration]
        return str(found)

    def ended(self) -> str:
        """Return why the run says that it ended."""
        (closed,) = self.run.named("run.closed")
        assert closed["status"] == "succeeded", closed
        return str(closed["reason"])


def analyst(bottleneck: str = "unknown", evidence: Sequence[str] = (), **more: Any) -> Turn:
    """Return an answer of the Trace Analyst; `more` are other parts of a turn."""
    answer = json.dumps({"bottleneck": bottleneck, "evidence": list(evidence), "reason": "so it is", "questions": []})
    return {"when": ANALYST, "answer": answer, **more}


def conductor(
    strategy: str = "own-idea", hotspot: str = "scan_byte", *, action: str = "try", reason: str = "a byte loop",
    questions: Sequence[str] = (), **more: Any,
) -> Turn:  # fmt: skip
    """Return an answer of the Conductor."""
    said = {"comparison": "as before", "action": action, "hotspot": hotspot, "strategy": strategy, "reason": reason}
    return {"when": CONDUCTOR, "answer": json.dumps({**said, "questions": list(questions)}), **more}


def ends(reason: str = "enough") -> Turn:
    """Return the Conductor's last word."""
    return conductor("", "", action="end", reason=reason)


def coder(answer: str, **more: Any) -> Turn:
    """Return an answer of the Coder."""
    return {"when": CODER, "answer": answer, **more}


def reviewer(verdict: str, *reasons: str, **more: Any) -> Turn:
    """Return an answer of the Safety reviewer."""
    return {"when": SAFETY, "answer": json.dumps({"verdict": verdict, "reasons": reasons}), **more}


def candidate(
    *blocks: str, number: int = 1, title: str = "lib/scan: walk with a pointer", why: str = "The loop does less."
) -> str:
    """Return a candidate of the Coder's format."""
    return "\n".join((f"CANDIDATE {number}: {title}", why, *blocks)) + "\n"


def function(text: str, file: str = "lib/scan.c", name: str = "scan_byte") -> str:
    """Return a block that replaces a function."""
    return f"FUNCTION {file} {name}\n```c\n{text}```\n"


def edit(file: str, search: str, replace: str) -> str:
    """Return a search/replace block."""
    return f"EDIT {file}\n```\n<<<<<<< SEARCH\n{search}\n=======\n{replace}\n>>>>>>> REPLACE\n```\n"


def configure(project: Project, url: str, **settings: object) -> None:
    """Have a person of the project choose the gateway at `url`."""
    profile = project.home / "scripted.yaml"
    profile.write_text(_PROFILE)
    for name, value in {"profile": profile, "url": url, **settings}.items():
        first, *others = name.split("_")
        project.git("config", "--global", f"hmopt.gateway.{first}{''.join(map(str.title, others))}", str(value))


def asked(
    project: Project, turns: Sequence[Turn], *arguments: str, repeat: bool = False,
    command: Sequence[str] = ("optimize", "--workload", "scan", "--proposer", "llm", "--seed", "7"), **settings: object,
) -> Scripted:  # fmt: skip
    """Run a command to its end while a server says what the script has; `settings` are those of hmopt.gateway.

    A request that the script has no turn for gets 500.
    """
    before = set(run_names(project))
    script = Script(list(turns), repeat)
    with serving(script) as url:
        configure(project, url, **settings)
        said = project.hmopt(*command, *arguments)
    return Scripted(said, new_run(project, before, said), tuple(map(Request, script.requests)))


def new_run(project: Project, before: set[str], said: subprocess.CompletedProcess[str]) -> Recorded:
    """Return the run that was not there before, or the only one when a command went on with it."""
    names = set(run_names(project))
    found = names - before or names
    assert len(found) == 1, (found, said.stderr)
    return Recorded(project, found.pop())


def files_around(directory: Path) -> set[str]:
    """Return every file below a directory but the tool's own and what git keeps for the objects and refs of runs."""
    kept = (
        *(".git/hmopt/", ".git/objects/", ".git/refs/", ".git/packed-refs", ".cache/git-hmopt/"),
        *(".git/logs/refs/heads/hmopt/", ".git/logs/refs/notes/hmopt/"),
    )
    paths = (str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir())
    return {path for path in paths if not any(f"/{one}" in f"/{path}" for one in kept)}
