# SPDX-License-Identifier: Apache-2.0
"""What every benchmark prints: rows with their budgets, as a table or as one JSON object."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BUDGETS = Path(__file__).with_name("budgets.json")


@dataclass(frozen=True)
class Row:
    """One number. Its budget, the most it may be, stands in `budgets.json` under the benchmark's name."""

    what: str
    value: float
    unit: str


def benchmark_parser(description: str | None) -> argparse.ArgumentParser:
    """Return the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="less of everything: under a minute")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def told(name: str, rows: Sequence[Row], *, as_json: bool, skipped: Mapping[str, str] | None = None) -> int:
    """Print the rows and return 1 when a budget is missed; a budget that no row has is an error.

    `skipped` are the rows that cannot be measured here, with the reason, which is told in their place.
    """
    skipped = skipped or {}
    budgets: dict[str, float] = json.loads(BUDGETS.read_text())[name]
    unmeasured = budgets.keys() - {row.what for row in rows} - skipped.keys()
    if unmeasured:
        raise SystemExit(f"{BUDGETS.name} has budgets that '{name}' does not measure: {', '.join(sorted(unmeasured))}")
    kept = {row.what: row.value <= budgets.get(row.what, row.value) for row in rows}
    if as_json:
        listed = [
            {"what": row.what, "value": row.value, "unit": row.unit, "budget": budgets.get(row.what),
             "ok": kept[row.what]}
            for row in rows
        ]  # fmt: skip
        listed += [{"what": what, "skipped": reason} for what, reason in skipped.items()]
        print(json.dumps({"v": 1, "name": name, "rows": listed, "environment": _environment()}))
    else:
        for row in rows:
            budget = budgets.get(row.what)
            missed = "" if kept[row.what] else ": MISSED"
            bound = "" if budget is None else f"  budget {budget:g} {row.unit}{missed}"
            print(f"{row.what:<48} {row.value:>10.2f} {row.unit:<3}{bound}")
        for what, reason in skipped.items():
            print(f"{what:<48} {'skipped':>10}    {reason}")
    return 0 if all(kept.values()) else 1


def _environment() -> dict[str, str]:
    """Return what the numbers depend on."""
    return {
        "python": platform.python_version(),
        "kernel": f"{platform.system()} {platform.release()}",
        "cpus": str(len(os.sched_getaffinity(0))),
        "load": f"{os.getloadavg()[0]:.2f}",
    }
