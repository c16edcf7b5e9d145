"""The transport inside one process: same contract and limits as shared memory; it never leaves the interpreter.

Transports that share an :class:`InProcessDomain` see each other's services, as processes of one host do. Without one,
each transport is a world of its own. Ports may be used from several threads (one thread per port at a time); used from
one thread, all behaviour is a function of the order of calls.

In one thing it is kinder than shared memory: what was published waits for the readers that were open then, although its
publisher has closed since and they never looked (:mod:`.iceoryx` says what is lost there).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import RLock
from types import TracebackType
from typing import Protocol, Self, TypeVar

from taktora.errors import ConfigurationError, ShutdownError
from taktora.transport.base import ChannelSpec, PayloadType, ServiceSettings
from taktora.transport.local_event import LocalEvent, LocalListener, LocalNotifier
from taktora.transport.local_pubsub import (
    LocalPublisher,
    LocalService,
    LocalSlicePublisher,
    LocalSliceSubscriber,
    LocalSubscriber,
)
from taktora.transport.local_request import LocalClient, LocalExchange, LocalServer
from taktora.transport.rules import (
    SLICE_PAYLOAD,
    check_name,
    check_payload,
    check_settings,
    check_slice_limits,
    mismatch_error,
)
from taktora.transport.topology import Topology

__all__ = ["InProcessDomain", "InProcessTransport"]

_DEFAULT = ServiceSettings()


class _Service(Protocol):
    pattern: str
    name: str

    @property
    def idle(self) -> bool: ...


class _Port(Protocol):
    def close(self) -> None: ...


S = TypeVar("S", bound=_Service)
P = TypeVar("P", bound=_Port)


class InProcessDomain:
    """The services of one process; those without a port vanish, unless a topology keeps them."""

    def __init__(self) -> None:
        self.lock = RLock()
        self._services: dict[tuple[str, str], _Service] = {}
        self._kept: dict[tuple[str, str], None] = {}

    def find_or_add(self, kind: type[S], name: str, make: Callable[[], S]) -> S:
        """Return the service of this kind and name, made now if there is none."""
        service = self._services.setdefault((kind.pattern, name), make())
        assert isinstance(service, kind)
        return service

    def holds(self, pattern: str, name: str) -> bool:
        """Return whether such a service exists."""
        return (pattern, name) in self._services

    def keep(self, service: _Service) -> None:
        """Let ``service`` live without ports until :meth:`drop`."""
        self._kept[service.pattern, service.name] = None

    def drop(self, service: _Service) -> None:
        """End what :meth:`keep` began."""
        self._kept.pop((service.pattern, service.name), None)
        self.collect(service)

    def collect(self, service: _Service) -> None:
        """Forget ``service`` if nothing is left that needs it."""
        with self.lock:
            key = (service.pattern, service.name)
            if service.idle and key not in self._kept and self._services.get(key) is service:
                del self._services[key]

    def __len__(self) -> int:
        return len(self._services)


class InProcessTransport:
    """Opens ports on the services of a domain.

    Args:
        domain: Shared by transports that are to see each other; a new one if None.
    """

    def __init__(self, domain: InProcessDomain | None = None) -> None:
        self._domain = InProcessDomain() if domain is None else domain
        self._topology = Topology()
        self._kept: list[LocalService] = []
        self._ports: dict[int, _Port] = {}
        self._opened = 0
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def publisher(self, service: str, payload: PayloadType, settings: ServiceSettings = _DEFAULT) -> LocalPublisher:
        found = self._pubsub(service, payload, settings)
        return self._open(found, lambda done: LocalPublisher(found, done))

    def subscriber(self, service: str, payload: PayloadType, settings: ServiceSettings = _DEFAULT) -> LocalSubscriber:
        found = self._pubsub(service, payload, settings)
        return self._open(found, lambda done: LocalSubscriber(found, done))

    def slice_publisher(
        self,
        service: str,
        initial_max_slice_len: int,
        max_payload_bytes: int,
        settings: ServiceSettings = _DEFAULT,
    ) -> LocalSlicePublisher:
        check_slice_limits(service, initial_max_slice_len, max_payload_bytes)
        found = self._pubsub(service, SLICE_PAYLOAD, settings)
        return self._open(
            found, lambda done: LocalSlicePublisher(found, initial_max_slice_len, max_payload_bytes, done)
        )

    def slice_subscriber(
        self, service: str, max_payload_bytes: int, settings: ServiceSettings = _DEFAULT
    ) -> LocalSliceSubscriber:
        check_slice_limits(service, 1, max_payload_bytes)
        found = self._pubsub(service, SLICE_PAYLOAD, settings)
        return self._open(found, lambda done: LocalSliceSubscriber(found, max_payload_bytes, done))

    def notifier(self, service: str) -> LocalNotifier:
        event = self._event(service)
        return self._open(event, lambda done: LocalNotifier(event, done))

    def listener(self, service: str) -> LocalListener:
        event = self._event(service)
        return self._open(event, lambda done: LocalListener(event, done))

    def server(self, service: str, request: PayloadType, response: PayloadType) -> LocalServer:
        exchange = self._exchange(service, request, response)
        return self._open(exchange, lambda done: LocalServer(exchange, done))

    def client(self, service: str, request: PayloadType, response: PayloadType) -> LocalClient:
        exchange = self._exchange(service, request, response)
        return self._open(exchange, lambda done: LocalClient(exchange, done))

    def create_all(self, channels: Iterable[ChannelSpec]) -> None:
        self._refuse_closed()
        specs = self._topology.checked(channels)
        with self._domain.lock:
            for spec in specs:
                if self._domain.holds(LocalService.pattern, spec.name):
                    raise ConfigurationError(f"service {spec.name} exists already; create_all must make it")
            self._topology.declare(specs)
            for spec in specs:
                service = self._pubsub(spec.name, spec.payload, spec.settings)
                self._domain.keep(service)
                self._kept.append(service)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for port in reversed(list(self._ports.values())):
            port.close()
        for service in reversed(self._kept):
            self._domain.drop(service)
        self._kept.clear()

    def _pubsub(self, name: str, payload: PayloadType, settings: ServiceSettings) -> LocalService:
        self._refuse_closed()
        check_name(name)
        check_payload(name, payload)
        settings = self._topology.settings_for(name, payload, settings)
        check_settings(name, settings)
        with self._domain.lock:
            found = self._domain.find_or_add(LocalService, name, lambda: LocalService(name, payload, settings))
            if found.payload != payload:
                raise mismatch_error(name, "payload type", found.payload, payload)
            if found.settings != settings:
                raise mismatch_error(name, "settings", found.settings, settings)
            return found

    def _event(self, name: str) -> LocalEvent:
        self._refuse_closed()
        check_name(name)
        self._topology.check_event(name)
        with self._domain.lock:
            return self._domain.find_or_add(LocalEvent, name, lambda: LocalEvent(name))

    def _exchange(self, name: str, request: PayloadType, response: PayloadType) -> LocalExchange:
        self._refuse_closed()
        check_name(name)
        check_payload(name, request)
        check_payload(name, response)
        self._topology.check_declared(name)
        with self._domain.lock:
            found = self._domain.find_or_add(LocalExchange, name, lambda: LocalExchange(name, request, response))
            if (found.request, found.response) != (request, response):
                raise mismatch_error(
                    name, "request and response types", (found.request, found.response), (request, response)
                )
            return found

    def _open(self, service: _Service, make: Callable[[Callable[[], None]], P]) -> P:
        key = self._opened
        self._opened += 1

        def done() -> None:
            self._ports.pop(key, None)
            self._domain.collect(service)

        with self._domain.lock:
            try:
                port = make(done)
            except Exception:
                self._domain.collect(service)
                raise
            self._ports[key] = port
        return port

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ShutdownError("the transport is closed; open a new one")
