# SPDX-License-Identifier: Apache-2.0
"""What `.hmopt.yaml` says about the user's own commands: the options of the `command` adapters."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, model_validator

from git_hmopt.adapters import AdapterOptions

_TO_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise ValueError(f"'{path}' is not below its directory, expected a relative path without '..'")
    return path


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"'{text}' is no regular expression ({error}), expected Python's syntax") from error
    return text


def _one_group(text: str) -> str:
    groups = re.compile(_expression(text)).groups
    if groups != 1:
        raise ValueError(f"'{text}' has {groups} groups, expected one: the value")
    return text


RelativePath = Annotated[str, AfterValidator(_inside)]
Expression = Annotated[str, AfterValidator(_expression)]
OneGroup = Annotated[str, AfterValidator(_one_group)]
ShellCommand = Annotated[str, Field(min_length=1)]
EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class CommandOptions(AdapterOptions):
    """What all commands have."""

    run: ShellCommand
    """The shell command."""
    environment: dict[EnvironmentName, str] = Field(default_factory=dict)
    """Added to the built environment; nothing of the caller's own environment is passed on but PATH."""
    timeout_s: float = Field(default=600, gt=0)
    """Seconds after which the command is killed, with all it started."""
    memory_mb: int | None = Field(default=None, ge=16)
    """Address space of each process of the command; null is unlimited."""


class CommandBuildOptions(CommandOptions):
    """How to build, and what is there afterwards. Paths are relative to the root of the tree."""

    timeout_s: float = Field(default=3600, gt=0)
    """Seconds after which the command is killed, with all it started."""
    image: RelativePath
    """The built thing."""
    symbols: RelativePath | None = None
    """The unstripped file for symbol names; default: the image."""
    relink: ShellCommand | None = None
    """Writes to $HMOPT_LAYOUT_OUT the image with its code placed by $HMOPT_SEED; null: layout is not controlled."""
    compile_commands: RelativePath | None = None
    """A compile_commands.json that the build leaves; without one, source is not parsed with the build's own flags."""
    toolchain: dict[str, ShellCommand] = Field(default_factory=dict)
    """Commands whose first line of output names a tool's version (`cc: gcc --version`)."""


class CommandTestOptions(CommandOptions):
    """How to test."""

    format: Literal["exit", "ktap", "tap"] = "exit"
    """What tells success: the exit code alone, or also the results in the output."""
    coverage: OneGroup | None = None
    """Matches the covered percentage, 0..100, in the output."""


def _or_text(schema: dict[str, JsonValue]) -> None:
    """Let the JSON Schema of a mapping accept the short form as well."""
    mapping, meaning = dict(schema), schema.pop("description", "")
    mapping = {key: value for key, value in mapping.items() if key not in ("description", "title")}
    schema.clear()
    either: list[JsonValue] = [{"type": "string"}, mapping]
    schema |= {"description": meaning, "anyOf": either}


class ValueSource(AdapterOptions):
    """Where a metric's value comes from: `wall`, a regular expression's one group, or `{json: dotted.key}`."""

    model_config = ConfigDict(json_schema_extra=_or_text)
    wall: bool = False
    """The host's clock around the command, or between the `markers`."""
    regex: OneGroup | None = None
    """A regular expression whose one group matches the value in the output."""
    json_key: str | None = Field(default=None, alias="json", min_length=1)
    """The dotted key of the value in the output's JSON."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        if isinstance(value, str):
            return {"wall": True} if value == "wall" else {"regex": value}
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> ValueSource:
        if self.wall + (self.regex is not None) + (self.json_key is not None) != 1:
            raise ValueError("not exactly one source, expected wall, a regular expression or {json: key}")
        return self


class MetricOptions(AdapterOptions):
    """One metric of a workload."""

    kind: Literal["time", "count", "kpi"]
    """A time depends on code layout and noise, a count is exact, a kpi is anything else."""
    unit: str = ""
    """`ns`, `us`, `ms` or `s` for a time, which is recorded in ns; a word of the user's own for a kpi."""
    source: ValueSource = Field(alias="from")
    """Where the value comes from: `wall`, a regular expression with one group, or `{json: dotted.key}`."""

    @model_validator(mode="after")
    def _sound(self) -> MetricOptions:
        if self.kind == "time" and not self.source.wall and self.unit not in _TO_NS:
            raise ValueError(f"unit '{self.unit}' of a time, expected ns, us, ms or s")
        if self.source.wall and (self.kind != "time" or self.unit not in ("", "ns")):
            raise ValueError("'wall' is a time in ns, expected kind: time and no other unit")
        return self

    @property
    def factor(self) -> int:
        """Return what a value is multiplied with to be in the recorded unit."""
        return 1 if self.kind != "time" or self.source.wall else _TO_NS[self.unit]


class Markers(AdapterOptions):
    """The output lines between whose arrival the measured window lies."""

    begin: Expression
    """A regular expression of the line that begins the window."""
    end: Expression
    """A regular expression of the line that ends it."""


class CommandWorkloadOptions(CommandOptions):
    """How to run a workload, and what its output means."""

    metrics: dict[str, MetricOptions] = Field(min_length=1)
    """What one run gives, by the metric's name."""
    markers: Markers | None = None
    """What bounds the measured window; default: the whole command."""
    outputs: OneGroup | None = None
    """Matches the digest of what was computed, once; default: the digest of the whole standard output."""
    check: ShellCommand | None = None
    """Runs instead of `run` when outputs are checked."""
    repeatable: bool = False
    """Whether two readings of one image are always equal (an exact count)."""


class CommandProfilerOptions(CommandOptions):
    """How to profile, and what files the command leaves in $HMOPT_PROFILE_OUT."""

    captures: dict[str, RelativePath] = Field(min_length=1)
    """The file of each capture by its format (`perf-script`, `folded`, ...)."""
    notes: tuple[str, ...] = ()
    """What the reader of the profile must know."""
    root: str | None = None
    """The symbol below which a call stack belongs to the workload."""
