# SPDX-License-Identifier: Apache-2.0
"""What leaves for a model is read here first: credentials, people, hosts and devices go, under a name each.

The names (`<redacted:email:2>`) are the same for the same thing through one run, so that a prompt's beginning stays as
it was, and are put back in what a model answers. What they stand for is kept in this process and nowhere else.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.plugins.base import RegexBasedDetector

from git_hmopt.records.redaction import pseudonymise

_NAME = re.compile(r"<redacted:[a-z-]+:[0-9]+>")
# Addresses that everybody can reach are no secret, and constants of a kernel look like them.
_NOT_ASKED = frozenset({"IPPublicDetector"})
_OF_EVERYBODY = frozenset(
    {"root", "home", "user", "admin", "build", "builder", "buildd", "runner", "nobody", "localhost", "kernel"}
)
# Where a text was cut: the marks that are put there, and the ends of lines that are so long.
_CUT_OFF = re.compile(r"(?<!\S)(?P<word>[^\s<]\S{3,})(?=\u2026|\.\.\.| ?\[cut)")
_LONG_LINE = re.compile(r"^[^\n]{40,}(?<!\S)(?P<word>[^\s<]\S{3,})$", re.MULTILINE)
_BEGINNING = 5
"""Characters of something removed that are known again."""
_SHORTEST = 4
"""Characters of a name of this machine or its user."""
_SHORTEST_SECRET = 8


@functools.cache
def _detectors() -> tuple[RegexBasedDetector, ...]:
    """Return the detectors of detect-secrets that know a credential by its form.

    Those that go by entropy take a commit's id and a table of constants for keys.
    """
    kinds: Iterable[type] = get_mapping_from_secret_type_to_class().values()
    chosen = (one for one in kinds if issubclass(one, RegexBasedDetector) and one.__name__ not in _NOT_ASKED)
    return tuple(one() for one in sorted(chosen, key=lambda one: one.__name__))


class Outbound:
    """The names of one run."""

    def __init__(self, *, hosts: Iterable[str] = (), people: Iterable[str] = ()) -> None:
        """Take what this machine and its user are called, beside what is found by its form."""
        self._numbers: dict[tuple[str, str], int] = {}
        self._meaning: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        """How often each rule removed something."""
        self._own = [
            (rule, re.compile(rf"(?<![A-Za-z0-9_]){re.escape(word)}(?![A-Za-z0-9_])", re.IGNORECASE))
            for rule, words in (("host", hosts), ("user", people))
            for word in sorted(set(words), key=lambda word: (-len(word), word))
            if len(word) >= _SHORTEST and word.lower() not in _OF_EVERYBODY
        ]

    def cleaned(self, text: str) -> str:
        """Return what may leave of a text. Doing it twice changes nothing more."""
        # A name that was in the text before stands for nothing: put back, it would be somebody's choice what it is.
        text = _NAME.sub(lambda found: found[0] if found[0] in self._meaning else "<redacted>", text)
        text = pseudonymise(text, self._named)
        for detector in _detectors():
            for pattern in detector.denylist:
                text = pattern.sub(self._without_groups, text)
        for rule, pattern in self._own:
            text = pattern.sub(lambda found, rule=rule: self._named(rule, found[0]), text)  # type: ignore[misc]
        return _LONG_LINE.sub(self._without_beginning, _CUT_OFF.sub(self._without_beginning, text))

    def _without_beginning(self, found: re.Match[str]) -> str:
        """Return a word at which a text was cut off, without the beginning of something that has a name.

        What quotes a text cuts it at some length, and half of a secret has the form of none.
        """
        word = found["word"]
        for name, removed in list(self._meaning.items()):
            start = removed[:_BEGINNING]
            if len(removed) <= _BEGINNING or "\n" in removed or start not in word:
                continue
            for size in range(min(len(removed) - 1, len(word)), _BEGINNING - 1, -1):
                if word.endswith(removed[:size]):
                    rule = name.split(":")[1]
                    return found[0][: len(found[0]) - size] + self._named(rule, removed[:size])
        return found[0]

    def _without_groups(self, found: re.Match[str]) -> str:
        """Return what a detector found without the secret: its groups that can be one, or all of it.

        Nowhere else: to a detector `%s://%s:e@%s` holds the secret `e`, which is in every other word of a prompt too.
        """
        groups = sorted({found.span(one) for one in range(1, found.re.groups + 1)})
        spans = [(start, end) for start, end in groups if end - start >= _SHORTEST_SECRET] or [found.span()]
        text, at = "", found.start()
        for start, end in spans:
            secret = found.string[start:end]
            if start < at or "<redacted:" in secret:
                continue
            text, at = text + found.string[at:start] + self._named("secret", secret), end
        return text + found.string[at : found.end()]

    def restored(self, text: str) -> str:
        """Return a model's text with what the names stand for; one that was never given stays as it is."""
        return _NAME.sub(lambda found: self._meaning.get(found[0], found[0]), text)

    def _named(self, rule: str, removed: str) -> str:
        number = self._numbers.setdefault((rule, removed), len(self._numbers) + 1)
        name = f"<redacted:{rule}:{number}>"
        self._meaning[name] = removed
        self.counts[rule] += 1
        return name
