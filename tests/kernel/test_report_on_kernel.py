# SPDX-License-Identifier: Apache-2.0
"""The report of a run on a real kernel, used in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.kernel.conftest import Kernel
from tests.report.browser import BROWSER, tab

pytestmark = pytest.mark.kernel

TABLE = "document.querySelector('#hotspots table.sortable')"
NAMES = f"[...{TABLE}.querySelectorAll('tbody th')].map(one => one.innerText.trim())"
PRESS = f"{TABLE}.tHead.rows[0].cells[{TABLE}.querySelector('tbody th').cellIndex].querySelector('button').click()"
LAST = "document.querySelector('.flame g:last-of-type')"


def test_the_page_is_used_in_a_browser(kernel: Kernel, crc64_run: dict[str, Any], tmp_path: Path) -> None:
    assert BROWSER, "install a browser: apt-get install chromium"
    path = tmp_path / "report.html"
    kernel.hmopt("report", crc64_run["run"]["name"], "--html", "-o", str(path), codes=(0,))
    assert path.stat().st_size <= 3_000_000
    with tab(tmp_path / "profile") as seen:
        seen.window(1000)
        seen.open(path)
        assert "crc64_be" in seen.value(NAMES)
        width = f"{LAST}.querySelector('rect').getAttribute('width')"
        before = seen.value(width)
        seen.value(f"{LAST}.dispatchEvent(new MouseEvent('click', {{bubbles: true}}))")
        assert before != "100%" == seen.value(width)
        seen.value(PRESS)
        once = seen.value(NAMES)
        assert once == sorted(once) and len(once) > 1
        seen.value(PRESS)
        assert seen.value(NAMES) == once[::-1]
        seen.window(360, scheme="dark")
        assert seen.value("document.documentElement.scrollWidth") <= 360
        assert seen.value("matchMedia('(prefers-color-scheme: dark)').matches")
        assert (seen.complaints(), seen.requests()) == ([], [path.as_uri()])
