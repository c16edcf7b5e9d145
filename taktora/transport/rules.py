"""Rules that every transport enforces alike: names, payload types, limits and their refusals; it opens nothing."""

from __future__ import annotations

from taktora.errors import ConfigurationError, PayloadOverflow, ShutdownError, TransportError
from taktora.transport.base import PayloadType, ServiceSettings

__all__ = [
    "MAX_ACTIVE_REQUESTS_PER_CLIENT",
    "MAX_CLIENTS",
    "MAX_LISTENERS",
    "MAX_NAME_BYTES",
    "MAX_NOTIFIERS",
    "MAX_SERVERS",
    "MAX_TYPE_NAME_BYTES",
    "SLICE_PAYLOAD",
    "check_name",
    "check_payload",
    "check_settings",
    "check_slice_limits",
    "closed_error",
    "full_error",
    "inbound_service_name",
    "loan_error",
    "mismatch_error",
    "outbound_service_name",
    "overflow_error",
    "two_wakers",
    "undeclared_error",
]

MAX_NAME_BYTES = 255
MAX_TYPE_NAME_BYTES = 200
MAX_NOTIFIERS = 16
MAX_LISTENERS = 16
MAX_SERVERS = 1
MAX_CLIENTS = 8
MAX_ACTIVE_REQUESTS_PER_CLIENT = 16
_ALIGNMENTS = (1, 2, 4, 8)
_RESERVED_PREFIX = "iox2://"

SLICE_PAYLOAD = PayloadType("taktora.Slice", 1, 1)
"""Payload type of every slice service: bytes, as many as each message needs."""


# req: REQ_0206
def outbound_service_name(channel: str) -> str:
    """Return the service on which the plugin writes and the gateway reads."""
    return channel + ".out"


def inbound_service_name(channel: str) -> str:
    """Return the service on which the gateway writes and the plugin reads."""
    return channel + ".in"


def check_name(service: str) -> None:
    """Refuse names that one of the transports could not carry.

    A name has 1 to 255 characters, all printable ASCII, no blank at either end, and does not begin with ``iox2://``.

    Raises:
        ConfigurationError: the name breaks one of these rules.
    """
    reason = _fault_of_name(service)
    if reason:
        raise ConfigurationError(f"service name {service!r} {reason}; correct the channel's name")


def _fault_of_name(service: str) -> str:
    if not service:
        return "is empty"
    if len(service) > MAX_NAME_BYTES:
        return f"has {len(service)} characters, expected at most {MAX_NAME_BYTES}"
    if not (service.isascii() and service.isprintable()):
        return "has characters that are not printable ASCII"
    if service != service.strip():
        return "begins or ends with a blank"
    return f"begins with the reserved {_RESERVED_PREFIX}" if service.startswith(_RESERVED_PREFIX) else ""


def check_payload(service: str, payload: PayloadType) -> None:
    """Refuse payload types whose size and alignment make no record (alignments are 1, 2, 4 and 8)."""
    if payload.alignment not in _ALIGNMENTS:
        raise ConfigurationError(
            f"{service}: alignment of {payload.name} is {payload.alignment}, expected 1, 2, 4 or 8"
        )
    if payload.size_bytes < 1 or payload.size_bytes % payload.alignment:
        raise ConfigurationError(
            f"{service}: size of {payload.name} is {payload.size_bytes} bytes, "
            f"expected a positive multiple of its alignment {payload.alignment}"
        )
    if not payload.name or not payload.name.isascii() or len(payload.name) > MAX_TYPE_NAME_BYTES:
        raise ConfigurationError(f"{service}: payload type name {payload.name!r}, expected 1 to 200 ASCII characters")


def check_settings(service: str, settings: ServiceSettings) -> None:
    """Refuse settings of zero where at least one is needed, and a history that no subscriber could buffer."""
    for field in ("max_publishers", "max_subscribers", "subscriber_max_buffer_size", "subscriber_max_borrowed_samples"):
        value = getattr(settings, field)
        if value < 1:
            raise ConfigurationError(f"{service}: {field} is {value}, expected at least 1")
    if not 0 <= settings.history_size <= settings.subscriber_max_buffer_size:
        raise ConfigurationError(
            f"{service}: history_size is {settings.history_size}, "
            f"expected 0 to subscriber_max_buffer_size {settings.subscriber_max_buffer_size}"
        )


def check_slice_limits(service: str, initial_max_slice_len: int, max_payload_bytes: int) -> None:
    """Refuse an initial slice length outside 1 to ``max_payload_bytes``."""
    if not 1 <= initial_max_slice_len <= max_payload_bytes:
        raise ConfigurationError(
            f"{service}: initial_max_slice_len is {initial_max_slice_len}, "
            f"expected 1 to max_payload_bytes {max_payload_bytes}"
        )


def mismatch_error(service: str, what: str, found: object, asked: object) -> ConfigurationError:
    """Build the refusal of a service that exists with another type or other settings; both are printed."""
    return ConfigurationError(f"service {service}: {what} exists as {found}, asked for {asked}; make both ends agree")


def undeclared_error(service: str, declared: object) -> ConfigurationError:
    """Build the refusal of a name outside the declared topology."""
    return ConfigurationError(
        f"service {service} is not in declared topology {declared}; declare it in create_all or correct the name"
    )


def overflow_error(service: str, actual: int, maximum: int) -> PayloadOverflow:
    """Build the refusal of a message longer than the service carries."""
    return PayloadOverflow(actual, maximum, service)


def closed_error(service: str) -> ShutdownError:
    """Build the refusal of a port that has been closed."""
    return ShutdownError(f"port on {service} is closed")


def full_error(service: str, kind: str, limit: int) -> TransportError:
    """Build the refusal of a publisher or subscriber more than the service has room for."""
    other = f"it has no room for another {kind}"
    who = "another process or object already publishes on it" if kind == "publisher" else other
    way = "close one first, or stop the other process (does this application run twice?)"
    return TransportError(f"service {service}: {who}, and max_{kind}s is {limit}; {way}")


def loan_error(service: str, loaned: bool) -> TransportError:
    """Build the refusal of a second loan, or of a publish without one."""
    if loaned:
        return TransportError(f"publisher on {service}: a slot is already loaned; publish or discard it first")
    return TransportError(f"publisher on {service}: no slot is loaned; call loan first")


def two_wakers(service: str) -> ConfigurationError:
    """Build the refusal of a second executor that would wait for a listener: only one of them would ever wake."""
    return ConfigurationError(
        f"listener of {service}: an executor waits for it already, and another one would take its notifications away; "
        "open a listener of its own for each executor"
    )
