# SPDX-License-Identifier: Apache-2.0
"""The perf adapter: on a stand-in for perf that records how it was called, and with the real one where there is one."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from git_hmopt.adapters import Image, ProfilerAdapter, sha256_of
from git_hmopt.errors import MeasurementError, MissingProgramError, ProgramError
from git_hmopt.process.sandbox import sandbox_missing
from hmopt_adapters.perf import WINDOW, PerfOptions, PerfProfiler, sampled_symbols
from tests.adapters.fake_kernel import CASE, built, context, fake_kernel
from tests.adapters.fake_kernel import WINDOW as CONSOLE

pytestmark = pytest.mark.skipif(
    any(shutil.which(program) is None for program in ("gcc", "nm", "addr2line")), reason="needs gcc and binutils"
)
SOURCE = """\
int spin(int rounds)
{
	volatile int sum = 0;
	for (int i = 0; i < rounds; i++)
		sum += i;
	return sum;
}

int hmopt_window(int rounds)
{
	return spin(rounds) + 1;
}
"""
MAIN = """\
#include <stdio.h>
int hmopt_window(int rounds);
int main(void)
{
	puts("hmopt: begin toy");
	fflush(stdout);
	hmopt_window(ROUNDS);
	puts("hmopt: end toy ns=1\\nhmopt: done toy");
	return 0;
}
"""
FRAMES = """\
linux  100/100   [000]  1.000000001:     200040 cpu-clock:u:
\t        60012345 spin+0x12 (/build/linux)
\t        60012346 hmopt_window+0x5 (/build/linux)
\t        60012347 [unknown] (/build/linux)
"""


def compiled(root: Path, *, rounds: int = 1000) -> Image:
    """Build a program in `root/build` from sources in `root/lib`, as kbuild does: paths relative to the output."""
    for name, text in (("lib/spin.c", SOURCE), ("init/main.c", MAIN.replace("ROUNDS", str(rounds)))):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    output = root / "build"
    output.mkdir(exist_ok=True)
    subprocess.run(
        ["gcc", "-g", "-O1", "-fno-omit-frame-pointer", "-fno-inline", "-fno-optimize-sibling-calls", "-no-pie", "-o",
         "linux", "../lib/spin.c", "../init/main.c"],
        cwd=output, check=True,
    )  # fmt: skip
    return Image(output / "linux", sha256_of(output / "linux"), "toy", symbols=output / "linux")


@pytest.fixture
def fake_perf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a `perf` first in PATH that writes down its arguments, runs what it is given and prints FRAMES."""
    place = tmp_path / "bin"
    place.mkdir()
    (place / "frames").write_text(FRAMES)
    perf = place / "perf"
    perf.write_text(f"""#!/bin/sh
echo "$*" >>{place}/calls
case $1 in
record) while [ "$1" != -- ]; do shift; done; shift; exec "$@";;
script) echo 'a warning of perf' >&2; cat {place}/frames;;
esac
""")
    perf.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
    return place


def profiler(tmp_path: Path, *, sandboxed: bool = False, timeout_s: float = 60) -> PerfProfiler:
    """Return the adapter for the toy suite."""
    return PerfProfiler(PerfOptions(suite="toy", timeout_s=timeout_s), context(tmp_path, sandboxed=sandboxed))


def test_perf_records_one_stretched_window(tmp_path: Path, fake_perf: Path) -> None:
    image = replace(fake_kernel(tmp_path / "build", CONSOLE), symbols=compiled(tmp_path / "elf").path)
    result = profiler(tmp_path).profile(built(image, tmp_path), CASE, into=tmp_path / "into")
    record, script = (fake_perf / "calls").read_text().splitlines()
    data = tmp_path / "into" / "perf.data"
    before, _, boot = record.partition(" -- ")
    assert before == f"record -q --sample-cpu -F 4999 -g -e cpu-clock:u -o {data}"
    assert f"{image.path} mem=256M console=tty kunit_shutdown=halt" in boot
    # The window is ten times as long as when it is measured.
    assert "kunit.filter_glob=toy hmopt.seed=7 hmopt.size=100 hmopt.offset=1 hmopt.reps=30 lpj=40000000" in boot
    fields = "comm,pid,tid,cpu,time,period,event,ip,sym,symoff,dso"
    assert script == f"script --ns --show-lost-events -i {data} -F {fields}"
    assert [(capture.kind, capture.path.name) for capture in result.captures] == [
        ("perf-script", "perf.script"),
        ("symbols", "symbols.tsv"),
    ]
    assert (tmp_path / "into" / "perf.script").read_text() == FRAMES
    assert result.root == WINDOW == "hmopt_window"
    assert result.notes == ("perf cpu-clock:u at 4999 Hz, stacks by frame pointer",)


def test_sampled_symbols_get_their_source_lines(tmp_path: Path, fake_perf: Path) -> None:
    image = replace(fake_kernel(tmp_path / "build", CONSOLE), symbols=compiled(tmp_path).path)
    (fake_perf / "frames").write_text(
        FRAMES + "\t  1 main+0x1 (x)\n\t  2 not_in_the_image+0x1 (x)\n\t  3 _start+0x1 (x)\n"
    )
    profiler(tmp_path).profile(built(image, tmp_path), CASE, into=tmp_path / "into")
    rows = (tmp_path / "into" / "symbols.tsv").read_text().splitlines()
    # _start has no line table, and what the image does not define has no row.
    assert rows == [
        "hmopt-symbols 1",
        "_start\t?\t?",
        "hmopt_window\tlib/spin.c\t10",
        "main\tinit/main.c\t4",
        "spin\tlib/spin.c\t2",
    ]


def test_objects_of_a_copied_tree_are_found_in_the_copy(tmp_path: Path, fake_perf: Path) -> None:
    """Debug information keeps the directory an object was compiled in, and a copied tree compiles nothing."""
    compiled(tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    elf = tmp_path / "second" / "build" / "linux"
    for gone in (False, True):
        if gone:
            shutil.rmtree(tmp_path / "first")
        image = replace(fake_kernel(tmp_path / "boot", CONSOLE), symbols=elf)
        profiler(tmp_path).profile(built(image, tmp_path / "second"), CASE, into=tmp_path / "into")
        assert "spin\tlib/spin.c\t2" in (tmp_path / "into" / "symbols.tsv").read_text().splitlines()


def test_a_source_outside_the_tree_has_no_place(tmp_path: Path, fake_perf: Path) -> None:
    image = replace(fake_kernel(tmp_path / "build", CONSOLE), symbols=compiled(tmp_path / "elsewhere").path)
    profiler(tmp_path).profile(built(image, tmp_path / "tree"), CASE, into=tmp_path / "into")
    assert "spin\t?\t2" in (tmp_path / "into" / "symbols.tsv").read_text().splitlines()


@pytest.mark.parametrize(
    ("line", "symbol"),
    [
        ("\t        60012345 do_swap+0x12 (/build/linux)", "do_swap"),
        ("\t        60012345 foo.constprop.0+0x0 (/build/linux)", "foo.constprop.0"),
        ("\t        60012345 foo.isra.0.cold+0xab (/build/linux)", "foo.isra.0.cold"),
        ("\tffffffff81000000 __x64_sys_read+0x1a ([kernel.kallsyms])", "__x64_sys_read"),
        ("\t               0 _RNvCsgEPkYUBdOj4_5alloc3foo+0x1 (linux)", "_RNvCsgEPkYUBdOj4_5alloc3foo"),
        ("        60012345 spaces_only+0x1 (linux)", "spaces_only"),
        ("\t        60012345 [unknown] (/build/linux)", None),
        ("\t        60012345 inlined_one (inlined)", None),
        ("linux  100/100   [000]  1.000000001:     200040 cpu-clock:u:", None),
        ("\t        nothex+0x12 (linux)", None),
        ("", None),
        ("\t        60012345 \xff\xfe+0x1 (linux)", None),
    ],
)
def test_the_symbol_of_a_frame(line: str, symbol: str | None, tmp_path: Path) -> None:
    (tmp_path / "script").write_bytes(line.encode("latin-1") + b"\n")
    assert sampled_symbols(tmp_path / "script").keys() == ({symbol} if symbol else set())


def test_static_functions_that_share_a_name_are_told_apart_by_address(tmp_path: Path, fake_perf: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.c").write_text(
            f"static __attribute__((noinline)) int same(int x)\n{{\n\treturn x * 3;\n}}\n\nint {name}(int x)\n{{\n"
            "\treturn same(x) + 1;\n}\n"
        )
    (tmp_path / "main.c").write_text(
        "int one(int x);\nint two(int x);\nint same_data;\nint main(void) { return one(1) + two(2); }\n"
    )
    build = tmp_path / "build"
    build.mkdir()
    sources = ["../one.c", "../two.c", "../main.c"]
    subprocess.run(["gcc", "-g", "-O1", "-no-pie", "-o", "linux", *sources], cwd=build, check=True)
    listed = subprocess.run(["nm", "linux"], cwd=build, capture_output=True, text=True, check=True).stdout
    starts = [int(line.split()[0], 16) for line in listed.splitlines() if line.split()[-1] == "same"]
    assert len(starts) == 2
    image = replace(fake_kernel(tmp_path / "boot", CONSOLE), symbols=build / "linux")
    files = []
    for addresses in (starts[:1], starts[1:], starts, [0x99]):
        (fake_perf / "frames").write_text("".join(f"\t{start + 2:x} same+0x2 (x)\n" for start in addresses))
        profiler(tmp_path).profile(built(image, tmp_path), CASE, into=tmp_path / "into")
        rows = (tmp_path / "into" / "symbols.tsv").read_text().splitlines()[1:]
        files.append({row.split("\t")[1] for row in rows})
    first, second, both, elsewhere = files
    assert {*first, *second} == both == elsewhere == {"one.c", "two.c"}
    assert len(first) == len(second) == 1


# -- what can go wrong ----------------------------------------------------------------------------------------------


def test_without_perf_it_is_said_what_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    adapter = profiler(tmp_path)
    assert isinstance(adapter, ProfilerAdapter)
    with pytest.raises(MissingProgramError) as caught:
        adapter.profile(built(fake_kernel(tmp_path / "build", CONSOLE), tmp_path), CASE, into=tmp_path / "into")
    assert str(caught.value) == (
        "'perf' is not installed: no call stacks: hotspots come from instruction counts alone; "
        "install it with: apt-get install linux-perf"
    )
    assert not (tmp_path / "into").exists()
    needs = {need.program: (need.found, need.fatal) for need in adapter.requirements()}
    assert needs == {"perf": (False, False), "addr2line": (False, True)}


def test_a_boot_that_fails_under_perf_is_no_profile(tmp_path: Path, fake_perf: Path) -> None:
    image = fake_kernel(tmp_path / "build", "Kernel panic - not syncing: no memory")
    with pytest.raises(MeasurementError, match=r"suite toy: Kernel panic - not syncing: no memory"):
        profiler(tmp_path).profile(built(image, tmp_path), CASE, into=tmp_path / "into")
    hanging = fake_kernel(tmp_path / "hang", CONSOLE.replace("sleep 0.2", "sleep 60"))
    with pytest.raises(MeasurementError, match=r"perf record: 'perf record .*ran past its limit of 0.5 s"):
        profiler(tmp_path, timeout_s=0.5).profile(built(hanging, tmp_path), CASE, into=tmp_path / "into")
    with pytest.raises(MeasurementError, match="there is no image to profile"):
        profiler(tmp_path).profile(built(None, tmp_path), CASE, into=tmp_path / "into")


def test_a_perf_that_cannot_read_its_own_file_is_an_error(tmp_path: Path, fake_perf: Path) -> None:
    (fake_perf / "frames").unlink()
    with pytest.raises(ProgramError, match=r"'perf script .* ended with exit code 1: .*No such file"):
        profiler(tmp_path).profile(built(fake_kernel(tmp_path / "b", CONSOLE), tmp_path), CASE, into=tmp_path / "into")


# -- the real thing -------------------------------------------------------------------------------------------------


def _perf_works() -> bool:
    if shutil.which("perf") is None:
        return False
    probe = ["perf", "record", "-q", "-e", "cpu-clock:u", "-o", "/dev/null", "--", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _perf_works(), reason="perf cannot sample here")
@pytest.mark.parametrize(
    "sandboxed",
    [
        False,
        pytest.param(True, marks=pytest.mark.skipif(sandbox_missing() is not None, reason=str(sandbox_missing()))),
    ],
)
def test_real_stacks_lead_through_the_window_to_the_source(tmp_path: Path, sandboxed: bool) -> None:
    image = compiled(tmp_path, rounds=200_000_000)
    profiler(tmp_path, sandboxed=sandboxed).profile(built(image, tmp_path), CASE, into=tmp_path / "into")
    text = (tmp_path / "into" / "perf.script").read_text()
    stacks = [
        [line.split()[1].split("+")[0] for line in sample.splitlines() if line.startswith("\t")]
        for sample in text.split("\n\n")
    ]
    inside = [stack for stack in stacks if stack[:2] == ["spin", "hmopt_window"]]
    assert len(inside) > 50
    assert len(inside) > 0.8 * len([stack for stack in stacks if stack])
    rows = (tmp_path / "into" / "symbols.tsv").read_text().splitlines()
    assert {"spin\tlib/spin.c\t2", "hmopt_window\tlib/spin.c\t10"} <= set(rows)
