# SPDX-License-Identifier: Apache-2.0
"""Read perf.data of Linux perf and of hiperf, in file mode and in pipe mode, of either byte order.

Times are the capture's clock; samples come in the order of time, one table for each event. Frames are symbols where
hiperf wrote them down or a file has them that is provably what was measured, else object and offset: see `perf_places`.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, TypeVar, cast

import numpy as np
import numpy.typing as npt
import polars as pl
import zstandard

from git_hmopt.traces import perf_header, perf_places, perf_records
from git_hmopt.traces.capture import Capture, Losses
from git_hmopt.traces.perf_header import Cursor, Header, ShortError, attr_of, text_of
from git_hmopt.traces.perf_names import ObjectNames
from git_hmopt.traces.perf_places import (
    KERNEL,
    USER,
    AddressSpaces,
    Layer,
    Names,
    ObjectSymbols,
    Place,
    StackTables,
    stack_tables,
)
from git_hmopt.traces.perf_records import Chunk, Records, Side
from git_hmopt.traces.source import Source
from git_hmopt.traces.stacks import OUT_OF_RANGE, SampleRows, unit_of
from git_hmopt.traces.symbol_files import Finder
from git_hmopt.traces.tables import SAMPLES, UNKNOWN, Frame, Samples, Symbols, TraceFormatError

_BLOCK = 8 << 20
_IN_MEMORY = 64 << 20
_MOST_GROWTH, _FREE = 200, 16 << 20
"""How far compressed records may grow: real ones come to 5 or 30 times their size."""
_ZSTD_PIECE = 1 << 10
"""Compressed bytes fed at once: a block of 4 bytes may stand for 128 KiB."""

NO_TABLE = "sample whose deduplicated stack is not in the file"
NO_STACK = "sample without a stack"
BAD_CONTEXT = "stack cut at a marker that means nothing"
NOT_ZSTD = "bytes of compressed records that cannot be decompressed"
BOMB = "bytes of compressed records that grow without bounds"

_CONTEXTS = {
    2**64 - 32: perf_places.HYPERVISOR,
    2**64 - 128: KERNEL,
    2**64 - 512: USER,
    2**64 - 2176: perf_places.GUEST_KERNEL,
    2**64 - 2560: perf_places.GUEST_USER,
}
_CONTEXT_MAX = 2**64 - 4095

Read = TypeVar("Read")


class PerfData:
    """The format, by its name `perf-data`."""

    name = "perf-data"

    def recognise(self, head: bytes, name: str) -> bool:
        """Say whether the bytes begin with perf's magic in either byte order."""
        return head[:8] in (perf_header.LITTLE, perf_header.BIG)

    def read(self, source: Source) -> Capture:
        """Return the capture; only its header, and features at its end, have been read."""
        facts: dict[str, str] = {}
        if source.is_wrapped():
            # The features stand behind the data: they come with the samples.
            _check_head(source)
        else:
            with _seekable(source) as stream:
                facts = _facts(perf_header.read_header(stream, Counter()))
        readers = Readers(source)
        return Capture(
            self.name, read_samples=readers.samples, read_definitions=readers.definitions, facts=facts
        )  # fmt: skip


FORMAT = PerfData()


def _check_head(source: Source) -> None:
    head = source.head()
    if head[:8] not in (perf_header.LITTLE, perf_header.BIG):
        raise TraceFormatError("this is no perf.data: it does not begin with PERFILE2")


def _facts(header: Header) -> dict[str, str]:
    facts = dict(header.facts)
    if header.attrs:
        facts["events"] = " ".join(attr.name for attr in header.attrs)
        # Without a clock of the user's choice Linux takes the scheduler's, hiperf the monotonic one.
        otherwise = "monotonic" if header.is_hiperf else "sched"
        facts.setdefault("clock", header.attrs[0].clock or otherwise)
    facts["writer"] = "hiperf" if header.is_hiperf else "perf"
    return facts


@contextlib.contextmanager
def _seekable(source: Source) -> Iterator[BinaryIO]:
    """Give the capture's bytes so that one can go back in them: what is wrapped is unwrapped to a temporary file."""
    with source.open() as stream:
        if not source.is_wrapped():
            yield stream
            return
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as copy:
            shutil.copyfileobj(stream, copy, 1 << 20)
            copy.seek(0)
            yield cast("BinaryIO", copy)


@dataclass
class Readers:
    """Read the samples of a perf.data, and then where functions of them are defined."""

    source: Source
    opened: Callable[[Source], contextlib.AbstractContextManager[BinaryIO | None]] = _seekable
    """Gives the perf.data in the source; None when there is none."""
    _named: list[ObjectNames] = field(default_factory=list)
    """What named them."""

    def samples(self, losses: Losses) -> tuple[Samples, ...]:
        """Return one table for each event that has samples."""
        symbols = self.source.symbols
        with self.opened(self.source) as stream:
            if stream is None:
                return ()
            if symbols is None:
                return samples_of(stream, losses)
            return samples_of(stream, losses, Finder(symbols, self.source.path.stat().st_mtime_ns), self._named)

    def clock(self) -> str | None:
        """Return the clock of the samples, by its name; None when there is no perf.data, or a damaged one."""
        try:
            with self.opened(self.source) as stream:
                return None if stream is None else _facts(perf_header.read_header(stream, Counter())).get("clock")
        except TraceFormatError:
            return None

    def definitions(self, symbols: Sequence[str]) -> Symbols:
        """Return where functions of the samples are defined."""
        return self._named[-1].definitions(symbols) if self._named else Symbols((), (), (), {})


def samples_of(
    stream: BinaryIO, losses: Losses, finder: Finder | None = None, named: list[ObjectNames] | None = None
) -> tuple[Samples, ...]:
    """Return one table for each event of a seekable perf.data. Raises TraceFormatError for another format.

    With a finder, what the capture does not name itself is named out of files; what did it goes to `named`.
    """
    size = stream.seek(0, 2)
    stream.seek(0)
    header = perf_header.read_header(stream, losses)
    records = Records(header, losses)
    reader = _Reader(records, _FREE + _MOST_GROWTH * size)
    reader.read(stream)
    tables = _Tables(records, finder)
    if tables.elsewhere is not None and named is not None:
        named.append(tables.elsewhere)
    return tables.tables()


@dataclass
class _Reader:
    """Feeds blocks of records to `records`, those of a pipe and those that are compressed too."""

    records: Records
    allowance: int
    """How many more bytes compressed records may grow to."""
    rest: bytes = b""
    """The beginning of a record whose end has not been decompressed."""
    inflate: zstandard.ZstdDecompressionObj | None = field(
        default_factory=lambda: zstandard.ZstdDecompressor().decompressobj(read_across_frames=True)
    )
    names: dict[int, str] = field(default_factory=dict)

    def read(self, stream: BinaryIO) -> None:
        """Read all records of the data section, and the features that came in a pipe."""
        header, losses = self.records.header, self.records.losses
        self.records.special = self._special
        left = header.data_size if header.data_size is not None else 1 << 63
        block = b""
        while left > 0 and (piece := stream.read(min(_BLOCK, left))):
            left -= len(piece)
            block += piece
            starts, end, payload = perf_records.starts_of(block, header.order)
            self.records.take(block, starts)
            block = block[end:]
            while payload > len(block) and left > 0 and (piece := stream.read(min(_BLOCK, left))):
                payload -= len(block)
                left -= len(piece)
                block = piece
            if payload > len(block):
                losses[perf_records.CUT_PAYLOAD] += payload - len(block)
            block = self._after_payload(block[payload:], payload)
            if self._is_stuck(block):
                losses[perf_records.BAD_SIZE] += len(block) + self._left(stream, left)
                block = b""
                break
        if block:
            losses[perf_records.CUT] += len(block)
        if self.rest:
            losses[perf_records.CUT] += len(self.rest)
        header.name_events(self.names)

    def _after_payload(self, block: bytes, payload: int) -> bytes:
        """Take what follows trace data in a block: more such data may follow it there."""
        while payload:
            starts, end, payload = perf_records.starts_of(block, self.records.header.order)
            self.records.take(block, starts)
            if payload > len(block) - end:
                self.records.losses[perf_records.CUT_PAYLOAD] += payload - (len(block) - end)
            block = block[end + payload :]
        return block

    def _is_stuck(self, block: bytes) -> bool:
        order = "little" if self.records.header.order == "<" else "big"
        return len(block) >= 8 and int.from_bytes(block[6:8], order) < 8  # type: ignore[arg-type] # one of the two

    def _left(self, stream: BinaryIO, left: int) -> int:
        at = stream.tell()
        return max(0, min(left, stream.seek(0, 2) - at))

    def _special(self, kind: int, body: bytes) -> None:
        taken = {
            perf_records.HEADER_ATTR: self._attr,
            perf_records.HEADER_BUILD_ID: self._build_id,
            perf_records.EVENT_UPDATE: self._update,
            perf_records.HEADER_FEATURE: self._feature,
            perf_records.COMPRESSED: self._compressed,
        }
        try:
            # The second kind of compressed records has the size of what they hold before it.
            taken[min(kind, perf_records.COMPRESSED)](body[8:] if kind == perf_records.COMPRESSED2 else body)
        except ShortError:
            self.records.losses[perf_records.SHORT_RECORD] += 1

    def _attr(self, body: bytes) -> None:
        header = self.records.header
        cursor = Cursor(body, header.order)
        cursor.take(4)
        size = cursor.u32()
        # The first kernels' attr had no size of its own in it.
        raw = body[: size or perf_header.ATTR_OF_FIRST_KERNEL]
        ids = [Cursor(body[at : at + 8], header.order).u64() for at in range(len(raw), len(body) - 7, 8)]
        if len(raw) < perf_header.ATTR_OF_FIRST_KERNEL:
            raise ShortError
        if header.pipe and len(header.attrs) < 10_000:
            header.attrs.append(attr_of(raw, header.order, tuple(ids)))

    def _build_id(self, body: bytes) -> None:
        header = self.records.header
        path, found = perf_header.build_id(body)
        known = header.facts.get("build_ids", "")
        header.build_ids[path] = found
        header.facts["build_ids"] = f"{known} {path}={found}".strip()

    def _update(self, body: bytes) -> None:
        cursor = Cursor(body, self.records.header.order)
        kind, number = cursor.u64(), cursor.u64()
        if kind == 2:
            self.names[number] = text_of(body[16:])

    def _feature(self, body: bytes) -> None:
        header = self.records.header
        number = Cursor(body, header.order).u64()
        header.features[number] = body[8:]
        perf_header.take_feature(header, number, self.records.losses)

    def _compressed(self, body: bytes) -> None:
        for at in range(0, len(body), _ZSTD_PIECE):
            if self.inflate is None:
                self.records.losses[NOT_ZSTD] += len(body) - at
                return
            try:
                plain = self.inflate.decompress(body[at : at + _ZSTD_PIECE])
            except zstandard.ZstdError:
                self.inflate = None
                self.records.losses[NOT_ZSTD] += len(body) - at
                return
            self.allowance -= len(plain)
            if self.allowance < 0:
                self.inflate = None
                self.records.losses[BOMB] += len(body) - at
                return
            if plain:
                self._inner(self.rest + plain)

    def _inner(self, block: bytes) -> None:
        starts, end, payload = perf_records.starts_of(block, self.records.header.order)
        special, self.records.special = self.records.special, None
        self.records.take(block, starts)
        self.records.special = special
        self.rest = block[end:]
        if payload or self._is_stuck(self.rest):
            self.records.losses[perf_records.BAD_SIZE] += len(self.rest)
            self.rest, self.inflate = b"", None


class _Tables:
    """Addresses to frames, once for each distinct stack of each address space."""

    def __init__(self, records: Records, finder: Finder | None) -> None:
        self._records = records
        self._header = records.header
        self._spaces = AddressSpaces()
        self._threads: dict[int, str] = {}
        for side in sorted(records.sides, key=lambda side: side.time):
            try:
                self._side(side)
            except ShortError:
                records.losses[perf_records.SHORT_RECORD] += 1
        records.losses.update(self._spaces.lost)
        symbols = self._of_hiperf(perf_header.FILES_SYMBOL, perf_places.object_symbols)
        self.elsewhere = self._object_names(finder, symbols or {}) if finder is not None else None
        self._names = Names(self._spaces, symbols or {}, self.elsewhere)
        self._stack_tables = self._read_stack_tables()
        self._known: dict[tuple[Layer | None, int], dict[int, tuple[int, str | None]]] = {}

    def _object_names(self, finder: Finder, symbols: Mapping[str, ObjectSymbols]) -> ObjectNames:
        facts = self._header.facts
        finder.host, finder.losses = facts.get("host", ""), self._records.losses
        of_hiperf = {path: one.build_id for path, one in symbols.items() if one.build_id}
        return ObjectNames(
            finder, {**of_hiperf, **self._header.build_ids}, self._records.losses, self._spaces.reference,
            facts.get("release", ""),
        )  # fmt: skip

    def _of_hiperf(self, number: int, read: Callable[[Cursor], Read], *, quiet: bool = False) -> Read | None:
        data = self._header.features.get(number)
        if data is None:
            return None
        try:
            return read(Cursor(data, self._header.order))
        except ShortError:
            if not quiet:
                self._records.losses[perf_header.DAMAGED_FEATURE] += 1
            return None

    def _read_stack_tables(self) -> StackTables | None:
        tables = self._of_hiperf(perf_header.UNISTACK_TABLE, functools.partial(stack_tables, bits=23))
        if tables is None:
            # An older hiperf gave the table the number that is now HM_DEVHOST's, and 20 bits to an index.
            older = functools.partial(stack_tables, bits=20)
            tables = self._of_hiperf(perf_header.DEVHOST, older, quiet=True)
        return tables

    def _side(self, side: Side) -> None:
        """Take a record that says something of a process."""
        cursor = Cursor(side.body, self._header.order)
        if side.kind == perf_records.KSYMBOL:
            start, length = cursor.u64(), cursor.u32()
            name = text_of(side.body[16:])
            self._spaces.map_kernel(Place(start, start + length, 0, "[bpf]", name))
            return
        pid, second = _signed(cursor.u32()), _signed(cursor.u32())
        if side.kind == perf_records.COMM:
            self._threads[second] = text_of(side.body[8:])
        elif side.kind == perf_records.FORK:
            self._spaces.fork(second, pid, side.time)
            thread, parent = _signed(cursor.u32()), _signed(cursor.u32())
            if parent in self._threads:
                self._threads.setdefault(thread, self._threads[parent])
        else:
            start, length, offset = cursor.u64(), cursor.u64(), cursor.u64()
            name = text_of(side.body[32 if side.kind == perf_records.MMAP else 64 :])
            place = Place(start, min(start + length, 2**64 - 1), offset, name or UNKNOWN, None, *self._identity(side))
            if side.misc & 7 == KERNEL:
                self._spaces.map_kernel(place)
            elif side.misc & 7 not in (perf_places.GUEST_KERNEL, perf_places.GUEST_USER):
                self._spaces.map_user(pid, side.time, place)

    def _identity(self, side: Side) -> tuple[str, int, int]:
        """Return build id, inode and generation of what was mapped, as far as the record has them."""
        if side.kind != perf_records.MMAP2 or len(side.body) < 64:
            return "", 0, 0
        if side.misc & perf_records.MMAP_BUILD_ID:
            return side.body[36 : 36 + min(side.body[32], 20)].hex(), 0, 0
        cursor = Cursor(side.body[40:56], self._header.order)
        return "", cursor.u64(), cursor.u64()

    def tables(self) -> tuple[Samples, ...]:
        """Return one table for each event, in the order of the events."""
        chains = list(self._records.chains)
        by_event: dict[int, list[Chunk]] = {}
        for chunk in self._records.chunks:
            by_event.setdefault(chunk.event, []).append(chunk)
        return tuple(self._table(event, by_event[event], chains) for event in sorted(by_event))

    def _table(self, event: int, chunks: list[Chunk], chains: Sequence[bytes]) -> Samples:
        attr = self._header.attrs[event]
        table = pl.concat(_columns(chunk, self._header.order, attr.period) for chunk in chunks)
        if any(chunk.counter is not None for chunk in chunks):
            table = _counted(table)
        good = table.filter(pl.col("in_range"))
        rows = SampleRows()
        self._known = {}
        if lost := table.height - good.height:
            self._records.losses[OUT_OF_RANGE] += lost
            rows.skipped[OUT_OF_RANGE] += lost
        stack = self._stacks(good, chains, rows)
        frame = good.with_columns(stack=pl.Series(stack, dtype=pl.UInt32())).select(SAMPLES.names())
        if chunks[0].ts_ns is not None:
            frame = frame.sort("ts_ns", maintain_order=True)
        self._records.losses.update({reason: count for reason, count in rows.skipped.items() if reason != OUT_OF_RANGE})
        weighted = chunks[0].weight is not None or attr.period is not None
        return rows.table_of(frame, event=attr.name, unit=unit_of(attr.name, weighted=weighted), threads=self._threads)

    def _stacks(self, table: pl.DataFrame, chains: Sequence[bytes], rows: SampleRows) -> npt.NDArray[np.int64]:
        """Return every sample's stack: each distinct one is worked out once for each address space and cpumode."""
        layers, layer = self._layers(table)
        key = (layer << 3 | table["mode"].to_numpy()) << 32 | table["chain"].to_numpy()
        distinct, inverse, counts = np.unique(key, return_inverse=True, return_counts=True)
        found = np.empty(len(distinct), dtype=np.int64)
        for index, (number, count) in enumerate(zip(distinct.tolist(), counts.tolist(), strict=True)):
            pid, space = layers[number >> 35]
            frames, lost = self._frames(chains[number & 0xFFFFFFFF], pid, space, number >> 32 & 7, rows)
            for reason in lost:
                rows.skipped[reason] += count
            found[index] = rows.intern_stack(frames)
        return found[inverse]

    def _layers(self, table: pl.DataFrame) -> tuple[list[tuple[int, Layer | None]], npt.NDArray[np.int64]]:
        """Return the address spaces, and which of them each sample was taken in: by its process and its time."""
        pids, place = np.unique(table["pid"].fill_null(-1).to_numpy(), return_inverse=True)
        times = table["ts_ns"].fill_null(2**63 - 1).to_numpy()
        layers: list[tuple[int, Layer | None]] = []
        first = np.zeros(len(pids), dtype=np.int64)
        several: list[tuple[int, list[int]]] = []
        for index, pid in enumerate(pids.tolist()):
            epochs = self._spaces.epochs.get(pid, [(0, None)])
            first[index] = len(layers)
            layers.extend((pid, layer) for _, layer in epochs)
            if len(epochs) > 1:
                several.append((index, [min(begin, 2**63 - 1) for begin, _ in epochs]))
        layer = first[place]
        for index, begins in several:
            mine = np.flatnonzero(place == index)
            epoch = np.searchsorted(np.array(begins, dtype=np.int64), times[mine], side="right") - 1
            layer[mine] += np.maximum(epoch, 0)
        return layers, layer

    def _frames(
        self, key: bytes, pid: int, layer: Layer | None, mode: int, rows: SampleRows
    ) -> tuple[list[int], list[str]]:
        """Return a stack's frames, root to leaf, and what went wrong."""
        words, servers, lost = self._words(key, pid)
        spaces = [self._newest(number) for number in servers]
        layer = spaces[0] if spaces else layer
        known = self._cache(layer, mode)
        frames: list[int] = []
        server = 0
        for place, word in enumerate(words):
            if word > _CONTEXT_MAX:
                if word not in _CONTEXTS:
                    lost.append(BAD_CONTEXT)
                    break
                # hiperf's servers follow each other as the contexts do.
                server += place > 0
                layer = spaces[server] if server < len(spaces) else layer
                mode = _CONTEXTS[word]
                known = self._cache(layer, mode)
                continue
            found = known.get(word)
            if found is None:
                frame, reason = self._names.frame(layer, mode, word)
                found = known[word] = rows.intern(frame), reason
            frames.append(found[0])
            if found[1]:
                lost.append(found[1])
        if not frames:
            return [rows.intern(Frame(UNKNOWN))], [*lost, NO_STACK]
        return frames[::-1], lost

    def _words(self, key: bytes, pid: int) -> tuple[Sequence[int], list[int], list[str]]:
        """Return the addresses of a stack leaf first, the servers they are of, and what went wrong."""
        if key[:1] != b"d" or len(key) != 9:
            return *perf_records.addresses(key, self._header.order), []
        number = Cursor(key[1:], self._header.order).u64()
        words = self._stack_tables.stack(pid, number) if self._stack_tables else ()
        return words, [], [] if words else [NO_TABLE]

    def _cache(self, layer: Layer | None, mode: int) -> dict[int, tuple[int, str | None]]:
        return self._known.setdefault((layer if mode == USER else None, mode), {})

    def _newest(self, pid: int) -> Layer | None:
        epochs = self._spaces.epochs.get(pid)
        return epochs[-1][1] if epochs else None


def _signed(number: int) -> int:
    return number - (1 << 32) if number >> 31 else number


def _columns(chunk: Chunk, order: str, period: int | None) -> pl.DataFrame:
    """Return the columns of samples but for the stack, with `chain`, `mode`, `counter` and `in_range`."""
    count = len(chunk.chain)
    in_range = np.ones(count, dtype=bool)
    columns: dict[str, object] = {"chain": chunk.chain, "mode": chunk.mode}
    for name, values, otherwise in (("ts_ns", chunk.ts_ns, None), ("weight", chunk.weight, period or 1)):
        if values is not None:
            in_range &= values < np.uint64(1 << 63)
            columns[name] = values.view(np.int64)
        else:
            columns[name] = pl.repeat(otherwise, count, dtype=pl.Int64(), eager=True)
    first, second = (0, 32) if order == "<" else (32, 0)
    columns["pid"], columns["tid"] = (_half(chunk.thread, shift, count) for shift in (first, second))
    columns["cpu"] = _half(chunk.cpu, first, count).cast(pl.Int16(), strict=False)
    counter = pl.repeat(None, count, dtype=pl.UInt64(), eager=True) if chunk.counter is None else chunk.counter
    return pl.DataFrame({**columns, "counter": counter, "in_range": in_range})


def _counted(table: pl.DataFrame) -> pl.DataFrame:
    """Turn the readings of each counter into what it counted since the one before; nothing counted is no sample."""
    table = table.sort("ts_ns", maintain_order=True)
    since = pl.col("weight") - pl.col("weight").shift(1).over("counter").fill_null(0)
    weight = pl.when(pl.col("counter").is_null()).then(pl.col("weight")).otherwise(since)
    return table.with_columns(weight=weight).filter((pl.col("weight") > 0) | ~pl.col("in_range"))


def _half(words: npt.NDArray[np.uint64] | None, shift: int, count: int) -> pl.Series:
    if words is None:
        return pl.repeat(None, count, dtype=pl.Int32(), eager=True)
    return pl.Series((words >> np.uint64(shift)).astype(np.uint32).view(np.int32))
