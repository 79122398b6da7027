# SPDX-License-Identifier: Apache-2.0
"""systrace's HTML of both generations, whatever piece of the page ends in the middle of a tag."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_hmopt.traces import systrace_html
from git_hmopt.traces.capture import Losses
from git_hmopt.traces.ftrace_text import FORMAT as FTRACE
from git_hmopt.traces.ftrace_text import parse_block
from git_hmopt.traces.source import Source
from git_hmopt.traces.systrace_html import FORMAT, script_texts
from git_hmopt.traces.tables import TraceFormatError

LINES = [f" adbd-{n} (    5) [00{n % 4}] .... {n}.000001: cpu_idle: state=0 cpu_id={n % 4}" for n in range(1, 60)]
TEXT = "\n".join(LINES) + "\n"
HEAD = "<!DOCTYPE html>\n<html>\n<head><title>Android System Trace</title><script>var a = 1;</script>"
NEW = f'{HEAD}<script class="trace-data" type="application/text">\n{TEXT}</script></body></html>'
TWICE = NEW.replace("</body>", f'<script class="trace-data" type="application/text">\n{TEXT}</script></body>')
OLD = (
    HEAD + '<script>\n  var linuxPerfData = "\\\n' + "".join(f"{line}\\n\\\n" for line in LINES)
    + ' a-1 [000] 99.000001: tracing_mark_write: B|1|say \\"hi\\"\\n\\\n";\n</script></html>'
)  # fmt: skip


def events(tmp_path: Path, page: str) -> tuple[pl.DataFrame, Losses]:
    path = tmp_path / "t.html"
    path.write_text(page)
    capture, losses = FORMAT.read(Source(path)), Losses()
    assert capture.read_events is not None
    return pl.concat(list(capture.read_events(losses))), losses


def test_the_newer_script_holds_plain_text(tmp_path: Path) -> None:
    frame, losses = events(tmp_path, NEW)
    assert not losses
    assert frame.equals(parse_block(TEXT.encode())[0])


def test_several_scripts_are_read_one_after_another(tmp_path: Path) -> None:
    assert len(events(tmp_path, TWICE)[0]) == 2 * len(LINES)


def test_the_older_script_holds_a_string(tmp_path: Path) -> None:
    frame, losses = events(tmp_path, OLD)
    assert not losses
    assert frame[:-1].equals(parse_block(TEXT.encode())[0])
    assert frame["name"][-1] == 'say "hi"'


@pytest.mark.parametrize("piece", [7, 61, 1000])
@pytest.mark.parametrize("page", [NEW, TWICE, OLD])
def test_tags_that_are_cut_in_two_are_found(monkeypatch: pytest.MonkeyPatch, page: str, piece: int) -> None:
    whole = b"".join(script_texts(io.BytesIO(page.encode())))
    monkeypatch.setattr(systrace_html, "_PIECE", piece)
    assert b"".join(script_texts(io.BytesIO(page.encode()))) == whole


def test_recognised_by_what_the_page_speaks_of() -> None:
    assert FORMAT.recognise(NEW.encode(), "t.html")
    assert FORMAT.recognise(OLD.encode(), "t.html")
    assert not FORMAT.recognise(b'<!DOCTYPE html><script id="record_data" type="application/json">', "t.html")
    assert not FTRACE.recognise(NEW.encode(), "t.html")


def test_a_page_without_a_trace_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "t.html"
    path.write_text(HEAD)
    with pytest.raises(TraceFormatError, match="no script with a trace"):
        FORMAT.read(Source(path))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([NEW, OLD]), st.integers(0, len(OLD)), st.integers(0, len(NEW) - 1), st.binary(max_size=4))
def test_broken_anywhere_it_is_a_result_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, page: str, cut: int, at: int, with_: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "broken.html"
    path.write_bytes((page[:at].encode() + with_ + page[at + 1 :].encode())[:cut])
    try:
        capture = FORMAT.read(Source(path))
    except TraceFormatError:
        return
    assert capture.read_events is not None
    assert sum(len(frame) for frame in capture.read_events(Losses())) <= len(LINES) + 1
