"""A program's end of a simulated bus inside a World: the same port, with the waiting done in virtual time."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from taktora.can.interface import CanFilter, CanFrame
from taktora.errors import BackPressure, LinkDown, PayloadOverflow, StackError
from taktora_sim.can.python_can.periodic import PeriodicSending
from taktora_sim.can.python_can.port import CanPort, PortError, Wish, error_code
from taktora_sim.can.python_can.wire import Received
from taktora_sim.world import World

__all__ = ["WorldPort"]


class WorldPort:
    """One socket on a bus of ``world``.

    Args:
        world: Whoever waits here steps it, or lets others do so (``World.foreign_threads``).
        wish: What the program asks for.

    Raises:
        ConfigurationError: the bus is another one than wished for.
    """

    def __init__(self, world: World, wish: Wish) -> None:
        self.channel = wish.channel
        self._world = world
        self._port = CanPort(world, wish)
        self._is_closed = False
        self.bitrate = self._port.bus.bitrate
        self.data_bitrate = self._port.bus.data_bitrate
        self.node = self._port.node.name
        self._place = f"of node {self.node!r} on CAN bus {wish.channel!r}"
        self._way_out = (
            "start what it waits for before"
            if self._port.bus.acknowledge
            else "put another node on the bus, or open it with acknowledge=True (it was made with False: a frame that "
            "no other node acknowledges is repeated for ever)"
        )
        world.on_close(self.close)

    def send(self, frame: CanFrame, timeout_ns: int | None) -> None:
        """Queue one frame, waiting for room at most ``timeout_ns`` of virtual time (None: for ever).

        Raises:
            PortError: no room in time (ENOBUFS), interface down (ENETDOWN), or a frame that cannot be sent (EINVAL).
        """
        until_ns = None if timeout_ns is None else self._world.now_ns() + timeout_ns
        while True:
            self._refuse_closed()
            room = _Flag()
            try:
                self._port.send(frame)
                return
            except BackPressure as error:
                self._port.when_room(room.raise_it)
                left_ns = None if until_ns is None else until_ns - self._world.now_ns()
                if timeout_ns == 0 or not self._wait(room, left_ns, "room in the transmit queue"):
                    raise PortError(str(error), errno.ENOBUFS) from error
            except (LinkDown, StackError, PayloadOverflow) as error:
                raise PortError(str(error), error_code(error)) from error

    def receive(self, timeout_ns: int | None) -> Received | None:
        """Return the next frame, or None when there was none in time (None: for ever).

        Raises:
            PortError: the port is closed.
            ForeignError: virtual time cannot pass here, or nothing will ever come.
        """
        inbox = self._port.inbox
        if not inbox:
            self._refuse_closed()
            self._wait(lambda: bool(inbox) or self._is_closed, timeout_ns, "a message in the inbox")
        if inbox:
            return inbox.popleft()
        self._refuse_closed()
        return None

    def set_filters(self, filters: Sequence[CanFilter]) -> None:
        """Replace the kernel filters."""
        self._port.set_filters(filters)

    def flush(self) -> None:
        """Drop what waits in the transmit queue, but for the frame on the wire."""
        self._port.flush()

    def state(self) -> str:
        """Return the name of the controller's state."""
        return self._port.state

    def set_listen_only(self, only: bool) -> None:
        """Have the controller take part in the bus, or only listen."""
        try:
            self._port.set_listen_only(only)
        except StackError as error:
            raise PortError(str(error), error_code(error)) from error

    def send_periodically(
        self,
        frames: Sequence[CanFrame],
        period_ns: int,
        duration_ns: int | None,
        before: Callable[[int], CanFrame] | None = None,
    ) -> PeriodicSending:
        """Return a sender of ``frames`` on virtual time, not started yet."""
        return self._port.send_periodically(frames, period_ns, duration_ns, before)

    def close(self) -> None:
        """Close the socket; idempotent."""
        self._is_closed = True
        self._port.close()

    def _wait(self, ready: Callable[[], bool], timeout_ns: int | None, what: str) -> bool:
        return self._world.foreign.block(ready, timeout_ns, f"{what} {self._place}", self._way_out)

    def _refuse_closed(self) -> None:
        if self._is_closed:
            raise PortError(f"CAN channel {self.channel!r} is closed; open a new Bus", errno.EBADF)


class _Flag:
    """Set once."""

    def __init__(self) -> None:
        self._is_set = False

    def raise_it(self) -> None:
        self._is_set = True

    def __call__(self) -> bool:
        return self._is_set
