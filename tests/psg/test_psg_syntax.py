# SPDX-License-Identifier: Apache-2.0
"""The syntax tree: operators, constants, references, the parts of a for, macros, headers' functions."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_hmopt.psg.compile_database import CompileCommand
from git_hmopt.psg.syntax import Node, bare, definition, syntax
from git_hmopt.psg.unit import Unit, parse_unit

HEADER = (
    "static inline int twice(int x) { return x * 2; }\nint declared(int);\n"
    "static inline int spin(int x) { for (; x; x--) ; return x; }\n"
    "#define EACH(i, n) for (i = 0; i < (n); i++)\n"
)
BITS = {"char": 1, "unsigned char": 1, "int": 4, "unsigned long long": 8}


def parse(root: Path, body: str, head: str = "long f(int a, const unsigned char *p, unsigned n)") -> tuple[Unit, Node]:
    (root / "h.h").write_text(HEADER)
    (root / "a.c").write_text(f'#include "h.h"\nstatic int global;\nenum {{ FOUR = 4 }};\n{head}\n{{\n{body}\n}}\n')
    unit = parse_unit(CompileCommand(root, root, "a.c", ("gcc", "-c", "a.c")))
    assert unit.errors == 0, unit.diagnostics
    function = unit.function("f")
    assert function is not None
    return unit, syntax(unit, function)


def only(tree: Node, kind: str) -> Node:
    (found,) = [node for node in tree.walk() if node.kind == kind]
    return found


@pytest.mark.parametrize("sign", ["+", "-", "*", "/", "%", "^", "&", "|", "<<", ">>", "<", "==", "!=", "&&", "||", ","])
def test_binary_operators(tmp_path: Path, sign: str) -> None:
    unit, tree = parse(tmp_path, f"\treturn a {sign} /* {sign} */ (int)n;")
    node = only(tree, "BINARY_OPERATOR")
    assert node.operator == sign
    assert [child.text(unit.source) for child in node.children] == [b"a", b"(int)n"]


@pytest.mark.parametrize(("text", "sign"), [("a++", "++post"), ("--a", "--"), ("~a", "~"), ("-a", "-"), ("!a", "!")])
def test_unary_operators(tmp_path: Path, text: str, sign: str) -> None:
    _, tree = parse(tmp_path, f"\treturn {text};")
    assert only(tree, "UNARY_OPERATOR").operator == sign


def test_compound_assignment(tmp_path: Path) -> None:
    _, tree = parse(tmp_path, "\ta >>= 3;\n\treturn a;")
    node = only(tree, "COMPOUND_ASSIGNMENT_OPERATOR")
    assert (node.operator, node.children[1].value) == (">>=", 3)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0xff", 255), ("'a'", 97), ("(1 << 4) | FOUR", 20), ("-1", -1), ("~0ull", 2**64 - 1), ("sizeof(int)", 4),
     ("a", None), ("global + 1", None), ("twice(2)", None)],
)  # fmt: skip
def test_constants(tmp_path: Path, text: str, value: int | None) -> None:
    _, tree = parse(tmp_path, f"\treturn {text};")
    assert bare(only(tree, "RETURN_STMT").children[0]).value == value


def test_initialiser_is_not_taken_for_the_value_of_a_variable(tmp_path: Path) -> None:
    _, tree = parse(tmp_path, "\tconst int fixed = 3;\n\n\treturn fixed;")
    assert only(tree, "RETURN_STMT").children[0].value is None


def test_references_say_what_they_name(tmp_path: Path) -> None:
    _, tree = parse(tmp_path, "\tstatic int kept;\n\tint own = a;\n\n\treturn own + global + kept + twice(FOUR);")
    found = {node.name: node.scope for node in tree.walk() if node.kind == "DECL_REF_EXPR"}
    assert found == {
        "a": "parameter", "own": "local", "global": "global", "kept": "static", "twice": "function",
        "FOUR": "enumerator",
    }  # fmt: skip


def test_a_variable_that_outlives_the_call_is_told_by_its_declaration(tmp_path: Path) -> None:
    _, tree = parse(tmp_path, "\tstatic int kept;\n\tint own = a;\n\n\treturn own + kept;")
    found = {node.name: node.scope for node in tree.walk() if node.kind == "VAR_DECL"}
    assert found == {"kept": "static", "own": ""}


def test_types_and_conversions(tmp_path: Path) -> None:
    _, tree = parse(tmp_path, "\treturn n + *p;")
    node = only(tree, "BINARY_OPERATOR")
    assert (node.type, node.size, node.signed) == ("unsigned int", 4, False)
    load = node.children[1]  # the promotion to int is left out
    assert (load.kind, load.operator, load.type, load.size, load.signed) == (
        "UNARY_OPERATOR", "*", "const unsigned char", 1, False
    )  # fmt: skip


@pytest.mark.parametrize(
    ("head", "present"),
    [(";;", ""), ("a = 0;;", "i"), ("; a < 3;", "c"), (";; a++", "s"), ("a = 0; a < 3;", "ic"), ("a = 0;; a++", "is"),
     ("; (a < (3)); a++", "cs"), ("int k = 0; k < (int)sizeof(a); k++", "ics")],
)  # fmt: skip
def test_parts_of_a_for(tmp_path: Path, head: str, present: str) -> None:
    unit, tree = parse(tmp_path, f"\tfor ({head}) {{\n\t\tif (a++ > 3) break;\n\t}}\n\treturn a;")
    parts = only(tree, "FOR_STMT").children
    assert len(parts) == 4
    assert "".join(name for name, part in zip("ics", parts, strict=False) if part.kind != "MISSING") == present
    assert parts[3].text(unit.source).startswith(b"{\n\t\tif")


def test_macros_are_marked(tmp_path: Path) -> None:
    unit, tree = parse(tmp_path, "\tint i;\n\n\tEACH(i, a)\n\t\tglobal++;\n\treturn a;")
    assert only(tree, "FOR_STMT").in_macro
    (body,) = [node for node in tree.walk() if node.text(unit.source) == b"global++"]
    assert not body.in_macro


def test_function_of_a_header(tmp_path: Path) -> None:
    unit, _ = parse(tmp_path, "\treturn twice(a);")
    found = definition(unit, "twice")
    assert found is not None
    assert only(found, "BINARY_OPERATOR").operator == "*"
    looping = definition(unit, "spin")
    assert looping is not None
    assert len(only(looping, "FOR_STMT").children) == 3  # which part is missing is not known without the header's text
    assert definition(unit, "declared") is None
    assert definition(unit, "nowhere") is None


def test_names_of_compiler_builtins_do_not_end_the_process(tmp_path: Path) -> None:
    _, tree = parse(tmp_path, "\treturn __builtin_bswap32(n) + __builtin_constant_p(a) + sizeof(void (*)(void));")
    assert {node.name for node in tree.walk() if node.kind == "CALL_EXPR"} >= {"__builtin_bswap32"}


def test_function_of_another_unit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    unit, _ = parse(tmp_path / "one", "\treturn a;")
    other, _ = parse(
        tmp_path / "two", "\treturn a;", head="/* moved */ long f(int a, const unsigned char *p, unsigned n)"
    )
    function = other.function("f")
    assert function is not None
    with pytest.raises(KeyError):
        syntax(unit, function)
