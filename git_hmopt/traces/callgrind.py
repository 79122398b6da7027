# SPDX-License-Identifier: Apache-2.0
"""Parse callgrind's profile data (valgrind's manual, "Callgrind Format Specification"), exact counts.

One file holds two views: what every function cost in which context, and what every source line cost. Contexts are in
it when callgrind ran with `--separate-callers`: it then names a function `leaf'caller'caller's caller`. Executions of
a line need instruction addresses (`--dump-instr=yes`). Other programs write the format, too, and count no instructions
(`Ir`): then the first event that they name is meant, and the unit is its name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from git_hmopt.traces.capture import Capture, Losses
from git_hmopt.traces.source import Source, lines_of
from git_hmopt.traces.stacks import SampleRows
from git_hmopt.traces.tables import UNKNOWN, Frame, Samples, SelfCounts, TraceFormatError

EVENT = "Ir"
"""Instructions read, hence executed."""

NOT_A_LINE = "line that is no callgrind line"
BAD_COST = "cost line that cannot be read"
NO_FUNCTION = "cost line outside a function"
NO_ADDRESS = "line without instruction addresses: executions unknown"
NO_INSTRUCTIONS = "line of a file that counts no instructions: executions unknown"
NO_TOTALS = "file without its totals: cut short"
OTHER_TOTAL = "cost missing from the file's own total"

_NAME = re.compile(r"(?P<key>fn|cfn|fl|fi|fe|cfi|cfl|ob|cob)=\s*(?:\((?P<id>\d+)\))?\s*(?P<name>.*)")
_SPACE = {"fn": "fn", "cfn": "fn", "ob": "ob", "cob": "ob"}
_RECURSION = re.compile(r"\d+")
_LONGEST_NUMBER = 100
_MOST_EVENTS = 100


class Callgrind:
    """The format, by its name `callgrind`."""

    name = "callgrind"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether the file says so, or has callgrind's names of events and of functions."""
        if b"# callgrind format" in head[:4096]:
            return True
        lines = head.splitlines()
        return any(line.startswith(b"events:") for line in lines) and any(line.startswith(b"fn=") for line in lines)

    def read(self, source: Source) -> Capture:
        """Return the capture: samples are contexts, lines are the counts of every source line."""

        def samples(losses: Losses) -> list[Samples]:
            with source.open() as stream:
                tables = parse_events(lines_of(stream, losses))
            for table in tables:
                losses.update(table.skipped)
            # Instructions come first, whatever the order in the file.
            return sorted(tables, key=lambda table: table.event != EVENT)

        def counts(losses: Losses) -> SelfCounts:
            with source.open() as stream:
                table = parse_lines(lines_of(stream, losses))
            losses.update(table.skipped)
            return table

        return Capture(self.name, read_samples=samples, read_lines=counts)


FORMAT = Callgrind()


@dataclass(frozen=True)
class _Cost:
    """One cost line of a function itself."""

    context: str
    object: str
    file: str
    line: int
    address: int | None
    main: int
    """Of the event that is meant."""
    costs: tuple[int, ...]


@dataclass
class _Reader:
    """Follows names, compressed or not, and positions, relative or not."""

    skipped: Counter[str] = field(default_factory=Counter)
    positions: tuple[str, ...] = ("line",)
    events: tuple[str, ...] = ()
    event: int | None = None
    """Which of the events is meant: instructions, or the first where there are none."""
    total: int | None = None
    _names: dict[tuple[str, str], str] = field(default_factory=dict)
    _now: dict[str, str] = field(default_factory=dict)
    _at: list[int] = field(default_factory=lambda: [0])
    _inclusive: bool = False

    def feed(self, text: str) -> _Cost | None:
        """Take one line; return the cost it states of the function itself, if it does."""
        if text[0].isdigit() or text[0] in "+-*":
            return self._cost(text)
        named = _NAME.fullmatch(text)
        if named:
            self._name(named["key"], named["id"], named["name"])
        elif text.startswith("calls="):
            # The line after it is what the callee cost, and the callee has said so itself.
            self._inclusive = True
        else:
            self._header(text)
        return None

    def _name(self, key: str, number: str | None, name: str) -> None:
        space = _SPACE.get(key, "fl")
        if number is not None:
            if name:
                self._names[(space, number)] = name
            name = self._names.get((space, number), UNKNOWN)
        if key in ("fn", "ob"):
            self._now[key] = name
        elif key in ("fl", "fi", "fe"):
            self._now["fl"] = name

    def _header(self, text: str) -> None:
        key, colon, value = text.partition(":")
        if key == "positions":
            self.positions = tuple(value.split())
            self._at = [0] * len(self.positions)
        elif key == "events":
            before, self.events = self.events, tuple(value.split())
            if before not in ((), self.events):
                raise TraceFormatError(
                    f"this callgrind file counts {' '.join(before)[:60]} in one part and other events in another",
                    next_step="give each part as a file of its own",
                )
            if len(self.events) > _MOST_EVENTS:
                raise TraceFormatError(
                    f"this callgrind file counts {len(self.events)} events: more than {_MOST_EVENTS}"
                )
            if not self.events:
                raise TraceFormatError(
                    "this callgrind file counts nothing: its line of events is empty",
                    next_step="run callgrind with its default events",
                )
            self.event = self.events.index(EVENT) if EVENT in self.events else 0
        elif key == "totals":
            words = value.split()
            column = self.event or 0
            total = words[column] if len(words) > column else ""
            self.total = int(total) if total.isdecimal() and len(total) < _LONGEST_NUMBER else None
        elif not (colon and key.replace(" ", "").isalpha()) and not text.startswith(("#", "jump=", "jcnd=")):
            self.skipped[NOT_A_LINE] += 1

    def _cost(self, text: str) -> _Cost | None:
        words = text.split()
        columns = len(self.positions)
        inclusive, self._inclusive = self._inclusive, False
        try:
            places = [self._position(index, word) for index, word in enumerate(words[:columns])]
            costs = [int(word) for word in words[columns:]]
        except ValueError:
            self.skipped[BAD_COST] += 1
            return None
        if len(places) < columns or min(costs, default=0) < 0:
            self.skipped[BAD_COST] += 1
            return None
        self._at = places
        # Costs that are left out at the end are 0 (format specification).
        main = costs[self.event or 0] if len(costs) > (self.event or 0) else 0
        if inclusive or not any(costs):
            return None
        if "fn" not in self._now:
            self.skipped[NO_FUNCTION] += 1
            return None
        place = dict(zip(self.positions, places, strict=True))
        return _Cost(
            self._now["fn"],
            self._now.get("ob", UNKNOWN),
            self._now.get("fl", UNKNOWN),
            place.get("line", 0),
            place.get("instr"),
            main,
            tuple(costs),
        )

    def _position(self, index: int, word: str) -> int:
        if word == "*":
            return self._at[index]
        if word[0] in "+-":
            return self._at[index] + int(word, 0)
        return int(word, 0)


def _costs(lines: Iterable[bytes], reader: _Reader) -> Iterator[_Cost]:
    found = 0
    for raw in lines:
        text = raw.decode(errors="replace").strip()
        if not text:
            continue
        cost = reader.feed(text)
        if cost is not None:
            if reader.event is None:
                break
            found += cost.main
            yield cost
    if reader.event is None:
        raise TraceFormatError("this is no callgrind file: no 'events:' line stands before the costs")
    if reader.total is None:
        reader.skipped[NO_TOTALS] += 1
    elif reader.total != found:
        reader.skipped[OTHER_TOTAL] += abs(reader.total - found)


def parse_events(lines: Iterable[bytes]) -> list[Samples]:
    """Return one table for each event the file counts: one row a context, its own cost, and who called it.

    The unit of `Ir` is instructions, that of the others their names. Without `--separate-callers` a context is the
    function alone. Raises TraceFormatError for another format.
    """
    reader = _Reader()
    weights: dict[tuple[str, str], list[int]] = {}
    for cost in _costs(lines, reader):
        summed = weights.setdefault((cost.context, cost.object), [0] * len(reader.events))
        for index, value in enumerate(cost.costs[: len(summed)]):
            summed[index] += value
    tables = [_of_event(weights, index) for index in range(len(reader.events))]
    tables[reader.event or 0].skipped.update(reader.skipped)
    return [rows.table(event=event, unit=_unit(event)) for rows, event in zip(tables, reader.events, strict=True)]


def _of_event(weights: Mapping[tuple[str, str], list[int]], index: int) -> SampleRows:
    rows = SampleRows()
    for (context, object_), summed in weights.items():
        if not summed[index]:
            continue
        leaf, *callers = _functions(context)
        # The format names the object of the leaf alone.
        stack = [rows.intern(Frame(_symbol(name))) for name in reversed(callers)]
        rows.add([*stack, rows.intern(Frame(_symbol(leaf), object_))], summed[index])
    return rows


def _unit(event: str) -> str:
    return "instructions" if event == EVENT else event


def parse_stacks(lines: Iterable[bytes]) -> Samples:
    """Return the table of `Ir`, or of the first event where it was not counted, as `parse_events` reads it."""
    tables = parse_events(lines)
    return next((table for table in tables if table.event == EVENT), tables[0])


def parse_lines(lines: Iterable[bytes]) -> SelfCounts:
    """Return one row for each line of a function, inlined lines under the function they are inlined in.

    `executions` are those of the line's most executed instruction; 0, and counted as skipped, where the file has no
    instruction addresses or counts no instructions. Raises TraceFormatError for another format.
    """
    reader = _Reader()
    total: Counter[tuple[str, str, int]] = Counter()
    executed: dict[tuple[str, str, int], Counter[tuple[str, int]]] = {}
    for cost in _costs(lines, reader):
        if not cost.main:
            continue
        key = (_symbol(_functions(cost.context)[0]), cost.file, cost.line)
        total[key] += cost.main
        if cost.address is not None and reader.events[reader.event or 0] == EVENT:
            # One instruction has a cost line for each context it ran in.
            executed.setdefault(key, Counter())[(cost.object, cost.address)] += cost.main
    event = reader.events[reader.event or 0]
    unaddressed = total.keys() - executed.keys()
    if unaddressed:
        reader.skipped[NO_ADDRESS if event == EVENT else NO_INSTRUCTIONS] += len(unaddressed)
    keys = sorted(total, key=lambda key: (-total[key], key))
    return SelfCounts(
        symbol=tuple(symbol for symbol, _, _ in keys),
        file=tuple(None if file in ("???", UNKNOWN) else file for _, file, _ in keys),
        line=tuple(line or None for _, _, line in keys),
        instructions=tuple(total[key] for key in keys),
        executions=tuple(max(executed[key].values()) if key in executed else 0 for key in keys),
        skipped=dict(sorted(reader.skipped.items())),
        unit=_unit(event),
    )


def _functions(context: str) -> list[str]:
    """Return a context's functions, leaf first, without the numbers of levels of recursion (`fib'2`)."""
    names = [name for name in context.split("'") if name and not _RECURSION.fullmatch(name)]
    return names or [UNKNOWN]


def _symbol(name: str) -> str:
    # Code without a symbol has its address for a name.
    return UNKNOWN if name == "???" or name.startswith("0x") else name
