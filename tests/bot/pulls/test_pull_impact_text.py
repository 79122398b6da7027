# SPDX-License-Identifier: Apache-2.0
"""The static impact's texts: whatever a stranger's names hold, they stay names; whatever there is of them, it fits."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from git_hmopt.psg.facts import Kind
from git_hmopt.records.words import Oid
from hmopt_bot.forges.checks import body
from hmopt_bot.forges.values import CheckRun, Conclusion
from hmopt_bot.pulls.graphs import GraphState
from hmopt_bot.pulls.heat import Heat, Profile
from hmopt_bot.pulls.impact import Caller, FileAside, Knob, StaticImpact, Touched
from hmopt_bot.pulls.impact_text import BOUND, impact_annotations, impact_markdown, impact_title
from hmopt_bot.pulls.sides import Aside

EVIL = (
    "`", "``x``", "|", "a|b\n|---|", "\n\n# Fake", "\r\n", "<script>alert(1)</script>", "<!--", "</details>", "-->",
    "@torvalds", "[a](http://e)", "![i](u)", "https://evil.example/x", "www.evil.example", "\x1b[31m", "\u202e",
    "\u2066", "\u061c", "\u200b", "**b**", "_e_", "~~~", "```\n", "\\", "&lt;", "$`x`$", "#1", "GH-1", "org/repo#1",
    "\ud800", "\0", "", " ", "    code", "> quote", "* item", "1. item", "::", "lib/sort.c:do_swap", "struct page",
    ":", "a:b:", "🦀",
    "` <b>x</b> @torvalds https://e.example/x [a](http://e) `", "a@b.example", "字" * 150,
)  # fmt: skip
LARGE = ("x" * 10_000, "字" * 4000, "`" * 5000, "|" * 5000, "\u202e@" * 3000)
# What reorders what is shown (UAX 9, Explicit Directional Formatting).
BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
names = st.lists(st.sampled_from(EVIL) | st.text(max_size=6), min_size=1, max_size=3).map("".join)
shares = st.floats(0, 1)
heats = st.lists(st.builds(Heat, names, shares), max_size=4).map(tuple)
callers = st.none() | st.lists(st.builds(Caller, names, st.integers(1, 3), heats), max_size=5).map(tuple)
knobs = st.lists(
    st.builds(Knob, names, st.sampled_from(["if", "object", "asked"]), st.sampled_from([True, False, None])),
    max_size=2,
).map(tuple)  # fmt: skip
touched = st.builds(
    Touched, names, st.sampled_from(list(Kind)), st.sampled_from(["changed", "added", "removed"]), names,
    st.integers(1, 9), st.integers(9, 99), st.integers(1, 99), heats, callers, st.integers(0, 600), knobs,
    st.booleans(),
)  # fmt: skip
asides = st.builds(FileAside, names, st.sampled_from(list(Aside)), names, st.integers(0, 9), knobs)
profiles = st.builds(
    Profile, names, names | st.just(""), names, st.sampled_from(["self", "funcrank"]), st.integers(0, 8)
)
states = st.builds(
    GraphState, names, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.lists(names, max_size=5).map(tuple),
    st.booleans(), st.booleans(),
)  # fmt: skip
impacts = st.builds(
    StaticImpact, st.just(Oid("a" * 40)), st.just(Oid("b" * 40)), st.integers(0, 30),
    st.lists(touched, max_size=4).map(tuple), st.lists(asides, max_size=3).map(tuple),
    st.lists(profiles, max_size=3).map(tuple), st.lists(states, max_size=2).map(tuple),
    st.lists(names, max_size=4).map(tuple), st.integers(0, 9), st.just(()),
)  # fmt: skip
PLAIN = Touched("do_swap", Kind.FUNCTION, "changed", "lib/sort.c", 139, 150, 141, (Heat("sort", 0.123),), (), 0)
EMPTY = StaticImpact(
    Oid("a" * 40), Oid("b" * 40), 1, (PLAIN,), (), (Profile("sort", "r", "2026-01-01", "self", 3),), ()
)
OUR_HTML = {
    "<sub>",
    "</sub>",
    "</details>",
    "<details><summary>The rest: cold code, config knobs, other files</summary>",
}
# What forges link by themselves where it stands in no code.
LINKED = re.compile(r"@\w|https?:|www\.|\w#\d|GH-\d|(?:^|\s)#\d|\w@\w", re.IGNORECASE)


def tokens(text: str) -> list[Token]:
    """Return what a Markdown reader makes of a text, with what stands inside of lines."""
    found: list[Token] = []
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text):
        found += [token, *(token.children or ())]
    return found


def is_clean(text: str) -> bool:
    """Say whether a text has no control character, no half of a character, and nothing that reorders it."""
    return all(unicodedata.category(one) not in ("Cc", "Cs") and one not in BIDI for one in text)


def is_harmless(text: str) -> bool:
    """Say whether nothing but our own markup is in a text; assertions tell what else is."""
    assert BOUND.size(text) <= BOUND.most
    assert is_clean(text.replace("\n", ""))
    for token in tokens(text):
        assert token.type not in (
            "link_open",
            "image",
            "heading_open",
            "fence",
            "code_block",
            "blockquote_open",
            "hr",
        ), token
        assert token.type not in ("em_open", "s_open", "ordered_list_open"), token
        if token.type in ("html_block", "html_inline"):
            assert token.content.strip() in OUR_HTML, token
        if token.type == "text":
            assert not LINKED.search(token.content), token
    # A reader drops cells that are too many: rows are counted as they are written.
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {line.count(" | ") for line in rows} <= {3}, rows
    return True


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(impacts)
def test_names_of_strangers_are_names(impact: StaticImpact) -> None:
    text = impact_markdown(impact)
    assert is_harmless(text)
    title = impact_title(impact)
    assert title and is_clean(title) and len(title) < 600
    for note in impact_annotations(impact):
        assert note.path == note.path.strip("/") and is_clean(note.message) and len(note.message) < 2000
    # What a forge gets is made of it without an error.
    check = CheckRun(
        "hmopt", Oid("b" * 40), "x", title, text, Conclusion.NEUTRAL, annotations=impact_annotations(impact)
    )
    assert body(check)["output"]


@pytest.mark.parametrize("evil", (*EVIL, *LARGE))
@pytest.mark.parametrize("place", ["symbol", "file", "workload", "caller", "knob", "aside", "graph"])
def test_each_evil_name_in_each_place(evil: str, place: str) -> None:
    impact = {
        "symbol": replace(EMPTY, touched=(replace(PLAIN, symbol=evil),)),
        "file": replace(EMPTY, touched=(replace(PLAIN, file=evil),)),
        "workload": replace(
            EMPTY, touched=(replace(PLAIN, heat=(Heat(evil, 0.5),)),),
            profiles=(Profile(evil, evil, evil), Profile(evil)),
        ),
        "caller": replace(
            EMPTY, touched=(replace(PLAIN, callers=(Caller(evil, 1, (Heat(evil, 0.2),)),), callers_all=1),)
        ),
        "knob": replace(EMPTY, touched=(replace(PLAIN, knobs=(Knob(evil, "if", None),)),)),
        "aside": replace(
            EMPTY, aside=(FileAside(evil, Aside.RENAMED, evil, 1, (Knob(evil, "object", is_set=False),)),)
        ),
        "graph": replace(
            EMPTY, graphs=(GraphState(evil, 1, 1, 1, (evil,), compared=False, of_runs=False),), without_graph=(evil,)
        ),
    }[place]  # fmt: skip
    assert is_harmless(impact_markdown(impact))
    impact_title(impact).encode()
    notes = impact_annotations(impact)
    # A path is head's as it is, or there is no annotation.
    assert [note.path for note in notes] in ([evil], []) if place == "file" else len(notes) == 1


def test_thousands_of_everything_fit_and_what_is_left_out_is_counted() -> None:
    long = "字" * 10_000
    many = tuple(
        replace(
            PLAIN, symbol=f"{n}{long}", file=f"{n}/{long}", heat=tuple(Heat(f"{k}{long}", 0.3) for k in range(60)),
            callers=tuple(Caller(f"{k}{long}", 1, (Heat(long, 0.1),)) for k in range(12)), callers_all=500,
            knobs=tuple(Knob(f"{k}{long}", "if", None) for k in range(30)),
        )
        for n in range(900)
    )  # fmt: skip
    cold = tuple(replace(one, heat=(), callers=()) for one in many)
    state = GraphState(long, 1, 1, 9000, tuple(f"{n}{long}" for n in range(500)), compared=False, of_runs=True)
    impact = StaticImpact(
        Oid("a" * 40), Oid("b" * 40), 9000, many + cold,
        tuple(FileAside(f"{n}{long}", Aside.UNBUILT, long, 3) for n in range(3000)),
        tuple(Profile(f"{n}{long}", long if n % 2 else "", long) for n in range(400)), (state,) * 20,
        (long,) * 9, 5, (),
    )  # fmt: skip
    text = impact_markdown(impact)
    assert is_harmless(text)
    assert "… and 880 more" in text and "and 497 more" in text
    # All that was to be shown is there: nothing had to be cut.
    assert "Cut to fit" not in text and text.endswith("</sub>\n")
    assert len(impact_annotations(impact)) == 50


def test_what_is_asked_of_the_title() -> None:
    assert impact_title(EMPTY) == "Touches 1 hot function: do_swap (12.3 % of sort)"
    assert impact_title(replace(EMPTY, touched=(replace(PLAIN, heat=()),))) == "Touches no hot function"
    five = tuple(replace(PLAIN, symbol=f"f{n}") for n in range(5))
    assert impact_title(replace(EMPTY, touched=five)).endswith("f2 (12.3 % of sort) and 2 more")


def test_below_the_bound_of_hot_it_is_no_annotation() -> None:
    warm = replace(EMPTY, touched=(replace(PLAIN, heat=(Heat("sort", 0.0099),)),))
    assert impact_annotations(warm) == () and "hot function of `sort` is touched" in impact_markdown(warm)
    assert len(impact_annotations(replace(EMPTY, touched=(replace(PLAIN, heat=(Heat("sort", 0.01),)),)))) == 1
