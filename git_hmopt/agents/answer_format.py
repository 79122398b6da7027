# SPDX-License-Identifier: Apache-2.0
"""A model's plain-text answer as blocks of edits, sans everything else: no file is looked at here.

    CANDIDATE 1: unroll the loop
    Why it should help, in prose.
    FUNCTION lib/sort.c do_swap
    ```c
    static void do_swap(...)
    {
    ```
    EDIT lib/sort.c
    ```
    <<<<<<< SEARCH
    =======
    >>>>>>> REPLACE
    ```

Prose around, decorated headers, `~~~` and longer fences, indented fences, CRLF and a missing language are taken as
they come. What looks like a block and is none is a complaint, never dropped: a function that was cut off, or one of
two edits, applied by itself is worse than no answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from git_hmopt.agents.complaints import Complaint
from git_hmopt.config.document import printable
from git_hmopt.psg.chunks import items

MOST_CHARACTERS = 1 << 20
MOST_BLOCKS = 64
MOST_CANDIDATES = 16
_TITLE, _RATIONALE = 200, 8_000
LONGEST = 1_000
"""Characters of a line that may still be a header."""

_HEADER = re.compile(r"(?P<word>FUNCTION|EDIT|CANDIDATE)\b[\s:]*(?P<rest>.*)")
DECORATION = re.compile(r"^[\s#>*_`-]*(?:\d{1,2}[.)]\s)?[\s*_`]*")
_FUNCTION = re.compile(
    r"[`'\"]*(?P<file>[^\s:,`'\"]+)[`'\"]*(?:\s*(?:::|[:,])\s*|\s+)[`'\"]*(?P<name>[A-Za-z_]\w*)(?:\(\))?"
)
_EDIT = re.compile(r"[`'\"]*(?P<file>[^\s`'\"]+)[`'\"]*")
_CANDIDATE = re.compile(r"CANDIDATE(?:\s*#?\d{1,3})?[\s*_]*(?:[:.)–—-]+(?P<title>.*))?")
FENCE = re.compile(r"(?P<indent>\s*)(?P<fence>`{3,}|~{3,})(?P<language>[^`]*)")
_SEARCH, _DIVIDER, _REPLACE = (
    re.compile(pattern) for pattern in (r"\s*<{5,9}\s*SEARCH\s*", r"\s*={5,9}\s*", r"\s*>{5,9}\s*REPLACE\s*")
)
_DIFF = re.compile(r"diff --git |@@ -\d+(,\d+)? \+\d+(,\d+)? @@|--- (a/|/dev/null)|\+\+\+ (b/|/dev/null)")
_IN_CODE = re.compile(r'/\*|//|"(?:\\.|[^"\\])*+"?|\'(?:\\.|[^\'\\])*+\'?')


@dataclass(frozen=True)
class FunctionBlock:
    """A whole function to put in the place of the one of that name; `line` is its header's in the answer, from 1."""

    file: str
    name: str
    text: str
    line: int

    @property
    def where(self) -> str:
        """Return how a complaint names it."""
        return f"FUNCTION {self.file} {self.name} (line {self.line} of the answer)"


@dataclass(frozen=True)
class SearchBlock:
    """Lines of a file to look for and what to put there; both without their last line end."""

    file: str
    search: tuple[str, ...]
    replace: tuple[str, ...]
    line: int

    @property
    def where(self) -> str:
        """Return how a complaint names it."""
        return f"EDIT {self.file} (line {self.line} of the answer)"


Block = FunctionBlock | SearchBlock


@dataclass(frozen=True)
class Candidate:
    """One way to make the change; with any fault it must not be applied."""

    title: str
    rationale: str
    blocks: tuple[Block, ...]
    faults: tuple[Complaint, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What a model answered; `faults` concern no single candidate."""

    candidates: tuple[Candidate, ...]
    faults: tuple[Complaint, ...] = ()


def parse_answer(text: str) -> Answer:
    """Read an answer; never raises, whatever the text holds."""
    if len(text) > MOST_CHARACTERS:
        return Answer((), (Complaint("the answer", f"it has {len(text)} characters, more than {MOST_CHARACTERS}"),))
    reader = _Reader(text.replace("\r\n", "\n").split("\n"))
    reader.read()
    candidates = [section.finished() for section in reader.sections if section.titled or section.seen]
    if not candidates:
        what = "it has no block: write FUNCTION <file> <name> or EDIT <file> on a line, then a fenced block"
        return Answer((), (Complaint("the answer", what),))
    if len(candidates) > MOST_CANDIDATES:
        what = f"it has {len(candidates)} candidates, at most {MOST_CANDIDATES} are read"
        return Answer((), (Complaint("the answer", what),))
    return Answer(tuple(candidates))


@dataclass(frozen=True)
class _Header:
    word: str
    file: str
    name: str
    line: int

    @property
    def where(self) -> str:
        return (
            " ".join(part for part in (self.word, self.file, self.name) if part) + f" (line {self.line} of the answer)"
        )


@dataclass
class _Section:
    """What is being collected of one candidate."""

    title: str = ""
    line: int = 0
    titled: bool = False
    prose: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    faults: list[Complaint] = field(default_factory=list)

    @property
    def seen(self) -> bool:
        return bool(self.blocks or self.faults)

    def fault(self, where: str, what: str) -> None:
        self.faults.append(Complaint(where, what))

    def finished(self) -> Candidate:
        if not self.seen:
            self.fault(f"CANDIDATE '{self.title}' (line {self.line} of the answer)", "it has no block")
        if len(self.blocks) > MOST_BLOCKS:
            self.fault("the candidate", f"it has {len(self.blocks)} blocks, more than {MOST_BLOCKS}")
        # A commit message is made of these.
        prose = "\n".join("\t".join(printable(part) for part in line.split("\t")) for line in self.prose)
        rationale = re.sub(r"\n{3,}", "\n\n", prose).strip()
        # Identical blocks have one effect.
        distinct = {(type(block), *_said(block)): block for block in reversed(self.blocks)}
        blocks = sorted(distinct.values(), key=lambda block: block.line)
        return Candidate(printable(self.title)[:_TITLE], rationale[:_RATIONALE], tuple(blocks), tuple(self.faults))


def _said(block: Block) -> tuple[object, ...]:
    if isinstance(block, FunctionBlock):
        return block.file, block.name, block.text
    return block.file, block.search, block.replace


class _Reader:
    """Goes over an answer's lines once."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._at = 0
        self._header: _Header | None = None
        self._used = False
        self.sections = [_Section()]

    @property
    def _section(self) -> _Section:
        return self.sections[-1]

    def read(self) -> None:
        while self._at < len(self._lines):
            line = self._lines[self._at]
            fence = FENCE.fullmatch(line)
            if fence:
                self._fenced(fence)
            elif _SEARCH.fullmatch(line):
                self._unfenced()
            elif self._headed(line):
                self._at += 1
            else:
                self._loose(line)
                self._at += 1
        self._close_header()

    # -- headers ----------------------------------------------------------------------------------------------------

    def _headed(self, line: str) -> bool:
        """Take a header line; say whether it was one, good or bad."""
        number = self._at + 1
        header = _header(line, number)
        if header is None and _HEADER.fullmatch(_bare(line)) and self._block_follows():
            what = f"this header is not understood: '{line.strip()[:120]}'; write FUNCTION <file> <name> or EDIT <file>"
            self._section.fault(f"line {number} of the answer", what)
            header = _Header("", "", "", number)
        if header is None:
            return False
        self._close_header()
        if isinstance(header, _Section):
            self.sections.append(header)
        else:
            self._header, self._used = header, False
        return True

    def _close_header(self) -> None:
        if self._header is not None and self._header.word and not self._used:
            self._section.fault(self._header.where, "no fenced block follows this header")
        self._header = None

    def _block_follows(self) -> bool:
        following = next((line for line in self._lines[self._at + 1 : self._at + 4] if line.strip()), "")
        return FENCE.fullmatch(following) is not None or _SEARCH.fullmatch(following) is not None

    def _loose(self, line: str) -> None:
        """Take a line of prose."""
        where = f"line {self._at + 1} of the answer"
        if re.match(r"diff --git |@@ -\d+(,\d+)? \+\d+", line):
            self._section.fault(where, _NO_DIFF)
        elif _REPLACE.fullmatch(line):
            self._section.fault(where, "a REPLACE marker stands here without its SEARCH")
        else:
            self._section.prose.append(line)

    # -- blocks -----------------------------------------------------------------------------------------------------

    def _fenced(self, opening: re.Match[str]) -> None:
        first = self._at
        lines, end, closed = self._content(opening, first + 1)
        self._at = end + 1 if closed else end
        lines, inner = _header_inside(lines, first + 2)
        if inner is not None:
            self._close_header()
            self._header, self._used = inner, False
        if not closed:
            self._unclosed(first, end)
            return
        self._block(lines, first + 1, opening["language"].strip().lower())

    def _unclosed(self, first: int, end: int) -> None:
        where = self._header.where if self._header else f"line {first + 1} of the answer"
        if end < len(self._lines):
            what = f"the block is not closed before the next header (line {end + 1} of the answer)"
        else:
            what = "the answer ends inside this block: it was cut off. Answer with fewer or smaller blocks"
        self._section.fault(where, what)
        self._used = True

    def _block(self, lines: list[str], line: int, language: str) -> None:
        """Take a closed fence."""
        header = self._header
        where = header.where if header else f"the fenced block at line {line} of the answer"
        has_markers = any(_SEARCH.fullmatch(one) or _REPLACE.fullmatch(one) for one in lines)
        if not has_markers and (language in ("diff", "patch") or any(_DIFF.match(one) for one in lines)):
            self._section.fault(where, _NO_DIFF)
        elif header is not None and not header.word:
            pass  # complained about already
        elif header is None or (self._used and not (has_markers and header.word == "EDIT")):
            self._headless(lines, where, has_markers)
        elif header.word == "EDIT":
            self._edits(header, lines, line + 1)
        elif has_markers:
            self._section.fault(where, "a FUNCTION block holds the whole function; SEARCH and REPLACE belong to EDIT")
        elif not any(one.strip() for one in lines):
            self._section.fault(where, "the block is empty; a function cannot be deleted this way")
        else:
            self._section.blocks.append(FunctionBlock(header.file, header.name, "\n".join(lines) + "\n", header.line))
        self._used = True

    def _headless(self, lines: list[str], where: str, has_markers: bool) -> None:
        """Refuse a block without a header; code that is no whole function is taken for a quotation."""
        code = "\n".join(lines).encode("utf-8", "replace")
        if has_markers or any(item.kind == "function" for item in items(code)):
            self._section.fault(
                where, "no header of its own names its file: write FUNCTION <file> <name> or EDIT <file> above each"
            )

    def _unfenced(self) -> None:
        """Take a SEARCH that stands without a fence: its own markers say where it ends."""
        first = end = self._at
        while end < len(self._lines) and not _REPLACE.fullmatch(self._lines[end]):
            if _is_block_header(self._lines[end]):
                break
            end += 1
        self._at = end
        if end == len(self._lines) or not _REPLACE.fullmatch(self._lines[end]):
            self._unclosed(first, end)
            return
        self._at += 1
        self._block(self._lines[first : end + 1], first, "")

    def _edits(self, header: _Header, lines: list[str], first: int) -> None:
        """Take the SEARCH/REPLACE pairs of an EDIT block; `first` is its first line in the answer."""
        found = 0
        for number, part in _pairs(lines, first):
            if isinstance(part, str):
                self._section.fault(f"EDIT {header.file} (line {number} of the answer)", part)
                return
            found += 1
            self._section.blocks.append(SearchBlock(header.file, part[0], part[1], number))
        if not found:
            self._section.fault(header.where, "the block has no <<<<<<< SEARCH, ======= and >>>>>>> REPLACE")

    def _content(self, opening: re.Match[str], at: int) -> tuple[list[str], int, bool]:
        """Return a fence's lines, the line it ends at, and whether that one closes it."""
        fence, begin = opening["fence"], at
        in_comment = in_pair = seen = False
        for at in range(begin, len(self._lines)):
            line = self._lines[at]
            # A comment may show a fence; between SEARCH and REPLACE anything may stand.
            if not (in_comment or in_pair) and closes(line, fence):
                return _dedented(self._lines[begin:at], opening["indent"]), at, True
            if seen and not in_comment and _is_block_header(line):
                return self._lines[begin:at], at, False
            if _SEARCH.fullmatch(line) or _REPLACE.fullmatch(line):
                in_pair, in_comment = _SEARCH.fullmatch(line) is not None, False
            elif not in_pair:
                in_comment = _comment_goes_on(line, in_comment)
            seen = seen or bool(line.strip())
        return self._lines[begin:], len(self._lines), False


_NO_DIFF = "diffs are not read, their line numbers are never right: send whole functions or SEARCH/REPLACE blocks"


def closes(line: str, fence: str) -> bool:
    """Say whether a line ends the block that `fence` began: as many of the same signs, or more, and nothing else."""
    closing = line.strip()
    return len(closing) >= len(fence) and not closing.strip(fence[0])


def _bare(line: str) -> str:
    """Return a line without the signs that decorate a heading; nothing of one that is too long to be one."""
    return DECORATION.sub("", line).rstrip("*_: ") if len(line) <= LONGEST else ""


def _header(line: str, number: int) -> _Header | _Section | None:
    """Return what a header line says; None for other lines, headers that are not understood included."""
    bare = _bare(line)
    found = _HEADER.fullmatch(bare)
    if found is None:
        return None
    if found["word"] == "CANDIDATE":
        told = _CANDIDATE.fullmatch(bare)
        return _Section((told["title"] or "").strip(" \t*_"), number, titled=True) if told else None
    rest = found["rest"].strip(" \t*_:")
    if found["word"] == "FUNCTION":
        function = _FUNCTION.fullmatch(rest.strip("`'\""))
        named = function is not None and ("." in function["file"] or "/" in function["file"])
        return _Header("FUNCTION", function["file"], function["name"], number) if function and named else None
    edit = _EDIT.fullmatch(rest)
    return _Header("EDIT", edit["file"], "", number) if edit and ("." in rest or "/" in rest) else None


def _is_block_header(line: str) -> bool:
    return _header(line, 0) is not None


def _header_inside(lines: list[str], first: int) -> tuple[list[str], _Header | None]:
    """Return a block without the header that stands as its first line, and that header."""
    at = next((n for n, line in enumerate(lines) if line.strip()), None)
    header = _header(lines[at], first + at) if at is not None else None
    return (lines[at + 1 :], header) if at is not None and isinstance(header, _Header) else (lines, None)


def _comment_goes_on(line: str, inside: bool) -> bool:
    """Say whether a /* comment is open behind a line of C."""
    at = 0
    while True:
        if inside:
            at = line.find("*/", at) + 2
            if at == 1:
                return True
        sign = _IN_CODE.search(line, at)
        if sign is None or sign[0] == "//":
            return False
        at, inside = sign.end(), sign[0] == "/*"


def _dedented(lines: list[str], indent: str) -> list[str]:
    """Return the lines of an indented fence as they were meant: less the fence's indentation, where all have it."""
    if indent and all(line.startswith(indent) for line in lines if line.strip()):
        return [line.removeprefix(indent) for line in lines]
    return lines


_Pair = tuple[tuple[str, ...], tuple[str, ...]]


def _pairs(lines: list[str], first: int) -> Iterator[tuple[int, _Pair | str]]:
    """Yield (line in the answer, pair or what is wrong) of an EDIT block; nothing after what is wrong."""
    search: list[str] | None = None
    replace: list[str] | None = None
    begun = first
    for number, line in enumerate(lines, first):
        if _SEARCH.fullmatch(line):
            if search is not None:
                yield number, "a SEARCH begins inside another one: its >>>>>>> REPLACE is missing"
                return
            search, begun = [], number
        elif search is None:
            if line.strip():
                yield number, "only SEARCH/REPLACE pairs may stand in an EDIT block; a line stands outside of them"
                return
        elif _REPLACE.fullmatch(line):
            if replace is None:
                yield number, "the ======= between SEARCH and REPLACE is missing"
                return
            yield begun, (tuple(search), tuple(replace))
            search = replace = None
        elif _DIVIDER.fullmatch(line):
            if replace is not None:
                yield number, "there are two ======= lines, so it is not clear where REPLACE begins"
                return
            replace = []
        else:
            (search if replace is None else replace).append(line)
    if search is not None:
        yield begun, "the >>>>>>> REPLACE is missing: the block was cut off"
