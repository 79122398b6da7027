# SPDX-License-Identifier: Apache-2.0
"""The schema of `.hmopt.yaml`, version 1."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AdapterSection(BaseModel):
    """An adapter's name and its own options, which the adapter's `Options` model checks."""

    model_config = ConfigDict(extra="allow", frozen=True)
    adapter: str

    @property
    def options(self) -> dict[str, Any]:
        """Return the keys that are the adapter's own."""
        return dict(self.model_extra or {})


class OnBuildSection(AdapterSection):
    """An adapter that works on what one of the `builds` made."""

    build: Name


class Tree(_Section):
    """What is exported into the build trees."""

    exclude: tuple[str, ...] = ()
    """Glob patterns of paths left out of the build trees (never Kconfig or Makefiles: the build would notice)."""
    keep: tuple[str, ...] = ()
    """Glob patterns kept although `exclude` matches."""


class ObjectiveSection(_Section):
    """What a workload wants less or more of."""

    metric: str = "time"
    direction: Literal["lower", "higher"] = "lower"
    margin: float = Field(default=0.01, gt=0, lt=1)


class Guard(_Section):
    """A metric of this or of another workload that may not get worse by more than `margin`."""

    workload: Name | None = None
    metric: str = "time"
    margin: float = Field(default=0.02, gt=0, lt=1)


class Inputs(_Section):
    """The sizes a workload is run at."""

    size: int = Field(ge=0)
    """The size that is profiled and measured."""
    repetitions: int = Field(default=1, ge=1)
    """How often the measured window repeats the work."""
    count_repetitions: int | None = Field(default=None, ge=1)
    """The same for counting metrics, where the guest is interpreted; default: `repetitions`."""
    check_sizes: tuple[int, ...] = (0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 1000)
    """Sizes at which outputs must equal the baseline's, on fresh seeds."""
    check_offsets: tuple[int, ...] = (0, 1, 3)


class Workload(_Section):
    """One thing to make faster, and how to run and watch it."""

    description: str = ""
    overlays: tuple[str, ...] = ()
    """Names of shipped overlays, or `./path` of directories in the repository."""
    measure: dict[Name, OnBuildSection] = Field(min_length=1)
    """Measuring adapters by the name of the metric they give."""
    profile: dict[Name, OnBuildSection] = Field(default_factory=dict)
    inputs: Inputs
    objective: ObjectiveSection = ObjectiveSection()
    accept: Literal["objective", "count"] = "objective"
    guards: tuple[Guard, ...] = ()
    max_text_growth: int | None = None
    """Bytes of text a candidate may add; null means reported only."""


class Policy(_Section):
    """What a candidate may not touch, beside what no candidate ever may."""

    protect: tuple[str, ...] = ()
    allow: tuple[str, ...] = ("*.c", "*.h", "*.S")
    max_files: int = Field(default=8, ge=1)
    max_lines: int = Field(default=600, ge=1)
    checkpatch: str | None = None
    """Path of checkpatch.pl in the tree; null switches the check off."""


class Measure(_Section):
    """How time is measured (reference: LAYOUT)."""

    layouts: int = Field(default=12, ge=4, le=64)
    boots: int = Field(default=10, ge=2, le=100)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    null_patches: int = Field(default=2, ge=1, le=8)


class Budget(_Section):
    """Hard limits of one run."""

    iterations: int = Field(default=6, ge=0)
    regressions: int = Field(default=3, ge=1)
    no_gain: int = Field(default=4, ge=1)
    wall_s: float = Field(default=4 * 3600, gt=0)


class Config(_Section):
    """The whole of `.hmopt.yaml`."""

    version: Literal[1]
    tree: Tree = Tree()
    builds: dict[Name, AdapterSection] = Field(min_length=1)
    tests: dict[Name, OnBuildSection] = Field(default_factory=dict)
    workloads: dict[Name, Workload] = Field(min_length=1)
    policy: Policy = Policy()
    measure: Measure = Measure()
    budget: Budget = Budget()
