# SPDX-License-Identifier: Apache-2.0
"""What reports tell of models: sums that say what they are of, a price that is never a guess."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import pytest
from lxml import etree
from markdown_it import MarkdownIt

from git_hmopt.records.run import RetractionRecord
from git_hmopt.records.words import Verdict
from git_hmopt.report.exchanges import (
    cost_text,
    exchange_of,
    exchanges_of,
    redacted_in,
    seconds_text,
    tokens_text,
    used,
)
from git_hmopt.report.facts import read_delta
from git_hmopt.report.fields import Fields
from git_hmopt.report.flame import Flames
from git_hmopt.report.html import html_report
from git_hmopt.report.markdown import run_report
from git_hmopt.report.models import ModelUse, model_lines, models_of
from git_hmopt.report.price import claimed
from git_hmopt.report.story import RunStory, fold
from git_hmopt.report.story_json import as_json
from tests.report.exchange_operations import ASKED, HOSTILE, exchange_data, message, roles
from tests.report.story_operations import Journal, delta, evaluation_data, good_run, nothing_here, patch_data, run_data


def with_models(journal: Journal | None = None, **changed: Any) -> RunStory:
    """Return the story of a run in which the coder asked twice and the conductor once."""
    journal = journal or good_run()
    journal.add("coder_generate_patch", exchange_data(iteration=1, **changed), iteration=1)
    journal.add("coder_generate_patch", exchange_data(iteration=2, **changed), iteration=2)
    journal.add("conductor_decide", exchange_data(iteration=4, agent="conductor", **changed), iteration=4)
    return fold(journal.operations)


def models(story: RunStory) -> ModelUse:
    found = models_of(story)
    assert found is not None
    return found


def lines(story: RunStory) -> str:
    return "\n".join(model_lines(models(story)))


# -- figures that are none --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "figure",
    ["", "many", "-5", "1.5", "1e3", "+7", "0x10", "٣", "9" * 16, "9" * 10_000, "nan", HOSTILE],
    ids=lambda figure: figure[:8].encode("unicode_escape").decode(),
)
def test_a_count_that_is_none_is_unknown_and_not_0(figure: str) -> None:
    of = used(exchanges_of([message(prompt_tokens=figure), message()]))
    assert (of.tokens_in, of.tokens_out, of.tokens_unknown) == (800, 200, 1)
    assert tokens_text(of.tokens_in, of) == "at least 800"


@pytest.mark.parametrize(
    "figure",
    ["", "long", "-0.5", "nan", "sNaN", "inf", "-inf", "1e13", "1e999999999", "9" * 50, HOSTILE],
    ids=lambda figure: figure[:8].encode("unicode_escape").decode(),
)
def test_a_duration_or_a_cost_that_is_none_is_unknown(figure: str) -> None:
    (one,) = exchanges_of([message(seconds=figure, cost=figure)])
    assert (one.seconds, one.cost) == (None, None)
    of = used([one])
    assert (seconds_text(of), cost_text(of)) == ("unknown", "unknown")


@pytest.mark.parametrize(
    ("figure", "shown"),
    [("0", "0 EUR"), ("2E-7", "less than 0.000001 EUR"), ("1E-999999", "0 EUR"), ("0E-999999999", "0 EUR"),
     ("0.0120", "0.012 EUR"), ("100", "100 EUR"), ("1E+3", "1000 EUR")],
)  # fmt: skip
def test_costs_are_written_out(figure: str, shown: str) -> None:
    assert cost_text(used(exchanges_of([message(cost=figure)]))) == shown


def test_costs_without_a_currency_and_of_several_are_not_added_up() -> None:
    said = [message(), message(), message(currency=None), message(currency="USD", cost="1"), message(cost=None)]
    of = used(exchanges_of(said))
    assert of.costs == {"": "0.002", "EUR": "0.004", "USD": "1"}
    assert cost_text(of) == "at least 0.002 (currency unknown) + 0.004 EUR + 1 USD"
    many = used(exchanges_of(message(currency=f"C{number}") for number in range(1000)))
    assert len(cost_text(many)) < 120 and "997 other currencies" in cost_text(many)


def test_a_bound_is_at_most_and_with_an_unknown_neither() -> None:
    bound, exact, missing = message(counted_by="bound"), message(), message(completion_tokens=None)
    for said, text in (
        ([exact, exact], "1600"),
        ([exact, bound], "at most 1600"),
        ([exact, missing], "at least 800"),
        ([exact, bound, missing], "1600 (1 by a bound, 1 unknown)"),
        ([missing], "unknown"),
    ):
        of = used(exchanges_of(said))
        assert tokens_text(of.tokens_in, of) == text
    # Who counted is not told: it may be a bound.
    assert used(exchanges_of([message(counted_by=None)])).tokens_at_most == 1


def test_what_was_not_asked_is_in_no_sum() -> None:
    refused = message(role="no-answer", attempts="0", prompt_tokens=None, completion_tokens=None, cost=None)
    lost = message(role="no-answer", attempts="3", prompt_tokens=None, completion_tokens=None, seconds=None, cost=None)
    of = used(exchanges_of([message(), message(replayed="20260101-scan-000001"), refused]))
    assert (of.exchanges, of.answered, of.asked, of.replayed, of.refused) == (3, 2, 1, 1, 1)
    assert (tokens_text(of.tokens, of), seconds_text(of), cost_text(of)) == ("1000", "3.2", "0.002 EUR")
    # A request whose answer was lost used something, and nobody knows how much.
    assert used(exchanges_of([lost])).tokens_unknown == 1
    alone = used(exchanges_of([refused]))
    assert (tokens_text(0, alone), seconds_text(alone), cost_text(alone)) == ("none", "none", "none")


@pytest.mark.parametrize("role", [*roles(), "of a later version"])
def test_an_exchange_is_told_by_its_role(role: str) -> None:
    known = role if role in roles() else "review"
    found = exchange_of(message(role=known))
    assert (found is not None) == (role in ("answer", "no-answer"))


@pytest.mark.parametrize(
    ("told", "total"),
    [
        (["email 1", "email 3, host 2", "email 3, host 2"], {"email": 3, "host": 2}),
        # Another process went on with the run, and began to count anew.
        (["email 3", "email 1", "email 2"], {"email": 5}),
        ([None, "", ",,", "7", "email many", "e-mail of a person 2"], {"e-mail of a person": 2}),
        (["email 0"], {}),
    ],
)
def test_what_was_removed_is_counted_once(told: list[str | None], total: dict[str, int]) -> None:
    assert redacted_in(exchanges_of(message(redacted=one) for one in told)) == total


# -- the price of a percent -------------------------------------------------------------------------------------------


def test_tokens_and_cost_of_an_accepted_percent() -> None:
    story = with_models()
    found = models(story)
    assert (found.used.tokens, found.gain.metric) == (3000, "time")
    assert found.gain.percent == pytest.approx(76.51)
    assert found.per_percent.tokens == pytest.approx(3000 / 76.51)
    assert "Claimed: 76.51 % of time." in lines(story)
    assert "Tokens per accepted percent: 39; cost per accepted percent: 0.000078 EUR." in lines(story)
    assert "at most 39" in lines(with_models(counted_by="bound"))


def changed_run(*confirmations: Any, accepted: bool = True) -> Journal:
    journal = Journal().add("init_run", run_data()).add("patch", patch_data(1), iteration=1)
    verdict = Verdict.IMPROVED if accepted else Verdict.NO_CHANGE
    journal.add("evaluate", evaluation_data(1, verdict, delta("-0.2", "-0.3", "-0.1")), iteration=1)
    for one in confirmations:
        journal.add("confirm", {"confirmation": one.model_dump(mode="json")})
    return journal


@pytest.mark.parametrize(
    ("journal", "why"),
    [
        (changed_run(accepted=False), "none accepted"),
        (changed_run(), "unknown: best was not measured afresh against base"),
        (changed_run(delta("-0.01", "-0.03", "0.01")), "none: of best against base no difference is shown"),
        (changed_run(delta("0.2", "0.1", "0.3")), "none: of best against base it got worse"),
        # One build each side: less than a layout can do is no claim.
        (changed_run(delta("-0.03", "-0.04", "-0.02", controlled=False)), "none: of best against base no difference"),
        (changed_run(delta("0", "-0.04", "-0.02")), "none: the change is 0"),
        # Anybody may write a journal with git itself.
        (changed_run(delta("0", "-0.04", "-0.02").model_copy(update={"estimate": "nan"})), "unknown"),
        (changed_run(delta("0", "-0.04", "-0.02").model_copy(update={"estimate": "-inf"})), "unknown"),
        (
            changed_run(delta("0", "0", "0").model_copy(update={"high": "nan"})),
            "none: of best against base no difference",
        ),
    ],
)
def test_nothing_is_divided_where_nothing_is_claimed(journal: Journal, why: str) -> None:
    story = with_models(journal)
    assert f"Tokens and cost per accepted percent: {why}" in lines(story)
    assert models(story).per_percent.tokens is None


def test_a_claim_that_was_taken_back_has_no_price() -> None:
    record = RetractionRecord(of_iteration=1, reason="the fan had failed").model_dump(mode="json")
    story = with_models(good_run().add("retract", {"retract": record}))
    assert "Tokens and cost per accepted percent: none: what was accepted was retracted." in lines(story)


def test_unknown_use_has_no_price() -> None:
    journal = good_run().add("x", exchange_data(iteration=1, prompt_tokens=None, cost=None), iteration=1)
    text = lines(with_models(journal))
    assert "Tokens and cost per accepted percent: unknown: 1 of 4 exchanges do not say." in text
    text = lines(with_models(good_run().add("x", exchange_data(iteration=1, cost=None), iteration=1)))
    assert "Tokens per accepted percent: 52; cost per accepted percent: unknown: 1 of 4 exchanges do not say." in text


@pytest.mark.parametrize(
    ("kind", "estimate", "accepted", "percent"),
    [
        ("kpi", "0.5", ["0.4"], 50),
        ("kpi", "-0.5", ["-0.4", "-0.1"], 50),
        ("kpi", "-0.5", ["0.4"], None),
        ("kpi", "0.5", ["0.4", "-0.1"], None),
        ("kpi", "0.5", [], None),
        ("time", "-0.5", [], 50),
        ("count", "0.5", [], None),
    ],
)
def test_which_way_a_kpi_wants_is_told_by_what_was_accepted_for_it(
    kind: str, estimate: str, accepted: list[str], percent: int | None
) -> None:
    def facts(value: str) -> Any:
        return read_delta(Fields(delta(value, value, value, kind=kind).model_dump(mode="json")))

    assert claimed([facts(estimate)], map(facts, accepted)).percent == percent


# -- the section ------------------------------------------------------------------------------------------------------


BEFORE = "af233b7ece12ec58698829617cbdd2305bfb51ef72e6a60d330c1884b7cba4f8"
"""sha256 of the report on `good_run` before anything was told of models."""


def page_of(story: RunStory) -> str:
    return html_report(story, nothing_here, Flames(missing="not here"))


def section(page: str) -> str:
    root = etree.fromstring(page.encode(), etree.XMLParser(resolve_entities=False))
    found = root.xpath('//*[@id="models"]')
    assert isinstance(found, list) and len(found) == 1
    return " ".join(" ".join(map(str, found[0].itertext())).split())


def test_a_report_without_exchanges_is_the_bytes_it_was() -> None:
    """What exchanges add are a section, its link and a list an iteration: without them nothing else is left."""
    plain, asked = fold(good_run().operations), with_models()
    first, second = run_report(plain, nothing_here), run_report(asked, nothing_here)
    assert hashlib.sha256(first.encode()).hexdigest() == BEFORE
    assert "Models" not in first and second.count("## Models") == 1
    second = re.sub(r"## Models\n.*?\n\n(?=## What is stored)", "", second, flags=re.DOTALL)
    second = re.sub(r"\* coder asked [^\n]+\n\n", "", second)
    last = re.compile(r"12:00:\d\dZ \|")
    assert last.sub("", second) == last.sub("", first)
    first, second = page_of(plain), page_of(asked)
    assert 'id="models"' not in first and 'href="#models"' not in first
    second = re.sub(r'<section id="models".*?</section>\n\n', "", second, flags=re.DOTALL)
    second = second.replace('<a href="#models">Models</a>\n', "")
    second = re.sub(r"<ul><li>coder asked [^\n]+</li></ul>\n", "", second)
    time = re.compile(r"2026-01-31T12:00:\d\dZ")
    assert time.sub("", second) == time.sub("", first)
    assert "models" not in json.loads(as_json(plain)) and json.loads(as_json(asked))["models"]["used"]["exchanges"] == 3


def test_every_form_tells_the_same() -> None:
    exempt: dict[str, Any] = {
        "exempt_endpoint": "models.example.org:443",
        "exempt_who": "A Person",
        "exempt_why": "none is up",
    }
    story = with_models(redacted="email 2, host 1", served_by="qwen3-coder-30b-2026", **exempt)
    report, page = run_report(story, nothing_here), section(page_of(story))
    for text in (
        "coder", "conductor", "0.006 EUR", "1600", "9.8", "Claimed: 76.51 % of time.", "2 x email, 1 x host",
        "An exception let it leave: models.example.org:443, allowed by A Person: none is up.",
    ):  # fmt: skip
        assert text in report and text in page, text
    row = "| coder | 2 | 2 | qwen3-coder-30b (served by qwen3-coder-30b-2026) | 1600 | 400 | 6.5 | 0.004 EUR |"
    assert row in report
    assert "| 4 | 1 | 800 | 200 | 0.002 EUR |" in report
    told = json.loads(as_json(story))["models"]
    assert told["used"]["costs"] == {"EUR": "0.006"}
    assert [one["agent"] for one in told["agents"]] == ["coder", "conductor"]
    # Where it was asked is said, too, with what came of it.
    asked = "coder asked qwen3-coder-30b (served by qwen3-coder-30b-2026), which answered (800 tokens in, 200 out"
    assert report.count(asked) == page_of(story).count(asked) == 2
    assert "playbook (end): nothing more to try" in report and "conductor (answer)" not in report


def test_replayed_answers_prove_plumbing_and_others_do_not_say_so() -> None:
    replayed = with_models(replayed="20260101-scan-000001")
    assert "prove that the plumbing works, and nothing about a model" in run_report(replayed, nothing_here)
    assert "Answers replayed from run 20260101-scan-000001: 3." in lines(replayed)
    assert "Tokens and cost per accepted percent: none: no model was asked." in lines(replayed)
    assert "plumbing" not in run_report(with_models(), nothing_here)


def test_hostile_texts_do_nothing_and_stay_short() -> None:
    keys = (*ASKED, "served_by", "redacted", "exempt_endpoint", "exempt_who", "exempt_why", "replayed")
    for keep in ((), tuple(ASKED)):
        changed: dict[str, Any] = {key: HOSTILE for key in keys if key not in keep}
        journal = changed_run().add("x", exchange_data(text=HOSTILE, agent=HOSTILE, **changed), iteration=1)
        story = fold(journal.operations)
        report, page = run_report(story, nothing_here), page_of(story)
        shown = MarkdownIt("commonmark").enable("table").render(report)
        for text in (report, page, shown):
            assert "\x1b" not in text and "\u202e" not in text and "<script>alert" not in text
        assert max(map(len, report.splitlines())) < 2500
        assert "alert(1)" in section(page)


def test_ten_thousand_exchanges_are_told_in_a_few_lines() -> None:
    journal = Journal().add("init_run", run_data())
    for number in range(1, 101):
        journal.add("patch", patch_data(number, commit=None), iteration=number)
        for place in range(100):
            data = exchange_data(iteration=number, agent=f"agent {place}", model=f"model {place}")
            journal.add(f"ask {number} {place}", data, iteration=number)
    story = fold(journal.operations)
    found = models(story)
    assert (found.used.exchanges, found.used.tokens) == (10_000, 10_000_000)
    report = run_report(story, nothing_here)
    assert report.count("more exchanges: git hmopt show ") == 100
    assert "| and 80 other agents |" in report and "| 50 earlier ones |" in report and "95 more" in report
    part = report.partition("## Models")[2].partition("## Next")[0]
    assert len(part.splitlines()) < 100 and len(part) < 20_000
    assert len(section(page_of(story))) < 20_000
