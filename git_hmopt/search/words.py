# SPDX-License-Identifier: Apache-2.0
"""The words of a text or of C code: identifiers are taken apart, and what every text has is left out."""

from __future__ import annotations

import re

FORMAT = 1
"""Raised whenever the same text would give other words."""

# sort_r, sortArray, ARRAYSize, list2: an identifier's parts. Scripts without spaces give a word a character.
_PART = re.compile(
    r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+"
    r"|[\u2e80-\u9fff\uac00-\ud7a3\U00020000-\U0003ffff]|[^\W\dA-Za-z_\u2e80-\u9fff\uac00-\ud7a3\U00020000-\U0003ffff]+"
)
_COMMON = """
a an and are as at be been before but by can could did do does for from had has have how i if in into is it its may me
no not of on or should so such than that the their them then there these they this those to was we were what when where
which while who why will with would you your
"""
_C = """
auto bool break case char const continue default double else enum extern false float goto inline int long null register
return short signed sizeof static struct switch true typedef union unsigned void volatile
u8 u16 u32 u64 s8 s16 s32 s64
"""
_LEFT_OUT = frozenset((_COMMON + _C).split())


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, in its order; single letters, common and C's own words are left out."""
    found = (part.lower() for part in _PART.findall(text))
    return [word for word in found if word not in _LEFT_OUT and (len(word) > 1 or word > "\u2e80")]
