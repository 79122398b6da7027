# SPDX-License-Identifier: Apache-2.0
"""Run a program: own session, killed by group at its limit, output streamed to a file, environment built.

The environment of a child is what `built_environment` makes, never a copy of ours: a kernel build that depends on
a shell's variables is not reproducible, and a user's tokens are none of a build's business.

What a limit ends is the process group. An unconfined program that starts a session of its own (setsid) leaves the
group and outlives the limit; in a sandbox it cannot, because its process namespace ends with it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
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
from enum import Enum, auto
from io import FileIO
from pathlib import Path
from typing import IO, Any

from git_hmopt.errors import MissingProgramError, ProgramError, StoreError, TimeLimitError
from git_hmopt.process.sandbox import Sandbox

TAIL_BYTES = 64 * 1024
LINE_BYTES = 1 << 20
"""A longer line is passed on in pieces of this size: a program may print without ever ending a line."""
LineSink = Callable[[bytes, int], None]
"""Called with each line of stdout (without its end; stderr's too unless split) and the host's monotonic clock, ns,
when it arrived."""

# Ctrl-C between the fork and our note of the process id would leave a program behind that nobody knows.
_HELD_BACK = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# How often a child is looked at that neither prints nor closes its output.
_TICK_S = 0.5
# How long output is awaited after the child ended, when a process it started holds the pipe open.
_DRAIN_S = 1.0


@dataclass(frozen=True)
class Limits:
    """Hard limits; crossing `wall_s` or `output_bytes` kills the whole process group."""

    wall_s: float = 600.0
    cpu_s: int | None = None
    memory_bytes: int | None = None
    file_bytes: int | None = None
    output_bytes: int = 1 << 30
    """A kernel that panics in a circle prints without end."""


@dataclass(frozen=True)
class Finished:
    """How a program ended."""

    argv: tuple[str, ...]
    returncode: int
    output: bytes = field(repr=False)
    """All output if `keep_output`, else its last 64 KiB; stdout and stderr in one stream unless split."""
    errors: bytes = field(repr=False)
    wall_s: float
    """From its start to its own end, whatever it left running."""
    cpu_s: float
    """User + system time of the child and all it waited for; bwrap may end before it waited, which loses some."""

    @property
    def ending(self) -> str:
        """Return how it ended in words: `exit code 3`, `SIGSEGV`, `exit code 139 (SIGSEGV)` of a shell."""
        return _ending(self.returncode)

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

    `log` receives all output as it comes, after what it holds already. `cpus` pins the child. With `check`, a
    non-zero exit raises ProgramError. Raises MissingProgramError when the program is not there, TimeLimitError (with
    the partial output as `tail`) when the wall limit killed it, ProgramError when it printed past its limit,
    StoreError when the log cannot be written. A KeyboardInterrupt or any other exception kills the group before it
    goes on.
    """
    command = list(argv)
    if sandbox:
        _refuse_missing(argv, cwd, environment)
        command = sandbox.wrap(argv, cwd=cwd)
    started = time.monotonic()
    child = _Child()
    output, errors = _Tail(keep_output), _Tail(keep_output)
    try:
        with _open_log(log) as sink:
            child.start(command, cwd, environment, limits, stdin is not None, split_errors, cpus)
            pump = _Pump(child, output, errors, _Lines(on_line) if on_line else None, sink, limits.output_bytes)
            cut = pump.run(started + limits.wall_s, stdin)
    finally:
        # Whatever went wrong here, nothing that this call started may stay behind, daemons in its group included.
        child.end()
    finished = Finished(
        argv=tuple(argv),
        returncode=child.returncode,
        output=output.bytes(),
        errors=errors.bytes(),
        wall_s=pump.ended - started,
        cpu_s=child.cpu_s,
    )
    _raise_for(finished, cut, limits, check, f" (log: {log})" if log else "")
    return finished


def live_children() -> frozenset[int]:
    """Return the process groups this process has running now, in whatever thread."""
    return frozenset(_live)


def kill_live() -> None:
    """End every program that runs now; for the main thread's Ctrl-C, which other threads do not see.

    Safe in a signal handler: while the main thread starts a program, its handlers wait (`_held_back`).
    """
    # Another thread may be just between a fork and its note of the process; but never wait for it for good.
    known = _starting.acquire(timeout=1.0)
    try:
        for pgid in live_children():
            kill_group(pgid)
    finally:
        if known:
            _starting.release()


def kill_group(pgid: int) -> None:
    """End a process group: SIGTERM is not asked first, since a build's children ignore it too often."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pgid, signal.SIGKILL)


# Adding and discarding one element are atomic, so threads need no lock.
_live: set[int] = set()


class _Cut(Enum):
    """Why a program was killed."""

    WALL = auto()
    OUTPUT = auto()


def _raise_for(finished: Finished, cut: _Cut | None, limits: Limits, check: bool, where: str) -> None:
    if cut is None and (finished.ok or not check):
        return
    tail = (finished.output + finished.errors)[-TAIL_BYTES:]
    name = _short(finished.argv)
    if cut is _Cut.WALL:
        raise TimeLimitError(f"'{name}' ran past its limit of {limits.wall_s:g} s and was killed{where}", tail=tail)
    if cut is _Cut.OUTPUT:
        raise ProgramError(f"'{name}' printed more than {limits.output_bytes} bytes and was killed{where}", tail=tail)
    last = (finished.errors or finished.output).rstrip().rsplit(b"\n", 1)[-1].decode(errors="replace")[-300:]
    said = f": {_printable(last)}" if last else ""
    raise ProgramError(f"'{name}' ended with {_ending(finished.returncode)}{said}{where}", tail=tail)


def _short(argv: Sequence[str]) -> str:
    # A shell's argument may be a whole script, and an error is one line.
    text = _printable(" ".join(" ".join(argv).split()))
    return text if len(text) <= 120 else text[:117] + "..."


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in text)


def _ending(returncode: int) -> str:
    # Shells and bwrap answer 128 + n for a program that signal n ended.
    number = -returncode if returncode < 0 else returncode - 128
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"exit code {returncode}"
    return name if returncode < 0 else f"exit code {returncode} ({name})"


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


class _Lines:
    """Cuts a stream into lines of at most LINE_BYTES."""

    def __init__(self, sink: LineSink) -> None:
        self._sink = sink
        self._partial = bytearray()

    def add(self, data: bytes, arrived_ns: int) -> None:
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._take(line, arrived_ns)
            self._end_line(arrived_ns)
        self._take(rest, arrived_ns)

    def finish(self) -> None:
        """Pass on what stands after the last newline."""
        if self._partial:
            self._end_line(time.monotonic_ns())

    def _take(self, data: bytes, arrived_ns: int) -> None:
        self._partial += data
        while len(self._partial) > LINE_BYTES:
            self._sink(bytes(self._partial[:LINE_BYTES]), arrived_ns)
            del self._partial[:LINE_BYTES]

    def _end_line(self, arrived_ns: int) -> None:
        line = bytes(self._partial.rstrip(b"\r"))
        self._partial.clear()
        self._sink(line, arrived_ns)


class _Log:
    """An open log file, unbuffered: who follows it sees what was printed."""

    def __init__(self, path: Path, stream: FileIO) -> None:
        self._path = path
        self._stream = stream

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[self._stream.write(left) or 0 :]
        except OSError as error:
            raise _log_error(self._path, error) from error


@contextlib.contextmanager
def _open_log(log: Path | None) -> Iterator[_Log | None]:
    if log is None:
        yield None
        return
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        stream = FileIO(log, "ab")
    except OSError as error:
        raise _log_error(log, error) from error
    with stream:
        yield _Log(log, stream)


def _log_error(log: Path, error: OSError) -> StoreError:
    step = "free space there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "make its directory writable"
    return StoreError(f"the log {log} cannot be written: {error.strerror}", next_step=step)


class _Child:
    """A program from before its start to after its end; `end` is right at any time."""

    def __init__(self) -> None:
        self._popen: subprocess.Popen[bytes] | None = None
        self.returncode = 0
        self.cpu_s = 0.0

    @property
    def popen(self) -> subprocess.Popen[bytes]:
        assert self._popen is not None
        return self._popen

    def start(
        self,
        command: Sequence[str],
        cwd: Path | None,
        environment: Mapping[str, str] | None,
        limits: Limits,
        has_input: bool,
        split_errors: bool,
        cpus: Sequence[int] | None,
    ) -> None:
        limited = any(one is not None for one in (limits.cpu_s, limits.memory_bytes, limits.file_bytes))
        try:
            with _held_back(), _inherited(cpus):
                self._popen = subprocess.Popen(
                    command,
                    bufsize=0,
                    cwd=cwd,
                    env=built_environment(environment),
                    stdin=subprocess.PIPE if has_input else subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE if split_errors else subprocess.STDOUT,
                    start_new_session=True,
                    # Only where it must be: with one, Python forks instead of vforking (see `_inherited`).
                    preexec_fn=functools.partial(_limit, limits) if limited else None,
                )
                _live.add(self._popen.pid)
        except FileNotFoundError as error:
            raise _not_found(command, cwd) from error
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ProgramError(f"cannot run '{_short(command)}': {reason}") from error
        except subprocess.SubprocessError as error:
            raise ProgramError(
                f"cannot run '{_short(command)}': its limits or CPUs are not allowed here ({limits}, CPUs {cpus})"
            ) from error

    def has_ended(self) -> bool:
        """Say whether the program ended; it stays unreaped, so that its number is nobody else's."""
        return os.waitid(os.P_PID, self.popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def wait(self, deadline: float) -> bool:
        """Wait for the end; return False when the deadline came first."""
        pause = 0.0001
        while not self.has_ended():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(pause, left))
            pause = min(2 * pause, 0.05)
        return True

    def end(self) -> None:
        """Kill what is left of the group, reap the program and close its pipes."""
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
        try:
            child, self._popen = self._popen, None
            if child is not None:
                self._reap(child)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _reap(self, child: subprocess.Popen[bytes]) -> None:
        # The leader is not reaped yet, so this group is still the one it led.
        kill_group(child.pid)
        _live.discard(child.pid)
        _, status, usage = os.wait4(child.pid, 0)
        self.returncode = child.returncode = os.waitstatus_to_exitcode(status)
        self.cpu_s = usage.ru_utime + usage.ru_stime
        for stream in (child.stdin, child.stdout, child.stderr):
            if stream:
                stream.close()


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Let signals that this process handles itself wait while a program starts: it must be known before it is killed.

    Their handlers are replaced rather than the signals blocked, since a program would inherit the blocking. Python
    runs handlers in the main thread alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        # Inherited from whoever started us; with it the kernel reaps children itself and their exit codes are lost.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    caught: list[int] = []
    before: dict[int, Any] = {}
    try:
        for number in _HELD_BACK:
            if callable(signal.getsignal(number)):
                before[number] = signal.signal(number, lambda number, _: caught.append(number))
        yield
    finally:
        for replaced, handler in before.items():
            signal.signal(replaced, handler)
        for late in caught:
            signal.raise_signal(late)


# Limits are of the process: two threads must not restore them over each other.
_starting = threading.Lock()


@contextlib.contextmanager
def _inherited(cpus: Sequence[int] | None) -> Iterator[None]:
    """Have this process be for a moment what a program it starts is to inherit: without core dumps, on its CPUs.

    A function that runs in the child could say it there, but Python must fork() for one: copying the page tables of a
    process that has loaded numpy, libclang and langgraph took 8 ms of CPU and 19 ms in all a start, vfork() 1 ms.
    """
    with _starting:
        soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
        here = os.sched_getaffinity(0)
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
            if cpus:
                _pin(cpus)
            yield
        finally:
            if cpus:
                os.sched_setaffinity(0, here)
            resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


def _pin(cpus: Sequence[int]) -> None:
    try:
        os.sched_setaffinity(0, set(cpus))
    except OSError as error:
        raise subprocess.SubprocessError(f"CPUs {cpus}: {error.strerror}") from error


def _limit(limits: Limits) -> None:
    """Apply what binds a process and its children; runs in the child before it becomes the program."""
    if limits.cpu_s is not None:
        # SIGXCPU at the limit says what happened; SIGKILL a second later is for programs that ignore it.
        _lower(resource.RLIMIT_CPU, limits.cpu_s, limits.cpu_s + 1)
    if limits.memory_bytes is not None:
        _lower(resource.RLIMIT_AS, limits.memory_bytes, limits.memory_bytes)
    if limits.file_bytes is not None:
        _lower(resource.RLIMIT_FSIZE, limits.file_bytes, limits.file_bytes)


def _lower(which: int, soft: int, hard: int) -> None:
    _, allowed = resource.getrlimit(which)
    if allowed != resource.RLIM_INFINITY:
        soft, hard = min(soft, allowed), min(hard, allowed)
    resource.setrlimit(which, (soft, hard))


def _refuse_missing(argv: Sequence[str], cwd: Path | None, environment: Mapping[str, str] | None) -> None:
    """Raise for a program that is not there: in a sandbox only bwrap's exit code would tell."""
    program = argv[0]
    if cwd is not None and not cwd.is_dir():
        raise _not_found(argv, cwd)
    where = str((cwd or Path()) / program) if os.sep in program else program
    if shutil.which(where, path=built_environment(environment)["PATH"]) is None:
        if os.sep in program and Path(where).exists():
            raise ProgramError(f"cannot run '{_short(argv)}': {where} is not an executable file")
        raise _not_found(argv, cwd)


def _not_found(command: Sequence[str], cwd: Path | None) -> MissingProgramError | ProgramError:
    if cwd is not None and not cwd.is_dir():
        return ProgramError(f"cannot run '{_short(command)}': its directory {cwd} does not exist")
    if os.sep in command[0] and ((cwd or Path()) / command[0]).exists():
        return ProgramError(f"cannot run '{_short(command)}': the interpreter its first line names does not exist")
    return MissingProgramError(command[0], lost=f"cannot run '{_short(command)}'")


class _Pump:
    """Moves a child's input and output until it ended."""

    def __init__(
        self,
        child: _Child,
        output: _Tail,
        errors: _Tail,
        lines: _Lines | None,
        log: _Log | None,
        output_bytes: int,
    ) -> None:
        self._child = child
        self._output = output
        self._errors = errors
        self._lines = lines
        self._log = log
        self._room = output_bytes
        self.ended = time.monotonic()
        """When the child's end was seen."""

    def run(self, deadline: float, stdin: bytes | None) -> _Cut | None:
        """Read until both streams end; return why the child must be killed, None when it ended by itself."""
        with selectors.DefaultSelector() as selector:
            self._register(selector, stdin)
            cut = self._move(selector, deadline)
        if cut is None and not self._seen_end:
            # Both pipes are closed, yet the child may still run (it closed them itself).
            cut = None if self._child.wait(deadline) else _Cut.WALL
            self.ended = time.monotonic()
        if self._lines:
            self._lines.finish()
        return cut

    def _register(self, selector: selectors.BaseSelector, stdin: bytes | None) -> None:
        self._seen_end = False
        popen = self._child.popen
        assert popen.stdout is not None
        selector.register(popen.stdout, selectors.EVENT_READ, self._output)
        if popen.stderr is not None:
            selector.register(popen.stderr, selectors.EVENT_READ, self._errors)
        self._feed = _Feed(popen.stdin, stdin)
        self._feed.register(selector)

    def _move(self, selector: selectors.BaseSelector, deadline: float) -> _Cut | None:
        while selector.get_map():
            now = time.monotonic()
            if not self._seen_end and self._child.has_ended():
                self._seen_end, self.ended = True, now
                deadline = now + _DRAIN_S
                self._feed.close(selector)
            if now >= deadline:
                return None if self._seen_end else _Cut.WALL
            for key, _ in selector.select(min(deadline - now, _TICK_S)):
                if isinstance(key.data, _Tail):
                    self._read(selector, key)
                else:
                    self._feed.write(selector)
            if self._room < 0:
                return _Cut.OUTPUT
        return None

    def _read(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        data = os.read(key.fd, 1 << 16)
        arrived = time.monotonic_ns()
        if not data:
            selector.unregister(key.fileobj)
            return
        self._room -= len(data)
        key.data.add(data)
        if self._log:
            self._log.write(data)
        if self._lines and key.data is self._output:
            self._lines.add(data, arrived)


class _Feed:
    """Gives a child its input as fast as it takes it; a child that ends before it has read all is within its rights."""

    def __init__(self, stream: IO[bytes] | None, data: bytes | None) -> None:
        self._stream = stream
        self._left = memoryview(data or b"")

    def register(self, selector: selectors.BaseSelector) -> None:
        if self._stream is not None:
            os.set_blocking(self._stream.fileno(), False)
            selector.register(self._stream, selectors.EVENT_WRITE, self)

    def write(self, selector: selectors.BaseSelector) -> None:
        if self._stream is None:
            return
        try:
            self._left = self._left[os.write(self._stream.fileno(), self._left[: 1 << 16]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._left = self._left[:0]
        if not self._left:
            self.close(selector)

    def close(self, selector: selectors.BaseSelector) -> None:
        if self._stream is not None:
            selector.unregister(self._stream)
            self._stream.close()
            self._stream = None
