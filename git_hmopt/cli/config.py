# SPDX-License-Identifier: Apache-2.0
"""Show what is set, and where each value came from: flag, HMOPT_* variable, git config, .hmopt.yaml or default.

KEY is one setting (measure.layouts, in any spelling: HMOPT_MEASURE_LAYOUTS, hmopt.measure.layouts) or the first part of
several (budget). Values are set where they belong: git config hmopt.measure.layouts 16, or in .hmopt.yaml.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import get_args

from git_hmopt.adapters import Kind, adapter_names, load_adapter
from git_hmopt.cli.settings import gathered, warn
from git_hmopt.config.json_schema import Adapters, Schema, json_schema, schema_text
from git_hmopt.config.reference import reference
from git_hmopt.config.settings import SECTIONS, Setting, find_key, git_keys, variable
from git_hmopt.errors import ExitCode, StoreError
from git_hmopt.loop.look import look
from git_hmopt.store.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("key", nargs="?", metavar="KEY", help="only this setting, or those below it")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object")
    form.add_argument("--schema", action="store_true", help="print the JSON Schema of .hmopt.yaml, for editors")
    form.add_argument("--reference", action="store_true", help="print the reference of all keys as Markdown")


def run(options: argparse.Namespace) -> ExitCode:
    """Print settings, the schema or the reference."""
    if options.schema:
        print(schema_text(installed_schema()), end="")
    elif options.reference:
        print(reference(installed_schema()), end="")
    else:
        _show(options)
    return ExitCode.OK


def installed_schema() -> Schema:
    """Return the schema of `.hmopt.yaml` with every adapter that is installed here."""
    kinds: tuple[Kind, ...] = get_args(Kind)
    adapters: Adapters = {
        kind: {name: load_adapter(kind, name).Options for name in adapter_names(kind)} for kind in kinds
    }
    return json_schema(adapters)


def keep_schema(repository: Repository) -> None:
    """Write the schema to where the first lines of the shipped profiles send an editor for it."""
    path = repository.home / "hmopt.schema.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(schema_text(installed_schema()), encoding="utf-8")
    except OSError as error:
        raise StoreError(f"'{path}' cannot be written: {error.strerror}", next_step="free space there") from error


def _show(options: argparse.Namespace) -> None:
    wanted = _wanted(options.key)
    here = look(Path())
    settings = gathered(here.directory, here.configuration.loaded if here.configuration else None)
    warn(settings)
    shown = [setting for key, setting in settings.values.items() if wanted is None or key in wanted]
    if options.json:
        print(json.dumps({"v": 1, "settings": [_as_json(one) for one in shown], "notes": list(settings.notes)}))
    else:
        print("\n".join(_table(shown)))


def _wanted(word: str | None) -> set[str] | None:
    if word is None:
        return None
    if word and word in SECTIONS:
        return {f"{word}.{field}" for field in SECTIONS[word].model_fields}
    return {find_key(word)}


def _table(settings: list[Setting]) -> list[str]:
    rows = [(one.key, _value(one), one.where) for one in settings]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return [f"{key:<{widths[0]}}  {value:<{widths[1]}}  {where}" for key, value, where in rows]


def _value(setting: Setting) -> str:
    if setting.value is None:
        return "-"
    if isinstance(setting.value, bool):
        return str(setting.value).lower()
    return str(setting.value).removesuffix(".0")


def _as_json(setting: Setting) -> dict[str, object]:
    return {
        "key": setting.key,
        "value": setting.value,
        "source": setting.source.value,
        "where": setting.where,
        "variable": variable(setting.key),
        "git_keys": git_keys(setting.key),
    }
