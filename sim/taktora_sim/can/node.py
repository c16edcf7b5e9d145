"""A node of the simulated CAN bus: its controller, transmit queue, host's sockets and faults; it knows no other node.

Modelled: a host network interface with a bounded transmit queue (10 frames by default, the one on the wire included; a
full queue is ENOBUFS), first-in-first-out as SocketCAN has it or by identifier as the mailboxes of a controller;
loopback to the node's other sockets; the interface taken down and up (queue lost, sockets told once, reopening refused
meanwhile); bus-off as Linux has it: the carrier goes, what is queued or written is lost without a word until a restart
by hand or after ``restart_ms``; listen-only and one-shot controllers; error frames for every change of state, and for
every error on the wire and every lost arbitration where the node reports them.
Simplified: a restarted controller takes frames from its host at once and sends them when it has recovered; the host's
interface comes up with both error counters at zero, without any recovery.
"""

from __future__ import annotations

import struct
from bisect import insort_right
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from taktora.can.dlc import CLASSICAL_MAX_BYTES, FD_LENGTHS, check_room
from taktora.can.interface import CanErrorClass, CanErrorFrame, CanFrame
from taktora.errors import BackPressure, ConfigurationError, LinkDown, StackError
from taktora_sim.can.coding import Bits, coded
from taktora_sim.can.controller import Controller, ControllerState
from taktora_sim.can.errors import ALL_ERRORS, FrameLoss, controller_overflow, state_change
from taktora_sim.can.faults.board import NodeFaults
from taktora_sim.can.socket import SimulatedCanInterface
from taktora_sim.trace import Recorder

if TYPE_CHECKING:
    from taktora_sim.can.bus import SimulatedCanBus

__all__ = ["CanNode", "NodeOptions", "Pending", "SimulatedCanInterface"]

_pack_state = struct.Struct("<BHB").pack
_pack_loss = struct.Struct("<BI").pack
_FD_LENGTHS = frozenset(FD_LENGTHS)
_LENGTHS = ", ".join(map(str, FD_LENGTHS))
_LOSS_CODES = {loss: code for code, loss in enumerate(FrameLoss, 1)}


class NodeOptions(NamedTuple):
    """How one node differs from others; see ``SimulatedCanBus.node``."""

    queue_length: int = 10
    fd: bool = True
    restart_ms: int = 0
    listen_only: bool = False
    one_shot: bool = False
    bitrate: int | None = None
    data_bitrate: int | None = None
    queue_order: Literal["fifo", "id"] = "fifo"
    berr_reporting: bool = False
    report_lost_arbitration: bool = False


class Pending(msgspec.Struct):
    """A frame in a transmit queue; a struct, since a NamedTuple takes three times as long to make and to take apart.

    Args:
        rank: In arbitration, the lowest wins.
        node: Whose queue it is.
        frame: The frame.
        queued_at_ns: When it came.
        origin: The socket it came from.
        hidden: No other node is to receive it.
        rx_id: Its identifier word, as kernel filters compare it; that of a CAN FD frame has :data:`FD_WORD` added.
        bits: How long it is on the wire.
        record: What the trace says of it.
    """

    rank: int
    node: CanNode
    frame: CanFrame
    queued_at_ns: int
    origin: SimulatedCanInterface | None
    hidden: bool
    rx_id: int
    bits: Bits
    record: bytes


def _rank_of(pending: Pending) -> int:
    return pending.rank


class _Mailboxes(deque[Pending]):
    """A queue in the order of the identifiers; the frame on the wire stays in front."""

    def __init__(self, node: CanNode) -> None:
        super().__init__()
        self._node = node

    def append(self, pending: Pending, /) -> None:
        insort_right(self, pending, lo=1 if self and self._node.is_sending else 0, key=_rank_of)

    def settle(self) -> None:
        """Put the frame that was on the wire back in line."""
        ordered = sorted(self, key=_rank_of)
        self.clear()
        self.extend(ordered)


def _check(name: str, options: NodeOptions) -> None:
    """Refuse what no node can be.

    Raises:
        ConfigurationError: names the node, the option and what is allowed.
    """
    if options.queue_length < 1:
        raise ConfigurationError(f"CAN node {name!r}: queue length {options.queue_length} is below 1")
    if not name or "/" in name:
        raise ConfigurationError(f"CAN node name {name!r}: expected one without '/', which parts fault targets")
    if options.queue_order not in {"fifo", "id"}:
        raise ConfigurationError(f"CAN node {name!r}: queue_order {options.queue_order!r}; expected 'fifo' or 'id'")
    if options.restart_ms < 0:
        raise ConfigurationError(f"CAN node {name!r}: restart_ms {options.restart_ms} is below 0; 0 is by hand only")


class CanNode:
    """One controller and the host interface behind it; made by ``SimulatedCanBus.node``."""

    def __init__(self, bus: SimulatedCanBus, name: str, index: int, options: NodeOptions) -> None:
        _check(name, options)
        self.bus = bus
        self.name = name
        self.index = index
        """Its place among the nodes of its bus, by the order of their making."""
        self.options = options
        self.queue_length = options.queue_length
        self.sent = 0
        """Frames completed on the bus."""
        self.lost: dict[FrameLoss, int] = dict.fromkeys(FrameLoss, 0)
        """Frames that were accepted and never sent, by reason."""
        self.longest_wait_ns = 0
        """Longest time between queueing a frame and a start of that frame."""
        self.is_up = True
        self.is_bus_off_host = False
        """The host has no carrier: its controller went bus-off and nobody has restarted it."""
        self.is_suspended = False
        """Waits its eight bits more, as an error-passive node does that has just sent."""
        self.held_back = 0
        """Frames that a delay fault keeps; they take their place in the queue already."""
        self.queue: deque[Pending] = _Mailboxes(self) if options.queue_order == "id" else deque()
        """Frames in the controller, the one on the wire in front."""
        self.controller = Controller(self)
        self._bitrate = options.bitrate
        self._data_bitrate = options.data_bitrate
        self._is_taken = True
        """What is written reaches the controller; see :meth:`_settle`."""
        self._now_ns = bus.world.now_ns
        self.sockets: tuple[SimulatedCanInterface, ...] = ()
        """Open sockets, oldest first."""
        self.room_wanted: list[Callable[[], None]] = []
        """Whom to call once when the queue has room again."""
        self.on_up: list[Callable[[], None]] = []
        """Whom to call when the interface has come up again."""
        self.on_wire: Pending | None = None
        """Its head, while that is on the wire."""
        self._failed: tuple[Pending, int] | None = None
        self._overflows_due = 0
        self._sender: SimulatedCanInterface | None = None
        self._recorders: dict[str, Recorder] = {}
        self._record = bus.world.trace.channel(self.path, "frame")
        self._settle()
        self.faults = NodeFaults(self)

    @property
    def path(self) -> str:
        """Component path: ``can/<bus>/<node>``."""
        return f"{self.bus.path}/{self.name}"

    @property
    def queued(self) -> int:
        """Frames waiting, the one on the wire included."""
        return len(self.queue) + self.held_back

    @property
    def is_sending(self) -> bool:
        """Its head is on the wire."""
        return self.on_wire is not None

    @property
    def carries_fd(self) -> bool:
        """Both the controller and the bus have CAN FD."""
        return self.options.fd and self.bus.data_bitrate is not None

    @property
    def is_on_bus(self) -> bool:
        """Its controller hears what is on the wire: the interface is up and it is not bus-off."""
        return self.is_up and not self.controller.is_bus_off

    @property
    def bitrate(self) -> int:
        """Nominal bit/s that this node believes in; set it to make a node of the wrong bit rate."""
        return self._bitrate or self.bus.bitrate

    @bitrate.setter
    def bitrate(self, bitrate: int) -> None:
        self._bitrate = bitrate
        self.bus.rewire()

    @property
    def data_bitrate(self) -> int:
        """Bit/s of the data phase that this node believes in, likewise."""
        return self._data_bitrate or self.bus.data_bitrate or self.bitrate

    @data_bitrate.setter
    def data_bitrate(self, data_bitrate: int) -> None:
        self._data_bitrate = data_bitrate
        self.bus.rewire()

    def interface(
        self,
        name: str | None = None,
        *,
        receive_own: bool = False,
        loopback: bool = True,
        error_mask: CanErrorClass = ALL_ERRORS,
        fd: bool = True,
        receive_buffer: int | None = None,
    ) -> SimulatedCanInterface:
        """Return a new raw socket on this node.

        Args:
            name: What it calls its interface; default: the node's name.
            receive_own: It gets what it sends itself (CAN_RAW_RECV_OWN_MSGS), if its filters pass that.
            loopback: What it sends reaches the node's other sockets (CAN_RAW_LOOPBACK).
            error_mask: Classes of the error frames it gets (CAN_RAW_ERR_FILTER).
            fd: It sends and sees CAN FD frames (CAN_RAW_FD_FRAMES).
            receive_buffer: Frames it keeps while its reader does not read, 1 or more; None keeps all.

        Raises:
            ConfigurationError: ``receive_buffer`` is below 1.
        """
        return SimulatedCanInterface(
            self,
            name or self.name,
            receive_own=receive_own,
            loopback=loopback,
            error_mask=error_mask,
            fd=fd,
            receive_buffer=receive_buffer,
        )

    def transmit(self, frame: CanFrame, origin: SimulatedCanInterface | None = None) -> None:
        """Queue one frame; it is lost without a word while the node is bus-off or listens only, as in Linux.

        Raises:
            BackPressure: the transmit queue is full (ENOBUFS).
            LinkDown: the interface is down.
            PayloadOverflow: more data than the frame's kind carries.
            StackError: a CAN FD frame on a classical interface, or of a length that CAN FD has not, or an identifier of
                more bits than its format has (EINVAL).
        """
        if frame.fd:
            self._check_fd(frame, origin)
        elif len(frame.data) > CLASSICAL_MAX_BYTES:
            check_room(len(frame.data), self.path, fd=False)
        if not self._is_taken:
            self._refuse()
        elif len(self.queue) + self.held_back >= self.queue_length:
            raise BackPressure(
                f"{self.path}: transmit queue of {self.queue_length} frames is full (ENOBUFS); send again later"
            )
        else:
            self.faults.submit(frame._replace(timestamp_ns=0) if frame.timestamp_ns else frame, origin)

    def enqueue(self, frame: CanFrame, origin: SimulatedCanInterface | None, hidden: bool = False) -> None:
        """Put a frame at the end of the queue; called once the faults have let it through."""
        if self._is_taken:
            try:
                rank, rx_id, bits, record = coded(frame)
            except ValueError as error:
                raise StackError(f"{self.path}: {error}") from error
            read_clock, bus = self._now_ns, self.bus  # calling an attribute of an object costs more than a variable
            now_ns = read_clock()
            self.queue.append(Pending(rank, self, frame, now_ns, origin, hidden, rx_id, bits, record))
            if bus.is_quiet:
                bus.request(now_ns)
        else:
            self._lose(1, FrameLoss.INTERFACE_DOWN if not self.is_up else FrameLoss.BUS_OFF)

    def set_up(self, is_up: bool) -> None:
        """Take the host interface down (queue lost, every open socket told) or up again (counters at zero)."""
        if is_up == self.is_up:
            return
        self.is_up = is_up
        if is_up:
            self.is_bus_off_host = False
            self._settle()
            self.controller.reset()
            for callback in tuple(self.on_up):
                callback()
        else:
            self._settle()
            self._drop_queue(FrameLoss.INTERFACE_DOWN)
            for socket in self.sockets:
                socket.go_down("interface is down (ENETDOWN)")
        self.bus.rewire()

    def restart(self) -> None:
        """Restart the controller after bus-off; see :meth:`Controller.restart`.

        Raises:
            StackError: it is not bus-off (EBUSY), or the interface is down.
        """
        if not self.is_up:
            raise StackError(f"{self.path}: interface is down (ENETDOWN); bring it up instead, that restarts it too")
        if not self.is_bus_off_host:
            raise StackError(f"{self.path}: the controller is not bus-off (EBUSY); there is nothing to restart")
        self.is_bus_off_host = False
        self._settle()
        self.report(CanErrorFrame(CanErrorClass.RESTARTED, bytes(8), self._now_ns()))
        self.bus.recover(self)

    def overflow(self, count: int) -> None:
        """Have the controller lose the next ``count`` frames it receives, each with an error frame (RX overflow)."""
        self._overflows_due += count
        self.bus.sockets_changed()

    @property
    def loses_next(self) -> bool:
        """Its controller is to lose the next frame it receives."""
        return self._overflows_due > 0

    def report(self, frame: CanErrorFrame) -> None:
        """Give an error frame to every open socket that asks for its classes."""
        for socket in self.sockets:
            socket.deliver_error(frame)

    def record(self, kind: str, payload: bytes) -> None:
        """Trace something rarer than a frame."""
        recorder = self._recorders.get(kind)
        if recorder is None:
            recorder = self._recorders[kind] = self.bus.world.trace.channel(self.path, kind)
        recorder(payload)

    def note_wait(self, start_ns: int) -> None:
        """Count how long the head has waited for a start of frame that does not lead to its end; called by the bus."""
        self.longest_wait_ns = max(self.longest_wait_ns, start_ns - self.queue[0].queued_at_ns)

    def complete(self, frame: CanFrame, start_ns: int) -> None:
        """Trace the frame that was on the wire to its end, and drop it from the queue; called by the bus."""
        head, record = self.queue.popleft(), self._record
        record(head.record if frame is head.frame else coded(frame)[3])
        self.on_wire = None
        self.sent += 1
        self._sender = head.origin
        waited_ns = start_ns - head.queued_at_ns
        if waited_ns > self.longest_wait_ns:
            self.longest_wait_ns = waited_ns

    def attempts(self) -> int:
        """Return how often the frame on the wire was started before; called by the bus."""
        failed = self._failed
        return failed[1] if failed is not None and failed[0] is self.on_wire else 0

    def fail(self) -> None:
        """Take the frame off the wire that an error has destroyed; it is sent again unless the node gives up."""
        head, attempts = self.on_wire, self.attempts()
        assert head is not None
        self.on_wire = None
        self._failed = (head, attempts + 1)
        if not self.is_on_bus:  # all behind the head are lost already
            self.give_up(FrameLoss.BUS_OFF if self.is_up else FrameLoss.INTERFACE_DOWN)
        elif self.options.one_shot:
            self.give_up(FrameLoss.ONE_SHOT)
        elif isinstance(self.queue, _Mailboxes):
            self.queue.settle()

    def give_up(self, loss: FrameLoss) -> None:
        """Drop the head, as a one-shot controller does that could not send it at once; called by the bus."""
        self.queue.popleft()
        self._lose(1, loss)
        self.announce_room()

    def receive(self, frame: CanFrame, rx_id: int) -> None:
        """Give a frame from the bus to every open socket whose filters pass it."""
        if self._overflows_due:
            self._overflows_due -= 1
            self.report(controller_overflow(self.controller, self._now_ns()))
        else:
            for socket in self.sockets:
                socket.deliver(frame, rx_id)

    def loops_back_to(self, socket: SimulatedCanInterface) -> bool:
        """Whether ``socket`` sees the frame just sent: one of others here, or its own if it asked for own messages."""
        sender = self._sender
        return (socket is not sender or socket.receive_own) and (sender is None or sender.loopback)

    def loop_back(self, frame: CanFrame, rx_id: int, sockets: Iterable[SimulatedCanInterface]) -> None:
        """Give the frame just sent to those of the node's sockets that see it."""
        for socket in sockets:
            if self.loops_back_to(socket) and socket.passes(rx_id):
                socket.take_own_host(frame)

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
        self.bus.sockets_changed()

    def detach(self, socket: SimulatedCanInterface) -> None:
        """Close a socket; its queued frames are still sent, as a kernel does."""
        self.sockets = tuple(other for other in self.sockets if other is not socket)
        self.bus.sockets_changed()

    def state_changed(self, before: ControllerState) -> None:
        """Trace the controller's new state and tell the host; called by the controller.

        The trace holds the state (u8), the transmit (u16) and the receive error counter (u8).
        """
        controller, now_ns = self.controller, self._now_ns()
        self.record("state", _pack_state(controller.state, controller.tec, controller.rec))
        if not self.is_up or before is ControllerState.BUS_OFF:
            return  # the host has heard of the restart already
        if controller.is_bus_off:
            self._lose_carrier(now_ns)
        self.report(state_change(controller, now_ns))

    def counters_changed(self) -> None:
        """Have the bus look at the counters that somebody has set; called by the controller."""
        self.bus.rewire()

    def _lose_carrier(self, now_ns: int) -> None:
        self.is_bus_off_host = True
        self._settle()
        self._drop_queue(FrameLoss.BUS_OFF)
        self.announce_room()
        if self.options.restart_ms:
            self.bus.world.post_at(now_ns + self.options.restart_ms * 1_000_000, self._restart_by_itself)

    def _restart_by_itself(self) -> None:
        if self.is_up and self.is_bus_off_host:
            self.restart()

    def _settle(self) -> None:
        self._is_taken = self.is_up and not self.is_bus_off_host and not self.options.listen_only

    def _refuse(self) -> None:
        """Raise ENETDOWN, or lose a frame as Linux does without a word."""
        if not self.is_up:
            raise LinkDown(f"{self.path}: interface is down (ENETDOWN); bring it up, then open it again")
        self._lose(1, FrameLoss.BUS_OFF if self.is_bus_off_host else FrameLoss.LISTEN_ONLY)

    def _drop_queue(self, loss: FrameLoss) -> None:
        """Lose all that waits; the frame on the wire stays until its end."""
        kept = 0 if self.on_wire is None else 1
        count = len(self.queue) - kept
        while len(self.queue) > kept:
            self.queue.pop()
        if count:
            self._lose(count, loss)

    def _lose(self, count: int, loss: FrameLoss) -> None:
        """Count and trace frames that will never be sent: the reason (u8, in the order of FrameLoss) and how many."""
        self.lost[loss] += count
        self.record("lost", _pack_loss(_LOSS_CODES[loss], count))

    def _check_fd(self, frame: CanFrame, origin: SimulatedCanInterface | None) -> None:
        if origin is not None and not origin.fd:
            raise StackError(f"{self.path}: a CAN FD frame on a classical socket (EINVAL); open it with fd=True")
        if not self.carries_fd:
            why = "its controller has no CAN FD" if not self.options.fd else "the bus has no data bit rate"
            raise StackError(f"{self.path}: a CAN FD frame on a classical interface (EINVAL); {why}")
        if frame.remote or len(frame.data) not in _FD_LENGTHS:
            check_room(len(frame.data), self.path, fd=True)
            what = "a remote CAN FD frame" if frame.remote else f"a CAN FD frame of {len(frame.data)} bytes"
            raise StackError(f"{self.path}: {what} (EINVAL); send data of {_LENGTHS} bytes")
