# SPDX-License-Identifier: Apache-2.0
"""What a worker process is there for."""

from __future__ import annotations

BUILDS = "builds"
"""It drives runs and measures, one thing after the other, for hours."""
TALKS = "talks"
"""It deals with what forges deliver and tells what came of it, in moments."""
