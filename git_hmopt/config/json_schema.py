# SPDX-License-Identifier: Apache-2.0
"""The JSON Schema of `.hmopt.yaml` for editors and other tools, from the models that read the file.

`hmopt.schema.json` beside this file is what the models and the shipped adapters give; a test holds them equal. A host
with more adapters gets its own: `git hmopt config --schema`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from git_hmopt.config.schema import AdapterSection, Config, OnBuildSection

Adapters = Mapping[str, Mapping[str, type[BaseModel]]]
"""The options model of every adapter, by kind (`build`, `test`, `workload`, `profiler`) and name."""
Schema = dict[str, Any]
"""A JSON Schema; its shape is the standard's."""

# Where adapters of a kind stand, as (definition, property), and the section model they extend.
_PLACES: Mapping[str, tuple[str, str, type[AdapterSection]]] = {
    "build": ("Config", "builds", AdapterSection),
    "test": ("Config", "tests", OnBuildSection),
    "workload": ("Workload", "measure", OnBuildSection),
    "profiler": ("Workload", "profile", OnBuildSection),
}


class _Untitled(GenerateJsonSchema):
    """Leaves out the titles that only repeat a field's name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schema(adapters: Adapters) -> Schema:
    """Return the schema of `.hmopt.yaml` for these adapters, with the models' docstrings as descriptions."""
    models = [model for kind in _PLACES for _, model in _named(adapters, kind)]
    wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [(Config, "validation")]
    wanted += [(model, "validation") for model in dict.fromkeys(models)]
    refs, whole = models_json_schema(wanted, schema_generator=_Untitled)
    definitions: Schema = whole["$defs"]
    for kind, (owner, field, section) in _PLACES.items():
        options = {name: definitions[_name(refs[model, "validation"])] for name, model in _named(adapters, kind)}
        for name, schema in options.items():
            definitions[_key(kind, name)] = _with_section(schema, name, section)
        definitions[f"{kind}-adapter"] = _choice(kind, sorted(options), section)
        holder: Schema = definitions[owner]["properties"][field]
        holder["patternProperties"] = {name: {"$ref": _ref(f"{kind}-adapter")} for name in holder["patternProperties"]}
    config = definitions.pop("Config")
    reachable = _reachable(config, definitions)
    _tighten([config, *reachable.values()])
    return {
        "$schema": GenerateJsonSchema.schema_dialect, "title": ".hmopt.yaml", **_ordered(config), "$defs": reachable
    }  # fmt: skip


def schema_text(schema: Schema) -> str:
    """Return a schema as it is printed and shipped."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def section_fields(section: type[AdapterSection]) -> Mapping[str, str]:
    """Return the keys that every adapter's section has beside the adapter's own, with what they mean."""
    return {name: field.description or "" for name, field in section.model_fields.items()}


def _named(adapters: Adapters, kind: str) -> list[tuple[str, type[BaseModel]]]:
    return sorted(adapters.get(kind, {}).items())


def _key(kind: str, name: str) -> str:
    return f"{kind}-{name}"


def _ref(name: str) -> str:
    return f"#/$defs/{name}"


def _name(reference: Schema) -> str:
    return str(reference["$ref"]).removeprefix("#/$defs/")


def _with_section(options: Schema, name: str, section: type[AdapterSection]) -> Schema:
    """Return an adapter's options together with the keys its section has beside them."""
    own: Schema = {key: {"type": "string", "description": text} for key, text in section_fields(section).items()}
    own["adapter"] = {"const": name, "description": own["adapter"]["description"]}
    required = [*own, *options.get("required", ())]
    return {
        **_ordered(options),
        "properties": {**own, **options.get("properties", {})},
        "required": required,
        "additionalProperties": False,
    }


def _choice(kind: str, names: list[str], section: type[AdapterSection]) -> Schema:
    """Return the schema of one adapter section: which adapter it is decides about all other keys.

    Written as if/then and not as `anyOf`, so that a complaint is about the adapter that was meant.
    """
    meaning = section_fields(section)["adapter"]
    return {
        "type": "object",
        "description": f"One {kind} adapter and its options.",
        "properties": {"adapter": {"enum": names, "description": meaning}},
        "required": ["adapter"],
        "allOf": [
            {
                "if": {"properties": {"adapter": {"const": name}}, "required": ["adapter"]},
                "then": {"$ref": _ref(_key(kind, name))},
            }
            for name in names
        ],
    }


def _ordered(schema: Schema) -> Schema:
    """Return a definition with what it means before what it holds; a class's name is no title for people."""
    first: Schema = {key: schema[key] for key in ("description", "type") if key in schema}
    return {**first, **{key: value for key, value in schema.items() if key not in (*first, "title")}}


def _tighten(schemas: list[Any]) -> None:
    """Refuse names that no pattern allows, and leave a section's defaults to the keys inside it."""
    waiting = list(schemas)
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            if "patternProperties" in value:
                value["additionalProperties"] = False
            if "$ref" in value:
                value.pop("default", None)


def _reachable(root: Schema, definitions: Schema) -> Schema:
    """Return the definitions that `root` leads to, by name."""
    found: Schema = {}
    waiting: list[Any] = [root]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            if "$ref" in value and (name := _name(value)) not in found:
                found[name] = _ordered(definitions[name])
                waiting.append(found[name])
    return {name: found[name] for name in sorted(found)}
