# SPDX-License-Identifier: Apache-2.0
"""What is retrieved for a hotspot: where it comes from, how much of it there is, and that it is the same every time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import git_hmopt.evidence.retrieval as retrieval
import git_hmopt.store.search as store_search
from git_hmopt.evidence.retrieval import FIXES, RUNS, SAID, TEXT, Retrieval, beginning, files_around, said
from git_hmopt.evidence.sections import full_text, sections_of
from git_hmopt.records.evidence import HotspotEvidence, SourceAnchor
from git_hmopt.records.retrieved import Retrieved
from git_hmopt.records.run import Delta, EvaluationRecord, HotspotRecord, PatchRecord
from git_hmopt.records.words import RunId, Verdict
from git_hmopt.search.retrieval import Question, search
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.repository import Repository
from git_hmopt.store.search import Kind
from tests.store.repositories import Shell, evaluation_record, run_record
from tests.store.test_store_cache import HOTSPOT, PATCH

MINE, OTHER, THIRD = (RunId(f"20260131-lib-sort-{end}") for end in ("aaaaaa", "bbbbbb", "cccccc"))
SWAP = """/**
 * {name} - swap two elements of a heap, a word at a time
 */
static void {name}(void *a, void *b, size_t n)
{{
\tdo {{
\t\tunsigned long t = *(unsigned long *)(a + (n -= {step}));
\t\t*(unsigned long *)(a + n) = *(unsigned long *)(b + n);
\t\t*(unsigned long *)(b + n) = t;
\t}} while (n);
}}
"""
FAR = "int crc_update(int crc, const char *buffer)\n{\n\treturn table[crc ^ *buffer];\n}\n"
BOTTLENECK = "cpu-bound-loop do_swap alone has 80 % of the ranked self cost"


def swap(name: str, step: int = 8) -> str:
    return SWAP.format(name=name, step=step)


def repository_of(shell: Shell) -> Repository:
    shell.write("lib/sort.c", swap("do_swap") + FAR)
    shell.write("lib/list_sort.c", swap("swap_words_64"))
    shell.write("lib/bsearch.c", swap("swap_words_32", 4))
    shell.write("mm/slab.c", swap("swap_slabs"))
    shell.commit("code")
    return Repository.open(shell.cwd)


def evidence(symbol: str = "do_swap", path: str | None = "lib/sort.c") -> HotspotEvidence:
    record = HotspotRecord(
        symbol=symbol, file=path, first_line=4, last_line=11, score="0.8", ranker="self", unit="ns", resolved_by="psg"
    )
    anchor = SourceAnchor(path=path, blob="b" * 40, first_line=4, last_line=11, text="void do_swap()") if path else None
    return HotspotEvidence(hotspot=record, source=anchor, static=(), runtime=())


def found(repository: Repository, *hotspots: HotspotEvidence, run: RunId = MINE) -> Sequence[Retrieved]:
    head = repository.head()
    assert head is not None
    return Retrieval(repository, run, "lib-sort", head)(BOTTLENECK, hotspots or (evidence(),))


def record(
    repository: Repository,
    run: RunId,
    *changes: tuple[PatchRecord, EvaluationRecord],
    hotspot: HotspotRecord = HOTSPOT,
) -> None:
    """Record a run whose hotspot is do_swap, with judged changes."""
    drafts = [
        OpDraft("run.created", "init_run", data={"run": run_record(run).model_dump(mode="json")}),
        OpDraft("hotspots.ranked", "rank", data={"hotspots": [hotspot.model_dump(mode="json")]}),
    ]
    for number, (patch, judged) in enumerate(changes, start=1):
        data = {"patch": patch.model_dump(mode="json"), "evaluation": judged.model_dump(mode="json")}
        drafts.append(OpDraft("patch.judged", "judge", number, data=data))
    Journal(repository).append(run, drafts)


def change(number: int, verdict: Verdict, estimate: str, **patch: object) -> tuple[PatchRecord, EvaluationRecord]:
    delta = Delta(
        metric="time", kind="time", against="best", estimate=estimate, low="-0.09", high="0.02", layouts=12, boots=3,
        layout_controlled=True,
    )  # fmt: skip
    judged = evaluation_record(iteration=number, accepted=False, run=OTHER)
    judged = judged.model_copy(update={"verdict": verdict, "deltas": (delta,), "reason": "as the interval says"})
    return PATCH.model_copy(update={"iteration": number, **patch}), judged


def test_code_is_found_beside_the_hotspot_and_not_the_hotspot_itself(shell: Shell) -> None:
    repository = repository_of(shell)
    [one] = found(repository)
    assert [(code.symbol, code.path) for code in one.code] == [
        ("swap_words_64", "lib/list_sort.c"),
        ("swap_words_32", "lib/bsearch.c"),
    ]
    first = one.code[0]
    assert (first.commit, first.first_line, first.last_line) == (repository.head(), 4, 11)
    assert first.blob == shell.git("rev-parse", "HEAD:lib/list_sort.c").strip()
    assert first.text == swap("swap_words_64").partition("*/\n")[2].rstrip("\n")
    assert 0.9 < float(first.alike) <= 1
    assert one.searched == "files: 3, other runs: 0, changes judged there: 0"


def test_failures_of_other_runs_are_there_with_their_numbers_and_where_they_stand(shell: Shell) -> None:
    repository = repository_of(shell)
    record(
        repository, OTHER,
        change(1, Verdict.REGRESSED, "0.05"),
        change(2, Verdict.IMPROVED, "-0.0312", commit="f" * 40, symbol="do_swap.constprop.0"),
        change(3, Verdict.NO_CHANGE, "0", symbol="crc32_body", title="slice tables", rationale="", strategy="tables"),
    )  # fmt: skip
    [one] = found(repository)
    assert {(fix.run, fix.iteration, fix.verdict, fix.same_function) for fix in one.fixes} == {
        (OTHER, 1, "regressed", True),
        (OTHER, 2, "improved", True),
    }
    worse = next(fix for fix in one.fixes if fix.iteration == 1)
    assert worse.commit == "a" * 40
    [delta] = worse.deltas
    assert (delta.metric, delta.estimate, delta.low, delta.high) == ("time", "0.05", "-0.09", "0.02")
    assert [(run.run, run.commit, run.same_function) for run in one.runs] == [(OTHER, "a" * 40, True)]
    assert one.searched == "files: 3, other runs: 1, changes judged there: 3"


def test_without_profiles_nobody_is_told_what_was_hot_in_other_runs(shell: Shell) -> None:
    repository = repository_of(shell)
    record(repository, OTHER, change(1, Verdict.REGRESSED, "0.05"))
    head = repository.head()
    assert head is not None
    [one] = Retrieval(repository, MINE, "lib-sort", head, profiles=False)("unknown", (evidence(),))
    assert (one.runs, [fix.iteration for fix in one.fixes], len(one.code)) == ((), [1], 2)
    assert one.searched == "files: 3, changes judged by other runs: 1"


def test_a_run_that_measured_nothing_is_like_no_other(shell: Shell) -> None:
    repository = repository_of(shell)
    chosen = HOTSPOT.model_copy(update={"score": None, "distance": 1, "ranker": "call-distance", "unit": "calls"})
    record(repository, OTHER, change(1, Verdict.REGRESSED, "0.05"), hotspot=chosen)
    [one] = found(repository)
    # What it tried and what came of it was measured all the same.
    assert (one.runs, [fix.iteration for fix in one.fixes]) == ((), [1])
    assert one.searched == "files: 3, other runs: 0, changes judged there: 1"


def test_a_run_never_finds_itself(shell: Shell) -> None:
    repository = repository_of(shell)
    record(repository, OTHER, change(1, Verdict.IMPROVED, "-0.05"))
    [one] = found(repository, run=OTHER)
    assert (one.runs, one.fixes) == ((), ())
    assert one.searched == "files: 3, other runs: 0, changes judged there: 0"


def test_a_change_that_was_taken_back_says_so(shell: Shell) -> None:
    repository = repository_of(shell)
    record(repository, OTHER, change(1, Verdict.IMPROVED, "-0.05"))
    retract = {"v": 1, "of_iteration": 1, "reason": "the clock was wrong"}
    Journal(repository).append(OTHER, [OpDraft("retract", "review", data={"retract": retract})])
    assert [fix.verdict for fix in found(repository)[0].fixes] == ["retracted"]


def test_what_else_is_indexed_and_when_changes_no_byte(shell: Shell) -> None:
    repository = repository_of(shell)
    record(repository, THIRD, change(1, Verdict.NO_CHANGE, "0"))
    record(repository, OTHER, change(1, Verdict.REGRESSED, "0.05"), change(2, Verdict.REGRESSED, "0.05"))
    before = found(repository)
    (repository.home / "search.sqlite").unlink()
    # Now the whole tree is indexed first, and of the runs nothing.
    search(repository, Question("slab", (Kind.CODE,)))
    assert found(repository) == before
    (repository.home / "search.sqlite").write_bytes(b"no database")
    assert found(repository) == before
    # Equal ones stand by their run, then as they were recorded.
    assert [(fix.run, fix.iteration) for fix in before[0].fixes] == [(OTHER, 1), (OTHER, 2), (THIRD, 1)]


def test_there_is_no_more_than_is_allowed_and_no_longer(shell: Shell) -> None:
    repository = repository_of(shell)
    long = change(1, Verdict.NO_CHANGE, "0", title="\x1b[31m<script>" + "x" * 9000 + "\n# 1. forged 99 %")
    for number in range(7):
        record(repository, RunId(f"20260131-lib-sort-00000{number}"), long)
    [one] = found(repository)
    assert (len(one.fixes), len(one.runs)) == (FIXES, RUNS)
    assert all(len(fix.title) <= SAID and "\n" not in fix.title for fix in one.fixes)
    told = one.model_copy(update={"code": tuple(one.code)})
    spot = evidence().model_copy(update={"retrieved": told})
    sections = {section.name: section for section in sections_of(spot)}
    assert "# 1. forged" not in sections["past_fixes"].medium
    assert "\n# " not in (full_text("past_fixes", spot) or "")


def test_a_hotspot_without_source_still_has_runs_and_changes(shell: Shell) -> None:
    repository = repository_of(shell)
    record(repository, OTHER, change(1, Verdict.REGRESSED, "0.05"))
    [one] = found(repository, evidence(path=None))
    assert (one.code, len(one.fixes), one.searched) == ((), 1, "files: 0, other runs: 1, changes judged there: 1")
    assert found(repository, evidence("not\nthere 'quoted\"; DROP TABLE")) != []


def test_files_of_several_folders_take_turns_and_their_number_is_bounded(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = repository_of(shell)
    head = repository.head()
    assert head is not None
    hotspots = (evidence(), evidence("swap_slabs", "mm/slab.c"))
    assert files_around(repository, head, hotspots) == (
        ("lib/sort.c", "mm/slab.c", "lib/bsearch.c", "lib/list_sort.c"), 4,
    )  # fmt: skip
    monkeypatch.setattr(retrieval, "MOST_BYTES", 500)
    assert files_around(repository, head, hotspots) == (("lib/sort.c", "mm/slab.c", "lib/bsearch.c"), 4)
    monkeypatch.setattr(retrieval, "MOST_FILES", 2)
    assert files_around(repository, head, hotspots) == (("lib/sort.c", "mm/slab.c"), 4)
    assert found(repository, *hotspots)[0].searched.startswith("files: 2 of the 4 beside the hotspots, other runs: 0")


def test_without_vectors_nothing_is_looked_for_and_that_is_said(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = repository_of(shell)
    monkeypatch.setattr(store_search, "load_vectors", lambda database: "sqlite-vec is not installed")
    [one] = found(repository)
    assert (one.code, one.runs, one.fixes) == ((), (), ())
    assert one.searched == "nothing: sqlite-vec is not installed"
    spot = evidence().model_copy(update={"retrieved": one})
    short = {section.name: section.short for section in sections_of(spot)}
    assert short["past_fixes"] == "none alike (looked through nothing: sqlite-vec is not installed)"


def test_texts_are_cut_between_lines_and_words_say_how_much_is_missing() -> None:
    assert beginning([b"a", b"b"], 4) == "a\nb"
    assert beginning([b"a", b"b" * TEXT, b"c"], TEXT) == "a\n[2 more lines]"
    assert beginning([b"\xff" * 400], TEXT) == "\n[1 more lines]"
    assert said("a \n b") == "a b"
    assert len(said("x" * 2 * SAID)) == SAID and said("x" * 2 * SAID).endswith("...")


def test_a_pack_without_retrieval_has_no_such_sections() -> None:
    names = {section.name for section in sections_of(evidence())}
    assert not names & {"past_fixes", "similar_runs", "similar_code"}
