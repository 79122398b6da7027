# SPDX-License-Identifier: Apache-2.0
"""Write raw traces from their layouts: pages of both kernels, `.sys`, trace-cmd's `.dat`."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Mapping

import zstandard

PAGE = 4096
HEADER_PAGE = (
    "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
    "\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n"
    "\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"
    "\tfield: char data;\toffset:16;\tsize:4080;\tsigned:0;\n"
)
COMMON = (
    "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
    "\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n"
    "\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n"
    "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n"
)
SIZES = {"int": 4, "u32": 4, "unsigned int": 4, "u64": 8, "unsigned long": 8, "long": 8, "u8": 1, "u16": 2}


def format_text(name: str, number: int, fields: Iterable[tuple[str, str]], print_format: str) -> str:
    """Return a tracefs `format` file; fields are (`char[16]`, name) or (`__data_loc char[]`, name) or (`int`, name)."""
    lines, at = [], 8
    for kind, field in fields:
        array = kind[kind.index("[") :] if kind.endswith("]") and "__data_loc" not in kind else ""
        base = kind.removesuffix(array) if array else kind
        size = 4 if "__data_loc" in kind else int(array[1:-1]) if array else SIZES[kind]
        at += -at % (1 if array else size)
        lines.append(
            f"\tfield:{base} {field}{array};\toffset:{at};\tsize:{size};\tsigned:{int(base in ('int', 'long'))};\n"
        )
        at += size
    return f"name: {name}\nID: {number}\nformat:\n{COMMON}{''.join(lines)}\nprint fmt: {print_format}\n"


def common(number: int, tid: int) -> bytes:
    """Return the fields that begin every record."""
    return struct.pack("<HBBi", number, 0, 0, tid)


def linux_record(delta: int, payload: bytes) -> bytes:
    """Return a record of a Linux page."""
    payload += bytes(-len(payload) % 4)
    if len(payload) <= 112:
        return struct.pack("<I", len(payload) // 4 | delta << 5) + payload
    return struct.pack("<II", delta << 5, len(payload) + 4) + payload


def linux_page(ts: int, records: Iterable[bytes], *, flags: int = 0, tail: bytes = b"") -> bytes:
    """Return a Linux page."""
    data = b"".join(records)
    return (struct.pack("<QQ", ts, len(data) | flags) + data + tail).ljust(PAGE, b"\0")


def hongmeng_page(ts: int, cpu: int, records: Iterable[tuple[int, bytes]]) -> bytes:
    """Return a HongMeng page of (time since the page's, payload)."""
    data = b"".join(struct.pack("<IH", since, len(one)) + one + bytes(-len(one) % 4) for since, one in records)
    return (struct.pack("<QQB", ts, len(data), cpu) + data).ljust(PAGE, b"\0")


def hitrace_raw(segments: Iterable[tuple[int, bytes]], *, hongmeng: bool = False, cpus: int = 1) -> bytes:
    """Return a `.sys` file of (type, payload)."""
    head = struct.pack("<HBxHxxI", 0xDF49, int(hongmeng), 1, cpus << 1)
    return head + b"".join(struct.pack("<BxxxI", kind, len(payload)) + payload for kind, payload in segments)


def trace_cmd(
    formats: str,
    pages: Mapping[int, bytes],
    *,
    symbols: str = "",
    comms: str = "",
    header_page: str = HEADER_PAGE,
    clock: str = "[local] global",
) -> bytes:
    """Return a trace-cmd file of version 6."""
    texts = [f"name:{one}" for one in formats.split("name:")[1:]]
    ftrace = [one for one in texts if "\nID: 5\n" in one]
    others = [one for one in texts if one not in ftrace]
    out = bytearray(b"\x17\x08\x44tracing6\0" + struct.pack("<BBI", 0, 8, PAGE))
    out += b"header_page\0" + _sized(header_page, "<Q") + b"header_event\0" + _sized("", "<Q")
    out += struct.pack("<I", len(ftrace)) + b"".join(_sized(one, "<Q") for one in ftrace)
    out += struct.pack("<I", 1) + b"events\0" + struct.pack("<I", len(others))
    out += b"".join(_sized(one, "<Q") for one in others)
    out += _sized(symbols, "<I") + _sized("", "<I") + _sized(comms, "<Q")
    count = max(pages) + 1
    out += struct.pack("<I", count) + b"options  \0" + struct.pack("<H", 4) + _sized(clock + "\0", "<I") + bytes(2)
    out += b"flyrecord\0"
    at = len(out) + 16 * count
    at += -at % PAGE
    places = bytearray()
    for cpu in range(count):
        places += struct.pack("<QQ", at, len(pages.get(cpu, b"")))
        at += len(pages.get(cpu, b""))
    out += places
    return bytes(out) + bytes(-len(out) % PAGE) + b"".join(pages.get(cpu, b"") for cpu in range(count))


PACKERS: dict[str, Callable[[bytes], bytes]] = {"zlib": zlib.compress, "zstd": zstandard.ZstdCompressor().compress}


def trace_cmd_7(
    formats: str, pages: Mapping[int, bytes], *, symbols: str = "", comms: str = "", packed: str = "none"
) -> bytes:
    """Return a trace-cmd file of version 7, `packed` with zlib or zstd."""
    pack = PACKERS.get(packed)
    texts = [f"name:{one}" for one in formats.split("name:")[1:]]
    ftrace = [one for one in texts if "\nID: 5\n" in one]
    others = [one for one in texts if one not in ftrace]
    bodies = {
        16: b"header_page\0" + _sized(HEADER_PAGE, "<Q") + b"header_event\0" + _sized("", "<Q"),
        17: struct.pack("<I", len(ftrace)) + b"".join(_sized(one, "<Q") for one in ftrace),
        18: struct.pack("<I", 1) + b"events\0" + struct.pack("<I", len(others))
        + b"".join(_sized(one, "<Q") for one in others),
        19: _sized(symbols, "<I"),
        21: _sized(comms, "<Q"),
    }  # fmt: skip
    out = bytearray(b"\x17\x08\x44tracing7\0" + struct.pack("<BBI", 0, 8, PAGE))
    out += packed.encode() + (b"\0001.0\0" if pack else b"\0\0") + bytes(8)
    options_at = len(out) - 8
    options = b""
    for kind, body in bodies.items():
        options += struct.pack("<HIQ", kind, 8, len(out))
        held = _chunk(body, pack) if pack else body
        out += struct.pack("<HHIQ", kind, int(pack is not None), 0, len(held)) + held
    buffer = len(out)
    places = b""
    out += struct.pack("<HHIQ", 3, int(pack is not None), 0, 0)
    out += bytes(-len(out) % PAGE)
    for cpu, data in sorted(pages.items()):
        pieces = [data[at : at + 3 * PAGE] for at in range(0, len(data), 3 * PAGE)]
        held = struct.pack("<I", len(pieces)) + b"".join(_chunk(one, pack) for one in pieces) if pack else data
        places += struct.pack("<IQQ", cpu, len(out), len(held) - 4 if pack else len(held))
        out += held
    option = struct.pack("<Q", buffer) + b"\0local\0" + struct.pack("<II", PAGE, len(pages)) + places
    options += struct.pack("<HII", 8, 4, len(pages)) + struct.pack("<HI", 3, len(option)) + option
    options += struct.pack("<HIQ", 0, 8, 0)
    struct.pack_into("<Q", out, options_at, len(out))
    held = _chunk(options, pack) if pack else options
    return bytes(out + struct.pack("<HHIQ", 0, int(pack is not None), 0, len(held)) + held)


def _chunk(data: bytes, pack: Callable[[bytes], bytes]) -> bytes:
    held = pack(data)
    return struct.pack("<II", len(held), len(data)) + held


def _sized(text: str, size: str) -> bytes:
    return struct.pack(size, len(text.encode())) + text.encode()
