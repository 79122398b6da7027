# SPDX-License-Identifier: Apache-2.0
"""Pages of text: what is in them, and that they do not depend on a build."""

from __future__ import annotations

import time

import pytest

from git_hmopt.psg.chunks import functions
from git_hmopt.psg.text import approximate_page, is_static, text_page
from git_hmopt.store.graph import Page


def symbols(page: Page) -> list[str]:
    """Return what a page defines, in its order."""
    return [row[0] for row in page.definitions]


@pytest.mark.parametrize(
    "source", [b"", b"\0\xff", b"}}}((", b"#ifdef CONFIG_A\n{", b"/*", b"#define", b"f("], ids=repr
)
def test_what_is_no_c_has_a_page(source: bytes) -> None:
    assert symbols(text_page("a.c", source, "d")) == symbols(approximate_page("a.c", source)) == []


def test_functions_are_looked_for_where_a_condition_could_hide_one() -> None:
    hidden = b"#ifdef CONFIG_A\nstatic int f(void) { }\n#endif\nint g(void) { }\n"
    page = text_page("a.c", hidden, "digest")
    assert (page.digest, symbols(page), page.edges) == ("digest", ["a.c:f", "g"], ())
    assert list(page.guards) == [("CONFIG_A", 2, 2, "if")]
    plain = b"#ifdef CONFIG_A\nint x;\n#endif\nint g(void)\n{\n\treturn IS_ENABLED(CONFIG_B);\n}\n"
    assert symbols(text_page("a.c", plain, "digest")) == []


def test_macros_have_their_kind_and_place() -> None:
    (one, other) = text_page("a.h", b"#define A 1\r\n#define b(x) \\\r\n\tx\r\n", "d").definitions
    assert (*one[:6], one[8]) == ("macro A", "macro", 1, 1, 0, 11, "object-like")
    assert (*other[:4], other[8]) == ("macro b", "macro", 2, 3, "function-like")


def test_calls_by_name_reach_the_file_s_own_static_or_the_name() -> None:
    source = b"""static int own(int a) { return a; }
int other(void);
int f(void)
{
	own(1);
	other();
	return own(2) + sizeof(int);
}
int outside = CALL(1);
static int last(void) { return f(); }
"""
    found = {edge[:2]: edge[4:] for edge in approximate_page("lib/a.c", source).edges}
    assert found == {("f", "lib/a.c:own"): (5, 2), ("f", "other"): (6, 1), ("lib/a.c:last", "f"): (10, 1)}


def test_both_sides_of_a_condition_are_read() -> None:
    source = b"#ifdef CONFIG_A\nint f(void) { return a(); }\n#else\nstatic inline int f(void) { return b(); }\n#endif\n"
    page = approximate_page("a.c", source)
    assert symbols(page) == ["f", "a.c:f"]
    assert {edge[:2] for edge in page.edges} == {("f", "a"), ("a.c:f", "b")}


@pytest.mark.parametrize(
    ("head", "static"),
    [
        (b"static int f(void)", True),
        (b"int f(void)", False),
        (b"__section(\".x\") static int f(void)", True),
        (b"int f(int a[static 3])", False),
        (b"static inline struct f_ops *f(void)", True),
        (b"int nonstatic_f(void)", False),
        (b"static DEFINE_HANDLER(f)", True),
    ],
)  # fmt: skip
def test_linkage_is_what_stands_before_the_name(head: bytes, static: bool) -> None:
    (chunk,) = functions(head + b"\n{\n}\n")
    assert is_static(chunk) is static


def test_a_generated_file_of_100_000_lines_takes_seconds() -> None:
    one = b"#ifdef CONFIG_K%d\nstatic int f%d(int a)\n{ g(a); h(a); }\n#define M%d\n#endif\n"
    source = b"".join(one % (number, number, number) for number in range(20_000))
    began = time.process_time()
    page = approximate_page("a.c", source)
    assert time.process_time() - began < 30
    assert (len(page.definitions), len(page.edges), len(page.guards)) == (40_000, 40_000, 20_000)


def test_conditions_around_conditions_take_seconds() -> None:
    source = b"#ifdef CONFIG_A\nint a;\n" * 20_000 + b"#endif\n" * 20_000
    began = time.process_time()
    text_page("a.c", source, "")
    assert time.process_time() - began < 5
