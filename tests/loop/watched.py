# SPDX-License-Identifier: Apache-2.0
"""`git hmopt` whose sockets are watched: `python -m tests.loop.watched FILE ARGUMENTS...` writes each use to FILE.

Names below `.invalid`, which are nobody's (RFC 6761), stand for the loopback: a gateway outside, with nothing sent out.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

from git_hmopt.cli.main import main

_WATCHED = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg")


def _watch(file: Path) -> None:
    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in _WATCHED:
            with file.open("a") as stream:
                stream.write(f"{event} {arguments[-1] if event == 'socket.connect' else arguments[0]}\n")

    asked = socket.getaddrinfo

    def resolved(host: Any, *arguments: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        return asked("127.0.0.1" if name.endswith(".invalid") else host, *arguments, **named)

    socket.getaddrinfo = resolved
    file.touch()
    sys.addaudithook(hook)


if __name__ == "__main__":
    _watch(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
