"""Stopping: from any thread, from an item, before, during and after a run; and what a run leaves behind."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from taktora.errors import AlreadyRunning, BuilderError
from taktora.executor import Context, Limit, Runner, RunnerFlags, item, stop_on_signals
from taktora.executor.tuning import TIMER_SLACK_NS
from taktora.testing.mock_reactor import ManualReactor
from tests.patience import PATIENCE_S
from tests.unit.executor.support import MS, Counter, ManualRig, Recorder, Rig, every

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")


@pytest.mark.realizes("TEST_0129")
def test_stop_wakes_an_idle_loop(rig: Rig) -> None:
    executor, counter = rig.builder().build(), Counter()
    executor.add(every(3_600_000 * MS, counter))
    stoppable = executor.stoppable()

    if isinstance(rig.reactor, ManualReactor):
        rig.reactor.at(50 * MS, stoppable.stop)
        executor.run()
    else:
        timer = threading.Timer(0.05, stoppable.stop)
        timer.start()
        executor.run()
        timer.join()

    assert counter.runs == 0  # it came back before the hour was over


@pytest.mark.verifies("REQ_0051")
def test_a_stop_before_the_run_lets_it_end_at_once_and_the_next_one_is_refused(rig: Rig) -> None:
    executor, counter, recorder = rig.builder().build(), Counter(), Recorder()
    executor.add(every(MS, counter))
    executor.stop()

    executor.run()

    assert counter.runs == 0
    assert recorder.calls == []
    with pytest.raises(AlreadyRunning, match="single-use"):
        executor.run()


@pytest.mark.verifies("REQ_0051")
def test_an_item_stops_its_executor_after_the_wake(rig: Rig) -> None:
    executor, sibling = rig.builder().build(), Counter()
    executor.add(every(MS, lambda context: context.stop_executor()))
    executor.add(every(MS, sibling))

    executor.run()
    executor.stop()

    assert sibling.runs == 1


@pytest.mark.verifies("REQ_0051")
def test_stop_after_close_is_harmless(rig: Rig) -> None:
    executor = rig.builder().build()

    executor.close()
    executor.close()
    executor.stop()

    assert executor.stoppable().stopped


@pytest.mark.verifies("REQ_0051")
def test_a_second_run_at_once_is_refused(manual: ManualRig) -> None:
    refusals: list[str] = []
    executor = manual.builder().build()

    def nested(context: Context) -> None:
        del context
        try:
            executor.run()
        except AlreadyRunning as error:
            refusals.append(str(error))

    executor.add(every(MS, nested))
    executor.run_n(1)

    assert refusals == ["executor 'test' is running; one run at a time"]


@pytest.mark.verifies("REQ_0050")
def test_closing_the_loop_runs_the_shutdown_path(manual: ManualRig) -> None:
    recorder, counter = Recorder(), Counter()
    executor = manual.builder().observer(recorder).build()
    executor.add(every(MS, counter))
    loop = executor.start_loop(Limit())
    next(loop)
    was_running = executor.is_running

    loop.close()

    assert was_running
    assert not executor.is_running
    assert [name for name, _ in recorder.calls] == ["on_executor_up", "on_executor_down"]


@pytest.mark.verifies("REQ_0050")
def test_what_the_reactor_throws_in_ends_the_run_with_that_error(manual: ManualRig) -> None:
    fatal: list[object] = []
    recorder = Recorder()
    executor = manual.builder().observer(recorder).on_fatal(fatal.append).build()
    executor.add(every(MS, Counter()))
    loop = executor.start_loop()
    next(loop)

    with pytest.raises(OSError, match="wait failed"):
        loop.throw(OSError("wait failed"))

    assert [name for name, _ in recorder.calls] == ["on_executor_up", "on_executor_error"]
    assert fatal == []


@pytest.mark.verifies("REQ_0854")
def test_a_run_torn_off_mid_wake_swallows_no_later_dispatch(manual: ManualRig) -> None:
    class Torn(BaseException):
        """Neither contained nor a request to stop."""

    def tear(run: int) -> None:
        if run == 1:
            raise Torn

    first, second = Counter(tear), Counter()
    executor = manual.builder().build()
    executor.add(every(MS, first))
    executor.add(every(MS, second))

    with pytest.raises(Torn):
        executor.run_n(1)
    executor.run_n(1)

    assert (first.runs, second.runs) == (2, 1)


@pytest.mark.verifies("REQ_0854", "REQ_0021")
def test_a_graph_torn_off_half_way_starts_afresh(manual: ManualRig) -> None:
    class Torn(BaseException):
        """Neither contained nor a request to stop."""

    def tear(run: int) -> None:
        if run == 1:
            raise Torn

    bodies = [Counter(), Counter(tear), Counter()]
    executor = manual.builder().build()
    graph = executor.add_graph()
    root, left, right = graph.vertex(every(MS, bodies[0])), graph.vertex(item(bodies[1])), graph.vertex(item(bodies[2]))
    graph.edge(root, left).edge(root, right).root(root).build()

    with pytest.raises(Torn):
        executor.run_n(1)
    executor.run_n(1)

    assert [body.runs for body in bodies] == [2, 2, 1]


@pytest.mark.verifies("REQ_0061", "REQ_0050")
def test_a_run_leaves_no_thread_behind_and_makes_its_pool_once(rig: Rig) -> None:
    executor, counts = rig.builder().worker_threads(3).build(), set()
    executor.add(every(MS, Counter(lambda _run: counts.add(threading.active_count()))))
    before = threading.active_count()

    executor.run_n(10)

    assert counts == {before + 3}
    assert threading.active_count() == before


@pytest.mark.verifies("REQ_0061")
def test_a_negative_number_of_workers_or_wakes_is_refused(manual: ManualRig) -> None:
    with pytest.raises(BuilderError, match=r"worker_threads\(-1\)"):
        manual.builder().worker_threads(-1)
    with pytest.raises(BuilderError, match=r"run_n\(-1\)"):
        manual.builder().build().run_n(-1)


@LINUX
@pytest.mark.realizes("TEST_0854")
@pytest.mark.parametrize("workers", [0, 2])
def test_the_loop_survives_a_storm_of_signals(workers: int, real_rig: Rig) -> None:
    executor, counter = real_rig.builder().worker_threads(workers).build(), Counter()
    executor.add(every(5 * MS, counter))
    main = threading.get_ident()
    hits: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _frame: hits.append(number))
    signal.siginterrupt(signal.SIGUSR1, True)

    def storm() -> None:
        for number in range(25):  # one at a time: the kernel makes one of two that are pending
            signal.pthread_kill(main, signal.SIGUSR1)
            while len(hits) <= number:
                time.sleep(0.005)

    thread = threading.Thread(target=storm)
    try:
        thread.start()
        executor.run_until(lambda: counter.runs >= 50 and not thread.is_alive())
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)

    assert counter.runs >= 50
    assert len(hits) == 25


@LINUX
@pytest.mark.realizes("TEST_0855")
def test_timer_slack_is_one_microsecond_and_given_back(real_rig: Rig) -> None:
    path = Path(f"/proc/{threading.get_native_id()}/timerslack_ns")
    seen: list[int] = []
    executor = real_rig.builder().build()
    executor.add(every(MS, Counter(lambda _run: seen.append(int(path.read_text())))))
    before = path.read_text()

    executor.run_n(1)

    assert seen == [1000] == [TIMER_SLACK_NS]
    assert path.read_text() == before


@LINUX
@pytest.mark.verifies("REQ_0050")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_cleanly_and_never_inside_an_item(number: signal.Signals, rig: Rig) -> None:
    finished: list[bool] = []

    def body(context: Context) -> None:
        del context
        os.kill(os.getpid(), number)
        finished.append(True)

    executor = rig.builder().build()
    executor.add(every(MS, body))
    before = signal.getsignal(number)

    with stop_on_signals([executor.stoppable()]):
        executor.run()

    assert finished == [True]
    assert signal.getsignal(number) is before


@pytest.mark.verifies("REQ_0050")
def test_only_the_main_thread_may_own_signals() -> None:
    refusals: list[str] = []

    def own() -> None:
        try:
            with stop_on_signals([]):
                pass
        except BuilderError as error:
            refusals.append(str(error))

    thread = threading.Thread(target=own, name="elsewhere")
    thread.start()
    thread.join()

    assert refusals == ["stop_on_signals called in thread 'elsewhere'; only the main thread may own signals"]


@pytest.mark.verifies("REQ_0060")
def test_the_collector_is_frozen_during_the_run_only(manual: ManualRig) -> None:
    seen: list[tuple[bool, bool]] = []
    executor = manual.builder().freeze_gc().switch_interval(0.001).build()
    executor.add(every(MS, Counter(lambda _run: seen.append((gc.isenabled(), gc.get_freeze_count() > 0)))))
    interval_s = sys.getswitchinterval()

    executor.run_n(1)

    assert seen == [(False, True)]
    assert gc.isenabled()
    assert sys.getswitchinterval() == interval_s


@pytest.mark.verifies("REQ_0060")
def test_the_switch_interval_holds_during_the_run_only(manual: ManualRig) -> None:
    seen: list[float] = []
    executor = manual.builder().switch_interval(0.001).build()
    executor.add(every(MS, Counter(lambda _run: seen.append(sys.getswitchinterval()))))
    before_s = sys.getswitchinterval()

    executor.run_n(1)

    assert seen == [pytest.approx(0.001)]
    assert sys.getswitchinterval() == before_s
    with pytest.raises(BuilderError, match="switch_interval"):
        manual.builder().switch_interval(0)


@pytest.mark.verifies("REQ_0051")
def test_a_runner_runs_in_its_own_thread_and_stops() -> None:
    from tests.unit.executor.support import portable_rig

    executor, ran = portable_rig().builder().build(), threading.Event()
    names: list[str] = []

    def body(_run: int) -> None:
        names.append(threading.current_thread().name)
        ran.set()

    executor.add(every(MS, Counter(body)))

    with Runner(executor) as runner:
        assert ran.wait(PATIENCE_S)

    assert not runner.is_alive
    assert set(names) == {"taktora-runner"}


@pytest.mark.verifies("REQ_0051")
def test_a_deferred_runner_waits_for_start_and_raises_the_runs_error(manual: ManualRig) -> None:
    executor = manual.builder().on_item_error("stop").build()
    executor.add(every(MS, Counter(lambda _run: 1 // 0)))
    runner = Runner(executor, RunnerFlags.DEFERRED)
    alive_before = runner.is_alive

    runner.start()

    with pytest.raises(Exception, match="ZeroDivisionError"):
        runner.join()
    assert not alive_before
    runner.stop()


@pytest.mark.verifies("REQ_0051")
def test_a_runner_that_never_started_stops_without_a_wait(manual: ManualRig) -> None:
    runner = Runner(manual.builder().build(), RunnerFlags.DEFERRED)

    runner.stop()

    assert not runner.is_alive
