"""Measured values with limits inside a test; the verdict is recorded before the test may fail by it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from taktora.traceability.errors import LimitBroken
from taktora.traceability.results import Measurement

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Measure", "judge"]


# req: REQ_8610
def judge(name: str, value: float, unit: str, low: float | None = None, high: float | None = None) -> Measurement:
    """Return the measurement with its verdict: passed where low <= value <= high; a NaN passes no limit."""
    bounded = low is not None or high is not None
    broken = (low is not None and value < low) or (high is not None and value > high) or (bounded and math.isnan(value))
    finite = float(value) if math.isfinite(value) else None
    return Measurement(name, finite, unit, low, high, "failed" if broken else "passed")


def describe(measured: Measurement) -> str:
    """Return `name = value unit, limits low .. high`."""
    low = "-inf" if measured.low is None else f"{measured.low:g}"
    high = "inf" if measured.high is None else f"{measured.high:g}"
    value = "not finite" if measured.value is None else f"{measured.value:g} {measured.unit}".rstrip()
    return f"{measured.name} = {value}, limits {low} .. {high}"


class Measure:
    """What the fixture `measure` hands to a test: `measure("stop_time", 41.5, "ms", high=50)`."""

    def __init__(self, record: Callable[[dict[str, Any]], None]) -> None:
        self._record = record

    def __call__(
        self, name: str, value: float, unit: str, low: float | None = None, high: float | None = None
    ) -> Measurement:
        """Record a value; raises LimitBroken, which fails the test, where it lies outside `low` .. `high`."""
        __tracebackhide__ = True
        measured = judge(name, value, unit, low, high)
        self._record(msgspec.to_builtins(measured))
        if measured.verdict == "failed":
            raise LimitBroken(f"measured value outside its limits: {describe(measured)}")
        return measured
