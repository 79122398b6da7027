# SPDX-License-Identifier: Apache-2.0
"""A person's settings: bad values first, then who is heard before whom; git itself says what its numbers mean."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import pytest

from git_hmopt.config.load import LoadedConfig, load_config
from git_hmopt.config.schema import Defaults
from git_hmopt.config.settings import (
    Flag,
    GitValue,
    HostSettings,
    Source,
    find_key,
    git_keys,
    keys,
    resolve,
    variable,
    with_settings,
)
from git_hmopt.errors import ConfigError, ExitCode, HmoptError, UsageError

FILE = b"""\
version: 1
builds:
  prog: {adapter: command, run: make, image: prog}
workloads:
  sum:
    measure: {time: {adapter: command, build: prog, run: ./prog}}
    inputs: {size: 10}
measure:
  layouts: 8
budget: {no_gain: 2}
"""


def loaded(data: bytes = FILE) -> LoadedConfig:
    return load_config(data, origin=".hmopt.yaml")


def said(key: str, value: str | None, *, line: int | None = 12, scope: str = "local") -> GitValue:
    return GitValue(key, value, scope, ".git/config", line)


BAD = [
    ({}, {"HMOPT_JOBS": "many"}, [], "HMOPT_JOBS: got text 'many', expected a whole number"),
    ({}, {"HMOPT_JOBS": "0"}, [], "HMOPT_JOBS: got the number 0, expected at least 1"),
    ({}, {"HMOPT_JOBS": "1.5"}, [], "HMOPT_JOBS: got text '1.5', expected a whole number"),
    ({}, {"HMOPT_JOBS": "9" * 40}, [], f"HMOPT_JOBS: got text '{'9' * 40}', expected a whole number"),
    ({}, {"HMOPT_SANDBOX": "maybe"}, [], "HMOPT_SANDBOX: got text 'maybe', expected true or false"),
    ({}, {"HMOPT_BUDGET_WALL_S": "inf"}, [], "HMOPT_BUDGET_WALL_S: got text 'inf', expected a number"),
    ({}, {"HMOPT_BUDGET_WALL_S": "0"}, [], "HMOPT_BUDGET_WALL_S: got the number 0.0, expected a number above 0.0"),
    ({}, {"HMOPT_COLOR": "green"}, [], "HMOPT_COLOR: got text 'green', expected 'auto', 'always' or 'never'"),
    ({}, {"HMOPT_JOBS": "1\x1b[31m"}, [], "HMOPT_JOBS: got text '1\\x1b[31m', expected a whole number"),
    (
        {}, {}, [said("hmopt.measure.layouts", "3")],
        ".git/config:12 (local): hmopt.measure.layouts: got the number 3, expected at least 4; "
        "see: git config --show-origin --get-all hmopt.measure.layouts",
    ),
    (
        {}, {}, [said("hmopt.budget.nogain", None, line=None, scope="command")],
        ".git/config: hmopt.budget.noGain: got text 'true', expected a whole number; "
        "see: git config --show-origin --get-all hmopt.budget.noGain",
    ),
    ({}, {"HMOPT_SERVE_WORKERS": "65"}, [], "HMOPT_SERVE_WORKERS: got the number 65, expected at most 64"),
    ({"serve.workers": Flag("--workers", 65)}, {}, [], "--workers: got the number 65, expected at most 64"),
    ({"jobs": Flag("--jobs", 0)}, {}, [], "--jobs: got the number 0, expected at least 1"),
    ({"budget.iterations": Flag("--iterations", -1)}, {}, [], "--iterations: got the number -1, expected at least 0"),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "environment", "git", "message"), BAD, ids=[case[3][:40] for case in BAD])
def test_a_bad_value_names_where_it_came_from(
    flags: dict[str, Flag], environment: dict[str, str], git: list[GitValue], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(flags, environment, git, loaded())
    assert str(caught.value) == message
    assert caught.value.exit_code is ExitCode.USAGE


def test_a_bad_value_that_is_not_heard_is_no_mistake() -> None:
    settings = resolve({"jobs": Flag("--jobs", 2)}, {"HMOPT_JOBS": "many"}, [said("hmopt.jobs", "x")], None)
    assert settings["jobs"].value == 2


# Every subset of the four who can speak: the first of them is heard.
SPEAKERS = (Source.FLAG, Source.ENVIRONMENT, Source.GIT, Source.FILE)
SUBSETS = [set(some) for n in range(5) for some in itertools.combinations(SPEAKERS, n)]


@pytest.mark.parametrize("speaking", SUBSETS, ids=lambda some: "+".join(sorted(some)) or "nobody")
def test_precedence(speaking: set[Source]) -> None:
    flags = {"measure.layouts": Flag("--layouts", 31)} if Source.FLAG in speaking else {}
    environment = {"HMOPT_MEASURE_LAYOUTS": "32"} if Source.ENVIRONMENT in speaking else {}
    git = [said("hmopt.measure.layouts", "33")] if Source.GIT in speaking else []
    file = loaded(FILE if Source.FILE in speaking else FILE.replace(b"measure:\n  layouts: 8\n", b""))
    setting = resolve(flags, environment, git, file)["measure.layouts"]
    expected = {
        Source.FLAG: (31, "--layouts"),
        Source.ENVIRONMENT: (32, "HMOPT_MEASURE_LAYOUTS"),
        Source.GIT: (33, ".git/config:12 (local)"),
        Source.FILE: (8, ".hmopt.yaml:9"),
        Source.DEFAULT: (12, "default"),
    }
    source = next((one for one in SPEAKERS if one in speaking), Source.DEFAULT)
    assert (setting.source, (setting.value, setting.where)) == (source, expected[source])


def test_an_empty_variable_is_none() -> None:
    assert resolve({}, {"HMOPT_MEASURE_LAYOUTS": ""}, [], loaded())["measure.layouts"].value == 8


def test_of_two_lines_of_git_the_later_counts() -> None:
    lines = [said("hmopt.jobs", "2", scope="global"), said("hmopt.jobs", "3", line=4)]
    assert resolve({}, {}, lines, None)["jobs"].where == ".git/config:4 (local)"
    assert resolve({}, {}, lines, None).host.jobs == 3


def test_the_only_workload_is_the_default() -> None:
    only = resolve({}, {}, [], loaded())["workload"]
    assert (only.value, only.where) == ("sum", ".hmopt.yaml:5 (the only workload)")
    two = FILE.replace(
        b"measure:\n", b"  other: {measure: {time: {adapter: command, build: prog}}, inputs: {size: 1}}\n"
    )
    two = two.replace(b"  layouts: 8\n", b"")
    assert resolve({}, {}, [], loaded(two))["workload"].value is None
    named = resolve({}, {}, [], loaded(two + b"defaults: {workload: other}\n"))["workload"]
    assert (named.value, named.where) == ("other", ".hmopt.yaml:10")


def test_a_default_workload_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(FILE + b"defaults: {workload: sun}\n")
    assert str(caught.value) == (
        ".hmopt.yaml:11: defaults.workload: unknown workload 'sun', expected 'sum'? (known: sum)"
    )


@pytest.mark.parametrize(
    ("environment", "git", "value", "where"),
    [
        ({}, [said("color.ui", "always")], "always", ".git/config:12 (local)"),
        ({}, [said("color.ui", "true")], "auto", ".git/config:12 (local)"),
        ({}, [said("color.hmopt", None), said("color.ui", "false")], "auto", ".git/config:12 (local)"),
        ({"NO_COLOR": "1"}, [said("color.hmopt", "always")], "never", "NO_COLOR"),
        ({"NO_COLOR": ""}, [], "auto", "default"),
        ({"NO_COLOR": "1", "HMOPT_COLOR": "always"}, [], "always", "HMOPT_COLOR"),
        ({"HMOPT_COLOR": "no"}, [], "never", "HMOPT_COLOR"),
    ],
)
def test_colour_hears_what_git_and_others_hear(
    environment: dict[str, str], git: list[GitValue], value: str, where: str
) -> None:
    setting = resolve({}, environment, git, None)["color"]
    assert (setting.value, setting.where) == (value, where)


def test_what_a_review_measures_is_configured() -> None:
    with pytest.raises(ConfigError, match=r"review\.workloads\[0\]: unknown workload 'sun', expected 'sum'"):
        loaded(FILE + b"review: {workloads: [sun]}\n")
    assert loaded(FILE + b"review: {workloads: [sum]}\n").config.review.workloads == ("sum",)


def test_the_file_has_no_say_about_the_host() -> None:
    with pytest.raises(ConfigError, match=r"defaults\.sandbox: unknown key 'sandbox'"):
        loaded(FILE + b"defaults: {sandbox: false}\n")
    assert set(Defaults.model_fields) <= set(HostSettings.model_fields)


def test_what_looks_like_a_setting_and_is_none_is_told() -> None:
    git = [
        said("hmopt.trust", "1:ab"),
        said("hmopt.jbs", "2"),
        said("hmopt./a/b.yaml.trust", "1:c"),
        said("color.ui", "x"),
    ]
    with pytest.raises(ConfigError):
        resolve({}, {}, git, None)
    environment = {"HMOPT_BUDGET_ITERATION": "3", "HMOPT_KERNEL_CACHE": "/x", "HMOPT_IMAGE": "y", "HMOPT_JOBS": "1"}
    assert resolve({}, environment, git[:3], None).notes == (
        ".git/config:12 (local): hmopt.jbs is no setting of git hmopt; did you mean hmopt.jobs?",
        "HMOPT_BUDGET_ITERATION is no setting of git hmopt; did you mean HMOPT_BUDGET_ITERATIONS?",
    )


def test_every_spelling_leads_to_its_setting() -> None:
    for key in keys():
        for spelled in (key, variable(key), *git_keys(key), key.upper()):
            assert find_key(spelled) == key
    with pytest.raises(UsageError, match=r"unknown setting 'budget\.iteration', expected 'budget\.iterations'\?"):
        find_key("budget.iteration")


def test_what_a_run_records_gives_the_same_configuration_again() -> None:
    environment = {"HMOPT_BUDGET_WALL_S": "90.5", "HMOPT_MEASURE_CONFIDENCE": "0.9", "HMOPT_JOBS": "1k"}
    settings = resolve({}, environment, [said("hmopt.measure.boots", "0x10")], loaded())
    texts = settings.texts("budget", "measure", "jobs")
    assert texts == {
        "jobs": "1024", "budget.wall_s": "90.5", "measure.boots": "16", "measure.confidence": "0.9"
    }  # fmt: skip
    config = with_settings(loaded().config, texts)
    assert (config.budget.wall_s, config.budget.no_gain) == (90.5, 2)
    assert (config.measure.boots, config.measure.layouts, config.measure.confidence) == (16, 8, 0.9)
    assert with_settings(loaded().config, {}) == loaded().config


NUMBERS = ("1", "-1", "+3", "0", "007", "010", "08", "0x10", "0xg", "1k", "2M", "1g", "1t", "1.5", " 4 ", "k", "1 k")
TRUTHS = ("true", "TRUE", "yes", "on", "1", "false", "No", "off", "0", "", "maybe", "y")


def git_says(kind: str, text: str, home: Path) -> str | None:
    """Ask git itself what a value means."""
    done = subprocess.run(
        ["git", "-c", f"x.y={text}", "config", f"--type={kind}", "x.y"],
        cwd=home, env={"HOME": str(home), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() if done.returncode == 0 else None


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_are_gits(text: str, tmp_path: Path) -> None:
    ours: str | None
    try:
        ours = str(resolve({}, {}, [said("hmopt.budget.iterations", text)], None)["budget.iterations"].value)
    except HmoptError as error:
        ours = "-1" if "got the number -1, expected at least 0" in str(error) else None
    assert ours == git_says("int", text, tmp_path)


@pytest.mark.parametrize("text", TRUTHS)
def test_truths_are_gits(text: str, tmp_path: Path) -> None:
    ours: str | None
    try:
        ours = str(resolve({}, {}, [said("hmopt.sandbox", text)], None)["sandbox"].value).lower()
    except HmoptError:
        ours = None
    assert ours == git_says("bool", text, tmp_path)


def test_what_is_served_is_no_business_of_the_repository() -> None:
    with pytest.raises(ConfigError):
        loaded(FILE + b"serve: {listen: '0.0.0.0:80'}\n")
    said_here = [said("hmopt.serve.tokens", "/etc/tokens"), said("hmopt.serve.rate", "1k")]
    serve = resolve({"serve.listen": Flag("--listen", "[::1]:1")}, {}, said_here, loaded()).serve
    assert (serve.listen, serve.tokens, serve.rate, serve.workers) == ("[::1]:1", "/etc/tokens", 1024, 1)
