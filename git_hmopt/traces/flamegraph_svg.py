# SPDX-License-Identifier: Apache-2.0
"""Read the stacks back out of a flame graph: flamegraph.pl's of any year, inferno's, our own, upright or icicle.

A frame is a rectangle whose title, or `onmouseover` before 2013, reads `name (1,234 samples, 5.67%)`. inferno and we
also write where it stands in whole samples (`fg:x`, `fg:w`); elsewhere that follows from the pixels and the counts. A
frame stands on the one that it lies above, and what a frame has more than those above it is its own.

Frames that were too narrow to be drawn are missing: their samples count for what they stood on.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from lxml import etree

from git_hmopt.traces.capture import Capture, Losses
from git_hmopt.traces.source import Source
from git_hmopt.traces.stacks import SampleRows
from git_hmopt.traces.tables import UNKNOWN, Frame, Samples, TraceFormatError
from git_hmopt.traces.units import unit_of

NO_COUNT = "frame without a count"
NO_PLACE = "frame without a place"
ORPHAN = "frame that stands on no other"
CUT = "file that ends in the middle or is damaged: the rest of it"
NOT_DRAWN = "samples of frames that were too narrow to be drawn"
DIFFERENTIAL = "frame whose change against another capture was left out"

_MOST_BYTES = 256 << 20
_MOST_ELEMENTS = 2_000_000
_MOST_LEVELS = 4096
_MOST_IN_STACKS = 20_000_000
_LONGEST_TITLE = 64 << 10
_INFERNO = "{http://github.com/jonhoo/inferno}"
_ROOTS = ("all", "all samples", "")
_TITLE = re.compile(
    r"(?P<name>.*) \((?P<count>[0-9][0-9,]*) (?P<unit>[^,()]*), [0-9.]+%(?P<change>; [^()]*)?\)\s*", re.DOTALL
)
_ONMOUSEOVER = re.compile(r"s\((?P<quote>['\"])(?P<title>.*)(?P=quote)\);?", re.DOTALL)
_INVERTED = re.compile(r"\binverted\s*=\s*(true|1)\b")
# Other tools' pages have drawings, too: only ours is a flame graph.
_OURS = b"hmopt-flame"


@dataclass
class _Box:
    """A frame as it is drawn; `start` in samples, as exactly as the file tells."""

    y: float
    x: float
    width: float
    name: str
    weight: int
    exact: tuple[int, int] | None
    start: float = 0
    parent: _Box | None = None
    left: int = 0
    """What of its weight no frame above it has."""

    def place(self, start: float) -> None:
        self.start, self.left = start, self.weight

    @property
    def end(self) -> float:
        return self.start + self.weight


@dataclass
class _Drawing:
    """What the document holds."""

    losses: Losses
    boxes: list[_Box] = field(default_factory=list)
    unit: str | None = None
    inverted: bool = False
    decimals: int = 0
    """Most digits after the point that a position has."""


class FlamegraphSvg:
    """Flame graphs as SVG, and our own as HTML."""

    name = "flamegraph-svg"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether it is a drawing, or a page of ours."""
        return _root(head).startswith(b"<svg") or (head.startswith(b"<!DOCTYPE html>") and _OURS in head[:1000])

    def read(self, source: Source) -> Capture:
        """Return the capture; it has samples alone."""
        return Capture(self.name, read_samples=lambda losses: [_samples(source, losses)])


FORMAT = FlamegraphSvg()


def _root(head: bytes) -> bytes:
    """Return a document from its root element on: after its declaration, comments and document type."""
    rest = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    while rest.startswith((b"<?", b"<!")):
        end = _end(rest)
        _, found, rest = rest.partition(end)
        rest = rest.lstrip(b" \t\r\n>" if end == b"]" else None) if found else b""
    return rest


def _end(rest: bytes) -> bytes:
    """Return what ends the comment, declaration or document type that stands first."""
    if rest.startswith(b"<!--"):
        return b"-->"
    # An internal subset has declarations of its own in its brackets.
    return b"]" if b"[" in rest[: rest.find(b">")] else b">"


def _samples(source: Source, losses: Losses) -> Samples:
    drawing = _Drawing(Losses())
    with source.open() as stream:
        _read(stream, drawing)
    if not drawing.boxes:
        raise TraceFormatError(f"{source.path}: this is no flame graph: no frame in it has a title with a count")
    _to_samples(drawing)
    rows = SampleRows()
    unit, factor = unit_of(drawing.unit or "")
    _stacks(_levels(drawing), drawing, rows, factor)
    rows.skipped.update(drawing.losses)
    losses.update(drawing.losses)
    return rows.table(event="flame graph", unit=unit)


# -- the document ---------------------------------------------------------------------------------------------------


class _Limited(io.RawIOBase):
    """A stream that is no longer than a flame graph can be."""

    def __init__(self, inner: BinaryIO) -> None:
        self._inner, self._left = inner, _MOST_BYTES

    def read(self, size: int = -1, /) -> bytes:
        data = self._inner.read(size if size > 0 else 1 << 16)
        self._left -= len(data)
        if self._left < 0:
            raise TraceFormatError(f"a flame graph of more than {_MOST_BYTES >> 20} MiB is not read")
        return data


def _read(stream: BinaryIO, drawing: _Drawing) -> None:
    """Collect the frames. Nothing outside the document is read, and no entity is expanded."""
    events = etree.iterparse(
        _Limited(stream), events=("start", "end"), resolve_entities=False, no_network=True, load_dtd=False,
        huge_tree=False, remove_comments=True, remove_pis=True,
    )  # fmt: skip
    elements = 0
    try:
        for event, element in events:
            if event == "start":
                elements += 1
                if elements == 1:
                    _refuse_entities(element)
                if elements > _MOST_ELEMENTS:
                    raise TraceFormatError(f"a flame graph of more than {_MOST_ELEMENTS} elements is not read")
            else:
                _ended(element, drawing)
    except etree.XMLSyntaxError as error:
        if not drawing.boxes:
            raise TraceFormatError(f"this is no flame graph: {str(error)[:200]}") from error
        drawing.losses[CUT] += 1


def _refuse_entities(root: etree._Element) -> None:
    """Raise TraceFormatError where the document declares entities: no flame graph has any, bombs and thieves do."""
    subset = root.getroottree().docinfo.internalDTD
    if subset is not None and next(iter(subset.iterentities()), None) is not None:
        raise TraceFormatError("this document declares XML entities, which no flame graph needs: it is not read")


def _ended(element: etree._Element, drawing: _Drawing) -> None:
    """Take what a whole element says, and forget it: the tree of a large file would not fit."""
    tag = _local(element)
    if tag == "script":
        drawing.inverted |= _INVERTED.search(element.text or "") is not None
    elif tag == "rect" and "onmouseover" in element.attrib:
        _take(element, _said(element), element, drawing)
    elif tag == "g":
        title = next((child for child in element if _local(child) == "title"), None)
        text = _said(element) if title is None else title.text or ""
        if text:
            _take(element, text, next((one for one in element.iter() if _local(one) == "rect"), None), drawing)
        element.clear()
        while element.getprevious() is not None:
            del element.getparent()[0]  # type: ignore[union-attr]


def _local(element: etree._Element) -> str:
    # An entity's tag is a function.
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _said(element: etree._Element) -> str:
    """Return the title that a frame of before 2013 shows when it is pointed at."""
    match = _ONMOUSEOVER.fullmatch(element.get("onmouseover", "")[:_LONGEST_TITLE])
    return match["title"].replace("\\'", "'") if match else ""


def _take(element: etree._Element, title: str, rect: etree._Element | None, drawing: _Drawing) -> None:
    match = _TITLE.fullmatch(title[:_LONGEST_TITLE])
    if match is None:
        # Other groups have titles, too; only one that draws a frame has a rectangle.
        drawing.losses[NO_COUNT] += rect is not None
        return
    digits = match["count"].replace(",", "")
    try:
        if rect is None or len(digits) > 18:
            raise ValueError(title)
        numbers = [_number(rect.get(key, "")) for key in ("y", "x", "width")]
        exact = _exact(rect)
    except ValueError:
        drawing.losses[NO_PLACE] += 1
        return
    drawing.unit = drawing.unit or match["unit"]
    drawing.losses[DIFFERENTIAL] += match["change"] is not None
    drawing.decimals = max(drawing.decimals, len(rect.get("x", "").rstrip("%").partition(".")[2]))
    weight = exact[1] if exact else int(digits)
    drawing.boxes.append(_Box(numbers[0], numbers[1], numbers[2], match["name"], weight, exact))


def _number(text: str) -> float:
    value = float(text.removesuffix("%"))
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _exact(rect: etree._Element) -> tuple[int, int] | None:
    words = [rect.get(f"{_INFERNO}{key}") or rect.get(f"fg:{key}") for key in ("x", "w")]
    if not all(word and word.isascii() and word.isdigit() and len(word) < 19 for word in words):
        return None
    return int(words[0] or ""), int(words[1] or "")


# -- who stands on whom ---------------------------------------------------------------------------------------------


def _to_samples(drawing: _Drawing) -> None:
    """Say where every frame begins in samples; pixels tell that exactly where a sample is wide enough."""
    drawing.boxes = [box for box in drawing.boxes if box.weight]
    boxes = drawing.boxes
    if all(box.exact for box in boxes):
        for box in boxes:
            box.place(box.exact[0] if box.exact else 0)
        return
    widest = max(boxes, key=lambda box: box.width)
    per_sample = widest.width / widest.weight or 1.0
    first = min(box.x for box in boxes)
    # Half a digit each for the frame, for the first one and for the width that the scale comes from.
    certain = 1.5 * 10.0**-drawing.decimals / per_sample < 0.5
    for box in boxes:
        start = (box.x - first) / per_sample
        box.place(round(start) if certain else start)


def _levels(drawing: _Drawing) -> Iterator[list[_Box]]:
    """Yield the rows of frames, root first, each from left to right."""
    rows: dict[float, list[_Box]] = {}
    for box in drawing.boxes:
        rows.setdefault(box.y, []).append(box)
    if len(rows) > _MOST_LEVELS:
        raise TraceFormatError(f"a flame graph of {len(rows)} levels is not read, only up to {_MOST_LEVELS}")
    order = sorted(rows)
    if rows:
        top, bottom = (sum(box.weight for box in rows[y]) for y in (order[0], order[-1]))
        # A row has at least what stands on it, so the root is the heavier end; a lone tower leaves it to the script.
        if top < bottom or (top == bottom and not drawing.inverted):
            order.reverse()
    for y in order:
        yield sorted(rows[y], key=lambda box: box.start)


def _stacks(levels: Iterator[list[_Box]], drawing: _Drawing, rows: SampleRows, factor: int) -> None:
    """Add one row for every frame that has cost of its own."""
    below = next(levels, [])
    root = below[0] if len(below) == 1 and below[0].name in _ROOTS else None
    placed = list(below)
    for level in levels:
        standing = _stand(level, below)
        drawing.losses[ORPHAN] += len(level) - len(standing)
        placed += standing
        below = standing
    if root is not None:
        drawing.losses[NOT_DRAWN] += root.left
    room = _MOST_IN_STACKS
    for box in placed:
        if box.left and box is not root:
            stack = _path(box, root, rows)
            room -= len(stack)
            if room < 0:
                raise TraceFormatError(f"the stacks of this flame graph have more than {_MOST_IN_STACKS} frames")
            rows.add(stack, box.left * factor)
    for reason in [reason for reason, number in drawing.losses.items() if not number]:
        del drawing.losses[reason]


def _stand(level: list[_Box], below: list[_Box]) -> list[_Box]:
    """Give every frame the one that it stands on, and return those that have one."""
    standing: list[_Box] = []
    at = 0
    for box in level:
        middle = box.start + box.weight / 2
        while at < len(below) - 1 and middle >= below[at].end:
            at += 1
        # Pixels are rounded: the middle may lie in the neighbour of the one that has room for it.
        near = [one for one in below[at : at + 2] + below[max(at - 1, 0) : at] if one.left >= box.weight]
        inside = [one for one in near if one.start <= middle < one.end] or [
            one for one in near if min(abs(one.start - middle), abs(middle - one.end)) <= box.weight / 2 + 1
        ]
        if inside:
            box.parent = inside[0]
            inside[0].left -= box.weight
            standing.append(box)
    return standing


def _path(box: _Box, root: _Box | None, rows: SampleRows) -> list[int]:
    path: list[int] = []
    one: _Box | None = box
    while one is not None and one is not root:
        path.append(rows.intern(Frame(one.name.strip() or UNKNOWN)))
        one = one.parent
    return path[::-1]
