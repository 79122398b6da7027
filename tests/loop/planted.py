# SPDX-License-Identifier: Apache-2.0
"""Secrets of many kinds, made at run time from random parts, and a search for them in whatever form they may leave.

None of them opens anything. `Planter(place)` makes others for every place, so that what is found says where from.
"""

from __future__ import annotations

import base64
import json
import random
import re
import string
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from git_hmopt.agents.llm.fencing import shown
from git_hmopt.demo.model_server import Script
from tests.loop.project import Project

_LETTERS, _DIGITS, _HEX = string.ascii_letters, string.digits, "0123456789abcdef"
_B64 = _LETTERS + _DIGITS


def _some(of: str, number: int, dice: random.Random) -> str:
    # The first is a letter and one is a digit: forms ask for both.
    return "".join(dice.choice(of) for _ in range(number - 1)) + dice.choice("23456789")


def _word(dice: random.Random, number: int = 9) -> str:
    return "".join(dice.choice("bcdfghjklmnpqrstvwxz") for _ in range(number))


def _jwt(dice: random.Random) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return ".".join((part({"alg": "HS256", "typ": "JWT"}), part({"sub": _word(dice, 20)}), _some(_B64, 43, dice)))


def _imei(dice: random.Random) -> str:
    digits = [int(one) for one in "35" + "".join(dice.choice(_DIGITS) for _ in range(12))]
    doubled = [number if place % 2 == 0 else number * 2 for place, number in enumerate(digits)]
    return "".join(map(str, digits)) + str(-sum(number // 10 + number % 10 for number in doubled) % 10)


def _ip(dice: random.Random) -> str:
    return "10." + ".".join(str(dice.randint(130, 250)) for _ in range(3))


def _ipv6(dice: random.Random) -> str:
    return "fd" + ":".join(["".join(dice.choice(_HEX[1:]) for _ in range(n)) for n in (2, 4, 4)]) + "::7"


def _mac(dice: random.Random) -> str:
    return ":".join(f"{dice.randint(16, 250):02x}" for _ in range(6))


_Made = tuple[str, str]
"""A line as it stands in a file, and what of it is the secret."""
KINDS: Mapping[str, Callable[[random.Random], _Made]] = {
    "aws-key": lambda dice: (("AK" + "IA{}").format(made := _some(string.ascii_uppercase, 16, dice)), made),
    "aws-secret": lambda dice: (f'aws_sec{"ret"}_access_key = "{(made := _some(_B64 + "/+", 40, dice))}"', made),
    "github": lambda dice: (f"gh{'p'}_{(made := _some(_B64, 36, dice))}", made),
    "github-fine": lambda dice: (f"github{'_pat'}_{(made := _some(_B64 + '_', 82, dice))}", made),
    "gitlab": lambda dice: (f"glp{'at'}-{(made := _some(_B64, 20, dice))}", made),
    "slack": lambda dice: (f"xo{'xb'}-{(made := _some(_DIGITS, 12, dice) + '-' + _some(_HEX, 24, dice))}", made),
    "stripe": lambda dice: (f"sk{'_live'}_{(made := _some(_B64, 24, dice))}", made),
    "google": lambda dice: (f"AI{'za'}{(made := _some(_B64 + '-_', 35, dice))}", made),
    "jwt": lambda dice: (made := _jwt(dice), made.rpartition(".")[2]),
    "npm": lambda dice: (f"np{'m'}_{(made := _some(_B64, 36, dice))}", made),
    "pypi": lambda dice: (f"pypi-{'AgE'}IcHlwaS5vcmc{(made := _some(_B64 + '-_', 90, dice))}", made),
    "hugging-face": lambda dice: (f"h{'f'}_{(made := _some(_B64, 34, dice))}", made),
    "openai": lambda dice: (f"sk{'-proj'}-{(made := _some(_B64, 40, dice))}", made),
    "sendgrid": lambda dice: (f"S{'G'}.{_some(_B64, 22, dice)}.{(made := _some(_B64, 43, dice))}", made),
    "twilio": lambda dice: (f"S{'K'}{(made := _some(_HEX, 32, dice))}", made),
    "azure": lambda dice: (f"Account{'Key'}={(made := _some(_B64 + '+/', 86, dice))}==", made),
    "url-password": lambda dice: (f"https://builder:{(made := _some(_B64, 12, dice))}@git.example.org/k.git", made),
    "password": lambda dice: (f"pass{'word'} = '{(made := _some(_B64, 14, dice))}'", made),
    "api-key": lambda dice: (f'"api{"_key"}": "{(made := _some(_B64, 18, dice))}"', made),
    "bearer": lambda dice: (f"Authorization: Bea{'rer'} {(made := _some(_B64, 30, dice))}", made),
    "email": lambda dice: (f"mail {(made := f'{_word(dice)}.{_word(dice)}@example.org')} about it", made),
    "home": lambda dice: (f"/home/{(made := _word(dice))}/linux/lib/sort.c:12: note", made),
    "mac-home": lambda dice: (f"-I/Users/{(made := _word(dice))}/linux/include", made),
    "windows-home": lambda dice: (rf"at C:\Users\{(made := _word(dice))}\linux\lib", made),
    "host-corp": lambda dice: (f"from {(made := f'{_word(dice)}.build.corp')} it came", made),
    "host-internal": lambda dice: (f"see https://{(made := f'{_word(dice)}.internal')}/x", made),
    "host-lan": lambda dice: (f"ssh {_word(dice)}@{(made := f'{_word(dice)}.lan')} uname", made),
    "ipv4": lambda dice: (f"to {(made := _ip(dice))}:8080 sent", made),
    "ipv6": lambda dice: (f"to [{(made := _ipv6(dice))}] sent", made),
    "mac": lambda dice: (f"HWaddr {(made := _mac(dice))} up", made),
    "adb": lambda dice: (f"adb -s {(made := _some(string.ascii_uppercase + _DIGITS, 11, dice))} shell", made),
    "hdc": lambda dice: (f"hdc -t {(made := _some(_HEX, 32, dice))} shell", made),
    "serialno": lambda dice: (f"[ro.serialno]: [{(made := _some(string.ascii_uppercase, 11, dice))}]", made),
    "serial": lambda dice: (f"serial number: {(made := _some(string.ascii_uppercase, 11, dice))}", made),
    "imei": lambda dice: (f"IMEI: {(made := _imei(dice))}", made),
}  # fmt: skip
KEY = "private-key"
"""The kind that has lines."""


@dataclass
class Planter:
    """Makes the secrets of one place."""

    place: str
    dice: random.Random
    secrets: dict[str, str] = field(default_factory=dict)
    """What must not leave, by kind."""

    def line(self, kind: str) -> str:
        """Return a line with a fresh secret of a kind, marked with the place and the kind."""
        text, self.secrets[kind] = KINDS[kind](self.dice)
        return f"[{self.place}:{kind}] {text}"

    def lines(self, kinds: Iterable[str] = KINDS) -> list[str]:
        """Return a line of each kind."""
        return [self.line(kind) for kind in kinds]

    def key(self) -> list[str]:
        """Return a private key; every line of its body is a secret."""
        body = [_some(_B64 + "+/", 64, self.dice) for _ in range(3)]
        self.secrets |= {f"{KEY}-{number}": line for number, line in enumerate(body)}
        name = "RSA PRIV" + "ATE KEY"
        return [f"[{self.place}:{KEY}] -----BEGIN {name}-----", *body, f"-----END {name}-----"]


# -- a model that was shown them --------------------------------------------------------------------------------------


class Quoting(Script):
    """A model that copies from what it was shown."""

    def take(self, request: bytes) -> Mapping[str, Any]:
        """Return a turn with what is quoted put in."""
        turn = super().take(request)
        said = "\n".join(strings_of(request.decode()))

        def seen(quote: re.Match[str]) -> str:
            place = r"# \d\." if quote[1] == "symbol" else re.escape(f"[{quote[1]}]")
            found = re.search(rf"{place} (?:mail )?(<redacted:[a-z-]+:[0-9]+>)", said)
            assert found, quote[1]
            return found[1]

        return {**turn, "answer": re.sub(r"QUOTE\(([a-z:]+)\)", seen, str(turn.get("answer", "")))}


def function(body: str) -> str:
    """Return a new scan_byte as a Coder writes it."""
    head = "const void *scan_byte(const void *start, int c, size_t n)"
    return f"FUNCTION lib/scan.c scan_byte\n```c\n{head}\n{{\n{body}}}\n```\n"


def agent(request: bytes) -> str:
    """Return whom a request asks."""
    return request.decode().partition("You are the ")[2].partition(" of ")[0]


# -- finding them -----------------------------------------------------------------------------------------------------


def forms(secret: str) -> Iterator[str]:
    """Yield a secret as it may be written: plain, in JSON, escaped in C, percent-encoded, hexadecimal, in base64."""
    yield secret
    yield json.dumps(secret)[1:-1]
    yield shown(secret)
    yield urllib.parse.quote(secret, safe="")
    yield secret.encode().hex()
    for before in range(3):
        # Without the characters that hold bits of what stands beside it.
        first, rest = -(-8 * before // 6), 3 - (before + len(secret.encode())) % 3
        coded = base64.b64encode(b"\0" * before + secret.encode()).decode().rstrip("=")
        yield coded[first : len(coded) - (rest != 3)]


def leaked(sent: Iterable[bytes], secrets: Mapping[str, str]) -> list[str]:
    """Return the names of the secrets that stand in what was sent: heads and bodies, as they are and as JSON says them,
    with their line breaks and blanks or without.
    """
    texts: list[str] = []
    for request in sent:
        raw = request.decode("utf-8", "replace")
        said = "\n".join(strings_of(raw))
        texts += [raw, said, said.replace("\\n", ""), urllib.parse.unquote(said)]
    haystack = "\0".join(texts).lower()
    # Split by a line break and what decorates lines: a comment's star, a diff's sign, a string's quotes.
    squeezed = re.sub(r"[\s\"']*\n[\s\"']*(?:\*|//|[+-])?", "", haystack)
    # A key may begin or go on with what looks like a sign.
    squeezed, joined = (re.sub(r"[\s\"']+", "", text) for text in (squeezed, haystack))
    return [
        name
        for name, secret in secrets.items()
        if any(form.lower() in text for form in forms(secret) for text in (haystack, squeezed, joined))
    ]


def strings_of(request: str) -> Iterator[str]:
    """Yield every string of a request's JSON body, or the text itself where it has none."""
    start = request.find("{")
    try:
        yield from _strings(json.loads(request[start:]))
    except ValueError:
        yield request


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from (key, *_strings(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def arrived(sent: Iterable[bytes], planter: Planter) -> list[str]:
    """Return the kinds of a place whose line was sent with something redacted in it."""
    said = "\n".join(text for one in sent for text in strings_of(one.decode("utf-8", "replace")))
    begin = rf"\[{re.escape(planter.place)}:"
    mark = rf"{begin}([a-z0-9-]+)\](?:(?!{begin})[^\n])*?(?:<redacted(?::[a-z-]+)?(?::\d+)?>|~)"
    return sorted(set(re.findall(mark, said)))


def objects(project: Project) -> frozenset[str]:
    """Return the ids of all objects of a repository."""
    listed = project.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
    return frozenset(listed.split())
