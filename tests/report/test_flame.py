# SPDX-License-Identifier: Apache-2.0
"""Flame graphs: read back by our own parser, clicked and searched in a real browser, and nothing gets out of a name."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from lxml import etree

from git_hmopt.report.flame import differential, flame_graph, flame_part
from git_hmopt.runtime.difference import compare
from git_hmopt.runtime.fold import folded
from git_hmopt.traces import folded as format_folded
from git_hmopt.traces.capture import Losses
from git_hmopt.traces.sniff import open_capture
from git_hmopt.traces.tables import Samples
from tests.traces.captures import captured, stacks

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TREE = "main;walk;step 60\nmain;walk;turn 20\nmain;rest 20\n"
NASTY = "a</title><script>alert(1)</script>&\"'<![CDATA[]]>\x00\x1b\ud800 (3 samples, 1%)"


def parsed(text: str) -> Samples:
    return format_folded.parse(text.encode("utf-8", "surrogatepass").splitlines(keepends=True))


def read_back(tmp_path: Path, page: str) -> tuple[Samples, Losses]:
    path = tmp_path / "graph.html"
    path.write_text(page, encoding="utf-8")
    losses = Losses()
    capture = open_capture(path)
    assert capture.format == "flamegraph-svg" and capture.read_samples
    return capture.read_samples(losses)[0], losses


def test_a_graph_is_read_back(tmp_path: Path) -> None:
    table, losses = read_back(tmp_path, flame_graph(parsed(TREE), title="t"))
    assert (folded(table), losses, table.unit) == (folded(parsed(TREE)), {}, "samples")


def test_a_real_graph_is_read_back(tmp_path: Path) -> None:
    with captured("inferno_example-perf-stacks-collapsed.txt").open("rb") as stream:
        samples = format_folded.parse(stream)
    table, losses = read_back(tmp_path, flame_graph(samples, title="example"))
    assert (stacks(table), losses) == (stacks(samples), {})
    assert sum(table.weight) == 1315


def test_nothing_gets_out_of_a_name_and_nothing_is_loaded(tmp_path: Path) -> None:
    samples = parsed(f"main;{NASTY.replace(';', '')} 3\n")
    page = flame_graph(samples, title=NASTY)
    root = etree.fromstring(page.encode(), etree.XMLParser(resolve_entities=False))
    scripts = root.findall(".//{*}script")
    assert len(scripts) == 1 and "alert" not in (scripts[0].text or "")
    assert page.count("<script>") == 1
    # Names of namespaces are no addresses.
    assert set(re.findall(r"\w+://[^\"' ]+", page)) == {
        "http://www.w3.org/1999/xhtml", "http://www.w3.org/2000/svg", "http://github.com/jonhoo/inferno",
    }  # fmt: skip
    assert not re.search(r"\b(src|href)=|@import|url\(", page)
    table, _ = read_back(tmp_path, page)
    assert sum(table.weight) == 3


def test_the_page_says_what_it_shows_and_what_is_missing() -> None:
    page = flame_graph(parsed(TREE.replace("60", "600000") + "main;thin 1\nbad line\n"), title="a & b")
    assert "<h1>a &amp; b</h1>" in page
    assert "<p>600,041 samples of folded</p>" in page
    assert "<p>not used: 1 x line without a weight</p>" in page
    # turn, rest and thin: two hundred-thousandths are no tenth of a pixel.
    assert "<p>3 frames are too narrow to be drawn</p>" in page
    assert "step (600,000 samples, 99.99%)" in page and "thin" not in page


def test_an_empty_capture_is_an_empty_graph() -> None:
    assert "<p>0 samples" in flame_graph(parsed(""), title="nothing")


def test_a_part_of_a_page_is_small_and_its_names_are_harmless() -> None:
    wide = "".join(f"main;f{number};g{number} 1\n" for number in range(4000))
    part = flame_part(parsed(wide), title="t")
    assert part.markup.count("<g>") <= 1500
    assert re.fullmatch(r"[0-9,]+ frames are too narrow to be drawn", part.facts[-1])
    part = flame_part(parsed(f"main;{'x' * 10_000}\u202e<b> 3\n"), title="\u202e")
    assert "\u202e" not in part.markup and "x" * 201 not in part.markup
    etree.fromstring(part.markup)


def two_sided() -> str:
    after = "main;walk;step 30\nmain;walk;fly 10\nmain;rest 10\n"
    return differential(compare(parsed(TREE), parsed(after), names=("old", "new")), title="old and new")


def test_a_differential_graph_has_both_sides(tmp_path: Path) -> None:
    page = two_sided()
    assert "<p>before: old: 100 samples</p>" in page and "<p>after: new: 50 samples</p>" in page
    assert "<p>normalised by all samples: costs of before are multiplied with 0.5</p>" in page
    titles = re.findall(r"<title>(\w+ \(.*?)</title><rect [^>]*fill=\"(rgb\([^\"]*\))\"", page)
    assert sorted(titles) == [
        # step took 60 of 100 and takes 30 of 50: as before. turn is gone, fly is new.
        ("all (50 samples, 100.00%; +0.00%)", "rgb(255,255,255)"),
        ("fly (10 samples, 20.00%; +20.00%)", "rgb(255,100,100)"),
        ("main (50 samples, 100.00%; +0.00%)", "rgb(255,255,255)"),
        ("rest (10 samples, 20.00%; +0.00%)", "rgb(255,255,255)"),
        ("step (30 samples, 60.00%; +0.00%)", "rgb(255,255,255)"),
        ("turn (0 samples, 0.00%; -20.00%)", "rgb(100,100,255)"),
        ("walk (40 samples, 80.00%; +0.00%)", "rgb(255,255,255)"),
    ]
    table, _ = read_back(tmp_path, page)
    assert folded(table) == "main;rest 10\nmain;walk;fly 10\nmain;walk;step 30\n"


# -- in a browser ---------------------------------------------------------------------------------------------------


def seen(tmp_path: Path, page: str, *actions: str) -> dict[str, tuple[float, float]]:
    """Return the frames that a browser shows after some actions: where they begin and how wide they are, per cent."""
    if BROWSER is None:
        pytest.skip("needs a chromium to click in")
    path = tmp_path / "page.html"
    script = "\n".join(actions)
    path.write_text(page.replace("</body>", f"<script>//<![CDATA[\n{HELP}\n{script}\n//]]></script></body>"))
    browse = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
              "--dump-dom", path.as_uri()]  # fmt: skip
    done = subprocess.run(browse, capture_output=True, text=True, check=True, timeout=120)
    (tmp_path / "seen.html").write_text(done.stdout)
    shown = {}
    for group in re.findall(r"<g\b.*?</g>", done.stdout, re.DOTALL):
        if "display: none" not in group:
            name = re.search(r"<title>(\S+)", group)
            x, width = (re.search(rf'\b{key}="([0-9.]+)%"', group) for key in ("x", "width"))
            assert name and x and width
            shown[name[1]] = round(float(x[1]), 2), round(float(width[1]), 2)
    return shown


HELP = """
function frame(name) {
  return Array.prototype.find.call(document.querySelectorAll(".frames g"), function (g) {
    return g.querySelector("title").textContent.indexOf(name + " ") === 0;
  });
}
function click(where) { where.dispatchEvent(new MouseEvent("click", {bubbles: true})); }
function type(text) {
  document.querySelector(".search").value = text;
  document.querySelector(".search").dispatchEvent(new Event("input"));
}
"""


def test_a_click_zooms_and_escape_goes_back(tmp_path: Path) -> None:
    page = flame_graph(parsed(TREE), title="t")
    whole = {"all": (0, 100), "main": (0, 100), "walk": (20, 80), "step": (20, 60), "turn": (80, 20), "rest": (0, 20)}
    assert seen(tmp_path, page) == whole
    zoomed = {"all": (0, 100), "main": (0, 100), "walk": (0, 100), "step": (0, 75), "turn": (75, 25)}
    assert seen(tmp_path, page, 'click(frame("walk"));') == zoomed
    back = 'document.dispatchEvent(new KeyboardEvent("keydown", {key: "Escape"}));'
    assert seen(tmp_path, page, 'click(frame("walk"));', back) == whole
    assert seen(tmp_path, page, 'click(frame("walk"));', 'click(document.querySelector(".reset"));') == whole


def test_keys_walk_and_zoom(tmp_path: Path) -> None:
    page = flame_graph(parsed(TREE), title="t")
    press = """
    function press(key) {
      document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: key, bubbles: true}));
    }
    document.querySelector('.frames g[tabindex="0"]').focus();
    """
    keys = ("ArrowUp", "ArrowUp", "ArrowRight", "ArrowLeft", "ArrowRight", "Enter")
    zoomed = seen(tmp_path, page, press, *(f'press("{key}");' for key in keys))
    assert zoomed == {"all": (0, 100), "main": (0, 100), "walk": (0, 100), "step": (0, 75), "turn": (75, 25)}


def test_a_search_marks_and_counts_each_part_once(tmp_path: Path) -> None:
    page = flame_graph(parsed("main;walk;walk 30\nmain;walk 10\nmain;rest 60\n"), title="t")
    seen(tmp_path, page, 'type("WAL");')
    text = (tmp_path / "seen.html").read_text()
    assert "2 frames, 40.00 % of all cost" in text
    assert len(re.findall(r'<g [^>]*class="found"', text)) == 2


def test_the_button_draws_the_widths_of_before(tmp_path: Path) -> None:
    page = two_sided()
    assert "turn" not in seen(tmp_path, page)
    before = seen(tmp_path, page, 'click(document.querySelector(".side"));')
    assert (before["turn"][1], before["step"][1], before["rest"][1]) == (20, 60, 20)
    assert "fly" not in before
    assert "widths of after" in (tmp_path / "seen.html").read_text()


def test_a_name_runs_no_script_in_a_browser(tmp_path: Path) -> None:
    samples = parsed('main;</title><script>document.title="owned"</script><img/src=x/onerror=alert(1)> 3\n')
    seen(tmp_path, flame_graph(samples, title="safe"))
    assert "<title>safe</title>" in (tmp_path / "seen.html").read_text()
