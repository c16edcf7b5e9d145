"""An application and its gateway on a simulated bus: DBC messages in, DBC messages out, faults and recovery."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from taktora.can import CanConnector, CanConnectorOptions, CanFrame, CanId, CanIface, CanRouting, can_channel
from taktora.codec.dbc import DbcCodec, load_dbc
from taktora.connector import ChannelReader, ChannelWriter, ConnectorHost, ExponentialBackoff
from taktora.errors import CodecError
from taktora.executor import Context, item_with_triggers
from taktora_sim.can import CanNode, SimulatedCanBus, frame_bits
from taktora_sim.faults import FaultEntry, FaultPlan
from taktora_sim.world import World
from tests.sim.can.support import MS, Log, socket

_DBC = """VERSION ""

BU_: Gauge App

BO_ 256 Level: 8 Gauge
 SG_ Height : 0|16@1+ (0.5,0) [0|1000] "mm" App
 SG_ Counter : 16|8@1+ (1,0) [0|255] "" App

BO_ 512 Pump: 2 App
 SG_ Speed : 0|16@1+ (0.1,0) [0|100] "%" Gauge
"""


@dataclass(frozen=True)
class Level:
    Height: float
    Counter: int


@dataclass(frozen=True)
class Pump:
    Speed: float


class Plant:
    """A gauge that reports a level every 10 ms, an application that answers each report with a pump speed."""

    def __init__(
        self, folder: Path, plan: FaultPlan | None = None, seed: int = 1, outbound_bridge_capacity: int = 256
    ) -> None:
        self.world = World(seed, plan=plan)
        self.bus = SimulatedCanBus(self.world, "tank", 250_000)
        self.gauge: CanNode = self.bus.node("gauge")
        self.gauge_log = Log()
        self._gauge = socket(self.gauge, self.gauge_log)
        self.app_node = self.bus.node("app")
        self.bus.node("display")  # acknowledges while the application is away
        path = folder / "tank.dbc"
        path.write_text(_DBC)
        self.codec = DbcCodec(load_dbc(path))
        iface = CanIface("can0")
        self.connector = CanConnector(
            self.world.runtime,
            CanConnectorOptions(
                ifaces=(iface,),
                reconnect_policy=lambda random: ExponentialBackoff(random, initial_ns=20 * MS, max_ns=100 * MS),
                outbound_bridge_capacity=outbound_bridge_capacity,
            ),
            [self.app_node.interface("can0")],
            self.codec,
        )
        self.reader: ChannelReader[Level, DbcCodec] = self.connector.create_reader(
            can_channel("tank.level", CanRouting(iface, CanId(256))), Level
        )
        self.writer: ChannelWriter[Pump, DbcCodec] = self.connector.create_writer(
            can_channel("tank.pump", CanRouting(iface, CanId(512))), Pump
        )
        self.host = ConnectorHost.builder(self.world.runtime, "control").build()
        self.host.register(self.connector)
        self.host.executor.add(item_with_triggers(lambda d: d.subscriber(self.reader), self._control), "control")
        self.levels: list[tuple[int, Level]] = []
        self.health: list[tuple[int, str]] = []
        self.undecodable: list[str] = []
        self.connector.monitor.add_listener(lambda event: self.health.append((event.at_ns, event.target.kind.value)))
        self._counter = 0

    def run(self, seconds: float) -> None:
        self.world.call_soon(self._report)
        self.host.run_for(seconds)

    def close(self) -> str:
        digest = self.world.trace.sha256()
        self.host.close()
        self.world.close()
        return digest

    def _report(self) -> None:
        level = Level(Height=100.0 + self._counter % 50, Counter=self._counter % 256)
        view = memoryview(bytearray(8))
        self.codec.encode_into(level, view)
        if self.gauge.is_up:
            self._gauge.send(CanFrame(256, bytes(view)))
        self._counter += 1
        self.world.call_after(10 * MS, self._report)

    def _control(self, _context: Context) -> None:
        while (level := self._next()) is not None:
            self.levels.append((self.world.now_ns(), level))
            self.writer.send(Pump(Speed=level.Height / 10))

    def _next(self) -> Level | None:
        while True:
            try:
                envelope = self.reader.try_recv()
            except CodecError as error:
                self.undecodable.append(str(error))
            else:
                return None if envelope is None else envelope.value


@pytest.mark.verifies("REQ_0613", "REQ_0614", "REQ_8010", "REQ_8013", "REQ_8200")
def test_messages_go_from_bus_to_item_and_back_at_the_instants_of_the_wire(tmp_path: Path) -> None:
    plant = Plant(tmp_path)

    plant.run(1.0)
    levels, answers = plant.levels, plant.gauge_log.frames
    plant.close()

    assert [level.Counter for _, level in levels] == list(range(100))
    assert [frame.data for frame in answers[:2]] == [(100).to_bytes(2, "little"), (101).to_bytes(2, "little")]
    assert len(answers) == 100
    first = CanFrame(256, bytes((200, 0, 0, 0, 0, 0, 0, 0)))
    assert levels[0][0] == (frame_bits(first.can_id, first.data) - 3) * 4000
    # The answer is queued within the intermission of the report, so it starts right after it.
    pump_ns = (frame_bits(512, answers[0].data) - 3) * 4000
    assert answers[0].timestamp_ns == levels[0][0] + 3 * 4000 + pump_ns


@pytest.mark.verifies("REQ_8002", "REQ_8000")
def test_one_seed_gives_one_hash(tmp_path: Path) -> None:
    digests = []
    for _ in range(2):
        plant = Plant(tmp_path)
        plant.run(0.3)
        digests.append(plant.close())

    assert digests[0] == digests[1]


@pytest.mark.verifies("REQ_8007", "REQ_0633", "REQ_0634", "REQ_0635")
def test_an_interface_that_goes_down_and_comes_back_is_seen_and_survived(tmp_path: Path) -> None:
    entry = FaultEntry(target="can/tank/app", kind="interface_down", at_ns=200 * MS, duration_ns=300 * MS)
    plant = Plant(tmp_path, FaultPlan.of(entry))

    plant.run(1.0)
    health, levels = plant.health, plant.levels
    plant.close()

    assert [kind for _, kind in health[:3]] == ["Up", "Down", "Connecting"]
    assert health[1][0] == 200 * MS
    assert health[-1][1] == "Up"
    assert 500 * MS < health[-1][0] < 620 * MS
    gaps = [later - earlier for (earlier, _), (later, _) in pairwise(levels)]
    assert sum(gap > 20 * MS for gap in gaps) == 1


@pytest.mark.verifies("REQ_8007")
def test_a_silent_sender_leaves_the_connector_up_and_comes_back(tmp_path: Path) -> None:
    entry = FaultEntry(target="can/tank/gauge", kind="silence", at_ns=200 * MS, duration_ns=300 * MS)
    plant = Plant(tmp_path, FaultPlan.of(entry))

    plant.run(1.0)
    health, levels = plant.health, plant.levels
    plant.close()

    assert [kind for _, kind in health] == ["Up"]
    assert len(levels) == 70


@pytest.mark.verifies("REQ_0214", "REQ_8007")
def test_a_frame_shorter_than_its_message_is_refused_by_name_and_the_rest_goes_on(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    old_gauge = socket(plant.bus.node("old-gauge"))

    plant.world.call_at(15 * MS, lambda: old_gauge.send(CanFrame(256, bytes(4))))
    plant.run(0.1)
    plant.close()

    assert len(plant.undecodable) == 1
    assert "Level (100, 8 bytes): the frame has 4 bytes, expected 8" in plant.undecodable[0]
    assert [level.Counter for _, level in plant.levels] == list(range(10))


@pytest.mark.verifies("REQ_0607", "REQ_8200")
def test_a_saturated_bus_delays_the_application_and_loses_nothing_it_accepted(tmp_path: Path) -> None:
    plant = Plant(tmp_path, outbound_bridge_capacity=4)
    babbler = socket(plant.bus.node("babbler"))

    def babble() -> None:
        # Takes nearly all that the gauge leaves, with an identifier between the gauge's and the application's.
        if plant.world.now_ns() < 800 * MS and babbler.node.queued < 2:
            babbler.send(CanFrame(0x180, bytes(8)))
        plant.world.call_after(540_000, babble)

    loads: list[float] = []
    plant.world.call_soon(babble)
    plant.world.call_at(700 * MS, lambda: loads.append(plant.bus.load(500 * MS)))
    plant.run(1.0)
    answers, levels = plant.gauge_log.frames, plant.levels
    waited = plant.app_node.longest_wait_ns
    plant.close()

    assert loads[0] > 0.95
    assert len([frame for frame in answers if frame.can_id == 512]) == len(levels) == 100
    assert waited > 0
