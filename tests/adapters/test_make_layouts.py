# SPDX-License-Identifier: Apache-2.0
"""Relinking what a Makefile built at seeded layouts, with the real compilers and the real linker."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from git_hmopt.adapters import sha256_of
from git_hmopt.errors import AdapterError
from git_hmopt.process.sandbox import sandbox_missing
from git_hmopt.records.words import Seed
from hmopt_adapters.make import MakeOptions
from hmopt_adapters.placement import CannotPlaceError, default_script, parse_map, placed_script
from tests.adapters.c_project import FILES, adapter, addresses, build, c_tree, edit, ran

pytestmark = pytest.mark.skipif(
    any(shutil.which(program) is None for program in ("gcc", "make", "ld", "objcopy")), reason="needs gcc and make"
)
SEEDS = [Seed(number) for number in (3, 14, 159)]
COMPILERS = [
    pytest.param("gcc"),
    pytest.param("clang", marks=pytest.mark.skipif(shutil.which("clang") is None, reason="needs clang")),
]
MAKEFILE = FILES["Makefile"]
# The first function of each object, by the name its place is drawn for.
FIRST_OF = {
    "libtable.a:sum.o": ("mix", "table_sum"),
    "libtable.a:find.o": ("table_find",),
    "src/main.o": ("work", "main"),
}


def drawn(seed: int, name: str) -> int:
    """Return the offset modulo 256 that a seed gives an object, worked out here and not by the adapter."""
    return int(16 * (hashlib.sha256(f"{seed}:{name}".encode()).digest()[-1] % 16))


def first_address(found: dict[str, int], functions: tuple[str, ...]) -> int:
    return min(found[function] for function in functions)


@pytest.mark.parametrize("cc", COMPILERS)
@pytest.mark.parametrize("flags", ["-O2", "-O2 -ffunction-sections", "-O2 -fPIE"])
def test_every_object_stands_where_its_name_and_the_seed_say(tmp_path: Path, cc: str, flags: str) -> None:
    made, tree = adapter(tmp_path, MakeOptions(image="prog", cc=cc, variables={"CFLAGS": flags})), c_tree(tmp_path)
    result = build(made, tree)
    assert made.layout_controlled and made.layout_reason is None
    assert result.image is not None
    images = made.layouts(result, SEEDS, tmp_path / "layouts")
    assert list(images) == SEEDS
    printed = ran(result.image.path, "7", "300", "5")
    for seed, image in images.items():
        found = addresses(image.path)
        for name, functions in FIRST_OF.items():
            assert first_address(found, functions) % 256 == drawn(seed, name), (seed, name)
        assert ran(image.path, "7", "300", "5") == printed
        assert image.layout == seed and image.sha256 == sha256_of(image.path)
    assert len({image.sha256 for image in images.values()}) == len(SEEDS)
    orders = {tuple(sorted(found, key=found.__getitem__)) for found in (addresses(i.path) for i in images.values())}
    assert len(orders) > 1


@pytest.mark.parametrize("link", ["", "-no-pie", "-static", "-Wl,--gc-sections -ffunction-sections", "-s", "-rdynamic"])
def test_every_usual_way_of_linking_is_controlled(tmp_path: Path, link: str) -> None:
    made, tree = adapter(tmp_path, MakeOptions(image="prog", variables={"LDFLAGS": link})), c_tree(tmp_path)
    result = build(made, tree)
    assert made.layout_reason is None
    one, two = made.layouts(result, SEEDS[:2], tmp_path / "layouts").values()
    for seed, image in zip(SEEDS, (one, two), strict=False):
        assert first_address(addresses(image.path), FIRST_OF["src/main.o"]) % 256 == drawn(seed, "src/main.o")
    assert ran(one.path) == ran(two.path)


def test_layouts_are_a_function_of_seed_and_source_alone(tmp_path: Path) -> None:
    """Another directory, another order of seeds, a sandbox: the same bytes."""
    found: list[dict[Seed, str]] = []
    for place, sandboxed in ((tmp_path / "one", False), (tmp_path / "some" / "other", sandbox_missing() is None)):
        made = adapter(place, MakeOptions(image="prog"), sandboxed=sandboxed)
        result = build(made, c_tree(place))
        order = SEEDS if not found else SEEDS[::-1]
        images = made.layouts(result, order, place / "layouts")
        found.append({seed: images[seed].sha256 for seed in SEEDS})
    assert found[0] == found[1]


def test_what_a_patch_does_not_touch_keeps_its_alignment(tmp_path: Path) -> None:
    made, tree = adapter(tmp_path, MakeOptions(image="prog")), c_tree(tmp_path)
    before = made.layouts(build(made, tree), SEEDS, tmp_path / "layouts")
    # lib/find.o grows by more than a slot, and the program calls one more function of libc.
    edit(tree, "lib/find.c", "return i;", "{ " + '__asm__ volatile(".skip 64, 0x90");' * 9 + " return i; }")
    edit(tree, "lib/sum.c", "return total;", 'if (size == 12345) __builtin_puts("x"); return total;')
    after = made.layouts(build(made, tree), SEEDS, tmp_path / "layouts")
    moved = False
    for seed in SEEDS:
        old, new = addresses(before[seed].path), addresses(after[seed].path)
        for function in ("main", "work", "table_find", "_start"):
            assert old[function] % 256 == new[function] % 256, (seed, function)
            moved = moved or old[function] != new[function]
    assert moved


def test_layouts_are_kept_and_a_tree_that_moved_on_is_refused(tmp_path: Path) -> None:
    made, tree = adapter(tmp_path, MakeOptions(image="prog")), c_tree(tmp_path)
    result = build(made, tree)
    first = made.layouts(result, SEEDS[:2], tmp_path / "layouts")
    stamps = [image.path.stat().st_mtime_ns for image in first.values()]
    edit(tree, "lib/sum.c", "* 31", "* 33")
    build(made, tree)
    again = made.layouts(result, SEEDS[:2], tmp_path / "layouts")
    assert again == first and [image.path.stat().st_mtime_ns for image in again.values()] == stamps
    with pytest.raises(AdapterError, match="holds another build by now; build it again"):
        made.layouts(result, SEEDS, tmp_path / "layouts")


def test_a_program_that_is_compiled_and_linked_in_one_command(tmp_path: Path) -> None:
    """`cc -o prog a.c b.c` leaves no objects; they are made for the relink, and the code is the same."""
    makefile = "CFLAGS = -O2 -Iinclude\nprog: src/main.c lib/sum.c lib/find.c\n\t$(CC) $(CFLAGS) -o $@ $^ -lm\n"
    made, tree = adapter(tmp_path, MakeOptions(image="prog")), c_tree(tmp_path, makefile=makefile)
    result = build(made, tree)
    assert made.layout_reason is None
    for seed, image in made.layouts(result, SEEDS, tmp_path / "layouts").items():
        found = addresses(image.path)
        assert first_address(found, ("mix", "table_sum")) % 256 == drawn(seed, "lib%sum.c.o")
        assert result.image is not None and ran(image.path) == ran(result.image.path)
    # A changed source changes these objects too.
    edit(tree, "lib/sum.c", "* 31", "* 33")
    result = build(made, tree)
    images = made.layouts(result, SEEDS[:1], tmp_path / "layouts")
    assert result.image is not None and ran(images[SEEDS[0]].path, "5") == ran(result.image.path, "5")


@pytest.mark.parametrize("after", ["strip prog", "mv prog.linked prog", "cp prog.linked prog; strip prog"])
def test_a_program_that_is_worked_on_after_its_link(tmp_path: Path, after: str) -> None:
    target = "prog.linked" if "linked" in after else "prog"
    recipe = f"-o {target} src/main.o -L. -ltable\n\t{after}"
    makefile = MAKEFILE.replace("-o $@ src/main.o -L. -ltable\n", recipe + "\n", 1)
    made = adapter(tmp_path, MakeOptions(image="prog"))
    result = build(made, c_tree(tmp_path, makefile=makefile))
    assert made.layout_reason is None
    images = made.layouts(result, SEEDS, tmp_path / "layouts")
    assert len({addresses(image.path)["main"] for image in images.values()}) > 1


def test_a_thin_archive(tmp_path: Path) -> None:
    makefile = MAKEFILE.replace("ar rcs", "ar rcsT")
    made = adapter(tmp_path, MakeOptions(image="prog"))
    result = build(made, c_tree(tmp_path, makefile=makefile))
    assert made.layout_reason is None
    images = made.layouts(result, SEEDS, tmp_path / "layouts")
    assert len({addresses(image.path)["table_find"] % 256 for image in images.values()}) > 1


def test_two_objects_of_one_name_in_two_directories(tmp_path: Path) -> None:
    """lib/main.o is not caught by the place of src/main.o."""
    makefile = MAKEFILE.replace("src/main.o libtable.a", "src/main.o lib/main.o libtable.a", 1)
    makefile = makefile.replace("-o $@ src/main.o -L. -ltable", "-o $@ src/main.o lib/main.o -L. -ltable", 1)
    tree = c_tree(tmp_path, makefile=makefile)
    (tree.root / "lib/main.c").write_text("int other(int a) { return a * 7; }\n")
    made = adapter(tmp_path, MakeOptions(image="prog"))
    for seed, image in made.layouts(build(made, tree), SEEDS, tmp_path / "layouts").items():
        found = addresses(image.path)
        assert found["other"] % 256 == drawn(seed, "lib/main.o")
        assert first_address(found, ("work", "main")) % 256 == drawn(seed, "src/main.o")


# -- shared libraries -------------------------------------------------------------------------------------------------


def test_the_image_may_be_a_shared_library(tmp_path: Path) -> None:
    made = adapter(tmp_path, MakeOptions(image="libtable.so.1.0", target=("libtable.so.1.0", "dynamic")))
    tree = c_tree(tmp_path)
    result = build(made, tree)
    assert made.layout_reason is None
    program = tree.output / "tree/dynamic"
    printed = set()
    for seed, image in made.layouts(result, SEEDS, tmp_path / "layouts").items():
        assert addresses(image.path)["table_find"] % 256 == drawn(seed, "lib/find.pic.o")
        printed.add(ran(program, environment={"LD_LIBRARY_PATH": str(image.path.parent)}))
        assert str(image.path.parent) in loaded(program, image.path.parent)
    assert len(printed) == 1


def loaded(program: Path, beside: Path) -> str:
    """Return the path from which the loader takes the library."""
    done = subprocess.run(
        ["ldd", str(program)], capture_output=True, text=True, check=True, env={"LD_LIBRARY_PATH": str(beside)}
    )
    found = re.search(r"libtable\.so\.1 => (\S+)", done.stdout)
    assert found is not None, done.stdout
    return found[1]


def test_a_program_runs_the_library_that_lies_beside_it(tmp_path: Path) -> None:
    """Its Makefile's own run path leads into the build; the copy must load the placed library all the same."""
    makefile = MAKEFILE.replace("-o $@ src/main.o -L. -ltable_dynamic", "-o $@ src/main.o -L. -ltable_dynamic $(RP)")
    makefile = makefile.replace("CFLAGS = ", "RP = -Wl,--disable-new-dtags,-rpath,$(CURDIR)\nCFLAGS = ", 1)
    options = MakeOptions(image="dynamic", libraries=("libtable.so.1.0",), target=("dynamic",))
    made, tree = adapter(tmp_path, options), c_tree(tmp_path, makefile=makefile)
    result = build(made, tree)
    assert made.layout_reason is None and result.image is not None
    images = made.layouts(result, SEEDS, tmp_path / "layouts")
    for image in (result.image, *images.values()):
        done = subprocess.run(["ldd", str(image.path)], capture_output=True, text=True, check=True)
        assert f"libtable.so.1 => {image.path.parent}/libtable.so.1" in done.stdout
    for seed, image in images.items():
        library = image.path.parent / "libtable.so.1.0"
        assert addresses(library)["table_find"] % 256 == drawn(seed, "lib/find.pic.o")
        assert first_address(addresses(image.path), ("work", "main")) % 256 == drawn(seed, "src/main.o")
    # Only the library changes; the image's bytes change with it, and it runs the new code.
    before, printed = result.image.sha256, ran(result.image.path)
    edit(tree, "lib/sum.c", "* 31", "* 33")
    changed = build(made, tree).image
    assert changed is not None and changed.sha256 == sha256_of(changed.path) != before
    assert ran(changed.path) != printed


# -- where it cannot --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("CFLAGS = -O2", "CFLAGS = -O2 -flto", r"link-time optimization \(-flto\)"),
        ("-L. -ltable\n", "-L. -ltable -Wl,-T,own.lds\n", r"linker script of its own.*own\.lds"),
        ("$(LDFLAGS) -o $@ src", "-o $@ @words src", r"reads its words from a file \(@words\)"),
        ("$(CC) $(CFLAGS) $(LDFLAGS)", "/usr/bin/gcc $(CFLAGS)", "none of the 3 compiler calls gives 'prog'"),
        ("-L. -ltable\n", "-L. -ltable\n\tobjcopy --rename-section .data=.mydata $@\n", "something works on it later"),
    ],
)
def test_a_link_that_cannot_be_placed_says_why(tmp_path: Path, old: str, new: str, reason: str) -> None:
    if "/usr/bin/gcc" in new and not Path("/usr/bin/gcc").exists():
        pytest.skip("no compiler at this path")
    assert old in MAKEFILE
    tree = c_tree(tmp_path, makefile=MAKEFILE.replace(old, new, 1))
    (tree.root / "words").write_text("-O2\n")
    script = subprocess.run(["ld", "--verbose"], capture_output=True, text=True, check=True).stdout
    (tree.root / "own.lds").write_text(script.split("=" * 50)[1])
    made = adapter(tmp_path, MakeOptions(image="prog", variables={"CC": "gcc"}))
    result = made.build(tree, log=tmp_path / "log")
    assert result.success, result.failure
    assert not made.layout_controlled
    assert re.search(reason, made.layout_reason or ""), made.layout_reason
    told = [note for note in result.vanished if note.startswith("layouts: ")]
    assert len(told) == 1 and re.search(reason, told[0])
    # Every seed has the one image there is, under its own name.
    images = made.layouts(result, SEEDS, tmp_path / "layouts")
    assert result.image is not None
    assert {image.path for image in images.values()} == {result.image.path}
    assert [image.layout for image in images.values()] == SEEDS


@pytest.mark.parametrize("linker", ["lld", "gold", "mold"])
def test_another_linker_is_refused_by_name(tmp_path: Path, linker: str) -> None:
    if shutil.which(f"ld.{linker}") is None:
        pytest.skip(f"needs ld.{linker}")
    made = adapter(tmp_path, MakeOptions(image="prog", variables={"LDFLAGS": f"-fuse-ld={linker}"}))
    build(made, c_tree(tmp_path))
    assert made.layout_reason == f"the link asks for another linker than GNU ld (-fuse-ld={linker})"


def test_one_side_without_control_is_both_without(tmp_path: Path) -> None:
    """A pair of layouts of one arm and the bare build of the other would compare two populations."""
    made = adapter(tmp_path, MakeOptions(image="prog"))
    result = build(made, c_tree(tmp_path / "base"))
    assert made.layout_controlled
    other = c_tree(tmp_path / "candidate", makefile=MAKEFILE.replace("CFLAGS = -O2", "CFLAGS = -O2 -flto", 1))
    build(made, other)
    assert not made.layout_controlled
    images = made.layouts(result, SEEDS, tmp_path / "layouts")
    assert result.image is not None and {image.path for image in images.values()} == {result.image.path}


def test_layouts_of_a_failed_build_are_refused(tmp_path: Path) -> None:
    made, tree = adapter(tmp_path, MakeOptions(image="prog")), c_tree(tmp_path)
    edit(tree, "lib/sum.c", "return total;", "return totl;")
    result = made.build(tree, log=tmp_path / "log")
    with pytest.raises(AdapterError, match="there is no image to lay out: the build failed"):
        made.layouts(result, SEEDS, tmp_path / "layouts")


# -- the script and the map -------------------------------------------------------------------------------------------


def test_output_without_a_script_is_another_linkers() -> None:
    with pytest.raises(CannotPlaceError, match="prints no default script: it is not GNU ld"):
        default_script("mold 2.0\n")


def test_a_script_without_the_usual_text_section_is_refused() -> None:
    for script in ("SECTIONS { .data : { *(.data) } }", "SECTIONS {\n  .text : { *(.mytext) }\n}"):
        with pytest.raises(CannotPlaceError, match=r"no '\.text' section as GNU ld writes it"):
            placed_script(script, (), Seed(1))


def test_a_map_is_read_with_its_long_lines_and_without_what_was_discarded() -> None:
    text = (
        "Discarded input sections\n\n .text.gone     0x0000000000000000       0x10 gone.o\n\n"
        "Linker script and memory map\n\n"
        " .text          0x0000000000001000       0x20 a b.o\n"
        " .text          0x0000000000001020        0x0 empty.o\n"
        " .text.startup.main\n                0x0000000000001040       0x10 lib/x.a(m.o)\n"
        " .text          0x0000000000001050       0x10 lib/x.a(m.o)\n"
        " .data          0x0000000000002000       0x10 data.o\n"
    )
    inputs = parse_map(text, lambda label: label)
    assert [one.label for one in inputs] == ["a b.o", "lib/x.a(m.o)"]
    assert [one.pattern for one in inputs] == ["[a]?b.o", "[l]ib/x.a:m.o"]
    with pytest.raises(CannotPlaceError, match="names no object with code"):
        parse_map("Linker script and memory map\n", lambda label: label)
