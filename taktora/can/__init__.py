"""The CAN connector: classical and CAN FD frames between channels and CAN interfaces."""

from __future__ import annotations

from taktora.can.connector import CanConnector, can_channel
from taktora.can.error_text import error_text
from taktora.can.filter import compile_filters, filter_for, matches, passes_filters
from taktora.can.health import (
    CanErrorKind,
    ControllerOverflow,
    ControllerRestarted,
    ErrorPassive,
    ErrorWarning,
    IfaceDown,
    NoAcknowledge,
    ReceiveOverflow,
    RestartAwaited,
    SendRefused,
    TransceiverFault,
    TransmitStalled,
    classify,
)
from taktora.can.interface import (
    CanErrorClass,
    CanErrorFrame,
    CanFilter,
    CanFrame,
    CanIfaceState,
    CanInterface,
    CanInterfaceListener,
)
from taktora.can.options import CanConnectorOptions
from taktora.can.routing import CanFdFlags, CanFrameKind, CanId, CanIface, CanRouting
from taktora.connector.drops import InboundDrops

__all__ = [
    "CanConnector",
    "CanConnectorOptions",
    "CanErrorClass",
    "CanErrorFrame",
    "CanErrorKind",
    "CanFdFlags",
    "CanFilter",
    "CanFrame",
    "CanFrameKind",
    "CanId",
    "CanIface",
    "CanIfaceState",
    "CanInterface",
    "CanInterfaceListener",
    "CanRouting",
    "ControllerOverflow",
    "ControllerRestarted",
    "ErrorPassive",
    "ErrorWarning",
    "IfaceDown",
    "InboundDrops",
    "NoAcknowledge",
    "ReceiveOverflow",
    "RestartAwaited",
    "SendRefused",
    "TransceiverFault",
    "TransmitStalled",
    "can_channel",
    "classify",
    "compile_filters",
    "error_text",
    "filter_for",
    "matches",
    "passes_filters",
]
