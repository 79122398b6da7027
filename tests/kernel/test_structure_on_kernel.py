# SPDX-License-Identifier: Apache-2.0
"""The structure graph of a real Linux 6.1: known facts, edges against a plain walk, random edits against a rebuild.

The graph of the first part is the one that runs keep of the base tree, brought up to date as `git hmopt graph` does it.
The edits are made in a copy of a part of that tree.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from git_hmopt.psg.ask import About, Basis, Wish, structure_of
from git_hmopt.psg.build import Update, update_graph
from git_hmopt.psg.compile_database import CompileCommand, CompileDatabase, kbuild_database
from git_hmopt.psg.facts import Relation
from git_hmopt.psg.queries import Direction, Structure
from git_hmopt.store.graph import GraphFile
from git_hmopt.store.repository import Repository
from git_hmopt.store.shards import opened_shards
from tests.kernel.conftest import Kernel
from tests.psg.plain_walk import as_plain, plain_edges
from tests.psg.structure_tree import comparable, unit_edges

pytestmark = pytest.mark.kernel
SEED = 20261129


@pytest.fixture(scope="module")
def structure(kernel: Kernel, sort_tree: Path) -> Iterator[Structure]:
    """Return the graph of the whole UML configuration, as `git hmopt graph` finds it."""
    assert (sort_tree / "build-uml/compile_commands.json").is_file()
    with structure_of(Repository.open(kernel.root), About(("do_swap",)), Wish()) as grounds:
        assert grounds.basis is Basis.EXACT
        print(grounds.described, grounds.notes, grounds.structure.statistics())
        yield grounds.structure


def embedded(structure: Structure, record: str) -> set[str]:
    links = structure.links(record, Direction.OUT, (Relation.INHERITANCE,))
    return {link.target for link in links if link.detail == "embeds"}


def writers(structure: Structure, variable: str) -> set[str]:
    links = structure.links(variable, Direction.IN, (Relation.REF,))
    return {link.source for link in links if link.detail == "write"}


# -- facts ------------------------------------------------------------------------------------------------------------


def test_the_whole_configuration_is_in_it(structure: Structure) -> None:
    counted = structure.statistics()
    assert counted["units"] > 500
    assert (counted["units that failed"], counted["units with errors"], counted["units not parsed again yet"]) == (
        0,
        0,
        0,
    )
    assert counted["function"] > 20_000 and counted["edges call_static"] > 50_000 and counted["config"] > 10_000


def test_do_swap_is_called_by_sort_r_alone(structure: Structure) -> None:
    assert structure.resolve("do_swap") == ["lib/sort.c:do_swap"]
    assert structure.callers("lib/sort.c:do_swap") == ["sort_r"]
    assert structure.callers("sort_r") == ["sort"]
    assert {"sort_extable", "sort_range"} <= set(structure.callers("sort"))


def test_what_the_scheduler_calls(structure: Structure) -> None:
    assert "kernel/sched/core.c:__schedule" in structure.callees("schedule")
    assert {"schedule", "schedule_idle", "preempt_schedule_irq"} <= set(
        structure.callers("kernel/sched/core.c:__schedule")
    )


def test_the_scheduling_classes_implement_enqueue_task(structure: Structure) -> None:
    # rt.c and deadline.c are included by build_policy.c, which is the unit.
    assert structure.implementers("struct sched_class.enqueue_task") == [
        "kernel/sched/deadline.c:enqueue_task_dl", "kernel/sched/fair.c:enqueue_task_fair",
        "kernel/sched/rt.c:enqueue_task_rt",
    ]  # fmt: skip
    assert [place.file for place in structure.places("kernel/sched/rt.c:enqueue_task_rt")] == ["kernel/sched/rt.c"]


def test_whom_a_read_may_reach(structure: Structure) -> None:
    found = structure.candidates("include/linux/fs.h:call_read_iter")["struct file_operations.read_iter"]
    assert {"block/fops.c:blkdev_read_iter", "fs/pipe.c:pipe_read", "fs/kernfs/file.c:kernfs_fop_read_iter"} <= set(
        found
    )
    assert structure.callers("include/linux/fs.h:call_read_iter")
    reached = dict(structure.reached_by("fs/pipe.c:pipe_read", 4))
    assert "vfs_read" in reached and "ksys_read" in reached


def test_a_system_call_reaches_its_function(structure: Structure) -> None:
    assert structure.callers("ksys_read") == ["fs/read_write.c:__do_sys_read"]


def test_where_things_are_and_what_they_are(structure: Structure) -> None:
    [start] = structure.places("start_kernel")
    assert (start.file, start.linkage) == ("init/main.c", "external") and "__init" in start.attributes
    [kmalloc] = structure.places("include/linux/slab.h:kmalloc")
    assert kmalloc.is_inline and "__always_inline" in kmalloc.attributes
    [task] = structure.places("init_task")
    assert (task.file, task.type) == ("init/init_task.c", "struct task_struct")
    assert [place.file for place in structure.places("typedef u32")] == ["include/asm-generic/int-ll64.h"]
    assert [place.file for place in structure.places("enum pid_type")] == ["include/linux/pid.h"]
    assert [place.file for place in structure.places("macro likely")] == ["include/linux/compiler.h"]


def test_members_and_what_begins_a_record(structure: Structure) -> None:
    assert structure.fields("struct path") == ["struct path.dentry", "struct path.mnt"]
    assert {"struct device", "struct cdev"} <= {
        link.source for link in structure.links("struct kobject", Direction.IN, (Relation.INHERITANCE,))
    }
    # A union stands at its beginning: f_llist and f_rcuhead; f_path stands behind it.
    assert "struct llist_node" in embedded(structure, "struct file")
    assert "struct path" not in embedded(structure, "struct file")


def test_who_writes_a_global(structure: Structure) -> None:
    assert {"rest_init", "init/main.c:kernel_init", "emergency_restart"} <= writers(structure, "system_state")


def test_what_smp_guards_in_the_scheduler_that_this_build_leaves_out(structure: Structure) -> None:
    found = {
        one.symbol: one for one in structure.guarded("CONFIG_SMP", below="kernel/sched/core.c") if one.sense == "if"
    }
    for symbol in ("set_task_cpu", "migrate_enable", "kernel/sched/core.c:migration_cpu_stop", "wake_up_if_idle"):
        assert found[symbol].whole and found[symbol].approximate, symbol
    assert not found["kernel/sched/core.c:finish_task"].whole


def test_knobs_of_objects_and_of_kconfig(structure: Structure) -> None:
    eventfd = structure.knobs_of("fs/eventfd.c:eventfd_read")
    assert ("CONFIG_EVENTFD", "object") in {(one.knob, one.sense) for one in eventfd}
    [printk] = structure.knobs("PRINTK")
    assert (printk.type, printk.defaults, printk.selects) == ("bool", ("y",), ("CONFIG_IRQ_WORK",))
    [hz] = structure.knobs("HZ")
    assert (hz.file, hz.type, hz.defaults) == ("arch/um/Kconfig", "int", ("100",))
    assert structure.subsystem("kernel/sched/core.c") == "SCHEDULER"
    assert structure.subsystem("fs/namei.c") == "FILESYSTEMS (VFS and infrastructure)"


def test_a_neighbourhood_is_there_at_once(structure: Structure) -> None:
    graph = structure.neighbourhood(["schedule"], 2)
    assert graph.number_of_nodes() > 50 and "kernel/sched/core.c:__schedule" in graph


# -- edges against a plain walk, and ext4 -----------------------------------------------------------------------------


def units_of(root: Path) -> CompileDatabase:
    whole = kbuild_database(root / "build-uml", root=root)
    there = {file: whole.command(file) for file in whole.files if whole.command(file).path.is_file()}
    return CompileDatabase(there, origin=whole.origin, outside=0)


def test_the_edges_are_those_of_a_plain_walk(kernel: Kernel, structure: Structure, sort_tree: Path) -> None:
    database = units_of(sort_tree)
    folders = ("kernel", "mm", "fs", "lib", "net", "block", "drivers")
    files = random.Random(SEED).sample([one for one in database.files if one.split("/")[0] in folders], 12)
    print("units:", *files)
    # Nothing else knows the tables behind a Structure.
    tables = structure._tables
    for file in files:
        assert as_plain(unit_edges(tables, file)) == plain_edges(database.command(file)), file


def test_ext4_implements_read_iter(structure: Structure, sort_tree: Path, tmp_path: Path) -> None:
    """The configuration has no ext4, but a neighbour's command compiles it: a database may be made by hand."""
    model = units_of(sort_tree).command("fs/namei.c")
    words = tuple(word.replace("fs/namei", "fs/ext4/file").replace("namei", "file") for word in model.arguments)
    command = CompileCommand(model.root, model.directory, "fs/ext4/file.c", words)
    database = CompileDatabase({command.file: command}, origin=sort_tree, outside=0)
    graph = GraphFile(tmp_path / "ext4.sqlite")
    with opened_shards(tmp_path / "shards.sqlite") as shards:
        done = update_graph(database, root=sort_tree, graph=graph, shards=shards, workers=1)
    assert (done.failed, done.with_errors) == ({}, {})
    with graph.reading() as tables:
        assert tables is not None
        assert Structure(tables).implementers("struct file_operations.read_iter") == [
            "fs/ext4/file.c:ext4_file_read_iter"
        ]


# -- edits ------------------------------------------------------------------------------------------------------------


@dataclass
class Part:
    """A copy of a part of the built tree, some of its units, and edits of it."""

    root: Path
    home: Path
    units: list[str]
    moved: dict[str, str] = field(default_factory=dict)
    """Where a file was when it was built, by where it is now."""

    def database(self) -> CompileDatabase:
        """Return the compile commands of the units as they are called now."""
        whole = kbuild_database(self.root / "build-uml", root=self.root)
        commands = {}
        for file in self.units:
            built = self.moved.get(file, file)
            command = whole.command(built)
            words = tuple(word.replace(built, file) for word in command.arguments)
            commands[file] = replace(command, file=file, arguments=words)
        return CompileDatabase(commands, origin=whole.origin, outside=0)

    def update(self, name: str) -> Update:
        """Bring the graph called `name` up to date."""
        with opened_shards(self.home / f"{name}-shards.sqlite") as shards:
            graph = GraphFile(self.home / f"{name}.sqlite")
            return update_graph(self.database(), root=self.root, graph=graph, shards=shards, workers=2)

    def rows(self, name: str) -> dict[str, list[tuple[object, ...]]]:
        """Return all that a graph says."""
        with GraphFile(self.home / f"{name}.sqlite").reading() as tables:
            assert tables is not None
            return comparable(tables)


@pytest.fixture(scope="module")
def part(sort_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Part:
    folder = tmp_path_factory.mktemp("part")
    root = folder / "src"
    for name in ("include", "lib", "arch/um", "arch/x86/include", "arch/x86/um", "kernel", "mm", "scripts"):
        shutil.copytree(sort_tree / name, root / name, symlinks=True)
    keep = ("--include=*/", "--include=.*.o.cmd", "--include=*.h", "--exclude=*")
    subprocess.run(["rsync", "-a", *keep, f"{sort_tree}/build-uml", str(root)], check=True)
    for name in ("Kconfig", "Makefile", "Kbuild", "MAINTAINERS"):
        shutil.copy(sort_tree / name, root / name)
    (folder / "home").mkdir()
    made = Part(root, folder / "home", [])
    whole = kbuild_database(root / "build-uml", root=root)
    among = [file for file in whole.files if file.startswith(("lib/", "mm/", "kernel/")) and (root / file).is_file()]
    made.units = sorted(random.Random(SEED).sample(among, 40))
    return made


def functions_in(text: str) -> list[int]:
    """Return where function bodies begin: behind a brace that stands alone in the first column."""
    return [at + 3 for at in range(len(text)) if text.startswith("\n{\n", at)]


def an_edit(part: Part, draw: random.Random, number: int) -> str:
    """Make one edit of the tree, drawn at random, and return what it was."""
    kind = draw.choice(("statement", "function", "header", "field", "shadow", "rename", "knob", "include"))
    file = draw.choice(part.units)
    path = part.root / file
    text = path.read_text(errors="surrogateescape")
    if kind == "statement":
        places = functions_in(text)
        if places:
            at = draw.choice(places)
            text = f"{text[:at]}\tif (jiffies == {number})\n\t\tdump_stack();\n{text[at:]}"
    elif kind == "function":
        text += f'\nstatic __maybe_unused int edited_{number}(void)\n{{\n\treturn (int)strlen("{number}");\n}}\n'
    elif kind == "include":
        header = part.root / f"include/linux/edited_{number}.h"
        header.write_text(f"static inline int inlined_{number}(void) {{ return {number}; }}\n")
        text = f"#include <linux/edited_{number}.h>\n{text}"
    elif kind == "rename":
        moved = file.removesuffix(".c") + f"_moved_{number}.c"
        path.rename(part.root / moved)
        part.units[part.units.index(file)] = moved
        part.moved[moved] = part.moved.pop(file, file)
        return f"rename {file}"
    else:
        return an_edit_beside(part, draw, number, kind)
    path.write_text(text, errors="surrogateescape")
    return f"{kind} in {file}"


def an_edit_beside(part: Part, draw: random.Random, number: int, kind: str) -> str:
    """Edit a header or the configuration."""
    name = draw.choice(
        ("sort.h", "bsearch.h", "list_sort.h", "crc64.h", "glob.h", "memcontrol.h", "vmstat.h", "swap.h")
    )
    path = part.root / "include/linux" / name
    text = path.read_text()
    if kind == "header":
        path.write_text(f"/* {number} */\n{text}")
    elif kind == "field":
        path.write_text(
            f"{text}\n#ifndef __ASSEMBLY__\nstruct edited_{number} {{ long first; int second; }};\n#endif\n"
        )
    elif kind == "shadow":
        # arch/um/include is searched before include.
        other = part.root / "arch/um/include/linux" / name
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_text(f"{text}\n#ifndef __ASSEMBLY__\nextern int shadow_{number};\n#endif\n")
    else:
        knob = draw.choice(("DEBUG_VM", "SLUB_DEBUG", "SCHED_DEBUG", "PROVE_LOCKING", "DEBUG_LIST", "PRINTK_TIME"))
        autoconf = part.root / "build-uml/include/generated/autoconf.h"
        lines = autoconf.read_text().splitlines(keepends=True)
        line = f"#define CONFIG_{knob} 1\n"
        autoconf.write_text("".join(one for one in lines if one != line) + ("" if line in lines else line))
        return f"knob {knob}"
    return f"{kind} {name}"


def test_after_any_edit_the_graph_is_what_a_build_from_nothing_gives(part: Part) -> None:
    draw = random.Random(SEED)
    print("seed", SEED)
    first = part.update("kept")
    assert (len(first.parsed), first.failed) == (len(part.units), {})
    for number in range(15):
        edit = an_edit(part, draw, number)
        done = part.update("kept")
        told = f"{len(done.parsed)} of {done.units} parsed, {done.reused} known, {len(done.with_errors)} with errors"
        print(f"{number}: {edit}: {told}")
        if number % 3 == 2:
            for old in part.home.glob("fresh*"):
                if old.is_file():
                    old.unlink()
            part.update("fresh")
            kept, fresh = part.rows("kept"), part.rows("fresh")
            for what in fresh:
                assert kept[what] == fresh[what], f"after '{edit}' the {what} differ"


def test_an_edit_of_one_function_has_one_unit_parsed(part: Part) -> None:
    part.update("kept")
    file = next(one for one in part.units if one.startswith("lib/"))
    with (part.root / file).open("a") as stream:
        stream.write("\nstatic __maybe_unused int one_more(void)\n{\n\treturn 1;\n}\n")
    assert part.update("kept").parsed == [file]
