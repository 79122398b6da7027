# SPDX-License-Identifier: Apache-2.0
"""Which format reads which capture; other packages add formats by the entry point group `git_hmopt.traces`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TypeVar

from git_hmopt.errors import AdapterError
from git_hmopt.traces.capture import Format, Losses
from git_hmopt.traces.formats import FORMATS
from git_hmopt.traces.source import Source
from git_hmopt.traces.symbol_files import SymbolFiles
from git_hmopt.traces.tables import Table, TraceFormatError, first_event

GROUP = "git_hmopt.traces"
Sampled = TypeVar("Sampled", bound=Table)
LINES = "-lines"
"""What a kind ends in that is the source lines of a format whose captures hold samples as well."""

_PROVEN = SymbolFiles(dated=False)
"""The files of captures that are parsed by their kind may be copies."""
_BUNDLED = {one.name: one for one in FORMATS}
_KINDS = (
    "callgrind", f"callgrind{LINES}", "d3-json", "flamegraph-svg", "folded", "gecko", "hiperf-proto",
    "hiperf-report", "perf-data", "perf-script", "pprof", "self-counts", "speedscope", "symbols",
)  # fmt: skip


def kinds() -> list[str]:
    """Return every kind of capture that can be parsed here into samples or lines."""
    return sorted({*_KINDS, *(entry.name for entry in entry_points(group=GROUP))})


def format_of(name: str) -> Format:
    """Return a format by its name; a bundled one cannot be replaced from outside.

    Raises AdapterError, naming the known kinds, when there is none.
    """
    if name in _BUNDLED:
        return _BUNDLED[name]
    found = [entry for entry in entry_points(group=GROUP) if entry.name == name]
    if not found:
        raise AdapterError(f"no parser reads captures of kind '{name}'", next_step=f"known are: {', '.join(kinds())}")
    return _loaded(found[0])


def all_formats() -> Iterator[Format]:
    """Yield every format, ours first; AdapterError when another package's cannot be used."""
    yield from FORMATS
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        if entry.name not in _BUNDLED:
            yield _loaded(entry)


def _loaded(entry: EntryPoint) -> Format:
    try:
        found: Format = entry.load()
    except (ImportError, AttributeError) as error:
        raise AdapterError(
            f"the trace format '{entry.name}' ({entry.value}) cannot be loaded: {error}",
            next_step="remove or repair the package that it comes from",
        ) from error
    if not all(hasattr(found, name) for name in ("name", "recognise", "read")):
        raise AdapterError(f"the entry point '{entry.name}' of {GROUP} is no format: it has no recognise and read")
    return found


def parse(kind: str, path: Path, symbols: SymbolFiles = _PROVEN) -> Table:
    """Parse one capture file of a kind that is known; errors name the file.

    Of several sampled events the first is meant, and the samples of the others are counted.
    """
    named = kind if kind not in _KINDS else kind.removesuffix(LINES)
    source, losses = Source(path, symbols), Losses()
    try:
        capture = format_of(named).read(source)
        if capture.read_samples is not None and named == kind:
            tables = capture.read_samples(losses)
            if not tables:
                raise TraceFormatError(f"no samples: {_told(losses)}")
            return _with_rest(first_event(tables), losses, tables)
        if capture.read_lines is None:
            raise TraceFormatError(f"a capture of kind '{kind}' has neither samples nor lines")
        lines = capture.read_lines(losses)
        return _with_rest(lines, losses, [lines])
    except TraceFormatError as error:
        raise naming(str(path), error) from error


def naming(capture: str, error: TraceFormatError) -> TraceFormatError:
    """Return an error that names the capture it is of; parsers of texts know their lines only."""
    what = error.what if capture in error.what else f"{capture}: {error.what}"
    return TraceFormatError(what, next_step=error.next_step)


def _with_rest(table: Sampled, losses: Losses, tables: Sequence[Table]) -> Sampled:
    """Return the table with what was lost of none of the tables counted in it too."""
    rest = losses.copy()
    for one in tables:
        rest.subtract(one.skipped)
    return replace(table, skipped=dict(Counter(table.skipped) + rest)) if +rest else table


def _told(losses: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(losses.items())) or "the file has none"
