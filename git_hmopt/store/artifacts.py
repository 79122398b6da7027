# SPDX-License-Identifier: Apache-2.0
"""The local store of large and raw bytes, addressed by their sha256; nothing here is ever pushed as it is."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from git_hmopt.errors import CorruptRecordError, StoreError
from git_hmopt.records.run import ArtifactRecord
from git_hmopt.records.words import Sha256
from git_hmopt.store.repository import Repository

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class ArtifactStore:
    """Files `<root>/<aa>/<sha256>[.<ext>]`, written whole or not at all."""

    root: Path

    @classmethod
    def of(cls, repository: Repository) -> ArtifactStore:
        """Return the store that all worktrees of a repository share."""
        return cls(repository.home / "artifacts")

    def put_bytes(self, data: bytes, *, kind: str, name: str, media_type: str) -> ArtifactRecord:
        """Store bytes and return their record; StoreError when they could not be written."""
        with self._incoming() as (temporary, stream):
            stream.write(data)
            return self._keep(temporary, stream, hashlib.sha256(data).hexdigest(), kind, name, media_type)

    def put_file(self, source: Path, *, kind: str, name: str | None = None, media_type: str) -> ArtifactRecord:
        """Store a copy of a file, in constant memory; `name` defaults to the file's."""
        digest = hashlib.sha256()
        try:
            reader = source.open("rb")
        except OSError as error:
            raise StoreError(f"cannot read '{source}' to store it: {error.strerror}") from error
        with reader, self._incoming() as (temporary, stream):
            while chunk := reader.read(_CHUNK):
                digest.update(chunk)
                stream.write(chunk)
            return self._keep(temporary, stream, digest.hexdigest(), kind, name or source.name, media_type)

    def read(self, sha256: str) -> bytes | None:
        """Return an artifact's bytes, None when it is not here; CorruptRecordError when they are not its bytes."""
        path = self.path(sha256)
        if path is None:
            return None
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"artifact '{path}' cannot be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise CorruptRecordError(
                f"artifact '{path}' is damaged", next_step="delete it: it then shows as missing instead of wrong"
            )
        return data

    def path(self, sha256: str) -> Path | None:
        """Return where an artifact lies, or None when it is not here (expired, or made on another machine)."""
        if not _SHA256.fullmatch(sha256):
            raise StoreError(f"{sha256[:80]!r} is no sha256")
        directory = self.root / sha256[:2]
        exact = directory / sha256
        return exact if exact.is_file() else next(iter(sorted(directory.glob(f"{sha256}.*"))), None)

    @contextlib.contextmanager
    def _incoming(self) -> Iterator[tuple[Path, IO[bytes]]]:
        temporary: Path | None = None
        try:
            incoming = self.root / "incoming"
            incoming.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=incoming)
            temporary = Path(name)
            with os.fdopen(handle, "wb") as stream:
                yield temporary, stream
        except OSError as error:
            raise StoreError(
                f"an artifact cannot be written below '{self.root}': {error.strerror}",
                next_step="free space there and run it again",
            ) from error
        finally:
            if temporary:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)

    def _keep(
        self, temporary: Path, stream: IO[bytes], sha256: str, kind: str, name: str, media_type: str
    ) -> ArtifactRecord:
        stream.flush()
        size = os.fstat(stream.fileno()).st_size
        os.fsync(stream.fileno())
        suffix = PurePosixPath(name).suffix.lower()
        new = self.root / sha256[:2] / (sha256 + (suffix if _SUFFIX.fullmatch(suffix) else ""))
        # What is here already is replaced all the same: it may be damaged.
        target = self.path(sha256) or new
        target.parent.mkdir(exist_ok=True)
        temporary.chmod(0o644)
        temporary.replace(target)
        _sync_directory(target.parent)
        return ArtifactRecord(sha256=Sha256(sha256), size=size, media_type=media_type, kind=kind, name=name)


def _sync_directory(directory: Path) -> None:
    """Make a rename survive a power cut."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
