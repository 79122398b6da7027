# SPDX-License-Identifier: Apache-2.0
"""A run's story as one HTML page that needs nothing else: opened from disk it loads nothing, light or dark or printed.

Every text of a run goes through `_shown`: nothing in it reorders or escapes. A policy in the page allows the two
scripts of this room by their hashes and no other, so that what got out of a name could still do nothing. The page is
well-formed XML, too.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from statistics import median
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import DiffLexer

from git_hmopt.errors import CorruptRecordError
from git_hmopt.report import charts, flame, wording
from git_hmopt.report.facts import DeltaFacts, MetricFacts, NullFacts
from git_hmopt.report.fields import Fields, MalformedError
from git_hmopt.report.models import (
    AGENT_HEADS,
    ITERATION_HEADS,
    agent_rows,
    iteration_rows,
    model_lines,
    models_of,
    summaries,
)
from git_hmopt.report.next_steps import next_commands, rollback_commands, same_run_command
from git_hmopt.report.story import Iteration, RunStory
from git_hmopt.report.windows import Read, slow_times
from git_hmopt.runtime.difference import compare

_LONGEST = 2000
_NAME = 160
_MOST_DIFF = 40_000
"""Bytes of a diff that are shown; highlighted they are four times as many."""
_MOST_DIFFS = 160_000
"""Of all diffs together."""
_MOST_KPIS = 20
_MOST_SLOW_TIMES = 24
_NOT_ASCII = re.compile("[^ -~]")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


@dataclass(frozen=True)
class _Claim:
    """A change that is claimed, with all that stands behind it."""

    title: str
    ident: str
    delta: DeltaFacts
    unit: str
    samples: str | None
    tone: charts.Tone


@dataclass(frozen=True)
class _Reading:
    """The readings of one layout."""

    number: int
    seed: str
    a: tuple[float, ...]
    b: tuple[float, ...]


def html_report(story: RunStory, read: Read, flames: flame.Flames) -> str:
    """Return the page. What is not in this clone is said where it would stand."""
    artifacts = _Artifacts(read)
    scripts = [flame.script(), _text("report.js")]
    page = {
        "story": story,
        "run": story.run,
        "words": wording,
        "style": Markup(_text("report.css") + flame.style()),
        "scripts": [Markup(f"//<![CDATA[\n{script}//]]>") for script in scripts],
        "policy": _policy(scripts),
        "outcome": wording.outcome(story),
        "messages": summaries(story.messages, story.run.name)[1],
        "notes": [*story.notes, *filter(None, [wording.skipped_line(story)])],
        "tone": _outcome_tone(story),
        "numbers": list(_numbers(story)),
        "models": _models(story),
        "timeline": _timeline(story),
        "kpis": [one for one in story.kpis if one.of == "all"],
        "kpi_chart": Markup(_kpi_chart(story)),
        "claims": [_shown_claim(claim, story, artifacts) for claim in _claims(story)],
        "nulls": _nulls(story),
        "exact": list(_exact(story)),
        "flames": _flames(flames),
        "flames_missing": flames.missing,
        "patches": list(_patches(story, artifacts)),
        **_slow_times(story, read),
        "risks": [_risks(one, artifacts) for one in story.accepted],
        "rollback": rollback_commands(story),
        "again": same_run_command(story),
        "commands": next_commands(story),
        "stored": [*story.artifacts, *(each for one in story.iterations for each in one.artifacts)],
    }
    return _environment().get_template("report.html.jinja").render(page)


def _text(name: str) -> str:
    return files("git_hmopt.report").joinpath(name).read_text(encoding="utf-8")


def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("git_hmopt.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["name"] = lambda text: wording.fit(str(text), _NAME)
    found.filters["percent"] = lambda ratio: wording.UNKNOWN if ratio is None else wording.percent(ratio).lstrip("+")
    found.filters["level"] = _level
    found.filters["ends"] = _ends
    return found


def _shown(value: object) -> object:
    """Return what a template prints: text on one line, not endless, without marks that reorder what is shown."""
    if value is None or isinstance(value, Markup | int | float):
        return "" if value is None else value
    return _NOT_XML.sub("\ufffd", wording.fit(_HIDDEN.sub(" ", str(value)), _LONGEST))


def _policy(scripts: Sequence[str]) -> str:
    digests = [hashlib.sha256(f"//<![CDATA[\n{script}//]]>".encode()).digest() for script in scripts]
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src {allowed}; base-uri 'none'; form-action 'none'"


class _Artifacts:
    """Reads artifacts, and turns what cannot be read into a sentence."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def get(self, sha256: str | None, what: str) -> tuple[bytes | None, str]:
        """Return the bytes, or None and why."""
        if sha256 is None:
            return None, f"No {what} was recorded."
        try:
            data = self._read(sha256)
        except CorruptRecordError as error:
            return None, f"The {what} cannot be read: {error.what}."
        return data, "" if data is not None else f"The {what} (artifact {sha256[:12]}) is not in this clone."


# -- numbers --------------------------------------------------------------------------------------------------------


def _outcome_tone(story: RunStory) -> charts.Tone:
    if not story.accepted or story.withdrawn or not story.confirmations:
        return "none"
    return _tone(story.confirmations[0])


def _tone(delta: DeltaFacts) -> charts.Tone:
    """Say which way a change goes; whether more of a KPI is better is not recorded."""
    said = wording.confirmed(delta).rpartition(": ")[2]
    return {"faster": "better", "fewer": "better", "smaller": "better"}.get(  # type: ignore[return-value]
        said, "worse" if said in ("slower", "more", "larger") else "none"
    )


def _numbers(story: RunStory) -> Iterator[dict[str, Any]]:
    """Yield the metrics of base and best with the change between them; the fresh measurement where there was one."""
    known = _metrics(story)
    for delta in story.confirmations:
        mine = [one for one in known if one.name == delta.metric]
        best = _last(mine, story.best_commit)
        base = _last(mine, story.run.base_commit)
        said = wording.confirmed(delta).rpartition(": ")[2]
        yield {"name": delta.metric, "base": base, "best": best, "change": wording.at_confidence(delta),
               "said": said, "tone": _tone(delta), "how": wording.how_measured(delta)}  # fmt: skip
    told = {delta.metric for delta in story.confirmations}
    for name in dict.fromkeys(one.name for one in known if one.name not in told):
        mine = [one for one in known if one.name == name]
        yield {"name": name, "base": _last(mine, story.run.base_commit), "best": _last(mine, story.best_commit)
               if story.accepted else None, "change": wording.UNKNOWN, "said": "not measured afresh", "tone": "none",
               "how": ""}  # fmt: skip


def _metrics(story: RunStory) -> list[MetricFacts]:
    """Return all that was measured, in order: what ends a run is recorded with its last iteration."""
    return [*story.metrics, *(metric for one in story.iterations for metric in one.metrics)]


@dataclass(frozen=True)
class _Scale:
    """A unit in which a number has few digits before its point, and how many of the metric's own it is."""

    unit: str
    by: float

    @property
    def said(self) -> str:
        return f", {self.unit}" if self.unit else ""


def _scale(unit: str, largest: float) -> _Scale:
    """Return milliseconds for millions of nanoseconds, and so on; any other unit as it is, a bare number without."""
    if unit != "ns":
        return _Scale("" if unit == "1" else unit, 1)
    for name, by in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if largest >= by:
            return _Scale(name, by)
    return _Scale("ns", 1)


def _level(metric: MetricFacts) -> str:
    value = float(metric.value)
    scale = _scale(metric.unit, value)
    number = f"{value / scale.by:.5g}" if metric.unit != "1" else metric.value
    return f"{number} {scale.unit}".strip()


def _ends(metric: MetricFacts) -> str:
    scale = _scale(metric.unit, float(metric.value))
    return ", ".join(f"{float(end) / scale.by:.5g}" for end in (metric.low, metric.high) if end is not None)


def _last(metrics: Sequence[MetricFacts], commit: str) -> MetricFacts | None:
    return next((one for one in reversed(metrics) if one.commit == commit), None)


def _timeline(story: RunStory) -> dict[str, Any]:
    rows, drawn = [], []
    for one in story.iterations:
        judged = one.evaluation
        deltas = judged.deltas if judged else ()
        time, count = wording.delta_of(deltas, ("time", "kpi")), wording.delta_of(deltas, ("count",))
        exchanges, others = summaries(one.messages, story.run.name)
        rows.append({"one": one, "exchanges": exchanges, "messages": others, "time": time, "count": count,
                     "label": wording.verdict_label(one), "tone": _verdict_tone(one),
                     "accepted": bool(judged and judged.accepted)})  # fmt: skip
        if time:
            drawn.append(_row(str(one.number), time, _verdict_tone(one)))
    fresh = [_row("best", delta, _tone(delta)) for delta in story.confirmations if not delta.exact][:1]
    floor = float(story.floor.value) if story.floor else None
    told = f"Change of {len(drawn)} candidates with their intervals; the table below has the numbers"
    chart = charts.intervals([*drawn, *fresh], floor, ident="timeline", told=told) if drawn or fresh else ""
    return {"rows": rows, "chart": Markup(chart)}


def _models(story: RunStory) -> dict[str, Any] | None:
    """Return what is told of the models that were asked."""
    found = models_of(story)
    if found is None:
        return None
    tables = ((AGENT_HEADS, agent_rows(found)), (ITERATION_HEADS, iteration_rows(found)))
    return {"tables": tables, "lines": model_lines(found)}


def _verdict_tone(one: Iteration) -> charts.Tone:
    verdict = one.evaluation.verdict if one.evaluation else ""
    return "better" if verdict == "improved" else "worse" if verdict in ("regressed", "incorrect") else "none"


def _row(label: str, delta: DeltaFacts | NullFacts, tone: charts.Tone) -> charts.Row:
    middle = (float(delta.low), float(delta.estimate), float(delta.high))
    return charts.Row(label, middle, tuple(map(float, delta.ratios)), tone)


def _kpi_chart(story: RunStory) -> str:
    """Draw how the KPIs of later captures lie to those of the first; nothing where there is one capture."""
    first, *later = dict.fromkeys(one.capture for one in story.kpis) or [""]
    values = {(one.capture, one.name): float(one.value) for one in story.kpis if one.of == "all"}
    rows = []
    for name in dict.fromkeys(one.name for one in story.kpis if one.of == "all"):
        before = values.get((first, name))
        found = tuple(values[one, name] / before - 1 for one in later if (one, name) in values) if before else ()
        if any(found):
            rows.append((_NOT_ASCII.sub("?", wording.fit(name, 28)), found))
    if not rows:
        return ""
    rows.sort(key=lambda row: -max(map(abs, row[1])))
    told = (
        f"Change of {len(rows[:_MOST_KPIS])} KPIs from the first capture to later ones; the table below has all values"
    )
    return charts.changes(rows[:_MOST_KPIS], ident="kpis-chart", told=told)


# -- distributions --------------------------------------------------------------------------------------------------


def _claims(story: RunStory) -> Iterator[_Claim]:
    for number, delta in enumerate(story.confirmations):
        if not delta.exact:
            metrics = [one for one in reversed(_metrics(story)) if one.commit == story.best_commit]
            yield _claim("Best against base, measured afresh", f"best-{number}", delta, metrics, _tone(delta))
    for one in story.iterations:
        for number, delta in enumerate(one.evaluation.deltas if one.evaluation else ()):
            if not delta.exact:
                title = f"Iteration {one.number} against {'best' if delta.against == 'best' else 'base'}"
                yield _claim(title, f"i{one.number}-{number}", delta, one.metrics, _verdict_tone(one))


def _claim(title: str, ident: str, delta: DeltaFacts, metrics: Sequence[MetricFacts], tone: charts.Tone) -> _Claim:
    known = [one for one in metrics if one.name == delta.metric and one.samples]
    unit = known[0].unit if known else ""
    return _Claim(title, ident, delta, unit, delta.samples or (known[0].samples if known else None), tone)


def _exact(story: RunStory) -> Iterator[tuple[str, DeltaFacts]]:
    for delta in story.confirmations:
        if delta.exact:
            yield "best", delta
    for one in story.iterations:
        for delta in one.evaluation.deltas if one.evaluation else ():
            if delta.exact:
                yield str(one.number), delta


def _shown_claim(claim: _Claim, story: RunStory, artifacts: _Artifacts) -> dict[str, Any]:
    delta = claim.delta
    nulls = story.floor.nulls if story.floor and delta.floor is not None else ()
    points = tuple(float(ratio) for null in nulls for ratio in null.ratios)
    rows = [_row("B / A", delta, claim.tone), *([charts.Row("nothing", None, points, "null")] if points else [])]
    readings, missing = _readings(claim, artifacts)
    scale = _scale(claim.unit, max((value for one in readings for value in (*one.a, *one.b)), default=0))
    floor = None if delta.floor is None else float(delta.floor)
    told = f"{wording.at_confidence(delta)} over {wording.how_measured(delta)}; points of nothing: {len(points)}"
    return {
        "title": claim.title,
        "delta": delta,
        "missing": missing,
        "chart": Markup(charts.intervals(rows, floor, ident=f"c{claim.ident}", told=told)),
        "strips": Markup(_strips(claim, scale, readings) if readings else ""),
        "scale": scale,
        "layouts": [_layout(one) for one in readings],
    }


def _nulls(story: RunStory) -> dict[str, Any]:
    """Return what comparing nothing with nothing gave on the run's host."""
    nulls = story.floor.nulls if story.floor else ()
    labels = _null_labels(nulls)
    chart = ""
    if story.floor and nulls:
        rows = [_row(label, null, "null") for label, null in zip(labels, nulls, strict=True)]
        told = f"{len(nulls)} comparisons of nothing with nothing; the table below has the numbers"
        chart = charts.intervals(rows, float(story.floor.value), ident="nulls", told=told)
    return {"rows": list(zip(labels, nulls, strict=True)), "chart": Markup(chart)}


def _null_labels(nulls: Sequence[NullFacts]) -> list[str]:
    padded = 0
    labels = []
    for null in nulls:
        padded += null.kind != "a/a"
        labels.append("A / A" if null.kind == "a/a" else f"null {padded}")
    return labels


def _readings(claim: _Claim, artifacts: _Artifacts) -> tuple[list[_Reading], str]:
    """Return what was read of each layout, and what a reader must know when that is not here."""
    data, why = artifacts.get(claim.samples, "table of raw readings")
    if data is not None:
        try:
            return _parsed(data), ""
        except (MalformedError, ValueError, TypeError) as error:
            why = f"The table of raw readings cannot be read: {error}."
    each = "layout" if claim.delta.layout_controlled else "boot"
    known = f"The points are the record's own, one a {each}." if claim.delta.ratios else (
        "The record holds estimate, interval and spreads, but no points: an earlier version wrote it."
    )  # fmt: skip
    return [], f"{why} {known}"


def _parsed(data: bytes) -> list[_Reading]:
    table = Fields.of(json.loads(data), "the table")
    by_seed: dict[int, dict[str, list[float]]] = {}
    for _stage, _round, arm, seed, _order, value in table.data.get("rows", ()):
        by_seed.setdefault(int(seed), {"base": [], "candidate": []})[str(arm)].append(float(value))
    return [
        _Reading(number, str(seed), tuple(arms["base"]), tuple(arms["candidate"]))
        for number, (seed, arms) in enumerate(sorted(by_seed.items()), start=1)
    ]


def _strips(claim: _Claim, scale: _Scale, readings: Sequence[_Reading]) -> str:
    several = [
        charts.Readings(tuple(value / scale.by for value in one.a), tuple(value / scale.by for value in one.b))
        for one in readings
    ]
    n = sum(len(one.a) + len(one.b) for one in readings)
    told = f"{n} readings of A and B over {len(readings)} layouts; the table below has their medians"
    # A unit of the run's own is a text from outside: the page has it, the chart does not.
    unit = scale.unit if claim.unit == "ns" else "value"
    return charts.strips(several, unit, ident=f"s{claim.ident}", told=told)


def _layout(one: _Reading) -> dict[str, Any]:
    a, b = (median(values) if values else None for values in (one.a, one.b))
    ratio = None if not a or b is None else b / a - 1
    return {
        "number": one.number,
        "seed": one.seed,
        "a": a,
        "b": b,
        "spread_a": _spread(one.a),
        "spread_b": _spread(one.b),
        "n": f"{len(one.a)}, {len(one.b)}",
        "ratio": None if ratio is None else f"{100 * ratio:+.2f} %",
    }


def _spread(values: Sequence[float]) -> str:
    """Return how far the boots of one layout lie apart, as a share of their median."""
    return f"{100 * (max(values) - min(values)) / median(values):.2f} %" if values and median(values) else ""


# -- flame graphs ---------------------------------------------------------------------------------------------------


def _flames(flames: flame.Flames) -> list[dict[str, Any]]:
    parts = []
    for title, one in (("Base" if flames.profiled else "Ingested", flames.before), ("Best", flames.after)):
        if one:
            parts.append((title, one[0], flame.flame_part(one[1], title=f"{title}: {one[0]}")))
    if flames.before and flames.after:
        # The window of a workload is the same work for both.
        found = compare(flames.before[1], flames.after[1], names=("base", "best"), by="work")
        parts.append(("Best against base", "", flame.differential_part(found, title="best against base")))
    return [
        {"title": title, "name": name, "facts": part.facts, "markup": Markup(part.markup)}
        for title, name, part in parts
    ]


# -- patches and risks ----------------------------------------------------------------------------------------------


def _patches(story: RunStory, artifacts: _Artifacts) -> Iterator[dict[str, Any]]:
    left = _MOST_DIFFS
    # What is on best is shown first, should there be more than a page can hold.
    order = sorted(story.iterations, key=lambda one: not (one.evaluation and one.evaluation.accepted))
    shown: dict[int, dict[str, Any]] = {}
    for one in order:
        if one.patch is None:
            continue
        data, why = artifacts.get(one.patch.diff, "diff")
        kept = (data or b"")[: min(_MOST_DIFF, max(0, left))]
        left -= len(kept)
        if data is not None and len(kept) < len(data):
            commit = one.patch.commit or "COMMIT"
            why = f"{len(data) - len(kept):,} of {len(data):,} bytes are not shown; all of it: git show {commit[:12]}"
        shown[one.number] = {"one": one, "patch": one.patch, "why": why, "diff": _diff(kept) if kept else ""}
    yield from (shown[number] for number in sorted(shown))


def _diff(data: bytes) -> Markup:
    """Return a diff with its lines coloured; characters that are not seen are spelled out."""
    text = _NOT_XML.sub("\ufffd", _HIDDEN.sub(_spelled, data.decode("utf-8", "replace").replace("\r\n", "\n")))
    return Markup(highlight(text, DiffLexer(stripnl=False), HtmlFormatter(nowrap=True)))


def _spelled(match: re.Match[str]) -> str:
    return f"<U+{ord(match[0]):04X}>"


def _slow_times(story: RunStory, read: Read) -> dict[str, Any]:
    """Return what lost most time in the run's captures, and what a reader must know of the rest."""
    found, missing = slow_times(story.slow_times, read)
    found.sort(key=lambda one: -one.lost_ns)
    if len(found) > _MOST_SLOW_TIMES:
        left = len(found) - _MOST_SLOW_TIMES
        missing.append(f"{left} more, which lost less time, are told by git hmopt kpis --windows.")
    return {"slow_times": found[:_MOST_SLOW_TIMES], "slow_times_missing": missing}


def _risks(one: Iteration, artifacts: _Artifacts) -> dict[str, Any]:
    """Return what may go wrong with an accepted patch, as far as it was recorded."""
    data, why = artifacts.get(one.evidence, "evidence pack")
    noted: Sequence[str] = ()
    if data is not None and one.patch:
        try:
            noted, why = _noted(json.loads(data), one.patch.symbol), ""
        except (MalformedError, ValueError) as error:
            why = f"The evidence pack cannot be read: {error}."
    checks = one.evaluation.checks if one.evaluation else ()
    return {"one": one, "patch": one.patch, "noted": noted, "why": why, "checks": checks}


def _noted(pack: Mapping[str, Any], symbol: str | None) -> tuple[str, ...]:
    for spot in Fields.of(pack, "the pack").many("hotspots"):
        if spot.inner("hotspot").maybe_text("symbol") == symbol:
            return spot.texts("risks")
    return ()
