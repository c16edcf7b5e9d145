"""A foreign program's socket on a simulated bus of a World: a node, a raw socket, and a bounded inbox; never blocks.

Both ways to a bus end here: a program inside the World has such a port itself, one outside has it in the server that
it is connected to. So both see one bus.

Modelled: SocketCAN as a program sees it (transmit queue of 10 frames, kernel filters, loopback, error frames, down).
A full inbox loses what comes then; one error frame of class 0x004 with data byte 1 = 0x01 (receive overflow) marks the
place, and ``lost`` counts the frames.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from taktora.can.filter import ACCEPT_ALL
from taktora.can.interface import CanErrorClass, CanErrorFrame, CanFilter, CanFrame, CanIfaceState
from taktora.errors import BackPressure, ConfigurationError, LinkDown, StackError
from taktora_sim.can.backend import SimulatedCan
from taktora_sim.can.bus import BITRATE_MAX, BITRATE_MIN, DATA_BITRATE_MAX, SimulatedCanBus
from taktora_sim.can.node import CanNode
from taktora_sim.can.python_can.periodic import PeriodicSending
from taktora_sim.can.python_can.wire import Received
from taktora_sim.world import World

__all__ = [
    "DEFAULT_BITRATE",
    "DEFAULT_DATA_BITRATE",
    "CanPort",
    "OtherBus",
    "PortError",
    "Wish",
    "error_code",
    "open_bus",
]

DEFAULT_BITRATE = 500_000
DEFAULT_DATA_BITRATE = 2_000_000
DEFAULT_TXQUEUELEN = 10
_OVERFLOW = CanErrorFrame(CanErrorClass.CONTROLLER, bytes((0, 0x01, 0, 0, 0, 0, 0, 0)))
_LINGER_NS = 1_000_000_000
"""How long the controller of a closed port tries to send what is queued."""


class PortError(Exception):
    """An operation on a port failed.

    Args:
        text: What, where, and the way out.
        code: Number of ``errno``, where the kernel would have given one.
    """

    def __init__(self, text: str, code: int | None = None) -> None:
        self.code = code
        super().__init__(text)


class OtherBus(ConfigurationError):
    """The bus is another one than wished for, which lasts as long as the bus is there."""


def error_code(error: Exception) -> int:
    """Return the number that a kernel's socket would have answered in place of ``error``."""
    if isinstance(error, BackPressure):
        return errno.ENOBUFS
    return errno.ENETDOWN if isinstance(error, LinkDown) else errno.EINVAL


@dataclass(frozen=True)
class Wish:
    """What a program asks for when it opens a bus.

    Args:
        channel: Name of the bus.
        bitrate: Bit/s; None takes the bus as it is (500 000 when it is made now).
        data_bitrate: Bit/s of the data phase; None as above (2 000 000).
        fd: Whether the socket sends and gets CAN FD frames; the bus must carry them.
        node: Name of the node; None gives one of its own.
        receive_own: Whether the socket gets the frames that it has sent.
        loopback: Whether other sockets of the node get them.
        error_frames: Whether it gets error frames.
        listen_only: Whether the controller only listens; None takes the node as it is (made now, it does not).
        txqueuelen: Frames in the transmit queue, the one on the wire included; None as above (10).
        rx_queue_size: Frames in the inbox.
        acknowledge: Whether an invisible listener acknowledges where no node does; None takes the bus as it is (made
            now, it has one, as virtual buses do).

    Raises:
        ConfigurationError: a value is out of its range.
    """

    channel: str
    bitrate: int | None = None
    data_bitrate: int | None = None
    fd: bool = False
    node: str | None = None
    receive_own: bool = False
    loopback: bool = True
    error_frames: bool = True
    listen_only: bool | None = None
    txqueuelen: int | None = None
    rx_queue_size: int = 4096
    acknowledge: bool | None = None

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("bitrate", self.bitrate, BITRATE_MIN, BITRATE_MAX),
            ("data_bitrate", self.data_bitrate, BITRATE_MIN, DATA_BITRATE_MAX),
            ("txqueuelen", self.txqueuelen, 1, 100_000),
            ("rx_queue_size", self.rx_queue_size, 1, 1_000_000),
        ):
            if value is not None and not low <= value <= high:
                raise ConfigurationError(f"CAN channel {self.channel!r}: {name} {value} is outside {low}..{high}")


class _Nodes:
    """The nodes of foreign programs on one bus; those given back serve again."""

    def __init__(self, bus: SimulatedCanBus) -> None:
        self._bus = bus
        self._named: dict[str, tuple[CanNode, int]] = {}
        self._free: dict[tuple[int, bool], list[CanNode]] = {}
        self._made = 0

    def take(self, wish: Wish) -> CanNode:
        """Return the node that a socket is to be on."""
        if wish.node is not None:
            return self._take_named(wish.node, wish)
        free = self._free.get(_given(wish))
        if free:
            node = free.pop()
            node.set_up(True)
            return node
        self._made += 1
        return self._make(f"python-can-{self._made}", wish)

    def give_back(self, node: CanNode, wish: Wish) -> None:
        """Take a node off the bus once no socket needs it; the name stays its own for the next program."""
        if wish.node is not None:
            _, sockets = self._named[wish.node]
            self._named[wish.node] = node, sockets - 1
            if sockets > 1:
                return
        _Leaving(self._bus.world, node, lambda: self._left(node, wish))

    def _take_named(self, name: str, wish: Wish) -> CanNode:
        node, sockets = self._named.get(name) or (self._make(name, wish), 0)
        if not sockets and not node.is_up:  # nobody has it any more: it is what this one asks for
            node.queue_length, listen_only = _given(wish)
            node.options = node.options._replace(queue_length=node.queue_length, listen_only=listen_only)
        _check_same_node(node, wish)
        self._named[name] = node, sockets + 1
        node.set_up(True)
        return node

    def _left(self, node: CanNode, wish: Wish) -> None:
        if wish.node is None:
            node.set_up(False)
            self._free.setdefault((node.queue_length, node.options.listen_only), []).append(node)
        elif not self._named[wish.node][1]:
            node.set_up(False)

    def _make(self, name: str, wish: Wish) -> CanNode:
        queue_length, listen_only = _given(wish)
        return self._bus.node(name, queue_length=queue_length, listen_only=listen_only)


def _given(wish: Wish) -> tuple[int, bool]:
    """Return transmit queue and listen-only of a node that is made for ``wish``."""
    return DEFAULT_TXQUEUELEN if wish.txqueuelen is None else wish.txqueuelen, bool(wish.listen_only)


def _check_same_node(node: CanNode, wish: Wish) -> None:
    for name, has, wanted in (
        ("listen_only", node.options.listen_only, wish.listen_only),
        ("txqueuelen", node.queue_length, wish.txqueuelen),
    ):
        if wanted is not None and wanted != has:
            msg = f"CAN node {node.path!r} has {name}={has} and this program asks for {wanted}"
            raise ConfigurationError(f"{msg}; leave it out, or give this Bus a node of its own")


class _Leaving:
    """Waits until a node has sent what is queued, for 1 s at most, as a kernel sends what a closed socket left."""

    def __init__(self, world: World, node: CanNode, done: Callable[[], None]) -> None:
        self._node = node
        self._done: Callable[[], None] | None = done
        if node.queued:
            world.call_after(_LINGER_NS, self._end)
        self._look()

    def _look(self) -> None:
        if self._node.queued:
            self._node.want_room(self._look)
        else:
            self._end()

    def _end(self) -> None:
        done, self._done = self._done, None
        if done is not None:
            done()


class _Foreign:
    """What foreign programs have on the buses of one World."""

    def __init__(self, _world: World) -> None:
        self._nodes: dict[str, _Nodes] = {}

    def nodes(self, bus: SimulatedCanBus) -> _Nodes:
        if bus.name not in self._nodes:
            self._nodes[bus.name] = _Nodes(bus)
        return self._nodes[bus.name]


def open_bus(world: World, wish: Wish) -> SimulatedCanBus:
    """Return the bus of ``world`` that is wished for, made now if there is none.

    Raises:
        OtherBus: the bus is another one than wished for: bit rates, CAN FD, acknowledge.
        ConfigurationError: the wish has a data bit rate without CAN FD.
    """
    if wish.data_bitrate is not None and not wish.fd:
        msg = f"CAN bus {wish.channel!r}: data_bitrate {wish.data_bitrate} is for CAN FD and fd is False"
        raise ConfigurationError(f"{msg}; open it with fd=True (serve it with --fd), or leave data_bitrate out")
    buses = SimulatedCan.of(world).buses
    bus = buses.get(wish.channel)
    if bus is None:
        data_bitrate = (wish.data_bitrate or DEFAULT_DATA_BITRATE) if wish.fd else None
        acknowledge = wish.acknowledge is not False
        bus = buses[wish.channel] = SimulatedCanBus(
            world, wish.channel, wish.bitrate or DEFAULT_BITRATE, data_bitrate=data_bitrate, acknowledge=acknowledge
        )
    _check_same(bus, wish)
    return bus


def _check_same(bus: SimulatedCanBus, wish: Wish) -> None:
    where = f"CAN bus {bus.name!r}"
    if wish.bitrate is not None and wish.bitrate != bus.bitrate:
        msg = f"{where} runs at {bus.bitrate} bit/s and this program asks for {wish.bitrate}"
        raise OtherBus(f"{msg}; all nodes of a bus have one bit rate")
    if wish.fd and bus.data_bitrate is None:
        msg = f"{where} was made for classical CAN and this program asks for CAN FD"
        raise OtherBus(f"{msg}; have the first program open it with fd=True, or serve it with --fd")
    if wish.fd and wish.data_bitrate is not None and wish.data_bitrate != bus.data_bitrate:
        msg = f"{where} has a data bit rate of {bus.data_bitrate} bit/s and this program asks for {wish.data_bitrate}"
        raise OtherBus(f"{msg}; all nodes of a bus have one data bit rate")
    if wish.acknowledge is not None and wish.acknowledge != bus.acknowledge:
        msg = f"{where} was made with acknowledge={bus.acknowledge} and this program asks for the opposite"
        raise OtherBus(f"{msg}; leave acknowledge out, or have the first program say it")


# req: REQ_8203
class CanPort:
    """One socket of a foreign program.

    Args:
        world: The World.
        wish: What the program asks for.
        on_ready: Called when the inbox was empty and is not any more.

    Raises:
        ConfigurationError: the bus, or the node that is named, is another one than wished for.
        StackError: the interface is down.
    """

    def __init__(self, world: World, wish: Wish, on_ready: Callable[[], None] = lambda: None) -> None:
        self.wish = wish
        self.bus = open_bus(world, wish)
        self.inbox: deque[Received] = deque()
        self.lost = 0
        """Frames that found the inbox full."""
        self._world = world
        self._on_ready = on_ready
        self._nodes = world.part(_Foreign).nodes(self.bus)
        self.node = self._nodes.take(wish)
        self._socket = self.node.interface(
            wish.channel, receive_own=wish.receive_own, loopback=wish.loopback, fd=wish.fd
        )
        self._filters: tuple[CanFilter, ...] = ACCEPT_ALL
        self._overflowing = False
        self._is_switching = False
        self._waiting: list[Callable[[], None]] = []
        self._periodic: list[PeriodicSending] = []
        self._is_open = True
        self._socket.on_transmit_ready(self._tell_room)
        try:
            self._socket.open(self)
        except StackError:
            self._nodes.give_back(self.node, wish)
            raise
        self.node.on_up.append(self._revive)

    def send(self, frame: CanFrame) -> None:
        """Queue one frame.

        Raises:
            BackPressure: the transmit queue is full (ENOBUFS); see :meth:`when_room`.
            LinkDown: the interface is down or its controller bus-off, or the port is closed.
            StackError: a CAN FD frame on a classical socket.
        """
        if not self._is_open:
            raise LinkDown(f"CAN channel {self.wish.channel!r} is closed; open a new Bus")
        if not self.node.is_up:
            raise LinkDown(f"{self.node.path}: interface is down (ENETDOWN); bring it up, then send again")
        if self.node.is_bus_off_host:
            raise LinkDown(f"{self.node.path}: the controller is bus-off; restart it (set the bus to ACTIVE)")
        self._socket.send(frame)

    def when_room(self, call: Callable[[], None]) -> None:
        """Have ``call`` called once when the queue that refused a frame may have room again."""
        self._waiting.append(call)

    def set_filters(self, filters: Sequence[CanFilter]) -> None:
        """Replace the kernel filters; an empty sequence lets no data frame through."""
        self._filters = tuple(filters)
        self._socket.set_filters(self._filters)

    def send_periodically(
        self,
        frames: Sequence[CanFrame],
        period_ns: int,
        duration_ns: int | None,
        before: Callable[[int], CanFrame] | None = None,
    ) -> PeriodicSending:
        """Return a sender of ``frames``, one after the other, that is not started yet."""
        sending = PeriodicSending(self._world, self.send, frames, period_ns, duration_ns, before)
        self._periodic.append(sending)
        return sending

    def flush(self) -> int:
        """Drop what waits in the transmit queue of the node, but for the frame on the wire; return how many."""
        queue = self.node.queue
        kept = 1 if self.node.is_sending else 0
        count = max(0, len(queue) - kept)
        for _ in range(count):
            queue.pop()
        self.node.announce_room()
        return count

    @property
    def state(self) -> str:
        """Name of the controller's state."""
        return self.node.controller.state.name

    def set_listen_only(self, only: bool) -> None:
        """Have the controller only listen, or take part in the bus (which also restarts one that is bus-off).

        The interface goes down and up for it, as for ``ip link set can0 type can listen-only on``: what is queued is
        lost, and other sockets of the node are told.
        """
        if self.node.is_bus_off_host and not only:
            self.node.restart()
        if self.node.options.listen_only == only:
            return
        self._is_switching = True
        self.node.set_up(False)
        self.node.options = self.node.options._replace(listen_only=only)
        self.node.set_up(True)
        self._is_switching = False

    def close(self) -> None:
        """Close the socket; what is queued is still sent; idempotent."""
        if not self._is_open:
            return
        self._is_open = False
        for sending in self._periodic:
            sending.stop()
        self.node.on_up.remove(self._revive)
        self._socket.close()
        self._tell_room()
        self._nodes.give_back(self.node, self.wish)

    def on_frame(self, frame: CanFrame) -> None:
        self._put(Received(self._world.epoch_unix_ns + frame.timestamp_ns, self._socket.is_own_host, frame))

    def on_error_frame(self, frame: CanErrorFrame) -> None:
        if self.wish.error_frames:
            self._put(Received(self._world.epoch_unix_ns + frame.timestamp_ns, False, frame))

    def on_receive_overflow(self, lost: int) -> None:
        self.lost += lost
        if self.wish.error_frames:
            self._put(Received(self._world.unix_ns(), False, _OVERFLOW))

    def on_state(self, state: CanIfaceState, reason: str) -> None:  # noqa: ARG002 - the seam's
        if state is CanIfaceState.DOWN and not self._is_switching:
            self._put(Received(self._world.unix_ns(), False, None))
            self._tell_room()

    def on_failure(self, error: BaseException) -> None:
        self._world.fail(error)

    def _put(self, received: Received) -> None:
        inbox = self.inbox
        if len(inbox) >= self.wish.rx_queue_size:
            self.lost += 1
            if self._overflowing:
                return
            self._overflowing = True
            if not self.wish.error_frames:
                return
            received = received._replace(is_own=False, frame=_OVERFLOW)
        else:
            self._overflowing = False
        inbox.append(received)
        if len(inbox) == 1:
            self._on_ready()

    def _revive(self) -> None:
        """Open the socket again after the interface has been down: to a program, a kernel's socket is still there."""
        self._socket.open(self)
        self._socket.set_filters(self._filters)

    def _tell_room(self) -> None:
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()
