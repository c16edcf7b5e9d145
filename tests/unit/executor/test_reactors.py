"""What every reactor owes the loop, shown on those that really wait."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from taktora.clock import SystemClock
from taktora.errors import ConfigurationError
from taktora.executor import Context, item_with_triggers
from taktora.executor.portable import PortableReactor
from taktora.executor.reactor import Loop, Wait
from tests.unit.executor.support import MS, Bell, Counter, Number, Rig, counted, every

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")


def _waits(answers: list[list[int]], deadlines: list[Callable[[], int | None]]) -> Loop:
    """A loop that waits once per deadline and keeps the answers."""
    for deadline in deadlines:
        fired: Sequence[int] = yield Wait(deadline())
        answers.append(list(fired))


@pytest.mark.verifies("REQ_0268")
def test_a_deadline_is_not_early_and_a_past_one_returns_at_once(real_rig: Rig) -> None:
    clock, answers = SystemClock(), list[list[int]]()
    start_ns = clock.now_ns()

    real_rig.reactor.drive(_waits(answers, [lambda: start_ns + 5 * MS, lambda: start_ns, lambda: -5]))

    assert answers == [[], [], []]
    assert clock.now_ns() - start_ns >= 5 * MS


@pytest.mark.verifies("REQ_0051")
def test_a_wake_before_the_wait_and_one_from_another_thread_both_end_it(real_rig: Rig) -> None:
    answers = list[list[int]]()
    reactor = real_rig.reactor
    reactor.wake()

    def later() -> None:
        timer.start()

    timer = threading.Timer(0.02, reactor.wake)
    reactor.drive(_waits(answers, [lambda: None, later]))
    timer.join()

    assert answers == [[], []]


@pytest.mark.verifies("REQ_0010")
def test_fired_keys_come_ascending_and_once(real_rig: Rig) -> None:
    answers = list[list[int]]()
    for key in (3, 1, 3, 2):
        real_rig.reactor.waker(key)()

    real_rig.reactor.drive(_waits(answers, [lambda: None]))

    assert answers == [[1, 2, 3]]


@pytest.mark.verifies("REQ_0010")
def test_a_listener_that_was_notified_before_it_was_attached_fires_at_once(real_rig: Rig) -> None:
    source, counter = Bell("input"), Counter()
    executor = real_rig.builder().build()
    executor.add(item_with_triggers(lambda d: d.raw_listener(source), counter))
    source.notify()

    executor.run_n(1)

    assert counter.runs == 1


@pytest.mark.verifies("REQ_0268")
def test_events_are_served_while_the_grid_is_always_late(real_rig: Rig) -> None:
    source, events = Bell("input"), Counter()
    executor = real_rig.builder().build()

    def overrun(_run: int) -> None:
        time.sleep(0.002)
        source.notify()

    executor.add(every(MS, Counter(overrun)))
    executor.add(item_with_triggers(lambda d: d.raw_listener(source), events))

    executor.run_until(lambda: events.runs >= 3)

    assert events.runs >= 3


@pytest.mark.verifies("REQ_0010", "REQ_0051")
def test_a_storm_from_many_threads_loses_nothing_and_leaves_no_spinning_loop(real_rig: Rig) -> None:
    data: deque[int] = deque()
    received: list[int] = []
    bell = Bell()
    executor = real_rig.builder().build()

    def take(context: Context) -> None:
        while data:
            received.append(data.popleft())
        if len(received) == 8_000:
            context.stop_executor()

    def produce(first: int) -> None:
        for number in range(first, first + 2_000):
            data.append(number)
            bell.notify()

    executor.add(item_with_triggers(lambda d: d.raw_listener(bell), take))
    threads = [threading.Thread(target=produce, args=(number * 2_000,)) for number in range(4)]
    for thread in threads:
        thread.start()
    executor.run()
    for thread in threads:
        thread.join()
    idle = real_rig.builder().build()
    waits = counted(real_rig.reactor)
    idle.run_for(100 * MS)

    assert sorted(received) == list(range(8_000))
    assert len(waits) <= 3


@LINUX
@pytest.mark.verifies("REQ_0012")
def test_a_readable_descriptor_runs_its_item() -> None:
    pytest.importorskip("iceoryx2")
    from tests.unit.executor.support import waitset_rig

    rig = waitset_rig()
    reading, writing = os.pipe()
    received: list[bytes] = []

    def read(context: Context) -> None:
        received.append(os.read(reading, 10))
        context.stop_executor()

    executor = rig.builder().build()
    executor.add(item_with_triggers(lambda d: d.raw_fd(reading), read))
    os.write(writing, b"hello")

    executor.run()
    executor.close()
    os.close(reading)
    os.close(writing)

    assert received == [b"hello"]


@pytest.mark.verifies("REQ_0012")
def test_the_portable_reactor_refuses_a_descriptor_and_names_the_way_out() -> None:
    with pytest.raises(ConfigurationError, match=r"file descriptor 5.*use WaitSetReactor"):
        PortableReactor().attach(2, 5)


@LINUX
@pytest.mark.verifies("REQ_0012", "REQ_0010")
def test_a_sample_through_shared_memory_wakes_an_item() -> None:
    pytest.importorskip("iceoryx2")
    from taktora.transport.iceoryx import IceoryxTransport
    from tests.unit.executor.support import waitset_rig

    rig = waitset_rig()
    rig.transport = IceoryxTransport()
    executor = rig.builder().build()
    channel = executor.channel("taktora-test-wake", Number)
    subscriber, publisher = channel.subscriber(), channel.publisher()
    taken: list[int] = []

    def take(context: Context) -> None:
        taken.extend(sample.value for sample in subscriber.drain())
        if len(taken) == 3:
            context.stop_executor()

    executor.add(item_with_triggers(lambda d: d.subscriber(subscriber), take))
    executor.add(every(MS, Counter(lambda run: publisher.send_copy(Number(run)) if run <= 3 else None)))

    executor.run()
    executor.close()
    rig.transport.close()

    assert taken == [1, 2, 3]


@LINUX
@pytest.mark.verifies("REQ_0050")
def test_a_closed_waitset_reactor_leaves_no_descriptor() -> None:
    pytest.importorskip("iceoryx2")
    from taktora.executor.waitset import WaitSetReactor

    WaitSetReactor().close()
    before = len(list(Path("/proc/self/fd").iterdir()))

    for _ in range(5):
        reactor = WaitSetReactor()
        reactor.attach(0, Bell("x"))
        reactor.close()

    assert len(list(Path("/proc/self/fd").iterdir())) == before


@LINUX
@pytest.mark.verifies("REQ_0012")
def test_a_descriptor_that_is_not_open_is_refused_by_name() -> None:
    pytest.importorskip("iceoryx2")
    from tests.unit.executor.support import waitset_rig

    rig = waitset_rig()
    executor = rig.builder().build()
    executor.add(item_with_triggers(lambda d: d.raw_fd(987), Counter()))

    with pytest.raises(ConfigurationError, match="file descriptor 987"):
        executor.run()
    executor.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the WaitSet reactor needs Linux")
@pytest.mark.verifies("REQ_0051")
def test_a_wake_that_meets_a_close_finds_its_descriptor_open(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("iceoryx2")
    from taktora.executor import waitset

    reactor = waitset.WaitSetReactor()
    write, closing, failures = os.eventfd_write, threading.Thread(target=reactor.close), list[OSError]()

    def write_late(fd: int, value: int) -> None:
        closing.start()
        time.sleep(0.05)  # time enough for the other thread to close everything
        try:
            write(fd, value)
        except OSError as error:
            failures.append(error)

    monkeypatch.setattr(os, "eventfd_write", write_late)
    reactor.wake()
    closing.join()

    assert failures == []
