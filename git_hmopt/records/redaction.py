# SPDX-License-Identifier: Apache-2.0
"""Remove what must not enter git objects, and count it by rule: a pure function over text.

Git objects are pushed and never forgotten, so this runs when something is recorded, not when it is shown. It errs
towards removing: the raw bytes stay in the local artifact store.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Mapping
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


# Token shapes as their issuers document them; the prefix is the point of those shapes. Most are taken when they are
# shorter, too: what quotes a text often cuts it off.
_TOKENS = "|".join(
    (
        r"gh[pousr]_[A-Za-z0-9]{16,255}",
        r"github_pat_[A-Za-z0-9_]{12,255}",
        r"gl(?:pat|dt|rt|ptt|oas|cbt|ft|imt|agent|soat)-[A-Za-z0-9_.=-]{12,}",
        r"xox[abeoprs]-[A-Za-z0-9-]{10,}",
        r"xapp-[0-9]-[A-Za-z0-9-]{10,}",
        r"AIza[0-9A-Za-z_-]{16,35}",
        r"(?<!-)sk-(?=[A-Za-z_-]{0,200}[0-9])[A-Za-z0-9_-]{20,}",
        r"npm_(?=[A-Za-z]{0,40}[0-9])[A-Za-z0-9]{16,36}",
        r"pypi-AgE[A-Za-z0-9_-]{12,}",
        r"hf_(?=[A-Za-z]{0,40}[0-9])[A-Za-z0-9]{16,}",
        r"[rs]k_(?:live|test)_[0-9A-Za-z]{10,}",
        r"SG\.[A-Za-z0-9_-]{16,24}\.[A-Za-z0-9_-]{4,}",
        r"(?:AC|SK)[0-9a-f]{32}(?![A-Za-z0-9])",
        r"(?<!-)eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
        # `-----BEGIN` in base64, as kubeconfig and environment files hold keys.
        r"LS0tLS1CRUdJTi[A-Za-z0-9+/=]{40,}",
    )
)
_PASSWORD = r"pass(?:words?|wd|phrase)"
_SECRET_WORD = (
    rf"(?:{_PASSWORD}|secrets?|token|credentials?|api[_-]?keys?|access[_-]?key(?:[_-]?id)?|private[_-]?key"
    r"|auth[_-]?key)"
)
# Inside of a string a quote has a backslash, and in a string of that three.
_QUOTE = r"\\{0,3}[\"']"
_IS = rf"(?:{_QUOTE})?\s*(?:=>|:=|[:=])\s*"
# `token = strsep(&s, ",");`: what C assigns, a name, a call or a member, up to the end of its statement.
_GOES_ON = r",[ \t]*(?:\n|\Z)"
_OF_C = rf"(?<==[ \t])[&*!]?[A-Za-z_]\w{{0,80}}(?:;|{_GOES_ON}|\s?(?:[(\[.]|->)[^\n]{{0,200}}(?:[;{{]|{_GOES_ON}))"
# Numbers, addresses and calls are what logs and code say after `token:`; a credential is longer than five and mixed.
_SECRET_VALUE = (
    r"(?!<redacted:|[0-9]+\b|0x[0-9a-fA-F]+\b|[*.x]+(?:\s|$)|(?:none|null|true|false)\b|"
    rf"{_OF_C})[^\s\"',;<>()\[\]{{}}]{{6,}}"
)
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_DOMAIN = r"(?:internal|intranet|corp|lan|localdomain|home\.arpa)"
_MAIL_LABEL = r"(?:[^\W_]|-){1,63}"
# A path begins where no other goes on; `-I/home/alice` is how compilers are told one.
_PATH_BEGINS = r"(?:(?<![\w.~-])|(?<=-[A-Za-z]))"
# A key whose end was cut off goes as far as lines look like one, behind a log's time or not; a comment that only begins
# one hides nothing of what follows.
_KEY_LINE = (
    r"(?:[^\w\n<]{0,24}(?:[A-Za-z0-9+/]{1,80}={0,2}|[A-Z][\w-]{1,24}: [^\n<]{0,80})?"
    r"|[^\n<]{0,64}[^A-Za-z0-9+/\n<][A-Za-z0-9+/]{40,80}={0,2})(?:\\[rnt]|[^\w\n<]){0,24}"
)

# No part of a pattern that can begin at every character may run without a bound: a line may be a megabyte long.
_RULES = (
    _rule(
        "private-key",
        r"-----BEGIN (?P<k>[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?)-----"
        # Never over a tag's end: what a prompt or a page fences stays in its fence.
        r"(?:(?:[^<-]++|-(?!----(?:BEGIN|END) )|<(?!/))*+-----END (?P=k)-----"
        rf"|[^\n<]{{0,4000}}(?:\n{_KEY_LINE}(?=\n|\Z|<))*)",
        code=True,
    ),
    # A line of a key whose beginning is elsewhere; mixed as it is, it is no digest, and the alphabet is no key.
    _rule(
        "private-key",
        r"^([^\w\n<]{0,24})(?![A-Za-z0-9+/]{0,76}ABCDEFGH)(?=[a-z0-9+/]{0,76}[A-Z])(?=[A-Z0-9+/]{0,76}[a-z])(?=[A-Za-z+/]{0,76}[0-9])"
        r"[A-Za-z0-9+/]{60,76}(?=[^\w\n]{0,24}(?:\\n[^\w\n]{0,8})?$)",
        r"\1<redacted:private-key>",
        code=True,
        flags=re.MULTILINE,
    ),
    _rule("aws-key", r"\b(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b", code=True),
    _rule("token", rf"(?<![A-Za-z0-9_])(?:{_TOKENS})", code=True),
    _rule("token", r"\b((?:Account|SharedAccess)Key=)[A-Za-z0-9+/]{20,}={0,2}", r"\1<redacted:token>", code=True),
    _rule("token", r"https://hooks\.slack\.com/services/[A-Za-z0-9/]+", code=True),
    _rule(
        "userinfo",
        # Up to the last `@` of the authority: a password may hold one.
        r"\b([a-z][a-z0-9+.-]{1,20}://)(?!<redacted:)[^\s/\"'<>]{1,256}@",
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
        "token",
        r"\b((?:set-)?cookie\s*:\s*)(?!<redacted:)[^\s=;\"'<>]{1,64}=[^\r\n\"'<>]+",
        r"\1<redacted:token>",
        flags=re.IGNORECASE,
    ),
    _rule(
        "secret",
        rf"({_SECRET_WORD}{_IS})({_QUOTE})(?!<redacted:)(?:(?!\2)\\.|(?!\2)[^\n\\]){{6,200}}\2",
        r"\1\2<redacted:secret>\2",
        flags=re.IGNORECASE,
    ),
    _rule("secret", rf"({_SECRET_WORD}{_IS}(?:{_QUOTE})?){_SECRET_VALUE}", r"\1<redacted:secret>", flags=re.IGNORECASE),
    _rule("secret", rf"({_PASSWORD}{_IS}(?:{_QUOTE})?)[0-9]{{6,}}\b", r"\1<redacted:secret>", flags=re.IGNORECASE),
    _rule(
        "secret",
        rf"((?<![\w-])--[\w-]{{0,40}}?{_SECRET_WORD}[ \t]+)(?!-){_SECRET_VALUE}",
        r"\1<redacted:secret>",
        flags=re.IGNORECASE,
    ),
    _rule(
        "device-id",
        r"\b((?:imei|meid|imsi|iccid|udid|serial(?:[ _-]?(?:no|number|num))?|serialno)[\"'\]]?\s*(?:[:=]|is)"
        r"\s*[\"'\[]?)"
        r"(?!<redacted:)(?=[A-Za-z:-]{0,64}[0-9])[A-Za-z0-9][A-Za-z0-9:-]{5,}",
        r"\1<redacted:device-id>",
        flags=re.IGNORECASE,
    ),
    _rule(
        "device-id",
        r"\b((?:imei|meid|imsi|iccid)[ _-]?(?:sv|[0-9])?\b[^\w\n<]{0,6})[0-9]{14,20}\b",
        r"\1<redacted:device-id>",
        flags=re.IGNORECASE,
    ),
    # How adb, fastboot and hdc are told a device, and how adb lists them.
    _rule(
        "device-id",
        r"\b((?:(?:adb|fastboot)(?:\.exe)?[ \t]+-s|hdc(?:_std)?(?:\.exe)?[ \t]+-t)[ \t]+)"
        r"(?!<redacted:|\$)[^\s\"'<>;]{4,64}",
        r"\1<redacted:device-id>",
    ),
    _rule(
        "device-id",
        r"^(?=[A-Za-z]{0,64}[0-9])[A-Za-z0-9]{6,64}(?=(?:\t| {2,})(?:device|offline|unauthorized|recovery|sideload)\b)",
        flags=re.MULTILINE,
    ),
    _rule(
        "device-id",
        r"(?<![0-9A-Fa-f])(?<![0-9A-Fa-f]{2}[:-])(?!(?:00[:-]){5}00|(?:[fF]{2}[:-]){5}[fF]{2})[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}"
        r"(?![0-9A-Fa-f]|[:-][0-9A-Fa-f])",
    ),
    # `git@host:path` is an address of a repository, not of a person; its host is judged by the next rules.
    _rule("email", rf"(?<![\w.%+-])(?!git@)[\w.%+-]{{1,64}}(?:@|%40)(?:{_MAIL_LABEL}\.)+[^\W\d_]{{2,24}}\b"),
    # What a kernel says of who built it, and where.
    _rule("host", r"(\bLinux version \S{1,80} \()(?!<redacted:)[^()\s@]{1,64}@[^()\s]{1,255}", r"\1<redacted:host>"),
    # One label before the domain may be a file (`config.internal`): then a scheme, an `@` or a port must say host.
    _rule(
        "host",
        # A file of cgroups has a name of that form: memory.events.local.
        r"(?<![A-Za-z0-9._-])(?![\w-]{1,63}\.(?:swap\.)?events\.local\b)"
        rf"(?:[A-Za-z0-9-]{{1,63}}\.){{2,8}}(?:{_DOMAIN}|local)\b(?![A-Za-z0-9_(-])",
        flags=re.IGNORECASE,
    ),
    _rule("host", rf"(://|@)[A-Za-z0-9-]{{1,63}}\.(?:{_DOMAIN}|local)\b", r"\1<redacted:host>", flags=re.IGNORECASE),
    _rule("host", rf"(?<![A-Za-z0-9._/-])[A-Za-z0-9-]{{1,63}}\.(?:{_DOMAIN}|local)(?=:\d)", flags=re.IGNORECASE),
    _rule(
        "private-ip",
        rf"(?<![\w.])(?:10(?:\.{_OCTET}){{3}}|192\.168(?:\.{_OCTET}){{2}}|169\.254(?:\.{_OCTET}){{2}}"
        rf"|172\.(?:1[6-9]|2\d|3[01])(?:\.{_OCTET}){{2}}"
        rf"|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])(?:\.{_OCTET}){{2}})(?![\w]|\.\d)",
    ),
    # Unique local, and link-local, which is made of the device's hardware address.
    _rule(
        "private-ip",
        r"(?<![\w:])(?:f[cd][0-9a-f]{2}|fe[89ab][0-9a-f])(?=:{1,2}[0-9a-f])(?::[0-9a-f]{0,4}){2,7}(?![\w:])",
        flags=re.IGNORECASE,
    ),
    # Homes may lie deeper, on a share or another system's disk: /data/home/alice, /mnt/c/Users/alice.
    _rule("home", rf"{_PATH_BEGINS}(?:/[\w.+-]{{1,64}}){{0,4}}?/(?:home|Users)/[\w.-]+", "~"),
    _rule("home", rf"{_PATH_BEGINS}(?<!/)/root(?=[/\s:\"',;)\]]|$)", "~"),
    _rule("home", r"\b[A-Za-z]:\\{1,4}Users\\{1,4}[\w.-]+", "~", flags=re.IGNORECASE),
    _rule("home", r"%2F(?:home|Users)%2F[\w.-]+", "~", flags=re.IGNORECASE),
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


def pseudonymise(text: str, name: Callable[[str, str], str]) -> str:
    """Return text as `redact` makes it of a log, with what `name(rule, removed)` returns in place of what was removed.

    A name has to be one that no rule would remove again.
    """
    for rule in _RULES:
        text = rule.pattern.sub(functools.partial(_named, rule, name), text)
    return text


def credentials(text: str) -> frozenset[str]:
    """Return what `redact` removes of code: keys and tokens."""
    found: set[str] = set()

    def name(rule: str, removed: str) -> str:
        found.add(removed)
        return f"<redacted:{rule}>"

    for rule in _RULES:
        if rule.code:
            text = rule.pattern.sub(functools.partial(_named, rule, name), text)
    return frozenset(found)


def _named(rule: _Rule, name: Callable[[str, str], str], match: re.Match[str]) -> str:
    """Return a match with only what was removed under another name."""
    before, _, after = rule.replacement.partition("~" if rule.replacement == "~" else f"<redacted:{rule.name}>")
    kept, rest = match.expand(before), match.expand(after)
    return kept + name(rule.name, match[0][len(kept) : len(match[0]) - len(rest)]) + rest


def redact_file(name: str, data: bytes) -> tuple[bytes, Mapping[str, int]]:
    """Return a text file's redacted bytes and what was removed; its name says whether it is code."""
    redacted = redact(data, "code" if PurePosixPath(name).suffix in _CODE_SUFFIXES else "log")
    return redacted.text.encode("utf-8", "surrogateescape"), redacted.counts


def redact_values(value: Any) -> tuple[Any, Counter[str]]:
    """Return a JSON value with every string redacted, and what was removed.

    A string anywhere below a key like `password` goes as a whole, whatever it looks like; numbers stay, since `token`
    may count them.
    """
    counts: Counter[str] = Counter()
    return _clean(value, counts, secret=False), counts


def _clean(value: Any, counts: Counter[str], *, secret: bool) -> Any:
    if isinstance(value, str):
        return _blotted(value, counts) if secret else _clean_text(value, counts)
    if isinstance(value, Mapping):
        changed: dict[str, Any] = {}
        for key, inner in value.items():
            name = _clean_text(str(key), counts)
            while name in changed:  # two keys that differ only in what was removed
                name += "'"
            changed[name] = _clean(inner, counts, secret=secret or bool(_SECRET_KEY.search(str(key))))
        return changed
    if isinstance(value, list | tuple):
        return [_clean(inner, counts, secret=secret) for inner in value]
    return value


def _clean_text(text: str, counts: Counter[str]) -> str:
    # Half characters (undecodable bytes of some log) cannot stand in UTF-8.
    redacted = redact(text.encode("utf-8", "replace").decode())
    counts.update(redacted.counts)
    return redacted.text


def _blotted(text: str, counts: Counter[str]) -> str:
    if text and not text.startswith("<redacted:"):
        counts["secret"] += 1
    return "<redacted:secret>" if text else text
