"""A scripted CAN interface for unit tests: records what it is told and answers as told; it has no time and no bus.

Behaviour of a socket, not of a wire: kernel filters are obeyed, a reopened socket starts with accept-all, a full queue
is ``BackPressure``, and an own frame does not come back to its sender unless ``receive_own`` is set. For arbitration,
frame times and several nodes use ``taktora_sim.can``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from taktora.can.dlc import FD_LENGTHS, check_room
from taktora.can.filter import ACCEPT_ALL, passes_filters
from taktora.can.interface import CanErrorClass, CanErrorFrame, CanFilter, CanFrame, CanIfaceState, CanInterfaceListener
from taktora.errors import BackPressure, LinkDown, StackError

__all__ = ["MockCanInterface"]


# req: REQ_0604
class MockCanInterface:
    """A ``CanInterface`` in memory; all calls happen on the caller's thread.

    Args:
        name: Interface name.
        receive_own: Deliver own frames to the own listener, as CAN_RAW_RECV_OWN_MSGS does.
        carries_fd: CAN FD frames can be sent; set it later to have the interface set up anew while it is open.
    """

    def __init__(self, name: str = "mock0", *, receive_own: bool = False, carries_fd: bool = True) -> None:
        self.receive_own = receive_own
        self.sent: list[CanFrame] = []
        """Frames accepted by ``send``, in order."""
        self.open_count = 0
        self.close_count = 0
        self.send_count = 0
        """Calls of ``send``, refused ones included."""
        self.filter_calls: list[tuple[CanFilter, ...]] = []
        """What ``set_filters`` was given, in order."""
        self.filters: tuple[CanFilter, ...] = ACCEPT_ALL
        """What is in force."""
        self._name = name
        self.carries_fd = carries_fd
        self._state = CanIfaceState.CLOSED
        self._listener: CanInterfaceListener | None = None
        self._on_room: Callable[[], None] | None = None
        self._room: int | None = None
        self._open_answers: deque[Exception | None] = deque()
        self._send_answers: deque[Exception | None] = deque()
        self._peers: list[MockCanInterface] = []

    @property
    def name(self) -> str:
        return self._name

    @property
    def state(self) -> CanIfaceState:
        return self._state

    @property
    def apply_filter_count(self) -> int:
        return len(self.filter_calls)

    def script_open(self, answers: Iterable[Exception | None]) -> None:
        """Let the next ``open`` calls raise these errors; None lets one succeed."""
        self._open_answers.extend(answers)

    def script_send(self, answers: Iterable[Exception | None]) -> None:
        """Let the next ``send`` calls raise these errors; None lets one succeed."""
        self._send_answers.extend(answers)

    def limit_room(self, frames: int | None) -> None:
        """Accept only this many further frames, then ``BackPressure``; None lifts the limit and tells the sender."""
        self._room = frames
        if frames != 0 and self._on_room is not None:
            self._on_room()

    def connect(self, peer: MockCanInterface) -> None:
        """Put both on one wire: what one sends, the other receives at once."""
        self._peers.append(peer)
        peer._peers.append(self)

    def inject_frame(self, frame: CanFrame) -> bool:
        """Receive a frame from the wire; False if the socket is closed or its filters hold the frame back."""
        if self._state is not CanIfaceState.ACTIVE or self._listener is None:
            return False
        if not passes_filters(self.filters, frame):
            return False
        self._listener.on_frame(frame)
        return True

    def inject_error(self, classes: CanErrorClass, data: bytes = bytes(8), timestamp_ns: int = 0) -> None:
        """Receive an error frame; a bus-off also stops the interface, as a controller does."""
        if CanErrorClass.BUS_OFF in classes and self._state is CanIfaceState.ACTIVE:
            self._state = CanIfaceState.BUS_OFF
        if self._listener is not None:
            self._listener.on_error_frame(CanErrorFrame(classes, data, timestamp_ns))

    def inject_overflow(self, lost: int) -> None:
        """Report ``lost`` frames dropped by the system because they were not read in time."""
        if self._listener is not None:
            self._listener.on_receive_overflow(lost)

    def inject_state(self, state: CanIfaceState, reason: str) -> None:
        """Report a change of the socket's state, for example ``DOWN`` with "interface is down"."""
        self._state = state
        if self._listener is not None:
            self._listener.on_state(state, reason)

    def open(self, listener: CanInterfaceListener) -> None:
        self.open_count += 1
        _give(self._open_answers)
        self._listener = listener
        self.filters = ACCEPT_ALL
        self._state = CanIfaceState.ACTIVE

    def send(self, frame: CanFrame) -> None:
        self.send_count += 1
        if self._state is not CanIfaceState.ACTIVE:
            raise LinkDown(f"CAN interface {self._name!r} is {self._state.value}; open it before sending")
        if frame.fd and not self.carries_fd:
            raise StackError(f"CAN interface {self._name!r} carries no CAN FD frames (EINVAL)")
        check_room(len(frame.data), repr(self._name), fd=frame.fd)
        if frame.fd and len(frame.data) not in FD_LENGTHS:
            raise StackError(
                f"CAN interface {self._name!r}: no CAN FD frame has {len(frame.data)} data bytes (EINVAL); pad them"
            )
        _give(self._send_answers)
        self._take_room()
        self.sent.append(frame)
        for receiver in ([self] if self.receive_own else []) + self._peers:
            receiver.inject_frame(frame)

    def set_filters(self, filters: Sequence[CanFilter]) -> None:
        self.filters = tuple(filters)
        self.filter_calls.append(self.filters)

    def on_transmit_ready(self, callback: Callable[[], None] | None) -> None:
        self._on_room = callback

    def close(self) -> None:
        if self._state is not CanIfaceState.CLOSED:
            self.close_count += 1
        self._state = CanIfaceState.CLOSED
        self._listener = None

    def _take_room(self) -> None:
        if self._room is None:
            return
        if self._room == 0:
            raise BackPressure(f"CAN interface {self._name!r}: transmit queue is full (ENOBUFS); send again later")
        self._room -= 1


def _give(answers: deque[Exception | None]) -> None:
    answer = answers.popleft() if answers else None
    if answer is not None:
        raise answer
