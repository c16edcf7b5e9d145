"""How the SubDevices of a simulated segment are wired, and the way a frame takes through them; it processes nothing.

Inside an ESC a frame passes port 0, the processing unit, then ports 3, 1 and 2, and leaves by port 0 again (Beckhoff
ESC datasheet, section I). A port without link, or closed by loop control, is passed by. A frame that passes a closed
port 0 gets the circulating bit; one that has it already is destroyed there.

Simplified: a frame takes as long from any port to the next, through the processing unit or past it. That is what a
MainDevice assumes when it halves the way there and back to get a delay; an ET1100 is 40 ns faster past the unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from taktora.errors import ConfigurationError
from taktora_sim.ethercat.esc import LOST_LINKS, PortTimes
from taktora_sim.ethercat.subdevice import SubDevice

__all__ = ["Link", "Route", "Topology"]

_NEXT = {0: 3, 3: 1, 1: 2, 2: 0}
_PASSAGE_NS = 320
_CABLE_NS = 50
_CLOSED = 3
_PORTS = 4
_END = -1
"""Index of the MainDevice among the SubDevices."""


class Link:
    """One cable, from a port of ``upper`` (or interface of the MainDevice, index -1) to a port of ``lower``."""

    __slots__ = ("cuts", "lower", "lower_port", "upper", "upper_port", "was_up")

    def __init__(self, upper: int, upper_port: int, lower: int, lower_port: int) -> None:
        self.upper = upper
        self.upper_port = upper_port
        self.lower = lower
        self.lower_port = lower_port
        self.cuts = 0
        self.was_up = False


class Route(NamedTuple):
    """The way of a frame.

    Args:
        order: SubDevices in the order in which they process it.
        interface: Where it comes out; -1 when it is destroyed on the way.
        delay_ns: Time on the way, without its own length.
        circulates: It passes a closed port 0 on the way.
        receive_ns: Receive time at ports 0 to 3 of each SubDevice on the way, since it was sent.
    """

    order: tuple[SubDevice, ...]
    interface: int
    delay_ns: int
    circulates: bool
    receive_ns: dict[int, PortTimes]


# req: REQ_8107
class Topology:
    """Links and ports.

    Args:
        subdevices: In bus order, wired as ``parent`` and ``port`` of their specification say.
        has_ring: The last one is connected to a second interface of the MainDevice.

    Raises:
        ConfigurationError: an unknown parent, a port used twice, or an order that is not the one on the bus.
    """

    def __init__(self, subdevices: Sequence[SubDevice], *, has_ring: bool) -> None:
        self.subdevices = tuple(subdevices)
        self.links: list[Link] = []
        self._at: dict[tuple[int, int], Link] = {}
        self.bridged: set[int] = set()
        """SubDevices that a frame passes without being processed."""
        for index in range(len(self.subdevices)):
            self._connect(index)
        if has_ring and self.subdevices:
            self._add(Link(_END, 1, self._last_of_line(), 1))
        if [device.label for device in self.route(0, wired=True).order] != [each.label for each in self.subdevices]:
            found = ", ".join(device.label for device in self.route(0, wired=True).order)
            msg = f"a frame meets the SubDevices in the order {found}: list them so, or give them other ports"
            raise ConfigurationError(f"{msg} (ports are passed in the order 3, 1, 2)")
        for link in self.links:
            if link.lower >= 0 and link.lower_port == 0 and self.subdevices[link.lower].has_hot_connect:
                link.cuts = 1
        self.refresh()

    def link_at(self, index: int, port: int) -> Link | None:
        """Return the cable at a port of SubDevice ``index``."""
        return self._at.get((index, port))

    def cut(self, link: Link) -> None:
        """Cut the cable; cuts add up."""
        link.cuts += 1
        self.refresh()

    def heal(self, link: Link) -> None:
        """Take back one cut."""
        link.cuts = max(0, link.cuts - 1)
        self.refresh()

    def is_up(self, link: Link) -> bool:
        """Return whether both ends see each other."""
        if link.cuts:
            return False
        return all(index == _END or self.subdevices[index].is_powered for index in (link.upper, link.lower))

    def refresh(self) -> None:
        """Show the state of the links in DL status, and count the ones that were lost."""
        for link in self.links:
            is_up = self.is_up(link)
            if link.was_up and not is_up:
                for index, port in ((link.upper, link.upper_port), (link.lower, link.lower_port)):
                    if index != _END and self.subdevices[index].is_powered:
                        self.subdevices[index].esc.count_error(LOST_LINKS + port)
            link.was_up = is_up
        for index, device in enumerate(self.subdevices):
            if device.is_powered:
                device.esc.set_dl_status(self._dl_status(index))

    def route(self, interface: int, *, wired: bool = False) -> Route:
        """Return the way of a frame sent from ``interface`` (0, or 1 of a ring).

        Args:
            interface: Interface of the MainDevice.
            wired: As if every link was up.
        """
        start = self._at.get((_END, interface))
        if start is None or not (wired or self.is_up(start)):
            return Route((), _END, 0, circulates=False, receive_ns={})
        return _Walk(self, wired=wired).follow(start)

    def is_open(self, index: int, port: int, *, wired: bool) -> bool:
        """Return whether a frame leaves SubDevice ``index`` by ``port``."""
        link = self._at.get((index, port))
        if link is None:
            return False
        return wired or (self.is_up(link) and self.subdevices[index].esc.loop_control[port] != _CLOSED)

    def _dl_status(self, index: int) -> int:
        status = 0x0001 if self.subdevices[index].is_configured else 0
        for port in range(_PORTS):
            link = self._at.get((index, port))
            if link is not None and self.is_up(link):
                status |= 0x10 << port
            is_open = self.is_open(index, port, wired=False)
            status |= (0x200 if is_open else 0x100) << 2 * port
        return status

    def _connect(self, index: int) -> None:
        spec = self.subdevices[index].spec
        parent = index - 1 if spec.parent is None else self._find(spec.label, spec.parent, index)
        if parent == _END:
            self._add(Link(_END, 0, index, 0))
        else:
            port = spec.port if spec.port is not None else self._free_port(parent, index)
            self._add(Link(parent, port, index, 0))

    def _find(self, label: str, parent: str, before: int) -> int:
        for index in range(before):
            if self.subdevices[index].label == parent:
                return index
        raise ConfigurationError(f"device {label!r}: parent {parent!r} is no SubDevice in front of it")

    def _free_port(self, parent: int, child: int) -> int:
        """Return the port behind those in use: what is listed later is met later."""
        for port in (1, 2) if (parent, 1) not in self._at else (2,):
            if (parent, port) not in self._at:
                return port
        labels = self.subdevices[parent].label, self.subdevices[child].label
        raise ConfigurationError(f"device {labels[1]!r}: no port of {labels[0]!r} is left for it; give it a port")

    def _last_of_line(self) -> int:
        index = 0
        while (link := self._at.get((index, 1))) is not None:
            index = link.lower
        return index

    def _add(self, link: Link) -> None:
        for key in ((link.upper, link.upper_port), (link.lower, link.lower_port)):
            if key in self._at:
                label = self.subdevices[link.lower].label
                raise ConfigurationError(f"device {label!r}: port {key[1]} in front of it is taken; give it another")
            self._at[key] = link
        self.links.append(link)


class _Walk:
    """Follows one frame."""

    def __init__(self, topology: Topology, *, wired: bool) -> None:
        self._topology = topology
        self._wired = wired
        self._order: list[SubDevice] = []
        self._receive: dict[int, list[int | None]] = {}
        self._time_ns = 0
        self._circulates = False

    def follow(self, link: Link) -> Route:
        """Walk from the MainDevice until the frame comes back or is destroyed."""
        interface = _END
        here = _END
        leaving: Link | None = link
        while leaving is not None:
            self._time_ns += _CABLE_NS
            is_down = here == leaving.upper
            here, port = (leaving.lower, leaving.lower_port) if is_down else (leaving.upper, leaving.upper_port)
            if here == _END:
                interface = port
                break
            leaving = self._pass_through(here, port)
        receive = {index: (times[0], times[1], times[2], times[3]) for index, times in self._receive.items()}
        return Route(tuple(self._order), interface, self._time_ns, self._circulates, receive)

    def _pass_through(self, index: int, port: int) -> Link | None:
        """Return the link by which the frame leaves; None when it is destroyed."""
        topology = self._topology
        self._receive.setdefault(index, [None] * _PORTS)[port] = self._time_ns
        self._time_ns += _PASSAGE_NS
        if not topology.is_open(index, port, wired=self._wired):
            return None
        if port == 0:
            self._process(index)
        while True:
            port = _NEXT[port]
            if topology.is_open(index, port, wired=self._wired):
                return topology.link_at(index, port)
            if port == 0:
                if self._circulates:
                    return None
                self._circulates = True
                self._process(index)

    def _process(self, index: int) -> None:
        if index not in self._topology.bridged:
            self._order.append(self._topology.subdevices[index])
