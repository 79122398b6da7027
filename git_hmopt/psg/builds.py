# SPDX-License-Identifier: Apache-2.0
"""Which build of a source tree a question is about, and where its graph and the parsed facts are kept."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from git_hmopt.errors import ConfigError
from git_hmopt.psg.compile_database import CompileDatabase, kbuild_database, load_database
from git_hmopt.store.graph import GraphFile
from git_hmopt.store.user_cache import user_cache

_DATABASE = "compile_commands.json"


@dataclass(frozen=True)
class Build:
    """A build of a tree, by its compile commands."""

    root: Path
    origin: Path
    """The compile database, or the folder that kbuild built in."""
    described: str
    """What a person is told it is."""

    def database(self) -> CompileDatabase:
        """Read the compile commands; ConfigError when they are none."""
        if self.origin.is_dir():
            return kbuild_database(self.origin, root=self.root)
        return load_database(self.origin, root=self.root)

    def graph(self, home: Path) -> GraphFile:
        """Return the file that its graph is kept in, below the repository's own folder."""
        name = hashlib.sha256(f"{self.root}\n{self.origin}".encode(errors="surrogateescape")).hexdigest()[:16]
        return GraphFile(home / "structure" / f"{name}.sqlite")


def named_build(where: Path, root: Path) -> Build:
    """Return the build that a person named: a compile_commands.json, or a folder that has one or that kbuild used.

    ConfigError when it is neither.
    """
    where = Path(os.path.normpath(Path.cwd() / where))
    if where.is_dir() and (where / _DATABASE).is_file():
        where = where / _DATABASE
    if not where.exists():
        raise ConfigError(f"there is no '{where}'", next_step="name a compile_commands.json or a build's directory")
    return Build(root, where, str(where))


def found_build(root: Path, home: Path) -> Build | None:
    """Return the build to ask about when none was named, the first of `known_builds`; None when there is none."""
    return next(known_builds(root, home), None)


def known_builds(root: Path | None, home: Path) -> Iterator[Build]:
    """Yield the builds that are here; `root` is None where there is no working tree.

    In this order: a compile database at the top of the tree or in a folder right below it, kbuild's own records there,
    those of the base tree that the last run built.
    """
    tests: tuple[Callable[[Path], Path | None], ...] = (_with_database, _with_records)
    if root is not None:
        folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        for test in tests:
            for origin in (found for place in (root, *folders) if (found := test(place)) is not None):
                yield Build(root, origin, str(origin.relative_to(root)) if origin != root else "this tree")
    tree = home / "trees" / "base" / "src"
    for built in sorted(tree.glob(f"build-*/{_DATABASE}")):
        yield Build(tree, built, f"the base tree of the last run, {built.parent.name}")


def _with_database(place: Path) -> Path | None:
    path = place / _DATABASE
    return path if path.is_file() else None


def _with_records(place: Path) -> Path | None:
    # kbuild compiles init/main.c for every kernel.
    return place if (place / "init" / ".main.o.cmd").is_file() else None


def shards_path() -> Path:
    """Return where parsed facts are kept for all clones of a user."""
    return user_cache() / "structure.sqlite"
