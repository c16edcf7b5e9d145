"""Tests of measured values and their limits."""

from __future__ import annotations

import math
from typing import Any

import pytest

from taktora.traceability import LimitBroken, Measure
from taktora.traceability.measure import judge


@pytest.mark.verifies("REQ_8610")
@pytest.mark.parametrize(
    ("value", "low", "high", "verdict"),
    [
        (5.0, 0.0, 5.0, "passed"),
        (0.0, 0.0, 5.0, "passed"),
        (5.1, None, 5.0, "failed"),
        (-0.1, 0.0, None, "failed"),
        (1e9, None, None, "passed"),
        (math.nan, None, 5.0, "failed"),
        (math.inf, 0.0, None, "passed"),
    ],
)
def test_limits_are_inclusive_and_not_a_number_meets_none(
    value: float, low: float | None, high: float | None, verdict: str
) -> None:
    assert judge("x", value, "ms", low, high).verdict == verdict


@pytest.mark.verifies("REQ_8610")
def test_a_broken_limit_is_recorded_before_it_fails_the_test() -> None:
    recorded: list[dict[str, Any]] = []

    with pytest.raises(LimitBroken) as caught:
        Measure(recorded.append)("stop_time", 51, "ms", high=50)

    assert str(caught.value) == "measured value outside its limits: stop_time = 51 ms, limits -inf .. 50"
    assert recorded == [{"name": "stop_time", "value": 51.0, "unit": "ms", "high": 50, "verdict": "failed"}]
