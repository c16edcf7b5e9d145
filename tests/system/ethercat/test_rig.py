"""The rig itself: it comes up by one fixture and leaves nothing behind, whatever ends it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from taktora.errors import ConfigurationError
from taktora.ethercat.network import EthercatBusSpec
from taktora_hil.rig_ethercat import EthercatRig, reap_leftovers
from taktora_sim.ethercat.devices.terminals import coupler, digital_outputs
from tests.system.ethercat.cell import wait_for

pytestmark = pytest.mark.world("rig")

SPEC = EthercatBusSpec(devices=(coupler("coupler"), digital_outputs("do8", 8)))


def is_there(interface: str) -> bool:
    return interface in {name for _index, name in socket.if_nameindex()}


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.verifies("REQ_8505")
def test_nothing_is_left_after_success() -> None:
    with EthercatRig(SPEC) as rig:
        pid = rig.pid
        assert pid is not None
        assert is_there(rig.interface)
        assert list(rig.control.snapshot()) == ["coupler", "do8"]

    assert not is_there(rig.interface)
    assert not is_running(pid)


@pytest.mark.verifies("REQ_8505")
def test_nothing_is_left_after_a_failure() -> None:
    with pytest.raises(ZeroDivisionError), EthercatRig(SPEC) as rig:
        raise ZeroDivisionError

    assert not is_there(rig.interface)


@pytest.mark.verifies("REQ_8505")
def test_nothing_is_left_when_the_segment_cannot_be_built(capfd: pytest.CaptureFixture[str]) -> None:
    rig = EthercatRig(EthercatBusSpec(devices=(coupler("same"), coupler("same"))))

    with (
        pytest.raises(ConfigurationError, match=r"^ethercat/cell.*: two SubDevices have the same label; give each"),
        rig,
    ):
        pass

    assert capfd.readouterr().err == ""
    assert not is_there(rig.interface)


_HOLDER = """
import sys, time
from tests.system.ethercat.test_rig import SPEC
from taktora_hil.rig_ethercat import EthercatRig
with EthercatRig(SPEC) as rig:
    print(rig.interface, rig.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.verifies("REQ_8505")
@pytest.mark.parametrize("who", ["holder", "segment"])
def test_nothing_is_left_after_a_kill(who: str) -> None:
    root = Path(__file__).parents[3]
    with subprocess.Popen([sys.executable, "-c", _HOLDER], stdout=subprocess.PIPE, text=True, cwd=root) as holder:
        assert holder.stdout is not None
        interface, pid = holder.stdout.readline().split()
        assert is_there(interface)
        try:
            os.kill(holder.pid if who == "holder" else int(pid), signal.SIGKILL)

            wait_for(lambda: not is_there(interface))
            wait_for(lambda: not is_running(int(pid)))
        finally:
            holder.kill()


@pytest.mark.verifies("REQ_8505")
def test_a_cable_that_a_killed_process_left_is_removed_by_the_next_rig() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    left = f"tk{gone.pid}v0"
    subprocess.run(["ip", "link", "add", left, "type", "veth", "peer", "name", f"tk{gone.pid}p0"], check=True)

    reap_leftovers()

    assert not is_there(left)


@pytest.mark.verifies("REQ_8505", "REQ_8109")
def test_an_unknown_fault_is_refused_with_the_known_ones() -> None:
    with EthercatRig(SPEC) as rig, pytest.raises(ConfigurationError, match=r"refused .*cut-cables.*cut-cable"):
        rig.control.inject("ethercat/cell/do8", "cut-cables")


_ALONE = """
from taktora_hil.rig_ethercat import EthercatRig, why_no_rig
from tests.system.ethercat.test_rig import SPEC
print(why_no_rig() or "can", flush=True)
with EthercatRig(SPEC) as rig:
    print(*rig.control.snapshot())
"""


@pytest.mark.verifies("REQ_8505", "REQ_8507")
def test_the_rig_runs_without_privileges_in_namespaces_of_its_own() -> None:
    may = subprocess.run(["unshare", "-Urn", "true"], check=False, capture_output=True)
    if may.returncode:
        pytest.skip("not run: this machine allows no user namespaces")
    root = Path(__file__).parents[3]
    command = ["unshare", "-Urn", sys.executable, "-c", _ALONE]

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=55, cwd=root)

    assert (done.stdout, done.stderr) == ("can\ncoupler do8\n", "")


@pytest.mark.verifies("REQ_8505", "REQ_8108")
def test_plants_of_a_bench_file_stand_behind_the_devices(tmp_path: Path) -> None:
    (tmp_path / "plant.py").write_text(
        "from taktora_sim.plants import Sensor\n"
        "def attach(segment, label, settings):\n"
        "    Sensor(segment.world, settings['name'], lambda is_on: None)\n"
    )
    plants = {"do8": {"kind": "python", "file": "plant.py", "name": "gate"}}

    with EthercatRig(SPEC, plants=plants, plants_folder=tmp_path) as rig:
        fault = rig.control.inject("plants/gate", "stick-sensor", value=True)
        with pytest.raises(ConfigurationError, match="plants/fence"):
            rig.control.inject("plants/fence", "stick-sensor")

    assert fault == 1
