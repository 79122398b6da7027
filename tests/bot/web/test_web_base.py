# SPDX-License-Identifier: Apache-2.0
"""Where a run that is asked for begins: what names no commit, then the names that do."""

from __future__ import annotations

import pytest

from git_hmopt.store.queue import Queue
from hmopt_bot.work.job import KIND, RunJob
from tests.bot.web.serving import Served, served
from tests.loop.project import Project

GOOD = {"workload": "scan-blocks"}
NO_COMMIT = {
    "": None,
    "none": "'none' is not in this repository; see: git log --oneline --all",
    "0" * 40: "is not in this repository",
    "refs/heads/none": "is not in this repository",
    "master.lock": "is not in this repository",
    **dict.fromkeys(
        (
            "-1", "--all", "--upload-pack=x", "HEAD~1", "HEAD^", "HEAD^{/init}", ":/init", "master:.hmopt.yaml",
            "master..HEAD", "@{-1}", "HEAD@{1}", "master@{upstream}", "a b", "a\nb", "a\0b", "*", "x[1]", "a//b",
            "\x1b[1m", "\u202emaster", "<a b>", "../../etc/passwd", "\\",
        ),
        "expected the name of a branch or of a tag, or a commit id",
    ),
    "/etc/passwd": "<path> is not in this repository",
    "<script>": "'<script>' is not in this repository",
}  # fmt: skip


@pytest.mark.parametrize(("base", "what"), NO_COMMIT.items(), ids=map(ascii, NO_COMMIT))
def test_a_base_that_is_no_commit_is_refused(site: Served, base: str, what: str | None) -> None:
    with site.client() as client:
        answer = client.post("/runs", json={**GOOD, "base": base})
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")
    (error,) = answer.json()["errors"]
    assert error["where"] == ["body", "base"]
    assert what is None or what in error["what"]
    assert what is None or answer.json()["detail"] == "the repository has no such commit"
    assert str(site.site.place) not in answer.text
    assert not any(site.site.queue.counts().values())


def test_half_a_character_is_no_base(site: Served) -> None:
    with site.client() as client:
        content = b'{"workload": "scan-blocks", "base": "\\ud800"}'
        answer = client.post("/runs", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422


def test_what_is_a_blob_or_a_tree_is_no_base(site: Served) -> None:
    repository = site.site.repository()
    with site.client() as client:
        for name in ("HEAD^{tree}", "HEAD:.hmopt.yaml"):
            oid = repository.git.run("rev-parse", name).text
            answer = client.post("/runs", json={**GOOD, "base": oid})
            assert answer.status_code == 422
            assert answer.json()["errors"] == [{"where": ["body", "base"], "what": f"'{oid}' is no commit"}]


def test_a_base_is_the_commit_that_it_names_when_it_is_asked_for(project: Project, queue: Queue) -> None:
    first = project.git("rev-parse", "HEAD")
    project.git("branch", "topic/one")
    project.git("tag", "-a", "-m", "x", "v1")
    project.write("notes.txt", "of another commit")
    second = project.commit("second")
    with served(project.root, queue) as site, site.client() as client:
        for base, commit in (
            ("topic/one", first), ("refs/heads/topic/one", first), ("v1", first), (first, first), (first[:12], first),
            ("HEAD", second), ("@", second), (None, second),
        ):  # fmt: skip
            answer = client.post("/runs", json={**GOOD, "base": base, "seed": 3})
            assert answer.status_code == 202, answer.text
            job = queue.find(KIND, answer.json()["run"])
            assert job is not None
            assert RunJob.from_bytes(job.payload) == RunJob(
                run=answer.json()["run"], workload="scan-blocks", base=commit, seed=3
            )


def test_a_base_with_another_configuration_has_to_be_trusted(project: Project, queue: Queue) -> None:
    project.git("checkout", "-q", "-b", "other")
    project.write(".hmopt.yaml", (project.root / ".hmopt.yaml").read_text() + "# another\n")
    other = project.commit("another configuration")
    project.git("checkout", "-q", "-")
    with served(project.root, queue) as site, site.client() as client:
        answer = client.post("/runs", json={**GOOD, "base": "other"})
        assert (answer.status_code, client.post("/runs", json=GOOD).status_code) == (409, 202)
    assert f"git hmopt trust --base {other}" in answer.json()["detail"]
