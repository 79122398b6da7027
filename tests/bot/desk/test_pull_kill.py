# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the server and its workers at random points: every delivery has exactly one visible effect."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from git_hmopt.store.queue import State
from tests.bot.desk.hub import forges_file
from tests.bot.desk.world import World
from tests.bot.web.serving import Command, command, processes_of

_QUICK, _MANY = 60, 500
_WAIT_S = 600.0


@dataclass
class Served:
    """`git hmopt serve`, started again whenever it was killed."""

    world: World
    pause_s: float
    """Between two kills, at most."""
    most: int
    """Kills: a busy machine starts processes more slowly than they could be killed."""
    rest: threading.Event = field(default_factory=threading.Event)
    """Set when nothing is to be killed any more."""
    kills: Counter[str] = field(default_factory=Counter)
    server: Command | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Have it run, and be killed at random points, meanwhile."""
        with contextlib.ExitStack() as stack:
            self.server = stack.enter_context(command(self.world.project))
            killer = threading.Thread(target=self._kill, args=(stack,), name="killer")
            killer.start()
            try:
                yield
            finally:
                self.rest.set()
                killer.join(60)
                assert not killer.is_alive()

    def _kill(self, stack: contextlib.ExitStack) -> None:
        chance = random.Random(5)
        place = str(self.world.project.root)
        while self.kills.total() < self.most and not self.rest.wait(chance.uniform(0.1, self.pause_s)):
            assert self.server is not None
            # Both at least once, however quick it goes.
            if chance.random() < 0.25 or (self.kills["worker"] and not self.kills["server"]):
                self.kills["server"] += 1
                self.server.process.kill()
                self.server.process.wait(60)
                self.server = stack.enter_context(command(self.world.project))
            else:
                workers = [pid for pid, line in processes_of("hmopt_bot.worker").items() if place in line]
                if workers:
                    pid = chance.choice(workers)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        self.kills["worker"] += 1

    def deliver(self, event: str, body: dict[str, Any]) -> int:
        """Have the forge ring until it is heard, as whoever presses "redeliver" does; return how often it took."""
        headers, data = self.world.hub.delivery(event, body, id=str(uuid.uuid4()))
        for attempt in range(1, 400):
            try:
                assert self.server is not None
                with self.server.client() as client:
                    answer = client.post("/webhooks/github", content=data, headers=headers)
            except (httpx.TransportError, OSError):
                time.sleep(0.05)
                continue
            assert answer.status_code in (200, 202), answer.text
            return attempt
        raise AssertionError("nobody listens")


@pytest.mark.parametrize("deliveries", [_QUICK, pytest.param(_MANY, marks=pytest.mark.slow)])
def test_every_delivery_has_one_effect(world: World, tmp_path: Path, deliveries: int) -> None:
    forges_file(tmp_path, world.hub, "writes_a_minute = 100000\nwrites_an_hour = 100000\n")
    world.project.git("config", "hmopt.serve.forges", str(tmp_path / "forges.toml"))
    opened = deliveries // 5
    commits = [world.commit(new=f"return (void *){number}l;") for number in range(3)]
    events: list[tuple[str, dict[str, Any]]] = []
    for number in range(1, opened + 1):
        world.open(number, commits[number % 3], branch=f"feature-{number}")
        events.append(world.hub.pull_event(number))
    asked = [
        world.hub.comment(1 + number % opened, "/hmopt help" if number % 2 else "/hmopt chek")
        for number in range(deliveries - opened)
    ]
    events += [world.hub.comment_event(one) for one in asked]
    random.Random(7).shuffle(events)

    served = Served(world, 1.5, 6) if deliveries == _QUICK else Served(world, 3.0, 60)
    with served.running():
        for event in events:
            served.deliver(*event)
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            left = world.queue.counts()
            if not left[State.WAITING] + left[State.TAKEN]:
                break
            if left[State.WAITING] + left[State.TAKEN] < 5:
                # The last leases end undisturbed: what is shown is that nothing is lost or doubled.
                served.rest.set()
            time.sleep(0.1)
    print(f"{deliveries} deliveries, {dict(served.kills)} killed")
    assert served.kills["server"] and served.kills["worker"], served.kills
    left = world.queue.counts()
    assert (left[State.WAITING], left[State.TAKEN], left[State.DEAD]) == (0, 0, 0), left
    assert left[State.DONE] == deliveries

    ours = [one for number in range(1, opened + 1) for one in world.hub.below(number)]
    answers = Counter(match[1] for one in ours if (match := re.match(r"<!-- hmopt:answer-(\d+) -->", one)))
    assert answers == Counter(str(one["id"]) for one in asked)
    impacts = [one for one in ours if one.startswith("<!-- hmopt:pull -->")]
    assert len(impacts) == opened and all("scan_byte" in one for one in impacts)
    assert len(ours) == deliveries
    assert Counter(one["external_id"] for one in world.hub.checks) == Counter(
        f"hmopt:{number}:{commits[number % 3]}" for number in range(1, opened + 1)
    )
    assert world.hub.refused == []
