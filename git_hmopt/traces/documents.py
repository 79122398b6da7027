# SPDX-License-Identifier: Apache-2.0
"""Read a JSON document whole: bounded, since Python's objects take many times the room of the text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NoReturn

from git_hmopt.traces.source import Source, read_at_most
from git_hmopt.traces.tables import TraceFormatError

MOST_BYTES = 96 << 20


def json_of(source: Source) -> object:
    """Return the document. Raises TraceFormatError when it is no JSON, or too large or too deep to be read."""
    with source.open() as stream:
        text = read_at_most(stream, MOST_BYTES)
    if text is None:
        raise TraceFormatError(f"{source.path}: a JSON document of more than {MOST_BYTES >> 20} MiB is not read")
    try:
        document: object = json.loads(text, parse_constant=_no_number)
    except RecursionError as error:
        raise TraceFormatError(f"{source.path}: this JSON is nested too deep to be read") from error
    except ValueError as error:
        raise TraceFormatError(f"{source.path}: this is no whole JSON document: {error}") from error
    return document


def mapping_of(value: object) -> Mapping[str, object]:
    """Return a part of a document that should be an object; an empty one in the place of anything else."""
    return value if isinstance(value, dict) else {}


def list_of(value: object) -> Sequence[object]:
    """Return a part of a document that should be an array; an empty one in the place of anything else."""
    return value if isinstance(value, list) else ()


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"'{word}' is no JSON")
