# SPDX-License-Identifier: Apache-2.0
"""The kbuild adapter on a toy kernel with the real make and compiler: results, warnings, configurations, kills."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from git_hmopt.adapters import BuildAdapter, BuildResult, SourceTree
from git_hmopt.errors import AdapterError, ConfigError, StoreError
from git_hmopt.process.sandbox import sandbox_missing
from hmopt_adapters.kbuild import KbuildAdapter, KbuildOptions
from tests.adapters.toy_kernel import SOURCES, edit, toy_adapter, toy_tree

pytestmark = pytest.mark.skipif(
    any(shutil.which(program) is None for program in ("gcc", "make", "ld")), reason="needs gcc, make and ld"
)
UNUSED = "static int never(void) { return 1; }\n"
SAID = "'never' defined but not used [-Wunused-function]"


@pytest.fixture
def tree(tmp_path: Path) -> SourceTree:
    """Return a fresh toy kernel."""
    return toy_tree(tmp_path)


def build(adapter: KbuildAdapter, tree: SourceTree, name: str = "log") -> BuildResult:
    """Build with a log of its own beside the tree."""
    return adapter.build(tree, log=tree.root.parent / f"{name}.log")


def compiled(tree: SourceTree, name: str = "log") -> list[str]:
    """Return the objects that a build compiled, from its log."""
    lines = (tree.root.parent / f"{name}.log").read_text().splitlines()
    return sorted(line.split()[1] for line in lines if line.startswith("  CC "))


# -- what a build gives ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sandboxed", [False, True])
def test_a_build_gives_an_image_and_builds_nothing_twice(tmp_path: Path, tree: SourceTree, sandboxed: bool) -> None:
    adapter = toy_adapter(tmp_path, sandboxed=sandboxed)
    assert isinstance(adapter, BuildAdapter)
    first = build(adapter, tree, "first")
    assert first.success, first.failure
    assert first.image is not None
    assert first.image.path == tree.output / "vmlinux" == first.image.symbols
    assert first.image.build == "toy"
    assert compiled(tree, "first") == ["init/main.o", "lib/sort.o", "lib/string.o", "x/lib/sort.o"]
    assert set(first.toolchain) == {"gcc", "ld"}
    assert "gcc" in first.toolchain["gcc"]
    again = build(adapter, tree, "again")
    assert compiled(tree, "again") == []
    assert again.image == first.image


def test_text_is_the_size_of_all_functions(tmp_path: Path, tree: SourceTree) -> None:
    adapter = toy_adapter(tmp_path)
    before = build(adapter, tree).text_bytes
    said = subprocess.run(["nm", "-S", tree.output / "vmlinux"], capture_output=True, text=True, check=True).stdout
    sizes = [int(line.split()[1], 16) for line in said.splitlines() if len(line.split()) == 4]
    assert before == sum(sizes) > 0
    edit(tree, "lib/string.c", "return a ^ 7;", "return a * a * a * 11 + a / 3;")
    after = build(adapter, tree).text_bytes
    assert after is not None and before is not None
    assert after > before


def test_a_comment_changes_neither_identity_nor_text(tmp_path: Path, tree: SourceTree) -> None:
    adapter = toy_adapter(tmp_path)
    before = build(adapter, tree)
    edit(tree, "lib/sort.c", "int lib_swap", "/* a line\n more */\nint lib_swap")
    after = build(adapter, tree, "second")
    assert compiled(tree, "second") == ["lib/sort.o"]
    assert before.image is not None and after.image is not None
    assert after.image.sha256 == before.image.sha256
    assert after.text_bytes == before.text_bytes
    edit(tree, "lib/sort.c", "* 3", "* 5")
    changed = build(adapter, tree).image
    assert changed is not None
    assert changed.sha256 != before.image.sha256


def test_output_must_be_a_direct_child_of_the_tree(tmp_path: Path, tree: SourceTree) -> None:
    for output in (tree.root / "build" / "deep", tmp_path / "elsewhere", tree.root):
        with pytest.raises(AdapterError, match=r"must be a direct child of the source tree"):
            build(toy_adapter(tmp_path), replace(tree, output=output))
        assert not (tmp_path / "elsewhere").exists()


# -- failures -------------------------------------------------------------------------------------------------------


def test_the_failure_is_the_compilers_first_error(tmp_path: Path, tree: SourceTree) -> None:
    edit(tree, "lib/sort.c", "return lib_length(a) * 3;", "return nowhere;")
    result = build(toy_adapter(tmp_path), tree)
    assert not result.success
    assert result.image is None
    assert result.failure is not None
    assert result.failure.startswith("../lib/sort.c:2:")
    assert "error: 'nowhere' undeclared" in result.failure
    assert "\n" not in result.failure
    edit(tree, "lib/sort.c", "return nowhere;", "return lib_length(a) * 3;")
    assert build(toy_adapter(tmp_path), tree).success


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("return lib_length(a) * 3;", "return x_nowhere(a);", "undefined reference to `x_nowhere'"),
        ("int lib_sort(int a)", "int start(void) { return 0; }\nint lib_sort(int a)", "multiple definition of `start'"),
        ("int lib_sort(int a)", '__asm__("bad %r99");\nint lib_sort(int a)', "Error: "),
        ("#include <shared.h>", "#include <nowhere.h>", "fatal error: nowhere.h: No such file or directory"),
    ],
)
def test_errors_of_linker_assembler_and_preprocessor(
    old: str, new: str, said: str, tmp_path: Path, tree: SourceTree
) -> None:
    edit(tree, "lib/sort.c", old, f"int x_nowhere(int);\n{new}" if "x_nowhere" in new else new)
    failure = build(toy_adapter(tmp_path), tree).failure
    assert failure is not None
    assert said in failure


def test_a_missing_source_is_told_by_makes_own_words(tmp_path: Path, tree: SourceTree) -> None:
    (tree.root / "lib/sort.c").unlink()
    failure = build(toy_adapter(tmp_path), tree).failure
    assert failure is not None
    assert "No rule to make target" in failure
    assert "lib/sort.o" in failure


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({"target": "nothing"}, "make made no 'vmlinux': is it what target 'nothing' builds?"),
        ({"image": "arch/boot/image"}, "make made no 'arch/boot/image': is it what target 'vmlinux' builds?"),
    ],
)
def test_a_build_that_makes_no_image_is_a_failure(
    options: dict[str, Any], missing: str, tmp_path: Path, tree: SourceTree
) -> None:
    result = build(toy_adapter(tmp_path, **options), tree)
    assert (result.success, result.image, result.failure) == (False, None, missing)


def test_an_unknown_target_and_a_silent_failure_have_a_reason(tmp_path: Path, tree: SourceTree) -> None:
    unknown = build(toy_adapter(tmp_path, target="nonsense"), tree).failure
    assert unknown is not None
    assert "No rule to make target 'nonsense'" in unknown
    (tree.root / "Makefile").write_text("%:\n\t@exit 3\n")
    failed = build(toy_adapter(tmp_path), tree).failure
    assert failed is not None
    assert failed.startswith("make: *** [Makefile:2: vmlinux] Error 3")


def test_a_time_limit_is_told_as_one(tmp_path: Path, tree: SourceTree) -> None:
    edit(tree, "scripts/link-vmlinux.sh", "set -e", "echo 'drivers/x.c:1: error: not the reason'\nsleep 60")
    result = build(toy_adapter(tmp_path, timeout_s=3), tree)
    assert not result.success
    assert result.failure is not None
    assert "ran past its limit of 3 s and was killed (log: " in result.failure


def test_a_full_disk_is_no_fault_of_the_source(tmp_path: Path, tree: SourceTree) -> None:
    with pytest.raises(StoreError, match=r"No space left on device; free space there"):
        toy_adapter(tmp_path).build(tree, log=Path("/dev/full"))


def test_a_missing_make_is_named(tmp_path: Path, tree: SourceTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    wanted = toy_adapter(tmp_path, cross_compile="aarch64-linux-gnu-").requirements()
    assert {(need.program, need.install) for need in wanted if not need.found} >= {
        ("make", "apt-get install make"),
        ("aarch64-linux-gnu-gcc", "apt-get install gcc-aarch64-linux-gnu"),
        ("aarch64-linux-gnu-ld", "apt-get install binutils-aarch64-linux-gnu"),
    }
    native = {need.program: need.install for need in toy_adapter(tmp_path).requirements()}
    assert (native["gcc"], native["ld"]) == ("apt-get install gcc", "apt-get install binutils")


# -- warnings -------------------------------------------------------------------------------------------------------


def test_warnings_are_remembered_until_their_object_is_compiled_clean(tmp_path: Path, tree: SourceTree) -> None:
    adapter = toy_adapter(tmp_path)
    assert build(adapter, tree).warnings == ()
    edit(tree, "lib/sort.c", "int lib_swap", UNUSED + "int lib_swap")
    wanted = (f"lib/sort.c: {SAID}",)
    assert build(adapter, tree).warnings == wanted
    # Not compiled again, and still there.
    edit(tree, "lib/string.c", "^ 7", "^ 8")
    assert build(adapter, tree, "other").warnings == wanted
    assert compiled(tree, "other") == ["lib/string.o"]
    # Line numbers are no part of them.
    edit(tree, "lib/sort.c", UNUSED, "/* moved */\n\n" + UNUSED)
    assert build(adapter, tree).warnings == wanted
    edit(tree, "lib/sort.c", UNUSED, "")
    assert build(adapter, tree).warnings == ()


def test_a_warning_in_a_header_belongs_to_the_objects_that_saw_it(tmp_path: Path, tree: SourceTree) -> None:
    adapter = toy_adapter(tmp_path)
    edit(tree, "include/shared.h", "int lib_sort(int);", "int lib_sort(int); " + UNUSED)
    assert build(adapter, tree).warnings == (f"include/shared.h: {SAID}",) * 4
    edit(tree, "include/shared.h", UNUSED, "")
    assert build(adapter, tree).warnings == ()


def test_two_equal_warnings_of_one_file_are_two(tmp_path: Path, tree: SourceTree) -> None:
    unused = "\nint one(int a) { int b; return a; }\n"
    edit(tree, "lib/string.c", "int lib_length", f"{unused}int lib_length")
    adapter = toy_adapter(tmp_path)
    assert len(build(adapter, tree).warnings) == 1
    edit(tree, "lib/string.c", unused, unused + unused.replace("one", "two"))
    assert build(adapter, tree).warnings == ("lib/string.c: unused variable 'b' [-Wunused-variable]",) * 2


def test_warnings_of_objects_built_side_by_side_are_told_apart(tmp_path: Path, tree: SourceTree) -> None:
    """What is printed at once in two jobs must not be taken for one another's, or it is forgotten too early."""
    adapter = toy_adapter(tmp_path, make={"SLOW": "5"})
    for name in ("lib/sort.c", "lib/string.c", "x/lib/sort.c", "init/main.c"):
        edit(tree, name, "#include <shared.h>\n", "#include <shared.h>\n" + UNUSED)
    assert len(build(adapter, tree).warnings) == 4
    edit(tree, "x/lib/sort.c", UNUSED, "")
    assert build(adapter, tree).warnings == tuple(
        f"{name}: {SAID}" for name in ("init/main.c", "lib/sort.c", "lib/string.c")
    )


def test_warnings_of_a_removed_file_are_gone(tmp_path: Path, tree: SourceTree) -> None:
    adapter = toy_adapter(tmp_path)
    edit(tree, "Makefile", "lib/sort.o lib/string.o", "lib/sort.o lib/string.o lib/extra.o")
    (tree.root / "lib/extra.c").write_text(UNUSED)
    assert build(adapter, tree).warnings == (f"lib/extra.c: {SAID}",)
    edit(tree, "Makefile", "lib/sort.o lib/string.o lib/extra.o", "lib/sort.o lib/string.o")
    (tree.root / "lib/extra.c").unlink()
    assert build(adapter, tree).warnings == ()


def test_a_failed_build_brings_its_warnings_too(tmp_path: Path, tree: SourceTree) -> None:
    adapter = toy_adapter(tmp_path)
    edit(tree, "lib/string.c", "int lib_length", UNUSED + "int lib_length")
    edit(tree, "scripts/link-vmlinux.sh", "set -e", "set -e\nexit 1")
    failed = build(adapter, tree)
    assert not failed.success
    assert failed.warnings == (f"lib/string.c: {SAID}",)
    edit(tree, "scripts/link-vmlinux.sh", "set -e\nexit 1", "set -e")
    assert build(adapter, tree).warnings == failed.warnings


def test_what_linker_objtool_and_modpost_say_counts_without_offsets(tmp_path: Path, tree: SourceTree) -> None:
    said = "\n".join(
        [
            "set -e",
            "echo '  LD      .tmp_vmlinux.kallsyms1'",
            "echo '/usr/bin/ld: warning: .tmp_vmlinux.kallsyms1 has a LOAD segment with RWX permissions'",
            "echo '  LD      vmlinux'",
            "echo '/usr/bin/ld: warning: .tmp_vmlinux.kallsyms2.o: missing .note.GNU-stack section'",
            "echo '  OBJTOOL vmlinux.o'",
            "echo 'vmlinux.o: warning: objtool: lib_sort+0x1c: unreachable instruction'",
            "echo '  MODPOST vmlinux.symvers'",
            "echo 'WARNING: modpost: vmlinux.o: section mismatch in reference: a (section: .text) -> b'",
            "echo 'make[1]: warning:  Clock skew detected.  Your build may be incomplete.'",
            "echo '.config:12:warning: override: reassigning to symbol SMALL'",
        ]
    )
    edit(tree, "scripts/link-vmlinux.sh", "set -e", said)
    assert build(toy_adapter(tmp_path), tree).warnings == (
        "ld: .tmp_vmlinux.kallsyms.o: missing .note.GNU-stack section",
        "modpost: vmlinux.o: section mismatch in reference: a (section: .text) -> b",
        "vmlinux.o: objtool: lib_sort: unreachable instruction",
    )


@pytest.mark.parametrize("damage", ["", "{", '{"lib/sort": ["x"]}', "[1]", '{"by_target": null}'])
def test_a_damaged_memory_of_warnings_is_begun_anew(damage: str, tmp_path: Path, tree: SourceTree) -> None:
    adapter = toy_adapter(tmp_path)
    build(adapter, tree)
    (tree.output / ".hmopt-warnings.json").write_text(damage)
    edit(tree, "lib/sort.c", "int lib_swap", UNUSED + "int lib_swap")
    assert build(adapter, tree).warnings == (f"lib/sort.c: {SAID}",)


def test_a_link_that_a_build_planted_is_not_written_through(tmp_path: Path, tree: SourceTree) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    adapter = toy_adapter(tmp_path)
    build(adapter, tree)
    for name in (".hmopt-warnings.json", ".hmopt-warnings.json.new", ".hmopt-config", ".config"):
        (tree.output / name).unlink(missing_ok=True)
        (tree.output / name).symlink_to(precious)
    assert build(adapter, tree).success
    assert precious.read_text() == "mine"


# -- configurations -------------------------------------------------------------------------------------------------


def test_configuration_is_the_base_then_the_fragment_then_the_overlays(tmp_path: Path, tree: SourceTree) -> None:
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    (overlay / "overlay.yaml").write_text("v: 1\ndescription: a toy\nkconfig: [CONFIG_DEPENDENT=y]\n")
    adapter = toy_adapter(
        tmp_path, base="smallconfig", fragment=('CONFIG_TEXT="a b"', "CONFIG_SHIFT=12"), overlays=(overlay,)
    )
    result = build(adapter, tree)
    assert (result.success, result.vanished) == (True, ())
    final = (tree.output / ".config").read_text().splitlines()
    assert final[1:] == [
        "CONFIG_SMALL=y",
        'CONFIG_TEXT="a b"',
        "CONFIG_SHIFT=12",
        "CONFIG_DEPENDENT=y",
        "CONFIG_STUBBORN=y",
    ]


def test_vanished_symbols_are_named_with_what_became_of_them(tmp_path: Path, tree: SourceTree) -> None:
    asked = ("CONFIG_DEPENDENT=y", "CONFIG_NEVER_HEARD_OF=y", "# CONFIG_STUBBORN is not set", "CONFIG_SHIFT=3",
             "# CONFIG_ABSENT is not set")  # fmt: skip
    result = build(toy_adapter(tmp_path, fragment=asked), tree)
    assert result.success
    assert result.vanished == (
        "CONFIG_DEPENDENT=y: no such symbol, or a dependency is not met",
        "CONFIG_NEVER_HEARD_OF=y: no such symbol, or a dependency is not met",
        "CONFIG_STUBBORN=n: Kconfig made it 'y'",
    )


def test_the_tree_is_configured_again_only_when_the_request_changed(tmp_path: Path, tree: SourceTree) -> None:
    def configured() -> int:
        return (tree.output / ".configured").read_text().count("run")

    one, other = (
        toy_adapter(tmp_path, fragment=("CONFIG_SMALL=y",)),
        toy_adapter(tmp_path, fragment=("CONFIG_SHIFT=1",)),
    )
    build(one, tree)
    build(one, tree, "same")
    assert (configured(), compiled(tree, "same")) == (1, [])
    build(other, tree)
    assert configured() == 2
    assert "CONFIG_SMALL" not in (tree.output / ".config").read_text()
    (tree.output / ".config").unlink()
    assert build(other, tree).success
    assert configured() == 3


def test_a_configuration_that_failed_is_not_taken_for_the_one_before(tmp_path: Path, tree: SourceTree) -> None:
    good, bad = toy_adapter(tmp_path), toy_adapter(tmp_path, fragment=("CONFIG_BROKEN=y",))
    assert build(good, tree).success
    failed = build(bad, tree)
    assert (failed.success, failed.failure) == (False, "scripts/conf.sh: error: no Kconfig")
    again = build(good, tree)
    assert again.success, again.failure


@pytest.mark.parametrize("line", ["KUNIT=y", "CONFIG_X", "CONFIG_X=", "# a remark", "CONFIG_A=y CONFIG_B", ""])
def test_a_fragment_line_that_kconfig_would_pass_over_is_refused(line: str) -> None:
    wrong = line != "CONFIG_A=y CONFIG_B"
    if wrong:
        with pytest.raises(ValidationError, match=r"fragment.0"):
            KbuildOptions(arch="um", fragment=(line,))
    else:
        assert KbuildOptions(arch="um", fragment=(line,)).fragment == (line,)


def test_what_binds_the_output_cannot_be_overridden(tmp_path: Path, tree: SourceTree) -> None:
    result = build(toy_adapter(tmp_path, make={"O": "elsewhere", "ARCH": "mips", "SLOW": "0"}), tree)
    assert result.success, result.failure
    assert not (tree.root / "elsewhere").exists()
    with pytest.raises(ValidationError, match=r"make"):
        KbuildOptions(arch="um", make={"-f other": "x"})


def test_an_unknown_shipped_fragment_is_named(tmp_path: Path, tree: SourceTree) -> None:
    with pytest.raises(ConfigError, match="build 'toy': no shipped fragment is called 'mips'"):
        build(toy_adapter(tmp_path, fragments=("mips",)), tree)


@pytest.mark.parametrize("name", ["uml", "x86_64", "arm64"])
def test_shipped_fragments_hold_nothing_but_symbols(name: str, tmp_path: Path, tree: SourceTree) -> None:
    build(toy_adapter(tmp_path, fragments=(name,)), tree)
    asked = json.loads((tree.output / ".hmopt-config").read_text())[2:]
    assert "CONFIG_KUNIT=y" in asked
    KbuildOptions(arch="um", fragment=tuple(asked))


def test_the_build_sees_a_fixed_environment(tmp_path: Path, tree: SourceTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMOPT_TEST_TOKEN", "planted")
    monkeypatch.setenv("KBUILD_BUILD_USER", "somebody")
    monkeypatch.setenv("MAKEFLAGS", "-k")
    edit(tree, "scripts/link-vmlinux.sh", "set -e", "set -e\nenv >../environment")
    assert build(toy_adapter(tmp_path), tree).success
    said = (tree.root / "environment").read_text()
    assert "planted" not in said
    assert "KBUILD_BUILD_USER=hmopt\n" in said
    assert "SOURCE_DATE_EPOCH=1767225600\n" in said


# -- kills and copies -----------------------------------------------------------------------------------------------

KILLED = """
import sys
from pathlib import Path
from tests.adapters.toy_kernel import toy_adapter
from git_hmopt.adapters import SourceTree
root = Path(sys.argv[1])
toy_adapter(root).build(SourceTree(root / "src", root / "src/build"), log=root / "killed.log")
"""


def test_an_object_that_a_killed_build_left_half_written_is_made_again(tmp_path: Path, tree: SourceTree) -> None:
    adapter = toy_adapter(tmp_path)
    assert build(adapter, tree).success
    edit(tree, "lib/sort.c", "int lib_swap", UNUSED + "int lib_swap")
    # A compiler that stops in the middle of its output, newer than the source; the record of the last build stands.
    edit(
        tree, "Makefile", "@$(CC) $(CFLAGS)", "@test $@ != lib/sort.o || { echo half >$@; sleep 60; }; $(CC) $(CFLAGS)"
    )
    killed = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], start_new_session=True)
    half = tree.output / "lib/sort.o"
    deadline = time.monotonic() + 60
    while half.read_bytes() != b"half\n" and time.monotonic() < deadline:
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    _kill_orphans(tree)
    assert half.read_bytes() == b"half\n"
    edit(
        tree, "Makefile", "@test $@ != lib/sort.o || { echo half >$@; sleep 60; }; $(CC) $(CFLAGS)", "@$(CC) $(CFLAGS)"
    )
    after = build(adapter, tree)
    assert after.success, after.failure
    assert after.warnings == (f"lib/sort.c: {SAID}",)
    assert build(adapter, tree, "then").success
    assert compiled(tree, "then") == []


def _kill_orphans(tree: SourceTree) -> None:
    """End what an unconfined build left running when its parent was killed; a sandboxed one leaves nothing."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            inside = (process / "cwd").resolve() == tree.output.resolve()
        except OSError:
            continue
        if inside:
            os.kill(int(process.name), signal.SIGKILL)


def test_a_build_that_ended_leaves_nothing_to_discard(tmp_path: Path, tree: SourceTree) -> None:
    adapter = toy_adapter(tmp_path)
    build(adapter, tree)
    edit(tree, "lib/sort.c", "lib_length(a)", "nowhere")
    assert not build(adapter, tree).success
    edit(tree, "lib/sort.c", "nowhere", "lib_length(a)")
    assert build(adapter, tree, "after").success
    assert compiled(tree, "after") == ["lib/sort.o"]


@pytest.mark.skipif(sandbox_missing() is not None, reason=str(sandbox_missing()))
def test_a_copied_tree_builds_nothing_and_gives_the_same_image(tmp_path: Path, tree: SourceTree) -> None:
    first = build(toy_adapter(tmp_path, sandboxed=True), tree).image
    other = tmp_path / "other"
    shutil.copytree(tree.root, other / "src", symlinks=True)
    copied = SourceTree(other / "src", other / "src" / "build")
    second = build(toy_adapter(other, sandboxed=True), copied, "copy").image
    assert compiled(copied, "copy") == []
    assert first is not None and second is not None
    assert first.sha256 == second.sha256


def test_paths_recorded_in_a_copied_tree_are_put_right(tmp_path: Path, tree: SourceTree) -> None:
    adapter = toy_adapter(tmp_path)
    build(adapter, tree)
    record = tree.output / "tools" / ".objtool.o.cmd"
    record.parent.mkdir()
    record.write_text(f"cmd := gcc -o {tree.root}/build/tools/objtool.o {tree.root}x/untouched\n")
    os.utime(record, ns=(1, 1_000_000_000))
    moved = SourceTree(tmp_path / "moved", tmp_path / "moved" / "build")
    tree.root.rename(moved.root)
    assert adapter.build(moved, log=tmp_path / "moved.log").success
    content = (moved.output / "tools" / ".objtool.o.cmd").read_text()
    assert content == f"cmd := gcc -o {moved.root}/build/tools/objtool.o {tree.root}x/untouched\n"
    assert (moved.output / "tools" / ".objtool.o.cmd").stat().st_mtime_ns == 1_000_000_000


def test_the_toy_has_the_shape_of_a_kernel_tree() -> None:
    assert {"Makefile", "scripts/link-vmlinux.sh", "scripts/mksysmap"} <= SOURCES.keys()
