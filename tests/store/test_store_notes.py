# SPDX-License-Identifier: Apache-2.0
"""Notes: what git shows is what was written, with any fan-out, by any number of processes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from git_hmopt.errors import StoreError
from git_hmopt.records.words import NOTES_METRICS, NOTES_VERDICTS, Oid, RefName
from git_hmopt.store.note_lines import merge_lines
from git_hmopt.store.notes import FLAT_UNTIL, NoteDraft, Notes
from git_hmopt.store.repository import Repository
from tests.store.repositories import Shell, in_processes, make_repository, metric_record

AT = "2026-01-31T10:00:00Z"


def _commits(shell: Shell, count: int) -> list[Oid]:
    """Return that many objects to note on (a note is for any object; blobs are quick to make)."""
    paths = []
    for number in range(count):
        shell.write(f"objects/{number}", f"{number}\n")
        paths.append(f"objects/{number}")
    return [Oid(oid) for oid in shell.git("hash-object", "-w", "--", *paths).split()]


def _show(shell: Shell, oid: Oid) -> list[str]:
    return shell.git("notes", "--ref=hmopt/metrics", "show", oid).splitlines()


def test_a_metric_is_one_canonical_line(any_shell: Shell, any_repository: Repository) -> None:
    head = any_repository.resolve("HEAD")
    data = metric_record(head).model_dump(mode="json")
    notes = Notes(any_repository)
    notes.append([NoteDraft(head, AT, data)])
    notes.append([NoteDraft(head, AT, dict(reversed(list(data.items()))))])
    (line,) = _show(any_shell, head)
    assert line.startswith('{"at":"2026-01-31T10:00:00Z","commit":')
    assert json.loads(line) == {"at": AT, **data}
    assert notes.read([head]) == {head: [line]}
    log = any_shell.git("log", "-1", "--notes=hmopt/metrics")
    assert line in log
    assert "Notes (hmopt/metrics):" in log
    assert NoteDraft(head, AT, {}).line() == '{"at":"2026-01-31T10:00:00Z"}'


def test_lines_are_merged_as_cat_sort_uniq_does(shell: Shell, repository: Repository) -> None:
    head = repository.resolve("HEAD")
    for ref, text in (("ours", '{"at":"b"}\n{"at":"a"}'), ("theirs", '{"at":"c"}\n{"at":"a"}')):
        shell.git("notes", f"--ref={ref}", "add", "-m", text)
    shell.git("notes", "--ref=ours", "merge", "-q", "-s", "cat_sort_uniq", "theirs")
    by_git = shell.git("notes", "--ref=ours", "show", head)
    ours = merge_lines(b'{"at":"b"}\n{"at":"a"}\n', b'{"at":"c"}\n\n{"at":"a"}')
    assert ours.decode() == by_git + "\n"


def test_what_was_noted_by_hand_stays(shell: Shell, repository: Repository) -> None:
    head, first = repository.resolve("HEAD"), repository.resolve("HEAD~1")
    shell.git("notes", "--ref=hmopt/metrics", "add", "-m", "by hand", head)
    shell.git("notes", "--ref=hmopt/metrics", "add", "-m", "elsewhere", first)
    Notes(repository).append([NoteDraft(head, AT, {"n": 1})])
    assert _show(shell, head) == ["by hand", '{"at":"2026-01-31T10:00:00Z","n":1}']
    assert _show(shell, first) == ["elsewhere"]
    assert shell.git("rev-list", "--count", NOTES_METRICS) == "3"


@pytest.mark.parametrize("steps", [[2000], [FLAT_UNTIL, 1, 400], [100] * 5])
def test_fan_out_is_git_s(any_shell: Shell, any_repository: Repository, steps: list[int]) -> None:
    objects = _commits(any_shell, sum(steps))
    notes = Notes(any_repository)
    done = 0
    for step in steps:
        notes.append([NoteDraft(oid, AT, {"n": done + n}) for n, oid in enumerate(objects[done : done + step])])
        done += step
    listed = any_shell.git("notes", "--ref=hmopt/metrics", "list").splitlines()
    assert sorted(line.split()[1] for line in listed) == sorted(objects)
    for number in (0, done // 2, done - 1):
        assert json.loads(_show(any_shell, objects[number])[0])["n"] == number
    paths = any_shell.git("ls-tree", "-r", "--name-only", NOTES_METRICS).splitlines()
    assert len(paths) == done
    assert all(path[2] == "/" for path in paths)
    assert max(len(any_shell.git("ls-tree", NOTES_METRICS).splitlines()), 0) <= FLAT_UNTIL
    any_shell.git("fsck", "--strict", "--no-dangling")
    assert len(notes.read()) == done


def test_fan_out_that_git_made_is_kept(shell: Shell, repository: Repository) -> None:
    who = "committer T <t@example.org> 0 +0000\ndata 0\n"
    stream = "".join(f"commit refs/heads/many\nmark :{mark}\n{who}" for mark in range(1, 321))
    stream += f"commit {NOTES_METRICS}\n{who}" + "".join(f"N inline :{mark}\ndata 4\nold\n" for mark in range(1, 301))
    shell.git("fast-import", "--quiet", stdin=stream.encode())
    objects = [Oid(oid) for oid in shell.git("rev-list", "--reverse", "refs/heads/many").split()]
    before = set(shell.git("ls-tree", "-d", "--name-only", NOTES_METRICS).split())
    assert before
    Notes(repository).append([NoteDraft(oid, AT, {}) for oid in objects[290:]])
    listed = shell.git("notes", "--ref=hmopt/metrics", "list").splitlines()
    assert len(listed) == 320
    assert _show(shell, objects[0]) == ["old"]
    assert _show(shell, objects[295]) == ["old", '{"at":"2026-01-31T10:00:00Z"}']
    assert _show(shell, objects[319]) == ['{"at":"2026-01-31T10:00:00Z"}']
    # And git goes on with what we made.
    shell.git("notes", "--ref=hmopt/metrics", "append", "-m", "after", objects[319])
    assert _show(shell, objects[319])[-1] == "after"
    assert len(shell.git("notes", "--ref=hmopt/metrics", "list").splitlines()) == 320


def test_a_note_that_stands_both_flat_and_fanned_out_becomes_one(shell: Shell, repository: Repository) -> None:
    oid = repository.resolve("HEAD")
    flat, fanned = (shell.git("hash-object", "-w", "--stdin", stdin=text) for text in (b"flat\n", b"fanned\n"))
    inner = shell.git("mktree", stdin=f"100644 blob {fanned}\t{oid[2:]}\n".encode())
    lines = f"100644 blob {flat}\t{oid}\n040000 tree {inner}\t{oid[:2]}\n100644 blob {flat}\tREADME\n"
    tree = shell.git("mktree", stdin=lines.encode())
    shell.git("update-ref", NOTES_METRICS, shell.git("commit-tree", tree, "-m", "odd"))
    Notes(repository).append([NoteDraft(oid, AT, {})])
    assert shell.git("ls-tree", "-r", "--name-only", NOTES_METRICS).split() == sorted(
        ["README", f"{oid[:2]}/{oid[2:]}"]
    )
    assert _show(shell, oid) == ["fanned", "flat", '{"at":"2026-01-31T10:00:00Z"}']


def test_two_thousand_notes_take_less_than_a_second(shell: Shell, repository: Repository) -> None:
    objects = _commits(shell, 2000)
    data = metric_record().model_dump(mode="json")
    drafts = [NoteDraft(oid, AT, {**data, "n": number}) for number, oid in enumerate(objects)]
    repository.objects.read_many([objects[0]])
    before = time.process_time(), time.monotonic()
    Notes(repository).append(drafts)
    # CPU, since other programs may have the machine; wall with room for them.
    assert time.process_time() - before[0] <= 1.0
    assert time.monotonic() - before[1] <= 3.0
    assert "in-pack: 0" not in shell.git("count-objects", "-v")


def test_twenty_processes_on_one_notes_ref_lose_nothing(shell: Shell) -> None:
    _race(shell, processes=20)


def test_processes_on_one_notes_ref_of_a_sha256_repository_lose_nothing(tmp_path: Path) -> None:
    """Each attempt takes a few git processes there, so fewer race."""
    _race(make_repository(tmp_path / "sha256", "--object-format=sha256"), processes=6)


def _race(shell: Shell, *, processes: int) -> None:
    commits = shell.git("rev-list", "HEAD").split()

    def append(number: int) -> None:
        notes = Notes(Repository.open(shell.cwd))
        for step in range(5):
            notes.append([NoteDraft(Oid(oid), AT, {"who": f"p{number}", "n": step}) for oid in commits])

    in_processes(processes, append)
    for oid in commits:
        assert len(_show(shell, Oid(oid))) == 5 * processes
    shell.git("fsck", "--strict", "--no-dangling")


def test_nothing_to_note_makes_no_ref(shell: Shell, repository: Repository) -> None:
    Notes(repository).append([])
    assert shell.git("for-each-ref", "refs/notes") == ""


def test_only_our_two_notes_refs(repository: Repository) -> None:
    assert Notes(repository, NOTES_VERDICTS).read() == {}
    for ref in ("refs/notes/commits", "hmopt/metrics", "refs/hmopt/metrics"):
        with pytest.raises(StoreError, match="is none of our notes"):
            Notes(repository, RefName(ref))
