# SPDX-License-Identifier: Apache-2.0
"""`git hmopt fsck`: every fault that is put into a real repository is found, by itself, and nothing else is."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import apsw
import pytest

from git_hmopt.cli.main import main
from git_hmopt.records.run import AgentMessage
from git_hmopt.records.words import (
    ARTIFACTS,
    NOTES_METRICS,
    NOTES_VERDICTS,
    RunId,
    best_ref,
    candidate_ref,
    journal_ref,
)
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.cache import Cache
from git_hmopt.store.fsck import check, repair
from git_hmopt.store.journal import Journal, OpDraft
from git_hmopt.store.notes import Notes
from git_hmopt.store.remote import Remote
from git_hmopt.store.repository import Repository
from git_hmopt.store.transport import What as Sent
from git_hmopt.store.transport import fetch, push
from tests.store.repositories import OTHER_RUN, RUN, Shell, make_repository
from tests.store.worlds import AT, World, record_run

_MADE: dict[str, Path] = {}
"""Worlds to copy, by object format: to record one takes longer than to check it."""


@pytest.fixture
def world(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> World:
    """Return a clone with two runs, its database up to date.

    Its object format follows from the test's name, so that each of the two ways to the objects meets half of the
    faults, at half the time.
    """
    kind = ("sha1", "sha256")[zlib.crc32(request.node.name.encode()) % 2]
    if kind not in _MADE:
        made = World(make_repository(tmp_path_factory.mktemp(kind) / "world", f"--object-format={kind}"))
        record_run(made.repository, iterations=2, accepted=1)
        record_run(made.repository, OTHER_RUN)
        Cache(made.repository).refresh()
        _MADE[kind] = made.shell.cwd
    return World(Shell(Path(shutil.copytree(_MADE[kind], tmp_path / "world", symlinks=True))))


def found(world: World) -> list[str]:
    """Return the faults as they are printed, with what differs from run to run shortened."""
    return [_plain(str(fault), world) for fault in check(world.repository).faults]


def _plain(text: str, world: World) -> str:
    text = text.replace(world.journal(), "JOURNAL").replace(str(world.home), "HOME").replace(RUN, "RUN")
    return re.sub(r"\b[0-9a-f]{12,64}\b", "OID", text)


@dataclass(frozen=True)
class Case:
    """A fault: how it gets in, and the line that names it."""

    inject: Callable[[World], object]
    line: str


def _twice(op: dict[str, object]) -> dict[str, object]:
    return op | {"op": "run.closed", "node": "report"}


def _grown(world: World, change: Callable[[dict[str, object]], dict[str, object]]) -> None:
    """Append an operation that is sound but for `change`."""
    world.appended(change)


def _record(key: str, record: object) -> Callable[[World], object]:
    return lambda world: world.appended(lambda op: op | {"data": {key: record}})


def _changed(world: World, key: str, **changes: object) -> None:
    """Append a copy of a record of the run, with changes."""
    for op in world.operations():
        data = op["data"]
        assert isinstance(data, dict)
        if key in data:
            many = isinstance(data[key], list)
            new = (data[key][0] if many else data[key]) | changes
            _record(key, [new] if many else new)(world)
            return
    raise AssertionError(key)


def _oid_of(world: World, rev: str) -> str:
    return world.shell.git("rev-parse", rev)


def _no_tree(world: World) -> None:
    world.committed("1" * len(_oid_of(world, "HEAD")))


def _no_blob(world: World) -> None:
    blob = "1" * len(_oid_of(world, "HEAD"))
    world.committed(world.shell.git("mktree", "--missing", stdin=f"100644 blob {blob}\top.json\n".encode()))


def _foreign_journal(world: World) -> None:
    world.point(journal_ref(RUN, "not a/name"[4:]), _oid_of(world, "HEAD"))


def _somebodys_history(world: World) -> None:
    world.point(journal_ref(RUN, "bbbbbbbb-0000-4000-8000-000000000000"), _oid_of(world, "HEAD"))


def _lost_candidate_tree(world: World) -> None:
    world.lose(_oid_of(world, f"{candidate_ref(OTHER_RUN, 1)}^{{tree}}"))


def _line(world: World, **changes: object) -> str:
    ((line,), *_) = Notes(world.repository, NOTES_VERDICTS).read().values()
    return json.dumps(json.loads(line) | changes, separators=(",", ":"))


def _fanned(world: World) -> None:
    """Have a note stand both flat and in a directory."""
    ref = NOTES_METRICS
    ((name, lines), *_) = Notes(world.repository, ref).read().items()
    blob = world.shell.git("hash-object", "-w", "--stdin", stdin="".join(f"{line}\n" for line in lines).encode())
    inner = world.shell.git("mktree", stdin=f"100644 blob {blob}\t{name[2:]}\n".encode())
    flat = world.shell.git("ls-tree", ref)
    tree = world.shell.git("mktree", stdin=f"{flat}\n040000 tree {inner}\t{name[:2]}\n".encode())
    world.shell.git("update-ref", ref, world.shell.git("commit-tree", tree, "-p", ref, "-m", "x"))


def _named_note(world: World) -> None:
    blob = world.shell.git("hash-object", "-w", "--stdin", stdin=b"x\n")
    flat = world.shell.git("ls-tree", NOTES_METRICS)
    tree = world.shell.git("mktree", stdin=f"{flat}\n100644 blob {blob}\tREADME\n".encode())
    world.shell.git("update-ref", NOTES_METRICS, world.shell.git("commit-tree", tree, "-m", "x"))


def _an_artifact(world: World) -> Path:
    return next(path for path in sorted((world.home / "artifacts").glob("??/*")))


def _renamed(world: World) -> None:
    _an_artifact(world).rename(_an_artifact(world).with_name("notes.txt"))


def _misplaced(world: World) -> None:
    path = _an_artifact(world)
    (path.parent.parent / "zz").mkdir()
    path.rename(path.parent.parent / "zz" / path.name)


def _incoming(world: World) -> None:
    path = world.home / "artifacts/incoming/tmpabc"
    path.write_bytes(b"half")
    os.utime(path, (time.time() - 7200,) * 2)


def _parcel(world: World) -> None:
    blob = world.shell.git("hash-object", "-w", "--stdin", stdin=b"x\n")
    tree = world.shell.git("mktree", stdin=f"100644 blob {blob}\t{'a' * 64}\n".encode())
    world.shell.git("update-ref", f"{ARTIFACTS}{RUN}/w", world.shell.git("commit-tree", tree, "-m", "x"))


def _torn_cache(world: World) -> None:
    path = world.home / "cache.sqlite"
    data = bytearray(path.read_bytes())
    data[4096 : len(data)] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)


def _false_cache(world: World) -> None:
    with apsw.Connection(str(world.home / "cache.sqlite")) as database:
        database.execute("UPDATE metrics SET value = '7'")


def _behind_and_false(world: World) -> None:
    _false_cache(world)
    Journal(world.repository).append(RUN, [OpDraft("comment", "review", 9)])


FOUND = {
    "op.json is no JSON": Case(
        lambda world: world.appended(lambda op: b"{"), "journal: JOURNAL OID: op.json is malformed; readers pass"
    ),
    "a field is of the wrong type": Case(
        lambda world: world.appended(lambda op: op | {"iter": "one"}), "journal: JOURNAL OID: op.json is malformed; "
    ),
    "unknown version": Case(
        lambda world: world.appended(lambda op: op | {"v": 99}),
        "journal: JOURNAL OID: op.json is of a version that is not known here; upgrade git-hmopt",
    ),
    "another run": Case(
        lambda world: world.appended(lambda op: op | {"run": OTHER_RUN}),
        "journal: JOURNAL OID: op.json is of another journal; ",
    ),
    "another writer": Case(
        lambda world: world.appended(lambda op: op | {"writer": "somebody"}),
        "journal: JOURNAL OID: op.json is of another journal; ",
    ),
    "no op.json": Case(
        lambda world: world.appended(lambda op: None), "journal: JOURNAL OID: the commit has no op.json; "
    ),
    "lamport stands still": Case(
        lambda world: world.appended(lambda op: op | {"lamport": 3}),
        "journal: JOURNAL OID: lamport 3 after 7: it does not grow; ",
    ),
    "recorded twice": Case(
        lambda world: world.appended(_twice),
        "journal: JOURNAL OID: 'run.closed' is recorded twice; readers take the first",
    ),
    "a kept candidate is missing": Case(
        lambda world: world.appended(lambda op: op, "1" * len(_oid_of(world, "HEAD"))),
        "journal: JOURNAL OID: the kept commit OID is not in this clone; ",
    ),
    "a kept candidate is no commit": Case(
        lambda world: world.appended(lambda op: op, _oid_of(world, "HEAD:README")),
        "journal: JOURNAL OID: the kept commit OID is no commit: ",
    ),
    "a candidate's tree is missing": Case(_lost_candidate_tree, "has lost its tree OID; "),
    "a commit is missing": Case(
        lambda world: world.lose(_oid_of(world, f"{world.journal()}~2")),
        "journal: JOURNAL OID: the chain is broken: the commit is not in this clone; ",
    ),
    "a commit is damaged": Case(
        lambda world: world.spoil(_oid_of(world, f"{world.journal()}~2")),
        "journal: JOURNAL OID: the chain is broken: the commit cannot be read: ",
    ),
    "a tree is missing": Case(_no_tree, "journal: JOURNAL OID: the commit's tree is not in this clone; "),
    "op.json is missing": Case(_no_blob, "journal: JOURNAL OID: op.json is not in this clone; "),
    "op.json is damaged": Case(
        lambda world: world.spoil(_oid_of(world, f"{world.journal()}:op.json")),
        "journal: JOURNAL OID: op.json cannot be read: ",
    ),
    "a journal's head is a blob": Case(
        lambda world: world.point(world.journal(), _oid_of(world, "HEAD:README")),
        "journal: JOURNAL OID: the chain is broken: the commit is no commit: ",
    ),
    "no journal's name": Case(
        lambda world: world.point(f"refs/hmopt/runs/{RUN}/a/b", _oid_of(world, "HEAD")),
        "journal: refs/hmopt/runs/RUN/a/b: is no journal's name; look, then: git update-ref -d ",
    ),
    "a run of the wrong shape": Case(
        lambda world: _changed(world, "run", seed="seven"),
        "record: JOURNAL OID: 'run' of 'comment': seed: Input should",
    ),
    "a run of another name": Case(
        lambda world: _changed(world, "run", name=OTHER_RUN),
        f"record: JOURNAL OID: 'run' of 'comment': it describes run {OTHER_RUN}; ",
    ),
    "an artifact of the wrong shape": Case(
        lambda world: _changed(world, "artifact", size=None), "record: JOURNAL OID: 'artifact' of 'comment': size: "
    ),
    "artifacts that are no list": Case(_record("artifacts", 7), "record: JOURNAL OID: 'artifacts' of 'comment': "),
    "a metric that is no decimal": Case(
        lambda world: _changed(world, "metrics", value="1.0"), "record: JOURNAL OID: 'metrics' of 'comment': value: "
    ),
    "a hotspot": Case(_record("hotspots", [{"v": 1}]), "record: JOURNAL OID: 'hotspots' of 'comment': symbol: "),
    "a graph": Case(_record("graph", {"v": 1, "kind": "x"}), "record: JOURNAL OID: 'graph' of 'comment': kind: "),
    "a patch": Case(_record("patch", {"v": 1}), "record: JOURNAL OID: 'patch' of 'comment': iteration: "),
    "an evaluation with a new key": Case(
        lambda world: _changed(world, "evaluation", mood="good"),
        "record: JOURNAL OID: 'evaluation' of 'comment': mood: Extra inputs are not permitted; readers leave",
    ),
    "an evaluation of another version": Case(
        lambda world: _changed(world, "evaluation", v=2),
        "record: JOURNAL OID: 'evaluation' of 'comment': version 2 is not known here; upgrade git-hmopt",
    ),
    "a message": Case(_record("message", "hello"), "record: JOURNAL OID: 'message' of 'comment': Input should be"),
    "a retraction": Case(_record("retract", {"v": 1}), "record: JOURNAL OID: 'retract' of 'comment': of_iteration: "),
    "a cutoff": Case(_record("cutoff", [{"v": 1}]), "record: JOURNAL OID: 'cutoff' of 'comment': of_run: "),
    "an artifact is damaged": Case(
        lambda world: _an_artifact(world).write_bytes(b"other"),
        "artifact: HOME/artifacts/",
    ),
    "an artifact is cut off": Case(
        lambda world: os.truncate(_an_artifact(world), 3), "is damaged: its bytes are not what its name says; move it"
    ),
    "a stray file": Case(_renamed, "notes.txt: is no artifact's name; move it aside"),
    "a wrong directory": Case(_misplaced, "lies in the wrong directory; move it aside"),
    "a leftover": Case(
        _incoming, "incoming: HOME/artifacts/incoming/tmpabc: left over from a write that did not end; "
    ),
    "a false parcel": Case(_parcel, "artifact: refs/hmopt/artifacts/RUN/w OID: its bytes are not what its name says; "),
    "a parcel without a run": Case(
        lambda world: world.shell.git("update-ref", f"{ARTIFACTS}20250101-gone-000000/w", "HEAD"),
        "artifact: refs/hmopt/artifacts/20250101-gone-000000/w: dangling: its run has no journal here; fetch it",
    ),
    "a note is no JSON": Case(
        lambda world: world.note("fast\n"), f"note: {NOTES_METRICS} OID: a line is no JSON; readers pass over it"
    ),
    "a note is a number": Case(
        lambda world: world.note("7\n"), f"note: {NOTES_METRICS} OID: a line is no JSON object; "
    ),
    "a note in pieces": Case(
        lambda world: world.note('  "at": "2026-01-31T12:00:00Z",\n  "v": 1\n{\n}\n'),
        f"note: {NOTES_METRICS} OID: it is in pieces: JSON that spanned lines, which git's ",
    ),
    "a note without a time": Case(
        lambda world: world.note('{"v":1}\n'), f"note: {NOTES_METRICS} OID: a line has no time under `at`; "
    ),
    "the time is not first": Case(
        lambda world: world.note(f'{{"a":1,"at":"{AT}"}}\n'),
        f"note: {NOTES_METRICS} OID: a line does not begin with `at`",
    ),
    "a float": Case(
        lambda world: world.note(f'{{"at":"{AT}","a":1.0}}\n'),
        f"note: {NOTES_METRICS} OID: a line is not canonical: a float",
    ),
    "spaces": Case(
        lambda world: world.note(f'{{"at":"{AT}", "a":1}}\n'),
        f"note: {NOTES_METRICS} OID: a line is not canonical: equal lines would not meet; ",
    ),
    "keys out of order": Case(
        lambda world: world.note(f'{{"at":"{AT}","b":1,"a":1}}\n'),
        "a line is not canonical: equal lines would not meet; ",
    ),
    "a line twice": Case(
        lambda world: world.note(f'{{"at":"{AT}","a":1}}\n' * 2),
        f"note: {NOTES_METRICS} OID: 1 lines stand twice; merge them: git hmopt fsck --repair",
    ),
    "lines out of order": Case(
        lambda world: world.note(f'{{"at":"{AT}","b":1}}\n{{"at":"{AT}","a":1}}\n'),
        f"note: {NOTES_METRICS} OID: its lines are not sorted as git's cat_sort_uniq sorts them; merge",
    ),
    "a note twice": Case(_fanned, f"note: {NOTES_METRICS} OID: the note stands twice in the tree; merge"),
    "a note of no commit": Case(_named_note, f"note: {NOTES_METRICS} README: is no commit's name; look at it"),
    "a note is missing": Case(
        lambda world: world.lose(world.shell.git("ls-tree", "--object-only", NOTES_METRICS).split()[0]),
        f"note: {NOTES_METRICS} OID: the note is not in this clone; ",
    ),
    "a notes tree is missing": Case(
        lambda world: world.lose(_oid_of(world, f"{NOTES_METRICS}^{{tree}}")),
        f"note: {NOTES_METRICS}: the directory of notes OID is not in this clone; ",
    ),
    "a branch without a run": Case(
        lambda world: world.shell.git("update-ref", best_ref(RUN).replace(RUN, "20250101-gone-000000"), "HEAD"),
        "branch: refs/heads/hmopt/20250101-gone-000000/best: dangling: its run has no journal here; fetch it",
    ),
    "a branch that nobody keeps": Case(
        lambda world: world.shell.git("update-ref", candidate_ref(RUN, 2), "HEAD~1"),
        "branch: refs/heads/hmopt/RUN/iter-0002: dangling: no journal of its run keeps OID; keep it under a name",
    ),
    "a torn cache": Case(_torn_cache, "cache: HOME/cache.sqlite: damaged ("),
    "no database": Case(
        lambda world: (world.home / "cache.sqlite").write_bytes(b"x" * 9000), "cache: HOME/cache.sqlite: damaged ("
    ),
    "a false cache": Case(
        _false_cache, "cache: HOME/cache.sqlite: its table 'metrics' is other than a rebuild's; rebuild it"
    ),
    "a false cache that is behind": Case(
        _behind_and_false, "cache: HOME/cache.sqlite: its table 'metrics' is other than a rebuild's; rebuild it"
    ),
    "a writer without a name": Case(
        lambda world: None, "writer: HOME/writer: holds no UUID; delete it: this clone gets a new name to write under"
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_each_fault_is_found_by_itself(world: World, name: str) -> None:
    FOUND[name].inject(world)
    if name == "a writer without a name":
        journal = world.journal()
        (world.home / "writer").write_text("me\n")
        (line,) = [str(one).replace(str(world.home), "HOME") for one in check(world.repository).faults]
        assert journal and line == FOUND[name].line
        return
    (line,) = found(world)
    assert FOUND[name].line in line
    assert "\n" not in line


REPAIRED = {
    "an artifact is damaged": "moved HOME/artifacts/",
    "a stray file": "moved HOME/artifacts/",
    "a leftover": "removed HOME/artifacts/incoming/tmpabc",
    "a line twice": f"merged the lines of 1 notes of {NOTES_METRICS}",
    "lines out of order": f"merged the lines of 1 notes of {NOTES_METRICS}",
    "a note twice": f"merged the lines of 1 notes of {NOTES_METRICS}",
    "a torn cache": "rebuilt HOME/cache.sqlite",
    "no database": "rebuilt HOME/cache.sqlite",
    "a false cache": "rebuilt HOME/cache.sqlite",
}


@pytest.mark.parametrize("name", REPAIRED)
def test_what_is_derived_is_repaired(world: World, name: str) -> None:
    FOUND[name].inject(world)
    repository = world.repository
    refs = world.shell.git("for-each-ref", "refs/hmopt", "refs/heads")
    noted = {ref: Notes(repository, ref).read() for ref in (NOTES_METRICS, NOTES_VERDICTS)}
    repaired = repair(repository, check(repository))
    (done,) = [_plain(line, world) for line in repaired.done]
    assert done.startswith(REPAIRED[name])
    assert repaired.left.faults == [] == found(world)
    assert world.shell.git("for-each-ref", "refs/hmopt", "refs/heads") == refs
    assert {ref: Notes(repository, ref).read() for ref in (NOTES_METRICS, NOTES_VERDICTS)} == noted
    world.shell.git("fsck", "--strict")


@pytest.mark.parametrize(
    "name",
    # The last two have tests of their own.
    sorted(
        FOUND.keys()
        - REPAIRED.keys()
        - {"an artifact is cut off", "a wrong directory", "a false cache that is behind", "a writer without a name"}
    ),
)
def test_what_is_not_derived_is_left_alone(world: World, name: str) -> None:
    FOUND[name].inject(world)
    before = (found(world), {path: path.stat().st_mtime_ns for path in (world.home.parent).rglob("*")})
    repaired = repair(world.repository, check(world.repository))
    assert repaired.done == ()
    assert (found(world), {path: path.stat().st_mtime_ns for path in (world.home.parent).rglob("*")}) == before


def test_a_damaged_artifact_shows_as_missing_afterwards(world: World) -> None:
    path = _an_artifact(world)
    path.write_bytes(b"other")
    repair(world.repository, check(world.repository))
    assert ArtifactStore.of(world.repository).read(path.name[:64]) is None
    assert (world.home / "damaged" / path.name).read_bytes() == b"other"
    # A second one of the same name is kept beside it.
    path.write_bytes(b"again")
    repair(world.repository, check(world.repository))
    assert (world.home / "damaged" / f"{path.name}.2").read_bytes() == b"again"
    assert any("artifacts that are not here" in state for state in check(world.repository).states)


def test_several_faults_are_all_found(world: World) -> None:
    for name in ("op.json is no JSON", "a leftover", "a line twice", "a false cache", "a branch without a run"):
        FOUND[name].inject(world)
    assert sorted(line.split(":")[0] for line in found(world)) == ["branch", "cache", "incoming", "journal", "note"]


def test_states_are_no_faults(world: World) -> None:
    _an_artifact(world).unlink()
    (world.home / "artifacts/incoming/tmpnow").write_bytes(b"half")
    gone = "1" * len(_oid_of(world, "HEAD"))
    blob = world.shell.git("hash-object", "-w", "--stdin", stdin=f'{{"at":"{AT}","a":1}}\n'.encode())
    flat = world.shell.git("ls-tree", NOTES_METRICS)
    tree = world.shell.git("mktree", stdin=f"{flat}\n100644 blob {blob}\t{gone}\n".encode())
    world.shell.git("update-ref", NOTES_METRICS, world.shell.git("commit-tree", tree, "-p", NOTES_METRICS, "-m", "x"))
    (world.home / "cache.sqlite").unlink()
    findings = check(world.repository)
    assert findings.faults == []
    assert findings.states == {
        "artifacts that are not here (expired, or made on another machine)": 1,
        "artifacts that are just being written": 1,
        "notes on commits that are not here": 1,
    }
    assert findings.looked_at["journals"] == 2 and findings.looked_at["operations"] == 12


def test_messages_of_every_role_with_all_that_an_exchange_tells_are_sound(world: World) -> None:
    golden = Path(__file__).parents[1] / "records/golden/agent-message-v1-with-exchange.json"
    told = json.loads(golden.read_bytes())
    roles = get_args(AgentMessage.model_fields["role"].annotation)
    drafts = [OpDraft("said", "coder", 1, n, {"message": {**told, "role": role}}) for n, role in enumerate(roles)]
    before = check(world.repository).looked_at["records"]
    Journal(world.repository).append(RUN, drafts)
    assert found(world) == []
    assert check(world.repository).looked_at["records"] == before + len(roles) == before + 7
    _record("message", {**told, "role": "oracle"})(world)
    world.appended(lambda op: op | {"attempt": 1, "data": {"message": {**told, "data": {"prompt_tokens": 7}}}})
    first, second = found(world)
    assert "'message' of 'comment': role: Input should be 'decision'" in first
    assert "'message' of 'comment': data.prompt_tokens: Input should be a valid string" in second


# -- kinds of repositories -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [(), ("--bare",), ("--depth=1",), ("--filter=blob:none",)], ids=["plain", "bare", "shallow", "partial"]
)
def test_a_clean_clone_of_any_kind_is_clean(tmp_path: Path, world: World, options: tuple[str, ...]) -> None:
    kind = world.repository.object_format
    Shell(tmp_path).git("init", "-q", "--bare", f"--object-format={kind}", "forge.git")
    Shell(tmp_path / "forge.git").git("config", "uploadpack.allowFilter", "true")
    world.shell.git("push", "-q", str(tmp_path / "forge.git"), "main")
    world.shell.git("remote", "add", "origin", f"file://{tmp_path}/forge.git")
    push(world.repository, Remote.of(world.repository, "origin"), tuple(Sent))
    Shell(tmp_path).git("clone", "-q", *options, f"file://{tmp_path}/forge.git", "other")
    other = World(Shell(tmp_path / "other"))
    fetch(other.repository, Remote.of(other.repository, "origin"))
    record_run(other.repository, RunId("20260301-mine-abcdef"))
    Cache(other.repository).refresh()
    findings = check(other.repository)
    assert findings.faults == [], [str(one) for one in findings.faults]
    assert findings.looked_at["journals"] == 3
    assert findings.looked_at["lines of notes"] == 8


def test_where_nothing_was_recorded(tmp_path: Path) -> None:
    shell = make_repository(tmp_path / "empty")
    findings = check(Repository.open(shell.cwd))
    assert (findings.faults, dict(findings.looked_at), dict(findings.states)) == ([], {}, {})


# -- the command ---------------------------------------------------------------------------------------------------


def test_the_command(world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world.shell.cwd)
    assert main(["fsck"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("no fault; looked at: 2 journals, 12 operations, ") and said.err == ""
    _incoming(world)
    FOUND["op.json is no JSON"].inject(world)
    assert main(["fsck"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == ["journal", "incoming"]
    assert lines[-1].startswith("2 faults; looked at: ")
    assert main(["fsck", "--repair", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["v"] == 1 and [one["what"] for one in told["faults"]] == ["journal"]
    assert told["repaired"] == [f"removed {world.home}/artifacts/incoming/tmpabc"]
    assert told["faults"][0]["repairable"] is False
    world.shell.git("update-ref", world.journal(), f"{world.journal()}^")
    assert main(["fsck"]) == 0
