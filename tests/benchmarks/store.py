# SPDX-License-Identifier: Apache-2.0
"""What the store costs with many runs: list, append, rebuild, refresh, the user's own fetch, and many notes.

`python tests/benchmarks/store.py [--quick] [--json]`; exits 1 when a budget is missed. 10,000 runs of 10 operations,
1,000 when quick, written as the journals write them but in a few packs. Budgets are of the whole; quick ones are held
to the same numbers. What is compared (append, fetch) is measured in turns, so that a busy machine slows both.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from git_hmopt.records.base import canonical_json  # noqa: E402 - the path above makes it importable
from git_hmopt.records.run import NodeRecord  # noqa: E402
from git_hmopt.records.words import NOTES_METRICS, Oid, RunId, journal_ref  # noqa: E402
from git_hmopt.store.cache import Cache  # noqa: E402
from git_hmopt.store.journal import Journal, OpDraft  # noqa: E402
from git_hmopt.store.notes import NoteDraft, Notes  # noqa: E402
from git_hmopt.store.objects import FILE, TOOL, ObjectBatch, TreeEntry, format_commit  # noqa: E402
from git_hmopt.store.repository import RefUpdate, Repository  # noqa: E402
from tests.benchmarks.table import Row, benchmark_parser, told  # noqa: E402
from tests.store.repositories import (  # noqa: E402
    Shell,
    evaluation_record,
    make_repository,
    metric_record,
    run_record,
)

NAME = "store"
TOOL_PATH = str(Path(sys.executable).with_name("git-hmopt"))
WRITER = "bbbbbbbb-0000-4000-8000-000000000000"
OPERATIONS = 10
FEW = 10
NOTES = 2000
AT_ONCE = 500
"""Runs that are written as one pack: as a user's fetches bring them."""
SECONDS = 1_767_225_600


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    runs: int
    appends: int
    rounds: int


def run_name(number: int) -> RunId:
    """Return a run's name."""
    return RunId(f"20260101-scan-{number:06x}")


def operations(run: RunId, number: int) -> list[dict[str, Any]]:
    """Return what the ten operations of a run say: its begin, four candidates with numbers and verdicts, its end."""
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(SECONDS + number))
    record = run_record(run, created=created, workload="scan").model_dump(mode="json")
    steps: list[tuple[str, int, dict[str, Any]]] = [("run.created", 0, {"run": record})]
    for iteration in range(1, (OPERATIONS - 2) // 2 + 1):
        metrics = [_metric(run, number, iteration, side) for side in (0, 1)]
        evaluation = _EVALUATION | {"run": run, "iteration": iteration}
        message = {
            "v": 1, "iteration": iteration, "agent": "conductor", "role": "decision", "text": "next", "data": {},
        }  # fmt: skip
        steps.append(("decided", iteration, {"message": message, "took": _TOOK}))
        judged = {"evaluation": evaluation, "metrics": metrics, "took": _TOOK | {"node": "profile_candidate"}}
        steps.append(("patch.judged", iteration, judged))
    steps.append(("run.closed", 0, {"status": "succeeded"}))
    return [
        {"v": 1, "op": op, "run": run, "writer": WRITER, "iter": iteration, "node": "bench", "attempt": 0,
         "lamport": lamport, "at": created, "data": data}
        for lamport, (op, iteration, data) in enumerate(steps, start=1)
    ]  # fmt: skip


_METRIC = metric_record().model_dump(mode="json")
_GATES = ("apply", "policy", "build", "tests", "checkpatch", "outputs", "measure", "guards")
_EVALUATION = evaluation_record().model_dump(mode="json") | {
    "checks": [{"name": gate, "passed": True, "detail": f"{gate}: nothing to say against it"} for gate in _GATES]
}
_TOOK = NodeRecord(node="conductor_decide", iteration=1, outcome="ok", wall_s="81.25", cpu_s="0.412").model_dump(
    mode="json"
)


def _metric(run: RunId, number: int, iteration: int, side: int) -> dict[str, Any]:
    return _METRIC | {"run": run, "value": str(1000 + number + iteration + side)}


def write_runs(repository: Repository, numbers: range) -> None:
    """Write journals of runs, all at once."""
    batch = ObjectBatch(repository.objects)
    updates = []
    for number in numbers:
        run = run_name(number)
        head: Oid | None = None
        for fields in operations(run, number):
            blob = batch.add("blob", canonical_json(fields).encode() + b"\n")
            tree = batch.add_tree([TreeEntry(FILE, blob, "op.json")])
            message = f"{fields['op']} (run {run}, iteration {fields['iter']})"
            head = batch.add("commit", format_commit(tree, [head] if head else [], message, TOOL, SECONDS + number))
        updates.append(RefUpdate(journal_ref(run, WRITER), head, None))
    batch.flush()
    repository.update_refs(updates)


def timed(act: Callable[[], object]) -> float:
    """Return the wall seconds something takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def command(shell: Shell, *argv: str) -> Callable[[], object]:
    """Return what runs a command in a repository as a user does."""
    return lambda: subprocess.run(argv, cwd=shell.cwd, capture_output=True, check=True)


def appends(few: Repository, many: Repository, count: int) -> tuple[float, float]:
    """Return the median seconds of appending one operation where there are few runs, and where there are many.

    In each the journal is a run's own that goes on, as in the loop; the two take turns.
    """
    journals = [Journal(few), Journal(many)]
    seconds: list[list[float]] = [[], []]
    for number in range(count + 1):
        for journal, found in zip(journals, seconds, strict=True):
            draft = OpDraft("comment", "review", attempt=number, data={"text": f"step {number}"})
            found.append(timed(lambda journal=journal, draft=draft: journal.append(run_name(0), [draft])))  # type: ignore[misc]
    # The first reads the journal that it goes on with.
    return statistics.median(seconds[0][1:]), statistics.median(seconds[1][1:])


def fetches(clones: Sequence[Shell], rounds: int) -> list[float]:
    """Return the median seconds of the user's own `git fetch` in each clone, where nothing is new; they take turns."""
    seconds: list[list[float]] = [[] for _ in clones]
    for _ in range(rounds + 1):
        for shell, found in zip(clones, seconds, strict=True):
            found.append(timed(command(shell, "git", "fetch", "-q", "origin")))
    return [statistics.median(found[1:]) for found in seconds]


def noted(shell: Shell) -> tuple[float, float]:
    """Return the seconds and the MB on disk that many notes take, written as one batch."""
    repository = Repository.open(shell.cwd)
    commits = [Oid(hashlib.sha1(b"%d" % number).hexdigest()) for number in range(NOTES)]
    drafts = [NoteDraft(one, "2026-01-31T12:00:00Z", _METRIC | {"commit": one}) for one in commits]
    before = _bytes_below(shell.cwd / ".git")
    seconds = timed(lambda: Notes(repository, NOTES_METRICS).append(drafts))
    return seconds, (_bytes_below(shell.cwd / ".git") - before) / 1e6


def _bytes_below(directory: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())


def measured(scratch: Path, size: Size) -> list[Row]:
    """Return the table."""
    few, many = (make_repository(scratch / name) for name in ("few", "many"))
    wrote = timed(lambda: _filled(many, size.runs))
    _filled(few, FEW)
    for shell in (few, many):
        shell.git("pack-refs", "--all")
    repository = Repository.open(many.cwd)
    cache = Cache(repository)
    rebuild = timed(cache.rebuild)
    rows = [
        Row("writing the runs", round(wrote, 2), "s"),
        Row("cache rebuild", round(rebuild, 2), "s"),
        Row("cache on disk", round(cache.path.stat().st_size / 1e6, 2), "MB"),
        *_listing(many, size),
        *_refreshing(repository, cache, size),
    ]
    of_few, of_many = appends(Repository.open(few.cwd), repository, size.appends)
    rows += [
        Row("append, median", round(1000 * of_many, 2), "ms"),
        Row(f"append beside {FEW} runs, median", round(1000 * of_few, 2), "ms"),
        Row("append, ratio to few runs", round(of_many / of_few, 2), "x"),
        *_fetching(scratch, many, size),
    ]
    seconds, megabytes = noted(make_repository(scratch / "notes"))
    return [
        *rows,
        Row(f"{NOTES} notes", round(seconds, 2), "s"),
        Row(f"{NOTES} notes on disk", round(megabytes, 2), "MB"),
    ]


def _filled(shell: Shell, runs: int) -> None:
    repository = Repository.open(shell.cwd)
    for start in range(0, runs, AT_ONCE):
        write_runs(repository, range(start, min(start + AT_ONCE, runs)))


def _listing(shell: Shell, size: Size) -> Iterator[Row]:
    lists = {
        "list": [TOOL_PATH, "list"],
        "list --verdict improved -n 20": [TOOL_PATH, "list", "--verdict", "improved", "-n", "20"],
        "list --since --workload": [TOOL_PATH, "list", "--since", "2026-01-01", "--workload", "scan"],
        "stats": [TOOL_PATH, "stats"],
        "sql, a count by verdict": [TOOL_PATH, "sql", "SELECT verdict, count(*) FROM verdicts GROUP BY verdict"],
    }
    for what, argv in lists.items():
        seconds = [timed(command(shell, *argv)) for _ in range(size.rounds + 1)][1:]
        yield Row(what, round(statistics.median(seconds), 3), "s")


def _refreshing(repository: Repository, cache: Cache, size: Size) -> Iterator[Row]:
    """Yield what it takes to take in nothing, one run and a tenth more: proportional to what is new."""
    yield Row("refresh, nothing new", round(timed(cache.refresh), 3), "s")
    write_runs(repository, range(size.runs, size.runs + 1))
    one = timed(cache.refresh)
    tenth = size.runs // 10
    write_runs(repository, range(size.runs + 1, size.runs + 1 + tenth))
    many = timed(cache.refresh)
    yield Row("refresh, one new run", round(one, 3), "s")
    yield Row("refresh, a tenth more runs", round(many, 3), "s")
    yield Row("refresh, a new run of a tenth more", round(1000 * many / tenth, 3), "ms")


def _fetching(scratch: Path, many: Shell, size: Size) -> Iterator[Row]:
    """Yield the user's own fetch from a remote with the runs, without them here and with, against one without any.

    With the runs here git itself walks from every ref it has before it believes that nothing is missing, and a ref of
    ours costs it microseconds (less with a commit-graph, which `git gc` writes).
    """
    plain = make_repository(scratch / "upstream")
    clones = []
    for name, upstream in (("none", plain), ("there", many), ("here", many)):
        clone = Shell(scratch / f"clone-{name}")
        many.git("clone", "-q", upstream.cwd.as_uri(), str(clone.cwd))
        clones.append(clone)
    clones[-1].git("fetch", "-q", "origin", "refs/hmopt/*:refs/hmopt/*")
    clones[-1].git("pack-refs", "--all")
    none, there, here = fetches(clones, size.rounds)
    clones[-1].git("commit-graph", "write", "--reachable")
    graphed = fetches(clones, size.rounds)[-1]
    yield Row("plain git fetch", round(none, 3), "s")
    yield Row("plain git fetch, runs at the remote, ratio", round(there / none, 2), "x")
    yield Row("plain git fetch, runs here, more by", round(here - none, 3), "s")
    yield Row("plain git fetch, runs here, ratio", round(here / none, 2), "x")
    yield Row("the same with a commit-graph, ratio", round(graphed / none, 2), "x")


@contextlib.contextmanager
def sealed(scratch: Path) -> Iterator[None]:
    """Give git a home with an identity and nothing else."""
    home = scratch / "home"
    home.mkdir()
    settings = "[user]\n\tname = Test\n\temail = test@example.org\n[init]\n\tdefaultBranch = main\n[gc]\n\tauto = 0\n"
    (home / ".gitconfig").write_text(settings)
    for name in [name for name in os.environ if name.startswith(("GIT_", "XDG_"))]:
        del os.environ[name]
    os.environ |= {"HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1"}
    yield


def main() -> int:
    """Measure, print, and return 1 when a budget is missed."""
    options = benchmark_parser(__doc__).parse_args()
    size = Size(runs=1000, appends=30, rounds=5) if options.quick else Size(runs=10_000, appends=200, rounds=15)
    with tempfile.TemporaryDirectory(prefix="hmopt-benchmark-") as scratch, sealed(Path(scratch)):
        rows = measured(Path(scratch), size)
    return told(NAME, rows, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
