# SPDX-License-Identifier: Apache-2.0
"""The reference of `.hmopt.yaml` and of a person's settings as Markdown, from the same models as the JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator

from git_hmopt.config.json_schema import Schema
from git_hmopt.config.settings import field_of, git_keys, keys, variable

_KINDS = {
    "build": ("`builds.<name>`", "builds the source"),
    "test": ("`tests.<name>`", "runs the project's own tests"),
    "workload": ("`workloads.<name>.measure.<metric>`", "measures a workload"),
    "profiler": ("`workloads.<name>.profile.<name>`", "finds where a workload spends its time"),
}
_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
    "array": "list",
    "object": "mapping",
}
_BOUNDS = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))


def reference(schema: Schema) -> str:
    """Return the whole reference; `schema` is what `json_schema` gave."""
    lines = [
        "# Configuration of git hmopt",
        "",
        "Made by `git hmopt config --reference` from what the program reads; `git hmopt config --schema` gives the",
        "same as a JSON Schema for editors.",
        "",
        "## `.hmopt.yaml`",
        "",
        "The file stands at the top of the repository and is read from the base commit, or from the working tree when",
        "no commit has it. Scalars are those of YAML 1.2: `no` and `1:30` are text. Its commands run after",
        "`git hmopt trust` only.",
        "",
        *_table(schema, schema),
    ]
    for path, section in _sections(schema, schema, ""):
        lines += [f"### `{path}`", "", section.get("description", ""), "", *_table(schema, section)]
    for kind, (place, does) in _KINDS.items():
        lines += [f"## {kind.capitalize()} adapters", "", f"An adapter at {place} {does}.", ""]
        for name in schema["$defs"][f"{kind}-adapter"]["properties"]["adapter"]["enum"]:
            section = schema["$defs"][f"{kind}-{name}"]
            lines += [f"### `adapter: {name}` ({kind})", "", section["description"], "", *_table(schema, section)]
            for path, inner in _sections(schema, section, ""):
                lines += [f"#### `{path}` of `{name}`", "", inner.get("description", ""), "", *_table(schema, inner)]
    return "\n".join([*lines, *_settings()]) + "\n"


def _settings() -> list[str]:
    lines = [
        "## Settings of a person or a host",
        "",
        "A flag is heard before the variable, the variable before git's configuration, that before `.hmopt.yaml`, and",
        "that before the default. `git hmopt config` shows every value and where it came from. Numbers and truths are",
        "written as git writes them (`1k`, `yes`).",
        "",
        "| setting | variable | git configuration | default | meaning |",
        "|---|---|---|---|---|",
    ]
    for key in keys():
        model, field = field_of(key)
        info = model.model_fields[field]
        default = "" if info.get_default() is None else f"`{json.dumps(info.get_default())}`"
        names = ", ".join(f"`{name}`" for name in git_keys(key))
        lines.append(_row(f"`{key}`", f"`{variable(key)}`", names, default, info.description or ""))
    return lines


def _sections(root: Schema, schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Yield the mappings below a schema with the path of their keys, adapters left out: they have chapters."""
    for key, value in schema.get("properties", {}).items():
        here = f"{path}.{key}" if path else key
        for form, name in _forms(root, value):
            inner = f"{here}{name}"
            if "allOf" not in form:
                yield inner, {"description": value.get("description", ""), **form}
                yield from _sections(root, form, inner)


def _forms(root: Schema, value: Schema) -> Iterator[tuple[Schema, str]]:
    """Yield what a value may be, references followed, and what its path goes on with (`.<name>`, `[]`)."""
    if "$ref" in value:
        value = root["$defs"][value["$ref"].removeprefix("#/$defs/")]
    for one in value.get("anyOf", ()):
        yield from _forms(root, one)
    named = [*value.get("patternProperties", {}).values(), value.get("additionalProperties")]
    for one in named:
        if isinstance(one, dict):
            yield from ((form, f".<name>{rest}") for form, rest in _forms(root, one))
    if "items" in value:
        yield from ((form, f"[]{rest}") for form, rest in _forms(root, value["items"]))
    if "properties" in value:
        yield value, ""


def _table(root: Schema, section: Schema) -> list[str]:
    required = section.get("required", ())
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, value in section["properties"].items():
        default = "required" if key in required else _default(value)
        meaning = value.get("description") or next((form.get("description", "") for form, _ in _forms(root, value)), "")
        lines.append(_row(f"`{key}`", _value(root, value), default, meaning))
    return [*lines, ""]


def _default(value: Schema) -> str:
    default = value.get("default")
    return "" if default is None else f"`{json.dumps(default, ensure_ascii=False)}`"


def _value(root: Schema, value: Schema) -> str:
    if "const" in value:
        return f"`{json.dumps(value['const'])}`" if not isinstance(value["const"], str) else f"`{value['const']}`"
    if "enum" in value:
        return " or ".join(f"`{one}`" for one in value["enum"])
    if "$ref" in value:
        return _value(root, root["$defs"][value["$ref"].removeprefix("#/$defs/")])
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_value(root, one) for one in value["anyOf"]))
    text = _WORDS[value["type"]]
    if value.get("items"):
        text += f" of {_plural(_value(root, value['items']))}"
    for inner in [*value.get("patternProperties", {}).values(), value.get("additionalProperties")]:
        if isinstance(inner, dict):
            text += f" of {_plural(_value(root, inner))}"
    bounds = [f"{sign} {value[key]:g}" for key, sign in _BOUNDS if key in value]
    return " ".join([text, ", ".join(bounds)]) if bounds else text


def _plural(word: str) -> str:
    return word + "s" if word in ("whole number", "number", "mapping") else word


def _row(*cells: str) -> str:
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
