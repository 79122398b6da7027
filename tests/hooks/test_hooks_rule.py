# SPDX-License-Identifier: Apache-2.0
"""A server that refuses regressions: real pushes, by path and over HTTP, with the evidence in them or not.

Cases by the numbers in `hmopt_hooks.rule` and `hmopt_hooks.receive`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from git_hmopt.errors import ConfigError, StoreError
from git_hmopt.records.run import CutoffRecord
from git_hmopt.records.words import CARE_RUN, NOTES_VERDICTS, Oid, RefName, Verdict
from git_hmopt.report.facts import EvaluationFacts
from git_hmopt.report.noted import Judged
from git_hmopt.store.care import CUTOFF
from git_hmopt.store.incoming import Command, read_commands
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.notes import NoteDraft, Notes
from git_hmopt.store.repository import Repository
from hmopt_hooks.rule import Finding, Require, Rule, Tip, findings, read_rules
from tests.hooks.site import EVIDENCE, OTHER_RUN, RUN, Site, source
from tests.store.servers import http_server

NEW, OLD, ELSEWHERE = (Oid(digit * 40) for digit in "123")
FACTS = EvaluationFacts("improved", None, "", True, None, (), (), None, NEW, OLD, OLD)


# -- the rule alone -------------------------------------------------------------------------------------------------


def judged(verdict: str, *, workload: str = "scan", baseline: str = OLD, at: str = "2026-01-31T11:00:00Z") -> Judged:
    """Return a verdict about the tip's tree."""
    facts = replace(FACTS, verdict=verdict, baseline=baseline)
    return Judged(at, RUN, 3, workload, NEW, "t" * 40, None, facts)


def said(
    *standing: Judged,
    require: Require = Require.NO_REGRESSION,
    old: Oid | None = OLD,
    retracted: tuple[Judged, ...] = (),
) -> list[Finding]:
    """Return what a rule on `scan` says of a tip with these verdicts; the branch has had OLD."""
    rule = Rule("speed", ("refs/heads/main",), ("scan",), require)
    return findings(rule, Tip(NEW, old, standing, retracted, frozenset({OLD})))


@pytest.mark.parametrize("require", Require)
@pytest.mark.parametrize("verdict", ["regressed", "incorrect", "rejected"])
def test_1_a_bad_verdict_is_refused_whatever_else_was_said(verdict: str, require: Require) -> None:
    (one,) = said(judged("improved", at="2026-02-01T11:00:00Z"), judged(verdict), require=require)
    assert one.refuses and one.text == f"scan: {verdict}, iteration 3 of run {RUN}"
    assert one.next_step and f"git hmopt retract {RUN} --iteration 3 --reason TEXT" in one.next_step
    assert [each.refuses for each in said(judged(verdict), old=None)] == [True]


def test_1_a_bad_verdict_against_what_the_branch_never_had_is_not_about_it() -> None:
    assert said(judged("regressed", baseline=ELSEWHERE), judged("improved")) == []


def test_2_a_new_branch_needs_no_evidence() -> None:
    assert said(old=None) == []


def test_3_without_evidence_it_is_refused() -> None:
    (one,) = said(judged("improved", workload="sort"))
    assert one.refuses and one.text == "scan: nobody measured this tree"
    assert one.next_step and f"git hmopt optimize --workload scan --base {OLD[:12]} --proposer" in one.next_step
    (one,) = said(retracted=(judged("improved"),))
    assert one.refuses and one.text == f"scan: its verdict was retracted (run {RUN})"


def test_4_held_against_another_commit_is_no_evidence() -> None:
    (one,) = said(judged("improved", baseline=ELSEWHERE))
    assert one.refuses and "but held against 333333333333, which this branch never had" in one.text


@pytest.mark.parametrize("verdict", ["improved", "improved(count only)", "no-change"])
@pytest.mark.parametrize("require", Require)
def test_5_a_good_verdict_is_let_through(verdict: str, require: Require) -> None:
    assert said(judged(verdict), judged("cannot-tell"), require=require) == []


def test_6_cannot_tell_is_let_through_unless_a_verdict_is_wanted() -> None:
    (one,) = said(judged("cannot-tell"))
    assert not one.refuses and one.text.startswith("scan: cannot-tell") and one.next_step is None
    (one,) = said(judged("cannot-tell"), require=Require.VERDICT)
    assert one.refuses and one.next_step


def test_7_a_word_of_a_newer_version_is_refused() -> None:
    (one,) = said(judged("splendid"))
    assert one.refuses and "does not know" in one.text


def test_every_workload_is_asked_for() -> None:
    rule = Rule("speed", (), ("scan", "sort"))
    tip = Tip(NEW, OLD, (judged("improved"),), (), frozenset({OLD}))
    assert [one.text for one in findings(rule, tip)] == ["sort: nobody measured this tree"]


def test_hostile_words_are_shown_harmlessly() -> None:
    hostile = "\x1b[31m\u202e<script>" + "x" * 10_000
    rule = Rule("speed", (), (hostile,))
    one, two = (
        findings(rule, Tip(NEW, OLD, standing, (), frozenset({OLD})))[0]
        for standing in ((), (replace(judged("regressed", workload=hostile), run=hostile),))
    )
    for text in (one.text, two.text):
        assert "\x1b" not in text and "\u202e" not in text and len(text) < 400


@pytest.mark.parametrize(
    ("pairs", "what"),
    [
        ([("hmopt.rule.a.branches", "x")], "hmopt.rule.a.branches is no key of a rule"),
        ([("hmopt.rule.branch", "x")], "is no key of a rule"),
        ([("hmopt.rule.a.branch", "main")], "names no workload"),
        ([("hmopt.rule.a.workloads", " , ")], "names no workload"),
        ([("hmopt.rule.a.workloads", "x"), ("hmopt.rule.a.require", "\x1b[31mall")], "require is '"),
    ],
)
def test_a_wrong_rule_is_an_error(pairs: list[tuple[str, str]], what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_rules(pairs)
    assert what in str(caught.value) and "\x1b" not in str(caught.value)


def test_rules_are_read() -> None:
    pairs = [
        ("hmopt.rule.a b.c.branch", "main, release/*"), ("hmopt.rule.a b.c.branch", "refs/tags/v*"),
        ("hmopt.rule.a b.c.workloads", "old"), ("hmopt.rule.a b.c.workloads", "scan sort,crc"),
        ("hmopt.rule.a b.c.path", "lib"), ("hmopt.rule.a b.c.path", ":!*.md"), ("hmopt.rule.a b.c.require", "verdict"),
    ]  # fmt: skip
    branches = ("refs/heads/main", "refs/heads/release/*", "refs/tags/v*")
    (rule,) = read_rules(pairs)
    assert rule == Rule("a b.c", branches, ("scan", "sort", "crc"), Require.VERDICT, ("lib", ":!*.md"))
    assert rule.protects(RefName("refs/heads/release/a/b")) and not rule.protects(RefName("refs/heads/mains"))


@pytest.mark.parametrize("data", [b"x\n", b"0 1 refs/heads/x\n", b"%s %s main\n" % (b"0" * 40, b"1" * 40), b"\xff\n"])
def test_what_git_does_not_hand_a_hook_is_an_error(data: bytes) -> None:
    with pytest.raises(StoreError):
        read_commands(data)


def test_commands_are_read() -> None:
    name = "refs/heads/a\u00a0\u2028\udcff"
    data = f"{'0' * 40} {NEW} {name}\n{OLD} {'0' * 40} refs/tags/x\n".encode("utf-8", "surrogateescape")
    assert read_commands(data) == [Command(RefName(name), None, NEW), Command(RefName("refs/tags/x"), OLD, None)]
    assert read_commands(b"") == []


# -- real pushes ----------------------------------------------------------------------------------------------------


def refused(done: Any, *texts: str) -> None:
    """Demand that a push was refused with these words, and that git said so, too."""
    assert done.returncode == 1, done.stderr
    assert "pre-receive hook declined" in done.stderr
    told = done.stderr.replace("\nremote: ", " ")
    for text in texts:
        assert text in told, done.stderr


def taken(done: Any) -> None:
    """Demand that a push was taken."""
    assert done.returncode == 0, done.stderr


def test_3_a_commit_without_evidence_is_refused(site: Site) -> None:
    site.ruled()
    commit = site.change()
    refused(site.push("main"), "refused: main: rule 'speed': scan: nobody measured this tree")
    assert site.at_server("rev-parse", "main") == site.base
    taken(site.push(f"{commit}:refs/heads/topic"))
    taken(site.push(f"{commit}:refs/tags/v1"))


def test_5_evidence_and_branch_in_one_push(site: Site) -> None:
    """What both need lies in the quarantine until the hook has answered."""
    site.ruled()
    commit = site.change()
    site.judged(commit)
    taken(site.push("main", *EVIDENCE))
    assert site.at_server("rev-parse", "main") == commit
    assert site.at_server("for-each-ref", "--format=%(refname)", "refs/notes").splitlines()[-1] == NOTES_VERDICTS


def test_5_evidence_first(site: Site) -> None:
    site.ruled()
    site.judged(site.change())
    done = site.project.hmopt("push", "origin")
    taken(done)
    taken(site.push("main"))


def test_5_another_commit_of_the_tree_that_was_measured(site: Site) -> None:
    site.ruled()
    site.judged(site.change())
    site.project.git("commit", "-q", "--amend", "-m", "other words")
    taken(site.push("main", *EVIDENCE))


@pytest.mark.parametrize("verdict", [Verdict.REGRESSED, Verdict.INCORRECT, Verdict.REJECTED])
def test_1_a_bad_verdict(site: Site, verdict: Verdict) -> None:
    site.ruled()
    site.judged(site.change(), verdict)
    refused(site.push("main", *EVIDENCE), f"scan: {verdict} (time -10.0 %", "or, if that measurement was wrong:")
    assert site.at_server("for-each-ref", "refs/notes") == "", "a push is taken whole or not at all"


def test_1_then_retracted_and_measured_anew(site: Site) -> None:
    site.ruled()
    commit = site.change()
    site.judged(commit, Verdict.REGRESSED)
    assert site.project.hmopt("retract", RUN, "--iteration", "1", "--reason", "hot").returncode == 0
    refused(site.push("main", *EVIDENCE), f"its verdict was retracted (run {RUN})")
    site.recorder(OTHER_RUN).judged(1, commit, site.base, ("90", "100"))
    taken(site.push("main", *EVIDENCE))


def test_3_a_run_that_was_taken_back_whole_in_its_journal_alone(site: Site) -> None:
    site.ruled()
    recorder = site.judged(site.change())
    data = {"retract": {"v": 1, "of_iteration": None, "reason": "no fan"}}
    recorder.journal.append(RUN, [OpDraft("retract", "review", 0, data=data)])
    refused(site.push("main", *EVIDENCE), "its verdict was retracted")


def test_3_a_run_that_is_expired(site: Site) -> None:
    site.ruled()
    site.judged(site.change())
    cut = CutoffRecord(of_run=RUN, before="2026-12-31T00:00:00Z", reason="old").model_dump(mode="json")
    Journal(Repository.open(site.project.root)).append(CARE_RUN, [OpDraft(CUTOFF, "x", data={CUTOFF: [cut]})])
    refused(site.push("main", *EVIDENCE), "nobody measured this tree")


def test_4_a_slower_commit_does_not_come_in_below_one_that_is_no_slower_than_it(site: Site) -> None:
    site.ruled()
    slower = site.change(source(first="slower"))
    site.judged(site.change(source(first="slower", last="same")), Verdict.NO_CHANGE, base=slower)
    refused(site.push("main", *EVIDENCE), f"but held against {slower[:12]}, which this branch never had")


def test_6_cannot_tell_by_the_rule(site: Site) -> None:
    site.ruled(require="verdict")
    site.judged(site.change(), Verdict.CANNOT_TELL)
    refused(site.push("main", *EVIDENCE), "scan: cannot-tell", "measure with more layouts")
    site.at_server("config", "hmopt.rule.speed.require", "no-regression")
    done = site.push("main", *EVIDENCE)
    taken(done)
    assert "main: rule 'speed': scan: cannot-tell" in done.stderr


def test_deletion_is_refused_and_a_new_branch_is_not(site: Site) -> None:
    site.ruled(branch="main release/*")
    refused(site.push(":main"), "main: rule 'speed': it would be deleted", "take it out of the rule first")
    commit = site.change()
    taken(site.push(f"{commit}:refs/heads/release/1"))
    site.judged(commit, Verdict.REGRESSED)
    refused(site.push(f"{commit}:refs/heads/release/2", *EVIDENCE), "release/2: rule 'speed': scan: regressed")


def test_a_forced_push_is_judged_as_any_other(site: Site) -> None:
    site.ruled()
    taken_commit = site.change()
    site.judged(taken_commit)
    taken(site.push("main", *EVIDENCE))
    site.project.git("reset", "-q", "--hard", site.base)
    other = site.change(source(last="fast"))
    refused(site.push("-f", "main"), "nobody measured this tree")
    site.recorder(OTHER_RUN).judged(1, other, site.base, ("80", "100"))
    taken(site.push("-f", "main", *EVIDENCE))


def test_what_changes_nothing_below_the_paths_is_let_through(site: Site) -> None:
    site.ruled()
    site.at_server("config", "--add", "hmopt.rule.speed.path", "*.c")
    site.at_server("config", "--add", "hmopt.rule.speed.path", ":!doc")
    site.change("read me\n", path="README")
    site.change("int example;\n", path="doc/example.c")
    taken(site.push("main"))
    site.change()
    refused(site.push("main"), "nobody measured this tree")


def test_the_tree_that_is_there_needs_nothing(site: Site) -> None:
    site.ruled()
    site.project.git("commit", "-q", "--allow-empty", "-m", "nothing changed")
    taken(site.push("main"))


def test_what_is_no_commit_is_refused(site: Site) -> None:
    site.ruled(branch="refs/tags/v* main")
    blob = site.project.git("rev-parse", "HEAD:lib.c")
    refused(site.push(f"{blob}:refs/tags/v1"), "refs/tags/v1: rule 'speed'", "is no commit")
    site.project.git("tag", "-a", "-m", "of a commit", "v2")
    taken(site.push("v2"))


def test_a_branch_that_stands_for_a_protected_one(site: Site) -> None:
    site.ruled()
    site.at_server("symbolic-ref", "refs/heads/master", "refs/heads/main")
    site.change()
    refused(site.push("main:master"), "refused: main: rule 'speed': scan: nobody measured this tree")
    assert site.at_server("rev-parse", "main") == site.base


def test_hostile_names_of_branches(site: Site) -> None:
    site.ruled(branch="*")
    commit = site.change()
    site.judged(commit, Verdict.REGRESSED)
    names = ["\u202eniam", "\u00a0", "$(touch${IFS}x)", "a'b\"c", "<script>", "x" * 200, "-n"]
    done = site.push(*(f"{commit}:refs/heads/{name}" for name in names), *EVIDENCE)
    refused(done, "<script>: rule 'speed': scan: regressed", "$(touch${IFS}x): rule")
    assert "\u202e" not in done.stderr.split("To ")[0] and not (site.server / "x").exists()


def test_evidence_where_a_server_keeps_nothing_outside_branches(site: Site) -> None:
    site.ruled(branch="*")
    commit = site.change()
    recorder = site.judged(commit)
    below = (
        "refs/notes/hmopt/verdicts:refs/heads/hmopt-data/notes/verdicts",
        "refs/hmopt/runs/*:refs/heads/hmopt-data/runs/*",
    )
    taken(site.push(*below))
    taken(site.push("main"))
    site.change(source(first="faster"))
    site.recorder(OTHER_RUN, base=commit).judged(1, site.project.git("rev-parse", "HEAD"), commit, ("70", "80"))
    data = {"retract": {"v": 1, "of_iteration": None, "reason": "no fan"}}
    recorder.journal.append(OTHER_RUN, [OpDraft("retract", "review", 0, data=data)])
    refused(site.push("main", *below), f"its verdict was retracted (run {OTHER_RUN})")


def test_lines_that_anybody_wrote_stop_nothing(site: Site) -> None:
    site.ruled()
    commit = site.change()
    site.judged(commit)
    tree = site.project.git("rev-parse", "HEAD^{tree}")
    lines = ["no JSON " + tree, "[" * 100_000 + tree, "1", f'{{"at":1,"tree":"{tree}","retract":[]}}', '"retract"',
             f'{{"at":"2026","v":1,"commit":"{commit}","tree":"{tree}"}}']  # fmt: skip
    for line in lines:
        blob = site.run("git", "hash-object", "-w", "--stdin", stdin=f"{line}\n".encode()).stdout.strip()
        site.project.git("notes", "--ref=hmopt/verdicts", "append", "-C", blob, commit)
    odd = {"v": 1, "run": RUN, "retract": {"run": RUN, "iteration": ["x"]}}
    Notes(Repository.open(site.project.root), NOTES_VERDICTS).append([NoteDraft(Oid(commit), "2026", odd)])
    taken(site.push("main", *EVIDENCE))


def test_many_refs_in_one_push(site: Site) -> None:
    """Two thousand branches that no rule names are not looked at; that one is, the answer is short."""
    site.ruled(branch="main b1??")
    commit = site.change()
    specs = [f"{commit}:refs/heads/b{number}" for number in range(2000)]
    site.judged(commit, Verdict.REGRESSED)
    done = site.push("main", *specs, *EVIDENCE)
    refused(done, "main: rule 'speed': scan: regressed")
    # 101 branches, two lines each, of which twenty are shown.
    assert "and 182 lines more" in done.stderr
    taken(site.push(*specs[:100], *specs[200:]))


def test_a_rule_that_is_wrong_refuses_what_it_may_be_about(site: Site) -> None:
    site.ruled(require="magic")
    site.change()
    refused(site.push("main"), "hmopt.rule.speed.require is 'magic'", "could not be checked")
    taken(site.push("main:topic"))
    site.at_server("config", "hmopt.hooks.broken", "allow")
    done = site.push("main")
    taken(done)
    assert "let through, since hmopt.hooks.broken is 'allow'" in done.stderr.replace("\nremote: ", " ")


def test_a_server_that_git_finds_only_when_told(site: Site) -> None:
    site.ruled()
    site.project.git("config", "--global", "safe.bareRepository", "explicit")
    site.judged(site.change())
    taken(site.push("main", *EVIDENCE))


def test_a_sha256_repository(site: Site) -> None:
    place = site.server.parent / "sha256"
    place.mkdir()
    for words in (
        ["init", "-q", "--bare", "--object-format=sha256", "srv"],
        ["init", "-q", "--object-format=sha256", "c"],
    ):
        assert site.run("git", *words, cwd=place).returncode == 0
    made = Site(replace(site.project, root=place / "c"), place / "srv")
    made.change(source())
    made.project.git("remote", "add", "origin", str(made.server))
    taken(made.push("main"))
    made.ruled()
    commit = made.change()
    refused(made.push("main"), "nobody measured this tree")
    made.judged(commit)
    taken(made.push("main", *EVIDENCE))


def test_the_update_hook_refuses_one_ref_alone(site: Site) -> None:
    """It sees what was pushed before, not what comes along."""
    site.ruled()
    for words in (["uninstall", "pre-receive"], ["install", "update"]):
        assert site.run("git", "hmopt", "hooks", *words, cwd=site.server).returncode == 0
    commit = site.change()
    site.judged(commit)
    done = site.push("main", f"{commit}:refs/heads/topic")
    assert done.returncode == 1 and "main -> main (hook declined)" in done.stderr
    assert site.at_server("rev-parse", "topic") == commit
    taken(site.push(*EVIDENCE))
    taken(site.push("main"))


def test_a_hook_that_was_there_has_its_say(site: Site) -> None:
    hook = site.server / "hooks/pre-receive"
    hook.parent.mkdir()
    hook.write_text('#!/bin/sh\nread -r old new ref\necho "theirs: $ref" >&2\ntest "$ref" != refs/heads/no\n')
    hook.chmod(0o755)
    site.ruled()
    refused(site.push("main:no"), "theirs: refs/heads/no")
    commit = site.change()
    refused(site.push("main"), "theirs: refs/heads/main", "nobody measured this tree")
    site.judged(commit)
    taken(site.push("main", *EVIDENCE))


@pytest.fixture
def over_http(site: Site, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Return what serves the site's server over HTTP."""
    monkeypatch.setenv("HOME", str(site.project.home))
    site.at_server("config", "http.receivepack", "true")
    # An address has no place for the name of the directory that the other tests push to.
    site.server.rename(site.server.parent / "server.git")
    return lambda: http_server(site.server.parent)


def test_over_http(site: Site, over_http: Callable[[], Any]) -> None:
    site = Site(site.project, site.server.parent / "server.git")
    site.ruled()
    with over_http() as address:
        url = f"{address}/server.git"
        commit = site.change()
        refused(site.push("main", remote=url), "nobody measured this tree")
        site.judged(commit)
        taken(site.push("main", *EVIDENCE, remote=url))
    assert site.at_server("rev-parse", "main") == commit
