# SPDX-License-Identifier: Apache-2.0
"""Dumps of /proc in every shape people take them; real ones, damaged ones, and what this machine says itself."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from git_hmopt.traces import proc_files, proc_sections, proc_snapshot
from git_hmopt.traces.capture import Losses
from git_hmopt.traces.proc_snapshot import FORMAT
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import TraceFormatError
from tests.traces.reading import CAPTURES, capture, damaged, rows

STAT = """\
cpu  301 6 111 8979 35 2 39 4 1 0
cpu0 301 6 111 8979 35 2 39 4 1 0
intr 737 41 0 0 7
ctxt 38014093
btime 1418183276
processes 26442
procs_running 2
procs_blocked 1
softirq 508 1 2 3 4 5 6 7 8 9 10
"""
VMSTAT = "nr_free_pages 19093\npgscan_kswapd 684000\npgsteal_kswapd 678076\n"
UPTIME = "4658.81 4099.62\n"
INTERRUPTS = """\
           CPU0       CPU2
  0:         49          1   IO-APIC   2-edge      timer
IPI0:         3          4       Rescheduling interrupts
LOC:         10         11   Local timer interrupts
ERR:          7
"""
SOFTIRQS = (
    "                    CPU0       CPU1\n          HI:          3          0\n       TIMER:    2776180     247490\n"
)
MEMINFO = (
    "MemTotal:       15666184 kB\nMemFree:          440324 kB\nActive(anon):     267256 kB\nHugePages_Total:       3\n"
)
BUDDYINFO = "Node 0, zone      DMA      0      1      2 \nNode 0, zone   Normal     10     20     30 \n"
PAGETYPE = """\
Page block order: 9
Pages per block:  512

Free pages count per migrate type at order       0      1
Node    0, zone      DMA, type    Unmovable      3 >100000
Number of blocks type     Unmovable      Movable
Node 0, zone      DMA            1            7
"""
ZONEINFO = """\
Node 0, zone      DMA
  per-node stats
      nr_inactive_anon 2495
  pages free     3840
        min      14
        protection: (0, 3000, 24000)
      nr_free_pages 3840
  pagesets
    cpu: 0
              count:    0
  node_unreclaimable:  0
  start_pfn:           1
"""
SCHEDSTAT = """\
version {version}
timestamp 4302195000
cpu0 498 0 353 255 385 246 2045936 343796 4767
domain0 {domain}
"""
PRESSURE = "some avg10=0.10 avg60=2.00 avg300=3.85 total=15\nfull avg10=0.20 avg60=3.00 avg300=4.95 total=25\n"
ALL = {
    "uptime": UPTIME, "stat": STAT, "vmstat": VMSTAT, "interrupts": INTERRUPTS, "softirqs": SOFTIRQS,
    "meminfo": MEMINFO, "zoneinfo": ZONEINFO, "buddyinfo": BUDDYINFO, "pagetypeinfo": PAGETYPE,
    "schedstat": SCHEDSTAT.format(version=15, domain="3 " + "1 " * 36), "pressure/io": PRESSURE,
    "loadavg": "0.02 0.04 0.05 1/497 11947\n", "26231/schedstat": "411605849 93680043 79\n",
    "1/task/7/schedstat": "5 6 7\n",
}  # fmt: skip
EPOCH = 1_700_000_000 * 10**9
PATHS = {f"/proc/{name}" for name in ALL}
BUNDLE = "".join(f"==> /proc/{name} <==\n{text}\n" for name, text in ALL.items())


def written(folder: Path, content: str | bytes, name: str = "dump") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def args(found: list[dict[str, Any]], path: str) -> list[str]:
    return [row["args"].removeprefix("snapshot=0 ") for row in found if row["name"] == path]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (VMSTAT, ["nr_free_pages=19093 pgscan_kswapd=684000 pgsteal_kswapd=678076"]),
        (MEMINFO, ["MemTotal=15666184kB MemFree=440324kB Active(anon)=267256kB HugePages_Total=3"]),
        (
            INTERRUPTS,
            [
                "row=0 CPU0=49 CPU2=1 text=IO-APIC 2-edge timer",
                "row=IPI0 CPU0=3 CPU2=4 text=Rescheduling interrupts",
                "row=LOC CPU0=10 CPU2=11 text=Local timer interrupts",
                "row=ERR total=7",
            ],
        ),
        (SOFTIRQS, ["row=HI CPU0=3 CPU1=0", "row=TIMER CPU0=2776180 CPU1=247490"]),
        (BUDDYINFO, ["node=0 zone=DMA order0=0 order1=1 order2=2", "node=0 zone=Normal order0=10 order1=20 order2=30"]),
        (
            ZONEINFO,
            [
                "node=0 zone=DMA nr_inactive_anon=2495 free=3840 min=14 nr_free_pages=3840 "
                "node_unreclaimable=0 start_pfn=1"
            ],
        ),
    ],
    ids=["vmstat", "meminfo", "interrupts", "softirqs", "buddyinfo", "zoneinfo"],
)  # fmt: skip
def test_rows_of_single_files(tmp_path: Path, text: str, expected: list[str]) -> None:
    found = rows(FORMAT, written(tmp_path, text))
    assert [row["args"].removeprefix("snapshot=0 ") for row in found] == expected
    assert {row["category"] for row in found} == {"proc"}
    assert {row["ts_ns"] for row in found} == {None}


def test_stat_keeps_cpus_and_the_interrupts_that_fired(tmp_path: Path) -> None:
    found = rows(FORMAT, written(tmp_path, STAT))
    times = "user=301 nice=6 system=111 idle=8979 iowait=35 irq=2 softirq=39 steal=4 guest=1 guest_nice=0"
    assert args(found, "/proc/stat")[:4] == [
        f"row=cpu {times}", f"row=cpu0 {times}", "row=intr total=737 0=41 3=7", "row=ctxt value=38014093"
    ]  # fmt: skip
    assert [row["cpu"] for row in found[:3]] == [None, 0, None]
    assert args(found, "/proc/stat")[-1].startswith("row=softirq total=508 HI=1 TIMER=2 NET_TX=3")


def test_pagetypeinfo_does_not_invent_what_the_kernel_cut_off(tmp_path: Path) -> None:
    losses: Losses = Counter()
    found = rows(FORMAT, written(tmp_path, PAGETYPE), losses)
    assert args(found, "/proc/pagetypeinfo") == [
        "row=page_block_order value=9",
        "row=pages_per_block value=512",
        "row=free node=0 zone=DMA type=Unmovable order0=3",
        "row=blocks node=0 zone=DMA Unmovable=1 Movable=7",
    ]
    assert losses == {proc_files.ABOVE: 1}


@pytest.mark.parametrize(
    ("version", "words", "begins"),
    [
        (15, "3 " + " ".join(map(str, range(36))), "mask=3 idle_lb_count=0 idle_lb_balanced=1"),
        (16, "3 " + " ".join(map(str, range(36))), "mask=3 busy_lb_count=0 busy_lb_balanced=1"),
        (17, "MC 3 " + " ".join(map(str, range(45))), "name=MC mask=3 busy_lb_count=0 busy_lb_balanced=1"),
    ],
)
def test_domains_of_schedstat_by_version(tmp_path: Path, version: int, words: str, begins: str) -> None:
    losses: Losses = Counter()
    found = rows(FORMAT, written(tmp_path, SCHEDSTAT.format(version=version, domain=words)), losses)
    domain = args(found, "/proc/schedstat")[-1]
    assert domain.startswith(f"row=domain0 of=cpu0 {begins}")
    assert domain.endswith(f"ttwu_move_balance={words.split()[-1]}")
    assert args(found, "/proc/schedstat")[2] == (
        "row=cpu0 yld_count=498 sched_count=353 sched_goidle=255 ttwu_count=385 ttwu_local=246 "
        "run_ns=2045936 rundelay_ns=343796 timeslices=4767"
    )
    assert not losses


def test_an_unknown_version_of_schedstat_is_counted(tmp_path: Path) -> None:
    losses: Losses = Counter()
    found = rows(FORMAT, written(tmp_path, SCHEDSTAT.format(version=14, domain="1 2 3")), losses)
    assert len(found) == 2
    assert losses == {proc_files.OLD_SCHEDSTAT: 2}


def archive_tar(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


def archive_zip(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("phone")
        for name, text in files.items():
            archive.writestr(name, text)
    return packed.getvalue()


IN_PROC = {f"phone/proc/{name}": text for name, text in ALL.items()}
SHAPES: dict[str, str | bytes] = {
    "headings": BUNDLE,
    "banners": "".join(f"$ cat /proc/{name}\n{text}" for name, text in ALL.items()),
    "rules": "".join(f"===== /proc/{name} =====\n{text}" for name, text in ALL.items()),
    "grep": "".join(f"/proc/{name}:{line}\n" for name, text in ALL.items() for line in text.splitlines()),
    "tar": archive_tar(IN_PROC),
    "zip": archive_zip(IN_PROC),
    "crlf": BUNDLE.replace("\n", "\r\n"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_a_dump_holds_the_same_rows(tmp_path: Path, shape: str) -> None:
    expected = rows(FORMAT, written(tmp_path, BUNDLE, "expected"))
    path = written(tmp_path, SHAPES[shape])
    losses: Losses = Counter()
    assert FORMAT.recognise(Source(path).head(), "dump")
    assert rows(FORMAT, path, losses) == expected
    assert set(losses) == {proc_files.PAGESETS, proc_files.ABOVE}
    assert {row["name"] for row in expected} == PATHS
    assert {row["ts_ns"] for row in expected} == {4_658_810_000_000}
    tasks = [(row["pid"], row["tid"]) for row in expected if row["name"].endswith("/schedstat") and row["pid"]]
    assert tasks == [(26231, None), (1, 7)]


def test_a_concatenation_is_parted_by_what_its_lines_look_like(tmp_path: Path) -> None:
    weak = ("26231/schedstat", "1/task/7/schedstat")
    text = "".join(content for name, content in ALL.items() if name not in weak)
    losses: Losses = Counter()
    found = rows(FORMAT, written(tmp_path, text), losses)
    # Nothing says which resource a pressure is of.
    expected = {path for path in PATHS if "pressure" not in path and not path.startswith(("/proc/26", "/proc/1/"))}
    assert {row["name"] for row in found} == expected | {"/proc/pressure"}
    assert set(losses) == {proc_files.PAGESETS, proc_files.ABOVE}


@pytest.mark.parametrize(
    ("first", "second", "times"),
    [
        (UPTIME, "4659.82 4101.00\n", [4_658_810_000_000, 4_659_820_000_000]),
        ("1700000000.5\n", "timestamp: 1700000001\n", [EPOCH + 500_000_000, EPOCH + 10**9]),
        ("# 2023-11-14T22:13:20Z\n", "2023-11-14T23:13:21.25+01:00\n", [EPOCH, EPOCH + 1_250_000_000]),
        ("Tue Nov 14 22:13:20 UTC 2023\n", "Tue Nov 14 22:13:21 2023\n", [EPOCH, EPOCH + 10**9]),
        ("", "", [None, None]),
    ],
    ids=["uptime", "epoch", "iso", "date", "none"],
)  # fmt: skip
def test_two_snapshots_in_one_text(tmp_path: Path, first: str, second: str, times: list[int | None]) -> None:
    losses: Losses = Counter()
    found = rows(FORMAT, written(tmp_path, first + STAT + VMSTAT + second + STAT + VMSTAT), losses)
    vmstat = [row for row in found if row["name"] == "/proc/vmstat"]
    assert [row["ts_ns"] for row in vmstat] == times
    assert [row["args"].split()[0] for row in vmstat] == ["snapshot=0", "snapshot=1"]
    assert not losses
    clock = "unknown" if not first else "boot" if first == UPTIME else "wall"
    assert capture(FORMAT, tmp_path / "dump").facts["clock"] == clock


def test_two_directories_of_one_archive_are_two_snapshots(tmp_path: Path) -> None:
    both = {"a/proc/stat": STAT, "a/proc/vmstat": VMSTAT, "b/proc/stat": STAT, "b/proc/vmstat": VMSTAT}
    found = rows(FORMAT, written(tmp_path, archive_tar(both)))
    assert len({row["args"].split()[0] for row in found}) == 2


def test_what_is_no_dump_is_refused(tmp_path: Path) -> None:
    others = (b"", b"\x00" * 4096, b"main 12\na;b 3\n", b"1 2 3\n4 5 6\n", b"1.00 2.00\n", b"# tracer: nop\n")
    for content in (*others, archive_zip({"a.txt": "x", "b.txt": "y"}), archive_tar({"x": "y"})):
        path = written(tmp_path, content)
        assert not FORMAT.recognise(Source(path).head(), "dump")
        with pytest.raises(TraceFormatError, match="no capture of /proc"):
            capture(FORMAT, path)
    assert FORMAT.recognise(b"1 2 3\n", "26231_schedstat")


def test_a_cut_archive_gives_its_first_files(tmp_path: Path) -> None:
    whole = archive_tar(IN_PROC)
    losses: Losses = Counter()
    found = rows(FORMAT, written(tmp_path, whole[:3500]), losses)
    assert {row["name"] for row in found} >= {"/proc/uptime", "/proc/stat"}
    assert losses[proc_snapshot.DAMAGED] == 1


def test_a_zip_that_unpacks_to_more_than_memory_is_cut(tmp_path: Path) -> None:
    losses: Losses = Counter()
    bomb = archive_zip({"proc/stat": STAT, "proc/vmstat": "nr_free_pages 1\n" * (2 << 20)})
    found = rows(FORMAT, written(tmp_path, bomb), losses)
    assert {row["name"] for row in found} == {"/proc/stat"}
    assert losses == {proc_snapshot.TOO_LARGE: 1}


def test_rows_that_no_kernel_writes_are_counted(tmp_path: Path) -> None:
    losses: Losses = Counter()
    text = "cpu  1 2 x 4\ncpu0 1 2 3 4\nintr\nctxt -5\nprocesses 9\nsomething else\n"
    found = rows(FORMAT, written(tmp_path, text), losses)
    assert args(found, "/proc/stat") == ["row=cpu0 user=1 nice=2 system=3 idle=4", "row=processes value=9"]
    assert losses == {proc_files.BAD_ROW: 3, proc_sections.UNKNOWN_LINE: 1}


@pytest.mark.parametrize("shape", ["headings", "grep", "tar", "zip"])
def test_damaged_dumps_give_what_is_left_or_one_error(tmp_path: Path, shape: str) -> None:
    whole = SHAPES[shape]

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def check(data: st.DataObject) -> None:
        path = written(tmp_path, data.draw(damaged(whole if isinstance(whole, bytes) else whole.encode())))
        try:
            found = rows(FORMAT, path)
        except TraceFormatError:
            return
        assert len(found) <= 200

    check()


@pytest.mark.parametrize(
    ("name", "count", "path", "holds"),
    [
        ("procfs/stat", 16, "/proc/stat", "row=ctxt value=38014093"),
        ("procfs/interrupts", 47, "/proc/interrupts", "row=4 CPU0=0 CPU1=1443 CPU2=0 CPU3=0 text=IO-APIC 4-edge ttyS0"),
        ("procfs/softirqs", 10, "/proc/softirqs", "row=NET_RX CPU0=55919 CPU1=28694"),
        ("procfs/meminfo", 1, "/proc/meminfo", "MemTotal=15666184kB"),
        ("procfs/schedstat", 6, "/proc/schedstat", "rundelay_ns=343796328169361 timeslices=4767485306"),
        ("procfs/26231_schedstat", 1, "/proc/26231/schedstat", "run_ns=411605849 rundelay_ns=93680043 timeslices=79"),
        ("procfs/pressure_io", 2, "/proc/pressure/io", "row=full avg10=0.20 avg60=3.00 avg300=4.95 total=25"),
        ("procfs/loadavg", 1, "/proc/loadavg", "load15=0.05 running=1 threads=497 last_pid=11947"),
        ("ohosprofiler_proc_stat", 14, "/proc/stat", "row=cpu user=24875428 nice=3952448 system=11859815"),
        ("ohosprofiler_proc_vmstat", 1, "/proc/vmstat", "pgsteal_kswapd=678076"),
        ("ohosprofiler_proc_meminfo", 1, "/proc/meminfo", "Inactive(purg)=5678kB Pined(purg)=116790kB"),
    ],
)  # fmt: skip
def test_real_captures(name: str, count: int, path: str, holds: str) -> None:
    file = CAPTURES / name
    if not file.exists():
        pytest.skip(f"the capture {name} is not beside this repository")
    losses: Losses = Counter()
    found = rows(FORMAT, file, losses)
    assert len(found) == count
    assert not losses
    assert {row["name"] for row in found} == {path}
    assert any(holds in row["args"] for row in found)


LIVE = ("uptime", "stat", "vmstat", "interrupts", "softirqs", "meminfo", "zoneinfo", "buddyinfo", "loadavg",
        "pressure/cpu", "pressure/io", "pressure/memory", "pagetypeinfo", "schedstat", "self/schedstat")  # fmt: skip


def test_this_machine_is_read_without_a_loss(tmp_path: Path) -> None:
    there = [name for name in LIVE if Path("/proc", name).exists()]
    if "stat" not in there:
        pytest.skip("there is no /proc here")
    text = "".join(f"==> /proc/{name} <==\n{Path('/proc', name).read_text()}\n" for name in there)
    losses: Losses = Counter()
    found = rows(FORMAT, written(tmp_path, text), losses)
    assert set(losses) <= {proc_files.PAGESETS, proc_files.ABOVE}
    assert {row["name"] for row in found} == {f"/proc/{name.replace('self', 'PID')}" for name in there}
