# SPDX-License-Identifier: Apache-2.0
"""What earlier versions wrote is read as it was meant, for ever: a run of each version of the records, as git has it.

`golden/run-v1.fast-export` is `git fast-export` of a real run's journal, notes and branches, with a retraction;
`golden/run-v1.story.json` what `git hmopt show --json` said of it then. A new version of a record adds files here and
changes none.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest

from git_hmopt.records.words import JOURNALS, NOTES_METRICS, NOTES_VERDICTS, Oid, RefName
from git_hmopt.report.story import story_of
from git_hmopt.store import cache
from git_hmopt.store.cache import Cache
from git_hmopt.store.journal import Journal
from git_hmopt.store.notes import Notes
from git_hmopt.store.queries import list_runs, skipped_in_all
from git_hmopt.store.repository import Repository
from tests.store.repositories import Shell

GOLDEN = Path(__file__).parent / "golden"
VERSIONS = ("v1",)
HEADS = {
    "v1": {
        "refs/notes/hmopt/metrics": "1757bcee4e036501e1112e60a458f7ef1d80f42d",
        "refs/notes/hmopt/verdicts": "841e4b9ee06a3749dcf2fde7ddd54fda811598a2",
    }
}
SCHEMAS = {
    2: "500c08500f2c1aee2e497aa89fa0b21c7235fa57b06d72c9dff1100f46eae742",
    4: "77199d6680d5b11c802b99e0f3ce0c4c85f178da914ca763c95374ff293c3c8c",
    5: "041969e84f48414dc20a7f1ccf060cc2da185a8ef6d78b495edd86cd675f1bfc",
    6: "656037aa4ecf3efe8e451a01467a0ba723afc2f1dc0d7116048cf0a3199d58bc",
    7: "7e1bd745fe8ebe44d37b9ea5408c41fc52759d277da85f06f9784cc1228729b6",
    8: "13fd7c6e24733ada0f2bd5a7e115af3cee208b47f946fa87125b08ce163ff87d",
}
"""sha256 of `schema.sql` by the cache's version: another schema is another version, and the old file is rebuilt."""


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """Return a version of the records."""
    return str(request.param)


@pytest.fixture
def old(tmp_path: Path, version: str) -> Repository:
    """Return a repository that an earlier version wrote."""
    shell = Shell(tmp_path / "old")
    shell.cwd.mkdir()
    shell.git("init", "-q")
    with (GOLDEN / f"run-{version}.fast-export").open("rb") as stream:
        subprocess.run(["git", "fast-import", "--quiet"], cwd=shell.cwd, stdin=stream, check=True)
    return Repository.open(shell.cwd)


def test_it_stands_in_git_as_it_did(old: Repository, version: str) -> None:
    found = old.list_refs("refs/notes/hmopt")
    assert found == {RefName(ref): Oid(oid) for ref, oid in HEADS[version].items()}
    assert len(old.list_refs(JOURNALS)) == 1


def what_is_in(told: object, then: object) -> object:
    """Return of what is told now the part that was told then."""
    if isinstance(told, dict) and isinstance(then, dict):
        return {key: what_is_in(told[key], value) for key, value in then.items() if key in told}
    if isinstance(told, list) and isinstance(then, list) and len(told) == len(then):
        return [what_is_in(one, other) for one, other in zip(told, then, strict=True)]
    return told


def test_its_story_is_told_as_it_was(old: Repository, version: str) -> None:
    (run,) = Journal(old).runs()
    told = json.loads(json.dumps(asdict(story_of(Journal(old).read(run)))))
    then = json.loads((GOLDEN / f"run-{version}.story.json").read_text())["story"]
    # A later version may know more of a run; what was told then stays.
    assert what_is_in(told, then) == then
    assert told["skipped"] == {}
    assert told["retractions"][0]["reason"] == "an example of a retraction"


def test_the_cache_holds_it(old: Repository) -> None:
    with Cache(old).reading() as database:
        (row,) = list_runs(database)
        assert (row.workload, row.status, row.iterations, row.accepted) == ("scan-blocks", "succeeded", 1, 0)
        assert skipped_in_all(database) == {}
        assert database.execute("SELECT count(*) FROM metrics").get > 3


def test_its_notes_are_lines_of_json(old: Repository) -> None:
    for ref in (NOTES_METRICS, NOTES_VERDICTS):
        noted = Notes(old, ref).read()
        assert noted
        assert all("at" in json.loads(line) for lines in noted.values() for line in lines)


def test_another_schema_is_another_version() -> None:
    schema = Path(cache.__file__).with_name("schema.sql").read_bytes()
    assert hashlib.sha256(schema).hexdigest() == SCHEMAS[cache.VERSION], "count VERSION up, and add its schema here"
