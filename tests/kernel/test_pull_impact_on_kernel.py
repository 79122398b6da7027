# SPDX-License-Identifier: Apache-2.0
"""The static impact of a twenty-file change to a real Linux 6.1, by the profile and the graph that runs left there.

The checkout is only read: both sides of the change are made in memory.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from git_hmopt.loop.profiled import latest_profile
from git_hmopt.records.words import Oid
from git_hmopt.store.repository import Repository
from hmopt_bot.pulls.graphs import graphs_here
from hmopt_bot.pulls.impact import static_impact
from hmopt_bot.pulls.impact_text import impact_annotations, impact_markdown, impact_title
from hmopt_bot.pulls.sides import Aside
from tests.kernel.twenty_files import HEAD, twenty_files

pytestmark = pytest.mark.kernel


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> Repository:
    """Return the checkout with a profile of lib-sort and a graph at its commit; makes them where they are not there."""
    cache = os.environ.get("HMOPT_KERNEL_CACHE")
    if not cache:
        pytest.skip("no kernel here: run tests/kernel/run CACHE")
    found = Repository.open(Path(cache) / "linux")
    if not _is_warm(found):
        request.getfixturevalue("sort_tree")
    return found


def _is_warm(repository: Repository) -> bool:
    if not repository.config_get("hmopt.trust") or latest_profile(repository, "lib-sort") is None:
        return False
    with graphs_here(repository, {}, repository.resolve("HEAD")) as (graphs, _):
        return bool(graphs) and all(one.at_base for one in graphs.states)


def test_a_change_of_twenty_files_names_the_hot_function_its_share_and_who_reaches_it(repository: Repository) -> None:
    base = repository.resolve("HEAD")
    changes = twenty_files(repository, base)
    began = time.monotonic()
    impact = static_impact(repository, changes, base=base, head=Oid(HEAD))
    text = impact_markdown(impact)
    took = time.monotonic() - began
    print(text)
    print(f"{len(changes)} files, {len(impact.touched)} touched: {took:.1f} s")
    assert took < 30
    assert impact.graphs and all(one.at_base for one in impact.graphs), impact.graphs
    profiled = latest_profile(repository, "lib-sort")
    assert profiled is not None
    # As the run itself recorded it.
    [share] = [float(str(one["score"])) for one in profiled.hotspots if one["symbol"] == "do_swap"]
    [swap] = [one for one in impact.touched if one.symbol == "lib/sort.c:do_swap"]
    assert [(heat.workload, heat.share) for heat in swap.heat] == [("lib-sort", share)]
    reached = {caller.symbol: caller.distance for caller in swap.callers or ()}
    assert reached["sort_r"] == 1 and reached["sort"] == 2
    told = f"{100 * share:.1f} % of `lib-sort`"
    assert f"`do_swap` ({told})" in text.splitlines()[0] and f"| {told} | `sort_r` (" in text
    assert "do_swap" in impact_title(impact) and profiled.run in text
    assert "lib/sort.c" in {note.path for note in impact_annotations(impact)}
    # What else is known of these files: a struct that everybody uses, a driver that is not built, a part left out.
    [page] = [one for one in impact.touched if one.symbol == "struct page"]
    assert page.callers_all > 100 and not page.heat
    # SYSCALL_DEFINE3(read, ...), which the graph knows as __do_sys_read.
    [read] = [one for one in impact.touched if one.file == "fs/read_write.c"]
    assert read.symbol == "read" and not read.left_out and read.callers
    asides = {one.path: one for one in impact.aside}
    driver = asides["drivers/net/ethernet/intel/e1000/e1000_main.c"]
    assert driver.why is Aside.UNBUILT and ("CONFIG_E1000", False) in {(one.name, one.is_set) for one in driver.knobs}
    assert asides["Documentation/core-api/kobject.rst"].why is Aside.DOCUMENTATION
    left_out = {one.symbol for one in impact.touched if one.left_out}
    assert "kernel/sched/core.c:__task_prio" in left_out and "lockdep_tasklist_lock_is_held" in left_out
