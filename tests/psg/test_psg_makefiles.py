# SPDX-License-Identifier: Apache-2.0
"""What knobs decide about in Makefiles as kbuild reads them, and what no make would accept."""

from __future__ import annotations

import time

import pytest

from git_hmopt.psg.makefiles import Built, makefile_targets


def targets(source: str, path: str = "lib/Makefile", **variables: str) -> set[tuple[str, str]]:
    """Return (knob without CONFIG_, target) of a Makefile."""
    found = makefile_targets(path, source, variables)
    return {(one.knob.removeprefix("CONFIG_"), one.target) for one in found}


# -- what is wrong with a file ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "",
        "\n\\",
        "# obj-$(CONFIG_A) += a.o",
        "# goes on \\\nobj-$(CONFIG_A) += a.o",
        "obj-$(CONFIG_A += a.o",
        "obj-$(CONFIG_A) a.o",
        "else\nendif\nendif",
        "\tobj-$(CONFIG_A)\n",
        "obj-$(CONFIG_A) += $(unknown) $(wildcard *.o) $(obj)/a.o a.dtb",
        "obj-$(CONFIG_A) += ../../outside.o ../../etc/ / . .. /etc/passwd.o",
        "other-$(CONFIG_A) += a.o",
        "obj-$(CONFIG_A) = $(obj-y)",
        "\0\ufffd",
    ],
    ids=repr,
)
def test_what_decides_about_nothing(source: str) -> None:
    assert targets(source) == set()


def test_conditions_without_an_end() -> None:
    assert targets("endif\nifdef CONFIG_A\nobj-y += a.o\nifdef CONFIG_B\nobj-y += b.o") == {
        ("A", "lib/a.c"), ("A", "lib/b.c"), ("B", "lib/b.c"),
    }  # fmt: skip


def test_other_line_ends_and_continuations() -> None:
    source = "obj-$(CONFIG_A) += a.o \\\r\n\tb.o \\\r\n\r\nobj-y := \\\n\\\n c.o\nobj-$(CONFIG_D) += d.o \\"
    assert makefile_targets("lib/Makefile", source) == [
        Built("CONFIG_A", "lib/a.c", 1), Built("CONFIG_A", "lib/b.c", 1), Built("CONFIG_D", "lib/d.c", 7),
    ]  # fmt: skip


def test_lists_that_name_themselves_come_to_an_end() -> None:
    source = "obj-$(CONFIG_A) += a.o\na-y := a.o b.o $(b-y)\nb-y := $(a-y) $(b-y) c.o\nV = $(V)$(V)\nobj-y += $(V)/\n"
    assert targets(source) == {("A", "lib/a.c"), ("A", "lib/b.c"), ("A", "lib/c.c")}


@pytest.mark.parametrize(
    "source",
    [
        "obj-$(CONFIG_A) += " + " ".join(f"a{number}.o" for number in range(100_000)),
        "".join(f"obj-$(CONFIG_K{number}) += a{number}.o # it's\n" for number in range(20_000)),
        "".join(f"l{n}-y := $(l{n + 1}-y) $(l{n + 1}-y)\n" for n in range(1000)) + "obj-$(CONFIG_A) := $(l0-y)\n",
        "".join(f"V{n} = $(V{n + 1})$(V{n + 1})\n" for n in range(100)) + "V100 = a\nobj-y += $(V0).o\n",
        "".join(
            f"l{n}-$(CONFIG_A{n}) := $(l{n + 1}-y)\nl{n}-$(CONFIG_B{n}) := $(l{n + 1}-y)\n" for n in range(30)
        )
        + "obj-y := $(l0-y)\n",
        "ifdef CONFIG_A\n" * 20_000 + "obj-y += a.o\n" * 3,
        "obj-y += " + "\\\n" * 100_000,
        "obj-" + "$(" * 50_000,
        "obj-y += " + "$(addprefix " * 5_000,
    ],
    ids=("words", "lines", "lists", "values", "knobs", "conditions", "continued", "open", "calls"),
)  # fmt: skip
def test_a_large_or_hostile_file_takes_seconds(source: str) -> None:
    began = time.process_time()
    makefile_targets("lib/Makefile", source)
    assert time.process_time() - began < 10


# -- what a file says -------------------------------------------------------------------------------------------------


def test_objects_folders_and_composite_objects() -> None:
    source = """# SPDX
obj-y += always.o sub/ deep/er/
obj-$(CONFIG_A) += a.o whole.o dir/
lib-$(CONFIG_L) += l.o
obj-m := module.o
whole-y := one.o sub/two.o whole2.o
whole-objs += three.o
whole-$(CONFIG_B) += four.o
whole2-y += five.o
obj-$(CONFIG_C) += whole.o
ccflags-$(CONFIG_D) += -DX
"""
    assert targets(source) == {
        ("", "lib/sub/"), ("", "lib/deep/er/"), ("A", "lib/a.c"), ("A", "lib/dir/"), ("L", "lib/l.c"),
        *((knob, f"lib/{part}.c") for knob in "AC" for part in ("one", "sub/two", "whole2", "three", "four")),
        ("B", "lib/four.c"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "knobs"),
    [
        ("obj-$(subst m,y,$(CONFIG_A)) += a.o", {"A"}),
        ("obj-$(subst y,$(CONFIG_A),$(CONFIG_B)) += a.o", {"A", "B"}),
        ("obj-$(CONFIG_A)$(CONFIG_B) += a.o", {"A", "B"}),
        ("obj-$(CONFIG_A:m=y) := a.o", {"A"}),
        ("obj-$(CONFIG_A)=a.o", {"A"}),
        ("  obj-$(CONFIG_A) ?= a.o", {"A"}),
        ("obj-$(CONFIG_A) += ./b/../a.o", {"A"}),
        ("obj-$(CONFIG_A) += $(addprefix a, .o)", {"A"}),
        ("list-$(CONFIG_B) := a.o\nobj-$(CONFIG_A) += $(list-y)", {"A", "B"}),
        ("V := a\nobj-$(CONFIG_A) += $(V).o", {"A"}),
        ("V := a\nV := b\nobj-$(CONFIG_A) += $(V).o", set()),
        ("ifdef CONFIG_B\nV := a\nelse\nV := b\nendif\nobj-$(CONFIG_A) += $(V).o", set()),
    ],
)
def test_ways_to_list_an_object(line: str, knobs: set[str]) -> None:
    assert targets(line) == {(knob, "lib/a.c") for knob in knobs}


@pytest.mark.parametrize(
    ("condition", "knobs"),
    [
        ("ifdef CONFIG_A", {"A"}),
        ("ifeq ($(CONFIG_A),y)", {"A"}),
        ("ifeq ($(CONFIG_A), m)", {"A"}),
        ("ifeq (y, $(CONFIG_A))", {"A"}),
        ('ifeq "$(CONFIG_A)" "y"', {"A"}),
        ('ifeq ("$(CONFIG_A)","y")', {"A"}),
        ("ifeq ($(CONFIG_A)$(CONFIG_B),yy)", {"A", "B"}),
        ("ifneq ($(CONFIG_A),)", {"A"}),
        ("ifneq ($(CONFIG_A),n)", {"A"}),
        ("ifndef CONFIG_A", set()),
        ("ifneq ($(CONFIG_A),y)", set()),
        ("ifneq ($(CONFIG_A),0)", set()),
        ("ifeq ($(CONFIG_A),)", set()),
        ("ifeq ($(CONFIG_A)$(CONFIG_B),y)", set()),
        ("ifneq ($(CONFIG_A)$(CONFIG_B),)", set()),
        ("ifeq ($(call cc-option,$(CONFIG_A)),y)", set()),
        ("ifeq ($(BITS),32)", set()),
        ("ifeq", set()),
    ],
)
def test_conditions(condition: str, knobs: set[str]) -> None:
    source = f"{condition}\nobj-y += a.o\nelse\nobj-y += b.o\nendif\nobj-y += c.o\n"
    assert targets(source) == {(knob, "lib/a.c") for knob in knobs}


def test_conditions_in_one_another() -> None:
    source = """ifdef CONFIG_A
  ifeq ($(CONFIG_B),y)
obj-$(CONFIG_C) += abc.o
  else ifdef CONFIG_D
obj-y += ad.o
  else
obj-y += a.o
  endif
else
obj-$(CONFIG_E) += e.o
endif
obj-$(CONFIG_F) += f.o
"""
    assert targets(source) == {
        *((knob, "lib/abc.c") for knob in "ABC"), *((knob, "lib/ad.c") for knob in "AD"), ("A", "lib/a.c"),
        ("E", "lib/e.c"), ("F", "lib/f.c"),
    }  # fmt: skip


@pytest.mark.parametrize("path", ["Makefile", "arch/x86/Makefile", "arch/x86/Makefile.um"])
def test_the_lists_of_the_top_are_read_from_the_top(path: str) -> None:
    source = (
        "HOST := arch/$(HEADER_ARCH)\ncore-y += arch/x86/\nlibs-$(CONFIG_A) += lib/\ndrivers-y += $(HOST)/pci/ $(U)/\n"
    )
    assert targets(source, path, HEADER_ARCH="x86") == {("", "arch/x86/"), ("A", "lib/"), ("", "arch/x86/pci/")}


def test_elsewhere_they_are_names_like_others() -> None:
    assert targets("core-y += a.o\nobj-$(CONFIG_A) += core.o\n", "drivers/usb/Makefile") == {("A", "drivers/usb/a.c")}
