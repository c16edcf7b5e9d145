"""Where foreign threads meet the real world: stuck threads, signals, strangers, sockets, names bound before."""

from __future__ import annotations

import asyncio
import logging
import queue
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock, RLock
from time import monotonic, sleep
from time import time as now

import pytest

from taktora_sim.foreign import ForeignDeadlock, ForeignError, ForeignStuck
from taktora_sim.world import World
from tests.patience import PATIENCE_S
from tests.sim.fresh import run_fresh

MS = 1_000_000
S = 1_000_000_000
SOON_S = 2.0
"""Patience with a thread that is stuck on purpose."""

pytestmark = pytest.mark.verifies("REQ_8203")


class Bound:
    """What a module may have bound before the block."""

    clock = time.monotonic_ns

    def default(self, read: Callable[[], float] = monotonic, *, wait: Callable[[float], None] = sleep) -> float:
        wait(0.5)
        return read()


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    threads = threading.enumerate()
    names = dict(globals())
    defaults = (Bound.clock, Bound.default.__defaults__, Bound.default.__kwdefaults__)

    yield

    assert threading.enumerate() == threads
    assert {name: globals()[name] for name in names} == names
    assert defaults == (Bound.clock, Bound.default.__defaults__, Bound.default.__kwdefaults__)


@pytest.fixture
def world() -> Iterator[World]:
    with World(name="cell") as world:
        yield world


def test_names_bound_before_the_block_are_virtual_too(world: World) -> None:
    with world.foreign_threads():
        sleep(0.25)
        assert monotonic() == 0.25
        assert now() == world.unix_ns() / 1e9
        assert Bound().default() == 0.75
        assert Bound.clock() == Bound().clock() == 750 * MS  # type: ignore[misc]
        assert datetime.now(UTC) == datetime(2026, 1, 1, 0, 0, 0, 750_000, UTC)
        lock, again = Lock(), RLock()
        with lock, again:
            thread = threading.Thread(target=lambda: again.acquire(timeout=1))
            thread.start()
            assert not lock.acquire(timeout=2)
            thread.join()
        assert world.now_ns() == 2750 * MS


_LIBRARY = """
from time import monotonic

later = monotonic

class Shy:
    def __getattribute__(self, name):
        raise RuntimeError("asked")

shy = Shy()
"""


def test_packages_are_rebound_if_they_are_named(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "site-packages" / "somebodys"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text(_LIBRARY)
    monkeypatch.syspath_prepend(str(library.parent))
    import somebodys  # type: ignore[import-not-found]

    try:
        with world.foreign_threads(packages=["somebodys"]):
            assert somebodys.monotonic() == somebodys.later() == 0
        with world.foreign_threads():
            assert somebodys.monotonic is somebodys.later is not monotonic
    finally:
        del sys.modules["somebodys"]


def test_conditions_events_and_queues_from_before_the_block_are_waited_for_in_virtual_time(world: World) -> None:
    event, condition, inbox = threading.Event(), threading.Condition(), queue.Queue[int]()

    def work() -> None:
        time.sleep(1)
        inbox.put(1)
        time.sleep(1)
        event.set()
        time.sleep(1)
        with condition:
            condition.notify()

    with world.foreign_threads():
        threading.Thread(target=work).start()
        assert inbox.get(timeout=10) == 1
        assert event.wait(10)
        with condition:
            assert condition.wait(10)

    assert world.now_ns() == 3 * S


def test_a_thread_on_a_real_lock_that_another_holds_is_told_with_its_place(world: World) -> None:
    before = threading.Lock()

    def hold() -> None:
        with before:
            time.sleep(10)

    def want() -> None:
        with before:
            pass

    def program() -> None:
        for target in (hold, want):
            threading.Thread(target=target, name=target.__name__, daemon=True).start()
        time.sleep(1)

    with pytest.raises(ForeignStuck) as caught, world.foreign_threads(patience_s=SOON_S):
        program()

    text = str(caught.value)
    assert text.startswith("thread 'want' holds up all others: for 2 s of real time")
    assert f"at {__file__}:" in text
    assert "in want" in text
    assert "thread 'hold' waits" in text
    assert not before.locked()


def test_the_main_thread_on_a_real_lock_that_another_holds_is_told(world: World) -> None:
    before = threading.Lock()

    def hold() -> None:
        with before:
            time.sleep(10)

    def program() -> None:
        threading.Thread(target=hold, daemon=True).start()
        time.sleep(1)
        before.acquire()

    with (
        pytest.raises(ForeignStuck, match="'MainThread' holds up all others"),
        world.foreign_threads(patience_s=SOON_S),
    ):
        program()


@pytest.mark.parametrize("is_main", [True, False], ids=["main", "other"])
def test_a_loop_that_never_looks_at_the_clock_is_told(world: World, is_main: bool) -> None:
    flag: list[int] = []

    def spin() -> None:
        while not flag:
            pass

    def program() -> None:
        if is_main:
            spin()
        threading.Thread(target=spin, daemon=True).start()
        time.sleep(1)

    with pytest.raises(ForeignStuck, match="in spin; it waits"), world.foreign_threads(patience_s=SOON_S):
        program()


@pytest.mark.parametrize("steps_on", ["main", "other"])
def test_an_event_of_the_world_that_never_ends_is_told(world: World, steps_on: str) -> None:
    flag: list[int] = []

    def spin() -> None:
        while not flag:
            pass

    def program() -> None:
        threading.Thread(target=lambda: time.sleep(10), daemon=True, name="other").start()
        if steps_on == "main":
            time.sleep(0)  # so that the other thread waits already when this one begins to
        time.sleep(10)

    world.call_at(MS, spin)
    with pytest.raises(ForeignStuck, match="in spin; it waits"), world.foreign_threads(patience_s=SOON_S):
        program()


def test_the_block_may_be_in_any_thread_and_in_a_current_world(world: World) -> None:
    log: list[tuple[str, int]] = []

    def whole() -> None:
        with world.as_current(), world.foreign_threads():
            thread = threading.Thread(target=lambda: log.append(("inner", world.now_ns())))
            thread.start()
            time.sleep(1)
            thread.join()
            log.append((threading.current_thread().name, world.now_ns()))

    thread = threading.Thread(target=whole, name="whole")
    thread.start()
    thread.join(PATIENCE_S)

    assert log == [("inner", 0), ("whole", S)]


def test_a_run_held_back_to_its_rate_is_not_stuck(world: World) -> None:
    world.rate = 1.0
    with world.foreign_threads(patience_s=SOON_S):
        thread = threading.Thread(target=lambda: time.sleep(2.5))
        thread.start()
        thread.join()

    assert world.now_ns() == 2500 * MS


def test_a_thread_from_outside_keeps_real_time_and_may_not_wait(world: World) -> None:
    found: list[object] = []
    go = threading.Event()

    def outside() -> None:
        go.wait(PATIENCE_S)
        lock = threading.Lock()
        found.append((lock.acquire(), lock.acquire(timeout=0.001), abs(time.time() - real_s) < 3600))
        inner = threading.Thread(target=lambda: found.append(time.monotonic() > 0))
        inner.start()
        inner.join(PATIENCE_S)
        try:
            world.foreign.block(lambda: False, S)
        except ForeignError as error:
            found.append(str(error))

    real_s = time.time()
    thread = threading.Thread(target=outside, name="stranger")
    thread.start()
    join = thread.join
    with world.foreign_threads():
        go.set()
        join(PATIENCE_S)

    assert found[:2] == [(True, False, True), True]
    assert "'stranger' was started outside world.foreign_threads()" in str(found[2])
    assert world.now_ns() == 0


def test_a_stranger_that_wakes_a_foreign_thread_is_told(world: World) -> None:
    boxes: list[threading.Event] = []
    is_waited_for = threading.Event()

    def outside() -> None:
        is_waited_for.wait(PATIENCE_S)
        boxes[0].set()

    def tick() -> None:
        is_waited_for.set()
        world.call_after(MS, tick)

    def program() -> None:
        boxes.append(threading.Event())
        boxes[0].wait(PATIENCE_S)

    thread = threading.Thread(target=outside, name="stranger")
    thread.start()
    world.rate = 1.0
    world.call_after(MS, tick)
    try:
        with pytest.raises(ForeignError, match="'stranger' was started outside"), world.foreign_threads():
            program()
    finally:
        thread.join()


def test_logging_works_in_threads_with_handlers_of_both_times(
    world: World, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    log = logging.getLogger("foreign.test")

    def work(number: int) -> None:
        for step in range(3):
            time.sleep(0.1)
            log.warning("worker %d step %d", number, step)

    with caplog.at_level("WARNING"), world.foreign_threads():
        handler = logging.FileHandler(tmp_path / "log.txt")
        log.addHandler(handler)
        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    log.warning("after")
    log.removeHandler(handler)
    handler.close()

    expected = [f"worker {number} step {step}" for step in range(3) for number in range(3)]
    assert (tmp_path / "log.txt").read_text().splitlines() == [*expected, "after"]
    assert [record.getMessage() for record in caplog.records] == [*expected, "after"]


def test_a_loop_of_asyncio_waits_in_virtual_time(world: World) -> None:
    inbox: queue.Queue[int]

    async def program() -> list[int]:
        loop = asyncio.get_running_loop()
        got = asyncio.Queue[int]()

        def read() -> None:
            while True:
                loop.call_soon_threadsafe(got.put_nowait, inbox.get())

        threading.Thread(target=read, daemon=True).start()
        await asyncio.sleep(0.5)
        found = [await got.get() for _ in range(3)]
        await loop.run_in_executor(None, time.sleep, 0.25)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(got.get(), 1)
        return found

    def tick() -> None:
        inbox.put(world.now_ns() // MS)
        if world.now_ns() < 900 * MS:
            world.call_after(300 * MS, tick)

    with world.foreign_threads():
        inbox = queue.Queue()
        world.call_after(300 * MS, tick)
        found = asyncio.run(program())
        ended_ns = world.now_ns()

    assert found == [300, 600, 900]
    assert ended_ns == 2150 * MS


_INTERRUPTED = """
import os, signal, sys, threading, time
from taktora_sim.world import World

signal.signal(signal.SIGINT, signal.default_int_handler)
world = World()

def tick():
    world.call_after(1_000_000, tick)

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

def serve(name):
    try:
        while True:
            time.sleep(0.01)
    finally:
        print("ended", name, threading.active_count())

world.call_soon(tick)
world.call_at(500_000_000, interrupt)
try:
    with world.foreign_threads():
        for name in ("one", "two"):
            threading.Thread(target=serve, args=(name,), daemon=True).start()
        {wait}
except KeyboardInterrupt:
    print("interrupted", world.now_ns() >= 500_000_000, threading.active_count())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="not run: os.kill ends a process on Windows")
@pytest.mark.parametrize(
    "wait",
    [
        pytest.param("time.sleep(3600)", id="sleep"),
        pytest.param("threading.Event().wait()", id="event"),
        pytest.param("world.run_for(3600_000_000_000)", id="run"),
    ],
)
def test_an_interrupt_ends_the_block_where_the_main_thread_waits(wait: str) -> None:
    done = run_fresh(command=_INTERRUPTED.format(wait=wait))

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["ended one 3", "ended two 2", "interrupted True 1"]


_IN_A_TEST = """
import signal, sys, time, threading
from taktora_sim.world import World

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.setitimer(signal.ITIMER_REAL, 0.5)
signal.signal(signal.SIGALRM, lambda number, frame: sys.exit("alarm"))
world = World()

def tick():
    world.call_after(1_000_000, tick)

world.call_soon(tick)
with world.foreign_threads():
    threading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()
    threading.Event().wait()
"""


_TWICE = """
import os, signal, threading, time
from taktora_sim.world import World

signal.signal(signal.SIGINT, signal.default_int_handler)

def spin():
    os.kill(os.getpid(), signal.SIGINT)
    while not world.baton.has_signals():
        pass
    os.kill(os.getpid(), signal.SIGINT)
    while True:
        pass

try:
    with World() as world, world.foreign_threads(patience_s=None):
        threading.Thread(target=spin, daemon=True).start()
        time.sleep(1)
except KeyboardInterrupt:
    print("interrupted", threading.active_count())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="not run: os.kill ends a process on Windows")
def test_a_second_interrupt_ends_a_thread_that_does_not_let_the_main_thread_in() -> None:
    done = run_fresh(command=_TWICE)

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["interrupted", "1"]


_STUBBORN = """
import threading, time
from taktora_sim.foreign import ForeignThreadsLeft
from taktora_sim.world import World

def cling():
    while True:
        try:
            time.sleep(1)
        except BaseException:
            pass

try:
    with World() as world, world.foreign_threads():
        threading.Thread(target=cling, name="ivy", daemon=True).start()
        time.sleep(1)
except ForeignThreadsLeft as error:
    print(error)
"""


def test_a_thread_that_will_not_end_is_told() -> None:
    done = run_fresh(command=_STUBBORN)

    assert done.returncode == 0, done.stderr
    assert re.search(r"'ivy', started at <string>:\d+, in <module> \(which catches what ends it\)", done.stdout)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="not run: there are no timers of the system here")
def test_a_timer_of_a_test_runner_ends_the_block() -> None:
    done = run_fresh(command=_IN_A_TEST)

    assert done.returncode == 1
    assert done.stderr.strip() == "alarm"


def test_a_selector_that_nothing_wakes_is_told(world: World) -> None:
    def program() -> None:
        asyncio.run(asyncio.Event().wait())

    with pytest.raises(ForeignDeadlock, match="wait for ever"), world.foreign_threads():
        program()
