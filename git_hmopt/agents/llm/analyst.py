# SPDX-License-Identifier: Apache-2.0
"""The Trace Analyst: which class of bottleneck the evidence shows, with the facts that say so."""

from __future__ import annotations

from dataclasses import dataclass

from git_hmopt.agents.llm.desk import Desk
from git_hmopt.agents.llm.fencing import fenced
from git_hmopt.agents.llm.prompting import Conversation, Prompt, prompt
from git_hmopt.agents.llm.structured import BadAnswerError, Reply, asked
from git_hmopt.agents.tools import listed
from git_hmopt.config.document import printable
from git_hmopt.evidence.wording import oneline
from git_hmopt.gateway.errors import GatewayError
from git_hmopt.gateway.profile import Role
from git_hmopt.records.bottleneck import CLASSES, UNKNOWN
from git_hmopt.records.evidence import EvidencePack

_FACTS = 24
_REASON = 600


class AnalystReply(Reply):
    """What the Trace Analyst answers."""

    bottleneck: str
    evidence: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Analysis:
    """The class of a bottleneck and who says so."""

    bottleneck: str
    reason: str
    facts: tuple[str, ...]
    """The facts it rests on, in words."""
    by: str
    """`model`, or `rules` where no model gave a usable answer."""

    @property
    def told(self) -> str:
        """Return it in a line."""
        by = "" if self.by == "model" else " (by the rules: no model gave a usable answer)"
        rests = f" It rests on: {'; '.join(self.facts)}." if self.facts else ""
        return f"{self.bottleneck}{by}: {self.reason}{rests}"


def facts_of(pack: EvidencePack) -> dict[str, str]:
    """Return what decides about classes, by id: rules that hold, slow times, and the dearest functions."""
    found = [
        f"rule of {one.name} holds ({one.condition}; {one.threshold}): {one.reason}" for one in pack.bottlenecks
    ] or [f"the rules say {pack.bottleneck}: {pack.bottleneck_reason}"]
    found += [f"{section.name}: {section.short}" for section in pack.system]
    for evidence in pack.hotspots:
        spot = evidence.hotspot
        found.append(f"{spot.symbol} has {_share(spot.score)} of the profile ({spot.ranker}, {spot.unit})")
    if pack.undecided:
        found.append("nothing measured decides about " + ", ".join(one.name for one in pack.undecided))
    return {f"F{number}": oneline(text)[:400] for number, text in enumerate(found[:_FACTS], 1)}


def _share(score: object) -> str:
    return "an unknown share" if score is None else f"{100 * float(str(score)):.1f} %"


def analyse(desk: Desk, pack: EvidencePack) -> Analysis:
    """Return a model's class of the bottleneck, or that of the rules when no model gives a usable one."""
    facts = facts_of(pack)

    def make(evidence: str) -> Prompt:
        return prompt(
            "trace-analyst",
            looks=desk.habits.looks,
            tools=listed(),
            classes=", ".join(CLASSES),
            workload=oneline(pack.workload),
            objective=objective_text(pack),
            facts=fenced("facts", "\n".join(f"{key}: {text}" for key, text in facts.items())),
            evidence=evidence,
        )

    def checked(reply: AnalystReply) -> None:
        if reply.bottleneck not in CLASSES:
            raise BadAnswerError(f"'{reply.bottleneck[:60]}' is no class; the classes are {', '.join(CLASSES)}")
        strange = [one for one in reply.evidence if one not in facts]
        if strange:
            raise BadAnswerError(f"there is no fact '{strange[0][:40]}'; there are {', '.join(facts)}")
        if not reply.evidence and reply.bottleneck != UNKNOWN:
            raise BadAnswerError(f"evidence is empty: name the facts that show {reply.bottleneck}, or say {UNKNOWN}")

    talk = Conversation(make, pack, desk.habits.prompt_tokens, desk.counted)
    try:
        reply = asked(desk, "trace-analyst", Role.REASONING, talk, AnalystReply, checked)
    except (BadAnswerError, GatewayError):
        desk.came("the rules decide instead")
        return Analysis(pack.bottleneck, pack.bottleneck_reason, (), "rules")
    desk.came(f"{reply.bottleneck}, by {', '.join(reply.evidence) or 'nothing'}")
    rests = tuple(f"{one} ({facts[one]})" for one in reply.evidence)
    return Analysis(reply.bottleneck, printable(oneline(reply.reason))[:_REASON], rests, "model")


def objective_text(pack: EvidencePack) -> str:
    """Return what the workload wants, in words."""
    goal = pack.objective
    return f"{oneline(goal.metric)} ({goal.kind}), {goal.direction} is better, margin {goal.margin}"
