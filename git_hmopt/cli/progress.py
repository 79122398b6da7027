# SPDX-License-Identifier: Apache-2.0
"""Progress on standard error, for a person at a terminal: one line a node, and what the nodes say."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape


class Progress:
    """A log listener that prints what a person wants to follow."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, no_color="NO_COLOR" in os.environ)
        self._started = time.monotonic()
        self._node = ""
        self._quiet = not sys.stderr.isatty() and "HMOPT_PROGRESS" not in os.environ

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def __call__(self, line: dict[str, str]) -> None:
        """Print one line of the run's log."""
        if self._quiet or line.get("event") == "end":
            return
        clock = int(time.monotonic() - self._started)
        at = f"[dim]{clock // 60:3d}:{clock % 60:02d}[/dim]"
        if line.get("event") == "start":
            number = f"iteration {line['iteration']}" if line["iteration"] != "0" else ""
            self._console.print(f"{at} [bold]{line['node']}[/bold] [dim]{number}[/dim]")
        else:
            mark = "[yellow]note:[/yellow] " if line.get("event") == "note" else ""
            self._console.print(f"{at}   {mark}{escape(line['say'])}")
