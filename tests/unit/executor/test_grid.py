"""The grid as pure arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.executor import Due, GridTimer, base_period
from taktora.executor.grid import LegacyTimer


@pytest.mark.realizes("TEST_0852")
def test_each_slot_fires_once_and_stays_on_the_lattice_under_lateness() -> None:
    grid = GridTimer(0, [1000])

    fired = [(grid.take_due(now), grid.next_ns) for now in (1005, 2012, 2999, 3000)]

    assert fired == [([Due(0, 0, 5)], 2000), ([Due(0, 0, 12)], 3000), ([], 3000), ([Due(0, 0, 0)], 4000)]


@pytest.mark.realizes("TEST_0852")
def test_a_stall_dispatches_once_and_snaps_to_the_next_future_slot() -> None:
    grid = GridTimer(0, [1000])
    grid.take_due(1000)

    stalled = grid.take_due(3500)

    assert (stalled, grid.next_ns) == ([Due(0, 0, 500)], 4000)


@pytest.mark.realizes("TEST_0852")
def test_harmonic_periods_coalesce_in_one_pass() -> None:
    grid = GridTimer(0, [1000, 2000])
    first = grid.take_due(1000)

    both = grid.take_due(2000)

    assert [due.position for due in first] == [0]
    assert [due.position for due in both] == [0, 1]


@pytest.mark.realizes("TEST_0852")
def test_an_empty_grid_waits_without_bound() -> None:
    grid = GridTimer(0, [])

    assert grid.next_timeout_ns(10**30) is None
    assert grid.take_due(10**30) == []


@pytest.mark.verifies("REQ_0268")
def test_the_timeout_ends_at_the_next_slot_and_is_never_negative() -> None:
    grid = GridTimer(100, [1000])

    assert [grid.next_timeout_ns(now) for now in (100, 1099, 1100, 5000)] == [1000, 1, 0, 0]


@pytest.mark.realizes("TEST_0853")
def test_a_skip_is_carried_once_to_the_following_dispatch() -> None:
    grid = GridTimer(0, [1000])

    skipped = [grid.take_due(now)[0].skipped for now in (1000, 3500, 4000, 5000)]

    assert skipped == [0, 0, 1, 0]


@pytest.mark.realizes("TEST_0853")
def test_no_skip_is_kept_from_the_first_dispatch() -> None:
    grid = GridTimer(0, [1000])

    skipped = [grid.take_due(now)[0].skipped for now in (3500, 4000)]

    assert (skipped, grid.next_ns) == ([0, 0], 5000)


@pytest.mark.verifies("REQ_0268")
def test_the_relative_interval_drifts_where_the_grid_does_not() -> None:
    grid, legacy = GridTimer(0, [1000]), LegacyTimer(0, [1000])

    for timer in (grid, legacy):
        for _ in range(100):
            assert timer.next_ns is not None
            timer.take_due(timer.next_ns + 10)

    assert (grid.next_ns, legacy.next_ns) == (101_000, 102_000)


@pytest.mark.verifies("REQ_0268")
def test_base_period_is_the_common_divisor_of_the_non_zero_periods() -> None:
    assert (base_period([6, 0, 4]), base_period([]), base_period([0])) == (2, 0, 0)


@pytest.mark.verifies("REQ_0268", "REQ_0840")
@given(
    epoch=st.integers(-(10**12), 10**12),
    periods=st.lists(st.integers(1, 5000), min_size=1, max_size=4),
    steps=st.lists(st.integers(0, 20_000), min_size=1, max_size=30),
)
def test_every_slot_is_served_or_counted_as_skipped(epoch: int, periods: list[int], steps: list[int]) -> None:
    grid = GridTimer(epoch, periods)
    slot_of: dict[int, int] = {}
    now = epoch

    for step in steps:
        now += step
        for due in grid.take_due(now):
            period = periods[due.position]
            served = (now - due.late_by_ns - epoch) // period
            assert (now - due.late_by_ns - epoch) % period == 0
            assert 0 <= due.late_by_ns < period
            if due.position in slot_of:
                assert slot_of[due.position] < served
            slot_of[due.position] = served

    assert grid.next_ns is not None
    assert grid.next_ns > now


@pytest.mark.verifies("REQ_0840")
@given(period=st.integers(1, 1000), waits=st.lists(st.integers(0, 5000), min_size=2, max_size=40))
def test_one_slot_per_dispatch_plus_the_skips_names_the_slot_that_is_served(period: int, waits: list[int]) -> None:
    grid = GridTimer(0, [period])
    assert grid.next_ns is not None
    first = grid.take_due(grid.next_ns)
    slot = 1

    for wait in waits:
        nominal_ns = grid.next_ns
        due = grid.take_due(nominal_ns + wait)[0]
        slot += 1 + due.skipped
        assert nominal_ns == slot * period

    assert first == [Due(0, 0, 0)]
