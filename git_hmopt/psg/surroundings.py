# SPDX-License-Identifier: Apache-2.0
"""What a tree says beside its C: guards and macros read as text, Kconfig, the Makefiles' conditions, MAINTAINERS.

Each file is read once per content; its page has no unit.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from git_hmopt.psg.facts import Kind, Relation
from git_hmopt.psg.inputs import Sources
from git_hmopt.psg.kconfig import Knob, matching, read_kconfig
from git_hmopt.psg.maintainers import Maintainers
from git_hmopt.psg.makefiles import Built, makefile_targets
from git_hmopt.psg.text import text_page
from git_hmopt.store.graph import GraphTables, KnobRow, Page

_KCONFIG, _MAINTAINERS = "Kconfig", "MAINTAINERS"
_ARCH = re.compile(r"(?:^|/)arch/(\w+)/include$")
_MOST_FOLDERS = 20_000

Say = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Skipped:
    """Something beside the C that could not be read."""

    file: str
    line: int
    why: str


@dataclass(frozen=True)
class Surroundings:
    """One reading of a tree into its tables."""

    root: Path
    tables: GraphTables
    sources: Sources
    say: Say

    def read(self, present: Iterable[str], folders: Sequence[str]) -> list[Skipped]:
        """Bring the pages without a unit up to date.

        `present` are the files that units opened, `folders` those that headers are searched in, which name the
        architecture. Returns what could not be understood.
        """
        files = sorted(path for path in present if not path.startswith(("/", "<")))
        pages = {file: digest for (file, unit), digest in self.tables.pages().items() if not unit}
        kept = self._texts(files, pages)
        arches = tuple(dict.fromkeys(found[1] for folder in folders if (found := _ARCH.search(folder))))
        knobs, skipped = self._kconfig(arches, pages)
        kept |= knobs | self._makefiles(arches, pages)
        with self.tables.transaction():
            for file in pages.keys() - kept:
                self.tables.drop_page(file, "")
        self._subsystems(files)
        return skipped

    # -- guards and macros ------------------------------------------------------------------------------------------

    def _texts(self, files: Sequence[str], pages: Mapping[str, str]) -> set[str]:
        present = {path: stamp.digest for path in files if (stamp := self.sources.stamp(path)) is not None}
        todo = [path for path, digest in present.items() if pages.get(path) != digest]
        with self.tables.transaction():
            for number, path in enumerate(todo, 1):
                if number % 200 == 0:
                    self.say("files read as text", number, len(todo))
                self.tables.put_page(path, "", text_page(path, self.sources.read(path), present[path]))
        return set(present)

    # -- Kconfig ----------------------------------------------------------------------------------------------------

    def _kconfig(self, arches: Sequence[str], pages: Mapping[str, str]) -> tuple[set[str], list[Skipped]]:
        """Read Kconfig again when one of its files is another; conditions reach from a file into those it sources."""
        if not (self.root / _KCONFIG).is_file():
            return set(), []
        before = json.loads(self.tables.get("kconfig") or "{}")
        if "patterns" in before and before["arches"] == list(arches) and self._unchanged(before):
            return set(before["files"]), [Skipped(*one) for one in before["skipped"]]
        arch = arches[0] if arches else ""
        # User Mode Linux is two: its own folder, and that of the machine it runs on (arch/um/Makefile).
        found = read_kconfig(self.root, arch=arch, header_arch=arches[1] if len(arches) > 1 else arch)
        by_file: dict[str, list[Knob]] = {file: [] for file in found.files}
        for knob in found.knobs:
            by_file[knob.file].append(knob)
        with self.tables.transaction():
            for file, knobs in by_file.items():
                page = _knob_page(knobs)
                if pages.get(file) != page.digest:
                    self.tables.put_page(file, "", page)
        told = {
            "arches": arches,
            "files": {file: stamp.digest for file in found.files if (stamp := self.sources.stamp(file))},
            "absent": found.absent,
            "patterns": found.patterns,
            "skipped": found.skipped,
        }
        self.tables.remember("kconfig", json.dumps(told))
        return set(by_file), [Skipped(*one) for one in found.skipped]

    def _unchanged(self, told: Mapping[str, Any]) -> bool:
        """Say whether reading Kconfig again would find the same."""
        return (
            all(
                (stamp := self.sources.stamp(file)) and stamp.digest == digest for file, digest in told["files"].items()
            )
            and not any((self.root / file).is_file() for file in told["absent"])
            and all(matching(self.root, pattern) == files for pattern, files in told["patterns"].items())
        )

    # -- Makefiles --------------------------------------------------------------------------------------------------

    def _makefiles(self, arches: Sequence[str], pages: Mapping[str, str]) -> set[str]:
        """Follow the Makefiles from the top as kbuild descends, into every folder, whatever is configured."""
        told = json.loads(self.tables.get("makefiles") or "{}")
        known: dict[str, list[str]] = told.get("folders", {}) if told.get("arches") == list(arches) else {}
        now: dict[str, list[str]] = {}
        first, header = (arches[0], arches[-1]) if arches else ("", "")
        todo = [
            "Kbuild",
            "Makefile",
            f"arch/{first}/Kbuild",
            f"arch/{first}/Makefile",
            f"arch/{header}/Makefile.{first}",
        ]
        seen = {"", f"arch/{first}/"}
        with self.tables.transaction():
            while todo and len(seen) < _MOST_FOLDERS:
                path = todo.pop()
                stamp = self.sources.stamp(path)
                if stamp is None:
                    continue
                if path not in known or pages.get(path) != stamp.digest:
                    text = self.sources.read(path).decode("utf-8", "replace")
                    targets = makefile_targets(path, text, {"SRCARCH": first, "HEADER_ARCH": header})
                    self.tables.put_page(path, "", _makefile_page(targets, stamp.digest))
                    now[path] = sorted({one.target for one in targets if one.target.endswith("/")})
                else:
                    now[path] = known[path]
                fresh = [folder for folder in now[path] if folder not in seen]
                seen.update(fresh)
                todo += [self._makefile(folder) for folder in fresh]
        if now != known:
            self.tables.remember("makefiles", json.dumps({"arches": arches, "folders": now}))
        return set(now)

    def _makefile(self, folder: str) -> str:
        """Return the file that kbuild reads in a folder: scripts/Makefile.build takes Kbuild where there is one."""
        return f"{folder}Kbuild" if (self.root / folder / "Kbuild").is_file() else f"{folder}Makefile"

    # -- MAINTAINERS ------------------------------------------------------------------------------------------------

    def _subsystems(self, files: Sequence[str]) -> None:
        stamp = self.sources.stamp(_MAINTAINERS)
        digest = stamp.digest if stamp else ""
        same = self.tables.get("maintainers") == digest
        todo = sorted(self.tables.without_subsystem().intersection(files) if same else files)
        if same and not todo:
            return
        text = self.sources.read(_MAINTAINERS) if stamp else b""
        maintainers = Maintainers(text.decode("utf-8", "replace"))
        with self.tables.transaction():
            self.tables.put_subsystems({path: maintainers.subsystem(path) for path in todo})
            self.tables.remember("maintainers", digest)


def _knob_page(knobs: Sequence[Knob]) -> Page:
    """Return the page of a Kconfig file: its knobs, and what each depends on and selects."""
    definitions: list[tuple[object, ...]] = [
        (one.name, Kind.CONFIG.value, one.first_line, one.last_line, 0, 0, "", 0, one.type, "", []) for one in knobs
    ]
    count: dict[tuple[str, str, str], list[int]] = {}
    for one in knobs:
        pairs = [(other, one.name, "depends") for other in one.named]
        pairs += [(one.name, other, "selects") for other in one.selects]
        for pair in pairs:
            known = count.setdefault(pair, [one.first_line, 0])
            known[1] += 1
    relation = Relation.CONFIG_GUARD.value
    edges = [(source, target, relation, detail, line, n) for (source, target, detail), (line, n) in count.items()]
    rows = [
        KnobRow(one.name, one.first_line, one.type, one.prompt, one.defaults, one.depends, one.selects, one.implies)
        for one in knobs
    ]
    digest = hashlib.sha256(json.dumps([definitions, edges, rows]).encode()).hexdigest()[:32]
    return Page(digest, definitions, edges, (), rows)


def _makefile_page(targets: Sequence[Built], digest: str) -> Page:
    relation = Relation.CONFIG_GUARD.value
    edges = {
        (one.knob, f"file {one.target}"): (
            one.knob, f"file {one.target}", relation, "folder" if one.target.endswith("/") else "object", one.line, 1,
        )
        for one in reversed(targets) if one.knob
    }  # fmt: skip
    return Page(digest, (), list(edges.values()))
