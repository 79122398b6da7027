# SPDX-License-Identifier: Apache-2.0
"""`git hmopt graph` in real repositories: every question, every format, every kind of place and of build."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import time
import xml.etree.ElementTree as xml
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_cli_streams import alive, children
from tests.loop.project import Project, make_project
from tests.programs import search_path
from tests.psg.structure_tree import COMPILED, FILES, FLAGS

BUILT = "exact: compile_commands.json\n"
UNBUILT = "approximate: no build was found, files are read as text\n"
needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="needs graphviz: apt-get install graphviz")
# Root may write where nobody may; without these rights it is somebody with files that cannot be written.
WITHOUT_ROOTS_RIGHTS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


def build(
    project: Project, *, compiled: Sequence[str] = COMPILED, into: str = "compile_commands.json",
    flags: Sequence[str] = FLAGS,
) -> Path:  # fmt: skip
    """Write a compile database of the tree, which git does not know."""
    entries = [
        {"directory": str(project.root), "file": file, "arguments": ["gcc", *flags, "-c", "-o", f"{file}.o", file]}
        for file in compiled
    ]
    project.write(into, json.dumps(entries))
    return project.root / into


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a repository of the small tree in which nothing was built."""
    return make_project(tmp_path_factory.mktemp("plain"), contents=FILES, trusted=False)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a repository of the small tree with a compile database; for questions that change nothing."""
    project = make_project(tmp_path_factory.mktemp("built"), contents=FILES, trusted=False)
    build(project)
    return project


@pytest.fixture
def tree(built: Project, tmp_path: Path) -> Project:
    """Return a tree with a compile database that may be spoilt."""
    shutil.copytree(built.root, tmp_path / "tree", symlinks=True)
    shutil.rmtree(tmp_path / "tree/.git/hmopt", ignore_errors=True)
    project = Project(tmp_path / "tree", built.home)
    build(project)
    return project


def asked(project: Project, *argv: str, code: int = 0, **how: Any) -> str:
    """Return what a question prints; nothing else is said."""
    done = project.hmopt("graph", *argv, **how)
    assert (done.returncode, done.stderr) == (code, ""), (done.returncode, done.stderr)
    return done.stdout


def refused(project: Project, *argv: str, code: int = 129, **how: Any) -> str:
    """Return the one line that a wrong question gets."""
    done = project.hmopt("graph", *argv, **how)
    assert (done.returncode, done.stdout) == (code, ""), (done.returncode, done.stdout, done.stderr)
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("git hmopt: ")
    return done.stderr.removeprefix("git hmopt: ").removesuffix("\n")


def told(project: Project, *argv: str, code: int = 0) -> dict[str, Any]:
    """Return the JSON object that a question prints."""
    said = json.loads(asked(project, *argv, "--json", code=code))
    assert said["v"] == 1
    return dict(said)


# -- a symbol ---------------------------------------------------------------------------------------------------------


def test_a_function_and_what_stands_around_it(built: Project) -> None:
    assert asked(built, "go") == (
        "go\n"
        "  kernel/go.c:4-9  function external\n"
        "    int (struct box *)\n"
        "  called by (1)\n"
        "    start  kernel/go.c:15\n"
        "  calls (2)\n"
        "    struct box_ops.open     kernel/go.c:7  indirect\n"
        "    kernel/detail.h:detail  kernel/go.c:6\n"
        "  uses (3)\n"
        "    struct box      kernel/go.c:4  type\n"
        "    total           kernel/go.c:6  read\n"
        "    struct box.ops  kernel/go.c:7  read\n"
        "  may reach through struct box_ops.open (1)\n"
        "    box_open  lib/box.c:4\n" + BUILT
    )


SYMBOLS = {
    # what is asked: lines of the answer
    "lib/box.c:box_open": ["    go  kernel/go.c:4", "  may be called through struct box_ops.open (1)"],
    "total": ["  lib/box.c:2  variable external", "    box_open  lib/box.c:6    write"],
    "struct box": ["  include/linux/box.h:9  struct", "    struct box.weight  include/linux/box.h:9"],
    "box.weight": ["struct box.weight", "    box_close  lib/box.c:12            write"],
    "LIMIT": ["macro LIMIT", "    box_close  lib/box.c:12  macro"],
    "count_t": ["typedef count_t", "    CONFIG_HEAVY  include/linux/box.h:12  set"],
    "start": ["kernel/go.c:start", "  kernel/go.c:11-16  function static __init"],
    "box_trace": ["  lib/box.c:19-22  function external, not in this build"],
    "CONFIG_TRACE": ["CONFIG_TRACE", "  decides about (1)"],
    "TRACE": ["CONFIG_TRACE", "  decides about (1)"],
}


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_every_kind_of_symbol_can_be_asked_about(built: Project, symbol: str) -> None:
    lines = asked(built, symbol).splitlines()
    assert [line for line in SYMBOLS[symbol] if line not in lines] == [], lines


def test_two_static_functions_of_one_name_are_both_told(tree: Project) -> None:
    for name in ("lib/one.c", "lib/two.c"):
        tree.write(name, f"static int same(void) {{ return 1; }}\nint {name[4:7]}(void) {{ return same(); }}\n")
    build(tree, compiled=("lib/one.c", "lib/two.c"))
    lines = asked(tree, "same").splitlines()
    assert [line for line in lines if line.endswith(":same")] == ["lib/one.c:same", "lib/two.c:same"]
    assert asked(tree, "same", "-n", "1").splitlines()[-2] == "and 1 more symbols of this name"
    assert asked(tree, "lib/two.c:same", "--callers").startswith("lib/two.c:same  lib/two.c:1\n  two  lib/two.c:2\n")


def test_a_name_that_is_not_there_is_met_with_the_nearest(built: Project) -> None:
    assert refused(built, "box_opn") == (
        "no symbol 'box_opn' in this graph; did you mean 'box_open', 'box_ops', 'box_close'?"
    )
    assert refused(built, "LIMITS") == "no symbol 'LIMITS' in this graph; did you mean 'LIMIT'?"
    assert refused(built, "wight", "--json").endswith("did you mean 'weight'?")
    assert refused(built, "zzz") == "no symbol 'zzz' in this graph; is it built at all?"
    assert refused(built, "--guards", "HEAFY").startswith("no config knob 'CONFIG_HEAFY' in this tree; did you mean ")


def test_a_name_with_signs_of_its_own_is_a_name(built: Project) -> None:
    for name in ("'; DROP TABLE symbols; --", "[*", "%s", "\udcff", "a\x1b]0;b"):
        assert refused(built, "--", name).startswith("no symbol '")


# -- callers, callees, distances --------------------------------------------------------------------------------------

TREES = {
    ("go", "--callers"): "go  kernel/go.c:4\n  start  kernel/go.c:15\n",
    ("start", "--callees", "--depth", "3"): (
        "kernel/go.c:start  kernel/go.c:11\n  go  kernel/go.c:15\n    kernel/detail.h:detail  kernel/go.c:6\n"
        "    struct box_ops.open  kernel/go.c:7  indirect\n      box_open  lib/box.c:16  implements\n"
    ),
    ("box_open", "--callers", "--depth", "3"): (
        "lib/box.c:box_open  lib/box.c:4\n  struct box_ops.open  lib/box.c:16  implements\n"
        "    go  kernel/go.c:7  indirect\n      start  kernel/go.c:15\n"
    ),
    ("go", "--callees", "--relation", "call_static"): (
        "go  kernel/go.c:4\n  kernel/detail.h:detail  kernel/go.c:6\n"
    ),
    ("total", "--relation", "ref"): (
        "total  lib/box.c:2\n  <- go  kernel/go.c:6  read\n  <- box_open  lib/box.c:6  write\n"
    ),
    ("struct box_ops", "--relation", "hasmember", "--depth", "1", "-n", "1"): (
        "struct box_ops  include/linux/box.h:7\n  -> struct box_ops.close  include/linux/box.h:7\n  and 1 more\n"
    ),
}  # fmt: skip


@pytest.mark.parametrize("argv", TREES, ids=" ".join)
def test_distances_are_told_as_a_tree(built: Project, argv: tuple[str, ...]) -> None:
    assert asked(built, *argv) == TREES[argv] + BUILT


def test_nothing_is_no(built: Project) -> None:
    assert asked(built, "whole", "--callers", code=1) == "whole  kernel/parts.c:2\n  nothing that is known\n" + BUILT
    assert told(built, "whole", "--callers", code=1)["edges"] == []
    assert asked(built, "go", "--implementers", code=1) == "no function stands in go\n" + BUILT
    assert told(built, "go", "--implementers", code=1)["implementers"] == {}


# -- lists ------------------------------------------------------------------------------------------------------------


def test_who_stands_in_a_field_however_it_is_named(built: Project) -> None:
    for name in ("box_ops.open", "struct box_ops.open"):
        assert asked(built, "--implementers", name) == "struct box_ops.open (1)\n  box_open  lib/box.c:4\n" + BUILT
    both = told(built, "--implementers", "struct box_ops")["implementers"]
    assert both == {"struct box_ops.close": ["lib/box.c:box_close"], "struct box_ops.open": ["lib/box.c:box_open"]}


def test_what_a_knob_decides_about(built: Project) -> None:
    trace = "CONFIG_TRACE (1)\n  box_trace  lib/box.c:19-22  when set (text)\n" + BUILT
    for name in ("TRACE", "CONFIG_TRACE"):
        assert asked(built, name, "--guards") == trace
    (one,) = told(built, "TRACE", "--guards")["guarded"]
    assert (one["symbol"], one["sense"], one["whole"], one["approximate"]) == ("box_trace", "if", True, True)
    assert asked(built, "--guards", "HEAVY") == (
        "CONFIG_HEAVY (2)\n  typedef count_t  include/linux/box.h:12  when set\n"
        "  these lines      include/linux/box.h:14  when not set\n" + BUILT
    )


def test_below_is_a_path_of_the_current_directory(built: Project) -> None:
    assert told(built, "TRACE", "--guards", "--below", "lib")["guarded"]
    assert told(built, "TRACE", "--guards", "--below", "lib/box.c")["guarded"]
    for elsewhere in ("kernel", "li", "lib/bo", "lib/*"):
        assert told(built, "TRACE", "--guards", "--below", elsewhere, code=1)["guarded"] == []
    there = built.root / "lib"
    assert "box_trace" in asked(built, "TRACE", "--guards", "--below", "box.c", cwd=there)
    assert "box_trace" in asked(built, "TRACE", "--guards", "--below", "..", cwd=there)
    assert refused(built, "TRACE", "--guards", "--below", "../..", cwd=there).startswith("'../..' is outside")


# -- what a change touches --------------------------------------------------------------------------------------------


def changed(project: Project, *edits: tuple[str, str, str]) -> str:
    """Commit replacements of text and return the range."""
    for path, old, new in edits:
        text = (project.root / path).read_text()
        assert old in text
        project.write(path, text.replace(old, new))
    project.git("add", "-A", ":!compile_commands.json")
    project.git("commit", "-q", "-m", "change")
    return "HEAD~1..HEAD"


CHANGES = {
    # file, old, new: what is touched, and who reaches it
    ("lib/box.c", "total++;", "total += 2;"): (
        "box_open  lib/box.c:4-8  function changed\n  1 step away (1): go\n  2 steps away (1): kernel/go.c:start\n"
    ),
    ("include/linux/box.h", "FACTOR 3", "FACTOR 4"): (
        "macro FACTOR  include/linux/box.h:19  macro changed\n  1 step away (1): lib/box.c:box_close\n"
    ),
    ("include/linux/box.h", "int weight; }", "int weight, height; }"): (
        "struct box  include/linux/box.h:9  struct changed\n"
        "  1 step away (5): go, include/linux/box.h:weigh, kernel/go.c:start, lib/box.c:box_close,\n"
        "    lib/box.c:box_open\n"
    ),
    ("kernel/detail.h", "return 1", "return 2"): (
        "detail  kernel/detail.h:1  function changed\n  1 step away (1): go\n  2 steps away (1): kernel/go.c:start\n"
    ),
    ("lib/box.c", "#include <linux/box.h>", "#include <linux/box.h>\n#include <linux/types.h>"): (
        "outside of all functions  lib/box.c  file changed\n"
    ),
}  # fmt: skip


@pytest.mark.parametrize("edit", CHANGES, ids=lambda edit: f"{edit[0]}: {edit[2]}".replace("\n", " "))
def test_what_a_change_touches_and_who_reaches_that(tree: Project, edit: tuple[str, str, str]) -> None:
    between = changed(tree, edit)
    done = tree.hmopt("graph", "--touched", between)
    assert (done.returncode, done.stdout) == (0, CHANGES[edit] + BUILT)


def test_a_comment_and_blanks_touch_nothing(tree: Project) -> None:
    between = changed(tree, ("lib/box.c", "total++;", "/* one\n more */ total++;   // and on"))
    assert asked(tree, "--touched", between, code=1) == "no function, type or macro is touched\n" + BUILT
    assert told(tree, "--touched", between, code=1)["touched"] == []


def test_files_that_come_and_go(tree: Project) -> None:
    tree.write("lib/new.c", "int fresh(void) { return 0; }\n")
    tree.git("rm", "-q", "kernel/part.inc.c")
    tree.git("mv", "lib/box.c", "lib/case.c")
    tree.write("notes.txt", "read me\n")
    between = changed(tree)
    build(tree, compiled=("kernel/go.c", "lib/case.c", "lib/new.c"))
    said = told(tree, "--touched", between)
    found = {(one["touch"]["symbol"], one["touch"]["file"], one["touch"]["how"]) for one in said["touched"]}
    assert {
        ("fresh", "lib/new.c", "added"), ("kernel/part.inc.c:part", "kernel/part.inc.c", "removed"),
        ("lib/box.c:box_open", "lib/box.c", "removed"), ("lib/case.c:box_open", "lib/case.c", "added"),
    } <= found  # fmt: skip
    assert said["other_files"] == ["notes.txt"]
    assert "notes.txt: no C, not looked into\n" in asked(tree, "--touched", between)
    assert told(tree, "--touched", "HEAD..HEAD", code=1)["other_files"] == []


def test_depth_says_how_far_and_open_ends_are_head(tree: Project) -> None:
    changed(tree, ("lib/box.c", "total++;", "total += 2;"))
    for between in ("HEAD~1..HEAD", "HEAD~1..", "main~1..main"):
        (one,) = told(tree, "--touched", between, "--depth", "1")["touched"]
        assert one["reached_by"] == [["go", 1]]
    assert refused(tree, "--touched", "HEAD") == "graph: 'HEAD' names no change; write A..B, or A.. for all since A"
    assert "write A..B" in refused(tree, "--touched", "HEAD~1...HEAD")
    assert "is not in this repository" in refused(tree, "--touched", "nowhere..", code=128)


# -- formats ----------------------------------------------------------------------------------------------------------


def test_json_has_the_symbol_its_neighbours_and_what_it_rests_on(built: Project) -> None:
    said = told(built, "go")
    assert (said["basis"], said["build"], said["notes"]) == ("exact", "compile_commands.json", [])
    assert (said["symbols"], said["left_out"]) == (["go"], 0)
    assert said["definitions"][0]["type"] == "int (struct box *)"
    assert {"symbol": "total", "kind": "variable", "file": "lib/box.c", "line": 2, "depth": 1} in said["nodes"]
    assert {
        "source": "kernel/go.c:start", "target": "go", "relation": "call_static", "detail": "",
        "file": "kernel/go.c", "line": 15, "count": 1,
    } in said["edges"]  # fmt: skip


def test_graphml_has_the_nodes_and_edges_of_json(built: Project) -> None:
    root = xml.fromstring(asked(built, "go", "--format", "graphml"))
    space = {"g": "http://graphml.graphdrawing.org/xmlns"}
    said = told(built, "go")
    assert len(root.findall(".//g:node", space)) == len(said["nodes"])
    assert len(root.findall(".//g:edge", space)) == len(said["edges"])


@needs_dot
def test_graphviz_draws_what_it_is_given(built: Project) -> None:
    dot = asked(built, "start", "--callees", "--depth", "3", "--format", "dot")
    drawn = subprocess.run(["dot", "-Tplain"], input=dot, capture_output=True, text=True, check=True)
    assert drawn.stderr == ""
    assert sum(line.startswith("node ") for line in drawn.stdout.splitlines()) == 5
    image = xml.fromstring(asked(built, "start", "--callees", "--depth", "3", "--format", "svg"))
    assert image.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(image.findall(".//{http://www.w3.org/2000/svg}g[@class='node']")) == 5


def test_without_graphviz_one_line_names_the_package(tree: Project, tmp_path: Path) -> None:
    program = str(Path(shutil.which("git-hmopt", path=tree.environment["PATH"]) or ""))
    done = subprocess.run(
        [program, "graph", "go", "--format", "svg"], cwd=tree.root, capture_output=True, text=True, check=False,
        env={**tree.environment, **search_path(tmp_path / "bin", without=("dot",))},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (128, "")
    assert done.stderr == (
        "git hmopt: 'dot' is not installed: no SVG can be drawn; install it with: apt-get install graphviz\n"
    )
    # It was said before anything was parsed.
    assert not (tree.root / ".git/hmopt/structure").exists()


@pytest.mark.parametrize("form", ["text", "json", "dot", "graphml", pytest.param("svg", marks=needs_dot)])
def test_a_file_gets_what_standard_output_would(built: Project, tmp_path: Path, form: str) -> None:
    file = tmp_path / "answer"
    assert asked(built, "go", "--format", form, "-o", str(file)) == ""
    assert file.read_text() == asked(built, "go", "--format", form)


def test_a_file_that_cannot_be_written_is_one_line(built: Project, tmp_path: Path) -> None:
    for argv in (("go",), ("--guards", "TRACE"), ("--implementers", "box_ops.open"), ("go", "--format", "dot")):
        said = refused(built, *argv, "-o", str(tmp_path / "nowhere/answer"))
        assert said.startswith(f"cannot write '{tmp_path}/nowhere/answer': No such file or directory; ")
    assert "Is a directory" in refused(built, "go", "-o", str(tmp_path))


# -- the command line -------------------------------------------------------------------------------------------------

WRONG = {
    (): "graph: name a SYMBOL; 'git hmopt analyze --static' tells what the graph has",
    ("go", "--touched", "a..b"): "exclude each other",
    ("go", "--callers", "--guards"): "not allowed with argument",
    ("go", "--depth", "0"): "must be at least 1",
    ("go", "-n", "none"): "is no whole number",
    ("go", "--relation", "calls"): "invalid choice: 'calls'",
    ("go", "--format", "png"): "invalid choice: 'png'",
    ("go", "--implementers", "--format", "dot"): "this answer is a list, which cannot be written as dot",
    ("--touched", "HEAD..", "--format", "svg"): "this answer is a list, which cannot be written as svg",
    ("go", "--guards", "--relation", "ref"): "--relation is not for this answer",
    ("go", "--guards", "--depth", "2"): "--depth is not for this answer",
    ("go", "--below", "lib"): "--below is only for --guards",
}  # fmt: skip


@pytest.mark.parametrize("argv", WRONG, ids=" ".join)
def test_a_wrong_command_line_says_what_is_wrong(built: Project, argv: tuple[str, ...]) -> None:
    assert WRONG[argv] in refused(built, *argv)


# -- builds -----------------------------------------------------------------------------------------------------------


def test_the_build_that_is_named_is_asked(tree: Project, tmp_path: Path) -> None:
    (tree.root / "compile_commands.json").unlink()
    (tree.root / "out").mkdir()
    file = build(tree, into="out/compile_commands.json")
    for where in ("out", "out/compile_commands.json", str(file)):
        assert asked(tree, "go", "--build", where).endswith(f"exact: {file}\n")
    assert "start" in asked(tree, "go", "--build", "../out", cwd=tree.root / "lib")
    # Of itself it is found as well: right below the top.
    assert asked(tree, "go").endswith("exact: out/compile_commands.json\n")
    assert refused(tree, "go", "--build", "gone") == (
        f"there is no '{tree.root}/gone'; name a compile_commands.json or a build's directory"
    )
    assert refused(tree, "go", "--build", "lib").startswith(f"no kernel was built in '{tree.root}/lib'; ")
    assert "lib/box.c is not a compile database" in refused(tree, "go", "--build", "lib/box.c")
    file.write_text("[]")
    assert refused(tree, "go", "--build", "out").startswith(f"{file} compiles no file of '{tree.root}'; ")


def test_a_unit_with_errors_is_told_and_the_rest_answers(tree: Project) -> None:
    tree.write("lib/broken.c", '#include "gone.h"\nint broken(void) { return go(0); }\n')
    build(tree, compiled=(*COMPILED, "lib/broken.c"))
    done = tree.hmopt("graph", "go", "--callers")
    assert (done.returncode, done.stdout) == (
        0,
        "go  kernel/go.c:4\n  start  kernel/go.c:15\n  broken  lib/broken.c:2\n" + BUILT,
    )
    assert done.stderr == ("git hmopt: note: parsed with errors, so something may be missing: 1 unit (lib/broken.c)\n")
    assert told_notes(tree, "go") == ["parsed with errors, so something may be missing: 1 unit (lib/broken.c)"]


def told_notes(project: Project, *argv: str) -> list[str]:
    """Return the notes of an answer."""
    return list(json.loads(project.hmopt("graph", *argv, "--json").stdout)["notes"])


def test_an_edit_is_parsed_before_the_answer(tree: Project) -> None:
    assert "more" not in asked(tree, "go")
    text = (tree.root / "lib/box.c").read_text()
    tree.write("lib/box.c", text + "int more(struct box *box) { return go(box); }\n")
    assert "    more   lib/box.c:24\n" in asked(tree, "go")


def test_a_provisional_answer_parses_nothing(tree: Project) -> None:
    first = asked(tree, "go", "--provisional")
    assert first.endswith("approximate: compile_commands.json was never parsed, files are read as text\n")
    assert "    start  kernel/go.c:15\n" in first
    asked(tree, "go")
    text = (tree.root / "lib/box.c").read_text()
    tree.write("lib/box.c", text + "int more(struct box *box) { return go(box); }\n")
    done = tree.hmopt("graph", "go", "--provisional")
    assert "    more   lib/box.c:24\n" in done.stdout
    assert done.stdout.endswith("provisional: compile_commands.json\n")
    note = "what changed since it was parsed is read as text, for 1 unit"
    assert done.stderr == f"git hmopt: note: {note}\n"
    assert "lib/box.c:24-24" not in done.stdout
    said = json.loads(tree.hmopt("graph", "more", "--provisional", "--json").stdout)
    assert (said["basis"], said["notes"], said["definitions"][0]["approximate"]) == ("provisional", [note], True)
    assert asked(tree, "more").endswith(BUILT)
    assert asked(tree, "go", "--provisional").endswith(BUILT)


def test_without_a_build_text_answers_and_says_so(plain: Project) -> None:
    assert asked(plain, "go") == (
        "go\n  kernel/go.c:4-9  function external, read as text\n  called by (1)\n    start  kernel/go.c:15\n"
        "  calls (1)\n    detail  kernel/go.c:6\n" + UNBUILT
    )
    assert "box_trace  lib/box.c:19-22  when set (text)\n" in asked(plain, "--guards", "TRACE")
    assert asked(plain, "start", "--callees", "--depth", "2") == (
        "kernel/go.c:start  kernel/go.c:11\n  go  kernel/go.c:15\n    detail  kernel/go.c:6\n" + UNBUILT
    )
    assert refused(plain, "struct box") == (
        "no function and no macro 'struct box' in the text of this tree; variables, types and fields are known of a"
        " build only: name one with --build"
    )
    assert asked(plain, "--guards", "NOTHING", code=1) == "CONFIG_NOTHING (0)\n  nothing that is known\n" + UNBUILT
    assert told(plain, "go")["basis"] == "approximate"
    assert not (plain.root / ".git/hmopt").exists()


def test_the_tree_that_the_last_run_built_is_asked_where_nothing_else_was(with_run: Project) -> None:
    said = asked(with_run, "crc32c_update", "--json")
    assert json.loads(said)["build"].startswith("the base tree of the last run, build-")
    assert json.loads(said)["basis"] == "exact"


# -- places -----------------------------------------------------------------------------------------------------------


def test_outside_of_repositories_and_without_a_tree_it_is_refused(built: Project, tmp_path: Path) -> None:
    ceiling = {"GIT_CEILING_DIRECTORIES": str(tmp_path)}
    assert "is not in a git repository" in refused(built, "go", code=128, cwd=tmp_path, environment=ceiling)
    built.git("clone", "-q", "--bare", str(built.root), str(tmp_path / "bare"))
    for argv in (("go",), ("--touched", "HEAD..")):
        said = refused(built, *argv, code=128, cwd=tmp_path / "bare")
        assert said.endswith("is a bare repository; run it in a working tree (git worktree add)")


def test_a_directory_below_a_linked_worktree_and_sha256(built: Project, tmp_path: Path) -> None:
    assert asked(built, "go", cwd=built.root / "lib") == asked(built, "go")
    linked = Project(tmp_path / "linked", built.home)
    built.git("worktree", "add", "-q", "--detach", str(linked.root))
    build(linked)
    linked.write("lib/box.c", "int only_here(void) { return 0; }\n")
    assert asked(linked, "only_here").endswith(BUILT)
    refused(built, "only_here")
    long = Project(tmp_path / "sha256", built.home)
    long.root.mkdir()
    long.git("init", "-q", "--object-format=sha256")
    for path, text in FILES.items():
        long.write(path, text)
    long.commit("tree")
    build(long)
    between = changed(long, ("lib/box.c", "total++;", "total += 2;"))
    assert "box_open  lib/box.c:4-8  function changed\n" in asked(long, "--touched", between)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to do without its rights")
def test_where_nothing_can_be_written_one_line_says_so_and_text_still_answers(tree: Project) -> None:
    def refused_here(*argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*WITHOUT_ROOTS_RIGHTS, "git-hmopt", "graph", *argv], cwd=tree.root, env=tree.environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    subprocess.run(["chmod", "-R", "a-w", tree.root / ".git"], check=True)
    try:
        done = refused_here("go")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (128, "", 1)
        assert "/.git/hmopt/structure" in done.stderr and "cannot be written" in done.stderr
        assert done.stderr.endswith("; make room or rights there\n")
        (tree.root / "compile_commands.json").unlink()
        done = refused_here("go")
        assert (done.returncode, done.stderr) == (0, "") and done.stdout.endswith(UNBUILT)
    finally:
        subprocess.run(["chmod", "-R", "u+w", tree.root / ".git"], check=True)


def test_names_that_are_not_utf8_are_shown_with_their_bytes(plain: Project, tmp_path: Path) -> None:
    shutil.copytree(plain.root, tmp_path / "tree", symlinks=True)
    tree = Project(tmp_path / "tree", plain.home)
    tree.write(os.fsdecode(b"lib/b\xff/x.c"), "int bad(void) { return go(0); }\n")
    tree.write(os.fsdecode(b"lib/b\xff/x.txt"), "text\n")
    tree.commit("bad")
    assert r"    bad    lib/b\xff/x.c:1" in asked(tree, "go")
    for argv in (("--touched", "HEAD~1.."), ("bad", "--callees")):
        assert r"lib/b\xff/x.c" in asked(tree, *argv)
        assert told(tree, *argv)["v"] == 1
    build(tree)
    assert r"lib/b\xff/x.txt: no C, not looked into" in asked(tree, "--touched", "HEAD~1..")


# -- at a terminal ----------------------------------------------------------------------------------------------------


def at_a_terminal(project: Project, *argv: str, columns: int = 60) -> tuple[int, str]:
    """Return the exit code and all that a terminal gets."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        ["git-hmopt", "graph", *argv], cwd=project.root, stdout=theirs, stderr=theirs,
        env={**project.environment, "COLUMNS": str(columns), "TERM": "xterm"},
    ) as child:  # fmt: skip
        os.close(theirs)
        said = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the terminal was closed by its last writer
                break
            said += part
        child.wait()
    os.close(ours)
    return child.returncode, said.decode().replace("\r\n", "\n")


def test_a_narrow_terminal_gets_narrow_lines_and_no_colour(tree: Project) -> None:
    arguments = ", ".join(f"struct box *a_long_name_{number}" for number in range(9))
    tree.write("lib/wide.c", f"#include <linux/box.h>\nint wide({arguments})\n{{\n\treturn go(a_long_name_0);\n}}\n")
    build(tree, compiled=(*COMPILED, "lib/wide.c"))
    asked(tree, "go")
    for columns in (40, 60, 80):
        code, said = at_a_terminal(tree, "wide", columns=columns)
        assert code == 0 and "…" in said and "\x1b[3" not in said
        assert [line for line in said.splitlines() if len(line) > columns] == []
    assert "…" in asked(tree, "wide")
    code, said = at_a_terminal(tree, "go", columns=40)
    assert "    struct box_ops.open     kernel/go.c:7\n" not in said
    assert "    struct box_ops.open  kernel/go.c:7  indirect\n" in said or "      kernel/go.c:7" in said


def with_many_units(project: Project) -> None:
    """Add units until a change of the header that all include is answered provisionally; ask once."""
    units = [f"lib/unit{number}.c" for number in range(12)]
    for number, path in enumerate(units):
        project.write(path, f"#include <linux/box.h>\nint unit{number}(void) {{ return go(0); }}\n")
    build(project, compiled=(*COMPILED, *units), flags=("-Iinclude",))
    asked(project, "go")


def test_a_subsystem_is_cut_and_its_place_is_not(tree: Project) -> None:
    tree.write("MAINTAINERS", "BOXES OF ALL KINDS AND WHAT THEY ARE MADE OF\nM:\tX <x@example.org>\nF:\tlib/\n")
    asked(tree, "box_open")
    for columns, said in (
        (80, "[BOXES OF ALL KINDS AND WHAT THEY ARE MADE OF]"),
        (50, "[BOXES OF ALL …]"),
        (40, ""),
    ):
        _, text = at_a_terminal(tree, "box_open", columns=columns)
        assert f"\n  lib/box.c:4-8  function static  {said}".rstrip() + "\n" in text


def test_somebody_who_watches_gets_a_provisional_answer_first(tree: Project) -> None:
    with_many_units(tree)
    text = (tree.root / "include/linux/box.h").read_text()
    tree.write(
        "include/linux/box.h", text.replace("#endif\n", "static inline int late(void) { return go(0); }\n#endif\n")
    )
    code, said = at_a_terminal(tree, "go", "--callers", columns=100)
    first, mark, then = re.sub(r"\r\x1b\[K[^\n]*?(?=\r|\n|$)", "", said).partition(
        "-- provisional so far; parsing --\n"
    )
    assert (code, bool(mark)) == (0, True), said
    assert "provisional: compile_commands.json\n" in first
    assert then.replace("\r", "").endswith(BUILT) and "provisional" not in then


def test_a_name_that_only_parsing_finds_is_found_although_somebody_watches(tree: Project) -> None:
    with_many_units(tree)
    text = (tree.root / "include/linux/box.h").read_text()
    tree.write("include/linux/box.h", text.replace("#define FACTOR 3", "#define FACTOR 3\nstruct late { int x; };"))
    code, said = at_a_terminal(tree, "struct late")
    assert code == 0 and "no symbol" not in said and "  include/linux/box.h:20  struct\n" in said


# -- Ctrl-C -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path: Path) -> Iterator[Project]:
    """Return a tree whose units take a while to parse."""
    files = {f"lib/unit{n:03}.c": f"#include <stdio.h>\nint unit{n}(void) {{ return {n}; }}\n" for n in range(400)}
    project = make_project(tmp_path, contents=files, trusted=False)
    build(project, compiled=tuple(files), flags=())
    yield project


def units_done(project: Project) -> int:
    """Return how many units are in the graph so far."""
    import apsw

    for path in (project.root / ".git/hmopt/structure").glob("*.sqlite"):
        database = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            return int(database.execute("SELECT count(*) FROM units WHERE state = 'ok'").get)
        except apsw.Error:
            return 0
        finally:
            database.close()
    return 0


def all_began(pid: int) -> bool:
    """Say whether the workers that a process started are past their start: from then on they ignore Ctrl-C."""
    workers = []
    for child in children(pid):
        try:
            if b"--multiprocessing-fork" in (Path("/proc") / str(child) / "cmdline").read_bytes():
                workers.append((Path("/proc") / str(child) / "status").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue
    ignored = [int(line.split()[1], 16) for text in workers for line in text.splitlines() if line.startswith("SigIgn")]
    return bool(ignored) and all(mask >> (signal.SIGINT - 1) & 1 for mask in ignored)


def test_ctrl_c_is_one_line_leaves_nobody_and_the_next_call_goes_on(many: Project) -> None:
    child = subprocess.Popen(
        ["git-hmopt", "graph", "unit7"], cwd=many.root, env=many.environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while units_done(many) < 20 or not all_began(child.pid):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    below = children(child.pid)
    # As a terminal does: every process of the group gets it.
    os.killpg(child.pid, signal.SIGINT)
    said, errors = child.communicate(timeout=60)
    assert (child.returncode, said, errors) == (130, "", "git hmopt: interrupted\n")
    while (left := alive(below)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left == set()
    before = units_done(many)
    assert 20 <= before < 400
    started = time.monotonic()
    assert asked(many, "unit7").endswith(BUILT)
    assert units_done(many) >= 400
    assert time.monotonic() - started < 60


def test_ctrl_c_at_a_terminal_leaves_no_half_line_of_progress(many: Project) -> None:
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        ["git-hmopt", "graph", "unit7"], cwd=many.root, env={**many.environment, "TERM": "xterm"},
        start_new_session=True, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    said = b""
    while b"parsing 20 of " not in said or not all_began(child.pid):
        said += os.read(ours, 4096)
    os.killpg(child.pid, signal.SIGINT)
    while True:
        try:
            said += os.read(ours, 4096)
        except OSError:  # the terminal was closed by its last writer
            break
    os.close(ours)
    assert child.wait(60) == 130
    assert said.endswith(b"\r\x1b[Kgit hmopt: interrupted\r\n"), said[-200:]


# -- git hmopt analyze --static ---------------------------------------------------------------------------------------


def test_what_the_graph_has_is_counted(tree: Project) -> None:
    done = tree.hmopt("analyze", "--static")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.rsplit(None, 1) for line in done.stdout.removesuffix(BUILT).splitlines()]
    counts = {what.strip(): int(number) for what, number in lines}
    assert {"units": 3, "with errors": 0, "that failed": 0, "functions": 8, "structs": 3}.items() <= counts.items()
    relations = {what: number for what, number in counts.items() if what in ("call_static", "call_indirect", "ref")}
    assert relations["call_indirect"] == 1 and sum(relations.values()) < counts["edges"]
    said = json.loads(tree.hmopt("analyze", "--static", "--json").stdout)
    assert (said["v"], said["basis"], said["build"]) == (1, "exact", "compile_commands.json")
    assert (said["statistics"]["units"], said["statistics"]["function"]) == (3, counts["functions"])
    assert said["statistics"]["guards"] == counts["guards"]


def test_what_was_not_parsed_or_not_parsed_again_is_counted_too(tree: Project) -> None:
    tree.write("lib/broken.c", '#include "gone.h"\nint broken(void) { return 1; }\n')
    build(tree, compiled=(*COMPILED, "lib/broken.c"))
    tree.hmopt("analyze", "--static")
    tree.write("kernel/parts.c", "int other(void) { return 2; }\n")
    done = tree.hmopt("analyze", "--static", "--provisional")
    assert re.search(r"^units +4\n  with errors +1\n  that failed +0\n  not parsed again yet +1\n", done.stdout)
    assert done.stdout.endswith("provisional: compile_commands.json\n")
    assert done.stderr.splitlines() == [
        "git hmopt: note: what changed since it was parsed is read as text, for 1 unit",
        "git hmopt: note: parsed with errors, so something may be missing: 1 unit (lib/broken.c)",
    ]


def test_nothing_is_counted_where_nothing_was_built(plain: Project, tree: Project) -> None:
    done = plain.hmopt("analyze", "--static")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == (
        "nothing to count: no build was found\nnext: build the tree and leave a compile_commands.json in it"
        " (Linux: make compile_commands.json), or name one with --build\n"
    )
    done = plain.hmopt("analyze", "--static", "--json")
    assert (done.returncode, json.loads(done.stdout)["statistics"]) == (1, None)
    done = tree.hmopt("analyze", "--static", "--provisional")
    assert (done.returncode, done.stdout) == (
        1, "nothing to count: compile_commands.json was never parsed\nnext: leave out --provisional\n"
    )  # fmt: skip


def test_a_run_and_the_source_exclude_each_other(built: Project) -> None:
    for argv, complaint in (
        (("--static", "x"), "a RUN and --static exclude each other"),
        (("--static", "-n", "3"), "-n and --static exclude each other"),
        (("--build", "x"), "--build is only for --static and --runtime"),
        (("--again",), "are only for --static"),
        (("--static", "--runtime"), "not allowed with argument"),
        (("x", "y"), "one RUN is analysed at a time"),
        (("--static", "--build", "gone"), "there is no '"),
    ):
        done = built.hmopt("analyze", *argv)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (129, "", 1)
        assert complaint in done.stderr


def test_a_second_update_says_that_it_waits(tree: Project) -> None:
    asked(tree, "go")
    (lock,) = (tree.root / ".git/hmopt/structure").glob("*.lock")
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = subprocess.Popen(
            ["git-hmopt", "graph", "go"], cwd=tree.root, env=tree.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert waiting.stderr is not None
        assert waiting.stderr.readline() == (
            "git hmopt: note: another process brings this graph up to date: waiting for it\n"
        )
        assert waiting.poll() is None
    told, _ = waiting.communicate(timeout=60)
    assert (waiting.returncode, told[:2]) == (0, "go")
