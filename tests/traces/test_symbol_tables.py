# SPDX-License-Identifier: Apache-2.0
"""Functions by address: perf's rules for aliases, labels and sizes, and tables that are wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from git_hmopt.traces.elf import DAMAGED, NO_ELF, NO_FILE, NOT_REGULAR, UnusableError, read_elf
from git_hmopt.traces.symbol_tables import SymbolTable, elf_symbols, kallsyms, stubs_of
from tests.traces.elf_writer import GLOBAL, LOCAL, NOTYPE, WEAK, ElfWriter, Symbol
from tests.traces.reading import damaged

AT = 0x401000


def table_of(path: Path) -> SymbolTable | None:
    elf = read_elf(path)
    with elf.opened() as stream:
        return elf_symbols(elf, stream, stubs_of(elf, stream))


def named(tmp_path: Path, writer: ElfWriter, *addresses: int) -> list[str | None]:
    path = tmp_path / "object"
    path.write_bytes(writer.file())
    table = table_of(path)
    assert table is not None
    return [found[0] if (found := table.find(address)) else None for address in addresses]


def test_a_function_ends_where_its_size_says(tmp_path: Path) -> None:
    writer = ElfWriter([Symbol("first", AT, 16), Symbol("second", AT + 32, 8)])
    assert named(tmp_path, writer, AT - 1, AT, AT + 15, AT + 16, AT + 32, AT + 39, AT + 40) == [
        None, "first", "first", None, "second", "second", None,
    ]  # fmt: skip


def test_a_size_of_zero_lasts_up_to_the_next_symbol_and_the_last_one_to_the_end_of_a_page(tmp_path: Path) -> None:
    writer = ElfWriter([Symbol("first", AT), Symbol("last", AT + 32)])
    assert named(tmp_path, writer, AT + 31, AT + 32, AT + 0x1FFF, AT + 0x2001) == ["first", "last", "last", None]


@pytest.mark.parametrize(
    ("one", "other", "kept"),
    [
        (Symbol("sized", AT, 8, binding=LOCAL), Symbol("label", AT, 0, kind=NOTYPE), "sized"),
        (Symbol("weak", AT, 8, binding=WEAK), Symbol("own", AT, 8, binding=LOCAL), "own"),
        (Symbol("weak", AT, 8, binding=WEAK), Symbol("strong", AT, 8, binding=GLOBAL), "strong"),
        (Symbol("local", AT, 8, binding=LOCAL), Symbol("global", AT, 8, binding=GLOBAL), "global"),
        (Symbol("__libc_read", AT, 8), Symbol("read", AT, 8), "read"),
        (Symbol("short", AT, 8), Symbol("longest", AT, 8), "longest"),
        (Symbol("one", AT, 8), Symbol("two", AT, 8), "one"),
    ],
)
def test_of_aliases_perfs_choice_is_taken(tmp_path: Path, one: Symbol, other: Symbol, kept: str) -> None:
    assert named(tmp_path, ElfWriter([one, other]), AT) == [kept]
    if kept != "one":
        assert named(tmp_path, ElfWriter([other, one]), AT) == [kept]


def test_labels_of_assembly_count_where_no_function_is(tmp_path: Path) -> None:
    label = Symbol("inner", AT + 8, kind=NOTYPE)
    assert named(tmp_path, ElfWriter([Symbol("whole", AT, 32), label]), AT + 12) == ["whole"]
    assert named(tmp_path, ElfWriter([Symbol("whole", AT, 4), label]), AT + 12) == ["inner"]
    hidden = Symbol("hidden", AT + 8, kind=NOTYPE, other=2)
    assert named(tmp_path, ElfWriter([Symbol("whole", AT, 4), hidden]), AT + 12) == [None]
    # perf takes labels from sections of text only.
    elsewhere = ElfWriter([Symbol("whole", AT, 4), label], code_name=".init")
    assert named(tmp_path, elsewhere, AT + 12) == [None]


def test_a_function_in_another_one_hides_it_only_as_long_as_it_lasts(tmp_path: Path) -> None:
    writer = ElfWriter([Symbol("outer", AT, 64), Symbol("nested", AT + 16, 8)])
    assert named(tmp_path, writer, AT + 8, AT + 20, AT + 40) == ["outer", "nested", "outer"]


def test_mapping_symbols_and_the_thumb_bit_are_no_names_of_code(tmp_path: Path) -> None:
    marks = [Symbol("$x", AT, kind=NOTYPE, binding=LOCAL), Symbol("$d", AT + 8, kind=NOTYPE, binding=LOCAL)]
    writer = ElfWriter([*marks, Symbol("real", AT, 32)], machine=183)
    assert named(tmp_path, writer, AT, AT + 10) == ["real", "real"]
    assert named(tmp_path, ElfWriter([Symbol("thumb", AT + 1, 8)], machine=40), AT) == ["thumb"]


def test_what_is_exported_counts_without_a_full_table(tmp_path: Path) -> None:
    assert named(tmp_path, ElfWriter([Symbol("exported", AT, 8)], table=".dynsym"), AT) == ["exported"]


def test_data_and_undefined_symbols_are_no_functions(tmp_path: Path) -> None:
    writer = ElfWriter(
        [Symbol("undefined", 0, 0, section=0), Symbol("absolute", AT + 4, section=0xFFF1), Symbol("real", AT, 8)]
    )
    assert named(tmp_path, writer, AT + 4) == ["real"]


def test_a_file_without_symbols_has_no_table(tmp_path: Path) -> None:
    path = tmp_path / "object"
    path.write_bytes(ElfWriter().file())
    assert table_of(path) is None


# -- files that are wrong -------------------------------------------------------------------------------------------

OFFSET, SIZE, LINK = 3, 4, 5


@pytest.mark.parametrize(
    ("section", "word", "value"),
    [
        (".symtab", SIZE, 1 << 62),
        (".symtab", SIZE, 1 << 20),
        (".symtab", OFFSET, 1 << 62),
        (".symtab", OFFSET, 2**64 - 8),
        (".symtab", LINK, 4000),
        (".strtab", SIZE, 1 << 40),
        (".strtab", OFFSET, 1 << 50),
    ],
)
def test_absurd_sizes_are_refused(tmp_path: Path, section: str, word: int, value: int) -> None:
    path = tmp_path / "object"
    path.write_bytes(ElfWriter([Symbol("one", AT, 8)], section_patches={(section, word): value}).file())
    with pytest.raises(UnusableError, match=DAMAGED):
        table_of(path)


def test_a_name_beyond_all_bounds_is_none(tmp_path: Path) -> None:
    path = tmp_path / "object"
    path.write_bytes(ElfWriter([Symbol("x" * (1 << 15), AT, 8), Symbol("two", AT + 8, 8)]).file())
    table = table_of(path)
    assert table is not None
    assert [table.find(AT + 1), table.find(AT + 9)] == [("", AT), ("two", AT + 8)]


def test_a_number_of_sections_beyond_all_bounds_is_refused(tmp_path: Path) -> None:
    data = bytearray(ElfWriter([Symbol("one", AT, 8)], section_patches={("", SIZE): 1 << 60}).file())
    # No number in the head: then the first section's size is it.
    data[60:62] = b"\0\0"
    (tmp_path / "object").write_bytes(data)
    with pytest.raises(UnusableError, match=DAMAGED):
        read_elf(tmp_path / "object")


@pytest.mark.parametrize("size", [0, 3, 20, 51, 63, 100, 0x1010])
def test_a_file_that_was_cut_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "object"
    path.write_bytes(ElfWriter([Symbol("one", AT, 8)]).file()[:size])
    with pytest.raises(UnusableError, match=f"{NO_ELF}|{DAMAGED}"):
        table_of(path)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    (tmp_path / "loop").symlink_to("loop")
    for name, reason in (("fifo", NOT_REGULAR), ("link", NOT_REGULAR), (".", NOT_REGULAR), ("loop", NO_FILE)):
        with pytest.raises(UnusableError, match=reason):
            read_elf(tmp_path / name)
    for path, reason in (("/dev/zero", NOT_REGULAR), ("/nothing/here", NO_FILE), ("a\0b", NO_FILE)):
        with pytest.raises(UnusableError, match=reason):
            read_elf(Path(path))


def test_a_file_that_changed_meanwhile_is_not_read_on(tmp_path: Path) -> None:
    path = tmp_path / "object"
    path.write_bytes(ElfWriter([Symbol("one", AT, 8)]).file())
    elf = read_elf(path)
    path.write_bytes(ElfWriter([Symbol("another", AT, 8)]).file())
    with pytest.raises(UnusableError, match="changed"), elf.opened():
        pass


WHOLE = ElfWriter(
    [Symbol("one", AT, 8), Symbol("two", AT + 8, kind=NOTYPE), Symbol("two_", AT + 8)], size=64, offset=0x100
).file()


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=damaged(WHOLE))
def test_damaged_files_give_a_table_or_one_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "object"
    path.write_bytes(data)
    try:
        table = table_of(path)
    except UnusableError:
        return
    if table is not None:
        for address in (0, AT, AT + 9, 2**64 - 1):
            table.find(address)


# -- kallsyms -------------------------------------------------------------------------------------------------------


def test_kallsyms_are_the_kernels_and_the_modules() -> None:
    known = kallsyms(
        b"ffffffff81000000 T _text\nffffffff81000000 T _stext\nffffffff81000010 W __weak\nffffffff81000010 t own\n"
        b"ffffffff81000020 D data\nffffffff81000030 r constant\nffffffffc0000000 t probe\t[e1000e]\nnonsense\n"
        b"zz T bad\n1 TT worse\n"
    )
    assert known is not None
    assert known.kernel.find(0xFFFFFFFF81000014) == ("own", 0xFFFFFFFF81000010)
    assert known.kernel.find(0xFFFFFFFF81000024) == ("data", 0xFFFFFFFF81000020)
    assert known.addresses == {b"_text": 0xFFFFFFFF81000000, b"_stext": 0xFFFFFFFF81000000}
    assert known.modules["e1000e"].find(0xFFFFFFFFC0000000) == ("probe", 0xFFFFFFFFC0000000)
    assert known.kernel.find(0xFFFFFFFFC0000000) is None


def test_kallsyms_that_hide_addresses_say_nothing() -> None:
    assert kallsyms(b"0000000000000000 T _text\n0000000000000000 T start\n") is None
    assert kallsyms(b"") is None
