# SPDX-License-Identifier: Apache-2.0
"""What a capture is, by its content: real ones, wrapped ones, another package's, and what nothing reads."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import textwrap
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from git_hmopt.errors import AdapterError
from git_hmopt.traces import sniff
from git_hmopt.traces.capture import Capture, Losses
from git_hmopt.traces.formats import FORMATS
from git_hmopt.traces.registry import all_formats, kinds, parse
from git_hmopt.traces.sniff import open_capture, recognise
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import Samples, SelfCounts, TraceFormatError
from tests.traces.captures import captured, stacks

FOLDED = b"main;walk;step 6\nmain;walk 3\nmain 1\n"
PERF_SCRIPT = b"prog 7/7 [001] 1.000000001: 5 cycles:u:\n\t1 step+0x1 (/bin/prog)\n\t2 main+0x1 (/bin/prog)\n\n"
CALLGRIND = b"# callgrind format\nevents: Ir\nfl=a.c\nfn=main\n3 10\ntotals: 10\n"
SVG = (
    b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><g><title>main (3 samples, 100%)</title>'
    b'<rect x="10" y="10" width="1180"/></g></svg>\n'
)
SPEEDSCOPE = json.dumps(
    {
        "$schema": "https://www.speedscope.app/file-format-schema.json", "shared": {"frames": [{"name": "main"}]},
        "profiles": [{"type": "sampled", "unit": "none", "samples": [[0]], "weights": [4]}],
    }
).encode()  # fmt: skip
D3 = json.dumps({"name": "root", "value": 5, "children": [{"name": "main", "value": 5}]}).encode()
SELF_COUNTS = b"hmopt-self-counts 1\nmain\ta.c\t3\t10\t1\n"
SYMBOLS = b"hmopt-symbols 1\nmain\ta.c\t3\n"
KNOWN = {
    "folded": FOLDED, "perf-script": PERF_SCRIPT, "callgrind": CALLGRIND, "flamegraph-svg": SVG,
    "speedscope": SPEEDSCOPE, "d3-json": D3, "self-counts": SELF_COUNTS, "symbols": SYMBOLS,
}  # fmt: skip


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "capture.bin"
    path.write_bytes(data)
    return path


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("any", data)
    return buffer.getvalue()


def marked(data: bytes) -> bytes:
    """Return data after the line that SmartPerf puts before a trace."""
    return b'MarkPositionJSON->{"a": [1, 2]}\n' + data


WRAPPERS: dict[str, Callable[[bytes], bytes]] = {
    "bare": bytes, "gzip": gzip.compress, "zlib": zlib.compress, "zip": zipped, "marked": marked,
    "marked, then gzip": lambda data: marked(gzip.compress(data)),
    "gzip, then marked": lambda data: gzip.compress(marked(data)),
}  # fmt: skip


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("name", KNOWN)
def test_content_tells_whatever_it_is_wrapped_in(tmp_path: Path, name: str, wrapper: str) -> None:
    path = written(tmp_path, WRAPPERS[wrapper](KNOWN[name]))
    form, source = recognise(path)
    assert (form.name, source, source.is_wrapped()) == (name, Source(path), wrapper != "bare")
    capture = open_capture(path)
    losses = Losses()
    if capture.read_samples:
        (table,) = capture.read_samples(losses)
        assert sum(table.weight) == {"folded": 10, "perf-script": 5, "callgrind": 10, "flamegraph-svg": 3,
                                     "speedscope": 4, "d3-json": 5}[name]  # fmt: skip
    if capture.read_lines:
        assert capture.read_lines(losses).symbol == ("main",)
    assert capture.read_samples or capture.read_lines
    assert set(losses) <= {"line without instruction addresses: executions unknown"}


REAL = {
    "inferno_example-perf-stacks-collapsed.txt": "folded",
    "inferno_example-perf-stacks.svg": "flamegraph-svg",
    "flamegraph_example-perf.svg": "flamegraph-svg",
    "flamegraph_example-perf-stacks.txt.gz": "perf-script",
    "flamegraph_perf-java-stacks-01.txt": "perf-script",
    "flamegraph_perf-rust-Yamakaky-dcpu.txt": "perf-script",
    "speedscope_system-wide.linux-perf.txt": "perf-script",
    "speedscope_callgrind.cfn-reset.log": "callgrind",
    "speedscope_callgrind.name-compression.log": "callgrind",
    "speedscope_simple.speedscope.json": "speedscope",
}


@pytest.mark.parametrize("name", REAL)
def test_real_ones(name: str) -> None:
    assert open_capture(captured(name)).format == recognise(captured(name))[0].name == REAL[name]


@pytest.mark.parametrize(
    "name", ["ohosprofiler_proc_vmstat", "ohosprofiler_proc_stat", "ohosprofiler_ftrace_test_tgid"]
)
def test_lines_of_a_name_and_a_number_are_no_stacks(name: str) -> None:
    assert not any(one.recognise(captured(name).read_bytes(), name) for one in FORMATS if one.name == "folded")


# -- what nothing reads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty file"), (b" \n \n", "a file of blanks"), (b"\x7fELF\2\1\1", r"a program or library \(ELF\)"),
        (b"\x28\xb5\x2f\xfdxx", "compressed with zstd"), (b"\x00\x01\x02\x03", "begin with the bytes 00 01 02 03"),
        (b'{"traces": []}', r"JSON that begins '\{\"traces\": \[\]\}'"),
        (b"<html><p>", "XML or HTML that begins '<html><p>'"), (b"\xef\xbb\xbf", "begin with the bytes ef bb bf"),
        (b"dear diary,\ntoday\n", "text whose first line is 'dear diary,'"), (b"x" * 5000, f"'{'x' * 60}...'"),
        (gzip.compress(b"dear diary,", mtime=0), "text whose first line is 'dear diary,'"),
    ],
)  # fmt: skip
def test_the_error_says_what_it_looks_like_and_what_was_tried(tmp_path: Path, data: bytes, words: str) -> None:
    path = written(tmp_path, data)
    for call in (recognise, open_capture):
        with pytest.raises(TraceFormatError, match=words) as caught:
            call(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert str(caught.value).endswith(f"these were tried: {', '.join(one.name for one in all_formats())}")


def test_a_mark_that_does_not_end(tmp_path: Path) -> None:
    with pytest.raises(TraceFormatError, match="the line of SmartPerf before the trace does not end"):
        recognise(written(tmp_path, b"MarkPositionJSON->" + b"x" * 100_000))


class _Doubtful:
    """A format that recognises everything and reads nothing."""

    name = "doubtful"

    def recognise(self, head: bytes, name: str) -> bool:
        return True

    def read(self, source: Source) -> Capture:
        raise TraceFormatError("no: it is doubtful")


def test_a_format_that_takes_its_word_back_leaves_it_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sniff, "all_formats", lambda: iter([_Doubtful(), *FORMATS]))
    assert open_capture(written(tmp_path, FOLDED)).format == "folded"
    with pytest.raises(TraceFormatError, match="no: it is doubtful"):
        open_capture(written(tmp_path, b"dear diary,\n"))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(begin=st.sampled_from(["", *sorted(KNOWN)]), cut=st.integers(0, 300), rest=st.binary(max_size=400))
def test_any_bytes_are_a_capture_or_one_error(tmp_path: Path, begin: str, cut: int, rest: bytes) -> None:
    data = KNOWN.get(begin, b"")[:cut] + rest
    try:
        capture = open_capture(written(tmp_path, data))
        if capture.read_samples:
            assert all(isinstance(table, Samples) for table in capture.read_samples(Losses()))
        if capture.read_lines:
            assert capture.read_lines(Losses()) is not None
    except TraceFormatError as error:
        assert str(error)


# -- other packages -------------------------------------------------------------------------------------------------

PLUGIN = """
from git_hmopt.traces import folded
from git_hmopt.traces.capture import Capture, of_tables

class Leaves:
    name = "tea-leaves"
    def recognise(self, head, name):
        return head.startswith(b"TEA")
    def read(self, source):
        return of_tables(self.name, source, samples=lambda lines: folded.parse([b"tea;leaf 7\\n"]))

class Thief(Leaves):
    name = "folded"
    def recognise(self, head, name):
        return True

LEAVES, THIEF = Leaves(), Thief()
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Install a package with a format into a directory of its own, as pip does."""
    project, site = tmp_path / "tea_package", tmp_path / "site"
    project.mkdir()
    (project / "tea_package.py").write_text(PLUGIN)
    (project / "pyproject.toml").write_text(
        textwrap.dedent("""\
        [build-system]
        requires = ["hatchling"]
        build-backend = "hatchling.build"
        [project]
        name = "tea_package"
        version = "1"
        [project.entry-points."git_hmopt.traces"]
        tea-leaves = "tea_package:LEAVES"
        folded = "tea_package:THIEF"
        [tool.hatch.build.targets.wheel]
        include = ["tea_package.py"]
        """)
    )
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation",
           "--disable-pip-version-check", "--target", str(site), str(project)]  # fmt: skip
    done = subprocess.run(pip, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return site


def test_another_packages_format_comes_after_ours(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(installed))
    path = written(tmp_path, b"TEA;x 1\n")
    # It reads like folded stacks, too, and what comes with us is asked first.
    assert recognise(path)[0].name == "folded"
    path = written(tmp_path, b"TEA\n")
    capture = open_capture(path)
    assert capture.format == "tea-leaves" and capture.read_samples
    assert stacks(capture.read_samples(Losses())[0]) == {"tea;leaf": 7}
    assert [one.name for one in all_formats()] == [*(one.name for one in FORMATS), "tea-leaves"]
    assert "tea-leaves" in kinds()
    table = parse("tea-leaves", path)
    assert isinstance(table, Samples) and stacks(table) == {"tea;leaf": 7}
    with pytest.raises(TraceFormatError, match=r"these were tried: .*tea-leaves"):
        recognise(written(tmp_path, b"coffee\n"))


def test_a_package_that_cannot_be_loaded_is_named(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (installed / "tea_package.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.delitem(sys.modules, "tea_package", raising=False)
    # Ours need none of it.
    assert recognise(written(tmp_path, FOLDED))[0].name == "folded"
    with pytest.raises(
        AdapterError, match=r"the trace format '[\w-]+' \(tea_package:\w+\) cannot be loaded: No module named 'not"
    ):
        recognise(written(tmp_path, b"TEA\n"))


def test_a_kind_names_one_of_our_formats(tmp_path: Path) -> None:
    assert {one.name for one in FORMATS} >= {kind.removesuffix("-lines") for kind in kinds()}
    table = parse("flamegraph-svg", written(tmp_path, SVG))
    assert isinstance(table, Samples) and stacks(table) == {"main": 3}
    assert isinstance(parse("self-counts", written(tmp_path, SELF_COUNTS)), SelfCounts)
    with pytest.raises(TraceFormatError, match=r"capture\.bin: this is no flame graph"):
        parse("flamegraph-svg", written(tmp_path, FOLDED))
