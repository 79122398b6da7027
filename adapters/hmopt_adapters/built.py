# SPDX-License-Identifier: Apache-2.0
"""What the adapters that drive make share: files written whole beside a build's, and the bytes of what it built."""

from __future__ import annotations

from pathlib import Path

from git_hmopt.errors import StoreError
from git_hmopt.process.runner import run
from git_hmopt.process.sandbox import Sandbox


def write_whole(path: Path, text: str) -> None:
    """Replace a file whole, and never through a link that a build put there."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        with fresh.open("x") as stream:
            stream.write(text)
        fresh.replace(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}", next_step="free space there") from error


def function_bytes(nm: str, image: Path, sandbox: Sandbox | None) -> int:
    """Return the summed size of all functions, as bloat-o-meter does: sections are padded.

    `nm` is the program of the image's architecture; ProgramError when it cannot read the image.
    """
    table = run([nm, "-S", str(image)], sandbox=sandbox, check=True).output.decode(errors="replace")
    rows = (line.split() for line in table.splitlines())
    return sum(int(row[1], 16) for row in rows if len(row) == 4 and row[2] in "tTwW")
