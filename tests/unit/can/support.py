"""What the tests of the CAN connector share: a codec for bare bytes and a connector on mocks in virtual time."""

from __future__ import annotations

from typing import Any, Self

from taktora.can import (
    CanConnector,
    CanConnectorOptions,
    CanFdFlags,
    CanFrame,
    CanFrameKind,
    CanId,
    CanIface,
    CanInterface,
    CanRouting,
    can_channel,
)
from taktora.connector import ChannelReader, ChannelWriter, ConnectorGateway, HealthEvent
from taktora.errors import PayloadOverflow
from taktora.testing.mock_can import MockCanInterface
from taktora_sim.world import World

MS = 1_000_000
S = 1_000_000_000


class BytesCodec:
    """Carries bytes as they are."""

    format_name = "bytes"

    def encode_into(self, value: bytes, view: memoryview) -> int:
        if len(value) > len(view):
            raise PayloadOverflow(len(value), len(view))
        view[: len(value)] = value
        return len(value)

    def decode(self, type: Any, view: memoryview) -> Any:  # noqa: A002
        return type(view)


class FixedPolicy:
    """Waits the same time before each attempt and counts how often it was asked and reset."""

    def __init__(self, delay_ns: int) -> None:
        self.delay_ns = delay_ns
        self.asked = 0
        self.resets = 0

    def next_delay(self) -> int:
        self.asked += 1
        return self.delay_ns

    def next_backoff(self) -> int | None:
        return self.next_delay()

    def reset(self) -> None:
        self.resets += 1


class Bench:
    """A CAN connector with its gateway in a World; interfaces are mocks unless given."""

    def __init__(self, *interfaces: CanInterface, world: World | None = None, **options: Any) -> None:
        self.world = world or World(1)
        self.interfaces: tuple[Any, ...] = interfaces or (MockCanInterface("can0"),)
        names = tuple(CanIface(interface.name) for interface in self.interfaces)
        self.connector = CanConnector(
            self.world.runtime, CanConnectorOptions(ifaces=names, **options), self.interfaces, BytesCodec()
        )
        self.gateway = ConnectorGateway.builder(self.world.runtime, "gateway").build()
        self.gateway.register(self.connector)
        self.opened: list[str] = []
        """Services opened, where a test watches that."""
        self.events: list[HealthEvent] = []
        self.connector.monitor.add_listener(self.events.append)

    @property
    def mock(self) -> MockCanInterface:
        mock = self.interfaces[0]
        assert isinstance(mock, MockCanInterface)
        return mock

    def start(self) -> Self:
        self.gateway.start()
        self.run()
        return self

    def run(self, duration_ns: int = 100_000) -> None:
        self.world.run_for(duration_ns)

    def writer(
        self,
        name: str,
        can_id: CanId,
        iface: str = "can0",
        kind: CanFrameKind = CanFrameKind.CLASSICAL,
        fd_flags: CanFdFlags = CanFdFlags.NONE,
    ) -> ChannelWriter[bytes, BytesCodec]:
        routing = CanRouting(CanIface(iface), can_id, kind=kind, fd_flags=fd_flags)
        return self.connector.create_writer(can_channel(name, routing), bytes)

    def reader(
        self,
        name: str,
        can_id: CanId,
        mask: int = 0x1FFF_FFFF,
        iface: str = "can0",
        kind: CanFrameKind = CanFrameKind.CLASSICAL,
    ) -> ChannelReader[bytes, BytesCodec]:
        routing = CanRouting(CanIface(iface), can_id, mask, kind)
        return self.connector.create_reader(can_channel(name, routing), bytes)

    def kinds(self) -> list[str]:
        """States entered since the start."""
        return [event.target.kind.value for event in self.events]

    def close(self) -> None:
        self.gateway.close()
        self.world.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def values(reader: ChannelReader[bytes, BytesCodec]) -> list[bytes]:
    return [envelope.value for envelope in reader.drain()]


def frame(can_id: int, data: bytes = b"", extended: bool = False) -> CanFrame:
    return CanFrame(can_id, data, extended)
