"""How long to wait before the next attempt to connect; pure arithmetic, it never sleeps and owns no clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from taktora.errors import ConfigurationError

__all__ = ["EXHAUSTED", "ExponentialBackoff", "RandomSource", "ReconnectPolicy"]

EXHAUSTED: Final = "reconnect policy exhausted"
"""Reason of the Down that follows the last attempt of a finite policy."""

_LONGEST_NS: Final = 2**62


class RandomSource(Protocol):
    """What jitter is drawn from: the runtime's ``Entropy``, a World's stream, or ``random.Random(seed)``."""

    def random(self) -> float:
        """Return a number in [0, 1)."""
        ...


# req: REQ_0232
class ReconnectPolicy(Protocol):
    """Delays between attempts, in nanoseconds; for stacks that expose raw connect events (REQ_0232)."""

    def next_delay(self) -> int:
        """Return the wait before the next attempt and advance."""
        ...

    def next_backoff(self) -> int | None:
        """As ``next_delay``, but None once the attempts of a finite policy are used up."""
        ...

    def reset(self) -> None:
        """Begin again: the connection was there."""
        ...


# req: REQ_0233
@dataclass(slots=True)
class ExponentialBackoff:
    """Attempt k waits ``min(initial * growth**k, max)``, varied by up to ``jitter`` of itself, never above ``max``.

    Args:
        random: Source of the jitter. Required when ``jitter_ratio`` is above 0: a run must be repeatable.
        initial_ns: First wait, default 100 ms; below 0 counts as 0.
        max_ns: Longest wait, default 30 s; below ``initial_ns`` counts as ``initial_ns``.
        growth: Factor from one wait to the next, default 2.0; below 1 counts as 1.
        jitter_ratio: Default 0.1; clamped to 0..1.
        max_attempts: None for no limit.

    Raises:
        ConfigurationError: jitter without a random source.
    """

    random: RandomSource | None = None
    initial_ns: int = 100_000_000
    max_ns: int = 30_000_000_000
    growth: float = 2.0
    jitter_ratio: float = 0.1
    max_attempts: int | None = None
    _attempts: int = field(default=0, init=False, repr=False)
    _base_ns: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        self.initial_ns = min(max(0, self.initial_ns), _LONGEST_NS)
        self.max_ns = min(max(self.initial_ns, self.max_ns), _LONGEST_NS)
        self.growth = min(self.growth, 1e9) if self.growth > 1.0 else 1.0
        self.jitter_ratio = min(1.0, self.jitter_ratio) if self.jitter_ratio > 0.0 else 0.0
        if self.jitter_ratio and self.random is None:
            raise ConfigurationError(
                f"ExponentialBackoff.random: None with jitter_ratio {self.jitter_ratio}; "
                "give the runtime's entropy (or random.Random(seed)), or jitter_ratio=0"
            )
        self.reset()

    @property
    def attempts(self) -> int:
        """How many delays were handed out since the last reset."""
        return self._attempts

    def next_delay(self) -> int:
        base_ns = self._base_ns
        # Grown step by step and capped at each one: multiplying floats rounds alike everywhere, whereas pow() differs
        # between C libraries and overflows.
        self._base_ns = min(base_ns * self.growth, float(self.max_ns))
        self._attempts += 1
        return self._vary(base_ns)

    def next_backoff(self) -> int | None:
        if self.max_attempts is not None and self._attempts >= self.max_attempts:
            return None
        return self.next_delay()

    def reset(self) -> None:
        self._attempts = 0
        self._base_ns = float(self.initial_ns)

    def _vary(self, base_ns: float) -> int:
        if not self.jitter_ratio or self.random is None:
            return round(base_ns)
        factor = 1.0 + self.jitter_ratio * (2.0 * self.random.random() - 1.0)
        return max(0, min(self.max_ns, round(base_ns * factor)))
