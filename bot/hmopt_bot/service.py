# SPDX-License-Identifier: Apache-2.0
"""The server with its workers: started, watched, and ended together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from git_hmopt.config.settings import ServeSettings
from git_hmopt.errors import HmoptError
from git_hmopt.process.runner import Limits as ProcessLimits
from git_hmopt.process.runner import kill_live, live_children, run
from git_hmopt.store.queue import Queue
from git_hmopt.store.repository import Repository
from hmopt_bot.private import VARIABLE, private_path
from hmopt_bot.registration import registered
from hmopt_bot.web.limits import Limits
from hmopt_bot.web.server import is_loopback, listening, notify, server_of, url_of
from hmopt_bot.web.server import serve as serve_http
from hmopt_bot.web.site import Site
from hmopt_bot.web.tokens import SETTING as TOKENS
from hmopt_bot.web.tokens import Tokens
from hmopt_bot.work.job import queue_directory
from hmopt_bot.work.role import BUILDS, TALKS

_LOG = logging.getLogger("hmopt.serve")
_FOREVER_S = 10 * 365 * 86_400.0
_SHORT_S = 10.0
"""Workers that live for less, one after the other, are started again after longer and longer pauses."""
_LONGEST_PAUSE_S = 60.0
_END_S = 20.0


@dataclass
class Workers:
    """Worker processes, each started again when it ends before its time."""

    place: Path
    count: int
    """Of those that build; one more talks to the forges where there are any."""
    forges: Path | None = None
    """The file of the webhooks that they handle."""
    secrets: Sequence[Path] = ()
    """What the code that they build must not read."""
    ending: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Have them run meanwhile; then end each with its programs, and kill what does not end."""
        roles = [BUILDS] * self.count + ([TALKS] if self.forges is not None and self.count else [])
        threads = [
            threading.Thread(target=self._watch, args=(role,), name=f"worker {n}") for n, role in enumerate(roles)
        ]
        for one in threads:
            one.start()
        try:
            yield
        finally:
            self.ending.set()
            self._end(threads)

    def _watch(self, role: str) -> None:
        pause = 0.5
        while not self.ending.is_set():
            began = time.monotonic()
            try:
                ended = run(
                    self._command(role),
                    environment={**os.environ, VARIABLE: os.pathsep.join(map(str, self.secrets))},
                    limits=ProcessLimits(wall_s=_FOREVER_S, output_bytes=1 << 62),
                    keep_output=False,
                    on_line=lambda line, _: print(line.decode("utf-8", "replace"), file=sys.stderr, flush=True),
                ).ending
            except HmoptError as error:
                ended = str(error)
            if self.ending.is_set():
                return
            _LOG.error("a worker ended (%s); another is started", ended)
            pause = min(2 * pause, _LONGEST_PAUSE_S) if time.monotonic() - began < _SHORT_S else 0.5
            self.ending.wait(pause)

    def _command(self, role: str) -> list[str]:
        words = [sys.executable, "-m", "hmopt_bot.worker", str(os.getpid()), str(self.place), role]
        return words if self.forges is None else [*words, str(self.forges)]

    def _end(self, threads: list[threading.Thread]) -> None:
        deadline = time.monotonic() + _END_S
        while any(one.is_alive() for one in threads):
            if time.monotonic() > deadline:
                kill_live()
            # Each time: one may just have been started.
            for group in live_children():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, signal.SIGTERM)
            for one in threads:
                one.join(0.2)


def serve(place: Path, settings: ServeSettings) -> None:
    """Serve a repository until SIGTERM or Ctrl-C."""
    logging.basicConfig(stream=sys.stderr, format="git hmopt: %(message)s", level=logging.WARNING)
    repository = Repository.open(place)
    tokens = Tokens(private_path(settings.tokens, TOKENS, repository)) if settings.tokens else None
    forges = Path(settings.forges) if settings.forges else None
    webhooks = registered(forges, repository) if forges else {}
    named = (forges, Path(settings.tokens) if settings.tokens else None, *(one.key for one in webhooks.values()))
    # The queue holds what was delivered: where a forge sends its secret along, that too.
    secrets = [*(one.expanduser() for one in named if one is not None), queue_directory(repository)]
    with (
        listening(settings.listen, has_tokens=tokens is not None) as listener,
        Queue(queue_directory(repository)) as queue,
    ):
        site = Site(
            place, queue, tokens, webhooks,
            limits=Limits(requests_a_minute=settings.rate),
            # With tokens, a browser that was tricked has none to send.
            only_loopback=is_loopback(listener) and tokens is None,
        )  # fmt: skip
        server = server_of(site)

        def end(number: int, frame: FrameType | None) -> None:
            server.should_exit = True

        def ready() -> None:
            print(f"listening on {url_of(listener)}", flush=True)
            notify("READY=1")

        before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            with Workers(place, settings.workers, forges, secrets).running():
                asyncio.run(serve_http(server, listener, ready))
                notify("STOPPING=1")
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
