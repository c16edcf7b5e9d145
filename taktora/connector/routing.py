"""The marker from which every connector's routing record derives; it adds no behaviour of its own."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from taktora.errors import ConfigurationError

__all__ = ["Routing", "check_routing"]


# req: REQ_0222
@dataclass(frozen=True, slots=True)
class Routing:
    """Where a channel lives on its protocol: a plain value (REQ_0222).

    Derive with ``@dataclass(frozen=True, slots=True)`` and only hashable fields. Such a value may be copied, shared
    between threads, used as a key and printed; it must not hold a socket, a session or another borrowed resource.
    """


def check_routing(routing: object, channel: str) -> None:
    """Refuse what is no proper routing value.

    Raises:
        ConfigurationError: not derived from :class:`Routing`, not frozen, not slotted, or not hashable.
    """
    fault = _fault_of(routing)
    if fault is not None:
        raise ConfigurationError(
            f"channel {channel!r}: routing {routing!r} {fault}; "
            "derive it from taktora.connector.Routing with @dataclass(frozen=True, slots=True)"
        )


def _fault_of(routing: object) -> str | None:
    if not isinstance(routing, Routing):
        return f"is a {type(routing).__name__}, not a Routing"
    if not _is_frozen(type(routing)):
        return "is not frozen"
    if hasattr(routing, "__dict__"):
        return "has no slots"
    return None if _is_hashable(routing) else "is not hashable"


def _is_frozen(cls: type) -> bool:
    params = cls.__dict__.get("__dataclass_params__")
    return dataclasses.is_dataclass(cls) and params is not None and bool(params.frozen)


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
