# SPDX-License-Identifier: Apache-2.0
"""Subsystems of files by a MAINTAINERS file, ranked as scripts/get_maintainer.pl does."""

from __future__ import annotations

import time

import pytest

from git_hmopt.psg.maintainers import Maintainers

TEXT = """
List of maintainers

	F: *Files* in the explanation are indented

Maintainers List
----------------

DEEP
M:	Somebody <s@example.org>
F:	drivers/net/ethernet/
X:	drivers/net/ethernet/intel/
X:	drivers/net/ethernet/a?.c

SPELT
F: lib/crc64.c
F:	lib/crc/

STAR
F:	lib/crc*
F:	lib/locking*.[ch]
F:	arch/*/include/asm/crc.h

LIBRARY
F:	lib/
F:	include/linux/lib.h

WIDE
F:	drivers/
F:	drivers/*/acpi*/

NAMES
N:	tegra
N:	( wrong
X:	lib/tegra-not.c

TOP STAR
F:	*/special.c

THE REST
F:	*
F:	*/
"""


@pytest.mark.parametrize(
    ("path", "subsystem"),
    [
        ("lib/crc64.c", "SPELT"),
        ("lib/crc32.c", "STAR"),
        ("lib/crc/a.c", "SPELT"),
        ("lib/crc32/a.c", "LIBRARY"),
        ("lib/locking-x.h", "STAR"),
        ("lib/locking-x.S", "LIBRARY"),
        ("lib/a/b/c.c", "LIBRARY"),
        ("lib", ""),
        ("library/a.c", ""),
        ("include/linux/lib.h", "LIBRARY"),
        ("arch/x86/include/asm/crc.h", "STAR"),
        ("arch/x86/um/include/asm/crc.h", ""),
        ("drivers/net/ethernet/b.c", "DEEP"),
        ("drivers/net/ethernet/ab.c", "WIDE"),
        ("drivers/net/ethernet/intel/b.c", "WIDE"),
        ("drivers/a/acpi2/b.c", "WIDE"),
        ("sound/tegra20.c", "NAMES"),
        ("lib/tegra20.c", "LIBRARY"),
        ("lib/tegra-not.c", "LIBRARY"),
        ("kernel/special.c", "TOP STAR"),
        ("kernel/tegra/special.c", "NAMES"),
        ("README", ""),
        ("", ""),
        ("lib/\udcff\n.c", "LIBRARY"),
    ],
)
def test_the_deepest_pattern_wins(path: str, subsystem: str) -> None:
    assert Maintainers(TEXT).subsystem(path) == subsystem


@pytest.mark.parametrize(
    "text",
    ["", "\n\n", "F:", "F: ", "NAME\nF:\t\n", "\0", "A\nF: lib/[z-a\nF: (\nF: lib/[z-a].c\n", "A\nN: [\n"],
    ids=repr,
)
def test_what_names_no_file(text: str) -> None:
    assert Maintainers(text).subsystem("lib/a.c") == ""


def test_other_line_ends_and_encodings() -> None:
    text = b"GR\xd6SSE\r\nM:\tx\r\nF:\tlib/\r\n\r\nTWO\x0c\r\nF:\tmm/\r\n".decode("utf-8", "replace")
    assert [Maintainers(text).subsystem(path) for path in ("lib/a.c", "mm/a.c")] == ["GR\ufffdSSE", "TWO"]


def test_of_equal_patterns_the_first_counts() -> None:
    assert Maintainers("ONE\nF: fs/nfs/\n\nTWO\nF: fs/nfs/\n").subsystem("fs/nfs/a.c") == "ONE"


def test_a_large_file_and_many_questions_take_seconds() -> None:
    text = "".join(f"S{number}\nF:\tdrivers/d{number}/\nF:\tinclude/d{number}*\n\n" for number in range(20_000))
    began = time.process_time()
    maintainers = Maintainers(text)
    assert maintainers.subsystem("include/d19999.h") == "S19999"
    found = {maintainers.subsystem(f"drivers/d{number}/a.c") for number in range(20_000)}
    assert len(found) == 20_000
    assert time.process_time() - began < 15
