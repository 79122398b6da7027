# SPDX-License-Identifier: Apache-2.0
"""Whole-function answers over the functions of a real lib/: a function's own text gives the same bytes.

The tree is the persistent base tree that runs built in `build-uml`; it is only read.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from git_hmopt.agents.answer_format import FunctionBlock
from git_hmopt.agents.lines import TextFile
from git_hmopt.agents.splice import Splice, splice
from git_hmopt.psg.compile_database import CompileCommand, command_from_cmd_file
from git_hmopt.psg.edit import replace
from git_hmopt.psg.unit import parse_unit

pytestmark = pytest.mark.kernel
EVERY = 6
"""One file in so many; each is compiled as lib/sort.c is."""


def test_a_functions_own_text_gives_the_same_bytes(sort_tree: Path) -> None:
    same, refused = own_texts(sort_tree)
    print(f"{same} functions of lib/ given back, {len(refused)} refused: {refused}")
    assert same > 200 and len(refused) < same / 50


def own_texts(root: Path) -> tuple[int, list[str]]:
    """Return how many functions were put in their own place, and which could not be; fails where a byte changes."""
    same, refused = 0, []
    model = command_from_cmd_file(root, root / "build-uml", "lib/sort.c")
    for path in sorted((root / "lib").glob("*.c"))[::EVERY]:
        file = TextFile(f"lib/{path.name}", path.read_bytes())
        unit = parse_unit(CompileCommand(root, model.directory, file.path, (*model.arguments[:-1], str(path))))
        for one in unit.functions:
            if one.from_macro or one.file != file.path:
                continue
            text = unit.text(one).decode(file.encoding)
            found = splice(FunctionBlock(file.path, one.symbol, f"{text}\n", 1), file, unit)
            if isinstance(found, Splice):
                assert replace(file.data, found.edits) == file.data, f"{file.path}: {one.symbol}"
                same += 1
            else:
                refused.append(f"{file.path}: {one.symbol}: {found.what[:100]}")
    return same, refused
