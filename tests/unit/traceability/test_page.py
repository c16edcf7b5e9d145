"""What the script of the page does: every status has its part in the bars, and the list shows what is selected."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import taktora.traceability
from taktora.traceability import judge, trace_data
from taktora.traceability.page import page_text
from taktora.traceability.verdict import STATUSES
from tests.patience import PATIENCE_S
from tests.unit.traceability.builders import catalogue, requirement, unchanged

SCRIPT = (Path(taktora.traceability.__file__).parent / "page.js").read_text()
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PROBE = """<script>
const row = document.querySelector("tr[aria-selected]"), list = document.getElementById("main").getBoundingClientRect();
const box = row ? row.getBoundingClientRect() : { top: -1, bottom: -1 };
const isSeen = row && box.top >= list.top && box.bottom <= list.bottom;
document.title = isSeen ? `sees ${row.dataset.id}` : `misses ${box.top}`;
</script>"""


@pytest.mark.verifies("REQ_8602")
def test_every_status_of_a_requirement_is_part_of_the_bars() -> None:
    bars = re.findall(r'"([^"]+)"', SCRIPT.partition("const BARS = [")[2].partition("]")[0])

    kinds = ("inspection", "analysis", "demonstration", "hil")
    assert sorted(bars) == sorted([*STATUSES, *kinds, "not applicable"])


@pytest.mark.verifies("REQ_8605")
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome is installed")
def test_the_list_shows_the_row_that_the_address_selects(tmp_path: Path) -> None:
    parts = [requirement(f"REQ_{number:04}") for number in range(1, 401)]
    trace = judge(catalogue(tmp_path, *parts), [], unchanged(), {}, ("sim",))
    page = tmp_path / "index.html"
    page.write_text(page_text(trace_data(trace, [])).replace("</body>", f"{PROBE}</body>"))

    shown = _open(f"{page.as_uri()}#REQ_0368", tmp_path / "profile")

    assert "<title>sees REQ_0368</title>" in shown


def _open(address: str, profile: Path) -> str:
    quiet = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-sync", "--window-size=1200,800", *quiet]
    options.append(f"--user-data-dir={profile}")
    done = subprocess.run(
        [str(CHROMIUM), *options, "--dump-dom", address], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    return done.stdout
