# SPDX-License-Identifier: Apache-2.0
"""Tell a run's story on one screen, or every message of its agents and of the models they asked.

With --messages a line each: iteration, agent, role, model, tokens in and out ("at most" where the server told nothing
and a bound was counted), seconds, cost, and what came of it; at the end what all of them used. With --full the prompts,
answers and thinking, too, as far as they are in this clone: they are not pushed unless artifacts are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from git_hmopt.cli.number import count
from git_hmopt.cli.story import named_run, shown
from git_hmopt.errors import ExitCode, UsageError
from git_hmopt.loop.standing import told
from git_hmopt.report.story import RunStory
from git_hmopt.report.wording import skipped_line
from git_hmopt.store.repository import Repository


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run, or a part of its name (default: the latest)")
    parser.add_argument("--messages", action="store_true", help="what agents said, and every exchange with a model")
    parser.add_argument("--iteration", type=count, metavar="N", help="with --messages: only those of iteration N")
    parser.add_argument("--full", action="store_true", help="with --messages: prompts, answers and thinking, too")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> ExitCode:
    """Print the story, or its messages."""
    if not options.messages and (options.full or options.iteration is not None):
        given = "--full" if options.full else "--iteration"
        raise UsageError(f"show: {given} is only for --messages", next_step="see: git hmopt show -h")
    repository = Repository.open(Path())
    story = told(repository, named_run(repository, options.run))
    if not options.messages:
        print(shown(story, as_json=options.json))
        return ExitCode.OK
    if unread := skipped_line(story):
        print(f"git hmopt: note: {unread}", file=sys.stderr)
    for line in _messages(repository, story, options):
        # A journal's JSON can hold halves of characters, which no terminal takes.
        print(line.encode("utf-8", "replace").decode())
    return ExitCode.OK


def _messages(repository: Repository, story: RunStory, options: argparse.Namespace) -> Iterable[str]:
    from git_hmopt.report.messages import full_lines, message_lines, messages_json
    from git_hmopt.store.artifacts import ArtifactStore

    messages = [one for one in story.said if options.iteration in (None, one.iteration)]
    read = ArtifactStore.of(repository).read if options.full else None
    if options.json:
        return [json.dumps({"v": 1, "run": story.run.name, **messages_json(messages, read)})]
    if not messages:
        where = "" if options.iteration is None else f" in iteration {options.iteration}"
        return [f"run {story.run.name} has no messages{where}"]
    return message_lines(messages) if read is None else full_lines(messages, read)
