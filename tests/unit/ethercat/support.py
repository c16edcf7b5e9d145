"""What the tests of the EtherCAT connector share: a bus that is told what to do, and a connector on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

from taktora.connector import ConnectorHealth, ConnectorHost, Degraded, Down, HealthEvent, Up
from taktora.ethercat.connector import EthercatConnector, ethercat_channel
from taktora.ethercat.driver import Emergency
from taktora.ethercat.image import BusListener, CycleRecord, ImageLayout, Validity
from taktora.ethercat.options import EthercatConnectorOptions
from taktora.ethercat.pdo import SubDeviceMap
from taktora.ethercat.routing import EthercatRouting, PdoDirection
from taktora_sim.world import World
from tests.unit.can.support import BytesCodec

MS = 1_000_000
PERIOD = 1 * MS


def rx(address: int, offset: int, length: int) -> EthercatRouting:
    return EthercatRouting(address, PdoDirection.RX, offset, length)


def tx(address: int, offset: int, length: int) -> EthercatRouting:
    return EthercatRouting(address, PdoDirection.TX, offset, length)


AXIS = SubDeviceMap(address=0x1001, label="axis1", output_bits=32, input_bits=32, safe_outputs=b"\x00\x00\x07\x00")
LAMPS = SubDeviceMap(address=0x1002, label="lamps", output_bits=12)
BUTTONS = SubDeviceMap(address=0x1003, label="buttons", input_bits=12)
PDO_MAP = (SubDeviceMap(address=0x1000, label="coupler"), AXIS, LAMPS, BUTTONS)


def options(**more: Any) -> EthercatConnectorOptions:
    return EthercatConnectorOptions(**{"pdo_map": PDO_MAP, "cycle_time_ns": PERIOD, **more})


class FakeBus:
    """A ``CyclicBus`` on virtual time: comes up after one period, then exchanges on the grid, as told.

    With ``loopback`` the inputs of each SubDevice are the outputs that went out with the same cycle.
    """

    def __init__(self, world: World, layout: ImageLayout, period_ns: int = PERIOD, loopback: bool = False) -> None:
        self.layout = layout
        self.started = 0
        self.closed = 0
        self.cycle_index = 0
        self.inputs = bytearray(layout.input_bytes)
        self.sent: list[bytes] = []
        """The output image of each exchange."""
        self.renewals: list[bytes] = []
        """The marks of each staging."""
        self.validity = bytearray([Validity.FRESH] * len(layout.subdevices))
        self.fails = False
        """The next exchanges get no frame back."""
        self.comes_up = True
        self.listener: BusListener | None = None
        self._staged = bytes(layout.output_bytes)
        self._world = world
        self._period_ns = period_ns
        self._loopback = loopback

    def start(self, listener: BusListener) -> None:
        self.started += 1
        self.listener = listener
        if self.comes_up:
            self._world.call_after(self._period_ns, self.come_up)

    def come_up(self) -> None:
        self.tell(Up())
        self._cycle()

    def tell(self, health: ConnectorHealth) -> None:
        assert self.listener is not None
        self.listener.on_health(health)

    def stage_outputs(self, outputs: bytes | bytearray | memoryview, renewed: bytes | bytearray | memoryview) -> None:
        self._staged = bytes(outputs)
        self.renewals.append(bytes(renewed))

    def exchange(self) -> None:
        """Do one attempt now."""
        self.sent.append(self._staged)
        if self._loopback:
            for place in self.layout.subdevices:
                size = min(place.input_bytes, place.output_bytes)
                data = self._staged[place.output_offset : place.output_offset + size]
                self.inputs[place.input_offset : place.input_offset + size] = data
        wire_ns = None if self.fails else 50_000
        record = CycleRecord(
            self.cycle_index,
            self._world.now_ns(),
            bytes(self.inputs),
            bytes(self.validity),
            wire_ns,
            900_000,
            not self.fails and Validity.STALE not in self.validity,
        )
        self.cycle_index += 1
        assert self.listener is not None
        self.listener.on_cycle(record)

    def emergency(self, emergency: Emergency) -> None:
        assert self.listener is not None
        self.listener.on_emergency(emergency)

    def set_input(self, label: str, data: bytes) -> None:
        offset = self.layout.by_label[label].input_offset
        self.inputs[offset : offset + len(data)] = data

    def output(self, label: str) -> bytes:
        """Return what the last exchange sent to a SubDevice."""
        place = self.layout.by_label[label]
        return self.sent[-1][place.output_offset : place.output_offset + place.output_bytes]

    def close(self) -> None:
        self.closed += 1

    def _cycle(self) -> None:
        if not self.closed:
            self.exchange()
            self._world.call_after(self._period_ns, self._cycle)


class Rig:
    """A connector on a fake bus and on a host, in virtual time."""

    def __init__(self, *, loopback: bool = False, codec: Any = None, **more: Any) -> None:
        self.world = World(1)
        self.options = options(**more)
        self.bus = FakeBus(self.world, self.options.plan().layout(), loopback=loopback)
        self.connector: EthercatConnector[Any] = EthercatConnector(
            self.world.runtime, self.options, self.bus, codec or BytesCodec()
        )
        self.health = self.connector.subscribe_health()
        self.host = ConnectorHost.builder(self.world.runtime, "app").build()

    def writer(self, name: str, routing: EthercatRouting) -> Any:
        return self.connector.create_writer(ethercat_channel(name, routing), bytes)

    def reader(self, name: str, routing: EthercatRouting) -> Any:
        return self.connector.create_reader(ethercat_channel(name, routing), bytes)

    def start(self) -> Self:
        """Register and run everything in the background."""
        self.host.register(self.connector)
        self.host.gateway.start()
        self.application = self.world.runtime.start(self.host.executor)
        return self

    def run_ms(self, milliseconds: float) -> None:
        self.world.run_for(round(milliseconds * MS))

    def walk(self) -> list[str]:
        """Return the moves so far, each in words."""
        return [in_words(event) for event in self.health.drain()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.host.executor.stop()
        self.host.close()
        self.connector.close()
        self.world.close()


def in_words(event: HealthEvent) -> str:
    target = event.target
    return f"{target.kind.value}: {target.reason}" if isinstance(target, Degraded | Down) else target.kind.value


def values(reader: Any) -> list[bytes]:
    return [envelope.value for envelope in reader.drain()]


def at(world: World, times_ms: Sequence[float], call: Callable[[], object]) -> None:
    for time_ms in times_ms:
        world.call_at(round(time_ms * MS), call)
