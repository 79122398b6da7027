# SPDX-License-Identifier: Apache-2.0
"""Functions and their comments from a file's text alone, whatever the file holds."""

from __future__ import annotations

import time

import pytest

from git_hmopt.psg.chunks import functions


def named(source: bytes) -> dict[str, str]:
    """Return the comments of a file's functions by name."""
    return {chunk.symbol: chunk.comment for chunk in functions(source)}


def test_a_function_has_its_lines_its_comment_and_its_text() -> None:
    source = (
        b"int x;\n\n/**\n * sort_r - sort an array\n * @base: where\n */\nvoid sort_r(void *base)\n{\n\treturn;\n}\n"
    )
    (chunk,) = functions(source)
    assert (chunk.symbol, chunk.first_line, chunk.last_line) == ("sort_r", 7, 10)
    assert chunk.comment == "sort_r - sort an array\n@base: where"
    assert chunk.code.startswith("void sort_r(") and chunk.code.endswith("}")


@pytest.mark.parametrize(
    ("head", "symbol"),
    [
        (b"static int __init start(void)", "start"),
        (b"asmlinkage __visible void __init start_kernel(void)", "start_kernel"),
        (b"__attribute_const__ __always_inline\nstatic bool is_aligned(const void *b)", "is_aligned"),
        (b"int (*chosen(int a))(int)", "chosen"),
        (b"char *name(void)", "name"),
        (b"SYSCALL_DEFINE3(setpriority, int, which, int, who, int, niceval)", "setpriority"),
        (b"DEFINE_HANDLER(handle)", "handle"),
    ],
)
def test_heads_as_a_kernel_writes_them(head: bytes, symbol: str) -> None:
    assert named(b"/* why */\n" + head + b"\n{\n\tint a;\n}\n") == {symbol: "why"}


@pytest.mark.parametrize(
    "between", [b"\nint other;\n", b"\n#define X 1\n", b"\nstruct a { int b; };\n", b"\n\n\n\n\n"], ids=repr
)
def test_the_comment_of_something_else_is_not_the_functions(between: bytes) -> None:
    assert named(b"/* other */" + between + b"void f(void) { }\n") == {"f": ""}


def test_line_comments_below_one_another_are_one() -> None:
    assert named(b"// not this\n\n\n// first\n// second\nvoid f(void) { }\n") == {"f": "first\nsecond"}


@pytest.mark.parametrize("source", [b"", b"\0\0\0", b"}}}}((((", b"/* open", b"\xff\xfe{", b"{" * 50_000], ids=repr)
def test_what_is_no_c_has_no_functions(source: bytes) -> None:
    assert functions(source) == []


def test_a_file_in_another_encoding_is_read() -> None:
    (chunk,) = functions("/* gr\xf6\xdfer */\nint f(void) { return 'ä'; }\n".encode("latin-1"))
    assert (chunk.symbol, chunk.comment) == ("f", "gr\ufffd\ufffder")


def test_a_file_of_100_000_lines_takes_seconds() -> None:
    one = b"/* adds */\nstatic int f%d(int a)\n{\n\treturn a + 1;\n}\n"
    source = b"".join(one % number for number in range(20_000))
    began = time.process_time()
    found = functions(source)
    assert time.process_time() - began < 30
    assert [chunk.symbol for chunk in found] == [f"f{number}" for number in range(20_000)]
    assert found[-1].last_line == 100_000
    assert {chunk.comment for chunk in found} == {"adds"}
