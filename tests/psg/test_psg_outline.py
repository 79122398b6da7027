# SPDX-License-Identifier: Apache-2.0
"""Parsing in a process of its own: the same answer, and a crash, a hang or a missing file that ends nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_hmopt.psg.compile_database import CompileCommand
from git_hmopt.psg.outline import Outline, outline_of
from git_hmopt.psg.unit import parse_unit
from git_hmopt.psg.workers import outlined

MAIN = b'#include "h.h"\nstatic int f(int a)\n{\n\treturn a + ONE;\n}\nint g(void) { return f(1); }\n'
CRASH = b"int f(int a) { return " + b"- " * 50_000 + b"a; }\n"


@pytest.fixture
def command(tmp_path: Path) -> CompileCommand:
    (tmp_path / "main.c").write_bytes(MAIN)
    (tmp_path / "h.h").write_bytes(b"#define ONE 1\n")
    return CompileCommand(tmp_path, tmp_path, "main.c", ("gcc", "-c", "main.c"))


def test_an_outline_is_what_the_unit_says(command: CompileCommand) -> None:
    (told,) = outlined([command], {}, seconds=60)
    assert isinstance(told, Outline) and told == outline_of(parse_unit(command))
    assert told.text(told.functions[0]).endswith(b"ONE;\n}")


def test_contents_that_are_not_saved_are_parsed(command: CompileCommand) -> None:
    (told,) = outlined([command], {"h.h": b"#define ONE one\n"}, seconds=60)
    assert isinstance(told, Outline)
    assert [one.text for one in told.diagnostics] == ["use of undeclared identifier 'one'"]


def test_a_crash_is_that_files_alone(command: CompileCommand) -> None:
    other = CompileCommand(command.root, command.root, "other.c", ("gcc", "-c", "other.c"))
    told = outlined([command, other, command], {"other.c": CRASH}, seconds=60)
    assert isinstance(told[0], Outline) and isinstance(told[2], Outline)
    assert isinstance(told[1], str) and "libclang crashed" in told[1]


def test_a_hang_ends(command: CompileCommand) -> None:
    command.path.unlink()
    os.mkfifo(command.path)  # nobody writes to it
    assert outlined([command], {}, seconds=1) == ["libclang did not finish within 1 seconds"]


def test_a_file_that_is_not_there_is_told(command: CompileCommand) -> None:
    gone = CompileCommand(command.root, command.root, "gone.c", ("gcc", "-c", "gone.c"))
    (told,) = outlined([gone], {}, seconds=60)
    assert isinstance(told, str) and "gone.c" in told
    assert outlined([], {}, seconds=60) == []
