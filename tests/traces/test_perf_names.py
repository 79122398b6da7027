# SPDX-License-Identifier: Apache-2.0
"""Which files name the frames of a perf.data, and which are refused: every refusal is counted."""

from __future__ import annotations

import io
import os
from collections import Counter
from pathlib import Path

import pytest

from git_hmopt.traces import elf, perf_data, perf_names, perf_places, symbol_files
from git_hmopt.traces.capture import Losses
from git_hmopt.traces.source import Source
from git_hmopt.traces.symbol_files import SymbolFiles
from tests.traces.elf_writer import BUILD_ID, ElfWriter, Symbol
from tests.traces.perf_writer import KERNEL, KERNEL_CONTEXT, USER, USER_CONTEXT, PerfWriter

AT, BASE = 0x401000, 0x7F0000000000
OTHER_ID = "f" * 40
NAMED = ElfWriter([Symbol("work", AT, 64), Symbol("more", AT + 64, 64)])
NOTHING = SymbolFiles()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have perf's cache be the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return tmp_path / "program"


def capture(
    path: Path, *, build_id: str | None = BUILD_ID, mapped: str = "", inode: int = 0, size: int = 0x1000
) -> Path:
    """Write a capture with one frame 16 bytes into the code of the object at `path`."""
    mapped = mapped or str(path)
    writer = PerfWriter(events=((1, 0),))
    identity = writer.pack("IIQQII", 0, 0, inode, 0, 5, 2)
    name = mapped.encode() + b"\0"
    name += b"\0" * (-len(name) % 8)
    writer.record(10, writer.pack("iiQQQ", 7, 7, BASE, size, 0x1000) + identity + name + writer.trailer(7, 0))
    if build_id is not None:
        writer.features[2] = writer.build_id(USER, mapped, build_id)
    writer.sample(1, 7, [USER_CONTEXT, BASE + 16])
    found = path.with_name("perf.data")
    found.write_bytes(writer.file())
    return found


def named(path: Path, symbols: SymbolFiles = NOTHING) -> tuple[str, Losses]:
    """Return the symbol of the only frame."""
    losses: Losses = Counter()
    read = perf_data.FORMAT.read(Source(path, symbols)).read_samples
    assert read is not None
    (table,) = read(losses)
    (frame,) = table.frames
    assert losses[perf_places.UNSYMBOLISED] == ("+0x" in frame.symbol)
    return frame.symbol, losses


def assert_refused(path: Path, reason: str, symbols: SymbolFiles = NOTHING, *, mapped: str | None = None) -> None:
    symbol, losses = named(path, symbols)
    assert symbol == f"{mapped or path.with_name('program')}+0x1010"
    assert losses[reason] == 1, losses
    assert not losses[perf_names.UNPROVEN]


# -- by build id ----------------------------------------------------------------------------------------------------


def test_a_file_with_the_build_id_names_frames_however_old_it_is(program: Path) -> None:
    path = capture(program)
    program.write_bytes(NAMED.file())
    symbol, losses = named(path)
    assert symbol == "work"
    assert not [reason for reason in losses if "object" in reason]


def test_a_build_id_in_the_record_of_the_mapping_counts(program: Path) -> None:
    program.write_bytes(NAMED.file())
    for build_id, expected in ((BUILD_ID, "work"), (OTHER_ID, f"{program}+0x1010")):
        writer = PerfWriter(events=((1, 0),))
        body = writer.pack("iiQQQ", 7, 7, BASE, 0x1000, 0x1000) + bytes([20, 0, 0, 0]) + bytes.fromhex(build_id)
        name = str(program).encode() + b"\0"
        body += writer.pack("II", 5, 2) + name + b"\0" * (-len(name) % 8) + writer.trailer(7, 0)
        writer.record(10, body, USER | 1 << 14)
        writer.sample(1, 7, [USER_CONTEXT, BASE + 16])
        program.with_name("perf.data").write_bytes(writer.file())
        assert named(program.with_name("perf.data"))[0] == expected


def test_another_build_id_is_refused(program: Path) -> None:
    program.write_bytes(ElfWriter(NAMED.symbols, build_id=OTHER_ID).file())
    assert_refused(capture(program), symbol_files.WRONG_BUILD_ID)
    # One without any proves nothing either.
    program.write_bytes(ElfWriter(NAMED.symbols, build_id="").file())
    assert_refused(capture(program), symbol_files.WRONG_BUILD_ID)


def test_a_short_build_id_is_found_though_perf_pads_it(program: Path) -> None:
    program.write_bytes(ElfWriter(NAMED.symbols, build_id=BUILD_ID[:16]).file())
    assert named(capture(program, build_id=BUILD_ID[:16].ljust(40, "0")))[0] == "work"
    assert_refused(capture(program, build_id=BUILD_ID[:16].ljust(39, "0") + "1"), symbol_files.WRONG_BUILD_ID)


def test_no_file_at_all_is_counted(program: Path) -> None:
    assert_refused(capture(program), symbol_files.NO_SYMBOL_FILE)


def test_a_file_without_symbols_is_counted(program: Path) -> None:
    program.write_bytes(ElfWriter().file())
    assert_refused(capture(program), perf_names.NO_TABLE)


def test_a_truncated_file_is_counted(program: Path) -> None:
    program.write_bytes(NAMED.file()[:0x800])
    assert_refused(capture(program), f"object whose file is {elf.DAMAGED}")


def test_absurd_sizes_are_counted(program: Path) -> None:
    program.write_bytes(ElfWriter(NAMED.symbols, section_patches={(".symtab", 4): 1 << 61}).file())
    assert_refused(capture(program), f"object whose file is {elf.DAMAGED}")


@pytest.mark.parametrize("build_id", [BUILD_ID, None])
def test_a_fifo_is_not_waited_for(program: Path, build_id: str | None) -> None:
    os.mkfifo(program)
    assert_refused(capture(program, build_id=build_id), f"object whose file is {elf.NOT_REGULAR}")


def test_debug_information_with_the_build_id_has_the_names_of_a_stripped_program(program: Path, home: Path) -> None:
    program.write_bytes(ElfWriter([Symbol("exported", AT + 512, 8)], table=".dynsym").file())
    path = capture(program)
    assert named(path)[0] == f"{program}+0x1010"
    debug = home / ".debug/.build-id" / BUILD_ID[:2] / BUILD_ID[2:]
    debug.mkdir(parents=True)
    stripped = ElfWriter(NAMED.symbols, with_code=False, offset=0)
    (debug / "debug").write_bytes(stripped.file())
    assert named(path)[0] == "work"
    # Of the debug information alone the place of the code is known too: it is the only one.
    program.unlink()
    assert named(path)[0] == "work"


def test_one_damaged_file_of_several_does_not_hide_the_others(program: Path, home: Path) -> None:
    program.write_bytes(ElfWriter(NAMED.symbols, section_patches={(".symtab", 4): 1 << 61}).file())
    debug = home / ".debug/.build-id" / BUILD_ID[:2] / BUILD_ID[2:]
    debug.mkdir(parents=True)
    (debug / "elf").write_bytes(NAMED.file())
    assert named(capture(program))[0] == "work"


def test_symbols_that_are_given_count_by_their_build_id(program: Path, tmp_path: Path) -> None:
    path = capture(program)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "b").write_bytes(NAMED.file())
    (kept / "a").write_bytes(ElfWriter(NAMED.symbols, build_id=OTHER_ID).file())
    os.mkfifo(kept / "c")
    (kept / "d").write_text("no ELF")
    assert named(path, SymbolFiles(given=(kept,)))[0] == "work"
    assert named(path, SymbolFiles(given=(kept / "b",)))[0] == "work"
    assert_refused(path, symbol_files.NO_SYMBOL_FILE, SymbolFiles(given=(kept / "a",)))
    # What has the name of the object was meant to be it.
    (kept / "a").rename(kept / "program")
    assert_refused(path, symbol_files.WRONG_BUILD_ID, SymbolFiles(given=(kept / "program",)))
    (tmp_path / "empty").mkdir()
    assert_refused(path, symbol_files.UNUSABLE_GIVEN, SymbolFiles(given=(tmp_path / "empty",)))


def test_files_are_looked_for_below_another_root(program: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/work").write_bytes(NAMED.file())
    path = capture(program, mapped="/usr/bin/work")
    assert named(path, SymbolFiles(symfs=root))[0] == "work"
    assert_refused(path, symbol_files.NO_SYMBOL_FILE, mapped="/usr/bin/work")


@pytest.mark.parametrize("mapped", ["//anon", "[heap]", "work", "/../program", "/proc/self/exe", "/dev/zero"])
def test_a_path_that_leads_elsewhere_is_not_followed(program: Path, mapped: str) -> None:
    program.write_bytes(NAMED.file())
    for build_id in (BUILD_ID, None):
        path = capture(program, mapped=mapped, build_id=build_id)
        assert named(path, SymbolFiles(symfs=program.parent / "root"))[0] == f"{mapped}+0x1010"


def test_a_build_id_that_is_none_leads_to_no_file(tmp_path: Path) -> None:
    root = tmp_path / "root"
    opened: list[Path] = []

    class Watched(symbol_files.Finder):
        def elf(self, path: Path) -> elf.Elf | str:
            opened.append(path)
            return super().elf(path)

    writer = PerfWriter(events=((1, 0),))
    writer.mmap(7, BASE, 0x1000, 0x1000, "/gone")
    writer.sample(1, 7, [USER_CONTEXT, BASE + 16])
    writer.features[192] = writer.files_symbol([("/gone", 0, 0, ())], build_id="../../../../../../x")
    with io.BytesIO(writer.file()) as stream:
        perf_data.samples_of(stream, Counter(), Watched(SymbolFiles(symfs=root), 0))
    assert not [path for path in opened if ".." in path.parts]
    writer.features[192] = writer.files_symbol([("/gone", 0, 0, ())], build_id=BUILD_ID.upper())
    with io.BytesIO(writer.file()) as stream:
        perf_data.samples_of(stream, Counter(), Watched(SymbolFiles(symfs=root), 0))
    assert root / f"usr/lib/debug/.build-id/{BUILD_ID[:2]}/{BUILD_ID[2:]}.debug" in opened


# -- without a build id ---------------------------------------------------------------------------------------------


def test_the_file_at_the_path_counts_while_nothing_touched_it_and_that_is_said(program: Path) -> None:
    program.write_bytes(NAMED.file())
    symbol, losses = named(capture(program, build_id=None, inode=program.stat().st_ino))
    assert (symbol, losses[perf_names.UNPROVEN]) == ("work", 1)


def test_a_file_that_was_touched_since_is_refused(program: Path) -> None:
    path = capture(program, build_id=None)
    program.write_bytes(NAMED.file())
    # A package keeps the time of its files; the time of the inode tells.
    for is_of_a_package in (False, True):
        if is_of_a_package:
            os.utime(program, (0, 0))
        os.utime(path, (0, program.stat().st_ctime - 1))
        assert_refused(path, symbol_files.NOT_THE_SAME)


def test_a_link_from_another_root_to_this_machines_file_is_refused(program: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/real").write_bytes(NAMED.file())
    (root / "usr/bin/work").symlink_to("real")
    program.write_bytes(NAMED.file())
    (root / "usr/bin/host").symlink_to(program)
    there = SymbolFiles(symfs=root)
    assert named(capture(program, mapped="/usr/bin/work", build_id=None), there)[0] == "work"
    path = capture(program, mapped="/usr/bin/host", build_id=None)
    assert_refused(path, symbol_files.NOT_THE_SAME, there, mapped="/usr/bin/host")


def test_another_inode_is_refused(program: Path) -> None:
    program.write_bytes(NAMED.file())
    assert_refused(capture(program, build_id=None, inode=program.stat().st_ino + 1), symbol_files.NOT_THE_SAME)


def test_what_was_mapped_has_to_fit_the_code(program: Path) -> None:
    program.write_bytes(NAMED.file())
    assert_refused(capture(program, build_id=None, size=0x3000), symbol_files.DOES_NOT_FIT)


def test_a_copy_of_a_capture_has_no_age(program: Path) -> None:
    program.write_bytes(NAMED.file())
    assert_refused(capture(program, build_id=None), symbol_files.UNDATED, SymbolFiles(dated=False))


def test_a_file_that_is_given_by_its_name_counts_and_that_is_said(program: Path, tmp_path: Path) -> None:
    path = capture(program, build_id=None)
    (tmp_path / "given").mkdir()
    (tmp_path / "given/program").write_bytes(NAMED.file())
    symbol, losses = named(path, SymbolFiles(given=(tmp_path / "given",)))
    assert (symbol, losses[perf_names.UNPROVEN]) == ("work", 1)


# -- the kernel -----------------------------------------------------------------------------------------------------

TEXT = 0xFFFFFFFF81000000
MOVED = 0x1C200000
SYSTEM_MAP = f"{TEXT:x} T _text\n{TEXT:x} T _stext\n{TEXT + 0x100:x} T schedule\n{TEXT + 0x900:x} T _etext\n"


def kernel(
    path: Path, *, build_id: str | None = BUILD_ID, name: str = "[kernel.kallsyms]_text", module: str = ""
) -> Path:
    """Write a capture of a kernel that was moved, with a frame in `schedule` or 16 bytes into a module."""
    writer = PerfWriter(events=((1, 0),))
    writer.mmap(-1, TEXT + MOVED, 0x1000, TEXT + MOVED, name, misc=KERNEL)
    address = TEXT + MOVED + 0x110
    if module:
        address = 0xFFFFFFFFC0000010
        writer.mmap(-1, 0xFFFFFFFFC0000000, 0x1000, 0, module, misc=KERNEL)
    if build_id is not None:
        writer.features[2] = writer.build_id(KERNEL, module or "[kernel.kallsyms]", build_id)
        if module:
            writer.features[2] += writer.build_id(KERNEL, "[kernel.kallsyms]", OTHER_ID)
    writer.sample(1, 7, [KERNEL_CONTEXT, address], misc=KERNEL)
    path.write_bytes(writer.file())
    return path


def cached(home: Path, build_id: str = BUILD_ID) -> Path:
    found = home / ".debug/.build-id" / build_id[:2] / build_id[2:]
    found.mkdir(parents=True)
    return found


def test_perfs_own_copy_of_kallsyms_names_a_kernel_that_was_moved(tmp_path: Path, home: Path) -> None:
    (cached(home) / "kallsyms").write_text(SYSTEM_MAP)
    symbol, losses = named(kernel(tmp_path / "perf.data"))
    assert (symbol, losses[perf_names.UNPROVEN]) == ("schedule", 0)


def test_a_copy_of_another_kernel_is_not_looked_at(tmp_path: Path, home: Path) -> None:
    (cached(home, OTHER_ID) / "kallsyms").write_text(SYSTEM_MAP)
    symbol, losses = named(kernel(tmp_path / "perf.data"))
    assert symbol == "[kernel.kallsyms]+0x110"
    assert losses[perf_names.OTHER_KERNEL] == 1


def test_a_kernel_without_a_reference_cannot_be_moved(tmp_path: Path, home: Path) -> None:
    (cached(home) / "kallsyms").write_text(SYSTEM_MAP)
    symbol, losses = named(kernel(tmp_path / "perf.data", name="[kernel.kallsyms]"))
    assert symbol == "[kernel.kallsyms]+0x110"
    assert losses[perf_names.NO_REFERENCE] == 1


def test_a_reference_that_no_move_explains_is_refused(tmp_path: Path, home: Path) -> None:
    (cached(home) / "kallsyms").write_text(SYSTEM_MAP.replace(f"{TEXT:x} T _text", f"{TEXT + 8:x} T _text"))
    symbol, losses = named(kernel(tmp_path / "perf.data"))
    assert symbol == "[kernel.kallsyms]+0x110"
    assert losses[perf_names.OTHER_KERNEL] == 1


VMLINUX = ElfWriter(
    [Symbol("_text", TEXT, kind=0), Symbol("schedule", TEXT + 0x100, 0x100)], address=TEXT, kind=2
)  # fmt: skip


def test_a_vmlinux_that_is_given_counts_by_its_build_id(tmp_path: Path) -> None:
    path = kernel(tmp_path / "perf.data")
    (tmp_path / "vmlinux").write_bytes(VMLINUX.file())
    given = SymbolFiles(given=(tmp_path / "vmlinux",))
    symbol, losses = named(path, given)
    assert (symbol, losses[perf_names.UNPROVEN]) == ("schedule", 0)
    (tmp_path / "vmlinux").write_bytes(ElfWriter(VMLINUX.symbols, address=TEXT, kind=2, build_id=OTHER_ID).file())
    symbol, losses = named(path, given)
    assert symbol == "[kernel.kallsyms]+0x110"
    assert losses[symbol_files.WRONG_BUILD_ID] == 1


def test_a_vmlinux_that_is_damaged_hides_no_other_symbols(tmp_path: Path) -> None:
    path = kernel(tmp_path / "perf.data")
    damaged = ElfWriter(VMLINUX.symbols, address=TEXT, kind=2, section_patches={(".strtab", 4): 1 << 40})
    (tmp_path / "vmlinux").write_bytes(damaged.file())
    (tmp_path / "System.map").write_text(SYSTEM_MAP)
    given = SymbolFiles(given=(tmp_path / "vmlinux", tmp_path / "System.map"))
    symbol, losses = named(path, given)
    assert (symbol, losses[f"object whose file is {elf.DAMAGED}"]) == ("schedule", 1)


@pytest.mark.parametrize("build_id", [BUILD_ID, None])
def test_a_system_map_that_is_given_counts_and_that_is_said(tmp_path: Path, build_id: str | None) -> None:
    (tmp_path / "System.map").write_text(SYSTEM_MAP)
    path = kernel(tmp_path / "perf.data", build_id=build_id)
    symbol, losses = named(path, SymbolFiles(given=(tmp_path / "System.map",)))
    assert (symbol, losses[perf_names.UNPROVEN]) == ("schedule", 1)


def test_proven_symbols_come_before_given_ones_and_nonsense_is_counted(tmp_path: Path, home: Path) -> None:
    path = kernel(tmp_path / "perf.data")
    (tmp_path / "System.map").write_text(SYSTEM_MAP.replace("schedule", "another"))
    (tmp_path / "nonsense").write_text("no symbols at all\n")
    symbol, losses = named(path, SymbolFiles(given=(tmp_path / "nonsense", tmp_path / "System.map")))
    assert (symbol, losses[symbol_files.UNUSABLE_GIVEN], losses[perf_names.UNPROVEN]) == ("another", 1, 1)
    (cached(home) / "kallsyms").write_text(SYSTEM_MAP)
    symbol, losses = named(path, SymbolFiles(given=(tmp_path / "System.map",)))
    assert (symbol, losses[perf_names.UNPROVEN]) == ("schedule", 0)


MODULE = "/lib/modules/6.1.0/kernel/drivers/net/e1000e.ko"


def test_a_module_is_named_by_the_kernels_own_symbols_while_they_lie_in_it(tmp_path: Path, home: Path) -> None:
    path = kernel(tmp_path / "perf.data", module=MODULE)
    where = cached(home, OTHER_ID) / "kallsyms"
    where.write_text(SYSTEM_MAP + "ffffffffc0000000 t e1000_probe\t[e1000e]\n")
    assert named(path)[0] == "e1000_probe"
    where.write_text(SYSTEM_MAP + "ffffffffd0000000 t e1000_probe\t[e1000e]\n")
    assert named(path)[0] == f"{MODULE}+0x10"


def test_a_module_that_is_given_counts_by_its_build_id(tmp_path: Path) -> None:
    path = kernel(tmp_path / "perf.data", module=MODULE)
    module = ElfWriter([Symbol("e1000_probe", 0, 64)], kind=1, address=0)
    (tmp_path / "e1000e.ko").write_bytes(module.file())
    assert named(path, SymbolFiles(given=(tmp_path / "e1000e.ko",)))[0] == "e1000_probe"
    (tmp_path / "e1000e.ko").write_bytes(
        ElfWriter([Symbol("e1000_probe", 0, 64)], kind=1, address=0, build_id="ab" * 20).file()
    )
    symbol, losses = named(path, SymbolFiles(given=(tmp_path / "e1000e.ko",)))
    assert symbol == f"{MODULE}+0x10"
    assert losses[symbol_files.WRONG_BUILD_ID] == 1
