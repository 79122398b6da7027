# SPDX-License-Identifier: Apache-2.0
"""One log in every decoration gives the same events; what damaged logs, unknown clocks and vendors do to it."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from git_hmopt.traces import kernel_log, kernel_log_lines, whole_lines
from git_hmopt.traces.capture import Losses
from git_hmopt.traces.kernel_log import FORMAT
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import TraceFormatError
from tests.traces.reading import capture, damaged, rows

RAW = """\
<5>[    0.000000] Linux version 6.6.0 (a@b)
<4>[   12.345678] usb 1-1: new high-speed device
<30>[   13.500000] systemd[1]: Started foo.
<3>[   14.100000][ T4711] Out of memory: Killed process 123 (comm x) total-vm:1kB
<6>[  815.000001][    C3] sched: RT throttling activated
"""
DECODED = """\
kern  :notice: [    0.000000] Linux version 6.6.0 (a@b)
kern  :warn  : [   12.345678] usb 1-1: new high-speed device
daemon:info  : [   13.500000] systemd[1]: Started foo.
kern  :err   : [   14.100000] [ T4711] Out of memory: Killed process 123 (comm x) total-vm:1kB
kern  :info  : [  815.000001] [    C3] sched: RT throttling activated
"""
KMSG = """\
5,1,0,-;Linux version 6.6.0 (a@b)
4,2,12345678,-;usb 1-1: new high-speed device
30,3,13500000,-;systemd[1]: Started foo.
3,4,14100000,-,caller=T4711;Out of memory: Killed process 123 (comm x) total-vm:1kB
6,5,815000001,c,caller=C3;sched: RT throttling activated
"""
JSON = """\
{
   "dmesg": [
      {
         "fac": "kern",
         "pri": "notice",
         "time":     0.000000,
         "msg": "Linux version 6.6.0 (a@b)"
      },{
         "fac": "kern",
         "pri": "warn",
         "time":    12.345678,
         "msg": "usb 1-1: new high-speed device"
      },{
         "fac": "daemon",
         "pri": "info",
         "time":    13.500000,
         "msg": "systemd[1]: Started foo."
      },{
         "fac": "kern",
         "pri": "err",
         "time":    14.100000,
         "msg": "[ T4711] Out of memory: Killed process 123 (comm x) total-vm:1kB"
      },{
         "fac": "kern",
         "pri": "info",
         "time":   815.000001,
         "msg": "[    C3] sched: RT throttling activated"
      }
   ]
}
"""
HILOG = """\
--------- beginning of kmsg
01-01 00:00:03.909     0     0 I fffff/kmsg: Booting Linux on physical CPU 0x0
04-19 17:02:14.735  5394  5395 I A03200/testTag: a: b
04-19 17:02:14.735  5394  5395 E C02D11/test_server/testTag: Out of memory: Killed process 1
04-19 17:02:14.736     0     0 E fffff/kmsg: Out of memory: Killed process 1 (x)
"""


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "log"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("text", [DECODED, KMSG, JSON], ids=["-x", "kmsg", "json"])
def test_the_same_log_is_the_same_events_in_every_decoration(tmp_path: Path, text: str) -> None:
    expected = rows(FORMAT, written(tmp_path, RAW))
    losses: Losses = Counter()
    assert rows(FORMAT, written(tmp_path, text), losses) == expected
    assert not losses
    assert [row["ts_ns"] for row in expected] == [0, 12_345_678_000, 13_500_000_000, 14_100_000_000, 815_000_001_000]
    assert [row["name"] for row in expected] == ["message", "usb", "systemd", "oom-kill", "rt-throttled"]
    assert [(row["tid"], row["cpu"]) for row in expected] == [(None, None)] * 3 + [(4711, None), (None, 3)]
    assert expected[2]["args"] == "level=info facility=daemon text=systemd[1]: Started foo."
    assert {row["category"] for row in expected} == {"log"}


def test_plain_lines_have_no_level(tmp_path: Path) -> None:
    (row,) = rows(FORMAT, written(tmp_path, "[   12.345678] usb 1-1: hello\n"))
    assert row["args"] == "text=usb 1-1: hello"


def test_calendar_clocks_become_epoch_time(tmp_path: Path) -> None:
    ctime = written(tmp_path, "[Thu Jan  1 00:01:02 1970] a\n[Sun Nov 29 22:32:46 2026] b\n")
    assert [row["ts_ns"] for row in rows(FORMAT, ctime)] == [62_000_000_000, 1_795_991_566_000_000_000]
    assert capture(FORMAT, ctime).facts["clock"] == "wall, zone unknown"
    iso = written(tmp_path, "2026-11-29T23:32:58,345678+01:00 usb 1-1: x\n")
    assert [row["ts_ns"] for row in rows(FORMAT, iso)] == [1_795_991_578_345_678_000]
    assert capture(FORMAT, iso).facts["clock"] == "epoch"


def test_relative_clocks_are_no_time(tmp_path: Path) -> None:
    found = rows(FORMAT, written(tmp_path, "[Nov29 22:32] a\n[  +0.654323] b\nkern  :info  : c\n"))
    assert [(row["ts_ns"], row["args"]) for row in found] == [
        (None, "text=a"), (None, "text=b"), (None, "level=info facility=kern text=c")
    ]  # fmt: skip
    (delta,) = rows(FORMAT, written(tmp_path, "[   13.000001 <    0.654323>] d\n"))
    assert (delta["ts_ns"], delta["args"]) == (13_000_001_000, "text=d")


@pytest.mark.parametrize(
    "line",
    [
        "[   12.345678][pid:7,cpu2,init]x: y\n",
        "[   12.345678] [2023:01:02 03:04:05][pid:7,cpu2,init,3]x: y\n",
        "<6>[   12.345678] (2)[7:init]x: y\n",
    ],
)
def test_vendor_prefixes_say_who_spoke(tmp_path: Path, line: str) -> None:
    (row,) = rows(FORMAT, written(tmp_path, line))
    assert (row["tid"], row["cpu"], row["name"]) == (7, 2, "x")
    assert row["args"].endswith("comm=init text=x: y")


def test_kmsg_dictionaries_and_escapes(tmp_path: Path) -> None:
    losses: Losses = Counter()
    text = "6,1,5,-;usb 1-1: caf\\xc3\\xa9\\x0aline\n SUBSYSTEM=usb\n DEVICE=c189:0\n6,9,6,-;next\n stray\n"
    first, second = rows(FORMAT, written(tmp_path, text), losses)
    assert first["args"] == "level=info facility=kern SUBSYSTEM=usb DEVICE=c189:0 text=usb 1-1: café\nline"
    assert second["args"] == "level=info facility=kern text=next"
    assert losses == {kernel_log.LOST_RECORDS: 7, kernel_log.NO_HEAD: 1}


def test_more_lines_of_a_record_lose_the_indent_of_its_prefix(tmp_path: Path) -> None:
    text = "[    1.000000] x86: one\n                 two\n               three\n[    2.000000] four\n"
    first, second = rows(FORMAT, written(tmp_path, text))
    assert first["args"] == "text=x86: one\n  two\nthree"
    assert second["args"] == "text=four"


def test_hilog_lines_of_the_kernel_are_read_as_the_kernels(tmp_path: Path) -> None:
    losses: Losses = Counter()
    path = written(tmp_path, HILOG)
    found = rows(FORMAT, path, losses)
    assert [row["name"] for row in found] == ["message", "testTag", "test_server/testTag", "oom-kill"]
    assert (found[1]["pid"], found[1]["tid"]) == (5394, 5395)
    assert found[1]["args"] == "level=info domain=A03200 text=a: b"
    assert found[3]["args"].startswith("level=err facility=kern domain=fffff text=Out of memory")
    day = 86_400_000_000_000
    assert found[0]["ts_ns"] == 3_909_000_000
    # 19 April of a year that has all its days.
    assert found[1]["ts_ns"] == (31 + 29 + 31 + 18) * day + 61_334_735_000_000
    assert losses == {kernel_log.NO_HEAD: 1}
    assert capture(FORMAT, path).facts["clock"] == "wall since 1 January, year and zone unknown"


@pytest.mark.parametrize(
    ("stamp", "ts_ns", "clock"),
    [
        ("1618853534.735", 1_618_853_534_735_000_000, "epoch"),
        ("   534.735123", 534_735_123_000, "monotonic"),
        ("2021-04-19 17:32:14.735", 1_618_853_534_735_000_000, "wall, zone unknown"),
        ("2021-04-19 17:32:14.735 +0000", 1_618_853_534_735_000_000, "wall, zone unknown"),
    ],
)
def test_clocks_of_hilog(tmp_path: Path, stamp: str, ts_ns: int, clock: str) -> None:
    path = written(tmp_path, f"{stamp}  5394  5394 I A03200/tag: text\n")
    assert [row["ts_ns"] for row in rows(FORMAT, path)] == [ts_ns]
    assert capture(FORMAT, path).facts["clock"] == clock


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("oom-kill", "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null)"),
        ("oom-kill", "lowmemorykiller: Killing 'x' (12), adj 900"),
        ("page-allocation-failure", "kworker/0:1: page allocation failure: order:4, mode:0xcc0"),
        ("soft-lockup", "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [x:1]"),
        ("rcu-stall", "rcu: INFO: rcu_sched self-detected stall on CPU"),
        ("hung-task", "INFO: task x:1 blocked for more than 120 seconds."),
        ("call-trace", "Call trace:"),
        ("rt-throttled", "sched: RT throttling activated"),
        ("irq-nobody-cared", "irq 17: nobody cared (try booting with the \"irqpoll\" option)"),
        ("thermal", "CPU2: Core temperature above threshold, cpu clock throttled"),
        ("thermal", "thermal thermal_zone0: critical temperature reached"),
        ("EXT4-fs", "EXT4-fs (sda1): mounted filesystem"),
        ("message", "Booting Linux"),
    ],
)  # fmt: skip
def test_symptoms_have_names(tmp_path: Path, name: str, text: str) -> None:
    assert [row["name"] for row in rows(FORMAT, written(tmp_path, f"[    1.000000] {text}\n"))] == [name]


TRACE = """\
<4>[   20.000000][  T100] CPU: 1 UID: 0 PID: 100 Comm: dd Not tainted 6.6.0 #1
<4>[   20.000001][  T100] Call Trace:
<4>[   20.000001][    C0] eth0: link up
<4>[   20.000002][  T100]  <TASK>
<4>[   20.000003][  T100]  dump_stack_lvl+0x34/0x48
<4>[   20.000004][  T100]  ? guessed+0x1/0x2
<4>[   20.000005][  T100] RIP: 0010:slow+0x3/0x9 [ext4]
<4>[   20.000006][  T100]  slow+0x3/0x9 [ext4]
<4>[   20.000007][  T100]  entry_SYSCALL_64_after_hwframe+0x63/0xcd
<4>[   20.000008][  T100]  </TASK>
<4>[   20.000009][  T100] done
<4>[   20.000010][  T100]  late+0x1/0x2
<4>[   21.000000][    C2] Call trace:
<4>[   21.000001][    C2]  show_stack+0x18/0x24 (C)
<4>[   21.000002][    C2]  [<ffffffff81000000>] old+0x1/0x2
<4>[   21.000003][    C2] Code: 1234
<4>[   22.000000][    C2] Call trace:
"""


def test_call_traces_are_samples(tmp_path: Path) -> None:
    read = capture(FORMAT, written(tmp_path, TRACE)).read_samples
    assert read is not None
    losses: Losses = Counter()
    (table,) = read(losses)
    stacks = [tuple(table.frames[index].symbol for index in table.stacks[row]) for row in table.stack]
    assert stacks == [("entry_SYSCALL_64_after_hwframe", "slow", "dump_stack_lvl"), ("old", "show_stack")]
    assert [frame.object for frame in table.frames if frame.symbol == "slow"] == ["ext4"]
    assert (table.ts_ns, table.tid, table.cpu) == ((20_000_001_000, 21_000_000_000), (100, None), (1, 2))
    assert set(losses) == {"frame of a call trace that the unwinder marks '?'", "call trace without a frame"}


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    for text in (b"", b"\x00\x01\x02" * 500, b"a;b;c 12\n", b"# tracer: nop\n", b'{"a": 1}', b"PERFILE2"):
        assert not FORMAT.recognise(text, "x")
        with pytest.raises(TraceFormatError, match="no kernel log"):
            capture(FORMAT, written(tmp_path, text))


def test_a_line_without_an_end_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(RAW.encode() + b"x" * (40 << 20) + b"\n" + RAW.encode()))
    losses: Losses = Counter()
    assert len(rows(FORMAT, path, losses)) == 10
    assert losses == {whole_lines.TOO_LONG: 1}


def test_records_are_whole_across_the_pieces_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "6,1,5,-;one\n SUBSYSTEM=usb\n6,2,6,-;two\n DEVICE=x\n6,5,7,-;three"
    whole = rows(FORMAT, written(tmp_path, text))
    for size in range(1, 40):
        monkeypatch.setattr(whole_lines, "PIECE", size)
        losses: Losses = Counter()
        assert rows(FORMAT, written(tmp_path, text), losses) == whole
        assert losses == {kernel_log.LOST_RECORDS: 2, whole_lines.NO_END: 1}


def test_times_beyond_64_bits_are_counted(tmp_path: Path) -> None:
    losses: Losses = Counter()
    text = "[    1.000000] a\n[9999999999.000000] b\n[Thu Feb 31 00:01:02 1970] c\n"
    assert len(rows(FORMAT, written(tmp_path, text), losses)) == 1
    assert losses == {kernel_log_lines.BAD_TIME: 2}


@pytest.mark.parametrize("text", [RAW + TRACE, DECODED, KMSG, JSON, HILOG], ids=["raw", "-x", "kmsg", "json", "hilog"])
def test_damaged_logs_give_what_is_left_or_one_error(tmp_path: Path, text: str) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def check(data: st.DataObject) -> None:
        path = written(tmp_path, data.draw(damaged(text.encode())))
        try:
            found = rows(FORMAT, path, losses := Counter[str]())
            read = capture(FORMAT, path).read_samples
        except TraceFormatError:
            return
        assert read is not None
        assert sum(map(len, read(losses))) <= len(found) <= path.stat().st_size

    check()


def test_a_head_is_recognised_whatever_the_file_is_called(tmp_path: Path) -> None:
    for text in (RAW, DECODED, KMSG, JSON, HILOG, TRACE):
        assert FORMAT.recognise(Source(written(tmp_path, text)).head(), "unnamed.bin")
