# SPDX-License-Identifier: Apache-2.0
"""Charts as SVG without a script, drawn by matplotlib, in the colours of the page they stand in.

Their labels are numbers and words of this room, and names that `html.py` made safe; other texts of a run stand beside
them, in the page.
"""

from __future__ import annotations

import functools
import io
import logging
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from git_hmopt.store.user_cache import user_cache

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Tone = Literal["better", "worse", "none", "null"]
"""What a row of a chart says: a gain, a loss, no difference, or a comparison of nothing."""

# Stand-ins for the page's colours; none is one that matplotlib uses itself.
_INK, _MUTED, _RULE, _A, _B = "#010a0a", "#010b0b", "#010c0c", "#010d0d", "#010e0e"
_TONES: Mapping[Tone, str] = {"better": "#011a1a", "worse": "#011b1b", "none": "#011c1c", "null": "#011d1d"}
_VARIABLES = {
    _INK: "var(--ink)", _MUTED: "var(--muted)", _RULE: "var(--rule)", _A: "var(--a)", _B: "var(--b)",
    "#011a1a": "var(--better)", "#011b1b": "var(--worse)", "#011c1c": "var(--ink)", "#011d1d": "var(--muted)",
}  # fmt: skip

_WIDTH = 6.4
_ROW = 0.32
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "hmopt",
    "text.parse_math": False,
    "font.size": 8.5,
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _RULE,
    "ytick.color": _RULE,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "text.color": _INK,
}


@dataclass(frozen=True)
class Row:
    """Points, and the interval with its estimate that stands on them, if any: all as ratios minus one."""

    label: str
    estimate: tuple[float, float, float] | None
    """With the ends of its interval: low, itself, high."""
    points: tuple[float, ...]
    tone: Tone


@dataclass(frozen=True)
class Readings:
    """What was read of one layout, in the metric's unit."""

    a: tuple[float, ...]
    b: tuple[float, ...]


@functools.cache
def _library() -> Any:
    """Load matplotlib, which is slow to load and tells of its caches on standard error."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    # Its list of fonts would make folders of its own in a user's home.
    os.environ.setdefault("MPLCONFIGDIR", str(user_cache() / "matplotlib"))
    import matplotlib
    import matplotlib.backends.backend_svg
    import matplotlib.figure

    return matplotlib


def intervals(rows: Sequence[Row], floor: float | None, *, ident: str, told: str) -> str:
    """Return rows of intervals, each with its points, around zero and the noise floor on both sides of it."""
    height = _ROW * len(rows) + 0.55

    def draw(axes: Axes) -> None:
        _floor(axes, floor)
        for number, row in enumerate(rows):
            color, place = _TONES[row.tone], -float(number)
            axes.plot(
                [100 * point for point in row.points], [place - (0.3 if row.estimate else 0)] * len(row.points), "o",
                markersize=3.2, markerfacecolor="none", markeredgecolor=color, markeredgewidth=0.7, alpha=0.75,
            )  # fmt: skip
            if row.estimate:
                low, middle, high = (100 * value for value in row.estimate)
                axes.plot([low, high], [place, place], "-", color=color, linewidth=2.2)
                axes.plot([middle], [place], "D", color=color, markersize=4.5)
        axes.set_yticks([-float(number) for number in range(len(rows))], [row.label for row in rows])
        axes.set_ylim(-len(rows) + 0.4, 0.5)
        axes.locator_params(axis="x", nbins=6)
        axes.set_xlabel("change, %")

    return _drawn(draw, height, ident=ident, told=told)


def changes(rows: Sequence[tuple[str, tuple[float, ...]]], *, ident: str, told: str) -> str:
    """Return what each of several numbers became, as ratios minus one: a line each, longer for a larger change."""

    def draw(axes: Axes) -> None:
        axes.axvline(0, color=_INK, linewidth=0.8)
        for number, (_, values) in enumerate(rows):
            across = [100 * value for value in values]
            axes.plot([0, max(across, key=abs)], [-number, -number], "-", color=_A, linewidth=1.2)
            axes.plot(across, [-number] * len(across), "o", color=_A, markersize=4)
        axes.set_yticks([-number for number in range(len(rows))], [name for name, _ in rows])
        axes.set_ylim(-len(rows) + 0.5, 0.5)
        axes.set_xlabel("change, %")

    return _drawn(draw, 0.24 * len(rows) + 0.55, ident=ident, told=told, left=0.32)


def strips(layouts: Sequence[Readings], unit: str, *, ident: str, told: str) -> str:
    """Return every reading of A (rings) and B (triangles), a layout beside the other; a bar marks each median."""

    def draw(axes: Axes) -> None:
        sides = ((-0.17, [one.a for one in layouts], _A, "o"), (0.17, [one.b for one in layouts], _B, "^"))
        for side, values, color, marker in sides:
            across = [number + side for number, some in enumerate(values, start=1) for _ in some]
            axes.plot(
                across, [value for some in values for value in some], marker,
                markersize=3, markerfacecolor="none", markeredgecolor=color, markeredgewidth=0.7,
            )  # fmt: skip
            known = [(number + side, median(some)) for number, some in enumerate(values, start=1) if some]
            axes.hlines(
                [middle for _, middle in known], [x - 0.13 for x, _ in known], [x + 0.13 for x, _ in known],
                colors=color, linewidth=2,
            )  # fmt: skip
        # Each tick costs as much as fifty readings.
        axes.set_xticks(range(1, len(layouts) + 1, 1 + len(layouts) // 9))
        axes.locator_params(axis="y", nbins=4)
        axes.set_xlabel("layout")
        axes.set_ylabel(unit)

    return _drawn(draw, 2.2, ident=ident, told=told)


def _floor(axes: Axes, floor: float | None) -> None:
    axes.axvline(0, color=_INK, linewidth=0.8)
    if floor is not None:
        axes.axvspan(-100 * floor, 100 * floor, color=_RULE, alpha=0.5, linewidth=0)


def _drawn(draw: Any, height: float, *, ident: str, told: str, left: float = 0.11) -> str:
    library = _library()
    with library.rc_context(_STYLE), warnings.catch_warnings():
        # A glyph that the font has no width for is still a letter in the page.
        warnings.simplefilter("ignore")
        figure = library.figure.Figure(figsize=(_WIDTH, height))
        figure.patch.set_alpha(0)
        axes = figure.add_axes((left, 0.42 / height, 0.98 - left, 1 - 0.5 / height))
        axes.patch.set_alpha(0)
        draw(axes)
        text = io.StringIO()
        library.backends.backend_svg.FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None})
    return _of_the_page(text.getvalue(), ident, told)


def _of_the_page(svg: str, ident: str, told: str) -> str:
    """Return a drawing as a part of a page: with the page's colours and type, ids of its own, and words for it."""
    svg = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</defs>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", svg)
    for stand_in, variable in _VARIABLES.items():
        svg = svg.replace(stand_in, variable)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'\bid="', f'id="{ident}-', svg)
    svg = re.sub(r"(?:xlink:)?href=\"#", f'href="#{ident}-', svg).replace("url(#", f"url(#{ident}-")
    # A marker has its line in its definition; of hundreds of uses each would say it again.
    svg = re.sub(r'(<use [^>]*)style="([^"]*)"', _filled, svg)
    svg = re.sub(r"(\d\.\d\d)\d+", r"\1", svg)
    svg = re.sub(r"\n\s*", " ", svg).replace("> <", "><")
    box = re.search(r'viewBox="([^"]*)"', svg)
    head = f'<svg class="chart" role="img" aria-label="{escape(told)}" viewBox="{box[1] if box else ""}" {_SPACES}>'
    return head + svg.partition(">")[2].strip()


def _filled(use: re.Match[str]) -> str:
    """Return a marker's use with its filling alone."""
    fill = re.search(r"\bfill: ([^;]*)", use[2])
    return f'{use[1]}fill="{fill[1] if fill else "none"}"'


_SPACES = 'xmlns="http://www.w3.org/2000/svg"'
