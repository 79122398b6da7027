# SPDX-License-Identifier: Apache-2.0
"""Read what the QEMU plugin counted and say which symbols and source lines it belongs to.

Functions from text to values: the plugin's files, `nm`, `addr2line` and `readelf` output come in, rows of
`hmopt-self-counts 1` go out.
"""

from __future__ import annotations

import bisect
import os.path
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from git_hmopt.errors import MeasurementError

UNKNOWN = "??"
"""Symbol or file of an instruction that the image's tables do not name, as addr2line writes it."""


IDLE_SHARE = 0.01
"""Whose lines are told though they never ran: functions with this share of the instructions. Others are no hotspots."""


@dataclass(frozen=True)
class WindowTotals:
    """What the plugin saw of the marked window."""

    windows: int
    """Whole windows: entered and left."""
    open: bool
    """Whether the guest ended inside a window."""
    stray: int
    """Begins inside a window and ends outside one."""
    instructions: int
    """Guest instructions executed inside, counted one by one."""
    blocks: int | None = None
    block_instructions: int | None = None
    """The same from executions of blocks times their lengths; more when blocks were left early by a fault."""


@dataclass(frozen=True)
class Block:
    """A translation block that was executed in the window."""

    addresses: tuple[int, ...]
    executions: int


@dataclass(frozen=True)
class LineCount:
    """What one source line executed inside one linker symbol."""

    symbol: str
    file: str
    """Relative to the tree's root; the line of inlined code is the inlined function's own."""
    line: int
    instructions: int
    executions: int
    """Executions of the line's most executed instruction."""


def parse_window(text: str) -> WindowTotals:
    """Read the plugin's totals; MeasurementError when they are cut short or of another version."""
    lines = text.splitlines()
    if not lines or lines[0] != "hmopt-window 1" or lines[-1] != "end":
        raise MeasurementError("the plugin's totals are cut short", next_step="check for space on the scratch disk")
    try:
        values = {name: int(value) for name, value in (line.split(" ") for line in lines[1:-1])}
        return WindowTotals(
            windows=values["windows"],
            open=bool(values["open"]),
            stray=values["stray"],
            instructions=values["instructions"],
            blocks=values.get("blocks"),
            block_instructions=values.get("block-instructions"),
        )
    except (ValueError, KeyError) as error:
        raise MeasurementError(f"the plugin's totals cannot be read: {error}") from error


def require_one_window(totals: WindowTotals) -> None:
    """Raise MeasurementError unless the guest went through the marked window once and came out."""
    if totals.windows == 1 and not totals.open and not totals.stray:
        return
    if totals.open:
        why = "the guest ended inside the marked window"
    elif totals.windows == 0:
        why = "the guest never came to the marked window (do Image.path and Image.symbols belong together?)"
    else:
        why = f"the guest went through the marked window {totals.windows} times, {totals.stray} markers out of order"
    raise MeasurementError(why)


def parse_blocks(blocks: str, addresses: str, totals: WindowTotals) -> list[Block]:
    """Read the plugin's two block files, which match line by line; MeasurementError when they disagree."""
    counted, listed = blocks.splitlines(), addresses.splitlines()
    if counted[:1] != ["hmopt-blocks 1"] or listed[:1] != ["hmopt-block-addresses 1"] or len(counted) != len(listed):
        raise MeasurementError("the plugin's block files are cut short", next_step="check for space on the disk")
    try:
        found = [_block(left, right) for left, right in zip(counted[1:], listed[1:], strict=True)]
    except ValueError as error:
        raise MeasurementError(f"the plugin's block files cannot be read: {error}") from error
    total = sum(len(block.addresses) * block.executions for block in found)
    if total != totals.block_instructions or len(found) != totals.blocks:
        raise MeasurementError(
            f"the plugin's blocks add up to {total} instructions, but it counted {totals.block_instructions}"
        )
    return found


def _block(counted: str, listed: str) -> Block:
    vaddr, insns, executions = counted.split(" ")
    start, *addresses = listed.split(" ")
    if start != vaddr or len(addresses) != int(insns):
        raise ValueError(f"'{counted}' beside '{listed[:60]}'")
    return Block(addresses=tuple(int(address, 16) for address in addresses), executions=int(executions))


def executions_by_address(blocks: Iterable[Block]) -> dict[int, int]:
    """Return how often each instruction was executed; blocks overlap, so their counts are added."""
    counts: dict[int, int] = {}
    for block in blocks:
        for address in block.addresses:
            counts[address] = counts.get(address, 0) + block.executions
    return counts


def with_idle(executions: Mapping[int, int], symbols: SymbolTable) -> dict[int, int]:
    """Return the counts with a 0 for what never ran of the functions that have most of the instructions.

    Every byte that was not counted is given: those inside an instruction have its line, so nothing needs decoding.
    """
    cost: dict[str, int] = {}
    for address, count in executions.items():
        name = symbols.at(address)
        cost[name] = cost.get(name, 0) + count
    least = IDLE_SHARE * sum(cost.values())
    hot = [name for name, spent in cost.items() if spent >= least]
    # gcc moves what it takes for unlikely out of the function, into one of this name.
    ranges = [symbols.extent(whole) for name in hot for whole in (name, f"{name}.cold")]
    return {**{address: 0 for extent in ranges for address in extent}, **executions}


class SymbolTable:
    """The text symbols of an image, by address and by name."""

    # Aliases share an address: a global name is what people know, a weak or local one is the implementation's.
    _RANK: Mapping[str, int] = {"T": 0, "W": 1, "t": 2, "w": 3}

    def __init__(self, nm_output: str) -> None:
        """Take the output of `nm -S --defined-only`."""
        found: list[tuple[int, tuple[bool, int, int, int, str], int]] = []
        self._by_name: dict[str, int] = {}
        for line in nm_output.splitlines():
            fields = line.split()
            # `address [size] type name`; arm64 marks code and data by the names $x and $d.
            if len(fields) not in (3, 4) or fields[-2] not in self._RANK or fields[-1].startswith("$"):
                continue
            address, size, kind, name = int(fields[0], 16), int(fields[1], 16) if len(fields) == 4 else 0, *fields[-2:]
            underscores = len(name) - len(name.lstrip("_"))
            found.append((address, (size == 0, self._RANK[kind], underscores, len(name), name), size))
            self._by_name.setdefault(name, address)
        self._starts: list[int] = []
        self._names: list[str] = []
        self._extents: dict[str, range] = {}
        covered = 0
        for address, (*_, name), size in sorted(found):
            # A label inside an assembler function is no symbol of its own.
            if (self._starts and self._starts[-1] == address) or (size == 0 and address < covered):
                continue
            self._starts.append(address)
            self._names.append(name)
            self._extents.setdefault(name, range(address, address + size))
            covered = max(covered, address + size)

    def address(self, name: str) -> int:
        """Return where a symbol starts; MeasurementError when the image does not have it."""
        if name not in self._by_name:
            raise MeasurementError(
                f"the image has no symbol '{name}'", next_step="build it with the overlay 'common', not stripped"
            )
        return self._by_name[name]

    def extent(self, name: str) -> range:
        """Return the addresses of a function; none where it is unknown or its size is."""
        return self._extents.get(name, range(0))

    def at(self, address: int) -> str:
        """Return the symbol that contains an address."""
        index = bisect.bisect_right(self._starts, address) - 1
        return self._names[index] if index >= 0 else UNKNOWN


_PLACE = re.compile(r"^(?P<file>.*):(?P<line>\d+|\?)(?: \(discriminator \d+\))?$")


def parse_addr2line(output: str) -> dict[int, tuple[str, int]]:
    """Read the output of `addr2line -a`: address -> (file, line); unknown ones are (`??`, 0)."""
    places: dict[int, tuple[str, int]] = {}
    lines = output.splitlines()
    for address, place in zip(lines[0::2], lines[1::2], strict=False):
        found = _PLACE.match(place)
        if not address.startswith("0x") or found is None:
            raise MeasurementError(f"addr2line answered '{address}' '{place}', not an address and its line")
        line = 0 if found["line"] == "?" else int(found["line"])
        places[int(address, 16)] = (found["file"], line) if line else (UNKNOWN, 0)
    return places


def parse_compilation_directories(readelf_output: str) -> list[str]:
    """Return the directories of `readelf --debug-dump=info --dwarf-depth=1` that the compiler was run in."""
    found = re.findall(r"DW_AT_comp_dir\s*: *(?:\([^)]*\): *)?(/.*?)\s*$", readelf_output, flags=re.MULTILINE)
    return sorted(set(found))


class SourcePaths:
    """Turns the paths that DWARF records into paths relative to the tree's root.

    A build tree may be a copy of another one, whose objects still name the directory they were compiled in: the
    compilation directory's end, which is the output directory's place in the tree, gives the root of that time.
    """

    def __init__(self, root: Path, output: Path, compilation_directories: Sequence[str]) -> None:
        self._output = output.relative_to(root).as_posix() if output != root else "."
        roots = {str(root), str(root.resolve())}
        for directory in compilation_directories:
            if self._output == ".":
                roots.add(directory)
            elif directory.endswith("/" + self._output):
                roots.add(directory[: -len(self._output) - 1])
        self._roots = sorted(roots, key=len, reverse=True)

    def relative(self, path: str) -> str:
        """Return the path below the tree's root, or the path itself when it is from elsewhere."""
        if path == UNKNOWN:
            return path
        if not path.startswith("/"):
            return os.path.normpath(f"{self._output}/{path}")
        normal = PurePosixPath(os.path.normpath(path))
        for root in self._roots:
            if normal.is_relative_to(root):
                return normal.relative_to(root).as_posix()
        return str(normal)


def count_lines(
    executions: Mapping[int, int], symbols: SymbolTable, places: Mapping[int, tuple[str, int]], paths: SourcePaths
) -> list[LineCount]:
    """Attribute each address's executions to its symbol and line; the most executed lines come first.

    What never ran is told by line, not where the line is unknown.
    """
    instructions: dict[tuple[str, str, int], int] = {}
    most: dict[tuple[str, str, int], int] = {}
    for address, count in executions.items():
        file, line = places.get(address, (UNKNOWN, 0))
        if not count and not line:
            continue
        key = (symbols.at(address), paths.relative(file), line)
        instructions[key] = instructions.get(key, 0) + count
        most[key] = max(most.get(key, 0), count)
    rows = [LineCount(*key, instructions=total, executions=most[key]) for key, total in instructions.items()]
    return sorted(rows, key=lambda row: (-row.instructions, row.symbol, row.file, row.line))


def self_counts_text(rows: Iterable[LineCount]) -> str:
    """Return the text of a `self-counts` capture: tab-separated symbol, file, line, instructions, executions."""
    lines = [f"{row.symbol}\t{row.file}\t{row.line}\t{row.instructions}\t{row.executions}\n" for row in rows]
    return "hmopt-self-counts 1\n" + "".join(lines)
