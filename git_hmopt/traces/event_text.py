# SPDX-License-Identifier: Apache-2.0
"""Print many records of one trace event at once, by columns, as the kernel's own `print fmt:` of it says.

What the kernel knows and a capture may not (addresses' symbols, constants of its source) is printed as the address, or
as `?`; an event whose format is not understood is printed as `field=value` pairs.
"""

from __future__ import annotations

import bisect
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from git_hmopt.traces import hongmeng, print_format
from git_hmopt.traces.event_formats import EventFormat, Field, size_of
from git_hmopt.traces.print_format import (
    Binary,
    Call,
    Cast,
    Choice,
    Conversion,
    Expression,
    FieldOf,
    Index,
    Number,
    Record,
    Text,
    Unary,
    Unknown,
    UnsupportedFormat,
)  # fmt: skip  # isort: skip

Ints = npt.NDArray[np.integer[Any]]
"""Of 64 bits, with or without sign."""
Column = Ints | list[str] | list[bytes]
_FEW, _SLICE = 256, 16384
_MOST_MEAN = 2048
"""Bytes that an event prints on average; the kernel's buffer for a line has a page (TRACE_SEQ_SIZE: two)."""
_WIDTHS = {"hh": 1, "h": 2, "": 4, "ll": 8, "L": 8, "j": 8}


@dataclass(frozen=True)
class Symbols:
    """The kernel's symbols: lines `address type name [module]` of /proc/kallsyms, read when the first is asked for."""

    text: str = ""

    @cached_property
    def _table(self) -> tuple[list[int], list[str]]:
        rows = re.findall(r"^([0-9a-fA-F]{4,16}) \w (\S+(?:\s+\[\S+\])?)$", self.text, re.MULTILINE)
        by_address: dict[int, str] = {}
        for address, name in rows:
            by_address.setdefault(int(address, 16), name)
        # Addresses hidden from the reader (kptr_restrict) are all zero.
        by_address.pop(0, None)
        addresses = sorted(by_address)
        return addresses, [by_address[address] for address in addresses]

    def print(self, address: int, *, offset: bool) -> str:
        """Return `name+0x10/0x20 [module]` (or without the offset) as %pS (%ps) prints it; else the address."""
        addresses, names = self._table
        at = bisect.bisect_right(addresses, address) - 1
        if at < 0:
            return f"0x{address:x}"
        name, _, module = names[at].partition("[")
        within = address - addresses[at]
        size = addresses[at + 1] - addresses[at] if at + 1 < len(addresses) else 0
        place = f"+0x{within:x}/0x{size:x}" if offset else ""
        return name.rstrip() + place + (f" [{module}" if module else "")


@dataclass(frozen=True)
class Rows:
    """Records of one event: where each begins in `content` and how many bytes it has."""

    event: EventFormat
    content: npt.NDArray[np.uint8]
    begin: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    long_size: int = 8
    symbols: Symbols = Symbols()
    comms: Mapping[int, str] = field(default_factory=dict)
    """The names of threads, by tid."""

    def __len__(self) -> int:
        return len(self.begin)

    @cached_property
    def _bytes(self) -> memoryview:
        return self.content.data

    def _gathered(self, offset: int, size: int) -> npt.NDArray[np.uint8]:
        found: npt.NDArray[np.uint8] = self.content[self.begin[:, None] + np.arange(offset, offset + size)]
        return found

    def ints(self, one: Field, *, at: int = 0) -> Ints:
        """Return the field's value in each record, of an array its element `at`."""
        element = one.element if one.is_array else one.size
        if element not in (1, 2, 4, 8):
            raise UnsupportedFormat(f"{one.name} has {element} bytes")
        if at < 0 or (at and (one.location or (at + 1) * element > one.size)):
            raise UnsupportedFormat(f"{one.name} has no element {at}")
        kind = np.dtype(f"<{'i' if one.signed else 'u'}{element}")
        found = np.ascontiguousarray(self._gathered(one.offset + at * element, element)).view(kind).ravel()
        return found.astype(np.uint64 if kind == np.dtype("<u8") else np.int64)

    def blobs(self, one: Field) -> list[bytes]:
        """Return the field's bytes in each record; of one that lies outside its record what is inside."""
        if not one.location:
            # `buf[]` at a record's end has size 0 in the description.
            starts = self.begin + one.offset
            ends = starts + one.size if one.size else self.begin + self.size
        else:
            where = np.ascontiguousarray(self._gathered(one.offset, 4)).view("<u4").ravel().astype(np.int64)
            base = self.begin + (one.offset + 4 if one.location == "relative" else 0)
            starts = base + (where & 0xFFFF)
            ends = starts + (where >> 16)
        last = self.begin + self.size
        pairs = zip(np.minimum(starts, last).tolist(), np.minimum(ends, last).tolist(), strict=True)
        return [bytes(self._bytes[start:end]) for start, end in pairs]

    @cached_property
    def _texts(self) -> dict[str, list[str]]:
        return {}

    def texts(self, one: Field) -> list[str]:
        """Return the field's characters up to the first NUL in each record."""
        if one.name not in self._texts:
            self._texts[one.name] = [_text(blob) for blob in self.blobs(one)]
        return self._texts[one.name]

    def lengths(self, one: Field) -> Ints:
        """Return the bytes of a field that is an array of varying length."""
        return np.array([len(blob) for blob in self.blobs(one)], dtype=np.int64)


@lru_cache(maxsize=4096)
def _text(blob: bytes) -> str:
    return blob.split(b"\0", 1)[0].decode(errors="replace")


def printed(rows: Rows) -> list[str]:
    """Return the text of each record, without the event's name.

    A format that a damaged capture brings may print any amount for a record of a few bytes: it is tried on slices, and
    not used where it prints more than the kernel's buffer for a line could hold.
    """
    found: list[str] = []
    most = _SLICE if len(rows) > _FEW else len(rows)
    while len(found) < len(rows):
        size = _FEW if len(rows) > _FEW and not found else most
        part = replace(
            rows, begin=rows.begin[len(found) : len(found) + size], size=rows.size[len(found) : len(found) + size]
        )
        try:
            texts = _printed(part)
        except UnsupportedFormat:
            return pairs(rows)
        if sum(map(len, texts)) > _MOST_MEAN * len(part):
            return pairs(rows)
        found += texts
    return found


def _printed(rows: Rows) -> list[str]:
    template, columns = "", []
    for piece in _parsed(rows.event.print_format):
        if isinstance(piece, str):
            template += piece.replace("%", "%%")
        else:
            conversion, column = _converted(piece, rows)
            template += conversion
            columns += [column] if column is not None else []
    return _filled(template, columns, len(rows))


def pairs(rows: Rows) -> list[str]:
    """Return `field=value field=value ...` for each record."""
    template = " ".join(f"{one.name}=%s" for one in rows.event.fields)
    return _filled(template, [_plain(one, rows) for one in rows.event.fields], len(rows))


def _filled(template: str, columns: Sequence[Sequence[object]], rows: int) -> list[str]:
    return [template % values for values in zip(*columns, strict=True)] if columns else [template % ()] * rows


def _plain(one: Field, rows: Rows) -> Sequence[object]:
    if one.is_text or (one.location and one.element == 1):
        return rows.texts(one)
    if not one.is_array and one.size in (1, 2, 4, 8):
        numbers: list[int] = rows.ints(one).tolist()
        return numbers
    element = one.element if one.element in (1, 2, 4, 8) else 1
    return [_array_text(blob, element, signed=one.signed) for blob in rows.blobs(one)]


def _array_text(blob: bytes, element: int, *, signed: bool) -> str:
    whole = len(blob) - len(blob) % element
    values = (int.from_bytes(blob[at : at + element], "little", signed=signed) for at in range(0, whole, element))
    return "{" + ",".join(str(value) for value in values) + "}"


@lru_cache(maxsize=4096)
def _parsed(text: str) -> tuple[str | Conversion, ...]:
    # An lru_cache does not keep errors; formats that are not understood are few and short to refuse.
    return print_format.parse(text)


def _converted(one: Conversion, rows: Rows) -> tuple[str, Sequence[object] | None]:
    """Return what a conversion becomes in the template of Python's `%`, and its column."""
    try:
        value = _value(one.value, rows)
    except _NotKnownError:
        return "?", None
    if one.kind == "s":
        return "%s", _strings(one, value, rows)
    if one.kind.startswith("p"):
        return "%s", _pointers(one, value, rows)
    if one.kind == "c":
        return "%s", _mapped(_as_ints(value), lambda number: chr(number & 0xFF).replace("\0", ""))
    if one.kind not in "diuxXo":
        raise UnsupportedFormat(f"%{one.kind}")
    width = _WIDTHS.get(one.length, rows.long_size)
    numbers = _narrowed(_as_ints(value), width, signed=one.kind in "di")
    precision = f".{one.precision}" if isinstance(one.precision, int) else ""
    letter = "d" if one.kind in "diu" else one.kind
    return f"%{one.flags}{one.width or ''}{precision}{letter}", numbers.tolist()


def _mapped(values: Ints, to_text: Callable[[int], str]) -> list[str]:
    numbers = values.tolist()
    texts = {number: to_text(number) for number in set(numbers)}
    return [texts[number] for number in numbers]


def _strings(one: Conversion, value: Column, rows: Rows) -> list[str]:
    if isinstance(value, np.ndarray):
        raise UnsupportedFormat("%s of a number")
    found = [item if isinstance(item, str) else _text(item) for item in value]
    if isinstance(one.precision, int):
        found = [item[: one.precision] for item in found]
    elif one.precision is not None:
        most = _as_ints(_value(one.precision, rows)).tolist()
        found = [item[: max(0, length)] for item, length in zip(found, most, strict=True)]
    if one.width:
        found = [f"%{one.flags}{one.width}s" % item for item in found]
    return found


def _pointers(one: Conversion, value: Column, rows: Rows) -> list[str]:
    if isinstance(value, np.ndarray):
        if one.kind in ("pS", "ps", "pF", "pf", "pB", "pSR"):
            whole = one.kind not in ("ps", "pf")
            return _mapped(_narrowed(value, 8, signed=False), lambda at: rows.symbols.print(at, offset=whole))
        if one.kind in ("p", "px", "pK"):
            return _mapped(_narrowed(value, rows.long_size, signed=False), lambda at: f"{at:0{2 * rows.long_size}x}")
        raise UnsupportedFormat(f"%{one.kind} of a number")
    blobs = [item.encode() if isinstance(item, str) else item for item in value]
    if one.kind == "pI4":
        return [".".join(map(str, blob[:4])) for blob in blobs]
    if one.kind == "pM":
        return [blob[:6].hex(":") for blob in blobs]
    if one.kind in ("pU", "pUb"):
        return [str(uuid.UUID(bytes=blob[:16])) if len(blob) >= 16 else "?" for blob in blobs]
    raise UnsupportedFormat(f"%{one.kind}")


class _NotKnownError(Exception):
    """A value needs a constant that the capture does not have."""


def _value(one: Expression, rows: Rows) -> Column:
    """Return the value of an expression for each record."""
    if isinstance(one, Number):
        return np.full(len(rows), one.value & (1 << 64) - 1, dtype=np.uint64 if one.value >> 63 else np.int64)
    if isinstance(one, Text):
        return [one.value] * len(rows)
    if isinstance(one, Unknown):
        raise _NotKnownError(one.name)
    if isinstance(one, Record):
        raise UnsupportedFormat("the record's own address")
    if isinstance(one, FieldOf):
        return _field_value(_field(one.name, rows), rows)
    if isinstance(one, Unary):
        return _unary(one, rows)
    if isinstance(one, Binary):
        return _binary(one.sign, _as_ints(_value(one.left, rows)), _as_ints(_value(one.right, rows)))
    if isinstance(one, Choice):
        return _choice(one, rows)
    if isinstance(one, Cast):
        return _cast(one, rows)
    if isinstance(one, Index):
        return _index(one, rows)
    return _call(one, rows)


def _field(name: str, rows: Rows) -> Field:
    found = rows.event.by_name.get(name)
    if found is None:
        raise UnsupportedFormat(f"no field {name}")
    return found


def _field_value(one: Field, rows: Rows) -> Column:
    if one.is_text:
        return rows.texts(one)
    if one.is_array or one.size not in (1, 2, 4, 8):
        return rows.blobs(one)
    return rows.ints(one)


def _as_ints(value: Column) -> Ints:
    if isinstance(value, np.ndarray):
        return value
    raise UnsupportedFormat("arithmetic with a string")


def _unary(one: Unary, rows: Rows) -> Ints:
    value = _as_ints(_value(one.operand, rows))
    if one.sign == "!":
        return np.equal(value, 0).astype(np.int64)
    if one.sign == "~":
        inverted: Ints = np.invert(value)
        return inverted
    return 0 - value if one.sign == "-" else value


def _binary(sign: str, left: Ints, right: Ints) -> Ints:
    if left.dtype != right.dtype:
        # C converts the signed one; numpy would make both floating-point.
        left, right = left.astype(np.uint64), right.astype(np.uint64)
    if sign in ("/", "%"):
        return _divided(sign, left, right)
    if sign in ("<<", ">>"):
        count = np.minimum(right.astype(np.uint64), np.uint64(63)).astype(left.dtype)
        shifted: Ints = np.left_shift(left, count) if sign == "<<" else np.right_shift(left, count)
        return shifted
    if sign in ("&&", "||"):
        joined = np.logical_and(left, right) if sign == "&&" else np.logical_or(left, right)
        return joined.astype(np.int64)
    compared = {
        "==": np.equal, "!=": np.not_equal, "<": np.less, ">": np.greater, "<=": np.less_equal, ">=": np.greater_equal,
    }  # fmt: skip
    if sign in compared:
        return compared[sign](left, right).astype(np.int64)
    computed: dict[str, Callable[[Ints, Ints], Ints]] = {
        "+": np.add, "-": np.subtract, "*": np.multiply, "&": np.bitwise_and, "|": np.bitwise_or, "^": np.bitwise_xor,
    }  # fmt: skip
    return computed[sign](left, right)


def _divided(sign: str, left: Ints, right: Ints) -> Ints:
    """Divide towards zero, as C does; by zero gives zero, where C would not return at all."""
    safe = np.where(right == 0, right.dtype.type(1), right)
    with np.errstate(all="ignore"):
        quotient = np.where(right == 0, left.dtype.type(0), np.floor_divide(left, safe))
        if left.dtype == np.int64:
            uneven = (quotient * safe != left) & ((left < 0) != (safe < 0)) & (right != 0)
            quotient = quotient + uneven.astype(np.int64)
    return quotient if sign == "/" else np.where(right == 0, left.dtype.type(0), left - quotient * safe)


def _choice(one: Choice, rows: Rows) -> Column:
    condition = _as_ints(_value(one.condition, rows)) != 0
    try:
        yes = _value(one.yes, rows)
    except _NotKnownError:
        if condition.any():
            raise
        yes = _value(one.no, rows)
    no = _value(one.no, rows) if not condition.all() else yes
    if isinstance(yes, np.ndarray) and isinstance(no, np.ndarray):
        if yes.dtype != no.dtype:
            yes, no = yes.astype(np.uint64), no.astype(np.uint64)
        return np.where(condition, yes, no)
    if isinstance(yes, np.ndarray) or isinstance(no, np.ndarray):
        raise UnsupportedFormat("a choice between a number and a string")
    picked = [a if which else b for which, a, b in zip(condition.tolist(), yes, no, strict=True)]
    return [item if isinstance(item, str) else _text(item) for item in picked]


def _cast(one: Cast, rows: Rows) -> Column:
    value = _value(one.operand, rows)
    if not isinstance(value, np.ndarray):
        return value
    width = size_of(one.type, long_size=rows.long_size)
    signed = "unsigned" not in one.type and not re.search(r"\b(__)?(u|be|le)\d+\b|_t\b|\*|bool", one.type)
    return _narrowed(value, width, signed=signed) if width in (1, 2, 4, 8) else value


def _narrowed(value: Ints, width: int, *, signed: bool) -> Ints:
    """Return the values as a C integer of `width` bytes would hold them."""
    narrow = value.astype(np.dtype(f"{'i' if signed else 'u'}{width}"))
    return narrow.astype(np.uint64 if width == 8 and not signed else np.int64)


def _index(one: Index, rows: Rows) -> Ints:
    array, index = one.array, one.index
    if isinstance(array, Text):
        letters = array.value.encode("latin-1", "replace") + b"\0"
        places = _as_ints(_value(index, rows))
        inside = np.minimum(places.astype(np.uint64), np.uint64(len(letters) - 1)).astype(np.int64)
        return np.frombuffer(letters, dtype=np.uint8)[inside].astype(np.int64)
    while isinstance(array, Cast):
        array = array.operand
    if not isinstance(array, FieldOf) or not isinstance(index, Number):
        raise UnsupportedFormat("an element of something else than a field, or at a computed place")
    return rows.ints(_field(array.name, rows), at=index.value)


def _call(one: Call, rows: Rows) -> Column:
    printer = _CALLS.get(one.name)
    if printer is None:
        raise UnsupportedFormat(f"{one.name}() is not known here")
    try:
        return printer(one, rows)
    except IndexError:
        raise UnsupportedFormat(f"{one.name}() with too few arguments") from None


def _named(one: Call, rows: Rows) -> Field:
    word = one.arguments[0]
    if not isinstance(word, Text):
        raise UnsupportedFormat(f"{one.name}() of no field")
    return _field(word.value, rows)


def _size_of_type(one: Call, rows: Rows) -> Ints:
    word = one.arguments[0]
    text = word.value if isinstance(word, Text) else ""
    if text.startswith("REC -> "):
        size = _field(text.removeprefix("REC -> "), rows).size
    else:
        size = size_of(text, long_size=rows.long_size)
    if not size:
        raise UnsupportedFormat("sizeof of a type that is not known here")
    return np.full(len(rows), size, dtype=np.int64)


def _table(one: Call, rows: Rows) -> list[tuple[int, str]]:
    """Return the value and name pairs, without those whose value is a constant that is not known."""
    single = replace(rows, begin=rows.begin[:1], size=rows.size[:1])
    found = []
    for value, name in one.table:
        if not isinstance(name, Text):
            continue  # the end of the table, { 0, NULL }
        try:
            found.append((int(_as_ints(_value(value, single))[0]) & (1 << 64) - 1, name.value))
        except _NotKnownError:
            continue
    return found


def _flags(one: Call, rows: Rows) -> list[str]:
    """Print set bits as trace_print_flags_seq() does (kernel/trace/trace_output.c)."""
    delimiter = one.arguments[1].value if isinstance(one.arguments[1], Text) else "|"
    table = _table(one, rows)

    def text(flags: int) -> str:
        parts = []
        for mask, name in table:
            if flags and flags & mask == mask:
                parts.append(name)
                flags &= ~mask
        return delimiter.join([*parts, f"0x{flags:x}"] if flags else parts)

    return _mapped(_narrowed(_as_ints(_value(one.arguments[0], rows)), 8, signed=False), text)


def _symbolic(one: Call, rows: Rows) -> list[str]:
    names: dict[int, str] = {}
    for value, name in _table(one, rows):
        names.setdefault(value, name)
    values = _narrowed(_as_ints(_value(one.arguments[0], rows)), 8, signed=False)
    return _mapped(values, lambda value: names.get(value, f"0x{value:x}"))


def _raw(value: Column) -> list[bytes]:
    if isinstance(value, np.ndarray):
        raise UnsupportedFormat("the bytes of a number")
    return [item.encode() if isinstance(item, str) else item for item in value]


def _hex(one: Call, rows: Rows) -> list[str]:
    between = "" if one.name == "__print_hex_str" else " "
    lengths = _as_ints(_value(one.arguments[1], rows)).tolist()
    blobs = _raw(_bytes_of(one.arguments[0], rows))
    return [between.join(f"{byte:02x}" for byte in blob[: max(0, n)]) for blob, n in zip(blobs, lengths, strict=True)]


def _array(one: Call, rows: Rows) -> list[str]:
    blobs = _raw(_bytes_of(one.arguments[0], rows))
    counts = _as_ints(_value(one.arguments[1], rows)).tolist()
    size = int(_as_ints(_value(one.arguments[2], rows))[0])
    if size not in (1, 2, 4, 8):
        raise UnsupportedFormat(f"an array of elements of {size} bytes")
    found = []
    for blob, count in zip(blobs, counts, strict=True):
        ends = range(size, min(max(0, count) * size, len(blob)) + 1, size)
        found.append("{" + ",".join(f"0x{int.from_bytes(blob[end - size : end], 'little'):x}" for end in ends) + "}")
    return found


def _bytes_of(one: Expression, rows: Rows) -> Column:
    return rows.blobs(_field(one.name, rows)) if isinstance(one, FieldOf) else _value(one, rows)


def _thread_name(one: Call, rows: Rows) -> list[str]:
    """Print a thread's name as HongMeng's trace_cmdline_of() does."""
    tids = _as_ints(_value(one.arguments[0], rows)).tolist()
    return [rows.comms.get(tid, "<...>") if tid else "<idle>" for tid in tids]


def _blocked_in(one: Call, rows: Rows) -> list[str]:
    nodes = _as_ints(_value(one.arguments[0], rows)).tolist()
    callers = _as_ints(_value(one.arguments[1], rows)).tolist()
    return [f"0x{at & (1 << 64) - 1:x} cnode_idx={node}" for node, at in zip(nodes, callers, strict=True)]


def _thread_state(one: Call, rows: Rows) -> list[str]:
    return _mapped(_as_ints(_value(one.arguments[0], rows)), hongmeng.state_text)


def _schedule_information(one: Call, rows: Rows) -> list[str]:
    return [hongmeng.schedule_text(blob) for blob in _raw(_bytes_of(one.arguments[0], rows))]


_CALLS: Mapping[str, Callable[[Call, Rows], Column]] = {
    "__get_str": lambda one, rows: rows.texts(_named(one, rows)),
    "__get_rel_str": lambda one, rows: rows.texts(_named(one, rows)),
    "__get_dynamic_array": lambda one, rows: rows.blobs(_named(one, rows)),
    "__get_dynamic_array_len": lambda one, rows: rows.lengths(_named(one, rows)),
    "__print_flags": _flags,
    "__print_flags_u64": _flags,
    "__print_symbolic": _symbolic,
    "__print_symbolic_u64": _symbolic,
    "__print_hex": _hex,
    "__print_hex_str": _hex,
    "__print_array": _array,
    "__builtin_expect": lambda one, rows: _value(one.arguments[0], rows),
    "sizeof": _size_of_type,
    "trace_cmdline_of": _thread_name,
    "hm_trace_tcb_state2str": _thread_state,
    "hm_trace_tcb_unpack_schedinfo": _schedule_information,
    "hm_trace_sched_blocked_reason_of": _blocked_in,
}
