"""Application, gateway and driver in three processes on the rig: whatever becomes of the application, outputs are safe.

50 ms is the requirement's bound; the times are those of the segment's own process, the fourth.
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

import msgspec
import pytest
import yaml

from taktora.app.machine import Machine
from taktora.ethercat.network import EthercatBusSpec
from taktora.traceability.measure import Measure
from taktora_hil.rig_ethercat import EthercatRig
from taktora_sim.ethercat.devices.terminals import coupler, generic
from tests.system.ethercat.cell import PATIENCE_S, WATCHED, safe_after_ms, wait_for
from tests.unit.transport.leftovers import files_named

pytest.importorskip("iceoryx2", reason="not run: iceoryx2 is not installed")
pytestmark = pytest.mark.world("rig")

SPEC = EthercatBusSpec(
    cycle_time_ms=2.0,
    max_output_age_cycles=10,
    devices=(coupler("coupler"), generic("valve", 1, 0, safe={"out0": 0xAA}, **WATCHED)),
)
WRITTEN, SAFE = b"\x0f", b"\xaa"


class Parts(NamedTuple):
    """The rig and the two processes on it."""

    rig: EthercatRig
    gateway: subprocess.Popen[str]
    app: subprocess.Popen[str]


@pytest.fixture
def domain() -> Iterator[str]:
    """Name a domain; what killed processes have left in it is removed after the test."""
    name = f"taktora_rig_{os.getpid()}"
    yield name
    for path in sorted([*Path("/dev/shm").glob(f"{name}*"), *files_named(Path("/tmp/iceoryx2"), name)], reverse=True):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


@pytest.fixture
def parts(tmp_path: Path, domain: str) -> Iterator[Parts]:
    with EthercatRig(SPEC) as rig:
        machine, bench = tmp_path / "machine.yaml", tmp_path / "bench.toml"
        plain = msgspec.to_builtins(Machine(machine="cell", ethercat={"cell": SPEC}))
        machine.write_text(yaml.safe_dump(plain))
        bench.write_text(f'[ethercat.cell]\ninterface = "{rig.interface}"\ngateway = "separate"\n')
        gateway = begin("gateway", machine, bench, domain)
        app = begin("app", machine, bench, domain)
        try:
            assert app.stdout is not None
            assert app.stdout.readline() == "ready\n"
            yield Parts(rig, gateway, app)
        finally:
            app.send_signal(signal.SIGCONT)
            app.kill()
            gateway.terminate()
            for process in (app, gateway):
                process.wait(PATIENCE_S)
                assert process.stdout is not None
                process.stdout.close()


def begin(part: str, machine: Path, bench: Path, domain: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.system.ethercat.parts", part, str(machine), str(bench), domain]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])


def wait_for_live_outputs(rig: EthercatRig) -> None:
    wait_for(lambda: rig.control.output_changes("valve")[-1].data == WRITTEN)


@pytest.mark.verifies("REQ_8150", "REQ_0321")
@pytest.mark.parametrize("how", ["kill", "stop", "hang"])
def test_outputs_are_safe_within_half_the_fault_tolerant_time(parts: Parts, how: str, measure: Measure) -> None:
    wait_for_live_outputs(parts.rig)
    since_ns = time.monotonic_ns()

    if how == "hang":
        parts.app.send_signal(signal.SIGUSR1)
        assert parts.app.stdout is not None
        since_ns = int(parts.app.stdout.readline().split()[1])
    else:
        parts.app.send_signal(signal.SIGKILL if how == "kill" else signal.SIGSTOP)

    measure(f"safe_after_{how}", safe_after_ms(parts.rig, "valve", SAFE, since_ns), "ms", high=50)
    wait_for(lambda: parts.rig.control.snapshot()["valve"]["state"] == "SAFE-OP")
    if how == "stop":
        parts.app.send_signal(signal.SIGCONT)
        wait_for_live_outputs(parts.rig)
        wait_for(lambda: parts.rig.control.snapshot()["valve"]["state"] == "OP")


@pytest.mark.verifies("REQ_8150", "REQ_0312")
def test_a_killed_gateway_leaves_the_segment_in_init(parts: Parts, measure: Measure) -> None:
    wait_for_live_outputs(parts.rig)
    since_ns = time.monotonic_ns()

    parts.gateway.kill()

    measure("safe_after_gateway_killed", safe_after_ms(parts.rig, "valve", SAFE, since_ns), "ms", high=50)
    wait_for(lambda: {device["state"] for device in parts.rig.control.snapshot().values()} == {"INIT"})
