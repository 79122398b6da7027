# SPDX-License-Identifier: Apache-2.0
"""Guards and macros read as text, from files as a kernel has them and from what is none."""

from __future__ import annotations

import time

import pytest

from git_hmopt.psg.directives import Macro, directives, without_comments


def guards(source: str | bytes) -> list[tuple[str, int, int, str]]:
    """Return (knob without CONFIG_, first line, last line, sense) of a source whose conditions all have an end."""
    found = directives(source if isinstance(source, bytes) else source.encode())
    assert found.unbalanced == 0
    return [(one.knob.removeprefix("CONFIG_"), one.first_line, one.last_line, one.sense) for one in found.guards]


def of_condition(condition: str) -> list[tuple[str, str]]:
    """Return (knob, sense) of an #if with one line."""
    found = guards(f"#if {condition}\nx\n#endif\n")
    last = condition.count("\n") + 2
    assert {(first, end) for _, first, end, _ in found} <= {(last, last)}
    return [(knob, sense) for knob, *_, sense in found]


# -- what is wrong with a file ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source", [b"", b"\n", b"\0#if", b"#", b'# 1 "f"\n', b"\xff\xfe#ifdef CONFIG_A\n", b"%:ifdef A"]
)
def test_what_says_nothing(source: bytes) -> None:
    assert directives(source).guards == ()


@pytest.mark.parametrize(
    ("source", "unbalanced", "lines"),
    [
        ("#ifdef CONFIG_A\nx\ny", 1, [("A", 2, 3, "if")]),
        ("#ifdef CONFIG_A\nx\n#ifdef CONFIG_B\ny\n", 2, [("A", 2, 4, "if"), ("B", 4, 4, "if")]),
        ("#endif\n#else\n#elif CONFIG_B\n#ifdef CONFIG_A\nx\n#endif\n", 3, [("A", 5, 5, "if")]),
        ("#ifdef CONFIG_A\nx\n#else\ny", 1, [("A", 2, 2, "if"), ("A", 4, 4, "else")]),
        ("#ifdef CONFIG_A", 1, []),
    ],
)
def test_conditions_without_an_end_go_to_the_end(
    source: str, unbalanced: int, lines: list[tuple[str, int, int, str]]
) -> None:
    found = directives(source.encode())
    assert found.unbalanced == unbalanced
    assert [(g.knob.removeprefix("CONFIG_"), g.first_line, g.last_line, g.sense) for g in found.guards] == lines


@pytest.mark.parametrize(
    "hidden",
    [
        "/* \n#ifdef CONFIG_A\n */",
        "// \\\n#ifdef CONFIG_A",
        '"text \\\n#ifdef CONFIG_A"',
        "'\\\n#ifdef CONFIG_A'",
        "int a; /*\n*/ #ifdef CONFIG_A",
        "/* #endif",
        'x = "IS_ENABLED(CONFIG_A)";',
        "/* IS_ENABLED(CONFIG_A) */",
        "// it's IS_ENABLED(CONFIG_A)",
    ],
    ids=repr,
)
def test_comments_and_strings_hold_no_directives(hidden: str) -> None:
    assert guards(hidden) == []


@pytest.mark.parametrize(
    "before",
    ["#error don't /* do this", "char c = '\"'; /* \" */", "char *s = \"it's\\\"/*\"; char d = '\\'';", "'", '"/*'],
)
def test_quotes_that_do_not_end_reach_to_the_end_of_their_line(before: str) -> None:
    assert guards(f"{before}\n#ifdef CONFIG_A\nx\n#endif\n") == [("A", 3, 3, "if")]


def test_line_ends_of_another_system() -> None:
    source = b'#if defined(CONFIG_A) && \\\r\n\tdefined(CONFIG_B)\r\nx = "\\\r\n";\r\n#endif\r\n#define M \\\r\n 1\r\n'
    assert guards(source) == [("A", 3, 4, "if"), ("B", 3, 4, "if")]
    assert directives(source).macros == (Macro("M", 6, 7, len(source) - 17, len(source) - 2, False),)


def test_a_generated_file_of_100_000_lines_takes_a_second() -> None:
    block = '#ifdef CONFIG_K%d\n#define A%d "x" /* it\'s */\nint f%d(void);\n#else\n#endif /* CONFIG */\n'
    source = "".join(block % (number, number, number) for number in range(20_000)).encode()
    began = time.process_time()
    found = directives(source)
    assert time.process_time() - began < 5
    assert (len(found.guards), len(found.macros), found.guards[-1].last_line) == (20_000, 20_000, 99_998)


@pytest.mark.parametrize(
    "source",
    [
        "#if CONFIG_A\n" + "".join(f"#elif CONFIG_K{number}\nx\n" for number in range(20_000)),
        "#ifdef CONFIG_A\nx\n" * 20_000,
        "#if " + "(!CONFIG_A || " * 20_000,
        "#if " + "\\\n" * 100_000,
        'x = "' + '\\"' * 200_000,
        "'\"" * 200_000,
        "/*" * 200_000,
        "IS_ENABLED(" * 50_000,
    ],
    ids=("elif", "nested", "parentheses", "continued", "string", "quotes", "comment", "asked"),
)
def test_a_hostile_file_takes_a_second(source: str) -> None:
    began = time.process_time()
    directives(source.encode())
    without_comments(source.encode())
    assert time.process_time() - began < 5


# -- conditions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "knobs"),
    [
        ("CONFIG_A", [("A", "if")]),
        ("!CONFIG_A", [("A", "else")]),
        ("! defined ( CONFIG_A )", [("A", "else")]),
        ("!defined CONFIG_A && defined CONFIG_B", [("A", "else"), ("B", "if")]),
        ("defined(CONFIG_A) && !IS_ENABLED(CONFIG_B)", [("A", "if"), ("B", "else")]),
        ("!(defined(CONFIG_A) || !defined(CONFIG_B)) || CONFIG_C", [("A", "else"), ("B", "if"), ("C", "if")]),
        ("!!CONFIG_A", [("A", "if")]),
        ("X != CONFIG_A && CONFIG_B > 2", [("A", "if"), ("B", "if")]),
        ("!X && CONFIG_A", [("A", "if")]),
        ("CONFIG_A_MODULE || defined(CONFIG_A)", [("A", "if")]),
        ("defined(CONFIG_A) /* CONFIG_NOT */ && \\\n CONFIG_B // CONFIG_NOT", [("A", "if"), ("B", "if")]),
        ("defined(CONFIG_A) /* a\n comment */ && CONFIG_B", [("A", "if"), ("B", "if")]),
        ("MY_CONFIG_A + CONFIG_", []),
        (")))CONFIG_A", [("A", "if")]),
    ],
)
def test_a_condition_s_knobs_and_their_senses(condition: str, knobs: list[tuple[str, str]]) -> None:
    assert of_condition(condition) == knobs


def test_branches() -> None:
    source = """#ifdef CONFIG_A
a
#elif defined(CONFIG_B)
b
#elif !defined(CONFIG_C)
c
#else
d
#endif
"""
    assert guards(source) == [
        ("A", 2, 2, "if"), ("B", 4, 4, "if"), ("A", 4, 8, "else"), ("C", 6, 6, "else"), ("B", 6, 8, "else"),
        ("C", 8, 8, "if"),
    ]  # fmt: skip


def test_nested_conditions_and_other_spellings() -> None:
    source = """#ifndef HEADER_H
 # ifdef CONFIG_A
/* c */ #\tifndef CONFIG_B
x
#endif
#elifdef CONFIG_C
y
#elifndef CONFIG_D
z
# endif
#endif
"""
    assert guards(source) == [
        ("A", 3, 5, "if"), ("B", 4, 4, "else"), ("C", 7, 7, "if"), ("A", 7, 9, "else"), ("C", 9, 9, "else"),
        ("D", 9, 9, "else"),
    ]  # fmt: skip


def test_expressions_that_ask() -> None:
    source = """#if IS_ENABLED(CONFIG_NOT)
#endif
int f(void)
{
	if (IS_ENABLED(CONFIG_A) && IS_BUILTIN ( CONFIG_B ) ||
		IS_MODULE(
		CONFIG_C))
		return 1;
}
#define has_d() IS_REACHABLE(CONFIG_D)
"""
    assert guards(source) == [("A", 5, 5, "asked"), ("B", 5, 5, "asked"), ("C", 6, 6, "asked"), ("D", 10, 10, "asked")]


# -- macros -----------------------------------------------------------------------------------------------------------


def test_macros_have_their_lines_and_bytes() -> None:
    source = b"""#define A
 # define twice(x) \\
	((x) + \\
		(x)) /* two
		times */
#define B (1)
#define
#define \\
	C 1
#undef A
"""
    found = directives(source).macros
    assert [(one.name, one.first_line, one.last_line, one.has_parameters) for one in found] == [
        ("A", 1, 1, False), ("twice", 2, 5, True), ("B", 6, 6, False), ("C", 8, 9, False),
    ]  # fmt: skip
    assert source[found[1].start : found[1].end].strip().startswith(b"# define twice(x)")
    assert source[found[1].start : found[1].end].endswith(b"times */")


def test_comments_become_blanks_in_their_place() -> None:
    source = b"a /* b\n c */ \"/* d */\" '\\'' // e\nf /* open"
    assert without_comments(source) == b"a     \n      \"/* d */\" '\\''     \nf        "
