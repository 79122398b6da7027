# SPDX-License-Identifier: Apache-2.0
"""The schema of `.hmopt.yaml`, version 1."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from git_hmopt.records.bottleneck import BottleneckClass

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


def _one_line(text: str) -> str:
    return _plain(text, "one line of plain text", also="")


def _lines(text: str) -> str:
    return _plain(text, "lines of plain text", also="\n\t")


def _plain(text: str, expected: str, *, also: str) -> str:
    """Refuse what a terminal or a prompt would take for more than text: control and format characters."""
    wrong = next((one for one in text if not one.isprintable() and one not in also), None)
    if wrong is not None:
        raise ValueError(f"holds the character U+{ord(wrong):04X}, expected {expected}")
    if not text.strip():
        raise ValueError(f"is empty, expected {expected}")
    return text


Line = Annotated[str, StringConstraints(max_length=400), AfterValidator(_one_line)]
Lines = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_lines)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class AdapterSection(BaseModel):
    """An adapter's name and its own options, which the adapter's `Options` model checks."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)
    adapter: str
    """Name of an installed adapter; the other keys are its own."""

    @property
    def options(self) -> dict[str, Any]:
        """Return the keys that are the adapter's own."""
        return dict(self.model_extra or {})


class OnBuildSection(AdapterSection):
    """An adapter that works on what one of the `builds` made."""

    build: Name
    """The name of one of the `builds`."""


class Tree(_Section):
    """What is exported into the build trees."""

    exclude: tuple[str, ...] = ()
    """Glob patterns of paths left out of the build trees (never Kconfig or Makefiles: the build would notice)."""
    keep: tuple[str, ...] = ()
    """Glob patterns kept although `exclude` matches."""


class ObjectiveSection(_Section):
    """What a workload wants less or more of."""

    metric: str = "time"
    """One of the workload's `measure` names."""
    direction: Literal["lower", "higher"] = "lower"
    """Which way is better."""
    margin: float = Field(default=0.01, gt=0, lt=1)
    """The least change worth having, as a share: 0.01 is one per cent."""


class Guard(_Section):
    """A metric of this or of another workload that may not get worse by more than `margin`."""

    workload: Name | None = None
    """Another workload; default: this one."""
    metric: str = "time"
    """One of that workload's `measure` names."""
    margin: float = Field(default=0.02, gt=0, lt=1)
    """The largest loss that is let pass, as a share."""


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
    """Bytes by which the data's start is shifted in those checks, for unaligned inputs."""


class Workload(_Section):
    """One thing to make faster, and how to run and watch it."""

    description: str = ""
    """One line for people: what is timed."""
    overlays: tuple[str, ...] = ()
    """Names of shipped overlays, or `./path` of directories in the repository."""
    measure: dict[Name, OnBuildSection] = Field(min_length=1)
    """Measuring adapters by the name of the metric they give."""
    profile: dict[Name, OnBuildSection] = Field(default_factory=dict)
    """Profiling adapters by a name of your own; what they capture finds the hotspots."""
    inputs: Inputs
    """The sizes it is run at."""
    objective: ObjectiveSection = ObjectiveSection()
    """What counts as better."""
    accept: Literal["objective", "count"] = "objective"
    """`count` accepts fewer instructions where no time is won; `objective` never does."""
    guards: tuple[Guard, ...] = ()
    """What may not get worse while the objective gets better."""
    max_text_growth: int | None = None
    """Bytes of text a candidate may add; null means reported only."""


class Policy(_Section):
    """What a candidate may not touch, beside what no candidate ever may."""

    protect: tuple[str, ...] = ()
    """Glob patterns of paths that no candidate may touch."""
    allow: tuple[str, ...] = ("*.c", "*.h", "*.S")
    """Glob patterns of the paths that a candidate may touch at all."""
    max_files: int = Field(default=8, ge=1)
    """Files a candidate may change."""
    max_lines: int = Field(default=600, ge=1)
    """Lines a candidate may add and remove together."""
    checkpatch: str | None = None
    """Path of checkpatch.pl in the tree; null switches the check off."""


class Measure(_Section):
    """How time is measured (reference: LAYOUT)."""

    layouts: int = Field(default=12, ge=4, le=64)
    """Code layouts of each side that time is measured over."""
    boots: int = Field(default=10, ge=2, le=100)
    """Runs of each layout."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of every interval that a verdict rests on."""
    null_patches: int = Field(default=2, ge=1, le=8)
    """Patches that change nothing, from which the host's noise floor is measured."""


class Budget(_Section):
    """Hard limits of one run."""

    iterations: int = Field(default=6, ge=0)
    """Candidates at most."""
    regressions: int = Field(default=3, ge=1)
    """The run stops when so many candidates made it worse since the last one that was kept."""
    no_gain: int = Field(default=4, ge=1)
    """The run stops when so many candidates in a row won nothing."""
    wall_s: float = Field(default=4 * 3600, gt=0)
    """Seconds at most; what runs then is killed."""


class StrategySection(_Section):
    """What to try against a class of bottleneck: shown with a hotspot's evidence, to people and to models."""

    name: Name
    """A name of your own; that of a shipped one replaces it."""
    bottleneck: BottleneckClass
    """The class it serves."""
    what_to_try: Line
    """The change, in one line."""
    preconditions: tuple[Line, ...] = Field(min_length=1, max_length=8)
    """What must hold before it is tried."""
    risks: tuple[Line, ...] = Field(min_length=1, max_length=8)
    """What it may break."""
    example: Lines
    """The shape of the edit, as lines of a diff."""
    source: Line
    """Where it is described: a paper, a file of the kernel's Documentation."""


class Review(_Section):
    """When the bot speaks about a pull request unasked; with neither `label` nor `paths` it never does."""

    label: Line | None = None
    """Pull requests that have this label."""
    paths: tuple[str, ...] = Field(default=(), max_length=64)
    """Glob patterns: pull requests that touch such a path."""
    workloads: tuple[Name, ...] = Field(default=(), max_length=16)
    """What is measured of them, beside saying what they touch; never of a fork's, which only a person can ask for."""


class Defaults(_Section):
    """What `git hmopt optimize` takes when neither its flags nor the person's own settings say otherwise."""

    workload: Name | None = None
    """The workload of a command that names none; default: the only one there is."""
    proposer: str = "playbook"
    """Who proposes: `playbook`, or `patches:` and a directory, mbox or branch."""


class Config(_Section):
    """The whole of `.hmopt.yaml`."""

    version: Literal[1]
    """Of this file's format."""
    tree: Tree = Tree()
    """What is exported into the build trees."""
    builds: dict[Name, AdapterSection] = Field(min_length=1)
    """How the source is built, by names of your own; each is built from every commit."""
    tests: dict[Name, OnBuildSection] = Field(default_factory=dict)
    """How the project's own tests run, by names of your own; every candidate must pass what the base passes."""
    workloads: dict[Name, Workload] = Field(min_length=1)
    """What is to be made faster, by names of your own."""
    policy: Policy = Policy()
    """What a candidate may not touch."""
    measure: Measure = Measure()
    """How time is measured; a person's own settings stand above it."""
    budget: Budget = Budget()
    """Hard limits of one run; a person's own settings stand above it."""
    defaults: Defaults = Defaults()
    """What a command takes that does not say otherwise."""
    review: Review = Review()
    """When the bot speaks about a pull request unasked."""
    strategies: tuple[StrategySection, ...] = Field(default=(), max_length=64)
    """What to try by class of bottleneck, beside what is shipped."""
    strategy_files: tuple[str, ...] = Field(default=(), max_length=16)
    """Paths of YAML files in the repository with more `strategies` (and `version: 1`); read from the base commit."""
