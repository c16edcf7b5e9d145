"""The grid of the exchanges: absolute, and without catch-up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.ethercat.scheduler import CycleScheduler


@pytest.mark.realizes("TEST_0207")
def test_ten_missed_slots_give_one_fire_that_counts_them() -> None:
    scheduler = CycleScheduler(10)
    assert scheduler.poll(3) == 0

    assert scheduler.poll(3 + 10 * 10 + 4) == 9
    assert scheduler.poll(3 + 10 * 10 + 5) is None

    assert scheduler.due_ns == 3 + 11 * 10


@pytest.mark.verifies("REQ_0317")
@given(st.integers(1, 1000), st.integers(0, 10_000), st.lists(st.integers(0, 3000), max_size=50))
def test_it_never_drifts_and_every_slot_is_served_or_counted(interval: int, start: int, waits: list[int]) -> None:
    scheduler, now, fires = CycleScheduler(interval), start, 1
    assert scheduler.poll(now) == 0

    for wait in waits:
        now += wait
        due = scheduler.due_ns
        skipped = scheduler.poll(now)
        assert due is not None
        assert (skipped is not None) == (now >= due)
        fires += skipped is not None
        assert scheduler.due_ns is not None
        assert (scheduler.due_ns - start) % interval == 0
        assert now < scheduler.due_ns

    assert fires + scheduler.skipped_slots == (now - start) // interval + 1


@pytest.mark.verifies("REQ_0331")
@given(st.integers(1, 1000), st.integers(0, 5000))
def test_after_an_outage_it_goes_on_at_the_next_slot_of_the_same_grid(interval: int, outage: int) -> None:
    scheduler = CycleScheduler(interval)
    scheduler.poll(7)

    scheduler.resume(7 + outage)

    assert scheduler.due_ns is not None
    assert (scheduler.due_ns - 7) % interval == 0
    assert max(7 + outage, 7 + interval) <= scheduler.due_ns < max(7 + outage, 8) + interval
    assert scheduler.skipped_slots == 0


@pytest.mark.verifies("REQ_0316")
def test_an_interval_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="interval_ns=0"):
        CycleScheduler(0)
