# SPDX-License-Identifier: Apache-2.0
"""Say of a slow time what had a part in it, ranked, in words, with the code's places where they are known.

What the slow thread did itself comes first: of two causes that is the nearer one. Then comes what took the largest
share of the time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

from git_hmopt.evidence.rule import percent
from git_hmopt.evidence.structure import source_name
from git_hmopt.psg.facts import Kind
from git_hmopt.psg.queries import Structure
from git_hmopt.records.base import decimal_text
from git_hmopt.records.windows import (
    TraceWindow,
    TraceWindows,
    WindowBlocked,
    WindowFunction,
    WindowRan,
    WindowReason,
    WindowWoke,
)
from git_hmopt.runtime.activity import Activity, Blocked, Contended
from git_hmopt.runtime.call_graph import from_samples
from git_hmopt.runtime.fold import plain_name
from git_hmopt.runtime.sched import UNNAMED
from git_hmopt.runtime.symptoms import Symptom
from git_hmopt.runtime.window import within
from git_hmopt.traces.tables import Samples

Places = Callable[[Sequence[str]], Mapping[str, tuple[str, int | None]]]
"""Returns where functions are defined; those that nothing knows, or knows several times, are left out."""

SHOWN = 8
"""Entries of a list that are kept."""
REASONS = 12
LEAST = 0.01
"""The share from which something had a part."""
_WHAT = {
    "late-frame": "a frame of {who} was {lost} late",
    "wakeup-wait": "{who} waited {lost} for a CPU after it was woken",
    "preempted-wait": "{who} waited {lost} for a CPU after it was switched out",
    "interrupts": "interrupts took {lost} of {who}",
    "reclaim": "an allocation of {who} reclaimed memory for {lost}",
    "compaction": "an allocation of {who} compacted memory for {lost}",
}


def no_places(symbols: Sequence[str]) -> Mapping[str, tuple[str, int | None]]:
    """Know no place."""
    return {}


def told_windows(
    capture: str, name: str, found: Sequence[Activity], samples: Samples | None, places: Places = no_places
) -> TraceWindows:
    """Return the record of a capture's slow times; `samples` are those that it took itself, by the same clock."""
    functions = [_functions(one.symptom, samples) for one in found]
    named = {symbol for shares in functions for symbol in list(shares)[:SHOWN]}
    named |= {one.caller for each in found for one in each.blocked}
    known = places(sorted(named - {UNNAMED}))
    windows = [_told(one, shares, known) for one, shares in zip(found, functions, strict=True)]
    return TraceWindows(capture=capture, name=name, windows=tuple(windows))


def _functions(symptom: Symptom, samples: Samples | None) -> dict[str, float]:
    """Return the shares of functions among the samples of a time, the largest first."""
    inside = within(samples, [(symptom.start_ns, symptom.end_ns)]) if samples is not None else None
    graph = from_samples(inside, name=lambda frame: plain_name(frame.label)) if inside is not None else None
    if graph is None or not graph.total:
        return {}
    ordered = sorted(graph.self_cost.items(), key=lambda pair: (-pair[1], pair[0]))
    return {symbol: cost / graph.total for symbol, cost in ordered if cost > 0}


_Known = Mapping[str, tuple[str, int | None]]


def _told(found: Activity, functions: Mapping[str, float], known: _Known) -> TraceWindow:
    symptom, length = found.symptom, _length(found)
    return TraceWindow(
        kind=symptom.kind,
        what=_WHAT[symptom.kind].format(who=symptom.who, lost=_ms(symptom.lost_ns)),
        start_ns=symptom.start_ns,
        end_ns=symptom.end_ns,
        lost_ns=symptom.lost_ns,
        who=symptom.who,
        rule=symptom.rule,
        events=found.events,
        lost_events=found.lost,
        reasons=_reasons(found, functions, known),
        ran=tuple(
            WindowRan(cpu=one.cpu, who=one.who, ns=one.ns, share=decimal_text(one.ns / length))
            for one in found.ran[:SHOWN]
        ),
        woke=tuple(
            WindowWoke(
                waker=one.waker, wakee=one.wakee, count=one.count, total_ns=one.total_ns, worst_ns=one.worst_ns
            )
            for one in found.woke[:SHOWN]
        ),
        blocked=tuple(_blocked(one, known) for one in found.blocked[:SHOWN]),
        functions=tuple(_function(symbol, share, known) for symbol, share in list(functions.items())[:SHOWN]),
        excerpt=found.excerpt,
        left_out=found.left_out,
    )  # fmt: skip


def _blocked(one: Blocked, known: _Known) -> WindowBlocked:
    file, line = _place(one.caller, known)
    return WindowBlocked(
        who=one.who, caller=one.caller, iowait=one.iowait, count=one.count, ns=one.ns, file=file, line=line
    )


def _function(symbol: str, share: float, known: _Known) -> WindowFunction:
    file, line = _place(symbol, known)
    return WindowFunction(symbol=symbol, share=decimal_text(share), file=file, line=line)


def _length(found: Activity) -> int:
    return max(found.symptom.end_ns - found.symptom.start_ns, 1)


def _ms(ns: int) -> str:
    return f"{ns / 1e6:.3g} ms" if ns >= 1_000_000 else f"{ns / 1e3:.3g} us"


def _place(symbol: str, known: _Known) -> tuple[str | None, int | None]:
    return known.get(symbol, (None, None))


def _at(symbol: str, known: _Known) -> str:
    file, line = _place(symbol, known)
    return f"{symbol} ({file}:{line})" if file and line else f"{symbol} ({file})" if file else symbol


_About = Literal["thread", "cpu", "wakeup", "wait", "interrupts", "stall", "function"]


def _reason(
    about: _About, text: str, share: float, *, own: bool = False, symbol: str | None = None, known: _Known | None = None
) -> WindowReason:
    file, line = _place(symbol, known or {}) if symbol is not None else (None, None)
    capped = decimal_text(min(share, 1.0))
    return WindowReason(about=about, text=text, share=capped, own=own, symbol=symbol, file=file, line=line)


def _reasons(found: Activity, functions: Mapping[str, float], known: _Known) -> tuple[WindowReason, ...]:
    told = [
        *_of_the_thread(found),
        *_of_cpus(found),
        *_of_wakeups(found),
        *_of_waits(found, known),
        *_of_locks(found),
        *_of_interrupts(found),
        *_of_stalls(found),
        *_of_functions(functions, known),
    ]
    ordered = sorted(told, key=lambda one: (not one.own, -float(one.share)))
    return tuple(one for one in ordered if float(one.share) >= LEAST)[:REASONS]


def _of_the_thread(found: Activity) -> Iterator[WindowReason]:
    if found.spent is None:
        return
    who, length, spent = found.symptom.who, _length(found), found.spent
    for ns, did in (
        (spent.running_ns, "ran for {}"),
        (spent.runnable_ns, "waited for a CPU for {}" + _instead(found)),
        (spent.blocked_ns, "was blocked, asleep uninterruptibly, for {}"),
        (spent.asleep_ns, "slept for {}"),
    ):
        yield _reason("thread", f"{who} {did.format(_of_time(ns, length))}", ns / length, own=True)


def _instead(found: Activity) -> str:
    """Return who had the CPUs while the thread waited for one."""
    busy = [one for one in found.ran if one.tid not in (0, found.symptom.tid)][:3]
    on = ", ".join(f"{_braced(one.who)} on cpu{one.cpu}" for one in busy)
    return f"; meanwhile there ran {on}" if on else ""


def _braced(text: str) -> str:
    """Return a name that `str.format` leaves as it is."""
    return text.replace("{", "{{").replace("}", "}}")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _of_time(ns: int, length: int) -> str:
    return f"{_ms(ns)} ({percent(ns / length)} of the time)"


def _of_cpus(found: Activity) -> Iterator[WindowReason]:
    """Tell which threads had CPUs, the slow one apart: what it did is told already."""
    for one in found.ran:
        if one.tid not in (0, found.symptom.tid):
            text = f"{one.who} had cpu{one.cpu} for {_of_time(one.ns, _length(found))}"
            yield _reason("cpu", text, one.ns / _length(found))


def _of_wakeups(found: Activity) -> Iterator[WindowReason]:
    for one in found.woke:
        waits = f"which then waited {_ms(one.worst_ns)} for a CPU" + (" at worst" if one.count > 1 else "")
        own = one.wakee == found.symptom.who
        yield _reason(
            "wakeup",
            f"{one.waker} woke {one.wakee} {_times(one.count)}, {waits}",
            one.worst_ns / _length(found),
            own=own,
        )


def _of_waits(found: Activity, known: _Known) -> Iterator[WindowReason]:
    """Tell where threads waited: those of the slow thread, and those of all others by function."""
    others: defaultdict[tuple[str, bool], list[Blocked]] = defaultdict(list)
    for one in found.blocked:
        if one.who == found.symptom.who:
            yield _wait(found, [one], one.who, known, own=True)
        else:
            others[one.caller, one.iowait].append(one)
    for waits in others.values():
        yield _wait(found, waits, _threads([one.who for one in waits]), known, own=False)


def _wait(found: Activity, waits: Sequence[Blocked], who: str, known: _Known, *, own: bool) -> WindowReason:
    caller = waits[0].caller
    timed = [one.ns for one in waits if one.ns is not None]
    count = sum(one.count for one in waits)
    what = " for I/O" if waits[0].iowait else ""
    how_long = f"{_of_time(sum(timed), _length(found))} together" if timed else "nobody knows how long"
    text = f"{who} waited{what} in {_at(caller, known)} {_times(count)}: {how_long}"
    # What has no length in this kernel's events is told all the same, last.
    share = sum(timed) / _length(found) if timed else LEAST
    return _reason("wait", text, share, own=own, symbol=None if caller == UNNAMED else caller, known=known)


def _of_locks(found: Activity) -> Iterator[WindowReason]:
    """Tell which locks were waited for: those of the slow thread, and those of all others by lock."""
    others: defaultdict[str, list[Contended]] = defaultdict(list)
    for one in found.contended:
        others[f"{one.who} {one.lock}" if one.who == found.symptom.who else one.lock].append(one)
    for waits in others.values():
        ns, count = sum(one.ns for one in waits), sum(one.count for one in waits)
        text = (
            f"{_threads([one.who for one in waits])} waited for the lock {waits[0].lock} {_times(count)}:"
            f" {_of_time(ns, _length(found))} together"
        )
        yield _reason("wait", text, ns / _length(found), own=waits[0].who == found.symptom.who)


def _threads(names: Sequence[str]) -> str:
    threads = list(dict.fromkeys(names))
    return threads[0] if len(threads) == 1 else f"{len(threads)} threads ({', '.join(threads[:2])}, ...)"


def _of_interrupts(found: Activity) -> Iterator[WindowReason]:
    most = found.handled[0] if found.handled else None
    mostly = f", most of it {most.kind} {most.name} ({_times(most.count)}, {_ms(most.ns)})" if most else ""
    for cpu, ns in found.interrupted_ns:
        text = f"interrupts took {_of_time(ns, _length(found))} of cpu{cpu}{mostly}"
        yield _reason("interrupts", text, ns / _length(found), own=cpu == found.symptom.cpu)


def _of_stalls(found: Activity) -> Iterator[WindowReason]:
    doing = {"reclaim": "reclaimed memory itself", "compaction": "compacted memory"}
    for one in found.stalled:
        text = f"an allocation of {one.who} {doing[one.kind]} for {_of_time(one.ns, _length(found))}"
        yield _reason("stall", text, one.ns / _length(found), own=one.who == found.symptom.who)


def _of_functions(functions: Mapping[str, float], known: _Known) -> Iterator[WindowReason]:
    for symbol, share in functions.items():
        yield _reason(
            "function", f"{_at(symbol, known)} has {percent(share)} of the samples", share, symbol=symbol, known=known
        )


# -- the graph ------------------------------------------------------------------------------------------------------


def places_in(structure: Structure) -> Places:
    """Return who knows the places of functions: the graph, of names that it has once."""

    def find(symbols: Sequence[str]) -> Mapping[str, tuple[str, int | None]]:
        found: dict[str, tuple[str, int | None]] = {}
        for symbol in symbols:
            places = [
                place
                for node in structure.functions_named(source_name(symbol))
                for place in structure.places(node)
                if place.kind is Kind.FUNCTION
            ]
            if len(places) == 1:
                found[symbol] = places[0].file, places[0].first_line
        return found

    return find


def placed(found: TraceWindows, places: Places) -> TraceWindows:
    """Return the record with the places of functions that it has none of: a graph may have come later than a trace."""
    blocked = {one.caller for each in found.windows for one in each.blocked if one.file is None}
    sampled = {one.symbol for each in found.windows for one in each.functions if one.file is None}
    known = places(sorted((blocked | sampled) - {UNNAMED}))
    return found.model_copy(update={"windows": tuple(_placed(one, known) for one in found.windows)}) if known else found


def _placed(one: TraceWindow, known: _Known) -> TraceWindow:
    def at(symbol: str | None) -> dict[str, str | int | None]:
        return dict(zip(("file", "line"), known[symbol], strict=True)) if symbol is not None and symbol in known else {}

    return one.model_copy(
        update={
            "reasons": tuple(each.model_copy(update=_said(each, known) | at(each.symbol)) for each in one.reasons),
            "blocked": tuple(each.model_copy(update=at(each.caller)) for each in one.blocked),
            "functions": tuple(each.model_copy(update=at(each.symbol)) for each in one.functions),
        }
    )


def _said(reason: WindowReason, known: _Known) -> dict[str, str]:
    """Return the text with the place behind the function's name."""
    if reason.symbol is None or reason.file is not None or reason.symbol not in known:
        return {}
    return {"text": reason.text.replace(reason.symbol, _at(reason.symbol, known), 1)}


def notes_for(symbol: str, windows: Sequence[TraceWindow]) -> tuple[str, ...]:
    """Return the slow times that a function had a part in, a line each."""
    return tuple(
        f"{one.what}: {reason.text}"
        for one in windows
        for reason in one.reasons
        if reason.symbol is not None and source_name(reason.symbol) == source_name(symbol)
    )
