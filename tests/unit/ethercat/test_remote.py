"""A gateway apart from its application: image, slices and health cross by the transport, and either may vanish."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from taktora.app import App, Bench, BoundApp, Context, EthercatBacking, load_machine
from taktora.app.gateway import build_gateway
from taktora.connector import ConnectorGateway, Degraded, Down, Up
from taktora.connector.reconnect import ExponentialBackoff
from taktora.errors import ConfigurationError, LinkDown, NotReady
from taktora.ethercat.backend import BusRequest
from taktora.ethercat.local import LocalBus
from taktora.ethercat.remote import BEAT_NS, LOST_NS, HealthRecord, RemoteBus
from taktora.runtime import RunHandle, Runtime
from taktora.testing.mock_bus import MockBusDriver
from taktora_sim.world import World
from tests.unit.app.test_ethercat import AXIS, LAMPS, MACHINE, MS, AxisIn, AxisOut
from tests.unit.ethercat.support import in_words

BUTTONS = 0x1003


@dataclass
class Bound:
    app: BoundApp
    axis: Any
    lamp: Any
    start: Any


class Apart:
    """A gateway and an application in one World, each with its own half of the connector."""

    def __init__(self, folder: Path) -> None:
        self.world = World(1)
        self.drivers: list[MockBusDriver] = []
        self.world.runtime.backends["ethercat"] = self._make_bus
        self.machine = folder / "machine.yaml"
        self.machine.write_bytes(msgspec.yaml.encode(MACHINE))
        self.gateway: ConnectorGateway | None = None
        self.app = App("pick")
        cell = self.app.ethercat("cell")
        self.axis = cell.device("axis1", AxisIn, AxisOut)
        self.lamp, self.start = cell.writer("lamp"), cell.reader("start")
        self.cycles: list[int] = []

        @self.app.cyclic(on=self.axis.cycle)
        def control(_: Context) -> None:
            self.cycles.append(self.axis.cycle_index)
            self.axis.outputs.control = self.axis.inputs.status + 1
            self.start.take()

        bench = Bench(ethercat={"cell": EthercatBacking(gateway="separate")})
        self.bound = self.app.bind(self.world.runtime, machine=load_machine(self.machine), bench=bench)
        connector = self.bound.host.gateway.connectors[0]
        self.health = connector.subscribe_health()

    def _make_bus(self, runtime: Runtime, request: BusRequest) -> LocalBus:
        plan = request.options.plan()
        self.drivers.append(MockBusDriver.for_plan(plan, clock=runtime.clock, wire_round_ns=100_000))
        return LocalBus(plan, self.drivers[-1], runtime.clock, lambda: ExponentialBackoff(runtime.entropy), request.bus)

    def start_gateway(self) -> RunHandle:
        gateway = self.gateway = build_gateway(self.world.runtime, self.machine, "cell")
        gateway.start()
        assert gateway._handle is not None
        return gateway._handle

    def end_gateway(self) -> None:
        assert self.gateway is not None
        self.gateway.close()
        self.gateway = None

    def run_ms(self, milliseconds: float) -> None:
        self.world.run_for(round(milliseconds * MS))

    def walk(self) -> list[str]:
        return [in_words(event) for event in self.health.drain()]

    def close(self) -> None:
        if self.gateway is not None:
            self.gateway.close()
        self.bound.close()
        self.world.close()


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Apart]:
    rig = Apart(tmp_path)
    yield rig
    rig.close()


@pytest.mark.verifies("REQ_0321", "REQ_8151")
def test_images_and_slices_cross_between_two_processes(apart: Apart) -> None:
    apart.bound.start()
    apart.start_gateway()
    with pytest.raises(NotReady):
        apart.lamp.send(3)
    apart.run_ms(50)
    driver = apart.drivers[0]
    driver.set_inputs(AXIS, b"\x07\x00" + bytes(4))
    driver.set_inputs(BUTTONS, b"\x08")
    apart.lamp.send(3)
    apart.run_ms(10)

    assert apart.walk() == ["Up"]
    assert driver.snapshot_outputs(AXIS)[:2] == b"\x08\x00"
    assert driver.snapshot_outputs(LAMPS) == b"\x06"
    assert (apart.axis.inputs.status, apart.start.latest) == (7, 1)


@pytest.mark.verifies("REQ_0321", "REQ_0333")
def test_health_crosses_move_by_move(apart: Apart) -> None:
    apart.bound.start()
    apart.start_gateway()
    apart.run_ms(50)
    apart.drivers[0].with_wkc_sequence(["no frame came back", 6, 1])
    apart.run_ms(2_000)

    moves = apart.walk()
    assert moves[:2] == ["Up", "Degraded: cycle failed: no frame came back"]
    assert moves[2:4] == ["Connecting", "Up"]
    assert moves[4].startswith("Degraded: working counter below expected")
    assert moves[5:] == ["Up"]


@pytest.mark.verifies("REQ_0321", "REQ_0292")
def test_a_gateway_that_is_not_there_is_down_within_the_stated_bound_and_comes_back(apart: Apart) -> None:
    apart.bound.start()
    apart.run_ms(LOST_NS / MS)
    before = apart.walk()
    handle = apart.start_gateway()
    apart.run_ms(BEAT_NS / MS + 50)
    came = apart.walk()
    handle.stop()  # dispatches nothing any more, says nothing, closes nothing
    apart.run_ms(BEAT_NS / MS + LOST_NS / MS)
    lost = apart.walk()
    with pytest.raises(LinkDown, match="no sign of life of the gateway of 'cell'"):
        apart.lamp.send(1)
    seen = len(apart.cycles)
    apart.end_gateway()
    apart.start_gateway()
    apart.run_ms(BEAT_NS / MS + 50)

    text = (
        "Down: no sign of life of the gateway of 'cell' for 350 ms; start it with 'taktora gateway MACHINE --bus cell'"
    )
    assert before == [text]
    assert came[-1] == "Up"
    assert lost == [text]
    assert apart.walk()[-1] == "Up"
    assert len(apart.cycles) > seen
    assert apart.axis.cycle_index < 100, "it follows the new gateway's cycles"


@pytest.mark.verifies("REQ_0319", "REQ_0321")
def test_the_last_words_of_a_gateway_that_is_dead_are_no_sign_of_life(apart: Apart) -> None:
    handle = apart.start_gateway()
    apart.run_ms(50)
    handle.stop()
    apart.run_ms(5_000)

    apart.bound.start()
    apart.run_ms(2 * LOST_NS / MS)

    assert [move.partition(":")[0] for move in apart.walk()] == ["Down"]


@pytest.mark.verifies("REQ_8150", "REQ_0321")
def test_an_application_that_dies_leaves_safe_outputs_at_the_gateway(apart: Apart) -> None:
    apart.bound.start()
    apart.start_gateway()
    apart.run_ms(50)
    apart.lamp.send(3)
    apart.run_ms(10)
    alive = apart.drivers[0].snapshot_outputs(LAMPS)
    apart.world.faults.inject("app/pick", "kill")
    apart.run_ms(50)

    assert alive == b"\x06"
    assert apart.drivers[0].snapshot_outputs(LAMPS) == b"\x00"
    assert apart.drivers[0].snapshot_outputs(AXIS) == b"\x00\x00\x0f\x00", "the safe torque"


@pytest.mark.verifies("REQ_8150", "REQ_0321")
def test_a_new_application_does_not_revive_what_the_one_before_it_has_sent(apart: Apart) -> None:
    apart.bound.start()
    apart.start_gateway()
    apart.run_ms(50)
    apart.lamp.send(3)
    apart.run_ms(10)
    apart.bound.close()
    apart.run_ms(50)
    bench = Bench(ethercat={"cell": EthercatBacking(gateway="separate")})
    apart.bound = apart.app.bind(apart.world.runtime, machine=load_machine(apart.machine), bench=bench)
    apart.bound.start()
    apart.run_ms(200)

    assert apart.bound.health["cell"].kind.value in ("Up", "Degraded")
    assert apart.drivers[0].snapshot_outputs(LAMPS) == b"\x00"


@pytest.mark.verifies("REQ_0321")
@pytest.mark.parametrize("health", [Up(), Degraded("x" * 250), Down("no cable: \u00fc" * 20, 5)])
def test_a_health_record_has_one_layout(health: Any) -> None:
    record = HealthRecord.of(1 << 63, 7, 123, health)
    payload = record.to_bytes()
    back = HealthRecord.read(memoryview(payload))

    assert len(payload) == 256
    assert back[:4] == record[:4]
    assert record.reason.startswith(back.reason)
    assert len(back.reason.encode()) <= 224
    assert back.health(5).kind is health.kind


@pytest.mark.verifies("REQ_0321")
def test_a_remote_bus_takes_no_outputs_itself() -> None:
    from tests.unit.ethercat.support import options

    with World(1) as world:
        bus = RemoteBus(world.runtime, options().plan().layout(), "cell")
        with pytest.raises(ConfigurationError, match="staged by its gateway's process"):
            bus.stage_outputs(b"", b"")
        bus.close()
        bus.close()
