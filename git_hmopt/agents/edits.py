# SPDX-License-Identifier: Apache-2.0
"""From a candidate as it was parsed to whole new file contents, or to all that is wrong with it.

Nothing is applied in part: one block that does not fit makes the candidate a list of complaints. Every block is placed
in the file as it was, so their order does not matter and no block can hit what another one made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from git_hmopt.agents.answer_format import Block, Candidate, FunctionBlock, SearchBlock
from git_hmopt.agents.complaints import Complaint, Complaints
from git_hmopt.agents.lines import TextFile, split
from git_hmopt.agents.matching import Document
from git_hmopt.agents.proposer import Source
from git_hmopt.agents.recheck import recheck
from git_hmopt.agents.splice import splice
from git_hmopt.config.document import printable
from git_hmopt.errors import ConfigError, PatchError, ProgramError
from git_hmopt.psg.edit import Edit, replace
from git_hmopt.psg.unit import Unit
from git_hmopt.store.edit import check_path

MOST_BYTES = 4 << 20
"""Of a file that is edited; the kernel's largest sources of code have 1 MB."""
# Control characters, and marks that no reader sees or that turn around what he sees (CVE-2021-42574).
_HIDDEN = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]|\r")


@dataclass(frozen=True)
class Edits:
    """What a candidate comes to: the whole contents of each file that it changes; none where it changes nothing."""

    contents: Mapping[str, bytes]
    functions: tuple[tuple[str, str], ...] = ()
    """The (file, function) pairs that were replaced as a whole."""
    helpers: tuple[str, ...] = ()
    """The functions that were added before them."""
    notes: tuple[str, ...] = ()
    """Which blocks did not fit word for word, and how they were made to fit."""


def edits_of(candidate: Candidate, source: Source) -> Edits | Complaints:
    """Return the files as a candidate wants them, or why it cannot have them."""
    if candidate.faults:
        return Complaints(candidate.faults)
    by_path: dict[str, list[Block]] = {}
    for block in candidate.blocks:
        by_path.setdefault(block.file, []).append(block)
    work = _Work(source)
    for path, blocks in by_path.items():
        work.edit(path, blocks)
    if not work.complaints and work.contents:
        work.complaints += recheck(work.contents, work.parsed(), frozenset(work.functions))
    if work.complaints:
        return Complaints(tuple(work.complaints))
    return Edits(work.contents, tuple(work.functions), tuple(work.helpers), tuple(work.notes))


@dataclass
class _Work:
    """What is found out about one candidate."""

    source: Source
    contents: dict[str, bytes] = field(default_factory=dict)
    functions: list[tuple[str, str]] = field(default_factory=list)
    helpers: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    complaints: list[Complaint] = field(default_factory=list)
    units: dict[str, Unit | str] = field(default_factory=dict)

    def edit(self, path: str, blocks: Sequence[Block]) -> None:
        """Make the edits of one file."""
        file = _opened(path, self.source)
        if isinstance(file, str):
            self.complaints += [Complaint(block.where, file) for block in blocks]
            return
        document = Document(path, file.data)
        before = len(self.complaints)
        placed = [(edit, block) for block in blocks for edit in self._placed(block, file, document)]
        placed.sort(key=lambda pair: (pair[0].start, pair[0].end))
        for (edit, block), (after, other) in pairwise(placed):
            if after.start < edit.end:
                self.complaints.append(Complaint(other.where, f"it changes lines that {block.where} changes as well"))
        if len(self.complaints) > before:
            return
        new = replace(file.data, [edit for edit, _ in placed])
        what = _hidden(file, new)
        if what:
            self.complaints.append(Complaint(path, what))
        elif new != file.data:
            self.contents[path] = new

    def _placed(self, block: Block, file: TextFile, document: Document) -> tuple[Edit, ...]:
        if isinstance(block, SearchBlock):
            return self._searched(block, file, document)
        return self._spliced(block, file)

    def _searched(self, block: SearchBlock, file: TextFile, document: Document) -> tuple[Edit, ...]:
        search = [file.encoded(line) for line in block.search]
        new = [file.encoded(line) for line in block.replace]
        if None in search or None in new:
            self.complaints.append(Complaint(block.where, f"the file is in {file.encoding}, which has not all of this"))
            return ()
        found = document.replaced(
            [line for line in search if line is not None], [line for line in new if line is not None], where=block.where
        )
        if isinstance(found, Complaint):
            self.complaints.append(found)
            return ()
        if found.layer != "exact":
            self.notes.append(f"{block.where}: {found.layer}")
        return found.edits

    def _spliced(self, block: FunctionBlock, file: TextFile) -> tuple[Edit, ...]:
        spliced = splice(block, file, self.unit(file.path))
        if isinstance(spliced, Complaint):
            self.complaints.append(spliced)
            return ()
        self.functions.append((file.path, block.name))
        self.helpers += spliced.helpers
        return spliced.edits

    def parsed(self) -> Mapping[str, Unit]:
        """Return the units of the files that change, where the parser saw them as they are edited here."""
        units = {path: unit for path in self.contents if isinstance(unit := self.unit(path), Unit)}
        return {path: unit for path, unit in units.items() if unit.sources.get(path) == self.source.read(path)}

    def unit(self, path: str) -> Unit | str:
        """Return a file's unit, or why it has none; the reason names no path of this machine."""
        if path not in self.units:
            try:
                self.units[path] = self.source.unit(path)
            except ConfigError:
                self.units[path] = "no build compiles this file by itself"
            except ProgramError:
                self.units[path] = "the parser gives nothing for this file"
        return self.units[path]


def _opened(path: str, source: Source) -> TextFile | str:
    """Return a file that may be edited, or why this one may not."""
    try:
        check_path(path)
    except PatchError as error:
        return printable(error.what)
    closed = source.closed(path)
    if closed:
        return closed
    data = source.read(path)
    if data is None:
        return "there is no such file; blocks change files that are there"
    if len(data) > MOST_BYTES:
        return f"the file has {len(data)} bytes; files of more than {MOST_BYTES} are not edited"
    if b"\0" in data:
        return "the file is binary"
    return TextFile(path, data)


def _hidden(file: TextFile, new: bytes) -> str | None:
    """Return which character the edits bring in that nobody would see in a review; the file's own may stay."""
    known = set(split(file.data)[0])
    for line in split(new)[0]:
        found = _HIDDEN.search(line.decode(file.encoding)) if line not in known else None
        if found:
            return f"the edits put the character U+{ord(found[0]):04X} into it, which no reader sees"
    return None
