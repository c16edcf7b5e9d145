"""The absolute time grid as pure integer arithmetic; it reads no clock and waits for nothing (REQ_0268)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from functools import reduce
from math import gcd
from typing import NamedTuple

__all__ = ["DispatchMode", "Due", "GridTimer", "LegacyTimer", "base_period"]


class DispatchMode(Enum):
    """How intervals are turned into wake-ups."""

    GRID = "grid"
    """Scan k is due at ``epoch + k * period``: late wakes never shift later ones. The default everywhere."""

    LEGACY = "legacy"
    """The next scan is due one period after the last wake: drifts, and is kept to show by how much."""


class Due(NamedTuple):
    """One task of the grid that is to run now.

    Args:
        position: Place of the task among the periods the timer was made with.
        skipped: Slots passed over unserved since the slot of its previous dispatch.
        late_by_ns: Time since the latest slot that is not in the future.
    """

    position: int
    skipped: int
    late_by_ns: int


def base_period(periods_ns: Sequence[int]) -> int:
    """Return the greatest common divisor of the non-zero periods, 0 when there is none."""
    return reduce(gcd, periods_ns, 0)


# req: REQ_0268
# req: REQ_0268, REQ_0840
class GridTimer:
    """Nominal starts ``epoch + k * period`` for several periods that share one epoch.

    A wake that is late by whole periods gives one dispatch and the next future slot, never a burst; how many slots
    were passed over is carried to the dispatch that follows.

    Args:
        epoch_ns: Time zero of the grid.
        periods_ns: One period per task, each above 0.
    """

    __slots__ = ("_carry", "_dispatched", "_next", "_periods", "epoch_ns", "late_by_ns", "next_ns", "skipped")

    def __init__(self, epoch_ns: int, periods_ns: Sequence[int]) -> None:
        self._periods = list(periods_ns)
        count = len(self._periods)
        self._next = [0] * count
        self._carry = [0] * count
        self._dispatched = [False] * count
        self.skipped = [0] * count
        self.late_by_ns = [0] * count
        self.restart(epoch_ns)

    def restart(self, epoch_ns: int) -> None:
        """Put every task one period after a new epoch and forget what was carried."""
        self.epoch_ns = epoch_ns
        for position, period_ns in enumerate(self._periods):
            self._next[position] = epoch_ns + period_ns
            self._carry[position] = 0
            self._dispatched[position] = False
        self.next_ns = min(self._next, default=None)

    def next_timeout_ns(self, now_ns: int) -> int | None:
        """Return the time until the next slot, 0 when one is due, None (unbounded) when the grid is empty."""
        return None if self.next_ns is None else max(0, self.next_ns - now_ns)

    def take_due(self, now_ns: int) -> list[Due]:
        """Return what is due at ``now_ns``, in order of position, and move it to its next future slot."""
        positions: list[int] = []
        self.collect(now_ns, positions)
        return [Due(position, self.skipped[position], self.late_by_ns[position]) for position in positions]

    def collect(self, now_ns: int, positions: list[int]) -> None:
        """Append the due positions; their ``skipped`` and ``late_by_ns`` entries hold until the next call."""
        slots, next_ns = self._next, None
        for position, slot_ns in enumerate(slots):
            if now_ns >= slot_ns:
                positions.append(position)
                slots[position] = slot_ns = self._advance(position, slot_ns, now_ns)
            if next_ns is None or slot_ns < next_ns:
                next_ns = slot_ns
        self.next_ns = next_ns

    # req: REQ_0840
    def _advance(self, position: int, slot_ns: int, now_ns: int) -> int:
        period_ns = self._periods[position]
        carry = self._carry
        self.skipped[position] = carry[position]
        carry[position] = 0
        stepped_ns = slot_ns + period_ns
        if stepped_ns > now_ns:
            self.late_by_ns[position] = now_ns - slot_ns
            self._dispatched[position] = True
            return stepped_ns
        self.late_by_ns[position] = (now_ns - self.epoch_ns) % period_ns
        next_ns = now_ns - self.late_by_ns[position] + period_ns
        if self._dispatched[position]:
            carry[position] = (next_ns - stepped_ns) // period_ns
        self._dispatched[position] = True
        return next_ns


class LegacyTimer(GridTimer):
    """The relative interval: each wake restarts the period, without a skip signal and without a lateness."""

    __slots__ = ()

    def _advance(self, position: int, slot_ns: int, now_ns: int) -> int:  # noqa: ARG002 - the grid's signature
        return now_ns + self._periods[position]
