# SPDX-License-Identifier: Apache-2.0
"""Relink a built kernel at seeded code layouts with the kernel's own link script (LAYOUT.md).

Every object's `.text` gets a place of its own: order and offset come from hash(seed, object name), so base and
patch are paired by seed and what a patch does not touch keeps its alignment. Only the link is redone, kallsyms
passes and their check included, by `scripts/link-vmlinux.sh` itself in a directory of links to the real output.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

from git_hmopt.adapters import AdapterContext, BuildResult, Image, sha256_of
from git_hmopt.errors import AdapterError, ProgramError, StoreError
from git_hmopt.process.runner import Limits, run
from git_hmopt.records.words import Seed

# An object starts at SLOT + 16 * k with k in 0..SLOT/16-1: every offset modulo a cache line and modulo 256 is drawn.
SLOT = 256
_TEXT = re.compile(r"\*\(\s*\.text\s+\.text\.fixup\s*\)|\*\(\s*\.text\s*\)")
_ENVIRONMENT = ".hmopt-link-env"
# Written by the link itself, so they must be files of the relink's own and not links to the build's.
_OWN = re.compile(r"(\.tmp_|\.?vmlinux(\.d|\.map|\.cmd)?$|System\.map$|linux$|\.btf\.|\.hmopt)")
_PLACE = ".hmopt-layout-"


class Relinker:
    """Records the environment of kbuild's link and repeats it with another linker script."""

    def __init__(self, context: AdapterContext) -> None:
        self._context = context

    def programs(self) -> tuple[Path, ...]:
        """Return the directories a sandboxed build must be able to read."""
        return (self._shim().parent,)

    def recording_environment(self, output: Path) -> dict[str, str]:
        """Return what makes a kbuild run leave its link's environment behind in `output`.

        link-vmlinux.sh calls `sh` by name for its small scripts; ours is first in PATH, writes the environment and
        goes on as /bin/sh. PATH is in no recorded command, so nothing is rebuilt for it.
        """
        return {
            "PATH": f"{self._shim().parent}:{os.environ.get('PATH', os.defpath)}",
            "HMOPT_LINK_ENVIRONMENT": str(output / _ENVIRONMENT),
        }

    def _shim(self) -> Path:
        shim = self._context.scratch / "link-shim" / "sh"
        wanted = (files("hmopt_adapters") / "link_shim.sh").read_bytes()
        if not (shim.is_file() and os.access(shim, os.X_OK) and shim.read_bytes() == wanted):
            shim.parent.mkdir(parents=True, exist_ok=True)
            fresh = shim.with_suffix(".new")
            fresh.write_bytes(wanted)
            fresh.chmod(0o755)
            fresh.replace(shim)
        return shim

    def relink(
        self, built: BuildResult, seeds: Sequence[Seed], into: Path, *, identity: Callable[[], str]
    ) -> Mapping[Seed, Image]:
        """Return one image a seed, from `into` where this very build was linked at that seed before.

        `identity` gives the sha256 of what the tree holds now; AdapterError when that is another build.
        """
        if built.image is None:
            raise AdapterError("only a successful build can be relinked")
        folder = into / built.image.sha256[:16]
        folder.mkdir(parents=True, exist_ok=True)
        missing = [seed for seed in dict.fromkeys(seeds) if not (folder / f"{seed}").is_file()]
        if missing:
            if identity() != built.image.sha256:
                raise AdapterError(f"{built.tree.output} holds another build by now", next_step="build it again")
            link = _Link(self._context, built)
            with ThreadPoolExecutor(max_workers=max(1, self._context.jobs)) as pool:
                list(pool.map(lambda seed: link.at(seed, folder / f"{seed}"), missing))
            self._context.progress(f"linked {len(missing)} layouts")
        return {
            seed: Image(folder / f"{seed}", sha256_of(folder / f"{seed}"), built.image.build, seed, built.image.symbols)
            for seed in seeds
        }


class _Link:
    """One build's link, repeatable at any seed."""

    def __init__(self, context: AdapterContext, built: BuildResult) -> None:
        self._context = context
        self._output = built.tree.output
        recorded = self._output / _ENVIRONMENT
        if not recorded.is_file():
            raise AdapterError(
                f"{recorded} is missing: this tree was not linked by us",
                next_step="delete the build tree and run again",
            )
        pairs = (item.partition(b"=") for item in recorded.read_bytes().split(b"\0") if item)
        self._environment = {name.decode(): value.decode(errors="surrogateescape") for name, _, value in pairs}
        try:
            self._script = (self._output / self._environment["KBUILD_LDS"]).read_text()
        except (KeyError, OSError) as error:
            raise AdapterError(f"{recorded} names no linker script that can be read: {error}") from error
        self._objects = self._list_objects()
        # A relink that was killed left its directory; nobody else is in this tree.
        for left in self._output.parent.glob(f"{_PLACE}*"):
            shutil.rmtree(left, ignore_errors=True)

    def _list_objects(self) -> list[str]:
        archives = ["vmlinux.a", *self._environment.get("KBUILD_VMLINUX_LIBS", "").split()]
        listed: list[str] = []
        for archive in archives:
            said = run(["ar", "t", archive], cwd=self._output, check=True).output.decode()
            listed += [line.strip() for line in said.splitlines() if line.strip()]
        return sorted(dict.fromkeys(listed))

    def at(self, seed: Seed, target: Path) -> Seed:
        """Link at `seed` and leave the stripped image at `target`."""
        try:
            self._link(seed, target)
        except OSError as error:
            raise StoreError(f"layout {seed} cannot be written: {error}", next_step="free space there") from error
        return seed

    def _link(self, seed: Seed, target: Path) -> None:
        # A direct child of the source tree: the recorded flags say `..` for it.
        with tempfile.TemporaryDirectory(prefix=_PLACE, dir=self._output.parent) as name:
            place = Path(name)
            for entry in self._output.iterdir():
                if not _OWN.match(entry.name):
                    (place / entry.name).symlink_to(Path("..") / self._output.name / entry.name)
            script = place / "layout.lds"
            script.write_text(seeded_script(self._script, self._objects, seed))
            self._run_script(place)
            linked = place / "vmlinux"
            if not linked.is_file():
                raise AdapterError(f"layout {seed}: link-vmlinux.sh left no vmlinux")
            partial = target.with_suffix(".partial")
            shutil.copyfile(linked, partial)
            partial.chmod(0o755)
            partial.replace(target)

    def _run_script(self, place: Path) -> None:
        environment = dict(self._environment)
        # Its only use of make is to rebuild a time stamp that is there already.
        environment.update(KBUILD_LDS="layout.lds", MAKE="true", PATH=os.environ.get("PATH", os.defpath))
        environment["CFLAGS_vmlinux"] = environment.get("CFLAGS_vmlinux", "") + " -Wl,--strip-debug"
        arguments = [environment.get(name, "") for name in ("LD", "KBUILD_LDFLAGS", "LDFLAGS_vmlinux")]
        source = self._output.parent / "scripts/link-vmlinux.sh"
        try:
            run(
                ["/bin/sh", str(source), *arguments],
                cwd=place,
                environment=environment,
                limits=Limits(wall_s=300),
                sandbox=self._context.sandbox(self._output.parent),
                check=True,
            )
        except ProgramError as error:
            raise AdapterError(f"relinking failed: {error}") from error


def seeded_script(script: str, objects: Sequence[str], seed: Seed) -> str:
    """Return the linker script with every object's text at a place drawn from hash(seed, object name).

    Raises AdapterError when the script has no one place for `.text`: then layout cannot be controlled here.
    """
    if len(_TEXT.findall(script)) != 1:
        raise AdapterError("the linker script has no single '*(.text .text.fixup)': layout cannot be controlled")
    placed = [
        f". = ALIGN({SLOT}) + {offset}; {exact_pattern(name)}(.text .text.fixup)"
        for name, offset in draw(objects, seed)
    ]
    # What comes after (libc's objects, .text.unlikely) starts on a page, so its alignment never depends on a patch.
    rest = ". = ALIGN(4096); *(.text .text.fixup) . = ALIGN(4096);"
    return _TEXT.sub(lambda _: "\n    ".join(placed) + "\n    " + rest + "\n   ", script)


def draw(objects: Sequence[str], seed: Seed) -> list[tuple[str, int]]:
    """Return the objects in the seed's order, each with its offset in bytes after a multiple of SLOT."""
    drawn = {name: hashlib.sha256(f"{seed}:{name}".encode()).digest() for name in objects}
    return [(name, 16 * (drawn[name][-1] % (SLOT // 16))) for name in sorted(drawn, key=lambda one: drawn[one])]


def exact_pattern(name: str) -> str:
    """Return a linker-script pattern for exactly this file.

    A name without a wildcard would be added as an input (LAYOUT.md), and `*lib/x.o` would catch `y/lib/x.o`;
    a one-letter set is a wildcard that matches one name.
    """
    return f"[{name[0]}]{name[1:]}"
