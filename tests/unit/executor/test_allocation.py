"""Nothing stays behind per dispatch: differentials of retained blocks, and the negative case that shows the measure."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable

import pytest

from taktora.executor import DispatchMode, Executor, ExecutorBuilder, item
from tests.unit.executor.support import MS, US, Counter, ManualRig, Recorder, every, manual_rig

Setup = Callable[[ExecutorBuilder, Counter], Executor]


def _single(builder: ExecutorBuilder, body: Counter) -> Executor:
    executor = builder.build()
    executor.add(every(100 * US, body))
    return executor


def _chain(builder: ExecutorBuilder, body: Counter) -> Executor:
    executor = builder.build()
    executor.add_chain([every(100 * US, body), item(body), item(body)])
    return executor


def _chain_pooled(builder: ExecutorBuilder, body: Counter) -> Executor:
    return _chain(builder.worker_threads(2), body)


def _diamond_pooled(builder: ExecutorBuilder, body: Counter) -> Executor:
    executor = builder.worker_threads(2).build()
    graph = executor.add_graph()
    root = graph.vertex(every(100 * US, body))
    left, right, merge = (graph.vertex(item(body)) for _ in range(3))
    graph.edge(root, left).edge(root, right).edge(left, merge).edge(right, merge).root(root).build()
    return executor


def _legacy(builder: ExecutorBuilder, body: Counter) -> Executor:
    return _single(builder.dispatch_mode(DispatchMode.LEGACY), body)


SETUPS: dict[str, Setup] = {
    "chain": _chain,
    "single": _single,
    "chain on two workers": _chain_pooled,
    "diamond on two workers": _diamond_pooled,
    "legacy": _legacy,
}


def _retained_by(executor: Executor, wakes: int) -> int:
    gc.collect()
    before = sys.getallocatedblocks()
    executor.run_n(wakes)
    gc.collect()
    # What an earlier test left behind may be freed in between: fewer blocks than before are none retained.
    return max(0, sys.getallocatedblocks() - before)


FEW = 10
MANY = 1000
WARM_UP = 10
REPEATS = 5
WAKES_OF_A_MEASUREMENT = WARM_UP + REPEATS * (FEW + MANY)


def _per_iteration(executor: Executor) -> float:
    """Retained blocks per wake, to a tenth.

    The smallest of five differentials over so many wakes that the few blocks which the interpreter, the collector or a
    thread of the test runner keep in between stay below the last digit; a path that keeps one block in ten wakes shows.
    """
    executor.run_n(WARM_UP)
    small = min(_retained_by(executor, FEW) for _ in range(REPEATS))
    large = min(_retained_by(executor, MANY) for _ in range(REPEATS))
    return round((large - small) / (MANY - FEW), 1)


@pytest.mark.realizes("TEST_0170")
@pytest.mark.realizes("TEST_0141")
@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
def test_no_block_is_retained_per_iteration(setup: Setup, manual: ManualRig) -> None:
    executor = setup(manual.builder(), Counter())

    assert _per_iteration(executor) <= 0


@pytest.mark.realizes("TEST_0170")
@pytest.mark.realizes("TEST_0141")
def test_a_body_that_keeps_what_it_makes_shows(manual: ManualRig) -> None:
    kept: list[object] = []
    executor = _single(manual.builder(), Counter(lambda run: kept.append([run])))
    executor.run_n(10)

    assert max(_retained_by(executor, 10) for _ in range(REPEATS)) >= 10


@pytest.mark.realizes("TEST_0194")
def test_the_telemetry_update_retains_nothing(manual: ManualRig) -> None:
    seen = [0]

    class Watching:
        def on_cycle_stats(self, observation: object) -> None:
            del observation
            seen[0] += 1

    body = Counter(lambda run: manual.clock.advance(run % 7 * 10))
    executor = _single(manual.builder().stats_window(8).observer(Watching()), body)

    assert _per_iteration(executor) <= 0
    assert seen[0] == WAKES_OF_A_MEASUREMENT


@pytest.mark.realizes("TEST_0194")
def test_an_allocating_body_shows_at_least_one_block_per_iteration(manual: ManualRig) -> None:
    kept: list[object] = []
    executor = _single(manual.builder(), Counter(lambda run: kept.append([run])))

    assert _per_iteration(executor) >= 1


@pytest.mark.realizes("TEST_0821")
def test_the_overrun_path_retains_nothing() -> None:
    manual = manual_rig()
    executor = manual.builder().build()
    name = ""

    def clear_and_overrun(_run: int) -> None:
        manual.clock.advance(2 * MS)

    def clear(run: int) -> None:
        if run > 1:
            executor.clear_task_fault(name)

    executor.add(every(5 * MS, Counter(clear)))
    name = executor.add(every(5 * MS, Counter(clear_and_overrun), budget_ns=MS))

    assert _per_iteration(executor) <= 0
    assert executor.overrun_count(name) == WAKES_OF_A_MEASUREMENT


@pytest.mark.verifies("REQ_0062", "REQ_0124")
@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
def test_a_contained_failure_retains_nothing(setup: Setup, manual: ManualRig) -> None:
    executor = setup(manual.builder(), Counter(lambda _run: 1 // 0))

    assert _per_iteration(executor) <= 0


@pytest.mark.verifies("REQ_0060")
@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
def test_the_cyclic_collector_has_nothing_to_do_on_the_path(setup: Setup, manual: ManualRig) -> None:
    executor = setup(manual.builder(), Counter())
    executor.run_n(10)
    found = []

    for _ in range(REPEATS):  # the test runner may leave something in one of them
        gc.collect()
        executor.run_n(100)
        found.append(gc.collect())

    assert min(found) < 100


@pytest.mark.verifies("REQ_0060", "REQ_0061")
def test_dispatch_starts_no_thread(manual: ManualRig) -> None:
    started: list[str] = []
    recorder = Recorder()
    executor = _diamond_pooled(manual.builder().observer(recorder), Counter())
    executor.run_n(1)
    original = threading.Thread.start

    def start(self: threading.Thread) -> None:
        started.append(self.name)
        original(self)

    threading.Thread.start = start  # type: ignore[method-assign]
    try:
        executor.run_n(50)
    finally:
        threading.Thread.start = original  # type: ignore[method-assign]

    assert started == ["taktora-worker-0", "taktora-worker-1"]
