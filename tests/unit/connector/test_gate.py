from __future__ import annotations

from collections.abc import Callable

import pytest

from taktora.connector import SendGate
from taktora.errors import BackPressure, LinkDown, NotReady, ShutdownError


@pytest.mark.verifies("REQ_0292")
def test_open_gate_lets_through() -> None:
    gate = SendGate("can")

    gate.refuse("speed.out")

    assert not gate.blocked


@pytest.mark.verifies("REQ_0292")
def test_each_flag_has_its_error_and_the_gravest_wins() -> None:
    gate = SendGate("can")
    seen: list[type[Exception]] = []

    closings: list[Callable[[], None]] = [lambda: gate.hold("full"), lambda: gate.close_link("bus off"), gate.shut]
    for close in closings:
        close()
        with pytest.raises((BackPressure, LinkDown, ShutdownError)) as caught:
            gate.refuse("speed.out")
        seen.append(caught.type)

    assert seen == [BackPressure, LinkDown, ShutdownError]


@pytest.mark.verifies("REQ_0313", "REQ_0292")
def test_before_the_bus_is_up_sends_are_refused_as_not_ready() -> None:
    gate = SendGate("cell")
    gate.await_ready("the bus is not in OP")
    gate.hold("full")

    with pytest.raises(NotReady, match=r"'lamp.out'.*'cell' takes no messages yet \(the bus is not in OP\)"):
        gate.refuse("lamp.out")
    gate.be_ready()
    gate.relieve()
    gate.refuse("lamp.out")

    assert not gate.blocked


@pytest.mark.verifies("REQ_0292")
def test_message_names_channel_connector_and_reason() -> None:
    gate = SendGate("can")
    gate.close_link("bus off")

    with pytest.raises(LinkDown, match=r"channel 'speed.out': connector 'can' is Down \(bus off\)"):
        gate.refuse("speed.out")


@pytest.mark.verifies("REQ_0292", "REQ_0607")
def test_lifted_flags_open_the_gate_again() -> None:
    gate = SendGate("can")
    gate.hold("full")
    gate.close_link("bus off")

    gate.open_link()
    still = gate.blocked
    gate.relieve()

    assert still
    assert not gate.blocked
