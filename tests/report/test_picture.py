# SPDX-License-Identifier: Apache-2.0
"""The README's picture is there, is what its words say, and is made of a report as a browser shows it."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.report.browser import BROWSER
from tests.report.picture import ROOT, WIDTH, claim_of, described, top_of
from tests.report.test_html import accepted_run, page_of

_PICTURE = re.compile(r"^!\[([^]]+)\]\(([^)]+)\)$", re.MULTILINE)
_CLAIM = re.compile(
    r"Report of six patches judged on Linux 6\.1: best against base, measured afresh: .*\btime -[0-9.]+ %"
)


def test_the_readme_has_a_picture_of_a_result_that_was_measured() -> None:
    ((text, path),) = _PICTURE.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert _CLAIM.fullmatch(text)
    data = (ROOT / path).read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(data) <= 200_000
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.width == WIDTH
        assert 600 <= picture.height <= 2000
        # The program that made it wrote there what the run claimed.
        assert picture.info["Description"] == text
        # Not one blank field.
        assert len(picture.convert("RGB").getcolors() or []) > 16


def test_a_run_that_claims_nothing_is_no_picture() -> None:
    claim = {"metric": "time", "estimate": "-0.5181"}
    assert claim_of(json.dumps({"story": {"confirmations": [claim]}}).encode()).endswith(": time -51.8 %")
    with pytest.raises(SystemExit, match="claims nothing on this machine"):
        claim_of(b'{"story": {"confirmations": []}}')


@pytest.mark.skipif(BROWSER is None, reason="needs a chromium to look with")
def test_the_picture_is_the_top_of_a_report(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(page_of(accepted_run()), encoding="utf-8")
    data = described(top_of(page, tmp_path / "profile"), "what it claims")
    with Image.open(io.BytesIO(data)) as picture:
        assert (picture.format, picture.width, picture.info["Description"]) == ("PNG", WIDTH, "what it claims")
        assert 300 <= picture.height <= 3000
