"""Bounded statistics of durations in integer nanoseconds, for executors and connectors; it reads no clock.

One writer per object. Everything is sized when it is made and an update allocates nothing that stays (ADR_0062).
"""

from __future__ import annotations

from array import array
from math import isqrt

__all__ = ["BUCKETS", "PERCENTILE_MAX_REL_ERR_PCT", "Histogram", "WindowedExtremes", "WindowedMaximum"]

PERCENTILE_MAX_REL_ERR_PCT = 1
"""Largest relative error of a percentile, in percent, from 100 ns to 10 s (REQ_0852)."""

_OCTAVES = 36
_SUB_BITS = 6
BUCKETS = _OCTAVES << _SUB_BITS
_LARGEST = (1 << _OCTAVES) - 1


# req: REQ_0852
def bucket_of(value: int) -> int:
    """Return the bucket of ``value``: each octave is split into 64; what is outside 1 to 2**36 - 1 is clamped."""
    if value < 1:
        return 0
    if value > _LARGEST:
        return BUCKETS - 1
    octave = value.bit_length() - 1
    return (octave << _SUB_BITS) + (((value - (1 << octave)) << _SUB_BITS) >> octave)


def midpoint_of(bucket: int) -> int:
    """Return the geometric midpoint of ``bucket``, rounded."""
    octave, sub = divmod(bucket, 1 << _SUB_BITS)
    low = ((1 << _SUB_BITS) + sub) << octave >> _SUB_BITS
    if octave <= _SUB_BITS:
        return low
    high = low + (1 << (octave - _SUB_BITS))
    return (isqrt(4 * low * high) + 1) >> 1


# req: REQ_0100
# req: REQ_0100, REQ_0852
class Histogram:
    """Percentiles over a sliding window, from 2304 buckets in a ring of segments.

    A full segment makes room by clearing the oldest one, so that between ``(segments - 1)`` and ``segments`` times
    ``window // segments`` of the last samples count.

    Args:
        window: Samples in the window, at least 1.
        segments: How finely old samples are dropped.
    """

    __slots__ = ("_counts", "_last_bucket", "_place", "_segments", "_share", "last", "repeats", "room")

    def __init__(self, window: int = 1024, segments: int = 4) -> None:
        if window < 1 or segments < 1:
            raise ValueError(f"Histogram(window={window}, segments={segments}): both are at least 1")
        self._segments = [array("I", bytes(BUCKETS * array("I").itemsize)) for _ in range(segments)]
        self._share = max(1, window // segments)
        self._place = 0
        self._counts = self._segments[0]
        self.room = self._share
        """Samples that still go into the current segment, the repeats included."""
        self.last = 1
        self._last_bucket = 0
        self.repeats = 0
        """How often the last value is not in its bucket yet; never beyond the current segment."""

    # req: REQ_0104
    def record(self, value: int) -> None:
        """Count one sample; one that is as the last one costs next to nothing."""
        repeats = self.repeats
        if value == self.last and repeats < self.room:
            self.repeats = repeats + 1
        else:
            self._counts[self._last_bucket] += repeats
            self.room -= repeats
            if not self.room:
                self._next_segment()
            self.last = value
            self._last_bucket = bucket_of(value)
            self.repeats = 1

    def percentile(self, permille: int) -> int:
        """Return the midpoint of the bucket that holds the given share of the samples; 0 without samples.

        Args:
            permille: 500 is the median, 990 the 99th percentile.
        """
        return self.percentiles((permille,))[0]

    def percentiles(self, permilles: tuple[int, ...]) -> tuple[int, ...]:
        """Return several percentiles of one and the same state; ``permilles`` ascend."""
        sums = [sum(column) for column in zip(*self._segments, strict=True)]
        sums[self._last_bucket] += self.repeats
        total = sum(sums)
        if not total:
            return (0,) * len(permilles)
        found: list[int] = []
        seen = bucket = 0
        for permille in permilles:
            target = -(-total * permille // 1000)
            while seen < target:
                seen += sums[bucket]
                bucket += 1
            found.append(midpoint_of(max(0, bucket - 1)))
        return tuple(found)

    def _next_segment(self) -> None:
        self._place = (self._place + 1) % len(self._segments)
        self._counts = self._segments[self._place]
        self._counts[:] = _EMPTY
        self.room = self._share


_EMPTY = array("I", bytes(BUCKETS * array("I").itemsize))


_LOWEST = -(1 << 63)


# req: REQ_0101, REQ_0105
# req: REQ_0101, REQ_0105, REQ_0851
class WindowedMaximum:
    """The exact largest of the last ``window`` samples: a monotonic deque in two rings of fixed size.

    ``value`` is the maximum, or None before the first sample. The youngest candidate is kept outside the rings, so that
    a steady signal costs a comparison.
    """

    __slots__ = (
        "_expires",
        "_head",
        "_last",
        "_last_seq",
        "_seq",
        "_seqs",
        "_tail",
        "_values",
        "_window",
        "sole",
        "value",
    )

    def __init__(self, window: int) -> None:
        if window < 1:
            raise ValueError(f"WindowedMaximum(window={window}): at least 1 is needed")
        self._window = window
        self._values = array("q", bytes(8 * window))
        self._seqs = array("q", bytes(8 * window))
        self._head = 0
        self._tail = 0
        self._seq = 0
        self._last = _LOWEST
        self._last_seq = 0
        self._expires = 0
        self.value: int | None = None
        self.sole: int | None = None
        """The only candidate there is; a further sample of this value changes nothing. None: there are several."""

    def record(self, value: int) -> None:
        """Take one sample, in 64 signed bits; candidates that can never be the maximum again leave."""
        if value == self.sole:
            return  # the only candidate, renewed: ages count from the youngest, so nothing moves
        last, head, tail = self._last, self._head, self._tail
        seq = self._seq
        self._seq = seq + 1
        if value < last:
            place = tail % self._window
            self._values[place] = last
            self._seqs[place] = self._last_seq
            self._tail = tail = tail + 1
            if head == tail - 1:
                self._expires = self._last_seq + self._window
        elif value > last:
            values, window = self._values, self._window
            while tail > head and values[(tail - 1) % window] <= value:
                tail -= 1
            self._tail = tail
            if tail == head:
                self.value = value
        self._last = value
        self._last_seq = seq
        if head == tail:
            self.sole = value
            return
        self.sole = None
        if seq >= self._expires:
            self._head = head + 1
            self._look_at_front()

    def _look_at_front(self) -> None:
        if self._head == self._tail:
            self.value = self.sole = self._last
            return
        place = self._head % self._window
        self.value = self._values[place]
        self._expires = self._seqs[place] + self._window


class WindowedExtremes:
    """The exact smallest and largest of the last ``window`` samples; None before the first."""

    __slots__ = ("_largest", "_smallest")

    def __init__(self, window: int) -> None:
        self._largest = WindowedMaximum(window)
        self._smallest = WindowedMaximum(window)

    def record(self, value: int) -> None:
        """Take one sample."""
        self._largest.record(value)
        self._smallest.record(-value)

    @property
    def minimum(self) -> int | None:
        value = self._smallest.value
        return None if value is None else -value

    @property
    def maximum(self) -> int | None:
        return self._largest.value
