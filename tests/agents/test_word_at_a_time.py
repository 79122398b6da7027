# SPDX-License-Identifier: Apache-2.0
"""Word-wise scans: every position, alignment and length gives the same answer, and nothing behind the end is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_hmopt.agents.playbook.strategy import Miss
from git_hmopt.agents.playbook.word_at_a_time import HELPER, WordAtATime
from tests.agents.kernel_tree import Tree, judge, make_tree, rewritten, view

HEAD = """// SPDX-License-Identifier: GPL-2.0
#include <linux/types.h>

#define EX 'x'
#define IS_X(value) ((value) == EX)

"""
SIGNATURE = "const void *seek(const u8 *p, const u8 *q, int c, size_t n)"
# Buffers of two values, so that runs are long; one that ends at a page nobody may read, and a length that lies.
DRIVER = f"""
{SIGNATURE.replace("seek", "old_seek")};
{SIGNATURE.replace("seek", "new_seek")};
int main(void)
{{
	u8 *end = guarded(), *other = guarded();
	size_t n, offset, turn;

	for (n = 0; n < 70; n++) {{
		for (offset = 0; offset < 17; offset++) {{
			for (turn = 0; turn < 40; turn++) {{
				u8 *p = end - n - offset, *q = other - n - offset;
				int c = turn & 1 ? 'x' : 0xf3;

				memset(p, turn & 2 ? c : c ^ 1 << turn % 8, n);
				memcpy(q, p, n);
				if (n && turn > 4)
					p[rnd() % n] = turn & 4 ? c : rnd();
				if (n && turn > 20)
					q[rnd() % n] = c;
				if (old_seek(p, q, c + (turn & 8 ? 0x100 : 0), n) != new_seek(p, q, c + (turn & 8 ? 0x100 : 0), n)) {{
					printf("differs at length %zu, offset %zu, turn %zu\\n", n, offset, turn);
					return 1;
				}}
			}}
		}}
	}}
	printf("%lu\\n", fast_loads);
	return 0;
}}
"""

SCANS = {
    "counted down in the condition": (
        "while (n-- != 0) {\n\t\tif ((unsigned char)c == *p++)\n\t\t\treturn p - 1;\n\t}\n\treturn NULL;"
    ),
    "counted down in the body": (
        "while (n) {\n\t\tif (*p == (unsigned char)c)\n\t\t\treturn p;\n\t\tp++;\n\t\tn--;\n\t}\n\treturn p;"
    ),
    "first byte that differs from the value": (
        "u8 value = c;\n\n\twhile (n) {\n\t\tif (*p != value)\n\t\t\treturn p;\n\t\tp++;\n\t\tn--;\n\t}\n\treturn NULL;"
    ),
    "indexed": (
        "size_t i;\n\n\tfor (i = 0; i < n; i++)\n\t\tif (p[i] == (u8)c)\n\t\t\treturn p + i;\n\treturn NULL;"
    ),
    "indexed in braces": (
        "size_t i;\n\n\tfor (i = 0; i < n; i++) {\n\t\tif (p[i] == (u8)c) {\n\t\t\tn = i;\n\t\t\tbreak;\n"
            "\t\t}\n\t}\n\treturn p + n;"
    ),
    "indexed by an int": (
        "int i, m = n;\n\n\tfor (i = 0; i < m; i++) {\n\t\tif (p[i] == 'x')\n\t\t\tgoto out;\n\t}\nout:\n"
            "\treturn p + i;"
    ),
    "counted down by an int": (
        "int m = n;\n\n\tfor (; m > 0; m--, p++)\n\t\tif (*p == 'x')\n\t\t\tbreak;\n\treturn p + m;"
    ),
    "up to the end": (
        "const u8 *end = p + n;\n\n\tfor (; p < end; p++)\n\t\tif (*p == 'x')\n\t\t\tbreak;\n\treturn p;"
    ),
    "zero byte": "for (; n; n--, p++) {\n\t\tif (!*p)\n\t\t\tbreak;\n\t}\n\treturn p;",
    "byte that is not zero": "for (; n; n--, p++) {\n\t\tif (*p)\n\t\t\tbreak;\n\t}\n\treturn p;",
    "signed characters": (
        "const signed char *s = (const void *)p;\n\n\twhile (n--) {\n\t\tif (*s == (signed char)c)\n"
            "\t\t\treturn s;\n\t\ts++;\n\t}\n\treturn NULL;"
    ),
    "byte or zero": (
        "const signed char *s = (const void *)p;\n\n\twhile (n--) {\n\t\tif (*s == (signed char)c)\n\t\t\treturn s;\n"
        "\t\tif (*s++ == '\\0')\n\t\t\tbreak;\n\t}\n\treturn NULL;"
    ),
    "two buffers": (
        "while (n--) {\n\t\tif (*p != *q)\n\t\t\treturn p;\n\t\tp++;\n\t\tq++;\n\t}\n\treturn NULL;"
    ),
    "two buffers by index": (
        "size_t i;\n\n\tfor (i = 0; i != n; ++i)\n\t\tif (p[i] != q[i])\n\t\t\tbreak;\n\treturn p + i;"
    ),
    "inside another loop": (
        "const void *found = NULL;\n\tint k;\n\n\tfor (k = 0; k < 2; k++) {\n\t\tconst u8 *s = k ? q : p;\n"
            "\t\tsize_t m;\n\n"
        "\t\tfor (m = n; m; m--) {\n\t\t\tif (*s == (u8)c)\n\t\t\t\tbreak;\n\t\t\ts++;\n\t\t}\n"
            "\t\tfound = s;\n\t}\n\treturn found;"
    ),
    "byte that is not minus one": (
        "const signed char *s = (const void *)p;\n\n\tfor (; n; n--, s++)\n\t\tif (*s != -13)\n"
            "\t\t\tbreak;\n\treturn s;"
    ),
    "bound that is no single word": (
        "int i, m = n;\n\n\tif (m < (32 | 7))\n\t\treturn p;\n\tfor (i = 0; i < (32 | 7); i++)\n"
            "\t\tif (p[i] == 'x')\n\t\t\tbreak;\n\treturn p + i;"
    ),
    "constant in a macro": (
        "while (n--) {\n\t\tif (IS_X(*p))\n\t\t\treturn p;\n\t\tp++;\n\t}\n\treturn NULL;"
    ),
    "named constant": (
        "for (; n; n--, p++)\n\t\tif (*p != EX)\n\t\t\tbreak;\n\treturn p;"
    ),
    "comment beside the brace": (
        "while (n--) { /* all */\n\t\tif (*p == 'x')\n\t\t\treturn p;\n\t\tp++;\n\t}\n\treturn NULL;"
    ),
    "last byte seen": (
        "u8 seen = 0;\n\n\twhile (n--) {\n\t\tseen = *p;\n\t\tif (seen == 'x')\n\t\t\tbreak;\n"
            "\t\tp++;\n\t}\n\treturn p + seen;"
    ),
    "through a copy": (
        "while (n--) {\n\t\tu8 seen;\n\n\t\tseen = *p;\n\t\tif (seen == 'x')\n\t\t\tbreak;\n\t\tp++;\n\t}\n\treturn p;"
    ),
}  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return make_tree(tmp_path)


def source(body: str) -> str:
    return f"{HEAD}/* Seek. */\n{SIGNATURE}\n{{\n\t{body}\n}}\n"


@pytest.mark.parametrize("scan", SCANS)
def test_scans_give_the_same_answers(tree: Tree, scan: str) -> None:
    text = source(SCANS[scan])
    tree.write("lib/seek.c", text)
    new = rewritten(WordAtATime(), view(tree, "lib/seek.c", "seek")).edits["lib/seek.c"]
    printed = judge(tree, "lib/seek.c", text.encode(), new, DRIVER, rename="seek")
    assert int(printed) > 1_000  # words were read, many of them


@pytest.mark.parametrize(
    ("condition", "value"),
    [
        ("*p != 'x'", "'x'"), ("*p != EX", "EX"), ("(signed char)*p != -13", "0xf3"), ("*p != 200", "200"),
        ("(signed char)*p != '\\xf3'", "0xf3"), ("!IS_X(*p)", None), ("*p != (unsigned char)c", "(unsigned char)c"),
        ("*p != (c & 0x7f)", "(u8)(c & 0x7f)"),
    ],
)  # fmt: skip
def test_the_value_is_repeated_as_a_byte(tree: Tree, condition: str, value: str | None) -> None:
    """REPEAT_BYTE multiplies: of -13 it makes a word that no thirteen, negative or not, is found in."""
    tree.write("lib/seek.c", source(f"for (; n; n--, p++)\n\t\tif ({condition})\n\t\t\tbreak;\n\treturn p;"))
    seen = view(tree, "lib/seek.c", "seek")
    if value is None:
        assert isinstance(WordAtATime().match(seen), Miss)
    else:
        assert f" == REPEAT_BYTE({value})" in rewritten(WordAtATime(), seen).edits["lib/seek.c"].decode()


def test_length_that_lies_stays_within_the_page(tree: Tree) -> None:
    text = source(SCANS["counted down in the condition"])
    tree.write("lib/seek.c", text)
    new = rewritten(WordAtATime(), view(tree, "lib/seek.c", "seek")).edits["lib/seek.c"]
    driver = DRIVER[: DRIVER.index("int main")] + (
        "int main(void)\n{\n\tu8 *end = guarded();\n\tsize_t offset;\n\n\tmemset(end - 200, 1, 199);\n"
        "\tend[-1] = 'x';\n"
        "\tfor (offset = 1; offset < 200; offset++)\n"
        "\t\tif (new_seek(end - offset, 0, 'x', ~(size_t)0) != end - 1)\n\t\t\treturn 1;\n"
        '\tprintf("%lu", fast_loads + !!old_seek);\n\treturn 0;\n}\n'
    )
    assert int(judge(tree, "lib/seek.c", text.encode(), new, driver, rename="seek")) > 1000


def test_includes_and_helper(tree: Tree) -> None:
    tree.write("lib/seek.c", "#ifdef CONFIG_SEEK\n#endif\n" + source(SCANS["counted down in the condition"]))
    new = rewritten(WordAtATime(), view(tree, "lib/seek.c", "seek")).edits["lib/seek.c"].decode()
    assert (
        "#include <linux/align.h>\n#include <linux/compiler.h>\n#include <linux/kernel.h>\n#include <linux/types.h>\n"
        in new
    )
    assert new.index(HELPER) < new.index("/* Seek. */")


def test_helper_is_shared_and_stands_outside_conditions(tree: Tree) -> None:
    body = SCANS["counted down in the condition"]
    second = source(body).removeprefix(HEAD).replace("*seek(", "*find(")
    first = source(body).removeprefix(HEAD)
    tree.write("lib/seek.c", f"{HEAD}#ifndef HAVE_FIND\n{second}#endif\n\n#ifndef HAVE_SEEK\n{first}#endif\n")
    once = rewritten(WordAtATime(), view(tree, "lib/seek.c", "seek")).edits["lib/seek.c"]
    tree.write("lib/seek.c", once)
    twice = rewritten(WordAtATime(), view(tree, "lib/seek.c", "find")).edits["lib/seek.c"].decode()
    assert twice.count(HELPER) == 1
    assert twice.index(HELPER) < twice.index("#ifndef HAVE_FIND")
    tree.write("lib/seek.c", twice)
    assert isinstance(WordAtATime().match(view(tree, "lib/seek.c", "find")), Miss)


MISSES = {
    "an int that need not be a byte": ("while (n--) {\n\t\tif (*p == c)\n\t\t\treturn p;\n"
        "\t\tp++;\n\t}", "need not fit"),
    "a changing value": ("while (n--) {\n\t\tif (*p == (u8)c)\n\t\t\treturn p;\n\t\tp++;\n"
        "\t\tc++;\n\t}", "changes in the loop"),
    "the next byte": ("while (n--) {\n\t\tif (p[1] == (u8)c)\n\t\t\treturn p;\n\t\tp++;\n\t}", "byte by byte"),
    "two at a time": ("while (n--) {\n\t\tif (*p == (u8)c)\n\t\t\treturn p;\n\t\tp += 2;\n\t}", "byte by byte"),
    "an else": (
        "while (n--) {\n\t\tif (*p == (u8)c)\n\t\t\treturn p;\n\t\telse\n\t\t\tp++;\n\t}", "does not just leave",
    ),
    "no exit": ("while (n--) {\n\t\tif (*p == (u8)c)\n\t\t\tq = p;\n\t\tp++;\n\t}", "does not just leave"),
    "a call": ("while (n--) {\n\t\tif (*p == (u8)c)\n\t\t\treturn p;\n\t\tcall();\n"
        "\t\tp++;\n\t}", "whose body is not in"),
    "less than": ("while (n--) {\n\t\tif (*p < (u8)c)\n\t\t\treturn p;\n\t\tp++;\n\t}", "not modelled"),
    "backwards": ("while (n--) {\n\t\tif (*p == (u8)c)\n\t\t\treturn p;\n\t\tp--;\n\t}", "byte by byte"),
    "volatile": (
        "while (n--) {\n\t\tif (*(volatile u8 *)p == (u8)c)\n\t\t\treturn p;\n\t\tp++;\n\t}", "volatile",
    ),
    "no count": ("while (*p != (u8)c)\n\t\tp++;", "no simple count"),
    "equal bytes of two buffers": (
        "while (n--) {\n\t\tif (*p == *q)\n\t\t\treturn p;\n\t\tp++;\n\t\tq++;\n\t}", "that two buffers share",
    ),
    "an initialised copy": (
        "while (n--) {\n\t\tu8 seen = *p++;\n\n\t\tif (seen == 'x')\n"
            "\t\t\tbreak;\n\t}", "declares a variable with a value",
    ),
    "a narrow counter": (
        "u8 m = n;\n\n\tfor (; m; m--, p++)\n\t\tif (*p == 'x')\n\t\t\tbreak;", "wrap around",
    ),
    "a byte remembered from the turn before": (
        "u8 before = 0, now = 0;\n\n\twhile (n--) {\n\t\tbefore = now;\n\t\tnow = *p;\n\t\tif (now == 'x')\n"
            "\t\t\treturn p + before;\n\t\tp++;\n\t}", "'now' goes from turn to turn",
    ),
    "a sum of the bytes": (
        "u8 sum = 0;\n\n\twhile (n--) {\n\t\tsum ^= *p;\n\t\tif (*p == 'x')\n"
            "\t\t\treturn p + sum;\n\t\tp++;\n\t}", "'sum' goes from turn to turn",
    ),
    "a pointer that is set anew": (
        "int i = 0;\n\n\twhile (n--) {\n\t\tif (p[i] == 'x')\n\t\t\treturn p + i;\n"
            "\t\ti++;\n\t\tp = q;\n\t}", "'p' goes from turn to turn",
    ),
    "a bound that is set anew": (
        "size_t i;\n\n\tfor (i = 0; i < n; i++) {\n\t\tif (p[i] == 'x')\n\t\t\tbreak;\n"
            "\t\tn = c;\n\t}", "'n' goes from turn to turn",
    ),
    "two buffers that are extended differently": (
        "const signed char *s = (const void *)q;\n\n\twhile (n--) {\n\t\tif (*p != *s)\n\t\t\treturn p;\n"
            "\t\tp++;\n\t\ts++;\n\t}", "are not of one type",
    ),
    "a truth value": (
        "bool any;\n\n\twhile (n--) {\n\t\tany = *p;\n\t\tif (any == 1)\n\t\t\treturn p;\n\t\tp++;\n\t}",
        "turns an integer into a truth value",
    ),
    "a comparison in a macro": (
        "while (n--) {\n\t\tif (IS_C(*p))\n\t\t\treturn p;\n\t\tp++;\n\t}", "stands in a macro",
    ),
    "a condition in a macro": (
        "int i;\n\n\tfor (i = 0; MORE; i++)\n\t\tif (p[i] == 'x')\n\t\t\treturn p;", "condition stands in a macro",
    ),
    "code beside the brace": (
        "while (n--) { if (*p == 'x')\n\t\t\treturn p;\n\t\tp++;\n\t}", "begins on the line of its brace",
    ),
    "code beside the last declaration": (
        "while (n--) {\n\t\tu8 seen; seen = *p;\n\t\tif (seen == 'x')\n\t\t\treturn p;\n\t\tp++;\n\t}",
        "begins on the line of its brace",
    ),
    "a comment to the end of the line": (
        "while (n--) // all\n\t\tif (*p++ == 'x')\n\t\t\treturn p;", "begins on the line of its brace",
    ),
    "another branch of an #if": (
        "while (n--) {\n#ifdef FOLD\n\t\tif (p[1] == 'x')\n#else\n\t\tif (*p == 'x')\n#endif\n"
            "\t\t\treturn p;\n\t\tp++;\n\t}", "preprocessor",
    ),
    "a call that returns nothing": (
        "while (n--) {\n\t\tnothing();\n\t\tif (*p == 'x')\n\t\t\treturn p;\n\t\tp++;\n\t}", "returns nothing",
    ),
    "a call that remembers": (
        "while (n--) {\n\t\tif (lastly(*p) == 'x')\n\t\t\treturn p;\n\t\tp++;\n\t}", "outlives the call",
    ),
    "words": (
        "const u32 *w = (const void *)p;\n\n\twhile (n--) {\n\t\tif (*w == 3)\n\t\t\treturn w;\n"
            "\t\tw++;\n\t}", "not a byte",
    ),
}  # fmt: skip


AROUND = """void call(void);
#define IS_C(x) ((x) == (u8)c)
#define MORE i < 64
static inline void nothing(void) { return; }
static inline u8 lastly(u8 x) { static u8 was = 0; was ^= x; return was; }"""


@pytest.mark.parametrize("why", MISSES)
def test_what_is_no_scan_is_left_alone(tree: Tree, why: str) -> None:
    body, reason = MISSES[why]
    tree.write("lib/seek.c", source(f"{body}\n\treturn p;").replace("/* Seek. */", AROUND))
    found = WordAtATime().match(view(tree, "lib/seek.c", "seek"))
    assert isinstance(found, Miss)
    assert reason in found.reason


def test_name_that_is_taken(tree: Tree) -> None:
    text = source(SCANS["zero byte"]).replace("/* Seek. */", "static inline bool word_has_byte(u8 x) { return x; }")
    tree.write("lib/seek.c", text)
    found = WordAtATime().match(view(tree, "lib/seek.c", "seek"))
    assert isinstance(found, Miss)
    assert "another 'word_has_byte'" in found.reason
