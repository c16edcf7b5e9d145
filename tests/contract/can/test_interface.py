"""One contract, every back-end of the CAN seam: scripted mock, simulated node, SocketCAN over python-can."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from taktora.can.socketcan import SocketCanInterface
from taktora.testing.mock_can import MockCanInterface
from taktora_sim.can import SimulatedCanBus
from taktora_sim.world import World
from tests.contract.can.interface_checks import CHECKS, Pair
from tests.unit.can.fake_bus import FakeBus

_channels = count()


def _nothing() -> None:
    """A mock delivers at once."""


def _mock_pair() -> Pair:
    left, right = MockCanInterface("can0"), MockCanInterface("can1")
    left.connect(right)
    return Pair(left, right, _nothing, _nothing)


def _simulated_pair() -> Pair:
    world = World(1)
    bus = SimulatedCanBus(world, "vehicle")
    left, right = bus.node("left").interface(), bus.node("right").interface()
    return Pair(left, right, lambda: world.run_for(1_000_000), world.close)


def _socketcan_pair() -> Pair:
    channel, buses = f"contract-{next(_channels)}", list[FakeBus]()

    def make_bus(_name: str) -> FakeBus:
        buses.append(FakeBus(channel))
        return buses[-1]

    left, right = SocketCanInterface("can0", make_bus=make_bus), SocketCanInterface("can1", make_bus=make_bus)

    def settle() -> None:
        for bus in buses:
            if not bus.was_shut_down:
                bus.settle()

    def close() -> None:
        left.close()
        right.close()

    return Pair(left, right, settle, close)


_PAIRS = {"mock": _mock_pair, "sim": _simulated_pair, "socketcan": _socketcan_pair}


@pytest.mark.verifies("REQ_0602", "REQ_0604", "REQ_0622")
@pytest.mark.parametrize("backend", list(_PAIRS))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(backend: str, check: Callable[[Pair], None]) -> None:
    pair = _PAIRS[backend]()

    try:
        check(pair)
    finally:
        pair.close()
