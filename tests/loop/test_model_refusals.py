# SPDX-License-Identifier: Apache-2.0
"""What is refused before a model is asked or anything is built, and what one run may ask beside the rules."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from git_hmopt.demo.model_server import Script, serving
from tests.loop.project import Project
from tests.loop.recorded import recorded_run, run_names
from tests.loop.replayed import replayed_project
from tests.loop.scripted import analyst, conductor, configure

ROOT = Path(__file__).parents[2]
LLM = ("optimize", "--workload", "scan", "--proposer", "llm", "--iterations", "1")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return replayed_project(tmp_path_factory.mktemp("refused"))


def watched(project: Project, *arguments: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run a command, and return what it did and how it used sockets."""
    file = project.home / "sockets"
    file.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "tests.loop.watched", str(file), "-C", str(project.root), *arguments],
        cwd=ROOT,
        env={**project.environment, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'adapters'}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done, file.read_text().splitlines()


def untouched(project: Project) -> bool:
    trees = project.root / ".git/hmopt/trees"
    return not list(run_names(project)) and (not trees.exists() or not any(trees.iterdir()))


def test_without_a_gateway_no_model_is_asked(project: Project) -> None:
    done, sockets = watched(project, *LLM)
    assert (done.returncode, done.stdout) == (129, ""), done.stderr
    assert done.stderr == (
        "git hmopt: no gateway is configured, so that no model can be asked; "
        "choose one: git config --global hmopt.gateway.profile NAME\n"
    )
    assert sockets == [] and untouched(project)


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("http://gateway.example.org/v1", 128, "gateway.example.org:80 is not an internal address and on no list"),
        ("https://192.0.2.1/v1", 128, "192.0.2.1:443 is not an internal address and on no list"),
        ("http://localhost.example.org/v1", 128, "localhost.example.org:80 is not an internal address"),
        ("ftp://127.0.0.1/v1", 129, "it begins with http:// or https://"),
        ("http://user:pass@127.0.0.1/v1", 129, "holds a name or a password"),
    ],
)
def test_an_endpoint_outside_is_refused(project: Project, url: str, code: int, said: str) -> None:
    configure(project, url)
    done, sockets = watched(project, *LLM)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert said in done.stderr and "pass@" not in done.stderr
    assert sockets == [] and untouched(project)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--allow-endpoint", "gateway.example.org"), "an exception has an endpoint and a reason"),
        (("--because", "a comparison"), "an exception has an endpoint and a reason"),
        (("--allow-endpoint", "gateway.example.org", "--because", " "), "an exception has an endpoint and a reason"),
    ],
)
def test_an_exception_needs_a_reason(project: Project, arguments: tuple[str, ...], said: str) -> None:
    configure(project, "http://gateway.example.org/v1")
    done, sockets = watched(project, *LLM, *arguments)
    assert (done.returncode, done.stdout) == (129, ""), done.stderr
    assert said in done.stderr
    assert sockets == [] and untouched(project)


def test_an_exception_is_for_runs_that_ask_models(project: Project) -> None:
    arguments = ("--workload", "scan", "--allow-endpoint", "gateway.example.org", "--because", "a comparison")
    done, sockets = watched(project, "optimize", "--proposer", "playbook", *arguments)
    assert done.returncode == 129 and "add --proposer llm" in done.stderr, done.stderr
    assert sockets == [] and untouched(project)


def test_an_exception_is_for_the_endpoint_that_it_names(project: Project) -> None:
    configure(project, "http://gateway.example.org/v1")
    done, sockets = watched(project, *LLM, "--allow-endpoint", "example.org", "--because", "a comparison")
    assert done.returncode == 128 and "is not an internal address and on no list" in done.stderr, done.stderr
    assert sockets == [] and untouched(project)


def test_an_exception_is_on_record_with_who_and_why(tmp_path: Path) -> None:
    project = replayed_project(tmp_path)
    script = Script([analyst(), conductor("", "", action="end", reason="enough")])
    with serving(script) as url:
        port = url.split(":")[2].removesuffix("/v1")
        configure(project, f"http://gateway.invalid:{port}/v1")
        refused, before = watched(project, *LLM)
        asked = len(script.requests)
        exception = ("--allow-endpoint", f"gateway.invalid:{port}", "--because", "a comparison")
        done, sockets = watched(project, *LLM, *exception)
    assert (refused.returncode, before, asked) == (128, [], 0), refused.stderr
    assert done.returncode == 1, done.stderr
    assert len(script.requests) == 2 and sockets != []
    run = recorded_run(project)
    (created,) = run.named("run.created")
    # The person's address is redacted as everywhere in a record; the name is not.
    exempt = {"endpoint": f"gateway.invalid:{port}", "who": "Test <<redacted:email>>", "why": "a comparison"}
    assert created["plan"]["exemption"] == exempt
    for message in run.named("agent.asked"):
        assert {name: message["message"]["data"][f"exempt_{name}"] for name in exempt} == exempt


def test_a_key_reaches_the_server_and_no_record(project: Project) -> None:
    script = Script([{"status": 401, "error": {"message": "no such key: key-of-a-person"}}])
    with serving(script) as url:
        configure(project, url)
        environment = {"HMOPT_GATEWAY_KEY": "key-of-a-person"}
        done = project.hmopt(*LLM, environment=environment)
    assert done.returncode == 1, done.stderr
    assert all(b"Bearer key-of-a-person" in one for one in script.requests) and script.requests
    run = recorded_run(project)
    texts = [str(one) for one in run.operations()] + [done.stdout, done.stderr]
    texts += [path.read_text(errors="replace") for path in (project.root / ".git/hmopt").rglob("*") if path.is_file()]
    assert any("takes no such key (HTTP 401)" in one for one in texts)
    assert not any("key-of-a-person" in one for one in texts)
