# SPDX-License-Identifier: Apache-2.0
"""The policy rules as a table, on diffs that the real git made where the form of the diff matters."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from git_hmopt.config.schema import Policy
from git_hmopt.errors import PatchError
from git_hmopt.measure.policy import RULES, Change, Violation, check_policy, closed, read_diff

POLICY = Policy()


def _diff(path: str, *added: str, removed: tuple[str, ...] = ()) -> str:
    lines = [f"diff --git a/{path} b/{path}", f"--- a/{path}", f"+++ b/{path}"]
    lines.append(f"@@ -10,{2 + len(removed)} +10,{2 + len(added)} @@ int f(void)")
    lines += [" {", *(f"-{line}" for line in removed), *(f"+{line}" for line in added), " }"]
    return "\n".join(lines) + "\n"


def _edit(path: str, old: str | None = "100644", new: str | None = "100644") -> Change:
    return Change(path, old, new)


def _check(path: str, *added: str, removed: tuple[str, ...] = (), policy: Policy = POLICY) -> Violation | None:
    return check_policy(
        [_edit(path)], _diff(path, *added, removed=removed), policy,
        overlays=("lib/hm_bench.c", "drivers/bench/"), symbols=("bench_window",),
    )  # fmt: skip


@pytest.mark.parametrize("path", ["lib/sort.c", "include/linux/sort.h", "arch/x86/lib/copy_user_64.S", "mm/contest.c"])
def test_a_plain_edit_of_source_breaks_no_rule(path: str) -> None:
    assert _check(path, "\tswap(a, b);", "\tint timer_like = latest_target(x);") is None


def test_nothing_changed_breaks_no_rule() -> None:
    assert check_policy([], "", POLICY) is None


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("/etc/passwd", "outside-tree"),
        ("lib/../../x.c", "outside-tree"),
        ("lib//x.c", "outside-tree"),
        ("./lib/x.c", "outside-tree"),
        (".git/hooks/x.c", "outside-tree"),
        ("lib/.GIT/x.c", "outside-tree"),
        ("lib/git~1/x.c", "outside-tree"),
        ("lib/.git. /x.c", "outside-tree"),
        ("lib\\x.c", "outside-tree"),
        ("lib/x\x01.c", "outside-tree"),
        ("lib/hm_bench.c", "harness"),
        ("drivers/bench/deep/x.c", "harness"),
        ("lib/tests/x.c", "tests"),
        ("tests/x.c", "tests"),
        ("lib/sort_kunit.c", "tests"),
        ("lib/list-test.c", "tests"),
        ("kernel/kcsan/kcsan_test.c", "tests"),
        ("lib/test_sort.c", "tests"),
        ("lib/Test_Sort.c", "tests"),
        ("tools/testing/selftests/x.c", "tests"),
        ("kernel/rcu/rcu_selftest.c", "tests"),
        ("include/kunit/test.h", "tests"),
        ("crypto/speed_benchmark.c", "tests"),
        ("kernel/time/timekeeping.c", "timekeeping"),
        ("arch/um/kernel/time.c", "timekeeping"),
        ("arch/um/os-Linux/time.c", "timekeeping"),
        ("arch/x86/kernel/tsc.c", "timekeeping"),
        ("arch/arm64/lib/delay.c", "timekeeping"),
        ("arch/x86/include/asm/timex.h", "timekeeping"),
        ("arch/x86/entry/vdso/vclock_gettime.c", "timekeeping"),
        ("drivers/clocksource/arm_arch_timer.c", "timekeeping"),
        ("include/linux/timekeeping.h", "timekeeping"),
        ("include/linux/ktime.h", "timekeeping"),
        ("include/linux/jiffies.h", "timekeeping"),
        ("kernel/sched/clock.c", "timekeeping"),
        ("lib/Makefile", "build-flags"),
        ("Kbuild", "build-flags"),
        ("lib/Kconfig.debug", "build-flags"),
        ("arch/x86/kernel/vmlinux.lds.S", "build-flags"),
        ("scripts/mod/modpost.c", "build-flags"),
        ("arch/arm64/configs/defconfig_defconfig", "build-flags"),
        (".hmopt.yaml", "config-file"),
        ("lib/.gitattributes", "config-file"),
        (".github/workflows/x.c", "config-file"),
        (".gitmodules", "config-file"),
        ("Documentation/sort.rst", "kind-of-file"),
        ("rust/lib.rs", "kind-of-file"),
    ],
)
def test_a_path_breaks_the_rule_made_for_it(path: str, rule: str) -> None:
    found = check_policy([_edit(path)], _diff(path, "x"), POLICY, overlays=("lib/hm_bench.c", "drivers/bench/"))
    assert found is not None and (found.rule, found.path, found.line) == (rule, path, None)


@pytest.mark.parametrize(
    ("old", "new", "detail"),
    [
        ("100644", "120000", "a symbolic link"),
        (None, "120000", "a symbolic link"),
        ("160000", "160000", "a submodule"),
        ("100644", "040000", "of mode 040000"),
        ("100644", "100755", "the mode changes from 100644 to 100755"),
        (None, "100755", "a new file is executable"),
    ],
)
def test_modes_that_are_no_plain_edit_leave_the_tree(old: str | None, new: str, detail: str) -> None:
    found = check_policy([_edit("lib/sort.c", old, new)], _diff("lib/sort.c", "x"), POLICY)
    assert found is not None and found.rule == "outside-tree" and detail in found.detail


@pytest.mark.parametrize(
    ("old", "new"), [(None, "100644"), ("000000", "100644"), ("100644", None), ("100755", "100755")]
)
def test_new_deleted_and_executable_files_may_stay_what_they_are(old: str | None, new: str | None) -> None:
    assert check_policy([_edit("lib/sort.c", old, new)], _diff("lib/sort.c", "x"), POLICY) is None


def test_the_source_of_a_rename_is_looked_at_too() -> None:
    change = Change("lib/sort2.c", "100644", "100644", old_path="lib/sort_kunit.c")
    diff = (
        "diff --git a/lib/sort_kunit.c b/lib/sort2.c\nsimilarity index 100%\n"
        "rename from lib/sort_kunit.c\nrename to lib/sort2.c\n"
    )
    found = check_policy([change], diff, POLICY)
    assert found is not None and (found.rule, found.path) == ("tests", "lib/sort_kunit.c")


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ('#pragma GCC optimize ("O3")', "build-flags"),
        ('# pragma GCC target("avx2")', "build-flags"),
        ("#pragma \\", "build-flags"),
        ('_Pragma("GCC optimize(\\"O3\\")")', "build-flags"),
        ('__attribute__((optimize("O3"))) int f(void)', "build-flags"),
        ('__attribute__((noinline, __optimize__ ("O3")))', "build-flags"),
        ('\toptimize("unroll-loops")', "build-flags"),
        ('__attribute__((target("sse4.2")))', "build-flags"),
        ("\tif (hmopt_seed == 7)", "special-casing"),
        ("\tif (IS_ENABLED(CONFIG_HMOPT_BENCH))", "special-casing"),
        ("\tif (current->kunit_test)", "special-casing"),
        ('\tif (!strcmp(current->comm, "bench"))', "special-casing"),
        ("\tif (current == last)", "special-casing"),
        ("\tif (last != current)", "special-casing"),
        ("\tif (current->pid == 1)", "special-casing"),
        ("\tbench_window = 0;", "special-casing"),
        ("\tu64 t = ktime_get();", "special-casing"),
        ("\tu64 t = ktime_get_ns();", "special-casing"),
        ("\tif (time_after(jiffies, last))", "special-casing"),
        ("\tx = get_cycles();", "special-casing"),
        ("\tx = rdtsc_ordered();", "special-casing"),
        ("\tx = sched_clock();", "special-casing"),
        ('\tasm("mrs %0, cntvct_el0" : "=r"(x));', "special-casing"),
        ("\t/* harmless */ x = jiffies;", "special-casing"),
        ("\t// */ x = jiffies;", "special-casing"),
        ('\t" */ "/* " ; x = jiffies ; " */"', "special-casing"),
        ("\tx = jif\\", "special-casing"),
    ],
)
def test_an_added_line_breaks_the_rule_made_for_it(line: str, rule: str) -> None:
    found = _check("lib/sort.c", "\tint a;", line)
    assert found is not None and (found.rule, found.path, found.line) == (rule, "lib/sort.c", 12)
    assert str(found).startswith("lib/sort.c:12: the line")


@pytest.mark.parametrize(
    "line",
    [
        "#pragma GCC unroll 4",
        "#pragma pack(1)",
        '#pragma GCC diagnostic ignored "-Wpedantic"',
        "\tx = 1; /* no jiffies here */",
        "\tx = 1; // hmopt was here",
        "\tconcurrent == 3;",
        "\ttarget(x);",
        "\tdelay = msecs_to_jiffies(5);",
        "static __always_inline __attribute__((hot)) int f(void)",
        "\tdo { \\",
    ],
)
def test_fair_lines_pass(line: str) -> None:
    assert _check("lib/sort.c", line) is None


def test_a_line_that_is_only_moved_or_indented_is_not_new_but_a_second_one_is() -> None:
    line = "if (time_after(jiffies, last))"
    assert _check("lib/sort.c", f"\t\t{line}", removed=(f"\t{line}",)) is None
    assert _check("lib/sort.c", line, line, removed=(line,)) is not None


def test_removed_and_context_lines_are_no_offence() -> None:
    assert _check("lib/sort.c", "\tx = 1;", removed=("\tx = ktime_get();",)) is None


@pytest.mark.parametrize("glob", ["lib/sort.c", "lib", "lib/", "lib/*", "*/sort.c"])
def test_what_the_user_protects_is_protected(glob: str) -> None:
    found = _check("lib/sort.c", "x", policy=Policy(protect=(glob,)))
    assert found is not None and found.rule == "protected" and f"'{glob}'" in found.detail
    assert _check("mm/slab.c", "x", policy=Policy(protect=(glob,))) is None


def test_sizes_are_limited_with_the_number_in_the_message() -> None:
    many = [_edit(f"lib/f{n}.c") for n in range(9)]
    diff = "".join(_diff(change.path, "x") for change in many)
    found = check_policy(many, diff, POLICY)
    assert found is not None and found.rule == "size" and "9 files are changed, policy.max_files is 8" in found.detail
    found = _check("lib/sort.c", *["x"] * 400, removed=("y",) * 201)
    assert found is not None and "601 lines are changed, policy.max_lines is 600" in found.detail
    assert _check("lib/sort.c", *["x"] * 400, removed=("y",) * 200) is None


def test_a_path_in_only_one_of_list_and_diff_is_refused() -> None:
    both = _diff("lib/sort.c", "x") + _diff("lib/other.c", "x")
    stray = check_policy([_edit("lib/sort.c")], both, POLICY)
    assert stray is not None and (stray.rule, stray.path) == ("outside-tree", "lib/other.c")
    hidden = check_policy([_edit("lib/sort.c"), _edit("lib/other.c")], _diff("lib/sort.c", "x"), POLICY)
    assert hidden is not None and hidden.path == "lib/other.c" and "does not show" in hidden.detail


def test_an_added_line_that_looks_like_a_header_is_a_line() -> None:
    found = _check("lib/sort.c", "++ b/lib/other.c", "-- a/x", "@@ -1 +1 @@", "jiffies")
    assert found is not None and (found.rule, found.line) == ("special-casing", 14)


@pytest.mark.parametrize(
    ("diff", "message"),
    [
        (_diff("lib/sort.c", "x").rsplit("\n", 2)[0] + "\n", "the diff ends inside a hunk of lib/sort.c"),
        ("--- a/x.c\n+++ b/x.c\n@@ nonsense @@\n", "line 3 of the diff is no hunk header: @@ nonsense @@"),
        ("@@ -1 +1 @@\n-a\n+b\n", "line 1 of the diff is no hunk header"),
        ("--- a/x.c\n+++ b/x.c\n@@ -1,2 +1,2 @@\n?a\n", "line 4 of the diff is in a hunk but has no sign"),
        ("--- a/x.c\n+++ b/x.c\n@@ -1,2 +1,1 @@\n+a\n+b\n", "line 5 of the diff is one more than its hunk has"),
    ],
)
def test_a_diff_that_cannot_be_read_is_an_error_with_its_line(diff: str, message: str) -> None:
    with pytest.raises(PatchError, match=message.replace("?", r"\?")):
        read_diff(diff)


def _git(tree: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@invalid", "-c", "core.autocrlf=false"]
    done = subprocess.run(
        ["git", *identity, *words], cwd=tree, capture_output=True, text=True, check=True, errors="surrogateescape"
    )
    return done.stdout


def test_gits_own_diffs_are_read_with_binary_renamed_and_quoted_paths(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q")
    for name, text in {"a b.c": "1\n2\n3\n", "Zoé\t.c": "x\n", "old.c": "k\n" * 30, "gone.c": "g\n"}.items():
        (tmp_path / name).write_text(text)
    _git(tmp_path, "add", "-A")
    _git(tmp_path, "commit", "-qm", "base")
    (tmp_path / "a b.c").write_text("1\n2\njiffies\n3")
    (tmp_path / "Zoé\t.c").write_text("x\f\u2028y\n++ z\n")
    (tmp_path / "new.c").write_text("n\n")
    (tmp_path / "blob.c").write_bytes(b"\0\1\2")
    (tmp_path / "old.c").rename(tmp_path / "moved.c")
    (tmp_path / "gone.c").unlink()
    _git(tmp_path, "add", "-A")
    for options in (("-M",), ("-M", "--binary"), ("-M", "--no-prefix")):
        found = read_diff(_git(tmp_path, "diff", "--cached", *options))
        names = set(_git(tmp_path, "diff", "--cached", "--name-only", "-z", "--no-renames").rstrip("\0").split("\0"))
        if "--no-prefix" not in options:
            assert found.paths == names
            assert found.binary == {"blob.c"}
        assert [(line.number, line.text) for line in found.added if line.path == "a b.c"] == [(3, "jiffies"), (4, "3")]
        assert [line.text for line in found.added if line.path == "Zoé\t.c"] == ["x\f\u2028y", "++ z"]
        assert ("gone.c", "g") in found.removed


def test_a_binary_change_is_refused(tmp_path: Path) -> None:
    diff = "diff --git a/lib/x.c b/lib/x.c\nindex 1..2 100644\nBinary files a/lib/x.c and b/lib/x.c differ\n"
    found = check_policy([_edit("lib/x.c")], diff, POLICY)
    assert found is not None and (found.rule, found.path) == ("binary", "lib/x.c")
    marked = check_policy([Change("lib/x.c", "100644", "100644", binary=True)], _diff("lib/x.c", "x"), POLICY)
    assert marked is not None and marked.rule == "binary"


def test_every_rule_is_named_once() -> None:
    assert [name for name, _ in RULES] == [
        "outside-tree", "harness", "tests", "timekeeping", "build-flags", "config-file", "protected", "kind-of-file",
        "binary", "size", "special-casing",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("lib/sort.c", None),
        ("arch/x86/lib/copy_user_64.S", None),
        ("lib/test_sort.c", "tests"),
        ("kernel/time/timekeeping.c", "timekeeping"),
        ("lib/Makefile", "build-flags"),
        (".hmopt.yaml", "config-file"),
        ("lib/hmopt/bench.c", "harness"),
        ("drivers/net/e1000.c", "protected"),
    ],
)
def test_a_path_alone_says_that_no_candidate_may_touch_it(path: str, rule: str | None) -> None:
    found = closed(path, Policy(protect=("drivers",)), overlays=["lib/hmopt"])
    assert (found.rule if found else None) == rule
