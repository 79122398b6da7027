# SPDX-License-Identifier: Apache-2.0
"""A small tree with the kernel headers that the playbook's rewrites use, written to run in user space, and its judge.

The judge is the real compiler: the old and the new function are linked into one program that compares them on memory
which ends where the next page faults.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from git_hmopt.agents.playbook.strategy import Miss, Rewrite, Strategy, View
from git_hmopt.psg.compile_database import CompileCommand
from git_hmopt.psg.syntax import syntax
from git_hmopt.psg.unit import Unit, parse_unit
from git_hmopt.records.evidence import EvidencePack, HotspotEvidence, LineCount, Neighbour
from git_hmopt.records.run import HotspotRecord, Objective

HEADERS: Mapping[str, str] = {
    "linux/types.h": """#ifndef TYPES_H
#define TYPES_H
#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>
typedef uint8_t u8; typedef uint16_t u16; typedef uint32_t u32; typedef uint64_t u64;
typedef u16 __u16;
#endif
""",
    "linux/compiler.h": """#ifndef COMPILER_H
#define COMPILER_H
#define barrier() __asm__ __volatile__("" : : : "memory")
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#undef __always_inline
#define __always_inline inline __attribute__((__always_inline__))
#define noinline __attribute__((__noinline__))
#undef __pure
#define __pure __attribute__((__pure__))
extern unsigned long fast_loads;
static inline unsigned long read_word_at_a_time(const void *p)
{
	fast_loads++;
	return *(const unsigned long *)p;
}
#endif
""",
    "linux/kernel.h": """#ifndef KERNEL_H
#define KERNEL_H
#include <linux/align.h>
#include <linux/types.h>
#include <linux/compiler.h>
#define REPEAT_BYTE(x) ((~0ul / 0xff) * (x))
#endif
""",
    "linux/align.h": "#define IS_ALIGNED(x, a) (((x) & ((__typeof__(x))(a) - 1)) == 0)\n",
    "linux/cache.h": "#define __ro_after_init\n#define ____cacheline_aligned\n",
    "linux/init.h": """#include <linux/compiler.h>
#define __init
#define __exit
#define early_initcall(fn) int run_initcalls(void); int run_initcalls(void) { return fn(); }
#define module_init(fn) int run_module_init(void); int run_module_init(void) { return fn(); }
""",
    "linux/module.h": """#ifndef MODULE_H
#define MODULE_H
#include <linux/cache.h>
#include <linux/compiler.h>
#include <linux/init.h>
#define module_exit(fn) void run_exit(void); void run_exit(void) { fn(); }
#define EXPORT_SYMBOL(x)
#define EXPORT_SYMBOL_GPL(x)
#define MODULE_LICENSE(x)
#define MODULE_DESCRIPTION(x)
#endif
""",
    "asm/unaligned.h": """#include <linux/types.h>
#include <string.h>
extern unsigned long fast_loads;
static inline u64 get_unaligned_le64(const void *p)
{
	u64 x;

	fast_loads++;
	memcpy(&x, p, 8);
	return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? x : __builtin_bswap64(x);
}
static inline u64 get_unaligned_be64(const void *p)
{
	return __builtin_bswap64(get_unaligned_le64(p));
}
""",
}
WARNINGS = ("-Wall", "-Werror", "-Wdeclaration-after-statement", "-Wno-unused-function", "-Wno-misleading-indentation")
GUARDED = """#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <linux/types.h>
unsigned long fast_loads;
static u64 state = 88172645463325252ull;
static u64 rnd(void) { state ^= state << 13; state ^= state >> 7; state ^= state << 17; return state; }
/* One page whose end touches memory that may not be read. */
static u8 *guarded(void)
{
	u8 *pages = mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	mprotect(pages, 4096, PROT_NONE);
	mprotect(pages + 2 * 4096, 4096, PROT_NONE);
	return pages + 2 * 4096;
}
"""


@dataclass(frozen=True)
class Tree:
    """A source tree; also the proposers' `Source`."""

    root: Path

    def write(self, path: str, text: str | bytes) -> None:
        """Write one file."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode() if isinstance(text, str) else text)

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes, or None."""
        target = self.root / path
        return target.read_bytes() if target.is_file() else None

    def command(self, path: str) -> CompileCommand:
        """Return how a file of the tree is compiled."""
        name = Path(path).stem.replace("-", "_")
        defined = (f'-DKBUILD_BASENAME="{name}"', f'-DKBUILD_MODNAME="{name}"')
        return CompileCommand(self.root, self.root, path, ("gcc", "-O2", "-Iinclude", *defined, "-c", path))

    def unit(self, path: str) -> Unit:
        """Parse a file of the tree."""
        return parse_unit(self.command(path))

    def closed(self, path: str) -> str | None:
        """Close the workload's own directory."""
        return "the policy keeps it as it is: it is the workload" if path.startswith("bench/") else None


def make_tree(root: Path) -> Tree:
    """Return a tree with the headers and nothing else."""
    tree = Tree(root)
    for name, text in HEADERS.items():
        tree.write(f"include/{name}", text)
    return tree


def hotspot(
    symbol: str,
    file: str | None,
    score: str = "0.5",
    *,
    counts: Mapping[int, int] | None = None,
    callers: Sequence[str] = (),
) -> HotspotEvidence:
    """Return a hotspot as evidence has it."""
    record = HotspotRecord(
        symbol=symbol, file=file, first_line=1, last_line=2, score=score, ranker="self", unit="1", resolved_by="psg"
    )
    return HotspotEvidence(
        hotspot=record,
        source=None,
        static=(),
        runtime=tuple(Neighbour(symbol=name, relation="caller") for name in callers),
        line_counts=tuple(LineCount(line=line, count=count) for line, count in (counts or {}).items()),
    )


def pack(*hotspots: HotspotEvidence, margin: str = "0.01") -> EvidencePack:
    """Return an evidence pack with these hotspots."""
    return EvidencePack(
        run="20260131-scan-0a1b2c",
        workload="scan",
        commit="1" * 40,
        tree="2" * 40,
        objective=Objective(metric="time", margin=margin),
        bottleneck="cpu-bound-loop",
        bottleneck_reason="the dearest symbol has half of the cost",
        hotspots=hotspots,
        artifacts=(),
    )


def view(tree: Tree, path: str, symbol: str, evidence: HotspotEvidence | None = None, hot: Sequence[str] = ()) -> View:
    """Return what a strategy sees of a function of the tree."""
    unit = tree.unit(path)
    assert not unit.errors, unit.diagnostics
    function = unit.function(symbol)
    assert function is not None
    found = evidence or hotspot(symbol, path)
    return View(unit, function, syntax(unit, function), found, frozenset((symbol, *hot)), tree)


def rewritten(strategy: Strategy[Any], seen: View) -> Rewrite:
    """Match and rewrite; fails with the reason when there is no match."""
    match = strategy.match(seen)
    assert not isinstance(match, Miss), match.reason
    return strategy.rewrite(seen, match)


def judge(tree: Tree, path: str, old: bytes, new: bytes, driver: str, *, rename: str, flags: Sequence[str] = ()) -> str:
    """Compile the old and the new file, link both with `driver`, run it, and return what it printed.

    `rename` is the function; the driver knows it as old_NAME and new_NAME. A crash or exit code but 0 fails.
    """
    scratch = tree.root / "judge"
    scratch.mkdir(exist_ok=True)
    objects = []
    for side, text in (("old", old), ("new", new)):
        tree.write(path, text)
        target = scratch / f"{side}.o"
        _gcc(tree, "-c", path, "-o", str(target), f"-D{rename}={side}_{rename}", *WARNINGS, *flags)
        objects.append(str(target))
    (scratch / "driver.c").write_text(GUARDED + driver)
    _gcc(tree, str(scratch / "driver.c"), *objects, "-Wl,-z,muldefs", "-o", str(scratch / "judge"), *flags)
    done = subprocess.run([str(scratch / "judge")], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


def _gcc(tree: Tree, *arguments: str) -> None:
    done = subprocess.run(
        ["gcc", "-O2", "-fno-strict-aliasing", "-Iinclude", *arguments],
        cwd=tree.root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
