"""The examples beside each other: several are tested in one process though each has modules of the same names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
_BATTERY = "examples/battery_monitor/tests/test_battery_monitor.py::test_a_battery_that_is_well_raises_no_alarm"
_AXIS = "examples/pick_axis/tests/test_pick_axis.py::test_a_gripper_that_does_not_open_is_found"
_LOG = "examples/can_log/test_can_log.py::test_a_log_and_a_dbc_of_can_fd_are_shown_alike"


@pytest.mark.verifies("REQ_8021")
@pytest.mark.parametrize(
    "tests",
    [
        pytest.param([_BATTERY, _AXIS, _LOG], id="battery first"),
        pytest.param([_AXIS, _LOG, _BATTERY], id="axis first"),
        pytest.param(["-n", "1", _AXIS, _BATTERY, _LOG], id="in a worker"),
    ],
)
def test_tests_of_several_examples_run_in_one_process_in_any_order(tmp_path: Path, tests: list[str]) -> None:
    options = ["-q", "-p", "no:cacheprovider", "--trace-results", str(tmp_path / "results.json")]

    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )

    assert "3 passed" in done.stdout, done.stdout
    assert done.returncode == 0


@pytest.mark.verifies("REQ_8021")
def test_the_tests_of_all_examples_are_found_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--collect-only", "examples"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )

    found = {line.split("/")[1] for line in done.stdout.splitlines() if line.startswith("examples/")}
    assert found == {path.parent.name for path in (ROOT / "examples").glob("*/scenario.py")}
