# SPDX-License-Identifier: Apache-2.0
"""The demo's tree as a repository: what is committed whatever the user configured, and whether its YAML works."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from git_hmopt.adapters import AdapterContext, BuildResult, SourceTree, WorkCase, load_adapter
from git_hmopt.config.load import LoadedConfig, adapter_options, load_config
from git_hmopt.config.schema import AdapterSection
from git_hmopt.demo import tree
from git_hmopt.demo.tree import make_repository, tree_root
from git_hmopt.errors import HmoptError, UsageError
from git_hmopt.measure.policy import Change, check_policy
from git_hmopt.records.words import Seed
from git_hmopt.runtime.call_graph import from_samples
from git_hmopt.runtime.window import below
from git_hmopt.store.repository import Repository
from git_hmopt.traces.registry import parse
from git_hmopt.traces.tables import Samples, Symbols
from tests.demo.trees import COMPILERS, copy_tree

HOME_FILES = {
    ".gitconfig": "[core]\n\tautocrlf = true\n\texcludesFile = ~/ignored\n\thooksPath = ~/hooks\n"
    "[init]\n\ttemplateDir = ~/template\n\tdefaultBranch = trunk\n[user]\n\tname = A\n\temail = a@example.org\n"
    "[commit]\n\tgpgSign = true\n",
    "ignored": "*.c\n.hmopt.yaml\nMakefile\n",
    "template/info/exclude": "*.h\n",
    "hooks/post-index-change": "#!/bin/sh\necho called >> ~/called\n",
}


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Seal the home directory: what a user configured comes only from a test."""
    sealed = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(sealed))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return sealed


def git(repository: Repository, *arguments: str) -> str:
    """Return what plain git prints."""
    assert repository.worktree is not None
    return subprocess.run(
        ["git", *arguments], cwd=repository.worktree, capture_output=True, text=True, check=True
    ).stdout.removesuffix("\n")


def shipped() -> dict[str, bytes]:
    """Return the tree's files as the package has them."""
    root = tree_root()
    found = (path for path in root.rglob("*") if path.is_file() and path.relative_to(root).parts[0] != "build")
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def committed(repository: Repository) -> dict[str, bytes]:
    """Return every file of HEAD."""
    head = repository.resolve("HEAD")
    return {path: repository.read_blob(oid) for _, oid, path in repository.list_tree(head)}


def test_one_commit_holds_the_whole_tree(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "below" / "demo")
    assert committed(repository) == shipped()
    assert {"Makefile", ".hmopt.yaml", ".gitignore", "lib/crc64.c", "bench/main.c"} <= set(committed(repository))
    assert git(repository, "rev-list", "--count", "--all") == "1"
    assert git(repository, "symbolic-ref", "HEAD") == "refs/heads/main"
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "log", "-1", "--format=%s") == "Kernel-like building blocks in C"


def test_the_commit_is_the_same_everywhere(tmp_path: Path, home: Path) -> None:
    first = make_repository(tmp_path / "one").resolve("HEAD")
    for name, text in HOME_FILES.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    second = make_repository(tmp_path / "two")
    assert second.resolve("HEAD") == first
    assert committed(second) == shipped()
    assert (tmp_path / "two" / "Makefile").read_bytes() == shipped()["Makefile"]
    assert not (home / "called").exists()


def test_an_empty_directory_is_used(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    assert committed(make_repository(tmp_path / "demo")) == shipped()


def test_a_repository_around_it_is_not_touched(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    repository = make_repository(tmp_path / "demo")
    assert repository.worktree == tmp_path / "demo"
    assert Repository.open(tmp_path).head() is None


@pytest.mark.parametrize("kind", ["full", "file"])
def test_what_is_there_already_is_kept(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "demo"
    if kind == "file":
        place.write_text("mine")
    else:
        place.mkdir()
        (place / "mine").write_text("mine")
    with pytest.raises(UsageError) as caught:
        make_repository(place)
    assert str(caught.value) == f"'{place}' is not an empty directory; name one that does not exist yet"
    assert sorted(path.name for path in tmp_path.rglob("*")) == (["demo"] if kind == "file" else ["demo", "mine"])


def test_a_package_without_its_tree_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "tree_root", lambda: tmp_path / "missing")
    with pytest.raises(HmoptError, match=r"the demo's C tree is not in '.*/missing'; install the package again"):
        make_repository(tmp_path / "demo")
    assert not (tmp_path / "demo").exists()


def test_what_a_build_left_in_the_package_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = copy_tree(tmp_path / "source")
    (source / "build" / "obj").mkdir(parents=True)
    (source / "build" / "bench").write_text("old")
    # An installed package may be read-only.
    (source / "Makefile").chmod(0o444)
    monkeypatch.setattr(tree, "tree_root", lambda: source)
    repository = make_repository(tmp_path / "demo")
    assert committed(repository) == shipped()
    (tmp_path / "demo" / "Makefile").write_text("may be edited")


def test_every_c_file_is_ours_and_says_so() -> None:
    for path, data in shipped().items():
        assert b"SPDX-License-Identifier: Apache-2.0" in b"\n".join(data.split(b"\n")[:2]), path


# -- its configuration ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loaded() -> LoadedConfig:
    """Return the tree's configuration."""
    return load_config((tree_root() / ".hmopt.yaml").read_bytes(), origin=".hmopt.yaml")


def options(loaded: LoadedConfig, kind: str, section: AdapterSection, *path: str) -> object:
    """Return an adapter's checked options."""
    return adapter_options(section, load_adapter(kind, section.adapter).Options, where=loaded.at(*path))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def build(loaded: LoadedConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BuildResult, object]]:
    """Build the tree as the configuration says."""
    if shutil.which("make") is None or not COMPILERS:
        pytest.skip("needs make and a compiler")
    root = copy_tree(tmp_path_factory.mktemp("configured") / "tree")
    section = loaded.config.builds["native"]
    context = AdapterContext("native", tmp_path_factory.mktemp("scratch"), jobs=2)
    adapter = load_adapter("build", section.adapter)(options(loaded, "build", section, "builds", "native"), context)
    built = adapter.build(SourceTree(root, root / "build"), log=root.parent / "build.log")
    assert (built.failure, built.warnings) == (None, ())
    yield built, adapter


def test_the_configured_tests_pass(loaded: LoadedConfig, build: tuple[BuildResult, object], tmp_path: Path) -> None:
    section = loaded.config.tests["unit"]
    adapter = load_adapter("test", section.adapter)(
        options(loaded, "test", section, "tests", "unit"), AdapterContext("unit", tmp_path)
    )
    result = adapter.test(build[0], log=tmp_path / "log")
    assert (result.success, result.failure) == (True, None)
    assert result.count("passed") >= 35


def test_seeds_move_the_code(build: tuple[BuildResult, object], tmp_path: Path) -> None:
    built, adapter = build
    assert adapter.layout_controlled  # type: ignore[attr-defined]
    images = adapter.layouts(built, [Seed(1), Seed(2)], tmp_path)  # type: ignore[attr-defined]
    assert built.image is not None
    assert len({built.image.sha256, *(image.sha256 for image in images.values())}) == 3


@pytest.mark.parametrize("name", ["checksums", "runqueue", "messages", "path-lookup"])
def test_a_workload_is_checked_measured_and_profiled(
    loaded: LoadedConfig, build: tuple[BuildResult, object], tmp_path: Path, name: str
) -> None:
    built, image = build[0], build[0].image
    assert image is not None
    workload = loaded.config.workloads[name]
    section = workload.measure["time"]
    meter = load_adapter("workload", section.adapter)(
        options(loaded, "workload", section, "workloads", name, "measure", "time"), AdapterContext("time", tmp_path)
    )
    assert meter.metrics == {"time": "time"}
    cases = [WorkCase(Seed(5), size, 1, offset) for size in workload.inputs.check_sizes for offset in (0, 1)]
    check = meter.outputs(image, cases)
    assert check.failures == ()
    assert set(check.digests) == set(cases)

    inputs = workload.inputs
    reading = meter.measure(image, WorkCase(Seed(5), inputs.size, inputs.repetitions))
    # Longer than a scheduler's turn, so that one preemption does not decide; short enough for many runs.
    assert 5e6 < reading.values["time"] < 5e9

    section = workload.profile["stacks"]
    profiler = load_adapter("profiler", section.adapter)(
        options(loaded, "profiler", section, "workloads", name, "profile", "stacks"), AdapterContext("stacks", tmp_path)
    )
    result = profiler.profile(built, WorkCase(Seed(5), inputs.size, inputs.repetitions), into=tmp_path / "profile")
    tables = {capture.kind: parse(capture.kind, capture.path) for capture in result.captures}
    samples, symbols = tables["folded"], tables["symbols"]
    assert isinstance(samples, Samples)
    assert isinstance(symbols, Symbols)
    assert result.root is not None
    graph = from_samples(below(samples, result.root))
    assert graph.total > 100
    assert all(symbol == "[library]" or symbols.definitions(symbol) for symbol in graph.self_cost)
    hottest = max((symbol for symbol in graph.self_cost if not symbol.startswith("[")), key=graph.self_cost.__getitem__)
    ((file, line),) = symbols.definitions(hottest)
    assert line
    assert file in shipped()


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("bench/main.c", "protected"),
        ("bench/runqueue.c", "protected"),
        ("lib/gen_crctables.c", "protected"),
        ("include/linux/compiler.h", "protected"),
        ("test/test_lib.c", "tests"),
        ("Makefile", "build-flags"),
        ("scripts/layout.sh", "build-flags"),
        (".hmopt.yaml", "config-file"),
        ("lib/crc64.c", None),
        ("kernel/timer.c", None),
        ("fs/namei.c", None),
    ],
)
def test_a_candidate_may_change_the_code_alone(loaded: LoadedConfig, path: str, rule: str | None) -> None:
    diff = f"--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-one\n+two\n"
    broken = check_policy([Change(path, "100644", "100644")], diff, loaded.config.policy)
    assert (broken.rule if broken else None) == rule
