# SPDX-License-Identifier: Apache-2.0
"""Remove what must not enter git objects, and count it by rule: a pure function over text.

Git objects are pushed and never forgotten, so this runs when something is recorded, not when it is shown. It errs
towards removing: the raw bytes stay in the local artifact store.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

TextKind = Literal["log", "code"]
"""`code` is source and diffs: only what can be nothing but a credential goes, since the rest would change meaning."""

_CODE_SUFFIXES = frozenset({".diff", ".patch", ".c", ".h", ".S", ".py", ".sh"})


@dataclass(frozen=True)
class Redacted:
    """Text without what was removed, and how often each rule removed something."""

    text: str
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Rule:
    name: str
    pattern: re.Pattern[str]
    replacement: str
    """A template for `Match.expand`."""
    code: bool = False


def _rule(name: str, pattern: str, replacement: str | None = None, *, code: bool = False, flags: int = 0) -> _Rule:
    return _Rule(name, re.compile(pattern, flags), replacement or f"<redacted:{name}>", code)


# Token shapes as their issuers document them; the prefix is the point of those shapes.
_TOKENS = "|".join(
    (
        r"gh[pousr]_[A-Za-z0-9]{36,255}",
        r"github_pat_[A-Za-z0-9_]{22,255}",
        r"gl(?:pat|dt|rt|ptt|oas|cbt|ft|imt|agent|soat)-[A-Za-z0-9_.=-]{20,}",
        r"xox[abeoprs]-[A-Za-z0-9-]{10,}",
        r"xapp-[0-9]-[A-Za-z0-9-]{10,}",
        r"AIza[0-9A-Za-z_-]{35}",
        r"sk-(?:[A-Za-z0-9]+-)*[A-Za-z0-9_]{20,}",
        r"npm_[A-Za-z0-9]{36}",
        r"pypi-AgE[A-Za-z0-9_-]{40,}",
        r"hf_[A-Za-z0-9]{30,}",
        r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
    )
)
_SECRET_WORD = (
    r"(?:pass(?:word|wd|phrase)|secret|token|credentials?|api[_-]?key|access[_-]?key(?:[_-]?id)?|private[_-]?key"
    r"|client[_-]?secret|auth[_-]?key)"
)
# Numbers, addresses and calls are what logs and code say after `token:`; a credential is longer than five and mixed.
_SECRET_VALUE = (
    r"(?!<redacted:|[0-9]+\b|0x[0-9a-fA-F]+\b|[*.x]+(?:\s|$)|(?:none|null|true|false)\b)[^\s\"',;<>()\[\]{}]{6,}"
)
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_DOMAIN = r"(?:internal|intranet|corp|lan|localdomain|home\.arpa)"

_RULES = (
    _rule(
        "private-key",
        r"-----BEGIN (?P<k>[A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?)-----.*?(?:-----END (?P=k)-----|\Z)",
        code=True,
        flags=re.DOTALL,
    ),
    _rule("aws-key", r"\b(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b", code=True),
    _rule("token", rf"(?<![A-Za-z0-9_])(?:{_TOKENS})", code=True),
    _rule("token", r"https://hooks\.slack\.com/services/[A-Za-z0-9/]+", code=True),
    _rule(
        "userinfo",
        r"\b([a-z][a-z0-9+.-]*://)(?!<redacted:)[^\s/@:\"'<>]+(?::[^\s/@\"'<>]*)?@",
        r"\1<redacted:userinfo>@",
        code=True,
        flags=re.IGNORECASE,
    ),
    _rule(
        "token",
        r"\b(authorization\s*[:=]\s*[\"']?)(?!<redacted:)(?:(?:bearer|basic|token|digest)\s+)?[^\s\"'<>]+",
        r"\1<redacted:token>",
        flags=re.IGNORECASE,
    ),
    _rule("token", r"\b(bearer\s+)[A-Za-z0-9._~+/=-]{16,}", r"\1<redacted:token>", flags=re.IGNORECASE),
    _rule(
        "secret",
        rf"((?:^|(?<![A-Za-z]))[A-Za-z0-9_.-]{{0,40}}?{_SECRET_WORD}[\"']?\s*(?:=>|:=|[:=])\s*[\"']?){_SECRET_VALUE}",
        r"\1<redacted:secret>",
        flags=re.IGNORECASE | re.MULTILINE,
    ),
    _rule(
        "device-id",
        r"\b((?:imei|meid|imsi|iccid|udid|serial(?:[ _-]?(?:no|number|num))?|serialno)[\"']?\s*(?:[:=]|is)\s*[\"']?)"
        r"(?!<redacted:)(?=[A-Za-z0-9:-]*[0-9])[A-Za-z0-9][A-Za-z0-9:-]{5,}",
        r"\1<redacted:device-id>",
        flags=re.IGNORECASE,
    ),
    _rule("device-id", r"(?<![0-9A-Fa-f:])(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}(?![0-9A-Fa-f:])"),
    # `git@host:path` is an address of a repository, not of a person; its host is judged by the next rules.
    _rule("email", r"(?<![A-Za-z0-9._%+-])(?!git@)[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}\b"),
    # One label before the domain may be a file (`config.internal`): then a scheme, an `@` or a port must say host.
    _rule("host", rf"(?<![A-Za-z0-9._-])(?:[A-Za-z0-9-]{{1,63}}\.){{2,8}}{_DOMAIN}\b(?![A-Za-z0-9_(-])"),
    _rule("host", rf"((?:://|@))[A-Za-z0-9-]{{1,63}}\.(?:{_DOMAIN}|local)\b", r"\1<redacted:host>"),
    _rule("host", rf"(?<![A-Za-z0-9._/-])[A-Za-z0-9-]{{1,63}}\.(?:{_DOMAIN}|local)(?=:\d)"),
    _rule(
        "private-ip",
        rf"(?<![\w.])(?:10(?:\.{_OCTET}){{3}}|192\.168(?:\.{_OCTET}){{2}}|169\.254(?:\.{_OCTET}){{2}}"
        rf"|172\.(?:1[6-9]|2\d|3[01])(?:\.{_OCTET}){{2}})(?![\w]|\.\d)",
    ),
    _rule("private-ip", r"(?<![\w:])f[cd][0-9a-f]{2}(?::[0-9a-f]{0,4}){2,7}(?![\w:])", flags=re.IGNORECASE),
    _rule("home", r"(?<![\w.~-])(?:/home/|/Users/)(?!<)[A-Za-z0-9._-]+|(?<![\w.~/-])/root(?=[/\s:\"',;)\]]|$)", "~"),
    _rule("home", r"\b[A-Za-z]:\\Users\\[A-Za-z0-9._-]+", "~"),
)

# Most strings of a record are names and digests, and no rule matches so little, or hex digits alone.
_HARMLESS = re.compile(r"[A-Za-z0-9_+-]{0,14}|[0-9a-f]+")
_SHORT = 200
"""Characters up to which answers are remembered: records repeat their names, paths and units."""

_SECRET_KEY = re.compile(_SECRET_WORD + "$", re.IGNORECASE)


def redact(data: bytes | str, kind: TextKind = "log") -> Redacted:
    """Return `data` as text without keys, credentials and, in logs, addresses of people, hosts, homes and devices.

    Bytes that are no UTF-8 pass unchanged (as surrogates). Doing it twice changes and counts nothing more.
    """
    text = data.decode("utf-8", "surrogateescape") if isinstance(data, bytes) else data
    if _HARMLESS.fullmatch(text):
        return Redacted(text)
    return _redact_short(text, kind) if len(text) <= _SHORT else _redact(text, kind)


def _redact(text: str, kind: TextKind) -> Redacted:
    counts: Counter[str] = Counter()
    for rule in _RULES:
        if kind == "log" or rule.code:
            text, count = rule.pattern.subn(rule.replacement, text)
            counts[rule.name] += count
    return Redacted(text, {name: count for name, count in sorted(counts.items()) if count})


_redact_short = functools.lru_cache(maxsize=4096)(_redact)


def redact_file(name: str, data: bytes) -> tuple[bytes, Mapping[str, int]]:
    """Return a text file's redacted bytes and what was removed; its name says whether it is code."""
    redacted = redact(data, "code" if PurePosixPath(name).suffix in _CODE_SUFFIXES else "log")
    return redacted.text.encode("utf-8", "surrogateescape"), redacted.counts


def redact_values(value: Any) -> tuple[Any, Counter[str]]:
    """Return a JSON value with every string redacted, and what was removed.

    A string under a key like `password` goes as a whole, whatever it looks like.
    """
    if isinstance(value, str):
        # Half characters (undecodable bytes of some log) cannot stand in UTF-8.
        redacted = redact(value.encode("utf-8", "replace").decode())
        return redacted.text, Counter(redacted.counts)
    counts: Counter[str] = Counter()
    if isinstance(value, Mapping):
        changed: dict[str, Any] = {}
        for key, inner in value.items():
            name, removed = redact_values(str(key))
            counts += removed
            while name in changed:  # two keys that differ only in what was removed
                name += "'"
            changed[name], removed = _redact_item(str(key), inner)
            counts += removed
        return changed, counts
    if isinstance(value, list | tuple):
        items = []
        for inner in value:
            item, removed = redact_values(inner)
            items.append(item)
            counts += removed
        return items, counts
    return value, counts


def _redact_item(key: str, value: Any) -> tuple[Any, Counter[str]]:
    if isinstance(value, str) and value and _SECRET_KEY.search(key):
        known = value.startswith("<redacted:")
        return ("<redacted:secret>", Counter() if known else Counter({"secret": 1}))
    return redact_values(value)
