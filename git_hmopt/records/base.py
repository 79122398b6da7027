# SPDX-License-Identifier: Apache-2.0
"""What every record has in common: frozen, strict about unknown keys, canonical as JSON."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict


class Record(BaseModel):
    """A stored value: frozen, unknown keys refused, canonical bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def canonical(self) -> str:
        """Return the one-line JSON that is stored; equal records give equal text."""
        return canonical_json(self.model_dump(mode="json"))


def canonical_json(value: Any) -> str:
    """Return single-line JSON with sorted keys; floats are refused, since `1.0` beside `1` defeats `uniq`."""
    _refuse_floats(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise TypeError(f"a float ({value!r}) in a record: format it with decimal_text()")
    if isinstance(value, dict):
        for inner in value.values():
            _refuse_floats(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_floats(inner)


def decimal_text(value: float) -> str:
    """Return a number as every record writes it: at most 9 significant digits, no exponent, no trailing zeros."""
    text = format(value, ".9g")
    if "e" in text:
        text = format(float(text), "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _check_decimal(text: str) -> str:
    float(text)
    return text


Decimal = Annotated[str, AfterValidator(_check_decimal)]
"""A number as text from `decimal_text`, so that equal numbers are equal bytes."""
