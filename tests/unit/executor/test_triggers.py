"""Trigger declarations and the refusals at add time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from taktora.errors import AlreadyRunning, DeclareTriggersError
from taktora.executor import Context, TriggerDeclarer, item, item_with_triggers
from taktora.executor.triggers import CycleTrigger, Deadline, DescriptorTrigger, EventTrigger, IntervalTrigger
from tests.unit.executor.support import MS, Bell, Counter, ManualRig, every


class Input:
    """An event source of its own."""

    def __init__(self, name: str = "input") -> None:
        self.listener = Bell(name)


class Bus:
    """A cycle somebody else paces."""

    period_ns = 2 * MS

    def set_waker(self, waker: Callable[[], None] | None) -> None:
        del waker

    def take(self) -> int:
        return 1


@pytest.mark.realizes("TEST_0118")
def test_a_deadline_records_the_listener_and_the_duration() -> None:
    source, declarer = Input(), TriggerDeclarer("t")

    declarer.deadline(source, 50 * MS)

    assert len(declarer.triggers) == 1
    trigger = declarer.triggers[0]
    assert isinstance(trigger, Deadline)
    assert trigger.listener is source.listener
    assert trigger.deadline_ns == 50 * MS


@pytest.mark.verifies("REQ_0001")
@pytest.mark.parametrize("period", [20 * MS, timedelta(milliseconds=20)], ids=["int_ns", "timedelta"])
def test_a_period_is_held_in_nanoseconds(period: int | timedelta) -> None:
    declarer = TriggerDeclarer("t").interval(period)

    assert declarer.triggers == [IntervalTrigger(20 * MS)]
    assert declarer.period_ns == 20 * MS


@pytest.mark.verifies("REQ_0001")
@pytest.mark.parametrize("period", [0, -1, timedelta(0), 0.5, True, "1"], ids=repr)
def test_a_period_that_is_not_a_positive_time_is_refused_with_the_task_named(period: int, manual: ManualRig) -> None:
    executor = manual.builder().build()

    with pytest.raises(DeclareTriggersError, match="'pump': interval period is"):
        executor.add(every(period, Counter()), "pump")

    assert executor.task_ids == ()


@pytest.mark.realizes("TEST_0872")
@pytest.mark.parametrize("method", ["add", "add_chain", "add_graph"])
def test_two_intervals_are_refused(method: str, manual: ManualRig) -> None:
    executor = manual.builder().build()
    double = item_with_triggers(lambda d: d.interval(MS).interval(2 * MS), Counter())

    graph = executor.add_graph("pump")
    graph.root(graph.vertex(double))
    add = {
        "add": lambda: executor.add(double, "pump"),
        "add_chain": lambda: executor.add_chain([double, item(Counter())], "pump"),
        "add_graph": graph.build,
    }[method]

    with pytest.raises(DeclareTriggersError, match=r"'pump'.*2 intervals.*1000000 ns and interval of 2000000 ns"):
        add()

    assert executor.task_ids == ()


Declare = Callable[[TriggerDeclarer], object]


@pytest.mark.verifies("REQ_0002")
@pytest.mark.parametrize(
    "declare",
    [
        lambda d: d.interval(MS).subscriber(Input()),
        lambda d: d.deadline(Input(), MS).interval(MS),
        lambda d: d.interval(MS).raw_fd(0),
        lambda d: d.cycle(Bus()).subscriber(Input()),
        lambda d: d.cycle(Bus()).interval(MS),
    ],
    ids=["interval+listener", "deadline+interval", "interval+fd", "cycle+listener", "cycle+interval"],
)
def test_an_interval_or_cycle_beside_another_trigger_is_refused(declare: Declare, manual: ManualRig) -> None:
    executor = manual.builder().build()

    with pytest.raises(DeclareTriggersError, match="'pump'"):
        executor.add(item_with_triggers(declare, Counter()), "pump")

    assert executor.task_ids == ()


@pytest.mark.verifies("REQ_0002")
@pytest.mark.parametrize(
    ("declare", "what"),
    [
        (lambda _d: None, "no trigger"),
        (lambda d: d.interval(MS).budget(MS).budget(MS), "budget declared twice"),
        (lambda d: d.interval(MS).budget(0), "budget is 0 ns"),
        (lambda d: d.deadline(Input("speed.evt"), 0), "deadline on 'speed.evt' is 0 ns"),
        (lambda d: d.raw_fd(-1), r"raw_fd\(-1\)"),
    ],
    ids=["nothing", "two budgets", "zero budget", "zero deadline", "bad descriptor"],
)
def test_declarations_that_make_no_sense_are_refused(declare: Declare, what: str, manual: ManualRig) -> None:
    executor = manual.builder().build()

    with pytest.raises(DeclareTriggersError, match=f"'pump'.*{what}"):
        executor.add(item_with_triggers(declare, Counter()), "pump")


@pytest.mark.verifies("REQ_0010")
def test_several_event_triggers_on_one_task_are_legal() -> None:
    bus, first, second = Bus(), Input("a"), Input("b")

    declarer = TriggerDeclarer("t").subscriber(first).server(second).client(first).signal(second)
    declarer.raw_listener(first.listener).raw_fd(3).check()
    cyclic = TriggerDeclarer("c").cycle(bus)

    assert [type(trigger) for trigger in declarer.triggers] == [EventTrigger] * 5 + [DescriptorTrigger]
    assert cyclic.triggers == [CycleTrigger(bus, 2 * MS)]


@pytest.mark.verifies("REQ_0002")
def test_a_task_id_that_is_taken_is_refused(manual: ManualRig) -> None:
    executor = manual.builder().build()
    executor.add(every(MS, Counter()), "pump")

    with pytest.raises(DeclareTriggersError, match="'pump' is taken"):
        executor.add(every(MS, Counter()), "pump")


@pytest.mark.verifies("REQ_0002")
def test_the_items_own_id_beats_the_given_one_which_beats_the_automatic_one(manual: ManualRig) -> None:
    executor = manual.builder().build()
    named = every(MS, Counter())
    named.task_id = "own"

    ids = (
        executor.add(named, "given"),
        executor.add_with_id("given", every(MS, Counter())),
        executor.add(every(MS, Counter())),
        executor.add_chain([every(MS, Counter())]),
    )

    assert ids == ("own", "given", "task-2", "chain-3")
    assert executor.task_ids == ids


@pytest.mark.verifies("REQ_0060")
def test_tasks_are_fixed_during_a_run(manual: ManualRig) -> None:
    executor = manual.builder().on_item_error("stop").build()
    refusals: list[str] = []

    def add(context: Context) -> None:
        del context
        try:
            executor.add(every(MS, Counter()), "late")
        except AlreadyRunning as error:
            refusals.append(str(error))

    executor.add(every(MS, add))
    executor.run_n(1)

    assert refusals == ["executor 'test': task 'late' cannot be added while it runs; add it before"]
