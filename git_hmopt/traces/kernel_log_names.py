# SPDX-License-Identifier: Apache-2.0
"""What a line of the kernel's log says: one of the symptoms we know, or the subsystem that speaks."""

from __future__ import annotations

import polars as pl

SYMPTOMS = (
    ("oom-kill", r"oom-kill:|Out of memory: Kill|invoked oom-killer|Memory cgroup out of memory|lowmemorykiller"),
    ("page-allocation-failure", r"page allocation (?:failure|stalls)"),
    ("soft-lockup", r"BUG: soft lockup"),
    ("hard-lockup", r"Watchdog detected hard LOCKUP|hard LOCKUP on cpu"),
    ("rcu-stall", r"detected (?:expedited )?stall|self-detected stall"),
    ("hung-task", r"blocked for more than [0-9]+ seconds|hung_task"),
    ("call-trace", r"^ *Call [Tt]race:"),
    ("rt-throttled", r"RT throttling activated"),
    ("irq-nobody-cared", r"irq [0-9]+: nobody cared"),
    ("thermal", r"[Tt]hermal[^a-z]|[Tt]hrottl"),
)
"""Names and what the kernel prints of each; the first that fits a line names it.

No boundary of words (\\b): with one, lines that are not all ASCII took ninety times as long.
"""

PLAIN = "message"
"""The name of a line in which neither a symptom nor a subsystem was recognised."""
_ANY = "|".join(f"(?:{pattern})" for _, pattern in SYMPTOMS)
# Classes of ASCII and no counted repetition: with either this was the slowest part of reading a log.
_NAME = r"^[ \t]*([A-Za-z_][0-9A-Za-z_./-]*)(?:\[[0-9]+\])?"
_SUBSYSTEM = rf"{_NAME}: "
_SUBSYSTEM_OF = rf"{_NAME} [0-9A-Za-z_.:()-]+: "
"""The same with a word of what the subsystem speaks of, `usb 1-1: `."""


def names(text: pl.Series) -> pl.Series:
    """Return a name for each text."""
    found = text.str.extract(_SUBSYSTEM)
    if len(rest := found.is_null().arg_true()):
        # Together both patterns take twice as long for every line.
        found = found.scatter(rest, text.gather(rest).str.extract(_SUBSYSTEM_OF))
    found = found.fill_null(PLAIN)
    rows = text.str.contains(_ANY).fill_null(value=False).arg_true()
    for name, pattern in SYMPTOMS:
        if not len(rows):
            break
        fits = text.gather(rows).str.contains(pattern)
        if fits.any():
            found = found.scatter(rows.filter(fits), name)
            rows = rows.filter(~fits)
    return found
