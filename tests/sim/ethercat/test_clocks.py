"""Distributed clocks as the MainDevice sets them up, against clocks that are off by known amounts."""

from __future__ import annotations

from typing import Any

import pytest

from taktora.ethercat.driver import AlState
from taktora.ethercat.network import EthercatBusSpec
from taktora_sim.ethercat.clocks import EPOCH_2000_NS, ClockStation, measured_delays
from taktora_sim.ethercat.esc import PortTimes
from taktora_sim.ethercat.frame import Command

from .cell import Cell, bus, coupler, drive, inputs


class OffsetClock:
    """A clock that runs true and is off by ``skew_ns``: receive times, offset, system time and difference."""

    def __init__(self, skew_ns: int) -> None:
        self.skew_ns = skew_ns
        self.memory = bytearray(256)

    def reset(self) -> None:
        self.memory[:] = bytes(256)

    def system_ns(self, at_ns: int) -> int:
        return at_ns + self.skew_ns + self._number(0x20, 8) & (1 << 64) - 1

    def read(self, offset: int, length: int, at_ns: int) -> bytes:
        self.memory[0x10:0x18] = self.system_ns(at_ns).to_bytes(8, "little")
        return bytes(self.memory[offset : offset + length])

    def write(self, offset: int, data: bytes, at_ns: int) -> None:
        if offset == 0x10:
            reference = int.from_bytes(data, "little") + self._number(0x28, 4)
            difference = self.system_ns(at_ns) - reference
            sign = 0x8000_0000 if difference < 0 else 0
            self.memory[0x2C:0x30] = (min(abs(difference), 0x7FFF_FFFF) | sign).to_bytes(4, "little")
        elif offset >= 0x20:
            self.memory[offset : offset + len(data)] = data

    def latch(self, received_ns: PortTimes) -> None:
        for port, at_ns in enumerate(received_ns):
            local_ns = 0 if at_ns is None else at_ns + self.skew_ns
            self.memory[4 * port : 4 * port + 4] = (local_ns & 0xFFFF_FFFF).to_bytes(4, "little")
        assert received_ns[0] is not None
        self.memory[0x18:0x20] = (received_ns[0] + self.skew_ns).to_bytes(8, "little")

    def check_transition(self, new_state: int) -> int:
        return 0

    def snapshot(self) -> dict[str, int | None]:
        return {}

    def _number(self, offset: int, length: int) -> int:
        return int.from_bytes(self.memory[offset : offset + length], "little")


LINE = bus(
    coupler(distributed_clock=True),
    inputs("plain", 4),
    drive("a", distributed_clock=True, sync0_shift_us=100),
    inputs("other", 8),
    drive("b", distributed_clock=True),
    distributed_clocks=True,
)
BRANCH = bus(
    coupler("k", distributed_clock=True),
    drive("side1", distributed_clock=True, parent="k", port=3),
    inputs("side2", 8),
    drive("main1", distributed_clock=True, parent="k", port=1),
    drive("main2", distributed_clock=True),
    distributed_clocks=True,
)
TREE = bus(
    coupler("k1", distributed_clock=True),
    inputs("k2", 4, distributed_clock=True, parent="k1", port=1),
    drive("up1", distributed_clock=True, parent="k2", port=3),
    drive("up2", distributed_clock=True, parent="up1", port=1),
    drive("down", distributed_clock=True, parent="k2", port=1),
    inputs("side", 8, parent="k2", port=2),
    drive("last", distributed_clock=True, parent="k1", port=2),
    distributed_clocks=True,
)


def _cell(spec: EthercatBusSpec) -> tuple[Cell, dict[str, OffsetClock]]:
    cell = Cell(spec)
    clocks = {}
    for number, device in enumerate(spec.devices):
        if device.distributed_clock:
            clock = clocks[device.label] = OffsetClock(10**9 + 3_333_333_333 * number)
            cell.segment[device.label].set_window(clock)
    return cell, clocks


def _arrivals(cell: Cell) -> dict[str, int]:
    """Return when a frame reaches each SubDevice, after the first."""
    receive = cell.segment.topology.route(0).receive_ns
    first = receive[0][0]
    assert first is not None
    found = {}
    for number, device in enumerate(cell.segment.subdevices):
        at_ns = receive[number][0]
        assert at_ns is not None
        found[device.label] = at_ns - first
    return found


@pytest.mark.verifies("REQ_0318", "REQ_8106")
@pytest.mark.parametrize("spec", [LINE, BRANCH, TREE], ids=["line", "branch", "tree"])
def test_delays_and_offsets_make_all_clocks_show_one_time(spec: EthercatBusSpec) -> None:
    cell, clocks = _cell(spec)

    cell.run(cell.main.bring_up())

    arrivals = _arrivals(cell)
    for label, clock in clocks.items():
        delay_ns = int.from_bytes(clock.memory[0x28:0x2C], "little")
        assert delay_ns == arrivals[label]
    now_ns = cell.world.now_ns()
    times = [clock.system_ns(now_ns) for clock in clocks.values()]
    assert max(times) == min(times)
    assert abs(times[0] - (cell.world.unix_ns() - EPOCH_2000_NS)) < 1_000_000


@pytest.mark.realizes("TEST_0208", "TEST_0224")
@pytest.mark.verifies("REQ_0318", "REQ_0330")
def test_the_clocks_are_set_up_once_per_bring_up_between_pre_op_and_safe_op() -> None:
    cell, _clocks = _cell(LINE)

    cell.run(cell.main.bring_up())

    def places(command: Command, register: int) -> list[int]:
        return [at for at, each in enumerate(cell.sent) if (each.command, each.ado) == (command, register)]

    states = {
        state: next(at for at, each in enumerate(cell.sent) if each.ado == 0x0120 and each.data == bytes((state, 0)))
        for state in (AlState.PRE_OP, AlState.SAFE_OP)
    }
    (latch,) = places(Command.BWR, 0x0900)
    assert states[AlState.PRE_OP] < latch < states[AlState.SAFE_OP]
    assert len(places(Command.FPWR, 0x0920)) == len(places(Command.FPWR, 0x0928)) == 3
    assert max(places(Command.FPWR, 0x0920)) < states[AlState.SAFE_OP]

    cell.sent.clear()
    cell.cycles(5)
    assert [each.command for each in cell.sent if each.command >= Command.LRD] == [Command.LRW, Command.FRMW] * 5
    assert {each.address for each in cell.sent if each.command == Command.FRMW} == {0x1000 | 0x0910 << 16}


@pytest.mark.verifies("REQ_8106")
def test_sync0_begins_on_the_grid_of_the_cycle_with_its_shift_where_it_is_asked_for() -> None:
    cell, clocks = _cell(LINE)

    cell.run(cell.main.bring_up())

    start_ns = int.from_bytes(clocks["a"].memory[0x90:0x98], "little")
    assert start_ns % 1_000_000 == 100_000
    assert start_ns > clocks["a"].system_ns(cell.world.now_ns()), "a start in the past would never come"
    assert int.from_bytes(clocks["a"].memory[0xA0:0xA4], "little") == 1_000_000
    assert (clocks["a"].memory[0x81], clocks["b"].memory[0x81]) == (3, 0)


def _station(address: int, ports: tuple[int, ...], *times: int, **more: Any) -> ClockStation:
    return ClockStation(address, more.get("has_clock", True), ports, (*times, *[0] * (4 - len(times))))  # type: ignore[arg-type]


@pytest.mark.verifies("REQ_8106")
def test_delays_survive_receive_times_that_wrap() -> None:
    wrap = 1 << 32
    stations = [
        _station(1, (1,), wrap - 50, 1950),
        _station(2, (1,), wrap - 500, 500),
        _station(3, (), 77),
    ]

    assert measured_delays(stations) == {1: 0, 2: 500, 3: 1000}
