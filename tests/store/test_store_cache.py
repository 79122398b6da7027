# SPDX-License-Identifier: Apache-2.0
"""The cache: derived, incremental, identical when rebuilt, and cheap when nothing changed."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import get_args

import apsw
import pytest

from git_hmopt.errors import StoreError, UsageError
from git_hmopt.records.base import Record
from git_hmopt.records.run import (
    AgentMessage,
    ArtifactRecord,
    CutoffRecord,
    Delta,
    EvaluationRecord,
    GraphRecord,
    HotspotRecord,
    MetricRecord,
    NodeRecord,
    PatchRecord,
    RetractionRecord,
    RunRecord,
)
from git_hmopt.records.words import RunId, RunStatus, journal_ref
from git_hmopt.store.cache import TABLES as SCHEMA_TABLES
from git_hmopt.store.cache import Cache, Refreshed
from git_hmopt.store.chain import CUT, OTHER_JOURNAL
from git_hmopt.store.fold import RUN_COLUMNS, TABLES
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.queries import RunRow, find_run, list_runs, skipped_in_all, trace_rows
from git_hmopt.store.repository import RefUpdate, Repository
from tests.store.repositories import (
    BOB,
    OTHER_RUN,
    RUN,
    Shell,
    artifact_record,
    evaluation_record,
    fields,
    finish,
    foreign,
    metric_record,
    run_record,
    start_python,
)

HOTSPOT = HotspotRecord(
    symbol="do_swap",
    file="lib/sort.c",
    first_line=1,
    last_line=9,
    score="0.31",
    ranker="self",
    unit="1",
    resolved_by="psg",
)
GRAPH = GraphRecord(kind="psg", artifact="e" * 64, nodes=3, edges=2, skipped={"no definition": 1})
PATCH = PatchRecord(
    iteration=1,
    parent="c" * 40,
    commit="a" * 40,
    tree="b" * 40,
    patch_id=None,
    title="lib/sort: swap words",
    rationale="bytes are slow",
    strategy="word-at-a-time",
    proposer="playbook",
    symbol="do_swap",
    files=("lib/sort.c",),
    diff=None,
)
MESSAGE = AgentMessage(iteration=1, agent="conductor", role="decision", text="do_swap first", data={"why": "heat"})


def record_run(journal: Journal, run: RunId, *, created: str = "2026-01-31T10:00:00Z") -> None:
    """Record a small run with one of everything."""
    record = run_record(run, created=created, workload=run[9:-7])
    journal.append(run, [OpDraft("run.created", "init_run", data={"run": record.model_dump(mode="json")})])
    step = [
        OpDraft("artifact.stored", "build", data={"artifact": artifact_record().model_dump(mode="json")}),
        OpDraft("hotspots.ranked", "rank", data={"hotspots": [HOTSPOT.model_dump(mode="json")]}),
        OpDraft("graph.stored", "psg", data={"graph": GRAPH.model_dump(mode="json")}),
        OpDraft("decided", "conductor", iter=1, data={"message": MESSAGE.model_dump(mode="json")}),
        OpDraft("patch.proposed", "coder", iter=1, data={"patch": PATCH.model_dump(mode="json")}),
    ]
    journal.append(run, step)
    metrics = [metric_record(value=str(number), run=run).model_dump(mode="json") for number in range(3)]
    evaluation = evaluation_record(run=run).model_dump(mode="json")
    journal.append(run, [OpDraft("judged", "evaluate", iter=1, data={"metrics": metrics, "evaluation": evaluation})])
    journal.append(run, [OpDraft("run.closed", "report", data={"status": RunStatus.SUCCEEDED})])


def dump(cache: Cache) -> str:
    """Return everything in the database, by Python's own sqlite."""
    with sqlite3.connect(f"file:{cache.path}?mode=ro", uri=True) as database:
        return "\n".join(database.iterdump())


def values(database: apsw.Connection, table: str, column: str) -> list[object]:
    """Return a column of a table, in the order of recording."""
    place = "" if table == "operations" else ", place"
    return [value for (value,) in database.execute(f"SELECT {column} FROM {table} ORDER BY run, lamport{place}")]


def the_run(database: apsw.Connection, name: RunId = RUN) -> RunRow:
    """Return one run as `list` shows it."""
    return next(run for run in list_runs(database) if run.name == name)


def test_a_run_comes_back_as_rows(any_repository: Repository) -> None:
    record_run(Journal(any_repository), RUN)
    with Cache(any_repository).reading() as database:
        (run,) = list_runs(database)
        assert (run.name, run.status, run.iterations, run.accepted) == (RUN, "succeeded", 1, 1)
        toolchain, repository = next(database.execute("SELECT toolchain, repository FROM runs"))
        assert json.loads(toolchain) == {"cc": "gcc 12.2.0"}
        assert json.loads(repository)["dirty"] is False
        assert values(database, "operations", "lamport") == list(range(1, 9))
        assert values(database, "metrics", "value") == ["0", "1", "2"]
        assert values(database, "metrics", "place") == [0, 1, 2]
        assert values(database, "artifacts", "sha256") == ["d" * 64]
        assert values(database, "hotspots", "symbol") == ["do_swap"]
        assert values(database, "graphs", "skipped") == ['{"no definition":1}']
        assert values(database, "patches", "files") == ['["lib/sort.c"]']
        assert values(database, "patches", "iteration") == [1]
        assert values(database, "evaluations", "accepted") == [1]
        assert values(database, "evaluations", "deltas") == ["[]"]
        assert values(database, "agent_messages", "data") == ['{"why":"heat"}']
        assert skipped_in_all(database) == {}


def test_messages_of_every_role_are_rows_and_search_hears_what_agents_decided_alone(repository: Repository) -> None:
    journal = Journal(repository)
    record_run(journal, RUN)
    roles = get_args(AgentMessage.model_fields["role"].annotation)
    said = [{**MESSAGE.model_dump(mode="json"), "role": role, "text": role, "data": {"seconds": "1"}} for role in roles]
    journal.append(RUN, [OpDraft("said", "coder", 1, place, {"message": one}) for place, one in enumerate(said)])
    with Cache(repository).reading() as database:
        assert values(database, "agent_messages", "role") == ["decision", *roles]
        assert skipped_in_all(database) == {}
        (trace,) = trace_rows(database)
        assert set(trace.messages) == {"do_swap first", *roles} - {"answer", "no-answer"}


def test_every_column_of_every_record_is_kept() -> None:
    """A field that a record gains and the cache forgets is lost for SQL users; this test notices."""
    told_elsewhere = {"v", "run", "iteration"}
    records: dict[str, type[Record]] = {
        "artifacts": ArtifactRecord,
        "metrics": MetricRecord,
        "hotspots": HotspotRecord,
        "graphs": GraphRecord,
        "patches": PatchRecord,
        "evaluations": EvaluationRecord,
        "confirmations": Delta,
        "agent_messages": AgentMessage,
        "node_times": NodeRecord,
        "retractions": RetractionRecord,
        "cutoffs": CutoffRecord,
    }
    for table in TABLES:
        kept = set(table.columns) - told_elsewhere
        assert kept == set(records[table.name].model_fields) - told_elsewhere, table.name
    assert set(RUN_COLUMNS) == set(RunRecord.model_fields) - {"v", "name"}


def test_what_nodes_took_and_what_is_claimed_come_back_as_rows(repository: Repository) -> None:
    took = NodeRecord(node="apply_patch", iteration=2, outcome="ok", wall_s="1.5", cpu_s="0.25").model_dump(mode="json")
    claim = Delta(
        metric="time", kind="time", against="baseline", estimate="-0.6", low="-0.7", high="-0.5", layouts=8, boots=6,
        layout_controlled=True,
    ).model_dump(mode="json")  # fmt: skip
    steps: list[dict[str, object]] = [
        {"checkpoint": {}, "took": took},
        {"took": {**took, "v": 2}},
        {"took": {**took, "wall_s": None}},
        {"confirmation": claim},
        {"confirmation": {**claim, "estimate": [0]}},
        {"status": "failed", "reason": "the disk is full"},
        {"status": "failed", "reason": ["full"]},
        {"reason": "of no status"},
    ]
    Journal(repository).append(
        RUN, [OpDraft("step", "checkpoint", attempt=number, data=data) for number, data in enumerate(steps)]
    )
    with Cache(repository).reading() as database:
        times = database.execute("SELECT iteration, node, outcome, wall_s, cpu_s FROM node_times")
        assert list(times) == [(2, "apply_patch", "ok", "1.5", "0.25")]
        assert list(database.execute("SELECT estimate, layout_controlled, ratios FROM confirmations")) == [
            ("-0.6", 1, "[]")
        ]
        assert values(database, "operations", "reason") == [*[None] * 5, "the disk is full", None, None]
        assert skipped_in_all(database) == {
            "malformed confirmation": 1, "malformed took": 1, "unknown version took": 1,
        }  # fmt: skip


def test_the_schema_makes_the_tables_that_are_looked_for(repository: Repository) -> None:
    with Cache(repository).reading() as database:
        made = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        assert {name for (name,) in made} == SCHEMA_TABLES


def test_deleted_and_rebuilt_is_identical_and_refreshed_holds_the_same(any_repository: Repository) -> None:
    journal, cache = Journal(any_repository), Cache(any_repository)
    record_run(journal, OTHER_RUN, created="2026-02-01T10:00:00Z")
    assert cache.refresh().rebuilt == "missing"
    record_run(journal, RUN)
    assert cache.refresh().operations == 8
    journal.append(OTHER_RUN, [OpDraft("comment", "review", data={"status": "stopped"})])
    assert cache.refresh().operations == 1
    refreshed = dump(cache)
    cache.rebuild()
    first = cache.path.read_bytes()
    assert dump(cache) == refreshed
    cache.path.unlink()
    assert cache.refresh().rebuilt == "missing"
    assert cache.path.read_bytes() == first
    assert cache.refresh() == Refreshed(0, None)
    left = {path.name for path in cache.path.parent.iterdir()}
    assert left == {"cache.sqlite", "cache.lock", "writer"}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(b"no database at all, but quite long" * 100), "damaged"),
        (lambda path: path.write_bytes(b""), "of version 0"),
        (lambda path: path.write_bytes(path.read_bytes()[:8192]), "damaged"),
        (lambda path: _sql(path, "PRAGMA user_version = 99"), "of version 99"),
        (lambda path: _sql(path, "DROP TABLE metrics"), "incomplete"),
    ],
)
def test_a_damaged_or_older_cache_is_rebuilt(repository: Repository, damage: object, reason: str) -> None:
    assert callable(damage)
    journal, cache = Journal(repository), Cache(repository)
    record_run(journal, RUN)
    cache.rebuild()
    sound = cache.path.read_bytes()
    damage(cache.path)
    journal.append(RUN, [OpDraft("comment", "review")])
    rebuilt = cache.refresh().rebuilt
    assert rebuilt is not None
    assert rebuilt.startswith(reason)
    with cache.reading() as database:
        assert len(values(database, "operations", "op")) == 9
    assert cache.path.read_bytes() != sound


def _sql(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as database:
        database.execute(statement)
    database.close()


def test_one_that_is_deleted_while_it_is_written_is_made_again(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(repository)
    record_run(Journal(repository), RUN)
    cache.refresh()
    record_run(Journal(repository), RunId("20260201-lib-sort-aaaaaa"), created="2026-02-01T10:00:00Z")
    update = Cache._update

    def late(self: Cache, database: apsw.Connection) -> int:
        self.path.unlink(missing_ok=True)
        return update(self, database)

    with monkeypatch.context() as patched:
        patched.setattr(Cache, "_update", late)
        refreshed = cache.refresh()
    assert refreshed.rebuilt == "deleted while it was written"
    before = dump(cache)
    cache.rebuild()
    assert dump(cache) == before


def test_a_stale_rollback_journal_is_not_played_into_the_new_database(repository: Repository) -> None:
    record_run(Journal(repository), RUN)
    cache = Cache(repository)
    cache.rebuild()
    sound = cache.path.read_bytes()
    cache.path.with_name("cache.sqlite-journal").write_bytes(bytes.fromhex("d9d505f920a163d7") + b"\xff" * 2000)
    cache.rebuild()
    assert cache.path.read_bytes() == sound
    assert not cache.path.with_name("cache.sqlite-journal").exists()


def test_a_rewound_or_deleted_journal_is_forgotten(shell: Shell, repository: Repository) -> None:
    journal, cache = Journal(repository), Cache(repository)
    record_run(journal, RUN)
    record_run(journal, OTHER_RUN)
    cache.refresh()
    ref = journal_ref(RUN, journal.writer)
    shell.git("update-ref", ref, f"{ref}~1")
    cache.refresh()
    with cache.reading() as database:
        assert the_run(database).status == "created"
    refreshed = dump(cache)
    cache.rebuild()
    assert dump(cache) == refreshed
    shell.git("update-ref", "-d", ref)
    with cache.reading() as database:
        assert [run.name for run in list_runs(database)] == [OTHER_RUN]
        assert database.execute("SELECT count(*) FROM metrics").get == 3
    refreshed = dump(cache)
    cache.rebuild()
    assert dump(cache) == refreshed


def test_what_is_not_understood_is_counted(repository: Repository) -> None:
    journal = Journal(repository)
    sound = metric_record().model_dump(mode="json")
    record = run_record().model_dump(mode="json")
    steps: list[dict[str, object]] = [
        {"run": record},
        {"metrics": [sound, {**sound, "v": 9}, {**sound, "n": "many"}, {**sound, "tags": []}, "x", {"v": 1}]},
        {"metrics": sound},
        {"evaluation": {**evaluation_record().model_dump(mode="json"), "text_bytes": 2**70}},
        {"run": {**record, "name": OTHER_RUN}},
        {"status": ["closed"]},
        {"run": {**record, "status": None}},
        {"something": {"new": True}},
        {"hotspots": []},
    ]
    journal.append(RUN, [OpDraft(f"op{number}", "x", data=data) for number, data in enumerate(steps)])
    with Cache(repository).reading() as database:
        assert skipped_in_all(database) == {
            "malformed evaluation": 1,
            "malformed metrics": 5,
            "malformed run": 2,
            "malformed status": 1,
            "unknown version metrics": 1,
        }
        assert len(values(database, "metrics", "name")) == 1
        assert len(values(database, "operations", "op")) == 9
        assert the_run(database).status == "created"


def test_two_writers_and_the_last_word_on_the_status(repository: Repository, shell: Shell) -> None:
    journal, cache = Journal(repository), Cache(repository)
    record_run(journal, RUN)
    cache.refresh()
    other = run_record().model_copy(update={"device": "phone"}).model_dump(mode="json")
    parent = foreign(shell, fields(BOB, lamport=4, data={"run": other, "status": "failed"}), writer=BOB)
    cache.refresh()
    with cache.reading() as database:
        run = the_run(database)
    assert (run.device, run.status) == ("host", "succeeded")
    foreign(shell, fields(BOB, lamport=20, attempt=1, data={"status": "failed"}), writer=BOB, parent=parent)
    with cache.reading() as database:
        assert the_run(database).status == "failed"
    refreshed = dump(cache)
    cache.rebuild()
    assert dump(cache) == refreshed


def test_a_run_is_found_by_what_is_typed_of_its_name(repository: Repository) -> None:
    journal = Journal(repository)
    cache = Cache(repository)
    with cache.reading() as database, pytest.raises(UsageError, match="there is no run here yet"):
        find_run(database)
    record_run(journal, OTHER_RUN, created="2026-02-01T10:00:00Z")
    record_run(journal, RUN, created="2026-01-31T10:00:00Z")
    twin = RunId("20260131-lib-sort-9a1b2c")
    record_run(journal, twin, created="2026-01-30T10:00:00Z")
    with cache.reading() as database:
        assert find_run(database) == OTHER_RUN
        for text in (RUN, "20260131-lib-sort-0", "0a1b2c"):
            assert find_run(database, text) == RUN
        with pytest.raises(UsageError, match=r"'20260131' is 2 runs \(.*0a1b2c, .*9a1b2c\); give more of the name"):
            find_run(database, "20260131")
        with pytest.raises(UsageError, match=rf"no run is called '{RUN[:-1]}d'; did you mean '{RUN}'\?"):
            find_run(database, RUN[:-1] + "d")
        with pytest.raises(UsageError, match=r"no run is called ''; see: git hmopt list"):
            find_run(database, "")
        assert [run.name for run in list_runs(database)] == [OTHER_RUN, RUN, twin]
        assert [run.name for run in list_runs(database, workload="lib-sort", limit=1)] == [RUN]


def test_what_a_shallow_clone_lacked_is_read_when_it_is_fetched(tmp_path: Path, shell: Shell) -> None:
    record_run(Journal(Repository.open(shell.cwd)), RUN)
    clone = Shell(tmp_path / "clone")
    shell.git("clone", "-q", shell.cwd.as_uri(), str(clone.cwd))
    clone.git("fetch", "-q", "--depth=2", "origin", "refs/hmopt/*:refs/hmopt/*")
    cache = Cache(Repository.open(clone.cwd))
    with cache.reading() as database:
        assert list_runs(database) == []
        assert skipped_in_all(database) == {CUT: 1}
    # No ref moves by it.
    clone.git("fetch", "-q", "--unshallow", "origin", "refs/hmopt/*:refs/hmopt/*")
    with cache.reading() as database:
        assert [run.name for run in list_runs(database)] == [RUN]
        assert skipped_in_all(database) == {}
    refreshed = dump(cache)
    cache.rebuild()
    assert dump(cache) == refreshed


def test_a_copy_of_a_known_journal_under_another_name(any_shell: Shell, any_repository: Repository) -> None:
    """It shares its commits with one that need not be read again, and must be read to its root all the same."""
    journal, cache = Journal(any_repository), Cache(any_repository)
    record_run(journal, RUN)
    cache.refresh()
    any_shell.git("update-ref", journal_ref(OTHER_RUN, journal.writer), journal_ref(RUN, journal.writer))
    journal.append(RUN, [OpDraft("comment", "review")])
    cache.refresh()
    with cache.reading() as database:
        assert skipped_in_all(database) == {OTHER_JOURNAL: 8}
    refreshed = dump(cache)
    cache.rebuild()
    assert dump(cache) == refreshed


def test_damage_that_only_a_query_meets_is_said_with_the_way_out(repository: Repository) -> None:
    record_run(Journal(repository), RUN)
    cache = Cache(repository)
    cache.rebuild()
    with sqlite3.connect(cache.path) as database:
        (page,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'metrics'").fetchone()
    database.close()
    data = bytearray(cache.path.read_bytes())
    data[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096
    cache.path.write_bytes(data)
    with (
        pytest.raises(StoreError, match=r"is damaged \(.*\); run: git hmopt cache rebuild"),
        cache.reading() as damaged,
    ):
        damaged.execute("SELECT count(value) FROM metrics").fetchall()
    cache.rebuild()
    with cache.reading() as sound:
        assert values(sound, "metrics", "value") == ["0", "1", "2"]


_FULL = """
import resource, sys
from pathlib import Path
from git_hmopt.errors import StoreError
from git_hmopt.store.cache import Cache
from git_hmopt.store.repository import Repository
cache = Cache(Repository.open(Path(sys.argv[1])))
size = cache.path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
for step in (cache.refresh, cache.rebuild):
    try:
        step()
    except StoreError as error:
        assert str(cache.path) in str(error) and "free space there and run it again" in str(error), error
    else:
        raise SystemExit("the limit did not bite")
"""


def test_a_full_disk_is_said_and_costs_nothing(shell: Shell, repository: Repository) -> None:
    """A file size limit makes the kernel refuse the write half-way, as a full disk does."""
    journal, cache = Journal(repository), Cache(repository)
    record_run(journal, RUN)
    cache.refresh()
    message = MESSAGE.model_dump(mode="json")
    large = [
        OpDraft("decided", "conductor", attempt=n, data={"message": {**message, "text": "x" * 9000}}) for n in range(9)
    ]
    journal.append(RUN, large)
    finish([start_python(_FULL, str(shell.cwd))])
    cache.refresh()
    with cache.reading() as database:
        assert len(values(database, "agent_messages", "text")) == 10


def test_readers_cannot_write(repository: Repository) -> None:
    with Cache(repository).reading() as database, pytest.raises(apsw.ReadOnlyError):
        database.execute("DELETE FROM runs")


def test_a_cache_that_cannot_be_kept(repository: Repository) -> None:
    repository.home.write_text("a file is in the way")
    with pytest.raises(StoreError, match="no cache can be kept at"):
        Cache(repository).refresh()


_LIST = """
import sys
from pathlib import Path
from git_hmopt.store.cache import Cache
from git_hmopt.store.queries import find_run, list_runs
from git_hmopt.store.repository import Repository
repository = Repository.open(Path(sys.argv[1]))
with Cache(repository).reading() as database:
    names = [run.name for run in list_runs(database)]
    find_run(database)
print(len(names), sorted(sys.modules.keys() & {"pydantic", "pygit2", "numpy", "git", "yaml"}))
"""


def test_looking_imports_neither_pydantic_nor_pygit2(shell: Shell, repository: Repository) -> None:
    record_run(Journal(repository), RUN)
    Cache(repository).refresh()
    done = subprocess.run([sys.executable, "-c", _LIST, str(shell.cwd)], capture_output=True, text=True, check=True)
    assert done.stdout == "1 []\n"


_REFRESH = """
import sys
from pathlib import Path
from git_hmopt.store.cache import Cache
from git_hmopt.store.queries import list_runs
from git_hmopt.store.repository import Repository
cache = Cache(Repository.open(Path(sys.argv[1])))
for number in range(6):
    if sys.argv[2] == "rebuild" and number % 3 == 0:
        cache.rebuild()
    if sys.argv[2] == "delete":
        cache.path.unlink(missing_ok=True)
    with cache.reading() as database:
        assert len(list_runs(database)) >= 1
"""


def test_processes_that_refresh_rebuild_and_delete_while_one_records(shell: Shell, repository: Repository) -> None:
    journal, cache = Journal(repository), Cache(repository)
    record_run(journal, RUN)
    children = [
        start_python(_REFRESH, str(shell.cwd), what) for what in ("refresh", "rebuild", "refresh", "delete", "rebuild")
    ]
    for number in range(20):
        journal.append(RUN, [OpDraft("comment", "review", attempt=number)])
    finish(children)
    with cache.reading() as database:
        assert len(values(database, "operations", "op")) == 28
    refreshed = dump(cache)
    cache.rebuild()
    assert dump(cache) == refreshed


def test_ten_thousand_heads_are_compared_not_read(shell: Shell, repository: Repository) -> None:
    """The journals are copies of one, so every entry is of another journal: what counts is that all are looked at."""
    journal, cache = Journal(repository), Cache(repository)
    record_run(journal, RUN)
    head = repository.read_ref(journal_ref(RUN, journal.writer))
    assert head is not None
    names = [RunId(f"20260101-many-{number:06x}") for number in range(2000)]
    repository.update_refs([RefUpdate(journal_ref(name, journal.writer), head, None) for name in names])
    shell.git("pack-refs", "--all")
    assert cache.refresh().operations == 8
    assert cache.refresh() == Refreshed(0, None)
    with cache.reading() as database:
        assert json.dumps(skipped_in_all(database)) == '{"of another journal": 16000}'


def test_an_update_that_was_killed_is_played_back(repository: Repository) -> None:
    """What a kill in the middle of a transaction leaves: pages that are written, and the journal that undoes them."""
    cache = Cache(repository)
    Journal(repository).append(RUN, [OpDraft("run.created", "init_run", data={"run": run_record().model_dump()})])
    cache.refresh()
    program = (
        "import apsw, os, sys\n"
        "database = apsw.Connection(sys.argv[1])\n"
        "database.pragma('cache_size', 1)\n"
        "database.execute('BEGIN IMMEDIATE')\n"
        "for number in range(2000):\n"
        "    database.execute('INSERT INTO meta VALUES (?, ?)', (f'key {number}', 'x' * 500))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    child = start_python(program, str(cache.path))
    child.communicate(timeout=60)
    assert child.returncode == -9 and cache.path.with_name("cache.sqlite-journal").stat().st_size > 0
    assert cache.check() is None
    with cache.reading() as database:
        assert [row.name for row in list_runs(database)] == [RUN]
        assert database.execute("SELECT count(*) FROM meta").get == 1
