"""Distributed clocks as the simulated MainDevice sets them up: delays, offsets, SYNC0; it models no clock.

The delay of a SubDevice is that of its parent, plus what the frame spent inside and behind the parent before it was
sent on, plus half of what parent and child disagree about the time it was away. Without a clock a SubDevice has no
receive times: where one branches the line, its branches cannot be told apart, and delays behind it are off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from taktora.ethercat.driver import Steps
from taktora_sim.ethercat.frame import Command, Datagram, station_address
from taktora_sim.ethercat.wire import Wire

__all__ = ["ClockStation", "measured_delays", "start_clocks", "start_sync0"]

EPOCH_2000_NS: Final = 946_684_800_000_000_000
"""2000-01-01T00:00:00Z in Unix time: zero of the system time."""

_DL_STATUS: Final = 0x0110
_RECEIVE_TIMES: Final = 0x0900
_SYSTEM_TIME: Final = 0x0910
_UNIT_RECEIVE_TIME: Final = 0x0918
_OFFSET: Final = 0x0920
_DELAY: Final = 0x0928
_DIFFERENCE: Final = 0x092C
_SPEED_START: Final = 0x0930
_OWNER: Final = 0x0980
_ACTIVATION: Final = 0x0981
_START_TIME: Final = 0x0990
_SYNC0_CYCLE: Final = 0x09A0

_PORT_ORDER: Final = (3, 1, 2)
"""Ports behind the processing unit, in the order in which a frame leaves through them."""
_U32: Final = 0xFFFF_FFFF
_ROUNDS: Final = 1000
_ROUNDS_BETWEEN_LOOKS: Final = 50
_GOOD_DIFFERENCE_NS: Final = 100
_SYNC_LEAD_NS: Final = 100_000_000


@dataclass(slots=True)
class ClockStation:
    """One SubDevice, as far as clocks are concerned, in bus order.

    ``ports`` are those that a frame leaves through, in its order; ``times`` the receive times by port, 32 bits.
    """

    address: int
    has_clock: bool
    ports: tuple[int, ...] = ()
    times: tuple[int, int, int, int] = (0, 0, 0, 0)
    parent: int | None = field(default=None, init=False)
    parent_port: int = field(default=0, init=False)


def start_clocks(wire: Wire, stations: Sequence[ClockStation], system_time_ns: int) -> Steps[int | None]:
    """Measure delays, set offsets, let the clocks settle; return the address of the reference clock, None without one.

    Args:
        wire: The way to the SubDevices.
        stations: All SubDevices in bus order.
        system_time_ns: Time since 2000-01-01 that the reference clock is to show from now on.
    """
    clocks = [station for station in stations if station.has_clock]
    if not clocks:
        return None
    yield from wire.write_all((_RECEIVE_TIMES, bytes(4)))
    for station, status in zip(
        stations, (yield from wire.read_each([each.address for each in stations], _DL_STATUS, 2)), strict=True
    ):
        word = int.from_bytes(status or b"", "little")
        station.ports = tuple(port for port in _PORT_ORDER if word >> 8 + 2 * port & 3 == 2)
    addresses = [station.address for station in clocks]
    for station, times in zip(clocks, (yield from wire.read_each(addresses, _RECEIVE_TIMES, 16)), strict=True):
        content = times or bytes(16)
        first, second, third, fourth = (int.from_bytes(content[at : at + 4], "little") for at in range(0, 16, 4))
        station.times = (first, second, third, fourth)
    delays = measured_delays(stations)
    local = yield from wire.read_each(addresses, _UNIT_RECEIVE_TIME, 8)
    for station, received in zip(clocks, local, strict=True):
        delay_ns = delays[station.address]
        offset = system_time_ns + delay_ns - int.from_bytes(received or b"", "little")
        yield from wire.write(station.address, _OFFSET, (offset & (1 << 64) - 1).to_bytes(8, "little"))
        yield from wire.write(station.address, _DELAY, delay_ns.to_bytes(4, "little"))
        yield from wire.write(station.address, _SPEED_START, b"\x00\x10")
    yield from _settle(wire, addresses)
    return addresses[0]


def measured_delays(stations: Sequence[ClockStation]) -> dict[int, int]:
    """Return the delay from the reference clock to each SubDevice with a clock, by address, in ns."""
    _find_parents(stations)
    delays: dict[int, int] = {}
    for number, station in enumerate(stations):
        if not station.has_clock:
            continue
        found = _clock_parent(stations, number)
        if found is None:
            delays[station.address] = 0
            continue
        parent, port = stations[found[0]], found[1]
        before = _port_before(parent, port)
        away = parent.times[port] - parent.times[before] & _U32
        inside = station.times[station.ports[-1]] - station.times[0] & _U32 if station.ports else 0
        until_sent = parent.times[before] - parent.times[0] & _U32
        delays[station.address] = delays[parent.address] + until_sent + max(0, away - inside) // 2
    return delays


def _find_parents(stations: Sequence[ClockStation]) -> None:
    """Hang each SubDevice on the nearest one before it that still has an open port."""
    free: list[tuple[int, list[int]]] = []
    for number, station in enumerate(stations):
        while free and not free[-1][1]:
            free.pop()
        if free:
            station.parent = free[-1][0]
            station.parent_port = free[-1][1].pop(0)
        free.append((number, list(station.ports)))


def _clock_parent(stations: Sequence[ClockStation], number: int) -> tuple[int, int] | None:
    """Return the nearest SubDevice upwards that has a clock, and the port of it that leads here."""
    at = number
    while (parent := stations[at].parent) is not None:
        if stations[parent].has_clock:
            return parent, stations[at].parent_port
        at = parent
    return None


def _port_before(station: ClockStation, port: int) -> int:
    """Return the port through which the frame came in before it left through ``port``."""
    place = station.ports.index(port)
    return station.ports[place - 1] if place else 0


def _settle(wire: Wire, addresses: Sequence[int]) -> Steps[None]:
    """Distribute the reference clock until all agree, or for a thousand rounds."""
    relay = Datagram(Command.FRMW, station_address(addresses[0], _SYSTEM_TIME), bytes(8))
    for _ in range(0, _ROUNDS, _ROUNDS_BETWEEN_LOOKS):
        for _round in range(_ROUNDS_BETWEEN_LOOKS):
            yield from wire.send([relay])
        differences = yield from wire.read_each(addresses, _DIFFERENCE, 4)
        found = [int.from_bytes(each or b"", "little") & 0x7FFF_FFFF for each in differences]
        if max(found) <= _GOOD_DIFFERENCE_NS:
            return


def start_sync0(wire: Wire, address: int, cycle_ns: int, shift_ns: int) -> Steps[None]:
    """Have a SubDevice give SYNC0 in every cycle, ``shift_ns`` after its start, from about 100 ms on."""
    yield from wire.write(address, _ACTIVATION, b"\0")
    yield from wire.write(address, _OWNER, b"\0")
    now = yield from wire.read(address, _SYSTEM_TIME, 8)
    earliest_ns = int.from_bytes(now or b"", "little") + _SYNC_LEAD_NS
    start_ns = -(-earliest_ns // cycle_ns) * cycle_ns + shift_ns
    yield from wire.write(address, _START_TIME, start_ns.to_bytes(8, "little"))
    yield from wire.write(address, _SYNC0_CYCLE, cycle_ns.to_bytes(4, "little"))
    yield from wire.write(address, _ACTIVATION, b"\x03")
