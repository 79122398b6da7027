# SPDX-License-Identifier: Apache-2.0
"""Overlays: what is refused, what they add to a tree, and that the shipped ones are sound."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_hmopt.config.overlay import (
    Overlay,
    apply_overlays,
    find_overlay,
    load_overlay,
    overlay_digest,
    overlay_kconfig,
    resolve_overlays,
)
from git_hmopt.errors import ConfigError

GOOD = """\
v: 1
description: A bench
files:
  lib/bench/bench.c: bench.c
append:
  lib/Makefile: ["obj-y += bench/"]
kconfig: [CONFIG_KUNIT=y, "# CONFIG_FOO is not set", 'CONFIG_NAME="x y"', CONFIG_N=-3]
"""


def write(directory: Path, text: str = GOOD, **files: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "overlay.yaml").write_text(text)
    for name, content in ({"bench.c": "int x;\n"} | files).items():
        (directory / name).write_text(content)
    return directory


def complaint(directory: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_overlay(directory, name="./o")
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("v: 1\n", "", "1: v: is missing, expected 1"),
        ("v: 1\n", "v: 2\nnew: 1\n", "1: v: 2 is newer than this git-hmopt reads, expected 1; upgrade git-hmopt"),
        ("description: A bench\n", "", "1: description: is missing, expected text"),
        ("append:", "apend:", "5: apend: unknown key 'apend', expected 'append'?"),
        ("lib/bench/bench.c:", "/etc/passwd:", "4: files./etc/passwd: is not relative to the tree, expected a path"),
        ("lib/bench/bench.c:", "../x:", "4: files.../x: leaves the tree or is not in its shortest form, expected"),
        ("lib/bench/bench.c:", "lib//x:", "4: files.lib//x: leaves the tree or is not in its shortest form, expected"),
        ("lib/bench/bench.c:", "lib/.GIT/config:", "4: files.lib/.GIT/config: is inside .git, expected a path"),
        ("lib/Makefile:", "lib/../../x:", "6: append.lib/../../x: leaves the tree"),
        ("bench.c: bench.c", "bench.c: none.c", "4: files.lib/bench/bench.c: 'none.c' does not exist, expected a file"),
        ("bench.c: bench.c", "bench.c: ../k", "4: files.lib/bench/bench.c: '../k' leaves the tree"),
        ("CONFIG_KUNIT=y", "KUNIT=y", "7: kconfig[0]: got 'KUNIT=y', expected CONFIG_NAME=value or"),
        ("CONFIG_KUNIT=y", '"CONFIG_A=y\\nCONFIG_B=y"', "7: kconfig[0]: got 'CONFIG_A=y\\nCONFIG_B=y', expected"),
        ('["obj-y += bench/"]', '["a\\nb"]', "6: append.lib/Makefile[0]: holds a line break, expected one line"),
        ('["obj-y += bench/"]', "obj-y", "6: append.lib/Makefile: got text 'obj-y', expected a list"),
    ],
)
def test_a_wrong_overlay_is_refused_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    assert complaint(write(tmp_path, GOOD.replace(old, new))).startswith(f"./o/overlay.yaml:{message}")


def test_an_overlay_that_adds_nothing_is_refused(tmp_path: Path) -> None:
    assert complaint(write(tmp_path, "v: 1\ndescription: x\n")).startswith("./o/overlay.yaml:1: adds nothing, expected")


def test_an_overlay_without_its_file_is_refused(tmp_path: Path) -> None:
    assert complaint(tmp_path).startswith("overlay './o' cannot be read: ")


def test_a_link_out_of_the_overlay_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key")
    overlay = write(tmp_path / "o")
    (overlay / "bench.c").unlink()
    (overlay / "bench.c").symlink_to(tmp_path / "secret")
    assert "'bench.c' links to a place outside, expected a file of the overlay" in complaint(overlay)


def test_an_overlay_adds_files_and_lines(tmp_path: Path) -> None:
    tree = {"lib/Makefile": b"obj-y += sort.o"}
    overlay = load_overlay(write(tmp_path / "bench"))
    assert apply_overlays([overlay], tree.get) == {
        "lib/bench/bench.c": b"int x;\n",
        "lib/Makefile": b"obj-y += sort.o\nobj-y += bench/\n",
    }
    assert tree == {"lib/Makefile": b"obj-y += sort.o"}
    assert overlay_kconfig([overlay])[0] == "CONFIG_KUNIT=y"


def made(name: str, *, requires: tuple[str, ...] = (), digest: str = "00", **files: bytes) -> Overlay:
    return Overlay(name, Path(name), "", files=files, requires=requires, digest=digest)


def test_appending_to_a_file_that_is_not_there_creates_it_and_overlays_append_in_order() -> None:
    first = Overlay("a", Path("a"), "", files={}, append={"m": ("1",)}, requires=("b",))
    second = Overlay("b", Path("b"), "", files={}, append={"m": ("2", "3")})
    assert apply_overlays([first, second], lambda path: None) == {"m": b"2\n3\n1\n"}


@pytest.mark.parametrize(
    ("overlays", "message"),
    [
        ([made("a", there=b"")], "overlay 'a' would replace 'there' of the tree; overlays only add"),
        ([made("a", x=b""), made("b", x=b"")], "overlay 'b' would replace 'x', which overlay 'a' made"),
        ([Overlay("a", Path("a"), "", files={"../x": b""})], "overlay 'a': '../x' leaves the tree"),
        ([Overlay("a", Path("a"), "", files={}, append={"/x": ()})], "overlay 'a': '/x' is not relative"),
        ([Overlay("a", Path("a"), "", files={"there/x": b""})], "overlay 'a' adds 'there/x', but 'there' is a file"),
        ([made("a", requires=("b",))], "overlay 'a' requires 'b', which is not among the overlays given"),
        (
            [made("a", requires=("b",)), made("b", requires=("a",))],
            "overlays require each other in a circle: a -> b -> a",
        ),
    ],
)
def test_what_no_overlay_may_do_is_refused(overlays: list[Overlay], message: str) -> None:
    tree = {"there": b"old"}
    with pytest.raises(ConfigError) as caught:
        apply_overlays(overlays, tree.get)
    assert str(caught.value).startswith(message)


def test_local_overlays_are_found_below_the_repository_only(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    write(root / "perf" / "bench")
    write(tmp_path / "outside")
    (root / "link").symlink_to(tmp_path / "outside")
    assert find_overlay("./perf/bench", repository_root=root) == root / "perf" / "bench"
    for name, why in (
        ("./../outside", "leaves the tree"),
        ("./link", "links to a place outside the repository"),
        ("./perf", "has no overlay.yaml"),
        ("./", "is not relative"),
    ):
        with pytest.raises(ConfigError, match=why):
            find_overlay(name, repository_root=root)


def test_an_unknown_shipped_overlay_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        find_overlay("comon", repository_root=tmp_path)
    assert str(caught.value).startswith("unknown overlay 'comon', expected 'common'?")
    assert str(caught.value).endswith("an overlay of the repository itself is written './path'")


def test_required_overlays_are_loaded_first_and_once(tmp_path: Path) -> None:
    for name, requires in (("a", "[./c, ./b]"), ("b", "[./c]"), ("c", "[]")):
        write(tmp_path / name, f"v: 1\ndescription: x\nkconfig: [CONFIG_{name.upper()}=y]\nrequires: {requires}\n")
    overlays = resolve_overlays(["./a", "./b"], repository_root=tmp_path)
    assert [overlay.name for overlay in overlays] == ["./c", "./b", "./a"]
    assert overlay_kconfig(overlays) == ("CONFIG_C=y", "CONFIG_B=y", "CONFIG_A=y")


def test_every_shipped_overlay_loads_and_applies_to_a_tree() -> None:
    from hmopt_adapters import overlay_root

    names = sorted(path.parent.name for path in overlay_root().glob("*/overlay.yaml"))
    assert names
    overlays = resolve_overlays(names, repository_root=Path("/nonexistent"))
    contents = apply_overlays(overlays, {"lib/Makefile": b"obj-y += sort.o\n"}.get)
    assert {overlay.name for overlay in overlays} == set(names)
    assert all(overlay.version is not None for overlay in overlays)
    assert contents["lib/Makefile"].startswith(b"obj-y += sort.o\n")


def test_the_digest_follows_the_bytes_and_not_the_place(tmp_path: Path) -> None:
    one, same = load_overlay(write(tmp_path / "1" / "o")), load_overlay(write(tmp_path / "2" / "o"))
    other = load_overlay(write(tmp_path / "3" / "o", **{"bench.c": "int y;\n"}))
    assert overlay_digest([one]) == overlay_digest([same]) != overlay_digest([other])
    assert overlay_digest([]) != overlay_digest([one])
