# SPDX-License-Identifier: Apache-2.0
"""One operation of a journal: what `op.json` holds."""

from __future__ import annotations

from typing import Any, Literal

from git_hmopt.records.base import Record


class Operation(Record):
    """One step of a run as its writer recorded it.

    Two operations with the same `identity` are the same step: a node repeated after a crash adds nothing twice.
    """

    v: Literal[1] = 1
    op: str
    run: str
    writer: str
    iter: int = 0
    node: str
    attempt: int = 0
    lamport: int
    at: str
    data: dict[str, Any]

    @property
    def identity(self) -> tuple[str, str, int, str, int, str]:
        """Return what makes this operation the same as another."""
        return (self.run, self.writer, self.iter, self.node, self.attempt, self.op)
