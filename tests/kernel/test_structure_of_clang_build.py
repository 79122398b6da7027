# SPDX-License-Identifier: Apache-2.0
"""The structure graph of an x86_64 defconfig that clang compiles, as far as lib/ and kernel/sched/.

Takes ten minutes of compiling, so it runs when HMOPT_TEST_ALL=1 asks for it.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from git_hmopt.psg.build import update_graph
from git_hmopt.psg.compile_database import kbuild_database
from git_hmopt.psg.queries import Structure
from git_hmopt.store.graph import GraphFile
from git_hmopt.store.shards import opened_shards
from tests.kernel.conftest import Kernel
from tests.psg.plain_walk import as_plain, plain_edges
from tests.psg.structure_tree import unit_edges

pytestmark = [pytest.mark.kernel, pytest.mark.slow]


def test_a_clang_build_parses_without_errors_and_with_the_plain_walks_edges(kernel: Kernel, tmp_path: Path) -> None:
    clang = next((name for name in ("clang-19", "clang") if shutil.which(name)), None)
    if clang is None:
        pytest.skip("no clang here: apt-get install clang")
    build = tmp_path / "build"
    make = ["make", "-s", f"CC={clang}", f"O={build}", "-j2"]
    for target in (["x86_64_defconfig"], ["prepare"], ["lib/", "kernel/sched/"]):
        subprocess.run([*make, *target], cwd=kernel.root, check=True)
    database = kbuild_database(build, root=kernel.root)
    graph = GraphFile(tmp_path / "graph.sqlite")
    with opened_shards(tmp_path / "shards.sqlite") as shards:
        done = update_graph(database, root=kernel.root, graph=graph, shards=shards, workers=2)
    print(
        f"{done.units} units, {done.parse_cpu_s:.1f} CPU-s, {done.without_precompiled} without the precompiled header"
    )
    assert done.units > 150
    assert (done.failed, done.with_errors) == ({}, {})
    with graph.reading() as tables:
        assert tables is not None
        structure = Structure(tables)
        assert structure.callers("lib/sort.c:do_swap") == ["sort_r"]
        # With SMP what the UML build leaves out is compiled.
        [cpu] = structure.places("set_task_cpu")
        assert (cpu.file, cpu.approximate) == ("kernel/sched/core.c", False)
        for file in random.Random(4).sample(database.files, 12):
            assert as_plain(unit_edges(tables, file)) == plain_edges(database.command(file)), file
