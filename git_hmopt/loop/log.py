# SPDX-License-Identifier: Apache-2.0
"""The run's log: one JSON line for every node's start and end, and for whatever a node says while it works."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from git_hmopt.errors import StoreError
from git_hmopt.records.base import decimal_text
from git_hmopt.records.run import NodeRecord
from git_hmopt.records.words import utc_now

Listener = Callable[[dict[str, str]], None]
"""Called with every line; the command line shows progress from it."""


class RunLog:
    """Appends JSON lines to a file and tells a listener."""

    def __init__(self, path: Path, run: str, listener: Listener = lambda line: None) -> None:
        self.path = path
        self._run = run
        self._listener = listener
        self.node = ""
        self.iteration = 0
        self.took: NodeRecord | None = None
        """Of the node that ended last."""

    def say(self, text: str, **fields: str) -> None:
        """Record one line of the node at work."""
        line = {
            "at": utc_now(),
            "run_id": self._run,
            "iteration": str(self.iteration),
            "node": self.node,
            "say": text,
            **fields,
        }
        try:
            # Not before: a command that is refused leaves no directory of a run that never was.
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line, sort_keys=True) + "\n")
        except OSError as error:
            raise StoreError(
                f"the run's log '{self.path}' cannot be written: {error.strerror}",
                next_step="free space there",
            ) from error
        self._listener(line)

    @contextmanager
    def during(self, node: str, iteration: int) -> Iterator[None]:
        """Record a node's start, end, duration (wall and own CPU) and outcome."""
        self.node, self.iteration = node, iteration
        self.say("start", event="start")
        wall, cpu = time.monotonic(), time.process_time()
        outcome: Literal["ok", "failed", "interrupted"] = "failed"
        try:
            yield
            outcome = "ok"
        except KeyboardInterrupt:
            outcome = "interrupted"
            raise
        finally:
            self.took = NodeRecord(
                node=node,
                iteration=iteration,
                outcome=outcome,
                wall_s=decimal_text(round(time.monotonic() - wall, 3)),
                cpu_s=decimal_text(round(time.process_time() - cpu, 3)),
            )
            self.say(outcome, event="end", outcome=outcome, wall_s=self.took.wall_s, cpu_s=self.took.cpu_s)
