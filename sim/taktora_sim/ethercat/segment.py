"""A simulated EtherCAT segment: frames in, frames out, processed by all SubDevices in ring order; it is no MainDevice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from taktora_sim.ethercat.subdevice import SubDevice

if TYPE_CHECKING:
    from taktora_sim.world import World

__all__ = ["Arrival", "SimulatedSegment"]

_FORWARDING_NS = 600
"""One SubDevice, there and back, with its cable."""


class Arrival(NamedTuple):
    """A frame that comes back: its bytes, how long after it was sent, and at which interface (0, or 1 of a ring)."""

    data: bytes
    after_ns: int
    interface: int = 0


class SimulatedSegment:
    """The SubDevices of one bus, in bus order.

    Args:
        world: Time, timers, faults and trace.
        name: Name of the bus; path ``ethercat/<name>``.
        subdevices: In bus order; topology by ``DeviceSpec.parent`` and ``port``.
    """

    def __init__(self, world: World, name: str, subdevices: Sequence[SubDevice]) -> None:
        self.world = world
        self.name = name
        self.path = f"ethercat/{name}"
        self.subdevices = tuple(subdevices)

    def frame(self, data: bytes) -> bytes | None:
        """Return the answer to one Ethernet frame sent now, None when it is lost (or late: see :meth:`arrivals`)."""
        arrived = self.arrivals(data)
        return arrived[0].data if arrived else None

    def arrivals(self, data: bytes) -> list[Arrival]:
        """Return all that comes back for one frame sent now: nothing, one frame, or more; late ones say so."""
        return [Arrival(data, self.round_ns(len(data)))]

    def round_ns(self, frame_bytes: int) -> int:
        """Return how long a frame of ``frame_bytes`` (from destination MAC, without FCS) takes there and back."""
        return (max(frame_bytes, 60) + 4 + 20) * 80 + len(self.subdevices) * _FORWARDING_NS
