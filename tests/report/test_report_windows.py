# SPDX-License-Identifier: Apache-2.0
"""When captures were slow and what ran then, in the page and in markdown: whole, harmless, and what is away is said."""

from __future__ import annotations

import json
import re

from git_hmopt.errors import CorruptRecordError
from git_hmopt.records.windows import TraceWindow, TraceWindows, WindowReason
from git_hmopt.report.markdown import run_report
from git_hmopt.report.story import fold
from git_hmopt.report.story_json import as_json
from git_hmopt.report.windows import Read, window_lines
from tests.evidence.test_evidence_pack import WINDOW
from tests.report.story_operations import Journal, good_run, nothing_here
from tests.report.test_html import EVIL, HIDDEN, LONG, page_of, parsed, text_of

CAPTURE, ARTIFACT = "c" * 64, "8" * 64


def slow_run() -> Journal:
    return good_run().add("ingest", {"windows": {"capture": CAPTURE, "artifact": ARTIFACT}})


def reading(*windows: TraceWindow, name: str = "boot.ftrace") -> Read:
    text = TraceWindows(capture=CAPTURE, name=name, windows=windows).canonical().encode()
    return lambda sha256: text if sha256 == ARTIFACT else None


def test_the_page_tells_what_ran_with_a_piece_of_the_trace() -> None:
    later = WINDOW.model_copy(update={"what": "worse", "lost_ns": WINDOW.lost_ns + 1, "reasons": (), "excerpt": ()})
    told = text_of(page_of(slow_run(), reading(WINDOW, later)), "windows")
    assert "0.002000 s: t-5 waited 6 ms for a CPU after it was woken boot.ftrace, 0.002000 to 0.008000 s" in told
    assert "t-5 waited for a CPU for 6 ms mix has 75.0 % of the samples" in told
    assert "0.002000 [000] 8 sched_wakeup: pid=5 ... 3 lines between ... 0.008000 [000] 8 sched_switch" in told
    # What lost most comes first, whatever the record's order is.
    assert told.index("worse") < told.index("t-5 waited 6 ms")
    assert "What ran then is not known." in told


def test_markdown_tells_the_same() -> None:
    text = run_report(fold(slow_run().operations), reading(WINDOW))
    assert "## Trace windows: when it was slow, and what ran then" in text
    assert "* mix has 75.0 % of the samples\n" in text
    assert "\n    0.002000 [000] 8 sched_wakeup: pid=5\n    ... 3 lines between ...\n" in text
    assert "Trace windows" not in run_report(fold(good_run().operations), nothing_here)
    story = json.loads(as_json(fold(slow_run().operations)))["story"]
    assert (story["slow_times"], story["skipped"]) == ({CAPTURE: ARTIFACT}, {})


def test_what_is_away_or_damaged_is_said() -> None:
    def damaged(sha256: str) -> bytes | None:
        raise CorruptRecordError("artifact 'x' is damaged", next_step="")

    what = "What ran in the slow times of capture cccccccccccc"
    for read, said in (
        (nothing_here, f"{what} (artifact 888888888888) is not in this clone."),
        (damaged, f"{what} cannot be read: artifact 'x' is damaged."),
        (lambda _: b"{", "cannot be read"),
        (lambda _: b'{"windows": [{}]}', "cannot be read"),
        (lambda _: b"[]", "cannot be read"),
    ):  # fmt: skip
        assert said in text_of(page_of(slow_run(), read), "windows")
        written = run_report(fold(slow_run().operations), read).partition("## Trace windows")[2]
        assert said.replace("(artifact 888888888888) ", "")[-20:] in written


def test_a_malformed_operation_is_counted() -> None:
    story = fold(good_run().add("ingest", {"windows": {"capture": 7}}).operations)
    assert story.slow_times == {} and any(reason.startswith("malformed windows") for reason in story.skipped)


def hostile() -> TraceWindow:
    evil = EVIL + HIDDEN.replace("\ud800", "") + LONG
    reason = WindowReason(about="thread", text=f"{evil}\n\n# heading", share="1", own=True)
    return WINDOW.model_copy(
        update={
            "what": evil,
            "who": evil,
            "rule": evil,
            "reasons": (reason,),
            "excerpt": (f"{EVIL}\n</pre>\n```\n# x",),
        }
    )


def test_hostile_names_stay_texts() -> None:
    page = page_of(slow_run(), reading(hostile(), name=EVIL))
    scripts = parsed(page).xpath("//*[local-name()='script' or local-name()='img']")
    assert isinstance(scripts, list) and len(scripts) == 2
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", page)
    assert "x" * 2001 not in page
    text = run_report(fold(slow_run().operations), reading(hostile(), name=EVIL))
    text = text.partition("## Trace windows")[2].partition("## Iterations")[0]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", text)
    assert not re.search(r"^(# heading|# x|```|</pre>)$", text, re.MULTILINE)
    # Outside of the lines of the trace, which are code, nothing is left that markdown would take for a tag.
    assert "<img" not in re.sub(r"^    .*$|\\<", "", text, flags=re.MULTILINE)
    lines = list(window_lines([hostile()]))
    assert not re.search("[\x00-\x1f\x7f\u202e]", "".join(lines)) and max(map(len, lines)) < 400


def test_many_slow_times_keep_the_page_small() -> None:
    many = [hostile().model_copy(update={"lost_ns": number}) for number in range(400)]
    page = page_of(slow_run(), reading(*many))
    assert len(page.encode()) < 3_000_000
    assert "376 more, which lost less time" in text_of(page, "windows")
    assert "388 more lost less time" in run_report(fold(slow_run().operations), reading(*many))


def test_a_terminal_is_told_when_nothing_was_slow() -> None:
    assert list(window_lines([])) == [
        "  nothing in it was slow: no late frame, no wait of 1 ms, no interrupt storm, no stall of an allocation"
    ]
    lost = WINDOW.model_copy(update={"lost_events": 2, "reasons": ()})
    assert list(window_lines([lost]))[1:3] == [
        "     what ran then is not known",
        "     events were lost 2 times meanwhile: there was more than is told",
    ]
