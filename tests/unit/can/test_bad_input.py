"""Bad input is refused before any service is opened, with the field, the value found and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taktora.can import CanConnector, CanConnectorOptions, CanFrameKind, CanId, CanIface, CanRouting, can_channel
from taktora.connector import ChannelDescriptor
from taktora.errors import ConfigurationError
from taktora.testing.mock_can import MockCanInterface
from tests.unit.can.support import Bench, BytesCodec

_CAN0 = CanIface("can0")
_OPENERS = (
    "publisher",
    "subscriber",
    "slice_publisher",
    "slice_subscriber",
    "notifier",
    "listener",
    "server",
    "client",
)


def _any(value: object) -> Any:
    """Hide a value's type from the type checker, as a user without one would."""
    return value


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Return a connector on a classical ``can0`` and a ``can1`` with CAN FD; ``opened`` has what was opened since."""
    made = Bench(MockCanInterface("can0", carries_fd=False), MockCanInterface("can1"))
    transport = made.world.runtime.transport
    for name in _OPENERS:
        monkeypatch.setattr(transport, name, _watched(getattr(transport, name), made.opened))
    return made


def _watched(opener: Callable[..., Any], opened: list[str]) -> Callable[..., Any]:
    def watch(service: str, *args: Any) -> Any:
        opened.append(service)
        return opener(service, *args)

    return watch


_CASES: list[Any] = [
    pytest.param(lambda: CanRouting(CanIface(""), CanId(1)), "interface name is empty", id="no name"),
    pytest.param(lambda: CanRouting(CanIface("c" * 16), CanId(1)), "16 characters.*allows 15", id="long name"),
    pytest.param(lambda: CanRouting(CanIface("can 0"), CanId(1)), "' ' at position 3", id="space in a name"),
    pytest.param(lambda: CanRouting(CanIface("a/b"), CanId(1)), "'/' at position 1", id="slash in a name"),
    pytest.param(lambda: CanRouting(CanIface("kän0"), CanId(1)), "'ä' at position 1", id="a name beyond ASCII"),
    pytest.param(lambda: CanRouting(CanIface(_any(0)), CanId(1)), "name 0 is a int", id="a number as name"),
    pytest.param(lambda: CanRouting(_any("can0"), CanId(1)), "CanRouting.iface: 'can0' is a str", id="bare name"),
    pytest.param(lambda: CanRouting(_CAN0, CanId(0x800)), "0x800 is outside 0..0x7ff.*extended", id="standard id"),
    pytest.param(lambda: CanRouting(_CAN0, CanId(-1)), "outside 0..0x7ff", id="negative id"),
    pytest.param(
        lambda: CanRouting(_CAN0, CanId.extended(1 << 29)), "outside 0..0x1fffffff of an ext", id="extended id"
    ),
    pytest.param(lambda: CanRouting(_CAN0, CanId(_any("1"))), "CAN id '1' is a str", id="text as id"),
    pytest.param(lambda: CanRouting(_CAN0, CanId(_any(1.0))), "CAN id 1.0 is a float", id="float as id"),
    pytest.param(lambda: CanRouting(_CAN0, _any(0x123)), "CanRouting.can_id: 291 is a int", id="bare id"),
    pytest.param(lambda: CanRouting(_CAN0, CanId(1), 1 << 32), "mask 0x100000000.*0..0xffffffff", id="mask"),
    pytest.param(lambda: CanRouting(_CAN0, CanId(1), -1), "mask -0x1.*0..0xffffffff", id="negative mask"),
    pytest.param(
        lambda: CanRouting(_CAN0, CanId(1), _any("7FF")), "CanRouting.mask: '7FF' is a str", id="text as mask"
    ),
    pytest.param(lambda: CanRouting(_CAN0, CanId(1), kind=_any("fd")), "CanRouting.kind: 'fd'", id="text as kind"),
    pytest.param(
        lambda: CanRouting(CanIface("can1"), CanId(1), kind=CanFrameKind.FD, fd_flags=_any(4)),
        "flags 0x4.*outside 0..3",
        id="flags",
    ),
    pytest.param(lambda: CanRouting(CanIface("can9"), CanId(1)), "does not own.*'can9'.*can0, can1", id="foreign"),
    pytest.param(
        lambda: CanRouting(_CAN0, CanId(1), kind=CanFrameKind.FD),
        "channel 'bad': interface 'can0' carries no CAN FD.*CLASSICAL.*fd on",
        id="FD on a classical interface",
    ),
]


@pytest.mark.verifies("REQ_0601", "REQ_0611", "REQ_0621")
@pytest.mark.parametrize("end", ["create_writer", "create_reader"])
@pytest.mark.parametrize(("routing", "text"), _CASES)
def test_a_bad_routing_opens_nothing(bench: Bench, routing: Callable[[], CanRouting], text: str, end: str) -> None:
    with bench, pytest.raises(ConfigurationError, match=text):
        getattr(bench.connector, end)(can_channel("bad", routing()), bytes)

    assert bench.opened == []


@pytest.mark.verifies("REQ_0612")
@pytest.mark.parametrize("end", ["create_writer", "create_reader"])
@pytest.mark.parametrize(
    ("kind", "size", "text"),
    [
        pytest.param(CanFrameKind.CLASSICAL, 64, "is 64.*classical CAN frame carries 8", id="FD on classical"),
        pytest.param(CanFrameKind.CLASSICAL, 7, "is 7.*classical CAN frame carries 8", id="below"),
        pytest.param(CanFrameKind.FD, 8, "is 8.*fd CAN frame carries 64", id="classical on FD"),
        pytest.param(CanFrameKind.FD, 65, "is 65.*fd CAN frame carries 64", id="above"),
    ],
)
def test_a_payload_size_of_another_kind_opens_nothing(
    bench: Bench, kind: CanFrameKind, size: int, text: str, end: str
) -> None:
    descriptor = ChannelDescriptor("bad", CanRouting(CanIface("can1"), CanId(1), kind=kind), size)

    with bench, pytest.raises(ConfigurationError, match=f"channel 'bad': max_payload_size {text}"):
        getattr(bench.connector, end)(descriptor, bytes)

    assert bench.opened == []


@pytest.mark.verifies("REQ_0612")
def test_a_good_channel_opens_its_services_so_that_the_watch_sees_them(bench: Bench) -> None:
    with bench:
        bench.writer("good", CanId(1))

        assert "good.out" in bench.opened


@pytest.mark.verifies("REQ_0600", "REQ_0620")
@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_wrong_number_of_drivers_opens_nothing(number: int) -> None:
    with Bench() as bench:
        drivers = [MockCanInterface(f"can{place}") for place in range(number)]
        options = CanConnectorOptions(ifaces=(_CAN0, CanIface("can1")))

        with pytest.raises(ConfigurationError, match=rf"{number} drivers for 2 interfaces \(can0, can1\)"):
            CanConnector(bench.world.runtime, options, drivers, BytesCodec())

        assert [driver.open_count for driver in drivers] == [0] * number


@pytest.mark.verifies("REQ_0620", "REQ_0621")
def test_an_interface_of_the_options_is_no_bare_name() -> None:
    with pytest.raises(ConfigurationError, match="ifaces: 'can0' is a str"):
        CanConnectorOptions(ifaces=_any(("can0",)))
