# SPDX-License-Identifier: Apache-2.0
"""The playbook alone on the three shipped workloads: whatever it tries gets a verdict with a reason and numbers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kernel.conftest import Kernel

pytestmark = [pytest.mark.kernel, pytest.mark.slow]


@pytest.fixture(scope="module", params=[("lib-crc64", 1), ("lib-sort", 2), ("lib-memchr", 2)])
def story(request: pytest.FixtureRequest, kernel: Kernel, crc64_run: dict[str, Any], sort_run: dict[str, Any]) -> Any:
    """Run the playbook on one workload."""
    workload, iterations = request.param
    return kernel.optimize(workload, "--iterations", str(iterations))


def test_every_candidate_has_a_verdict_with_a_reason(story: dict[str, Any]) -> None:
    assert story["status"] == "succeeded"
    judged = [one["evaluation"] for one in story["iterations"] if one["evaluation"]]
    assert judged, "the playbook found nothing to try"
    for evaluation in judged:
        print(f"{story['run']['workload']}: {evaluation['verdict']}: {evaluation['reason']}")
        assert evaluation["reason"]
        assert evaluation["rule"] not in ("build", "checkpatch"), "the playbook writes what builds and reads well"
        if evaluation["verdict"] in ("improved", "regressed", "cannot-tell"):
            assert evaluation["deltas"], "a verdict about time without a time"


def test_what_was_accepted_is_claimed_from_a_fresh_measurement(kernel: Kernel, story: dict[str, Any]) -> None:
    accepted = [one for one in story["iterations"] if one["evaluation"] and one["evaluation"]["accepted"]]
    best = kernel.git("rev-parse", f"hmopt/{story['run']['name']}/best").strip()
    if not accepted:
        assert best == story["run"]["base_commit"]
        assert not story["confirmations"]
        return
    claimed = {one["metric"]: one for one in story["confirmations"]}
    assert float(claimed["time"]["high"]) < 0
    assert claimed["time"]["against"] == "baseline"
    assert best == accepted[-1]["evaluation"]["commit"]
