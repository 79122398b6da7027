# SPDX-License-Identifier: Apache-2.0
"""Print an evidence pack of a run: what was known about its hotspots before a decision was taken.

Source text, callers and callees as they are written and as they were measured, counts of lines, what was tried before
and what came of it, risks, the strategies that serve, and templates of what else to try: when, and what it may break.
Then what is alike elsewhere: code beside it, other runs, and what they tried with its measured changes, failures too.
The head tells the bottleneck, and what every kept change did to each metric on the way from the baseline to best.
With --tokens it is cut as a model's prompt is: the bytes of the text are never more than that, and its last line says
what was left out. Standard error tells how many tokens that is, as hmopt.tokenizer counts (a tokenizer.json), else as
servers counted the prompts of earlier runs (of one model with --model), else by the bytes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from git_hmopt.cli.number import positive
from git_hmopt.cli.story import named_run
from git_hmopt.errors import ExitCode, UsageError
from git_hmopt.report.wording import plain
from git_hmopt.store.repository import Repository

if TYPE_CHECKING:
    from git_hmopt.evidence.tokens import TokenCount
    from git_hmopt.records.evidence import EvidencePack

_EVERYTHING = 1 << 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run, or a part of its name (default: the latest)")
    parser.add_argument("hotspot", nargs="?", metavar="HOTSPOT", help="only this function (default: all of the pack)")
    parser.add_argument(
        "--iteration", type=positive, metavar="N", help="the pack before iteration N (default: the last one)"
    )
    parser.add_argument("--tokens", type=positive, metavar="N", help="at most so many tokens of text (default: all)")
    parser.add_argument("--model", metavar="NAME", help="with --tokens: count as servers counted this model's prompts")
    parser.add_argument("--json", action="store_true", help="print the pack as it is stored")
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of packs, and nothing else")


def run(options: argparse.Namespace) -> ExitCode:
    """Print the pack."""
    if options.schema:
        from git_hmopt.evidence.schema import pack_schema_text

        print(pack_schema_text(), end="")
        return ExitCode.OK
    if options.model is not None and options.tokens is None:
        raise UsageError("evidence: --model is only for --tokens", next_step="see: git hmopt evidence -h")
    from git_hmopt.evidence.prompt import render
    from git_hmopt.loop.packs import pack_before

    repository = Repository.open(Path())
    packed, pack = pack_before(repository, named_run(repository, options.run), options.iteration)
    if options.hotspot:
        pack = _only(pack, options.hotspot)
    if options.json:
        print(pack.canonical())
        return ExitCode.OK
    if options.tokens is None:
        print(f"evidence before iteration {packed.iteration}, artifact {packed.artifact[:12]}")
    counted = _counted(repository, options.model) if options.tokens is not None else None
    prompt = render(pack, max_tokens=options.tokens or _EVERYTHING, counted=counted)
    if options.tokens is not None:
        note = f"about {prompt.tokens} of {options.tokens} tokens, by {prompt.counted_by}"
        print(f"git hmopt: note: {plain(note)}", file=sys.stderr)
    for line in prompt.text.removesuffix("\n").split("\n"):
        indent = len(line) - len(line.lstrip("\t "))
        print(line[:indent] + plain(line[indent:]))
    return ExitCode.OK


def _counted(repository: Repository, model: str | None) -> TokenCount:
    """Return how tokens are counted here; ConfigError when the configured tokenizer cannot be used."""
    from git_hmopt.cli.settings import gathered
    from git_hmopt.evidence.tokens import Bytes, server_count, tokenizer_from, usages_of

    path = gathered(Path(), None)["tokenizer"].value
    if path is not None:
        return tokenizer_from(Path(str(path)).expanduser())
    return server_count(usages_of(repository, model=model)) or Bytes()


def _only(pack: EvidencePack, symbol: str) -> EvidencePack:
    kept = tuple(one for one in pack.hotspots if one.hotspot.symbol == symbol)
    if not kept:
        known = ", ".join(plain(one.hotspot.symbol) for one in pack.hotspots) or "none"
        raise UsageError(f"'{plain(symbol)}' is no hotspot of this pack", next_step=f"it has {known}")
    return pack.model_copy(update={"hotspots": kept})
