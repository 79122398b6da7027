# SPDX-License-Identifier: Apache-2.0
"""Who may ask: bearer tokens with scopes, of which the server knows the sha256 alone.

A token is 32 random bytes, so that a plain hash of it tells nothing (a password would need more). The file is read
again when it changes: a token that is taken out of it is refused from then on.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import threading
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from git_hmopt.errors import ConfigError, StoreError, UsageError
from hmopt_bot.private import private_lines

SETTING = "hmopt.serve.tokens"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LONGEST = 512


class Scope(StrEnum):
    """What a token lets its bearer do."""

    READ = "read"
    WRITE = "write"
    """Start runs, and read."""


@dataclass(frozen=True)
class Caller:
    """Whose token it was."""

    name: str
    scope: Scope

    def may(self, scope: Scope) -> bool:
        """Say whether the caller has a scope."""
        return self.scope is Scope.WRITE or scope is Scope.READ


@dataclass(frozen=True)
class _Known:
    caller: Caller
    digest: bytes


class Tokens:
    """The tokens of a file; ConfigError when it cannot be used, from the start and at every change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, ...] = ()
        self._known: list[_Known] = []
        self._refresh()

    def caller(self, token: str) -> Caller | None:
        """Return whose token it is, or None."""
        self._refresh()
        digest = hashlib.sha256(token[:_LONGEST].encode("utf-8", "surrogateescape")).digest()
        found = None
        # All of them, each in constant time: how long it takes tells nothing about which was nearly right.
        for one in self._known:
            if hmac.compare_digest(one.digest, digest):
                found = one.caller
        return found if len(token) <= _LONGEST else None

    def _refresh(self) -> None:
        with self._lock:
            try:
                now = self._path.stat()
            except OSError as error:
                raise ConfigError(f"{SETTING}: '{self._path}' cannot be read: {error.strerror}") from error
            stamp = (now.st_ino, now.st_mtime_ns, now.st_ctime_ns, now.st_size)
            if stamp != self._stamp:
                self._known = _read(self._path)
                self._stamp = stamp


def _read(path: Path) -> list[_Known]:
    known: dict[str, _Known] = {}
    for number, words in private_lines(path, SETTING):
        where = f"{SETTING}: {path}:{number}"
        if len(words) != 3 or not _NAME.fullmatch(words[0]):
            raise ConfigError(f"{where}: a line is a name, a scope and a sha256")
        name, scope, digest = words
        if scope not in tuple(Scope):
            raise ConfigError(f"{where}: the scope is 'read' or 'write'")
        if not _SHA256.fullmatch(digest):
            raise ConfigError(
                f"{where}: the third word is no sha256 (64 lower-case hex digits)",
                next_step="make a token with: git hmopt serve --new-token NAME",
            )
        if name in known:
            raise ConfigError(f"{where}: a second token '{name}'")
        known[name] = _Known(Caller(name, Scope(scope)), bytes.fromhex(digest))
    return list(known.values())


def new_token(path: Path, name: str, scope: Scope) -> str:
    """Add a token to the file, which is made when it is not there, and return the token: it is kept nowhere."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"'{name}' is no name of a token", next_step="letters, digits, '.', '_' and '-', up to 64")
    if path.exists() and any(words[0] == name for _, words in private_lines(path, SETTING)):
        raise UsageError(f"there is a token '{name}' already", next_step=f"take its line out of {path}, or use another")
    token = secrets.token_urlsafe(32)
    line = f"{name} {scope} {hashlib.sha256(token.encode()).hexdigest()}\n"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "a", encoding="ascii") as stream:
            stream.write(line)
    except OSError as error:
        raise StoreError(f"'{path}' cannot be written: {error.strerror}", next_step="make its directory") from error
    return token
