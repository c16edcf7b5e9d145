"""Graphs: validation, gating and cancellation, the same for every number of workers."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from taktora.errors import InvalidGraph, ItemError
from taktora.executor import Executor, IgnoredTriggersWarning, ItemFlow, TaskFailed, item
from tests.patience import PATIENCE_S
from tests.unit.executor.support import MS, Counter, ManualRig, Recorder, Rig, every

DIAMOND = [(0, 1), (0, 2), (1, 3), (2, 3)]


def _graph(executor: Executor, bodies: list[Counter], edges: list[tuple[int, int]]) -> str:
    builder = executor.add_graph("g")
    for index, body in enumerate(bodies):
        builder.vertex(item(body) if index else every(10 * MS, body))
    for source, target in edges:
        builder.edge(source, target)
    return builder.root(0).build()


def _append(log: list[int], number: int) -> Callable[[int], None]:
    return lambda _run: log.append(number)


@pytest.mark.realizes("TEST_0115")
@pytest.mark.parametrize("workers", [0, 1, 2, 4])
def test_a_diamond_runs_each_vertex_once(workers: int, rig: Rig) -> None:
    executor, bodies = rig.builder().worker_threads(workers).build(), [Counter() for _ in range(4)]
    _graph(executor, bodies, DIAMOND)

    executor.run_n(1)

    assert [body.runs for body in bodies] == [1, 1, 1, 1]


@pytest.mark.verifies("REQ_0021")
@pytest.mark.parametrize("workers", [0, 1, 2, 4])
def test_a_vertex_waits_for_all_its_predecessors(workers: int, rig: Rig) -> None:
    log: list[int] = []
    executor = rig.builder().worker_threads(workers).build()
    _graph(executor, [Counter(_append(log, n)) for n in range(4)], DIAMOND)

    executor.run_n(3)

    for start in (0, 4, 8):
        run = log[start : start + 4]
        assert run[0] == 0
        assert sorted(run[1:3]) == [1, 2]
        assert run[3] == 3


@pytest.mark.verifies("REQ_0021")
def test_branches_overlap_on_two_workers(rig: Rig) -> None:
    meeting = threading.Barrier(2, timeout=PATIENCE_S)
    bodies = [Counter(), Counter(lambda _run: meeting.wait()), Counter(lambda _run: meeting.wait()), Counter()]
    recorder = Recorder()
    executor = rig.builder().worker_threads(2).observer(recorder).build()
    _graph(executor, bodies, DIAMOND)

    executor.run_n(1)

    assert recorder.named("on_app_error") == []
    assert bodies[3].runs == 1


@pytest.mark.realizes("TEST_0116")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_root_that_stops_leaves_the_leaf_alone(workers: int, rig: Rig) -> None:
    executor, leaf = rig.builder().worker_threads(workers).build(), Counter()
    _graph(executor, [Counter(lambda _run: ItemFlow.STOP_CHAIN), leaf], [(0, 1)])

    executor.run_n(1)

    assert leaf.runs == 0


def _fail(_run: int) -> None:
    raise ItemError("left broke")


@pytest.mark.verifies("REQ_0022")
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_failing_vertex_cancels_its_descendants_and_nothing_else(workers: int, rig: Rig) -> None:
    recorder = Recorder()
    executor = rig.builder().worker_threads(workers).monitor(recorder).build()
    bodies = [Counter(), Counter(_fail), Counter(), Counter(), Counter(), Counter()]
    _graph(executor, bodies, [*DIAMOND, (2, 4), (3, 5)])

    with pytest.raises(TaskFailed, match="'g' failed: left broke"):
        executor.run_n(1)

    assert [body.runs for body in bodies] == [1, 1, 1, 0, 1, 0]
    assert [call[3] for call in recorder.named("post_execute")] == [False]


@pytest.mark.verifies("REQ_0021", "REQ_0003")
def test_a_graph_is_one_task_for_the_monitor(manual: ManualRig) -> None:
    recorder = Recorder()
    executor = manual.builder().monitor(recorder).build()
    _graph(executor, [Counter(lambda _run: manual.clock.advance(MS)) for _ in range(4)], DIAMOND)

    executor.run_n(1)

    assert recorder.named("post_execute") == [("g", 10 * MS, 4 * MS, True)]


@pytest.mark.verifies("REQ_0021")
@pytest.mark.parametrize(
    ("count", "edges", "root", "what"),
    [
        (0, [], 0, "no vertices"),
        (2, [(0, 1)], None, "no root"),
        (2, [(0, 1)], 2, "root: vertex 2 does not exist"),
        (2, [(0, 5)], 0, r"edge \(0, 5\): vertex 5 does not exist"),
        (2, [(0, -1)], 0, "vertex -1 does not exist"),
        (2, [(0, 1), (1, 1)], 0, r"\(1, 1\) is a self-loop"),
        (3, [(0, 1), (1, 2), (2, 1)], 0, r"vertices \[1, 2\] wait for each other"),
        (2, [(0, 1), (1, 0)], 0, "cycle"),
        (3, [(0, 1)], 0, r"\[2\] are not reached from root 0"),
    ],
)
def test_what_is_no_graph_is_refused(
    count: int, edges: list[tuple[int, int]], root: int | None, what: str, manual: ManualRig
) -> None:
    executor = manual.builder().build()
    builder = executor.add_graph()
    for _ in range(count):
        builder.vertex(every(MS, Counter()))
    for source, target in edges:
        builder.edge(source, target)
    if root is not None:
        builder.root(root)

    with pytest.raises(InvalidGraph, match=what):
        builder.build()

    assert executor.task_ids == ()


@pytest.mark.verifies("REQ_0021")
def test_a_repeated_edge_counts_once_and_other_triggers_are_ignored_with_a_warning(manual: ManualRig) -> None:
    executor, leaf = manual.builder().build(), Counter()
    builder = executor.add_graph()
    root, end = builder.vertex(every(MS, Counter())), builder.vertex(every(MS, leaf))
    builder.edge(root, end).edge(root, end).root(root)

    with pytest.warns(IgnoredTriggersWarning, match="'graph-0'"):
        builder.build()
    executor.run_n(1)

    assert leaf.runs == 1
