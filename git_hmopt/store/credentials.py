# SPDX-License-Identifier: Apache-2.0
"""A password that git's credential helpers keep; nobody is asked for one."""

from __future__ import annotations

from pathlib import Path

from git_hmopt.store.git import Git

_NOBODY = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "SSH_ASKPASS": "true"}
"""`true` answers with nothing, which git takes for no password."""


def stored_password(cwd: Path, *, protocol: str, host: str) -> str | None:
    """Return what a helper keeps for `host` (with its port where it has one); None when none does.

    What git credential says on its errors may name the host and is not shown (gitcredentials(7)).
    """
    answer = Git(cwd).run(
        "credential",
        "fill",
        stdin=f"protocol={protocol}\nhost={host}\nusername=git-hmopt\n\n".encode(),
        environment=_NOBODY,
        ok=range(256),
        wall_s=20.0,
        settings=(),
    )
    if answer.returncode != 0:
        return None
    told = dict(line.partition("=")[::2] for line in answer.text.splitlines())
    return told.get("password") or None
