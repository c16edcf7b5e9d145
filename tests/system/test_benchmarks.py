"""Every benchmark run with tiny sizes: that it works and what it reports, never how fast."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
_PACE = re.compile(r"^(\w+): .* (\d+\.\d) simulated s per wall s", re.MULTILINE)

TINY = {
    "bench_virtual_time.py": ("--seconds", "0.05", "--rounds", "1"),
    "bench_can.py": ("--frames", "20"),
    "bench_channel.py": ("--samples", "1", "--sizes", "64"),
    "bench_ethercat.py": ("--frames", "20"),
    "bench_dispatch.py": ("--cycles", "20", "--rounds", "1"),
    "bench_report.py": ("--requirements", "20", "--results", "40"),
}
ON_THE_RIG = {"bench_ethercat_rig.py", "bench_can_kernel.py"}
"""Run by tests of the rig."""
LINUX_ONLY = {"bench_channel.py", "bench_dispatch.py"}


@cache
def run_tiny(name: str) -> str:
    """Return what the benchmark printed; a missed target (exit code 1 without an error) is not a test's business."""
    if name in LINUX_ONLY:
        pytest.importorskip("iceoryx2")
    run = subprocess.run(
        [sys.executable, "-W", "error", str(BENCHMARKS / name), *TINY[name]],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert run.stderr == ""
    assert run.returncode in {0, 1}
    return run.stdout


def paces(output: str) -> dict[str, float]:
    """Return the reported simulated seconds per wall second, by what they were measured on."""
    return {what: float(figure) for what, figure in _PACE.findall(output)}


@pytest.mark.verifies("REQ_8015")
def test_virtual_time_is_reported_for_kernel_executor_bus_and_the_whole_framework() -> None:
    reported = paces(run_tiny("bench_virtual_time.py"))

    assert list(reported) == ["kernel", "world", "executor", "bus", "whole"]


@pytest.mark.verifies("REQ_8015")
def test_the_can_bus_and_the_way_through_the_gateway_are_reported_beside_simpy_on_the_same_load() -> None:
    reported = paces(run_tiny("bench_can.py"))

    assert list(reported) == ["kernel", "bus", "whole"]


@pytest.mark.verifies("REQ_8015")
@pytest.mark.parametrize(
    ("name", "figure"),
    [
        pytest.param("bench_channel.py", r"channel iceoryx2 +\d+\.\d+ +1\.00", id="channel"),
        pytest.param("bench_dispatch.py", r"executor, WaitSet +\d+\.\d+ ", id="dispatch"),
        pytest.param("bench_report.py", r"report +\d+\.\d+ s", id="report"),
    ],
)
def test_the_other_benchmarks_report_their_figure(name: str, figure: str) -> None:
    assert re.search(figure, run_tiny(name))


@pytest.mark.verifies("REQ_8015")
def test_every_benchmark_is_run() -> None:
    assert sorted(path.name for path in BENCHMARKS.glob("bench_*.py")) == sorted({*TINY, *ON_THE_RIG})


@pytest.mark.verifies("REQ_8015")
@pytest.mark.parametrize("name", sorted(TINY))
def test_conditions_come_first_and_from_one_place(name: str) -> None:
    source = (BENCHMARKS / name).read_text(encoding="utf-8")

    first = run_tiny(name).splitlines()[0]

    assert re.match(r"CPython \d+\.\d+.*, \d+ cores, governor .*, load [\d.]+$", first)
    assert "from conditions import conditions" in source
    assert "cpuinfo" not in source
