# SPDX-License-Identifier: Apache-2.0
"""Turn texts into vectors, without a network, a model file or anything that is learnt.

An embedding is chosen by its name, so that others (a model gateway's, say) can be added; vectors of different names are
never compared. Tried on lib/ and kernel/ of Linux 6.1 and not taken (recall@10 where FTS5 alone had 44.3 %): latent
semantic analysis fitted on the corpus, 27.3 % with 256 dimensions and 29.4 % with 512, would also embed everything
again when the corpus grows. Among 1,189 functions the model all-MiniLM-L6-v2 found 74.7 %, FTS5 76.3 %, both fused
80.3 %: better company to FTS5 than hashing, but 150 ms a function (48 minutes for these two directories),
90 MB, and PyTorch as its package is made: nothing to have by default.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from git_hmopt.errors import UsageError
from git_hmopt.search.words import words

Vector = NDArray[np.float32]
Weight = Callable[[str, bool], float]
"""How much a stem, or (False) the beginning of one, tells: more for what few entries have."""

_PREFIXES = (3, 4, 5)
# A beginning is a weaker sign than the whole stem; squared in effect, since query and text both have it.
_PREFIX_WEIGHT = 0.5
_K1 = 1.2
"""Where the count of a word saturates (BM25's k1, Robertson and Zaragoza 2009)."""
_PLACES = 4
"""Dimensions that a feature is spread over."""


class Embedding(Protocol):
    """Texts to vectors of `dimension`; cosine says how near two are."""

    name: str
    dimension: int

    def texts(self, texts: Sequence[str]) -> list[Vector]:
        """Return the vectors of what is searched."""
        ...

    def query(self, text: str, weight: Weight) -> Vector:
        """Return the vector of what is asked for; `weight` may be ignored."""
        ...


class HashedStems:
    """Counts of stems and of their beginnings, hashed to a fixed number of dimensions with signs.

    Feature hashing is Weinberger et al., ICML 2009; several places a feature make two that meet differ. Beginnings
    bring abbreviations (init, alloc, addr) to their words. A text's vector depends on the text alone, so that a commit
    costs the embedding of what it changed; how rare a word is weighs in the query's.
    """

    def __init__(self, stem: Callable[[str], str], *, dimension: int = 1024) -> None:
        self.name = "hashed-stems-1"
        self.dimension = dimension
        self._stem = stem
        # Angles stay; a query of few words has a number in every dimension then, whose sign says something of it.
        # Every command that may search comes by here, and scipy takes a seventh of its start.
        from scipy.linalg import hadamard

        self._rotation = hadamard(dimension, dtype=np.float32) / np.float32(math.sqrt(dimension))
        self._places: dict[str, tuple[tuple[int, float], ...]] = {}

    def texts(self, texts: Sequence[str]) -> list[Vector]:
        """Return the vectors of texts."""
        if not texts:
            return []
        return list(np.array([self._vector(Counter(self._features(text)), None) for text in texts]) @ self._rotation)

    def query(self, text: str, weight: Weight) -> Vector:
        """Return the vector of a query, weighed by how rare its words are."""
        vector: Vector = self._vector(Counter(dict.fromkeys(self._features(text), 1)), weight) @ self._rotation
        return vector

    def _features(self, text: str) -> list[str]:
        """Return the stems of a text, and their beginnings after a caret."""
        found = []
        for word in words(text):
            stem = self._stem(word)
            if stem:
                found.append(stem)
                found += [f"^{stem[:length]}" for length in _PREFIXES if len(stem) >= length]
        return found

    def _vector(self, features: Counter[str], weight: Weight | None) -> Vector:
        at: list[int] = []
        values: list[float] = []
        for feature, count in features.items():
            value = count * (_K1 + 1) / (count + _K1) * (_PREFIX_WEIGHT if feature[0] == "^" else 1.0)
            if weight is not None:
                value *= weight(feature.removeprefix("^"), feature[0] != "^")
            for place, sign in self._spread(feature):
                at.append(place)
                values.append(sign * value)
        return np.bincount(at, weights=values, minlength=self.dimension).astype(np.float32)

    def _spread(self, feature: str) -> tuple[tuple[int, float], ...]:
        if feature not in self._places:
            # Not Python's hash(): it is another one in every process.
            digest = hashlib.blake2b(feature.encode("utf-8", "replace"), digest_size=4 * _PLACES).digest()
            numbers = (int.from_bytes(digest[start : start + 4], "little") for start in range(0, len(digest), 4))
            self._places[feature] = tuple(((n >> 1) % self.dimension, 1.0 if n & 1 else -1.0) for n in numbers)
        return self._places[feature]


DEFAULT = "hashed-stems"


def embedding_of(name: str, stem: Callable[[str], str]) -> Embedding:
    """Return the embedding of that name; UsageError when there is none. `stem` gives a word's stem."""
    if name != DEFAULT:
        raise UsageError(f"no embedding is called '{name}'", next_step=f"there is: {DEFAULT}")
    return HashedStems(stem)


def inverse_frequency(having: int, entries: int) -> float:
    """Return how much a word tells that `having` of all entries have (BM25's inverse document frequency)."""
    having = min(having, entries)
    return math.log(1 + (entries - having + 0.5) / (having + 0.5))


def signed_bytes(vector: Vector) -> bytes:
    """Return a vector as one signed byte a dimension, its largest number 127; nothing is lost but the length."""
    largest = float(np.abs(vector).max(initial=0.0))
    scaled = vector * (127 / largest) if largest else vector
    return np.rint(scaled).astype(np.int8).tobytes()
