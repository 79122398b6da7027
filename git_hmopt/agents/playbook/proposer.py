# SPDX-License-Identifier: Apache-2.0
"""The playbook as a proposer: the conductor chooses, the strategy writes, this writes the commit message."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from git_hmopt.agents.conductor import Tree, choose
from git_hmopt.agents.playbook.registry import STRATEGIES
from git_hmopt.agents.playbook.strategy import Miss, Rewrite, Strategy, View, subsystem
from git_hmopt.agents.proposer import Attempt, Decision, End, Proposal, Refusal, Source
from git_hmopt.records.evidence import EvidencePack

BODY_COLUMNS = 75  # Documentation/process/submitting-patches.rst, "The canonical patch format"


class PlaybookProposer:
    """Proposes the rewrites of the playbook; deterministic, no network, no model."""

    name = "playbook"

    def __init__(self, strategies: Sequence[Strategy[Any]] = STRATEGIES) -> None:
        self._strategies = tuple(strategies)

    def decide(self, pack: EvidencePack, attempts: Sequence[Attempt], source: Source) -> Decision | End:
        """Choose the untried pair of hotspot and strategy with the greatest expected headroom."""
        return choose(pack, attempts, source, self._strategies)

    def generate(self, decision: Decision, pack: EvidencePack, source: Source) -> Proposal | Refusal:
        """Write the rewrite that was decided on."""
        strategy = next((known for known in self._strategies if known.name == decision.strategy), None)
        if strategy is None:
            return Refusal(f"the playbook has no strategy '{decision.strategy}'")
        views = Tree(pack, source).views(decision.symbol, decision.file)
        if isinstance(views, str):
            return Refusal(f"{decision.symbol}: {views}")
        reasons = []
        for view in views:
            match = strategy.match(view)
            if not isinstance(match, Miss):
                return self._proposal(strategy, view, strategy.rewrite(view, match), decision.symbol)
            reasons.append(match.reason)
        return Refusal(f"{strategy.name} no longer fits {decision.symbol}: {'; '.join(dict.fromkeys(reasons))}")

    def _proposal(self, strategy: Strategy[Any], view: View, rewrite: Rewrite, symbol: str) -> Proposal | Refusal:
        if all(content == view.unit.sources.get(path) for path, content in rewrite.edits.items()):
            return Refusal(f"{strategy.name} changed nothing in {view.function.symbol}")
        return Proposal(
            title=_title(subsystem(view.function.file), rewrite.summary),
            rationale=wrapped(rewrite.paragraphs),
            strategy=strategy.name,
            symbol=symbol,
            edits=dict(rewrite.edits),
        )


def _title(prefix: str, summary: str) -> str:
    """Return a commit title that fits its line; a long function name is left to the body."""
    title = f"{prefix}: {summary}"
    return title if len(title) <= BODY_COLUMNS else f"{prefix}: {summary.rpartition(' in ')[0] or summary}"


def wrapped(paragraphs: Sequence[str]) -> str:
    """Return paragraphs as a commit message's body."""
    return "\n\n".join(
        textwrap.fill(paragraph, BODY_COLUMNS, break_long_words=False, break_on_hyphens=False)
        for paragraph in paragraphs
    )
