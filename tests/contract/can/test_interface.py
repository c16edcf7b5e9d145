"""One contract, every back-end of the CAN seam: simulated node or SocketCAN, by the world; and two stand-ins."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from taktora.can.socketcan import SocketCanInterface
from taktora.testing.mock_can import MockCanInterface
from taktora_sim.can import SimulatedCanBus
from taktora_sim.world import World
from tests.contract.can.interface_checks import CHECKS, Pair
from tests.real_can import GATE, Fence, FencedInterface
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


def _fake_socketcan_pair() -> Pair:
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


def _socketcan_pair(interface: str, world: str) -> Pair:
    fence = Fence(interface, world)
    left, right = FencedInterface(interface, fence), FencedInterface(interface, fence)

    def close() -> None:
        left.close()
        right.close()

    return Pair(left, right, fence.settle, close)


_STAND_INS = {"mock": _mock_pair, "socketcan over a fake": _fake_socketcan_pair}
_each_check = pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))


def _run(check: Callable[[Pair], None], pair: Pair) -> None:
    try:
        check(pair)
    finally:
        pair.close()


@pytest.mark.verifies("REQ_0602", "REQ_0622")
@pytest.mark.gate(GATE)
@_each_check
def test_contract(check: Callable[[Pair], None], world_name: str, request: pytest.FixtureRequest) -> None:
    if world_name == "sim":
        _run(check, _simulated_pair())
    else:
        interface = request.getfixturevalue("can_interfaces")[0]
        _run(check, _socketcan_pair(interface, world_name))


@pytest.mark.verifies("REQ_0604", "REQ_0622")
@pytest.mark.parametrize("backend", list(_STAND_INS))
@_each_check
def test_contract_of_the_stand_ins(backend: str, check: Callable[[Pair], None]) -> None:
    _run(check, _STAND_INS[backend]())
