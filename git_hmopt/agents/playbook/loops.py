# SPDX-License-Identifier: Apache-2.0
"""Loops that go over a buffer one byte at a time: how many bytes are left, and what moves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from git_hmopt.agents.playbook.symbolic import Machine, Moved, Opaque
from git_hmopt.psg.syntax import Node, bare

_LOOPS = ("FOR_STMT", "WHILE_STMT")
_DIRECTIVE = re.compile(rb"^[ \t]*#", re.MULTILINE)
_ONE_WORD = re.compile(r"\w+(?:\([^()]*\))?")


@dataclass(frozen=True)
class Loop:
    """A `for` or `while`, its parts by name; MISSING or None where there is none."""

    node: Node
    initial: Node | None
    condition: Node
    step: Node | None
    body: Node
    nested: bool
    """Whether it lies inside another loop."""
    in_block: bool
    """Whether it is a statement of a block: what is put before another one is not under the same condition."""


@dataclass(frozen=True)
class Countdown:
    """`while (n--)`: inside the body n is one less than the bytes left. `while (n) { ... n--; }`: equal to it."""

    variable: str
    in_condition: bool


@dataclass(frozen=True)
class CountUp:
    """`i < n` or `p < end`: what is left is the bound minus the variable."""

    variable: str
    bound: str
    """The bound's source text, in parentheses where it needs them."""
    bound_name: str
    """The variable that the bound is; empty for a constant."""
    pointer: bool


Count = Countdown | CountUp


def loops(tree: Node) -> Iterator[Loop]:
    """Yield the function's loops that can be told apart into parts, outer ones first."""
    yield from _below(tree, nested=False, in_block=False)


def _below(node: Node, *, nested: bool, in_block: bool) -> Iterator[Loop]:
    if node.kind in _LOOPS and not node.in_macro:
        loop = _parts(node, nested, in_block)
        if loop:
            yield loop
    inside = nested or node.kind in (*_LOOPS, "DO_STMT")
    for child in node.children:
        yield from _below(child, nested=inside, in_block=node.kind == "COMPOUND_STMT")


def _parts(node: Node, nested: bool, in_block: bool) -> Loop | None:
    if node.kind == "WHILE_STMT" and len(node.children) == 2:
        return Loop(node, None, node.children[0], None, node.children[1], nested, in_block)
    if node.kind == "FOR_STMT" and len(node.children) == 4:
        initial, condition, step, body = node.children
        return Loop(node, initial, condition, step, body, nested, in_block)
    return None


def run_condition(loop: Loop, machine: Machine, source: bytes) -> Count:
    """Run the loop's condition on a fresh machine and say what it counts; Opaque when it is no simple count."""
    if _DIRECTIVE.search(loop.node.text(source)):
        # The parser saw one branch of an #if; the other is in another kernel.
        raise Opaque("a preprocessor line stands in the loop")
    condition = bare(loop.condition)
    if condition.in_macro:
        raise Opaque("the loop's condition stands in a macro")
    truth, falsehood = _compared(condition)
    if truth.kind == "UNARY_OPERATOR" and truth.operator == "--post" and falsehood is None:
        counter = bare(truth.children[0])
        machine.value(truth)
        return Countdown(counter.name, True)
    if truth.kind == "DECL_REF_EXPR" and falsehood is None and truth.signed is not None:
        machine.reference(truth)
        return Countdown(truth.name, False)
    if truth.kind == "DECL_REF_EXPR" and falsehood is not None:
        bound = bare(falsehood)
        if bound.kind == "DECL_REF_EXPR" and bound.scope in ("local", "parameter"):
            machine.reference(truth)
            return CountUp(truth.name, _operand(falsehood, source), bound.name, truth.signed is None)
        if bound.value is not None and truth.signed is not None:
            machine.reference(truth)
            return CountUp(truth.name, _operand(falsehood, source), "", False)
    raise Opaque("the loop's condition is no simple count")


def _operand(node: Node, source: bytes) -> str:
    text = node.text(source).decode(errors="replace")
    return text if _ONE_WORD.fullmatch(text) else f"({text})"


def _compared(condition: Node) -> tuple[Node, Node | None]:
    """Return (counted, bound) of a condition; the bound is None where it is zero."""
    if condition.kind != "BINARY_OPERATOR":
        return condition, None
    left, right = bare(condition.children[0]), bare(condition.children[1])
    if condition.operator == "!=" and right.value == 0:
        return left, None
    if condition.operator == "!=" and left.value == 0:
        return right, None
    if condition.operator == ">":
        left, right = right, left
    elif condition.operator not in ("<", "!="):
        raise Opaque("the loop's condition is no simple count")
    if left.value == 0:  # 0 < n
        return right, None
    return left, right


def moves(machine: Machine) -> dict[str, int]:
    """Return by how much each variable that is still a plain position moved in one turn; unmoved ones are left out."""
    found: dict[str, int] = {}
    for name, value in machine.values.items():
        if isinstance(value, Moved) and value.variables == (name,) and value.by:
            found[name] = value.by
    return found


def carried(machine: Machine) -> set[str]:
    """Return the variables that a turn gives another value than a step from where they were."""
    return {
        name for name, value in machine.values.items() if not (isinstance(value, Moved) and value.variables == (name,))
    }


def count_moves(count: Count) -> tuple[str, Literal[1, -1]]:
    """Return the variable a count uses and how it must move in a turn."""
    return (count.variable, -1) if isinstance(count, Countdown) else (count.variable, 1)


def mentioned_after(tree: Node, name: str, *, after: Node) -> bool:
    """Say whether the function refers to a variable behind a statement."""
    return any(node.kind == "DECL_REF_EXPR" and node.name == name and node.start >= after.end for node in tree.walk())


def declared(tree: Node, name: str) -> Node:
    """Return the declaration of a local variable or parameter; Opaque when a name is declared twice or not here.

    The symbolic run knows variables by name, so a name that means two things must not matter to a rewrite.
    """
    found = [node for node in tree.walk() if node.kind in ("PARM_DECL", "VAR_DECL") and node.name == name]
    if len(found) != 1:
        raise Opaque(f"'{name}' is declared {len(found)} times in the function")
    return found[0]
