"""Sends frames with a period on timers of a World: the k-th one exactly k periods after the start; it has no thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from taktora.can.interface import CanFrame
from taktora.errors import BackPressure, LinkDown
from taktora_sim.world import Timer, World

__all__ = ["PeriodicSending"]


# req: REQ_8203
class PeriodicSending:
    """Frames sent one after the other, one a period, over and over.

    A frame that finds the queue full or the interface down is left out, as the kernel's broadcast manager does, and
    counted in ``skipped``.

    Args:
        world: The World.
        send: Where frames go.
        frames: One or more.
        period_ns: 1 or more.
        duration_ns: Frames are sent while less than this has passed since the start; None for ever.
        before: Called with the index of the frame just before it is sent, returns the one to send instead.
    """

    def __init__(
        self,
        world: World,
        send: Callable[[CanFrame], None],
        frames: Sequence[CanFrame],
        period_ns: int,
        duration_ns: int | None = None,
        before: Callable[[int], CanFrame] | None = None,
    ) -> None:
        if period_ns < 1:
            raise ValueError(f"period {period_ns} ns is not above 0")
        if not frames:
            raise ValueError("there is no frame to send; give one or more")
        self.skipped = 0
        self._world = world
        self._send = send
        self._frames = tuple(frames)
        self._period_ns = period_ns
        self._duration_ns = duration_ns
        self._before = before
        self._start_ns = 0
        self._count = 0
        self._timer: Timer | None = None

    def start(self) -> None:
        """Send the first frame now and go on; does nothing while it runs."""
        if self._timer is None:
            self._start_ns = self._world.now_ns()
            self._count = 0
            self._timer = self._world.call_soon(self._tick)

    def stop(self) -> None:
        """Send nothing more; idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def replace(self, frames: Sequence[CanFrame]) -> None:
        """Send other frames from the next one on, without altering the timing.

        Raises:
            ValueError: another number of frames.
        """
        if len(frames) != len(self._frames):
            raise ValueError(f"{len(frames)} frames are to replace {len(self._frames)}; give as many")
        self._frames = tuple(frames)

    def _tick(self) -> None:
        index = self._count % len(self._frames)
        frame = self._frames[index] if self._before is None else self._before(index)
        try:
            self._send(frame)
        except (BackPressure, LinkDown):
            self.skipped += 1
        self._count += 1
        since_start_ns = self._count * self._period_ns
        if self._duration_ns is not None and since_start_ns >= self._duration_ns:
            self._timer = None
        elif self._timer is not None:
            self._timer = self._world.call_at(self._start_ns + since_start_ns, self._tick)
