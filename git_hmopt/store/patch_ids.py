# SPDX-License-Identifier: Apache-2.0
"""Patch ids of many commits with two git processes a hundred of them, equal to `Repository.patch_id` of each."""

from __future__ import annotations

from collections.abc import Mapping

from git_hmopt.records.words import Oid
from git_hmopt.store.repository import DIFF_OPTIONS, DIFF_SETTINGS, Repository

AT_ONCE = 100
"""Commits whose diffs are in memory together."""


def patch_ids(repository: Repository, against: Mapping[Oid, Oid | None]) -> dict[Oid, str]:
    """Return the patch id of each commit's difference from the commit named beside it (None: from nothing).

    Commits that differ in nothing have none, and those whose objects are not in this clone are left out.
    """
    here = _here(repository, {oid for pair in against.items() for oid in pair if oid})
    pairs = [f"{new} {old or ''}".strip() for new, old in against.items() if new in here and (not old or old in here)]
    found: dict[Oid, str] = {}
    for start in range(0, len(pairs), AT_ONCE):
        asked = "".join(f"{pair}\n" for pair in pairs[start : start + AT_ONCE])
        diffs = repository.git.run(
            *("diff-tree", "--stdin", "--root", "-r", "-p", *DIFF_OPTIONS), stdin=asked.encode(), settings=DIFF_SETTINGS
        ).output
        said = repository.git.run("patch-id", "--stable", stdin=diffs).text
        found |= {Oid(commit): patch_id for patch_id, commit in (line.split() for line in said.splitlines())}
    return found


def _here(repository: Repository, oids: set[Oid]) -> set[Oid]:
    asked = "".join(f"{oid}\n" for oid in sorted(oids))
    said = repository.git.run("cat-file", "--batch-check=%(objectname) %(objecttype)", stdin=asked.encode()).text
    return {Oid(line.removesuffix(" commit")) for line in said.splitlines() if line.endswith(" commit")}
