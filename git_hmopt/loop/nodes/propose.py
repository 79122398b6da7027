# SPDX-License-Identifier: Apache-2.0
"""Nodes that make a candidate: decision, patch, commit."""

from __future__ import annotations

from collections.abc import Sequence

from git_hmopt.agents.llm.proposer import ModelProposer
from git_hmopt.agents.proposer import Decision, End, Proposal, Refusal
from git_hmopt.errors import PatchError
from git_hmopt.loop.asking import RunDesk
from git_hmopt.loop.bench import Bench
from git_hmopt.loop.book import Book, write_proposal
from git_hmopt.loop.message import candidate_message
from git_hmopt.loop.nodes.judge import record_evaluation
from git_hmopt.loop.nodes.profile import read_pack
from git_hmopt.loop.outcome import Outcome
from git_hmopt.loop.source import source_of
from git_hmopt.loop.state import RunState
from git_hmopt.loop.structure import changes_between, shares_of, structure_at, touched
from git_hmopt.measure.gate import rejected
from git_hmopt.measure.policy import Change, Violation, check_policy
from git_hmopt.records.evidence import EvidencePack
from git_hmopt.records.run import AgentMessage, CheckRecord, PatchRecord, TouchRecord
from git_hmopt.records.words import Oid, RunId, candidate_ref
from git_hmopt.store.journal import OpDraft
from git_hmopt.store.repository import ChangedPath, RefUpdate


def conductor_decide(bench: Bench, state: RunState) -> Outcome:
    """Ask the proposer what to try next, or hear that there is nothing more."""
    iteration = state["iteration"] + 1
    best = Oid(state["best"])
    book = Book(bench.journal, bench.run)
    source = source_of(bench, best)
    said: list[OpDraft] = []
    if iteration > bench.iterations:
        decision: Decision | End = End(f"the budget of {bench.iterations} iterations is used up")
    else:
        parents = Book(bench.journal, RunId(bench.plan.parent)).attempts() if bench.plan.parent else []
        pack = read_pack(bench, state)
        desk = _desk(bench, state, book, iteration, pack)
        decision = bench.proposer.decide(pack, [*parents, *book.attempts()], source)
        said = desk.taken("conductor_decide") if desk else []
    if isinstance(decision, End):
        message = AgentMessage(
            iteration=iteration,
            agent=bench.proposer.name,
            role="end",
            text=decision.reason,
            data={str(number): detail for number, detail in enumerate(decision.details, start=1)},
        )
        bench.log.say(f"nothing more to try: {decision.reason}")
        draft = OpDraft(
            "decision.ended", "conductor_decide", iteration, data={"message": message.model_dump(mode="json")}
        )
        return Outcome({**state, "stop_reason": decision.reason, "verdict": None}, [*said, draft])
    data = {
        "decision": {
            "symbol": decision.symbol,
            "file": decision.file,
            "strategy": decision.strategy,
            "reason": decision.reason,
            **({"candidate": "{}.{}".format(*decision.candidate)} if decision.candidate else {}),
        }
    }
    bench.log.say(f"trying {decision.strategy} on {decision.symbol or decision.file}")
    new: RunState = {**state, "iteration": iteration, "current_patch_id": None, "verdict": None}
    return Outcome(new, [*said, OpDraft("decision.made", "conductor_decide", iteration, data=data)])


def _desk(bench: Bench, state: RunState, book: Book, iteration: int, pack: EvidencePack) -> RunDesk | None:
    """Return the opened desk of a proposer that works with models, None for the others."""
    if not isinstance(bench.proposer, ModelProposer):
        return None
    desk = bench.proposer.desk
    assert isinstance(desk, RunDesk)
    desk.open(bench, book, iteration, pack, Oid(state["best"]), bench.deadline(state))
    return desk


def coder_generate_patch(bench: Bench, state: RunState) -> Outcome:
    """Have the decided change written; a refusal ends the iteration and is remembered."""
    iteration = state["iteration"]
    best = Oid(state["best"])
    book = Book(bench.journal, bench.run)
    source = source_of(bench, best)
    pack = read_pack(bench, state)
    desk = _desk(bench, state, book, iteration, pack)
    answer = bench.proposer.generate(book.decision(iteration), pack, source)
    said = desk.taken("coder_generate_patch") if desk else []
    if isinstance(answer, Refusal):
        message = AgentMessage(iteration=iteration, agent=bench.proposer.name, role="refusal", text=answer.reason)
        bench.log.say(f"refused: {answer.reason}")
        draft = OpDraft(
            "patch.refused", "coder_generate_patch", iteration, data={"message": message.model_dump(mode="json")}
        )
        return Outcome({**state, "verdict": "refused"}, [*said, draft])
    data = {"proposal": write_proposal(answer, bench.artifacts)}
    return Outcome(state, [*said, OpDraft("patch.proposed", "coder_generate_patch", iteration, data=data)])


def apply_patch(bench: Bench, state: RunState) -> Outcome:
    """Make the candidate commit on top of best, and hold it against the policy before anything of it is built."""
    iteration = state["iteration"]
    best = Oid(state["best"])
    proposal = Book(bench.journal, bench.run).proposal(iteration, bench.artifacts)
    try:
        tree = _apply(bench, best, proposal)
    except PatchError as error:
        check = CheckRecord(name="apply", passed=False, detail=str(error))
        record = _patch_record(bench, state, proposal, None, None, ())
        return record_evaluation(
            bench, state, rejected("apply", str(error)), checks=[check], extra=[_applied(record, iteration)]
        )
    commit = bench.repository.commit(tree, [best], candidate_message(bench, state, proposal))
    changed = bench.repository.changed_paths(best, commit)
    paths = tuple(change.path for change in changed)
    touches = _touches(bench, best, commit)
    record = _patch_record(bench, state, proposal, commit, tree, paths).model_copy(update={"touches": touches})
    new: RunState = {**state, "current_patch_id": commit}
    drafts = [_applied(record, iteration)]
    refs = [RefUpdate(candidate_ref(bench.run, iteration), commit, None)]
    if changed:
        violation = _violation(bench, best, commit, changed)
    else:
        violation = Violation("empty", "", None, "the patch changes nothing")
    if violation:
        detail = str(violation)
        check = CheckRecord(name="policy", passed=False, detail=f"{violation.rule}: {detail}")
        judged = rejected(violation.rule, detail)
        return record_evaluation(bench, new, judged, checks=[check], extra=drafts, keep=[commit], refs=refs)
    return Outcome(new, drafts, keep=[commit], refs=refs)


def _touches(bench: Bench, best: Oid, commit: Oid) -> tuple[TouchRecord, ...]:
    """Return what the candidate touches, from its text and best's graph: nothing of it has been built yet."""
    shares = shares_of(Book(bench.journal, bench.run).need("hotspots.ranked")["hotspots"])
    with structure_at(bench, best) as structure:
        found = touched(structure, changes_between(bench.repository, best, commit), shares)
    for one in found:
        hot = f", {float(one.share):.1%} of the profile" if one.share else ""
        bench.log.say(f"touches {one.symbol}{hot}")
    return found


def _apply(bench: Bench, best: Oid, proposal: Proposal) -> Oid:
    tree = bench.repository.tree_of(best)
    if proposal.diff is not None:
        return bench.repository.apply_patch(tree, proposal.diff)
    return bench.repository.write_tree(tree, dict(proposal.edits))


def _violation(bench: Bench, best: Oid, commit: Oid, changed: Sequence[ChangedPath]) -> Violation | None:
    changes = [Change(one.path, old_mode=one.old_mode, new_mode=one.new_mode) for one in changed]
    diff = bench.repository.diff(best, commit).decode("utf-8", errors="surrogateescape")
    return check_policy(changes, diff, bench.config.policy, overlays=bench.harness_paths)


def _applied(record: PatchRecord, iteration: int) -> OpDraft:
    return OpDraft("patch.applied", "apply_patch", iteration, data={"patch": record.model_dump(mode="json")})


def _patch_record(
    bench: Bench, state: RunState, proposal: Proposal, commit: Oid | None, tree: Oid | None, paths: tuple[str, ...]
) -> PatchRecord:
    best = Oid(state["best"])
    diff = None
    if commit is not None:
        diff = bench.artifacts.put_bytes(
            bench.repository.diff(best, commit), kind="diff", name="candidate.diff", media_type="text/x-diff"
        ).sha256
    return PatchRecord(
        iteration=state["iteration"],
        parent=best,
        commit=commit,
        tree=tree,
        patch_id=bench.repository.patch_id(best, commit) if commit else None,
        title=proposal.title,
        rationale=proposal.rationale,
        strategy=proposal.strategy,
        proposer=bench.proposer.name,
        symbol=proposal.symbol,
        files=paths,
        diff=diff,
    )
