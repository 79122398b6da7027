# SPDX-License-Identifier: Apache-2.0
"""Secrets of many kinds, planted wherever a run looks, are in no byte that a model's server receives, and in no record.

The run asks all four agents, looks things up, has a repair turn, a failed candidate, and a review by a model.
"""

from __future__ import annotations

import json
import random
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from git_hmopt.config.settings import GatewaySettings
from git_hmopt.demo.model_server import Script, serving
from git_hmopt.gateway.client import Gateway
from git_hmopt.gateway.ledger import Ledger
from git_hmopt.gateway.message import Message
from git_hmopt.gateway.outbound import Outbound
from git_hmopt.gateway.policy import Policy, endpoint_of
from git_hmopt.gateway.profile import Profile, Role
from git_hmopt.loop.models import opened
from tests.loop.planted import KEY, KINDS, Planter, Quoting, agent, arrived, forms, function, leaked, objects
from tests.loop.project import Project, files, make_project
from tests.loop.recorded import Recorded, recorded_run
from tests.loop.test_kill import killed
from tests.runtime.made_trace import Trace

SEED = random.SystemRandom().randrange(1 << 32)
PERSON = "zz" + "wandererq"
PROFILE = "name: test\nroles: {general: tiny-1b}\nmodels: {tiny-1b: {price_in: 1, price_out: 2}}\n"
# Identifiers can hold these; a comm of a trace has fifteen characters.
IN_NAMES = ("github", "npm", "hugging-face", "stripe")
IN_COMMS = ("ipv4", "email", "home", "github")
IN_TESTS = ("email", "ipv4", "home", "gitlab", "password", "host-corp")


# -- the search itself ------------------------------------------------------------------------------------------------


def gateway(url: str) -> Gateway:
    """Return a gateway without a limit."""
    profile = Profile(name="t", roles={Role.GENERAL: ("m",)})
    return Gateway(endpoint_of(url), profile, Policy(), ledger=Ledger(), outbound=Outbound(), key="key-of-the-gateway")


def sent(text: str) -> list[bytes]:
    """Return what a server receives of a text."""
    script = Script([{"answer": "seen"}])
    with serving(script) as url:
        gateway(url).ask(Role.GENERAL, [Message("system", text), Message("user", text)], most_out=10)
    return script.requests


def everything(dice: random.Random) -> tuple[Planter, str]:
    """Return a secret of every kind, and a text with all of them."""
    planter = Planter("here", dice)
    return planter, "\n".join([*planter.lines(), *planter.key()])


def test_there_are_kinds_enough() -> None:
    planter, _ = everything(random.Random(1))
    assert len(KINDS) >= 20
    assert all(len(secret) >= 9 for secret in planter.secrets.values())


def test_nothing_of_any_kind_leaves() -> None:
    planter, text = everything(random.Random(SEED))
    requests = sent(text)
    assert leaked(requests, planter.secrets) == [], SEED
    assert arrived(requests, planter) == sorted([*KINDS, KEY])


def test_without_redaction_the_search_finds_every_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Outbound, "cleaned", lambda self, text: text)
    planter, text = everything(random.Random(SEED))
    requests = sent(text)
    assert leaked(requests, planter.secrets) == list(planter.secrets), SEED
    assert arrived(requests, planter) == []


@pytest.mark.parametrize("kind", [*KINDS, KEY])
def test_the_search_knows_every_form(kind: str) -> None:
    planter, _ = everything(random.Random(SEED))
    secrets = {name: one for name, one in planter.secrets.items() if name.startswith(kind)}
    for secret in secrets.values():
        split = f"{secret[:5]}\n\t * {secret[5:]}"
        for form in (*forms(secret), split, f'{secret[:5]}"\n"{secret[5:]}'):
            body = json.dumps({"messages": [{"content": f"before {form} behind"}]})
            assert leaked([b"POST /\r\n\r\n" + body.encode()], {"it": secret}) == ["it"], (SEED, form)
    assert leaked([b"POST /\r\nX-Name: a\r\n\r\n{}"], secrets) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("decorated", ["{}", "\t * {}", '\tputs("{}\\n");', "+\t/* {} */", '"{}",', "{}\x1b[0m"])
def test_what_stands_around_it_hides_nothing(kind: str, decorated: str) -> None:
    """Whatever a line is: a comment, a string of C, a diff's, one of JSON."""
    planter = Planter("here", random.Random(SEED))
    text = f"before\n{decorated.format(planter.line(kind))}\nbehind\n"
    outbound = Outbound()
    cleaned = outbound.cleaned(text)
    assert leaked([json.dumps({"x": cleaned}).encode()], planter.secrets) == [], (SEED, cleaned)
    assert cleaned.startswith("before\n") and cleaned.endswith("\nbehind\n")
    assert outbound.restored(cleaned) == text


def test_this_machine_and_its_user_have_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "forge-17.example.org")
    monkeypatch.setenv("LOGNAME", "wanderer")
    (tmp_path / "p.yaml").write_text(PROFILE)
    script = Script([{"answer": "seen"}])
    with serving(script) as url:
        settings = GatewaySettings(profile=str(tmp_path / "p.yaml"), url=url)
        asked = opened(settings, tmp_path, key=lambda *_: None)
        asked.ask(Role.GENERAL, [Message("user", "built on forge-17 by Wanderer, forge-17.example.org")], most_out=5)
    assert leaked(script.requests, {"host": "forge-17", "person": "wanderer"}) == []


# -- a whole run ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Leaky:
    """A run whose project is full of secrets."""

    project: Project
    run: Recorded
    requests: list[bytes]
    places: Mapping[str, Planter]
    before: frozenset[str]
    """Objects that were there before the run."""
    said: str

    @property
    def secrets(self) -> dict[str, str]:
        """Return all of them, by place and kind."""
        return {f"{place}:{kind}": one for place, of in self.places.items() for kind, one in of.secrets.items()}


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _identifier(planter: Planter, kind: str) -> str:
    return planter.line(kind).partition("] ")[2]


def _scan(places: Mapping[str, Planter]) -> str:
    """Return lib/scan.c: a loop in a function whose name is a secret, and comments in the one that is made faster."""
    lines = [*places["hot"].lines(), *places["hot"].key(), f"[hot:user] built by {PERSON}"]
    comment = "\n".join(["\t/*", *(f"\t * {line}" for line in lines), "\t */"])
    name = _identifier(places["symbol"], "github")
    return f"""// SPDX-License-Identifier: GPL-2.0-only
#include <linux/{_identifier(places["path"], "npm")}.h>
#include <linux/kernel.h>
#include <linux/scan.h>

static u32 noinline {name}(const unsigned char *p)
{{
	return *p + OF_A_PATH;
}}

const void *scan_byte(const void *start, int c, size_t n)
{{
{comment}
	const unsigned char *p = start;

	while (n-- != 0) {{
		if ({name}(p) == (unsigned char)c)
			return p;
		p++;
	}}
	return NULL;
}}
"""


def _project(directory: Path, places: Mapping[str, Planter]) -> Project:
    contents = files()
    scan = _scan(places)
    contents["lib/scan.c"] = scan
    header = f"include/linux/{scan.split('#include <linux/')[1].split('>')[0]}"
    contents[header] = "#define OF_A_PATH 0\n"
    strings = "\n".join(f"\t(void){_literal(line)};" for line in places["string"].lines())
    contents["lib/crc.c"] = contents["lib/crc.c"].replace(
        "\tconst u8 *p = data;\n", f"{strings}\n\tconst u8 *p = data;\n"
    )
    contents["lib/notes.c"] = "".join(f"/* {line} */\n" for line in places["file"].lines())
    names = " ".join(places["error"].lines(IN_TESTS))
    contents["test/unit.c"] = contents["test/unit.c"].replace('"scan_finds"', _literal(f"scan_finds {names}"))
    document = yaml.safe_load(contents[".hmopt.yaml"])
    document["workloads"]["scan-blocks"]["description"] = "\n".join(places["description"].lines())
    document["strategies"] = [
        {
            "name": f"leaky-{number}",
            "bottleneck": "cpu-bound-loop",
            "what_to_try": line,
            "preconditions": ["It is long."],
            "risks": ["Races."],
            "example": "-   x\n+   y",
            "source": "none",
        }
        for number, line in enumerate(places["config"].lines())
    ]
    contents[".hmopt.yaml"] = yaml.safe_dump(document, sort_keys=False, width=10_000)
    return make_project(directory, contents=contents, title="A small project\n\n" + "\n".join(places["commit"].lines()))


def _trace(planter: Planter) -> str:
    """Return a trace in which somebody waits, and all threads have secrets for names."""
    trace = Trace()
    trace.switch(1_000, 0, "R", 8)
    trace.wake(2_000, 5, by=8)
    trace.switch(8_000, 8, "R", 5)
    trace.switch(9_000, 5, "S", 8)
    text = "\n".join(trace.lines) + "\n"
    lines = planter.lines(IN_COMMS)
    return text.replace("t 5", lines[0]).replace("t 8", " ".join(lines[1:]))


# `QUOTE(place:kind)` is what the model saw there in place of the secret.
WRONG = """	/* QUOTE(hot:email) and <redacted:email:9999> */
	const unsigned char *p = start;

	return n && QUOTE(symbol)(p) == (unsigned char)c ? start : start;
"""
GOOD = """	const unsigned char *p = start, *end = p + n;

	/* QUOTE(hot:email) and QUOTE(hot:github) and <redacted:email:9999> */
	for (; end - p >= 2; p += 2) {
		if (QUOTE(symbol)(p) == (unsigned char)c)
			return p;
		if (QUOTE(symbol)(p + 1) == (unsigned char)c)
			return p + 1;
	}
	return p != end && QUOTE(symbol)(p) == (unsigned char)c ? p : NULL;
"""


def choice(**values: object) -> str:
    """Return a Conductor's answer."""
    usual = {"comparison": "-", "action": "try", "hotspot": "scan_byte", "strategy": "leaky-3", "reason": "a byte loop"}
    return json.dumps({**usual, "questions": [], **values})


def turns(places: Mapping[str, Planter]) -> list[dict[str, object]]:
    """Return what the models say: three iterations, with questions, answers that need repair, and a failed patch."""
    quoted = "\n".join(places["answer"].lines())
    look = json.dumps({"bottleneck": "", "questions": ["source lib/notes.c:1-200", "windows"]})
    analysis = {"bottleneck": "cpu-bound-loop", "evidence": ["F1"], "reason": quoted}
    coder, title = "You are the Coder", places["answer"].secrets["email"]
    return [
        {"when": "You are the Trace Analyst", "answer": look},
        {"when": "You are the Trace Analyst", "answer": json.dumps(analysis)},
        {"when": "You are the Conductor", "answer": choice(hotspot=quoted, reason=quoted)},
        {"when": "You are the Conductor", "answer": choice(reason=quoted, comparison=quoted)},
        {"when": "You are the Conductor", "answer": choice()},
        {"when": "You are the Conductor", "answer": choice(action="end", reason="enough")},
        {"when": coder, "answer": "LOOK source lib/notes.c:1-200\nLOOK windows\nLOOK attempts"},
        {"when": coder, "answer": f"{quoted}\nFUNCTION lib/scan.c nothing_like_it\n```c\nint x(void)\n{{\n}}\n```\n"},
        {"when": coder, "answer": f"CANDIDATE 1: lib/scan: {title}\n{quoted}\n\n" + function(WRONG)},
        {"when": coder, "answer": "CANDIDATE 1: lib/scan: walk to the end\nOne variable less.\n\n" + function(GOOD)},
        {"when": "You are the Safety reviewer", "answer": json.dumps({"verdict": "safe", "reasons": [quoted]})},
    ]  # fmt: skip


PLACES = ("hot", "string", "symbol", "path", "file", "error", "description", "config", "commit", "trace", "answer")


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Leaky]:
    """Make the run once."""
    directory = tmp_path_factory.mktemp("leaky")
    places = {place: Planter(place, random.Random(f"{SEED} {place}")) for place in PLACES}
    project = _project(directory, places)
    (directory / "gateway.yaml").write_text(PROFILE)
    for name, value in (("profile", str(directory / "gateway.yaml")), ("review", "true"), ("candidates", "1")):
        project.git("config", f"hmopt.gateway.{name}", value)
    before = objects(project)
    script = Quoting(turns(places))
    with serving(script) as url:
        project.git("config", "hmopt.gateway.url", url)
        start = ("optimize", "--workload", "scan-blocks", "--seed", "7", "--proposer", "llm", "--iterations", "4")
        killed(project, "start", "build_evidence_pack", *start)
        run = recorded_run(project)
        (directory / "slow.ftrace").write_text(_trace(places["trace"]))
        ingested = project.hmopt("ingest", "artifacts", "--run", run.name, str(directory / "slow.ftrace"))
        assert ingested.returncode == 0, ingested.stderr
        done = project.hmopt("resume", run.name, environment={"LOGNAME": PERSON})
    assert done.returncode == 0, done.stdout + done.stderr
    yield Leaky(project, run, script.requests, places, before, done.stdout + done.stderr)


def test_the_run_did_all_that_it_was_to_do(leaky: Leaky) -> None:
    assert {agent(one) for one in leaky.requests} == {"Trace Analyst", "Conductor", "Coder", "Safety reviewer"}
    verdicts = [one["evaluation"]["verdict"] for one in leaky.run.named("patch.judged")]
    assert verdicts == ["incorrect", "improved(count only)"], leaky.said


def test_no_byte_of_a_secret_reaches_the_server(leaky: Leaky) -> None:
    assert leaked(leaky.requests, leaky.secrets) == [], SEED
    assert leaked(leaky.requests, {"user": PERSON, "place of the project": str(leaky.project.home.parent)}) == []


@pytest.mark.parametrize(
    ("place", "kinds"),
    [
        ("hot", (*KINDS, KEY, "user")), ("string", tuple(KINDS)), ("file", tuple(KINDS)), ("config", tuple(KINDS)),
        ("answer", tuple(KINDS)), ("trace", IN_COMMS), ("error", IN_TESTS),
    ],
)  # fmt: skip
def test_the_places_where_they_stood_were_sent(leaky: Leaky, place: str, kinds: tuple[str, ...]) -> None:
    assert arrived(leaky.requests, leaky.places[place]) == sorted(kinds), SEED


def test_what_is_named_after_a_secret_can_still_be_chosen(leaky: Leaky) -> None:
    said = b"".join(leaky.requests).decode()
    assert "static u32 noinline <redacted:token:" in said
    assert re.search(r"<data \w+ hotspots>\\n[^<]*(?:scan_byte[^<]*)?- <redacted:token:[0-9]+>", said)


def test_what_was_quoted_is_put_back_and_what_was_never_named_stays(leaky: Leaky) -> None:
    best = leaky.project.git("show", f"{leaky.run.best}:lib/scan.c")
    hot = leaky.places["hot"]
    email = hot.secrets["email"]
    assert f"/* {email} and ghp_{hot.secrets['github']} and <redacted:email:9999> */" in best


def versions(leaky: Leaky) -> frozenset[str]:
    """Return the objects of the candidates' trees: new versions of the project's own files, and their directories."""
    git = leaky.project.git
    listed = git("cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)").splitlines()
    commits = [one.split()[0] for one in listed if one.endswith(" commit")]
    of_tree = [one for one in commits if git("rev-parse", "-q", "--verify", f"{one}:lib/scan.c", check=False)]
    trees = [f"{one}^{{tree}}" for one in of_tree]
    return frozenset(git("rev-list", "--objects", "--no-object-names", *trees).split()) - set(commits)


def contents(project: Project, oids: Iterable[str]) -> Iterator[bytes]:
    """Yield objects as git shows them."""
    for oid in oids:
        yield project.git("cat-file", "-p", oid).encode()


def test_the_record_holds_none_either(leaky: Leaky) -> None:
    new = objects(leaky.project) - leaky.before
    recorded = new - versions(leaky)
    assert len(recorded) > 30
    assert leaked(contents(leaky.project, recorded), leaky.secrets) == [], SEED


def test_no_new_version_of_a_file_holds_what_the_file_did_not(leaky: Leaky) -> None:
    new = (objects(leaky.project) - leaky.before) & versions(leaky)
    found = leaked(contents(leaky.project, new), leaky.secrets)
    assert {name.partition(":")[0] for name in found} <= {"hot", "symbol", "path"}, SEED


def test_what_is_pushed_holds_none(leaky: Leaky, tmp_path: Path) -> None:
    leaky.project.git("init", "-q", "--bare", str(tmp_path / "r.git"))
    leaky.project.git("push", "-q", str(tmp_path / "r.git"), "main")
    remote = Project(tmp_path / "r.git", leaky.project.home)
    before = objects(remote)
    leaky.project.git("remote", "add", "there", str(tmp_path / "r.git"))
    pushed = leaky.project.hmopt("push", "there")
    assert pushed.returncode == 0, pushed.stderr
    sent_objects = objects(remote) - before
    assert sent_objects
    assert leaked(contents(remote, sent_objects - versions(leaky)), leaky.secrets) == [], SEED
