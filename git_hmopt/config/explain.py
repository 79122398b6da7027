# SPDX-License-Identifier: Apache-2.0
"""Say what a pydantic model refused in the words of the file: file, line, key, what is wrong, what was expected."""

from __future__ import annotations

import difflib
import json
import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from git_hmopt.config.document import JsonValue, KeyPath, describe, nearest_line, refuse
from git_hmopt.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "literal_error": "{expected}",
    "string_pattern_mismatch": "text matching {pattern}",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "too_short": "{min_length} or more entries",
    "too_long": "at most {max_length} entries",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "at most {le}",
}


def validate(
    model: type[Model], value: Mapping[str, JsonValue], *, origin: str, lines: Mapping[KeyPath, int], at: KeyPath = ()
) -> Model:
    """Return `value` as `model`; ConfigError names the first wrong key in the file's order and how many follow.

    `at` is where `value` stands in the file. Validation is strict: `"3"` is no number and `1` no truth.
    """
    try:
        # JSON, because a strict python-mode validation refuses a list where the model has a tuple.
        return model.model_validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise _first_of(error.errors(include_url=False), model, value, origin, lines, at) from error


def problem(model: type[BaseModel], key: str, value: JsonValue) -> str | None:
    """Return what is wrong with `value` as the model's field `key`, in words without a place; None when nothing is."""
    try:
        model.model_validate_json(json.dumps({key: value}), strict=True)
    except ValidationError as error:
        return _explain(error.errors(include_url=False)[0], model, (key,))
    return None


def _first_of(
    problems: list[ErrorDetails],
    model: type[BaseModel],
    value: Mapping[str, JsonValue],
    origin: str,
    lines: Mapping[KeyPath, int],
    at: KeyPath,
) -> ConfigError:
    found: dict[tuple[bool, int, KeyPath], str] = {}
    for problem in problems:
        missing = problem["type"] == "missing"
        inner = _path_in(value, problem["loc"], missing=missing)
        path = (*at, *inner)
        found.setdefault((missing, nearest_line(lines, path), path), _explain(problem, model, inner))
    # A mistyped key is often also a missing one: the one that stands in the file explains both.
    (_, line, path), what = min(found.items(), key=lambda item: item[0][:2])
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return refuse(origin, line, path, what + more)


def _path_in(value: JsonValue | Mapping[str, JsonValue], loc: tuple[str | int, ...], *, missing: bool) -> KeyPath:
    """Return the part of pydantic's location that stands in the file: it adds union members and `[key]` of its own."""
    path: list[str | int] = []
    for index, part in enumerate(loc):
        if isinstance(value, Mapping) and part in value:
            value = value[str(part)]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        elif missing and index == len(loc) - 1:
            pass
        else:
            continue
        path.append(part)
    return tuple(path)


def _explain(problem: ErrorDetails, model: type[BaseModel], path: KeyPath) -> str:
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "missing":
        return f"is missing, expected {_wanted(model, path)}"
    if kind == "extra_forbidden":
        return unknown(str(path[-1]), _keys(_annotation(model, path[:-1])), what="key")
    if kind == "value_error":
        return str(context["error"])
    expected = _EXPECTED.get(kind)
    if expected is None:
        return f"got {describe(problem['input'])}: {problem['msg']}"
    got = describe(path[-1]) if problem["loc"][-1:] == ("[key]",) else describe(problem["input"])
    return f"got {got}, expected {expected.format_map(context)}"


def unknown(word: str, known: Iterable[str], *, what: str) -> str:
    """Return "unknown <what> 'word', expected ...", with the nearest known word first where one is near."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"unknown {what} '{word}', expected '{near[0]}'? (known: {', '.join(names)})"
    return f"unknown {what} '{word}', expected " + (f"one of: {', '.join(names)}" if names else "none")


def _wanted(model: type[BaseModel], path: KeyPath) -> str:
    annotation = _bare(_annotation(model, path))
    if get_origin(annotation) is Literal:
        return " or ".join(str(choice) for choice in get_args(annotation))
    if annotation in (str, int, float, bool):
        return {str: "text", int: "a whole number", float: "a number", bool: "true or false"}[annotation]
    if get_origin(annotation) in (tuple, list):
        return "a list"
    keys = _keys(annotation)
    return f"a mapping of {', '.join(keys)}" if keys else "a mapping"


def _keys(annotation: Any) -> list[str]:
    bare = _bare(annotation)
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        return [field.alias or name for name, field in bare.model_fields.items()]
    return []


def _annotation(model: type[BaseModel], path: KeyPath) -> Any:
    """Return the declared type of the value at `path`, or None when it is the model's own affair."""
    annotation: Any = model
    for part in path:
        bare = _bare(annotation)
        if isinstance(bare, type) and issubclass(bare, BaseModel):
            fields = {field.alias or name: field for name, field in bare.model_fields.items()}
            annotation = fields[part].annotation if part in fields else None
        elif get_origin(bare) is dict:
            annotation = get_args(bare)[1]
        elif get_origin(bare) in (tuple, list):
            annotation = get_args(bare)[0]
        else:
            return None
    return annotation


def _bare(annotation: Any) -> Any:
    """Return a type without `Annotated` and without `| None`."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (types.UnionType, Union):
        members = [member for member in get_args(annotation) if member is not type(None)]
        return _bare(members[0]) if len(members) == 1 else annotation
    return annotation
