"""What a type checker knows of connectors: the codec and the routing of a connector, its writers and its readers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.connector.type_fixture import assert_errors_where_marked

_HEAD = """
from taktora.can import CanConnector, CanConnectorOptions, CanId, CanIface, CanRouting, can_channel
from taktora.codec import Codec, JsonCodec, MsgPackCodec
from taktora.connector import ChannelDescriptor, ChannelReader, ChannelWriter, Connector
from taktora.runtime import Runtime
from taktora.testing.echo import EchoConnector, EchoRouting

def check(runtime: Runtime, options: CanConnectorOptions) -> None:
    can = CanConnector(runtime, options, [], JsonCodec())
    channel = can_channel("a", CanRouting(CanIface("can0"), CanId(1)))
"""


@pytest.mark.verifies("REQ_0211", "REQ_0600")
def test_the_codec_is_part_of_a_connectors_type(tmp_path: Path) -> None:
    assert_errors_where_marked(
        tmp_path,
        _HEAD
        + """
    right: CanConnector[JsonCodec] = can
    general: CanConnector[Codec] = can
    wrong: CanConnector[MsgPackCodec] = can  # error: assignment
    no_codec = CanConnector(runtime, options, [], "json")  # error: type-var
    codec: JsonCodec = can.codec
    other: MsgPackCodec = can.codec  # error: assignment
    echo: EchoConnector[JsonCodec] = EchoConnector(runtime)
    packed: EchoConnector[MsgPackCodec] = EchoConnector(runtime, MsgPackCodec())
    mixed: EchoConnector[JsonCodec] = EchoConnector(runtime, MsgPackCodec())  # error: arg-type
""",
    )


@pytest.mark.realizes("TEST_0500")
@pytest.mark.verifies("REQ_0220")
def test_a_connector_is_the_framework_interface_with_its_routing_and_its_codec(tmp_path: Path) -> None:
    assert_errors_where_marked(
        tmp_path,
        _HEAD
        + """
    right: Connector[CanRouting, JsonCodec] = can
    codec: Connector[CanRouting, MsgPackCodec] = can  # error: assignment
    routing: Connector[EchoRouting, JsonCodec] = can  # error: assignment
    echo: Connector[EchoRouting, JsonCodec] = EchoConnector(runtime)
""",
    )


@pytest.mark.realizes("TEST_0103")
@pytest.mark.verifies("REQ_0223")
def test_writers_and_readers_have_value_and_codec_in_their_type_and_refuse_a_foreign_routing(tmp_path: Path) -> None:
    assert_errors_where_marked(
        tmp_path,
        _HEAD
        + """
    writer: ChannelWriter[bytes, JsonCodec] = can.create_writer(channel, bytes)
    reader: ChannelReader[bytes, JsonCodec] = can.create_reader(channel, bytes)
    value: ChannelWriter[str, JsonCodec] = can.create_writer(channel, bytes)  # error: arg-type
    codec: ChannelReader[bytes, MsgPackCodec] = can.create_reader(channel, bytes)  # error: assignment
    foreign = ChannelDescriptor("a", EchoRouting("loop"), 8)
    can.create_writer(foreign, bytes)  # error: arg-type
    can.create_reader(foreign, bytes)  # error: arg-type
    writer.send(b"x")
    writer.send(1)  # error: arg-type
""",
    )
