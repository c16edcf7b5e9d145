"""Unchanged programs with threads in a World: one runs at a time, time passes while all wait, and a run repeats."""

from __future__ import annotations

import _thread
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from typing import Any

import pytest

from taktora_sim.foreign import POLLS, ForeignDeadlock, ForeignError, ForeignThreadsLeft, baton
from taktora_sim.world import World

MS = 1_000_000
S = 1_000_000_000

pytestmark = pytest.mark.verifies("REQ_8203")


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """After every test: no thread, no replacement, no current World."""
    threads = threading.enumerate()
    real = [time.time, time.sleep, time.monotonic, threading.Lock, threading.Thread.start, queue.SimpleQueue]

    yield

    assert threading.enumerate() == threads
    assert real == [time.time, time.sleep, time.monotonic, threading.Lock, threading.Thread.start, queue.SimpleQueue]
    assert isinstance(threading.RLock(), _thread.RLock)
    assert World.current() is None


@pytest.fixture
def world() -> Iterator[World]:
    with World(name="cell") as world:
        yield world


def test_threads_take_turns_and_sleep_in_virtual_time(world: World) -> None:
    log: list[tuple[str, int]] = []

    def work(name: str, period_ms: int) -> None:
        for _ in range(3):
            time.sleep(period_ms / 1000)
            log.append((name, world.now_ns() // MS))

    with world.foreign_threads():
        threads = [threading.Thread(target=work, args=(f"every {ms}", ms)) for ms in (20, 30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        log.append(("end", world.now_ns() // MS))

    assert log == [
        ("every 20", 20),
        ("every 30", 30),
        ("every 20", 40),
        ("every 30", 60),
        ("every 20", 60),
        ("every 30", 90),
        ("end", 90),
    ]


def test_clocks_are_those_of_the_world(world: World) -> None:
    world.run_for(5 * MS)

    with world.foreign_threads():
        time.sleep(1.5)
        assert time.time_ns() == world.unix_ns()
        assert time.time() == pytest.approx(world.unix_ns() / 1e9)
        assert time.monotonic_ns() == time.perf_counter_ns() == 1505 * MS
        assert time.monotonic() == time.perf_counter() == 1.505
        assert time.strftime("%Y-%m-%d %H:%M:%S") == "2026-01-01 00:00:01"


def test_a_producer_feeds_a_consumer_through_a_bounded_queue(world: World) -> None:
    items: queue.Queue[int | None]
    got: list[tuple[int, int]] = []

    def consume() -> None:
        while (item := items.get()) is not None:
            time.sleep(0.01)
            got.append((item, world.now_ns() // MS))
            items.task_done()

    with world.foreign_threads():
        items = queue.Queue(maxsize=2)
        consumer = threading.Thread(target=consume)
        consumer.start()
        for number in range(5):
            items.put(number)
        filled_ms = world.now_ns() // MS
        items.join()
        items.put(None)
        consumer.join()

    assert got == [(number, 10 * (number + 1)) for number in range(5)]
    assert filled_ms == 20


@pytest.mark.parametrize("kind", ["Queue", "LifoQueue", "PriorityQueue", "SimpleQueue"])
def test_a_queue_that_stays_empty_times_out_in_virtual_time(world: World, kind: str) -> None:
    with world.foreign_threads():
        with pytest.raises(queue.Empty):
            getattr(queue, kind)().get(timeout=2.5)

        assert world.now_ns() == 2500 * MS


def test_a_condition_is_waited_for_with_a_timeout(world: World) -> None:
    answers: list[tuple[bool, int]] = []
    state: list[int] = []

    def change(condition: threading.Condition) -> None:
        for step in range(3):
            time.sleep(0.1)
            with condition:
                state.append(step)
                condition.notify_all()

    with world.foreign_threads():
        condition = threading.Condition()
        threading.Thread(target=change, args=(condition,)).start()
        for wanted, timeout_s in ((1, 1.0), (2, 0.05), (2, 0.05), (9, 0.5)):
            with condition:
                answers.append((condition.wait_for(lambda: len(state) > wanted, timeout_s), world.now_ns() // MS))  # noqa: B023

    assert answers == [(True, 200), (False, 250), (True, 300), (False, 800)]


def test_an_event_a_timer_and_a_barrier_are_virtual(world: World) -> None:
    log: list[tuple[str, int]] = []

    def meet(barrier: threading.Barrier, delay_s: float) -> None:
        time.sleep(delay_s)
        barrier.wait()
        log.append(("met", world.now_ns() // MS))

    with world.foreign_threads():
        event = threading.Event()
        threading.Timer(0.25, event.set).start()
        assert not event.wait(0.2)
        assert event.wait()
        log.append(("event", world.now_ns() // MS))
        cancelled = threading.Timer(0.1, lambda: log.append(("never", 0)))
        cancelled.start()
        cancelled.cancel()
        barrier = threading.Barrier(3)
        for delay_s in (0.1, 0.3):
            threading.Thread(target=meet, args=(barrier, delay_s)).start()
        barrier.wait(5)
        log.append(("all met", world.now_ns() // MS))
        time.sleep(0)

    assert log[0] == ("event", 250)
    assert sorted(log[1:]) == [("all met", 550), ("met", 550), ("met", 550)]


def test_a_semaphore_lets_two_in_at_a_time(world: World) -> None:
    ends: list[int] = []

    def use(semaphore: threading.Semaphore) -> None:
        with semaphore:
            time.sleep(0.1)
        ends.append(world.now_ns() // MS)

    with world.foreign_threads():
        semaphore = threading.BoundedSemaphore(2)
        threads = [threading.Thread(target=use, args=(semaphore,)) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert ends == [100, 100, 200, 200, 300]


def test_a_lock_goes_to_who_has_waited_longest(world: World) -> None:
    order: list[str] = []

    def hold(lock: threading.Lock, name: str) -> None:
        for _ in range(2):
            with lock:
                order.append(name)
                time.sleep(0.01)

    with world.foreign_threads():
        lock = threading.Lock()
        threads = [threading.Thread(target=hold, args=(lock, name)) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not lock.locked()

    assert order == ["a", "b", "c", "a", "b", "c"]


def test_a_lock_times_out_and_is_not_had_then(world: World) -> None:
    with world.foreign_threads():
        lock = threading.Lock()
        assert lock.acquire()

        assert not lock.acquire(timeout=0.5)
        assert not lock.acquire(blocking=False)
        assert world.now_ns() == 500 * MS
        lock.release()
        with pytest.raises(RuntimeError, match="unlocked"):
            lock.release()
        with pytest.raises(ValueError, match="non-blocking"):
            lock.acquire(False, 1)


def test_an_rlock_is_entered_again_by_its_holder_only(world: World) -> None:
    order: list[str] = []

    def enter(lock: threading.RLock) -> None:
        with pytest.raises(RuntimeError, match="un-acquired"):
            lock.release()
        with lock:
            order.append("other")

    with world.foreign_threads():
        lock = threading.RLock()
        with lock:
            threading.Thread(target=enter, args=(lock,)).start()
            with lock:
                time.sleep(0.1)
                order.append("inner")
            time.sleep(0.1)
            order.append("outer")
        time.sleep(0.1)

    assert order == ["inner", "outer", "other"]


def test_a_pool_of_threads_works_through_its_tasks(world: World) -> None:
    def task(number: int) -> tuple[int, int]:
        time.sleep(0.1 * (3 - number % 3))
        return number, world.now_ns() // MS

    with world.foreign_threads():
        with ThreadPoolExecutor(max_workers=2) as pool:
            futures = [pool.submit(task, number) for number in range(6)]
            finished = [future.result() for future in as_completed(futures)]
            done, not_done = wait(futures, timeout=1)
        assert world.now_ns() == 600 * MS

    assert finished == [(1, 200), (0, 300), (2, 300), (4, 500), (3, 600), (5, 600)]
    assert (len(done), len(not_done)) == (6, 0)


def test_futures_that_are_done_already_come_in_an_order_that_repeats(world: World) -> None:
    with world.foreign_threads():
        with ThreadPoolExecutor(max_workers=20) as pool:
            futures = {pool.submit(int, number): number for number in range(20)}
        found = [future.result() for future in as_completed(futures)]

    assert found == list(reversed(range(20)))  # the order in which as_completed empties a set of small numbers
    assert list(futures.values()) == [futures[future] for future in futures]


def test_a_future_that_takes_too_long_times_out(world: World) -> None:
    with world.foreign_threads(), ThreadPoolExecutor(max_workers=1) as pool:
        future = pool.submit(time.sleep, 10)
        with pytest.raises(TimeoutError):
            future.result(timeout=1)

        assert world.now_ns() == S


def test_events_of_the_world_run_while_threads_wait(world: World) -> None:
    seen: list[int] = []
    inbox: queue.Queue[int]

    def tick() -> None:
        inbox.put(world.now_ns() // MS)
        world.call_after(10 * MS, tick)

    def read() -> None:
        while True:
            seen.append(inbox.get())

    with world.foreign_threads():
        inbox = queue.Queue()
        world.call_after(10 * MS, tick)
        threading.Thread(target=read, daemon=True).start()
        time.sleep(0.035)

    assert seen == [10, 20, 30]


def test_running_the_world_is_a_wait_of_the_thread_that_runs_it(world: World) -> None:
    log: list[int] = []

    def work() -> None:
        while True:
            time.sleep(0.01)
            log.append(world.now_ns() // MS)

    with world.foreign_threads():
        threading.Thread(target=work, daemon=True).start()
        world.run_for(25 * MS)
        assert log == [10, 20]
        assert world.run_until(lambda: len(log) == 4, S)
        assert world.now_ns() == 40 * MS
        assert not world.run_until(lambda: False, 5 * MS)
        assert world.now_ns() == 45 * MS

    assert log == [10, 20, 30, 40]


def test_stepping_lets_the_threads_run_first(world: World) -> None:
    log: list[str] = []
    for ms in (1, 2):
        world.call_at(ms * MS, lambda ms=ms: log.append(f"event {ms}"))  # type: ignore[misc]
    with world.foreign_threads():
        threading.Thread(target=lambda: (log.append("thread"), time.sleep(0.0015), log.append("late"))).start()  # type: ignore[func-returns-value]
        while world.step():
            log.append(f"step at {world.now_ns() // 1000}")

    assert log == ["thread", "event 1", "step at 1000", "late", "step at 1500", "event 2", "step at 2000"]


def test_a_wait_of_a_model_wakes_its_thread_at_the_event(world: World) -> None:
    frames: list[int] = []
    log: list[tuple[int, bool]] = []

    def receive() -> None:
        for timeout_ns in (S, 50 * MS, None):
            log.append((world.now_ns() // MS, world.foreign.block(lambda: bool(frames), timeout_ns)))
            frames.clear()

    world.call_at(300 * MS, lambda: frames.append(1))
    world.call_at(900 * MS, lambda: frames.append(2))
    with world.foreign_threads():
        thread = threading.Thread(target=receive)
        thread.start()
        thread.join()

    assert log == [(0, True), (300, False), (350, True)]
    assert world.now_ns() == 900 * MS


def test_a_loop_that_waits_by_looking_at_the_clock_comes_to_an_end(world: World) -> None:
    with world.foreign_threads():
        looks = 0
        while time.monotonic() < 0.1:
            looks += 1

    assert looks == POLLS + 999
    assert world.now_ns() == 100 * MS


def test_fifty_threads_end_in_the_order_of_their_time(world: World) -> None:
    order: list[int] = []

    def work(number: int) -> None:
        time.sleep((number * 7 % 50) / 1000)
        order.append(number)

    with world.foreign_threads():
        threads = [threading.Thread(target=work, args=(number,)) for number in range(50)]
        for thread in threads:
            thread.start()
        assert threading.active_count() >= 51
        for thread in threads:
            thread.join()

    assert order == sorted(range(50), key=lambda number: number * 7 % 50)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_a_thread_raises_is_raised_at_the_end_with_its_name(world: World) -> None:
    def fail(number: int) -> None:
        raise LookupError(f"number {number}")

    def program() -> None:
        for number in (1, 2):
            threading.Thread(target=fail, args=(number,), name=f"worker {number}").start()
        time.sleep(1)
        assert world.now_ns() == S

    with pytest.raises(LookupError, match="number 1") as caught, world.foreign_threads():
        program()

    assert caught.value.__notes__ == [
        "raised in foreign thread 'worker 1'",
        "foreign thread 'worker 2' failed too: LookupError: number 2",
    ]


def test_the_hook_of_threading_is_told_what_a_thread_raises(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, str]] = []

    def hook(arguments: threading.ExceptHookArgs) -> None:
        assert arguments.thread is not None
        told.append((arguments.thread.name, repr(arguments.exc_value)))

    monkeypatch.setattr(threading, "excepthook", hook)

    def program() -> None:
        threading.Thread(target=lambda: int("bad"), name="parser").start()
        time.sleep(0.1)

    with pytest.raises(ValueError, match="bad"), world.foreign_threads():
        program()

    assert told == [("parser", repr(ValueError("invalid literal for int() with base 10: 'bad'")))]


def test_a_thread_may_end_by_system_exit(world: World) -> None:
    with world.foreign_threads():
        thread = threading.Thread(target=lambda: exec("raise SystemExit(3)"))
        thread.start()
        thread.join()

        assert not thread.is_alive()


def test_daemons_are_ended_where_they_wait(world: World) -> None:
    ends: list[str] = []

    def serve(name: str, wait: Callable[[], object]) -> None:
        try:
            wait()
        finally:
            ends.append(name)

    with world.foreign_threads():
        waits: dict[str, Callable[[], object]] = {
            "sleep": lambda: time.sleep(100),
            "event": threading.Event().wait,
            "queue": queue.Queue().get,
        }
        for name, wait_here in waits.items():
            threading.Thread(target=serve, args=(name, wait_here), daemon=True).start()
        time.sleep(1)

    assert ends == ["sleep", "event", "queue"]
    assert world.now_ns() == S


def test_a_thread_that_is_no_daemon_is_told_and_ended(world: World) -> None:
    words = rf"'late', started at {re.escape(__file__)}:\d+, in test_a_thread_that_is_no_daemon"
    with pytest.raises(ForeignThreadsLeft, match=words), world.foreign_threads():
        threading.Thread(target=lambda: time.sleep(5), name="late").start()


def test_a_thread_of_a_library_is_told_with_the_line_of_the_program_that_led_to_it(world: World) -> None:
    library: dict[str, Any] = {"__name__": "library", "Thread": threading.Thread}
    code = "def serve(work):\n    Thread(target=work, name='late').start()"
    exec(compile(code, "/opt/site-packages/library.py", "exec"), library)
    words = rf"'late', started at {re.escape(__file__)}:\d+, in test_a_thread_of_a_library"
    with pytest.raises(ForeignThreadsLeft, match=words), world.foreign_threads():
        library["serve"](queue.Queue[int]().get)


def test_threads_that_are_no_daemons_are_given_time(world: World) -> None:
    with world.foreign_threads(grace_ns=10 * S):
        threading.Thread(target=lambda: time.sleep(5)).start()

    assert world.now_ns() == 5 * S


def test_a_thread_that_is_just_ready_runs_to_its_end(world: World) -> None:
    log: list[int] = []
    with world.foreign_threads():
        threading.Thread(target=lambda: log.append(1)).start()

    assert log == [1]


def test_a_thread_that_catches_what_ends_it_is_told(world: World) -> None:
    calls = 0

    def cling() -> None:
        nonlocal calls
        while calls < 20:
            calls += 1
            try:
                time.sleep(1)
            except BaseException:
                continue

    with world.foreign_threads():
        threading.Thread(target=cling, daemon=True, name="clinging").start()
        time.sleep(0)

    assert calls == 20


def test_two_threads_with_each_others_lock_are_told_with_both_stacks(world: World) -> None:
    def take(first: threading.Lock, second: threading.Lock) -> None:
        with first:
            time.sleep(0.1)
            with second:
                pass

    def tick() -> None:
        world.call_after(MS, tick)

    world.call_soon(tick)

    def program() -> None:
        left, right = threading.Lock(), threading.Lock()
        threading.Thread(target=take, args=(left, right), name="A", daemon=True).start()
        threading.Thread(target=take, args=(right, left), name="B", daemon=True).start()
        time.sleep(10)

    with pytest.raises(ForeignDeadlock) as caught, world.foreign_threads():
        program()

    text = str(caught.value)
    assert "threads 'B', 'A' wait for each other's locks for ever at 100000000 ns" in text
    assert "thread 'A' waits for a lock that thread 'B' holds" in text
    assert "thread 'B' waits for a lock that thread 'A' holds" in text
    assert text.count("with second:") == 2


def test_threads_that_nothing_can_wake_are_told_with_their_stacks(world: World) -> None:
    def program() -> None:
        threading.Thread(target=queue.Queue().get, name="reader", daemon=True).start()
        threading.Event().wait()

    with pytest.raises(ForeignDeadlock, match="wait for ever at 0 ns") as caught, world.foreign_threads():
        program()

    assert "thread 'reader' waits" in str(caught.value)
    assert "threading.Event().wait()" in str(caught.value)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_wait_for_a_thread_that_failed_names_the_failure(world: World) -> None:
    def fail() -> None:
        raise LookupError("no answer")

    def program() -> None:
        answers = queue.Queue[int]()
        threading.Thread(target=fail, name="server").start()
        answers.get()

    with pytest.raises(ForeignDeadlock, match="thread 'server' had failed: LookupError"), world.foreign_threads():
        program()


def test_an_error_in_the_world_is_raised_where_the_main_thread_waits(world: World) -> None:
    def fail() -> None:
        raise LookupError("plant")

    world.call_at(50 * MS, fail)

    def program() -> None:
        threading.Thread(target=lambda: time.sleep(0.05), daemon=True).start()
        threading.Event().wait(1)

    with pytest.raises(LookupError, match="plant"), world.foreign_threads():
        program()

    assert world.now_ns() == 50 * MS


def test_an_item_may_not_wait_for_foreign_threads(world: World) -> None:
    def program() -> None:
        world.call_soon(lambda: time.sleep(1))
        time.sleep(2)

    with pytest.raises(ForeignError, match="do not wait inside items"), world.foreign_threads():
        program()


def test_an_item_may_not_start_a_thread(world: World) -> None:
    def program() -> None:
        world.call_soon(lambda: threading.Thread(target=print, name="stray").start())
        time.sleep(1)

    with pytest.raises(ForeignError, match="'stray' is started inside an item"), world.foreign_threads():
        program()


def test_blocks_are_not_nested_and_need_an_open_world(world: World) -> None:
    with World(name="second") as second, world.foreign_threads():
        with pytest.raises(ForeignError, match="'cell' is in such a block"), world.foreign_threads():
            pass
        with pytest.raises(ForeignError, match="'cell' is in such a block"), second.foreign_threads():
            pass
    second.close()
    with pytest.raises(ForeignError, match="'second' is closed"), second.foreign_threads():
        pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_of_the_block_itself_comes_first_and_notes_the_threads(world: World) -> None:
    ends: list[str] = []

    def fail() -> None:
        raise LookupError("worker")

    def serve() -> None:
        try:
            time.sleep(100)
        finally:
            ends.append("served")

    def program() -> None:
        threading.Thread(target=fail, name="worker").start()
        threading.Thread(target=serve).start()
        time.sleep(1)
        raise ValueError("main")

    with pytest.raises(ValueError, match="main") as caught, world.foreign_threads():
        program()

    assert caught.value.__notes__ == ["foreign thread 'worker' had failed: LookupError: worker"]
    assert ends == ["served"]


def test_a_run_until_has_all_the_time_that_it_takes(world: World) -> None:
    def tick() -> None:
        world.call_after(MS, tick)

    tick()
    world.foreign.patience_s = 0.0
    with world.foreign_threads():
        assert world.run_until(lambda: world.now_ns() >= 5 * S)


def test_a_pool_that_nobody_shuts_down_is_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    pools: list[ThreadPoolExecutor] = []

    def program() -> None:
        pools.append(ThreadPoolExecutor())
        assert pools[0].submit(int, "3").result() == 3

    words = r"'ThreadPoolExecutor-0_0', started at .*, in program"
    with pytest.raises(ForeignThreadsLeft, match=words), world.foreign_threads():
        program()

    pools[0].shutdown()
    assert len(caplog.records) == 1  # the pool's own word about a worker that was ended


def test_deadlines_of_waits_that_are_over_are_forgotten(world: World) -> None:
    ready: list[int] = []

    def tick() -> None:
        ready.append(1)
        world.call_after(1000, tick)

    world.call_soon(tick)
    with world.foreign_threads():
        for _ in range(1000):
            ready.clear()
            assert world.foreign.block(lambda: bool(ready), 10 * S)
        assert world.baton is not None
        assert len(world.baton._deadlines) < 100


def test_the_number_of_threads_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baton, "THREADS", 3)
    with world.foreign_threads():
        threads = [threading.Thread(target=time.sleep, args=(1,), name=f"number {number}") for number in range(4)]
        for thread in threads[:3]:
            thread.start()
        with pytest.raises(ForeignError, match="'number 3' cannot be started: 3 foreign threads are alive"):
            threads[3].start()
        time.sleep(2)
        threads[3].start()
        threads[3].join()

    assert world.now_ns() == 3 * S


def test_a_thread_is_started_once_and_joined_by_others(world: World) -> None:
    class Bare(threading.Thread):
        def __init__(self) -> None:
            pass

    def join_itself() -> None:
        with pytest.raises(RuntimeError, match="cannot join current thread"):
            threading.current_thread().join()

    with world.foreign_threads():
        thread = threading.Thread(target=join_itself)
        with pytest.raises(RuntimeError, match="before it is started"):
            thread.join()
        assert not thread.is_alive()
        thread.start()
        assert thread.is_alive()
        with pytest.raises(RuntimeError, match="once"):
            thread.start()
        with pytest.raises(RuntimeError, match="__init__"):
            Bare().start()
        with pytest.raises(RuntimeError, match="current thread"):
            threading.current_thread().join()
        thread.join(timeout=0)
        assert thread.is_alive()
        with pytest.raises(ForeignDeadlock):
            threading.Event().wait()


def test_the_world_of_the_block_is_current_in_every_thread(world: World) -> None:
    found: list[World | None] = []
    with world.foreign_threads():
        threading.Thread(target=lambda: found.append(World.current())).start()
        found.append(World.current())

    assert found == [world, world]


def test_locks_from_the_block_are_locks_after_it(world: World) -> None:
    with world.foreign_threads():
        event, lock, inbox = threading.Event(), threading.RLock(), queue.SimpleQueue[int]()

    def use() -> None:
        with lock:
            inbox.put(1)
        event.set()

    thread = threading.Thread(target=use)
    with lock:
        thread.start()
        assert inbox.empty()
    assert event.wait(60)
    thread.join()
    assert inbox.get(timeout=1) == 1
