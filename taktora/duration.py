"""Durations as people write them, exact to the nanosecond; nothing here is ever a float."""

from __future__ import annotations

import re
from datetime import timedelta
from fractions import Fraction

__all__ = ["advise_ns", "format_duration", "parse_duration"]

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ns|us|µs|ms|s|min|h)\s*")
_LARGEST_NS = (1 << 63) - 1


def parse_duration(text: str) -> int:
    """Return the nanoseconds of a text like ``3s``, ``250ms``, ``1.5s``, ``20us``, ``2min`` or ``1h``.

    Raises:
        ValueError: no number with a unit, not a whole number of nanoseconds, or beyond 292 years.
    """
    found = _TEXT.fullmatch(text)
    if found is None:
        msg = f"{text!r} is no duration; write a number and a unit (ns, us, ms, s, min, h), for example 10s or 250ms"
        raise ValueError(msg)
    exact = Fraction(found[1]) * _UNITS_NS[found[2]]
    if exact.denominator != 1:
        msg = f"{text!r} is not a whole number of nanoseconds; virtual time has no smaller step"
        raise ValueError(msg)
    if exact.numerator > _LARGEST_NS:
        msg = f"{text!r} is longer than 292 years, the largest time of a trace"
        raise ValueError(msg)
    return exact.numerator


def format_duration(time_ns: int) -> str:
    """Return the exact text of ``time_ns`` in the largest unit up to seconds that fits; it can be parsed again."""
    if time_ns < 0:
        return f"-{format_duration(-time_ns)}"
    unit = next((unit for unit in ("s", "ms", "us") if time_ns >= _UNITS_NS[unit]), "ns")
    size_ns = _UNITS_NS[unit]
    whole, rest = divmod(time_ns, size_ns)
    fraction = str(size_ns + rest)[1:].rstrip("0")
    if not time_ns:
        return "0s"
    return f"{whole}.{fraction}{unit}" if fraction else f"{whole}{unit}"


# req: REQ_8510
def advise_ns(value: object) -> str:
    """Return the way out for a ``value`` that stands where an int of nanoseconds belongs: that int, if there is one."""
    exact: Fraction | None = None
    if isinstance(value, str):
        try:
            exact = Fraction(parse_duration(value))
        except ValueError:
            exact = None
    elif isinstance(value, timedelta):
        exact = Fraction(value // timedelta(microseconds=1)) * 1000
    elif isinstance(value, float) and value.is_integer():
        exact = Fraction(value)
    if exact is None:
        return "give nanoseconds as an int, for example 1_000_000_000 for one second"
    return f"give nanoseconds as an int: {exact.numerator:_}"
