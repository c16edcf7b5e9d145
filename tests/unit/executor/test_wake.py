"""One wake: in which order its tasks run, how their ends are told, and what a wake that was torn off leaves behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from taktora.executor import Context, ExecutionMonitor, Executor, ItemFlow, item, item_with_triggers
from taktora.testing.mock_reactor import ScriptedModel
from tests.unit.executor.support import MS, Bell, Counter, ManualRig, Recorder, every, manual_rig


class Ends(ExecutionMonitor):
    """Told the ends alone."""

    def __init__(self) -> None:
        self.oks: list[bool] = []

    def post_execute(self, task_id: str, started_at_ns: int, took_ns: int, ok: bool) -> None:
        self.oks.append(ok)


class Torn(BaseException):
    """What ends a wake in the middle."""


def _fail_at(run: int, error: type[BaseException]) -> Callable[[int], None]:
    def body(count: int) -> None:
        if count == run:
            raise error

    return body


@pytest.mark.verifies("REQ_0010", "REQ_8001")
def test_tasks_of_several_listeners_run_in_order_of_registration(manual: ManualRig) -> None:
    order: list[str] = []
    executor, shared, own = manual.builder().build(), Bell("shared"), Bell("own")

    def log(context: Context) -> None:
        order.append(context.task_id)

    executor.add(item_with_triggers(lambda d: d.raw_listener(shared), log), "first")
    executor.add(item_with_triggers(lambda d: d.raw_listener(own), log), "second")
    executor.add(item_with_triggers(lambda d: d.raw_listener(shared), log), "third")
    manual.reactor.at(MS, lambda: (own.notify(), shared.notify()))

    executor.run_n(1)

    assert order == ["first", "second", "third"]


@pytest.mark.verifies("REQ_0030", "REQ_8001")
def test_a_missed_deadline_keeps_its_place_among_the_tasks_of_the_wake(manual: ManualRig) -> None:
    order: list[tuple[str, bool]] = []
    executor, silent, ringing = manual.builder().build(), Bell("silent"), Bell("ringing")

    def log(context: Context) -> None:
        order.append((context.task_id, context.deadline_missed))

    executor.add(item_with_triggers(lambda d: d.deadline(silent, 5 * MS), log), "watch")
    executor.add(item_with_triggers(lambda d: d.raw_listener(ringing), log), "event")
    manual.reactor.at(5 * MS, ringing.notify)

    executor.run_n(1)

    assert order == [("watch", True), ("event", False)]


@pytest.mark.verifies("REQ_0003", "REQ_0031")
@pytest.mark.parametrize("monitor", [Ends, Recorder])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_end_of_a_failed_run_is_told_as_failed(
    workers: int, monitor: type[Ends | Recorder], manual: ManualRig
) -> None:
    told = monitor()
    executor = manual.builder().worker_threads(workers).observer(Recorder()).monitor(told).build()
    executor.add(every(MS, Counter(_fail_at(2, ValueError))))

    executor.run_n(3)

    oks = told.oks if isinstance(told, Ends) else [call[3] for call in told.named("post_execute")]
    assert oks == [True, False, True]


def _add_graph(executor: Executor, bodies: list[Counter]) -> None:
    """Add a row of vertices."""
    graph = executor.add_graph("g")
    for place, body in enumerate(bodies):
        graph.vertex(item(body) if place else every(10 * MS, body))
        if place:
            graph.edge(place - 1, place)
    graph.root(0).build()


@pytest.mark.verifies("REQ_0021", "REQ_0022", "REQ_8011")
@pytest.mark.parametrize("flow", ["stops", "fails"])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("modelled", [False, True])
def test_a_graph_cut_short_in_one_cycle_runs_whole_in_the_next(modelled: bool, workers: int, flow: str) -> None:
    rig = manual_rig(ScriptedModel({"g/0": MS}) if modelled else None)
    executor = rig.builder().worker_threads(workers).observer(Recorder()).build()
    cut = _fail_at(1, ValueError) if flow == "fails" else lambda run: ItemFlow.STOP_CHAIN if run == 1 else None
    bodies = [Counter(cut), Counter(), Counter()]
    _add_graph(executor, bodies)

    executor.run_n(1)
    runs_of_the_first = [body.runs for body in bodies]
    executor.run_n(1)

    assert runs_of_the_first == [1, 0, 0]
    assert [body.runs for body in bodies] == [2, 1, 1]


@pytest.mark.verifies("REQ_0854")
def test_a_wake_torn_off_swallows_no_dispatch_of_the_next_run(manual: ManualRig) -> None:
    bell, behind = Bell(), Counter()
    executor = manual.builder().build()
    executor.add(item_with_triggers(lambda d: d.raw_listener(bell), Counter(_fail_at(1, Torn))))
    executor.add(item_with_triggers(lambda d: d.raw_listener(bell), behind))
    bell.notify()
    with pytest.raises(Torn):
        executor.run_n(1)

    bell.notify()
    executor.run_for(MS)

    assert behind.runs == 1
