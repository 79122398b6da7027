# SPDX-License-Identifier: Apache-2.0
"""What is read as text of Linux 6.1, held against the programs that read the same files for a living.

GCC's preprocessor for the guards, scripts/kconfig for the knobs, scripts/get_maintainer.pl for the subsystems, and a
finished build for what the Makefiles decide.
"""

from __future__ import annotations

import random
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from git_hmopt.psg.chunks import calls, declarations, functions
from git_hmopt.psg.directives import Directives, directives
from git_hmopt.psg.kconfig import Knob, read_kconfig
from git_hmopt.psg.maintainers import Maintainers
from git_hmopt.psg.makefiles import Built, makefile_targets
from tests.kernel.conftest import Kernel, tree_root

pytestmark = pytest.mark.kernel
FOLDERS = ("lib", "kernel", "mm", "fs", "net", "drivers", "include")


def sample(kernel: Kernel, count: int, *suffixes: str) -> list[str]:
    """Return files of each folder, the same ones every time."""
    found = []
    for folder in FOLDERS:
        files = [path for path in kernel.git("ls-files", folder).splitlines() if path.endswith(suffixes or "")]
        found += random.Random(61).sample(files, count)
    return found


# -- guards: GCC's preprocessor ---------------------------------------------------------------------------------------

_UNSEEN = re.compile(rb"^[ \t]*#[ \t]*(?:include|define|undef)\b(?:\\\n|[^\n])*", re.MULTILINE)
_MARKER = re.compile(rb'# (\d+) "([^"]*)"')


def present(source: bytes, knobs: set[str], first: Path) -> set[int]:
    """Return the lines that GCC leaves of a source without its includes and macros."""
    flags = ["-E", "-fdirectives-only", "-undef", "-nostdinc", "-w", "-include", str(first)]
    command = ["gcc", *flags, *(f"-D{knob}=1" for knob in knobs), "-x", "c", "-"]
    output = subprocess.run(command, input=source, capture_output=True, check=False).stdout
    found, file, line = set(), b"", 0
    for text in output.split(b"\n"):
        marker = _MARKER.match(text)
        if marker:
            line, file = int(marker[1]), marker[2]
            continue
        if file == b"<stdin>" and text.strip():
            found.add(line)
        line += 1
    return found


def flipped(source: bytes, first: Path, rng: random.Random) -> Iterator[tuple[str, set[int], set[int]]]:
    """Yield (knob, lines without it, lines with it) of one knob after the other, among others set at random."""
    plain = _UNSEEN.sub(lambda match: b"\n" * match[0].count(b"\n"), source)
    knobs = sorted(
        {knob.removesuffix("_MODULE") for knob in re.findall(r"\bCONFIG_[A-Z0-9_]\w*", plain.decode("latin-1"))}
    )
    for knob in rng.sample(knobs, min(3, len(knobs))):
        others = {other for other in knobs if other != knob and rng.random() < 0.5}
        yield knob, present(plain, others, first), present(plain, others | {knob}, first)


def lines_of(found: Directives, knob: str, sense: str, *, below: str = "", source: bytes = b"") -> set[int]:
    """Return the lines that a knob guards; with `below` those right under such a line."""
    heads = source.decode("latin-1").split("\n")
    return {
        line for one in found.guards if (one.knob, one.sense) == (knob, sense)
        if not below or heads[one.first_line - 2].strip() == below
        for line in range(one.first_line, one.last_line + 1)
    }  # fmt: skip


def test_lines_come_and_go_with_a_knob_only_where_a_guard_says_so(kernel: Kernel, tmp_path: Path) -> None:
    first = tmp_path / "kconfig.h"
    first.write_text((kernel.root / "include/linux/kconfig.h").read_text().replace("#include", "//"))
    moved = 0
    for path in kernel.git("grep", "-lE", "^#.*CONFIG_", "--", *(f"{one}/*.[ch]" for one in FOLDERS)).splitlines()[
        ::100
    ]:
        source = (kernel.root / path).read_bytes()
        guards = directives(source)
        assert guards.unbalanced == 0, path
        for knob, without, with_it in flipped(source, first, random.Random(path)):
            said = {sense: lines_of(guards, knob, sense) for sense in ("if", "else")}
            assert with_it - without <= said["if"] and without - with_it <= said["else"], (path, knob)
            assert not without & lines_of(guards, knob, "if", below=f"#ifdef {knob}", source=source), (path, knob)
            moved += len(with_it ^ without)
    assert moved > 300


# -- knobs: scripts/kconfig -------------------------------------------------------------------------------------------

_NEW = re.compile(
    r"^Symbol: (\w+) \[=.*?\]\nType  : (\w+)\n(?:Range : .*\n)?"
    r"((?:Defined at [^\n]+\n(?:(?!Defined at |-----)[^\n]*\n)*)+)",
    re.MULTILINE,
)
_DEFINED = re.compile(r"^Defined at ([^:\n]+):(\d+)\n(?:  Prompt: (.*)\n)?", re.MULTILINE)


def described(kernel: Kernel, scratch: Path) -> str:
    """Return what `make helpnewconfig` says of the knobs that a configuration with everything in it lacks by chance."""
    config = scratch / "config"
    make = ["make", "-s", "-C", str(kernel.root), f"O={scratch}", "ARCH=x86", f"KCONFIG_CONFIG={config}"]
    subprocess.run([*make, "allyesconfig"], stdout=subprocess.DEVNULL, check=True)
    rng = random.Random(61)
    config.write_text("".join(line for line in config.open() if rng.random() < 0.7))
    done = subprocess.run([*make, "helpnewconfig"], stdout=subprocess.PIPE, check=True)
    return done.stdout.decode("utf-8", "replace")


def test_knobs_are_those_of_scripts_kconfig(kernel: Kernel, tmp_path: Path) -> None:
    told = _NEW.findall(described(kernel, tmp_path))
    assert len(told) > 2000
    began = time.process_time()
    found = read_kconfig(kernel.root, arch="x86")
    assert time.process_time() - began < 5
    assert found.skipped == [] and len(found.knobs) > 10_000
    blocks: dict[str, dict[tuple[str, int], Knob]] = {}
    for knob in found.knobs:
        blocks.setdefault(knob.name, {})[knob.file, knob.first_line] = knob
    for name, type_, places in told:
        ours = blocks[f"CONFIG_{name}"]
        assert {one.type for one in ours.values() if one.type} == {"int" if type_ == "integer" else type_}, name
        theirs = {(file, int(line)): prompt.strip() for file, line, prompt in _DEFINED.findall(places)}
        assert {place: knob.prompt for place, knob in ours.items()} == theirs, name


# -- subsystems: scripts/get_maintainer.pl ----------------------------------------------------------------------------


def test_a_subsystem_is_one_that_get_maintainer_ranks_highest(kernel: Kernel) -> None:
    maintainers = Maintainers((kernel.root / "MAINTAINERS").read_text())
    named = 0
    options = ["--sections", "--no-git", "--no-git-fallback", "--no-keywords", "--no-m", "--no-r", "--no-rolestats"]
    for path in sample(kernel, 5):
        done = subprocess.run(
            ["perl", "scripts/get_maintainer.pl", *options, "-f", path],
            cwd=kernel.root, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
        )  # fmt: skip
        sections = [
            section.split("\n") for section in done.stdout.split("\n\n") if re.search(r"^[A-Z]:\t", section, re.M)
        ]
        theirs = {lines[0]: max(depth(line, path) for line in lines) for lines in sections if lines[0] != "THE REST"}
        ours = maintainers.subsystem(path)
        assert ours in ({name for name, rank in theirs.items() if rank == max(theirs.values())} or {""}), path
        named += bool(ours)
    assert named > 25


def depth(line: str, path: str) -> int:
    """Return how deep a section's pattern reaches into a path, if it does."""
    pattern = line.removeprefix("F:\t")
    fits = line.startswith("F:\t") and re.match(pattern.replace(".", r"\.").replace("*", ".*").replace("?", "."), path)
    below = pattern.endswith("/") or pattern.count("/") == path.count("/") or path.startswith(f"{pattern}/")
    return pattern.count("/") + (not pattern.endswith("/")) if fits and below and pattern[0] != "*" else 0


# -- objects: a finished build ----------------------------------------------------------------------------------------


def descended(root: Path) -> Iterator[Built]:
    """Yield what every Makefile of UML decides about, from the top down."""
    todo, seen = ["Kbuild", "Makefile", "arch/um/Makefile", "arch/x86/Makefile.um"], {"arch/um/"}
    while todo:
        path = todo.pop()
        text = (root / path).read_text(encoding="utf-8", errors="replace") if (root / path).is_file() else ""
        for one in makefile_targets(path, text, {"SRCARCH": "um", "HEADER_ARCH": "x86"}):
            yield one
            if one.target.endswith("/") and one.target not in seen:
                seen.add(one.target)
                todo += [
                    f"{one.target}{name}" for name in ("Kbuild", "Makefile") if (root / one.target / name).is_file()
                ][:1]


@pytest.mark.usefixtures("crc64_run")
def test_what_is_built_is_what_the_makefiles_say(kernel: Kernel) -> None:
    root, build = tree_root(), tree_root() / "build-uml"
    on = set(re.findall(r"^(CONFIG_\w+)=[ym]", (build / ".config").read_text(), re.MULTILINE))
    began = time.process_time()
    conditions: dict[str, dict[int, set[str]]] = {}
    for one in descended(root):
        conditions.setdefault(one.target, {}).setdefault(one.line, set()).add(one.knob)
    assert time.process_time() - began < 5
    assert len(conditions) > 20_000

    def holds(target: str) -> bool:
        return target not in conditions or any(knobs - {""} <= on for knobs in conditions[target].values())

    def around(target: str) -> list[str]:
        return [target[: at + 1] for at, sign in enumerate(target) if sign == "/"]

    listed = subprocess.run(["ar", "t", "vmlinux.a"], cwd=build, capture_output=True, text=True, check=True).stdout
    sources = {f"{line.partition('build-uml/')[2] or line}".removesuffix(".o") + ".c" for line in listed.split()}
    objects = {path for path in sources if (root / path).is_file()}
    assert len(objects) > 300
    assert [path for path in objects if not all(map(holds, (path, *around(path))))] == []
    told = {path for path in conditions if path.endswith(".c") and all(map(holds, (path, *around(path))))}
    unbuilt = [path for path in told if (root / path).is_file() and not (build / path).with_suffix(".o").is_file()]
    assert unbuilt == []


# -- time -------------------------------------------------------------------------------------------------------------


def test_megabytes_of_source_take_seconds(kernel: Kernel) -> None:
    sources = [(kernel.root / path).read_bytes() for path in sample(kernel, 30, ".c", ".h")]
    size = sum(map(len, sources)) / 1e6
    for read, most in ((directives, 1.0), (functions, 1.0), (declarations, 1.0), (calls, 1.0)):
        began = time.process_time()
        for source in sources:
            read(source)
        seconds = (time.process_time() - began) / size
        print(f"{read.__name__}: {seconds:.2f} s a MB of {size:.1f}")
        assert seconds < most, read.__name__
