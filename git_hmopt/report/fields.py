# SPDX-License-Identifier: Apache-2.0
"""Read typed values out of a journal's JSON, without pydantic: this is the boundary behind which all is typed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


class MalformedError(ValueError):
    """A stored value is not what its key promises; caught by the fold, which counts it."""


@dataclass(frozen=True)
class Fields:
    """A JSON object, read key by key; absent and null are None where that is allowed, else MalformedError."""

    data: Mapping[str, Any]

    @classmethod
    def of(cls, value: object, what: str) -> Fields:
        """Return the fields of a JSON object."""
        if not isinstance(value, Mapping):
            raise MalformedError(f"{what} is no object")
        return cls(value)

    def maybe_text(self, key: str) -> str | None:
        value = self.data.get(key)
        if value is not None and not isinstance(value, str):
            raise MalformedError(f"{key} is no text")
        return value

    def text(self, key: str) -> str:
        return self._need(key, self.maybe_text(key))

    def maybe_whole(self, key: str) -> int | None:
        value = self.data.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise MalformedError(f"{key} is no whole number")
        return value

    def whole(self, key: str) -> int:
        return self._need(key, self.maybe_whole(key))

    def maybe_decimal(self, key: str) -> str | None:
        value = self.maybe_text(key)
        if value is not None:
            try:
                float(value)
            except ValueError as error:
                raise MalformedError(f"{key} is no number") from error
        return value

    def decimal(self, key: str) -> str:
        return self._need(key, self.maybe_decimal(key))

    def flag(self, key: str) -> bool:
        value = self.data.get(key)
        if not isinstance(value, bool):
            raise MalformedError(f"{key} is neither true nor false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.data.get(key, [])
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise MalformedError(f"{key} is no list of texts")
        return tuple(value)

    def decimals(self, key: str) -> tuple[str, ...]:
        found = self.texts(key)
        try:
            for one in found:
                float(one)
        except ValueError as error:
            raise MalformedError(f"{key} holds what is no number") from error
        return found

    def text_map(self, key: str) -> dict[str, str]:
        return {name: str(value) for name, value in sorted(self.inner(key).data.items())}

    def inner(self, key: str) -> Fields:
        return Fields.of(self.data.get(key, {}), key)

    def many(self, key: str) -> Iterator[Fields]:
        value = self.data.get(key, [])
        if not isinstance(value, list | tuple):
            raise MalformedError(f"{key} is no list")
        return (Fields.of(item, key) for item in value)

    @staticmethod
    def _need(key: str, value: T | None) -> T:
        if value is None:
            raise MalformedError(f"{key} is missing")
        return value
