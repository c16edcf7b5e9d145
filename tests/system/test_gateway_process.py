"""Application and EtherCAT gateway in processes of their own: either is killed, and the other one notices."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S
from tests.unit.transport.leftovers import files_named

pytest.importorskip("iceoryx2")

from taktora.testing.mock_bus import MockBusDriver
from tests.system.ethercat_parts import AXIS, MACHINE, bind_app, make_gateway, make_runtime

ROOT = Path(__file__).parents[2]
SAFE = (5).to_bytes(4, "little")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    path = tmp_path / "machine.yaml"
    path.write_text(MACHINE)
    return path


@pytest.fixture
def domain() -> Iterator[str]:
    """Name a domain; what killed processes have left in it is removed after the test."""
    name = f"taktora_gateway_{os.getpid()}"
    yield name
    for path in sorted([*Path("/dev/shm").glob(f"{name}*"), *files_named(Path("/tmp/iceoryx2"), name)], reverse=True):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


class Child:
    """One part in a process of its own."""

    def __init__(self, part: str, machine: Path, domain: str) -> None:
        command = [sys.executable, "-m", "tests.system.ethercat_parts", part, str(machine), domain]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def end(self, how: signal.Signals) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(PATIENCE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def wait_for(what: str, predicate: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not predicate():
        assert time.monotonic() < end_s, f"never: {what}"
        time.sleep(0.01)


@pytest.mark.verifies("REQ_0321", "REQ_0292", "REQ_8151")
def test_a_killed_gateway_is_down_and_a_restarted_one_is_found(machine: Path, domain: str) -> None:
    runtime = make_runtime("app", domain, [])
    gateway = Child("gateway", machine, domain)
    try:
        bound, axis = bind_app(runtime, machine)
        with bound:
            bound.start()
            wait_for("the gateway is found", lambda: bound.health["cell"].kind.value == "Up")
            wait_for("cycles arrive", lambda: axis.cycle_index > 10)
            gateway.end(signal.SIGKILL)
            wait_for("its death is noticed", lambda: bound.health["cell"].kind.value == "Down")
            reason = str(getattr(bound.health["cell"], "reason", ""))
            gateway = Child("gateway", machine, domain)
            wait_for("it is found again", lambda: bound.health["cell"].kind.value == "Up")
            index = axis.cycle_index
            wait_for("cycles arrive again", lambda: axis.cycle_index != index)
    finally:
        code = gateway.end(signal.SIGTERM)
        runtime.close()

    assert "no sign of life of the gateway of 'cell' for 350 ms" in reason
    assert code == 0


@pytest.mark.verifies("REQ_8150", "REQ_0321")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_an_application_that_is_gone_leaves_safe_outputs(machine: Path, domain: str, how: signal.Signals) -> None:
    drivers: list[MockBusDriver] = []
    runtime = make_runtime("gateway", domain, drivers)
    gateway = make_gateway(runtime, machine)
    gateway.start()
    app = Child("app", machine, domain)
    try:
        (driver,) = drivers
        driver.set_inputs(AXIS, (7).to_bytes(4, "little"))
        wanted = (1007).to_bytes(4, "little")
        wait_for("the application's outputs", lambda: driver.snapshot_outputs(AXIS) == wanted)
        os.kill(app.process.pid, how)
        wait_for("safe outputs", lambda: driver.snapshot_outputs(AXIS) == SAFE)
    finally:
        app.end(signal.SIGKILL)
        gateway.close()
        runtime.close()
