# SPDX-License-Identifier: Apache-2.0
"""What the benchmark of the structure graph measures; `psg.py` is the program."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from git_hmopt.psg.arguments import parser_arguments
from git_hmopt.psg.build import Update, update_graph
from git_hmopt.psg.compile_database import CompileDatabase, kbuild_database
from git_hmopt.psg.queries import Structure
from git_hmopt.store.graph import GraphFile
from git_hmopt.store.shards import opened_shards
from tests.benchmarks.table import Row
from tests.psg.plain_walk import as_plain, plain_edges, plain_parse
from tests.psg.structure_tree import unit_edges

NAME = "psg"
UNITS, FEW_UNITS = 600, 72
WALKED, FEW_WALKED = 24, 6
WORKERS = 2
"""Units whose edges are held against a plain walk, which takes four parses each."""


@dataclass
class Cpu:
    """What a block took, children included."""

    cpu_s: float = 0.0
    wall_s: float = 0.0


@contextmanager
def measured() -> Iterator[Cpu]:
    """Measure a block."""
    took, began, before = Cpu(), time.perf_counter(), _cpu()
    yield took
    took.cpu_s, took.wall_s = _cpu() - before, time.perf_counter() - began


def _cpu() -> float:
    both = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)


@dataclass(frozen=True)
class Subject:
    """What is measured: some units of a built tree."""

    root: Path
    build: Path
    files: tuple[str, ...]
    home: Path

    def database(self, files: Sequence[str] | None = None) -> CompileDatabase:
        """Return the compile commands of the units, or of some of them."""
        whole = kbuild_database(self.build, root=self.root)
        kept = {file: whole.command(file) for file in files or self.files}
        return CompileDatabase(kept, origin=whole.origin, outside=0)

    def update(self, name: str, files: Sequence[str] | None = None) -> Update:
        """Bring the graph called `name` up to date."""
        with opened_shards(self.home / f"{name}-shards.sqlite") as shards:
            return update_graph(
                self.database(files), root=self.root, graph=self.graph(name), shards=shards, workers=WORKERS
            )

    def graph(self, name: str) -> GraphFile:
        """Return the file of a graph."""
        return GraphFile(self.home / f"{name}.sqlite")


def chosen(root: Path, build: Path, count: int) -> tuple[str, ...]:
    """Return units drawn from the kernel's common folders, the same each time."""
    folders = ("kernel", "mm", "fs", "lib", "net", "block", "drivers", "init", "crypto", "security", "arch")
    whole = kbuild_database(build, root=root)
    files = [file for file in whole.files if file.split("/")[0] in folders and (root / file).is_file()]
    return tuple(sorted(random.Random(1).sample(files, min(count, len(files)))))


def parsing(subject: Subject) -> tuple[list[Row], float]:
    """Return what plain parsing costs, and that in seconds."""
    database = subject.database()
    with measured() as took:
        for file in subject.files:
            plain_parse(database.command(file))
    rows = [Row("units", len(subject.files), "1"), Row("plain parsing, CPU", round(took.cpu_s, 2), "s")]
    return rows, took.cpu_s


def building(subject: Subject, plain: float) -> list[Row]:
    """Return what the graph costs."""
    with measured() as took:
        done = subject.update("graph")
    if done.failed or done.with_errors:
        raise SystemExit(f"units do not parse: {[*done.failed, *done.with_errors][:5]}")
    # What is read once a tree is not a cost of the units.
    spent = took.cpu_s - done.text_cpu_s
    peak = (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        + WORKERS * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    )
    return [
        Row("graph, CPU", round(spent, 2), "s"),
        Row("graph, to plain parsing", round(spent / plain, 3), "x"),
        Row("graph, wall", round(took.wall_s, 2), "s"),
        Row("Kconfig, Makefiles, MAINTAINERS, guards, CPU", round(done.text_cpu_s, 2), "s"),
        Row("units parsed again without the precompiled header", done.without_precompiled, "1"),
        Row("memory of all processes, at most", round(peak / 1024), "MB"),
    ]


def walking(subject: Subject, count: int) -> list[Row]:
    """Return how the edges differ from a plain walk's."""
    database = subject.database()
    missing = extra = edges = 0
    files = random.Random(2).sample(subject.files, min(count, len(subject.files)))
    with subject.graph("graph").reading() as tables:
        assert tables is not None
        for file in files:
            found, wanted = as_plain(unit_edges(tables, file)), plain_edges(database.command(file))
            missing, extra, edges = missing + len(wanted - found), extra + len(found - wanted), edges + len(wanted)
    return [
        Row("units walked plainly", len(files), "1"),
        Row("edges of theirs", edges, "1"),
        Row("edges missing", missing, "1"),
        Row("edges too many", extra, "1"),
    ]


def editing(subject: Subject) -> list[Row]:
    """Return what an edit of one function costs, beyond a plain parse of its unit."""
    beyond = []
    for file in subject.files[:: max(1, len(subject.files) // 5)]:
        path = subject.root / file
        before = path.read_bytes()
        try:
            path.write_bytes(before.replace(b"\n}\n", b"\n\t;\n}\n", 1))
            with measured() as parse:
                plain_parse(subject.database((file,)).command(file))
            with measured() as update:
                done = subject.update("graph")
            if done.parsed != [file]:
                raise SystemExit(f"an edit of {file} had {done.parsed} parsed")
            beyond.append(update.wall_s - parse.wall_s)
        finally:
            path.write_bytes(before)
    subject.update("graph")
    with measured() as nothing:
        subject.update("graph")
    return [
        Row("an edit, beyond one parse", round(statistics.median(beyond), 3), "s"),
        Row("nothing changed", round(nothing.wall_s, 3), "s"),
    ]


def asking(subject: Subject) -> list[Row]:
    """Return how long a neighbourhood takes."""
    with subject.graph("graph").reading() as tables:
        assert tables is not None
        structure = Structure(tables)
        rows = tables.rows(
            "SELECT DISTINCT symbols.symbol FROM symbols JOIN definitions d ON d.symbol = id WHERE kind = 'function'"
        )
        functions = random.Random(3).sample(sorted(symbol for (symbol,) in rows), 300)
        took = []
        for function in functions:
            began = time.perf_counter()
            structure.neighbourhood([function], 1)
            took.append(1000 * (time.perf_counter() - began))
    took.sort()
    return [
        Row("a neighbourhood, median", round(statistics.median(took), 2), "ms"),
        Row("a neighbourhood, 95 of 100", round(took[len(took) * 95 // 100], 2), "ms"),
    ]


def clangd(subject: Subject, spent: float) -> list[Row]:
    """Return how the graph's cost stands to clangd's background index of the same units; nothing without clangd."""
    program = next((name for name in ("clangd-19", "clangd") if shutil.which(name)), None)
    if program is None:
        return []
    folder = subject.home / "clangd"
    folder.mkdir()
    database = subject.database()
    commands = [
        {"directory": str(command.directory), "file": str(command.path),
         "arguments": ["clang", *parser_arguments(command).accepted, str(command.path)]}
        for command in map(database.command, subject.files)
    ]  # fmt: skip
    (folder / "compile_commands.json").write_text(json.dumps(commands))
    with measured() as took:
        indexed = background_index(program, folder, database.command(subject.files[0]).path)
    if indexed < len(subject.files):
        raise SystemExit(f"clangd indexed {indexed} of {len(subject.files)} units")
    return [
        Row("clangd's background index, CPU", round(took.cpu_s, 2), "s"),
        Row("graph, to clangd's index", round(spent / took.cpu_s, 3), "x"),
    ]


def background_index(program: str, folder: Path, file: Path) -> int:
    """Have clangd index a compile database; return how many units it says it indexed."""
    argv = [program, f"--compile-commands-dir={folder}", "--background-index", "-j=2", "--log=error"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder, env=environment
    ) as server:
        assert server.stdin is not None and server.stdout is not None
        ask(server.stdin, "initialize", {"processId": None, "rootUri": folder.as_uri(),
                                         "capabilities": {"window": {"workDoneProgress": True}}}, 1)  # fmt: skip
        last = ""
        for message in answers(server.stdout):
            if message.get("id") == 1 and "result" in message:
                ask(server.stdin, "initialized", {})
                opened = {
                    "uri": file.as_uri(),
                    "languageId": "c",
                    "version": 1,
                    "text": file.read_text(errors="replace"),
                }
                ask(server.stdin, "textDocument/didOpen", {"textDocument": opened})
            elif message.get("method") == "window/workDoneProgress/create":
                body = {"jsonrpc": "2.0", "id": message["id"], "result": None}
                send(server.stdin, body)
            elif message.get("method") == "$/progress":
                value = message["params"]["value"]
                last = value.get("message", last)
                if value["kind"] == "end":
                    break
        ask(server.stdin, "shutdown", None, 2)
        ask(server.stdin, "exit", None)
        server.stdin.close()
        server.stdout.read()
    return int(last.partition("/")[2] or 0) if last else 0


def ask(stream: IO[bytes], method: str, parameters: Any, number: int | None = None) -> None:
    """Send a request, or a notification when it has no number (Language Server Protocol 3.17)."""
    body = {"jsonrpc": "2.0", "method": method, "params": parameters}
    send(stream, body if number is None else {**body, "id": number})


def send(stream: IO[bytes], body: dict[str, Any]) -> None:
    """Send one message."""
    data = json.dumps(body).encode()
    stream.write(b"Content-Length: %d\r\n\r\n" % len(data) + data)
    stream.flush()


def answers(stream: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the server's messages."""
    while header := stream.readline():
        length = int(header.partition(b":")[2]) if header.lower().startswith(b"content-length") else 0
        while header.strip():
            header = stream.readline()
        if length:
            yield json.loads(stream.read(length))


def rows(root: Path, build: Path, *, quick: bool) -> list[Row]:
    """Measure everything; with `quick` fewer units, and no clangd."""
    files = chosen(root, build, FEW_UNITS if quick else UNITS)
    with tempfile.TemporaryDirectory(prefix="hmopt-benchmark-") as scratch:
        subject = Subject(root, build, files, Path(scratch))
        found, plain = parsing(subject)
        found += building(subject, plain)
        spent = next(row.value for row in found if row.what == "graph, CPU")
        found += walking(subject, FEW_WALKED if quick else WALKED)
        found += editing(subject)
        found += asking(subject)
        found += [] if quick else clangd(subject, spent)
    return found
