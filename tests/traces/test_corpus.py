# SPDX-License-Identifier: Apache-2.0
"""What tests/fuzz/traces.py found worth keeping: each a result or one TraceFormatError, in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from git_hmopt.traces.formats import FORMATS
from tests.traces import corpus_reading
from tests.traces.corpus_reading import CORPUS, OTHERS

ROOT = Path(__file__).parents[2]
MOST_MIB = 512
"""More than what a process has that has read a small capture."""
MOST_BYTES = 400_000


def test_every_input_is_a_result_or_one_error_in_bounded_memory() -> None:
    command = [sys.executable, str(Path(corpus_reading.__file__)), str(MOST_MIB)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
    )
    ended = done.stdout.splitlines()
    assert done.returncode == 0, f"{ended[-1:]}\n{done.stderr}"
    assert len(ended) == 2 * len([one for one in CORPUS.glob("*/*") if one.is_file()])
    # What was found holds whole captures as well as damaged ones.
    assert {"\tread"} < set(ended[1::2])


def test_the_corpus_has_inputs_of_every_format_and_is_small() -> None:
    kept = {one.name for one in CORPUS.iterdir()}
    assert kept == {*(one.name for one in FORMATS), *OTHERS}
    assert sum(one.stat().st_size for one in CORPUS.glob("*/*")) <= MOST_BYTES
