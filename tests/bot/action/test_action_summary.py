# SPDX-License-Identifier: Apache-2.0
"""The summary of an answer: what it says, and that nothing in it begins a link, a mention, HTML or another cell."""

from __future__ import annotations

import json
from typing import Any

import pytest
from markdown_it import MarkdownIt

from git_hmopt.errors import CorruptRecordError
from hmopt_bot.action.runner import Level
from hmopt_bot.action.summary import marks, summary, untold
from hmopt_bot.answer import read_answer

_HOSTILE = (
    "<script>alert(1)</script> [x](javascript:y) ![i](https://evil.example/p.png) @maintainers #1 `code` | cell |\n"
    "::error::z \x1b[31m\u202egnp.exe\u200b https://evil.example www.evil.example **bold** &lt; \\ </td>" + "A" * 10_240
)
_TOKENS = {"code_inline", "text", "softbreak", "strong_open", "strong_close"}


def delta(**changes: Any) -> dict[str, Any]:
    """Return a delta as the JSON has it."""
    return {
        "metric": "time", "kind": "time", "against": "baseline", "estimate": "0.5", "low": "0.4", "high": "0.6",
        "layouts": 12, "boots": 10, "layout_controlled": True, "confidence": "0.95", "floor": "0.01",
        "layout_sd": None, "boot_sd": None, **changes,
    }  # fmt: skip


def touch(number: int = 0, **changes: Any) -> dict[str, Any]:
    """Return something touched, as the JSON has it."""
    return {
        "symbol": f"f{number}", "kind": "function", "file": "lib/a.c", "how": "changed", "share": None,
        "reached_by": None, "reached_by_all": None, **changes,
    }  # fmt: skip


def answer(*, workload: dict[str, Any] | None = None, **changes: Any) -> str:
    """Return an answer as `git hmopt check --json` prints it."""
    one = {"workload": "sort", "answer": 1, "verdict": "regressed", "reason": "slower", "touches": [], "deltas": []}
    check = {"base": "a" * 40, "head": "b" * 40, "answer": 1, "notes": [], "workloads": [one | (workload or {})]}
    return json.dumps({"v": 1, "check": check | changes})


def test_a_regression_is_told_with_its_numbers() -> None:
    text = answer(workload={"deltas": [delta()], "touches": [touch(1), touch(2, share="0.25", reached_by=["main"],
                                                                             reached_by_all=3)]})  # fmt: skip
    shown = summary(read_answer(text), cautions=["no bwrap"])
    assert shown.startswith(f"## git hmopt check: regressed\n\n`{'b' * 12}` against `{'a' * 12}`\n")
    assert "\n| `sort` | **regressed** | `regressed` | `slower` |\n" in shown
    assert (
        "\n| `time` | `+50.0 % [+40.0, +60.0] at 95 %` | 12 layouts (paired by seed), 10 boots each | 1.0 % |\n"
        in shown
    )
    # The hot first.
    assert "\n- `f2 (changed, 25.0% of the profile; reached by main and 2 more)` in `lib/a.c`\n- `f1 (ch" in shown
    assert "\n- note: `no bwrap`\n" in shown


def test_nothing_breaks_out_of_the_summary() -> None:
    text = answer(
        notes=[_HOSTILE],
        workload={
            "workload": _HOSTILE, "verdict": _HOSTILE, "reason": _HOSTILE, "deltas": [delta(metric=_HOSTILE)],
            "touches": [touch(symbol=_HOSTILE, file=_HOSTILE, reached_by=[_HOSTILE], reached_by_all=1)],
        },
    )  # fmt: skip
    shown = summary(read_answer(text), cautions=[_HOSTILE])
    for token in MarkdownIt("commonmark").enable("table").parse(shown):
        assert token.type not in ("html_block", "fence", "code_block"), token
        for one in token.children or ():
            assert one.type in _TOKENS, one
            if one.type == "text":
                assert "evil" not in one.content and "@" not in one.content and "script" not in one.content
    assert all(character.isprintable() for character in shown.replace("\n", ""))
    rows = [line for line in shown.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {5}
    assert len(shown) < 20_000
    assert untold(_HOSTILE).count("\n\n") == 1


def test_what_is_left_out_is_counted() -> None:
    shown = summary(read_answer(answer(workload={"touches": [touch(n) for n in range(60)]})))
    assert "- `f49 (changed)` in `lib/a.c`\n- 10 more\n" in shown and "`f50" not in shown


def test_annotations_are_those_that_the_runner_shows() -> None:
    touches = [touch(n, share=f"0.0{n}" if n < 10 else None) for n in range(30)]
    found = list(marks(read_answer(answer(workload={"touches": [*touches, touch(3)]}))))
    assert found[0] == (Level.ERROR, "sort: regressed: slower", None)
    assert [one[0] for one in found[1:]] == [Level.NOTICE] * 10
    assert found[1] == (Level.NOTICE, "touches f9 (changed, 9.0% of the profile)", "lib/a.c")
    (one,) = marks(read_answer(answer(workload={"answer": 125, "verdict": "not measured"})))
    assert one[0] is Level.WARNING
    assert not list(marks(read_answer(answer(workload={"answer": 0}))))


def test_workloads_need_not_be_there() -> None:
    shown = summary(read_answer(answer(workloads=[], answer=0)))
    assert shown.startswith("## git hmopt check: no regression\n") and "|" not in shown


@pytest.mark.parametrize(
    "text",
    [
        "", "no", "[]", "[" * 100_000, "{}", '{"v": 2, "check": {}}', '{"v": 1}', '{"v": 1, "check": []}',
        answer(answer=2), answer(answer="1"), answer(base=None), answer(workloads={}), answer(notes=[1]),
        answer(workload={"answer": True}), answer(workload={"deltas": [delta(low="much")]}),
        answer(workload={"touches": [touch(file=None)]}),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_refused(text: str) -> None:
    with pytest.raises(CorruptRecordError, match="git hmopt check answered no JSON of version 1: "):
        read_answer(text)
