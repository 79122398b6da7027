# SPDX-License-Identifier: Apache-2.0
"""What every record has in common: frozen, strict about unknown keys, canonical as JSON."""

from __future__ import annotations

import decimal
import json
import math
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict

from git_hmopt.errors import HmoptError


class Record(BaseModel):
    """A stored value: frozen, unknown keys refused, canonical bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def canonical(self) -> str:
        """Return the one-line JSON that is stored; equal records give equal text."""
        return canonical_json(self.model_dump(mode="json"))


def canonical_json(value: Any) -> str:
    """Return single-line JSON with sorted keys; floats are refused, since `1.0` beside `1` defeats `uniq`.

    Raises HmoptError for text that is no Unicode (a file name of other bytes, for one): it could not be read back.
    """
    _refuse_floats(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).translate(_LINE_ENDS)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        around = text[max(0, error.start - 40) : error.end + 20]
        raise HmoptError(
            f"a record cannot hold text that is no Unicode: {around!a}", next_step="rename what is called so"
        ) from error
    return text


# JSON escapes every line end but these three of Unicode, which str.splitlines() cuts at.
_LINE_ENDS = {ord(one): f"\\u{ord(one):04x}" for one in "\x85\u2028\u2029"}


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise TypeError(f"a float ({value!r}) in a record: format it with decimal_text()")
    if isinstance(value, dict):
        for key, inner in value.items():
            # json would write 1 and "1" as one key.
            if not isinstance(key, str):
                raise TypeError(f"a key that is no text ({key!r}) in a record")
            _refuse_floats(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_floats(inner)


def decimal_text(value: float) -> str:
    """Return a number as every record writes it: no exponent, no trailing zeros, at most 9 significant digits.

    A whole number below 2**53 keeps all its digits: a count is exact. Raises ValueError for what is no finite number.
    """
    if not math.isfinite(value):
        raise ValueError(f"{value} is no number that a record can hold")
    if value == int(value) and abs(value) < _EXACT:
        return str(int(value))
    text = format(decimal.Decimal(format(value, ".9g")), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


# Every integer up to here is a float of its own.
_EXACT = 2**53
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]*[1-9])?")


def _check_decimal(text: str) -> str:
    if not _DECIMAL.fullmatch(text) or text == "-0":
        raise ValueError(f"'{text}' is not written as decimal_text() writes a number")
    return text


Decimal = Annotated[str, AfterValidator(_check_decimal)]
"""A number as text from `decimal_text`, so that equal numbers are equal bytes."""
