"""The working counter of a cycle: what is expected, and when low ones make the bus Degraded; counts, reads no clock."""

from __future__ import annotations

__all__ = ["LowCounterPolicy", "lrw_increment"]


# req: REQ_0329, REQ_0828
def lrw_increment(output_bits: int, input_bits: int) -> int:
    """Return what a SubDevice with such images adds to the working counter of an LRW: outputs 2, inputs 1, both 3.

    (ESC datasheet, section I, table of commands and working counter increments.)
    """
    return (2 if output_bits else 0) + (1 if input_bits else 0)


# req: REQ_0319, REQ_0320
class LowCounterPolicy:
    """Counts consecutive low working counters; a counter at or above the expected one is a match.

    Args:
        degraded_after_cycles: From this many in a row on the bus is degraded; below 1 counts as 1.
    """

    __slots__ = ("_degraded_after", "degraded", "low_cycles")

    def __init__(self, degraded_after_cycles: int = 1) -> None:
        self._degraded_after = max(1, degraded_after_cycles)
        self.low_cycles = 0
        """How many in a row have been low; 0 after a match."""
        self.degraded = False
        """The last match is too long ago."""

    def judge(self, observed: int, expected: int) -> bool:
        """Take the counter of one completed cycle; return whether it is a match."""
        if observed >= expected:
            self.low_cycles = 0
            self.degraded = False
            return True
        self.low_cycles += 1
        self.degraded = self.low_cycles >= self._degraded_after
        return False

    def reset(self) -> None:
        """Begin anew: the segment has been brought up again."""
        self.low_cycles = 0
        self.degraded = False
