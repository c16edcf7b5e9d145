"""When the next exchange is due: an absolute grid without catch-up; pure arithmetic, it reads no clock."""

from __future__ import annotations

__all__ = ["CycleScheduler"]


# req: REQ_0316, REQ_0317
class CycleScheduler:
    """Slots at ``epoch + k * interval_ns``; the epoch is the first poll, which fires.

    Slots that passed unserved give one fire and are counted, never a burst, and a late fire does not shift later slots.

    Args:
        interval_ns: Period, above 0.
    """

    __slots__ = ("due_ns", "interval_ns", "skipped_slots")

    def __init__(self, interval_ns: int) -> None:
        if interval_ns < 1:
            raise ValueError(f"CycleScheduler(interval_ns={interval_ns}): at least 1 is needed")
        self.interval_ns = interval_ns
        self.due_ns: int | None = None
        """The next slot; None before the first poll."""
        self.skipped_slots = 0
        """Slots passed unserved so far."""

    def poll(self, now_ns: int) -> int | None:
        """Return None when no slot is due (skip); else serve the slot and return how many were passed before it."""
        due_ns = self.due_ns
        if due_ns is None:
            self.due_ns = now_ns + self.interval_ns
            return 0
        if now_ns < due_ns:
            return None
        if now_ns - due_ns < self.interval_ns:
            self.due_ns = due_ns + self.interval_ns
            return 0
        skipped = (now_ns - due_ns) // self.interval_ns
        self.due_ns = due_ns + (skipped + 1) * self.interval_ns
        self.skipped_slots += skipped
        return skipped

    def resume(self, now_ns: int) -> None:
        """Go on with the first slot at or after ``now_ns``: what passed during an outage counts as nothing."""
        if self.due_ns is not None and now_ns > self.due_ns:
            self.due_ns += -((self.due_ns - now_ns) // self.interval_ns) * self.interval_ns
