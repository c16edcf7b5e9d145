"""The SyncManager watchdog of a simulated ESC: registers 0x0400, 0x0420, 0x0440, 0x0442; it knows no output."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taktora_sim.world import World

__all__ = ["DIVIDER", "EXPIRIES", "STATUS", "WINDOW", "SyncManagerWatchdog"]

DIVIDER = 0x0400
WINDOW = 0x0420
STATUS = 0x0440
EXPIRIES = 0x0442
_NS_PER_TICK = 40


# req: REQ_8105
class SyncManagerWatchdog:
    """Counts the time since the last write to a buffered SyncManager with control bit 6.

    There is one timer, however many frames come: when it is due it looks how far the deadline has moved meanwhile.

    Args:
        world: Time and timers.
        memory: Registers of the ESC.
        on_expiry: Called once when the window has passed.
    """

    def __init__(self, world: World, memory: bytearray, on_expiry: Callable[[], None]) -> None:
        self._world = world
        self._now_ns = world.now_ns
        self._memory = memory
        self._on_expiry = on_expiry
        self._window_ns = 0
        self.fed_ns: int | None = None
        """Virtual time of the last write while it runs; None while it does not."""
        self._due_ns: int | None = None
        self._generation = 0

    @property
    def window_ns(self) -> int:
        """Time without outputs until it expires; 0 is disabled."""
        return self._window_ns

    def reset(self) -> None:
        """Take the registers as they are after power-up; nothing runs until the first write."""
        self.fed_ns = self._due_ns = None
        self._generation += 1
        self._memory[STATUS] = 1
        self.configure()

    def configure(self) -> None:
        """Read divider and window; a running watchdog starts anew."""
        divider = int.from_bytes(self._memory[DIVIDER : DIVIDER + 2], "little")
        intervals = int.from_bytes(self._memory[WINDOW : WINDOW + 2], "little")
        self._window_ns = _NS_PER_TICK * (divider + 2) * intervals
        if not self._window_ns:
            self.fed_ns = None
            self._memory[STATUS] = 1
        elif self.fed_ns is not None:
            self._start(self._now_ns())

    def trigger(self, now_ns: int) -> None:
        """Note a write of outputs at ``now_ns``, the present virtual time."""
        if self.fed_ns is not None:
            self.fed_ns = now_ns  # it runs, and the timer is never due later
        elif self._window_ns:
            self._memory[STATUS] = 1
            self._start(now_ns)

    def expire(self) -> None:
        """Expire now, whatever was written; counts as the real thing."""
        self.fed_ns = None
        self._memory[STATUS] = 0
        if self._memory[EXPIRIES] < 0xFF:
            self._memory[EXPIRIES] += 1
        self._on_expiry()

    def _start(self, now_ns: int) -> None:
        self.fed_ns = now_ns
        due_ns = now_ns + self._window_ns
        if self._due_ns is None or due_ns < self._due_ns:
            self._arm(due_ns)

    def _arm(self, due_ns: int) -> None:
        self._generation += 1
        generation = self._generation
        self._due_ns = due_ns
        self._world.post_at(due_ns, lambda: self._look(generation))

    def _look(self, generation: int) -> None:
        if generation != self._generation:
            return
        self._due_ns = None
        if self.fed_ns is None:
            return
        deadline_ns = self.fed_ns + self._window_ns
        if deadline_ns > self._now_ns():
            self._arm(deadline_ns)
        else:
            self.expire()
