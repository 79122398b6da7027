# SPDX-License-Identifier: Apache-2.0
"""The runner on real programs: what they print, how they end, and that nothing of theirs stays."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_hmopt.errors import MissingProgramError, ProgramError, StoreError, TimeLimitError
from git_hmopt.process import runner
from git_hmopt.process.runner import (
    LINE_BYTES,
    TAIL_BYTES,
    Limits,
    built_environment,
    find_program,
    kill_live,
    live_children,
    run,
)
from git_hmopt.process.sandbox import Sandbox, sandbox_missing
from tests.process.processes import alive, appeared, gone, mark, swept, until

SANDBOXES = [
    pytest.param(None, id="unconfined"),
    pytest.param(
        Sandbox(writable=()),
        id="sandboxed",
        marks=pytest.mark.skipif(sandbox_missing() is not None, reason=str(sandbox_missing())),
    ),
]


def python(code: str) -> list[str]:
    """Return the command that runs Python code without site packages, which start faster so."""
    return [sys.executable, "-I", "-S", "-c", code]


# -- output ---------------------------------------------------------------------------------------------------------


def test_output_and_errors_come_in_one_stream_or_split() -> None:
    script = ["sh", "-c", "echo out; echo err >&2; exit 3"]
    joined = run(script)
    assert (joined.output, joined.errors, joined.returncode, joined.ok) == (b"out\nerr\n", b"", 3, False)
    split = run(script, split_errors=True)
    assert (split.output, split.errors) == (b"out\n", b"err\n")


def test_bytes_that_are_no_text_come_back_as_they_are() -> None:
    lines: list[bytes] = []
    every = bytes(range(256)) * 4
    finished = run(["cat"], stdin=every, on_line=lambda line, _: lines.append(line))
    assert finished.output == every
    assert lines == [line.rstrip(b"\r") for line in every.split(b"\n")]


def test_lines_lose_their_ends_and_the_last_needs_none() -> None:
    seen: list[tuple[bytes, int]] = []
    before = time.monotonic_ns()
    run(
        ["sh", "-c", r"printf 'one\r\n\ntwo\n'; sleep 0.5; printf 'half'; sleep 0.05; printf ' line\r'"],
        on_line=lambda line, when: seen.append((line, when)),
    )
    assert [line for line, _ in seen] == [b"one", b"", b"two", b"half line"]
    times = [when for _, when in seen]
    assert times == sorted(times)
    assert times[0] >= before
    # Not half a second exactly: a busy machine may bring the earlier lines late.
    assert times[3] - times[2] >= 100e6


def test_lines_are_those_of_stdout_when_errors_are_split() -> None:
    seen: list[bytes] = []
    finished = run(["sh", "-c", "echo no >&2; echo yes"], split_errors=True, on_line=lambda line, _: seen.append(line))
    assert seen == [b"yes"]
    assert finished.errors == b"no\n"


def test_a_line_without_an_end_is_cut_in_pieces() -> None:
    pieces: list[bytes] = []
    script = f"head -c {5 * LINE_BYTES - 1} /dev/zero; echo end; head -c {LINE_BYTES} /dev/zero; echo; echo more"
    finished = run(["sh", "-c", script], on_line=lambda line, _: pieces.append(line))
    assert [len(piece) for piece in pieces] == [*[LINE_BYTES] * 5, 2, LINE_BYTES, 4]
    assert b"".join(pieces) == finished.output.replace(b"\n", b"")


@given(st.lists(st.text("ab\r\n", max_size=9)))
def test_how_a_stream_arrives_does_not_show_in_its_lines(reads: list[str]) -> None:
    whole = "".join(reads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "LINE_BYTES", 4)
        seen: list[list[bytes]] = []
        for chunks in (reads, [whole]):
            pieces: list[bytes] = []
            lines = runner._Lines(lambda line, _, pieces=pieces: pieces.append(line))  # type: ignore[misc]
            for chunk in chunks:
                lines.add(chunk.encode(), 0)
            lines.finish()
            seen.append(pieces)
    assert seen[0] == seen[1]
    assert all(len(piece) <= 4 and b"\n" not in piece for piece in seen[0])
    assert b"".join(seen[0]).replace(b"\r", b"").decode() == whole.replace("\n", "").replace("\r", "")


def test_the_end_of_the_output_alone_is_kept_in_bounded_memory() -> None:
    tracemalloc.start()
    try:
        finished = run(["sh", "-c", "head -c 50000000 /dev/zero; echo end"], keep_output=False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert finished.output == bytes(TAIL_BYTES - 4) + b"end\n"
    assert peak < 4 << 20


def test_a_program_that_prints_without_end_is_killed() -> None:
    with pytest.raises(ProgramError, match=r"'yes' printed more than 1000000 bytes and was killed") as caught:
        run(["yes"], limits=Limits(wall_s=60, output_bytes=1_000_000))
    assert not isinstance(caught.value, TimeLimitError)
    assert caught.value.tail.endswith(b"y\n")
    assert len(caught.value.tail) <= TAIL_BYTES


# -- input ----------------------------------------------------------------------------------------------------------


def test_a_large_input_goes_through_while_output_comes_back() -> None:
    data = os.urandom(4 << 20)
    assert run(["cat"], stdin=data).output == data


def test_an_empty_input_ends_at_once_and_none_is_dev_null() -> None:
    assert run(["wc", "-c"], stdin=b"").output == b"0\n"
    assert run(["readlink", "/proc/self/fd/0"]).output == b"/dev/null\n"


def test_a_program_that_reads_nothing_is_no_error() -> None:
    finished = run(["sh", "-c", "exec <&-; sleep 0.2; exit 4"], stdin=bytes(4 << 20))
    assert finished.returncode == 4
    assert run(["true"], stdin=bytes(4 << 20)).ok


def test_input_that_only_a_left_over_process_could_read_holds_nothing_up() -> None:
    with swept(mark()) as marked:
        finished = run(["sh", "-c", f"sleep {marked} <&0 & exit 0"], stdin=bytes(4 << 20), limits=Limits(wall_s=60))
        assert finished.ok
        assert gone(marked)


# -- programs and directories that are not there --------------------------------------------------------------------


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_a_missing_program_is_named(sandbox: Sandbox | None, tmp_path: Path) -> None:
    for name in ("no-such-program", "./no-such-program"):
        with pytest.raises(MissingProgramError) as caught:
            run([name, "--flag"], cwd=tmp_path, sandbox=sandbox)
        assert str(caught.value) == f"'{name}' is not installed: cannot run '{name} --flag'"
        assert caught.value.program == name


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_a_missing_directory_is_named(sandbox: Sandbox | None, tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"cannot run 'true': its directory /.*/gone does not exist"):
        run(["true"], cwd=tmp_path / "gone", sandbox=sandbox)


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_a_file_that_cannot_be_run_is_no_missing_program(sandbox: Sandbox | None, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a program")
    with pytest.raises(ProgramError, match=r"cannot run './text': .*(Permission denied|not an executable file)"):
        run(["./text"], cwd=tmp_path, sandbox=sandbox)


def test_a_script_whose_interpreter_is_missing_is_told_apart(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/nowhere/interpreter\n")
    script.chmod(0o755)
    with pytest.raises(ProgramError, match=r"the interpreter its first line names does not exist"):
        run([str(script)])


def test_arguments_no_program_can_take_are_one_line() -> None:
    with pytest.raises(ProgramError, match=r"cannot run 'true a.b': embedded null byte"):
        run(["true", "a\0b"])
    with pytest.raises(ProgramError, match=r"cannot run 'true aa.*: Argument list too long") as caught:
        run(["true", "a" * (3 << 20)])
    assert len(str(caught.value)) < 300


def test_find_program_says_what_is_lost_and_how_to_get_it() -> None:
    assert Path(find_program("sh", lost="everything")).name == "sh"
    with pytest.raises(MissingProgramError) as caught:
        find_program("no-such-program", lost="no profile", install="apt-get install it")
    assert str(caught.value) == ("'no-such-program' is not installed: no profile; install it with: apt-get install it")


# -- how programs end -----------------------------------------------------------------------------------------------


def test_check_tells_the_last_line_and_the_exit_code_in_one_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(ProgramError) as caught:
        run(["sh", "-c", "echo first\nprintf 'bad\\033[31m thing\\n'\nexit 7"], check=True, log=log)
    assert str(caught.value) == (
        f"'sh -c echo first printf 'bad\\033[31m thing\\n' exit 7' ended with exit code 7: bad?[31m thing (log: {log})"
    )
    assert caught.value.tail == b"first\nbad\x1b[31m thing\n"


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_check_names_the_signal(sandbox: Sandbox | None) -> None:
    with pytest.raises(ProgramError, match=r"ended with (SIGSEGV|exit code 139 \(SIGSEGV\))$"):
        run(["sh", "-c", "kill -SEGV $$"], check=True, sandbox=sandbox)


def test_check_prefers_what_stands_on_stderr() -> None:
    with pytest.raises(ProgramError, match=r"exit code 1: why$"):
        run(["sh", "-c", "echo out; echo why >&2; exit 1"], check=True, split_errors=True)


def test_a_program_that_closes_its_output_is_waited_for() -> None:
    finished = run(["sh", "-c", "exec >&- 2>&-; sleep 0.3; exit 5"])
    assert finished.returncode == 5
    assert finished.wall_s >= 0.3
    with pytest.raises(TimeLimitError):
        run(["sh", "-c", "exec >&- 2>&-; sleep 60"], limits=Limits(wall_s=0.3))


def test_output_held_open_by_a_left_over_process_ends_with_the_program() -> None:
    with swept(mark()) as marked:
        before = time.monotonic()
        finished = run(["sh", "-c", f"sleep {marked} & echo done"], limits=Limits(wall_s=60))
        assert finished.output == b"done\n"
        assert finished.ok
        assert time.monotonic() - before < 10
        assert gone(marked)


def test_a_left_over_process_that_keeps_printing_does_not_look_like_a_hang() -> None:
    before = time.monotonic()
    finished = run(
        ["sh", "-c", "(while :; do echo noise; sleep 0.02; done) & sleep 0.1; echo done"], limits=Limits(wall_s=30)
    )
    whole = time.monotonic() - before
    assert finished.ok
    assert b"done\n" in finished.output
    # The program's own end, not that of the second in which its left-over was listened to.
    assert 0.1 <= finished.wall_s <= whole - 1.0


def test_what_a_left_over_process_prints_soon_is_still_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a busy machine "soon" may be late; its end is what ends the waiting anyway.
    monkeypatch.setattr(runner, "_DRAIN_S", 60.0)
    assert run(["sh", "-c", "(sleep 0.2; echo late) & echo early"]).output == b"early\nlate\n"


# -- limits ---------------------------------------------------------------------------------------------------------


def test_the_time_limit_kills_children_that_ignore_signals_and_keeps_what_was_printed(tmp_path: Path) -> None:
    lines: list[bytes] = []
    with swept(mark()) as marked:
        stubborn = f"trap '' TERM INT HUP; sleep {marked} & sleep {marked}"
        with pytest.raises(TimeLimitError) as caught:
            run(
                ["sh", "-c", f'echo early; printf half; sh -c "{stubborn}" & sh -c "{stubborn}"'],
                limits=Limits(wall_s=2.0),
                log=tmp_path / "log",
                on_line=lambda line, _: lines.append(line),
            )
        assert gone(marked)
    assert "ran past its limit of 2 s and was killed (log: " in str(caught.value)
    assert caught.value.tail == b"early\nhalf"
    assert (tmp_path / "log").read_bytes() == b"early\nhalf"
    assert lines == [b"early", b"half"]


def test_an_unconfined_program_can_leave_its_group_and_outlive_the_limit() -> None:
    """Not wished for, but what POSIX gives: the documentation says so, and the sandbox is the answer."""
    with swept(mark()) as marked:
        with pytest.raises(TimeLimitError):
            run(["sh", "-c", f"setsid sleep {marked} & sleep 60"], limits=Limits(wall_s=2.0))
        assert alive(marked)


@pytest.mark.skipif(sandbox_missing() is not None, reason=str(sandbox_missing()))
@pytest.mark.parametrize("script", ["setsid sleep {} & sleep 60", "setsid sh -c 'trap \"\" TERM; sleep {}' & sleep 60"])
def test_a_sandboxed_program_cannot_outlive_the_limit(script: str) -> None:
    with swept(mark()) as marked:
        ready = threading.Event()
        with pytest.raises(TimeLimitError):
            run(
                ["sh", "-c", f"{script.format(marked).replace('&', '& echo up;', 1)}"],
                limits=Limits(wall_s=3.0),
                sandbox=Sandbox(writable=()),
                on_line=lambda *_: ready.set() if appeared(marked, within_s=2.5) else None,
            )
        assert ready.is_set()
        assert gone(marked)


def test_the_cpu_limit_ends_a_loop_with_its_own_signal() -> None:
    with pytest.raises(ProgramError, match="ended with SIGXCPU"):
        run(["sh", "-c", "while :; do :; done"], limits=Limits(wall_s=60, cpu_s=1), check=True)


def test_memory_and_file_size_are_limited(tmp_path: Path) -> None:
    finished = run(python("bytearray(400 << 20)"), limits=Limits(memory_bytes=300 << 20))
    assert not finished.ok
    assert b"MemoryError" in finished.output
    target = tmp_path / "large"
    run(["sh", "-c", f"head -c 100000 /dev/zero >{target}"], limits=Limits(file_bytes=4096))
    assert target.stat().st_size == 4096


def test_limits_are_those_asked_for_and_no_core_is_dumped() -> None:
    code = (
        "import resource as r; print(r.getrlimit(r.RLIMIT_CORE), r.getrlimit(r.RLIMIT_CPU), r.getrlimit(r.RLIMIT_AS))"
    )
    unlimited = resource.getrlimit(resource.RLIMIT_CPU)
    before = resource.getrlimit(resource.RLIMIT_CORE)
    cores = f"(0, {before[1]})"
    assert run(python(code)).output.decode().startswith(f"{cores} {unlimited} ")
    assert run(python(code), limits=Limits(cpu_s=9)).output.decode().startswith(f"{cores} (9, 10) ")
    assert resource.getrlimit(resource.RLIMIT_CORE) == before


@pytest.mark.parametrize("limits", [Limits(), Limits(cpu_s=9)], ids=["vfork", "fork"])
def test_a_program_gets_every_signal_and_ignores_none_of_ours(limits: Limits) -> None:
    handler = signal.getsignal(signal.SIGINT)
    lines = run(["cat", "/proc/self/status"], limits=limits).output.decode().splitlines()
    said = dict(line.split(":\t", 1) for line in lines if line.startswith("Sig"))
    assert (said["SigBlk"], said["SigCgt"]) == ("0" * 16, "0" * 16)
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_signal_that_comes_while_a_program_starts_is_dealt_with_when_it_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known: list[bool] = []
    popen = subprocess.Popen

    def interrupted(*arguments: Any, **keywords: Any) -> Any:
        child = popen(*arguments, **keywords)
        signal.raise_signal(signal.SIGINT)
        known.append(child.poll() is None)
        return child

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    with swept(mark()) as marked:
        with pytest.raises(KeyboardInterrupt):
            run(["sleep", marked])
        assert gone(marked)
    assert known == [True]
    assert live_children() == frozenset()


def test_a_program_is_pinned_where_asked() -> None:
    code = "import os; print(sorted(os.sched_getaffinity(0)))"
    here = sorted(os.sched_getaffinity(0))
    assert run(python(code), cpus=(here[-1],)).output.decode() == f"[{here[-1]}]\n"
    assert run(python(code), cpus=()).output.decode() == f"{here}\n"


def test_a_cpu_that_does_not_exist_is_a_typed_error() -> None:
    with pytest.raises(ProgramError, match=r"cannot run 'true': its limits or CPUs are not allowed here .*4095"):
        run(["true"], cpus=(4095,))
    assert live_children() == frozenset()


# -- environment ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_the_environment_is_built_and_holds_nothing_of_ours(
    sandbox: Sandbox | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = os.urandom(8).hex()
    monkeypatch.setenv("HMOPT_TEST_TOKEN", secret)
    monkeypatch.setenv("LANGSMITH_API_KEY", secret)
    said = run(["env"], environment={"HOME": "/elsewhere", "ARCH": "um"}, sandbox=sandbox).output.decode()
    assert secret not in said
    found = dict(line.split("=", 1) for line in said.splitlines())
    # bwrap sets PWD.
    assert found.keys() - {"PWD"} == {"PATH", "LC_ALL", "HOME", "TZ", "ARCH"}
    assert (found["HOME"], found["LC_ALL"], found["TZ"]) == ("/elsewhere", "C", "UTC")


def test_the_built_environment_has_a_path_even_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PATH")
    assert built_environment()["PATH"] == os.defpath
    assert built_environment({"PATH": "/only"})["PATH"] == "/only"


def test_no_open_file_of_ours_is_inherited(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        said = run(["ls", "-l", "/proc/self/fd"]).output.decode()
    assert "open" not in [line.rsplit("/", 1)[-1] for line in said.splitlines()]


def test_signals_are_not_blocked_in_the_program() -> None:
    said = run(["grep", "SigBlk", "/proc/self/status"]).output
    assert said.split() == [b"SigBlk:", b"0000000000000000"]


# -- the log --------------------------------------------------------------------------------------------------------


def test_the_log_is_appended_to_and_can_be_followed(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "er" / "log"
    run(["echo", "one"], log=log)
    seen: list[bytes] = []
    run(["sh", "-c", "echo two; echo err >&2; sleep 0.1; echo three"], log=log, split_errors=True,
        on_line=lambda line, _: seen.append(log.read_bytes()))  # fmt: skip
    assert seen[0].startswith(b"one\ntwo\n")
    assert sorted(log.read_bytes().split()) == [b"err", b"one", b"three", b"two"]


def test_a_full_disk_under_the_log_is_a_typed_error_and_leaves_no_process() -> None:
    with swept(mark()) as marked:
        with pytest.raises(StoreError) as caught:
            run(["sh", "-c", f"echo text; sleep {marked}"], log=Path("/dev/full"))
        assert str(caught.value) == ("the log /dev/full cannot be written: No space left on device; free space there")
        assert gone(marked)
    assert live_children() == frozenset()


def test_a_log_that_cannot_be_opened_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    touched = tmp_path / "touched"
    with pytest.raises(StoreError, match=r"the log .* cannot be written: (Not a directory|File exists)"):
        run(["touch", str(touched)], log=tmp_path / "file" / "log")
    assert not touched.exists()


# -- nothing stays --------------------------------------------------------------------------------------------------


def test_an_error_of_the_listener_kills_the_program() -> None:
    class Stop(Exception):
        pass

    def refuse(line: bytes, when: int) -> None:
        raise Stop

    with swept(mark()) as marked:
        with pytest.raises(Stop):
            run(["sh", "-c", f"sleep {marked} & echo go; sleep {marked}"], on_line=refuse)
        assert gone(marked)
    assert live_children() == frozenset()


def test_threads_run_programs_beside_each_other() -> None:
    def one(number: int) -> tuple[bytes, bool]:
        lived: list[bool] = []
        finished = run(
            ["sh", "-c", f"echo {number}; sleep 0.01"], on_line=lambda *_: lived.append(bool(live_children()))
        )
        return finished.output, lived == [True]

    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = list(pool.map(one, range(60)))
    assert answers == [(f"{number}\n".encode(), True) for number in range(60)]
    assert live_children() == frozenset()


def test_the_cpu_time_of_another_threads_program_is_not_counted() -> None:
    with ThreadPoolExecutor(max_workers=2) as pool:
        quiet = pool.submit(run, ["sleep", "1.5"])
        busy = pool.submit(run, python("import time\nwhile time.process_time() < 0.6: pass"))
        assert quiet.result().cpu_s < 0.3
        assert busy.result().cpu_s >= 0.6


def test_kill_live_ends_the_programs_of_all_threads() -> None:
    # The pool outside: when this fails, it waits for programs that are swept by then.
    with ThreadPoolExecutor(max_workers=3) as pool, swept(mark()) as marked:
        running = [pool.submit(run, ["sleep", marked]) for _ in range(3)]
        # A program runs a moment before the thread that started it has taken note of it.
        assert until(lambda: len(alive(marked)) == len(live_children()) == 3)
        kill_live()
        assert [one.result(timeout=60).returncode for one in running] == [-9, -9, -9]
    assert live_children() == frozenset()


def test_kill_live_takes_a_program_that_is_just_being_started(monkeypatch: pytest.MonkeyPatch) -> None:
    forked, go_on = threading.Event(), threading.Event()
    popen = subprocess.Popen

    def slow(*arguments: Any, **keywords: Any) -> Any:
        child = popen(*arguments, **keywords)
        forked.set()
        go_on.wait(0.3)
        return child

    monkeypatch.setattr(subprocess, "Popen", slow)
    with ThreadPoolExecutor(max_workers=1) as pool, swept(mark()) as marked:
        running = pool.submit(run, ["sleep", marked])
        assert forked.wait(60)
        kill_live()
        assert running.result(timeout=60).returncode == -9


def test_exit_codes_are_known_when_the_caller_ignores_the_end_of_children() -> None:
    """`trap '' CHLD` in a script, or a daemon that starts us: the setting is inherited."""
    code = "import sys; from git_hmopt.process.runner import run; sys.exit(run(['sh', '-c', 'exit 7']).returncode)"
    assert subprocess.run(["env", "--ignore-signal=CHLD", sys.executable, "-c", code], check=False).returncode == 7
