"""A classical CAN bus in virtual time: who sends when, for how long, and who gets it; it never invents a frame.

Modelled:

* frame durations bit by bit, stuffing and the three bits of intermission included, at one bit rate;
* one frame at a time; at each start of frame the lowest identifier among the nodes' heads wins, losers try again at
  the next one; a frame queued during a transmission or its intermission joins the next start of frame;
* delivery to every other node at the end of the frame, all with that time stamp; loopback to the sending node's other
  sockets at the same instant; kernel filters of each socket; a bounded first-in-first-out transmit queue per node;
* priority inversion inside one node (a FIFO queue hides an urgent frame behind a slow one), as SocketCAN has it;
* bus load over a sliding window, its peak, and the longest wait of each node.

Simplified:

* no bit errors, acknowledgement, error counters, error frames or bus-off: every frame started is completed;
* a single node hears nobody but succeeds, as if an invisible listener acknowledged;
* two nodes that start the same identifier at once: equal frames merge and both succeed; of different ones the lower
  node index is sent first, counted in ``collisions``;
* starts of frame fall on the instant of the request, not on a grid of bit times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from simpy.events import EventPriority

from taktora.can.interface import CanFrame
from taktora.errors import ConfigurationError
from taktora_sim.can.node import CanNode, Transmission
from taktora_sim.can.timing import FRAME_BITS_MAX, INTERMISSION_BITS, duration_ns, frame_bits
from taktora_sim.world import World

__all__ = ["BITRATE_MAX", "BITRATE_MIN", "BusFrame", "SimulatedCanBus"]

BITRATE_MIN = 1_000
BITRATE_MAX = 1_000_000
_AFTER_ALL = EventPriority(3)
"""Arbitration looks at the heads after everything else of its instant has queued its frames."""
_SETTLED_AT_ONCE = 1024
_new_tuple = tuple.__new__


class BusFrame(NamedTuple):
    """One frame that was on the wire: start and end of frame in virtual time, its length, its sender."""

    start_ns: int
    end_ns: int
    bits: int
    node: str
    frame: CanFrame


class _Load:
    """Busy time within a sliding window.

    A frame that ends is noted and no more: the sums are brought up to date when somebody asks, or for many frames at
    once, which costs half as much a frame.
    """

    def __init__(self, window_ns: int) -> None:
        self.window_ns = window_ns
        self._busy_ns = 0
        self._peak_ns = 0
        self._noted: list[tuple[int, int]] = []
        self._spans: deque[tuple[int, int]] = deque()
        self._within_ns = 0

    @property
    def busy_ns(self) -> int:
        """Sum of all spans."""
        self._settle()
        return self._busy_ns

    @property
    def peak_ns(self) -> int:
        """Most busy time there was in the window at the end of a span."""
        self._settle()
        return self._peak_ns

    def add(self, start_ns: int, end_ns: int) -> None:
        """Note a span; they come in order and do not overlap."""
        noted = self._noted
        noted.append((start_ns, end_ns))
        if len(noted) == _SETTLED_AT_ONCE:
            self._settle()

    def within(self, since_ns: int, until_ns: int) -> int:
        """Return the busy time between two instants of the window."""
        self._settle()
        return sum(max(0, min(end, until_ns) - max(start, since_ns)) for start, end in self._spans)

    def _settle(self) -> None:
        spans, window_ns, within_ns, peak_ns = self._spans, self.window_ns, self._within_ns, self._peak_ns
        for span in self._noted:
            start_ns, end_ns = span
            spans.append(span)
            within_ns += end_ns - start_ns
            self._busy_ns += end_ns - start_ns
            since_ns = end_ns - window_ns
            oldest_ns, until_ns = spans[0]
            while until_ns <= since_ns:
                within_ns -= until_ns - oldest_ns
                spans.popleft()
                oldest_ns, until_ns = spans[0]
            cut_off_ns = since_ns - oldest_ns  # of the oldest, if it began before the window
            inside_ns = within_ns - cut_off_ns if cut_off_ns > 0 else within_ns
            if inside_ns > peak_ns:
                peak_ns = inside_ns
        self._within_ns, self._peak_ns = within_ns, peak_ns
        self._noted.clear()


class SimulatedCanBus:
    """One CAN segment of a World.

    Args:
        world: Gives time, trace and faults.
        name: Name of the bus in traces and fault paths: ``can/<name>``.
        bitrate: Bit/s, 1 000 to 1 000 000.
        load_window_ns: Longest window over which :meth:`load` can look back.
    """

    def __init__(self, world: World, name: str, bitrate: int = 500_000, *, load_window_ns: int = 1_000_000_000) -> None:
        if not BITRATE_MIN <= bitrate <= BITRATE_MAX:
            raise ConfigurationError(
                f"CAN bus {name!r}: bit rate {bitrate} bit/s is outside {BITRATE_MIN}..{BITRATE_MAX} of classical CAN"
            )
        self.world = world
        self.name = name
        self.bitrate = bitrate
        self.frames = 0
        """Frames completed since the start."""
        self.collisions = 0
        """Starts of frame at which two nodes sent one identifier with different content."""
        self.is_quiet = True
        """No frame is on the wire and no arbitration is due: the next frame queued has to ask for one."""
        self._now_ns = world.now_ns
        self._post_at = world.post_at
        self._duration_ns = tuple(duration_ns(bits, bitrate) for bits in range(FRAME_BITS_MAX + 1))
        self._nodes: list[CanNode] = []
        self._observers: list[Callable[[BusFrame], None]] = []
        self._load = _Load(load_window_ns)
        self._current: Transmission | None = None
        self._free_at_ns = 0

    @property
    def path(self) -> str:
        """Component path of the bus."""
        return f"can/{self.name}"

    @property
    def nodes(self) -> tuple[CanNode, ...]:
        return tuple(self._nodes)

    def node(self, name: str, *, queue_length: int = 10) -> CanNode:
        """Attach a node: one controller with one host network interface behind it.

        Raises:
            ConfigurationError: the bus has a node of that name, or ``queue_length`` is below 1.
        """
        if any(node.name == name for node in self._nodes):
            raise ConfigurationError(f"CAN bus {self.name!r} already has a node {name!r}; give each node its own name")
        node = CanNode(self, name, queue_length)
        self._nodes.append(node)
        return node

    def observe(self, observer: Callable[[BusFrame], None]) -> None:
        """Have ``observer`` called for each completed frame, in order of registration, before it is delivered."""
        self._observers.append(observer)

    # req: REQ_8207
    def load(self, window_ns: int | None = None) -> float:
        """Return the share of the last ``window_ns`` in which the bus was busy, 0.0 to 1.0.

        A frame counts from its start to the end of its intermission. The window is cut off at virtual time zero.

        Raises:
            ValueError: the window is not within 1 ns and ``load_window_ns``.
        """
        window = self._load.window_ns if window_ns is None else window_ns
        if not 0 < window <= self._load.window_ns:
            raise ValueError(f"load window {window} ns is outside 1..{self._load.window_ns}; raise load_window_ns")
        now = self.world.now_ns()
        since = max(0, now - window)
        busy = self._load.within(since, now) + self._busy_now(since, now)
        return busy / (now - since) if now > since else 0.0

    @property
    def peak_load(self) -> float:
        """Largest load over ``load_window_ns`` seen at the end of a frame, 0.0 to 1.0."""
        return self._load.peak_ns / self._load.window_ns

    @property
    def busy_ns(self) -> int:
        """Sum of the durations of all completed frames, intermission included."""
        return self._load.busy_ns

    def request(self, now_ns: int) -> None:
        """Have the next start of frame decided, now or when the bus is free; called while the bus is quiet."""
        self.is_quiet = False
        self._post_at(max(now_ns, self._free_at_ns), self._arbitrate, _AFTER_ALL)

    def _busy_now(self, since_ns: int, now_ns: int) -> int:
        current = self._current
        return 0 if current is None else max(0, now_ns - max(current.start_ns, since_ns))

    # req: REQ_8200
    def _arbitrate(self) -> None:
        best = -1
        winners: list[CanNode] = []
        for node in self._nodes:
            queue = node.queue
            if queue:
                rank = queue[0][0]
                if not winners or rank < best:
                    best, winners = rank, [node]
                elif rank == best:
                    winners.append(node)
        if winners:
            self._start(winners)
        else:
            self.is_quiet = True

    def _start(self, winners: list[CanNode]) -> None:
        now_ns = self._now_ns()
        _, frame, _, _, hidden, rx_id = winners[0].begin_transmission(now_ns)
        senders = winners if len(winners) == 1 else self._merge(frame, winners)
        can_id, data, extended, remote, dlc, _, _, _, _ = frame
        bits = frame_bits(can_id, data, extended, remote, dlc if remote else 0)
        self._free_at_ns = now_ns + self._duration_ns[bits]
        self._current = _new_tuple(Transmission, (now_ns, bits, frame, hidden, senders, rx_id))
        self._post_at(now_ns + self._duration_ns[bits - INTERMISSION_BITS], self._finish)

    def _merge(self, frame: CanFrame, winners: list[CanNode]) -> list[CanNode]:
        """Return the nodes whose frame is ``frame`` to the last bit; the others wait, and are counted."""
        senders = winners[:1]
        for node in winners[1:]:
            if node.queue[0].frame == frame:
                node.begin_transmission(self._now_ns())
                senders.append(node)
            else:
                self.collisions += 1
        return senders

    def _finish(self) -> None:
        current = self._current
        assert current is not None
        self._current = None
        self.is_quiet = True
        now_ns = self._now_ns()
        start_ns, bits, frame, hidden, senders, rx_id = current
        self.frames += 1
        self._load.add(start_ns, self._free_at_ns)
        can_id, data, extended, remote, dlc, _, fd, brs, esi = frame
        stamped = _new_tuple(CanFrame, (can_id, data, extended, remote, dlc, now_ns, fd, brs, esi))
        for node in senders:
            node.complete(stamped, rx_id)
        for observer in self._observers:
            observer(BusFrame(start_ns, now_ns, bits, senders[0].name, stamped))
        for node in self._nodes:
            if node.sockets:
                if node in senders:
                    node.loop_back(stamped, rx_id)
                elif not hidden:
                    node.receive(stamped, rx_id)
        for node in senders:
            if node.room_wanted:
                node.announce_room()
        if self.is_quiet:
            for node in self._nodes:
                if node.queue:
                    self.request(now_ns)
                    break
