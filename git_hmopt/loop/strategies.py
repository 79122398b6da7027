# SPDX-License-Identifier: Apache-2.0
"""What a run's hotspots are shown to try: the repository's own strategies, of its configuration and of files that it
names, before and in place of the shipped ones.

Files come from the base commit, as the source does: a candidate that writes one changes nothing. They are text for
people and models and no commands, so that trust in commands does not cover them.
"""

from __future__ import annotations

from git_hmopt.config.load import LoadedConfig
from git_hmopt.config.overlay import path_problem
from git_hmopt.evidence.strategies import extended, parse_strategies, shipped, templates_of
from git_hmopt.records.evidence import Template
from git_hmopt.records.words import Oid
from git_hmopt.store.repository import Repository


def run_templates(repository: Repository, base: Oid, loaded: LoadedConfig) -> tuple[Template, ...]:
    """Return the templates of a run; ConfigError for a file that is not in `base`, or holds something else."""
    own = list(templates_of(loaded.config.strategies))
    named = {one.name: loaded.origin for one in own}
    for index, path in enumerate(loaded.config.strategy_files):
        where = loaded.at("strategy_files", index)
        inner = path.removeprefix("./")
        problem = path_problem(inner)
        if problem:
            raise where.refuse(f"'{path}' {problem}, expected the path of a file in the repository")
        data = repository.read_path(base, inner)
        if data is None:
            raise where.refuse(f"'{path}' is no file of the base commit {base[:12]}, expected one that is committed")
        for one in parse_strategies(data, origin=f"{base[:12]}:{inner}"):
            if one.name in named:
                raise where.refuse(f"'{path}' has '{one.name}', which {named[one.name]} has, expected each name once")
            named[one.name] = inner
            own.append(one)
    return extended(own, shipped())
