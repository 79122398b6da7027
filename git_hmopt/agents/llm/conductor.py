# SPDX-License-Identifier: Apache-2.0
"""The Conductor that asks a model: it chooses among offered hotspots and strategies, or ends the run and says why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from git_hmopt.agents.llm.analyst import Analysis, objective_text
from git_hmopt.agents.llm.desk import Desk
from git_hmopt.agents.llm.fencing import fenced
from git_hmopt.agents.llm.prompting import Conversation, Prompt, prompt
from git_hmopt.agents.llm.structured import BadAnswerError, Reply, asked
from git_hmopt.agents.proposer import Attempt, Decision, End, Source
from git_hmopt.agents.tools import listed
from git_hmopt.config.document import printable
from git_hmopt.evidence.changes import changes_text
from git_hmopt.evidence.wording import oneline
from git_hmopt.gateway.errors import EndedError, GatewayError
from git_hmopt.gateway.profile import Role
from git_hmopt.records.evidence import EvidencePack, Template

OWN_IDEA = "own-idea"
"""The strategy that is always offered: whatever the model sees in the code."""
SAME = 3
"""Times that one strategy may be tried on one hotspot."""
_SYMBOL, _REASON, _ATTEMPTS = 200, 1_000, 40


class ConductorReply(Reply):
    """What the Conductor answers."""

    comparison: str = ""
    action: Literal["try", "end", "look"]
    hotspot: str = ""
    strategy: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Offer:
    """What may be chosen."""

    hotspots: Mapping[str, tuple[str, str]]
    """Symbol and file, by the name that the hotspot is offered under."""
    shares: Mapping[str, str]
    strategies: Mapping[str, str]
    """What each is, by name."""
    passed: tuple[str, ...]
    """What is not offered, and why."""


def offer(pack: EvidencePack, analysis: Analysis, templates: Sequence[Template], source: Source) -> Offer:
    """Return the hotspots that may be changed, and the strategies for the bottleneck's class."""
    hotspots: dict[str, tuple[str, str]] = {}
    shares: dict[str, str] = {}
    passed: list[str] = []
    margin = float(pack.objective.margin)
    taken = Counter(one.hotspot.symbol for one in pack.hotspots)
    for evidence in pack.hotspots:
        spot = evidence.hotspot
        name = printable(oneline(spot.symbol))[:_SYMBOL]
        why_not = "its source file is not known" if spot.file is None else source.closed(spot.file)
        if spot.score is not None and float(spot.score) < margin:
            # Amdahl's law: all of it removed would not be accepted.
            why_not = f"{float(spot.score):.2%} of the profile is below the objective's margin of {margin:.2%}"
        if why_not or spot.file is None:
            passed.append(f"{name}: {why_not}")
            continue
        name = name if taken[spot.symbol] == 1 else f"{name} in {printable(spot.file)}"
        hotspots[name] = (spot.symbol, spot.file)
        shares[name] = "share unknown" if spot.score is None else f"{100 * float(spot.score):.1f} % of the profile"
    return Offer(hotspots, shares, _strategies(pack, analysis, templates), tuple(passed))


def _strategies(pack: EvidencePack, analysis: Analysis, templates: Sequence[Template]) -> dict[str, str]:
    classes = {analysis.bottleneck, *(one.name for one in pack.bottlenecks), pack.bottleneck}
    shown = [one for evidence in pack.hotspots for one in evidence.templates]
    chosen = [*(one for one in templates if one.bottleneck in classes), *shown]
    found = {one.name: oneline(one.what_to_try) for one in chosen}
    return {**found, OWN_IDEA: "something else that you see in the code; say what in the reason"}


def choose_by_model(
    desk: Desk, pack: EvidencePack, attempts: Sequence[Attempt], analysis: Analysis, source: Source
) -> Decision | End:
    """Return a model's choice, or one by rule where no model gives a usable one."""
    offered = offer(pack, analysis, desk.templates, source)
    if not offered.hotspots:
        return End("none of the hotspots may be changed", offered.passed)
    tried = Counter((one.symbol, one.strategy) for one in attempts)

    def make(evidence: str) -> Prompt:
        return prompt(
            "conductor",
            looks=desk.habits.looks,
            tools=listed(),
            workload=oneline(pack.workload),
            objective=objective_text(pack),
            hotspots=fenced("hotspots", "\n".join(f"- {name}: {offered.shares[name]}" for name in offered.hotspots)),
            strategies=fenced("strategies", "\n".join(f"- {name}: {of}" for name, of in offered.strategies.items())),
            analysis=fenced("analysis", analysis.told),
            best=fenced("best", changes_text(pack.changes) or "nothing was kept yet: best is the baseline"),
            attempts=fenced("attempts", attempts_text(attempts)),
            evidence=evidence,
        )

    def checked(reply: ConductorReply) -> None:
        _check(reply, offered, tried)

    talk = Conversation(make, pack, desk.habits.prompt_tokens, desk.counted)
    try:
        reply = asked(desk, "conductor", Role.REASONING, talk, ConductorReply, checked)
    except EndedError as error:
        desk.came("the run ends")
        return End(f"no model may be asked any more: {error.what}")
    except (BadAnswerError, GatewayError):
        desk.came("chosen by rule instead")
        return _by_rule(offered, tried)
    reason = f"{_line(reply.reason)} (compared: {_line(reply.comparison)})"
    if reply.action == "end":
        desk.came(f"ends: {_line(reply.reason)}")
        return End(f"the conductor ends the run: {reason}", offered.passed)
    symbol, file = offered.hotspots[_named(reply.hotspot, offered)]
    desk.came(f"tries {reply.strategy} on {_line(symbol)}")
    return Decision(symbol, file, reply.strategy, reason)


def _check(reply: ConductorReply, offered: Offer, tried: Counter[tuple[str, str]]) -> None:
    """Raise BadAnswerError unless a reply chooses what is offered."""
    if reply.action == "look":
        raise BadAnswerError("nothing more can be looked up: choose, or end")
    if not reply.reason.strip() or not reply.comparison.strip():
        raise BadAnswerError("reason and comparison must not be empty")
    if reply.action == "end":
        return
    name = _named(reply.hotspot, offered)
    if name not in offered.hotspots:
        raise BadAnswerError(f"'{reply.hotspot[:80]}' is no offered hotspot; offered are {', '.join(offered.hotspots)}")
    if reply.strategy not in offered.strategies:
        known = ", ".join(offered.strategies)
        raise BadAnswerError(f"'{reply.strategy[:80]}' is no offered strategy; offered are {known}")
    if tried[offered.hotspots[name][0], reply.strategy] >= SAME:
        raise BadAnswerError(f"{reply.strategy} was tried on {name} {SAME} times already: choose another, or end")


def _named(hotspot: str, offered: Offer) -> str:
    """Return the offered name that is meant: models put quotes, parentheses and the file to a symbol."""
    name = hotspot.strip().strip("`'\"").removesuffix("()")
    if name in offered.hotspots:
        return name
    fits = [one for one, (symbol, file) in offered.hotspots.items() if name in (f"{symbol} in {file}", symbol)]
    return fits[0] if len(fits) == 1 else name


def _by_rule(offered: Offer, tried: Counter[tuple[str, str]]) -> Decision | End:
    """Return what was tried least, the dearest hotspot and the first strategy first."""
    pairs = [
        (tried[symbol, strategy], symbol, file, strategy)
        for symbol, file in offered.hotspots.values()
        for strategy in offered.strategies
    ]
    times, symbol, file, strategy = min(pairs, key=lambda pair: pair[0])
    if times:
        return End("no model chose, and every offered strategy was tried on every offered hotspot", offered.passed)
    return Decision(symbol, file, strategy, "chosen by rule, since no model gave a usable choice: the dearest untried")


def attempts_text(attempts: Sequence[Attempt], symbol: str | None = None) -> str:
    """Return the newest attempts, on one symbol or on all, a line each."""
    wanted = [one for one in attempts if symbol in (None, one.symbol)]
    lines = [
        f"- {oneline(one.symbol or one.file)[:_SYMBOL]}, {one.strategy}: {one.outcome}: {oneline(one.reason)[:400]}"
        for one in wanted[-_ATTEMPTS:]
    ]
    if len(wanted) > _ATTEMPTS:
        lines.insert(0, f"({len(wanted) - _ATTEMPTS} older ones are left out)")
    return "\n".join(lines) or "none"


def _line(text: str) -> str:
    return printable(oneline(text))[:_REASON]
