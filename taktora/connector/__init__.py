"""Connectors: routing, channels, health, reconnect, bridges, gateways and the host; it speaks no protocol itself."""

from __future__ import annotations

from taktora.connector.aggregate import HealthAggregate, worst_of
from taktora.connector.bridge import Dropped, InboundBridge, InboundOutcome, OutboundBridge, Sent
from taktora.connector.connector import Connector, ConnectorBase, GatewayPart
from taktora.connector.descriptor import ChannelDescriptor, check_routing_type
from taktora.connector.drops import InboundDropLatch, InboundDrops
from taktora.connector.errors import Disconnected
from taktora.connector.feed import Subscription
from taktora.connector.gate import SendGate
from taktora.connector.gateway import (
    ConditionsItem,
    GatewayItem,
    InboundItem,
    OutboundItem,
    SupervisorItem,
    link_items,
)
from taktora.connector.health import (
    LEGAL_TRANSITIONS,
    Connecting,
    ConnectorHealth,
    ConnectorHealthKind,
    Degraded,
    Down,
    HealthEvent,
    HealthMonitor,
    HealthSubscription,
    HeartbeatEvent,
    Up,
)
from taktora.connector.host import (
    DRAIN_BUDGET_S,
    ConnectorGateway,
    ConnectorGatewayBuilder,
    ConnectorHost,
    ConnectorHostBuilder,
)
from taktora.connector.link import InboundChannel, Link, LinkDriver, LinkOptions, OutboundChannel, Sign
from taktora.connector.logs import LoggingAdapter
from taktora.connector.reader import ChannelReader, RecvEnvelope
from taktora.connector.reconnect import EXHAUSTED, ExponentialBackoff, RandomSource, ReconnectPolicy
from taktora.connector.registry import ChannelRegistry
from taktora.connector.routing import Routing
from taktora.connector.wakeup import Wakeup
from taktora.connector.writer import ChannelWriter
from taktora.transport.channel import SendOutcome

__all__ = [
    "DRAIN_BUDGET_S",
    "EXHAUSTED",
    "LEGAL_TRANSITIONS",
    "ChannelDescriptor",
    "ChannelReader",
    "ChannelRegistry",
    "ChannelWriter",
    "ConditionsItem",
    "Connecting",
    "Connector",
    "ConnectorBase",
    "ConnectorGateway",
    "ConnectorGatewayBuilder",
    "ConnectorHealth",
    "ConnectorHealthKind",
    "ConnectorHost",
    "ConnectorHostBuilder",
    "Degraded",
    "Disconnected",
    "Down",
    "Dropped",
    "ExponentialBackoff",
    "GatewayItem",
    "GatewayPart",
    "HealthAggregate",
    "HealthEvent",
    "HealthMonitor",
    "HealthSubscription",
    "HeartbeatEvent",
    "InboundBridge",
    "InboundChannel",
    "InboundDropLatch",
    "InboundDrops",
    "InboundItem",
    "InboundOutcome",
    "Link",
    "LinkDriver",
    "LinkOptions",
    "LoggingAdapter",
    "OutboundBridge",
    "OutboundChannel",
    "OutboundItem",
    "RandomSource",
    "ReconnectPolicy",
    "RecvEnvelope",
    "Routing",
    "SendGate",
    "SendOutcome",
    "Sent",
    "Sign",
    "Subscription",
    "SupervisorItem",
    "Up",
    "Wakeup",
    "check_routing_type",
    "link_items",
    "worst_of",
]
