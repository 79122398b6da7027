# SPDX-License-Identifier: Apache-2.0
"""Which KPIs of a capture are recorded, and that records tell them again; what was damaged is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from git_hmopt.errors import CorruptRecordError
from git_hmopt.runtime import recorded
from git_hmopt.runtime.frames import JankWindow
from git_hmopt.runtime.kpi import Kpi, Scope
from git_hmopt.runtime.kpis import Kpis, not_compared, regression_flags

SHA = "ab" * 32
OF = recorded.Measured("20260101-scan-0a0b0c", "c" * 40, "d" * 40, "scan")


def one(name: str, value: str | None, scope: Scope = "system", who: str = "all", n: int = 3) -> Kpi:
    return Kpi(name, scope, who, value, "1", n, f"rule of {name}")


def kpis(*records: Kpi) -> Kpis:
    window = JankWindow(5, 9, 2, "render-7", "late")
    return Kpis(records, (window,), 1, 10, 100, {"lines that are none": 2})


def stored(found: Kpis) -> dict[str, Any]:
    """Return what an operation says, as it comes back from a journal."""
    kept = recorded.chosen(found)
    beside = recorded.beside(found, kept, sha256=SHA, name="t.ftrace", form="ftrace")
    metrics = recorded.metrics_of(kept, OF, sha256=SHA)
    data = {"kpis": beside.model_dump(mode="json"), "metrics": [metric.model_dump(mode="json") for metric in metrics]}
    answer: dict[str, Any] = json.loads(json.dumps(data))
    return answer


def test_records_tell_what_was_known_and_what_was_not() -> None:
    found = kpis(
        one("cpu_util_avg", "0.5"), one("cpu_util_avg", "0.25", "cpu", "cpu3"), one("stall_rate", "1", "frame", "tab"),
        one("cpu_util_avg", "0.1", "thread", "a-1"), one("fps_avg", None, n=0), one("jank_rate", None, "frame", n=0),
    )  # fmt: skip
    data = stored(found)
    assert recorded.read(data).kpis == found
    assert {(metric["run"], metric["commit"], metric["tree"], metric["workload"]) for metric in data["metrics"]} == {
        ("20260101-scan-0a0b0c", "c" * 40, "d" * 40, "scan")
    }
    assert all(metric["tags"]["artifact"] == SHA for metric in data["metrics"])
    # A number that is unknown on one side is worse than nothing.
    assert regression_flags(recorded.read(data).kpis, kpis(one("fps_avg", "60"), one("jank_rate", "0", "frame"))) == ()


def test_what_nobody_can_compare_is_said() -> None:
    now = kpis(one("fps_avg", None), one("jank_rate", "1"), one("cpu_util_avg", "0.9"), one("cpu_idle_ratio", "0.1"),
               one("stall_rate", None))  # fmt: skip
    rule = Kpi("cpu_util_avg", "system", "all", "0.1", "1", 3, "another")
    before = kpis(one("fps_avg", "60"), one("jank_rate", None), rule, one("irq_rate", "5"), one("stall_rate", None))
    assert not_compared(recorded.read(stored(now)).kpis, before) == {
        "unknown here": ("fps_avg", "irq_rate"),
        "unknown in the baseline": ("jank_rate",),
        "found by another rule in the baseline": ("cpu_util_avg",),
    }
    assert regression_flags(now, before) == ()


def test_of_threads_the_busiest_are_recorded() -> None:
    time = [one("cpu_util_avg", f"0.{number:03}1", "thread", f"t-{number}") for number in range(30)]
    waits = [one("sched_latency_p99", "1", "thread", f"t-{number}", n=1000 - number) for number in range(40)]
    kept = recorded.chosen(kpis(*time, *waits))
    assert {kpi.who for kpi in kept.known} == {f"t-{number}" for number in range(22, 30)}
    assert (len(kept.known), kept.left_out) == (16, 54)


def test_where_no_time_is_known_the_most_observed_are_recorded() -> None:
    found = [one("jank_rate", "0", "process", f"p-{number}", n=number) for number in range(20)]
    kept = recorded.chosen(kpis(*found, one("jank_rate", None, "process", "p-99", n=99)))
    assert {kpi.who for kpi in kept.known} == {f"p-{number}" for number in range(12, 20)}


def test_of_callers_and_the_like_a_bounded_number_is_recorded() -> None:
    found = [one("blocked_time", "1", who=f"caller_{number}", n=number) for number in range(1000)]
    kept = recorded.chosen(kpis(*found, one("blocked_time", "7", n=1)))
    assert len(kept.known) == recorded.OF_A_NAME + 1 and kept.left_out == 1000 - recorded.OF_A_NAME
    assert min(kpi.n for kpi in kept.known if kpi.who != "all") == 1000 - recorded.OF_A_NAME


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.pop("metrics"),
        lambda data: data.update(metrics=7),
        lambda data: data["kpis"].update(v=2),
        lambda data: data["kpis"].update(events="many"),
        lambda data: data["metrics"][0].update(value="NaN"),
        lambda data: data["metrics"][0].update(value=0.5),
        lambda data: data["metrics"][0]["tags"].pop("of"),
        lambda data: data["metrics"][0]["tags"].pop("rule"),
        lambda data: data["kpis"]["windows"].append({"start_ns": 1}),
    ],
)
def test_malformed_records_are_refused(damage: Any) -> None:
    data = stored(kpis(one("cpu_util_avg", "0.5")))
    damage(data)
    with pytest.raises(CorruptRecordError, match="the KPIs that are recorded of a capture are malformed"):
        recorded.read(data)
