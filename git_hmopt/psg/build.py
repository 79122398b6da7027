# SPDX-License-Identifier: Apache-2.0
"""Bring the structure graph of a build up to date: only what changed is parsed, and parsed facts are found again.

The steps of an update, each of which leaves the tables whole:

1. The compile database gives the units; those that share their arguments get a precompiled header, which counts as a
   unit of its own that speaks for the headers in it.
2. Which units are dirty: their command, a file they opened, a knob that one of those names, or a file that a name they
   included could mean now, is another than before. Until they are parsed, changed files are shown as their text reads:
   that is the provisional answer.
3. A dirty unit's facts come from the shards when its inputs were seen before, here or in another clone; else a worker
   parses it. A worker that crashes or hangs takes its unit with it and nothing else: the unit is named as failed.
4. A header's facts are those of the least unit (by name) that opened it, so that they do not depend on the order of
   the work; where that unit was parsed without speaking for the header, it is parsed once more.
5. Files are read as text, for their guards and macros.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from git_hmopt.errors import HmoptError
from git_hmopt.psg.arguments import parser_arguments
from git_hmopt.psg.compile_database import CompileCommand, CompileDatabase
from git_hmopt.psg.facts import FileFacts, packed, page_of
from git_hmopt.psg.inputs import (
    AUTOCONF,
    Inputs,
    Sources,
    Stamp,
    command_key,
    inputs_of,
    knob_values,
    searched_folders,
    still,
    unit_key,
)
from git_hmopt.psg.precompiled import Arguments, commonest, shared_by_many, told_apart
from git_hmopt.psg.surroundings import Skipped, Surroundings
from git_hmopt.psg.tasks import Parsed, Task
from git_hmopt.psg.text import approximate_page
from git_hmopt.psg.workers import worked
from git_hmopt.store.graph import PROVISIONAL, FileRow, GraphFile, GraphTables, UnitRow
from git_hmopt.store.shards import Shards

PRECOMPILED = "<precompiled "
"""What the name of a precompiled header's unit begins with; less than any path, so that it speaks for its headers."""
UNIT_SECONDS = 120.0
"""What a unit may take; libclang needs half a second for the largest of Linux."""
WAITING = "another process brings this graph up to date: waiting for it"
_MISSING = re.compile(r"'([^']+)' file not found")
_MOST_PROVISIONAL = 200

First = Callable[[GraphTables, int], bool]
"""Told, before anything is parsed, the tables with the provisional answer and how many units are to be parsed. Returns
whether to go on."""
Say = Callable[[str, int, int], None]
"""Told (what is being done, how many of them are done, how many there are; 0 where that is not known)."""


@dataclass(frozen=True)
class Planned:
    """A unit as it is to be parsed."""

    path: str
    command: CompileCommand
    arguments: Arguments
    key: str
    """The key of its command."""
    folders: tuple[str, ...]
    precompiled: str = ""
    """The unit of its precompiled header."""
    headers: tuple[str, ...] = ()
    """What a precompiled header is made of."""


@dataclass
class Update:
    """What an update did, to be told."""

    units: int = 0
    dirty: int = 0
    """Units that had to be brought up to date."""
    complete: bool = True
    """Whether they were; otherwise the tables hold the provisional answer."""
    parsed: list[str] = field(default_factory=list)
    reused: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    with_errors: dict[str, int] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    """What the build compiled once and is not there any more."""
    without_precompiled: int = 0
    parse_cpu_s: float = 0.0
    text_cpu_s: float = 0.0
    """This process's, for what is read as text."""
    skipped: list[Skipped] = field(default_factory=list)
    """What stands in Kconfig that was not understood."""


def update_graph(
    database: CompileDatabase,
    *,
    root: Path,
    graph: GraphFile,
    shards: Shards,
    workers: int,
    say: Say | None = None,
    first: First | None = None,
    again: bool = False,
    unit_seconds: float = UNIT_SECONDS,
) -> Update:
    """Bring the graph of a build up to date and return what that took.

    `first` hears of the provisional answer. `again` parses units once more that failed before: a unit that crashed the
    parser or took longer than `unit_seconds` is otherwise left alone until its own file changes.
    """
    say = say or (lambda *_: None)
    with graph.writing(lambda: say(WAITING, 0, 0)) as tables:
        run = _Updating(database, root, graph, tables, shards, workers, say, unit_seconds)
        return run.run(first or (lambda *_: True), again=again)


class _Updating:
    def __init__(
        self, database: CompileDatabase, root: Path, graph: GraphFile, tables: GraphTables, shards: Shards,
        workers: int, say: Say, unit_seconds: float,
    ) -> None:  # fmt: skip
        self._database, self._root, self._graph, self._tables = database, root, graph, tables
        self._shards, self._workers, self._say, self._unit_seconds = shards, workers, say, unit_seconds
        known = {path: Stamp(row.size, row.mtime_ns, row.digest, row.knobs) for path, row in tables.files().items()}
        self._before = known
        self._sources = Sources(root, known)
        self._old = tables.units()
        self._knobs: dict[str, str] = {}
        self._made: dict[str, Path] = {}
        self._stamped: set[str] = set()
        self._done = Update()

    def run(self, first: First, *, again: bool) -> Update:
        """Do the steps."""
        planned = self._plan()
        self._done.units = sum(not one.headers for one in planned.values())
        self._knobs = self._read_knobs()
        dirty = self._dirty(planned)
        if again:
            dirty |= {path for path, row in self._old.items() if row.state == "failed" and path in planned}
        self._done.dirty = sum(not planned[path].headers for path in dirty)
        with self._tables.transaction():
            for path in self._old.keys() - planned.keys():
                self._tables.drop_unit(path)
            # Before any file's stamp is written: an update that is killed leaves them dirty.
            self._tables.mark(dirty & self._old.keys(), "stale")
            self._read_provisionally()
        if self._done.dirty and not first(self._tables, self._done.dirty):
            self._done.complete = False
            return self._done
        with self._tables.first_rows() if not self._old else contextlib.nullcontext():
            self._bring(planned, dirty)
        self._speak(planned)
        self._read_surroundings(planned)
        with self._tables.transaction():
            self._stamp(self._sources.stamps)
            # Those that are not there as well: a header that comes into one may take another's place.
            listed, known = self._sources.listings, self._tables.folders()
            self._tables.put_folders({folder: names for folder, names in listed.items() if known.get(folder) != names})
            self._tables.remember("knobs", json.dumps(self._knobs))
        self._drop_old_headers(planned)
        self._shards.trim()
        return self._done

    # -- 1: the units -----------------------------------------------------------------------------------------------

    def _plan(self) -> dict[str, Planned]:
        planned: dict[str, Planned] = {}
        apart: dict[str, Arguments] = {}
        for path in self._database.files:
            command = self._database.command(path)
            if not command.path.is_file():
                # kbuild keeps the records of an object whose source is gone.
                self._done.gone.append(path)
                continue
            if not path.isprintable():
                self._done.failed[path] = "its name is no UTF-8, or has control characters"
                continue
            try:
                apart[path] = told_apart(parser_arguments(command).accepted, command)
            except HmoptError as error:
                self._done.failed[path] = str(error)
        for path, arguments in apart.items():
            planned[path] = self._planned(path, self._database.command(path), arguments)
        for arguments, files in shared_by_many(apart).items():
            planned |= self._precompiled(arguments, files, planned)
        return dict(sorted(planned.items()))

    def _planned(self, path: str, command: CompileCommand, arguments: Arguments) -> Planned:
        folders = searched_folders((*arguments.shared, *arguments.own), root=self._root, directory=command.directory)
        return Planned(path, command, arguments, command_key(path, arguments.whole, root=self._root), folders)

    def _precompiled(
        self, arguments: Arguments, files: Sequence[str], planned: Mapping[str, Planned]
    ) -> dict[str, Planned]:
        """Return the unit of a group's precompiled header, and the group's units that are parsed with it."""
        group = command_key("", arguments.whole, root=self._root)[:12]
        name = f"{PRECOMPILED}{group}>"
        headers = self._headers(name, files)
        if not headers:
            return {}
        one = planned[files[0]]
        command = replace(one.command, file=name)
        key = command_key(name, (*arguments.whole, *headers), root=self._root)
        unit = Planned(name, command, arguments, key, one.folders, "", headers)
        return {name: unit, **{path: replace(planned[path], precompiled=name) for path in files}}

    def _headers(self, name: str, files: Sequence[str]) -> tuple[str, ...]:
        """Return the headers of a group: those of before, as long as the group is about as large.

        Another choice would give the same facts and make every unit of the group dirty.
        """
        kept = json.loads(self._tables.get(name) or "null")
        if kept and abs(kept["units"] - len(files)) <= kept["units"] / 4:
            return tuple(kept["headers"])
        headers = commonest(self._sources.read(path) for path in files)
        self._tables.remember(name, json.dumps({"units": len(files), "headers": headers}))
        return headers

    def _read_knobs(self) -> dict[str, str]:
        """Return the config values of the build, where it has any."""
        found: dict[str, str] = {}
        for directory in sorted({self._database.command(path).directory for path in self._database.files}):
            found |= knob_values(self._sources.read(str(directory / AUTOCONF)))
        return found

    # -- 2: what is dirty -------------------------------------------------------------------------------------------

    def _dirty(self, planned: Mapping[str, Planned]) -> set[str]:
        old = self._old
        dirty = {
            path for path, one in planned.items()
            if path not in old or old[path].command != one.key or old[path].state == "stale"
            or old[path].precompiled != one.precompiled or self._found_now(one, old[path])
            or (one.headers and old[path].problems and not self._still(one, old[path].inputs))
        }  # fmt: skip
        if len(dirty) == len(planned):
            return dirty
        changed = {path for path, stamp in self._before.items() if not _same(stamp, self._sources.stamp(path))}
        before = json.loads(self._tables.get("knobs") or "{}")
        turned = {knob for knob in before.keys() | self._knobs.keys() if before.get(knob) != self._knobs.get(knob)}
        if turned:
            bare = turned | {knob.removesuffix("_MODULE") for knob in turned}
            changed |= {path for path, stamp in self._before.items() if not bare.isdisjoint(stamp.knobs)}
        dirty |= self._tables.units_with(changed)
        dirty |= self._shadowed(planned)
        dirty |= {path for path, one in planned.items() if one.precompiled in dirty}
        return dirty & planned.keys()

    def _found_now(self, one: Planned, row: UnitRow) -> bool:
        """Say whether a header is there now that a unit could not find: it is not among the files it opened."""
        missing = [found[1] for *_, text in row.problems if (found := _MISSING.match(text))]
        places = (*one.folders, one.path.rpartition("/")[0])
        return any((self._root / place / name).is_file() for name in missing for place in places)

    def _read_provisionally(self) -> None:
        """Show what changed files say as text, until their units are parsed."""
        changed = sorted(
            path for path, before in self._before.items()
            if not _same(before, self._sources.stamp(path)) and path.endswith((".c", ".h")) and not path.startswith("/")
        )  # fmt: skip
        opened = {path for (path,) in self._tables.rows("SELECT path FROM files JOIN unit_files ON file = id")}
        for path in [path for path in changed if path in opened][:_MOST_PROVISIONAL]:
            page = approximate_page(path, self._sources.read(path))
            self._tables.put_page(path, "", replace(page, digest=PROVISIONAL))

    def _shadowed(self, planned: Mapping[str, Planned]) -> set[str]:
        """Return the units for which a name they included may mean another file than before."""
        names: set[str] = set()
        for folder, before in self._tables.folders().items():
            names |= before ^ self._sources.listing(folder)
        if not names:
            return set()
        touched = self._tables.units_with(path for path in self._before if not names.isdisjoint(path.split("/")))
        return {path for path in touched & planned.keys() if not self._still(planned[path], self._old[path].inputs)}

    def _still(self, one: Planned, inputs: str | bytes) -> bool:
        """Say whether a unit's inputs are what they were; what cannot be read is not."""
        try:
            return still(Inputs.from_json(json.loads(inputs)), one.folders, self._sources, self._knobs)
        except (ValueError, KeyError, TypeError):
            return False

    # -- 3: their facts ---------------------------------------------------------------------------------------------

    def _bring(self, planned: Mapping[str, Planned], dirty: set[str]) -> None:
        """Give every dirty unit the facts of now: the precompiled headers first, whose keys are part of the others'."""
        self._keys = {path: row.key for path, row in self._old.items() if path in planned and path not in dirty}
        first = [path for path in planned if path in dirty and planned[path].headers]
        rest = [path for path in planned if path in dirty and not planned[path].headers]
        for wave in (first, rest):
            missing = [path for path in wave if not self._reuse(planned[path])]
            self._parse([self._task(planned, path) for path in missing], planned)

    def _reuse(self, one: Planned) -> bool:
        """Take a unit's facts from the shards; say whether they were there."""
        for key, data in self._shards.inputs([one.key])[one.key]:
            if not self._still(one, data):
                continue
            inputs = Inputs.from_json(json.loads(data))
            if inputs.precompiled != self._keys.get(one.precompiled, ""):
                continue
            facts = {path: self._shards.shard(key, path) for path in self._shards.paths(key)}
            if any(data is None for data in facts.values()):
                continue
            own = {
                path: data for path, data in facts.items()
                if data is not None and (one.headers or _is_own(one, path))
            }  # fmt: skip
            self._shards.used([(one.key, key)])
            self._keys[one.path] = key
            with self._tables.transaction():
                self._record(one, key, inputs, own, [path for path, _ in inputs.files], (), has_errors=False)
            self._done.reused += not one.headers
            return True
        return False

    def _task(self, planned: Mapping[str, Planned], path: str, wanted: frozenset[str] | None = None) -> Task:
        one = planned[path]
        if one.headers:
            return Task(one.command, one.arguments, self._new_header_path(), one.headers)
        made = self._header(planned, one.precompiled) if one.precompiled else None
        return Task(one.command, one.arguments, made, wanted=wanted)

    def _new_header_path(self) -> Path:
        """Return where a precompiled header is to be made: it and its source keep this name, which is inside it."""
        folder = self._graph.path.with_suffix(".pch")
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{uuid.uuid4().hex}.pch"

    def _made_of(self, one: Planned) -> str:
        """Return the digest of all that a precompiled header is made of, autoconf.h as a whole included."""
        whole = json.dumps([one.key, self._keys.get(one.path, ""), sorted(self._knobs.items()), str(self._root)])
        return hashlib.sha256(whole.encode()).hexdigest()

    def _kept_header(self, one: Planned) -> Path | None:
        """Return the precompiled header that was made of what it would be made of now; None when there is none."""
        told = json.loads(self._tables.get(f"made {one.path}") or "{}")
        path = self._graph.path.with_suffix(".pch") / told.get("file", "none")
        return path if told.get("of") == self._made_of(one) and path.is_file() else None

    def _keep_header(self, one: Planned, path: Path) -> None:
        self._tables.remember(f"made {one.path}", json.dumps({"of": self._made_of(one), "file": path.name}))
        self._made[one.path] = path

    def _header(self, planned: Mapping[str, Planned], name: str) -> Path | None:
        """Return a precompiled header that fits, made again when only its facts were there; None when it failed."""
        if name in self._done.failed:
            return None
        if name not in self._made:
            one = planned[name]
            kept = self._kept_header(one)
            if kept is not None:
                self._made[name] = kept
                return kept
            task = Task(one.command, one.arguments, self._new_header_path(), one.headers)
            for _, outcome in self._worked([task]):
                if isinstance(outcome, str) or task.precompiled is None:
                    self._done.failed[name] = str(outcome)
                    return None
                self._keep_header(one, task.precompiled)
        return self._made[name]

    def _drop_old_headers(self, planned: Mapping[str, Planned]) -> None:
        """Remove precompiled headers of configurations that are no more; each is ten megabytes."""
        kept = (self._kept_header(one) for one in planned.values() if one.headers)
        wanted = {path.stem for path in kept if path is not None}
        folder = self._graph.path.with_suffix(".pch")
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.stem not in wanted:
                path.unlink()

    def _parse(self, todo: Sequence[Task], planned: Mapping[str, Planned]) -> None:
        count = 0
        for task, outcome in self._worked(todo):
            path = task.command.file
            one = planned[path]
            count += 1
            self._say("precompiled header" if one.headers else path, count, len(todo))
            if isinstance(outcome, str):
                self._fail(one, outcome)
                continue
            self._take(one, outcome)
            if one.headers and task.precompiled is not None:
                self._keep_header(one, task.precompiled)

    def _take(self, one: Planned, parsed: Parsed) -> None:
        decisive = (*parsed.included, *parsed.tried)
        inputs = inputs_of(decisive, one.folders, self._sources, self._knobs, self._keys.get(one.precompiled, ""))
        key = unit_key(one.key, inputs)
        self._keys[one.path] = key
        self._done.parse_cpu_s += parsed.cpu_s
        if not one.headers:
            self._done.parsed.append(one.path)
            self._done.without_precompiled += bool(one.precompiled) and not parsed.with_precompiled
        if parsed.problems:
            self._done.with_errors[one.path] = len(parsed.problems)
        elif not parsed.left_out:
            # What does not compile today may do so tomorrow with a file that nobody looked for.
            self._shards.put(one.key, key, json.dumps(inputs.to_json()).encode(), {**parsed.own, **parsed.headers})
        with self._tables.transaction():
            facts = {**parsed.own, **parsed.headers}
            problems = parsed.problems or parsed.left_out
            opened = [path for path, _ in inputs.files if path not in parsed.tried]
            self._record(one, key, inputs, facts, opened, problems, has_errors=bool(parsed.problems))

    def _record(
        self, one: Planned, key: str, inputs: Inputs, facts: Mapping[str, bytes], included: Sequence[str],
        problems: tuple[tuple[str, int, str], ...], *, has_errors: bool,
    ) -> None:  # fmt: skip
        """Write a unit and its pages; pages of before that it no longer has go."""
        row = UnitRow(
            one.key, key, "errors" if has_errors else "ok", problems, json.dumps(inputs.to_json()), one.precompiled
        )
        if one.path in self._old:
            for (file,) in list(
                self._tables.rows(
                    "SELECT files.path FROM pages JOIN files ON files.id = file"
                    " WHERE unit = (SELECT id FROM units WHERE path = ?)",
                    (one.path,),
                )
            ):
                if file not in facts or _is_own(one, file):
                    self._tables.drop_page(file, one.path)
        self._tables.put_unit(one.path, row, included)
        self._stamp(included)
        for path, data in facts.items():
            self._tables.put_page(path, one.path, page_of(data, key))

    def _stamp(self, paths: Iterable[str]) -> None:
        """Write what files are, once."""
        new = {path: stamp for path in paths if path not in self._stamped and (stamp := self._sources.stamp(path))}
        self._stamped.update(new)
        fresh = {path: FileRow(*_row(stamp)) for path, stamp in new.items() if stamp != self._before.get(path)}
        self._tables.put_files(fresh)

    def _fail(self, one: Planned, why: str) -> None:
        self._done.failed[one.path] = why
        with self._tables.transaction():
            if one.path in self._old:
                self._tables.drop_unit(one.path)
            row = UnitRow(one.key, "", "failed", ((one.path, 0, why),), "{}", one.precompiled)
            self._tables.put_unit(one.path, row, [one.path])

    def _worked(self, todo: Sequence[Task]) -> Iterator[tuple[Task, Parsed | str]]:
        known = {file: unit for file, unit in self._tables.speakers().items() if unit in self._keys}
        return worked(todo, known, workers=self._workers, seconds=self._unit_seconds)

    # -- 4: headers -------------------------------------------------------------------------------------------------

    def _speak(self, planned: Mapping[str, Planned]) -> None:
        """Have each header's facts from the least unit that opened it, and from no other."""
        speakers = {
            file: unit for file, unit in self._tables.speakers().items() if not file.endswith(".c") and file[0] != "/"
        }
        pages = self._tables.pages()
        lacking: dict[str, list[str]] = {}
        with self._tables.transaction():
            for file, unit in pages:
                header = unit in planned and not file.endswith(".c") and not _is_own(planned[unit], file)
                if header and speakers.get(file) != unit:
                    self._tables.drop_page(file, unit)
            for file, unit in speakers.items():
                if (file, unit) in pages or file == unit:
                    continue
                data = self._shards.shard(self._keys[unit], file) if unit in self._keys else None
                if data is not None:
                    self._tables.put_page(file, unit, page_of(data, self._keys[unit]))
                else:
                    lacking.setdefault(unit, []).append(file)
        again = [
            self._task(planned, unit, wanted=frozenset(files)) for unit, files in sorted(lacking.items())
            if not planned[unit].headers
        ]  # fmt: skip
        for task, outcome in self._worked(again):
            if isinstance(outcome, str):
                self._fail(planned[task.command.file], outcome)
            else:
                self._add_headers(planned[task.command.file], outcome, task.wanted or frozenset())

    def _add_headers(self, one: Planned, parsed: Parsed, wanted: frozenset[str]) -> None:
        # A header that declares nothing has an empty page, or it would be asked for again and again.
        empty = packed(FileFacts())
        headers = {path: parsed.headers.get(path, empty) for path in wanted}
        key = self._keys[one.path]
        row = self._tables.units()[one.path]
        self._shards.put(one.key, key, row.inputs.encode(), headers)
        with self._tables.transaction():
            for path, data in headers.items():
                self._tables.put_page(path, one.path, page_of(data, key))

    # -- 5: what is read as text --------------------------------------------------------------------------------------

    def _read_surroundings(self, planned: Mapping[str, Planned]) -> None:
        began = time.process_time()
        opened = {file for (file,) in self._tables.rows("SELECT path FROM files JOIN unit_files ON file = id")}
        folders = dict.fromkeys(folder for one in planned.values() for folder in one.folders)
        around = Surroundings(self._root, self._tables, self._sources, self._say)
        self._done.skipped = around.read(opened, tuple(folders))
        self._done.text_cpu_s = time.process_time() - began


def _is_own(one: Planned, path: str) -> bool:
    """Say whether a file is a unit's own: its main file, or a `.c` file it includes."""
    return not one.headers and (path == one.path or path.endswith(".c"))


def _same(before: Stamp, now: Stamp | None) -> bool:
    return now is not None and now.digest == before.digest


def _row(stamp: Stamp) -> tuple[int, int, str, tuple[str, ...]]:
    return stamp.size, stamp.mtime_ns, stamp.digest, stamp.knobs
