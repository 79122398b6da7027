# SPDX-License-Identifier: Apache-2.0
"""Where symbols are defined, as the structure graph says, or files that name them where nothing was built.

Nothing is parsed for it: what changed since the graph was made is read as text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from git_hmopt.errors import UsageError
from git_hmopt.loop.hotspots import Place
from git_hmopt.psg.ask import About, Basis, Grounds, Wish, structure_of
from git_hmopt.psg.facts import Kind
from git_hmopt.store.repository import Repository


def places(
    repository: Repository, symbols: Sequence[str], build: Path | None, tell: Callable[[str], None]
) -> Mapping[str, Place]:
    """Return where functions are defined; `tell` hears what the answer rests on."""
    if not symbols:
        return {}
    with structure_of(repository, About(tuple(symbols)), Wish(build, provisional=True)) as grounds:
        tell(grounds.told)
        found = {symbol: _place(grounds, symbol) for symbol in symbols}
    return {symbol: place for symbol, place in found.items() if place is not None}


def _place(grounds: Grounds, symbol: str) -> Place | None:
    try:
        known = grounds.symbols(symbol)
    except UsageError:
        return None
    defined = [place for one in known for place in grounds.structure.places(one) if place.kind is Kind.FUNCTION]
    if not defined:
        return None
    first = defined[0]
    by = "text" if grounds.basis is Basis.APPROXIMATE or first.approximate else "psg"
    return Place(first.file, first.first_line, first.last_line, by, len(defined) - 1)
