# SPDX-License-Identifier: Apache-2.0
"""Risk notes and bottleneck classes: every rule once, and what must not trigger it."""

from __future__ import annotations

import pytest

from git_hmopt.evidence import taxonomy
from git_hmopt.evidence.risks import risk_notes
from git_hmopt.records import bottleneck
from git_hmopt.runtime.ranking import Ranked


def notes(text: str, *, file_text: str = "") -> tuple[str, ...]:
    return risk_notes("f", text, first_line=10, file_text=file_text)


@pytest.mark.parametrize(
    ("body", "risk"),
    [
        ("raw_spin_lock(&l);", "locks: raw_spin_lock (line 11)"),
        ("mutex_trylock(&m);", "locks: mutex_trylock (line 11)"),
        ("down_read(&sem);", "locks: down_read (line 11)"),
        ("rcu_read_lock();", "RCU: rcu_read_lock (line 11)"),
        ("list_for_each_entry_rcu(a, b, c) {}", "RCU: list_for_each_entry_rcu (line 11)"),
        ("local_irq_save(flags);", "interrupts or preemption off: local_irq_save (line 11)"),
        ("preempt_disable();", "interrupts or preemption off: preempt_disable (line 11)"),
        ("smp_wmb();", "atomics and barriers: smp_wmb (line 11)"),
        ("x = READ_ONCE(y);", "atomics and barriers: READ_ONCE (line 11)"),
        ("atomic64_inc(&v);", "atomics and barriers: atomic64_inc (line 11)"),
        ("char __user *p;", "user memory: __user (line 11)"),
        ("n = copy_from_user(a, b, c);", "user memory: copy_from_user (line 11)"),
        ("refcount_inc(&r);", "reference counts: refcount_inc (line 11)"),
        ('asm volatile("nop");', "inline assembly: asm (line 11)"),
    ],
)
def test_each_risk_is_named_with_its_line(body: str, risk: str) -> None:
    assert notes(f"void f(void) {{\n{body}\n}}") == (risk,)


def test_one_call_can_be_two_risks() -> None:
    assert [note.split(":")[0] for note in notes("void f(void) { spin_lock_irqsave(&l, g); }")] == [
        "locks",
        "interrupts or preemption off",
    ]


@pytest.mark.parametrize(
    "body",
    [
        "/* spin_lock(&l) */",
        "// rcu_read_lock()",
        'pr_info("smp_mb %s", "get_user");',
        "my_spin_lockup_count++;",
        "int up = 1, down = up;",
        "int clock_lock_time;",
    ],
)
def test_comments_strings_and_look_alikes_are_no_risk(body: str) -> None:
    assert notes(f"void f(void) {{\n{body}\n}}") == ()


def test_comments_do_not_shift_lines() -> None:
    assert notes("void f(void)\n{\n/* a\n b */\nspin_lock(&l);\n}") == ("locks: spin_lock (line 14)",)


def test_many_places_are_cut_and_counted() -> None:
    body = "\n".join(f"atomic_op{number}(v);" for number in range(7))
    assert notes(f"void f(void) {{\n{body}\n}}")[0].endswith("atomic_op3 (line 14) and 3 more")


def test_sections_and_exports_are_read_around_the_body() -> None:
    assert notes("static int __init f(void) { return __exit_code; }") == (
        "special section: __init: it may call and be called only from alike",
    )
    assert notes("int f(void) {}", file_text="EXPORT_SYMBOL(f);")[0].startswith("exported: EXPORT_SYMBOL:")
    assert notes("int f(void) {}", file_text="EXPORT_SYMBOL(ff);\n/* EXPORT_SYMBOL(f); */") == ()


def ranked(**shares: float | None) -> list[Ranked]:
    return [Ranked(symbol, share or 0.1, share, None, "self", "ns") for symbol, share in shares.items()]


@pytest.mark.parametrize(
    ("shares", "links", "expected"),
    [
        ({"a": 0.5, "b": 0.5}, set(), bottleneck.CPU_BOUND_LOOP),
        ({"a": 0.3, "b": 0.1, "c": 0.1}, set(), bottleneck.CPU_BOUND_LOOP),
        ({"a": 0.4, "b": 0.35, "c": 0.25}, {("b", "a")}, bottleneck.CALL_OVERHEAD),
        ({"a": 0.4, "b": 0.35, "c": 0.25}, set(), bottleneck.UNKNOWN),
        ({"a": 0.3, "b": 0.25, "c": 0.2, "d": 0.25}, {("a", "c")}, bottleneck.CALL_OVERHEAD),
        ({"a": 0.2, "b": 0.2, "c": 0.2, "d": 0.2, "e": 0.2}, {("a", "b")}, bottleneck.UNKNOWN),
        ({"a": None}, set(), bottleneck.UNKNOWN),
        ({}, set(), bottleneck.UNKNOWN),
    ],
)
def test_classes(shares: dict[str, float | None], links: set[tuple[str, str]], expected: str) -> None:
    found = taxonomy.survey(ranked(**shares), lambda caller, callee: (caller, callee) in links).found[0]
    assert found.name == expected
    assert found.reason


def test_the_reason_holds_the_numbers_and_names() -> None:
    found = taxonomy.survey(
        ranked(sort_r=0.3, do_swap=0.25, other=0.45), lambda a, b: (a, b) == ("sort_r", "do_swap")
    ).found[0]
    assert found.reason == (
        "sort_r and its callee do_swap together have 55.0 % of the ranked self cost, neither has half of it alone "
        "(rule: 50 %)"
    )
