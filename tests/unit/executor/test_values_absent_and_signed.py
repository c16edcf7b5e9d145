"""What an observation says of a scan that did not run or began early: nothing, and a negative number; never 0."""

from __future__ import annotations

import pytest

from tests.unit.executor.support import MS, Counter, ManualRig, Recorder, every


@pytest.mark.verifies("REQ_0103", "REQ_0107")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_scan_that_does_not_run_has_no_duration_no_jitter_and_no_lateness(workers: int, manual: ManualRig) -> None:
    recorder = Recorder()
    executor = manual.builder().worker_threads(workers).observer(recorder).build()
    executor.add(every(10 * MS, Counter(lambda run: manual.clock.advance(3 * MS if run == 2 else MS)), 2 * MS), "t")

    executor.run_n(4)

    seen = [(c.cycle_index, c.faulted, c.took_ns, c.jitter_ns, c.lateness_ns) for c in recorder.cycles]
    assert seen == [
        (0, False, MS, None, 0),
        (1, False, 3 * MS, 0, 0),
        (2, True, None, None, None),
        (3, True, None, None, None),
    ]
    assert [cycle.actual_period_ns for cycle in recorder.cycles] == [None, 10 * MS, 10 * MS, 10 * MS]
    assert executor.stats_snapshot()[0].samples == 2


@pytest.mark.verifies("REQ_0106")
def test_lateness_is_negative_where_a_scan_begins_before_its_slot(manual: ManualRig) -> None:
    recorder = Recorder()
    early_ns = iter([0, 0, 2 * MS, 2 * MS, MS, MS])
    executor = (
        manual.builder().observer(recorder).telemetry_clock(lambda: manual.clock.now_ns() - next(early_ns)).build()
    )
    executor.add(every(10 * MS, Counter()), "t")

    executor.run_n(3)

    assert [cycle.lateness_ns for cycle in recorder.cycles] == [0, -2 * MS, -MS]
    assert [cycle.jitter_ns for cycle in recorder.cycles] == [None, 2 * MS, MS]
    assert executor.stats_snapshot()[0].max_lateness_ns == 0
