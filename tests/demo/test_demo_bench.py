# SPDX-License-Identifier: Apache-2.0
"""The demo's bench program: the same answers from every build, and one line for arguments it cannot use."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from itertools import product
from pathlib import Path

import pytest

from tests.demo.trees import COMPILERS, WORKLOADS, Case, bench, built, copy_tree, digests

pytestmark = pytest.mark.skipif(shutil.which("make") is None or not COMPILERS, reason="needs make and a compiler")

SIZES = (0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 300)
CASES = [
    Case(workload, seed=17 * size + offset, size=size, offset=offset, repetitions=2)
    for workload, size, offset in product(WORKLOADS, SIZES, (0, 1, 3))
]
SANITIZED = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"
BUILDS = (
    [(COMPILERS[0], "-O0"), (COMPILERS[0], SANITIZED), *((name, "-O2") for name in COMPILERS[1:])] if COMPILERS else []
)


@pytest.fixture(scope="module")
def expected(plain: Path) -> dict[Case, str]:
    """Return the plain build's digests."""
    return digests(plain, CASES)


def test_without_optimisation_the_answers_are_the_same(tmp_path: Path, expected: dict[Case, str]) -> None:
    assert digests(built(copy_tree(tmp_path / "tree"), "CFLAGS=-O0"), CASES) == expected


@pytest.mark.parametrize("compiler", COMPILERS[1:])
def test_the_other_compiler_gives_the_same_answers(tmp_path: Path, expected: dict[Case, str], compiler: str) -> None:
    assert digests(built(copy_tree(tmp_path / "tree"), f"CC={compiler}"), CASES) == expected


@pytest.mark.slow
def test_the_sanitizers_are_satisfied_and_the_answers_the_same(tmp_path: Path, expected: dict[Case, str]) -> None:
    output = built(copy_tree(tmp_path / "tree"), f"CFLAGS={SANITIZED}")
    assert digests(output, CASES) == expected
    done = subprocess.run([output / "unit"], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("workload", WORKLOADS)
def test_an_answer_depends_on_seed_size_and_repetitions_alone(plain: Path, workload: str) -> None:
    cases = [
        Case(workload, seed=1),
        Case(workload, seed=2),
        Case(workload, size=101),
        Case(workload, repetitions=2),
        Case(workload, repetitions=3),
    ]
    found = digests(plain, cases)
    assert len(set(found.values())) == len(cases)
    assert digests(plain, cases) == found


@pytest.mark.parametrize("workload", WORKLOADS)
def test_the_window_stands_between_two_markers(plain: Path, workload: str) -> None:
    lines = bench(plain, *Case(workload).arguments).stdout.splitlines()
    assert lines[0] == f"window begin {workload}"
    assert re.fullmatch(rf"window end {workload} cpu_ns=\d+", lines[1])
    assert re.fullmatch(r"digest [0-9a-f]{16}", lines[2])
    assert len(lines) == 3


def test_a_marker_is_seen_when_it_is_printed(plain: Path) -> None:
    read, write = os.pipe()
    process = subprocess.Popen(
        [plain / "bench", *Case("checksums", size=1 << 20, repetitions=1_000_000).arguments], stdout=write
    )
    os.close(write)
    try:
        with os.fdopen(read) as stream:
            # The window would take hours: the line must not wait in a buffer for its end.
            assert stream.readline() == "window begin checksums\n"
            assert process.poll() is None
            process.kill()
    finally:
        process.kill()
        process.wait()


GOOD = ("--seed", "1", "--size", "1")
BAD = (
    ((), "0 workloads are named, expected one; see: bench --help"),
    (("nonsense", *GOOD), "no workload is called 'nonsense'; see: bench --help"),
    (("checksums",), "--seed and --size are wanted; see: bench --help"),
    (("checksums", "--seed", "1"), "--seed and --size are wanted; see: bench --help"),
    (("checksums", "runqueue", *GOOD), "2 workloads are named, expected one; see: bench --help"),
    (("checksums", "--seed", "x", "--size", "1"), "--seed: 'x' is no number from 0 to 4294967295"),
    (("checksums", "--seed", "", "--size", "1"), "--seed: '' is no number from 0 to 4294967295"),
    (("checksums", "--seed", "-1", "--size", "1"), "--seed: '-1' is no number from 0 to 4294967295"),
    (("checksums", "--seed", "4294967296", "--size", "1"), "--seed: '4294967296' is no number from 0 to 4294967295"),
    (("checksums", "--seed", "9" * 30, "--size", "1"), f"--seed: '{'9' * 30}' is no number from 0 to 4294967295"),
    (("checksums", "--seed", "1", "--size", "1k"), "--size: '1k' is no number from 0 to 4194304"),
    (("runqueue", "--seed", "1", "--size", "8193"), "--size: '8193' is no number from 0 to 8192"),
    (("checksums", *GOOD, "--offset", "4096"), "--offset: '4096' is no number from 0 to 4095"),
    (("checksums", *GOOD, "--repetitions", "0"), "--repetitions: '0' is no number from 1 to 1000000000"),
    (("checksums", *GOOD, "--repetitions"), "'--repetitions' wants a value; see: bench --help"),
    (("checksums", *GOOD, "--frobnicate"), "'--frobnicate' is no option; see: bench --help"),
    (("checksums", *GOOD, "-x"), "'-x' is no option; see: bench --help"),
)


@pytest.mark.parametrize(("arguments", "said"), BAD)
def test_bad_arguments_give_one_line(plain: Path, arguments: tuple[str, ...], said: str) -> None:
    done = bench(plain, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"bench: {said}\n")


def test_help_names_every_workload(plain: Path) -> None:
    done = bench(plain, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert [word for word in WORKLOADS if re.search(rf"^  {word} ", done.stdout, re.MULTILINE)] == list(WORKLOADS)


def test_a_profile_that_cannot_be_written_is_an_error(plain: Path, tmp_path: Path) -> None:
    path = tmp_path / "missing" / "stacks"
    done = bench(plain, *Case("slab").arguments, "--profile", str(path))
    assert (done.returncode, done.stderr) == (1, f"bench: cannot write '{path}': No such file or directory\n")


def test_a_full_output_is_an_error(plain: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([plain / "bench", *Case("slab").arguments], stdout=full, timeout=60, check=False)
    assert done.returncode == 1
