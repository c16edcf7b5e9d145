"""Cycle statistics through the whole executor, as equalities on a clock that stands still."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from functools import partial

import pytest

from taktora.errors import DeclareTriggersError
from taktora.executor import DispatchMode, Executor, PacedCycle, TaskSnapshot, item_with_triggers
from taktora.statistics import PERCENTILE_MAX_REL_ERR_PCT
from tests.unit.executor.support import MS, US, Bell, Counter, ManualRig, Recorder, Rig, every, manual_rig


@pytest.mark.realizes("TEST_0191")
def test_the_maximum_jitter_is_exact(manual: ManualRig) -> None:
    telemetry = [0]

    def body(run: int) -> None:
        telemetry[0] += 10 * MS + (5 * MS if run % 5 == 0 else 0)

    executor = manual.builder().telemetry_clock(lambda: telemetry[0]).build()
    executor.add(every(10 * MS, Counter(body)))

    executor.run_n(60)

    assert executor.stats_snapshot()[0].max_jitter_ns == 5 * MS


@pytest.mark.verifies("REQ_0101")
def test_the_maximum_jitter_ages_out_with_the_window(manual: ManualRig) -> None:
    executor = manual.builder().stats_window(4).build()
    executor.add(every(10 * MS, Counter(lambda run: manual.clock.advance(12 * MS if run == 2 else 0))))

    executor.run_n(3)
    before = executor.stats_snapshot()[0].max_jitter_ns
    executor.run_n(10)

    assert (before, executor.stats_snapshot()[0].max_jitter_ns) == (2 * MS, 0)


@pytest.mark.realizes("TEST_0192")
def test_the_overrun_count_is_exact(manual: ManualRig) -> None:
    took = [1 * MS]
    executor = manual.builder().build()
    name = executor.add(every(10 * MS, Counter(lambda _run: manual.clock.advance(took[0])), budget_ns=10 * MS))

    def run(cycles: int, took_ns: int) -> int:
        took[0] = took_ns
        for _ in range(cycles):
            executor.run_n(1)
            if took_ns > 10 * MS:
                executor.clear_task_fault(name)
        return executor.overrun_count(name)

    counts = [run(50, 1 * MS), run(30, 15 * MS), run(20, 1 * MS)]

    assert counts == [0, 30, 30]
    assert executor.stats_snapshot()[0].overrun_count == 30


@pytest.mark.realizes("TEST_0193")
def test_push_and_pull_agree(manual: ManualRig) -> None:
    recorder = Recorder()
    executor = manual.builder().observer(recorder).build()
    for name, period in (("five", 5 * MS), ("seven", 7 * MS)):
        executor.add(every(period, Counter(lambda run: manual.clock.advance(run * 1_000))), name)

    executor.run_until(lambda: len(recorder.cycles) >= 400)

    for index, snapshot in enumerate(executor.stats_snapshot()):
        took = sorted(c.took_ns for c in recorder.cycles if c.task_index == index and c.took_ns is not None)
        exact = took[math.ceil(len(took) * 0.95) - 1]
        assert snapshot.cycles == snapshot.samples == len(took)
        assert abs(snapshot.p95_ns - exact) * 100 <= PERCENTILE_MAX_REL_ERR_PCT * exact
        assert (snapshot.min_ns, snapshot.max_ns) == (took[0], took[-1])


@pytest.mark.realizes("TEST_0849")
def test_extremes_are_exact(manual: ManualRig) -> None:
    executor = manual.builder().build()
    executor.add(every(50 * MS, Counter(lambda run: manual.clock.advance(20 * MS if run == 7 else MS))))

    executor.run_n(20)

    snapshot = executor.stats_snapshot()[0]
    assert (snapshot.min_ns, snapshot.max_ns) == (1 * MS, 20 * MS)


def _legacy(manual: ManualRig, period_ns: int, starts: Callable[[int], int]) -> tuple[Executor, Recorder]:
    """An executor in Legacy mode whose n-th scan the telemetry clock sees at ``starts(n)``."""
    recorder, scan = Recorder(), [0]

    def body(_run: int) -> None:
        scan[0] += 1

    builder = manual.builder().dispatch_mode(DispatchMode.LEGACY).observer(recorder)
    executor = builder.telemetry_clock(lambda: starts(scan[0])).build()
    executor.add(every(period_ns, Counter(body)))
    return executor, recorder


@pytest.mark.realizes("TEST_0850")
def test_a_steady_slip_accumulates(manual: ManualRig) -> None:
    executor, recorder = _legacy(manual, 10 * MS, lambda scan: scan * 12 * MS)

    executor.run_n(40)

    assert [cycle.lateness_ns for cycle in recorder.cycles] == [n * 2 * MS for n in range(40)]
    assert executor.stats_snapshot()[0].max_lateness_ns == 39 * 2 * MS


@pytest.mark.realizes("TEST_0850")
def test_a_late_wake_with_catch_up_gives_one_spike_and_nothing_negative(manual: ManualRig) -> None:
    offsets = [0, 10, 26, 30, 40]
    executor, recorder = _legacy(manual, 10 * MS, lambda scan: offsets[min(scan, 4)] * MS)

    executor.run_n(5)

    assert [cycle.lateness_ns for cycle in recorder.cycles] == [0, 0, 6 * MS, 0, 0]


@pytest.mark.realizes("TEST_0850")
def test_a_missed_period_without_a_signal_stays_one_period_late(manual: ManualRig) -> None:
    executor, recorder = _legacy(manual, 10 * MS, lambda scan: (scan + (scan >= 2)) * 10 * MS)

    executor.run_n(5)

    assert [cycle.lateness_ns for cycle in recorder.cycles] == [0, 0, 10 * MS, 10 * MS, 10 * MS]
    assert {cycle.skipped_slots for cycle in recorder.cycles} == {0}


@pytest.mark.realizes("TEST_0850")
def test_each_task_anchors_at_its_own_first_dispatch(manual: ManualRig) -> None:
    recorder = Recorder()
    executor = manual.builder().dispatch_mode(DispatchMode.LEGACY).observer(recorder).build()
    executor.add(every(10 * MS, Counter(lambda _run: manual.clock.advance(MS))), "a")
    executor.add(every(10 * MS, Counter()), "b")

    executor.run_n(1)

    assert [(cycle.pre_ns, cycle.lateness_ns) for cycle in recorder.cycles] == [(10 * MS, 0), (11 * MS, 0)]


@pytest.mark.realizes("TEST_0851")
def test_the_index_is_monotonic_over_faults(manual: ManualRig) -> None:
    recorder = Recorder()
    executor = manual.builder().observer(recorder).build()
    executor.add(every(5 * MS, Counter(lambda _run: manual.clock.advance(6 * MS)), budget_ns=2 * MS))

    executor.run_n(6)

    cycles = recorder.cycles
    assert [cycle.cycle_index for cycle in cycles] == [0, 1, 2, 3, 4, 5]
    assert cycles[0].took_ns == 6 * MS
    for cycle in cycles[1:]:
        assert (cycle.faulted, cycle.took_ns, cycle.jitter_ns, cycle.lateness_ns) == (True, None, None, None)
        assert cycle.actual_period_ns is not None


@pytest.mark.verifies("REQ_0103")
def test_faulted_scans_enter_no_aggregate(manual: ManualRig) -> None:
    executor = manual.builder().build()
    executor.add(every(5 * MS, Counter(lambda _run: manual.clock.advance(6 * MS)), budget_ns=2 * MS), "t")

    executor.run_n(6)

    snapshot = executor.stats_snapshot()[0]
    assert (snapshot.samples, snapshot.cycles, snapshot.min_ns, snapshot.max_ns) == (1, 6, 6 * MS, 6 * MS)
    assert snapshot.max_jitter_ns == 0


@pytest.mark.realizes("TEST_0853")
def test_a_long_body_shows_as_skips_and_leaves_no_lasting_lateness(rig: Rig) -> None:
    recorder = Recorder()
    executor = rig.builder().observer(recorder).build()

    def body(run: int) -> None:
        if run == 3:
            if hasattr(rig.clock, "advance"):
                rig.clock.advance(130 * MS)
            else:
                end_ns = rig.clock.now_ns() + 130 * MS
                while rig.clock.now_ns() < end_ns:
                    pass

    executor.add(every(50 * MS, Counter(body)))

    executor.run_n(8)

    last = recorder.cycles[-1]
    assert sum(cycle.skipped_slots for cycle in recorder.cycles) >= 1
    assert last.lateness_ns is not None
    assert last.lateness_ns < 25 * MS


@pytest.mark.realizes("TEST_0856")
def test_the_first_scan_is_anchored_at_its_nominal_slot(manual: ManualRig) -> None:
    script = iter([0, 1_700_000, 2_000_000])
    recorder = Recorder()
    executor = manual.builder().cyclic_clock(lambda: next(script)).observer(recorder).build()
    executor.add(every(MS, Counter()))

    executor.run_n(2)

    assert recorder.cycles[0].lateness_ns == 700_000
    assert [cycle.skipped_slots for cycle in recorder.cycles] == [0, 0]


@pytest.mark.verifies("REQ_0106", "REQ_0840")
def test_lateness_against_the_grid_is_exact_over_a_stall() -> None:
    manual = manual_rig(late_by_ns=[50 * US, 0, 2_300 * US, 0, 0])
    recorder = Recorder()
    executor = manual.builder().observer(recorder).build()
    executor.add(every(MS, Counter()))

    executor.run_n(5)

    assert [cycle.lateness_ns for cycle in recorder.cycles] == [50 * US, 0, 2_300 * US, 0, 0]
    assert [cycle.skipped_slots for cycle in recorder.cycles] == [0, 0, 0, 2, 0]
    assert executor.stats_snapshot()[0].max_lateness_ns == 2_300 * US


@pytest.mark.verifies("REQ_0106")
def test_a_second_run_is_anchored_anew(manual: ManualRig) -> None:
    recorder = Recorder()
    executor = manual.builder().observer(recorder).build()
    executor.add(every(10 * MS, Counter()))

    executor.run_n(2)
    manual.clock.advance(3_333_333)
    executor.run_n(2)

    assert [cycle.lateness_ns for cycle in recorder.cycles] == [0, 0, 0, 0]
    assert [cycle.cycle_index for cycle in recorder.cycles] == [0, 1, 2, 3]
    assert recorder.cycles[2].actual_period_ns is None


@pytest.mark.verifies("REQ_0106", "REQ_0103")
def test_event_tasks_have_durations_but_no_cycles(manual: ManualRig) -> None:

    source, recorder = Bell("input"), Recorder()
    executor = manual.builder().observer(recorder).build()
    body = Counter(lambda _run: manual.clock.advance(3 * MS))
    executor.add(item_with_triggers(lambda d: d.raw_listener(source), body), "t")
    manual.reactor.at(MS, source.notify)

    executor.run_n(1)

    assert recorder.cycles == []
    assert executor.stats_snapshot()[0] == TaskSnapshot(
        task_id="t",
        samples=1,
        cycles=0,
        p50_ns=executor.stats_snapshot()[0].p50_ns,
        p95_ns=executor.stats_snapshot()[0].p95_ns,
        p99_ns=executor.stats_snapshot()[0].p99_ns,
        min_ns=3 * MS,
        max_ns=3 * MS,
        max_jitter_ns=0,
        max_lateness_ns=0,
        overrun_count=0,
    )


@pytest.mark.verifies("REQ_0106", "REQ_0107", "REQ_0840")
def test_a_task_on_an_external_cycle_counts_as_cyclic(manual: ManualRig) -> None:
    bus, recorder = PacedCycle(2 * MS, "cell"), Recorder()
    bus.complete(5)
    executor = manual.builder().observer(recorder).build()
    executor.add(item_with_triggers(lambda d: d.cycle(bus), Counter()), "control")
    for time_ns, cycles in ((2 * MS, 1), (4 * MS + 100, 1), (8 * MS, 2), (10 * MS, 1)):
        manual.reactor.at(time_ns, partial(bus.complete, cycles))

    executor.run_n(4)

    assert [
        (cycle.cycle_index, cycle.period_ns, cycle.lateness_ns, cycle.skipped_slots) for cycle in recorder.cycles
    ] == [(0, 2 * MS, 0, 0), (1, 2 * MS, 100, 0), (2, 2 * MS, 0, 1), (3, 2 * MS, 0, 0)]


class HeardCycle:
    """A cycle that is heard of through a port, as that of a bus in another process."""

    period_ns = 2 * MS

    def __init__(self) -> None:
        self.listener = Bell()
        self.completed = 0

    def set_waker(self, waker: Callable[[], None] | None) -> None:
        raise AssertionError("the listener wakes")

    def take(self) -> int:
        self.listener.drain()
        count, self.completed = self.completed, 0
        return count

    def complete(self, cycles: int) -> None:
        self.completed += cycles
        self.listener.notify()


@pytest.mark.verifies("REQ_0107", "REQ_0840")
def test_a_cycle_that_is_heard_through_a_port_counts_too(manual: ManualRig) -> None:
    bus, recorder = HeardCycle(), Recorder()
    executor = manual.builder().observer(recorder).build()
    executor.add(item_with_triggers(lambda d: d.cycle(bus), Counter()), "control")
    for time_ns, cycles in ((2 * MS, 1), (4 * MS, 0), (8 * MS, 3)):
        manual.reactor.at(time_ns, partial(bus.complete, cycles))

    executor.run_n(2)

    assert [(cycle.cycle_index, cycle.skipped_slots) for cycle in recorder.cycles] == [(0, 0), (1, 2)]


@pytest.mark.verifies("REQ_0107")
def test_one_cycle_paces_one_executor_at_a_time(manual: ManualRig) -> None:
    bus = PacedCycle(2 * MS, "cell")
    first, second = (manual.builder(name).build() for name in ("first", "second"))
    for executor in (first, second):
        executor.add(item_with_triggers(lambda d: d.cycle(bus), Counter()))
    loop = first.start_loop()
    next(loop)

    with pytest.raises(DeclareTriggersError, match="'cell' already paces an executor"):
        second.run_n(1)
    loop.close()
    manual.reactor.at(manual.clock.now_ns() + 2 * MS, bus.complete)
    second.run_n(1)

    assert second.stats_snapshot()[0].cycles == 1


@pytest.mark.verifies("REQ_0107")
def test_a_cycle_without_a_period_is_refused() -> None:
    with pytest.raises(DeclareTriggersError, match="period of 'cell' is 0 ns"):
        PacedCycle(0, "cell")


@pytest.mark.verifies("REQ_0103")
def test_an_observation_is_a_value(manual: ManualRig) -> None:
    recorder = Recorder()
    executor = manual.builder().observer(recorder).build()
    executor.add(every(MS, Counter()), "t")

    executor.run_n(1)

    first = recorder.cycles[0]
    assert (first.task_id, first.task_index, first.actual_period_ns, first.jitter_ns) == ("t", 0, None, None)
    with pytest.raises(FrozenInstanceError):
        first.pre_ns = 1  # type: ignore[misc]
