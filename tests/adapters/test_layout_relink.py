# SPDX-License-Identifier: Apache-2.0
"""Relinking a toy kernel at seeded layouts with the real linker."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from git_hmopt.adapters import BuildResult, SourceTree, sha256_of
from git_hmopt.errors import AdapterError, StoreError
from git_hmopt.process.sandbox import sandbox_missing
from git_hmopt.records.words import Seed
from hmopt_adapters.kbuild import KbuildAdapter
from tests.adapters.toy_kernel import addresses, edit, toy_adapter, toy_tree

pytestmark = pytest.mark.skipif(
    any(shutil.which(program) is None for program in ("gcc", "make", "ld")), reason="needs gcc, make and ld"
)
SEEDS = [Seed(number) for number in (3, 14, 159)]
FIRST_OF = {
    "init/main.o": "start",
    "lib/sort.o": "lib_sort",
    "lib/string.o": "lib_length",
    "x/lib/sort.o": "x_lib_sort",
}


@pytest.fixture
def tree(tmp_path: Path) -> SourceTree:
    """Return a fresh toy kernel."""
    return toy_tree(tmp_path)


def built(adapter: KbuildAdapter, tree: SourceTree) -> BuildResult:
    """Build, and fail the test when that fails."""
    result = adapter.build(tree, log=tree.root.parent / "log")
    assert result.success, result.failure
    return result


def test_every_object_stands_where_its_name_and_the_seed_say(tmp_path: Path, tree: SourceTree) -> None:
    """x/lib/sort.o is not caught by the place of lib/sort.o: each has the offset of its own name."""
    adapter = toy_adapter(tmp_path)
    images = adapter.layouts(built(adapter, tree), SEEDS, tmp_path / "layouts")
    for seed, image in images.items():
        found = addresses(image.path)
        for name, function in FIRST_OF.items():
            digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
            assert found[function] % 256 == 16 * (digest[-1] % 16), (seed, name)
    orders = {tuple(sorted(FIRST_OF.values(), key=addresses(image.path).__getitem__)) for image in images.values()}
    assert len(orders) > 1


@pytest.mark.parametrize("sandboxed", [False, True])
def test_the_same_seed_and_objects_give_identical_bytes(tmp_path: Path, tree: SourceTree, sandboxed: bool) -> None:
    adapter = toy_adapter(tmp_path, sandboxed=sandboxed)
    result = built(adapter, tree)
    one = adapter.layouts(result, SEEDS, tmp_path / "one")
    other = adapter.layouts(result, list(reversed(SEEDS)), tmp_path / "other")
    assert list(one) == SEEDS
    for seed in SEEDS:
        assert one[seed].sha256 == other[seed].sha256 == sha256_of(one[seed].path)
        assert one[seed].layout == seed
        assert one[seed].build == "toy"
        assert one[seed].symbols == tree.output / "vmlinux"
    assert len({image.sha256 for image in one.values()}) == len(SEEDS)
    # Nothing of the links stays in the tree, and what the build made is as it was.
    assert sorted(path.name for path in tree.root.iterdir() if path.name.startswith(".hmopt")) == []
    assert result.image is not None
    again = built(adapter, tree).image
    assert again is not None
    assert again.sha256 == result.image.sha256


@pytest.mark.skipif(sandbox_missing() is not None, reason=str(sandbox_missing()))
def test_a_tree_in_another_place_gives_the_same_bytes(tmp_path: Path, tree: SourceTree) -> None:
    other = toy_tree(tmp_path / "another" / "place")
    images = []
    for place, one in ((tmp_path, tree), (tmp_path / "another" / "place", other)):
        adapter = toy_adapter(place, sandboxed=True)
        images.append(adapter.layouts(built(adapter, one), SEEDS, place / "layouts"))
    assert [image.sha256 for image in images[0].values()] == [image.sha256 for image in images[1].values()]


def test_what_a_patch_does_not_touch_keeps_its_alignment(tmp_path: Path, tree: SourceTree) -> None:
    adapter = toy_adapter(tmp_path)
    before = adapter.layouts(built(adapter, tree), SEEDS, tmp_path / "layouts")
    # lib/sort.o grows by more than a slot.
    grown = "".join(f'__asm__ volatile(".skip 64, 0x90"); a += {number};' for number in range(9))
    edit(tree, "lib/sort.c", "return lib_length(a) * 3;", f"{grown} return lib_length(a) * 3;")
    after = adapter.layouts(built(adapter, tree), SEEDS, tmp_path / "layouts")
    moved = False
    for seed in SEEDS:
        old, new = addresses(before[seed].path), addresses(after[seed].path)
        for function in FIRST_OF.values():
            assert old[function] % 256 == new[function] % 256, (seed, function)
        assert old["lib_swap"] != new["lib_swap"]
        moved = moved or any(old[function] != new[function] for function in FIRST_OF.values())
    assert moved


def test_layouts_are_kept_and_not_linked_again(tmp_path: Path, tree: SourceTree) -> None:
    adapter = toy_adapter(tmp_path)
    result = built(adapter, tree)
    first = adapter.layouts(result, SEEDS[:2], tmp_path / "layouts")
    stamps = {seed: image.path.stat().st_mtime_ns for seed, image in first.items()}
    # The tree moves on; what was linked of the build before is still there, and nothing new of it can be linked.
    edit(tree, "lib/sort.c", "* 3", "* 5")
    built(adapter, tree)
    again = adapter.layouts(result, SEEDS[:2], tmp_path / "layouts")
    assert again == first
    assert {seed: image.path.stat().st_mtime_ns for seed, image in again.items()} == stamps
    with pytest.raises(AdapterError, match="holds another build by now; build it again"):
        adapter.layouts(result, SEEDS, tmp_path / "layouts")


def test_a_broken_link_is_an_error_and_leaves_no_image(tmp_path: Path, tree: SourceTree) -> None:
    adapter = toy_adapter(tmp_path)
    result = built(adapter, tree)
    edit(tree, "scripts/link-vmlinux.sh", 'echo "rehearsal"', "echo 'Inconsistent kallsyms data' >&2; exit 1 #")
    with pytest.raises(AdapterError, match=r"relinking failed: .* Inconsistent kallsyms data"):
        adapter.layouts(result, SEEDS, tmp_path / "layouts")
    assert [path for path in (tmp_path / "layouts").rglob("*") if path.is_file()] == []
    assert list(tree.root.glob(".hmopt-layout-*")) == []
    edit(tree, "scripts/link-vmlinux.sh", "echo 'Inconsistent kallsyms data' >&2; exit 1 #", "exit 0 #")
    with pytest.raises(AdapterError, match=r"layout 3: link-vmlinux.sh left no vmlinux"):
        adapter.layouts(result, SEEDS[:1], tmp_path / "layouts")


def test_what_a_killed_relink_left_is_cleared_away(tmp_path: Path, tree: SourceTree) -> None:
    adapter = toy_adapter(tmp_path)
    result = built(adapter, tree)
    left = tree.root / ".hmopt-layout-abc"
    left.mkdir()
    (left / "vmlinux").write_text("half")
    partial = tmp_path / "layouts" / "half.partial"
    partial.parent.mkdir()
    partial.write_text("half")
    images = adapter.layouts(result, SEEDS[:1], tmp_path / "layouts")
    assert not left.exists()
    assert addresses(images[SEEDS[0]].path)


def test_a_place_that_cannot_be_written_is_a_typed_error(tmp_path: Path, tree: SourceTree) -> None:
    adapter = toy_adapter(tmp_path)
    result = built(adapter, tree)
    assert result.image is not None
    folder = tmp_path / "layouts" / result.image.sha256[:16]
    (folder / "3.partial").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"layout 3 cannot be written: .*; free space there"):
        adapter.layouts(result, SEEDS[:1], tmp_path / "layouts")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (None, "is missing: this tree was not linked by us; delete the build tree and run again"),
        (b"PATH=/usr/bin\0", "names no linker script that can be read: 'KBUILD_LDS'"),
        (b"KBUILD_LDS=gone.lds\0", "names no linker script that can be read: .*gone.lds"),
    ],
)
def test_a_tree_whose_link_was_not_recorded_is_refused(
    damage: bytes | None, said: str, tmp_path: Path, tree: SourceTree
) -> None:
    adapter = toy_adapter(tmp_path)
    result = built(adapter, tree)
    record = tree.output / ".hmopt-link-env"
    record.unlink()
    if damage is not None:
        record.write_bytes(damage)
    with pytest.raises(AdapterError, match=said):
        adapter.layouts(result, SEEDS, tmp_path / "layouts")


def test_a_script_without_one_place_for_text_is_refused(tmp_path: Path, tree: SourceTree) -> None:
    edit(tree, "arch/vmlinux.lds", "*(.text .text.fixup)", "*(.text .text.fixup) *(.text)")
    adapter = toy_adapter(tmp_path)
    with pytest.raises(AdapterError, match="layout cannot be controlled"):
        adapter.layouts(built(adapter, tree), SEEDS, tmp_path / "layouts")


def test_only_um_is_relinked_and_only_a_success(tmp_path: Path, tree: SourceTree) -> None:
    counted = toy_adapter(tmp_path, arch="x86_64")
    assert not counted.layout_controlled
    with pytest.raises(AdapterError, match="build 'toy': layouts are controlled for ARCH=um only"):
        counted.layouts(built(counted, tree), SEEDS, tmp_path / "layouts")
    adapter = toy_adapter(tmp_path)
    assert adapter.layout_controlled
    with pytest.raises(AdapterError, match="only a successful build can be relinked"):
        adapter.layouts(replace(built(adapter, tree), image=None), SEEDS, tmp_path / "layouts")


# -- the shim that records the link's environment -------------------------------------------------------------------


def test_the_recorded_environment_is_the_links_own(tmp_path: Path, tree: SourceTree) -> None:
    adapter = toy_adapter(tmp_path)
    built(adapter, tree)
    recorded = dict(item.split(b"=", 1) for item in (tree.output / ".hmopt-link-env").read_bytes().split(b"\0") if item)
    assert recorded[b"KBUILD_LDS"] == b"arch/vmlinux.lds"
    assert recorded[b"KBUILD_VMLINUX_LIBS"] == b"lib/lib.a"
    assert recorded[b"HOME"] == b"/nonexistent"


@pytest.mark.parametrize("damage", ["truncated", "not executable", "of another version"])
def test_a_shim_that_is_not_ours_is_put_right(damage: str, tmp_path: Path, tree: SourceTree) -> None:
    shim = tmp_path / "scratch" / "link-shim" / "sh"
    shim.parent.mkdir(parents=True)
    shim.write_text(
        {"truncated": "#!/bin/sh\ncase", "of another version": '#!/bin/sh\nexec /bin/sh "$@"\n'}.get(damage, "")
    )
    shim.chmod(0o644 if damage == "not executable" else 0o755)
    adapter = toy_adapter(tmp_path)
    built(adapter, tree)
    assert (tree.output / ".hmopt-link-env").is_file()


def test_the_shim_is_sh_to_everybody_else(tmp_path: Path, tree: SourceTree) -> None:
    edit(tree, "scripts/link-vmlinux.sh", "set -e", "set -e\nsh -c 'echo \"$0 $1\" >../said; exit 0' zero 'one two'")
    adapter = toy_adapter(tmp_path)
    built(adapter, tree)
    assert (tree.root / "said").read_text() == "zero one two\n"


def test_links_run_beside_each_other(tmp_path: Path, tree: SourceTree) -> None:
    """Two jobs, two links at a time: each waits until the other is there as well."""
    edit(
        tree,
        "scripts/link-vmlinux.sh",
        'echo "rehearsal"',
        'if [ -n "$WAIT" ]; then touch ../here.$$; n=0; until [ $(ls ../here.* | wc -l) -ge 2 ] || [ $n -gt 100 ]; do '
        'n=$((n+1)); sleep 0.1; done; fi; echo "rehearsal"',
    )
    adapter = toy_adapter(tmp_path)
    result = built(adapter, tree)
    record = tree.output / ".hmopt-link-env"
    record.write_bytes(record.read_bytes() + b"WAIT=1\0")
    assert len(adapter.layouts(result, SEEDS[:2], tmp_path / "layouts")) == 2
    assert len(list(tree.root.glob("here.*"))) == 2
