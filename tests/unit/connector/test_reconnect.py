from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.connector import ExponentialBackoff
from taktora.errors import ConfigurationError

MS = 1_000_000


class Constant:
    """A random source that always gives the same number."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        return self.value


@pytest.mark.realizes("TEST_0100")
def test_delays_never_fall_and_stay_at_the_maximum() -> None:
    policy = ExponentialBackoff(initial_ns=10 * MS, max_ns=80 * MS, growth=2.0, jitter_ratio=0)

    delays = [policy.next_delay() for _ in range(20)]

    assert delays == [10 * MS, 20 * MS, 40 * MS] + [80 * MS] * 17


@pytest.mark.realizes("TEST_0100")
def test_full_jitter_never_exceeds_the_maximum() -> None:
    policy = ExponentialBackoff(random.Random(1), initial_ns=10 * MS, max_ns=50 * MS, jitter_ratio=1.0)

    delays = [policy.next_delay() for _ in range(200)]

    assert 0 <= min(delays) < max(delays) <= 50 * MS


@pytest.mark.realizes("TEST_0100")
def test_reset_restores_the_first_delay() -> None:
    policy = ExponentialBackoff(jitter_ratio=0)
    first = policy.next_delay()
    policy.next_delay()

    policy.reset()

    assert (policy.next_delay(), policy.attempts) == (first, 1)


@pytest.mark.realizes("TEST_0100")
@given(st.integers(1, 10**9), st.integers(1, 10**11), st.floats(1.0, 4.0), st.integers(0, 15))
def test_delays_follow_the_geometric_formula(initial_ns: int, max_ns: int, growth: float, attempt: int) -> None:
    policy = ExponentialBackoff(initial_ns=initial_ns, max_ns=max_ns, growth=growth, jitter_ratio=0)

    delays = [policy.next_delay() for _ in range(attempt + 1)]

    assert abs(delays[attempt] - min(initial_ns * growth**attempt, max(initial_ns, max_ns))) <= 1_000


@pytest.mark.realizes("TEST_0100")
@given(st.integers(0, 2**32), st.floats(0.0, 1.0))
def test_jitter_stays_within_its_ratio(seed: int, ratio: float) -> None:
    policy = ExponentialBackoff(random.Random(seed), initial_ns=100 * MS, growth=1.0, jitter_ratio=ratio)

    delays = [policy.next_delay() for _ in range(20)]

    assert all(abs(delay - 100 * MS) <= 100 * MS * ratio + 1 for delay in delays)


@pytest.mark.verifies("REQ_0233")
def test_defaults() -> None:
    policy = ExponentialBackoff(Constant(0.5))

    delays = [policy.next_delay() for _ in range(12)]

    assert delays[:3] == [100 * MS, 200 * MS, 400 * MS]
    assert delays[-1] == 30_000 * MS
    assert policy.jitter_ratio == 0.1


@pytest.mark.verifies("REQ_0233")
@pytest.mark.parametrize(
    ("value", "factor"), [pytest.param(0.0, 0.75, id="shortest"), pytest.param(1.0, 1.25, id="longest")]
)
def test_jitter_spans_both_sides(value: float, factor: float) -> None:
    policy = ExponentialBackoff(Constant(value), jitter_ratio=0.25)

    assert policy.next_delay() == 100 * MS * factor


@pytest.mark.verifies("REQ_0233")
def test_out_of_range_values_are_clamped() -> None:
    policy = ExponentialBackoff(Constant(0.5), initial_ns=50, max_ns=10, growth=0.5, jitter_ratio=7.0)

    assert (policy.max_ns, policy.growth, policy.jitter_ratio) == (50, 1.0, 1.0)


@pytest.mark.verifies("REQ_0233")
@pytest.mark.parametrize("growth", [1e308, float("inf"), 2.0])
def test_thousands_of_attempts_do_not_overflow(growth: float) -> None:
    policy = ExponentialBackoff(initial_ns=1, max_ns=10**30, growth=growth, jitter_ratio=0)

    delays = [policy.next_delay() for _ in range(3000)]

    assert delays[-1] == policy.max_ns


@pytest.mark.verifies("REQ_0232")
def test_finite_policy_is_used_up_until_reset() -> None:
    policy = ExponentialBackoff(jitter_ratio=0, max_attempts=2)

    used = [policy.next_backoff() for _ in range(3)]
    policy.reset()

    assert used == [100 * MS, 200 * MS, None]
    assert policy.next_backoff() == 100 * MS


@pytest.mark.verifies("REQ_0233")
def test_jitter_needs_a_random_source() -> None:
    with pytest.raises(ConfigurationError, match=r"ExponentialBackoff.random: None with jitter_ratio 0.1"):
        ExponentialBackoff()


@pytest.mark.verifies("REQ_0233")
def test_same_seed_gives_the_same_delays() -> None:
    first, second = (ExponentialBackoff(random.Random(9)) for _ in range(2))

    assert [first.next_delay() for _ in range(30)] == [second.next_delay() for _ in range(30)]
