# SPDX-License-Identifier: Apache-2.0
"""The C of slicing by 8: the derived tables, the code that fills them at boot, and the loop that uses them."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from git_hmopt.agents.playbook.loops import Count, Countdown, Loop
from git_hmopt.psg.unit import Function

ENTRIES = 256
STRIDE = 8


@dataclass(frozen=True)
class Host:
    """An early init function: where it is defined, and where its final `return 0;` stands."""

    function: Function
    before_return: int


@dataclass(frozen=True)
class TableCrc:
    """One loop that computes a table CRC."""

    loop: Loop
    count: Count
    state: str
    state_type: str
    bits: int
    """Width of the state's type."""
    table: str
    slice_type: str
    high_first: bool
    pointer: str
    host: Host | None
    """The file's own early init function, when there is one that can take one more call."""
    loadable: bool
    """Whether the file can be a module: then an init function asks for an exit function."""


def definitions(match: TableCrc) -> str:
    """Return the tables, the function that folds in eight bytes, and the init code."""
    return f"{_tables(match)}\n{_fold(match)}\n{_fill(match)}\n"


def _tables(match: TableCrc) -> str:
    table = match.table
    meaning = (
        f"{table}_slices[k - 1][i] is the CRC of byte i followed by k zero bytes, as {table}[i] is that of byte i "
        "alone: eight bytes are folded in by eight lookups that do not wait for each other (slicing by 8)."
    )
    comment = textwrap.fill(meaning, 79, initial_indent=" * ", subsequent_indent=" * ", break_on_hyphens=False)
    return (
        f"/*\n{comment}\n */\n"
        f"static {match.slice_type} {table}_slices[{STRIDE - 1}][{ENTRIES}] __ro_after_init;\n"
        f"static bool {table}_sliced __ro_after_init;\n"
    )


def _fold(match: TableCrc) -> str:
    if match.high_first and match.bits > 8:
        shift = 64 - match.bits
        load = f"get_unaligned_be64(p) ^ {f'((u64)crc << {shift})' if shift else 'crc'}"
        shifts = [56 - 8 * number for number in range(STRIDE)]
    else:
        load = "get_unaligned_le64(p) ^ crc"
        shifts = [8 * number for number in range(STRIDE)]
    terms = []
    for number, shift in enumerate(shifts):
        byte = "word" if shift == 0 else f"(word >> {shift})" if shift < 56 else "word >> 56"
        index = byte if shift == 56 else f"{byte} & 0xff"
        left = STRIDE - 2 - number
        terms.append(f"{match.table}_slices[{left}][{index}]" if left >= 0 else f"{match.table}[{index}]")
    joined = " ^\n\t       ".join(terms)
    return (
        f"static inline {match.state_type} {match.table}_fold8({match.state_type} crc, const void *p)\n"
        "{\n"
        f"\tu64 word = {load};\n"
        "\n"
        f"\treturn {joined};\n"
        "}\n"
    )


def _fill(match: TableCrc) -> str:
    table = match.table
    if match.bits == 8:
        step = f"{table}[crc]"
    elif match.high_first:
        step = f"(crc << 8) ^ {table}[crc >> {match.bits - 8}]"
    else:
        step = f"(crc >> 8) ^ {table}[crc & 0xff]"
    own = match.host is None
    head = f"static int __init {table}_fill_slices(void)" if own else f"static void __init {table}_fill_slices(void)"
    lines = [
        head,
        "{",
        "\tunsigned int i, k;",
        f"\t{match.state_type} crc;",
        "",
        f"\tfor (i = 0; i < {ENTRIES}; i++) {{",
        f"\t\tcrc = {table}[i];",
        f"\t\tfor (k = 0; k < {STRIDE - 1}; k++) {{",
        f"\t\t\tcrc = {step};",
        f"\t\t\t{table}_slices[k][i] = crc;",
        "\t\t}",
        "\t}",
        # early_initcall is module_init in a module, where other CPUs run: they may call once this has returned.
        "\t/* Nobody calls from another CPU yet, so keeping the program order is enough. */",
        "\tbarrier();",
        f"\t{table}_sliced = true;",
        *(("", "\treturn 0;") if own else ()),
        "}",
        *((f"early_initcall({table}_fill_slices);",) if own else ()),
    ]
    if own and match.loadable:
        lines += [
            "",
            "/* A module that has an init function cannot be unloaded without this one. */",
            f"static void __exit {table}_exit(void)",
            "{",
            "}",
            f"module_exit({table}_exit);",
        ]
    return "\n".join(lines) + "\n"


def fast_loop(match: TableCrc, indent: str) -> str:
    """Return the loop that goes before the old one, each line under `indent`."""
    pointer, count = match.pointer, match.count
    if isinstance(count, Countdown):
        head = f"for (; {count.variable} >= {STRIDE}; {count.variable} -= {STRIDE}, {pointer} += {STRIDE})"
    elif count.pointer:
        head = f"for (; {count.bound} - {pointer} >= {STRIDE}; {pointer} += {STRIDE})"
    else:
        head = f"for (; {count.bound_name} >= {STRIDE}; {count.bound_name} -= {STRIDE}, {pointer} += {STRIDE})"
    return (
        f"{indent}if ({match.table}_sliced) {{\n"
        f"{indent}\t{head}\n"
        f"{indent}\t\t{match.state} = {match.table}_fold8({match.state}, {pointer});\n"
        f"{indent}}}\n"
        "\n"
    )
