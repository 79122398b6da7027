# SPDX-License-Identifier: Apache-2.0
"""Makes the picture in README.md: the top of a real run's report as a browser shows it.

`python tests/report/picture.py .github/report.png --repository LINUX --run RUN` needs Chromium, and prints the line for
the README; without a run it makes one of the demo first. What the run claims stands in the file, too (PNG's
Description), so that a test can hold the README against it.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, PngImagePlugin

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from tests.report.browser import tab  # noqa: E402 - the path above makes it importable

TOOL = str(Path(sys.executable).with_name("git-hmopt"))
WIDTH = 1000
COLORS = 128
"""Text and charts have fewer; the file is a third of one in full colour."""


def top_of(page: Path, profile: Path) -> bytes:
    """Return a PNG of a report from its title to the end of its iterations."""
    with tab(profile) as seen:
        seen.ask("Emulation.setScrollbarsHidden", hidden=True)
        seen.window(WIDTH)
        seen.open(page)
        height = seen.value("Math.round(document.querySelector('#hotspots').getBoundingClientRect().top)")
        seen.window(WIDTH, int(height))
        return seen.picture()


def described(png: bytes, text: str) -> bytes:
    """Return the same picture with few colours and a description."""
    told = PngImagePlugin.PngInfo()
    told.add_text("Description", text)
    written = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(COLORS).save(written, "PNG", optimize=True, pnginfo=told)
    return written.getvalue()


def claim_of(report: bytes, of: str = "a run of the demo") -> str:
    """Return what a run claims, from its report in JSON; SystemExit when that is nothing."""
    claims = json.loads(report)["story"]["confirmations"]
    if not claims:
        raise SystemExit("the run claims nothing on this machine: run it again on a quiet one")
    said = [f"{one['metric']} {100 * float(one['estimate']):+.1f} %" for one in claims]
    return f"Report of {of}: best against base, measured afresh: {', '.join(said)}"


def main() -> int:
    """Run the demo, or take a run that is there; write the picture, print the README's line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="the PNG to write")
    parser.add_argument("--repository", type=Path, help="where the run is (default: the demo, made for this)")
    parser.add_argument("--run", help="the run (default: the latest)")
    parser.add_argument("--of", default="a run of the demo", help="what the run is of, for the README's line")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hmopt-picture-") as scratch:
        tree, page = options.repository or Path(scratch) / "demo", Path(scratch) / "report.html"
        if options.repository is None:
            subprocess.run([TOOL, "demo", "--directory", str(tree)], check=True)
        shown = [TOOL, "-C", str(tree), "report", *([options.run] if options.run else [])]
        subprocess.run([*shown, "--html", "-o", str(page)], check=True)
        report = subprocess.run([*shown, "--json"], check=True, capture_output=True).stdout
        text = claim_of(report, options.of)
        options.file.write_bytes(described(top_of(page, Path(scratch) / "profile"), text))
    print(f"![{text}]({options.file.as_posix()})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
