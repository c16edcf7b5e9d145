from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path

import pytest

from taktora.connector import ChannelDescriptor, Routing, check_routing_type
from taktora.errors import ConfigurationError
from tests.unit.connector.conftest import LineRouting
from tests.unit.connector.type_fixture import assert_errors_where_marked

ROUTING = LineRouting(3)


@dataclass(frozen=True, slots=True)
class OtherRouting(Routing):
    topic: str


class Bare(Routing):
    __slots__ = ("line",)


@dataclass(frozen=True)
class Unslotted(Routing):
    line: int


@dataclass(frozen=True, slots=True)
class Borrowing(Routing):
    lines: list[int]


@pytest.mark.realizes("TEST_0103")
def test_fields_read_back() -> None:
    descriptor = ChannelDescriptor("speed", ROUTING, 64)

    assert (descriptor.name, descriptor.routing, descriptor.max_payload_size) == ("speed", ROUTING, 64)


@pytest.mark.realizes("TEST_0103")
@pytest.mark.parametrize("name", ["", " ", "a b", "tab\t", "x" * 241, None, 5])
def test_bad_name_is_refused_naming_the_field(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"ChannelDescriptor.name: "):
        ChannelDescriptor(name, ROUTING, 64)


@pytest.mark.realizes("TEST_0103")
@pytest.mark.parametrize("size", [0, -1, True, 2.5, 2**32])
def test_bad_size_is_refused_with_the_value(size: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"max_payload_size.*{size}"):
        ChannelDescriptor("speed", ROUTING, size)


@pytest.mark.verifies("REQ_0222")
@pytest.mark.parametrize(
    ("routing", "fault"),
    [
        pytest.param("a/topic", "is a str, not a Routing", id="string"),
        pytest.param(Bare(), "is not frozen", id="no-dataclass"),
        pytest.param(Unslotted(1), "has no slots", id="no-slots"),
        pytest.param(Borrowing([1]), "is not hashable", id="unhashable"),
    ],
)
def test_improper_routing_is_refused(routing: Routing, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=f"channel 'speed'.*{fault}"):
        ChannelDescriptor("speed", routing, 64)


@pytest.mark.verifies("REQ_0222")
def test_routing_is_a_plain_value() -> None:
    copy = pickle.loads(pickle.dumps(ROUTING))

    assert (copy, hash(copy), repr(copy)) == (ROUTING, hash(ROUTING), "LineRouting(line=3)")
    with pytest.raises(FrozenInstanceError):
        ROUTING.line = 4  # type: ignore[misc]


@pytest.mark.verifies("REQ_0222")
def test_marker_adds_no_methods() -> None:
    assert [name for name in vars(Routing) if not name.startswith("__")] == []


@pytest.mark.realizes("TEST_0126")
def test_service_names_follow_the_name_and_the_direction() -> None:
    first, same = ChannelDescriptor("speed", ROUTING, 64), ChannelDescriptor("speed", LineRouting(9), 8)
    other = ChannelDescriptor("torque", ROUTING, 64)

    assert (first.outbound_service, first.inbound_service) == ("speed.out", "speed.in")
    assert (same.outbound_service, same.inbound_service) == (first.outbound_service, first.inbound_service)
    assert len({first.outbound_service, first.inbound_service, other.outbound_service, other.inbound_service}) == 4


@pytest.mark.verifies("REQ_0224", "REQ_0294")
def test_foreign_routing_is_refused_at_run_time() -> None:
    with pytest.raises(ConfigurationError, match="connector 'line' routes by LineRouting, found OtherRouting"):
        check_routing_type(ChannelDescriptor("speed", OtherRouting("t"), 64), LineRouting, "line")


@pytest.mark.realizes("TEST_0103")
def test_type_checker_rejects_a_foreign_routing(tmp_path: Path) -> None:
    assert_errors_where_marked(
        tmp_path,
        """
        from tests.unit.connector.conftest import LineRouting
        from tests.unit.connector.test_descriptor import OtherRouting
        from taktora.connector import ChannelDescriptor
        def open_line(descriptor: ChannelDescriptor[LineRouting]) -> None: ...
        open_line(ChannelDescriptor("a", LineRouting(1), 8))
        open_line(ChannelDescriptor("a", OtherRouting("t"), 8))  # error: arg-type
        """,
    )
