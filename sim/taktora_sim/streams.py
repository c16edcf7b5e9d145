"""Seeded random streams, one a component; never the global generator.

Only ``getrandbits`` and ``random`` of Mersenne Twister are used: both give the same numbers on every supported
Python and platform, which ``gauss``, ``sample`` and the maths library behind them do not promise.
"""

from __future__ import annotations

import hashlib
from collections.abc import MutableSequence, Sequence
from random import Random
from typing import TypeVar

__all__ = ["Stream", "StreamEntropy"]

T = TypeVar("T")


# req: REQ_8003
class Stream:
    """Draws of one component, derived from (seed, path): other components do not shift them (REQ_8003)."""

    __slots__ = ("getrandbits", "path", "random")

    def __init__(self, seed: int, path: str) -> None:
        self.path = path
        digest = hashlib.sha256(f"{seed}\0{path}".encode()).digest()
        generator = Random(int.from_bytes(digest, "little"))  # noqa: S311 - repeatability is the point
        self.random = generator.random
        """Return a float in [0, 1)."""
        self.getrandbits = generator.getrandbits
        """Return an int of the given number of random bits."""

    def integer(self, low: int, high: int) -> int:
        """Return an int from ``low`` to ``high``, both included."""
        span = high - low + 1
        if span < 1:
            msg = f"empty range: low {low} is above high {high}"
            raise ValueError(msg)
        bits = (span - 1).bit_length()
        while (draw := self.getrandbits(bits) if bits else 0) >= span:
            pass
        return low + draw

    def uniform(self, low: float, high: float) -> float:
        """Return a float in [low, high)."""
        return low + (high - low) * self.random()

    def chance(self, probability: float) -> bool:
        """Return True with ``probability`` (0 to 1)."""
        return self.random() < probability

    def choice(self, items: Sequence[T]) -> T:
        """Return one of ``items``."""
        return items[self.integer(0, len(items) - 1)]

    def shuffle(self, items: MutableSequence[T]) -> None:
        """Shuffle ``items`` in place."""
        for last in range(len(items) - 1, 0, -1):
            other = self.integer(0, last)
            items[last], items[other] = items[other], items[last]


class StreamEntropy:
    """The Entropy of a simulated runtime: back-off jitter and generated names from one seeded stream."""

    __slots__ = ("_count", "getrandbits", "random")

    def __init__(self, stream: Stream) -> None:
        self.random = stream.random
        self.getrandbits = stream.getrandbits
        self._count = 0

    def name(self, prefix: str) -> str:
        """Return a name that is unique in this world and the same in every run."""
        self._count += 1
        return f"{prefix}-{self._count}"
