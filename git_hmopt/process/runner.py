# SPDX-License-Identifier: Apache-2.0
"""Run a program: own session, killed by group at its limit, output streamed to a file, environment built.

The environment of a child is what `built_environment` makes, never a copy of ours: a kernel build that depends on
a shell's variables is not reproducible, and a user's tokens are none of a build's business.
"""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from git_hmopt.errors import MissingProgramError, ProgramError, TimeLimitError
from git_hmopt.process.sandbox import Sandbox

TAIL_BYTES = 64 * 1024
LineSink = Callable[[bytes, int], None]
"""Called with each output line (without newline) and the host's monotonic clock, ns, when it arrived."""


@dataclass(frozen=True)
class Limits:
    """Hard limits; crossing `wall_s` kills the whole process group."""

    wall_s: float = 600.0
    cpu_s: int | None = None
    memory_bytes: int | None = None
    file_bytes: int | None = None


@dataclass(frozen=True)
class Finished:
    """How a program ended."""

    argv: tuple[str, ...]
    returncode: int
    output: bytes = field(repr=False)
    """All output if `keep_output`, else its last 64 KiB; stdout and stderr in one stream unless split."""
    errors: bytes = field(repr=False)
    wall_s: float
    cpu_s: float
    """User + system time of the child and all it waited for."""

    @property
    def ok(self) -> bool:
        """Say whether the program exited with 0."""
        return self.returncode == 0


def built_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment children get: a search path, C locale, a home that is nobody's, and `extra`."""
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "HOME": "/nonexistent",
        "TZ": "UTC",
    }
    environment.update(extra or {})
    return environment


def find_program(name: str, *, lost: str, install: str | None = None) -> str:
    """Return the program's path, or raise MissingProgramError that says what is lost without it."""
    found = shutil.which(name)
    if found is None:
        raise MissingProgramError(name, lost=lost, install=install)
    return found


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    limits: Limits = Limits(),
    stdin: bytes | None = None,
    log: Path | None = None,
    keep_output: bool = True,
    split_errors: bool = False,
    on_line: LineSink | None = None,
    sandbox: Sandbox | None = None,
    cpus: Sequence[int] | None = None,
    check: bool = False,
) -> Finished:
    """Run `argv` to its end and return how it ended.

    `log` receives all output as it comes. `cpus` pins the child. With `check`, a non-zero exit raises ProgramError.
    Raises MissingProgramError when the program is not there, TimeLimitError (with the partial output as `tail`) when
    the wall limit killed it. A KeyboardInterrupt or any other exception kills the group before it goes on.
    """
    command = list(sandbox.wrap(argv, cwd=cwd)) if sandbox else list(argv)
    started = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = _start(command, cwd, environment, limits, stdin is not None, split_errors, cpus)
    _live.add(child.pid)
    output, errors = _Tail(keep_output), _Tail(keep_output)
    try:
        with _open_log(log) as sink:
            feeder = _feed(child, stdin)
            timed_out = _pump(child, output, errors, sink, on_line, started + limits.wall_s)
            if timed_out:
                kill_group(child.pid)
            child.wait()
            if feeder:
                feeder.join()
    finally:
        # Whatever went wrong here, nothing that this call started may stay behind, daemons in its group included.
        kill_group(child.pid)
        child.wait()
        for stream in (child.stdin, child.stdout, child.stderr):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()
        _live.discard(child.pid)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    finished = Finished(
        argv=tuple(argv),
        returncode=child.returncode,
        output=output.bytes(),
        errors=errors.bytes(),
        wall_s=time.monotonic() - started,
        cpu_s=(after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime),
    )
    where = f" (log: {log})" if log else ""
    if timed_out:
        raise TimeLimitError(
            f"'{_short(argv)}' ran past its limit of {limits.wall_s:g} s and was killed{where}",
            tail=(finished.output + finished.errors)[-TAIL_BYTES:],
        )
    if check and not finished.ok:
        last = (finished.errors or finished.output).rstrip().rsplit(b"\n", 1)[-1].decode(errors="replace")
        raise ProgramError(
            f"'{_short(argv)}' ended with {_ending(child.returncode)}: {last[:300]}{where}",
            tail=(finished.output + finished.errors)[-TAIL_BYTES:],
        )
    return finished


_live: set[int] = set()


def live_children() -> frozenset[int]:
    """Return the process groups this process has running now (for the interrupt test and `doctor`)."""
    return frozenset(_live)


def kill_group(pgid: int) -> None:
    """End a process group: SIGTERM is not asked first, since a build's children ignore it too often."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pgid, signal.SIGKILL)


def _short(argv: Sequence[str]) -> str:
    text = " ".join(argv)
    return text if len(text) <= 120 else text[:117] + "..."


def _ending(returncode: int) -> str:
    if returncode < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-returncode).name
    return f"exit code {returncode}"


class _Tail:
    """Keeps all bytes, or the last TAIL_BYTES of them."""

    def __init__(self, keep_all: bool) -> None:
        self._keep_all = keep_all
        self._chunks = bytearray()

    def add(self, data: bytes) -> None:
        self._chunks += data
        if not self._keep_all and len(self._chunks) > 4 * TAIL_BYTES:
            del self._chunks[:-TAIL_BYTES]

    def bytes(self) -> bytes:
        return bytes(self._chunks if self._keep_all else self._chunks[-TAIL_BYTES:])


def _start(
    command: list[str],
    cwd: Path | None,
    environment: Mapping[str, str] | None,
    limits: Limits,
    has_input: bool,
    split_errors: bool,
    cpus: Sequence[int] | None,
) -> subprocess.Popen[bytes]:
    def prepare() -> None:
        if cpus:
            os.sched_setaffinity(0, set(cpus))
        for which, value in (
            (resource.RLIMIT_CPU, limits.cpu_s),
            (resource.RLIMIT_AS, limits.memory_bytes),
            (resource.RLIMIT_FSIZE, limits.file_bytes),
        ):
            if value is not None:
                resource.setrlimit(which, (value, value))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    try:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=built_environment(environment),
            stdin=subprocess.PIPE if has_input else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if split_errors else subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=prepare,
        )
    except FileNotFoundError as error:
        if cwd is not None and not cwd.is_dir():
            raise ProgramError(f"cannot run '{_short(command)}': its directory {cwd} does not exist") from error
        raise MissingProgramError(command[0], lost=f"cannot run '{_short(command)}'") from error
    except OSError as error:
        raise ProgramError(f"cannot run '{_short(command)}': {error.strerror}") from error


@contextlib.contextmanager
def _open_log(log: Path | None) -> Iterator[IO[bytes] | None]:
    if log is None:
        yield None
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        yield sink


def _feed(child: subprocess.Popen[bytes], data: bytes | None) -> threading.Thread | None:
    if data is None or child.stdin is None:
        return None
    stream = child.stdin

    def write() -> None:
        # The child may end before it has read everything; that is its right.
        with contextlib.suppress(BrokenPipeError, OSError):
            stream.write(data)
            stream.close()

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    return thread


def _pump(
    child: subprocess.Popen[bytes],
    output: _Tail,
    errors: _Tail,
    log: IO[bytes] | None,
    on_line: LineSink | None,
    deadline: float,
) -> bool:
    """Read until both streams end; return whether the deadline came first."""
    assert child.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ, output)
        if child.stderr is not None:
            selector.register(child.stderr, selectors.EVENT_READ, errors)
        partial = b""
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                return True
            # A grandchild may hold the pipe open after the child ended; look at the child once a second.
            ready = selector.select(min(left, 1.0))
            if not ready and child.poll() is not None:
                return False
            for key, _ in ready:
                data = os.read(key.fd, 1 << 16)
                arrived = time.monotonic_ns()
                if not data:
                    selector.unregister(key.fileobj)
                    continue
                key.data.add(data)
                if log:
                    log.write(data)
                if on_line and key.data is output:
                    *lines, partial = (partial + data).split(b"\n")
                    for line in lines:
                        on_line(line.rstrip(b"\r"), arrived)
        if on_line and partial:
            on_line(partial, time.monotonic_ns())
    # Both pipes are closed, yet the child may still run (it closed them itself).
    try:
        child.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return True
    return False
