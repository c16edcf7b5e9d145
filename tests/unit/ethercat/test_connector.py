"""The application's half: which channels may be opened, and what a send does in each state of the bus."""

from __future__ import annotations

import dataclasses

import pytest

from taktora.codec import JsonCodec
from taktora.connector import ChannelDescriptor, Connector, ConnectorHost, Down, Up
from taktora.errors import BackPressure, ConfigurationError, LinkDown, NotReady, StackError
from taktora.ethercat.connector import EthercatConnector, ethercat_channel
from taktora.ethercat.options import EthercatConnectorOptions
from taktora.ethercat.routing import EthercatRouting
from taktora_sim.world import World
from tests.unit.connector.conftest import LineRouting
from tests.unit.ethercat.support import AXIS, FakeBus, Rig, options, rx, tx


@pytest.mark.realizes("TEST_0200")
def test_it_is_a_connector_that_routes_by_ethercat_routing_only() -> None:
    with Rig(codec=JsonCodec()) as rig:
        connector: Connector[EthercatRouting, JsonCodec] = rig.connector

        assert (connector.name, connector.codec.format_name) == ("ethercat", "json")
        assert EthercatConnector.routing_type is EthercatRouting
        for create in (connector.create_writer, connector.create_reader):
            with pytest.raises(ConfigurationError, match="routes by EthercatRouting, found LineRouting"):
                create(ChannelDescriptor("foreign", LineRouting(1), 8), bytes)  # type: ignore[arg-type]


@pytest.mark.verifies("REQ_0311")
def test_a_writer_takes_outputs_and_a_reader_inputs() -> None:
    with Rig() as rig:
        with pytest.raises(ConfigurationError, match=r"create_writer takes a slice of outputs .*0x1001.tx\[0:8\]"):
            rig.writer("wrong", tx(0x1001, 0, 8))
        with pytest.raises(ConfigurationError, match=r"create_reader takes a slice of inputs .*use create_writer"):
            rig.reader("wrong", rx(0x1001, 0, 8))


@pytest.mark.verifies("REQ_0311", "REQ_0314")
@pytest.mark.parametrize(
    ("routing", "words"),
    [
        (rx(0x2000, 0, 8), "no SubDevice 0x2000 in pdo_map.*lamps"),
        (rx(0x1002, 5, 8), "of 'lamps' ends beyond its 12 bits"),
        (rx(0x1003, 0, 1), "of 'buttons' ends beyond its 0 bits"),
    ],
)
def test_a_slice_must_lie_in_the_image_of_a_known_subdevice(routing: EthercatRouting, words: str) -> None:
    with Rig() as rig, pytest.raises(ConfigurationError, match=f"channel 'lamp': .*{words}"):
        rig.writer("lamp", routing)


@pytest.mark.verifies("REQ_0327")
def test_a_channel_must_hold_its_slice() -> None:
    with Rig() as rig, pytest.raises(ConfigurationError, match=r"max_payload_size is 1, but .* takes 2 bytes"):
        rig.connector.create_reader(ChannelDescriptor("keys", tx(0x1003, 0, 12), 1), bytes)

    assert ethercat_channel("keys", tx(0x1003, 0, 12)).max_payload_size == 2


@pytest.mark.verifies("REQ_0326")
def test_two_writers_may_not_own_the_same_bits_unless_it_is_allowed() -> None:
    with Rig() as rig:
        rig.writer("first", rx(0x1002, 0, 4))
        rig.writer("neighbour", rx(0x1002, 4, 4))
        with pytest.raises(ConfigurationError, match=r"shares bits with .* of channel 'first'"):
            rig.writer("second", rx(0x1002, 3, 2))
    world = World(1)
    bus = FakeBus(world, options().plan().layout())
    with EthercatConnector(world.runtime, options(), bus, JsonCodec(), overlapping=["second"]) as connector:
        connector.create_writer(ethercat_channel("first", rx(0x1002, 0, 4), 8), int)
        connector.create_writer(ethercat_channel("second", rx(0x1002, 3, 2), 8), int)
    world.close()


@pytest.mark.verifies("REQ_8151", "REQ_0326")
def test_outputs_are_owned_by_an_image_or_by_slices() -> None:
    with Rig() as rig:
        rig.writer("lamp", rx(0x1002, 0, 1))
        with pytest.raises(ConfigurationError, match="outputs of 'lamps' are written as an image"):
            rig.connector.open_image([2])
        rig.connector.open_image([1])
        with pytest.raises(ConfigurationError, match="outputs of 'axis1' are written as an image"):
            rig.writer("torque", rx(0x1001, 0, 8))
        with pytest.raises(ConfigurationError, match="its image is open already"):
            rig.connector.open_image([1])


@pytest.mark.verifies("REQ_0314")
def test_bus_and_options_must_be_of_one_plan() -> None:
    world = World(1)
    bus = FakeBus(world, EthercatConnectorOptions(pdo_map=(AXIS,)).plan().layout())

    with pytest.raises(ConfigurationError, match="build both from one plan"):
        EthercatConnector(world.runtime, options(), bus, JsonCodec())

    world.close()


@pytest.mark.verifies("REQ_0314")
def test_the_pdo_map_is_fixed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        options().pdo_map = ()  # type: ignore[misc]


@pytest.mark.realizes("TEST_0203")
def test_before_op_a_send_is_not_ready_and_then_it_goes_through() -> None:
    with Rig() as rig:
        rig.bus.comes_up = False
        lamp = rig.writer("lamp", rx(0x1002, 0, 12))
        rig.start().run_ms(5)
        with pytest.raises(NotReady, match="'ethercat' takes no messages yet"):
            lamp.send(b"\x01\x00")

        rig.bus.come_up()
        rig.run_ms(0.5)
        number = lamp.send(b"\x03\x00").sequence_number
        rig.run_ms(2)

        assert number == 0
        assert rig.bus.output("lamps") == b"\x03\x00"


@pytest.mark.verifies("REQ_0313", "REQ_0292")
def test_while_down_a_send_is_refused() -> None:
    with Rig() as rig:
        lamp = rig.writer("lamp", rx(0x1002, 0, 12))
        rig.start().run_ms(2)
        rig.bus.tell(Down("bring-up failed: no answer", 0))
        rig.run_ms(1)

        with pytest.raises(LinkDown, match="bring-up failed: no answer"):
            lamp.send(b"\x01\x00")


@pytest.mark.realizes("TEST_0213")
def test_a_full_way_out_is_back_pressure_and_degraded_until_it_is_empty() -> None:
    with Rig(outbound_capacity=2) as rig:
        lamp = rig.writer("lamp", rx(0x1002, 0, 12))
        rig.start().run_ms(2)
        rig.bus.fails = True
        rig.run_ms(1)
        for number in range(2):
            lamp.send(bytes([number, 0]))
            rig.run_ms(0.01)
        with pytest.raises(BackPressure, match="full with 2 messages"):
            lamp.send(b"\x07\x00")
        degraded = rig.walk()
        rig.bus.fails = False
        rig.bus.tell(Up())
        rig.run_ms(3)

        assert degraded == ["Up", "Degraded: backpressure: outbound bridge of ethercat is full"]
        assert rig.bus.output("lamps") == b"\x01\x00"


@pytest.mark.realizes("TEST_0212")
@pytest.mark.parametrize(("asked", "slots"), [(3, 3), (0, 1)])
def test_bridges_have_the_capacity_that_was_asked_for(asked: int, slots: int) -> None:
    with Rig(outbound_capacity=asked, inbound_capacity=asked) as rig:
        link = rig.connector.link

        assert (link.outbound.capacity, link.inbound.capacity) == (slots, slots)
        for _ in range(slots):
            link.outbound.try_send(b"")  # type: ignore[arg-type]
            link.inbound.put(b"")  # type: ignore[arg-type]
        with pytest.raises(BackPressure):
            link.outbound.try_send(b"")  # type: ignore[arg-type]
        link.inbound.put(b"")  # type: ignore[arg-type]
        assert (len(link.outbound), len(link.inbound), link.inbound.dropped) == (slots, slots, 1)


@pytest.mark.realizes("TEST_0202")
def test_one_bus_is_opened_once_and_closed_with_the_connector() -> None:
    rig = Rig()
    with rig:
        rig.start().run_ms(3)
        with pytest.raises(StackError, match="registered already"):
            ConnectorHost.builder(rig.world.runtime, "second").build().register(rig.connector)

    assert (rig.bus.started, rig.bus.closed >= 1) == (1, True)
    assert len(rig.connector.links) == 1


@pytest.mark.verifies("REQ_8150")
def test_the_executor_renews_in_every_cycle_what_was_written_by_slices() -> None:
    with Rig() as rig:
        lamp = rig.writer("lamp", rx(0x1002, 0, 12))
        rig.start().run_ms(5)
        before = list(rig.bus.renewals)
        lamp.send(b"\x01\x00")
        rig.run_ms(10)
        alive = rig.bus.renewals[len(before) :]
        rig.host.executor.stop()
        rig.run_ms(1)
        count = len(rig.bus.renewals)
        rig.run_ms(10)

        assert not before, "nothing was written yet, so nothing is renewed"
        assert set(alive) == {b"\x00\x00\x01\x00"}
        assert 10 <= len(alive) <= 12
        assert len(rig.bus.renewals) == count, "an executor that does not run renews nothing"
