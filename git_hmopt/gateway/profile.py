# SPDX-License-Identifier: Apache-2.0
"""A profile: where a gateway stands and which of its models serve which role.

Profiles are YAML: those shipped beside this file are found by name, a person's own by path. A person selects one with
`git config hmopt.gateway.profile`; a repository cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from git_hmopt.config.document import dotted, parse_document, printable
from git_hmopt.errors import ConfigError

MODEL_WORD = r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}"
"""What a model may be called: names of servers, of registries (`owner/name:tag`) and of files."""

ModelName = Annotated[str, StringConstraints(pattern=rf"^{MODEL_WORD}$")]
_MOST_BYTES = 1 << 18


class Role(StrEnum):
    """What a model is asked for."""

    CODING = "coding_fast"
    REASONING = "reasoning_strong"
    GENERAL = "general"
    EMBEDDINGS = "embeddings"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Model(_Strict):
    """What is known of one model. Everything may be unknown."""

    context_tokens: int | None = Field(default=None, ge=1)
    """Tokens of a prompt and its answer together; unknown: the server says when it is too much."""
    price_in: Decimal | None = Field(default=None, ge=0)
    """Of a million tokens of a prompt, in `currency`; unknown: it costs nothing that a budget could hold."""
    price_out: Decimal | None = Field(default=None, ge=0)
    """Of a million tokens of an answer."""


class Profile(_Strict):
    """A gateway."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    url: str | None = None
    """Its base address, up to `/v1`; `hmopt.gateway.url` overrides it."""
    note: str = ""
    """What a person has to know who selects it."""
    roles: Mapping[Role, tuple[ModelName, ...]]
    """The models of a role, the first one first; the others are asked when it gives no answer."""
    models: Mapping[ModelName, Model] = Field(default_factory=dict)
    currency: str = "USD"

    @field_validator("roles", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        """Take one name for a list of one."""
        if not isinstance(value, Mapping):
            return value
        return {role: (names,) if isinstance(names, str) else names for role, names in value.items()}

    @model_validator(mode="after")
    def _some(self) -> Profile:
        if not self.roles or not all(self.roles.values()):
            raise ValueError("every role needs a model, and there has to be a role")
        return self

    @property
    def named(self) -> frozenset[str]:
        """Return all its models."""
        return frozenset(name for names in self.roles.values() for name in names)

    def of(self, role: Role) -> tuple[str, ...]:
        """Return a role's models; those of `general` serve a role that has none, embeddings apart."""
        found = self.roles.get(role, ())
        return found or (() if role is Role.EMBEDDINGS else self.roles.get(Role.GENERAL, ()))


def shipped() -> tuple[str, ...]:
    """Return the names of the shipped profiles."""
    return tuple(sorted(one.name.removesuffix(".yaml") for one in _folder().iterdir() if one.name.endswith(".yaml")))


def _folder() -> Traversable:
    return files("git_hmopt.gateway").joinpath("profiles")


def load_profile(word: str) -> Profile:
    """Return a shipped profile by its name, or the one in a file; ConfigError says what is wrong with it, and where."""
    if word in shipped():
        return _parsed(_folder().joinpath(f"{word}.yaml").read_bytes(), f"profile {word}")
    path = Path(word).expanduser()
    if not path.is_absolute():
        # A relative path would mean a file of whatever repository a command is typed in.
        raise ConfigError(
            printable(f"there is no gateway profile '{word}'"),
            next_step=f"shipped are {', '.join(shipped())}; your own is named by an absolute path",
        )
    try:
        data = path.read_bytes()[: _MOST_BYTES + 1]
    except OSError as error:
        raise ConfigError(printable(f"{word}: {error.strerror}")) from error
    if len(data) > _MOST_BYTES:
        raise ConfigError(printable(f"{word} is no profile: it is larger than {_MOST_BYTES} bytes"))
    return _parsed(data, word)


def _parsed(data: bytes, where: str) -> Profile:
    document = parse_document(data, origin=where)
    try:
        return Profile.model_validate(document.value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        line = document.line(first["loc"])
        place = dotted(first["loc"])
        said = f"{place}: {first['msg']}" if place else first["msg"]
        raise ConfigError(printable(f"{where}:{line}: {said}")) from error
