# SPDX-License-Identifier: Apache-2.0
"""Building and testing a C project through its own Makefile."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from git_hmopt.adapters import AdapterContext, BuildAdapter, SourceTree, TestAdapter, load_adapter, sha256_of
from git_hmopt.config.load import adapter_options, load_config
from git_hmopt.config.profile import profile_bytes
from git_hmopt.config.slots import slots
from git_hmopt.errors import AdapterError, ConfigError
from git_hmopt.process.sandbox import sandbox_missing
from git_hmopt.psg.compile_database import load_database
from git_hmopt.psg.unit import parse_unit
from hmopt_adapters.command import CommandWorkload
from hmopt_adapters.command_options import CommandWorkloadOptions
from hmopt_adapters.make import MakeBuild, MakeOptions, MakeTest, MakeTestOptions, source_path
from tests.adapters.c_project import CASE, FILES, adapter, addresses, build, c_tree, edit, ran

pytestmark = pytest.mark.skipif(
    any(shutil.which(program) is None for program in ("gcc", "make", "ld", "objcopy")), reason="needs gcc and make"
)
MAKEFILE = FILES["Makefile"]
PROG = MakeOptions(image="prog")


def times(tree: SourceTree) -> dict[str, int]:
    """Return when each object of the copy was made."""
    mirror = tree.output / "tree"
    return {str(path.relative_to(mirror)): path.stat().st_mtime_ns for path in mirror.rglob("*.o")}


def contents(root: Path, *, without: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file() and not path.is_relative_to(without))
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"image": "/usr/bin/prog"},
        {"image": "../prog"},
        {"image": "prog", "target": ["all; rm -rf /"]},
        {"image": "prog", "variables": {"A B": "1"}},
        {"image": "prog", "cc": "gcc; true"},
        {"image": "prog", "jobs": 0},
        {"image": "prog", "colour": "blue"},
    ],
)
def test_wrong_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        MakeOptions.model_validate(options)


@pytest.mark.parametrize(
    ("makefile", "image", "failure"),
    [
        ("prog:\n\t$(CC) -c none.c\n", "prog", r"none\.c"),
        (
            "prog:\n\techo 'int main(void) { return x; }' > m.c; $(CC) m.c\n",
            "prog",
            r"m\.c:1:\d+: error: 'x' undeclared",
        ),
        ("prog:\n\ttrue\n", "prog", r"make made no 'prog'"),
        ("prog:\n\techo '#!/bin/sh' > prog\n", "prog", r"'prog' is no program or library"),
        ("prog:\n\tln -s /bin/true prog\n", "prog", r"'prog' is a link that leads out of the tree"),
        ("prog:\n\tmkdir -p .libs; echo '#' > prog; echo > .libs/prog\n", "prog", r"libtool.*, name '\.libs/prog'"),
        ("other:\n\ttrue\n", "prog", r"make made no 'prog'"),
        ("prog: missing\n\ttrue\n", "prog", r"make: \*\*\* No rule to make target 'missing'"),
    ],
)
def test_a_build_that_fails_is_a_result_that_says_why(tmp_path: Path, makefile: str, image: str, failure: str) -> None:
    result = adapter(tmp_path, MakeOptions(image=image)).build(
        c_tree(tmp_path, makefile=makefile), log=tmp_path / "log"
    )
    assert not result.success and result.image is None
    assert re.search(failure, result.failure or ""), result.failure
    assert (tmp_path / "log").is_file() or "no" in str(result.failure)


def test_a_build_that_hangs_is_cut_and_can_be_repeated(tmp_path: Path) -> None:
    tree = c_tree(tmp_path, makefile=MAKEFILE.replace("\tar rcs", "\tsleep 60\n\tar rcs"))
    result = adapter(tmp_path, MakeOptions(image="prog", timeout_s=3)).build(tree, log=tmp_path / "log")
    assert "ran past its limit of 3 s" in (result.failure or "")
    edit(tree, "Makefile", "\tsleep 60\n", "")
    made = adapter(tmp_path, PROG)
    build(made, tree)
    # What was compiled before the cut is known, although it was not compiled again.
    assert made.layout_reason is None


def test_an_output_outside_the_tree_is_refused(tmp_path: Path) -> None:
    tree = c_tree(tmp_path)
    for output in (tmp_path / "elsewhere", tree.root):
        with pytest.raises(AdapterError, match="must lie inside the source tree"):
            adapter(tmp_path, PROG).build(SourceTree(tree.root, output), log=tmp_path / "log")


# -- what is built ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sandboxed", [False, True])
def test_the_image_is_what_make_made_without_debug_information(tmp_path: Path, sandboxed: bool) -> None:
    if sandboxed and sandbox_missing() is not None:
        pytest.skip(str(sandbox_missing()))
    tree = c_tree(tmp_path)
    before = contents(tree.root, without=tree.output)
    result = build(adapter(tmp_path, PROG, sandboxed=sandboxed), tree)
    assert contents(tree.root, without=tree.output) == before
    image = result.image
    assert image is not None and image.path.is_relative_to(tree.output)
    assert image.sha256 == sha256_of(image.path)
    assert ran(image.path, "5", "100", "3") == ran(tree.output / "tree/prog", "5", "100", "3")
    assert addresses(image.path) == addresses(tree.output / "tree/prog")
    sections = subprocess.run(["readelf", "-SW", str(image.path)], capture_output=True, text=True, check=True).stdout
    assert ".debug_info" not in sections and ".note.gnu.build-id" not in sections
    assert image.symbols == tree.output / "tree/prog"
    assert "gcc" in result.toolchain["gcc"] and result.toolchain["ld"].startswith("GNU ld")
    assert result.vanished == ()
    listed = subprocess.run(["nm", "-S", "-t", "d", str(image.path)], capture_output=True, text=True, check=True).stdout
    sizes = [line.split() for line in listed.splitlines()]
    assert result.text_bytes == sum(int(row[1]) for row in sizes if len(row) == 4 and row[2].lower() in "tw")


def test_recording_changes_nothing_that_is_built(tmp_path: Path) -> None:
    tree = c_tree(tmp_path)
    build(adapter(tmp_path, PROG), tree)
    mirror = tree.output / "tree"
    recorded = {path: path.read_bytes() for path in (*mirror.rglob("*.o"), mirror / "prog")}
    assert len(recorded) == 4
    subprocess.run(["make", "-C", str(mirror), "clean", "prog"], check=True, capture_output=True, env={
        "PATH": os.environ["PATH"], "LC_ALL": "C", "CC": "gcc",
    })  # fmt: skip
    assert {path: path.read_bytes() for path in recorded} == recorded


def test_the_same_source_gives_the_same_image_anywhere(tmp_path: Path) -> None:
    found = []
    for place in (tmp_path / "a", tmp_path / "longer" / "path"):
        result = build(adapter(place, PROG), c_tree(place))
        assert result.image is not None
        found.append(result.image.sha256)
    assert found[0] == found[1]


def test_a_comment_changes_no_image_and_a_constant_does(tmp_path: Path) -> None:
    made, tree = adapter(tmp_path, PROG), c_tree(tmp_path)
    first = build(made, tree).image
    edit(tree, "lib/sum.c", '#include "table.h"', '/* words\n * and more\n */\n#include "table.h"')
    second = build(made, tree).image
    edit(tree, "lib/sum.c", "* 31", "* 33")
    third = build(made, tree).image
    assert first is not None and second is not None and third is not None
    assert first.sha256 == second.sha256 != third.sha256


def test_only_what_changed_is_compiled_again(tmp_path: Path) -> None:
    made, tree = adapter(tmp_path, PROG), c_tree(tmp_path)
    build(made, tree)
    first = times(tree)
    build(made, tree)
    assert times(tree) == first
    edit(tree, "lib/sum.c", "* 31", "* 33")
    build(made, tree)
    assert {name for name, when in times(tree).items() if when != first[name]} == {"lib/sum.o"}
    # Touched is changed for make, and the loop shows by it that a build repeats itself.
    second = times(tree)
    (tree.root / "lib/find.c").touch()
    build(made, tree)
    assert {name for name, when in times(tree).items() if when != second[name]} == {"lib/find.o"}


def test_a_file_that_is_gone_is_gone_from_the_copy(tmp_path: Path) -> None:
    made, tree = adapter(tmp_path, PROG), c_tree(tmp_path)
    build(made, tree)
    (tree.root / "lib/find.c").unlink()
    (tree.output / "tree/lib/find.o").unlink()
    result = made.build(tree, log=tmp_path / "log")
    assert not result.success and "find" in (result.failure or "")
    assert not (tree.output / "tree/lib/find.c").exists()


def test_other_variables_are_another_build(tmp_path: Path) -> None:
    tree = c_tree(tmp_path)
    one = build(adapter(tmp_path, PROG), tree).image
    two = build(adapter(tmp_path, MakeOptions(image="prog", variables={"CFLAGS": "-O0"})), tree).image
    assert one is not None and two is not None and one.sha256 != two.sha256


def test_a_copied_tree_does_not_build_the_other_ones_source(tmp_path: Path) -> None:
    """Dependencies with absolute paths, as compilers and configure scripts write them, name the tree of their time."""
    makefile = MAKEFILE.replace(
        "$(CC) $(CFLAGS) -c -o $@ $<",
        "$(CC) $(CFLAGS) -I$(CURDIR)/include -MMD -c -o $@ $(abspath $<)\n\n-include $(wildcard */*.d)",
    ).replace("override CFLAGS += -Iinclude\n", "")
    makefile = makefile.replace("prog:", "all: prog\nprog:", 1)
    made, tree = adapter(tmp_path, PROG), c_tree(tmp_path / "base", makefile=makefile)
    first = build(made, tree).image
    shutil.copytree(tree.root, tmp_path / "copy/src", symlinks=True)
    other = SourceTree(tmp_path / "copy/src", tmp_path / "copy/src/build-prog")
    assert str(tree.root) in (other.output / "tree/lib/sum.d").read_text()
    edit(other, "include/table.h", "value * 2", "value * 3")
    second = build(made, other).image
    assert first is not None and second is not None
    assert first.sha256 != second.sha256 and ran(first.path, "9", "5000") != ran(second.path, "9", "5000")


def test_two_builds_of_one_tree_stay_apart(tmp_path: Path) -> None:
    tree = c_tree(tmp_path)
    slow = SourceTree(tree.root, tree.root / "build-slow")
    build(adapter(tmp_path, PROG), tree)
    built = build(adapter(tmp_path, MakeOptions(image="prog", variables={"CFLAGS": "-O0"})), slow)
    assert not (slow.output / "tree/build-prog").exists()
    again = build(adapter(tmp_path, PROG), tree)
    assert not (tree.output / "tree/build-slow").exists()
    assert built.image is not None and again.image is not None and built.image.sha256 != again.image.sha256
    # A source directory that only looks like an output is source.
    (tree.root / "build-aux").mkdir()
    (tree.root / "build-aux/tool").write_text("x")
    build(adapter(tmp_path, PROG), tree)
    assert (tree.output / "tree/build-aux/tool").read_text() == "x"


def test_a_makefile_in_a_directory_with_a_configure_script(tmp_path: Path) -> None:
    tree = c_tree(tmp_path)
    root = tree.root
    (root / "sub").mkdir()
    for name in ("lib", "src", "include", "test"):
        (root / name).rename(root / "sub" / name)
    (root / "Makefile").rename(root / "sub/Makefile.in")
    (root / "sub/configure").write_text(
        '#!/bin/sh\necho "CC = $CC" > Makefile\nsed "/^CFLAGS/s/$/ $1/" Makefile.in >> Makefile\n'
        "echo configured >> count\n"
    )
    (root / "sub/configure").chmod(0o755)
    options = MakeOptions(
        image="sub/prog", directory="sub", configure="./configure -DTHREE=3", environment={"CC": "gcc"}
    )
    made = adapter(tmp_path, options)
    result = build(made, tree)
    assert made.layout_reason is None
    count = tree.output / "tree/sub/count"
    assert count.read_text() == "configured\n"
    assert result.compile_commands is not None and "-DTHREE=3" in result.compile_commands.read_text()
    build(made, tree)
    assert count.read_text() == "configured\n"
    edit(tree, "sub/configure", "echo configured", "echo again; echo configured")
    build(made, tree)
    assert count.read_text() == "configured\nconfigured\n"
    failing = adapter(tmp_path, options.model_copy(update={"configure": "echo no such luck; false"}))
    failed = failing.build(tree, log=tmp_path / "log")
    assert failed.failure == "configure: no such luck (exit code 1)"


def test_what_a_killed_build_left_is_put_right_by_the_loops_rule(tmp_path: Path) -> None:
    """The loop deletes whatever is younger than the cut build: objects go with their records, and both come back."""
    made, tree = adapter(tmp_path, PROG), c_tree(tmp_path)
    first = build(made, tree)
    edit(tree, "lib/sum.c", "* 31", "* 33")
    # File times are as coarse as the kernel's tick.
    time.sleep(0.05)
    mark = tmp_path / "mark"
    mark.touch()
    build(made, tree)
    for path in [path for path in tree.root.rglob("*") if path.is_file() or path.is_symlink()]:
        if path.lstat().st_mtime_ns >= mark.stat().st_mtime_ns:
            path.unlink()
    again = build(made, tree)
    assert made.layout_reason is None
    assert again.image is not None and first.image is not None and again.image.sha256 != first.image.sha256
    assert again.compile_commands is not None and len(json.loads(again.compile_commands.read_text())) == 3


# -- warnings, compile commands ---------------------------------------------------------------------------------------


def test_warnings_are_those_of_the_source_as_it_stands(tmp_path: Path) -> None:
    made, tree = adapter(tmp_path, PROG), c_tree(tmp_path)
    edit(tree, "lib/sum.c", "unsigned total = 0;", "unsigned total = 0;\n\tint never;")
    expected = ("lib/sum.c: unused variable 'never' [-Wunused-variable]",)
    assert build(made, tree).warnings == expected
    # Not compiled again: still there. Moved to another line: the same warning.
    assert build(made, tree).warnings == expected
    edit(tree, "lib/sum.c", '#include "table.h"', '\n\n#include "table.h"')
    assert build(made, tree).warnings == expected
    edit(tree, "lib/find.c", "for (unsigned", "int odd;\n\tfor (unsigned")
    assert build(made, tree).warnings == ("lib/find.c: unused variable 'odd' [-Wunused-variable]", *expected)
    edit(tree, "lib/sum.c", "\tint never;", "")
    assert build(made, tree).warnings == ("lib/find.c: unused variable 'odd' [-Wunused-variable]",)
    assert "unused variable" in (tmp_path / "log").read_text()


def test_compile_commands_are_of_the_source_and_parse(tmp_path: Path) -> None:
    generated = {"config.h": "#define CONFIGURED 5", "lib/made.c": "int made;"}
    rules = "".join(f"\n{name}:\n\techo '{text}' > {name}\n" for name, text in generated.items())
    makefile = MAKEFILE.replace("lib/find.o\n", "lib/find.o lib/made.o\n", 1) + "\nlib/sum.o: config.h\n" + rules
    tree = c_tree(tmp_path, makefile=makefile)
    edit(tree, "lib/sum.c", '#include "table.h"', '#include "table.h"\n#include "../config.h"')
    edit(tree, "lib/sum.c", "* 31", "* CONFIGURED")
    result = build(adapter(tmp_path, PROG), tree)
    assert result.compile_commands is not None
    database = load_database(result.compile_commands, root=tree.root)
    # A generated source cannot be changed by a patch: it has no entry.
    assert database.files == ("lib/find.c", "lib/sum.c", "src/main.c")
    unit = parse_unit(database.command("lib/sum.c"))
    assert [(one.symbol, one.file) for one in unit.functions] == [("table_sum", "lib/sum.c"), ("mix", "lib/sum.c")]
    # The header that only the build made was found as well.
    assert not unit.diagnostics and not unit.refused


def test_compilers_that_are_not_seen_are_told(tmp_path: Path) -> None:
    compiler = shutil.which("gcc")
    makefile = MAKEFILE.replace("CFLAGS = -O2", f"CC = {compiler}\nCFLAGS = -O2", 1)
    made = adapter(tmp_path, PROG)
    result = build(made, c_tree(tmp_path, makefile=makefile))
    assert result.compile_commands is None and not made.layout_controlled
    assert [note.split(":")[0] for note in result.vanished] == ["layouts", "compiler calls"]
    assert all("none was seen, the Makefile does not call gcc, cc or clang by name" in one for one in result.vanished)


def test_paths_of_compilers_lead_to_the_source(tmp_path: Path) -> None:
    tree = c_tree(tmp_path)
    mirror = tree.output / "tree"
    assert source_path(f"{mirror}/lib/sum.c", tree) == "lib/sum.c"
    assert source_path("../include/table.h", tree, f"{mirror}/lib") == "include/table.h"
    assert source_path("lib/sum.c", tree) == "lib/sum.c"
    for elsewhere in ("/usr/include/stdio.h", f"{mirror}/lib/generated.c", "../../etc/passwd", "<built-in>"):
        assert source_path(elsewhere, tree) is None, elsewhere


# -- tests ------------------------------------------------------------------------------------------------------------


def unit_tests(tmp_path: Path, **options: object) -> MakeTest:
    context = AdapterContext("unit", tmp_path / "scratch", sandboxed=sandbox_missing() is None)
    return MakeTest(MakeTestOptions.model_validate(options), context)


def test_the_makefiles_own_tests_run_in_the_copy(tmp_path: Path) -> None:
    tree = c_tree(tmp_path)
    result = build(adapter(tmp_path, PROG), tree)
    tested = unit_tests(tmp_path, format="tap").test(result, log=tmp_path / "test.log")
    assert tested.success and tested.failure is None
    assert [(case.name, case.status) for case in tested.cases] == [("sum", "passed"), ("find", "passed")]
    assert not (tree.root / "unit").exists()
    edit(tree, "lib/sum.c", "* 31", "* 33")
    result = build(adapter(tmp_path, PROG), tree)
    failed = unit_tests(tmp_path, format="tap").test(result, log=tmp_path / "test.log")
    assert not failed.success
    assert {case.name: case.status for case in failed.cases} == {"sum": "failed", "find": "passed"}
    by_code = unit_tests(tmp_path).test(result, log=tmp_path / "test.log")
    assert not by_code.success and "exit code 2" in (by_code.failure or "")


def test_tests_use_the_variables_of_their_build(tmp_path: Path) -> None:
    makefile = MAKEFILE.replace("\t@./unit\n", '\t@echo "flags $(CFLAGS) more $(MORE)" > seen\n')
    tree = c_tree(tmp_path, makefile=makefile)
    result = build(adapter(tmp_path, MakeOptions(image="prog", variables={"CFLAGS": "-O1 -g"})), tree)
    assert unit_tests(tmp_path, variables={"MORE": "a b"}).test(result, log=tmp_path / "test.log").success
    assert (tree.output / "tree/seen").read_text().split() == ["flags", "-O1", "-g", "-Iinclude", "more", "a", "b"]


def test_tests_of_another_adapters_build_are_refused(tmp_path: Path) -> None:
    tree = c_tree(tmp_path)
    result = build(adapter(tmp_path, PROG), tree)
    (tree.output / ".hmopt-make.json").unlink()
    with pytest.raises(AdapterError, match=r"'unit' needs a build of the adapter 'make'.*use the adapter 'command'"):
        unit_tests(tmp_path).test(result, log=tmp_path / "test.log")


# -- the adapter as such ----------------------------------------------------------------------------------------------


def test_it_is_found_and_follows_the_protocols(tmp_path: Path) -> None:
    assert load_adapter("build", "make") is MakeBuild
    assert load_adapter("test", "make") is MakeTest
    made = adapter(tmp_path, PROG)
    assert isinstance(made, BuildAdapter) and isinstance(unit_tests(tmp_path), TestAdapter)
    assert not made.layout_controlled and made.layout_reason == "nothing was built yet"


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    sandbox_missing()  # asked once for all tests, while bwrap can be found
    monkeypatch.setenv("PATH", str(empty))
    needs = {need.program: need for need in adapter(tmp_path, MakeOptions(image="prog", cc="clang")).requirements()}
    assert not any(need.found for name, need in needs.items() if name != "bwrap")
    assert needs["clang"].fatal and needs["clang"].install == "apt-get install clang"
    assert needs["make"].lost == "nothing can be built"


def test_clang_is_taken_where_there_is_no_gcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "clang").symlink_to("/bin/true")
    sandbox_missing()
    monkeypatch.setenv("PATH", str(folder))
    assert "clang" in {need.program for need in adapter(tmp_path, PROG).requirements()}
    (folder / "gcc").symlink_to("/bin/true")
    assert "gcc" in {need.program for need in adapter(tmp_path, PROG).requirements()}


def test_digest_of_the_source_does_not_hang_on_where_a_file_was_copied(tmp_path: Path) -> None:
    """The copy has every file of the source, links and modes included, and nothing else before make runs."""
    tree = c_tree(tmp_path, makefile="prog:\n\tfalse\n")
    (tree.root / "tool.sh").write_text("#!/bin/sh\n")
    (tree.root / "tool.sh").chmod(0o755)
    (tree.root / "alias").symlink_to("tool.sh")
    (tree.root / "away").symlink_to("/nowhere/at/all")
    adapter(tmp_path, PROG).build(tree, log=tmp_path / "log")
    mirror = tree.output / "tree"
    assert str((mirror / "alias").readlink()) == "tool.sh"
    assert str((mirror / "away").readlink()) == "/nowhere/at/all"
    assert os.access(mirror / "tool.sh", os.X_OK)
    digest = {name: hashlib.sha256((mirror / name).read_bytes()).hexdigest() for name in FILES}
    assert digest == {name: hashlib.sha256((tree.root / name).read_bytes()).hexdigest() for name in FILES}


def test_the_profile_asks_for_what_only_its_user_knows(tmp_path: Path) -> None:
    """`git hmopt init --profile make` writes it; with its slots filled it builds, tests and measures this project."""
    text = profile_bytes("make").decode()
    loaded = load_config(text.encode(), origin="profile make")
    asked = [path for path, _ in slots(loaded.config.model_dump(mode="json"))]
    assert ("builds", "release", "image") in asked and len(asked) == 5
    with pytest.raises(ConfigError, match=r"profile make:\d+: builds\.release\.image: this slot is not filled in"):
        adapter_options(loaded.config.builds["release"], MakeOptions, where=loaded.at("builds", "release"))
    filled = text.replace('"<slot: the built program, for example src/prog>"', "prog")
    filled = re.sub("<slot: [^>]*>", "$HMOPT_SEED $HMOPT_SIZE $HMOPT_REPS", filled)
    loaded = load_config(filled.encode(), origin="profile make")
    tree = c_tree(tmp_path)
    options = adapter_options(loaded.config.builds["release"], MakeOptions, where=loaded.at("builds", "release"))
    result = build(adapter(tmp_path, options), tree)
    checked = loaded.config.tests["check"]
    tests = adapter_options(checked, MakeTestOptions, where=loaded.at("tests", "check"))
    assert MakeTest(tests, AdapterContext("check", tmp_path, sandboxed=False)).test(result, log=tmp_path / "t").success
    section = loaded.config.workloads["main"].measure["time"]
    where = loaded.at("workloads", "main", "measure", "time")
    timed = CommandWorkload(
        adapter_options(section, CommandWorkloadOptions, where=where), AdapterContext("time", tmp_path, sandboxed=False)
    )
    assert result.image is not None
    assert timed.measure(result.image, CASE).values["time"] > 0
    assert not timed.outputs(result.image, [CASE]).failures
