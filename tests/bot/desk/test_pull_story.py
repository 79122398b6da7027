# SPDX-License-Identifier: Apache-2.0
"""The whole story on loopback: `git hmopt serve`, a forge over HTTP, a git remote over HTTP, a person who merges."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bot.desk.hub import LOGIN, TOKEN
from tests.bot.desk.world import PULL, World, project_with, world_of
from tests.bot.web.serving import Command, command, processes_of
from tests.store.repositories import Shell

WAIT_S = 400


def until(what: str, holds: Callable[[], Any]) -> Any:
    """Wait for something that workers do."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        found = holds()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"never seen: {what}")


def deliver(server: Command, world: World, event: str, body: dict[str, Any]) -> None:
    """Have the forge ring."""
    headers, data = world.hub.delivery(event, body)
    with server.client() as client:
        answer = client.post("/webhooks/github", content=data, headers=headers)
    assert answer.status_code == 202, answer.text


def test_from_an_opened_pull_request_to_a_merged_proposal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = project_with(
        tmp_path / "made", review={"paths": ["lib/*"], "workloads": ["scan-blocks"]},
        defaults={"workload": "scan-blocks"},
    )  # fmt: skip
    monkeypatch.setenv("HOME", project.environment["HOME"])
    with world_of(tmp_path, project) as world:
        project.git("config", "hmopt.serve.forges", str(tmp_path / "forges.toml"))
        with command(project) as server:
            head = world.open()
            deliver(server, world, *world.hub.pull_event(PULL))
            until("what it touches", lambda: any("scan_byte" in body for body in world.hub.below(PULL)))
            # Measured unasked, since the configuration says so and it is nobody's fork.
            until("a verdict", lambda: "#### Measured" in world.sticky())
            # The check is written after the comment.
            until("its check", lambda: [one["conclusion"] for one in world.hub.checks] == ["success"])
            assert world.hub.checks[0]["head_sha"] == head, world.sticky()

            comment = world.hub.comment(PULL, "/hmopt propose")
            deliver(server, world, *world.hub.comment_event(comment))
            until("an answer", lambda: any("hmopt:answer" in body for body in world.hub.below(PULL)))
            number = until("a draft", lambda: next((one for one in world.hub.pulls if one > 1000), None))
            draft = world.hub.pulls[number]
            until("its announcement", lambda: f"#{number}" in world.answer())
            code, errors = server.ended()
        assert (code, TOKEN in errors) == (0, False), errors

    assert draft["draft"] is True and draft["base"]["ref"] == "feature"
    assert "at the request of @maintainer" in draft["body"] and f"git hmopt check {head} --head" in draft["body"]
    # A person merges it into the branch that the pull request is made of, with plain git.
    person = Shell(tmp_path / "person")
    Shell(tmp_path).git("clone", "-q", "-b", "feature", str(world.hub.git.cwd), str(person.cwd))
    person.git("merge", "-q", "--no-edit", f"origin/{draft['head']['ref']}")
    run = world.ledger().asks[-1].run
    assert run is not None and draft["head"]["ref"] == f"hmopt/{run}/best"
    accepted = project.git("log", "--format=%H", f"{head}..hmopt/{run}/best").split()
    assert accepted and set(accepted) <= set(person.git("log", "--format=%H").split())
    for path in project.git("diff", "--name-only", head, f"hmopt/{run}/best").split():
        assert (person.cwd / path).read_text() == project.git("show", f"hmopt/{run}/best:{path}") + "\n"
    assert "const u32 crc32c_table[256]" not in (person.cwd / "lib/crc.c").read_text() or accepted
    # One comment that was edited, one answer, one check, and nothing that the forge would have refused.
    assert len(world.hub.below(PULL, by=LOGIN)) == 2 and len(world.hub.checks) == 1
    assert world.hub.refused == []
    # Nobody wrote the token down.
    kept = [path for path in (project.root / ".git/hmopt").rglob("*") if path.is_file()]
    assert not [path for path in kept if TOKEN.encode() in path.read_bytes()]


@pytest.mark.parametrize("how", ["stop", "push"])
def test_what_runs_is_ended_by_a_command_or_a_push(world: World, tmp_path: Path, how: str) -> None:
    """While the build trees are at work for hours, whoever talks is not: it hears of it and ends that."""
    world.project.git("config", "hmopt.serve.forges", str(tmp_path / "forges.toml"))
    place = str(world.project.root)

    def driven() -> list[int]:
        return [pid for pid, line in processes_of("hmopt_bot.work.driven").items() if place in _cwd(pid) + line]

    with command(world.project) as server:
        world.open()
        deliver(server, world, *world.hub.pull_event(PULL))
        until("what it touches", lambda: world.hub.below(PULL))
        comment = world.hub.comment(PULL, "/hmopt optimize scan", at=time.time() + 60)
        deliver(server, world, *world.hub.comment_event(comment))
        until("a run", lambda: driven() and world.project.git("for-each-ref", "refs/hmopt/runs"))
        # Whoever builds knows what its sandboxes must not show.
        named = Path(f"/proc/{driven()[0]}/environ").read_bytes().split(b"\0")
        assert [str(tmp_path / "forges.toml").encode() in one for one in named if one.startswith(b"HMOPT_SERVE_S")] == [
            True
        ]
        if how == "stop":
            stop = world.hub.comment(PULL, "/hmopt stop")
            deliver(server, world, *world.hub.comment_event(stop))
        else:
            world.hub.push(PULL, world.commit(new="return (char *)0;"))
            deliver(server, world, *world.hub.pull_event(PULL, "synchronize"))
        until("its end", lambda: not driven())
        expected = "stopped" if how == "stop" else "outdated"
        until("what is known", lambda: world.ask().status == expected)
        if how == "stop":
            until("an answer", lambda: ": stopped." in world.answer())
        code, errors = server.ended()
    assert code == 0, errors
    assert not processes_of(place)


def _cwd(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return ""
