# SPDX-License-Identifier: Apache-2.0
"""What the graph says of small sources: identities, edges with their access, tables, embedding, guards."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_hmopt.psg.facts import Kind, Relation
from git_hmopt.psg.queries import Direction, Structure
from tests.psg.structure_tree import Tree, tree_in, unit_edges

HEADER = """struct inner { int id; };
struct other { int id; };
union either { struct inner a; struct other b; int c; };
struct holder { struct inner inner; struct other other; };
struct wrapped { union { struct inner first; struct other second; }; struct other third; };
struct late { int number; struct inner inner; };
struct named { struct { int x; } point; union { int u; long v; }; };
typedef struct { int left; } pair_t;
struct ops { int (*open)(int); int (*close)(int); };
enum colour { RED, GREEN };
extern int shared;
int outside(int);
"""


def made(tmp_path: Path, source: str, header: str = HEADER) -> Tree:
    tree = tree_in(tmp_path, {"h.h": header, "a.c": '#include "h.h"\n' + source})
    tree.compiled, tree.flags = ["a.c"], ()
    done = tree.update()
    assert (done.failed, done.with_errors) == ({}, {})
    return tree


def edges(tmp_path: Path, source: str) -> set[tuple[str, str, str, str]]:
    with made(tmp_path, source).graph.reading() as tables:
        assert tables is not None
        return {edge for edge in unit_edges(tables, "a.c") if edge[3] != "macro"}


ACCESSES = {
    "shared = 1;": {("shared", "write")},
    "shared += 1;": {("shared", "write")},
    "shared++;": {("shared", "write")},
    "use(shared);": {("shared", "read")},
    "take(&shared);": {("shared", "address")},
    "if (!shared) use(1);": {("shared", "read")},
    "p->inner.id = shared;": {
        ("struct holder.inner", "write"), ("struct inner.id", "write"), ("shared", "read"),
    },
    "use(p->inner.id);": {("struct holder.inner", "read"), ("struct inner.id", "read")},
    "*t = 3;": set(),
    "table[2] = 1;": {("a.c:table", "write")},
    "pointer[2] = 1;": {("a.c:pointer", "read")},
    "pointer->id = 1;": {("a.c:pointer", "read"), ("struct inner.id", "write")},
    "use(GREEN);": {("enum colour", "read")},
    "use(sizeof(struct late));": {("struct late", "type")},
}  # fmt: skip


@pytest.mark.parametrize("statement", ACCESSES)
def test_what_a_statement_does_to_what_it_names(tmp_path: Path, statement: str) -> None:
    source = f"void use(int); void take(int *);\nvoid f(struct holder *p, int *t) {{ {statement} }}\n"
    if "table" in statement:
        source = "static int table[4];\n" + source
    if "pointer" in statement:
        kind = "struct inner" if "->" in statement else "int"
        source = f"static {kind} *pointer;\n" + source
    found = {
        (target, detail)
        for who, target, relation, detail in edges(tmp_path, source)
        if who == "f" and relation == "ref"
    }
    # The parameters' own types are uses as well.
    assert found - {("struct holder", "type")} == ACCESSES[statement]


def test_calls_by_name_through_a_field_and_through_a_variable(tmp_path: Path) -> None:
    source = """static int (*hook)(int);
static int own(int x) { return x; }
int f(struct ops *ops) { return own(1) + outside(2) + ops->open(3) + hook(4) + (*ops->close)(5); }
"""
    found = {edge[1:3] for edge in edges(tmp_path, source) if edge[0] == "f" and edge[2].startswith("call")}
    assert found == {
        ("a.c:own", "call_static"), ("outside", "call_static"), ("struct ops.open", "call_indirect"),
        ("struct ops.close", "call_indirect"), ("a.c:hook", "call_indirect"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "source",
    [
        "const struct ops table = { .open = first, .close = second };",
        "const struct ops table = { first, second };",
        "const struct ops table[] = { { .close = second }, { first } };",
        "void set(struct ops *ops) { ops->open = first; ops->close = &second; }",
        "void set(struct ops *ops) { *ops = (struct ops){ .open = first, .close = second }; }",
        "struct outer { int n; struct ops ops; };"
        " struct outer table = { .n = 1, .ops = { .open = first, .close = second } };",
        "struct outer { int n; struct ops ops; }; struct outer table = { 1, { first, second } };",
        "struct outer { int n; struct ops ops; }; struct outer table = { .ops.open = first, .ops.close = second };",
    ],
)
def test_which_function_stands_in_which_field_of_a_table(tmp_path: Path, source: str) -> None:
    functions = "static int first(int x) { return x; }\nstatic int second(int x) { return x; }\n"
    with made(tmp_path, functions + source).graph.reading() as tables:
        assert tables is not None
        structure = Structure(tables)
        assert structure.implementers("struct ops.open") == ["a.c:first"]
        assert structure.implementers("struct ops.close") == ["a.c:second"]


def test_a_record_inherits_from_what_stands_at_its_beginning(tmp_path: Path) -> None:
    with made(tmp_path, "int f(void) { return 0; }").graph.reading() as tables:
        assert tables is not None
        structure = Structure(tables)
        found = {
            record: {one.target for one in structure.links(record, Direction.OUT, (Relation.INHERITANCE,))}
            for record in ("struct holder", "struct late", "union either", "struct wrapped")
        }
    assert found == {
        "struct holder": {"struct inner"}, "struct late": set(), "union either": {"struct inner", "struct other"},
        "struct wrapped": {"struct inner", "struct other"},
    }  # fmt: skip


def test_fields_of_what_has_no_name_belong_to_what_holds_it(tmp_path: Path) -> None:
    with made(
        tmp_path, "int f(struct named *n, pair_t *p) { return n->point.x + n->u + p->left; }"
    ).graph.reading() as tables:
        assert tables is not None
        structure = Structure(tables)
        assert structure.fields("struct named") == ["struct named.point", "struct named.u", "struct named.v"]
        assert structure.fields("struct named.point") == ["struct named.point.x"]
        assert structure.fields("struct pair_t") == ["struct pair_t.left"]
        used = {one.target for one in structure.links("f", Direction.OUT, (Relation.REF,)) if one.detail == "read"}
    assert used == {"struct named.point", "struct named.point.x", "struct named.u", "struct pair_t.left"}


def test_two_static_functions_of_one_name_are_two(tmp_path: Path) -> None:
    files = {name: f"static int same(void) {{ return {number}; }}\nint {name[0]}(void) {{ return same(); }}\n"
             for number, name in enumerate(("a.c", "b.c"))}  # fmt: skip
    tree = tree_in(tmp_path, files)
    tree.compiled, tree.flags = ["a.c", "b.c"], ()
    tree.update()
    with tree.graph.reading() as tables:
        assert tables is not None
        structure = Structure(tables)
        assert structure.resolve("same") == ["a.c:same", "b.c:same"]
        assert (structure.callers("a.c:same"), structure.callers("b.c:same")) == (["a"], ["b"])


def test_a_counter_in_a_name_does_not_make_it_another(tmp_path: Path) -> None:
    source = (
        "#define GLUE(a, b) a##b\n#define ONCE(a, b) GLUE(a, b)\nstatic int ONCE(__UNIQUE_ID_x, __COUNTER__) = 1;\n"
    )
    source += "int f(void) { return __UNIQUE_ID_x0; }\n"
    assert ("f", "a.c:__UNIQUE_ID_xN", "ref", "read") in edges(tmp_path, source)


def test_what_a_definition_is(tmp_path: Path) -> None:
    source = """#define __init __attribute__((__section__(".init")))
#define noinline __attribute__((__noinline__))
static noinline int __init boot(int *argument)
{
	return *argument;
}
int value = 3;
"""
    with made(tmp_path, source).graph.reading() as tables:
        assert tables is not None
        structure = Structure(tables)
        [boot] = structure.places("a.c:boot")
        [value] = structure.places("value")
        [field] = structure.places("struct late.number")
    assert (boot.kind, boot.first_line, boot.last_line, boot.linkage) == (Kind.FUNCTION, 4, 7, "static")
    assert (boot.type, boot.attributes, boot.is_inline) == ("int (int *)", ("noinline", "__init"), False)
    assert (value.kind, value.first_line, value.type, value.linkage) == (Kind.VARIABLE, 8, "int", "external")
    assert (field.kind, field.file, field.type) == (Kind.FIELD, "h.h", "int")


def test_a_parameters_attribute_is_not_the_functions(tmp_path: Path) -> None:
    source = "#define __user __attribute__((unused))\n#define __init\n"
    source += "int __init copy(char __user *to)\n{\n\treturn !to;\n}\n"
    with made(tmp_path, source).graph.reading() as tables:
        assert tables is not None
        [copy] = Structure(tables).places("copy")
    assert copy.attributes == ("__init",)
