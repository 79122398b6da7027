# SPDX-License-Identifier: Apache-2.0
"""Scripted models on a real Linux 6.1: whatever a model answers gets the verdict and the record that it deserves.

The answers are a script's, sent over HTTP. They prove that the plumbing holds; what the good one gains is no model's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from git_hmopt.demo.model_server import Script, serving
from git_hmopt.store.journal import Journal
from git_hmopt.store.repository import Repository
from tests.kernel.conftest import Kernel, delta_of, evaluation_of

pytestmark = pytest.mark.kernel

_FUNCTION = """
```c
u64 __pure crc64_be(u64 crc, const void *p, size_t len)
{
	size_t i, t;

	const unsigned char *_p = p;
%s
	for (i = 0; i < %s; i++) {
		t = ((crc >> 56) ^ (*_p++)) & 0xFF;
		crc = crc64table[t] ^ (crc << 8);
	}

	return crc;
}
```
"""
_HEAD = "FUNCTION lib/crc64.c crc64_be"
_TABLES = """EDIT lib/crc64.c
```
<<<<<<< SEARCH
#include "crc64table.h"

=======
#include <linux/init.h>
#include <asm/unaligned.h>
#include "crc64table.h"

static u64 crc64_be_tables[4][256] __ro_after_init;
static bool crc64_be_ready __ro_after_init;

static int __init crc64_fill_tables(void)
{
	int i, j;

	for (i = 0; i < 256; i++) {
		u64 be = crc64table[i];

		for (j = 0; j < 4; j++) {
			crc64_be_tables[j][i] = be;
			be = crc64table[be >> 56] ^ (be << 8);
		}
	}
	crc64_be_ready = true;
	return 0;
}
early_initcall(crc64_fill_tables);

>>>>>>> REPLACE
```
"""
_FOUR = """
	if (likely(crc64_be_ready)) {
		for (; len >= 4; len -= 4, _p += 4) {
			crc ^= (u64)get_unaligned_be32(_p) << 32;
			crc = crc64_be_tables[3][crc >> 56] ^
			      crc64_be_tables[2][(crc >> 48) & 0xff] ^
			      crc64_be_tables[1][(crc >> 40) & 0xff] ^
			      crc64_be_tables[0][(crc >> 32) & 0xff] ^
			      (crc << 32);
		}
	}
"""


def _edit(path: str, old: str, new: str) -> str:
    return f"EDIT {path}\n```\n<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n```\n"


MALFORMED = "I would unroll it:\n```diff\n--- a/lib/crc64.c\n+++ b/lib/crc64.c\n@@ -1,1 +1,1 @@\n-a\n+b\n```\n"
SYNTAX = f"CANDIDATE 1: lib/crc64: does not parse\n{_HEAD}\n" + _FUNCTION % ("", "len) {")
LINK = f"CANDIDATE 1: lib/crc64: call what is nowhere\n{_HEAD}\n" + _FUNCTION % (
    "\n\textern void crc64_elsewhere(void);\n\n\tcrc64_elsewhere();\n", "len",
)  # fmt: skip
WRONG = f"CANDIDATE 1: lib/crc64: leave out the last byte\n{_HEAD}\n" + _FUNCTION % ("", "(len & ~(size_t)1)")
ESCAPES = "\n".join(
    (
        "CANDIDATE 1: out of the tree", _edit("../../etc/passwd", "root", "toor"),
        "CANDIDATE 2: a macro by the Makefile",
        _edit("lib/Makefile", "obj-$(CONFIG_CRC64)     += crc64.o", "CFLAGS_crc64.o := -Dlen=1"),
        "CANDIDATE 3: a test", _edit("lib/test_sort.c", "static int", "static long"),
        "CANDIDATE 4: a hook", _edit(".git/hooks/post-checkout", "a", "b"),
    )
)  # fmt: skip
REACHES_OUT = "CANDIDATE 1: a header\n" + _edit(
    "include/linux/crc64.h", "#include <linux/types.h>",
    "#include <linux/types.h>\nextern int system(const char *);\n"
    'static inline int crc64_go(void) { return system("id"); }',
)  # fmt: skip
GIANT = f"CANDIDATE 1: lib/crc64: unroll it seven hundred times\n{_HEAD}\n" + _FUNCTION % (
    "".join(f"\n\tif (len > {number})\n\t\tcrc ^= 0;\n" for number in range(350)), "len",
)  # fmt: skip
GOOD = (
    "CANDIDATE 1: lib/crc64: process four bytes at a time\nFour table entries at once; 300 % faster, I am sure.\n\n"
    f"Signed-off-by: A Model <model@example.org>\n\n{_TABLES}\n{_HEAD}\n" + _FUNCTION % (_FOUR, "len")
)
STORY = [
    ("malformed", "own-idea", [MALFORMED, MALFORMED]),
    ("syntax", "own-idea", [SYNTAX, SYNTAX]),
    ("escapes", "own-idea", [ESCAPES, ESCAPES]),
    ("reaches out", "wider-steps", [REACHES_OUT]),
    ("giant", "wider-steps", [GIANT]),
    ("link", "better-algorithm", [LINK]),
    ("wrong", "better-algorithm", [WRONG]),
    ("good", "wider-steps", [GOOD]),
]


@dataclass(frozen=True)
class Asked:
    """A run with scripted models, and what the server received."""

    story: dict[str, Any]
    messages: list[dict[str, Any]]
    requests: list[dict[str, Any]]
    mark: str

    def of(self, name: str) -> dict[str, Any]:
        """Return the iteration of a part of the story."""
        number = [one[0] for one in STORY].index(name) + 1
        (found,) = (one for one in self.story["iterations"] if one["number"] == number)
        return dict(found)

    def said(self, name: str) -> list[dict[str, Any]]:
        """Return the coder's exchanges in it."""
        number = [one[0] for one in STORY].index(name) + 1
        return [one for one in self.messages if one["iteration"] == number and one["agent"] == "coder"]


@pytest.fixture(scope="module")
def asked(kernel: Kernel, crc64_run: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """Run the loop on lib-crc64 with the story above; profile and floor are those of the patches' run."""
    choice = {"comparison": "as told", "action": "try", "hotspot": "crc64_be", "reason": "the script says so"}
    turns: list[dict[str, Any]] = [
        {
            "when": "You are the Trace Analyst",
            "answer": json.dumps({"bottleneck": "cpu-bound-loop", "evidence": ["F1"], "reason": "a loop"}),
        }
    ]
    for _, strategy, answers in STORY:
        turns.append({"when": "You are the Conductor", "answer": json.dumps({**choice, "strategy": strategy})})
        turns += [{"when": "You are the Coder", "answer": answer} for answer in answers]
    turns.append({"when": "You are the Conductor", "answer": json.dumps({**choice, "action": "end", "hotspot": ""})})
    home = tmp_path_factory.mktemp("gateway")
    (home / "profile.yaml").write_text("name: scripted\nroles: {general: scripted-0b}\n")
    script = Script(turns)
    with serving(script) as url:
        for key, value in (("profile", str(home / "profile.yaml")), ("url", url), ("candidates", "4")):
            kernel.git("config", f"hmopt.gateway.{key}", value)
        try:
            baseline = ("--baseline", crc64_run["run"]["name"])
            story = kernel.optimize("lib-crc64", "--proposer", "llm", "--iterations", str(len(STORY) + 1), *baseline)
        finally:
            kernel.git("config", "--remove-section", "hmopt.gateway")
    reading = Journal(Repository.open(kernel.root)).read(story["run"]["name"])
    messages = [one.data["message"] for one in reading.operations if one.op == "agent.asked"]
    requests = [json.loads(one[one.index(b"{") :]) for one in script.requests]
    yield Asked(story, messages, requests, crc64_run["run"]["name"])


def test_the_run_goes_on_to_its_end(asked: Asked) -> None:
    assert asked.story["status"] == "succeeded"
    assert "the conductor ends the run" in asked.story["status_reason"]
    assert {one["model"] for one in asked.requests} == {"scripted-0b"}
    assert [one["agent"] for one in asked.messages].count("conductor") == len(STORY) + 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("malformed", "diffs are not read"),
        ("syntax", "lib/crc64.c"),
        ("reaches out", "safety: "),
    ],
)
def test_what_cannot_be_used_is_refused(asked: Asked, name: str, said: str) -> None:
    found = asked.of(name)
    assert found["evaluation"] is None
    (refusal,) = (one for one in found["messages"] if one["role"] == "refusal")
    assert said in refusal["text"]


def test_nothing_out_of_bounds_is_even_tried(asked: Asked) -> None:
    (refusal,) = (one for one in asked.of("escapes")["messages"] if one["role"] == "refusal")
    for said in ("../../etc/passwd", "lib/Makefile", "lib/test_sort.c", ".git/hooks/post-checkout"):
        assert said in refusal["text"]
    assert len(asked.said("escapes")) == 2, "a second try is given once"


@pytest.mark.parametrize(
    ("name", "verdict", "rule"),
    [("giant", "rejected", "size"), ("link", "rejected", "build"), ("wrong", "incorrect", None)],
)
def test_what_is_bad_gets_its_verdict(asked: Asked, name: str, verdict: str, rule: str | None) -> None:
    evaluation = asked.of(name)["evaluation"]
    assert (evaluation["verdict"], evaluation["rule"]) == (verdict, rule), evaluation["reason"]
    assert not evaluation["accepted"]


def test_the_good_one_is_measured_and_kept_in_its_authors_words_without_his_claims(
    kernel: Kernel, asked: Asked
) -> None:
    evaluation = evaluation_of(asked.story, "process four bytes at a time")
    assert (evaluation["verdict"], evaluation["accepted"]) == ("improved", True), evaluation["reason"]
    assert delta_of(evaluation, "time")["high"] < -0.1
    message = kernel.git("log", "-1", "--format=%B", f"hmopt/{asked.story['run']['name']}/best")
    assert "[scripted-0b]" in message
    assert "Signed-off-by" not in message and "300" not in message


@pytest.mark.slow
def test_the_same_answers_replayed_give_the_same_patches_without_a_model(
    kernel: Kernel, asked: Asked, tmp_path: Path
) -> None:
    """A replay that does not get to measuring: which patches are proposed is the same as it was."""
    first = asked.story["run"]["name"]
    story = kernel.optimize("lib-crc64", "--replay", first, "--iterations", "5", "--baseline", asked.mark)
    assert story["run"]["proposer"] == f"replay:{first}"
    for one, two in zip(story["iterations"][:5], asked.story["iterations"][:5], strict=True):
        assert (one["patch"] or {}).get("patch_id") == (two["patch"] or {}).get("patch_id")
        assert [m["text"] for m in one["messages"] if m["role"] == "refusal"] == [
            m["text"] for m in two["messages"] if m["role"] == "refusal"
        ]
