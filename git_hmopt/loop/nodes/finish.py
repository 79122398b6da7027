# SPDX-License-Identifier: Apache-2.0
"""The nodes that end an iteration or the run: stop rules, the number that is claimed, report, dataset."""

from __future__ import annotations

from git_hmopt.dataset.export import export_lines
from git_hmopt.loop.bench import Arm, Bench
from git_hmopt.loop.book import Book
from git_hmopt.loop.captures import stacks_of_run
from git_hmopt.loop.floor import floor_for
from git_hmopt.loop.nodes.judge import deltas_of, metrics_of
from git_hmopt.loop.outcome import Outcome
from git_hmopt.loop.readings import Measurement
from git_hmopt.loop.state import RunState
from git_hmopt.records.words import BRANCHES, NOTES_METRICS, Oid, RunStatus, best_ref, candidate_ref, utc_now
from git_hmopt.report.markdown import run_report
from git_hmopt.report.story import RunStory, story_of
from git_hmopt.report.story_json import as_json
from git_hmopt.store.journal import OpDraft
from git_hmopt.store.notes import NoteDraft
from git_hmopt.store.repository import RefUpdate


def stop_or_continue(bench: Bench, state: RunState) -> Outcome:
    """Apply the stop rules; at the end, measure best against base afresh: only that number is claimed."""
    reason = state.get("stop_reason") or stop_reason(bench, state)
    iteration = state["iteration"]
    decision = {"stop": reason or "", "verdict": state.get("verdict") or ""}
    # Between two iterations with the same number (the proposer ended) the attempt tells this node's calls apart.
    ended = 1 if state.get("stop_reason") else 0
    drafts = [OpDraft("loop.turned", "stop_or_continue", iteration, ended, {"turn": decision})]
    if reason is None:
        return Outcome(state, drafts)
    bench.log.say(f"stopping: {reason}")
    new: RunState = {**state, "stop_reason": reason}
    base, best = Oid(bench.plan.base_commit), Oid(state["best"])
    if base == best:
        return Outcome(new, drafts)
    return _confirm_best(bench, new, base, best, drafts)


def stop_reason(bench: Bench, state: RunState) -> str | None:
    """Return why the loop ends now, or None."""
    budget = bench.config.budget
    if state["budget_remaining"] <= 0:
        return f"the time budget of {bench.wall_s:g} s is used up"
    if state["iteration"] >= bench.iterations:
        return f"the budget of {bench.iterations} iterations is used up"
    if state.get("regressions", 0) >= budget.regressions:
        return f"{budget.regressions} candidates made it worse since the last gain"
    if state.get("no_gain", 0) >= budget.no_gain:
        return f"{budget.no_gain} candidates in a row brought no gain"
    return None


def _confirm_best(bench: Bench, state: RunState, base: Oid, best: Oid, drafts: list[OpDraft]) -> Outcome:
    bench.log.say("measuring best against base on fresh layouts")
    floor, more = floor_for(bench, state)
    drafts += more
    reference = bench.need_reference(base)
    built = bench.put(Arm.CANDIDATE, best)
    # The claim is worth more than the budget: without it nothing could be said of the run at all.
    deadline = float("inf")
    readings = Measurement(bench, reference, built, "final", "final", floor, deadline, early_stop=False).take()
    for attempt, delta in enumerate(deltas_of(bench, readings, floor, against="baseline")):
        data = {"confirmation": delta.model_dump(mode="json")}
        drafts.append(OpDraft("best.confirmed", "stop_or_continue", state["iteration"], attempt, data))
    # Each patch kept the guards against the best before it; their sum need not.
    lost = [
        f"best against base: the guard '{guard.name}' is {guard.state}: {guard.detail}"
        for guard in readings.guards
        if guard.state != "holds"
    ]
    metrics = metrics_of(bench, readings, best, base, bench.repository.patch_id(base, best))
    dumped = [metric.model_dump(mode="json") for metric in metrics]
    drafts.append(
        OpDraft("best.measured", "stop_or_continue", state["iteration"], data={"metrics": dumped, "notes": lost})
    )
    at = utc_now()
    notes = [NoteDraft(Oid(metric.commit), at, data) for metric, data in zip(metrics, dumped, strict=True)]
    return Outcome(state, drafts, notes={NOTES_METRICS: notes})


def told(bench: Bench) -> RunStory:
    """Return the run's story as its journal tells it now."""
    return story_of(Book(bench.journal, bench.run).reading)


def generate_report(bench: Bench, state: RunState) -> Outcome:
    """Write the report as markdown, as a page and as JSON; the log goes with it."""
    # Charts and templates are slow to load; nothing before the last node needs them.
    from git_hmopt.report.html import html_report

    story = told(bench)
    text = run_report(story, bench.artifacts.read)
    page = html_report(story, bench.artifacts.read, stacks_of_run(bench.repository, bench.run))
    others = [
        bench.artifacts.put_bytes(data.encode(), kind="report", name=name, media_type=media_type)
        for data, name, media_type in (
            (page, "report.html", "text/html"),
            (as_json(story) + "\n", "report.json", "application/json"),
        )
    ]
    report = bench.artifacts.put_bytes(text.encode(), kind="report", name="report.md", media_type="text/markdown")
    log = bench.artifacts.put_file(bench.log.path, kind="log", name="log.jsonl", media_type="application/jsonl")
    drafts = [
        OpDraft(
            "report.written", "generate_report", state["iteration"], 0, {"artifact": report.model_dump(mode="json")}
        ),
        *(
            OpDraft(
                "artifact.stored",
                "generate_report",
                state["iteration"],
                attempt,
                {"artifact": one.model_dump(mode="json")},
            )
            for attempt, one in enumerate((log, *others), start=1)
        ),
    ]
    return Outcome(state, drafts, attachments={"report.md": text.encode()})


def export_dataset(bench: Bench, state: RunState) -> Outcome:
    """Export the run's examples and close it; the branches of candidates that were not accepted go."""
    lines = "".join(export_lines(told(bench), bench.artifacts.read))
    record = bench.artifacts.put_bytes(
        lines.encode(), kind="dataset", name="dataset.jsonl", media_type="application/jsonl"
    )
    drafts = [
        OpDraft(
            "dataset.exported", "export_dataset", state["iteration"], data={"artifact": record.model_dump(mode="json")}
        ),
        closing(state["iteration"], RunStatus.SUCCEEDED, state.get("stop_reason") or "done"),
    ]
    bench.prune_layouts()
    return Outcome(state, drafts, refs=dropped_branches(bench))


def closing(iteration: int, status: RunStatus, reason: str) -> OpDraft:
    """Return the operation that closes a run."""
    data = {"status": status.value, "reason": reason, "closed": utc_now()}
    return OpDraft("run.closed", "export_dataset", iteration, data=data)


def dropped_branches(bench: Bench) -> list[RefUpdate]:
    """Return the deletions of branches whose candidates were not accepted; the journal keeps their commits alive."""
    accepted = {
        candidate_ref(bench.run, one.iteration) for one in Book(bench.journal, bench.run).evaluations() if one.accepted
    }
    kept = {best_ref(bench.run), *accepted}
    branches = bench.repository.list_refs(f"{BRANCHES}{bench.run}")
    return [RefUpdate(ref, None, oid) for ref, oid in branches.items() if ref not in kept]
