"""The EtherCAT connector: writers, readers and images for the application, one link for its gateway; it does no I/O.

Health is the bus's own, move by move: Up in OP with a matching working counter, Degraded with a low one, after a failed
cycle and between attempts to recover, Connecting during an attempt, Down when the first bring-up failed or the policy
is exhausted. Before the first Up a send is refused with ``NotReady``. While the bus does not exchange, messages wait in
the bounded outbound bridge; a full one is ``BackPressure`` and Degraded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack, suppress
from typing import Any, Final, TypeAlias, TypeVar

from taktora.codec.base import Codec
from taktora.connector.connector import ConnectorBase, GatewayPart
from taktora.connector.descriptor import ChannelDescriptor, check_routing_type
from taktora.connector.feed import Subscription
from taktora.connector.gate import SendGate
from taktora.connector.link import InboundChannel, LinkOptions, OutboundChannel
from taktora.connector.reader import ChannelReader
from taktora.connector.writer import ChannelWriter
from taktora.errors import BackPressure, ConfigurationError
from taktora.ethercat.driver import Emergency
from taktora.ethercat.gateway import BusLink, EthercatLinkDriver, PacedBus
from taktora.ethercat.image import CyclicBus
from taktora.ethercat.image_channel import (
    IMAGE_SETTINGS,
    AliveRouting,
    ImageOutputReader,
    ImagePort,
    ImagePublisher,
    ImageRouting,
    alive_service,
    image_out_service,
    output_record_bytes,
)
from taktora.ethercat.options import EthercatConnectorOptions
from taktora.ethercat.remote import HealthBeacon, RemoteBus
from taktora.ethercat.routing import EthercatRouting, PdoDirection
from taktora.ethercat.telemetry import BusCycleSnapshot, BusCycleTelemetry, CycleObserver
from taktora.executor import Alarm, Context, ExecutableItem, Executor, TriggerDeclarer
from taktora.runtime import Runtime
from taktora.transport.base import ServiceSettings, event_service_name
from taktora.transport.channel import EnvelopeWriter, RawChannelReader

__all__ = ["EthercatConnector", "RemoteEthercatConnector", "ethercat_channel"]

C_co = TypeVar("C_co", bound=Codec, covariant=True)
T = TypeVar("T")
Descriptor: TypeAlias = ChannelDescriptor[EthercatRouting]

_CHANNEL_SETTINGS: Final = ServiceSettings()


def ethercat_channel(
    name: str, routing: EthercatRouting, max_payload_size: int = 0
) -> ChannelDescriptor[EthercatRouting]:
    """Return the descriptor of a channel; its payload size is that of the slice unless the codec needs more."""
    return ChannelDescriptor(name, routing, max(1, routing.byte_length, max_payload_size))


# req: REQ_0310, REQ_0312
class EthercatConnector(ConnectorBase[EthercatRouting, C_co]):
    """A connector for one segment: one MainDevice, one interface, one process image.

    Args:
        runtime: The world it runs in.
        options: PDO map, cycle, capacities.
        bus: The segment, of that PDO map; not started.
        codec: Encodes and decodes the values of all slice channels; images have types of their own.
        name: Name of the connector.
        overlapping: Names of channels whose output bits may be those of another writer too.

    Raises:
        ConfigurationError: the bus has another image than ``options.pdo_map``.
    """

    routing_type = EthercatRouting

    def __init__(
        self,
        runtime: Runtime,
        options: EthercatConnectorOptions,
        bus: CyclicBus,
        codec: C_co,
        name: str = "ethercat",
        overlapping: Collection[str] = (),
    ) -> None:
        super().__init__(name, runtime, codec)
        plan = options.plan()
        self.options: Final = options
        self.layout: Final = plan.layout()
        if bus.layout.subdevices != self.layout.subdevices:
            raise ConfigurationError(
                f"connector {name!r}: the bus has the image {bus.layout.subdevices} and options.pdo_map makes "
                f"{self.layout.subdevices}; build both from one plan"
            )
        self.safe_outputs: Final = plan.safe_outputs()
        """The output image in which every SubDevice is safe."""
        self.driver: Final = EthercatLinkDriver(
            bus,
            self.safe_outputs,
            options.cycle_time_ns,
            lambda text: runtime.recorder.notice(text, "warning"),
            runtime.clock.unix_ns,
            options.ftti_ns // 2,
            BusCycleTelemetry(len(self.layout.subdevices), options.telemetry_window),
        )
        self.image: ImagePort | None = None
        """The application's end of the process image, once it was opened."""
        self._overlapping = frozenset(overlapping)
        self._owned: frozenset[int] = frozenset()
        self._written: list[ChannelDescriptor[EthercatRouting]] = []
        self._beacon: HealthBeacon | None = None
        self._executor: Executor | None = None
        self._segment = _SegmentPart(self._gateway, bus)
        link = BusLink(
            "",
            self.driver,
            self.aggregate,
            runtime,
            LinkOptions(
                outbound_capacity=options.outbound_capacity,
                inbound_capacity=options.inbound_capacity,
                inbound_drop_threshold=options.inbound_drop_threshold,
                recovers_by_time=False,
            ),
        )
        self.driver.attach(link)
        self.add_link(link)
        self._alive = _AliveItem(name, options.cycle_time_ns, runtime, link.gate)

    @property
    def gateway(self) -> GatewayPart:
        return self._segment

    @property
    def link(self) -> BusLink:
        """The one link."""
        return self.driver.link

    # req: REQ_0262, REQ_0263, REQ_0264, REQ_0265, REQ_0266
    def cycle_statistics(self) -> BusCycleSnapshot:
        """Return the aggregates of the bus's cycles so far; from any thread.

        A cycle that the full inbound bridge dropped is not among them (``inbound_drops`` of the link counts it).
        """
        return self.driver.telemetry.snapshot()

    # req: REQ_0265, REQ_0267
    def observe_cycles(self, observer: CycleObserver) -> None:
        """Have ``observer`` called once per attempt at an exchange, failed ones too, after its image was published.

        It runs in the gateway's executor and must not wait; what it raises ends the run.
        """
        self.driver.observers += (observer,)

    def subscribe_emergencies(self, position: int) -> Subscription[Emergency] | None:
        """Return a stream of the CoE emergencies of one SubDevice from now on; None: another process receives them."""
        return self.driver.subscribe_emergencies(position)

    # req: REQ_0311, REQ_0326
    def create_writer(self, descriptor: Descriptor, value_type: type[T]) -> ChannelWriter[T, C_co]:
        """Open the sending end of a slice of outputs; see ``Connector.create_writer``.

        Raises:
            ConfigurationError: a slice of inputs, or bits that another writer or an image owns.
        """
        self._check_direction(descriptor, PdoDirection.RX, "create_writer")
        self._check_overlap(descriptor)
        writer = self._open_writer(descriptor, value_type)
        if not self._written:
            self._open_alive()
            self._alive.begin(len(self.layout.subdevices))
            if self._executor is not None:
                self._executor.add(self._alive)
        self._written.append(descriptor)
        self._alive.watch(self.layout.by_address[descriptor.routing.subdevice_address].position, writer)
        return writer

    # req: REQ_0311, REQ_0327
    def create_reader(self, descriptor: Descriptor, value_type: type[T]) -> ChannelReader[T, C_co]:
        """Open the receiving end of a slice of inputs, published for each cycle in which its SubDevice is fresh.

        Raises:
            ConfigurationError: a slice of outputs.
        """
        self._check_direction(descriptor, PdoDirection.TX, "create_reader")
        return self._open_reader(descriptor, value_type)

    # req: REQ_0314
    def check_descriptor(self, descriptor: Descriptor) -> None:
        routing = descriptor.routing
        try:
            self.options.check_slice(routing)
        except ConfigurationError as error:
            raise ConfigurationError(f"channel {descriptor.name!r}: {error}") from error
        if descriptor.max_payload_size < routing.byte_length:
            raise ConfigurationError(
                f"channel {descriptor.name!r}: max_payload_size is {descriptor.max_payload_size}, but {routing} takes "
                f"{routing.byte_length} bytes; build the descriptor with ethercat_channel()"
            )

    # req: REQ_8151
    def open_image(self, owned: Sequence[int] = ()) -> ImagePort:
        """Open the whole process image for the application, before the host runs; once.

        Args:
            owned: Positions of the SubDevices whose outputs are written by image, not by slices.

        Raises:
            ConfigurationError: opened already, the gateway runs, or a slice writer owns bits of such a SubDevice.
        """
        if self.image is not None:
            raise ConfigurationError(f"connector {self.name!r}: its image is open already; one application owns it")
        if self._gateway.registered:
            raise ConfigurationError(f"connector {self.name!r}: its gateway runs already; open the image before")
        for descriptor in self._written:
            position = self.layout.by_address[descriptor.routing.subdevice_address].position
            if position in owned:
                raise ConfigurationError(self._clash(descriptor.name, position))
        transport, clock, period_ns = self.runtime.transport, self.runtime.clock, self.options.cycle_time_ns
        with ExitStack() as undo:
            if owned:
                self._open_outputs()
            port = ImagePort(transport, self.name, self.layout, clock, period_ns, self.safe_outputs, owned)
            undo.callback(port.close)
            self._open_publisher()
            undo.pop_all()
        self.image = port
        self._owned = frozenset(owned)
        return port

    def register_with(self, executor: Executor) -> None:
        """Add the item that says in every cycle that the application's executor runs, if slices are or will be written.

        What was written by slices is renewed by it, so that the outputs of an application that hangs grow old there too
        (REQ_8150).
        """
        super().register_with(executor)
        self._executor = executor
        if self._written:
            executor.add(self._alive)

    def close(self) -> None:
        if self.image is not None:
            self.image.close()
        self._alive.close()
        if self._beacon is not None:
            self._beacon.close()
        super().close()

    # req: REQ_0321
    def serve(self, channels: Iterable[Descriptor]) -> None:
        """Open the gateway's ends for an application in another process, before the gateway runs; once.

        That is the image, the sign of life, ``channels`` by their direction, and health, as ``taktora.ethercat.remote``
        says.

        Raises:
            ConfigurationError: a channel does not fit the PDO map.
        """
        self._open_outputs()
        self._open_alive()
        self._open_publisher()
        for descriptor in channels:
            self.check_descriptor(descriptor)
            size, routing = descriptor.max_payload_size, descriptor.routing
            if routing.direction is PdoDirection.RX:
                self._open_outbound(descriptor.outbound_service, routing, size, _CHANNEL_SETTINGS)
            else:
                service = descriptor.inbound_service
                raw = self.open_inbound(self.link, service, size)
                self.link.inbound_channels.add(service, InboundChannel(descriptor.name, routing, raw))
        self._beacon = HealthBeacon(self.runtime, self.monitor)
        self._segment.beacon = self._beacon

    def _open_writer(self, descriptor: Descriptor, value_type: type[T]) -> ChannelWriter[T, C_co]:
        return super().create_writer(descriptor, value_type)

    def _open_reader(self, descriptor: Descriptor, value_type: type[T]) -> ChannelReader[T, C_co]:
        return super().create_reader(descriptor, value_type)

    def _open_alive(self) -> None:
        """Open the gateway's end of the sign of life."""
        self._open_outbound(alive_service(self.name), AliveRouting(), max(1, len(self.layout.subdevices)))

    def _open_outputs(self) -> None:
        """Open the gateway's end of the output image: an item waits for it, or the bus's own item asks for it."""
        if isinstance(self.driver.bus, PacedBus):
            transport, report = self.runtime.transport, self._note_integrity
            self.driver.pull_image(ImageOutputReader(transport, self.name, self.layout, report))
        else:
            self._open_outbound(image_out_service(self.name), ImageRouting(), output_record_bytes(self.layout))

    def _open_publisher(self) -> None:
        """Open the gateway's end of the input image."""
        self.driver.image = ImagePublisher(self.runtime.transport, self.name, self.layout, self.runtime.clock)

    def _open_outbound(self, service: str, routing: Any, size: int, settings: ServiceSettings = IMAGE_SETTINGS) -> None:
        """Open the gateway's end of a service that another process or the framework itself writes."""
        transport = self.runtime.transport
        with ExitStack() as undo:
            reader = RawChannelReader(transport, service, size, settings, self._note_integrity)
            undo.callback(reader.close)
            listener = transport.listener(event_service_name(service))
            undo.callback(listener.close)
            self.link.outbound_channels.add(service, OutboundChannel(service, routing, reader, listener))
            undo.pop_all()

    def _check_direction(self, descriptor: Descriptor, wanted: PdoDirection, call: str) -> None:
        routing = check_routing_type(descriptor, EthercatRouting, self.name)
        if routing.direction is not wanted:
            what, other = ("outputs", "create_reader") if wanted is PdoDirection.RX else ("inputs", "create_writer")
            raise ConfigurationError(
                f"channel {descriptor.name!r}: {call} takes a slice of {what} (PdoDirection.{wanted.name}), found "
                f"{routing}; use {other}, or correct the direction"
            )

    def _check_overlap(self, descriptor: Descriptor) -> None:
        routing = descriptor.routing
        place = self.layout.by_address.get(routing.subdevice_address)
        if place is not None and place.position in self._owned:
            raise ConfigurationError(self._clash(descriptor.name, place.position))
        if descriptor.name in self._overlapping:
            return
        for other in self._written:
            if other.name not in self._overlapping and _overlap(routing, other.routing):
                raise ConfigurationError(
                    f"channel {descriptor.name!r}: slice {routing} shares bits with {other.routing} of channel "
                    f"{other.name!r}, and only one of them can win; correct the slices, or allow the overlap"
                )

    def _clash(self, channel: str, position: int) -> str:
        return (
            f"channel {channel!r}: the outputs of {self.layout.subdevices[position].label!r} are written as an image, "
            "which would undo what a slice writes; use one of the two"
        )


# req: REQ_0240
class RemoteEthercatConnector(EthercatConnector[C_co]):
    """The application's half of a connector whose gateway is another process: it opens its own ends only.

    Args:
        runtime: The application's world.
        options: Of the same machine file as the gateway's.
        codec: Encodes and decodes the values of all slice channels.
        name: Name of the connector, the same as the gateway's.
        overlapping: As for :class:`EthercatConnector`.
    """

    def __init__(
        self,
        runtime: Runtime,
        options: EthercatConnectorOptions,
        codec: C_co,
        name: str = "ethercat",
        overlapping: Collection[str] = (),
    ) -> None:
        bus = RemoteBus(runtime, options.plan().layout(), name)
        super().__init__(runtime, options, bus, codec, name, overlapping)

    def cycle_statistics(self) -> BusCycleSnapshot:
        """Refuse: the gateway's process takes the figures."""
        raise ConfigurationError(self._elsewhere("cycle_statistics"))

    def observe_cycles(self, observer: CycleObserver) -> None:
        """Refuse, likewise."""
        del observer
        raise ConfigurationError(self._elsewhere("observe_cycles"))

    def subscribe_emergencies(self, position: int) -> None:
        """Return nothing: emergencies are received, and told, in the gateway's process."""

    def _elsewhere(self, call: str) -> str:
        return (
            f"connector {self.name!r}: {call}: the cycles of this bus are measured in its gateway's process; run the "
            "gateway in-process to have their figures here"
        )

    def _open_writer(self, descriptor: Descriptor, value_type: type[T]) -> ChannelWriter[T, C_co]:
        del value_type
        runtime, service, size = self.runtime, descriptor.outbound_service, descriptor.max_payload_size
        self.check_descriptor(descriptor)
        writer: ChannelWriter[T, C_co] = ChannelWriter(
            runtime.transport, service, size, self.codec, runtime.clock, self.link.gate, _CHANNEL_SETTINGS
        )
        self._writers.append(writer)
        return writer

    def _open_reader(self, descriptor: Descriptor, value_type: type[T]) -> ChannelReader[T, C_co]:
        runtime, service, size = self.runtime, descriptor.inbound_service, descriptor.max_payload_size
        self.check_descriptor(descriptor)
        reader: ChannelReader[T, C_co] = ChannelReader(
            runtime.transport,
            service,
            size,
            self.codec,
            value_type,
            runtime.clock,
            self._note_integrity,
            _CHANNEL_SETTINGS,
            self.reader_closed,
        )
        self._readers.append(reader)
        return reader

    def _open_outbound(self, service: str, routing: Any, size: int, settings: ServiceSettings = IMAGE_SETTINGS) -> None:
        """Open nothing: the gateway's process has these ends."""

    def _open_outputs(self) -> None:
        """Open nothing, likewise."""

    def _open_publisher(self) -> None:
        """Open nothing, likewise."""


def _overlap(one: EthercatRouting, other: EthercatRouting) -> bool:
    return (
        one.subdevice_address == other.subdevice_address
        and one.bit_offset < other.bit_offset + other.bit_length
        and other.bit_offset < one.bit_offset + one.bit_length
    )


# req: REQ_0321
class _SegmentPart:
    """The gateway half: the link's items, and the bus's own where the gateway's executor paces it."""

    def __init__(self, items: GatewayPart, bus: CyclicBus) -> None:
        self._items = items
        self._bus = bus
        self.beacon: ExecutableItem | None = None
        self.fail = items.fail
        self.close = items.close

    def register_with(self, executor: Executor) -> None:
        self._items.register_with(executor)
        if isinstance(self._bus, PacedBus):
            for item in self._bus.items():
                executor.add(item)
        if self.beacon is not None:
            executor.add(self.beacon)


class _AliveItem(ExecutableItem):
    """Renews, once per cycle time, what the application has written by slices."""

    def __init__(self, connector: str, period_ns: int, runtime: Runtime, gate: SendGate) -> None:
        self.task_id = f"{connector}.alive"
        self._connector = connector
        self._period_ns = period_ns
        self._runtime = runtime
        self._gate = gate
        self._alarm = Alarm(self.task_id)
        self._due_ns = 0
        self._writer: EnvelopeWriter | None = None
        self._watched: list[tuple[int, ChannelWriter[Any, Any]]] = []
        self._written = bytearray()

    def watch(self, position: int, writer: ChannelWriter[Any, Any]) -> None:
        """Renew the outputs of the SubDevice at ``position`` once ``writer`` has sent something."""
        self._watched.append((position, writer))

    def begin(self, subdevices: int) -> None:
        """Run from now on; before the run."""
        runtime = self._runtime
        self._written = bytearray(subdevices)
        self._writer = EnvelopeWriter(
            runtime.transport, alive_service(self._connector), subdevices, runtime.clock, IMAGE_SETTINGS
        )
        self._due_ns = runtime.clock.now_ns()
        self._alarm.set(self._due_ns)

    def declare_triggers(self, declarer: TriggerDeclarer) -> None:
        declarer.alarm(self._alarm)

    def execute(self, context: Context) -> None:
        self._alarm.take()
        if self._writer is None:
            return
        now_ns, period_ns = context.now_ns(), self._period_ns
        self._due_ns = now_ns + period_ns - (now_ns - self._due_ns) % period_ns
        self._alarm.set(self._due_ns)
        if self._gate.blocked:
            return  # nobody takes it
        for position, writer in self._watched:
            if writer.sequence_number:
                self._written[position] = 1
        size = len(self._written)
        self._writer.loan()[:size] = self._written
        with suppress(BackPressure):  # a gateway that does not run has enough of them
            self._writer.publish(size)

    def close(self) -> None:
        self._alarm.cancel()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
