# SPDX-License-Identifier: Apache-2.0
"""Levels of one snapshot, rates of two; what went backwards; awk, vmstat and the kernel itself over the same bytes."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from git_hmopt.records.base import decimal_text
from git_hmopt.runtime import snapshots
from git_hmopt.runtime.kpi import Kpi
from git_hmopt.runtime.snapshots import Snapshot, fragmentation_index, levels, rates, unusable_index
from git_hmopt.traces.proc_snapshot import FORMAT
from git_hmopt.traces.source import Source

FIRST = """\
100.00 200.00
cpu  100 0 50 800 50 0 0 0 0 0
cpu0 50 0 25 400 25 0 0 0 0 0
cpu1 50 0 25 400 25 0 0 0 0 0
intr 1000 10 0 40
ctxt 5000
btime 1700000000
procs_running 3
procs_blocked 1
softirq 500 0 300 0 200
nr_free_pages 10
pgscan_kswapd 1000
pgscan_direct 100
pgscan_direct_throttle 7
pgsteal_kswapd 900
pgsteal_direct 50
allocstall_normal 1
allocstall_movable 2
workingset_refault_anon 5
workingset_refault_file 6
compact_stall 3
compact_fail 1
compact_success 2
pgmajfault 4
oom_kill 0
pswpin 0
pswpout 0
version 15
timestamp 1
cpu0 0 0 0 0 0 0 1000 100 10
cpu1 0 0 0 0 0 0 2000 900 10
           CPU0       CPU1
  0:         10          0   timer
  2:         30         10   disk
LOC:         99          1   Local timer interrupts
                    CPU0       CPU1
       TIMER:        200        100
      NET_RX:        200          0
==> /proc/pressure/io <==
some avg10=12.50 avg60=0.00 avg300=0.00 total=1000
==> /proc/42/schedstat <==
10 100 1
"""
SECOND = """\
==> /proc/uptime <==
102.00 203.00
cpu  180 0 70 880 30 0 20 20 0 0
cpu0 130 0 45 400 5 0 20 0 0 0
cpu1 50 0 25 480 25 0 0 20 0 0
intr 1600 10 0 640
ctxt 9000
btime 1700000001
procs_running 1
procs_blocked 0
softirq 900 0 300 0 600
nr_free_pages 10
pgscan_kswapd 1800
pgscan_direct 300
pgscan_direct_throttle 9
pgsteal_kswapd 1300
pgsteal_direct 150
allocstall_normal 3
allocstall_movable 4
workingset_refault_anon 5
workingset_refault_file 26
compact_stall 5
compact_fail 2
compact_success 5
pgmajfault 5
oom_kill 0
pswpin 0
pswpout 8
version 15
timestamp 1
cpu0 0 0 0 0 0 0 1000 500 12
cpu1 0 0 0 0 0 0 2000 1000 10
           CPU0       CPU1
  0:         10          0   timer
  2:        480        160   disk
LOC:        100          9   Local timer interrupts
                    CPU0       CPU1
       TIMER:        200        100
      NET_RX:        500        100
==> /proc/pressure/io <==
some avg10=0.00 avg60=0.00 avg300=0.00 total=501000
==> /proc/42/schedstat <==
10 700 4
"""


def read(folder: Path, text: str) -> tuple[Snapshot, ...]:
    path = folder / "dump"
    path.write_text(text)
    events = FORMAT.read(Source(path)).read_events
    assert events is not None
    return snapshots.snapshots(events(Counter()))


def between(folder: Path, first: str = FIRST, second: str = SECOND) -> dict[tuple[str, str], Kpi]:
    found = rates(*read(folder, first + second))
    named = {(kpi.name, kpi.who): kpi for kpi in found}
    assert len(named) == len(found)
    return named


@pytest.mark.parametrize(
    ("name", "who", "value", "unit", "n"),
    [
        # 220 ticks, of them 80 idle and 20 stolen; iowait fell by 20 and counts as 0.
        ("cpu_util_avg", "all", decimal_text(140 / 220), "ratio", 220),
        ("cpu_util_avg", "cpu0", "1", "ratio", 120),
        ("cpu_util_avg", "cpu1", "0.2", "ratio", 100),
        ("context_switch_rate", "all", "2000", "1/s", 4000),
        ("irq_rate", "all", "300", "1/s", 600),
        ("irq_rate", "2 disk", "300", "1/s", 600),
        ("irq_rate", "LOC Local timer interrupts", "4.5", "1/s", 9),
        ("irq_rate", "cpu0", "225", "1/s", 450),
        ("softirq_rate", "all", "200", "1/s", 400),
        ("softirq_rate", "NET_RX", "200", "1/s", 400),
        ("softirq_rate", "cpu1", "50", "1/s", 100),
        ("irq_imbalance", "all", "0.75", "ratio", 600),
        ("softirq_imbalance", "all", "0.75", "ratio", 400),
        ("run_queue_delay_mean", "all", "250", "ns", 2),
        ("run_queue_delay_mean", "cpu0", "200", "ns", 2),
        ("run_queue_delay_mean", "cpu1", None, "ns", 0),
        ("run_queue_delay_mean", "42", "200", "ns", 3),
        ("reclaim_efficiency", "all", "0.5", "ratio", 1000),
        ("direct_reclaim_share", "all", "0.2", "ratio", 1000),
        ("reclaim_scan_rate", "kswapd", "400", "pages/s", 800),
        ("compaction_success", "all", "0.75", "ratio", 4),
        ("allocation_stall_rate", "all", "2", "1/s", 4),
        ("refault_rate", "all", "10", "pages/s", 20),
        ("compaction_stall_rate", "all", "1", "1/s", 2),
        ("oom_kill_rate", "all", "0", "1/s", 0),
        ("major_fault_rate", "all", "0.5", "1/s", 1),
        ("swap_out_rate", "all", "4", "pages/s", 8),
        ("pressure_some", "io", "0.25", "ratio", 500000),
    ],
)
def test_rates_of_two_snapshots(tmp_path: Path, name: str, who: str, value: str | None, unit: str, n: int) -> None:
    kpi = between(tmp_path)[name, who]
    assert (kpi.value, kpi.unit, kpi.n) == (value, unit, n)
    assert ("unknown" in kpi.rule) == (value is None)


def test_scopes_and_bases_say_what_a_number_rests_on(tmp_path: Path) -> None:
    found = between(tmp_path)
    assert found["cpu_util_avg", "cpu0"].scope == "cpu"
    assert found["cpu_util_avg", "cpu0"].rule.endswith("; iowait went backwards, taken as 0")
    assert found["run_queue_delay_mean", "42"].scope == "process"
    assert found["context_switch_rate", "all"].rule == "/proc/stat: ctxt, over 2 s of the capture's clock"
    assert "even is 0.5" in found["irq_imbalance", "all"].rule


def test_without_a_clock_the_ticks_give_the_time(tmp_path: Path) -> None:
    first, second = FIRST.removeprefix("100.00 200.00\n"), SECOND.partition("203.00\n")[2]
    kpi = between(tmp_path, first, second)["context_switch_rate", "all"]
    # 220 ticks on two CPUs, 100 a second.
    assert kpi.value == decimal_text(4000 / 1.1)
    assert "by the ticks of /proc/stat (100 a second)" in kpi.rule


def test_a_counter_that_went_backwards_is_named(tmp_path: Path) -> None:
    found = between(tmp_path, second=SECOND.replace("pgscan_direct 300", "pgscan_direct 3"))
    for name in ("reclaim_efficiency", "direct_reclaim_share"):
        assert found[name, "all"].value is None
        assert "/proc/vmstat pgscan_direct went backwards (100 to 3)" in found[name, "all"].rule
    assert found["refault_rate", "all"].value == "10"
    back = between(tmp_path, second=SECOND.replace("cpu1 50 0 25 480", "cpu1 50 0 25 380"))
    assert back["cpu_util_avg", "cpu1"].value is None
    assert "idle went backwards" in back["cpu_util_avg", "cpu1"].rule


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [("btime 1700000001", "btime 1700009999", "started again"), ("102.00 203.00", "9.00 8.00", "time went backwards")],
)
def test_after_a_restart_nothing_is_known(tmp_path: Path, old: str, new: str, why: str) -> None:
    found = between(tmp_path, second=SECOND.replace(old, new))
    assert {kpi.value for kpi in found.values()} == {None}
    assert all(why in kpi.rule for kpi in found.values())


def test_what_no_snapshot_has_is_unknown_and_not_zero(tmp_path: Path) -> None:
    found = between(tmp_path, "cpu  1 0 0 1 0\n", "cpu  2 0 0 2 0\n")
    assert found.pop(("cpu_util_avg", "all")).value == "0.5"
    assert {kpi.value for kpi in found.values()} == {None}
    assert {kpi.n for kpi in found.values()} == {0}
    assert {name for name, _ in found} >= {
        "irq_imbalance",
        "run_queue_delay_mean",
        "reclaim_efficiency",
        "refault_rate",
    }


def test_nothing_scanned_is_no_efficiency(tmp_path: Path) -> None:
    kpi = between(tmp_path, second=FIRST.replace("100.00 200.00", "==> x <==\n102.00 203.00"))[
        "reclaim_efficiency", "all"
    ]
    assert (kpi.value, kpi.n) == (None, 0)
    assert "nothing to divide by" in kpi.rule


BUDDY = "Node 0, zone      DMA      4      0      1 \nNode 1, zone   Normal     10      2      0 \n"


def test_levels_of_one_snapshot(tmp_path: Path) -> None:
    text = f"MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 625 kB\n{BUDDY}{FIRST}"
    (snapshot,) = read(tmp_path, text)
    found = {(kpi.name, kpi.who): kpi.value for kpi in levels(snapshot, order=2)}
    assert found == {
        ("memory_available_ratio", "all"): "0.625",
        ("memory_free_ratio", "all"): "0.1",
        # An allocation of 4 pages would succeed in the one zone; in the other 14 pages lie in 12 blocks.
        ("fragmentation_index", "node 0 zone DMA"): None,
        ("unusable_free_index", "node 0 zone DMA"): "0.5",
        ("fragmentation_index", "node 1 zone Normal"): "0.625",
        ("unusable_free_index", "node 1 zone Normal"): "1",
        ("pressure_some_avg10", "io"): "0.125",
        ("tasks_runnable", "all"): "3",
        ("tasks_blocked", "all"): "1",
    }


def test_levels_that_are_not_there_are_unknown(tmp_path: Path) -> None:
    (snapshot,) = read(tmp_path, "nr_free_pages 1\n")
    found = levels(snapshot)
    assert {kpi.name for kpi in found} == {
        "memory_available_ratio", "memory_free_ratio", "fragmentation_index", "tasks_runnable", "tasks_blocked"
    }  # fmt: skip
    assert {kpi.value for kpi in found} == {None}


def test_the_indices_are_the_kernels(tmp_path: Path) -> None:
    folder = Path("/sys/kernel/debug/extfrag")
    try:
        said = [(folder / name).read_text() for name in ("extfrag_index", "unusable_index")]
    except OSError:
        pytest.skip("needs debugfs with extfrag, and it cannot be read here")
    for _ in range(50):
        buddyinfo = Path("/proc/buddyinfo").read_text()
        said = [(folder / name).read_text() for name in ("extfrag_index", "unusable_index")]
        if Path("/proc/buddyinfo").read_text() == buddyinfo:
            break
    else:
        pytest.skip("free memory never stood still")
    (snapshot,) = read(tmp_path, buddyinfo)
    for name, pairs in snapshot.rows["/proc/buddyinfo"].items():
        free = {int(key[5:]): count for key, count in pairs.items() if key.startswith("order")}
        indices = [fragmentation_index(free, order) for order in free]
        ours = ["-1.000" if index is None else f"{index / 1000:.3f}" for index in indices]
        assert kernels_row(said[0], name) == ours
        assert kernels_row(said[1], name) == [f"{unusable_index(free, order) / 1000:.3f}" for order in free]


def kernels_row(text: str, zone: str) -> list[str]:
    node, _, name = zone.partition(" ")
    rows = [line.split() for line in text.splitlines()]
    return next(row[4:] for row in rows if row[:4] == ["Node", f"{node},", "zone", name])


def proc(name: str) -> str:
    path = Path("/proc", name)
    if not path.exists():
        pytest.skip(f"there is no {path} here")
    return path.read_text()


def test_utilisation_is_what_awk_computes_from_the_same_bytes(tmp_path: Path) -> None:
    awk = shutil.which("awk")
    if awk is None:
        pytest.skip("needs awk")
    first = second = proc("stat")
    # The ticks move on their own: two snapshots are only needed to differ.
    for _ in range(2_000_000):
        second = proc("stat")
        if second.splitlines()[0] != first.splitlines()[0]:
            break
    (tmp_path / "first").write_text(first)
    (tmp_path / "second").write_text(second)
    program = (
        "/^cpu /{ total=0; for (i = 2; i <= 9; i++) total += $i; idle = $5 + $6;"
        " if (NR != FNR) printf \"%d %d\", total - t, idle - w; t = total; w = idle }"
    )  # fmt: skip
    command = [awk, program, str(tmp_path / "first"), str(tmp_path / "second")]
    total, idle = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    kpi = between(tmp_path, first, second)["cpu_util_avg", "all"]
    if "iowait went backwards" in kpi.rule:
        pytest.skip("iowait went backwards meanwhile, which awk does not know")
    assert (kpi.n, kpi.value) == (total, decimal_text((total - idle) / total))


def test_counters_lie_between_what_vmstat_prints(tmp_path: Path) -> None:
    vmstat = shutil.which("vmstat")
    if vmstat is None:
        pytest.skip("needs vmstat of procps, which is not installed")

    def said() -> dict[str, int]:
        done = subprocess.run([vmstat, "-s"], capture_output=True, text=True, check=True, env={"LC_ALL": "C"})
        words = (line.split(maxsplit=1) for line in done.stdout.splitlines())
        return {name.strip(): int(number) for number, name in words}

    before, (snapshot,), after = said(), read(tmp_path, proc("stat") + proc("vmstat")), said()
    ours = {
        "CPU context switches": snapshot.rows["/proc/stat"]["ctxt"]["value"],
        "interrupts": snapshot.rows["/proc/stat"]["intr"]["total"],
        "idle cpu ticks": snapshot.rows["/proc/stat"]["cpu"]["idle"],
        "softirq cpu ticks": snapshot.rows["/proc/stat"]["cpu"]["softirq"],
        "pages swapped out": snapshot.rows["/proc/vmstat"][""]["pswpout"],
    }
    for name, value in ours.items():
        assert before[name] <= value <= after[name], name


def test_interrupts_sum_to_the_intr_line(tmp_path: Path) -> None:
    def sums(name: str) -> dict[str, int]:
        (snapshot,) = read(tmp_path, proc(name))
        table = snapshot.rows[f"/proc/{name}"]
        return {
            row: sum(count for key, count in pairs.items() if key.startswith("CPU")) for row, pairs in table.items()
        }

    irqs, softirqs = sums("interrupts"), sums("softirqs")
    (stat,) = read(tmp_path, proc("stat"))
    irqs_after, softirqs_after = sums("interrupts"), sums("softirqs")
    numbered = [row for row in irqs if row.isdigit()]
    assert numbered
    for row in numbered:
        # The kernel leaves out what never fired; both files are of the same counters, read one after the other.
        assert irqs[row] <= stat.rows["/proc/stat"]["intr"].get(row, 0) <= irqs_after[row], row
    for row, count in softirqs.items():
        assert count <= stat.rows["/proc/stat"]["softirq"][row] <= softirqs_after[row], row
