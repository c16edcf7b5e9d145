"""Modelled execution: durations charged inline and on virtual workers, to the nanosecond."""

from __future__ import annotations

import pytest

from taktora.executor import Context, ExecutableItem, ItemFlow, item
from taktora.testing.mock_reactor import ManualClock, ManualReactor, ScriptedModel
from tests.unit.executor.support import MS, Counter, ManualRig, Recorder, every, manual_rig

Log = list[tuple[str, int]]


class Named(ExecutableItem):
    """Logs its name and the instant at which it runs."""

    def __init__(self, name: str, log: Log, flow: ItemFlow | None = None) -> None:
        self.task_id = name
        self._log = log
        self._flow = flow

    def execute(self, context: Context) -> ItemFlow | None:
        self._log.append((self.task_id or "", context.now_ns() // MS))
        return self._flow


def _rig(**durations_ms: int) -> ManualRig:
    return manual_rig(ScriptedModel({name: value * MS for name, value in durations_ms.items()}))


def _cyclic(name: str, log: Log, period_ns: int = 100 * MS) -> ExecutableItem:
    made = every(period_ns, lambda context: log.append((name, context.now_ns() // MS)))
    made.task_id = name
    return made


@pytest.mark.verifies("REQ_8011", "REQ_0031")
def test_an_item_runs_at_its_start_and_ends_after_its_duration() -> None:
    log: Log = []
    rig, recorder = _rig(a=3, b=4), Recorder()
    executor = rig.builder().monitor(recorder).build()
    executor.add(_cyclic("a", log))
    executor.add(_cyclic("b", log))

    executor.run_n(1)

    assert log == [("a", 100), ("b", 103)]
    assert recorder.named("post_execute") == [("a", 100 * MS, 3 * MS, True), ("b", 103 * MS, 4 * MS, True)]
    assert rig.clock.now_ns() == 107 * MS


@pytest.mark.verifies("REQ_8011")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["item", "graph"])
def test_the_window_of_the_model_is_open_exactly_while_the_item_runs(workers: int, kind: str) -> None:
    seen: list[bool] = []
    rig = _rig(t=3)
    model = rig.reactor.model
    assert isinstance(model, ScriptedModel)
    executor = rig.builder().worker_threads(workers).build()
    body = every(100 * MS, Counter(lambda _run: seen.append(model.open)))
    if kind == "item":
        executor.add(body, "t")
    else:
        graph = executor.add_graph("t")
        graph.root(graph.vertex(body)).build()

    executor.run_n(1)

    assert seen == [True]
    assert not model.open


@pytest.mark.verifies("REQ_8011", "REQ_0840")
def test_a_modelled_overrun_skips_slots_exactly() -> None:
    rig, recorder = manual_rig(ScriptedModel({"t": [0, 25 * MS, 0]})), Recorder()
    executor = rig.builder().observer(recorder).build()
    executor.add(every(10 * MS, Counter()), "t")

    executor.run_n(5)

    assert [(cycle.pre_ns // MS, cycle.took_ns, cycle.skipped_slots) for cycle in recorder.cycles] == [
        (10, 0, 0),
        (20, 25 * MS, 0),
        (45, 0, 0),
        (50, 0, 1),
        (60, 0, 0),
    ]


@pytest.mark.verifies("REQ_8011", "REQ_0020")
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_chain_holds_its_worker_item_by_item(workers: int) -> None:
    log: Log = []
    rig, recorder = _rig(head=1, middle=2, tail=3), Recorder()
    executor = rig.builder().worker_threads(workers).monitor(recorder).build()
    executor.add_chain([_cyclic("head", log), Named("middle", log), Named("tail", log)])

    executor.run_n(1)

    assert log == [("head", 100), ("middle", 101), ("tail", 103)]
    assert recorder.named("post_execute") == [("head", 100 * MS, 6 * MS, True)]


@pytest.mark.verifies("REQ_8011", "REQ_0022")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stopped_chain_still_costs_what_ran(workers: int) -> None:
    log: Log = []
    rig = _rig(head=1, middle=2, tail=3)
    executor = rig.builder().worker_threads(workers).build()
    executor.add_chain([_cyclic("head", log), Named("middle", log, ItemFlow.STOP_CHAIN), Named("tail", log)])

    executor.run_n(1)

    assert log == [("head", 100), ("middle", 101)]
    assert rig.clock.now_ns() == 103 * MS


@pytest.mark.verifies("REQ_8011", "REQ_0021")
@pytest.mark.parametrize(
    ("workers", "expected", "end_ms"),
    [
        (0, [("root", 100), ("left", 101), ("right", 105), ("merge", 107)], 108),
        (1, [("root", 100), ("left", 101), ("right", 105), ("merge", 107)], 108),
        (2, [("root", 100), ("left", 101), ("right", 101), ("merge", 105)], 106),
    ],
)
def test_a_graph_overlaps_on_virtual_workers(workers: int, expected: Log, end_ms: int) -> None:
    log: Log = []
    rig = _rig(root=1, left=4, right=2, merge=1)
    executor = rig.builder().worker_threads(workers).build()
    graph = executor.add_graph()
    root = graph.vertex(_cyclic("root", log))
    left, right, merge = (graph.vertex(Named(name, log)) for name in ("left", "right", "merge"))
    graph.edge(root, left).edge(root, right).edge(left, merge).edge(right, merge).root(root).build()

    executor.run_n(1)

    assert log == expected
    assert rig.clock.now_ns() == end_ms * MS


@pytest.mark.verifies("REQ_8011", "REQ_0061")
def test_tasks_wait_for_a_free_virtual_worker_and_the_wake_for_all() -> None:
    log: Log = []
    rig = _rig(a=5, b=2, c=1, d=1)
    executor = rig.builder().worker_threads(2).build()
    for name in ("a", "b", "c", "d"):
        executor.add(_cyclic(name, log))

    executor.run_n(1)

    assert log == [("a", 100), ("b", 100), ("c", 102), ("d", 103)]
    assert rig.clock.now_ns() == 105 * MS


@pytest.mark.verifies("REQ_8012", "REQ_0107")
def test_the_model_orders_ready_tasks_and_the_fold_keeps_the_order_of_registration() -> None:
    log: Log = []
    clock, recorder = ManualClock(), Recorder()
    reactor = ManualReactor(clock, ScriptedModel({}, order=lambda indices: indices[::-1]))
    from taktora.executor import Executor

    executor = Executor.builder(clock=clock, reactor=reactor).observer(recorder).build()
    for name in ("a", "b", "c"):
        executor.add(_cyclic(name, log))

    executor.run_n(1)

    assert [name for name, _ in log] == ["c", "b", "a"]
    assert [cycle.task_id for cycle in recorder.cycles] == ["a", "b", "c"]


@pytest.mark.verifies("REQ_8011", "REQ_0124")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_failure_is_reported_when_the_item_ends(workers: int) -> None:
    rig = _rig(t=3)
    at_ms: list[int] = []

    class Clocked:
        def on_app_error(self, task_id: str, error: Exception) -> None:
            del task_id, error
            at_ms.append(rig.clock.now_ns() // MS)

    executor = rig.builder().worker_threads(workers).observer(Clocked()).build()
    executor.add(every(100 * MS, Counter(lambda _run: 1 // 0)), "t")

    executor.run_n(1)

    assert at_ms == [103]


@pytest.mark.verifies("REQ_8011", "REQ_0072")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_fault_handler_has_a_duration_of_its_own(workers: int) -> None:
    model = ScriptedModel({"t": 3 * MS, "t/handler": 7 * MS})
    rig, recorder = manual_rig(model), Recorder()
    executor = rig.builder().worker_threads(workers).monitor(recorder).build()
    executor.add_with_fault_handler(every(100 * MS, Counter(), budget_ns=MS), item(Counter()), "t")

    executor.run_n(2)

    assert [post[2] for post in recorder.named("post_execute")] == [3 * MS, 7 * MS]


@pytest.mark.verifies("REQ_8011")
def test_a_faulted_task_without_handler_takes_no_time() -> None:
    rig, recorder = _rig(t=3), Recorder()
    executor = rig.builder().worker_threads(2).observer(recorder).build()
    executor.add(every(100 * MS, Counter(), budget_ns=MS), "t")

    executor.run_n(3)

    assert [(cycle.faulted, cycle.took_ns) for cycle in recorder.cycles] == [
        (False, 3 * MS),
        (True, None),
        (True, None),
    ]
