# SPDX-License-Identifier: Apache-2.0
"""What leaves: secrets of twenty kinds do not, on the wire, wherever they stand; and they come back in answers."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_hmopt.demo.model_server import Script, serving
from git_hmopt.gateway.client import Gateway
from git_hmopt.gateway.ledger import Ledger
from git_hmopt.gateway.message import Message
from git_hmopt.gateway.outbound import Outbound
from git_hmopt.gateway.policy import Policy, endpoint_of
from git_hmopt.gateway.profile import Profile, Role

HOST, PERSON = "buildhost-7f", "wanderer"
# Made here, of the forms their issuers document; none of them opens anything.
SECRETS = {
    "aws": "AKIA" + "Q7M2X9B4" * 2,
    "github": "ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8",
    "github-fine": "github_pat_" + "11ABCDEFG0" * 4,
    "gitlab": "glpat-" + "x1Y2z3W4v5U6t7S8r9Q0",
    "slack": "xoxb-" + "123456789012-abcdefGHIJKL",
    "openai": "sk-" + "proj4Rt" * 6,
    "npm": "npm_" + "k3" * 18,
    "pypi": "pypi-AgE" + "IcHlwaS5vcmc" * 5,
    "huggingface": "hf_" + "Zx9" * 11,
    "jwt": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NSJ9" + ".c2lnbmF0dXJlLW9mLWl0",
    "stripe": "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "sendgrid": "SG." + "a1B2c3D4e5F6g7H8i9J0k1" + "." + "L2m3N4o5P6q7R8s9T0u1V2w3X4y5Z6a7B8c9D0e1F2g",
    "twilio": "SK" + "0123456789abcdef" * 2,
    "private-key": "MIIEowIBAAKCAQEA" + base64.b64encode(b"no key at all, only its looks").decode(),
    "password": "hunter2-Correct-Horse",
    "bearer": "abcdEFGH1234ijklMNOP5678",
    "url-password": "s3cr3tpass",
    "email": "jane.doe@corp-mail.example.org",
    "home": "/home/janedoe",
    "internal-host": "ci-17.kernel.corp",
    "private-address": "10.33.44.55",
    "serial": "HX7R42K9Q1",
    "imei": "490154203237518",
    "mac": "3c:5a:b4:01:23:45",
    "this-host": HOST,
    "this-person": PERSON,
}
IN_TEXT = {
    "private-key": "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
    "password": "password = '{}'",
    "bearer": "Authorization: Bearer {}",
    "url-password": "https://builder:{}@git.example.org/k.git",
    "home": "{}/kernel/lib/sort.c:12",
    "serial": "serialno: {}",
    "imei": "IMEI: {}",
    "this-person": "started by {} today",
}


def planted(name: str) -> str:
    """Return a secret as it stands in a trace or a source file."""
    return IN_TEXT.get(name, "seen {} here").format(SECRETS[name])


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    "place",
    [
        "  kworker/0:1-12 [000] 88.1: tracing_mark_write: B|12|{}\n",
        "/* {} */\nint f(void) {{ return 1; }}\n",
        "subject: fix\n\n{}\n",
        "x" * 4000 + " {} " + "y" * 4000,
    ],
)
def test_no_byte_of_a_secret_reaches_the_server(name: str, place: str) -> None:
    text = place.format(planted(name))
    script = Script([{"answer": "seen"}])
    outbound = Outbound(hosts=[HOST], people=[PERSON])
    profile = Profile(name="t", roles={Role.GENERAL: ("m",)})
    with serving(script) as url:
        gateway = Gateway(
            endpoint_of(url), profile, Policy(), ledger=Ledger(), outbound=outbound, key="the-key-of-the-gateway"
        )
        gateway.ask(Role.GENERAL, [Message("system", text), Message("user", text)], most_out=10)
    sent = b"".join(script.requests)
    assert SECRETS[name].encode() not in sent
    assert json.dumps(SECRETS[name])[1:-1].encode() not in sent
    assert outbound.counts.total() >= 2
    assert outbound.restored(outbound.cleaned(text)) == text


def test_the_same_thing_has_the_same_name() -> None:
    outbound = Outbound()
    first = outbound.cleaned("mail a.b@example.org and c.d@example.org")
    second = outbound.cleaned("again a.b@example.org")
    assert first.split()[1] == second.split()[1]
    assert first.split()[1] != first.split()[3]


def test_a_name_that_was_never_given_stands_for_nothing() -> None:
    outbound = Outbound()
    name = outbound.cleaned("a.b@example.org")
    assert outbound.restored("<redacted:email:77>") == "<redacted:email:77>"
    # A comment in somebody's code may hold a name: it is not ours to fill in.
    assert Outbound().cleaned(f"see {name}") == "see <redacted>"


def test_what_everybody_is_called_is_no_secret() -> None:
    outbound = Outbound(hosts=["localhost", "pc"], people=["root", "bob"])
    text = "root on localhost: the root of the tree, pc-relative, bob"
    assert outbound.cleaned(text) == text


def test_a_secret_of_a_letter_does_not_go_from_every_word() -> None:
    outbound = Outbound()
    text = 'sscanf(url, "%s://%s:e@%s") </data 0123456789ee>'
    cleaned = outbound.cleaned(text)
    assert cleaned.endswith("</data 0123456789ee>")
    assert cleaned.startswith("sscanf(url, ")
    assert outbound.restored(cleaned) == text


@pytest.mark.parametrize("quoted", ["{}\u2026", "{} [cut off here]", "{}...", "x " * 40 + "{}", "(x={}\u2026"])
@pytest.mark.parametrize("name", ["github", "npm", "email", "internal-host", "sendgrid", "password"])
def test_what_was_cut_off_is_known_again(name: str, quoted: str) -> None:
    outbound = Outbound()
    text = planted(name)
    outbound.cleaned(text)
    for size in range(6, len(SECRETS[name])):
        once = quoted.format(SECRETS[name][:size])
        cleaned = outbound.cleaned(once)
        assert SECRETS[name][:size] not in cleaned
        assert outbound.cleaned(cleaned) == cleaned
        assert outbound.restored(cleaned) == once


@pytest.mark.parametrize(
    "text",
    [
        "static u32 crc32table[] = { 0x00000000, 0x77073096, 0xee0e612c };",
        "commit 1da177e4c3f41524e886b7f1b8a0c1fc7321cac2",
        "do_swap(a, b, size, swap_func); /* 13.15 % */",
        "while (n -= size) { token = next(p); }",
        "\tkey = foo->token;\n\ttoken = match_token(p, key_tokens, args);\n\tsecret = ctx->shared_secret[n];",
        "\t.set_secret\t= curve25519_set_secret,\n\t.max_size\t= curve25519_max_size,\n",
        "[<ffffffff81000000>] do_swap+0x10/0x20, 0xffffffff81000000-0xffffffff81e03bd1 /* v1.2.3.4, 6.1.0-13 */",
        'Fixes: 1da177e4c3f4 ("Linux-2.6.12-rc2")\nLink: https://lore.kernel.org/r/20260101120000.123456-1-x',
        "u8 zero[] = { 0x00, 0x01 }; /* 00:00:00:00:00:00, ff:ff:ff:ff:ff:ff, 12:34:56 */",
        'pr_info("%pI4 %s:%d %p@%s\\n", &ip, user, pass, password); // http://www.example.org/a?b=c',
        "kworker/u8:2-1234 [003] d..2. 88.123456: sched_switch: prev_comm=kworker/u8:2 prev_pid=1234",
    ],
)
def test_code_is_left_alone(text: str) -> None:
    assert Outbound().cleaned(text) == text


@given(st.text(max_size=400))
def test_twice_is_once_and_back_again(text: str) -> None:
    outbound = Outbound(hosts=[HOST])
    once = outbound.cleaned(text)
    assert outbound.cleaned(once) == once
    if "<redacted" not in text:
        assert outbound.restored(once) == text
