# SPDX-License-Identifier: Apache-2.0
"""Parse the kernel's own descriptions of its trace events: tracefs `events/*/*/format`, one or many in one text.

Every binary trace carries them, so no table of events is needed here. A description:

    name: sched_wakeup
    ID: 370
    format:
            field:unsigned short common_type;	offset:0;	size:2;	signed:0;
            ...
    print fmt: "comm=%s pid=%d", REC->comm, REC->pid
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

BAD_FIELD = "fields of event formats that were not understood"
BAD_FORMAT = "event formats without a name or an id"

_FIELD = re.compile(
    r"^\s*field:(?P<declaration>[^;]{1,200});\s*offset:(?P<offset>\d{1,6});\s*size:(?P<size>\d{1,6});"
    r"(?:\s*signed:(?P<signed>[01]);)?"
)
_DECLARATION = re.compile(r"^(?P<type>.*?)(?P<name>[A-Za-z_]\w{0,63})\s*(?P<array>(?:\[[^\]]*\])*)$", re.DOTALL)
_MOST_OFFSET = 1 << 16
"""Records are smaller than a page, and pages of the ring buffer not larger than 64 KiB."""


@dataclass(frozen=True)
class Field:
    """One field of an event: where it lies in the record and how it is read."""

    name: str
    type: str
    offset: int
    size: int
    signed: bool
    is_array: bool
    count: int = 0
    """Elements of an array whose description tells them; 0 when it does not."""
    location: str = ""
    """`data` or `relative` when the field is a u32 (length << 16 | offset) that points to the value; else empty."""

    @property
    def element(self) -> int:
        """Return the size of an element in bytes, of a field that is no array its own size."""
        if not self.is_array:
            return self.size
        if self.count and not self.location:
            return max(1, self.size // self.count)
        return _size_of(self.type, fallback=1)

    @property
    def is_text(self) -> bool:
        """Say whether the field is an array of characters."""
        return self.is_array and self.type.split()[-1:] == ["char"]


@dataclass(frozen=True)
class EventFormat:
    """One event: its fields in the order of the description, those common to all events apart."""

    name: str
    id: int
    fields: tuple[Field, ...]
    common: tuple[Field, ...]
    print_format: str

    @cached_property
    def by_name(self) -> dict[str, Field]:
        """Return all fields by name."""
        return {one.name: one for one in (*self.common, *self.fields)}

    @cached_property
    def least_size(self) -> int:
        """Return how many bytes a record has at least."""
        return max((one.offset + one.size for one in (*self.common, *self.fields)), default=0)


@dataclass
class _Draft:
    name: str = ""
    id: int = -1
    fields: list[Field] = field(default_factory=list)
    common: list[Field] = field(default_factory=list)
    print_format: str = ""

    def add(self, one: Field, losses: Counter[str]) -> None:
        # Fields follow one another; those of a damaged description that lie on each other would multiply the record.
        end = max((before.offset + max(1, before.size) for before in (*self.common, *self.fields)), default=0)
        if one.offset < end:
            losses[BAD_FIELD] += 1
        else:
            (self.common if one.name.startswith("common_") else self.fields).append(one)

    def finished(self) -> EventFormat | None:
        if not self.name or self.id < 0:
            return None
        return EventFormat(self.name, self.id, tuple(self.fields), tuple(self.common), self.print_format)


class Formats:
    """The events of a capture by id. Thousands are described, dozens happen: each is parsed when it is asked for."""

    def __init__(self) -> None:
        self._texts: dict[int, str] = {}
        self._parsed: dict[int, EventFormat | None] = {}

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, text: str, losses: Counter[str]) -> None:
        """Add the descriptions of one or many events; what is known already stays."""
        for piece in re.split(r"^(?=name:)", text, flags=re.MULTILINE):
            number = re.search(r"^ID:[ \t]*(\d{1,9})\s*$", piece, re.MULTILINE)
            if number is not None and piece.startswith("name:"):
                self._texts.setdefault(int(number[1]), piece)
            elif piece.strip():
                losses[BAD_FORMAT] += 1

    def get(self, number: int, losses: Counter[str]) -> EventFormat | None:
        """Return the event, None when it is not described."""
        if number not in self._parsed:
            text = self._texts.get(number)
            self._parsed[number] = None if text is None else parse(text, losses)
        return self._parsed[number]


def parse(text: str, losses: Counter[str]) -> EventFormat | None:
    """Return the event that one description is of, None when it has no name or no id."""
    draft = _Draft()
    for line in text.splitlines():
        if line.startswith("name:"):
            draft.name = line[5:].strip()
        elif line.startswith("ID:"):
            number = line[3:].strip()
            draft.id = int(number) if number.isdecimal() and len(number) < 10 else -1
        elif line.startswith("print fmt:"):
            draft.print_format = line[10:].strip()
        elif line.lstrip().startswith("field:") and (one := _field(line, losses)) is not None:
            draft.add(one, losses)
    return draft.finished()


def parse_fields(text: str, losses: Counter[str]) -> dict[str, Field]:
    """Return the fields of a description without name and id, such as `events/header_page`."""
    found = (_field(line, losses) for line in text.splitlines() if line.lstrip().startswith("field:"))
    return {one.name: one for one in found if one is not None}


def _field(line: str, losses: Counter[str]) -> Field | None:
    parts = _FIELD.match(line)
    declaration = _DECLARATION.match(parts["declaration"].strip()) if parts else None
    if parts is None or declaration is None or int(parts["offset"]) + int(parts["size"]) > _MOST_OFFSET:
        losses[BAD_FIELD] += 1
        return None
    kind, location, array = declaration["type"].strip(), "", bool(declaration["array"])
    for prefix, name in (("__data_loc ", "data"), ("__rel_loc ", "relative")):
        if kind.startswith(prefix):
            kind, location, array = kind[len(prefix) :], name, True
    if kind.endswith("[]"):
        kind, array = kind[:-2].strip(), True
    counted = re.fullmatch(r"\[(\d{1,5})\]", declaration["array"])
    return Field(
        name=declaration["name"],
        type=kind,
        offset=int(parts["offset"]),
        size=int(parts["size"]),
        # Kernels before 2.6.32 do not say; their fields of interest are signed ints.
        signed=parts["signed"] != "0",
        is_array=array,
        count=int(counted[1]) if counted else 0,
        location=location,
    )


_SIZES = {
    "char": 1, "u8": 1, "s8": 1, "__u8": 1, "__s8": 1, "bool": 1, "uint8_t": 1, "int8_t": 1,
    "short": 2, "u16": 2, "s16": 2, "__u16": 2, "__s16": 2, "__be16": 2, "__le16": 2, "uint16_t": 2, "int16_t": 2,
    "int": 4, "u32": 4, "s32": 4, "__u32": 4, "__s32": 4, "__be32": 4, "__le32": 4, "unsigned": 4, "uint32_t": 4,
    "int32_t": 4, "pid_t": 4, "gfp_t": 4, "dev_t": 4,
    "long": 8, "u64": 8, "s64": 8, "__u64": 8, "__s64": 8, "__be64": 8, "__le64": 8, "uint64_t": 8, "int64_t": 8,
    "size_t": 8, "ssize_t": 8, "loff_t": 8, "sector_t": 8, "pgoff_t": 8, "ino_t": 8,
}  # fmt: skip


def _size_of(kind: str, *, fallback: int, long_size: int = 8) -> int:
    """Return the size of a C type in bytes; pointers and `long` have `long_size`."""
    if kind.rstrip().endswith("*"):
        return long_size
    words = [word for word in kind.split() if word not in ("const", "volatile", "signed")]
    if words[:1] == ["unsigned"] and len(words) > 1:
        words = words[1:]
    if words[:2] == ["long", "long"]:
        return 8
    if "long" in words or (words and words[-1] in ("size_t", "ssize_t", "ino_t", "pgoff_t")):
        return long_size
    return _SIZES.get(words[-1], fallback) if words else fallback


def size_of(kind: str, *, long_size: int) -> int:
    """Return the size of a C type in bytes, 0 when it is not known."""
    return _size_of(kind, fallback=0, long_size=long_size)
