# SPDX-License-Identifier: Apache-2.0
"""What a person may set for one call or one host, and where each value came from.

Flag, then HMOPT_* variable, then git configuration (`hmopt.*`), then `.hmopt.yaml`, then the default: the first that
speaks is taken. What a setting is called in each of them follows from its key alone:

    budget.no_gain    HMOPT_BUDGET_NO_GAIN    git config hmopt.budget.noGain    budget: {no_gain: 4}

The repository's own file has no say in how many jobs this host runs, whether it confines them, and in colours.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Literal, cast, get_args

from pydantic import BaseModel, ConfigDict, Field

from git_hmopt.config.document import JsonValue, KeyPath, printable
from git_hmopt.config.explain import problem, unknown
from git_hmopt.config.load import LoadedConfig
from git_hmopt.config.schema import Budget, Config, Measure
from git_hmopt.errors import ConfigError, UsageError

Scalar = bool | int | float | str
Colour = Literal["auto", "always", "never"]

KEY_VARIABLE = "HMOPT_GATEWAY_KEY"
"""The gateway's key: no setting, since settings are printed."""
OWN_GIT_KEYS = frozenset({"trust"})
"""Last parts of `hmopt.*` keys that the tool writes for itself."""
RULE_KEYS = "hmopt.rule."
"""What the keys of a server's branch rules begin with."""

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0", ""})
# git's own numbers (parse.c: strtoimax with base 0, then a unit).
_INT = re.compile(r"(?P<sign>[-+]?)(?P<digits>0[xX][0-9a-fA-F]+|[0-9]+)(?P<unit>[kKmMgG]?)")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class HostSettings(BaseModel):
    """Settings of a person or a host that are no keys of `.hmopt.yaml`, or stand elsewhere in it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
    workload: str | None = Field(default=None, min_length=1)
    """The workload of a command that names none; default: the only one there is."""
    proposer: str = Field(default="playbook", min_length=1)
    """Who proposes: `playbook`, `llm` (the models of `gateway`), or `patches:` and a directory, mbox or branch."""
    jobs: int | None = Field(default=None, ge=1, le=4096)
    """Processes a build may run at once; default: as many as there are CPUs."""
    sandbox: bool = True
    """Whether builds, tests and workloads run confined (bwrap)."""
    tokenizer: str | None = Field(default=None, min_length=1)
    """A tokenizer.json on this host that estimates how many tokens a prompt is; nothing is downloaded."""
    color: Colour = "auto"
    """Colours on a terminal (`auto`), always or never; NO_COLOR, `color.hmopt` and `color.ui` are heard as well."""


class GatewaySettings(BaseModel):
    """Language models: none is asked until a person names a gateway. A repository has no say here."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
    profile: str | None = Field(default=None, min_length=1)
    """A shipped profile by its name, or a file by its absolute path; default: no model is asked."""
    url: str | None = Field(default=None, min_length=1)
    """The gateway's base address, up to `/v1`; default: the profile's."""
    allow: str = ""
    """Hosts (`host` or `host:port`, blanks between them) outside the internal networks that may be asked."""
    tokens: int | None = Field(default=None, ge=1)
    """Tokens that all requests of a run may take together; default: no limit."""
    money: float | None = Field(default=None, gt=0)
    """What they may cost, in the profile's currency; default: no limit."""
    seconds: float = Field(default=600.0, gt=0, le=86_400)
    """What one request may take, its answer included."""
    candidates: int = Field(default=2, ge=1, le=8)
    """Ways to make a change that are asked for in one answer; each is measured."""
    prompt_tokens: int = Field(default=24_000, ge=2_000, le=2_000_000)
    """Tokens of a first prompt, as its bytes bound them: a model's own count is about a third of it."""
    answer_tokens: int = Field(default=8_192, ge=256, le=1_000_000)
    """Tokens of one answer, a model's thinking included."""
    review: bool = False
    """Whether a model reviews each patch beside the rules; it can only refuse more."""


class HooksSettings(BaseModel):
    """What the git hooks do that `git hmopt hooks install` wrote. A repository has no say here."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
    pre_push: Literal["off", "say", "ask", "push"] = "say"
    """Before a push: say that there is evidence for it, ask on a terminal whether it goes along, or push it first."""
    post_rewrite: bool = True
    """Whether an amend or a rebase notes on the new commits what was measured of the old ones."""
    graph: Literal["off", "branch", "always"] = "branch"
    """What has the structure graph parsed in the background: merges and new branches, or every checkout of a file."""
    seconds: int = Field(default=20, ge=1, le=3600)
    """What a hook may take before it is cut; what runs in the background is not meant."""
    broken: Literal["refuse", "allow"] = "refuse"
    """Of a server: what becomes of a push to a protected branch when its rule cannot be checked."""


class ServeSettings(BaseModel):
    """What `git hmopt serve` offers on this host. A repository has no say here."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
    listen: str = Field(default="127.0.0.1:8642", min_length=1)
    """The address and port; beyond this machine only with tokens. Port 0 is any that is free."""
    workers: int = Field(default=1, ge=0, le=64)
    """Processes that drive runs, beside one that talks to the forges where there are any; with 0, others must."""
    tokens: str | None = Field(default=None, min_length=1)
    """A file that its owner alone can read, with lines of a name, `read` or `write`, and a sha256; default: none."""
    forges: str | None = Field(default=None, min_length=1)
    """Such a file in TOML with a table for each webhook: forge, repository, secrets, token; default: none is heard."""
    rate: int = Field(default=600, ge=1, le=1_000_000)
    """Requests a minute that one token, or one address without a token, may make; webhooks are not among them."""


SECTIONS: Mapping[str, type[BaseModel]] = {
    "": HostSettings,
    "budget": Budget,
    "measure": Measure,
    "gateway": GatewaySettings,
    "hooks": HooksSettings,
    "serve": ServeSettings,
}
"""The models that hold the settings, by the first part of their keys."""


class Source(StrEnum):
    """Who said it, the first of those who speak being heard."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    GIT = "git"
    FILE = "file"
    DEFAULT = "default"


@dataclass(frozen=True)
class GitValue:
    """One line of git's configuration, as `git config --list --show-origin --show-scope` gives it."""

    key: str
    """With the section and the last part in lower case, as git prints it."""
    value: str | None
    """None for a key without `=`, which is git's word for true."""
    scope: str
    origin: str
    """The file, or how else it came (`command line`)."""
    line: int | None = None

    @property
    def where(self) -> str:
        """Return the place as messages name it."""
        place = self.origin if self.line is None else f"{self.origin}:{self.line}"
        return place if self.scope == "command" else f"{place} ({self.scope})"


@dataclass(frozen=True)
class Flag:
    """A value from the command line and the flag it was given with."""

    name: str
    value: Scalar


@dataclass(frozen=True)
class Setting:
    """One setting: its value, who said it, and where."""

    key: str
    value: Scalar | None
    source: Source
    where: str

    def refuse(self, what: str, *, next_step: str | None = None) -> ConfigError:
        """Return the error about this value, which names the place it came from."""
        return ConfigError(printable(f"{self.where}: {what}"), next_step=next_step)


@dataclass(frozen=True)
class Settings:
    """All settings, checked, and what looked like one and is none."""

    values: Mapping[str, Setting]
    notes: tuple[str, ...]
    """One line for each `hmopt.*` key or HMOPT_* variable that nobody reads."""

    def __getitem__(self, key: str) -> Setting:
        return self.values[key]

    @property
    def host(self) -> HostSettings:
        """Return the settings that are no section of `.hmopt.yaml`."""
        return HostSettings.model_validate({key: self.values[key].value for key in HostSettings.model_fields})

    @property
    def gateway(self) -> GatewaySettings:
        """Return what a person says of language models."""
        return GatewaySettings.model_validate(
            {field: self.values[f"gateway.{field}"].value for field in GatewaySettings.model_fields}
        )

    @property
    def serve(self) -> ServeSettings:
        """Return what a person says of the server."""
        return ServeSettings.model_validate(
            {field: self.values[f"serve.{field}"].value for field in ServeSettings.model_fields}
        )

    def texts(self, *sections: str) -> dict[str, str]:
        """Return what a person set in these sections, as `with_settings` and a run's record take it."""
        told = (one for one in self.values.values() if one.source not in (Source.FILE, Source.DEFAULT))
        return {one.key: _text(one.value) for one in told if one.key.partition(".")[0] in sections}


def keys() -> tuple[str, ...]:
    """Return the key of every setting."""
    return tuple(
        f"{section}.{field}" if section else field
        for section, model in SECTIONS.items()
        for field in model.model_fields
    )


def variable(key: str) -> str:
    """Return the environment variable of a setting."""
    return "HMOPT_" + key.replace(".", "_").upper()


def git_keys(key: str) -> tuple[str, ...]:
    """Return the git configuration keys of a setting, as people write them; the first that is set is taken."""
    if key == "color":
        return ("color.hmopt", "color.ui")
    section, _, field = key.rpartition(".")
    first, *rest = field.split("_")
    return (".".join(part for part in ("hmopt", section, first + "".join(map(str.title, rest))) if part),)


def find_key(word: str) -> str:
    """Return the setting called `word`, in any of its spellings; UsageError names the nearest when there is none."""
    spelled = {_folded(name): key for key in keys() for name in (key, variable(key), *git_keys(key))}
    found = spelled.get(_folded(word))
    if found is None:
        raise UsageError(unknown(word, [*keys(), *filter(None, SECTIONS)], what="setting"))
    return found


def field_of(key: str) -> tuple[type[BaseModel], str]:
    """Return the model and the field that a setting's type, bounds and meaning stand in."""
    section, _, field = key.rpartition(".")
    return SECTIONS[section], field


def resolve(
    flags: Mapping[str, Flag],
    environment: Mapping[str, str],
    git: Sequence[GitValue],
    loaded: LoadedConfig | None,
) -> Settings:
    """Return every setting with where it came from; ConfigError names the place of the first bad value.

    `git` is in git's order: of two values of one key the later one counts. A variable that is set to nothing counts
    as not set.
    """
    values = {
        key: _from_flag(key, flags)
        or _from_environment(key, environment)
        or _from_git(key, git)
        or _from_file(key, loaded)
        or _default(key, loaded)
        for key in keys()
    }
    return Settings(values, tuple(_unread(environment, git)))


def with_settings(config: Config, texts: Mapping[str, str]) -> Config:
    """Return the configuration with a person's own values (`Settings.texts`) above the file's."""
    changes: dict[str, BaseModel] = {}
    for section in ("budget", "measure"):
        own = {
            field: _parsed(text, SECTIONS[section], field)
            for key, text in texts.items()
            for first, _, field in [key.partition(".")]
            if first == section
        }
        current: BaseModel = getattr(config, section)
        changes[section] = current.model_copy(update=own)
    return config.model_copy(update=changes)


def _from_flag(key: str, flags: Mapping[str, Flag]) -> Setting | None:
    flag = flags.get(key)
    return _checked(Setting(key, flag.value, Source.FLAG, flag.name)) if flag else None


def _from_environment(key: str, environment: Mapping[str, str]) -> Setting | None:
    text = environment.get(variable(key))
    if text:
        return _read(key, text, Source.ENVIRONMENT, variable(key))
    if key == "color" and environment.get("NO_COLOR"):  # https://no-color.org
        return Setting(key, "never", Source.ENVIRONMENT, "NO_COLOR")
    return None


def _from_git(key: str, git: Sequence[GitValue]) -> Setting | None:
    for name in git_keys(key):
        said = [one for one in git if one.key == _as_git_prints(name)]
        if said:
            # A key without a value is true for git.
            text = "true" if said[-1].value is None else said[-1].value
            step = f"see: git config --show-origin --get-all {name}"
            return _read(key, text, Source.GIT, said[-1].where, called=name, next_step=step)
    return None


def _from_file(key: str, loaded: LoadedConfig | None) -> Setting | None:
    path: KeyPath = tuple(key.split(".")) if "." in key else ("defaults", key)
    if loaded is None or path not in loaded.lines:
        return None
    section = getattr(loaded.config, str(path[0]))
    value: Scalar | None = getattr(section, str(path[1]))
    return Setting(key, value, Source.FILE, f"{loaded.origin}:{loaded.lines[path]}")


def _default(key: str, loaded: LoadedConfig | None) -> Setting:
    if key == "workload" and loaded is not None and len(loaded.config.workloads) == 1:
        (only,) = loaded.config.workloads
        line = loaded.at("workloads", only).line
        return Setting(key, only, Source.FILE, f"{loaded.origin}:{line} (the only workload)")
    model, field = field_of(key)
    return Setting(key, model.model_fields[field].get_default(), Source.DEFAULT, "default")


def _read(
    key: str, text: str, source: Source, where: str, *, called: str | None = None, next_step: str | None = None
) -> Setting:
    model, field = field_of(key)
    return _checked(Setting(key, _parsed(text, model, field), source, where), called=called, next_step=next_step)


def _checked(setting: Setting, *, called: str | None = None, next_step: str | None = None) -> Setting:
    model, field = field_of(setting.key)
    what = problem(model, field, cast(JsonValue, setting.value))
    if what is not None:
        raise setting.refuse(f"{called}: {what}" if called else what, next_step=next_step)
    return setting


def _parsed(text: str, model: type[BaseModel], field: str) -> Scalar:
    """Return what `text` says for a field, in git's spelling of truths and numbers; as it stands where it says none."""
    kinds = _kinds(model.model_fields[field].annotation)
    word = text.strip().lower()
    if kinds == set(get_args(Colour)):
        return {**dict.fromkeys(_TRUE, "auto"), **dict.fromkeys(_FALSE, "never")}.get(word, word)
    if bool in kinds and word in _TRUE | _FALSE:
        return word in _TRUE
    if int in kinds:
        return _integer(text)
    if float in kinds:
        try:
            number = float(text)
        except ValueError:
            return text
        return number if math.isfinite(number) else text
    return text


def _integer(text: str) -> int | str:
    found = _INT.fullmatch(text.lstrip())
    if found is None or len(text) > 30:
        return text
    digits = found["digits"]
    octal = digits[0] == "0" and digits.isdecimal()
    if octal and not set(digits) <= set("01234567"):
        return text
    number = int(digits, 8 if octal else 0) * _UNITS[found["unit"].lower()]
    return -number if found["sign"] == "-" else number


def _kinds(annotation: Any) -> set[Any]:
    """Return the types, or for a Literal the words, that an annotation allows beside None."""
    return {one for one in get_args(annotation) or (annotation,) if one is not type(None)}


def _text(value: Scalar | None) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unread(environment: Mapping[str, str], git: Sequence[GitValue]) -> Iterator[str]:
    """Tell of keys and variables that are meant for us and that nobody reads: a misspelt limit is no limit."""
    known = {_as_git_prints(name): name for key in keys() for name in git_keys(key)}
    for one in git:
        own = one.key.startswith(RULE_KEYS) or one.key.rpartition(".")[2] in OWN_GIT_KEYS
        if one.key.startswith("hmopt.") and one.key not in known and not own:
            near = difflib.get_close_matches(one.key, known, n=1)
            hint = f"; did you mean {known[near[0]]}?" if near else ""
            yield printable(f"{one.where}: {one.key} is no setting of git hmopt{hint}")
    variables = [variable(key) for key in keys()]
    for name in sorted(environment):
        # The commands of adapters and the tests have HMOPT_* variables of their own, so only a near miss is told.
        near = difflib.get_close_matches(name, variables, n=1, cutoff=0.85) if name.startswith("HMOPT_") else []
        if near and name not in (*variables, KEY_VARIABLE):
            yield printable(f"{name} is no setting of git hmopt; did you mean {near[0]}?")


def _folded(name: str) -> str:
    return name.lower().removeprefix("hmopt.").removeprefix("hmopt_").replace("_", "").replace(".", "")


@cache
def _as_git_prints(name: str) -> str:
    """Return a key as git prints it: section and last part in lower case, what is between as it was written."""
    section, _, rest = name.partition(".")
    middle, dot, last = rest.rpartition(".")
    return f"{section.lower()}.{middle}{dot}{last.lower()}"
