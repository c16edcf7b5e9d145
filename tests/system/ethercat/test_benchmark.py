"""The benchmark of the real driver with tiny sizes: that it works and what it reports, never how fast."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.world("rig")

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "bench_ethercat_rig.py"


@pytest.mark.verifies("REQ_8110", "REQ_0321")
def test_exchange_and_pacing_are_reported_beside_raw_pysoem_and_a_bare_sleep() -> None:
    command = [sys.executable, str(BENCHMARK), "--exchanges", "50", "--cycles", "50"]

    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=55)

    for what in (
        "exchange: raw pysoem, 8 devices",
        "exchange: SoemDriver / raw pysoem ",
        "pacing: ProcessBus at 1 ms, lateness",
        "0 with a wrong working counter",
        "pacing: bare absolute sleep at 1 ms",
    ):
        assert what in done.stdout
