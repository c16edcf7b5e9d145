"""One contract, every back-end of the CAN seam: simulated node or SocketCAN, by the world; and two stand-ins."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any

import pytest

from taktora.can.socketcan import SocketCanInterface
from taktora.testing.mock_can import MockCanInterface
from taktora_sim.can import SimulatedCanBus
from taktora_sim.world import World
from tests.contract.can.interface_checks import CHECKS, CLASSICAL_CHECKS, HOST_CHECKS, Pair
from tests.real_can import GATE, Fence, FencedInterface
from tests.unit.can.fake_bus import FakeBus, FakeWire

_SETTLE_NS = 5_000_000


def _nothing() -> None:
    """A mock delivers at once; a simulated bus sends nothing while no time passes."""


def _mock_pair(*, fd: bool = True) -> Pair:
    left, right = MockCanInterface("can0", carries_fd=fd), MockCanInterface("can1", carries_fd=fd)
    left.connect(right)
    return Pair(left, right, _nothing, _nothing)


def _simulated_pair(*, fd: bool = True) -> Pair:
    world = World(1)
    bus = SimulatedCanBus(world, "vehicle", 500_000, data_bitrate=2_000_000 if fd else None)
    host, other = bus.node("left"), bus.node("right")
    return Pair(
        host.interface(),
        other.interface(),
        lambda: world.run_for(_SETTLE_NS),
        world.close,
        now_ns=world.now_ns,
        beside_left=host.interface,
        hold=_nothing,
        release=_nothing,
    )


def _fake_socketcan_pair(*, fd: bool = True) -> Pair:
    wire, buses = FakeWire(mtu=72 if fd else 16), list[FakeBus]()

    def make_bus(_name: str) -> FakeBus:
        buses.append(FakeBus(wire))
        return buses[-1]

    def beside(*, receive_own: bool = False, loopback: bool = True) -> SocketCanInterface:
        return SocketCanInterface("fake2", make_bus=make_bus, receive_own=receive_own, loopback=loopback)

    left, right = SocketCanInterface("fake0", make_bus=make_bus), SocketCanInterface("fake1", make_bus=make_bus)

    def settle() -> None:
        for bus in buses:
            if not bus.was_shut_down:
                bus.settle()

    def close() -> None:
        left.close()
        right.close()

    return Pair(
        left,
        right,
        settle,
        close,
        now_ns=time.monotonic_ns,
        beside_left=beside,
        hold=lambda: setattr(wire, "is_held", True),
        release=lambda: setattr(wire, "is_held", False),
    )


def _socketcan_pair(interface: str, world: str, rig: Any) -> Pair:
    fence = Fence(interface, world)
    left, right = FencedInterface(interface, fence), FencedInterface(interface, fence)

    def close() -> None:
        left.close()
        right.close()

    return Pair(
        left,
        right,
        fence.settle,
        close,
        now_ns=time.monotonic_ns,
        beside_left=lambda **options: FencedInterface(interface, fence, **options),
        hold=(lambda: rig.plug(interface)) if rig else None,
        release=(lambda: rig.unplug_at_once(interface)) if rig else None,
        sets_esi=world == "rig",
    )


_STAND_INS = {
    "mock": (_mock_pair, CHECKS),
    "socketcan over a fake": (_fake_socketcan_pair, CHECKS + HOST_CHECKS),
}


def _name_of(check: object) -> str:
    return check.__name__.removeprefix("check_") if inspect.isfunction(check) else str(check)


def _run(check: Callable[[Pair], None], pair: Pair) -> None:
    try:
        check(pair)
    finally:
        pair.close()


@pytest.mark.verifies("REQ_0602", "REQ_0611", "REQ_0622", "REQ_8202")
@pytest.mark.gate(GATE)
@pytest.mark.parametrize("check", CHECKS + HOST_CHECKS, ids=_name_of)
def test_contract(check: Callable[[Pair], None], world_name: str, request: pytest.FixtureRequest) -> None:
    if world_name == "sim":
        _run(check, _simulated_pair())
        return
    interface = request.getfixturevalue("can_interfaces")[0]
    rig = request.getfixturevalue("_shared_rig") if world_name == "rig" else None
    _run(check, _socketcan_pair(interface, world_name, rig))


@pytest.mark.verifies("REQ_0602", "REQ_0611")
@pytest.mark.world("sim", "rig")
@pytest.mark.parametrize("check", CLASSICAL_CHECKS, ids=_name_of)
def test_contract_of_a_classical_interface(
    check: Callable[[Pair], None], world_name: str, request: pytest.FixtureRequest
) -> None:
    if world_name == "sim":
        _run(check, _simulated_pair(fd=False))
        return
    rig = request.getfixturevalue("can_rig")
    rig.carry_fd(rig.interfaces[0], False)
    _run(check, _socketcan_pair(rig.interfaces[0], world_name, rig))


@pytest.mark.verifies("REQ_0604", "REQ_0611", "REQ_0622")
@pytest.mark.parametrize(
    ("backend", "check"),
    [
        pytest.param(backend, check, id=f"{backend}-{_name_of(check)}")
        for backend in _STAND_INS
        for check in _STAND_INS[backend][1]
    ],
)
def test_contract_of_the_stand_ins(backend: str, check: Callable[[Pair], None]) -> None:
    make_pair, _ = _STAND_INS[backend]
    _run(check, make_pair())
