# SPDX-License-Identifier: Apache-2.0
"""Flame graphs as one HTML file that needs nothing else: searched and zoomed by a small script of our own.

The file is well-formed XML, too, and its frames carry their place in whole units (`fg:x`, `fg:w`) as inferno's do, so
that traces/flamegraph_svg.py and others read the stacks back. Names come from captures and are escaped; a policy in
the file forbids it to load anything.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files

from git_hmopt.report.wording import fit
from git_hmopt.runtime.difference import Difference
from git_hmopt.runtime.fold import Stack, stacks_of
from git_hmopt.traces.tables import Samples

ROW = 17
_WIDTH = 1200
_NARROWEST = 12_000
"""A frame whose share is below one part of so many is not drawn: a tenth of a pixel."""
_ROOT = "all"
_MOST = 1500
"""Frames in a graph that is a piece of a page; each is about 300 bytes."""
_LONGEST = 200
"""Characters of a name there."""
_PAGE_STYLE = """:root { color-scheme: light dark; }
body { font: 14px sans-serif; margin: 12px; }
h1 { font-size: 18px; margin: 0 0 6px; }
p { margin: 4px 0; }
"""

# What XML 1.0 cannot hold in any spelling, half characters among it.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass
class _Node:
    """A function in its context, its cost with its callees on both sides; a plain graph has two equal ones."""

    name: str
    level: int
    before: int = 0
    after: int = 0
    children: dict[str, _Node] = field(default_factory=dict)


@dataclass(frozen=True)
class _Box:
    """A node with its place on both sides."""

    node: _Node
    before_x: int
    after_x: int


@dataclass(frozen=True)
class _Page:
    """What stands around the frames, and how they are coloured and told."""

    title: str
    facts: tuple[str, ...]
    color: Callable[[_Node], str]
    told: Callable[[_Node], str]
    two_sided: bool


@dataclass(frozen=True)
class Flames:
    """The call stacks of a run: of its base, and of the last best that was profiled; each with its name."""

    before: tuple[str, Samples] | None = None
    after: tuple[str, Samples] | None = None
    missing: str = ""
    """Why one of them is not here."""
    profiled: bool = True
    """Whether the run's own profilers took them; else `before` is of a capture that was ingested."""


@dataclass(frozen=True)
class Part:
    """A flame graph as a piece of a larger page, which must hold `style()` and, behind it, `script()`."""

    markup: str
    facts: tuple[str, ...]
    """What it shows and what is missing; plain text."""


def style() -> str:
    """Return the style sheet of flame graphs; everything in it is below the class `flame`."""
    return files("git_hmopt.report").joinpath("flame.css").read_text(encoding="utf-8")


def script() -> str:
    """Return the script that brings the flame graphs in front of it to life."""
    return files("git_hmopt.report").joinpath("flame.js").read_text(encoding="utf-8")


def flame_graph(samples: Samples, *, title: str) -> str:
    """Return the flame graph of samples; wide is dear, and what stands on a frame was called by it."""
    return _document(*_one_sided(samples, title))


def flame_part(samples: Samples, *, title: str) -> Part:
    """Return the same as a piece of a page: at most _MOST frames, names without marks that reorder what is shown."""
    return _part(*_one_sided(samples, title))


def differential(difference: Difference, *, title: str) -> str:
    """Return the flame graph of two captures: as wide as after, redder where it grew, bluer where it shrank.

    A button draws the widths of before, where that stands which is gone.
    """
    return _document(*_two_sided(difference, title))


def differential_part(difference: Difference, *, title: str) -> Part:
    """Return the same as a piece of a page, as `flame_part` does."""
    return _part(*_two_sided(difference, title))


def _one_sided(samples: Samples, title: str) -> tuple[_Node, _Page]:
    root = _tree({stack: (cost, cost) for stack, cost in stacks_of(samples).items()})
    unit = _unit(samples.unit)

    def told(node: _Node) -> str:
        return f"{node.name} ({node.after:,} {unit}, {_percent(node.after, root.after)})"

    facts = [f"{root.after:,} {unit} of {samples.event}" if samples.event else f"{root.after:,} {unit}"]
    facts += [f"not used: {number:,} x {reason}" for reason, number in samples.skipped.items()]
    return root, _Page(title, tuple(facts), _warm, told, two_sided=False)


def _two_sided(difference: Difference, title: str) -> tuple[_Node, _Page]:
    root = _tree(difference.scaled())
    unit = _unit(difference.after.unit)
    widest = max((abs(_growth(node, root)) for node in _nodes(root)), default=0) or 1.0

    def told(node: _Node) -> str:
        share = _percent(node.after, root.after)
        return f"{node.name} ({node.after:,} {unit}, {share}; {100 * _growth(node, root):+.2f}%)"

    def color(node: _Node) -> str:
        growth = _growth(node, root) / widest
        # Black on the strongest of either is still read: 4.8 to 1.
        faint = round(255 - 155 * abs(growth))
        return f"rgb(255,{faint},{faint})" if growth > 0 else f"rgb({faint},{faint},255)"

    sides = [
        f"{side.label}: {side.name}: {side.total:,} {side.unit}"
        + (f" in {side.duration_ns / 1e9:.3f} s" if side.duration_ns else "")
        for side in (difference.before, difference.after)
    ]
    how = "both did the same work: costs as they were counted"
    if difference.by != "work":
        against = "duration" if difference.by == "duration" else "all samples"
        how = f"normalised by {against}: costs of before are multiplied with {float(difference.scale):.6g}"
    return root, _Page(title, (*sides, how), color, told, two_sided=True)


def _tree(costs: Mapping[Stack, tuple[int, int]]) -> _Node:
    root = _Node(_ROOT, 0)
    for stack, (before, after) in sorted(costs.items()):
        node = root
        node.before, node.after = node.before + before, node.after + after
        for name in stack:
            node = node.children.setdefault(name, _Node(name, node.level + 1))
            node.before, node.after = node.before + before, node.after + after
    return root


def _nodes(root: _Node) -> Iterator[_Node]:
    pending = [root]
    while pending:
        node = pending.pop()
        yield node
        pending += node.children.values()


def _share(node: _Node, root: _Node) -> float:
    """Return how wide a frame is on the side where it is wider, 0..1."""
    return max(node.before / (root.before or 1), node.after / (root.after or 1))


def _growth(node: _Node, root: _Node) -> float:
    """Return how much a frame grew, as a share of all that the dearer side cost."""
    return (node.after - node.before) / (max(root.before, root.after) or 1)


def _placed(root: _Node, least: float = 1 / _NARROWEST) -> Iterator[_Box]:
    """Yield every frame whose share of one side is at least `least`, parents before children."""
    pending = [_Box(root, 0, 0)]
    while pending:
        box = pending.pop()
        yield box
        before, after = box.before_x, box.after_x
        for child in box.node.children.values():
            if _share(child, root) >= least:
                pending.append(_Box(child, before, after))
            before, after = before + child.before, after + child.after


def _part(root: _Node, page: _Page) -> Part:
    # No frame is wider than what it stands on, so the widest ones are whole stacks from below.
    shares = sorted((_share(node, root) for node in _nodes(root)), reverse=True)
    least = math.nextafter(shares[_MOST], 2) if len(shares) > _MOST else 0.0
    boxes = list(_placed(root, max(least, 1 / _NARROWEST)))
    for box in boxes:
        box.node.name = fit(box.node.name, _LONGEST)
    return Part("\n".join(_graph(root, page, boxes)), (*page.facts, *_missing(root, boxes)))


def _missing(root: _Node, boxes: Sequence[_Box]) -> list[str]:
    missing = sum(1 for _ in _nodes(root)) - len(boxes)
    return [f"{missing:,} frames are too narrow to be drawn"] if missing else []


def _document(root: _Node, page: _Page) -> str:
    boxes = list(_placed(root))
    facts = [*page.facts, *_missing(root, boxes)]
    lines = [
        "<!DOCTYPE html>",
        '<html xmlns="http://www.w3.org/1999/xhtml" lang="en"><head><meta charset="utf-8"/>',
        '<meta name="generator" content="hmopt-flame 1"/>',
        '<meta http-equiv="Content-Security-Policy"'
        " content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\"/>",
        f"<title>{_safe(page.title)}</title>",
        f"<style>{_PAGE_STYLE}{style()}</style></head><body>",
        f"<h1>{_safe(page.title)}</h1>",
        *(f"<p>{_safe(fact)}</p>" for fact in facts),
        *_graph(root, page, boxes),
        f"<script>//<![CDATA[\n{script()}//]]></script>",
        "</body></html>",
    ]
    return "\n".join(lines) + "\n"


def _graph(root: _Node, page: _Page, boxes: Sequence[_Box]) -> Iterator[str]:
    height = ROW * (max(box.node.level for box in boxes) + 1)
    side = '<button class="side" type="button">widths of before</button> ' if page.two_sided else ""
    yield f'<div class="flame"><p>{side}<button class="reset" type="button">whole graph</button>'
    yield '<label>search <input class="search" type="search"/></label> <span class="matched" role="status"></span></p>'
    yield (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:fg="http://github.com/jonhoo/inferno" class="frames"'
        f' role="group" aria-label="{_safe(fit(page.title, _LONGEST))}: arrow keys walk, Enter zooms, Escape shows all"'
        f' width="100%" height="{height}" data-row="{ROW}" total_samples="{root.after}">'
    )
    for box in boxes:
        yield _drawn(box, root, page, height)
    yield "</svg></div>"


def _drawn(box: _Box, root: _Node, page: _Page, height: int) -> str:
    node = box.node
    y = height - ROW * (node.level + 1)
    x, width = 100 * box.after_x / (root.after or 1), 100 * node.after / (root.after or 1)
    other = f' data-x="{box.before_x}" data-w="{node.before}"' if page.two_sided else ""
    # About seven pixels a letter; the script does it again for the window there is.
    room = int(width / 100 * _WIDTH / 7)
    label = node.name if len(node.name) <= room else f"{node.name[: room - 2]}.." if room > 4 else ""
    return (
        f"<g><title>{_safe(page.told(node))}</title>"
        f'<rect x="{x:.4f}%" y="{y}" width="{width:.4f}%" height="{ROW - 1}" fill="{page.color(node)}"'
        f' fg:x="{box.after_x}" fg:w="{node.after}"{other}/>'
        f'<text x="{x:.4f}%" y="{y + 12}" dx="3">{_safe(label)}</text></g>'
    )


def _safe(text: str) -> str:
    return escape(_NO_XML.sub("\ufffd", text))


def _unit(unit: str) -> str:
    """Return a unit that a title can hold in its brackets."""
    return re.sub(r"[,()]+", " ", unit).strip() or "samples"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / (whole or 1):.2f}%"


def _warm(node: _Node) -> str:
    """Return a colour between red and yellow, the same for a name wherever it stands."""
    digest = zlib.crc32(node.name.encode("utf-8", "replace"))
    # Never so dark that black letters on it are hard to read.
    return f"rgb({205 + digest % 50},{80 + (digest >> 8) % 150},{(digest >> 16) % 55})"
