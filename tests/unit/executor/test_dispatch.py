"""Cyclic and event dispatch, chains, monitors; on every reactor where the text is about real time too."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from taktora.errors import BuilderError, ItemError
from taktora.executor import (
    Context,
    ExecutableItem,
    IgnoredTriggersWarning,
    ItemFlow,
    PanickedTask,
    TaskFailed,
    UserEvent,
    item,
    item_with_triggers,
    wrap_with_condition,
)
from taktora.testing.mock_reactor import ManualReactor
from tests.unit.executor.support import MS, Bell, Counter, ManualRig, Number, Recorder, Rig, every


def _append(log: list[int], number: int, _run: int) -> None:
    log.append(number)


def _raise_mid_err(_run: int) -> None:
    raise ItemError("mid-err")


@pytest.mark.realizes("TEST_0104")
def test_an_interval_fires_run_n_times(rig: Rig) -> None:
    executor, counter = rig.builder().build(), Counter()
    executor.add(every(20 * MS, counter))

    executor.run_n(3)

    assert counter.runs == 3


@pytest.mark.realizes("TEST_0105")
def test_the_count_matches_on_a_threaded_pool(rig: Rig) -> None:
    executor, counter = rig.builder().worker_threads(2).build(), Counter()
    executor.add(every(20 * MS, counter))

    executor.run_n(5)

    assert counter.runs == 5


@pytest.mark.realizes("TEST_0106")
@pytest.mark.realizes("TEST_0119")
def test_a_monitor_brackets_each_dispatch(rig: Rig) -> None:
    recorder = Recorder()
    executor = rig.builder().monitor(recorder).build()
    executor.add(every(10 * MS, Counter()), "t")

    executor.run_n(3)

    hooks = [hook for hook, _ in recorder.calls if hook in ("pre_execute", "post_execute")]
    assert hooks == ["pre_execute", "post_execute"] * 3
    for pre, post in zip(recorder.named("pre_execute"), recorder.named("post_execute"), strict=True):
        assert post[:2] == pre
        assert post[0] == "t"
        assert post[2] >= 0
        assert post[3] is True


@pytest.mark.verifies("REQ_0031")
def test_the_reported_duration_is_exact(manual: ManualRig) -> None:
    recorder = Recorder()
    executor = manual.builder().monitor(recorder).build()
    executor.add(every(10 * MS, Counter(lambda run: manual.clock.advance(run * MS))), "t")

    executor.run_n(3)

    assert [(post[1], post[2]) for post in recorder.named("post_execute")] == [
        (10 * MS, 1 * MS),
        (20 * MS, 2 * MS),
        (30 * MS, 3 * MS),
    ]


@pytest.mark.realizes("TEST_0107")
def test_a_subscriber_wakes_its_item(rig: Rig) -> None:
    executor = rig.builder().build()
    channel = executor.channel("speed", Number)
    publisher, subscriber = channel.publisher(), channel.subscriber()
    runs: list[int] = []

    def take(context: Context) -> None:
        runs.extend(sample.value for sample in subscriber.drain())
        if len(runs) >= 3:
            context.stop_executor()

    executor.add(item_with_triggers(lambda d: d.subscriber(subscriber), take))

    def publish() -> None:
        for value in range(5):
            publisher.send_copy(Number(value))
            time.sleep(0.02)

    if isinstance(rig.reactor, ManualReactor):
        for value in range(5):
            rig.reactor.at(value * 20 * MS, partial(publisher.send_copy, Number(value)))
        executor.run()
    else:
        thread = threading.Thread(target=publish)
        thread.start()
        executor.run()
        thread.join()

    assert runs[:3] == [0, 1, 2]


@pytest.mark.realizes("TEST_0114")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_chain_keeps_its_order(workers: int, rig: Rig) -> None:
    log: list[int] = []
    executor = rig.builder().worker_threads(workers).build()
    head, *tail = (Counter(partial(_append, log, number)) for number in (1, 2, 3))
    executor.add_chain([every(10 * MS, head), *(item(body) for body in tail)])

    executor.run_n(1)

    assert log == [1, 2, 3]


@pytest.mark.verifies("REQ_0020")
def test_an_empty_chain_is_refused(manual: ManualRig) -> None:
    with pytest.raises(BuilderError, match="no items"):
        manual.builder().build().add_chain([])


@pytest.mark.verifies("REQ_0020")
def test_triggers_of_later_items_are_ignored_with_a_warning(manual: ManualRig) -> None:
    executor, counter = manual.builder().build(), Counter()

    with pytest.warns(IgnoredTriggersWarning, match="'chain-0': the triggers of item 1"):
        executor.add_chain([every(10 * MS, Counter()), every(MS, counter)])
    executor.run_for(20 * MS)

    assert counter.runs == 2


@pytest.mark.realizes("TEST_0116")
def test_a_head_that_stops_the_chain_keeps_the_tail_from_running(rig: Rig) -> None:
    executor, head, tail = rig.builder().build(), Counter(lambda _run: ItemFlow.STOP_CHAIN), Counter()
    executor.add_chain([every(10 * MS, head), item(tail)])

    executor.run_n(1)

    assert (head.runs, tail.runs) == (1, 0)


@pytest.mark.realizes("TEST_0116")
@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_the_middle_stops_the_chain_and_fails_the_run(workers: int, rig: Rig) -> None:
    executor, tail = rig.builder().worker_threads(workers).build(), Counter()
    executor.add_chain([every(10 * MS, Counter()), item(Counter(_raise_mid_err)), item(tail)], "line")

    with pytest.raises(TaskFailed, match="'line' failed: mid-err"):
        executor.run_n(1)

    assert tail.runs == 0


@pytest.mark.verifies("REQ_0022", "REQ_0062")
def test_siblings_of_a_failing_task_finish_the_wake_and_the_first_error_is_kept(manual: ManualRig) -> None:
    recorder, sibling = Recorder(), Counter()
    executor = manual.builder().observer(recorder).build()
    executor.add(every(MS, Counter(_raise_mid_err)), "first")
    executor.add(every(MS, Counter(_raise_mid_err)), "second")
    executor.add(every(MS, sibling), "third")

    with pytest.raises(TaskFailed) as caught:
        executor.run_n(5)

    assert caught.value.task_id == "first"
    assert sibling.runs == 1
    assert [call[0] for call in recorder.named("on_app_error")] == ["first", "second"]


@pytest.mark.verifies("REQ_0062")
def test_the_error_slot_is_empty_again_in_the_next_run(manual: ManualRig) -> None:
    executor = manual.builder().build()

    def fail_once(run: int) -> None:
        if run == 1:
            raise ItemError("once")

    counter = Counter(fail_once)
    executor.add(every(MS, counter))

    with pytest.raises(TaskFailed):
        executor.run_n(1)
    executor.run_n(2)

    assert counter.runs == 3


@pytest.mark.verifies("REQ_0124")
@pytest.mark.parametrize(
    ("policy", "error", "ends"),
    [
        ("deliberate", ItemError, True),
        ("deliberate", ZeroDivisionError, False),
        ("stop", ZeroDivisionError, True),
        ("continue", ItemError, False),
    ],
)
def test_the_policy_says_which_failures_end_the_run(
    policy: str, error: type[Exception], ends: bool, manual: ManualRig
) -> None:
    def fail(_run: int) -> None:
        raise error("boom")

    counter = Counter(fail)
    executor = manual.builder().on_item_error(policy).build()  # type: ignore[arg-type]
    executor.add(every(MS, counter))

    failed = False
    try:
        executor.run_n(3)
    except TaskFailed:
        failed = True

    assert (failed, counter.runs) == (ends, 1 if ends else 3)


class _Cancelled(BaseException):
    """What is no Exception, as asyncio's CancelledError."""


@pytest.mark.verifies("REQ_0124")
@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_no_exception_ends_the_run_wherever_the_item_runs(workers: int, rig: Rig) -> None:
    executor = rig.builder().worker_threads(workers).build()

    def cancel(_context: Context) -> None:
        raise _Cancelled

    executor.add(item_with_triggers(lambda d: d.interval(MS), cancel))

    with pytest.raises(_Cancelled):
        executor.run_n(3)


@pytest.mark.verifies("REQ_0124")
@pytest.mark.parametrize("workers", [0, 2])
def test_an_item_that_raises_generator_exit_has_failed_and_ends_nothing(workers: int, rig: Rig) -> None:
    recorder = Recorder()
    executor = rig.builder().worker_threads(workers).observer(recorder).build()

    def leave(_context: Context) -> None:
        raise GeneratorExit

    executor.add(item_with_triggers(lambda d: d.interval(MS), leave))

    executor.run_n(3)

    assert [type(error.__cause__) for _, error in recorder.named("on_app_error")] == [GeneratorExit] * 3


@pytest.mark.realizes("TEST_0825")
@pytest.mark.parametrize("workers", [0, 2])
def test_an_item_that_blows_up_is_contained(workers: int, rig: Rig) -> None:
    fatal: list[object] = []
    recorder, sibling = Recorder(), Counter()
    builder = rig.builder().worker_threads(workers).observer(recorder).on_fatal(fatal.append)
    executor = builder.build()
    executor.add(every(5 * MS, Counter(lambda _run: 1 // 0)), "bad")
    executor.add(every(5 * MS, sibling), "good")

    executor.run_n(3)

    task_id, error = recorder.named("on_app_error")[0]
    assert task_id == "bad"
    assert isinstance(error, PanickedTask)
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert "ZeroDivisionError" in str(error)
    assert repr(executor.task_fault_state("bad")) == "Running()"
    assert sibling.runs == 3
    assert fatal == []


@pytest.mark.verifies("REQ_0124")
@pytest.mark.parametrize("error", [MemoryError, RecursionError, AssertionError])
def test_every_exception_is_an_item_failure(error: type[Exception], manual: ManualRig) -> None:
    def fail(_run: int) -> None:
        raise error

    recorder = Recorder()
    executor = manual.builder().observer(recorder).build()
    executor.add(every(MS, Counter(fail)))

    executor.run_n(2)

    assert len(recorder.named("on_app_error")) == 2


@pytest.mark.verifies("REQ_0124", "REQ_0050")
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupt_inside_an_item_asks_for_a_stop_after_the_wake(
    error: type[BaseException], workers: int, rig: Rig
) -> None:
    def interrupt(_run: int) -> None:
        raise error

    sibling = Counter()
    executor = rig.builder().worker_threads(workers).build()
    executor.add(every(MS, Counter(interrupt)))
    executor.add(every(MS, sibling))

    executor.run()

    assert sibling.runs == 1


@pytest.mark.verifies("REQ_0022")
def test_a_wrong_return_value_is_a_failure_that_names_it(manual: ManualRig) -> None:
    recorder = Recorder()
    executor = manual.builder().observer(recorder).build()
    executor.add(every(MS, lambda _context: 42), "t")  # type: ignore[arg-type, return-value]

    executor.run_n(1)

    assert "returned 42; execute returns an ItemFlow or None" in str(recorder.named("on_app_error")[0][1])


@pytest.mark.realizes("TEST_0117")
def test_a_condition_gates_its_item(manual: ManualRig) -> None:
    executor, tail, gate = manual.builder().build(), Counter(), [True]
    wrapped = wrap_with_condition(every(MS, Counter(lambda _run: ItemFlow.CONTINUE)), lambda: gate[0])
    executor.add_chain([wrapped, item(tail)])

    executor.run_n(1)
    gate[0] = False
    executor.run_n(1)

    assert tail.runs == 1


@pytest.mark.realizes("TEST_0117")
def test_a_condition_returns_the_flow_of_its_item_or_stop_chain() -> None:
    gate = [True]
    wrapped = wrap_with_condition(item(lambda _context: ItemFlow.CONTINUE), lambda: gate[0])

    flows = []
    for value in (True, False):
        gate[0] = value
        flows.append(wrapped.execute(None))  # type: ignore[arg-type]

    assert flows == [ItemFlow.CONTINUE, ItemFlow.STOP_CHAIN]


@pytest.mark.realizes("TEST_0872")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_task_with_two_hot_listeners_runs_once_in_that_wake(workers: int, manual: ManualRig) -> None:
    first, second, counter = Bell("a"), Bell("b"), Counter()
    executor = manual.builder().worker_threads(workers).build()
    executor.add(item_with_triggers(lambda d: d.raw_listener(first).raw_listener(second), counter))
    manual.reactor.at(MS, first.notify)
    manual.reactor.at(2 * MS, lambda: (first.notify(), second.notify()))

    executor.run_n(2)

    assert counter.runs == 2
    assert (first.drain(), second.drain()) == (False, False)


@pytest.mark.realizes("TEST_0872")
def test_recorded_cycles_advance_by_one_per_wake(manual: ManualRig) -> None:
    recorder = Recorder()
    executor = manual.builder().observer(recorder).build()
    executor.add(every(MS, Counter()))

    executor.run_n(4)

    assert [cycle.cycle_index for cycle in recorder.cycles] == [0, 1, 2, 3]


@pytest.mark.verifies("REQ_0010")
def test_a_listener_that_two_tasks_declare_runs_both(manual: ManualRig) -> None:
    shared, order = Bell("shared"), []
    executor = manual.builder().build()
    for name in ("b", "a"):
        execute = lambda context: order.append(context.task_id)  # noqa: E731
        executor.add(item_with_triggers(lambda d: d.raw_listener(shared), execute), name)
    manual.reactor.at(MS, shared.notify)

    executor.run_n(1)

    assert order == ["b", "a"]


@pytest.mark.verifies("REQ_0010")
def test_a_key_whose_listener_turns_out_empty_runs_nothing(manual: ManualRig) -> None:
    source, counter = Bell("input"), Counter()
    executor = manual.builder().build()
    executor.add(item_with_triggers(lambda d: d.raw_listener(source), counter))
    manual.reactor.at(MS, lambda: manual.reactor.waker(0)())

    executor.run_for(2 * MS)

    assert counter.runs == 0


@pytest.mark.verifies("REQ_0268")
def test_ready_tasks_run_in_order_of_registration_whatever_fired_first(manual: ManualRig) -> None:
    order: list[str] = []
    executor = manual.builder().build()
    sources = {name: Bell(name) for name in ("first", "third")}

    def log(context: Context) -> None:
        order.append(context.task_id)

    executor.add(item_with_triggers(lambda d: d.raw_listener(sources["first"]), log), "first")
    executor.add(every(MS, log), "second")
    executor.add(item_with_triggers(lambda d: d.raw_listener(sources["third"]), log), "third")
    manual.reactor.at(MS, lambda: (sources["third"].notify(), sources["first"].notify()))

    executor.run_n(1)

    assert order == ["first", "second", "third"]


@pytest.mark.verifies("REQ_0268")
def test_a_late_wake_gives_one_dispatch_and_the_next_future_slot(manual: ManualRig) -> None:
    starts: list[int] = []
    executor = manual.builder().build()

    def body(context: Context) -> None:
        starts.append(context.now_ns())
        if len(starts) == 2:
            manual.clock.advance(3_500_000)

    executor.add(every(MS, body))
    executor.run_for(8 * MS)

    assert starts == [1 * MS, 2 * MS, 5_500_000, 6 * MS, 7 * MS, 8 * MS]


@pytest.mark.verifies("REQ_0269")
def test_a_bare_wake_neither_dispatches_nor_counts(manual: ManualRig) -> None:
    executor, counter = manual.builder().build(), Counter()
    executor.add(every(10 * MS, counter))
    for time_ns in range(MS, 9 * MS, MS):
        manual.reactor.at(time_ns, manual.reactor.wake)

    executor.run_n(2)

    assert (counter.runs, manual.clock.now_ns(), manual.reactor.waits) == (2, 20 * MS, 10)


@pytest.mark.verifies("REQ_0269")
def test_run_for_ends_at_its_limit_with_nothing_else_to_wake_it(rig: Rig) -> None:
    executor, counter = rig.builder().build(), Counter()
    executor.add(every(3_600_000 * MS, counter))
    before_ns = rig.clock.now_ns()

    executor.run_for(20 * MS)

    assert counter.runs == 0  # it came back before the hour was over
    assert rig.clock.now_ns() - before_ns >= 20 * MS


@pytest.mark.verifies("REQ_0269")
def test_run_for_includes_its_last_instant(manual: ManualRig) -> None:
    executor, counter = manual.builder().build(), Counter()
    executor.add(every(MS, counter))

    executor.run_for(10 * MS)

    assert counter.runs == 10


@pytest.mark.verifies("REQ_0269")
def test_run_until_tests_at_the_start_and_after_each_wake(manual: ManualRig) -> None:
    executor, counter = manual.builder().build(), Counter()
    executor.add(every(MS, counter))

    executor.run_until(lambda: counter.runs == 4)
    executor.run_until(lambda: True)

    assert counter.runs == 4


@pytest.mark.verifies("REQ_0269")
def test_an_error_of_the_callers_predicate_reaches_the_caller_and_is_not_fatal(manual: ManualRig) -> None:
    fatal: list[object] = []
    executor = manual.builder().on_fatal(fatal.append).build()
    executor.add(every(MS, Counter()))
    answers = iter([False, False])

    with pytest.raises(RuntimeError, match="StopIteration"):
        executor.run_until(lambda: next(answers))

    assert fatal == []


@pytest.mark.verifies("REQ_0073")
def test_app_hooks_need_an_app_id_and_user_events_reach_the_observers(manual: ManualRig) -> None:
    class App(ExecutableItem):
        app_id, app_instance_id = "press", 3

        def execute(self, context: Context) -> None:
            context.send_event(UserEvent(7, -1, "hot"))

    recorder = Recorder()
    executor = manual.builder().observer(recorder).build()
    executor.add_chain([every(MS, Counter()), App()], "line")

    executor.run_n(1)

    assert recorder.named("on_app_start") == [("line", "press", 3)]
    assert recorder.named("on_app_stop") == [("line", "press", 3)]
    assert recorder.named("on_send_event") == [("line", UserEvent(7, -1, "hot"))]


@pytest.mark.verifies("REQ_0073")
@pytest.mark.parametrize(("kind", "data"), [(-1, 0), (1 << 32, 0), (0, 1 << 63), (0, -(1 << 63) - 1)])
def test_a_user_event_that_would_not_fit_its_record_is_refused(kind: int, data: int) -> None:
    with pytest.raises(ValueError, match="UserEvent"):
        UserEvent(kind, data)


@pytest.mark.verifies("REQ_0003")
def test_several_observers_and_monitors_hear_everything_and_silent_hooks_cost_nothing(manual: ManualRig) -> None:
    class OnlyPost:
        """Not derived from anything."""

        def __init__(self) -> None:
            self.calls = 0

        def post_execute(self, task_id: str, started_at_ns: int, took_ns: int, ok: bool) -> None:
            del task_id, started_at_ns, took_ns, ok
            self.calls += 1

    first, second = OnlyPost(), OnlyPost()
    executor = manual.builder().monitor(first).monitor(second).build()
    executor.add(every(MS, Counter()))

    executor.run_n(2)

    assert (first.calls, second.calls) == (2, 2)
    assert executor._hooks.pre_execute == ()
