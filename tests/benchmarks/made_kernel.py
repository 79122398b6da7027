# SPDX-License-Identifier: Apache-2.0
"""A made source tree of a kernel's proportions, and the captures of a run on it: what an evidence pack is joined from.

The tree is C that libclang parses: folders with files of 1,000 lines, functions that call across files, take locks,
stand in tables of operations and hang on config knobs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from git_hmopt.runtime.kpi import Kpi

HEADER = "include/linux/made.h"
_FOLDERS = ("block", "drivers/net", "fs", "kernel/sched", "lib", "mm", "net/core", "sound")
_BODY = """\
/**
 * {name} - {verb} {noun} number {number} of its {other}
 * @item: what is looked at
 * @count: how many there are
 */
long {name}(struct item *item, long count)
{{
	long sum = CONFIG_LIMIT + made_total;
	int index;

	spin_lock(&item->lock);
	for (index = 0; index < count; index++) {{
		if (item->flags & (1 << (index & 7)))
			sum += item->ops->step_{step}(item, index);
		else
			sum -= item->next->value ^ index;
{calls}	}}
	spin_unlock(&item->lock);
	/* The {noun} of the {other} is what {verb} leaves behind. */
	if (sum < 0)
		return -EINVAL;
	item->value = sum;
	return sum;
}}
EXPORT_SYMBOL_GPL({name});

"""
_VERBS = ("allocate", "clear", "decode", "encode", "find", "flush", "insert", "merge", "queue", "scan", "split", "wake")
_NOUNS = ("buffer", "cache", "entry", "extent", "folio", "inode", "list", "node", "page", "queue", "slab", "task")


@dataclass(frozen=True)
class MadeKernel:
    """A tree, which functions are in which file at which line, and who calls whom."""

    files: Mapping[str, str]
    compiled: tuple[str, ...]
    places: Mapping[str, tuple[str, int]]
    calls: tuple[tuple[str, str], ...]
    hot: tuple[str, ...]
    """A function in each of some files, which many others call."""


def made_kernel(*, files: int, functions: int, hot: int = 5) -> MadeKernel:
    """Return a tree of that many files with that many functions each; the same every time."""
    rng = random.Random(7)
    paths = [f"{_FOLDERS[number % len(_FOLDERS)]}/part_{number:03d}.c" for number in range(files)]
    names = {path: [_name(rng, number, index) for index in range(functions)] for number, path in enumerate(paths)}
    every = [name for listed in names.values() for name in listed]
    dearest = tuple(names[path][functions // 2] for path in paths[:hot])
    texts = {HEADER: _header(every), "include/generated/autoconf.h": "#define CONFIG_LIMIT 7\n#define CONFIG_MADE 1\n"}
    places: dict[str, tuple[str, int]] = {}
    calls: list[tuple[str, str]] = []
    for path in paths:
        text = "#include <linux/made.h>\n\n"
        for number, name in enumerate(names[path]):
            called = [rng.choice(dearest), *rng.sample(every, 2)] if name not in dearest else rng.sample(every, 3)
            calls += [(name, callee) for callee in called]
            text += "#ifdef CONFIG_MADE\n" if number % 10 == 0 else ""
            places[name] = (path, text.count("\n") + 6)
            text += _function(rng, name, number, called)
            text += "#endif\n" if number % 10 == 0 else ""
        texts[path] = text + _table(path, names[path])
    for folder in _FOLDERS:
        objects = [path.rpartition("/")[2][:-2] for path in paths if path.startswith(f"{folder}/")]
        texts[f"{folder}/Makefile"] = "".join(f"obj-$(CONFIG_MADE) += {name}.o\n" for name in objects)
    texts["Kbuild"] = "".join(f"obj-y += {folder}/\n" for folder in _FOLDERS)
    return MadeKernel(texts, tuple(paths), places, tuple(calls), dearest)


def _name(rng: random.Random, file: int, index: int) -> str:
    return f"{rng.choice(_NOUNS)}_{rng.choice(_VERBS)}_{rng.choice(_NOUNS)}_{file}_{index}"


def _header(names: list[str]) -> str:
    steps = "".join(f"\tlong (*step_{number})(struct item *item, long count);\n" for number in range(4))
    declared = "".join(f"long {name}(struct item *item, long count);\n" for name in names)
    return (
        "#ifndef MADE_H\n#define MADE_H\n#define EINVAL 22\n#define EXPORT_SYMBOL_GPL(name)\nstruct item;\n"
        "typedef struct { int held; } spinlock_t;\n"
        f"struct item_ops {{\n{steps}}};\n"
        "struct item { spinlock_t lock; int flags; long value; struct item *next; const struct item_ops *ops; };\n"
        "void spin_lock(spinlock_t *lock);\nvoid spin_unlock(spinlock_t *lock);\nextern long made_total;\n"
        f"{declared}#endif\n"
    )


def _function(rng: random.Random, name: str, number: int, called: list[str]) -> str:
    lines = "".join(f"\t\tif (count > {rng.randrange(99)})\n\t\t\tsum += {callee}(item, count);\n" for callee in called)
    noun, other = rng.sample(_NOUNS, 2)
    return _BODY.format(
        name=name,
        verb=rng.choice(_VERBS),
        noun=noun,
        other=other,
        number=number,
        step=number % 4,
        calls=lines,
    )


def _table(path: str, names: list[str]) -> str:
    entries = ", ".join(f".step_{number} = {names[number]}" for number in range(4))
    name = path.replace("/", "_").removesuffix(".c")
    return f"const struct item_ops {name}_ops = {{ {entries} }};\n"


def folded_stacks(kernel: MadeKernel, *, stacks: int, depth: int = 24) -> Iterator[str]:
    """Yield folded call stacks along the tree's calls; the hot functions end most of them."""
    rng = random.Random(8)
    callees: dict[str, list[str]] = {}
    for caller, callee in kernel.calls:
        callees.setdefault(caller, []).append(callee)
    roots = sorted(callees)
    for _ in range(stacks):
        path = [rng.choice(roots)]
        while len(path) < depth and (path[-1] not in kernel.hot or rng.random() < 0.2):
            path.append(rng.choice(callees[path[-1]]))
        yield f"start_kernel;{';'.join(path)} {rng.randrange(1, 50)}\n"


def self_count_lines(kernel: MadeKernel) -> Iterator[str]:
    """Yield exact counts of ten lines of every function, the hot ones' a thousand times as large."""
    rng = random.Random(9)
    yield "hmopt-self-counts 1\n"
    for name, (path, line) in kernel.places.items():
        times = 1000 if name in kernel.hot else 1
        for offset in range(10):
            count = rng.randrange(1, 9000) * times
            yield f"{name}\t{path}\t{line + 3 + offset}\t{4 * count}\t{count}\n"


def symbol_lines(kernel: MadeKernel, *, others: int) -> Iterator[str]:
    """Yield where every function is defined, and as many others, as a whole vmlinux has them."""
    yield "hmopt-symbols 1\n"
    for name, (path, line) in kernel.places.items():
        yield f"{name}\t{path}\t{line}\n"
    for number in range(others):
        yield f"other_symbol_{number}\tarch/x86/other_{number % 900}.c\t{number % 3000}\n"


def made_kpis(count: int) -> tuple[Kpi, ...]:
    """Return KPIs of the system and of threads, as a capture of a phone has them."""
    system = [
        Kpi("memory_kills", "system", "all", "2", "1", 2, "kills"),
        Kpi("pressure_full", "system", "io", "0.02", "share", 9, "stalls"),
    ]
    threads = [
        Kpi("blocked_time", "thread", f"mutex_lock+0x{number:x}", str(1000 * number), "ns", number + 1, "blocked")
        for number in range(count - len(system))
    ]
    return (*system, *threads)
