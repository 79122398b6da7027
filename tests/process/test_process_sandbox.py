# SPDX-License-Identifier: Apache-2.0
"""The sandbox: what a confined program sees, writes and reaches."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from git_hmopt.errors import StoreError
from git_hmopt.process.runner import run
from git_hmopt.process.sandbox import Sandbox, keep_private, sandbox_missing

needs_bwrap = pytest.mark.skipif(sandbox_missing() is not None, reason=str(sandbox_missing()))


@pytest.fixture
def fresh_probe() -> Iterator[None]:
    """Let the next question be answered anew, and the one after this test too."""
    sandbox_missing.cache_clear()
    yield
    sandbox_missing.cache_clear()


def shell(script: str, sandbox: Sandbox, cwd: Path | None = None) -> str:
    """Run a shell script inside and return what it printed."""
    return run(["sh", "-c", script], sandbox=sandbox, cwd=cwd).output.decode()


# -- writing and reading --------------------------------------------------------------------------------------------


@needs_bwrap
def test_only_the_writable_directory_can_be_written(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    outside.mkdir()
    sandbox = Sandbox(writable=(inside,), readable=(outside,))
    said = shell(f"echo ok >{inside}/file && echo yes; echo bad >{outside}/file || echo no", sandbox)
    assert said.splitlines()[0] == "yes"
    assert said.splitlines()[-1] == "no"
    assert (inside / "file").read_text() == "ok\n"
    assert list(outside.iterdir()) == []


@needs_bwrap
def test_the_rest_of_the_machine_is_read_only() -> None:
    marker = f"hmopt-{os.getpid()}"
    for directory in ("/usr", "/var", str(Path.home())):
        said = shell(f"touch {directory}/{marker} || echo refused", Sandbox(writable=()))
        assert said.endswith("refused\n"), directory
        assert not (Path(directory) / marker).exists()


@needs_bwrap
def test_tmp_is_empty_and_its_own(tmp_path: Path) -> None:
    secret = Path("/tmp") / f"hmopt-secret-{os.getpid()}"
    secret.write_text("secret")
    try:
        said = shell("ls -A /tmp; touch /tmp/mine /dev/shm/mine && ls /tmp", Sandbox(writable=()))
    finally:
        secret.unlink()
    assert said == "mine\n"
    assert not Path("/tmp/mine").exists()
    assert not Path("/dev/shm/mine").exists()


@needs_bwrap
def test_a_working_directory_below_tmp_is_there_and_read_only() -> None:
    base = Path("/tmp") / f"hmopt-cwd-{os.getpid()}"
    deep = base / "deep"
    deep.mkdir(parents=True)
    try:
        (deep / "source").write_text("text\n")
        (base / "sibling").write_text("not to be seen")
        said = shell("pwd; cat source; touch made || echo refused; ls ..", Sandbox(writable=()), cwd=deep)
        assert said.splitlines()[:2] == [str(deep), "text"]
        assert said.splitlines()[-2:] == ["refused", "deep"]
        # Made writable, or inside what is writable, it stays so.
        for writable in (deep, base):
            said = shell("touch made && echo made", Sandbox(writable=(writable,)), cwd=deep)
            assert said == "made\n"
            (deep / "made").unlink()
    finally:
        for path in sorted(base.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        base.rmdir()


@needs_bwrap
def test_readable_paths_below_tmp_are_seen_and_missing_ones_do_no_harm(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "data").write_text("data\n")
    sandbox = Sandbox(writable=(), readable=(given, tmp_path / "not-there"))
    assert shell(f"cat {given}/data; touch {given}/new || echo refused", sandbox).startswith("data\n")
    assert not (given / "new").exists()


@needs_bwrap
def test_what_is_named_readable_inside_a_writable_directory_stays_writable(tmp_path: Path) -> None:
    (tmp_path / "image").write_text("old\n")
    sandbox = Sandbox(writable=(tmp_path,), readable=(tmp_path / "image",))
    assert shell("echo new >next && mv next image && cat image", sandbox, cwd=tmp_path) == "new\n"


@needs_bwrap
def test_a_single_file_can_be_writable(tmp_path: Path) -> None:
    target = tmp_path / "result"
    target.write_text("")
    shell(f"echo there >{target}; echo no >{tmp_path}/other", Sandbox(writable=(target,)))
    assert target.read_text() == "there\n"
    assert not (tmp_path / "other").exists()


@needs_bwrap
def test_relative_paths_mean_what_they_mean_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tree").mkdir()
    sandbox = Sandbox(writable=(Path("tree"),))
    assert shell("pwd; echo made >file; cat file", sandbox, cwd=Path("tree")) == f"{tmp_path}/tree\nmade\n"


@needs_bwrap
def test_a_writable_directory_that_cannot_be_made_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"the directory .*/file/below cannot be made: Not a directory"):
        run(["true"], sandbox=Sandbox(writable=(tmp_path / "file" / "below",)))


# -- network and processes ------------------------------------------------------------------------------------------

CONNECT = """
import socket, sys
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5)
except OSError as error:
    print("refused:", error)
else:
    print("connected")
"""


@needs_bwrap
def test_there_is_no_network_not_even_the_hosts_loopback() -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        command = [sys.executable, "-I", "-S", "-c", CONNECT, str(server.getsockname()[1])]
        assert run(command).output == b"connected\n"
        assert run(command, sandbox=Sandbox(writable=())).output.startswith(b"refused: ")
    interfaces = shell("tail -n +3 /proc/net/dev | cut -d: -f1", Sandbox(writable=())).split()
    assert set(interfaces) <= {"lo"}


@needs_bwrap
def test_other_processes_and_their_environment_are_out_of_sight() -> None:
    said = shell(f"ls -d /proc/[0-9]*; cat /proc/{os.getpid()}/environ", Sandbox(writable=()))
    seen = [line for line in said.splitlines() if line.startswith("/proc/") and line.rsplit("/", 1)[-1].isdigit()]
    assert 1 <= len(seen) <= 5
    assert "PYTEST_CURRENT_TEST" not in said


@needs_bwrap
def test_what_comes_out_and_the_exit_code_are_the_programs_own() -> None:
    finished = run(
        ["sh", "-c", "cat; echo err >&2; exit 42"], stdin=b"in\n", split_errors=True, sandbox=Sandbox(writable=())
    )
    assert (finished.output, finished.errors, finished.returncode) == (b"in\n", b"err\n", 42)
    assert finished.argv[0] == "sh"


# -- without bubblewrap ---------------------------------------------------------------------------------------------


def test_a_missing_bwrap_is_said_and_programs_run_unconfined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_probe: None
) -> None:
    (tmp_path / "sh").symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert sandbox_missing() == (
        "bwrap is not installed: builds, tests and workloads run unconfined (install: apt-get install bubblewrap)"
    )
    sandbox = Sandbox(writable=(tmp_path,))
    assert sandbox.wrap(["sh", "-c", "true"]) == ["sh", "-c", "true"]
    assert shell("echo unconfined", sandbox) == "unconfined\n"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'bwrap: No permissions to create' >&2\necho 'a namespace' >&2\nexit 1", "to create a namespace"),
        ("exit 3", "exit code 3"),
    ],
)
def test_a_bwrap_that_does_not_work_is_said_in_one_line(
    script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_probe: None
) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = sandbox_missing()
    assert answer is not None
    assert answer.startswith("bwrap does not work here (")
    assert said in answer
    assert answer.endswith("): builds, tests and workloads run unconfined")
    assert "\n" not in answer


def test_the_probe_asks_for_all_that_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_probe: None
) -> None:
    """Containers exist in which the namespaces work and mounting /proc does not."""
    fake = tmp_path / "bwrap"
    fake.write_text('#!/bin/sh\ncase "$*" in *--proc*) echo "Can\'t mount proc" >&2; exit 1;; esac\nexit 0\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "Can't mount proc" in str(sandbox_missing())


@needs_bwrap
def test_what_is_private_is_not_shown_wherever_it_lies(tmp_path: Path) -> None:
    for place in ("plain", "secret", "shown/secrets"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "file").write_text(place)
    (tmp_path / "link").symlink_to(tmp_path / "secret/file")
    keep_private([tmp_path / "link", tmp_path / "shown/secrets", tmp_path / "missing"])
    try:
        script = f"cat 2>/dev/null {tmp_path}/*/file {tmp_path}/link; ls {tmp_path}/shown/secrets; true"
        assert shell(script, Sandbox(writable=(tmp_path,))) == "plain"
    finally:
        keep_private([])
