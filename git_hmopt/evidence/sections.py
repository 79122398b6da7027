# SPDX-License-Identifier: Apache-2.0
"""Tell every section of a hotspot's evidence in a short and a medium text, and in full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from git_hmopt.evidence.retrieved_sections import RETRIEVED
from git_hmopt.evidence.wording import oneline
from git_hmopt.records.evidence import Attempt, HotspotEvidence, Neighbour, Section, Template
from git_hmopt.records.run import HotspotRecord
from git_hmopt.records.words import Without

_MEDIUM = 5
"""How many entries a medium text holds."""


def sections_of(evidence: HotspotEvidence, without: Sequence[Without] = ()) -> tuple[Section, ...]:
    """Return all sections of a hotspot, in the packs' default order; what is unknown says so.

    There are none of what the pack goes without: that it is unknown would say that somebody had looked.
    """
    left_out = {name for what in without for name in _LEFT_OUT[what]}
    return tuple(
        Section(name=name, short=oneline(short(evidence)), medium=medium(evidence))
        for name, (short, medium, _) in _TEXTS.items()
        if _tells(name, evidence) and name not in left_out and (name != "cost" or "graph" in without)
    )


def place_text(spot: HotspotRecord) -> str:
    """Return what put a hotspot where it stands: its share of the profile, or how far away it is."""
    if spot.score is not None:
        return f"{100 * float(spot.score):.1f} %"
    if spot.distance is None:
        return "unmeasured"
    return f"unmeasured, {spot.distance} call{'s' if spot.distance != 1 else ''} from the harness"


def _tells(name: str, evidence: HotspotEvidence) -> bool:
    """Say whether there is such a section: older packs have fewer, and where there is nothing none is made."""
    if name in RETRIEVED:
        return evidence.retrieved is not None
    return name not in _IF_ANY or bool(getattr(evidence, name))


def full_text(name: str, evidence: HotspotEvidence) -> str | None:
    """Return everything a section holds; None for a section this version does not know."""
    return _TEXTS[name][2](evidence) if name in _TEXTS else None


def _source_short(evidence: HotspotEvidence) -> str:
    source, spot = evidence.source, evidence.hotspot
    if source is None:
        where = f"{spot.file}:{spot.first_line or '?'}" if spot.file else "unknown place"
        return f"no source text ({where}, resolved by {spot.resolved_by})"
    lines = source.last_line - source.first_line + 1
    return f"{source.path}:{source.first_line}-{source.last_line} ({lines} lines)"


def _source_medium(evidence: HotspotEvidence) -> str:
    source = evidence.source
    if source is None:
        return _source_short(evidence)
    signature = oneline(source.text.split("{", 1)[0])
    return f"{_source_short(evidence)}: {signature}"


def _source_full(evidence: HotspotEvidence) -> str:
    source = evidence.source
    return _source_short(evidence) if source is None else f"{_source_short(evidence)}\n{source.text}"


def _hottest(evidence: HotspotEvidence) -> list[tuple[int, int]]:
    return sorted(((item.line, item.count) for item in evidence.line_counts), key=lambda pair: (-pair[1], pair[0]))


def _counts_short(evidence: HotspotEvidence) -> str:
    hottest = _hottest(evidence)
    if not hottest:
        return "unmeasured"
    return f"line {hottest[0][0]} ran {hottest[0][1]} times; {len(hottest)} lines counted"


def _counts_medium(evidence: HotspotEvidence) -> str:
    if not evidence.line_counts:
        return "unmeasured"
    return "\n".join(_counted(evidence, line, count) for line, count in _hottest(evidence)[:_MEDIUM])


def _counts_full(evidence: HotspotEvidence) -> str:
    if not evidence.line_counts:
        return "unmeasured"
    return "\n".join(_counted(evidence, item.line, item.count) for item in evidence.line_counts)


def _counted(evidence: HotspotEvidence, line: int, count: int) -> str:
    source = evidence.source
    # str.splitlines would also split at form feeds and Unicode separators, and lines would no longer count.
    lines = source.text.split("\n") if source else []
    offset = line - source.first_line if source else -1
    text = lines[offset].strip() if 0 <= offset < len(lines) else ""
    return f"{line}: {count} times{': ' if text else ''}{text}"


def _share(neighbour: Neighbour) -> str:
    return "unmeasured" if neighbour.cost is None else f"{100 * float(neighbour.cost):.1f} %"


def _edges(evidence: HotspotEvidence, limit: int | None) -> str:
    head = _cost(evidence)
    if not evidence.runtime:
        return f"{head}; callers and callees unmeasured"
    shown = evidence.runtime[:limit] if limit else evidence.runtime
    lines = [f"{item.relation} {item.symbol} {_share(item)}" for item in shown]
    return "\n".join([head, *lines])


def _cost(evidence: HotspotEvidence) -> str:
    spot = evidence.hotspot
    of = f" of {spot.unit}" if spot.score is not None else ""
    return f"score {place_text(spot)}{of} ({spot.ranker})"


def _runtime_short(evidence: HotspotEvidence) -> str:
    head = _edges(evidence, 1).split("\n", 1)[0]
    kinds = Counter(item.relation for item in evidence.runtime)
    counted = ", ".join(_counted_kind(kind, kinds[kind]) for kind in ("caller", "callee") if kinds[kind])
    return f"{head}; measured: {counted}" if counted else head


def _counted_kind(kind: str, count: int) -> str:
    return f"{count} {kind}{'s' if count > 1 else ''}"


def _static_short(evidence: HotspotEvidence) -> str:
    kinds = Counter(item.relation for item in evidence.static)
    return (
        ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in sorted(kinds.items())) or "none known"
    )


def _static_lines(evidence: HotspotEvidence, limit: int | None) -> str:
    by_kind: dict[str, list[str]] = {}
    for item in evidence.static:
        place = f" ({item.file}:{item.line})" if item.file and limit is None else ""
        by_kind.setdefault(item.relation, []).append(f"{item.symbol}{place}")
    lines = []
    for kind, names in sorted(by_kind.items()):
        shown = names[:limit] if limit else names
        more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
        lines.append(f"{kind}: {', '.join(shown)}{more}")
    return "\n".join(lines) or "none known"


def _attempt(attempt: Attempt) -> str:
    return f"{attempt.run} #{attempt.iteration} {attempt.strategy}: {attempt.verdict} ({oneline(attempt.reason)})"


def _attempts_short(evidence: HotspotEvidence) -> str:
    verdicts = Counter(attempt.verdict for attempt in evidence.attempts)
    return ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items())) or "none"


def _attempts_lines(evidence: HotspotEvidence, limit: int | None) -> str:
    shown = evidence.attempts[-limit:] if limit else evidence.attempts
    return "\n".join(_attempt(attempt) for attempt in shown) or "none"


def _risks_short(evidence: HotspotEvidence) -> str:
    return ", ".join(note.split(":", 1)[0] for note in evidence.risks) or "none found"


def _risks_full(evidence: HotspotEvidence) -> str:
    return "\n".join(evidence.risks) or "none found"


def _strategies(evidence: HotspotEvidence) -> str:
    return ", ".join(evidence.strategies) or "none"


def _strategies_short(evidence: HotspotEvidence) -> str:
    more = len(evidence.strategies) - _MEDIUM
    shown: Sequence[str] = evidence.strategies[:_MEDIUM]
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "") or "none"


def _templates_short(evidence: HotspotEvidence) -> str:
    return ", ".join(one.name for one in evidence.templates)


def _templates_medium(evidence: HotspotEvidence) -> str:
    return "\n".join(f"{one.name}: {oneline(one.what_to_try)}" for one in evidence.templates)


def _templates_full(evidence: HotspotEvidence) -> str:
    return "\n".join(_template(one) for one in evidence.templates)


def _template(one: Template) -> str:
    # Indented, so that no line of an example stands where a heading or a section's name does.
    example = "\n".join(f"    {line}" for line in one.example.rstrip("\n").split("\n"))
    return (
        f"{one.name} (against {one.bottleneck}): {oneline(one.what_to_try)}\n"
        f"  only if: {oneline(' '.join(one.preconditions))}\n"
        f"  risks: {oneline(' '.join(one.risks))}\n"
        f"  shape:\n{example}\n"
        f"  source: {oneline(one.source)}"
    )


def _lines_short(lines: Sequence[str]) -> str:
    more = f" and {len(lines) - 1} more" if len(lines) > 1 else ""
    return f"{lines[0]}{more}" if lines else "none"


def _lines_medium(lines: Sequence[str]) -> str:
    more = [f"and {len(lines) - _MEDIUM} more"] if len(lines) > _MEDIUM else []
    return "\n".join([*map(oneline, lines[:_MEDIUM]), *more])


def _lines_full(lines: Sequence[str]) -> str:
    return "\n".join(map(oneline, lines))


_IF_ANY = ("templates", "windows", "joins")
_LEFT_OUT: Mapping[Without, tuple[str, ...]] = MappingProxyType(
    {"profile": ("line_counts", "runtime", "similar_runs"), "graph": ("runtime", "static")}
)
_Text = Callable[[HotspotEvidence], str]
_TEXTS: Mapping[str, tuple[_Text, _Text, _Text]] = MappingProxyType(
    {
        "source": (_source_short, _source_medium, _source_full),
        "line_counts": (_counts_short, _counts_medium, _counts_full),
        "runtime": (_runtime_short, lambda one: _edges(one, _MEDIUM), lambda one: _edges(one, None)),
        # In the place of `runtime` where nothing is said of who calls whom.
        "cost": (_cost, _cost, _cost),
        "static": (_static_short, lambda one: _static_lines(one, _MEDIUM), lambda one: _static_lines(one, None)),
        "attempts": (
            _attempts_short,
            lambda one: _attempts_lines(one, _MEDIUM),
            lambda one: _attempts_lines(one, None),
        ),
        "risks": (_risks_short, _risks_full, _risks_full),
        "strategies": (_strategies_short, _strategies, _strategies),
        "templates": (_templates_short, _templates_medium, _templates_full),
        "windows": (
            lambda one: _lines_short(one.windows),
            lambda one: _lines_medium(one.windows),
            lambda one: _lines_full(one.windows),
        ),
        "joins": (
            lambda one: _lines_short(one.joins),
            lambda one: _lines_medium(one.joins),
            lambda one: _lines_full(one.joins),
        ),
        **RETRIEVED,
    }
)
