# SPDX-License-Identifier: Apache-2.0
"""The names of a real kernel's functions in a perf.data of its boot, against those that perf script finds."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.kernel.conftest import tree_root
from tests.traces.test_perf_names_oracle import is_justified, ours, read, said


@pytest.mark.kernel
def test_every_frame_of_a_boot_has_the_name_perf_gives_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = tree_root() / "build-uml/linux"
    if shutil.which("perf") is None or not image.is_file():
        pytest.skip("needs perf and the built base tree: run tests/kernel/run CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    record = ["perf", "record", "-q", "-F", "4999", "-e", "cpu-clock:u", "-g", "-o", "perf.data"]
    # It ends by itself: there is no root file system.
    boot = [str(image), "mem=128M", "root=/dev/nope", "panic=-1", "con=null", "con0=fd:0,fd:1"]
    subprocess.run([*record, *boot], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    path = tmp_path / "perf.data"
    capture, table, _ = read(path)
    mine, theirs = list(ours(table)), said(path)
    assert len(mine) > 100
    assert [len(frames) for frames in mine] == [len(frames) for frames in theirs]
    pairs = [
        (own, other)
        for frames, said_ones in zip(mine, theirs, strict=True)
        for (own, _), (other, _) in zip(frames, said_ones, strict=True)
    ]
    assert not {pair for pair in pairs if pair[0] != pair[1] and not is_justified(*pair)}
    assert capture.read_definitions is not None
    found = capture.read_definitions(["start_kernel"])
    (file,) = found.file
    assert file is not None
    assert file.endswith("init/main.c")
    line = (tree_root() / "init/main.c").read_text().splitlines()[(found.line[0] or 0) - 1]
    assert "start_kernel(void)" in line
