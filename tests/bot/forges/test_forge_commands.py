# SPDX-License-Identifier: Apache-2.0
"""Commands in comments: what counts as one, what each takes, and that nothing written breaks out of the answer."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from git_hmopt.records.words import Oid
from hmopt_bot.forges.commands import MOST, USAGE, WORD, Asked, Command, Kind, Misunderstood, commands, help_text

ASKED = Asked("ada", 41, Oid("c" * 40))


def kinds(body: str) -> list[str]:
    """Return what was understood, and `?` for what was not."""
    return [one.kind.value if isinstance(one, Command) else "?" for one in commands(body, ASKED)]


def only(body: str) -> Command | Misunderstood:
    """Return the one thing a comment asks."""
    (one,) = commands(body, ASKED)
    return one


@pytest.mark.parametrize(
    ("body", "kind", "argument"),
    [
        ("/hmopt check", Kind.CHECK, None),
        ("/hmopt check lib-sort", Kind.CHECK, "lib-sort"),
        ("/hmopt optimize", Kind.OPTIMIZE, None),
        ("/hmopt propose", Kind.PROPOSE, None),
        ("/hmopt explain", Kind.EXPLAIN, None),
        ("/hmopt rerun", Kind.RERUN, None),
        ("/hmopt invalid the device was hot", Kind.INVALID, "the device was hot"),
        ("/hmopt stop", Kind.STOP, None),
        ("/hmopt help", Kind.HELP, None),
        ("/hmopt", Kind.HELP, None),
        ("/hmopt \t ", Kind.HELP, None),
        ("/HMOPT Check lib.sort_2", Kind.CHECK, "lib.sort_2"),
        ("/hmopt\tcheck\tlib-sort  ", Kind.CHECK, "lib-sort"),
        ("Thanks!\r\n\r\n/hmopt check\r\n", Kind.CHECK, None),
    ],
)
def test_each_command(body: str, kind: Kind, argument: str | None) -> None:
    assert only(body) == Command(kind, argument, ASKED)


def test_a_command_carries_the_head_its_author_saw() -> None:
    assert only("/hmopt check").asked.head == "c" * 40
    later = Asked("ada", 41, Oid("e" * 40))
    assert commands("/hmopt check", later) != commands("/hmopt check", ASKED)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "please run /hmopt check",
        " /hmopt check",
        "\u200b/hmopt check",
        "/hmoptimize check",
        "/hmopt-check",
        "//hmopt check",
        "> /hmopt check",
        ">/hmopt check",
        "> quoted\n> /hmopt check",
        "```\n/hmopt check\n```",
        "~~~sh\n/hmopt check\n~~~",
        "````\n```\n/hmopt check\n````",
        "```\n/hmopt check",
        "    /hmopt check",
        "- /hmopt check",
        "`/hmopt check`",
        "<!--\n/hmopt check\n-->",
        "text <!-- hidden\n/hmopt check\n-->",
        "<!-- hidden -->/hmopt check",
        "<details>\n/hmopt check\n</details>",
        "<pre>\n\n/hmopt check\n\n</pre>",
    ],
)
def test_what_is_no_command(body: str) -> None:
    assert commands(body, ASKED) == ()


@pytest.mark.parametrize(
    "body",
    [
        "> /hmopt stop\n\n/hmopt check",
        "> a quote\n/hmopt check",
        "```\n/hmopt stop\n```\n/hmopt check",
        "`` ` ``\n/hmopt check",
        "<!-- closed -->\n/hmopt check",
        "`<!--` in code\n/hmopt check",
        "an arrow <!-- without an end\n/hmopt check",
        "<details>\n\n/hmopt check\n\n</details>",
        "- a list\n\n/hmopt check",
        "| a | b |\n/hmopt check",
    ],
)
def test_what_is_one_beside_what_is_none(body: str) -> None:
    assert kinds(body) == ["check"]


def test_several_in_their_order_and_doubles_once() -> None:
    assert kinds("/hmopt check a\ntext\n/hmopt check b\n/hmopt check a\n/hmopt stop") == ["check", "check", "stop"]


def test_too_many_are_said() -> None:
    found = commands("\n".join(f"/hmopt check w{n}" for n in range(1000)), ASKED)
    assert len(found) == MOST + 1
    last = found[-1]
    assert isinstance(last, Misunderstood)
    assert "not read" in last.why


@pytest.mark.parametrize(
    ("body", "nearest", "why"),
    [
        ("/hmopt chek", Kind.CHECK, "no such command"),
        ("/hmopt optimise", Kind.OPTIMIZE, "no such command"),
        ("/hmopt xyzzy", None, "no such command"),
        ("/hmopt invalid", Kind.INVALID, "needs a reason"),
        ("/hmopt invalid \x00", None, ""),
        ("/hmopt stop now", Kind.STOP, "nothing can stand behind it"),
        ("/hmopt check a b", Kind.CHECK, "one workload"),
        ("/hmopt check ../../etc", Kind.CHECK, "one workload"),
        ("/hmopt check $(reboot)", Kind.CHECK, "one workload"),
        ("/hmopt check " + "a" * 65, Kind.CHECK, "one workload"),
        ("/hmopt check -rf", Kind.CHECK, "one workload"),
        ("/hmopt check lib-sört", Kind.CHECK, "one workload"),
    ],
)
def test_what_was_not_understood(body: str, nearest: Kind | None, why: str) -> None:
    one = only(body)
    if not why:
        assert isinstance(one, Command)
        return
    assert isinstance(one, Misunderstood)
    assert one.nearest is nearest
    assert why in one.why
    answer = help_text(one)
    assert one.written in answer
    assert nearest is None or f"`{WORD} {nearest}" in answer


def test_the_help_names_every_command_and_asks_for_none() -> None:
    assert set(USAGE) == set(Kind)
    assert all(f"`{WORD} {kind}" in help_text() for kind in Kind)
    assert commands(help_text(), ASKED) == ()
    unknown = only("/hmopt xyzzy")
    assert isinstance(unknown, Misunderstood)
    assert commands(help_text(unknown), ASKED) == ()


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "@everyone `` ` ``",
        "[x](javascript:alert(1))",
        "\x1b[2J\x1b]0;x\x07",
        "\u202eevil\u202c",
        "a|b|c",
        "![x](http://evil.example/p.png)",
        "x" * 10_000,
        "\ud800",
    ],
)
def test_hostile_words_are_shown_harmlessly(hostile: str) -> None:
    one = only(f"/hmopt {hostile}")
    assert isinstance(one, Misunderstood)
    answer = help_text(one)
    assert len(answer) < 2000
    assert all(line.isprintable() for line in answer.split("\n"))
    inline = MarkdownIt("commonmark").parseInline(answer.split("\n")[0])[0].children or []
    assert [token.type for token in inline][:2] == ["code_inline", "text"]
    assert {token.type for token in inline} <= {"code_inline", "text"}


def test_a_reason_is_one_bounded_line() -> None:
    one = only("/hmopt invalid " + "\x1b[31m hot \t" * 1000)
    assert isinstance(one, Command)
    assert one.argument is not None
    assert one.argument.isprintable()
    assert len(one.argument) == 500


@pytest.mark.parametrize(
    "body",
    ["/hmopt check\n" * 20_000, "<!--\n/hmopt\n" * 20_000, "> " * 30_000 + "\n/hmopt", "`" * 60_000 + "\n/hmopt",
     "/hmopt\n" + "[" * 65_000, "/hmopt\n" + "*_" * 30_000, "- " * 30_000 + "\n/hmopt", "/hmopt " + "a" * 300_000,
     "/hmopt x\n" * 8000, "<details>\n" * 6000 + "\n/hmopt"],
)  # fmt: skip
def test_hostile_bodies_cost_little(body: str) -> None:
    began = time.process_time()
    commands(body, ASKED)
    assert time.process_time() - began < 5


_PIECES = st.sampled_from(
    [
        "/hmopt",
        " check",
        " a",
        "\n",
        "```",
        "> ",
        "<!--",
        "-->",
        "\r",
        "\t",
        "    ",
        "<pre>",
        "\u2028",
        "\x0b",
        "\ud800",
    ]
)


@given(st.lists(_PIECES, max_size=60).map("".join))
def test_any_text_yields_only_typed_lines(body: str) -> None:
    starts = [line for line in body.replace("\r\n", "\n").replace("\r", "\n").split("\n") if line.startswith("/hmopt")]
    found = commands(body, ASKED)
    assert len(found) <= len(starts)
    for one in found:
        assert one.asked is ASKED
        assert help_text(one if isinstance(one, Misunderstood) else None)


@given(st.text(max_size=300))
def test_any_text_within_a_fence_asks_nothing(body: str) -> None:
    assert commands("`" * 301 + "\n" + body + "\n/hmopt check\n" + "`" * 301, ASKED) == ()
