# SPDX-License-Identifier: Apache-2.0
"""How fast webhooks are acknowledged (200 a second for 10 s, on loopback, by a server in a process of its own), and how
long the static impact of a pull request to a kernel takes.

`python tests/benchmarks/bot.py [--tree T] [--quick] [--json]`; exits 1 when a budget is missed. T is a checkout of
Linux 6.1 in which runs left their graph and profiles (`tests/kernel/run` makes it, and gives its place by
HMOPT_KERNEL_CACHE, which is the default); without one the impact is skipped. It is only read. A delivery is sent at
its time whether or not the one before was answered, and its latency counts from that time: a server that falls behind
does not slow down who measures it (coordinated omission). Every delivery is signed and as large as a pull request's.
The server is killed (kill -9) after the last answer, and all of them must be in the queue. What a plain write with
fsync took just before is told beside it: the disk's own part.
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

from git_hmopt.records.words import Oid  # noqa: E402 - the path above makes it importable
from git_hmopt.store.queue import Queue, State  # noqa: E402
from git_hmopt.store.repository import Repository  # noqa: E402
from hmopt_bot.pulls.impact import static_impact  # noqa: E402
from hmopt_bot.pulls.impact_text import impact_markdown  # noqa: E402
from hmopt_bot.work.job import queue_directory  # noqa: E402
from tests.benchmarks.table import Row, benchmark_parser, told  # noqa: E402
from tests.bot.forges.deliveries import GITHUB_PULL, changed, sent  # noqa: E402
from tests.bot.web.serving import command, forges_file  # noqa: E402
from tests.kernel.twenty_files import HEAD, twenty_files  # noqa: E402
from tests.loop.project import Project, make_project  # noqa: E402

NAME = "bot"
IMPACT = "static impact of 20 files of a kernel"
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


def kernel_tree(named: Path | None) -> Path | None:
    """Return the kernel that was named, else that of the kernel tests; None where there is none."""
    cache = os.environ.get("HMOPT_KERNEL_CACHE")
    found = named or (Path(cache) / "linux" if cache else None)
    return found if found is not None and (found / ".git/hmopt/structure").is_dir() else None


def impact_rows(tree: Path) -> list[Row]:
    """Measure the static impact of twenty files and its Markdown, with the graph as runs left it."""
    repository = Repository.open(tree)
    base = repository.resolve("HEAD")
    changes = twenty_files(repository, base)
    began = time.perf_counter()
    impact = static_impact(repository, changes, base=base, head=Oid(HEAD))
    text = impact_markdown(impact)
    took = time.perf_counter() - began
    if not impact.graphs or not impact.measured:
        raise SystemExit(f"'{tree}' has no graph, or no profile: run tests/kernel/run first")
    return [
        Row(IMPACT, round(took, 2), "s"),
        Row("symbols it touches", len(impact.touched), ""),
        Row("the comment, size", round(len(text.encode()) / 1000, 1), "kB"),
    ]


def main() -> int:
    """Measure, print, and return 1 when a budget is missed."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--tree", type=Path, metavar="T", help="a checkout of Linux 6.1 with runs and their graph")
    options = parser.parse_args()
    tree = kernel_tree(options.tree)
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
        *(impact_rows(tree) if tree is not None else ()),
    ]
    skipped = {} if tree is not None else {IMPACT: "no kernel with runs here: --tree, or HMOPT_KERNEL_CACHE"}
    return told(NAME, rows, as_json=options.json, skipped=skipped)


if __name__ == "__main__":
    sys.exit(main())
