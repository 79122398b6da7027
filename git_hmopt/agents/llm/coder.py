# SPDX-License-Identifier: Apache-2.0
"""The Coder that asks a model: some candidates in an answer, held against the source, one repair turn, the review."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from git_hmopt.agents.answer_format import Answer, Candidate, parse_answer
from git_hmopt.agents.complaints import Complaint, Complaints
from git_hmopt.agents.edits import Edits, edits_of
from git_hmopt.agents.llm.analyst import objective_text
from git_hmopt.agents.llm.conductor import attempts_text
from git_hmopt.agents.llm.desk import Desk, Written
from git_hmopt.agents.llm.fencing import fenced
from git_hmopt.agents.llm.prompting import Conversation, Prompt, focused, prompt
from git_hmopt.agents.llm.safety import broken_rules, review_by_model
from git_hmopt.agents.llm.structured import looked_up, shrinking
from git_hmopt.agents.proposer import Attempt, Decision, Proposal, Refusal, Source
from git_hmopt.agents.tools import listed, questions_in
from git_hmopt.config.document import printable
from git_hmopt.evidence.wording import oneline
from git_hmopt.gateway.errors import GatewayError
from git_hmopt.gateway.profile import Role
from git_hmopt.records.evidence import EvidencePack

CUT = "length"
"""Why an answer ended, in the chat protocol, when it reached its limit of tokens."""
_TITLE = 100
# What a model says a change will win is no measurement, and stands in no commit message.
_CLAIM = re.compile(
    r"\d\s*(?:%|x\b|×|-?\s*times\b|-?fold\b|[num]s\b|µs\b|cycles?\b)|\bper ?cent\b"
    r"|\b(?:twice|double|triple|halv|two|three|four|eight|ten)\w*[ -](?:times |as )?(?:faster|fast|speed)",
    re.IGNORECASE,
)
# Only people sign, and some trailers make other tools act.
_TRAILER = re.compile(
    r"^\s*(?:[\w-]+-by|fixes|cc|closes|link|change-id|reverts?|depends-on|hmopt-\w+)\s*:|\w-by\s*:", re.IGNORECASE
)


@dataclass(frozen=True)
class Usable:
    """A candidate that fits the source and keeps the rules; `number` counts from 1 in its answer."""

    number: int
    candidate: Candidate
    edits: Edits


@dataclass(frozen=True)
class Sorted:
    """An answer's candidates."""

    usable: tuple[Usable, ...]
    complaints: tuple[Complaints, ...]
    """Of the others, in order."""


def read(written: Written) -> Answer:
    """Return an answer's candidates; the last one of an answer that was cut off may lack blocks, and has a fault."""
    answer = parse_answer(written.text)
    if not written.cut or not answer.candidates:
        return answer
    last, what = answer.candidates[-1], "it reached the limit of tokens and was cut off: fewer or smaller candidates"
    faulty = replace(last, faults=(*last.faults, Complaint("the answer", what)))
    return replace(answer, candidates=(*answer.candidates[:-1], faulty))


def sort_out(answer: Answer, source: Source, *, apart: frozenset[int] = frozenset(), most: int = 16) -> Sorted:
    """Hold an answer's candidates against the source; the numbers in `apart` are left out, and those beyond `most`."""
    usable: list[Usable] = []
    complaints = [Complaints(answer.faults)] if answer.faults else []
    for number, candidate in enumerate(answer.candidates[:most], 1):
        if number in apart:
            continue
        edits = edits_of(candidate, source)
        if isinstance(edits, Complaints):
            complaints.append(edits)
        elif not edits.contents:
            complaints.append(Complaints((Complaint(f"candidate {number}", "it changes nothing"),)))
        elif broken := broken_rules(edits, source):
            complaints.append(Complaints(tuple(Complaint("safety", one) for one in broken)))
        else:
            usable.append(Usable(number, candidate, edits))
    return Sorted(tuple(usable), tuple(complaints))


def write(desk: Desk, decision: Decision, pack: EvidencePack, source: Source) -> Proposal | Refusal:
    """Return a change that a model wrote, or why nothing of what it wrote can be tried."""
    talk = Conversation(
        _maker(desk, decision, pack), focused(pack, decision.symbol), desk.habits.prompt_tokens, desk.counted
    )
    looks, repaired = desk.habits.looks, False
    while True:
        try:
            said = shrinking(desk, "coder", Role.CODING, talk)
        except GatewayError as error:
            return Refusal(f"no model wrote anything: {error.what}")
        answer = read(Written(said.text, said.finish == CUT))
        questions = questions_in(said.text)
        if questions and looks and not any(one.blocks for one in answer.candidates):
            looks -= 1
            desk.came("looks up " + printable(", ".join(" ".join(one) for one in questions))[:200])
            talk.add(said.text, looked_up(desk, questions, looks))
            continue
        found = sort_out(answer, source, most=desk.habits.candidates)
        if found.usable:
            return _proposed(desk, decision, pack, source, found)
        told = "; ".join(map(str, found.complaints)) or "it holds no candidate"
        desk.came(f"not usable: {told}"[:1_000])
        if any(one.where == "safety" for all_of in found.complaints for one in all_of.complaints):
            # What breaks a rule of safety gets no second try: it would only learn how to pass.
            desk.note("safety", "review", f"refused: {told}"[:1_000], {"by": "rules"})
            return Refusal(told[:1_000])
        if repaired:
            return Refusal(f"the model's answer cannot be used: {told}"[:1_000])
        repaired = True
        talk.add(said.text, found.complaints[0].message())


def again(desk: Desk, decision: Decision, pack: EvidencePack, source: Source, written: Written) -> Proposal | Refusal:
    """Return another candidate of an answer that is known: the one that the decision names."""
    assert decision.candidate is not None
    number = decision.candidate[1]
    others = frozenset(range(1, 17)) - {number}
    found = sort_out(read(written), source, apart=others)
    if not found.usable:
        told = "; ".join(map(str, found.complaints)) or "the answer has no such candidate"
        return Refusal(f"candidate {number} does not fit the best so far: {told}"[:1_000])
    return _proposed(desk, decision, pack, source, found)


def _proposed(
    desk: Desk, decision: Decision, pack: EvidencePack, source: Source, found: Sorted
) -> Proposal | Refusal:  # fmt: skip
    """Return the first candidate that the reviewer lets pass."""
    objections = []
    for one in found.usable:
        proposal = proposal_of(decision, one)
        why = review_by_model(desk, proposal.title, one.edits, pack, source) if desk.habits.review else None
        by = "rules and a model" if desk.habits.review else "rules"
        desk.note("safety", "review", why or f"nothing against candidate {one.number}", {"by": by})
        if why is None:
            dropped = ", ".join(str(other.number) for other in found.usable if other.number < one.number)
            data = {"candidate": str(one.number), "usable": ", ".join(str(other.number) for other in found.usable)}
            data |= {"refused": dropped} if dropped else {}
            data |= {"fitted": "; ".join(one.edits.notes)[:500]} if one.edits.notes else {}
            desk.note("coder", "proposal", proposal.title, data)
            return proposal
        objections.append(f"candidate {one.number}: {why}")
    return Refusal(f"safety: {'; '.join(objections)}"[:1_000])


def proposal_of(decision: Decision, usable: Usable) -> Proposal:
    """Return a candidate as the loop takes it: a model's words without claims, signatures and hidden characters."""
    fallback = f"{usable.edits and next(iter(usable.edits.contents)).rpartition('.')[0]}: {decision.strategy}"
    title = oneline(usable.candidate.title)
    title = fallback if not title or _CLAIM.search(title) or _TRAILER.search(title) else title
    return Proposal(
        title=printable(title)[:_TITLE],
        rationale=_rationale(usable.candidate.rationale) or printable(_rationale(oneline(decision.reason))),
        strategy=decision.strategy,
        symbol=decision.symbol,
        edits=usable.edits.contents,
    )


def _rationale(text: str) -> str:
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", text):
        lines = [line for line in paragraph.split("\n") if not _TRAILER.match(line)]
        sentences = re.split(r"(?<=[.!?])\s+", " ".join(" ".join(lines).split()))
        kept = " ".join(one for one in sentences if not _CLAIM.search(one) and not _TRAILER.search(one))
        if kept.strip(" -*#"):
            paragraphs.append(kept)
    return "\n\n".join(paragraphs)


def _maker(desk: Desk, decision: Decision, pack: EvidencePack) -> Callable[[str], Prompt]:
    template = next((one for one in desk.templates if one.name == decision.strategy), None)
    lines = [
        f"function: {oneline(decision.symbol)}", f"file: {oneline(decision.file)}", f"strategy: {decision.strategy}",
        f"why: {oneline(decision.reason)}",
    ]  # fmt: skip
    if template is not None:
        lines += [f"what to try: {template.what_to_try}", *(f"only when: {one}" for one in template.preconditions)]
        lines += [*(f"risk: {one}" for one in template.risks), "the shape of the edit:", template.example]
    task = "\n".join(lines)
    tried = [
        Attempt(decision.symbol, decision.file, one.strategy, one.verdict, one.reason)
        for evidence in pack.hotspots
        if evidence.hotspot.symbol == decision.symbol
        for one in evidence.attempts
    ]

    def make(evidence: str) -> Prompt:
        return prompt(
            "coder",
            candidates=desk.habits.candidates,
            max_lines=desk.habits.max_lines,
            max_files=desk.habits.max_files,
            looks=desk.habits.looks,
            tools=listed(),
            workload=oneline(pack.workload),
            objective=objective_text(pack),
            task=fenced("task", task),
            attempts=fenced("attempts", attempts_text(tried)),
            evidence=evidence,
        )

    return make


def spare_numbers(written: Written, source: Source, tried: frozenset[int], most: int) -> Sequence[int]:
    """Return the candidates of an answer that fit the best so far and were not tried."""
    return [one.number for one in sort_out(read(written), source, apart=tried, most=most).usable]
