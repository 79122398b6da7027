# SPDX-License-Identifier: Apache-2.0
"""What a guest says on its console, however the log was cut, mixed or repeated; and that the overlay says it so."""

from __future__ import annotations

import re

import pytest

from git_hmopt.adapters import WorkCase
from git_hmopt.errors import MeasurementError
from git_hmopt.records.words import Seed
from hmopt_adapters import overlay_root
from hmopt_adapters.guest import (
    CASES_PER_BOOT,
    GuestListener,
    GuestLog,
    collect_outputs,
    command_line,
    command_line_checks,
    parse_guest,
    require_window,
)

WHOLE = b"""\
Linux version 6.1.0
[    0.060000] hmopt: begin toy
[    0.060000] hmopt: end toy ns=123456
[    0.070000] hmopt: output toy seed=7 size=100 offset=1 digest=00000000000000ff
[    0.070000] hmopt: done toy
reboot: System halted"""


def case_of(seed: int, size: int, offset: int = 0) -> WorkCase:
    """Return a case from plain numbers."""
    return WorkCase(seed=Seed(seed), size=size, offset=offset)


CASE = case_of(7, 100, 1)


def read(text: bytes, suite: str = "toy") -> GuestLog:
    """Read a whole console text."""
    return parse_guest(text.split(b"\n"), suite)


def why(text: bytes) -> str:
    """Return what require_window has against a console text."""
    with pytest.raises(MeasurementError) as caught:
        require_window(read(text), "toy", text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- whole logs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        WHOLE,
        WHOLE.replace(b"\n", b"\r\n"),
        re.sub(rb"\[ +0\.0[67]0000\] ", b"", WHOLE),
        WHOLE.replace(b"[    0.060000] ", b"[    0.060000][    T1] "),
        WHOLE.replace(b"\n", b"\n\xff\xfe not text \x1b[31m\n"),
        WHOLE + b"\n[    0.080000] Kernel panic - not syncing: VFS: Unable to mount root fs",
    ],
    ids=["plain", "crlf", "no stamps", "thread stamps", "noise between", "panic after the suite"],
)
def test_a_whole_window_is_read(text: bytes) -> None:
    log = read(text)
    require_window(log, "toy", text)
    assert (log.guest_ns, log.done, log.panic, log.mismatches, log.windows) == (123456, True, None, [], 1)
    assert log.begun_ns is not None and log.ended_ns is not None
    assert log.ended_ns > log.begun_ns
    assert log.outputs == {(7, 100, 1): "00000000000000ff"}


def test_the_arrival_of_the_marks_is_the_hosts_clock() -> None:
    listener = GuestListener("toy")
    for line, when in ((b"hmopt: begin toy", 1000), (b"other", 1500), (b"hmopt: end toy ns=1", 4000)):
        listener(line, when)
    assert (listener.log.begun_ns, listener.log.ended_ns) == (1000, 4000)


def test_another_suites_lines_are_not_ours() -> None:
    text = WHOLE.replace(b" toy", b" toy_other")
    log = read(text)
    assert (log.begun, log.ended, log.done, log.outputs) == (False, False, False, {})
    assert read(text, "toy_other").done


# -- logs that are not whole ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", range(len(WHOLE) - len(b"toy\nreboot: System halted")))
def test_a_log_cut_anywhere_is_never_a_measurement(cut: int) -> None:
    with pytest.raises(MeasurementError, match=r"^suite toy: .*; last console line: "):
        require_window(read(WHOLE[:cut]), "toy", WHOLE[:cut])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "its window never began (is the suite built in?); last console line: ''"),
        (
            b"Linux version\nlast words\n\n",
            "its window never began (is the suite built in?); last console line: 'last words'",
        ),
        (
            WHOLE.partition(b"[    0.060000] hmopt: end")[0],
            "the log ends inside its window; last console line: '[    0.0",
        ),
        (WHOLE.partition(b"[    0.070000] hmopt: done")[0], "the suite did not reach its end; last console line: "),
        (
            WHOLE.replace(b"hmopt: end toy ns=123456", b"Kernel panic - not syncing: Oops in sort\r"),
            "Kernel panic - not syncing: Oops in sort; last console line: 'reboot: System halted'",
        ),
        (
            WHOLE.replace(
                b"hmopt: output toy", b"hmopt: mismatch toy seed=7 size=100 offset=1 not in order\nhmopt: output toy"
            ),
            "hmopt: mismatch toy seed=7 size=100 offset=1 not in order; ",
        ),
        (
            WHOLE.replace(b"hmopt: end", b"BUG: KASAN: slab-out-of-bounds in x\n[    0.060000] hmopt: end"),
            "BUG: KASAN: slab-out-of-bounds in x; last console line: ",
        ),
        (WHOLE.replace(b"begin", b"begins"), "its window never began"),
        (WHOLE.replace(b"hmopt: begin toy", b"hmopt: begin to[    0.060000] y"), "its window never began"),
    ],
)
def test_each_way_a_window_can_be_broken_has_its_words(text: bytes, said: str) -> None:
    assert why(text).startswith(f"suite toy: {said}")


@pytest.mark.parametrize(
    "death",
    [
        b"Kernel panic - not syncing: Attempted to kill init!",
        b"BUG: unable to handle page fault for address: 0",
        b"Oops: 0002 [#1] PREEMPT",
        b"Unable to handle kernel NULL pointer dereference",
        b"Segfault with no mm",
    ],
)
def test_the_first_word_of_a_dying_kernel_is_the_reason(death: bytes) -> None:
    text = (
        WHOLE.partition(b"[    0.060000] hmopt: end")[0]
        + b"[    0.1] "
        + death
        + b"\nKernel panic - not syncing: then\n"
    )
    assert why(text).startswith(f"suite toy: {death.decode()}; ")


# -- marks that come more than once ---------------------------------------------------------------------------------


def test_a_second_window_begins_again_and_voids_the_measurement() -> None:
    """A window that a candidate opens again, late, would make it look fast."""
    again = WHOLE.replace(b"[    0.060000] hmopt: end", b"[    0.060000] hmopt: begin toy\n[    0.060000] hmopt: end")
    log = read(again)
    assert (log.windows, log.begun_ns, log.ended_ns) == (2, 2, 3)
    assert why(again).startswith("suite toy: its window began 2 times; ")


def test_a_second_window_that_is_cut_does_not_borrow_the_firsts_end() -> None:
    text = WHOLE + b"\n[    0.080000] hmopt: begin toy\n"
    log = read(text)
    assert (log.ended, log.guest_ns) == (False, None)
    assert why(text).startswith("suite toy: its window began 2 times; ")


def test_an_end_without_a_begin_is_no_window() -> None:
    text = WHOLE.replace(b"[    0.060000] hmopt: begin toy\n", b"")
    assert not read(text).ended
    assert why(text).startswith("suite toy: its window never began")


# -- outputs --------------------------------------------------------------------------------------------------------

TWO = [case_of(1, 0), case_of(2, 65, 3)]
ANSWERS = b"""\
hmopt: output toy seed=1 size=0 offset=0 digest=00000000000000aa
hmopt: output toy seed=2 size=65 offset=3 digest=00000000000000bb
hmopt: done toy
"""


def test_all_cases_answered() -> None:
    checked = collect_outputs(read(ANSWERS), TWO, ANSWERS)
    assert checked.digests == {TWO[0]: "00000000000000aa", TWO[1]: "00000000000000bb"}
    assert checked.failures == ()
    assert checked.log == ANSWERS


@pytest.mark.parametrize(
    ("text", "failures"),
    [
        (b"", ("no output for seed=1 size=0 offset=0: the log ends before it",
               "no output for seed=2 size=65 offset=3: the log ends before it")),
        (ANSWERS.replace(b"seed=2", b"seed=9"),
         ("no output for seed=2 size=65 offset=3: the suite ended without it",)),
        (ANSWERS.partition(b"bb\n")[0], ("no output for seed=2 size=65 offset=3: the log ends before it",)),
        (ANSWERS.partition(b"hmopt: output toy seed=2")[0] + b"Kernel panic - not syncing: gone\n",
         ("no output for seed=2 size=65 offset=3: Kernel panic - not syncing: gone",)),
        (ANSWERS.replace(b"hmopt: done", b"hmopt: mismatch toy seed=2 size=65 offset=3 keys lost\nhmopt: done"),
         ("hmopt: mismatch toy seed=2 size=65 offset=3 keys lost",)),
        (ANSWERS.replace(b"hmopt: done toy\n", b"BUG: KASAN: use-after-free in crc_release\n"),
         ("all cases were answered, but the suite did not reach its end: BUG: KASAN: use-after-free in crc_release",)),
        (b"BUG: scheduling while atomic: swapper/1\n" + ANSWERS,
         ("all cases were answered, but the kernel reported: BUG: scheduling while atomic: swapper/1",)),
        (ANSWERS.replace(b"hmopt: done toy\n", b""),
         ("all cases were answered, but the suite did not reach its end: the log ends",)),
        (ANSWERS + ANSWERS.replace(b"00aa", b"00ab"),
         ("two answers to seed=1 size=0 offset=0: 00000000000000aa, 00000000000000ab",)),
        (ANSWERS.replace(b"00aa", b"00aa55"), ("no output for seed=1 size=0 offset=0: the suite ended without it",)),
    ],
    ids=["empty", "other case", "cut in a digest", "panic", "mismatch", "bug at the end", "bug before",
         "cut at the end", "two answers", "too many digits"],
)  # fmt: skip
def test_what_is_wrong_with_outputs_is_said(text: bytes, failures: tuple[str, ...]) -> None:
    assert collect_outputs(read(text), TWO, text).failures == failures


def test_lines_that_run_into_each_other_lose_nothing_that_is_whole() -> None:
    text = ANSWERS.replace(b"00aa\nhmopt", b"00aa[    0.070000] random: crng init done\nhmopt")
    assert collect_outputs(read(text), TWO, text).failures == ()


# -- what the kernel is asked ---------------------------------------------------------------------------------------


def test_command_lines() -> None:
    case = WorkCase(seed=Seed(5), size=64, repetitions=20, offset=3)
    assert command_line("toy", case) == [
        "kunit.enable=1",
        "kunit.filter_glob=toy",
        "hmopt.seed=5",
        "hmopt.size=64",
        "hmopt.offset=3",
        "hmopt.reps=20",
    ]
    assert command_line_checks("toy", [case, case_of(1, 0)])[-1] == "hmopt.cases=5:64:3:20,1:0:0:1"


def test_a_boots_cases_fit_on_an_x86_command_line() -> None:
    largest = [WorkCase(Seed(2**31 - 1), 10**9, repetitions=1, offset=9)] * CASES_PER_BOOT
    assert len(" ".join(["console=ttyS0", *command_line_checks("hmopt_a_long_suite_name", largest)])) < 2048 - 256


# -- the other side of the contract ---------------------------------------------------------------------------------


def test_the_overlay_says_what_is_understood_here() -> None:
    """Its own format strings, filled in, give a whole log."""
    source = (overlay_root() / "common" / "hmopt_core.c").read_text()
    formats = [text.replace("\\n", "").replace("llu", "d").replace("%u", "%d").replace("%016llx", "%016x")
               for text in re.findall(r'pr_info\("(hmopt: [^"]+)"', source)]  # fmt: skip
    by_word = {text.split()[1]: text for text in formats}
    assert by_word.keys() == {"begin", "end", "output", "mismatch", "done"}
    said = [
        by_word["begin"] % "toy",
        by_word["end"] % ("toy", 99),
        by_word["output"] % ("toy", 7, 100, 1, 255),
        by_word["done"] % "toy",
    ]
    log = parse_guest([line.encode() for line in said], "toy")
    require_window(log, "toy", b"")
    assert (log.guest_ns, log.outputs) == (99, {(7, 100, 1): "00000000000000ff"})
    wrong = by_word["mismatch"] % ("toy", 7, 100, 1, "not in order")
    assert parse_guest([wrong.encode()], "toy").mismatches == [
        "hmopt: mismatch toy seed=7 size=100 offset=1 not in order"
    ]


def test_the_overlay_takes_what_it_is_asked() -> None:
    source = (overlay_root() / "common" / "hmopt_core.c").read_text()
    parameters = set(re.findall(r"module_param(?:_array)?\((\w+),", source))
    arguments = [*command_line("toy", CASE), *command_line_checks("toy", [CASE])]
    asked = {word.split("=")[0].removeprefix("hmopt.") for word in arguments if word.startswith("hmopt.")}
    assert asked == parameters
    assert '#define MODULE_PARAM_PREFIX "hmopt."' in source
    most = re.search(r"#define HMOPT_MAX_CASES (\d+)", source)
    assert most is not None
    assert int(most[1]) >= CASES_PER_BOOT
