"""The timer of the WaitSet reactor: readable at each deadline and not before, set anew only where it leaves a grid."""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Iterator

import pytest

from taktora.executor.timerfd import AbsoluteTimer, make_timer

MS = 1_000_000
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")


class _ScriptedTimer(AbsoluteTimer):
    """The decisions without a kernel: notes how it is armed, and is told what a read finds."""

    def __init__(self) -> None:
        self.armed: list[tuple[int, int]] = []
        self.finds_one_expiry = True

    def _arm(self, due_ns: int, interval_ns: int) -> None:
        self.armed.append((due_ns, interval_ns))

    def _goes_on(self) -> bool:
        return self.finds_one_expiry


@pytest.fixture
def timer() -> Iterator[AbsoluteTimer]:
    opened = make_timer()
    yield opened
    opened.close()


@pytest.mark.verifies("REQ_0268")
def test_a_grid_is_left_to_the_kernel_from_its_third_deadline_on() -> None:
    timer = _ScriptedTimer()

    for cycle in range(1, 9):
        timer.set(cycle * MS)

    assert timer.armed == [(MS, 0), (2 * MS, 0), (3 * MS, MS)]


@pytest.mark.verifies("REQ_0268")
@pytest.mark.parametrize(
    ("next_ns", "armed"),
    [
        pytest.param(5 * MS + 1, (5 * MS + 1, 0), id="another-distance"),
        pytest.param(3 * MS, (3 * MS, 0), id="earlier"),
        pytest.param(None, (0, 0), id="none"),
    ],
)
def test_a_deadline_off_the_grid_sets_the_timer(next_ns: int | None, armed: tuple[int, int]) -> None:
    timer = _ScriptedTimer()
    for cycle in range(1, 5):
        timer.set(cycle * MS)

    timer.set(next_ns)

    assert timer.armed[3:] == [armed]


@pytest.mark.verifies("REQ_0268")
def test_anything_but_the_one_expiry_that_was_due_sets_the_timer_on_the_same_grid() -> None:
    timer = _ScriptedTimer()
    for cycle in range(1, 5):
        timer.set(cycle * MS)
    timer.finds_one_expiry = False

    timer.set(5 * MS)

    assert timer.armed[3:] == [(5 * MS, MS)]


@LINUX
@pytest.mark.verifies("REQ_0268")
def test_it_is_readable_at_each_deadline_of_a_grid_and_not_before(timer: AbsoluteTimer) -> None:
    poller, early = select.poll(), list[int]()
    poller.register(timer.fd, select.POLLIN)
    start_ns = time.monotonic_ns()

    for cycle in range(1, 40):
        deadline_ns = start_ns + cycle * 2 * MS
        timer.set(deadline_ns)
        assert poller.poll(10_000), f"deadline {cycle} never came"
        early.append(max(0, deadline_ns - time.monotonic_ns()))

    assert not any(early)


@LINUX
@pytest.mark.verifies("REQ_0268")
def test_a_cycle_that_overran_its_next_deadline_finds_the_timer_readable(timer: AbsoluteTimer) -> None:
    poller, step_ns = select.poll(), 50 * MS
    poller.register(timer.fd, select.POLLIN)
    start_ns = time.monotonic_ns()
    for cycle in range(1, 5):
        timer.set(start_ns + cycle * step_ns)
        poller.poll(10_000)
    while time.monotonic_ns() < start_ns + 5 * step_ns:
        time.sleep(0.001)

    timer.set(start_ns + 5 * step_ns)

    assert poller.poll(20)  # and not with the next slot
