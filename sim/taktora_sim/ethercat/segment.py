"""A simulated EtherCAT segment: frames in, frames out, processed by its SubDevices in ring order; it is no MainDevice.

Modelled: everything a MainDevice can see of registers, process data, mailboxes, topology and link loss.
Simplified: a frame is processed as a whole at the instant at which it is sent; only distributed clocks see the time
that it takes from one SubDevice to the next, and those as for a frame from interface 0. No bit errors: what is damaged
is injected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from taktora.errors import ConfigurationError
from taktora_sim.ethercat.esc import FrameWork
from taktora_sim.ethercat.faults import SegmentFaults, SubDeviceFaults
from taktora_sim.ethercat.frame import ETHERTYPE, HEADER_BYTES
from taktora_sim.ethercat.processing import FrameProcessor
from taktora_sim.ethercat.subdevice import SubDevice
from taktora_sim.ethercat.topology import Route, Topology

if TYPE_CHECKING:
    from taktora_sim.world import World

__all__ = ["Arrival", "Observer", "SimulatedSegment"]

_NS_PER_BYTE = 80
_PREAMBLE_FCS_GAP = 8 + 4 + 12
_MIN_FRAME = 60
_LOCAL_BIT = 0x02
# What a NamedTuple's own constructor does in the end, in half the time; for what is made once per frame.
_new_tuple = tuple.__new__


class Arrival(NamedTuple):
    """A frame that comes back: its bytes, how long after it was sent, and at which interface (0, or 1 of a ring)."""

    data: bytes
    after_ns: int
    interface: int = 0


Observer = Callable[[int, bytes, bool], None]
"""Told of each frame: virtual time in ns at which it is sent or comes back, bytes, whether it comes back."""


# req: REQ_8100, REQ_8107
class SimulatedSegment:
    """The SubDevices of one bus.

    Args:
        world: Time, timers, faults and trace.
        name: Name of the bus; path ``ethercat/<name>``.
        subdevices: In bus order; topology by ``DeviceSpec.parent`` and ``port``.
        has_ring: The last SubDevice of the line is connected to a second interface of the MainDevice (1).

    Raises:
        ConfigurationError: two SubDevices of one label, or a topology that cannot be.
    """

    def __init__(self, world: World, name: str, subdevices: Sequence[SubDevice], *, has_ring: bool = False) -> None:
        self.world = world
        self.name = name
        self.path = f"ethercat/{name}"
        self.subdevices = tuple(subdevices)
        self.frames = 0
        """Frames sent so far."""
        self.topology = Topology(self.subdevices, has_ring=has_ring)
        self._by_label = {device.label: device for device in self.subdevices}
        if len(self._by_label) != len(self.subdevices):
            raise ConfigurationError(f"{self.path}: two SubDevices have the same label; give each its own")
        self._shared = FrameWork()
        self._observers: list[Observer] = []
        self._note = world.trace.channel(self.path, "frame")
        self._routes: list[tuple[Route, FrameProcessor]] = []
        for device in self.subdevices:
            device.esc.shared = self._shared
            device.on_loops = self._loops_changed
        self.faults = SegmentFaults(self)
        self.device_faults = {device.label: SubDeviceFaults(self, device) for device in self.subdevices}
        self._counters = self._find_counters()
        self._rewire()

    def __getitem__(self, label: str) -> SubDevice:
        """Return the SubDevice ``label``; KeyError when there is none."""
        return self._by_label[label]

    def frame(self, data: bytes) -> bytes | None:
        """Return the answer to one Ethernet frame sent now from interface 0.

        None: it was lost, comes late (see :meth:`arrivals`), or has come out at the other end of the ring.
        """
        round_ns = self.round_ns(len(data))
        for arrival in self.arrivals(data):
            if not arrival.interface and arrival.after_ns <= round_ns:
                return arrival.data
        return None

    def arrivals(self, data: bytes, interface: int = 0) -> list[Arrival]:
        """Return all that comes back for one frame sent now: nothing, one frame, or more; late ones say so.

        Args:
            data: Ethernet frame without FCS; shorter than 60 bytes is taken as it is.
            interface: Interface of the MainDevice it is sent from; 1 is the other end of a ring.
        """
        self.frames += 1
        for count in self._counters:
            count()
        if self._observers:
            self._tell(self.world.now_ns(), data, is_reply=False)
        faults, note = self.faults, self._note
        if faults.effects:
            arrived = faults.apply(data, interface)
        else:
            arrival = self.carry(data, interface)
            arrived = [] if arrival is None else [arrival]
        if self._shared.waiting:
            self._finish()
        for reply, after_ns, _ in arrived:
            note(reply)
            faults.replies[len(reply)] = reply
            if self._observers:
                self._tell(self.world.now_ns() + after_ns, reply, is_reply=True)
        if not arrived:
            note()
        return arrived

    def carry(self, data: bytes, interface: int = 0) -> Arrival | None:
        """Let one frame through the SubDevices, without the faults of frames; None when it does not come back."""
        (order, comes_out_at, delay_ns, _, _), processor = self._routes[interface]
        if comes_out_at < 0 and not order:
            return None
        frame = bytearray(data)
        if not self._process(frame, processor) or comes_out_at < 0:
            return None
        return _new_tuple(Arrival, (bytes(frame), self._wire_ns(len(data)) + delay_ns, comes_out_at))

    def answer(self, reply: bytes) -> Arrival:
        """Return ``reply`` as if it came back from a frame of its length."""
        route = self._routes[0][0]
        return Arrival(reply, self._wire_ns(len(reply)) + route.delay_ns, max(route.interface, 0))

    def round_ns(self, frame_bytes: int) -> int:
        """Return how long a frame of ``frame_bytes`` (without FCS) takes there and back at 100 Mbit/s.

        With preamble, FCS and gap, cables, and the delay of each SubDevice on its way.
        """
        return self._wire_ns(frame_bytes) + self._routes[0][0].delay_ns

    def observe(self, observer: Observer) -> None:
        """Have ``observer`` told of each frame from now on."""
        self._observers.append(observer)

    def cut(self, label: str, port: int = 0) -> None:
        """Cut the cable at a port of a SubDevice; port 0 is the one towards the MainDevice. Cuts add up.

        Raises:
            ConfigurationError: there is no such SubDevice, or no cable at this port.
        """
        link = self.topology.link_at(self._index(label), port)
        if link is None:
            raise ConfigurationError(f"{self.path}/{label}: no cable at port {port}")
        self.topology.cut(link)
        self._rewire()

    def cabled_ports(self, label: str) -> tuple[int, ...]:
        """Return the ports of a SubDevice that a cable is at, cut or not."""
        index = self._index(label)
        return tuple(port for port in range(4) if self.topology.link_at(index, port) is not None)

    def heal(self, label: str, port: int = 0) -> None:
        """Take back one cut; this is how a device with ``hot_connect`` is connected. Raises as :meth:`cut`."""
        link = self.topology.link_at(self._index(label), port)
        if link is None:
            raise ConfigurationError(f"{self.path}/{label}: no cable at port {port}")
        self.topology.heal(link)
        self._rewire()

    def power_off(self, label: str) -> None:
        """Take the power of one SubDevice: it and all behind it is gone."""
        self._by_label[label].power_off()
        self._refresh_ports()

    def power_on(self, label: str) -> None:
        """Give it back: the SubDevice starts in INIT, with address 0."""
        self._by_label[label].power_on()
        self._refresh_ports()

    def bridge(self, label: str, *, is_bridged: bool) -> None:
        """Let frames pass a SubDevice without its seeing them, or end that."""
        index = self._index(label)
        (self.topology.bridged.add if is_bridged else self.topology.bridged.discard)(index)
        self._rewire()

    def forget_plans(self) -> None:
        """Have logical datagrams compiled anew, since a fault of the working counter has come or gone."""
        for _route, processor in self._routes:
            processor.wkc_offset = self.faults.wkc_offset
            processor.forget()

    def _index(self, label: str) -> int:
        device = self._by_label.get(label)
        if device is None:
            raise ConfigurationError(f"{self.path} has no SubDevice {label!r}; it has {', '.join(self._by_label)}")
        return self.subdevices.index(device)

    def _refresh_ports(self) -> None:
        self.topology.refresh()
        self._rewire()

    def _loops_changed(self) -> None:
        """Follow a write to DL control, once the frame has passed."""
        self._shared.waiting.append(self._refresh_ports)

    def _rewire(self) -> None:
        """Find the ways again."""
        self._routes = []
        for interface in (0, 1):
            route = self.topology.route(interface)
            self._routes.append((route, FrameProcessor(route.order, circulates=route.circulates, shared=self._shared)))
        self._shared.version += 1
        self._set_receive_times(self._routes[0][0])
        self.forget_plans()

    def _set_receive_times(self, route: Route) -> None:
        now_ns = self.world.now_ns
        for index, device in enumerate(self.subdevices):
            times = route.receive_ns.get(index, (0, None, None, None))
            arrival_ns = times[0] if times[0] is not None else min(each for each in times if each is not None)
            device.esc.set_receive_times(now_ns, times, arrival_ns)

    def _process(self, frame: bytearray, processor: FrameProcessor) -> bool:
        """Process a frame in place; False when it is destroyed."""
        if len(frame) < HEADER_BYTES or frame[12:14] != ETHERTYPE:
            if any(device.esc.destroys_foreign_frames for device in processor.order):
                return False
        elif frame[15] >> 4 == 1 and not processor.process(frame):
            return False
        if len(frame) > 6 and processor.order:
            frame[6] |= _LOCAL_BIT
        return True

    def _finish(self) -> None:
        """Let the SubDevices do what the frame has left them to do."""
        shared = self._shared
        waiting, shared.waiting, shared.at_ns = shared.waiting, [], self.world.now_ns()
        for finish in waiting:
            finish()

    def _wire_ns(self, frame_bytes: int) -> int:
        return (max(frame_bytes, _MIN_FRAME) + _PREAMBLE_FCS_GAP) * _NS_PER_BYTE

    def _tell(self, at_ns: int, data: bytes, *, is_reply: bool) -> None:
        for observer in self._observers:
            observer(at_ns, data, is_reply)

    def _find_counters(self) -> list[Callable[[], None]]:
        """Return who counts frames: the segment, and the SubDevices whose faults wait for a number of frames."""
        waiting = {entry.target for entry in self.world.faults.plan.entries if entry.frame is not None}
        targets = [faults.target for faults in self.device_faults.values() if faults.target.path in waiting]
        return [self.faults.target.count, *(target.count for target in targets)]
