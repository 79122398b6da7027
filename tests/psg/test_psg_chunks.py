# SPDX-License-Identifier: Apache-2.0
"""Functions and their comments from a file's text alone, whatever the file holds."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_hmopt.psg.chunks import calls, comment_before, declarations, functions, items, spans, words


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


# -- declarations and calls -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "declared"),
    [
        (b"static int a, *b = &a, c[3];", ["variable a", "variable b", "variable c"]),
        (b"int (*open)(void), announced(void);", ["variable open"]),
        (b"void (*signal(int a, void (*h)(int)))(int);", []),
        (b"int (*(*table[3])(int))(void);", ["variable table"]),
        (b"typedef int (*call_t)(int); typedef int plain_t(int);", ["typedef call_t", "typedef plain_t"]),
        (b"typedef struct box { int x; } box_t, *pbox;", ["struct box", "typedef box_t", "typedef pbox"]),
        (b"struct later; struct later *p;", ["variable p"]),
        (b"struct a { struct b { int y; } in; union { int q; } u; } c;", ["struct a", "struct b", "variable c"]),
        (b"enum { A }; enum colour { RED };", ["enum colour"]),
        (b"static int __read_mostly a = 3;\nint b __aligned(8);", ["variable a", "variable b"]),
        (b"struct s { int x; } __packed __aligned(sizeof(int)) v;", ["struct s", "variable v"]),
        (b"static LIST_HEAD(head);", ["variable head"]),
        (b"#ifdef A\nint a;\n#else\nlong a;\n#endif\n", ["variable a", "variable a"]),
        (b'extern "C" { int a; }', ["variable a"]),
        (b"int f(void) { int a; struct b { int c; }; }", []),
        (b"SYSCALL_DEFINE1(f, int, x)\n{\n\tint a;\n}\n", []),
        (b"int a = ({ int b = 1; b; });", ["variable a"]),
        (b"int \xff;", []),
        (b"", []),
    ],
    ids=repr,
)  # fmt: skip
def test_what_a_file_declares(source: bytes, declared: list[str]) -> None:
    assert sorted(f"{one.kind} {one.name}" for one in declarations(source)) == declared


def test_a_declaration_has_its_lines_and_its_text() -> None:
    (one,) = declarations(b"/* why */\nstatic int __read_mostly\n\ta = 1; /* end */\n")
    assert (one.first_line, one.last_line, one.text) == (2, 3, "static int __read_mostly\n\ta = 1;")


def test_calls_are_names_before_parentheses() -> None:
    source = b"int f(void)\n{\n\tg(h(1));\n\tp->open(2);\n\t(*q)(3);\n\treturn sizeof(int) + M(4);\n}\n"
    assert sorted(calls(source)) == [("M", 6), ("g", 3), ("h", 3)]


def test_declarations_and_calls_of_100_000_lines_take_seconds() -> None:
    one = b"struct s%d {\n\tint a;\n};\nstatic int f%d(void) { int b; return g(b); }\n\n"
    source = b"".join(one % (number, number) for number in range(20_000))
    began = time.process_time()
    assert len(declarations(source)) == len(calls(source)) == 20_000
    assert len(declarations(b"{" * 50_000 + b"int a;" * 1000)) < 1001
    assert time.process_time() - began < 30


SPLIT = b"""/* Before. */
int first(void) { return 1; }

// One
// two.
static __init int second(int a)
{
\treturn a;
}
#ifdef X
int twin(void) { return 1; }
#else
int twin(void) { return 2; }
#endif
"""


def test_spans_are_on_all_sides_of_a_condition() -> None:
    assert [SPLIT[one.start : one.end] for one in spans(SPLIT, "twin")] == [
        b"int twin(void) { return 1; }",
        b"int twin(void) { return 2; }",
    ]
    (one,) = spans(SPLIT, "second")
    assert SPLIT[one.body_start : one.end] == b"{\n\treturn a;\n}"
    assert spans(SPLIT, "third") == []


def test_the_place_of_the_comment_that_leads_a_function() -> None:
    found = comment_before(SPLIT, SPLIT.index(b"static __init"))
    assert found is not None and SPLIT[slice(*found)] == b"// One\n// two."
    assert comment_before(SPLIT, SPLIT.index(b"int twin")) is None


def test_the_items_of_a_piece_of_c() -> None:
    text = b"/* c */\nstatic const int t[] = { 1 };\nstatic int f(int a)\n{\n\treturn t[a];\n}\n#define X 1\n"
    found = [(one.kind, one.symbol, text[one.start : one.end]) for one in items(text)]
    assert found == [
        ("comment", "", b"/* c */"),
        ("declaration", "", b"static const int t[] = { 1 };"),
        ("function", "f", b"static int f(int a)\n{\n\treturn t[a];\n}"),
        ("other", "", b"#define X 1\n"),
    ]
    assert text[found_body(text) :].startswith(b"{\n\treturn")


def found_body(text: bytes) -> int:
    return next(one.body_start for one in items(text) if one.kind == "function")


@pytest.mark.parametrize(
    "head",
    [
        b"SYSCALL_DEFINE2(read, int, fd,\n\tchar *, to)",
        b"static int __printf(4, 0) __init\nf(int a, ...)",
        b"DEFINE(f)",
    ],
)
def test_a_head_that_is_known_needs_no_sense(head: bytes) -> None:
    text = b"/* c */\n" + b" ".join(head.split()) + b"\n{\n\tint a;\n\n\tif (a)\n\t\tx(a);\n\treturn 1;\n}\n"
    assert [(one.kind, one.symbol) for one in items(text, head=head, symbol="f")] == [
        ("comment", ""),
        ("function", "f"),
    ]


def test_words_are_equal_where_only_spacing_and_comments_differ() -> None:
    assert words(b"int f(int a, /* x */ int b)\n") == words(b"int f( int a,\n\tint b )")
    assert words(b"int f(int a)") != words(b"intf(int a)")


@given(st.binary(max_size=200), st.binary(max_size=20))
def test_any_bytes_are_taken_apart(text: bytes, head: bytes) -> None:
    found = items(text, head=head, symbol="f")
    assert all(a.end <= b.start for a, b in pairwise(found))
    assert all(0 <= one.start <= one.end <= len(text) for one in found)
    comment_before(text, len(text) // 2)
    spans(text, "f")
