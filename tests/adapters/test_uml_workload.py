# SPDX-License-Identifier: Apache-2.0
"""The UML and KUnit adapters on images that print recorded consoles: what is run, timed, checked and refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from git_hmopt.adapters import Image, TestAdapter, WorkCase, WorkloadAdapter
from git_hmopt.errors import MeasurementError
from git_hmopt.process.runner import TAIL_BYTES
from git_hmopt.process.sandbox import sandbox_missing
from git_hmopt.records.words import Seed
from hmopt_adapters.guest import CASES_PER_BOOT
from hmopt_adapters.kunit import KunitAdapter, KunitOptions
from hmopt_adapters.uml import UmlOptions, UmlWorkload, uml_command
from tests.adapters.fake_kernel import CASE, DIGEST, WINDOW, built, context, fake_kernel

CONFINED = [
    False,
    pytest.param(True, marks=pytest.mark.skipif(sandbox_missing() is not None, reason=str(sandbox_missing()))),
]


def uml(tmp_path: Path, *, sandboxed: bool = False, timeout_s: float = 20, cpus: tuple[int, ...] = ()) -> UmlWorkload:
    """Return the workload adapter for the toy suite."""
    return UmlWorkload(UmlOptions(suite="toy", timeout_s=timeout_s), context(tmp_path, sandboxed=sandboxed, cpus=cpus))


# -- the command ----------------------------------------------------------------------------------------------------


def test_the_command_that_boots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boot = ["/somewhere/linux", "mem=64M", "console=tty", "kunit_shutdown=halt", "a=b"]
    bare = tmp_path / "bin"
    bare.mkdir()
    monkeypatch.setenv("PATH", str(bare))
    assert uml_command(Path("/somewhere/linux"), 64, ["a=b"]) == boot
    (bare / "setarch").symlink_to("/bin/true")
    assert uml_command(Path("/somewhere/linux"), 64, ["a=b"]) == ["setarch", "-R", *boot]


def test_setarch_is_wished_for_and_can_be_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (need,) = uml(tmp_path).requirements()
    assert (need.program, need.found, need.fatal) == ("setarch", False, False)
    assert "more noise" in need.lost


@pytest.mark.parametrize("sandboxed", CONFINED)
def test_the_kernel_gets_the_case_and_a_built_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandboxed: bool
) -> None:
    monkeypatch.setenv("HMOPT_TEST_TOKEN", "planted")
    image = fake_kernel(tmp_path / "build", f"! env\n! pwd\n! grep Cpus_allowed_list /proc/self/status\n{WINDOW}")
    cpu = max(os.sched_getaffinity(0))
    adapter = uml(tmp_path, sandboxed=sandboxed, cpus=(cpu,))
    said = adapter.outputs(image, [CASE]).log.decode()
    asked = "kunit.enable=1 kunit.filter_glob=toy hmopt.cases=7:100:1:3 lpj=40000000"
    assert f"Kernel command line: mem=256M console=tty kunit_shutdown=halt {asked}\n" in said
    assert "planted" not in said
    assert "HOME=/tmp\n" in said
    assert "TMPDIR=/dev/shm\n" in said
    assert f"{tmp_path}/build\n" in said
    assert f"Cpus_allowed_list:\t{cpu}\n" in said


# -- measuring ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sandboxed", CONFINED)
def test_the_window_is_timed_by_the_host(tmp_path: Path, sandboxed: bool) -> None:
    adapter = uml(tmp_path, sandboxed=sandboxed)
    assert isinstance(adapter, WorkloadAdapter)
    reading = adapter.measure(fake_kernel(tmp_path / "build", WINDOW), CASE)
    # The guest says 0.199 s. The sleep between its lines takes 0.2 s; a busy host may read the first one late.
    assert 0.1e9 <= reading.values["time"] < 5e9 and reading.values["time"] != 199000000.0
    assert reading.cross_checks == {"guest_ns": 199000000.0}
    assert adapter.metrics == {"time": "time"}
    assert not adapter.repeatable


@pytest.mark.parametrize(
    ("console", "said"),
    [
        (
            "Kernel panic - not syncing: No working init found.",
            "suite toy: Kernel panic - not syncing: No working init",
        ),
        ("List of all partitions:", "its window never began (is the suite built in?); last console line: 'List of all"),
        (WINDOW.partition("[    0.060000] hmopt: end")[0], "the log ends inside its window"),
        (WINDOW.replace("! sleep 0.2", "! exit 139"), "the log ends inside its window"),
        (WINDOW.replace("hmopt: done toy", "nothing"), "the suite did not reach its end"),
        (WINDOW.replace("! sleep 0.2", "[    0.060000] hmopt: begin toy"), "its window began 2 times"),
    ],
)
def test_a_boot_that_fails_is_no_measurement(console: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(MeasurementError) as caught:
        uml(tmp_path).measure(fake_kernel(tmp_path / "build", console), CASE)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_boot_that_hangs_is_cut_at_its_limit(tmp_path: Path) -> None:
    image = fake_kernel(tmp_path / "build", WINDOW.replace("sleep 0.2", "sleep 60"))
    with pytest.raises(MeasurementError, match=r"linux .* ran past its limit of 0.5 s and was killed"):
        uml(tmp_path, timeout_s=0.5).measure(image, CASE)


def test_a_window_of_no_length_asks_for_more_repetitions(tmp_path: Path) -> None:
    at_once = "\\n".join(line for line in WINDOW.splitlines() if not line.startswith("!"))
    image = fake_kernel(tmp_path / "build", f"! printf '{at_once}\\n'")
    with pytest.raises(MeasurementError, match=r"too short to be timed; raise the workload's 'repetitions'"):
        uml(tmp_path).measure(image, CASE)


@pytest.mark.parametrize("sandboxed", CONFINED)
def test_an_image_that_is_not_there_is_said(tmp_path: Path, sandboxed: bool) -> None:
    gone = Image(path=tmp_path / "build" / "linux", sha256="0" * 64, build="toy")
    gone.path.parent.mkdir()
    with pytest.raises(MeasurementError, match=r"No such file"):
        uml(tmp_path, sandboxed=sandboxed).measure(gone, CASE)
    checked = uml(tmp_path, sandboxed=sandboxed).outputs(gone, [CASE])
    assert checked.failures == ("no output for seed=7 size=100 offset=1: the log ends before it",)
    assert b"No such file" in checked.log


# -- outputs --------------------------------------------------------------------------------------------------------

ANSWERING = r"""! for word in "$@"; do case $word in hmopt.cases=*) cases=${word#*=};; esac; done
! for one in $(echo $cases | tr , ' '); do IFS=: read -r s z o r <<EOF
! $one
! EOF
! printf 'hmopt: output toy seed=%u size=%u offset=%u digest=%016x\n' $s $z $o $((s + z)); done"""


def test_many_cases_take_several_boots(tmp_path: Path) -> None:
    image = fake_kernel(tmp_path / "build", f"{ANSWERING}\n! echo boot >>{tmp_path}/boots\nhmopt: done toy")
    cases = [WorkCase(Seed(number), 10 * number, offset=number % 3) for number in range(CASES_PER_BOOT + 5)]
    checked = uml(tmp_path).outputs(image, cases)
    assert checked.failures == ()
    assert checked.digests == {case: f"{case.seed + case.size:016x}" for case in cases}
    assert (tmp_path / "boots").read_text() == "boot\n" * 2


def test_a_hang_while_answering_is_a_failure_and_what_was_said_counts(tmp_path: Path) -> None:
    image = fake_kernel(tmp_path / "build", f"{WINDOW.partition('[    0.070000] hmopt: done')[0]}! sleep 60")
    other = WorkCase(Seed(8), 100)
    checked = uml(tmp_path, timeout_s=1.5).outputs(image, [CASE, other])
    assert checked.digests == {CASE: DIGEST}
    assert "ran past its limit of 1.5 s" in checked.failures[0]
    assert checked.failures[1:] == ("no output for seed=8 size=100 offset=0: the log ends before it",)
    assert b"hmopt: output toy" in checked.log


# -- KUnit ----------------------------------------------------------------------------------------------------------

KTAP = """\
KTAP version 1
1..2
    KTAP version 1
    # Subtest: first
    1..1
    ok 1 first_test
ok 1 first
    KTAP version 1
    # Subtest: second
    1..1
    {second} 1 second_test
{second} 2 second"""


def kunit(tmp_path: Path, *, sandboxed: bool = False, timeout_s: float = 20) -> KunitAdapter:
    """Return the test adapter."""
    return KunitAdapter(KunitOptions(filter="hmopt*", timeout_s=timeout_s), context(tmp_path, sandboxed=sandboxed))


@pytest.mark.parametrize("sandboxed", CONFINED)
def test_kunit_reads_the_results_of_one_boot(tmp_path: Path, sandboxed: bool) -> None:
    image = fake_kernel(tmp_path / "build", KTAP.format(second="ok"))
    adapter = kunit(tmp_path, sandboxed=sandboxed)
    assert isinstance(adapter, TestAdapter)
    result = adapter.test(built(image, tmp_path), log=tmp_path / "test.log")
    assert (result.success, result.complete, result.failure) == (True, True, None)
    assert [case.name for case in result.cases] == ["first.first_test", "second.second_test"]
    assert "kunit.enable=1 kunit.filter_glob=hmopt*\n" in (tmp_path / "test.log").read_text()


def test_a_failing_test_is_a_result(tmp_path: Path) -> None:
    image = fake_kernel(tmp_path / "build", KTAP.format(second="not ok"))
    result = kunit(tmp_path).test(built(image, tmp_path), log=tmp_path / "test.log")
    assert (result.success, result.complete) == (False, True)
    assert result.failure is not None
    assert "second.second_test" in result.failure
    assert result.count("failed") == 1


def test_a_log_that_other_boots_wrote_to_is_read_from_this_boot_on(tmp_path: Path) -> None:
    log = tmp_path / "test.log"
    bad, good = (fake_kernel(tmp_path / name, KTAP.format(second=name)) for name in ("not ok", "ok"))
    assert not kunit(tmp_path).test(built(bad, tmp_path), log=log).success
    again = kunit(tmp_path).test(built(good, tmp_path), log=log)
    assert (again.success, len(again.cases)) == (True, 2)
    assert log.read_text().count("# Subtest: second") == 2


def test_a_hang_far_into_a_long_log_forgets_no_result(tmp_path: Path) -> None:
    count = 1 + 3 * TAIL_BYTES // len("    ok 10000 numbered_10000\n")
    text = "\n".join(
        [
            "KTAP version 1",
            "1..1",
            "    KTAP version 1",
            "    # Subtest: long",
            f"    1..{count + 1}",
            f"! seq {count} | sed 's/.*/    ok & numbered_&/'",
            "    # hanging_test: initializing",
            "! sleep 60",
        ]
    )
    log = tmp_path / "test.log"
    log.write_text(KTAP.format(second="not ok"))
    image = fake_kernel(tmp_path / "build", text)
    result = kunit(tmp_path, timeout_s=2).test(built(image, tmp_path), log=log)
    assert (result.success, result.complete) == (False, False)
    assert result.count("passed") == count
    assert result.failure is not None
    assert "ran past its limit of 2 s and was killed (log: " in result.failure
    assert "hanging_test" in result.failure
    assert "second" not in {case.name.split(".")[0] for case in result.cases}


def test_a_panic_is_told_with_the_test_that_ran(tmp_path: Path) -> None:
    cut = KTAP.partition("    {second} 1")[0] + "    # second_test: initializing\nKernel panic - not syncing: Oops"
    result = kunit(tmp_path).test(built(fake_kernel(tmp_path / "build", cut), tmp_path), log=tmp_path / "test.log")
    assert (result.success, result.complete) == (False, False)
    assert result.failure is not None
    assert "Kernel panic" in result.failure
    assert "second_test" in result.failure


def test_no_image_and_an_image_that_does_not_run_are_failures(tmp_path: Path) -> None:
    result = kunit(tmp_path).test(built(None, tmp_path), log=tmp_path / "none.log")
    assert (result.success, result.failure, result.complete) == (False, "there is no image to test", False)
    image = fake_kernel(tmp_path / "build", "")
    image.path.unlink()
    result = kunit(tmp_path).test(built(image, tmp_path), log=tmp_path / "gone.log")
    assert not result.success
    assert result.failure is not None
    assert "the tests never started" in result.failure
    assert shutil.which("setarch") is None or "No such file" in result.failure
