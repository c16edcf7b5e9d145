"""Numbers to places: time axis, value axis, ticks and their labels; pure arithmetic, the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor, log10

__all__ = ["LEFT", "RIGHT", "WIDTH", "TimeAxis", "ValueAxis", "show_number", "show_time"]

WIDTH = 1080
LEFT = 190
RIGHT = 16
_UNITS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns"))


def show_time(t_ns: int) -> str:
    """Return an instant for people, in seconds down to the microsecond, so that a column of them lines up."""
    seconds, rest_ns = divmod(t_ns, 1_000_000_000)
    return f"{seconds}.{rest_ns // 1_000:06d} s"


def show_number(value: float) -> str:
    """Return a value with up to six significant digits."""
    return f"{value + 0.0:.6g}"


def _step(span: float, most: int) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that cuts ``span`` into at most ``most`` parts."""
    rough = span / most
    power = 10.0 ** floor(log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= rough * 0.999)


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """Virtual time from 0 to ``duration_ns`` over the width of the page."""

    duration_ns: int

    def x(self, t_ns: int) -> float:
        """Return the place of an instant, in units of the drawing."""
        return LEFT + (WIDTH - LEFT - RIGHT) * min(t_ns, self.duration_ns) / max(1, self.duration_ns)

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Yield place and label of each tick."""
        size_ns, unit = next(((size, unit) for size, unit in _UNITS if self.duration_ns >= size), _UNITS[-1])
        step_ns = max(1, round(_step(max(1, self.duration_ns), 10)))
        for t_ns in range(0, self.duration_ns + 1, step_ns):
            yield self.x(t_ns), f"{show_number(t_ns / size_ns)} {unit}"


@dataclass(frozen=True, slots=True)
class ValueAxis:
    """Values from ``low`` to ``high`` over a band from ``top`` to ``bottom`` of a drawing."""

    low: float
    high: float
    top: float
    bottom: float

    @classmethod
    def around(cls, low: float, high: float, top: float, bottom: float) -> ValueAxis:
        """Return an axis with a little room around the values; a constant is drawn in the middle."""
        margin = (high - low) * 0.06 or abs(low) * 0.1 or 1.0
        return cls(low - margin, high + margin, top, bottom)

    @classmethod
    def boolean(cls, top: float, bottom: float) -> ValueAxis:
        """Return the axis of a signal that is 0 or 1, with both on it whichever occurred."""
        return cls(-0.12, 1.12, top, bottom)

    def y(self, value: float) -> float:
        """Return the place of a value, in units of the drawing."""
        return self.bottom - (self.bottom - self.top) * (value - self.low) / (self.high - self.low)

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Yield place and label of each tick."""
        step = _step(self.high - self.low, 4)
        for number in range(ceil(self.low / step), floor(self.high / step) + 1):
            yield self.y(number * step), show_number(number * step)
