# SPDX-License-Identifier: Apache-2.0
"""How `git hmopt analyze --static` counts what the graph of a build has."""

from __future__ import annotations

import json

from git_hmopt.cli.building import progress, tell_notes
from git_hmopt.errors import ExitCode
from git_hmopt.psg.ask import About, Basis, Wish, structure_of
from git_hmopt.report.structure import statistics_told
from git_hmopt.report.wording import plain
from git_hmopt.store.repository import Repository


def counted(repository: Repository, wish: Wish, *, as_json: bool) -> ExitCode:
    """Print the counts and what they rest on; say what is missing where nothing was ever parsed."""
    with progress() as say, structure_of(repository, About(), wish, say=say) as grounds:
        known = grounds.basis is not Basis.APPROXIMATE
        statistics = grounds.structure.statistics() if known else None
        if as_json:
            head = {"v": 1, "basis": grounds.basis.value, "build": grounds.described, "notes": list(grounds.notes)}
            print(json.dumps({**head, "statistics": statistics}))
            return ExitCode.OK if known else ExitCode.NO
        tell_notes(grounds)
        if statistics is not None:
            print("\n".join([*statistics_told(statistics), plain(grounds.told)]))
            return ExitCode.OK
        print(f"nothing to count: {plain(grounds.lacking)}\nnext: {grounds.next_step}")
        return ExitCode.NO
