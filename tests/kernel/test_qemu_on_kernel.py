# SPDX-License-Identifier: Apache-2.0
"""The QEMU adapters on a real Linux 6.1 with the shipped overlays."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_hmopt.adapters import AdapterContext, BuildResult, Image, SourceTree, WorkCase, sha256_of
from git_hmopt.records.words import Seed
from hmopt_adapters.qemu import QemuOptions, QemuProfiler, QemuWorkload

pytestmark = pytest.mark.kernel

CASE = WorkCase(seed=Seed(5), size=1000, repetitions=10)


@pytest.fixture
def built(sort_tree: Path) -> BuildResult:
    """Return the small x86_64 kernel of the lib-sort workload."""
    output = sort_tree / "build-x86"
    kernel = output / "arch/x86/boot/bzImage"
    image = Image(path=kernel, sha256=sha256_of(kernel), build="x86_64", symbols=output / "vmlinux")
    return BuildResult(success=True, tree=SourceTree(sort_tree, output), log=output / "log", image=image)


def options(built: BuildResult, **more: object) -> QemuOptions:
    """Return the options that boot this build's sort suite."""
    assert built.image is not None
    return QemuOptions.model_validate({"suite": "hmopt_sort", "arch": built.image.build, **more})


def test_three_boots_count_the_same_at_any_shift(built: BuildResult, tmp_path: Path) -> None:
    assert built.image is not None
    context = AdapterContext(name="kernel", scratch=tmp_path)
    workload = QemuWorkload(options(built), context)
    first, *others = [workload.measure(built.image, CASE) for _ in range(3)]
    assert others == [first, first]
    shifted = QemuWorkload(options(built, shift=2), context).measure(built.image, CASE)
    assert shifted.values == first.values
    # The guest's clock counts instructions too, by QEMU's own counter; both clock reads and the markers are in it.
    by_clock = first.cross_checks["guest_ns"] / 8
    assert 0 <= by_clock - first.values["instructions"] < 200


def test_more_work_counts_more(built: BuildResult, tmp_path: Path) -> None:
    assert built.image is not None
    workload = QemuWorkload(options(built), AdapterContext(name="kernel", scratch=tmp_path))
    once, twice = (
        workload.measure(built.image, WorkCase(seed=Seed(5), size=1000, repetitions=n)).values["instructions"]
        for n in (10, 20)
    )
    assert once < twice < 2.5 * once


def test_outputs_come_for_every_size_and_offset(built: BuildResult, tmp_path: Path) -> None:
    assert built.image is not None
    cases = [
        WorkCase(seed=Seed(seed), size=size, offset=offset)
        for seed in (7, 8)
        for size in (0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 1000)
        for offset in (0, 1, 3)
    ]
    checked = QemuWorkload(options(built), AdapterContext(name="kernel", scratch=tmp_path)).outputs(built.image, cases)
    assert checked.failures == ()
    assert set(checked.digests) == set(cases)
    assert checked.digests[cases[-1]] != checked.digests[cases[-34]]


def test_the_profile_is_whole_and_names_the_trees_files(built: BuildResult, tmp_path: Path) -> None:
    assert built.image is not None
    context = AdapterContext(name="kernel", scratch=tmp_path)
    counted = QemuWorkload(options(built), context).measure(built.image, CASE).values["instructions"]
    result = QemuProfiler(options(built), context).profile(built, CASE, into=tmp_path / "profile")
    rows = [line.split("\t") for line in result.captures[0].path.read_text().splitlines()[1:]]
    assert sum(int(row[3]) for row in rows) == counted
    blocks = [line.split(" ") for line in result.captures[1].path.read_text().splitlines()[1:]]
    assert sum(int(insns) * int(executions) for _, insns, executions in blocks) == counted
    assert rows[0][:2] == ["sort_r", "lib/sort.c"]
    known = [row for row in rows if row[1] != "??"]
    assert [row[1] for row in known if not (built.tree.root / row[1]).is_file() or row[1].startswith("/")] == []
    assert sum(int(row[3]) for row in known) > 0.99 * counted
