# SPDX-License-Identifier: Apache-2.0
"""A real server on loopback: in a thread, to look into its queue, or as the command in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from git_hmopt.store.queue import Queue
from hmopt_bot.registration import Registered
from hmopt_bot.web.limits import Limits
from hmopt_bot.web.server import listening, server_of, url_of
from hmopt_bot.web.server import serve as serve_http
from hmopt_bot.web.site import Site
from hmopt_bot.web.tokens import Tokens
from tests.bot.forges.deliveries import FORGES, KERNEL, SECRET, Sent, opened
from tests.loop.project import Project

WEBHOOKS = {
    name: Registered(name, forge, KERNEL, "hmopt-bot", f"https://forge.example/{KERNEL}.git")
    for name, forge in FORGES.items()
}
READER, WRITER = "the-readers-token", "the-writers-token"
_ADDRESS = re.compile(r"listening on (http://127\.0\.0\.1:\d+)\n")


def tokens_file(directory: Path) -> Path:
    """Write a file with a token of each scope."""
    path = directory / "tokens"
    path.write_text(
        "".join(
            f"{name} {name} {hashlib.sha256(token.encode()).hexdigest()}\n"
            for name, token in (("read", READER), ("write", WRITER))
        )
    )
    path.chmod(0o600)
    return path


def forges_file(directory: Path) -> Path:
    """Write a file with the webhook `github` of the deliveries that tests make."""
    path = directory / "forges.toml"
    path.write_text(
        f"""[github]\nforge = "github"\nrepository = "{KERNEL}"\nsecrets = ["{SECRET}"]\nlogin = "hmopt-bot"\n"""
        """token = "a-token-of-the-bots-own"\n"""
    )
    path.chmod(0o600)
    return path


def bearer(token: str) -> dict[str, str]:
    """Return the header of a token."""
    return {"Authorization": f"Bearer {token}"}


def _client(url: str) -> httpx.Client:
    # There is no TLS, and to load the certificates of the world takes longer than a test.
    return httpx.Client(base_url=url, timeout=60, verify=False)


@dataclass(frozen=True)
class Served:
    """A site that is being served."""

    site: Site
    url: str

    def client(self) -> httpx.Client:
        """Return a client of it."""
        return _client(self.url)

    @property
    def address(self) -> tuple[str, int]:
        """Return where to connect."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)


@contextlib.contextmanager
def served(
    place: Path,
    queue: Queue,
    *,
    limits: Limits | None = None,
    tokens: Tokens | None = None,
    only_loopback: bool = False,
) -> Iterator[Served]:
    """Serve in a thread."""
    with listening("127.0.0.1:0", has_tokens=False) as listener:
        site = Site(
            place,
            queue,
            tokens,
            WEBHOOKS,
            limits=limits or Limits(),
            only_loopback=only_loopback,
        )
        server = server_of(site)
        ready = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(serve_http(server, listener, ready.set)))
        thread.start()
        try:
            assert ready.wait(20)
            yield Served(site, url_of(listener))
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


def heard(forge: str = "github", number: int = 7, *, id: str = "one", behind_s: float = 0, **options: Any) -> Sent:
    """Return the delivery of an opened pull request as a forge sends it now, or some seconds ago."""
    return opened(forge, number, now=time.time() - behind_s, id=id, **options)


def post(client: httpx.Client, delivery: Sent, *, name: str | None = None) -> httpx.Response:
    """Send a delivery to the webhook of its forge's name; its headers go as bytes, since httpx sends ASCII alone."""
    headers = [(key.encode(), value.encode("latin-1")) for key, value in delivery.headers.items()]
    return client.post(f"/webhooks/{name or delivery.forge}", content=delivery.body, headers=headers)


@dataclass(frozen=True)
class Command:
    """`git hmopt serve` at work."""

    process: subprocess.Popen[str]
    url: str

    def client(self) -> httpx.Client:
        """Return a client of it."""
        return _client(self.url)

    def ended(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """End it with a signal; return its exit code and what it said to standard error."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


@contextlib.contextmanager
def command(project: Project, *arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[Command]:
    """Start `git hmopt serve` on a free port."""
    process = subprocess.Popen(
        ["git-hmopt", "serve", "--listen", "127.0.0.1:0", *arguments],
        cwd=project.root,
        env={**project.environment, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = _ADDRESS.fullmatch(line)
        assert found is not None, (line, process.communicate(timeout=30)[1])
        yield Command(process, found[1])
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=60)


def processes_of(text: str) -> dict[int, str]:
    """Return the processes whose command line has a text, by number."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if text in line:
                    found[int(entry.name)] = line
    return found
