# SPDX-License-Identifier: Apache-2.0
"""The demo's Makefile: silent with every compiler, reproducible, incremental, and nothing written outside O."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from git_hmopt.adapters import sha256_of
from hmopt_adapters.ktap import parse_ktap
from tests.demo.trees import COMPILERS, Case, bench, built, copy_tree, digests, make, written

pytestmark = pytest.mark.skipif(shutil.which("make") is None or not COMPILERS, reason="needs make and a compiler")

IMAGES = ("bench", "bench.unstripped", "unit")


@pytest.fixture
def source(plain: Path, tmp_path: Path) -> Path:
    """Return a copy of the built tree that may be changed."""
    shutil.copytree(plain.parent, tmp_path / "source", symlinks=True)
    return tmp_path / "source"


def change(path: Path, before: str, after: str) -> None:
    """Replace text that stands in a file once."""
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text.replace(before, after))


def rebuilt(source: Path, *words: str) -> set[str]:
    """Return what a make writes."""
    before = written(source / "build")
    built(source, *words)
    return {name for name, when in written(source / "build").items() if before.get(name) != when}


@pytest.mark.parametrize("compiler", COMPILERS)
def test_each_compiler_builds_without_a_word_and_the_tests_pass(tmp_path: Path, compiler: str) -> None:
    source = copy_tree(tmp_path / "tree")
    built(source, f"CC={compiler}")
    done = make(source, "test", f"CC={compiler}")
    parsed = parse_ktap(done.stdout.encode(), numbered=True)
    assert (done.returncode, done.stderr, parsed.failure) == (0, "", None)
    assert parsed.complete
    assert len(parsed.cases) >= 35
    assert {case.status for case in parsed.cases} == {"passed"}


def test_the_same_source_gives_the_same_bytes_anywhere_and_writes_nowhere_else(plain: Path, tmp_path: Path) -> None:
    source = copy_tree(tmp_path / "elsewhere" / "deep")
    before = {str(path): path.stat().st_mtime_ns for path in source.rglob("*")}
    there = built(source, f"O={tmp_path / 'out'}")
    make(source, "test", f"O={tmp_path / 'out'}")
    assert {str(path): path.stat().st_mtime_ns for path in source.rglob("*")} == before
    here = built(source, "O=build-2")
    for name in IMAGES:
        assert sha256_of(there / name) == sha256_of(plain / name) == sha256_of(here / name), name


def test_a_second_make_does_nothing(source: Path) -> None:
    # The one file that names the directory, which the copy has another of.
    assert rebuilt(source) <= {"compile_commands.json"}
    assert rebuilt(source) == set()


def test_an_edited_file_is_compiled_alone(source: Path) -> None:
    rebuilt(source)
    change(source / "lib/crc64.c", "crc64_table[(crc >> 56) ^ *p++]", "crc64_table[*p++ ^ (crc >> 56)]")
    changed = rebuilt(source)
    assert changed == {"obj/lib/crc64.o", "obj/lib/crc64.d", *IMAGES}


def test_an_edited_header_compiles_those_that_include_it(source: Path) -> None:
    rebuilt(source)
    change(source / "include/linux/timer.h", "(WHEEL_BITS * WHEEL_LEVELS)", "(WHEEL_LEVELS * WHEEL_BITS)")
    objects = {name for name in rebuilt(source) if name.endswith(".o")}
    assert objects == {"obj/kernel/timer.o", "obj/bench/timers.o", "obj/test/test_timer.o"}


def test_a_comment_changes_no_byte_of_the_image(source: Path) -> None:
    rebuilt(source)
    before = sha256_of(source / "build/bench")
    change(source / "mm/slab.c", "// SPDX", "// A comment.\n// SPDX")
    assert "obj/mm/slab.o" in rebuilt(source)
    assert sha256_of(source / "build/bench") == before


def test_other_flags_compile_everything(source: Path) -> None:
    objects = {name for name in written(source / "build") if name.endswith(".o")}
    assert len(objects) > 20
    assert objects <= rebuilt(source, "CFLAGS=-O0")


def test_compiling_and_linking_go_through_cc(tmp_path: Path) -> None:
    source = copy_tree(tmp_path / "tree")
    wrapper = tmp_path / "wrapped-cc"
    wrapper.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/log\nexec {COMPILERS[0]} "$@"\n')
    wrapper.chmod(0o755)
    built(source, f"CC={wrapper}", f"HOSTCC={COMPILERS[0]}", "CFLAGS=-O0", f"LDFLAGS=-Wl,-Map={tmp_path}/map")
    lines = (tmp_path / "log").read_text().splitlines()
    links = [line for line in lines if " -c " not in line]
    assert [line.split(" -o ")[1].split()[0] for line in links] == ["build/bench.unstripped", "build/unit"]
    assert "crc64.o" in (tmp_path / "map").read_text()
    assert len(lines) - len(links) == len(list((source / "build/obj").rglob("*.o")))


def test_the_compile_database_says_how_each_file_was_compiled(plain: Path) -> None:
    entries = json.loads((plain / "compile_commands.json").read_text())
    root = plain.parent
    assert {entry["directory"] for entry in entries} == {str(root)}
    sources = {
        str(path.relative_to(root))
        for room in ("fs", "ipc", "kernel", "mm", "bench")
        for path in root.glob(f"{room}/*.c")
    }
    assert {entry["file"] for entry in entries} >= sources | {"lib/crc32.c", "lib/crc64.c"}
    entry = next(entry for entry in entries if entry["file"] == "fs/namei.c")
    done = subprocess.run(f"{entry['command']} -o /dev/null", cwd=root, shell=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_clean_leaves_nothing(source: Path) -> None:
    assert make(source, "clean").returncode == 0
    assert written(source / "build") == {}


MISTAKES = (
    ("lib/crc32.c", "crc32c_table[(crc & 0xff) ^ *p++]", "crc32_table[(crc & 0xff) ^ *p++]", "crc", "checksums"),
    ("lib/checksum.c", "if (len & 1)", "if (len & 1 && len > 1)", "crc", None),
    ("lib/rbtree.c", "sibling->red = parent->red;", "sibling->red = false;", "rbtree", None),
    ("kernel/sched.c", "if (before(rq->min_vruntime, least))", "if (rq->min_vruntime < least)", "sched", None),
    ("kernel/sched.c", "enqueue_task(rq, prev, !expired)", "enqueue_task(rq, prev, false)", "sched", "runqueue"),
    ("kernel/timer.c", "max(timer->expires, wheel->clk)", "max(timer->expires, wheel->clk + 1)", "timer", "timers"),
    ("mm/slab.c", "cache->first + i * cache->size", "cache->first + i * (cache->size - 8)", "slab", "slab"),
    ("ipc/msg.c", "memcpy(ring->data, (const u8 *)from + first, len - first);", "", "msg", "messages"),
    ("fs/namei.c", "nd->dentry == nd->root ?", "nd->dentry != nd->root ?", "path", "path-lookup"),
)  # fmt: skip


@pytest.mark.parametrize(("file", "before", "after", "suite", "workload"), MISTAKES)
def test_a_mistake_is_found(source: Path, file: str, before: str, after: str, suite: str, workload: str | None) -> None:
    change(source / file, before, after)
    make(source)
    done = make(source, "test")
    assert done.returncode != 0
    # A suite that crashes is the last that was begun.
    begun = re.findall(r"# Subtest: (\w+)", done.stdout)
    assert re.findall(r"^not ok \d+ (\w+)", done.stdout, re.MULTILINE) == [suite] or begun[-1] == suite
    assert parse_ktap(done.stdout.encode(), numbered=True).failure
    if workload:
        answer = bench(source / "build", *Case(workload, size=200).arguments)
        assert answer.returncode != 0
        assert "digest" not in answer.stdout


def test_a_layout_moves_code_and_changes_no_answer(plain: Path, tmp_path: Path) -> None:
    made = {}
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        done = make(plain.parent, "layout", f"SEED={seed}", f"OUT={tmp_path / name}")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        made[name] = sha256_of(tmp_path / name)
    assert made["one"] == made["again"] != made["two"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "one", "two"]
    (tmp_path / "bench").hardlink_to(tmp_path / "two")
    cases = [Case("checksums"), Case("path-lookup")]
    assert digests(tmp_path, cases) == digests(plain, cases)


def test_what_a_patch_does_not_touch_keeps_its_alignment(plain: Path, source: Path, tmp_path: Path) -> None:
    change(
        source / "lib/crc32.c",
        "#include <linux/types.h>",
        '#include <linux/types.h>\n__asm__(".text\\n.skip 1000");',
    )
    rebuilt(source)
    for name, root in (("old", plain.parent), ("new", source)):
        assert make(root, "layout", "SEED=77", f"OUT={tmp_path / name}").returncode == 0
    old, new = addresses(tmp_path / "old"), addresses(tmp_path / "new")
    kept = ["path_lookup", "rq_schedule", "wheel_advance", "msg_send", "kmalloc", "crc64_be"]
    assert any(old[name] != new[name] for name in kept)
    assert {name: old[name] % 256 for name in kept} == {name: new[name] % 256 for name in kept}


@pytest.mark.parametrize(
    ("seed", "out", "said"), [("x", "a", "'x' is no seed"), ("", "a", "'' is no seed"), ("1", "", "no output")]
)
def test_a_layout_of_nonsense_is_refused(plain: Path, tmp_path: Path, seed: str, out: str, said: str) -> None:
    done = make(plain.parent, "layout", f"SEED={seed}", f"OUT={tmp_path / out if out else ''}")
    assert done.returncode != 0
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def addresses(image: Path) -> dict[str, int]:
    """Return the address of every function."""
    listed = subprocess.run(["nm", "--defined-only", image], capture_output=True, text=True, check=True).stdout
    rows = (line.split() for line in listed.splitlines())
    return {name: int(address, 16) for address, kind, name in rows if kind in "tT"}
