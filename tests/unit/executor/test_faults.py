"""Overrun faults of tasks and of the executor, as equalities on a clock that stands still."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from taktora.errors import ExecutorNotFaulted, TaskNotFaulted, TaskNotFound
from taktora.executor import (
    RUNNING,
    BudgetExceeded,
    Context,
    ExecutorFaulted,
    Faulted,
    ItemFlow,
    IterationBudgetExceeded,
    item,
)
from taktora.executor.conduct import FaultMachine
from taktora.executor.faults import saturated_ms
from taktora.executor.observer import Hooks
from taktora.executor.task import Task
from taktora.testing.mock_reactor import ManualClock, ScriptedModel
from tests.unit.executor.support import MS, Bell, Counter, ManualRig, Recorder, Rig, every, manual_rig


def _advancing(clock: ManualClock) -> Callable[[int], None]:
    lock = threading.Lock()

    def advance(_run: int) -> None:
        with lock:
            clock.advance(3 * MS)

    return advance


def _slow(manual: ManualRig, took_ns: int) -> Counter:
    return Counter(lambda _run: manual.clock.advance(took_ns))


@pytest.mark.realizes("TEST_0815")
def test_a_budget_breach_faults_the_task(manual: ManualRig) -> None:
    recorder, body = Recorder(), _slow(manual, 3 * MS)
    executor = manual.builder().observer(recorder).build()
    executor.add(every(5 * MS, body, budget_ns=1 * MS), "t")

    executor.run_n(1)
    state = executor.task_fault_state("t")
    executor.run_n(3)

    assert state == Faulted(BudgetExceeded(took_ms=3, budget_ms=1), since_ms=8)
    assert executor.overrun_count("t") == 1
    assert recorder.named("on_task_fault") == [("t", BudgetExceeded(3, 1))]
    assert body.runs == 1


@pytest.mark.verifies("REQ_0070")
def test_a_run_of_exactly_the_budget_is_no_breach(manual: ManualRig) -> None:
    executor = manual.builder().build()
    executor.add(every(5 * MS, _slow(manual, MS), budget_ns=MS), "t")

    executor.run_n(3)

    assert (executor.task_fault_state("t"), executor.overrun_count("t")) == (RUNNING, 0)


@pytest.mark.realizes("TEST_0816")
@pytest.mark.realizes("TEST_0819")
def test_clearing_resumes_dispatch_and_a_second_breach_repeats_the_cycle(manual: ManualRig) -> None:
    recorder, body = Recorder(), _slow(manual, 3 * MS)
    executor = manual.builder().observer(recorder).build()
    executor.add(every(5 * MS, body, budget_ns=1 * MS), "t")
    executor.run_n(2)

    old = executor.clear_task_fault("t")
    cleared = executor.task_fault_state("t")
    executor.run_n(2)

    assert old.reason == BudgetExceeded(3, 1)
    assert cleared is RUNNING
    assert body.runs == 2
    assert recorder.named("on_task_clear") == [("t",)]
    assert len(recorder.named("on_task_fault")) == 2
    assert executor.overrun_count("t") == 2


@pytest.mark.realizes("TEST_0817")
def test_the_iteration_budget_faults_the_executor_and_its_tasks_follow_silently(manual: ManualRig) -> None:
    recorder, healthy = Recorder(), Counter()
    executor = manual.builder().observer(recorder).iteration_budget(10 * MS).build()
    executor.add(every(50 * MS, healthy), "healthy")
    executor.add(every(50 * MS, _slow(manual, 12 * MS)), "slow")

    executor.run_n(1)
    state = executor.executor_fault_state()
    executor.run_n(1)
    cascade = executor.task_fault_state("healthy")
    old = executor.clear_executor_fault()

    assert state == Faulted(IterationBudgetExceeded(task_index=1, took_ms=12, budget_ms=10), since_ms=62)
    assert recorder.named("on_executor_fault") == [(IterationBudgetExceeded(1, 12, 10),)]
    assert cascade == Faulted(ExecutorFaulted(), since_ms=112)
    assert recorder.named("on_task_fault") == []
    assert healthy.runs == 1
    assert old == state
    assert [name for name, _ in recorder.calls if name.endswith("_clear")] == [
        "on_task_clear",
        "on_task_clear",
        "on_executor_clear",
    ]
    assert executor.executor_fault_state() is RUNNING


@pytest.mark.verifies("REQ_0071")
def test_the_whole_wake_counts_against_the_iteration_budget(manual: ManualRig) -> None:
    executor = manual.builder().iteration_budget(10 * MS).build()
    for name in ("a", "b", "c"):
        executor.add(every(50 * MS, _slow(manual, 4 * MS)), name)

    executor.run_n(1)

    state = executor.executor_fault_state()
    assert isinstance(state, Faulted)
    assert state.reason == IterationBudgetExceeded(task_index=0, took_ms=12, budget_ms=10)


@pytest.mark.verifies("REQ_0071")
def test_clearing_the_executor_leaves_a_task_that_breached_its_own_budget_faulted(manual: ManualRig) -> None:
    executor = manual.builder().iteration_budget(10 * MS).build()
    executor.add(every(50 * MS, _slow(manual, 12 * MS), budget_ns=MS), "slow")
    executor.add(every(50 * MS, Counter()), "healthy")
    executor.run_n(2)

    executor.clear_executor_fault()

    assert isinstance(executor.task_fault_state("slow"), Faulted)
    assert executor.task_fault_state("healthy") is RUNNING


@pytest.mark.realizes("TEST_0818")
def test_a_handler_stands_in_for_main_until_the_fault_is_cleared(manual: ManualRig) -> None:
    main, handler = _slow(manual, 3 * MS), Counter()
    executor = manual.builder().build()
    executor.add_with_fault_handler(every(5 * MS, main, budget_ns=MS), every(MS, handler), "t")

    executor.run_n(3)
    before = (main.runs, handler.runs)
    executor.clear_task_fault("t")
    executor.run_n(1)

    assert before == (1, 2)
    assert (main.runs, handler.runs) == (2, 2)


@pytest.mark.verifies("REQ_0072")
def test_the_handler_stands_in_while_the_executor_is_faulted_too(manual: ManualRig) -> None:
    main, handler = _slow(manual, 3 * MS), _slow(manual, 30 * MS)
    executor = manual.builder().iteration_budget(2 * MS).build()
    executor.add_with_fault_handler(every(50 * MS, main, budget_ns=20 * MS), item(handler), "t")

    executor.run_n(3)

    assert (main.runs, handler.runs) == (1, 2)
    assert executor.overrun_count("t") == 0


@pytest.mark.realizes("TEST_0872")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_handler_requested_twice_in_a_phase_runs_once(workers: int, manual: ManualRig) -> None:
    from taktora.executor import item_with_triggers

    first, second, handler = Bell("a"), Bell("b"), Counter()
    executor = manual.builder().worker_threads(workers).build()
    main = item_with_triggers(lambda d: d.raw_listener(first).raw_listener(second).budget(MS), _slow(manual, 2 * MS))
    executor.add_with_fault_handler(main, item(handler))
    for time_ns in (10 * MS, 20 * MS):
        manual.reactor.at(time_ns, lambda: (first.notify(), second.notify()))

    executor.run_n(2)

    assert handler.runs == 1


@pytest.mark.realizes("TEST_0820")
def test_fault_state_crosses_threads_whole(rig: Rig) -> None:
    gate = threading.Event()
    clock = rig.clock
    advance = _advancing(clock) if isinstance(clock, ManualClock) else None
    executor = rig.builder().worker_threads(3).build()
    for number in range(3):
        body = Counter(advance or (lambda _run: gate.wait(0.003)))
        executor.add(every(5 * MS, body, budget_ns=MS), f"t{number}")
    seen: list[object] = []

    runner = threading.Thread(target=lambda: executor.run_n(2))
    runner.start()
    while runner.is_alive():
        seen.extend(executor.task_fault_state(name) for name in executor.task_ids)
    runner.join()

    assert all(state is RUNNING or isinstance(state, Faulted) for state in seen)
    assert [executor.overrun_count(name) for name in executor.task_ids] == [1, 1, 1]


@pytest.mark.verifies("REQ_0070")
@pytest.mark.parametrize("kind", ["chain", "graph"])
def test_chains_and_graphs_have_the_budget_of_their_head(kind: str, manual: ManualRig) -> None:
    executor = manual.builder().build()
    head, tail = every(20 * MS, _slow(manual, 2 * MS), budget_ns=3 * MS), item(_slow(manual, 2 * MS))
    if kind == "chain":
        name = executor.add_chain([head, tail])
    else:
        graph = executor.add_graph()
        graph.edge(graph.vertex(head), graph.vertex(tail)).root(0)
        name = graph.build()

    executor.run_n(1)

    state = executor.task_fault_state(name)
    assert isinstance(state, Faulted)
    assert state.reason == BudgetExceeded(4, 3)


@pytest.mark.verifies("REQ_0070")
def test_budgets_go_by_the_fault_clock_and_never_by_the_telemetry_clock(manual: ManualRig) -> None:
    telemetry = [0]

    def slow_telemetry(_run: int) -> None:
        telemetry[0] += 100 * MS

    builder = manual.builder().telemetry_clock(lambda: telemetry[0]).fault_clock(manual.clock.now_ns)
    executor = builder.build()
    executor.add(every(5 * MS, Counter(slow_telemetry), budget_ns=MS), "t")

    executor.run_n(2)

    assert executor.task_fault_state("t") is RUNNING
    assert executor.stats_snapshot()[0].max_ns == 100 * MS


@pytest.mark.verifies("REQ_0070", "REQ_0102")
def test_modelled_durations_are_charged_against_the_budget() -> None:
    manual = manual_rig(ScriptedModel({"t": [MS, MS + 1, 0]}))
    executor = manual.builder().build()
    executor.add(every(5 * MS, Counter(), budget_ns=MS), "t")

    executor.run_n(1)
    first = executor.task_fault_state("t")
    executor.run_n(1)

    assert first is RUNNING
    assert executor.task_fault_state("t") == Faulted(BudgetExceeded(1, 1), since_ms=12)


@pytest.mark.verifies("REQ_0073")
def test_what_is_not_faulted_cannot_be_cleared_and_unknown_tasks_are_named(manual: ManualRig) -> None:
    executor = manual.builder().build()
    executor.add(every(MS, Counter()), "t")

    with pytest.raises(TaskNotFaulted, match="'t' is Running"):
        executor.clear_task_fault("t")
    with pytest.raises(ExecutorNotFaulted):
        executor.clear_executor_fault()
    with pytest.raises(TaskNotFound, match=r"no task 'x' \(tasks: t\)"):
        executor.task_fault_state("x")


@pytest.mark.verifies("REQ_0073")
def test_milliseconds_saturate_instead_of_wrapping() -> None:
    assert saturated_ms((1 << 40) * MS, 30) == (1 << 30) - 1
    assert saturated_ms(-5, 30) == 0
    assert saturated_ms(1_999_999, 32) == 1


@pytest.mark.verifies("REQ_0060")
def test_the_scan_index_of_a_faulted_task_goes_on(manual: ManualRig) -> None:
    recorder = Recorder()
    executor = manual.builder().observer(recorder).build()
    executor.add(every(5 * MS, _slow(manual, 3 * MS), budget_ns=MS), "t")

    executor.run_n(3)

    assert [(cycle.cycle_index, cycle.faulted) for cycle in recorder.cycles] == [(0, False), (1, True), (2, True)]


@pytest.mark.verifies("REQ_0071")
def test_a_task_that_did_not_run_is_not_blamed_for_the_iteration(manual: ManualRig) -> None:
    steps = [0, 5 * MS]
    executor = manual.builder().iteration_budget(8 * MS).build()
    executor.add(every(50 * MS, _slow(manual, 7 * MS), budget_ns=MS), "stands still after its first run")
    executor.add(every(50 * MS, Counter(lambda run: manual.clock.advance(steps[run - 1]))), "to blame")
    executor.add(every(50 * MS, Counter(lambda run: manual.clock.advance(4 * MS if run == 2 else 0))), "the rest")

    executor.run_n(2)
    state = executor.executor_fault_state()

    assert isinstance(state, Faulted)
    assert state.reason == IterationBudgetExceeded(task_index=1, took_ms=9, budget_ms=8)


@pytest.mark.verifies("REQ_0071")
def test_a_task_that_saw_the_fault_just_before_it_was_cleared_does_not_stay_faulted(manual: ManualRig) -> None:
    machine = FaultMachine(manual.clock.now_ns, Hooks([], []))
    task = Task("t", 0, (), None, None)
    machine.breach_iteration(task, 2 * MS, MS)

    machine.clear_executor([task])
    machine.cascade(task)  # what the dispatch thread does after it looked at the fault

    assert task.fault is RUNNING


@pytest.mark.verifies("REQ_0070")
def test_a_breach_of_a_chain_names_the_chain_and_its_slowest_item(
    manual: ManualRig, caplog: pytest.LogCaptureFixture
) -> None:
    head, slow = every(5 * MS, _slow(manual, MS // 4), budget_ns=MS), item(_slow(manual, MS + 50_000))
    head.task_id, slow.task_id = "first", "slow"
    executor = manual.builder().build()
    executor.add_chain([head, slow, item(Counter())], "cell.cycle")

    executor.run_n(1)
    state = executor.task_fault_state("first")

    words = "1.3 ms of 1 ms (chain 'cell.cycle', most of it 'slow': 1.05 ms)"
    assert isinstance(state, Faulted)
    assert isinstance(state.reason, BudgetExceeded)
    assert state.reason.words == words
    assert f"task 'first' is faulted: it took {words} and does not run" in caplog.text


@pytest.mark.verifies("REQ_0070")
def test_an_item_that_a_chain_did_not_reach_is_not_its_slowest(manual: ManualRig) -> None:
    took_ns = [0, 0, 2 * MS]  # in the first wake, within the budget; the second one stops before the last item

    def slow(place: int) -> Callable[[Context], ItemFlow]:
        def execute(_: Context) -> ItemFlow:
            manual.clock.advance(took_ns[place])
            return ItemFlow.STOP_CHAIN if took_ns == [3 * MS, MS, 0] and place == 1 else ItemFlow.CONTINUE

        return execute

    executor = manual.builder().build()
    executor.add_chain([every(50 * MS, slow(0), budget_ns=2 * MS), item(slow(1)), item(slow(2))], "scan")

    executor.run_n(1)
    took_ns[:] = [3 * MS, MS, 0]
    executor.run_n(1)
    state = executor.task_fault_state("scan")

    assert isinstance(state, Faulted)
    assert isinstance(state.reason, BudgetExceeded)
    assert state.reason.words == "4 ms of 2 ms (most of it 'scan/0': 3 ms)"
