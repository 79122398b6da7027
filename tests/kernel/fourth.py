# SPDX-License-Identifier: Apache-2.0
"""Draw a function of lib/ at random and write a workload for it: YAML and an overlay, nothing else."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from pathlib import Path

_WORDS = "unsigned long long|unsigned long|unsigned int|unsigned char|unsigned short|long long|long|int"
_INTEGER = rf"(?:{_WORDS}|u8|u16|u32|u64|size_t|bool)"
_ATTRIBUTES = r"(?:(?:__pure|__attribute_const__|noinline|__weak) +)*"
_DEFINITION = re.compile(
    rf"^{_ATTRIBUTES}(?P<result>{_INTEGER}) +{_ATTRIBUTES}(?P<name>[a-z]\w*)\((?P<parameters>[^()]*)\)\n\{{",
    re.MULTILINE,
)
_NUMBER = re.compile(rf"(?:const +)?(?P<type>{_INTEGER}) +\w+")
_BUFFER = re.compile(r"(?:const +)(?:void|u8|char|unsigned char|uint8_t) *\* *\w+")
# A zero divisor or a giant loop count is the caller's business, so numbers are between 1 and 2^15.
_MASK = "0x7fff"


@dataclass(frozen=True)
class Drawn:
    """A function and how to call it."""

    file: str
    function: str
    header: str
    call: str
    """A C expression over `number(&state)`, `in->data` and `length`."""


def candidates(root: Path, compiled: set[str], known: set[str]) -> list[Drawn]:
    """Return every exported function of lib/*.c that takes numbers, and at most one buffer with its length."""
    found = []
    headers = {path: path.read_text(errors="replace") for path in sorted((root / "include/linux").glob("*.h"))}
    for path in sorted((root / "lib").rglob("*.c")):
        file = path.relative_to(root).as_posix()
        if file not in compiled or file in known or "test" in path.name or "kunit" in path.name:
            continue
        text = path.read_text(errors="replace")
        for match in _DEFINITION.finditer(text):
            call = _call(match["name"], match["parameters"])
            exported = re.search(rf"EXPORT_SYMBOL(?:_GPL)?\({match['name']}\)", text)
            declared = re.compile(rf"^[^#*/\n;(]*\b{match['name']}\([^;{{}}]*\)[^;{{}}()]*;", re.MULTILINE)
            header = min((one for one, said in headers.items() if declared.search(said)), key=_size, default=None)
            if call and exported and header:
                found.append(Drawn(file, match["name"], f"linux/{header.name}", call))
    return sorted(set(found), key=lambda one: (one.file, one.function))


def _size(path: Path) -> int:
    return path.stat().st_size


def _call(name: str, parameters: str) -> str | None:
    words = []
    buffers = 0
    for parameter in (part.strip() for part in parameters.replace("\n", " ").split(",")):
        number = _NUMBER.fullmatch(parameter)
        if _BUFFER.fullmatch(parameter):
            buffers += 1
            words.append("(const void *)in->data")
        elif number and buffers and "len" in parameter:
            words.append("length")
        elif number:
            words.append(f"({number['type']})(1 + (hmopt_next(&state) & {_MASK}))")
        else:
            return None
    if buffers > 1 or (buffers and "length" not in words):
        return None
    return f"{name}({', '.join(words)})"


def draw(found: list[Drawn], seed: int) -> Drawn:
    """Return one of them, by the seed."""
    return random.Random(seed).choice(found)


OVERLAY = """\
v: 1
description: {function}() of {file}, drawn at random
files:
  lib/hmopt/hmopt_drawn.c: hmopt_drawn.c
append:
  lib/hmopt/Makefile: ["obj-y += hmopt_drawn.o"]
requires: [common]
"""

SOURCE = """\
// SPDX-License-Identifier: GPL-2.0-only
#include <linux/mm.h>
#include <linux/slab.h>
#include <{header}>

#include "hmopt_bench.h"

struct drawn_input {{
	u8 *data;
	u64 digest;
}};

static void drawn_release(void *input)
{{
	struct drawn_input *in = input;

	kvfree(in->data);
	kfree(in);
}}

static void *drawn_prepare(const struct hmopt_case *c)
{{
	struct drawn_input *in = kzalloc(sizeof(*in), GFP_KERNEL);
	u64 state = c->seed;
	u32 i;

	if (!in)
		return NULL;
	in->data = kvmalloc(c->size + 64, GFP_KERNEL);
	if (!in->data) {{
		drawn_release(in);
		return NULL;
	}}
	for (i = 0; i < c->size + 64; i++)
		in->data[i] = hmopt_next(&state);
	return in;
}}

static void drawn_work(void *input, const struct hmopt_case *c)
{{
	struct drawn_input *in = input;
	u64 state = c->seed, digest = HMOPT_DIGEST_START;
	u32 rep, i;
	size_t length __maybe_unused = 64;

	for (rep = 0; rep < c->reps; rep++)
		for (i = 0; i < c->size; i++)
			digest = (digest ^ (u64){call}) *
				 0x100000001b3ULL;
	in->digest = digest;
}}

static const char *drawn_check(void *input, const struct hmopt_case *c)
{{
	return NULL;
}}

static u64 drawn_digest(void *input, const struct hmopt_case *c)
{{
	return ((struct drawn_input *)input)->digest;
}}

static const struct hmopt_workload drawn_workload = {{
	.name = "hmopt_drawn",
	.prepare = drawn_prepare,
	.work = drawn_work,
	.check = drawn_check,
	.digest = drawn_digest,
	.release = drawn_release,
}};
HMOPT_SUITE(hmopt_drawn, drawn_workload);
"""

WORKLOAD = """
  lib-drawn:
    description: {function}() of {file}
    overlays: [./{folder}]
    inputs: {{size: 1000, repetitions: 100, count_repetitions: 10, check_sizes: [0, 1, 7, 64], check_offsets: [0]}}
    measure:
      time: {{adapter: uml, build: uml, suite: hmopt_drawn}}
      instructions: {{adapter: qemu, build: x86, suite: hmopt_drawn}}
    profile:
      stacks: {{adapter: perf, build: uml, suite: hmopt_drawn}}
      counts: {{adapter: qemu-profile, build: x86, suite: hmopt_drawn}}
"""


def write(drawn: Drawn, root: Path, folder: str) -> str:
    """Write the overlay below `root` and return the YAML of its workload."""
    place = root / folder
    place.mkdir(parents=True, exist_ok=True)
    (place / "overlay.yaml").write_text(OVERLAY.format(function=drawn.function, file=drawn.file))
    (place / "hmopt_drawn.c").write_text(SOURCE.format(header=drawn.header, call=drawn.call))
    return WORKLOAD.format(function=drawn.function, file=drawn.file, folder=folder)
