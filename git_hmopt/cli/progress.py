# SPDX-License-Identifier: Apache-2.0
"""Progress on standard error, for a person at a terminal: one line a node, and below them where the run stands."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from types import TracebackType
from typing import Literal, Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.text import Text


class Progress:
    """A log listener that prints what a person wants to follow.

    On a terminal a last line stands below: iteration, verdicts so far, what is on best, and the time used of `wall_s`
    seconds. Nothing is printed when standard error is no terminal, unless HMOPT_PROGRESS is set.
    """

    def __init__(
        self,
        *,
        color: Literal["auto", "always", "never"] = "auto",
        iterations: int | None = None,
        wall_s: float | None = None,
    ) -> None:
        self._console = Console(
            stderr=True,
            highlight=False,
            no_color=color == "never" or (color == "auto" and "NO_COLOR" in os.environ),
            force_terminal=True if color == "always" else None,
        )
        self._started = time.monotonic()
        self._iterations, self._wall_s = iterations, wall_s
        self._iteration = "0"
        self._verdicts: Counter[str] = Counter()
        self._accepted: list[str] = []
        self._quiet = not sys.stderr.isatty() and "HMOPT_PROGRESS" not in os.environ
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._quiet:
            # It leaves no trace: what ended a run is told on standard output.
            self._live = Live(
                console=self._console, get_renderable=self._standing, refresh_per_second=2, transient=True,
                redirect_stdout=False, redirect_stderr=False,
            )  # fmt: skip
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, line: dict[str, str]) -> None:
        """Print one line of the run's log."""
        event = line.get("event")
        if event == "verdict":
            self._verdicts[line["verdict"]] += 1
            if line["accepted"] == "yes":
                self._accepted.append(line["change"])
        self._iteration = line["iteration"]
        if self._quiet or event == "end":
            return
        at = f"[dim]{_clock(time.monotonic() - self._started)}[/dim]"
        if event == "start":
            number = f"iteration {line['iteration']}" if line["iteration"] != "0" else ""
            self._console.print(f"{at} [bold]{line['node']}[/bold] [dim]{number}[/dim]")
        else:
            mark = "[yellow]note:[/yellow] " if event == "note" else ""
            self._console.print(f"{at}   {mark}{escape(line['say'])}")

    def standing(self) -> str:
        """Return where the run stands, on one line."""
        of = f" of {self._iterations}" if self._iterations is not None else ""
        parts = [f"iteration {self._iteration}{of}" if self._iteration != "0" else "preparing"]
        parts += [", ".join(f"{count} {verdict}" for verdict, count in self._verdicts.items()) or "no verdict yet"]
        changes = ", ".join(f"{100 * float(change):+.1f} %" for change in self._accepted if change)
        parts.append(f"best: base + {len(self._accepted)}{f' ({changes})' if changes else ''}")
        limit = f" of {_clock(self._wall_s).strip()}" if self._wall_s is not None else ""
        return f"{_clock(time.monotonic() - self._started).strip()}{limit} | " + " | ".join(parts)

    def _standing(self) -> Text:
        return Text(self.standing(), style="reverse", no_wrap=True, overflow="ellipsis")


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 60:3d}:{whole % 60:02d}"
