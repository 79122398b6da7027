# SPDX-License-Identifier: Apache-2.0
"""A small kernel-like tree with its compile database, its graph, and what a graph says as comparable values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from git_hmopt.psg.build import Update, update_graph
from git_hmopt.psg.compile_database import load_database
from git_hmopt.store.graph import GraphFile, GraphTables
from git_hmopt.store.shards import opened_shards

FILES: Mapping[str, str] = {
    "include/linux/box.h": """#ifndef BOX_H
#define BOX_H
#define LIMIT 7
#define twice(x) ((x) + (x))
#define __init __attribute__((__section__(".init")))
struct box;
struct box_ops { int (*open)(struct box *box); int (*close)(struct box *box); };
struct base { int id; };
struct box { struct base base; const struct box_ops *ops; int weight; };
enum colour { RED, GREEN };
#ifdef CONFIG_HEAVY
typedef unsigned long count_t;
#else
typedef unsigned int count_t;
#endif
extern int total;
int go(struct box *box);
static inline int weigh(const struct box *box) { return box->weight; }
#define FACTOR 3
#endif
""",
    "lib/box.c": """#include <linux/box.h>
int total;

static int box_open(struct box *box)
{
	total++;
	return weigh(box);
}

static int box_close(struct box *box)
{
	box->weight = FACTOR * LIMIT;
	return box->base.id;
}

const struct box_ops box_ops = { .open = box_open, .close = box_close };

#ifdef CONFIG_TRACE
int box_trace(void)
{
	return twice(total);
}
#endif
""",
    "kernel/go.c": """#include <linux/box.h>
#include "detail.h"

int go(struct box *box)
{
	if (total > detail())
		return box->ops->open(box);
	return 0;
}

static int __init start(void)
{
	struct box box = { 0 };

	return go(&box);
}

int (*starter)(void) = start;
""",
    "kernel/detail.h": "static inline int detail(void) { return 1; }\n",
    "kernel/parts.c": """#include "part.inc.c"
int whole(void) { return part(); }
""",
    "kernel/part.inc.c": "static int part(void) { return 3; }\n",
    "include/generated/autoconf.h": "#define CONFIG_HEAVY 1\n",
}
COMPILED = ("kernel/go.c", "kernel/parts.c", "lib/box.c")
FLAGS = ("-Ikernel/over", "-Iinclude", "-include", "include/generated/autoconf.h")


@dataclass
class Tree:
    """A source tree in `root`, and where its graph and shards are kept."""

    root: Path
    home: Path
    compiled: list[str] = field(default_factory=lambda: list(COMPILED))
    flags: tuple[str, ...] = FLAGS
    own_flags: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What some files are compiled with beside the flags of all."""

    @property
    def graph(self) -> GraphFile:
        """Return the tree's graph file."""
        return GraphFile(self.home / "graph.sqlite")

    def write(self, path: str, text: str | bytes) -> None:
        """Write a file, with folders as needed."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text if isinstance(text, bytes) else text.encode())

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text that must be there."""
        text = (self.root / path).read_text()
        assert old in text, f"{path} has no {old!r}"
        self.write(path, text.replace(old, new))

    def update(
        self, *, shards: Path | None = None, workers: int = 1, unit_seconds: float = 60, again: bool = False
    ) -> Update:
        """Bring the graph up to date."""
        database = self.root / "compile_commands.json"
        entries = [
            {
                "directory": str(self.root),
                "file": file,
                "arguments": ["gcc", *self.flags, *self.own_flags.get(file, ()), "-c", "-o", f"{file}.o", file],
            }
            for file in self.compiled
        ]
        database.write_text(json.dumps(entries))
        with opened_shards(shards or self.home / "shards.sqlite") as opened:
            return update_graph(
                load_database(database, root=self.root), root=self.root, graph=self.graph, shards=opened,
                workers=workers, unit_seconds=unit_seconds, again=again,
            )  # fmt: skip

    def rows(self) -> dict[str, list[tuple[object, ...]]]:
        """Return all the graph says."""
        with self.graph.reading() as tables:
            assert tables is not None
            return comparable(tables)

    def rebuilt(self) -> dict[str, list[tuple[object, ...]]]:
        """Return what a graph says that is made anew from the tree as it stands, with nothing known before."""
        fresh = Tree(self.root, self.home / "fresh", self.compiled, self.flags)
        for path in sorted(fresh.home.glob("*")) if fresh.home.is_dir() else ():
            if path.is_file():
                path.unlink()
        fresh.home.mkdir(exist_ok=True)
        fresh.update()
        return fresh.rows()


def tree_in(folder: Path, files: Mapping[str, str] = FILES) -> Tree:
    """Write a tree into `folder`."""
    made = Tree(folder / "src", folder / "home")
    made.home.mkdir(parents=True)
    for path, text in files.items():
        made.write(path, text)
    return made


_SAID = {
    "units": "SELECT path, state, problems FROM units WHERE substr(path, 1, 1) != '<'",
    "definitions": (
        "SELECT f.path, coalesce(u.path, ''), s.symbol, d.kind, d.first_line, d.last_line, d.start, d.end, d.linkage,"
        " d.is_inline, d.type, d.body_hash, d.attributes FROM definitions d JOIN symbols s ON s.id = d.symbol"
        " JOIN pages p ON p.id = d.page JOIN files f ON f.id = p.file LEFT JOIN units u ON u.id = p.unit"
    ),
    "edges": (
        "SELECT f.path, coalesce(u.path, ''), s.symbol, t.symbol, e.relation, e.detail, e.line, e.count FROM edges e"
        " JOIN symbols s ON s.id = e.source JOIN symbols t ON t.id = e.target"
        " JOIN pages p ON p.id = e.page JOIN files f ON f.id = p.file LEFT JOIN units u ON u.id = p.unit"
    ),
    "guards": (
        "SELECT f.path, g.knob, g.first_line, g.last_line, g.sense FROM guards g JOIN pages p ON p.id = g.page"
        " JOIN files f ON f.id = p.file"
    ),
    "symbols": "SELECT symbol, name FROM symbols",
    "opened": "SELECT f.path, u.path FROM unit_files x JOIN files f ON f.id = x.file JOIN units u ON u.id = x.unit",
}


def unit_edges(tables: GraphTables, unit: str) -> list[tuple[str, str, str, str]]:
    """Return (source, target, relation, detail) of what begins in functions and variables of a unit's own files."""
    statement = (
        "SELECT DISTINCT s.symbol, t.symbol, relation, detail FROM edges e JOIN pages p ON p.id = e.page"
        " JOIN files f ON f.id = p.file JOIN symbols s ON s.id = e.source JOIN symbols t ON t.id = e.target"
        " JOIN definitions d ON d.page = e.page AND d.symbol = e.source AND d.kind IN ('function', 'variable')"
        " WHERE p.unit = (SELECT id FROM units WHERE path = ?) AND (f.path = ? OR f.path LIKE '%.c')"
    )
    return [
        (source, target, relation, detail) for source, target, relation, detail in tables.rows(statement, (unit, unit))
    ]


def comparable(tables: GraphTables) -> dict[str, list[tuple[object, ...]]]:
    """Return the rows of every table by what they say, without ids."""
    return {what: sorted(tables.rows(statement), key=repr) for what, statement in _SAID.items()}
