"""The same application file in the real world: wall clock, two threads, shared memory; only the CAN wire is a mock."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import pytest
from app import build
from logbook import DRIVE
from messages import Alarm, ContactorRequest, LimitReason, MonitorCommand

from taktora.app import Context
from taktora.app.bound import BoundApp
from taktora.codec.dbc import DbcCodec, load_dbc
from taktora.runtime import Runtime
from taktora.testing.mock_can import MockCanInterface
from taktora_sim.can import CanLog

CODEC = DbcCodec(load_dbc(DRIVE.parent.parent / "battery.dbc"))


@pytest.fixture(
    params=[
        "inprocess",
        pytest.param(
            "iceoryx2", marks=pytest.mark.skipif(sys.platform != "linux", reason="iceoryx2 is used on Linux only")
        ),
    ]
)
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    """The runtime of the real worlds."""
    runtime = Runtime.system(transport=request.param)
    yield runtime
    runtime.close()


def commands(interface: MockCanInterface) -> list[MonitorCommand]:
    """Return what the application has sent so far."""
    return [CODEC.decode(MonitorCommand, memoryview(frame.data)) for frame in interface.sent if frame.can_id == 0x300]


def play_until(condition: Callable[[], bool], interface: MockCanInterface, log: CanLog) -> bool:
    """Put the frames of a log on the wire at their recorded pace until the condition holds; False if it never does."""
    late_s, first_ns = time.monotonic(), next(iter(log)).time_ns
    for record in log:
        if condition():
            return True
        ahead_s = late_s + (record.time_ns - first_ns) / 1e9 - time.monotonic()
        if ahead_s > 0:
            time.sleep(ahead_s)
        else:
            late_s -= ahead_s  # held up by the machine: go on at the pace, never in a burst
        interface.inject_frame(record.frame)
    return condition()


def wait_for(condition: Callable[[], bool], timeout_s: float = 60.0) -> bool:
    """Return whether the condition came true in time."""
    until_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until_s:
            return False
        time.sleep(0.01)
    return True


def unfault(bound: BoundApp) -> None:
    """Clear what a machine that is busy with other things does to a budget of 5 ms."""
    for executor in bound.executors.values():
        for task in executor.faulted_tasks:
            executor.clear_task_fault(task)


@pytest.mark.verifies("BAT_0002")
def test_the_unchanged_application_runs_on_threads_and_shared_memory(runtime: Runtime) -> None:
    told: list[Alarm] = []
    interface = MockCanInterface("can0")
    runtime.backends["can"] = lambda *_: interface

    def tell(_ctx: Context, alarm: Alarm) -> None:
        told.append(alarm)

    with build(tell).bind(runtime, bench=DRIVE.parent.parent / "bench.can0.toml") as bound:
        bound.start()

        def says(reason: LimitReason) -> bool:
            unfault(bound)
            return any(command.LimitReason is reason for command in commands(interface)[-1:])

        is_trusted = play_until(lambda: says(LimitReason.NONE), interface, CanLog(DRIVE))
        told.clear()  # a machine that holds the frames up for 100 ms loses the battery before
        is_lost = wait_for(lambda: says(LimitReason.BATTERY_LOST))
        has_told = wait_for(lambda: bool(told))

    last = commands(interface)[-1]
    assert (is_trusted, is_lost, has_told) == (True, True, True)
    assert (last.DischargeLimit, last.ContactorRequest) == (0, ContactorRequest.OPEN)
    assert {alarm.code for alarm in told} == {"BATTERY_LOST"}
