# SPDX-License-Identifier: Apache-2.0
"""A run's story as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

from git_hmopt.report.models import models_of
from git_hmopt.report.story import RunStory


def as_json(story: RunStory) -> str:
    """Return a story as one JSON object, version 1; `models` is there when a model was asked."""
    models = models_of(story)
    return json.dumps({"v": 1, "story": asdict(story), **({"models": asdict(models)} if models else {})})
