# SPDX-License-Identifier: Apache-2.0
"""Stacks out of flame graphs: every dialect, the folded files that real ones were drawn from, and hostile XML."""

from __future__ import annotations

import re
import resource
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from git_hmopt.traces import flamegraph_svg, folded
from git_hmopt.traces.capture import Losses
from git_hmopt.traces.flamegraph_svg import FORMAT
from git_hmopt.traces.tables import Samples, TraceFormatError
from tests.traces.captures import captured, samples_of, stacks

NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:fg="http://github.com/jonhoo/inferno"'
# main has 6 of its own, a 1, b 2 and leaf 3, of 12.
TREE = {"main": 6, "main;a": 1, "main;a;leaf": 3, "main;b": 2}
BOXES = (("all", 0, 0, 12), ("main", 1, 0, 12), ("a", 2, 0, 4), ("leaf", 3, 0, 3), ("b", 2, 4, 2))


def svg(body: str, *, prolog: str = "") -> str:
    return f'<?xml version="1.0"?>\n{prolog}<svg version="1.1" {NAMESPACES}>\n{body}\n</svg>\n'


def frame(title: str, x: float, y: float, width: float, *, more: str = "") -> str:
    return f'<g class="f"><title>{title}</title><rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="15" {more}/></g>'


def parse(tmp_path: Path, text: str | bytes) -> tuple[Samples, Losses]:
    path = tmp_path / "graph.svg"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    (table,), losses = samples_of(FORMAT, path)
    return table, losses


# -- hostile and damaged --------------------------------------------------------------------------------------------

TENFOLD = "".join(f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefghij", "bcdefghijk", strict=True))
BOMB = f'<!DOCTYPE svg [<!ENTITY a "ha">{TENFOLD}]>'


@pytest.mark.parametrize(
    "prolog",
    [
        BOMB,
        '<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE svg [<!ENTITY x SYSTEM "http://127.0.0.1:9/x">]>',
        '<!DOCTYPE svg [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>',
        "<!DOCTYPE svg [<!ENTITY % p \"<!ENTITY x 'y'>\"> %p;]>",
    ],
    ids=["bomb", "file", "network", "parameter", "parameter that declares"],
)
@pytest.mark.parametrize("place", ["text", "attribute", "title", "unused"])
def test_documents_with_entities_are_refused(tmp_path: Path, prolog: str, place: str) -> None:
    use = "&k;" if prolog == BOMB else "&x;"
    shown = {"text": f"<text>{use}</text>", "attribute": f'<text x="{use}"/>', "title": "", "unused": ""}[place]
    name = use if place == "title" else "main"
    if place == "attribute" and "SYSTEM" in prolog:
        shown = ""  # XML itself forbids external entities there
    begun = time.monotonic()
    with pytest.raises(TraceFormatError, match=r"entit|Entit|PEReference"):
        parse(tmp_path, svg(shown + frame(f"{name} (12 samples, 100%)", 10, 30, 1180), prolog=prolog))
    assert time.monotonic() - begun < 5


def test_the_document_type_of_svg_is_not_fetched(tmp_path: Path) -> None:
    prolog = '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://127.0.0.1:9/svg11.dtd">\n'
    table, losses = parse(tmp_path, svg(frame("main (12 samples, 100%)", 10, 30, 1180), prolog=prolog))
    assert (stacks(table), losses) == ({"main": 12}, {})


@pytest.mark.parametrize(
    "text",
    ["", "<svg", "no xml", svg(""), svg("<g><title>Flame Graph</title></g>"), svg("<rect/>"), "<a/>", "\0\0\0",
     svg("<g>" * 400 + "</g>" * 400)],
)  # fmt: skip
def test_what_is_no_flame_graph_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(TraceFormatError, match="this is no flame graph"):
        parse(tmp_path, text)


def test_frames_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    body = "".join(
        (
            frame("all (12 samples, 100%)", 10, 50, 1180), frame("main (12 samples, 100%)", 10, 30, 1180),
            frame("no count", 10, 10, 5), "<g><title>gone (3 samples, 1%)</title></g>",
            frame("far (2 samples, 17%)", 5000, 10, 5), frame("none (0 samples, 0%)", 10, 10, 5),
            '<g><title>odd (3 samples, 1%)</title><rect x="nan" y="10" width="inf"/></g>',
            f"<g><title>huge ({'9' * 30} samples, 1%)</title><rect x='10' y='10' width='1'/></g>",
        )
    )  # fmt: skip
    table, losses = parse(tmp_path, svg(body))
    assert stacks(table) == {"main": 12}
    assert losses == table.skipped
    assert losses == {flamegraph_svg.NO_COUNT: 1, flamegraph_svg.NO_PLACE: 3, flamegraph_svg.ORPHAN: 1}


@pytest.mark.parametrize(
    ("head", "is_one"),
    [
        (b"<svg>", True), (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a -->\n<svg>", True),
        (b"<!DOCTYPE svg [<!ENTITY a 'b'>]>\n<svg>", True), (b"<!DOCTYPE svg PUBLIC 'a' 'b'><svg>", True),
        (b"<!DOCTYPE html><html><svg>", False), (b"<?xml version='1.0'?><html><svg>", False), (b"<!-- <svg>", False),
        (b"<!-- -->" * 8000, False), (b"<!DOCTYPE svg [x]>" * 3600, False), (b"<?xml" + b" " * 65000, False),
        (b"<!--a--><!DOCTYPE svg [--> ]>" * 2000, False),
    ],
)  # fmt: skip
def test_only_a_drawing_is_recognised_and_soon(head: bytes, is_one: bool) -> None:
    begun = time.monotonic()
    assert FORMAT.recognise(head, "x") is is_one
    assert time.monotonic() - begun < 1


def test_more_than_a_flame_graph_can_have_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flamegraph_svg, "_MOST_ELEMENTS", 100)
    with pytest.raises(TraceFormatError, match="more than 100 elements is not read"):
        parse(tmp_path, svg("<a/>" * 200))
    monkeypatch.setattr(flamegraph_svg, "_MOST_LEVELS", 3)
    with pytest.raises(TraceFormatError, match="a flame graph of 4 levels is not read, only up to 3"):
        parse(tmp_path, svg("".join(frame("f (2 samples, 1%)", 10, y, 1180) for y in range(4))))
    monkeypatch.setattr(flamegraph_svg, "_MOST_BYTES", 1 << 20)
    with pytest.raises(TraceFormatError, match="more than 1 MiB is not read"):
        parse(tmp_path, svg(frame("f (2 samples, 1%)", 10, 1, 1180) + " " * (2 << 20)))


def test_a_file_of_many_frames_takes_little_room(tmp_path: Path) -> None:
    body = "".join(frame(f"f{n} (1 samples, 0.01%)", 10 + n, 30, 1.0) for n in range(100_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    table, _ = parse(tmp_path, svg(frame("all (100,000 samples, 100%)", 10, 50, 100_000) + body))
    assert sum(table.weight) == len(table) == 100_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(cut=st.floats(0, 1), at=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=20))
@pytest.mark.parametrize("name", ["inferno_example-perf-stacks.svg", "flamegraph_example-perf.svg"])
def test_damage_ends_in_losses_or_one_error(tmp_path: Path, name: str, cut: float, at: list[tuple[float, int]]) -> None:
    data = bytearray(captured(name).read_bytes())
    for place, value in at:
        data[int(place * (len(data) - 1))] = value
    begun = time.monotonic()
    try:
        table, losses = parse(tmp_path, bytes(data[: int(cut * len(data))]))
    except TraceFormatError:
        return
    assert time.monotonic() - begun < 10
    assert losses == table.skipped
    assert sum(table.weight) < 10**20


# -- dialects -------------------------------------------------------------------------------------------------------


def pixels(*, inverted: bool = False) -> list[tuple[str, float, float, float, int]]:
    scale = 1180 / 12
    return [
        (name, round(10 + start * scale, 1), 16.0 * (depth if inverted else 9 - depth), round(w * scale, 1), w)
        for name, depth, start, w in BOXES
    ]  # fmt: skip


def titled(name: str, weight: int, unit: str = "samples") -> str:
    return f"{name} ({weight:,} {unit}, {100 * weight / 12:.2f}%)"


def test_flamegraph_pl_of_today(tmp_path: Path) -> None:
    for inverted in (False, True):
        drawn = pixels(inverted=inverted)
        # It draws them in the order of a hash.
        body = '<g id="frames">' + "".join(frame(titled(n, c), x, y, w) for n, x, y, w, c in drawn[::-1]) + "</g>"
        table, losses = parse(tmp_path, svg(body))
        assert (stacks(table), losses, table.unit) == (TREE, {}, "samples")


def test_frames_that_are_links(tmp_path: Path) -> None:
    body = "".join(
        f'<g><title>{titled(n, c)}</title><a href="x"><rect x="{x}" y="{y}" width="{w}"/><text>..</text></a></g>'
        for n, x, y, w, c in pixels()
    )
    assert stacks(parse(tmp_path, svg(body))[0]) == TREE


@pytest.mark.parametrize("shape", ["group", "rectangle"])
def test_flamegraph_pl_of_2011_to_2013(tmp_path: Path, shape: str) -> None:
    body = ""
    for name, x, y, w, count in pixels():
        shown = titled(f"it\\&apos;s {name}", count)
        said = f'onmouseover="s(\'{shown}\')" onmouseout="c()"'
        rect = f'x="{x}" y="{y}" width="{w}" height="15.0"'
        body += f"<g {said}><rect {rect}/></g>" if shape == "group" else f"<rect {rect} {said}/>"
    table, losses = parse(tmp_path, svg(body))
    # The root of the old ones was called `all samples`; this one is none of the known names, so it stays.
    assert stacks(table) == {re.sub(r"(^|;)", r"\1it's ", f"all;{key}"): value for key, value in TREE.items()}
    assert losses == {}


def test_inferno_has_whole_samples(tmp_path: Path) -> None:
    body = '<svg id="frames" x="10" width="1180" total_samples="12">'
    for name, x, y, w, count in pixels():
        # Pixels that say nothing: only the exact numbers count.
        start = next(start for other, _, start, _ in BOXES if other == name)
        body += frame(titled(name, count), x * 0, y, w * 0 + 1, more=f'fg:x="{start}" fg:w="{count}"')
    assert stacks(parse(tmp_path, svg(body + "</svg>"))[0]) == TREE


def test_a_lone_tower_is_turned_by_the_script(tmp_path: Path) -> None:
    tower = frame("a (5 samples, 100%)", 10, 10, 1180) + frame("b (5 samples, 100%)", 10, 30, 1180)
    assert stacks(parse(tmp_path, svg(tower))[0]) == {"b;a": 5}
    icicle = "<script>var inverted = true;</script>" + tower
    assert stacks(parse(tmp_path, svg(icicle))[0]) == {"a;b": 5}


def test_units_and_changes_and_odd_names(tmp_path: Path) -> None:
    table, losses = parse(tmp_path, svg(frame("a (x) &lt;b&gt; (1,234 ms, 100.00%; +1.50%)", 10, 10, 1180)))
    assert (stacks(table), table.unit) == ({"a (x) <b>": 1_234_000_000}, "ns")
    assert losses == {flamegraph_svg.DIFFERENTIAL: 1}
    assert parse(tmp_path, svg(frame("a (7 page faults, 100%)", 10, 10, 9)))[0].unit == "page faults"


def test_samples_that_nobody_drew_are_counted(tmp_path: Path) -> None:
    body = frame("all (100 samples, 100%)", 10, 50, 1180) + frame("main (90 samples, 90%)", 10, 30, 1062)
    table, losses = parse(tmp_path, svg(body))
    assert (stacks(table), losses) == ({"main": 90}, {flamegraph_svg.NOT_DRAWN: 10})


# -- real ones ------------------------------------------------------------------------------------------------------


def test_infernos_graph_is_the_folded_file_it_was_drawn_from() -> None:
    (table,), losses = samples_of(FORMAT, captured("inferno_example-perf-stacks.svg"))
    with captured("inferno_example-perf-stacks-collapsed.txt").open("rb") as stream:
        drawn_from = folded.parse(stream)
    assert losses == {}
    assert (len(table), sum(table.weight)) == (710, 1315)
    assert stacks(table) == stacks(drawn_from)


def test_pixels_alone_give_the_same_stacks(tmp_path: Path) -> None:
    text = captured("inferno_example-perf-stacks.svg").read_text()
    (exact,), _ = samples_of(FORMAT, captured("inferno_example-perf-stacks.svg"))
    without, number = re.subn(r' fg:[xw]="[0-9]+"', "", text)
    assert number == 2 * 1139
    table, losses = parse(tmp_path, without)
    assert (stacks(table), losses) == (stacks(exact), {})


def test_flamegraph_pls_graph_has_the_same_stacks() -> None:
    (table,), losses = samples_of(FORMAT, captured("flamegraph_example-perf.svg"))
    with captured("inferno_example-perf-stacks-collapsed.txt").open("rb") as stream:
        other = folded.parse(stream)
    # The programs of that year called code without a symbol unknown, not by its object, and dropped `<` and `>`.
    tidied: Counter[str] = Counter()
    for stack, weight in stacks(other).items():
        tidied[re.sub(r"\[+[^];]*\]+", "[unknown]", re.sub("[<>]", "", stack))] += weight
    assert losses == {}
    assert stacks(table) == tidied
