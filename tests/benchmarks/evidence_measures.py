# SPDX-License-Identifier: Apache-2.0
"""What the benchmark of evidence packs measures; `evidence.py` is the program."""

from __future__ import annotations

import resource
import statistics
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from git_hmopt.agents.playbook.registry import by_class
from git_hmopt.evidence.pack import build_pack
from git_hmopt.evidence.prompt import render
from git_hmopt.evidence.retrieval import Retrieval
from git_hmopt.evidence.strategies import shipped
from git_hmopt.loop.nodes.profile import Profile, rank_profile
from git_hmopt.psg.compile_database import CompileDatabase, load_database
from git_hmopt.psg.queries import Structure
from git_hmopt.psg.unit import Unit, parse_unit
from git_hmopt.records.evidence import Attempt, EvidencePack
from git_hmopt.records.run import Objective
from git_hmopt.records.words import Oid, RunId, Verdict
from git_hmopt.runtime.ranking import Ranked
from git_hmopt.search.retrieval import Question, search
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.repository import Repository
from git_hmopt.store.search import Kind
from tests.benchmarks.made_kernel import (
    HEADER,
    MadeKernel,
    folded_stacks,
    made_kernel,
    made_kpis,
    self_count_lines,
    symbol_lines,
)
from tests.benchmarks.table import Row
from tests.psg.structure_tree import Tree, tree_in
from tests.report.story_operations import delta, evaluation_data, hotspot_data, patch_data, run_data

NAME = "evidence"
RUN = "20260131-made-0a1b2c"
HOTSPOTS = 5
ATTEMPTS = 20
KPIS = 400
CHANGES = 6
"""What an earlier run judged."""
TOKENS = (500, 8000, 100_000)
"""Budgets of prompts."""


@dataclass(frozen=True)
class Size:
    """How much is made."""

    files: int
    functions: int
    stacks: int
    symbols: int
    runs: int
    rounds: int


FULL = Size(files=160, functions=40, stacks=20_000, symbols=90_000, runs=300, rounds=9)
QUICK = Size(files=96, functions=40, stacks=8000, symbols=60_000, runs=100, rounds=3)


@dataclass
class Subject:
    """A made run: a committed tree with its structure graph, and captures in the artifact store."""

    kernel: MadeKernel
    tree: Tree
    repository: Repository
    head: Oid
    recorded: dict[str, Any]
    database: CompileDatabase
    units: dict[str, Unit] = field(default_factory=dict)

    def unit(self, path: str) -> Unit:
        """Return a parsed unit; as in a run each is parsed once."""
        if path not in self.units:
            self.units[path] = parse_unit(self.database.command(path))
        return self.units[path]

    def blob(self, path: str) -> tuple[str, bytes] | None:
        """Return a file as a run reads it."""
        entry = self.repository.find_entry(self.head, path)
        return None if entry is None else (entry.oid, self.repository.read_blob(entry.oid))

    def analysed(self) -> tuple[Profile, Sequence[Ranked]]:
        """Return a fresh profile and its ranking."""
        profile = Profile(ArtifactStore.of(self.repository), self.recorded)
        return profile, rank_profile(profile, {HEADER}).ranked

    def parse_hotspots(self, profile: Profile, ranked: Sequence[Ranked]) -> None:
        """Parse what the pack will look at; the parsed unit is what the playbook needs as well."""
        for item in ranked[:HOTSPOTS]:
            place = profile.locate(item.symbol)
            if place is None:
                raise SystemExit(f"'{item.symbol}' is not located")
            self.unit(place.file)

    def pack(self, profile: Profile, ranked: Sequence[Ranked], structure: Structure) -> EvidencePack:
        """Return the pack."""
        return build_pack(
            RUN, "made", self.head, self.repository.tree_of(self.head), Objective(metric="time"), ranked,
            profile.locate, self.unit, self.blob, profile.time, profile.self_counts, attempts(self.kernel.hot),
            profile.artifacts, HOTSPOTS, strategies=by_class(), templates=shipped(), kpis=made_kpis(KPIS),
            structure=structure, retrieve=Retrieval(self.repository, RunId(RUN), "made", self.head),
        )  # fmt: skip


def subject_in(folder: Path, size: Size) -> Subject:
    """Make the run in `folder`."""
    kernel = made_kernel(files=size.files, functions=size.functions, hot=HOTSPOTS)
    tree = tree_in(folder, kernel.files)
    tree.compiled, tree.flags = list(kernel.compiled), ("-Iinclude", "-include", "include/generated/autoconf.h")
    done = tree.update(workers=2)
    if done.failed or done.with_errors:
        raise SystemExit(f"the made tree does not parse: {done.failed} {done.with_errors}")
    author = ("-c", "user.name=b", "-c", "user.email=b@example.org")
    for argv in (("init", "-q"), ("add", "-A"), (*author, "commit", "-qm", "made")):
        subprocess.run(["git", *argv], cwd=tree.root, check=True)
    repository = Repository.open(tree.root)
    texts = {
        "folded": folded_stacks(kernel, stacks=size.stacks),
        "self-counts": self_count_lines(kernel),
        "symbols": symbol_lines(kernel, others=size.symbols),
    }
    captures = [captured(ArtifactStore.of(repository), kind, lines) for kind, lines in texts.items()]
    remember_runs(repository, kernel, size.runs)
    database = load_database(tree.root / "compile_commands.json", root=tree.root)
    return Subject(kernel, tree, repository, repository.resolve("HEAD"), {"captures": captures}, database)


def remember_runs(repository: Repository, kernel: MadeKernel, count: int) -> None:
    """Record runs on the tree's functions, each with changes that were judged."""
    functions = sorted(kernel.places)
    for number in range(count):
        run = RunId(f"20260101-made-{number:06x}")
        spots = [functions[(number * 37 + place * 101) % len(functions)] for place in range(HOTSPOTS)]
        drafts = [OpDraft("run.created", "init_run", data=run_data(name=run))]
        drafts.append(OpDraft("hotspots.ranked", "profile", data=hotspot_data(*spots)))
        for iteration in range(1, CHANGES + 1):
            change = delta("-0.01", "-0.02", "0.01")
            data = evaluation_data(iteration, Verdict.NO_CHANGE, change, run=run)
            patch = patch_data(iteration, symbol=spots[iteration % HOTSPOTS])
            drafts.append(OpDraft("patch.proposed", "coder", iteration, data=patch))
            drafts.append(OpDraft("patch.judged", "judge", iteration, data=data))
        Journal(repository).append(run, drafts)
    # Each of those runs indexed the ones before it.
    search(repository, Question("anything", (Kind.TRACES, Kind.FIXES)))


def captured(artifacts: ArtifactStore, kind: str, lines: Iterable[str]) -> dict[str, str]:
    """Store a capture; return what a run records of it."""
    kept = artifacts.put_bytes("".join(lines).encode(), kind="capture", name=kind, media_type="text/plain")
    return {"profiler": "made", "kind": kind, "artifact": kept.sha256, "root": ""}


def attempts(symbols: Sequence[str]) -> dict[str, list[Attempt]]:
    """Return what was tried on each symbol before."""
    reason = "time -0.1 % [-0.4, +0.2]: within the noise of layouts"
    return {
        symbol: [
            Attempt(run=RUN, iteration=number, strategy="outline-cold", verdict="no-change", reason=reason)
            for number in range(ATTEMPTS)
        ]
        for symbol in symbols
    }


def packing(subject: Subject, rounds: int) -> tuple[list[Row], EvidencePack]:
    """Return what packs cost, and one."""
    ranking, took, packs = [], [], []
    with subject.tree.graph.reading() as tables:
        assert tables is not None
        structure = Structure(tables)
        for _ in range(rounds + 1):
            began = time.process_time()
            profile, ranked = subject.analysed()
            ranking.append(time.process_time() - began)
            subject.parse_hotspots(profile, ranked)
            began = time.process_time()
            packs.append(subject.pack(profile, ranked, structure))
            took.append(time.process_time() - began)
        functions = structure.statistics()["function"]
    pack = packs[0]
    if {one.canonical() for one in packs} != {pack.canonical()}:
        raise SystemExit("packs of the same inputs are not the same bytes")
    if any(one.source is None or not one.attempts or not one.runtime for one in pack.hotspots):
        raise SystemExit("a hotspot of the pack lacks what was made for it")
    assert profile.time is not None and profile.time.edge_cost is not None
    rows = [
        Row("functions in the structure graph", functions, "1"),
        Row("edges of the call graph", len(profile.time.edge_cost), "1"),
        Row("hotspots", len(pack.hotspots), "1"),
        Row("parsing and ranking the captures, CPU time", round(statistics.median(ranking[1:]), 3), "s"),
        Row(f"a pack of {HOTSPOTS} hotspots, CPU time", round(statistics.median(took[1:]), 3), "s"),
        Row(f"a pack of {HOTSPOTS} hotspots, CPU time of the first, which indexes their code", round(took[0], 3), "s"),
        Row("its size", round(len(pack.canonical()) / 1e6, 3), "MB"),
    ]
    return rows, pack


def prompting(pack: EvidencePack, rounds: int) -> list[Row]:
    """Return what prompts of a pack cost."""
    found = []
    for tokens in TOKENS:
        took = []
        for _ in range(rounds):
            began = time.process_time()
            render(pack, max_tokens=tokens)
            took.append(time.process_time() - began)
        found.append(Row(f"a prompt of {tokens} tokens, CPU time", round(1000 * statistics.median(took), 2), "ms"))
    return found


def rows(folder: Path, size: Size) -> list[Row]:
    """Measure everything."""
    subject = subject_in(folder, size)
    packed, pack = packing(subject, size.rounds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return [*packed, *prompting(pack, size.rounds), Row("memory at most", round(peak / 1024), "MB")]
