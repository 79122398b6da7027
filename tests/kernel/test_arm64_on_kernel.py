# SPDX-License-Identifier: Apache-2.0
"""The devices' architecture: an arm64 kernel is configuration alone, cross compiled and counted by QEMU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.kernel.conftest import PATCHES, Kernel, delta_of, evaluation_of

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

BUILD = "  arm64: {adapter: kbuild, arch: arm64, cross_compile: aarch64-linux-gnu-, base: tinyconfig, " + (
    "fragments: [arm64], target: Image, image: arch/arm64/boot/Image}\n"
)
WORKLOAD = """
  sort-arm64:
    description: sort() of 1,000 32-bit keys, instructions of an arm64 kernel
    overlays: [sort]
    inputs: {size: 1000, repetitions: 20}
    objective: {metric: instructions}
    accept: count
    measure:
      instructions: {adapter: qemu, build: arm64, arch: arm64, suite: hmopt_sort}
    profile:
      counts: {adapter: qemu-profile, build: arm64, arch: arm64, suite: hmopt_sort}
"""


@pytest.fixture(scope="module")
def arm64_run(kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Judge `do_swap` forced inline by the instructions of an arm64 kernel, which this workload accepts as its goal."""
    patches = tmp_path_factory.mktemp("patches")
    one = PATCHES / "sort/0001-inline-do-swap.patch"
    (patches / one.name).write_bytes(one.read_bytes())
    builds = "\nbuilds:\n"
    kernel.configure({builds: builds + BUILD}, extra=WORKLOAD)
    try:
        return kernel.optimize("sort-arm64", "--proposer", f"patches:{patches}")
    finally:
        kernel.configure()


def test_the_count_falls_and_is_called_a_count(arm64_run: dict[str, Any]) -> None:
    evaluation = evaluation_of(arm64_run, "force do_swap() inline")
    print(f"arm64: {evaluation['verdict']}: {evaluation['reason']}")
    assert evaluation["verdict"] == "improved(count only)"
    assert evaluation["accepted"]
    assert -0.25 < delta_of(evaluation, "instructions")["estimate"] < -0.10


def test_the_profile_names_the_sort(arm64_run: dict[str, Any]) -> None:
    spots = {(spot["symbol"], spot["file"]) for spot in arm64_run["hotspots"][:3]}
    assert ("sort_r", str(Path("lib/sort.c"))) in spots
