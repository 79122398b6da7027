# SPDX-License-Identifier: Apache-2.0
"""Where new text goes in a kernel source file: includes in their group, definitions above a function's comment."""

from __future__ import annotations

import re
from collections.abc import Sequence

from git_hmopt.agents.proposer import Source
from git_hmopt.psg.edit import Edit
from git_hmopt.psg.unit import Function

_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*(?:<(?P<system>[^>\n]+)>|"(?P<own>[^"\n]+)")[^\n]*\n', re.MULTILINE)
_CONDITIONAL = re.compile(
    rb"^[ \t]*#[ \t]*(?P<word>ifdef|ifndef|if|elif|else|endif|define)\b(?P<rest>[^\n]*)", re.MULTILINE
)
_ALWAYS_SO = frozenset(((b"ifndef", b"__ASSEMBLY__"), (b"ifdef", b"__KERNEL__")))
_COMMENT_END = re.compile(rb"\*/[ \t]*\n\Z")
_INITCALL = re.compile(
    rb"^[ \t]*(?P<name>\w*initcall\w*|module_init|module_\w+_(?:driver|device)|builtin_\w+|kunit_test_\w*suites?)"
    rb"[ \t]*\(",
    re.MULTILINE,
)


def include_edits(text: bytes, wanted: Sequence[str], source: Source) -> list[Edit]:
    """Return the edits that include `<name>` for each wanted name that neither the file nor a header of it includes.

    A name goes into the group of its directory: in order where the group is in order, else at the group's end; `asm/`
    follows `linux/` (Documentation/process/coding-style.rst leaves the order to habit; this is the habit).
    """
    lines = [found for found in _INCLUDE.finditer(text) if not _conditional(text, found.start())]
    present = {(found["system"] or found["own"]).decode(errors="replace") for found in lines}
    for name in sorted(present):
        header = source.read(f"include/{name}") or b""
        present |= {
            found["system"].decode(errors="replace")
            for found in _INCLUDE.finditer(header)
            if found["system"] and not _conditional(header, found.start())
        }
    places: dict[int, list[str]] = {}
    for name in wanted:
        if name not in present:
            places.setdefault(_place(text, lines, name), []).append(name)
    edits = []
    for place, names in places.items():
        edits.append(Edit(place, place, "".join(f"#include <{name}>\n" for name in sorted(names)).encode()))
    return edits


def _conditional(text: bytes, offset: int) -> bool:
    """Say whether a line stands inside an #if that a C file of the kernel may see fail.

    A header's guard against being read twice does not fail, nor do the conditions that leave out user space and
    assembler.
    """
    around: list[bool] = []
    directives = [(found["word"], found["rest"].strip(), found.start()) for found in _CONDITIONAL.finditer(text)]
    for number, (word, rest, place) in enumerate(directives):
        if place >= offset:
            break
        if word == b"endif":
            del around[-1:]
        elif word in (b"if", b"ifdef", b"ifndef"):
            following = directives[number + 1][:2] if number + 1 < len(directives) else ()
            guard = word == b"ifndef" and following == (b"define", rest)
            around.append(not guard and (word, rest) not in _ALWAYS_SO)
        elif word in (b"else", b"elif") and around:
            around[-1] = True
    return any(around)


def _place(text: bytes, lines: Sequence[re.Match[bytes]], name: str) -> int:
    group = name.partition("/")[0].encode() + b"/"
    same = [found for found in lines if (found["system"] or b"").startswith(group)]
    if same:
        names = [found["system"].decode() for found in same]
        if names == sorted(names):
            for found, other in zip(same, names, strict=True):
                if other > name:
                    return found.start()
        return same[-1].end()
    system = [found for found in lines if found["system"]]
    if system:
        return system[-1].end() if group == b"asm/" else system[0].start()
    return lines[0].start() if lines else _after_header(text)


def _after_header(text: bytes) -> int:
    """Return the place behind the licence line and the first comment of a file without includes."""
    found = re.match(rb"(?://[^\n]*\n)*(?:/\*.*?\*/[ \t]*\n)?", text, re.DOTALL)
    return found.end() if found else 0


def above(text: bytes, function: Function) -> int:
    """Return the offset of the line where a function, with the comment that documents it, begins."""
    place = text.rfind(b"\n", 0, function.start) + 1
    while _COMMENT_END.search(text, 0, place):
        begin = text.rfind(b"/*", 0, place)
        if begin < 0 or text[text.rfind(b"\n", 0, begin) + 1 : begin].strip():
            break
        place = text.rfind(b"\n", 0, begin) + 1
    return place


def initcalls(text: bytes) -> list[tuple[str, int]]:
    """Return (macro, offset) of the initcalls a file declares."""
    return [(found["name"].decode(), found.start()) for found in _INITCALL.finditer(text)]


def unconditional(text: bytes, place: int) -> int:
    """Return a place outside every #if before `place`; `place` itself where that would lie above the includes."""
    depth, opened, offset = 0, place, 0
    for line in text[:place].splitlines(keepends=True):
        word = line.lstrip()
        if word.startswith(b"#"):
            word = word[1:].lstrip()
            if word.startswith(b"if"):
                opened = offset if depth == 0 else opened
                depth += 1
            elif word.startswith(b"endif"):
                depth -= 1
        offset += len(line)
    last_include = max((found.end() for found in _INCLUDE.finditer(text)), default=0)
    return opened if depth > 0 and opened >= last_include else place


def indent_of(text: bytes, offset: int) -> bytes:
    """Return the white space that the line of an offset begins with."""
    start = text.rfind(b"\n", 0, offset) + 1
    found = re.match(rb"[ \t]*", text[start:offset])
    return found.group() if found else b""


def unaligned_header(source: Source) -> str:
    """Return the header of get_unaligned_*(); it moved to linux/ in Linux 6.12 (kernel commit 5f60d5f6bbc1)."""
    return "linux/unaligned.h" if source.read("include/linux/unaligned.h") is not None else "asm/unaligned.h"
