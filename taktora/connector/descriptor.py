"""The description of one channel: name, routing and size; it opens nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from taktora.connector.routing import Routing, check_routing
from taktora.errors import ConfigurationError
from taktora.transport.envelope import envelope_type
from taktora.transport.rules import inbound_service_name, outbound_service_name

__all__ = ["ChannelDescriptor", "check_routing_type"]

R = TypeVar("R", bound=Routing)
R_co = TypeVar("R_co", bound=Routing, covariant=True)

_MAX_NAME_LENGTH = 240


# req: REQ_0201, REQ_0221
@dataclass(frozen=True, slots=True)
class ChannelDescriptor(Generic[R_co]):
    """Name, routing and maximum payload of one channel (REQ_0221).

    Args:
        name: Logical name; the services are ``<name>.out`` and ``<name>.in``. 1 to 240 printable characters, no space.
        routing: One value of the connector's own routing class.
        max_payload_size: Bytes that one encoded value may need, at least 1; exactly this much is reserved (REQ_0201).

    Raises:
        ConfigurationError: names the field, the value found and what was expected.
    """

    name: str
    routing: R_co
    max_payload_size: int

    def __post_init__(self) -> None:
        _check_name(self.name)
        check_routing(self.routing, self.name)
        _check_size(self.max_payload_size, self.name)

    @property
    def outbound_service(self) -> str:
        """``<name>.out``, from the application to the gateway (REQ_0206)."""
        return outbound_service_name(self.name)

    @property
    def inbound_service(self) -> str:
        """``<name>.in``, from the gateway to the application (REQ_0206)."""
        return inbound_service_name(self.name)


# req: REQ_0224, REQ_0294
def check_routing_type(descriptor: ChannelDescriptor[Any], expected: type[R], connector: str) -> R:
    """Return the descriptor's routing if it is an ``expected``; to be called before any service is opened (REQ_0224).

    Raises:
        ConfigurationError: the routing belongs to another connector.
    """
    routing = descriptor.routing
    if not isinstance(routing, expected):
        raise ConfigurationError(
            f"channel {descriptor.name!r}: connector {connector!r} routes by {expected.__name__}, "
            f"found {type(routing).__name__} {routing!r}; use the routing class of this connector's package"
        )
    return routing


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"ChannelDescriptor.name: {name!r} is no name; give a non-empty string")
    if len(name) > _MAX_NAME_LENGTH or not name.isprintable() or " " in name:
        raise ConfigurationError(
            f"ChannelDescriptor.name: {name!r} must have 1 to {_MAX_NAME_LENGTH} printable characters without spaces"
        )


def _check_size(size: object, channel: str) -> None:
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ConfigurationError(
            f"ChannelDescriptor.max_payload_size of {channel!r}: {size!r} is no size; "
            "give bytes as an int of at least 1"
        )
    envelope_type(size)
