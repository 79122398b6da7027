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
_SUBSYSTEM = r"^[ \t]*([A-Za-z_][0-9A-Za-z_./-]*)(?:\[[0-9]+\])?(?: [0-9A-Za-z_.:()-]+)?: "


def names(text: pl.Series) -> pl.Series:
    """Return a name for each text."""
    found = text.str.extract(_SUBSYSTEM).fill_null(PLAIN)
    rows = text.str.contains(_ANY).fill_null(value=False).arg_true()
    if not len(rows):
        return found
    few = text.gather(rows).to_frame("text")
    choice = pl.coalesce(
        [pl.when(pl.col("text").str.contains(pattern)).then(pl.lit(name)) for name, pattern in SYMPTOMS]
    )
    return found.scatter(rows, few.select(choice.alias("name"))["name"])
