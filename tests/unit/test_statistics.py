"""Histogram and windowed extremes."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.statistics import (
    BUCKETS,
    PERCENTILE_MAX_REL_ERR_PCT,
    Histogram,
    WindowedExtremes,
    WindowedMaximum,
    bucket_of,
    midpoint_of,
)


def _uniform() -> list[int]:
    source = random.Random(1)
    return [source.randint(100, 100_000_000) for _ in range(10_000)]


def _exponential() -> list[int]:
    source = random.Random(2)
    return [max(1, round(source.expovariate(1e-6))) for _ in range(10_000)]


@pytest.mark.realizes("TEST_0190")
@pytest.mark.realizes("TEST_0868")
@pytest.mark.parametrize("samples", [_uniform(), _exponential()], ids=["uniform", "exponential"])
@pytest.mark.parametrize("permille", [500, 950, 990])
def test_percentiles_are_within_one_percent_of_the_exact_ones(samples: list[int], permille: int) -> None:
    histogram = Histogram(window=40_000)
    for sample in samples:
        histogram.record(sample)

    exact = sorted(samples)[math.ceil(len(samples) * permille / 1000) - 1]
    error_pct = abs(histogram.percentile(permille) - exact) / exact * 100

    assert error_pct <= PERCENTILE_MAX_REL_ERR_PCT


@pytest.mark.verifies("REQ_0852")
@given(st.integers(100, 10_000_000_000))
def test_the_midpoint_of_a_bucket_is_within_one_percent_of_what_falls_into_it(value: int) -> None:
    midpoint = midpoint_of(bucket_of(value))

    assert abs(midpoint - value) * 100 <= value


@pytest.mark.verifies("REQ_0852")
def test_buckets_follow_the_documented_formula() -> None:
    values = [1, 2, 3, 64, 65, 1000, (1 << 36) - 1, 1 << 36, 1 << 60, 0, -5]

    found = [bucket_of(value) for value in values]

    assert found == [0, 64, 96, 384, 385, 9 * 64 + 61, BUCKETS - 1, BUCKETS - 1, BUCKETS - 1, 0, 0]


@pytest.mark.verifies("REQ_0100")
def test_an_empty_histogram_reports_zero() -> None:
    assert Histogram(16).percentile(500) == 0


@pytest.mark.verifies("REQ_0100")
def test_old_samples_leave_the_window_segment_by_segment() -> None:
    histogram = Histogram(window=8, segments=4)
    for value in [1_000_000] * 8 + [10] * 8:
        histogram.record(value)

    assert histogram.percentile(1000) == 10


@pytest.mark.verifies("REQ_0100")
@pytest.mark.parametrize(("window", "segments"), [(0, 4), (4, 0)])
def test_a_window_or_segment_count_below_one_is_refused(window: int, segments: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Histogram(window, segments)


@pytest.mark.verifies("REQ_0105", "REQ_0101", "REQ_0851")
@given(st.integers(1, 8), st.lists(st.integers(-50, 50), max_size=60))
def test_the_extremes_are_those_of_the_last_window(window: int, values: list[int]) -> None:
    maximum, extremes = WindowedMaximum(window), WindowedExtremes(window)

    for count, value in enumerate(values, 1):
        maximum.record(value)
        extremes.record(value)
        recent = values[max(0, count - window) : count]
        assert maximum.value == max(recent)
        assert (extremes.minimum, extremes.maximum) == (min(recent), max(recent))


@pytest.mark.verifies("REQ_0105")
def test_extremes_without_samples_are_absent() -> None:
    extremes = WindowedExtremes(4)

    assert (extremes.minimum, extremes.maximum) == (None, None)
