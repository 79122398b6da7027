# SPDX-License-Identifier: Apache-2.0
"""git's configuration with where each value stands, in one process; works outside a repository as well."""

from __future__ import annotations

import re
from pathlib import Path

from git_hmopt.config.settings import GitValue
from git_hmopt.errors import StoreError
from git_hmopt.store.git import Git

_SECTIONS = ("hmopt.", "color.")
_HEADER = re.compile(r'\s*\[\s*(?P<section>[\w.-]+)(?:\s+"(?P<sub>[^"]*)")?\s*\](?P<rest>.*)')
_VARIABLE = re.compile(r"\s*(?P<name>[A-Za-z][A-Za-z0-9-]*)\s*(?:[=#;].*)?$")


def read_git_config(cwd: Path) -> list[GitValue]:
    """Return the values of `hmopt.*` and `color.*` that are in force in `cwd`, in git's order.

    `git -c` and every scope are included. Raises StoreError when git cannot read its own files.
    """
    answer = Git(cwd).run("config", "--list", "--show-origin", "--show-scope", "-z", ok=(0, 128), settings=())
    if answer.returncode != 0:
        raise StoreError(f"git config: {answer.complaint}", next_step="repair that file")
    parts = answer.output.decode("utf-8", "surrogateescape").split("\0")[:-1]
    found = []
    for scope, origin, item in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        key, equals, value = item.partition("\n")
        if key.startswith(_SECTIONS):
            kind, _, place = origin.partition(":")
            line = _line_of(cwd / place, key) if kind == "file" else None
            found.append(GitValue(key, value if equals else None, scope, place or kind, line))
    return found


def _line_of(path: Path, key: str) -> int | None:
    """Return the last line of a configuration file on which `key` stands, for messages; None where it is not seen.

    Values come from git alone. It does not tell lines, and a file of three hundred is easier to mend with one.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    found, section = None, ""
    for number, line in enumerate(lines, 1):
        header = _HEADER.match(line)
        if header:
            section = header["section"].lower() + (f".{header['sub']}" if header["sub"] is not None else "")
            line = header["rest"]
        variable = _VARIABLE.match(line)
        if variable and f"{section}.{variable['name'].lower()}" == key:
            found = number
    return found
