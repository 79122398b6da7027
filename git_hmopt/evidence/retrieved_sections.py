# SPDX-License-Identifier: Apache-2.0
"""Tell what was found of other places and other runs in a short and a medium text, and in full.

What others wrote stands on one line, and their code is indented: no line of it poses as a heading or a section.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType

from git_hmopt.evidence.wording import change_percent, oneline
from git_hmopt.records.evidence import HotspotEvidence
from git_hmopt.records.retrieved import PastDelta, PastFix, Retrieved, SimilarCode, SimilarRun

_COMMIT = 12
_MEDIUM_FIXES = 2


def delta_text(delta: PastDelta) -> str:
    """Return a measured change with its interval, in words."""
    interval = f" [{change_percent(delta.low)}, {change_percent(delta.high)}]"
    return f"{oneline(delta.metric)} against {delta.against} {change_percent(delta.estimate)}{interval}"


def _searched(found: Retrieved) -> str:
    return f"none alike (looked through {oneline(found.searched)})"


def _near(alike: str, *, same: bool = False) -> str:
    return f"same function, alike {alike}" if same else f"alike {alike}"


def _fix_head(fix: PastFix) -> str:
    where = f"commit {fix.commit[:_COMMIT]}" if fix.commit else "no commit"
    on = f" on {oneline(fix.symbol)}" if fix.symbol else ""
    deltas = "; ".join(delta_text(one) for one in fix.deltas) or "nothing measured"
    head = f"{fix.run} #{fix.iteration} ({where}; {_near(fix.alike, same=fix.same_function)})"
    return f"{head}: {oneline(fix.strategy)}{on}: {fix.verdict}: {deltas}"


def _fix(fix: PastFix) -> str:
    return f"{_fix_head(fix)}\n  {oneline(fix.title)}\n  because: {oneline(fix.reason)}"


def _fixes_short(found: Retrieved) -> str:
    verdicts = Counter(one.verdict for one in found.fixes)
    return ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items())) or _searched(found)


def _fixes_medium(found: Retrieved) -> str:
    more = len(found.fixes) - _MEDIUM_FIXES
    lines = [_fix_head(one) for one in found.fixes[:_MEDIUM_FIXES]] + ([f"and {more} more"] if more > 0 else [])
    return "\n".join(lines) or _searched(found)


def _fixes_full(found: Retrieved) -> str:
    return "\n".join(_fix(one) for one in found.fixes) or _searched(found)


def _run_head(one: SimilarRun) -> str:
    near = _near(one.alike, same=one.same_function)
    return f"{one.run} (base {one.commit[:_COMMIT]}; {near}), workload {oneline(one.workload)}"


def _runs_short(found: Retrieved) -> str:
    return ", ".join(one.run for one in found.runs) or _searched(found)


def _runs_medium(found: Retrieved) -> str:
    return "\n".join(_run_head(one) for one in found.runs) or _searched(found)


def _runs_full(found: Retrieved) -> str:
    return "\n".join(
        f"{_run_head(one)}\n  {oneline(one.summary)}\n  hot there: {', '.join(one.symbols)}" for one in found.runs
    ) or _searched(found)


def _code_head(one: SimilarCode) -> str:
    place = f"{oneline(one.path)}@{one.blob[:_COMMIT]}:{one.first_line}-{one.last_line}"
    summary = f": {oneline(one.summary)}" if one.summary else ""
    return f"{one.symbol} ({place}; {_near(one.alike)}){summary}"


def _code_short(found: Retrieved) -> str:
    return ", ".join(one.symbol for one in found.code) or _searched(found)


def _code_medium(found: Retrieved) -> str:
    return "\n".join(_code_head(one) for one in found.code) or _searched(found)


def _code_full(found: Retrieved) -> str:
    return "\n".join(f"{_code_head(one)}\n{_indented(one.text)}" for one in found.code) or _searched(found)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.split("\n"))


_Text = Callable[[HotspotEvidence], str]


def _of(tell: Callable[[Retrieved], str]) -> _Text:
    return lambda evidence: "not looked for" if evidence.retrieved is None else tell(evidence.retrieved)


RETRIEVED: Mapping[str, tuple[_Text, _Text, _Text]] = MappingProxyType(
    {
        "past_fixes": (_of(_fixes_short), _of(_fixes_medium), _of(_fixes_full)),
        "similar_runs": (_of(_runs_short), _of(_runs_medium), _of(_runs_full)),
        "similar_code": (_of(_code_short), _of(_code_medium), _of(_code_full)),
    }
)
"""By section: its short and its medium text, and all of it."""
