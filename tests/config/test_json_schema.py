# SPDX-License-Identifier: Apache-2.0
"""The published JSON Schema against somebody else's validator, and against what the program itself accepts."""

from __future__ import annotations

import json
import re
from importlib.metadata import entry_points
from importlib.resources import files
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import Field

from git_hmopt.adapters import AdapterOptions, load_adapter
from git_hmopt.config.json_schema import json_schema, schema_text
from git_hmopt.config.load import adapter_options, load_config
from git_hmopt.config.profile import profile_bytes, profile_names
from git_hmopt.config.reference import reference
from git_hmopt.config.schema import AdapterSection
from git_hmopt.config.settings import git_keys, keys, variable
from git_hmopt.errors import AdapterError, ConfigError
from tests.loop import project


def configuration() -> dict[str, Any]:
    """Return a configuration of commands that a test may spoil."""
    return project.configuration()


KINDS = ("build", "test", "workload", "profiler")


def own_adapters() -> dict[str, dict[str, type[AdapterOptions]]]:
    """Return the options of the adapters that this distribution ships, whatever else is installed here."""
    return {
        kind: {
            entry.name: entry.load().Options
            for entry in sorted(entry_points(group=f"git_hmopt.{kind}"), key=lambda entry: entry.name)
            if entry.dist is not None and entry.dist.name == "git-hmopt"
        }
        for kind in KINDS
    }


SCHEMA = json_schema(own_adapters())
VALIDATOR = Draft202012Validator(SCHEMA)


def complaints(document: object) -> list[str]:
    return sorted(error.json_path for error in VALIDATOR.iter_errors(document))


def refused_by_us(document: object) -> str | None:
    """Return what the program says of a document, adapters' options included."""
    try:
        loaded = load_config(json.dumps(document).encode(), origin="f")
        for kind, place in (("build", loaded.config.builds), ("test", loaded.config.tests)):
            for name, section in place.items():
                options(kind, section, loaded.at(f"{kind}s", name))
        for name, workload in loaded.config.workloads.items():
            for key, meter in workload.measure.items():
                options("workload", meter, loaded.at("workloads", name, "measure", key))
            for key, profiler in workload.profile.items():
                options("profiler", profiler, loaded.at("workloads", name, "profile", key))
    except (ConfigError, AdapterError) as error:
        return str(error)
    return None


def options(kind: Any, section: AdapterSection, where: Any) -> None:
    adapter_options(section, load_adapter(kind, section.adapter).Options, where=where)


def test_the_shipped_file_is_what_the_models_give() -> None:
    shipped = (files("git_hmopt.config") / "hmopt.schema.json").read_text(encoding="utf-8")
    assert shipped == schema_text(SCHEMA), "run: git hmopt config --schema >git_hmopt/config/hmopt.schema.json"


def test_it_is_a_json_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_is_valid_and_tells_editors_of_the_schema(name: str) -> None:
    data = profile_bytes(name)
    assert complaints(yaml.safe_load(data)) == []
    assert re.search(rb"^# yaml-language-server: \$schema=\S+\.json$", data, re.MULTILINE)


def test_a_configuration_of_commands_is_valid() -> None:
    assert complaints(configuration()) == []
    assert refused_by_us(configuration()) is None


CHANGES: dict[str, tuple[tuple[str | int, ...], object, str]] = {
    "unknown key at the top": (("budjet",), {}, "$"),
    "unknown key of a section": (("budget", "iteration"), 3, "$.budget"),
    "unknown key of an adapter": (("builds", "fast", "imgae"), "x", "$.builds.fast"),
    "another kind's adapter": (("tests", "unit", "adapter"), "kbuild", "$.tests.unit.adapter"),
    "no such adapter": (("builds", "fast", "adapter"), "bazel", "$.builds.fast.adapter"),
    "a bad name": (("builds", "a b"), {"adapter": "command", "run": "x", "image": "y"}, "$.builds"),
    "text for a number": (("measure", "layouts"), "4", "$.measure.layouts"),
    "too few": (("measure", "layouts"), 3, "$.measure.layouts"),
    "too many": (("measure", "layouts"), 65, "$.measure.layouts"),
    "not below one": (("measure", "confidence"), 1, "$.measure.confidence"),
    "truth for a number": (("budget", "iterations"), True, "$.budget.iterations"),
    "another version": (("version",), 2, "$.version"),
    "a word that is none of two": (("workloads", "scan", "accept"), "both", "$.workloads.scan.accept"),
    "no command": (("builds", "fast", "run"), "", "$.builds.fast.run"),
    "text for a list": (("policy",), {"allow": "*.c"}, "$.policy.allow"),
    "an unknown source": (
        ("workloads", "scan", "measure", "time", "metrics", "time", "from"), {"yaml": "x"},
        "$.workloads.scan.measure.time.metrics.time.from",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("path", "value", "place"), CHANGES.values(), ids=CHANGES)
def test_what_the_schema_refuses_the_program_refuses(path: tuple[str, ...], value: object, place: str) -> None:
    document = configuration()
    target: Any = document
    for key in path[:-1]:
        target = target.setdefault(key, {})
    target[path[-1]] = value
    assert place in complaints(document)
    assert refused_by_us(document) is not None


@pytest.mark.parametrize("key", ["version", "builds", "workloads"])
def test_what_is_required_is_required_in_both(key: str) -> None:
    document = configuration()
    del document[key]
    assert complaints(document) == ["$"]
    assert f"{key}: is missing" in str(refused_by_us(document))


@pytest.mark.parametrize("source", ["wall", "^t (\\d+)$", {"json": "a.b"}, {"regex": "(x)"}, {"wall": True}])
def test_both_forms_of_a_source_are_valid(source: object) -> None:
    document = configuration()
    document["workloads"]["scan"]["measure"]["time"]["metrics"]["time"] = {"kind": "time", "unit": "ns", "from": source}
    assert complaints(document) == []
    assert refused_by_us(document) is None


class GadgetOptions(AdapterOptions):
    """How a gadget is flashed."""

    port: int = Field(ge=1)
    """The serial port."""


def test_a_third_partys_adapter_is_in_its_hosts_schema() -> None:
    schema = json_schema({**own_adapters(), "build": {"gadget": GadgetOptions}})
    section = schema["$defs"]["build-gadget"]
    assert section["description"] == "How a gadget is flashed."
    assert section["properties"]["port"] == {"description": "The serial port.", "minimum": 1, "type": "integer"}
    assert section["required"] == ["adapter", "port"]
    validator = Draft202012Validator(schema)
    document = {**configuration(), "builds": {"fast": {"adapter": "gadget", "port": 0}}}
    assert [error.json_path for error in validator.iter_errors(document)] == ["$.builds.fast.port"]


def _undescribed(value: Any, at: str) -> list[str]:
    found = []
    if isinstance(value, dict):
        for key, inner in value.get("properties", {}).items():
            if isinstance(inner, dict) and "$ref" not in inner and not inner.get("description"):
                found.append(f"{at}.{key}")
        for key, inner in value.items():
            found += _undescribed(inner, f"{at}.{key}")
    return found


def test_every_key_says_what_it_means() -> None:
    assert [name for name in _undescribed(SCHEMA, "$") if ".allOf" not in name and ".if." not in name] == []


def test_the_reference_names_every_key_and_setting() -> None:
    text = reference(SCHEMA)
    for kind, named in own_adapters().items():
        for name, model in named.items():
            chapter = text.partition(f"### `adapter: {name}` ({kind})\n")[2].partition("\n### ")[0]
            for field, info in model.model_fields.items():
                assert f"\n| `{info.alias or field}` | " in chapter, (kind, name, field)
    for key in keys():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{key}` | `{variable(key)}`"))
        assert all(f"`{name}`" in row for name in git_keys(key))
    assert "| `layouts` | whole number ≥ 4, ≤ 64 | `12` |" in text
    assert "### `workloads.<name>.guards[]`" in text


def test_the_reference_is_sound_markdown() -> None:
    lines = reference(SCHEMA).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    widths = {len(re.split(r"(?<!\\)\|", row)) for row in rows}
    assert widths == {6, 7}  # four columns, and five of the settings
    assert all(line == line.rstrip() for line in lines)
