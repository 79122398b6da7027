# SPDX-License-Identifier: Apache-2.0
"""The static impact of real commits on a project with a real profile and a real graph, and of what is none."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import time
from pathlib import Path

import apsw
import pytest

from git_hmopt.loop.profiled import latest_profile
from git_hmopt.records.words import Oid
from git_hmopt.store.repository import Repository
from hmopt_bot.pulls.heat import Heat
from hmopt_bot.pulls.impact import Knob, StaticImpact, Touched, static_impact
from hmopt_bot.pulls.impact_text import impact_annotations, impact_markdown, impact_title
from hmopt_bot.pulls.sides import Aside
from tests.bot.pulls.conftest import OFF, WINDOW, WINDOW_H, Site
from tests.loop.project import Project, make_project


def only(impact: StaticImpact) -> Touched:
    assert [one.symbol for one in impact.touched] == [impact.touched[0].symbol]
    return impact.touched[0]


def asides(impact: StaticImpact) -> dict[str, Aside]:
    return {one.path: one.why for one in impact.aside}


def callers(one: Touched) -> list[tuple[str, int]]:
    return [(caller.symbol, caller.distance) for caller in one.callers or ()]


# -- what is touched ------------------------------------------------------------------------------------------------


def test_a_hot_function_is_told_with_its_share_its_place_and_who_reaches_it(site: Site) -> None:
    impact = site.impact_of({"lib/scan.c": site.edited("lib/scan.c", "return p - 1;", "return p - 01;")})
    one = only(impact)
    [heat] = one.heat
    shown = site.project.hmopt("show").stdout
    assert f"{100 * heat.share:.1f} %  scan_byte" in shown and heat.workload == "scan-blocks"
    assert callers(one) == [("window_sum", 1), ("window_twice", 2)]
    text = impact_markdown(impact)
    told = f"{100 * heat.share:.1f} % of `scan-blocks`"
    assert text.splitlines()[0] == f"**This touches 1 hot function**: `scan_byte` ({told})."
    assert f"| `scan_byte` | `lib/scan.c:{one.first_line}` | {told} | `window_sum`, `window_twice` |" in text
    assert f"git hmopt graph --touched {impact.base[:12]}..{impact.head[:12]}" in text
    assert "Never profiled here: `scan`." in text
    assert impact_title(impact) == f"Touches 1 hot function: scan_byte ({100 * heat.share:.1f} % of scan-blocks)"
    [note] = impact_annotations(impact)
    head = site.repository.read_path(impact.head, "lib/scan.c") or b""
    assert b"return p - 01;" in head.splitlines()[note.start_line - 1]
    assert (
        note.message
        == f"`scan_byte`: {100 * heat.share:.1f} % of scan-blocks's profile; reached by window_sum, window_twice"
    )
    assert (note.path, note.level.value) == ("lib/scan.c", "notice")


def test_the_command_that_the_text_names_says_the_same(site: Site) -> None:
    impact = site.impact_of({"lib/scan.c": site.edited("lib/scan.c", "return p - 1;", "return p - 01;")})
    done = site.project.hmopt("graph", "--touched", f"{impact.base[:12]}..{impact.head[:12]}")
    assert done.returncode == 0, done.stderr
    assert "scan_byte" in done.stdout and "window_sum" in done.stdout


def test_a_cold_function_that_hot_ones_do_not_need_is_in_the_rest(site: Site) -> None:
    text = site.edited("lib/window.c", "window_sum(window, data, size);\n\treturn", "(void)size;\n\treturn")
    impact = site.impact_of({"lib/window.c": text})
    assert only(impact).symbol == "window_twice" and not impact.hot
    told = impact_markdown(impact)
    assert told.startswith(
        "**No hot function of `scan-blocks` is touched**, nor what one reaches (1 symbol in 1 file)."
    )
    assert told.index("<details>") < told.index("`window_twice`") and not impact_annotations(impact)
    assert impact_title(impact) == "Touches no hot function"


def test_what_hot_functions_reach_is_not_cold(site: Site) -> None:
    impact = site.impact_of({"lib/scan.c": site.edited("lib/scan.c", "return c == byte;", "return !(c ^ byte);")})
    one = only(impact)
    assert one.symbol == "lib/scan.c:is_same" and not one.is_hot and one.share_above > 0.1
    assert [(caller.symbol, bool(caller.heat)) for caller in one.callers or ()] == [
        ("scan_byte", True), ("window_sum", False), ("window_twice", False),
    ]  # fmt: skip
    text = impact_markdown(impact)
    assert text.startswith(
        "**No hot function of `scan-blocks` is touched**, but hot ones reach 1 touched symbol: `is_same`"
    )
    assert text.index("| `is_same` |") < text.index("<details>")


def test_structs_macros_and_inline_functions_have_those_who_use_them(site: Site) -> None:
    header = WINDOW_H.replace("u32 sum;", "u64 sum;").replace("STEP 4", "STEP 8").replace("sum * W", "sum + W")
    impact = site.impact_of({"include/linux/window.h": header})
    found = {one.symbol: callers(one) for one in impact.touched}
    assert ("window_sum", 1) in found["struct window"]
    assert found["include/linux/window.h:window_mix"] == [("window_sum", 1), ("window_twice", 2)]
    assert ("include/linux/window.h:window_mix", 1) in found["macro WINDOW_STEP"]


def test_a_struct_with_a_hot_functions_name_is_not_hot(site: Site) -> None:
    impact = site.impact_of({"lib/window.c": WINDOW + "struct scan_byte { int x; };\n"})
    assert only(impact).symbol == "lib/window.c:struct scan_byte" and only(impact).heat == ()


def test_another_files_own_function_of_a_hot_name_is_not_hot(site: Site) -> None:
    impact = site.impact_of({"lib/other.c": "static int scan_byte(void)\n{\n\treturn 1;\n}\n"})
    assert only(impact).heat == () and only(impact).how == "added"


# -- knobs ----------------------------------------------------------------------------------------------------------


def test_knobs_that_guard_it_and_the_one_its_file_hangs_on_are_told(site: Site) -> None:
    impact = site.impact_of({"lib/window.c": WINDOW.replace("window->hits++", "window->hits += 1")})
    assert Knob("CONFIG_WINDOW", "if", is_set=True) in only(impact).knobs
    assert Knob("CONFIG_WINDOW", "object", is_set=True) in only(impact).knobs
    assert "`CONFIG_WINDOW` has the file built (set in this build): `lib/window.c`" in impact_markdown(impact)


def test_what_the_build_leaves_out_changes_nothing_built(site: Site) -> None:
    impact = site.impact_of({"lib/window.c": WINDOW.replace("return 1;", "return 2;")})
    assert only(impact).left_out and impact.changes_nothing_built
    text = impact_markdown(impact)
    assert text.splitlines()[0] == "**Nothing that is built changes**: 1 function that the build leaves out."
    assert "`CONFIG_WINDOW_TRACE` guards when set (not set in this build): `window_trace`" in text
    # With a line of built code beside it, it is no longer so.
    both = WINDOW.replace("return 1;", "return 2;").replace("hits++", "hits += 1")
    assert not site.impact_of({"lib/window.c": both}).changes_nothing_built


# -- what changes nothing built -------------------------------------------------------------------------------------


def test_documentation_comments_and_what_no_unit_includes_are_said_in_the_first_line(site: Site) -> None:
    impact = site.impact_of({
        "Documentation/window.txt": "Windows, and doors.\n",
        "drivers/off.c": OFF.replace("return", "return 1 +"),
        "lib/scan.c": site.edited("lib/scan.c", "/* Return the", "/* Return  the"),
        "lib/window.c": WINDOW.replace("/* Takes a window's sum. */", "/*\n * Takes a window's sum.\n */"),
    })  # fmt: skip
    assert asides(impact) == {
        "Documentation/window.txt": Aside.DOCUMENTATION, "drivers/off.c": Aside.UNBUILT,
        "lib/scan.c": Aside.COMMENTS, "lib/window.c": Aside.COMMENTS_AND_LINES,
    }  # fmt: skip
    assert impact.changes_nothing_built and impact.touched == ()
    text = impact_markdown(impact)
    assert (
        text.startswith("**Nothing that is built changes**: ")
        and impact_title(impact) == "Nothing that is built changes"
    )
    assert (
        "1 file: documentation" in text.splitlines()[0] and "no unit of the graph includes it" in text.splitlines()[0]
    )
    assert "`__LINE__`" in text
    assert (
        "`drivers/off.c`: no unit of the graph includes it; 1 symbol touched in it; not set in this build: `CONFIG_OFF`"
        in text
    )


def test_a_build_without_a_graph_may_have_what_the_others_have_not(site: Site) -> None:
    [tree] = (site.repository.home / "trees/base/src").glob("build-count")
    other = tree.with_name("build-other")
    other.mkdir()
    try:
        shutil.copyfile(tree / "compile_commands.json", other / "compile_commands.json")
        impact = site.impact_of({"drivers/off.c": OFF.replace("return", "return 1 +")})
    finally:
        shutil.rmtree(other)
    assert asides(impact) == {"drivers/off.c": Aside.UNBUILT} and not impact.changes_nothing_built
    text = impact_markdown(impact)
    assert "There is no structure graph of `the base tree of the last run, build-other`" in text
    assert text.startswith("**No function, type or macro is touched** that is known to be built: 1 file: no unit")


def test_what_a_profile_names_was_built_whatever_the_graph_has(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    profiled = latest_profile(site.repository, "scan-blocks")
    assert profiled is not None
    spot = {**profiled.hotspots[0], "symbol": "off", "file": "drivers/off.c", "score": "0.4"}
    seen = dataclasses.replace(profiled, hotspots=(spot,))
    monkeypatch.setattr("hmopt_bot.pulls.heat.latest_profile", lambda repository, name: seen)
    impact = site.impact_of({"drivers/off.c": OFF.replace("return", "return 1 +")})
    assert [(one.symbol, one.share) for one in impact.hot] == [("off", 0.4)] and impact.aside == ()
    assert "| `off` | `drivers/off.c:2` | 40.0 % of `scan`, 40.0 % of `scan-blocks` | unknown |" in impact_markdown(
        impact
    )


def test_where_no_line_moves_nothing_is_said_of_line_numbers(site: Site) -> None:
    text = site.edited("lib/scan.c", "/* Return the", "/* Return  the")
    assert "__LINE__" not in impact_markdown(site.impact_of({"lib/scan.c": text}))


def test_a_new_file_may_be_built(site: Site) -> None:
    impact = site.impact_of({"drivers/new.c": OFF.replace("off", "on")})
    assert "on" in {one.symbol for one in impact.touched} and not impact.changes_nothing_built
    assert "new: unknown" in impact_markdown(impact)


def test_makefiles_and_kconfig_may_change_what_is_built(site: Site) -> None:
    impact = site.impact_of({"lib/Makefile": "obj-y += scan.o\n", "Kconfig": "config X\n", "lib/a.S": "nop\n"})
    assert set(asides(impact).values()) == {Aside.NOT_C} and not impact.changes_nothing_built
    assert impact_markdown(impact).startswith("**No function, type or macro is touched** that is known to be built")


def test_an_empty_change_is_said_to_be_one(site: Site) -> None:
    impact = site.impact_of({})
    assert (impact.files, impact.touched, impact.aside) == (0, (), ())
    assert impact_markdown(impact).startswith("**No file differs** between base and head.")
    assert impact_title(impact) == "No file differs" and impact_annotations(impact) == ()


# -- renames, deletions, and what is no C ---------------------------------------------------------------------------


def test_a_renamed_file_keeps_its_heat_and_its_callers(site: Site) -> None:
    text = site.edited("lib/scan.c", "return p - 1;", "return p - 01;")
    impact = site.impact_of({"lib/scan.c": None, "lib/scan_byte.c": text})
    one = only(impact)
    assert (one.file, one.how, one.is_hot) == ("lib/scan_byte.c", "changed", True)
    assert callers(one) == [("window_sum", 1), ("window_twice", 2)]
    assert [note.path for note in impact_annotations(impact)] == ["lib/scan_byte.c"]
    same = site.impact_of({"lib/scan.c": None, "lib/s.c": site.edited("lib/scan.c", "", "")})
    assert asides(same) == {"lib/s.c": Aside.RENAMED} and same.aside[0].before_path == "lib/scan.c"
    assert not same.changes_nothing_built


def test_a_deleted_file_has_no_line_in_head(site: Site) -> None:
    impact = site.impact_of({"lib/scan.c": None})
    assert {one.how for one in impact.touched} == {"removed"} and impact.hot
    assert impact_annotations(impact) == ()
    assert "`scan_byte` (removed) | `lib/scan.c` |" in impact_markdown(impact)


def test_a_hot_function_that_moves_to_another_file_stays_hot(site: Site) -> None:
    scan = (site.repository.read_path(site.base, "lib/scan.c") or b"").decode()
    body = scan[scan.index("const void *scan_byte") :]
    impact = site.impact_of({"lib/scan.c": scan.replace(body, "int rest;\n"), "lib/window.c": WINDOW + body})
    heat = {(one.how, one.file): one.is_hot for one in impact.touched if one.symbol == "scan_byte"}
    assert heat == {("removed", "lib/scan.c"): True, ("added", "lib/window.c"): True}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, None, Aside.NO_FILE),
        (b"int x;\n", b"int x;\n", Aside.MODE),
        (b"int x;\n", b"int\0x;\n", Aside.BINARY),
        (b"int x;\n", b"(" * 5000, Aside.NESTED),
        (b"int x;\n", b"int y;\n" * 700_000, Aside.LARGE),
        (b"int a;\nint f(void) { return 1; }\n", b"int f(void) { return 1; }\nint a;\n", Aside.ORDER),
        (b"#define A 1\nint x;\n", b"#define  A 1 /* one */\nint x;\n", Aside.COMMENTS),
        (b"#ifdef A\nB\n#endif\n", b"#ifdef A B\n\n#endif\n", Aside.ORDER),
    ],
)  # fmt: skip
def test_what_is_not_looked_into(site: Site, before: bytes | None, after: bytes | None, expected: Aside) -> None:
    impact = site.impact({"lib/crc.c": (before, after)})
    assert asides(impact) == {"lib/crc.c": expected} and impact.touched == ()
    assert impact.changes_nothing_built is False or expected.changes_nothing_built


def test_links_submodules_and_strange_paths(site: Site) -> None:
    bad = "lib/\udcff\u202e`|\n<b>.c"
    impact = site.impact({
        "link": (None, None), "sub/module": (b"int x;\n", None), "lib/link.c": (b"int x;\n", None),
        bad: (None, b"int scan_other(void)\n{\n\treturn 1;\n}\n"), "": (b"a", b"b"),
        "/abs.c": (None, b"int f(void) { }\n"),
    })  # fmt: skip
    assert asides(impact)["link"] is Aside.NO_FILE
    text = impact_markdown(impact)
    assert "<b>" not in text.replace("`", "") or "\u202e" not in text
    text.encode()
    assert all(not note.path.startswith("/") for note in impact_annotations(impact))


def test_text_that_is_no_utf_8_and_c_that_does_not_parse(site: Site) -> None:
    scan = site.repository.read_path(site.base, "lib/scan.c") or b""
    impact = site.impact({"lib/scan.c": (scan, scan.replace(b"return p - 1;", b"}}} \xff\xfe ((( return"))})
    assert impact.touched and impact.touched[0].file == "lib/scan.c"
    for note in impact_annotations(impact):
        assert 1 <= note.start_line <= note.end_line <= scan.count(b"\n") + 1


def test_a_megabyte_takes_seconds(site: Site) -> None:
    one = b"".join(b"int f%d(int a)\n{\n\treturn a + %d;\n}\n\n" % (n, n) for n in range(25_000))
    began = time.process_time()
    impact = site.impact({"lib/window.c": (one, one.replace(b"+ 1", b"- 1"))})
    assert len(one) > 1_000_000 and time.process_time() - began < 30
    assert impact.not_asked > 1000
    assert "was not looked for: there are too many" in impact_markdown(impact)
    assert "more\n" in impact_markdown(impact) and len(impact_markdown(impact).encode()) <= 60_000


# -- what is missing ------------------------------------------------------------------------------------------------


def scan_edit(site: Site) -> dict[str, str | bytes | None]:
    return {"lib/scan.c": site.edited("lib/scan.c", "return p - 1;", "return p - 01;")}


@pytest.mark.parametrize("content", [None, b"", b"not a database" * 1000], ids=["missing", "empty", "damaged"])
def test_without_a_graph_it_says_so_and_guesses_nothing(site: Site, content: bytes | None) -> None:
    with site.graphs_replaced(content):
        before = {path: path.read_bytes() for path in site.graphs()}
        impact = site.impact_of({**scan_edit(site), "drivers/off.c": OFF.replace("return", "return 1 +")})
        assert {path: path.read_bytes() for path in site.graphs()} == before
    assert {one.symbol: one.callers for one in impact.touched} == {"scan_byte": None, "off": None}
    # The profile says which file it means.
    assert [one.symbol for one in impact.hot] == ["scan_byte"]
    text = impact_markdown(impact)
    assert "There is no structure graph that can be read" in text and "`git hmopt analyze --static`" in text
    assert "| unknown |" in text and not impact.changes_nothing_built
    assert (content is None) == (impact.notes == ())
    assert str(site.repository.home) not in text


def test_damage_inside_a_graph_is_a_note(site: Site) -> None:
    [path] = site.graphs()
    data = bytearray(path.read_bytes())
    for start in range(4096, len(data), 4096):
        data[start : start + 4096] = b"\xa5" * 4096
    with site.graphs_replaced(bytes(data)):
        impact = site.impact_of(scan_edit(site))
    assert impact.graphs == () and any("damaged" in note for note in impact.notes)
    assert impact.hot


def test_a_graph_of_another_version_is_a_note(site: Site, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    database = apsw.Connection(str(other))
    database.pragma("user_version", 999)
    database.execute("CREATE TABLE x (y)")
    database.close()
    with site.graphs_replaced(other.read_bytes()):
        impact = site.impact_of(scan_edit(site))
    assert impact.graphs == () and any("is another version's" in note for note in impact.notes)


def test_a_graph_at_another_commit_is_said_with_what_differs(site: Site) -> None:
    moved = site.commit({"lib/crc.c": site.edited("lib/crc.c", "crc32c_update(", "crc32c_update (")})
    impact = site.impact_of(scan_edit(site), onto=moved)
    [state] = impact.graphs
    assert (state.differing, state.compared, state.at_base) == (("lib/crc.c",), True, False)
    text = impact_markdown(impact)
    assert "stands at another commit than base: 1 file of" in text and "(`lib/crc.c`)" in text
    assert "the next run or check of this base brings it up to date" in text
    # Nobody says that nothing built changes by a graph of another commit.
    off = site.impact_of({"drivers/off.c": OFF.replace("return", "return 1 +")}, onto=moved)
    assert asides(off) == {"drivers/off.c": Aside.UNBUILT} and not off.changes_nothing_built
    # Of what no graph is needed for it is said.
    assert site.impact_of({"Documentation/window.txt": "w"}, onto=moved).changes_nothing_built


def test_a_base_that_is_not_here_is_compared_by_what_changes(site: Site) -> None:
    scan = site.repository.read_path(site.base, "lib/scan.c") or b""
    changed = {"lib/scan.c": (scan, scan.replace(b"return p - 1;", b"return p - 01;"))}
    impact = site.impact(changed, base=Oid("1" * 40))
    [state] = impact.graphs
    assert (state.compared, state.differing, state.at_base) == (False, (), False)
    assert "Whether it stands at base otherwise is unknown" in impact_markdown(impact)
    assert impact.hot and callers(impact.touched[0])
    other = {"lib/scan.c": (scan + b"int x;\n", scan)}
    [state] = site.impact(other, base=Oid("1" * 40)).graphs
    assert state.differing == ("lib/scan.c",)


def test_a_repository_in_which_nothing_ever_ran(tmp_path: Path) -> None:
    project = make_project(tmp_path, trusted=False)
    repository, base = Repository.open(project.root), Oid(project.git("rev-parse", "HEAD"))
    scan = repository.read_path(base, "lib/scan.c") or b""
    changed = {"lib/scan.c": (scan, scan.replace(b"return p - 1;", b"return p - 01;"))}
    impact = static_impact(repository, changed, base=base, head=Oid("f" * 40))
    assert impact.profiles == () and any("git hmopt trust" in note for note in impact.notes)
    text = impact_markdown(impact)
    assert text.startswith("**This touches 1 symbol in 1 file; how hot they are is unknown**")
    assert impact_title(impact) == "Touches 1 symbol; how hot they are is unknown"
    assert "| `scan_byte` | `lib/scan.c:7` | unknown | unknown |" in text and not impact_annotations(impact)


def test_a_bare_repository_is_served_as_well(site: Site, tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    site.project.git("clone", "-q", "--bare", str(site.project.root), str(bare))
    shutil.copytree(site.repository.home / "trusted", bare / "hmopt/trusted")
    done = Project(bare, site.project.home)
    done.git("config", "hmopt.trust", site.project.git("config", "hmopt.trust"))
    impact = static_impact(
        Repository.open(bare), {"lib/scan.c": (b"int x;\n", b"int y;\n")}, base=site.base, head=Oid("f" * 40)
    )
    assert {one.workload: bool(one.run) for one in impact.profiles} == {"scan": False, "scan-blocks": False}
    assert impact.graphs == ()


def test_nothing_is_written_into_graphs_and_nothing_runs(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(f"{arguments} would be run")

    monkeypatch.setattr("git_hmopt.psg.build.update_graph", refuse)
    monkeypatch.setattr("git_hmopt.loop.bench.Bench.__init__", refuse)
    before = [hashlib.sha256(path.read_bytes()).hexdigest() for path in site.graphs()]
    assert site.impact_of(scan_edit(site)).hot
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in site.graphs()] == before


def test_annotations_are_bounded_and_the_hottest_come_first(site: Site) -> None:
    impact = site.impact_of(scan_edit(site))
    many = tuple(
        dataclasses.replace(impact.touched[0], symbol=f"f{n}", heat=(Heat("w", (100 - n) / 100),)) for n in range(90)
    )
    notes = impact_annotations(dataclasses.replace(impact, touched=many))
    assert len(notes) == 50 and notes[0].message.startswith("`f0`: 100.0 % of w's profile")
    assert len(impact_annotations(dataclasses.replace(impact, touched=many), most=3)) == 3
