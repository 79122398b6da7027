# SPDX-License-Identifier: Apache-2.0
"""The example of adapters/README.md, taken out of it as it stands, installed and run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from git_hmopt.adapters import Kind, adapter_names
from git_hmopt.config.load import load_config

README = Path(__file__).parents[2] / "adapters" / "README.md"
_BLOCK = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KINDS: tuple[Kind, ...] = ("build", "test", "workload", "profiler")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Write the files of the README, and beside them what pip would of their entry points."""
    files = dict(_BLOCK.findall(README.read_text()))
    assert set(files) == {"pyproject.toml", "hmopt_runtime.py", "test_runtime.py", ".hmopt.yaml"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    project = tomllib.loads(files["pyproject.toml"])["project"]
    information = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = project["entry-points"]
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in names.items()) for group, names in groups.items()]
    (information / "entry_points.txt").write_text("\n".join(lines))
    return tmp_path


def python(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter in which the package is installed."""
    environment = {**os.environ, "PYTHONPATH": str(package)}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=package,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_examples_own_tests_pass(package: Path) -> None:
    # Its own directory: at its end pytest deletes older sessions' directories, which may hold gigabytes of this suite.
    own = f"--basetemp={package / 'tmp'}"
    done = python(package, "-m", "pytest", "-q", "-p", "no:cacheprovider", own, "test_runtime.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_the_examples_configuration_names_its_adapter_and_its_metric(package: Path) -> None:
    loaded = load_config((package / ".hmopt.yaml").read_bytes(), origin="README")
    workload = loaded.config.workloads["main"]
    assert workload.objective.metric == "elapsed" and workload.measure["elapsed"].adapter == "runtime"
    code = (
        "from pathlib import Path\n"
        "from git_hmopt.adapters import AdapterContext, load_adapter\n"
        "from git_hmopt.config.load import adapter_options, load_config\n"
        "loaded = load_config(Path('.hmopt.yaml').read_bytes(), origin='README')\n"
        "section = loaded.config.workloads['main'].measure['elapsed']\n"
        "made = load_adapter('workload', section.adapter)\n"
        "options = adapter_options(section, made.Options, where=loaded.at('workloads', 'main', 'measure', 'elapsed'))\n"
        "print(options.timeout_s, sorted(made(options, AdapterContext('elapsed', Path())).metrics))\n"
    )
    done = python(package, "-c", code)
    assert done.stdout == "20.0 ['elapsed']\n", done.stderr


def test_a_typing_mistake_in_the_examples_options_is_refused_with_its_line(package: Path) -> None:
    text = (package / ".hmopt.yaml").read_text()
    assert "timeout_s: 20" in text
    (package / ".hmopt.yaml").write_text(text.replace("timeout_s", "time_out"))
    code = (
        "from pathlib import Path\n"
        "from git_hmopt.adapters import load_adapter\n"
        "from git_hmopt.config.load import adapter_options, load_config\n"
        "loaded = load_config(Path('.hmopt.yaml').read_bytes(), origin='README')\n"
        "section = loaded.config.workloads['main'].measure['elapsed']\n"
        "where = loaded.at('workloads', 'main', 'measure', 'elapsed')\n"
        "adapter_options(section, load_adapter('workload', section.adapter).Options, where=where)\n"
    )
    done = python(package, "-c", code)
    assert re.search(r"README:\d+: workloads\.main\.measure\.elapsed\.time_out: .*timeout_s", done.stderr), done.stderr


def test_every_adapter_that_the_readme_names_is_installed() -> None:
    table = README.read_text().split("## The four kinds")[0]
    named = set(re.findall(r"`([a-z]+(?:-[a-z]+)?)`", table)) - {"linux"}
    installed = {name for kind in KINDS for name in adapter_names(kind)}
    assert named == installed, "the table and the installed adapters differ"
