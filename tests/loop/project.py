# SPDX-License-Identifier: Apache-2.0
"""A small C project in the kernel's dialect, for whole runs in seconds: everything in it is real.

Two functions of lib/ have the shapes the playbook knows. The headers are the few the rewrites use, for user space.
Each commit is built twice: `fast` is timed, sampled by its own SIGPROF timer and laid out anew by relinking; `count`
has gcc count its basic blocks, the exact number that a run of one input executes (KCOV's mechanism).
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

POLYNOMIAL = 0x82F63B78
"""CRC-32C, reflected."""
TITLE = "A small C project"

HEADERS: Mapping[str, str] = {
    "linux/types.h": """#ifndef TYPES_H
#define TYPES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
#endif
""",
    "linux/compiler.h": """#ifndef COMPILER_H
#define COMPILER_H
#include <string.h>
#define barrier() __asm__ __volatile__("" : : : "memory")
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#undef __always_inline
#define __always_inline inline __attribute__((__always_inline__))
#define noinline __attribute__((__noinline__))
static inline unsigned long read_word_at_a_time(const void *p)
{
	unsigned long word;

	memcpy(&word, p, sizeof(word));
	return word;
}
#endif
""",
    "linux/kernel.h": """#ifndef KERNEL_H
#define KERNEL_H
#include <linux/align.h>
#include <linux/compiler.h>
#include <linux/types.h>
#define REPEAT_BYTE(x) ((~0ul / 0xff) * (x))
#endif
""",
    "linux/align.h": "#define IS_ALIGNED(x, a) (((x) & ((__typeof__(x))(a) - 1)) == 0)\n",
    "linux/cache.h": "#define __ro_after_init\n",
    "linux/init.h": """#ifndef INIT_H
#define INIT_H
#include <linux/compiler.h>
#define __init
#define __exit
/* A constructor runs before main, as an early initcall does before init. */
#define early_initcall(fn) \\
	static void __attribute__((__constructor__)) fn##_early(void) { fn(); }
#endif
""",
    "linux/scan.h": """#ifndef SCAN_H
#define SCAN_H
#include <linux/types.h>
u32 crc32c_update(u32 crc, const void *data, size_t len);
const void *scan_byte(const void *start, int c, size_t n);
#endif
""",
    "asm/unaligned.h": """#ifndef UNALIGNED_H
#define UNALIGNED_H
#include <linux/types.h>
static inline u64 get_unaligned_le64(const void *p)
{
	u64 x;

	__builtin_memcpy(&x, p, sizeof(x));
	return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? x : __builtin_bswap64(x);
}
static inline u64 get_unaligned_be64(const void *p)
{
	return __builtin_bswap64(get_unaligned_le64(p));
}
#endif
""",
}


def crc_table() -> list[int]:
    """Return the CRC of every byte, by the definition."""
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return table


def crc_source() -> str:
    """Return lib/crc.c."""
    values = [f"0x{value:08x}" for value in crc_table()]
    rows = "\n".join("\t" + ", ".join(values[at : at + 6]) + "," for at in range(0, 256, 6))
    return f"""// SPDX-License-Identifier: GPL-2.0-only
/* CRC-32C, a byte at a time. */
#include <linux/scan.h>
#include <linux/types.h>

static const u32 crc32c_table[256] = {{
{rows}
}};

/* Return @crc continued over @len bytes of @data. */
u32 crc32c_update(u32 crc, const void *data, size_t len)
{{
	const u8 *p = data;

	while (len--)
		crc = (crc >> 8) ^ crc32c_table[(crc ^ *p++) & 0xff];

	return crc;
}}
"""


SCAN = """// SPDX-License-Identifier: GPL-2.0-only
/* Finding bytes. */
#include <linux/kernel.h>
#include <linux/scan.h>

/* Return the first byte of @start that is @c, or NULL when there is none among @n. */
const void *scan_byte(const void *start, int c, size_t n)
{
	const unsigned char *p = start;

	while (n-- != 0) {
		if ((unsigned char)c == *p++)
			return p - 1;
	}
	return NULL;
}
"""

# The harness: seed, size, offset and repetitions come from the command line, the digest is of what was computed once.
BENCH = """// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE
#include <execinfo.h>
#include <linux/compiler.h>
#include <linux/scan.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static u8 buffer[1 << 20];
static struct { unsigned long pc, count; } places[4096];
static unsigned long blocks;
static int placing;
static void *stacks[4096][16];
static int depths[4096];
static int samples;

/* gcc calls it in every basic block of the build that counts (-fsanitize-coverage=trace-pc). */
void __sanitizer_cov_trace_pc(void);
void __attribute__((__no_sanitize_coverage__)) __sanitizer_cov_trace_pc(void)
{
	unsigned long pc = (unsigned long)__builtin_return_address(0) - 1, slot = pc % 4096;

	blocks++;
	if (!placing)
		return;
	while (places[slot].pc && places[slot].pc != pc)
		slot = (slot + 1) % 4096;
	places[slot].pc = pc;
	places[slot].count++;
}

static long cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec * 1000000000l + now.tv_nsec;
}

static void sample(int signal)
{
	(void)signal;
	if (samples < 4096) {
		depths[samples] = backtrace(stacks[samples], 16);
		samples++;
	}
}

static u32 noinline bench_window(size_t size, size_t offset)
{
	const u8 *p = buffer + offset, *end = p + size / 4, *hit;
	u32 crc = crc32c_update(~0u, p, size);

	for (hit = p; (hit = scan_byte(hit, 0, end - hit)); hit++)
		crc = crc * 31 + (u32)(hit - p);
	return crc;
}

int main(int argc, char **argv)
{
	size_t size = strtoul(argv[2], 0, 10), offset = strtoul(argv[3], 0, 10), i;
	unsigned long long x = strtoul(argv[1], 0, 10) * 2654435761ull + 88172645463325252ull;
	unsigned long reps = strtoul(argv[4], 0, 10), before, n;
	int profile = argc > 5 && !strcmp(argv[5], "stacks"), k;
	u32 digest, sum = 0;
	void *warm[4];
	long began;

	if (size + offset > sizeof(buffer))
		return 2;
	for (i = 0; i < size + offset; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		buffer[i] = x % 1021 ? x | 1 : 0;
	}
	placing = argc > 5 && !strcmp(argv[5], "places");
	before = blocks;
	digest = bench_window(size, offset);
	before = blocks - before;
	placing = 0;
	if (profile) {
		struct itimerval every = { { 0, 1000 }, { 0, 1000 } };

		backtrace(warm, 4); /* it allocates the first time, which a signal handler must not */
		signal(SIGPROF, sample);
		setitimer(ITIMER_PROF, &every, 0);
	}
	began = cpu_ns();
	for (n = 0; n < reps; n++)
		sum += bench_window(size, offset);
	printf("time %ld\\ndigest %08x%08x\\nblocks %lu\\n", cpu_ns() - began, digest, sum, before);
	if (profile)
		signal(SIGPROF, SIG_IGN);
	for (; profile && samples > 0; samples--) {
		/* The handler and the kernel's trampoline are not the program. */
		for (k = depths[samples - 1] - 1; k >= 2; k--)
			printf("%s%016lx", k == depths[samples - 1] - 1 ? "stack " : ";", (unsigned long)stacks[samples - 1][k]);
		puts("");
	}
	for (k = 0; k < 4096; k++)
		if (places[k].pc)
			printf("place %016lx %lu\\n", places[k].pc, places[k].count);
	return 0;
}
"""

UNIT = """// SPDX-License-Identifier: GPL-2.0-only
#include <linux/scan.h>
#include <stdio.h>

static int number, failed;

static void check(int good, const char *name)
{
	printf("%sok %d %s\\n", good ? "" : "not ", ++number, name);
	failed += !good;
}

int main(void)
{
	static const char text[] = "find the x in this";

	puts("TAP version 13\\n1..3");
	check(~crc32c_update(~0u, "123456789", 9) == 0xe3069283, "crc_check_value");
	check(scan_byte(text, 'x', sizeof(text)) == text + 9, "scan_finds");
	check(!scan_byte(text, '!', sizeof(text)), "scan_misses");
	return failed != 0;
}
"""

MAKEFILE = """# SPDX-License-Identifier: GPL-2.0-only
# make O=DIR [BLOCKS=1]: DIR/bench, DIR/unit, DIR/compile_commands.json. The same source gives the same bytes.
CC := gcc
LIB := lib/crc.c lib/scan.c
CFLAGS := -O2 -g -Wall -Iinclude -fno-omit-frame-pointer -ffile-prefix-map=$(CURDIR)=.
COUNTED := $(if $(BLOCKS),-fsanitize-coverage=trace-pc)
OBJECTS := $(LIB:%.c=$(O)/%.o)

all: $(O)/bench $(O)/unit $(O)/compile_commands.json

# Debug information moves with every comment; what is run and compared has none.
$(O)/bench: $(O)/bench.sym
	objcopy --strip-debug $< $@

$(O)/bench.sym: $(OBJECTS) $(O)/harness/main.o
	$(CC) -no-pie -Wl,--build-id=none -o $@ $^

$(O)/unit: $(OBJECTS) $(O)/test/unit.o $(O)/harness/main-none.o
	$(CC) -no-pie -o $@ $^

$(O)/lib/%.o: lib/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(COUNTED) -MMD -c -o $@ $<

$(O)/harness/main.o: harness/main.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -c -o $@ $<

$(O)/test/unit.o: test/unit.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -c -o $@ $<

# The unit tests count nothing, but the counting build's objects call the counter.
$(O)/harness/main-none.o: Makefile
	@mkdir -p $(@D)
	echo 'void __sanitizer_cov_trace_pc(void); void __sanitizer_cov_trace_pc(void) {}' | $(CC) -x c -c -o $@ -

$(O)/compile_commands.json: FORCE
	@set -e; sep='['; for file in $(LIB); do \\
		printf '%s{"directory":"%s","file":"%s","command":"$(CC) -O2 -Iinclude -c %s"}' \\
			"$$sep" "$(CURDIR)" $$file $$file; \\
		sep=','; done > $@.new; echo ']' >> $@.new; mv $@.new $@

FORCE:
-include $(OBJECTS:.o=.d)
"""

# Order and alignment of the objects' code by the seed and the objects' names alone, so that two sources pair by seed.
RELINK = """#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
set -e
cd "$HMOPT_TREE"
work=$(dirname "$HMOPT_LAYOUT_OUT")
order=$(printf '%s\\n' lib/crc.o lib/scan.o harness/main.o | while read -r name; do
	printf '%s %s\\n' "$(printf '%s %s' "$HMOPT_SEED" "$name" | cksum)" "$name"
done | sort -n | awk '{print "'"$1"'/" $3}')
printf '.text\\n.skip %d, 0x90\\n.section .note.GNU-stack\\n' $((16 * (HMOPT_SEED % 61 + 1))) | as -o "$work/pad.o" -
gcc -no-pie -Wl,--build-id=none -o "$HMOPT_LAYOUT_OUT" "$work/pad.o" $order
"""

# A line `address symbol` for each address on the input: the last symbol of the program that is not above it.
NAMES = """#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
set -e
{ nm --defined-only "$1" | awk '$2 ~ /^[tT]$/ { print $1, 0, $3 }'; sort -u | sed 's/$/ 1/'; } | sort |
	awk '$2 == 0 { name = $3 } $2 == 1 { print $1, name }'
"""

PROFILE = """#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Sampled call stacks, folded, and where the symbols are defined.
set -e
cd "$HMOPT_PROFILE_OUT"
scripts=$HMOPT_TREE/scripts symbols=$HMOPT_IMAGE.sym
"$HMOPT_IMAGE" "$HMOPT_SEED" "$HMOPT_SIZE" "$HMOPT_OFFSET" "$((HMOPT_REPS * 20))" stacks |
	sed -n 's/^stack //p' > stacks
tr ';' '\\n' < stacks | sh "$scripts/names.sh" "$symbols" > names
awk 'NR == FNR { name[$1] = $2; next }
	{ n = split($0, at, ";"); line = name[at[1]]; for (i = 2; i <= n; i++) line = line ";" name[at[i]]; count[line]++ }
	END { for (line in count) print line, count[line] }' names stacks | sort > folded.txt
{ echo 'hmopt-symbols 1'
  nm -l --defined-only "$symbols" | awk -v OFS='\\t' '$2 ~ /^[tT]$/ && $4 {
	split($4, at, ":"); sub("^.*/src/", "", at[1]); sub("^[.]/", "", at[1]); print $3, at[1], at[2] }'
} > symbols.txt
"""

PLACES = """#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# The exact profile of the counting build: how often each basic block ran, by symbol and line.
set -e
cd "$HMOPT_PROFILE_OUT"
"$HMOPT_IMAGE" "$HMOPT_SEED" "$HMOPT_SIZE" "$HMOPT_OFFSET" 1 places | sed -n 's/^place //p' | sort > places
cut -d ' ' -f 1 places > addresses
sh "$HMOPT_TREE/scripts/names.sh" "$HMOPT_IMAGE.sym" < addresses > names
addr2line -e "$HMOPT_IMAGE.sym" < addresses > lines
{ echo 'hmopt-self-counts 1'
  paste -d ' ' names places lines | awk -v OFS='\\t' '{ split($5, at, ":"); sub("^[.]/", "", at[1]); \\
	print $2, at[1], at[2] + 0, $4, $4 }'
} > counts.txt
"""

OVERLAY = """v: 1
description: the harness of the workloads
files: {harness/main.c: main.c}
"""

_RUN = '"$HMOPT_IMAGE" "$HMOPT_SEED" "$HMOPT_SIZE" "$HMOPT_OFFSET" "$HMOPT_REPS"'
_DIGEST = "^digest (\\w+)$"
_BLOCKS = {
    "adapter": "command",
    "build": "count",
    "run": _RUN,
    "repeatable": True,
    "outputs": _DIGEST,
    "metrics": {"blocks": {"kind": "count", "from": "^blocks (\\d+)$"}},
}
_TIME = {
    "adapter": "command",
    "build": "fast",
    "run": _RUN,
    "outputs": _DIGEST,
    # CPU time of the window: the machines that run these tests are shared, and elapsed time is not the project's own.
    "metrics": {"time": {"kind": "time", "unit": "ns", "from": "^time (\\d+)$"}},
}
_SAMPLES = {
    "adapter": "command",
    "build": "fast",
    "run": "sh scripts/profile.sh",
    "captures": {"folded": "folded.txt", "symbols": "symbols.txt"},
    "root": "bench_window",
}
_PLACES = {
    "adapter": "command",
    "build": "count",
    "run": "sh scripts/places.sh",
    "captures": {"self-counts": "counts.txt"},
}


def configuration() -> dict[str, Any]:
    """Return `.hmopt.yaml` as a document: `scan` is judged by its time, `scan-blocks` by an exact count alone."""
    inputs = {"size": 16384, "repetitions": 400, "check_sizes": [0, 65], "check_offsets": [1]}
    few = {**inputs, "repetitions": 20}
    document = {
        "version": 1,
        "builds": {
            "fast": {
                "adapter": "command",
                "run": "make -s O=build-fast",
                "image": "build-fast/bench",
                "symbols": "build-fast/bench.sym",
                "relink": "sh scripts/relink.sh build-fast",
                "compile_commands": "build-fast/compile_commands.json",
                "toolchain": {"cc": "gcc --version"},
            },
            "count": {
                "adapter": "command",
                "run": "make -s O=build-count BLOCKS=1",
                "image": "build-count/bench",
                "symbols": "build-count/bench.sym",
                "compile_commands": "build-count/compile_commands.json",
            },
        },
        "tests": {
            "unit": {"adapter": "command", "build": "fast", "run": "build-fast/unit", "format": "tap"},
            "unit-count": {"adapter": "command", "build": "count", "run": "build-count/unit", "format": "tap"},
        },
        "workloads": {
            "scan": {
                "description": "a checksum of a buffer, and the places of its zero bytes",
                "overlays": ["./bench"],
                "inputs": inputs,
                "measure": {"time": _TIME, "blocks": _BLOCKS},
                "profile": {"samples": _SAMPLES},
            },
            "scan-blocks": {
                "description": "the same, by the basic blocks that run",
                "overlays": ["./bench"],
                "inputs": few,
                "measure": {"blocks": _BLOCKS},
                "profile": {"places": _PLACES},
                "objective": {"metric": "blocks", "margin": 0.01},
            },
        },
        "measure": {"layouts": 4, "boots": 3, "null_patches": 1},
        "budget": {"iterations": 12, "regressions": 12, "no_gain": 12, "wall_s": 300},
    }
    # Tests change what they get; the parts above are everybody's.
    return copy.deepcopy(document)


def files() -> dict[str, str]:
    """Return every file of the project by its path."""
    return {
        **{f"include/{name}": text for name, text in HEADERS.items()},
        "lib/crc.c": crc_source(),
        "lib/scan.c": SCAN,
        "bench/main.c": BENCH,
        "bench/overlay.yaml": OVERLAY,
        "test/unit.c": UNIT,
        "Makefile": MAKEFILE,
        "scripts/relink.sh": RELINK,
        "scripts/names.sh": NAMES,
        "scripts/places.sh": PLACES,
        "scripts/profile.sh": PROFILE,
        "README": f"{TITLE}\n",
        ".hmopt.yaml": yaml.safe_dump(configuration(), sort_keys=False),
    }


@dataclass(frozen=True)
class Project:
    """A checkout of the project, and how to run git and `git hmopt` in it as a user does."""

    root: Path
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """Return a user's environment that knows nothing of this machine's."""
        scripts = Path(sys.executable).parent
        return {
            "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "HOME": str(self.home),
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
        }

    def git(self, *arguments: str, check: bool = True) -> str:
        """Return what plain git prints."""
        done = subprocess.run(
            ["git", *arguments], cwd=self.root, env=self.environment, capture_output=True, check=False
        )
        if check and done.returncode != 0:
            raise AssertionError(f"git {' '.join(arguments)}: {done.stderr.decode()}")
        return done.stdout.decode().removesuffix("\n")

    def hmopt(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        within_s: int = 300,
    ) -> subprocess.CompletedProcess[str]:
        """Run `git hmopt` to its end."""
        return subprocess.run(
            ["git", "hmopt", *arguments],
            cwd=cwd or self.root,
            env={**self.environment, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

    def write(self, path: str, text: str) -> None:
        """Write a file of the working tree."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def commit(self, message: str) -> str:
        """Commit everything and return the commit."""
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")


def make_project(
    directory: Path, *, contents: Mapping[str, str] | None = None, title: str = TITLE, trusted: bool = True
) -> Project:
    """Make a repository of one commit in `directory`, with a home beside it; `contents` default to the project's."""
    home = directory / "home"
    home.mkdir(parents=True)
    (home / ".gitconfig").write_text(
        "[user]\n\tname = Test\n\temail = test@example.org\n[init]\n\tdefaultBranch = main\n"
    )
    project = Project(directory / "project", home)
    project.root.mkdir()
    project.git("init", "-q")
    for path, text in (files() if contents is None else contents).items():
        project.write(path, text)
    project.commit(title)
    if trusted:
        done = project.hmopt("trust")
        assert done.returncode == 0, done.stderr
    return project


if __name__ == "__main__":
    print(make_project(Path(sys.argv[1])).root)
