# SPDX-License-Identifier: Apache-2.0
"""The Dockerfile against what it names. No image is built: the pip line is run by `tests/install`, the server here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from git_hmopt.config.settings import ServeSettings
from git_hmopt.process.sandbox import sandbox_missing
from hmopt_bot.web.guard import OPEN
from hmopt_bot.web.openapi import description
from tests.bot.dockerfile import instructions, values
from tests.bot.linters import shellchecked
from tests.bot.web.serving import command
from tests.loop.project import Project, make_project

ROOT = Path(__file__).resolve().parents[2]
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def variables() -> dict[str, str]:
    """Return what the image sets for the server."""
    told = dict(one.split("=", 1) for value in values("ENV") for one in value.split())
    del told["PATH"]
    return told


def health_check() -> list[str]:
    """Return the command of the health check."""
    (value,) = values("HEALTHCHECK")
    return [str(word) for word in json.loads(value[value.index("[") :])]


def test_the_image_holds_what_the_package_is_built_of() -> None:
    copied = [value.split()[:-1] for value in values("COPY") if not value.startswith("--from")]
    sources = [source for one in copied for source in one]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(sources) == sorted(allowed)
    for source in sources:
        assert (ROOT / source).exists(), source
    tool = (ROOT / "pyproject.toml").read_text()
    packages = re.search(r"^packages = \[(.*)\]$", tool, re.MULTILINE)
    assert packages
    for package in re.findall(r'"(.*?)"', packages[1]):
        assert any(package == source or package.startswith(f"{source}/") for source in sources), package


def test_the_image_runs_the_server_as_nobody() -> None:
    assert values("USER") == ["10001:10001"]
    before = [instruction for instruction, _ in instructions()]
    assert before.index("USER") > max(n for n, one in enumerate(before) if one == "RUN")
    entry = json.loads(values("ENTRYPOINT")[0])
    assert entry == ["tini", "--", "git-hmopt", "serve"]
    port = ServeSettings().listen.rpartition(":")[2]
    assert values("EXPOSE") == [port]
    for name in variables():
        section, _, field = name.lower().removeprefix("hmopt_").partition("_")
        assert section == "serve" and field in ServeSettings.model_fields, name
    assert variables()["HMOPT_SERVE_LISTEN"] == f"0.0.0.0:{port}"
    assert values("VOLUME") == values("WORKDIR")


def test_the_health_check_asks_what_is_answered_without_a_token() -> None:
    program, *options, code = health_check()
    assert (program, options) == ("python", ["-I", "-c"])
    found = re.search(r"http://127\.0\.0\.1:(\d+)(/[a-z]+)", code)
    assert found and found[1] == values("EXPOSE")[0] and found[2] in OPEN
    assert found[2] in json.loads(description())["paths"]


def test_a_server_with_the_images_settings(tmp_path: Path) -> None:
    project = make_project(tmp_path / "served", contents={"a": "b\n"}, trusted=False)
    tokens = tmp_path / "tokens"
    environment = {**variables(), "HMOPT_SERVE_TOKENS": str(tokens)}
    refused = _entry(project, environment)
    assert refused.returncode == 129
    assert f"hmopt.serve.tokens: '{tokens}' cannot be read: No such file" in refused.stderr
    told = _entry(project, environment, "--new-token", "ci", "--write")
    assert told.returncode == 0 and tokens.stat().st_mode & 0o777 == 0o600, told.stderr
    *words, code = health_check()
    words[0] = sys.executable
    with command(project, environment=environment) as server:
        port = server.url.rpartition(":")[2]
        asked = [*words, code.replace(values("EXPOSE")[0], port)]
        assert subprocess.run(asked, check=False).returncode == 0
        # Only the health check needs no token.
        assert server.client().get("/runs").status_code == 401
        assert server.ended()[0] == 0
    assert subprocess.run(asked, capture_output=True, check=False).returncode != 0


def _entry(project: Project, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run what the image runs, without tini."""
    entry = json.loads(values("ENTRYPOINT")[0])
    assert entry[:2] == ["tini", "--"]
    return subprocess.run(
        [*entry[2:], *arguments],
        cwd=project.root, env={**project.environment, **environment}, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0 or sandbox_missing() is not None, reason="needs root and a bwrap that works")
def test_the_user_and_its_directories_are_made(tmp_path: Path) -> None:
    """On this system's programs, with an /etc, a /home and a /srv of the test's own."""
    (script,) = [value for value in values("RUN") if "useradd" in value]
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (etc / "group").write_text("root:x:0:\n")
    place, (user, group) = values("WORKDIR")[0], values("USER")[0].split(":")
    asked = (
        f"id -u hmopt; id -g hmopt; stat -c '%U %a' /etc/git-hmopt; stat -c %U {place}; "
        f"cd {place}; git init -q; chown -R 0:0 .git; "
        f"setpriv --reuid {user} --clear-groups git rev-parse --git-dir"
    )
    places = ("--ro-bind", "/", "/", "--bind", etc, "/etc", "--tmpfs", "/srv", "--tmpfs", "/home")
    done = subprocess.run(
        ["bwrap", *places, "--dev", "/dev", "--proc", "/proc", "--cap-add", "ALL", "--", "sh", "-ec",
         f"{script}\n{asked}"],
        capture_output=True, text=True, check=False, env={"PATH": _PATH, "HOME": "/nonexistent"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [user, group, "hmopt 700", "hmopt", ".git"]


def test_the_lines_that_run_pass_shellcheck_and_name_packages_of_debian() -> None:
    runs = values("RUN")
    for script in runs:
        # PACKAGES is a list of words.
        assert shellchecked(script.replace("\\\n", "") + "\n", "--exclude=SC2086") == ""
    if shutil.which("apt-cache") is None:
        pytest.skip("there is no apt here that knows Debian's packages")
    installs = re.findall(r"apt-get install -y --no-install-recommends (.*?)\s*&&", " ".join(runs))
    names = {word for one in installs for word in one.split() if not word.startswith("$")}
    assert {"git", "python3", "tini"} <= names
    known = subprocess.run(["apt-cache", "pkgnames"], capture_output=True, text=True, check=True).stdout.split()
    if len(known) < 10_000:
        pytest.skip("apt has no lists here: apt-get update")
    assert names <= set(known)
