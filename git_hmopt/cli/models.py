# SPDX-License-Identifier: Apache-2.0
"""What commands that start or resume a run say about language models."""

from __future__ import annotations

import argparse

from git_hmopt.cli.story import named_run
from git_hmopt.config.settings import Settings
from git_hmopt.errors import UsageError
from git_hmopt.loop.book import Book
from git_hmopt.loop.plan import ExemptionRecord
from git_hmopt.loop.proposers import LLM, Asking, replayed
from git_hmopt.store.journal import Journal
from git_hmopt.store.repository import Repository


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--replay",
        metavar="RUN",
        help="propose what language models said in RUN, without asking any: its workload, base and seed, unless given",
    )
    parser.add_argument(
        "--allow-endpoint",
        metavar="HOST[:PORT]",
        help="let this run ask models at an address outside the internal networks; needs --because",
    )
    parser.add_argument("--because", metavar="WHY", help="why --allow-endpoint is right; recorded with who said so")


def as_replayed(repository: Repository, options: argparse.Namespace) -> None:
    """Take over from the run of `--replay` what was not given; UsageError beside another proposer."""
    if getattr(options, "replay", None) is None:
        return
    if options.proposer is not None:
        raise UsageError("--replay proposes what a run recorded, and --proposer something else: give one of them")
    run = named_run(repository, options.replay)
    plan = Book(Journal(repository), run).plan()
    options.proposer = replayed(run)
    options.base = options.base or plan.base_commit
    options.workload = options.workload or plan.workload
    options.seed = plan.seed if options.seed is None else options.seed
    iterations = plan.settings.get("budget.iterations")
    options.iterations = int(iterations) if options.iterations is None and iterations else options.iterations


def asking(repository: Repository, settings: Settings, options: argparse.Namespace) -> Asking:
    """Return what a person says about models for a run; UsageError for an exception without a reason or a use."""
    endpoint, why = getattr(options, "allow_endpoint", None), getattr(options, "because", None)
    if (endpoint is None) != (why is None) or (why is not None and not why.strip()):
        raise UsageError("an exception has an endpoint and a reason: --allow-endpoint HOST[:PORT] --because WHY")
    if endpoint is not None and settings.host.proposer != LLM:
        raise UsageError("--allow-endpoint is for runs that ask models", next_step="add --proposer llm")
    exemption = None
    if endpoint is not None:
        who = repository.identity()
        exemption = ExemptionRecord(endpoint=endpoint, who=f"{who.name} <{who.email}>", why=str(why).strip())
    return Asking(settings.gateway, settings.host.tokenizer, exemption)
