# SPDX-License-Identifier: Apache-2.0
"""The graph: sixteen nodes, three places where the way forks, and nothing else."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from git_hmopt.loop.bench import Bench
from git_hmopt.loop.nodes import finish, judge, profile, propose, setup, verify
from git_hmopt.loop.outcome import Outcome
from git_hmopt.loop.saver import JournalSaver
from git_hmopt.loop.state import NODES, RunState

Node = Callable[[Bench, RunState], Outcome]
FUNCTIONS: dict[str, Node] = {
    "init_run": setup.init_run,
    "snapshot_repo": setup.snapshot_repo,
    "static_analysis_psg": setup.static_analysis_psg,
    "baseline_build_test": setup.baseline_build_test,
    "baseline_profile": profile.baseline_profile,
    "runtime_analysis_pcg_hotspots": profile.runtime_analysis_pcg_hotspots,
    "build_evidence_pack": profile.build_evidence_pack,
    "conductor_decide": propose.conductor_decide,
    "coder_generate_patch": propose.coder_generate_patch,
    "apply_patch": propose.apply_patch,
    "verify_build_test": verify.verify_build_test,
    "profile_candidate": verify.profile_candidate,
    "evaluate_delta_and_update_best": judge.evaluate_delta_and_update_best,
    "stop_or_continue": finish.stop_or_continue,
    "generate_report": finish.generate_report,
    "export_dataset": finish.export_dataset,
}

OPENING = ("build_evidence_pack", "conductor_decide")
"""The nodes that stand at the beginning of an iteration: they work for the next one, the state still tells the last."""


def compiled(bench: Bench, saver: JournalSaver) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the loop, ready to be invoked or to go on from its last checkpoint."""
    graph = StateGraph(RunState)
    for name in NODES:
        # The stubs want a node type with several call shapes; a plain function of the state is one of them.
        graph.add_node(name, _recorded(name, FUNCTIONS[name], bench, saver))  # type: ignore[call-overload]
    graph.add_edge(START, NODES[0])
    for one, two in itertools.pairwise(NODES[:8]):
        graph.add_edge(one, two)
    graph.add_conditional_edges("conductor_decide", _after_decision, ["coder_generate_patch", "stop_or_continue"])
    for name, following in itertools.pairwise(NODES[8:13]):
        graph.add_conditional_edges(name, _unless_ended(following), [following, "stop_or_continue"])
    graph.add_edge("evaluate_delta_and_update_best", "stop_or_continue")
    graph.add_conditional_edges(
        "stop_or_continue", _after_turn, ["generate_report", "baseline_profile", "build_evidence_pack"]
    )
    graph.add_edge("generate_report", "export_dataset")
    graph.add_edge("export_dataset", END)
    return graph.compile(checkpointer=saver)


def _recorded(name: str, node: Node, bench: Bench, saver: JournalSaver) -> Callable[[RunState], RunState]:
    """Return the node as LangGraph calls it: timed, logged, charged to the budget, its records left with the saver."""

    def call(state: RunState) -> RunState:
        bench.entered = started = time.monotonic()
        with bench.log.during(name, state.get("iteration", 0) + (name in OPENING)):
            outcome = node(bench, state)
        saver.pending = replace(outcome, took=bench.log.took)
        # The state holds whole seconds: what is left over is charged to the next node, or short nodes would be free.
        bench.uncharged += time.monotonic() - started
        spent = int(bench.uncharged)
        bench.uncharged -= spent
        return {**outcome.state, "budget_remaining": outcome.state["budget_remaining"] - spent}

    return call


def _after_decision(state: RunState) -> str:
    return "stop_or_continue" if state.get("stop_reason") else "coder_generate_patch"


def _unless_ended(following: str) -> Callable[[RunState], str]:
    """Go on, unless the candidate's fate was sealed in this node."""

    def choose(state: RunState) -> str:
        return "stop_or_continue" if state.get("verdict") else following

    return choose


def _after_turn(state: RunState) -> str:
    if state.get("stop_reason"):
        return "generate_report"
    # A new best has another profile; otherwise only the history changed.
    improved = str(state.get("verdict") or "").startswith("improved") and state.get("no_gain", 0) == 0
    return "baseline_profile" if improved else "build_evidence_pack"
