# SPDX-License-Identifier: Apache-2.0
"""A small C project with a Makefile of the usual kind: a program, a static library, a shared one, unit tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from git_hmopt.adapters import AdapterContext, BuildResult, SourceTree, WorkCase
from git_hmopt.records.words import Seed
from hmopt_adapters.make import MakeBuild, MakeOptions

CASE = WorkCase(seed=Seed(3), size=200, repetitions=10)

FILES = {
    "include/table.h": """\
#ifndef TABLE_H
#define TABLE_H
unsigned table_sum(const unsigned char *data, unsigned size);
unsigned table_find(const unsigned char *data, unsigned size, unsigned char what);
static inline unsigned table_twice(unsigned value)
{
	return value * 2;
}
#endif
""",
    "lib/sum.c": """\
#include "table.h"

static unsigned mix(unsigned total, unsigned char byte);

unsigned table_sum(const unsigned char *data, unsigned size)
{
	unsigned total = 0;

	for (unsigned i = 0; i < size; i++) {
		if (data[i] == 255)
			total = table_twice(total);
		total = mix(total, data[i]);
	}
	return total;
}

static unsigned __attribute__((noinline)) mix(unsigned total, unsigned char byte)
{
	return total * 31 + byte;
}
""",
    "lib/find.c": """\
#include "table.h"

unsigned __attribute__((cold)) table_missing(unsigned size);

unsigned table_find(const unsigned char *data, unsigned size, unsigned char what)
{
	for (unsigned i = 0; i < size; i++)
		if (data[i] == what)
			return i;
	return table_missing(size);
}

unsigned __attribute__((cold)) table_missing(unsigned size)
{
	return size + 1;
}
""",
    "src/main.c": """\
#include <stdio.h>
#include <stdlib.h>
#include "table.h"

static unsigned __attribute__((noinline)) work(const unsigned char *data, unsigned size, unsigned times)
{
	unsigned total = 0;

	for (unsigned i = 0; i < times; i++)
		total += table_sum(data, size) + table_find(data, size, i);
	return total;
}

int main(int argc, char **argv)
{
	unsigned seed = argc > 1 ? atoi(argv[1]) : 1, size = argc > 2 ? atoi(argv[2]) : 64;
	unsigned times = argc > 3 ? atoi(argv[3]) : 1;
	unsigned char *data = malloc(size + 1);

	for (unsigned i = 0; i < size; i++)
		data[i] = (seed = seed * 1664525 + 1013904223) >> 24;
	printf("result: %08x\\n", work(data, size, times));
	free(data);
	return 0;
}
""",
    "test/unit.c": """\
#include <stdio.h>
#include "table.h"

int main(void)
{
	static const unsigned char data[] = {1, 2, 3};
	int failed = 0;

	puts("1..2");
	if (table_sum(data, 3) != 1026) {
		failed = 1;
		printf("not ");
	}
	puts("ok 1 - sum");
	if (table_find(data, 3, 2) != 1) {
		failed = 1;
		printf("not ");
	}
	puts("ok 2 - find");
	return failed;
}
""",
    "Makefile": """\
CFLAGS = -O2 -g -Wall
override CFLAGS += -Iinclude
LIB = lib/sum.o lib/find.o

prog: src/main.o libtable.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ src/main.o -L. -ltable

libtable.a: $(LIB)
	rm -f $@
	ar rcs $@ $(LIB)

libtable.so.1.0: lib/sum.c lib/find.c include/table.h
	$(CC) $(CFLAGS) -fPIC -c -o lib/sum.pic.o lib/sum.c
	$(CC) $(CFLAGS) -fPIC -c -o lib/find.pic.o lib/find.c
	$(CC) $(CFLAGS) -shared -Wl,-soname,libtable.so.1 -o $@ lib/sum.pic.o lib/find.pic.o
	ln -sf $@ libtable.so.1
	ln -sf $@ libtable_dynamic.so

dynamic: src/main.o libtable.so.1.0
	$(CC) $(CFLAGS) -o $@ src/main.o -L. -ltable_dynamic

unit: test/unit.o libtable.a
	$(CC) $(CFLAGS) -o $@ test/unit.o libtable.a

check: unit
	@./unit

%.o: %.c include/table.h
	$(CC) $(CFLAGS) -c -o $@ $<

clean:
	rm -f prog unit dynamic *.a *.so* */*.o
""",
}


def c_tree(directory: Path, **changed: str) -> SourceTree:
    """Write the project into `directory`/src; `changed` replaces its Makefile (`makefile=`)."""
    root = directory / "src"
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if "makefile" in changed:
        (root / "Makefile").write_text(changed["makefile"])
    return SourceTree(root, root / "build-prog")


def adapter(directory: Path, options: MakeOptions, *, sandboxed: bool = False) -> MakeBuild:
    """Return a `make` build adapter with a scratch directory below `directory`."""
    scratch = directory / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    return MakeBuild(options, AdapterContext("prog", scratch, jobs=2, sandboxed=sandboxed))


def build(made: MakeBuild, tree: SourceTree) -> BuildResult:
    """Build, and fail the test when that fails."""
    result = made.build(tree, log=tree.root.parent / "log")
    assert result.success, result.failure
    return result


def edit(tree: SourceTree, path: str, old: str, new: str) -> None:
    """Change a source file as a checkout does: it is newer than whatever was made of it."""
    file = tree.root / path
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def addresses(image: Path) -> dict[str, int]:
    """Return the address of each function, as nm tells."""
    said = subprocess.run(["nm", str(image)], capture_output=True, text=True, check=True).stdout
    rows = (line.split() for line in said.splitlines())
    return {row[2]: int(row[0], 16) for row in rows if len(row) == 3 and row[1] in "tT"}


def ran(image: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """Return what a program prints."""
    done = subprocess.run(
        [str(image), *arguments], capture_output=True, text=True, check=True, env={**os.environ, **(environment or {})}
    )
    return done.stdout
