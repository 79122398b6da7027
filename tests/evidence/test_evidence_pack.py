# SPDX-License-Identifier: Apache-2.0
"""The evidence pack: what it joins, that it is the same bytes every time, and what it says when things are missing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from git_hmopt.evidence.pack import build_pack
from git_hmopt.evidence.prompt import render
from git_hmopt.evidence.sections import full_text
from git_hmopt.evidence.structure import Location, function_of, source_name
from git_hmopt.psg.compile_database import CompileCommand
from git_hmopt.psg.queries import Structure
from git_hmopt.psg.unit import parse_unit
from git_hmopt.records import bottleneck
from git_hmopt.records.changes import MetricChange
from git_hmopt.records.evidence import Attempt, EvidencePack, HotspotEvidence, Template
from git_hmopt.records.retrieved import PastDelta, PastFix, Retrieved, SimilarCode, SimilarRun
from git_hmopt.records.run import Objective
from git_hmopt.records.windows import (
    TraceWindow,
    TraceWindows,
    WindowBlocked,
    WindowFunction,
    WindowRan,
    WindowReason,
    WindowWoke,
)
from git_hmopt.runtime import call_graph, ranking
from git_hmopt.runtime.kpi import Kpi
from git_hmopt.traces import folded, self_counts
from tests.psg.structure_tree import tree_in

SOURCE = """\
struct table { int n; };
static unsigned long seen;
static struct table shared;

static int mix(int value)
{
\tspin_lock(&lock); /* mutex_lock(&not_code) */
\tseen++;
\tspin_unlock(&lock);
\treturn value * 31;
}

int digest(const char *text, int (*step)(int))
{
\tint sum = CONFIG_SEED;

\twhile (*text)
\t\tsum = step(mix(sum + *text++));
\treturn sum + shared.n;
}
EXPORT_SYMBOL_GPL(digest);
"""
PATH = "lib/digest.c"
GOLDEN = Path(__file__).parent / "golden" / "evidence-pack-v4.json"
FIRST, SECOND, THIRD = (GOLDEN.with_name(f"evidence-pack-v{version}.json") for version in (1, 2, 3))


@dataclass(frozen=True)
class Call:
    callee: str
    line: int
    indirect: bool = False


@dataclass(frozen=True)
class Use:
    name: str
    kind: str
    file: str | None
    line: int | None


@dataclass(frozen=True)
class Function:
    symbol: str
    file: str
    first_line: int
    last_line: int
    start: int
    end: int
    calls: tuple[Call, ...]
    references: tuple[Use, ...]


@dataclass(frozen=True)
class Unit:
    functions: tuple[Function, ...]
    sources: Mapping[str, bytes]


def extent(first: str, last: str) -> tuple[int, int, int, int]:
    start = SOURCE.index(first)
    end = SOURCE.index(last, start) + len(last)
    return SOURCE.count("\n", 0, start) + 1, SOURCE.count("\n", 0, end) + 1, start, end


UNIT = Unit(
    (
        Function("mix", PATH, *extent("static int mix", "\n}"), (), (Use("seen", "global", PATH, 2),)),
        Function(
            "digest",
            PATH,
            *extent("int digest", "\n}"),
            (Call("mix", 18), Call("step", 18, indirect=True), Call("mix", 19)),
            (
                Use("shared", "global", PATH, 3),
                Use("table", "struct", PATH, 1),
                Use("CONFIG_SEED", "macro", "include/generated/autoconf.h", 7),
                Use("u32", "typedef", "include/types.h", 9),
            ),
        ),
    ),
    {PATH: SOURCE.encode()},
)
BLOB = hashlib.sha1(f"blob {len(SOURCE)}\0{SOURCE}".encode()).hexdigest()
LOCATIONS = {
    "digest": Location(PATH, 13, "dwarf"),
    "mix": Location(PATH, 5, "dwarf"),
    "elsewhere": Location("a.S", 3, "nm"),
}
STACKS = ["main;digest;mix 45", "main;digest 40", "main;elsewhere 10", "main;nowhere 5"]
COUNTS = (
    "hmopt-self-counts 1\ndigest\tlib/digest.c\t17\t400\t100\ndigest\t./lib/digest.c\t18\t800\t99\n"
    "main\tlib/digest.c\t18\t8\t1\ndigest\tlib/other.c\t18\t9\t9\ndigest\t?\t0\t5\t5\n"
)
ATTEMPT = Attempt(
    run="20260101-digest-abc123", iteration=2, strategy="branch-hints", verdict="no-change", reason="flat"
)
TEMPLATES = (
    Template(
        name="inline-it", bottleneck="call-overhead", what_to_try="Inline the callee.",
        preconditions=("It is small.",), risks=("Text grows.",), source="coding-style",
        example="-   static int mix(\n+   static __always_inline int mix(\n",
    ),
    Template(
        name="hold-it-shorter", bottleneck="lock-contention", what_to_try="Shorten the section.",
        preconditions=("It is long.",), risks=("Races.",), example="-   lock\n", source="locking",
    ),
)  # fmt: skip

RETRIEVED = Retrieved(
    code=(
        SimilarCode(
            symbol="mix_twice", commit="c" * 40, path="lib/mix.c", blob="d" * 40, first_line=3, last_line=6,
            summary="mix a value", text="int mix_twice(int value)\n{\n[2 more lines]", alike="0.612",
        ),
    ),
    runs=(
        SimilarRun(
            run="20260101-digest-abc123", commit="e" * 40, workload="digest", symbols=("digest", "mix"),
            summary="digest on host; cpu-bound-loop", same_function=True, alike="0.4",
        ),
    ),
    fixes=(
        PastFix(
            run="20260101-digest-abc123", iteration=3, commit="f" * 40, symbol="digest", strategy="forced-inline",
            title="lib/digest: inline mix", verdict="regressed", reason="time rose",
            deltas=(
                PastDelta(metric="time", kind="time", against="best", estimate="0.02", low="0.01", high="0.03"),
            ),
            same_function=True, alike="0.55",
        ),
        PastFix(
            run="20260102-digest-abc124", iteration=1, commit=None, symbol=None, strategy="", title="", deltas=(),
            verdict="rejected", reason="it does not apply", same_function=False, alike="0.31",
        ),
    ),
    searched="files: 2, other runs: 2, changes judged there: 4",
)  # fmt: skip

CHANGE = MetricChange(
    run="20260131-digest-0a1b2c", iteration=1, commit="c" * 40, against="baseline", against_commit="b" * 40,
    verdict="improved", metric="time", kind="time", estimate="-0.03", low="-0.04", high="-0.02", confidence="0.95",
    layouts=12, layout_controlled=True,
)  # fmt: skip

WINDOW = TraceWindow(
    kind="wakeup-wait", what="t-5 waited 6 ms for a CPU after it was woken", start_ns=2_000_000, end_ns=8_000_000,
    lost_ns=6_000_000, who="t-5", rule="the longest waits", events=9, lost_events=0,
    reasons=(
        WindowReason(about="thread", text="t-5 waited for a CPU for 6 ms", share="1", own=True),
        WindowReason(about="function", text="mix has 75.0 % of the samples", share="0.75", own=False, symbol="mix"),
    ),
    ran=(WindowRan(cpu=0, who="t-8", ns=5_500_000, share="0.916666667"),),
    woke=(WindowWoke(waker="t-8", wakee="t-5", count=1, total_ns=6_000_000, worst_ns=6_000_000),),
    blocked=(WindowBlocked(who="t-9", caller="io_schedule", iowait=True, count=1, ns=500_000),),
    functions=(WindowFunction(symbol="mix", share="0.75"),),
    excerpt=("0.002000 [000] 8 sched_wakeup: pid=5", "0.008000 [000] 8 sched_switch: next_pid=5"), left_out=3,
)  # fmt: skip
WINDOWS = (TraceWindows(capture="a" * 64, name="boot.ftrace", windows=(WINDOW,)),)


def pack(**changed: Any) -> EvidencePack:
    graph = call_graph.from_samples(folded.parse(f"{line}\n".encode() for line in STACKS))
    arguments: dict[str, Any] = {
        "run": "20260131-digest-0a1b2c",
        "workload": "digest",
        "commit": "c" * 40,
        "tree": "7" * 40,
        "objective": Objective(metric="time"),
        "ranked": ranking.rank_by_self(graph),
        "locate": LOCATIONS.get,
        "unit_of": lambda path: UNIT if path == PATH else None,
        "read": lambda path: (BLOB, SOURCE.encode()) if path == PATH else None,
        "pcg": graph,
        "self_counts": self_counts.parse(COUNTS.encode().splitlines(keepends=True)),
        "attempts": {"digest": [ATTEMPT]},
        "artifacts": ["b" * 64, "a" * 64, "b" * 64],
        # The golden pack holds these names; which strategies there are is the playbook's to say.
        "strategies": {
            bottleneck.CALL_OVERHEAD: ("forced-inline", "devirtualise", "specialise-constant", "outline-cold"),
        },
        "templates": TEMPLATES,
        "retrieve": lambda bottleneck, hotspots: [RETRIEVED for _ in hotspots],
        "changes": (CHANGE,),
        "windows": WINDOWS,
    }
    return build_pack(**{**arguments, **changed})


def hotspot(found: EvidencePack, symbol: str) -> HotspotEvidence:
    return next(item for item in found.hotspots if item.hotspot.symbol == symbol)


def test_the_pack_is_the_golden_bytes() -> None:
    assert pack().canonical() + "\n" == GOLDEN.read_text()


def test_the_golden_pack_is_still_read() -> None:
    assert EvidencePack.model_validate_json(GOLDEN.read_text()) == pack()


def test_a_pack_of_the_first_version_is_still_read_and_written_as_it_was() -> None:
    read = EvidencePack.model_validate_json(FIRST.read_text())
    assert (read.v, read.bottlenecks, read.canonical() + "\n") == (1, (), FIRST.read_text())


def test_what_is_retrieved_belongs_to_its_hotspot_and_is_asked_for_once() -> None:
    asked: list[tuple[str, list[str]]] = []

    def retrieve(bottleneck: str, hotspots: Sequence[HotspotEvidence]) -> Sequence[Retrieved]:
        asked.append((bottleneck, [one.hotspot.symbol for one in hotspots]))
        return [RETRIEVED.model_copy(update={"searched": one.hotspot.symbol}) for one in hotspots]

    made = pack(retrieve=retrieve)
    [(why, symbols)] = asked
    assert why.startswith("call-overhead digest and its callee mix")
    assert symbols == [one.hotspot.symbol for one in made.hotspots]
    assert all(one.retrieved is not None and one.retrieved.searched == one.hotspot.symbol for one in made.hotspots)


@pytest.mark.parametrize("older", [FIRST, SECOND, THIRD], ids=("first", "second", "third"))
def test_what_an_older_pack_says_is_in_the_newer_one_too(older: Path) -> None:
    stored, now = json.loads(older.read_text()), json.loads(pack().canonical())
    assert EvidencePack.model_validate_json(older.read_text()).canonical() + "\n" == older.read_text()
    assert {**stored, "v": 4, "priority_fields": now["priority_fields"]}.items() <= {
        **now, "hotspots": stored["hotspots"]
    }.items()  # fmt: skip


def test_slow_times_are_told_once_and_a_hotspot_s_own_under_it() -> None:
    found = pack()
    assert found.windows == WINDOWS
    assert hotspot(found, "mix").windows == (f"{WINDOW.what}: mix has 75.0 % of the samples",)
    assert "windows" in [section.name for section in hotspot(found, "mix").sections]
    assert (hotspot(found, "digest").windows, hotspot(found, "digest").joins) == ((), ())
    assert "windows" not in [section.name for section in hotspot(found, "digest").sections]
    assert [section.name for section in found.system] == ["slow_times"]
    assert pack(windows=()).system == ()
    text = render(found, max_tokens=100_000).text
    assert text.count(WINDOW.what) == 2
    assert "    ... 3 lines between ...\n    0.008000 [000] 8 sched_switch: next_pid=5\n" in text
    assert f"slow_times: {WINDOW.what}\n" in render(found, max_tokens=900).text


def test_with_a_graph_functions_have_places_and_what_they_share_is_told(tmp_path: Path) -> None:
    tree = tree_in(tmp_path)
    text = "struct pair { int n; };\nint mix(struct pair *pair) { return pair->n; }\nvoid io_schedule(void) { }\n"
    tree.write(PATH, text)
    tree.compiled.append(PATH)
    tree.update()
    with tree.graph.reading() as tables:
        assert tables is not None
        found = pack(structure=Structure(tables))
    [window] = found.windows[0].windows
    assert [(one.symbol, one.file, one.line) for one in window.functions] == [("mix", PATH, 2)]
    assert (window.blocked[0].file, window.blocked[0].line) == (PATH, 3)
    assert window.reasons[1].text == f"mix ({PATH}:2) has 75.0 % of the samples"
    assert [(one.kind, one.name, one.share) for one in found.joins] == [("field", f"{PATH}:struct pair.n", "0.45")]
    assert hotspot(found, "mix").joins == (found.joins[0].reason,)
    assert [section.name for section in found.system] == ["slow_times", "shared"]
    assert f"shared: {PATH}:struct pair.n: read by mix (45.0 %)" in render(found, max_tokens=100_000).text


def test_equal_inputs_in_another_order_give_equal_bytes() -> None:
    shuffled = replace(UNIT, functions=tuple(reversed(UNIT.functions)))
    counts = COUNTS.splitlines(keepends=True)
    other = self_counts.parse(line.encode() for line in [counts[0], *reversed(counts[1:])])
    same = pack(
        unit_of=lambda path: shuffled if path == PATH else None, self_counts=other, artifacts=["a" * 64, "b" * 64]
    )
    assert same.canonical() == pack().canonical()


def test_identity_source_and_neighbours() -> None:
    found = hotspot(pack(), "digest")
    assert found.source is not None
    assert found.source.text.startswith("int digest(") and found.source.text.endswith("\n}")
    assert (found.source.path, found.source.blob, found.source.first_line, found.source.last_line) == (
        PATH,
        BLOB,
        13,
        20,
    )
    assert (found.hotspot.resolved_by, found.hotspot.score, found.hotspot.unit) == ("psg", "0.4", "samples")
    assert [(item.relation, item.symbol, item.line) for item in found.static] == [
        ("callee", "(*step)", 18),
        ("callee", "mix", 18),
        ("config", "CONFIG_SEED", 7),
        ("global", "shared", 3),
        ("struct", "table", 1),
    ]
    assert [(item.relation, item.symbol, item.cost) for item in found.runtime] == [
        ("caller", "main", "0.85"),
        ("callee", "mix", "0.45"),
    ]
    callers = [item for item in hotspot(pack(), "mix").static if item.relation == "caller"]
    assert [(item.symbol, item.line) for item in callers] == [("digest", 18)]


def test_line_counts_are_summed_over_symbols_inside_the_extent_only() -> None:
    assert [(item.line, item.count) for item in hotspot(pack(), "digest").line_counts] == [(17, 100), (18, 100)]
    assert hotspot(pack(self_counts=None), "digest").line_counts == ()


def test_attempts_risks_and_strategies_belong_to_their_hotspot() -> None:
    found = pack()
    assert hotspot(found, "digest").attempts == (ATTEMPT,)
    assert hotspot(found, "mix").attempts == ()
    assert hotspot(found, "mix").risks == ("locks: spin_lock (line 7), spin_unlock (line 9)",)
    assert hotspot(found, "digest").risks[0].startswith("exported: EXPORT_SYMBOL_GPL")
    assert found.bottleneck == bottleneck.CALL_OVERHEAD
    assert hotspot(found, "digest").strategies[0] == "forced-inline"
    mine = pack(strategies={bottleneck.CALL_OVERHEAD: ("only-this",)})
    assert hotspot(mine, "mix").strategies == ("only-this",)


def test_every_rule_that_holds_is_kept_with_its_numbers() -> None:
    found = pack(kpis=(Kpi("memory_kills", "system", "all", "2", "1", 2, "kills"),))
    assert [(one.name, one.share) for one in found.bottlenecks] == [("call-overhead", "0.85"), ("reclaim", None)]
    assert (found.bottleneck, found.bottleneck_reason) == (found.bottlenecks[0].name, found.bottlenecks[0].reason)
    assert found.bottlenecks[1].evidence == ("memory_kills 2 1 (n=2)",)
    assert all(one.condition and one.threshold and one.why for one in found.bottlenecks)
    undecided = {one.name: one.reason for one in found.undecided}
    assert "reclaim" not in undecided and undecided["io-wait"].startswith("no capture tells pressure_full of io")


def test_a_hotspot_is_shown_what_serves_its_own_class() -> None:
    graph = call_graph.from_samples(folded.parse([b"main;digest 90\n", b"main;osq_lock 10\n"]))
    found = pack(pcg=graph, ranked=ranking.rank_by_self(graph))
    assert (found.bottleneck, hotspot(found, "digest").templates) == ("cpu-bound-loop", ())
    assert hotspot(found, "osq_lock").templates == (TEMPLATES[1],)
    assert {section.name for section in hotspot(found, "digest").sections} >= {"strategies", "risks"}
    full = full_text("templates", hotspot(pack(), "mix"))
    assert full == (
        "inline-it (against call-overhead): Inline the callee.\n  only if: It is small.\n  risks: Text grows.\n"
        "  shape:\n    -   static int mix(\n    +   static __always_inline int mix(\n  source: coding-style"
    )


def test_what_cannot_be_resolved_is_null_and_said() -> None:
    found = pack()
    nowhere, elsewhere = hotspot(found, "nowhere"), hotspot(found, "elsewhere")
    assert (nowhere.hotspot.file, nowhere.hotspot.resolved_by, nowhere.source) == (None, "unresolved", None)
    assert (elsewhere.hotspot.file, elsewhere.hotspot.first_line, elsewhere.hotspot.last_line) == ("a.S", 3, None)
    short = {section.name: section.short for section in elsewhere.sections}
    assert short["source"] == "no source text (a.S:3, resolved by nm)"
    assert short["line_counts"] == "unmeasured"


def test_extents_of_another_version_of_the_file_are_not_used() -> None:
    found = hotspot(pack(read=lambda path: ("0" * 40, b"\n" + SOURCE.encode())), "digest")
    assert (found.source, found.risks, found.static, found.line_counts) == (None, (), (), ())
    assert (found.hotspot.first_line, found.hotspot.last_line, found.hotspot.resolved_by) == (13, None, "dwarf")


def test_a_file_that_is_not_in_the_tree_has_extents_and_no_text() -> None:
    found = hotspot(pack(read=lambda path: None), "digest")
    assert (found.source, found.hotspot.last_line, found.hotspot.resolved_by) == (None, 20, "psg")


def test_a_profile_without_stacks_says_that_edges_are_unmeasured() -> None:
    graph = call_graph.from_samples(folded.parse([b"digest 9\n", b"mix 1\n"]))
    found = hotspot(pack(pcg=graph, ranked=ranking.rank_by_self(graph)), "digest")
    assert found.runtime == ()
    medium = {section.name: section.medium for section in found.sections}
    assert medium["runtime"] == "score 90.0 % of samples (self); callers and callees unmeasured"


def test_the_limit_holds_and_a_unit_is_parsed_once() -> None:
    asked: list[str] = []

    def unit_of(path: str) -> Unit | None:
        asked.append(path)
        return UNIT if path == PATH else None

    found = pack(limit=3, unit_of=unit_of)
    assert [item.hotspot.symbol for item in found.hotspots] == ["mix", "digest", "elsewhere"]
    assert sorted(asked) == ["a.S", PATH]


def test_nothing_ranked_is_an_empty_pack_with_a_reason() -> None:
    found = pack(ranked=(), pcg=None)
    assert (found.hotspots, found.bottleneck) == ((), bottleneck.UNKNOWN)
    assert found.bottleneck_reason == "no ranked symbol has a measured self cost"


@pytest.mark.parametrize(
    ("symbol", "name"),
    [("f.constprop.0", "f"), ("f.isra.0.cold", "f"), ("f.part.12", "f"), ("f.3", "f"), ("f", "f"), (".text", ".text")],
)
def test_compiler_made_copies_are_found_under_their_source_name(symbol: str, name: str) -> None:
    assert source_name(symbol) == name


def test_of_two_functions_of_one_name_the_one_around_the_line_is_taken() -> None:
    twin = replace(UNIT.functions[0], first_line=50, last_line=60, start=5000, end=5100)
    unit = replace(UNIT, functions=(twin, UNIT.functions[0]))
    assert function_of(unit, "mix", PATH, 55) == twin
    assert function_of(unit, "mix", PATH, None) == UNIT.functions[0]
    assert function_of(unit, "mix", "lib/other.c", 55) is None


def test_a_unit_that_libclang_parsed_is_understood(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    text = SOURCE.replace("EXPORT_SYMBOL_GPL(digest);\n", "").replace("CONFIG_SEED", "7")
    text = "static int lock;\nvoid spin_lock(int *l);\nvoid spin_unlock(int *l);\n" + text
    (tmp_path / PATH).write_text(text)
    unit = parse_unit(CompileCommand(tmp_path, tmp_path, PATH, ("cc", "-c", PATH)))
    assert unit.errors == 0
    found = hotspot(pack(unit_of=lambda path: unit, read=lambda path: ("0" * 40, text.encode())), "digest")
    assert found.source is not None
    assert found.source.text == text[text.index("int digest") : text.rindex("}") + 1]
    relations: Sequence[tuple[str, str]] = [(item.relation, item.symbol) for item in found.static]
    assert ("callee", "mix") in relations and ("callee", "(*step)") in relations
    assert ("global", "shared") in relations and ("struct", "table") in relations
