# SPDX-License-Identifier: Apache-2.0
"""Which captures the formats of logs, /proc and frames take for theirs, and that lying ones cost bounded time."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from git_hmopt.traces import (
    frame_timeline,
    kernel_log,
    kernel_log_lines,
    proc_snapshot,
    whole_lines,
)  # fmt: skip
from git_hmopt.traces.capture import BATCH, Format, Losses
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import TraceFormatError
from tests.traces.reading import CAPTURES, capture, damaged, events, rows

OURS: tuple[Format, ...] = (kernel_log.FORMAT, proc_snapshot.FORMAT, frame_timeline.FORMAT)
LINE = b"<6>[    1.000000] usb 1-1: x\n"


def taken(path: Path) -> list[str]:
    head = Source(path).head()
    return [form.name for form in OURS if form.recognise(head, path.name)]


def test_captures_of_other_formats_are_left_alone() -> None:
    if not CAPTURES.is_dir():
        pytest.skip("the captures are not beside this repository")
    files = [path for path in CAPTURES.rglob("*") if path.is_file()]
    found = {path.name: taken(path) for path in files}
    theirs = {name for name, formats in found.items() if formats}
    assert theirs == {path.name for path in files if path.parent.name == "procfs" or "_proc_" in path.name}
    assert all(formats == ["proc"] for formats in found.values() if formats)


@pytest.mark.parametrize("name", ["procfs/stat", "procfs/interrupts", "procfs/schedstat", "ohosprofiler_proc_vmstat"])
def test_damaged_real_captures_give_what_is_left_or_one_error(tmp_path: Path, name: str) -> None:
    file = CAPTURES / name
    if not file.exists():
        pytest.skip(f"the capture {name} is not beside this repository")
    whole = file.read_bytes()[:20_000]
    path = tmp_path / file.name

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def check(data: st.DataObject) -> None:
        path.write_bytes(data.draw(damaged(whole)))
        try:
            found = rows(proc_snapshot.FORMAT, path)
        except TraceFormatError:
            return
        assert len(found) <= 200

    check()


def test_a_zip_of_several_files_inside_gzip_is_opened(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("proc/stat", "cpu  1 2 3 4\n")
        archive.writestr("proc/vmstat", "nr_free_pages 7\n")
    path = tmp_path / "capture.zip.gz"
    path.write_bytes(gzip.compress(packed.getvalue()))
    assert taken(path) == ["proc"]
    assert [row["name"] for row in rows(proc_snapshot.FORMAT, path)] == ["/proc/stat", "/proc/vmstat"]


@pytest.mark.parametrize("content", [b"PK\x03\x04" + b"x" * 99, b"PK\x03\x04"])
def test_a_damaged_zip_is_one_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "capture.zip"
    path.write_bytes(content)
    with pytest.raises(TraceFormatError, match="a damaged zip"):
        Source(path).head()


def test_members_without_a_name_and_encrypted_ones_are_no_crash(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("n", "cpu  1 2 3 4\n")
    whole = packed.getvalue()
    path = tmp_path / "capture.zip"
    # Bit 0 of the flags, 6 bytes into the local header and 8 into the central one, says that a member is encrypted.
    central = whole.index(b"PK\x01\x02")
    path.write_bytes(whole[:6] + b"\x01" + whole[7 : central + 8] + b"\x01" + whole[central + 9 :])
    with pytest.raises(TraceFormatError, match="cannot be unpacked"):
        Source(path).head()
    # The length of the name, 28 bytes into the central header, goes to 0 and to that of the comment 4 bytes on.
    nameless = bytearray(whole)
    nameless[central + 28], nameless[central + 32] = 0, 1
    path.write_bytes(nameless)
    with pytest.raises(TraceFormatError, match="zip"):
        Source(path).head()
    # The last record says that the directory lies further on than it does: members move to before the file.
    path.write_bytes(whole[:-6] + (central + 93).to_bytes(4, "little") + whole[-2:])
    with pytest.raises(TraceFormatError, match="zip"):
        Source(path).head()


def test_lines_come_in_pieces_that_fit_memory(tmp_path: Path) -> None:
    losses: Losses = Counter()
    pieces = list(whole_lines.whole_lines(io.BytesIO(b"\n" * (2 * BATCH + 5) + b"end"), losses))
    assert [len(piece) for piece in pieces] == [BATCH, BATCH, 5, 1]
    assert losses == {whole_lines.NO_END: 1}


@pytest.mark.parametrize(
    ("form", "content", "reason"),
    [
        (kernel_log.FORMAT, LINE * 200 + b"no time\n" * 300_000, kernel_log.NO_HEAD),
        (kernel_log.FORMAT, b"6,1,5,-;x\n" * 200 + b" A=b\n" * 300_000, kernel_log.NO_HEAD),
        (kernel_log.FORMAT, b'{"dmesg": [' + b'{"pri": {' * 300_000, kernel_log_lines.CUT_JSON),
        (kernel_log.FORMAT, b'{"dmesg": [' + b'{x},' * 300_000, kernel_log_lines.GAVE_UP),
        (frame_timeline.FORMAT, b'[{"start_ns":1,"end_ns":2},' + b"{" * 1_000_000, frame_timeline.GAVE_UP),
        (frame_timeline.FORMAT, b'[{"start_ns":1,"end_ns":2},' + b'{"a":[' * 300_000, frame_timeline.GAVE_UP),
        (frame_timeline.FORMAT, b"start_ns,end_ns\n" + b"1," * (1 << 20), whole_lines.TOO_LONG),
        (proc_snapshot.FORMAT, b"cpu  1 2 3 4\n" * 66_000, proc_snapshot.TOO_OFTEN),
        (proc_snapshot.FORMAT, b"cpu  1 2 3 4\n" * 9_000 + (b"y" * 999 + b"\n") * 17_500, proc_snapshot.TOO_LARGE),
    ],
    ids=["garbage", "dictionary", "nested", "damaged", "braces", "lists", "long", "often", "large"],
)  # fmt: skip
def test_lying_captures_end_and_say_what_they_lost(tmp_path: Path, form: Format, content: bytes, reason: str) -> None:
    path = tmp_path / "capture"
    path.write_bytes(content)
    losses: Losses = Counter()
    assert len(events(form, path, losses)) <= 1 << 17
    assert losses[reason]


def test_samples_are_read_as_often_as_they_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(LINE * 3 + b"<4>[    2.000000] Call Trace:\n<4>[    2.000001]  f+0x1/0x2\n")
    found = capture(kernel_log.FORMAT, path)
    assert found.read_samples is not None and found.read_events is not None
    losses: Losses = Counter()
    for _ in range(2):
        assert sum(len(batch) for batch in found.read_events(losses)) == 5
        (table,) = found.read_samples(losses)
        assert table.weight == (1,)
    assert not losses


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (kernel_log.FORMAT, "6,1,5,-;a\n" * 4 + "6,٣,5,-;b\n6,2,٣,-;c\n"),
        (kernel_log.FORMAT, "<6>[    1.000000] a\n" * 4 + "<٣>[    1.000000] b\n[    ٣.٣٣٣٣٣٣] c\n"),
        (kernel_log.FORMAT, "04-19 17:02:14.735  1  2 I A03200/t: a\n04-19 17:02:14.735  ٣  2 I A03200/t: b\n"),
        (
            kernel_log.FORMAT,
            '{"dmesg": [{"pri": "²", "time": 1.5, "msg": "a"}, {"pri": 6, "time": "٣.٣", "msg": "b"}]}',
        ),
        (frame_timeline.FORMAT, "name,start_ns,end_ns,pid\na,1,2,٣\nb,٣,9,1\n"),
        (proc_snapshot.FORMAT, "cpu  1 2 3 4\ncpu0 ٣ 2 3 4\nctxt ٣\n"),
    ],
    ids=["kmsg", "dmesg", "hilog", "json", "frames", "proc"],
)
def test_digits_of_other_scripts_are_no_numbers(tmp_path: Path, form: Format, text: str) -> None:
    path = tmp_path / "capture"
    path.write_text(text)
    found = rows(form, path)
    assert found
    assert "٣" not in "".join(str((row["ts_ns"], row["pid"], row["cpu"])) for row in found)
