"""A CAN bus in virtual time, classical or FD: who sends when, for how long, and who gets it; it never invents a frame.

Modelled:

* frame durations bit by bit, stuffing and the three bits of intermission included, of classical and CAN FD frames at
  one or two bit rates;
* one frame at a time; at each start of frame the lowest identifier among the nodes' heads wins, losers try again at
  the next one; a frame queued during a transmission or its intermission joins the next start of frame;
* delivery to every other node at the end of the frame, all with that time stamp; loopback to the sending node's other
  sockets at the same instant;
* acknowledgement: a frame that no other node can acknowledge is an error for its sender, which tries again for ever;
* errors, error flags and their delimiter, error counters, error-passive and bus-off nodes, recovery, retransmission:
  see ``confinement``; two nodes that start one identifier with different content, nodes of a wrong bit rate, and
  classical nodes that meet a CAN FD frame, are such errors;
* two nodes that start equal frames at once: they merge and both succeed;
* priority inversion inside one node (a FIFO queue hides an urgent frame behind a slow one), as SocketCAN has it;
* bus load over a sliding window, errors included, its peak, the share of each identifier, and the longest wait of each
  node.

Simplified:

* starts of frame fall on the instant of the request, not on a grid of bit times;
* what becomes of a frame is settled at its start: by the nodes that are there then, and by the faults asked then;
* propagation takes no time, all nodes sample at one point, and there are no overload frames.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Literal, NamedTuple

import msgspec
from simpy.events import EventPriority

from taktora.can.interface import CanFrame
from taktora.errors import ConfigurationError
from taktora_sim.can.coding import Bits
from taktora_sim.can.confinement import Confinement
from taktora_sim.can.delivery import Delivery, stamped
from taktora_sim.can.errors import Attempt, BusError, WireError
from taktora_sim.can.load import BusLoad
from taktora_sim.can.node import CanNode, NodeOptions, Pending
from taktora_sim.can.timing import (
    INTERMISSION_BITS,
    duration_ns,
    fd_duration_ns,
    phase_bits,
)
from taktora_sim.world import World

__all__ = ["BITRATE_MAX", "BITRATE_MIN", "DATA_BITRATE_MAX", "BusFrame", "SimulatedCanBus", "Transmission"]

BITRATE_MIN = 1_000
BITRATE_MAX = 1_000_000
DATA_BITRATE_MAX = 8_000_000
_EFF, _ID_MASK = 0x8000_0000, 0x1FFF_FFFF
_AFTER_ALL = EventPriority(3)
"""Arbitration looks at the heads after everything else of its instant has queued its frames."""
_SETTLED_AT_ONCE = 1024


class BusFrame(NamedTuple):
    """One frame that was on the wire: start and end of frame in virtual time, its length, its sender.

    ``bits`` has those of the nominal and of the data phase together, intermission included.
    """

    start_ns: int
    end_ns: int
    bits: int
    node: str
    frame: CanFrame


class Transmission(msgspec.Struct):
    """The frame on the wire.

    ``frame`` is what the sender has in front as ``head``, in CAN FD maybe with another ESI bit; ``partners`` send an
    equal frame. ``hearing`` are the nodes that were there at its start; ``deaf`` those of them that lose it, None in
    the ordinary case that nothing but the frame happens, which then has no partners.
    """

    start_ns: int
    end_ns: int
    bits: int
    frame: CanFrame
    head: Pending
    partners: tuple[CanNode, ...]
    hearing: list[CanNode]
    deaf: tuple[CanNode, ...] | None

    @property
    def senders(self) -> list[CanNode]:
        """All that send it."""
        return [self.head.node, *self.partners]


# req: REQ_8200
class SimulatedCanBus:
    """One CAN segment of a World.

    Args:
        world: Gives time, trace and faults.
        name: Name of the bus in traces and fault paths: ``can/<name>``.
        bitrate: Bit/s, 1 000 to 1 000 000.
        data_bitrate: Bit/s of the data phase of CAN FD frames, ``bitrate`` to 8 000 000; None is a classical bus.
        acknowledge: An invisible listener acknowledges what no node does. Without it a node alone on the bus gets no
            frame through, as on a wire.
        load_window_ns: Longest window over which :meth:`load` can look back.

    Raises:
        ConfigurationError: a bit rate is out of its range.
    """

    def __init__(
        self,
        world: World,
        name: str,
        bitrate: int = 500_000,
        *,
        data_bitrate: int | None = None,
        acknowledge: bool = False,
        load_window_ns: int = 1_000_000_000,
    ) -> None:
        if not BITRATE_MIN <= bitrate <= BITRATE_MAX:
            raise ConfigurationError(
                f"CAN bus {name!r}: bit rate {bitrate} bit/s is outside {BITRATE_MIN}..{BITRATE_MAX} of classical CAN"
            )
        if data_bitrate is not None and not bitrate <= data_bitrate <= DATA_BITRATE_MAX:
            raise ConfigurationError(
                f"CAN bus {name!r}: data bit rate {data_bitrate} bit/s is outside {bitrate}..{DATA_BITRATE_MAX}, "
                "from the nominal bit rate to the highest of CAN FD"
            )
        self.world = world
        self.name = name
        self.bitrate = bitrate
        self.data_bitrate = data_bitrate
        self.acknowledge = acknowledge
        self.frames = 0
        """Frames completed since the start."""
        self.collisions = 0
        """Starts of frame at which two nodes sent one identifier with different content."""
        self.is_quiet = True
        """No frame is on the wire and no arbitration is due: the next frame queued has to ask for one."""
        self.wire_faults: list[Callable[[Attempt], WireError | None]] = []
        """Asked once at each start of frame, in order; the first error answered happens to the frame."""
        self.free_at_ns = 0
        """End of the intermission of what is, or was last, on the wire."""
        self._start_ns = 0  # of the next frame, as soon as it is due
        self.is_held = False
        """Somebody holds the line dominant, or has just let it go."""
        self.hearing: list[CanNode] = []
        """Nodes whose controllers hear what is on the wire, in the order of their making."""
        self._now_ns = world.now_ns
        self._post_at = world.post_at
        # Calls that are made for each frame: a method costs as much to look up as to run.
        self._arbitrate_call = self._arbitrate
        self._finish_call = self._finish
        self._spans: dict[Bits, tuple[int, int, int]] = {}
        self._nodes: list[CanNode] = []
        self._indices = count()
        self._contending: list[CanNode] = []
        self._needs_care = True
        self._fd_needs_care = False
        self._observers: list[Callable[[BusFrame], None]] = []
        self._load = BusLoad(load_window_ns)
        self._current: Transmission | None = None
        self._stale_ends: list[int] = []
        self._confinement = Confinement(self)
        self._delivery = Delivery(self)

    @property
    def path(self) -> str:
        """Component path of the bus."""
        return f"can/{self.name}"

    @property
    def nodes(self) -> tuple[CanNode, ...]:
        return tuple(self._nodes)

    def node(
        self,
        name: str,
        *,
        queue_length: int = 10,
        fd: bool = True,
        restart_ms: int = 0,
        listen_only: bool = False,
        one_shot: bool = False,
        bitrate: int | None = None,
        data_bitrate: int | None = None,
        queue_order: Literal["fifo", "id"] = "fifo",
        berr_reporting: bool = False,
        report_lost_arbitration: bool = False,
    ) -> CanNode:
        """Attach a node: one controller with one host network interface behind it.

        Args:
            name: Its name, for traces and fault paths.
            queue_length: Frames that its host may have waiting, 1 or more.
            fd: Its controller understands CAN FD; one that does not destroys such frames as errors.
            restart_ms: After so many ms of bus-off the host restarts the controller; 0: only by hand.
            listen_only: It neither acknowledges nor sends, nor flags errors.
            one_shot: A frame destroyed by an error, or that loses arbitration, is not sent again.
            bitrate: Nominal bit/s it believes in; None: that of the bus.
            data_bitrate: Bit/s of the data phase, likewise.
            queue_order: ``fifo`` as SocketCAN, ``id`` as the mailboxes of a controller.
            berr_reporting: Its host reports every error on the wire as an error frame.
            report_lost_arbitration: And every lost arbitration.

        Raises:
            ConfigurationError: the bus has a node of that name, or an argument is out of its range.
        """
        if any(node.name == name for node in self._nodes):
            raise ConfigurationError(f"CAN bus {self.name!r} already has a node {name!r}; give each node its own name")
        options = NodeOptions(
            queue_length,
            fd,
            restart_ms,
            listen_only,
            one_shot,
            bitrate,
            data_bitrate,
            queue_order,
            berr_reporting,
            report_lost_arbitration,
        )
        node = CanNode(self, name, next(self._indices), options)
        self._nodes.append(node)
        self.rewire()
        return node

    def observe(self, observer: Callable[[BusFrame], None]) -> None:
        """Have ``observer`` called for each completed frame, in order of registration, before it is delivered."""
        self._observers.append(observer)

    def observe_errors(self, observer: Callable[[BusError], None]) -> None:
        """Have ``observer`` called for each destroyed attempt, at the end of its error delimiter."""
        self._confinement.observers.append(observer)

    # req: REQ_8207
    def load(self, window_ns: int | None = None) -> float:
        """Return the share of the last ``window_ns`` in which the bus was busy, 0.0 to 1.0.

        A frame counts from its start to the end of its intermission, a destroyed one to the end of the intermission
        after its error frame. The window is cut off at virtual time zero.

        Raises:
            ValueError: the window is not within 1 ns and ``load_window_ns``.
        """
        since, now = self._window(window_ns)
        busy = self._load.within(since, now) + self._busy_now(since, now)
        return busy / (now - since) if now > since else 0.0

    # req: REQ_8207
    def load_by_id(self, window_ns: int | None = None) -> dict[tuple[int, bool], float]:
        """Return the share of each identifier, as ``(identifier, extended)``, in :meth:`load`, in their order.

        A destroyed attempt counts for the identifier that was being sent. What is on the wire now is left out.

        Raises:
            ValueError: as :meth:`load`.
        """
        since, now = self._window(window_ns)
        shares: dict[tuple[int, bool], float] = {}
        for rx_id, busy_ns in self._load.by_id(since, now).items():
            key = rx_id & _ID_MASK, bool(rx_id & _EFF)
            shares[key] = shares.get(key, 0.0) + busy_ns / (now - since)
        return shares

    @property
    def peak_load(self) -> float:
        """Largest load over ``load_window_ns`` seen at the end of a frame, 0.0 to 1.0."""
        return self._load.peak_ns / self._load.window_ns

    @property
    def busy_ns(self) -> int:
        """Sum of the durations of all completed and destroyed frames, intermission included."""
        return self._load.busy_ns

    def request(self, now_ns: int) -> None:
        """Have the next start of frame decided, now or when the bus is free; called while the bus is quiet."""
        self.is_quiet = False
        free_at_ns = self.free_at_ns
        self._start_ns = start_ns = max(free_at_ns, now_ns)
        post_at = self._post_at
        post_at(start_ns, self._arbitrate_call, _AFTER_ALL)

    def request_if_wanted(self, now_ns: int) -> None:
        """Do so if the bus is quiet and a node has something to send."""
        if self.is_quiet:
            for node in self._contending:
                if node.queue:
                    self.request(now_ns)
                    return

    def recover(self, node: CanNode) -> None:
        """Count the recessive bits after which a node restarted from bus-off takes part again."""
        self._confinement.recover(node)

    def rewire(self) -> None:
        """Look at the nodes anew: who hears, who may send, and whether starts of frame have to be looked at closely.

        Called whenever a node has changed.
        """
        self.hearing = [node for node in self._nodes if node.is_on_bus]
        self._contending = [node for node in self.hearing if not node.is_suspended and not self.is_held]
        self._needs_care, self._fd_needs_care = self._confinement.survey(self.hearing)
        self._delivery.forget()

    def sockets_changed(self) -> None:
        """Look anew at who gets what; called by a node whose sockets or their filters have changed."""
        self._delivery.forget()

    def stub(self) -> SimulatedCanBus:
        """Return a piece of wire with nobody on it, of the same name and bit rates: what lies behind a cut."""
        return SimulatedCanBus(self.world, self.name, self.bitrate, data_bitrate=self.data_bitrate)

    def adopt(self, node: CanNode) -> None:
        """Move a node here from the bus or the stub it is on; its frames, sockets and counters come with it.

        Call it while the node is not sending. A recovery from bus-off begins anew.
        """
        left = node.bus
        left._nodes.remove(node)  # noqa: SLF001 - another bus
        node.bus = self
        left.rewire()
        self._nodes.append(node)
        self._nodes.sort(key=lambda entry: entry.index)
        if node.controller.is_bus_off and node.is_up and not node.is_bus_off_host:
            self.recover(node)
        self.rewire()
        self.request_if_wanted(self._now_ns())

    def hold(self) -> Transmission | None:
        """Hold the line dominant: nothing starts until :meth:`let_go`; return the frame that this breaks off.

        Its senders still have it in front; tell them by ``CanNode.fail``. An error frame is completed.
        """
        self.is_held = True
        broken, self._current = self._current, None
        if broken is not None:
            counts = phase_bits(broken.frame, broken.bits - INTERMISSION_BITS)
            self._stale_ends.append(broken.start_ns + self.duration_ns(*counts))
            self.is_quiet = True
        self._confinement.interrupt()
        self.rewire()
        return broken

    def let_go(self, recessive_bits: int) -> None:
        """Let the line go; the next frame may start after so many recessive bits."""
        now_ns = self._now_ns()
        self.free_at_ns = max(self.free_at_ns, now_ns + self.duration_ns(recessive_bits))
        self._confinement.resume(now_ns)
        self._post_at(self.free_at_ns, self._open)

    def duration_ns(self, nominal_bits: int, data_bits: int = 0) -> int:
        """Return how long so many bits at the two rates last, rounded once to the nearest ns."""
        if data_bits:
            assert self.data_bitrate is not None
            return fd_duration_ns(nominal_bits, data_bits, self.bitrate, self.data_bitrate)
        return duration_ns(nominal_bits, self.bitrate)

    def carry(
        self,
        now_ns: int,
        frame: CanFrame,
        head: Pending,
        senders: list[CanNode],
        deaf: tuple[CanNode, ...] | None,
        counts: tuple[int, int],
    ) -> None:
        """Have a frame go its way to the end; ``counts`` are its nominal and data bits, intermission included."""
        nominal_bits, data_bits = counts
        self.free_at_ns = now_ns + self.duration_ns(nominal_bits, data_bits)
        end_ns = now_ns + self.duration_ns(nominal_bits - INTERMISSION_BITS, data_bits)
        partners = tuple(node for node in senders if node is not head.node)
        self._current = Transmission(
            now_ns, end_ns, nominal_bits + data_bits, frame, head, partners, self.hearing, deaf
        )
        self._post_at(end_ns, self._finish_call)

    def occupy(self, start_ns: int, free_at_ns: int, rx_id: int) -> None:
        """Count a destroyed frame as load."""
        self._load.noted.append((start_ns, free_at_ns, rx_id))
        self._load.settle()

    def _open(self) -> None:
        self.is_held = False
        self.rewire()
        self.request_if_wanted(self._now_ns())

    def _window(self, window_ns: int | None) -> tuple[int, int]:
        window = self._load.window_ns if window_ns is None else window_ns
        if not 0 < window <= self._load.window_ns:
            raise ValueError(f"load window {window} ns is outside 1..{self._load.window_ns}; raise load_window_ns")
        now = self.world.now_ns()
        return max(0, now - window), now

    def _busy_now(self, since_ns: int, now_ns: int) -> int:
        current = self._current
        return 0 if current is None else max(0, now_ns - max(current.start_ns, since_ns))

    # req: REQ_8200
    def _arbitrate(self) -> None:
        best: Pending | None = None
        ties: list[CanNode] | None = None
        for node in self._contending:
            queue = node.queue
            if queue:
                head = queue[0]
                if best is None or head.rank < best.rank:
                    best, ties = head, None
                elif head.rank == best.rank:
                    ties = [*(ties or [best.node]), node]
        if best is None:
            self.is_quiet = True
        elif ties or self._needs_care or self.wire_faults:
            self._confinement.start(ties or [best.node])
        else:
            self._start(best)

    def _start(self, head: Pending) -> None:
        """Put a frame on the wire that nothing can happen to."""
        now_ns, sender, frame = self._start_ns, head.node, head.frame
        if self._fd_needs_care and frame.fd:
            self._confinement.start([sender])
            return
        sender.on_wire = head
        try:
            bits, length_ns, busy_ns = self._spans[head.bits]
        except KeyError:
            bits, length_ns, busy_ns = self._measure(head.bits)
        end_ns = now_ns + length_ns
        self.free_at_ns = now_ns + busy_ns
        self._current = Transmission(now_ns, end_ns, bits, frame, head, (), self.hearing, None)
        post_at = self._post_at
        post_at(end_ns, self._finish_call)

    def _measure(self, bits: Bits) -> tuple[int, int, int]:
        """Find out how many bits a frame has, how long they last, and how long with intermission; remember it."""
        nominal_bits, data_bits = bits if isinstance(bits, tuple) else (bits, 0)
        span = self._spans[bits] = (
            nominal_bits + data_bits,
            self.duration_ns(nominal_bits - INTERMISSION_BITS, data_bits),
            self.duration_ns(nominal_bits, data_bits),
        )
        return span

    def _finish(self) -> None:
        current, stale_ends = self._current, self._stale_ends
        if current is None or (stale_ends and self._now_ns() in stale_ends):
            stale_ends.remove(self._now_ns())  # a frame that was broken off
            return
        self._current = None
        self.is_quiet = True
        self.frames += 1
        head, start_ns = current.head, current.start_ns
        sender, noted = head.node, self._load.noted
        noted.append((start_ns, self.free_at_ns, head.rx_id))
        if len(noted) >= _SETTLED_AT_ONCE:
            self._load.settle()
        if current.deaf is None:
            sender.complete(current.frame, start_ns)
        else:
            self._complete_with_care(current, current.deaf)
        if self._observers:
            self._tell_observers(current)
        self._delivery.deliver(current)
        if sender.room_wanted or current.partners:
            for node in current.senders:
                if node.room_wanted:
                    node.announce_room()
        if self.is_quiet:
            for node in self._contending:
                if node.queue:
                    self.is_quiet = False  # request, in place: the intermission is still to come
                    self._start_ns = start_ns = self.free_at_ns
                    post_at = self._post_at
                    post_at(start_ns, self._arbitrate_call, _AFTER_ALL)
                    break

    def _complete_with_care(self, current: Transmission, deaf: tuple[CanNode, ...]) -> None:
        self._confinement.succeed(current.senders, deaf)
        for node in current.senders:
            node.complete(current.frame, current.start_ns)

    def _tell_observers(self, current: Transmission) -> None:
        """Show a completed frame to whoever observes the bus."""
        end_ns = current.end_ns
        seen = BusFrame(current.start_ns, end_ns, current.bits, current.head.node.name, stamped(current.frame, end_ns))
        for observer in self._observers:
            observer(seen)
