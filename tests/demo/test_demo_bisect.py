# SPDX-License-Identifier: Apache-2.0
"""`git bisect run git hmopt check` in the demo's own tree: sixteen commits, one of which spoils an algorithm."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from git_hmopt.demo.tree import make_repository
from tests.demo.trees import COMPILERS

WORKLOAD = "path-lookup"
# As wide as the planted loss allows: the machines that run these tests are shared.
MARGIN = "  path-lookup:\n    objective: {margin: 0.5}\n"
NOTE = "\n/* A note on what is above. */\n"
HELPER = "\nu64 wheel_clock(const struct timer_wheel *wheel)\n{\n	return wheel->clk;\n}\n"
BUCKETS = "#define D_HASH_BITS	12"
PLANTED = 11
Edit = tuple[str, str, str, str]
"""Title, path, old text (empty: at the end), new text."""
EDITS: tuple[Edit, ...] = (
    ("README: say what make does", "README.md", "does what it says", "does what it says it does"),
    ("lib/crc64: a note", "lib/crc64.c", "", NOTE),
    ("timer: let others read the clock", "kernel/timer.c", "", HELPER),
    ("fs/namei: a note", "fs/namei.c", "", NOTE),
    ("mm/slab: a note", "mm/slab.c", "", NOTE),
    ("fs/dcache: say where FNV-1a is from", "fs/dcache.c", "/* FNV-1a */", "/* FNV-1a, RFC 9923 */"),
    ("ipc/msg: a note", "ipc/msg.c", "", NOTE),
    ("lib/string: a note", "lib/string.c", "", NOTE),
    ("kernel/sched: a note", "kernel/sched.c", "", NOTE),
    ("fs/dcache: more buckets", "fs/dcache.c", BUCKETS, "#define D_HASH_BITS	13"),
    # The planted one: every list of names is as long as half of all names.
    ("fs/dcache: save the buckets' memory", "fs/dcache.c", "#define D_HASH_BITS	13", "#define D_HASH_BITS	1"),
    ("timer: let others see more of the clock", "kernel/timer.c", "", HELPER.replace("wheel_clock", "wheel_time")),
    ("lib/rbtree: a note", "lib/rbtree.c", "", NOTE),
    ("fs/dcache: a note", "fs/dcache.c", "", NOTE),
    ("README: fewer words", "README.md", "# Building blocks", "# Blocks"),
)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None or not COMPILERS, reason="needs make and a compiler")
def test_it_finds_the_commit_that_spoilt_an_algorithm(tmp_path: Path) -> None:
    place = tmp_path / "tree"
    make_repository(place)
    environment = {
        **os.environ, "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "T", "GIT_AUTHOR_EMAIL": "t@example.org",
        "GIT_COMMITTER_NAME": "T", "GIT_COMMITTER_EMAIL": "t@example.org",
        "HMOPT_MEASURE_LAYOUTS": "4", "HMOPT_MEASURE_BOOTS": "3", "HMOPT_MEASURE_NULL_PATCHES": "1",
    }  # fmt: skip

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=place, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    configured = (place / ".hmopt.yaml").read_text().replace("  path-lookup:\n", MARGIN, 1)
    (place / ".hmopt.yaml").write_text(configured)
    git("commit", "-qam", "Only what everybody would notice is slower")
    commits = [git("rev-parse", "HEAD").strip()]
    for title, path, old, new in EDITS:
        text = (place / path).read_text()
        (place / path).write_text(text.replace(old, new, 1) if old else text + new)
        git("commit", "-qam", title)
        commits.append(git("rev-parse", "HEAD").strip())
    assert len(commits) == 16
    git("hmopt", "trust")
    git("bisect", "start", commits[-1], commits[0])
    said = git("bisect", "run", "git", "hmopt", "check", "--workload", WORKLOAD)
    assert f"{commits[PLANTED]} is the first bad commit" in said
    answers = dict(
        re.findall(r"^HEAD (\w+) against \w+\n(?:.*\n)*?answer: .* \(exit code (\d+)\)$", said, re.MULTILINE)
    )
    assert len(answers) >= 3
    for head, code in answers.items():
        number = next(number for number, one in enumerate(commits) if one.startswith(head))
        assert code == ("1" if number >= PLANTED else "0"), (number, said)
