# SPDX-License-Identifier: Apache-2.0
"""Compile commands: both sources of them, every way they can be wrong, and what the parser is given of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from git_hmopt.errors import ConfigError, MissingProgramError
from git_hmopt.psg.arguments import parser_arguments, target_of
from git_hmopt.psg.compile_database import CompileCommand, command_from_cmd_file, defines, load_database


def database(tmp_path: Path, *entries: dict[str, object]) -> Path:
    path = tmp_path / "compile_commands.json"
    path.write_text(json.dumps(entries))
    return path


def test_entries_are_found_below_the_root(tmp_path: Path) -> None:
    build = tmp_path / "build"
    path = database(
        tmp_path,
        {"directory": str(build), "file": "../lib/a.c", "command": "gcc -DX='\"a b\"' -c ../lib/a.c"},
        {"directory": str(build), "file": str(tmp_path / "b.c"), "arguments": ["gcc", "-c", "b.c"]},
        {"directory": str(build), "file": "/elsewhere/c.c", "command": "gcc -c c.c"},
        {"directory": str(build), "file": "../lib/a.c", "command": "hostcc -c ../lib/a.c"},
    )
    found = load_database(path, root=tmp_path)
    assert found.files == ("b.c", "lib/a.c")
    assert found.outside == 1
    command = found.command("lib/a.c")
    assert command.arguments == ("gcc", '-DX="a b"', "-c", "../lib/a.c")
    assert command.path == tmp_path / "lib/a.c"
    assert command.directory == build


def test_tree_behind_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    path = database(tmp_path, {"directory": "/", "file": str(tmp_path / "real/a.c"), "command": "gcc -c a.c"})
    assert load_database(path, root=tmp_path / "link").files == ("a.c",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a compile database"),
        ("{}", "expected a list, found dict"),
        ("[1]", "entry 0 has no 'file'"),
        ('[{"file": "a.c"}]', r"entry 0 \(a.c\) has no 'directory'"),
        ('[{"file": "a.c", "directory": "/"}]', "neither 'command' nor 'arguments'"),
        ('[{"file": "a.c", "directory": "/", "arguments": [1]}]', "neither 'command' nor 'arguments'"),
        ('[{"file": "a.c", "directory": "/", "command": "gcc \\"a"}]', "cannot be split"),
    ],
)
def test_what_is_no_database(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "compile_commands.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_database(path, root=tmp_path)


def test_missing_database_and_missing_entry_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no compile database at .*gen_compile_commands"):
        load_database(tmp_path / "none.json", root=tmp_path)
    found = load_database(database(tmp_path), root=tmp_path)
    with pytest.raises(ConfigError, match=r"has no entry for 'lib/x.c'; enable it"):
        found.command("lib/x.c")


@pytest.mark.parametrize("key", ["cmd", "savedcmd"])
def test_command_that_kbuild_left(tmp_path: Path, key: str) -> None:
    (tmp_path / "build/lib").mkdir(parents=True)
    (tmp_path / "build/lib/.a-b.o.cmd").write_text(
        f"{key}_lib/a-b.o := gcc -DNAME='\"a$$b\"' -DHASH=\\# -DPOUND=$(pound) -c -o lib/a-b.o ../lib/a-b.c ; "
        "./tools/objtool/objtool --hacks lib/a-b.o\n\nsource_lib/a-b.o := ../lib/a-b.c\n"
    )
    command = command_from_cmd_file(tmp_path, tmp_path / "build", "lib/a-b.c")
    assert command.arguments[:4] == ("gcc", '-DNAME="a$b"', "-DHASH=#", "-DPOUND=#")
    assert command.arguments[-1] == "../lib/a-b.c"
    assert defines(command.arguments) == {"NAME": '"a$b"', "HASH": "#", "POUND": "#"}


@pytest.mark.parametrize("text", ["", "source_x := 1\n", "cmd_lib/a.o := \n"])
def test_cmd_file_without_a_command(tmp_path: Path, text: str) -> None:
    (tmp_path / ".a.o.cmd").write_text(text)
    with pytest.raises(ConfigError, match="command; rebuild the object"):
        command_from_cmd_file(tmp_path, tmp_path, "a.c")


def test_file_that_was_not_compiled(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"did not compile 'lib/a.c': no lib/.a.o.cmd; enable it"):
        command_from_cmd_file(tmp_path, tmp_path / "build", "lib/a.c")


def arguments(tmp_path: Path, *words: str) -> CompileCommand:
    return CompileCommand(tmp_path, tmp_path, "a.c", words)


def test_what_only_gcc_understands_is_found_out_and_named(tmp_path: Path) -> None:
    words = "gcc -Wp,-MMD,x.d -nostdinc -I inc -Wall -O2 -fconserve-stack -fno-allow-store-data-races -fno-common"
    found = parser_arguments(arguments(tmp_path, *words.split(), "-c", "-o", "a.o", "a.c"))
    assert found.refused == ("-fconserve-stack", "-fno-allow-store-data-races")
    assert found.accepted == (
        "-w", f"-working-directory={tmp_path}", "-nostdinc", "-I", "inc", "-O2", "-fno-common"
    )  # fmt: skip


def test_compilers_own_headers_come_along_unless_told_otherwise(tmp_path: Path) -> None:
    accepted = parser_arguments(arguments(tmp_path, "gcc", "-c", "a.c")).accepted
    assert accepted[-2] == "-isystem"
    assert (Path(accepted[-1]) / "stddef.h").is_file()
    with pytest.raises(MissingProgramError):
        parser_arguments(arguments(tmp_path, "no-such-gcc", "-c", "a.c"))
    assert "-isystem" not in parser_arguments(arguments(tmp_path, "clang", "-c", "a.c")).accepted


def test_plugin_is_never_loaded(tmp_path: Path) -> None:
    found = parser_arguments(arguments(tmp_path, "gcc", "-nostdinc", "-fplugin=/nonexistent/x.so", "a.c"))
    assert not any(word.startswith("-fplugin") for word in (*found.accepted, *found.refused))


@pytest.mark.parametrize(
    ("compiler", "target"),
    [
        ("gcc", None), ("/usr/bin/gcc-12", None), ("cc", None), ("clang", None),
        ("aarch64-linux-gnu-gcc", "aarch64-linux-gnu"), ("/opt/x/arm-none-eabi-gcc-13.2", "arm-none-eabi"),
        ("x86_64-pc-linux-gnu-gcc", "x86_64-pc-linux-gnu"),
    ],
)  # fmt: skip
def test_target_comes_from_the_cross_compilers_name(compiler: str, target: str | None) -> None:
    assert target_of(compiler) == target


def test_flag_that_only_the_target_knows_is_probed_for_the_target(tmp_path: Path) -> None:
    words = ("aarch64-linux-gnu-gcc", "-nostdinc", "-mgeneral-regs-only", "-mabi=lp64", "a.c")
    found = parser_arguments(arguments(tmp_path, *words))
    assert found.accepted[0] == "--target=aarch64-linux-gnu"
    native = parser_arguments(arguments(tmp_path, "gcc", *words[1:]))
    assert "-mabi=lp64" in native.refused
    assert "-mgeneral-regs-only" in found.accepted
