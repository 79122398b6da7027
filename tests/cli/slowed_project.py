# SPDX-License-Identifier: Apache-2.0
"""A small C project with a history in which one commit of sixteen makes its only workload slower.

It looks names up in a hash table; the planted commit, which reads like a simplification, walks one list instead. Around
it stand the commits that a bisection meets: code that only moves, one that does not build, another configuration, and a
harness that measures nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.loop.project import Project, make_project

TABLE = """// SPDX-License-Identifier: GPL-2.0-only
/* Names and their numbers. */
#include "table.h"
#include <string.h>

#define BUCKETS 256

static struct name names[NAMES], *buckets[BUCKETS];
static unsigned int used;

static unsigned int hash(const char *text)
{
	unsigned int value = 5381;

	while (*text)
		value = value * 33 + (unsigned char)*text++;
	return value % BUCKETS;
}

void table_reset(void)
{
	memset(buckets, 0, sizeof(buckets));
	used = 0;
}

void table_add(const char *text)
{
	struct name *name = &names[used], **bucket = &buckets[hash(text)];

	strcpy(name->text, text);
	name->number = used++;
	name->next = *bucket;
	*bucket = name;
}

int table_find(const char *text)
{
	const struct name *name;

	for (name = buckets[hash(text)]; name; name = name->next)
		if (!strcmp(name->text, text))
			return name->number;
	return -1;
}
"""
HEADER = """/* SPDX-License-Identifier: GPL-2.0-only */
#define NAMES 512
struct name { struct name *next; int number; char text[16]; };
void table_reset(void);
void table_add(const char *text);
int table_find(const char *text);
"""
HARNESS = """// SPDX-License-Identifier: GPL-2.0-only
#include "table.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv)
{
	unsigned int seed = strtoul(argv[1], 0, 10), size = strtoul(argv[2], 0, 10), reps = strtoul(argv[3], 0, 10), i;
	static char text[NAMES][16];
	struct timespec from, to;
	long sum = 0;

	for (i = 0; i < size && i < NAMES; i++)
		snprintf(text[i], sizeof(text[i]), "%u", seed + i * 7919);
	table_reset();
	for (i = 0; i < size && i < NAMES; i++)
		table_add(text[i]);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
	while (reps--)
		for (i = 0; i < size && i < NAMES; i++)
			sum += table_find(text[i]);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
	printf("time %ld\\ndigest %ld\\n", (to.tv_sec - from.tv_sec) * 1000000000l + to.tv_nsec - from.tv_nsec, sum);
	return argc < 4;
}
"""
MAKEFILE = """# SPDX-License-Identifier: GPL-2.0-only
CC := gcc
OBJECTS := $(patsubst %.c,$(O)/%.o,$(wildcard lib/*.c harness/*.c))

$(O)/bench: $(OBJECTS)
	$(CC) -no-pie -Wl,--build-id=none -o $@ $^

$(O)/%.o: %.c lib/table.h Makefile
	@mkdir -p $(@D)
	$(CC) -O2 -fno-builtin-strcmp -Ilib -c -o $@ $<
"""
RELINK = """#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
set -e
work=$(dirname "$HMOPT_LAYOUT_OUT")
order=$(cd "$1" && find . -name '*.o' | sort | while read -r name; do
	printf '%s %s\\n' "$(printf '%s %s' "$HMOPT_SEED" "$name" | cksum)" "$name"
done | sort -n | awk -v at="$1" '{print at "/" $3}')
printf '.text\\n.skip %d, 0x90\\n.section .note.GNU-stack\\n' $((16 * (HMOPT_SEED % 61 + 1))) | as -o "$work/pad.o" -
gcc -no-pie -Wl,--build-id=none -o "$HMOPT_LAYOUT_OUT" "$work/pad.o" $order
"""
OVERLAY = "v: 1\ndescription: the harness\nfiles: {harness/main.c: main.c}\n"


def configuration() -> dict[str, Any]:
    """Return `.hmopt.yaml` as a document.

    The margin is as wide as the planted loss allows: the machines that run these tests are shared.
    """
    return {
        "version": 1,
        "builds": {
            "fast": {
                "adapter": "command",
                "run": "make -s O=build-fast",
                "image": "build-fast/bench",
                "relink": "sh scripts/relink.sh build-fast",
            }
        },
        "workloads": {
            "lookup": {
                "overlays": ["./bench"],
                "inputs": {"size": 256, "repetitions": 100},
                "measure": {
                    "time": {
                        "adapter": "command",
                        "build": "fast",
                        "run": '"$HMOPT_IMAGE" "$HMOPT_SEED" "$HMOPT_SIZE" "$HMOPT_REPS"',
                        "outputs": "^digest (-?\\d+)$",
                        "metrics": {"time": {"kind": "time", "unit": "ns", "from": "^time (\\d+)$"}},
                    }
                },
                "objective": {"margin": 0.9},
            }
        },
        "measure": {"layouts": 4, "boots": 3, "null_patches": 1},
    }


FILES = {
    "lib/table.c": TABLE,
    "lib/table.h": HEADER,
    "bench/main.c": HARNESS,
    "bench/overlay.yaml": OVERLAY,
    "Makefile": MAKEFILE,
    "scripts/relink.sh": RELINK,
    "README": "Names and their numbers\n",
    ".hmopt.yaml": yaml.safe_dump(configuration(), sort_keys=False),
}
_HASHED = "	for (name = buckets[hash(text)]; name; name = name->next)\n"
_LISTED = "	for (name = all; name; name = name->next)\n"
_BUCKET = "**bucket = &buckets[hash(text)];"
_UNUSED = "int table_unused(int x)\n{\n	return x * 3 + 1;\n}\n\n"


def hashless(text: str) -> str:
    """Return the table as one list, newest name first."""
    text = text.replace(_HASHED, _LISTED).replace(_BUCKET, "**bucket = &all;")
    text = text.replace("*buckets[BUCKETS];", "*all;").replace("memset(buckets, 0, sizeof(buckets));", "all = NULL;")
    start, end = text.index("static unsigned int hash"), text.index("void table_reset")
    return text[:start] + text[end:]


PLANTED, BROKEN, CRASHES = 10, 8, 13
Edit = tuple[str, str, str]
"""Path, old and new text; an old text that is empty makes a new file."""
_EDITS: tuple[Edit | None, ...] = (
    ("README", "Names", "All names"),
    ("lib/table.c", "/* Names and their numbers. */", "/*\n * Names and their numbers.\n */"),
    # From here on the commits' own configuration runs nothing that could be measured.
    (".hmopt.yaml", "make -s O=build-fast", "exit 1"),
    ("lib/unused.c", "", _UNUSED),
    # From here on the commits' own harness measures nothing.
    ("bench/main.c", "while (reps--)", "while (0)"),
    ("lib/table.c", "void table_reset", _UNUSED.replace("unused", "other") + "void table_reset"),
    ("README", "All names", "Every name"),
    ("lib/table.c", "used = 0;", "used = 0"),
    ("lib/table.c", "used = 0\n", "used = 0;\n"),
    None,
    ("lib/table.c", " * Names", " * A list of names"),
    ("lib/unused.c", "x * 3", "x * 5"),
    ("lib/table.c", "	used = 0;\n", "	used = 0;\n	__builtin_trap();\n"),
    ("lib/table.c", "	__builtin_trap();\n", ""),
    ("README", "Every", "Each"),
    ("lib/table.h", "#define NAMES 512", "#define NAMES 1024"),
)


def make_history(directory: Path) -> tuple[Project, list[str]]:
    """Return a trusted project and its commits, oldest first; `commits[PLANTED]` is the one that made it slower."""
    project = make_project(directory, contents=FILES, title="A table of names")
    commits = [project.git("rev-parse", "HEAD").strip()]
    for number, edit in enumerate(_EDITS, start=1):
        if edit is None:
            project.write("lib/table.c", hashless((project.root / "lib/table.c").read_text()))
        else:
            _apply(project, edit)
        commits.append(project.commit(f"change {number}"))
    return project, commits


def _apply(project: Project, edit: Edit) -> None:
    path, old, new = edit
    before = (project.root / path).read_text() if old else ""
    assert old in before, edit
    project.write(path, before.replace(old, new) if old else new)
