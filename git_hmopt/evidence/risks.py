# SPDX-License-Identifier: Apache-2.0
"""Find in a function's text what makes an edit of it dangerous, and say so in words with lines."""

from __future__ import annotations

import re

_SHOWN = 4

# Each name stands for what a patch must not break; the patterns are the kernel's own API families
# (Documentation/locking, RCU, core-api/refcount-vs-atomic, core-api/atomic_ops, process/adding-syscalls).
_BODY_RULES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "locks",
        re.compile(
            r"\b(?:(?:raw_)?(?:spin|read|write|local)_(?:try|un)?lock\w*|mutex_(?:try|un)?lock\w*"
            r"|(?:down|up)(?:_read|_write|_trylock|_interruptible|_killable)*(?=\s*\()|read_seq\w+|write_seq\w+)"
        ),
    ),
    ("RCU", re.compile(r"\b(?:s?rcu_\w+|call_rcu\w*|synchronize_s?rcu\w*|\w+_rcu)\b")),
    (
        "interrupts or preemption off",
        re.compile(
            r"\b(?:local_irq_\w+|local_bh_\w+|preempt_(?:disable|enable)\w*|\w+_lock_irq(?:save)?|\w+_lock_bh)\b"
        ),
    ),
    (
        "atomics and barriers",
        re.compile(
            r"\b(?:atomic(?:64|_long)?_\w+|READ_ONCE|WRITE_ONCE|smp_\w+|dma_[rw]?mb|[rw]?mb(?=\s*\()|barrier(?=\s*\()"
            r"|(?:try_)?cmpxchg\w*|xchg\w*|(?:set|clear|change)_bit(?:_unlock)?(?=\s*\()|test_and_\w+_bit\w*)"
        ),
    ),
    (
        "user memory",
        re.compile(
            r"\b(?:__user|_?_?copy_(?:from|to)_user\w*|copy_struct_from_user|(?:__|unsafe_)?(?:get|put)_user\w*"
            r"|access_ok|user_access_\w+|str\w+_user|clear_user)\b"
        ),
    ),
    (
        "reference counts",
        re.compile(
            r"\b(?:refcount_\w+|kref_\w+|percpu_ref_\w+|kobject_(?:get|put)|get_page|put_page|f(?:get|put)"
            r"|(?:try_)?module_(?:get|put)|dev_(?:hold|put)|sock_(?:hold|put))\b"
        ),
    ),
    ("inline assembly", re.compile(r"\b(?:asm|__asm__|asm_inline)\b")),
)
_SECTION = re.compile(r"\b(?:__init|__exit|__meminit|__cpuinit|noinstr|__sched)\b")
_NOT_CODE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def risk_notes(symbol: str, text: str, *, first_line: int, file_text: str) -> tuple[str, ...]:
    """Return one line a risk found in the function's text, in a fixed order; comments and strings are not code.

    `file_text` is the whole file, where EXPORT_SYMBOL stands outside the function.
    """
    code = code_only(text)
    notes = [
        f"{name}: {shown}" for name, pattern in _BODY_RULES if (shown := _places(pattern, code, first_line)) is not None
    ]
    marks = _SECTION.findall(code.split("{", 1)[0])
    if marks:
        notes.append(f"special section: {', '.join(dict.fromkeys(marks))}: it may call and be called only from alike")
    exported = re.search(rf"\b(EXPORT_SYMBOL\w*)\s*\(\s*{re.escape(symbol)}\b", code_only(file_text))
    if exported:
        notes.append(f"exported: {exported[1]}: modules depend on its signature and behaviour")
    return tuple(notes)


def code_only(text: str) -> str:
    """Blank out comments and literals, keeping every newline so that lines still count."""
    return _NOT_CODE.sub(lambda match: " " + "\n" * match[0].count("\n"), text)


def _places(pattern: re.Pattern[str], code: str, first_line: int) -> str | None:
    lines: dict[str, int] = {}
    for match in pattern.finditer(code):
        lines.setdefault(match[0], first_line + code.count("\n", 0, match.start()))
    if not lines:
        return None
    shown = [f"{name} (line {line})" for name, line in list(lines.items())[:_SHOWN]]
    more = len(lines) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
