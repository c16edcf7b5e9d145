"""An application on a simulated EtherCAT segment: from the machine file to the device's process, in virtual time."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from taktora.app.bench import Bench, EthercatBacking
from taktora.app.machine import Machine, load_machine
from taktora.errors import ConfigurationError
from taktora.ethercat.backend import BusRequest
from taktora.ethercat.driver import AlState
from taktora.ethercat.network import EntrySpec, EthercatBusSpec, PdoSpec, PdosSpec
from taktora.ethercat.options import EthercatConnectorOptions
from taktora.ethercat.resolve import resolve
from taktora_sim.campaign import Campaign, draw_plan
from taktora_sim.ethercat.backend import PLANT_KINDS, make_bus, segment_of
from taktora_sim.ethercat.devices import SimulatedDevice, device_of
from taktora_sim.ethercat.pcapng import SegmentRecording
from taktora_sim.faults import FaultEntry, FaultPlan
from taktora_sim.world import World
from tests.sim.fresh import ROOT, hash_of, run_fresh
from tests.sim.test_no_linux import BLOCKED

from .cell import MIXED, MS, bus, coupler, inputs
from .press import MACHINE, Press

SCENARIO = str(ROOT / "tests" / "sim" / "scenarios" / "ethercat_app.py")


def _machine(folder: Path) -> Path:
    path = folder / "machine.yaml"
    path.write_text(MACHINE)
    return path


@pytest.mark.verifies("REQ_0310", "REQ_8021", "REQ_8151", "REQ_8152")
def test_an_application_moves_a_simulated_cell(tmp_path: Path) -> None:
    press = Press()
    with World(1) as world, press.app.bind(world.runtime, machine=_machine(tmp_path)) as bound:
        segment = segment_of(world, "cell")
        ram = device_of(segment, "ram", SimulatedDevice)
        valve = device_of(segment, "valve", SimulatedDevice)
        bound.start()
        world.run_for(500 * MS)
        assert bound.health["cell"].kind.name == "UP"
        assert all(each.state is AlState.OP for each in segment.subdevices)
        assert not valve.output("open")

        ram.set("position", -2.0)
        device_of(segment, "buttons", SimulatedDevice).set("start", True)
        world.run_for(5 * MS)

        assert valve.output("open")
        assert ram.output("target") == 10.5
        assert press.ram.fresh
        assert press.cycles > 300
    assert all(each.state is AlState.INIT for each in segment.subdevices)


def _drill(folder: Path, name: str) -> tuple[str, bytes, list[str]]:
    """Run the press with a lost frame, a cable that is cut for 200 ms, and a power cycle; record all of it."""
    plan = FaultPlan.of(
        FaultEntry(target="ethercat/cell", kind="lose-frames", at_ns=400 * MS, duration_ns=3 * MS),
        FaultEntry(target="ethercat/cell/ram", kind="cut-cable", at_ns=800 * MS, duration_ns=200 * MS),
        FaultEntry(target="ethercat/cell/valve", kind="power-cycle", at_ns=2000 * MS, duration_ns=20 * MS),
    )
    press = Press()
    with World(7, plan=plan) as world, press.app.bind(world.runtime, machine=_machine(folder)) as bound:
        recording = SegmentRecording(segment_of(world, "cell"), folder / f"{name}.pcapng")
        bound.start()
        reasons: list[str] = []
        for _ in range(4000):
            world.run_for(MS)
            text = bound.health["cell"].kind.name
            if not reasons or reasons[-1] != text:
                reasons.append(text)
        assert bound.health["cell"].kind.name == "UP", bound.health["cell"]
        recorded = recording.path
    return world.trace.sha256(), recorded.read_bytes(), reasons


@pytest.mark.verifies("REQ_0331", "REQ_8107", "REQ_8109", "REQ_8111", "REQ_8005")
def test_a_run_with_faults_recovers_and_repeats_itself_byte_for_byte(tmp_path: Path) -> None:
    first_hash, first_bytes, reasons = _drill(tmp_path, "first")
    second_hash, second_bytes, _reasons = _drill(tmp_path, "second")

    assert "DEGRADED" in reasons
    assert reasons[-1] == "UP"
    assert first_hash == second_hash
    assert first_bytes == second_bytes
    assert len(first_bytes) > 100_000


@pytest.mark.verifies("REQ_8001", "REQ_8020")
def test_the_run_repeats_in_fresh_processes_and_without_the_parts_that_only_linux_has(tmp_path: Path) -> None:
    runs = [
        run_fresh("run", SCENARIO, "--seed", "5", hash_seed="1"),
        run_fresh("run", SCENARIO, "--seed", "5", hash_seed="77", folder=tmp_path),
        run_fresh("run", SCENARIO, "--seed", "5", command=BLOCKED),
    ]

    assert len({hash_of(run) for run in runs}) == 1


@pytest.mark.verifies("REQ_0331", "REQ_8008", "REQ_8109")
@pytest.mark.parametrize("seed", [3, 11, 42, 107])
def test_after_whatever_goes_wrong_the_bus_is_up_again_and_the_application_runs(tmp_path: Path, seed: int) -> None:
    press = Press()
    campaign = Campaign(faults=(2, 6), begin_ns=(300 * MS, 2000 * MS), duration_ns=(2 * MS, 800 * MS))
    with World(seed) as world, press.app.bind(world.runtime, machine=_machine(tmp_path)) as bound:
        world.faults.propose(draw_plan(world, campaign))
        bound.start()

        world.run_for(3000 * MS)
        assert world.run_until(lambda: bound.health["cell"].kind.name == "UP", 40_000 * MS), bound.health["cell"]

        before = press.cycles
        world.run_for(100 * MS)
        assert press.cycles > before
        assert press.ram.fresh
        assert not bound.troubles


@pytest.mark.verifies("REQ_8021")
def test_an_application_can_be_bound_again_to_the_same_segment(tmp_path: Path) -> None:
    press = Press()
    machine = _machine(tmp_path)
    with World(1) as world:
        for _ in range(2):
            with press.app.bind(world.runtime, machine=machine) as bound:
                bound.start()
                world.run_for(300 * MS)
                assert bound.health["cell"].kind.name == "UP"


@pytest.mark.realizes("TEST_0846")
def test_bits_that_belong_to_nothing_are_told_once_when_the_app_is_bound() -> None:
    press = Press()
    rx = (PdoSpec(index=0x1600, entries=(EntrySpec(name="open", type="bool"),)), PdoSpec(index=0x1601, bit_length=7))
    devices = list(msgspec.yaml.decode(MACHINE, type=Machine).ethercat["cell"].devices)
    devices[2] = msgspec.structs.replace(devices[2], pdos=PdosSpec(rx=rx))
    machine = Machine(machine="press", ethercat={"cell": EthercatBusSpec(devices=tuple(devices))})
    with World(1) as world, press.app.bind(world.runtime, machine=machine):
        told = [each.text for each in world.recorder.events if each.severity == "warning"]

    assert told == ["EtherCAT bus 'cell': bits 1 to 7 of the outputs of 'valve' belong to no channel and no entry"]


def _request(node: str = "one", **more: object) -> BusRequest:
    spec = more.pop("spec", MIXED)
    options = EthercatConnectorOptions.of_plan(resolve(spec))  # type: ignore[arg-type]
    return BusRequest(bus="cell", node=node, options=options, spec=spec, **more)  # type: ignore[arg-type]


@pytest.mark.verifies("REQ_0312", "REQ_8510")
def test_a_segment_has_one_maindevice_and_one_description() -> None:
    with World(1) as world:
        first = make_bus(world.runtime, _request())
        with pytest.raises(ConfigurationError, match="'cell' is driven by 'one'; 'two' cannot have it too"):
            make_bus(world.runtime, _request("two"))

        first.close()
        with pytest.raises(ConfigurationError, match="'two' describes other devices than 'one'"):
            make_bus(world.runtime, _request("two", spec=bus(coupler(), inputs("di", 4))))
        assert make_bus(world.runtime, _request("two")).layout.output_bytes == first.layout.output_bytes


@pytest.mark.verifies("REQ_8013", "REQ_8510")
def test_a_simulated_run_cannot_reach_an_interface(tmp_path: Path) -> None:
    press = Press()
    bench = Bench(ethercat={"cell": EthercatBacking(interface="eth1")})

    with (
        World(1) as world,
        pytest.raises(ConfigurationError, match=r"interface 'eth1', which a simulated run cannot .*simulated = true"),
    ):
        press.app.bind(world.runtime, machine=load_machine(_machine(tmp_path)), bench=bench)


@pytest.mark.verifies("REQ_8510")
def test_a_segment_that_is_not_there_is_named() -> None:
    with World(1) as world, pytest.raises(ConfigurationError, match="no EtherCAT bus 'cel'; it has none; bind the App"):
        segment_of(world, "cel")


@pytest.mark.verifies("REQ_8108")
def test_a_plant_is_put_behind_its_device_and_an_unknown_one_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, str, object]] = []
    monkeypatch.setitem(
        PLANT_KINDS, "spring", lambda segment, label, settings, _folder: made.append((segment.name, label, settings))
    )

    with World(1) as world:
        make_bus(world.runtime, _request(settings={"axis1": {"kind": "spring", "rate": 2}}))
    with (
        World(1) as world,
        pytest.raises(ConfigurationError, match=r"\[ethercat\.cell\.plant\.axis1\]: no plant of kind"),
    ):
        make_bus(world.runtime, _request(settings={"axis1": {"kind": "sprig"}}))

    assert made == [("cell", "axis1", {"rate": 2})]
