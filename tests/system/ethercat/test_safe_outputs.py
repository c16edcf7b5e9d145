"""The application is killed, stopped or hangs: outputs are safe at the SubDevices within half the fault-tolerant time.

Times are those of the segment's own process; 50 ms is the requirement's bound, not a guess at a performance.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from taktora.traceability.measure import Measure
from taktora_hil.rig_ethercat import EthercatRig, OutputChange
from tests.system.ethercat.cell import safe_after_ms, wait_for
from tests.system.ethercat.conftest import Cell

pytestmark = pytest.mark.world("rig")

WRITTEN = b"\x0f\x0f"
SAFE = b"\0\0"


class Application(NamedTuple):
    """The process of the application, and the pid of its driver's."""

    process: subprocess.Popen[str]
    driver_pid: int

    def say(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()


@pytest.fixture
def application(cell: Cell, tmp_path: Path) -> Iterator[Application]:
    command = [sys.executable, "-m", "tests.system.ethercat.application", cell.rig.interface, str(tmp_path)]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline().split()
            assert said[:1] == ["ready"]
            yield Application(process, int(said[1]))
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


def last(rig: EthercatRig) -> OutputChange:
    return rig.control.output_changes("do16")[-1]


def wait_for_live_outputs(rig: EthercatRig) -> None:
    wait_for(lambda: last(rig).data == WRITTEN)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.verifies("REQ_8150")
def test_kill_9_of_the_application(cell: Cell, application: Application, measure: Measure) -> None:
    wait_for_live_outputs(cell.rig)
    killed_ns = time.monotonic_ns()

    application.process.kill()

    measure("safe_after_kill", safe_after_ms(cell.rig, "do16", SAFE, killed_ns), "ms", high=50)
    wait_for(lambda: {device["state"] for device in cell.rig.control.snapshot().values()} == {"INIT"})
    wait_for(lambda: not is_running(application.driver_pid))


@pytest.mark.verifies("REQ_8150")
def test_sigstop_of_the_application(cell: Cell, application: Application, measure: Measure) -> None:
    wait_for_live_outputs(cell.rig)
    stopped_ns = time.monotonic_ns()

    application.process.send_signal(signal.SIGSTOP)

    measure("safe_after_stop", safe_after_ms(cell.rig, "do16", SAFE, stopped_ns), "ms", high=50)
    wait_for(lambda: cell.rig.control.snapshot()["do16"]["state"] == "SAFE-OP")
    assert cell.rig.control.snapshot()["di8"]["state"] == "OP"  # whoever has no outputs goes on
    application.process.send_signal(signal.SIGCONT)
    wait_for_live_outputs(cell.rig)
    wait_for(lambda: cell.rig.control.snapshot()["do16"]["state"] == "OP")


@pytest.mark.verifies("REQ_8150")
def test_an_endless_loop_of_the_application(cell: Cell, application: Application, measure: Measure) -> None:
    wait_for_live_outputs(cell.rig)

    hangs_ns = int(application.say("hang").split()[1])

    measure("safe_after_hang", safe_after_ms(cell.rig, "do16", SAFE, hangs_ns), "ms", high=50)
    wait_for(lambda: cell.rig.control.snapshot()["do16"]["state"] == "SAFE-OP")


@pytest.mark.verifies("REQ_8150", "REQ_0296")
def test_kill_9_of_the_driver_leaves_it_to_the_watchdogs(
    cell: Cell, application: Application, measure: Measure
) -> None:
    wait_for_live_outputs(cell.rig)
    killed_ns = time.monotonic_ns()

    os.kill(application.driver_pid, signal.SIGKILL)

    # The window of the watchdogs is 50 ms from the last frame, which was before the kill; 5 ms for being seen.
    measure("safe_after_driver_killed", safe_after_ms(cell.rig, "do16", SAFE, killed_ns), "ms", high=55)
