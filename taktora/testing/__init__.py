"""Public check kits and scripted mocks for those who write transports, codecs, clocks and connectors."""

from __future__ import annotations

from taktora.testing.bus_log import BusLog
from taktora.testing.check_clock import check_clock
from taktora.testing.check_codec import check_codec
from taktora.testing.check_connector import ConnectorBench, check_connector
from taktora.testing.check_transport import check_transport
from taktora.testing.echo import EchoConnector, EchoRouting
from taktora.testing.faulty_transport import Corrupt, Drop, Duplicate, FaultyTransport, Refuse
from taktora.testing.mock_bus import CycleKind, MockBusDriver
from taktora.testing.mock_can import MockCanInterface
from taktora.testing.mock_reactor import ManualClock, ManualReactor, ScriptedModel

__all__ = [
    "BusLog",
    "ConnectorBench",
    "Corrupt",
    "CycleKind",
    "Drop",
    "Duplicate",
    "EchoConnector",
    "EchoRouting",
    "FaultyTransport",
    "ManualClock",
    "ManualReactor",
    "MockBusDriver",
    "MockCanInterface",
    "Refuse",
    "ScriptedModel",
    "check_clock",
    "check_codec",
    "check_connector",
    "check_transport",
]
