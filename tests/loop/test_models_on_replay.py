# SPDX-License-Identifier: Apache-2.0
"""Whole runs of `--proposer llm` with a script for a model: whatever the Coder says has its verdict and its record.

The project is on the replay adapter, so that a candidate's fate is chosen by a name in its source. What the scripts
win proves plumbing and is nobody's result.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import cycle, product

import pytest

from tests.loop.conftest import users_side
from tests.loop.project import Project
from tests.loop.replayed import LINK, STRATEGIES, replayed_project, scan_byte
from tests.loop.scripted import (
    CODER,
    MODEL,
    Request,
    Scripted,
    analyst,
    asked,
    candidate,
    coder,
    conductor,
    edit,
    ends,
    files_around,
    function,
)

HEADER, INCLUDE = "include/linux/scan.h", "#include <linux/types.h>"


@dataclass(frozen=True)
class Case:
    """What the Coder answers in one iteration, and what must become of it."""

    name: str
    answers: tuple[tuple[str, str], ...]
    """Each with a part of what must be told of it; a second one is an answer to the complaint about the first."""
    fate: str


def one(name: str, fate: str, answer: str, told: str) -> Case:
    return Case(name, ((answer, told),), fate)


def refused(name: str, *answers: tuple[str, str]) -> Case:
    return Case(name, answers, "refused")


def whole(pointer: str, *, before: str = "", lines: int = 0, why: str = "The loop does less.") -> str:
    return candidate(function(scan_byte(pointer, before=before, lines=lines)), why=why)


def edited(file: str, search: str, replace: str) -> str:
    return candidate(edit(file, search, replace))


DIFF = """--- a/lib/scan.c
+++ b/lib/scan.c
@@ -9,2 +9,2 @@
-	const unsigned char *p = start;
+	const unsigned char *faster = start;
"""
START = "\tconst unsigned char *p = start;"
NOWHERE = edited("lib/scan.c", "while (n-- > 0) {", "while (n--) {")
CLAIMS = """It is 50 % faster than before, and twice as fast on long buffers. Reviewed-by: A Model <model@example.org>

The loop does less. It takes 12 ns less a byte.

Signed-off-by: A Model <model@example.org>
Fixes: 1234567890ab ("lib: scan")
"""
CASES = (
    refused("no blocks", ("I would unroll the loop, which is faster.", "no block"), (DIFF, "diffs are not read")),
    refused(
        "cut off, and no function of the file",
        (whole("faster")[:200], "was cut off"),
        (candidate(function(scan_byte("faster"), name="scan_bytes")), "defines no such function; it has: scan_byte"),
    ),
    Case("repaired", ((NOWHERE, "fits nowhere"), (whole("same"), "")), "no-change"),
    refused(
        "no C, and no change",
        (whole("faster", before="\tn = undeclared;\n"), "use of undeclared identifier 'undeclared'"),
        (edited("lib/scan.c", START, START), "it changes nothing"),
    ),
    one("does not build", "rejected(build)", whole("broken"), "undefined reference to 'broken'"),
    one("warns", "rejected(warnings)", whole("warning"), "unused variable 'warning'"),
    one("other outputs", "incorrect", whole("wrong"), "another output than base"),
    one("failing tests", "incorrect", whole("failing"), "test 'finds' failed"),
    one("slower", "regressed", whole("slower"), "changed by +"),
    refused(
        "out of the tree",
        (edited("../../etc/passwd", "root", "toor"), "not a path inside the tree"),
        (edited("/etc/passwd", "root", "toor"), "not a path inside the tree"),
    ),
    refused(
        "hooks, and behind a link",
        (edited(".git/hooks/pre-commit", "exit 0", "exit 1"), "is git's own"),
        (edited("sources/scan.c", "return NULL;", "return 0;"), "there is no such file"),
    ),
    one("a link", "rejected(apply)", edited(LINK, "scan.h", "../../../../etc/passwd"), "is a symbolic link"),
    refused(
        "tests and harness",
        (edited("test/unit.c", "failed += !good;", ""), "the file is a test or benchmark"),
        (edited("bench/main.c", "placing = 0;", ""), "belongs to a workload's overlay"),
    ),
    refused(
        "a macro in a Makefile",
        (candidate(function(scan_byte("faster")), edit("lib/Makefile", "crc.o", "-DFAST")), "decides how things are"),
        (
            candidate(function(scan_byte("faster")), edit("Makefile", "CC := gcc", "CC := gcc -DFAST")),
            "'EDIT Makefile'",
        ),
    ),
    refused(
        "system() in a header",
        (edited(HEADER, INCLUDE, f'{INCLUDE}\n#define START system("id")'), f"{HEADER}:4 runs a program"),
    ),
    refused(
        "hidden characters, and a file that is not there",
        (whole("faster", before="\tn += 0; /* \u202e */\n"), "U+202E"),
        (edited("lib/new.c", "a", "b"), "there is no such file"),
    ),
    one("giant", "rejected(size)", whole("faster", lines=70), "policy.max_lines is 60"),
    one(
        "options",
        "rejected(build-flags)",
        candidate(function('__attribute__((optimize("O3")))\n' + scan_byte("faster"))),
        "an attribute that sets compiler options",
    ),
    one(
        "measurement",
        "rejected(special-casing)",
        whole("faster", before='\tif (n == 65)\n\t\treturn "hmopt";\n'),
        "names the measurement",
    ),
    one("good", "improved", whole("faster", why=CLAIMS), "changed by -"),
)


@dataclass(frozen=True)
class Told:
    """The run over all cases, and what stood around it before."""

    project: Project
    scripted: Scripted
    side: dict[str, str]
    files: set[str]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """Return a run in which every case is an iteration."""
    project = replayed_project(tmp_path_factory.mktemp("told"))
    side, files = users_side(project), files_around(project.root.parent)
    choices = cycle(product(STRATEGIES, ("scan_byte", "crc32c_update")))
    turns = [analyst("cpu-bound-loop", ["F1"])] * 2
    turns += [conductor(*next(choices)) for _ in CASES]
    turns += [coder(answer) for case in CASES for answer, _ in case.answers]
    return Told(project, asked(project, [*turns, ends()]), side, files)


def test_the_run_goes_on_whatever_is_answered(told: Told) -> None:
    assert told.scripted.said.returncode == 0, told.scripted.said.stderr
    assert told.scripted.ended() == "the conductor ends the run: enough (compared: as before)"
    assert dict(zip((case.name for case in CASES), told.scripted.fates(), strict=True)) == {
        case.name: case.fate for case in CASES
    }


@pytest.mark.parametrize("number", range(1, len(CASES) + 1), ids=[case.name for case in CASES])
def test_an_answer_is_on_record_with_what_became_of_it(told: Told, number: int) -> None:
    case, run = CASES[number - 1], told.scripted
    said = [message for message in run.messages("coder", number) if message["role"] == "answer"]
    assert len(said) == len(case.answers)
    judged = [
        one["evaluation"]["reason"]
        for one in run.run.named("patch.judged")
        if one["evaluation"]["iteration"] == number
    ]  # fmt: skip
    reason = run.refusal(number) if case.fate == "refused" else judged[0]
    assert len(judged) == (case.fate != "refused")
    for message, (answer, complaint) in zip(said, case.answers, strict=True):
        data = message["data"]
        assert run.artifact(data["answer"]) == answer.strip()
        assert json.loads(run.artifact(data["prompt"]))[0]["text"].startswith(CODER)
        assert (data["model"], data["template"], data["counted_by"]) == (MODEL, "coder/1", "bound")
        assert int(data["prompt_tokens"]) >= int(data["prompt_bytes"]) > 1000
        # What is wrong with an answer stands beside it, and the last thing is why the iteration came to nothing.
        assert complaint in (reason if message == said[-1] else message["text"])
    proposals = [message for message in run.messages("coder", number) if message["role"] == "proposal"]
    assert len(proposals) == len(judged)
    reviews = [message["text"] for message in run.messages("safety", number)]
    if case.name == "system() in a header":
        assert reviews == [f"refused: {reason}"]
    else:
        assert reviews == ["nothing against candidate 1"] * len(judged)


def test_a_complaint_shows_the_model_what_is_there(told: Told) -> None:
    turns = [one for one in told.scripted.of(CODER) if len(one.texts) == 4]
    assert len(turns) == sum(len(case.answers) - 1 for case in CASES)
    by_answer = {turn.texts[2]: turn.texts[3] for turn in turns}
    assert "while (n-- != 0) {" in by_answer[NOWHERE.strip()]
    assert all("nothing of it was applied" in text for text in by_answer.values())
    assert not any("toor" in text or "root:" in text for text in by_answer.values())


def test_nothing_but_branches_of_the_run_was_made(told: Told) -> None:
    project, run = told.project, told.scripted
    assert users_side(project) == told.side
    assert files_around(project.root.parent) ^ told.files == {"home/scripted.yaml"}
    assert not (project.root.parent / "etc").exists()
    # Of the candidates only the one that was kept has a branch when the run is over.
    assert sorted(run.run.branches()) == ["best", f"iter-{len(CASES):04d}"]
    branches = project.git("for-each-ref", "--format=%(refname)", "refs/heads").splitlines()
    assert [one for one in branches if not one.startswith(f"refs/heads/hmopt/{run.run.name}/")] == ["refs/heads/main"]
    assert project.git("diff", "--name-only", "main", run.run.best) == "lib/scan.c"
    assert project.git("fsck", "--no-dangling") == ""


def test_a_models_word_is_no_measurement_and_no_signature(told: Told) -> None:
    message = told.project.git("log", "-1", "--format=%B", told.scripted.run.best)
    assert message.startswith("lib/scan: walk with a pointer\n\nThe loop does less.\n\n  time: -")
    assert f"Assisted-by: git-hmopt:0.1.0 [{MODEL}] " in message
    for word in ("50 %", "twice", "12 ns", "-off-by", "Reviewed-by", "Fixes", "model@"):
        assert word not in message
    candidates = told.project.git("log", "--format=%B", "--branches=hmopt/*", "^main")
    assert re.search(r"50 %|Signed|Reviewed", candidates) is None


def test_the_beginning_of_a_prompt_stays_the_same(told: Told) -> None:
    first: dict[str, list[Request]] = {}
    for request in told.scripted.requests:
        first.setdefault(request.agent, []).append(request)
    for requests in first.values():
        assert len({one.texts[0] for one in requests}) == 1
        assert len({one.texts[1][: one.texts[1].index("<data")] for one in requests}) == 1
    # A repair turn goes on with the conversation as it was.
    for before, after in zip(first[CODER], first[CODER][1:], strict=False):
        if len(after.texts) == 4:
            assert after.texts[:2] == before.texts
