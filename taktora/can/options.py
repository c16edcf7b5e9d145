"""What can be chosen when a CAN connector is made; values out of range are clamped, nothing is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from taktora.can.routing import CanIface
from taktora.connector.reconnect import ExponentialBackoff, RandomSource, ReconnectPolicy
from taktora.errors import ConfigurationError

__all__ = ["CanConnectorOptions", "PolicyFactory"]

PolicyFactory = Callable[[RandomSource], ReconnectPolicy]
"""Makes the reconnect policy of one interface; given the runtime's entropy for its jitter."""


# req: REQ_0620, REQ_0634
@dataclass(frozen=True, slots=True, kw_only=True)
class CanConnectorOptions:
    """Options of a CAN connector.

    Args:
        ifaces: The interfaces the gateway owns, in the order of their drivers. At least one, each once.
        outbound_bridge_capacity: Frames held per interface on the way out, default 256; below 1 counts as 1.
        inbound_bridge_capacity: Frames held per interface on the way in, default 256; below 1 counts as 1.
        inbound_drop_threshold: Dropped frames from which on health becomes Degraded, default 1; below 1 counts as 1.
        recovery_window_ns: Time without an error frame after which a Degraded interface is Up again, default 1 s;
            below 1 counts as 1.
        reconnect_policy: Called once per interface, so that back-off state is not shared.
        fd_padding: Fill what is sent on FD channels up with 0x00 to the next length that CAN FD has; False refuses what
            has another length: it is not sent, counted and told as Degraded.

    Raises:
        ConfigurationError: no interface, one named twice, or one that is no ``CanIface``.
    """

    ifaces: tuple[CanIface, ...]
    outbound_bridge_capacity: int = 256
    inbound_bridge_capacity: int = 256
    inbound_drop_threshold: int = 1
    recovery_window_ns: int = 1_000_000_000
    reconnect_policy: PolicyFactory = ExponentialBackoff
    fd_padding: bool = True

    def __post_init__(self) -> None:
        for iface in self.ifaces:
            if not isinstance(iface, CanIface):
                raise ConfigurationError(
                    f"CanConnectorOptions.ifaces: {iface!r} is a {type(iface).__name__}; give CanIface('can0'), ..."
                )
        names = [iface.name for iface in self.ifaces]
        if not names:
            raise ConfigurationError("CanConnectorOptions.ifaces: empty; name at least one interface")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigurationError(f"CanConnectorOptions.ifaces: {', '.join(twice)} is named twice; name it once")
        for field in (
            "outbound_bridge_capacity",
            "inbound_bridge_capacity",
            "inbound_drop_threshold",
            "recovery_window_ns",
        ):
            object.__setattr__(self, field, max(1, getattr(self, field)))
