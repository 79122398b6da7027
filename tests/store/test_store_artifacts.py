# SPDX-License-Identifier: Apache-2.0
"""The artifact store: whole files or none, verified, and a missing one is a state."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from git_hmopt.errors import CorruptRecordError, StoreError
from git_hmopt.store.artifacts import ArtifactStore
from git_hmopt.store.repository import Repository
from tests.store.repositories import finish, in_processes, start_python


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    """Return an empty store."""
    return ArtifactStore(tmp_path / "artifacts")


def _files(store: ArtifactStore) -> list[str]:
    return sorted(str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file())


def test_bytes_come_back(store: ArtifactStore) -> None:
    record = store.put_bytes(b"hello", kind="log", name="build.log", media_type="text/plain")
    sha256 = hashlib.sha256(b"hello").hexdigest()
    assert (record.sha256, record.size, record.kind, record.name) == (sha256, 5, "log", "build.log")
    assert store.read(sha256) == b"hello"
    assert _files(store) == [f"{sha256[:2]}/{sha256}.log"]


def test_the_same_bytes_are_kept_once(store: ArtifactStore) -> None:
    first = store.put_bytes(b"same", kind="log", name="a.log", media_type="text/plain")
    second = store.put_bytes(b"same", kind="profile", name="b.txt", media_type="text/plain")
    assert first.sha256 == second.sha256
    assert len(_files(store)) == 1


def test_a_file_is_copied_in_pieces(store: ArtifactStore, tmp_path: Path) -> None:
    source = tmp_path / "perf.data"
    source.write_bytes(bytes(range(256)) * 20_000)
    record = store.put_file(source, kind="profile", media_type="application/octet-stream")
    assert (record.name, record.size) == ("perf.data", 5_120_000)
    assert store.read(record.sha256) == source.read_bytes()
    with pytest.raises(StoreError, match="cannot read"):
        store.put_file(tmp_path / "none", kind="profile", media_type="text/plain")


@pytest.mark.parametrize("name", ["../../etc/passwd", "x.toolongsuffix", "x.TAR GZ", ".", "", "x.a/b"])
def test_a_name_never_chooses_the_place(store: ArtifactStore, name: str) -> None:
    record = store.put_bytes(b"x", kind="log", name=name, media_type="text/plain")
    assert _files(store) == [f"{record.sha256[:2]}/{record.sha256}"]


def test_missing_is_a_state_and_nonsense_an_error(store: ArtifactStore) -> None:
    assert store.read("0" * 64) is None
    assert store.path("0" * 64) is None
    for nonsense in ("", "../x", "A" * 64, "0" * 63):
        with pytest.raises(StoreError, match="is no sha256"):
            store.path(nonsense)


def test_damage_is_found_and_healed_by_storing_again(store: ArtifactStore) -> None:
    record = store.put_bytes(b"hello", kind="log", name="a.log", media_type="text/plain")
    path = store.path(record.sha256)
    assert path is not None
    path.write_bytes(b"hellp")
    with pytest.raises(CorruptRecordError, match=r"is damaged; delete it"):
        store.read(record.sha256)
    store.put_bytes(b"hello", kind="log", name="other", media_type="text/plain")
    assert store.read(record.sha256) == b"hello"


_FULL = """
import resource, sys
from pathlib import Path
from git_hmopt.errors import StoreError
from git_hmopt.store.artifacts import ArtifactStore
store = ArtifactStore(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    store.put_bytes(b"x" * 3_000_000, kind="log", name="a.log", media_type="text/plain")
except StoreError as error:
    assert sys.argv[1] in str(error) and "free space there" in str(error), error
else:
    raise SystemExit("the limit did not bite")
"""


def test_a_write_the_system_refuses_leaves_no_half_file(store: ArtifactStore) -> None:
    """A file size limit makes the kernel refuse the write half-way, as a full disk does."""
    finish([start_python(_FULL, str(store.root))])
    assert _files(store) == []


def test_a_root_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("a file is in the way")
    with pytest.raises(StoreError, match="cannot be written below"):
        ArtifactStore(tmp_path / "artifacts").put_bytes(b"x", kind="log", name="a", media_type="text/plain")


def test_processes_that_store_the_same_bytes(store: ArtifactStore) -> None:
    def put(process: int) -> None:
        for number in range(20):
            store.put_bytes(b"%d" % number * 5000, kind="log", name=f"p{process}.log", media_type="text/plain")

    in_processes(4, put)
    digests = {Path(name).name.split(".")[0] for name in _files(store)}
    assert len(digests) == 20
    assert all(store.read(digest) for digest in digests)


def test_all_worktrees_share_one_store(repository: Repository) -> None:
    assert ArtifactStore.of(repository).root == repository.common_dir / "hmopt/artifacts"
