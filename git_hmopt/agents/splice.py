# SPDX-License-Identifier: Apache-2.0
"""Put a whole function, as a model wrote it, in the place of the one that the build compiles.

The compiler's own extents say where the old one stands; in a header, or a file that another one includes, its text
does. The new text is one definition of the same name, with static helpers and constant tables before it at most: what
else a file holds is changed by SEARCH and REPLACE, where it can be seen.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from git_hmopt.agents.answer_format import FunctionBlock
from git_hmopt.agents.complaints import Complaint, excerpt
from git_hmopt.agents.lines import TextFile, line_end, rewritten, split, style_of
from git_hmopt.psg.chunks import Item, comment_before, items, spans, words
from git_hmopt.psg.directives import blanked, directives, without_comments
from git_hmopt.psg.edit import Edit
from git_hmopt.psg.unit import Unit, line_of

_MOST_BYTES = 200_000
# Behind a backslash a # only makes a string of a macro's argument.
_DIRECTIVE = re.compile(rb"(?<!\\\n)^[ \t]*#[ \t]*(\w+)(?:\\\n|[^\n])*", re.MULTILINE)
_CONDITIONS = frozenset((b"if", b"ifdef", b"ifndef", b"elif", b"elifdef", b"elifndef", b"else", b"endif"))
_DOTS = rb"(?:\.\.\.|\xe2\x80\xa6)"
# What models write where they are too lazy to repeat the code.
_LAZY = re.compile(
    rb"(?:/\*{1,4}|//)[ \t]{0,40}" + _DOTS + rb"[^\n]{0,100}|^[ \t]*" + _DOTS + rb"[ \t]*$"
    rb"|(?:/\*|//)[^\n]{0,100}\b(?:(?:rest|remainder) of (?:the )?|remaining |existing |original )"
    rb"(?:code|function|body|implementation|logic)\b[^\n]{0,100}"
    rb"|(?:/\*{1,4}|//)[ \t(]{0,40}(?:unchanged|same as (?:before|above|the original)|as before)\b[^\n]{0,100}",
    re.MULTILINE | re.IGNORECASE,
)
# Where a function is compiled is not part of how it is called.
_PLACING = frozenset(
    (b"inline", b"__inline", b"__inline__", b"__always_inline", b"noinline", b"__always_unused", b"__maybe_unused")
)


@dataclass(frozen=True)
class Target:
    """Where the function stands that is to be replaced, in bytes of its file, the end exclusive."""

    start: int
    body_start: int
    end: int
    compiled: bool
    """Whether the compiler says so; else the text does."""


@dataclass(frozen=True)
class Splice:
    """The edits of one block and what it adds."""

    edits: tuple[Edit, ...]
    target: Target
    helpers: tuple[str, ...]
    """The static functions that come before."""


def splice(block: FunctionBlock, file: TextFile, unit: Unit | str) -> Splice | Complaint:
    """Return the edits that replace a function, or what hinders them; `unit` may be why there is none."""
    target = locate(block, file, unit)
    if isinstance(target, Complaint):
        return target
    text = file.encoded(block.text)
    if text is None:
        return Complaint(block.where, f"the file is in {file.encoding} and has no room for some of its characters")
    if len(text) > _MOST_BYTES:
        return Complaint(block.where, f"it has {len(text)} bytes, more than {_MOST_BYTES}")
    old = file.data[target.start : target.end]
    what = _unlike_code(text, file.data, old)
    if what:
        return Complaint(block.where, what)
    pieces = _taken_apart(text, block, file.data, target)
    if isinstance(pieces, str):
        return Complaint(block.where, pieces)
    if not target.compiled and _called(pieces.head) != _called(file.data[target.start : target.body_start]):
        return Complaint(block.where, "its head is another one; without a compiler's word it must stay as it is")
    return _splice(pieces, file, target)


# -- the old function -------------------------------------------------------------------------------------------------


def locate(block: FunctionBlock, file: TextFile, unit: Unit | str) -> Target | Complaint:
    """Return where a function stands, or why it cannot be replaced as a whole."""
    if isinstance(unit, str):
        return _by_text(block, file, f" ({unit}, so its text alone was read)")
    if unit.sources.get(file.path) != file.data:
        return Complaint(block.where, "the build compiled another version of this file; it cannot be edited safely")
    found = [one for one in unit.functions if one.file == file.path and one.symbol == block.name]
    if not found:
        return _not_there(block, file, unit)
    function = found[0]
    if len(found) > 1:
        return Complaint(block.where, f"the file defines it {len(found)} times; use an EDIT block")
    if function.from_macro:
        lines, _ = split(file.data)
        line = function.first_line
        shown = (excerpt(file.path, lines, line - 1, function.last_line),)
        return Complaint(block.where, "a macro makes this function; there is no body here to replace", shown)
    # With errors, what the compiler takes for the body may end early.
    if unit.errors and all(one.end != function.end for one in spans(file.data, block.name)):
        what = "the compiler stumbles over this file, and where the function ends is not certain; use an EDIT block"
        return Complaint(block.where, what)
    return Target(function.start, function.body_start, function.end, compiled=True)


def _by_text(block: FunctionBlock, file: TextFile, why: str) -> Target | Complaint:
    found = spans(file.data, block.name)
    if len(found) == 1:
        return Target(found[0].start, found[0].body_start, found[0].end, compiled=False)
    lines, _ = split(file.data)
    if found:
        shown = tuple(excerpt(file.path, lines, (at := line_of(file.data, one.start) - 1), at + 1) for one in found[:4])
        what = f"the file defines it {len(found)} times, under different conditions{why}; use an EDIT block"
        return Complaint(block.where, what, shown)
    names = sorted({item.symbol for item in items(file.data) if item.symbol})
    return Complaint(block.where, f"the file defines no such function{why}{_near(block.name, names)}")


def _not_there(block: FunctionBlock, file: TextFile, unit: Unit) -> Complaint:
    names = sorted({one.symbol for one in unit.functions if one.file == file.path and not one.from_macro})
    if spans(file.data, block.name):
        what = "the build does not compile this function: a condition leaves it out; a change would have no effect"
    elif unit.errors:
        what = f"it was not found, and the compiler stumbles over this file ({unit.diagnostics[0].text})"
    else:
        what = "the file defines no such function"
    return Complaint(block.where, what + _near(block.name, names))


def _near(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"; it has: {', '.join(near)}" if near else ""


def _called(head: bytes) -> list[bytes]:
    return [word for word in words(head) if word not in _PLACING]


# -- the new text -----------------------------------------------------------------------------------------------------


def _unlike_code(text: bytes, file: bytes, old: bytes) -> str | None:
    """Return what no function of the file may bring along, wherever it stands in the text."""
    known = {b" ".join(found[0].split()) for found in _DIRECTIVE.finditer(without_comments(old))}
    for found in _DIRECTIVE.finditer(without_comments(text)):
        line = b" ".join(found[0].split())
        if found[1] not in _CONDITIONS and line not in known:
            said = line.decode("utf-8", "replace")[:100]
            return f"'{said}' reaches beyond the function: put it into an EDIT block of its own"
    if directives(text).unbalanced and not directives(old).unbalanced:
        return "an #if in it has no #endif, or an #endif no #if"
    lazy = next((found[0].strip() for found in _LAZY.finditer(text) if found[0].strip() not in file), None)
    if lazy is not None:
        left = lazy.decode("utf-8", "replace")[:100]
        return f"'{left}' stands for code that was left out: write the whole function, every line of it"
    return None


@dataclass(frozen=True)
class _Pieces:
    before: bytes
    """Helpers and tables with their comments."""
    comment: bytes
    """What leads the function itself."""
    function: bytes
    head: bytes
    helpers: tuple[str, ...]


def _taken_apart(text: bytes, block: FunctionBlock, file: bytes, target: Target) -> _Pieces | str:
    """Return the parts of a new text, or why it is no single definition of the function."""
    head = file[target.start : target.body_start]
    found = items(text, head=head, symbol=block.name)
    own = [number for number, item in enumerate(found) if item.kind == "function" and item.symbol == block.name]
    if len(own) != 1:
        whole = _between_conditions(text, file, target) if not own else None
        return whole or _no_definition(text, block.name, found, len(own))
    at = own[0]
    what = _beyond(text, found[at + 1 :], file[target.end :]) or _open(text[: found[at].end])
    if what:
        return what
    first = at
    while first > 0 and found[first - 1].kind == "comment":
        first -= 1
    for item in found[:first]:
        what = _no_helper(text, item)
        if what:
            return what
    begin, start = _begin(text, found, first), _begin(text, found, at)
    return _Pieces(
        text[:begin].strip(b"\n"),
        text[begin:start].strip(),
        text[start : found[at].end],
        text[start : found[at].body_start],
        tuple(item.symbol for item in found[:first] if item.kind == "function"),
    )


def _between_conditions(text: bytes, file: bytes, target: Target) -> _Pieces | None:
    """Return the parts of a text that only the compiler can read: each side of a condition opens a brace of its own.

    With the old head word for word, and as many braces too many as the old text has, it is left to the compiler.
    """
    old = file[target.start : target.end]
    code = without_comments(text)
    start = len(code) - len(code.lstrip())
    head = file[target.start : target.body_start]
    body = code.find(b"{", start)
    if not target.compiled or words(text[start : max(body, 0)]) != words(head) or not code.rstrip().endswith(b"}"):
        return None
    if not _DIRECTIVE.search(code) or _excess(text) != _excess(old):
        return None
    end = len(code.rstrip())
    return _Pieces(b"", text[:start].strip(), text[start:end], head, ())


def _excess(text: bytes) -> int:
    plain = blanked(text)
    return plain.count(b"{") - plain.count(b"}")


def _begin(text: bytes, found: Sequence[Item], number: int) -> int:
    """Return where an item begins, the macros before it included that are no item to the parser."""
    before = found[number - 1].end if number else 0
    return len(text) - len(text[before:].lstrip())


def _no_definition(text: bytes, name: str, found: Sequence[Item], count: int) -> str:
    if count > 1:
        return f"it defines {name} {count} times"
    opened = _open(text)
    if opened:
        return opened
    others = [item.symbol for item in found if item.kind == "function" and item.symbol]
    if others:
        return f"it defines {', '.join(others[:4])}, not {name}"
    return f"it does not read as the definition of {name}, from its return type to its closing brace"


def _open(text: bytes) -> str | None:
    """Return which brackets do not match; conditions may have one in each branch, so they are left out."""
    plain = blanked(text)
    if _DIRECTIVE.search(plain):
        return None
    for opening, closing in (b"{}", b"()"):
        balance = plain.count(bytes((opening,))) - plain.count(bytes((closing,)))
        if balance:
            which = f"'{chr(opening)}' more than '{chr(closing)}'"
            return f"it has {abs(balance)} {which if balance > 0 else which.replace(' more ', ' fewer ')}: is it whole?"
    return None


def _beyond(text: bytes, after: Sequence[Item], following: bytes) -> str | None:
    """Return what stands behind the function, where the file does not have it there already."""
    if not after:
        return None
    extra = words(text[after[0].start : after[-1].end])
    if extra == words(following[: 8 * len(text) + 1000])[: len(extra)] and all(one.kind != "comment" for one in after):
        return None
    said = text[after[0].start :].split(b"\n")[0].strip().decode("utf-8", "replace")[:100]
    return f"'{said}' stands behind the function: only static helpers and constant tables before it may come along"


def _no_helper(text: bytes, item: Item) -> str | None:
    """Return why something before the function may not come along."""
    code = text[item.start : item.end]
    said = code.split(b"\n")[0].strip().decode("utf-8", "replace")[:100]
    if item.kind == "comment":
        return None
    if item.kind == "function":
        head = words(text[item.start : item.body_start])
        return None if b"static" in head and item.symbol else f"the helper '{said}' is not static"
    if item.kind == "declaration":
        head = words(code.partition(b"=")[0])
        if b"static" in head and (b"const" in head or (b"(" in head and b"=" not in code)):
            return None
    return (
        f"'{said}' stands before the function: only static functions and static const tables may; put the rest into "
        "an EDIT block"
    )


# -- the edits --------------------------------------------------------------------------------------------------------


def _splice(pieces: _Pieces, file: TextFile, target: Target) -> Splice:
    data = file.data
    style = style_of(data[target.start : target.end]) or style_of(data)
    start = _start(pieces.function, data, target)
    ends = split(data[start : target.end])[1][:-1] or split(data)[1]
    end = line_end(ends)
    function = rewritten(data[start : target.end], pieces.function, end=end, style=style)
    edits = [Edit(start, target.end, function)]
    lead = comment_before(data, start)
    above = _line_start(data, lead[0] if lead else start)
    if pieces.comment and lead is None:
        edits.insert(0, Edit(above, above, rewritten(b"", pieces.comment, end=end, style=style) + end))
    elif pieces.comment and lead and data[slice(*lead)].split() != pieces.comment.split():
        edits.insert(0, Edit(*lead, rewritten(data[slice(*lead)], pieces.comment, end=end, style=style)))
    if pieces.before:
        edits.insert(0, Edit(above, above, rewritten(b"", pieces.before, end=end, style=style) + 2 * end))
    return Splice(tuple(edits), target, pieces.helpers)


def _line_start(data: bytes, offset: int) -> int:
    """Return where the line of `offset` begins, or `offset` where something else ends on that line."""
    begin = data.rfind(b"\n", 0, offset) + 1
    return offset if re.search(rb"[;}/]", data[begin:offset]) else begin


def _start(function: bytes, data: bytes, target: Target) -> int:
    """Return where the replaced text begins: before macros that the compiler sees nothing of, if the new one has them.

    `asmlinkage` is nothing on most machines, so the compiler's extent begins behind it.
    """
    gap = blanked(data[max(0, target.start - 400) : target.start])
    gap = re.split(rb"[;}]|^[ \t]*#[^\n]*$", gap, flags=re.MULTILINE)[-1]
    before = list(re.finditer(rb"\w+|[^\w\s]", gap))
    told = words(function[:4000])
    for number in range(len(before)):
        wanted = [word[0] for word in before[number:]]
        if told[: len(wanted)] == wanted:
            return target.start - len(gap) + before[number].start()
    return target.start
