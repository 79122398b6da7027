# SPDX-License-Identifier: Apache-2.0
"""Show an evidence pack within a token budget; the same pack and budget give the same text.

A token of any byte-level tokenizer is at least one byte of UTF-8, so bytes bound tokens from above without a
tokenizer: a budget of N tokens is kept by at most N bytes. How many tokens those probably are is estimated beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from git_hmopt.errors import ConfigError
from git_hmopt.evidence.changes import changes_text
from git_hmopt.evidence.sections import full_text, place_text
from git_hmopt.evidence.system import system_texts
from git_hmopt.evidence.tokens import Bytes, TokenCount
from git_hmopt.evidence.wording import oneline
from git_hmopt.records.evidence import EvidencePack, HotspotEvidence, Section, Template
from git_hmopt.records.words import Without

SMALLEST = 500
"""The smallest budget, tokens: below it not even the header says anything."""
_LEVELS = ("short", "medium", "full")
_FOOTER_BYTES = 160
_NAMED = 25
"""Of so many bytes of a budget one is for the names of what was left out."""
_SYMBOL = 200
"""Characters of a symbol in a heading: C++ and generated names can be as long as a page."""
SYSTEM = -1
"""Stands for the system as a whole where others are numbers of hotspots."""
_SYSTEM_NAME = "system"
_WITHOUT: Mapping[Without, str] = MappingProxyType(
    {
        "profile": "nothing was measured of these functions; they are what the workload's harness"
        " calls, the nearest first",
        "graph": "nothing is said of who calls whom, nor of what functions share",
    }
)
_SYSTEM_HEADING = "\n# system: when it was slow, and what hot functions share\n"


@dataclass(frozen=True)
class Prompt:
    """A pack's text, and what the budget left out of it."""

    text: str
    left_out: tuple[str, ...]
    """`symbol: section` for what is missing, `symbol: section shortened to <level>` for what is shorter than known."""
    tokens: int
    """An estimate; never taken as a bound."""
    counted_by: str


@dataclass
class _Page:
    """What was chosen so far; its bytes add up exactly, since the pieces are only concatenated."""

    budget: int
    used: int = 0
    headings: dict[int, str] = field(default_factory=dict)
    chosen: dict[tuple[int, str], tuple[str, str]] = field(default_factory=dict)

    def put(self, key: tuple[int, str], level: str, text: str) -> bool:
        """Take `text` in place of what stood at `key`, if the budget allows."""
        before = len(self.chosen[key][1].encode()) if key in self.chosen else 0
        used = self.used - before + len(text.encode())
        if used > self.budget:
            return False
        self.used = used
        self.chosen[key] = (level, text)
        return True


def render(pack: EvidencePack, *, max_tokens: int | None = None, counted: TokenCount | None = None) -> Prompt:
    """Return the pack as text of at most `max_tokens` bytes of UTF-8 (default: the pack's own budget).

    Every hotspot is named first; then hotspot by hotspot, and in it by `priority_fields`, every section gets its
    short text and then the longest one that still fits. `counted` estimates the tokens (default: bytes); where it
    counts more tokens than bytes the text is made shorter, down to SMALLEST bytes. Raises ConfigError for a budget
    under SMALLEST.
    """
    budget = pack.max_prompt_tokens if max_tokens is None else max_tokens
    if budget < SMALLEST:
        raise ConfigError(f"a prompt budget of {budget} tokens is too small", next_step=f"allow at least {SMALLEST}")
    counted = counted or Bytes()
    limit = budget
    while True:
        text, left_out = _rendered(pack, limit, budget)
        tokens = counted.tokens(text)
        if tokens <= budget or limit == SMALLEST:
            return Prompt(text, left_out, tokens, counted.name)
        limit = max(SMALLEST, min(limit - 1, limit * budget // tokens))


def _rendered(pack: EvidencePack, limit: int, budget: int) -> tuple[str, tuple[str, ...]]:
    """Return a text of at most `limit` bytes, and what it leaves out."""
    footer = _FOOTER_BYTES + limit // _NAMED
    whole_head = _header(pack)
    head = _cut(whole_head, (limit - footer) // 2)
    page = _Page(limit - footer - len(head.encode()))
    missing = [] if head == whole_head else ["header shortened"]
    missing += _headings(page, pack)
    texts = _all_texts(page, pack)
    system = texts.get(SYSTEM, {})
    # What it says in short comes first, and the rest of it last: a hotspot's own source is worth more.
    for name in system:
        page.put((SYSTEM, name), "short", system[name]["short"])
    for index in page.headings:
        if index != SYSTEM:
            _fill(page, index, _names(pack, index), texts[index])
    _lengthen(page, SYSTEM, list(system), system)
    left_out = (*missing, *_left_out(page, pack, texts))
    return head + _body(page, pack) + _footer(left_out, budget, footer), left_out


def _header(pack: EvidencePack) -> str:
    goal = pack.objective
    also = "".join(f"also {one.name}: {oneline(one.reason)}\n" for one in pack.bottlenecks[1:])
    names = ", ".join(one.name for one in pack.undecided)
    without = "".join(f"without {one}: {_WITHOUT[one]}\n" for one in pack.without)
    # Said once where no budget cuts it off, and once in words.
    named = "".join(f", without {one}" for one in pack.without)
    return (
        f"run {oneline(pack.run)}, workload {oneline(pack.workload)}{named}, commit {pack.commit}\n"
        f"objective: {goal.metric} ({goal.kind}), {goal.direction} is better, margin {goal.margin}\n"
        f"{without}"
        f"bottleneck: {pack.bottleneck}: {oneline(pack.bottleneck_reason)}\n"
        f"{also}" + (f"nothing measured decides about: {names}\n" if names else "") + changes_text(pack.changes)
    )


def _headings(page: _Page, pack: EvidencePack) -> list[str]:
    missing = []
    for index, evidence in enumerate(pack.hotspots):
        spot = evidence.hotspot
        text = f"\n# {index + 1}. {_named(spot.symbol)} {place_text(spot)}\n"
        used = page.used + len(text.encode())
        if used > page.budget:
            missing.append(_named(spot.symbol))
            continue
        page.used = used
        page.headings[index] = text
    if pack.system and page.used + len(_SYSTEM_HEADING.encode()) <= page.budget:
        page.used += len(_SYSTEM_HEADING.encode())
        page.headings[SYSTEM] = _SYSTEM_HEADING
    elif pack.system:
        missing.append(_SYSTEM_NAME)
    return missing


def _names(pack: EvidencePack, index: int) -> list[str]:
    """Return the sections under a heading, in their order."""
    if index == SYSTEM:
        return [section.name for section in pack.system]
    return _section_names(pack.hotspots[index], pack.priority_fields)


def _section_names(evidence: HotspotEvidence, priority: tuple[str, ...]) -> list[str]:
    """Return the hotspot's sections, those with a priority first."""
    own = [section.name for section in evidence.sections]
    return [name for name in priority if name in own] + [name for name in own if name not in priority]


_Texts = dict[str, dict[str, str]]
"""Every section's texts by level."""


def _all_texts(page: _Page, pack: EvidencePack) -> dict[int, _Texts]:
    """Return the texts of every hotspot that is named; templates that stood under one before it are not repeated."""
    found: dict[int, _Texts] = {}
    first: dict[tuple[Template, ...], int] = {}
    for index in page.headings:
        if index == SYSTEM:
            found[index] = system_texts(pack)
            continue
        evidence = pack.hotspots[index]
        found[index] = {section.name: _texts(evidence, section) for section in evidence.sections}
        number = first.setdefault(evidence.templates, index) + 1
        if number <= index and "templates" in found[index]:
            short = f"{found[index]['templates']['short'].rstrip()} (told under # {number})\n"
            found[index]["templates"] = dict.fromkeys(_LEVELS, short)
    return found


def _texts(evidence: HotspotEvidence, section: Section) -> dict[str, str]:
    full = full_text(section.name, evidence)
    texts = {"short": section.short, "medium": section.medium, "full": section.medium if full is None else full}
    return {level: f"{section.name}: {text}\n" for level, text in texts.items()}


def _fill(page: _Page, index: int, names: list[str], texts: _Texts) -> None:
    for name in names:
        page.put((index, name), "short", texts[name]["short"])
    _lengthen(page, index, names, texts)


def _lengthen(page: _Page, index: int, names: list[str], texts: _Texts) -> None:
    for name in names:
        for level in ("full", "medium"):
            if page.put((index, name), level, texts[name][level]):
                break


def _left_out(page: _Page, pack: EvidencePack, texts: dict[int, _Texts]) -> Iterator[str]:
    for index in page.headings:
        whose = _SYSTEM_NAME if index == SYSTEM else _named(pack.hotspots[index].hotspot.symbol)
        for name in _names(pack, index):
            what = f"{whose}: {name}"
            if (index, name) not in page.chosen:
                yield what
            elif page.chosen[index, name][1] != texts[index][name]["full"]:
                yield f"{what} shortened to {page.chosen[index, name][0]}"


def _body(page: _Page, pack: EvidencePack) -> str:
    parts = []
    for index, heading in page.headings.items():
        parts.append(heading)
        parts += [page.chosen[index, name][1] for name in _names(pack, index) if (index, name) in page.chosen]
    return "".join(parts)


def _footer(left_out: Sequence[str], budget: int, room: int) -> str:
    """Return how much was left out, and as much of its names as there is room for."""
    if not left_out:
        return "\nnothing was left out\n"
    head = f"\nleft out or shortened for a budget of {budget} tokens: {len(left_out)} parts"
    named = ""
    for number, what in enumerate(left_out):
        more = f"{named}{'; ' if number else ' ('}{what}"
        # Of what follows it must be possible to say that it does.
        if len(f"{head}{more}; and {len(left_out)} more)\n".encode()) > room:
            rest = f"; and {len(left_out) - number} more)" if number else ""
            return f"{head}{named}{rest}\n"
        named = more
    return f"{head}{named})\n"


def _named(symbol: str) -> str:
    """Return a symbol on one line, its middle left out where it is very long: its end often tells it from others."""
    name = oneline(symbol)
    return name if len(name) <= _SYMBOL else f"{name[: _SYMBOL // 2]}...{name[-_SYMBOL // 2 :]}"


def _cut(text: str, limit: int) -> str:
    """Return `text` in at most `limit` bytes, with a mark where it was cut, never inside a character."""
    data = text.encode()
    if len(data) <= limit:
        return text
    mark = " [cut]\n"
    return data[: limit - len(mark)].decode(errors="ignore") + mark
