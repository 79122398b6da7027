# SPDX-License-Identifier: Apache-2.0
"""A toy kernel tree: a Makefile that prints what kbuild prints, and a link script that works as the kernel's own."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

from git_hmopt.adapters import AdapterContext, SourceTree
from hmopt_adapters.kbuild import KbuildAdapter, KbuildOptions

MAKEFILE = r"""
ifneq ($(inner),1)
.DEFAULT:
	@$(MAKE) -C $(O) -f ../Makefile inner=1 $@
.PHONY: all
all:
	@$(MAKE) -C $(O) -f ../Makefile inner=1 $@
else
export srctree := ..
export objtree := .
export CONFIG_SHELL := sh
export LD := ld
export KBUILD_LDS := arch/vmlinux.lds
export KBUILD_VMLINUX_LIBS := lib/lib.a
export CFLAGS_vmlinux := -nostdlib -static -no-pie -Wl,--build-id=none -Wl,-z,noexecstack
export CC := $(CROSS_COMPILE)gcc
CFLAGS := -g -O1 -Wall -ffreestanding -fno-pic -fno-stack-protector -fno-asynchronous-unwind-tables
always := init/main.o x/lib/sort.o
lib := lib/sort.o lib/string.o

.DELETE_ON_ERROR:
.PHONY: all smallconfig olddefconfig nothing
all: vmlinux
nothing: ;
vmlinux: ../scripts/link-vmlinux.sh vmlinux.a lib/lib.a arch/vmlinux.lds
	+@echo '  LD      $@'
	+@sh ../scripts/link-vmlinux.sh "$(LD)" "" ""
	@echo 'cmd := link' >.vmlinux.cmd
vmlinux.a: $(always)
	@echo '  AR      $@'
	@rm -f $@ && ar cDPrST $@ $^
lib/lib.a: $(lib)
	@echo '  AR      $@'
	@rm -f $@ && ar cDPrsT $@ $^
arch/vmlinux.lds: ../arch/vmlinux.lds
	@mkdir -p $(@D) && cp $< $@
$(always) $(lib): %.o: ../%.c ../include/shared.h .config
	@mkdir -p $(@D)
	@echo '  CC      $@'
	@sleep 0.0$(SLOW)
	@$(CC) $(CFLAGS) -I../include -c -o $@ $<
	@echo 'cmd := $(CC)' >$(@D)/.$(@F).cmd
smallconfig:
	@echo 'CONFIG_SMALL=y' >.config
olddefconfig:
	@sh ../scripts/conf.sh
endif
"""

# Knows SMALL, TEXT, SHIFT, DEPENDENT (which needs SMALL) and STUBBORN (always y).
CONF = r"""
echo "#" >.config.tmp
echo "# configuration written to .config"
for symbol in SMALL TEXT SHIFT DEPENDENT; do
	grep -E "^(# )?CONFIG_$symbol( |=)" .config | tail -n 1 >.line
	[ $symbol = DEPENDENT ] && ! grep -q '^CONFIG_SMALL=y' .config.tmp && continue
	cat .line >>.config.tmp
done
grep -q BROKEN .config && { echo 'Kconfig:7: syntax error'; echo 'scripts/conf.sh: error: no Kconfig'; exit 1; }
echo CONFIG_STUBBORN=y >>.config.tmp
echo run >>.configured
mv .config.tmp .config
"""

LINK = r"""
set -e
${MAKE} -f "${srctree}/scripts/Makefile.build" obj=init init/version-timestamp.o 2>/dev/null || true
# What the link writes on its way, as kallsyms does.
echo "rehearsal" >.tmp_vmlinux.kallsyms1
# UML is linked by the compiler.
${CC} ${CFLAGS_vmlinux} -Wl,--script=${objtree}/${KBUILD_LDS} -o vmlinux \
	-Wl,--whole-archive vmlinux.a -Wl,--no-whole-archive -Wl,--start-group ${KBUILD_VMLINUX_LIBS} -Wl,--end-group
${CONFIG_SHELL} "${srctree}/scripts/mksysmap" vmlinux System.map
echo "vmlinux: $0" >.vmlinux.d
"""

SCRIPT = """
ENTRY(start)
SECTIONS
{
  . = 0x400000;
  .text : { _text = .; *(.text.hot) *(.text .text.fixup) *(.text.unlikely) _etext = .; }
  .rodata : { *(.rodata*) }
  .data : { *(.data) *(.bss) }
}
"""

SOURCES = {
    "Makefile": MAKEFILE,
    "scripts/conf.sh": CONF,
    "scripts/link-vmlinux.sh": LINK,
    "scripts/mksysmap": 'nm -n "$1" >"$2"\n',
    "arch/vmlinux.lds": SCRIPT,
    "include/shared.h": "int lib_sort(int); int lib_swap(int); int lib_length(int); int x_lib_sort(int);\n",
    "init/main.c": "#include <shared.h>\nint start(void) { return lib_sort(1) + x_lib_sort(2); }\n",
    "lib/sort.c": "#include <shared.h>\nint lib_sort(int a) { return lib_length(a) * 3; }\n"
    "int lib_swap(int a) { return a + 5; }\n",
    "lib/string.c": "#include <shared.h>\nint lib_length(int a) { return a ^ 7; }\n",
    "x/lib/sort.c": "#include <shared.h>\nint x_lib_sort(int a) { return lib_swap(a) - 9; }\n",
}


def toy_tree(root: Path) -> SourceTree:
    """Write the toy kernel's source below `root/src`."""
    for name, text in SOURCES.items():
        path = root / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.lstrip("\n"))
    return SourceTree(root / "src", root / "src" / "build")


def toy_adapter(
    root: Path, *, sandboxed: bool = False, overlays: tuple[Path, ...] = (), **options: Any
) -> KbuildAdapter:
    """Return the adapter for the toy; its scratch directory lies outside the tree."""
    scratch = root / "scratch"
    scratch.mkdir(exist_ok=True)
    context = AdapterContext(name="toy", scratch=scratch, overlays=overlays, jobs=2, sandboxed=sandboxed)
    return KbuildAdapter(KbuildOptions.model_validate({"arch": "um", "make": {"SLOW": "0"}, **options}), context)


def edit(tree: SourceTree, name: str, old: str, new: str) -> None:
    """Replace text in a source file; make sees the change however fast it came."""
    path = tree.root / name
    text = path.read_text()
    assert old in text, f"{name} has no {old!r}"
    path.write_text(text.replace(old, new))


def addresses(image: Path) -> dict[str, int]:
    """Return the address of each function of an image, as nm says."""
    said = subprocess.run(["nm", str(image)], capture_output=True, text=True, check=True).stdout
    rows = re.findall(r"^([0-9a-f]+) [tT] (\w+)$", said, re.MULTILINE)
    return {name: int(address, 16) for address, name in rows}
