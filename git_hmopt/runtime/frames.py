# SPDX-License-Identifier: Apache-2.0
"""Frames from the markers of render service and applications: frames a second, dropped frames, jank and its windows.

Rule A is SmartPerf's frame timeline, B the stall rate of Huawei's device daemon, C the lost frames of SmartPerf's IDE,
D the device's frames a second; both generations of the markers are read. ReceiveVsync's `now` and `expectedEnd` are
monotonic time while rows are boot time: the least difference between a row and its `now` is what one clock is ahead of
the other. A drop is counted only for a vsync that was asked for or a frame that was committed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from git_hmopt.runtime.batches import UNKNOWN, Args, Batch, Integers
from git_hmopt.runtime.kpi import NS, Kpi, kpi, share
from git_hmopt.runtime.pairing import Pairing
from git_hmopt.runtime.sched import Sched
from git_hmopt.runtime.sections import Sections
from git_hmopt.traces.text_columns import Mask

IDLE_GAP = 170_000_000
"""Nanoseconds without a present that end an active span (SpLTPO.ts)."""
SEVERE = 100_000_000
"""Nanoseconds between presents that are a severe stall (FPS.cpp)."""
MOST_SECTIONS = 4_000_000
"""Sections about frames that are kept; half an hour of them at 120 Hz."""
WINDOWS = 20
TOO_MANY = "section about a frame: too many to keep"

_VSYNC, _ON_VSYNC, _COMMIT, _COMPOSE, _PRESENT, _RATE, _UNCHANGED, _DO_FRAME, _PERIOD = range(1, 10)
# Of one name the first that fits is its kind.
_KINDS = (
    ("ReceiveVsync", _VSYNC),
    ("OnVsyncEvent", _ON_VSYNC),
    ("MarshRSTransactionData", _COMMIT),
    ("DoComposition", _COMPOSE),
    ("Waiting for Present", _PRESENT),
    ("CommitAndReleaseLayers", _RATE),
    ("CommitLayers", _RATE),
    ("DisplayNodeSkip", _UNCHANGED),
    ("DisplayNode skip", _UNCHANGED),
    ("has signaled", _UNCHANGED),
    ("Choreographer#doFrame", _DO_FRAME),
    ("GenerateVsyncCount", _PERIOD),
    ("VSyncReceiver:period", _PERIOD),
)

_QUEUED = "M: Frame queued"
_SCENES = (
    "APP_LIST_FLING", "APP_SWIPER_SCROLL", "APP_SWIPER_FLING", "WEB_LIST_FLING", "ABILITY_OR_PAGE_SWITCH",
    "LAUNCHER_APP_LAUNCH_FROM_", "APP_TRANSITION_", "APP_TABS_",
)  # fmt: skip
"""What users see move, as the device daemon's stall rate takes it."""
MOST_SCENES = 10_000

RULE_A = "rule A: a frame's end beyond the end its vsync expected"
RULE_B = "rule B: what a gap between presents is longer than 1.5 periods"
RULE_C = "rule C: periods without a present, seven tenths count as one; periods without new content are not counted"
RULE_D = "rule D: presents within the same second of the clock"
NO_FENCES = "no wait for a present fence is recorded"
NO_FRAMES = "the capture has no marker of a frame"


@dataclass(frozen=True)
class JankWindow:
    """The time of one late frame."""

    start_ns: int
    end_ns: int
    late_ns: int
    """How much later than expected it ended."""
    who: str
    rule: str
    tid: int | None = None
    """The thread whose frame it was; None where the capture, or what was recorded of it, does not tell."""


@dataclass(frozen=True)
class _Table:
    """Sections of one kind, by start."""

    tid: Integers
    start: Integers
    end: Integers
    now: Integers
    """`now:` of a vsync, `rate:` of a commit, `period:` of a generator."""
    expected: Integers
    vsync: Integers

    def at(self, chosen: Mask | Integers) -> _Table:
        return _Table(*(getattr(self, column)[chosen] for column in self.__dataclass_fields__))


@dataclass(frozen=True)
class _Frames:
    """Frames of rule A."""

    tid: Integers
    start: Integers
    end: Integers
    late: Integers
    """Nanoseconds beyond the expected end, 0 for a frame in time."""


@dataclass(frozen=True)
class _Presents:
    """What was shown: the instants, the period of each gap between them, and where both come from."""

    at: Integers
    period: Integers
    unchanged: Integers
    """How many periods of each gap had no new content."""
    what: str
    period_from: str

    @property
    def gap(self) -> Integers:
        return np.diff(self.at)


class FrameTimeline:
    """Accumulates the sections that tell of frames."""

    def __init__(self, losses: Counter[str], sched: Sched) -> None:
        self._losses, self._sched = losses, sched
        self._sections = Sections(losses)
        self._said: list[Integers] = []
        self._ended: list[Integers] = []
        self._begun = 0
        self._crossings = Pairing(losses, first=False)
        self._crossed: list[Integers] = []
        self._ends = 0
        self._names: dict[str, int] = {}

    def feed(self, batch: Batch) -> None:
        """Take the next batch."""
        self._cross(batch)
        rows, begins = batch.markers()
        value = np.zeros(len(rows), np.int64)
        value[begins] = self._telling(batch, rows[begins])
        spans = self._sections.feed(batch.tid[rows], begins, batch.ts[rows], batch.epoch[rows], value)
        telling = spans.value > 0
        if telling.any():
            self._ended.append(
                np.stack([column[telling] for column in (spans.value, spans.key, spans.start, spans.end)])
            )

    def _cross(self, batch: Batch) -> None:
        """Keep the scenes, and the frames that wait for the GPU, which begin and end in different threads."""
        rows, starts = batch.markers("S", "F")
        names = batch.names.gather(rows)
        telling = np.flatnonzero(names.str.contains_any([_QUEUED, *_SCENES]).to_numpy()) if len(rows) else rows
        if not len(telling):
            return
        rows, starts = rows[telling], starts[telling]
        codes = np.array([self._code(name) for name in names.gather(telling).to_list()])
        number = Args(batch.frame["args"].gather(rows).fill_null("")).number("id")
        key = (codes << 32) | (number & 0xFFFFFFFF)
        spans = self._crossings.feed(key, starts, batch.ts[rows], batch.epoch[rows])
        kept = min(len(spans.key), MOST_SECTIONS - self._ends)
        self._ends += kept
        if kept < len(spans.key):
            self._losses[TOO_MANY] += len(spans.key) - kept
        self._crossed.append(np.stack([spans.key >> 32, spans.start, spans.end])[:, :kept])

    def _code(self, name: str) -> int:
        scene = name.removeprefix("H:")
        if scene not in self._names and len(self._names) >= MOST_SCENES:
            self._losses[TOO_MANY] += 1
            return MOST_SCENES
        return self._names.setdefault(scene, len(self._names))

    def _telling(self, batch: Batch, rows: Integers) -> Integers:
        """Return for each begin the number that its section is kept by, 0 for one that tells nothing of frames."""
        number = np.zeros(len(rows), np.int64)
        names = batch.names.gather(rows)
        chosen = np.flatnonzero(names.str.contains_any([part for part, _ in _KINDS]).to_numpy())
        if not len(chosen):
            return number
        if self._begun + len(chosen) > MOST_SECTIONS:
            over = self._begun + len(chosen) - MOST_SECTIONS
            self._losses[TOO_MANY] += over
            chosen = chosen[: len(chosen) - over]
        number[chosen] = np.arange(self._begun + 1, self._begun + 1 + len(chosen))
        self._begun += len(chosen)
        names = names.gather(chosen)
        kind = np.zeros(len(chosen), np.int64)
        for part, code in reversed(_KINDS):
            kind[names.str.contains(part, literal=True).to_numpy()] = code
        args = Args(names)
        first = np.select(
            [kind == _VSYNC, kind == _RATE, kind == _PERIOD],
            [args.number_behind(word) for word in ("now:", "rate:", "period:")],
            UNKNOWN,
        )
        self._said.append(np.stack([kind, first, args.number_behind("expectedEnd:"), args.number_behind("vsyncId:")]))
        return number

    def unmatched(self) -> dict[str, int]:
        """Return the begins and ends of sections without another half, by reason."""
        return self._sections.unmatched()

    def results(self) -> tuple[list[Kpi], tuple[JankWindow, ...]]:
        """Return the KPIs and the windows of the worst janks, the worst first."""
        tables = self._tables()
        crossed = np.concatenate(self._crossed, axis=1) if self._crossed else np.zeros((3, 0), np.int64)
        queued = crossed[1:, crossed[0] == self._names.get(_QUEUED, UNKNOWN)]
        frames, facts = _by_rule_a(tables, queued[:, np.argsort(queued[0], kind="stable")])
        presents = _presents(tables, frames)
        found = [*facts, *_pace(presents), *_drops(presents, frames), *_jank(presents, frames)]
        for scene, code in sorted(self._names.items()):
            if scene != _QUEUED:
                found.append(_of_scene(scene, crossed[1:, crossed[0] == code], presents))
        for tid in np.unique(frames.tid).tolist():
            of_thread = frames.tid == tid
            found += self._of_thread(tid, frames.late[of_thread])
        return found, self._windows(presents, frames)

    def _tables(self) -> dict[int, _Table]:
        said = np.concatenate(self._said, axis=1) if self._said else np.zeros((4, 0), np.int64)
        ended = np.concatenate(self._ended, axis=1) if self._ended else np.zeros((4, 0), np.int64)
        number, tid, start, end = ended
        kind, first, expected, vsync = said[:, number - 1]
        whole = _Table(tid, start, end, first, expected, vsync)
        order = np.lexsort((number, start))
        kind, whole = kind[order], whole.at(order)
        return {code: whole.at(kind == code) for code in range(_VSYNC, _PERIOD + 1)}

    def _of_thread(self, tid: int, late: Integers) -> Iterator[Kpi]:
        who, count = self._sched.who(tid), len(late)
        yield kpi("jank_p95_ms", _p95_ms(late), "ms", count, RULE_A, scope="thread", who=who)
        yield kpi("jank_rate", share(int((late > 0).sum()), count), "1", count, RULE_A, scope="thread", who=who)

    def _windows(self, presents: _Presents, frames: _Frames) -> tuple[JankWindow, ...]:
        if len(frames.tid):
            worst = np.lexsort((frames.start, -frames.late))[:WINDOWS].tolist()
            return tuple(
                JankWindow(
                    int(frames.start[one]), int(frames.end[one]), int(frames.late[one]),
                    self._sched.who(int(frames.tid[one])), RULE_A, int(frames.tid[one]),
                )
                for one in worst if frames.late[one] > 0
            )  # fmt: skip
        late = _stalls(presents)
        worst = np.lexsort((presents.at[:-1], -late))[:WINDOWS].tolist() if len(late) else []
        return tuple(
            JankWindow(int(presents.at[one]), int(presents.at[one + 1]), int(late[one]), presents.what, RULE_B)
            for one in worst if late[one] > 0
        )  # fmt: skip


def _inside(outer: _Table, inner: _Table) -> Integers:
    """Return for each section the index of the first of the others that lies in it, in the same thread; or -1."""
    found = np.full(len(outer.tid), -1, np.int64)
    for tid in np.unique(outer.tid).tolist():
        mine, theirs = np.flatnonzero(outer.tid == tid), np.flatnonzero(inner.tid == tid)
        if not len(theirs):
            continue
        at = np.searchsorted(inner.start[theirs], outer.start[mine])
        candidate = theirs[np.minimum(at, len(theirs) - 1)]
        fits = (at < len(theirs)) & (inner.end[candidate] <= outer.end[mine])
        found[mine[fits]] = candidate[fits]
    return found


def _of_scene(scene: str, spans: Integers, presents: _Presents) -> Kpi:
    """Return the stall rate of what users saw move, over all the times it did."""
    late = _stalls(presents)
    lost = gaps = 0
    for start, end in spans.T.tolist():
        first, behind = np.searchsorted(presents.at, [start, end + 1]).tolist()
        inside = late[first : max(behind - 1, first)]
        lost, gaps = lost + int(inside.sum()), gaps + len(inside)
    rate = share(lost * 1000, int((spans[1] - spans[0]).sum())) if gaps else None
    rule = f"{RULE_B}, over the times of the scene; {presents.what}; {presents.period_from}"
    return kpi("stall_rate", rate, "ms/s", gaps, rule, scope="frame", who=scene)


def _by_rule_a(tables: dict[int, _Table], queued: Integers) -> tuple[_Frames, list[Kpi]]:
    """Return the frames of render service and applications, and what their clocks and their numbers are."""
    vsync = tables[_VSYNC]
    vsync = vsync.at((vsync.now > 0) & (vsync.expected > 0) & (vsync.vsync > 0))
    offset = int((vsync.start - vsync.now).min()) if len(vsync.tid) else 0
    composed = _inside(vsync, tables[_COMPOSE]) >= 0
    work = _inside(vsync, tables[_ON_VSYNC])
    committed = np.zeros(len(vsync.tid), np.bool_)
    has_work = work >= 0
    committed[has_work] = _inside(tables[_ON_VSYNC].at(work[has_work]), tables[_COMMIT]) >= 0
    ends = vsync.end.copy()
    ends[has_work] = tables[_ON_VSYNC].end[work[has_work]]
    # A render service's frame ends with the whole of its vsync, or when the GPU has taken what was queued in it.
    ends[composed] = vsync.end[composed]
    if queued.shape[1]:
        at = np.minimum(np.searchsorted(queued[0], vsync.start), queued.shape[1] - 1)
        within = composed & (queued[0][at] >= vsync.start) & (queued[0][at] <= vsync.end)
        ends = np.where(within, np.maximum(ends, queued[1][at]), ends)
    chosen = composed | committed
    late = np.maximum(ends - (vsync.expected + offset), 0)
    empty = has_work & ~committed & ~composed
    frames = _Frames(vsync.tid[chosen], vsync.start[chosen], ends[chosen], late[chosen])
    count = len(vsync.tid)
    rule = "boot time less monotonic time: the least difference between a ReceiveVsync's row and its now:"
    facts = [
        kpi("clock_offset", offset if count else None, "ns", count, rule),
        kpi("frames_app", int((committed & ~composed).sum()) if count else None, "frames", count,
            "vsyncs whose OnVsyncEvent marshalled a transaction"),
        kpi("frames_render_service", int(composed.sum()) if count else None, "frames", count,
            "vsyncs with a DoComposition"),
        kpi("frames_without_content", int(empty.sum()) if count else None, "frames", count,
            "vsyncs whose OnVsyncEvent marshalled nothing: no frames of rule A"),
    ]  # fmt: skip
    return frames, facts


def _presents(tables: dict[int, _Table], frames: _Frames) -> _Presents:
    """Return what was shown, by the best marker there is."""
    choices = (
        ("ends of waits for present fences", np.sort(tables[_PRESENT].end)),
        ("starts of DoComposition", tables[_COMPOSE].start),
        ("starts of Choreographer#doFrame", tables[_DO_FRAME].start),
        ("ends of frames of rule A", np.sort(frames.end)),
    )
    what, at = next(((what, at) for what, at in choices if len(at) > 1), (NO_FRAMES, np.zeros(0, np.int64)))
    gap = np.diff(at)
    rates = tables[_RATE].at((tables[_RATE].now > 0) & (tables[_RATE].now <= 1000))
    periods = tables[_PERIOD].at(tables[_PERIOD].now > 0)
    if len(rates.tid) and len(gap):
        index = np.maximum(np.searchsorted(rates.start, at[1:], side="right") - 1, 0)
        period, period_from = NS // rates.now[index], "period by the commits' rate:"
    elif len(periods.tid):
        period, period_from = np.full(len(gap), int(np.median(periods.now))), "period by the vsync generator's period:"
    else:
        active = gap[(gap > 0) & (gap <= IDLE_GAP)]
        period = np.full(len(gap), int(np.median(active)) if len(active) else 0)
        period_from = "period by the median gap"
    unchanged = np.diff(np.searchsorted(tables[_UNCHANGED].start, at)) if len(gap) else gap
    return _Presents(at, period, unchanged, what, period_from)


def _pace(presents: _Presents) -> Iterator[Kpi]:
    """Yield how many frames a second were shown while any were."""
    gap = presents.gap
    active = gap[(gap > 0) & (gap <= IDLE_GAP)]
    count = len(active)
    rule = f"presents less one over the time of active spans, cut where nothing is shown for 170 ms; {presents.what}"
    fps = share(count * NS, int(active.sum()))
    yield kpi("fps_avg", fps, "1/s", count + 1 if count else 0, rule if len(gap) else NO_FRAMES)
    seconds, shown = np.unique(presents.at // NS, return_counts=True)
    # The first and the last second are not whole.
    whole = shown[1:-1]
    rule = f"{RULE_D}, median of whole seconds; {presents.what}"
    yield kpi("device_fps", float(np.median(whole)) if len(whole) else None, "1/s", len(seconds), rule)
    stalls = int((gap > SEVERE).sum()) if len(gap) else None
    yield kpi("severe_stalls", stalls, "1", len(gap), f"gaps between presents beyond 100 ms; {presents.what}")


def _drops(presents: _Presents, frames: _Frames) -> Iterator[Kpi]:
    """Yield what was not shown in time: by rule C, and by rule A where no present is known."""
    gap = presents.gap
    by_fence = len(gap) and presents.what.startswith("ends of waits")
    if not by_fence:
        late, count = int((frames.late > 0).sum()), len(frames.tid)
        rule = f"{RULE_A}; {NO_FENCES}" if count else NO_FENCES if len(gap) else NO_FRAMES
        yield kpi("frame_drop_rate", share(late, count), "1", count, rule)
        return
    rule = f"{RULE_C}; {presents.what}; {presents.period_from}"
    active = (gap > 0) & (gap < IDLE_GAP) & (presents.period > 0)
    period = presents.period[active]
    content = gap[active] - presents.unchanged[active] * period
    # SpLTPO.ts rounds gap/period - 1 up from seven tenths on: whole(10 gap - 7 period) / 10 periods.
    lost = np.maximum((10 * content - 7 * period) // (10 * period), 0)
    count, total = int(active.sum()), int(lost.sum())
    yield kpi("frame_drop_rate", share(total, count + total), "1", count, rule)
    yield kpi("frames_lost", total, "frames", count, rule)
    hitch = int((content - period)[lost > 0].sum())
    per_second = share(hitch * 1000, int(gap[active].sum()))
    yield kpi("hitch_ms_per_s", per_second, "ms/s", count, f"{RULE_C}, as time beyond the period; {presents.what}")


def _stalls(presents: _Presents) -> Integers:
    """Return what each gap lasts beyond one and a half periods; 0 for a pause in which nothing was to be shown."""
    gap = presents.gap
    late = np.maximum(gap - presents.period * 3 // 2, 0)
    return np.where(gap < IDLE_GAP, late, 0)


def _jank(presents: _Presents, frames: _Frames) -> Iterator[Kpi]:
    """Yield how late frames are."""
    count = len(frames.tid)
    stalls = _stalls(presents)
    if count:
        yield kpi("jank_p95_ms", _p95_ms(frames.late), "ms", count, RULE_A)
        yield kpi("jank_rate", share(int((frames.late > 0).sum()), count), "1", count, RULE_A)
    else:
        rule = f"{RULE_B}; {presents.what}; {presents.period_from}" if len(stalls) else NO_FRAMES
        yield kpi("jank_p95_ms", _p95_ms(stalls), "ms", len(stalls), rule)
    gap = presents.gap
    active = int(gap[gap < IDLE_GAP].sum()) if len(gap) else 0
    stall = share(int(stalls.sum()) * 1000, active)
    yield kpi("stall_rate", stall, "ms/s", len(stalls), f"{RULE_B}; {presents.what}; {presents.period_from}")


def _p95_ms(late: Integers) -> float | None:
    """Return the 95th percentile by the nearest rank, in milliseconds."""
    if not len(late):
        return None
    return int(np.sort(late)[-(-len(late) * 95 // 100) - 1]) / 1_000_000
