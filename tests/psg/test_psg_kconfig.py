# SPDX-License-Identifier: Apache-2.0
"""Knobs from Kconfig files, as scripts/kconfig/lexer.l and parser.y read them; nothing that a file names is run."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from git_hmopt.psg.kconfig import Knob, Knobs, read_kconfig


def read(root: Path, files: dict[str, str | bytes]) -> Knobs:
    """Write files and read the tree they make."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_kconfig(root, arch="um", header_arch="x86")


def only(root: Path, text: str | bytes) -> Knob:
    """Return the one knob of a text in which everything is understood."""
    found = read(root, {"Kconfig": text})
    assert found.skipped == []
    (knob,) = found.knobs
    return knob


# -- what is wrong with a file ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"", b"\n\n", b"# config A\n", b"\\\n\\\n\\"], ids=repr)
def test_a_file_may_say_nothing(tmp_path: Path, text: bytes) -> None:
    found = read(tmp_path, {"Kconfig": text})
    assert (found.knobs, found.files, found.skipped) == ([], ["Kconfig"], [])


def test_a_tree_without_kconfig_says_so(tmp_path: Path) -> None:
    found = read(tmp_path, {})
    assert (found.files, found.absent, found.skipped) == ([], ["Kconfig"], [("Kconfig", 0, "Kconfig cannot be read")])


@pytest.mark.parametrize("wrong", ["%%%", "configure A", "config", "endif", "if A\nendmenu\nendif", "\0", "wrong x"])
def test_a_line_that_is_not_understood_costs_that_line(tmp_path: Path, wrong: str) -> None:
    found = read(tmp_path, {"Kconfig": f"config B\n\tbool\n{wrong}\nconfig C\n\tdef_bool y\n"})
    assert [(knob.name, knob.type, knob.depends) for knob in found.knobs] == [
        ("CONFIG_B", "bool", ()),
        ("CONFIG_C", "bool", ()),
    ]
    ((file, line, why),) = found.skipped
    assert file == "Kconfig" and line in (3, 4) and "not understood" in why


def test_blocks_without_an_end_are_told_and_end_with_their_file(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {
            "Kconfig": 'source "inner"\nconfig AFTER\n\tbool\nif A\nmenu "m"\nendif\nconfig OUT\n\tbool\n',
            "inner": "if X\nconfig IN\n\tbool\n",
        },
    )
    assert {knob.name: knob.depends for knob in found.knobs} == {
        "CONFIG_IN": ("X",), "CONFIG_AFTER": (), "CONFIG_OUT": (),
    }  # fmt: skip
    assert found.skipped == [("inner", 1, "'if' has no end"), ("Kconfig", 5, "'menu' has no end")]


def test_other_encodings_and_line_ends(tmp_path: Path) -> None:
    knob = only(
        tmp_path, b'config A\r\n\tbool "gr\xf6\xdfer"\r\n\tdepends on B && \\\r\n\t\tC\r\n\thelp\r\n\t  x\x0c y\r\n'
    )
    assert (knob.prompt, knob.depends, knob.last_line) == ("gr\ufffd\ufffder", ("B && \t\tC",), 6)


def test_a_form_feed_is_no_line_end(tmp_path: Path) -> None:
    assert only(tmp_path, "# one\x0c \u2028 line\nconfig A\n\tbool\n").first_line == 2


def test_files_that_source_themselves_are_read_once(tmp_path: Path) -> None:
    found = read(tmp_path, {"Kconfig": 'source "b"\n', "b": 'config B\n\tbool\nsource "Kconfig"\nsource "b"\n'})
    assert [knob.name for knob in found.knobs] == ["CONFIG_B"]
    assert found.skipped == [("b", 3, "Kconfig sources itself"), ("b", 4, "b sources itself")]


def test_files_that_source_the_next_one_twice_come_to_an_end(tmp_path: Path) -> None:
    names = ["Kconfig", *(f"k{number}" for number in range(40))]
    found = read(tmp_path, {a: f'source "{b}"\nsource "{b}"\n' for a, b in itertools.pairwise(names)})
    assert any("one source too many" in why for *_, why in found.skipped)


def test_a_thousand_files_that_source_the_next_one(tmp_path: Path) -> None:
    names = ["Kconfig", *(f"k{number}" for number in range(1000))]
    found = read(tmp_path, {a: f'source "{b}"\n' for a, b in itertools.pairwise(names)})
    assert [why for *_, why in found.skipped] == ["k99 is one source too many"]


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "a/../../outside", "/etc/*", "../*", "."])
def test_no_file_outside_of_the_tree_is_read(tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").write_text("config OUT\n")
    found = read(tmp_path / "tree", {"Kconfig": f'source "{target}"\n'})
    assert (found.files, found.knobs, len(found.skipped)) == (["Kconfig"], [], 1)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "dangling").symlink_to("nowhere")
    found = read(tmp_path, {"Kconfig": 'source "endless"\nsource "dangling"\n'})
    assert found.absent == ["endless", "dangling"] and len(found.skipped) == 2


def test_macros_are_never_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    text = f"""
cc := $(shell,touch {ran})
$(error-if,$(success,touch {ran}),no compiler)
config A
\tdef_bool $(success,touch {ran})
\tdepends on B || $(shell,touch {ran})
\tdefault "$(shell,touch {ran} # no comment)" if C
source "$(shell,touch {ran})/Kconfig"
"""
    found = read(tmp_path, {"Kconfig": text})
    assert not ran.exists()
    (knob,) = found.knobs
    assert knob.named == ("CONFIG_B", "CONFIG_C")
    assert knob.defaults[1].endswith('# no comment)" if C')
    ((_, line, why),) = found.skipped
    assert line == 8 and why.endswith("is named by a macro")


def test_a_generated_file_of_100_000_lines_takes_a_second(tmp_path: Path) -> None:
    block = 'if A\nconfig K%d\n\tbool "it\'s"\n\tdepends on B\n\thelp\n\t  config NOT\n\n\n\nendif\n'
    text = "".join(block % number for number in range(10_000)) + '\tprompt "' + '\\"' * 100_000
    began = time.process_time()
    found = read(tmp_path, {"Kconfig": text, "more": ""})
    assert time.process_time() - began < 10
    assert len(found.knobs) == 10_000 and found.knobs[-1].depends == ("A", "B")


def test_blocks_a_thousand_deep(tmp_path: Path) -> None:
    text = "if A\n" * 1000 + "config B\n\tbool\n" + "endif\n" * 1000
    found = read(tmp_path, {"Kconfig": text})
    assert found.knobs[0].depends == ("A",) * 100
    assert len(found.skipped) == 1800


# -- what a file says -------------------------------------------------------------------------------------------------


def test_a_knob_with_everything(tmp_path: Path) -> None:
    text = """
config FOO-2
	tristate "Foo \\"2\\" # no comment" if EXPERT  # a comment
	depends on NET && (64BIT || !MIPS)
	depends on BAR != n && SPEED > 100 && BASE = 0x1f
	default m if BAZ='y' || "QUX" = QUUX
	default $(cc-option,-mfoo $(bits))
	select CRC32 if HELPED
	select 8272
	imply ZLIB
	range 1 10
	help
          Text.

          config NOT
          depends on NOTHING

config NEXT
"""
    (knob, after) = read(tmp_path, {"Kconfig": text}).knobs
    assert knob == Knob(
        "CONFIG_FOO-2", "Kconfig", 2, 16, "tristate", 'Foo "2" # no comment',
        ("m if BAZ='y' || \"QUX\" = QUUX", "$(cc-option,-mfoo $(bits))"),
        ("NET && (64BIT || !MIPS)", "BAR != n && SPEED > 100 && BASE = 0x1f"),
        ("CONFIG_CRC32", "CONFIG_8272"), ("CONFIG_ZLIB",),
        ("CONFIG_NET", "CONFIG_64BIT", "CONFIG_MIPS", "CONFIG_BAR", "CONFIG_SPEED", "CONFIG_BASE", "CONFIG_BAZ",
         "CONFIG_QUUX"),
    )  # fmt: skip
    assert (after.name, after.first_line, after.type, after.last_line) == ("CONFIG_NEXT", 18, "", 18)


@pytest.mark.parametrize(
    ("line", "type_", "prompt", "defaults"),
    [
        ("bool", "bool", "", ()),
        ('bool"close"', "bool", "close", ()),
        ("hex 'single'", "hex", "single", ()),
        ("string\n\tprompt \"apart\"", "string", "apart", ()),
        ("def_bool y if A", "bool", "", ("y if A",)),
        ("def_tristate m", "tristate", "", ("m",)),
        ('int "n"\n\tdefault 7', "int", "n", ("7",)),
        ('bool "no end', "bool", "no end", ()),
        ('bool "trailing "', "bool", "trailing", ()),
    ],
)  # fmt: skip
def test_types_prompts_and_defaults(
    tmp_path: Path, line: str, type_: str, prompt: str, defaults: tuple[str, ...]
) -> None:
    knob = only(tmp_path, f"config A\n\t{line}\n")
    assert (knob.type, knob.prompt, knob.defaults) == (type_, prompt, defaults)


def test_conditions_of_all_that_stands_around(tmp_path: Path) -> None:
    text = """mainmenu "all"
menuconfig M
	bool "m"
if M
config IN_IF
	bool
menu "inner"
	depends on Q
	visible if V
config IN_MENU
	bool
	depends on OWN
choice
	prompt "one of"
	depends on Z
	default C1
config C1
	bool "c1"
comment "nothing"
	depends on NOT
config C2
	bool "c2"
endchoice
endmenu
source "sub"
endif
config OUT
	bool
"""
    found = read(tmp_path, {"Kconfig": text, "sub": "config SUB\n\tbool\n"})
    assert found.skipped == []
    assert {knob.name: knob.depends for knob in found.knobs} == {
        "CONFIG_M": (), "CONFIG_IN_IF": ("M",), "CONFIG_IN_MENU": ("M", "Q", "OWN"), "CONFIG_C1": ("M", "Q", "Z"),
        "CONFIG_C2": ("M", "Q", "Z"), "CONFIG_SUB": ("M",), "CONFIG_OUT": (),
    }  # fmt: skip
    assert next(knob for knob in found.knobs if knob.name == "CONFIG_C2").named == ("CONFIG_M", "CONFIG_Q", "CONFIG_Z")


def test_all_that_sources_a_file(tmp_path: Path) -> None:
    def knob(name: str) -> str:
        return f"config {name}\n\tbool\n"

    top = """source "arch/$(SRCARCH)/Kconfig"
source "arch/$HEADER_ARCH/um/Kconfig"
source plain/Kconfig
osource "absent"
osource "plain/Kconfig.o"
source "absent too"
source "glob/Kconfig.*"
source "none/*"
"""
    found = read(
        tmp_path,
        {
            "Kconfig": top,
            "arch/um/Kconfig": knob("UM"),
            "arch/x86/um/Kconfig": knob("X86_UM"),
            "plain/Kconfig": knob("PLAIN") + 'rsource "below/K"\norsource "absent"\norsource "../root"\n',
            "plain/Kconfig.o": knob("O"),
            "plain/below/K": knob("BELOW"),
            "root": knob("ROOT"),
            "glob/Kconfig.b": knob("B"),
            "glob/Kconfig.a": knob("A"),
        },
    )
    names = [one.name.removeprefix("CONFIG_") for one in found.knobs]
    assert names == ["UM", "X86_UM", "PLAIN", "BELOW", "ROOT", "O", "A", "B"]
    assert found.absent == ["plain/absent", "absent", "absent too"]
    assert found.patterns == {"glob/Kconfig.*": ["glob/Kconfig.a", "glob/Kconfig.b"], "none/*": []}
    assert found.skipped == [("Kconfig", 6, "absent too cannot be read")]


@pytest.mark.parametrize("help_", ["help", "---help---"])
@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("\t  config NOT\n\t  endif\n", 5),
        ("\n\n\t  text\n\n\t    deeper\n\n\n", 8),
        ("        eight blanks are a tab\n\tconfig NOT\n", 5),
        ("", 3),
        ("\n\n", 3),
    ],
    ids=repr,
)
def test_a_help_text_ends_where_its_indent_does(tmp_path: Path, help_: str, text: str, last: int) -> None:
    first, after = read(tmp_path, {"Kconfig": f"config A\n\tbool\n\t{help_}\n{text}config B\n\tbool\n"}).knobs
    assert (first.name, first.last_line, after.name) == ("CONFIG_A", last, "CONFIG_B")


def test_a_comment_does_not_go_on(tmp_path: Path) -> None:
    knob = only(tmp_path, "config A # one \\\n\tbool\n\tdepends on B # two \\\n\tdepends on C\n")
    assert (knob.type, knob.depends) == ("bool", ("B", "C"))


def test_a_knob_of_several_blocks_has_several(tmp_path: Path) -> None:
    found = read(tmp_path, {"Kconfig": 'config A\n\tbool "a"\nconfig A\n\tdefault y\n'})
    assert [(knob.first_line, knob.type) for knob in found.knobs] == [(1, "bool"), (3, "")]
