# SPDX-License-Identifier: Apache-2.0
"""What search finds, and how fast: kernel-doc summaries to their functions, and neighbours among 100,000 vectors.

`python tests/benchmarks/search.py [--quick] [--json] [--tree DIRECTORY]`; exits 1 when a budget is missed. `--tree` is
a Linux source tree, of which lib/ and kernel/ are indexed (lib/ when quick); without one recall is not measured. Each
kernel-doc summary is asked for. Of its function the name and the comment are not in the index, so nothing has the
answer word for word; the name of its file is. Recall is the share of summaries whose function is among the first ten.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from git_hmopt.psg.chunks import Chunk, functions  # noqa: E402 - the path above makes it importable
from git_hmopt.search.embedding import DEFAULT, embedding_of, signed_bytes  # noqa: E402
from git_hmopt.search.retrieval import How, code_columns, code_text, entries, ranked, summary  # noqa: E402
from git_hmopt.search.words import words  # noqa: E402
from git_hmopt.store.repository import Repository  # noqa: E402
from git_hmopt.store.search import Entry, Index, Kind, SearchFile, Value  # noqa: E402
from tests.benchmarks.table import Row, benchmark_parser, told  # noqa: E402

NAME = "search"
AT = 10
VECTORS = 100_000
NEIGHBOURS = 100
"""What a search asks the vectors for."""


def indexed(tree: Path, folders: Sequence[str]) -> Iterator[tuple[str, Chunk, str | None]]:
    """Yield file and function as they are indexed, and the summary to ask for where there is one."""
    for folder in folders:
        for path in sorted((tree / folder).rglob("*.c")):
            for chunk in functions(path.read_bytes()):
                nameless = re.sub(rf"\b{re.escape(chunk.symbol)}\b", " ", chunk.code)
                asked = summary(chunk)
                described = asked != chunk.comment.partition("\n")[0].strip() and bool(words(asked))
                comment = "" if described else re.sub(rf"\b{re.escape(chunk.symbol)}\b", " ", chunk.comment)
                shown = replace(chunk, symbol="", comment=comment, code=nameless)
                yield path.relative_to(tree).as_posix(), shown, asked if described else None


def recall(index: Index, tree: Path, folders: Sequence[str]) -> list[Row]:
    """Return the recall of words, of vectors and of both."""
    embedding = embedding_of(DEFAULT, index.stem)
    began = time.process_time()
    found = list(indexed(tree, folders))
    texts = [code_text(file, chunk) for file, chunk, _ in found]
    columns = [code_columns(chunk) for _, chunk, _ in found]
    index.replace(Kind.CODE, [("all", "", entries(embedding, columns, texts))])
    index.settle()
    cost = time.process_time() - began
    # Ids count from 1, in the order of insertion.
    asked = [(number, question) for number, (_, _, question) in enumerate(found, start=1) if question is not None]
    rows = [
        Row("functions indexed", len(found), "1"),
        Row("CPU to index 1,000 functions", round(1000 * cost / len(found), 2), "s"),
        Row("summaries asked for", len(asked), "1"),
    ]
    ways: tuple[tuple[How, str], ...] = (("words", "FTS5 alone"), ("vectors", "vectors alone"), ("both", "both, fused"))
    for how, name in ways:
        began = time.perf_counter()
        hits = sum(number in ranked(index, embedding, Kind.CODE, question, AT, how=how) for number, question in asked)
        took = time.perf_counter() - began
        rows.append(Row(f"recall@{AT}, {name}", round(100 * hits / len(asked), 2), "%"))
        rows.append(Row(f"a search, {name}", round(1000 * took / len(asked), 2), "ms"))
    return rows


def neighbours(index: Index, count: int) -> list[Row]:
    """Return what it takes to find the nearest of many vectors, and how many of the true ones are found."""
    generator = np.random.default_rng(7)
    # Not all directions are alike in real vectors: mixtures of few, as texts are of topics, and noise.
    topics = generator.standard_normal((64, index.dimension)).astype(np.float32)
    mixture = generator.dirichlet(np.full(64, 0.05), count).astype(np.float32)
    made = mixture @ topics + 0.05 * generator.standard_normal((count, index.dimension)).astype(np.float32)
    vectors = [signed_bytes(vector) for vector in made]
    columns: dict[str, Value] = {"symbol": "f", "first_line": 1, "last_line": 2, "summary": ""}
    index.replace(Kind.CODE, [("all", "", [Entry(columns, "", vector) for vector in vectors])])
    index.settle()
    matrix = np.frombuffer(b"".join(vectors), dtype=np.int8).reshape(count, -1).astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    first = int(index.by_vector(Kind.CODE, vectors[0], 1)[0])
    seconds, kept = [], []
    for number in range(0, count, count // 41):
        began = time.perf_counter()
        found = index.by_vector(Kind.CODE, vectors[number], NEIGHBOURS)
        seconds.append(time.perf_counter() - began)
        exact = np.argsort(-(matrix @ matrix[number]), kind="stable")[:AT] + first
        kept.append(len(set(exact.tolist()) & set(found[:AT])) / AT)
    return [
        Row("vectors", count, "1"),
        Row(f"the nearest {NEIGHBOURS} of the vectors, median", round(1000 * statistics.median(seconds), 1), "ms"),
        Row(f"of the {AT} truly nearest are found", round(100 * statistics.mean(kept), 1), "%"),
    ]


def main() -> int:
    """Measure, print, and return 1 when a budget is missed."""
    parser = benchmark_parser(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--tree", type=Path, metavar="DIRECTORY", help="a Linux source tree to measure recall on")
    options = parser.parse_args()
    if options.tree is not None and not (options.tree / "lib").is_dir():
        parser.error(f"'{options.tree}' has no lib/: not a Linux source tree")
    rows: list[Row] = []
    embedding = embedding_of(DEFAULT, str)
    for measure in ("recall", "neighbours"):
        if measure == "recall" and options.tree is None:
            continue
        with tempfile.TemporaryDirectory(prefix="hmopt-benchmark-") as scratch:
            subprocess.run(["git", "init", "-q", scratch], check=True)
            file = SearchFile(Repository.open(Path(scratch)), embedding.name, embedding.dimension)
            with file.writing() as (index, _):
                if measure == "recall":
                    rows += recall(index, options.tree, ("lib",) if options.quick else ("lib", "kernel"))
                else:
                    rows += neighbours(index, VECTORS)
    return told(NAME, rows, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
