# SPDX-License-Identifier: Apache-2.0
"""Trust in a repository's commands: what the user agreed to run, as one digest.

The digest covers what names the commands and what is added to every tree they run in: the configuration and the
repository's own overlays. Shipped overlays count by name and version, so that an upgrade of the package asks again.
It does not cover the tree itself: building a commit runs its Makefiles and scripts, as `make` typed by hand does,
and what holds those is the sandbox. The digest is kept in the local git configuration, which no fetch can write.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from git_hmopt.config.overlay import Overlay
from git_hmopt.errors import UntrustedError

TRUST_KEY = "hmopt.trust"
"""The key in the repository's local git configuration."""


def trust_digest(configuration: bytes, overlays: Iterable[Overlay]) -> str:
    """Return what is trusted as `1:<sha256>`; the order in which overlays are named does not matter."""
    whole = hashlib.sha256(b"git-hmopt trust 1\n")
    whole.update(hashlib.sha256(configuration).digest())
    # Each part is a digest of fixed length: two parts cannot be shifted against each other.
    parts = {hashlib.sha256(_identity(overlay).encode()).digest() for overlay in overlays}
    for part in sorted(parts):
        whole.update(part)
    return f"1:{whole.hexdigest()}"


def check_trust(stored: str | None, digest: str, *, file: str | None = None) -> None:
    """Return if `stored`, the value of `hmopt.trust`, is `digest`; else UntrustedError says why it is not.

    `file` is the configuration's path where it is not the repository's own.
    """
    named = file or ".hmopt.yaml"
    command = f"git hmopt trust --config {file}" if file else "git hmopt trust"
    if stored is not None:
        stored = stored.strip()
    if not stored:
        whose = f"'{file}'" if file else "this repository's configuration"
        raise UntrustedError(
            f"{whose} names commands that were never trusted here",
            next_step=f"read {named} and its overlays, then run: {command}",
        )
    if stored != digest:
        whose = f"the commands of '{file}'" if file else "this repository's commands"
        raise UntrustedError(
            f"{whose} changed since they were trusted",
            next_step=f"read what changed in {named} and its overlays, then run: {command}",
        )


def _identity(overlay: Overlay) -> str:
    if overlay.version is not None:
        return f"shipped {overlay.name} {overlay.version}"
    return f"local {overlay.name} {overlay.digest}"
