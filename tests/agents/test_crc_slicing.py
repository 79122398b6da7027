# SPDX-License-Identifier: Apache-2.0
"""Slicing of table CRCs: every spelling gives the same CRCs as before, whatever is not one is left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from git_hmopt.agents.playbook.crc_slicing import CrcSlicing
from git_hmopt.agents.playbook.strategy import Miss
from git_hmopt.psg.unit import parse_unit
from tests.agents.kernel_tree import Tree, judge, make_tree, rewritten, view

HEAD = "// SPDX-License-Identifier: GPL-2.0\n#include <linux/types.h>\n#include <linux/module.h>\n\n"
DRIVER = """
TYPE old_sum(TYPE crc, const u8 *p, size_t len);
TYPE new_sum(TYPE crc, const u8 *p, size_t len);
int run_initcalls(void);
static int compare(void)
{
	u8 *end = guarded();
	size_t len, offset;

	for (len = 0; len < 300; len++) {
		for (offset = 0; offset < 9; offset++) {
			u8 *p = end - len - offset;
			TYPE crc = rnd();
			size_t i;

			for (i = 0; i < len; i++)
				p[i] = rnd();
			if (old_sum(crc, p, len) != new_sum(crc, p, len)) {
				printf("differs at length %zu, offset %zu\\n", len, offset);
				return 1;
			}
		}
	}
	return 0;
}
int main(void)
{
	if (compare())
		return 1;
	if (fast_loads)
		return 2;
	if (run_initcalls() || compare())
		return 3;
	printf("%lu\\n", fast_loads);
	return 0;
}
"""
# Eight-byte steps for lengths 0..299 at nine offsets each.
STEPS = 9 * sum(length // 8 for length in range(300))

REFLECTED = {
    "while": "while (len--)\n\t\tcrc = (crc >> 8) ^ table[(crc ^ *p++) & 0xff];",
    "positive": "while (len-- > 0)\n\t\tcrc = table[(crc ^ *p++) & 0xff] ^ (crc >> 8);",
    "cast": "while (len-- != 0)\n\t\tcrc = table[(u8)crc ^ *p++] ^ (crc >> 8);",
    "body": "while (len) {\n\t\tcrc = table[(u8)(crc ^ *p)] ^ (crc >> 8);\n\t\tp++;\n\t\tlen--;\n\t}",
    "folded": "while (len--) {\n\t\tcrc ^= *p++;\n\t\tcrc = table[crc & 0xff] ^ (crc >> 8);\n\t}",
    "shifted": "while (len--) {\n\t\tu8 i = crc ^ *p++;\n\n\t\tcrc >>= 8;\n\t\tcrc ^= table[i];\n\t}",
    "step": "for (; len; len--, p++)\n\t\tcrc = (crc >> 8) ^ table[(crc & 0xff) ^ *p];",
    "index": "for (size_t k = 0; k < len; k++)\n\t\tcrc = (crc >> 8) ^ table[(crc & 255) ^ p[k]];",
    "backwards": "for (i = 0; len > i; i++)\n\t\tcrc = (crc >> 8) ^ table[0xff & (crc ^ *(p + i))];",
    "end": "const u8 *end = p + len;\n\n\twhile (p < end)\n\t\tcrc = (crc >> 8) ^ table[(crc ^ *p++) & 0xff];",
    "unequal": "const u8 *end = p + len;\n\n\twhile (p != end)\n\t\tcrc = (crc >> 8) ^ table[(crc ^ *p++) & 0xff];",
    "void": "const void *q = p;\n\n\tfor (; len > 0; --len)\n\t\tcrc = (crc >> 8) ^ table[(crc ^ *(u8 *)q++) & 0xff];",
    "signed": "const signed char *q = (void *)p;\n\n\twhile (len--)\n"
    "\t\tcrc = (crc >> 8) ^ table[(crc ^ *q++) & 0xff];",
    "inverted": "crc = ~crc;\n\twhile (len--)\n\t\tcrc = (crc >> 8) ^ table[(crc ^ *p++) & 0xff];\n\tcrc = ~crc;",
    "helper": "while (len--)\n\t\tcrc = low_step(crc, *p++);",
}
HIGH = {
    "while": "while (len--)\n\t\tcrc = (crc << 8) ^ table[((crc >> SHIFT) ^ *p++) & 0xff];",
    "index": "for (i = 0; i < len; i++) {\n\t\tt = ((crc >> SHIFT) ^ (*p++)) & 0xFF;\n"
    "\t\tcrc = table[t] ^ (crc << 8);\n\t}",
    "unmasked": "while (len--)\n\t\tcrc = (crc << 8) ^ table[(crc >> SHIFT) ^ *p++];",
    "or": "while (len--)\n\t\tcrc = (crc << 8 | 0) ^ table[(u8)(crc >> SHIFT) ^ *p++];",
    "helper": "while (len--)\n\t\tcrc = high_step(crc, *p++);",
}
POLY = {8: 0x31, 16: 0x1021, 32: 0x04C11DB7, 64: 0x42F0E1EBA9EA3693}


def table_text(width: int, *, high: bool) -> str:
    """Return a CRC table in C, made bit by bit."""
    mask, poly, entries = (1 << width) - 1, POLY[width], []
    low_poly = int(f"{poly:0{width}b}"[::-1], 2)
    for number in range(256):
        crc = number << (width - 8) if high else number
        for _ in range(8):
            if high:
                crc = ((crc << 1) ^ (poly if crc >> (width - 1) else 0)) & mask
            else:
                crc = (crc >> 1) ^ (low_poly if crc & 1 else 0)
        entries.append(f"0x{crc:x}{'ull' if width == 64 else ''}")
    return f"static const u{width} table[256] = {{ {', '.join(entries)} }};\n"


def source(width: int, body: str, *, high: bool) -> str:
    """Return a file with one CRC function, `sum`."""
    kind = f"u{width}"
    used = "\tsize_t i __attribute__((unused)), t __attribute__((unused));\n\n"
    helpers = (
        f"static inline {kind} low_step({kind} crc, const u8 data)\n"
        "{\n\treturn (crc >> 8) ^ table[(crc ^ data) & 0xff];\n}\n"
        f"static inline {kind} high_step({kind} crc, u8 data)\n"
        "{\n\tint at = (crc >> SHIFT) ^ data;\n\n\treturn (crc << 8) ^ table[at & 0xff];\n}\n"
    )
    text = (
        f"{table_text(width, high=high)}{helpers if width > 8 else ''}\n"
        f"/**\n * sum - the CRC\n */\n{kind} sum({kind} crc, const u8 *p, size_t len)\n"
        f'{{\n{used}\t{body}\n\treturn crc;\n}}\nEXPORT_SYMBOL(sum);\n\nMODULE_LICENSE("GPL");\n'
    )
    return HEAD + text.replace("SHIFT", str(width - 8)) if width > 8 else HEAD + text


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return make_tree(tmp_path)


def check(tree: Tree, text: str, kind: str) -> bytes:
    tree.write("lib/sum.c", text)
    new = rewritten(CrcSlicing(), view(tree, "lib/sum.c", "sum")).edits["lib/sum.c"]
    printed = judge(tree, "lib/sum.c", text.encode(), new, DRIVER.replace("TYPE", kind), rename="sum")
    assert int(printed) == STEPS  # every whole eight bytes of every buffer went the fast way
    return new


@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("spelling", REFLECTED)
def test_reflected(tree: Tree, spelling: str, width: int) -> None:
    check(tree, source(width, REFLECTED[spelling], high=False), f"u{width}")


@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("spelling", HIGH)
def test_high_bit_first(tree: Tree, spelling: str, width: int) -> None:
    check(tree, source(width, HIGH[spelling], high=True), f"u{width}")


@pytest.mark.parametrize("body", ["while (len--)\n\t\tcrc = table[crc ^ *p++];", REFLECTED["body"]])
@pytest.mark.parametrize("high", [False, True])
def test_eight_bits_wide(tree: Tree, body: str, high: bool) -> None:
    check(tree, source(8, body, high=high), "u8")


def test_state_wider_than_the_table(tree: Tree) -> None:
    text = source(16, REFLECTED["while"], high=False).replace("u16 sum(u16 crc", "u32 sum(u32 crc")
    check(tree, text, "u32")


def test_short_buffers_before_and_after_the_tables_are_filled_are_in_the_driver(tree: Tree) -> None:
    new = check(tree, source(64, HIGH["while"], high=True), "u64").decode()
    assert new.index("table_slices[7][256] __ro_after_init") < new.index(" * sum - the CRC")
    assert "#include <asm/unaligned.h>\n" in new
    assert "<linux/init.h>" not in new  # linux/module.h has it
    assert "module_exit(table_exit);" in new


def test_not_a_module_needs_no_exit_but_the_includes(tree: Tree) -> None:
    text = source(32, REFLECTED["while"], high=False).replace("#include <linux/module.h>\n", "")
    text = text.replace("EXPORT_SYMBOL(sum);\n", "").replace('MODULE_LICENSE("GPL");\n', "")
    text = text.replace("#include <linux/types.h>\n", "#include <linux/compiler.h>\n#include <linux/types.h>\n")
    new = check(tree, text, "u32").decode()
    assert "module_exit" not in new
    assert (
        "#include <linux/cache.h>\n#include <linux/compiler.h>\n#include <linux/init.h>\n#include <linux/types.h>\n"
        "#include <asm/unaligned.h>\n" in new
    )


def test_second_function_joins_the_first_ones_initcall(tree: Tree) -> None:
    first = source(32, REFLECTED["while"], high=False)
    other = table_text(32, high=True).replace("table[256]", "other[256]")
    body = HIGH["while"].replace("SHIFT", "24").replace("table[", "other[")
    text = first.replace("static inline", f"{other}static inline", 1)
    text += f"\nu32 more(u32 crc, const u8 *p, size_t len)\n{{\n\t{body}\n\treturn crc;\n}}\n"
    once = check(tree, text, "u32")
    tree.write("lib/sum.c", once)
    twice = rewritten(CrcSlicing(), view(tree, "lib/sum.c", "more")).edits["lib/sum.c"]
    assert twice.count(b"early_initcall(") == 1
    driver = DRIVER.replace("TYPE", "u32").replace("_sum", "_more")
    assert int(judge(tree, "lib/sum.c", text.encode(), twice, driver, rename="more")) == STEPS


MISSES = {
    "static const u32 table[128] = { 1 };": ("u32", "table[(crc ^ *p++) & 0x7f] ^ (crc >> 8)", "constant table of 256"),
    "static u32 table[256];": ("u32", "table[(crc ^ *p++) & 0xff] ^ (crc >> 8)", "constant table of 256"),
    "static const u32 table[2][256];": ("u32", "table[1][(crc ^ *p++) & 0xff] ^ (crc >> 8)", "not a local variable"),
    "static const u16 table[256]; /* index */": ("u16", "table[crc ^ *p++] ^ (crc >> 8)", "not always below"),
    "static const u16 table[256]; /* wide */": ("u32", "table[((crc >> 8) ^ *p++) & 0xff] ^ (crc << 8)", "as a CRC"),
    "static const u32 table[256]; /* nibble */": ("u32", "table[(crc ^ *p++) & 0xff] ^ (crc >> 4)", "does not change"),
    "static const u32 table[256]; /* sum */": ("u32", "table[(crc ^ *p++) & 0xff] + (crc >> 8)", "not modelled"),
    "static const u32 table[256]; /* two */": ("u32", "table[(crc ^ *p++) & 0xff] ^ (crc >> 8) ^ table[0]", "2 tables"),
    "static const u32 table[256]; /* next */": ("u32", "table[(crc ^ p[1]) & 0xff] ^ (crc >> 8)", "byte by byte"),
    "static const u32 table[256]; /* signed */": ("int", "table[(crc ^ *p++) & 0xff] ^ (crc >> 8)", "is signed"),
    "static const u32 table[256]; /* word */": ("u32", "table[(crc ^ *(u16 *)p) & 0xff] ^ (crc >> 8)", "of a buffer"),
    "static const u32 table[256]; /* volatile */": (
        "u32", "table[(crc ^ *(volatile u8 *)p) & 0xff] ^ (crc >> 8)", "volatile",
    ),
}  # fmt: skip


@pytest.mark.parametrize("table", MISSES)
def test_what_is_no_crc_is_left_alone(tree: Tree, table: str) -> None:
    kind, step, reason = MISSES[table]
    text = (
        f"{HEAD}{table}\n{kind} sum({kind} crc, const u8 *p, size_t len)\n{{\n\twhile (len--)\n"
        f"\t\tcrc = {step};\n\treturn crc;\n}}\n"
    )
    tree.write("lib/sum.c", text)
    found = CrcSlicing().match(view(tree, "lib/sum.c", "sum"))
    assert isinstance(found, Miss)
    assert reason in found.reason


AROUND = {
    "its length is used after": ("for (i = 0; i < len; i++)\n\t\tSTEP;\n\tcrc += len;", "used after the loop"),
    "it lies in a loop": ("while (crc)\n\t\twhile (len--)\n\t\t\tSTEP;", "entered again"),
    "it can be jumped back to": ("again:\n\twhile (len--)\n\t\tSTEP;\n\tif (crc)\n\t\tgoto again;", "entered again"),
    "its head sets the pointer": ("for (p = q; len; len--)\n\t\tSTEP;", "in the loop's head"),
    "its counter starts elsewhere": ("for (i = 1; i < len; i++)\n\t\tSTEP;", "does not start at zero"),
    "something else moves": ("while (len--) {\n\t\tSTEP;\n\t\ti++;\n\t}", "something else moves"),
    "it stores": ("while (len--) {\n\t\tSTEP;\n\t\t*r = crc;\n\t}", "stores"),
    "it calls": ("while (len--) {\n\t\tSTEP;\n\t\tother(crc);\n\t}", "whose body is not in this unit"),
    "it branches": ("while (len--) {\n\t\tif (crc)\n\t\t\tSTEP;\n\t}", "not modelled"),
    "a name means two things": (
        "while (len--)\n\t\tSTEP;\n\t{\n\t\tconst u8 *p = q;\n\n\t\tother(*p);\n\t}",
        "declared 2 times",
    ),
    "it counts by two": ("for (; len; len -= 2)\n\t\tSTEP;", "something else moves"),
    "its bound is another variable": (
        "for (i = 0; i < len; i++) {\n\t\tSTEP;\n\t\tlen = more;\n\t}",
        "'len' goes from turn to turn",
    ),
    "its pointer is set anew": (
        "for (i = 0; i < len; i++) {\n\t\tcrc = (crc >> 8) ^ table[(crc ^ p[i]) & 0xff];\n\t\tp = q;\n\t}",
        "'p' goes from turn to turn",
    ),
    "it stands under a condition": ("if (more)\n\t\twhile (len--)\n\t\t\tSTEP;", "no statement of a block"),
    "it stands under an else": (
        "if (more)\n\t\tcrc++;\n\telse\n\t\twhile (len--)\n\t\t\tSTEP;",
        "no statement of a block",
    ),
    "it stands behind other code": ("crc++; while (len--)\n\t\tSTEP;", "begins in the middle of a line"),
    "the state before is used after": (
        "u32 before = 0;\n\n\twhile (len--) {\n\t\tbefore = crc;\n\t\tSTEP;\n\t}\n\tcrc += before;",
        "'before' is used after the loop",
    ),
    "the last byte is used after": (
        "u8 b = 0;\n\n\twhile (len--) {\n\t\tb = *p++;\n"
        "\t\tcrc = (crc >> 8) ^ table[(crc ^ b) & 0xff];\n\t}\n\tcrc += b;",
        "'b' is used after the loop",
    ),
    "its bytes lie at a distance": (
        "const u8 *end = p + len;\n\n\twhile (p < end) {\n"
        "\t\tcrc = (crc >> 8) ^ table[(crc ^ p[more]) & 0xff];\n\t\tp++;\n\t}",
        "at a distance",
    ),
    "its buffer is an array": (
        "u8 own[64];\n\n\tfor (i = 0; i < len; i++)\n\t\tcrc = (crc >> 8) ^ table[(crc ^ own[i]) & 0xff];",
        "'own' cannot be moved",
    ),
    "its byte is mixed": (
        "while (len--) {\n\t\tu8 b = *p++;\n\n\t\tcrc = (crc >> 8) ^ table[(crc ^ b ^ (b >> 1)) & 0xff];\n\t}",
        "are not the index's bits",
    ),
    "another kernel has another loop": (
        "while (len--) {\n#ifdef FOLD\n\t\tcrc++;\n#endif\n\t\tSTEP;\n\t}",
        "preprocessor line",
    ),
    "its bound shrinks": ("for (i = 0; i < len; i++) {\n\t\tSTEP;\n\t\tlen = 3;\n\t}", "'len' goes from turn to turn"),
}


@pytest.mark.parametrize("why", AROUND)
def test_loops_whose_surroundings_would_notice_are_left_alone(tree: Tree, why: str) -> None:
    body, reason = AROUND[why]
    body = body.replace("STEP", "crc = (crc >> 8) ^ table[(crc ^ *p++) & 0xff]")
    text = (
        f"{HEAD}static const u32 table[256] = {{ 0 }};\nvoid other(u32 x);\n"
        f"u32 sum(u32 crc, const u8 *p, size_t len, const u8 *q, u32 *r)\n{{\n\tsize_t i = 0, more = crc;\n\n\t{body}\n"
        f"\treturn crc + i;\n}}\n"
    )
    if "i < len" in body:
        text = text.replace("crc + i;", "crc;")
    tree.write("lib/sum.c", text)
    found = CrcSlicing().match(view(tree, "lib/sum.c", "sum"))
    assert isinstance(found, Miss)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("static int __init start(void)\n{\n\treturn 0;\n}\nmodule_init(start);\n", "initcall of its own"),
        ("static int __init start(void)\n{\n\treturn -1;\n}\nearly_initcall(start);\n", "initcall of its own"),
        ("extern int table_slices;\n", "a 'table_slices' already"),
    ],
)
def test_files_that_cannot_carry_the_tables(tree: Tree, more: str, reason: str) -> None:
    tree.write("lib/sum.c", source(32, REFLECTED["while"], high=False) + more)
    found = CrcSlicing().match(view(tree, "lib/sum.c", "sum"))
    assert isinstance(found, Miss)
    assert reason in found.reason


@pytest.mark.parametrize("licence", [True, False])
def test_one_of_several_objects_of_a_module(tree: Tree, licence: bool) -> None:
    """A module has one init function; which of its objects states the licence says nothing about which has it."""
    text = source(32, REFLECTED["while"], high=False)
    tree.write("lib/sum.c", text if licence else text.replace('MODULE_LICENSE("GPL");\n', ""))
    command = tree.command("lib/sum.c")
    words = tuple(word.replace('KBUILD_MODNAME="sum"', 'KBUILD_MODNAME="many"') for word in command.arguments)
    unit = parse_unit(replace(command, arguments=words))
    function = unit.function("sum")
    assert function is not None
    found = CrcSlicing().match(replace(view(tree, "lib/sum.c", "sum"), unit=unit, function=function))
    assert isinstance(found, Miss)
    assert "one of several objects of a module" in found.reason


def test_table_given_as_a_parameter(tree: Tree) -> None:
    text = (
        f"{HEAD}u8 sum(const u8 *table, const u8 *p, size_t n, u8 crc)\n{{\n\twhile (n--)\n"
        f"\t\tcrc = table[crc ^ *p++];\n\treturn crc;\n}}\n"
    )
    tree.write("lib/sum.c", text)
    assert isinstance(CrcSlicing().match(view(tree, "lib/sum.c", "sum")), Miss)


def test_rewritten_file_is_not_rewritten_again(tree: Tree) -> None:
    tree.write("lib/sum.c", check(tree, source(32, REFLECTED["while"], high=False), "u32"))
    found = CrcSlicing().match(view(tree, "lib/sum.c", "sum"))
    assert isinstance(found, Miss)
    assert "already" in found.reason
