"""The clock seam: one monotonic and one civil time in integer nanoseconds; never a float, never a sleep."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Source of time for everything below the composition root.

    Real runs use :class:`SystemClock`; in a simulated run the World is the clock.
    """

    def now_ns(self) -> int:
        """Return monotonic nanoseconds since an arbitrary but fixed origin."""
        ...

    def unix_ns(self) -> int:
        """Return nanoseconds since 1970-01-01T00:00:00Z."""
        ...


class SystemClock:
    """The clocks of the operating system: ``CLOCK_MONOTONIC`` and ``CLOCK_REALTIME``."""

    __slots__ = ()

    now_ns = staticmethod(time.monotonic_ns)
    unix_ns = staticmethod(time.time_ns)
