# SPDX-License-Identifier: Apache-2.0
"""Every decoration that util-linux's dmesg knows, of the same records: the same events, and dmesg's own fields."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from git_hmopt.traces.kernel_log import FORMAT
from tests.traces.reading import rows

LINES = (
    "<5>[    0.000000] Linux version 6.6.0 (a@b)",
    "<4>[   12.345678] usb 1-1: new high-speed device",
    "<30>[   13.500000] systemd[1]: Started foo.",
    "<3>[   14.100000] Out of memory: Killed process 123 (comm x) total-vm:1kB",
    "<6>[   15.000000][  T123] caller: a \"quoted\" text with {braces} and \\ back",
    "<2>[123456.999999] CPU2: Core temperature above threshold",
)  # fmt: skip


@pytest.fixture
def program() -> str:
    found = shutil.which("dmesg")
    if found is None or "util-linux" not in subprocess.run([found, "-V"], capture_output=True, text=True).stdout:
        pytest.skip("needs dmesg of util-linux, which is not installed")
    return found


def decorated(program: str, *options: str, log: Path | None = None) -> bytes:
    command = [program, *options, *(["-F", str(log)] if log else [])]
    done = subprocess.run(command, capture_output=True, timeout=30, env={**os.environ, "TZ": "UTC", "LC_ALL": "C"})
    if done.returncode != 0:
        pytest.skip(f"dmesg cannot do this here: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def events(folder: Path, text: bytes) -> list[dict[str, Any]]:
    path = folder / "decorated"
    path.write_bytes(text)
    return rows(FORMAT, path)


def test_a_log_file_in_every_decoration(tmp_path: Path, program: str) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"{line}\n" for line in LINES))
    expected = events(tmp_path, log.read_bytes())
    for options in (["--raw"], ["-x"], ["-x", "-d"]):
        assert events(tmp_path, decorated(program, *options, log=log)) == expected, options
    calendar = events(tmp_path, decorated(program, "-x", "-T", log=log))
    iso = events(tmp_path, decorated(program, "-x", "--time-format", "iso", log=log))
    untimed = events(tmp_path, decorated(program, "-x", "-t", log=log))
    for other in (calendar, iso, untimed):
        assert [{**row, "ts_ns": 0} for row in other] == [{**row, "ts_ns": 0} for row in expected]
    # Both clocks count from the same start of this machine, which is whatever it is; one has whole seconds.
    boot = iso[0]["ts_ns"]
    assert [row["ts_ns"] - boot for row in iso] == [row["ts_ns"] for row in expected]
    assert all(abs(row["ts_ns"] - boot - same["ts_ns"]) <= 10**9 for row, same in zip(calendar, expected, strict=True))
    plain = events(tmp_path, decorated(program, log=log))
    assert [row["ts_ns"] for row in plain] == [row["ts_ns"] for row in expected]
    assert not any("level=" in row["args"] for row in plain)


@pytest.mark.parametrize("line", LINES)
def test_one_record_as_json(tmp_path: Path, program: str, line: str) -> None:
    # With -F, dmesg 2.38 writes everything that follows in the file into each message: one line a file.
    log = tmp_path / "log"
    log.write_text(line)
    (expected,) = events(tmp_path, log.read_bytes())
    text = decorated(program, "-x", "--json", log=log)
    assert events(tmp_path, text) == [expected]
    (said,) = json.loads(text)["dmesg"]
    assert f"level={said['pri']} facility={said['fac']} " in expected["args"]


def test_the_log_of_this_machine_in_every_decoration(tmp_path: Path, program: str) -> None:
    expected = events(tmp_path, decorated(program, "-x", "--json"))
    if not expected:
        pytest.skip("the kernel's log is empty here")
    for options in (["-x"], ["--raw"], ["-x", "-d"]):
        found = events(tmp_path, decorated(program, *options))
        if found[0] != expected[0]:
            pytest.skip("the kernel's ring buffer turned over between two calls of dmesg")
        # Records may be added meanwhile.
        assert found[: len(expected)] == expected, options
