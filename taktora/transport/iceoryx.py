"""The transport through shared memory, on iceoryx2; it never blocks on a reader and leaves no segment behind.

iceoryx2 is imported on first use. An end with other wishes than its service was made with is refused at open, with both
printed (:mod:`.shared_services`).

Views point into shared memory. They are released with the sample; a slice of a view must not outlive it, because the
memory may be unmapped when the port closes.

Ends connect when they next work: a reader in another transport gets the history with the publisher's next publish, and
misses, with no gap to tell it, a publisher that came and went without one ``receive`` in between. iceoryx2 has no
call by which a publisher could wait for that, and a wake-up at its opening would only come a moment before the one of
its first publish. Within one transport both happen at once. Slices in a segment that may grow are lost if the publisher
closed before the reader took the first of that segment; with ``initial_max_slice_len`` equal to ``max_payload_bytes``
slices outlive it as other samples do. In the in-process transport nothing of this is lost.

Leftovers of processes that were killed are reaped when a transport starts, when a port is refused for lack of room and
when a reader seems full.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from taktora.errors import ConfigurationError, ShutdownError, TransportError
from taktora.transport.base import ChannelSpec, PayloadType, ServiceSettings
from taktora.transport.node_folder import fault_of_folder
from taktora.transport.rules import (
    SLICE_PAYLOAD,
    check_name,
    check_payload,
    check_settings,
    check_slice_limits,
    full_error,
)
from taktora.transport.shared_event import IceoryxListener, IceoryxNotifier
from taktora.transport.shared_pubsub import (
    IceoryxPublisher,
    IceoryxSlicePublisher,
    IceoryxSliceSubscriber,
    IceoryxSubscriber,
)
from taktora.transport.shared_request import IceoryxClient, IceoryxServer
from taktora.transport.shared_service import SharedPort, SharedService
from taktora.transport.shared_services import SharedServices
from taktora.transport.topology import Topology

__all__ = ["IceoryxTransport"]

P = TypeVar("P", bound=SharedPort)

_DEFAULT = ServiceSettings()


@cache
def _iceoryx2() -> Any:
    try:
        return import_module("iceoryx2")
    except ImportError as cause:
        raise ConfigurationError(
            "iceoryx2 cannot be imported; install it with 'pip install iceoryx2' (Linux, glibc 2.34 or newer) "
            "or use InProcessTransport"
        ) from cause


class IceoryxTransport:
    """Opens ports on iceoryx2 services through one node.

    Args:
        node_name: Name of the node, up to 128 characters, shown by iceoryx2's tools.
        config: An iceoryx2 configuration; iceoryx2's own default if None.
        domain: Transports of one domain see each other and nobody else (a prefix of all file names).
        isolated: Use a configuration that nobody else uses; ``config`` then gives it to further transports.

    Attributes:
        config: The configuration in use.
    """

    def __init__(
        self,
        node_name: str = "taktora",
        *,
        config: object | None = None,
        domain: str | None = None,
        isolated: bool = False,
    ) -> None:
        self._iox = _iceoryx2()
        self._private = isolated
        self.config: Any = self._configured(config, domain, isolated)
        self._topology = Topology()
        self._listeners: dict[str, list[IceoryxListener]] = {}
        self._ports: dict[int, SharedPort] = {}
        self._opened = count()
        self._closed = False
        self._process_id = os.getpid()
        self._node: Any = self._make_node(node_name)
        self._services = SharedServices(self._iox, self._node, self.config)
        self.reap()
        atexit.register(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def publisher(self, service: str, payload: PayloadType, settings: ServiceSettings = _DEFAULT) -> IceoryxPublisher:
        found = self._pubsub(service, payload, settings)

        def make(key: int, done: Callable[[], None]) -> IceoryxPublisher:
            native = self._create_publisher(found, key, lambda: self._publisher_builder(found).create())
            return IceoryxPublisher(found, native, done, self.reap, payload.size_bytes)

        return self._open(found, make)

    def subscriber(self, service: str, payload: PayloadType, settings: ServiceSettings = _DEFAULT) -> IceoryxSubscriber:
        found = self._pubsub(service, payload, settings)

        def make(key: int, done: Callable[[], None]) -> IceoryxSubscriber:
            return IceoryxSubscriber(found, self._create_subscriber(found, key), done, payload.size_bytes)

        return self._open(found, make)

    # req: REQ_0887
    def slice_publisher(
        self,
        service: str,
        initial_max_slice_len: int,
        max_payload_bytes: int,
        settings: ServiceSettings = _DEFAULT,
    ) -> IceoryxSlicePublisher:
        check_slice_limits(service, initial_max_slice_len, max_payload_bytes)
        found = self._pubsub(service, SLICE_PAYLOAD, settings)

        def build() -> Any:
            builder = self._publisher_builder(found).initial_max_slice_len(initial_max_slice_len)
            # A segment that may grow is mapped by a reader with the first sample it takes, and is gone with its
            # publisher; one that never will is mapped when the reader connects, and then outlives the publisher.
            grows = initial_max_slice_len < max_payload_bytes
            strategy = self._iox.AllocationStrategy
            return builder.allocation_strategy(strategy.PowerOfTwo if grows else strategy.Static).create()

        def make(key: int, done: Callable[[], None]) -> IceoryxSlicePublisher:
            native = self._create_publisher(found, key, build)
            return IceoryxSlicePublisher(found, native, done, self.reap, max_payload_bytes)

        return self._open(found, make)

    def slice_subscriber(
        self, service: str, max_payload_bytes: int, settings: ServiceSettings = _DEFAULT
    ) -> IceoryxSliceSubscriber:
        check_slice_limits(service, 1, max_payload_bytes)
        found = self._pubsub(service, SLICE_PAYLOAD, settings)

        def make(key: int, done: Callable[[], None]) -> IceoryxSliceSubscriber:
            return IceoryxSliceSubscriber(found, self._create_subscriber(found, key), done, max_payload_bytes)

        return self._open(found, make)

    def notifier(self, service: str) -> IceoryxNotifier:
        found, local = self._event(service)

        def make(_key: int, done: Callable[[], None]) -> IceoryxNotifier:
            native = self._create(found, lambda: found.handle.notifier_builder().create())
            return IceoryxNotifier(found, native, done, local)

        return self._open(found, make)

    def listener(self, service: str) -> IceoryxListener:
        found, local = self._event(service)

        def make(_key: int, done: Callable[[], None]) -> IceoryxListener:
            native = self._create(found, lambda: found.handle.listener_builder().create())
            return IceoryxListener(found, native, done, local)

        return self._open(found, make)

    def server(self, service: str, request: PayloadType, response: PayloadType) -> IceoryxServer:
        found = self._exchange(service, request, response)
        discard = self._iox.BackpressureStrategy.DiscardData

        def make(_key: int, done: Callable[[], None]) -> IceoryxServer:
            native = self._create(found, lambda: found.handle.server_builder().backpressure_strategy(discard).create())
            return IceoryxServer(found, native, done, request, response)

        return self._open(found, make)

    def client(self, service: str, request: PayloadType, response: PayloadType) -> IceoryxClient:
        found = self._exchange(service, request, response)
        discard = self._iox.BackpressureStrategy.DiscardData

        def make(_key: int, done: Callable[[], None]) -> IceoryxClient:
            native = self._create(found, lambda: found.handle.client_builder().backpressure_strategy(discard).create())
            return IceoryxClient(found, native, done, request, response)

        return self._open(found, make)

    def create_all(self, channels: Iterable[ChannelSpec]) -> None:
        self._refuse_closed()
        specs = self._topology.checked(channels)
        created: list[SharedService] = []
        try:
            created.extend(self._services.create(spec) for spec in specs)
        except BaseException:
            for service in reversed(created):
                service.kept = False
                self._services.collect(service)
            raise
        self._topology.declare(specs)

    def reap(self) -> int:
        """Remove what dead processes left behind; return how many nodes were cleaned up."""
        cleaned: int = self._node.try_cleanup_dead_nodes().cleanups
        return cleaned

    def close(self) -> None:
        if self._closed or os.getpid() != self._process_id:
            return
        self._closed = True
        atexit.unregister(self.close)
        for port in reversed(list(self._ports.values())):
            port.close()
        self._services.close()
        self._node = None
        if self._private:
            self._remove_private_traces()

    def _configured(self, config: object | None, domain: str | None, isolated: bool) -> Any:
        if (config is not None) + (domain is not None) + isolated > 1:
            raise ConfigurationError("config, domain and isolated exclude each other; give one of them")
        if isolated:
            return self._iox.testing.generate_isolated_config()
        if domain is None:
            return self._iox.config.default() if config is None else config
        made = self._iox.config.default()
        try:
            made.global_cfg.prefix = self._iox.FileName.new(f"{domain}_")
        except self._iox.SemanticStringError as cause:
            raise ConfigurationError(f"domain {domain!r} is no part of a file name: {cause}") from cause
        return made

    def _make_node(self, node_name: str) -> Any:
        iox = self._iox
        try:
            builder = iox.NodeBuilder.new().config(self.config).name(iox.NodeName.new(node_name))
            return builder.signal_handling_mode(iox.SignalHandlingMode.Disabled).create(iox.ServiceType.Ipc)
        except iox.SemanticStringError as cause:
            raise ConfigurationError(f"node name {node_name!r}: {cause}; use up to 128 characters") from cause
        except iox.NodeCreationFailure as cause:
            fault = fault_of_folder(Path(self.config.global_cfg.root_path.to_string()))
            raise TransportError(f"cannot create iceoryx2 node {node_name!r}: {fault or cause}") from cause

    def _remove_private_traces(self) -> None:
        """Remove the one file per configuration that iceoryx2 keeps; nobody else uses a private configuration."""
        prefix = self.config.global_cfg.prefix.to_string()
        if self._iox.Node.list(self._iox.ServiceType.Ipc, self.config):
            return
        for trace in Path("/dev/shm").glob(f"{prefix}*.global_mgmt"):  # noqa: S108 - where POSIX shared memory lives
            trace.unlink(missing_ok=True)

    def _pubsub(self, name: str, payload: PayloadType, settings: ServiceSettings) -> SharedService:
        self._refuse_closed()
        check_name(name)
        check_payload(name, payload)
        settings = self._topology.settings_for(name, payload, settings)
        check_settings(name, settings)
        return self._services.pubsub(name, payload, settings)

    def _event(self, name: str) -> tuple[SharedService, list[IceoryxListener]]:
        self._refuse_closed()
        check_name(name)
        self._topology.check_event(name)
        return self._services.event(name), self._listeners.setdefault(name, [])

    def _exchange(self, name: str, request: PayloadType, response: PayloadType) -> SharedService:
        self._refuse_closed()
        check_name(name)
        check_payload(name, request)
        check_payload(name, response)
        self._topology.check_declared(name)
        return self._services.exchange(name, request, response)

    def _publisher_builder(self, service: SharedService) -> Any:
        return service.handle.publisher_builder().backpressure_strategy(self._iox.BackpressureStrategy.DiscardData)

    def _create_publisher(self, service: SharedService, key: int, make: Callable[[], Any]) -> Any:
        native = service.publishers[key] = self._create(service, make)
        # A reader connects when it next looks; ours do so now, lest they miss a publisher that is soon gone.
        for subscriber in service.subscribers.values():
            subscriber.has_samples()
        return native

    def _create_subscriber(self, service: SharedService, key: int) -> Any:
        native = self._create(service, lambda: service.handle.subscriber_builder().create())
        service.subscribers[key] = native
        # A publisher hands its history over when it next looks for new readers; ours do so now.
        for publisher in service.publishers.values():
            publisher.update_connections()
        return native

    def _create(self, service: SharedService, make: Callable[[], Any]) -> Any:
        """Make a native port; if there is no room, dead processes may hold it: reap and try once more."""
        iox = self._iox
        refusals = (
            iox.PublisherCreateError,
            iox.SubscriberCreateError,
            iox.NotifierCreateError,
            iox.ListenerCreateError,
            iox.ServerCreateError,
            iox.ClientCreateError,
        )
        try:
            return make()
        except refusals as first:
            if not self.reap():
                raise _refused(service, first) from first
        try:
            return make()
        except refusals as cause:
            raise _refused(service, cause) from cause

    def _open(self, service: SharedService, make: Callable[[int, Callable[[], None]], P]) -> P:
        key = next(self._opened)
        service.ports += 1

        def done() -> None:
            self._ports.pop(key, None)
            service.publishers.pop(key, None)
            service.subscribers.pop(key, None)
            service.ports -= 1
            self._services.collect(service)

        try:
            port = make(key, done)
        except BaseException:
            done()
            raise
        self._ports[key] = port
        return port

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ShutdownError("the transport is closed; open a new one")


def _refused(service: SharedService, cause: Exception) -> TransportError:
    """Return the refusal of a port, in taktora's words where it is for lack of room."""
    kind = str(cause).removeprefix("ExceedsMaxSupported").removesuffix("s").lower()
    if kind in ("publisher", "subscriber"):
        return full_error(service.name, kind, getattr(service.handle.static_config, f"max_{kind}s"))
    return TransportError(f"service {service.name}: cannot open the port: {cause}")
