# SPDX-License-Identifier: Apache-2.0
"""A host that exists on paper: readings with layouts, boots and drift whose true values are known.

What the gate's error rates are checked against, and what somebody who doubts a verdict can try a plan out on. It
follows the build and workload protocols as far as `measure` uses them.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from git_hmopt.adapters import BuildResult, Image, Reading, SourceTree, WorkCase
from git_hmopt.records.words import Seed


@dataclass(frozen=True)
class Noise:
    """How a host's readings vary; standard deviations and amplitude of log readings (defaults: LAYOUT.md)."""

    layout_sd: float = 0.03
    boot_sd: float = 0.02
    drift: float = 0.03
    drift_period: int = 150
    """Runs in one swing of the drift: a quarter of a second a run makes this tens of seconds."""
    shared: float = 0.9
    """Correlation of the layout's effect on base and candidate at one seed: what pairing takes off. 0 is a patched
    hot loop that shares nothing with the old one."""


def simulated_build(name: str) -> BuildResult:
    """Return a build called `name`, which stands for the source its layouts are made of."""
    root = Path("/simulated") / name
    image = Image(path=root / "image", sha256=name, build=name)
    return BuildResult(success=True, tree=SourceTree(root, root), log=root / "log", image=image)


@dataclass
class SimulatedHost:
    """Builds' layouts and their readings. `changes` holds each build's true change against base, as a ratio minus one.

    The same seed of the host gives the same readings in the same order of runs.
    """

    seed: int
    changes: Mapping[str, float]
    noise: Noise = field(default_factory=Noise)
    layout_controlled: bool = True
    runs: int = 0
    boots: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.boots = random.Random(f"{self.seed}/boots")

    def layouts(self, built: BuildResult, seeds: Sequence[Seed], into: Path) -> Mapping[Seed, Image]:
        """Return an image a seed; nothing is written."""
        name = built.tree.root.name
        return {seed: Image(into / f"{name}-{seed}", f"{name}-{seed}", name, layout=seed) for seed in seeds}

    def measure(self, image: Image, case: WorkCase) -> Reading:
        """Return one reading of `time`, ns."""
        self.runs += 1
        swing = self.noise.drift * math.sin(2 * math.pi * self.runs / self.noise.drift_period + self.seed)
        boot = self.boots.gauss(0, self.noise.boot_sd)
        size = math.log1p(0.01 * (case.seed % 7))
        log = math.log(1e6) + math.log1p(self.changes[image.build]) + self._layout(image) + swing + boot + size
        return Reading({"time": math.exp(log)})

    def _layout(self, image: Image) -> float:
        common = _normal(f"{self.seed}/layout/{image.layout}")
        own = _normal(f"{self.seed}/layout/{image.layout}/{image.build}")
        shared = self.noise.shared
        return self.noise.layout_sd * (math.sqrt(shared) * common + math.sqrt(1 - shared) * own)


@functools.lru_cache(maxsize=4096)
def _normal(label: str) -> float:
    """Return a draw from the standard normal distribution that belongs to the label."""
    return random.Random(label).gauss(0, 1)
