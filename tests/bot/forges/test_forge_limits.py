# SPDX-License-Identifier: Apache-2.0
"""Texts at, below and above a forge's bounds: they fit, stay whole Markdown, and say what is missing."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from git_hmopt.errors import UsageError
from hmopt_bot.forges import limits
from hmopt_bot.forges.limits import BODY, CHECK_TEXT, STATUS, TITLE, Bound, Unit, batches, cut, line
from hmopt_bot.forges.sticky import marked
from hmopt_bot.forges.values import Annotation, Level

SMALL = Bound(400, Unit.CODE_POINTS)
SMALL_BYTES = Bound(400, Unit.BYTES)
NOTICE = "*Cut to fit: "


def kept(text: str) -> str:
    """Return what stands before the notice."""
    return text.rpartition(f"\n\n{NOTICE}")[0]


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536])
def test_what_fits_is_left_alone(size: int) -> None:
    assert cut("a" * size, BODY) == "a" * size


@pytest.mark.parametrize("size", [65_537, 65_538, 200_000])
def test_one_too_many_is_cut_and_said(size: int) -> None:
    body = cut("a" * size, BODY)
    assert len(body) <= 65_536
    assert len(body) > 65_300
    assert f"of {size:,} characters are shown" in body


@pytest.mark.parametrize("letter", ["a", "é", "日", "🌈"])
def test_a_check_counts_bytes_and_a_comment_code_points(letter: str) -> None:
    each = len(letter.encode())
    fits = letter * (65_535 // each)
    assert cut(fits, CHECK_TEXT) == fits
    assert len(cut(fits + letter, CHECK_TEXT).encode()) <= 65_535
    assert "bytes are shown" in cut(fits + letter, CHECK_TEXT)
    assert cut(letter * 65_536, BODY) == letter * 65_536
    shown = cut(letter * 65_537, BODY)
    assert len(shown) <= 65_536
    # What GitHub stores at most.
    assert len(shown.encode()) <= 262_144


def test_whole_lines() -> None:
    text = "\n".join(f"line {number} of many" for number in range(5000))
    body = kept(cut(text, BODY))
    assert text.startswith(body + "\n")
    assert body.splitlines()[-1] in text.splitlines()


def test_how_much_is_missing_is_right() -> None:
    text = "\n".join("x" * 19 for _ in range(100))
    body = cut(text, SMALL)
    shown = len(kept(body))
    left = 100 - len(kept(body).split("\n"))
    assert body.endswith(
        f"{NOTICE}{shown:,} of {len(text):,} characters are shown; the rest ({left} lines) is left out.*"
    )


@pytest.mark.parametrize("fence", ["```", "````", "~~~"])
def test_an_open_fence_is_closed(fence: str) -> None:
    text = f"before\n{fence}c\n" + "int x;\n" * 200
    assert kept(cut(text, SMALL)).endswith(f"int x;\n{fence}")
    assert tokens(cut(text, SMALL)) == ["paragraph", "fence", "paragraph"]


def test_a_closed_fence_is_not_closed_again() -> None:
    text = "```\nint x;\n```\n" + "after\n" * 200
    assert kept(cut(text, SMALL)).endswith("after")


def test_a_fence_within_elements_is_closed_before_them() -> None:
    text = "<details><summary>More</summary>\n\n```diff\n" + "+ int x;\n" * 200
    assert kept(cut(text, SMALL)).endswith("+ int x;\n```\n</details>")


def test_elements_are_closed_inside_out() -> None:
    text = "<details>\n<table>\n" + "<tr><td>1</td></tr>\n" * 200 + "</table>\n</details>\n"
    assert kept(cut(text, SMALL)).endswith("</td></tr>\n</table></details>")


def test_what_is_code_opens_nothing() -> None:
    text = "`<details>` and `` <table> ` `` and `<!--`\n" + "after\n" * 200
    assert kept(cut(text, SMALL)).endswith("after")


@pytest.mark.parametrize("begin", ["<!-- ", "<a href='", "<!-- a --> <!-- "])
def test_half_a_comment_or_tag_is_left_out(begin: str) -> None:
    for text in ("shown\n" + begin + "hidden\n" * 200, "shown\n" + begin + "x" * 1000, "shown\n" + begin + "x " * 1000):
        body = cut(text, SMALL)
        assert body.startswith("shown\n")
        assert "hidden" not in body
        assert kept(body).count("<") == kept(body).count(">")


def test_the_marker_stays() -> None:
    for text in ("a" * 100_000, "a\n" * 100_000, "<!--" * 50_000, "```\n" * 50_000):
        assert cut(marked("evidence", text), BODY).startswith("<!-- hmopt:evidence -->\n")


def test_a_long_line_is_cut_at_a_word() -> None:
    body = kept(cut("word " * 20_000, BODY))
    assert body.endswith("word")
    assert len(body) > 65_000


def test_half_characters_and_nul_are_replaced() -> None:
    assert cut("\ud800\0\r\n", BODY) == "?\ufffd\n"
    assert len(cut("\ud800" * 70_000, BODY)) <= 65_536


@pytest.mark.parametrize(
    "hostile",
    # The first: so many are open that not even an empty part of the next line fits.
    ["<details>\n" * 4000 + "x" * 30_000, "<details>" * 20_000, "<!--" * 20_000, "`" * 70_000,
     "`" * 40_000 + "a" * 40_000, "<" * 70_000, "` `` " * 20_000, "<details>\n" * 20_000, "```\n" * 30_000,
     "<!--\n" * 20_000, "</details>" * 20_000, "<a " * 30_000, "<!--" + "<" * 70_000, "<b>x</i>" * 20_000],
)  # fmt: skip
def test_hostile_text_costs_little(hostile: str) -> None:
    began = time.process_time()
    for bound in (BODY, CHECK_TEXT):
        assert bound.size(cut(hostile, bound)) <= bound.most
    assert time.process_time() - began < 5


_PIECES = st.sampled_from(
    ["word ", "\n", "\n\n", "```\n", "~~~\n", "`", "``", "<details>", "</details>", "<summary>x</summary>", "<table>",
     "</table>", "<!-- ", " -->", "<a href='x'>", "<a ", ">", "<", "日", "🌈", "- item\n", "> quote\n", "    code\n",
     "\ud800", "</b>", "<b>", "<details open>\n", "\r\n"]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=400).map("".join), st.sampled_from([SMALL, SMALL_BYTES]))
def test_it_always_fits_and_is_closed(text: str, bound: Bound) -> None:
    body = cut(text, bound)
    assert bound.size(body) <= bound.most
    body.encode()
    if NOTICE not in body:
        return
    # The notice is text of its own for a reader of Markdown, not code and not hidden.
    inline = [token.content for token in MarkdownIt("commonmark").parse(body) if token.type == "inline"]
    assert any(NOTICE in content for content in inline)


@given(
    st.lists(
        st.sampled_from(["<details>\n", "<b>", "text\n", "<table>", "<details>\n<b>text</b>\n</details>\n"]),
        min_size=120,
    ).map("".join)
)
def test_no_element_stays_open(text: str) -> None:
    body = cut(text, SMALL)
    if body != text:
        balance = _Balance()
        balance.feed(body)
        assert balance.open == []


class _Balance(HTMLParser):
    """Counts what is open, as a browser would."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                pass


def tokens(text: str) -> list[str]:
    """Return the blocks of Markdown."""
    found = MarkdownIt("commonmark").parse(text)
    return [re.sub(r"_open$", "", one.type) for one in found if one.level == 0 and not one.type.endswith("_close")]


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (1, [1]), (50, [50]), (51, [50, 1]), (120, [50, 50, 20])])
def test_annotations_in_batches(count: int, sizes: list[int]) -> None:
    notes = [Annotation("lib/sort.c", n, n, Level.NOTICE, str(n)) for n in range(1, count + 1)]
    assert [len(batch) for batch in batches(notes)] == sizes
    assert [note for batch in batches(notes) for note in batch] == notes
    assert limits.ANNOTATIONS == 50


@pytest.mark.parametrize(
    ("path", "first", "last", "message"),
    [("", 1, 1, "x"), ("a.c", 0, 1, "x"), ("a.c", 2, 1, "x"), ("a.c", -1, -1, "x"), ("a.c", 1, 1, " \n")],
)
def test_annotations_of_nothing(path: str, first: int, last: int, message: str) -> None:
    with pytest.raises(UsageError, match="annotation"):
        Annotation(path, first, last, Level.NOTICE, message)


@pytest.mark.parametrize("text", ["", "\n", "\x1b[2J", "a\nb", "x" * 300, "\u202eevil", "\ud800", "🌈" * 300])
@pytest.mark.parametrize("bound", [TITLE, STATUS])
def test_titles_are_one_short_line(text: str, bound: Bound) -> None:
    shown = line(text, bound)
    assert 0 < bound.size(shown) <= bound.most
    assert shown.isprintable()
