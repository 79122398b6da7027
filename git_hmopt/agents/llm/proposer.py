# SPDX-License-Identifier: Apache-2.0
"""The proposer that language models make together: Trace Analyst, Conductor, Coder, Safety."""

from __future__ import annotations

from collections.abc import Sequence

from git_hmopt.agents.llm.analyst import Analysis, analyse
from git_hmopt.agents.llm.coder import again, spare_numbers, write
from git_hmopt.agents.llm.conductor import choose_by_model
from git_hmopt.agents.llm.desk import Desk
from git_hmopt.agents.proposer import Attempt, Decision, End, Proposal, Refusal, Source
from git_hmopt.records.evidence import EvidencePack

SILENT = 4
"""Requests in a row without an answer after which a run ends; each was made again, and to every model of its role."""


class ModelProposer:
    """Asks models through a desk. What it knows beside that stands in the run's journal."""

    def __init__(self, name: str, desk: Desk) -> None:
        self.name = name
        self.desk = desk
        self._analysis: tuple[str, Analysis] | None = None

    def decide(self, pack: EvidencePack, attempts: Sequence[Attempt], source: Source) -> Decision | End:
        """Go on with the Coder's last answer while it has candidates left; else have the Conductor choose."""
        left = self._left(source)
        if left is not None:
            return left
        silent, why = self.desk.failures
        if silent >= SILENT:
            return End(f"no model answered {silent} times in a row, the last time since {why}")
        if self._analysis is None or self._analysis[0] != pack.commit:
            # The evidence is of one commit: it is read again once best has moved.
            self._analysis = (pack.commit, analyse(self.desk, pack))
        return choose_by_model(self.desk, pack, attempts, self._analysis[1], source)

    def _left(self, source: Source) -> Decision | None:
        spare = self.desk.spare()
        if spare is None:
            return None
        numbers = spare_numbers(spare.written, source, spare.tried, self.desk.habits.candidates)
        if not numbers:
            return None
        reason = f"candidate {numbers[0]} of the coder's answer in iteration {spare.iteration}"
        return Decision(spare.symbol, spare.file, spare.strategy, reason, candidate=(spare.iteration, numbers[0]))

    def generate(self, decision: Decision, pack: EvidencePack, source: Source) -> Proposal | Refusal:
        """Have the change written, or take the candidate that the decision names."""
        if decision.candidate is None:
            return write(self.desk, decision, pack, source)
        written = self.desk.answer_of(decision.candidate[0])
        if written is None:
            return Refusal(f"the coder's answer in iteration {decision.candidate[0]} is not in this clone")
        return again(self.desk, decision, pack, source, written)
