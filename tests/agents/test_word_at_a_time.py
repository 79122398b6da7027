# SPDX-License-Identifier: Apache-2.0
"""Word-wise scans: every position, alignment and length gives the same answer, and nothing behind the end is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_hmopt.agents.playbook.strategy import Miss
from git_hmopt.agents.playbook.word_at_a_time import HELPER, WordAtATime
from tests.agents.kernel_tree import Tree, judge, make_tree, rewritten, view

HEAD = "// SPDX-License-Identifier: GPL-2.0\n#include <linux/types.h>\n\n"
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
    "words": (
        "const u32 *w = (const void *)p;\n\n\twhile (n--) {\n\t\tif (*w == 3)\n\t\t\treturn w;\n"
            "\t\tw++;\n\t}", "not a byte",
    ),
}  # fmt: skip


@pytest.mark.parametrize("why", MISSES)
def test_what_is_no_scan_is_left_alone(tree: Tree, why: str) -> None:
    body, reason = MISSES[why]
    tree.write("lib/seek.c", source(f"{body}\n\treturn p;").replace("/* Seek. */", "void call(void);"))
    found = WordAtATime().match(view(tree, "lib/seek.c", "seek"))
    assert isinstance(found, Miss)
    assert reason in found.reason


def test_name_that_is_taken(tree: Tree) -> None:
    text = source(SCANS["zero byte"]).replace("/* Seek. */", "static inline bool word_has_byte(u8 x) { return x; }")
    tree.write("lib/seek.c", text)
    found = WordAtATime().match(view(tree, "lib/seek.c", "seek"))
    assert isinstance(found, Miss)
    assert "another 'word_has_byte'" in found.reason
