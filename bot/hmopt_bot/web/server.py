# SPDX-License-Identifier: Apache-2.0
"""uvicorn around the application: where it listens, what a connection may cost, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import re
import socket
from collections.abc import Callable, Iterator

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from git_hmopt.errors import ConfigError, StoreError, UsageError
from hmopt_bot.web.app import guarded
from hmopt_bot.web.site import Site

_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<four>[0-9.]+)|(?P<name>localhost)):(?P<port>\d{1,5})")
_END_S = 5


def listening(address: str, *, has_tokens: bool) -> socket.socket:
    """Return a socket at ADDRESS:PORT; UsageError for what is no address.

    ConfigError when it can be reached from other machines and there are no tokens, StoreError when it cannot be had.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None or int(found["port"]) > 65_535:
        raise UsageError(f"'{address}' is no ADDRESS:PORT", next_step="such as 127.0.0.1:8642 or [::1]:8642")
    try:
        host = ipaddress.ip_address(found["six"] or found["four"] or "127.0.0.1")
    except ValueError as error:
        raise UsageError(f"'{address}' has no IP address", next_step="such as 127.0.0.1:8642") from error
    if not host.is_loopback and not has_tokens:
        raise ConfigError(
            f"{address} can be reached from other machines, and there are no tokens",
            next_step="make one: git hmopt serve --new-token NAME, or listen on 127.0.0.1",
        )
    family = socket.AF_INET6 if host.version == 6 else socket.AF_INET
    try:
        return socket.create_server((str(host), int(found["port"])), family=family, backlog=1024)
    except OSError as error:
        raise StoreError(
            # Python's own text has the address once more.
            f"cannot listen on {address}: {os.strerror(error.errno or 0)}",
            next_step="see what listens there: ss -ltnp",
        ) from error


def is_loopback(listener: socket.socket) -> bool:
    """Say whether only this machine reaches a socket."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def url_of(listener: socket.socket) -> str:
    """Return a socket's address as a browser takes it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Protocol(H11Protocol):
    """Connections that are closed when no request begins on them in time; uvicorn waits for a first one for ever."""

    header_s = 10.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(self.header_s, self._look, self.cycle)

    def _look(self, seen: object) -> None:
        if self.transport.is_closing():
            return
        waiting = self.cycle is None or self.cycle.response_complete
        # The same request, or none, as a while ago: what has come since is not the whole head of another.
        if waiting and self.cycle is seen:
            self.transport.close()
            return
        self.loop.call_later(self.header_s, self._look, self.cycle)


class _Server(uvicorn.Server):
    """uvicorn that leaves signals to the command, and tells those who follow events that it ends."""

    site: Site

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.site.ending.set()
        await super().shutdown(sockets)


def server_of(site: Site) -> uvicorn.Server:
    """Return a server of a site; setting its `should_exit` ends it."""
    limits = site.limits
    protocol = type("Protocol", (_Protocol,), {"header_s": limits.header_s})
    config = uvicorn.Config(
        guarded(site),
        http=protocol,
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=limits.idle_s,
        timeout_graceful_shutdown=_END_S,
        h11_max_incomplete_event_size=limits.header_bytes,
    )
    server = _Server(config)
    server.site = site
    return server


async def serve(server: uvicorn.Server, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until `should_exit`; `ready` is called once requests are answered."""
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    if not serving.done():
        ready()
    await serving


def notify(state: str) -> None:
    """Tell systemd how the service stands (sd_notify(3)); nothing without it."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
        to.sendto(state.encode(), "\0" + place[1:] if place.startswith("@") else place)
