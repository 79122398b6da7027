# SPDX-License-Identifier: Apache-2.0
"""A server on loopback that speaks the OpenAI chat protocol and says what a script tells it to; for tests and demos.

It holds no model. What it answers proves that the plumbing holds; a gain that a scripted patch measures is the patch's
author's, never a model's.

A script is a list of turns, taken one for each request (the last one again and again, or 500 when none is left and
`repeat` is off). A turn with `when` is only taken for a request that holds those words, so that each agent of a run can
have turns of its own. A turn says either what to answer or how to fail:

    answer, thinking, finish, model, usage      a streamed answer, and what is told about it
    status, error, headers                      a refusal
    hang, drip                                  seconds of silence, seconds between comments that are no answer
    cut                                         characters of the answer after which the connection breaks
    garbage                                     bytes in place of the stream
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

_PIECE = 64
"""Characters of an answer in one event."""


@dataclass
class Script:
    """The turns, and what was asked."""

    turns: Sequence[Mapping[str, Any]]
    repeat: bool = True
    requests: list[bytes] = field(default_factory=list)
    """Everything that came, head and body, in order."""
    ended: threading.Event = field(default_factory=threading.Event)
    _taken: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, request: bytes) -> Mapping[str, Any]:
        """Keep a request and return the turn that answers it."""
        text = request.decode("utf-8", "replace")
        with self._lock:
            self.requests.append(request)
            fitting = [number for number, turn in enumerate(self.turns) if str(turn.get("when", "")) in text]
            fresh = [number for number in fitting if number not in self._taken]
            if fresh:
                self._taken.add(fresh[0])
                return self.turns[fresh[0]]
        if self.repeat and fitting:
            return self.turns[fitting[-1]]
        return {"status": 500, "error": {"message": "the script has no turn for this request"}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        """List the models, as clients ask before they begin."""
        self.server.script.take(self._head())
        self._json(200, {"object": "list", "data": []})

    def do_POST(self) -> None:
        """Answer a request as the next turn says."""
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        turn = self.server.script.take(self._head() + body)
        try:
            asked = json.loads(body)
        except ValueError:
            self._json(400, {"error": {"message": "no JSON"}})
            return
        if "hang" in turn:
            self.server.script.ended.wait(float(turn["hang"]))
            self.close_connection = True
            return
        if "status" in turn:
            self._json(int(turn["status"]), {"error": turn.get("error", {})}, turn.get("headers", {}))
        elif self.path.endswith("/chat/completions"):
            self._stream(asked, turn)
        else:
            self._json(404, {"error": {"message": f"no such path: {self.path}"}})

    def _head(self) -> bytes:
        return f"{self.requestline}\r\n{self.headers}".encode("utf-8", "surrogateescape")

    def _json(self, status: int, value: object, headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, text in (headers or {}).items():
            self.send_header(name, str(text))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, asked: Mapping[str, Any], turn: Mapping[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for data in self._events(asked, turn):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
                self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
            return
        if "cut" in turn:
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    def _events(self, asked: Mapping[str, Any], turn: Mapping[str, Any]) -> Iterator[bytes]:
        if "garbage" in turn:
            garbage = turn["garbage"]
            yield garbage if isinstance(garbage, bytes) else str(garbage).encode()
            return
        if "drip" in turn:
            while not self.server.script.ended.wait(float(turn["drip"])):
                yield b": still here\n\n"
            return
        model = turn.get("model", asked.get("model", ""))
        answer, thinking = str(turn.get("answer", "")), str(turn.get("thinking", ""))
        for name, text in (("reasoning_content", thinking), ("content", answer)):
            text = text[: int(turn["cut"])] if "cut" in turn and name == "content" else text
            for start in range(0, len(text), _PIECE):
                yield _event(
                    model, [{"index": 0, "delta": {name: text[start : start + _PIECE]}, "finish_reason": None}]
                )
        if "cut" in turn:
            return
        yield _event(model, [{"index": 0, "delta": {}, "finish_reason": turn.get("finish", "stop")}])
        if "usage" in turn:
            yield _event(model, [], usage=turn["usage"])
        yield b"data: [DONE]\n\n"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: what was asked is kept."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, script: Script, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.script = script

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that leaves before its answer, as one does that waited too long."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _event(model: str, choices: Sequence[Mapping[str, Any]], usage: Mapping[str, Any] | None = None) -> bytes:
    chunk: dict[str, Any] = {
        "id": "chatcmpl-script", "object": "chat.completion.chunk", "created": int(time.time()), "model": model,
        "choices": list(choices), "usage": usage,
    }  # fmt: skip
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


@contextmanager
def serving(script: Script, *, port: int = 0) -> Iterator[str]:
    """Serve a script on loopback and give the base address, up to /v1."""
    server = _Server(script, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        script.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the turns of a YAML file until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", type=Path, help="a YAML list of turns")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args(arguments)
    turns = yaml.safe_load(options.script.read_text(encoding="utf-8"))
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        print(f"{options.script} is no list of turns", file=sys.stderr)
        return 129
    with serving(Script(turns), port=options.port) as url:
        print(url, flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
