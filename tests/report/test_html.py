# SPDX-License-Identifier: Apache-2.0
"""The page of a run: well-formed, whole for every kind of run, harmless whatever its names are, used in a browser."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from git_hmopt.errors import CorruptRecordError
from git_hmopt.measure.sampling import Row, Samples
from git_hmopt.records.run import MetricRecord
from git_hmopt.records.words import Seed, Verdict
from git_hmopt.report.flame import Flames
from git_hmopt.report.html import html_report
from git_hmopt.report.story import RunStory, fold
from git_hmopt.report.windows import Read
from git_hmopt.traces import folded
from tests.report.browser import BROWSER, Tab, tab
from tests.report.story_operations import (
    BASE,
    RUN,
    Journal,
    artifact_data,
    delta,
    evaluation_data,
    good_run,
    hotspot_data,
    nothing_here,
    patch_data,
    run_data,
)

SECTIONS = (
    "summary", "kpis", "timeline", "hotspots", "flames", "distributions", "patches", "windows", "risks", "environment",
)  # fmt: skip
DIFF = b"--- a/lib/digest.c\n+++ b/lib/digest.c\n@@ -1,2 +1,2 @@\n-\told(x);\n+\tnew(x); /* <script> */\n"
PACK = {"hotspots": [{"hotspot": {"symbol": "digest"}, "risks": ["takes a spinlock"]}]}


def stacks(text: str) -> Any:
    return folded.parse(text.encode("utf-8", "surrogatepass").splitlines(keepends=True))


FLAMES = Flames(
    ("timer of base", stacks("main;walk;step 60\nmain;walk;turn 20\nmain;rest 20\n")),
    ("timer of best", stacks("main;walk;step 30\nmain;rest 20\n")),
)


def readings(layouts: int = 4, boots: int = 5) -> bytes:
    rng = random.Random(1)
    rows = [
        Row(0, boot, arm, Seed(seed), 0, level * rng.uniform(0.98, 1.02))
        for seed in range(100, 100 + layouts)
        for boot in range(boots)
        for arm, level in (("base", 4e6), ("candidate", 3e6))
    ]
    return Samples(tuple(rows)).to_bytes()


def floor_data() -> dict[str, Any]:
    source = {"name": "base against base", "kind": "a/a", "estimate": "0.001", "low": "-0.01", "high": "0.012",
              "layouts": 12, "boots": 10, "paired": False, "ratios": ["0.003", "-0.002"]}  # fmt: skip
    null = {**source, "name": "16 bytes of padding in lib/crc.c", "kind": "null-patch", "ratios": []}
    whole = {"v": 1, "host": "h", "workload": "digest", "metric": "time", "value": "0.004", "sources": [source, null]}
    return {"floor": {"value": "0.004", "sources": ["base against base"]}, "floor_record": json.dumps(whole)}


def measured(commit: str, value: str, samples: str | None) -> dict[str, Any]:
    record = MetricRecord(
        run=RUN, commit=commit, tree="7" * 40, workload="digest", name="time", value=value, unit="ns", n=20,
        low=value, high=str(int(value) + 9000), layouts=4, samples=samples,
    )  # fmt: skip
    return record.model_dump(mode="json")


def accepted_run() -> Journal:
    """Return a finished run with all that a page can show of it."""
    journal = Journal().add("init_run", run_data()).add("profile", hotspot_data("digest", "mix", "zap"))
    journal.add("evidence", artifact_data("evidence-pack", "e" * 64), iteration=1)
    journal.add("floor", floor_data(), iteration=1)
    for number in (1, 2, 3):
        journal.add("patch", patch_data(number), iteration=number)
        points = ("-0.26", "-0.24", "-0.25", "-0.27")
        verdict = Verdict.IMPROVED if number == 1 else Verdict.NO_CHANGE
        data = evaluation_data(number, verdict, delta(f"-0.{25 - number}", "-0.27", "-0.2", ratios=points))
        data["metrics"] = [measured(f"{number:x}" * 40, "3000000", "5" * 64), measured(BASE, "4000000", "5" * 64)]
        journal.add("evaluate", data, iteration=number)
    fresh = delta("-0.25", "-0.26", "-0.24", against="baseline", ratios=("-0.25", "-0.251")).model_dump(mode="json")
    journal.add("confirm", {"confirmation": fresh}, iteration=3)
    both = [measured("1" * 40, "3000000", "6" * 64), measured(BASE, "4000000", "6" * 64)]
    journal.add("best", {"metrics": both, "notes": []}, iteration=3)
    return journal.add("close", {"status": "succeeded", "reason": "done"})


def stored(sha256: str) -> bytes | None:
    return {"d" * 64: DIFF, "e" * 64: json.dumps(PACK).encode(), "5" * 64: readings(), "6" * 64: readings(6)}.get(
        sha256
    )


def page_of(journal: Journal, read: Read = stored, flames: Flames = FLAMES) -> str:
    return html_report(fold(journal.operations), read, flames)


def parsed(page: str) -> etree._Element:
    return etree.fromstring(page.encode(), etree.XMLParser(resolve_entities=False))


def text_of(page: str, section: str) -> str:
    found = parsed(page).xpath(f'//*[@id="{section}"]')
    assert isinstance(found, list) and len(found) == 1, section
    return " ".join(" ".join(map(str, found[0].itertext())).split())


def nothing_accepted() -> Journal:
    journal = Journal().add("init_run", run_data()).add("patch", patch_data(1), iteration=1)
    journal.add("evaluate", evaluation_data(1, Verdict.NO_CHANGE, delta("0.001", "-0.01", "0.01")), iteration=1)
    return journal.add("close", {"status": "succeeded", "reason": "done"})


def killed() -> Journal:
    return Journal().add("init_run", run_data()).add("patch", patch_data(1), iteration=1)


@pytest.mark.parametrize(
    ("journal", "read"),
    [(accepted_run(), stored), (accepted_run(), nothing_here), (nothing_accepted(), stored), (killed(), nothing_here),
     (good_run(), nothing_here), (Journal().add("init_run", run_data()), nothing_here)],
    ids=["accepted", "elsewhere", "nothing accepted", "killed", "first records", "just begun"],
)  # fmt: skip
def test_every_run_has_every_section_and_loads_nothing(journal: Journal, read: Read) -> None:
    page = page_of(journal, read, Flames(missing="The capture is not in this clone."))
    root = parsed(page)
    assert root.xpath("//*[local-name()='section']/@id") == list(SECTIONS)
    ids = root.xpath("//@id")
    assert isinstance(ids, list) and len(ids) == len(set(map(str, ids)))
    links = root.xpath("//*[local-name()='a']/@href")
    assert isinstance(links, list) and {f"#{name}" for name in SECTIONS} == set(map(str, links))
    assert_loads_nothing(page)


def assert_loads_nothing(page: str) -> None:
    # Names of namespaces are no addresses; what else looks like one is text of the run.
    attributes = re.findall(r'\b(?:src|srcset|action|data|poster|background|formaction)="', page)
    assert not attributes and not re.search(r"@import|url\((?!#)", page)
    assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)"', page))
    assert not re.search(r"<(link|img|iframe|object|embed|base|form)\b", page)
    assert re.search(r"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-[^;]*; base-uri 'none'",
                     page.replace("&#39;", "'"))  # fmt: skip


def test_what_is_here_is_shown() -> None:
    page = page_of(accepted_run())
    assert "4 ms [4, 4.009] 3 ms [3, 3.009] -25.0 % [-26.0, -24.0] at 95 % faster" in text_of(page, "summary")
    claims = text_of(page, "distributions")
    assert claims.count("Between layouts 1.1 % (standard deviation), between boots 1.7 %; noise floor 0.40 %") == 4
    assert "Best against base, measured afresh: time -25.0 %" in claims and "medians of 6 layouts" in claims
    assert claims.count("medians of 4 layouts") == 3 and "not stored" in claims and "base against base" in claims
    assert page.count('class="chart"') == 10
    patches = text_of(page, "patches")
    assert "new(x); /* <script> */" in patches and page.count('class="gi"') >= 3
    risks = text_of(page, "risks")
    assert "takes a spinlock" in risks and "git revert --no-edit 111111111111 # iteration 1" in risks
    again = text_of(page, "environment")
    assert f"git hmopt optimize --workload digest --base {BASE} --seed 42" in again
    assert [len(parsed(page).xpath("//*[@class='flame']"))] == [3]


def test_what_is_not_here_is_said_where_it_would_stand() -> None:
    page = page_of(accepted_run(), nothing_here, Flames(missing="capture abc is not in this clone."))
    assert "capture abc is not in this clone." in text_of(page, "flames")
    claims = text_of(page, "distributions")
    assert (
        "The table of raw readings (artifact 555555555555) is not in this clone. The points are the record's" in claims
    )
    assert "The diff (artifact dddddddddddd) is not in this clone." in text_of(page, "patches")
    assert "The evidence pack (artifact eeeeeeeeeeee) is not in this clone." in text_of(page, "risks")
    early = text_of(page_of(good_run(), nothing_here), "distributions")
    assert "no points: an earlier version wrote it" in early


def test_damaged_artifacts_are_said_and_nothing_else_is_lost() -> None:
    def damaged(sha256: str) -> bytes | None:
        if sha256 == "d" * 64:
            raise CorruptRecordError("artifact 'x' is damaged")
        return b'{"rows": [[1]], "hotspots": 3}' if sha256 != "6" * 64 else b"\xff"

    page = page_of(accepted_run(), damaged)
    assert "The table of raw readings cannot be read" in text_of(page, "distributions")
    assert "The diff cannot be read: artifact 'x' is damaged." in text_of(page, "patches")
    assert "The evidence pack cannot be read" in text_of(page, "risks")


def kpi_data(capture: str, value: str, name: str = "fps_avg") -> dict[str, Any]:
    tags = {"artifact": capture, "of": "all", "per": "system"}
    record = MetricRecord(
        run=RUN, commit=BASE, tree="7" * 40, workload="digest", name=name, value=value, unit="1/s", n=9, tags=tags
    )
    return record.model_dump(mode="json")


def test_kpis_of_captures_are_charted_against_the_first_and_late_frames_listed() -> None:
    journal = accepted_run()
    both = [kpi_data("a" * 64, "60"), kpi_data("b" * 64, "45"), kpi_data("b" * 64, "7", name=f"$x$ {EVIL}")]
    late = {"start_ns": 5_000_000_000, "end_ns": 5_020_000_000, "late_ns": 3_300_000, "who": "render", "rule": "vsync"}
    journal.add("ingest", {"metrics": both, "kpis": {"capture": "a" * 64, "name": "one.ftrace", "windows": [late]}})
    page = page_of(journal)
    assert "Change of 1 KPIs from the first capture" in page
    assert "fps_avg 60 1/s 9" in text_of(page, "kpis")
    assert "one.ftrace render 5.000000 5.020000 3.300 vsync" in text_of(page, "windows")
    assert 'fill=""' not in page


def test_a_long_diff_is_cut_and_said() -> None:
    page = page_of(accepted_run(), lambda sha256: b"+" + b"x" * 99_999 if sha256 == "d" * 64 else stored(sha256))
    assert "60,000 of 100,000 bytes are not shown; all of it: git show 111111111111" in text_of(page, "patches")


EVIL = "</title></style></script><script>document.title='owned'</script><img src=x onerror=alert(1)>\"'`$x$ {{7*7}}"
HIDDEN = "\x1b[31m\u202e\u2066\x00\ud800\ufffe"
LONG = "_ZN" + "x" * 10_000


def hostile_run() -> Journal:
    evil = EVIL + HIDDEN.replace("\ud800", "") + LONG
    journal = Journal().add("init_run", run_data(device=evil, toolchain={evil: evil}, workload="w" + EVIL))
    journal.add("profile", hotspot_data(evil, LONG)).add("notes", {"notes": [evil]})
    for number in (1, 2):
        patch = patch_data(number, title=evil, rationale=evil, strategy=evil, symbol=evil, files=(evil,))
        journal.add("patch", patch, iteration=number)
        one = delta("-0.2", "-0.3", "-0.1").model_copy(update={"metric": evil})
        verdict = evaluation_data(number, Verdict.IMPROVED, one, reason=evil, rule=evil)
        verdict["metrics"] = [{**measured("1" * 40, "3", "5" * 64), "name": evil, "unit": evil}]
        journal.add("evaluate", verdict, iteration=number)
    one = delta("-0.2", "-0.3", "-0.1", against="baseline").model_copy(update={"metric": evil})
    return journal.add("confirm", {"confirmation": one.model_dump(mode="json")})


def hostile_page() -> str:
    names = f"main;{EVIL}{HIDDEN};{LONG} 3\nmain;{LONG} 2\n".replace("\x00", "")
    diff = DIFF + f"+ {EVIL}{HIDDEN}".encode("utf-8", "surrogatepass")
    flames = Flames((EVIL + HIDDEN, stacks(names)), (EVIL, stacks(names.replace("3", "9"))), EVIL + HIDDEN)
    return page_of(hostile_run(), lambda sha256: diff if sha256 == "d" * 64 else stored(sha256), flames)


def test_hostile_names_stay_texts() -> None:
    page = hostile_page()
    root = parsed(page)
    scripts = root.xpath("//*[local-name()='script']")
    assert isinstance(scripts, list) and len(scripts) == 2
    assert_loads_nothing(page.replace(page[page.index("<body") :], "") + "".join(re.findall(r"<[^>]*>", page)))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ufffe\ud800]", page)
    assert "x" * 2001 not in page and "49" not in text_of(page, "summary")
    assert "<U+202E>" in text_of(page, "patches")


def test_a_page_is_the_same_bytes_each_time() -> None:
    assert page_of(accepted_run()) == page_of(accepted_run())


# -- in a browser ---------------------------------------------------------------------------------------------------

needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs a chromium to look with")


def opened(seen: Tab, tmp_path: Path, page: str) -> Path:
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    seen.open(path)
    return path


def assert_quiet(seen: Tab, path: Path) -> None:
    assert seen.complaints() == []
    assert seen.requests() == [path.as_uri()]


@needs_browser
def test_a_page_is_used(tmp_path: Path) -> None:
    with tab(tmp_path / "profile") as seen:
        seen.window(1100)
        path = opened(seen, tmp_path, page_of(accepted_run()))
        # Sorting: the third column of the hotspots, up and down; an empty or unknown cell stays last.
        column = "Array.from(document.querySelectorAll('#hotspots tbody th'), one => one.textContent.trim()).join()"
        assert seen.value(column) == "digest,mix,zap"
        press = "document.querySelectorAll('#hotspots th button')[2].click()"
        seen.value(press)
        assert seen.value(column) == "zap,mix,digest"
        assert seen.value("document.querySelectorAll('#hotspots th')[2].ariaSort") == "ascending"
        seen.value(press)
        assert seen.value(column) == "digest,mix,zap"
        # A click with a real mouse zooms the first graph and no other.
        shown = (
            "Array.from(document.querySelectorAll('.flame'), flame => Array.from(flame.querySelectorAll('g'))"
            ".filter(g => g.style.display !== 'none').length)"
        )
        assert seen.value(shown) == [6, 5, 5]
        seen.value("document.querySelector('.flame').scrollIntoView({block: 'center'})")
        where = seen.value(
            "(() => { const box = Array.from(document.querySelectorAll('.flame g')).find(g => "
            "g.textContent.startsWith('walk')).querySelector('rect').getBoundingClientRect();"
            "return {x: box.x + box.width / 2, y: box.y + box.height / 2}; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            seen.ask("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **where)
        assert seen.value(shown) == [5, 5, 5]
        for kind in ("keyDown", "keyUp"):
            seen.ask("Input.dispatchKeyEvent", type=kind, key="Escape")
        assert seen.value(shown) == [6, 5, 5]
        assert_quiet(seen, path)


_CONTRAST = """
(() => {
  function light(color) {
    const parts = color.match(/[0-9.]+/g).slice(0, 3).map(part => part / 255)
      .map(part => part <= 0.03928 ? part / 12.92 : Math.pow((part + 0.055) / 1.055, 2.4));
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  }
  function ground(element) {
    for (let one = element; one; one = one.parentElement) {
      const color = getComputedStyle(one).backgroundColor;
      if (!/rgba\\(.*, 0\\)|transparent/.test(color)) { return light(color); }
    }
    return 1;
  }
  const bad = [];
  for (const one of document.querySelectorAll('body *')) {
    const own = Array.from(one.childNodes).some(node => node.nodeType === 3 && node.data.trim());
    if (!own || one.closest('script, button, input, .flame') || !one.getClientRects().length) { continue; }
    const svg = one.namespaceURI.endsWith('svg');
    const fore = light(svg ? getComputedStyle(one).fill : getComputedStyle(one).color), back = ground(one);
    const ratio = (Math.max(fore, back) + 0.05) / (Math.min(fore, back) + 0.05);
    if (ratio < 4.5) { bad.push(one.textContent.slice(0, 30) + ' ' + ratio.toFixed(2)); }
  }
  return bad;
})()
"""


@needs_browser
def test_a_page_is_read_in_the_dark_on_a_telephone_and_on_paper(tmp_path: Path) -> None:
    with tab(tmp_path / "profile") as seen:
        path = opened(seen, tmp_path, page_of(accepted_run()))
        ground = "getComputedStyle(document.body).backgroundColor"
        seen.value("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        for scheme, color in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(21, 24, 28)")):
            seen.window(1100, scheme=scheme)
            assert seen.value(ground) == color
            assert seen.value(_CONTRAST) == []
        seen.window(360)
        assert seen.value("document.documentElement.scrollWidth") <= 360
        printed = seen.ask("Page.printToPDF")["data"]
        assert len(printed) > 10_000
        assert_quiet(seen, path)


@needs_browser
def test_everything_has_a_name_and_is_reached_with_the_keyboard(tmp_path: Path) -> None:
    with tab(tmp_path / "profile") as seen:
        opened(seen, tmp_path, page_of(accepted_run()))
        seen.ask("Accessibility.enable")
        nodes = seen.ask("Accessibility.getFullAXTree")["nodes"]
        roles = ("button", "link", "image", "img", "searchbox", "heading", "DisclosureTriangle")
        named = [node for node in nodes if not node["ignored"] and node["role"]["value"] in roles]
        assert len(named) > 40
        assert [node for node in named if not node.get("name", {}).get("value")] == []
        # Every graph is one stop of the Tab key; its frames are walked with arrows.
        stops = "document.querySelectorAll('.flame [tabindex=\"0\"]').length"
        assert seen.value(stops) == 3


@needs_browser
@pytest.mark.parametrize(
    "bad", ['<img src="http://127.0.0.1:9/x"/>', "<script>alert(1)</script>", "<p onclick='a()'>x</p>"]
)
def test_the_watch_would_see_it_and_the_policy_forbids_it(tmp_path: Path, bad: str) -> None:
    with tab(tmp_path / "profile") as seen:
        opened(seen, tmp_path, page_of(killed()).replace("</main>", f"{bad}</main>"))
        seen.value("document.querySelectorAll('p[onclick]').forEach(one => one.click())")
        assert any("Content Security Policy" in str(one) for one in seen.complaints())


@needs_browser
def test_hostile_names_do_nothing_in_a_browser(tmp_path: Path) -> None:
    with tab(tmp_path / "profile") as seen:
        path = opened(seen, tmp_path, hostile_page())
        assert str(seen.value("document.title")).startswith(f"Run {RUN}")
        seen.window(360)
        assert seen.value("document.documentElement.scrollWidth") <= 360
        assert seen.value("document.images.length") == 0
        assert_quiet(seen, path)


def test_stories_are_not_changed_by_being_told() -> None:
    story: RunStory = fold(accepted_run().operations)
    html_report(story, stored, FLAMES)
    assert story == fold(accepted_run().operations)
