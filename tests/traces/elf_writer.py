# SPDX-License-Identifier: Apache-2.0
"""Write an ELF file from its layout: code, a build id, a symbol table, and whatever of it a test wants to be wrong."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

LOCAL, GLOBAL, WEAK = 0, 1, 2
NOTYPE, OBJECT, FUNC = 0, 1, 2
CODE = 1
"""The number of the section with the code."""
BUILD_ID = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Symbol:
    name: str
    value: int
    size: int = 0
    kind: int = FUNC
    binding: int = GLOBAL
    other: int = 0
    section: int = CODE


@dataclass
class ElfWriter:
    """One little-endian 64-bit file whose code lies at `address` and in the file at `offset`."""

    symbols: list[Symbol] = field(default_factory=list)
    build_id: str = BUILD_ID
    address: int = 0x401000
    offset: int = 0x1000
    size: int = 0x1000
    kind: int = 3
    machine: int = 62
    code_name: str = ".text"
    with_code: bool = True
    """Not in a file of debug information."""
    table: str = ".symtab"
    sections: list[tuple[str, int, int, bytes]] = field(default_factory=list)
    """More of them: name, type, flags and bytes."""
    section_patches: dict[tuple[str, int], int] = field(default_factory=dict)
    """Words of section headers that are to be wrong: by name of the section and number of the 8 bytes."""

    def file(self) -> bytes:
        strings, rows = bytearray(b"\0"), bytearray(24)
        for one in self.symbols:
            info = one.binding << 4 | one.kind
            rows += struct.pack("<IBBHQQ", len(strings), info, one.other, one.section, one.value, one.size)
            strings += one.name.encode() + b"\0"
        note = struct.pack("<3I4s", 4, len(self.build_id) // 2, 3, b"GNU\0") + bytes.fromhex(self.build_id)
        kind = 2 if self.table == ".symtab" else 11
        listed: list[tuple[str, int, int, int, int, int, int, bytes]] = [
            ("", 0, 0, 0, 0, 0, 0, b""),
            (self.code_name, 1 if self.with_code else 8, 6, self.address, 0, 0, 0, b"\x90" * self.size),
            (".note.gnu.build-id", 7, 2, 0, 0, 0, 0, note if self.build_id else b""),
        ]
        if self.symbols:
            listed += [(self.table, kind, 0, 0, 4, 1, 24, bytes(rows)), (".strtab", 3, 0, 0, 0, 0, 0, bytes(strings))]
        listed += [(name, type_, flags, 0, 0, 0, 0, data) for name, type_, flags, data in self.sections]
        names = b"".join(name.encode() + b"\0" for name, *_ in listed) + b".shstrtab\0"
        listed.append((".shstrtab", 3, 0, 0, 0, 0, 0, names))
        head_size = 64 + 56
        body = bytearray(b"\0" * (self.offset - head_size) if self.with_code else b"")
        headers, name_at = b"", 0
        for number, (name, type_, flags, address, link, info, entry, data) in enumerate(listed):
            at = self.offset if number == CODE else head_size + len(body)
            words = [address, at, len(data)]
            if number == CODE and not self.with_code:
                data = b""
            header = bytearray(struct.pack("<IIQQQQIIQQ", name_at, type_, flags, *words, link, info, 1, entry))
            for (patched, word), value in self.section_patches.items():
                if patched == name:
                    header[8 * word : 8 * word + 8] = value.to_bytes(8, "little")
            headers += bytes(header)
            name_at += len(name) + 1
            body += data
            body += b"\0" * (-len(body) % 8)
        in_file = self.size if self.with_code else 0
        segment = struct.pack("<IIQQQQQQ", 1, 5, self.offset, self.address, self.address, in_file, self.size, 0x1000)
        sections_at = head_size + len(body)
        head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
            "<HHIQQQIHHHHHH", self.kind, self.machine, 1, 0, 64, sections_at, 0, 64, 56, 1, 64, len(listed),
            len(listed) - 1,
        )  # fmt: skip
        return head + segment + bytes(body) + headers
