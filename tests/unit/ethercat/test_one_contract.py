"""One contract for both shapes: a gateway in the application's program and one apart from it use the same services."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import msgspec
import pytest

from taktora.app import App, Bench, Context, EthercatBacking, load_machine
from taktora.app.gateway import build_gateway
from taktora.connector.reconnect import ExponentialBackoff
from taktora.ethercat.backend import BusRequest
from taktora.ethercat.connector import ethercat_channel
from taktora.ethercat.image_channel import image_in_service, image_out_service
from taktora.ethercat.local import LocalBus
from taktora.ethercat.remote import health_service
from taktora.runtime import Runtime
from taktora.testing.mock_bus import MockBusDriver
from taktora.transport.base import Delivery, PayloadType, PublisherPort, ServiceSettings
from taktora.transport.envelope import check, envelope_type, read_header
from taktora_sim.world import World
from tests.unit.app.test_ethercat import AXIS, LAMPS, MACHINE, MS, AxisIn, AxisOut
from tests.unit.ethercat.support import rx, tx

BUTTONS = 0x1003
Gateway: TypeAlias = Literal["in-process", "separate"]
Carrier: TypeAlias = Literal["inprocess", "iceoryx2"]


@dataclass
class Seen:
    """What crossed the transport in one run."""

    shapes: dict[str, set[tuple[PayloadType, ServiceSettings]]] = field(default_factory=dict)
    """By service, the type and the settings that each of its ends was opened with."""
    envelopes: dict[str, list[bytes]] = field(default_factory=dict)

    def ends(self, service: str, payload: PayloadType, settings: ServiceSettings) -> None:
        self.shapes.setdefault(service, set()).add((payload, settings))


class _TappedPublisher:
    """A publisher that keeps a copy of what it sends."""

    def __init__(self, port: PublisherPort, seen: Seen) -> None:
        self.service, self.payload_bytes = port.service, port.payload_bytes
        self.discard, self.close = port.discard, port.close
        self._port = port
        self._sent = seen.envelopes.setdefault(port.service, [])
        self._view = memoryview(b"")

    def loan(self) -> memoryview:
        self._view = self._port.loan()
        return self._view

    def publish(self) -> Delivery:
        self._sent.append(bytes(self._view[: 64 + read_header(self._view).payload_len]))
        return self._port.publish()


def tap(transport: Any, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Note every end of a publish-subscribe service that is opened from now on, and what is sent."""
    seen, publisher, subscriber = Seen(), transport.publisher, transport.subscriber

    def tapped(service: str, payload: PayloadType, settings: ServiceSettings) -> _TappedPublisher:
        seen.ends(service, payload, settings)
        return _TappedPublisher(publisher(service, payload, settings), seen)

    def noted(service: str, payload: PayloadType, settings: ServiceSettings) -> Any:
        seen.ends(service, payload, settings)
        return subscriber(service, payload, settings)

    monkeypatch.setattr(transport, "publisher", tapped)
    monkeypatch.setattr(transport, "subscriber", noted)
    return seen


class _Machine:
    """One application on a scripted bus, with its gateway in its program or apart."""

    def __init__(self, world: World, machine: Path, where: Gateway) -> None:
        self.world = world
        self.drivers: list[MockBusDriver] = []
        world.runtime.backends["ethercat"] = self._make_bus
        app = App("pick")
        cell = app.ethercat("cell")
        axis, start = cell.device("axis1", AxisIn, AxisOut), cell.reader("start")
        self.lamp = cell.writer("lamp")

        @app.cyclic(on=axis.cycle)
        def control(_: Context) -> None:
            axis.outputs.control = axis.inputs.status + 1
            start.take()

        bench = Bench(ethercat={"cell": EthercatBacking(gateway=where)})
        self.bound = app.bind(world.runtime, machine=load_machine(machine), bench=bench)
        self.bound.start()
        self.gateway = build_gateway(world.runtime, machine, "cell") if where == "separate" else None
        if self.gateway is not None:
            self.gateway.start()

    def _make_bus(self, runtime: Runtime, request: BusRequest) -> LocalBus:
        plan = request.options.plan()
        self.drivers.append(MockBusDriver.for_plan(plan, clock=runtime.clock, wire_round_ns=100_000))
        return LocalBus(plan, self.drivers[-1], runtime.clock, lambda: ExponentialBackoff(runtime.entropy), request.bus)

    def close(self) -> None:
        if self.gateway is not None:
            self.gateway.close()
        self.bound.close()


def run(folder: Path, where: Gateway, carrier: Carrier, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Come up, let inputs change, and send three values for a lamp."""
    file = folder / "machine.yaml"
    file.write_bytes(msgspec.yaml.encode(MACHINE))
    world = World(1, transport=carrier)
    seen = tap(world.transport, monkeypatch)
    machine = _Machine(world, file, where)
    world.run_for(50 * MS)
    machine.drivers[0].set_inputs(AXIS, b"\x07\x00" + bytes(4))
    machine.drivers[0].set_inputs(BUTTONS, b"\x08")
    for value in (3, 1, 2):
        machine.lamp.send(value)
        world.run_for(10 * MS)
    machine.close()
    world.close()
    return seen


@pytest.fixture(params=["inprocess", "iceoryx2"])
def carrier(request: pytest.FixtureRequest) -> Carrier:
    if request.param == "iceoryx2":
        pytest.importorskip("iceoryx2")
    chosen: Carrier = request.param
    return chosen


@pytest.mark.verifies("REQ_0240")
def test_a_gateway_in_the_program_and_one_apart_use_services_of_one_shape(
    tmp_path: Path, carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, apart = (run(tmp_path, where, carrier, monkeypatch) for where in get_args(Gateway))

    health = apart.shapes.pop(health_service("cell"))  # in one program it goes by a queue
    assert len(health) == 1
    assert together.shapes == apart.shapes
    assert all(len(shapes) == 1 for shapes in together.shapes.values())
    descriptors = [ethercat_channel("cell.lamp", rx(LAMPS, 1, 2)), ethercat_channel("cell.start", tx(BUTTONS, 3, 1))]
    services = descriptors[0].outbound_service, descriptors[1].inbound_service
    for service, descriptor in zip(services, descriptors, strict=True):
        ((payload, _),) = apart.shapes[service]
        assert payload == envelope_type(descriptor.max_payload_size)


@pytest.mark.verifies("REQ_0240")
def test_a_gateway_in_the_program_and_one_apart_exchange_the_same_envelopes(
    tmp_path: Path, carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, apart = (run(tmp_path, where, carrier, monkeypatch) for where in get_args(Gateway))

    for service in ("cell.lamp.out", "cell.start.in", image_out_service("cell"), image_in_service("cell")):
        assert together.envelopes[service] == apart.envelopes[service]
    assert [envelope[64:] for envelope in apart.envelopes["cell.lamp.out"]] == [b"\x03", b"\x01", b"\x02"]
    sent = [envelope for seen in (together, apart) for service in seen.envelopes.values() for envelope in service]
    assert all(check(memoryview(envelope)) for envelope in sent)
