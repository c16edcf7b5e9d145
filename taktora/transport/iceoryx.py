"""The transport through shared memory, on iceoryx2; it never blocks on a reader and leaves no segment behind.

iceoryx2 is imported on first use. What taktora asked for at creation (payload type and settings) is kept as service
attributes, so that an end with other wishes is refused at open with both printed.

Views point into shared memory. They are released with the sample; a slice of a view must not outlive it, because the
memory may be unmapped when the port closes.

Ends connect when they next work: a reader in another transport gets the history with the publisher's next publish, and
misses a publisher that came and went without one ``receive`` in between. Within one transport both happen at once.

Leftovers of processes that were killed are reaped when a transport starts, when a port is refused for lack of room and
when a reader seems full.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable
from ctypes import Structure, c_uint8, c_uint16, c_uint32, c_uint64
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
    MAX_ACTIVE_REQUESTS_PER_CLIENT,
    MAX_CLIENTS,
    MAX_LISTENERS,
    MAX_NOTIFIERS,
    MAX_SERVERS,
    SLICE_PAYLOAD,
    check_name,
    check_payload,
    check_settings,
    check_slice_limits,
    full_error,
    mismatch_error,
)
from taktora.transport.shared_event import IceoryxListener, IceoryxNotifier
from taktora.transport.shared_pubsub import (
    IceoryxPublisher,
    IceoryxSlicePublisher,
    IceoryxSliceSubscriber,
    IceoryxSubscriber,
    SliceHeader,
)
from taktora.transport.shared_request import IceoryxClient, IceoryxServer
from taktora.transport.shared_service import SharedPort, SharedService
from taktora.transport.topology import Topology

__all__ = ["IceoryxTransport"]

P = TypeVar("P", bound=SharedPort)

_DEFAULT = ServiceSettings()
_WORDS = {1: c_uint8, 2: c_uint16, 4: c_uint32, 8: c_uint64}


@cache
def _iceoryx2() -> Any:
    try:
        return import_module("iceoryx2")
    except ImportError as cause:
        raise ConfigurationError(
            "iceoryx2 cannot be imported; install it with 'pip install iceoryx2' (Linux, glibc 2.34 or newer) "
            "or use InProcessTransport"
        ) from cause


@cache
def _record_type(payload: PayloadType) -> type[Structure]:
    """Return a ctypes type of this size and alignment that tells iceoryx2 the payload's name."""
    word = _WORDS[payload.alignment]
    return type(
        "Record",
        (Structure,),
        {
            "_fields_": [("words", word * (payload.size_bytes // payload.alignment))],
            "type_name": classmethod(lambda _cls: payload.name),
        },
    )


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
        self._services: dict[tuple[str, str], SharedService] = {}
        self._listeners: dict[str, list[IceoryxListener]] = {}
        self._ports: dict[int, SharedPort] = {}
        self._opened = count()
        self._closed = False
        self._process_id = os.getpid()
        self._node: Any = self._make_node(node_name)
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
            return builder.allocation_strategy(self._iox.AllocationStrategy.PowerOfTwo).create()

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
            created.extend(self._create_declared(spec) for spec in specs)
        except BaseException:
            for service in reversed(created):
                service.kept = False
                self._collect(service)
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
        for service in reversed(list(self._services.values())):
            service.kept = False
            self._collect(service)
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

    def _builder(self, name: str) -> Any:
        return self._node.service_builder(self._iox.ServiceName.new(name))

    def _pubsub(self, name: str, payload: PayloadType, settings: ServiceSettings) -> SharedService:
        self._refuse_closed()
        check_name(name)
        check_payload(name, payload)
        settings = self._topology.settings_for(name, payload, settings)
        check_settings(name, settings)
        return self._find_or_open(
            "publish-subscribe", name, _wishes(payload, settings), lambda: self._pubsub_builder(name, payload, settings)
        )

    def _pubsub_builder(self, name: str, payload: PayloadType, settings: ServiceSettings) -> Any:
        record: Any = _record_type(payload)
        sliced = payload == SLICE_PAYLOAD
        builder = self._builder(name).publish_subscribe(self._iox.Slice[record] if sliced else record)
        builder = (
            builder.max_publishers(settings.max_publishers)
            .max_subscribers(settings.max_subscribers)
            .subscriber_max_buffer_size(settings.subscriber_max_buffer_size)
            .history_size(settings.history_size)
            .subscriber_max_borrowed_samples(settings.subscriber_max_borrowed_samples)
            .enable_safe_overflow(False)
        )
        return builder.user_header(SliceHeader) if sliced else builder

    def _event(self, name: str) -> tuple[SharedService, list[IceoryxListener]]:
        self._refuse_closed()
        check_name(name)
        self._topology.check_event(name)

        def build() -> Any:
            builder = self._builder(name).event().event_id_max_value(0)
            return builder.max_listeners(MAX_LISTENERS).max_notifiers(MAX_NOTIFIERS)

        return self._find_or_open("event", name, {}, build), self._listeners.setdefault(name, [])

    def _exchange(self, name: str, request: PayloadType, response: PayloadType) -> SharedService:
        self._refuse_closed()
        check_name(name)
        check_payload(name, request)
        check_payload(name, response)
        self._topology.check_declared(name)
        wishes = {"taktora.request": _described(request), "taktora.response": _described(response)}
        return self._find_or_open(
            "request-response", name, wishes, lambda: self._exchange_builder(name, request, response)
        )

    def _exchange_builder(self, name: str, request: PayloadType, response: PayloadType) -> Any:
        builder = self._builder(name).request_response(_record_type(request), _record_type(response))
        return (
            builder.max_servers(MAX_SERVERS)
            .max_clients(MAX_CLIENTS)
            .max_active_requests_per_client(MAX_ACTIVE_REQUESTS_PER_CLIENT)
            .max_loaned_requests(1)
            .max_response_buffer_size(1)
            .enable_safe_overflow_for_requests(False)
            .enable_safe_overflow_for_responses(False)
            .enable_fire_and_forget_requests(False)
        )

    def _find_or_open(
        self, pattern: str, name: str, wishes: dict[str, str], builder: Callable[[], Any]
    ) -> SharedService:
        key = (pattern, name)
        found = self._services.get(key)
        if found is None:
            handle = self._opened_handle(pattern, name, wishes, builder)
            found = self._services[key] = SharedService(self._iox, key, handle, kept=False)
        elif wishes:
            self._compare(name, found.handle.attributes, wishes)
        return found

    def _opened_handle(self, pattern: str, name: str, wishes: dict[str, str], builder: Callable[[], Any]) -> Any:
        iox = self._iox
        verifier = iox.AttributeVerifier.new()
        for key, value in wishes.items():
            verifier = verifier.require(iox.AttributeKey.new(key), iox.AttributeValue.new(value))
        try:
            return builder().open_or_create_with_attributes(verifier)
        except (
            iox.PublishSubscribeOpenOrCreateError,
            iox.EventOpenOrCreateError,
            iox.RequestResponseOpenOrCreateError,
        ) as cause:
            self._explain(pattern, name, wishes, cause)
            raise TransportError(f"service {name}: cannot open or create it: {cause}") from cause

    def _explain(self, pattern: str, name: str, wishes: dict[str, str], cause: Exception) -> None:
        """Raise ConfigurationError with both sides printed if the service exists with something else."""
        if "Incompatible" not in str(cause) and "DoesNotSupport" not in str(cause):
            return
        iox = self._iox
        patterns = {
            "publish-subscribe": iox.MessagingPattern.PublishSubscribe,
            "event": iox.MessagingPattern.Event,
            "request-response": iox.MessagingPattern.RequestResponse,
        }
        details = iox.Service.details(iox.ServiceName.new(name), self.config, patterns[pattern], iox.ServiceType.Ipc)
        if details is not None:
            self._compare(name, details.attributes(), wishes, cause)
        raise mismatch_error(name, "service", f"something incompatible ({cause})", wishes or pattern) from cause

    def _compare(self, name: str, attributes: Any, wishes: dict[str, str], cause: Exception | None = None) -> None:
        found = {entry.key.to_string(): entry.value.to_string() for entry in attributes.values}
        for key, asked in wishes.items():
            if found.get(key) != asked:
                what = key.removeprefix("taktora.")
                raise mismatch_error(name, what, found.get(key, "made by another program"), asked) from cause

    def _create_declared(self, spec: ChannelSpec) -> SharedService:
        iox = self._iox
        specifier = iox.AttributeSpecifier.new()
        for key, value in _wishes(spec.payload, spec.settings).items():
            specifier = specifier.define(iox.AttributeKey.new(key), iox.AttributeValue.new(value))
        try:
            handle = self._pubsub_builder(spec.name, spec.payload, spec.settings).create_with_attributes(specifier)
        except iox.PublishSubscribeCreateError as cause:
            if "AlreadyExists" in str(cause):
                raise ConfigurationError(
                    f"service {spec.name} exists already; create_all must make it, so stop whoever else did"
                ) from cause
            raise TransportError(f"service {spec.name}: cannot create it: {cause}") from cause
        place = ("publish-subscribe", spec.name)
        service = self._services[place] = SharedService(self._iox, place, handle, kept=True)
        return service

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
            self._collect(service)

        try:
            port = make(key, done)
        except BaseException:
            done()
            raise
        self._ports[key] = port
        return port

    def _collect(self, service: SharedService) -> None:
        """Let go of a service that nothing needs any more."""
        if service.ports or service.kept or self._services.get(service.key) is not service:
            return
        del self._services[service.key]
        service.handle = None

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ShutdownError("the transport is closed; open a new one")


def _refused(service: SharedService, cause: Exception) -> TransportError:
    """Return the refusal of a port, in taktora's words where it is for lack of room."""
    kind = str(cause).removeprefix("ExceedsMaxSupported").removesuffix("s").lower()
    if kind in ("publisher", "subscriber"):
        return full_error(service.name, kind, getattr(service.handle.static_config, f"max_{kind}s"))
    return TransportError(f"service {service.name}: cannot open the port: {cause}")


def _wishes(payload: PayloadType, settings: ServiceSettings) -> dict[str, str]:
    return {"taktora.payload type": _described(payload), "taktora.settings": _listed(settings)}


def _described(payload: PayloadType) -> str:
    return f"{payload.name}, {payload.size_bytes} bytes, alignment {payload.alignment}"


def _listed(settings: ServiceSettings) -> str:
    return (
        f"max_publishers {settings.max_publishers}, max_subscribers {settings.max_subscribers}, "
        f"subscriber_max_buffer_size {settings.subscriber_max_buffer_size}, history_size {settings.history_size}, "
        f"subscriber_max_borrowed_samples {settings.subscriber_max_borrowed_samples}"
    )
