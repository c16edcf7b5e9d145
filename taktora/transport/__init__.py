"""Envelope, transport seam and its two implementations; importing it does not import iceoryx2."""

from __future__ import annotations

from taktora.transport.base import (
    ChannelSpec,
    ClientPort,
    Delivery,
    ListenerPort,
    NotifierPort,
    PayloadType,
    PublisherPort,
    ServerPort,
    ServiceSettings,
    SlicePublisherPort,
    SliceSubscriberPort,
    SubscriberPort,
    Transport,
    event_service_name,
)
from taktora.transport.channel import (
    EnvelopeReader,
    EnvelopeWriter,
    IntegrityFault,
    IntegritySink,
    RawChannelReader,
    RawChannelWriter,
    RawSample,
    SendOutcome,
)
from taktora.transport.envelope import Header, envelope_type
from taktora.transport.iceoryx import IceoryxTransport
from taktora.transport.inprocess import InProcessDomain, InProcessTransport
from taktora.transport.rules import SLICE_PAYLOAD, inbound_service_name, outbound_service_name
from taktora.transport.slices import RecvSlice, SliceChannelReader, SliceChannelWriter

__all__ = [
    "SLICE_PAYLOAD",
    "ChannelSpec",
    "ClientPort",
    "Delivery",
    "EnvelopeReader",
    "EnvelopeWriter",
    "Header",
    "IceoryxTransport",
    "InProcessDomain",
    "InProcessTransport",
    "IntegrityFault",
    "IntegritySink",
    "ListenerPort",
    "NotifierPort",
    "PayloadType",
    "PublisherPort",
    "RawChannelReader",
    "RawChannelWriter",
    "RawSample",
    "RecvSlice",
    "SendOutcome",
    "ServerPort",
    "ServiceSettings",
    "SliceChannelReader",
    "SliceChannelWriter",
    "SlicePublisherPort",
    "SliceSubscriberPort",
    "SubscriberPort",
    "Transport",
    "envelope_type",
    "event_service_name",
    "inbound_service_name",
    "outbound_service_name",
]
