# SPDX-License-Identifier: Apache-2.0
"""The action's first step, and the Dockerfile's: installed from exactly the files that the image is made of."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from tests.bot.action.composite import ROOT, run_action
from tests.bot.dockerfile import values
from tests.install.places import newcomer, typed


def test_what_the_dockerfile_copies_is_installed_by_the_actions_first_step(tmp_path: Path) -> None:
    context, temporary, strange = tmp_path / "src", tmp_path / "temp", tmp_path / "workspace"
    temporary.mkdir()
    for value in values("COPY"):
        *sources, target = value.split()
        for source in [] if sources[0].startswith("--") else sources:
            place = tmp_path / target.lstrip("/")
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                place.mkdir(exist_ok=True)
                shutil.copy(ROOT / source, place)
    (pip,) = [value for value in values("RUN") if "pip install" in value]
    assert pip.endswith("'/src[bot]'")
    # A stranger's checkout: Python would import what lies in its working directory.
    strange.mkdir()
    for name in ("venv.py", "ensurepip.py", "pip.py", "json.py", "hatchling.py"):
        (strange / name).write_text("raise SystemExit('a stranger was imported')\n")
    environment = newcomer(tmp_path / "home")
    done = run_action(
        {"version": f"{context}[bot]"},
        workspace=strange, temporary=temporary, environment=environment, only=("Install",),
    )  # fmt: skip
    assert done.code == 0, done.log
    path = f"{temporary}/git-hmopt/bin{os.pathsep}{environment['PATH']}"
    shown = typed("git-hmopt serve --openapi", strange, {**environment, "PATH": path})
    assert shown.returncode == 0, shown.stderr
    assert "/health" in json.loads(shown.stdout)["paths"]
    step = typed(f"{temporary}/git-hmopt/bin/python -I -m hmopt_bot.action answer", strange, environment)
    assert (step.returncode, "the check gave no answer" in step.stdout) == (128, True), step.stdout


def test_the_action_installs_its_own_checkout_where_no_version_is_named(tmp_path: Path) -> None:
    """Only what pip is told: the step itself is run above."""
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin/python3"
    python.write_text(
        '#!/bin/sh\n[ "$3" != venv ] || { mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; }\necho "$@" >>"$SAID"\n'
    )
    python.chmod(0o755)
    said = tmp_path / "said"
    environment = {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "SAID": str(said)}
    for version, wanted in (("", f"{ROOT}/.github/actions/check/../../.."), ("--index-url=x", "--index-url=x")):
        said.unlink(missing_ok=True)
        done = run_action(
            {"version": version}, workspace=tmp_path, temporary=tmp_path, environment=environment, only=("Install",)
        )
        assert done.code == 0, done.log
        # Behind `--` it is a requirement, whatever it looks like.
        last = said.read_text().splitlines()[-1]
        assert last == f"-I -m pip install --quiet --disable-pip-version-check -- {wanted}"
