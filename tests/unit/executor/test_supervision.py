"""Heartbeat, admission, subscriber deadlines and thread attributes."""

from __future__ import annotations

import os
import sys
import threading
from itertools import pairwise

import pytest

from taktora.errors import AdmissionRejected, BuilderError
from taktora.executor import (
    AdmissionContext,
    AdmissionFault,
    Context,
    HeartbeatTick,
    Observer,
    ThreadAttributes,
    item,
    item_with_triggers,
)
from tests.unit.executor.support import MS, Bell, Counter, ManualRig, Recorder, Rig, every

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")


@pytest.mark.realizes("TEST_0135")
def test_heartbeats_keep_their_gap_and_count_without_a_break(rig: Rig) -> None:
    ticks: list[HeartbeatTick] = []

    class Watch(Observer):
        def on_heartbeat(self, tick: HeartbeatTick) -> None:
            """End the run once half of the last ten gaps are kept: the machine may hold it up, but not for ever."""
            ticks.append(tick)
            gaps_ns = sorted(after.at_ns - before.at_ns for before, after in pairwise(ticks[-11:]))
            if len(gaps_ns) == 10 and gaps_ns[5] <= 40 * MS:
                executor.stop()

    executor = rig.builder().observer(Watch()).heartbeat(20 * MS).build()

    executor.run()

    assert [tick.seq for tick in ticks] == list(range(1, len(ticks) + 1))
    assert all(after.at_ns > before.at_ns for before, after in pairwise(ticks))


@pytest.mark.verifies("TSR_0010")
def test_a_heartbeat_stays_on_its_grid_and_leaves_missed_ticks_out(manual: ManualRig) -> None:
    recorder = Recorder()
    executor = manual.builder().observer(recorder).heartbeat(20 * MS).build()
    executor.add(every(30 * MS, Counter(lambda run: manual.clock.advance(55 * MS if run == 1 else 0))))

    executor.run_for(120 * MS)

    assert recorder.ticks == [
        HeartbeatTick(seq, at_ns * MS) for seq, at_ns in enumerate((0, 20, 85, 100, 120), start=1)
    ]


@pytest.mark.verifies("TSR_0010")
def test_heartbeats_do_not_count_as_wakes(manual: ManualRig) -> None:
    executor, counter = manual.builder().heartbeat(MS).build(), Counter()
    executor.add(every(10 * MS, counter))

    executor.run_n(3)

    assert counter.runs == 3


@pytest.mark.verifies("TSR_0010")
@pytest.mark.parametrize("period_ns", [0, 50 * MS + 1])
def test_a_heartbeat_slower_than_half_the_tolerant_time_is_refused(period_ns: int, manual: ManualRig) -> None:
    with pytest.raises(BuilderError, match="heartbeat"):
        manual.builder().heartbeat(period_ns)


@pytest.mark.realizes("TEST_0136")
def test_a_refused_admission_dispatches_nothing(manual: ManualRig) -> None:
    contexts: list[AdmissionContext] = []
    recorder, counter = Recorder(), Counter()

    def check(context: AdmissionContext) -> AdmissionFault:
        contexts.append(context)
        return AdmissionFault("memory protection is off")

    executor = manual.builder("cell").observer(recorder).admission_check(check).build()
    executor.add(every(MS, counter))

    with pytest.raises(AdmissionRejected, match="'cell' was not admitted: memory protection is off"):
        executor.run_n(1)

    assert counter.runs == 0
    assert contexts == [AdmissionContext("cell", None, 1)]
    assert [name for name, _ in recorder.calls] == ["on_admission_rejected"]


@pytest.mark.realizes("TEST_0136")
def test_an_admitted_executor_runs_and_is_asked_at_every_start(manual: ManualRig) -> None:
    asked: list[AdmissionContext] = []
    counter = Counter()
    executor = manual.builder().admission_check(asked.append).build()
    executor.add(every(MS, counter))

    executor.run_n(1)
    executor.run_n(1)

    assert (len(asked), counter.runs) == (2, 2)


class Input:
    """A source of events of its own."""

    def __init__(self) -> None:
        self.listener = Bell("input")


@pytest.mark.verifies("REQ_0030", "TSR_0004")
def test_a_missed_deadline_runs_the_item_and_the_item_can_tell_which_it_was(manual: ManualRig) -> None:
    source, recorder = Input(), Recorder()
    seen: list[tuple[int, bool, bool]] = []

    def body(context: Context) -> None:
        seen.append((context.now_ns() // MS, context.event_fired, context.deadline_missed))

    executor = manual.builder().monitor(recorder).build()
    executor.add(item_with_triggers(lambda d: d.deadline(source, 50 * MS), body), "watch")
    manual.reactor.at(30 * MS, source.listener.notify)
    manual.reactor.at(140 * MS, source.listener.notify)

    executor.run_for(200 * MS)

    assert seen == [(30, True, False), (80, False, True), (130, False, True), (140, True, False), (190, False, True)]
    assert recorder.named("deadline_missed") == [
        ("watch", 80 * MS, 0),
        ("watch", 130 * MS, 0),
        ("watch", 190 * MS, 0),
    ]


@pytest.mark.verifies("REQ_0030")
def test_a_deadline_on_the_real_clock_fires_within_one_more_of_it(rig: Rig) -> None:
    source, counter = Input(), Counter()
    executor = rig.builder().build()
    executor.add(item_with_triggers(lambda d: d.deadline(source, 20 * MS), counter))
    before_ns = rig.clock.now_ns()

    executor.run_n(2)

    assert rig.clock.now_ns() - before_ns >= 40 * MS
    assert counter.runs == 2


@pytest.mark.verifies("REQ_0030")
def test_an_event_in_the_same_wake_beats_its_deadline(manual: ManualRig) -> None:
    source, recorder = Input(), Recorder()
    executor = manual.builder().monitor(recorder).build()
    executor.add(item_with_triggers(lambda d: d.deadline(source, 50 * MS), Counter()))
    manual.reactor.at(50 * MS, source.listener.notify)

    executor.run_for(60 * MS)

    assert recorder.named("deadline_missed") == []


@pytest.mark.realizes("TEST_0127")
@LINUX
def test_affinity_applies_and_is_reported(rig: Rig) -> None:
    core = min(os.sched_getaffinity(0))
    attributes = ThreadAttributes(name_prefix="taktora-test", affinity_mask=(core,))
    seen: list[set[int]] = []
    executor = rig.builder().worker_threads(2).worker_attributes(attributes).build()
    executor.add(every(10 * MS, Counter(lambda _run: seen.append(os.sched_getaffinity(0)))))

    executor.run_n(1)

    assert seen == [{core}]
    assert [applied.thread for applied in executor.applied_attributes] == ["taktora-test-0", "taktora-test-1"]
    assert {applied.affinity for applied in executor.applied_attributes} == {(core,)}


@pytest.mark.realizes("TEST_0128")
@LINUX
def test_a_refused_priority_is_tolerated_and_reported(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    attributes = ThreadAttributes(priority=80)
    executor = rig.builder().worker_threads(1).worker_attributes(attributes).build()
    executor.add(every(10 * MS, Counter()))

    executor.run_n(1)

    (applied,) = executor.applied_attributes
    assert (applied.policy, applied.priority) == ("SCHED_OTHER", 0)
    assert applied.refused == ("SCHED_FIFO 80: Operation not permitted; it needs CAP_SYS_NICE",)


@pytest.mark.verifies("REQ_0040")
@LINUX
def test_an_impossible_core_is_reported_instead_of_failing(rig: Rig) -> None:
    executor = rig.builder().worker_threads(1).worker_attributes(ThreadAttributes(affinity_mask=(1000,))).build()
    executor.add(every(10 * MS, Counter()))

    executor.run_n(1)

    assert "affinity to cores (1000,): " in executor.applied_attributes[0].refused[0]


@pytest.mark.verifies("REQ_0041")
@pytest.mark.skipif(os.environ.get("TAKTORA_RT_HIL") != "1", reason="not run: TAKTORA_RT_HIL is not set")
def test_a_worker_runs_under_sched_fifo_where_the_process_may(rig: Rig) -> None:
    executor = rig.builder().worker_threads(1).worker_attributes(ThreadAttributes(priority=50)).build()
    executor.add(every(10 * MS, Counter()))

    executor.run_n(1)

    (applied,) = executor.applied_attributes
    assert (applied.policy, applied.priority, applied.refused) == ("SCHED_FIFO", 50, ())


@pytest.mark.verifies("REQ_0041")
@pytest.mark.parametrize("attributes", [{"priority": 0}, {"priority": 100}, {"affinity_mask": (-1,)}])
def test_attributes_that_cannot_be_are_refused(attributes: dict[str, object]) -> None:
    with pytest.raises(BuilderError, match="ThreadAttributes"):
        ThreadAttributes(**attributes)  # type: ignore[arg-type]


@pytest.mark.verifies("REQ_0040")
@LINUX
def test_the_dispatch_thread_reports_its_attributes_too(rig: Rig) -> None:
    cores = tuple(sorted(os.sched_getaffinity(0)))
    executor = rig.builder().dispatch_attributes(ThreadAttributes(affinity_mask=cores)).build()
    executor.add(every(MS, Counter()))

    executor.run_n(1)

    assert [applied.affinity for applied in executor.applied_attributes] == [cores]


@pytest.mark.verifies("REQ_0063")
def test_no_wait_for_workers_or_vertices_has_a_timeout(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts: list[float | None] = []
    original = threading.Condition.wait

    def wait(self: threading.Condition, timeout: float | None = None) -> bool:
        if threading.current_thread().name.startswith(("MainThread", "taktora-")):  # no thread of the test runner
            timeouts.append(timeout)
        return original(self, timeout)

    monkeypatch.setattr(threading.Condition, "wait", wait)
    executor = rig.builder().worker_threads(2).build()
    graph = executor.add_graph()
    root, leaf = graph.vertex(every(MS, Counter())), graph.vertex(item(Counter()))
    graph.edge(root, leaf).root(root).build()

    executor.run_n(5)

    assert set(timeouts) == {None}
