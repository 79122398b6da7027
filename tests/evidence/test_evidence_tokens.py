# SPDX-License-Identifier: Apache-2.0
"""How tokens are estimated, and that no estimate ever makes a prompt longer than its budget in bytes."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_hmopt.errors import ConfigError
from git_hmopt.evidence.prompt import SMALLEST, render
from git_hmopt.evidence.tokens import Bytes, ServerCount, Usage, server_count, tokenizer_from
from git_hmopt.records.evidence import EvidencePack
from tests.evidence.test_evidence_prompt import pack_of, packs

WORDS = {"type": "WordLevel", "vocab": {"[UNK]": 0, "int": 1, "x": 2}, "unk_token": "[UNK]"}
TOKENIZER: dict[str, object] = {
    "version": "1.0", "truncation": {"max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
    "padding": {"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                "pad_type_id": 0, "pad_token": "[UNK]"},
    "added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None,
    "decoder": None, "model": WORDS,
}  # fmt: skip


def tokenizer_file(folder: Path, text: str | None = None) -> Path:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(TOKENIZER) if text is None else text)
    return path


@settings(max_examples=150)
@given(packs(), st.integers(SMALLEST, 100_000), st.fractions(Fraction(1, 20), 4, max_denominator=50))
def test_bytes_bound_every_prompt_whatever_a_server_counted(pack: EvidencePack, budget: int, ratio: Fraction) -> None:
    prompt = render(pack, max_tokens=budget, counted=ServerCount(ratio, 1))
    size = len(prompt.text.encode())
    assert size <= budget
    assert prompt.tokens <= budget or size <= SMALLEST
    if ratio <= 1:
        assert prompt.text == render(pack, max_tokens=budget).text


def test_a_server_that_counts_more_than_bytes_gets_less() -> None:
    pack = pack_of(600, 600, 600)
    plain, dear = render(pack), render(pack, counted=ServerCount(Fraction(3, 2), 4))
    assert (plain.tokens, plain.counted_by) == (len(plain.text.encode()), "bytes")
    assert dear.tokens <= pack.max_prompt_tokens and len(dear.text) < len(plain.text)
    assert "for a budget of 1500 tokens" in dear.text


def test_a_server_that_always_counts_too_much_is_told_so() -> None:
    prompt = render(pack_of(10), max_tokens=SMALLEST, counted=ServerCount(Fraction(100), 1))
    assert len(prompt.text.encode()) <= SMALLEST < prompt.tokens


def test_the_ratio_is_of_all_calls_and_figures_that_cannot_be_are_counted() -> None:
    found = server_count([Usage(4000, 1000), Usage(1000, 500), Usage(0, 7), Usage(100, 0), Usage(-5, 3)])
    assert found == ServerCount(Fraction(3, 10), 2, ignored=3)
    assert found is not None and found.tokens("äbc") == 2
    assert found.name == "0.300 tokens a byte, as the server counted in 2 calls"
    assert server_count([]) is None and server_count([Usage(0, 0)]) is None


def test_bytes_are_those_of_utf8() -> None:
    assert (Bytes().tokens(""), Bytes().tokens("aä\U0001f600")) == (0, 7)


def test_a_tokenizer_on_disk_counts_the_whole_text(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    counted = tokenizer_from(tokenizer_file(tmp_path))
    # The file asks for texts to be cut at 3 and filled up to 64.
    assert counted.tokens("int x x x int") == 5
    assert counted.name == "the tokenizer tokenizer.json"
    pack = pack_of(600, 600)
    prompt = render(pack, counted=counted)
    assert prompt.text == render(pack).text
    assert prompt.tokens == counted.tokens(prompt.text) < len(prompt.text)


@pytest.mark.parametrize(("text", "said"), [("", "is no tokenizer: "), ("{}", "is no tokenizer: "), ("[1", "is no")])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path, text: str, said: str) -> None:
    pytest.importorskip("tokenizers")
    with pytest.raises(ConfigError, match=said):
        tokenizer_from(tokenizer_file(tmp_path, text))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory; give the path of a tokenizer"):
        tokenizer_from(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        tokenizer_from(tmp_path)
    path = tokenizer_file(tmp_path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read: it is no UTF-8"):
        tokenizer_from(path)


def test_without_the_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ConfigError, match=r"is not installed; pip install tokenizers, or unset hmopt\.tokenizer"):
        tokenizer_from(tokenizer_file(tmp_path))
