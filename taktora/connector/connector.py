"""The connector: the contract every protocol fills in, and a base that fills the common part of it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from itertools import chain
from types import TracebackType
from typing import Any, ClassVar, Final, Generic, Protocol, Self, TypeVar

from taktora.codec.base import Codec
from taktora.connector.aggregate import HealthAggregate
from taktora.connector.descriptor import ChannelDescriptor, check_routing_type
from taktora.connector.feed import DEFAULT_CAPACITY
from taktora.connector.gateway import ConditionsItem, link_items
from taktora.connector.health import ConnectorHealth, HealthMonitor, HealthSubscription
from taktora.connector.link import InboundChannel, Link, OutboundChannel
from taktora.connector.reader import ChannelReader
from taktora.connector.routing import Routing
from taktora.connector.writer import ChannelWriter
from taktora.errors import ConfigurationError, ShutdownError, StackError
from taktora.executor import Executor
from taktora.runtime import Runtime
from taktora.transport.base import ServiceSettings, event_service_name
from taktora.transport.channel import IntegrityFault, RawChannelReader, RawChannelWriter

__all__ = ["Connector", "ConnectorBase", "GatewayPart"]

R = TypeVar("R", bound=Routing)
R_contra = TypeVar("R_contra", bound=Routing, contravariant=True)
C_co = TypeVar("C_co", bound=Codec, covariant=True)
T = TypeVar("T")

_SETTINGS = ServiceSettings()


class GatewayPart(Protocol):
    """The half of a connector that runs on a gateway's executor."""

    def register_with(self, executor: Executor) -> None:
        """Add the gateway's items; once. All channels of the application's writers are open by then."""
        ...

    def fail(self, reason: str) -> None:
        """The gateway ends by an error: be Down with ``reason`` and refuse sends."""
        ...

    def close(self) -> None:
        """Close stack and raw ports; idempotent, bounded."""
        ...


# req: REQ_0211, REQ_0220
class Connector(Protocol[R_contra, C_co]):
    """One protocol family with one codec, seen from the application (REQ_0220).

    Handing a connector from one thread to another is fine; concurrent calls on one object are not promised.
    Protocol extras (queries and the like) are methods of the concrete class.
    """

    @property
    def name(self) -> str:
        """Short and lower case, for example ``can``."""
        ...

    @property
    def codec(self) -> C_co:
        """Encodes and decodes the values of all its channels."""
        ...

    @property
    def gateway(self) -> GatewayPart: ...

    @property
    def monitor(self) -> HealthMonitor: ...

    def health(self) -> ConnectorHealth: ...

    def subscribe_health(self, capacity: int = ...) -> HealthSubscription:
        """Return an independent stream of the moves from now on; an in-process queue here (REQ_0231)."""
        ...

    def create_writer(self, descriptor: ChannelDescriptor[R_contra], value_type: type[T]) -> ChannelWriter[T, C_co]:
        """Open the sending end of a channel, before the host runs.

        Raises:
            ConfigurationError: foreign routing, a service that exists with another size, or the gateway runs already.
        """
        ...

    def create_reader(self, descriptor: ChannelDescriptor[R_contra], value_type: type[T]) -> ChannelReader[T, C_co]:
        """Open the receiving end of a channel; readers come before writers."""
        ...

    def register_with(self, executor: Executor) -> None:
        """Add the items that run beside the application's; once.

        Raises:
            StackError: called a second time.
        """
        ...

    def close(self) -> None: ...


class _Gateway:
    """The gateway half that :class:`ConnectorBase` runs: links, their items, raw ports."""

    def __init__(self, name: str, aggregate: HealthAggregate, links: dict[str, Link[Any, Any, Any]]) -> None:
        self.registered = False
        self._name = name
        self._aggregate = aggregate
        self._links = links
        self._conditions = ConditionsItem(aggregate)

    def register_with(self, executor: Executor) -> None:
        if self.registered:
            raise StackError(f"connector {self._name!r}: its gateway is registered already; make a second connector")
        self.registered = True
        of_links = (link_items(link, self._aggregate.monitor) for link in self._links.values())
        for item in (self._conditions, *chain.from_iterable(of_links)):
            item.give_up = self.fail
            executor.add(item)

    def fail(self, reason: str) -> None:
        for link in self._links.values():
            link.gate.close_link(reason)
        self._aggregate.fail(reason)

    def close(self) -> None:
        self._conditions.alarm.cancel()
        for link in reversed(self._links.values()):
            link.close()


class ConnectorBase(Generic[R, C_co]):
    """Everything of a connector that does not depend on its protocol.

    A concrete connector names its routing class, builds its links and hands them to ``__init__``; it overrides
    :meth:`link_of` if it has several and :meth:`check_descriptor` for limits of its own.

    Args:
        name: Short and lower case.
        runtime: The world it runs in.
        codec: Encodes and decodes the values of all its channels.
        endpoints: Names of the links; one nameless endpoint by default.
        recovery_window_ns: How long an integrity fault of a reader keeps the connector at Degraded.
    """

    routing_type: ClassVar[type[Routing]] = Routing

    def __init__(
        self,
        name: str,
        runtime: Runtime,
        codec: C_co,
        endpoints: Iterable[str] = ("",),
        recovery_window_ns: int = 1_000_000_000,
    ) -> None:
        self._name: Final = name
        self.runtime: Final = runtime
        self.codec: Final[C_co] = codec
        self._monitor: Final = HealthMonitor(name, runtime.clock)
        self.aggregate: Final = HealthAggregate(self._monitor, runtime.clock, endpoints)
        self._links: dict[str, Link[R, Any, Any]] = {}
        self._gateway = _Gateway(name, self.aggregate, self._links)
        self._recovery_window_ns = recovery_window_ns
        self._readers: list[ChannelReader[Any, C_co]] = []
        self._writers: list[ChannelWriter[Any, C_co]] = []
        self._registered = False
        self._closed = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def monitor(self) -> HealthMonitor:
        return self._monitor

    @property
    def gateway(self) -> GatewayPart:
        return self._gateway

    @property
    def links(self) -> tuple[Link[R, Any, Any], ...]:
        return tuple(self._links.values())

    def add_link(self, link: Link[R, Any, Any]) -> None:
        """Take a link over; called by the concrete connector's ``__init__``, once per endpoint."""
        self._links[link.name] = link

    def link_of(self, routing: R) -> Link[R, Any, Any]:
        """Return the link that carries ``routing``; to be overridden where there are several."""
        del routing
        return next(iter(self._links.values()))

    def check_descriptor(self, descriptor: ChannelDescriptor[R]) -> None:
        """Refuse what this protocol cannot carry, before any service is opened; to be overridden.

        Raises:
            ConfigurationError: naming the channel, the value and the limit.
        """

    def reader_closed(self, reader: ChannelReader[Any, Any]) -> None:
        """Forget a reader that was closed; to be extended where a channel without readers is to be given up."""
        if reader in self._readers:
            self._readers.remove(reader)

    def open_inbound(self, link: Link[R, Any, Any], service: str, max_payload_size: int) -> RawChannelWriter:
        """Open the gateway's end of a channel that gets its first reader; to be extended where ends are kept."""
        del link
        return RawChannelWriter(self.runtime.transport, service, max_payload_size, self.runtime.clock, _SETTINGS)

    def health(self) -> ConnectorHealth:
        return self._monitor.current

    def subscribe_health(self, capacity: int = DEFAULT_CAPACITY) -> HealthSubscription:
        return self._monitor.subscribe(capacity)

    def create_writer(self, descriptor: ChannelDescriptor[R], value_type: type[T]) -> ChannelWriter[T, C_co]:
        del value_type  # the codec takes values of any type; the parameter is what ties T down for type checkers
        link = self._open(descriptor)
        if self._gateway.registered:
            raise ConfigurationError(
                f"channel {descriptor.name!r}: the gateway of connector {self._name!r} runs already and would not wake "
                "for a new writer; create writers before the host runs"
            )
        service, transport, size = descriptor.outbound_service, self.runtime.transport, descriptor.max_payload_size
        link.outbound_channels.check_free(service)
        with ExitStack() as undo:
            # The gateway's end first: a reader that is there misses nothing.
            raw = RawChannelReader(transport, service, size, _SETTINGS, self._note_integrity)
            undo.callback(raw.close)
            listener = transport.listener(event_service_name(service))
            undo.callback(listener.close)
            writer: ChannelWriter[T, C_co] = ChannelWriter(
                transport, service, size, self.codec, self.runtime.clock, link.gate, _SETTINGS
            )
            undo.pop_all()
        link.outbound_channels.add(service, OutboundChannel(descriptor.name, descriptor.routing, raw, listener))
        self._writers.append(writer)
        return writer

    def create_reader(self, descriptor: ChannelDescriptor[R], value_type: type[T]) -> ChannelReader[T, C_co]:
        link = self._open(descriptor)
        service, transport, size = descriptor.inbound_service, self.runtime.transport, descriptor.max_payload_size
        channel = link.inbound_channels.find(service)
        if channel is not None and channel.routing != descriptor.routing:
            raise ConfigurationError(
                f"channel {descriptor.name!r}: open with routing {channel.routing!r}, asked for "
                f"{descriptor.routing!r}; give the second routing a channel name of its own"
            )
        clock = self.runtime.clock
        reader: ChannelReader[T, C_co] = ChannelReader(
            transport, service, size, self.codec, value_type, clock, self._note_integrity, _SETTINGS, self.reader_closed
        )
        if channel is None:
            with ExitStack() as undo:
                undo.callback(reader.close)
                raw = self.open_inbound(link, service, size)
                undo.pop_all()
            link.inbound_channels.add(service, InboundChannel(descriptor.name, descriptor.routing, raw))
        self._readers.append(reader)
        return reader

    def register_with(self, executor: Executor) -> None:
        """Add nothing: this connector's work is done by its gateway. A second call is refused all the same."""
        del executor
        if self._registered:
            raise StackError(
                f"connector {self._name!r} is registered already; make a second connector for another host"
            )
        self._registered = True

    def close(self) -> None:
        """Close readers, then the gateway half, then writers, then the health streams; idempotent."""
        if self._closed:
            return
        self._closed = True
        for link in self._links.values():
            link.gate.shut()
        for reader in tuple(self._readers):
            reader.close()
        self._gateway.close()
        for writer in self._writers:
            writer.close()
        self._monitor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, descriptor: ChannelDescriptor[R]) -> Link[R, Any, Any]:
        if self._closed:
            raise ShutdownError(f"channel {descriptor.name!r}: connector {self._name!r} has been closed")
        check_routing_type(descriptor, self.routing_type, self._name)
        self.check_descriptor(descriptor)
        return self.link_of(descriptor.routing)

    # req: TSR_0008
    def _note_integrity(self, kind: IntegrityFault, text: str) -> None:
        """An envelope was discarded or is missing: Degraded, through the one monitor (TSR_0008)."""
        self.aggregate.raise_condition(f"integrity {kind}", f"integrity: {kind}: {text}", self._recovery_window_ns)
