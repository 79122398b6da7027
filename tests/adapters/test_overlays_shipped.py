# SPDX-License-Identifier: Apache-2.0
"""The shipped overlays load, belong together, and hold what the adapters and the profile call by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from git_hmopt.config.overlay import apply_overlays, load_overlay, overlay_kconfig, resolve_overlays
from hmopt_adapters import overlay_root, profile_root
from hmopt_adapters.perf import WINDOW
from hmopt_adapters.qemu import WINDOW_BEGIN, WINDOW_END

NAMES = sorted(path.parent.name for path in overlay_root().glob("*/overlay.yaml"))
WORKLOADS = [name for name in NAMES if name != "common"]
SOURCES = sorted(overlay_root().glob("*/*.[ch]"))


def test_every_folder_is_an_overlay() -> None:
    assert sorted(path.name for path in overlay_root().iterdir() if path.is_dir()) == NAMES
    assert {"common", "sort", "crc64", "memchr"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_overlay_loads_and_adds_all_of_its_files(name: str) -> None:
    overlay = load_overlay(overlay_root() / name)
    assert overlay.description
    in_folder = {path.read_bytes() for path in (overlay_root() / name).glob("*.[ch]")}
    assert set(overlay.files.values()) == in_folder
    assert all(path.startswith("lib/hmopt/") for path in overlay.files)


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_brings_the_frame_and_makes_a_tree_that_links_it(name: str, tmp_path: Path) -> None:
    overlays = resolve_overlays((name,), repository_root=tmp_path)
    assert [overlay.name for overlay in overlays] == ["common", name]
    assert "CONFIG_KUNIT=y" in overlay_kconfig(overlays)
    made = apply_overlays(overlays, lambda path: b"obj-y += sort.o\n" if path == "lib/Makefile" else None)
    assert made["lib/Makefile"] == b"obj-y += sort.o\nobj-y += hmopt/\n"
    listed = re.findall(r"^obj-y \+= (\S+)\.o$", made["lib/hmopt/Makefile"].decode(), re.MULTILINE)
    compiled = {path.removeprefix("lib/hmopt/").removesuffix(".c") for path in made if path.endswith(".c")}
    assert set(listed) == compiled


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_kernel_code_is_under_the_kernels_licence(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    # checkpatch asks for this very form, by the kind of file.
    assert first == ("/* {} */" if path.suffix == ".h" else "// {}").format("SPDX-License-Identifier: GPL-2.0-only")


@pytest.mark.parametrize("name", WORKLOADS)
def test_suite_workload_and_folder_have_one_name(name: str) -> None:
    source = (overlay_root() / name / f"hmopt_{name}.c").read_text()
    assert f'.name = "hmopt_{name}",' in source
    assert re.findall(r"^HMOPT_SUITE\((\w+), ", source, re.MULTILINE) == [f"hmopt_{name}"]


def test_the_profile_names_suites_that_are_shipped() -> None:
    profile = yaml.safe_load((profile_root() / "linux.yaml").read_text())
    for name, workload in profile["workloads"].items():
        sections = [*workload["measure"].values(), *workload["profile"].values()]
        suites = {section["suite"].removeprefix("hmopt_") for section in sections}
        assert suites == {overlay.removeprefix("./") for overlay in workload["overlays"]} - {"common"}, name
        assert suites <= set(WORKLOADS), name


def test_the_marks_that_are_looked_for_from_outside_are_in_the_frame() -> None:
    source = (overlay_root() / "common" / "hmopt_core.c").read_text()
    for mark in (WINDOW, WINDOW_BEGIN, WINDOW_END):
        assert re.search(rf"^noinline void {mark}\(", source, re.MULTILINE), mark
    begin, end = (
        source.partition(f"noinline void {mark}(")[2].partition("}")[0] for mark in (WINDOW_BEGIN, WINDOW_END)
    )
    # Equal bodies could be folded into one function, and a counter would take the end for another begin.
    assert begin.partition("{")[2] != end.partition("{")[2]
