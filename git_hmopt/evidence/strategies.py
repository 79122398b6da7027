# SPDX-License-Identifier: Apache-2.0
"""What to try by bottleneck class: the shipped templates, and those a repository adds or replaces."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict

from git_hmopt.config.document import parse_document, refuse
from git_hmopt.config.explain import validate
from git_hmopt.config.load import check_version, repeated_strategies
from git_hmopt.config.schema import StrategySection
from git_hmopt.records.evidence import Template

FILE = "strategies.yaml"
VERSION = 1


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    version: Literal[1]
    strategies: tuple[StrategySection, ...]


def parse_strategies(data: bytes, *, origin: str) -> tuple[Template, ...]:
    """Return the templates of a file; ConfigError with file, line and key for whatever is wrong in it."""
    document = parse_document(data, origin=origin)
    check_version(document, key="version", newest=VERSION)
    read = validate(_File, document.value, origin=origin, lines=document.lines)
    for path, what in repeated_strategies(read.strategies, document.lines):
        raise refuse(origin, document.line(path), path, what)
    return templates_of(read.strategies)


def templates_of(sections: Sequence[StrategySection]) -> tuple[Template, ...]:
    """Return a configuration's strategies as they stand in a pack."""
    return tuple(Template.model_validate(section.model_dump()) for section in sections)


@cache
def shipped() -> tuple[Template, ...]:
    """Return the templates of this package."""
    return parse_strategies(files("git_hmopt.evidence").joinpath(FILE).read_bytes(), origin=FILE)


def extended(own: Sequence[Template], base: Sequence[Template]) -> tuple[Template, ...]:
    """Return `base` with a repository's own: one of a known name stands in its place, others come first.

    A repository knows its code better than this package does.
    """
    by_name = {one.name: one for one in own}
    known = {one.name for one in base}
    return (*(one for one in own if one.name not in known), *(by_name.get(one.name, one) for one in base))


def serving(templates: Sequence[Template], bottleneck: str) -> tuple[Template, ...]:
    """Return the templates of a class."""
    return tuple(one for one in templates if one.bottleneck == bottleneck)
