"""The benchmark of the kernel's receive path, with tiny sizes: that it works and what it reports, never how fast."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S

pytestmark = [pytest.mark.world("rig")]

_BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "bench_can_kernel.py"


@pytest.mark.verifies("REQ_8015")
def test_the_receive_path_is_reported_beside_python_can_for_both_kinds_of_frames() -> None:
    command = [sys.executable, str(_BENCHMARK), "--frames", "100"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)

    assert (run.returncode, run.stderr) == (0, "")
    assert len(re.findall(r"ratio +\d+\.\d\d", run.stdout)) == 4, run.stdout
