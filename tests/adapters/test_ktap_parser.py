# SPDX-License-Identifier: Apache-2.0
"""KTAP out of console text. The logs in fixtures_ktap were recorded from UML boots of Linux 6.1.

`panic-in-the-second-test.log` joins two of them; `cut-*` are parts of whole ones.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmopt_adapters.ktap import KtapLog, parse_ktap

LOGS = Path(__file__).parent / "fixtures_ktap"
WHOLE = (LOGS / "nothing-wrong-27-suites.log").read_bytes()
EXAMPLE = (LOGS / "time-stamps-before-every-line.log").read_bytes()


def log(name: str) -> KtapLog:
    return parse_ktap((LOGS / f"{name}.log").read_bytes())


def of(text: str, *, numbered: bool = True) -> KtapLog:
    return parse_ktap(text.encode(), numbered=numbered)


def said(parsed: KtapLog) -> list[tuple[str, str]]:
    return [(case.name, case.status) for case in parsed.cases]


EXAMPLE_CASES = [
    ("example.example_simple_test", "passed"),
    ("example.example_skip_test", "skipped"),
    ("example.example_mark_skipped_test", "skipped"),
    ("example.example_all_expect_macros_test", "passed"),
]


def test_a_whole_boot_agrees_with_the_kernels_own_totals() -> None:
    parsed = parse_ktap(WHOLE)
    assert (parsed.complete, parsed.failure) == (True, None)
    counts = Counter(case.status for case in parsed.cases)
    suites = Counter(case.name.partition(".")[0] for case in parsed.cases)
    # Oracle: KUnit counts for itself ("# Totals: pass:2 fail:0 skip:0 total:2" closes a suite of more than one test).
    totals = re.findall(rb"^# (\S+): pass:(\d+) fail:(\d+) skip:(\d+) total:(\d+)$", WHOLE, re.MULTILINE)
    kernel = {name.decode(): int(total) for name, *_, total in totals if name != b"Totals"}
    assert len(kernel) == 21
    assert {name: suites[name] for name in kernel} == kernel
    assert len(suites) == 27
    assert counts == {"passed": 210, "skipped": 7}
    assert {case.detail for case in parsed.cases if "assigned_copy" in case.name and case.detail} == {
        "XFAIL uninit bytes: 3",
        "XFAIL uninit bytes: 124",
        "XFAIL uninit bytes: 7",
    }


def test_time_stamps_are_no_part_of_the_results() -> None:
    parsed = log("time-stamps-before-every-line")
    assert (said(parsed), parsed.complete, parsed.failure) == (EXAMPLE_CASES, True, None)


def test_the_panic_of_a_kernel_without_a_root_after_its_last_test_is_no_failure() -> None:
    parsed = log("panic-without-root-after-the-last-test")
    assert (said(parsed), parsed.complete, parsed.failure) == (EXAMPLE_CASES, True, None)


def test_a_panic_in_the_middle_names_the_test_that_ran_and_the_reason() -> None:
    parsed = log("panic-in-the-second-test")
    assert said(parsed) == [("example.example_simple_test", "passed"), ("example.example_skip_test", "crashed")]
    assert not parsed.complete
    assert parsed.failure == (
        "the kernel crashed while 'example.example_skip_test' ran: Kernel panic - not syncing: Segfault with no mm"
    )


def test_a_log_cut_in_the_middle_of_a_line_is_incomplete() -> None:
    parsed = log("cut-in-the-middle-of-a-line")
    assert not parsed.complete
    assert parsed.failure is not None
    assert parsed.failure.startswith("the log ends while 'example.")
    assert said(parsed)[-1][1] == "crashed"


def test_a_log_cut_between_suites_is_incomplete_though_all_in_it_passed() -> None:
    parsed = log("cut-after-two-suites-with-crlf")
    assert [case.status for case in parsed.cases] == ["passed"] * 3 + ["crashed"]
    assert not parsed.complete
    assert parsed.failure == "the log ends while 'test 3' ran; the log ends here, after 2 of 27 results"


def test_a_filter_that_matches_nothing_is_a_failure() -> None:
    parsed = log("filter-matches-no-suite")
    assert (parsed.cases, parsed.failure) == ((), "no test ran: the log holds an empty plan")


def test_a_boot_that_never_reached_the_tests_is_told_with_its_last_words() -> None:
    parsed = log("too-little-memory-to-boot")
    assert not parsed.complete
    assert parsed.failure == (
        "no KTAP in the log, the tests never started; "
        "it ends with: Too few physical memory! Needed=12582912, given=6291456"
    )


def test_an_empty_log_is_a_failure() -> None:
    assert parse_ktap(b"").failure == "no KTAP in the log, the tests never started: it is empty"
    assert not parse_ktap(b"").complete


def test_a_header_with_nothing_after_it_is_incomplete() -> None:
    parsed = of("KTAP version 1\n")
    assert not parsed.complete
    assert parsed.failure is not None


FAILING = """\
KTAP version 1
1..2
    KTAP version 1
    # Subtest: sort
    1..2
    # small: EXPECTATION FAILED at lib/sort_test.c:30
    Expected a[0] == 1, but
        a[0] == 2 (0x2)
    not ok 1 small
    ok 2 large
# sort: pass:1 fail:1 skip:0 total:2
not ok 1 sort
    KTAP version 1
    # Subtest: other
    1..1
    ok 1 only
ok 2 other
"""


def test_a_failing_test_carries_what_was_expected() -> None:
    parsed = of(FAILING)
    assert parsed.complete
    assert parsed.failure == "1 of 3 tests failed: sort.small"
    assert parsed.cases[0].detail == (
        "small: EXPECTATION FAILED at lib/sort_test.c:30 | Expected a[0] == 1, but | a[0] == 2 (0x2)"
    )
    assert said(parsed)[1:] == [("sort.large", "passed"), ("other.only", "passed")]


def test_a_suite_that_fails_though_its_tests_passed_is_a_case_of_its_own() -> None:
    parsed = of("KTAP version 1\n1..1\n    # Subtest: s\n    1..1\n    ok 1 a\nnot ok 1 s\n")
    assert said(parsed) == [("s.a", "passed"), ("s", "failed")]
    assert parsed.failure == "1 of 2 tests failed: s"


def test_parameters_of_a_test_are_its_children() -> None:
    parsed = of(
        "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: s\n    1..2\n"
        "        KTAP version 1\n        # Subtest: params\n        ok 1 value 0\n"
        "        ok 2 value 1 # SKIP unsupported\n"
        "    # params: pass:1 fail:0 skip:1 total:2\n    ok 1 params\n    ok 2 plain\nok 1 s\n"
    )
    assert said(parsed) == [("s.params.value 0", "passed"), ("s.params.value 1", "skipped"), ("s.plain", "passed")]
    assert (parsed.complete, parsed.failure, parsed.cases[1].detail) == (True, None, "unsupported")


def test_a_lost_parameter_is_noticed_by_the_tests_own_tally() -> None:
    parsed = of(
        "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: s\n    1..1\n"
        "        KTAP version 1\n        # Subtest: params\n        ok 1 value 0\n"
        "    # params: pass:2 fail:0 skip:0 total:2\n    ok 1 params\nok 1 s\n"
    )
    assert not parsed.complete
    assert parsed.failure == "the log is not whole: only 1 of 2 results of 'params' came"


def test_a_result_lost_between_others_is_noticed() -> None:
    parsed = of(FAILING.replace("    not ok 1 small\n", ""))
    assert not parsed.complete
    assert parsed.failure == ("the log is not whole: result 1 of 'sort' is missing (and 1 more problems)")


def test_a_suite_without_its_own_result_is_crashed() -> None:
    parsed = of(
        FAILING.replace("not ok 1 sort\n", "").replace("1..2\n    KTAP", "1..1\n    KTAP").replace("ok 2 o", "ok 1 o")
    )
    assert ("sort", "crashed") in said(parsed)
    assert not parsed.complete
    assert parsed.failure == "the log is not whole: 'sort' has no result of its own (2 of 2 tests seen)"


@pytest.mark.parametrize("doubled", [FAILING, WHOLE.decode()])
def test_lines_printed_twice_are_counted_once(doubled: str) -> None:
    once = of(doubled)
    twice = of("".join(line + line for line in doubled.splitlines(keepends=True)))
    assert [(case.name, case.status) for case in twice.cases] == said(once)
    assert (twice.complete, twice.failure) == (once.complete, once.failure)
    assert twice.ignored["printed twice"] > 5


def test_messages_of_others_in_between_are_ignored_and_counted() -> None:
    noisy = EXAMPLE.replace(b"    ok 2", b"usb 1-1: new device\n\xff\xfe\x1b[31mred\x1b[0m\n[    0.06] odd\n    ok 2")
    parsed = parse_ktap(noisy)
    assert (said(parsed), parsed.complete, parsed.failure) == (EXAMPLE_CASES, True, None)
    assert parsed.ignored["other output"] == parse_ktap(EXAMPLE).ignored["other output"] + 3


def test_a_message_that_cuts_a_result_in_two_does_not_lose_the_result() -> None:
    cut = FAILING.replace("    ok 2 large\n", "    ok 2 la[    0.060000] usb 1-1: new device\nrge\n")
    parsed = of(cut)
    assert said(parsed)[1] == ("sort.la", "passed")
    assert parsed.complete


def test_a_header_behind_an_unfinished_line_is_seen() -> None:
    parsed = of("random: crng inKTAP version 1\n1..1\nok 1 a\n")
    assert (said(parsed), parsed.complete, parsed.failure) == ([("a", "passed")], True, None)


@pytest.mark.parametrize(
    "prefix", ["<6>[    1.000000] ", "[    1.000000][    T1] ", "Nov 22 10:00:01 host kernel: [    1.000000] ", " "]
)
def test_prefixes_of_loggers_are_taken_off(prefix: str) -> None:
    parsed = of("".join(prefix + line for line in FAILING.splitlines(keepends=True)))
    assert said(parsed) == said(of(FAILING))
    assert parsed.complete


@pytest.mark.parametrize(
    "words",
    [
        "BUG: unable to handle page fault for address: ffffffffc0000000",
        "BUG: KASAN: use-after-free in sort+0x10/0x20",
        "kernel BUG at lib/sort.c:42!",
        "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000",
        "Internal error: Oops: 96000004 [#1] SMP",
        "Oops: 0000 [#1] PREEMPT SMP",
        "divide error: 0000 [#1] SMP PTI",
        "general protection fault, probably for non-canonical address 0xdead: 0000 [#1]",
        "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [kunit_try_catch:12]",
        "\tKernel panic - not syncing: Kernel mode fault at addr 0x0, ip 0x60285361",
    ],
)
def test_a_kernel_that_reports_a_bug_fails_even_if_the_test_then_says_ok(words: str) -> None:
    parsed = of(FAILING.replace("not ok 1 small", "ok 1 small").replace("    ok 2 large", f"{words}\n    ok 2 large"))
    assert ("sort.large", "crashed") in said(parsed)
    assert parsed.failure == f"the kernel crashed while 'sort.large' ran: {words.strip()}"


def test_a_test_that_talks_about_bugs_has_none() -> None:
    text = FAILING.replace("not ok", "ok").replace(
        "    ok 2 large", "    # large: BUG: in name only [#1]\n    ok 2 large"
    )
    assert of(text).failure is None


def test_a_panic_after_the_last_test_is_a_failure_unless_it_is_the_missing_root() -> None:
    good = FAILING.replace("not ok", "ok")
    assert of(good + "Kernel panic - not syncing: VFS: Unable to mount root fs\n").failure is None
    assert of(good + "Kernel panic - not syncing: stack is corrupted\n").failure == (
        "the kernel crashed: Kernel panic - not syncing: stack is corrupted"
    )


def test_warnings_are_complaints_that_two_boots_share() -> None:
    text = "WARNING: CPU: {} PID: 12 at lib/sort.c:{} sort+0x{:x}/0x90\nCall Trace:\n"
    one, two = (of(FAILING.replace("    ok 2 large", text.format(n, n, n) + "    ok 2 large")) for n in (1, 27))
    assert one.complaints == two.complaints == ("WARNING: CPU: N PID: N at lib/sort.c:N sort+N/N",)
    assert one.failure == "1 of 3 tests failed: sort.small"


def test_bail_out_ends_the_log() -> None:
    parsed = of("TAP version 13\n1..3\nok 1 - a\nBail out! no device\nok 2 - b\n")
    assert not parsed.complete
    assert parsed.failure == "the tests bailed out while 'test 2' ran: no device"
    assert said(parsed) == [("a", "passed"), ("test 2", "crashed")]


@pytest.mark.parametrize(
    ("line", "status", "detail"),
    [
        ("ok 1 a # SKIP no device", "skipped", "no device"),
        ("not ok 1 a # skip: no device", "skipped", "no device"),
        ("ok 1 a # SKIP", "skipped", ""),
        ("not ok 1 a # TODO later", "skipped", "later"),
        ("ok 1 a # XFAIL known", "skipped", "known"),
        ("not ok 1 a # TIMEOUT 30 seconds", "failed", "30 seconds"),
        ("not ok 1 a # ERROR no memory", "failed", "no memory"),
        ("ok 1 a # rcode=0", "passed", "rcode=0"),
        ("ok 1 a # skipper=0", "passed", "skipper=0"),
        ("ok 1 - a", "passed", ""),
        ("not ok 1 a", "failed", ""),
    ],
)
def test_directives_decide_the_status(line: str, status: str, detail: str) -> None:
    parsed = of(f"KTAP version 1\n1..1\n{line}\n")
    assert [(case.name, case.status, case.detail) for case in parsed.cases] == [("a", status, detail)]
    assert parsed.complete


def test_tap_without_header_or_numbers_and_with_the_plan_at_the_end() -> None:
    assert said(of("ok - a\nnot ok - b\n1..2\n", numbered=False)) == [("a", "passed"), ("b", "failed")]
    assert of("ok - a\n1..2\n", numbered=False).complete is False
    assert of("ok - a\n1..1\n").failure == "the log ends while 'test 1' ran; the log ends here, after 0 of 1 results"


def test_tap_that_skips_everything_by_its_plan_is_no_failure() -> None:
    parsed = of("TAP version 13\n1..0 # SKIP no hardware\n")
    assert (parsed.cases, parsed.failure, parsed.complete) == ((), None, True)


def test_comments_that_look_like_results_are_comments() -> None:
    parsed = of("TAP version 13\n1..1\n# TAP version 13\n# 1..2\n# not ok 1 inner\nok 1 outer\n")
    assert (said(parsed), parsed.complete, parsed.failure) == ([("outer", "passed")], True, None)


def test_a_guest_that_booted_twice_is_not_whole() -> None:
    parsed = parse_ktap((LOGS / "cut-after-two-suites-with-crlf.log").read_bytes() + WHOLE)
    assert not parsed.complete
    assert parsed.failure == "the log is not whole: only 2 of 27 results of the log came"


def test_a_suite_of_a_module_has_no_list_around_it() -> None:
    text = b"    KTAP version 1\n    # Subtest: sort\n    1..1\n    ok 1 a\nok 12 sort\n"
    parsed = parse_ktap(text, plan_required=False)
    assert (said(parsed), parsed.complete, parsed.failure) == ([("sort.a", "passed")], True, None)
    assert not parse_ktap(text.replace(b"ok 12 sort\n", b""), plan_required=False).complete


def test_a_log_without_a_plan_is_not_known_to_be_whole() -> None:
    parsed = of(FAILING.replace("1..2\n    KTAP", "    KTAP").replace("not ok", "ok"))
    assert not parsed.complete
    assert parsed.failure == (
        "the log is not whole: the outermost list has no plan (1..N), tests may be missing from its end"
    )


def test_a_newer_version_is_refused_by_name() -> None:
    parsed = of("KTAP version 2\n1..1\nok 1 a\n")
    assert parsed.failure == "the log is not whole: the log is KTAP version 2, newer than this parser"


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(FAILING.encode()) - 1))
def test_no_cut_of_a_log_is_complete(position: int) -> None:
    parsed = parse_ktap(FAILING.encode()[:position])
    # Only the line end and the rest of the very last name may be missing: the result itself is there.
    assert not parsed.complete or position >= FAILING.encode().index(b"ok 2 other") + len("ok 2")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.integers(0, len(EXAMPLE)))
def test_no_bytes_make_the_parser_raise(noise: bytes, position: int) -> None:
    parsed = parse_ktap(EXAMPLE[:position] + noise + EXAMPLE[position:])
    assert parsed.failure is not None or parsed.cases
