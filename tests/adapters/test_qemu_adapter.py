# SPDX-License-Identifier: Apache-2.0
"""The QEMU adapters on machine code whose instruction count is known by hand: no kernel, the real emulator."""

from __future__ import annotations

import shutil
import string
import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from git_hmopt.adapters import AdapterContext, BuildResult, Image, SourceTree, WorkCase, load_adapter, sha256_of
from git_hmopt.errors import MeasurementError, MissingProgramError, ProgramError
from git_hmopt.records.words import Seed
from hmopt_adapters import qemu
from hmopt_adapters.qemu import QemuOptions, QemuProfiler, QemuWorkload, compile_plugin, qemu_command

CASE = WorkCase(seed=Seed(7), size=3)
ROUNDS = 1000
# begin's ret, call work, mov, four instructions a round, ret, call of the end marker
WORK_INSTRUCTIONS = 1 + 1 + 1 + 4 * ROUNDS + 1 + 1

# A 32-bit multiboot program that behaves as a kernel with the `common` overlay does on its console.
GUEST = string.Template("""\
	.section .text
	.align 4
	.long 0x1badb002, 0, -0x1badb002
	.globl _start, hmopt_window_begin, hmopt_window_end, work
_start:	mov $$stack, %esp
	mov $$said_first, %esi
	call say
	$start
	mov $$said_last, %esi
	call say
reset:	mov $$0xfe, %al
	out %al, $$0x64
	$reset
1:	hlt
	jmp 1b

	.type hmopt_window_begin, @function
hmopt_window_begin:
	ret
	.size hmopt_window_begin, . - hmopt_window_begin
	.type hmopt_window_end, @function
hmopt_window_end:
	nop
	ret
	.size hmopt_window_end, . - hmopt_window_end

	.type work, @function
work:	mov $$$rounds, %ecx
1:	xor %eax, %eax
	add $$1, %eax
	dec %ecx
	jnz 1b
	$extra
	ret
	.size work, . - work

say:	mov $$0x3f8, %dx
1:	lodsb
	test %al, %al
	jz 2f
	out %al, %dx
	jmp 1b
2:	ret
	.section .rodata
said_first: .asciz "$first"
said_last: .asciz "$last"
	.bss
	.skip 4096
stack:
""")
WINDOW = "call hmopt_window_begin\n\tcall work\n\tcall hmopt_window_end"
FIRST = r"hmopt: begin toy\n"
LAST = r"hmopt: end toy ns=99\nhmopt: output toy seed=7 size=3 offset=0 digest=00000000000000ff\nhmopt: done toy\n"

needs_qemu = pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="qemu-system-x86_64 not installed")


def guest(
    directory: Path,
    *,
    start: str = WINDOW,
    extra: str = "",
    reset: str = "",
    first: str = FIRST,
    last: str = LAST,
    folded: bool = False,
) -> Image:
    """Assemble and link the program in `directory/build`."""
    build = directory / "build"
    build.mkdir(parents=True)
    source = directory / "toy.S"
    source.write_text(GUEST.substitute(start=start, extra=extra, reset=reset, first=first, last=last, rounds=ROUNDS))
    if folded:
        text = source.read_text().replace("hmopt_window_end:\n\tnop\n", "\tnop\n")
        source.write_text(text.replace("hmopt_window_begin:\n", "hmopt_window_begin:\nhmopt_window_end:\n"))
    subprocess.run(["gcc", "-m32", "-gdwarf-4", "-c", "-o", "toy.o", "../toy.S"], cwd=build, check=True)
    subprocess.run(
        ["ld", "-m", "elf_i386", "-Ttext", "0x100000", "-e", "_start", "-z", "noexecstack", "-o", "toy", "toy.o"],
        cwd=build,
        check=True,
    )
    return Image(path=build / "toy", sha256=sha256_of(build / "toy"), build="toy", symbols=build / "toy")


def workload(tmp_path: Path, **options: object) -> QemuWorkload:
    """Return an adapter for the toy suite, with a scratch directory beside the image."""
    filled = QemuOptions.model_validate({"suite": "toy", "timeout_s": 60, **options})
    return QemuWorkload(filled, AdapterContext(name="toy", scratch=tmp_path / "scratch"))


def profile(tmp_path: Path, image: Image) -> tuple[list[list[str]], tuple[str, ...]]:
    """Return the rows of the self-counts capture, and the notes."""
    built = BuildResult(
        success=True, tree=SourceTree(root=tmp_path, output=tmp_path / "build"), log=tmp_path / "log", image=image
    )
    context = AdapterContext(name="toy", scratch=tmp_path / "scratch")
    result = QemuProfiler(QemuOptions(suite="toy"), context).profile(built, CASE, into=tmp_path / "profile")
    assert [(capture.kind, capture.path.name) for capture in result.captures] == [
        ("self-counts", "self-counts.txt"),
        ("blocks", "blocks.txt"),
    ]
    header, *rows = [line.split("\t") for line in result.captures[0].path.read_text().splitlines()]
    assert header == ["hmopt-self-counts 1"]
    return rows, result.notes


@needs_qemu
@pytest.mark.parametrize("shift", [0, 3])
def test_the_count_is_the_one_made_by_hand(tmp_path: Path, shift: int) -> None:
    reading = workload(tmp_path, shift=shift).measure(guest(tmp_path), CASE)
    assert reading.values == {"instructions": float(WORK_INSTRUCTIONS)}
    assert reading.cross_checks == {"guest_ns": 99.0}


@needs_qemu
def test_two_boots_count_the_same_and_one_instruction_more_is_one_more(tmp_path: Path) -> None:
    toy = workload(tmp_path)
    image = guest(tmp_path / "a")
    assert toy.measure(image, CASE) == toy.measure(image, CASE)
    longer = toy.measure(guest(tmp_path / "b", extra="nop"), CASE)
    assert longer.values["instructions"] == WORK_INSTRUCTIONS + 1


@needs_qemu
def test_a_repeated_string_instruction_counts_once_a_repetition(tmp_path: Path) -> None:
    # QEMU under icount runs each repetition, and finding none left, as an instruction; the real machine retires one.
    image = guest(tmp_path, extra="mov $said_first, %esi\n\tmov $stack - 64, %edi\n\tmov $10, %ecx\n\trep movsb")
    counted = workload(tmp_path).measure(image, CASE).values["instructions"]
    assert counted - WORK_INSTRUCTIONS - 3 == 10 + 1


@needs_qemu
def test_an_instruction_across_a_page_is_in_one_block_only(tmp_path: Path) -> None:
    # QEMU 7.2 tells plugins of it in the block before as well, where it never runs.
    image = guest(tmp_path, extra=".balign 4096, 0x90\n\t.fill 4093, 1, 0x90\n\tmov $5, %eax\n\tmov $6, %edx")
    rows, notes = profile(tmp_path, image)
    assert not any("left early" in note for note in notes)
    source = (tmp_path / "toy.S").read_text().splitlines()
    crossing = [row for row in rows if source[int(row[2]) - 1].strip() == "mov $5, %eax"]
    assert [row[3:] for row in crossing] == [["1", "1"]]
    counted = workload(tmp_path).measure(image, CASE).values["instructions"]
    assert sum(int(row[3]) for row in rows) == counted


@needs_qemu
def test_the_profile_says_which_lines_ran_how_often(tmp_path: Path) -> None:
    rows, notes = profile(tmp_path, guest(tmp_path))
    assert sum(int(row[3]) for row in rows) == WORK_INSTRUCTIONS
    source = (tmp_path / "toy.S").read_text().splitlines()
    hot = {source[int(row[2]) - 1].split(":")[-1].strip(): row for row in rows if row[0] == "work"}
    assert hot["dec %ecx"][1:] == ["toy.S", hot["dec %ecx"][2], str(ROUNDS), str(ROUNDS)]
    assert hot["ret"][3:] == ["1", "1"]
    blocks = [line.split(" ") for line in (tmp_path / "profile" / "blocks.txt").read_text().splitlines()[1:]]
    assert sum(int(insns) * int(count) for _, insns, count in blocks) == WORK_INSTRUCTIONS
    assert blocks == sorted(blocks, key=lambda block: (int(block[0], 16), int(block[1])))
    assert f"exact counts of {WORK_INSTRUCTIONS} instructions" in notes[0]
    assert not [row for row in rows if row[3] == "0"]
    assert not any(tmp_path.joinpath("scratch").glob("boot-*"))


@needs_qemu
def test_lines_of_a_hot_function_that_never_ran_are_counted_as_zero(tmp_path: Path) -> None:
    rows, _ = profile(tmp_path, guest(tmp_path, extra="test %ecx, %ecx\n\tjz 2f\n\tmov $7, %eax\n\tnot %eax\n2:\tnop"))
    source = (tmp_path / "toy.S").read_text().splitlines()
    idle = {source[int(row[2]) - 1].strip(): row for row in rows if row[3] == "0"}
    assert idle.keys() == {"mov $7, %eax", "not %eax"}
    assert [row[0] for row in idle.values()] == ["work", "work"]
    assert idle["not %eax"][4] == "0"


@needs_qemu
@pytest.mark.parametrize(
    ("start", "first", "last", "why"),
    [
        ("call work", FIRST, LAST, "never came to the marked window"),
        (f"{WINDOW}\n\t{WINDOW}", FIRST, LAST, "window 2 times"),
        ("call hmopt_window_begin", FIRST, LAST, "ended inside the marked window"),
        (f"call hmopt_window_end\n\t{WINDOW}", FIRST, LAST, "1 markers out of order"),
        (WINDOW, "", "", "never began"),
        (WINDOW, FIRST, "", "the log ends inside its window"),
        (WINDOW, FIRST, "Kernel panic - not syncing: toy", "Kernel panic - not syncing: toy"),
        (WINDOW, FIRST, r"hmopt: end toy ns=5\n", "did not reach its end"),
    ],
)
def test_no_whole_window_is_an_error_with_its_reason(
    tmp_path: Path, start: str, first: str, last: str, why: str
) -> None:
    image = guest(tmp_path, start=start, first=first, last=last)
    with pytest.raises(MeasurementError, match=why) as caught:
        workload(tmp_path).measure(image, CASE)
    kept = tmp_path / "scratch" / "failed-toy.log"
    assert caught.value.next_step == f"read {kept}"
    assert (b"hmopt: begin toy" in kept.read_bytes()) == bool(first)


@needs_qemu
def test_a_guest_that_hangs_is_ended_and_named(tmp_path: Path) -> None:
    image = guest(tmp_path, extra="1:\tjmp 1b")
    with pytest.raises(
        MeasurementError, match=r"limit of 4 s, inside its window; last console line: 'hmopt: begin toy'"
    ):
        workload(tmp_path, timeout_s=4).measure(image, CASE)


@needs_qemu
def test_a_guest_that_prints_without_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu, "CONSOLE_LIMIT_BYTES", 5000)
    image = guest(tmp_path, extra="1:\tmov $said_first, %esi\n\tcall say\n\tjmp 1b")
    with pytest.raises(MeasurementError, match=r"printed more than 5000 bytes and was killed.*, inside its window"):
        workload(tmp_path).measure(image, CASE)
    checked = workload(tmp_path).outputs(image, [CASE])
    assert "printed more than 5000 bytes" in checked.failures[0]
    assert not checked.digests


@needs_qemu
def test_outputs_are_collected_and_a_missing_one_is_a_failure(tmp_path: Path) -> None:
    absent = WorkCase(seed=Seed(7), size=4)
    checked = workload(tmp_path).outputs(guest(tmp_path), [CASE, absent])
    assert checked.digests == {CASE: "00000000000000ff"}
    assert checked.failures == ("no output for seed=7 size=4 offset=0: the suite ended without it",)
    assert b"hmopt: done toy" in checked.log


@needs_qemu
def test_a_guest_that_hangs_in_a_check_is_a_failure_not_an_error(tmp_path: Path) -> None:
    image = guest(tmp_path, start="1:\tjmp 1b")
    checked = workload(tmp_path, timeout_s=3).outputs(image, [CASE])
    assert checked.failures[0] == "the guest ran past its limit of 3 s, inside its window"
    assert not checked.digests


@needs_qemu
def test_an_image_that_is_gone_is_named(tmp_path: Path) -> None:
    image = guest(tmp_path)
    gone = Image(path=tmp_path / "build" / "bzImage", sha256="", build="toy", symbols=image.symbols)
    with pytest.raises(MeasurementError, match=r"ended with exit code 1: .*could not open kernel file"):
        workload(tmp_path).measure(gone, CASE)


@needs_qemu
def test_a_comma_in_the_path_does_not_split_the_plugins_arguments(tmp_path: Path) -> None:
    home = tmp_path / "a,b"
    assert workload(home).measure(guest(home), CASE).values["instructions"] == WORK_INSTRUCTIONS


@needs_qemu
def test_markers_folded_into_one_function_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="one function in this image; give them different bodies"):
        workload(tmp_path).measure(guest(tmp_path, folded=True), CASE)


def test_an_image_without_markers_or_symbols_is_refused(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    source = tmp_path / "plain.c"
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run(["gcc", "-o", str(plain), str(source)], check=True)
    with pytest.raises(MeasurementError, match="no symbol 'hmopt_window_begin'"):
        workload(tmp_path).measure(Image(path=plain, sha256="", build="x", symbols=plain), CASE)
    with pytest.raises(MeasurementError, match="has no file of symbols"):
        workload(tmp_path).measure(Image(path=plain, sha256="", build="x"), CASE)
    with pytest.raises(MeasurementError, match=r"nm .*' ended with exit code 1"):
        workload(tmp_path).measure(Image(path=plain, sha256="", build="x", symbols=source), CASE)


def test_a_build_without_image_cannot_be_profiled(tmp_path: Path) -> None:
    built = BuildResult(success=False, tree=SourceTree(tmp_path, tmp_path / "build"), log=tmp_path / "log")
    profiler = QemuProfiler(QemuOptions(suite="toy"), AdapterContext(name="toy", scratch=tmp_path))
    with pytest.raises(MeasurementError, match=r"made no image to profile; read .*log"):
        profiler.profile(built, CASE, into=tmp_path / "profile")


def test_missing_qemu_is_said_before_and_when_it_is_needed(tmp_path: Path) -> None:
    toy = workload(tmp_path, qemu="qemu-system-nowhere")
    missing = [requirement for requirement in toy.requirements() if requirement.program == "qemu-system-nowhere"]
    assert [(r.found, r.fatal, r.lost) for r in missing] == [(False, True, "no x86_64 kernel can be emulated")]
    with pytest.raises(MissingProgramError, match=r"install it with: apt-get install qemu-system-x86"):
        toy.outputs(guest(tmp_path), [CASE])


def test_the_sandbox_is_wanted_but_not_needed(tmp_path: Path) -> None:
    bwrap = next(r for r in workload(tmp_path).requirements() if r.program == "bwrap")
    assert not bwrap.fatal


def test_the_plugin_is_compiled_once_a_source_and_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compile_plugin(tmp_path)
    made = first.stat().st_mtime_ns
    assert compile_plugin(tmp_path) == first
    assert first.stat().st_mtime_ns == made
    other = tmp_path / "other.c"
    other.write_text("int qemu_plugin_version = 1;\n")
    monkeypatch.setattr(qemu, "_PLUGIN_SOURCE", other)
    assert compile_plugin(tmp_path) != first
    other.write_text("not C\n")
    with pytest.raises(ProgramError, match="gcc"):
        compile_plugin(tmp_path)
    assert len(list(tmp_path.glob("qemu-plugin-*.so"))) == 2


def test_the_plugin_compiles_without_a_warning(tmp_path: Path) -> None:
    flags = ["-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC"]
    source = str(qemu._PLUGIN_SOURCE)
    done = subprocess.run(
        ["gcc", *flags, "-o", str(tmp_path / "plugin.so"), source], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@needs_qemu
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("begin=0x10,out=w", "are needed"),
        ("begin=0x10,end=0x10,out=w", "are needed"),
        ("begin=ten,end=0x10,out=w", "bad argument 'begin=ten'"),
        ("begin=0x10,end=0x20,out=w,color=red", "bad argument 'color=red'"),
    ],
)
def test_the_plugin_refuses_arguments_it_does_not_know(tmp_path: Path, arguments: str, said: str) -> None:
    plugin = compile_plugin(tmp_path)
    argv = ["qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none"]
    done = subprocess.run(
        [*argv, "-plugin", f"{plugin},{arguments}"], capture_output=True, text=True, timeout=30, cwd=tmp_path
    )
    assert done.returncode == 1
    assert said in done.stderr


def test_the_x86_command_is_the_proven_one() -> None:
    options = QemuOptions(suite="s", append=("quiet",))
    command = qemu_command(options, Path("/k/bzImage"), ["hmopt.seed=1"])
    assert command.pop() == "console=ttyS0 panic=-1 nokaslr tsc=reliable kunit_shutdown=reboot hmopt.seed=1 quiet"
    assert " ".join(command) == (
        "qemu-system-x86_64 -machine pc -cpu qemu64 -m 128 -smp 1 -display none -no-reboot -nodefaults -serial stdio "
        "-monitor none -accel tcg,thread=single -icount shift=3,sleep=off,align=off -rtc base=2020-01-01,clock=vm "
        "-kernel /k/bzImage -append"
    )


def test_the_arm64_command_is_the_proven_one() -> None:
    options = QemuOptions(suite="s", arch="arm64", shift=0, memory_mb=256)
    command = qemu_command(options, Path("/k/Image"), [], plugin={"file": "/p,q.so", "begin": "0x1"})
    assert command.pop() == "console=ttyAMA0 panic=-1 nokaslr kunit_shutdown=poweroff"
    assert " ".join(command) == (
        "qemu-system-aarch64 -machine virt,dtb-randomness=off -cpu cortex-a57 -m 256 -smp 1 -display none -no-reboot "
        "-nodefaults -serial stdio -monitor none -accel tcg,thread=single -icount shift=0,sleep=off,align=off "
        "-rtc base=2020-01-01,clock=vm -plugin file=/p,,q.so,begin=0x1 -kernel /k/Image -append"
    )


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({}, "suite"),
        ({"suite": "s", "arch": "riscv"}, "arch"),
        ({"suite": "s", "shift": 11}, "shift"),
        ({"suite": "s", "memory_mb": "lots"}, "memory_mb"),
        ({"suite": "s", "timeout_s": 0}, "timeout_s"),
        ({"suite": "s", "smp": 2}, "smp"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(given: dict[str, object], where: str) -> None:
    with pytest.raises(ValidationError) as caught:
        QemuOptions.model_validate(given)
    assert [error["loc"] for error in caught.value.errors()] == [(where,)]


def test_both_adapters_are_found_by_their_names() -> None:
    assert load_adapter("workload", "qemu") is QemuWorkload
    assert load_adapter("profiler", "qemu-profile") is QemuProfiler
