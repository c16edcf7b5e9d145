"""The framework's connector kit against the CAN connector, in both frame kinds: simulated bus, SocketCAN, mock."""

from __future__ import annotations

from typing import Any

import pytest

from taktora.can import (
    CanConnector,
    CanConnectorOptions,
    CanFdFlags,
    CanFrame,
    CanFrameKind,
    CanId,
    CanIface,
    CanIfaceState,
    CanInterface,
    CanRouting,
    can_channel,
)
from taktora.can.socketcan import SocketCanInterface
from taktora.errors import StackError
from taktora.runtime import Runtime
from taktora.testing.check_connector import CONNECTOR_CHECKS, ConnectorBench, run_check
from taktora.testing.mock_can import MockCanInterface
from taktora_hil.rig_can import CanRig
from taktora_sim.can import SimulatedCanBus, SimulatedCanInterface
from taktora_sim.world import World
from tests.patience import PATIENCE_S
from tests.real_can import GATE
from tests.unit.can.support import MS, BytesCodec, FixedPolicy

_ID = CanId(0x123)


def _value(number: int) -> bytes:
    return number.to_bytes(2, "big")


def _fd_value(number: int) -> bytes:
    return number.to_bytes(2, "big") * 6


_VALUES = {CanFrameKind.CLASSICAL: _value, CanFrameKind.FD: _fd_value}
_KINDS = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(CanFrameKind.CLASSICAL, id="classical"),
        pytest.param(CanFrameKind.FD, id="fd", marks=pytest.mark.verifies("REQ_0611")),
    ],
)


def _bench(runtime: Runtime, interface: CanInterface, kind: CanFrameKind, **means: Any) -> ConnectorBench:
    iface = CanIface("can0")
    options = CanConnectorOptions(
        ifaces=(iface,), reconnect_policy=lambda _random: FixedPolicy(20 * MS), recovery_window_ns=50 * MS
    )
    connector = CanConnector(runtime, options, [interface], BytesCodec())
    channel = can_channel("loop", CanRouting(iface, _ID, kind=kind, fd_flags=CanFdFlags.BRS))
    return ConnectorBench(
        runtime=runtime,
        connector=connector,
        outbound=channel,
        inbound=channel,
        value_type=bytes,
        value=_VALUES[kind],
        oversize=bytes(kind.max_payload_bytes + 1),
        **means,
    )


def _mock_bench(kind: CanFrameKind) -> ConnectorBench:
    world, mock = World(1), MockCanInterface("can0", receive_own=True)

    def flood(frames: int) -> None:
        for number in range(frames):
            mock.inject_frame(CanFrame(_ID.value, _VALUES[kind](number % 10_000), fd=kind is CanFrameKind.FD))

    def break_link() -> None:
        mock.script_open([StackError("no such interface")] * 3)
        mock.inject_state(CanIfaceState.DOWN, "Network is down")

    def drain_slowly(rounds: int = 50) -> None:
        """Make room at the pace of a bus; a mock that takes everything at once would flood its own loop."""
        mock.limit_room(16 if rounds else None)
        if rounds:
            world.call_after(1 * MS, lambda: drain_slowly(rounds - 1))

    return _bench(
        world.runtime,
        mock,
        kind,
        close=world.close,
        flood=flood,
        break_link=break_link,
        restore_link=lambda: None,
        stall=lambda: mock.limit_room(0),
        unstall=drain_slowly,
        break_stack=lambda: mock.script_send([RuntimeError("driver bug")]),
    )


class _Babbler:
    """A node that keeps the bus busy with the most urgent identifier there is."""

    def __init__(self, bus: SimulatedCanBus) -> None:
        self.talks = False
        self._interface = bus.node("babbler").interface()
        self._interface.open(_Deaf())
        bus.observe(lambda _: self._say())

    def start(self) -> None:
        self.talks = True
        self._say()
        self._say()

    def stop(self) -> None:
        self.talks = False

    def _say(self) -> None:
        if self.talks and self._interface.node.queued < 3:
            self._interface.send(CanFrame(0, bytes(8)))


class _Deaf:
    def on_frame(self, frame: CanFrame) -> None: ...

    def on_error_frame(self, frame: object) -> None: ...

    def on_receive_overflow(self, _lost: int) -> None: ...

    def on_state(self, state: CanIfaceState, reason: str) -> None: ...

    def on_failure(self, error: BaseException) -> None: ...


class _Breakable(SimulatedCanInterface):
    """A simulated socket whose next send fails in a way that nobody foresaw."""

    is_broken = False

    def send(self, frame: CanFrame) -> None:
        if self.is_broken:
            raise RuntimeError("driver bug")
        super().send(frame)


class _BreakableSocket(SocketCanInterface):
    """A real one, broken likewise."""

    is_broken = False

    def send(self, frame: CanFrame) -> None:
        if self.is_broken:
            raise RuntimeError("driver bug")
        super().send(frame)


def _simulated_bench(kind: CanFrameKind) -> ConnectorBench:
    world = World(1)
    bus = SimulatedCanBus(world, "vehicle", 1_000_000, data_bitrate=2_000_000 if kind is CanFrameKind.FD else None)
    node = bus.node("app")
    interface = _Breakable(node, "can0", receive_own=True)
    bus.node("listener")
    babbler = _Babbler(bus)

    def break_stack() -> None:
        interface.is_broken = True

    return _bench(
        world.runtime,
        interface,
        kind,
        close=world.close,
        break_link=lambda: node.set_up(False),
        restore_link=lambda: node.set_up(True),
        stall=babbler.start,
        unstall=babbler.stop,
        break_stack=break_stack,
    )


def _socketcan_bench(name: str, rig: CanRig | None, kind: CanFrameKind) -> ConnectorBench:
    """The real driver on an interface; only a rig's may be taken down and plugged."""
    runtime = Runtime.system(transport="inprocess")
    interface = _BreakableSocket(name, receive_own=True)

    def break_stack() -> None:
        interface.is_broken = True

    means: dict[str, Any] = {"break_stack": break_stack, "within_s": PATIENCE_S / 8, "close": runtime.close}
    if rig is not None:
        means |= {
            "break_link": lambda: rig.set_up(name, False),
            "restore_link": lambda: rig.set_up(name, True),
            "stall": lambda: rig.plug(name),
            "unstall": lambda: rig.unplug(name),
        }
    return _bench(runtime, interface, kind, **means)


_NO_FLOOD = "inbound saturation"
"""Only a mock can fill the inbound bridge for sure; a bus may be slower than the gateway."""
_KIT = pytest.mark.verifies("REQ_0600", "REQ_0607", "REQ_0608", "REQ_0633", "REQ_0635")


@_KIT
@pytest.mark.gate(GATE)
@_KINDS
@pytest.mark.parametrize("name", list(CONNECTOR_CHECKS))
def test_kit(name: str, kind: CanFrameKind, world_name: str, request: pytest.FixtureRequest) -> None:
    if world_name == "sim":
        assert run_check(name, lambda: _simulated_bench(kind)) is (name != _NO_FLOOD)
        return
    interface = request.getfixturevalue("can_interfaces")[0]
    rig: CanRig | None = request.getfixturevalue("can_rig") if world_name == "rig" else None
    if rig is not None:
        interface = rig.interfaces[0]
    elif kind is CanFrameKind.FD and not SocketCanInterface(interface).carries_fd:
        pytest.skip(f"not run: {interface} carries no CAN FD frames")
    did_run = run_check(name, lambda: _socketcan_bench(interface, rig, kind))
    assert did_run or rig is None or name == _NO_FLOOD
    if not did_run and rig is None:
        pytest.skip(f"not run: nobody may disturb a bench for the {name} check")


@_KIT
@pytest.mark.verifies("REQ_0604")
@_KINDS
@pytest.mark.parametrize("name", list(CONNECTOR_CHECKS))
def test_kit_on_the_mock(name: str, kind: CanFrameKind) -> None:
    assert run_check(name, lambda: _mock_bench(kind))
