# SPDX-License-Identifier: Apache-2.0
"""Which parser reads which kind of capture; other packages add kinds by the entry point group `git_hmopt.traces`.

What an entry point of that group names is a format, which also recognises its captures (traces/sniff.py), or a parser
alone, for captures whose kind is said. What comes with us cannot be replaced from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, cast

from git_hmopt.errors import AdapterError, MeasurementError
from git_hmopt.traces import callgrind, folded, perf_script, self_counts, symbols
from git_hmopt.traces.capture import Capture, Format, Losses
from git_hmopt.traces.formats import FORMATS
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import Table, TraceFormatError

GROUP = "git_hmopt.traces"
Parser = Callable[[BinaryIO], Table]
"""Reads a capture's bytes (iterating gives lines) into one of our tables; raises TraceFormatError."""

BUNDLED: Mapping[str, Parser] = MappingProxyType(
    {
        "callgrind": callgrind.parse_stacks,
        "callgrind-lines": callgrind.parse_lines,
        "folded": folded.parse,
        "perf-script": perf_script.parse,
        "self-counts": self_counts.parse,
        "symbols": symbols.parse,
    }
)


def kinds() -> list[str]:
    """Return every kind of capture that can be parsed here."""
    return sorted({*BUNDLED, *(one.name for one in FORMATS), *(entry.name for entry in entry_points(group=GROUP))})


def all_formats() -> Iterator[Format]:
    """Yield every format, ours first; AdapterError when another package's cannot be loaded."""
    yield from FORMATS
    ours = {one.name for one in FORMATS}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        found = _loaded(entry)
        if is_format(found) and found.name not in ours:
            yield found


def is_format(found: object) -> bool:
    """Say whether what an entry point names is a format and not a parser."""
    return all(hasattr(found, name) for name in ("name", "recognise", "read"))


def _loaded(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise AdapterError(
            f"the trace format '{entry.name}' ({entry.value}) cannot be loaded: {error}",
            next_step="remove or repair the package that it comes from",
        ) from error


def parser_of(kind: str) -> Parser | Format:
    """Return the parser or format of `kind`. Raises AdapterError, naming the known kinds, when there is none."""
    if kind in BUNDLED:
        return BUNDLED[kind]
    for one in FORMATS:
        if one.name == kind:
            return one
    for entry in entry_points(group=GROUP):
        if entry.name == kind:
            found: Parser | Format = _loaded(entry)
            return found
    raise AdapterError(f"no parser reads captures of kind '{kind}'", next_step=f"known are: {', '.join(kinds())}")


def parse(kind: str, path: Path) -> Table:
    """Parse one capture file; errors name the file. Of several sampled events the first is returned."""
    parser = parser_of(kind)
    try:
        if is_format(parser):
            return _table(cast("Format", parser).read(Source(path)), path)
        with path.open("rb") as stream:
            return cast("Parser", parser)(stream)
    except TraceFormatError as error:
        what = error.what if str(path) in error.what else f"{path}: {error.what}"
        raise TraceFormatError(what, next_step=error.next_step) from error
    except OSError as error:
        raise MeasurementError(f"cannot read the capture {path}: {error.strerror}") from error


def _table(capture: Capture, path: Path) -> Table:
    losses = Losses()
    if capture.read_samples is not None:
        tables = capture.read_samples(losses)
        if tables:
            return tables[0]
    if capture.read_lines is not None:
        return capture.read_lines(losses)
    raise TraceFormatError(f"{path}: a {capture.format} capture has neither samples nor counts by line")
