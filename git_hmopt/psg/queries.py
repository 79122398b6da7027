# SPDX-License-Identifier: Apache-2.0
"""Questions to a graph: who calls this, what stands around it, what does a knob guard, what does a diff touch.

The whole graph stays in its tables; a neighbourhood comes out as a networkx graph.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from git_hmopt.errors import UsageError
from git_hmopt.psg.facts import Kind, Relation
from git_hmopt.store.graph import TEXT, GraphTables

if TYPE_CHECKING:
    import networkx as nx

_MOST_NODES = 2000
_BUILT = ("object", "folder")
# A macro that is defined nowhere is a name that only looked like one.
_NO_GUESS = "(symbols.symbol NOT GLOB 'macro *' OR EXISTS (SELECT 1 FROM definitions d WHERE d.symbol = symbols.id))"
_KNOBS = "SELECT knob FROM knobs UNION SELECT symbol FROM symbols WHERE symbol GLOB 'CONFIG_*'"


def knob_named(name: str) -> str:
    """Return a config knob's whole name, which people write without its beginning."""
    return name if name.startswith("CONFIG_") else f"CONFIG_{name}"


def is_below(path: str, place: str) -> bool:
    """Say whether a path is a file or directory, or lies below it; everything lies below nothing."""
    place = place.rstrip("/")
    return not place or path == place or path.startswith(f"{place}/")


def _file_and_folders(path: str) -> list[str]:
    parts = path.split("/")
    return [path, *("/".join(parts[:cut]) + "/" for cut in range(len(parts) - 1, 0, -1))]


class Direction(StrEnum):
    """Which way edges are followed."""

    OUT = "out"
    IN = "in"
    BOTH = "both"


@dataclass(frozen=True)
class Place:
    """Where a symbol is defined."""

    symbol: str
    kind: Kind
    file: str
    first_line: int
    last_line: int
    type: str
    linkage: str
    is_inline: bool
    attributes: tuple[str, ...]
    approximate: bool
    """Read as text, in a part that this build leaves out."""


@dataclass(frozen=True)
class Link:
    """An edge, with where it was found."""

    source: str
    target: str
    relation: Relation
    detail: str
    file: str
    line: int
    count: int


@dataclass(frozen=True)
class KnobPlace:
    """A block of Kconfig that defines a knob."""

    knob: str
    file: str
    first_line: int
    type: str
    prompt: str
    defaults: tuple[str, ...]
    depends: tuple[str, ...]
    selects: tuple[str, ...]
    implies: tuple[str, ...]


@dataclass(frozen=True)
class Guarded:
    """Something that a knob decides about."""

    knob: str
    symbol: str
    file: str
    first_line: int
    last_line: int
    sense: str
    """`if`, `else` or `asked`, as the directive has it; `object`, `folder`, `depends` or `selects`, as kbuild does."""
    whole: bool
    """Whether all of it is guarded, or a part inside."""
    approximate: bool


class Structure:
    """A graph that can be asked."""

    def __init__(self, tables: GraphTables) -> None:
        self._tables = tables

    # -- names ------------------------------------------------------------------------------------------------------

    def resolve(self, name: str) -> list[str]:
        """Return the symbols somebody may mean: an identity, or a name, those that are defined here first.

        UsageError with the nearest names when there is none.
        """
        # A field may be named without its tag word: file_operations.read_iter.
        for exact in (name, f"struct {name}", f"union {name}"):
            statement = f"SELECT 1 FROM symbols WHERE symbol = ? AND {_NO_GUESS}"
            if next(self._tables.rows(statement, (exact,)), None) is not None:
                return [exact]
        found = [
            symbol
            for (symbol,) in self._tables.rows(
                "SELECT symbols.symbol FROM symbols"
                f" LEFT JOIN definitions ON definitions.symbol = symbols.id WHERE name = ? AND {_NO_GUESS}"
                " GROUP BY symbols.id"
                " ORDER BY min(definitions.kind = 'function') DESC, count(kind) = 0, symbols.symbol",
                (name,),
            )
        ]
        if not found and self._is_knob(knob_named(name)):
            return [knob_named(name)]
        if found:
            return found
        near = self._near(name)
        raise UsageError(
            f"no symbol '{name}' in this graph",
            next_step=f"did you mean {', '.join(repr(one) for one in near)}?" if near else "is it built at all?",
        )

    def resolve_knob(self, name: str) -> str:
        """Return a config knob's whole name; UsageError with the nearest ones when nothing here has it."""
        knob = knob_named(name)
        if self._is_knob(knob):
            return knob
        known = {one for (one,) in self._tables.rows(f"SELECT knob FROM guards UNION {_KNOBS}")}
        near = difflib.get_close_matches(knob, sorted(known), n=3)
        raise UsageError(
            f"no config knob '{knob}' in this tree",
            next_step=f"did you mean {', '.join(repr(one) for one in near)}?" if near else "see its Kconfig files",
        )

    def _is_knob(self, knob: str) -> bool:
        statement = f"SELECT 1 FROM guards WHERE knob = ?1 UNION ALL SELECT 1 FROM ({_KNOBS}) WHERE knob = ?1 LIMIT 1"
        return next(self._tables.rows(statement, (knob,)), None) is not None

    def _near(self, name: str) -> list[str]:
        """Return the defined names that look most like one; those that share its first or its last three letters."""
        short = name.rpartition(":")[2].rpartition(".")[2].rpartition(" ")[2]
        statement = (
            "SELECT DISTINCT name FROM symbols JOIN definitions ON definitions.symbol = symbols.id"
            " WHERE substr(name, 1, 3) = ? OR substr(name, -3) = ?"
        )
        names = [one for (one,) in self._tables.rows(statement, (short[:3], short[-3:]))]
        return difflib.get_close_matches(short, sorted(names), n=3)

    def functions_named(self, name: str) -> list[str]:
        """Return the functions that are defined under a name, sorted; several where files keep them to themselves."""
        statement = (
            "SELECT DISTINCT symbols.symbol FROM symbols JOIN definitions ON definitions.symbol = symbols.id"
            " WHERE name = ? AND kind = 'function' ORDER BY 1"
        )
        return [symbol for (symbol,) in self._tables.rows(statement, (name,))]

    def places(self, symbol: str) -> list[Place]:
        """Return where a symbol is defined; those read as text only where no unit has it in the same file."""
        rows = list(
            self._tables.rows(
                "SELECT kind, files.path, first_line, last_line, type, linkage, is_inline, attributes, unit"
                " FROM definitions JOIN shown pages ON pages.id = page JOIN files ON files.id = pages.file"
                " WHERE symbol = (SELECT id FROM symbols WHERE symbol = ?) ORDER BY unit = 0, files.path, first_line",
                (symbol,),
            )
        )
        found: dict[str, Place] = {}
        for kind, file, first, last, type_, linkage, is_inline, attributes, unit in rows:
            approximate = unit == TEXT and kind == Kind.FUNCTION
            words = tuple(one for one in attributes.strip("[]").replace('"', "").split(", ") if one)
            place = Place(symbol, Kind(kind), file, first, last, type_, linkage, bool(is_inline), words, approximate)
            if not approximate or file not in found:
                found.setdefault(file if kind == Kind.FUNCTION else f"{file}:{first}", place)
        return list(found.values())

    # -- edges ------------------------------------------------------------------------------------------------------

    def links(
        self, symbol: str, direction: Direction = Direction.BOTH, relations: Iterable[Relation] | None = None
    ) -> list[Link]:
        """Return a symbol's edges; a macro that is defined nowhere is a name that only looked like one."""
        wanted = sorted(relations) if relations is not None else []
        among = f" AND relation IN ({', '.join('?' * len(wanted))})" if relations is not None else ""
        sides = {Direction.OUT: ["source"], Direction.IN: ["target"], Direction.BOTH: ["source", "target"]}[direction]
        found: dict[tuple[str, ...], Link] = {}
        for side in sides:
            statement = (
                "SELECT s.symbol, t.symbol, relation, detail, files.path, line, count FROM edges"
                " JOIN symbols s ON s.id = source JOIN symbols t ON t.id = target"
                " JOIN shown pages ON pages.id = page JOIN files ON files.id = pages.file"
                f" WHERE {side} = (SELECT id FROM symbols WHERE symbol = ?){among}"
                " AND (detail != 'macro' OR EXISTS (SELECT 1 FROM definitions WHERE definitions.symbol = target))"
                " ORDER BY relation, files.path, line"
            )
            for source, target, relation, detail, file, line, count in self._tables.rows(statement, (symbol, *wanted)):
                link = Link(source, target, Relation(relation), detail, file, line, count)
                found.setdefault((source, target, relation, detail, file), link)
        return list(found.values())

    def callers(self, symbol: str) -> list[str]:
        """Return the functions that call a function by its name, sorted."""
        return self._ends(symbol, Direction.IN, (Relation.CALL_STATIC,))

    def callees(self, symbol: str) -> list[str]:
        """Return the functions that a function calls by their names, sorted."""
        return self._ends(symbol, Direction.OUT, (Relation.CALL_STATIC,))

    def implementers(self, field: str) -> list[str]:
        """Return the functions that stand in a table's field, sorted."""
        links = self.links(field, Direction.IN, (Relation.INHERITANCE,))
        return sorted({link.source for link in links if link.detail == "implements"})

    def fields(self, record: str) -> list[str]:
        """Return a record's fields, sorted."""
        return self._ends(record, Direction.OUT, (Relation.HASMEMBER,))

    def callers_through(self, function: str) -> dict[str, list[str]]:
        """Return who calls through a table's field that a function stands in, by field."""
        fields = [one.target for one in self.links(function, Direction.OUT, (Relation.INHERITANCE,))
                  if one.detail == "implements"]  # fmt: skip
        calling = {field: self._ends(field, Direction.IN, (Relation.CALL_INDIRECT,)) for field in fields}
        return {field: found for field, found in calling.items() if found}

    def candidates(self, function: str) -> dict[str, list[str]]:
        """Return whom a function's indirect calls may reach, by the field they go through."""
        fields = self._ends(function, Direction.OUT, (Relation.CALL_INDIRECT,))
        return {field: found for field in fields if (found := self.implementers(field))}

    def _ends(self, symbol: str, direction: Direction, relations: Sequence[Relation]) -> list[str]:
        links = self.links(symbol, direction, relations)
        return sorted({link.target if direction is Direction.OUT else link.source for link in links})

    def neighbourhood(
        self, symbols: Sequence[str], depth: int, *, direction: Direction = Direction.BOTH,
        relations: Iterable[Relation] | None = None, through_tables: bool = False, most: int = _MOST_NODES,
    ) -> nx.MultiDiGraph:  # fmt: skip
        """Return what stands within `depth` edges of the symbols; the graph's `left_out` counts what `most` cut off.

        With `through_tables` calls are followed through the fields of tables: from a field to the functions that stand
        in it, or from a function to the fields it stands in, as the direction has it.
        """
        # Whoever asks a graph anything comes by here, and networkx takes an eighth of a command's start.
        import networkx as nx

        graph = nx.MultiDiGraph(left_out=0)
        wanted = list(relations) if relations is not None else None
        edge, known = list(dict.fromkeys(symbols)), set(symbols)
        for symbol in edge:
            graph.add_node(symbol, **self._node(symbol), depth=0)
        for away in range(1, depth + 1):
            following: list[str] = []
            for symbol in edge:
                for link in self._followed(symbol, direction, wanted, through_tables=through_tables):
                    for end in (link.source, link.target):
                        if end not in known:
                            if len(known) >= most:
                                graph.graph["left_out"] += 1
                                break
                            known.add(end)
                            graph.add_node(end, **self._node(end), depth=away)
                            following.append(end)
                    else:
                        key = f"{link.relation}/{link.detail}/{link.file}"
                        graph.add_edge(
                            link.source, link.target, key=key, relation=link.relation.value, detail=link.detail,
                            file=link.file, line=link.line, count=link.count,
                        )  # fmt: skip
            edge = following
        return graph

    def _followed(
        self, symbol: str, direction: Direction, relations: Sequence[Relation] | None, *, through_tables: bool
    ) -> list[Link]:
        found = self.links(symbol, direction, relations)
        if through_tables and direction is not Direction.BOTH:
            # A function points to the field it stands in, and a call goes the other way.
            back = Direction.IN if direction is Direction.OUT else Direction.OUT
            links = self.links(symbol, back, (Relation.INHERITANCE,))
            found += [link for link in links if link.detail == "implements"]
        return found

    def _node(self, symbol: str) -> dict[str, str | int]:
        places = self.places(symbol)
        if not places:
            return {"kind": "", "file": "", "line": 0}
        first = places[0]
        return {"kind": first.kind.value, "file": first.file, "line": first.first_line}

    # -- knobs ------------------------------------------------------------------------------------------------------

    def guarded(self, knob: str, *, below: str = "") -> list[Guarded]:
        """Return what a knob decides about: objects, functions, types, parts of them; `below` restricts the files.

        Where guarded lines define nothing they are told as lines of their file.
        """
        name = knob_named(knob)
        statement = (
            "SELECT symbols.symbol, files.path, d.first_line, d.last_line, d.kind, g.first_line, g.last_line, sense,"
            " dp.unit FROM guards g JOIN shown gp ON gp.id = g.page JOIN files ON files.id = gp.file"
            " LEFT JOIN shown dp ON dp.file = gp.file AND EXISTS (SELECT 1 FROM definitions x WHERE x.page = dp.id"
            " AND x.first_line <= g.last_line AND x.last_line >= g.first_line)"
            " LEFT JOIN definitions d ON d.page = dp.id AND d.first_line <= g.last_line AND d.last_line >= g.first_line"
            " LEFT JOIN symbols ON symbols.id = d.symbol"
            " WHERE knob = ? AND (d.kind IS NULL OR d.kind != 'field')"
            " ORDER BY dp.unit = 0, files.path, d.first_line"
        )
        found: dict[tuple[str, str, str, bool], Guarded] = {}
        for symbol, file, first, last, kind, begins, ends, sense, unit in self._tables.rows(statement, (name,)):
            if not is_below(file, below):
                continue
            if symbol is None:
                symbol, first, last = f"file {file}", begins, ends
            whole = begins <= first and last <= ends
            one = Guarded(name, symbol, file, first, last, sense, whole, unit == TEXT and kind == Kind.FUNCTION)
            found.setdefault((file, symbol, sense, whole) if kind else (file, f"{first}", sense, whole), one)
        links = self.links(name, Direction.OUT, (Relation.CONFIG_GUARD,))
        objects = [
            Guarded(name, link.target, named, 0, 0, link.detail, True, False)
            for link in links
            if is_below(named := link.target.removeprefix("file ") if link.detail in _BUILT else link.file, below)
        ]
        return objects + sorted(found.values(), key=lambda one: (one.file, one.first_line, one.symbol, one.sense))

    def knobs(self, knob: str) -> list[KnobPlace]:
        """Return the blocks of Kconfig that define a knob, in the order of their files."""
        name = knob_named(knob)
        statement = (
            "SELECT files.path, k.first_line, type, prompt, defaults, depends, selects, implies FROM knobs k"
            " JOIN pages ON pages.id = page JOIN files ON files.id = pages.file WHERE knob = ? ORDER BY 1, 2"
        )
        return [
            KnobPlace(name, file, line, type_, prompt, *(tuple(json.loads(one)) for one in lists))
            for file, line, type_, prompt, *lists in self._tables.rows(statement, (name,))
        ]

    def subsystem(self, file: str) -> str:
        """Return the subsystem that MAINTAINERS gives a file; empty where it gives none."""
        row = next(self._tables.rows("SELECT subsystem FROM files WHERE path = ?", (file,)), None)
        return (row[0] or "") if row else ""

    def knobs_of_file(self, file: str) -> list[Guarded]:
        """Return the knobs that decide whether a file is built, and its folder entered."""
        return [
            Guarded(link.source, f"file {file}", built, 0, 0, link.detail, True, False)
            for built in _file_and_folders(file)
            for link in self.links(f"file {built}", Direction.IN, (Relation.CONFIG_GUARD,))
        ]

    def knob_values(self) -> dict[str, str]:
        """Return the config values of the build as its autoconf.h has them; none where it has no such file."""
        values: dict[str, str] = json.loads(self._tables.get("knobs") or "{}")
        return values

    def knobs_of(self, symbol: str) -> list[Guarded]:
        """Return the knobs that decide about a symbol."""
        found: dict[tuple[str, str, bool], Guarded] = {}
        for place in self.places(symbol):
            statement = (
                "SELECT knob, first_line, last_line, sense FROM guards JOIN shown pages ON pages.id = page"
                " WHERE file = (SELECT id FROM files WHERE path = ?) AND first_line <= ? AND last_line >= ?"
            )
            rows = self._tables.rows(statement, (place.file, place.last_line, place.first_line))
            for knob, begins, ends, sense in rows:
                whole = begins <= place.first_line and place.last_line <= ends
                one = Guarded(knob, symbol, place.file, begins, ends, sense, whole, place.approximate)
                found.setdefault((knob, sense, whole), one)
            for one in self.knobs_of_file(place.file):
                found.setdefault((one.knob, one.file, True), replace(one, symbol=symbol))
        return list(found.values())

    # -- diffs ------------------------------------------------------------------------------------------------------

    def functions_at(self, file: str, lines: Iterable[tuple[int, int]]) -> list[Place]:
        """Return the functions of a file that overlap one of the line ranges, both ends inclusive."""
        ranges = list(lines)
        statement = (
            "SELECT DISTINCT symbols.symbol FROM definitions JOIN shown pages ON pages.id = page"
            " JOIN symbols ON symbols.id = definitions.symbol"
            " WHERE file = (SELECT id FROM files WHERE path = ?) AND kind = 'function'"
        )
        found = []
        for (symbol,) in self._tables.rows(statement, (file,)):
            for place in self.places(symbol):
                if place.file == file and any(a <= place.last_line and b >= place.first_line for a, b in ranges):
                    found.append(place)
        return sorted(found, key=lambda place: place.first_line)

    def reached_by(self, symbol: str, depth: int, most: int = 50) -> tuple[tuple[str, int], ...]:
        """Return the functions that reach a symbol within `depth` calls: (function, calls away), nearest first.

        A function is reached by its callers, by who calls through a table's field that it stands in, and by who takes
        its address; a record by the functions that use it, a field of it, or a record that begins with it; anything
        else by the functions that use it.
        """
        known, edge = {symbol: 0}, [symbol]
        for away in range(1, depth + 1):
            following = []
            for caller in (caller for one in edge for caller in self._reaching(one)):
                if caller not in known and len(known) <= most:
                    known[caller] = away
                    following.append(caller)
            edge = following
        del known[symbol]
        return tuple(sorted(known.items(), key=lambda pair: (pair[1], pair[0])))

    def _reaching(self, symbol: str) -> list[str]:
        used = (Relation.CALL_STATIC, Relation.CALL_INDIRECT, Relation.REF)
        links = [link for part in self._parts(symbol) for link in self.links(part, Direction.IN, used)]
        fields = self._ends(symbol, Direction.OUT, (Relation.INHERITANCE,))
        through = [link for field in fields for link in self.links(field, Direction.IN, (Relation.CALL_INDIRECT,))]
        sources = dict.fromkeys(link.source for link in (*links, *through))
        return [source for source in sources if self._is_function(source)]

    def _parts(self, symbol: str) -> list[str]:
        """Return a record with those that begin with it, and the fields of them all; anything else alone."""
        tail = symbol.rpartition(":")[2]
        if not tail.startswith(("struct ", "union ")) or "." in tail:
            return [symbol]
        records = [symbol]
        for one in records:
            links = self.links(one, Direction.IN, (Relation.INHERITANCE,))
            around = (link.source for link in links if link.detail == "embeds")
            records += [record for record in dict.fromkeys(around) if record not in records]
        return [*records, *(field for record in records for field in self.fields(record))]

    def _is_function(self, symbol: str) -> bool:
        statement = (
            "SELECT 1 FROM definitions WHERE kind = 'function'"
            " AND symbol = (SELECT id FROM symbols WHERE symbol = ?) LIMIT 1"
        )
        return next(self._tables.rows(statement, (symbol,)), None) is not None

    def code_of(self, file: str) -> list[str]:
        """Return the functions and variables that a file defines, sorted: what in it can call, or name a function."""
        statement = (
            "SELECT DISTINCT symbols.symbol FROM definitions JOIN shown pages ON pages.id = page"
            " JOIN symbols ON symbols.id = definitions.symbol"
            " WHERE file = (SELECT id FROM files WHERE path = ?) AND kind IN ('function', 'variable') ORDER BY 1"
        )
        return [symbol for (symbol,) in self._tables.rows(statement, (file,))]

    def opened_files(self) -> dict[str, str]:
        """Return the files that units opened, outside of the tree as well, with the digest of what each had in it."""
        statement = "SELECT path, digest FROM files WHERE id IN (SELECT file FROM unit_files) AND digest != ''"
        return dict(self._tables.rows(statement))

    def units_by_state(self) -> dict[str, int]:
        """Return how many units there are by their state: ok, errors, failed or stale; none that was never parsed."""
        # The name of a precompiled header's unit begins so.
        statement = (
            "SELECT state, count(*) FROM units WHERE substr(path, 1, 1) != '<' AND (key != '' OR state = 'failed')"
            " GROUP BY state"
        )
        return dict(self._tables.rows(statement))

    # -- numbers ----------------------------------------------------------------------------------------------------

    def statistics(self) -> dict[str, int]:
        """Return how much there is of everything."""
        # The name of a precompiled header's unit begins so.
        units = "SELECT count(*) FROM units WHERE substr(path, 1, 1) != '<'"
        counts = {
            "units": units,
            "units with errors": f"{units} AND state = 'errors'",
            "units that failed": f"{units} AND state = 'failed'",
            "units not parsed again yet": f"{units} AND state = 'stale'",
            "files": "SELECT count(DISTINCT file) FROM pages",
        }
        told = {what: int(next(self._tables.rows(statement))[0]) for what, statement in counts.items()}
        kinds = (
            "SELECT kind, count(DISTINCT symbol) FROM definitions JOIN shown pages ON pages.id = page"
            " WHERE unit != 0 OR kind != 'function' GROUP BY kind ORDER BY kind"
        )
        told |= {f"{kind}": count for kind, count in self._tables.rows(kinds)}
        relations = "SELECT relation, count(*) FROM edges WHERE detail != 'macro' GROUP BY relation ORDER BY relation"
        told |= {f"edges {relation}": count for relation, count in self._tables.rows(relations)}
        told["guards"] = int(next(self._tables.rows("SELECT count(*) FROM guards"))[0])
        return told
