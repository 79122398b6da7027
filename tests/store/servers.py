# SPDX-License-Identifier: Apache-2.0
"""Git servers on loopback: git's own http-backend behind WSGI, and dulwich's; each serves the directory it is given."""

from __future__ import annotations

import base64
import contextlib
import os
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from dulwich.server import FileSystemBackend, TCPGitServer

from tests.store.repositories import Shell

_PASSED = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "CONTENT_TYPE", "HTTP_GIT_PROTOCOL", "HTTP_CONTENT_ENCODING")


class _Threading(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def http_server(root: Path, login: tuple[str, str] | None = None) -> Iterator[str]:
    """Serve the repositories below `root` by `git http-backend`, to whoever has the login, and give the address."""
    asked = f"Basic {base64.b64encode(':'.join(login).encode()).decode()}" if login else None

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if asked is not None and environ.get("HTTP_AUTHORIZATION") != asked:
            start_response("401 Unauthorized", [("WWW-Authenticate", 'Basic realm="git"')])
            return [b""]
        given = {name: environ[name] for name in _PASSED if environ.get(name)}
        given |= {"GIT_PROJECT_ROOT": str(root), "GIT_HTTP_EXPORT_ALL": "1", "PATH": os.environ["PATH"]}
        given |= {"HOME": os.environ["HOME"], "GIT_CONFIG_NOSYSTEM": "1", "REMOTE_USER": "somebody"}
        body = _body(environ)
        done = subprocess.run(["git", "http-backend"], input=body, env=given, capture_output=True, check=True)
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        headers = [tuple(line.split(": ", 1)) for line in head.decode().split("\r\n")]
        status = next((value for name, value in headers if name == "Status"), "200 OK")
        start_response(status, [pair for pair in headers if pair[0] != "Status"])
        return [answer]

    with wsgi_server(application) as url:
        yield url


@contextlib.contextmanager
def wsgi_server(application: Callable[..., Any]) -> Iterator[str]:
    """Serve a WSGI application on loopback, and give the address."""
    server = make_server("127.0.0.1", 0, application, _Threading, _Quiet)
    with _served(server):
        yield f"http://127.0.0.1:{server.server_port}"


def _body(environ: dict[str, Any]) -> bytes:
    stream = environ["wsgi.input"]
    if environ.get("HTTP_TRANSFER_ENCODING") != "chunked":
        return bytes(stream.read(int(environ.get("CONTENT_LENGTH") or 0)))
    parts = []
    while size := int(stream.readline().split(b";")[0], 16):
        parts.append(stream.read(size))
        stream.readline()
    return b"".join(parts)


@contextlib.contextmanager
def dulwich_server(root: Path) -> Iterator[str]:
    """Serve the repositories below `root` by dulwich over the git protocol, and give the address."""
    server = TCPGitServer(FileSystemBackend(str(root)), "127.0.0.1", 0)
    with _served(server):
        yield f"git://127.0.0.1:{server.server_address[1]}{root}"


@contextlib.contextmanager
def path_server(root: Path) -> Iterator[str]:
    """Serve the repositories by their paths."""
    yield str(root)


@contextlib.contextmanager
def _served(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def bare(path: Path, source: Shell | None = None, *settings: str, object_format: str = "sha1") -> Shell:
    """Make a bare repository that takes pushes, as a forge has one; with the main branch of `source`."""
    path.mkdir(parents=True)
    made = Shell(path)
    made.git("init", "-q", "--bare", f"--object-format={object_format}")
    for setting in ("http.receivepack=true", *settings):
        made.git("config", *setting.split("=", 1))
    if source:
        source.git("push", "-q", str(path), "main")
    return made


def refusing(server: Shell, pattern: str, words: str = "not here") -> None:
    """Have a server refuse refs that a shell pattern matches."""
    hook = server.cwd / "hooks/update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f'#!/bin/sh\ncase $1 in {pattern}) echo "{words}" >&2; exit 1;; esac\n')
    hook.chmod(0o755)
