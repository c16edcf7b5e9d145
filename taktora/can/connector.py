"""The CAN connector: writers and readers for the application, one link per interface for its gateway; it does no I/O.

An interface is Up once a frame was received or accepted for sending, Degraded while the controller warns or is
error-passive and until ``recovery_window_ns`` without error frames, Down after bus-off or with the interface down.
From Down it is closed and, after the back-off, reopened with its filters. A controller that is bus-off is restarted by
the host's ``restart-ms`` or by its administrator, never from here: reopening the socket does not do it, and what is
sent before is lost without a word. So after bus-off only what is heard proves Up (or a frame sent, where there is no
reader to hear anything), and Connecting has the reason :class:`~taktora.can.health.RestartAwaited` until then.

Classical and CAN FD frames share an interface and its filters; each channel gets frames of its own kind only. Remote
frames are never sent; those received are counted and reach no channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from taktora.can.gateway import CanLinkDriver
from taktora.can.interface import CanFrame, CanInterface
from taktora.can.options import CanConnectorOptions
from taktora.can.routing import CanFrameKind, CanRouting
from taktora.codec.base import Codec
from taktora.connector.connector import ConnectorBase
from taktora.connector.descriptor import ChannelDescriptor
from taktora.connector.link import Link, LinkOptions
from taktora.connector.reader import ChannelReader
from taktora.errors import ConfigurationError
from taktora.runtime import Runtime
from taktora.transport.channel import RawChannelWriter

__all__ = ["CanConnector", "can_channel"]

C_co = TypeVar("C_co", bound=Codec, covariant=True)


def can_channel(name: str, routing: CanRouting) -> ChannelDescriptor[CanRouting]:
    """Return the descriptor of a CAN channel; its payload size follows from the frame kind."""
    return ChannelDescriptor(name, routing, routing.kind.max_payload_bytes)


# req: REQ_0211, REQ_0600
class CanConnector(ConnectorBase[CanRouting, C_co]):
    """A connector for one or more CAN interfaces.

    Args:
        runtime: The world it runs in.
        options: Interfaces, capacities, times.
        interfaces: One per ``options.ifaces``, in their order.
        codec: Encodes and decodes the values of all channels; the payload of a channel is the data of one frame.
        name: Name of the connector.

    Raises:
        ConfigurationError: the numbers of interfaces differ.
    """

    routing_type = CanRouting

    def __init__(
        self,
        runtime: Runtime,
        options: CanConnectorOptions,
        interfaces: Sequence[CanInterface],
        codec: C_co,
        name: str = "can",
    ) -> None:
        if len(interfaces) != len(options.ifaces):
            raise ConfigurationError(
                f"connector {name!r}: {len(interfaces)} drivers for {len(options.ifaces)} interfaces "
                f"({', '.join(map(str, options.ifaces))}); give one driver per interface, in their order"
            )
        names = [iface.name for iface in options.ifaces]
        super().__init__(name, runtime, codec, names, options.recovery_window_ns)
        self.options = options
        self._drivers = {
            iface: CanLinkDriver(interface, runtime.clock, fd_padding=options.fd_padding)
            for iface, interface in zip(names, interfaces, strict=True)
        }
        for iface, driver in self._drivers.items():
            driver.attach(self._make_link(iface, driver))

    def driver(self, iface: str) -> CanLinkDriver:
        """Return the gateway's driver of one interface, for its counters."""
        return self._drivers[iface]

    def link_of(self, routing: CanRouting) -> Link[CanRouting, Any, Any]:
        return self._links[routing.iface.name]

    # req: REQ_0612, REQ_0621
    def check_descriptor(self, descriptor: ChannelDescriptor[CanRouting]) -> None:
        routing = descriptor.routing
        if routing.iface not in self.options.ifaces:
            raise ConfigurationError(
                f"channel {descriptor.name!r}: connector {self.name!r} does not own interface {routing.iface.name!r}; "
                f"it owns {', '.join(map(str, self.options.ifaces))}"
            )
        expected = routing.kind.max_payload_bytes
        if descriptor.max_payload_size != expected:
            raise ConfigurationError(
                f"channel {descriptor.name!r}: max_payload_size is {descriptor.max_payload_size}, but a "
                f"{routing.kind.value} CAN frame carries {expected} bytes; build the descriptor with can_channel()"
            )
        interface = self._drivers[routing.iface.name].interface
        if routing.kind is CanFrameKind.FD and not interface.carries_fd:
            raise ConfigurationError(
                f"channel {descriptor.name!r}: interface {interface.name!r} carries no CAN FD frames; give the channel "
                "CanFrameKind.CLASSICAL, or have the interface set up for CAN FD "
                f"('ip link set {interface.name} up type can bitrate 500000 dbitrate 2000000 fd on'; vcan: 'mtu 72')"
            )

    # req: REQ_0623
    def reader_closed(self, reader: ChannelReader[Any, Any]) -> None:
        """Forget a reader; if it was the last one of its channel, the interface's filters follow."""
        super().reader_closed(reader)
        if self._closed or any(other.service == reader.service for other in self._readers):
            return
        for iface, driver in self._drivers.items():
            if reader.service in self._links[iface].inbound_channels:
                # Retired before it leaves the registry: leaving it is what wakes the gateway.
                self._retire(driver, reader.service)

    def open_inbound(self, link: Link[CanRouting, Any, Any], service: str, max_payload_size: int) -> RawChannelWriter:
        """Take the end back that a closed reader has left, if the gateway has not closed it yet, or open one."""
        kept = self._drivers[link.name].reclaim(service)
        return super().open_inbound(link, service, max_payload_size) if kept is None else kept

    def _retire(self, driver: CanLinkDriver, service: str) -> None:
        channels = driver.link.inbound_channels
        driver.retire(channels.entries[channels.names.index(service)].writer)
        channels.remove(service)

    def _make_link(self, iface: str, driver: CanLinkDriver) -> Link[CanRouting, CanFrame, CanFrame]:
        options = self.options
        link: Link[CanRouting, CanFrame, CanFrame] = Link(
            iface,
            driver,
            self.aggregate,
            self.runtime,
            LinkOptions(
                outbound_capacity=options.outbound_bridge_capacity,
                inbound_capacity=options.inbound_bridge_capacity,
                inbound_drop_threshold=options.inbound_drop_threshold,
                recovery_window_ns=options.recovery_window_ns,
                up_on_traffic=True,
            ),
            options.reconnect_policy(self.runtime.entropy),
        )
        self.add_link(link)
        return link
