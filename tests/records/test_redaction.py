# SPDX-License-Identifier: Apache-2.0
"""Redaction: what must go, what must stay, and that doing it twice changes nothing.

Every planted secret is put together at run time, so that none stands in this file.
"""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_hmopt.records.redaction import Redacted, TextKind, redact, redact_file, redact_values

_KEY = "PRIV" + "ATE KEY"
_A36 = "aB3" * 12
PLANTED = {
    "github": ("token", "gh" + "p_" + _A36),
    "github fine-grained": ("token", "github" + "_pat_" + _A36),
    "gitlab": ("token", "glp" + "at-" + "aB3" * 7),
    "slack": ("token", "xo" + "xb-" + "1234567890-abcdef"),
    "slack hook": ("token", "https://hooks.sl" + "ack.com/services/T0/B0/" + "x" * 24),
    "jwt": ("token", "ey" + "J" + "a" * 12 + ".ey" + "J" + "b" * 12 + "." + "c" * 20),
    "aws": ("aws-key", "AK" + "IA" + "ABCDEFGHIJKLMNOP"),
    "private key": (
        "private-key",
        "-----BEGIN RSA PRIV" + "ATE KEY-----\nMIIabc\ndef\n-----END RSA PRIV" + "ATE KEY-----",
    ),
    "cut private key": ("private-key", "-----BEGIN OPENSSH PRIV" + "ATE KEY-----\nb3BlbnNz\nmore"),
    "cut private key in C": ("private-key", f'"-----BEGIN EC {_KEY}-----\\n"\n"MHcCAQEE\\n"\n"abc'),
    "cut private key in a log": (
        "private-key",
        f"-----BEGIN {_KEY}-----\n[ 12.5] init: {'aB3+' * 16}\n[ 12.6] init: {'aB3+' * 16}",
    ),
    "private key on a line": ("private-key", f"-----BEGIN {_KEY}-----\\nMIIabc\\n-----END {_KEY}-----"),
    "base64 of a key": ("token", "LS0tLS1CRUdJTi" + "aB3+" * 20 + "=="),
    "openai": ("token", "s" + "k-proj-ab_cd-" + "aB3-" * 8),
    "userinfo with @": ("userinfo", "https://" + "alice:hunter@2" + "@example.org/x.git"),
    "userinfo": ("userinfo", "https://" + "alice:hunter2" + "@example.org/x.git"),
}
LOG_ONLY = {
    "password": ("secret", "pass" + "word=hunter2hunter"),
    "yaml secret": ("secret", "client_sec" + "ret: 's3cr3tvalue'"),
    "json secret": ("secret", '"api' + '_key": "abcDEF123456"'),
    "environment": ("secret", "AWS_SEC" + "RET_ACCESS_KEY=" + "aB3/" * 10),
    "in a string": ("secret", 'puts("' + "api_" + 'key = \\"abcDEF123456\\"")'),
    "json in a string": ("secret", '{\\"api' + '_key\\": \\"abcDEF123456\\"}'),
    "number": ("secret", "pass" + "word: 31415926"),
    "quoted": ("secret", "pass" + 'phrase = "it\'s (not) so secret"'),
    "option": ("secret", "--api-to" + "ken abcdef123456"),
    "cookie": ("token", "Cookie: session=abcdef0123456789; id=5"),
    "bearer": ("token", "Authorization: Bea" + "rer abcdef0123456789xyz"),
    "e-mail": ("email", "alice.smith@example.org"),
    "mail domain": ("email", "alice@b\u00fccher.example"),
    "mail in a link": ("email", "alice%40example.org"),
    "host": ("host", "ci-3.build.corp"),
    "host in capitals": ("host", "CI-3.BUILD.CORP"),
    "service": ("host", "redis.default.svc.cluster.local"),
    "who built a kernel": ("host", "Linux version 6.1.0 (alice@build-box) (gcc"),
    "short host": ("host", "http://gitlab.internal/x"),
    "host with port": ("host", "nas.local:8080"),
    "10/8": ("private-ip", "connect to 10.1.2.3:80"),
    "192.168/16": ("private-ip", "192.168.0.17"),
    "172.16/12": ("private-ip", "172.20.1.1"),
    "100.64/10": ("private-ip", "100.101.102.103"),
    "link-local": ("private-ip", "fe80::21a:2bff:fe3c:4d5e"),
    "ula": ("private-ip", "fd12:3456:789a::1"),
    "home": ("home", "/home/alice/linux/lib/sort.c"),
    "include path": ("home", "-I/home/alice/linux/include"),
    "home on a share": ("home", "/data/nfs/home/alice/linux"),
    "root's include path": ("home", "-I/root/linux"),
    "home of another system": ("home", "/mnt/c/Users/alice/linux"),
    "mac home": ("home", "/Users/alice/linux"),
    "root home": ("home", "/root/linux"),
    "windows home": ("home", "C:\\Users\\alice\\linux"),
    "imei": ("device-id", "IMEI: 490154203237518"),
    "serial": ("device-id", "ro.serialno=8A9X0F1B2"),
    "serial number": ("device-id", "Serial Number: R58M12ABCDE"),
    "imei of a slot": ("device-id", "IMEI1 490154203237518"),
    "getprop": ("device-id", "[ro.serialno]: [8A9X0F1B2]"),
    "adb": ("device-id", "adb -s R58M12ABCDE shell"),
    "hdc": ("device-id", "hdc -t 7001005458323933328a01fce16d3800 shell"),
    "escaped windows home": ("home", "C:\\\\\\\\Users\\\\\\\\alice"),
    "adb's list": ("device-id", "List of devices attached\nR58M12ABCDE\tdevice"),
    "percent-encoded home": ("home", "file=%2Fhome%2Falice%2Flinux"),
    "mac": ("device-id", "HWaddr 00:1a:2b:3c:4d:5e"),
    "mac and more": ("device-id", "id:00:1a:2b:3c:4d:5e: link is up"),
    "mac with dashes": ("device-id", "00-1A-2B-3C-4D-5E"),
}


@pytest.mark.parametrize("what", PLANTED | LOG_ONLY)
def test_logs_lose_it_and_it_is_counted(what: str) -> None:
    rule, secret = (PLANTED | LOG_ONLY)[what]
    redacted = redact(f"before {secret}\nafter")
    assert "aB3+" not in redacted.text
    assert secret not in redacted.text
    assert redacted.text.startswith("before ")
    assert redacted.counts == {rule: 1}
    if "cut" not in what:
        assert redacted.text.endswith("after")


@pytest.mark.parametrize("what", PLANTED)
def test_code_loses_credentials(what: str) -> None:
    rule, secret = PLANTED[what]
    redacted = redact(f"+\tx = {secret};\n", "code")
    assert secret not in redacted.text
    assert redacted.counts == {rule: 1}


@pytest.mark.parametrize(
    "text",
    [
        "+\tpassword = get_password(user, 0x1234567890);\n",
        "+ * Signed-off-by: A U Thor <author@example.org>\n",
        '+#include "/home/build/include/x.h"\n',
        "+\tif (addr == 192.168.0.1)\n",
        "+ token: fields->next_token_pointer\n",
    ],
)
def test_code_keeps_its_meaning(text: str) -> None:
    assert redact(text, "code") == Redacted(text, {})


@pytest.mark.parametrize(
    "text",
    [
        "lib/sort.c:212: warning: unused variable 'token'",
        "max_prompt_tokens: 8000, token=123456789",
        "gcc 12.2.0 (Debian 12.2.0-14) ld 2.40.0.1",
        "do_swap.constprop.0 +12.5% 1234567890123456 instructions",
        "commit 83cbe02be48ceb0fa1bb6ba06a3cc7af8a1e9a3f",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "git@example.org:group/linux.git",
        "version 8.8.8.8 is 127.0.0.1",
        "Makefile.local config.internal foo.local()",
        "/var/lib/root/x /home",
        "12:34:56 elapsed, ab:cd",
        "key=value password: none, secret: <not set>",
        "20260131-lib-sort-0a1b2c refs/hmopt/runs/x",
        "serial8250: ttyS0 at I/O 0x3f8 (irq = 4) is a 16550A",
        "2026-01-31T23:59:59Z",
        "drivers/home/alice.c lib/Users/x -o ./home/alice",
        "--max-tokens 8000 --token-file path/to/it",
        "sk-learn-is-a-package-for-machine-learning sk->sk_user_data_of_this_socket_0",
        "SHA1:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33",
        "memcpy@GLIBC_2.14 func@plt",
        "cookie: 0xffff8881",
        'while ((token = strsep(&s, ",")) != NULL) {',
        "\tsecret = request->shared_secret;",
        "\tu8 *secret = kpp_tfm_ctx(tfm), *iv = NULL;",
        "\tpassword = default_password;",
        "\t.set_secret = curve25519_set_secret,\n",
        "\ttoken = table[at].token_of_it;",
        "set to 00:00:00:00:00:00 or ff:ff:ff:ff:ff:ff",
        "cgroup/memory.events.local memory.swap.events.local",
        "ip address add fe80::<address>/10, fc00::/7",
        '"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";',
        "serial8250 device at 0x3f8",
        "0xffffffff81000000 version 1.2.3.4",
    ],
)
def test_logs_keep_what_is_no_secret(text: str) -> None:
    assert redact(text).text == text
    assert redact(text).counts == {}


def test_a_key_that_only_begins_hides_nothing_behind_it() -> None:
    text = f"a -----BEGIN RSA {_KEY}----- in a comment\nint f(void);\n</data 1>\n-----END RSA {_KEY}----- behind"
    assert redact(text).text == f"a <redacted:private-key>\nint f(void);\n</data 1>\n-----END RSA {_KEY}----- behind"


def test_several_in_one_text() -> None:
    text = "\n".join(secret for _, secret in LOG_ONLY.values())
    redacted = redact(text)
    assert sum(redacted.counts.values()) == len(LOG_ONLY)
    assert not [secret for _, secret in LOG_ONLY.values() if secret in redacted.text]


def test_values_are_searched_and_secret_keys_go_whole() -> None:
    token = PLANTED["github"][1]
    data = {
        "run": {"environment": {"GITHUB_TOKEN": "short", "PATH": "/home/alice/bin"}, "seed": 7, "parent": None},
        "list": [token, {"dirty": False}],
        "/home/alice/x": "y",
    }
    redacted, counts = redact_values(data)
    assert redacted == {
        "run": {"environment": {"GITHUB_TOKEN": "<redacted:secret>", "PATH": "~/bin"}, "seed": 7, "parent": None},
        "list": ["<redacted:token>", {"dirty": False}],
        "~/x": "y",
    }
    assert counts == {"secret": 1, "home": 2, "token": 1}
    assert redact_values(redacted) == (redacted, {})


def test_nothing_below_a_secret_key_stays_but_numbers() -> None:
    below = {"token": 8000, "credentials": {"user": "al", "all": ["hunter2", {"pin": "1"}]}, "Passwords": ("ab", None)}
    redacted, counts = redact_values(below)
    gone = "<redacted:secret>"
    assert redacted == {
        "token": 8000,
        "credentials": {"user": gone, "all": [gone, {"pin": gone}]},
        "Passwords": [gone, None],
    }
    assert counts == {"secret": 4}


def test_keys_that_become_equal_stay_apart() -> None:
    redacted, _ = redact_values({"/home/a/x": 1, "/home/b/x": 2})
    assert sorted(redacted.values()) == [1, 2]


def test_the_name_says_what_kind_of_text_it_is() -> None:
    mail = b"+ * author@example.org\n"
    assert redact_file("candidate.diff", mail) == (mail, {})
    assert redact_file("build.log", mail) == (b"+ * <redacted:email>\n", {"email": 1})


def test_bytes_that_are_no_text_pass() -> None:
    data, counts = redact_file("x.log", b"\xff\xfe mail alice@example.org \x80")
    assert data == b"\xff\xfe mail <redacted:email> \x80"
    assert counts == {"email": 1}


@pytest.mark.parametrize(
    "piece",
    [
        *("a.", "a-", "sk-", "eyJ-", "serial:", "1", "_", "-", "/", "/home", "://", "a@", "a@a.", "://a:", "token "),
        *(
            "token:\n",
            "pass",
            "authorization",
            "cookie:",
            "-----BEGIN ",
            f"-----BEGIN {_KEY}-----",
            f"-----BEGIN {_KEY}-----\n",
            "00:",
            "fd00:",
            "10.",
            "--password",
            "\\'",
        ),
        *(
            "-I/a",
            "Linux version ",
            'token="',
            "bearer ",
            "%40",
            "a.local:",
            "\u00e4.",
            "token = a(",
            "token = a.",
            "imei ",
        ),
    ],
)
def test_no_text_makes_it_slow(piece: str) -> None:
    """A long line is what a program that never ends one gives; an unbounded pattern takes minutes for this one."""
    text = piece * (200_000 // len(piece))
    before = time.process_time()
    redact(text)
    assert time.process_time() - before < 5


_PIECES = st.sampled_from([secret for _, secret in (PLANTED | LOG_ONLY).values()])


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.one_of(_PIECES, st.text(max_size=30)), max_size=6), st.sampled_from(["log", "code"]))
def test_twice_is_once(pieces: list[str], kind: TextKind) -> None:
    once = redact(" ".join(pieces), kind)
    assert redact(once.text, kind) == Redacted(once.text, {})


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_value_stays_json(value: object) -> None:
    redacted, _ = redact_values(value)
    json.dumps(redacted, ensure_ascii=False).encode()
