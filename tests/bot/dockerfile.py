# SPDX-License-Identifier: Apache-2.0
"""What bot/Dockerfile says, instruction by instruction."""

from __future__ import annotations

from pathlib import Path

from dockerfile_parse import DockerfileParser

_DOCKERFILE = Path(__file__).resolve().parents[2] / "bot/Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """Return the instructions and their values."""
    found = DockerfileParser(path=str(_DOCKERFILE)).structure
    return [(one["instruction"], one["value"]) for one in found if one["instruction"] != "COMMENT"]


def values(name: str) -> list[str]:
    """Return the values of one instruction."""
    return [value for instruction, value in instructions() if instruction == name]
