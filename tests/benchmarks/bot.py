# SPDX-License-Identifier: Apache-2.0
"""How fast webhooks are acknowledged: 200 a second for 10 s, on loopback, by a server in a process of its own.

`python tests/benchmarks/bot.py [--quick] [--json]`; exits 1 when a budget is missed. A delivery is sent at its time
whether or not the one before was answered, and its latency counts from that time: a server that falls behind does not
slow down who measures it (coordinated omission). Every delivery is signed and as large as a pull request's. The server
is killed (kill -9) after the last answer, and all of them must be in the queue. What a plain write with fsync took just
before is told beside it: the disk's own part.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from git_hmopt.store.queue import Queue, State  # noqa: E402 - the path above makes it importable
from git_hmopt.store.repository import Repository  # noqa: E402
from hmopt_bot.work.job import queue_directory  # noqa: E402
from tests.benchmarks.table import Row, benchmark_parser, told  # noqa: E402
from tests.bot.forges.deliveries import GITHUB_PULL, changed, sent  # noqa: E402
from tests.bot.web.serving import command, forges_file  # noqa: E402
from tests.loop.project import Project, make_project  # noqa: E402

NAME = "bot"
A_SECOND = 200
SECONDS, QUICK_S = 10, 3
CONNECTIONS = 32
PAYLOAD_BYTES = 24_000


@dataclass(frozen=True)
class Came:
    """What came of the deliveries."""

    latencies_ms: list[float]
    statuses: list[int]


def request(number: int, host: str) -> bytes:
    """Return a delivery as it goes over the wire."""
    body = changed(changed(GITHUB_PULL, "number", 1 + number % 300), "pull_request.id", number)
    # A real one describes two repositories in a hundred fields each.
    body["pull_request"]["head"]["repo"].update(
        {f"{key}_url": "https://forge.example/" + "x" * 70 for key in range(240)}
    )
    delivery = sent("github", "pull_request", body, id=f"delivery-{number}")
    assert len(delivery.body) >= PAYLOAD_BYTES
    headers = {"Host": host, "Content-Length": str(len(delivery.body)), **delivery.headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /webhooks/github HTTP/1.1\r\n{head}\r\n".encode() + delivery.body


async def answered(reader: asyncio.StreamReader) -> int:
    """Read one answer and return its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(length)
    return int(head[9:12])


async def send_all(host: str, port: int, requests: list[bytes]) -> Came:
    """Send each delivery at its time over kept connections; return the times from then to its answer."""
    connections = [await asyncio.open_connection(host, port) for _ in range(CONNECTIONS)]
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for one in connections:
        free.put_nowait(one)
    came = Came([], [])
    began = time.perf_counter() + 0.2

    async def one_delivery(number: int, data: bytes) -> None:
        due = began + number / A_SECOND
        await asyncio.sleep(due - time.perf_counter())
        reader, writer = await free.get()
        writer.write(data)
        status = await answered(reader)
        came.latencies_ms.append((time.perf_counter() - due) * 1e3)
        came.statuses.append(status)
        free.put_nowait((reader, writer))

    await asyncio.gather(*(one_delivery(number, data) for number, data in enumerate(requests)))
    for _, writer in connections:
        writer.close()
    return came


def write_ms(directory: Path) -> float:
    """Return what a small write with fsync takes on this disk, the median of 20."""
    times = []
    with (directory / "written").open("wb", buffering=0) as stream:
        for _ in range(20):
            began = time.perf_counter()
            stream.write(b"x" * 4096)
            os.fsync(stream.fileno())
            times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times)


def kept(project: Project) -> int:
    """Return how many deliveries are in the queue."""
    with Queue(queue_directory(Repository.open(project.root))) as queue:
        return queue.counts()[State.WAITING]


def main() -> int:
    """Measure, print, and return 1 when a budget is missed."""
    options = benchmark_parser(__doc__).parse_args()
    count = A_SECOND * (QUICK_S if options.quick else SECONDS)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        project = make_project(directory)
        project.git("config", "hmopt.serve.forges", str(forges_file(directory)))
        with command(project, "--workers", "0") as server:
            host, _, port = server.url.removeprefix("http://").rpartition(":")
            requests = [request(number, f"{host}:{port}") for number in range(count)]
            disk = write_ms(directory)
            came = asyncio.run(send_all(host, int(port), requests))
            # What is not in the file by now was acknowledged too early.
            server.process.send_signal(signal.SIGKILL)
            server.process.communicate()
        lost = count - kept(project)
    latencies = sorted(came.latencies_ms)
    rows = [
        Row("acknowledged, 95 of 100", round(latencies[int(0.95 * len(latencies)) - 1], 2), "ms"),
        Row("acknowledged, median", round(statistics.median(latencies), 2), "ms"),
        Row("acknowledged, the slowest", round(latencies[-1], 2), "ms"),
        Row("not acknowledged", count - came.statuses.count(202), ""),
        Row("lost", lost, ""),
        Row("deliveries", count, ""),
        Row("a write of the disk, median", round(disk, 3), "ms"),
    ]
    return told(NAME, rows, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
