"""One gateway on two buses of a kernel: who receives what, and what one bus that goes away does to the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from taktora.can import (
    CanConnector,
    CanConnectorOptions,
    CanFdFlags,
    CanFrame,
    CanFrameKind,
    CanId,
    CanIface,
    CanRouting,
    can_channel,
)
from taktora.can.socketcan import SocketCanInterface
from taktora.connector import ChannelReader, ChannelWriter, ConnectorHealthKind, ConnectorHost
from taktora.runtime import Runtime
from taktora_hil.rig_can import CanRig
from tests.contract.can.interface_checks import Received
from tests.patience import PATIENCE_S
from tests.real_can import send_raw
from tests.unit.can.support import MS, BytesCodec, FixedPolicy

pytestmark = [pytest.mark.world("rig")]


class Gateway:
    """Application and gateway in one process, with a CAN connector on the rig's interfaces."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.runtime = Runtime.system(transport="inprocess")
        options = CanConnectorOptions(
            ifaces=tuple(map(CanIface, names)), reconnect_policy=lambda _random: FixedPolicy(20 * MS)
        )
        interfaces = [SocketCanInterface(name) for name in names]
        self.connector = CanConnector(self.runtime, options, interfaces, BytesCodec())
        self.host = ConnectorHost.builder(self.runtime).build()
        self.values: dict[str, list[bytes]] = {}
        self._readers: dict[str, ChannelReader[bytes, BytesCodec]] = {}

    def write(
        self, channel: str, interface: str, can_id: int, kind: CanFrameKind, flags: CanFdFlags
    ) -> ChannelWriter[bytes, BytesCodec]:
        routing = CanRouting(CanIface(interface), CanId(can_id), kind=kind, fd_flags=flags)
        return self.connector.create_writer(can_channel(channel, routing), bytes)

    def read(
        self,
        channel: str,
        interface: str,
        can_id: int,
        mask: int = 0x7FF,
        kind: CanFrameKind = CanFrameKind.CLASSICAL,
    ) -> None:
        routing = CanRouting(CanIface(interface), CanId(can_id), mask, kind)
        self._readers[channel] = self.connector.create_reader(can_channel(channel, routing), bytes)
        self.values[channel] = []

    def start(self) -> None:
        """Run until all interfaces are open and filter."""
        self.host.register(self.connector)
        drivers = [self.connector.driver(iface.name) for iface in self.connector.options.ifaces]
        self.until(lambda: all(driver.filters is not None for driver in drivers))

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"{self.connector.health()}, {self.values}"
            self.host.run_for(0.01)
            for name, reader in self._readers.items():
                self.values[name] += [got.value for got in reader.drain()]


@contextmanager
def _gateway(rig: CanRig) -> Iterator[Gateway]:
    gateway = Gateway(rig.interfaces)
    try:
        yield gateway
    finally:
        gateway.host.close()
        gateway.runtime.close()


@pytest.mark.realizes("TEST_0505")
def test_frames_go_to_the_matching_readers_of_their_own_bus(can_rig: CanRig) -> None:
    first, second = can_rig.interfaces
    with _gateway(can_rig) as gateway:
        gateway.read("alone", first, 0x100)
        gateway.read("wide", second, 0x200, 0x7F0)
        gateway.read("crossing", second, 0x20F, 0x70F)
        gateway.start()

        for name, mark in ((first, b"0"), (second, b"1")):
            for can_id in (0x100, 0x20F, 0x80000200, 0x300, 0x205, 0x21F):
                send_raw(name, can_id, mark + (can_id & 0x7FF).to_bytes(2, "big"))
        gateway.until(lambda: all(len(gateway.values[name]) >= count for name, count in (("wide", 2), ("crossing", 2))))
        gateway.until(lambda: bool(gateway.values["alone"]))

    assert gateway.values == {
        "alone": [b"0\x01\x00"],
        "wide": [b"1\x02\x0f", b"1\x02\x05"],
        "crossing": [b"1\x02\x0f", b"1\x02\x1f"],
    }


@pytest.mark.verifies("REQ_0633", "REQ_0634", "REQ_0622")
def test_a_bus_that_goes_down_leaves_the_other_and_comes_back_with_its_filters(can_rig: CanRig) -> None:
    first, second = can_rig.interfaces
    with _gateway(can_rig) as gateway:
        gateway.read("left", first, 0x100)
        gateway.read("right", second, 0x100)
        gateway.start()
        for name in (first, second):
            send_raw(name, 0x100, b"before")
        gateway.until(lambda: gateway.connector.health().kind is ConnectorHealthKind.UP)

        can_rig.set_up(first, False)
        gateway.until(lambda: gateway.connector.health().kind is ConnectorHealthKind.DEGRADED)
        send_raw(second, 0x100, b"while")
        gateway.until(lambda: b"while" in gateway.values["right"])
        can_rig.set_up(first, True)
        driver = gateway.connector.driver(first)
        gateway.until(lambda: driver.filters is not None)
        send_raw(first, 0x101, b"other")
        send_raw(first, 0x100, b"after")
        gateway.until(lambda: gateway.connector.health().kind is ConnectorHealthKind.UP)
        gateway.until(lambda: len(gateway.values["left"]) >= 2)

    assert gateway.values == {"left": [b"before", b"after"], "right": [b"before", b"while"]}


@pytest.mark.realizes("TEST_0503")
def test_each_frame_kind_reaches_the_channels_of_its_own_and_carries_its_flags(can_rig: CanRig) -> None:
    first = can_rig.interfaces[0]
    both = CanFdFlags.BRS | CanFdFlags.ESI
    with _gateway(can_rig) as gateway, _peer(first) as (peer, heard):
        gateway.read("classical", first, 0x100)
        gateway.read("fd", first, 0x100, kind=CanFrameKind.FD)
        writers = [
            gateway.write("classical", first, 0x200, CanFrameKind.CLASSICAL, both),
            gateway.write("fd", first, 0x201, CanFrameKind.FD, both),
        ]
        gateway.start()

        peer.send(CanFrame(0x100, bytes(range(64)), fd=True, brs=True))
        peer.send(CanFrame(0x100, b"c"))
        peer.send(CanFrame(0x100, b"f", fd=True))
        for writer in writers:
            writer.send(b"123456789"[: writer.max_payload_size])
        gateway.until(lambda: bool(gateway.values["classical"]) and len(gateway.values["fd"]) >= 2)
        gateway.until(lambda: len(heard.frames) >= 2)

    assert gateway.values == {"classical": [b"c"], "fd": [bytes(range(64)), b"f"]}
    assert heard.frames == [
        CanFrame(0x200, b"12345678"),
        CanFrame(0x201, b"123456789\0\0\0", fd=True, brs=True, esi=True),
    ]


@contextmanager
def _peer(interface: str) -> Iterator[tuple[SocketCanInterface, Received]]:
    peer, heard = SocketCanInterface(interface), Received()
    peer.open(heard)
    try:
        yield peer, heard
    finally:
        peer.close()
