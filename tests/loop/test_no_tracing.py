# SPDX-License-Identifier: Apache-2.0
"""A run sends nothing to anybody, whatever LangSmith's variables in the shell say."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.loop.project import Project
from tests.loop.recorded import recorded_run

ROOT = Path(__file__).parents[2]


class Listener:
    """A server on the loopback that counts who comes."""

    def __init__(self) -> None:
        self.connections = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()


def tracing(address: str) -> dict[str, str]:
    """Return the variables with which LangSmith is switched on, all leading to `address`.

    LANGSMITH_RUNS_ENDPOINTS is not among them: together with the others it makes LangSmith refuse to work at all.
    """
    return {
        "LANGSMITH_TRACING": "true",
        "LANGSMITH_TRACING_V2": "true",
        "LANGCHAIN_TRACING": "true",
        "LANGCHAIN_TRACING_V2": "true",
        "LANGSMITH_API_KEY": "not-a-key",
        "LANGCHAIN_API_KEY": "not-a-key",
        "LANGSMITH_ENDPOINT": address,
        "LANGCHAIN_ENDPOINT": address,
    }


# A bare graph under the same variables: the listener hears this one, so its silence about ours means something.
_TRACED = """
from langgraph.graph import END, START, StateGraph
graph = StateGraph(dict)
graph.add_node("node", lambda state: state)
graph.add_edge(START, "node")
graph.add_edge("node", END)
graph.compile().invoke({"x": 1})
from langchain_core.tracers.langchain import wait_for_all_tracers
wait_for_all_tracers()
"""


def test_the_listener_hears_a_graph_that_is_traced(tmp_path: Path) -> None:
    listener = Listener()
    try:
        subprocess.run(
            [sys.executable, "-c", _TRACED],
            env={"PATH": os.defpath, "HOME": str(tmp_path), **tracing(listener.address)},
            capture_output=True,
            timeout=120,
            check=False,
        )
    finally:
        listener.close()
    assert listener.connections > 0


def test_a_whole_run_opens_no_connection(project: Project, tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed: the system calls cannot be watched (apt-get install strace)")
    calls = tmp_path / "calls"
    listener = Listener()
    try:
        done = subprocess.run(
            [strace, "-f", "-qq", "--seccomp-bpf", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(calls),
             "git-hmopt", "optimize", "--workload", "scan-blocks", "--seed", "7", "--iterations", "1", "--no-sandbox"],
            cwd=project.root,
            env={**project.environment, **tracing(listener.address)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )  # fmt: skip
    finally:
        listener.close()
    assert done.returncode == 0, done.stderr
    assert recorded_run(project).named("run.closed")[0]["status"] == "succeeded"
    assert listener.connections == 0
    assert "strace" not in done.stderr
    # Looking up the user's name may ask a local name service; nothing else is asked.
    asked = re.findall(r"(?:connect|send\w+)\((.*)", calls.read_text())
    assert [call for call in asked if "AF_INET" in call or "AF_PACKET" in call] == []
    assert [call for call in asked if "nscd" not in call and "AF_UNIX" in call] == []


def test_a_whole_run_reaches_no_listener(project: Project) -> None:
    listener = Listener()
    try:
        done = project.hmopt(
            *("optimize", "--workload", "scan-blocks", "--seed", "7", "--iterations", "1"),
            environment=tracing(listener.address),
        )
    finally:
        listener.close()
    assert done.returncode == 0, done.stderr
    assert listener.connections == 0
