# SPDX-License-Identifier: Apache-2.0
"""Patches for the small project, one for each way a candidate can end; each is made by git from an edit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.loop.project import Project

_LOOP = """	while (len--)
		crc = (crc >> 8) ^ crc32c_table[(crc ^ *p++) & 0xff];
"""
_SLICED = """	for (; len >= 4; len -= 4, p += 4) {
		crc ^= p[0] | p[1] << 8 | p[2] << 16 | (u32)p[3] << 24;
		crc = crc32c_wide[2][crc & 0xff] ^ crc32c_wide[1][(crc >> 8) & 0xff] ^
			crc32c_wide[0][(crc >> 16) & 0xff] ^ crc32c_table[crc >> 24];
	}
"""
_TABLES = """static u32 crc32c_wide[3][256];

static int crc32c_widen(void)
{
	int i, k;

	for (i = 0; i < 256; i++)
		for (k = 0; k < 3; k++) {
			u32 crc = k ? crc32c_wide[k - 1][i] : crc32c_table[i];

			crc32c_wide[k][i] = (crc >> 8) ^ crc32c_table[crc & 0xff];
		}
	return 0;
}
early_initcall(crc32c_widen)

"""
_START = "	const unsigned char *p = start;\n"
_HEAD = "/* Return @crc continued"


@dataclass(frozen=True)
class Candidate:
    """One patch, and what must become of it."""

    name: str
    edits: Mapping[str, tuple[str, str]]
    """Old and new text by path."""
    verdict: str
    rule: str | None = None
    reason: str = ""
    """A part of the reason that must be told."""


CANDIDATES = (
    Candidate(
        "slices",
        {
            "lib/crc.c": (_LOOP, _SLICED + _LOOP),
            "include/linux/scan.h": (
                "#include <linux/types.h>\n",
                "#include <linux/init.h>\n#include <linux/types.h>\n",
            ),
        },
        "improved",
    ),
    Candidate("comment", {"lib/scan.c": ("/* Finding bytes. */", "/* Finding bytes,\n * one by one. */")}, "no-change"),
    Candidate(
        "one-size",
        # The harness scans a quarter of its buffer.
        {"lib/scan.c": (_START, f"{_START}\n	if (n == 65 / 4)\n		return start;\n")},
        "incorrect",
        reason="size 65",
    ),
    Candidate(
        "harness", {"bench/main.c": ("placing = 0;", "placing = 0, size /= 2;")}, "rejected", "harness", "bench/main.c"
    ),
    Candidate("flags", {"Makefile": ("-O2 -g", "-O3 -g")}, "rejected", "build-flags", "Makefile"),
    Candidate(
        "clock",
        {"lib/scan.c": ("	return NULL;", "	return get_cycles() ? NULL : p;")},
        "rejected",
        "special-casing",
    ),
    Candidate(
        "syntax", {"lib/scan.c": ("	return NULL;", "	return NULL")}, "rejected", "build", "error: expected"
    ),
    Candidate(
        "warning",
        {"lib/scan.c": ("	return NULL;", "	int unused;\n\n	return NULL;")},
        "rejected",
        "warnings",
        "unused",
    ),
    Candidate("stale", {}, "rejected", "apply", "does not apply"),
)
_STALE = """--- a/lib/scan.c
+++ b/lib/scan.c
@@ -1,3 +1,3 @@
 // SPDX-License-Identifier: GPL-2.0-only
-/* What stood here long ago. */
+/* What stands here now. */
 #include <linux/kernel.h>
"""


def write_patches(project: Project, directory: Path, candidates: tuple[Candidate, ...] = CANDIDATES) -> None:
    """Write `<number>-<name>.patch` for each candidate, the working tree left as it was."""
    directory.mkdir(parents=True)
    for number, candidate in enumerate(candidates, start=1):
        for path, (old, new) in candidate.edits.items():
            text = (project.root / path).read_text()
            assert text.count(old) == 1, (candidate.name, path, old)
            text = text.replace(old, new)
            project.write(path, text.replace(_HEAD, _TABLES + _HEAD) if new.startswith(_SLICED) else text)
        diff = project.git("diff") + "\n" if candidate.edits else _STALE
        project.git("checkout", "-q", ".")
        title = f"lib: {candidate.name}"
        (directory / f"{number:04d}-{candidate.name}.patch").write_text(f"{title}\n\nWhy it should be so.\n---\n{diff}")
