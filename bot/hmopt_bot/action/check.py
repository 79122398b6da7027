# SPDX-License-Identifier: Apache-2.0
"""The step that measures, and tells what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from git_hmopt.errors import UntrustedError
from git_hmopt.process.sandbox import sandbox_missing
from git_hmopt.store.repository import Repository
from hmopt_bot.action.asking import asked
from hmopt_bot.action.job import Job, Wanted, commit, job_of, wanted
from hmopt_bot.action.runner import Level, annotate, put_out, put_summary
from hmopt_bot.action.summary import marks, summary, untold
from hmopt_bot.action.trusting import trust
from hmopt_bot.answer import WORDS, read_answer


def check(environment: Mapping[str, str]) -> int:
    """Measure, tell what came of it, and put out `answer` and `json`, the path of a file; answers end with 0."""
    job = job_of(environment)
    cautions = _cautions(job)
    base, trusted = commit(environment, "base"), commit(environment, "trusted")
    repository = Repository.open(Path())
    how = wanted(environment)
    file = trust(repository, trusted, how.config, job.temporary)
    done = asked(["check", base, "--json", *_options(how, file)])
    if done.code not in WORDS:
        annotate(Level.ERROR, done.complaint)
        return done.code
    answer_file = job.temporary / "git-hmopt-check.json"
    answer_file.unlink(missing_ok=True)
    if done.output.strip():
        found = read_answer(done.output)
        answer_file.write_text(done.output, encoding="utf-8")
        put_summary(summary(found, cautions=cautions))
        for level, text, place in marks(found):
            annotate(level, text, file=place)
        put_out("json", str(answer_file))
    else:
        # The base itself does not build, or there was no time: nothing can be said of any workload.
        put_summary(untold(done.complaint, cautions=cautions))
        annotate(Level.WARNING, done.complaint)
    put_out("answer", str(done.code))
    return 0


def _options(how: Wanted, file: Path | None) -> list[str]:
    options = [f"--workload={name}" for name in how.workloads]
    options += [f"--config={file}"] if file else []
    return options + ([f"--time={how.time}"] if how.time else [])


def _cautions(job: Job) -> list[str]:
    """Say what is missing here; UntrustedError where a stranger's code would get at what outlives the job."""
    missing = sandbox_missing()
    if missing is None:
        return []
    if job.self_hosted and job.from_fork:
        raise UntrustedError(
            f"this runner is not thrown away after the job, and a fork's code would run on it: {missing}",
            next_step="have bwrap work on the runner, or use one of GitHub's for forks",
        )
    annotate(Level.WARNING, missing)
    return [missing]
