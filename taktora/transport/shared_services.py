"""The services behind ports in shared memory: made or opened as asked for, compared, let go; it imports no iceoryx2.

What taktora asked for at creation (payload type and settings) is kept as service attributes.
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import Structure, c_uint8, c_uint16, c_uint32, c_uint64
from functools import cache
from typing import Any

from taktora.errors import ConfigurationError, TransportError
from taktora.transport.base import ChannelSpec, PayloadType, ServiceSettings
from taktora.transport.rules import (
    MAX_ACTIVE_REQUESTS_PER_CLIENT,
    MAX_CLIENTS,
    MAX_LISTENERS,
    MAX_NOTIFIERS,
    MAX_SERVERS,
    SLICE_PAYLOAD,
    mismatch_error,
)
from taktora.transport.shared_pubsub import SliceHeader
from taktora.transport.shared_service import SharedService

__all__ = ["SharedServices"]

_WORDS = {1: c_uint8, 2: c_uint16, 4: c_uint32, 8: c_uint64}


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


class SharedServices:
    """The services of one transport, each opened once.

    Args:
        iox: The module iceoryx2.
        node: The node that opens them; released by :meth:`close`.
        config: Its configuration.
    """

    def __init__(self, iox: Any, node: Any, config: Any) -> None:
        self._iox = iox
        self._node = node
        self._config = config
        self._services: dict[tuple[str, str], SharedService] = {}

    def pubsub(self, name: str, payload: PayloadType, settings: ServiceSettings) -> SharedService:
        """Return the publish-subscribe service, opened or made now if it is not open yet.

        Raises:
            ConfigurationError: it exists with another payload or other settings; both are printed.
            TransportError: iceoryx2 refuses.
        """
        wishes = _wishes(payload, settings)
        return self._find_or_open(
            "publish-subscribe", name, wishes, lambda: self._pubsub_builder(name, payload, settings)
        )

    def event(self, name: str) -> SharedService:
        """Return the event service; raises as :meth:`pubsub`."""

        def build() -> Any:
            builder = self._builder(name).event().event_id_max_value(0)
            return builder.max_listeners(MAX_LISTENERS).max_notifiers(MAX_NOTIFIERS)

        return self._find_or_open("event", name, {}, build)

    def exchange(self, name: str, request: PayloadType, response: PayloadType) -> SharedService:
        """Return the request-response service; raises as :meth:`pubsub`."""
        wishes = {"taktora.request": _described(request), "taktora.response": _described(response)}
        return self._find_or_open(
            "request-response", name, wishes, lambda: self._exchange_builder(name, request, response)
        )

    def create(self, spec: ChannelSpec) -> SharedService:
        """Make a publish-subscribe service that must not exist, and keep it until :meth:`close`.

        Raises:
            ConfigurationError: it exists.
            TransportError: iceoryx2 refuses.
        """
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

    def collect(self, service: SharedService) -> None:
        """Let go of a service that nothing needs any more."""
        if service.ports or service.kept or self._services.get(service.key) is not service:
            return
        del self._services[service.key]
        service.handle = None

    def close(self) -> None:
        """Let go of all services and of the node."""
        for service in reversed(list(self._services.values())):
            service.kept = False
            self.collect(service)
        self._node = None

    def _builder(self, name: str) -> Any:
        return self._node.service_builder(self._iox.ServiceName.new(name))

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
        details = iox.Service.details(iox.ServiceName.new(name), self._config, patterns[pattern], iox.ServiceType.Ipc)
        if details is not None:
            self._compare(name, details.attributes(), wishes, cause)
        raise mismatch_error(name, "service", f"something incompatible ({cause})", wishes or pattern) from cause

    def _compare(self, name: str, attributes: Any, wishes: dict[str, str], cause: Exception | None = None) -> None:
        found = {entry.key.to_string(): entry.value.to_string() for entry in attributes.values}
        for key, asked in wishes.items():
            if found.get(key) != asked:
                what = key.removeprefix("taktora.")
                raise mismatch_error(name, what, found.get(key, "made by another program"), asked) from cause


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
