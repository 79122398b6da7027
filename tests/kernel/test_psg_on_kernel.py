# SPDX-License-Identifier: Apache-2.0
"""The structure of a real Linux tree with a finished GCC build in `build-uml`; nm is the oracle.

The tree is the persistent base tree of the runs; it is only read.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from git_hmopt.errors import ConfigError
from git_hmopt.psg.compile_database import command_from_cmd_file
from git_hmopt.psg.syntax import syntax
from git_hmopt.psg.unit import Unit, parse_unit
from tests.kernel.conftest import tree_root

LINUX = tree_root()
pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("crc64_run")]
FILES = (
    "lib/sort.c",
    "lib/crc64.c",
    "lib/string.c",
    "kernel/sched/core.c",
    "kernel/sched/build_policy.c",
    "kernel/sys.c",
)


def unit(file: str) -> Unit:
    root = LINUX
    return parse_unit(command_from_cmd_file(root, root / "build-uml", file))


@pytest.mark.parametrize("file", FILES)
def test_files_of_a_gcc_build_parse_without_errors_and_with_exact_extents(file: str) -> None:
    found = unit(file)
    assert found.errors == 0, found.diagnostics
    for function in found.functions:
        if not function.from_macro:
            text = found.text(function)
            named = found.sources[function.file][function.name_offset :].startswith(function.symbol.encode())
            assert named or function.name_offset in found.macro_uses[function.file], function.symbol
            assert text.endswith(b"}") and b"{" in text, function.symbol
        assert syntax(found, function).kind == "FUNCTION_DECL"


@pytest.mark.parametrize("file", FILES)
def test_every_function_of_the_object_is_found(file: str) -> None:
    path = LINUX / "build-uml" / Path(file).with_suffix(".o")
    symbols = subprocess.run(["nm", "--defined-only", str(path)], capture_output=True, text=True, check=True).stdout
    names = {line.split()[2].partition(".")[0] for line in symbols.splitlines() if line.split()[1] in "tT"}
    assert names, symbols
    found = unit(file)
    headers = found.parsed.definitions
    missing = {name for name in names if found.function(name) is None and name not in headers}
    # Aliases (SYSCALL_DEFINE's sys_*) are declarations with an attribute, no definitions.
    assert {name for name in missing if not name.startswith(("sys_", "__"))} == set()
    assert len(names - missing) > len(names) / 2


def test_do_swap_is_called_by_sort_r_alone() -> None:
    found = unit("lib/sort.c")
    assert {one.symbol for one in found.functions if any(c.callee == "do_swap" for c in one.calls)} == {"sort_r"}


def test_functions_of_an_included_file_belong_to_it() -> None:
    files = {one.file for one in unit("kernel/sched/build_policy.c").functions}
    assert {"kernel/sched/rt.c", "kernel/sched/idle.c"} <= files


def test_file_that_another_one_includes_has_no_command() -> None:
    with pytest.raises(ConfigError, match=r"did not compile 'kernel/sched/rt\.c'"):
        unit("kernel/sched/rt.c")
