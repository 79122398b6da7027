# SPDX-License-Identifier: Apache-2.0
"""The static impact as people read it: a comment in Markdown, a check run's title, annotations.

Names, paths and workloads are a stranger's: in Markdown they stand in code spans, cleaned and cut, where no forge looks
for mentions, links or HTML. Every list has an end, so that the text fits into a comment whatever is put in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from git_hmopt.psg.facts import Kind
from git_hmopt.report.markup import code, table
from git_hmopt.report.wording import plain
from hmopt_bot.forges import limits
from hmopt_bot.forges.values import Annotation, Level
from hmopt_bot.pulls.graphs import GraphState
from hmopt_bot.pulls.heat import HOT, Heat, Profile
from hmopt_bot.pulls.impact import Caller, FileAside, Knob, StaticImpact, Touched
from hmopt_bot.pulls.sides import Aside

BOUND = limits.Bound(60_000, limits.Unit.BYTES)
"""Of the comment's body: room for a marker, and for what others add, below every forge's bound."""
ROWS = 20
_COLD_ROWS = 30
_LIST = 15
_NAME, _CALLER, _PATH, _WORKLOAD = 80, 60, 100, 40
"""Bytes of names: what is no ASCII is seldom, and then somebody's who means no good."""
_NAMED = 3
"""Things that a sentence names; the rest are counted."""
_CALLERS = 4


def impact_title(impact: StaticImpact) -> str:
    """Return the result in a line of plain text, for a check run."""
    if impact.hot:
        named = [f"{_name(one)} ({_percent(one.heat[0])} of {_workload(one.heat[0])})" for one in impact.hot[:_NAMED]]
        return f"Touches {_some(named, len(impact.hot), 'hot function')}"
    if not impact.files:
        return "No file differs"
    if impact.changes_nothing_built:
        return "Nothing that is built changes"
    if not impact.measured:
        return f"Touches {_several(len(impact.touched), 'symbol')}; how hot they are is unknown"
    return "Touches no hot function"


def impact_markdown(impact: StaticImpact) -> str:
    """Return the body of the comment, at most `BOUND`; the result stands in its first line."""
    main = [one for one in impact.touched if not impact.measured or one.share or one.share_above >= HOT]
    cold = [one for one in impact.touched if impact.measured and not one.share and one.share_above < HOT]
    parts = [
        _first_sentence(impact),
        "\n".join(f"* {note}" for note in _warnings(impact)),
        _touched_table(main, ROWS, impact),
        _details(impact, cold, main),
        _foot(impact),
    ]
    return limits.cut("\n\n".join(part for part in parts if part) + "\n", BOUND)


def impact_annotations(impact: StaticImpact, *, most: int = limits.ANNOTATIONS) -> tuple[Annotation, ...]:
    """Return a notice for each hot function, on the first line of it that the change made; the hottest first.

    What is gone has no line in head, and a forge takes no path that is no UTF-8.
    """
    return tuple(
        Annotation(one.file, one.line, one.line, Level.NOTICE, _message(one), title="hot function")
        for one in impact.hot
        if one.how != "removed" and _is_relative(one.file)
    )[:most]


# -- sentences ------------------------------------------------------------------------------------------------------


def _first_sentence(impact: StaticImpact) -> str:
    if not impact.files:
        return "**No file differs** between base and head."
    if impact.hot:
        named = [f"{code(_name(one))} ({_heat(one.heat[:1])})" for one in impact.hot[:_NAMED]]
        return f"**This touches {_some(named, len(impact.hot), 'hot function', strong=True)}."
    if impact.changes_nothing_built:
        return f"**Nothing that is built changes**: {_why_nothing(impact)}."
    touched = f"{_several(len(impact.touched), 'symbol')} in {_several(_files_touched(impact), 'file')}"
    if not impact.touched:
        return f"**No function, type or macro is touched** that is known to be built: {_why_nothing(impact)}."
    if not impact.measured:
        return f"**This touches {touched}; how hot they are is unknown**, since no workload has a profile here."
    profiled = [code(_cut_workload(one.workload)) for one in impact.profiles if one.run]
    among = f"{', '.join(profiled[:_NAMED])}{f' and {len(profiled) - _NAMED} more' if len(profiled) > _NAMED else ''}"
    above = [one for one in impact.touched if one.share_above >= HOT]
    if above:
        named = [code(_name(one)) for one in above[:_NAMED]]
        return (
            f"**No hot function of {among} is touched**, but hot ones reach"
            f" {_some(named, len(above), 'touched symbol')} ({touched} in all)."
        )
    return f"**No hot function of {among} is touched**, nor what one reaches ({touched})."


def _some(named: Sequence[str], count: int, what: str, *, strong: bool = False) -> str:
    """Return `2 hot functions: a, b`; `strong` ends what was begun in bold before the names."""
    more = f" and {count - len(named)} more" if count > len(named) else ""
    return f"{_several(count, what)}{'**' if strong else ''}: {', '.join(named)}{more}"


def _why_nothing(impact: StaticImpact) -> str:
    counted = Counter(one.why for one in impact.aside)
    told = [f"{_several(count, 'file')}: {why.value}" for why, count in counted.most_common()]
    left_out = sum(one.left_out for one in impact.touched)
    told += [f"{_several(left_out, 'function')} that the build leaves out"] if left_out else []
    return "; ".join(told)


def _warnings(impact: StaticImpact) -> Iterator[str]:
    """Yield what a reader must know to believe what is told."""
    if any(one.why is Aside.COMMENTS_AND_LINES for one in impact.aside):
        yield (
            "Where only comments and spacing change, the code is the same. Lines move, though: numbers that `__LINE__`"
            " puts into objects (`WARN_ON`, `BUG_ON`, debug information) may differ, and no instruction beside them."
        )
    if not impact.graphs:
        yield (
            "There is no structure graph that can be read: who reaches what is touched, which files are built and"
            " which knobs guard them is unknown. `git hmopt analyze --static` where this bot runs makes one."
        )
    for state in impact.graphs[:_NAMED]:
        yield from _graph_warnings(state)
    if impact.without_graph:
        lacking = [code(_cut(one, _PATH)) for one in impact.without_graph[:_NAMED]]
        more = f" and {len(impact.without_graph) - _NAMED} more" if len(impact.without_graph) > _NAMED else ""
        yield f"There is no structure graph of {', '.join(lacking)}{more}: what is built there alone is not known."
    missing = [code(_cut_workload(one.workload)) for one in impact.profiles if not one.run]
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        yield (
            f"Never profiled here: {', '.join(missing[:_NAMED])}{more}. `git hmopt optimize --workload NAME"
            " --iterations 0` where this bot runs does it."
        )
    yield from impact.notes[:_LIST]
    if impact.not_asked:
        yield (
            f"Who reaches the last {impact.not_asked:,} of {len(impact.touched):,} touched symbols was not looked for:"
            " there are too many."
        )


def _graph_warnings(state: GraphState) -> Iterator[str]:
    of = f"The structure graph of {code(_cut(state.described, _PATH))}"
    step = "the next run or check of this base" if state.of_runs else "`git hmopt analyze --static` at this base"
    if state.differing:
        some = ", ".join(code(_cut_end(path, _PATH)) for path in state.differing[:_NAMED])
        more = f" and {len(state.differing) - _NAMED} more" if len(state.differing) > _NAMED else ""
        yield (
            f"{of} stands at another commit than base: {_several(len(state.differing), 'file')} of {state.files:,}"
            f" differ ({some}{more}). Callers, guards and what is built are told as of there; {step} brings it up"
            " to date."
        )
    elif not state.compared:
        yield (
            f"{of} has the base's text of the files that change. Whether it stands at base otherwise is unknown: the"
            " commit is not in the repository that is served (`git fetch` there)."
        )
    if state.flawed:
        yield f"{of} has {state.flawed:,} of {state.units:,} units that were not parsed, or not without errors."


# -- what is touched ------------------------------------------------------------------------------------------------


def _touched_table(touched: Sequence[Touched], most: int, impact: StaticImpact) -> str:
    if not touched:
        return ""
    share = "share of the profile" if impact.measured else "share"
    rows = [_row(one, impact) for one in touched[:most]]
    more = f"\n\n… and {len(touched) - most:,} more" if len(touched) > most else ""
    return table(("touched", "where", share, "reached by"), rows) + more


def _row(one: Touched, impact: StaticImpact) -> tuple[str, str, str, str]:
    how = "" if one.how == "changed" else f" ({one.how})"
    what = "outside of definitions" if one.kind is Kind.FILE else code(_name(one))
    line = "" if one.how == "removed" or one.kind is Kind.FILE else f":{one.first_line}"
    return f"{what}{how}", code(_cut_end(one.file, _PATH) + line), _share(one, impact), _reached(one)


def _share(one: Touched, impact: StaticImpact) -> str:
    if not impact.measured:
        return "unknown"
    if one.left_out:
        return "not in this build"
    return _heat(one.heat) if one.heat else "–"


def _reached(one: Touched) -> str:
    if one.left_out or one.kind is Kind.FILE:
        return "–"
    if one.callers is None:
        return "new: unknown" if one.how == "added" else "unknown"
    if not one.callers_all:
        return "nobody within three calls"
    shown = [_caller(caller) for caller in one.callers[:_CALLERS]]
    more = one.callers_all - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")


def _caller(caller: Caller) -> str:
    heat = f" ({_percent(caller.heat[0])})" if caller.heat else ""
    return f"{code(_cut(caller.symbol.rpartition(':')[2], _CALLER))}{heat}"


def _heat(heat: Sequence[Heat]) -> str:
    told = [f"{_percent(one)} of {code(_workload(one))}" for one in heat[:_NAMED]]
    return ", ".join(told) + (f" and {len(heat) - _NAMED} more" if len(heat) > _NAMED else "")


# -- details --------------------------------------------------------------------------------------------------------


def _details(impact: StaticImpact, cold: Sequence[Touched], main: Sequence[Touched]) -> str:
    sections = [
        _section("Not hot, nor reached by what is hot", _touched_table(cold, _COLD_ROWS, impact)),
        _section("Config knobs", _listed(_guards((*main[:ROWS], *cold[:_COLD_ROWS])))),
        _section("Files of which nothing is told above", _listed([_aside(one) for one in impact.aside])),
        _section("How this was found", _listed(list(_method(impact)))),
    ]
    whole = "\n\n".join(section for section in sections if section)
    return f"<details><summary>The rest: cold code, config knobs, other files</summary>\n\n{whole}\n\n</details>"


def _section(head: str, body: str) -> str:
    return f"**{head}**\n\n{body}" if body else ""


def _listed(lines: Sequence[str]) -> str:
    more = [f"… and {len(lines) - _LIST:,} more"] if len(lines) > _LIST else []
    return "\n".join(f"* {line}" for line in (*lines[:_LIST], *more))


def _guards(touched: Iterable[Touched]) -> list[str]:
    """Return a line for each knob: what hangs on it, and whether the build sets it."""
    hanging: dict[Knob, dict[str, None]] = {}
    for one in touched:
        for knob in one.knobs:
            what = one.file if knob.sense in ("object", "folder") or one.kind is Kind.FILE else _name(one)
            hanging.setdefault(knob, {})[what] = None
    lines = []
    for knob, names in hanging.items():
        shown = ", ".join(code(_cut_end(name, _PATH)) for name in list(names)[:_NAMED])
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        lines.append(f"{_knob(knob)}: {shown}{more}")
    return lines


def _knob(knob: Knob) -> str:
    known = {True: "set in this build", False: "not set in this build", None: "whether it is set is unknown"}
    senses = {
        "if": "guards when set", "else": "guards when not set", "object": "has the file built",
        "folder": "has the folder entered",
    }  # fmt: skip
    return f"{code(_cut(knob.name, _NAME))} {senses.get(knob.sense, 'decides')} ({known[knob.is_set]})"


def _aside(one: FileAside) -> str:
    touches = f"; {_several(one.touches, 'symbol')} touched in it" if one.touches else ""
    was = f" (was {code(_cut_end(one.before_path, _PATH))})" if one.before_path else ""
    off = list(dict.fromkeys(code(_cut(knob.name, _NAME)) for knob in one.knobs if knob.is_set is False))
    hangs = f"; not set in this build: {', '.join(off[:_NAMED])}, on which it hangs" if off else ""
    return f"{code(_cut_end(one.path, _PATH))}{was}: {one.why.value}{touches}{hangs}"


def _method(impact: StaticImpact) -> Iterator[str]:
    if impact.measured:
        yield (
            f"Hot is what has at least {100 * HOT:g} % of a profile: twice as slow, a function below that costs its"
            " workload less than an objective's default margin."
        )
        most = max(one.names for one in impact.profiles)
        yield f"A profile names its {_several(most, 'hottest function')} at most; – says that none names this one."
    if any("funcrank" in one.ranker for one in impact.profiles):
        yield "Of a profile with call stacks shares are FuncRank's: half a function's own cost, half of what it calls."
    if impact.graphs:
        yield (
            "Who reaches something is followed for three calls, through tables of operations as well, in a graph that"
            " was not brought up to date for this."
        )
    yield "Text that a macro expands to elsewhere, and what generated files say, is not looked into."


def _foot(impact: StaticImpact) -> str:
    told = [f"{code(impact.base[:12])}..{code(impact.head[:12])}"]
    used = [_used(one) for one in impact.profiles if one.run]
    told += used[:_NAMED] + ([f"{len(used) - _NAMED} more profiles"] if len(used) > _NAMED else [])
    told.append(f"again: {code(f'git hmopt graph --touched {impact.base[:12]}..{impact.head[:12]}')}")
    return f"<sub>{' · '.join(told)}</sub>"


def _used(one: Profile) -> str:
    return (
        f"profile of {code(_cut_workload(one.workload))}: {code(_cut(one.run, _NAME))}, {code(_cut(one.at[:10], 10))}"
    )


# -- words ----------------------------------------------------------------------------------------------------------


def _cut(text: str, most: int) -> str:
    """Return a text on one line in at most so many bytes, with a mark where it was cut."""
    shown = plain(text[: 4 * most])
    if len(text) <= 4 * most and len(shown.encode()) <= most:
        return shown
    return limits.Bound(most, limits.Unit.BYTES).start(shown, most - len("…".encode())) + "…"


def _cut_end(text: str, most: int) -> str:
    """Return the end of a text, as of a path, in the same way."""
    shown = plain(text[-4 * most :])
    data = shown.encode()
    if len(text) <= 4 * most and len(data) <= most:
        return shown
    return "…" + data[-(most - len("…".encode())) :].decode("utf-8", "ignore")


def _message(one: Touched) -> str:
    shares = ", ".join(f"{_percent(heat)} of {_workload(heat)}'s profile" for heat in one.heat[:_NAMED])
    shown = [_cut(caller.symbol.rpartition(":")[2], _CALLER) for caller in (one.callers or ())[:_CALLERS]]
    more = one.callers_all - len(shown)
    reached = f"; reached by {', '.join(shown)}{f' and {more} more' if more > 0 else ''}" if shown else ""
    return f"{code(_name(one))}: {shares}{reached}"


def _is_relative(path: str) -> bool:
    # What is no UTF-8 stands in a graph's path with its bytes spelt out, which is no path of head's.
    parts = PurePosixPath(path).parts
    return bool(parts) and path.isprintable() and "\\" not in path and not path.startswith("/") and ".." not in parts


def _name(one: Touched) -> str:
    return _cut(one.symbol.rpartition(":")[2], _NAME)


def _workload(heat: Heat) -> str:
    return _cut_workload(heat.workload)


def _cut_workload(name: str) -> str:
    return _cut(name, _WORKLOAD)


def _percent(heat: Heat) -> str:
    return f"{100 * heat.share:.1f} %"


def _several(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _files_touched(impact: StaticImpact) -> int:
    return len({one.file for one in impact.touched})
