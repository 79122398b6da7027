# SPDX-License-Identifier: Apache-2.0
"""A change of twenty files of Linux 6.1, as a treewide pull request makes it: hot code, headers, what is not built."""

from __future__ import annotations

from git_hmopt.loop.structure import Changes
from git_hmopt.records.words import Oid
from git_hmopt.store.repository import Repository

HEAD = "f" * 40
"""What its head is called, which is no commit."""
_FILES = (
    "Documentation/core-api/kobject.rst", "block/blk-mq.c", "drivers/net/ethernet/intel/e1000/e1000_main.c",
    "fs/namei.c", "fs/open.c", "fs/read_write.c", "include/linux/list.h", "include/linux/mm_types.h",
    "include/linux/sched.h", "kernel/fork.c", "kernel/sched/core.c", "kernel/sched/fair.c", "lib/Kconfig",
    "lib/crc64.c", "lib/rbtree.c", "lib/sort.c", "lib/string.c", "mm/mmap.c", "mm/page_alloc.c", "mm/slub.c",
)  # fmt: skip
_EDITS = {
    "lib/sort.c": (b"if (swap_func == SWAP_WORDS_64)", b"if (likely(swap_func == SWAP_WORDS_64))"),
    "include/linux/mm_types.h": (b"struct page {", b"struct page {\n\tunsigned long seen;"),
    "Documentation/core-api/kobject.rst": (b"\n\n", b"\n\nRevised.\n\n"),
    "fs/read_write.c": (b"\treturn ksys_read(fd, buf, count);", b"\tbarrier();\n\treturn ksys_read(fd, buf, count);"),
    "lib/Kconfig": (b"config CRC64\n", b"config CRC64\n\tdefault y\n"),
}
_FIRST = (b"\treturn ", b"\tbarrier();\n\treturn ", 3)
"""What the other files get in their first functions."""


def twenty_files(repository: Repository, base: Oid) -> Changes:
    """Return both sides of the change, whose base is what the repository has there. AssertionError: it is another."""
    sides: dict[str, tuple[bytes | None, bytes | None]] = {}
    for path in _FILES:
        before = repository.read_path(base, path)
        assert before is not None, f"{path} is not in {base}"
        after = before.replace(*_EDITS[path], 1) if path in _EDITS else before.replace(*_FIRST)
        assert after != before, f"{path} is another than in Linux 6.1"
        sides[path] = (before, after)
    return sides
