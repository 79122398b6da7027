# SPDX-License-Identifier: Apache-2.0
"""A served project with a run of one of its workloads and the graph of its base: made once, and only read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from git_hmopt.loop.structure import Changes, changes_between
from git_hmopt.records.words import Oid
from git_hmopt.store.repository import Repository
from hmopt_bot.pulls.impact import StaticImpact, static_impact
from tests.loop.project import Project, files, make_project

WINDOW_H = """#ifndef WINDOW_H
#define WINDOW_H
#include <linux/scan.h>
#define WINDOW_STEP 4
struct window { u32 sum; size_t hits; };
static inline u32 window_mix(u32 sum) { return sum * WINDOW_STEP; }
#endif
"""
WINDOW = """#include <linux/window.h>

#ifdef CONFIG_WINDOW_TRACE
int window_trace(void)
{
	return 1;
}
#endif

#ifdef CONFIG_WINDOW
/* Takes a window's sum. */
u32 window_sum(struct window *window, const u8 *data, size_t size)
{
	window->sum = crc32c_update(window_mix(window->sum), data, size);
	if (scan_byte(data, 0, size))
		window->hits++;
	return window->sum;
}
#endif

u32 window_twice(struct window *window, const u8 *data, size_t size)
{
	window_sum(window, data, size);
	return window_sum(window, data, size);
}
"""
OFF = "#include <linux/window.h>\nint off(void)\n{\n\treturn WINDOW_STEP;\n}\n"
MORE: Mapping[str, str] = {
    "include/linux/window.h": WINDOW_H,
    "include/generated/autoconf.h": "#define CONFIG_WINDOW 1\n",
    "lib/window.c": WINDOW,
    "drivers/off.c": OFF,
    "Documentation/window.txt": "Windows.\n",
    "Kbuild": "obj-y += lib/ drivers/\n",
    "lib/Makefile": "obj-y += crc.o scan.o\nobj-$(CONFIG_WINDOW) += window.o\n",
    "drivers/Makefile": "obj-$(CONFIG_OFF) += off.o\n",
}


def _contents() -> dict[str, str]:
    made = {**files(), **MORE}
    edits = {"LIB := lib/crc.c lib/scan.c": "LIB := lib/crc.c lib/scan.c lib/window.c",
             "-Iinclude ": "-Iinclude -include include/generated/autoconf.h "}  # fmt: skip
    for old, new in edits.items():
        assert old in made["Makefile"]
        made["Makefile"] = made["Makefile"].replace(old, new)
    hit, helper = "(unsigned char)c == *p++", "static inline int is_same(u8 c, u8 byte)\n{\n\treturn c == byte;\n}\n\n"
    assert hit in made["lib/scan.c"]
    made["lib/scan.c"] = (
        made["lib/scan.c"].replace(hit, "is_same(c, *p++)").replace("/* Return the", f"{helper}/* Return the")
    )
    return made


@dataclass(frozen=True)
class Site:
    """The project, its repository, and the commit that was profiled."""

    project: Project
    repository: Repository
    base: Oid

    def commit(self, edits: Mapping[str, str | bytes | None], *, onto: Oid | None = None) -> Oid:
        """Return a commit with edits that nothing but its name leads to."""
        changes = {path: text.encode() if isinstance(text, str) else text for path, text in edits.items()}
        tree = self.repository.write_tree(self.repository.tree_of(onto or self.base), changes)
        return Oid(self.project.git("commit-tree", "-m", "change", "-p", onto or self.base, tree))

    def edited(self, path: str, old: str, new: str) -> str:
        """Return a file of base with text replaced that must be there."""
        text = (self.repository.read_path(self.base, path) or b"").decode()
        assert old in text, f"{path} has no {old!r}"
        return text.replace(old, new)

    def impact_of(self, edits: Mapping[str, str | bytes | None], *, onto: Oid | None = None) -> StaticImpact:
        """Return the impact of a real commit."""
        head = self.commit(edits, onto=onto)
        base = onto or self.base
        return static_impact(self.repository, changes_between(self.repository, base, head), base=base, head=head)

    def impact(self, changes: Changes, *, base: Oid | None = None) -> StaticImpact:
        """Return the impact of two sides that were read elsewhere."""
        return static_impact(self.repository, changes, base=base or self.base, head=Oid("f" * 40))

    def graphs(self) -> list[Path]:
        """Return the files of the graphs."""
        return sorted((self.repository.home / "structure").glob("*.sqlite"))

    @contextlib.contextmanager
    def graphs_replaced(self, content: bytes | None) -> Iterator[None]:
        """Put other bytes, or nothing, in the place of the graphs for a while."""
        kept = {path: path.read_bytes() for path in self.graphs()}
        assert kept
        try:
            for path in kept:
                path.unlink()
                if content is not None:
                    path.write_bytes(content)
            yield
        finally:
            for path, data in kept.items():
                path.write_bytes(data)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Return the project after a run that measured what is hot, and tried nothing."""
    project = make_project(tmp_path_factory.mktemp("pulls"), contents=_contents())
    done = project.hmopt("optimize", "--workload", "scan-blocks", "--iterations", "0", "--seed", "7")
    assert "hotspots by self" in done.stdout, done.stderr
    return Site(project, Repository.open(project.root), Oid(project.git("rev-parse", "HEAD")))
