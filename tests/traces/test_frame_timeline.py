# SPDX-License-Identifier: Apache-2.0
"""Tables of frames as SmartPerf, Android and anybody else writes them; units, joins, damaged tables."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from git_hmopt.traces import frame_rows, frame_timeline, whole_lines
from git_hmopt.traces.capture import Losses
from git_hmopt.traces.frame_columns import FrameColumns
from git_hmopt.traces.frame_timeline import FORMAT, FrameTimeline
from git_hmopt.traces.tables import TraceFormatError
from tests.traces.reading import capture, damaged, rows

SMARTPERF = """\
id,ts,vsync,ipid,itid,callstack_id,dur,src,dst,type,type_desc,flag,depth,frame_no
0,1000,41,2,7,5,900,0,1,0,actural slice,0,0,1
1,1000,41,2,7,5,1000,0,,1,expect slice,255,0,1
2,2000,42,2,7,6,1500,0,2,0,actural slice,1,0,2
3,2000,42,2,7,6,1000,0,,1,expect slice,255,0,2
4,3100,43,2,7,6,200,0,,0,actural slice,2,0,3
5,4000,44,2,7,6,1000,0,,1,expect slice,255,0,4
6,1,44,2,7,6,1000,0,,5,other,255,0,4
"""
FRAMESTATS = """\
Applications Graphics Acceleration Info:
Uptime: 110250 Realtime: 110250

** Graphics info for pid 1234 [com.example] **

Window: com.example/Main
Stats since: 69250ns
Total frames rendered: 2
---PROFILEDATA---
Flags,FrameTimelineVsyncId,IntendedVsync,Vsync,InputEventId,HandleInputStart,AnimationStart,PerformTraversalsStart,\
DrawStart,FrameDeadline,FrameStartTime,FrameInterval,SyncQueued,SyncStart,IssueDrawCommandsStart,SwapBuffers,\
FrameCompleted,DequeueBufferDuration,QueueBufferDuration,GpuCompleted,SwapBuffersCompleted,DisplayPresentTime,
0,70,1000,1000,0,1,2,3,4,17000,6,16666666,8,9,10,11,9000,1,2,3,4,5,
0,71,17000,17000,0,1,2,3,4,33000,6,16666666,8,9,10,11,50000,1,2,3,4,5,
1,72,34000,34000,0,1,2,3,4,49000,6,16666666,8,9,10,11,60000,1,2,3,4,5,
---PROFILEDATA---

Window: com.example/Other
---PROFILEDATA---
Flags,IntendedVsync,Vsync,OldestInputEvent,NewestInputEvent,HandleInputStart,AnimationStart,PerformTraversalsStart,\
DrawStart,SyncQueued,SyncStart,IssueDrawCommandsStart,SwapBuffers,FrameCompleted,
0,5000,5000,9223372036854775807,0,1,2,3,4,5,6,7,8,7000,
---PROFILEDATA---
"""
PLAIN = "name,pid,tid,start_ns,end_ns,expected_start_ns,expected_end_ns,flag\nmain,1,2,10,30,10,25,\nrs,1,3,5,6,,,0\n"


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "frames.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def brief(form: FrameTimeline, path: Path, losses: Losses | None = None) -> list[tuple[object, ...]]:
    found = rows(form, path, losses)
    assert {row["category"] for row in found} <= {"frame"}
    return [(row["name"], row["ts_ns"], row["dur_ns"], row["args"]) for row in found]


def test_smartperf_rows_are_joined_with_what_was_expected(tmp_path: Path) -> None:
    losses: Losses = Counter()
    path = written(tmp_path, SMARTPERF)
    assert brief(FORMAT, path, losses) == [
        ("itid 7", 1000, 900, "expected_start=1000 expected_end=2000 flag=0"),
        ("itid 7", 2000, 1500, "expected_start=2000 expected_end=3000 flag=1"),
        ("itid 7", 3100, 200, "flag=2"),
    ]
    assert losses == {frame_rows.OTHER_KIND: 1, frame_rows.NO_ACTUAL: 1}
    assert capture(FORMAT, path).facts == {"mapping": "smartperf", "clock": "boot"}


def test_framestats_of_two_generations_name_their_window(tmp_path: Path) -> None:
    losses: Losses = Counter()
    assert brief(FORMAT, written(tmp_path, FRAMESTATS), losses) == [
        ("com.example/Main", 1000, 8000, "expected_start=1000 expected_end=17000 flag=0"),
        ("com.example/Main", 17000, 33000, "expected_start=17000 expected_end=33000 flag=1"),
        ("com.example/Main", 34000, 26000, "expected_start=34000 expected_end=49000 flag=2"),
        ("com.example/Other", 5000, 2000, "expected_start=5000"),
    ]
    assert losses == {frame_timeline.NO_ROW: 4}


@pytest.mark.parametrize("change", [str, lambda text: text.replace(",", ";"), lambda text: text.replace(",", "\t"),
                                    lambda text: "\ufeff" + text.replace("\n", "\r\n")])  # fmt: skip
def test_plain_tables_in_every_separator(tmp_path: Path, change: object) -> None:
    assert callable(change)
    losses: Losses = Counter()
    found = rows(FORMAT, written(tmp_path, change(PLAIN)), losses)
    assert [(row["name"], row["pid"], row["tid"], row["args"]) for row in found] == [
        ("main", 1, 2, "expected_start=10 expected_end=25 flag=1"), ("rs", 1, 3, "flag=0")
    ]  # fmt: skip
    assert not losses


FRAMES = [
    {"name": "a{b", "start_ns": 9007199254740993, "end_ns": 9007199254740995, "expected_end_ns": None},
    {"name": "b", "start_ns": "5", "end_ns": 6.0, "flag": 1, "more": {"x": [1, {"y": 2}]}},
]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(FRAMES),
        json.dumps({"meta": {"device": "x"}, "frames": FRAMES}),
        "".join(json.dumps(frame) + "\n" for frame in FRAMES),
    ],
    ids=["array", "inside", "lines"],
)
def test_json_keeps_every_digit(tmp_path: Path, text: str) -> None:
    losses: Losses = Counter()
    assert brief(FORMAT, written(tmp_path, text), losses) == [("a{b", 9007199254740993, 2, ""), ("b", 5, 1, "flag=1")]
    assert not losses


def test_json_that_was_cut_gives_its_whole_frames(tmp_path: Path) -> None:
    losses: Losses = Counter()
    text = json.dumps({"frames": FRAMES})
    assert len(brief(FORMAT, written(tmp_path, text[: text.index('"more"')]), losses)) == 1
    assert losses[frame_timeline.BAD_OBJECT] == 2


def test_columns_and_their_units_are_configuration(tmp_path: Path) -> None:
    mapping = FrameColumns(
        kind_of_table="mine", start="begin", duration="took", expected_end="due", label=("surface", "thread"),
        flag="verdict", flag_values={"ok": 0, "late": 1}, flag_other=2, unit="ms", units={"begin": "s", "due": "us"},
    )  # fmt: skip
    text = "begin,took,due,verdict,thread\n1.0000000019,16.67,1016000.5,late,ui\n2,1,,ok,ui\n3,1,3000999.999,odd,ui\n"
    form = FrameTimeline([mapping])
    assert brief(form, written(tmp_path, text)) == [
        ("ui", 1_000_000_001, 16_670_000, "expected_end=1016000500 flag=1"),
        ("ui", 2_000_000_000, 1_000_000, "flag=0"),
        ("ui", 3_000_000_000, 1_000_000, "expected_end=3000999999 flag=2"),
    ]
    with pytest.raises(TraceFormatError, match=r"no table of frames.*mine: begin, took"):
        capture(form, written(tmp_path, PLAIN))


@pytest.mark.parametrize("fields", [{}, {"end": "e", "duration": "d"}, {"end": "e", "row_kind": "k"}, {"typo": "x"}])
def test_a_mapping_that_cannot_be_read_by_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        FrameColumns.model_validate({"kind_of_table": "x", "start": "s", **fields})


def test_rows_that_are_no_frames_are_counted(tmp_path: Path) -> None:
    losses: Losses = Counter()
    text = (
        'name,start_ns,end_ns\na,1,2\nb,,3\nc,9,4\nd,1e9,3\nshort\n"e,1,2\n"f",1,2\ng,99999999999999999999,1\nh,-1,3\n'
    )
    assert [row[0] for row in brief(FORMAT, written(tmp_path, text), losses)] == ["a", "f"]
    assert losses == {
        frame_rows.NO_TIME: 4, frame_rows.BACKWARDS: 1, frame_timeline.NO_ROW: 1, frame_timeline.BAD_CELLS: 1
    }  # fmt: skip


def test_what_is_no_table_of_frames_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"\x00" * 100, b"a,b\n1,2\n", b"[]", b'{"start_ns": 1}', b"text\n" + PLAIN.encode()):
        assert not FORMAT.recognise(content, "x")
        with pytest.raises(TraceFormatError, match="no table of frames"):
            capture(FORMAT, written(tmp_path, content))


def test_a_table_in_pieces_is_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in (FRAMESTATS, SMARTPERF, PLAIN):
        whole = brief(FORMAT, written(tmp_path, text))
        with monkeypatch.context() as patch:
            patch.setattr(whole_lines, "PIECE", 30)
            assert brief(FORMAT, written(tmp_path, text)) == whole


@pytest.mark.parametrize("text", [SMARTPERF, FRAMESTATS, PLAIN, json.dumps(FRAMES)], ids=["sp", "stats", "csv", "json"])
def test_damaged_tables_give_what_is_left_or_one_error(tmp_path: Path, text: str) -> None:
    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def check(data: st.DataObject) -> None:
        path = written(tmp_path, data.draw(damaged(text.encode())))
        try:
            found = rows(FORMAT, path)
        except TraceFormatError:
            return
        assert len(found) <= 10
        assert all(row["dur_ns"] >= 0 for row in found)

    check()
