# SPDX-License-Identifier: Apache-2.0
"""The source a proposer may look at: files of the best commit, parsed as the reference tree builds them."""

from __future__ import annotations

from collections.abc import Mapping

from git_hmopt.adapters import BuildResult
from git_hmopt.errors import ConfigError, HmoptError, ProgramError
from git_hmopt.loop.bench import Bench
from git_hmopt.measure.policy import closed
from git_hmopt.psg.compile_database import CompileDatabase, load_database
from git_hmopt.psg.unit import Unit, parse_unit
from git_hmopt.records.words import Oid

# Parsing costs about 0.2 CPU seconds a unit; a project up to this size is parsed whole.
WHOLE_PROJECT = 60


class ExportedSource:
    """Implements the proposers' `Source` over the reference tree, which holds the best commit and the overlays."""

    def __init__(self, bench: Bench, builds: Mapping[str, BuildResult], commit: Oid) -> None:
        self._bench = bench
        self._commit = commit
        self._units: dict[str, Unit] = {}
        self.notes: list[str] = []
        self._databases = self._load(builds)

    def _load(self, builds: Mapping[str, BuildResult]) -> list[CompileDatabase]:
        loaded = []
        for name, built in builds.items():
            if built.compile_commands is None:
                self.notes.append(f"build '{name}' gives no compile database: the playbook cannot read its source")
                continue
            loaded.append(load_database(built.compile_commands, root=built.tree.root))
        return loaded

    def read(self, path: str) -> bytes | None:
        """Return a file of the commit; the overlays are not part of it."""
        return self._bench.repository.read_path(self._commit, path)

    def blob(self, path: str) -> tuple[str, bytes] | None:
        """Return a file's blob id and bytes."""
        entry = self._bench.repository.find_entry(self._commit, path)
        return None if entry is None else (entry.oid, self._bench.repository.read_blob(entry.oid))

    def unit(self, path: str) -> Unit:
        """Return the parsed unit; ConfigError when no build compiles the file, ProgramError when it does not parse."""
        if path not in self._units:
            self._units[path] = self._parse(path)
        return self._units[path]

    def _parse(self, path: str) -> Unit:
        problem: HmoptError = ConfigError(f"no build compiles '{path}'")
        for database in self._databases:
            try:
                return parse_unit(database.command(path))
            except (ConfigError, ProgramError) as error:
                problem = error
        raise problem

    def try_unit(self, path: str) -> Unit | None:
        """Return the parsed unit, or None with a note why there is none."""
        try:
            return self.unit(path)
        except (ConfigError, ProgramError) as error:
            self.notes.append(str(error))
            return None

    def closed(self, path: str) -> str | None:
        """Return the rule of the policy that any change of a file would break, or None when there is none."""
        bench = self._bench
        broken = closed(path, bench.config.policy, overlays=bench.harness_paths)
        return f"the policy keeps it as it is: {broken.detail}" if broken else None

    def entry_files(self) -> tuple[list[str], int]:
        """Return the files to parse before anything is known to be hot, and how many are left for later."""
        files = sorted({file for database in self._databases for file in database.files})
        if len(files) <= WHOLE_PROJECT:
            return files, 0
        entry = [file for file in files if file in self._bench.overlay_paths]
        return entry, len(files) - len(entry)


def source_of(bench: Bench, commit: Oid) -> ExportedSource:
    """Return the source of `commit`, what was parsed of it before included: parsing is most of the tool's own time."""
    known = bench.remembered.get(("source", commit))
    if isinstance(known, ExportedSource):
        return known
    made = ExportedSource(bench, bench.need_reference(commit), commit)
    bench.remember("source", commit, made)
    return made
