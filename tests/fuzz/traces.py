# SPDX-License-Identifier: Apache-2.0
"""Look for bytes that a trace reader cannot stand: `python tests/fuzz/traces.py FORMAT [--seconds S | --runs N]`.

FORMAT is one of our formats, `sniff` (whatever the bytes look like) or `wrappers` (gzip, zlib and zip of them, whole
and damaged). It begins with tests/traces/corpus/FORMAT. Whatever is not a result or one TraceFormatError, takes more
than --timeout seconds or more than --memory MiB is written as crash-*, timeout-* or oom-* into --findings. With --keep
the inputs that reached something new are left in a directory, to choose from. Needs `pip install atheris`.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import atheris  # noqa: E402

with atheris.instrument_imports(include=["git_hmopt.traces"]):
    from git_hmopt.traces.formats import FORMATS

from tests.traces.corpus_reading import CORPUS, OTHERS, stand  # noqa: E402

_MOST_BYTES = 1 << 14
_WORD = re.compile(rb"[A-Za-z_#$][\w.:=#/-]{1,30}")


def _dictionary(seeds: Sequence[Path], place: Path) -> Path:
    """Write the words of the seeds down, as libFuzzer takes them: it puts one where a mutation may."""
    words = {word for seed in seeds for word in _WORD.findall(seed.read_bytes())}
    lines = ['"' + "".join(f"\\x{byte:02x}" for byte in word) + '"' for word in sorted(words)[:500]]
    path = place / "words"
    path.write_text("\n".join(lines) + "\n")
    return path


def main() -> None:
    """Fuzz one format; libFuzzer ends the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("format", choices=[*(one.name for one in FORMATS), *OTHERS])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--runs", type=int, default=-1)
    parser.add_argument("--timeout", type=int, default=10)
    parser.add_argument("--memory", type=int, default=2048, help="MiB of the whole process")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--findings", type=Path, default=Path("findings"))
    options = parser.parse_args()
    options.findings.mkdir(parents=True, exist_ok=True)
    seeds = CORPUS / options.format
    seeds.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        place = Path(name)
        kept = options.keep or place / "kept"
        kept.mkdir(parents=True, exist_ok=True)
        path = place / "capture"

        def target(data: bytes) -> None:
            stand(options.format, data, path)

        found = [one for one in sorted(seeds.iterdir()) if one.is_file()]
        limits = [f"-max_total_time={options.seconds}", f"-runs={options.runs}", f"-timeout={options.timeout}",
                  f"-rss_limit_mb={options.memory}", f"-max_len={_MOST_BYTES}", "-verbosity=1", "-print_final_stats=1",
                  f"-artifact_prefix={options.findings}/", f"-dict={_dictionary(found, place)}"]  # fmt: skip
        atheris.Setup([sys.argv[0], *limits, str(kept), str(seeds)], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
