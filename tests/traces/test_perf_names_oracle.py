# SPDX-License-Identifier: Apache-2.0
"""The names of perf.data's frames against those that perf script finds for the same bytes on the same machine."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from git_hmopt.traces import perf_data, perf_names
from git_hmopt.traces.capture import Capture, Losses
from git_hmopt.traces.elf import read_elf
from git_hmopt.traces.perf_places import KALLSYMS
from git_hmopt.traces.source import Source
from git_hmopt.traces.symbol_files import SymbolFiles, running_build_id
from git_hmopt.traces.symbol_tables import elf_symbols, kallsyms
from git_hmopt.traces.tables import UNKNOWN, Samples
from tests.traces.perf_writer import KERNEL, KERNEL_CONTEXT, USER, USER_CONTEXT, PerfWriter

PROGRAM = """\
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define KEEP __attribute__((noinline))
static volatile unsigned long sink;
extern void in_library(unsigned long n);

KEEP static void leaf(unsigned long n) { for (unsigned long i = 0; i < n; i++) sink += i; }
KEEP void __leaf_caller(unsigned long n) { leaf(n); sink++; }
void leaf_caller(unsigned long n) __attribute__((alias("__leaf_caller")));
KEEP static int deep(int n) { int got = n ? deep(n - 1) : (leaf_caller(8000000), 1); sink++; return got; }
KEEP static int order(const void *a, const void *b) { sink++; return *(const int *)a - *(const int *)b; }

int main(void)
{
    static int numbers[20000];
    for (int i = 0; i < 12; i++) {
        sink += deep(6);
        in_library(4000000);
        for (int j = 0; j < 20000; j++) numbers[j] = (j * 7919) % 20011;
        qsort(numbers, 20000, sizeof numbers[0], order);
        char *memory = malloc(1 << 20);
        memset(memory, i, 1 << 20);
        sink += memory[i] + getppid();
        free(memory);
    }
    return 0;
}
"""
LIBRARY = """\
#define KEEP __attribute__((noinline))
static volatile unsigned long sink;
KEEP static void hidden(unsigned long n) { for (unsigned long i = 0; i < n; i++) sink += i; }
KEEP void in_library(unsigned long n) { hidden(n); sink++; }
"""
FRAME = re.compile(r"\s*[0-9a-f]+ (?P<symbol>\S+) \((?P<object>.*)\)")


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("perf") is None or shutil.which("gcc") is None:
        pytest.skip("needs perf and gcc, and one of them is not installed")
    there = tmp_path_factory.mktemp("names")
    (there / "home").mkdir()
    (there / "p.c").write_text(PROGRAM)
    (there / "l.c").write_text(LIBRARY)
    return there


@pytest.fixture(autouse=True)
def home(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have perf's cache of objects be the test's own."""
    monkeypatch.setenv("HOME", str(there / "home"))


def done(there: Path, *command: str) -> str:
    finished = subprocess.run(command, cwd=there, capture_output=True, text=True, timeout=120)
    if finished.returncode and command[:2] == ("perf", "record"):
        pytest.skip(f"perf cannot record here: {finished.stderr[-200:]}")
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def recorded(there: Path, *options: str, record: Sequence[str] = ()) -> Path:
    build = ("gcc", "-g", "-O1", "-fno-omit-frame-pointer", *options)
    if "-static" not in options:
        done(there, *build, "-shared", "-fPIC", "-o", "libl.so", "l.c")
    sources = ("p.c", "l.c") if "-static" in options else ("p.c", "-L.", "-ll", f"-Wl,-rpath,{there}")
    done(there, *build, "-o", "p", *sources)
    done(there, "perf", "record", "-F", "4999", "-e", "cpu-clock", "-g", *record, "-o", "perf.data", "./p")
    return there / "perf.data"


def said(path: Path) -> list[list[tuple[str, str]]]:
    """Return symbol and object of every sample's frames, leaf first, as perf script has them."""
    fields = ("-F", "comm,pid,tid,ip,sym,dso", "--no-inline")
    samples: list[list[tuple[str, str]]] = []
    for block in done(path.parent, "perf", "script", "-i", str(path), *fields).split("\n\n"):
        frames = [match for line in block.splitlines() if (match := FRAME.fullmatch(line))]
        if frames:
            samples.append([(match["symbol"], match["object"]) for match in frames])
    return samples


def read(path: Path, symbols: SymbolFiles | None = None) -> tuple[Capture, Samples, Losses]:
    losses: Losses = Counter()
    capture = perf_data.FORMAT.read(Source(path, symbols or SymbolFiles()))
    assert capture.read_samples is not None
    (table,) = capture.read_samples(losses)
    return capture, table, losses


def ours(table: Samples) -> Iterator[list[tuple[str, str]]]:
    """Yield the same of ours; what has no name of its own is unknown."""
    for index in table.stack:
        frames = [table.frames[number] for number in reversed(table.stacks[index])]
        yield [(UNKNOWN if "+0x" in one.symbol else one.symbol, one.object) for one in frames]


def is_justified(mine: str, theirs: str) -> bool:
    """Say whether perf names a stub, or the first function of a section, otherwise.

    It takes `_init`, which has no size, to reach over the stubs of a program; of stubs for what is only known at run
    time it prints a name of no letters; and it prefers a linker script's label to the static function there.
    """
    stub = (theirs == "_init" and (mine.endswith("@plt") or mine == UNKNOWN)) or (theirs == "@plt" and mine == UNKNOWN)
    return stub or (re.fullmatch(r"__\w+_start", theirs) is not None and mine != UNKNOWN)


def assert_named_as_perf_does(path: Path) -> Counter[str]:
    """Compare every frame of every sample; return how often each name came.

    Without a build id perf takes the symbols of whatever kernel runs: ours then has no name in it.
    """
    _, table, losses = read(path)
    unproven = KALLSYMS if losses[perf_names.OTHER_KERNEL] else ""
    mine, theirs = list(ours(table)), said(path)
    assert len(mine) == len(theirs) > 20
    differing = Counter[tuple[str, str]]()
    names = Counter[str]()
    for own, other in zip(mine, theirs, strict=True):
        assert len(own) == len(other)
        for (name, object_), (symbol, dso) in zip(own, other, strict=True):
            names[name] += 1
            if name != symbol and not is_justified(name, symbol) and object_ != unproven:
                differing[f"{name} in {object_}", f"{symbol} in {dso}"] += 1
    assert not differing
    return names


@pytest.mark.parametrize(
    ("options", "record"),
    [
        (("-fPIE", "-pie"), ()),
        (("-no-pie",), ()),
        (("-static",), ()),
        (("-fPIE", "-pie"), ("--buildid-mmap",)),
        (("-fPIE", "-pie"), ("-z",)),
        (("-fPIE", "-pie"), ("-B",)),
        (("-fPIE", "-pie", "-Wl,--build-id=none"), ()),
    ],
    ids=" ".join,
)
def test_every_frame_has_the_name_perf_gives_it(there: Path, options: tuple[str, ...], record: tuple[str, ...]) -> None:
    names = assert_named_as_perf_does(recorded(there, *options, record=record))
    _, _, losses = read(there / "perf.data")
    # perf finds no build ids in what it has compressed.
    is_unproven = record in (("-B",), ("-z",))
    assert losses[perf_names.OTHER_KERNEL] == is_unproven
    # The caller of a function without a frame of its own is not in the stack.
    assert {"leaf", "deep", "order", "main", "hidden"} <= set(names)
    assert is_unproven or names[UNKNOWN] < sum(names.values()) / 5


def test_a_pipe_says_build_ids_behind_its_samples(there: Path) -> None:
    recorded(there)
    path = there / "pipe.data"
    command = ["perf", "record", "-F", "4999", "-e", "cpu-clock", "-g", "-o", "-", "./p"]
    with path.open("wb") as stream:
        subprocess.run(command, cwd=there, stdout=stream, stderr=subprocess.DEVNULL, timeout=120)
    assert {"leaf", "deep", "order", "main", "hidden"} <= set(assert_named_as_perf_does(path))


def test_a_stripped_program_is_named_by_its_debug_information(there: Path) -> None:
    if shutil.which("objcopy") is None:
        pytest.skip("needs objcopy, and it is not installed")
    recorded(there)
    done(there, "objcopy", "--only-keep-debug", "p", "p.debug")
    done(there, "strip", "-s", "p")
    path = there / "perf.data"
    # Its inode and times are others by now: the build id is what counts.
    done(there, "perf", "record", "-N", "-e", "cpu-clock", "-g", "-F", "4999", "-o", "perf.data", "./p")
    shutil.rmtree(there / "home/.debug", ignore_errors=True)
    _, table, _ = read(path)
    assert "leaf" not in {frame.symbol for frame in table.frames}
    capture, table, _ = read(path, SymbolFiles(given=(there / "p.debug",)))
    assert {"leaf", "deep", "order", "main"} <= {frame.symbol for frame in table.frames}
    assert capture.read_definitions is not None
    found = capture.read_definitions(["leaf", "order", "nothing"])
    assert sorted(zip(found.symbol, found.file, found.line, strict=True)) == [
        ("leaf", str(there / "p.c"), 8), ("order", str(there / "p.c"), 12),
    ]  # fmt: skip


# -- every address of an object ---------------------------------------------------------------------------------------


def asked(there: Path, writer: PerfWriter, addresses: Sequence[int], mode: int) -> Counter[tuple[str, str]]:
    """Return how often our name of one of the addresses is not perf's, by the two."""
    context = KERNEL_CONTEXT if mode == KERNEL else USER_CONTEXT
    for number, address in enumerate(addresses):
        writer.sample(number + 1, 7, [context, address], misc=mode)
    path = there / "asked.data"
    path.write_bytes(writer.file())
    _, table, losses = read(path)
    assert not losses[perf_names.UNPROVEN]
    printed = done(there, "perf", "script", "-i", str(path), "-F", "ip,sym").split("\n\n")
    theirs = [line.split()[-1] for line in printed if line.strip()]
    mine = [frames[0][0] for frames in ours(table)]
    assert len(mine) == len(theirs) == len(addresses)
    pairs = zip(mine, theirs, strict=True)
    return Counter((own, other) for own, other in pairs if own != other and not is_justified(own, other))


@pytest.mark.parametrize("which", ["libc.so.6", "p", "libl.so"])
def test_every_function_of_an_object_has_perfs_name(there: Path, which: str) -> None:
    recorded(there)
    loaded = re.search(r"=> (\S*libc\.so\S*)", done(there, "ldd", "./p"))
    assert loaded is not None
    path = Path(loaded[1]).resolve() if which == "libc.so.6" else there / which
    elf = read_elf(path)
    if not elf.build_id:
        pytest.skip(f"{path} has no build id")
    with elf.opened() as stream:
        table = elf_symbols(elf, stream)
    assert table is not None
    code = next(one for one in elf.segments if one.executable)
    offset = code.offset // 4096 * 4096
    size = (code.offset + code.size - offset + 4095) // 4096 * 4096
    base = 0x7F0000000000
    writer = PerfWriter(events=((1, 0),))
    writer.mmap(7, base, size, offset, str(path))
    writer.features[2] = writer.build_id(USER, str(path), elf.build_id)
    edges = {edge + by for pair in zip(table.starts, table.ends, strict=True) for edge in pair for by in (-1, 0, 1, 40)}
    inside = sorted(one for one in edges if code.address <= one < code.address + code.size)
    assert not asked(there, writer, [base + one - code.address + code.offset - offset for one in inside], USER)


def test_every_function_of_the_running_kernel_has_perfs_name(there: Path) -> None:
    build_id = running_build_id()
    text = Path("/proc/kallsyms").read_bytes() if Path("/proc/kallsyms").exists() else b""
    known = kallsyms(text)
    if not build_id or known is None or b"_text" not in known.addresses:
        pytest.skip("the running kernel does not tell its build id or its symbols")
    start = known.addresses[b"_text"]
    end = next(int(line.split()[0], 16) for line in text.splitlines() if line.split()[2] == b"_etext")
    writer = PerfWriter(events=((1, 0),))
    writer.mmap(-1, start, end - start, start, "[kernel.kallsyms]_text", misc=KERNEL)
    writer.features[2] = writer.build_id(KERNEL, "[kernel.kallsyms]", build_id)
    addresses = [one + by for one in known.kernel.starts for by in (0, 1) if start <= one + by < end]
    assert not asked(there, writer, addresses[::7], KERNEL)
