# SPDX-License-Identifier: Apache-2.0
"""Trust: what changes the digest, and what is said when it does not match."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from git_hmopt.config.overlay import Overlay
from git_hmopt.config.trust import check_trust, trust_digest
from git_hmopt.errors import ExitCode, UntrustedError

LOCAL = Overlay("./bench", Path("bench"), "", files={}, digest="aa")
SHIPPED = Overlay("sort", Path("sort"), "", files={}, digest="bb", version="git-hmopt 0.1.0")
DIGEST = trust_digest(b"version: 1\n", [LOCAL, SHIPPED])


def test_the_digest_does_not_depend_on_order_or_repetition() -> None:
    assert trust_digest(b"version: 1\n", [SHIPPED, LOCAL, SHIPPED]) == DIGEST


@pytest.mark.parametrize(
    "changed",
    [
        trust_digest(b"version: 1 \n", [LOCAL, SHIPPED]),
        trust_digest(b"version: 1\n", [replace(LOCAL, digest="ab"), SHIPPED]),
        trust_digest(b"version: 1\n", [LOCAL, replace(SHIPPED, version="git-hmopt 0.2.0")]),
        trust_digest(b"version: 1\n", [LOCAL]),
        trust_digest(b"version: 1\n", []),
        trust_digest(b"version: 1\n", [LOCAL, replace(SHIPPED, version=None)]),
    ],
)
def test_every_change_of_what_runs_changes_the_digest(changed: str) -> None:
    assert changed != DIGEST
    with pytest.raises(UntrustedError, match=r"changed since they were trusted; .*run: git hmopt trust$"):
        check_trust(DIGEST, changed)


def test_a_shipped_overlay_counts_by_its_version_not_its_bytes() -> None:
    assert trust_digest(b"version: 1\n", [LOCAL, replace(SHIPPED, digest="cc")]) == DIGEST


@pytest.mark.parametrize("stored", [None, "", "  \n"])
def test_what_was_never_trusted_says_so(stored: str | None) -> None:
    with pytest.raises(UntrustedError, match=r"were never trusted here; .*run: git hmopt trust$") as caught:
        check_trust(stored, DIGEST)
    assert caught.value.exit_code is ExitCode.ENVIRONMENT


def test_the_stored_digest_is_accepted_as_git_prints_it() -> None:
    check_trust(f"{DIGEST}\n", DIGEST)
    assert DIGEST.startswith("1:")
