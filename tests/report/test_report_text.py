# SPDX-License-Identifier: Apache-2.0
"""What a reader sees: numbers, the wording of every verdict, one screen, and markdown that cannot be injected."""

from __future__ import annotations

import shlex

import pytest
from markdown_it import MarkdownIt

from git_hmopt.records.run import Delta
from git_hmopt.records.words import RunStatus, Verdict
from git_hmopt.report import wording
from git_hmopt.report.facts import DeltaFacts
from git_hmopt.report.markdown import run_report
from git_hmopt.report.next_steps import next_commands
from git_hmopt.report.screen import COLUMNS, LINES, NARROWEST, one_screen
from git_hmopt.report.story import Iteration, RunStory, fold
from tests.report.story_operations import (
    Journal,
    delta,
    evaluation_data,
    good_run,
    hotspot_data,
    message_data,
    nothing_here,
    patch_data,
    run_data,
)


def facts(record: Delta) -> DeltaFacts:
    return DeltaFacts(**record.model_dump(mode="json"), samples=None)


def judged(verdict: Verdict, *deltas: Delta, **changed: object) -> Iteration:
    journal = Journal().add("init_run", run_data())
    journal.add("evaluate", evaluation_data(1, verdict, *deltas, **changed), iteration=1)
    return fold(journal.operations).iterations[0]


def run_with(verdict: Verdict, *deltas: Delta, **changed: object) -> RunStory:
    journal = Journal().add("init_run", run_data()).add("coder_generate_patch", patch_data(1), iteration=1)
    journal.add("evaluate", evaluation_data(1, verdict, *deltas, **changed), iteration=1)
    return fold(journal.add("close", {"status": "succeeded", "reason": "done"}).operations)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        (("-0.7649", "-0.766", "-0.7641"), "-76.5 % [-76.6, -76.4]"),
        (("0.0025", "-0.018", "0.023"), "+0.2 % [-1.8, +2.3]"),
        (("0.0002", "-0.005", "0.0055"), "+0.02 % [-0.50, +0.55]"),
        (("-0.1315", "-0.1315", "-0.1315"), "-13.2 %"),
        (("0", "0", "0"), "0.00 %"),
        (("-0.00001", "-0.00002", "0.00002"), "0.00 % [0.00, 0.00]"),
        (("1.7", "1.5", "1.9"), "+170.0 % [+150.0, +190.0]"),
    ],
)
def test_numbers_carry_their_sign_and_interval(numbers: tuple[str, str, str], text: str) -> None:
    assert wording.interval(facts(delta(*numbers))) == text


@pytest.mark.parametrize(
    ("one", "label", "claim"),
    [
        (judged(Verdict.IMPROVED), "improved", "Improved: the objective's interval clears its bound"),
        (judged(Verdict.IMPROVED_COUNT), "improved(count only)", "a count is not a time. It is not on best."),
        (judged(Verdict.IMPROVED_COUNT, accepted=True), "improved(count only)", "It is on best."),
        (judged(Verdict.NO_CHANGE), "no-change", "No change: no difference beyond the bound was found."),
        (judged(Verdict.REGRESSED), "regressed", "Regressed: it is measurably worse. It is not on best."),
        (judged(Verdict.INCORRECT), "incorrect", "its speed means nothing"),
        (judged(Verdict.REJECTED, rule="timekeeping"), "rejected(timekeeping)", "Rejected by rule 'timekeeping'"),
        (judged(Verdict.REJECTED), "rejected(unknown)", "Rejected by rule 'unknown'"),
        (
            judged(Verdict.CANNOT_TELL, smallest_detectable="0.031"),
            "cannot-tell(3.1 %)",
            "the smallest change it would have shown is 3.1 %",
        ),
        (judged(Verdict.CANNOT_TELL), "cannot-tell(unknown)", "what was measured does not decide"),
    ],
)
def test_every_verdict_says_what_it_claims_and_no_more(one: Iteration, label: str, claim: str) -> None:
    assert wording.verdict_label(one) == label
    assert claim in wording.verdict_sentence(one)


def test_no_verdict_is_left_without_words() -> None:
    sentences = {wording.verdict_sentence(judged(verdict)) for verdict in Verdict}
    assert len(sentences) == len(Verdict)
    assert not any(sentence.startswith("Verdict:") for sentence in sentences)


@pytest.mark.parametrize(
    ("numbers", "kind", "word"),
    [
        (("-0.5", "-0.6", "-0.4"), "time", "faster"),
        (("0.5", "0.4", "0.6"), "time", "slower"),
        (("-0.01", "-0.03", "0.01"), "time", "no difference shown"),
        (("-0.01", "-0.03", "0"), "time", "no difference shown"),
        (("-0.5", "-0.5", "-0.5"), "count", "fewer"),
        (("0.2", "0.1", "0.3"), "kpi", "higher"),
    ],
)
def test_the_confirmed_claim_follows_from_the_interval(numbers: tuple[str, str, str], kind: str, word: str) -> None:
    assert wording.confirmed(facts(delta(*numbers, kind=kind))).endswith(f": {word}")


def test_one_screen_of_a_good_run() -> None:
    screen = one_screen(fold(good_run().operations))
    lines = screen.splitlines()
    assert lines[0] == "run 20260131-digest-0a1b2c  succeeded: the playbook is exhausted"
    assert "  base bbbbbbbbbbbb (v6.1) of https://example.org/linux.git, started 2026-01-31T12:00:00Z" in lines
    assert "   50.0 %  digest                                lib/digest.c:13-20" in lines
    assert "1*  word-at-a-time  digest         -76.5 % [-76.6, -76.4]  -70.1 % +4096 B  improved" in lines
    assert "2   forced-inline   digest         +0.2 % [-1.8, +2.3]     -13.2 % +4096 B  improved(count only)" in lines
    assert "3   flags           digest         unknown                 unknown unknown  rejected(build-flags)" in lines
    assert "1 of 3 judged candidates accepted; best is 111111111111." in lines
    assert "Best against base, measured afresh: time -76.5 % [-76.6, -76.4] at 95 %: faster." in lines
    assert "Measured over 12 layouts (paired by seed), 10 boots each." in lines
    assert "Noise floor 0.40 % from A/A over 12 layouts; 2 null patches." in lines
    assert "note: bwrap is not installed: programs run unconfined" in lines
    assert "  git merge hmopt/20260131-digest-0a1b2c/best" in lines


def long_run() -> RunStory:
    journal = Journal().add("init_run", run_data(device="d" * 300, name="20260131-" + "w" * 64 + "-0a1b2c"))
    journal.add("profile", hotspot_data(*(f"symbol_{number}" * 9 for number in range(30))))
    for number in range(1, 60):
        journal.add("patch", patch_data(number, strategy="s" * 50), iteration=number)
        verdict = Verdict.IMPROVED if number % 7 == 0 else Verdict.NO_CHANGE
        journal.add("evaluate", evaluation_data(number, verdict, delta("-0.1", "-0.2", "-0.05")), iteration=number)
    for number in range(40):
        journal.add("confirm", {"confirmation": {**delta("-1", "-2", "1").model_dump(), "metric": f"m{number}"}})
    journal.add("notes", {"notes": [f"note {number} " + "x " * 90 for number in range(20)]})
    return fold([*journal.operations, {"v": 9}])


def test_a_screen_is_a_screen_however_long_the_run() -> None:
    screen = one_screen(long_run())
    lines = screen.splitlines()
    assert len(lines) <= LINES
    commands = [command for command, _ in next_commands(long_run())]
    assert all(len(line) <= COLUMNS for line in lines if line.strip() not in commands)
    assert [line.strip() for line in lines[-len(commands) :]] == commands
    assert any(line.endswith("earlier iterations are not shown") for line in lines)
    assert any(line.startswith("59 ") for line in lines)
    assert "and more, which the report tells" in lines
    assert "1 x operation of version 9." in screen


@pytest.mark.parametrize("columns", [1, 60, 72, 80, 87, 88, 99, 100, 300])
def test_a_screen_is_as_narrow_as_the_terminal(columns: int) -> None:
    for story in (fold(good_run().operations), long_run()):
        commands = {command for command, _ in next_commands(story)}
        lines = one_screen(story, columns).splitlines()
        widest = max(len(line) for line in lines if line.strip() not in commands)
        assert widest <= min(max(columns, NARROWEST), COLUMNS)
        if columns >= 80:
            # What the run says of a candidate is whole on a terminal of the usual width.
            assert not [line for line in lines if line.endswith(("improv…", "rejec…", "no-ch…"))]
    assert one_screen(fold(good_run().operations), 300) == one_screen(fold(good_run().operations))
    if 80 <= columns < 88:
        row = one_screen(fold(good_run().operations), columns)
        assert "2   forced-inline   +0.2 % [-1.8, +2.3]     -13.2 % improved(count only)" in row


def test_a_run_with_nothing_accepted_says_so_plainly() -> None:
    story = run_with(Verdict.NO_CHANGE, delta("0.001", "-0.01", "0.01"))
    for text in (one_screen(story), run_report(story, nothing_here)):
        assert "Nothing was accepted (1 idea tried, 1 candidate judged)." in text
        assert "git merge" not in text
    untried = fold(Journal().add("init_run", run_data()).operations)
    assert "Nothing was accepted: nothing was tried. Best is the base commit." in one_screen(untried)


def test_an_accepted_patch_that_was_not_confirmed_claims_nothing() -> None:
    text = one_screen(run_with(Verdict.IMPROVED, delta("-0.5", "-0.6", "-0.4")))
    assert "Best was not measured afresh against base: no gain is claimed." in text
    assert "faster" not in text


def test_unknown_is_unknown_and_never_zero() -> None:
    story = run_with(Verdict.INCORRECT, text_bytes=None)
    screen = one_screen(story)
    assert "hotspots unknown: no profile was recorded" in screen
    assert "Noise floor unknown: it was not measured." in screen
    assert "Nothing was measured for a verdict." in screen
    assert " 0 B" not in screen and "0.0 %" not in screen and "0.00 %" not in screen
    assert " 0 B" in one_screen(run_with(Verdict.NO_CHANGE, text_bytes=0))


def test_an_idea_the_proposer_refused_is_no_candidate() -> None:
    journal = Journal().add("init_run", run_data())
    journal.add("decide", {"decision": {"strategy": "branch-hints", "symbol": "mix"}}, iteration=1)
    journal.add("generate", message_data("refusal", "no branch is biased"), iteration=1)
    journal.add("decide", {"decision": {"strategy": "crc-slicing", "symbol": "mix"}}, iteration=2)
    story = fold(journal.operations)
    assert [wording.verdict_label(one) for one in story.iterations] == ["refused: no patch", "unknown: not judged"]
    report, screen = run_report(story, nothing_here), one_screen(story)
    assert "No patch was written." in report and "no branch is biased" in report
    assert "(2 ideas tried, 0 candidates judged)" in screen
    assert any(
        line.startswith("1   branch-hints    mix ") and line.endswith("refused: no patch")
        for line in screen.splitlines()
    )


def test_layouts_that_were_not_controlled_are_said() -> None:
    text = run_report(run_with(Verdict.NO_CHANGE, delta("0", "-0.1", "0.1", controlled=False)), nothing_here)
    assert "12 layouts (layout NOT controlled), 10 boots each" in text


def test_a_claim_without_layout_control_must_clear_what_one_layout_can_fake() -> None:
    small, large = delta("-0.03", "-0.04", "-0.02", controlled=False), delta("-0.2", "-0.3", "-0.1", controlled=False)
    assert wording.confirmed(facts(small)).endswith(": no difference shown")
    assert wording.confirmed(facts(large)).endswith(": faster")


def test_every_interval_says_its_confidence_and_an_unrecorded_one_is_unknown() -> None:
    measured = delta("-0.1", "-0.2", "-0.05", confidence="0.9675")
    assert wording.at_confidence(facts(measured)) == "-10.0 % [-20.0, -5.0] at 96.75 %"
    old = delta("-0.1", "-0.2", "-0.05", confidence=None)
    assert wording.at_confidence(facts(old)) == "-10.0 % [-20.0, -5.0] at unknown"
    assert wording.interval_head("time", [facts(old)]) == "time [interval]"
    assert wording.interval_head("time", [facts(measured), facts(old)]) == "time [96.75 %]"


def test_a_count_is_not_said_to_have_layouts() -> None:
    journal = Journal().add("init_run", run_data()).add("coder_generate_patch", patch_data(1), iteration=1)
    counted = delta("-0.5", "-0.5", "-0.5", kind="count")
    journal.add("evaluate", evaluation_data(1, Verdict.IMPROVED_COUNT, counted, accepted=True), iteration=1)
    journal.add("confirm", {"confirmation": counted.model_copy(update={"against": "baseline"}).model_dump(mode="json")})
    for text in (one_screen(fold(journal.operations)), run_report(fold(journal.operations), nothing_here)):
        assert "Measured over one exact reading each" in text
        assert "paired by seed" not in text


def test_a_revision_that_is_the_base_itself_is_said_once() -> None:
    record = run_data()
    record["run"]["repository"] = {"uri": "local", "revision": "b" * 40, "dirty": True}
    screen = one_screen(fold(Journal().add("init_run", record).operations))
    assert "  base bbbbbbbbbbbb (dirty tree) of local, started 2026-01-31T12:00:00Z\n" in screen


@pytest.mark.parametrize("status", [*RunStatus, "interrupted"])
def test_a_run_that_has_not_ended_is_offered_to_be_resumed(status: str) -> None:
    story = fold(good_run().add("close", {"status": str(status)}).operations)
    closed = status in ("succeeded", "failed", "stopped")
    assert (f"git hmopt resume {story.run.name}" in one_screen(story)) is not closed
    assert ("it has not ended" in run_report(story, nothing_here)) is not closed


def test_the_report_holds_every_verdict_with_its_reason_and_checks() -> None:
    report = run_report(fold(good_run().operations), nothing_here)
    assert report.startswith("# Run 20260131-digest-0a1b2c\n\nStatus: **succeeded**: the playbook is exhausted.\n")
    assert report.count("Reason: because of the numbers") == 3
    assert report.count("| build | passed | no new warnings |") == 3
    measured = "12 layouts (paired by seed), 10 boots each"
    assert f"| time | time | best | -76.5 % \\[-76.6, -76.4\\] at 99.75 % | {measured} |" in report
    assert "| count | count | best | -70.1 % | one exact reading each |" in report
    assert "| time [96.75-99.75 %] |" in report
    assert "| evidence-pack | `evidence-pack.json` | 12 |" in report
    assert "3 nodes, 2 edges; left out: 7 x unresolved frame" in report
    assert "playbook (end): nothing more to try" in report


EVIL = "x` | <script>alert(1)</script>\n\n# Fake [a](http://e) ![i](u) \x1b[31m\u202e **b**"


def test_texts_from_outside_are_shown_and_never_interpreted() -> None:
    journal = Journal().add("init_run", run_data(device=EVIL)).add("profile", hotspot_data(EVIL))
    journal.add("patch", patch_data(1, title=EVIL, rationale=EVIL, strategy=EVIL, files=(EVIL,)), iteration=1)
    journal.add("evaluate", evaluation_data(1, Verdict.REJECTED, rule=EVIL, reason=EVIL), iteration=1)
    story = fold(journal.add("notes", {"notes": [EVIL]}).operations)
    report, screen = run_report(story, nothing_here), one_screen(story)
    for text in (report, screen):
        assert "\x1b" not in text and "\u202e" not in text
    # The oracle is a markdown parser, not our idea of what it escapes.
    page = MarkdownIt("commonmark").enable("table").render(report)
    assert page.count("<h1>") == 1
    assert not {"<script", "<a ", "<img", "<strong>b"} & {
        tag for tag in ("<script", "<a ", "<img", "<strong>b") if tag in page
    }
    assert page.count("alert(1)") == 11
    rows = [row.count("<td") for table in page.split("<table>")[1:] for row in table.split("</table>")[0].split("<tr>")]
    assert {2, 3, 5, 8} >= set(rows) - {0}


def test_commands_are_whole_words_for_a_shell() -> None:
    commands = next_commands(fold(good_run().operations))
    assert len(commands) >= 2
    for command, what in commands:
        assert shlex.split(command)[0] == "git"
        assert what
