# SPDX-License-Identifier: Apache-2.0
"""The messages of a run: a line each, or with what was said as far as it is here."""

from __future__ import annotations

import json
from typing import Any

import pytest

from git_hmopt.errors import CorruptRecordError
from git_hmopt.report.messages import full_lines, message_lines, messages_json
from git_hmopt.report.story import fold
from tests.report.exchange_operations import ASKED, HOSTILE, exchange_data, message
from tests.report.story_operations import good_run, nothing_here

PROMPT = [{"role": "system", "text": "You optimise."}, {"role": "user", "text": "int x;\n\tif (x)\n\t\t\x1b[31mgo();"}]


def shown(*messages: Any, read: Any = nothing_here) -> str:
    return "\n".join(full_lines(messages, read))


def test_a_line_a_message_and_what_all_of_them_used() -> None:
    journal = good_run()
    journal.add("x", exchange_data(iteration=1, served_by="qwen3-2026", counted_by="bound"), iteration=1)
    lost: dict[str, Any] = {"prompt_tokens": None, "completion_tokens": None, "cost": None, "attempts": "3"}
    journal.add("y", exchange_data(iteration=1, role="no-answer", text="HTTP 500: busy", **lost), iteration=1)
    lines = message_lines(fold(journal.operations).said)
    assert lines[0].split() == ["#", "agent", "role", "model", "in", "out", "s", "cost", "came", "of", "it"]
    assert " ".join(lines[2].split()) == (
        "1 coder answer qwen3-coder-30b, as qwen3-2026 at most 800 at most 200 3.2 0.002 EUR one edit"
    )
    assert " ".join(lines[3].split()) == (
        "1 coder no-answer qwen3-coder-30b unknown unknown 3.2 unknown HTTP 500: busy"
    )
    assert lines[4].split() == ["4", "playbook", "end", "nothing", "more", "to", "try"]
    assert lines[6] == (
        "3 messages: 2 exchanges with models, 1 answered; tokens 800 (1 by a bound, 1 unknown) in, 200"
        " (1 by a bound, 1 unknown) out; seconds 6.5; cost at least 0.002 EUR."
    )


def test_messages_without_a_model_are_said_to_be_none() -> None:
    assert message_lines(fold(good_run().operations).said)[-1] == "1 message, none of them an exchange with a model."


def test_replayed_and_refused_ones_are_named_and_in_no_sum() -> None:
    refused: dict[str, Any] = {
        "prompt_tokens": None,
        "completion_tokens": None,
        "seconds": None,
        "cost": None,
        "attempts": "0",
    }
    lines = message_lines(
        [message(replayed="20260101-scan-000001"), message(role="no-answer", text="not allowed", **refused)]
    )
    assert "replayed, qwen3-coder-30b" in lines[2] and lines[3].count("none") == 4
    assert "1 replayed (in no sum); 1 refused before a request was made; tokens none in, none out" in lines[-1]


def test_everything_that_was_said_stands_under_it() -> None:
    stored = {"a" * 64: json.dumps(PROMPT).encode(), "b" * 64: b"SEARCH\r\n  old\n", "c" * 64: b"hm \xff"}
    text = shown(message(prompt="a" * 64, answer="b" * 64, thinking="c" * 64), read=stored.get)
    assert "  prompt (artifact aaaaaaaaaaaa):\n    system:\n    | You optimise.\n    user:\n    | int x;\n" in text
    assert "    | \tif (x)\n    | \t\t[31mgo();\n" in text
    assert "  answer (artifact bbbbbbbbbbbb):\n    | SEARCH\n    |   old\n" in text
    assert "  thinking (artifact cccccccccccc):\n    | hm \ufffd\n" in text
    one = messages_json([message(prompt="a" * 64, thinking="e" * 64)], stored.get)["messages"][0]
    assert (json.loads(one["prompt"]), one["thinking"]) == (PROMPT, None)
    assert one["missing"] == {"thinking": "it (artifact eeeeeeeeeeee) is not in this clone"}
    assert "prompt" not in messages_json([message(prompt="a" * 64)], None)["messages"][0]


def damaged(sha256: str) -> bytes:
    raise CorruptRecordError(f"artifact {HOSTILE} is damaged")


def test_what_is_not_here_is_said_in_its_place() -> None:
    text = shown(message(prompt="a" * 64, answer="b" * 64))
    assert "  prompt: it (artifact aaaaaaaaaaaa) is not in this clone\n" in text
    assert "  answer: it (artifact bbbbbbbbbbbb) is not in this clone\n" in text
    text = shown(message(prompt="a" * 64), read=damaged)
    assert "  prompt: it cannot be read: artifact" in text and "\x1b" not in text and len(text) < 1000


@pytest.mark.parametrize(
    "stored", [b"", b"{}x", b"7", b'["a"]', b'[{"role":"user"}]', b'[{"role":1,"text":"t"}]', b"[" * 100_000]
)
def test_a_prompt_that_is_no_list_of_messages_is_shown_as_it_is(stored: bytes) -> None:
    text = shown(message(prompt="a" * 64), read=lambda _: stored)
    assert "    no list of messages, as stored:\n    |" in text
    assert stored[:4].decode() in text


def test_hostile_text_is_harmless() -> None:
    changed: dict[str, Any] = dict.fromkeys((*ASKED, "served_by", "replayed"), HOSTILE)
    said = message(agent=HOSTILE, text=HOSTILE, prompt="a" * 64, answer="b" * 64, **changed)
    turns = json.dumps([{"role": HOSTILE, "text": HOSTILE + "\n\u2066next\r\x08"}]).encode()
    for text in ("\n".join(message_lines([said])), shown(said, read=lambda _: turns)):
        assert not {"\x1b", "\u202e", "\u2066", "\r", "\x08"} & set(text)
    assert max(map(len, message_lines([said]))) < 260


def test_ten_thousand_messages_are_as_many_lines() -> None:
    lines = message_lines([message(iteration=number, text=HOSTILE) for number in range(10_000)])
    assert len(lines) == 10_004 and max(map(len, lines)) < 260
    assert lines[-1].startswith("10000 messages: 10000 exchanges with models, 10000 answered; tokens 8000000 in,")
