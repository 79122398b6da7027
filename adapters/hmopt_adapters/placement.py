# SPDX-License-Identifier: Apache-2.0
"""Relink a program or shared library at seeded code layouts, by the linker's own script with the objects' text placed.

The recorded link is repeated with GNU ld's default script for that very link (`--verbose` prints it), in which every
input's `.text` has a place drawn from hash(seed, object), members of archives included (LAYOUT.md). What the link map
says was linked is placed; nothing is guessed from the command line.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from git_hmopt.adapters import AdapterContext, sha256_of
from git_hmopt.errors import AdapterError, ProgramError
from git_hmopt.process.runner import Finished, Limits, run
from git_hmopt.process.sandbox import Sandbox
from git_hmopt.records.words import Seed
from hmopt_adapters.compilers import Call
from hmopt_adapters.layout import SLOT, draw, exact_pattern

VERSION = 1
"""Of the placement: layouts made by another one are another population."""
_RULER = "=" * 50
_TEXT = re.compile(r"^(?P<head>[ \t]*\.text[ \t]*:)(?P<open>[^{}\n]*\n?[ \t]*\{)(?P<body>[^{}]*)\}", re.MULTILINE)
# Cold and exit code stays together in front; what follows is placed by object.
_FIRST_PLACED = re.compile(
    r"^[ \t]*\*\((?:\.text\.startup|\.text\.hot|SORT\w*\(\.text\.sorted|\.text \.stub)", re.MULTILINE
)
_SECTIONS = ".text.startup .text.startup.* .text.hot .text.hot.* .text .stub .text.* .gnu.linkonce.t.*"
# A section's line of the link map; a long name has its numbers on the line below.
_PLACED = re.compile(r"^ (?:\.text\S*|\.gnu\.linkonce\.t\.\S*)\s+0x[0-9a-f]+\s+0x(?P<size>[0-9a-f]+) (?P<file>\S.*)$")
_MEMBER = re.compile(r"(?P<archive>.*)\((?P<member>[^()]+)\)")
_OWN_SCRIPT = ("--script", "-dT", "--default-script", "-r", "--relocatable")
_OTHER_LINKER = ("-fuse-ld=lld", "-fuse-ld=gold", "-fuse-ld=mold", "--ld-path=")
# What startup files bring is in every program, so it cannot show that the project's own code moves.
_PROOF = (Seed(1), Seed(2))


class CannotPlaceError(AdapterError):
    """Why the code of this link cannot be placed, in words for the user."""


@dataclass(frozen=True)
class Input:
    """An object with code, as the link map names it."""

    label: str
    """`path` or `archive(member)`."""
    name: str
    """The same in every copy of the tree: what is drawn for."""

    @property
    def pattern(self) -> str:
        """Return the linker-script pattern of exactly this object."""
        found = _MEMBER.fullmatch(self.label)
        plain = f"{found['archive']}:{found['member']}" if found else self.label
        # Nothing a linker script would take for something else.
        return exact_pattern(re.sub(r"[^A-Za-z0-9_./+:~,=@-]", "?", plain))


@dataclass(frozen=True)
class Link:
    """One link, repeatable at any seed."""

    call: Call
    script: str
    inputs: tuple[Input, ...]


class Linker:
    """Repeats recorded links of one copy of a tree."""

    def __init__(self, context: AdapterContext, mirror: Path, objects: Path) -> None:
        self._context = context
        self._mirror = mirror
        self._objects = objects
        """Where the objects of links that compile as well are kept."""

    def repeat(
        self, call: Call, target: Path, *options: str, first: Sequence[str] = (), keep_symbols: bool = False
    ) -> Finished:
        """Run a link again with options before and after its own, writing `target`.

        Raises CannotPlaceError when it fails.
        """
        words = list(call.argv)
        if keep_symbols:
            # The symbol table is not loaded, and without it nobody can see where code went.
            words = [word for word in words if word not in ("-s", "-Wl,-s", "-Wl,--strip-all")]
        try:
            return run(
                [words[0], *first, *_without_output(words[1:]), *options, "-o", str(target)],
                cwd=call.cwd,
                environment=call.environment,
                limits=Limits(wall_s=600),
                sandbox=self._box(target.parent),
                check=True,
            )
        except ProgramError as error:
            raise CannotPlaceError(f"repeating the link fails: {error.what}") from error

    def _box(self, *writable: Path) -> Sandbox | None:
        return self._context.sandbox(*writable, readable=(self._mirror, self._objects))

    def prepare(self, call: Call, image: Path) -> Link:
        """Return the link behind `image`, with proof that it is: repeated as it was, it gives the same code."""
        refuse_unplaceable(call)
        with self.work() as work:
            compiled = self._compile_inputs(call)
            target, link_map = work / "again", work / "map"
            said = self.repeat(compiled, target, "-Wl,--verbose", f"-Wl,-Map={link_map}")
            if bare_digest(self._context, target) != bare_digest(self._context, image):
                raise CannotPlaceError("the link, repeated as it was, gives another file: something works on it later")
            inputs = parse_map(link_map.read_text(errors="surrogateescape"), self._name(call.cwd))
            return Link(compiled, default_script(said.output.decode(errors="replace")), inputs)

    def _name(self, cwd: Path) -> Callable[[str], str]:
        def name(label: str) -> str:
            found = _MEMBER.fullmatch(label)
            path, member = (found["archive"], f":{found['member']}") if found else (label, "")
            full = Path(os.path.normpath(cwd / path))
            for top in (self._mirror, self._objects):
                if full.is_relative_to(top):
                    return f"{full.relative_to(top)}{member}"
            if not full.is_file():
                raise CannotPlaceError(
                    "the linker's inputs are temporary files without lasting names (link-time optimization)"
                )
            # Startup files and system libraries: the same for all builds here.
            return f"{full.name}{member}"

        return name

    def _compile_inputs(self, call: Call) -> Call:
        """Return the link with objects in the place of sources: `cc -o prog a.c b.c` leaves none to place."""
        if not call.sources:
            return call
        self._objects.mkdir(parents=True, exist_ok=True)
        inputs = set(call.inputs())
        options = [word for word in _without_output(call.argv)[1:] if word not in inputs]
        words = list(call.argv)
        for source in call.sources:
            full = Path(os.path.normpath(call.cwd / source))
            relative = full.relative_to(self._mirror) if full.is_relative_to(self._mirror) else Path(full.name)
            made = self._objects / f"{str(relative).replace('/', '%')}.o"
            compile_only = [call.argv[0], *options, "-w", "-c", source, "-o", str(made)]
            try:
                run(
                    compile_only, cwd=call.cwd, environment=call.environment, limits=Limits(wall_s=600),
                    sandbox=self._box(self._objects), check=True,
                )  # fmt: skip
            except ProgramError as error:
                raise CannotPlaceError(f"compiling '{source}' apart from its link fails: {error.what}") from error
            words = [str(made) if word == source else word for word in words]
        return replace(call, argv=tuple(words))

    @contextlib.contextmanager
    def work(self) -> Iterator[Path]:
        """Give an empty directory for one link."""
        self._context.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="link-", dir=self._context.scratch) as name:
            yield Path(name)

    def at(self, link: Link, seed: Seed, target: Path, *, first: Sequence[str] = ()) -> None:
        """Link at `seed` into `target`, symbols kept."""
        script = target.with_name(f"{target.name}.lds")
        script.write_text(placed_script(link.script, link.inputs, seed), errors="surrogateescape")
        self.repeat(link.call, target, f"-Wl,-T,{script}", first=first, keep_symbols=True)
        script.unlink()

    def prove(self, link: Link) -> None:
        """Raise CannotPlaceError unless seeds really move the functions, and the same seed gives the same file."""
        first, second = _PROOF
        with self.work() as work:
            for name, seed in (("one", first), ("two", second), ("again", first)):
                self.at(link, seed, work / name)
            one, two = (functions(self._context, work / name) for name in ("one", "two"))
            if not one:
                raise CannotPlaceError("no function can be seen in the relinked file")
            if one.keys() != two.keys():
                raise CannotPlaceError("two layouts do not hold the same functions")
            moved = sum(1 for function in one if one[function] != two[function])
            if moved < len(one) / 2:
                raise CannotPlaceError(f"only {moved} of {len(one)} functions move with the seed")
            if sha256_of(work / "one") != sha256_of(work / "again"):
                raise CannotPlaceError("the same seed gives another file each time")


def refuse_unplaceable(call: Call) -> None:
    """Raise CannotPlaceError for a link whose script is not GNU ld's default one."""
    for word in call.argv[1:]:
        if word.startswith(_OTHER_LINKER):
            raise CannotPlaceError(f"the link asks for another linker than GNU ld ({word})")
        if word.startswith("-flto"):
            raise CannotPlaceError(f"link-time optimization ({word}) makes its objects while it links")
        if word.startswith("@"):
            raise CannotPlaceError(f"the link reads its words from a file ({word})")
        for part in word[4:].split(",") if word.startswith("-Wl,") else [word]:
            if part.startswith("-T") or part.partition("=")[0] in _OWN_SCRIPT:
                raise CannotPlaceError(f"the link has a linker script of its own, or links no program ({word})")


def _without_output(words: Sequence[str]) -> list[str]:
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "-o":
            next(rest, None)
        elif not word.startswith("-o") or "=" in word:
            kept.append(word)
    return kept


def default_script(said: str) -> str:
    """Return the script between the rulers of `ld --verbose`; raises CannotPlaceError for another linker's output."""
    parts = re.split(rf"^{_RULER}=*$", said, flags=re.MULTILINE)
    if len(parts) < 3:
        raise CannotPlaceError("the linker prints no default script: it is not GNU ld")
    return parts[1].strip("\n") + "\n"


def parse_map(text: str, name: Callable[[str], str]) -> tuple[Input, ...]:
    """Return every input of a GNU ld map that brings code, once, in order of appearance."""
    kept = text.partition("Linker script and memory map")[2]
    # A section name of 16 columns or more ends its line.
    joined = re.sub(r"^( \.(?:text|gnu\.linkonce\.t)\S*)\n +", r"\1 ", kept, flags=re.MULTILINE)
    labels = {
        found["file"]: None
        for line in joined.splitlines()
        if (found := _PLACED.match(line)) is not None and int(found["size"], 16) > 0
    }
    if not labels:
        raise CannotPlaceError("the link map names no object with code")
    return tuple(Input(label, name(label)) for label in labels)


def placed_script(script: str, inputs: Sequence[Input], seed: Seed) -> str:
    """Return the linker script with every input's code at a place drawn from hash(seed, name).

    Raises CannotPlaceError when the script's `.text` is not written as in GNU ld's own.
    """
    found = list(_TEXT.finditer(script))
    first = _FIRST_PLACED.search(found[0]["body"]) if len(found) == 1 else None
    if first is None:
        raise CannotPlaceError("the linker's default script has no '.text' section as GNU ld writes it")
    patterns: dict[str, list[str]] = {}
    for one in inputs:
        patterns.setdefault(one.name, []).append(one.pattern)
    lines = []
    for name, offset in draw(sorted(patterns), seed):
        lines.append(f"    . = ALIGN({SLOT}) + {offset};")
        lines += [f"    {pattern}({_SECTIONS})" for pattern in patterns[name]]
    body, cut = found[0]["body"], first.start()
    placed = body[:cut] + "\n".join(lines) + f"\n    . = ALIGN({SLOT});\n" + body[cut:]
    # The section starts on a page: whatever a patch adds to what stands before it, alignments stay.
    section = f"{found[0]['head']} ALIGN(4096){found[0]['open']}{placed}}}"
    return script[: found[0].start()] + section + script[found[0].end() :]


def functions(context: AdapterContext, image: Path) -> dict[str, int]:
    """Return the address of every named function with a size; of several of a name the first in address order."""
    box = context.sandbox(readable=(image.parent,))
    said = run(["nm", "-n", "-S", "--defined-only", str(image)], sandbox=box, check=True).output
    found: dict[str, int] = {}
    for line in said.decode(errors="replace").splitlines():
        words = line.split()
        if len(words) == 4 and words[2] in "tTwW":
            found.setdefault(words[3], int(words[0], 16))
    return found


def strip_to(context: AdapterContext, image: Path, target: Path, *more: str) -> None:
    """Write `image` without debug information and build id, which move with a comment and are never executed."""
    try:
        run(
            ["objcopy", "--strip-debug", "--remove-section=.note.gnu.build-id", *more, str(image), str(target)],
            sandbox=context.sandbox(target.parent, readable=(image.parent,)),
            limits=Limits(wall_s=120),
            check=True,
        )
    except ProgramError as error:
        raise AdapterError(f"'{image.name}' cannot be read by objcopy: {error.what}") from error


def bare_digest(context: AdapterContext, image: Path) -> str:
    """Return the sha256 of what is loaded of an ELF file: neither debug information nor symbol table nor build id."""
    context.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bare-", dir=context.scratch) as name:
        bare = Path(name) / "bare"
        strip_to(context, image, bare, "--strip-all")
        return sha256_of(bare)
