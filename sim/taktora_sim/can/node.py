"""A node of the simulated CAN bus: its transmit queue, its host's sockets and its faults; it knows no other node.

Modelled: a host network interface with a first-in-first-out transmit queue (10 frames by default, the one on the wire
included; a full queue is ENOBUFS), sockets with kernel filters, loopback to the node's other sockets, no own messages
by default, the interface taken down and up (queue lost, sockets told once, reopening refused meanwhile).
Simplified: the socket's receive buffer is not bounded, since its listener is a bounded bridge.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from taktora.can.filter import ACCEPT_ALL, kernel_id, verdict_of
from taktora.can.interface import CanFilter, CanFrame, CanIfaceState, CanInterfaceListener
from taktora.errors import BackPressure, ConfigurationError, LinkDown, PayloadOverflow, StackError
from taktora_sim.can.faults import NodeFaults
from taktora_sim.can.timing import arbitration_key

if TYPE_CHECKING:
    from taktora_sim.can.bus import SimulatedCanBus

__all__ = ["CanNode", "Pending", "SimulatedCanInterface", "Transmission"]


_pack_head = struct.Struct("<IB").pack
# What a NamedTuple's own constructor does in the end, in half the time; for what is made once per frame.
_new_tuple = tuple.__new__


class Pending(NamedTuple):
    """A frame in a transmit queue.

    Args:
        rank: In arbitration, the lowest wins.
        frame: The frame.
        queued_at_ns: When it came.
        origin: The socket it came from.
        hidden: No other node is to receive it.
        rx_id: Its identifier word, as kernel filters compare it.
    """

    rank: int
    frame: CanFrame
    queued_at_ns: int
    origin: SimulatedCanInterface | None
    hidden: bool
    rx_id: int


class Transmission(NamedTuple):
    """The frame on the wire."""

    start_ns: int
    bits: int
    frame: CanFrame
    hidden: bool
    senders: list[CanNode]
    rx_id: int


@lru_cache(maxsize=4096)
def _ranked(can_id: int, extended: bool, remote: bool) -> tuple[int, int]:
    """Return what an identifier is on the wire and to the kernel: its rank in arbitration and its identifier word."""
    frame = CanFrame(can_id, b"", extended, remote)
    return arbitration_key(can_id, extended, remote), kernel_id(frame)


class CanNode:
    """One controller and the host interface behind it; made by ``SimulatedCanBus.node``."""

    def __init__(self, bus: SimulatedCanBus, name: str, queue_length: int) -> None:
        if queue_length < 1:
            raise ConfigurationError(f"CAN node {name!r}: queue length {queue_length} is below 1")
        self.bus = bus
        self.name = name
        self.queue_length = queue_length
        self.sent = 0
        """Frames completed on the bus."""
        self.longest_wait_ns = 0
        """Longest time between queueing a frame and its start of frame."""
        self.is_up = True
        self.held_back = 0
        """Frames that a delay fault keeps; they take their place in the queue already."""
        self.queue: deque[Pending] = deque()
        """Frames in the controller, the one on the wire in front."""
        self._now_ns = bus.world.now_ns
        self.sockets: tuple[SimulatedCanInterface, ...] = ()
        """Open sockets, oldest first."""
        self.room_wanted: list[Callable[[], None]] = []
        """Whom to call once when the queue has room again."""
        self._on_wire: Pending | None = None
        self._sender: SimulatedCanInterface | None = None
        self._record = bus.world.trace.channel(self.path, "frame")
        self.faults = NodeFaults(self)

    @property
    def path(self) -> str:
        """Component path: ``can/<bus>/<node>``."""
        return f"{self.bus.path}/{self.name}"

    @property
    def queued(self) -> int:
        """Frames waiting, the one on the wire included."""
        return len(self.queue) + self.held_back

    def interface(self, name: str | None = None, *, receive_own: bool = False) -> SimulatedCanInterface:
        """Return a new socket on this node; ``name`` is what it calls its interface (default: the node's name)."""
        return SimulatedCanInterface(self, name or self.name, receive_own)

    def transmit(self, frame: CanFrame, origin: SimulatedCanInterface | None = None) -> None:
        """Queue one frame.

        Raises:
            BackPressure: the transmit queue is full (ENOBUFS).
            LinkDown: the interface is down.
            PayloadOverflow: more than 8 data bytes.
        """
        if len(frame.data) > 8:
            raise PayloadOverflow(len(frame.data), 8, f"a classical CAN frame on {self.path}")
        if not self.is_up:
            raise LinkDown(f"{self.path}: interface is down (ENETDOWN); bring it up, then open it again")
        if len(self.queue) + self.held_back >= self.queue_length:
            raise BackPressure(
                f"{self.path}: transmit queue of {self.queue_length} frames is full (ENOBUFS); send again later"
            )
        self.faults.submit(frame._replace(timestamp_ns=0) if frame.timestamp_ns else frame, origin)

    def enqueue(self, frame: CanFrame, origin: SimulatedCanInterface | None, hidden: bool = False) -> None:
        """Put a frame at the end of the queue; called once the faults have let it through."""
        if self.is_up:
            can_id, _, extended, remote, _, _, _, _, _ = frame
            rank, rx_id = _ranked(can_id, extended, remote)
            now_ns = self._now_ns()
            self.queue.append(_new_tuple(Pending, (rank, frame, now_ns, origin, hidden, rx_id)))
            if self.bus.is_quiet:
                self.bus.request(now_ns)

    def set_up(self, is_up: bool) -> None:
        """Take the host interface down (queue lost, every open socket told) or up again."""
        if is_up == self.is_up:
            return
        self.is_up = is_up
        if not is_up:
            self.queue.clear()
            if self._on_wire is not None:
                self.queue.append(self._on_wire)
            for socket in self.sockets:
                socket.go_down("interface is down (ENETDOWN)")

    def begin_transmission(self, now_ns: int) -> Pending:
        """Put the head on the wire; called by the bus."""
        self._on_wire = head = self.queue[0]
        waited_ns = now_ns - head.queued_at_ns
        if waited_ns > self.longest_wait_ns:
            self.longest_wait_ns = waited_ns
        return head

    def complete(self, frame: CanFrame, rx_id: int) -> None:
        """Trace the frame that was on the wire to its end, and drop it from the queue; called by the bus.

        The trace holds the identifier word (u32 little-endian), length or remote DLC (u8) and the data.
        """
        _, data, _, remote, dlc, _, _, _, _ = frame
        self._record(_pack_head(rx_id, dlc if remote else len(data)) + data)
        self._on_wire = None
        self.sent += 1
        self._sender = self.queue.popleft().origin

    def receive(self, frame: CanFrame, rx_id: int) -> None:
        """Give a frame from the bus to every open socket whose filters pass it."""
        if self.is_up:
            for socket in self.sockets:
                socket.deliver(frame, rx_id)

    def loop_back(self, frame: CanFrame, rx_id: int) -> None:
        """Give the frame just sent to the node's other sockets, and to its sender if that asked for own messages."""
        sender = self._sender
        for socket in self.sockets:
            if socket is not sender or socket.receive_own:
                socket.deliver(frame, rx_id)

    def announce_room(self) -> None:
        """Tell sockets that met a full queue; called after a frame has left it."""
        wanted, self.room_wanted = self.room_wanted, []
        for callback in wanted:
            callback()

    def want_room(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called once when the queue has room again."""
        if callback not in self.room_wanted:
            self.room_wanted.append(callback)

    def attach(self, socket: SimulatedCanInterface) -> None:
        """Open a socket."""
        self.sockets = (*self.sockets, socket)

    def detach(self, socket: SimulatedCanInterface) -> None:
        """Close a socket; its queued frames are still sent, as a kernel does."""
        self.sockets = tuple(other for other in self.sockets if other is not socket)


class SimulatedCanInterface:
    """A raw socket on a simulated node; a ``CanInterface``."""

    def __init__(self, node: CanNode, name: str, receive_own: bool = False) -> None:
        self.node = node
        self.receive_own = receive_own
        self._name = name
        self._state = CanIfaceState.CLOSED
        self._listener: CanInterfaceListener | None = None
        self._passes = verdict_of(ACCEPT_ALL)
        self._on_room: Callable[[], None] | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def state(self) -> CanIfaceState:
        return self._state

    @property
    def carries_fd(self) -> bool:
        return False

    def open(self, listener: CanInterfaceListener) -> None:
        """Open a new socket: filters start as the kernel's accept-all."""
        self.close()
        if not self.node.is_up:
            raise StackError(f"CAN interface {self._name!r}: interface is down (ENETDOWN); bring it up and open again")
        self._listener = listener
        self._passes = verdict_of(ACCEPT_ALL)
        self._state = CanIfaceState.ACTIVE
        self.node.attach(self)

    def send(self, frame: CanFrame) -> None:
        if self._state is not CanIfaceState.ACTIVE:
            raise LinkDown(f"CAN interface {self._name!r} is {self._state.value}; open it before sending")
        try:
            self.node.transmit(frame, self)
        except BackPressure:
            self.node.want_room(self._tell_room)
            raise

    def set_filters(self, filters: Sequence[CanFilter]) -> None:
        self._passes = verdict_of(filters)

    def on_transmit_ready(self, callback: Callable[[], None] | None) -> None:
        self._on_room = callback

    def close(self) -> None:
        self._state = CanIfaceState.CLOSED
        self._listener = None
        self.node.detach(self)

    def deliver(self, frame: CanFrame, rx_id: int) -> None:
        """Hand over one frame if the filters pass its identifier word; called by the node."""
        if self._listener is not None and self._passes(rx_id):
            self._listener.on_frame(frame)

    def go_down(self, reason: str) -> None:
        """Tell the listener once that the interface went down; called by the node."""
        listener = self._listener
        self._state = CanIfaceState.DOWN
        if listener is not None:
            listener.on_state(CanIfaceState.DOWN, reason)

    def _tell_room(self) -> None:
        if self._on_room is not None:
            self._on_room()
