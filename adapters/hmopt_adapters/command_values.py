# SPDX-License-Identifier: Apache-2.0
"""Find a value in what a user's command printed, by regular expression or in its JSON; or say why there is none."""

from __future__ import annotations

import json
import math
import re

from git_hmopt.errors import MeasurementError


def matched(pattern: str, text: str, what: str) -> str:
    """Return the one value `pattern` finds; several equal ones are one."""
    found = {match.group(1) for match in re.finditer(pattern, text, re.MULTILINE)} - {None}
    if len(found) != 1:
        seen = f"{len(found)} different values" if found else "nothing"
        raise MeasurementError(f"{what}: '{pattern}' matches {seen} in the output, expected one value")
    return found.pop()


def json_value(text: str, key: str, name: str) -> object:
    """Return what stands at a dotted key of the output, or of its last line that is a JSON object."""
    for candidate in (text, *reversed(text.splitlines())):
        if not candidate.lstrip().startswith(("{", "[")):
            continue
        try:
            value: object = json.loads(candidate)
        except ValueError:
            continue
        return _at(value, key, name)
    raise MeasurementError(f"metric '{name}': the output holds no JSON, expected an object with '{key}'")


def _at(value: object, key: str, name: str) -> object:
    for part in key.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise MeasurementError(f"metric '{name}': the output's JSON has no '{key}' (nothing at '{part}')")
    return value


def number(value: object, what: str) -> float:
    """Return a value as a finite number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise MeasurementError(f"{what}: got {type(value).__name__} '{value}', expected a number")
    try:
        found = float(value)
    except (ValueError, OverflowError) as error:
        raise MeasurementError(f"{what}: got '{value}', expected a number") from error
    if not math.isfinite(found):
        raise MeasurementError(f"{what}: got '{value}', expected a finite number")
    return found
