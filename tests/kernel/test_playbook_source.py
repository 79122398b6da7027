# SPDX-License-Identifier: Apache-2.0
"""The playbook on a real Linux 6.1 tree: what it finds there computes the same, and checkpatch has nothing to say.

The tree is the persistent base tree that runs built in `build-uml`; it is only read.
"""

from __future__ import annotations

import difflib
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from git_hmopt.agents.playbook.crc_slicing import CrcSlicing
from git_hmopt.agents.playbook.proposer import PlaybookProposer
from git_hmopt.agents.playbook.strategy import Miss, View
from git_hmopt.agents.playbook.word_at_a_time import WordAtATime
from git_hmopt.agents.proposer import Decision, Proposal
from git_hmopt.psg.compile_database import CompileCommand, command_from_cmd_file
from git_hmopt.psg.syntax import syntax
from git_hmopt.psg.unit import Unit, parse_unit
from tests.agents.kernel_tree import Tree, hotspot, judge, make_tree, pack
from tests.agents.test_crc_slicing import DRIVER, STEPS
from tests.kernel.conftest import tree_root

LINUX = tree_root()
pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("crc64_run")]
# (file, function, C type)
CRCS = [
    ("lib/crc64.c", "crc64_be", "u64"),
    ("lib/crc64.c", "crc64_rocksoft_generic", "u64"),
    ("lib/crc16.c", "crc16", "u16"),
    ("lib/crc-itu-t.c", "crc_itu_t", "u16"),
    ("lib/crc-ccitt.c", "crc_ccitt", "u16"),
    ("lib/crc-ccitt.c", "crc_ccitt_false", "u16"),
    ("lib/crc7.c", "crc7_be", "u8"),
    ("crypto/crct10dif_common.c", "crc_t10dif_generic", "u16"),
]
SCANS = [
    ("lib/string.c", "memchr"),
    ("lib/string.c", "memscan"),
    ("lib/string.c", "strnchr"),
    ("lib/string.c", "check_bytes8"),
]


class Linux:
    """The tree as a `Source`, with some files changed; what the build leaves out is compiled as lib/crc64.c is."""

    def __init__(self, changed: Mapping[str, bytes] | None = None) -> None:
        self._changed = dict(changed or {})

    def read(self, path: str) -> bytes | None:
        if path in self._changed:
            return self._changed[path]
        return (LINUX / path).read_bytes() if (LINUX / path).is_file() else None

    def unit(self, path: str) -> Unit:
        model = command_from_cmd_file(LINUX, LINUX / "build-uml", "lib/crc64.c")
        name = Path(path).stem.replace("-", "_")
        words = (word.replace('"crc64"', f'"{name}"') for word in model.arguments[:-1])
        command = CompileCommand(LINUX, model.directory, path, (*words, str(LINUX / path)))
        return parse_unit(command, unsaved=self._changed)

    def closed(self, path: str) -> str | None:
        return None


def seen(file: str, symbol: str, source: Linux) -> View:
    unit = source.unit(file)
    assert unit.errors == 0, unit.diagnostics
    function = unit.function(symbol)
    assert function is not None
    return View(unit, function, syntax(unit, function), hotspot(symbol, file), frozenset(), source)


def propose(symbol: str, file: str, changed: Mapping[str, bytes] | None = None) -> Proposal:
    """Return what the playbook proposes for the only hotspot."""
    source, proposer, given = Linux(changed), PlaybookProposer(), pack(hotspot(symbol, file))
    decision = proposer.decide(given, [], source)
    assert isinstance(decision, Decision), decision
    proposal = proposer.generate(decision, given, source)
    assert isinstance(proposal, Proposal), proposal
    return proposal


def content(proposal: Proposal, file: str) -> bytes:
    found = proposal.edits[file]
    assert found is not None
    return found


def checkpatch(proposal: Proposal, file: str, old: bytes, tmp_path: Path) -> None:
    new = content(proposal, file)
    lines = difflib.unified_diff(
        old.decode().splitlines(keepends=True), new.decode().splitlines(keepends=True), f"a/{file}", f"b/{file}"
    )
    patch = tmp_path / "x.diff"
    person = "Tester <tester@example.org>"
    head = (
        f"From: {person}\nSubject: [PATCH] {proposal.title}\n\n{proposal.rationale}\n\nSigned-off-by: {person}\n---\n"
    )
    patch.write_text(head + "".join(lines))
    command = ["perl", str(LINUX / "scripts/checkpatch.pl"), "--no-tree", "--strict", str(patch)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "0 errors, 0 warnings, 0 checks" in done.stdout, done.stdout


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return make_tree(tmp_path / "tree")


@pytest.mark.parametrize(("file", "symbol", "kind"), CRCS)
def test_crcs_of_lib_are_the_same_and_clean(tree: Tree, tmp_path: Path, file: str, symbol: str, kind: str) -> None:
    old = (LINUX / file).read_bytes()
    proposal = propose(symbol, file)
    assert proposal.strategy == "crc-slicing"
    checkpatch(proposal, file, old, tmp_path)
    new = content(proposal, file)
    driver = DRIVER.replace("TYPE", kind).replace("_sum", f"_{symbol}")
    include = ("-I", str(LINUX / "include"), "-I", str(LINUX / "build-uml/lib"), "-Wno-error", "-w")
    text = judge(tree, f"lib/{Path(file).name}", old, new, driver, rename=symbol, flags=include)
    assert int(text) == STEPS


def test_both_crcs_of_one_file(tree: Tree, tmp_path: Path) -> None:
    file = "lib/crc64.c"
    once = content(propose("crc64_be", file), file)
    second = propose("crc64_rocksoft_generic", file, {file: once})
    checkpatch(second, file, once, tmp_path)
    twice = content(second, file)
    assert twice.count(b"early_initcall(") == 1
    driver = DRIVER.replace("TYPE", "u64").replace("_sum", "_crc64_rocksoft_generic")
    flags = ("-I", str(LINUX / "include"), "-I", str(LINUX / "build-uml/lib"), "-w")
    old = (LINUX / file).read_bytes()
    assert int(judge(tree, file, old, twice, driver, rename="crc64_rocksoft_generic", flags=flags)) == STEPS


@pytest.mark.parametrize(("file", "symbol"), SCANS)
def test_scans_of_lib_are_found_and_clean(tmp_path: Path, file: str, symbol: str) -> None:
    proposal = propose(symbol, file)
    assert proposal.strategy == "word-at-a-time"
    checkpatch(proposal, file, (LINUX / file).read_bytes(), tmp_path)
    again = seen(file, symbol, Linux({file: content(proposal, file)}))
    assert isinstance(WordAtATime().match(again), Miss)


def test_everything_else_in_string_c_is_left_alone() -> None:
    unit = Linux().unit("lib/string.c")
    found = set()
    for function in unit.functions:
        view = View(unit, function, syntax(unit, function), hotspot(function.symbol, unit.file), frozenset(), Linux())
        if not isinstance(WordAtATime().match(view), Miss):
            found.add(function.symbol)
    assert found == {symbol for _, symbol in SCANS}


@pytest.mark.parametrize(
    ("file", "symbol"), [("lib/crc8.c", "crc8"), ("lib/crc4.c", "crc4"), ("lib/crc32.c", "crc32_be_generic")]
)
def test_other_crcs_are_no_byte_table_crcs(file: str, symbol: str) -> None:
    assert isinstance(CrcSlicing().match(seen(file, symbol, Linux())), Miss)
